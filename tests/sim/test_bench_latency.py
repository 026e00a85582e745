"""hawse bench latency: arrivals that wait for nobody, queues by hand, text that says what the JSON does."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import bench_engine, bench_latency, latency_report, main
from hawse.cli.common import Routed
from hawse.engine.native.build import BuildError
from hawse_sim import abi
from hawse_sim.abi.timing import Library
from hawse_sim.flow import benchmark


def test_arrivals_come_at_the_rate_whatever_their_pattern():
    for pattern in bench_latency.PATTERNS:
        due = bench_latency.arrivals(pattern, 1e6, 200_000, 3)
        assert len(due) == 200_000 and (np.diff(due) >= 0).all()
        assert due[-1] == pytest.approx(0.2e9, rel=0.05)
        assert (due == bench_latency.arrivals(pattern, 1e6, 200_000, 3)).all()
        assert (due != bench_latency.arrivals(pattern, 1e6, 200_000, 4)).any()
    together = len(due) / len(np.unique(due))
    assert together == pytest.approx(bench_latency.BURST, rel=0.05)
    alone = bench_latency.arrivals("poisson", 1e6, 200_000, 3)
    gaps = np.diff(alone)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)


def test_a_queue_is_one_behind_the_other():
    rng = np.random.default_rng(5)
    due = np.cumsum(rng.integers(0, 30, 2000))
    service, answer = rng.integers(1, 30, 2000), rng.integers(1, 9, 2000)
    free, expected = 0, []
    for at, keeps, takes in zip(due.tolist(), service.tolist(), answer.tolist(), strict=True):
        begun = max(at, free)
        free = begun + keeps
        expected.append(begun + takes)
    assert bench_latency.queue(due, service, answer).tolist() == expected


def test_waiting_counts_from_the_scheduled_arrival():
    """The mean wait of Poisson arrivals at a server of fixed time is known: rho / 2 (1 - rho) of it."""
    served = np.full(400_000, 100, np.int64)
    for load in (0.5, 0.8):
        due = bench_latency.arrivals("poisson", load * 1e7, len(served), 1)
        waits = bench_latency.queue(due, served, np.zeros_like(served)) - due
        assert waits.mean() == pytest.approx(100 * load / (2 * (1 - load)), rel=0.05)


def test_a_line_carries_frames_of_what_waits():
    one = (17 + 32) * 10_000
    assert bench_latency.line(np.array([5])).tolist() == [5 + one]
    # Nine more come while the first is on the line: eight go together, and the last behind them.
    done = bench_latency.line(np.array([0, *[1] * 9]))
    eight = one + (17 + 8 * 32) * 10_000
    assert done.tolist() == [one, *[eight] * 8, eight + one]


@pytest.fixture(scope="module")
def library():
    try:
        return Library(abi.soft_library())
    except BuildError as error:
        pytest.skip(str(error))


def test_software_is_given_its_orders_when_they_are_due(library):
    flow = benchmark.generate("static", orders=1000)
    late, took = library.time_open(flow, np.zeros(len(flow), np.int64))
    # All are due at once: each waits for those before it.
    assert (np.diff(late) > 0).all() and late[-1] == took
    due = np.arange(len(flow), dtype=np.int64) * 50_000
    late, took = library.time_open(flow, due)
    assert took >= due[-1] and (late > 0).all()
    assert np.quantile(late, 0.1) < 20_000  # however often the system took the processor away


def test_the_knee_is_where_rate_over_latency_is_greatest():
    points = [
        {"offered_per_s": rate, "ns": {"mean": [ns, ns, ns]}} for rate, ns in ((10, 5), (50, 8), (90, 60))
    ]
    assert bench_latency.knee(points) == 50


def test_the_command_measures_engines_and_venue(tmp_path, monkeypatch):
    place = bench_engine.places(None)[0]  # whose model other tests build, too
    monkeypatch.setattr(bench_latency, "places", lambda routed: [place])
    monkeypatch.setattr(
        bench_latency, "fastest_routed", lambda folder, top: Routed("a part", 100.0, place.geometry, "a file")
    )
    monkeypatch.setattr(bench_latency, "SHARES", (0.1, 0.6, 1.2))
    monkeypatch.setattr(bench_latency, "_ACCOUNTS", 20)
    monkeypatch.chdir(tmp_path)
    out, plot = tmp_path / "latency.json", tmp_path / "latency.svg"
    options = ["--messages", 2000, "--repeats", 2, "--host-rate", 300, "--host-rate", 600]
    more = ["--host-seconds", 0.1, "--library", "another", abi.soft_library()]
    command = ["bench", "latency", *options, *more, "--out", out, "--plot", plot, "--json"]
    done = CliRunner().invoke(main, [*map(str, command)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert json.loads(out.read_text())["result"] == told
    names = [engine["name"] for engine in told["engines"]]
    assert names[0] == "gateware core" and names[-1] == "another" and len(names) == 5
    for engine in (*told["engines"], told["host"]):
        for of_pattern in engine["patterns"].values():
            for point in of_pattern["points"]:
                least = point["ns"]
                assert 0 < least["p50"][0] <= least["p99"][0] <= least["p999"][0] <= least["max"][0]
                assert all(low <= middle <= high for middle, low, high in least.values())
    core, behind, uart, *_ = (engine["patterns"]["poisson"]["points"] for engine in told["engines"])
    for points in (core, behind, uart):
        assert points[-1]["ns"]["p99"][0] > 3 * points[0]["ns"]["p99"][0]  # past the knee, orders wait
        assert points[-1]["carried_per_s"] < 0.95 * points[-1]["offered_per_s"]
    assert core[0]["ns"]["p50"][0] == 60  # six cycles, as hawse bench engine has them
    assert uart[0]["ns"]["p50"][0] > 2 * 490_000  # there and back
    for path in (plot, plot.with_stem("latency-venue")):
        text = path.read_text()
        assert text.startswith("<?xml") and "<svg" in text


def test_the_documents_say_what_the_json_does():
    checkout = Path(__file__).parents[2]
    told = json.loads((checkout / "docs/results/latency.json").read_text())["result"]
    text = (checkout / "docs/benchmark.md").read_text()
    assert latency_report.marked(text, latency_report.markdown(told), latency_report.BEGIN) == text
    assert (checkout / "docs/results/latency.svg").exists()
