"""A real capture of Bitstamp's BTC/USD order-by-order flow, as commands.

The rows are the sample data of the PyPI package ``ob-analytics`` 0.1.0, of which nothing else is used. What
they mean was found by replaying them: see ``docs/capture.md``.
"""

import csv
import gzip
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from hawse.engine import Engine, SoftBackend
from hawse.wire import Geometry, Kind, Opcode, Side, TimeInForce
from hawse.wire.dtypes import ORDER, Array, flags, kinds

from .flow import Flow

LOTS_PER_COIN = 10**8
LEVELS = 32_768
BASE = 62_000
_SNAPSHOT_ROWS, _CLOSING_ROWS = 6_512, 6_518
_STALE = frozenset({2002347642003458, 2002347646152704})
_ON_HOST = "outside the price band or above 42.9 BTC, kept on the host"
_MARKET = {999_999_999: BASE + LEVELS - 1, 0: BASE}


class CaptureMissing(Exception):
    """The package that holds the capture is not installed."""


@dataclass(frozen=True)
class _Row:
    order_id: int
    time: int
    exchange_time: int
    price: int
    quantity: int
    action: str
    side: Side


@dataclass(frozen=True)
class Capture:
    """A range of the capture as a flow.

    Attributes:
        flow: the commands.
        rows: rows of the capture read, the snapshot's and the live ones.
        skipped: rows that became no command, by reason.
        until: exchange time of the last row, milliseconds since 1970.
    """

    flow: Flow
    rows: int
    skipped: dict[str, int]
    until: int


def _data() -> Path:
    found = importlib.util.find_spec("ob_analytics")
    if found is None or not found.submodule_search_locations:
        raise CaptureMissing("the package ob-analytics 0.1.0 is not installed")
    return Path(found.submodule_search_locations[0]) / "_sample_data"


def _lots(volume: str) -> int:
    return int(Decimal(volume) * LOTS_PER_COIN)


def _read(path: Path) -> list[_Row]:
    with gzip.open(path, "rt", newline="") as file:
        return [
            _Row(
                int(r["id"]),
                int(r["timestamp"]),
                int(r["exchange_timestamp"]),
                int(float(r["price"])),
                _lots(r["volume"]),
                r["action"],
                Side.BUY if r["direction"] == "bid" else Side.SELL,
            )
            for r in csv.DictReader(file)
        ]


def _fits(row: _Row) -> bool:
    """Whether a book of this band and of 32-bit quantities can hold the order."""
    return BASE <= row.price < BASE + LEVELS and row.quantity < 1 << 32


def _order(opcode: Opcode, row: _Row, time_in_force: TimeInForce = TimeInForce.GTC) -> Array:
    out = np.zeros(1, ORDER)
    out["opcode"], out["order_id"] = opcode, row.order_id
    if opcode in (Opcode.NEW, Opcode.REPLACE):
        out["price"] = _MARKET.get(row.price, row.price)
        out["quantity"] = row.quantity
    if opcode == Opcode.NEW:
        out["flags"] = flags(row.side, time_in_force)
    if opcode == Opcode.REDUCE:
        out["quantity"] = row.quantity
    return out


class _OwnBook:
    """What the traders know of their orders: the same commands on a software engine of their own."""

    def __init__(self) -> None:
        self._engine = Engine(SoftBackend(Geometry(instruments=1, pool=LEVELS, orders=8192)))
        self._engine.reset(1)
        self._engine.open(0, BASE)
        self._fence = np.zeros(1, ORDER)
        self._fence["opcode"] = Opcode.FENCE
        #: Lots left of each resting order.
        self.remaining: dict[int, int] = {}
        self.last_price = 0

    def apply(self, order: Array) -> None:
        events = self._engine.run(np.concatenate([order, self._fence])).events
        columns = (kinds(events), *(events[n] for n in ("order_id", "maker_id", "price", "quantity")))
        for kind, order_id, maker_id, price, quantity in zip(*(c.tolist() for c in columns), strict=True):
            if kind in (Kind.ACK, Kind.REPLACED):
                self.remaining[order_id] = quantity
            elif kind == Kind.CANCELLED:
                del self.remaining[order_id]
            elif kind == Kind.TRADE:
                self.last_price = price
                for who in (order_id, maker_id):
                    self.remaining[who] -= quantity
                    if not self.remaining[who]:
                        del self.remaining[who]


def _snapshot(rows: list[_Row], skipped: Counter[str]) -> Iterator[tuple[_Row, Array]]:
    for row in sorted(rows, key=lambda r: r.order_id):
        if row.order_id in _STALE:
            skipped["stale in the snapshot"] += 1
        elif not _fits(row):
            skipped[_ON_HOST] += 1
        else:
            yield row, _order(Opcode.NEW, row)


def load_capture(live_rows: int | None = None, progress: Callable[[int, int], None] | None = None) -> Capture:
    """The snapshot and the first ``live_rows`` rows behind it (all, when None), as commands.

    Prices are in ticks of one dollar, quantities in lots of 1e-8 BTC. Rows that can have no effect in a book
    (a delete of an order that the book has already traded or refused, a change to what the book already
    holds) become no command and are counted in ``skipped``.

    Args:
        live_rows: how many rows behind the snapshot.
        progress: called with (rows done, rows in all) now and then.

    Raises:
        CaptureMissing: the package with the data is not installed.
    """
    rows = _read(_data() / "orders.csv.gz")[:-_CLOSING_ROWS]
    original, last = {}, {}
    for row in rows:
        last[row.order_id] = row
        if row.action == "created":
            original[row.order_id] = row.quantity

    def post_only(row: _Row) -> bool:
        end = last[row.order_id]
        return end.action == "deleted" and end.quantity == original[row.order_id]

    snapshot, live = rows[:_SNAPSHOT_ROWS], rows[_SNAPSHOT_ROWS:][:live_rows]
    book, skipped = _OwnBook(), Counter[str]()
    times: list[int] = []
    orders: list[Array] = []
    marks: list[int] = []
    book.last_price = _mid(snapshot)

    def send(row: _Row, order: Array) -> None:
        times.append(row.time)
        orders.append(order)
        book.apply(order)
        marks.append(book.last_price)

    for row, order in _snapshot(snapshot, skipped):
        send(row, order)
    for n, row in enumerate(live):
        if progress and n % 4096 == 0:
            progress(n, len(live))
        resting = book.remaining.get(row.order_id)
        if row.action == "deleted":
            if resting is None:
                skipped["deleted, but not in the book any more"] += 1
            else:
                send(row, _order(Opcode.CANCEL, row))
        elif row.action == "changed":
            if resting is None or row.quantity >= resting:
                skipped["changed to what the book already holds"] += 1
            else:
                send(row, _order(Opcode.REDUCE if row.quantity else Opcode.CANCEL, row))
        elif not row.quantity:
            skipped["market order of volume zero"] += 1
        elif row.price in _MARKET:
            send(row, _order(Opcode.NEW, row, TimeInForce.IOC))
        elif not _fits(row):
            skipped[_ON_HOST] += 1
            if resting is not None:
                send(row, _order(Opcode.CANCEL, row))
        elif resting is not None:
            send(row, _order(Opcode.REPLACE, row))
        else:
            kind = TimeInForce.POST_ONLY if post_only(row) else TimeInForce.GTC
            send(row, _order(Opcode.NEW, row, kind))
    if progress:
        progress(len(live), len(live))
    ordered = np.maximum.accumulate(np.array(times, np.uint64))
    flow = Flow(ordered, np.concatenate(orders), np.array(marks), BASE, _mid(snapshot))
    done = [*snapshot, *live]
    return Capture(flow, len(done), dict(skipped), max(r.exchange_time for r in done))


def _mid(snapshot: list[_Row]) -> int:
    fresh = [r for r in snapshot if r.order_id not in _STALE]
    bid = max(r.price for r in fresh if r.side == Side.BUY)
    ask = min(r.price for r in fresh if r.side == Side.SELL)
    return (bid + ask) // 2


def tape(until: int) -> Counter[tuple[int, int, int, int]]:
    """The venue's own trades up to ``until``, as counts of (buy order, sell order, price, quantity).

    Args:
        until: exchange time, milliseconds since 1970.
    """
    with (_data() / "trades.csv").open(newline="") as file:
        return Counter(
            (int(r["buy_order_id"]), int(r["sell_order_id"]), int(float(r["price"])), _lots(r["amount"]))
            for r in csv.DictReader(file)
            if int(r["exchange_timestamp"]) <= until
        )
