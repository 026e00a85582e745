"""The commands as a user calls them. Faults of a run are in test_venue*.py."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from hawse.chain.client import Claim, SettlementClient
from hawse.chain.devchain import dev_keys
from hawse.cli import main
from hawse.commit.trees import Node
from hawse.commit.withdrawals import Range, Withdrawal
from hawse.keys import lines
from hawse.keys.eip712 import Domain
from hawse.keys.signing import sign
from hawse.keys.store import KeyStore


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


@pytest.mark.parametrize("engine", ["soft", "rtl", "link"])
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


def test_replay_and_verify(demo, tmp_path):
    out, summary = demo("soft")
    done = json.loads(call("verify", out, "--json").stdout)
    assert done["verified"]
    assert done["batches"] == summary["batches_anchored"]
    trace = tmp_path / "order.fst"
    waveform = ["--trace", trace, "--trace-from", 100, "--trace-to", 900]
    done = json.loads(call("replay", out / "journal", "--engine", "rtl", *waveform, "--json").stdout)
    assert [b["state_root"] for b in done["batches"]] == summary["state_roots"]
    assert sum(b["cycles"] for b in done["batches"]) == demo("rtl")[1]["cycles"]
    assert trace.stat().st_size > 1000
    call("replay", out / "journal", "--engine", "soft", "--trace", trace, code=2)


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
    terms = ["--directory", tmp_path, "--password", "pass"]
    address = call("keys", "new", "alice", *terms).stdout.strip()
    assert call("keys", "show", "alice", "--directory", tmp_path).stdout.strip() == address
    listed = json.loads(call("keys", "list", "--directory", tmp_path, "--json").stdout)
    assert listed == [{"name": "alice", "address": address}]
    assert "KeyExists" in call("keys", "new", "alice", *terms, code=1).output
    assert "KeyNotFound" in call("keys", "show", "bob", "--directory", tmp_path, code=1).output

    domain = ["--chain-id", 5, "--contract", "0x" + "11" * 20]
    order = {"kind": "cancel", "account": 3, "generation": 3 << 24, "client_id": 9, "nonce": 1}
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
    other = ["--directory", tmp_path, "--password", "other"]
    assert "WrongPassword" in call("keys", "sign", "alice", "-", *domain, *other, input="", code=1).output


def test_run_goes_on_where_it_was_stopped(tmp_path):
    def run(*commands):
        text = "\n".join(json.dumps(lines.unparse(c)) for c in commands)
        process = subprocess.run(
            [sys.executable, "-m", "hawse.cli", "run", str(tmp_path / "venue")],
            input=text + "\n\nnonsense\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return [json.loads(line) for line in process.stdout.splitlines()]

    first = run()
    assert [row["batch"] for row in first if "batch" in row] == [1]
    state = json.loads((tmp_path / "venue" / "run.json").read_text())
    client = SettlementClient(state["rpc"], state["contract"])
    domain = Domain(client.chain_id, client.address)

    now = time.time_ns() // 1_000_000

    def signed(account, key=None, **fields):
        fields |= {"account": account, "generation": account << 24, "expiry": now + 600_000}
        row = lines.parse(json.dumps(fields))
        sign(row, domain, [dev_keys(10)[(key or account) - 1]])
        return row

    # An account's number and generation come with its deposit.
    opened = {row["account"]: row["generation"] for row in first if "deposit" in row}
    assert opened == {account: account << 24 for account in range(1, 11)}
    order = {"kind": "order", "client_id": 7, "side": "buy", "price": 78000, "quantity": 100, "nonce": now}
    done = run(
        signed(1, **order),
        signed(2, 3, **order),
        signed(2, kind="withdraw", amount=10**12 + 1, nonce=now),
        signed(2, kind="cancel", client_id=7, nonce=now - 5),
        signed(2, kind="cancel_all", instrument=0xFFFF, nonce=now + 1),
        signed(2, kind="appoint", agent="0x" + "11" * 20, agent_expiry=now, nonce=now + 2),
    )
    by_seq = {row["seq"]: row for row in done if "seq" in row}
    assert sorted(by_seq) == list(range(11, 17))  # ten deposits came before
    assert [r["kind"] for r in by_seq[11]["reports"]] == ["ack"]
    assert by_seq[12]["refused"] == "signer" and by_seq[12]["have"] != by_seq[12]["need"]
    told = [(by_seq[n]["refused"], by_seq[n]["detail"]) for n in range(13, 17)]
    assert told == [("balance", 0), ("client_id_unknown", 0), ("request", 3), ("request", 9)]
    assert (by_seq[13]["have"], by_seq[13]["need"]) == (10**12, 10**12 + 1)
    assert [row["line"] for row in done if "error" in row] == [8]

    # The order rested through the restart, and trades now; then its owner takes some money out.
    sell = order | {"side": "sell", "quantity": 40, "nonce": now + 10}
    done = run(signed(2, **sell), signed(2, kind="withdraw", amount=5, nonce=now + 11))
    reports = next(row["reports"] for row in done if row.get("client_id") == 7)
    assert [(r["kind"], r["quantity"]) for r in reports] == [("ack", 40), ("trade", 40)]
    assert reports[1]["maker_id"] == reports[1]["client_id"] == 7
    paid = next(row for row in done if "withdrawal" in row)
    assert paid["amount"] == 5
    due = Withdrawal(paid["withdrawal"], bytes.fromhex(paid["owner"][2:]), 0, paid["amount"])
    among = Range(bytes.fromhex(paid["among"].pop("root")[2:]), **paid["among"])
    proof = [Node(bytes.fromhex(hash_[2:]), (total,)) for hash_, total in paid["proof"]]
    client.claim(dev_keys(10)[1], Claim(paid["batch"], among, due, proof))
    assert client.claimed(due.id)
    assert [row["batch"] for row in done if "state_root" in row] == [client.batch_count()]
    os.kill(state["pid"], signal.SIGTERM)


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
