"""The ledger of block RAMs: of the routed netlist, in the docs as the results have it."""

import json
from pathlib import Path

import pytest
from amaranth.lib.data import Layout
from hawse.wire import Geometry
from hawse_build import rams
from hawse_build.tools import BuildError
from hawse_hdl.block_rams import BlockRams
from hawse_hdl.book.layouts import record_layout

CHECKOUT = Path(__file__).parents[2]
RESULT = CHECKOUT / "docs" / "results" / "ledger-LFE5UM5G-85F-8.json"
BEGIN, END = "<!-- block RAMs: begin -->\n", "\n<!-- end -->"


@pytest.fixture(scope="module")
def told():
    return json.loads(RESULT.read_text())


def test_it_is_of_the_netlist_that_was_routed(told):
    routed = json.loads((CHECKOUT / "docs" / "results" / "route-LFE5UM5G-85F-8.json").read_text())
    assert (told["netlist"], told["device"], told["geometry"]) == (
        routed["netlist"],
        routed["device"],
        routed["geometry"],
    )
    assert sum(told["block_rams"].values()) == routed["bram"] == told["cells"]["DP16KD"]
    assert told["cells"]["TRELLIS_FF"] == routed["ff"]


def test_the_docs_have_it_as_it_is(told):
    text = (CHECKOUT / "docs" / "board.md").read_text()
    assert text.partition(BEGIN)[2].partition(END)[0] == rams.markdown(told), (
        "python -m hawse_build ledger -o docs/results/ledger-LFE5UM5G-85F-8.json prints the table"
    )


def test_every_component_is_known_by_what_it_holds(told):
    assert sum(count for _, count in rams.grouped(told["block_rams"]).values()) <= rams.BLOCK_RAMS
    with pytest.raises(BuildError, match=r"board\.appliance\.gate has 3 block RAMs"):
        rams.grouped({"board.appliance.gate": 3})


def test_the_arithmetic_of_what_is_planned_is_that_of_what_there_is(told):
    """Memories that are there have as many as the formula says, or what is planned is worth nothing."""
    geometry = Geometry(**told["geometry"])
    have = {name.removeprefix("board.appliance.core.book."): n for name, n in told["block_rams"].items()}
    handle = (geometry.orders - 1).bit_length()
    assert have["queues.levels"] == rams.block_rams(2 * handle + 1, geometry.pool)
    assert have["queues.nexts"] == have["queues.prevs"] == rams.block_rams(handle, geometry.orders)
    record = Layout.cast(record_layout(geometry)).size
    assert have["store"] == rams.block_rams(record, geometry.orders)


@pytest.mark.parametrize(
    ("width", "depth"), [(1, 100), (36, 512), (37, 512), (27, 32768), (9, 2049), (65, 8192)]
)
def test_lanes_are_those_of_the_lowering(width, depth):
    lane = BlockRams().lane(width, depth)
    if lane < width:
        lanes, banks = -(-width // lane), -(-depth // BlockRams.BITS)
        assert rams.block_rams(width, depth) == lanes * banks
    else:
        assert rams.block_rams(width, depth) == -(-width // (36 if depth <= 512 else 18))
