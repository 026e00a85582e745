"""What the streams carry, and a copy of a journal that is written from it. Nothing here does network I/O."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from hawse.journal import Journal, JournalError
from hawse.journal.files import OsFile
from hawse.journal.mark import read_mark
from hawse.journal.position import Position
from hawse.journal.records import CHAINED, Record, RecordType, link, origin
from hawse.journal.segments import Segment, file_header, segment_path
from hawse.keys.signing import recover_digest

#: Number; segment of the host's journal and where the record ends there; type; link. The payload follows.
_HEAD = struct.Struct(">QIQB32s")
#: Batch, slot that ends it, digest that is signed, signature.
_SIGNED = struct.Struct(">QQ32s64s")
#: In the place of a type: the configuration, which is message 0.
_CONFIGURATION = 0


class StreamError(JournalError):
    """A stream, or a message of it, is not what it has to be."""


class Place(NamedTuple):
    """Where streams are.

    Attributes:
        servers: URLs of servers of one cluster.
        name: of the venue's streams.
        replicas: servers that keep a copy of each.
    """

    servers: tuple[str, ...]
    name: str
    replicas: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Of ``nats://host:port,host:port/NAME?replicas=N``; without them NAME is ``hawse`` and N is 1.

        Raises:
            ValueError: it is something else.
        """
        parts = urlsplit(url)
        name, query = (
            parts.path.strip("/") or "hawse",
            parse_qs(parts.query, strict_parsing=bool(parts.query)),
        )
        if parts.scheme not in ("nats", "tls") or not all(parts.netloc.split(",")):
            raise ValueError(f"{url}: not nats://HOST:PORT/NAME")
        if not name.replace("-", "").isalnum() or not name.isascii():
            raise ValueError(f"{url}: {name!r} is no name of a stream: letters, digits and - alone")
        replicas = query.pop("replicas", ["1"])[-1]
        if query or replicas not in ("1", "3", "5"):
            raise ValueError(f"{url}: {parts.query}: only replicas=1, 3 or 5 may be there")
        return cls(tuple(f"{parts.scheme}://{one}" for one in parts.netloc.split(",")), name, int(replicas))


class Message(NamedTuple):
    """A record of the host's journal, or, as number 0, its configuration.

    Attributes:
        number: records before it, the configuration included and the heads of segments not.
        segment, end: where it ends in the host's journal.
        type: of the record, 0 for the configuration.
        link: of the record, 32 bytes; of the configuration, its hash.
        payload: of the record.
    """

    number: int
    segment: int
    end: int
    type: int
    link: bytes
    payload: bytes

    @classmethod
    def configuration(cls, config: bytes) -> Self:
        """Message 0."""
        return cls(0, 0, 0, _CONFIGURATION, origin(file_header(config)), config)

    def encode(self) -> bytes:
        """Bytes of the message."""
        return _HEAD.pack(*self[:5]) + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The message of these bytes.

        Raises:
            StreamError: they are none.
        """
        if len(data) < _HEAD.size:
            raise StreamError(f"a message of {len(data)} bytes, and its head alone has {_HEAD.size}")
        number, segment, end, type_, link_ = _HEAD.unpack_from(data)
        return cls(number, segment, end, type_, link_, data[_HEAD.size :])


def _link_of(record: Record) -> bytes:
    """What stands behind a record; those that are not chained leave the chain as it was."""
    return record.chain if record.type in CHAINED else link(record.chain, record.type, record.payload)


class Tail:
    """The durable records of a journal, while another process appends to it. Each byte is read once.

    Args:
        directory: of the journal.
        after: the last message that is known, None to begin with the configuration.

    Raises:
        StreamError: the journal has another record there, or none; says both links.
    """

    def __init__(self, directory: Path, after: Message | None = None) -> None:
        self._directory = directory
        self._next, self._configured = 1, after is not None
        self._open(after.segment if after else 0)
        if after is not None:
            self._skip(after)

    def _open(self, index: int) -> None:
        path = segment_path(self._directory, index)
        self._segment = Segment(path, OsFile(path, True))
        self._position, self._index, self._at = Position(self._segment.head), index, self._segment.start

    def _skip(self, after: Message) -> None:
        ours = Message.configuration(self._segment.config)
        if after.number:
            ours = ours._replace(link=b"")
            for one in self._records():
                if (one.segment, one.end) >= (after.segment, after.end):
                    ours = one
                    break
        if ours[1:] != after[1:]:
            have = f"{ours.link.hex() or 'nothing'}" if ours.end == after.end else "no such record"
            raise StreamError(
                f"message {after.number} of the stream is {after.link.hex()}; the journal has {have}"
            )
        self._next = after.number + 1

    def read(self) -> Iterator[Message]:
        """What has become durable since the last call.

        Raises:
            JournalCorrupt: it is not what was written.
        """
        if not self._configured:
            self._configured = True
            yield Message.configuration(self._segment.config)
        for one in self._records():
            self._next += 1
            yield one._replace(number=self._next - 1)

    def _records(self) -> Iterator[Message]:
        mark = read_mark(self._directory)
        while mark is not None and self._index <= mark.segment:
            last = self._index == mark.segment
            size = mark.end if last else self._segment.file.size()
            for record in self._segment.follow(self._position, size, self._at):
                self._at = record.end
                yield Message(0, self._index, record.end, record.type, _link_of(record), record.payload)
            if last:
                return
            self.close()
            self._open(self._index + 1)

    def close(self) -> None:
        """Give the file back."""
        self._segment.file.close()


class Copy:
    """A validator's own journal, written from messages in any order, any number of times.

    Args:
        directory: of the copy; is made with message 0.

    Attributes:
        next: number of the message that is needed next.

    Raises:
        JournalError: what is there is no journal, or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self.next = directory, 0
        self._journal: Journal | None = None
        self._last: tuple[int, bytes] = 0, b""
        if segment_path(directory, 0).exists():
            self._journal = Journal(directory)
            self.next, self._last = 1, (0, Message.configuration(self._journal.config).link)
            for record in self._journal.records():
                self.next, self._last = self.next + 1, (self.next, _link_of(record))

    def take(self, message: Message) -> bool:
        """Append a message if it is the next; whether it was. One that is there, or too early, is left.

        Raises:
            StreamError: it is the next, or comes again, and is not what the chain leads to; says both links.
            JournalError: its record may not come next.
        """
        if (message.number, message.link) != self._last and message.number == self._last[0] and self._last[1]:
            raise StreamError(
                f"message {message.number} came as {self._last[1].hex()}, and again as {message.link.hex()}"
            )
        if message.number == 0:
            return self._begin(message)
        if message.number != self.next or self._journal is None:
            return False
        if message.type not in {*RecordType} - {RecordType.SEGMENT}:
            raise StreamError(f"message {message.number} is of type {message.type}, which no record has")
        self._journal.append_copied(RecordType(message.type), message.payload, message.link)
        self._took(message)
        return True

    def _begin(self, message: Message) -> bool:
        """The configuration: of a new copy, or held against that of the one that is there."""
        ours = self._journal.config if self._journal else message.payload
        wanted = Message.configuration(ours)
        if message[3:] != wanted[3:]:
            raise StreamError(
                f"the stream's configuration is {message.link.hex()}, and it has to be {wanted.link.hex()}"
            )
        if self._journal is not None:
            return False
        self._journal = Journal(self._directory, message.payload)
        self._took(message)
        return True

    def _took(self, message: Message) -> None:
        self.next, self._last = message.number + 1, (message.number, message.link)

    def sync(self) -> None:
        """Make durable what was taken, so that it is executed."""
        if self._journal is not None:
            self._journal.sync()

    def close(self) -> None:
        """Give the journal back."""
        if self._journal is not None:
            self._journal.close()


class Signed(NamedTuple):
    """A validator's signature of a batch, as it is sent.

    Attributes:
        batch: its number.
        slot: the last of it.
        digest: what is signed, 32 bytes.
        signature: 64 bytes.
    """

    batch: int
    slot: int
    digest: bytes
    signature: bytes

    def encode(self) -> bytes:
        """Bytes of the message."""
        return _SIGNED.pack(*self)

    @classmethod
    def decode(cls, data: bytes, batch: int, validator: bytes) -> Self:
        """The signature of these bytes, which came as ``validator``'s for ``batch``.

        Raises:
            StreamError: it is not his, or of another batch.
        """
        if len(data) != _SIGNED.size:
            raise StreamError(f"a signature of {len(data)} bytes, not {_SIGNED.size}")
        signed = cls(*_SIGNED.unpack(data))
        if signed.batch != batch:
            raise StreamError(f"a signature of batch {signed.batch} under the name of batch {batch}")
        signer = recover_digest(signed.digest, signed.signature)
        if signer != validator:
            who = signer.hex() if signer else "nobody"
            raise StreamError(f"batch {batch}: signed by {who}, under the name of {validator.hex()}")
        return signed
