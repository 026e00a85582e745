"""From a board to a bitstream and onto the board: with tools that only pretend, and with the real ones."""

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect
from click.testing import CliRunner
from hawse.cli import main
from hawse_build import bitstream, tools
from hawse_build.bitstream import Options, stamp
from hawse_build.netlist import load
from hawse_hdl.appliance import Board
from hawse_hdl.boards import BOARDS, ecp5
from hawse_hdl.link import UART, margin

SMALL = ["--instruments", "1", "--pool", "1024", "--orders", "64", "--tag-bits", "4", "--hash-cores", "1"]

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


class Echo(wiring.Component):
    """In place of the appliance: a UART that answers what it hears, and the build id in no use but one."""

    rxd: In(1, init=1)
    txd: Out(1, init=1)

    def __init__(self, geometry, *, hash_cores, clock_hz, baudrate, build, probe):
        self.divisor = round(clock_hz / baudrate)
        self.margin = margin(self.divisor)
        self.build = build
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart = uart = UART(self.divisor)
        connect(m, uart.rx, uart.tx)
        m.d.comb += [uart.rxd.eq(self.rxd), self.txd.eq(uart.txd ^ (self.build == 0))]
        return m


@pytest.fixture
def echo(monkeypatch):
    monkeypatch.setattr(ecp5, "Board", Echo)


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Function that puts a tool on PATH, a Python script."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / "bin").mkdir()

    def put(name, script):
        path = tmp_path / "bin" / name
        path.write_text(f"#!{sys.executable}\nimport sys, json, pathlib\nargs = sys.argv[1:]\n{script}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put


YOSYS = """
if args == ["-V"]:
    print("Yosys 9.9"); sys.exit()
with open("ran", "a") as ran: ran.write("yosys ")
gate = {"type": "LUT4", "parameters": {"INIT": "0" * 16}, "connections": {}}
cells = {f"build_id.bit{n}": gate for n in range(128)}
pathlib.Path(args[1]).write_text("log")
pathlib.Path(args[-1].split()[-1]).write_text(json.dumps({"modules": {"top": {"cells": cells, "ports": {}}}}))
"""
NEXTPNR = """
if args == ["--version"]:
    print("nextpnr-9.9"); sys.exit()
with open("ran", "a") as ran: ran.write("nextpnr ")
at = dict(zip(args, args[1:]))
used = {"TRELLIS_COMB": {"used": 9}, "TRELLIS_FF": {"used": 8}, "DP16KD": {"used": 7}}
report = {"fmax": {"clk": {"achieved": MHZ}}, "utilization": used}
pathlib.Path(at["--report"]).write_text(json.dumps(report))
pathlib.Path(at["--textcfg"]).write_text("config")
"""
ECPPACK = """
if args == ["--version"]:
    print("Project Trellis ecppack Version 9.9"); sys.exit()
with open("ran", "a") as ran: ran.write("ecppack ")
at = dict(zip(args, args[1:]))
pathlib.Path(at["--bit"]).write_text("bits of " + at["--input"])
"""
LOADER = """
pathlib.Path(sys.argv[0]).with_name("loaded").write_text(" ".join(args))
"""


@pytest.fixture
def flow(pretend, echo, tmp_path, monkeypatch):
    """Function that runs a command in an empty folder, with tools that take no time."""
    monkeypatch.chdir(tmp_path)
    pretend("yosys", YOSYS)
    pretend("nextpnr-ecp5", NEXTPNR.replace("MHZ", "91.5"))
    pretend("ecppack", ECPPACK)
    return lambda *arguments: CliRunner().invoke(main, arguments)


def ran(tmp_path):
    return (tmp_path / "build/route/ran").read_text().split()


def test_a_bitstream_comes_with_timing_resources_and_manifest(flow, tmp_path):
    done = flow("bitstream", "ulx3s", *SMALL, "--placer", "static", "--json")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "build/boards/ulx3s"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert json.loads(done.stdout) == manifest
    assert manifest["geometry"] == {"instruments": 1, "pool": 1024, "orders": 64, "tag_bits": 4}
    assert (manifest["clock_mhz"], manifest["reached_mhz"]) == (90, 91.5)
    assert manifest["resources"] == {"lut4": 9, "ff": 8, "bram": 7}
    assert manifest["tools"] == ["Yosys 9.9", "nextpnr 9.9", "ecppack 9.9"]
    assert len(bytes.fromhex(manifest["build"])) == 16
    assert {p.name for p in folder.iterdir()} == {"board.bit", "manifest.json", "timing.json", "nextpnr.log"}


def test_a_probe_is_in_the_netlist_and_in_the_manifest_when_it_is_asked_for(flow, tmp_path, monkeypatch):
    monkeypatch.setattr(ecp5, "Board", Board)
    for more, has in (([], False), (["--probe"], True)):
        done = flow("bitstream", "ulx3s", *SMALL, *more, "--placer", "static", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["probe"] is has
        newest = max((tmp_path / "build/route").glob("*.il"), key=lambda p: p.stat().st_mtime_ns)
        assert ("appliance.probe" in newest.read_text()) is has


def test_nextpnr_strives_for_more_than_the_clock(flow, tmp_path):
    """What it derives of the board's clock counts, whatever is asked for besides."""
    assert flow("bitstream", "ulx3s", *SMALL, "--placer", "static").exit_code == 0
    (constraints,) = (tmp_path / "build/route").glob("*.lpf")
    assert 'FREQUENCY PORT "clk25_0__io" 26250000.0 HZ;' in constraints.read_text()


def test_an_interrupted_build_goes_on_where_it_was(flow, tmp_path, pretend):
    pretend("ecppack", ECPPACK + "\nsys.exit(1)")
    done = flow("bitstream", "ulx3s", *SMALL, "--placer", "static")
    assert done.exit_code == 1 and "ecppack" in done.stderr
    assert not (tmp_path / "build/boards/ulx3s/manifest.json").exists()
    pretend("ecppack", ECPPACK)
    assert flow("bitstream", "ulx3s", *SMALL, "--placer", "static").exit_code == 0
    assert ran(tmp_path) == ["yosys", "nextpnr", "ecppack", "ecppack"]


def test_a_clock_that_was_missed_gives_no_bitstream(flow, tmp_path, pretend):
    pretend("nextpnr-ecp5", NEXTPNR.replace("MHZ", "57.2"))
    done = flow("bitstream", "ulx3s", *SMALL, "--placer", "static")
    assert done.exit_code == 1 and "reached 57.2 MHz" in done.stderr and "--clock-mhz 55" in done.stderr
    assert not (tmp_path / "build/boards/ulx3s/board.bit").exists()


def test_a_nextpnr_without_python_is_no_reason_to_do_without_a_floorplan_in_silence(flow):
    done = flow("bitstream", "ulx3s", *SMALL)
    assert done.exit_code == 1
    for told in ("no Python", "nextpnr-ecp5", "--placer static", "56.7 MHz instead of 92.8"):
        assert told in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["arty"], "arty is no board; there are ulx3s"),
        (["ulx3s", "--orders", "63"], "orders: 63 is not a power of two"),
        (["ulx3s", "--clock-mhz", "91.3"], "no PLL of an ECP5 makes 91300000 Hz"),
        (["ulx3s", "--baudrate", "9000000"], "baudrate: 9000000"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(arguments, said, pretend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["bitstream", *arguments])
    assert done.exit_code == 1 and said in done.stderr


def test_a_missing_tool_is_named(flow, monkeypatch):
    monkeypatch.setattr(tools.sys, "executable", "/nowhere/python")
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    done = flow("bitstream", "ulx3s", *SMALL)
    assert done.exit_code == 1 and "neither ecppack nor yowasp-ecppack is installed" in done.stderr


@pytest.fixture
def built(flow):
    assert flow("bitstream", "ulx3s", *SMALL, "--placer", "static").exit_code == 0
    return flow


@pytest.mark.parametrize(("flags", "memory"), [([], "--write-sram"), (["--flash"], "--write-flash")])
def test_a_board_is_loaded(built, pretend, tmp_path, flags, memory):
    pretend("openFPGALoader", LOADER)
    done = built("program", "ulx3s", *flags)
    assert done.exit_code == 0, done.output
    assert "ULX3S 85F has build" in done.stdout
    loaded = (tmp_path / "bin/loaded").read_text()
    assert loaded == f"--board ulx3s {memory} build/boards/ulx3s/board.bit"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("unable to open ftdi device: -3 (device not found)\\nJTAG init failed", "no ULX3S 85F was found"),
        ("mismatch between target's idcode and file idcode", "what is at the cable is no ULX3S 85F"),
        ("unable to open ftdi device: -5 (usb_claim_interface)", "no ULX3S 85F was found"),
        ("out of cheese", "openFPGALoader failed: out of cheese"),
    ],
)
def test_what_the_loader_says_is_put_into_words(built, pretend, said, meant):
    pretend("openFPGALoader", f'print("{said}", file=sys.stderr)\nsys.exit(1)')
    done = built("program", "ulx3s")
    assert done.exit_code == 1 and meant in done.stderr


@pytest.mark.skipif(
    not shutil.which("openFPGALoader"), reason="no openFPGALoader: apt-get install openfpgaloader"
)
@pytest.mark.parametrize("board", ["ulx3s", "ecpix5", "ecp5-evn"])
def test_the_real_loader_without_a_board_is_put_into_words(flow, board):
    assert flow("bitstream", board, *SMALL, "--placer", "static", "--clock-mhz", "60").exit_code == 0
    done = flow("program", board)
    assert done.exit_code == 1 and f"no {BOARDS[board].title} was found: is it plugged in" in done.stderr


def test_without_a_loader_its_package_is_named(built, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    done = built("program", "ulx3s")
    assert done.exit_code == 1 and "Debian's package openfpgaloader" in done.stderr


def test_a_bitstream_of_another_board_a_changed_one_and_none_are_refused(built, pretend, tmp_path):
    pretend("openFPGALoader", LOADER)
    done = built("program", "ecpix5", "--output", "build/boards/ulx3s")
    assert "holds a bitstream of ulx3s, not of ecpix5" in done.stderr
    done = built("program", "ecpix5")
    assert "hawse bitstream BOARD makes it" in done.stderr
    bits = tmp_path / "build/boards/ulx3s/board.bit"
    bits.write_text("other")
    assert "is not the one of its manifest" in built("program", "ulx3s").stderr
    bits.unlink()
    assert "board.bit is not there" in built("program", "ulx3s").stderr
    (tmp_path / "build/boards/ulx3s/manifest.json").write_text("[]")
    assert "is not a manifest" in built("program", "ulx3s").stderr
    assert not (tmp_path / "bin/loaded").exists()


def test_the_build_id_is_in_the_netlist_and_nothing_else_is_changed(tmp_path):
    cells = {
        f"build_id.bit{n}": {"type": "LUT4", "parameters": {"INIT": "0" * 16}, "connections": {}}
        for n in range(128)
    }
    cells["other"] = {"type": "LUT4", "parameters": {"INIT": "0" * 16}, "connections": {}}
    path = tmp_path / "top.json"
    path.write_text(json.dumps({"modules": {"top": {"cells": cells, "ports": {}}}}))
    build = "80" + "00" * 14 + "01"  # bit 7 of byte 0, bit 0 of byte 15
    found = load(stamp(path, build))["cells"]
    ones = {name for name, cell in found.items() if cell["parameters"]["INIT"] == "1" * 16}
    assert ones == {"build_id.bit7", "build_id.bit120"}
    assert load(path)["cells"] == cells
    path.with_name(f"top-{build}.json").unlink()
    path.write_text(json.dumps({"modules": {"top": {"cells": {}, "ports": {}}}}))
    with pytest.raises(tools.BuildError, match="no cell build_id"):
        stamp(path, build)


@pytest.mark.ci
@pytest.mark.parametrize("name", BOARDS)
def test_the_real_tools_make_a_bitstream_of_a_board(name, echo, tmp_path):
    """Of one whose appliance is an echo: pins, PLL, reset, LED and UART, routed and packed."""
    from hawse.wire import Geometry

    options = Options(name, Geometry(1, 1024, 64, 4), placer="static", seed=2)
    manifest = bitstream.build(options, tmp_path / "route", tmp_path / "out", print)
    assert manifest["reached_mhz"] >= manifest["clock_mhz"]
    bits = (tmp_path / "out/board.bit").read_bytes()
    assert bits.startswith(b"\xff\x00") and b"\xff\xff\xbd\xb3" in bits[:200]  # Lattice's preamble
    (config,) = (tmp_path / "route").glob("*.config")
    assert "EHXPLL" in config.read_text() and Path(tmp_path / "out/nextpnr.log").read_text()
