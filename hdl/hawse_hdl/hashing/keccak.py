"""Keccak-256, as the EVM uses it."""

from functools import reduce
from itertools import pairwise
from operator import xor

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .padding import RATE, Padding, Word

ROUNDS = 24

#: First byte lowest.
DIGEST = unsigned(256)

#: Bits of a round constant that are ever one.
IOTA_BITS = tuple(2**j - 1 for j in range(7))


def iota_constants() -> list[int]:
    """Round constants (FIPS 202, algorithm 5), each as the seven bits of :data:`IOTA_BITS`."""
    constants, lfsr = [], 1
    for _ in range(ROUNDS):
        bits = 0
        for j in range(7):
            bits |= (lfsr & 1) << j
            lfsr = (lfsr << 1) ^ (0x171 if lfsr & 0x80 else 0)
        constants.append(bits)
    return constants


def rotations_of_rho() -> dict[tuple[int, int], int]:
    """Offsets of rho (FIPS 202, algorithm 2) by lane (x, y)."""
    offsets, x, y = {(0, 0): 0}, 1, 0
    for t in range(ROUNDS):
        offsets[x, y] = (t + 1) * (t + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return offsets


class Keccak256(wiring.Component):
    """Keccak-256 of a stream of messages, with the original padding byte 0x01.

    A message is its words up to ``last``; an empty one is a single last word of no bytes. While a block is
    permuted, the next one shifts into its buffer, padded on the way. It is XORed into what comes out of the
    last round, where a gate has an input to spare; only the first one of a message takes a cycle for that.

    Latency: ``20 + 24 / rounds`` cycles from the first word of a message of one block to its digest.
    Initiation interval: a block every ``max(18, 24 / rounds)`` cycles, and one more for each message.
    Ordering: one digest a message, in order.
    Reset: forgets every message.
    Back-pressure: a digest that is not taken holds the last round of the next message, then its input.

    Args:
        rounds: rounds of the permutation in one cycle, a divisor of 24, at most 12.

    Raises:
        ValueError: ``rounds`` is none of these.
    """

    #: Words of the messages.
    i: In(stream.Signature(Word))
    #: Digests.
    o: Out(stream.Signature(DIGEST))

    def __init__(self, rounds: int = 1) -> None:
        if not 1 <= rounds < ROUNDS or ROUNDS % rounds:
            raise ValueError(f"rounds: {rounds} is not a divisor of {ROUNDS} below it")
        self.rounds = rounds
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        cycles = ROUNDS // self.rounds

        # Its register keeps who sends the message out of every path to the block.
        m.submodules.padding = padding = Padding()
        wiring.connect(m, wiring.flipped(self.i), padding.i)
        padded = padding.o.payload

        block = [Signal(64, name=f"block_{n}", reset_less=True) for n in range(RATE)]
        full = Signal()
        final = Signal()  # the full block ends its message
        load = Signal()  # the block leaves its buffer
        shift = padding.o.valid & padding.o.ready
        m.d.comb += padding.o.ready.eq(~full)
        with m.If(load):
            m.d.sync += full.eq(0)
        with m.If(shift):
            m.d.sync += [older.eq(newer) for older, newer in pairwise([*block, padded.data])]
            m.d.sync += [full.eq(padded.fills), final.eq(padded.finishes)]

        # A block is XORed into what comes out of the last round of the one before it. A message begins with a
        # cycle in which state and round constants are zero, so that the state becomes its first block.
        empty = Signal(init=1)
        # Registers of their own keep the decoding of the cycle out of the round.
        penultimate = Signal()
        last = Signal()
        cycle = Signal(range(cycles))
        following = Signal.like(cycle)
        loaded = Signal()  # a block waits to be XORed, in this cycle
        closing = Signal()  # the block in the state ends its message
        step = Signal()
        ending = Signal()  # the last round of a message is made
        constants = iota_constants()
        iota = [Signal(7, name=f"iota_{r}") for r in range(self.rounds)]
        m.d.comb += [
            following.eq(Mux(last | empty, 0, cycle + 1)),
            # Not ``o.ready``: a digest taken in the very last cycle is not worth the path.
            ending.eq(last & closing & ~self.o.valid),
            step.eq(Mux(empty | (last & ~closing), loaded, ~last | ending)),
        ]
        with m.If(step):
            m.d.sync += [
                empty.eq(ending),
                cycle.eq(following),
                penultimate.eq(following == cycles - 2),
                last.eq(following == cycles - 1),
            ]
            with m.Switch(cycle):  # sooner than on the next
                for c in range(1, cycles):
                    with m.Case(c - 1):
                        m.d.sync += [s.eq(constants[c * self.rounds + r]) for r, s in enumerate(iota)]
            with m.If(last | empty):
                m.d.sync += [s.eq(constants[r]) for r, s in enumerate(iota)]
            with m.If(ending):
                m.d.sync += [s.eq(0) for s in iota]

        # What is XORed: zero but for one cycle. Cleared by its reset, a register takes less than a gate, and
        # no time.
        given = [Signal(64, name=f"given_{n}", reset_less=True) for n in range(RATE)]
        m.d.comb += load.eq(
            full & ~loaded & Mux(last & closing, ending, empty | last | (penultimate & ~closing))
        )
        m.d.sync += loaded.eq(load)
        with m.If(load):
            m.d.sync += [g.eq(b) for g, b in zip(given, block, strict=True)]
        with m.Else():
            m.d.sync += [g.eq(0) for g in given]
        with m.If(loaded):
            m.d.sync += closing.eq(final)

        state = [Signal(64, name=f"lane_{n}", reset_less=True) for n in range(25)]
        lanes: list[Value] = list(state)
        for r in range(self.rounds):
            lanes = self._round(m, r, lanes, iota[r])
        lanes = [lane ^ given[n] if n < RATE else lane for n, lane in enumerate(lanes)]

        digest = Signal(DIGEST, reset_less=True)
        m.d.comb += self.o.payload.eq(digest)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            m.d.sync += [s.eq(lane) for s, lane in zip(state, lanes, strict=True)]
            with m.If(ending):
                m.d.sync += [self.o.valid.eq(1), digest.eq(Cat(lanes[:4]))]
        # To keep the flip-flops' reset free for this, the component's own clears the state a cycle later.
        stale = Signal(init=1)
        m.d.sync += stale.eq(0)
        with m.If(stale | ending):
            m.d.sync += [s.eq(0) for s in state]
        return m

    @staticmethod
    def _round(m: Module, r: int, lanes: list[Value], iota: Value) -> list[Value]:
        """Theta, rho, pi, chi and iota; lane (x, y) is element ``x + 5 * y``."""

        def named(name: str, values: list[Value]) -> list[Value]:
            signals = [Signal(64, name=f"{name}_{r}_{n}") for n in range(len(values))]
            m.d.comb += [s.eq(v) for s, v in zip(signals, values, strict=True)]
            return signals

        rotations = rotations_of_rho()
        lanes = named("in", lanes)
        parity = named("parity", [reduce(xor, lanes[x::5]) for x in range(5)])
        moved: list[Value] = [Value.cast(0)] * 25
        for y in range(5):
            for x in range(5):
                mixed = lanes[x + 5 * y] ^ parity[(x - 1) % 5] ^ parity[(x + 1) % 5].rotate_left(1)
                moved[y + 5 * ((2 * x + 3 * y) % 5)] = mixed.rotate_left(rotations[x, y])
        moved = named("moved", moved)
        out = named(
            "out",
            [
                moved[x + 5 * y] ^ (~moved[(x + 1) % 5 + 5 * y] & moved[(x + 2) % 5 + 5 * y])
                for y in range(5)
                for x in range(5)
            ],
        )
        constant = Signal(64, name=f"constant_{r}")
        m.d.comb += [constant[bit].eq(iota[j]) for j, bit in enumerate(IOTA_BITS)]
        return [out[0] ^ constant, *out[1:]]
