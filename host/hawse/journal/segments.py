"""The files of a journal: their names, their heads, and the records in them."""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Self

from hawse.state.native.records import good_records

from .errors import JournalCorrupt, JournalOrder, SegmentError
from .files import File, replace_durably
from .position import Position
from .records import (
    FRAME,
    FRAME_SIZE,
    HASH_SIZE,
    Record,
    RecordType,
    SegmentHead,
    decode_segment,
    encode_segment,
    frame,
    link,
    origin,
)

_NAME = re.compile(r"segment-(\d{10})")
_MAGIC = b"HAWSEJNL"
_VERSION = 2
#: Magic, version, length of the configuration.
_HEADER = struct.Struct(">8sII")
#: Bytes of records that are read and hashed together.
_AT_ONCE = 1 << 19
#: Offset, type, payload and link of a record.
_Read = tuple[int, RecordType, bytes, bytes]


def segment_path(directory: Path, index: int) -> Path:
    """File of the segment of that index."""
    return directory / f"segment-{index:010d}"


def segment_paths(directory: Path) -> list[Path]:
    """Files of all segments, in order.

    Raises:
        SegmentError: one is missing.
    """
    found = sorted(p for p in directory.glob("segment-*") if _NAME.fullmatch(p.name))
    for index, path in enumerate(found):
        if path != segment_path(directory, index):
            missing = segment_path(directory, index).name
            raise SegmentError(missing, f"is missing, but {path.name} is there")
    return found


def file_header(config: bytes) -> bytes:
    """What each segment of a journal begins with, its hash apart."""
    return _HEADER.pack(_MAGIC, _VERSION, len(config)) + config


def write_segment(directory: Path, config: bytes, head: SegmentHead) -> Path:
    """Make the file of a segment that holds its head alone: all of it or, after a power loss, nothing."""
    header, payload = file_header(config), encode_segment(head)
    begins, type_ = origin(header), RecordType.SEGMENT
    path = segment_path(directory, head.index)
    replace_durably(path, header + begins + frame(type_, payload) + payload + link(begins, type_, payload))
    return path


class Segment:
    """One file of a journal, open.

    Attributes:
        name: of the file.
        config: of the journal.
        head: of the segment.
        start: offset of the first record behind the head.

    Raises:
        JournalCorrupt: the file header or the head is not what was written.
    """

    def __init__(self, path: Path, file: File) -> None:
        self.name, self.file = path.name, file
        self.config, configuration = self._read_config()
        at = _HEADER.size + len(self.config) + HASH_SIZE
        length, kind = self._read_frame(at)
        if kind != RecordType.SEGMENT or length > 1 << 17:
            raise self.corrupt(at, "record type", f"{kind}, {length} bytes, is not a segment's head")
        payload = file.read(at + FRAME_SIZE, length)
        self.start = at + FRAME_SIZE + length + HASH_SIZE
        # What the chain was is said within; until that is known, the configuration's hash stands for it.
        if file.read(self.start - HASH_SIZE, HASH_SIZE) != link(configuration, RecordType.SEGMENT, payload):
            raise self.corrupt(at, "SEGMENT", "does not fit its hash")
        with self.named():
            self.head = decode_segment(payload, at + FRAME_SIZE)
        if self.head.configuration != configuration:
            raise self.corrupt(at, "segment configuration", "is not that of the file")

    def corrupt(self, at: int, field: str, problem: str) -> JournalCorrupt:
        """What is wrong at byte ``at``."""
        return JournalCorrupt(at, field, problem, self.name)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Give what is found corrupt within the name of this segment."""
        try:
            yield
        except JournalCorrupt as error:
            raise error if error.segment else error.within(self.name) from None

    def _read_config(self) -> tuple[bytes, bytes]:
        head = self.file.read(0, _HEADER.size)
        if len(head) < _HEADER.size or head[: len(_MAGIC)] != _MAGIC:
            raise self.corrupt(0, "magic", "not a journal")
        _, version, length = _HEADER.unpack(head)
        if version != _VERSION:
            raise self.corrupt(8, "version", f"{version}, not {_VERSION}")
        config = self.file.read(_HEADER.size, min(length, self.file.size()))
        value = origin(head + config)
        if self.file.read(_HEADER.size + length, HASH_SIZE) != value:
            raise self.corrupt(0, "file header", "does not fit its hash")
        return config, value

    def _read_frame(self, at: int) -> tuple[int, int]:
        head = self.file.read(at, FRAME_SIZE)
        # Without a check of its own, a damaged length in the middle would look like a torn end.
        if len(head) < FRAME_SIZE or zlib.crc32(head[: FRAME.size]).to_bytes(4, "big") != head[FRAME.size :]:
            raise self.corrupt(at, "record head", "does not fit its CRC")
        length, kind = FRAME.unpack_from(head)
        return length, kind

    def _zeros(self, first: int, last: int) -> bool:
        """Whether nothing but zeros stands there: space that a file system gave, but never wrote."""
        parts = range(first, last, 1 << 20)
        return not any(any(self.file.read(at, min(1 << 20, last - at))) for at in parts)

    def follow(self, position: Position, size: int, at: int | None = None) -> Iterator[Record]:
        """Every record behind the head within the first ``size`` bytes, up to a torn one.

        Args:
            position: behind the head; is moved along.
            size: bytes to look at.
            at: where ``position`` is, to go on from there; None for behind the head.

        Raises:
            JournalCorrupt: a bad record that a power loss cannot explain, or one out of order.
        """
        at = self.start if at is None else at
        while size - at >= FRAME_SIZE:
            records = self._many(at, size, position.chain) or self._one(at, size, position.chain)
            if not records:
                return
            for at, type_, payload, value in records:
                try:
                    with self.named():
                        position.apply(type_, payload, at + FRAME_SIZE, value)
                except JournalOrder as error:
                    raise self.corrupt(at, type_.name, str(error)) from error
                record = Record(at, type_, payload, position.chain)
                yield record
            at = record.end

    def _many(self, at: int, size: int, chain: bytes) -> list[_Read]:
        """The good records from ``at`` on that are read at once; none if the first is not, or is large."""
        data = self.file.read(at, min(_AT_ONCE, size - at))
        found = []
        for offset, length, type_ in good_records(data, chain):
            end = offset + FRAME_SIZE + length
            payload, value = data[offset + FRAME_SIZE : end], data[end : end + HASH_SIZE]
            found.append((at + offset, RecordType(type_), payload, value))
        return found

    def _one(self, at: int, size: int, chain: bytes) -> list[_Read]:
        """The record at ``at``; none where it is torn."""
        try:
            length, kind = self._read_frame(at)
        except JournalCorrupt:
            if self._zeros(at + FRAME_SIZE, size):
                return []
            raise
        body = at + FRAME_SIZE
        if body + length + HASH_SIZE > size:
            return []
        payload = self.file.read(body, length)
        try:
            type_ = RecordType(kind)
        except ValueError:
            raise self.corrupt(at + 4, "record type", f"{kind} is none") from None
        value = link(chain, type_, payload)
        if self.file.read(body + length, HASH_SIZE) != value:
            if self._zeros(body + length + HASH_SIZE, size):
                return []
            raise self.corrupt(at, type_.name, "does not fit its hash")
        return [(at, type_, payload, value)]

    def last_link(self, size: int) -> bytes:
        """The last 32 bytes of the first ``size``."""
        return self.file.read(size - HASH_SIZE, HASH_SIZE)

    def check_follows(self, before: Self, size: int, link: bytes) -> None:
        """Refuse a segment that does not stand behind ``before``, as far as heads tell.

        Args:
            before: the segment before.
            size: of its file.
            link: the last 32 bytes of it.

        Raises:
            SegmentError: it does not.
        """
        if self.head.configuration != before.head.configuration:
            raise SegmentError(self.name, f"is of a journal with another configuration than {before.name}")
        if self.head.size != size:
            raise SegmentError(
                before.name, f"has {size} bytes, and not the {self.head.size} that {self.name} begins behind"
            )
        if self.head.link != link:
            raise SegmentError(self.name, f"does not begin behind the last record of {before.name}")

    def check_name(self, index: int) -> None:
        """Refuse a segment that stands in the file of another.

        Raises:
            SegmentError: it is not that of ``index``.
        """
        if self.head.index != index:
            raise SegmentError(self.name, f"is segment {self.head.index}, not {index}")

    def check_continues(self, expected: SegmentHead) -> None:
        """Refuse a segment whose head is not what the segment before leads to.

        Raises:
            SegmentError: it is not; the first field that differs is named.
        """
        for field in fields(SegmentHead):
            ours, theirs = getattr(self.head, field.name), getattr(expected, field.name)
            if ours != theirs:
                given, wanted = (v.hex() if isinstance(v, bytes) else v for v in (ours, theirs))
                raise SegmentError(
                    self.name, f"{field.name}: {given}, but the segment before ends at {wanted}"
                )
