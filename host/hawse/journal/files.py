"""Files whose content survives a power loss."""

import os
from pathlib import Path
from typing import Protocol


class File(Protocol):
    """What the journal needs of a file; tests put one that loses power in its place."""

    def size(self) -> int:
        """Bytes in the file."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``, fewer only at the end."""
        ...

    def append(self, data: bytes) -> None:
        """All of ``data`` behind what is there; durable after the next :meth:`sync`."""
        ...

    def truncate(self, size: int) -> None:
        """Cut to ``size`` bytes; durable after the next :meth:`sync`."""
        ...

    def sync(self) -> None:
        """Make everything durable before returning."""
        ...

    def close(self) -> None:
        """Give the file back; nothing is synced."""
        ...


class OsFile:
    """A :class:`File` of the operating system."""

    def __init__(self, path: Path, readonly: bool) -> None:
        self._fd = os.open(path, os.O_RDONLY if readonly else os.O_RDWR | os.O_APPEND)

    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``, fewer only at the end."""
        data = os.pread(self._fd, size, offset)
        while len(data) < size and (more := os.pread(self._fd, size - len(data), offset + len(data))):
            data += more
        return data

    def append(self, data: bytes) -> None:
        """All of ``data`` behind what is there."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def truncate(self, size: int) -> None:
        """Cut to ``size`` bytes."""
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """Make everything durable before returning."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_durably(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that after a power loss either all of it is there or nothing of it."""
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        # Half a file on a full disk would only make it fuller.
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
