"""Commands and marks as they arrive: lines of bytes from anywhere, of any length and content."""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Annotated, NamedTuple

import msgspec
import numpy as np

from hawse.keys import lines
from hawse.keys.eip712 import Domain
from hawse.keys.messages import AUTHORISATIONS, MESSAGE
from hawse.venue import Signed
from hawse.wire.dtypes import Array

#: Pieces of what was read that wait for their slot, at most; behind them, the sender waits.
_PIECES = 16
_READ = 1 << 16


class Bad(NamedTuple):
    """A line that is no command: its number, from 1, and what is wrong with it."""

    line: int
    error: str


class Mark(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the operator: what an instrument is worth, in ticks."""

    instrument: Annotated[int, msgspec.Meta(ge=0, le=0xFFFE)]
    mark: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class Marks:
    """The newest mark that a stream says of each instrument, read in a thread of its own.

    Args:
        stream: a binary file of lines like ``{"instrument": 0, "mark": 78000}``.
        instruments: numbers of those that are listed.
    """

    def __init__(self, stream: IO[bytes], instruments: Collection[int]) -> None:
        self._newest: dict[int, int] = {}
        self._bad: queue.SimpleQueue[Bad] = queue.SimpleQueue()
        self._stream, self._instruments = stream, instruments
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        decode = msgspec.json.Decoder(Mark).decode
        try:
            for number, line in enumerate(chain.from_iterable(pieces(self._stream.fileno())), 1):
                try:
                    said = decode(line or b"")
                except msgspec.MsgspecError as error:
                    self._bad.put(Bad(number, f"mark: {error}"))
                    continue
                if said.instrument in self._instruments:
                    self._newest[said.instrument] = said.mark
                else:
                    known = ", ".join(map(str, self._instruments))
                    self._bad.put(Bad(number, f"mark: instrument {said.instrument} is not listed; {known}"))
        except OSError as error:
            self._bad.put(Bad(0, f"the marks cannot be read: {error.strerror}"))

    def newest(self) -> dict[int, int]:
        """The mark last said of each instrument."""
        return dict(self._newest)

    def bad(self) -> list[Bad]:
        """Lines that were no marks, since the last call."""
        return [self._bad.get() for _ in range(self._bad.qsize())]


class Command(NamedTuple):
    """A message, of one row or two, who signed it, and its struct hash."""

    row: Array
    signer: bytes | None
    struct: bytes


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
        return Signed([one.signer for one in both], [one.struct for one in both])


def rows_of(commands: Sequence[Command]) -> Array:
    """Their rows."""
    return np.concatenate([np.zeros(0, MESSAGE), *(one.row for one in commands)])


class Incoming:
    """Commands from a stream, read in a thread of its own that never holds more than it is to.

    Who signed them is found while earlier ones are carried out.

    Args:
        stream: a binary file; its descriptor is read, so that nothing is left locked when the host ends.
        domain: of the venue.

    Attributes:
        ended: the stream has ended, and everything in it was taken.
    """

    def __init__(self, stream: IO[bytes], domain: Domain) -> None:
        self._queue: queue.Queue[tuple[list[Array], Future[Signed]] | Bad | None] = queue.Queue(_PIECES)
        self._fd, self._domain = stream.fileno(), domain
        self._stream = stream
        self._ready: deque[Command] = deque()
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        number = 0
        with ThreadPoolExecutor(1, "signers") as pool:
            try:
                for piece in pieces(self._fd):
                    rows = list(self._parsed(piece, number + 1))
                    number += len(piece)
                    if rows:
                        signed = pool.submit(Signed.of, np.concatenate(rows), self._domain)
                        self._queue.put((rows, signed))
            except OSError as error:
                self._queue.put(Bad(0, f"the commands cannot be read: {error.strerror}"))
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
                self.ended = True
            elif isinstance(one, Bad):
                bad.append(one)
            else:
                rows, signed = one[0], one[1].result()
                self._ready.extend(map(Command, rows, signed.signers, signed.structs))
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
