"""How far a journal is known to be durable: what tells a record that was lost from one that was torn."""

import logging
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from .errors import JournalBehind

_NAME = "durable"
#: Magic; segment, end in bytes, next slot, whether that lacks its outcome.
_MARK = struct.Struct(">8sIQQ?")
_MAGIC = b"HAWSEDUR"
_SIZE = _MARK.size + 4
_log = logging.getLogger(__name__)


class Mark(NamedTuple):
    """A point between two records.

    Attributes:
        segment: index of the segment.
        end: bytes of it before the point.
        next_slot: number of the next INPUT.
        pending: whether the last INPUT still lacks its OUTCOME.
    """

    segment: int
    end: int
    next_slot: int
    pending: bool

    @property
    def last(self) -> int:
        """Number of the last slot that has its OUTCOME, -1 if none has."""
        return self.next_slot - 1 - self.pending

    def check(self, durable: "Mark") -> None:
        """Refuse a journal that ends here, before what was ``durable``.

        Raises:
            JournalBehind: it does.
        """
        if self[:2] < durable[:2]:
            there = f"byte {self.end} of segment {self.segment}"
            known = f"byte {durable.end} of segment {durable.segment}"
            at = f"slot {durable.next_slot - 1} and {known} were durable, and it ends at {there}"
            raise JournalBehind(self.last, durable.next_slot - 1, at)


def read_mark(directory: Path) -> Mark | None:
    """The mark of the journal in ``directory``, None if it has none.

    One that is damaged is logged and counts for nothing.
    """
    path = directory / _NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    body = data[: _MARK.size]
    if len(data) != _SIZE or zlib.crc32(body).to_bytes(4, "big") != data[_MARK.size :]:
        _log.warning("%s is damaged", path)
        return None
    magic, *values = _MARK.unpack(body)
    return Mark(*values) if magic == _MAGIC else None


def durable_slot(directory: Path) -> int:
    """Number of the last slot whose INPUT and OUTCOME are known to be durable, -1 if none are."""
    mark = read_mark(directory)
    return -1 if mark is None else mark.last


class MarkFile:
    """The file of the last durable :class:`Mark`, written in place behind each sync and never synced itself.

    So it may lag behind the journal, where it protects less, and is never ahead of it.

    Args:
        directory: of the journal.
    """

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT, 0o644)

    def write(self, mark: Mark) -> None:
        """Put ``mark`` in the place of the one before.

        Raises:
            OSError: of the disk.
        """
        body = _MARK.pack(_MAGIC, *mark)
        os.pwrite(self._fd, body + zlib.crc32(body).to_bytes(4, "big"), 0)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)
