"""Boards: what is at which pin, at what level, and the clocks that their PLL makes."""

import re

import pytest
from hawse.wire import Geometry
from hawse_hdl.boards import BOARDS, ECPIX5, ULX3S
from hawse_hdl.boards.pll import DETECTOR, OSCILLATOR, dividers

SMALL = Geometry(1, 1024, 64, 4)

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.fixture(scope="module", params=BOARDS)
def prepared(request):
    board = BOARDS[request.param](SMALL, hash_cores=1)
    text, constraints = board.prepare()
    sites = dict(re.findall(r'LOCATE COMP "(\S+)" SITE "(\S+)"', constraints))
    return board, text, constraints, {board.pins()[port]: site for port, site in sites.items()}


SITES = {
    "ulx3s": {"clock": "G2", "button": "D6", "rx": "M1", "tx": "L4", "led": "B2"},
    "ecpix5": {"clock": "K23", "button": "AB1", "rx": "R26", "tx": "R24", "led": "R21"},
    "ecp5-evn": {"clock": "A10", "button": "G2", "rx": "P2", "tx": "P3", "led": "A13"},
}


def test_wires_are_at_the_pins_of_the_boards_schematic(prepared):
    """Of a ULX3S the FTDI drives M1 and hears L4; an output at M1 would drive against it."""
    board, text, _, sites = prepared
    assert sites == SITES[board.name]
    ports = dict(re.findall(r"wire \S* ?(inout|input|output) \d+ \\(\S+)", text))
    assert set(board.pins()) <= set(re.findall(r"\\(\w+__io)\b", text)), ports
    assert sites["clock"] == board.clock_site()


def test_the_boards_clock_is_constrained_and_pins_have_their_levels(prepared):
    board, _, constraints, _ = prepared
    clock = next(port for port, what in board.pins().items() if what == "clock")
    assert f'FREQUENCY PORT "{clock}" {board.input_hz():.1f} HZ;' in constraints
    for port in board.pins():
        assert f'IOBUF PORT "{port}" IO_TYPE=LVCMOS' in constraints


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_a_button_that_is_up_resets_nothing(board):
    """All of them pull to ground when pressed, and are pulled up."""
    platform = board.platform()
    assert platform.lookup(board.button).ios[0].invert


def test_an_ulx3s_pulls_its_button_up():
    _, constraints = ULX3S(SMALL, hash_cores=1).prepare()
    assert 'IOBUF PORT "button_pwr_0__io" IO_TYPE=LVCMOS33 PULLMODE=UP;' in constraints


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_the_default_clock_is_one_that_the_pll_makes(board):
    d = dividers(board.input_hz(), board.default_clock_hz)
    assert board.input_hz() * d.feedback == board.default_clock_hz * d.reference
    assert OSCILLATOR[0] <= board.default_clock_hz * d.post <= OSCILLATOR[1]
    assert DETECTOR[0] <= board.input_hz() / d.reference <= DETECTOR[1]
    made = board(SMALL).board
    assert min(-made.margin[0], made.margin[1]) > 0.03


@pytest.mark.parametrize(
    ("board", "clock"), [(ULX3S, 91_300_000), (ULX3S, 24_000_000), (ECPIX5, 1_000_000), (ECPIX5, 900_000_000)]
)
def test_a_clock_that_no_pll_makes_is_refused(board, clock):
    with pytest.raises(ValueError, match=f"no PLL of an ECP5 makes {clock} Hz of {board.input_hz()} Hz"):
        board(SMALL, clock_hz=clock)
