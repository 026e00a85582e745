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
        lanes = _Pass(m, self)
        _step(lanes)
        _read(lanes)
        _combine(lanes)
        _move(lanes)
        _write(lanes)
        _give(lanes)
        with m.FSM():
            _absorb(lanes)
            _permute(lanes)
            _squeeze(lanes)
        return m


class _Pass:
    """A pass steps through the lanes: x and, five lanes apart, rows.

    Each lane goes through three stages: it is read; combined; rotated and written.
    """

    def __init__(self, m: Module, io: Keccak256Serial) -> None:
        self.m, self.io = m, io
        m.submodules.padding = self.padding = Padding()
        wiring.connect(m, wiring.flipped(io.i), self.padding.i)
        m.submodules.lanes = lanes = Memory(shape=unsigned(64), depth=2 * _MOVED, init=[])
        write, read = lanes.write_port(), lanes.read_port()
        self.write, self.read = write, read
        self.x = Signal(3)
        self.row = Signal(5)
        self.step = Signal()
        #: What the pass does: absorb, squeeze, chi and iota, or else theta, rho and pi.
        self.absorbing = Signal()
        self.chi = Signal()
        self.squeezing = Signal()
        #: The state is zero, whatever the memory holds.
        self.fresh = Signal(init=1)
        #: The block in the state ends its message.
        self.finishes = Signal()
        self.turn = Signal(range(ROUNDS))
        self.ends_row = self.x == Mux(self.chi, 6, 4)
        self.ends_pass = self.step & self.ends_row & (self.row == _LANES - 5)
        self._hold_lane()

    def _hold_lane(self) -> None:
        """The lane that was read, and where it came from."""
        self.there = Signal()
        self.lane = Signal(5)
        self.of_absorb = Signal()
        self.of_chi = Signal()
        self.of_squeeze = Signal()
        self.skip = Signal()
        self.top_row = Signal()
        self.bare = Signal()
        self.word = Signal(64)
        self.iota = Signal(len(IOTA_BITS))
        #: Parities, that of the lane's own column first.
        self.column = [Signal(64, name=f"column_{n}") for n in range(5)]
        #: Lanes of the row, the older first.
        self.behind = [Signal(64, name=f"behind_{n}") for n in range(2)]
        #: What the lane becomes, and a cycle later, by how much it is rotated then.
        self.result = Signal(64)
        self.combined = Signal(64)
        self.amount = Signal(6)


def _step(s: _Pass) -> None:
    """Read the next lane."""
    m = s.m
    wrapped = s.x >= 5  # chi reads the first two lanes of a row again
    m.d.comb += [
        s.read.addr.eq(Mux(s.chi, _MOVED, 0) + s.row + Mux(wrapped, s.x - 5, s.x)),
        s.read.en.eq(s.step),
    ]
    with m.If(s.step):
        m.d.sync += s.x.eq(s.x + 1)
        with m.If(s.ends_row):
            m.d.sync += [s.x.eq(0), s.row.eq(Mux(s.row == _LANES - 5, 0, s.row + 5))]


def _read(s: _Pass) -> None:
    """What is read, and where it came from."""
    m = s.m
    m.d.sync += [
        s.there.eq(s.step),
        s.lane.eq(s.row + s.x - Mux(s.chi, 2, 0)),
        s.of_absorb.eq(s.absorbing),
        s.of_chi.eq(s.chi),
        s.of_squeeze.eq(s.squeezing),
        s.skip.eq(s.chi & (s.x < 2)),
        s.top_row.eq(s.row == 0),
        s.bare.eq(s.fresh),
    ]
    with m.If(s.chi & (s.row == 0) & (s.x == 2)), m.Switch(s.turn):
        for n, constant in enumerate(iota_constants()):
            with m.Case(n):
                m.d.sync += s.iota.eq(constant)
    with m.Else():
        m.d.sync += s.iota.eq(0)


def _combine(s: _Pass) -> None:
    """Combine the lane with others."""
    m = s.m
    constant = Signal(64)
    m.d.comb += [constant[bit].eq(s.iota[j]) for j, bit in enumerate(IOTA_BITS)]
    with m.If(s.of_absorb):
        m.d.comb += s.result.eq(Mux(s.bare, 0, s.read.data) ^ s.word)
    with m.Elif(s.of_chi):
        m.d.comb += s.result.eq(s.behind[0] ^ (~s.behind[1] & s.read.data) ^ constant)
    with m.Else():
        m.d.comb += s.result.eq(s.read.data ^ s.column[4] ^ s.column[1].rotate_left(1))
    with m.If(s.there):
        m.d.sync += [s.behind[0].eq(s.behind[1]), s.behind[1].eq(s.read.data)]
    with m.If(s.there & ~s.skip & ~s.of_squeeze):
        parity = Mux(s.top_row, 0, s.column[0]) ^ s.result
        m.d.sync += [a.eq(b) for a, b in pairwise(s.column)]
        m.d.sync += s.column[4].eq(Mux(s.of_absorb | s.of_chi, parity, s.column[0]))


def _move(s: _Pass) -> None:
    """Where the lane goes, and by how much it is rotated."""
    m = s.m
    m.d.sync += [s.combined.eq(s.result), s.amount.eq(0), s.write.addr.eq(s.lane), s.write.en.eq(0)]
    with m.If(s.there & ~s.of_squeeze):
        m.d.sync += s.write.en.eq(~s.skip)
    with m.If(~s.of_absorb & ~s.of_chi), m.Switch(s.lane):
        for (at, y), offset in rotations_of_rho().items():
            with m.Case(at + 5 * y):
                m.d.sync += [
                    s.amount.eq(offset),
                    s.write.addr.eq(_MOVED + y + 5 * ((2 * at + 3 * y) % 5)),
                ]


def _write(s: _Pass) -> None:
    """Rotate and write."""
    m = s.m
    rotated = s.combined
    for bit in range(6):
        rotated = Mux(s.amount[bit], rotated.rotate_left(1 << bit), rotated)
    m.d.comb += s.write.data.eq(rotated)


def _give(s: _Pass) -> None:
    """A digest."""
    m, io = s.m, s.io
    with m.If(s.there & s.of_squeeze):
        m.d.sync += io.o.payload.eq(Cat(io.o.payload[64:], s.read.data))
        with m.If(s.lane == 3):
            m.d.sync += io.o.valid.eq(1)
    with m.If(io.o.valid & io.o.ready):
        m.d.sync += io.o.valid.eq(0)


def _absorb(s: _Pass) -> None:
    """A block is XORed into the state."""
    m = s.m
    with m.State("absorb"):
        inner = s.row + s.x < RATE
        m.d.comb += [
            s.absorbing.eq(1),
            s.step.eq(s.padding.o.valid | ~inner),
            s.padding.o.ready.eq(inner),
        ]
        m.d.sync += s.word.eq(Mux(inner, s.padding.o.payload.data, 0))
        with m.If(inner & s.padding.o.valid):
            m.d.sync += s.finishes.eq(s.padding.o.payload.finishes)
        with m.If(s.ends_pass):
            m.d.sync += s.fresh.eq(0)
            m.next = "move"


def _permute(s: _Pass) -> None:
    """The two passes of a round."""
    m = s.m
    with m.State("move"):
        m.d.comb += s.step.eq(1)
        with m.If(s.ends_pass):
            m.next = "chi"
    with m.State("chi"):
        m.d.comb += [s.chi.eq(1), s.step.eq(1)]
        with m.If(s.ends_pass):
            m.next = "move"
            m.d.sync += s.turn.eq(s.turn + 1)
            with m.If(s.turn == ROUNDS - 1):
                m.d.sync += s.turn.eq(0)
                m.next = "absorb"
                with m.If(s.finishes):
                    m.next = "squeeze"


def _squeeze(s: _Pass) -> None:
    """The first lanes are the digest."""
    m, io = s.m, s.io
    with m.State("squeeze"):
        m.d.comb += [s.squeezing.eq(1), s.step.eq(~io.o.valid | (s.x != 0))]
        with m.If(s.step & (s.x == 3)):
            m.d.sync += [s.x.eq(0), s.fresh.eq(1)]
            m.next = "absorb"
