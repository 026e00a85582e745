"""The netlist of an ECP5, as synthesis makes it, in Verilog that simulates: gates, carry chains, block RAMs.

A netlist is written out cell by cell, each an instance of its model in ``harness/ecp5.v``. What the models do
not do is refused, never left out.
"""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from amaranth.lib import wiring
from hawse_build.netlist import cells, load
from hawse_build.synthesis import DEVICES, parallel, synthesize
from hawse_build.tools import BuildError
from hawse_hdl.block_rams import lowered
from hawse_hdl.boards import ECP5Board

from . import toolchain

_MODELS = Path(__file__).with_name("harness") / "ecp5.v"
#: The part whose netlists are simulated.
_DEVICE = DEVICES["LFE5U-85F-6"]


class GateError(Exception):
    """A cell of the netlist, or a mode of it, that no model has; names it."""


#: A component of wide ports, or a board.
Top: TypeAlias = wiring.Component | ECP5Board


def describe(top: Top) -> str:
    """RTLIL of what is to be synthesized."""
    return top.prepare()[0] if isinstance(top, ECP5Board) else lowered(top, "top")


def synthesized(top: Top, name: str) -> str:
    """Verilog of the netlist that synthesis makes of ``top``, with ``name`` as top module.

    Its ports are those of the component, or ``clock``, ``button``, ``rx``, ``tx`` and ``led`` of a board.

    Args:
        top: a component, or a board.
        name: of the top module.

    Raises:
        ToolError: Yosys is missing or failed.
        GateError: the netlist has what cannot be simulated.
    """
    folder = toolchain.build_root() / "route"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        netlist = load(synthesize(parallel(describe(top)), _DEVICE, folder, macros=True))
    except BuildError as error:
        raise toolchain.ToolError(str(error)) from error
    pins = top.pins() if isinstance(top, ECP5Board) else {}
    netlist["ports"] = {pins.get(port, port): shape for port, shape in netlist["ports"].items()}
    return to_verilog(netlist, name)


def sources() -> list[str]:
    """What decides what becomes of a netlist, beside the netlist: text of the models and of this module."""
    return [_MODELS.read_text(), Path(__file__).read_text()]


def to_verilog(top: dict[str, Any], name: str) -> str:
    """Verilog of a netlist and of the models of its cells, with ``name`` as top module.

    Raises:
        GateError: the netlist has what cannot be simulated.
    """
    writer = _Writer(top)
    lines = [writer.instance(number, *entry) for number, entry in enumerate(cells(top).items())]
    head, ports = writer.ports()
    nets = sorted(writer.nets)
    wires = [f"wire {', '.join(f'n{n}' for n in nets[at : at + 20])};" for at in range(0, len(nets), 20)]
    body = "\n".join([f"module {name} ({head});", *wires, *ports, *lines, "endmodule", ""])
    return _MODELS.read_text() + body


class _Writer:
    """Writes cells; remembers the nets that were met."""

    def __init__(self, top: dict[str, Any]) -> None:
        self.top = top
        self.nets: set[int] = set()
        self._rng = random.Random(0)

    def ports(self) -> tuple[str, list[str]]:
        """The ports of the module, and what joins them to nets."""
        heads, lines = [], []
        for port, shape in self.top["ports"].items():
            bits, direction = shape["bits"], shape["direction"]
            wide = len(bits) > 1
            heads.append(f"{direction} {f'[{len(bits) - 1}:0] ' if wide else ''}{port}")
            if direction == "input":
                pairs = [(n, bit) for n, bit in enumerate(bits) if isinstance(bit, int)]
                lines += [f"assign {self.bit(bit)} = {port}{f'[{n}]' if wide else ''};" for n, bit in pairs]
            else:
                lines.append(f"assign {port} = {self.word(bits)};")
        return ", ".join(heads), lines

    def bit(self, bit: int | str) -> str:
        """A net or constant; what is not defined is 0."""
        if isinstance(bit, int):
            self.nets.add(bit)
            return f"n{bit}"
        return "1'b1" if bit == "1" else "1'b0"

    def word(self, bits: Iterable[int | str]) -> str:
        """Nets from the lowest bit on."""
        return "{" + ", ".join(self.bit(bit) for bit in reversed(list(bits))) + "}"

    def instance(self, number: int, name: str, cell: dict[str, Any]) -> str:
        """A cell as an instance of its model."""
        kind, parameters, pins = cell["type"], _parameters(cell), cell["connections"]
        if kind == "DP16KD":
            return self._block_ram(number, name, parameters, pins)
        if kind == "TRELLIS_IO":
            return self._pin(name, parameters, pins)
        wanted = _PARAMETERS.get(kind)
        if wanted is None:
            raise GateError(f"{name}: no model of {kind}")
        inputs = {port: self.constant(parameters.pop(port)) for port in _CONTENTS.get(kind, ())}
        outside = [p for p in parameters if p not in wanted]
        if outside and kind != "EHXPLLL":
            raise GateError(f"{name}: no model of {kind} with {outside[0]} = {parameters[outside[0]]}")
        given = ", ".join(f".{p}({self._value(parameters[p])})" for p in wanted if p in parameters)
        known = _PINS.get(kind)
        joined = inputs | {p: self.word(bits) for p, bits in pins.items() if known is None or p in known}
        listed = ", ".join(f".{port}({value})" for port, value in joined.items())
        return f"{kind} {f'#({given}) ' if given else ''}u{number} ({listed});"

    def _value(self, value: str) -> str:
        """A parameter: a word of bits, or a string."""
        return self.constant(value) if set(value) <= set("01xz") and len(value) > 1 else f'"{value}"'

    def constant(self, bits: str) -> str:
        """A word; bits of which the netlist does not say what they are at first are either."""
        known = "".join(self._rng.choice("01") if bit in "xz" else bit for bit in bits)
        return f"{len(bits)}'b{known}"

    def _pin(self, name: str, parameters: dict[str, str], pins: dict[str, list[int | str]]) -> str:
        direction = parameters["DIR"]
        if direction == "INPUT":
            return f"assign {self.word(pins['O'])} = {self.word(pins['B'])};"
        if direction == "OUTPUT" and pins["T"] == ["0"]:
            return f"assign {self.word(pins['B'])} = {self.word(pins['I'])};"
        raise GateError(f"{name}: no model of a TRELLIS_IO with DIR = {direction}, T = {pins.get('T')}")

    def _block_ram(
        self, number: int, name: str, parameters: dict[str, str], pins: dict[str, list[int | str]]
    ) -> str:
        def demand(what: str, found: object, *allowed: object) -> None:
            if found not in allowed:
                raise GateError(f"{name}: no model of a DP16KD with {what} = {found}")

        for side in "AB":
            demand(f"REGMODE_{side}", parameters.get(f"REGMODE_{side}"), "NOREG")
            demand(f"CSDECODE_{side}", parameters.get(f"CSDECODE_{side}"), "0b000")
            demand(f"CLK{side}MUX", parameters.get(f"CLK{side}MUX"), f"CLK{side}")
            if pins[f"RST{side}"] != ["0"]:
                demand("RESETMODE", parameters.get("RESETMODE"), "SYNC")
                demand(f"RST{side} and WE{side}", pins[f"WE{side}"], ["0"])
            demand(f"CS{side}", [pins[f"CS{side}{n}"] for n in range(3)], [["0"]] * 3)
        a, b = pins["CLKA"], pins["CLKB"]
        if a != b and not {("0",), ("x",)} & {tuple(a), tuple(b)}:
            raise GateError(f"{name}: no model of a DP16KD with two clocks")
        widths = {side: int(parameters[f"DATA_WIDTH_{side}"], 2) for side in "AB"}
        demand("both ports written", ["0"] in (pins["WEA"], pins["WEB"]), True)
        demand("DATA_WIDTHs", widths["A"] == 36 or widths["B"] != 36, True)
        given = [f".DATA_WIDTH_{side}({width})" for side, width in widths.items()]
        given += [f'.WRITEMODE_{s}("{parameters.get(f"WRITEMODE_{s}", "NORMAL")}")' for s in "AB"]
        words = "".join(parameters[f"INITVAL_{n:02X}"][-320:] for n in reversed(range(64)))
        stride = [words[at : at + 20][2:] for at in range(0, len(words), 20)]
        if "1" in "".join(stride):
            given.append(f".CONTENTS({self.constant(''.join(stride))})")
        joined = [f".CLK({self.word(a if isinstance(a[0], int) else b)})"]
        joined += [
            f".{pin}{side}({self.word(pins[pin + side])})" for pin in ("CE", "WE", "RST") for side in "AB"
        ]
        for bus, width in (("AD", 14), ("DI", 18), ("DO", 18)):
            for side in "AB":
                bits = [pins[f"{bus}{side}{n}"][0] for n in range(width)]
                joined.append(
                    f".{bus}{side}({self.word(bits) if bus != 'DO' else self._outputs(number, bits)})"
                )
        return f"DP16KD #({', '.join(given)}) u{number} ({', '.join(joined)});"

    def _outputs(self, number: int, bits: list[int | str]) -> str:
        """Pins that drive; those that nobody reads go nowhere."""
        unread = iter(range(1000))
        named = [self.bit(b) if isinstance(b, int) else f"u{number}_{next(unread)}" for b in bits]
        return "{" + ", ".join(reversed(named)) + "}"


#: By type: parameters that the model has.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "LUT4": (),
    "PFUMX": (),
    "L6MUX21": (),
    "CCU2C": ("INJECT1_0", "INJECT1_1"),
    "TRELLIS_FF": ("CEMUX", "CLKMUX", "LSRMUX", "SRMODE", "REGSET", "LSRMODE", "GSR"),
    "TRELLIS_DPR16X4": ("WCKMUX", "WREMUX", "INITVAL"),
    "EHXPLLL": (),
}
#: Parameters that the model has as inputs.
_CONTENTS = {"LUT4": ("INIT",), "CCU2C": ("INIT0", "INIT1")}
#: Pins that the model has, where it has not all.
_PINS = {"EHXPLLL": ("CLKI", "CLKFB", "RST", "CLKOP", "LOCK")}


def _parameters(cell: dict[str, Any]) -> dict[str, str]:
    """As Yosys writes them, without the space behind a string that looks like a number."""
    return {name: value.removesuffix(" ") for name, value in cell["parameters"].items()}
