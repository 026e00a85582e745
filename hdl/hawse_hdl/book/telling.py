"""The last stage of the pipeline: what it tells, or the matcher does."""

from typing import Any

from amaranth.hdl import Mux, Signal
from hawse.wire import Kind, Opcode, Reason, TimeInForce

from .. import layouts
from .pipeline import Pipeline


def tell(p: Pipeline) -> None:
    """The report of the command in ``told``, or the beat of the matcher, one of which is silent."""
    m, parts = p.m, p.parts
    told_beat = Signal(layouts.BEAT, reset_less=True)
    matched_beat = Signal(layouts.BEAT, reset_less=True)
    # A trade of an owner with itself cancels the maker, or is not told; one that leaves a part of the
    # maker is for what remains of the taker.
    own = Signal()
    kept = Signal()
    cut = Signal()
    remaining = Signal.like(parts.matcher.remaining, reset_less=True)
    report = layouts.REPORT(Signal(layouts.BEAT, name="report"))
    _report(p, report)
    m.d.sync += [
        p.was_told.eq(p.told_reports),
        told_beat.eq(report.as_value()),
        p.matched.eq(parts.matcher.push),
        matched_beat.eq(parts.matcher.beat),
        own.eq(parts.matcher.own),
        kept.eq(parts.matcher.kept),
        cut.eq(parts.matcher.cut),
        remaining.eq(parts.matcher.remaining),
    ]
    m.d.comb += [
        parts.queues.act.eq(p.told_act),
        parts.queues.side.eq(p.told.side),
        parts.outbox.cycle.eq(p.cycle),
        parts.outbox.push.eq(p.was_told | (p.matched & ~kept)),
        parts.outbox.beat.eq(Mux(p.was_told, told_beat, matched_beat)),
    ]
    trade = layouts.REPORT(parts.outbox.beat)
    with m.If(own):
        m.d.comb += [
            trade.kind.kind.eq(Kind.CANCELLED),
            trade.kind.side.eq(~layouts.REPORT(matched_beat).kind.side),
            trade.kind.maker_done.eq(0),
            trade.reason.eq(Reason.SELF),
            trade.handle.eq(layouts.REPORT(matched_beat).maker),
            trade.maker.eq(0),
        ]
    with m.Elif(cut):
        m.d.comb += [trade.quantity.eq(remaining), trade.kind.maker_done.eq(0)]


def _report(p: Pipeline, report: Any) -> None:
    """What the command in ``told`` has come to, into ``report``."""
    m = p.m
    m.d.comb += [
        report.instrument.eq(p.task.command.instrument),
        report.handle.eq(p.task.command.handle),
        report.price.eq(p.task.command.price),
        report.quantity.eq(p.task.command.quantity),
        report.seq.eq(p.task.command.seq),
        report.accepted.eq(p.task.accepted),
        report.kind.side.eq(p.told.side),
    ]
    resting_price = p.task.row.origin + p.told.record.level
    with m.If(p.told.rejected):
        m.d.comb += [
            report.kind.kind.eq(Kind.REJECTED),
            report.kind.side.eq(p.task.command.flags.side),
            report.reason.eq(p.told.reason),
            report.quantity.eq(0),
        ]
    with m.Else(), m.Switch(p.task.command.opcode):
        with m.Case(Opcode.NEW):
            m.d.comb += report.kind.kind.eq(Kind.ACK)
            with m.If(p.told_second):
                fok = p.task.command.flags.time_in_force == TimeInForce.FOK
                m.d.comb += [
                    report.kind.kind.eq(Kind.CANCELLED),
                    report.reason.eq(Mux(fok, Reason.FOK, Reason.IOC)),
                ]
        with m.Case(Opcode.CANCEL):
            m.d.comb += [
                report.kind.kind.eq(Kind.CANCELLED),
                report.reason.eq(Reason.COMMAND),
                report.price.eq(resting_price),
                report.quantity.eq(p.told.record.quantity),
            ]
        with m.Case(Opcode.REPLACE):
            m.d.comb += report.kind.kind.eq(Kind.REPLACED)
        with m.Default():
            m.d.comb += [report.kind.kind.eq(Kind.REPLACED), report.price.eq(resting_price)]
