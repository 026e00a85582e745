import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click import ClickException
from click.testing import CliRunner
from hawse.cli import bench_engine, engine_report, main
from hawse.cli.common import fastest_routed
from hawse.engine.native.bindings import Soft
from hawse.wire import Geometry, Opcode
from hawse.wire.dtypes import COMMAND, EVENT, ORDER, make
from hawse_build.tops import gateware
from hawse_hdl.link import endpoint
from hawse_sim.flow.benchmark import START

SLOW, FAST = "LFE5U-85F-6", "LFE5UM5G-85F-8"


@pytest.fixture
def results(tmp_path):
    geometry = Geometry(2, 2048, 64, 4)  # as other tests build it
    stamp = {"geometry": asdict(geometry), "tools": ["another Yosys"], "netlist": ""}
    runs = [
        {"device": SLOW, "top": "appliance", "fmax_mhz": [90.0, 95.0, 91.0], "fmax_mhz_median": 91.0},
        {"device": FAST, "top": "appliance", "fmax_mhz": [120.0], "fmax_mhz_median": 120.0},
        {"device": FAST, "top": "book", "fmax_mhz": [300.0], "fmax_mhz_median": 300.0},
    ]
    for name, run in zip(("slow", "fast", "tiny"), runs, strict=True):
        told = run | stamp | {"gateware": gateware(run["top"], run["device"], geometry)}
        (tmp_path / f"route-{name}.json").write_text(json.dumps(told))
    return tmp_path


def bench(*arguments):
    return CliRunner().invoke(main, ["bench", "engine", *map(str, arguments)])


def spread(p):
    return p["p50"] <= p["p99"] <= p["p999"] <= p["max"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One flow, with a clock of which no routed result tells."""
    folder = tmp_path_factory.mktemp("bench")
    plot, out = folder / "plot.png", folder / "engine.json"
    options = ["--messages", 3000, "--scenario", "swing-25", "--variant", "interleaved"]
    clock = ["--clock-mhz", 120, "--clock-of", "a wish"]
    done = bench(*options, *clock, "--plot", plot, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert plot.read_bytes()[:4] == b"\x89PNG"
    written = json.loads(out.read_text())
    assert written["result"] == found
    assert "--messages 3000 --scenario swing-25 --variant interleaved --clock-mhz 120" in written["command"]
    return found


def test_one_flow_through_three_engines(found):
    flow = found["flows"]["swing-25 interleaved"]
    rtl, soft = flow["rtl"], flow["soft"]
    assert 2700 < flow["messages"] < 3300 and rtl["commands"] == flow["messages"] - bench_engine._ALONE
    assert rtl["cycles_per_command"] == pytest.approx(rtl["cycles"] / rtl["commands"], abs=1e-4)
    assert rtl["cycles_per_command"] > 1
    assert rtl["commands_per_s"] == pytest.approx(120e6 / rtl["cycles_per_command"], abs=1)
    assert spread(rtl["first_report_cycles"]) and rtl["first_report_cycles"]["p50"] > 0
    assert spread(rtl["first_report_cycles_empty"]) and spread(soft["interface_ns"])
    assert rtl["report_log_cycles"] == 0  # so the sideband's times are those of the core's ports, too
    forms = ("engine", "engine_hashing", "interface", "interface_single_calls")
    assert all(soft[f"{form}_per_s"] > 0 for form in forms)
    assert soft["driver_ns"] > 0 and flow["golden"]["commands_per_s"] > 0
    assert not flow["routed"] and flow["geometry"]["pool"] == 65536


def test_the_table_says_of_each_figure_what_it_is_a_figure_of(found):
    (row,) = engine_report.rows(found)
    assert row["simulated, orders × levels"] == "65,536 × 65,536" and row["routed"] == "no"
    assert row["clock, MHz"] == "120.0, borrowed"
    assert float(row["through any link, M/s at most"]) == 10.0 < float(row["core alone, M/s"])
    assert row["through the UART, /s"] == "2,930"
    caption = engine_report.caption(found)
    assert "a wish, no routed result" in caption and "every 12 cycles" in caption


def test_a_core_slower_than_the_endpoint_is_not_made_faster_by_it(found):
    slow = json.loads(json.dumps(found))
    slow["flows"]["swing-25 interleaved"]["rtl"]["commands_per_s"] = 4_000_000
    assert engine_report.rows(slow)[0]["through any link, M/s at most"] == "4.0"


def test_the_endpoint_takes_what_it_says():
    assert f"a command every {bench_engine.ENDPOINT_CYCLES} cycles" in (endpoint.Endpoint.__doc__ or "")


def test_tables_of_the_documents_are_set_anew(found, tmp_path):
    (tmp_path / "docs").mkdir()
    marked = f"before\n{engine_report.BEGIN}\nstale\n{engine_report.END}\nbehind\n"
    for name in ("README.md", "docs/benchmark.md"):
        (tmp_path / name).write_text(marked)
    engine_report.write_docs(found, tmp_path)
    short, whole = ((tmp_path / name).read_text() for name in ("README.md", "docs/benchmark.md"))
    for text in (short, whole):
        assert text.startswith("before\n") and text.endswith("behind\n") and "stale" not in text
        assert "no routed result" in text
    assert "ns a message" in whole and "ns a message" not in short
    (tmp_path / "README.md").write_text("no marks")
    with pytest.raises(ClickException, match="README"):
        engine_report.write_docs(found, tmp_path)


def test_documents_say_what_the_result_says():
    checkout = Path(__file__).parents[2]
    told = json.loads((checkout / "docs" / "results" / "engine.json").read_text())["result"]
    for name, titles in (("README.md", engine_report.SHORT), ("docs/benchmark.md", None)):
        text = (checkout / name).read_text()
        assert (
            engine_report.marked(text, engine_report.markdown(told, titles), engine_report.BEGIN) == text
        ), name


def test_cycles_are_those_of_the_routed_geometry_where_the_flow_fits(results):
    options = ["--messages", 120, "--scenario", "static", "--variant", "serial", "--results", results]
    told = json.loads(bench(*options, "--json").stdout)
    flow = told["flows"]["static serial"]
    assert (told["clock"]["mhz"], told["clock"]["geometry"]) == (120.0, asdict(Geometry(2, 2048, 64, 4)))
    assert "route-fast.json" in told["clock"]["of"]
    assert flow["routed"] and flow["geometry"] == asdict(Geometry(2, 2048, 64, 4))
    assert flow["rtl"]["fences"] == -(-flow["rtl"]["commands"] // 32)
    assert engine_report.rows(told)[0]["clock, MHz"] == "120.0, its own"


def test_a_flow_fits_where_no_order_lacks_a_handle_or_a_place_in_the_band():
    place = bench_engine.Place(Geometry(1, 1024, 64, 4), 100, 16)
    low, high, beyond = (
        make(ORDER, opcode=Opcode.NEW, price=p, quantity=1, order_id=p) for p in (100, 1123, 1124)
    )
    assert place.holds(np.concatenate([low, high]))
    assert not place.holds(np.concatenate([low, beyond]))
    many = np.repeat(low, 65)
    many["order_id"] = np.arange(65)
    assert place.holds(many[:64])
    assert not place.holds(many)


def test_a_routed_result_of_other_gateware_is_refused(results, capsys):
    path = results / "route-fast.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gateware": "0" * 16}))
    routed = fastest_routed(results, "appliance")
    assert routed is not None and routed.fmax_mhz == 91.0  # the next one counts
    assert "route-fast.json does not count, it is of other gateware" in capsys.readouterr().err


def test_without_a_routed_result_there_are_cycles_only(tmp_path):
    options = ["--messages", 500, "--scenario", "static", "--variant", "serial", "--seed", 9]
    done = bench(*options, "--results", tmp_path, "--json")
    found = json.loads(done.stdout)
    flow = found["flows"]["static serial"]
    assert found["clock"]["mhz"] is None and "commands_per_s" not in flow["rtl"]
    assert flow["seed"] == 9
    assert engine_report.rows(found)[0]["core alone, M/s"] == "–"
    assert "cycles only" in engine_report.caption(found)
    engine_report.show(found)


@pytest.mark.parametrize(
    ("options", "error"),
    [(["--scenario", "calm"], "calm"), (["--messages", 1], "at least 8"), (["--seed", -1], "-1")],
)
def test_impossible_options(options, error):
    done = bench(*options)
    assert done.exit_code == 2 and error in done.output


def test_engines_that_differ_are_an_error(monkeypatch, tmp_path):
    true = bench_engine._soft
    monkeypatch.setattr(bench_engine, "_soft", lambda *run: (true(*run)[0], b"something else"))
    done = bench("--messages", 400, "--scenario", "static", "--variant", "serial", "--results", tmp_path)
    assert done.exit_code == 1 and "differ" in done.output


def test_a_message_that_does_not_become_a_command_is_an_error(monkeypatch, tmp_path):
    whole = bench_engine.places
    small = Geometry(2, 2048, 64, 4)  # 64 orders do not hold the flow, and the driver refuses the next
    place = bench_engine.Place(small, START - 1024, 4096)
    monkeypatch.setattr(bench_engine, "places", lambda routed: [*whole(routed)[:-1], place])
    done = bench("--messages", 3000, "--scenario", "static", "--variant", "serial", "--results", tmp_path)
    assert done.exit_code == 1 and "refused a message: STORE_FULL" in done.output


def test_first_reports():
    events = np.zeros(5, EVENT)
    events["seq"] = [4, 4, 5, 6, 6]
    events["accepted"] = [10, 10, 2**32 - 2, 20, 20]
    events["left"] = [13, 14, 3, 29, 30]
    assert bench_engine._first_reports(events).tolist() == [3, 5, 9]


def test_percentiles():
    values = np.arange(1, 1001)
    assert bench_engine._percentiles(values) == {"p50": 501, "p99": 991, "p999": 1000, "max": 1000}
    points = bench_engine._distribution(values)
    assert points[:3] == [[0.0, 1], [50.0, 501], [75.0, 751]] and points[-1] == [100.0, 1000]


def test_without_hashing_only_digests_differ():
    geometry = Geometry(1, 1024, 64, 8)
    commands = np.concatenate(
        [
            make(COMMAND, opcode=Opcode.STATE, quantity=3, token=1024),
            make(COMMAND, opcode=Opcode.STATE, quantity=1),
            make(COMMAND, opcode=Opcode.NEW, price=5, quantity=6),
            make(COMMAND, opcode=Opcode.CLOSE),
        ]
    )
    soft = Soft(geometry)
    soft.reset(1)
    hashed = soft.exchange(commands)
    soft.set_hashing(False)
    soft.reset(1)
    plain = soft.exchange(commands)
    same = (hashed["bytes"] == plain["bytes"]).all(axis=1)
    # Three records, FENCE and its digest, BATCH (which counts leaves) and its root.
    assert same.tolist() == [True, True, True, True, False, False, False]
    assert soft.time(commands) > 0
    soft.close()
