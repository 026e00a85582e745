"""Synthesis with Yosys: a component as the netlist of a part."""

import re
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import Elaboratable
from hawse_hdl.block_rams import lowered
from hawse_hdl.onehot import OneHot

from . import floorplan
from .tools import digest, run, tool, version


@dataclass(frozen=True)
class Device:
    """A part and its package, as synthesis and nextpnr name it."""

    family: str
    options: tuple[str, ...]
    synthesis: str


#: Parts by the vendor's name. Without -nowidelut the hash cores need three times the area.
DEVICES = {
    "LFE5UM5G-85F-8": Device("ecp5", ("--um5g-85k", "--speed", "8"), "synth_ecp5 -nowidelut"),
    "LFE5U-85F-6": Device("ecp5", ("--85k", "--speed", "6"), "synth_ecp5 -nowidelut"),
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


def parallel(text: str) -> str:
    """RTLIL that tells Yosys that cases which look at a bit of a :class:`.OneHot` exclude each other."""
    switch = rf"( *)switch \\\S*{OneHot.SUFFIX} "
    return re.sub(switch, r"\1attribute \\parallel_case 1\n\g<0>", text)


def describe(top: Elaboratable) -> str:
    """``top`` as it is synthesized, as RTLIL."""
    return parallel(lowered(top, "top"))


def _library(folder: Path, name: str, verilog: str) -> str:
    """Name of a file in ``folder`` that holds ``verilog``, another one for each content."""
    file = folder / f"{name}-{digest(verilog)[:8]}.v"
    file.write_text(verilog)
    return file.name


def synthesize(text: str, device: Device, folder: Path, *, macros: bool = False) -> Path:
    """The netlist as JSON, made once for each content and tool.

    Args:
        text: what to synthesize, as RTLIL.
        device: for which part.
        folder: for what it makes.
        macros: keep :data:`.floorplan.MACROS` alike.

    Raises:
        BuildError: Yosys is missing or failed.
    """
    yosys = tool("yosys")
    borrows = _library(folder, "borrows", _BORROWS)
    synthesis = f"{device.synthesis} -top top".format(borrows=borrows)
    script, end = synthesis, "write_json"
    if device.family == "ecp5":
        replaced = f"read_verilog -lib -specify -overwrite {_library(folder, 'times', _times())}"
        script = f"{synthesis} -run :map_luts; {replaced}; {synthesis} -run map_luts:"
    if macros:  # optimized alone, and only then part of the whole
        script = f"hierarchy -top top; setattr -mod -set keep_hierarchy 1 {floorplan.MACROS}; {script}"
        end = "setattr -mod -unset keep_hierarchy *; flatten; opt_clean; write_json"
    key = digest(f"{version(yosys)}\n{script}\n{end}\n{text}")
    netlist = folder / f"{key}.json"
    if not netlist.exists():
        source, part = folder / f"{key}.il", folder / f"{key}.part"
        source.write_text(text)
        # Once it has run ABC, the one of PyPI prints no more.
        log = folder / f"{key}.yosys.log"
        commands = f"read_rtlil {source.name}; {script}; {end} {part.name}"
        run([yosys, "-l", log.name, "-p", commands], log, log.with_suffix(".out"))
        part.rename(netlist)
    return netlist
