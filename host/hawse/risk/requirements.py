"""What an account must have: cross margin of perpetuals, futures and options.

Money is quanta, quantities are lots, prices the instrument's units (:mod:`hawse.risk.prices`). What a user
owes is rounded up, what he has is rounded down. Sums are exact, and refused where they leave int64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import NamedTuple

from hawse.instruments import PPM, Kind
from hawse.wire import Side

from .errors import Code, NotAscending, OutOfRange, within
from .fixed import LEAST, MOST, Rounding, quotient
from .margin import worst_of_three
from .prices import MOST_LOTS, MOST_PRICE

#: Tiers of an instrument, and instruments of an account.
MOST_TIERS = 8
MOST_HOLDINGS = 128
#: Exact values of positions and orders, in price units·lots.
MOST_VALUE = 1 << 100


class Tier(NamedTuple):
    """From ``edge`` quanta of notional on the initial fraction is ``multiple_ppm`` of the instrument's."""

    edge: int
    multiple_ppm: int


@dataclass(frozen=True, slots=True)
class Terms:
    """Of an instrument.

    Attributes:
        kind: what it pays.
        numerator, denominator: quanta that a price unit·lot is worth.
        tiers: marginal, as those of an income tax: the requirement is continuous at every edge.
        maintenance_ppm: of the initial requirement.
        fee_ppm: the higher of maker and taker.
        lower, upper: lots of open interest between which initial margin rises to the notional.
        strike: of an option, in price units.
        short_ppm, short_floor_ppm: a and b of a short option, of the underlying's price.

    Raises:
        OutOfRange: a field is out of range; multiples fall.
        NotAscending: the tiers' edges do not ascend.
    """

    kind: Kind
    numerator: int
    denominator: int
    tiers: tuple[Tier, ...] = (Tier(0, PPM),)
    maintenance_ppm: int = PPM // 2
    fee_ppm: int = 0
    lower: int = MOST_LOTS - 1
    upper: int = MOST_LOTS
    strike: int = 1
    short_ppm: int = 0
    short_floor_ppm: int = 0

    def __post_init__(self) -> None:
        within(Code.ARGUMENT, "numerator", self.numerator, 1, 2**32 - 1)
        within(Code.ARGUMENT, "denominator", self.denominator, 1, 2**32 - 1)
        within(Code.SHAPE, "tiers", len(self.tiers), 1, MOST_TIERS)
        within(Code.ARGUMENT, "tiers[0].edge", self.tiers[0].edge, 0, 0)
        for n, (before, tier) in enumerate(pairwise(self.tiers), 1):
            if tier.edge <= before.edge:
                raise NotAscending("tiers", n, tier.edge, before.edge)
            within(Code.ARGUMENT, f"tiers[{n}].edge", tier.edge, 1, MOST)
            within(Code.ARGUMENT, f"tiers[{n}].multiple", tier.multiple_ppm, before.multiple_ppm, 1 << 32)
        within(Code.ARGUMENT, "tiers[0].multiple", self.tiers[0].multiple_ppm, 1, 1 << 32)
        within(Code.ARGUMENT, "maintenance_ppm", self.maintenance_ppm, 1, PPM)
        within(Code.ARGUMENT, "fee_ppm", self.fee_ppm, 0, PPM)
        within(Code.ARGUMENT, "lower", self.lower, 0, MOST_LOTS)
        within(Code.ARGUMENT, "upper", self.upper, self.lower + 1, MOST_LOTS)
        within(Code.STRIKE, "strike", self.strike, 1, MOST_PRICE)
        within(Code.ARGUMENT, "short_floor_ppm", self.short_floor_ppm, 0, PPM)
        within(Code.ARGUMENT, "short_ppm", self.short_ppm, self.short_floor_ppm, PPM)

    @property
    def option(self) -> bool:
        """Whether it is a call or a put."""
        return self.kind >= Kind.CALL


@dataclass(frozen=True, slots=True)
class Market:
    """What an instrument stands at.

    Attributes:
        mark: its own price; 0 at least for an option, else 1.
        underlying: the index, in the instrument's price units.
        fair: index + smoothed basis of a linear instrument.
        fraction_ppm: initial margin fraction of the first tier.
        open_interest: lots.
        valid: whether the mark is one of now, with quorum.

    Raises:
        OutOfRange: a field is out of range.
    """

    mark: int
    underlying: int
    fair: int
    fraction_ppm: int = PPM
    open_interest: int = 0
    valid: bool = True

    def __post_init__(self) -> None:
        within(Code.PRICE, "mark", self.mark, 0, MOST_PRICE)
        within(Code.PRICE, "underlying", self.underlying, 1, MOST_PRICE)
        within(Code.PRICE, "fair", self.fair, 0, MOST_PRICE)
        within(Code.ARGUMENT, "fraction_ppm", self.fraction_ppm, 1, PPM)
        within(Code.LOTS, "open_interest", self.open_interest, 0, MOST)


@dataclass(frozen=True, slots=True)
class Holding:
    """Of an account in one instrument: position and open orders.

    Attributes:
        size: lots, negative if short.
        entry: exact signed value of the position, in price units·lots.
        funding: quanta of funding not paid yet; negative: not got yet.
        buy, sell: lots of the open orders on either side.
        loss, basis: sums of :func:`hawse.risk.margin.order_weight` over them.

    Raises:
        OutOfRange: a field is out of range.
    """

    size: int
    entry: int = 0
    funding: int = 0
    buy: int = 0
    sell: int = 0
    loss: int = 0
    basis: int = 0

    def __post_init__(self) -> None:
        within(Code.LOTS, "size", self.size, -MOST_LOTS, MOST_LOTS)
        within(Code.LOTS, "buy", self.buy, 0, MOST_LOTS)
        within(Code.LOTS, "sell", self.sell, 0, MOST_LOTS)
        within(Code.ARGUMENT, "entry", self.entry, -MOST_VALUE, MOST_VALUE)
        within(Code.ARGUMENT, "funding", self.funding, LEAST, MOST)
        within(Code.ARGUMENT, "loss", self.loss, 0, MOST_VALUE)
        within(Code.ARGUMENT, "basis", self.basis, 0, MOST_VALUE)


class Needs(NamedTuple):
    """Quanta: for new orders, for orders that increase exposure, and not to be liquidated."""

    initial: int
    surcharged: int
    maintenance: int


def _up(numerator: int, denominator: int, what: str) -> int:
    return within(Code.OVERFLOW, what, quotient(numerator, denominator, Rounding.CEILING), LEAST, MOST)


def notional(terms: Terms, price: int, lots: int) -> int:
    """Quanta that ``lots`` of either sign are worth at ``price``, without sign, rounded up.

    Raises:
        OutOfRange: it is no int64.
    """
    return _up(abs(lots * price) * terms.numerator, terms.denominator, "notional")


def tiered(terms: Terms, fraction_ppm: int, value: int) -> int:
    """Initial margin of a notional: each part of it at its tier's rate, at most 1; rounded up once.

    Continuous and increasing in the notional, since the rates are marginal.
    """
    total = 0
    edges = [tier.edge for tier in terms.tiers[1:]]
    for tier, end in zip(terms.tiers, [*edges, value], strict=True):
        rate = min(PPM, quotient(fraction_ppm * tier.multiple_ppm, PPM, Rounding.CEILING))
        total += max(0, min(value, end) - tier.edge) * rate
    return quotient(total, PPM, Rounding.CEILING)


def surcharged(terms: Terms, initial: int, value: int, open_interest: int) -> int:
    """Initial margin with the open interest's surcharge: up to the whole notional ``value`` at the upper cap.

    Never less than ``initial``, which may be above the notional of an option.
    """
    if open_interest <= terms.lower or value <= initial:
        return initial
    over = min(open_interest, terms.upper) - terms.lower
    return initial + quotient((value - initial) * over, terms.upper - terms.lower, Rounding.CEILING)


def short_unit(terms: Terms, market: Market) -> int:
    """max(a·S − out-of-the-money, b·S) of a short option, in price units·ppm; the mark comes beside it."""
    away = terms.strike - market.underlying
    out = max(0, away if terms.kind == Kind.CALL else -away)
    return max(terms.short_ppm * market.underlying - out * PPM, terms.short_floor_ppm * market.underlying)


def requirement(terms: Terms, market: Market, holding: Holding) -> Needs:
    """What a holding needs.

    The worst of no order filled, all buys and all sells; beside it, for all orders of both sides, the loss
    against the mark and the higher fee. Maintenance is the position's alone: orders are cancelled first.

    Raises:
        OutOfRange: an amount is no int64.
    """
    loss = _up(holding.loss * terms.numerator, terms.denominator, "loss")
    fees = _up(holding.basis * terms.numerator * terms.fee_ppm, terms.denominator * PPM, "fees")
    initial, more, maintenance = (_option if terms.option else _linear)(terms, market, holding)
    within(Code.OVERFLOW, "initial", initial + loss + fees, LEAST, MOST)
    within(Code.OVERFLOW, "surcharged", more + loss + fees, LEAST, MOST)
    return Needs(initial + loss + fees, more + loss + fees, maintenance)


def _linear(terms: Terms, market: Market, holding: Holding) -> Needs:
    worst = worst_of_three(holding.size, holding.buy, holding.sell)
    value = notional(terms, market.mark, worst)
    initial = tiered(terms, market.fraction_ppm, value)
    held = tiered(terms, market.fraction_ppm, notional(terms, market.mark, holding.size))
    maintenance = quotient(held * terms.maintenance_ppm, PPM, Rounding.CEILING)
    return Needs(initial, surcharged(terms, initial, value, market.open_interest), maintenance)


def _option(terms: Terms, market: Market, holding: Holding) -> Needs:
    """Short lots need :func:`short_unit` and the mark; a buy costs the mark, a sell brings it.

    Long lots need nothing. Maintenance is a part of the unit and the whole mark: an account that buys back
    at the mark must not end below zero.
    """
    unit, mark = short_unit(terms, market), market.mark * PPM
    short = max(0, -holding.size)
    lots_sold = max(0, holding.sell - holding.size)
    lots_left = max(0, -holding.size - holding.buy)
    initial = _up(
        terms.numerator
        * max(
            short * (unit + mark),
            lots_sold * (unit + mark) - holding.sell * mark,
            lots_left * (unit + mark) + holding.buy * mark,
        ),
        terms.denominator * PPM,
        "initial",
    )
    part = quotient(unit * terms.maintenance_ppm, PPM, Rounding.CEILING)
    maintenance = _up(short * (part + mark) * terms.numerator, terms.denominator * PPM, "maintenance")
    value = notional(terms, market.underlying, max(short, lots_sold))
    return Needs(initial, surcharged(terms, initial, value, market.open_interest), maintenance)


def unrealised(terms: Terms, price: int, holding: Holding) -> int:
    """Result of a linear position at ``price`` with unpaid funding; of an option, lots × price. Rounded down.

    Raises:
        OutOfRange: it is no int64.
    """
    exact = holding.size * price - (0 if terms.option else holding.entry)
    value = quotient(exact * terms.numerator, terms.denominator, Rounding.FLOOR)
    return within(Code.OVERFLOW, "unrealised", value - (0 if terms.option else holding.funding), LEAST, MOST)


def payoff(terms: Terms, settlement: int) -> int:
    """What a lot of an expired instrument is closed at, in price units, where the underlying settles at that.

    Raises:
        OutOfRange: ``settlement`` is out of range.
    """
    within(Code.PRICE, "settlement", settlement, 0, MOST_PRICE)
    if not terms.option:
        return settlement
    return max(0, settlement - terms.strike if terms.kind == Kind.CALL else terms.strike - settlement)


def trade_fees(value: int, maker_ppm: int, taker_ppm: int) -> tuple[int, int]:
    """What maker and taker pay for a trade of ``value`` quanta; negative: a rebate.

    Charges are rounded up, a rebate down, and it is never more than what the taker pays.

    Raises:
        OutOfRange: an argument is out of range.
    """
    within(Code.ARGUMENT, "value", value, 0, MOST)
    within(Code.ARGUMENT, "maker_ppm", maker_ppm, -PPM, PPM)
    within(Code.ARGUMENT, "taker_ppm", taker_ppm, 0, PPM)
    taker = quotient(value * taker_ppm, PPM, Rounding.CEILING)
    return max(-taker, quotient(value * maker_ppm, PPM, Rounding.CEILING)), taker


@dataclass(frozen=True, slots=True)
class Cross:
    """A cross account. ``equity`` has no value of options in it; free is what is left of it."""

    equity: int
    initial: int
    surcharged: int
    maintenance: int

    @property
    def free(self) -> int:
        """Beyond the initial requirement."""
        return self.equity - self.initial

    @property
    def healthy(self) -> bool:
        """Whether maintenance is there."""
        return self.equity >= self.maintenance


Held = tuple[Terms, Market, Holding]


def cross(collateral: int, held: Sequence[Held]) -> Cross:
    """Collateral + results of linear instruments − unpaid funding, and what all holdings need.

    Raises:
        RiskError: too many holdings (SHAPE).
        OutOfRange: an amount is no int64.
    """
    within(Code.SHAPE, "holdings", len(held), 0, MOST_HOLDINGS)
    equity, needs = within(Code.ARGUMENT, "collateral", collateral, LEAST, MOST), [0, 0, 0]
    for terms, market, holding in held:
        needs = [a + b for a, b in zip(needs, requirement(terms, market, holding), strict=True)]
        if not terms.option:
            equity += unrealised(terms, market.mark, holding)
    initial, more, maintenance = needs
    within(Code.OVERFLOW, "equity", equity, LEAST, MOST)
    within(Code.OVERFLOW, "free", equity - more, LEAST, MOST)
    return Cross(equity, initial, within(Code.OVERFLOW, "surcharged", more, LEAST, MOST), maintenance)


def withdrawable(collateral: int, held: Sequence[Held], covered: bool) -> int:
    """What may leave the account, by withdrawal, transfer, premium, fee or loss against the mark.

    max(0, min(collateral, free, collateral + Σ min(0, valueᵢ) − requirement)), with each position's value at
    the worse of mark and index + basis; results are never netted. 0 while a position's mark is not valid, or
    while the venue's shortfall exceeds its insurance (not ``covered``).

    Raises:
        OutOfRange: an amount is no int64.
    """
    account = cross(collateral, held)
    if not covered or any(holding.size and not market.valid for _, market, holding in held):
        return 0
    worst = collateral - account.initial
    for terms, market, holding in held:
        worse = min if holding.size > 0 else max
        price = market.mark if terms.option else worse(market.mark, market.fair)
        worst += min(0, unrealised(terms, price, holding))
    return max(0, min(collateral, account.free, worst))


# Orders


class Order(NamedTuple):
    """``lots`` at ``price``, in the instrument of ``holding`` (an index)."""

    holding: int
    side: Side
    price: int
    lots: int


def reserve(market: Market, holding: Holding, side: Side, price: int, lots: int) -> Holding:
    """``holding`` with one more open order.

    Raises:
        OutOfRange: price or lots out of range, or the sums of all orders.
    """
    within(Code.PRICE, "price", price, 0, MOST_PRICE)
    within(Code.LOTS, "lots", lots, 1, MOST_LOTS)
    buys = side == Side.BUY
    worse = price - market.mark if buys else market.mark - price
    return replace(
        holding,
        buy=holding.buy + (lots if buys else 0),
        sell=holding.sell + (0 if buys else lots),
        loss=holding.loss + max(0, worse) * lots,
        basis=holding.basis + max(price, market.mark) * lots,
    )


def free_with(collateral: int, held: Sequence[Held], order: Order) -> int:
    """What is free after reserving for ``order``; it is admitted if that is not negative.

    The surcharge of the open interest counts in the order's instrument if it increases exposure.

    Raises:
        OutOfRange: as :func:`reserve`; an amount is no int64.
    """
    within(Code.ARGUMENT, "holding", order.holding, 0, len(held) - 1)
    terms, market, before = held[order.holding]
    after = reserve(market, before, order.side, order.price, order.lots)
    account = cross(collateral, [*held[: order.holding], (terms, market, after), *held[order.holding + 1 :]])
    exposure = worst_of_three(after.size, after.buy, after.sell)
    if exposure <= worst_of_three(before.size, before.buy, before.sell):
        return account.free
    needs = requirement(terms, market, after)
    return account.free - (needs.surcharged - needs.initial)


# Limits


@dataclass(frozen=True, slots=True)
class Limits:
    """Of an owner, an instrument or the venue; and, in the same fields, what is there.

    Attributes:
        position: lots.
        orders: open ones.
        notional: quanta.
        delta: quanta by which a doubled underlying changes the value.
        vega: quanta for 1.00 of volatility.
        open_interest: lots.
        share_ppm: of the open interest.
    """

    position: int = MOST
    orders: int = MOST
    notional: int = MOST
    delta: int = MOST
    vega: int = MOST
    open_interest: int = MOST
    share_ppm: int = PPM


class Breach(OutOfRange):
    """A limit would be passed; ``field`` names it, ``value`` and ``most`` are the numbers."""


def check_limits(whose: str, limits: Limits, found: Limits) -> None:
    """Nothing, if all of ``found`` is within ``limits``; signs do not count.

    Raises:
        Breach: the first that is not.
    """
    for field in fields(Limits):
        value, most = abs(getattr(found, field.name)), getattr(limits, field.name)
        if value > most:
            raise Breach(Code.LIMIT, f"{whose} {field.name}", value, 0, most)
