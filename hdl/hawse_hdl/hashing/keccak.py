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
    permuted, the next one shifts into its buffer, padded on the way. It is XORed into the state in
    front of the first round, so that loading takes no cycle of its own.

    Latency: ``19 + 24 / rounds`` cycles from the first word of a block to the digest.
    Initiation interval: a block every ``max(17, 24 / rounds)`` cycles, across messages too.
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
        m.d.comb += padding.o.ready.eq(~full | load)
        with m.If(load):
            m.d.sync += full.eq(0)
        with m.If(shift):
            m.d.sync += [older.eq(newer) for older, newer in pairwise([*block, padded.data])]
            m.d.sync += [full.eq(padded.fills), final.eq(padded.finishes)]

        cycle = Signal(range(cycles))
        following = Signal.like(cycle)
        m.d.comb += following.eq(Mux(cycle == cycles - 1, 0, cycle + 1))
        # Registers of their own keep the decoding of the cycle out of the round.
        first = Signal(init=1)
        last = Signal()
        constants = iota_constants()
        iota = [Signal(7, name=f"iota_{r}", init=constants[r]) for r in range(self.rounds)]
        loaded = Signal()  # a block is in front of its first round
        closing = Signal()  # the block in the state ends its message
        ending = Signal()  # the last round of a message
        step = Signal()
        m.d.comb += [
            ending.eq(last & closing),
            # Not ``o.ready``: a digest taken in the very last cycle is not worth the path.
            step.eq(Mux(first, loaded, ~(ending & self.o.valid))),
            load.eq(full & Mux(first, ~loaded, last & ~(ending & self.o.valid))),
        ]
        with m.If(step):
            m.d.sync += [cycle.eq(following), first.eq(following == 0), last.eq(following == cycles - 1)]
            with m.Switch(following):
                for c in range(cycles):
                    with m.Case(c):
                        m.d.sync += [s.eq(constants[c * self.rounds + r]) for r, s in enumerate(iota)]

        # What the state is XORed with: a block in front of the first round, zero in front of all others. A
        # register cleared by its reset takes less than a gate in front of the round, and no time.
        given = [Signal(64, name=f"given_{n}", reset_less=True) for n in range(RATE)]
        m.d.sync += loaded.eq(load)
        with m.If(load):
            m.d.sync += closing.eq(final)
            m.d.sync += [g.eq(b) for g, b in zip(given, block, strict=True)]
        with m.Else():
            m.d.sync += [g.eq(0) for g in given]

        state = [Signal(64, name=f"lane_{n}", reset_less=True) for n in range(25)]
        lanes: list[Value] = [lane ^ given[n] if n < RATE else lane for n, lane in enumerate(state)]
        for r in range(self.rounds):
            lanes = self._round(m, r, lanes, iota[r])

        digest = Signal(DIGEST, reset_less=True)
        m.d.comb += self.o.payload.eq(digest)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            m.d.sync += [s.eq(lane) for s, lane in zip(state, lanes, strict=True)]
            with m.If(ending):
                m.d.sync += self.o.valid.eq(1)
                m.d.sync += digest.eq(Cat(lanes[:4]))
        # Cleared by the flip-flops' reset, the state needs no multiplexer in front of the first round. To
        # keep that free, a reset of the component clears it a cycle later.
        stale = Signal(init=1)
        m.d.sync += stale.eq(0)
        with m.If(stale | (step & ending)):
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
