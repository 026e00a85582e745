"""Commands as they arrive: lines of bytes from anywhere, of any length and content."""

import os
import queue
import threading
import time
from collections.abc import Iterator
from typing import IO, NamedTuple

from hawse.keys import lines
from hawse.wire.dtypes import Array

#: Commands that wait for their slot, at most; behind them, the sender waits.
_WAITING = 4096
_READ = 1 << 16


class Bad(NamedTuple):
    """A line that is no command: its number, from 1, and what is wrong with it."""

    line: int
    error: str


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
