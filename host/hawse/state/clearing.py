"""What the engine reported, applied to the ledger, and held against it."""

from collections.abc import Sequence

from hawse.wire import Kind, Opcode, Reason, SelfTrade, Side, TimeInForce
from hawse.wire.dtypes import Array

from .admission import Sent
from .ledger import Ledger, Order

#: Fields of an event that are looked at.
_COLUMNS = (
    "seq",
    "kind",
    "reason",
    "instrument",
    "handle",
    "maker",
    "price",
    "quantity",
    "order_id",
    "maker_id",
)
_Row = tuple[int, int, int, int, int, int, int, int, int, int]

#: Why what remains of an arriving order may be cancelled.
_ENDS: dict[int, tuple[Reason, ...]] = {
    TimeInForce.GTC: (Reason.SELF,),
    TimeInForce.IOC: (Reason.IOC, Reason.SELF),
    TimeInForce.FOK: (Reason.FOK,),
    TimeInForce.POST_ONLY: (Reason.POST_ONLY,),
}


class ClearingError(Exception):
    """A report that contradicts the host's own orders. Trading stops; the machine is of no further use."""


def clear(ledger: Ledger, sent: Sequence[Sent], events: Array) -> None:
    """Apply every record of a slot's burst (rows of wire EVENT) to what was sent.

    Raises:
        ClearingError: a report that cannot be; the ledger is half changed.
        MoneyOverflow: a balance leaves int64; the ledger is half changed.
    """
    rows: list[_Row] = list(zip(*(events[name].tolist() for name in _COLUMNS), strict=True))
    at = 0
    for command in sent:
        seq, end = command.seq & 0xFFFF_FFFF, at
        while end < len(rows) and rows[end][0] == seq:
            end += 1
        if end == at:
            raise ClearingError(f"command {command.seq}: no report, or not in its place")
        try:
            _command(ledger, command, rows[at:end])
        except ClearingError as error:
            raise ClearingError(f"command {command.seq}: {error}") from None
        at = end
    if at != len(rows):
        raise ClearingError(f"report {at}: seq {rows[at][0]} belongs to no command of the slot")


def _command(ledger: Ledger, sent: Sent, rows: Sequence[_Row]) -> None:
    """The first report says what became of the command; those of an arriving order follow."""
    order, opcode = sent.order, sent.opcode
    _, kind, reason, instrument, handle, _, price, quantity, order_id, _ = rows[0]
    kind &= 15
    if order_id != sent.order_id or instrument != sent.instrument:
        raise ClearingError(f"report of order {order_id} of instrument {instrument}, not {sent.order_id}")
    arrives = kind != Kind.REJECTED and opcode in (Opcode.NEW, Opcode.REPLACE)
    if len(rows) > 1 and not arrives:
        raise ClearingError(f"{len(rows)} reports, not one")
    if kind == Kind.REJECTED:
        if order is not None and opcode == Opcode.NEW:
            ledger.end(order)
        elif order is not None and order.resting and reason == Reason.NOT_RESTING:
            raise ClearingError(f"order {order_id} is rejected as not resting, but rests")
        return
    if order is None:
        raise ClearingError(f"order {order_id} is unknown, but not rejected")
    if handle != order.handle:
        raise ClearingError(f"handle {handle} of order {order_id}, not {order.handle}")
    if opcode != Opcode.NEW and not order.resting:
        raise ClearingError(f"order {order_id} does not rest, but is not rejected")

    if opcode == Opcode.CANCEL:
        if kind != Kind.CANCELLED or reason != Reason.USER or quantity != order.remaining:
            raise ClearingError(f"{rows[0]} does not cancel {order.remaining} lots")
        ledger.end(order)
        return
    expected = Kind.ACK if opcode == Opcode.NEW else Kind.REPLACED
    limit = order.price if opcode == Opcode.REDUCE else sent.price
    if kind != expected or price != limit or quantity != sent.quantity or not quantity:
        raise ClearingError(f"{rows[0]} is not {expected.name} of {sent.quantity} lots at {limit}")
    if opcode == Opcode.REDUCE:
        if quantity >= order.remaining:
            raise ClearingError(f"{quantity} lots do not reduce {order.remaining}")
        ledger.shrink(order, quantity)
        return
    if opcode == Opcode.REPLACE:
        ledger.unrest(order)
        order.price, order.remaining, order.reserved = price, quantity, sent.reserved
        order.queue, order.time_in_force = sent.seq, TimeInForce.GTC
    _arrival(ledger, order, rows)


def _arrival(ledger: Ledger, taker: Order, rows: Sequence[_Row]) -> None:
    """What an arriving order did: trades, self-trade prevention, and its own end or rest."""
    instrument = ledger.instruments[taker.instrument]
    done = False
    for row in rows[1:]:
        _, kind, reason, number, handle, maker_handle, price, quantity, order_id, maker_id = row
        if done or number != taker.instrument:
            raise ClearingError(f"{row} behind the end of its order, or of another instrument")
        if kind & 15 == Kind.TRADE:
            maker = ledger.orders.get(maker_id)
            if maker is None or not maker.resting or maker.handle != maker_handle:
                raise ClearingError(f"trade with order {maker_id}, which does not rest at {maker_handle}")
            if order_id != taker.id or handle != taker.handle:
                raise ClearingError(f"trade of order {order_id}, not {taker.id}")
            if not 0 < quantity <= min(taker.remaining, maker.remaining):
                raise ClearingError(
                    f"trade of {quantity} lots, when {taker.remaining} and {maker.remaining} remain"
                )
            if (
                price != maker.price
                or (price > taker.price if taker.side == Side.BUY else price < taker.price)
                or maker.side == taker.side
                or maker.instrument != number
                or maker.account is taker.account
                or taker.time_in_force == TimeInForce.POST_ONLY
                or kind >> 4 != taker.side | (quantity == maker.remaining) << 1
            ):
                raise ClearingError(f"{row} is no trade of orders {taker.id} and {maker_id}")
            bought = quantity if taker.side == Side.BUY else -quantity
            ledger.fill(taker.account, instrument, bought, price, instrument.taker_fee_ppm)
            ledger.fill(maker.account, instrument, -bought, price, instrument.maker_fee_ppm)
            ledger.shrink(taker, taker.remaining - quantity)
            if quantity == maker.remaining:
                ledger.end(maker)
            else:
                ledger.shrink(maker, maker.remaining - quantity)
        elif kind & 15 != Kind.CANCELLED:
            raise ClearingError(f"{row} is neither a trade nor a cancellation")
        elif order_id == taker.id:
            if (
                reason not in _ENDS[taker.time_in_force]
                or (reason in (Reason.FOK, Reason.POST_ONLY) and len(rows) != 2)
                or (reason == Reason.SELF and taker.self_trade == SelfTrade.CANCEL_OLDEST)
                or handle != taker.handle
                or quantity != taker.remaining
                or not quantity
            ):
                raise ClearingError(f"{row} does not end order {taker.id}")
            done = True
        else:
            maker = ledger.orders.get(order_id)
            if (
                maker is None
                or not maker.resting
                or reason != Reason.SELF
                or taker.self_trade == SelfTrade.CANCEL_NEWEST
                or maker.account is not taker.account
                or maker.side == taker.side
                or maker.instrument != number
                or maker.handle != handle
                or maker.remaining != quantity
            ):
                raise ClearingError(f"{row} does not keep {taker.id} from a trade with itself")
            ledger.end(maker)
    if done or not taker.remaining:
        ledger.end(taker)
    elif taker.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
        raise ClearingError(f"{taker.remaining} lots of order {taker.id} remain, but may not rest")
    else:
        ledger.rest(taker)
