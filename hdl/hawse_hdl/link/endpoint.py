"""The board's end of the link."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire.frame import FrameType

from hawse_hdl.layouts import BEAT, COMMAND

from .deframer import Deframer
from .framer import Framer
from .header import BEAT_WORDS, SLOT_WORDS, WORD

_BEATS = SLOT_WORDS // BEAT_WORDS


class Endpoint(wiring.Component):
    """Commands in and beats out over a line that may damage, lose and double bytes: docs/wire.md, Link.

    Frames wait in two memories of ``slots`` × 256 bytes, received commands in one, beats that the host
    has not acknowledged in the other. With 8 slots that is 4,096 bytes, one block RAM each on ECP5.
    A frame of fewer than 8 beats goes out once no beat has come for ``linger`` cycles and the line is free.

    Args:
        slots: frames that each memory holds; a power of two from 2 to 64.
        timeout: clock cycles with nothing to send and no progress, until unacknowledged frames go again.
        linger: longer than the commands of a frame are apart, so that their reports go in one frame.
        reset_cycles: how long ``reset`` is held.

    Latency: 12 cycles from the end of a frame to its first command; 14 + ``linger`` from a beat to its.
    Initiation interval: 1 byte a cycle on the line; a command every 12 cycles, a beat every 10 at most.
    Ordering: kept; every command and beat of an epoch exactly once.  Reset: epoch 0, memories of no interest.
    Back-pressure: ``rx`` never waits, a frame without a slot is dropped and comes again;
    beats wait when their memory is full of unacknowledged frames.
    """

    #: Bytes from and to the line.
    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))
    commands: Out(stream.Signature(COMMAND))
    beats: In(stream.Signature(BEAT))
    #: Epoch that the host began last, 0 without.
    epoch: Out(32)
    #: Resets what lies behind commands and beats; 1 for ``reset_cycles`` when an epoch begins.
    reset: Out(1)
    #: Nothing is received, sent or waiting, except for the host or the time-out.
    idle: Out(1)
    #: There are beats that the host has not acknowledged.
    unacked: Out(1)

    def __init__(
        self, *, slots: int = 8, timeout: int = 1 << 20, linger: int = 12, reset_cycles: int = 16
    ) -> None:
        if slots not in (2, 4, 8, 16, 32, 64):
            raise ValueError(f"slots: {slots} is not a power of two within 2..64")
        if min(timeout, linger, reset_cycles) < 1:
            raise ValueError(f"timeout {timeout}, linger {linger}, reset_cycles {reset_cycles}: one below 1")
        self._slots, self._timeout, self._linger, self._reset_cycles = slots, timeout, linger, reset_cycles
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        """Build it."""
        m = Module()
        m.submodules.deframer = deframer = Deframer()
        m.submodules.framer = framer = Framer()
        wiring.connect(m, deframer.rx, wiring.flipped(self.rx))
        wiring.connect(m, wiring.flipped(self.tx), framer.tx)

        slot_bits = (self._slots - 1).bit_length()
        lengths = data.ArrayLayout(range(_BEATS + 1), self._slots)  # in beats, of each slot
        header = deframer.header
        begins = Signal()  # an epoch begins: everything below starts afresh

        # Commands: slots [consumed, expected) are full, the next is being written.
        m.submodules.incoming = incoming = Memory(shape=WORD, depth=self._slots * SLOT_WORDS, init=[])
        store, load = incoming.write_port(), incoming.read_port()
        in_lengths = Signal(lengths)
        expected = Signal(16)
        consumed = Signal(slot_bits)
        held = Signal(range(self._slots + 1))
        room = Signal()  # as the frame began; a slot that is freed under it would hold half of it
        accept = Signal()
        free = Signal()
        with m.If(deframer.begin):
            m.d.sync += room.eq(held != self._slots)
        m.d.comb += [
            store.addr.eq(Cat(deframer.index, expected[:slot_bits])),
            store.data.eq(deframer.word),
            store.en.eq(deframer.write & room),
        ]
        m.d.sync += held.eq(held + accept - free)
        with m.If(accept):
            m.d.sync += expected.eq(expected + 1)
            m.d.sync += in_lengths[expected[:slot_bits]].eq(header.length[5:])

        command = Signal(WORD * BEAT_WORDS)
        word = Signal(range(BEAT_WORDS + 1))  # the next one to read of this command
        which = Signal(range(_BEATS))  # command of the slot
        reading = Signal()
        read = Signal()
        loaded = Signal(WORD, reset_less=True)  # block RAM answers late
        came = Signal()
        completes = Signal()
        full = Signal()
        taken = Signal()  # a cycle ago: what follows from it is not in the path of ``commands.ready``
        m.d.comb += [
            load.addr.eq(Cat(word[:3], which, consumed)),
            reading.eq((held != 0) & (word != BEAT_WORDS)),
            self.commands.valid.eq(full & ~taken),
            self.commands.payload.eq(command),
        ]
        m.d.sync += [
            read.eq(reading),
            came.eq(read),
            loaded.eq(load.data),
            completes.eq(word == BEAT_WORDS),
            word.eq(word + reading),
            taken.eq(self.commands.valid & self.commands.ready),
        ]
        with m.If(came):
            m.d.sync += [command.eq(Cat(command[WORD:], loaded)), full.eq(completes)]
        with m.If(taken):
            m.d.sync += [full.eq(0), word.eq(0), which.eq(which + 1)]
            with m.If(which + 1 == in_lengths[consumed]):
                m.d.comb += free.eq(1)
                m.d.sync += [which.eq(0), consumed.eq(consumed + 1)]

        # Beats: slots [base, tail) are full, and sent before ``next``; the slot at ``tail`` is being filled.
        m.submodules.outgoing = outgoing = Memory(shape=WORD, depth=self._slots * SLOT_WORDS, init=[])
        keep, fetch = outgoing.write_port(), outgoing.read_port()
        out_lengths = Signal(lengths)
        base = Signal(16)
        following = Signal(16)
        tail = Signal(16)
        limit = Signal(16)  # the host has room for frames before this one
        beat = Signal(WORD * BEAT_WORDS)
        part = Signal(range(BEAT_WORDS + 1), init=BEAT_WORDS)  # the next word of ``beat`` to keep
        filled = Signal(range(_BEATS))
        quiet = Signal(range(self._linger + 1))
        commit = Signal()
        flush = Signal()
        line_free = Signal()
        all_sent = Signal()  # as it was a cycle ago; when ``tail`` moves, nothing is filled
        keeping, space = part != BEAT_WORDS, (tail - base)[: slot_bits + 1] != self._slots
        # Computed a cycle before, so that no long path leads to who waits for it.
        opens = Signal()
        m.d.sync += [
            opens.eq(~keeping & space & ~flush & ~(self.beats.valid & self.beats.ready)),
            all_sent.eq(following == tail),
        ]
        m.d.comb += [
            self.beats.ready.eq(opens & ~self.reset),
            keep.addr.eq(Cat(part[:3], filled, tail[:slot_bits])),
            keep.data.eq(beat[:WORD]),
            keep.en.eq(keeping),
            commit.eq((part == BEAT_WORDS - 1) & (filled == _BEATS - 1)),
            flush.eq((quiet == self._linger) & (filled != 0) & all_sent & line_free),
        ]
        with m.If(keeping):
            m.d.sync += [beat.eq(beat >> WORD), part.eq(part + 1)]
            with m.If(part == BEAT_WORDS - 1):
                m.d.sync += filled.eq(filled + 1)
        with m.Elif(self.beats.valid & self.beats.ready):
            m.d.sync += [beat.eq(self.beats.payload), part.eq(0)]
        with m.If(keeping | self.beats.valid):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != self._linger):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(commit | (flush & ~keeping & ~self.beats.valid)):
            m.d.sync += [tail.eq(tail + 1), filled.eq(0)]
            m.d.sync += out_lengths[tail[:slot_bits]].eq(filled + keeping)

        # What to send next: RESET_DONE before DATA before ACK.
        sends = Signal()
        sent = sends & line_free
        done_due = Signal()
        ack_due = Signal()
        fresh = Signal(range(self._slots + 2))  # slots freed of which the host has not heard
        probe = Signal()  # one frame may go though the host has no room: perhaps it told, and that was lost
        could_send = Signal()
        can_send = Signal()  # as it was a cycle ago; no frame is begun so shortly after ``done``
        was_done = Signal()
        ahead = (limit - following)[:16]
        m.d.comb += could_send.eq((following != tail) & (((ahead != 0) & ~ahead[15]) | probe))
        send_done = Signal()  # likewise
        send_data = Signal()
        m.d.sync += [
            can_send.eq(could_send),
            send_done.eq(done_due & ~self.reset),
            was_done.eq(deframer.done),
        ]
        m.d.comb += [
            send_data.eq(can_send & ~send_done),
            sends.eq((send_done | send_data | ack_due) & ~deframer.done & ~was_done),
        ]
        # The header goes through a register, which is free if the framer was a cycle ago.
        frame = framer.frame.payload
        m.d.sync += [
            line_free.eq(framer.frame.ready & ~framer.frame.valid & ~sent),
            framer.frame.valid.eq(sent),
            frame.credits.eq(self._slots - held),
            frame.epoch.eq(self.epoch),
            frame.seq.eq(following),
            frame.ack.eq(expected),
            frame.length.eq(0),
        ]
        with m.If(send_done):
            m.d.sync += frame.type.eq(FrameType.RESET_DONE)
        with m.Elif(send_data):
            m.d.sync += frame.type.eq(FrameType.DATA)
            m.d.sync += frame.length[5:].eq(out_lengths[following[:slot_bits]])
        with m.Else():
            m.d.sync += frame.type.eq(FrameType.ACK)
        m.d.sync += fresh.eq(fresh + free)
        # A host short of credits hears of new ones, though nothing else is to be said.
        with m.If(fresh >= self._slots // 2):
            m.d.sync += ack_due.eq(1)
        with m.If(sent):
            m.d.sync += [fresh.eq(free), ack_due.eq(0)]
            with m.If(send_done):
                m.d.sync += done_due.eq(0)

        # Words of the frame on its way. Its slot may be acknowledged and filled anew while it is sent again;
        # the host then drops the mixture, which has an old number.
        origin = Signal(slot_bits)
        offset = Signal(range(SLOT_WORDS))
        fetched = Signal()
        m.d.comb += [
            fetch.addr.eq(Cat(offset, origin)),
            framer.words.payload.eq(fetch.data),
            framer.words.valid.eq(fetched),
        ]
        m.d.sync += fetched.eq(1)
        with m.If(framer.words.ready):
            m.d.sync += [offset.eq(offset + 1), fetched.eq(0)]
        with m.If(sent):
            m.d.sync += [origin.eq(following[:slot_bits]), offset.eq(0), fetched.eq(0)]

        timer = Signal(range(self._timeout))
        with m.If(sent & send_data):
            m.d.sync += [following.eq(following + 1), probe.eq(0), timer.eq(0)]
        with m.Elif(base == tail):
            m.d.sync += timer.eq(0)
        with m.Elif(line_free & ~can_send):
            m.d.sync += timer.eq(timer + 1)
            with m.If(timer == self._timeout - 1):
                m.d.sync += [timer.eq(0), following.eq(base), probe.eq(1)]

        # What came. The header has been stable long enough for these to lag by a cycle; no frame is begun in
        # the cycle of ``done``.
        above = Signal()
        same = Signal()
        in_order = Signal()
        advance = Signal(16)
        window = Signal(16)
        m.d.sync += [
            above.eq(header.epoch > self.epoch),
            same.eq(header.epoch == self.epoch),
            in_order.eq(header.seq == expected),
            advance.eq(header.ack - base),
            window.eq(tail - base),
        ]
        with m.If(deframer.done):
            with m.If(header.type == FrameType.RESET):
                m.d.comb += begins.eq(above)
                with m.If(above | same):
                    m.d.sync += done_due.eq(1)
                with m.Else():
                    m.d.sync += ack_due.eq(1)
            with m.Elif(~same | (self.epoch == 0)):
                m.d.sync += ack_due.eq(1)
            with m.Else():
                with m.If(advance <= window):
                    m.d.sync += [base.eq(header.ack), limit.eq(header.ack + header.credits)]
                    with m.If(advance != 0):
                        m.d.sync += timer.eq(0)
                    with m.If((following - base)[:16] < advance):
                        m.d.sync += following.eq(header.ack)
                with m.If(header.type == FrameType.DATA):
                    m.d.sync += ack_due.eq(1)
                    m.d.comb += accept.eq(in_order & room)

        resetting = Signal(range(self._reset_cycles))
        with m.If(self.reset):
            m.d.sync += [resetting.eq(resetting - 1), self.reset.eq(resetting != 0)]
        with m.If(begins):
            m.d.sync += [self.epoch.eq(header.epoch), limit.eq(header.credits)]
            m.d.sync += [resetting.eq(self._reset_cycles - 1), self.reset.eq(1)]
            fresh_start = (
                expected,
                consumed,
                held,
                word,
                which,
                read,
                came,
                full,
                taken,
                base,
                following,
                tail,
                filled,
            )
            m.d.sync += [register.eq(0) for register in (*fresh_start, taken, fresh, probe, timer, ack_due)]
            m.d.sync += part.eq(BEAT_WORDS)

        m.d.comb += [
            self.unacked.eq(base != tail),
            self.idle.eq(
                ~self.rx.valid
                & ~deframer.done
                & line_free
                & ~self.tx.valid
                & ~sends
                & ~could_send
                & ~was_done
                & ~done_due
                & (fresh < self._slots // 2)
                & (held == 0)
                & ~((filled != 0) & (following == tail))
                & ~keeping
                & ~self.beats.valid
            ),
        ]
        return m
