"""Slots of commands alone, carried out many in one call with the engine in software."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.state.slot import SlotInput
from hawse.wire import RECORD_BYTES
from hawse.wire.dtypes import Array

from .bindings import PLAIN, RAN, ROOMS, State

#: Of each message of a slot the hashStruct (32 bytes) and, where it is not taken that the owner has signed,
#: who has (20 bytes) and whether somebody has. Empty where it is not known.
Messages = tuple[NDArray[np.uint8], ...]
#: Messages of a slot.
_MESSAGES = 2048
#: Bytes of a room beside what one slot can need at most.
_MORE = 4 << 20
#: Bytes of a refusal or an event in an OUTCOME, and more; of its other fields.
_LINE, _FIXED = 48, 64


def is_plain(slot: SlotInput) -> bool:
    """Whether it has commands and nothing else, and ends no batch."""
    return slot.closes is None and not (
        slot.observations
        or slot.omissions
        or slot.surfaces
        or slot.operations
        or slot.deposits
        or slot.requests
        or len(slot.authorisations)
    )


@dataclass(frozen=True)
class Ran:
    """What became of a slot.

    Attributes:
        records: that the engine commits to, 24 bytes each.
        log_records, log_digest: the engine's own word of its log.
        outcome: what an OUTCOME has behind its log digest.
        last_seq: of the last command that went to the engine.
    """

    records: bytes
    log_records: int
    log_digest: bytes
    outcome: bytes
    last_seq: int


class Together:
    """The rooms that such slots need, for an engine of so many orders."""

    def __init__(self, orders: int) -> None:
        lines = 8 * orders + 4 * _MESSAGES
        self._least = _FIXED + _LINE * lines
        self._addresses = np.zeros((_MESSAGES, 20), np.uint8)
        self._ones = np.ones(_MESSAGES, np.uint8)
        self._outcomes = np.empty(self._least + _MORE, np.uint8)
        self._records = np.empty(RECORD_BYTES * lines + _MORE, np.uint8)

    def run(
        self,
        state: State,
        engine: NDArray[Any],
        slots: Sequence[SlotInput],
        messages: Sequence[Messages],
    ) -> tuple[list[Ran], int, Any]:
        """The slots that were carried out, why no more, and a RAN of the one that was not.

        Args:
            state: before the first of them.
            engine: ``hawse_state_engine``.
            slots: all of them plain.
            messages: of each one.
        """
        plain, kept = np.zeros(len(slots), PLAIN), []
        for at, (slot, known) in enumerate(zip(slots, messages, strict=True)):
            arrays = [np.ascontiguousarray(array) for array in (slot.commands, *known)]
            places = [array.ctypes.data for array in arrays]
            plain[at] = (
                slot.number,
                slot.time,
                len(arrays[0]),
                len(arrays[1]),
                *places,
                *[0] * (4 - len(places)),
            )
            kept.append(arrays)
        ran, rooms = np.zeros(len(slots) + 1, RAN), np.zeros(1, ROOMS)
        ends = [
            (room.ctypes.data, room.ctypes.data + room.nbytes) for room in (self._outcomes, self._records)
        ]
        people = self._addresses.ctypes.data, self._ones.ctypes.data
        rooms[0] = _MESSAGES, *people, *ends[0], *ends[1]
        count, why = state.together(engine, plain, ran, rooms)
        return self._told(ran[:count]), why, ran[count]

    def _told(self, ran: Array) -> list[Ran]:
        last = ran[-1:]
        outcomes = self._outcomes[: last["outcome_end"].sum()].tobytes()
        records = self._records[: last["records_end"].sum()].tobytes()
        told, at, begins = [], 0, 0
        fields = (ran[name].tolist() for name in ("outcome_end", "records_end", "log_digest", "last_seq"))
        counts = ran["fence"]["records"].tolist()
        for end, ends, digest, seq, count in zip(*fields, counts, strict=True):
            told.append(Ran(records[begins:ends], count, digest, outcomes[at:end], seq))
            at, begins = end, ends
        return told
