import random
from itertools import pairwise

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from hawse_hdl.hashing import Keccak256, Keccak256Serial
from tiny_keccak import keccak256

BLOCK = 136
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")  # of refused parameters


def words(message, rng=None):
    """Payloads of a message; ``rng`` fills the bytes that are not valid, and may end on a word of none."""
    pieces = [message[at : at + 8] for at in range(0, len(message), 8)]
    if not pieces or (rng and len(pieces[-1]) == 8 and rng.random() < 0.5):
        pieces.append(b"")
    out = []
    for n, piece in enumerate(pieces):
        filler = rng.randbytes(8 - len(piece)) if rng else bytes(8 - len(piece))
        value = int.from_bytes(piece + filler, "little")
        out.append(value | len(piece) << 64 | (n == len(pieces) - 1) << 68)
    return out


def check(transfer, component, messages, *, stalls=(0.0, 0.0), seed=0):
    rng = random.Random(seed)
    payloads = [word for message in messages for word in words(message, rng)]
    digests = transfer(component, payloads, len(messages), stalls=stalls, seed=seed)
    assert [d.to_bytes(32, "little") for d in digests] == [keccak256(m) for m in messages]


def test_rounds_must_divide_24():
    for rounds in (0, -1, 5, 24, 48):
        with pytest.raises(ValueError, match="rounds"):
            Keccak256(rounds)


@pytest.mark.parametrize("core", [Keccak256, Keccak256Serial])
def test_lengths(transfer, core):
    rng = random.Random(1)
    lengths = range(4 * BLOCK + 1)
    if core is Keccak256Serial or not transfer.bulk:
        near = {b * BLOCK + d for b in range(5) for d in (-9, -8, -7, -1, 0, 1, 8)}
        lengths = sorted(n for n in near if 0 <= n <= 4 * BLOCK)
    check(transfer, core(), [rng.randbytes(n) for n in lengths])


@pytest.mark.parametrize("simulator", ["amaranth"])
@pytest.mark.parametrize("rounds", [2, 3, 4, 6, 8, 12])
def test_rounds_per_cycle(transfer, rounds):
    rng = random.Random(rounds)
    check(transfer, Keccak256(rounds), [rng.randbytes(n) for n in (0, 1, 135, 136, 137, 271, 272, 300)])


@pytest.mark.parametrize("core", [Keccak256, Keccak256Serial])
@pytest.mark.parametrize("stalls", [(0.5, 0.0), (0.0, 0.99), (0.6, 0.97)])
def test_stalls(transfer, core, stalls):
    seed = random.getrandbits(32)
    print("seed", seed)
    rng = random.Random(seed)
    messages = [rng.randbytes(rng.randrange(300)) for _ in range(200 if transfer.bulk else 25)]
    if core is Keccak256Serial:
        del messages[20 if transfer.bulk else 5 :]
    check(transfer, core(), messages, stalls=stalls, seed=seed)


@pytest.mark.parametrize(("rounds", "interval"), [(1, 24), (2, 18)])
def test_no_dead_cycle_between_blocks_of_a_message_and_one_a_message(rounds, interval):
    """Blocks follow each other at the initiation interval; a message takes one more, if that shows."""
    component = Keccak256(rounds)
    messages = [bytes(BLOCK * 3 - 1), bytes(10), bytes(BLOCK - 1), bytes(BLOCK)]
    blocks = [len(m) // BLOCK + 1 for m in messages]
    at = []

    async def source(ctx):
        ctx.set(component.i.valid, 1)
        for message in messages:
            for word in words(message):
                ctx.set(component.i.payload, component.i.payload.shape().from_bits(word))
                await ctx.tick().until(component.i.ready)
        ctx.set(component.i.valid, 0)

    async def sink(ctx):
        ctx.set(component.o.ready, 1)
        cycle = 0
        while len(at) < len(messages):
            _, _, valid = await ctx.tick().sample(component.o.valid)
            if valid:
                at.append(cycle)
            cycle += 1

    sim = Simulator(component)
    sim.add_clock(1e-6)
    sim.add_testbench(source)
    sim.add_testbench(sink)
    sim.run()
    assert [after - before for before, after in pairwise(at)] == [
        interval * b + (interval == 24 // rounds) for b in blocks[1:]
    ]
    assert at[0] == 20 + interval * (blocks[0] - 1) + 24 // rounds


@pytest.mark.parametrize(
    ("core", "cycles"), [(Keccak256, range(1, 60, 7)), (Keccak256Serial, (1, 10, 40, 700, 1620, 1700))]
)
def test_reset_at_any_moment(core, cycles):
    """Also in the middle of a permutation: what was before it leaves no trace."""
    component, reset = core(), Signal()
    rng = random.Random(5)

    async def send(ctx, message):
        for word in words(message):
            ctx.set(component.i.payload, component.i.payload.shape().from_bits(word))
            ctx.set(component.i.valid, 1)
            await ctx.tick().until(component.i.ready)
            ctx.set(component.i.valid, 0)

    async def testbench(ctx):
        for wait in cycles:
            await send(ctx, rng.randbytes(rng.randrange(130)))
            await ctx.tick().repeat(wait)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            message = rng.randbytes(150)
            await send(ctx, message)
            for _ in range(5000):
                _, _, valid, digest = await ctx.tick().sample(component.o.valid, component.o.payload)
                if valid:
                    break
            assert digest.to_bytes(32, "little") == keccak256(message)
            ctx.set(component.o.ready, 1)
            await ctx.tick()
            ctx.set(component.o.ready, 0)
            assert not ctx.get(component.o.valid)

    sim = Simulator(ResetInserter(reset)(component))
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["verilator"])
def test_long_messages(transfer):
    rng = random.Random(3)
    check(transfer, Keccak256(), [rng.randbytes(n) for n in (1 << 21, 5, (1 << 22) + 135)])
