"""Faults on purpose: engines that are lost or lie, and disks that are full or forget what was not synced."""

import errno
import os
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
from hawse.engine import Backend, EngineReset
from hawse.engine.backend import TWO_BEATS
from hawse.journal.files import OsFile
from hawse.venue import SlotDone
from hawse.wire import BEAT_BYTES
from hawse.wire.dtypes import Array


class Repeated(AssertionError):
    """A venue said something else of a slot or a batch when it was asked again."""


class Witness:
    """What a venue publishes. What a recovery publishes again must be what it said before.

    Attributes:
        slots: (first sequence number, inputs, refusals, records, digest) by number.
        batches: those header fields that do not depend on how often the engine was reset, by number.
    """

    def __init__(self) -> None:
        self.slots: dict[int, tuple[object, ...]] = {}
        self.batches: dict[int, tuple[object, ...]] = {}

    def __call__(self, done: SlotDone) -> None:
        """To be a venue's ``publish``."""
        o = done.outcome
        self._note(self.slots, o.number, (o.first_seq, o.inputs, o.refusals, o.records, o.digest))
        if done.sealed:
            # The journal's hash covers log digests, and these the epoch.
            header = replace(done.sealed.header, journal_hash=bytes(32))
            self._note(self.batches, header.number, astuple(header))

    @staticmethod
    def _note(known: dict[int, tuple[object, ...]], number: int, said: tuple[object, ...]) -> None:
        if known.setdefault(number, said) != said:
            raise Repeated(f"{number}: {said} is not {known[number]}")


class LostBackend:
    """An engine like ``backend`` that is reset, as by a power loss, in the middle of chosen exchanges.

    Args:
        backend: carries out a part of the exchange before it is lost, and nothing until it is reset.
        lost: asked, with the number of the exchange since this was made, whether it is.
    """

    def __init__(self, backend: Backend, lost: Callable[[int], bool]) -> None:
        self._backend, self._lost = backend, lost
        self.name, self.geometry = backend.name, backend.geometry
        #: Exchanges so far.
        self.exchanges = 0
        self._epoch = 0

    def board_epoch(self) -> int:
        """0 after a loss, for a board that lost power forgets its epoch."""
        return self._epoch

    def reset(self, epoch: int) -> None:
        """See :class:`~hawse.engine.Backend`."""
        self._backend.reset(epoch)
        self._epoch = epoch

    def exchange(self, commands: Array) -> Array:
        """See :class:`~hawse.engine.Backend`."""
        if self._epoch == 0:
            raise EngineReset(f"{self.name}: the board is in epoch 0", 0)
        self.exchanges += 1
        if self._lost(self.exchanges - 1):
            part = np.concatenate([commands[: len(commands) // 2], commands[-1:]])
            self._backend.exchange(part)
            self._backend.reset(0)
            epoch, self._epoch = self._epoch, 0
            raise EngineReset(f"{self.name}: the board is in epoch 0, not {epoch}", 0)
        return self._backend.exchange(commands)

    def close(self) -> None:
        """See :class:`~hawse.engine.Backend`."""
        self._backend.close()


def first_beats(beats: Array) -> dict[int, int]:
    """Kind of each report by the position of its first beat; a second beat has any content, and no kind."""
    kinds = (beats.view(np.uint8).reshape(-1, BEAT_BYTES)[:, 0] & 15).tolist()
    found, at = {}, 0
    while at < len(kinds):
        found[at] = kinds[at]
        at += 2 if kinds[at] in TWO_BEATS else 1
    return found


class LyingBackend:
    """An engine like ``backend`` whose answers are changed on their way.

    Args:
        backend: carries everything out.
        change: called with the number of the exchange and its beats, a copy; returns what the host gets.
    """

    def __init__(self, backend: Backend, change: Callable[[int, Array], Array]) -> None:
        self._backend, self._change = backend, change
        self.name, self.geometry = backend.name, backend.geometry
        #: Exchanges so far.
        self.exchanges = 0

    def board_epoch(self) -> int:
        """See :class:`~hawse.engine.Backend`."""
        return self._backend.board_epoch()

    def reset(self, epoch: int) -> None:
        """See :class:`~hawse.engine.Backend`."""
        self._backend.reset(epoch)

    def exchange(self, commands: Array) -> Array:
        """See :class:`~hawse.engine.Backend`."""
        self.exchanges += 1
        return self._change(self.exchanges - 1, self._backend.exchange(commands).copy())

    def close(self) -> None:
        """See :class:`~hawse.engine.Backend`."""
        self._backend.close()


class FullDisk:
    """Files on a disk with room for so many bytes more: what does not fit is written in part, then refused.

    Args:
        room: bytes that all files together may still append; to be raised when somebody makes room.
    """

    def __init__(self, room: int) -> None:
        self.room = room

    def open(self, path: Path, readonly: bool) -> OsFile:
        """A journal's file on it."""
        disk = self

        class Limited(OsFile):
            def append(self, data: bytes) -> None:
                super().append(data[: disk.room])
                left, disk.room = disk.room, max(0, disk.room - len(data))
                if left < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return Limited(path, readonly)


class PowerLoss(Exception):
    """The machine is off."""


class UnsyncedFile:
    """A journal's file whose bytes are on the disk only once they are synced, and which may lose power.

    Args:
        path: of the file.
        readonly: open it for reading.
        lost: asked before and after each append and each sync whether the power goes now; if so, what part
            (0 to 1) of the bytes that were not synced had reached the disk all the same, else None.
    """

    def __init__(self, path: Path, readonly: bool, lost: Callable[[], float | None]) -> None:
        self._disk = OsFile(path, readonly)
        self._unsynced = b""
        self._lost = lost

    def _boundary(self) -> None:
        part = self._lost()
        if part is not None:
            self._disk.append(self._unsynced[: round(part * len(self._unsynced))])
            self._unsynced = b""
            raise PowerLoss

    def size(self) -> int:
        """See :class:`~hawse.journal.files.File`."""
        return self._disk.size() + len(self._unsynced)

    def read(self, offset: int, size: int) -> bytes:
        """See :class:`~hawse.journal.files.File`."""
        data = self._disk.read(offset, size)
        start = max(0, offset - self._disk.size())
        return data + self._unsynced[start : start + size - len(data)]

    def append(self, data: bytes) -> None:
        """See :class:`~hawse.journal.files.File`."""
        self._boundary()
        self._unsynced += data
        self._boundary()

    def truncate(self, size: int) -> None:
        """See :class:`~hawse.journal.files.File`; only what is on the disk can be cut."""
        assert not self._unsynced
        self._disk.truncate(size)

    def sync(self) -> None:
        """See :class:`~hawse.journal.files.File`."""
        self._boundary()
        self._disk.append(self._unsynced)
        self._unsynced = b""
        self._boundary()

    def close(self) -> None:
        """See :class:`~hawse.journal.files.File`."""
        self._disk.close()
