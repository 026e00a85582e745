"""Records of a journal, their framing and their chain, and the payloads beside INPUT and OUTCOME."""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from tiny_keccak import keccak256

from hawse.commit.header import BatchHeader
from hawse.keys import structs

from .codec import TIME_LIMIT, VERSION, decode_header
from .errors import JournalCorrupt
from .fields import Group, Integer, Raw, Reader, Sized

#: Length of the payload, type; the CRC of both follows.
FRAME = struct.Struct(">IB")
FRAME_SIZE = FRAME.size + 4
HASH_SIZE = 32
NO_HASH = bytes(HASH_SIZE)


class RecordType(IntEnum):
    """What a record of the journal is."""

    INPUT = 1
    OUTCOME = 2
    ANCHOR = 3
    EPOCH = 4
    RECEIPTS = 5
    #: Begins each segment.
    SEGMENT = 6
    BOARD = 7


#: Those whose links make the chain: what the venue did. The others say what one host did.
CHAINED = frozenset({RecordType.INPUT, RecordType.OUTCOME, RecordType.BOARD})


@dataclass(frozen=True)
class Anchor:
    """A batch header as it was sent to the chain, and the hash (32 bytes) of the transaction."""

    header: BatchHeader
    transaction: bytes


@dataclass(frozen=True)
class Receipts:
    """The operator's signed answer to the inputs of one slot.

    Attributes:
        slot: its number.
        first_seq, count: its inputs.
        root: over their receipts, 32 bytes.
        deposit_index, deposit_accumulator: of the chain, on which it stands.
        final_batch, final_digest: likewise, the last final batch and its header's digest.
        signature: of the operator, 64 bytes.
        time_out: when the slot was answered, nanoseconds since 1970.
        times_in: when each input came, likewise, u64 each.
        cycles: of the board, u32 when each input was accepted and u32 when its last report left; empty where
            no board has counted them.
    """

    slot: int
    first_seq: int
    count: int
    root: bytes
    deposit_index: int
    deposit_accumulator: bytes
    final_batch: int
    final_digest: bytes
    signature: bytes
    time_out: int
    times_in: bytes
    cycles: bytes = b""

    def struct_hash(self) -> bytes:
        """What the operator signs, with the domain: EIP-712 hashStruct, 32 bytes."""
        return structs.receipts(
            self.slot,
            self.first_seq,
            self.count,
            self.root,
            self.deposit_index,
            self.deposit_accumulator,
            self.final_batch,
            self.final_digest,
        )


@dataclass(frozen=True)
class BoardCommand:
    """A command that the board's supervisor carried out by itself, between a slot's INPUT and its OUTCOME.

    Attributes:
        slot: number of the slot.
        count: the board's own counter of its commands, from 1.
        command: 32 bytes, as on the wire.
    """

    slot: int
    count: int
    command: bytes


@dataclass(frozen=True)
class SegmentHead:
    """What a segment's first record says: where it stands, and what the records before it lead to.

    Attributes:
        index: of the segment, from 0.
        first_slot: number of its first INPUT.
        chain: value of the hash chain at its start.
        configuration: hash of the journal's configuration.
        size: bytes of the segment before.
        link: the last 32 bytes of the segment before.
        time: of the last slot before, 0 if none.
        next_seq: sequence number of its first input.
        epoch: highest so far, 0 if none.
        receipts: slots below this one may not get any more receipts.
        anchor: the last so far, as its record's payload, empty if none.
    """

    index: int
    first_slot: int
    chain: bytes
    configuration: bytes
    size: int = 0
    link: bytes = NO_HASH
    time: int = 0
    next_seq: int = 1
    epoch: int = 0
    receipts: int = 0
    anchor: bytes = b""


_VERSION = Integer("version", 1, VERSION, VERSION)
_COUNT = 2
_RECEIPTS = Group(
    "receipts",
    lambda *named: named,
    slot=Integer("receipts slot", 8),
    first_seq=Integer("receipts first seq", 8, 1),
    count=Integer("receipts count", 4),
    root=Raw("receipts root", HASH_SIZE),
    deposit_index=Integer("receipts deposit index", 8),
    deposit_accumulator=Raw("receipts deposit accumulator", HASH_SIZE),
    final_batch=Integer("receipts final batch", 8),
    final_digest=Raw("receipts final digest", HASH_SIZE),
    signature=Raw("receipts signature", 64),
    time_out=Integer("receipts time out", 8),
)
_HAS_CYCLES = Integer("receipts cycles", 1, 0, 1)
_BOARD = Group(
    "board",
    BoardCommand,
    slot=Integer("board slot", 8),
    count=Integer("board count", 4, 1),
    command=Raw("board command", 32),
)
_SEGMENT = Group(
    "segment",
    SegmentHead,
    index=Integer("segment index", 4),
    first_slot=Integer("segment first slot", 8),
    chain=Raw("segment chain", HASH_SIZE),
    configuration=Raw("segment configuration", HASH_SIZE),
    size=Integer("segment size before", 8),
    link=Raw("segment link before", HASH_SIZE),
    time=Integer("segment time", 8, high=TIME_LIMIT - 1),
    next_seq=Integer("segment next seq", 8, 1),
    epoch=Integer("segment epoch", 4),
    receipts=Integer("segment receipts", 8),
    anchor=Sized("segment anchor"),
)
_EPOCH = Integer("epoch", 4, 1)


def _encode(group: Group, value: object) -> bytes:
    return _VERSION.pack(VERSION) + group.pack(value)


def _decode(group: Group, payload: bytes, base: int) -> object:
    reader = Reader(payload, base)
    _VERSION.read(reader)
    value = group.read(reader)
    reader.end()
    return value


def encode_receipts(receipts: Receipts) -> bytes:
    """Payload of a RECEIPTS record; a ValueError names what is out of bounds."""
    named = _encode(_RECEIPTS, receipts)
    for name, each in (("times_in", 8), ("cycles", 8)):
        have, need = len(getattr(receipts, name)), each * receipts.count
        if have != need and (have or name == "times_in"):
            raise ValueError(f"receipts {name}: {have} bytes, not {need}")
    clocks = receipts.times_in + _HAS_CYCLES.pack(bool(receipts.cycles)) + receipts.cycles
    return named + clocks


def decode_receipts(payload: bytes, base: int = 0) -> Receipts:
    """The receipts of a RECEIPTS record; a JournalCorrupt names what is not theirs."""
    reader = Reader(payload, base)
    _VERSION.read(reader)
    named: tuple[Any, ...] = _RECEIPTS.read(reader)
    size = 8 * named[_COUNT]
    times_in = reader.raw("receipts times in", size)
    cycles = reader.raw("receipts cycles", _HAS_CYCLES.read(reader) * size)
    reader.end()
    return Receipts(*(*named, times_in, cycles))


def encode_board(command: BoardCommand) -> bytes:
    """Payload of a BOARD record; a ValueError names what is out of bounds."""
    return _encode(_BOARD, command)


def decode_board(payload: bytes, base: int = 0) -> BoardCommand:
    """The command of a BOARD record; a JournalCorrupt names what is not its."""
    value = _decode(_BOARD, payload, base)
    assert isinstance(value, BoardCommand)
    return value


def encode_segment(head: SegmentHead) -> bytes:
    """Payload of a SEGMENT record; a ValueError names what is out of bounds."""
    return _encode(_SEGMENT, head)


def decode_segment(payload: bytes, base: int = 0) -> SegmentHead:
    """The head that a SEGMENT record is; a JournalCorrupt names what is not its."""
    value = _decode(_SEGMENT, payload, base)
    assert isinstance(value, SegmentHead)
    return value


def encode_anchor(anchor: Anchor) -> bytes:
    """Payload of an ANCHOR record; a ValueError names what is out of bounds."""
    return anchor.header.encode() + Raw("transaction", HASH_SIZE).pack(anchor.transaction)


def decode_anchor(payload: bytes, base: int = 0) -> Anchor:
    """The anchor of an ANCHOR record; a JournalCorrupt names what is not its."""
    if len(payload) < HASH_SIZE:
        raise JournalCorrupt(base, "transaction", f"{len(payload)} bytes, not {HASH_SIZE}")
    return Anchor(decode_header(payload[:-HASH_SIZE], base), payload[-HASH_SIZE:])


def encode_epoch(epoch: int) -> bytes:
    """Payload of an EPOCH record; a ValueError says that it is none."""
    return _EPOCH.pack(epoch)


def decode_epoch(payload: bytes, base: int = 0) -> int:
    """The epoch of an EPOCH record; a JournalCorrupt says that it is none."""
    reader = Reader(payload, base)
    epoch = _EPOCH.read(reader)
    reader.end()
    return epoch


class Record(NamedTuple):
    """A record as it stands in a segment: ``chain`` is the value of the hash chain behind it."""

    offset: int
    type: RecordType
    payload: bytes
    chain: bytes

    @property
    def payload_offset(self) -> int:
        """Where its payload begins."""
        return self.offset + FRAME_SIZE

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.payload_offset + len(self.payload) + HASH_SIZE


def frame(type_: RecordType, payload: bytes) -> bytes:
    """What stands before a payload."""
    head = FRAME.pack(len(payload), type_)
    return head + zlib.crc32(head).to_bytes(4, "big")


def link(chain: bytes, type_: RecordType, payload: bytes) -> bytes:
    """What stands behind a payload, 32 bytes."""
    return bytes(keccak256(b"\x90" + chain + bytes([type_]) + payload))


def origin(header: bytes) -> bytes:
    """Hash of a file header: the configuration's, and the chain's first value."""
    return bytes(keccak256(b"\x91" + header))
