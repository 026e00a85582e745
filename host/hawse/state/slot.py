"""What goes into a slot and what comes out of it: the two records of the journal, as values."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import overload

import numpy as np

from hawse.keys.messages import MESSAGE
from hawse.wire import Reason
from hawse.wire.dtypes import Array


class Cut(IntEnum):
    """Why the sequencer ended a slot where it did."""

    #: It was full.
    COUNT = 0
    #: Its time was up.
    TIME = 1
    #: A batch ends with it.
    BATCH = 2
    #: The host stops.
    STOP = 3


class InputClass(IntEnum):
    """Kind of an input, in its leaf of the inputs tree. The first five are those of the wire's commands."""

    USER = 0
    MACHINE = 1
    MULTI_LEG = 2
    SUPERVISOR = 3
    OPERATOR = 4
    DEPOSIT = 5
    REQUEST = 6
    OBSERVATION = 7
    SURFACE = 8
    AUTHORISATION = 9


class OperationKind(IntEnum):
    """What the operator may put into a slot."""

    LIST = 1
    STATE = 2
    SETTLE = 3
    DELIST = 4
    RULES = 5
    FLAGS = 6
    RECENTRE = 7
    INTERIM_MARK = 8


class RequestKind(IntEnum):
    """What an owner may force through the contract's queue."""

    WITHDRAW = 1
    CANCEL_ALL = 2
    APPOINT = 3
    EXIT = 4


@dataclass(frozen=True)
class Block:
    """The chain's block up to which a slot has looked: number and hash (32 bytes)."""

    number: int = 0
    hash: bytes = bytes(32)


@dataclass(frozen=True)
class Observation:
    """A signed price. ``publisher`` is an index into the configured ones, ``signature`` 64 bytes."""

    publisher: int
    feed: int
    value: int
    time: int
    number: int
    signature: bytes


@dataclass(frozen=True)
class Omission:
    """An observation or surface that was left out, and why (128 and up of Reason)."""

    publisher: int
    feed: int
    number: int
    reason: Reason


@dataclass(frozen=True)
class Surface:
    """Signed volatilities at a grid's nodes, parts per million, at most 128; ``signature`` 64 bytes."""

    publisher: int
    underlying: int
    grid: int
    time: int
    number: int
    nodes: tuple[int, ...]
    signature: bytes


@dataclass(frozen=True)
class Operation:
    """An input of the operator: ``body`` as its kind says, ``signature`` 64 bytes."""

    kind: OperationKind
    body: bytes
    signature: bytes


@dataclass(frozen=True)
class Deposit:
    """A deposit seen on the chain. ``index`` counts from 1, ``owner`` is 20 bytes, ``amount`` in quanta."""

    index: int
    owner: bytes
    amount: int


@dataclass(frozen=True)
class Request:
    """A forced request as it stands in the contract's queue.

    ``index`` counts from 1; ``owner`` and ``agent`` are 20 bytes; ``time`` is the block's, in seconds.
    """

    index: int
    kind: RequestKind
    owner: bytes
    account: int
    generation: int
    amount: int
    agent: bytes
    expiry: int
    time: int


def _rows() -> Array:
    return np.zeros(0, MESSAGE)


@dataclass(frozen=True)
class SlotInput:
    """Everything that enters one slot.

    Attributes:
        number: of the slot, from 0.
        time: milliseconds since 1970, below 2**48; the only clock that the state knows.
        cut: why the slot ends where it does.
        closes: number of the batch that this slot ends, or None.
        block: up to which deposits and requests were taken.
        observations, omissions, surfaces: prices, in the order of publisher and feed.
        operations: the operator's inputs.
        deposits, requests: in the order of their index.
        authorisations: rows of :data:`hawse.keys.messages.MESSAGE`, two for each.
        commands: rows of :data:`hawse.keys.messages.MESSAGE`, one or two for each, in sequence.
    """

    number: int
    time: int
    cut: Cut = Cut.COUNT
    closes: int | None = None
    block: Block = Block()
    observations: tuple[Observation, ...] = ()
    omissions: tuple[Omission, ...] = ()
    surfaces: tuple[Surface, ...] = ()
    operations: tuple[Operation, ...] = ()
    deposits: tuple[Deposit, ...] = ()
    requests: tuple[Request, ...] = ()
    authorisations: Array = field(default_factory=_rows)
    commands: Array = field(default_factory=_rows)

    @property
    def messages(self) -> Array:
        """Rows of all that users have signed: authorisations, then commands."""
        if not len(self.authorisations):
            return self.commands
        return np.concatenate([self.authorisations, self.commands])


@dataclass(frozen=True)
class Refusal:
    """An input that was refused.

    Attributes:
        seq: its sequence number.
        reason: why.
        detail: which field or limit of that reason, 0 if there is but one.
        have, need: the two numbers behind it, i128.
    """

    seq: int
    reason: Reason
    detail: int = 0
    have: int = 0
    need: int = 0


class Refusals(Sequence[Refusal]):
    """Refusals as the journal has them, each made when it is asked for; equal to a tuple of the same.

    Args:
        rows: of :attr:`ROW`, big-endian, the i128 as 16 bytes.
    """

    ROW = np.dtype([("seq", ">u8"), ("reason", "u1"), ("detail", "u1"), ("have", "16u1"), ("need", "16u1")])

    def __init__(self, rows: Array) -> None:
        self.rows = rows

    @classmethod
    def of(cls, refusals: Iterable[Refusal]) -> "Refusals":
        """The same, packed."""
        if isinstance(refusals, Refusals):
            return refusals
        packed = [
            r.seq.to_bytes(8, "big")
            + bytes((r.reason, r.detail))
            + r.have.to_bytes(16, "big", signed=True)
            + r.need.to_bytes(16, "big", signed=True)
            for r in refusals
        ]
        return cls(np.frombuffer(b"".join(packed), cls.ROW))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Refusal: ...
    @overload
    def __getitem__(self, index: slice) -> "Refusals": ...
    def __getitem__(self, index: int | slice) -> "Refusal | Refusals":
        return Refusals(self.rows[index]) if isinstance(index, slice) else _refusal(self.rows[index])

    def __iter__(self) -> Iterator[Refusal]:
        return map(_refusal, self.rows)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Refusals):
            return self.rows.tobytes() == other.rows.tobytes()
        return tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def _refusal(row: np.void) -> Refusal:
    have, need = (int.from_bytes(row[name].tobytes(), "big", signed=True) for name in ("have", "need"))
    return Refusal(int(row["seq"]), Reason(row["reason"]), int(row["detail"]), have, need)


@dataclass(frozen=True)
class Event:
    """Something that the machine did by itself (160 and up of Reason), with two numbers, i128.

    Of a forced EXIT that leaves a position unoffered also why: NO_MARK, STORE_FULL, TAGS_FULL or BAND.
    """

    reason: Reason
    account: int
    instrument: int
    first: int
    second: int


@dataclass(frozen=True)
class SlotOutcome:
    """What one slot did.

    Attributes:
        number: of the slot.
        epoch: under which the engine made the digest.
        records: of the engine's log at the slot's fence.
        log_digest: the fence's, 32 bytes.
        first_seq: sequence number of the slot's first input.
        inputs: how many inputs took a sequence number.
        refusals: in the order of their sequence number.
        events: in the order in which they happened.
        digest: chain over the leaves that changed, behind this slot, 32 bytes.
    """

    number: int
    epoch: int
    records: int
    log_digest: bytes
    first_seq: int
    inputs: int
    refusals: Sequence[Refusal]
    events: tuple[Event, ...]
    digest: bytes
