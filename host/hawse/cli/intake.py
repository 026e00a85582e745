"""Commands and marks as they arrive: lines of bytes from anywhere, of any length and content."""

import os
import queue
import threading
import time
from collections.abc import Collection, Iterator
from typing import IO, Annotated, NamedTuple

import msgspec

from hawse.keys import lines
from hawse.wire.dtypes import Array

#: Commands that wait for their slot, at most; behind them, the sender waits.
_WAITING = 4096
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
            for number, line in enumerate(split_lines(self._stream.fileno()), 1):
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


class Incoming:
    """Commands from a stream, read in a thread of its own that never holds more than it is to.

    Args:
        stream: a binary file; its descriptor is read, so that nothing is left locked when the host ends.

    Attributes:
        ended: the stream has ended, and everything in it was taken.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._queue: queue.Queue[Array | Bad | None] = queue.Queue(_WAITING)
        self._fd = stream.fileno()
        self._stream = stream
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for number, line in enumerate(split_lines(self._fd), 1):
                if line is None:
                    self._queue.put(Bad(number, f"line: more than {lines.MOST_BYTES} bytes"))
                elif line.strip():
                    try:
                        self._queue.put(lines.parse(line))
                    except lines.LineError as error:
                        self._queue.put(Bad(number, str(error)))
        except OSError as error:
            self._queue.put(Bad(0, f"the commands cannot be read: {error.strerror}"))
        finally:
            self._queue.put(None)

    def burst(self, most: int, wait: float) -> tuple[list[Array], list[Bad]]:
        """What arrives within ``wait`` seconds, at most ``most`` lines: commands, and what is none."""
        rows: list[Array] = []
        bad: list[Bad] = []
        end = time.monotonic() + wait
        while len(rows) + len(bad) < most and not self.ended:
            try:
                one = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            if one is None:
                self.ended = True
            elif isinstance(one, Bad):
                bad.append(one)
            else:
                rows.append(one)
        return rows, bad


def split_lines(fd: int) -> Iterator[bytes | None]:
    """The lines that ``fd`` gives, without their ends; None for one that is longer than a message can be.

    Never holds more than one piece of what is read.
    """
    kept: bytes | None = b""
    while data := os.read(fd, _READ):
        *ends, rest = data.split(b"\n")
        for part in ends:
            yield _joined(kept, part)
            kept = b""
        kept = _joined(kept, rest)
    if kept != b"":
        yield kept


def _joined(kept: bytes | None, part: bytes) -> bytes | None:
    return None if kept is None or len(kept) + len(part) > lines.MOST_BYTES else kept + part
