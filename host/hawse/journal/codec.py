"""Canonical bytes of what the journal holds. ``docs/journal.md`` shows them field by field; big-endian."""

from dataclasses import fields

import numpy as np

from hawse.commit.header import BatchHeader
from hawse.keys.messages import USER_COMMAND
from hawse.state.slot import Deposit, Refusal, SlotInput, SlotOutcome
from hawse.wire.dtypes import Array

VERSION = 1


class JournalError(Exception):
    """The journal cannot do what it was asked to."""


class JournalCorrupt(JournalError):
    """Bytes of a journal are not what was written.

    Attributes:
        offset: of the damage, in bytes from where the reader was told that its data begin: in a journal,
            from the start of the file.
        field: what should have been there.
    """

    def __init__(self, offset: int, field: str, problem: str) -> None:
        super().__init__(f"{field} at byte {offset}: {problem}")
        self.offset = offset
        self.field = field


class _Reader:
    """Takes fields off the front of a record and knows where it is."""

    def __init__(self, data: bytes, base: int) -> None:
        self.data, self.base, self.at = data, base, 0

    def corrupt(self, field: str, problem: str, back: int = 0) -> JournalCorrupt:
        return JournalCorrupt(self.base + self.at - back, field, problem)

    def raw(self, field: str, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise self.corrupt(field, f"{size} bytes needed, {len(self.data) - self.at} left")
        self.at += size
        return self.data[self.at - size : self.at]

    def integer(self, field: str, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.raw(field, size), "big", signed=signed)

    def count(self, field: str, each: int) -> int:
        """Number of elements that follow; so many must fit, so that damage cannot ask for memory."""
        count = self.integer(field, 4)
        if count * each > len(self.data) - self.at:
            raise self.corrupt(field, f"{count} of {each} bytes do not fit", back=4)
        return count

    def version(self) -> None:
        version = self.integer("version", 1)
        if version != VERSION:
            raise self.corrupt("version", f"{version}, not {VERSION}", back=1)

    def end(self) -> None:
        if self.at != len(self.data):
            raise self.corrupt("end", f"{len(self.data) - self.at} bytes too many")


def _int(field: str, value: int, size: int, signed: bool = False) -> bytes:
    try:
        return value.to_bytes(size, "big", signed=signed)
    except OverflowError:
        raise ValueError(f"{field}: {value} is not within {'i' if signed else 'u'}{8 * size}") from None


def _fixed(field: str, value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise ValueError(f"{field}: {len(value)} bytes, not {size}")
    return bytes(value)


def encode_input(slot: SlotInput) -> bytes:
    """Payload of an INPUT record.

    Raises:
        ValueError: a field that its width cannot hold, or commands of another type than USER_COMMAND.
    """
    if slot.commands.dtype != USER_COMMAND or slot.commands.ndim != 1:
        raise ValueError(f"commands: {slot.commands.ndim} dimensions of {slot.commands.dtype}")
    out = [_int("version", VERSION, 1), _int("number", slot.number, 8), _int("time", slot.time, 8)]
    out.append(b"\0" if slot.closes is None else b"\1" + _int("closes", slot.closes, 8))
    out.append(_int("marks", len(slot.marks), 4))
    for instrument, price in slot.marks:
        out += _int("mark instrument", instrument, 2), _int("mark price", price, 8, signed=True)
    out.append(_int("deposits", len(slot.deposits), 4))
    for deposit in slot.deposits:
        out += _int("deposit index", deposit.index, 8), _fixed("deposit owner", deposit.owner, 20)
        out.append(_int("deposit amount", deposit.amount, 32))
    out += _int("commands", len(slot.commands), 4), slot.commands.tobytes()
    return b"".join(out)


def _deposit(read: _Reader) -> Deposit:
    index, owner = read.integer("deposit index", 8), read.raw("deposit owner", 20)
    return Deposit(index, owner, read.integer("deposit amount", 32))


def decode_input(payload: bytes, base: int = 0) -> SlotInput:
    """The slot of an INPUT record; ``commands`` is read-only.

    Args:
        payload: of the record.
        base: added to the offset that an error names.

    Raises:
        JournalCorrupt: not the encoding of a slot.
    """
    read = _Reader(payload, base)
    read.version()
    number, time = read.integer("number", 8), read.integer("time", 8)
    flag = read.integer("closes", 1)
    if flag > 1:
        raise read.corrupt("closes", f"flag {flag}, not 0 or 1", back=1)
    closes = read.integer("closes", 8) if flag else None
    marks = tuple(
        (read.integer("mark instrument", 2), read.integer("mark price", 8, signed=True))
        for _ in range(read.count("marks", 10))
    )
    deposits = tuple(_deposit(read) for _ in range(read.count("deposits", 60)))
    count = read.count("commands", USER_COMMAND.itemsize)
    commands: Array = np.frombuffer(read.raw("commands", count * USER_COMMAND.itemsize), USER_COMMAND)
    read.end()
    return SlotInput(number, time, marks, deposits, commands, closes)


def encode_outcome(outcome: SlotOutcome) -> bytes:
    """Payload of an OUTCOME record.

    Raises:
        ValueError: a field that its width cannot hold.
    """
    out = [_int("version", VERSION, 1), _int("number", outcome.number, 8), _int("epoch", outcome.epoch, 4)]
    out += _int("records", outcome.records, 8), _fixed("log digest", outcome.log_digest, 32)
    out.append(_int("refusals", len(outcome.refusals), 4))
    for seq, reason in outcome.refusals:
        out += _int("refusal seq", seq, 8), _int("refusal reason", Refusal(reason), 1)
    out.append(_fixed("state digest", outcome.state_digest, 32))
    return b"".join(out)


def _refusal(read: _Reader) -> tuple[int, Refusal]:
    seq, reason = read.integer("refusal seq", 8), read.integer("refusal reason", 1)
    try:
        return seq, Refusal(reason)
    except ValueError:
        raise read.corrupt("refusal reason", f"{reason} is none", back=1) from None


def decode_outcome(payload: bytes, base: int = 0) -> SlotOutcome:
    """The outcome of an OUTCOME record.

    Args:
        payload: of the record.
        base: added to the offset that an error names.

    Raises:
        JournalCorrupt: not the encoding of an outcome.
    """
    read = _Reader(payload, base)
    read.version()
    number, epoch, records = read.integer("number", 8), read.integer("epoch", 4), read.integer("records", 8)
    digest = read.raw("log digest", 32)
    refusals = tuple(_refusal(read) for _ in range(read.count("refusals", 9)))
    outcome = SlotOutcome(number, epoch, records, digest, refusals, read.raw("state digest", 32))
    read.end()
    return outcome


def decode_header(words: bytes, base: int = 0) -> BatchHeader:
    """The batch header of which ``words`` is the ABI encoding, inverse of ``BatchHeader.encode``.

    Raises:
        JournalCorrupt: not the encoding of a header.
    """
    read = _Reader(words, base)
    values = [
        read.raw(field.name, 32) if field.type is bytes else read.integer(field.name, 32)
        for field in fields(BatchHeader)
    ]
    read.end()
    try:
        return BatchHeader(*values)  # type: ignore[arg-type]
    except ValueError as error:
        raise JournalCorrupt(base, "header", str(error)) from None


def slot_number(payload: bytes, base: int = 0) -> int:
    """Number of the slot of an INPUT or OUTCOME record, without decoding the rest.

    Raises:
        JournalCorrupt: another version, or too short.
    """
    read = _Reader(payload, base)
    read.version()
    return read.integer("number", 8)
