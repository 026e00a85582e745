"""Where the parts of the appliance lie on an LFE5-85F, for nextpnr.

The placer that looks at timing leaves hash cores that cannot be routed, the electrostatic one pulls the book
apart. So each hash core is placed alone by the latter and stamped onto its place, and the former places the
rest in regions between them. Rows of block RAM and DSP come every twelve, so cores move by multiples of that.
"""

import json
import re
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from .netlist import Cells, cells, load

#: Modules that are synthesized alone, so that all of a kind come out alike: the hash cores.
MACROS = "*.log.cores.hasher_?"
_MACRO = re.compile(r"(.*\.log\.cores\.hasher_(\d))\.")
#: For each core its first column, and the rows by which it moves from the middle of the chip: each beside the
#: one before it.
PLACES = ((2, 24), (2, -24), (43, -24), (84, -24), (84, 24))
#: Columns that a core may have.
WIDTH = 41
#: Share of its cells that has to lie there.
LEAST = 0.99
#: Left, top, right and bottom of a region; what lies there, block RAMs apart, by the beginning of its name.
REGIONS = {
    "link": ((2, 38, 46, 55), ("board.uart.", "board.appliance.link.")),
    "log": ((2, 32, 124, 62), ("board.appliance.core.log.",)),
    "book": ((41, 45, 84, 93), ("board.appliance.core.book",)),
}
#: Where block RAMs gather, and which, by the beginning of their names: each group in turn takes the free
#: sites nearest to its middle, and a name that begins with two of these is of the first. Their rows are the
#: 22nd, 46th, 70th and 82nd. First what answers to gates of the link and the log, then what does to those of
#: the book. The log's queues answer into registers, and may be farther from it.
BLOCK_RAMS = {
    "board.appliance.link.incoming.": (40, 46),
    "board.appliance.link.": (34, 46),
    "board.appliance.core.log.ends.tree.": (96, 46),
    "board.appliance.core.book.queues.nexts.": (56, 70),
    "board.appliance.core.book.queues.prevs.": (56, 70),
    "board.appliance.core.book.bitmap.": (50, 82),
    "board.appliance.core.book.store.": (78, 76),
    "board.appliance.core.book.queues.levels.": (56, 64),
    "board.appliance.core.log.ends.": (84, 22),
}
#: The same of the queue in front of each hash core.
QUEUE = "board.appliance.core.log.cores.queue_{}."
QUEUES = ((14, 46), (22, 22), (64, 22), (104, 22), (116, 70))


def script() -> Path:
    """What nextpnr runs before it places."""
    return Path(str(resources.files(__package__) / "floorplan_script.py"))


def plan(netlist: Path, place: Callable[[Path, Path], None], folder: Path) -> Path:
    """Place the hash cores of ``netlist`` alone; returns a file for :func:`script`.

    Args:
        netlist: of the whole design, as JSON.
        place: places the netlist of its first argument and writes the result to its second.
        folder: for what it makes.

    Raises:
        ValueError: no cell's name begins as the plan says, or a hash core finds no place.
    """
    design = json.loads(netlist.read_text())
    top = design["modules"]["top"]
    cores = _cores(cells(top))
    block_rams = BLOCK_RAMS | {QUEUE.format(k): QUEUES[k] for k in range(len(cores))}
    _demand_cells(cells(top), [prefix for _, prefixes in REGIONS.values() for prefix in prefixes])
    _demand_cells(cells(top), block_rams)
    sites, boxes = _stamp(_place_kinds(design, cores, place, folder))
    out = folder / "plan.json"
    content = {
        "sites": sites,
        "cores": boxes,
        "regions": REGIONS,
        "block_rams": block_rams,
    }
    out.write_text(json.dumps(content))
    return out


def _cores(found: Cells) -> dict[str, Cells]:
    """The cells of each hash core, by its name."""
    cores: dict[str, Cells] = {}
    for name, cell in found.items():
        if match := _MACRO.match(name):
            cores.setdefault(match[1], {})[name] = cell
    if not cores:
        raise ValueError(f"no cell is one of {MACROS}, the hash cores")
    if len(cores) > len(PLACES):
        raise ValueError(f"{len(cores)} hash cores, but places for {len(PLACES)}")
    return dict(sorted(cores.items()))


def _demand_cells(found: Cells, prefixes: Iterable[str]) -> None:
    """Else a part that was renamed would be placed anywhere, and nobody would hear of it."""
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in found):
            raise ValueError(f"no cell's name begins with {prefix}: it was renamed, or is no longer there")


#: Of each core its cells, by their names inside it: column, row and the rest of the site.
_Placed: TypeAlias = dict[str, dict[str, tuple[int, int, str]]]


def _place_kinds(
    design: dict[str, Any], cores: dict[str, Cells], place: Callable[[Path, Path], None], folder: Path
) -> _Placed:
    """Place one core of each kind alone, at the middle of the chip."""
    kinds: dict[frozenset[str], dict[str, tuple[int, int, str]]] = {}
    placed: _Placed = {}
    for core, own in cores.items():
        kind = frozenset(name.removeprefix(core) for name in own)
        if kind not in kinds:
            source, result = folder / f"core{len(kinds)}.json", folder / f"core{len(kinds)}.placed.json"
            source.write_text(
                json.dumps(design | {"modules": {"top": _alone(design["modules"]["top"], own)}})
            )
            place(source, result)
            done = cells(load(result))
            kinds[kind] = {
                name.removeprefix(core): _site(cell["attributes"]["NEXTPNR_BEL"])
                for name, cell in done.items()
                if name.startswith(core)
            }
        placed[core] = kinds[kind]
    return placed


def _alone(top: dict[str, Any], own: Cells) -> dict[str, Any]:
    """A module of the cells ``own``, with their clock as its port ``clk``."""
    clocks = {tuple(cell["connections"]["CLK"]) for cell in own.values() if cell["type"] == "TRELLIS_FF"}
    if len(clocks) != 1:
        raise ValueError(f"a hash core has {len(clocks)} clocks")
    clock = list(clocks.pop())
    nets = {bit for cell in own.values() for wire in cell["connections"].values() for bit in wire}
    named = {name: net for name, net in top["netnames"].items() if nets.intersection(net["bits"])}
    return top | {"cells": own, "ports": {"clk": {"direction": "input", "bits": clock}}, "netnames": named}


def _stamp(placed: _Placed) -> tuple[dict[str, str], dict[str, tuple[int, int, int, int]]]:
    """Sites of the cells of all cores at their places, and the box of each core."""
    sites: dict[str, str] = {}
    boxes: dict[str, tuple[int, int, int, int]] = {}
    for (core, own), (column, down) in zip(placed.items(), PLACES, strict=False):
        # A few cells at the edges may lie outside; those are left to the placer of the rest, in the same box.
        columns = [x for x, _, _ in own.values()]
        first, inside = max(
            ((left, sum(left <= x < left + WIDTH for x in columns)) for left in sorted(set(columns))),
            key=lambda found: found[1],
        )
        if inside < LEAST * len(columns):
            raise ValueError(f"{len(columns) - inside} cells of a hash core lie outside its {WIDTH} columns")
        rows = [y + down for _, y, _ in own.values()]
        boxes[core] = column, min(rows), column + WIDTH - 1, max(rows)
        sites |= {
            core + name: f"X{x + column - first}/Y{y + down}/{rest}"
            for name, (x, y, rest) in own.items()
            if first <= x < first + WIDTH
        }
    return sites, boxes


def _site(bel: str) -> tuple[int, int, str]:
    x, y, rest = re.fullmatch(r"X(\d+)/Y(\d+)/(.*)", bel).groups()  # type: ignore[union-attr]
    return int(x), int(y), rest
