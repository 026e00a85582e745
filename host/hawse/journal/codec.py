"""Canonical bytes of what the journal holds. ``docs/journal.md`` shows them field by field; big-endian."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from hawse.commit.header import BatchHeader, HeaderError
from hawse.keys.messages import AUTHORISATIONS, MESSAGE, ROW_BYTES, split
from hawse.keys.structs import MOST_NODES
from hawse.state.slot import (
    Block,
    Cut,
    Deposit,
    Event,
    Observation,
    Omission,
    Operation,
    OperationKind,
    Refusal,
    Refusals,
    Request,
    RequestKind,
    SlotInput,
    SlotOutcome,
    Surface,
)
from hawse.wire import Reason
from hawse.wire.dtypes import Array

from .errors import JournalCorrupt
from .fields import Choice, Field, Group, Integer, Many, Optional, Raw, Reader, Rows, Sized

VERSION = 2

#: Slot times, in milliseconds, stay below it.
TIME_LIMIT = 1 << 48
OBSERVATIONS_MOST = 256
SURFACES_MOST = 16
OPERATIONS_MOST = 64
#: Rows of commands, and of authorisations.
ROWS_MOST = 1024
_HASH = 32
_ADDRESS = 20
_SIGNATURE = 64


def _time(name: str) -> Integer:
    return Integer(name, 8, high=TIME_LIMIT - 1)


def _signed128(name: str) -> Integer:
    return Integer(name, 16, signed=True)


def _consecutive(before: Any, value: Any) -> str | None:
    return None if value.index == before.index + 1 else f"index {value.index} behind {before.index}"


def _ascending(*names: str) -> Callable[[Any, Any], str | None]:
    """That these attributes, taken together, rise."""

    def follows(before: Any, value: Any) -> str | None:
        one, two = (tuple(getattr(v, name) for name in names) for v in (before, value))
        return None if one < two else f"{', '.join(names)} {two} behind {one}"

    return follows


def _price(reason: int) -> bool:
    return Reason.PUBLISHER <= reason < Reason.MARGIN_LOST


def _machine(reason: int) -> bool:
    return reason >= Reason.MARGIN_LOST


def _refusal(reason: int) -> bool:
    return Reason.NONE < reason < Reason.MARGIN_LOST


_OBSERVATION = Group(
    "observation",
    Observation,
    publisher=Integer("observation publisher", 1),
    feed=Integer("observation feed", 2),
    value=Integer("observation value", 8, 1, signed=True),
    time=_time("observation time"),
    number=Integer("observation number", 8),
    signature=Raw("observation signature", _SIGNATURE),
)
_OMISSION = Group(
    "omission",
    Omission,
    publisher=Integer("omission publisher", 1),
    feed=Integer("omission feed", 2),
    number=Integer("omission number", 8),
    reason=Choice("omission reason", Reason, _price),
)
_SURFACE = Group(
    "surface",
    Surface,
    publisher=Integer("surface publisher", 1),
    underlying=Integer("surface underlying", 2),
    grid=Integer("surface grid", 4),
    time=_time("surface time"),
    number=Integer("surface number", 8),
    nodes=Many("surface nodes", Integer("surface node", 4), 1, MOST_NODES),
    signature=Raw("surface signature", _SIGNATURE),
)
_OPERATION = Group(
    "operation",
    Operation,
    kind=Choice("operation kind", OperationKind),
    body=Sized("operation body"),
    signature=Raw("operation signature", _SIGNATURE),
)
_DEPOSIT = Group(
    "deposit",
    Deposit,
    index=Integer("deposit index", 8, 1),
    owner=Raw("deposit owner", _ADDRESS),
    amount=Integer("deposit amount", 8),
)
_REQUEST = Group(
    "request",
    Request,
    index=Integer("request index", 8, 1),
    kind=Choice("request kind", RequestKind),
    owner=Raw("request owner", _ADDRESS),
    account=Integer("request account", 4),
    generation=Integer("request generation", 8),
    amount=Integer("request amount", 8),
    agent=Raw("request agent", _ADDRESS),
    expiry=Integer("request expiry", 8),
    time=Integer("request time", 8),
)
_BLOCK = Group("block", Block, number=Integer("block number", 8), hash=Raw("block hash", _HASH))
_INPUT_FIELDS: dict[str, Field] = {
    "number": Integer("number", 8),
    "time": _time("time"),
    "cut": Choice("cut", Cut),
    "closes": Optional(Integer("closes", 8)),
    "block": _BLOCK,
    "observations": Many(
        "observations", _OBSERVATION, 2, OBSERVATIONS_MOST, _ascending("publisher", "feed", "number")
    ),
    "omissions": Many("omissions", _OMISSION, 2, OBSERVATIONS_MOST),
    "surfaces": Many("surfaces", _SURFACE, 1, SURFACES_MOST, _ascending("publisher", "underlying", "number")),
    "operations": Many("operations", _OPERATION, 1, OPERATIONS_MOST),
    "deposits": Many("deposits", _DEPOSIT, 2, follows=_consecutive),
    "requests": Many("requests", _REQUEST, 2, follows=_consecutive),
    "authorisations": Rows("authorisations", ROWS_MOST, AUTHORISATIONS),
    "commands": Rows("commands", ROWS_MOST),
}
_REFUSAL = Group(
    "refusal",
    Refusal,
    seq=Integer("refusal seq", 8),
    reason=Choice("refusal reason", Reason, _refusal),
    detail=Integer("refusal detail", 1),
    have=_signed128("refusal have"),
    need=_signed128("refusal need"),
)
_REFUSAL_BYTES = Refusals.ROW.itemsize
_EACH_REFUSAL = Many("refusals", _REFUSAL, 4, follows=_ascending("seq"))
_REASON_OF_REFUSAL = np.array([_refusal(reason) and reason in {*Reason} for reason in range(256)])


class _Refusals:
    """Those of an outcome, packed; one by one only where something is wrong, to say what."""

    name = "refusals"
    _count = Integer("refusals", 4)

    @staticmethod
    def good(refusals: Refusals) -> bool:
        """Whether their reasons are some and their numbers rise."""
        if not len(refusals):
            return True
        seqs = refusals.rows["seq"].astype(np.uint64)
        return bool(_REASON_OF_REFUSAL[refusals.rows["reason"]].all() and (seqs[:-1] < seqs[1:]).all())

    def pack(self, values: Sequence[Refusal]) -> bytes:
        """See :class:`Field`."""
        if isinstance(values, Refusals) and self.good(values):
            return self._count.pack(len(values)) + values.rows.tobytes()
        return _EACH_REFUSAL.pack(values)

    def read(self, reader: Reader) -> Sequence[Refusal]:
        """See :class:`Field`."""
        at = reader.at
        count = self._count.read(reader)
        if count * _REFUSAL_BYTES <= len(reader.data) - reader.at:
            raw = reader.raw(self.name, count * _REFUSAL_BYTES)
            found = Refusals(np.frombuffer(raw, Refusals.ROW))
            if self.good(found):
                return found
        reader.at = at
        return _EACH_REFUSAL.read(reader)


_EVENT = Group(
    "event",
    Event,
    reason=Choice("event reason", Reason, _machine),
    account=Integer("event account", 4),
    instrument=Integer("event instrument", 2),
    first=_signed128("event first"),
    second=_signed128("event second"),
)
_OUTCOME_FIELDS: dict[str, Field] = {
    "number": Integer("number", 8),
    "epoch": Integer("epoch", 4),
    "records": Integer("records", 8),
    "log_digest": Raw("log digest", _HASH),
    "first_seq": Integer("first seq", 8, 1),
    "inputs": Integer("inputs", 4),
    "refusals": _Refusals(),
    "events": Many("events", _EVENT, 4),
    "digest": Raw("digest", _HASH),
}
assert [*_INPUT_FIELDS] == [f.name for f in fields(SlotInput)]
assert [*_OUTCOME_FIELDS] == [f.name for f in fields(SlotOutcome)]
_INPUT = Group("input", SlotInput, **_INPUT_FIELDS)
_OUTCOME = Group("outcome", SlotOutcome, **_OUTCOME_FIELDS)
#: Offsets in an OUTCOME.
_INPUTS_AT, _REFUSALS_AT = 61, 69
_VERSION = Integer("version", 1, VERSION, VERSION)
#: An INPUT up to its rows of commands, and the counts of all that it has; an OUTCOME up to its refusals.
_PLAIN_INPUT = struct.Struct(">BQQBQQ32sHHBBHHHH")
_OUTCOME_HEAD = struct.Struct(">BQIQ32sQII")
#: Its last three fields.
_REST = struct.Struct(">QII")
_SLOT_HEAD = struct.Struct(">BQQ")
_COUNT = struct.Struct(">I")
_CUTS = {int(cut): cut for cut in Cut}


def encode_input(slot: SlotInput) -> bytes:
    """Payload of an INPUT record.

    Raises:
        ValueError: a field that is out of bounds; the message begins with its name.
    """
    return _VERSION.pack(VERSION) + _INPUT.pack(slot)


def decode_input(payload: bytes, base: int = 0) -> SlotInput:
    """The slot of an INPUT record; its rows are read-only.

    Args:
        payload: of the record.
        base: added to the offset that an error names.

    Raises:
        JournalCorrupt: not the encoding of a slot.
    """
    if (plain := _plain_input(payload)) is not None:
        return plain
    reader = Reader(payload, base)
    _VERSION.read(reader)
    slot: SlotInput = _INPUT.read(reader)
    reader.end()
    return slot


def _plain_input(payload: bytes) -> SlotInput | None:
    """The slot of an INPUT that has commands and nothing else, and nothing wrong; None for any other."""
    if len(payload) < _PLAIN_INPUT.size:
        return None
    version, number, time, cut, closes, block, block_hash, *counts = _PLAIN_INPUT.unpack_from(payload)
    rows = counts.pop()
    if version != VERSION or any(counts) or time >= TIME_LIMIT or cut not in _CUTS or rows > ROWS_MOST:
        return None
    if len(payload) != _PLAIN_INPUT.size + rows * ROW_BYTES:
        return None
    commands: Array = np.frombuffer(payload, MESSAGE, rows, _PLAIN_INPUT.size)
    try:
        split(commands)
    except ValueError:
        return None
    return SlotInput(number, time, _CUTS[cut], closes or None, Block(block, block_hash), commands=commands)


def _outcome_problem(outcome: SlotOutcome) -> tuple[int, str, str] | None:
    """What is wrong with the numbers of an outcome, taken together: offset, field and problem."""
    end = outcome.first_seq + outcome.inputs
    if end > 1 << 64:
        return _INPUTS_AT, "inputs", f"{outcome.inputs} from sequence number {outcome.first_seq} on leave u64"
    for at in (0, len(outcome.refusals) - 1) if outcome.refusals else ():  # they ascend
        seq = outcome.refusals[at].seq
        if not outcome.first_seq <= seq < end:
            problem = f"{seq} is not among the {outcome.inputs} from {outcome.first_seq} on"
            return _REFUSALS_AT + at * _REFUSAL_BYTES, "refusal seq", problem
    return None


def encode_outcome(outcome: SlotOutcome) -> bytes:
    """Payload of an OUTCOME record.

    Raises:
        ValueError: a field that is out of bounds; the message begins with its name.
    """
    if problem := _outcome_problem(outcome):
        raise ValueError(": ".join(problem[1:]))
    return _VERSION.pack(VERSION) + _OUTCOME.pack(outcome)


def decode_outcome(payload: bytes, base: int = 0) -> SlotOutcome:
    """The outcome of an OUTCOME record.

    Args:
        payload: of the record.
        base: added to the offset that an error names.

    Raises:
        JournalCorrupt: not the encoding of an outcome.
    """
    outcome = _plain_outcome(payload) or _each_outcome(payload, base)
    if problem := _outcome_problem(outcome):
        raise JournalCorrupt(base + problem[0], *problem[1:])
    return outcome


def _plain_outcome(payload: bytes) -> SlotOutcome | None:
    """The outcome of an OUTCOME without events, and with no field wrong; None for any other."""
    if len(payload) < _OUTCOME_HEAD.size:
        return None
    version, number, epoch, log_records, log_digest, first_seq, inputs, count = _OUTCOME_HEAD.unpack_from(
        payload
    )
    end = _OUTCOME_HEAD.size + count * _REFUSAL_BYTES
    if version != VERSION or not first_seq or len(payload) != end + _COUNT.size + _HASH:
        return None
    refusals = Refusals(np.frombuffer(payload, Refusals.ROW, count, _OUTCOME_HEAD.size))
    if _COUNT.unpack_from(payload, end)[0] or not _Refusals.good(refusals):
        return None
    digest = payload[-_HASH:]
    return SlotOutcome(number, epoch, log_records, log_digest, first_seq, inputs, refusals, (), digest)


def rest_of_outcome(outcome: SlotOutcome) -> bytes:
    """What an OUTCOME has behind its log digest."""
    refusals = outcome.refusals
    if outcome.events or not isinstance(refusals, Refusals):
        return encode_outcome(outcome)[_OUTCOME_HEAD.size - _REST.size :]
    head = _REST.pack(outcome.first_seq, outcome.inputs, len(refusals))
    return head + refusals.rows.tobytes() + _COUNT.pack(0) + outcome.digest


def outcome_behind(rest: bytes, number: int, epoch: int, log_records: int, log_digest: bytes) -> SlotOutcome:
    """The outcome of which ``rest`` is what an OUTCOME has behind its log digest."""
    head = _OUTCOME_HEAD.pack(VERSION, number, epoch, log_records, log_digest, 0, 0, 0)
    return decode_outcome(head[: -_REST.size] + rest)


def _each_outcome(payload: bytes, base: int) -> SlotOutcome:
    reader = Reader(payload, base)
    _VERSION.read(reader)
    outcome: SlotOutcome = _OUTCOME.read(reader)
    reader.end()
    return outcome


def decode_header(words: bytes, base: int = 0) -> BatchHeader:
    """The batch header of which ``words`` is the ABI encoding.

    Raises:
        JournalCorrupt: not the encoding of a header.
    """
    try:
        return BatchHeader.decode(words)
    except HeaderError as error:
        names = [field.name for field in fields(BatchHeader)]
        at = 32 * names.index(error.field) if error.field in names else 0
        raise JournalCorrupt(base + at, error.field, str(error)) from error


def slot_of_input(payload: bytes, base: int = 0) -> tuple[int, int]:
    """Number and time of an INPUT record's slot, without decoding the rest.

    Raises:
        JournalCorrupt: another version, too short, or a time out of bounds.
    """
    if len(payload) >= _PLAIN_INPUT.size:
        version, number, time = _SLOT_HEAD.unpack_from(payload)
        if version == VERSION and time < TIME_LIMIT:
            return number, time
    reader = Reader(payload, base)
    _VERSION.read(reader)
    return _INPUT_FIELDS["number"].read(reader), _INPUT_FIELDS["time"].read(reader)


def slot_of_outcome(payload: bytes, base: int = 0) -> tuple[int, int, int]:
    """Slot, first sequence number and number of inputs of an OUTCOME record, without decoding the rest.

    Raises:
        JournalCorrupt: another version, too short, or a number out of bounds.
    """
    if len(payload) >= _OUTCOME_HEAD.size:
        version, number, _, _, _, first_seq, inputs, _ = _OUTCOME_HEAD.unpack_from(payload)
        if version == VERSION and first_seq:
            return number, first_seq, inputs
    reader = Reader(payload, base)
    _VERSION.read(reader)
    number, _, _, _, first_seq, inputs = (
        _OUTCOME_FIELDS[name].read(reader)
        for name in ("number", "epoch", "records", "log_digest", "first_seq", "inputs")
    )
    return number, first_seq, inputs
