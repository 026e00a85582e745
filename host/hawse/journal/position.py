"""What may stand next in a journal."""

from dataclasses import replace

from .codec import slot_of_input, slot_of_outcome
from .errors import JournalOrder
from .records import (
    CHAINED,
    RecordType,
    SegmentHead,
    decode_anchor,
    decode_board,
    decode_epoch,
    decode_receipts,
)


class Position:
    """Where a journal stands behind some record, and thereby what may follow.

    Args:
        head: of the segment that it begins with.

    Attributes:
        chain: value of the hash chain.
        next_slot: number of the next INPUT.
        pending: whether the last INPUT still lacks its OUTCOME.
        time: of the last INPUT, milliseconds; the next may not be earlier.
        next_seq: sequence number of the next slot's first input.
        epoch: highest so far.
        receipts: the lowest slot that may still get receipts.
        anchor: payload of the last ANCHOR, or empty.
    """

    def __init__(self, head: SegmentHead) -> None:
        self.chain, self.next_slot, self.time = head.chain, head.first_slot, head.time
        self.next_seq, self.epoch, self.receipts, self.anchor = (
            head.next_seq,
            head.epoch,
            head.receipts,
            head.anchor,
        )
        self.pending = False
        self._board: int | None = None

    def apply(self, type_: RecordType, payload: bytes, at: int, link: bytes) -> None:
        """Go on behind a record.

        Args:
            type_, payload: of the record.
            at: where the payload begins, for errors.
            link: of the record.

        Raises:
            JournalOrder: it may not come next.
            JournalCorrupt: its payload is not one; nothing has changed in either case.
        """
        match type_:
            case RecordType.INPUT:
                self._input(payload, at)
            case RecordType.OUTCOME:
                self._outcome(payload, at)
            case RecordType.BOARD:
                self._command(payload, at)
            case RecordType.ANCHOR:
                decode_anchor(payload, at)
                self.anchor = payload
            case RecordType.EPOCH:
                epoch = decode_epoch(payload, at)
                if epoch <= self.epoch:
                    raise JournalOrder(f"epoch {epoch}, not above {self.epoch}")
                self.epoch = epoch
            case RecordType.RECEIPTS:
                slot = decode_receipts(payload, at).slot
                if not self.receipts <= slot < self.next_slot:
                    last = self.next_slot - 1
                    raise JournalOrder(f"receipts of slot {slot}, not within {self.receipts}..{last}")
                self.receipts = slot + 1
            case RecordType.SEGMENT:
                raise JournalOrder("a segment within a segment")
        if type_ in CHAINED:
            self.chain = link

    def _input(self, payload: bytes, at: int) -> None:
        number, time = slot_of_input(payload, at)
        if self.pending:
            raise JournalOrder(f"slot {self.next_slot - 1} has no outcome yet")
        if number != self.next_slot:
            raise JournalOrder(f"slot {number}, not {self.next_slot}")
        if time < self.time:
            raise JournalOrder(f"slot {number} at {time}, before the last one's {self.time}")
        self.next_slot, self.time, self.pending, self._board = number + 1, time, True, None

    def _outcome(self, payload: bytes, at: int) -> None:
        number, first_seq, inputs = slot_of_outcome(payload, at)
        if not self.pending or number != self.next_slot - 1:
            raise JournalOrder(f"outcome of slot {number}, which does not wait for one")
        if first_seq != self.next_seq:
            raise JournalOrder(f"slot {number} begins with sequence number {first_seq}, not {self.next_seq}")
        self.next_seq, self.pending = first_seq + inputs, False

    def _command(self, payload: bytes, at: int) -> None:
        command = decode_board(payload, at)
        if not self.pending or command.slot != self.next_slot - 1:
            raise JournalOrder(f"a command of the board in slot {command.slot}, which is not open")
        if self._board is not None and command.count != self._board + 1:
            raise JournalOrder(f"command {command.count} of the board behind {self._board}")
        self._board = command.count

    def head(self, before: SegmentHead, size: int, link: bytes) -> SegmentHead:
        """The head of a segment that begins here.

        Args:
            before: of the segment before.
            size: of the segment before.
            link: its last 32 bytes.
        """
        return replace(
            before,
            index=before.index + 1,
            first_slot=self.next_slot,
            chain=self.chain,
            size=size,
            link=link,
            time=self.time,
            next_seq=self.next_seq,
            epoch=self.epoch,
            receipts=self.receipts,
            anchor=self.anchor,
        )
