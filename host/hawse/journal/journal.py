"""The journal: an append-only log in which every slot stands, before and after it was carried out.

``docs/journal.md`` gives the format byte by byte.
"""

import fcntl
import logging
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import NamedTuple, Self

from hawse.commit.header import BatchHeader
from hawse.state.slot import SlotInput, SlotOutcome

from .codec import decode_input, decode_outcome, encode_input, encode_outcome, slot_of_input
from .errors import JournalError, JournalLocked, JournalOrder
from .files import File, OsFile, sync_directory
from .mark import Mark, MarkFile, read_mark
from .position import Position
from .records import (
    Anchor,
    BoardCommand,
    Receipts,
    Record,
    RecordType,
    SegmentHead,
    decode_anchor,
    decode_board,
    decode_receipts,
    encode_anchor,
    encode_board,
    encode_epoch,
    encode_receipts,
    frame,
    link,
    origin,
)
from .segments import Segment, file_header, segment_path, segment_paths, write_segment

#: Bytes behind which a segment is ended, at the next slot.
SEGMENT_BYTES = 64 << 20
_LOCK = "lock"
_log = logging.getLogger(__name__)


class JournaledSlot(NamedTuple):
    """A slot as the journal has it.

    Attributes:
        slot: what went in.
        outcome: what came out; None if the host died before it was durable.
        chain: value of the hash chain behind the outcome, or behind the last record if there is no outcome.
        board: what the board's supervisor did by itself meanwhile.
    """

    slot: SlotInput
    outcome: SlotOutcome | None
    chain: bytes
    board: tuple[BoardCommand, ...] = ()


class Journal:
    """The journal in ``directory``, open for appending, or for reading while its host appends.

    Opening reads the last segment and checks every hash in it; of the others only the heads, and that each
    has the length and the last hash that the next one names. They are checked when they are read. What a
    power loss left of a record that was never synced is cut off, logged, and counted in ``dropped``; one that
    was synced and is not there any more is an error.

    Args:
        directory: of the journal; made if missing.
        config: what a new journal is for, the venue's configuration: opaque bytes that begin the hash chain.
            Compared with that of an existing journal, unless None.
        readonly: take no lock, change nothing; records that are appended later are seen by iteration only
            after opening again.
        verify: read and check all segments.
        segment_bytes: behind which a segment is ended, at the next slot.
        open_file: opens the file layer.

    Attributes:
        config: of the journal.
        dropped: bytes cut off when it was opened.

    Raises:
        JournalCorrupt: a byte of it is not what was written.
        JournalBehind: it ends before what was durable; says which slots are lost.
        SegmentError: a segment is missing, doubled, out of its order, or of another journal.
        JournalLocked: another host has it open.
        JournalError: there is none and ``config`` is None, or its configuration differs from ``config``.
    """

    def __init__(
        self,
        directory: Path,
        config: bytes | None = None,
        *,
        readonly: bool = False,
        verify: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        open_file: Callable[[Path, bool], File] = OsFile,
    ) -> None:
        self.directory = Path(directory)
        self._readonly, self._segment_bytes, self._open_file = readonly, segment_bytes, open_file
        self._broken = False
        self._lock: int | None = None
        self._last: Segment | None = None
        self._mark_file: MarkFile | None = None
        # Files whose segment has ended while somebody still read them, and how many read.
        self._retired: list[File] = []
        self._readers = 0
        #: Held while the last segment's file is synced or changed for another.
        self._swap = Lock()
        if not readonly and config is not None and not self.directory.exists():
            self.directory.mkdir(parents=True)
            sync_directory(self.directory.parent)
        try:
            if not readonly and self.directory.exists():
                self._lock = self._take_lock()
            self._open(config)
            if verify:
                for _ in self._records(0):
                    pass
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

    # ---- Opening

    def _open(self, config: bytes | None) -> None:
        # First the mark, then the records, to which another host may append meanwhile.
        durable, paths = read_mark(self.directory), segment_paths(self.directory)
        if not paths:
            if durable is not None:
                Mark(0, 0, 0, False).check(durable)
            if self._readonly or config is None:
                raise JournalError(f"{segment_path(self.directory, 0)} does not exist")
            first = origin(file_header(config))
            paths = [write_segment(self.directory, config, SegmentHead(0, 0, first, first))]
        self._first_slots = self._check_order(paths)
        last = self._last = Segment(paths[-1], self._open_file(paths[-1], self._readonly))
        self.config = last.config
        if config is not None and config != self.config:
            raise JournalError(f"{last.name}: it was begun with another configuration")
        self._position, self._end, size = Position(last.head), last.start, last.file.size()
        for record in last.follow(self._position, size):
            self._end = record.end
        self.dropped = size - self._end
        self._mark = self._point(last)
        if durable is not None:
            self._mark.check(durable)
        if self._readonly:
            return
        self._mark_file = MarkFile(self.directory)
        if self.dropped:
            _log.warning("%s: %d bytes of a torn record cut off", self.directory / last.name, self.dropped)
            last.file.truncate(self._end)
            last.file.sync()

    def _point(self, segment: Segment) -> Mark:
        return Mark(segment.head.index, self._end, self.next_slot, self.pending)

    def _check_order(self, paths: list[Path]) -> list[int]:
        """Hold the heads of all segments against each other; the number of each one's first slot."""
        first_slots: list[int] = []
        before: tuple[Segment, int, bytes] | None = None
        for index, path in enumerate(paths):
            file = self._open_file(path, True)
            try:
                segment, size = Segment(path, file), file.size()
                segment.check_name(index)
                if before is not None:
                    segment.check_follows(*before)
                before = segment, size, segment.last_link(size)
            finally:
                file.close()
            first_slots.append(segment.head.first_slot)
        return first_slots

    # ---- What it says of itself

    @property
    def chain(self) -> bytes:
        """Value of the hash chain, 32 bytes."""
        return self._position.chain

    @property
    def next_slot(self) -> int:
        """Number of the next INPUT."""
        return self._position.next_slot

    @property
    def pending(self) -> bool:
        """Whether the last INPUT still lacks its OUTCOME."""
        return self._position.pending

    @property
    def time(self) -> int:
        """Time of the last slot, in milliseconds; the next may not be earlier. 0 if there is none."""
        return self._position.time

    @property
    def next_seq(self) -> int:
        """Sequence number of the first input behind the last OUTCOME."""
        return self._position.next_seq

    @property
    def next_receipts(self) -> int:
        """The lowest slot that may still get receipts."""
        return self._position.receipts

    @property
    def epoch(self) -> int:
        """Highest epoch ever announced, 0 if none."""
        return self._position.epoch

    @property
    def anchor(self) -> Anchor | None:
        """The last anchor, None if there is none."""
        return decode_anchor(self._position.anchor) if self._position.anchor else None

    @property
    def segments(self) -> int:
        """How many files it has."""
        return len(self._first_slots)

    # ---- Appending

    def _opened(self) -> Segment:
        if self._last is None:
            raise JournalError(f"{self.directory} is closed")
        return self._last

    def _writable(self) -> Segment:
        segment = self._opened()
        if self._broken:
            raise JournalError(f"{self.directory}: an earlier write failed; open it again")
        return segment

    def _append(self, type_: RecordType, payload: bytes, sync: bool) -> None:
        segment = self._writable()
        if self._readonly:
            raise JournalError(f"{self.directory} is open for reading only")
        value = link(self._position.chain, type_, payload)
        record = frame(type_, payload) + payload + value
        ends = type_ is RecordType.INPUT and self._end >= self._segment_bytes
        # What is refused must not end a segment: the position goes first, and gives the head that it leaves.
        head = self._position.head(segment.head, self._end, b"") if ends else None
        self._position.apply(type_, payload, self._end, value)
        try:
            if head is not None and head.first_slot > segment.head.first_slot:
                segment = self._begin_segment(segment, head)
            segment.file.append(record)
            self._end += len(record)
            self._mark = self._point(segment)
            if sync:
                self._sync(segment, self._mark)
        except BaseException:
            # Nobody knows now what is on the disk: only a new scan can tell.
            self._broken = True
            raise

    def _sync(self, segment: Segment, mark: Mark) -> None:
        """Make ``segment`` durable, which reaches up to ``mark`` at least."""
        assert self._mark_file is not None
        segment.file.sync()
        self._mark_file.write(mark)

    def _begin_segment(self, ended: Segment, head: SegmentHead) -> Segment:
        """End the last segment, durably, and begin the one of ``head``."""
        with self._swap:
            ended.file.sync()
            head = replace(head, link=ended.last_link(self._end))
            path = write_segment(self.directory, self.config, head)
            segment = Segment(path, self._open_file(path, False))
            if self._readers:
                self._retired.append(ended.file)
            else:
                ended.file.close()
            self._last, self._end = segment, segment.start
            self._first_slots.append(head.first_slot)
        return segment

    def append_input(self, slot: SlotInput, sync: bool = True) -> None:
        """Append the INPUT of the next slot; durable on return, or with ``sync=False`` after :meth:`sync`.

        Begins a new segment if the last one is full.

        Raises:
            JournalOrder: not the next slot, one that is earlier than the last, or the last one has no outcome
                yet.
            ValueError: a field that is out of bounds.
            OSError: of the disk; the journal then has to be opened again.
        """
        self._append(RecordType.INPUT, encode_input(slot), sync)

    def append_outcome(self, outcome: SlotOutcome, sync: bool = True) -> None:
        """Append the OUTCOME of the last slot; durable on return, or with ``sync=False`` after :meth:`sync`.

        Raises:
            JournalOrder: the last slot is another, or has its outcome, or began with another sequence number.
            ValueError: a field that is out of bounds.
            OSError: of the disk; the journal then has to be opened again.
        """
        self._append(RecordType.OUTCOME, encode_outcome(outcome), sync)

    def append_board(self, command: BoardCommand, sync: bool = True) -> None:
        """Append what the board's supervisor did by itself in the slot whose INPUT is the last.

        Raises:
            JournalOrder: the last slot is another, or has its outcome; or its count does not follow.
            ValueError: a field that is out of bounds.
            OSError: of the disk; the journal then has to be opened again.
        """
        self._append(RecordType.BOARD, encode_board(command), sync)

    def append_receipts(self, receipts: Receipts, sync: bool = True) -> None:
        """Append the operator's receipts for a slot, one that has none, nor any slot behind it.

        Raises:
            JournalOrder: it has, or is not in the journal.
            ValueError: a field that is out of bounds.
            OSError: of the disk; the journal then has to be opened again.
        """
        self._append(RecordType.RECEIPTS, encode_receipts(receipts), sync)

    def append_anchor(self, header: BatchHeader, transaction: bytes) -> None:
        """Note, durably, that ``header`` was sent in ``transaction`` (32 bytes).

        Raises:
            ValueError: not 32 bytes.
        """
        self._append(RecordType.ANCHOR, encode_anchor(Anchor(header, transaction)), sync=True)

    def append_epoch(self, epoch: int) -> None:
        """Note, durably, that ``epoch`` is about to be used; to be called before the reset that adopts it.

        Raises:
            JournalOrder: not above every epoch announced before.
            ValueError: not a u32 above 0.
        """
        self._append(RecordType.EPOCH, encode_epoch(epoch), sync=True)

    def append_copied(self, type_: RecordType, payload: bytes, value: bytes) -> None:
        """Append a record of another host's journal, whose link is ``value``; durable after :meth:`sync`.

        Raises:
            JournalOrder: it is not what the chain leads to, with both links; or it may not come next.
            JournalCorrupt: its payload is not one.
            OSError: of the disk; the journal then has to be opened again.
        """
        ours = link(self._position.chain, type_, payload)
        if value != ours:
            where = f"{type_.name} behind slot {self.next_slot - 1}"
            raise JournalOrder(
                f"{where} comes with the link {value.hex()}, and the chain leads to {ours.hex()}"
            )
        self._append(type_, payload, sync=False)

    def sync(self) -> None:
        """Make everything appended so far durable: one wait for a group of records.

        May run in another thread than the appends.

        Raises:
            OSError: of the disk; the journal then has to be opened again.
        """
        with self._swap:
            segment, mark = self._writable(), self._mark
            try:
                self._sync(segment, mark)
            except BaseException:
                self._broken = True
                raise

    # ---- Reading

    def _records(self, first: int) -> Iterator[tuple[Segment, Record]]:
        """Every record from segment ``first`` on, all of them checked, and so is what joins the segments.

        Raises:
            JournalCorrupt, SegmentError: what is there is not what was written.
        """
        last, end, count = self._opened(), self._end, len(self._first_slots)
        expected: SegmentHead | None = None
        with self._reading():
            for index in range(first, count):
                path = segment_path(self.directory, index)
                segment = last if index == count - 1 else Segment(path, self._open_file(path, True))
                try:
                    if expected is not None:
                        segment.check_continues(expected)
                    position, at = Position(segment.head), segment.start
                    size = end if segment is last else segment.file.size()
                    for record in segment.follow(position, size):
                        at = record.end
                        yield segment, record
                    if segment is not last:
                        if at != size or position.pending:
                            raise segment.corrupt(at, "end", "is not that of a slot, but a segment follows")
                        expected = position.head(segment.head, size, segment.last_link(size))
                finally:
                    if segment is not last:
                        segment.file.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Keep the file of the last segment open, even if another takes its place."""
        with self._swap:
            self._readers += 1
        try:
            yield
        finally:
            with self._swap:
                self._readers -= 1
                while not self._readers and self._retired:
                    self._retired.pop().close()

    def _segment_of(self, slot: int) -> int:
        return max(0, bisect_right(self._first_slots, slot) - 1)

    def slots(self, first: int = 0) -> Iterator[JournaledSlot]:
        """The slots from number ``first`` on; only the last can lack its outcome.

        Begins with the segment that has the first. Records appended meanwhile are not seen.

        Raises:
            JournalCorrupt, SegmentError: a segment, the last apart, is not what was written.
        """
        waiting: SlotInput | None = None
        board: list[BoardCommand] = []
        chain = b""
        for segment, record in self._records(self._segment_of(first)):
            chain = record.chain
            with segment.named():
                if record.type is RecordType.INPUT and slot_of_input(record.payload)[0] >= first:
                    waiting, board = decode_input(record.payload, record.payload_offset), []
                elif record.type is RecordType.BOARD and waiting is not None:
                    board.append(decode_board(record.payload))
                elif record.type is RecordType.OUTCOME and waiting is not None:
                    outcome = decode_outcome(record.payload, record.payload_offset)
                    found, waiting = JournaledSlot(waiting, outcome, chain, tuple(board)), None
                    yield found
        if waiting is not None:
            yield JournaledSlot(waiting, None, chain, tuple(board))

    def records(self) -> Iterator[Record]:
        """All records, the heads of segments apart; reads and checks all segments.

        Raises:
            JournalCorrupt, SegmentError: a segment, the last apart, is not what was written.
        """
        for _, record in self._records(0):
            yield record

    def anchors(self) -> Iterator[Anchor]:
        """All anchors, in order; reads all segments.

        Raises:
            JournalCorrupt, SegmentError: a segment, the last apart, is not what was written.
        """
        for _, record in self._records(0):
            if record.type is RecordType.ANCHOR:
                yield decode_anchor(record.payload)

    def receipts(self, first: int = 0) -> Iterator[Receipts]:
        """The receipts of the slots from number ``first`` on.

        Raises:
            JournalCorrupt, SegmentError: a segment, the last apart, is not what was written.
        """
        for _, record in self._records(self._segment_of(first)):
            if (
                record.type is RecordType.RECEIPTS
                and (found := decode_receipts(record.payload)).slot >= first
            ):
                yield found

    # ---- Closing

    def close(self) -> None:
        """Close the files and let others open them. Nothing is synced."""
        with self._swap:
            files = [*self._retired, *([self._last.file] if self._last is not None else [])]
            self._last, self._retired = None, []
            for file in files:
                file.close()
        if self._mark_file is not None:
            self._mark_file.close()
            self._mark_file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
