"""``hawse bench engine``: the matching engines on the published workload, side by side."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from hawse.engine import Engine, EngineError, GoldenBackend, SoftBackend, split
from hawse.engine.native.bindings import Soft
from hawse.results import record
from hawse.wire import Geometry, Opcode, Reason
from hawse.wire.dtypes import COMMAND, ORDER, Array, make, records

from .common import Routed, bar, clear_errors, fastest_routed, json_option, say

_GOLDEN = 10_000  # commands at most for the golden engine, which takes some 30 us for each
_ALONE = 300  # commands at most that meet an empty pipe
_REPEAT = 3  # timings of the software engine, of which the fastest counts


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
class _Place:
    """Where a flow runs.

    Attributes:
        geometry: of the engines.
        base: of the band of instrument 0, whose window is the whole pool, in ticks.
        burst: messages from FENCE to FENCE.
    """

    geometry: Geometry
    base: int
    burst: int


def _places(routed: Routed | None) -> list[_Place]:
    """Where flows may run, the best first: what is routed, and what holds every flow.

    Handles are free again behind a FENCE only, so a small store needs more of them.
    """
    from hawse_sim.flow import benchmark  # noqa: PLC0415

    whole = _Place(benchmark.GEOMETRY, 0, 16_384)
    if routed is None:
        return [whole]
    geometry = routed.geometry
    return [_Place(geometry, benchmark.START - geometry.pool // 2, geometry.orders // 2), whole]


def _fits(rows: Array, place: _Place) -> bool:
    """Whether no order lacks a handle or a place in the band."""
    from hawse_sim.flow.benchmark import bursts  # noqa: PLC0415

    with Engine(SoftBackend(place.geometry), recentring=False) as engine:
        engine.reset(1)
        engine.open(0, place.base, first=0, count=place.geometry.pool)
        for burst in bursts(rows, place.burst):
            done = engine.run(burst)
            if done.refused or (done.events["reason"] == Reason.PRICE).any():
                return False
    return True


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
    place: _Place, bursts: Sequence[Array], alone: Sequence[Array], progress: Callable[[int], None]
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


def _soft(geometry: Geometry, bursts: Sequence[Array]) -> tuple[dict[str, Any], bytes]:
    """The software engine's figures, and its records, of the bursts that the RTL was given."""
    soft = Soft(geometry)
    messages = sum(len(burst) - 1 for burst in bursts[1:])

    def rate(hashing: bool) -> float:
        soft.set_hashing(hashing)
        times = []
        for _ in range(_REPEAT):
            soft.reset(1)
            soft.time(bursts[0])
            times.append(sum(soft.time(burst) for burst in bursts[1:]))
        return round(messages * 1e9 / min(times))

    figures: dict[str, Any] = {"commands_per_s": rate(False), "hashing_commands_per_s": rate(True)}
    soft.set_hashing(False)
    soft.reset(1)
    soft.time(bursts[0])
    each = np.concatenate([soft.time_each(burst)[:-1] for burst in bursts[1:]])
    figures |= {"ns": _percentiles(each), "distribution": _distribution(each)}
    soft.reset(1)
    said = b"".join(records(split(soft.exchange(burst)).records) for burst in bursts)
    soft.close()
    return figures, said


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


def measure(
    scenario: str,
    variant: str,
    messages: int,
    seed: int | None,
    routed: Routed | None,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """One flow through all three engines, at the geometry of ``routed`` if it fits there.

    Raises:
        EngineError: their records differ.
    """
    from hawse_sim.flow import benchmark  # noqa: PLC0415

    orders = max(1, messages * 1000 // 1997)
    flow = benchmark.generate(scenario, variant, orders, seed)
    rows = benchmark.wire_orders(flow)
    *small, whole = _places(routed)
    place = next((place for place in small if _fits(rows, place)), whole)
    single = min(_ALONE, len(rows) // 4)
    fence = make(ORDER, opcode=Opcode.FENCE)
    bulk, alone = rows[: len(rows) - single], rows[len(rows) - single :]
    rtl, bursts, from_rtl = _rtl(
        place,
        benchmark.bursts(bulk, place.burst),
        [np.concatenate([alone[i : i + 1], fence]) for i in range(single)],
        progress,
    )
    soft, from_soft = _soft(place.geometry, bursts)
    golden, from_golden = _golden(place.geometry, bursts)
    if from_rtl != from_soft or not from_rtl.startswith(from_golden):
        raise EngineError(f"{scenario}: the engines' reports differ")
    used = benchmark.SCENARIOS[scenario].seed if seed is None else seed
    told = {"seed": used, "orders": orders, "messages": len(flow)}
    where = {"geometry": asdict(place.geometry), "routed": place is not whole}
    return {**told, **where, "rtl": rtl, "soft": soft, "golden": golden}


def _plot(found: dict[str, Any], path: Path) -> None:
    try:
        import matplotlib  # noqa: PLC0415
    except ImportError as error:
        raise click.ClickException(f"--plot needs the extra bench: {error}") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    names = list(found["flows"])
    at = np.arange(len(names))
    fmax = found["fmax_mhz"]
    soft = [found["flows"][name]["soft"]["commands_per_s"] / 1e6 for name in names]
    left.bar(at - 0.2, soft, 0.4, label="software, one core", color="#8a8a8a")
    if fmax:
        rtl = [found["flows"][name]["rtl"]["commands_per_s"] / 1e6 for name in names]
        left.bar(at + 0.2, rtl, 0.4, label=f"RTL at {fmax:.0f} MHz", color="#1f6f8b")
    left.set_xticks(at, names, rotation=20)
    left.set_ylabel("million commands a second")
    left.legend(frameon=False)
    for name in names:
        for engine, key, colour in (
            ("soft", "distribution", "#8a8a8a"),
            ("rtl", "first_report_distribution", "#1f6f8b"),
        ):
            points = [p for p in found["flows"][name][engine][key] if p[0] < 100]
            if engine == "rtl" and not fmax:
                continue
            scale = 1000 / fmax if engine == "rtl" else 1
            share = [1 / (1 - q / 100) for q, _ in points]
            right.plot(share, [value * scale for _, value in points], color=colour, lw=1)
    right.set_xscale("log")
    right.set_yscale("log")
    nines = [1, 10, 100, 1000, 10_000, 100_000]
    right.set_xticks(nines, ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"])
    right.set_xlabel("percentile")
    right.set_ylabel("ns to the first report (RTL), a command (software)")
    figure.suptitle(f"{found['variant']} flows")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _table(found: dict[str, Any]) -> Table:
    fmax = found["fmax_mhz"]
    where = f" at {fmax:.1f} MHz ({found['device']})" if fmax else ", no routed result: cycles only"
    table = Table(title=f"{found['variant']} flows; RTL{where}")
    table.add_column("flow")
    for title in ("messages", "cycles/cmd", "first report, cycles", "empty pipe", "RTL M/s", "soft M/s"):
        table.add_column(title, justify="right")
    for title in ("soft hashing M/s", "soft ns", "golden k/s", "RTL : soft"):
        table.add_column(title, justify="right")

    def spread(p: dict[str, int] | None) -> str:
        return "–" if p is None else f"{p['p50']} / {p['p99']} / {p['p999']} / {p['max']}"

    for name, flow in found["flows"].items():
        rtl, soft = flow["rtl"], flow["soft"]
        table.add_row(
            name if flow["routed"] else f"{name} *",
            f"{flow['messages']:,}",
            f"{rtl['cycles_per_command']:.3f}",
            spread(rtl["first_report_cycles"]),
            spread(rtl["first_report_cycles_empty"]),
            f"{rtl['commands_per_s'] / 1e6:.1f}" if fmax else "–",
            f"{soft['commands_per_s'] / 1e6:.1f}",
            f"{soft['hashing_commands_per_s'] / 1e6:.1f}",
            spread(soft["ns"]),
            f"{flow['golden']['commands_per_s'] / 1e3:.1f}",
            f"{flow['ratio']:.2f}" if fmax else "–",
        )
    whole = next((flow["geometry"] for flow in found["flows"].values() if not flow["routed"]), None)
    table.caption = "spreads: p50 / p99 / p99.9 / max"
    if whole:
        table.caption += f"; *: simulated with {whole['orders']:,} orders and {whole['pool']:,} levels"
    return table


@click.command()
@click.option("--messages", default=100_000, show_default=True, metavar="N", help="In each flow, about.")
@click.option("--scenario", "scenarios", multiple=True, metavar="NAME", help="Only this; may be repeated.")
@click.option("--variant", type=click.Choice(["serial", "interleaved"]), default="serial", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), help="Another than each scenario's own.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Where route-*.json tell the routed Fmax.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the result here.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="PNG to draw.")
@json_option
@clear_errors
def engine(
    messages: int,
    scenarios: tuple[str, ...],
    variant: str,
    seed: int | None,
    results: Path,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """The five benchmark flows through RTL, native software and golden model.

    Cycles are those of the Verilated core, from the first command to the last answer, at the routed geometry
    if the flow fits there, else at one that holds every flow; the RTL's throughput is the routed Fmax over
    them. The software engine is timed on one core. RTL and software have to report the same, and the golden
    model, which gets the first 10,000 commands.
    """
    try:
        from hawse_sim.flow.benchmark import SCENARIOS  # noqa: PLC0415 - extras that the host can do without
    except ImportError as error:
        raise click.ClickException(f"the flows need the extras hdl and sim: {error}") from error
    if unknown := [name for name in scenarios if name not in SCENARIOS]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(SCENARIOS)}", param_hint="--scenario")
    if messages < 8:
        raise click.BadParameter("at least 8", param_hint="--messages")
    routed = fastest_routed(results, "appliance")
    device, fmax = (routed.device, routed.fmax_mhz) if routed else (None, None)
    found: dict[str, Any] = {"variant": variant, "device": device, "fmax_mhz": fmax, "flows": {}}
    for name in scenarios or SCENARIOS:
        with bar(name, messages) as update:
            done = 0

            def progress(more: int) -> None:
                nonlocal done
                done += more
                update(done, messages)

            flow = measure(name, variant, messages, seed, routed, progress)
        cycles = flow["rtl"]["cycles_per_command"]
        flow["rtl"]["commands_per_s"] = round(fmax * 1e6 / cycles) if fmax else None
        flow["ratio"] = (
            round(flow["rtl"]["commands_per_s"] / flow["soft"]["commands_per_s"], 4) if fmax else None
        )
        found["flows"][name] = flow
    if out:
        command = f"hawse bench engine --messages {messages} --variant {variant} --out {out}"
        chosen = "".join(f" --scenario {name}" for name in scenarios)
        record(out, command + chosen + ("" if seed is None else f" --seed {seed}"), found)
    if plot:
        _plot(found, plot)
    if as_json:
        say(found)
    else:
        Console().print(_table(found))
