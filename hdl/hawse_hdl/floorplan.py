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
#: For each core its first column, and the rows by which it moves from the middle of the chip.
PLACES = ((2, -24), (43, -24), (84, -24), (2, 24), (84, 24))
#: Columns that a core may have.
WIDTH = 41
#: Left, top, right and bottom of a region; the gates and flip-flops there, by the beginning of their names.
REGIONS = {
    "link": ((2, 39, 40, 51), ("uart.", "appliance.link.")),
    "log": ((41, 39, 124, 51), ("appliance.core.log.",)),
    "book": ((41, 45, 84, 93), ("appliance.core.book.",)),
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
        columns = [x for x, _, _ in placed[kind].values()]
        if max(columns) - min(columns) >= WIDTH:
            raise ValueError(f"a hash core of {max(columns) - min(columns) + 1} columns; {WIDTH} are free")
        right = column - min(columns)
        sites[core] = {n: f"X{x + right}/Y{y + down}/{rest}" for n, (x, y, rest) in placed[kind].items()}
    out = folder / "plan.json"
    content = {
        "sites": {core + name: bel for core, bels in sites.items() for name, bel in bels.items()},
        "cores": list(sites),
        "regions": REGIONS,
    }
    out.write_text(json.dumps(content))
    return out


def _site(bel: str) -> tuple[int, int, str]:
    x, y, rest = re.fullmatch(r"X(\d+)/Y(\d+)/(.*)", bel).groups()  # type: ignore[union-attr]
    return int(x), int(y), rest
