"""A venue's host as its operator sees it: lines in, lines out, and whatever may happen to it in between."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from unittest.mock import MagicMock, PropertyMock

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.chain.client import Claim, SettlementClient
from hawse.chain.devchain import dev_keys
from hawse.cli import main
from hawse.cli.run import DEFAULT_CONFIG, _serve
from hawse.commit.trees import Node
from hawse.commit.withdrawals import Range, Withdrawal
from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal
from hawse.keys import lines
from hawse.keys.eip712 import Domain
from hawse.keys.signing import sign
from hawse.keys.store import address_of
from hawse.publisher.store import Outcomes
from hawse.publisher.streams import SLOTS
from hawse.state.config import VenueConfig
from hawse.state.inputs import MARK
from hawse.state.slot import Cut, OperationKind
from hawse.venue import Execution, replay
from hawse.wire import Reason

KEYS = dev_keys(10)


class Venue:
    """A directory, and the hosts that run in it one after another."""

    def __init__(self, directory, *options):
        self.directory, self.options = directory, options
        self.first, _ = self.run()
        state = json.loads((directory / "run.json").read_text())
        self.pid = state["pid"]
        self.client = SettlementClient(state["rpc"], state["contract"])
        self.domain = Domain(self.client.chain_id, self.client.address)
        self.now = time.time_ns() // 1_000_000

    def start(self, *options, **more):
        return subprocess.Popen(
            [sys.executable, "-m", "hawse.cli", "run", str(self.directory), *self.options, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )

    def run(self, data=b"", code=0, options=(), **more):
        """One host, from what it is given to its end: the lines that it told, and what it said to people."""
        process = self.start(*options, **more)
        out, errors = process.communicate(data, timeout=600)
        errors = errors.decode()
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        return told(out), " ".join(errors.split())

    def signed(self, account, key=None, **fields):
        fields |= {"account": account, "generation": account << 24, "expiry": self.now + 600_000}
        row = lines.parse(json.dumps(fields))
        sign(row, self.domain, [KEYS[(key or account) - 1]])
        return json.dumps(lines.unparse(row)).encode() + b"\n"

    def orders(self, count, seed=1):
        """Orders of everybody around one price, so that many trade."""
        rng, rows = np.random.default_rng(seed), []
        for n in range(count):
            fields = {"kind": "order", "client_id": 1 + n, "nonce": self.now + n}
            fields |= {"side": str(rng.choice(["buy", "sell"])), "quantity": int(rng.integers(2000, 5000))}
            fields |= {"price": 78_000 + int(rng.integers(-3, 4))}
            rows.append(self.signed(1 + n % 10, **fields))
        return b"".join(rows)

    def expected(self, tmp_path):
        """What the journal leads to, line by line."""
        path = tmp_path / f"expected-{time.monotonic_ns()}.db"
        with Journal(self.directory / "journal", readonly=True) as journal, Outcomes(path) as kept:
            config = VenueConfig.decode(journal.config)
            execution = Execution(config, Engine(SoftBackend(config.geometry)), journal.epoch + 1)
            for done in replay(execution, journal.slots()):
                kept.keep(done)
            assert done.slot.closes is not None  # nothing was left open
            return [json.loads(row.text) for row in kept.lines(SLOTS, 0, 0)]

    def close(self):
        os.kill(self.pid, signal.SIGTERM)


def told(out):
    """The lines that a host told; half of one, which it was killed in, counts for nothing."""
    return [json.loads(line) for line in out.split(b"\n")[:-1]]


def of_slots(rows):
    return [row for row in rows if "slot" in row]


def batches(rows):
    return [row["batch"] for row in rows if row["event"] == "anchored"]


@pytest.fixture
def venue(tmp_path):
    venue = Venue(tmp_path / "venue")
    yield venue
    venue.close()


def test_a_batch_that_is_full_is_closed_whatever_the_time():
    bursts = [[], [], []]
    host = MagicMock()
    type(host).batch_is_full = PropertyMock(side_effect=[False, True, False])
    host.waits.return_value = ""
    incoming = MagicMock(burst=lambda *_: (bursts.pop(), []))
    type(incoming).ended = PropertyMock(side_effect=lambda: not bursts)
    _serve(host, incoming, threading.Event(), 256, 0.02, 3600)
    assert [call.args[1] for call in host.slot.call_args_list] == [Cut.TIME, Cut.BATCH, Cut.TIME]


def test_marks_are_the_operator_s_word_and_no_trade_s(venue, tmp_path):
    said = tmp_path / "marks"
    said.write_text('{"instrument": 0, "mark": 79000}\n{"instrument": 0}\n[\n{"instrument": 5, "mark": 1}\n')
    both = [
        venue.signed(a, kind="order", client_id=1, side=side, price=77_900, quantity=9000, nonce=venue.now)
        for a, side in ((1, "buy"), (2, "sell"))
    ]
    done, _ = venue.run(b"".join(both), options=["--operations", str(said)])
    errors = [row["error"] for row in done if row["event"] == "unreadable"]
    assert len(errors) == 3 and all(error.startswith("mark: ") for error in errors)
    assert "instrument 5 is not listed" in errors[2] and any(row["event"] == "trade" for row in done)
    with Journal(venue.directory / "journal", readonly=True) as journal:
        marks = [MARK.unpack(o.body) for e in journal.slots() for o in e.slot.operations]
    # A hundredth a step, at most.
    assert marks[0] == (0, 78_780) and set(marks) <= {(0, 78_780), (0, 79_000)}


def test_publishers_say_marks_through_the_operator_s_lines(tmp_path, monkeypatch):
    """By hawse publish. What a stranger signs, what is stale, and the operator's own mark is told."""
    monkeypatch.setenv("HAWSE_PASSWORD", "p")
    keys, people = ["--keys", str(tmp_path / "keys")], []
    for name in ("ann", "bob", "eve"):
        made = CliRunner().invoke(main, ["keys", "new", name, *keys, "--json"])
        people.append(json.loads(made.stdout)["address"])
    told_by = 'name = "BTC"\nquorum = 2\nstaleness = 600_000\nahead = 600_000\n'
    config = DEFAULT_CONFIG.read_text()
    config = config.replace("minimum_quantity", "underlying = 3\nmark_bound_ppm = 10_000\nminimum_quantity")
    config += f"[[underlyings]]\nnumber = 3\n{told_by}publishers = {json.dumps(people[:2])}\n"
    (tmp_path / "venue.toml").write_text(config)
    venue = Venue(tmp_path / "venue", "--config", str(tmp_path / "venue.toml"))
    try:
        said = []
        prices = {"ann": {}, "bob": {}, "eve": {}, "ann ": {}, " ann": {"time": 1}}
        for value, (who, more) in enumerate(prices.items(), 79_000):
            name = who.strip()
            asked = ["publish", name, "-", "--numbers", str(tmp_path / name), *keys]
            asked += ["--venue", str(venue.directory)]
            done = CliRunner().invoke(main, asked, input=json.dumps({"feed": 3, "value": value, **more}))
            assert not done.exit_code, done.output
            said.append(json.loads(done.stdout))
        assert said[3]["number"] > said[0]["number"]
        said += [said[0], {"instrument": 0, "mark": 80_000}]
        (tmp_path / "said").write_text("".join(json.dumps(line) + "\n" for line in said))
        order = venue.signed(
            1, kind="order", client_id=1, side="buy", price=78_000, quantity=9000, nonce=venue.now
        )
        done, _ = venue.run(order, options=["--operations", str(tmp_path / "said")])
        errors = [row["error"] for row in done if row["event"] == "unreadable"]
        assert any(f"signed by {people[2].lower()}, no publisher of feed 3" in error for error in errors)
        assert any("instrument 0 is not listed, or has publishers" in error for error in errors)
        with Journal(venue.directory / "journal", readonly=True) as journal:
            slots = [entry.slot for entry in journal.slots()]
        values = [one.value for slot in slots for one in slot.observations]
        assert sorted(values) == [79_000, 79_001, 79_003]
        assert [left_out.reason for slot in slots for left_out in slot.omissions] == [Reason.STALE]
        assert any("STALE, feed 3: time: 1 " in error for error in errors)
        mirrored = venue.expected(tmp_path)
        assert [row["event"] for row in mirrored if row.get("kind") == "order"]
    finally:
        venue.close()


def operations(venue):
    """Kinds of what the operator said, slot by slot."""
    with Journal(venue.directory / "journal", readonly=True) as journal:
        return [[o.kind for o in e.slot.operations] for e in journal.slots() if e.slot.operations]


def test_rules_and_flags_are_the_operator_s_word_too(venue, tmp_path):
    said, first = tmp_path / "operations", "0x" + address_of(KEYS[0]).hex()
    bad = [
        {"rules": {"lots": -1}},
        {"rules": {"barred": [5, 5]}},
        {"rules": {"lots": 2**64}},
        {"owner": "0x12", "flags": []},
        {"owner": first, "flags": ["rich"]},
        {"owner": "0x" + "ab" * 20, "flags": ["allowed"]},
        {"rules": {"lots": 7}, "mark": 5},
        {"instrument": 9, "status": "open"},
        {"instrument": 0, "status": "settled"},
    ]
    good = [
        {"owner": first, "flags": ["allowed", "bound"], "jurisdiction": 276},
        {"owner": "0x" + first[2:].upper(), "flags": ["allowed"]},
        {"rules": {"listed": True, "lots": 5000, "barred": [408, 643]}},
        {"instrument": 0, "status": "open"},
        {"rules": {"listed": True}},
    ]
    deep = '{"rules": ' + "[" * 5000
    said.write_text("\n".join([deep, *map(json.dumps, [*bad, *good])]))
    order = {"kind": "order", "side": "buy", "price": 77_000, "quantity": 9000}
    # Slots without a command until all is said; then an order of one who is listed, and of one who is not.
    process, end = venue.start("--operations", str(said)), time.monotonic() + 120
    while len(operations(venue)) < 3:
        assert time.monotonic() < end
        time.sleep(0.2)
    now = time.time_ns() // 10**6
    process.stdin.write(b"".join(venue.signed(a, client_id=50, nonce=now, **order) for a in (1, 2)))
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    done = told(out)
    refused = [row["error"] for row in done if row["event"] == "unreadable"]
    assert len(refused) == 1 + len(bad) and "Traceback" not in errors.decode()
    assert any("0x" + "ab" * 20 + " has no account" in error for error in refused)
    orders = {row["account"]: row for row in done if row.get("client_id") == 50}
    assert orders[1]["event"] != "refused" and orders[2]["reason"] == "rule"
    kinds = operations(venue)
    # Two of one subject are two slots; else they share one.
    flags, rules, state = OperationKind.FLAGS, OperationKind.RULES, OperationKind.STATE
    assert kinds == [[flags], [flags, rules, state], [rules]]


def test_each_input_is_answered_and_a_stopped_venue_goes_on(venue):
    assert batches(venue.first) == [1]
    # An account's number and generation come with its deposit.
    opened = {row["account"]: row["generation"] for row in venue.first if "deposit" in row}
    assert opened == {account: account << 24 for account in range(1, 11)}
    now, signed = venue.now, venue.signed
    order = {"kind": "order", "client_id": 7, "side": "buy", "price": 78000, "quantity": 10_000, "nonce": now}
    sent = [
        signed(1, **order),
        signed(2, 3, **order),
        signed(2, kind="withdraw", amount=10**12 + 1, nonce=now),
        signed(2, kind="cancel", client_id=7, nonce=now - 5),
        signed(2, kind="margin_mode", mode="portfolio", nonce=now + 1),
        signed(2, kind="appoint", agent="0x" + "11" * 20, agent_expiry=1, nonce=now + 2),
    ]
    done, _ = venue.run(b"".join(sent) + b"\n\nnonsense\n")
    by_seq = {row["seq"]: row for row in done if "seq" in row}
    assert sorted(by_seq) == list(range(11, 17))  # ten deposits came before
    # What appoints goes before the other commands of its slot.
    acked, signer, *others = (by_seq[n] for n in (12, 13, 14, 15, 16, 11))
    assert acked["event"] == "ack" and acked["remaining"] == 10_000
    assert signer["reason"] == "signer" and signer["have"] != signer["need"]
    assert [(one["event"], one["reason"], one["detail"]) for one in others] == [
        ("refused", reason, detail)
        for reason, detail in (("balance", 0), ("client_id_unknown", 0), ("request", 14), ("expired", 1))
    ]
    assert (others[0]["have"], others[0]["need"]) == (10**12, 10**12 + 1)
    assert [row["input"] for row in done if row["event"] == "unreadable"] == [9]

    # The order rested through the restart, and trades now; then its owner takes some money out.
    sell = order | {"side": "sell", "quantity": 4000, "nonce": now + 10}
    done, _ = venue.run(signed(2, **sell) + signed(2, kind="withdraw", amount=5, nonce=now + 11))
    ack, taker, maker, withdraw = of_slots(done)
    assert (ack["event"], ack["account"], ack["cumulative"], ack["remaining"]) == ("ack", 2, 0, 4000)
    both = {"event": "trade", "trade": 1, "seq": 17, "price": 78000, "quantity": 4000, "cumulative": 4000}
    for line, account, more in (
        # A hundredth of a percent of 31,200 quanta, rounded up.
        (taker, 2, {"role": "taker", "side": "sell", "remaining": 0, "fee": 312}),
        (maker, 1, {"role": "maker", "side": "buy", "remaining": 6000, "fee": 0}),
    ):
        assert {**line, **both, **more, "account": account, "client_id": 7} == line
    assert withdraw["kind"] == "withdraw" and withdraw["event"] == "accepted"
    paid = next(row for row in done if row["event"] == "withdrawal")
    assert paid["amount"] == 5
    due = Withdrawal(paid["withdrawal"], bytes.fromhex(paid["owner"][2:]), 0, paid["amount"])
    among = Range(bytes.fromhex(paid["among"].pop("root")[2:]), **paid["among"])
    proof = [Node(bytes.fromhex(hash_[2:]), (total,)) for hash_, total in paid["proof"]]
    venue.client.claim(KEYS[1], Claim(paid["batch"], among, due, proof))
    assert venue.client.claimed(due.id)
    assert batches(done) == [venue.client.batch_count()]


def test_no_line_stops_the_host_or_makes_it_deaf(venue):
    wrong = {
        b"[" * 200_000: "more than 4096 bytes",
        b"[" * 4000: "JSON object",
        b'{"kind": ' * 400: "JSON object",
        b'{"legs": [[[[]]]]}': "JSON object",
        b"\xff": "JSON object",
        b'{"kind": "order", "price": "\xff"}': "JSON object",
        b'{"kind": "\\ud800"}': "JSON object",
        b"\0": "JSON object",
        b"x" * (1 << 23): "more than 4096 bytes",
        b"1" + b"0" * 4000: "JSON object",
        b'{"kind": "order", "price": 1' + b"0" * 400 + b"}": "price: ",
        b'{"kind": ["order"]}': "JSON object",
        b'{"kind": "order", "account": -1}': "account: -1",
        b'{"kind": "order", "quantity": 1.5}': "quantity: 1.5",
        b'{"kind": "cancel", "signature": "0xzz"}': "signature",
        b"null": "JSON object",
    }
    good = venue.signed(1, kind="cancel", client_id=5, nonce=venue.now)
    done, _ = venue.run(b"\n".join(wrong) + b"\r\n \n" + good.rstrip())
    bad = [row for row in done if row["event"] == "unreadable"]
    assert [row["input"] for row in bad] == list(range(1, len(wrong) + 1))
    for row, says in zip(bad, wrong.values(), strict=True):
        assert says in row["error"], row
    # What came behind them, without an end of its line, is carried out.
    assert [(row["kind"], row["reason"]) for row in of_slots(done)] == [("cancel", "client_id_unknown")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_and_anchors_the_batch_though_the_input_is_open(venue, number):
    process = venue.start()
    process.stdin.write(venue.orders(3))
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["event"] == "ack"
    process.send_signal(number)
    process.send_signal(number)  # an impatient one
    out, errors = process.stdout.read(), process.stderr.read().decode()
    assert process.wait(300) == 0, errors
    assert batches(told(out)) == [2] and venue.client.batch_count() == 2
    assert "Traceback" not in errors and "Fatal" not in errors


def test_a_signal_ends_a_host_whose_lines_nobody_reads_and_the_next_tells_them(venue, tmp_path):
    process = venue.start()
    process.stdin.write(venue.orders(1500))
    process.stdin.flush()
    first = process.stdout.readline()  # it is at work
    time.sleep(5)  # more than a pipe holds, and nobody reads
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 0, process.stderr.read()[-3000:]
    first = told(first + process.stdout.read())
    second, _ = venue.run()
    rows = of_slots(first + second)
    assert rows == venue.expected(tmp_path)[-len(rows) :] and of_slots(second)


def kill_under_load(venue, tmp_path, count, kills):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, rows = random.Random(seed), list(venue.first)
    sent = venue.orders(count).splitlines(keepends=True)
    for _ in range(kills):
        process = venue.start("--slot", "16", "--batch-seconds", "0.5")
        some = sent[: rng.randrange(20, len(sent))]
        process.stdin.write(b"".join(some))
        process.stdin.flush()
        # Each has an answer at least, so as many lines as there are commands will come.
        out = [process.stdout.readline() for _ in range(rng.randrange(1, min(len(some), 200)))]
        process.send_signal(signal.SIGKILL)
        rows += told(b"".join(out) + process.stdout.read())
        assert process.wait() == -signal.SIGKILL
    last, _ = venue.run()
    rows += last
    # Exactly once, over all runs, and in order.
    assert of_slots(rows) == venue.expected(tmp_path)
    answers = Counter(row["seq"] for row in of_slots(rows) if "kind" in row)
    with Journal(venue.directory / "journal", readonly=True) as journal:
        inputs = sum(len(entry.slot.deposits) + len(entry.slot.commands) for entry in journal.slots())
    assert set(answers.values()) == {1} and len(answers) == inputs
    sides = Counter((row["trade"], row["role"]) for row in rows if row["event"] == "trade")
    assert set(sides.values()) == {1} and len(sides) == 2 * max(trade for trade, _ in sides)
    assert batches(rows) == list(range(1, venue.client.batch_count() + 1))
    return rows


def test_a_host_killed_under_load_tells_each_outcome_once_and_a_restart_closes_the_batch(venue, tmp_path):
    rows = kill_under_load(venue, tmp_path, count=600, kills=2)
    # What became of an order can be asked for by its owner's number.
    orders = {}
    for row in of_slots(rows):
        if "client_id" in row:
            orders.setdefault((row["account"], row["client_id"]), []).append(row)
    for account, client_id in random.Random(1).sample(sorted(orders), 5):
        options = ["--account", str(account), "--client-id", str(client_id), "--json"]
        result = CliRunner().invoke(main, ["status", str(venue.directory), *options])
        asked = json.loads(result.stdout)
        assert asked["outcomes"] == orders[account, client_id]
        for order in asked["orders"]:
            fills = [row for row in asked["outcomes"] if row["event"] == "trade"]
            assert order["cumulative"] == sum(row["quantity"] for row in fills)
            assert order["fee"] == sum(row["fee"] for row in fills)


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(10))
def test_a_host_killed_again_and_again_tells_each_outcome_once(venue, tmp_path, round_):
    kill_under_load(venue, tmp_path, count=3000, kills=8)


def test_a_reader_that_leaves_is_told_the_rest_by_the_next_host(venue, tmp_path):
    process = venue.start()
    process.stdin.write(venue.orders(400))
    process.stdin.flush()
    first = process.stdout.readline()
    process.stdout.close()
    with suppress(BrokenPipeError):
        process.stdin.write(venue.orders(400, seed=2))
        process.stdin.close()
    errors = process.stderr.read().decode()
    assert process.wait(300) == 1
    assert "the next start tells the rest" in errors and "Traceback" not in errors
    second, _ = venue.run()
    expected = venue.expected(tmp_path)
    assert of_slots(second) == expected[-len(of_slots(second)) :]
    assert json.loads(first) in expected and batches(second)


def test_a_disk_that_is_full_ends_the_host_with_a_sentence_and_loses_nothing(venue, tmp_path):
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    out = tmp_path / "out"
    with out.open("ab") as file:
        process = subprocess.run(
            [sys.executable, "-m", "hawse.cli", "run", str(venue.directory), "--slot", "8"],
            input=venue.orders(2000),
            stdout=file,
            stderr=subprocess.PIPE,
            preexec_fn=small,
            timeout=600,
            check=False,
        )
    errors = process.stderr.decode()
    assert process.returncode == 1 and "Traceback" not in errors, errors
    assert "disk" in errors or "File too large" in errors
    first = told(out.read_bytes())
    assert out.read_bytes().endswith(b"\n")
    second, _ = venue.run()
    assert of_slots(venue.first + first + second) == venue.expected(tmp_path)
    assert batches(second)[-1] == venue.client.batch_count()


def test_a_journal_that_ends_before_what_is_known_is_refused_with_both_numbers(venue, tmp_path):
    venue.run(venue.orders(50))
    journal, old = venue.directory / "journal", tmp_path / "old"
    shutil.copytree(journal, old)
    with Journal(old, readonly=True) as opened:
        ends = opened.next_slot - 1
    venue.run(venue.orders(50, seed=2))
    with Journal(journal, readonly=True) as opened:
        known = opened.next_slot - 1
    assert known > ends
    shutil.copytree(journal, whole := tmp_path / "whole")

    # With its own snapshots; and with the outcomes along with it. Newer snapshots: test_venue_faults.py.
    shutil.rmtree(journal)
    shutil.copytree(old, journal)
    _, says = venue.run(code=1)
    assert f"ends with slot {ends}, but the outcomes of slot {known} are kept" in says
    (venue.directory / "outcomes.db").rename(tmp_path / "outcomes.db")
    told_before = (venue.directory / "told").read_bytes()
    _, says = venue.run(code=1)
    count = venue.client.batch_count()
    assert f"batch {count} is anchored, and the journal's last is {count - 1}" in says
    assert (venue.directory / "told").read_bytes() == told_before  # and nothing was told

    # With a copy that has it all, and no outcomes, they are made anew, and none is told again.
    (venue.directory / "outcomes.db").unlink()
    shutil.rmtree(journal)
    shutil.copytree(whole, journal)
    rows, _ = venue.run()
    assert rows == []


def test_a_damaged_file_of_outcomes_is_named_and_made_anew(venue, tmp_path):
    venue.run(venue.orders(50))
    path = venue.directory / "outcomes.db"
    path.write_bytes(b"no database at all, but long enough to look at" * 100)
    _, says = venue.run(code=1)
    assert "outcomes.db" in says and "delete it" in says
    path.unlink()
    rows, _ = venue.run(venue.signed(1, kind="cancel", client_id=0, nonce=1))
    assert len(of_slots(rows)) == 1 and of_slots(rows) == venue.expected(tmp_path)[-1:]
