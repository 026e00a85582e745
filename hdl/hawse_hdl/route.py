"""Synthesis, place and route with open tools: ``python -m hawse_hdl.build route --device LFE5UM5G-85F-8``.

Native ``yosys`` and ``nextpnr`` are taken where PATH has them, the ones of PyPI otherwise. Each seed is kept
in the build folder under a hash of netlist and tools, so that an interrupted run goes on seed by seed
and a stale result is never taken for one of this netlist.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import combinations, count
from operator import or_
from pathlib import Path
from statistics import median_low
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Cat, Elaboratable, Module, Mux, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Flow, In, Out
from amaranth.utils import ceil_log2
from hawse.wire.schema import Geometry

from . import floorplan
from .memory import NO_COLLISION
from .onehot import OneHot

#: How ECP5 designs are placed: nextpnr's two placers, and :mod:`.floorplan`, which uses both and is the
#: default for the appliance where nextpnr has Python. Without a floorplan only the electrostatic one leaves
#: it routable; the other, the default for parts, makes them faster.
PLACERS = ("floorplan", "static", "heap")


class RouteError(Exception):
    """A tool is missing or failed; says which, and the end of what it printed."""


@dataclass(frozen=True)
class Device:
    """A part and its package, as synthesis and nextpnr name it."""

    family: str
    options: tuple[str, ...]
    synthesis: str
    #: Sites for the wires; without any, nextpnr chooses.
    sites: tuple[str, ...] = ()


# The electrostatic placer wants to know the sites. Those of a ULX3S, as far as it has such wires.
_SITES = ("G2", "D6", "M1", "L4", "R1")
#: Parts by the vendor's name. Without -nowidelut the hash cores need three times the area.
DEVICES = {
    "LFE5UM5G-85F-8": Device(
        "ecp5",
        ("--um5g-85k", "--speed", "8", "--package", "CABGA381"),
        "synth_ecp5 -nowidelut",
        _SITES,
    ),
    "LFE5U-85F-6": Device(
        "ecp5",
        ("--85k", "--speed", "6", "--package", "CABGA381"),
        "synth_ecp5 -nowidelut",
        _SITES,
    ),
    "iCE40UP5K": Device("ice40", ("--up5k", "--package", "sg48"), "synth_ice40 -dsp -spram"),
    # Five bits compared with a constant take fewer cells as LUTs than as a carry chain; so do 16 of which
    # only the last borrow counts. The third of ABC's flows is the one for area.
    "iCE40HX8K": Device(
        "ice40",
        ("--hx8k", "--package", "ct256"),
        "proc; opt_expr; techmap -map +/cmp2lut.v -D LUT_WIDTH=5; techmap -map {borrows}; opt -full; "
        "scratchpad -copy abc9.script.flow3 abc9.script; synth_ice40",
    ),
}


class Pinned(wiring.Component):
    """A component of wide ports behind four wires, for routing it alone.

    Inputs come out of a shift register, outputs go through registers into an exclusive-or tree, so that
    neither pins nor their paths limit the figure.

    Args:
        inner: the component.
        pairs: of a short shift register each input takes the exclusive-or of two bits, no two inputs of the
            same. On a part whose cells hold a gate and a flip-flop that costs next to nothing, where
            ``inner`` puts its inputs into registers.
    """

    data: In(1)
    shift: In(1)
    parity: Out(1)

    def __init__(self, inner: wiring.Component, *, pairs: bool = False) -> None:
        self.inner = inner
        self.pairs = pairs
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.inner = self.inner
        inputs: list[Value] = []
        outputs: list[Value] = []
        for _, member, value in self.inner.signature.flatten(self.inner):
            bits = Value.cast(value)
            (inputs if member.flow is Flow.In else outputs).append(bits)
        wanted = sum(len(bits) for bits in inputs)
        chain = Signal(next(n for n in count() if n * (n - 1) // 2 >= wanted) if self.pairs else wanted)
        with m.If(self.shift):
            m.d.sync += chain.eq(chain << 1 | self.data)
        values = [a ^ b for a, b in combinations(chain, 2)] if self.pairs else list(chain)
        m.d.comb += Cat(inputs).eq(Cat(values[:wanted]))
        stage: list[Value] = outputs
        while sum(len(bits) for bits in stage) > 1:
            flat = [bit for bits in stage for bit in bits]
            reduced = Signal(-(-len(flat) // 4))
            for n in range(len(reduced)):
                part = flat[4 * n : 4 * n + 4]
                value = part[0]
                for bit in part[1:]:
                    value = value ^ bit
                m.d.sync += reduced[n].eq(value)
            stage = [reduced]
        m.d.comb += self.parity.eq(stage[0])
        return m


class BlockRams:
    """Elaborates memories so that Yosys puts nothing beside the block RAMs of an ECP5.

    One that is deeper than a block RAM becomes lanes that need no multiplexer: Yosys stacks RAMs of nine bits
    instead, and the multiplexer behind them costs a third of the cycle. One that is deeper than a lane of one
    bit becomes banks, of which all but the one that is read give zero, so that a single gate takes in all of
    them and what comes instead of them. If no collision matters (:data:`hawse_hdl.memory.NO_COLLISION`) words
    are read into registers, which Yosys then finds in the block RAM: it heeds the attribute only for those.
    """

    #: Bits of one RAM that a width which is a power of two can use.
    BITS = 16384

    def get_memory(self, memory: Memory) -> Any:
        """Called by Amaranth for each memory."""
        width = Shape.cast(memory.shape).width
        lane = max(1, self.BITS >> ceil_log2(memory.depth))
        if width <= lane or memory.depth <= self.BITS // 8:
            lane = width
        registered = any(port.domain != "comb" for port in memory.read_ports)
        if lane == width and not (registered and NO_COLLISION.items() <= memory.attrs.items()):
            return memory.elaborate(None)
        m = Module()
        for low in range(0, width, lane):
            bits = slice(low, min(low + lane, width))
            banks = -(-memory.depth // self.BITS)
            parts = [
                Memory(shape=bits.stop - low, depth=min(memory.depth, self.BITS), init=[], attrs=memory.attrs)
                for _ in range(banks)
            ]
            for bank, part in enumerate(parts):
                m.submodules[f"lane{low}" if banks == 1 else f"lane{low}_bank{bank}"] = part
            inside = ceil_log2(parts[0].depth)
            for port in memory.write_ports:
                for bank, part in enumerate(parts):
                    write = part.write_port(domain=port.domain)
                    here = port.addr[inside:] == bank if banks > 1 else 1
                    m.d.comb += [write.addr.eq(port.addr[:inside]), write.en.eq(port.en & here)]
                    m.d.comb += write.data.eq(Value.cast(port.data)[bits])
            for port in memory.read_ports:
                data = []
                for bank, part in enumerate(parts):
                    read = part.read_port(domain="comb")
                    here = port.addr[inside:] == bank if banks > 1 else 1
                    m.d.comb += read.addr.eq(port.addr[:inside])
                    data.append(Mux(here, read.data, 0))
                    if port.domain != "comb":
                        register = Signal(bits.stop - low, reset_less=True)
                        with m.If(port.en):
                            m.d[port.domain] += register.eq(data[-1])
                        data[-1] = register
                m.d.comb += Value.cast(port.data)[bits].eq(reduce(or_, data))
        return m


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found:
        return found
    packaged = Path(sys.executable).with_name(f"yowasp-{name}")
    if packaged.exists():
        return str(packaged)
    raise RouteError(f"neither {name} nor yowasp-{name} is installed: make route does it")


def _run(
    command: list[str], log: Path, output: Path | None = None, environment: dict[str, str] | None = None
) -> None:
    """Run a tool that writes ``log``, or writes what it prints there."""
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
    for left in log.parent.glob("out_conc_*.csv"):
        left.unlink(missing_ok=True)
    if done.returncode:
        raise RouteError(f"{' '.join(command)} failed, see {log}:\n{log.read_text()[-1500:]}")


def _version(tool: str) -> str:
    flag = "-V" if tool.endswith("yosys") else "--version"
    done = subprocess.run([tool, flag], capture_output=True, text=True, check=False)
    found = re.search(r"Yosys [\w.+-]+|nextpnr-[\d.]+[\w-]*|Version [\w.+-]+", done.stdout + done.stderr)
    if not found:
        raise RouteError(f"{tool} {flag} says no version: {(done.stdout + done.stderr)[:200]}")
    return found[0]


def describe(top: Elaboratable) -> str:
    """``top`` as it is synthesized, as RTLIL."""
    text = str(rtlil.convert(top, name="top", emit_src=False, platform=BlockRams()))
    # Of a register that has one bit set, cases that look at a bit each exclude each other.
    switch = rf"( *)switch \\\S*{OneHot.SUFFIX} "
    return re.sub(switch, r"\1attribute \\parallel_case 1\n\g<0>", text)


def gateware(text: str) -> str:
    """Hash of what :func:`describe` gave: a result that bears another is of other gateware."""
    return _hash(text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _times() -> str:
    """What Yosys is to take for the delays of an ECP5, in Verilog, instead of its own.

    By its own a gate takes 0.44 to 0.68 ns with its wire, as its pins go, and a block RAM none; so its mapper
    takes eight gates through fast pins for five through slow ones, and puts five behind a block RAM. On an
    LFE5U-85F-6 a gate and its wire take 1.24 ns, whatever the pin, and a block RAM answers 5.1 ns after a
    register. Here a gate and its wire take 600, of which 300 are what Yosys adds for a wire, to gates alone.
    """
    halves = [[f"{pin}{half}" for pin in "ABCD"] for half in (0, 1)]
    carries = [
        *(f"({pin} => {out}) = 700;" for pin in halves[0] for out in ("S0", "COUT")),
        *(f"({pin} => S1) = 820;" for pin in halves[0]),
        *(f"({pin} => {out}) = 700;" for pin in halves[1] for out in ("S1", "COUT")),
        "(CIN => S0) = 220;",
        "(CIN => S1) = 230;",
        "(CIN => COUT) = 34;",
    ]
    outputs = [f"DO{side}{bit}" for side in "AB" for bit in range(18)]
    buses = {"DI": 18, "AD": 14, "CS": 3}
    inputs = [f"{name}{side}{bit}" for side in "AB" for name, bits in buses.items() for bit in range(bits)]
    inputs += [f"{name}{side}" for side in "AB" for name in ("CE", "OCE", "CLK", "WE", "RST")]
    modes = ("DATA_WIDTH", "REGMODE", "CSDECODE", "WRITEMODE")
    parameters = [f"{name}_{side}" for side in "AB" for name in modes]
    parameters += [f"INITVAL_{n:02X}" for n in range(64)] + [f"{port}MUX" for port in inputs]
    parameters += ["RESETMODE", "ASYNC_RESET_RELEASE", "GSR", "INIT_DATA"]
    return "\n".join(
        [
            "(* abc9_lut=1, lib_whitebox *)",
            "module LUT4(input A, B, C, D, output Z);",
            "parameter [15:0] INIT = 0;",
            "assign Z = INIT[{D, C, B, A}];",
            "specify",
            *(f"({pin} => Z) = 300;" for pin in "ABCD"),
            "endspecify",
            "endmodule",
            "(* abc9_box, lib_whitebox *)",
            f"module CCU2C((* abc9_carry *) input CIN, input {', '.join(halves[0] + halves[1])},",
            "output S0, S1, (* abc9_carry *) output COUT);",
            "parameter [15:0] INIT0 = 0, INIT1 = 0;",
            'parameter INJECT1_0 = "YES", INJECT1_1 = "YES";',
            *(
                f"wire l{h} = INIT{h}[{{D{h}, C{h}, B{h}, A{h}}}], k{h} = INIT{h}[{{2'b0, B{h}, A{h}}}];"
                f'assign S{h} = l{h} ^ (INJECT1_{h} == "YES" ? 1\'b0 : {cin});'
                f'wire c{h} = l{h} ? {cin} : INJECT1_{h} == "YES" ? 1\'b0 : k{h};'
                for h, cin in ((0, "CIN"), (1, "c0"))
            ),
            "assign COUT = c1;",
            "specify",
            *carries,
            "endspecify",
            "endmodule",
            "(* abc9_box *)",
            "module TRELLIS_DPR16X4(input [3:0] DI, WAD, RAD, input WRE, WCK, output [3:0] DO);",
            "parameter WCKMUX = 0, WREMUX = 0, INITVAL = 0;",
            "specify (RAD *> DO) = 600; endspecify",
            "endmodule",
            f"module DP16KD(input {', '.join(inputs)}, output {', '.join(outputs)});",
            *(f"parameter {name} = 0;" for name in parameters),
            "specify",
            *(f"(posedge CLK{port[2]} => ({port} : 1'bx)) = 2470;" for port in outputs),
            "endspecify",
            "endmodule\n",
        ]
    )


#: Subtractions of up to 16 bits without a carry chain, in Verilog, for :func:`.compare.less`.
_BORROWS = """
(* techmap_celltype = "$sub" *)
module borrows(A, B, Y);
parameter A_SIGNED = 0, B_SIGNED = 0, A_WIDTH = 1, B_WIDTH = 1, Y_WIDTH = 1;
input [A_WIDTH-1:0] A;
input [B_WIDTH-1:0] B;
output [Y_WIDTH-1:0] Y;
wire _TECHMAP_FAIL_ = A_SIGNED || B_SIGNED || A_WIDTH != B_WIDTH || Y_WIDTH != A_WIDTH + 1 || A_WIDTH > 16;
wire [A_WIDTH:0] borrow = {~A & B | ~(A ^ B) & borrow[A_WIDTH-1:0], 1'b0};
assign Y = {borrow[A_WIDTH], A ^ B ^ borrow[A_WIDTH-1:0]};
endmodule
"""


def _library(folder: Path, name: str, verilog: str) -> str:
    """Name of a file in ``folder`` that holds ``verilog``, another one for each content."""
    file = folder / f"{name}-{_hash(verilog)[:8]}.v"
    file.write_text(verilog)
    return file.name


def synthesize(text: str, device: Device, folder: Path, *, macros: bool = False) -> Path:
    """The netlist as JSON, made once for each content and tool; its name is the hash.

    Args:
        text: what to synthesize, as RTLIL.
        device: for which part.
        folder: for what it makes.
        macros: keep :data:`.floorplan.MACROS` alike.
    """
    yosys = _tool("yosys")
    borrows = _library(folder, "borrows", _BORROWS)
    synthesis = f"{device.synthesis} -top top".format(borrows=borrows)
    script, end = synthesis, "write_json"
    if device.family == "ecp5":
        replaced = f"read_verilog -lib -specify -overwrite {_library(folder, 'times', _times())}"
        script = f"{synthesis} -run :map_luts; {replaced}; {synthesis} -run map_luts:"
    if macros:  # optimized alone, and only then part of the whole
        script = f"hierarchy -top top; setattr -mod -set keep_hierarchy 1 {floorplan.MACROS}; {script}"
        end = "setattr -mod -unset keep_hierarchy *; flatten; opt_clean; write_json"
    key = _hash(f"{_version(yosys)}\n{script}\n{end}\n{text}")
    netlist = folder / f"{key}.json"
    if not netlist.exists():
        source, part = folder / f"{key}.il", folder / f"{key}.part"
        source.write_text(text)
        # Once it has run ABC, the one of PyPI prints no more.
        log = folder / f"{key}.yosys.log"
        commands = f"read_rtlil {source.name}; {script}; {end} {part.name}"
        _run([yosys, "-l", log.name, "-p", commands], log, log.with_suffix(".out"))
        part.rename(netlist)
    return netlist


def _placer(placer: str | None, device: Device, top: str) -> str:
    """The one that is asked for, or the best that there is."""
    if not device.sites:
        return "heap"
    found = subprocess.run([_tool("nextpnr-ecp5"), "--help"], capture_output=True, text=True, check=False)
    scripts = "--pre-place" in found.stdout + found.stderr
    if placer == "floorplan" and not scripts:
        raise RouteError("this nextpnr has no Python, which a floorplan needs; the one of a distribution has")
    return placer or ("heap" if top != "appliance" else "floorplan" if scripts else "static")


def _pins(netlist: Path, device: Device, target: Path) -> Path:
    ports = json.loads(netlist.read_text())["modules"]["top"]["ports"]
    wires = zip(ports, device.sites, strict=False)
    target.write_text("".join(f'LOCATE COMP "{port}" SITE "{site}";\n' for port, site in wires))
    return target


def _plan(netlist: Path, device: Device) -> tuple[Path, str]:
    """The floorplan of a netlist, made once, and a hash of it and its script."""
    nextpnr = _tool(f"nextpnr-{device.family}")
    options = [*device.options, "--placer", "static", "--freq", "150", "--timing-allow-fail", "--no-route"]

    def place(source: Path, target: Path) -> None:
        if not target.exists():
            part, pins = target.with_suffix(".part"), _pins(source, device, source.with_suffix(".lpf"))
            files = ["--json", source.name, "--write", part.name, "--lpf", pins.name]
            _run([nextpnr, *files, *options], target.with_suffix(".log"))
            part.rename(target)

    stem = hashlib.sha256(f"{_version(nextpnr)} {options}".encode()).hexdigest()[:8]
    folder = netlist.with_suffix(f".{stem}-plan")
    folder.mkdir(exist_ok=True)
    try:
        plan = floorplan.plan(netlist, place, folder)
    except ValueError as error:
        raise RouteError(f"no floorplan: {error}") from error
    return plan, hashlib.sha256(plan.read_bytes() + floorplan.script().read_bytes()).hexdigest()


def place_and_route(
    netlist: Path,
    device: Device,
    seed: int,
    goal_mhz: float,
    placer: str,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """One seed's utilisation and clock, made once for each netlist and tool."""
    nextpnr = _tool(f"nextpnr-{device.family}")
    environment, planned = {}, ""
    terms = [*device.options, "--freq", f"{goal_mhz:g}", "--seed", str(seed)]
    if placer == "floorplan":
        plan, planned = _plan(netlist, device)
        terms += ["--placer", "heap", "--pre-place", str(floorplan.script())]
        environment["HAWSE_PLAN"] = str(plan.resolve())
    else:
        terms += ["--placer", placer]
    described = [term for term in terms if term != str(floorplan.script())]
    key = hashlib.sha256(f"{_version(nextpnr)} {described} {device.sites} {planned}".encode()).hexdigest()[:8]
    stem = netlist.with_suffix(f".{key}-seed{seed}")
    if device.sites:
        terms += ["--lpf", _pins(netlist, device, stem.with_name(stem.name + ".lpf")).name]
    report = stem.with_name(stem.name + ".report.json")
    if not report.exists():
        part = report.with_suffix(".part")
        # The delay of every wire, to find the paths behind the slowest, which is all that the report tells.
        files = ["--json", netlist.name, "--report", part.name, "--sdf", f"{stem.name}.sdf"]
        command = [nextpnr, *files, *terms, "--timing-allow-fail"]
        log = stem.with_name(stem.name + ".log")
        progress(f"Seed {seed}: {log} says how far it is")
        _run(command, log, environment=environment)
        part.rename(report)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def _used(utilization: dict[str, Any], *cells: str) -> int:
    return sum(utilization.get(cell, {}).get("used", 0) for cell in cells)


def route(
    make: Callable[[], wiring.Component],
    *,
    top: str,
    device_name: str,
    geometry: Geometry,
    seeds: Sequence[int],
    goal_mhz: float,
    placer: str | None,
    folder: Path,
    jobs: int = 1,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Route ``make()`` with each seed.

    Returns:
        The figures: ``device``, ``top``, ``geometry``, ``seeds``, ``fmax_mhz`` (one a seed),
        ``fmax_mhz_median``, ``lut4``, ``ff``, ``bram``, ``netlist`` and ``gateware`` (hashes) and ``tools``.

    Raises:
        RouteError: a tool is missing or failed, or the design does not fit.
    """
    device = DEVICES[device_name]
    placer = _placer(placer, device, top)
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"Synthesizing {top} for {device_name}")
    text = describe(make())
    netlist = synthesize(text, device, folder, macros=top == "appliance" and device.sites != ())
    if placer == "floorplan":
        progress("Placing the hash cores")
        _plan(netlist, device)

    def one(seed: int) -> dict[str, Any]:
        found = place_and_route(netlist, device, seed, goal_mhz, placer, progress)
        clocks = {name: round(clock["achieved"], 2) for name, clock in found["fmax"].items()}
        progress(f"Seed {seed}: {clocks}")
        return found

    with ThreadPoolExecutor(jobs) as pool:
        reports = list(pool.map(one, seeds))
    fmax = [round(min(clock["achieved"] for clock in r["fmax"].values()), 2) for r in reports]
    used = reports[0]["utilization"]
    nextpnr = re.sub(r"^Version (nextpnr-)?", "nextpnr ", _version(_tool(f"nextpnr-{device.family}")))
    ecp5 = device.family == "ecp5"
    return {
        "device": device_name,
        "top": top,
        "geometry": asdict(geometry),
        "seeds": list(seeds),
        "fmax_mhz": fmax,
        "fmax_mhz_median": median_low(fmax),
        "lut4": _used(used, "TRELLIS_COMB") if ecp5 else _used(used, "ICESTORM_LC"),
        "ff": _used(used, "TRELLIS_FF") if ecp5 else None,
        "bram": _used(used, "DP16KD") if ecp5 else _used(used, "ICESTORM_RAM"),
        "netlist": netlist.stem,
        "gateware": gateware(text),
        "goal_mhz": goal_mhz,
        "placer": placer,
        "tools": [_version(_tool("yosys")), nextpnr],
    }
