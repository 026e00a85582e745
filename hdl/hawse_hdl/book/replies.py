"""What the matcher tells, of all that a command may have to tell.

Registers know it: what the command is, and which of its states tell.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Mux
from amaranth.lib import data
from hawse.wire import VERSION, Feature, Kind, Limit, Opcode, Reason, Side

from .. import layouts
from .check import is_rate
from .layouts import first_level, level_bits, whole_mask, window_bits
from .work import Work


def tell(w: Work) -> None:
    """Put together the beat."""
    m = w.m
    with m.If(w.trades):
        _tell_trade(w)
    with m.Elif(w.rejects):
        reason = Mux(w.scans, Reason.WINDOW, Reason.PRICE)
        _report(w, Kind.REJECTED, w.taker.side, w.command.price, 0, reason=reason)
    with m.Elif(w.dumps):
        _tell_resting(w)
    with m.Elif(w.scans):
        _tell_scan(w)
    if w.io.gate:
        with m.Elif(w.limits):
            # The value stands where a price and a quantity do.
            value = {"price": w.command.quantity, "quantity": w.command.token}
            _report(w, Kind.ACK, Side.BUY, **value, maker=w.command.tag)
    with m.Elif(w.builds):
        _tell_build(w)
    with m.Elif(w.greets):
        _tell_hello(w)
    with m.Elif(w.closes):
        _send(w, layouts.BATCH, Kind.BATCH, token=w.command.token)
    with m.Else():
        _send(w, layouts.FENCE, Kind.FENCE, token=w.command.token, commands=w.io.applied)


def _send(w: Work, layout: data.Layout, kind: Kind, **fields: Any) -> None:
    view = layout(w.io.beat)
    w.m.d.comb += view.kind.kind.eq(kind)
    w.m.d.comb += [view[name].eq(value) for name, value in fields.items()]


def _report(w: Work, kind: Kind, side: Any, price: Any, quantity: Any, **fields: Any) -> None:
    fields = {"instrument": w.command.instrument, "handle": w.command.handle} | fields
    always = {"price": price, "quantity": quantity, "seq": w.command.seq, "accepted": w.task.accepted}
    _send(w, layouts.REPORT, kind, **always, **fields)
    w.m.d.comb += layouts.REPORT(w.io.beat).kind.side.eq(side)


def _tell_trade(w: Work) -> None:
    m, side = w.m, w.taker.side
    with m.If(w.meets):
        _report(w, Kind.TRADE, side, w.price, w.maker.quantity, maker=w.maker_at)
        m.d.comb += layouts.REPORT(w.io.beat).kind.maker_done.eq(1)
    with m.Else():
        _report(w, Kind.CANCELLED, side, w.command.price, w.remaining, reason=w.cancel_reason)


def _tell_resting(w: Work) -> None:
    _send(
        w,
        layouts.RESTING,
        Kind.RESTING,
        instrument=w.command.instrument,
        handle=w.maker_at,
        tag=w.maker.tag,
        price=w.price,
        quantity=w.maker.quantity,
    )
    flags = layouts.RESTING(w.io.beat).flags
    w.m.d.comb += [flags.side.eq(w.maker.side), flags.self_trade.eq(w.maker.self_trade)]


def _tell_scan(w: Work) -> None:
    """An order that is cancelled; or at the end how many were, or what the instrument is in."""
    m, row = w.m, w.io.row_value
    below = whole_mask(row.mask)
    levels = Cat(1, below) & ~Cat(below, Const(0, 1))  # of the window: the bit above its mask
    with m.If(w.removes):
        order = {"instrument": w.maker.instrument, "handle": w.maker_at}
        _report(w, Kind.CANCELLED, w.maker.side, w.price, w.maker.quantity, reason=Reason.MASS, **order)
    with m.Else():
        amount = Mux(w.mass, w.count, w.command.quantity)
        ours = {
            "handle": Mux(w.mass, 0, first_level(row.first)),
            "maker": Mux(w.mass | ~row.windowed, 0, levels),
        }
        base = Mux(w.loading, w.command.price, w.price)
        _report(w, Kind.ACK, Side.BUY, Mux(w.mass, 0, base), amount, **ours)


def _tell_build(w: Work) -> None:
    build = layouts.BUILD(w.io.beat)
    w.m.d.comb += [
        Cat(build.build_low, build.build_high).eq(w.io.build),
        build.clock_khz.eq(w.io.clock_khz),
    ]
    if w.io.features:
        w.m.d.comb += build.features.eq(w.io.features)


def _tell_hello(w: Work) -> None:
    geometry, io = w.geometry, w.io
    _send(
        w,
        layouts.HELLO,
        Kind.HELLO,
        version=VERSION,
        instruments=geometry.instruments,
        orders=geometry.orders,
        pool=geometry.pool,
        tag_bits=geometry.tag_bits,
        least_window=level_bits(geometry) - window_bits(geometry),
        epoch=io.epoch,
        busy=io.busy_cycles,
        last_seq=io.last_seq,
        **({"limits": (1 << len(Limit)) - 1} if io.features & Feature.GATE else {}),
    )


def give_back(w: Work) -> None:
    """What is open no more."""
    back, push, io = w.io.back, w.io.push, w.io
    opcode = w.command.opcode
    w.m.d.comb += [
        back.trades.eq(push & w.trades & w.meets),
        back.ends.eq(push & w.trades & ~w.meets),
        back.refuses.eq(push & w.rejects & ~w.trades & ~w.scans),
        back.removes.eq(io.room & w.removes),
        back.mass.eq(w.mass),
        back.fence.eq(push & opcode.matches(Opcode.FENCE, Opcode.CLOSE) & ~w.closes),
        back.rate.eq(push & is_rate(w.command)),
        back.maker.eq(w.maker),
        back.takes_taker.eq(~(w.maker.quantity - w.remaining)[-1]),
    ]
