"""What happened, as the gateway's readers get it: books, trades, tickers, and the lines of accounts, by slot.

One thread, that of the gateway, uses it. Every message is made once, however many read it.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from hawse.publisher.lines import Line, Order
from hawse.state.config import VenueConfig

from .levels import Levels
from .messages import BookChange
from .shapes import BookOf, Latency, Ticker, Trade

#: Slots, and bytes of their messages, that a reader may be behind before he gets them from the disk.
_SLOTS, _BYTES = 4096, 1 << 25
#: Slots whose latency is told.
_TIMED = 1024
_SIDES = ("buy", "sell")
encode = msgspec.json.encode


class Resting(NamedTuple):
    """An order as the book has it, by the sequence number of the command that placed it."""

    seq: int
    instrument: int
    side: int
    price: int
    lots: int

    @classmethod
    def of(cls, order: Order) -> "Resting":
        """As it stands now; with no lots if it has ended."""
        lots = order.remaining if order.state == "open" else 0
        return cls(order.seq, order.instrument, order.side, order.price, lots)


class MarketNow(NamedTuple):
    """What changes of an instrument beside its book."""

    mark: int
    mark_time: int
    open_interest: int


class Told(NamedTuple):
    """A slot, as the host's thread hands it over; nothing in it changes any more.

    Attributes:
        number, time: of the slot.
        lines: its outcomes.
        orders: those that it made or changed.
        markets: by instrument, behind it.
        venue: what else there is to know: insurance, fees, accounts, batch, unanchored, nearest_ppm.
    """

    number: int
    time: int
    lines: Sequence[Line]
    orders: Sequence[Resting]
    markets: Mapping[int, MarketNow]
    venue: Mapping[str, Any]


class Before(NamedTuple):
    """A message of a stream, and the slot of the one before it on that stream."""

    previous: int
    body: bytes


@dataclass
class Past:
    """The messages of one slot: of books and trades by instrument, lines by account.

    Lines are a JSON list, with the generation of the account that they name, None where they name none.
    """

    number: int
    books: dict[int, Before] = field(default_factory=dict)
    trades: dict[int, Before] = field(default_factory=dict)
    accounts: dict[int, tuple[int | None, bytes]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of its messages."""
        public = (*self.books.values(), *self.trades.values())
        return sum(len(b.body) for b in public) + sum(len(b) for _, b in self.accounts.values())


class Feed:
    """The venue as it stands, and its last slots.

    Args:
        config: of the venue.
        slot, time: of the last slot.
        orders: those that rest in the book.
        markets: by instrument.
        venue: as of :class:`Told`.

    Attributes:
        slot, time, markets, venue: behind the last slot.
        waits: why no slot is carried out; empty if they are.
        commands: how many were answered since the start.
        listeners: set whenever there is something new.
    """

    def __init__(
        self,
        config: VenueConfig,
        slot: int,
        time: int,
        orders: Iterable[Resting],
        markets: Mapping[int, MarketNow],
        venue: Mapping[str, Any],
    ) -> None:
        self.slot, self.time, self.markets, self.venue = slot, time, dict(markets), dict(venue)
        self.waits, self.commands = "", 0
        self._books = {i.number: Levels() for i in config.instruments}
        self._resting: dict[int, Resting] = {}
        self._past: deque[Past] = deque()
        self._bytes = 0
        self._changed = dict.fromkeys(self._books, slot)
        self._traded = dict.fromkeys(self._books, slot)
        self._last: dict[int, Trade] = {}
        self._seconds: deque[float] = deque(maxlen=_TIMED)
        self.listeners: set[asyncio.Event] = set()
        for order in orders:
            self._put(order)

    # What happens

    def tell(self, told: Told) -> None:
        """One slot more."""
        past = Past(told.number)
        self.slot, self.time = told.number, told.time
        self.markets.update(told.markets)
        self.venue.update(told.venue)
        self._tell_books(told, past)
        self._tell_trades(told, past)
        by_account: dict[int, list[Line]] = {}
        for line in told.lines:
            self.commands += "nonce" in line
            if "account" in line:
                by_account.setdefault(line["account"], []).append(line)
        for account, lines in by_account.items():
            named = next((line["generation"] for line in lines if "generation" in line), None)
            past.accounts[account] = named, encode(lines)
        self._keep(past)
        self.wake()

    def _tell_books(self, told: Told, past: Past) -> None:
        changed: dict[int, set[tuple[int, int]]] = {}
        for order in told.orders:
            places = changed.setdefault(order.instrument, set())
            if (old := self._resting.get(order.seq)) is not None:
                places.add((old.side, old.price))
            places.add((order.side, order.price))
            self._put(order)
        for instrument, places in changed.items():
            book = self._books[instrument]
            new = [sorted((p, book.sides[s].get(p, 0)) for s, p in places if s == side) for side in (0, 1)]
            before = self._changed[instrument]
            change = BookChange(instrument, told.number, before, told.time, new[0], new[1], book.check)
            past.books[instrument] = Before(before, encode(change))
            self._changed[instrument] = told.number

    def _put(self, order: Resting) -> None:
        book = self._books[order.instrument]
        if (old := self._resting.pop(order.seq, None)) is not None:
            book.add(old.side, old.price, -old.lots)
        if order.lots:
            book.add(order.side, order.price, order.lots)
            self._resting[order.seq] = order

    def _tell_trades(self, told: Told, past: Past) -> None:
        by_instrument: dict[int, list[Trade]] = {}
        for line in told.lines:
            if line["event"] == "trade" and line["role"] == "taker":
                trade = trade_of(line, told.time)
                by_instrument.setdefault(trade.instrument, []).append(trade)
        for instrument, trades in by_instrument.items():
            self._last[instrument] = trades[-1]
            past.trades[instrument] = Before(self._traded[instrument], encode(trades))
            self._traded[instrument] = told.number

    def _keep(self, past: Past) -> None:
        self._past.append(past)
        self._bytes += past.size
        while len(self._past) > _SLOTS or (self._bytes > _BYTES and len(self._past) > 1):
            self._bytes -= self._past.popleft().size

    def took(self, seconds: float) -> None:
        """The last slot took so long."""
        self._seconds.append(seconds)

    def wake(self) -> None:
        """Have all who wait look again."""
        for listener in self.listeners:
            listener.set()

    # What is asked

    def reaches(self, slot: int) -> bool:
        """Whether all slots behind ``slot`` are at hand."""
        return slot >= self.slot or bool(self._past and self._past[0].number <= slot + 1)

    def since(self, slot: int) -> Iterator[Past]:
        """The slots behind ``slot``, up to one that memory has lost while its reader waited."""
        for number in range(slot + 1, self.slot + 1):
            place = number - self._past[0].number
            if place < 0:
                return
            yield self._past[place]

    def book(self, instrument: int, depth: int | None = None) -> BookOf:
        """As it stands.

        Raises:
            KeyError: there is no such instrument.
        """
        book = self._books[instrument]
        return BookOf(instrument, self.slot, self.time, book.bids(depth), book.asks(depth), book.check)

    @property
    def resting(self) -> int:
        """Orders in all books."""
        return len(self._resting)

    def ticker(self, instrument: int) -> Ticker:
        """An instrument at a glance.

        Raises:
            KeyError: there is no such instrument.
        """
        book, market = self._books[instrument].sides, self.markets[instrument]
        best = max(book[0], default=None), min(book[1], default=None)
        bid, ask = ((p, book[side][p]) if p is not None else None for side, p in enumerate(best))
        last = self._last.get(instrument)
        traded = (last.price, last.trade) if last else (None, None)
        return Ticker(instrument, self.slot, *market, bid, ask, *traded)

    def latency(self) -> Latency:
        """How long the last slots took."""
        taken = sorted(self._seconds) or [0.0]
        at = (taken[len(taken) // 2], taken[len(taken) * 99 // 100], taken[-1])
        return Latency(len(self._seconds), *(round(seconds * 1e6) for seconds in at))


def trade_of(line: Line, time: int) -> Trade:
    """What everybody may know of a taker's line."""
    names = ("instrument", "side", "price", "quantity")
    return Trade(line["trade"], line["slot"], time, *(line[name] for name in names))
