"""The journal: an append-only file in which every slot stands, before and after it was carried out.

``docs/journal.md`` gives the format byte by byte.
"""

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tiny_keccak import keccak256

from hawse.commit.header import BatchHeader
from hawse.state.slot import SlotInput, SlotOutcome

from .codec import (
    JournalCorrupt,
    JournalError,
    decode_header,
    decode_input,
    decode_outcome,
    encode_input,
    encode_outcome,
    slot_number,
)
from .files import File, OsFile, replace_durably, sync_directory

FILE = "journal"
_LOCK = "lock"
_MAGIC = b"HAWSEJNL"
_VERSION = 1
#: Magic, version, length of the configuration.
_HEADER = struct.Struct(">8sII")
#: Length of the payload, type; the CRC of both follows.
_FRAME = struct.Struct(">IB")
_FRAME_SIZE = _FRAME.size + 4
_HASH_SIZE = 32
_log = logging.getLogger(__name__)


class JournalLocked(JournalError):
    """Another host has this journal open."""


class JournalOrder(JournalError):
    """A record that may not follow those that are there."""


class RecordType(IntEnum):
    """What a record of the journal is. The hash chain covers INPUT and OUTCOME."""

    INPUT = 1
    OUTCOME = 2
    ANCHOR = 3
    EPOCH = 4


class JournaledSlot(NamedTuple):
    """A slot as the journal has it.

    Attributes:
        slot: what went in.
        outcome: what came out; None if the host died before it was durable.
        chain: value of the hash chain behind the outcome, or behind the input if there is no outcome.
    """

    slot: SlotInput
    outcome: SlotOutcome | None
    chain: bytes


@dataclass(frozen=True)
class Anchor:
    """A batch header as it was sent to the chain, and the hash (32 bytes) of the transaction."""

    header: BatchHeader
    transaction: bytes


class _Record(NamedTuple):
    offset: int
    type: RecordType
    payload: bytes
    chain: bytes
    """Value of the hash chain behind this record."""

    @property
    def payload_offset(self) -> int:
        return self.offset + _FRAME_SIZE

    @property
    def end(self) -> int:
        return self.payload_offset + len(self.payload) + _HASH_SIZE


def _frame(type_: RecordType, payload: bytes) -> bytes:
    head = _FRAME.pack(len(payload), type_)
    return head + zlib.crc32(head).to_bytes(4, "big")


def _link(chain: bytes, type_: RecordType, payload: bytes) -> bytes:
    return bytes(keccak256(b"\x90" + chain + bytes([type_]) + payload))


def _after(chain: bytes, type_: RecordType, link: bytes) -> bytes:
    return link if type_ in (RecordType.INPUT, RecordType.OUTCOME) else chain


class Journal:
    """The journal in ``directory``, open for appending, or for reading while its host appends.

    Opening reads all of it and checks every hash. What a power loss left of a record that was never synced
    is cut off, logged, and counted in ``dropped``.

    Args:
        directory: of the journal; made if missing.
        config: what a new journal is for, the venue's configuration: opaque bytes that begin the hash chain.
            Compared with that of an existing journal, unless None.
        readonly: take no lock, change nothing; records that are appended later are seen by iteration only
            after opening again.
        open_file: opens the file layer.

    Attributes:
        config: of the journal.
        chain: value of the hash chain, 32 bytes.
        next_slot: number of the next INPUT.
        pending: whether the last INPUT still lacks its OUTCOME.
        epoch: highest epoch ever announced, 0 if none.
        anchors: in order.
        dropped: bytes cut off when it was opened.

    Raises:
        JournalCorrupt: a byte of it is not what was written.
        JournalLocked: another host has it open.
        JournalError: there is none and ``config`` is None, or its configuration differs from ``config``.
    """

    def __init__(
        self,
        directory: Path,
        config: bytes | None = None,
        *,
        readonly: bool = False,
        open_file: Callable[[Path, bool], File] = OsFile,
    ) -> None:
        self.directory = Path(directory)
        self._readonly = readonly
        self._broken = False
        self._file: File | None = None
        self._lock: int | None = None
        path = self.directory / FILE
        if not readonly and config is not None and not self.directory.exists():
            self.directory.mkdir(parents=True)
            sync_directory(self.directory.parent)
        if not path.exists() and (readonly or config is None):
            raise JournalError(f"{path} does not exist")
        try:
            if not readonly:
                self._lock = self._take_lock()
            if not path.exists():
                assert config is not None
                head = _HEADER.pack(_MAGIC, _VERSION, len(config)) + config
                replace_durably(path, head + keccak256(b"\x91" + head))
            self._file = open_file(path, readonly)
            self._open(config)
        except BaseException:
            self.close()
            raise

    def _take_lock(self) -> int:
        lock = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise JournalLocked(f"{self.directory} is open in another host") from None
        return lock

    def _open(self, config: bytes | None) -> None:
        file = self._opened()
        size = file.size()
        head = file.read(0, _HEADER.size)
        if len(head) < _HEADER.size or head[: len(_MAGIC)] != _MAGIC:
            raise JournalCorrupt(0, "magic", "not a journal")
        _, version, length = _HEADER.unpack(head)
        if version != _VERSION:
            raise JournalCorrupt(8, "version", f"{version}, not {_VERSION}")
        self.config = file.read(_HEADER.size, min(length, size))
        self._start = _HEADER.size + length + _HASH_SIZE
        self._origin = bytes(keccak256(b"\x91" + head + self.config))
        if file.read(self._start - _HASH_SIZE, _HASH_SIZE) != self._origin:
            raise JournalCorrupt(0, "file header", "does not fit its hash")
        if config is not None and config != self.config:
            raise JournalError(f"{self.directory / FILE}: it was begun with another configuration")

        self.chain = self._origin
        self.next_slot, self.pending, self.epoch = 0, False, 0
        self.anchors: list[Anchor] = []
        self._end = self._start
        for record in self._scan(size):
            try:
                self._apply(record.type, record.payload, record.payload_offset)
            except JournalOrder as error:
                raise JournalCorrupt(record.offset, record.type.name, str(error)) from error
            self.chain, self._end = record.chain, record.end
        self.dropped = size - self._end
        if self.dropped and not self._readonly:
            _log.warning("%s: %d bytes of a torn record cut off", self.directory / FILE, self.dropped)
            file.truncate(self._end)
            file.sync()

    def _opened(self) -> File:
        if self._file is None:
            raise JournalError(f"{self.directory / FILE} is closed")
        return self._file

    def _zeros(self, first: int, last: int) -> bool:
        """Whether nothing but zeros stands there: space that a file system gave, but never wrote."""
        file = self._opened()
        return not any(any(file.read(at, min(1 << 20, last - at))) for at in range(first, last, 1 << 20))

    def _scan(self, size: int) -> Iterator[_Record]:
        """Every record within the first ``size`` bytes, up to a torn one.

        Raises:
            JournalCorrupt: a bad record that a power loss cannot explain.
        """
        file, at, chain = self._opened(), self._start, self._origin
        while size - at >= _FRAME_SIZE:
            head = file.read(at, _FRAME_SIZE)
            length, kind = _FRAME.unpack_from(head)
            body = at + _FRAME_SIZE
            # Without a check of its own, a damaged length in the middle would look like a torn end.
            if zlib.crc32(head[: _FRAME.size]).to_bytes(4, "big") != head[_FRAME.size :]:
                if self._zeros(body, size):
                    return
                raise JournalCorrupt(at, "record head", "does not fit its CRC")
            if body + length + _HASH_SIZE > size:
                return
            payload = file.read(body, length)
            try:
                type_ = RecordType(kind)
            except ValueError:
                raise JournalCorrupt(at + 4, "record type", f"{kind} is none") from None
            link = _link(chain, type_, payload)
            if file.read(body + length, _HASH_SIZE) != link:
                if self._zeros(body + length + _HASH_SIZE, size):
                    return
                raise JournalCorrupt(at, type_.name, "does not fit its hash")
            chain = _after(chain, type_, link)
            record = _Record(at, type_, payload, chain)
            yield record
            at = record.end

    def _apply(self, type_: RecordType, payload: bytes, at: int) -> None:
        """Follow one record; refuses what may not come next, before anything changes."""
        match type_:
            case RecordType.INPUT:
                number = slot_number(payload, at)
                if self.pending:
                    raise JournalOrder(f"slot {self.next_slot - 1} has no outcome yet")
                if number != self.next_slot:
                    raise JournalOrder(f"slot {number}, not {self.next_slot}")
                self.next_slot, self.pending = number + 1, True
            case RecordType.OUTCOME:
                number = slot_number(payload, at)
                if not self.pending or number != self.next_slot - 1:
                    raise JournalOrder(f"outcome of slot {number}, which does not wait for one")
                self.pending = False
            case RecordType.ANCHOR:
                if len(payload) < _HASH_SIZE:
                    raise JournalCorrupt(at, "transaction", f"{len(payload)} bytes, not {_HASH_SIZE}")
                header = decode_header(payload[:-_HASH_SIZE], at)
                self.anchors.append(Anchor(header, payload[-_HASH_SIZE:]))
            case RecordType.EPOCH:
                if len(payload) != 4:
                    raise JournalCorrupt(at, "epoch", f"{len(payload)} bytes, not 4")
                epoch = int.from_bytes(payload, "big")
                if epoch <= self.epoch:
                    raise JournalOrder(f"epoch {epoch}, not above {self.epoch}")
                self.epoch = epoch

    def _append(self, type_: RecordType, payload: bytes, sync: bool) -> None:
        file = self._opened()
        if self._readonly:
            raise JournalError(f"{self.directory / FILE} is open for reading only")
        if self._broken:
            raise JournalError(f"{self.directory / FILE}: an earlier write failed; open it again")
        self._apply(type_, payload, self._end + _FRAME_SIZE)
        link = _link(self.chain, type_, payload)
        record = _frame(type_, payload) + payload + link
        try:
            file.append(record)
            if sync:
                file.sync()
        except BaseException:
            # Nobody knows now what is on the disk: only a new scan can tell.
            self._broken = True
            raise
        self.chain, self._end = _after(self.chain, type_, link), self._end + len(record)

    def append_input(self, slot: SlotInput, sync: bool = True) -> None:
        """Append the INPUT of the next slot; durable on return, or with ``sync=False`` after :meth:`sync`.

        Raises:
            JournalOrder: not the next slot, or the last one has no outcome yet.
            ValueError: a field that its width cannot hold.
            OSError: of the disk; the journal then has to be opened again.
        """
        self._append(RecordType.INPUT, encode_input(slot), sync)

    def append_outcome(self, outcome: SlotOutcome, sync: bool = True) -> None:
        """Append the OUTCOME of the last slot; durable on return, or with ``sync=False`` after :meth:`sync`.

        Raises:
            JournalOrder: the last slot is another, or has its outcome.
            ValueError: a field that its width cannot hold.
            OSError: of the disk; the journal then has to be opened again.
        """
        self._append(RecordType.OUTCOME, encode_outcome(outcome), sync)

    def append_anchor(self, header: BatchHeader, transaction: bytes) -> None:
        """Note, durably, that ``header`` was sent in ``transaction`` (32 bytes).

        Raises:
            ValueError: not 32 bytes.
        """
        if len(transaction) != _HASH_SIZE:
            raise ValueError(f"transaction: {len(transaction)} bytes, not {_HASH_SIZE}")
        self._append(RecordType.ANCHOR, header.encode() + transaction, sync=True)

    def append_epoch(self, epoch: int) -> None:
        """Note, durably, that ``epoch`` is about to be used; to be called before the reset that adopts it.

        Raises:
            JournalOrder: not above every epoch announced before.
            ValueError: not a u32.
        """
        if not 0 < epoch < 1 << 32:
            raise ValueError(f"epoch: {epoch} is not within 1..2**32 - 1")
        self._append(RecordType.EPOCH, epoch.to_bytes(4, "big"), sync=True)

    def sync(self) -> None:
        """Make everything appended so far durable: one wait for a group of records.

        May run in another thread than the appends.

        Raises:
            OSError: of the disk; the journal then has to be opened again.
        """
        if self._broken:
            raise JournalError(f"{self.directory / FILE}: an earlier write failed; open it again")
        try:
            self._opened().sync()
        except BaseException:
            self._broken = True
            raise

    def slots(self, first: int = 0) -> Iterator[JournaledSlot]:
        """The slots from number ``first`` on; only the last can lack its outcome.

        Records appended meanwhile are not seen.
        """
        waiting: SlotInput | None = None
        chain = self._origin
        for record in self._scan(self._end):
            chain = record.chain
            if record.type is RecordType.INPUT and slot_number(record.payload) >= first:
                waiting = decode_input(record.payload, record.payload_offset)
            elif record.type is RecordType.OUTCOME and waiting is not None:
                yield JournaledSlot(waiting, decode_outcome(record.payload, record.payload_offset), chain)
                waiting = None
        if waiting is not None:
            yield JournaledSlot(waiting, None, chain)

    def close(self) -> None:
        """Close the file and let others open it. Nothing is synced."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
