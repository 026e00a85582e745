"""Validators beside a venue: processes of their own, without whose signatures nothing is anchored."""

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
from hawse.cli.validator import Signatures
from hawse.journal import Journal
from hawse.journal.segments import segment_path
from hawse.keys.store import KeyStore
from hawse.state.config import VenueConfig

PASSWORD = "not a good one"
NAMES = ("one", "two", "three")


def call(*arguments, code=0, **more):
    done = CliRunner().invoke(main, [str(a) for a in arguments], **more)
    assert (done.exit_code == 0) == (code == 0), done.output
    assert "Traceback" not in done.output
    return done


class Trial:
    """A venue of whose three validators two have to sign, and their processes."""

    def __init__(self, folder):
        self.folder, self.directory = folder, folder / "venue"
        self.keys = "--keys", folder / "keys", "--password", PASSWORD
        self.signatures = folder / "signatures"
        for name in NAMES:
            call("keys", "new", name, *self.keys)
        call("keys", "import", "alice", "--embedded", 1, *self.keys)
        self.people = [KeyStore(folder / "keys").show(name).address for name in NAMES]
        committee = [option for address in self.people for option in ("--validator", address)]
        self.host = self.run("--batch-seconds", "1", *committee, "--threshold", "2")
        self.running = {}

    def process(self, *arguments, **more):
        command = [sys.executable, "-m", "hawse.cli", *map(str, arguments)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, **more)

    def run(self, *options):
        told = (self.folder / "told").open("ab")
        options = "--signatures", self.signatures, *options
        return self.process("run", self.directory, *options, stdin=subprocess.PIPE, stdout=told)

    def validate(self, name):
        where = self.directory, name, "--signatures", self.signatures
        self.running[name] = self.process("validator", *where, *self.keys)

    def rows(self):
        return [json.loads(line) for line in (self.folder / "told").read_text().splitlines()]

    def anchored(self):
        return [row["batch"] for row in self.rows() if row["event"] == "anchored"]

    def until(self, met, seconds=90):
        end = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < end and self.host.poll() is None, self.rows()[-3:]
            time.sleep(0.1)

    def order(self, number):
        fields = {"kind": "order", "client_id": number, "side": "buy", "price": 70_000, "quantity": 10_000}
        options = "--venue", self.directory, *self.keys
        signed = call("keys", "sign", "alice", *options, input=json.dumps(fields))
        self.host.stdin.write(signed.stdout.encode())
        self.host.stdin.flush()
        self.until(lambda: any(row.get("client_id") == number for row in self.rows()))

    def close(self):
        for process in (self.host, *self.running.values()):
            process.kill()
            process.wait()
        os.kill(json.loads((self.directory / "run.json").read_text())["pid"], signal.SIGTERM)


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    trial = Trial(tmp_path_factory.mktemp("trial"))
    yield trial
    trial.close()


def test_a_batch_is_anchored_when_enough_have_signed_it(trial):
    trial.until(lambda: (trial.directory / "journal").exists() and trial.rows())
    trial.validate("one")
    trial.until(lambda: [*trial.signatures.glob("1.*")])
    time.sleep(2)
    assert trial.anchored() == []  # one is not enough
    trial.validate("three")
    trial.until(lambda: trial.anchored() == [1])
    trial.order(1)
    trial.until(lambda: trial.anchored() == [1, 2])


def test_trading_goes_on_while_they_are_gone_and_all_is_anchored_when_they_are_back(trial):
    for name in ("one", "three"):
        trial.running[name].kill()
        trial.running[name].wait()
    count = len(trial.anchored())
    for number in (2, 3):
        trial.order(number)
        time.sleep(1.5)
    assert len(trial.anchored()) == count
    # A host that is killed meanwhile has the same batches again.
    trial.host.kill()
    trial.host.wait()
    trial.host = trial.run("--batch-seconds", "1")
    trial.validate("two")
    trial.validate("one")
    trial.until(lambda: len(trial.anchored()) >= count + 2)
    # Who comes last signs what there was, from the first batch on.
    said = json.loads(validator(trial, "three", trial.folder / "late", "--json").stdout)
    assert said["signed"] >= count + 2 and len([*(trial.folder / "late").iterdir()]) == said["signed"]
    again = json.loads(validator(trial, "three", trial.folder / "late", "--json").stdout)
    assert again["signed"] == 0
    assert call("verify", trial.directory, "--json")


def validator(trial, name, out, *options, code=0, directory=None):
    where = directory or trial.directory, name, "--signatures", out
    return call("validator", *where, "--once", *trial.keys, *options, code=code)


def test_a_journal_that_says_something_else_is_not_signed(trial, tmp_path):
    copy, out = tmp_path / "venue", tmp_path / "signatures"
    shutil.copytree(trial.directory / "journal", copy / "journal")
    path = segment_path(copy / "journal", 0)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    said = validator(trial, "one", out, directory=copy, code=1).output
    assert "journal" in said.lower() or "slot" in said
    whole = len([*trial.signatures.glob("*")])
    assert len([*out.glob("*")] if out.exists() else []) < whole


def test_files_that_are_no_signatures_are_passed_over(trial, tmp_path):
    with Journal(trial.directory / "journal", readonly=True) as journal:
        config = VenueConfig.decode(journal.config)
        header = next(journal.anchors()).header
    kept = Signatures(tmp_path, config)
    key = KeyStore(trial.folder / "keys").load("one", PASSWORD)
    kept.put(header, key)
    ((who, good),) = kept.of(header).items()
    assert trial.people[0].lower() == "0x" + who.hex()
    other = KeyStore(trial.folder / "keys").load("two", PASSWORD)
    for name, text in (
        ("1." + "ab" * 20, good.hex()),  # somebody's signature under another's name
        ("1.zz", "zz"),
        ("1.short", good.hex()[:-2]),
        ("1." + "cd" * 20, ""),
        ("2." + who.hex(), good.hex()),
    ):
        (tmp_path / name).write_text(text)
    (tmp_path / ("1." + "ef" * 20)).write_bytes(b"\xff\xfe")
    (tmp_path / "1.folder").mkdir()
    assert kept.of(header) == {who: good}
    kept.put(header, other)
    assert len(kept.of(header)) == 2


def test_a_host_without_their_directory_is_refused(trial):
    trial.host.send_signal(signal.SIGTERM)
    trial.host.wait(60)
    done = call("run", trial.directory, code=2, input="")
    assert "--signatures: a batch needs 2 of validators" in done.output
    run = json.loads((trial.directory / "run.json").read_text())
    assert SettlementClient(run["rpc"], run["contract"]).terms()["threshold"] == 2
    trial.host = trial.run()
