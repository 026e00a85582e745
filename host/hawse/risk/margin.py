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


def order_weight(instrument: Instrument, side: int, price: int, quantity: int, mark: int) -> tuple[int, int]:
    """What an order adds to two sums of its instrument, in tick·lots, beside its lots.

    The first is its loss against the mark if it trades at its limit, the second what its fee is taken of, at
    the larger of limit and mark: a better price gains more than it can add to the fee.
    """
    worse = price - mark if side == Side.BUY else mark - price
    return max(worse, 0) * quantity, max(abs(price), abs(mark)) * quantity


def requirement(
    instrument: Instrument, mark: int, size: int, buy: int, sell: int, loss: int, basis: int
) -> int:
    """What an instrument holds of an account's free collateral, in quanta, rounded up.

    Initial margin at the mark of the worst of three: no order filled, all buys, all sells. To it is added,
    for all orders of both sides, the loss against the mark and the higher fee. So at an unchanged mark no
    fill lowers free collateral, but for each fill's own rounding, three quanta at most: of the fee, of the
    profit that it realises, and of what is not realised yet.

    Args:
        instrument: whose terms count.
        mark: in ticks.
        size: of the position, in lots, negative if short.
        buy, sell: lots of the open orders on either side.
        loss, basis: sums of :func:`order_weight` over them.

    Raises:
        MoneyOverflow: it does not fit into int64.
    """
    held = initial_margin(instrument, mark, worst_of_three(size, buy, sell))
    lost = -(-loss * instrument.numerator // instrument.denominator)
    rate = max(instrument.maker_fee_ppm, instrument.taker_fee_ppm)
    fees = -(-basis * instrument.numerator * rate // (instrument.denominator * PPM))
    return money(held + lost + fees, "requirement")


def worst_of_three(size: int, buy: int, sell: int) -> int:
    """Lots of the largest position that no order, all buys or all sells would leave."""
    return max(abs(size), abs(size + buy), abs(size - sell))


def pays_for_itself(instrument: Instrument, side: int, price: int, quantity: int, mark: int) -> bool:
    """Whether an order that closes a position releases the initial margin that its loss and fee cost."""
    loss, basis = order_weight(instrument, side, price, quantity, mark)
    value = abs(mark * quantity) * instrument.numerator * instrument.initial_margin_ppm
    return requirement(instrument, mark, 0, 0, 0, loss, basis) <= value // (instrument.denominator * PPM)


def unrealised(instrument: Instrument, size: int, entry: int, mark: int) -> int:
    """Profit of a position at ``mark``, rounded down; ``entry`` is its exact signed value in tick·lots."""
    value = (size * mark - entry) * instrument.numerator
    return money(value // instrument.denominator, "unrealised profit")


def equity(collateral: int, positions: Iterable[tuple[Instrument, int, int, int]]) -> int:
    """Collateral and unrealised profit; ``positions`` are (instrument, size, entry, mark)."""
    return money(collateral + sum(unrealised(*p) for p in positions), "equity")
