"""The tools of others: where they are, what version, and how they are run."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path


class BuildError(Exception):
    """A tool is missing or failed, or the design does not fit; says which, and the end of what it printed."""


def digest(text: str) -> str:
    """Short name of a content."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tool(name: str) -> str:
    """Path of ``name``: the native one where PATH has it, else that of PyPI.

    Raises:
        BuildError: neither is installed.
    """
    found = shutil.which(name)
    if found:
        return found
    packaged = Path(sys.executable).with_name(f"yowasp-{name}")
    if packaged.exists():
        return str(packaged)
    raise BuildError(f"neither {name} nor yowasp-{name} is installed: pip install -r requirements/pnr.txt")


def run(
    command: list[str], log: Path, output: Path | None = None, environment: dict[str, str] | None = None
) -> None:
    """Run a tool that writes ``log``, or writes what it prints there.

    Raises:
        BuildError: it failed.
    """
    # In its folder: the placer leaves things where it runs, and the tools of PyPI see nothing above it.
    with (output or log).open("w") as printed:
        done = subprocess.run(
            command,
            cwd=log.parent,
            env=os.environ | (environment or {}),
            stdout=printed,
            stderr=subprocess.STDOUT,
            check=False,
        )
    for trace in log.parent.glob("out_conc_*.csv"):
        trace.unlink(missing_ok=True)
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed, see {log}:\n{log.read_text()[-1500:]}")


def version(path: str) -> str:
    """Name and version of the tool at ``path``, as ``Yosys 0.70``.

    Raises:
        BuildError: it says nothing of the kind.
    """
    name = Path(path).name.removeprefix("yowasp-")
    flag = "-V" if name == "yosys" else "--version"
    done = subprocess.run([path, flag], capture_output=True, text=True, check=False)
    found = re.search(r"(?:Yosys |nextpnr-|Version )(\d[\w.+-]*)", done.stdout + done.stderr)
    if not found:
        raise BuildError(f"{path} {flag} says no version: {(done.stdout + done.stderr)[:200]}")
    return f"{'Yosys' if name == 'yosys' else name.split('-')[0]} {found[1]}"
