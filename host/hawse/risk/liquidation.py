"""What happens when an account cannot carry its positions: order, steps, prices, and who bears the rest.

Money is quanta, quantities lots, prices the instrument's units. ``docs/risk.md`` has the sequence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from hawse.instruments import PPM

from .errors import Code, RiskError, within
from .fixed import LEAST, MOST, Rounding, quotient
from .portfolio import Position, scan
from .prices import MOST_LOTS, MOST_PRICE, clamp
from .requirements import Held, Holding, Market, Terms, cross, notional, requirement


@dataclass(frozen=True, slots=True)
class LiquidationTerms:
    """How an account is closed.

    Attributes:
        share_ppm: of a position, closed at each step.
        whole: lots below which it is closed at once.
        most: lots of a step.
        begin_ppm: c, by which the first step's price may be worse than the mark.
        steps: until the price is the bankruptcy price.
        fee_ppm: of the notional closed, to insurance.
        cap: accounts that a slot goes on with.

    Raises:
        OutOfRange: a field is out of range.
    """

    share_ppm: int
    whole: int
    most: int
    begin_ppm: int
    steps: int
    fee_ppm: int
    cap: int

    def __post_init__(self) -> None:
        within(Code.ARGUMENT, "share_ppm", self.share_ppm, 1, PPM)
        within(Code.ARGUMENT, "whole", self.whole, 0, MOST_LOTS)
        within(Code.ARGUMENT, "most", self.most, 1, MOST_LOTS)
        within(Code.ARGUMENT, "begin_ppm", self.begin_ppm, 0, PPM)
        within(Code.ARGUMENT, "steps", self.steps, 1, 1 << 16)
        within(Code.ARGUMENT, "fee_ppm", self.fee_ppm, 0, PPM)
        within(Code.ARGUMENT, "cap", self.cap, 1, 1 << 16)


# Who


class Unhealthy(NamedTuple):
    """An account below maintenance."""

    account: int
    equity: int
    maintenance: int


def order(accounts: Sequence[Unhealthy]) -> list[int]:
    """Indices by equity / maintenance ascending, then by index; without maintenance: below all others.

    Raises:
        OutOfRange: an account has its maintenance: nobody healthy is liquidated.
    """
    for each in accounts:
        within(Code.ARGUMENT, f"equity of {each.account}", each.equity, LEAST, each.maintenance - 1)

    def health(each: Unhealthy) -> tuple[bool, Fraction, int]:
        return each.maintenance > 0, Fraction(each.equity, max(each.maintenance, 1)), each.account

    return [each.account for each in sorted(accounts, key=health)]


def permitted_delay(terms: LiquidationTerms, queue: int) -> int:
    """Slots until the last of ``queue`` accounts has had all its steps: ⌈queue / cap⌉ × steps."""
    return -(-queue // terms.cap) * terms.steps


# How much, and at which price


def weight(terms: Terms, market: Market, size: int) -> int:
    """Stand-alone cross requirement of a position; of a long option its mark.

    Raises:
        OutOfRange: it is no int64.
    """
    if terms.option and size > 0:
        return notional(terms, market.mark, size)
    return requirement(terms, market, Holding(size)).initial


def first(weights: Sequence[int]) -> int:
    """Index of the position that is closed first: the largest weight, of equals the first.

    Raises:
        RiskError: there is none (SHAPE).
    """
    if not weights:
        raise RiskError(Code.SHAPE, "weights: 0 are fewer than 1")
    return weights.index(max(weights))


def first_of_portfolio(terms: LiquidationTerms, positions: Sequence[Position], basis_ppm: int) -> int:
    """Index of the position whose next step leaves the least requirement; of equals, the first.

    Raises:
        RiskError: there is none (SHAPE), or as :func:`hawse.risk.portfolio.scan`.
    """
    found = []
    for n, (entry, size) in enumerate(positions):
        lots = step_lots(terms, abs(size))
        rest = [*positions[:n], (entry, size - lots if size > 0 else size + lots), *positions[n + 1 :]]
        if size:
            found.append((scan(rest, basis_ppm).requirement, n))
    if not found:
        raise RiskError(Code.SHAPE, "positions: 0 are fewer than 1")
    return min(found)[1]


def step_lots(terms: LiquidationTerms, left: int) -> int:
    """Lots of the next step for a position of ``left``, without sign: a share rounded up, at most ``most``;
    all of it, as far as ``most``, where fewer than ``whole`` are left.

    Raises:
        OutOfRange: ``left`` is negative, or too large.
    """
    within(Code.LOTS, "left", left, 0, MOST_LOTS)
    part = left if left < terms.whole else quotient(left * terms.share_ppm, PPM, Rounding.CEILING)
    return min(part, terms.most)


def bankruptcy_price(terms: Terms, mark: int, size: int, equity: int, own: int, total: int) -> int:
    """The mark, moved by the part of the remaining equity that the position's weight has: closed at it, the
    account has nothing left.

    Rounded for the account, so that it does not end below zero; an option's is 0 at least.

    Args:
        terms, mark, size: of the position, which is not empty.
        equity: of the account, negative where it is gone.
        own, total: weight of the position and of all of them.

    Raises:
        OutOfRange: mark, size, weights or result are out of range.
    """
    within(Code.PRICE, "mark", mark, 0, MOST_PRICE)
    if size == 0:
        raise RiskError(Code.LOTS, "size: 0 lots have no bankruptcy price")
    within(Code.LOTS, "size", size, -MOST_LOTS, MOST_LOTS)
    within(Code.ARGUMENT, "total", total, 1, MOST)
    within(Code.ARGUMENT, "own", own, 0, total)
    # mark − equity·own/total/(lots·numerator/denominator) for a long position, + for a short one.
    above, below = equity * own * terms.denominator, total * abs(size) * terms.numerator
    if size > 0:
        price = mark - quotient(above, below, Rounding.FLOOR)
    else:
        price = mark + quotient(above, below, Rounding.FLOOR)
    return within(Code.OVERFLOW, "bankruptcy price", max(0, price) if terms.option else price, LEAST, MOST)


def step_price(terms: LiquidationTerms, mark: int, bankruptcy: int, size: int, step: int) -> int:
    """Limit of the IOC that closes ``size`` lots at step 0, 1, …: from c beside the mark to bankruptcy.

    Never worse than bankruptcy; where that is better than the first price it is the limit at once.

    Raises:
        OutOfRange: ``step`` is negative, or the mark out of range.
    """
    within(Code.PRICE, "mark", mark, 0, MOST_PRICE)
    within(Code.ARGUMENT, "step", step, 0, MOST)
    sign = 1 if size > 0 else -1
    begin = mark - sign * (mark * terms.begin_ppm // PPM)
    far = max(0, sign * (begin - bankruptcy))
    gone = min(step, terms.steps - 1)
    moved = far if gone == terms.steps - 1 else quotient(far * gone, max(1, terms.steps - 1), Rounding.FLOOR)
    limit = begin - sign * moved
    return max(limit, bankruptcy) if size > 0 else min(limit, bankruptcy)


def fee(terms: LiquidationTerms, value: int, equity: int) -> int:
    """Liquidation fee on a notional: rounded up, but never beyond what equity is left."""
    return min(quotient(value * terms.fee_ppm, PPM, Rounding.CEILING), max(0, equity))


# Insurance


def takeover(lots: int, free_after: Callable[[int], int]) -> int:
    """Most lots, up to ``lots``, that insurance takes: its free collateral after them is not negative.

    ``free_after(n)`` is concave, as margin is convex: the lots that fit reach from 0 to some number.

    Raises:
        OutOfRange: lots out of range.
    """
    within(Code.LOTS, "lots", lots, 0, MOST_LOTS)
    if free_after(0) < 0:
        return 0
    low, high = 0, lots
    while low < high:
        middle = (low + high + 1) >> 1
        low, high = (middle, high) if free_after(middle) >= 0 else (low, middle - 1)
    return low


def takeover_lots(collateral: int, held: Sequence[Held], at: int, size: int, price: int) -> int:
    """Most lots of a position of ``size`` that the account of ``held`` takes at ``price``, into ``held[at]``.

    A linear position changes its entry, an option its price in cash, rounded against the account.

    Raises:
        OutOfRange: an argument or an amount is out of range.
    """
    within(Code.ARGUMENT, "at", at, 0, len(held) - 1)
    within(Code.LOTS, "size", size, -MOST_LOTS, MOST_LOTS)
    within(Code.PRICE, "price", price, -MOST_PRICE, MOST_PRICE)
    terms, market, holding = held[at]

    def free_after(lots: int) -> int:
        signed = lots if size > 0 else -lots
        value, cost = signed * price, 0
        if terms.option:
            exact = quotient(value * terms.numerator, terms.denominator, Rounding.CEILING)
            cost, value = within(Code.OVERFLOW, "cost", exact, LEAST, MOST), 0
        left = within(Code.OVERFLOW, "collateral", collateral - cost, LEAST, MOST)
        after = replace(holding, size=holding.size + signed, entry=holding.entry + value)
        return cross(left, [*held[:at], (terms, market, after), *held[at + 1 :]]).free

    return takeover(abs(size), free_after)


# Auto-deleveraging


class Opposite(NamedTuple):
    """An account on the other side of a position that nobody takes.

    Attributes:
        account: its index.
        size: lots, of the other sign.
        profit: unrealised, in this instrument.
        notional: quanta without sign; of a long option its value at the mark.
        equity, maintenance: of the account.
    """

    account: int
    size: int
    profit: int
    notional: int
    equity: int
    maintenance: int


class Taken(NamedTuple):
    """Lots that an account closes at the bankruptcy price."""

    account: int
    lots: int


def deleverage(
    terms: Terms, mark: int, bankruptcy: int, size: int, opposite: Sequence[Opposite]
) -> tuple[list[Taken], int]:
    """Who closes against ``size`` lots at ``bankruptcy``, and how many lots are left.

    Ranked by profit × notional / equity, descending, ties by index. An account gives up against the mark at
    most its unrealised profit in the instrument, and nothing that its maintenance needs.

    Raises:
        RiskError: an account is on the same side (ARGUMENT).
        OutOfRange: lots out of range.
    """
    left = abs(within(Code.LOTS, "size", size, -MOST_LOTS, MOST_LOTS))
    for each in opposite:
        if each.size * size > 0:
            raise RiskError(
                Code.ARGUMENT, f"account {each.account}: {each.size} lots are no opposite of {size}"
            )
    gap = mark - bankruptcy if size < 0 else bankruptcy - mark  # against who is on the other side
    taken = []
    for each in sorted(opposite, key=_rank):
        lots = min(left, abs(each.size), _bearable(terms, gap, each))
        if lots > 0:
            taken.append(Taken(each.account, lots))
            left -= lots
    return taken, left


def _rank(each: Opposite) -> tuple[Fraction, int]:
    """Profit × leverage, the highest first; who has no profit or equity comes last."""
    if each.profit <= 0 or each.equity <= 0:
        return Fraction(0), each.account
    return -Fraction(each.profit * each.notional, each.equity), each.account


def _bearable(terms: Terms, gap: int, each: Opposite) -> int:
    """Lots that it can close ``gap`` worse than the mark."""
    if gap <= 0:
        return abs(each.size)
    most = max(0, min(each.profit, each.equity - each.maintenance))
    return most * terms.denominator // (gap * terms.numerator)


# The rest


class Share(NamedTuple):
    """Quanta of a loss that an account bears."""

    account: int
    quanta: int


def socialise(loss: int, equities: Sequence[tuple[int, int]]) -> tuple[list[Share], int]:
    """A loss over (index, equity), in proportion to positive equity; and what equity does not cover.

    By largest remainders, ties by index: shares and rest are the loss, to the quantum, and none is above its
    equity.

    Raises:
        OutOfRange: the loss is negative or no int64.
    """
    within(Code.ARGUMENT, "loss", loss, 0, MOST)
    bearing = [(index, equity) for index, equity in equities if equity > 0]
    total = sum(equity for _, equity in bearing)
    borne = min(loss, total)
    parts = [(index, *divmod(borne * equity, total)) for index, equity in bearing]
    over = borne - sum(quanta for _, quanta, _ in parts)
    lucky = {index for index, _, _ in sorted(parts, key=lambda part: (-part[2], part[0]))[:over]}
    return [Share(index, quanta + (index in lucky)) for index, quanta, _ in parts], loss - borne


def largest(losses: Sequence[int], count: int = 2) -> int:
    """What insurance is sized to: the ``count`` largest losses of single accounts beyond their equity."""
    return sum(clamp(loss, 0, MOST) for loss in sorted(losses, reverse=True)[:count])
