"""Rules that an account registers and the machine itself runs in each slot, behind the users' commands.

Each acts at most once in ``every`` milliseconds, by an immediate-or-cancel order that is margined as any of
the account's own, no worse than ``offset_ppm`` beside the mark and ``limit_price``.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from hawse.commit.leaves import ANY_INSTRUMENT
from hawse.instruments import NO_UNDERLYING, PPM, Status
from hawse.keys.messages import BODIES, ROW_BYTES, MessageKind
from hawse.wire import Reason, Side

from .forms import Wrong, offset
from .ledger import Account, Ledger, Market, Strategy, StrategyKind
from .nonces import LIMIT
from .slot import Event
from .sweep import closing_room

if TYPE_CHECKING:
    from .admission import Admitter

#: Of an account, and orders that all of a venue send in a slot, at most.
MOST, MOST_ORDERS = 8, 64
#: Milliseconds between two orders of one, at least.
LEAST_EVERY = 250
#: Bounds of a delta, in quanta a tick, and lots of a SLICE.
_MOST_DELTA, _MOST_LOTS = 1 << 62, (1 << 63) - 1


_CLOSES = (StrategyKind.STOP, StrategyKind.TAKE, StrategyKind.TRAIL)
#: Which price fires it.
MARK, INDEX = 0, 1


def register(
    ledger: Ledger, account: Account, row: tuple[int, ...], body: np.void, time: int, seq: int
) -> Wrong | None:
    """Take a strategy in, or say what is wrong with it."""
    client_id, instrument, side, quantity = row[5], row[6], row[7], row[11]
    told: Any = body.view(BODIES[MessageKind.REGISTER])
    names = BODIES[MessageKind.REGISTER].names or ()
    given = {name: int(told[name]) for name in names}
    kind = given.pop("strategy")
    market = ledger.markets.get(instrument)
    if market is None:
        return Wrong(Reason.NO_INSTRUMENT, instrument, max(ledger.markets))
    if account.only not in (ANY_INSTRUMENT, instrument):
        return Wrong(Reason.ISOLATED, instrument, account.only)
    for name, value, low, high in _bounds(market, kind, side, quantity, given, time):
        if not low <= value <= high:
            at = offset(name) if name not in names else ROW_BYTES + _OFFSETS[name]
            return Wrong(Reason.REQUEST, value, low if value < low else high, at)
    if not market.valid:
        return Wrong(Reason.NO_MARK, *market.quorum)
    if client_id in account.strategies:
        return Wrong(Reason.CLIENT_ID_USED, client_id, account.strategies[client_id].place)
    if len(account.strategies) >= MOST:
        return Wrong(Reason.STRATEGY, MOST + 1, MOST, 1)
    if not ledger.places:
        return Wrong(Reason.STRATEGY, 0, 1, 2)
    one = Strategy(
        0, account, client_id, kind, instrument, side, quantity=quantity, queue=seq, fired=False, **given
    )
    one.best = _price(market, one) if kind == StrategyKind.TRAIL else 0
    ledger.register(one)
    return None


_OFFSETS = {name: at for name, (_, at, *_) in (BODIES[MessageKind.REGISTER].fields or {}).items()}


def _bounds(
    market: Market, kind: int, side: int, quantity: int, given: dict[str, int], time: int
) -> list[tuple[str, int, int, int]]:
    """(field, value, least, most) of what a REGISTER says."""
    i32, low, high = (-(1 << 31), (1 << 31) - 1), given["low"], given["high"]
    prices = i32 if kind in (StrategyKind.STOP, StrategyKind.TAKE) else (0, 0)
    lows, highs = (0, 0), (0, 0)
    if kind == StrategyKind.TRAIL:
        lows = 1, i32[1]
    elif kind == StrategyKind.SLICE:
        highs = quantity, _MOST_LOTS
    elif kind == StrategyKind.HEDGE:
        # Of a narrower band one lot would lead from one side to the other.
        narrow = market.terms.numerator // market.terms.denominator + 1
        lows, highs = (-_MOST_DELTA, _MOST_DELTA - narrow), (low + narrow, _MOST_DELTA)
    return [
        ("strategy", kind, min(StrategyKind), max(StrategyKind)),
        ("side", side, 0, kind != StrategyKind.HEDGE),
        ("trigger", given["trigger"], MARK, INDEX if market.feed else MARK),
        ("trigger_price", given["trigger_price"], *prices),
        ("limit_price", given["limit_price"], *((0, 0) if kind == StrategyKind.HEDGE else i32)),
        ("offset_ppm", given["offset_ppm"], 0, PPM),
        ("quantity", quantity, 1, (1 << 32) - 1),
        ("every", given["every"], LEAST_EVERY, (1 << 32) - 1),
        ("low", low, *lows),
        ("high", high, *highs),
        ("until", given["until"], time, LIMIT - 1),
    ]


def run(ledger: Ledger, admitter: "Admitter", time: int) -> None:
    """End those that are over, and send the orders of those that are due, who has waited longest first."""
    due = []
    for place in sorted(ledger.strategies):
        one = ledger.strategies[place]
        if one.account.is_bare() or time > one.until or (one.whole and one.done >= one.whole):
            event = Event(Reason.STRATEGY, one.account.index, one.instrument, one.client_id, 0)
            admitter.events.append(event)
            ledger.unregister(one)
        elif _looks(ledger, one) and time >= one.next:
            due.append(one)
    due.sort(key=lambda one: (one.next, one.queue))
    sent = 0
    for one in due:
        if sent == MOST_ORDERS:
            break
        sent += _act(ledger, admitter, one, time)


def _price(market: Market, one: Strategy) -> int:
    return market.feed.index if one.trigger == INDEX and market.feed else market.mark


def _looks(ledger: Ledger, one: Strategy) -> bool:
    """Look at the price; whether there is anything to do."""
    market = ledger.markets[one.instrument]
    if market.status != Status.OPEN or not market.valid:
        return False
    price, sells = _price(market, one), one.side == Side.SELL
    if one.kind == StrategyKind.TRAIL and (price > one.best) == sells and price != one.best:
        one.best = price
        ledger.planned.add(one.place)
    if one.kind in _CLOSES and not one.fired:
        at = one.trigger_price
        if one.kind == StrategyKind.TRAIL:
            at = one.best - one.low if sells else one.best + one.low
        falls = sells == (one.kind != StrategyKind.TAKE)
        if price > at if falls else price < at:
            return False
        one.fired = True
        ledger.planned.add(one.place)
    return True


def _act(ledger: Ledger, admitter: "Admitter", one: Strategy, time: int) -> bool:
    """Send its order, if there is anything to trade."""
    side, lots = _wanted(ledger, one)
    if lots <= 0:
        return False
    market = ledger.markets[one.instrument]
    away, terms = abs(market.mark) * one.offset_ppm // PPM, market.terms
    low, high = terms.base, terms.base + terms.count - 1
    if side == Side.BUY:
        price = min(market.mark + away, high)
        price = price if one.kind == StrategyKind.HEDGE else min(price, one.limit_price)
    else:
        price = max(market.mark - away, low)
        price = price if one.kind == StrategyKind.HEDGE else max(price, one.limit_price)
    one.next = time + one.every
    ledger.planned.add(one.place)
    if low <= price <= high:
        admitter.act(one, side, lots, price)
        return True
    admitter.events.append(Event(Reason.BAND, one.account.index, one.instrument, price, one.client_id))
    return False


def _wanted(ledger: Ledger, one: Strategy) -> tuple[int, int]:
    """Side and lots that it would trade now."""
    if one.kind == StrategyKind.SLICE:
        return one.side, min(one.quantity, one.high - one.done)
    if one.kind != StrategyKind.HEDGE:
        room = closing_room(ledger, one.account, one.instrument, one.side)
        return one.side, min(one.quantity - one.done, room)
    terms, has = ledger.markets[one.instrument].terms, delta(ledger, one.account, one.instrument)
    beyond = has - one.high if has > one.high else min(0, has - one.low)
    beyond = max(-_MOST_DELTA, min(beyond, _MOST_DELTA))
    lots = -(-abs(beyond) * terms.denominator // terms.numerator)
    return Side.SELL if beyond > 0 else Side.BUY, min(lots, one.quantity)


def delta(ledger: Ledger, account: Account, number: int) -> int:
    """Quanta that an account gains with a tick of an instrument's underlying; each position rounded down."""
    about, total = ledger.markets[number].terms.underlying, 0
    for n, position in account.positions.items():
        terms = ledger.markets[n].terms
        if n == number or (about != NO_UNDERLYING and terms.underlying == about):
            total += position.size * terms.numerator // terms.denominator
    return total
