"""Frames that wait at the board's end of the link, and what both directions know of them."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory

from .deframer import Deframer
from .framer import Framer
from .header import BEAT_WORDS, SLOT_WORDS, WORD

BEATS = SLOT_WORDS // BEAT_WORDS


class Slots:
    """Two memories of frames, one a direction, and where in them each end is.

    Args:
        m: of the endpoint.
        io: the endpoint, whose ports and parameters are used.
    """

    def __init__(self, m: Module, io: Any) -> None:
        self.m, self.io = m, io
        m.submodules.deframer = self.deframer = Deframer()
        m.submodules.framer = self.framer = Framer()
        self.header = self.deframer.header
        #: Bits of a slot's number; the lengths are in beats, of each slot.
        self.slot_bits = (io.slots - 1).bit_length()
        self.lengths = data.ArrayLayout(range(BEATS + 1), io.slots)
        #: An epoch begins: everything below starts afresh.
        self.begins = Signal()
        self._hold_commands()
        self._hold_beats()
        self._know_due()

    def _hold_commands(self) -> None:
        """Slots [consumed, expected) are full of commands, the next is being written."""
        io = self.io
        self.m.submodules.incoming = incoming = Memory(shape=WORD, depth=io.slots * SLOT_WORDS, init=[])
        store, load = incoming.write_port(), incoming.read_port()
        self.store, self.load = store, load
        self.in_lengths = Signal(self.lengths)
        self.expected = Signal(16)
        self.consumed = Signal(self.slot_bits)
        self.held = Signal(range(io.slots + 1))
        #: As the frame began; a slot that is freed under it would hold half of it.
        self.room = Signal()
        self.accept = Signal()
        self.free = Signal()
        #: The next word to read of a command, and which command of the slot.
        self.word = Signal(range(BEAT_WORDS + 1))
        self.which = Signal(range(BEATS))
        self.read = Signal()
        self.came = Signal()
        self.full = Signal()
        #: A cycle ago: what follows from it is not in the path of ``commands.ready``.
        self.taken = Signal()

    def _hold_beats(self) -> None:
        """Slots [base, tail) are full, and sent before ``following``; that at ``tail`` is being filled."""
        io = self.io
        self.m.submodules.outgoing = outgoing = Memory(shape=WORD, depth=io.slots * SLOT_WORDS, init=[])
        keep, fetch = outgoing.write_port(), outgoing.read_port()
        self.keep, self.fetch = keep, fetch
        self.out_lengths = Signal(self.lengths)
        self.base = Signal(16)
        self.following = Signal(16)
        self.tail = Signal(16)
        #: The host has room for frames before this one.
        self.limit = Signal(16)
        #: The beat that comes, and the next word of it to keep.
        self.beat = Signal(WORD * BEAT_WORDS)
        self.part = Signal(range(BEAT_WORDS + 1), init=BEAT_WORDS)
        self.keeping = self.part != BEAT_WORDS
        self.filled = Signal(range(BEATS))
        #: Cycles without a beat.
        self.quiet = Signal(range(io.linger + 1))
        self.commit = Signal()
        self.flush = Signal()
        self.line_free = Signal()
        self.timer = Signal(range(io.timeout))

    def _know_due(self) -> None:
        """What is to be sent."""
        self.sends = Signal()
        self.sent = self.sends & self.line_free
        self.done_due = Signal()
        self.ack_due = Signal()
        #: Slots freed of which the host has not heard.
        self.fresh = Signal(range(self.io.slots + 2))
        #: One frame may go though the host has no room: perhaps it told, and that was lost.
        self.probe = Signal()
        self.could_send = Signal()
        #: As it was a cycle ago; no frame is begun so shortly after ``done``.
        self.can_send = Signal()
        self.was_done = Signal()
        self.send_done = Signal()
        self.send_data = Signal()
