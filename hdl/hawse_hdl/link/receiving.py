"""What comes over the link: commands, and what the host has heard and has room for."""

from amaranth.hdl import Cat, Signal
from hawse.wire.frame import FrameType

from .header import BEAT_WORDS, WORD
from .slots import Slots


def keep_frame(s: Slots) -> None:
    """Commands of a frame, while it comes; they count once it is accepted."""
    m, io = s.m, s.io
    with m.If(s.deframer.begin):
        m.d.sync += s.room.eq(s.held != io.slots)
    m.d.comb += [
        s.store.addr.eq(Cat(s.deframer.index, s.expected[: s.slot_bits])),
        s.store.data.eq(s.deframer.word),
        s.store.en.eq(s.deframer.write & s.room),
    ]
    m.d.sync += s.held.eq(s.held + s.accept - s.free)
    with m.If(s.accept):
        m.d.sync += s.expected.eq(s.expected + 1)
        m.d.sync += s.in_lengths[s.expected[: s.slot_bits]].eq(s.header.length[5:])


def give_commands(s: Slots) -> None:
    """Commands, in order."""
    m, io = s.m, s.io
    command = Signal(WORD * BEAT_WORDS)
    reading = Signal()
    loaded = Signal(WORD, reset_less=True)  # block RAM answers late
    completes = Signal()
    m.d.comb += [
        s.load.addr.eq(Cat(s.word[:3], s.which, s.consumed)),
        reading.eq((s.held != 0) & (s.word != BEAT_WORDS)),
        io.commands.valid.eq(s.full & ~s.taken),
        io.commands.payload.eq(command),
    ]
    m.d.sync += [
        s.read.eq(reading),
        s.came.eq(s.read),
        loaded.eq(s.load.data),
        completes.eq(s.word == BEAT_WORDS),
        s.word.eq(s.word + reading),
        s.taken.eq(io.commands.valid & io.commands.ready),
    ]
    with m.If(s.came):
        m.d.sync += [command.eq(Cat(command[WORD:], loaded)), s.full.eq(completes)]
    with m.If(s.taken):
        m.d.sync += [s.full.eq(0), s.word.eq(0), s.which.eq(s.which + 1)]
        with m.If(s.which + 1 == s.in_lengths[s.consumed]):
            m.d.comb += s.free.eq(1)
            m.d.sync += [s.which.eq(0), s.consumed.eq(s.consumed + 1)]


def heed(s: Slots) -> None:
    """What came. The header has been stable long enough for these to lag by a cycle; no frame is begun in
    the cycle of ``done``.
    """
    m, io = s.m, s.io
    above = Signal()
    same = Signal()
    in_order = Signal()
    advance = Signal(16)
    window = Signal(16)
    m.d.sync += [
        above.eq(s.header.epoch > io.epoch),
        same.eq(s.header.epoch == io.epoch),
        in_order.eq(s.header.seq == s.expected),
        advance.eq(s.header.ack - s.base),
        window.eq(s.tail - s.base),
    ]
    with m.If(s.deframer.done):
        with m.If(s.header.type == FrameType.RESET):
            m.d.comb += s.begins.eq(above)
            with m.If(above | same):
                m.d.sync += s.done_due.eq(1)
            with m.Else():
                m.d.sync += s.ack_due.eq(1)
        with m.Elif(~same | (io.epoch == 0)):
            m.d.sync += s.ack_due.eq(1)
        with m.Else():
            with m.If(advance <= window):
                m.d.sync += [s.base.eq(s.header.ack), s.limit.eq(s.header.ack + s.header.credits)]
                with m.If(advance != 0):
                    m.d.sync += s.timer.eq(0)
                with m.If((s.following - s.base)[:16] < advance):
                    m.d.sync += s.following.eq(s.header.ack)
            with m.If(s.header.type == FrameType.DATA):
                m.d.sync += s.ack_due.eq(1)
                m.d.comb += s.accept.eq(in_order & s.room)


def begin_epoch(s: Slots) -> None:
    """Begin with nothing, and reset what lies behind."""
    m, io = s.m, s.io
    resetting = Signal(range(io.reset_cycles))
    with m.If(io.reset):
        m.d.sync += [resetting.eq(resetting - 1), io.reset.eq(resetting != 0)]
    with m.If(s.begins):
        m.d.sync += [io.epoch.eq(s.header.epoch), s.limit.eq(s.header.credits)]
        m.d.sync += [resetting.eq(io.reset_cycles - 1), io.reset.eq(1)]
        fresh_start = (
            s.expected,
            s.consumed,
            s.held,
            s.word,
            s.which,
            s.read,
            s.came,
            s.full,
            s.taken,
            s.base,
            s.following,
            s.tail,
            s.filled,
        )
        m.d.sync += [
            register.eq(0) for register in (*fresh_start, s.taken, s.fresh, s.probe, s.timer, s.ack_due)
        ]
        m.d.sync += s.part.eq(BEAT_WORDS)
