"""The commands as a user calls them. Faults of a run are in test_venue*.py."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.keys import lines
from hawse.keys.eip712 import Domain
from hawse.keys.signing import sign
from hawse.keys.store import KeyStore
from support import venue_process


def call(*args, code=0, **more):
    result = CliRunner().invoke(main, [str(a) for a in args], **more)
    assert result.exit_code == code, result.output + str(result.exception)
    return result


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A function of the engine: directory and summary of a short demo on it."""
    done = {}

    def run(engine):
        if engine not in done:
            out = tmp_path_factory.mktemp(engine)
            terms = ["--generated", "--rows", 2500, "--accounts", 6, "--engine", engine, "--out", out]
            result = call("demo", *terms, "--json")
            summary = json.loads(result.stdout)
            assert summary == json.loads((out / "summary.json").read_text())
            done[engine] = out, summary
        return done[engine]

    return run


@pytest.mark.parametrize("engine", ["soft", "rtl", pytest.param("link", marks=pytest.mark.ci)])
def test_a_demo_ends_with_everything_equal(demo, engine):
    _, s = demo(engine)
    assert s["engine"] == engine
    assert (s["commands"], s["deposits"], s["withdrawals_claimed"]) == (2500, 6, 6)
    assert s["accounts"] == 6
    assert s["trades"] > 500
    assert s["log_roots_hardware"] == s["log_roots_host"]
    assert s["state_roots"] == s["state_roots_onchain"]
    assert s["batches_anchored"] == len(s["state_roots"]) == len(s["log_roots_host"]) > 0
    assert s["collateral_locked"] == s["sum_of_balances"] == s["deposited"] - s["withdrawn"]
    assert (s["cycles"] > 0) == (engine != "soft")
    assert "tape_trades" not in s


@pytest.mark.parametrize("engine", ["golden", "rtl", "link"])
def test_every_engine_gives_the_same_roots(demo, engine):
    _, one = demo("soft")
    _, other = demo(engine)
    for key in ("state_roots", "log_roots_hardware", "trades", "records", "fees", "withdrawn"):
        assert one[key] == other[key]


def test_replay_and_verify(demo):
    out, summary = demo("soft")
    done = json.loads(call("verify", out, "--json").stdout)
    assert done["verified"]
    assert done["batches"] == summary["batches_anchored"]
    done = json.loads(call("replay", out / "journal", "--engine", "rtl", "--json").stdout)
    assert [b["state_root"] for b in done["batches"]] == summary["state_roots"]
    assert sum(b["cycles"] for b in done["batches"]) == demo("rtl")[1]["cycles"]


def test_a_replay_writes_a_waveform(tmp_path):
    """Of a small core, of which other tests need waveforms, too."""
    venue_process.main(tmp_path, 1, 4)
    trace = tmp_path / "order.fst"
    waveform = ["--trace", trace, "--trace-from", 100, "--trace-to", 900]
    done = json.loads(call("replay", tmp_path / "journal", "--engine", "rtl", *waveform, "--json").stdout)
    assert done["slots"] == 4 and trace.stat().st_size > 1000
    call("replay", tmp_path / "journal", "--engine", "soft", "--trace", trace, code=2)


def test_a_demo_of_another_geometry(tmp_path):
    terms = ["--generated", "--rows", 600, "--accounts", 4, "--engine", "soft", "--out", tmp_path / "run"]
    small = json.loads(call("demo", *terms, "--geometry", "2,2048,64,4", "--json").stdout)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["geometry"] == {
        "instruments": 2,
        "pool": 2048,
        "orders": 64,
        "tag_bits": 4,
    }
    assert json.loads(call("verify", tmp_path / "run", "--json").stdout)["verified"]
    whole = json.loads(call("demo", *terms, "--json").stdout)
    assert 0 < small["trades"] < whole["trades"] and small["state_roots"] == small["state_roots_onchain"]
    says = call("demo", *terms, "--geometry", "2,2048,63,4", code=2).output
    assert "orders: 63 is not a power of two within 64..65536" in " ".join(says.split())


def test_verify_asks_the_anchors_not_only_the_journal(demo, tmp_path):
    out, _ = demo("soft")
    anchors = json.loads((out / "anchors.json").read_text())
    for wrong, message in (
        (anchors[:-1], "never anchored"),
        ([*anchors, {**anchors[-1], "number": len(anchors) + 1}], "does not reach"),
        ([{**a, "withdrawals": "00" * 32} for a in anchors], "hash of its withdrawals"),
        ([{**a, "digest": "00" * 32} for a in anchors], "has the digest"),
    ):
        copy = tmp_path / message.replace(" ", "-")
        copy.mkdir()
        (copy / "journal").symlink_to(out / "journal")
        (copy / "anchors.json").write_text(json.dumps(wrong))
        assert message in " ".join(call("verify", copy, code=1).output.split())


def test_a_demo_only_clears_what_a_demo_made(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    assert "something else" in call("demo", "--generated", "--out", tmp_path, code=2).output
    assert (tmp_path / "thesis.txt").exists()
    assert "no run to resume" in call("demo", "--generated", "--resume", "--out", tmp_path, code=2).output


def test_keys(tmp_path):
    terms = ["--keys", tmp_path, "--password", "pass"]
    address = call("keys", "new", "alice", *terms).stdout.strip()
    assert call("keys", "show", "alice", "--keys", tmp_path).stdout.strip() == address
    listed = json.loads(call("keys", "list", "--keys", tmp_path, "--json").stdout)
    assert listed == [{"name": "alice", "address": address}]
    assert "KeyExists" in call("keys", "new", "alice", *terms, code=1).output
    assert "KeyNotFound" in call("keys", "show", "bob", "--keys", tmp_path, code=1).output

    domain = ["--chain-id", 5, "--contract", "0x" + "11" * 20]
    order = {"kind": "cancel", "account": 3, "generation": 3 << 24, "client_id": 9, "nonce": 1, "expiry": 2}
    signed = call("keys", "sign", "alice", "-", *domain, *terms, input=json.dumps(order)).stdout
    row = lines.parse(signed)
    sign(
        again := lines.parse(json.dumps(order)),
        Domain(5, b"\x11" * 20),
        [KeyStore(tmp_path).load("alice", "pass")],
    )
    assert row.tobytes() == again.tobytes()
    wrong = call("keys", "sign", "alice", "-", *domain, *terms, input='{"kind": "buy"}', code=1)
    assert "line 1: kind: 'buy' is none of order, cancel" in wrong.output
    other = ["--keys", tmp_path, "--password", "other"]
    assert "WrongPassword" in call("keys", "sign", "alice", "-", *domain, *other, input="", code=1).output


def test_bad_configurations_name_the_field(tmp_path):
    config = tmp_path / "venue.toml"
    for text, field in (
        ("[geometry]\npool = 1000", "pool"),
        ("[geometry]\nlevels = 1024", "levels"),
        ("", "instruments"),
        ("x =", "venue.toml"),
        ("wrong = 1", "wrong"),
        ("[[instruments]]\nnumber = 0", "name"),
    ):
        config.write_text(text)
        assert field in call("run", tmp_path / "v", "--config", config, code=2, input="").output
    assert not (tmp_path / "v" / "run.json").exists()


def test_help_everywhere():
    for words in (
        [],
        ["demo"],
        ["board"],
        ["board", "check"],
        ["wave"],
        ["run"],
        ["replay"],
        ["verify"],
        ["prove"],
        ["check-proof"],
        ["bench", "hash"],
        ["keys"],
        ["keys", "sign"],
    ):
        assert "Usage" in call(*words, "--help").output
    assert (
        "--pty"
        in subprocess.run(
            [sys.executable, "-m", "hawse.cli", "board", "virtual", "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
