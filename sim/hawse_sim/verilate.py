"""Builds a Verilated component with a C++ harness into a shared library, once for each content."""

import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hawse_hdl
from hawse import wire
from hawse.wire import cheader

from . import gates, toolchain
from .stages import Stages

_HARNESS = Path(__file__).with_name("harness")
# No four-state start values and no assertions: the gateware resets itself, and tests look at it elsewhere.
_VERILATOR = (
    "-O3 --x-assign fast --x-initial fast --no-assert --no-timing --timescale 1ns/1ns -Wno-lint -Wno-style"
)
# Of gates Verilator makes functions so long that compilers take minutes for one.
_GATES = "--output-split-cfuncs 400"
# Hidden symbols: several models live in one process, each with classes of the same names.
_COMPILER = (
    "-std=c++20 -O3 -fPIC -fvisibility=hidden -fvisibility-inlines-hidden -DVL_TIME_CONTEXT -DVERILATOR=1"
)
_OFF = "-DVM_COVERAGE=0 -DVM_SC=0 -DVM_TIMING=0 -DVM_TRACE_VCD=0 -DVM_TRACE_SAIF=0"


def announce_build(message: str) -> None:
    """Say on stderr that a build takes its time."""
    print(message, file=sys.stderr, flush=True)


def _flags(trace: bool) -> list[str]:
    include = toolchain.verilator_root() / "include"
    flags = [*_COMPILER.split(), *_OFF.split(), f"-DVM_TRACE={trace:d}", f"-DVM_TRACE_FST={trace:d}"]
    # The FST writer wants lz4.h and zlib.h, which few machines have: ours come first.
    return [*flags, f"-I{_HARNESS / 'compress'}", f"-I{include}", f"-I{include / 'vltstd'}", f"-I{_HARNESS}"]


def _content(design: Callable[[], str], name: str, parameters: str) -> str:
    """Fingerprint of the design, remembered for the sources it came from: elaborating takes seconds."""
    sources = [p for m in (hawse_hdl, wire) for p in sorted(Path(str(m.__file__)).parent.rglob("*.py"))]
    known = toolchain.key(name, parameters, *(f"{p.name}\0{p.read_text()}" for p in sources))
    note = toolchain.build_root() / "verilator" / "designs" / known
    if not note.is_file():
        note.parent.mkdir(parents=True, exist_ok=True)
        unfinished = note.with_suffix(f".{os.getpid()}")
        unfinished.write_text(toolchain.key(design()))
        unfinished.replace(note)
    return note.read_text()


def build_library(
    make: Callable[[], gates.Top],
    name: str,
    *,
    parameters: str,
    trace: bool = False,
    announce: Callable[[str], None] = announce_build,
    driven_by: Path | None = None,
    beside: Sequence[Path] = (),
    flags: Sequence[str] = (),
    rewrite: Callable[[str], str] | None = None,
    netlist: bool = False,
    begins_open: bool = False,
    quick: bool = False,
) -> Path:
    """Shared library of the component that ``make`` makes, driven by ``harness/<name>.cpp``.

    Optimised for speed on one thread; a library with waveforms is a second one, built only when asked for.

    Args:
        make: a component, or a board, whose ports the harness drives; not called if the gateware's sources
            are known.
        name: top module and harness.
        parameters: all that the component depends on beside the sources of ``hawse_hdl`` and ``hawse.wire``.
        trace: with FST waveforms.
        announce: told once, before a build that takes a minute or so.
        driven_by: a C++ source in place of the harness.
        beside: C++ sources that know nothing of the model, compiled once for all models; headers beside them
            are found.
        flags: for the compiler, of these sources.
        rewrite: makes another design of its RTLIL; ``parameters`` tell what it does.
        netlist: simulate the gates that synthesis makes of it (:mod:`.gates`), not the source.
        begins_open: leave open what registers and memories hold at the start (``scramble`` of model.h); a
            memory that is given more than zeros keeps them.
        quick: compile in less than half of the time, for a model that is some 5 % slower.

    Returns:
        Path of the library, for ``ctypes``.

    Raises:
        ToolError: a tool is missing or failed.
    """
    driver = driven_by or _HARNESS / f"{name}.cpp"
    near = sorted({p.parent for p in (driver, *beside)})
    headers = sorted({*_HARNESS.rglob("*.h"), *(h for d in near for h in d.glob("*.h*"))})
    names = ["verilated", "verilated_threads", *(["verilated_fst_c"] if trace else [])]
    stage = Stages(name.capitalize(), lambda: toolchain.runtime_objects(names, _flags(trace)))
    parts = [cheader.header(), *flags, *(p.read_text() for p in (*beside, *headers, Path(__file__)))]

    @functools.cache
    def rtlil() -> str:
        stage("elaborating")
        made = make()
        text = gates.describe(made) if netlist else toolchain.to_rtlil(made, name, rewrite)
        return _opened(text) if begins_open else text

    def verilog() -> str:
        stage("translating")
        text = gates.synthesized(make(), name) if netlist else toolchain.to_verilog(rtlil())
        return _without_dots(text) if trace and not netlist else text

    with stage:
        # A waveform costs far more than the model.
        level = "-O1" if trace or quick else "-O3"
        content = _content(rtlil, name, f"{parameters} {netlist} {begins_open}")
        design = toolchain.key(
            content, level, Path(__file__).read_text(), *(gates.sources() if netlist else [])
        )
        identity = toolchain.key(design, driver.read_text(), *parts)
        root = toolchain.build_root() / "verilator"
        kind = name + "-gates" * netlist + "-open" * begins_open + "-trace" * trace
        model, folder = root / f"{kind}-model-{design}", root / f"{kind}-{identity}"
        library = folder / f"{name}.so"
        with toolchain.locked(folder) as missing:
            if missing:
                with toolchain.locked(model) as model_missing:
                    if model_missing:
                        extra = (" with waveforms" if trace else "") + (" from its gates" if netlist else "")
                        announce(f"building Verilated {name.capitalize()}{extra}, first time only …")
                        _build_model(verilog(), name, model, stage, level, trace, netlist, begins_open)
                stage("finishing")
                (folder / "hawse_wire.h").write_text(cheader.header())
                includes = [f"-I{d}" for d in (folder, model, *near)]
                objects = toolchain.compile_objects([driver], [*_flags(trace), *includes, *flags], folder)
                objects += _beside(beside, [*_flags(trace), *(f"-I{d}" for d in near), *flags], parts)
                objects += [*sorted(model.glob("*.o")), *toolchain.runtime_objects(names, _flags(trace))]
                unfinished = library.with_suffix(".tmp")
                toolchain.run([toolchain.compiler(), "-shared", "-fPIC", "-o", unfinished, *objects], folder)
                unfinished.rename(library)
                for o in folder.glob("*.o"):
                    o.unlink()
        return library


#: What a register begins with, what a memory does, and that this is not all zeros.
_INIT = re.compile(r"^ *attribute \\init .*\n", re.MULTILINE)
_CONTENTS = re.compile(r"^  cell \$meminit_v2 .*\n(?:    .*\n)*  end\n", re.MULTILINE)
_GIVEN = re.compile(r"\\DATA \d+'0*1")


def _opened(design: str) -> str:
    """RTLIL in which registers, and memories of zeros, begin with nothing in particular."""
    return _CONTENTS.sub(lambda cell: cell[0] if _GIVEN.search(cell[0]) else "", _INIT.sub("", design))


#: A declared signal, whether it is a port, and a name that Verilog has to escape.
_DECLARED = re.compile(r"^ +(wire|reg|input|output)\b(?: (?:reg|\[[^\]]*\]))* \\?([^\s;]+)", re.MULTILINE)
_ESCAPED = re.compile(r"\\(\S+) ")


def _without_dots(verilog: str) -> str:
    """Verilog whose signals have ``__`` for dots: a viewer takes what stands before a dot for a module.

    Ports keep their names, and so does a signal where another one has the new name.
    """
    return "".join(_plain(module) for module in re.split(r"(?<=\nendmodule\n)", verilog))


def _plain(module: str) -> str:
    declared = _DECLARED.findall(module)
    names, ports = ({name for kind, name in declared if kind in kinds} for kinds in (_KINDS, _PORTS))
    new = {name: name.replace(".", "__") for name in names - ports}
    new = {old: name for old, name in new.items() if name not in names}
    return _ESCAPED.sub(lambda escaped: f"\\{new.get(escaped[1], escaped[1])} ", module)


_PORTS = ("input", "output")
_KINDS = ("wire", "reg", *_PORTS)


def _build_model(
    verilog: str,
    name: str,
    folder: Path,
    stage: Callable[[str], None],
    level: str,
    trace: bool,
    netlist: bool,
    begins_open: bool,
) -> None:
    """Objects and headers of the model alone: most of the time, and the same whatever drives it."""
    stage("Verilating")
    (folder / f"{name}.v").write_text(verilog)
    tracing = ["--trace-fst"] if trace else []
    splitting = _GATES.split() if netlist else []
    verilator = toolchain.verilator_root() / "bin" / "verilator_bin"
    basic = _VERILATOR.replace("--x-initial fast", "--x-initial unique") if begins_open else _VERILATOR
    options = ["--cc", "--prefix", "Vmodel", "--top-module", name, *basic.split(), *tracing, *splitting]
    toolchain.run([verilator, *options, "--Mdir", folder, f"{name}.v"], folder)
    stage("compiling")
    # Half of the code only sets up.
    sources = sorted(folder.glob("*.cpp"))
    slow = [p for p in sources if p.stem.endswith("__Slow")]
    fast = [p for p in sources if p not in slow]
    flags = [*_flags(trace), f"-I{folder}"]
    toolchain.compile_objects(_together(fast, "fast", folder), [*flags, level], folder)
    toolchain.compile_objects(_together(slow, "slow", folder), [*flags, "-O0"], folder)
    for source in folder.glob("*.cpp"):
        source.unlink()


def _together(sources: Sequence[Path], name: str, folder: Path) -> list[Path]:
    """A file for each core that includes its share of ``sources``: they all read the same long header."""
    shares: list[list[Path]] = [[] for _ in range(min(2, len(sources)))]
    for source in sorted(sources, key=lambda p: p.stat().st_size, reverse=True):
        min(shares, key=lambda share: sum(p.stat().st_size for p in share)).append(source)
    files = [folder / f"{name}{number}.cpp" for number in range(len(shares))]
    for file, share in zip(files, shares, strict=True):
        file.write_text("".join(f'#include "{p.name}"\n' for p in share))
    return files


def _beside(sources: Sequence[Path], flags: Sequence[str], parts: Sequence[str]) -> list[Path]:
    """Objects of what knows nothing of any model."""
    if not sources:
        return []
    folder = toolchain.build_root() / "verilator" / f"beside-{toolchain.key(*flags, *parts)}"
    with toolchain.locked(folder) as missing:
        if missing:
            (folder / "hawse_wire.h").write_text(cheader.header())
            toolchain.compile_objects(sources, [*flags, f"-I{folder}"], folder)
    return [folder / f"{source.stem}.o" for source in sources]
