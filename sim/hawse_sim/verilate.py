"""Builds a Verilated component with a C++ harness into a shared library, once for each content."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hawse_hdl
from hawse import wire
from hawse.wire import cheader

from . import gates, toolchain

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
    driven_by: Sequence[Path] = (),
    flags: Sequence[str] = (),
    rewrite: Callable[[str], str] | None = None,
    netlist: bool = False,
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
        driven_by: C++ sources in place of the harness; headers beside them are found.
        flags: for the compiler, of these sources.
        rewrite: makes another design of its RTLIL; ``parameters`` tell what it does.
        netlist: simulate the gates that synthesis makes of it (:mod:`.gates`), not the source.

    Returns:
        Path of the library, for ``ctypes``.

    Raises:
        ToolError: a tool is missing or failed.
    """
    sources = list(driven_by) or [_HARNESS / f"{name}.cpp"]
    headers = [*_HARNESS.rglob("*.h"), *(h for d in {s.parent for s in driven_by} for h in d.glob("*.h*"))]
    parts = [p.read_text() for p in (*sources, *sorted(headers), Path(__file__))]

    def rtlil() -> str:
        made = make()
        return gates.describe(made) if netlist else toolchain.to_rtlil(made, name, rewrite)

    def verilog() -> str:
        return gates.synthesized(make(), name) if netlist else toolchain.to_verilog(rtlil())

    design = toolchain.key(_content(rtlil, name, f"{parameters} {netlist}"), Path(__file__).read_text())
    if netlist:
        design = toolchain.key(design, *gates.sources())
    identity = toolchain.key(design, cheader.header(), *flags, *parts)
    root, tracing = toolchain.build_root() / "verilator", ("-gates" * netlist) + ("-trace" * trace)
    model, folder = root / f"{name}{tracing}-model-{design}", root / f"{name}{tracing}-{identity}"
    library = folder / f"{name}.so"
    with toolchain.locked(folder) as missing:
        if missing:
            with toolchain.locked(model) as model_missing:
                if model_missing:
                    extra = (" with waveforms" if trace else "") + (" from its gates" if netlist else "")
                    announce(f"building Verilated {name.capitalize()}{extra}, first time only …")
                    _build_model(verilog(), name, model, trace, netlist)
            (folder / "hawse_wire.h").write_text(cheader.header())
            near = [f"-I{d}" for d in (folder, model, *dict.fromkeys(s.parent for s in sources))]
            objects = toolchain.compile_objects(sources, [*_flags(trace), *near, *flags], folder)
            names = ["verilated", "verilated_threads", *(["verilated_fst_c"] if trace else [])]
            objects += [*sorted(model.glob("*.o")), *toolchain.runtime_objects(names, _flags(trace))]
            unfinished = library.with_suffix(".tmp")
            toolchain.run([toolchain.compiler(), "-shared", "-fPIC", "-o", unfinished, *objects], folder)
            unfinished.rename(library)
            for o in folder.glob("*.o"):
                o.unlink()
    return library


def _build_model(verilog: str, name: str, folder: Path, trace: bool, netlist: bool) -> None:
    """Objects and headers of the model alone: most of the time, and the same whatever drives it."""
    (folder / f"{name}.v").write_text(verilog)
    tracing = ["--trace-fst"] if trace else []
    splitting = _GATES.split() if netlist else []
    verilator = toolchain.verilator_root() / "bin" / "verilator_bin"
    options = ["--cc", "--prefix", "Vmodel", "--top-module", name, *_VERILATOR.split(), *tracing, *splitting]
    toolchain.run([verilator, *options, "--Mdir", folder, f"{name}.v"], folder)
    flags = [*_flags(trace), f"-I{folder}"]
    sources = sorted(folder.glob("*.cpp"))
    # A waveform costs far more than the model; and half of the code only sets up.
    slow = [p for p in sources if trace or p.stem.endswith("__Slow")]
    toolchain.compile_objects([p for p in sources if p not in slow], flags, folder)
    toolchain.compile_objects(slow, [*flags, "-O1" if trace else "-O0"], folder)
    for source in sources:
        source.unlink()
