"""Prices that risk is reckoned with: index, averages over time, mark.

Prices are whole numbers of one unit, whichever (a tick, or a part of it), from 1 to :data:`MOST_PRICE`; times
are nanoseconds of slot time. Each state is a frozen dataclass of integers; a function takes a state and what
happened and gives the next state. None stands for "there is none".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from hawse.instruments import PPM

from .errors import Code, RiskError, within
from .fixed import LEAST, MOST, Rounding, quotient, shifted
from .options import Right, log_moneyness, of_forward
from .options import prices as option_prices
from .surface import Surface

MOST_PRICE = 1 << 40
#: Sums of 128 positions of so many lots, times any int64, fit into 128 bits.
MOST_LOTS = 1 << 56
#: A smoothed basis has so many fractional bits of a price unit.
BASIS_BITS = 16


def clamp(value: int, least: int, most: int) -> int:
    """``value``, or the end that it passes."""
    return max(least, min(most, value))


def median(values: Sequence[int]) -> int:
    """The middle one; of an even number the mean of the middle two, rounded down.

    Raises:
        RiskError: there is none (SHAPE).
    """
    if not values:
        raise RiskError(Code.SHAPE, "values: 0 are fewer than 1")
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) // 2


# Index


@dataclass(frozen=True, slots=True)
class Feed:
    """Terms of an index.

    Attributes:
        publishers: how many there are.
        quorum: fresh observations that an index needs.
        staleness: nanoseconds after which an observation does not count.
        ahead: nanoseconds by which one may be ahead of slot time.
        deviation_ppm: of the median of the fresh ones: what lies farther from it does not count.

    Raises:
        OutOfRange: a field is out of range.
    """

    publishers: int
    quorum: int
    staleness: int
    ahead: int
    deviation_ppm: int

    def __post_init__(self) -> None:
        within(Code.ARGUMENT, "publishers", self.publishers, 1, 255)
        within(Code.ARGUMENT, "quorum", self.quorum, 1, self.publishers)
        within(Code.ARGUMENT, "staleness", self.staleness, 1, MOST >> 1)
        within(Code.ARGUMENT, "ahead", self.ahead, 0, MOST >> 1)
        within(Code.ARGUMENT, "deviation_ppm", self.deviation_ppm, 1, PPM)


class Observation(NamedTuple):
    """What a publisher says; its numbers increase."""

    publisher: int
    value: int
    time: int
    number: int


#: The last observation of each publisher.
Observed = tuple[Observation | None, ...]


class Equivocation(RiskError):
    """A publisher gave ``number`` to two observations: evidence against it."""

    def __init__(self, before: Observation, said: Observation) -> None:
        number = f"number {said.number} of publisher {said.publisher}"
        text = f"{number} is {said.value} at {said.time}, was {before.value} at {before.time}"
        super().__init__(Code.EQUIVOCATION, text)
        self.before, self.said = before, said


def observe(feed: Feed, observed: Observed, said: Observation, now: int) -> Observed:
    """``observed`` with ``said`` in it.

    Raises:
        OutOfRange: publisher, value or number out of range; the number is not above the publisher's last
            (NUMBER), the time is before it (TIME), too far ahead (FUTURE) or too old (STALE).
        Equivocation: the publisher's last number, but another value or time.
    """
    within(Code.PUBLISHER, "publisher", said.publisher, 0, feed.publishers - 1)
    within(Code.PRICE, "value", said.value, 1, MOST_PRICE)
    last = observed[said.publisher]
    if last and said.number == last.number and said != last:
        raise Equivocation(last, said)
    within(Code.NUMBER, "number", said.number, last.number + 1 if last else 0, MOST)
    within(Code.TIME, "time", said.time, last.time if last else 0, MOST)
    within(Code.FUTURE, "time", said.time, LEAST, now + feed.ahead)
    within(Code.STALE, "time", said.time, now - feed.staleness, MOST)
    return (*observed[: said.publisher], said, *observed[said.publisher + 1 :])


class Drop(IntEnum):
    """Why a publisher does not count."""

    #: Never heard.
    MISSING = 1
    #: ``value`` is the age of what it said, ``bound`` the oldest permitted one.
    STALE = 2
    #: ``value`` is what it said, ``bound`` the farthest permitted one on that side.
    OUTLYING = 3


class LeftOut(NamedTuple):
    """A publisher that does not count, with the numbers behind it."""

    publisher: int
    why: Drop
    value: int
    bound: int


class Index(NamedTuple):
    """``value`` is None where fewer than the quorum count."""

    value: int | None
    counted: int
    left_out: tuple[LeftOut, ...]


def index(feed: Feed, observed: Observed, now: int) -> Index:
    """Median of the fresh observations that lie near the median of all fresh ones.

    The quorum q is demanded of those that count in the end. So ⌈q/2⌉ − 1 hostile publishers cannot move it
    out of the range of the honest ones that count: they are fewer than half.
    """
    fresh, left_out = [], []
    for publisher, last in enumerate(observed):
        if last is None:
            left_out.append(LeftOut(publisher, Drop.MISSING, 0, 0))
        elif now - last.time > feed.staleness:
            left_out.append(LeftOut(publisher, Drop.STALE, now - last.time, feed.staleness))
        else:
            fresh.append(last)
    if len(fresh) < feed.quorum:
        return Index(None, len(fresh), tuple(left_out))
    middle = median([each.value for each in fresh])
    reach = middle * feed.deviation_ppm // PPM
    near = [each.value for each in fresh if abs(each.value - middle) <= reach]
    for each in fresh:
        if abs(each.value - middle) > reach:
            bound = clamp(each.value, middle - reach, middle + reach)
            left_out.append(LeftOut(each.publisher, Drop.OUTLYING, each.value, bound))
    value = median(near) if len(near) >= feed.quorum else None
    return Index(value, len(near), tuple(sorted(left_out)))


# Averages over time


@dataclass(frozen=True, slots=True)
class Average:
    """Integral of a step function of time; times at which it has no value do not count.

    Attributes:
        time: up to which it is integrated.
        value: from there on.
        total, elapsed: of value × nanoseconds, and of the nanoseconds that had a value.
    """

    time: int
    value: int | None = None
    total: int = 0
    elapsed: int = 0

    def until(self, now: int) -> "Average":
        """Integrated up to ``now``.

        Raises:
            OutOfRange: ``now`` is before ``time``.
        """
        within(Code.TIME, "now", now, self.time, MOST)
        if self.value is None:
            return replace(self, time=now)
        span = now - self.time
        return Average(now, self.value, self.total + self.value * span, self.elapsed + span)

    def step(self, now: int, value: int | None) -> "Average":
        """``value`` from ``now`` on.

        Raises:
            OutOfRange: ``now`` is before ``time``.
        """
        return replace(self.until(now), value=value)

    def mean(self, rounding: Rounding = Rounding.NEAREST) -> int | None:
        """Of the time that had a value."""
        return quotient(self.total, self.elapsed, rounding) if self.elapsed else None


# Mark of a perpetual or a future


@dataclass(frozen=True, slots=True)
class MarkTerms:
    """How a mark follows the book.

    Attributes:
        bound_ppm: of the index, by which mark and basis may differ from it at most; below half the smallest
            maintenance fraction.
        smoothing: nanoseconds in which the basis follows by half.

    Raises:
        OutOfRange: a field is out of range.
    """

    bound_ppm: int
    smoothing: int
    maintenance_ppm: int

    def __post_init__(self) -> None:
        within(Code.ARGUMENT, "maintenance_ppm", self.maintenance_ppm, 1, PPM)
        within(Code.ARGUMENT, "bound_ppm", self.bound_ppm, 0, (self.maintenance_ppm - 1) // 2)
        within(Code.ARGUMENT, "smoothing", self.smoothing, 1, 1 << 50)


@dataclass(frozen=True, slots=True)
class Marking:
    """What a mark is made of, beside the index.

    Attributes:
        time: of the last mark.
        impact: mid of the impact prices, since then.
        basis: smoothed, with :data:`BASIS_BITS` fractional bits.
        last: price of the last trade.
    """

    time: int
    impact: Average
    basis: int = 0
    last: int | None = None


class Mark(NamedTuple):
    """``fair`` is index + smoothed basis; ``impact`` the average mid, if it counts."""

    value: int
    fair: int
    impact: int | None


def impact_price(levels: Sequence[tuple[int, int]], lots: int, rounding: Rounding) -> int | None:
    """Mean price at which ``lots`` trade against ``levels`` (price, lots), best first; None: there are fewer.

    Raises:
        OutOfRange: ``lots`` is not above 0.
    """
    left, value = within(Code.LOTS, "lots", lots, 1, MOST), 0
    for price, quantity in levels:
        taken = min(left, quantity)
        value, left = value + price * taken, left - taken
    return None if left else quotient(value, lots, rounding)


def quote(marking: Marking, now: int, bid: int | None, ask: int | None) -> Marking:
    """The impact prices from ``now`` on: their mid counts only while both are there.

    Raises:
        OutOfRange: ``now`` is before the last change, or a price is out of range.
    """
    mid = None
    if bid is not None and ask is not None:
        within(Code.PRICE, "bid", bid, 1, MOST_PRICE)
        mid = (bid + within(Code.PRICE, "ask", ask, 1, MOST_PRICE)) // 2
    return replace(marking, impact=marking.impact.step(now, mid))


def mark(terms: MarkTerms, marking: Marking, now: int, index: int) -> tuple[Marking, Mark]:
    """Median of index + basis, average impact mid and last trade, held within the bound around the index.

    What is missing counts as index + basis: so neither a trade nor a book alone moves the mark. The impact
    mid is missing where both sides were there for less than half of the time since the last mark.

    The basis follows impact mid − index by b′ = (b·τ + x·Δt)/(τ + Δt): exponential smoothing by the implicit
    rule of Euler, which no Δt makes overshoot.

    Raises:
        OutOfRange: ``now`` is before the last change, or the index is out of range.
    """
    within(Code.PRICE, "index", index, 1, MOST_PRICE)
    averaged, span = marking.impact.until(now), now - marking.time
    impact = averaged.mean() if 2 * averaged.elapsed >= span else None
    bound, basis = index * terms.bound_ppm // PPM, marking.basis
    if impact is not None:
        target = clamp(impact - index, -bound, bound) << BASIS_BITS
        basis = quotient(basis * terms.smoothing + target * span, terms.smoothing + span)
    basis = clamp(basis, -bound << BASIS_BITS, bound << BASIS_BITS)
    fair = index + shifted(basis, BASIS_BITS)
    candidates = (fair, fair if impact is None else impact, fair if marking.last is None else marking.last)
    value = clamp(median(candidates), index - bound, index + bound)
    return Marking(now, Average(now, averaged.value), basis, marking.last), Mark(value, fair, impact)


def option_mark(right: Right, surface: Surface, forward: int, strike: int, time: int) -> int:
    """Mark of an option: Black's formula on the surface, undiscounted, to the nearest unit.

    Args:
        right: call or put.
        surface: that rules.
        forward, strike: in price units; the forward is index + basis of the expiry.
        time: years to expiry, 2**-48.

    Raises:
        OutOfRange: what the functions of options and surfaces refuse.
    """
    volatility = surface.volatility(log_moneyness(forward, strike), time)
    return of_forward(option_prices(forward, strike, time, volatility)[right], forward, Rounding.NEAREST)
