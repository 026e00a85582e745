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
    _release(ledger, sent)


def _release(ledger: Ledger, sent: Sequence[Sent]) -> None:
    """What was held for the slot alone: every replacement, beside the order as it now is."""
    for command in sent:
        order = command.order
        if command.opcode == Opcode.REPLACE:
            ledger.hold(order, command.price, -command.quantity)
        order.peak, order.dropped = order.remaining, False
        if order.strategy is not None:
            order.strategy.done += command.filled
            ledger.planned.add(order.strategy.place)


def _command(ledger: Ledger, sent: Sent, rows: Sequence[_Row]) -> None:
    """The first report says what became of the command; those of an arriving order follow."""
    order, opcode = sent.order, sent.opcode
    _, kind, reason, instrument, handle, _, price, quantity, order_id, _ = rows[0]
    kind &= 15
    if order_id != order.handle or instrument != order.instrument:
        raise ClearingError(f"report of handle {order_id} of instrument {instrument}, not {order.handle}")
    if len(rows) > 1 and (kind == Kind.REJECTED or opcode not in (Opcode.NEW, Opcode.REPLACE)):
        raise ClearingError(f"{len(rows)} reports, not one")
    if kind == Kind.REJECTED:
        _rejected(ledger, sent, reason)
        return
    if handle != order.handle:
        raise ClearingError(f"handle {handle}, not {order.handle}")
    if opcode != Opcode.NEW and not order.resting:
        raise ClearingError(f"order {order_id} does not rest, but is not rejected")
    if opcode == Opcode.CANCEL:
        if kind != Kind.CANCELLED or reason != Reason.COMMAND or quantity != order.remaining:
            raise ClearingError(f"{rows[0]} does not cancel {order.remaining} lots")
        ledger.end(order)
        return
    expected = Kind.ACK if opcode == Opcode.NEW else Kind.REPLACED
    limit = order.price if opcode == Opcode.REDUCE else sent.price
    if kind != expected or price != limit or quantity != sent.quantity or not quantity:
        raise ClearingError(f"{rows[0]} is not {expected.name} of {sent.quantity} lots at {limit}")
    terms = ledger.markets[instrument].terms
    if not terms.base <= limit < terms.base + terms.count:
        raise ClearingError(f"{rows[0]} is beyond {terms.base} and the {terms.count} ticks from there")
    if opcode == Opcode.REDUCE:
        if quantity >= order.remaining:
            raise ClearingError(f"{quantity} lots do not reduce {order.remaining}")
        ledger.shrink(order, quantity)
        return
    if opcode == Opcode.REPLACE:
        ledger.replace(order, price, quantity, sent.seq)
        order.time_in_force = TimeInForce.GTC
    _arrival(ledger, sent, rows)


def _rejected(ledger: Ledger, sent: Sent, reason: int) -> None:
    order = sent.order
    sent.reason, sent.have, sent.need = reason, *_numbers(ledger, sent, reason)
    if sent.opcode == Opcode.NEW:
        ledger.end(order)
    elif order.resting and reason == Reason.NOT_RESTING:
        raise ClearingError(f"order {order.handle} is rejected as not resting, but rests")


def _numbers(ledger: Ledger, sent: Sent, reason: int) -> tuple[int, int]:
    """What the command had, and what it should have had, when the engine rejected it."""
    if reason == Reason.PRICE:
        terms = ledger.markets[sent.order.instrument].terms
        return sent.price, max(terms.base, min(sent.price, terms.base + terms.count - 1))
    if reason == Reason.QUANTITY:
        return sent.quantity, sent.order.remaining - 1 if sent.opcode == Opcode.REDUCE else 1
    return 0, 1


def _arrival(ledger: Ledger, sent: Sent, rows: Sequence[_Row]) -> None:
    """What an arriving order did: trades, self-trade prevention, and its own end or rest."""
    taker = sent.order
    done = False
    for row in rows[1:]:
        kind, number, order_id = row[1] & 15, row[3], row[8]
        if done or number != taker.instrument:
            raise ClearingError(f"{row} behind the end of its order, or of another instrument")
        if kind == Kind.TRADE:
            _trade(ledger, sent, row)
        elif kind != Kind.CANCELLED:
            raise ClearingError(f"{row} is neither a trade nor a cancellation")
        elif order_id == taker.handle:
            _cancelled(sent, row, len(rows) == 2)
            done = True
        else:
            _maker_cancelled(ledger, taker, row)
    if done or not taker.remaining:
        ledger.end(taker)
    elif taker.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
        raise ClearingError(f"{taker.remaining} lots of order {taker.handle} remain, but may not rest")
    else:
        ledger.rest(taker)


def _trade(ledger: Ledger, sent: Sent, row: _Row) -> None:
    _, kind, _, number, handle, maker_handle, price, quantity, order_id, maker_id = row
    taker, maker = sent.order, ledger.orders.get(maker_id)
    if maker is None or not maker.resting or maker.handle != maker_handle:
        raise ClearingError(f"trade with order {maker_id}, which does not rest at {maker_handle}")
    if order_id != taker.handle or handle != taker.handle:
        raise ClearingError(f"trade of order {order_id}, not {taker.handle}")
    if not 0 < quantity <= min(taker.remaining, maker.remaining):
        raise ClearingError(f"trade of {quantity} lots, when {taker.remaining} and {maker.remaining} remain")
    if (
        price != maker.price
        or (price > taker.price if taker.side == Side.BUY else price < taker.price)
        or maker.side == taker.side
        or maker.instrument != number
        or maker.account.owner == taker.account.owner
        or taker.time_in_force == TimeInForce.POST_ONLY
        or kind >> 4 != taker.side | (quantity == maker.remaining) << 1
    ):
        raise ClearingError(f"{row} is no trade of orders {taker.handle} and {maker_id}")
    market = ledger.markets[number]
    bought = quantity if taker.side == Side.BUY else -quantity
    if taker.why and taker.strategy is None:
        sent.fee += ledger.close(taker.account, market, bought, price, taker.why)
    else:
        sent.fee += ledger.fill(taker.account, market, bought, price, market.terms.taker_fee_ppm)
    ledger.fill(maker.account, market, -bought, price, market.terms.maker_fee_ppm)
    sent.filled += quantity
    sent.value += bought * price
    ledger.shrink(taker, taker.remaining - quantity)
    if quantity == maker.remaining:
        ledger.end(maker)
    else:
        ledger.shrink(maker, maker.remaining - quantity)


def _cancelled(sent: Sent, row: _Row, alone: bool) -> None:
    """What remains of an arriving order is cancelled; ``alone``: it did nothing before."""
    _, _, reason, _, handle, _, _, quantity, _, _ = row
    taker = sent.order
    if (
        reason not in _ENDS[taker.time_in_force]
        or (reason in (Reason.FOK, Reason.POST_ONLY) and not alone)
        or (reason == Reason.SELF and taker.self_trade == SelfTrade.CANCEL_OLDEST)
        or handle != taker.handle
        or quantity != taker.remaining
        or not quantity
    ):
        raise ClearingError(f"{row} does not end order {taker.handle}")
    sent.reason, sent.have, sent.need = reason, sent.filled, sent.quantity


def _maker_cancelled(ledger: Ledger, taker: Order, row: _Row) -> None:
    _, _, reason, number, handle, _, _, quantity, order_id, _ = row
    maker = ledger.orders.get(order_id)
    if (
        maker is None
        or not maker.resting
        or reason != Reason.SELF
        or taker.self_trade == SelfTrade.CANCEL_NEWEST
        or maker.account.owner != taker.account.owner
        or maker.side == taker.side
        or maker.instrument != number
        or maker.handle != handle
        or maker.remaining != quantity
    ):
        raise ClearingError(f"{row} does not keep {taker.handle} from a trade with itself")
    ledger.end(maker)
