"""Snapshots of the state, from which a host starts without replaying the whole journal."""

import logging
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from tiny_keccak import keccak256

from .files import replace_durably, sync_directory

_MAGIC = b"HAWSESNP"
_VERSION = 2
#: Magic, version, slot, chain.
_HEADER = struct.Struct(">8sIQ32s")
_NAME = re.compile(r"snapshot-(\d{20})")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """The state behind a slot.

    Attributes:
        slot: number of the last slot that it contains.
        chain: value of the journal's hash chain behind that slot, 32 bytes. It ties the snapshot to its
            journal, whose ``slots(slot)`` begins with the same value.
        state: opaque bytes.
    """

    slot: int
    chain: bytes
    state: bytes


class Snapshots:
    """Snapshots in a directory, one file each; the newest ``keep`` stay.

    Raises:
        ValueError: ``keep`` below 1.
    """

    def __init__(self, directory: Path, keep: int = 3) -> None:
        if keep < 1:
            raise ValueError(f"keep: {keep} is below 1")
        self.directory = Path(directory)
        self.keep = keep

    def _files(self) -> list[tuple[int, Path]]:
        """Slot and file of each snapshot, newest first."""
        found = [(m[1], p) for p in self.directory.glob("snapshot-*") if (m := _NAME.fullmatch(p.name))]
        return sorted(((int(slot), path) for slot, path in found), reverse=True)

    def save(self, snapshot: Snapshot) -> None:
        """Store a snapshot, durably, and remove those that are no longer kept.

        Save only what the journal already holds durably.

        Raises:
            ValueError: ``slot`` is not a u64, or ``chain`` not 32 bytes.
        """
        if not 0 <= snapshot.slot < 1 << 64:
            raise ValueError(f"slot: {snapshot.slot} is not a u64")
        if len(snapshot.chain) != 32:
            raise ValueError(f"chain: {len(snapshot.chain)} bytes, not 32")
        if not self.directory.exists():
            self.directory.mkdir(parents=True)
            sync_directory(self.directory.parent)
        data = _HEADER.pack(_MAGIC, _VERSION, snapshot.slot, snapshot.chain) + snapshot.state
        replace_durably(self.directory / f"snapshot-{snapshot.slot:020d}", data + keccak256(data))
        for _, path in self._files()[self.keep :]:
            path.unlink()

    def latest(self, through: int | None = None) -> Snapshot | None:
        """The newest intact snapshot, None if there is none; damaged ones are logged and skipped.

        Args:
            through: the last slot that it may contain; None for any.
        """
        for slot, path in self._files():
            if through is not None and slot > through:
                continue
            data = path.read_bytes()
            body = data[:-32]
            if len(data) < _HEADER.size + 32 or keccak256(body) != data[-32:]:
                _log.warning("%s is damaged", path)
                continue
            magic, version, number, chain = _HEADER.unpack_from(body)
            if (magic, version, number) != (_MAGIC, _VERSION, slot):
                _log.warning("%s is not the snapshot that its name says", path)
                continue
            return Snapshot(slot, chain, body[_HEADER.size :])
        return None
