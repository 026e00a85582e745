"""From indices to the marks of perpetuals and futures. Times are milliseconds of slot time, prices ticks."""

from collections.abc import Sequence

from hawse.instruments import PPM, Status
from hawse.risk.fixed import quotient, shifted
from hawse.risk.prices import BASIS_BITS, Observation, clamp, median
from hawse.risk.settlement import window_mark

from . import settling, slot
from .inputs import MARK_INTERVAL
from .ledger import Ledger, Market

#: Milliseconds in which the basis follows by half, and those that one mark lets it follow, at most.
SMOOTHING, FOLLOWED = 60_000, 1_000


def take_in(ledger: Ledger, said: Sequence[slot.Observation], now: int) -> list[int]:
    """Take a slot's observations, reckon indices and marks; returns the instruments whose mark moved."""
    settling.follow(ledger, now)
    for one in said:
        last = Observation(one.publisher, one.value, one.time, one.number)
        ledger.feeds[one.feed].observed[one.publisher] = last
    heard, moved = {one.feed for one in said}, []
    ledger.observed.update(n for n, feed in ledger.feeds.items() if feed.reckon(now, n in heard))
    settling.hear(ledger, now)
    for number, market in ledger.markets.items():
        feed, early = market.feed, market.mark_time and now < market.mark_time + MARK_INTERVAL
        if feed is None or not feed.valid or early or market.status == Status.SETTLED:
            continue
        before = market.mark
        if market.settlement is None:
            mark, market.basis = fair_mark(market, feed.index, now)
        else:
            mark = window_mark(market.settlement)
        ledger.priced.add(number)
        if mark == before:
            market.mark_time = now
        else:
            ledger.set_mark(number, mark, now)
            moved.append(number)
    return moved


def fair_mark(market: Market, index: int, now: int) -> tuple[int, int]:
    """Mark and smoothed basis: median of index, index + basis and last trade, held within the bound.

    The basis has :data:`BASIS_BITS` fractional bits. It follows last trade − index where there was a trade
    since the last mark, by b′ = (b·τ + x·Δt)/(τ + Δt), with Δt at most :data:`FOLLOWED`.
    """
    bound, basis = index * market.terms.mark_bound_ppm // PPM, market.basis
    if market.trade_time and market.trade_time >= market.mark_time:
        target = clamp(market.last_trade - index, -bound, bound) << BASIS_BITS
        span = min(now - market.mark_time, FOLLOWED)
        basis = quotient(basis * SMOOTHING + target * span, SMOOTHING + span)
    basis = clamp(basis, -bound << BASIS_BITS, bound << BASIS_BITS)
    fair = index + shifted(basis, BASIS_BITS)
    last = market.last_trade if market.trade_time else fair
    return clamp(median((index, fair, last)), index - bound, index + bound), basis
