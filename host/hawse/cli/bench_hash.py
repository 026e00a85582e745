"""``hawse bench hash``: the hash cores against the best software on this machine, in one run."""

import hashlib
import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes import CDLL, c_size_t, c_void_p
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tiny_keccak import keccak256

from hawse.commit import exits, trees
from hawse.commit.exits import ExitLeaf
from hawse.commit.trees import NodeTag, Tree
from hawse.engine import Engine, SoftBackend
from hawse.engine.native import build
from hawse.results import record
from hawse.wire import Geometry
from hawse.wire.dtypes import Array

from .common import Routed, clear_errors, console, fastest_routed, json_option, say

Bytes = NDArray[np.uint8]
#: Hashes rows of messages: shape (n, bytes) to (n, 32).
Hasher = Callable[[Bytes], Bytes]

#: Bytes that a permutation takes in.
RATE = 136
#: A full chunk of records behind its tag.
CHUNK_BYTES = 1 + 64 * 24
LEAVES = 65_536
ACCOUNTS = 100_000
_NODE = 0x01
_LONG = 1 << 20  # bytes
_TIMES = 3
_WIDTHS = {8: "eight at once (AVX-512)", 4: "four at once (AVX2)", 1: "one at a time"}


class BenchmarkFailed(click.ClickException):
    """What was measured gave a wrong result, so its figures are worth nothing."""


@dataclass(frozen=True)
class Software:
    """A way to hash: permutations a second on messages of one block, and on long ones."""

    name: str
    short: float
    long: float

    @property
    def permutations_per_s(self) -> float:
        """The better of the two."""
        return max(self.short, self.long)


@contextmanager
def one_processor() -> Iterator[None]:
    """Everything within runs on one core, where the system can say so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _seconds(work: Callable[[], object]) -> float:
    """Processor time of the fastest of some runs: what others do on the machine does not count."""
    took = []
    for _ in range(_TIMES):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


# Software


def _native(limit: int) -> tuple[int, Hasher]:
    """Our own C++, at most ``limit`` messages side by side; how many it takes, and the function."""
    library = CDLL(str(build.native_library(f"-DHAWSE_KECCAK_WIDTH={limit}")))
    pointer = c_void_p

    def run(messages: Bytes) -> Bytes:
        count, size = messages.shape
        out = np.empty((count, 32), np.uint8)
        arguments = (pointer(messages.ctypes.data), c_size_t(size), c_size_t(count), pointer(out.ctypes.data))
        if library.hawse_keccak256(*arguments):
            raise BenchmarkFailed("the native library ran out of memory")
        return out

    return int(library.hawse_keccak256_width()), run


def _python() -> dict[str, Callable[[bytes], object]]:
    """What is installed, called from Python. SHA3-256 is the same permutation with another padding."""
    found: dict[str, Callable[[bytes], object]] = {"tiny_keccak": keccak256}
    with suppress(ImportError):
        sha3: Any = importlib.import_module("sha3")
        found["safe-pysha3"] = lambda message: sha3.keccak_256(message).digest()
    with suppress(ImportError):
        keccak: Any = importlib.import_module("Crypto.Hash.keccak")
        found["pycryptodome"] = lambda message: keccak.new(data=message, digest_bits=256).digest()
    found["OpenSSL's SHA3-256 (hashlib)"] = lambda message: hashlib.sha3_256(message).digest()
    return found


def _each(function: Callable[[bytes], object], messages: list[bytes]) -> None:
    for message in messages:
        function(message)


def _software(rng: np.random.Generator) -> tuple[list[Software], Hasher]:
    """Everything that can hash here, and our own widest."""
    short = rng.integers(0, 256, (LEAVES, RATE - 1), dtype=np.uint8)
    long = rng.integers(0, 256, (8, _LONG), dtype=np.uint8)
    permutations = long.size // _LONG * (_LONG // RATE + 1)
    out, widest, seen = [], None, set()
    for limit in sorted(_WIDTHS, reverse=True):
        width, run = _native(limit)
        if width in seen:
            continue
        seen.add(width)
        widest = widest or run
        if bytes(run(short[:9])[8]) != bytes(keccak256(short[8].tobytes())):
            raise BenchmarkFailed(f"our own C++, {_WIDTHS[width]}, hashes wrongly")
        rates = LEAVES / _seconds(partial(run, short)), permutations / _seconds(partial(run, long))
        out.append(Software(f"our own C++, {_WIDTHS[width]}", *rates))
    messages, one = [row.tobytes() for row in short[: LEAVES // 4]], long[0].tobytes()
    for name, function in _python().items():
        rate = len(messages) / _seconds(partial(_each, function, messages))
        out.append(Software(name, rate, (_LONG // RATE + 1) / _seconds(partial(function, one))))
    assert widest
    return out, widest


def _merkle_root(leaves: Bytes, run: Hasher) -> bytes:
    """Root over a power of two of leaves, level by level."""
    level = leaves
    while len(level) > 1:
        messages = np.empty((len(level) // 2, 65), np.uint8)
        messages[:, 0] = _NODE
        messages[:, 1:] = level.reshape(-1, 64)
        level = run(messages)
    return level.tobytes()


# Hardware


def _core(rng: np.random.Generator) -> float:
    """Clock cycles a permutation of the Verilated core, in a stream of full chunks of records."""
    from hawse_sim.keccak import KeccakModel  # noqa: PLC0415 - an extra that the host can do without

    with KeccakModel() as core:
        messages = rng.integers(0, 256, (64, CHUNK_BYTES), dtype=np.uint8)
        digests, cycles = core.hash(messages)
        _, half = core.hash(messages[:32])
    if digests[-1].tobytes() != bytes(keccak256(messages[-1].tobytes())):
        raise BenchmarkFailed("the hash core hashes wrongly")
    return (cycles - half) / (32 * (CHUNK_BYTES // RATE + 1))


def _merkle_cycles(leaves: Bytes, cores: int) -> tuple[bytes, int]:
    """Root from the Verilated core, and clock cycles where each level is shared among so many cores."""
    from hawse_sim.keccak import KeccakModel  # noqa: PLC0415

    cycles = 0
    with KeccakModel() as core:

        def run(messages: Bytes) -> Bytes:
            nonlocal cycles
            shares = [core.hash(part) for part in np.array_split(messages, cores) if len(part)]
            cycles += max(took for _, took in shares)
            return np.concatenate([digests for digests, _ in shares])

        return _merkle_root(leaves, run), cycles


class _Tape:
    """The software engine as a backend that keeps what was asked of it and what it answered."""

    def __init__(self, geometry: Geometry) -> None:
        self._soft = SoftBackend(geometry)
        self.name, self.geometry = self._soft.name, geometry
        self.commands: list[Array] = []
        self.beats: list[Array] = []

    def reset(self, epoch: int) -> None:
        self._soft.reset(epoch)

    def exchange(self, commands: Array) -> Array:
        beats = self._soft.exchange(commands)
        self.commands.append(commands.copy())
        self.beats.append(beats.copy())
        return beats

    def board_epoch(self) -> int:
        return 0

    def close(self) -> None:
        self._soft.close()


def _flow(scenario: str, variant: str, messages: int, cores: int) -> dict[str, int]:
    """One benchmark flow through the Verilated book and so many hash cores.

    The driver hands out handles in front of the software engine; the same commands then meet the gateware
    back to back, across the fences too, and every report and digest must be the same.
    """
    from hawse_sim.differential import Difference, demand_same  # noqa: PLC0415
    from hawse_sim.flow import benchmark  # noqa: PLC0415
    from hawse_sim.rtl import RtlBackend  # noqa: PLC0415

    flow = benchmark.generate(scenario, variant, max(1, messages * 1000 // 1997))
    tape = _Tape(benchmark.GEOMETRY)
    with Engine(tape) as engine:
        engine.reset(1)
        engine.open(0, 0)
        for burst in benchmark.bursts(benchmark.wire_orders(flow)):
            engine.run(burst)
    opening, commands = tape.commands[0], np.concatenate(tape.commands[1:])
    with RtlBackend(benchmark.GEOMETRY, hash_cores=cores) as rtl:
        rtl.reset(1)
        rtl.exchange(opening)
        before = rtl.cycles, rtl.held_cycles, rtl.full_cycles
        beats = rtl.exchange(commands)
        cycles, held, full = rtl.cycles - before[0], rtl.held_cycles - before[1], rtl.full_cycles - before[2]
        most = {
            "most_records_in_a_queue": rtl.record_level,
            "most_beats_behind_a_fence": rtl.beat_level,
            "most_cycles_to_a_fence": rtl.fence_cycles,
        }
    try:
        demand_same(("gateware", "software"), beats, np.concatenate(tape.beats[1:]))
    except Difference as error:
        raise BenchmarkFailed(f"{scenario} {variant}: {error}") from error
    fences = len(tape.commands) - 1
    return {
        "commands": len(commands) - fences,
        "fences": fences,
        "records": len(beats) - 2 * fences,
        "cycles": cycles,
        "stall_cycles_from_hashing": held,
        "stall_cycles_full_queue": full,
        "stall_cycles_behind_a_fence": held - full,
        **most,
    }


def _appliance(
    flows: Sequence[tuple[str, str]], messages: int, cores: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Flows, by scenario and variant, through the Verilated core, with the queues that the log has."""
    from hawse_hdl.hashing import ReportLog  # noqa: PLC0415

    told = {}
    for scenario, variant in flows:
        progress(f"{scenario} {variant}")
        told[f"{scenario} {variant}"] = _flow(scenario, variant, messages, cores)
    log = signature(ReportLog).parameters
    return {
        "hash_cores": cores,
        "records_per_queue": log["depth"].default,
        "beats_behind_a_fence": log["beats"].default,
        "stall_cycles_from_hashing": sum(flow["stall_cycles_from_hashing"] for flow in told.values()),
        "flows": told,
    }


def routed_clocks(folder: Path) -> tuple[Routed | None, Routed | None]:
    """What gives the clock of the hash core, and that of the appliance: the fastest of each that was routed.

    Where there is no hash core alone, its clock is the appliance's.
    """
    core, appliance = fastest_routed(folder, "keccak"), fastest_routed(folder, "appliance")
    return core or appliance, appliance


# The host's trees


def _host(rng: np.random.Generator) -> dict[str, float]:
    """Seconds for the accounts tree and the exit tree of a batch over :data:`ACCOUNTS` accounts."""
    hashes = rng.bytes(32 * ACCOUNTS)
    leaves = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
    owed = [ExitLeaf(n, leaf[:20], n, 0, n) for n, leaf in enumerate(leaves)]
    return {
        "accounts_tree_s": _seconds(lambda: Tree(NodeTag.ACCOUNTS, leaves)),
        "exit_tree_s": _seconds(lambda: exits.tree(owed)),
    }


def measure(results: Path, flows: Sequence[tuple[str, str]], messages: int, cores: int) -> dict[str, Any]:
    """All figures; ``results`` holds those of the routing, ``flows`` are scenarios with their variants."""
    rng = np.random.default_rng(1)
    leaves = rng.integers(0, 256, (LEAVES, 32), dtype=np.uint8)
    core_clock, appliance_clock = routed_clocks(results)
    if core_clock is None:
        console.print(f"No routed clock in {results}: cycles only")
    console.print("Hashing in the Verilated gateware …")
    appliance = _appliance(flows, messages, cores, lambda flow: console.print(f"  {flow}"))
    per_permutation = _core(rng)
    hardware_root, root_cycles = _merkle_cycles(leaves, cores)
    with one_processor():
        console.print("Hashing in software …")
        software, widest = _software(rng)
        software_root = _merkle_root(leaves, widest)
        root_seconds = _seconds(lambda: _merkle_root(leaves, widest))
        plain = [leaf.tobytes() for leaf in leaves]
        python_seconds = _seconds(lambda: trees.root(plain, NodeTag.LOG))
        console.print("Hashing the host's trees …")
        host = _host(rng)
    if not hardware_root == software_root == trees.root(plain, NodeTag.LOG):
        raise BenchmarkFailed(f"roots differ: {hardware_root.hex()}, {software_root.hex()}")
    best = max(software, key=lambda s: s.permutations_per_s)

    def rate(clock: Routed | None, cores: int) -> float | None:
        return None if clock is None else clock.fmax_mhz * 1e6 * cores / per_permutation

    own, two, shared = rate(core_clock, cores), rate(core_clock, 2), rate(appliance_clock, cores)
    return {
        "core": {"cycles_per_permutation": per_permutation, "bytes_per_cycle": RATE / per_permutation},
        "appliance": appliance,
        "hardware": {
            "cores": cores,
            "clock_mhz": core_clock and core_clock.fmax_mhz,
            "clock_from": core_clock and core_clock.file,
            "permutations_per_s": own and round(own),
            "bytes_per_s": own and round(own * RATE),
            "two_cores_permutations_per_s": two and round(two),
            "appliance": {
                "clock_mhz": appliance_clock and appliance_clock.fmax_mhz,
                "clock_from": appliance_clock and appliance_clock.file,
                "permutations_per_s": shared and round(shared),
            },
            "merkle_root_cycles": root_cycles,
            "merkle_root_s": core_clock and root_cycles / (core_clock.fmax_mhz * 1e6),
        },
        "software": {
            "best": best.name,
            "permutations_per_s": round(best.permutations_per_s),
            "bytes_per_s": round(best.permutations_per_s * RATE),
            "merkle_root_s": root_seconds,
            "merkle_root_tiny_keccak_s": python_seconds,
            "each": {s.name: {"short_per_s": round(s.short), "long_per_s": round(s.long)} for s in software},
        },
        "host": host,
        "hardware_to_software": own and round(own / best.permutations_per_s, 2),
    }


# Showing it


def _tables(result: dict[str, Any]) -> list[Table]:
    core, hardware, software = result["core"], result["hardware"], result["software"]
    rates = Table(
        "", "permutations/s", "MB/s", title="Keccak-256: cores of the appliance and one of this machine"
    )
    cores, shared = hardware["cores"], hardware["appliance"]
    routed = {
        f"{n} hash cores at {told['clock_mhz']:.1f} MHz ({told['clock_from']})": rate
        for n, told, rate in (
            (cores, hardware, hardware["permutations_per_s"]),
            (2, hardware, hardware["two_cores_permutations_per_s"]),
            (cores, shared, shared["permutations_per_s"]),
        )
        if told["clock_mhz"]
    }
    for name, rate in routed.items():
        rates.add_row(name, *_rate(rate))
    if not routed:
        cycles = f"{core['cycles_per_permutation']:.2f} cycles each"
        rates.add_row(f"{cores} hash cores, not routed yet", cycles, "")
    for name, each in software["each"].items():
        rates.add_row(name, *_rate(max(each["short_per_s"], each["long_per_s"])))
    for column in rates.columns[1:]:
        column.justify = "right"

    more = Table(show_header=False)
    more.add_row("Cycles a permutation", f"{core['cycles_per_permutation']:.2f}")
    seconds = hardware["merkle_root_s"]
    text = f"{hardware['merkle_root_cycles']:,} cycles" + (f", {1e3 * seconds:.2f} ms" if seconds else "")
    more.add_row(f"Merkle root of {LEAVES:,} leaves, hardware", text)
    more.add_row(f"the same, {software['best']}", f"{1e3 * software['merkle_root_s']:.2f} ms")
    more.add_row("the same, Python with tiny_keccak", f"{1e3 * software['merkle_root_tiny_keccak_s']:.1f} ms")
    for name, seconds in result["host"].items():
        what = name.removesuffix("_s").replace("_", " ")
        more.add_row(f"Host: {what}, {ACCOUNTS:,} changed", f"{seconds:.2f} s")
    if result["hardware_to_software"]:
        more.add_row("Hardware : best software", f"{result['hardware_to_software']:.2f}")
    return [rates, _stalls(result["appliance"]), more]


def _stalls(appliance: dict[str, Any]) -> Table:
    table = Table("", title=f"Benchmark flows through the book and {appliance['hash_cores']} hash cores")
    columns = {
        "commands": ("commands", None),
        "records": ("records", None),
        "cycles": ("cycles", None),
        "of them held by hashing": ("stall_cycles_from_hashing", None),
        "records in a queue": ("most_records_in_a_queue", "records_per_queue"),
        "beats behind a fence": ("most_beats_behind_a_fence", "beats_behind_a_fence"),
        "cycles to a fence": ("most_cycles_to_a_fence", None),
    }
    for title in columns:
        table.add_column(title, justify="right")
    for name, flow in appliance["flows"].items():
        cells = (
            f"{flow[key]:,}" + (f" of {appliance[room]:,}" if room else "") for key, room in columns.values()
        )
        table.add_row(name, *cells)
    table.caption = "the last three: the most that ever was"
    return table


def _rate(permutations: float) -> tuple[str, str]:
    return f"{permutations:,.0f}", f"{permutations * RATE / 1e6:,.0f}"


def _plot(result: dict[str, Any], file: Path) -> None:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise click.UsageError(f"--plot needs matplotlib: pip install 'hawse[bench]' ({error})") from error
    hardware = result["hardware"]
    rows = {n: max(e["short_per_s"], e["long_per_s"]) for n, e in result["software"]["each"].items()}
    colours = ["tab:gray"] * len(rows)
    if hardware["clock_mhz"]:
        rows[f"{hardware['cores']} hash cores, {hardware['clock_mhz']:.0f} MHz"] = hardware[
            "permutations_per_s"
        ]
        colours.append("tab:blue")
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(rows), [rate / 1e6 for rate in rows.values()], color=colours)
    axes.margins(x=0.12)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlabel("million Keccak-f[1600] permutations a second; software on one processor core")
    figure.savefig(file, dpi=120)


@click.command("hash")
@click.option("--messages", type=click.IntRange(1), default=100_000, show_default=True, help="Of each flow.")
@click.option("--scenario", "scenarios", multiple=True, metavar="NAME", help="Only this; may be repeated.")
@click.option("--variant", type=click.Choice(["serial", "interleaved"]), help="Only this; else both.")
@click.option("--cores", type=click.IntRange(1, 16), help="Hash cores; else as many as the appliance has.")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Where route-*.json says the routed clock.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the result here.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a plot (PNG).")
@json_option
@clear_errors
def hash_(
    messages: int,
    scenarios: tuple[str, ...],
    variant: str | None,
    cores: int | None,
    results: Path,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """The hash cores against the best software on this machine.

    Cycles are counted in the Verilated gateware and multiplied by the clock that routing gave; software runs
    on one core, in processor time, and every way of hashing that is installed is named with its own figure.
    Another number of --cores than the appliance's is built first.
    """
    try:
        from hawse_hdl.hashing import CORES  # noqa: PLC0415 - extras that the host can do without
        from hawse_sim.flow.benchmark import SCENARIOS, VARIANTS  # noqa: PLC0415
    except ImportError as error:
        raise click.UsageError(f"the gateware needs the extras hdl and sim: {error}") from error
    if unknown := [name for name in scenarios if name not in SCENARIOS]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(SCENARIOS)}", param_hint="--scenario")
    variants = [variant] if variant else VARIANTS
    flows = [(name, kind) for kind in variants for name in dict.fromkeys(scenarios or SCENARIOS)]
    result = measure(results, flows, messages, cores or CORES)
    if out:
        chosen = "".join(f" --scenario {name}" for name in scenarios)
        chosen += f" --variant {variant}" if variant else ""
        command = f"hawse bench hash --messages {messages}{chosen} --cores {cores or CORES} --out {out}"
        record(out, command, result)
    if plot:
        _plot(result, plot)
    if as_json:
        say(result)
        return
    for table in _tables(result):
        Console().print(table)
