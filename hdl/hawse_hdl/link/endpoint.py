"""The board's end of the link."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hawse_hdl.layouts import BEAT, COMMAND

from . import receiving, sending
from .slots import Slots


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
        self.slots, self.timeout, self.linger, self.reset_cycles = slots, timeout, linger, reset_cycles
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        """Build it."""
        m = Module()
        slots = Slots(m, self)
        wiring.connect(m, slots.deframer.rx, wiring.flipped(self.rx))
        wiring.connect(m, wiring.flipped(self.tx), slots.framer.tx)
        receiving.keep_frame(slots)
        receiving.give_commands(slots)
        sending.take_beats(slots)
        sending.fill_slot(slots)
        sending.choose(slots)
        sending.send_header(slots)
        sending.acknowledge(slots)
        sending.send_words(slots)
        sending.send_again(slots)
        receiving.heed(slots)
        receiving.begin_epoch(slots)
        _know_idle(slots)
        return m


def _know_idle(s: Slots) -> None:
    """Whether anything waits."""
    m, io = s.m, s.io
    m.d.comb += [
        io.unacked.eq(s.base != s.tail),
        io.idle.eq(
            ~io.rx.valid
            & ~s.deframer.done
            & s.line_free
            & ~io.tx.valid
            & ~s.sends
            & ~s.could_send
            & ~s.was_done
            & ~s.done_due
            & (s.fresh < io.slots // 2)
            & (s.held == 0)
            & ~((s.filled != 0) & (s.following == s.tail))
            & ~s.keeping
            & ~io.beats.valid
        ),
    ]
