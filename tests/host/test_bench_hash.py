import json
from dataclasses import asdict

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import bench_hash, main
from hawse.commit import merkle
from hawse.wire import Geometry
from hawse_hdl import build
from tiny_keccak import keccak256


def leaves_of(count):
    return np.random.default_rng(count).integers(0, 256, (count, 32), dtype=np.uint8)


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_the_hash_cores_give_the_root(cores):
    leaves = leaves_of(64)
    root, cycles = bench_hash._merkle_cycles(leaves, cores)
    assert root == merkle.root([leaf.tobytes() for leaf in leaves], 1)
    permutations = sum(-(-(n // 2) // cores) for n in (64, 32, 16, 8, 4, 2))
    assert cycles > 24 * permutations


def test_every_software_hashes_the_same():
    messages = [bytes(n) for n in (0, 64, 135, 136, 1000)]
    functions = bench_hash._python()
    functions.pop("OpenSSL's SHA3-256 (hashlib)")
    assert "tiny_keccak" in functions
    for function in functions.values():
        assert [function(m) for m in messages] == [keccak256(m) for m in messages]


def test_the_clock_is_that_of_the_hash_core_where_it_was_routed_alone(tmp_path):
    assert bench_hash.routed_clock(tmp_path) == (None, None)
    assert bench_hash.routed_clock(tmp_path / "nothing") == (None, None)

    geometry = Geometry(2, 1024, 64, 4)

    def route(name, top, clock):
        stamp = build.stamp(top, geometry)
        told = {"top": top, "fmax_mhz_median": clock, "geometry": asdict(geometry), "gateware": stamp}
        (tmp_path / f"route-{name}.json").write_text(json.dumps(told))

    route("book", "book", 300.0)
    assert bench_hash.routed_clock(tmp_path) == (None, None)
    route("a", "appliance", 120.5)
    route("b", "appliance", 90.0)
    assert bench_hash.routed_clock(tmp_path) == (120.5, "route-a.json")
    route("k", "keccak", 110.0)
    assert bench_hash.routed_clock(tmp_path) == (110.0, "route-k.json")
    (tmp_path / "route-k.json").write_text(
        (tmp_path / "route-a.json").read_text().replace("appliance", "keccak")
    )
    assert bench_hash.routed_clock(tmp_path) == (None, None)  # of other gateware


@pytest.mark.slow
@pytest.mark.parametrize("routed", [False, True])
def test_bench_hash(tmp_path, routed):
    if routed:
        geometry = Geometry(2, 1024, 64, 4)
        stamp = {"geometry": asdict(geometry), "gateware": build.stamp("appliance", geometry)}
        clock = {"top": "appliance", "fmax_mhz_median": 100.0}
        (tmp_path / "route-x.json").write_text(json.dumps(clock | stamp))
    out, plot = tmp_path / "hash.json", tmp_path / "hash.png"
    arguments = ["bench", "hash", "--messages", 3000, "--results", tmp_path, "--out", out, "--plot", plot]
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
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
    rate = round(1e8 * told["hardware"]["cores"] / ((12 * 24 + 1) / 12)) if routed else None
    assert told["hardware"]["permutations_per_s"] == rate
    assert (told["hardware_to_software"] is not None) == routed
    table = CliRunner().invoke(main, [str(a) for a in arguments[:6]])
    assert table.exit_code == 0 and "tiny_keccak" in table.stdout
