"""Block RAM without what Yosys puts beside it in case a word is written while it is read."""

from typing import Any

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .compare import pairs_alike

#: Attributes of a memory in which no word is read while it is written, or nobody minds what comes then.
NO_COLLISION = {"no_rw_check": 1}


class ForwardedMemory(wiring.Component):
    """A memory with one read and one write port, in block RAM, whose reads include the writes made meanwhile.

    Latency: ``data`` one cycle after ``read``. Initiation interval: 1.
    Ordering: ``data`` includes every write before its own cycle, and if ``late`` one in that cycle, too; then
    ``same`` has to say that what was read a cycle ago is written, which who writes may know in advance.
    Reset: the contents stay; what was last read may not show the last write.
    Back-pressure: none; to hold ``data``, read the same address again.

    Args:
        shape: of a word.
        depth: words.
        late: forward what is written in the cycle of ``data``, too.
    """

    def __init__(self, shape: ShapeLike, depth: int, *, late: bool = True) -> None:
        self.late = late
        # A word that is written while it is read comes from registers, whatever the block RAM makes of it.
        self.memory = Memory(shape=shape, depth=depth, init=[], attrs=NO_COLLISION)
        self._ports = self.memory.write_port(), self.memory.read_port()
        address = max(1, ceil_log2(depth))
        super().__init__(
            {
                "read": In(address),
                "data": Out(shape),
                "write": In(1),
                "address": In(address),
                "value": In(shape),
                **({"same": In(1)} if late else {}),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        m.submodules.memory = self.memory
        write, read = self._ports
        # What was read last was written meanwhile: compared as far as one gate goes, and on a cycle later.
        wrote = Signal()
        alike = Signal.like(pairs_alike(self.address, self.read))
        missed = Signal()
        last_value = Signal.like(self.value, reset_less=True)
        m.d.sync += [
            wrote.eq(self.write),
            alike.eq(pairs_alike(self.address, self.read)),
            last_value.eq(self.value),
        ]
        m.d.comb += missed.eq(wrote & alike.all())
        m.d.comb += [
            read.addr.eq(self.read),
            write.en.eq(self.write),
            write.addr.eq(self.address),
            write.data.eq(self.value),
        ]
        kept = Mux(missed, last_value, read.data)
        m.d.comb += self.data.eq(Mux(self.same, self.value, kept) if self.late else kept)
        return m
