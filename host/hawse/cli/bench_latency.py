"""``hawse bench latency``: engines under orders that come when they come, up to their knee and past it."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from hawse.engine import Engine, EngineError, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.keys.store import derive
from hawse.results import record
from hawse.state.slot import Cut, SlotInput
from hawse.venue import Venue
from hawse.wire.dtypes import Array

from . import bench_venue, latency_report
from .bench_engine import ENDPOINT_CYCLES, pin, places
from .common import bar, clear_errors, fastest_routed, json_option, say

Times = NDArray[np.int64]
#: Arrivals, as shares of what an engine carries when it never waits.
SHARES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.25)
#: Commands a second at the whole venue.
HOST_RATES = (1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 30_000)
#: Commands that come together in a burst, in the mean; a geometric distribution.
BURST = 16
#: The first part of each run is not counted: caches and memory are cold.
WARM = 0.1
PATTERNS = ("poisson", "bursty")
_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
#: Of the appliance's UART, and bytes of a frame: of each command or report in it, at most, and beside them.
_BAUD, _ITEM, _ITEMS, _FRAME = 1_000_000, 32, 8, 12 + 4 + 1
_ACCOUNTS = 1_000
_SEED = 1


def arrivals(pattern: str, per_s: float, count: int, seed: int) -> Times:
    """When commands come, in nanoseconds, ``per_s`` of them a second in the mean.

    ``poisson``: each on its own. ``bursty``: bursts of :data:`BURST` in the mean, all of a burst at once; the
    bursts on their own.
    """
    rng = np.random.default_rng([_SEED, seed])
    if pattern == "poisson":
        alone: Times = np.cumsum(rng.exponential(1e9 / per_s, count)).astype(np.int64)
        return alone
    sizes = rng.geometric(1 / BURST, count)
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), count)) + 1]
    starts = np.cumsum(rng.exponential(1e9 / per_s * BURST, len(sizes)))
    found: Times = np.repeat(starts, sizes)[:count].astype(np.int64)
    return found


def queue(due: Times, service: Times, answer: Times) -> Times:
    """When each command is answered by an engine that takes them one behind the other, in order.

    Args:
        due: when each comes.
        service: for how long each keeps the engine from taking the next.
        answer: how long after it was taken each is answered.
    """
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(service)[:-1]])
    begun: Times = np.maximum.accumulate(due - before) + before
    return begun + answer


def line(ready: Times) -> Times:
    """When each item has come over a UART that sends frames of those that wait, eight at most, in order."""
    byte = 10 * 10**9 // _BAUD
    done, at, free, count = np.empty_like(ready), 0, 0, len(ready)
    while at < count:
        begun = max(free, int(ready[at]))
        end = min(int(np.searchsorted(ready, begun, "right")), at + _ITEMS)
        free = begun + (_FRAME + (end - at) * _ITEM) * byte
        done[at:end] = free
        at = end
    return done


@dataclass(frozen=True)
class Subject:
    """What is put under load.

    Attributes:
        name, what: as charts and text call it.
        simulated: what of it is; empty if nothing.
        per_s: commands a second that it carries when it never waits.
        run: latencies of commands that come at given times, and nanoseconds until the last is answered.
        count: commands of a run.
        rates: commands a second that are tried.
    """

    name: str
    what: str
    simulated: str
    per_s: float
    run: Callable[[Times], tuple[Times, int]]
    count: int
    rates: Sequence[float]


def under_load(subject: Subject, pattern: str, repeats: int, progress: Callable[[], None]) -> dict[str, Any]:
    """Percentiles of latency at each rate: median, least and most of the repeats; and the knee."""
    points = []
    for rate in subject.rates:
        spreads, carried = [], []
        for repeat in range(repeats):
            due = arrivals(pattern, rate, subject.count, repeat)
            late, took = subject.run(due)
            counted = late[int(WARM * len(late)) :]
            spreads.append([round(float(counted.mean())), *_at(counted)])
            carried.append(len(late) * 1e9 / took)
            progress()
        by_percentile = zip(*spreads, strict=True)
        ns = {
            name: [sorted(values)[len(values) // 2], min(values), max(values)]
            for name, values in zip(("mean", *_PERCENTILES), by_percentile, strict=True)
        }
        points.append(
            {"offered_per_s": round(rate), "carried_per_s": round(float(np.median(carried))), "ns": ns}
        )
    return {"knee_per_s": knee(points), "points": points}


def _at(late: Times) -> list[int]:
    return [int(np.percentile(late, q, method="higher")) for q in _PERCENTILES.values()]


def knee(points: Sequence[dict[str, Any]]) -> int:
    """The rate with the most power: rate over mean latency, as Kleinrock (1979) has it."""
    return int(max(points, key=lambda p: p["offered_per_s"] / p["ns"]["mean"][0])["offered_per_s"])


# What is put under load


@dataclass(frozen=True)
class _Cycles:
    """What each command of a flow costs the gateware: cycles to the next one, and to its first report."""

    service: Times
    answer: Times
    reports: Times


def _cycles(place: Any, rows: Array, progress: Callable[[int], None]) -> _Cycles:
    """Of the Verilated core, to which commands are offered back to back."""
    from hawse_sim.flow.benchmark import bursts  # noqa: PLC0415
    from hawse_sim.rtl import RtlBackend  # noqa: PLC0415

    taken, left, reports = [], [], []
    with Engine(RtlBackend(place.geometry), recentring=False) as engine:
        engine.reset(1)
        engine.open(0, place.base, first=0, count=place.geometry.pool)
        for burst in bursts(rows, place.burst):
            done = engine.run(burst)
            if done.refused:
                raise EngineError(f"the driver refused a message: {done.refused[0][1].name}")
            events = done.events
            first = np.flatnonzero(np.concatenate([[True], events["seq"][1:] != events["seq"][:-1]]))
            taken.append(events["accepted"][first])
            left.append(events["left"][first])
            reports.append(np.diff(np.concatenate([first, [len(events)]])))
            progress(len(burst))
    accepted, gone = np.concatenate(taken), np.concatenate(left)
    # The book counts cycles modulo 2**32. The last command keeps it as long as the one before.
    service = (accepted[1:] - accepted[:-1]).astype(np.int64)
    return _Cycles(
        np.append(service, service[-1]), (gone - accepted).astype(np.int64), np.concatenate(reports)
    )


def _gateware(cycles: _Cycles, mhz: float, clock: str) -> list[Subject]:
    """The core, and the core behind what its links carry."""
    ns = 1e3 / mhz
    mean = float(cycles.service.mean())
    told = f"cycles of the Verilated core, at {mhz:.1f} MHz, {clock}"

    def core(least: int) -> Callable[[Times], Times]:
        service = np.maximum(cycles.service, least)

        def done(due: Times) -> Times:
            count = len(due)
            return queue(
                due, (service[:count] * ns).astype(np.int64), (cycles.answer[:count] * ns).astype(np.int64)
            )

        return done

    def alone(least: int) -> Callable[[Times], tuple[Times, int]]:
        carried = core(least)
        return lambda due: ((done := carried(due)) - due, int(done[-1]))

    def uart(due: Times) -> tuple[Times, int]:
        """There in frames, through the core, back in frames: a command is answered by its first report."""
        done, reports = core(ENDPOINT_CYCLES)(line(due)), cycles.reports[: len(due)]
        back = line(np.repeat(done, reports))
        firsts = np.cumsum(reports) - reports
        return back[firsts] - due, int(back[-1])

    count = len(cycles.service)
    behind = max(mean, float(np.maximum(cycles.service, ENDPOINT_CYCLES).mean()))
    frames = _BAUD / 10 / (_ITEM + _FRAME / _ITEMS)
    slow = frames / max(1.0, float(cycles.reports.mean()))
    return [
        Subject(
            "gateware core",
            "no link in front",
            told,
            1e9 / (mean * ns),
            alone(0),
            count,
            _shares(1e9 / (mean * ns)),
        ),
        Subject(
            "gateware behind its link's endpoint",
            f"a command every {ENDPOINT_CYCLES} cycles at most, on a line that takes no time",
            told,
            1e9 / (behind * ns),
            alone(ENDPOINT_CYCLES),
            count,
            _shares(1e9 / (behind * ns)),
        ),
        Subject(
            "gateware behind the UART",
            f"{_BAUD:,} baud each way, frames of up to {_ITEMS} commands or reports; no host, no adapter",
            f"{told}, and the line",
            slow,
            uart,
            min(count, 20_000),
            _shares(slow),
        ),
    ]


def _shares(per_s: float) -> list[float]:
    return [share * per_s for share in SHARES]


def _library(name: str, what: str, path: Path, messages: Array) -> Subject:
    """An engine behind the C interface, in this thread and in real time."""
    from hawse_sim.abi.timing import Library  # noqa: PLC0415

    library = Library(path)
    per_s = 1e9 / min(library.time(messages)[0] / len(messages) for _ in range(3))
    return Subject(
        name, what, "", per_s, lambda due: library.time_open(messages, due), len(messages), _shares(per_s)
    )


class _Host:
    """The whole venue around the software engine, a fresh one for each run.

    Args:
        seconds: of a run, at most; so long at the highest rate.
        rates: commands a second.
    """

    def __init__(self, seconds: float, rates: Sequence[int]) -> None:
        self.count = int(seconds * max(rates))
        keys = [derive("hawse bench latency", n) for n in range(1, 1 + _ACCOUNTS)]
        self.flow = bench_venue.Flow(_ACCOUNTS, self.count, keys)
        slots = self.flow.slots(0)
        self.rows = np.concatenate([slot.commands for slot in slots])

    def run(self, due: Times) -> tuple[Times, int]:
        """A slot begins as soon as a command waits; its commands have their receipts when it is done."""
        config = bench_venue.CONFIG
        with (
            TemporaryDirectory(dir=Path.cwd()) as name,
            Journal(Path(name), config.encode()) as journal,
            closing(Engine(SoftBackend(config.geometry))) as engine,
        ):
            venue = Venue(config, engine, journal, Snapshots(Path(name) / "snapshots"), lambda done: None)
            for slot in self.flow.deposits():
                venue.run_slot(slot)
            return self._slots(venue, due)

    def _slots(self, venue: Venue, due: Times) -> tuple[Times, int]:
        rows, late, at, number = self.rows[: len(due)], np.zeros(len(due), np.int64), 0, venue.next_slot
        begun = time.perf_counter_ns()
        while at < len(rows):
            now = time.perf_counter_ns() - begun
            end = min(int(np.searchsorted(due, now, "right")), at + bench_venue.SLOT)
            if end == at:
                time.sleep(max(0, int(due[at]) - now) / 1e9)
                continue
            when = bench_venue.START + 10**6 + number
            venue.run_slot(SlotInput(number, when, Cut.TIME, commands=rows[at:end]))
            late[at:end] = time.perf_counter_ns() - begun - due[at:end]
            at, number = end, number + 1
        return late, time.perf_counter_ns() - begun


def _host(seconds: float, rates: Sequence[int]) -> list[Subject]:
    """The venue at each rate, of which each has as many commands as come in ``seconds``."""
    host = _Host(seconds, rates)
    what = "signature, margin, journal with a sync a slot, software engine, outcome, one thread of slots"
    return [
        Subject("venue", what, "", 0.0, host.run, max(100, int(seconds * rate)), (rate,)) for rate in rates
    ]


# The command


def measure(
    scenario: str, messages: int, repeats: int, results: Path, libraries: Sequence[tuple[str, Path]]
) -> dict[str, Any]:
    """The engines.

    Raises:
        ClickException: no routed result tells a clock.
    """
    from hawse_sim import abi  # noqa: PLC0415
    from hawse_sim.flow import benchmark  # noqa: PLC0415

    routed = fastest_routed(results, "appliance")
    if routed is None:
        raise click.ClickException(f"{results} has no routed appliance of the present gateware: no clock")
    flow = benchmark.generate(scenario, "serial", max(8, messages * 1000 // 1997))
    rows = benchmark.wire_orders(flow)
    place = next(place for place in places(routed.geometry) if place.holds(rows))
    with bar("Gateware", len(rows)) as update:
        done = 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            update(min(done, len(rows)), len(rows))

        cycles = _cycles(place, rows, progress)
    own = "its own" if place.geometry == routed.geometry else "borrowed from a smaller geometry"
    subjects = _gateware(cycles, routed.fmax_mhz, f"{own}, {routed.file}")
    ours = "through the C interface: ids mapped, reports handed off in the same thread; one pinned core"
    subjects.append(_library("software engine", ours, abi.soft_library(), flow))
    for name, path in libraries:
        subjects.append(_library(name, "through the C interface, likewise", path, flow))
    told = {"scenario": f"{scenario} serial", "messages": len(flow), "geometry": asdict(place.geometry)}
    told["clock_mhz"] = routed.fmax_mhz
    told["cycles_per_command"] = round(float(cycles.service.mean()), 4)
    return told | {"engines": [_measured([subject], repeats) for subject in subjects]}


def _measured(subjects: Sequence[Subject], repeats: int) -> dict[str, Any]:
    """One engine; several subjects are one at its rates."""
    first, total = subjects[0], repeats * len(PATTERNS) * sum(len(s.rates) for s in subjects)
    told: dict[str, Any] = {"name": first.name, "what": first.what, "simulated": first.simulated}
    told["back_to_back_per_s"] = round(first.per_s) or None
    told["patterns"] = {}
    with bar(first.name, total) as update:
        done = 0

        def progress() -> None:
            nonlocal done
            done += 1
            update(done, total)

        for pattern in PATTERNS:
            parts = [under_load(subject, pattern, repeats, progress) for subject in subjects]
            points = [point for part in parts for point in part["points"]]
            told["patterns"][pattern] = {"knee_per_s": knee(points), "points": points}
    return told


@click.command()
@click.option("--messages", type=click.IntRange(2_000), default=200_000, show_default=True, help="Of a run.")
@click.option("--scenario", default="normal", show_default=True, help="Of the public benchmark, serial.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Of each rate.")
@click.option(
    "--library",
    "libraries",
    type=(str, click.Path(exists=True, dir_okay=False, path_type=Path)),
    multiple=True,
    metavar="NAME FILE",
    help="Another engine, as a library of the benchmark's C interface; may be repeated.",
)
@click.option(
    "--host-rate",
    "host_rates",
    type=click.IntRange(1),
    multiple=True,
    default=HOST_RATES,
    help="Commands a second at the whole venue; may be repeated.",
)
@click.option(
    "--host-seconds", type=click.FloatRange(0.05), default=2.0, show_default=True, help="Of each such run."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Where route-*.json tell the routed clock.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the result here.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SVG of the engines; the venue's beside.",
)
@click.option(
    "--docs",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Checkout whose docs/benchmark.md gets the table.",
)
@json_option
@clear_errors
def latency(
    messages: int,
    scenario: str,
    repeats: int,
    libraries: tuple[tuple[str, Path], ...],
    host_rates: tuple[int, ...],
    host_seconds: float,
    results: Path,
    out: Path | None,
    plot: Path | None,
    docs: Path | None,
    as_json: bool,
) -> None:
    """Latency of orders that come on their own, at rates up to what an engine carries and beyond.

    Every order has its time before the run, and its latency counts from then, however long it waited. The
    gateware's cycles are simulated, with commands back to back, and put behind a queue that is worked out at
    the routed clock; software and venue are timed as they run, on one pinned core. Arrivals are Poisson, or
    bursts of sixteen in the mean.
    """
    core, load = pin(), os.getloadavg()[0]
    found = {
        "repeats": repeats,
        "not_counted": WARM,
        "burst": BURST,
        "knee": "the rate at which rate over mean latency is greatest",
    }
    found |= measure(scenario, messages, repeats, results, libraries)
    rates = sorted(host_rates)
    found["host"] = _measured(_host(host_seconds, rates), min(repeats, 3)) | {
        "accounts": _ACCOUNTS,
        "seconds": host_seconds,
        "repeats": min(repeats, 3),
    }
    found["machine"] = {
        "pinned_to_core": core,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
    }
    if out:
        more = "".join(f" --library {name} {path.name}" for name, path in libraries)
        more += "".join(f" --host-rate {rate}" for rate in rates) if host_rates != HOST_RATES else ""
        command = f"hawse bench latency --messages {messages} --scenario {scenario} --repeats {repeats}"
        record(out, f"{command} --host-seconds {host_seconds:g}{more} --out {out}", found)
    if plot:
        latency_report.plot(found, plot)
    if docs:
        latency_report.write_docs(found, docs)
    if as_json:
        say(found)
    else:
        latency_report.show(found)
