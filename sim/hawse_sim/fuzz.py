"""Adversarial flow in bulk: the Verilated gateware beside the native engine, beat for beat, in C++.

``python -m hawse_sim.fuzz -o docs/results/differential.json`` is the long run. A run is a row of sessions,
each from a reset, with a seed, a mix and stalls of its own, so that one that fails can be run again alone,
with a waveform.
"""

import argparse
import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from hawse import results
from hawse.engine.native.build import HERE as NATIVE
from hawse.engine.native.build import source_files
from hawse.wire import BEAT_BYTES, Geometry, Kind, Opcode, Reason, SelfTrade, TimeInForce
from hawse.wire.dtypes import COMMAND, REPORT, Array
from hawse_hdl.book import Book
from hawse_hdl.core import Core
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn

from .differential import Difference
from .rtl import FOREVER, RtlStalled, load, trace_file
from .verilate import announce_build, build_library

#: What is compared: the core with its digests and roots, or the book alone, which no hashing holds back.
TOPS: dict[str, Callable[[Geometry], Any]] = {"core": Core, "book": Book}
#: Few orders and levels: a store is full, an edge is met and windows meet in no time.
SMALL = Geometry(instruments=4, pool=1024, orders=64, tag_bits=4)
#: A bitmap with a root of more than one bit, and longer queues.
WIDE = Geometry(instruments=3, pool=8192, orders=256, tag_bits=12)
#: What a long run is made of: gateware, geometry, and share of the commands.
PLAN = (("book", SMALL, 0.5), ("book", WIDE, 0.3), ("core", SMALL, 0.2))
#: Commands of a session.
SESSION = 100_000
#: Chances, in a cycle, that no command is offered and that no beat is taken, of each session in turn.
STALLS = ((0.0, 0.0), (0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (0.0, 0.0), (0.1, 0.6), (0.7, 0.05), (0.0, 0.95))

_CONSOLE = Console(stderr=True)
_SOURCE = Path(__file__).with_name("harness") / "differential.cpp"
_LAST, _DISTANCES = 48, 12
_U64 = ctypes.c_uint64

Counts = NDArray[np.int64]
# Distances times pairs of NEW, CANCEL, REPLACE and REDUCE. But a command on the same order cannot follow its
# CANCEL at once, nor a NEW its REDUCE.
_PAIRS_POSSIBLE = (_DISTANCES * 16 - 4, _DISTANCES * 16, _DISTANCES * 16)


def _members(*names: str) -> list[tuple[str, Any]]:
    return [(name, _U64) for name in names]


class _Setup(ctypes.Structure):
    _fields_ = [
        ("geometry", ctypes.c_uint32 * 4),
        *_members("seed", "commands", "mix", "idle", "block", "patience", "fault"),
    ]


_COVERAGE: dict[str, tuple[int, ...]] = {
    "opcode": (16,),
    "kind": (16,),
    "reason": (64,),
    "time_in_force": (4,),
    "self_trade": (3,),
    "fills": (17,),
    "prices": (9,),
    "edge": (4,),
    "full_store": (1,),
    "empty_side": (1,),
    "window": (9,),
    "hazard": (3, _DISTANCES, 4, 4),
}


#: What became of a STATE(loading), and for what it was refused.
_WINDOWS = (
    "kept",
    "moved",
    "shrunk",
    "grown",
    "refused_count",
    "refused_alignment",
    "refused_end_of_pool",
    "refused_base",
    "refused_overlap",
)


class _Outcome(ctypes.Structure):
    _fields_ = [
        *_members("result", "commands", "beats", "records", "cycles", "busy", "held", "fingerprint"),
        *_members("at_command", "at_cycle", "at_clock", "last_count"),
        ("expected", ctypes.c_uint8 * BEAT_BYTES),
        ("got", ctypes.c_uint8 * BEAT_BYTES),
        ("last", ctypes.c_uint8 * (_LAST * COMMAND.itemsize)),
        *((name, _U64 * int(np.prod(shape))) for name, shape in _COVERAGE.items()),
    ]


_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "hawse_differential_mix": (ctypes.c_char_p, [_U64]),
    "hawse_differential_new": (ctypes.c_void_p, [ctypes.c_char_p, _U64, _U64]),
    "hawse_differential_free": (None, [ctypes.c_void_p]),
    "hawse_differential_run": (
        None,
        [ctypes.c_void_p, ctypes.POINTER(_Setup), ctypes.POINTER(_Outcome)],
    ),
}

#: How a session can end.
VERDICTS = ("same", "difference", "stall", "surplus", "sideband")


@dataclass(frozen=True)
class Session:
    """What a session did, and what it covered: arrays of counts by name. ``busy`` and ``held`` are cycles."""

    verdict: str
    commands: int
    beats: int
    records: int
    cycles: int
    busy: int
    held: int
    #: Changes with any beat, sideband included, and with the cycle in which any is taken.
    fingerprint: int
    #: Number of the command, and cycle, at which a fault showed; and that cycle as a waveform counts it.
    at_command: int
    at_cycle: int
    at_clock: int
    expected: bytes
    got: bytes
    last: Array
    coverage: dict[str, Counts]

    def story(self) -> str:
        """What went wrong, for a person."""
        answered = {"difference": "a beat differs", "stall": "it does not move", "surplus": "a beat too many"}
        lines = [f"{answered.get(self.verdict, 'a wrong sideband')}, at command {self.at_command}"]
        lines += [f"in cycle {self.at_cycle}"]
        for name, beat in (("wanted", self.expected), ("got", self.got)):
            lines.append(f"{name:7} {beat.hex()} (as a record: {np.frombuffer(beat, REPORT)[0]})")
        lines.append(f"the last commands offered: {', '.join(COMMAND.names or ())}")
        first = self.commands - len(self.last)
        lines += [f"{first + i:8} {command}" for i, command in enumerate(self.last)]
        return "\n".join(lines)


class Differential:
    """A model of the gateware and the native engine that go through sessions together.

    Args:
        geometry: of both.
        top: key of :data:`TOPS`.
        trace: FST file to write; the cycles ``trace_from`` up to, not including, ``trace_to``.
        library: another build of the same ports, made with the flags of :func:`build`.
        netlist: the gates that synthesis makes of it, not the source.
        announce: told once, before a build.

    Raises:
        ToolError: the model did not build.
        OSError: the waveform cannot be written.
    """

    def __init__(
        self,
        geometry: Geometry = SMALL,
        top: str = "core",
        *,
        trace: Path | None = None,
        trace_from: int = 0,
        trace_to: int = FOREVER,
        library: Path | None = None,
        netlist: bool = False,
        announce: Callable[[str], None] = announce_build,
    ) -> None:
        self.geometry, self.top = geometry, top
        file = trace_file(trace, trace_from, trace_to)
        path = library or build(geometry, top, trace=trace is not None, netlist=netlist, announce=announce)
        self._library = load(path, _FUNCTIONS)
        self._model = self._library.hawse_differential_new(file, trace_from, trace_to)
        names = (self._library.hawse_differential_mix(i) for i in count())
        self.mixes = tuple(name.decode() for name in iter(lambda: next(names), None))

    def run(
        self,
        seed: int,
        commands: int,
        mix: int | str = 0,
        stalls: tuple[float, float] = (0.0, 0.0),
        *,
        patience: int = 1_000_000,
        fault: int = 0,
    ) -> Session:
        """One session, which ends early at the first fault it shows.

        Args:
            seed: of commands and stalls.
            commands: at least as many as open all instruments, and a FENCE.
            mix: number or name.
            stalls: chances that a command is not offered and that a beat is not taken, in every cycle.
            patience: cycles in which nothing moves, after which it counts as a stall.
            fault: the fault to switch on, in a library that has faults.

        Raises:
            ValueError: an impossible argument.
        """
        if commands <= 2 * self.geometry.instruments:
            raise ValueError(f"commands: {commands} do not suffice to open all instruments")
        if not all(0 <= chance < 1 for chance in stalls):
            raise ValueError(f"stalls: {stalls} are not within [0, 1)")
        number = self.mixes.index(mix) if isinstance(mix, str) else mix
        if not 0 <= number < len(self.mixes):
            raise ValueError(f"mix: {mix} is not below {len(self.mixes)}")
        g = self.geometry
        idle, block = (int(chance * 2**32) for chance in stalls)
        sizes = (ctypes.c_uint32 * 4)(g.instruments, g.pool, g.orders, g.tag_bits)
        setup = _Setup(sizes, seed & (2**64 - 1), commands, number, idle, block, patience, fault)
        out = _Outcome()
        self._library.hawse_differential_run(self._model, ctypes.byref(setup), ctypes.byref(out))
        coverage = {n: np.array(getattr(out, n), np.int64).reshape(s) for n, s in _COVERAGE.items()}
        last = np.frombuffer(bytes(out.last), COMMAND)[: out.last_count]
        names = ("commands", "beats", "records", "cycles", "busy", "held", "fingerprint")
        numbers = {name: int(getattr(out, name)) for name in (*names, "at_command", "at_cycle", "at_clock")}
        return Session(
            verdict=VERDICTS[out.result],
            expected=bytes(out.expected),
            got=bytes(out.got),
            last=last,
            coverage=coverage,
            **numbers,
        )

    def close(self) -> None:
        """Finish the waveform and free the model."""
        if self._model:
            self._library.hawse_differential_free(self._model)
            self._model = None

    def __enter__(self) -> "Differential":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def build(
    geometry: Geometry,
    top: str,
    *,
    trace: bool = False,
    rewrite: Callable[[str], str] | None = None,
    parameters: str = "",
    netlist: bool = False,
    announce: Callable[[str], None] = announce_build,
) -> Path:
    """The library of :class:`Differential`.

    Args:
        geometry: of the gateware.
        top: key of :data:`TOPS`.
        trace: with waveforms.
        rewrite: makes a design with a port ``fault`` of the RTLIL.
        parameters: what ``rewrite`` does.
        netlist: the gates that synthesis makes of it, not the source.
        announce: told once, before a build.

    Raises:
        ToolError: it did not build.
    """
    soft = tuple(p for p in source_files() if p.stem != "driver")
    flags = ["-DNDEBUG", f"-I{NATIVE}", *(["-DHAWSE_BOOK"] if top == "book" else [])]
    return build_library(
        lambda: TOPS[top](geometry),
        top,
        parameters=f"{geometry!r} {parameters}",
        trace=trace,
        announce=announce,
        driven_by=_SOURCE,
        beside=soft,
        flags=[*flags, *(["-DHAWSE_FAULTS"] if rewrite else [])],
        rewrite=rewrite,
        netlist=netlist,
    )


def sessions(seed: int, commands: int, mixes: int, size: int = SESSION) -> Iterator[dict[str, Any]]:
    """Arguments of :meth:`Differential.run` for each session of a run; the last takes what is left over."""
    whole = max(1, commands // size)
    for number in range(whole):
        yield {
            "seed": (seed << 32) + number,
            "commands": size if number < whole - 1 else commands - number * size,
            "mix": number % mixes,
            "stalls": STALLS[number // mixes % len(STALLS)],
        }


def _counts(names: type[Any], row: Counts) -> dict[str, int]:
    return {member.name: int(row[member]) for member in names}


def report(coverage: dict[str, Counts]) -> dict[str, Any]:
    """Counts by name. A hazard: two accepted commands so many apart that touch the same."""
    hazard = coverage["hazard"]
    pairs = {
        what: {
            "by_distance": hazard[i].sum(axis=(1, 2)).tolist(),
            "pairs_of_opcodes": _PAIRS_POSSIBLE[i],
            "met": int((hazard[i] > 0).sum()),
            "rarest": int(min(hazard[i][hazard[i] > 0], default=0)),
        }
        for i, what in enumerate(("same order", "same level", "neighbouring level"))
    }
    return {
        "opcodes": {"undefined": int(coverage["opcode"][0])}
        | {o.name: int(coverage["opcode"][o]) for o in Opcode if o < Opcode.RECENTRE},
        "beats": _counts(Kind, coverage["kind"]),
        "reasons": {r.name: n for r in Reason if r < 64 and (n := int(coverage["reason"][r]))},
        "time_in_force": _counts(TimeInForce, coverage["time_in_force"]),
        "self_trade": _counts(SelfTrade, coverage["self_trade"]),
        "commands_by_fills": coverage["fills"].tolist(),
        "commands_by_prices_traded": coverage["prices"].tolist(),
        "arrivals": {
            "below_band": int(coverage["edge"][0]),
            "at_first_level": int(coverage["edge"][1]),
            "at_last_level": int(coverage["edge"][2]),
            "above_band": int(coverage["edge"][3]),
            "full_store": int(coverage["full_store"][0]),
            "other_side_empty": int(coverage["empty_side"][0]),
        },
        "windows_while_orders_rest": dict(zip(_WINDOWS, coverage["window"].tolist(), strict=True)),
        "hazards": pairs,
    }


def fuzz(
    pair: Differential,
    seed: int,
    commands: int,
    size: int = SESSION,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Run ``commands`` commands in sessions of ``size``; returns what was compared and covered.

    Args:
        pair: what to compare.
        seed: of all sessions.
        commands: in all.
        size: commands of a session.
        progress: called after each session with the commands done.

    Raises:
        Difference: the engines disagree, or a sideband is wrong; with how to run that session again.
        RtlStalled: the gateware stands still.
    """
    done = dict.fromkeys(("commands", "beats", "records", "cycles", "busy", "held"), 0)
    coverage: dict[str, Counts] = {name: np.zeros(shape, np.int64) for name, shape in _COVERAGE.items()}
    by_mix: dict[str, dict[str, int]] = {}
    begun = time.perf_counter()
    for number, session in enumerate(sessions(seed, commands, len(pair.mixes), size)):
        found = pair.run(**session)
        if found.verdict != "same":
            g = pair.geometry
            again = f"--top {pair.top} --geometry {g.instruments} {g.pool} {g.orders} {g.tag_bits}"
            again += f" --seed {seed} --commands {commands} --session {number} --size {size}"
            kind = f"{pair.mixes[session['mix']]!r}, stalls {session['stalls']}"
            text = f"{kind}: {found.story()}\nto see it: python -m hawse_sim.fuzz {again} --trace fuzz.fst"
            raise (RtlStalled if found.verdict == "stall" else Difference)(text)
        for name in done:
            done[name] += getattr(found, name)
        for name, counts in found.coverage.items():
            coverage[name] += counts
        mix = by_mix.setdefault(pair.mixes[session["mix"]], {"commands": 0, "cycles": 0})
        mix["commands"] += found.commands
        mix["cycles"] += found.cycles
        progress(done["commands"])
    seconds = time.perf_counter() - begun
    return {
        "top": pair.top,
        "geometry": vars(pair.geometry),
        "seed": seed,
        "sessions": number + 1,
        **done,
        "cycles_per_second": round(done["cycles"] / seconds),
        "commands_per_second": round(done["commands"] / seconds),
        "mixes": by_mix,
        "coverage": report(coverage),
    }


def _trace(top: str, geometry: Geometry, session: dict[str, Any], file: Path | None) -> Session:
    """Run one session, and again with a waveform of what comes before its fault."""
    with Differential(geometry, top) as pair:
        found = pair.run(**session)
    if file and found.verdict != "same":
        begin, end = max(0, found.at_clock - 2000), found.at_clock + 2
        with Differential(geometry, top, trace=file, trace_from=begin, trace_to=end) as pair:
            pair.run(**session)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="hawse_sim.fuzz", description=__doc__)
    parser.add_argument("--commands", type=int, default=100_000_000, help="in all [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="[%(default)s]")
    parser.add_argument("--top", choices=TOPS, help="this alone, not a bit of everything")
    parser.add_argument(
        "--geometry",
        type=int,
        nargs=4,
        metavar="N",
        help="instruments pool orders tag_bits, with --top",
    )
    parser.add_argument("--size", type=int, default=SESSION, help="commands of a session [%(default)s]")
    parser.add_argument(
        "--session", type=int, metavar="N", help="this one alone, with --top, and tell all about it"
    )
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="FST waveform of the end of a session that fails"
    )
    parser.add_argument("-o", "--output", type=Path, help="results as JSON")
    o = parser.parse_args(arguments)
    try:
        geometry = Geometry(*o.geometry) if o.geometry else SMALL
    except ValueError as error:
        parser.error(f"--geometry: {error}")
    if min(o.commands, o.size) < 1000:
        parser.error("--commands, --size: at least 1000")
    plan = [(o.top, geometry, 1.0)] if o.top else PLAN
    if o.session is not None:
        if not o.top:
            parser.error("--session: say which --top")
        with Differential(geometry, o.top) as pair:
            mixes = len(pair.mixes)
        session = next(islice(sessions(o.seed, o.commands, mixes, o.size), o.session, None), None)
        if session is None:
            parser.error(f"--session: there is no {o.session} among {o.commands} commands")
        found = _trace(o.top, geometry, session, o.trace)
        print(found.story() if found.verdict != "same" else f"{found.commands} commands: no difference")
        sys.exit(found.verdict != "same")
    runs: list[dict[str, Any]] = []
    with Progress(
        *Progress.get_default_columns(), TextColumn("{task.fields[speed]}"), console=_CONSOLE
    ) as bar:
        for top, size, share in plan:
            n = round(o.commands * share)
            task = bar.add_task(f"{top}, {size.orders} orders", total=n, speed="")
            begun = time.perf_counter()

            def progress(done: int, task: TaskID = task, begun: float = begun) -> None:
                speed = f"{done / (time.perf_counter() - begun):,.0f} commands/s"
                bar.update(task, completed=done, speed=speed)

            with Differential(size, top) as pair:
                try:
                    runs.append(fuzz(pair, o.seed, n, o.size, progress))
                except (Difference, RtlStalled) as error:
                    bar.stop()
                    sys.exit(f"hawse_sim.fuzz: {error}")
    total = sum(run["commands"] for run in runs)
    cycles = sum(run["cycles"] for run in runs)
    print(f"{total} commands, {cycles} cycles: no difference")
    if o.output:
        command = "python -m hawse_sim.fuzz " + " ".join(sys.argv[1:] if arguments is None else arguments)
        results.record(
            o.output, command, {"commands": total, "cycles": cycles, "differences": 0, "runs": runs}
        )


if __name__ == "__main__":
    main()
