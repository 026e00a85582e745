"""How the lines of outcomes are kept, for whoever only reads them; imports nothing else of ours."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Streams of lines: numbered by slot, and by batch.
SLOTS, BATCHES = 0, 1


class Stored(NamedTuple):
    """One line, by its place: a slot or batch, and its number in that."""

    number: int
    line: int
    text: str


def connect(path: Path, readonly: bool) -> sqlite3.Connection:
    """The file of outcomes; every statement is a transaction of its own unless one is begun.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    name = path.absolute().as_uri() + ("?mode=ro" if readonly else "")
    return sqlite3.connect(name, uri=True, isolation_level=None, timeout=30)


def lines_from(db: sqlite3.Connection, stream: int, number: int, line: int) -> Iterator[Stored]:
    """The lines of a stream from a place on, in order.

    Raises:
        sqlite3.Error: the file is damaged.
    """
    found = db.execute(
        "SELECT number, line, text FROM lines WHERE stream = ? AND (number, line) >= (?, ?)"
        " ORDER BY number, line",
        (stream, number, line),
    )
    for row in found:
        yield Stored(*row)
