"""Reports on their way out."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from hawse.wire import Kind

from .. import layouts

DEPTH = 16
#: Reports that may still be pushed when ``room`` falls.
SLACK = 8


class Outbox(wiring.Component):
    """A queue of beats, which stamps records with the cycle in which they are first offered.

    Latency: 1 cycle, if nothing waits. Initiation interval: 1. Ordering: first in, first out.
    Reset: empty. Back-pressure: ``room`` falls while at least ``SLACK`` more beats can still be pushed.
    """

    push: In(1)
    beat: In(layouts.BEAT)
    #: Number of this clock cycle.
    cycle: In(32)
    room: Out(1, init=1)
    #: No beat waits or is offered.
    empty: Out(1)
    beats: Out(stream.Signature(layouts.BEAT))

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        m.submodules.memory = memory = Memory(shape=layouts.BEAT, depth=DEPTH, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        count = Signal(range(DEPTH + 1))
        waiting = Signal()
        free = Signal()
        bypass = Signal()
        pop = Signal()
        left = Signal(32, reset_less=True)
        offered = Signal(layouts.BEAT, reset_less=True)
        m.d.comb += [
            free.eq(~self.beats.valid | self.beats.ready),
            bypass.eq(free & ~waiting),
            pop.eq(free & waiting),
            write.en.eq(self.push & ~bypass),
            write.data.eq(self.beat),
            self.empty.eq(~waiting & ~self.beats.valid),
            self.beats.payload.eq(offered),
        ]
        view = layouts.REPORT(self.beats.payload)
        with m.If(~layouts.REPORT(offered).kind.kind[ceil_log2(Kind.FENCE)]):
            m.d.comb += view.left.eq(left)
        with m.If(write.en):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(pop):
            m.d.sync += read.addr.eq(read.addr + 1)
        m.d.sync += [
            count.eq(count + write.en - pop),
            waiting.eq((count + write.en - pop) != 0),
            self.room.eq(count < DEPTH - SLACK),
        ]
        with m.If(free):
            m.d.sync += [self.beats.valid.eq(waiting | self.push), left.eq(self.cycle + 1)]
            m.d.sync += offered.eq(read.data)
            with m.If(~waiting):
                m.d.sync += offered.eq(self.beat)
        return m
