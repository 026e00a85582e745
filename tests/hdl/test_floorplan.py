"""Hash cores of a floorplan: placed once a kind, then stamped onto their places."""

import json
import runpy
from itertools import combinations
from types import SimpleNamespace

import pytest
from hawse_build import floorplan

CORE = "board.appliance.core.log.cores.hasher_"


def netlist(tmp_path, cores):
    """``cores`` maps each core's number to the names of its cells."""
    cells = {
        f"{CORE}{k}.{name}": {
            "type": "TRELLIS_FF",
            "connections": {"CLK": [2], "Q": [10 + k]},
            "attributes": {},
        }
        for k, names in cores.items()
        for name in names
    }
    queues = [floorplan.QUEUE.format(k) for k in cores if k < len(floorplan.QUEUES)]
    for prefix in (*floorplan.BLOCK_RAMS, "board.uart.", *queues):
        cells[f"{prefix}x"] = {"type": "LUT4", "connections": {"Z": [99]}}
    nets = {"clk": {"bits": [2]}, "other": {"bits": [99]}}
    top = {"ports": {"osc": {"bits": [7]}, "rst": {"bits": [3]}}, "cells": cells, "netnames": nets}
    path = tmp_path / "design.json"
    path.write_text(json.dumps({"modules": {"top": top}}))
    return path


def placer(seen, column=50, step=1):
    """Puts the cells of a netlist beside each other."""

    def place(source, target):
        top = json.loads(source.read_text())["modules"]["top"]
        seen.append(top)
        for n, cell in enumerate(top["cells"].values()):
            cell["attributes"] = {"NEXTPNR_BEL": f"X{column + step * n}/Y40/SLICEA.FF0"}
        target.write_text(json.dumps({"modules": {"top": top}}))

    return place


def test_cores_of_a_kind_are_placed_once_and_lie_apart(tmp_path):
    seen = []
    design = netlist(tmp_path, {0: ["a"], 1: ["a", "b"], 2: ["a", "b"]})
    plan = json.loads(floorplan.plan(design, placer(seen), tmp_path).read_text())
    assert [len(top["cells"]) for top in seen] == [1, 2]
    assert all(list(top["ports"]) == ["clk"] and "other" not in top["netnames"] for top in seen)
    assert list(plan["cores"]) == [f"{CORE}{k}" for k in range(3)]
    assert plan["cores"][f"{CORE}1"] == [2, 16, 42, 16]
    assert plan["sites"] == {
        f"{CORE}0.a": "X2/Y64/SLICEA.FF0",
        f"{CORE}1.a": "X2/Y16/SLICEA.FF0",
        f"{CORE}1.b": "X3/Y16/SLICEA.FF0",
        f"{CORE}2.a": "X43/Y16/SLICEA.FF0",
        f"{CORE}2.b": "X44/Y16/SLICEA.FF0",
    }


def test_rows_move_by_multiples_of_the_rams_period():
    assert all(rows % 12 == 0 for _, rows in floorplan.PLACES)
    for (a, above), (b, below) in combinations(floorplan.PLACES, 2):
        assert abs(b - a) >= floorplan.WIDTH or abs(below - above) >= 48


@pytest.mark.parametrize("prefix", ["board.uart.", "board.appliance.core.book.store."])
def test_a_part_that_was_renamed_is_named(tmp_path, prefix):
    """Else it would be placed anywhere, in silence."""
    design = netlist(tmp_path, {0: ["a"]})
    design.write_text(design.read_text().replace(f'"{prefix}x"', '"board.renamed.x"'))
    with pytest.raises(ValueError, match=f"begins with {prefix}"):
        floorplan.plan(design, placer([]), tmp_path)


def test_what_has_no_place_is_refused(tmp_path):
    with pytest.raises(ValueError, match="6 hash cores"):
        floorplan.plan(netlist(tmp_path, {k: ["a"] for k in range(6)}), placer([]), tmp_path)
    with pytest.raises(ValueError, match="1 cells of a hash core lie outside"):
        floorplan.plan(netlist(tmp_path, {0: ["a", "b"]}), placer([], step=41), tmp_path)


class Context:
    """What the script asks of nextpnr: ``cells`` of one block RAM each, sites in one row."""

    def __init__(self, names, columns):
        self.placed = {}
        self.cells = [SimpleNamespace(first=name, second=self.cell(name)) for name in names]
        self.columns = columns

    def cell(self, name):
        place = lambda _, bel: self.placed.update({name: bel})  # noqa: E731
        return SimpleNamespace(type="DP16KD", ports=[], params=[], setAttr=place)

    def getBels(self):
        return self.columns

    def getBelType(self, bel):
        return "DP16KD"

    def getBelLocation(self, bel):
        return SimpleNamespace(x=bel, y=0)


def test_block_rams_take_the_nearest_free_sites_group_by_group(tmp_path, monkeypatch):
    plan = {"sites": {}, "regions": {}, "cores": {}}
    plan["block_rams"] = {"link.in.": (5, 0), "link.": (5, 0), "log.": (5, 0)}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    monkeypatch.setenv("HAWSE_PLAN", str(tmp_path / "plan.json"))
    log = ["log.lane10", "log.lane2_bank1", "log.lane2_bank0"]
    ctx = Context([*log, "link.out.a", "link.in.a", "else.a"], [1, 4, 5, 7, 8, 20])
    runpy.run_path(str(floorplan.script()), init_globals={"ctx": ctx})
    # Within a group, side by side in the order of their names.
    own = {"log.lane2_bank0": 1, "log.lane2_bank1": 7, "log.lane10": 8}
    assert ctx.placed == {"link.in.a": 5, "link.out.a": 4, **own}


def test_more_block_rams_than_sites_are_refused(tmp_path, monkeypatch):
    plan = {"sites": {}, "regions": {}, "cores": {}, "block_rams": {"log.": (0, 0)}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    monkeypatch.setenv("HAWSE_PLAN", str(tmp_path / "plan.json"))
    with pytest.raises(ValueError, match="shorter"):
        runpy.run_path(str(floorplan.script()), init_globals={"ctx": Context(["log.a", "log.b"], [1])})
