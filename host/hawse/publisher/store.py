"""The outcomes that a host keeps: every line, every order by client id, and how far they go.

SQLite, beside the journal and made from it alone: when it is deleted, the next start makes it anew.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, Self

from hawse.commit.header import INPUTS_MOST, BatchHeader
from hawse.journal.records import decode_receipts, encode_receipts
from hawse.receipt import Receipt, in_batch, receipt_of
from hawse.receipts import SlotReceipts
from hawse.state.outcomes import SlotLeaves
from hawse.venue import Sealed, SlotDone

from .errors import PublisherError
from .lines import Book, Line, Order, batch_lines
from .streams import BATCHES, SLOTS, Stored, connect, lines_from

_VERSION = 4
_COLUMNS = tuple(field.name for field in fields(Order))
_CLIENT_ID, _values = _COLUMNS.index("client_id"), attrgetter(*_COLUMNS)
_SCHEMA = f"""
CREATE TABLE position (slot INTEGER, batch INTEGER, batch_slot INTEGER, trades INTEGER);
INSERT INTO position VALUES (-1, 0, -1, 0);
CREATE TABLE lines (stream INTEGER, number INTEGER, line INTEGER, account INTEGER, client_id TEXT, text TEXT,
                    topic TEXT,
                    PRIMARY KEY (stream, number, line)) WITHOUT ROWID;
CREATE INDEX lines_of_a_topic ON lines (topic, stream, number, line) WHERE topic IS NOT NULL;
CREATE TABLE slots (number INTEGER PRIMARY KEY, time INTEGER);
CREATE INDEX lines_of_an_id ON lines (account, client_id) WHERE client_id IS NOT NULL;
CREATE INDEX lines_of_an_account ON lines (account, stream, number, line) WHERE account IS NOT NULL;
CREATE TABLE orders (seq INTEGER PRIMARY KEY, {", ".join(_COLUMNS[1:])});
CREATE INDEX orders_of_an_id ON orders (account, client_id);
CREATE INDEX open_orders ON orders (handle) WHERE state = 'open';
CREATE TABLE receipts (slot INTEGER PRIMARY KEY, first INTEGER, record BLOB, inputs BLOB, outcomes BLOB);
CREATE INDEX receipts_by_input ON receipts (first);
CREATE TABLE headers (batch INTEGER PRIMARY KEY, first_slot INTEGER, last_slot INTEGER, header BLOB);
PRAGMA user_version = {_VERSION};
"""


class Timed(NamedTuple):
    """One line of a slot: where it stands, the slot's time in milliseconds, and the line as JSON."""

    number: int
    line: int
    time: int
    text: str


class Outcomes:
    """The outcomes of one venue.

    Args:
        path: of the file.
        readonly: it is a running host's; nothing is changed.

    Attributes:
        slot: number of the last slot whose lines are kept, -1 before the first.
        batch: number of the last batch whose lines are kept, 0 before the first.
        batch_slot: number of that batch's last slot, -1 before the first.

    Raises:
        PublisherError: there is none to read, it is damaged, or of another version.
    """

    def __init__(self, path: Path, readonly: bool = False) -> None:
        self._path = path
        if readonly and not path.exists():
            raise PublisherError(f"{path} does not exist: a venue's outcomes are kept by hawse run")
        with self._named():
            self._db = connect(path, readonly)
            self._db.execute("PRAGMA synchronous = NORMAL")
            if not readonly:
                self._db.execute("PRAGMA journal_mode = WAL")
            self._check_version(readonly)
            self.slot, self.batch, self.batch_slot, trades = self._db.execute(
                "SELECT * FROM position"
            ).fetchone()
            self._book = Book(self._orders("state = 'open'"), trades)

    def _check_version(self, readonly: bool) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0 and not readonly:
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
        elif version != _VERSION:
            raise PublisherError(f"{self._path}: version {version}, not {_VERSION}; delete it, and {_ANEW}")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Give SQLite's errors as ours, with the file's name and what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise PublisherError(f"{self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise PublisherError(f"{self._path}: {error}; delete it, and {_ANEW}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # What a host keeps

    def keep(self, done: SlotDone) -> list[Line] | None:
        """Keep what became of a slot's inputs, and give it.

        A slot that is kept already, which a recovery repeats, is left, and gives None.

        Raises:
            PublisherError: it is not the next slot, or the disk does not take it.
        """
        number = done.slot.number
        if number <= self.slot:
            return None
        if number != self.slot + 1:
            raise PublisherError(f"{self._path}: slot {number} behind slot {self.slot}")
        lines = self._book.lines(done)
        touched = [_packed(order) for order in self._book.touched.values()]
        with self._named(), self._transaction():
            self._add(SLOTS, number, lines)
            self._db.execute("INSERT INTO slots VALUES (?, ?)", (number, done.slot.time))
            places = ", ".join("?" * len(_COLUMNS))
            self._db.executemany(f"INSERT OR REPLACE INTO orders VALUES ({places})", touched)
            self._db.execute("UPDATE position SET slot = ?, trades = ?", (number, self._book.trades))
        self.slot = number
        return lines

    @property
    def last_trade(self) -> int:
        """Number of the last trade, 0 before the first."""
        return self._book.trades

    @property
    def touched(self) -> Iterable[Order]:
        """The orders that the last slot made or changed."""
        return self._book.touched.values()

    def keep_batch(self, sealed: Sealed, transaction: bytes) -> list[Line]:
        """Keep what is to be told of a batch that is anchored by ``transaction``, and give it.

        A batch that is kept already gives nothing.

        Raises:
            PublisherError: the disk does not take it.
        """
        header = sealed.header
        if header.number <= self.batch:
            return []
        lines = batch_lines(sealed, transaction)
        with self._named(), self._transaction():
            self._add(BATCHES, header.number, lines)
            ends = header.number, header.journal_first, header.journal_last
            self._db.execute("INSERT INTO headers VALUES (?, ?, ?, ?)", (*ends, header.encode()))
            place = (header.number, header.journal_last)
            self._db.execute("UPDATE position SET batch = ?, batch_slot = ?", place)
        self.batch, self.batch_slot = place
        return lines

    def keep_receipts(self, made: SlotReceipts) -> None:
        """Keep a slot's receipts with the leaves that they are about; those that are kept already stay.

        Raises:
            PublisherError: the disk does not take them.
        """
        told, leaves = made.receipts, made.leaves
        row = told.slot, told.first_seq, encode_receipts(told), leaves.inputs, leaves.outcomes
        with self._named():
            self._db.execute("INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?)", row)

    def _add(self, stream: int, number: int, lines: Sequence[Line]) -> None:
        rows = [
            (
                stream,
                number,
                line["line"],
                line.get("account"),
                _text(line.get("client_id")),
                json.dumps(line),
                _topic(line),
            )
            for line in lines
        ]
        self._db.executemany("INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    # What is asked of it

    def lines(self, stream: int, number: int, line: int) -> Iterator[Stored]:
        """The lines of a stream from a place on, in order."""
        with self._named():
            yield from lines_from(self._db, stream, number, line)

    def receipts_of(self, seq: int) -> SlotReceipts | None:
        """The receipts of the slot that gave an input its sequence number; None if there are none yet."""
        where = "first <= ? ORDER BY first DESC, slot DESC LIMIT 1"
        with self._named():
            (found,) = [*self._slot_receipts(where, seq), None][:1]
        told = found and found.receipts
        return found if told and told.first_seq <= seq < told.first_seq + told.count else None

    def receipt(self, chain_id: int, contract: bytes, seq: int, most: int = INPUTS_MOST) -> Receipt | None:
        """The receipt of an input, None if there is none yet.

        With what its batch has there, once that is anchored.

        Args:
            chain_id, contract: of the venue.
            seq: of the input.
            most: inputs of a batch that may be hashed for it; of a larger one, nothing is shown.

        Raises:
            ProofError: what is kept is not what was anchored.
        """
        made = self.receipts_of(seq)
        if made is None:
            return None
        batch, header = None, self.header_of(made.receipts.slot)
        if header is not None and header.inputs_count <= most:
            slots = list(self.receipts_within(header.journal_first, header.journal_last))
            batch = in_batch(header, slots, seq)
        return receipt_of(chain_id, contract, made, seq, batch)

    def has_sent(self, account: int, generation: int, slot: int, seq: int) -> bool:
        """Whether an input of a slot was one life of an account's own: no side of another's trade."""
        what = "SELECT text FROM lines WHERE account = ? AND stream = ? AND number = ?"
        with self._named():
            found = self._db.execute(what, (account, SLOTS, slot)).fetchall()
        told = [json.loads(text) for (text,) in found]
        return any(
            "kind" in line and line["seq"] == seq and line.get("generation") == generation for line in told
        )

    def header_of(self, slot: int) -> BatchHeader | None:
        """Header of the anchored batch that has a slot; None before it is anchored."""
        with self._named():
            found = self._db.execute(
                "SELECT header FROM headers WHERE first_slot <= ? AND last_slot >= ?", (slot, slot)
            ).fetchone()
        return BatchHeader.decode(found[0]) if found else None

    def receipts_within(self, first: int, last: int) -> Iterator[SlotReceipts]:
        """The receipts of slots ``first`` to ``last``, in order."""
        with self._named():
            yield from self._slot_receipts("slot >= ? AND slot <= ? ORDER BY slot", first, last)

    def _slot_receipts(self, where: str, *values: int) -> Iterator[SlotReceipts]:
        for row in self._db.execute(f"SELECT record, inputs, outcomes FROM receipts WHERE {where}", values):
            told = decode_receipts(row[0])
            yield SlotReceipts(told, SlotLeaves.of(told.first_seq, row[1], row[2]))

    def open_orders(self) -> list[Order]:
        """The orders that rest in the book, as they were placed."""
        with self._named():
            return self._orders("state = 'open' ORDER BY seq")

    def opened(self, account: int, generation: int) -> int | None:
        """Number of the slot that told first of one life of an account; None if none has."""
        with self._named():
            found = self._db.execute(
                "SELECT number FROM lines WHERE account = ? AND stream = ?"
                " AND json_extract(text, '$.generation') = ? ORDER BY number LIMIT 1",
                (account, SLOTS, generation),
            ).fetchone()
        return int(found[0]) if found else None

    def lines_of(self, account: int, slot: int, most: int) -> list[Timed]:
        """Lines of an account from a slot on, in order: at most ``most`` and the rest of their last slot."""
        with self._named():
            return self._whole_slots("account = ? AND stream = ?", (account, SLOTS), slot, most)

    def trades(self, slot: int, most: int) -> list[Timed]:
        """Lines of trades, the takers', from a slot on; likewise."""
        with self._named():
            return self._whole_slots("topic = ? AND stream = ?", (_TRADE, SLOTS), slot, most)

    def anchored(self, batch: int, most: int) -> list[Line]:
        """The lines of anchored batches before number ``batch``, the newest first."""
        with self._named():
            found = self._db.execute(
                "SELECT text FROM lines WHERE topic = ? AND stream = ? AND number < ?"
                " ORDER BY number DESC LIMIT ?",
                (_ANCHORED, BATCHES, batch, most),
            ).fetchall()
        return [json.loads(text) for (text,) in found]

    def _whole_slots(self, where: str, values: tuple[object, ...], slot: int, most: int) -> list[Timed]:
        """Lines from a slot on; never a part of a slot."""
        what = "SELECT lines.number, line, time, text FROM lines JOIN slots USING (number)"
        order = "ORDER BY lines.number, line"
        first = f"{what} WHERE {where} AND lines.number >= ? {order} LIMIT ?"
        found = [Timed(*row) for row in self._db.execute(first, (*values, slot, most))]
        if len(found) == most:
            rest = f"{what} WHERE {where} AND lines.number = ? AND line > ? {order}"
            place = found[-1].number, found[-1].line
            found += [Timed(*row) for row in self._db.execute(rest, (*values, *place))]
        return found

    def orders(self, account: int, client_id: int, most: int = 100) -> list[Order]:
        """The newest ``most`` orders that an account has had by a client id, oldest first."""
        with self._named():
            where = f"account = ? AND client_id = ? ORDER BY seq DESC LIMIT {most}"
            return self._orders(where, account, _text(client_id))[::-1]

    def told_of(self, account: int, client_id: int, most: int = 100) -> list[Line]:
        """The newest ``most`` lines of a client id of an account, oldest first."""
        with self._named():
            found = self._db.execute(
                "SELECT text FROM lines WHERE account = ? AND client_id = ?"
                f" ORDER BY stream DESC, number DESC, line DESC LIMIT {most}",
                (account, _text(client_id)),
            ).fetchall()
        return [json.loads(text) for (text,) in found[::-1]]

    def withdrawals(self, owner: str) -> list[Line]:
        """The lines of an owner's anchored withdrawals, oldest first; his address as 0x and 40 digits."""
        with self._named():
            found = self._db.execute(
                "SELECT text FROM lines WHERE topic = ? AND stream = ? ORDER BY number, line",
                (owner.lower(), BATCHES),
            ).fetchall()
        return [json.loads(text) for (text,) in found]

    def account_of(self, owner: str) -> Line | None:
        """The line of the newest deposit that an owner's account was credited with."""
        with self._named():
            found = self._db.execute(
                "SELECT text FROM lines WHERE topic = ? AND stream = ? AND account IS NOT NULL"
                " ORDER BY number DESC, line DESC LIMIT 1",
                (owner.lower(), SLOTS),
            ).fetchone()
        return json.loads(found[0]) if found else None

    def _orders(self, where: str, *values: object) -> list[Order]:
        rows = self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM orders WHERE {where}", values)
        found = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        return [Order(**order | {"client_id": int(order["client_id"])}) for order in found]

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_TRADE, _ANCHORED = "trade", "anchored"
_ANEW = "the next start makes it anew from the journal"


def _text(client_id: int | None) -> str | None:
    """SQLite's integers are signed."""
    return None if client_id is None else str(client_id)


def _topic(line: Line) -> str | None:
    """By what a line is looked for, beside its account and place: trades, anchors, an owner's money."""
    event = line["event"]
    if event == _TRADE:
        return _TRADE if line["role"] == "taker" else None
    if event == "withdrawal" or line.get("kind") == "deposit":
        return str(line["owner"])
    return _ANCHORED if event == _ANCHORED else None


def _packed(order: Order) -> tuple[object, ...]:
    values = _values(order)
    return *values[:_CLIENT_ID], _text(order.client_id), *values[_CLIENT_ID + 1 :]
