"""The durable log of slots, and snapshots of the state."""

from .errors import JournalBehind, JournalCorrupt, JournalError, JournalLocked, JournalOrder, SegmentError
from .journal import Journal, JournaledSlot
from .records import Anchor, BoardCommand, Receipts
from .snapshots import Snapshot, Snapshots

__all__ = [
    "Anchor",
    "BoardCommand",
    "Journal",
    "JournalBehind",
    "JournalCorrupt",
    "JournalError",
    "JournalLocked",
    "JournalOrder",
    "JournaledSlot",
    "Receipts",
    "SegmentError",
    "Snapshot",
    "Snapshots",
]
