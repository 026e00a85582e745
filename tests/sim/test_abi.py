import ctypes
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import hawse_hdl.core
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped
from hawse.engine.native import build
from hawse_sim import abi
from hawse_sim.flow.benchmark import CANCEL, MESSAGE, MODIFY, NEW, SCENARIOS, VARIANTS, generate

_spec = importlib.util.spec_from_file_location("abi_reference", Path(__file__).with_name("abi_reference.py"))
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)
REPORT, Reference = reference.REPORT, reference.Reference

U64, P = ctypes.c_uint64, ctypes.c_void_p


def load(path):
    library = ctypes.CDLL(str(path))
    library.engine_init.argtypes = [U64, P, P]
    library.engine_on_batch.argtypes = [P, ctypes.c_uint32]
    for name in ("new_order", "cancel", "modify"):
        getattr(library, f"engine_on_{name}").argtypes = [P]
    library.engine_query_best_bid.restype = library.engine_query_best_ask.restype = ctypes.c_int64
    library.engine_query_depth_at.argtypes = [ctypes.c_int64, ctypes.c_uint8]
    library.engine_query_depth_at.restype = U64
    return library


@pytest.fixture(scope="module")
def sinks():
    source = Path(__file__).with_name("abi_sink.cpp")
    library = ctypes.CDLL(
        str(build.compile_library("abi-sink", [source], includes=[Path(abi.__file__).parent]))
    )
    library.sink_transport.restype = library.sink_new.restype = P
    library.sink_new.argtypes = [ctypes.c_uint32]
    library.sink_drain.argtypes = [P, P, ctypes.c_uint32]
    for name in ("sink_free", "sink_count", "sink_flushes", "sink_full"):
        getattr(library, name).argtypes = [P]
        getattr(library, name).restype = U64
    return library


class Session:
    """One engine of the C interface, from init to shutdown."""

    def __init__(self, library, sinks, refuse=0):
        self.engine, self.sinks = library, sinks
        self.sink = sinks.sink_new(refuse)
        assert library.engine_init(7, sinks.sink_transport(), self.sink) == 0

    def send(self, messages):
        calls = [getattr(self.engine, f"engine_on_{name}") for name in ("new_order", "cancel", "modify")]
        at = messages.ctypes.data
        for n, kind in enumerate(messages["type"].tolist()):
            calls[kind](at + 40 * n + 8)

    def batch(self, messages):
        self.engine.engine_on_batch(messages.ctypes.data, len(messages))

    def reports(self):
        """All that came since the last call."""
        self.engine.engine_flush()
        return self.pushed()

    def pushed(self):
        out = np.zeros(self.sinks.sink_count(self.sink), REPORT)
        self.sinks.sink_drain(self.sink, out.ctypes.data, len(out))
        return out

    def queries(self, levels):
        lib = self.engine
        depths = [lib.engine_query_depth_at(price, side) for price, side in levels]
        return lib.engine_query_best_bid(), lib.engine_query_best_ask(), depths

    def close(self):
        self.engine.engine_shutdown()
        self.sinks.sink_free(self.sink)


# The gateware has 2^18 levels, and takes minutes to build.
@pytest.fixture(scope="module", params=["soft", pytest.param("rtl", marks=pytest.mark.ci)])
def engine(request):
    return request.param


@pytest.fixture(scope="module")
def library(engine):
    return load(getattr(abi, f"{engine}_library")())


@pytest.fixture
def session(library, sinks):
    it = Session(library, sinks)
    yield it
    it.close()


def messages(*rows):
    """Rows of (kind, id, price, quantity, side, ioc), those at the end left out if zero."""
    out = np.zeros(len(rows), MESSAGE)
    for n, row in enumerate(rows):
        kind, i, price, quantity, side, ioc = (*row, *[0] * (6 - len(row)))
        out[n] = (kind, i, 1000 + n, price, quantity, side, ioc)
    return out


def expected(flow, model=None):
    model = model or Reference()
    for row in flow.tolist():
        model(row)
    out = np.zeros(len(model.reports), REPORT)
    out[:] = model.reports
    return out, model


def same(ours, theirs):
    assert len(ours) == len(theirs)
    a, b = (x.view(np.uint8).reshape(-1, 64) for x in (ours, theirs))
    unequal = np.flatnonzero((a != b).any(axis=1))
    assert not len(unequal), (int(unequal[0]), ours[unequal[0]], theirs[unequal[0]])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_report_of_a_flow(session, scenario, variant):
    flow = generate(scenario, variant, 400)
    session.batch(flow)
    reports, model = expected(flow)
    same(session.reports(), reports)
    assert len(reports) > len(flow)
    levels = {(p, s) for s, p, _ in model.resting.values()} | {(33_000, 0), (1 << 40, 1)}
    best = model.best(0), model.best(1)
    assert session.queries(sorted(levels)) == (*best, [model.depth(*level) for level in sorted(levels)])


def test_a_crossed_flow(session):
    """Orders of a few prices, kinds at random: trades, ids used again, cancels of anything."""
    rng = np.random.default_rng(5)
    n = 1500
    flow = np.zeros(n, MESSAGE)
    flow["type"] = rng.choice([NEW, CANCEL, MODIFY], n, p=[0.6, 0.25, 0.15])
    flow["order_id"] = rng.integers(0, 200, n)
    flow["sequence_number"] = rng.integers(0, 1 << 63, n)
    brings = flow["type"] != CANCEL
    flow["price_ticks"][brings] = 33_504 + rng.integers(-4, 5, n)[brings]
    flow["quantity"][brings] = rng.integers(0, 30, n)[brings]
    flow["side"][brings] = rng.integers(0, 2, n)[brings]
    flow["ioc"] = (flow["type"] == NEW) & (rng.random(n) < 0.2)
    reports, model = expected(flow)
    assert len(model.resting) > 5 and (reports["type"] == reference.TRADE).sum() > 300
    session.send(flow)
    same(session.reports(), reports)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_report_of_a_longer_flow(sinks, scenario, variant):
    flow = generate(scenario, variant, 20_000)
    reports = both(sinks, flow)
    same(*reports)
    same(reports[0], expected(flow)[0])


def both(sinks, flow):
    """Reports of the software, and of the gateware, which has to lose nothing."""
    out = []
    for path in (abi.soft_library(), abi.rtl_library()):
        session = Session(load(path), sinks)
        session.batch(flow)
        out.append(session.reports())
        session.close()
    return out


@pytest.mark.ci
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_say_the_same_of_other_seeds(sinks, scenario, variant):
    same(*both(sinks, generate(scenario, variant, 500, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_say_the_same_of_a_hundred_seeds(sinks, scenario, variant):
    for seed in range(100):
        same(*both(sinks, generate(scenario, variant, 20_000, 10_000 + seed)))


def test_batch_is_one_at_a_time(library, sinks):
    flow = generate("swing-25", "interleaved", 600)
    out = []
    for how in ("send", "batch"):
        session = Session(library, sinks)
        getattr(session, how)(flow)
        out.append(session.reports())
        session.close()
    same(*out)


def test_flushes_and_queries_change_no_report(library, sinks):
    flow = generate("normal", "interleaved", 300)
    session = Session(library, sinks)
    model, out = Reference(), []
    for n in range(0, len(flow), 7):
        session.batch(flow[n : n + 7])
        for row in flow[n : n + 7].tolist():
            model(row)
        assert session.queries([]) == (model.best(0), model.best(1), [])
        if n % 3 == 0:
            out.append(session.reports())
            assert sum(map(len, out)) == len(model.reports)
    out.append(session.reports())
    assert sinks.sink_flushes(session.sink) == len(out)
    session.close()
    same(np.frombuffer(b"".join(part.tobytes() for part in out), REPORT), expected(flow)[0])


def test_an_empty_book(session):
    assert session.queries([(33_504, 0), (-5, 1)]) == (-(2**63), 2**63 - 1, [0, 0])
    assert len(session.reports()) == 0


def test_ids_of_any_size_come_back(session):
    huge = [0, 1 << 32, (1 << 64) - 1, (1 << 64) - 2, 1 << 63]
    flow = []
    for again in range(3):
        flow += [(NEW, i, 33_500 + again, 5, 0) for i in huge]
        flow += [(NEW, huge[0], 33_500, 5, 0)]  # it rests: refused
        flow += [(MODIFY, i, 33_490, 7) for i in huge]
        flow += [(NEW, 77, 33_490, 14, 1)]  # ends the first two
        flow += [(CANCEL, i) for i in huge] + [(MODIFY, huge[2], 33_490, 1)]
    flow = messages(*flow)
    session.send(flow)
    reports, _ = expected(flow)
    same(session.reports(), reports)
    counts = np.bincount(reports["type"], minlength=6).tolist()
    assert counts == [18, 6, 9, 15, 6, 3]


def test_what_is_refused(session):
    flow = messages(
        (CANCEL, 5),
        (MODIFY, 5, 33_504, 1),
        (NEW, 1, 33_504, 0, 0),  # no quantity
        (NEW, 2, 1 << 31, 1, 0),
        (NEW, 3, -(1 << 63), 1, 1),
        (NEW, 4, 33_504, 1, 0),
        (MODIFY, 4, 1 << 40, 1),
        (MODIFY, 4, 33_503, 0),
        (CANCEL, 4),
        (CANCEL, 4),
    )
    session.send(flow)
    reports, _ = expected(flow)
    assert reports["type"].tolist() == [4, 5, 0, 5, 5, 2, 4]
    same(session.reports(), reports)


FAR = messages(
    (NEW, 1, 1_000, 10, 0),
    (NEW, 2, 70_000, 10, 1),
    (NEW, 3, 70_000, 4, 0, 1),  # trades
    (NEW, 4, 262_000, 10, 1),
    (NEW, 5, 270_000, 10, 1),  # with the first: beyond 2^18 levels
    (MODIFY, 2, 270_000, 9),
    (MODIFY, 1, 262_000, 4),  # crosses
    (NEW, 6, 270_000, 3, 0, 1),
    *((CANCEL, i) for i in (1, 2, 4, 5)),
    (NEW, 7, 2_000_000, 8, 1),  # alone
    (NEW, 8, -2_000_000, 8, 0),
    (NEW, 9, (1 << 31) - 1, 3, 0),
    (CANCEL, 7),
    (CANCEL, 8),
    (NEW, 10, (1 << 31) - 1, 3, 0),
    (NEW, 11, (1 << 31) - 2, 3, 1),
)


def test_prices_far_away(session, engine):
    model = Reference(no_band=engine == "soft")
    reports, _ = expected(FAR, model)
    session.send(FAR)
    assert session.queries([((1 << 31) - 1, 0)]) == (model.best(0), model.best(1), [0])
    same(session.reports(), reports)
    assert reports["type"].tolist()[:4] == [reference.ORDER_ACK] * 3 + [reference.TRADE]


def stats(session, monkeypatch, tmp_path):
    """What a session writes when it ends."""
    monkeypatch.setenv("HAWSE_ABI_STATS", str(tmp_path / "stats.json"))
    session.close()
    return json.loads((tmp_path / "stats.json").read_text())


def test_what_is_beyond_the_band_is_counted_and_told(library, engine, sinks, monkeypatch, tmp_path, capfd):
    session = Session(library, sinks)
    session.send(FAR)
    session.send(messages((NEW, 77, 1 << 40, 1, 0), (NEW, 78, 5, 0, 0), (NEW, 10, 5, 1, 0)))
    lost = stats(session, monkeypatch, tmp_path)["lost"]
    beyond = 0 if engine == "soft" else 3
    assert lost == {
        "duplicate_id": 0,
        "no_quantity": 1,
        "beyond_32_bits": 1,
        "store_full": 0,
        "beyond_band": beyond,
    }
    told = capfd.readouterr().err
    assert ("fits no band" in told, "beyond 32 bits" in told) == (beyond > 0, True)
    assert len(told.splitlines()) == 1 + (beyond > 0)


def test_queries_ask_the_engine_at_any_time(session, engine):
    model = Reference(no_band=engine == "soft")
    flow = generate("swing-25", "interleaved", 60)
    for n, row in enumerate(flow.tolist()):
        session.send(flow[n : n + 1])
        model(row)
        levels = sorted({(p, s) for s, p, _ in model.resting.values()})[:3]
        assert session.queries(levels) == (model.best(0), model.best(1), [model.depth(*x) for x in levels])


def many_orders(n):
    flow = np.zeros(n, MESSAGE)
    flow["order_id"] = flow["sequence_number"] = np.arange(n)
    flow["price_ticks"], flow["quantity"] = 33_000 + np.arange(n) % 50, 1
    return flow


def cancels(flow):
    out = flow.copy()
    out["type"], out["price_ticks"], out["quantity"] = CANCEL, 0, 0
    return out


def test_more_orders_than_the_gateware_has_handles(library, engine, sinks, monkeypatch, tmp_path, capfd):
    """Handles are used again, also when a full store is asked for more; software has more."""
    flow = many_orders(65_540)
    first, second = flow[:65_536], flow[65_536:]
    session = Session(library, sinks)
    room = engine == "soft"
    for part, acks in ((first, 65_536), (second, 4 * room), (cancels(flow[:3]), 3), (second, 3 * (not room))):
        session.batch(part)
        assert len(session.reports()) == acks or part["type"][0] == CANCEL
    told = stats(session, monkeypatch, tmp_path)
    assert told["lost"]["store_full"] == (0 if room else 5)
    assert told["peak_resting"] == (65_540 if room else 65_536)
    assert ("no handle is free" in capfd.readouterr().err) == (not room)


def test_a_million_orders_rest(sinks, monkeypatch, tmp_path):
    """In software; none is lost, and each is found again."""
    n = 1_000_000
    flow = many_orders(n)
    flow["order_id"] = np.random.default_rng(3).permutation(n).astype(np.uint64) << np.uint64(9)
    session = Session(load(abi.soft_library()), sinks)
    session.batch(flow)
    assert len(session.reports()) == n
    session.batch(cancels(flow[::-1].copy()))
    reports = session.reports()
    assert (reports["type"] == reference.CANCEL_ACK).all()
    assert reports["order_id"].tolist() == flow["order_id"][::-1].tolist()
    told = stats(session, monkeypatch, tmp_path)
    assert (told["peak_resting"], sum(told["lost"].values())) == (n, 0)


def spread_flow(seed, n, ticks):
    """Orders of few prices within ``ticks``, kinds at random."""
    rng = np.random.default_rng(seed)
    flow = np.zeros(n, MESSAGE)
    flow["type"] = rng.choice([NEW, CANCEL, MODIFY], n, p=[0.6, 0.25, 0.15])
    flow["order_id"] = rng.integers(0, 400, n)
    flow["sequence_number"] = np.arange(n)
    brings = flow["type"] != CANCEL
    places = np.concatenate([rng.integers(-ticks // 2, ticks // 2, 200), np.arange(33_500, 33_510)])
    flow["price_ticks"][brings] = rng.choice(places, n)[brings]
    flow["quantity"][brings] = rng.integers(1, 30, n)[brings]
    flow["side"][brings] = rng.integers(0, 2, n)[brings]
    flow["ioc"] = (flow["type"] == NEW) & (rng.random(n) < 0.2)
    return flow


@pytest.mark.parametrize("ticks", [1 << 20, 1 << 32])
def test_prices_spread_widely_in_software(sinks, ticks):
    flow = spread_flow(ticks, 3000, ticks)
    session = Session(load(abi.soft_library()), sinks)
    session.batch(flow)
    same(session.reports(), expected(flow, Reference(no_band=True))[0])
    session.close()


def test_a_full_transport_is_tried_again(library, sinks):
    flow = generate("flash-crash", "interleaved", 300)
    session = Session(library, sinks, refuse=3)
    session.batch(flow)
    same(session.reports(), expected(flow)[0])
    assert sinks.sink_full(session.sink) == 3 * len(expected(flow)[0])
    session.close()


def test_a_new_session_begins_anew(library, sinks):
    flow = generate("static", "serial", 200)
    out = []
    for _ in range(2):
        session = Session(library, sinks)
        session.batch(flow)
        out.append(session.reports())
        session.close()
    same(*out)
    library.engine_flush()  # nothing to do, and no harm
    library.engine_shutdown()
    assert library.engine_query_best_bid() == -(2**63)


def test_statistics(library, sinks, tmp_path, monkeypatch):
    flow = generate("static", "serial", 2000)
    monkeypatch.setenv("HAWSE_ABI_STATS", str(tmp_path / "stats.json"))
    session = Session(library, sinks)
    session.batch(flow)
    reports = session.reports()
    session.close()
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert (stats["messages"], stats["reports"], stats["refused"]) == (len(flow), len(reports), 0)
    # Every message reached the engine as a command, stale ones too.
    assert stats["commands"] - stats["fences"] == len(flow)
    assert 70 < stats["peak_resting"] < 100
    if stats["engine"] == "rtl":
        assert stats["cycles"] > len(flow)
        assert stats["cycles_per_message"] == pytest.approx(stats["cycles"] / len(flow), abs=1e-3)
        stalls = stats["stall_cycles"]
        accepted = stats["commands"] + stalls["book"] + stalls["log"]
        assert accepted <= stats["cycles"] <= accepted + stalls["fence"] + stalls["flush"]


@pytest.mark.ci
def test_no_python_is_needed():
    """A process without Python's symbols can load the libraries."""
    for path in (abi.soft_library(), abi.rtl_library()):
        wanted = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=False)
        if wanted.returncode:
            pytest.skip("readelf is not installed")
        assert "NEEDED" in wanted.stdout and "python" not in wanted.stdout


@pytest.mark.ci
def test_the_command_writes_both(tmp_path):
    abi.rtl_library()
    done = subprocess.run(
        [sys.executable, "-m", "hawse_sim.abi", "-o", tmp_path], check=True, capture_output=True
    )
    names = ["libhawse_rtl.so", "libhawse_soft.so"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert all(name in done.stdout.decode() for name in names)


class FaultyBook(wiring.Component):
    """A book whose time in force has lost its wire for IOC."""

    def __init__(self, geometry, **more):
        self.book = hawse_hdl.book.Book(geometry, **more)
        super().__init__(self.book.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.book = self.book
        connect(m, flipped(self.commands), self.book.commands)
        connect(m, self.book.beats, flipped(self.beats))
        m.d.comb += [
            self.book.commands.payload.flags.time_in_force[0].eq(0),
            self.book.epoch.eq(self.epoch),
            self.busy.eq(self.book.busy),
        ]
        return m


@pytest.mark.ci
def test_a_fault_in_the_gateware_shows(sinks, monkeypatch):
    monkeypatch.setattr(hawse_hdl.core, "Book", FaultyBook)
    # One hash core: what is no matter here need not be compiled.
    faulty = abi.rtl_library(
        lambda: hawse_hdl.core.Core(abi.GEOMETRY, hash_cores=1),
        parameters=f"{abi.GEOMETRY}, one hash core, and a lost wire",
    )
    monkeypatch.undo()
    assert faulty != abi.rtl_library()
    flow = generate("static", "serial", 500)
    session = Session(load(faulty), sinks)
    session.batch(flow)
    reports = session.reports()
    session.close()
    with pytest.raises(AssertionError):
        same(reports, expected(flow)[0])


def colliding(n):
    """Ids of one place in a map whose multiplier is known: one of those that many programs use."""
    product = np.arange(n, dtype=np.uint64) * np.uint64(pow(0x9E37_79B9_7F4A_7C15, -1, 1 << 64))
    return product ^ (product >> np.uint64(32))


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(np.random.default_rng(1).integers(0, 1 << 64, 8_192, dtype=np.uint64), id="random"),
        pytest.param(colliding(8_192), id="one place of a map with a known multiplier"),
        pytest.param(np.arange(8_192, dtype=np.uint64) << np.uint64(44), id="equal low bits"),
        pytest.param(np.arange(8_192, dtype=np.uint64) << np.uint64(4), id="equal but for two"),
    ],
)
def test_ids_chosen_to_collide_share_no_more_than_random_ones(ids, sinks, monkeypatch, tmp_path):
    flow = many_orders(len(ids))
    flow["order_id"] = ids
    session = Session(load(abi.soft_library()), sinks)
    session.batch(flow)
    told = stats(session, monkeypatch, tmp_path)
    # Half as many ids as buckets. Random ones share a bucket by 5 to 8; 16 is one run in 10^9.
    assert told["peak_resting"] == len(ids) and told["longest_bucket"] <= 16
