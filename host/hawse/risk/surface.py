"""Volatility surfaces: volatilities at nodes, what lies between, which are free of arbitrage, which rules.

A node is an expiry (years from now) and a log-moneyness ln(K/F); all numbers are those of
:mod:`hawse.risk.fixed`. **Total variance** w = σ²·t is linear in log-moneyness between nodes of one expiry,
and linear in time between expiries; it comes from 0 at time 0. Outside the nodes volatility is flat.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isqrt

from .errors import Code, RiskError, ascending, within
from .fixed import BITS, FINE, FINE_BITS, ONE, Rounding, quotient, shifted
from .options import MOST_TIME, MOST_UNITS, MOST_VOLATILITY, log_moneyness, prices

#: Nodes of a surface.
MOST_NODES = 1024
MOST_MONEYNESS = 16 * ONE
#: Total variance, with 58 fractional bits, is below this at each node.
MOST_VARIANCE = 32 * FINE
#: What rounding may move a call's price by before it counts as arbitrage, in quanta of the forward.
PRICE_TOLERANCE = 8
#: The same of total variance: 2**-48.
VARIANCE_TOLERANCE = 1 << FINE_BITS - BITS


@dataclass(frozen=True, slots=True)
class Surface:
    """``volatilities[i][j]`` belongs to ``times[i]`` and ``moneyness[j]``.

    Raises:
        RiskError: no nodes or too many, or rows of another length (SHAPE).
        OutOfRange: a time, moneyness, volatility or total variance is out of range.
        NotAscending: times or moneyness do not ascend.
    """

    times: tuple[int, ...]
    moneyness: tuple[int, ...]
    volatilities: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        rows, columns = len(self.times), len(self.moneyness)
        if not 1 <= rows * columns <= MOST_NODES:
            raise RiskError(Code.SHAPE, f"nodes: {rows * columns} are not within 1 and {MOST_NODES}")
        if [len(row) for row in self.volatilities] != [columns] * rows:
            found = [len(row) for row in self.volatilities]
            raise RiskError(Code.SHAPE, f"volatilities: rows of {found}, not {rows} rows of {columns}")
        for time in self.times:
            within(Code.TIME, "times", time, 1, MOST_TIME)
        ascending("times", self.times)
        for moneyness in self.moneyness:
            within(Code.RATIO, "moneyness", moneyness, -MOST_MONEYNESS, MOST_MONEYNESS)
        ascending("moneyness", self.moneyness)
        for i, row in enumerate(self.volatilities):
            for j, volatility in enumerate(row):
                within(Code.VOLATILITY, f"volatilities[{i}][{j}]", volatility, 1, MOST_VOLATILITY)
                within(Code.VARIANCE, f"variance[{i}][{j}]", self.node(i, j), 1, MOST_VARIANCE - 1)

    def node(self, i: int, j: int) -> int:
        """Total variance of a node, with 58 fractional bits."""
        squared = shifted(self.volatilities[i][j] ** 2, 2 * BITS - FINE_BITS)
        return shifted(squared * self.times[i], BITS)

    def expiry_variance(self, i: int, moneyness: int) -> int:
        """Total variance at an expiry of the nodes, with 58 fractional bits."""
        j = bisect_right(self.moneyness, moneyness)
        if j == 0:
            return self.node(i, 0)
        if j == len(self.moneyness):
            return self.node(i, j - 1)
        ends = self.moneyness[j - 1], self.moneyness[j]
        return _between(moneyness, *ends, self.node(i, j - 1), self.node(i, j))

    def variance(self, moneyness: int, time: int) -> int:
        """Total variance, with 58 fractional bits.

        Raises:
            OutOfRange: ``moneyness`` or ``time``, or the total variance beyond the last expiry.
        """
        w, t = self._anchor(moneyness, time)
        found = w if t == time else quotient(w * time, t)
        return within(Code.VARIANCE, "variance", found, 0, MOST_VARIANCE - 1)

    def volatility(self, moneyness: int, time: int) -> int:
        """Volatility; at time 0 that of the first expiry.

        Raises:
            OutOfRange: ``moneyness`` or ``time``.
        """
        w, t = self._anchor(moneyness, time)
        squared = quotient(w << 60, t)  # 58 + 60 - 48 = 70 fractional bits
        return isqrt(squared << 2 * BITS - 70)

    def _anchor(self, moneyness: int, time: int) -> tuple[int, int]:
        """A total variance and the time to which it belongs; they have the volatility of ``time``."""
        within(Code.RATIO, "moneyness", moneyness, -MOST_MONEYNESS, MOST_MONEYNESS)
        within(Code.TIME, "time", time, 0, MOST_TIME)
        i = bisect_right(self.times, time)
        if i == 0:
            return self.expiry_variance(0, moneyness), self.times[0]
        if i == len(self.times):
            return self.expiry_variance(i - 1, moneyness), self.times[i - 1]
        before, after = self.expiry_variance(i - 1, moneyness), self.expiry_variance(i, moneyness)
        return _between(time, self.times[i - 1], self.times[i], before, after), time


def _between(x: int, x0: int, x1: int, y0: int, y1: int) -> int:
    return y0 + quotient((y1 - y0) * (x - x0), x1 - x0)


@dataclass(frozen=True, slots=True)
class Listing:
    """Strikes of one expiry, ``time`` years from now, on one forward; both in the same units."""

    time: int
    forward: int
    strikes: tuple[int, ...]


class Kind(IntEnum):
    """What earns without risk on a surface."""

    #: The middle one of three calls costs more than the outer two weighted to its strike.
    BUTTERFLY = 1
    #: A call costs more than that of the strike below.
    SPREAD = 2
    #: Total variance falls with time at one log-moneyness.
    CALENDAR = 3


@dataclass(frozen=True, slots=True)
class Arbitrage:
    """At ``strike`` of ``listing`` (indices) ``value`` is above, or for CALENDAR below, its ``bound``.

    Prices are parts of the forward, total variances have 58 fractional bits.
    """

    kind: Kind
    listing: int
    strike: int
    value: int
    bound: int


def arbitrage(surface: Surface, listings: Sequence[Listing]) -> Arbitrage | None:
    """The first arbitrage on the listed strikes, if any: listings in order, prices before variances.

    Butterfly: prices of calls are convex in the strike, from the call at 0, which is the forward, on; and do
    not rise at the last (Carr and Madan, "A note on sufficient conditions for no arbitrage", Finance Research
    Letters 2, 2005). Calendar: total variance at the log-moneyness of each listed strike does not fall from
    one expiry of the nodes to the next, hence never (Gatheral and Jacquier, "Arbitrage-free SVI volatility
    surfaces", Quantitative Finance 14, 2014, lemma 2.1).

    Raises:
        OutOfRange: a time, forward or strike is out of range.
        NotAscending: times or strikes do not ascend.
    """
    ascending("listings", tuple(listing.time for listing in listings))
    for listing in listings:
        within(Code.TIME, "time", listing.time, 1, MOST_TIME)
        within(Code.FORWARD, "forward", listing.forward, 1, MOST_UNITS)
        for strike in listing.strikes:
            within(Code.STRIKE, "strike", strike, 1, MOST_UNITS)
        ascending("strikes", listing.strikes)
    for index, listing in enumerate(listings):
        if found := _butterfly(surface, index, listing) or _calendar(surface, index, listing):
            return found
    return None


def _call(surface: Surface, listing: Listing, strike: int) -> int:
    volatility = surface.volatility(log_moneyness(listing.forward, strike), listing.time)
    return prices(listing.forward, strike, listing.time, volatility)[0]


def _butterfly(surface: Surface, index: int, listing: Listing) -> Arbitrage | None:
    strikes, calls = [0], [ONE]
    for i, strike in enumerate(listing.strikes):
        strikes.append(strike)
        calls.append(_call(surface, listing, strike))
        if i == 0:
            continue
        below, above = strikes[i] - strikes[i - 1], strike - strikes[i]
        chord = quotient(calls[i - 1] * above + calls[i + 1] * below, below + above, Rounding.FLOOR)
        if calls[i] > chord + PRICE_TOLERANCE:
            return Arbitrage(Kind.BUTTERFLY, index, i - 1, calls[i], chord)
    if len(calls) > 2 and calls[-1] > calls[-2] + PRICE_TOLERANCE:
        return Arbitrage(Kind.SPREAD, index, len(calls) - 2, calls[-1], calls[-2])
    return None


def _calendar(surface: Surface, index: int, listing: Listing) -> Arbitrage | None:
    for j, strike in enumerate(listing.strikes):
        moneyness = log_moneyness(listing.forward, strike)
        before = 0
        for i in range(len(surface.times)):
            variance = surface.expiry_variance(i, moneyness)
            if variance + VARIANCE_TOLERANCE < before:
                return Arbitrage(Kind.CALENDAR, index, j, variance, before)
            before = variance
    return None


def distance(a: Surface, b: Surface) -> int:
    """Sum over the nodes of the absolute differences of volatility.

    Raises:
        RiskError: the nodes are not the same (SHAPE).
    """
    if a.times != b.times or a.moneyness != b.moneyness:
        raise RiskError(Code.SHAPE, f"surfaces: nodes {a.times}, {a.moneyness} and {b.times}, {b.moneyness}")
    pairs = zip(a.volatilities, b.volatilities, strict=True)
    return sum(abs(x - y) for row, other in pairs for x, y in zip(row, other, strict=True))


def ruling(surfaces: Sequence[Surface]) -> int:
    """Index of the one with the least sum of distances to the others; of equals, the first.

    Of n surfaces, b of them hostile and the h = n − b others within δ of each other, the one that rules lies
    within max(δ, 2·(h − 1)/(h − b)·δ) of each of these, whatever the hostile ones say, if b < h.

    Raises:
        RiskError: there is none, or the nodes are not the same (SHAPE).
    """
    if not surfaces:
        raise RiskError(Code.SHAPE, "surfaces: 0 are fewer than 1")
    sums = [sum(distance(a, b) for b in surfaces) for a in surfaces]
    return sums.index(min(sums))
