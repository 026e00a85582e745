"""What the machine takes back before a slot's commands: orders that their account no longer carries.

Orders go newest first, for the oldest has waited longest for its turn.
"""

from collections.abc import Iterable

from hawse.risk import margin
from hawse.wire import Reason

from .ledger import Account, Ledger, Order
from .slot import Event

#: An order that goes, or what remains of it, and why.
Taken = tuple[Order, int, Event]


def without_margin(ledger: Ledger, moved: Iterable[int], touched: Iterable[int] = ()) -> list[Taken]:
    """Orders of accounts whose free collateral the marks of ``moved`` instruments have used up.

    So it is with those ``touched`` by the end of another: a position or money of theirs is gone.

    They are cancelled, newest first, until it is used up no more. What closes a position, and releases the
    margin that its loss and fee cost, stays while there is equity to pay for it.
    """
    numbers, also, taken = frozenset(moved), frozenset(touched), []
    mine = {order.account for order in ledger.orders.values() if not order.why}
    for account in sorted(mine, key=lambda a: a.index):
        if account.index in also or numbers & (account.positions.keys() | account.open.keys()):
            taken += _until_carried(ledger, account)
    return taken


def _until_carried(ledger: Ledger, account: Account) -> list[Taken]:
    free, taken = ledger.free_collateral(account), []

    def take(order: Order) -> None:
        nonlocal free
        ledger.trim(order, 0)
        before, free = free, ledger.free_collateral(account)
        event = Event(Reason.MARGIN_LOST, account.index, order.instrument, before, free - before)
        taken.append((order, 0, event))

    for order in newest(account):
        if free < 0 and not only_closes(ledger, order):
            take(order)
    for order in newest(account):
        if ledger.solvency(account, free) < 0:
            take(order)
    return taken


def timed_out(ledger: Ledger, time: int) -> list[Taken]:
    """All orders of accounts whose timer has run out: nobody has set it anew."""
    taken = []
    for _, account in sorted(ledger.timed.items()):
        if account.timer <= time:
            for order in newest(account):
                ledger.trim(order, 0)
                event = Event(Reason.TIMER, account.index, order.instrument, account.timer, time)
                taken.append((order, 0, event))
            ledger.set_timer(account, 0)
    return taken


def trimmed(ledger: Ledger) -> list[Taken]:
    """Reduce-only orders beyond what they could close, newest first.

    So it is when an order was replaced behind a fill: the position is smaller, the order is not.
    """
    taken = []
    for account, number, side in sorted(
        {(order.account, order.instrument, order.side) for order in ledger.reducing.values()},
        key=lambda key: (key[0].index, *key[1:]),
    ):
        if closing_room(ledger, account, number, side) >= 0:
            continue
        for order in newest(account):
            excess = -closing_room(ledger, account, number, side)
            if excess <= 0:
                break
            if order.reduce_only and (order.instrument, order.side) == (number, side):
                left = max(0, order.remaining - excess)
                event = Event(Reason.TRIM, account.index, number, order.remaining - left, left)
                ledger.trim(order, left)
                taken.append((order, left, event))
    return taken


def newest(account: Account) -> list[Order]:
    """An account's orders that the machine has not taken back, newest first."""
    mine = [order for order in account.orders.values() if not order.dropped]
    return sorted(mine, key=lambda order: order.queue, reverse=True)


def only_closes(ledger: Ledger, order: Order) -> bool:
    """Whether an order, and all on its side, close a position, and it pays for itself."""
    room = closing_room(ledger, order.account, order.instrument, order.side)
    if room < 0 or not order.held:
        return False
    market = ledger.markets[order.instrument]
    return margin.pays_for_itself(market.terms, order.side, order.price, order.held, market.mark)


def closing_room(ledger: Ledger, account: Account, number: int, side: int) -> int:
    """Lots of a position that orders on ``side`` could still close; negative, if there are too many."""
    position, opened = account.positions.get(number), account.open.get(number)
    closes = position is not None and (position.size > 0) == bool(side)
    return (abs(position.size) if position and closes else 0) - (opened.lots[side] if opened else 0)
