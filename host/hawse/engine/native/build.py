"""Compile C++ on first use, cached by content.

``compile_library`` serves every room that has C++; ``native_library`` is the software engine and the driver.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from hawse.engine.backend import EngineError
from hawse.wire import cheader

HERE = Path(__file__).resolve().parent

FLAGS = ("-std=c++17", "-O3", "-DNDEBUG", "-Wall", "-Wextra", "-fvisibility=hidden")

_SOURCES = ("driver", "handles", "keccak", "keccak_each", "ladder", "recover", "reportlog", "soft")

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


class BuildError(EngineError):
    """No C++ compiler, or it refused; the text holds its output."""


def build_dir() -> Path:
    """Where compiled files are kept.

    ``$HAWSE_BUILD``, else ``build/`` of the checkout, else the user's cache directory.
    """
    if chosen := os.environ.get("HAWSE_BUILD"):
        return Path(chosen)
    root = HERE.parents[3]
    if (root / "pyproject.toml").is_file() and os.access(root, os.W_OK):
        return root / "build"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hawse"


@cache
def compiler() -> tuple[str, ...]:
    """The C++ compiler's command: ``$CXX``, c++, g++, clang++, or Zig's from PyPI.

    Raises:
        BuildError: none of them is there.
    """
    if chosen := os.environ.get("CXX"):
        return tuple(chosen.split())
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return (found,)
    if find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++")
    raise BuildError("no C++ compiler: set CXX, install g++ or clang++, or `pip install ziglang`")


def source_files() -> tuple[Path, ...]:
    """Sources of the software engine and the driver, without the C interface."""
    return tuple(HERE / f"{name}.cpp" for name in _SOURCES)


def include_dirs() -> tuple[Path, ...]:
    """Directories of the headers: this one, and one with ``hawse_wire.h``, generated here and now."""
    text = cheader.header()
    directory = build_dir() / f"include-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = directory / "hawse_wire.h"
    if not path.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=directory, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    return HERE, directory


def compile_library(
    name: str, sources: Sequence[Path], flags: Sequence[str] = (), includes: Sequence[Path] = ()
) -> Path:
    """Path of a shared library of ``sources``, compiled unless one of the same content is there.

    The first 16 bytes of the hash of its content are in it as ``HAWSE_BUILD_LOW`` and ``HAWSE_BUILD_HIGH``.
    The headers of ``includes`` and those beside the sources count as content; ``flags`` come behind
    :data:`FLAGS`, so that they win. Two processes may build at once: the file appears whole.

    Raises:
        BuildError: the compiler is missing or refused; nothing is left behind.
    """
    directories = (*includes, *include_dirs())
    command = [*compiler(), *FLAGS, *flags, *(f"-I{d}" for d in directories)]
    content = hashlib.sha256(repr((name, command, sys.platform, platform.machine())).encode())
    headers = {h for d in (*directories, *(s.parent for s in sources)) for h in d.glob("*.h*")}
    for path in (*sources, *sorted(headers)):
        content.update(f"{path}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    library = build_dir() / f"{name}-{content.hexdigest()[:16]}{_SUFFIX}"
    if library.is_file():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        made = Path(scratch) / library.name
        command += _build_flags(content.digest())
        command += ["-fPIC", "-shared", *map(str, sources), "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise BuildError(f"{command[0]}: {error}") from error
        if done.returncode:
            raise BuildError(f"{' '.join(command)}\nfailed:\n{done.stderr}{done.stdout}")
        os.replace(made, library)
    return library


def _build_flags(digest: bytes) -> list[str]:
    parts = (("LOW", digest[:8]), ("HIGH", digest[8:16]))
    return [f"-DHAWSE_BUILD_{name}=0x{int.from_bytes(part, 'little'):X}u" for name, part in parts]


@cache
def native_library(*flags: str) -> Path:
    """The shared library of the software engine and the driver, with the C interface.

    ``flags`` are for the compiler: a measurement may want another library than everybody's.

    Raises:
        BuildError: it cannot be built.
    """
    return compile_library("hawse", (*source_files(), HERE / "c_api.cpp"), flags)
