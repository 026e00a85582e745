"""Where the parts of the appliance lie on an LFE5-85F, for nextpnr.

The placer that looks at timing leaves hash cores that cannot be routed, the electrostatic one pulls the book
apart. So each hash core is placed alone by the latter and stamped onto its place, and the former places the
rest in regions between them. Rows of block RAM and DSP come every twelve, so cores move by multiples of that.
"""

import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

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
    "link": ((2, 38, 46, 55), ("uart.", "appliance.link.")),
    "log": ((2, 32, 124, 62), ("appliance.core.log.",)),
    "book": ((41, 45, 84, 93), ("appliance.core.book",)),
}
#: Where block RAMs gather, and which, by the beginning of their names: each group in turn takes the free
#: sites nearest to its middle, and a name that begins with two of these is of the first. Their rows are the
#: 22nd, 46th, 70th and 82nd. First what answers to gates of the link and the log, then what does to those of
#: the book. The log's queues answer into registers, and may be farther from it.
BLOCK_RAMS = {
    "appliance.link.incoming.": (40, 46),
    "appliance.link.": (34, 46),
    "appliance.core.log.ends.tree.": (96, 46),
    "appliance.core.book.queues.nexts.": (56, 70),
    "appliance.core.book.queues.prevs.": (56, 70),
    "appliance.core.book.bitmap.": (50, 82),
    "appliance.core.book.store.": (78, 76),
    "appliance.core.book.queues.levels.": (56, 64),
    "appliance.core.log.cores.queue_0.": (14, 46),
    "appliance.core.log.cores.queue_1.": (22, 22),
    "appliance.core.log.cores.queue_2.": (64, 22),
    "appliance.core.log.cores.queue_3.": (104, 22),
    "appliance.core.log.cores.queue_4.": (116, 70),
    "appliance.core.log.ends.": (84, 22),
}


def script() -> Path:
    """What nextpnr runs before it places."""
    return Path(str(resources.files(__package__) / "floorplan_script.py"))


def plan(netlist: Path, place: Callable[[Path, Path], None], folder: Path) -> Path:
    """Place the hash cores of ``netlist`` alone; returns a file for :func:`script`.

    Args:
        netlist: of the whole design, as JSON.
        place: places the netlist of its first argument and writes the result to its second.
        folder: for what it makes.
    """
    design = json.loads(netlist.read_text())
    top = design["modules"]["top"]
    cores: dict[str, dict[str, Any]] = {}
    for name, cell in top["cells"].items():
        if cell["type"] != "$scopeinfo" and (found := _MACRO.match(name)):
            cores.setdefault(found[1], {})[name] = cell
    if len(cores) > len(PLACES):
        raise ValueError(f"{len(cores)} hash cores, but places for {len(PLACES)}")
    placed: dict[frozenset[str], dict[str, tuple[int, int, str]]] = {}
    sites: dict[str, dict[str, str]] = {}
    boxes: dict[str, tuple[int, int, int, int]] = {}
    for core, cells in sorted(cores.items()):
        kind = frozenset(name.removeprefix(core) for name in cells)
        if kind not in placed:
            source, result = folder / f"core{len(placed)}.json", folder / f"core{len(placed)}.placed.json"
            clock = top["ports"]["clk"]
            nets = {b for c in cells.values() for wire in c["connections"].values() for b in wire}
            nets |= set(clock["bits"])
            alone = top | {
                "cells": cells,
                "ports": {"clk": clock},
                "netnames": {n: w for n, w in top["netnames"].items() if nets.intersection(w["bits"])},
            }
            source.write_text(json.dumps(design | {"modules": {"top": alone}}))
            place(source, result)
            found_cells = json.loads(result.read_text())["modules"]["top"]["cells"]
            placed[kind] = {
                name.removeprefix(core): _site(cell["attributes"]["NEXTPNR_BEL"])
                for name, cell in found_cells.items()
                if name.startswith(core)
            }
        column, down = PLACES[len(sites)]
        # A few cells at the edges may lie outside; those are left to the placer of the rest, in the same box.
        columns = [x for x, _, _ in placed[kind].values()]
        first, inside = max(
            ((left, sum(left <= x < left + WIDTH for x in columns)) for left in sorted(set(columns))),
            key=lambda found: found[1],
        )
        if inside < LEAST * len(columns):
            raise ValueError(f"{len(columns) - inside} cells of a hash core lie outside its {WIDTH} columns")
        rows = [y + down for _, y, _ in placed[kind].values()]
        boxes[core] = column, min(rows), column + WIDTH - 1, max(rows)
        sites[core] = {
            n: f"X{x + column - first}/Y{y + down}/{rest}"
            for n, (x, y, rest) in placed[kind].items()
            if first <= x < first + WIDTH
        }
    out = folder / "plan.json"
    content = {
        "sites": {core + name: bel for core, bels in sites.items() for name, bel in bels.items()},
        "cores": boxes,
        "regions": REGIONS,
        "block_rams": BLOCK_RAMS,
    }
    out.write_text(json.dumps(content))
    return out


def _site(bel: str) -> tuple[int, int, str]:
    x, y, rest = re.fullmatch(r"X(\d+)/Y(\d+)/(.*)", bel).groups()  # type: ignore[union-attr]
    return int(x), int(y), rest
