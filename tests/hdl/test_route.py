import json
import subprocess
import sys

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal, signed, unsigned
from hawse_build import synthesis, tools, tops
from hawse_build.__main__ import main
from hawse_build.paths import PathsError, slow_paths
from hawse_hdl.link import UART
from hawse_hdl.pinned import Pinned

# A gate to which two registers and a pin lead, and two registers behind it; a memory's output and a register.
SDF = r"""(DELAYFILE
  (CELL
    (CELLTYPE "top")
    (INSTANCE )
    (DELAY
      (ABSOLUTE
        (INTERCONNECT pin/O sum_LUT4_Z/B (9000:9000:9000) (9000:9000:9000))
        (INTERCONNECT a_TRELLIS_FF_Q/Q sum_LUT4_Z/A (1000:1000:1100) (900:1000:1000))
        (INTERCONNECT b\$3_TRELLIS_FF_Q_1/Q sum_LUT4_Z/C (300:300:300) (300:300:300))
        (INTERCONNECT sum_LUT4_Z/F c_TRELLIS_FF_Q_0/DI (2000:2000:2000) (2000:2000:2000))
        (INTERCONNECT sum_LUT4_Z/F c_TRELLIS_FF_Q_1/DI (500:500:500) (500:500:500))
        (INTERCONNECT words.0.1/DO d_TRELLIS_FF_Q/DI (700:700:700) (700:700:700))
        (INTERCONNECT clk/O a_TRELLIS_FF_Q/CLK (0:0:0) (0:0:0))
      )
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_COMB")
    (INSTANCE sum_LUT4_Z)
    (DELAY
      (ABSOLUTE
        (IOPATH A F (200:200:200) (200:200:250))
        (IOPATH B F (200:200:200) (200:200:250))
        (IOPATH C F (200:200:200) (200:200:250))
      )
    )
  )
""" + "".join(
    f"""  (CELL
    (CELLTYPE "TRELLIS_FF")
    (INSTANCE {name})
    (DELAY
      (ABSOLUTE
        (IOPATH CLK {out} ({launch}:{launch}:{launch}) ({launch}:{launch}:{launch}))
      )
    )
    (TIMINGCHECK
      (SETUPHOLD (posedge DI) (posedge CLK) (100:100:100) (0:0:0))
    )
  )
"""
    for name, out, launch in (
        ("a_TRELLIS_FF_Q", "Q", 500),
        (r"b\$3_TRELLIS_FF_Q_1", "Q", 500),
        ("c_TRELLIS_FF_Q_0", "Q", 500),
        ("c_TRELLIS_FF_Q_1", "Q", 500),
        ("d_TRELLIS_FF_Q", "Q", 500),
        ("words.0.1", "DO", 3000),
    )
)


@pytest.fixture
def sdf(tmp_path):
    path = tmp_path / "routed.sdf"
    path.write_text(SDF)
    return path


def test_paths_are_those_from_register_to_register(sdf):
    slowest, next_one = slow_paths(sdf, 400)
    assert slowest.signals == ("a", "c") and slowest.endpoints == 1
    assert slowest.ns == pytest.approx(0.5 + 1.1 + 0.25 + 2.0 + 0.1)
    assert [step.pin for step in slowest.steps] == [("sum_LUT4_Z", "F")]
    assert slowest.wires_ns == pytest.approx(3.1)
    assert next_one.signals == ("words", "d") and next_one.steps == ()
    assert next_one.ns == pytest.approx(3.0 + 0.7 + 0.1)


def test_paths_count_every_endpoint_that_misses_the_clock(sdf):
    assert [path.endpoints for path in slow_paths(sdf, 420)] == [2, 1]
    assert [path.signals for path in slow_paths(sdf, 260)] == [("a", "c")]
    assert slow_paths(sdf, 250) == []


def test_paths_as_table_and_json(sdf, capsys):
    main(["paths", str(sdf), "--slower-than", "400", "--steps", "--top", "1"])
    table = capsys.readouterr().out
    assert "2 endpoints, 2 pairs" in table and "a -> c" in table and "sum_LUT4_Z/F wire 1.10" in table
    assert "words" not in table and "1 more" in table
    main(["paths", str(sdf), "--slower-than", "400", "--json"])
    assert [path["signals"] for path in json.loads(capsys.readouterr().out)] == [["a", "c"], ["words", "d"]]


def test_who_reads_the_first_paths_alone_sees_no_traceback(sdf):
    command = [sys.executable, "-m", "hawse_build", "paths", str(sdf), "--slower-than", "400"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as paths:
        paths.stdout.close()
        assert paths.stderr.read() == b""
    assert paths.returncode == 0


CIRCLE = SDF.replace("pin/O sum_LUT4_Z/B", "sum_LUT4_Z/F sum_LUT4_Z/B").encode()


@pytest.mark.parametrize("text", [b"", b"(DELAYFILE\n)", b"no delays\n", b"\xff\x00\n", CIRCLE])
def test_what_is_no_routed_design_is_refused(sdf, text):
    sdf.write_bytes(text)
    with pytest.raises(PathsError, match=r"routed\.sdf"):
        slow_paths(sdf, 100)
    with pytest.raises(SystemExit, match=r"routed\.sdf"):
        main(["paths", str(sdf)])


def test_paths_need_a_file_and_a_clock(sdf, tmp_path):
    with pytest.raises(SystemExit, match="nowhere"):
        main(["paths", str(tmp_path / "nowhere.sdf")])
    with pytest.raises(SystemExit):
        main(["paths", str(sdf), "--slower-than", "0"])


@pytest.mark.parametrize(
    ("top", "cells"), [("uart", 50), pytest.param("keccak-serial", 1000, marks=pytest.mark.slow)]
)
def test_route_leaves_a_result_and_every_delay(top, cells, tmp_path, capsys, monkeypatch):
    """What the slowest path tells is what nextpnr says of the clock; and a second call makes nothing anew."""
    monkeypatch.setitem(tops.PARTS, "uart", lambda _: Pinned(UART(16)))
    command = ["route", "--device", "iCE40UP5K", "--top", top, "--folder", str(tmp_path)]
    main(command)
    said = capsys.readouterr()
    (log,) = tmp_path.glob("*-seed1.log")
    assert str(log) in said.err and "Max frequency" in log.read_text()
    found = json.loads(said.out)
    assert found["seeds"] == [1] and found["lut4"] > cells and len(found["gateware"]) == 16
    slowest = slow_paths(log.with_suffix(".sdf"), found["fmax_mhz"][0] + 5)[0]
    assert 1000 / slowest.ns == pytest.approx(found["fmax_mhz"][0], rel=0.002)

    made = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    main(command)
    assert json.loads(capsys.readouterr().out)["fmax_mhz"] == found["fmax_mhz"]
    assert all(path.stat().st_mtime_ns == made[path] for path in made if path.suffix in (".json", ".sdf"))


@pytest.fixture
def borrow(tmp_path):
    """Function that gives Yosys ``a - b`` as ``gold``, the same with borrows as ``top``, and commands."""

    def run(shape, *commands):
        a, b, m = Signal(shape), Signal(shape), Module()
        y = Signal(signed(a.shape().width + 1))
        m.d.comb += y.eq(a - b)
        text = rtlil.convert(m, name="top", ports=[a, b, y], emit_src=False)
        (tmp_path / "top.il").write_text(text)
        (tmp_path / "borrows.v").write_text(synthesis._BORROWS)
        script = ["read_rtlil top.il", "copy top gold", "techmap -map borrows.v top", *commands]
        done = subprocess.run(
            [tools.tool("yosys"), "-Q", "-T", "-p", "; ".join(script)],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]

    return run


@pytest.mark.parametrize("width", [1, 2, 16])
def test_borrows_are_those_of_the_subtraction(borrow, width):
    borrow(
        unsigned(width),
        "select -assert-count 1 gold/t:$sub",
        "select -assert-none top/t:$sub",
        "miter -equiv -flatten gold top miter",
        "sat -verify -prove trigger 0 miter",
    )


@pytest.mark.parametrize("shape", [unsigned(17), signed(16)], ids=str)
def test_other_subtractions_keep_their_carry_chain(borrow, shape):
    borrow(shape, "select -assert-count 1 top/t:$sub")
