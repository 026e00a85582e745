"""Frames to bytes."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .header import CRC, CRC_BYTES, ESCAPE, FLAG, FLIP, HEADER, HEADER_BYTES, SLOT_WORDS, WORD


class Framer(wiring.Component):
    """Puts frames on a byte stream: flag, header, payload, CRC, flag, with stuffing.

    Latency: 2 cycles from header to first byte.  Initiation interval: 1 byte a cycle, and 1 cycle a frame.
    Ordering: kept.  Reset: idle; a frame on its way is cut off.
    Back-pressure: ``frame.ready`` is low while a frame is sent; a word of payload must follow every 4 bytes,
    else the line waits.
    """

    #: Header of a frame to send.
    frame: In(stream.Signature(HEADER))
    #: Its payload, ``length / 4`` words.
    words: In(stream.Signature(WORD))
    #: Bytes to the line.
    tx: Out(stream.Signature(8))

    def elaborate(self, platform: Any) -> Module:
        """Build it."""
        m = Module()
        m.submodules.crc = crc = CRC.create()

        shift = Signal(8 * HEADER_BYTES)  # header, then one word of payload after another
        left = Signal(range(HEADER_BYTES + 1))  # bytes in it
        words = Signal(range(SLOT_WORDS + 1))  # words to come
        at = Signal(range(CRC_BYTES))

        # The byte that leaves next, from a register.
        out = Signal(8)
        special = Signal()  # it needs an escape
        escaped = Signal()  # which has left
        goes = Signal()
        with m.If(special & ~escaped):
            m.d.comb += self.tx.payload.eq(ESCAPE)
        with m.Else():
            m.d.comb += self.tx.payload.eq(out ^ Mux(escaped, FLIP, 0))
        m.d.comb += goes.eq(self.tx.ready & ~(special & ~escaped))
        with m.If(self.tx.valid & self.tx.ready):
            m.d.sync += escaped.eq(special & ~escaped)

        # The byte that comes to it.
        byte = Signal(8)
        gives = Signal()
        gone = Signal()
        is_flag = Signal()
        m.d.comb += [gone.eq(gives & (~self.tx.valid | goes)), crc.data.eq(byte), byte.eq(shift[:8])]
        with m.If(~self.tx.valid | goes):
            m.d.sync += [
                self.tx.valid.eq(gives),
                out.eq(Mux(is_flag, FLAG, byte)),
                special.eq(~is_flag & ((byte == FLAG) | (byte == ESCAPE))),
            ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.frame.ready.eq(1), crc.start.eq(1)]
                m.d.sync += [
                    shift.eq(self.frame.payload),
                    left.eq(HEADER_BYTES),
                    words.eq(self.frame.payload.length[2:]),
                ]
                with m.If(self.frame.valid):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += [gives.eq(1), is_flag.eq(1)]
                with m.If(gone):
                    m.next = "BYTES"
            with m.State("BYTES"):
                m.d.comb += [gives.eq(left != 0), crc.valid.eq(gone)]
                with m.If(gone):
                    m.d.sync += [shift.eq(shift >> 8), left.eq(left - 1)]
                with m.If((left == 0) | ((left == 1) & gone)):
                    with m.If(words == 0):
                        m.next = "CRC"
                    with m.Elif(self.words.valid):
                        m.d.comb += self.words.ready.eq(1)
                        m.d.sync += [shift.eq(self.words.payload), left.eq(WORD // 8), words.eq(words - 1)]
            with m.State("CRC"):
                m.d.comb += [gives.eq(1), byte.eq(crc.crc.word_select(at, 8))]
                with m.If(gone):
                    m.d.sync += at.eq(at + 1)
                    with m.If(at == CRC_BYTES - 1):
                        m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [gives.eq(1), is_flag.eq(1)]
                with m.If(gone):
                    m.next = "IDLE"
        return m
