"""Lays memories out in the block RAMs of an ECP5; part of the gateware, and seen by every tool alike."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Const, Elaboratable, Module, Mux, Shape, ShapeCastable, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.utils import ceil_log2

from .memory import NO_COLLISION


class LoweringError(Exception):
    """A memory asks for what its layout in block RAMs does not do; says which, and what."""


class BlockRams:
    """Elaborates memories so that Yosys puts nothing beside the block RAMs of an ECP5.

    To be given as the platform: ``rtlil.convert(top, platform=BlockRams())``.

    One that is deeper than a block RAM becomes lanes that need no multiplexer: Yosys stacks RAMs of nine bits
    instead, and the multiplexer behind them costs a third of the cycle. One that is deeper than a lane of one
    bit becomes banks, of which all but the one that is read give zero, so that a single gate takes in all of
    them and what comes instead of them. If no collision matters (:data:`hawse_hdl.memory.NO_COLLISION`) words
    are read into registers, which Yosys then finds in the block RAM: it heeds the attribute only for those.

    Raises:
        LoweringError: of a memory that is laid out so, a port writes parts of words, or a read port shows
            what is written in the same cycle.
    """

    #: Bits of one RAM that a width which is a power of two can use.
    BITS = 16384

    def get_memory(self, memory: Memory) -> Any:
        """Called by Amaranth for each memory."""
        width = Shape.cast(memory.shape).width
        lane = self.lane(width, memory.depth)
        registered = any(port.domain != "comb" for port in memory.read_ports)
        if lane == width and not (registered and NO_COLLISION.items() <= memory.attrs.items()):
            return memory.elaborate(None)
        _check(memory)
        m = Module()
        words = _given(memory)
        for low in range(0, width, lane):
            self._lane(m, memory, words, low, min(low + lane, width))
        return m

    def lane(self, width: int, depth: int) -> int:
        """Bits of a lane of a memory of ``depth`` words of ``width`` bits: ``width`` if it needs no lanes."""
        lane = max(1, self.BITS >> ceil_log2(depth))
        return width if width <= lane or depth <= self.BITS // 8 else lane

    def _lane(self, m: Module, memory: Memory, words: list[int], low: int, high: int) -> None:
        """Bits ``low`` up to, not including, ``high`` of all words, in as many banks as it takes."""
        mask = (1 << high - low) - 1
        parts = [
            Memory(
                shape=high - low,
                depth=min(memory.depth, self.BITS),
                init=[word >> low & mask for word in words[first : first + self.BITS]],
                attrs=memory.attrs,
            )
            for first in range(0, memory.depth, self.BITS)
        ]
        banked = len(parts) > 1
        for bank, part in enumerate(parts):
            m.submodules[f"lane{low}_bank{bank}" if banked else f"lane{low}"] = part
        inside = ceil_log2(parts[0].depth)
        for port in memory.write_ports:
            for bank, part in enumerate(parts):
                write = part.write_port(domain=port.domain)
                here = port.addr[inside:] == bank if banked else 1
                m.d.comb += [write.addr.eq(port.addr[:inside]), write.en.eq(port.en & here)]
                m.d.comb += write.data.eq(Value.cast(port.data)[low:high])
        for port in memory.read_ports:
            data = []
            for bank, part in enumerate(parts):
                read = part.read_port(domain="comb")
                here = port.addr[inside:] == bank if banked else 1
                m.d.comb += read.addr.eq(port.addr[:inside])
                data.append(Mux(here, read.data, 0))
                if port.domain != "comb":
                    register = Signal(high - low, reset_less=True)
                    with m.If(port.en):
                        m.d[port.domain] += register.eq(data[-1])
                    data[-1] = register
            m.d.comb += Value.cast(port.data)[low:high].eq(reduce(or_, data))


def _given(memory: Memory) -> list[int]:
    """What a memory begins with, up to the last word that is not zero: Amaranth takes time for each."""
    words: list[int] = []
    open_word = Const.cast(Const(None, memory.shape)).value if isinstance(memory.shape, ShapeCastable) else 0
    for address, word in enumerate(memory.init):
        value = open_word if word is None else Const.cast(Const(word, memory.shape)).value
        if value:
            words += [0] * (address - len(words)) + [value]
    return words


def _check(memory: Memory) -> None:
    """Refuse what the layout does not do."""
    name = f"a memory of {memory.depth} words of {Shape.cast(memory.shape).width} bits"
    for port in memory.write_ports:
        if len(port.en) != 1:
            raise LoweringError(
                f"{name}: {len(port.en)} write enables a word, but block RAMs are written whole"
            )
    if any(port.transparent_for for port in memory.read_ports):
        raise LoweringError(f"{name}: a transparent read port, but block RAMs forward nothing")


def lowered(top: Elaboratable, name: str, *, source_lines: bool = False) -> str:
    """RTLIL of ``top`` as every tool gets it: memories in block RAMs, ``name`` as top module.

    Args:
        top: a component; ports are those of its signature, ``clk`` and ``rst``.
        name: of the top module.
        source_lines: say in attributes which line of Python each signal comes from.

    Raises:
        LoweringError: a memory asks for what its layout does not do.
    """
    return str(rtlil.convert(top, name=name, emit_src=source_lines, platform=BlockRams()))
