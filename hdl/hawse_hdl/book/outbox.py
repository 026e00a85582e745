"""Reports on their way out."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from hawse.wire import Kind

from .. import layouts
from ..streams import BlockFIFO

DEPTH = 16
#: Reports that may still be pushed when ``room`` falls.
SLACK = 8


class Outbox(wiring.Component):
    """A queue of beats, which stamps records with the cycle in which they are first offered.

    What comes behind a HELLO is a BUILD, which says of no kind that it is.

    Latency: 1 cycle, if nothing waits; else 2 or more. Initiation interval: 1. Ordering: first in, first out.
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
        m.submodules.queue = queue = BlockFIFO(width=layouts.BEAT.width, depth=DEPTH + 1)
        waiting = Signal()
        free = Signal()
        pop = Signal()
        left = Signal(32, reset_less=True)
        offered = Signal(layouts.BEAT, reset_less=True)
        m.d.comb += [
            free.eq(~self.beats.valid | self.beats.ready),
            pop.eq(free & queue.r_rdy),
            queue.r_en.eq(free),
            queue.w_en.eq(self.push & ~(free & ~waiting)),
            queue.w_data.eq(self.beat),
            self.empty.eq(~waiting & ~self.beats.valid),
            self.beats.payload.eq(offered),
        ]
        view = layouts.REPORT(self.beats.payload)
        kind = layouts.REPORT(offered).kind.kind
        is_build = Signal()
        with m.If(self.beats.valid & self.beats.ready):
            m.d.sync += is_build.eq((kind == Kind.HELLO) & ~is_build)
        with m.If(~kind[ceil_log2(Kind.FENCE)] & ~is_build):
            m.d.comb += view.left.eq(left)
        m.d.sync += [
            waiting.eq(queue.w_en | Mux(pop, queue.level > 1, waiting)),
            self.room.eq(queue.level < DEPTH - SLACK),
        ]
        with m.If(free):
            m.d.sync += [
                self.beats.valid.eq(queue.r_rdy | (self.push & ~waiting)),
                left.eq(self.cycle + 1),
                offered.eq(Mux(waiting, queue.r_data, self.beat)),
            ]
        return m
