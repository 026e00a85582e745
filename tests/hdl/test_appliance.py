import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hawse.wire import Geometry
from hawse_build.__main__ import main
from hawse_build.tops import TOPS
from hawse_hdl.appliance import Board
from hawse_hdl.book import Book
from hawse_sim.cocotb_runner import run_cocotb

SMALL = Geometry(instruments=2, pool=1024, orders=64, tag_bits=4)

# Components whose parameters are refused are never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def test_board_trades_over_its_wires():
    board = Board(SMALL, clock_hz=12e6, baudrate=1_000_000, timeout=2e-3)
    env = {"GEOMETRY": json.dumps(asdict(SMALL)), "DIVISOR": str(board.divisor)}
    run_cocotb(board, "board", Path(__file__).with_name("cocotb_appliance.py"), env=env)


def test_a_rate_that_the_clock_cannot_make_is_refused():
    with pytest.raises(ValueError, match=r"baudrate: 1000000 is not within 2 % of 1.24e\+07 Hz"):
        Board(SMALL, clock_hz=12.4e6, baudrate=1_000_000)
    with pytest.raises(ValueError, match="n at least 12"):
        Board(SMALL, clock_hz=11e6, baudrate=1_000_000)


def test_a_board_says_how_far_the_other_side_may_be_off():
    low, high = Board(SMALL, clock_hz=90e6, baudrate=1_000_000).margin
    assert -0.05 < low < -0.045 and 0.05 < high < 0.06
    low, high = Board(SMALL, clock_hz=140e6, baudrate=3_000_000).margin  # 46.67 cycles: 47
    assert low == pytest.approx(-0.04, abs=1e-3) and high == pytest.approx(0.064, abs=1e-3)


@pytest.mark.parametrize("bad", [{"build": 2**128}, {"clock_khz": -1}])
def test_what_build_cannot_tell_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Book(SMALL, **bad)


SIZES = ["--instruments", "2", "--pool", "1024", "--orders", "64", "--tag-bits", "4"]
PORTS = {
    "book": ("commands__payload", "beats__payload", "epoch", "busy"),
    "core": ("commands__payload", "beats__payload", "epoch", "busy", "idle"),
    "appliance": ("rx__payload", "tx__payload", "idle", "unacked"),
    "board": ("rxd", "txd"),
}


@pytest.mark.parametrize("top", TOPS)
def test_verilog_has_the_ports_of_its_top(tmp_path, top):
    file = tmp_path / "top.v"
    main(["verilog", "--top", top, *SIZES, "-o", str(file)])
    text = file.read_text()
    head = next(line for line in text.splitlines() if line.startswith(f"module {top}("))
    ports = {name.strip(" ,") for name in head[head.index("(") + 1 : head.index(")")].split(",")}
    assert {"clk", "rst", *PORTS[top]} <= ports


def test_an_impossible_size_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["verilog", "--orders", "63"])
    assert stop.value.code == 2
    assert "orders: 63 is not a power of two" in capsys.readouterr().err
