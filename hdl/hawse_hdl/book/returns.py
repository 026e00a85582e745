"""What the gate is told: what is open no more, and that it need not wait any longer."""

from typing import Any

from amaranth.hdl import Mux, Signal
from hawse.wire import Opcode

from .check import is_rate
from .layouts import back_layout, release_layout, sources_layout
from .pipeline import Pipeline


def give_back(p: Pipeline) -> None:
    """A cycle after what is told; of a trade the maker, and a cycle later the taker.

    The matcher tells no two trades, nor a trade and anything else, in cycles that follow each other.
    """
    m, io = p.m, p.io
    told = Signal(back_layout(p.geometry), reset_less=True)
    told_valid = Signal()
    matched, maker, taker, twin = (
        Signal(back_layout(p.geometry), name=name) for name in ("matched_back", "maker", "taker", "twin")
    )
    _give_told(p, told, told_valid)
    _give_matched(p, matched, maker, taker)
    m.d.sync += twin.eq(taker)
    m.d.comb += io.back.eq(told)
    for one in (matched, maker, twin):
        with m.If(one.valid):
            m.d.comb += io.back.eq(one)
    m.d.comb += io.back.valid.eq(told_valid | matched.valid | maker.valid | twin.valid)
    _release(p)


def _give(target: Any, **fields: Any) -> list[Any]:
    return [target[name].eq(value) for name, value in fields.items()]


def _give_told(p: Pipeline, out: Any, valid: Signal) -> None:
    """Of the command in ``told``: what it drew, if it is rejected or cannot rest, or takes from its order."""
    m, task, command, record = p.m, p.task, p.task.command, p.told.record
    opcode = command.opcode
    cannot_rest = (opcode == Opcode.NEW) & p.told_second
    frees = cannot_rest | opcode.matches(Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE)
    m.d.sync += [
        valid.eq(p.told_reports & Mux(p.told.rejected, p.told.drew, frees)),
        *_give(out, tag=task.order.tag, instrument=command.instrument, side=p.told.side, credit=1),
        out.amount.eq(record.quantity),
        out.ended.eq(opcode.matches(Opcode.NEW, Opcode.CANCEL)),
    ]
    with m.If(opcode == Opcode.REDUCE):
        m.d.sync += out.amount.eq(record.quantity - command.quantity)
    with m.If(p.told.rejected | cannot_rest):
        m.d.sync += [
            *_give(out, tag=command.tag, side=command.flags.side, amount=command.quantity),
            out.ended.eq(opcode != Opcode.REPLACE),
            out.credit.eq(opcode != Opcode.LOAD),
        ]


def _give_matched(p: Pipeline, out: Any, maker: Any, taker: Any) -> None:
    """What the matcher does: to one order, or to the two of a trade."""
    m, matcher, command = p.m, p.parts.matcher, p.task.command
    layout = sources_layout(p.geometry)
    was = Signal(layout)
    own, kept, cut, drew = Signal(), Signal(), Signal(), Signal()
    remaining = Signal(32, reset_less=True)
    order = Signal(back_layout(p.geometry), reset_less=True)
    m.d.sync += [
        was.eq(matcher.back),
        own.eq(matcher.own),
        kept.eq(matcher.kept),
        cut.eq(matcher.cut),
        remaining.eq(matcher.remaining),
        drew.eq(p.told.drew),
        *_give(order, tag=p.task.order.tag, instrument=command.instrument, side=p.task.order.side),
        order.amount.eq(command.quantity),
    ]
    held = was.maker
    # Of one order: the taker's rest, what was loaded, or what is taken away.
    m.d.comb += [
        out.eq(order),
        out.valid.eq(was.ends | (was.refuses & drew) | was.removes),
        out.ended.eq(1),
        out.credit.eq(was.ends),
    ]
    with m.If(was.ends):
        m.d.comb += out.amount.eq(remaining)
    with m.If(was.removes):
        m.d.comb += [
            *_give(out, tag=held.tag, instrument=held.instrument, side=held.side, amount=held.quantity),
            out.credit.eq(was.mass),
        ]
    # Of two.
    amount = Mux(cut, remaining, held.quantity)
    m.d.comb += [
        maker.eq(order),
        *_give(maker, valid=was.trades & ~kept, tag=held.tag, side=~order.side, credit=own),
        maker.amount.eq(Mux(own, held.quantity, amount)),
        maker.ended.eq(own | ~cut),
        taker.eq(order),
        *_give(taker, valid=was.trades & ~own, amount=amount, ended=was.takes_taker, credit=0),
    ]


def _release(p: Pipeline) -> None:
    """A FENCE or a rate has been told, or refused."""
    m, matcher, release = p.m, p.parts.matcher, Signal(release_layout(), name="releasing")
    refused = p.told_reports & p.told.rejected & is_rate(p.task.command)
    m.d.sync += [
        release.valid.eq(matcher.back.fence | matcher.back.rate | refused),
        release.fence.eq(matcher.back.fence),
        release.taken.eq(matcher.back.rate),
    ]
    m.d.comb += p.io.release.eq(release)
