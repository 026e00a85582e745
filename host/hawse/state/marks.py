"""From indices to the marks of perpetuals and futures. Times are milliseconds of slot time, prices ticks."""

from collections.abc import Sequence

from hawse.instruments import PART_BITS, PPM, Status
from hawse.risk.fixed import quotient, shifted
from hawse.risk.prices import BASIS_BITS, Average, Observation, clamp, median
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
            if market.terms.impact_notional:
                market.impact = Average(now, market.impact.value)
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
    """Mark and smoothed basis: median of index + basis, impact mid and last trade, held within the bound.

    Where impact prices are not taken from the book, the index is in the place of their mid. The basis has
    :data:`BASIS_BITS` fractional bits. It follows impact mid − index, and without impact prices last trade −
    index where there was a trade since the last mark, by b′ = (b·τ + x·Δt)/(τ + Δt), with Δt at most
    :data:`FOLLOWED`.
    """
    bound, basis = index * market.terms.mark_bound_ppm // PPM, market.basis
    impact, has_book = _impact_mid(market, now), market.terms.impact_notional
    away = None if impact is None else (impact << BASIS_BITS - PART_BITS) - (index << BASIS_BITS)
    if not has_book and market.trade_time and market.trade_time >= market.mark_time:
        away = market.last_trade - index << BASIS_BITS
    if away is not None:
        target = clamp(away, -bound << BASIS_BITS, bound << BASIS_BITS)
        span = min(now - market.mark_time, FOLLOWED)
        basis = quotient(basis * SMOOTHING + target * span, SMOOTHING + span)
    basis = clamp(basis, -bound << BASIS_BITS, bound << BASIS_BITS)
    fair = index + shifted(basis, BASIS_BITS)
    book = fair if impact is None else shifted(impact, PART_BITS)
    last = market.last_trade if market.trade_time else fair
    value = median((book if has_book else index, fair, last))
    return clamp(value, index - bound, index + bound), basis


def _impact_mid(market: Market, now: int) -> int | None:
    """Average since the last mark, in parts of a tick; None where there was none for half of the time."""
    averaged = market.impact.until(now)
    return averaged.mean() if 2 * averaged.elapsed >= now - market.mark_time else None
