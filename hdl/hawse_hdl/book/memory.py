"""Block RAM in which a write is never seen too late."""

from typing import Any

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


class ForwardedMemory(wiring.Component):
    """A memory with one read and one write port, in block RAM, whose reads include the writes made meanwhile.

    Latency: ``data`` one cycle after ``read``. Initiation interval: 1.
    Ordering: ``data`` includes every write up to and including one in its own cycle.
    Reset: the contents stay; the address last read is forgotten.
    Back-pressure: none; to hold ``data``, read the same address again.
    """

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        self.memory = Memory(shape=shape, depth=depth, init=[])
        address = max(1, ceil_log2(depth))
        super().__init__(
            {
                "read": In(address),
                "data": Out(shape),
                "write": In(1),
                "address": In(address),
                "value": In(shape),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        m.submodules.memory = memory = self.memory
        # With a single write port, transparency is one comparison and one multiplexer; without it Yosys
        # builds more, because the block RAM does not promise the old data either.
        write = memory.write_port()
        read = memory.read_port(transparent_for=[write])
        at = Signal.like(self.read)
        m.d.sync += at.eq(self.read)
        m.d.comb += [
            read.addr.eq(self.read),
            write.en.eq(self.write),
            write.addr.eq(self.address),
            write.data.eq(self.value),
            self.data.eq(read.data),
        ]
        with m.If(self.write & (self.address == at)):
            m.d.comb += self.data.eq(self.value)
        return m
