import json
from dataclasses import asdict

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import bench_hash, main
from hawse.commit import trees
from hawse.wire import Geometry
from hawse_build.tops import gateware as stamp
from hawse_hdl.hashing import CORES
from hawse_sim.flow import benchmark
from hawse_sim.rtl import RtlBackend
from tiny_keccak import keccak256


def leaves_of(count):
    return np.random.default_rng(count).integers(0, 256, (count, 32), dtype=np.uint8)


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_the_hash_cores_give_the_root(cores):
    leaves = leaves_of(64)
    root, cycles = bench_hash._merkle_cycles(leaves, cores)
    assert root == trees.root([leaf.tobytes() for leaf in leaves], trees.NodeTag.LOG)
    permutations = sum(-(-(n // 2) // cores) for n in (64, 32, 16, 8, 4, 2))
    assert cycles > 24 * permutations


def test_every_software_hashes_the_same():
    messages = [bytes(n) for n in (0, 64, 135, 136, 1000)]
    functions = bench_hash._python()
    functions.pop("OpenSSL's SHA3-256 (hashlib)")
    assert "tiny_keccak" in functions
    for function in functions.values():
        assert [function(m) for m in messages] == [keccak256(m) for m in messages]


SMALL = Geometry(2, 1024, 64, 4)


DEVICE = "LFE5U-85F-6"


def route(folder, name, top, clock, gateware=None):
    """What ``make route`` would have left; of other gateware, if that is given."""
    told = {
        "device": DEVICE,
        "tools": ["another Yosys"],
        "netlist": "",
        "top": top,
        "fmax_mhz_median": clock,
        "geometry": asdict(SMALL),
    }
    told["gateware"] = gateware or stamp(top, DEVICE, SMALL)
    (folder / f"route-{name}.json").write_text(json.dumps(told))


def clocks(folder):
    return [clock and (clock.fmax_mhz, clock.file) for clock in bench_hash.routed_clocks(folder)]


def test_the_clock_is_that_of_the_hash_core_where_it_was_routed_alone(tmp_path, capsys):
    route(tmp_path, "a", "appliance", 120.5)
    route(tmp_path, "b", "appliance", 90.0)
    route(tmp_path, "c", "book", 300.0, "any")
    assert clocks(tmp_path) == [(120.5, "route-a.json")] * 2
    route(tmp_path, "k", "keccak", 110.0)
    assert clocks(tmp_path) == [(110.0, "route-k.json"), (120.5, "route-a.json")]
    assert not capsys.readouterr().err


def test_a_clock_of_other_gateware_gives_way_to_the_next(tmp_path, capsys):
    for name, top, clock, gateware in (
        ("a", "appliance", 130.0, "other"),
        ("b", "appliance", 120.0, None),
        ("c", "appliance", 110.0, None),
        ("k", "keccak", 160.0, "other"),
        ("l", "keccak", 150.0, "other"),
        ("m", "keccak", 140.0, None),
    ):
        route(tmp_path, name, top, clock, gateware)
    assert clocks(tmp_path) == [(140.0, "route-m.json"), (120.0, "route-b.json")]
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[0].rsplit("/")[-1] for line in said] == [f"route-{n}.json" for n in "kla"]

    route(tmp_path, "m", "keccak", 140.0, "other")
    assert clocks(tmp_path) == [(120.0, "route-b.json")] * 2
    for name in "bc":
        route(tmp_path, name, "appliance", 120.0, "other")
    capsys.readouterr()
    assert clocks(tmp_path) == [None, None]


def test_where_nothing_is_routed_there_is_no_clock(tmp_path):
    route(tmp_path, "c", "book", 300.0, "any")
    assert clocks(tmp_path) == clocks(tmp_path / "nothing") == [None, None]


def test_the_flows_meet_as_many_hash_cores_as_are_asked_for(monkeypatch):
    """The gateware itself is the default's here, which is built anyway."""
    asked = []

    def backend(geometry, *, hash_cores):
        asked.append(hash_cores)
        return RtlBackend(geometry)

    monkeypatch.setattr("hawse_sim.rtl.RtlBackend", backend)
    told = bench_hash._appliance([("static", "serial")], 500, 3, lambda _: None)
    assert asked == [3] == [told["hash_cores"]] and list(told["flows"]) == ["static serial"]


@pytest.mark.parametrize(
    ("chosen", "flows", "cores"),
    [
        ("", [(s, v) for v in benchmark.VARIANTS for s in benchmark.SCENARIOS], CORES),
        (" --scenario static --cores 4", [("static", "serial"), ("static", "interleaved")], 4),
        (
            " --scenario static --scenario normal --variant interleaved --cores 16",
            [("static", "interleaved"), ("normal", "interleaved")],
            16,
        ),
    ],
)
def test_what_is_chosen_is_measured_and_recorded(monkeypatch, tmp_path, chosen, flows, cores):
    asked = []
    monkeypatch.setattr(bench_hash, "measure", lambda *arguments: asked.append(arguments) or {})
    out, results = tmp_path / "hash.json", tmp_path / "results"
    where = ["--messages", "70", "--results", results, "--out", out, "--json"]
    result = CliRunner().invoke(main, ["bench", "hash", *chosen.split(), *map(str, where)])
    assert result.exit_code == 0, result.output
    assert asked == [(results, flows, 70, cores)]
    told = json.loads(out.read_text())["command"]
    options = chosen if "--cores" in chosen else f"{chosen} --cores {cores}"
    assert told == f"hawse bench hash --messages 70{options} --out {out}"


@pytest.mark.parametrize(
    "wrong", [("--cores", "0"), ("--cores", "17"), ("--scenario", "calm"), ("--variant", "both")]
)
def test_what_there_is_not_is_refused(wrong):
    result = CliRunner().invoke(main, ["bench", "hash", *wrong])
    assert result.exit_code == 2 and wrong[0] in result.output


@pytest.mark.slow
def test_one_hash_core_holds_the_book(tmp_path):
    route(tmp_path, "x", "appliance", 100.0)
    route(tmp_path, "k", "keccak", 150.0)
    arguments = ["bench", "hash", "--cores", 1, "--scenario", "static", "--variant", "serial"]
    arguments += ["--messages", 3000, "--results", tmp_path]
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    flow = told["appliance"]["flows"].pop("static serial")
    assert not told["appliance"]["flows"] and told["appliance"]["hash_cores"] == 1
    assert 0 < flow["stall_cycles_full_queue"] <= told["appliance"]["stall_cycles_from_hashing"]
    hardware, cycles = told["hardware"], (12 * 24 + 1) / 12
    assert hardware["cores"] == 1 and hardware["clock_from"] == "route-k.json"
    assert hardware["permutations_per_s"] == round(150e6 / cycles)
    assert hardware["two_cores_permutations_per_s"] == round(2 * 150e6 / cycles)
    shared = {"clock_mhz": 100.0, "clock_from": "route-x.json", "permutations_per_s": round(1e8 / cycles)}
    assert hardware["appliance"] == shared
    assert told["hardware_to_software"] == pytest.approx(
        hardware["permutations_per_s"] / told["software"]["permutations_per_s"], abs=0.01
    )
    assert list(bench_hash._tables(told)[0].columns[0].cells)[:4] == [
        "1 hash cores at 150.0 MHz (route-k.json)",
        "2 hash cores at 150.0 MHz (route-k.json)",
        "1 hash cores at 100.0 MHz (route-x.json)",
        next(iter(told["software"]["each"])),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("routed", [False, True])
def test_bench_hash(tmp_path, routed):
    if routed:
        route(tmp_path, "x", "appliance", 100.0)
    out, plot = tmp_path / "hash.json", tmp_path / "hash.png"
    arguments = ["bench", "hash", "--messages", 3000, "--results", tmp_path, "--out", out, "--plot", plot]
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    assert ("No routed clock" in result.stderr) == (not routed)
    told = json.loads(result.stdout)
    assert json.loads(out.read_text())["result"] == told
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert told["core"]["cycles_per_permutation"] == (12 * 24 + 1) / 12
    flows = told["appliance"]["flows"]
    assert len(flows) == 10
    for flow in flows.values():
        assert flow["records"] >= flow["commands"] > 2900
        assert 0 <= flow["stall_cycles_from_hashing"] < flow["cycles"]
        assert 0 < flow["most_records_in_a_queue"] <= told["appliance"]["records_per_queue"] + 1
    assert told["appliance"]["stall_cycles_from_hashing"] == sum(
        flow["stall_cycles_from_hashing"] for flow in flows.values()
    )
    best = max(max(each.values()) for each in told["software"]["each"].values())
    assert told["software"]["permutations_per_s"] == best > 0
    assert told["hardware"]["cores"] == CORES
    rate, two = (round(1e8 * n / ((12 * 24 + 1) / 12)) if routed else None for n in (CORES, 2))
    assert told["hardware"]["permutations_per_s"] == rate
    assert told["hardware"]["two_cores_permutations_per_s"] == two
    clock, file = (100.0, "route-x.json") if routed else (None, None)
    shared = {"clock_mhz": clock, "clock_from": file, "permutations_per_s": rate}
    assert told["hardware"]["appliance"] == shared
    assert (told["hardware_to_software"] is not None) == routed
    table = CliRunner().invoke(main, [str(a) for a in arguments[:6]])
    assert table.exit_code == 0 and "tiny_keccak" in table.stdout
