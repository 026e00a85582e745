"""The contracts, compiled on first use and kept under ``build/contracts``."""

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hawse.chain.errors import CompileError, ContractsNotFoundError

#: Where the sources are, when not in the checkout that this file belongs to.
SOURCES = "HAWSE_CONTRACTS"


@dataclass(frozen=True)
class Contract:
    """A compiled contract: its ABI and creation bytecode."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str


def folder() -> Path:
    """The folder with the Vyper sources: ``$HAWSE_CONTRACTS``, or ``contracts`` of the checkout.

    Raises:
        ContractsNotFoundError: if ``Settlement.vy`` is in neither.
    """
    named = os.environ.get(SOURCES)
    places = [Path(named)] if named else [p / "contracts" for p in Path(__file__).resolve().parents]
    for place in places:
        if (place / "Settlement.vy").is_file():
            return place
    raise ContractsNotFoundError(
        f"no Settlement.vy in {places[0]}"
        if named
        else f"not in a checkout: set {SOURCES} to the contracts folder"
    )


@cache
def load(name: str) -> Contract:
    """A contract of :func:`folder` by its file's name without ``.vy``.

    Raises:
        ContractsNotFoundError: if the sources are not found.
        CompileError: if the compiler is missing or refuses.
    """
    return compile_file(folder() / f"{name}.vy")


def compile_file(source: Path) -> Contract:
    """Compile one file, or take the result of an earlier run over the same source and compiler.

    Raises:
        CompileError: if the compiler is missing or refuses.
    """
    try:
        text = source.read_bytes()
        tools = " ".join(f"{package} {version(package)}" for package in ("vyper", "snekmate"))
    except PackageNotFoundError as error:
        raise CompileError(f"{error.name} is not installed: pip install 'hawse[chain]'") from error
    except OSError as error:
        raise CompileError(f"{source}: {error.strerror}") from error
    # They import snekmate, builtins and each other, so sources and versions are the whole input.
    beside = b"".join(path.read_bytes() for path in sorted({*source.parent.glob("*.vy")} - {source}))
    key = hashlib.sha256(tools.encode() + text + beside).hexdigest()[:16]
    cached = folder().parent / "build" / "contracts" / f"{source.stem}-{key}.json"
    if cached.is_file():
        return Contract(source.stem, **json.loads(cached.read_text()))
    result = _compile(source)
    cached.parent.mkdir(parents=True, exist_ok=True)
    scratch = cached.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(result))
    scratch.replace(cached)
    return Contract(source.stem, **result)


def _compile(source: Path) -> dict[str, Any]:
    # Not at the top: the compiler takes half a second to import and is seldom needed.
    from vyper.compiler import compile_from_file_input  # noqa: PLC0415
    from vyper.compiler.input_bundle import FilesystemInputBundle  # noqa: PLC0415
    from vyper.exceptions import VyperException  # noqa: PLC0415

    bundle = FilesystemInputBundle([Path(p) for p in reversed(sys.path) if p] + [folder(), source.parent])
    try:
        out = compile_from_file_input(
            bundle.load_file(source.name), input_bundle=bundle, output_formats=["abi", "bytecode"]
        )
    except VyperException as error:
        raise CompileError(f"{source.name}: {error}") from error
    return {"abi": out["abi"], "bytecode": out["bytecode"]}
