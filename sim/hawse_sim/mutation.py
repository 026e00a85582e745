"""Single faults in the gateware, each of which the differential must find: ``python -m hawse_sim.mutation``.

All of them are in one Verilated Core. A fault is found when an answer or a digest differs from the native
engine's, when a sideband is wrong, when the gateware stands still, or when the same flow takes another number
of cycles, or its beats come in other cycles, than without it.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hawse import results
from hawse_hdl.core import Core
from rich.console import Console
from rich.progress import Progress

from . import faults, fuzz, toolchain
from .differential import Difference
from .faults import Fault
from .fuzz import SMALL, STALLS, Differential
from .verilate import announce_build

#: How many faults in which part, beside every one of the kinds that are always taken.
ROOMS = {"core.book": 80, "core.log": 24}
ALWAYS = ("dropped write", "missing forward")
SEED = 1
#: Commands of a session; sessions.
SIZE, SESSIONS = 20_000, 16
#: Cycles in which nothing moves: more than it takes to clear the memories of :data:`SMALL`.
PATIENCE = 20_000


@dataclass(frozen=True)
class Finding:
    """What became of a fault.

    Attributes:
        fault: which.
        found_by: how a session ended, ``cycles`` or ``timing``; None if nothing found it.
        commands: that it took, or were tried.
        slower: cycles more than without the fault, in the flow that was tried.
    """

    fault: Fault
    found_by: str | None
    commands: int
    slower: int = 0


class Mutants:
    """The Core with all faults, beside the native engine. The first use builds it, which takes minutes.

    Raises:
        FaultError: a fault can no longer be placed.
        ToolError: it did not build.
    """

    def __init__(self, announce: Callable[[str], None] = announce_build) -> None:
        parameters = f"{ROOMS} {ALWAYS} {SEED} {Path(faults.__file__).read_text()}"
        library = fuzz.build(
            SMALL,
            "core",
            rewrite=lambda text: faults.insert(text, ROOMS, SEED, ALWAYS)[0],
            parameters=parameters,
            announce=announce,
        )
        listed = library.with_name(f"faults-{toolchain.key(parameters)}.json")
        if not listed.is_file():
            found: list[Fault] = []
            toolchain.to_rtlil(Core(SMALL), "core", lambda text: self.list_into(text, found))
            unfinished = listed.with_suffix(".tmp")
            unfinished.write_text(json.dumps([asdict(fault) for fault in found]))
            unfinished.replace(listed)
        self.faults = [Fault(**fault) for fault in json.loads(listed.read_text())]
        self.pair = Differential(SMALL, "core", library=library)
        self._sound: dict[int, fuzz.Session] = {}

    @staticmethod
    def list_into(text: str, found: list[Fault]) -> str:
        """RTLIL with the faults that are tried, which are appended to ``found``."""
        text, listed = faults.insert(text, ROOMS, SEED, ALWAYS)
        found += listed
        return text

    def _session(self, number: int, fault: int) -> fuzz.Session:
        mixes = len(self.pair.mixes)
        stalls = STALLS[0] if number < mixes else STALLS[2 + number % (len(STALLS) - 2)]
        return self.pair.run(SEED + number, SIZE, number % mixes, stalls, patience=PATIENCE, fault=fault)

    def sound(self, number: int) -> fuzz.Session:
        """A session without any fault.

        Raises:
            Difference: it ends badly.
        """
        if number not in self._sound:
            self._sound[number] = found = self._session(number, 0)
            if found.verdict != "same":
                raise Difference(f"without a fault: {found.story()}")
        return self._sound[number]

    def find(self, fault: Fault, sessions: int = SESSIONS) -> Finding:
        """Try to find one of :attr:`faults` within so many sessions."""
        commands = slower = 0
        timing = False
        for number in range(sessions):
            sound, found = self.sound(number), self._session(number, self.faults.index(fault) + 1)
            if found.verdict != "same":
                return Finding(fault, found.verdict, commands + found.commands)
            commands += found.commands
            slower += found.cycles - sound.cycles
            timing |= found.fingerprint != sound.fingerprint
        return Finding(fault, "cycles" if slower else "timing" if timing else None, commands, slower)

    def close(self) -> None:
        """Free the model."""
        self.pair.close()

    def __enter__(self) -> "Mutants":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


#: What nobody has found out yet.
OPEN = "open: no session finds it, and why is not known yet"

#: Why nothing finds them. Each is named as it is listed now: a line that is rewritten renames its faults.
EXPLAINED = {
    "core.book.matcher: branch never taken, for everywhere; `book_reset`": (
        "equivalent: it is computed anew in every cycle, and nothing is at work after a reset"
    ),
    "core.book.queues: branch never taken, for same_level; `book_reset`": (
        "equivalent: it is computed anew in every cycle, and no act is on its way after a reset"
    ),
    "core.book.check: left of `and` ignored; check.py: Reason.QUANTITY: sized & (command.quantity == 0),": (
        "equivalent where the reason is chosen: whatever else a command without quantity is rejected for "
        "comes before QUANTITY; whether it is rejected is decided by another gate"
    ),
    "core.log.ends: branch never taken, for waiting; `reset`": (
        "equivalent: it falls by itself when the queue is found empty, before the reset ends"
    ),
    "core.log.cores.hasher_0.core: branch never taken, for w_en; `reset`": (
        "equivalent: the queue that it is pushed to is held in reset as well, and for longer"
    ),
    "core.log.cores.ends: branch never taken, for an unnamed signal (6); `reset`": (
        "not equivalent: a word between a hash core and the tree outlives a reset; "
        "no session resets a log in which one waits there; a test does (test_report_log.py)"
    ),
    "core.book.bitmap: left of `or` ignored (`root_here__data`); "
    "bitmap.py: return Mux(occupied, word | bit, word & ~bit)": (
        "equivalent at this geometry, at which a root has one bit"
    ),
    "core.book.fronts: one too many of - (64); compare.py: return (a - b)[-1]": (
        "equivalent: whether an order reaches the level behind is asked when that has become the best one, "
        "of a bound without anything behind: joining or not, it leaves that bound as it is"
    ),
    "core.book: right of `or` ignored (`deciding`); "
    "stages.py: return verdict.bad | verdict.fails.PRICE": OPEN,
    "core.book.fronts: left of `and` ignored (`seen`) (2); front_search.py: "
    "unknown = self.seen.best.found & ~self.seen.partial & (self.seen.best == self.seen.behind)": OPEN,
    "core.book.bitmap: right of `or` ignored (`word`) (4); compare.py: above = ~(some[0] | some[1])": OPEN,
    "core.book.matcher: lowest bit not compared (2); "
    "work.py: self.is_final = self.maker_at == self.geometry.orders - 1": OPEN,
    "core.log.ends.tree: left of `and` ignored (2); "
    "peaks.py: with m.Elif(io.leaves.valid & s.heights.w_rdy & (s.known | ~io.question.valid)):": OPEN,
    "core.log.cores.ends: left of `and` ignored (`node_digest__valid`); "
    "streams.py: with m.If(one.valid & one.ready & last):": OPEN,
}


def _row(finding: Finding) -> dict[str, Any]:
    fault, row = finding.fault, {"commands": finding.commands}
    if finding.slower:
        row["slower_by_cycles"] = finding.slower
    return {"fault": str(fault), "kind": fault.kind, "found_by": finding.found_by} | row


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="hawse_sim.mutation", description=__doc__)
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="tried for each fault [%(default)s]")
    parser.add_argument("-o", "--output", type=Path, help="results as JSON")
    o = parser.parse_args(arguments)
    with Mutants() as mutants:
        with Progress(console=Console(stderr=True)) as bar:
            findings = [mutants.find(f, o.sessions) for f in bar.track(mutants.faults, description="faults")]
        cycles = sum(mutants.sound(number).cycles for number in range(o.sessions))
    ways = Counter(finding.found_by or "nothing" for finding in findings)
    survivors = [str(finding.fault) for finding in findings if not finding.found_by]
    for name in survivors:
        print(f"not found: {name}\n    {EXPLAINED.get(name, 'not explained')}")
    print(f"{len(findings) - len(survivors)} of {len(findings)} faults found: {dict(ways)}")
    if o.output:
        command = "python -m hawse_sim.mutation " + " ".join(sys.argv[1:] if arguments is None else arguments)
        result = {
            "geometry": vars(SMALL),
            "faults": len(findings),
            "found": len(findings) - len(survivors),
            "found_by": dict(ways),
            "flow": {"sessions": o.sessions, "commands": o.sessions * SIZE, "cycles": cycles, "seed": SEED},
            "survivors": [{"fault": n, "why": EXPLAINED.get(n, "not explained")} for n in survivors],
            "all": [_row(finding) for finding in findings],
        }
        results.record(o.output, command.strip(), result)


if __name__ == "__main__":
    main()
