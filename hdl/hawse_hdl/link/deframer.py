"""Bytes to frames."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from hawse.wire.frame import MAX_PAYLOAD, FrameType
from hawse.wire.probe import QUESTION

from .header import CRC, CRC_BYTES, ESCAPE, FLAG, FLIP, HEADER, HEADER_BYTES, SLOT_WORDS, WORD


class Deframer(wiring.Component):
    """Takes frames out of a byte stream: removes the stuffing, checks CRC, length and type.

    Args:
        probe: take questions to a :class:`.Probe`, and nothing of the link.

    The payload leaves word by word while the CRC is still unknown; ``done`` says that the frame counts.

    Latency: ``done`` comes 1 cycle after the flag that ends the frame.  Initiation interval: 1 byte a cycle.
    Ordering: ``begin``, then ``write`` for each word, then ``done`` or nothing.  Reset: in search of a flag.
    Back-pressure: none, every byte is taken at once.
    """

    #: Bytes from the line.
    rx: In(stream.Signature(8))
    #: Header of the frame; holds from ``begin`` to ``done``.
    header: Out(HEADER)
    #: Strobe: the header is complete, the payload follows.
    begin: Out(1)
    #: Strobe: ``word`` is word number ``index`` of the payload.
    write: Out(1)
    index: Out(range(SLOT_WORDS))
    word: Out(WORD)
    #: Strobe: the frame was whole.
    done: Out(1)

    def __init__(self, *, probe: bool = False) -> None:
        self._probe = probe
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        """Build it."""
        m = Module()
        m.submodules.crc = crc = CRC.create()

        longest = HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES
        count = Signal(range(longest + 2))  # bytes since the flag; stops above the longest frame
        heading = Signal(init=1)  # the header is not complete
        escaped = Signal()
        broken = Signal()  # an escape before a byte that needs none
        raw = Signal(8)
        take = Signal()
        last = Signal(WORD - 8)  # the three bytes before this one
        length, position = self.header.length, count >> 2
        shape = Signal()

        m.d.comb += [
            self.rx.ready.eq(1),
            raw.eq(self.rx.payload ^ Mux(escaped, FLIP, 0)),
            crc.data.eq(raw),
            crc.valid.eq(take),
            self.word.eq(Cat(last, raw)),
            self.index.eq(position - HEADER_BYTES // 4),
            self.write.eq(take & (count[:2] == 3) & ~heading & (position < length[2:] + HEADER_BYTES // 4)),
        ]
        # The header is older than the CRC that follows it, so these may lag by a cycle.
        m.d.sync += [
            shape.eq(_is_question(self.header) if self._probe else _is_of_link(self.header)),
            self.begin.eq(take & (count == HEADER_BYTES - 1)),
            self.done.eq(0),
        ]
        with m.If(self.rx.valid):
            with m.If(self.rx.payload == FLAG):
                whole = count == length[: len(count)] + (HEADER_BYTES + CRC_BYTES)
                m.d.sync += self.done.eq(whole & shape & crc.match_detected & ~escaped & ~broken)
                m.d.sync += [count.eq(0), heading.eq(1), escaped.eq(0), broken.eq(0)]
                m.d.comb += crc.start.eq(1)
            with m.Elif(self.rx.payload == ESCAPE):
                m.d.sync += [escaped.eq(1), broken.eq(broken | escaped)]
            with m.Else():
                m.d.comb += take.eq(1)
                m.d.sync += escaped.eq(0)
                m.d.sync += broken.eq(broken | (escaped & (raw != FLAG) & (raw != ESCAPE)))
        with m.If(take):
            m.d.sync += last.eq(Cat(last[8:], raw))
            with m.If(count <= longest):
                m.d.sync += count.eq(count + 1)
            with m.If(count == HEADER_BYTES - 1):
                m.d.sync += heading.eq(0)
            with m.If(heading):
                m.d.sync += self.header.as_value().eq(Cat(self.header.as_value()[8:], raw))
        return m


def _is_of_link(header: Any) -> Value:
    """Type and length go together."""
    length = header.length
    return (
        (length[:5] == 0)
        & (length <= MAX_PAYLOAD)
        & Mux(
            header.type == FrameType.DATA,
            length != 0,
            (header.type <= FrameType.RESET_DONE) & (length == 0),
        )
    )


def _is_question(header: Any) -> Value:
    """The same, of a question: one word or more."""
    length = header.length
    return (header.type == QUESTION) & (length[:2] == 0) & (length != 0) & (length <= MAX_PAYLOAD)
