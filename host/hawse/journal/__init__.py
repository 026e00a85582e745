"""The durable log of slots, and snapshots of the state."""

from .codec import JournalCorrupt, JournalError
from .journal import Anchor, Journal, JournaledSlot, JournalLocked, JournalOrder
from .snapshots import Snapshot, Snapshots

__all__ = [
    "Anchor",
    "Journal",
    "JournalCorrupt",
    "JournalError",
    "JournalLocked",
    "JournalOrder",
    "JournaledSlot",
    "Snapshot",
    "Snapshots",
]
