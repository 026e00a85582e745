"""The operator vanishes, and everybody leaves: forced requests, freeze, exits, refunds."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from hawse.chain.client import SettlementClient
from hawse.cli import main
from hawse.commit.exit_file import ExitFile

PASSWORD = "not a good one"
GRACE = 7 * 86_400
PEOPLE = ("alice", "bob", *(f"user{n}" for n in range(3, 11)))


class Trial:
    """A venue, everybody's keys, and the host's process."""

    def __init__(self, folder):
        self.folder, self.directory = folder, folder / "venue"
        for number, name in enumerate(PEOPLE, 1):
            self.call("keys", "import", name, "--embedded", number, *self.keys)
        self.told = (folder / "told").open("wb")
        self.start()

    @property
    def keys(self):
        return "--keys", self.folder / "keys", "--password", PASSWORD

    def call(self, *arguments, code=0, **more):
        done = CliRunner().invoke(main, [str(a) for a in arguments], **more)
        assert (done.exit_code == 0) == (code == 0), done.output
        assert "Traceback" not in done.output
        return done

    def start(self):
        self.host = subprocess.Popen(
            [sys.executable, "-m", "hawse.cli", "run", str(self.directory), "--batch-seconds", "2"],
            stdin=subprocess.PIPE,
            stdout=self.told,
            stderr=subprocess.DEVNULL,
        )
        self.until(lambda row: row["event"] == "anchored")
        run = json.loads((self.directory / "run.json").read_text())
        self.chain = ("--rpc", run["rpc"], "--contract", run["contract"])
        self.client, self.pid = SettlementClient(run["rpc"], run["contract"]), run["pid"]

    def rows(self):
        return [json.loads(line) for line in (self.folder / "told").read_text().splitlines()]

    def until(self, found, count=1):
        end = time.monotonic() + 120
        while sum(map(found, self.rows())) < count:
            assert time.monotonic() < end and self.host.poll() is None
            time.sleep(0.1)

    def send(self, name, **fields):
        signed = self.call(
            "keys", "sign", name, "--venue", self.directory, *self.keys, input=json.dumps(fields)
        )
        self.host.stdin.write(signed.stdout.encode())
        self.host.stdin.flush()


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    trial = Trial(tmp_path_factory.mktemp("trial"))
    yield trial
    trial.host.kill()
    os.kill(trial.pid, signal.SIGTERM)


def test_an_operator_vanishes_and_everybody_leaves(trial):
    call, client, keys = trial.call, trial.client, trial.keys
    # Where nothing happens for long, an empty batch shows that there is somebody.
    count = client.batch_count()
    client.move_clock(client.chain_time() + GRACE // 4 + 60)
    trial.until(lambda row: row["event"] == "anchored" and row["batch"] > count)

    # Some trade, so that there are positions, fees and an order at the end.
    for name, side, lots in (
        ("alice", "sell", 900_000),
        ("bob", "buy", 1_000_000),
        ("user3", "sell", 50_000),
    ):
        trial.send(name, kind="order", client_id=1, side=side, price=78_000, quantity=lots)
    trial.until(lambda row: row["event"] == "trade", 4)

    # What bob forces is carried out without his signature: his order goes, and money comes.
    venue = ("--venue", trial.directory)
    said = json.loads(call("force", "bob", "cancel-all", *venue, *keys, "--json").stdout)
    assert said["request"] == 1 and said["freezable_at"] > client.chain_time()
    call("force", "bob", "withdraw", "--amount", "1.5", *venue, *keys)
    trial.until(lambda row: row.get("request") == 2 and row["event"] == "accepted")
    trial.until(lambda row: row["event"] == "cancelled" and row["reason"] == "forced")
    trial.until(lambda row: row["event"] == "withdrawal")
    claimed = json.loads(call("claim", trial.directory, "bob", *keys, "--json").stdout)
    assert [one["amount"] for one in claimed["claimed"]] == [1_500_000]

    # The file of an exit, as its owner may keep it; before a freeze it pays nothing.
    def prove(name, *where):
        file = trial.folder / f"{name}.json"
        call("exit", "prove", name, *where, "--out", file, *keys[:2])
        return file

    early = prove("alice", *venue)
    rpc = trial.chain[:2]
    assert "is not frozen" in call("exit", "claim", early, "bob", *rpc, *keys, code=1).output
    assert "the venue answers" in call("freeze", "bob", *trial.chain, *keys, code=1).output
    assert "is not frozen" in call("refund", "bob", *trial.chain, *keys, code=1).output

    # A signal that nobody can handle, in the middle of whatever it did.
    trial.host.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    kept = prove("bob", *venue).read_bytes()
    trial.host.kill()
    trial.host.wait()
    late = json.loads(call("deposit", trial.directory, "bob", "7.25", *keys, "--json").stdout)
    shutil.rmtree(trial.directory)

    client.move_clock(client.chain_time() + GRACE + 60)
    assert "last final batch" in call("freeze", "user9", *trial.chain, *keys).output
    assert "frozen already" in call("freeze", "bob", *trial.chain, *keys, code=1).output
    final = client.last_final()
    # Nobody has kept anything: the chain is enough.
    files = {name: prove(name, *trial.chain) for name in PEOPLE}
    assert files["bob"].read_bytes() == kept
    lines = trial.folder / "rebuilt.jsonl"
    said = json.loads(call("rebuild", *trial.chain, "--out", lines, "--json").stdout)
    assert (said["batch"], said["accounts"], said["positions"]) == (final, 11, 3)
    rebuilt = [json.loads(line) for line in lines.read_text().splitlines()]
    assert sum(max(0, row["equity"]) for row in rebuilt) == said["equity"]
    assert sum(one["lots"] for row in rebuilt for one in row["positions"]) == 0
    held, paid = client.collateral_locked(), 0
    for name, file in files.items():
        kept = ExitFile.read(file)
        header, leaf, _ = kept.terms()
        assert header.number == final
        before = client.token_balance(leaf.owner)
        # Anybody may hand it in.
        said = json.loads(call("exit", "claim", file, "user10", *rpc, *keys, "--json").stdout)
        assert said["paid"] == client.token_balance(leaf.owner) - before == leaf.equity > 0
        assert "already paid" in call("exit", "claim", file, name, *rpc, *keys, code=1).output
        paid += leaf.equity
    said = json.loads(call("refund", "bob", *trial.chain, *keys, "--json").stdout)
    assert said["refunded"] == [{"deposit": late["deposit"], "amount": 7_250_000}]
    assert "no deposit to be paid back" in call("refund", "bob", *trial.chain, *keys).output
    # What is left is the venue's own, to the quantum: insurance, fees and dust of the last final header.
    named = header.insurance + header.fees + header.dust
    assert client.collateral_locked() == held - paid - 7_250_000 == named > 0


def test_a_file_that_is_no_exit_is_refused_with_the_field(trial, tmp_path):
    good = next(iter(sorted(trial.folder.glob("*.json"))))
    text = json.loads(good.read_text())
    rpc, keys = trial.chain[:2], trial.keys
    for changes, says in (
        ({"format": "hawse exit 2"}, "format 'hawse exit 2'"),
        ({"chain_id": 5}, "of chain 5"),
        ({"equity": "7"}, "equity"),
        ({"owner": "zz"}, "non-hexadecimal"),
        ({"extra": 1}, "extra"),
        ({"header": text["header"] | {"number": 1}}, "of batch 1"),
        ({"header": {}}, "missing"),
        ({"equity": text["equity"] + 1}, "exit: proof"),
        ({"proof": []}, "exit: proof"),
    ):
        path = tmp_path / "bad.json"
        path.write_text(json.dumps(text | changes))
        assert says in trial.call("exit", "claim", path, "bob", *rpc, *keys, code=1).output
    path.write_text("[" * 100_000)
    trial.call("exit", "claim", path, "bob", *rpc, *keys, code=1)


def test_what_is_asked_for_badly_is_refused(trial):
    keys, chain = trial.keys, trial.chain
    who = ("--account", 1, "--generation", 1 << 24)
    for arguments, says in (
        (("withdraw", *who, *chain), "withdraw takes --amount"),
        (("cancel-all", "--amount", 5, *who, *chain), "cancel-all takes none of"),
        (("appoint", "--agent", "0x12", "--until", 5, *who, *chain), "no address of 20 bytes"),
        (("exit", *chain), "--account and --generation"),
        (("exit", *who), "--venue alone, or --rpc and --contract"),
        (("exit", *who, *chain), "request: frozen"),
    ):
        assert says in trial.call("force", "bob", *arguments, *keys, code=1).output
