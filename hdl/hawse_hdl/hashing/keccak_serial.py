"""Keccak-256 a lane at a time, for small devices."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .keccak import DIGEST, IOTA_BITS, ROUNDS, iota_constants, rotations_of_rho
from .padding import RATE, Padding, Word

_LANES = 25
#: Where theta, rho and pi put their lanes; chi and iota bring them back.
_MOVED = 32


class Keccak256Serial(wiring.Component):
    """Keccak-256 as :class:`Keccak256` does it, with the state in block RAM and one lane of it at work.

    A round is two passes over the lanes: theta, rho and pi move them to the other half of the memory, chi and
    iota move them back and take the parities of the columns for the next theta. Absorbing is a pass too.

    Latency: 1,627 cycles from the first word of a block to the digest.
    Initiation interval: 1,627 cycles for a block; 1,632 for the last one of a message.
    Ordering: one digest a message, in order.  Reset: forgets every message.
    Back-pressure: input waits while a block is permuted; a digest that is not taken holds the next one up.
    """

    #: Words of the messages.
    i: In(stream.Signature(Word))
    #: Digests.
    o: Out(stream.Signature(DIGEST))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.padding = padding = Padding()
        wiring.connect(m, wiring.flipped(self.i), padding.i)
        m.submodules.lanes = lanes = Memory(shape=unsigned(64), depth=2 * _MOVED, init=[])
        write, read = lanes.write_port(), lanes.read_port()
        rotations = rotations_of_rho()

        # A pass steps through the lanes: x and, five lanes apart, rows. Each lane goes through three stages:
        # it is read; combined; rotated and written.
        x = Signal(3)
        row = Signal(5)
        step = Signal()
        absorbing = Signal()
        chi = Signal()
        squeezing = Signal()
        fresh = Signal(init=1)  # the state is zero, whatever the memory holds
        finishes = Signal()  # the block in the state ends its message
        turn = Signal(range(ROUNDS))
        wrapped = x >= 5  # chi reads the first two lanes of a row again
        m.d.comb += [
            read.addr.eq(Mux(chi, _MOVED, 0) + row + Mux(wrapped, x - 5, x)),
            read.en.eq(step),
        ]
        ends_row = x == Mux(chi, 6, 4)
        ends_pass = step & ends_row & (row == _LANES - 5)
        with m.If(step):
            m.d.sync += x.eq(x + 1)
            with m.If(ends_row):
                m.d.sync += [x.eq(0), row.eq(Mux(row == _LANES - 5, 0, row + 5))]

        # Read, and where it came from.
        there = Signal()
        lane = Signal(5)
        of_absorb = Signal()
        of_chi = Signal()
        of_squeeze = Signal()
        skip = Signal()
        top_row = Signal()
        bare = Signal()
        word = Signal(64)
        iota = Signal(len(IOTA_BITS))
        m.d.sync += [
            there.eq(step),
            lane.eq(row + x - Mux(chi, 2, 0)),
            of_absorb.eq(absorbing),
            of_chi.eq(chi),
            of_squeeze.eq(squeezing),
            skip.eq(chi & (x < 2)),
            top_row.eq(row == 0),
            bare.eq(fresh),
        ]
        with m.If(chi & (row == 0) & (x == 2)), m.Switch(turn):
            for n, constant in enumerate(iota_constants()):
                with m.Case(n):
                    m.d.sync += iota.eq(constant)
        with m.Else():
            m.d.sync += iota.eq(0)

        # Combined.
        column = [Signal(64, name=f"column_{n}") for n in range(5)]  # parities, that of the lane's own first
        behind = [Signal(64, name=f"behind_{n}") for n in range(2)]  # lanes of the row, the older first
        constant = Signal(64)
        m.d.comb += [constant[bit].eq(iota[j]) for j, bit in enumerate(IOTA_BITS)]
        result = Signal(64)
        with m.If(of_absorb):
            m.d.comb += result.eq(Mux(bare, 0, read.data) ^ word)
        with m.Elif(of_chi):
            m.d.comb += result.eq(behind[0] ^ (~behind[1] & read.data) ^ constant)
        with m.Else():
            m.d.comb += result.eq(read.data ^ column[4] ^ column[1].rotate_left(1))
        with m.If(there):
            m.d.sync += [behind[0].eq(behind[1]), behind[1].eq(read.data)]
        with m.If(there & ~skip & ~of_squeeze):
            parity = Mux(top_row, 0, column[0]) ^ result
            m.d.sync += [a.eq(b) for a, b in pairwise(column)]
            m.d.sync += column[4].eq(Mux(of_absorb | of_chi, parity, column[0]))
        combined = Signal(64)
        amount = Signal(6)
        m.d.sync += [combined.eq(result), amount.eq(0), write.addr.eq(lane), write.en.eq(0)]
        with m.If(there & ~of_squeeze):
            m.d.sync += write.en.eq(~skip)
        with m.If(~of_absorb & ~of_chi), m.Switch(lane):
            for (at, y), offset in rotations.items():
                with m.Case(at + 5 * y):
                    m.d.sync += [
                        amount.eq(offset),
                        write.addr.eq(_MOVED + y + 5 * ((2 * at + 3 * y) % 5)),
                    ]

        # Rotated and written.
        rotated = combined
        for bit in range(6):
            rotated = Mux(amount[bit], rotated.rotate_left(1 << bit), rotated)
        m.d.comb += write.data.eq(rotated)

        with m.If(there & of_squeeze):
            m.d.sync += self.o.payload.eq(Cat(self.o.payload[64:], read.data))
            with m.If(lane == 3):
                m.d.sync += self.o.valid.eq(1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("absorb"):
                inner = row + x < RATE
                m.d.comb += [
                    absorbing.eq(1),
                    step.eq(padding.o.valid | ~inner),
                    padding.o.ready.eq(inner),
                ]
                m.d.sync += word.eq(Mux(inner, padding.o.payload.data, 0))
                with m.If(inner & padding.o.valid):
                    m.d.sync += finishes.eq(padding.o.payload.finishes)
                with m.If(ends_pass):
                    m.d.sync += fresh.eq(0)
                    m.next = "move"
            with m.State("move"):
                m.d.comb += step.eq(1)
                with m.If(ends_pass):
                    m.next = "chi"
            with m.State("chi"):
                m.d.comb += [chi.eq(1), step.eq(1)]
                with m.If(ends_pass):
                    m.next = "move"
                    m.d.sync += turn.eq(turn + 1)
                    with m.If(turn == ROUNDS - 1):
                        m.d.sync += turn.eq(0)
                        m.next = "absorb"
                        with m.If(finishes):
                            m.next = "squeeze"
            with m.State("squeeze"):
                m.d.comb += [squeezing.eq(1), step.eq(~self.o.valid | (x != 0))]
                with m.If(step & (x == 3)):
                    m.d.sync += [x.eq(0), fresh.eq(1)]
                    m.next = "absorb"
        return m
