"""Run by nextpnr, which provides ``ctx``: fixes and confines cells as HAWSE_PLAN tells."""
# ruff: noqa: F821, D103
# mypy: ignore-errors

import json
import os
import re
from pathlib import Path


def every(container):  # its iterators know only __next__
    iterator = container.__iter__()
    while True:
        try:
            yield iterator.__next__()
        except StopIteration:
            return


plan = json.loads(Path(os.environ["HAWSE_PLAN"]).read_text())
cells = {entry.first: entry.second for entry in every(ctx.cells)}
LOGIC = ("TRELLIS_COMB", "TRELLIS_FF")


def mode(cell):
    return {p.first: p.second for p in every(cell.params)}.get("MODE", "LOGIC")


def slot(bel):
    return re.match(r"(X\d+/Y\d+/SLICE.)\D*(\d)", bel).groups()


# Flip-flops that are packed with the gate before them.
pairs = [
    (name, port.second.net.driver.cell.name)
    for name, cell in cells.items()
    if cell.type == "TRELLIS_FF"
    for port in every(cell.ports)
    if port.first == "DI" and port.second.net and port.second.net.driver.cell
    if port.second.net.driver.cell.type == "TRELLIS_COMB"
]

fixed = {
    name: plan["sites"][name]
    for name, cell in cells.items()
    if name in plan["sites"] and cell.type in (*LOGIC, "TRELLIS_RAMW") and mode(cell) != "CCU2"
}
for flop, gate in pairs:
    # Of two flip-flops behind one gate the other may have been packed with it.
    if (flop in fixed) != (gate in fixed) or (flop in fixed and slot(fixed[flop]) != slot(fixed[gate])):
        fixed.pop(flop, None)
        fixed.pop(gate, None)

rams = {}
for bel in every(ctx.getBels()):
    if ctx.getBelType(bel) == "DP16KD":
        place = ctx.getBelLocation(bel)
        rams[bel] = place.x, place.y
for prefix, (x, y) in plan["block_rams"].items():
    names = sorted(
        (
            name
            for name, cell in cells.items()
            if cell.type == "DP16KD" and name.startswith(prefix) and name not in fixed
        ),
        key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)],
    )
    near = sorted(rams, key=lambda bel: abs(rams[bel][0] - x) + abs(rams[bel][1] - y))[: len(names)]
    near.sort(key=lambda bel: (rams[bel][1], rams[bel][0]))  # so that bits of a word lie side by side
    for name, bel in zip(names, near, strict=True):
        fixed[name] = bel
        del rams[bel]

for name, bel in fixed.items():
    cells[name].setAttr("BEL", bel)


# Of two that begin a name the later rules.
regions = plan["regions"] | {core: (box, [core + "."]) for core, box in plan["cores"].items()}
where = {}
for name, cell in cells.items():
    if name in fixed or cell.type not in (*LOGIC, "TRELLIS_RAMW"):
        continue
    for region, (_, prefixes) in regions.items():
        if name.startswith(tuple(prefixes)):
            where[name] = region
for flop, gate in pairs:
    if flop in where and gate in where:
        where[gate] = where[flop]
    else:
        where.pop(flop, None)
        where.pop(gate, None)
for region, (box, _) in regions.items():
    ctx.createRectangularRegion(region, *box)
for name, region in where.items():
    ctx.constrainCellToRegion(name, region)
print(f"{len(fixed)} cells fixed, {len(where)} confined, of {len(cells)}")
