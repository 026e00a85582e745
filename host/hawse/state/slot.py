"""What goes into a slot and what comes out of it: the two records of the journal, as values."""

from dataclasses import dataclass
from enum import IntEnum

from hawse.wire.dtypes import Array


class Refusal(IntEnum):
    """Why the host refused a command before the engine saw it."""

    REQUEST = 1
    ACCOUNT = 2
    SIGNATURE = 3
    NONCE = 4
    EXPIRED = 5
    INSTRUMENT = 6
    OVERFLOW = 7
    NOT_OWNER = 8
    DUPLICATE_ORDER = 9
    STORE_FULL = 10
    MARGIN = 11
    BALANCE = 12


@dataclass(frozen=True)
class Deposit:
    """A deposit seen on the chain. ``index`` counts from 1, ``owner`` is 20 bytes, ``amount`` in quanta."""

    index: int
    owner: bytes
    amount: int


@dataclass(frozen=True)
class SlotInput:
    """Everything that enters one slot, in the order in which it is applied.

    Attributes:
        number: of the slot, from 0.
        time: milliseconds since 1970; the only clock that the state knows.
        marks: (instrument, mark price in ticks) for each mark that changes.
        deposits: in the order of their index.
        commands: rows of :data:`hawse.keys.messages.USER_COMMAND`, in sequence.
        closes: number of the batch that this slot ends, or None.
    """

    number: int
    time: int
    marks: tuple[tuple[int, int], ...]
    deposits: tuple[Deposit, ...]
    commands: Array
    closes: int | None = None


@dataclass(frozen=True)
class SlotOutcome:
    """What one slot did.

    Attributes:
        number: of the slot.
        epoch: under which the engine made the digest.
        records: of the engine's log at the slot's fence.
        log_digest: the fence's, 32 bytes.
        refusals: (sequence number, reason) of each command that the host refused.
        state_digest: state root after clearing, 32 bytes.
    """

    number: int
    epoch: int
    records: int
    log_digest: bytes
    refusals: tuple[tuple[int, Refusal], ...]
    state_digest: bytes
