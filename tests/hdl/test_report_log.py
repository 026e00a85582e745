import random

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from hawse.commit.reportlog import ReportLog as Model
from hawse.wire import BEAT_BYTES, Kind
from hawse.wire.dtypes import BATCH, FENCE, HELLO, REPORT, RESTING
from hawse_hdl.hashing import CORES, ReportLog

EPOCH = 0x89ABCDEF
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")  # of refused parameters


class Flow:
    """Beats of a book, and what the model makes of them."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.model = Model()
        self.sent, self.expected = [], []

    def _beat(self, dtype, kind):
        beat = np.frombuffer(bytearray(self.rng.randbytes(BEAT_BYTES)), dtype)
        beat["kind"] = kind
        return beat

    def _pass(self, dtype, kind):
        beat = self._beat(dtype, kind)
        self.sent.append(beat.tobytes())
        self.expected.append(beat.tobytes())
        return beat

    def records(self, count):
        for _ in range(count):
            kind = self.rng.randrange(5) | self.rng.randrange(4) << 4
            self.model.append(self._pass(REPORT, kind).tobytes()[:24])

    def others(self):
        self._pass(RESTING, Kind.RESTING)
        self._pass(HELLO, Kind.HELLO)
        # A BUILD behind it, whose first byte may look like any kind.
        self._pass(HELLO, self.rng.choice([*Kind, self.rng.randrange(256)]))

    def _stop(self, dtype, kind, own):
        beat = self._beat(dtype, kind)
        for name in dtype.names:
            if name not in ("kind", *own):
                beat[name] = 0
        self.sent.append(beat.tobytes())
        return beat

    def fence(self):
        beat = self._stop(FENCE, Kind.FENCE, ("token", "commands"))
        digest = self.model.fence(EPOCH)
        beat["records"], beat["epoch"] = self.model.records, EPOCH
        self.expected += [beat.tobytes(), digest]

    def close(self, *, fence=True):
        if fence:
            self.fence()
        beat = self._stop(BATCH, Kind.BATCH, ("token",))
        root, beat["leaves"], beat["records"] = self.model.close()
        beat["epoch"] = EPOCH
        self.expected += [beat.tobytes(), root]

    def run(self, transfer, component, stalls=(0.0, 0.0)):
        payloads = [int.from_bytes(b, "little") for b in self.sent]
        seed = self.rng.getrandbits(32)
        received = transfer(component, payloads, len(self.expected), stalls=stalls, seed=seed, epoch=EPOCH)
        assert [b.to_bytes(BEAT_BYTES, "little").hex() for b in received] == [b.hex() for b in self.expected]


# Two cores have the tightest queues, so that everything holds up everything.
LOGS = {1: {}, 2: dict(depth=5, beats=4, fences=1), CORES: {}}
SLOW = [pytest.param("verilator", cores, marks=pytest.mark.slow) for cores in (1, CORES)]
RIGS = [("amaranth", 1), ("verilator", 2), *SLOW]
on_every_rig = pytest.mark.parametrize(("simulator", "cores"), RIGS)


def log(cores):
    return ReportLog(cores, **LOGS[cores])


@pytest.mark.parametrize("bad", [dict(depth=3), dict(beats=3), dict(cores=0), dict(fences=0), dict(rounds=5)])
def test_parameters_are_checked(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ReportLog(**bad)


@on_every_rig
def test_empty_batches_and_one_record(transfer, cores):
    flow = Flow(1)
    flow.close()
    flow.close()
    flow.others()
    flow.records(1)
    flow.close()
    flow.close(fence=False)
    flow.records(2)
    flow.close(fence=False)  # the book always fences first; the log does not rely on it
    flow.others()
    flow.run(transfer, log(cores))


@on_every_rig
@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.3, 0.5)])
def test_chunk_boundaries(transfer, cores, stalls):
    flow = Flow(2)
    counts = (63, 64, 65, 127, 128, 129) if transfer.bulk else (63, 64, 129)
    for count in counts:
        flow.records(count)
        flow.fence()
        flow.records(1)
        flow.close()
        flow.records(count)
        flow.close()
    flow.run(transfer, log(cores), stalls)


@on_every_rig
def test_a_fence_at_every_position(transfer, cores):
    flow = Flow(3)
    for position in range(66) if transfer.bulk else (0, 1, 2, 3, 62, 63, 64, 65):
        flow.records(position)
        flow.fence()
    flow.close()
    flow.run(transfer, log(cores))


@on_every_rig
def test_leaves_around_powers_of_two(transfer, cores):
    flow = Flow(4)
    for leaves in range(1, 35) if transfer.bulk else (3, 4, 5):
        for _ in range(leaves):
            flow.records(1)
            flow.fence()
        flow.close()
    flow.run(transfer, log(cores))


@on_every_rig
def test_more_fences_than_may_wait(transfer, cores):
    flow = Flow(5)
    flow.records(200)
    for _ in range(30 if transfer.bulk else 18):
        flow.fence()
        flow.records(flow.rng.randrange(2))
    flow.close()
    flow.others()
    flow.run(transfer, log(cores), (0.0, 0.8))


@pytest.mark.parametrize(("simulator", "cores"), RIGS[1:])
def test_leaves_wait_for_a_long_carry(transfer, cores):
    """The 64th leaf is joined six times while the cores go on with the leaves behind it."""
    flow = Flow(7)
    flow.records(72 * 64)
    flow.close()
    flow.run(transfer, log(cores))


@pytest.mark.parametrize("simulator", ["amaranth"])
def test_two_rounds_a_cycle(transfer):
    flow = Flow(6)
    flow.records(150)
    flow.close()
    flow.run(transfer, ReportLog(2, rounds=2, depth=64))


def random_flow(transfer, component, steps, seed):
    print("seed", seed)
    flow = Flow(seed)
    for _ in range(steps):
        step = flow.rng.choices(("records", "fence", "close", "others"), (8, 4, 1, 2))[0]
        if step == "records":
            flow.records(flow.rng.choice((1, 7, 64, 100, 300)) if transfer.bulk else flow.rng.randrange(90))
        else:
            getattr(flow, step)()
    flow.close()
    flow.run(transfer, component, flow.rng.choice(((0.0, 0.0), (0.5, 0.1), (0.1, 0.5))))


@pytest.mark.parametrize(("simulator", "cores"), [*RIGS, ("amaranth", CORES)])
def test_random_flow(transfer, cores):
    random_flow(transfer, log(cores), 60 if transfer.bulk else 8, random.getrandbits(32))


@pytest.mark.slow
@pytest.mark.parametrize(("simulator", "cores"), RIGS[1:])
@pytest.mark.parametrize("tight", [False, True])
def test_long_random_flow(transfer, cores, tight):
    component = ReportLog(cores, **(LOGS[2] | {"depth": cores + 3} if tight else {}))
    random_flow(transfer, component, 2000, random.getrandbits(32))


def bench(component, *testbenches):
    sim = Simulator(component)
    sim.add_clock(1e-6)
    for testbench in testbenches:
        sim.add_testbench(testbench)
    sim.run()


async def offer(ctx, component, beat, limit=10_000):
    """Have a beat taken; returns the cycles that it took."""
    ctx.set(component.i.payload, int.from_bytes(beat, "little"))
    ctx.set(component.i.valid, 1)
    for cycles in range(1, limit):
        _, _, ready = await ctx.tick().sample(component.i.ready)
        if ready:
            ctx.set(component.i.valid, 0)
            return cycles
    raise AssertionError("not taken")


async def receive(ctx, component, limit=10_000):
    """The next beat, and the cycles until it came."""
    ctx.set(component.o.ready, 1)
    for cycles in range(limit):
        _, _, valid, beat = await ctx.tick().sample(component.o.valid, component.o.payload)
        if valid:
            ctx.set(component.o.ready, 0)
            return beat.to_bytes(BEAT_BYTES, "little"), cycles
    raise AssertionError("nothing came")


def test_beats_enter_behind_a_fence_and_leave_at_once_without_one():
    component = ReportLog(1, depth=64, beats=64)
    flow = Flow(8)
    flow.records(3)
    flow.fence()
    flow.records(60)

    async def testbench(ctx):
        ctx.set(component.epoch, EPOCH)
        await ctx.tick()  # the first after the reset is not taken at once
        for beat, expected in zip(flow.sent[:3], flow.expected, strict=False):
            assert await offer(ctx, component, beat) == 1
            assert await receive(ctx, component) == (expected, 0)
        assert ctx.get(component.idle)
        for beat in flow.sent[3:]:
            assert await offer(ctx, component, beat) == 1
        assert not ctx.get(component.o.valid) and not ctx.get(component.idle)
        for expected in flow.expected[3:]:
            assert (await receive(ctx, component))[0] == expected
        assert ctx.get(component.idle)

    bench(component, testbench)


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("behind", [1, 5, 63])
@pytest.mark.parametrize("simulator", ["amaranth"])
def test_records_behind_a_fence_do_not_hold_it_up(transfer, cores, behind):
    """The chunk that they begin may never be completed."""
    flow = Flow(12)
    flow.records(3)
    flow.fence()
    flow.records(behind)
    flow.run(transfer, ReportLog(cores))


async def take_all(ctx, component, flow, taken):
    """Offer everything at one beat a cycle, take all that comes; fills ``taken`` with the cycles."""
    ctx.set(component.epoch, EPOCH)
    ctx.set(component.o.ready, 1)
    await ctx.tick()  # the first after the reset is not taken at once
    for beat in flow.sent:
        taken.append(await offer(ctx, component, beat))


def test_the_default_log_takes_a_record_every_cycle():
    """Also with queues of little more than a chunk, and while what stood before a FENCE is hashed."""
    flow, taken = Flow(13), []
    flow.records(64 * CORES * 3 + 17)
    flow.fence()
    flow.records(64 * CORES * 2)
    flow.fence()
    component = ReportLog(depth=76)

    async def testbench(ctx):
        await take_all(ctx, component, flow, taken)

    bench(component, testbench)
    assert set(taken) == {1}


@pytest.mark.parametrize("cores", [1, 3])
def test_full_queues_take_records_as_fast_as_they_are_hashed(cores):
    """What a mass cancel or a long sweep meets where there are fewer cores."""
    flow, taken, depth = Flow(14), [], 64
    count = 64 * 4 * cores
    flow.records(2 * depth * cores + count)
    component = ReportLog(cores, depth=depth)

    async def testbench(ctx):
        await take_all(ctx, component, flow, taken)

    bench(component, testbench)
    assert count * 314 / 64 / cores - 314 < sum(taken[-count:]) < count * 314 / 64 / cores + 314


def above_the_last(leaves):
    """Nodes above the last leaf of a tree of RFC 6962's shape."""
    return (leaves & -leaves).bit_length() - 1 + leaves.bit_count() - 1 if leaves else 0


@pytest.mark.parametrize("cores", [1, 2, CORES])
def test_fences_and_batches_are_answered_within_their_bound(cores):
    """Behind full queues and behind each other, and with records behind them that keep the cores busy."""
    depth = 64
    component = ReportLog(cores, depth=depth)
    flow, stops = Flow(9), {}  # by its place among what is sent: joins, and the place of its digest

    def stop(act, **options):
        place = len(flow.sent)
        flow.model.fence(EPOCH)  # so that the leaf that it ends is counted
        joins = above_the_last(flow.model.leaves)
        act(**options)
        stops[place] = joins, len(flow.expected) - 1

    flow.records((3 * depth + 1) * cores)
    for behind in (0, 0, 1, 70, 0):
        stop(flow.fence)
        flow.records(behind)
    stop(flow.close, fence=False)
    flow.records(150)
    stop(flow.fence)
    flow.records(65)
    stop(flow.close, fence=False)
    flow.records(150)
    taken, left = [], []

    async def source(ctx):
        ctx.set(component.epoch, EPOCH)
        now = 0
        for beat in flow.sent:
            now += await offer(ctx, component, beat)
            taken.append(now)

    async def sink(ctx):
        now = 0
        for expected in flow.expected:
            beat, cycles = await receive(ctx, component)
            assert beat == expected
            now += cycles + 1
            left.append(now)

    bench(component, source, sink)
    answered = [left[digest] for _, digest in stops.values()]
    waits = []
    for n, (place, (joins, _)) in enumerate(stops.items()):
        waiting = sum(before > taken[place] for before in answered[:n])
        bound = (depth / 64 + 3 + joins + waiting) * (13 * 24 + 2)
        assert answered[n] - taken[place] < bound, (n, waiting, joins)
        waits.append(waiting)
    assert waits[0] == 0 and max(waits) >= 3


def begins_anew(component, dut, reset, wait, held, behind=0):
    """After a reset of ``held`` cycles, once ``wait`` is over, nothing is left of what both cores hashed."""
    flow, again = Flow(10), Flow(11)
    for records, before in ((9, flow), (5, flow), (2, again), (3, again)):
        before.records(records)
        before.fence()
    flow.records(behind)  # of a chunk that is still open

    async def testbench(ctx):
        ctx.set(component.epoch, EPOCH)
        ctx.set(component.o.ready, 1)
        for beat in flow.sent:
            await offer(ctx, component, beat)
        await wait(ctx)
        ctx.set(reset, 1)
        await ctx.tick().repeat(held)
        ctx.set(reset, 0)
        assert ctx.get(component.idle)
        ctx.set(component.o.ready, 0)
        for beat in again.sent:
            await offer(ctx, component, beat)
        for expected in again.expected:
            assert (await receive(ctx, component))[0] == expected

    bench(dut, testbench)


@pytest.mark.parametrize("cycles", [1, 40, 95, 130, 200])
def test_reset_while_a_fence_waits(cycles):
    component = ReportLog(2, depth=8, beats=8)
    reset = Signal()

    async def wait(ctx):
        await ctx.tick().repeat(cycles)

    begins_anew(component, ResetInserter(reset)(component), reset, wait, 1, behind=5)


@pytest.mark.parametrize("cycles", [1, 4, 7])
def test_its_own_reset_while_a_digest_is_on_its_way(cycles):
    component = ReportLog(2, depth=8, beats=8)

    async def wait(ctx):
        await ctx.tick().until(component.cores.hashers[1].leaf_digest.valid)
        await ctx.tick().repeat(cycles)

    begins_anew(component, component, component.reset, wait, 8)
