"""Margin of a linear perpetual, in integers.

Prices are ticks, quantities lots, money quanta. What a user owes is rounded up, what he has is rounded down,
to a whole quantum. Money that leaves int64 raises :class:`MoneyOverflow`.
"""

from collections.abc import Iterable

from hawse.instruments import PPM, Instrument
from hawse.wire import Side

MONEY_MAX = 2**63 - 1
MONEY_MIN = -(2**63)


class MoneyOverflow(OverflowError):
    """An amount that does not fit into int64.

    Attributes:
        value: the amount.
    """

    def __init__(self, what: str, value: int, unit: str = "quanta") -> None:
        super().__init__(f"{what}: {value} {unit} do not fit into int64")
        self.value = value


def money(value: int, what: str) -> int:
    """``value``, if it is an int64.

    Raises:
        MoneyOverflow: it is not; ``what`` is named.
    """
    if MONEY_MIN <= value <= MONEY_MAX:
        return value
    raise MoneyOverflow(what, value)


def notional(instrument: Instrument, price: int, quantity: int) -> int:
    """Value of ``quantity`` lots at ``price``, without sign, rounded up."""
    value = abs(price * quantity) * instrument.numerator
    return money(-(-value // instrument.denominator), "notional")


def _share(instrument: Instrument, price: int, quantity: int, ppm: int) -> int:
    value = abs(price * quantity) * instrument.numerator * ppm
    return -(-value // (instrument.denominator * PPM))


def initial_margin(instrument: Instrument, price: int, quantity: int) -> int:
    """Initial margin of ``quantity`` lots (of either sign) at ``price``, rounded up."""
    return money(_share(instrument, price, quantity, instrument.initial_margin_ppm), "initial margin")


def fee(instrument: Instrument, price: int, quantity: int, ppm: int) -> int:
    """Fee of a trade at a rate of ``ppm``, rounded up."""
    return money(_share(instrument, price, quantity, ppm), "fee")


def reservation(instrument: Instrument, side: int, price: int, quantity: int, mark: int) -> int:
    """What an order with limit ``price`` holds of its account's free collateral until it trades or ends.

    Initial margin and the higher fee at the larger of limit and mark, and the loss against the mark if it
    trades at its limit. So a fill leaves free collateral no lower than the reservation did (each fill's own
    rounding, at most two quanta, apart), and nobody can trade himself into a shortfall at an absurd price.
    A position that the order would reduce is not counted in its favour.

    Raises:
        MoneyOverflow: the notional or the sum does not fit into int64.
    """
    basis = max(abs(price), abs(mark))
    notional(instrument, basis, quantity)
    worse = price - mark if side == Side.BUY else mark - price
    loss = -(-max(worse, 0) * quantity * instrument.numerator // instrument.denominator)
    rate = max(instrument.maker_fee_ppm, instrument.taker_fee_ppm)
    margin = _share(instrument, basis, quantity, instrument.initial_margin_ppm)
    return money(margin + loss + _share(instrument, basis, quantity, rate), "reservation")


def unrealised(instrument: Instrument, size: int, entry: int, mark: int) -> int:
    """Profit of a position at ``mark``, rounded down; ``entry`` is its exact signed value in tick·lots."""
    value = (size * mark - entry) * instrument.numerator
    return money(value // instrument.denominator, "unrealised profit")


def equity(collateral: int, positions: Iterable[tuple[Instrument, int, int, int]]) -> int:
    """Collateral and unrealised profit; ``positions`` are (instrument, size, entry, mark)."""
    return money(collateral + sum(unrealised(*p) for p in positions), "equity")


def free_collateral(
    collateral: int, positions: Iterable[tuple[Instrument, int, int, int]], reserved: int
) -> int:
    """Equity without the positions' initial margin at mark and the orders' reservations; may be negative."""
    free = collateral - reserved
    for instrument, size, entry, mark in positions:
        free += unrealised(instrument, size, entry, mark) - initial_margin(instrument, mark, size)
    return money(free, "free collateral")
