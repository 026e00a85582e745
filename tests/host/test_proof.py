"""Proofs on a chain: gateware, host and contract have one root, and whoever has a proof needs no journal."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import astuple, replace

import pytest
from click.testing import CliRunner
from eth_account import Account
from hawse.chain import compile as contracts
from hawse.chain.abi import READING
from hawse.chain.client import SettlementClient, _send
from hawse.chain.devchain import DevChain
from hawse.cli import main
from hawse.commit.inclusion import RecordProof, decode
from hawse.engine import Engine
from hawse.journal import Journal, Snapshots
from hawse.journal.segments import segment_paths
from hawse.keys.store import address_of
from hawse.state.config import VenueConfig
from hawse.state.machine import Machine
from hawse.venue import Venue
from hawse.wire import Geometry
from hawse.wire.dtypes import records
from hawse_sim.rtl import RtlBackend
from support.desk import PERP
from support.signed import DEPOSIT, DEPOSITS, KEYS, OPERATOR, START, signed_slots
from web3 import Web3

GEOMETRY = Geometry(instruments=2, pool=2048, orders=64, tag_bits=4)  # as other tests build it
RULES = VenueConfig(instruments=(PERP,), geometry=GEOMETRY, operator=address_of(OPERATOR))


@pytest.fixture(scope="module")
def chain():
    with DevChain([OPERATOR, *KEYS], start=START // 1000) as chain:
        yield chain


def deploy(chain):
    genesis = Machine(RULES).state_root()
    client = SettlementClient.deploy(chain.url, OPERATOR, genesis, RULES.rules_hash())
    client.mint(OPERATOR, [d.owner for d in DEPOSITS], DEPOSIT)
    client.deposit_all([(key, DEPOSIT) for key in KEYS])
    return client


def log_proofs(client):
    """The contract that finds records in logs, on the client's chain."""
    contract, web3 = contracts.load("LogProofs"), client._web3
    made = web3.eth.contract(abi=contract.abi, bytecode=contract.bytecode).constructor()
    sent = _send(web3, Account.from_key(OPERATOR), {"data": made.data_in_transaction}, "LogProofs", 60)
    return web3.eth.contract(sent["contractAddress"], abi=contract.abi)


class Run:
    """A venue on the Verilated gateware, every batch but the last anchored."""

    def __init__(self, chain, directory):
        self.directory, self.client = directory, deploy(chain)
        self._log_proofs = log_proofs(self.client)
        on = {"chain_id": self.client.chain_id, "contract": self.client.address}
        config = replace(RULES, **on, token=self.client.token)
        self.logs, self.sealed = {1: b""}, {}
        engine = Engine(RtlBackend(GEOMETRY))
        with Journal(directory / "journal", config.encode()) as journal:
            snapshots = Snapshots(directory / "journal" / "snapshots", keep=2)
            venue = Venue(config, engine, journal, snapshots, self.publish)
            for slot in signed_slots(config, 4, 40, size=80, batch=8):
                venue.run_slot(slot)
                for number in sorted(n for n in venue.pending if n < 5):
                    venue.anchored(number, self.client.anchor(venue.pending[number].header).hash)
        engine.close()

    def publish(self, done):
        batch = max(self.logs)
        self.logs[batch] += records(done.burst.events)
        if done.sealed:
            self.sealed[batch] = done.sealed
            self.logs[batch + 1] = b""

    def included(self, proof):
        """Whether a contract finds the record of ``proof``."""
        terms = (proof.record, proof.leaf, proof.position, proof.chunk, list(proof.siblings))
        place = Web3.to_checksum_address(self.client.address)
        return self._log_proofs.functions.record_included(place, astuple(proof.header), *terms).call()


@pytest.fixture(scope="module")
def run(chain, tmp_path_factory):
    return Run(chain, tmp_path_factory.mktemp("run"))


def hawse(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def prove(directory, batch, record):
    result = hawse("prove", directory, "--batch", batch, "--record", record)
    assert result.exit_code == 0, result.output
    return RecordProof.decode(result.stdout)


@pytest.fixture(scope="module")
def proof(run):
    return prove(run.directory, 3, len(run.logs[3]) // 24 // 2)


def refused(result, kind):
    """The message of a command that failed with an error of this name."""
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    message = " ".join(result.output[result.output.index("Error: ") :].split())
    assert message.startswith(f"Error: {kind}: ")
    return message


def check(run, tmp_path, proof, *options):
    (tmp_path / "proof.json").write_text(proof if isinstance(proof, str) else proof.encode())
    return hawse(
        "check-proof", tmp_path / "proof.json", "--rpc", run.client._web3.provider.endpoint_uri, *options
    )


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_one_root_in_gateware_host_and_contract(run, tmp_path, batch):
    count = len(run.logs[batch]) // 24
    assert count > 64
    seed = random.randrange(2**32)
    print("seed", seed)
    for number in (0, count - 1, random.Random(seed).randrange(count)):
        proof = prove(run.directory, batch, number)
        assert proof.record == run.logs[batch][24 * number : 24 * number + 24]
        assert proof.header == run.sealed[batch].header
        assert proof.header.log_root == run.sealed[batch].engine_root
        assert run.client.digest(proof.header) == run.client.anchored(batch).digest
        assert run.included(proof)
        assert check(run, tmp_path, proof).exit_code == 0


def test_result_as_json_and_file(run, proof, tmp_path):
    out = tmp_path / "proof.json"
    result = hawse("prove", run.directory, "--batch", 3, "--record", proof.number, "--out", out)
    assert result.exit_code == 0 and RecordProof.decode(out.read_text()) == proof
    told = json.loads(check(run, tmp_path, proof, "--json").stdout)
    assert told["included"] is True and told["batch"] == 3 and told["number"] == proof.number
    assert told["record"] == "0x" + proof.record.hex() and told["fields"] == decode(proof.record)


def test_without_snapshots_the_journal_is_executed_from_its_start(run, proof, tmp_path):
    (tmp_path / "journal").mkdir()
    for segment in segment_paths(run.directory / "journal"):
        shutil.copy(segment, tmp_path / "journal")
    assert prove(tmp_path, 3, proof.number) == proof


@pytest.mark.parametrize("batch", [5, 6, 99])
def test_a_batch_that_is_not_anchored_has_no_proofs(run, batch):
    result = hawse("prove", run.directory, "--batch", batch, "--record", 0)
    assert f"batch {batch} is not anchored; the journal knows of batches 1 to 4" in refused(
        result, "ProofError"
    )


def test_a_record_that_the_batch_does_not_have(run):
    count = len(run.logs[2]) // 24
    result = hawse("prove", run.directory, "--batch", 2, "--record", count)
    assert f"record {count} of batch 2, which has {count}" in refused(result, "NoSuchRecord")


def test_numbers_that_are_none(run):
    for batch, record in ((0, 0), (1, -1), ("x", 0)):
        assert hawse("prove", run.directory, "--batch", batch, "--record", record).exit_code == 2


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"header": {"number": 2}}, "NotIncluded", "batch 2: the proof's header has the digest .*, but"),
        ({"header": {"number": 5}}, "ChainError", "no batch 5 is anchored"),
        ({"header": {"number": 0}}, "ChainError", "no batch 0 is anchored"),
        ({"header": {"state_root": bytes(32)}}, "NotIncluded", "batch 3: the proof's header"),
        ({"header": {"log_records": 10**6}}, "NotIncluded", "batch 3: the proof's header"),
        ({"header": {"log_root": bytes(32)}}, "NotIncluded", "does not lead"),
        ({"chain_id": 1}, "NotIncluded", "of the chain 1, but"),
        ({"contract": bytes(20)}, "ChainError", "no contract at"),
        ({"siblings": ()}, "DamagedProof", "siblings: 0"),
    ],
)
def test_a_changed_proof_is_refused(run, proof, tmp_path, change, kind, says):
    message = refused(check(run, tmp_path, changed(proof, **change)), kind)
    assert re.search(says, message)


def changed(proof, header=None, **fields):
    """A proof with other fields, or with other fields of its header."""
    return replace(proof, header=replace(proof.header, **header or {}), **fields)


def test_a_wrong_number_of_leaves_is_refused_although_the_path_is_the_same(run, proof, tmp_path):
    """Leaf 0 has the path of a tree of 8 leaves also in one of 7: only the count that was anchored tells."""
    first = prove(run.directory, 3, 0)
    leaves = first.header.log_leaves
    other = next(n for n in range(1, 200) if n != leaves and len(first.siblings) == (n - 1).bit_length())
    wrong = changed(first, {"log_leaves": other})
    wrong.check()
    assert "batch 3: the proof's header" in refused(check(run, tmp_path, wrong), "NotIncluded")
    assert run.included(first)


def test_damaged_files(run, proof, tmp_path):
    text = proof.encode()
    for damaged in ("", text[:-20], text.replace('"leaf"', '"leave"')):
        refused(check(run, tmp_path, damaged), "DamagedProof")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    result = hawse("check-proof", tmp_path / "binary", "--rpc", "http://127.0.0.1:1")
    assert "is no text" in refused(result, "DamagedProof")
    assert hawse("check-proof", tmp_path / "nothing", "--rpc", "http://127.0.0.1:1").exit_code == 2


def test_a_contract_that_is_trusted_instead(run, proof, chain, tmp_path):
    own, other = run.client.address.hex(), deploy(chain).address.hex()
    assert check(run, tmp_path, proof, "--contract", own).exit_code == 0
    assert f"of the contract {own}, not {other}" in refused(
        check(run, tmp_path, proof, "--contract", other), "NotIncluded"
    )


def test_a_contract_that_is_no_settlement(run, proof, tmp_path):
    wrong = changed(proof, contract=run.client.token)
    assert "batches: " in refused(check(run, tmp_path, wrong), "RevertedError")


def test_the_literal_abi_is_that_of_the_compiled_contract():
    compiled = {entry.get("name"): entry for entry in contracts.load("Settlement").abi}
    assert {entry["name"] for entry in READING} >= {"batches", "exit_factor", "exit_payout"}
    for entry in READING:
        assert entry == compiled[entry["name"]]


def test_a_proof_is_checked_where_nothing_can_be_compiled(run, proof, tmp_path):
    """In a process of its own: this one has the contracts in memory."""
    (tmp_path / "contracts").mkdir()
    (tmp_path / "vyper.py").write_text("raise ImportError('no compiler here')\n")
    environment = os.environ | {contracts.SOURCES: str(tmp_path / "contracts"), "PYTHONPATH": str(tmp_path)}

    file = tmp_path / "proof.json"
    command = [sys.executable, "-m", "hawse.cli", "check-proof", str(file), "--json"]
    command += ["--rpc", run.client._web3.provider.endpoint_uri]

    def called(proof):
        file.write_text(proof.encode())
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    found = called(proof)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["record"] == "0x" + proof.record.hex()
    refused = called(changed(proof, {"number": 2}))
    told = json.loads(refused.stdout)
    assert refused.returncode == told["exit_code"] == 1
    assert told["error"] == "NotIncluded" and told["message"].startswith("NotIncluded: batch 2")


def test_the_view_finds_nothing_that_is_not_there(run, proof):
    """What the host would refuse before it asks."""
    n = proof.header.log_leaves
    for change in (
        {"header": {"number": 0}},
        {"header": {"number": 2}},
        {"header": {"number": 9}},
        {"header": {"log_leaves": n + 1}},
        {"leaf": proof.leaf ^ 1},
        {"leaf": n},
        {"leaf": 2**64 - 1},
        {"position": proof.position ^ 1},
        {"position": 64},
        {"position": 2**255},
        {"record": bytes(24)},
        {"chunk": proof.chunk[:-1]},
        {"chunk": b""},
        {"chunk": proof.chunk[:-24]},
        {"siblings": ()},
        {"siblings": proof.siblings[1:]},
        {"siblings": proof.siblings[::-1]},
        {"siblings": (*proof.siblings, bytes(32))},
        {"siblings": (bytes(32),) * 34},
    ):
        assert not run.included(changed(proof, **change)), change
    assert run.included(proof)


def test_a_journal_that_leads_elsewhere_than_its_anchor(run, tmp_path):
    """The note of the anchor is outside of the hash chain: its root is what the chain is asked for."""
    with Journal(run.directory / "journal", readonly=True) as journal:
        _, (header, transaction), *_ = [(a.header, a.transaction) for a in journal.anchors()]
        slots = [(e.slot, e.outcome) for e in journal.slots()]
        config = journal.config
    with Journal(tmp_path / "journal", config) as forged:
        for slot, outcome in slots:
            forged.append_input(slot)
            forged.append_outcome(outcome)
            if slot.closes == 2:
                forged.append_anchor(replace(header, log_root=bytes(32)), transaction)
    result = hawse("prove", tmp_path, "--batch", 2, "--record", 0)
    assert "batch 2: log_root: the records have" in refused(result, "NotIncluded")
