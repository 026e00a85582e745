"""What expires: the average of its index, the end of its trading, and its settlement.

Times are milliseconds of slot time, prices ticks.
"""

from hawse.instruments import Status
from hawse.risk.settlement import Settlement, in_window, open_window, settlement_price
from hawse.wire import Reason

from .feeds import Feed
from .ledger import INSURANCE, Ledger, Market
from .slot import Event
from .sweep import Taken, newest


def follow(ledger: Ledger, now: int) -> None:
    """The index up to ``now`` counts in every open window, however few slots there were meanwhile."""
    for number, market in ledger.markets.items():
        terms, feed = market.terms, market.feed
        if feed is None or not terms.expiry or market.status == Status.SETTLED:
            continue
        if now < terms.expiry - terms.window:
            continue
        state = market.settlement or _begin(market, feed)
        for time in feed.turns(state.average.time, now):
            state = in_window(state, time, feed.at(time))
        market.settlement = in_window(state, now, state.average.value)
        ledger.priced.add(number)


def _begin(market: Market, feed: Feed) -> Settlement:
    """A window that begins with the index that there is; the mark stands for one that there never was."""
    begins = market.terms.expiry - market.terms.window
    state = open_window(market.terms.window, begins, feed.index or max(1, market.mark))
    return in_window(state, begins, feed.at(begins))


def hear(ledger: Ledger, now: int) -> None:
    """The index from ``now`` on."""
    for market in ledger.markets.values():
        if market.settlement is not None and market.status != Status.SETTLED:
            feed = market.feed
            value = feed.index if feed is not None and feed.valid else None
            market.settlement = in_window(market.settlement, now, value)


class Expired:
    """What the slot at ``now`` ends: orders of what may not be traded any more, and positions.

    Attributes:
        taken: orders that go.
        events: SETTLE of each instrument, with the price and the lots held long.
        settled: indices of accounts that had a position.
        moved: numbers of the instruments whose mark is now the settlement price.
    """

    def __init__(self, ledger: Ledger, now: int) -> None:
        self._ledger = ledger
        self.taken: list[Taken] = []
        self.events: list[Event] = []
        self.settled: set[int] = set()
        self.moved: list[int] = []
        for market in ledger.markets.values():
            expired = bool(market.terms.expiry) and now >= market.terms.expiry
            if expired and market.status != Status.SETTLED:
                ledger.set_status(market.terms.number, Status.CLOSED)
            if market.status == Status.CLOSED:
                self._take(market, Reason.EXPIRY if expired else Reason.DELIST, now)
            if expired and market.settlement is not None and market.status != Status.SETTLED:
                price = settlement_price(market.settlement, now, market.terms.patience)
                if price is not None:
                    self._settle(market, price, now)

    def _take(self, market: Market, why: Reason, now: int) -> None:
        """Nobody can trade with them any more: what they held is free at once."""
        number, ledger = market.terms.number, self._ledger
        owners = {o.account.index for o in ledger.orders.values() if o.instrument == number}
        for index in sorted(owners):
            for order in newest(ledger.accounts[index]):
                if order.instrument == number:
                    ledger.trim(order, 0)
                    event = Event(why, index, number, now, market.terms.expiry)
                    self.taken.append((order, 0, event))

    def _settle(self, market: Market, price: int, now: int) -> None:
        """Every position is paid out at one price; no fee."""
        number, ledger = market.terms.number, self._ledger
        self.events.append(Event(Reason.SETTLE, INSURANCE, number, price, market.open_interest))
        if price != market.mark:
            self.moved.append(number)
        ledger.set_mark(number, price, now)
        for account in ledger.accounts:
            position = account.positions.get(number)
            if position is not None:
                ledger.settle(account, number, -position.size, price)
                self.settled.add(account.index)
        ledger.set_status(number, Status.SETTLED)
