"""Lines to whoever reads them, each once, by a process of its own.

The process outlives a host that is killed, and tells what that had kept; so no line is half told, or told and
not known to be, because a host died. Nor does a reader that is slow, or gone, hold up the venue.
"""

import fcntl
import os
import select
import signal
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from .errors import OutputLost, PublisherError
from .streams import BATCHES, SLOTS, connect, lines_from

#: Next slot and its next line, next batch and its next line.
_CURSOR = struct.Struct(">8sQQQQ")
_MAGIC = b"HAWSETLD"
#: Bytes that a pipe takes whole or not at all.
_WHOLE = select.PIPE_BUF
#: While nobody reads, seconds between two looks at whether to stop; and looks before that is done.
_LOOK, _LOOKS = 0.2, 10
#: Exit code of the process when its output takes no more.
_LOST = 3
#: What the process is told: to look for more in the file, and to tell all before it ends. Else, what to say.
_LOOK_AGAIN, _FINISH = b"\n", b".\n"


class Cursor(NamedTuple):
    """The first line of each stream that is not told yet."""

    slot: int = 0
    slot_line: int = 0
    batch: int = 1
    batch_line: int = 0


class Teller:
    """Writes the lines of a file of outcomes to a file descriptor, from where the last one left off.

    How far it came is written, in place, behind each write. Between the two it can be stopped only by a
    SIGKILL of its own or a power loss; then some lines are told again, and are known by their slot (or batch)
    and line.

    Args:
        outcomes: the file of outcomes.
        path: of the file that says how far; locked, so that a teller of an earlier host ends first.
        fd: to write to.

    Attributes:
        stopping: give up when the reader takes nothing.

    Raises:
        PublisherError: ``path`` is no such file.
    """

    def __init__(self, outcomes: Path, path: Path, fd: int) -> None:
        self._out, self.stopping = fd, False
        self._db = connect(outcomes, readonly=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        data = os.pread(self._file, _CURSOR.size + 1, 0)
        self._cursor = Cursor()
        if not data:
            self._note(self._cursor)
        elif len(data) == _CURSOR.size and data[:8] == _MAGIC:
            self._cursor = Cursor(*_CURSOR.unpack(data)[1:])
        else:
            os.close(self._file)
            self._db.close()
            raise PublisherError(f"{path}: {len(data)} bytes do not say how far outcomes were told")

    def _note(self, cursor: Cursor) -> None:
        # In place, so that it needs no room on a disk that is full.
        os.pwrite(self._file, _CURSOR.pack(_MAGIC, *cursor), 0)
        self._cursor = cursor

    def tell(self) -> bool:
        """Tell what is not told yet; False if it gave up, because the reader took no more.

        Raises:
            OutputLost: nobody can read it any more.
        """
        at = self._cursor
        slots = lines_from(self._db, SLOTS, at.slot, at.slot_line)
        told = self._all((row.text, at._replace(slot=row.number, slot_line=row.line + 1)) for row in slots)
        at = self._cursor
        batches = lines_from(self._db, BATCHES, at.batch, at.batch_line)
        return told and self._all(
            (row.text, at._replace(batch=row.number, batch_line=row.line + 1)) for row in batches
        )

    def say(self, line: bytes) -> bool:
        """Tell a line, with its end, that belongs to no slot and is not kept; otherwise like :meth:`tell`."""
        return self._write(line)

    def _all(self, lines: Iterable[tuple[str, Cursor]]) -> bool:
        """Lines, each with the cursor behind it, as many at a time as a pipe takes whole."""
        data, behind = b"", self._cursor
        for text, cursor in lines:
            line = text.encode() + b"\n"
            if data and len(data) + len(line) > _WHOLE:
                if not self._write(data):
                    return False
                self._note(behind)
                data = b""
            data, behind = data + line, cursor
        if data:
            if not self._write(data):
                return False
            self._note(behind)
        return True

    def _write(self, data: bytes) -> bool:
        start, rest, waited = self._size(), memoryview(data), 0
        try:
            while rest:
                if not select.select([], [self._out], [], _LOOK)[1]:
                    waited += 1
                    if self.stopping and waited >= _LOOKS:
                        return False
                    continue
                with suppress(BlockingIOError):
                    rest, waited = rest[os.write(self._out, rest[:_WHOLE]) :], 0
        except OSError as error:
            if start is not None and len(rest) < len(data):
                os.ftruncate(self._out, start)  # no half line
            raise OutputLost(f"standard output: {error.strerror}") from error
        return True

    def _size(self) -> int | None:
        """Size of the output, if it is a file."""
        status = os.fstat(self._out)
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def close(self) -> None:
        """Give the files back; how far it came is durable."""
        os.fsync(self._file)
        os.close(self._file)
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TellerProcess:
    """The host's end of a process with a :class:`Teller` that writes to our standard output.

    Args:
        outcomes: the file of outcomes, which is there.
        told: the file that says how far they were told.
        stopped: set when the host is to stop, and no reader is to be waited for any longer.
    """

    def __init__(self, outcomes: Path, told: Path, stopped: threading.Event) -> None:
        self._stopped = stopped
        # A session of its own, so that what ends the host does not end it in the middle of a line.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, outcomes, told], stdin=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin.fileno()
        os.set_blocking(self._pipe, False)

    def tell(self) -> None:
        """There is more to be told in the file; never waits.

        Raises:
            OutputLost: nobody can read it any more.
        """
        # A pipe that is full has the teller look anyway.
        with self._alive(), suppress(BlockingIOError):
            os.write(self._pipe, _LOOK_AGAIN)

    def say(self, text: str) -> None:
        """Tell a line that belongs to no slot, of less than 4096 bytes; waits while the reader is far behind.

        Raises:
            OutputLost: nobody can read it any more.
        """
        with self._alive():
            while not self._stopped.is_set():
                select.select([], [self._pipe], [], _LOOK)
                with suppress(BlockingIOError):
                    os.write(self._pipe, text.encode() + b"\n")
                    return

    @contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.close()
            raise OutputLost("the teller of outcomes has ended; the next start tells the rest") from None

    def finish(self) -> None:
        """Have all told, and the process end; does not wait for a reader that takes nothing once stopped.

        Raises:
            OutputLost: nobody can read it any more.
        """
        with self._alive():
            os.set_blocking(self._pipe, True)
            os.write(self._pipe, _FINISH)
        self.close()

    def close(self) -> None:
        """Have told what is kept, if it is read, and the process end.

        Raises:
            OutputLost: nobody can read it any more.
        """
        process = self._process
        if process.stdin is None or process.stdin.closed:
            return
        process.stdin.close()
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK)
            if self._stopped.is_set():
                process.terminate()
        if process.returncode == _LOST:
            raise OutputLost("standard output takes no more; the next start tells the rest")
        if process.returncode:
            raise OutputLost(f"the teller of outcomes ended with status {process.returncode}")


def main(outcomes: str, told: str) -> int:
    """Tell on standard output, as standard input bids; its end, without a word, is the host's."""
    finishing = False
    with Teller(Path(outcomes), Path(told), sys.stdout.fileno()) as teller:

        def give_up(*_: object) -> None:
            teller.stopping = True

        signal.signal(signal.SIGTERM, give_up)
        try:
            for word in sys.stdin.buffer:
                if word == _LOOK_AGAIN:
                    teller.tell()
                elif word == _FINISH:
                    finishing = True
                else:
                    teller.say(word)
            teller.stopping |= not finishing
            teller.tell()
        except OutputLost:
            return _LOST
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (PublisherError, OSError, sqlite3.Error) as error:
        sys.exit(f"Error: outcomes cannot be told: {error}")
