"""What an account is worth and owes, from its positions and orders alone, in fractions.

Nothing of :mod:`hawse.risk` is used: this is the second opinion.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from hawse.wire import Side

PPM = 1_000_000


class Limit(NamedTuple):
    """An open order, or what a command would make of one."""

    account: int
    instrument: int
    client_id: int
    side: int
    price: int
    quantity: int


@dataclass(frozen=True, eq=False)
class Standing:
    """An account at the mark, in quanta. ``costs`` are losses and fees of its orders, ``closing`` those of
    orders that can only reduce a position; ``opens``: it has orders of another kind."""

    collateral: int
    unrealised: tuple[Fraction, ...]
    margin: Fraction
    costs: Fraction
    closing: Fraction
    opens: bool
    parts: int

    @cached_property
    def equity(self):
        return self.collateral + sum(self.unrealised, Fraction())

    @cached_property
    def requirement(self):
        return self.margin + self.costs

    @cached_property
    def free(self):
        return self.equity - self.requirement

    @cached_property
    def carried(self):
        """Equity beyond the initial margin of the worst that the orders can make of the positions."""
        return self.equity - self.margin

    @cached_property
    def slack(self):
        """By how much whole quanta may differ: two for each order and each instrument."""
        return 2 * self.parts + 2

    @cached_property
    def withdrawable(self):
        losses = sum((u for u in self.unrealised if u < 0), Fraction())
        return max(Fraction(), min(self.collateral, self.free, self.collateral + losses - self.requirement))


def cost(terms, mark, order):
    """Loss of an order against the mark, and the fee."""
    worse = order.price - mark if order.side == Side.BUY else mark - order.price
    rate = max(terms.maker_fee_ppm, terms.taker_fee_ppm)
    value = max(0, worse) * PPM + max(abs(order.price), abs(mark)) * rate
    return Fraction(value * order.quantity * terms.numerator, terms.denominator * PPM)


def margin(terms, mark, lots):
    return Fraction(abs(lots * mark) * terms.numerator * terms.initial_margin_ppm, terms.denominator * PPM)


def profit(terms, mark, position):
    return Fraction((position.size * mark - position.entry) * terms.numerator, terms.denominator)


def standing(machine, account, orders, collateral=None):
    """Of an account with these open orders (several of one client id count all)."""
    markets, positions = machine.markets, account.positions
    unrealised = tuple(profit(markets[n].terms, markets[n].mark, p) for n, p in positions.items())
    total, costs, closing, opens = Fraction(), Fraction(), Fraction(), False
    numbers = set(positions) | {order.instrument for order in orders}
    for number in numbers:
        terms, mark = markets[number].terms, markets[number].mark
        size = positions[number].size if number in positions else 0
        mine = [order for order in orders if order.instrument == number]
        buys = sum(order.quantity for order in mine if order.side == Side.BUY)
        sells = sum(order.quantity for order in mine if order.side == Side.SELL)
        total += max(margin(terms, mark, lots) for lots in (size, size + buys, size - sells))
        for order in mine:
            one = cost(terms, mark, order)
            costs += one
            if (size < 0 and order.side == Side.BUY and buys <= -size) or (
                size > 0 and order.side == Side.SELL and sells <= size
            ):
                closing += one
            else:
                opens = True
    held = account.collateral if collateral is None else collateral
    return Standing(held, unrealised, total, costs, closing, opens, len(numbers) + len(orders))


def limits(machine):
    """Open orders between two slots, by account, the oldest first."""
    found = {}
    for order in sorted(machine.orders.values(), key=lambda order: order.queue):
        index = order.account.index
        limit = Limit(index, order.instrument, order.client_id, order.side, order.price, order.remaining)
        found.setdefault(index, []).append(limit)
    return found


def shortfall(standings):
    return sum((max(Fraction(), -s.equity) for s in standings), Fraction())
