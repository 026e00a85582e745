import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped
from hawse_hdl.hashing.keccak import DIGEST, ROUNDS, Keccak256, iota_constants
from hawse_hdl.hashing.padding import RATE

# Lanes that are compared, and the bits of them that a round turns: as many as a round's constant has, and not
# a divisor of the number of rounds.
LANES = 2
BITS = 7


class TracedKeccak(Keccak256):
    """Keccak256 with a round that only turns the lowest bits of each lane and adds the round's constant.

    So what leaves tells which blocks went in, in which order, and how many rounds each of them saw.
    """

    @staticmethod
    def _round(m, r, lanes, iota):
        out = []
        for n, lane in enumerate(lanes):
            turned = Signal(64, name=f"turned_{r}_{n}")
            m.d.comb += turned.eq(lane[:BITS].rotate_left(1) ^ (iota if n == 0 else 0))
            out.append(turned)
        return out


def permuted(lane, n):
    """All rounds of :class:`TracedKeccak` at once."""
    constant = 0
    for bits in iota_constants():
        constant = (constant << 1 | constant >> BITS - 1) & (1 << BITS) - 1
        constant ^= bits
    return Cat(lane[:BITS].rotate_left(ROUNDS) ^ (constant if n == 0 else 0), Const(0, 64 - BITS))


class KeccakContract(wiring.Component):
    """Whatever comes in, with whatever stalls: digests are those of the messages, in order, and held."""

    #: One bit of a word; the others are zero and its bytes all or none, to keep the proof small.
    bit: In(1)
    empty: In(1)
    last: In(1)
    valid: In(1)
    o: Out(stream.Signature(DIGEST))

    def __init__(self, rounds, rate=RATE, messages=3):
        self.rounds = rounds
        self.rate = rate
        self.messages = messages
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        rate = self.rate
        m.d.comb += Assume(~ResetSignal())  # it begins as after a reset
        m.submodules.keccak = keccak = TracedKeccak(self.rounds)
        wiring.connect(m, keccak.o, flipped(self.o))

        given = keccak.i.payload
        m.d.comb += [
            given.data.eq(self.bit),
            given.bytes.eq(Mux(self.last & self.empty, 0, 8)),
            given.last.eq(self.last),
            keccak.i.valid.eq(self.valid),
        ]

        # The message as the rules see it: words as they are taken, padded, XORed into the state by place;
        # all rounds at once behind each block.
        state = [Signal(64, name=f"state_{n}") for n in range(LANES)]
        place = Signal(range(rate))
        count = Signal(range(self.messages + 1))  # messages that came in
        digests = [Signal(64 * LANES, name=f"digest_{k}") for k in range(self.messages)]
        taken = keccak.i.valid & keccak.i.ready
        word = Signal(64)
        mark = Signal(64)  # 0x01 behind the message's bytes, if in this word
        for n in range(8):
            m.d.comb += [
                word[8 * n : 8 * n + 8].eq(Mux(given.bytes > n, given.data[8 * n : 8 * n + 8], 0)),
                mark[8 * n].eq(given.last & (given.bytes == n)),
            ]
        spills = given.last & (given.bytes == 8)  # 0x01 is the first byte of the next word
        absorbed, extra = [], []
        for n in range(LANES):
            lane = Signal(64, name=f"absorbed_{n}")
            m.d.comb += lane.eq(
                state[n]
                ^ Mux(place == n, word | mark, 0)
                ^ Mux(spills & (place != rate - 1) & (place + 1 == n), 1, 0)
            )
            absorbed.append(lane)
            # A block of padding alone, behind a full last one.
            extra.append(permuted(lane, n) ^ (1 if n == 0 else 0))
        full = place == rate - 1
        digest = Cat(
            permuted(Mux(full & spills, e, a), n)
            for n, (a, e) in enumerate(zip(absorbed, extra, strict=True))
        )
        with m.If(taken):
            m.d.sync += place.eq(Mux(full | given.last, 0, place + 1))
            for n, (s, a) in enumerate(zip(state, absorbed, strict=True)):
                m.d.sync += s.eq(Mux(full, permuted(a, n), a))
            with m.If(given.last):
                m.d.sync += [s.eq(0) for s in state]
                m.d.sync += count.eq(count + 1)
                for k, kept in enumerate(digests):
                    with m.If(count == k):
                        m.d.sync += kept.eq(digest)
        m.d.comb += Assume((count < self.messages) | ~keccak.i.valid)

        out = Signal(range(self.messages + 1))
        offered = Signal()
        before = Signal(64 * LANES)
        m.d.sync += [offered.eq(self.o.valid & ~self.o.ready), before.eq(self.o.payload)]
        with m.If(offered):
            m.d.comb += [Assert(self.o.valid), Assert(self.o.payload[: 64 * LANES] == before)]
        with m.If(self.o.valid):
            m.d.comb += Assert(out < count)
            for k, kept in enumerate(digests):
                with m.If(out == k):
                    m.d.comb += Assert(self.o.payload[: 64 * LANES] == kept)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += out.eq(out + 1)
        m.d.comb += Cover(out == 2)
        return m


@pytest.fixture
def small_rate(monkeypatch):
    """Blocks of three words, so that a permutation may take longer than a block to come, as it does."""
    for module in ("keccak", "padding"):
        monkeypatch.setattr(f"hawse_hdl.hashing.{module}.RATE", 3)
    return 3


def test_messages_never_mix(unroll):
    """Through the first digest, while a second message comes in."""
    unroll(KeccakContract(12), 23)


def test_messages_of_small_blocks_never_mix(unroll, small_rate):
    unroll(KeccakContract(6, small_rate), 20)


@pytest.mark.slow
@pytest.mark.parametrize(("rounds", "depth"), [(12, 30), (6, 25), (3, 30)])
def test_messages_of_small_blocks_never_mix_for_long(unroll, small_rate, rounds, depth):
    unroll(KeccakContract(rounds, small_rate), depth)


@pytest.mark.slow
def test_messages_never_mix_for_long(unroll):
    unroll(KeccakContract(12), 32)


def test_two_digests_can_leave(solve, small_rate):
    solve(KeccakContract(12, small_rate), "cover", 20)
