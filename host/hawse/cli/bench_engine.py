"""``hawse bench engine``: the matching engines on the published workload, side by side."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from hawse.engine import Engine, EngineError, GoldenBackend, SoftBackend, split
from hawse.engine.native.bindings import Driver, Soft
from hawse.results import record
from hawse.wire import Geometry, InstrumentState, Opcode, Reason
from hawse.wire.dtypes import COMMAND, ORDER, Array, make, records

from . import engine_report
from .common import Routed, bar, clear_errors, fastest_routed, json_option, say

_GOLDEN = 10_000  # commands at most for the golden engine, which takes some 30 us for each
_ALONE = 300  # commands at most that meet an empty pipe
_ROUNDS = 5  # interleaved timings of each form of the software, of which the fastest counts
_BATCH = 256  # messages in one call of the C interface
_BAUD = 1_000_000  # of the appliance's UART
_FRAME = 8 * 32 + 12 + 4 + 1  # bytes on the line of eight commands, without escapes
#: Clock cycles from command to command at best, as ``hawse_hdl.link.endpoint`` says; a test holds it to that.
ENDPOINT_CYCLES = 12


def _percentiles(values: NDArray[Any]) -> dict[str, int]:
    at = {"p50": 50.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
    if not len(values):
        return dict.fromkeys(at, 0)
    return {name: int(np.percentile(values, q, method="higher")) for name, q in at.items()}


def _distribution(values: NDArray[Any]) -> list[list[float]]:
    """Percentiles in the steps of an HDR histogram, each half as far from 100 as the one before it."""
    ordered = np.sort(values)
    steps = [100 * (1 - 2.0**-k) for k in range(1, 40) if 2**k < 2 * len(ordered)]
    out = [[q, int(np.percentile(ordered, q, method="higher"))] for q in (0.0, *steps)]
    return [*out, [100.0, int(ordered[-1])]] if len(ordered) else []


def _first_reports(events: Array) -> NDArray[np.uint32]:
    """Cycles from each command's acceptance to its first report, by the sideband."""
    first = np.ones(len(events), bool)
    first[1:] = events["seq"][1:] != events["seq"][:-1]
    return np.asarray(events["left"][first] - events["accepted"][first], np.uint32)


@dataclass(frozen=True)
class Place:
    """Where a flow runs.

    Attributes:
        geometry: of the engines.
        base: of the band of instrument 0, whose window is the whole pool, in ticks.
        burst: messages from FENCE to FENCE.
    """

    geometry: Geometry
    base: int
    burst: int

    def holds(self, rows: Array) -> bool:
        """Whether no order lacks a handle or a place in the band."""
        from hawse_sim.flow.benchmark import bursts  # noqa: PLC0415

        with Engine(SoftBackend(self.geometry), recentring=False) as engine:
            engine.reset(1)
            engine.open(0, self.base, first=0, count=self.geometry.pool)
            for burst in bursts(rows, self.burst):
                done = engine.run(burst)
                if done.refused or (done.events["reason"] == Reason.PRICE).any():
                    return False
        return True


def places(routed: Geometry | None) -> list[Place]:
    """Where flows may run, the best first: what is routed, and what holds every flow.

    Handles are free again behind a FENCE only, so a small store needs more of them.
    """
    from hawse_sim.flow import benchmark  # noqa: PLC0415

    whole = Place(benchmark.GEOMETRY, 0, 16_384)
    if routed is None:
        return [whole]
    return [Place(routed, benchmark.START - routed.pool // 2, routed.orders // 2), whole]


def _opening(place: Place) -> Array:
    """ORDERs that open instrument 0, with the whole pool as its window."""
    rows = np.zeros(3, ORDER)
    rows["opcode"] = Opcode.STATE, Opcode.STATE, Opcode.CLOSE
    rows["quantity"] = InstrumentState.LOADING, InstrumentState.OPEN, 0
    rows["token"][0], rows["price"][0] = place.geometry.pool, place.base
    return rows


class _Recorder:
    """A backend that keeps the commands which it was given, and counts the cycles that they took."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.name: str = backend.name
        self.geometry: Geometry = backend.geometry
        self.commands: list[Array] = []
        self.cycles: list[int] = []

    def reset(self, epoch: int) -> None:
        self._backend.reset(epoch)

    def exchange(self, commands: Array) -> Array:
        before = self._backend.cycles
        beats: Array = self._backend.exchange(commands)
        self.commands.append(commands)
        self.cycles.append(self._backend.cycles - before)
        return beats

    def board_epoch(self) -> int:
        return 0

    def close(self) -> None:
        self._backend.close()


def _rtl(
    place: Place, bursts: Sequence[Array], alone: Sequence[Array], progress: Callable[[int], None]
) -> tuple[dict[str, Any], list[Array], bytes]:
    """The RTL's figures, all commands that it was given, by burst, and its records."""
    from hawse_sim.rtl import RtlBackend  # noqa: PLC0415

    backend = RtlBackend(place.geometry)
    recorder = _Recorder(backend)
    loaded, empty, said = [], [], []
    with Engine(recorder, recentring=False) as engine:
        engine.reset(1)
        said.append(engine.open(0, place.base, first=0, count=place.geometry.pool).events)
        for burst in bursts:
            done = engine.run(burst)
            if done.refused:
                raise EngineError(f"the driver refused a message: {done.refused[0][1].name}")
            said.append(done.events)
            loaded.append(_first_reports(done.events))
            progress(len(burst))
        commands, cycles = sum(len(b) for b in bursts), sum(recorder.cycles[1:])
        sent = sum(len(c) for c in recorder.commands[1:])
        if sent != commands:
            raise EngineError(f"{commands} messages became {sent} commands")
        for burst in alone:
            events = engine.run(burst).events
            said.append(events)
            empty.append(_first_reports(events))
        kept = backend.log_cycles
    messages = commands - len(bursts)
    figures = {
        "commands": messages,
        "fences": len(bursts),
        "cycles": cycles,
        "cycles_per_command": round(cycles / messages, 4),
        "first_report_cycles": _percentiles(np.concatenate(loaded)),
        "first_report_cycles_empty": _percentiles(np.concatenate(empty)) if empty else None,
        "first_report_distribution": _distribution(np.concatenate(loaded)),
        "report_log_cycles": kept,
    }
    return figures, recorder.commands, b"".join(records(events) for events in said)


def _soft(
    place: Place, bursts: Sequence[Array], orders: Sequence[Array], messages: Array
) -> tuple[Any, bytes]:
    """The software's figures, in every form that it has, and the engine's records.

    Args:
        place: where the RTL ran.
        bursts: the commands that the RTL was given; the first opens the instrument.
        orders: the same as the driver was given them.
        messages: the whole flow, for the C interface.
    """
    from hawse_sim import abi  # noqa: PLC0415
    from hawse_sim.abi.timing import Library  # noqa: PLC0415

    soft, library = Soft(place.geometry), Library(abi.soft_library())
    count = sum(len(burst) - 1 for burst in bursts[1:])
    soft.reset(1)
    beats = [np.ascontiguousarray(soft.exchange(burst)) for burst in bursts]
    said = b"".join(records(split(part).records) for part in beats)
    driver = Driver(place.geometry)
    driver.set_recentring(False)

    def engine(hashing: bool) -> float:
        soft.set_hashing(hashing)
        soft.reset(1)
        soft.time(bursts[0])
        return sum(soft.time(burst) for burst in bursts[1:]) / count

    def mapping() -> float:
        driver.reset()
        driver.time(orders[0], beats[0])
        return sum(driver.time(*both) for both in zip(orders[1:], beats[1:], strict=True)) / count

    forms: dict[str, Callable[[], float]] = {
        "engine": lambda: engine(False),
        "engine_hashing": lambda: engine(True),
        "interface": lambda: library.time(messages, _BATCH)[0] / len(messages),
        "interface_single_calls": lambda: library.time(messages)[0] / len(messages),
        "driver": mapping,
    }
    taken = {name: min(times) for name, times in _interleaved(forms).items()}
    each, stalls = library.time_each(messages)
    soft.close()
    driver.close()
    figures: dict[str, Any] = {
        f"{name}_per_s": round(1e9 / ns) for name, ns in taken.items() if name != "driver"
    }
    figures["driver_ns"] = round(taken["driver"], 1)
    figures |= {"interface_ns": _percentiles(each), "interface_stalls": stalls}
    figures["interface_distribution"] = _distribution(each)
    return figures, said


def _interleaved(forms: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Times of each form, taken in turn."""
    out: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(_ROUNDS):
        for name, form in forms.items():
            out[name].append(form())
    return out


def _golden(geometry: Geometry, bursts: Sequence[Array]) -> tuple[dict[str, Any], bytes]:
    golden = GoldenBackend(geometry)
    said = [records(split(golden.exchange(bursts[0])).records)]
    carried, seconds = 0, 0.0
    for burst in bursts[1:]:
        part = np.concatenate([burst[: _GOLDEN - carried], make(COMMAND, opcode=Opcode.HELLO)])
        begun = time.perf_counter()
        beats = golden.exchange(part)
        seconds += time.perf_counter() - begun
        said.append(records(split(beats).records))
        carried += len(part) - 1
        if carried >= _GOLDEN:
            break
    return {"commands": carried, "commands_per_s": round(carried / seconds)}, b"".join(said)


@dataclass(frozen=True)
class _Clock:
    """What turns cycles into seconds.

    Attributes:
        mhz: None: nothing is known.
        of: which design has it.
        geometry: that it has; None: not known, or of gateware that is no more.
    """

    mhz: float | None
    of: str
    geometry: Geometry | None

    @property
    def endpoint_per_s(self) -> int | None:
        """Commands a second that the link's endpoint takes at best, on whatever link."""
        return None if self.mhz is None else round(self.mhz * 1e6 / ENDPOINT_CYCLES)


def _clock(routed: Routed | None, assumed: float | None, of: str | None) -> _Clock:
    if assumed is not None:
        return _Clock(assumed, f"{of or 'an assumption'}, no routed result", None)
    if routed is None:
        return _Clock(None, "", None)
    return _Clock(routed.fmax_mhz, f"the appliance on {routed.device}, {routed.file}", routed.geometry)


def measure(
    scenario: str,
    variant: str,
    messages: int,
    seed: int | None,
    clock: _Clock,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """One flow through all three engines, at the geometry of ``clock`` if it fits there.

    Raises:
        EngineError: their records differ.
    """
    from hawse_sim.flow import benchmark  # noqa: PLC0415

    orders = max(1, messages * 1000 // 1997)
    flow = benchmark.generate(scenario, variant, orders, seed)
    rows = benchmark.wire_orders(flow)
    *small, whole = places(clock.geometry)
    place = next((place for place in small if place.holds(rows)), whole)
    single = min(_ALONE, len(rows) // 4)
    fence = make(ORDER, opcode=Opcode.FENCE)
    bulk, alone = rows[: len(rows) - single], rows[len(rows) - single :]
    given = benchmark.bursts(bulk, place.burst)
    one_by_one = [np.concatenate([alone[i : i + 1], fence]) for i in range(single)]
    rtl, bursts, from_rtl = _rtl(place, given, one_by_one, progress)
    soft, from_soft = _soft(place, bursts, [_opening(place), *given, *one_by_one], flow)
    golden, from_golden = _golden(place.geometry, bursts)
    if from_rtl != from_soft or not from_rtl.startswith(from_golden):
        raise EngineError(f"{scenario}: the engines' reports differ")
    if clock.mhz is not None:
        rtl["commands_per_s"] = round(clock.mhz * 1e6 / rtl["cycles_per_command"])
    used = benchmark.SCENARIOS[scenario].seed if seed is None else seed
    told = {"scenario": scenario, "variant": variant, "seed": used, "orders": orders, "messages": len(flow)}
    where = {"geometry": asdict(place.geometry), "routed": place is not whole}
    return {**told, **where, "rtl": rtl, "soft": soft, "golden": golden}


def pin() -> int | None:
    """Stay on one core from now on; its number, None where the system has no such call."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


@click.command()
@click.option("--messages", default=100_000, show_default=True, metavar="N", help="In each flow, about.")
@click.option("--scenario", "scenarios", multiple=True, metavar="NAME", help="Only this; may be repeated.")
@click.option(
    "--variant",
    "variants",
    type=click.Choice(["serial", "interleaved"]),
    multiple=True,
    help="Only this; else both.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Another than each scenario's own.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Where route-*.json tell the routed Fmax.",
)
@click.option("--clock-mhz", type=click.FloatRange(min=1), help="A clock that no routed result tells.")
@click.option("--clock-of", metavar="TEXT", help="Which design has that clock.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the result here.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="PNG to draw.")
@click.option(
    "--docs",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Checkout whose README.md and docs/benchmark.md get the tables.",
)
@json_option
@clear_errors
def engine(
    messages: int,
    scenarios: tuple[str, ...],
    variants: tuple[str, ...],
    seed: int | None,
    results: Path,
    clock_mhz: float | None,
    clock_of: str | None,
    out: Path | None,
    plot: Path | None,
    docs: Path | None,
    as_json: bool,
) -> None:
    """The ten benchmark flows through RTL, native software and golden model.

    Cycles are those of the Verilated core, from the first command to the last answer, at the routed geometry
    if the flow fits there, else at one that holds every flow; the core's throughput is the routed Fmax over
    them, which no link carries. The software is timed on one core, in thread time, in every form that it has.
    RTL and software have to report the same, and the golden model, which gets the first 10,000 commands.
    """
    try:
        from hawse_sim.flow.benchmark import SCENARIOS, VARIANTS  # noqa: PLC0415 - extras not all have
    except ImportError as error:
        raise click.ClickException(f"the flows need the extras hdl and sim: {error}") from error
    if unknown := [name for name in scenarios if name not in SCENARIOS]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(SCENARIOS)}", param_hint="--scenario")
    if messages < 8:
        raise click.BadParameter("at least 8", param_hint="--messages")
    routed = None if clock_mhz else fastest_routed(results, "appliance")
    clock = _clock(routed, clock_mhz, clock_of)
    core, load = pin(), os.getloadavg()[0]
    flows = {}
    for variant in variants or VARIANTS:
        for scenario in scenarios or SCENARIOS:
            name = f"{scenario} {variant}"
            with bar(name, messages) as update:
                done = 0

                def progress(more: int) -> None:
                    nonlocal done
                    done += more
                    update(done, messages)

                flows[name] = measure(scenario, variant, messages, seed, clock, progress)
    found: dict[str, Any] = {
        "clock": {
            "mhz": clock.mhz,
            "of": clock.of,
            "geometry": asdict(clock.geometry) if clock.geometry else None,
        },
        "link": {
            "endpoint_cycles_per_command": ENDPOINT_CYCLES,
            "endpoint_commands_per_s": clock.endpoint_per_s,
            "uart_commands_per_s": _BAUD // 10 * 8 // _FRAME,
        },
        "software": {
            "pinned_to_core": core,
            "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
            "rounds": _ROUNDS,
            "messages_a_call": _BATCH,
        },
        "flows": flows,
    }
    if out:
        options = "".join(f" --scenario {name}" for name in scenarios)
        options += "".join(f" --variant {name}" for name in variants)
        options += "" if seed is None else f" --seed {seed}"
        options += "" if clock_mhz is None else f" --clock-mhz {clock_mhz} --clock-of {clock_of!r}"
        record(out, f"hawse bench engine --messages {messages}{options} --out {out}", found)
    if plot:
        engine_report.plot(found, plot)
    if docs:
        engine_report.write_docs(found, docs)
    if as_json:
        say(found)
    else:
        engine_report.show(found)
