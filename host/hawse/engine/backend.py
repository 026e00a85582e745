"""What every engine offers, and how its beats are read."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hawse.wire import BEAT_BYTES, Geometry, Kind, Opcode
from hawse.wire.dtypes import BATCH, BEAT, BUILD, COMMAND, FENCE, HELLO, REPORT, RESTING, Array


class EngineError(Exception):
    """An engine, or the way to it, failed or contradicted the wire's rules."""


class EngineLost(EngineError):
    """The engine was reset, or the way to it broke: nobody knows what it carried out. A reset helps."""


class Backend(Protocol):
    """An engine that speaks the wire: RTL, board, native or golden."""

    #: For messages and measurements.
    name: str
    geometry: Geometry

    def reset(self, epoch: int) -> None:
        """Return to the state after power-up: instruments closed, no orders, empty log, this epoch."""

    def exchange(self, commands: Array) -> Array:
        """Carry out commands (array of :data:`~hawse.wire.dtypes.COMMAND`) in order.

        The last must be FENCE, CLOSE or HELLO. Returns every beat (array of
        :data:`~hawse.wire.dtypes.BEAT`) through the answer to the last command.

        Raises:
            ValueError: wrong type of array, or a last command that has no certain answer.
            EngineLost: what it has carried out is unknown.
            EngineError: the engine failed.
        """

    def board_epoch(self) -> int:
        """Epoch that a board is in, 0 without reset since power-up; 0 for an engine within this process.

        Raises:
            EngineLost: it cannot be asked.
        """

    def close(self) -> None:
        """Release what the engine holds; it is of no use afterwards."""


@dataclass(frozen=True)
class Fence:
    """Answer to FENCE: commands and records since the log began, digest (32 bytes) of the log."""

    token: int
    commands: int
    records: int
    epoch: int
    digest: bytes


@dataclass(frozen=True)
class Batch:
    """Second answer to CLOSE: leaves, records and root (32 bytes) of the log that it ended."""

    token: int
    leaves: int
    records: int
    epoch: int
    root: bytes


@dataclass(frozen=True)
class Beats:
    """A run of beats taken apart, each kind in its order of arrival.

    ``records`` is an array of REPORT, ``resting`` of RESTING, ``hellos`` of HELLO, ``builds`` of BUILD, the
    second beats of the HELLOs.
    """

    records: Array
    resting: Array
    hellos: Array
    builds: Array
    fences: tuple[Fence, ...]
    batches: tuple[Batch, ...]


#: Kinds of report that take two beats, the second of any content.
TWO_BEATS = (Kind.FENCE, Kind.BATCH, Kind.HELLO)
#: BOARD awaits boards that act by themselves.
_SENT = tuple(kind for kind in Kind if kind is not Kind.BOARD)

Mask = NDArray[np.bool]

#: Opcodes that end a burst: each has exactly one certain answer.
ENDS = (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)


def check_commands(commands: Array) -> Array:
    """``commands`` as a contiguous array that ends in FENCE, CLOSE or HELLO.

    Raises:
        ValueError: it is empty, of another type, or ends otherwise.
    """
    if commands.dtype != COMMAND or commands.ndim != 1:
        raise ValueError(f"commands: an array of {commands.dtype} and shape {commands.shape}, not of COMMAND")
    if not len(commands) or int(commands["opcode"][-1]) not in ENDS:
        raise ValueError("commands: the last must be FENCE, CLOSE or HELLO")
    return np.ascontiguousarray(commands)


def split(beats: Array) -> Beats:
    """Take beats (array of BEAT) apart by kind, without mistaking a digest or a root for a report.

    Raises:
        EngineError: a kind that no engine sends, or one of two beats without its second.
    """
    raw = np.ascontiguousarray(beats).view(np.uint8).reshape(-1, BEAT_BYTES)
    kind = np.asarray(raw[:, 0] & 0x0F, np.uint8)
    second = _seconds(kind)
    fences: list[Fence] = []
    batches: list[Batch] = []
    for at in np.flatnonzero(((kind == Kind.FENCE) | (kind == Kind.BATCH)) & ~second).tolist():
        hashed = raw[at + 1].tobytes()
        if kind[at] == Kind.FENCE:
            f = raw[at].view(FENCE)[0]
            fences.append(
                Fence(int(f["token"]), int(f["commands"]), int(f["records"]), int(f["epoch"]), hashed)
            )
        else:
            b = raw[at].view(BATCH)[0]
            batches.append(
                Batch(int(b["token"]), int(b["leaves"]), int(b["records"]), int(b["epoch"]), hashed)
            )

    def of(mask: Mask, dtype: "np.dtype[np.void]") -> Array:
        return raw[mask].reshape(-1).view(dtype)

    hello = (kind == Kind.HELLO) & ~second
    return Beats(
        records=of((kind <= Kind.REJECTED) & ~second, REPORT),
        resting=of((kind == Kind.RESTING) & ~second, RESTING),
        hellos=of(hello, HELLO),
        builds=of(np.roll(hello, 1), BUILD),
        fences=tuple(fences),
        batches=tuple(batches),
    )


def _seconds(kind: NDArray[np.uint8]) -> Mask:
    """Which beats of a run are the second ones of a report of two beats."""
    second = np.zeros(len(kind), bool)
    for at in np.flatnonzero(np.isin(kind, TWO_BEATS)).tolist():
        if second[at]:
            continue
        if at + 1 == len(kind):
            raise EngineError(f"beat {at}: {Kind(int(kind[at])).name} without its second beat")
        second[at + 1] = True
    unknown = ~np.isin(kind, _SENT) & ~second
    if unknown.any():
        at = int(np.argmax(unknown))
        raise EngineError(f"beat {at}: kind {kind[at]}, which no engine sends")
    return second


def beats(raw: bytes | bytearray | memoryview) -> Array:
    """Bytes, 32 a beat, as an array of BEAT (a copy)."""
    return np.frombuffer(bytes(raw), np.uint8).reshape(-1, BEAT_BYTES).view(BEAT).reshape(-1)
