"""Messages into padded blocks of Keccak-256."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

#: 64-bit words in a block: the rate of Keccak-256 is 1,088 bits.
RATE = 17


class Word(data.Struct):
    """Part of a message: eight bytes, first byte lowest. Only the last word may hold fewer, from 0 to 7."""

    data: 64
    bytes: range(9)
    last: 1


class Padded(data.Struct):
    """Part of a block of :data:`RATE` words."""

    data: 64
    #: The block ends.
    fills: 1
    #: The message ends with the block.
    finishes: 1


class Padding(wiring.Component):
    """Pads messages to whole blocks: the byte 0x01, as before SHA-3, zeros, and 0x80 in the last byte.

    Latency: 1 cycle.  Initiation interval: 1 word, those of the padding too.
    Ordering: kept.  Reset: between messages.  Back-pressure: passed on after one word.
    """

    #: Words of the messages.
    i: In(stream.Signature(Word))
    #: Words of their blocks.
    o: Out(stream.Signature(Padded))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        given = self.i.payload
        place = Signal(range(RATE))  # in the block
        padding = Signal()  # the message's own words are behind us
        marked = Signal()  # 0x01 is behind us
        marks = Signal()  # this word brings the 0x01
        ends = Signal()  # this word ends the padded message
        word = Signal(64)
        out = Signal(64, reset_less=True)
        fills = place == RATE - 1
        m.d.comb += [
            marks.eq(Mux(padding, ~marked, given.last & (given.bytes != 8))),
            ends.eq((marked | marks) & fills),
        ]
        for n in range(8):
            own = ~padding & (~given.last | (given.bytes > n))
            m.d.comb += word[8 * n : 8 * n + 8].eq(
                Mux(own, given.data[8 * n : 8 * n + 8], marks & (Mux(padding, 0, given.bytes) == n))
            )
        room = ~self.o.valid | self.o.ready
        there = self.i.valid | padding
        m.d.comb += [self.i.ready.eq(room & ~padding), self.o.payload.data.eq(out)]
        with m.If(room):
            m.d.sync += self.o.valid.eq(there)
        with m.If(room & there):
            m.d.sync += [
                out.eq(word | ends << 63),
                self.o.payload.fills.eq(fills),
                self.o.payload.finishes.eq(ends),
                place.eq(Mux(fills, 0, place + 1)),
                padding.eq((padding | given.last) & ~ends),
                marked.eq((marked | marks) & ~ends),
            ]
        return m
