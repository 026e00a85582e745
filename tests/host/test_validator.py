"""Validators beside a venue: processes of their own, without whose signatures nothing is anchored."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hawse.chain.client import SettlementClient
from hawse.cli import main
from hawse.cli.validator import Signatures
from hawse.journal import Journal
from hawse.keys.store import KeyStore, address_of
from hawse.state.config import VenueConfig
from hawse.state.slot import Cut

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
    # Who comes last signs what there was, from the first batch on; who has signed leaves it as it is.
    out, record = trial.folder / "late", ("--record", trial.folder / "late.signed")
    said = json.loads(validator(trial, "three", out, *record, "--json").stdout)
    assert said["signed"] >= count + 2 and len([*out.glob("[0-9]*")]) == said["signed"]
    assert json.loads(validator(trial, "three", out, *record, "--json").stdout)["signed"] == 0
    # What somebody puts in its place is made good, and kept from nobody.
    victim = next(out.glob("1.*"))
    good = victim.read_bytes()
    victim.write_bytes(b"junk")
    assert json.loads(validator(trial, "three", out, *record, "--json").stdout)["signed"] == 1
    assert victim.read_bytes() == good
    assert call("verify", trial.directory, "--json")


def validator(trial, name, out, *options, code=0, directory=None):
    where = directory or trial.directory, name, "--signatures", out
    return call("validator", *where, "--once", *trial.keys, *options, code=code)


def rewritten(trial, target, outcome=lambda it: it, slot=lambda it: it):
    """The journal as another operator might have written it: a chain that is sound, of changed records."""
    with (
        Journal(trial.directory / "journal", readonly=True) as journal,
        Journal(target / "journal", journal.config) as other,
    ):
        other.append_epoch(1)
        for entry in journal.slots():
            other.append_input(slot(entry.slot))
            other.append_outcome(outcome(replace(entry.outcome, epoch=1)))


def test_a_slot_that_leads_to_something_else_is_not_signed_nor_what_follows(trial, tmp_path):
    with Journal(trial.directory / "journal", readonly=True) as journal:
        closing = [entry.slot.number for entry in journal.slots() if entry.slot.closes]
    wrong = closing[1]  # the slot that ends the second batch

    def change(outcome):
        return replace(outcome, digest=b"w" * 32) if outcome.number == wrong else outcome

    rewritten(trial, tmp_path / "venue", change)
    out = tmp_path / "signatures"
    where = {"directory": tmp_path / "venue"}
    said = validator(trial, "one", out, "--record", tmp_path / "r", code=1, **where).output
    assert f"slot {wrong}: slot digest recomputed" in said and (b"w" * 32).hex() in said
    assert [path.name.split(".")[0] for path in out.glob("[0-9]*")] == ["1"]


def test_no_number_is_signed_as_two_batches(trial, tmp_path):
    """Another history of the same outcomes, sound in itself: how a slot was cut is in the journal's hash."""
    rewritten(trial, tmp_path / "venue", slot=lambda slot: replace(slot, cut=Cut(slot.cut ^ 1)))
    where = {"directory": tmp_path / "venue"}
    record = "--record", tmp_path / "r"
    validator(trial, "one", tmp_path / "a", *record)
    said = validator(trial, "one", tmp_path / "b", *record, code=1, **where).output
    assert "batch 1 was signed as" in said
    assert not [*(tmp_path / "b").glob("[0-9]*")]
    (tmp_path / "r").write_text("[" * 9)
    assert "BadFile" in validator(trial, "one", tmp_path / "b", *record, code=1).output


def test_what_is_no_signature_is_passed_over_and_nothing_is_waited_for(trial, tmp_path):
    with Journal(trial.directory / "journal", readonly=True) as journal:
        config = VenueConfig.decode(journal.config)
        header = next(journal.anchors()).header
    kept, store = Signatures(tmp_path, config), KeyStore(trial.folder / "keys")
    one, two, three = (store.load(name, PASSWORD) for name in NAMES)
    people = [address_of(key) for key in (one, two, three)]
    kept.put(header, one)
    ((who, good),) = kept.of(header, people).items()
    assert who == people[0]
    place = tmp_path / f"{header.number}.{people[1].hex()}"
    for make in (
        lambda: place.write_text(good.hex()),  # somebody's signature under another's name
        lambda: place.write_text("zz" * 64),
        lambda: place.write_text(good.hex()[:-2]),
        lambda: place.write_bytes(b"\xff" * 200),
        lambda: os.mkfifo(place),
        lambda: place.symlink_to("/dev/zero"),
        place.mkdir,
    ):
        make()
        assert kept.of(header, people) == {who: good}
        place.rmdir() if place.is_dir() else place.unlink()
    kept.put(header, two)
    assert {*kept.of(header, people)} == {*people[:2]}
    # Nobody asks for strangers, however many there are.
    assert kept.of(header, people[1:2]).keys() == {people[1]}


def test_a_host_without_their_directory_is_refused(trial):
    trial.host.send_signal(signal.SIGTERM)
    trial.host.wait(60)
    done = call("run", trial.directory, code=2, input="")
    assert "--signatures: a batch needs 2 of validators" in done.output
    options = "--signatures", trial.signatures, "--validator", "0x" + "ab" * 20
    assert "the contract does not know 0xabab" in call("run", trial.directory, *options, code=2).output
    run = json.loads((trial.directory / "run.json").read_text())
    assert SettlementClient(run["rpc"], run["contract"]).terms()["threshold"] == 2
    trial.host = trial.run()
