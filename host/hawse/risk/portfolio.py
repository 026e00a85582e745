"""Portfolio margin: the worst of many scenarios, by arrays that all accounts share.

SPAN-style (Chicago Mercantile Exchange, 1988; McMillan, Options as a Strategic Investment, chapter 34). Per
underlying each instrument has the change of its value per lot in every scenario, made once per mark. An
account's scan is a product of its positions with these arrays. Values per lot are quanta with
:data:`VALUE_BITS` fractional bits. Nothing is offset between underlyings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hawse.instruments import PPM, Kind

from . import options
from .errors import Code, RiskError, within
from .fixed import BITS, LEAST, MOST, Rounding, quotient, shifted
from .options import MOST_VOLATILITY
from .prices import MOST_LOTS, MOST_PRICE, clamp
from .requirements import MOST_HOLDINGS, Market, Terms

#: Fractional bits of a value per lot.
VALUE_BITS = 20
MOST_SCENARIOS = 64
#: Expiries of an underlying, a perpetual counting as one of its own.
MOST_EXPIRIES = 64
#: No scenario takes a price below a sixteenth.
_LEAST_PART = 4


class Scenario(NamedTuple):
    """Price moves by ``move_ppm`` of its range, volatility by −1, 0 or 1 of its; ``weight_ppm`` counts."""

    move_ppm: int
    volatility: int
    weight_ppm: int = PPM


@dataclass(frozen=True, slots=True)
class Scenarios:
    """What an account must bear.

    Attributes:
        each: the scenarios.
        basis_ppm: charge on delta of one expiry that is held against another's.
        short_ppm: least requirement of a short option, of the underlying's price.
        maintenance_ppm: of the requirement.

    Raises:
        OutOfRange: a number is out of range, or there are too many scenarios or none (SHAPE).
    """

    each: tuple[Scenario, ...]
    basis_ppm: int = 0
    short_ppm: int = 0
    maintenance_ppm: int = PPM

    def __post_init__(self) -> None:
        within(Code.SHAPE, "scenarios", len(self.each), 1, MOST_SCENARIOS)
        for n, scenario in enumerate(self.each):
            within(Code.ARGUMENT, f"scenarios[{n}].move", scenario.move_ppm, -4 * PPM, 4 * PPM)
            within(Code.ARGUMENT, f"scenarios[{n}].volatility", scenario.volatility, -1, 1)
            within(Code.ARGUMENT, f"scenarios[{n}].weight", scenario.weight_ppm, 1, PPM)
        within(Code.ARGUMENT, "basis_ppm", self.basis_ppm, 0, PPM)
        within(Code.ARGUMENT, "short_ppm", self.short_ppm, 0, PPM)
        within(Code.ARGUMENT, "maintenance_ppm", self.maintenance_ppm, 1, PPM)


def lattice(
    steps: int, volatilities: tuple[int, ...], extreme_ppm: int, weight_ppm: int
) -> tuple[Scenario, ...]:
    """``steps`` moves either way up to the range, with every volatility, and two extremes of less weight.

    ``lattice(3, (1, -1), 2 * PPM, 350_000)`` are the sixteen of SPAN.
    """
    moves = [0, *(sign * n for n in range(1, steps + 1) for sign in (1, -1))]
    each = [Scenario(quotient(n * PPM, steps), v) for n in moves for v in volatilities]
    return (*each, Scenario(extreme_ppm, 0, weight_ppm), Scenario(-extreme_ppm, 0, weight_ppm))


class Ranges(NamedTuple):
    """How far scenarios of an underlying go: a part of the price, and an amount of volatility (2**-48)."""

    price_ppm: int
    volatility: int


class Expiry(NamedTuple):
    """What an option's value follows, beside its strike; ``forward`` in the option's price units."""

    forward: int
    time: int
    volatility: int


@dataclass(frozen=True, slots=True)
class Array:
    """Of an instrument, per lot.

    Attributes:
        changes: of the value, in each scenario, weighted.
        delta: change of the value if the underlying doubled at this slope.
        vega: change for 1.00 of volatility.
        minimum: that a net short lot needs; 0 for a linear instrument.
        expiry: which delta it can be held against without a charge.
    """

    changes: tuple[int, ...]
    delta: int
    vega: int
    minimum: int
    expiry: int


def array(
    terms: Terms,
    market: Market,
    scenarios: Scenarios,
    ranges: Ranges,
    expiry: int,
    priced: Expiry | None = None,
) -> Array:
    """The array of an instrument; an option's is by Black's formula on ``priced``.

    A scenario moves mark or forward by range × move, to the nearest unit.

    Raises:
        OutOfRange: an argument, what the options' functions take, or a change (OVERFLOW) is out of range.
    """
    within(Code.ARGUMENT, "price_ppm", ranges.price_ppm, 1, PPM)
    within(Code.ARGUMENT, "ranges.volatility", ranges.volatility, 0, MOST_VOLATILITY)
    within(Code.ARGUMENT, "expiry", expiry, 0, MOST_EXPIRIES - 1)
    if priced is None or not terms.option:
        if terms.option or market.mark == 0:
            raise RiskError(Code.SHAPE, "priced: an option needs it, a linear instrument has a mark above 0")
        mark = market.mark
        moved = [_moved(mark, ranges, scenario) - mark << VALUE_BITS for scenario in scenarios.each]
        delta, vega, minimum = mark << VALUE_BITS, 0, 0
    else:
        moved, delta, vega = _option_changes(terms, scenarios, ranges, priced)
        minimum = _ceiling(market.underlying * scenarios.short_ppm << VALUE_BITS, terms, PPM)
    return Array(
        tuple(
            _nearest(change * scenario.weight_ppm, terms, PPM)
            for change, scenario in zip(moved, scenarios.each, strict=True)
        ),
        _nearest(delta, terms, 1),
        _nearest(vega, terms, 1),
        minimum,
        expiry,
    )


def _moved(price: int, ranges: Ranges, scenario: Scenario) -> int:
    moved = price + quotient(price * ranges.price_ppm * scenario.move_ppm, PPM * PPM)
    return clamp(moved, -(-price >> _LEAST_PART), MOST_PRICE)


def _option_changes(
    terms: Terms, scenarios: Scenarios, ranges: Ranges, priced: Expiry
) -> tuple[list[int], int, int]:
    """Changes, delta and vega in price units."""
    within(Code.FORWARD, "forward", priced.forward, 1, MOST_PRICE)
    right = terms.kind - Kind.CALL
    now = options.evaluate(priced.forward, terms.strike, priced.time, priced.volatility)
    worth = priced.forward * (now.call, now.put)[right]
    changes = []
    for scenario in scenarios.each:
        forward = _moved(priced.forward, ranges, scenario)
        volatility = clamp(priced.volatility + scenario.volatility * ranges.volatility, 1, MOST_VOLATILITY)
        price = options.prices(forward, terms.strike, priced.time, volatility)[right]
        changes.append(shifted(forward * price - worth, BITS - VALUE_BITS))
    delta = priced.forward * (now.call_delta, now.put_delta)[right]
    return changes, shifted(delta, BITS - VALUE_BITS), shifted(priced.forward * now.vega, BITS - VALUE_BITS)


def _nearest(value: int, terms: Terms, divisor: int) -> int:
    found = quotient(value * terms.numerator, terms.denominator * divisor)
    return within(Code.OVERFLOW, "change", found, -MOST, MOST)


def _ceiling(value: int, terms: Terms, divisor: int) -> int:
    found = quotient(value * terms.numerator, terms.denominator * divisor, Rounding.CEILING)
    return within(Code.OVERFLOW, "minimum", found, -MOST, MOST)


# Accounts


@dataclass(frozen=True, slots=True)
class Scan:
    """What positions in one underlying need, in quanta.

    Attributes:
        losses: in each scenario, rounded up; negative: a gain.
        short: minimum of the net short options.
        basis: charge on delta of one expiry held against another's.
    """

    losses: tuple[int, ...]
    short: int
    basis: int

    @property
    def requirement(self) -> int:
        """The worst scenario, or the minimum of the short options, and the charge."""
        return max(0, *self.losses, self.short) + self.basis


#: An instrument's array and lots of it, negative if sold.
Position = tuple[Array, int]


def scan(positions: Sequence[Position], basis_ppm: int) -> Scan:
    """Positions in instruments of one underlying, one each; the charge is on the smaller of delta bought and
    sold, each expiry netted before.

    Raises:
        RiskError: arrays of different length, no position or too many (SHAPE).
        OutOfRange: lots, or an amount that is no int64.
    """
    losses, short, bought, sold = _sums(positions)
    return Scan(losses, short, _charge(min(bought, sold), basis_ppm))


def add_on(legs: Sequence[Position], basis_ppm: int, cost: int) -> int:
    """What an order of these legs adds at most, on top of any positions, whatever part of it fills.

    Its own worst scenario or short minimum, the charge on what of its delta can be matched: the whole delta
    of one leg, the larger side of several; and its ``cost``, the loss against the mark with the fee.

    Raises:
        RiskError: arrays of different length, no leg or too many (SHAPE).
        OutOfRange: lots, or an amount that is no int64.
    """
    within(Code.ARGUMENT, "cost", cost, 0, MOST)
    losses, short, bought, sold = _sums(legs)
    needed = Scan(losses, short, _charge(max(bought, sold), basis_ppm)).requirement + cost
    return within(Code.OVERFLOW, "add-on", needed, 0, MOST)


def _sums(positions: Sequence[Position]) -> tuple[tuple[int, ...], int, int, int]:
    """Losses, short minimum, and delta bought and sold, each expiry netted before."""
    within(Code.SHAPE, "positions", len(positions), 1, MOST_HOLDINGS)
    sums = [0] * len(positions[0][0].changes)
    short, deltas = 0, [0] * MOST_EXPIRIES
    for entry, lots in positions:
        if len(entry.changes) != len(sums):
            raise RiskError(Code.SHAPE, f"changes: {len(entry.changes)}, not {len(sums)}")
        within(Code.LOTS, "lots", lots, -MOST_LOTS, MOST_LOTS)
        sums = [a + lots * change for a, change in zip(sums, entry.changes, strict=True)]
        short += max(0, -lots) * entry.minimum
        deltas[entry.expiry] += lots * entry.delta
    losses = tuple(within(Code.OVERFLOW, "loss", -(total >> VALUE_BITS), LEAST, MOST) for total in sums)
    needed = within(Code.OVERFLOW, "short", -(-short >> VALUE_BITS), 0, MOST)
    bought = sum(max(0, delta) for delta in deltas)
    return losses, needed, bought, bought - sum(deltas)


def _charge(delta: int, basis_ppm: int) -> int:
    within(Code.ARGUMENT, "basis_ppm", basis_ppm, 0, PPM)
    charged = quotient(delta * basis_ppm, PPM << VALUE_BITS, Rounding.CEILING)
    return within(Code.OVERFLOW, "basis", charged, 0, MOST)


def greeks(positions: Sequence[Position]) -> tuple[int, int]:
    """Delta and vega, in quanta, to the nearest.

    Raises:
        OutOfRange: one is no int64.
    """
    delta = sum(lots * entry.delta for entry, lots in positions)
    vega = sum(lots * entry.vega for entry, lots in positions)
    return (
        within(Code.OVERFLOW, "delta", shifted(delta, VALUE_BITS), LEAST, MOST),
        within(Code.OVERFLOW, "vega", shifted(vega, VALUE_BITS), LEAST, MOST),
    )


@dataclass(frozen=True, slots=True)
class Portfolio:
    """A portfolio account: equity counts in full, options with it."""

    equity: int
    requirement: int
    maintenance: int

    @property
    def free(self) -> int:
        """What is left for new orders."""
        return self.equity - self.requirement

    @property
    def healthy(self) -> bool:
        """Whether maintenance is there."""
        return self.equity >= self.maintenance


def portfolio(
    collateral: int, values: Sequence[int], scans: Sequence[Scan], orders: Sequence[int], maintenance_ppm: int
) -> Portfolio:
    """An account of one scan per underlying.

    Args:
        collateral: quanta.
        values: of the positions, by :func:`hawse.risk.requirements.unrealised`.
        scans: one per underlying.
        orders: :func:`add_on` of each open order; maintenance does without them.
        maintenance_ppm: of the requirement.

    Raises:
        OutOfRange: an amount is no int64.
    """
    equity = within(Code.OVERFLOW, "equity", collateral + sum(values), LEAST, MOST)
    held = sum(each.requirement for each in scans)
    requirement = within(Code.OVERFLOW, "requirement", held + sum(orders), 0, MOST)
    within(Code.OVERFLOW, "free", equity - requirement, LEAST, MOST)
    maintenance = quotient(held * maintenance_ppm, PPM, Rounding.CEILING)
    return Portfolio(equity, requirement, maintenance)


def closes(before: Portfolio, after: Portfolio) -> bool:
    """Whether an IOC is admitted at zero: after its full fill, with its cost, nothing is worse.

    Then no part of it makes the worst scenario or the short minimum worse but by rounding, for they are
    convex in what fills. **The basis charge is not**: it may come with the first lot, and the gain with the
    last. So a part may need more, by the charge at most.
    """
    return after.requirement <= before.requirement and after.free >= before.free
