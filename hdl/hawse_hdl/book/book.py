"""The matching engine: a pipeline around the order store, the queues and the bitmap."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2
from hawse.wire import Feature, Geometry, Opcode

from .. import layouts
from . import stages
from .layouts import back_layout, judgement_layout, release_layout, row_layout
from .pipeline import Parts, Pipeline
from .queues import Act
from .returns import give_back
from .telling import tell


class Book(wiring.Component):
    """Matches commands into reports by the matching rules. FENCE and BATCH beats carry no log figures yet.

    A command is accepted, then checked, then its order is read and its level compared with the best, then
    it is decided (the order's record and the best levels are brought up to date), then told, while the queue
    of its level is changed behind it. What takes longer, the matcher does while the pipeline waits.

    Latency: 6 cycles from a command to its report, 10 to the first fill of one that crosses.
    Initiation interval: 1; REPLACE, REDUCE and a NEW that cannot rest 2; the rest as :class:`Matcher` says.
    Ordering: reports leave in the order of the commands.
    Reset: all instruments closed and without a window, no orders; ``commands`` is not ready until the
    memories are cleared, a cycle for each handle, level or instrument, whichever are most.
    Back-pressure: a stalled ``beats`` stalls the book for as long as it likes; nothing is lost.

    The sideband's ``left`` is the cycle in which a report is first offered on ``beats``.

    Args:
        geometry: how much it holds.
        build: what it was made of, 16 bytes as a little-endian integer, or a constant signal; BUILD tells it.
        clock_khz: of its clock, 0 if that is not known; BUILD tells it.
        features: of :class:`~hawse.wire.Feature`, of what is around it; BUILD tells them.
        gate: a :class:`~hawse_hdl.gate.Gate` is before it, whose ``judgement`` comes with each command; LIMIT
            is taken, and the gate is told what is open no more.

    Raises:
        ValueError: ``build`` or ``clock_khz`` do not fit.
    """

    def __init__(
        self,
        geometry: Geometry,
        *,
        build: int | Value = 0,
        clock_khz: int = 0,
        features: int = 0,
        gate: bool = False,
    ) -> None:
        for name, value, bits in (("build", build, 128), ("clock_khz", clock_khz, 32)):
            if isinstance(value, int) and not 0 <= value < 1 << bits:
                raise ValueError(f"{name}: {value} is not within 0..2**{bits} - 1")
        self.geometry = geometry
        self.build = build
        self.clock_khz = clock_khz
        self.features = features | (Feature.GATE if gate else 0)
        self.gate = gate
        told = {
            "judgement": In(judgement_layout()),
            "back": Out(back_layout(geometry)),
            "release": Out(release_layout()),
        }
        super().__init__(
            {
                "commands": In(stream.Signature(layouts.COMMAND)),
                "beats": Out(stream.Signature(layouts.BEAT)),
                #: Counts resets; HELLO tells it.
                "epoch": In(32),
                #: A command is at work, from its acceptance until its last beat has left.
                "busy": Out(1),
                **(told if gate else {}),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        parts = Parts(m, self)
        connect(m, parts.outbox.beats, flipped(self.beats))
        m.submodules.rows = rows = Memory(
            shape=row_layout(self.geometry), depth=self.geometry.instruments, init=[]
        )
        pipeline = Pipeline(m, self, parts, rows)
        stages.advance(pipeline)
        stages.accept(pipeline)
        stages.check(pipeline)
        stages.read(pipeline)
        stages.pass_on(pipeline)
        stages.take_record(pipeline)
        stages.judge(pipeline)
        stages.decide(pipeline)
        stages.write(pipeline)
        stages.bound(pipeline)
        stages.hand_on(pipeline)
        tell(pipeline)
        if self.gate:
            give_back(pipeline)
        _join_parts(pipeline)
        _lend_memories(pipeline)
        _count(pipeline)
        _clear(pipeline)
        _know_busy(pipeline)
        return m


def _join_parts(p: Pipeline) -> None:
    """What the parts know of each other."""
    m, parts = p.m, p.parts
    queues, bitmap, fronts, matcher = parts.queues, parts.bitmap, parts.fronts, parts.matcher
    seek_mask = Signal.like(p.row_seek.data.mask)
    m.d.sync += seek_mask.eq(p.row_seek.data.mask)
    m.d.comb += [
        p.row_seek.addr.eq(fronts.seek_instrument),
        matcher.active.eq(p.slow),
        matcher.task.eq(p.task),
        matcher.applied.eq(p.applied),
        matcher.last_seq.eq(p.last_seq),
        matcher.busy_cycles.eq(p.busy_cycles),
        matcher.epoch.eq(p.io.epoch),
        matcher.record.eq(parts.store.data),
        matcher.ends.eq(queues.ends),
        matcher.next.eq(queues.next),
        matcher.settled.eq(queues.quiet & bitmap.settled),
        matcher.seek_ready.eq(bitmap.ready),
        matcher.found.eq(bitmap.found),
        fronts.write_instrument.eq(matcher.instrument),
        fronts.write.eq(matcher.front_write & p.slow.replicate(2)),
        fronts.value.eq(matcher.front),
        p.row_match.addr.eq(matcher.instrument),
        matcher.row.eq(p.row_match.data),
        matcher.room.eq(parts.outbox.room),
        p.row_write.addr.eq(matcher.instrument),
        p.row_write.data.eq(matcher.row_value),
        p.row_write.en.eq(matcher.row_write),
        bitmap.changing.eq(queues.changing),
        bitmap.changing_side.eq(queues.changing_side),
        bitmap.change.eq(queues.change),
        bitmap.seek.eq(fronts.seek),
        bitmap.onward.eq(1),
        bitmap.place.eq(fronts.seek_place),
        bitmap.mask.eq(seek_mask),
        bitmap.side.eq(fronts.seek_side),
        fronts.seek_ready.eq(bitmap.ready),
        fronts.found.eq(bitmap.found),
        fronts.hold.eq(p.slow),
    ]


def _lend_memories(p: Pipeline) -> None:
    """While the matcher is at work, it has the memories."""
    m, parts = p.m, p.parts
    store, queues, bitmap, matcher = parts.store, parts.queues, parts.bitmap, parts.matcher
    with m.If(p.slow):
        m.d.comb += [
            bitmap.seek.eq(matcher.seek),
            bitmap.onward.eq(matcher.onward),
            bitmap.place.eq(matcher.place),
            bitmap.mask.eq(p.task.row.mask),
            bitmap.side.eq(matcher.seek_side),
            queues.place.eq(matcher.place),
            queues.instrument.eq(matcher.instrument),
            queues.handle.eq(matcher.handle),
            queues.act.eq(matcher.act),
            queues.side.eq(matcher.act_side),
            store.write.eq(matcher.write),
            store.address.eq(matcher.write_handle),
            store.value.eq(matcher.value),
        ]


def _count(p: Pipeline) -> None:
    """What HELLO and FENCE tell."""
    m, parts = p.m, p.parts
    with m.If((p.told_valid & ~p.slow & ~p.told_second) | (p.slow & parts.matcher.done)):
        m.d.sync += [p.applied.eq(p.applied + (~p.slow | ~p.told_second)), p.last_seq.eq(p.task.command.seq)]
        with m.If(p.slow & (p.task.command.opcode == Opcode.CLOSE)):
            m.d.sync += p.applied.eq(0)


def _clear(p: Pipeline) -> None:
    """Clear the memories after a reset."""
    m, parts = p.m, p.parts
    store, queues, fronts = parts.store, parts.queues, parts.fronts
    depth = max(p.geometry.pool, p.geometry.orders, p.geometry.instruments)
    count = Signal(ceil_log2(depth) + 1)
    wiping = Signal()
    m.d.sync += wiping.eq(~p.cleared)
    with m.If(~p.cleared):
        m.d.sync += [count.eq(count + 1), p.cleared.eq(count == depth - 1)]
        m.d.comb += [
            queues.place.eq(count),
            store.write.eq(1),
            store.address.eq(count),
            store.value.eq(0),
            p.row_write.en.eq(1),
            p.row_write.addr.eq(count),
            p.row_write.data.eq(0),
        ]
        m.d.comb += [
            fronts.write_instrument.eq(count),
            fronts.write.eq(~0),
            fronts.value.eq(0),
        ]
    with m.If(wiping):
        # A word of the bitmap is wiped at once, so one pass serves both sides.
        m.d.comb += [queues.act.eq(Act.WIPE), queues.side.eq(count[0])]


def _know_busy(p: Pipeline) -> None:
    """A command is at work."""
    m, parts = p.m, p.parts
    m.d.comb += p.io.busy.eq(
        (p.io.commands.valid & p.io.commands.ready)
        | p.checking_valid
        | p.reading_valid
        | p.deciding_valid
        | p.told_valid
        | p.was_told
        | p.matched
        | ~parts.outbox.empty
    )
