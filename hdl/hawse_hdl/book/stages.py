"""The stages of the pipeline up to the decision."""

from typing import Any

from amaranth.hdl import Const, Mux, Signal
from hawse.wire import Opcode

from .check import alike_tags, same_instrument
from .layouts import handle_bits, record_layout
from .pipeline import Pipeline
from .queues import Act


def advance(p: Pipeline) -> None:
    """Whether the stages go on."""
    m = p.m
    was_busy = Signal()
    m.d.sync += [
        p.cycle.eq(p.cycle + 1),
        was_busy.eq(p.io.busy),
        p.busy_cycles.eq(p.busy_cycles + was_busy),
    ]
    m.d.comb += [
        p.go.eq(p.parts.outbox.room & ~p.slow),
        p.step.eq(p.go & ~p.pauses),
        p.io.commands.ready.eq(p.step & ~p.barrier & p.cleared),
    ]


def accept(p: Pipeline) -> None:
    """A command, and what its instrument is in."""
    m, incoming = p.m, p.io.commands.payload
    m.d.comb += p.row_accept.addr.eq(incoming.instrument)
    with m.If(p.step):
        m.d.sync += [
            p.checking_valid.eq(p.io.commands.valid & p.io.commands.ready),
            p.checking.command.eq(incoming),
            p.checking.accepted.eq(p.cycle),
            p.checking.row.eq(p.row_accept.data),
        ]
        if p.io.gate:
            m.d.sync += p.checking.judgement.eq(p.io.judgement)
        with m.If(p.io.commands.valid & p.io.commands.ready & (incoming.opcode == Opcode.STATE)):
            m.d.sync += p.barrier.eq(1)


def check(p: Pipeline) -> None:
    """What can be said of the command without its order."""
    m, parts = p.m, p.parts
    m.d.comb += [
        parts.check.command.eq(p.checking.command),
        parts.check.row.eq(p.checking.row),
    ]
    if p.io.gate:
        m.d.comb += parts.check.judgement.eq(p.checking.judgement)
    with m.If(p.step):
        m.d.sync += [
            p.reading_valid.eq(p.checking_valid),
            p.reading.came.eq(p.checking),
            p.reading.verdict.eq(parts.check.verdict),
        ]


def read(p: Pipeline) -> None:
    """Read the order named. A stage that waits reads again, so that nothing written meanwhile is missed."""
    m, parts, matcher = p.m, p.parts, p.parts.matcher
    handle = p.command.handle[: handle_bits(p.geometry)]
    m.d.comb += [
        p.rewritten.eq(p.may_write & p.accepted & p.same_handle),
        p.matched_over.eq(p.slow & matcher.write & (matcher.write_handle == handle)),
    ]

    m.d.comb += parts.store.read.eq(p.reading.came.command.handle)
    with m.If(p.slow & ~matcher.done):
        m.d.comb += parts.store.read.eq(matcher.handle)
    with m.Elif(p.step):
        m.d.comb += parts.store.read.eq(p.checking.command.handle)


def pass_on(p: Pipeline) -> None:
    """The command comes to be decided, or comes to its second pass."""
    m, parts = p.m, p.parts
    handle = handle_bits(p.geometry)
    with m.If(p.step):
        m.d.sync += [
            p.deciding_valid.eq(p.reading_valid),
            p.deciding.checked.eq(p.reading),
            p.same_handle.eq(p.checking.command.handle[:handle] == p.reading.came.command.handle[:handle]),
            p.second.eq(0),
            p.pauses.eq(p.reading_valid & p.reading.verdict.twice),
            p.may_write.eq(
                p.reading_valid
                & ~_fails(p.reading.verdict)
                & (p.reading.verdict.cancels | (p.reading.verdict.is_new & ~p.reading.verdict.twice))
            ),
            p.by_record.eq(p.reading.verdict.names),
            p.arriving.eq(p.reading_valid & p.reading.verdict.is_new & ~p.reading.verdict.twice),
            p.leaving.eq(p.reading_valid & (p.reading.verdict.cancels | p.reading.verdict.replaces)),
        ]
        _give(p, p.value, p.reading, p.rewritten)
    with m.Else():
        # A first pass of two writes nothing.
        with m.If(p.go):
            m.d.sync += [
                p.second.eq(1),
                p.pauses.eq(0),
                p.may_write.eq(~_fails(p.verdict) & ~p.verdict.is_new),
                p.by_record.eq(0),
                p.arriving.eq(p.verdict.replaces),
                p.leaving.eq(0),
            ]
        with m.If(p.matched_over):
            _give(p, parts.matcher.value, p.deciding.checked, Const(1))


def take_record(p: Pipeline) -> None:
    """The block RAM answers last, so that what is taken instead of it is chosen before."""
    m, parts = p.m, p.parts
    given = p.slow | p.rewritten
    instead = Signal(record_layout(p.geometry))
    m.d.comb += instead.eq(Mux(p.slow, parts.matcher.value, p.value))
    named = Mux(p.slow, p.verdict.names, p.reading.verdict.names)
    own_side = Mux(p.slow, p.command.flags.side, p.reading.came.command.flags.side)
    with m.If(p.step | p.matched_over):
        m.d.sync += [
            p.deciding.record.eq(Mux(given, instead, parts.store.data)),
            p.side.eq(Mux(named & ~given, parts.store.data.side, Mux(named, instead.side, own_side))),
            p.deciding.kinship.elsewhere.eq(~same_instrument(parts.store.data, p.reading.came.command)),
            p.deciding.kinship.differs.eq(~alike_tags(parts.store.data, p.reading.came.command, p.io.gate)),
        ]
        # These are resets of registers, so that no gate more stands behind the memory.
        with m.If(given | ~p.reading.verdict.names):
            m.d.sync += p.deciding.kinship.elsewhere.eq(0)
        with m.If(given | ~p.reading.verdict.replaces):
            m.d.sync += p.deciding.kinship.differs.eq(0)


def _fails(verdict: Any) -> Any:
    return verdict.bad | verdict.fails.PRICE


def _give(p: Pipeline, order: Any, named: Any, given: Any) -> None:
    """The order of ``named``, if ``given``, is ``order``, whatever is read."""
    command, verdict, kinship = named.came.command, named.verdict, p.deciding.kinship
    stranger = given & verdict.names & ~same_instrument(order, command)
    alien = given & verdict.replaces & ~alike_tags(order, command, p.io.gate).all()
    p.m.d.sync += [
        kinship.stranger.eq(stranger),
        kinship.alien.eq(alien),
        kinship.rejects.eq(_fails(verdict) | stranger | alien),
    ]


def judge(p: Pipeline) -> None:
    """Whether the command is rejected."""
    m, parts = p.m, p.parts
    order_check = parts.order_check
    m.d.comb += [
        order_check.verdict.eq(p.verdict),
        order_check.command.eq(p.command),
        order_check.record.eq(p.deciding.record),
        order_check.kinship.eq(p.deciding.kinship),
        p.accepted.eq(order_check.accepts),
    ]


def decide(p: Pipeline) -> None:
    """What becomes of the order, and whether it trades."""
    m, parts = p.m, p.parts
    may_trade = Signal()
    m.d.comb += [
        p.order.live.eq(1),
        p.order.quantity.eq(p.command.quantity),
        p.order.level.eq(p.verdict.level),
        p.order.side.eq(p.side),
        p.order.tag.eq(Mux(p.verdict.names, p.deciding.record.tag, p.command.tag)),
        p.order.self_trade.eq(Mux(p.verdict.names, p.deciding.record.self_trade, p.command.flags.self_trade)),
        p.order.instrument.eq(p.command.instrument),
        may_trade.eq((p.verdict.is_new & ~p.second) | (p.verdict.replaces & p.second)),
    ]
    m.d.comb += [
        p.enters.eq(p.arriving & p.accepted & ~parts.fronts.crosses),
        p.leaves.eq(p.leaving & p.accepted),
        p.starts_slow.eq(p.accepted & (p.verdict.rare | (may_trade & parts.fronts.crosses))),
    ]


def write(p: Pipeline) -> None:
    """Write the order, and look up its level."""
    m, parts = p.m, p.parts
    m.d.comb += [
        p.decides.eq(p.go & p.deciding_valid),
        p.value.eq(p.order),
        p.value.live.eq(~p.verdict.cancels),
        # A NEW that crosses is written, too, and taken back by the matcher: what it does is known late.
        p.written.eq(p.go & p.may_write & p.accepted),
        parts.store.write.eq(p.written),
        parts.store.address.eq(p.command.handle),
        parts.store.value.eq(p.value),
    ]
    m.d.comb += [
        parts.queues.place.eq(Mux(p.by_record, p.deciding.record.level, p.verdict.level)),
        parts.queues.instrument.eq(p.command.instrument),
        parts.queues.handle.eq(p.command.handle),
    ]


def bound(p: Pipeline) -> None:
    """The bounds of the best levels: with which orders they are compared."""
    m, parts = p.m, p.parts
    fronts, queues = parts.fronts, parts.queues
    m.d.comb += [
        fronts.step.eq(p.step),
        fronts.go.eq(p.go),
        fronts.coming.eq(p.checking.command.instrument),
        fronts.first_place.eq(p.reading.verdict.level),
        fronts.first_instrument.eq(p.reading.came.command.instrument),
        fronts.first_handle.eq(p.reading.came.command.handle),
        fronts.place.eq(p.verdict.level),
        fronts.instrument.eq(p.command.instrument),
        fronts.side.eq(p.order.side),
        fronts.handle.eq(p.command.handle),
        fronts.arriving.eq(p.arriving),
        fronts.leaving.eq(p.leaving),
        fronts.accepted.eq(p.accepted),
        fronts.vacated.eq(queues.vacated),
        fronts.vacated_place.eq(queues.vacated_place),
        fronts.vacated_instrument.eq(queues.vacated_instrument),
        fronts.vacated_side.eq(queues.vacated_side),
    ]
    with m.If(p.verdict.reduces):
        m.d.comb += p.value.level.eq(p.deciding.record.level)


def hand_on(p: Pipeline) -> None:
    """The command comes to be told, or to the matcher."""
    m, parts = p.m, p.parts
    with m.If(p.go):
        m.d.sync += [
            p.told_valid.eq(p.deciding_valid),
            p.task.command.eq(p.command),
            p.task.accepted.eq(p.deciding.checked.came.accepted),
            p.task.order.eq(p.order),
            p.task.row.eq(p.deciding.checked.came.row),
            p.task.front.eq(parts.fronts.entered),
            p.task.facing.eq(parts.fronts.facing),
            p.told.record.eq(p.deciding.record),
            p.told.rejected.eq(~p.accepted),
            p.told.reason.eq(parts.order_check.reason),
            p.told_second.eq(p.second),
            p.told_reports.eq(
                p.deciding_valid
                & ~(p.accepted & p.verdict.rare)
                & Mux(p.verdict.reduces, p.second, ~p.second | (p.verdict.is_new & p.accepted))
            ),
            p.told_act.eq(Act.NONE),
            p.told.side.eq(p.order.side),
            p.slow.eq(p.decides & p.starts_slow),
        ]
        if p.io.gate:
            m.d.sync += p.told.drew.eq(p.deciding.checked.came.judgement.drew)
        with m.If(p.enters):
            m.d.sync += p.told_act.eq(Act.ENTER)
        with m.If(p.leaves):
            m.d.sync += p.told_act.eq(Act.LEAVE)
    with m.Else():
        m.d.sync += [p.told_reports.eq(0), p.told_act.eq(Act.NONE)]
        with m.If(~p.slow | parts.matcher.done):
            m.d.sync += [p.told_valid.eq(0), p.slow.eq(0)]
    with m.If(p.slow & p.second):  # the matcher sees to the residual
        m.d.sync += [p.deciding_valid.eq(0), p.second.eq(0), p.arriving.eq(0)]
    with m.If(p.told_valid & (p.task.command.opcode == Opcode.STATE) & (~p.slow | parts.matcher.done)):
        m.d.sync += p.barrier.eq(0)
