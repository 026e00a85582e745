"""Funding of a perpetual: what keeps its price near the index.

The premium of the impact prices over the index is integrated over slot time. At the end of each interval the
clamped average, times the index, is added to a cumulative index of funding per lot; a position pays the
difference since it was last touched. So a payment costs O(1), and over all positions the exact payments are
zero: the lots sum to zero at each step of the index.

The index of funding stays within int64: what would lead out of it is not paid. Rates and premiums are parts
of :data:`~hawse.risk.fixed.ONE`; prices are those of :mod:`hawse.risk.prices`.
"""

from dataclasses import dataclass, replace

from .errors import Code, within
from .fixed import BITS, LEAST, MOST, ONE, Rounding, quotient, shifted
from .prices import MOST_LOTS, MOST_PRICE, Average, clamp

#: The cumulative index counts price units per lot with so many fractional bits.
FUNDING_BITS = 20
#: Premiums stay below this: a price 64 times the index.
_MOST_PREMIUM = 64 * ONE


@dataclass(frozen=True, slots=True)
class FundingTerms:
    """How a premium becomes a payment.

    Attributes:
        interval: nanoseconds from one step of the cumulative index to the next.
        hold: nanoseconds that a premium counts at most if no other follows: then there is no quorum.
        scale: the average premium is multiplied by it.
        most: bound of the rate of an interval, on both sides.

    Raises:
        OutOfRange: a field is out of range.
    """

    interval: int
    hold: int
    scale: int
    most: int

    def __post_init__(self) -> None:
        within(Code.ARGUMENT, "interval", self.interval, 1, 1 << 50)
        within(Code.ARGUMENT, "hold", self.hold, 1, self.interval)
        within(Code.ARGUMENT, "scale", self.scale, 1, 64 * ONE)
        within(Code.ARGUMENT, "most", self.most, 0, ONE)


@dataclass(frozen=True, slots=True)
class Funding:
    """State of an instrument.

    Attributes:
        begun: when the interval began.
        premium: its average since then.
        until: when the premium of now ends to count.
        index: the last one known, in price units.
        cumulative: funding per lot that longs have paid since the listing, with :data:`FUNDING_BITS`
            fractional bits of a price unit.
    """

    begun: int
    premium: Average
    until: int = 0
    index: int = 1
    cumulative: int = 0


def premium(index: int, bid: int | None, ask: int | None) -> int | None:
    """(max(0, bid − index) − max(0, index − ask)) / index of the impact prices; None where one is missing.

    Raises:
        OutOfRange: a price is out of range.
    """
    within(Code.PRICE, "index", index, 1, MOST_PRICE)
    if bid is None or ask is None:
        return None
    within(Code.PRICE, "bid", bid, 1, MOST_PRICE)
    within(Code.PRICE, "ask", ask, 1, MOST_PRICE)
    above, below = max(0, bid - index), max(0, index - ask)
    return clamp(quotient(above - below << BITS, index), -_MOST_PREMIUM, _MOST_PREMIUM)


def rate(terms: FundingTerms, average: int) -> int:
    """Of an interval with this average premium: scaled, then clamped."""
    return clamp(shifted(average * terms.scale, BITS), -terms.most, terms.most)


def advance(terms: FundingTerms, state: Funding, now: int) -> Funding:
    """Integrated up to ``now``, with a step of the cumulative index at the end of each interval.

    Time without a premium is left out of the average; an interval without any has the rate 0.

    Raises:
        OutOfRange: ``now`` is before the last change.
    """
    while now - state.begun >= terms.interval:
        state, _ = close(terms, state)
        if state.premium.value is None:  # nothing more to integrate: to the last end before now
            end = now - (now - state.begun) % terms.interval
            state = replace(state, begun=end, premium=Average(end))
    return replace(state, premium=_integrated(state, now))


def _integrated(state: Funding, now: int) -> Average:
    average = state.premium
    if average.value is not None and now > state.until:
        average = average.step(state.until, None)
    return average.until(now)


def close(terms: FundingTerms, state: Funding) -> tuple[Funding, int | None]:
    """The interval ends, the next one begins; and its rate, None where no time of it had a premium.

    Raises:
        OutOfRange: the state is integrated beyond the interval's end.
    """
    end = state.begun + terms.interval
    average, found, step = _integrated(state, end), None, 0
    if (mean := average.mean()) is not None:
        found = rate(terms, mean)
        step = shifted(found * state.index, BITS - FUNDING_BITS)
    cumulative = clamp(state.cumulative + step, LEAST, MOST)
    return replace(state, begun=end, premium=Average(end, average.value), cumulative=cumulative), found


def observe(terms: FundingTerms, state: Funding, now: int, index: int | None, value: int | None) -> Funding:
    """Premium ``value`` at ``index`` from ``now`` on; None for either: time that does not count.

    Raises:
        OutOfRange: as :func:`advance`, or ``index`` or ``value`` is out of range.
    """
    state = advance(terms, state, now)
    if index is None or value is None:
        return replace(state, premium=state.premium.step(now, None))
    within(Code.PRICE, "index", index, 1, MOST_PRICE)
    within(Code.ARGUMENT, "premium", value, -_MOST_PREMIUM, _MOST_PREMIUM)
    return replace(state, premium=state.premium.step(now, value), until=now + terms.hold, index=index)


def payment(size: int, since: int, cumulative: int, numerator: int, denominator: int) -> int:
    """Quanta that a position pays, or gets where it is negative, for the index going from ``since``.

    Rounded up: against who pays, towards zero for who gets. So dust is not negative, and below one quantum a
    payment. ``numerator / denominator`` are the quanta of a price unit·lot.

    Raises:
        OutOfRange: lots or result are out of range.
    """
    within(Code.LOTS, "size", size, -MOST_LOTS, MOST_LOTS)
    paid = quotient(size * (cumulative - since) * numerator, denominator << FUNDING_BITS, Rounding.CEILING)
    return within(Code.OVERFLOW, "payment", paid, LEAST, MOST)
