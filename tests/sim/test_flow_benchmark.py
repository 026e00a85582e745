import hashlib

import numpy as np
import pytest
from hawse.engine import Engine, GoldenBackend, SoftBackend
from hawse.wire import Geometry, Kind, Opcode, TimeInForce
from hawse.wire.dtypes import kinds, records
from hawse_sim.flow import benchmark
from hawse_sim.flow.benchmark import CANCEL, MODIFY, NEW, SCENARIOS, VARIANTS, generate
from hawse_sim.rtl import RtlBackend

#: What the published flow shows: fills, rejects, part of the messages that empty a best level, peak of
#: resting orders and of levels; None where nothing is published.
PUBLISHED = {
    "static": (800, 19_000, 0.0044, 41_800, 90),
    "normal": (62_000, None, None, 5_500, 330),
    "swing-25": (67_000, None, None, None, None),
    "swing-40": (69_000, None, None, None, None),
    "flash-crash": (70_000, 49_000, None, 500, None),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_published_statistics(scenario):
    messages = generate(scenario)
    with Engine(SoftBackend(benchmark.GEOMETRY)) as engine:
        engine.reset(1)
        found = benchmark.statistics(messages, benchmark.run(messages, engine))
    print(scenario, found)
    fills, rejects, empties, peak, levels = PUBLISHED[scenario]
    expected = {
        "messages": 1_996_000,
        "ioc": 150_000,
        "cancels": 823_000,
        "modifies": 173_000,
        "fills": fills,
    }
    expected |= {"rejects": rejects, "best_empties": empties, "peak_orders": peak, "peak_levels": levels}
    for name, value in expected.items():
        if value is not None:
            assert found[name] == pytest.approx(value, rel=0.1), name
    if scenario != "static":
        assert 0.38 * 0.9 <= found["best_empties"] <= 0.44 * 1.1
        assert 19_000 * 0.9 <= found["rejects"] <= 49_000 * 1.1


@pytest.mark.parametrize(
    "scenario",
    # The static one needs a model of its own, of every level.
    [pytest.param(s, marks=pytest.mark.ci) if s == "static" else s for s in SCENARIOS],
)
def test_cycles_that_a_command_costs(scenario):
    """20,000 messages with the scenario's own seed, offered back to back; the fences count, too."""
    messages = generate(scenario, "serial", 10_000)
    assert 19_900 < len(messages) < 20_100
    with Engine(RtlBackend(benchmark.GEOMETRY)) as engine:
        engine.reset(1)
        engine.open(0, 0)
        before = engine.backend.cycles
        parts = [engine.run(burst) for burst in benchmark.bursts(benchmark.wire_orders(messages))]
        cycles = engine.backend.cycles - before
    assert len(messages) < cycles <= 2.5 * len(messages)
    events = np.concatenate([part.events for part in parts])
    with Engine(SoftBackend(benchmark.GEOMETRY)) as engine:
        engine.reset(1)
        assert records(events) == records(benchmark.run(messages, engine))


# Of 2,000 orders, seed 1: they must never change, on any platform.
BYTES = {
    ("static", "serial"): "bfd32bd4efe02c1a",
    ("static", "interleaved"): "d23952912f2a16d5",
    ("normal", "serial"): "39b9db5aa4103acd",
    ("normal", "interleaved"): "5c94165ad6c78164",
    ("swing-25", "serial"): "87a265c7bb6c88da",
    ("swing-25", "interleaved"): "b55091a6bbca9911",
    ("swing-40", "serial"): "146e38a357af146b",
    ("swing-40", "interleaved"): "07255d615726eb17",
    ("flash-crash", "serial"): "ce6494558288b1a9",
    ("flash-crash", "interleaved"): "8e510f57ea2c3939",
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_bytes_are_the_same_everywhere(scenario, variant):
    messages = generate(scenario, variant, 2000, 1)
    assert hashlib.sha256(messages.tobytes()).hexdigest()[:16] == BYTES[scenario, variant]
    assert not np.array_equal(messages, generate(scenario, variant, 2000, 2))


@pytest.mark.parametrize("variant", VARIANTS)
def test_life_of_an_order(variant):
    messages = generate("swing-40", variant, 20_000)
    assert (messages["sequence_number"] == np.arange(1, len(messages) + 1)).all()
    arrived = messages[messages["type"] == NEW]
    assert (arrived["order_id"] == np.arange(1, 20_001)).all()
    assert arrived["quantity"].min() == 1 and arrived["quantity"].max() == 100
    first = {}
    for at, (kind, order_id) in enumerate(messages[["type", "order_id"]].tolist()):
        if kind == NEW:
            assert order_id not in first
        first.setdefault((order_id, kind), at)
        assert (order_id, NEW) in first
    ioc = arrived["order_id"][arrived["ioc"] == 1]
    later = messages[messages["type"] != NEW]
    assert not np.isin(later["order_id"], ioc).any()
    modify = later[later["type"] == MODIFY]
    born = arrived[modify["order_id"] - 1]
    assert (modify["quantity"] == born["quantity"] + 1).all()
    towards = np.where(born["side"] == 1, -1, 1) * (modify["price_ticks"] - born["price_ticks"])
    assert np.isin(towards, [0, 1]).all()
    assert towards.mean() == pytest.approx(0.8, abs=0.03)
    # An order's second cancel and its stale modify come behind its first cancel.
    cancels = later[later["type"] == CANCEL]["order_id"]
    _, times = np.unique(cancels, return_counts=True)
    assert times.max() == 2 and (times == 2).mean() == pytest.approx(0.02, abs=0.005)
    stale, times = np.unique(modify["order_id"], return_counts=True)
    for order_id in stale[times == 2].tolist():
        sent = np.flatnonzero(messages["order_id"] == order_id)
        assert messages["type"][sent].tolist()[:3] == [NEW, MODIFY, CANCEL]


def test_lives_overlap_by_the_hundred_when_interleaved():
    def alive(variant):
        messages = generate("static", variant, 20_000)
        ids, kind = messages["order_id"].astype(int), messages["type"]
        cancelled = ids[kind == CANCEL]
        births = (kind == NEW) & np.isin(ids, cancelled)
        _, at = np.unique(np.where(kind == CANCEL, ids, -1), return_index=True)
        deaths = np.zeros(len(messages), int)
        deaths[at[1:]] = 1
        return (births.cumsum() - deaths.cumsum()).max()

    assert alive("serial") == 1
    assert 100 < alive("interleaved") < 5000


def test_lifetimes_have_the_published_median_next_to_the_mid():
    random = benchmark._Random(3)
    lives = random.exponential(200_001, 431_000)
    assert np.median(lives) == pytest.approx(431_000, rel=0.02)
    assert lives.mean() == pytest.approx(431_000 / np.log(2), rel=0.02)
    assert (lives > 4 * 431_000).mean() == pytest.approx(1 / 16, rel=0.05)


def test_depths_have_the_published_weights():
    k = np.arange(800)
    weight = (k + 1.0) ** -2.23 + 5 * np.exp(-((k - 8) ** 2) / 2)
    depths = benchmark._Random(4).depths(400_000)
    seen = np.bincount(depths, minlength=800)
    assert len(seen) == 800
    expected = weight / weight.sum() * 400_000
    much = expected > 20
    assert (((seen - expected) ** 2 / expected)[much]).mean() < 2
    assert seen[~much].sum() == pytest.approx(expected[~much].sum(), rel=0.1)


@pytest.mark.parametrize("swing", [20, 250, 400, 600])
@pytest.mark.parametrize("seed", range(4))
def test_the_walk_reaches_its_swing(seed, swing):
    walk = benchmark._walk(benchmark._Random(seed), 100_000, swing)
    away = np.abs(walk / benchmark.START - 1).max()
    assert away == pytest.approx(swing / 1000, rel=0.01)
    assert np.abs(np.diff(walk)).max() < 0.02 * benchmark.START


def test_wire_orders():
    messages = generate("normal", "serial", 500)
    orders = benchmark.wire_orders(messages)
    assert set(orders["opcode"].tolist()) == {Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE}
    ioc = (orders["flags"] >> 1 & 3) == TimeInForce.IOC
    assert (ioc == (messages["ioc"] == 1)).all()
    assert (orders["seq"] == messages["sequence_number"]).all()
    messages["price_ticks"][3] = 1 << 31
    with pytest.raises(ValueError, match="price_ticks"):
        benchmark.wire_orders(messages)


def test_statistics_against_the_golden_engines_book():
    """Resting orders at the end, counted by the statistics and by the engine."""
    messages = generate("swing-25", "interleaved", 1500)
    with Engine(GoldenBackend(benchmark.GEOMETRY)) as engine:
        engine.reset(1)
        events = benchmark.run(messages, engine)
        resting = engine.resting()
    found = benchmark.statistics(messages, events)
    assert found["fills"] == (kinds(events) == Kind.TRADE).sum() > 20
    book = benchmark._Book()
    for row in resting:
        book.enter(int(row["order_id"]), int(row["resting"]["flags"] & 1), int(row["resting"]["price"]))
    assert found["peak_orders"] >= book.peak[0] > 20
    assert found["peak_levels"] >= 1


def test_a_store_too_small_is_said():
    with Engine(SoftBackend(Geometry(1, 65536, 64, 12))) as engine:
        engine.reset(1)
        with pytest.raises(ValueError, match="STORE_FULL"):
            benchmark.run(generate("static", "serial", 3000), engine)


@pytest.mark.parametrize("wrong", [("calm",), ("normal", "parallel"), ("normal", "serial", 0)])
def test_impossible_flows(wrong):
    with pytest.raises(ValueError, match="is n"):
        generate(*wrong)
