"""Streams across the chip: queues in block RAM, a step between two that lie apart, and taking turns."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered

from .memory import NO_COLLISION


class BlockFIFO(SyncFIFOBuffered):
    """A queue whose entries are in block RAM; never is one read in the cycle in which it is written.

    Latency: 2 cycles.  Initiation interval: 1.  Ordering: kept.  Reset: empty.
    Back-pressure: ``w_rdy`` is low while ``depth - 1`` entries wait in memory.
    """

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = super().elaborate(platform)
        m.submodules.storage.attrs.update(NO_COLLISION)
        return m


class RegisteredFIFO(BlockFIFO):
    """A queue whose entries are in block RAM and leave it for registers before anyone looks at them.

    A block RAM takes half of a cycle to answer, so it fills two registers in turn and nothing is chosen
    before them; and whether it is read is decided by registers alone.

    Latency: 3 cycles.  Initiation interval: 1.  Ordering: kept.  Reset: empty.
    Back-pressure: as :class:`BlockFIFO`; ``level`` leaves out up to two entries that have left the memory.
    """

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        m.submodules.queue = queue = BlockFIFO(width=self.width, depth=self.depth)
        slots = [Signal(self.width, name=f"slot{i}", reset_less=True) for i in range(2)]
        full = Signal()  # both slots hold an entry; one does if ``r_rdy``
        into, out = Signal(), Signal()  # the slot that is filled next, and the one that leaves next
        came, left = Signal(), Signal()
        m.d.comb += [
            queue.w_data.eq(self.w_data),
            queue.w_en.eq(self.w_en),
            queue.r_en.eq(~full),
            self.w_rdy.eq(queue.w_rdy),
            self.w_level.eq(queue.level),
            self.level.eq(queue.level),
            self.r_level.eq(queue.level),
            self.r_data.eq(Mux(out, slots[1], slots[0])),
            came.eq(queue.r_rdy & ~full),
            left.eq(self.r_rdy & self.r_en),
        ]
        m.d.sync += [
            into.eq(into ^ came),
            out.eq(out ^ left),
            self.r_rdy.eq(came | Mux(left, full, self.r_rdy)),
            full.eq(Mux(left, 0, full | (self.r_rdy & came))),
        ]
        for i, slot in enumerate(slots):
            with m.If(~full & (into == i)):
                m.d.sync += slot.eq(queue.r_data)
        return m


def connect_apart(m: Module, source: stream.Interface, sink: stream.Interface) -> None:
    """Connect two that lie far apart, so that no path leads from one to the other.

    Latency: 1 cycle.  Initiation interval: 2.  Ordering: kept.  Reset: empty.
    Back-pressure: one payload waits.
    """
    payload = Signal.like(sink.payload, reset_less=True)
    m.d.comb += [source.ready.eq(~sink.valid), sink.payload.eq(payload)]
    with m.If(~sink.valid):
        m.d.sync += [sink.valid.eq(source.valid), payload.eq(source.payload)]
    with m.Elif(sink.ready):
        m.d.sync += sink.valid.eq(0)


def following(turn: Signal, many: Sequence[object]) -> Value:
    """Whose turn is next."""
    return Mux(turn == len(many) - 1, 0, turn + 1)


def in_turn(m: Module, one: stream.Interface, many: Sequence[stream.Interface], last: Value) -> None:
    """Connect ``one`` to each of ``many`` in turn, the next when a payload with ``last`` has passed."""
    turn = Signal(range(len(many)))
    with m.If(one.valid & one.ready & last):
        m.d.sync += turn.eq(following(turn, many))
    with m.Switch(turn):
        for k, other in enumerate(many):
            with m.Case(k):
                wiring.connect(m, one, other)
