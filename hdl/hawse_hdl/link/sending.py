"""What goes over the link: beats, again and again until the host has them, and acknowledgements."""

from amaranth.hdl import Cat, Signal
from hawse.wire.frame import FrameType

from .header import BEAT_WORDS, SLOT_WORDS, WORD
from .slots import BEATS, Slots


def take_beats(s: Slots) -> None:
    """Take a beat, if there is space; send what has come if nothing more does."""
    m, io = s.m, s.io
    opens = Signal()
    all_sent = Signal()  # as it was a cycle ago; when ``tail`` moves, nothing is filled
    space = (s.tail - s.base)[: s.slot_bits + 1] != io.slots
    # Computed a cycle before, so that no long path leads to who waits for it.
    m.d.sync += [
        opens.eq(~s.keeping & space & ~s.flush & ~(io.beats.valid & io.beats.ready)),
        all_sent.eq(s.following == s.tail),
    ]
    m.d.comb += [
        io.beats.ready.eq(opens & ~io.reset),
        s.keep.addr.eq(Cat(s.part[:3], s.filled, s.tail[: s.slot_bits])),
        s.keep.data.eq(s.beat[:WORD]),
        s.keep.en.eq(s.keeping),
        s.commit.eq((s.part == BEAT_WORDS - 1) & (s.filled == BEATS - 1)),
        s.flush.eq((s.quiet == io.linger) & (s.filled != 0) & all_sent & s.line_free),
    ]


def fill_slot(s: Slots) -> None:
    """Words of the beat, into the slot that is being filled."""
    m, io = s.m, s.io
    with m.If(s.keeping):
        m.d.sync += [s.beat.eq(s.beat >> WORD), s.part.eq(s.part + 1)]
        with m.If(s.part == BEAT_WORDS - 1):
            m.d.sync += s.filled.eq(s.filled + 1)
    with m.Elif(io.beats.valid & io.beats.ready):
        m.d.sync += [s.beat.eq(io.beats.payload), s.part.eq(0)]
    with m.If(s.keeping | io.beats.valid):
        m.d.sync += s.quiet.eq(0)
    with m.Elif(s.quiet != io.linger):
        m.d.sync += s.quiet.eq(s.quiet + 1)
    with m.If(s.commit | (s.flush & ~s.keeping & ~io.beats.valid)):
        m.d.sync += [s.tail.eq(s.tail + 1), s.filled.eq(0)]
        m.d.sync += s.out_lengths[s.tail[: s.slot_bits]].eq(s.filled + s.keeping)


def choose(s: Slots) -> None:
    """What to send next: RESET_DONE before DATA before ACK."""
    m, io = s.m, s.io
    ahead = (s.limit - s.following)[:16]
    m.d.comb += s.could_send.eq((s.following != s.tail) & (((ahead != 0) & ~ahead[15]) | s.probe))
    m.d.sync += [
        s.can_send.eq(s.could_send),
        s.send_done.eq(s.done_due & ~io.reset),
        s.was_done.eq(s.deframer.done),
    ]
    m.d.comb += [
        s.send_data.eq(s.can_send & ~s.send_done),
        s.sends.eq((s.send_done | s.send_data | s.ack_due) & ~s.deframer.done & ~s.was_done),
    ]


def send_header(s: Slots) -> None:
    """The header goes through a register, which is free if the framer was a cycle ago."""
    m, io = s.m, s.io
    frame = s.framer.frame.payload
    m.d.sync += [
        s.line_free.eq(s.framer.frame.ready & ~s.framer.frame.valid & ~s.sent),
        s.framer.frame.valid.eq(s.sent),
        frame.credits.eq(io.slots - s.held),
        frame.epoch.eq(io.epoch),
        frame.seq.eq(s.following),
        frame.ack.eq(s.expected),
        frame.length.eq(0),
    ]
    with m.If(s.send_done):
        m.d.sync += frame.type.eq(FrameType.RESET_DONE)
    with m.Elif(s.send_data):
        m.d.sync += frame.type.eq(FrameType.DATA)
        m.d.sync += frame.length[5:].eq(s.out_lengths[s.following[: s.slot_bits]])
    with m.Else():
        m.d.sync += frame.type.eq(FrameType.ACK)


def acknowledge(s: Slots) -> None:
    """A host short of credits hears of new ones, though nothing else is to be said."""
    m, io = s.m, s.io
    m.d.sync += s.fresh.eq(s.fresh + s.free)
    with m.If(s.fresh >= io.slots // 2):
        m.d.sync += s.ack_due.eq(1)
    with m.If(s.sent):
        m.d.sync += [s.fresh.eq(s.free), s.ack_due.eq(0)]
        with m.If(s.send_done):
            m.d.sync += s.done_due.eq(0)


def send_words(s: Slots) -> None:
    """Words of the frame on its way.

    Its slot may be acknowledged and filled anew while it is sent again; the host then drops the mixture,
    which has an old number.
    """
    m = s.m
    origin = Signal(s.slot_bits)
    offset = Signal(range(SLOT_WORDS))
    fetched = Signal()
    m.d.comb += [
        s.fetch.addr.eq(Cat(offset, origin)),
        s.framer.words.payload.eq(s.fetch.data),
        s.framer.words.valid.eq(fetched),
    ]
    m.d.sync += fetched.eq(1)
    with m.If(s.framer.words.ready):
        m.d.sync += [offset.eq(offset + 1), fetched.eq(0)]
    with m.If(s.sent):
        m.d.sync += [origin.eq(s.following[: s.slot_bits]), offset.eq(0), fetched.eq(0)]


def send_again(s: Slots) -> None:
    """Go back to the last frame acknowledged when the host has not been heard for long."""
    m, io = s.m, s.io
    with m.If(s.sent & s.send_data):
        m.d.sync += [s.following.eq(s.following + 1), s.probe.eq(0), s.timer.eq(0)]
    with m.Elif(s.base == s.tail):
        m.d.sync += s.timer.eq(0)
    with m.Elif(s.line_free & ~s.can_send):
        m.d.sync += s.timer.eq(s.timer + 1)
        with m.If(s.timer == io.timeout - 1):
            m.d.sync += [s.timer.eq(0), s.following.eq(s.base), s.probe.eq(1)]
