"""The slow paths of a routed design, from the delays of its wires and cells as nextpnr writes them (SDF).

nextpnr itself tells one path, the slowest, but a design that is to be faster needs all that come behind it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

#: A cell's pin: its name, and the port.
Pin = tuple[str, str]

_CELL = re.compile(r"\(INSTANCE (\S+?)\)?$")
_WIRE = re.compile(r"\(INTERCONNECT (\S+)/(\S+) (\S+)/(\S+) \(([-\d:]+)\) \(([-\d:]+)\)\)")
_GATE = re.compile(r"\(IOPATH (\S+) (\S+) \(([-\d:]+)\) \(([-\d:]+)\)\)")
_CHECK = re.compile(r"\(SETUPHOLD \(\w+ (\S+)\) \(\w+ (\S+)\) \(([-\d:]+)\) \([-\d:]+\)\)")
# What synthesis appends to the name of the signal that a cell drives.
_MADE = re.compile(r"(\.\d+)*((_(TRELLIS_FF|LUT4|CCU2C|DP16KD|PFUMX|L6MUX21|SB_[A-Z0-9]+)_|\$).*)?$")


class PathsError(Exception):
    """The file is no SDF of a routed design, or of one whose gates lead in a circle."""


@dataclass(frozen=True)
class Step:
    """A gate on a path: the wire to it, its own delay, both in ns, and the pin by which one leaves it."""

    pin: Pin
    wire_ns: float
    gate_ns: float


@dataclass(frozen=True)
class SlowPath:
    """The slowest of ``endpoints`` paths from one signal to another, as :func:`slow_paths` groups them.

    ``ns`` is from clock edge to clock edge: ``launch_ns`` to leave ``start``, the ``steps``, then a wire and
    the set-up time of ``end``.
    """

    ns: float
    endpoints: int
    start: Pin
    launch_ns: float
    steps: tuple[Step, ...]
    last_wire_ns: float
    setup_ns: float
    end: Pin

    @property
    def signals(self) -> tuple[str, str]:
        """Both ends by their names before synthesis."""
        return _signal(self.start), _signal(self.end)

    @property
    def wires_ns(self) -> float:
        """Of ``ns`` in wires."""
        return sum(step.wire_ns for step in self.steps) + self.last_wire_ns


def _signal(pin: Pin) -> str:
    return _MADE.sub("", pin[0], count=1)


def _ns(*triples: str) -> float:
    return max(int(t.rsplit(":", 1)[-1]) for t in triples) / 1000


class _Delays:
    """What the file says: by sink its driver and wire, by output the arcs to it, by input its set-up time."""

    def __init__(self, sdf: Path) -> None:
        self.wires: dict[Pin, tuple[Pin, float]] = {}
        self.arcs: dict[Pin, list[tuple[str, float]]] = defaultdict(list)
        self.setups: dict[Pin, float] = {}
        clocks: set[Pin] = set()
        cell = ""
        # Line by line, as nextpnr writes it: readers of all that SDF can say take minutes for an appliance.
        with sdf.open(errors="replace") as lines:
            if not next(lines, "").startswith("(DELAYFILE"):
                raise PathsError(f"{sdf}: not an SDF file")
            for written in lines:
                line = written.strip().replace("\\", "")
                if found := _WIRE.match(line):
                    a, b, c, d, rise, fall = found.groups()
                    self.wires[c, d] = (a, b), _ns(rise, fall)
                elif found := _GATE.match(line):
                    port, out, rise, fall = found.groups()
                    self.arcs[cell, out].append((port, _ns(rise, fall)))
                elif found := _CHECK.match(line):
                    port, clock, setup = found.groups()
                    self.setups[cell, port] = max(_ns(setup), self.setups.get((cell, port), 0))
                    clocks.add((cell, clock))
                elif found := _CELL.match(line):
                    cell = found[1]
        if not self.wires or not self.setups:
            raise PathsError(f"{sdf}: no routed design: {len(self.wires)} wires, {len(self.setups)} checks")
        #: From the clock edge to an output.
        self.launches = {
            (cell, out): max(ns for port, ns in arcs if (cell, port) in clocks)
            for (cell, out), arcs in self.arcs.items()
            if any((cell, port) in clocks for port, _ in arcs)
        }

    def into(self, out: Pin) -> Iterator[tuple[Pin, float, float]]:
        """Drivers of the gate of ``out``, with wire and gate."""
        for port, gate in self.arcs[out]:
            if (out[0], port) in self.wires:
                driver, wire = self.wires[out[0], port]
                yield driver, wire, gate


def slow_paths(sdf: Path, slower_than_mhz: float) -> list[SlowPath]:
    """Paths between registers, slowest first, one for each pair of signals that has any.

    A signal stands for all its bits, by the name that it had before synthesis. What comes from a pin, or goes
    to one, is not counted.

    Args:
        sdf: written by nextpnr behind routing.
        slower_than_mhz: clock that a path must miss.

    Raises:
        PathsError: the file is no SDF of a routed design, or gates lead in a circle.
        OSError: it cannot be read.
    """
    delays = _Delays(sdf)
    gates = {
        out: [driver for driver, _, _ in delays.into(out)]
        for out in list(delays.arcs)
        if out not in delays.launches
    }
    arrival = dict(delays.launches)
    before: dict[Pin, tuple[Pin, Step]] = {}
    try:
        order = list(TopologicalSorter(gates).static_order())
    except CycleError as error:
        circle = " -> ".join("/".join(pin) for pin in reversed(error.args[1]))
        raise PathsError(f"{sdf}: gates in a circle: {circle}") from error
    for out in order:
        if out in arrival:
            continue
        for driver, wire, gate in delays.into(out) if out in gates else ():
            if driver in arrival and (at := arrival[driver] + wire + gate) > arrival.get(out, 0):
                arrival[out] = at
                before[out] = driver, Step(out, wire, gate)

    late: dict[tuple[str, str], list[tuple[float, Pin]]] = defaultdict(list)
    for end, setup in delays.setups.items():
        if end in delays.wires and (driver := delays.wires[end][0]) in arrival:
            ns = arrival[driver] + delays.wires[end][1] + setup
            if ns > 1000 / slower_than_mhz:
                start = driver
                while start in before:
                    start = before[start][0]
                late[_signal(start), _signal(end)].append((ns, end))
    found = []
    for many in late.values():
        ns, end = max(many)
        driver, wire = delays.wires[end]
        steps = []
        while driver in before:
            driver, step = before[driver]
            steps.append(step)
        launch = delays.launches[driver]
        setup = delays.setups[end]
        found.append(SlowPath(ns, len(many), driver, launch, tuple(reversed(steps)), wire, setup, end))
    return sorted(found, key=lambda path: -path.ns)
