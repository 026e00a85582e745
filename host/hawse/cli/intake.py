"""Commands and the operator's word as they arrive: lines of bytes of any length and content."""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Annotated, Literal, NamedTuple

import msgspec
import numpy as np

from hawse.journal.codec import OBSERVATIONS_MOST
from hawse.keys import lines
from hawse.keys.eip712 import Domain
from hawse.keys.messages import AUTHORISATIONS, MESSAGE
from hawse.state.rules import JURISDICTION_BIT, NO_LIMIT, Flag
from hawse.venue import Signed
from hawse.wire.dtypes import Array

#: Pieces of what was read that wait for their slot, at most; behind them, the sender waits.
_PIECES = 16
_READ = 1 << 16
#: Lines of the operator that say nothing, and wait to be told so, at most.
_BAD = 1024
#: Seconds between two looks whether a stream is still held back.
_HELD_SECONDS = 0.005


class Bad(NamedTuple):
    """A line that is no command: its number, from 1, and what is wrong with it."""

    line: int
    error: str


class Mark(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the operator: what an instrument is worth, in ticks."""

    instrument: Annotated[int, msgspec.Meta(ge=0, le=0xFFFE)]
    mark: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


_U16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]


class Terms(msgspec.Struct, forbid_unknown_fields=True):
    """What a new version of the rules says; its number follows from the last."""

    listed: bool = False
    lots: Annotated[int, msgspec.Meta(ge=0)] = NO_LIMIT
    barred: tuple[_U16, ...] = ()


class Rules(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the operator: rules that orders have to obey from the next slot on."""

    rules: Terms


class Flags(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the operator: what is known of an owner."""

    owner: Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{40}$")]
    flags: tuple[Literal["operator", "affiliate", "allowed", "bound"], ...]
    jurisdiction: _U16 = 0

    @property
    def bits(self) -> int:
        """As a leaf has them."""
        known = sum({int(Flag[name.upper()]) for name in self.flags})
        return known | self.jurisdiction << JURISDICTION_BIT


class Opened(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the operator: what may be done with an instrument from the next slot on."""

    instrument: Annotated[int, msgspec.Meta(ge=0, le=0xFFFE)]
    status: Literal["open", "cancel-only", "closed"]


class Observed(msgspec.Struct, forbid_unknown_fields=True):
    """A line of a publisher, as ``hawse publish`` writes it."""

    feed: _U16
    value: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    time: Annotated[int, msgspec.Meta(ge=0, lt=1 << 48)]
    number: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    signature: Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{128}$")]


Said = Mark | Rules | Flags | Opened | Observed


def said(line: bytes) -> Said:
    """What the operator says in a line.

    Raises:
        msgspec.MsgspecError: nothing that he may say. No line is deep enough to be anything worse.
    """
    kind: type[Said] = Observed if b'"feed"' in line else Mark
    if b'"rules"' in line or b'"flags"' in line:
        kind = Rules if b'"rules"' in line else Flags
    elif b'"status"' in line:
        kind = Opened
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError as error:
        raise msgspec.MsgspecError(f"{kind.__name__.lower()}: {error}") from None


class Operator:
    """What the operator says: of marks the newest, of all else each line; read in a thread of its own.

    Args:
        stream: a binary file of lines like ``{"instrument": 0, "mark": 78000}``,
            ``{"rules": {"listed": true}}``, ``{"owner": "0x…", "flags": ["allowed"]}`` and
            ``{"instrument": 0, "status": "cancel-only"}``, and of those of publishers.
        instruments: numbers of those that are listed.
    """

    def __init__(self, stream: IO[bytes], instruments: Collection[int]) -> None:
        self._newest: dict[int, int] = {}
        self._bad: queue.Queue[Bad] = queue.Queue(_BAD)
        self._waiting: queue.Queue[tuple[int, Rules | Flags | Opened]] = queue.Queue(_PIECES)
        self._next: tuple[int, Rules | Flags | Opened] | None = None
        self._observed: queue.Queue[tuple[int, Observed]] = queue.Queue(OBSERVATIONS_MOST)
        self._stream, self._instruments = stream, instruments
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for number, line in enumerate(chain.from_iterable(pieces(self._stream.fileno())), 1):
                try:
                    self._take(number, said(line or b""))
                except msgspec.MsgspecError as error:
                    self._bad.put(Bad(number, str(error)))
        except OSError as error:
            self._bad.put(Bad(0, f"the operator's lines cannot be read: {error.strerror}"))

    def _take(self, number: int, one: Said) -> None:
        if isinstance(one, Observed):
            self._observed.put((number, one))  # likewise
        elif not isinstance(one, Mark):
            self._waiting.put((number, one))  # behind a few, the operator waits
        elif one.instrument in self._instruments:
            self._newest[one.instrument] = one.mark
        else:
            known = ", ".join(map(str, self._instruments))
            why = f"instrument {one.instrument} is not listed, or has publishers; {known}"
            self._bad.put(Bad(number, f"mark: {why}"))

    def newest(self) -> dict[int, int]:
        """The mark last said of each instrument."""
        return dict(self._newest)

    def observed(self) -> list[tuple[int, Observed]]:
        """Observations since the last call, with each line's number: at most what a slot has room for."""
        return [self._observed.get() for _ in range(self._observed.qsize())]

    def rulings(self) -> Iterator[tuple[int, Rules | Flags | Opened]]:
        """What one slot may take, with each line's number: rules once, an owner and an instrument once."""
        subjects: set[str | int] = set()
        while self._next or not self._waiting.empty():
            self._next = self._next or self._waiting.get()
            _, one = self._next
            subject: str | int = one.owner.lower() if isinstance(one, Flags) else ""
            subject = one.instrument if isinstance(one, Opened) else subject
            if subject in subjects:
                return
            subjects.add(subject)
            taken, self._next = self._next, None
            yield taken

    def bad(self) -> list[Bad]:
        """Lines that said nothing that he may say, since the last call."""
        return [self._bad.get() for _ in range(self._bad.qsize())]


class Command(NamedTuple):
    """A message, of one row or two, who signed it, its struct hash, when it came, and its sender's ticket."""

    row: Array
    signer: bytes | None
    struct: bytes
    arrived: int = 0
    ticket: object = None


@dataclass
class Commands:
    """What users sent for a slot, each kind in order."""

    authorisations: list[Command] = field(default_factory=list)
    others: list[Command] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.authorisations) + len(self.others)

    def add(self, one: Command) -> None:
        """One more."""
        (self.authorisations if one.row["kind"][0] in AUTHORISATIONS else self.others).append(one)

    @property
    def signed(self) -> Signed:
        """Of all, authorisations first, as a slot has them."""
        both = (*self.authorisations, *self.others)
        return Signed.listed([one.signer for one in both], [one.struct for one in both])

    @property
    def arrived(self) -> list[int]:
        """Nanoseconds since 1970 at which each came, likewise."""
        return [one.arrived for one in (*self.authorisations, *self.others)]

    @property
    def tickets(self) -> list[object]:
        """Of all, likewise; None of those that nobody waits for."""
        return [one.ticket for one in (*self.authorisations, *self.others)]


def rows_of(commands: Sequence[Command]) -> Array:
    """Their rows."""
    return np.frombuffer(bytearray().join([one.row.tobytes() for one in commands]), MESSAGE)


class _Piece(NamedTuple):
    """Messages that came together, and what is found of them."""

    rows: Sequence[Array]
    signed: Future[Signed]
    arrived: Sequence[int]
    tickets: Sequence[object]


class Incoming:
    """Commands from a stream, read in a thread of its own that never holds more than it is to.

    Who signed them is found while earlier ones are carried out. Others may offer commands beside it.

    Args:
        stream: a binary file; its descriptor is read, so that nothing is left locked when the host ends.
        domain: of the venue.
        endless: others offer commands, too, so that the end of the stream is not the end.
        held: whether the stream is to wait, since somebody who is told of it does not keep up; others are not
            held back by that.

    Attributes:
        ended: the stream has ended, and everything in it was taken.
    """

    def __init__(
        self,
        stream: IO[bytes],
        domain: Domain,
        endless: bool = False,
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        self._held = held
        self._queue: queue.Queue[_Piece | Bad | None] = queue.Queue(_PIECES)
        self._endless = endless
        self._fd, self._domain = stream.fileno(), domain
        self._stream = stream
        self._ready: deque[Command] = deque()
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        number = 0
        with ThreadPoolExecutor(os.cpu_count() or 1, "signers") as pool:
            try:
                for piece in pieces(self._fd):
                    while self._held():
                        time.sleep(_HELD_SECONDS)
                    now = time.time_ns()
                    rows = list(self._parsed(piece, number + 1))
                    number += len(piece)
                    if rows:
                        signed = pool.submit(Signed.of, np.concatenate(rows), self._domain, 1)
                        self._queue.put(_Piece(rows, signed, [now] * len(rows), [None] * len(rows)))
            except OSError as error:
                self._queue.put(Bad(0, f"the commands cannot be read: {error.strerror}"))
            except RuntimeError:  # no thread starts any more: the host ends
                pass
            finally:
                self._queue.put(None)

    def _parsed(self, piece: list[bytes | None], first: int) -> Iterator[Array]:
        for number, line in enumerate(piece, first):
            if line is None:
                self._queue.put(Bad(number, f"line: more than {lines.MOST_BYTES} bytes"))
            elif line.strip():
                try:
                    yield lines.parse(line)
                except lines.LineError as error:
                    self._queue.put(Bad(number, str(error)))

    def offer(
        self, rows: Sequence[Array], signed: Signed, arrived: Sequence[int], tickets: Sequence[object]
    ) -> bool:
        """Commands beside the stream's, from any thread; False, and nothing taken, if too many wait.

        Args:
            rows: one or two of each command.
            signed: what is known of them.
            arrived: when each came, nanoseconds since 1970.
            tickets: what comes back with each, once it is carried out.
        """
        known: Future[Signed] = Future()
        known.set_result(signed)
        with suppress(queue.Full):
            self._queue.put_nowait(_Piece(rows, known, arrived, tickets))
            return True
        return False

    def burst(self, most: int, wait: float) -> tuple[Commands, list[Bad]]:
        """What arrives within ``wait`` seconds, at most ``most`` lines: commands, and what is none."""
        commands = Commands()
        bad: list[Bad] = []
        end = time.monotonic() + wait
        while len(commands) + len(bad) < most and not self.ended:
            if self._ready:
                commands.add(self._ready.popleft())
                continue
            try:
                one = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            if one is None:
                self.ended = not self._endless
            elif isinstance(one, Bad):
                bad.append(one)
            else:
                signed = one.signed.result()
                known = signed.signers, signed.structs, one.arrived, one.tickets
                self._ready.extend(map(Command, one.rows, *known))
        return commands, bad


def pieces(fd: int) -> Iterator[list[bytes | None]]:
    """The lines that ``fd`` gives, without their ends, as many at a time as come at once.

    None stands for one that is longer than a message can be. Never holds more than one piece of what is read.
    """
    kept: bytes | None = b""
    while data := os.read(fd, _READ):
        *ends, rest = data.split(b"\n")
        if ends:
            yield [_joined(kept, ends[0]), *(_joined(b"", part) for part in ends[1:])]
            kept = b""
        kept = _joined(kept, rest)
    if kept != b"":
        yield [kept]


def _joined(kept: bytes | None, part: bytes) -> bytes | None:
    return None if kept is None or len(kept) + len(part) > lines.MOST_BYTES else kept + part
