"""What can be wrong with a journal."""

from typing import Self


class JournalError(Exception):
    """The journal cannot do what it was asked to."""


class JournalLocked(JournalError):
    """Another host has this journal open."""


class JournalOrder(JournalError):
    """A record that may not follow those that are there."""


class JournalBehind(JournalError):
    """A journal that ends before what it is known to have held. Restore it from a copy that has it all.

    Attributes:
        ends: number of its last slot that has an outcome, -1 if none has.
        known: number of the last slot that it had.
    """

    def __init__(self, ends: int, known: int, witness: str) -> None:
        there = f"ends with slot {ends}" if ends >= 0 else "has no slot that is whole"
        lost = f"slots {ends + 1} to {known}" if known > ends + 1 else f"slot {known}" if known > ends else ""
        super().__init__(
            f"the journal {there}, but {witness}: {lost or 'records behind it'} lost; restore it from a copy"
        )
        self.ends, self.known = ends, known


class SegmentError(JournalError):
    """A segment is missing, doubled, out of its order, or of another journal.

    Attributes:
        segment: name of its file.
    """

    def __init__(self, segment: str, problem: str) -> None:
        super().__init__(f"{segment}: {problem}")
        self.segment = segment


class JournalCorrupt(JournalError):
    """Bytes of a journal are not what was written.

    Attributes:
        offset: of the damage, in bytes from where the reader was told that its data begin: in a journal,
            from the start of the segment.
        field: what should have been there.
        problem: what is there.
        segment: name of the segment's file, "" if the bytes are of no journal.
    """

    def __init__(self, offset: int, field: str, problem: str, segment: str = "") -> None:
        super().__init__(f"{segment}{segment and ': '}{field} at byte {offset}: {problem}")
        self.offset, self.field, self.problem, self.segment = offset, field, problem, segment

    def within(self, segment: str) -> Self:
        """The same, of a segment."""
        return type(self)(self.offset, self.field, self.problem, segment)
