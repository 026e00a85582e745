"""kill -9 of the host at random moments; the chain outlives it."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hawse.chain.client import SettlementClient
from hawse.chain.devchain import DevChain
from hawse.engine import Engine, SoftBackend
from hawse.engine.native.build import native_library
from hawse.journal import Journal
from hawse.state.config import VenueConfig
from hawse.state.machine import Machine
from hawse.state.native.build import state_library
from hawse.venue import Execution, replay
from hawse.wire import Reason
from support.faults import Witness
from support.signed import DEPOSIT, DEPOSITS, KEYS, OPERATOR, START
from support.venue_process import CONFIG

TESTS = Path(__file__).parents[1]


def start(**arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "support.venue_process", json.dumps(arguments)],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def run_and_kill(rng, kills, seconds, **arguments):
    """Kill the host so often, each time within ``seconds`` of its start, then let it end; kills that hit."""
    hits = 0
    for n in range(kills):
        process = start(**arguments)
        time.sleep(rng.random() * seconds * (1 if n else 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        hits += process.returncode == -signal.SIGKILL
    finish(start(**arguments))
    return hits


def witness(directory):
    """What the journal leads to, and how often the engine was reset."""
    seen = Witness()
    with Journal(directory / "journal", readonly=True) as journal:
        config = VenueConfig.decode(journal.config)
        execution = Execution(config, Engine(SoftBackend(config.geometry)), journal.epoch + 1)
        for done in replay(execution, journal.slots()):
            assert done.outcome.number == done.slot.number
            seen(done)
        epoch, anchors = journal.epoch, {a.header for a in journal.anchors()}
    for line in (directory / "told").read_text().splitlines():
        number, digest = line.split()
        assert seen.slots[int(number)][-1].hex() == digest  # nothing that was told has changed
    return seen, execution.machine.snapshot(), epoch, anchors


def timed(**arguments):
    process = start(**arguments)
    began = time.monotonic()
    finish(process)
    return time.monotonic() - began


def kill(tmp_path, slots, kills):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    native_library(), state_library()  # so that no host is timed while it compiles them
    seconds = timed(directory=str(whole), seed=seed, slots=slots)
    hits = run_and_kill(
        random.Random(seed), kills, 0.6 * seconds, directory=str(killed), seed=seed, slots=slots
    )
    expected, state, _, _ = witness(whole)
    got, got_state, epoch, anchors = witness(killed)
    assert got.slots == expected.slots and got.batches == expected.batches and got_state == state
    assert {h.number for h in anchors} == set(expected.batches) and len(anchors) == len(expected.batches)
    # A host that was killed before its first epoch was durable does not count in it.
    assert hits and 1 <= epoch <= kills + 1


@pytest.mark.parametrize("round_", range(3))
def test_a_killed_host_takes_up_its_work(tmp_path, round_):
    kill(tmp_path, slots=60, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(50))
def test_a_killed_host_takes_up_its_work_long(tmp_path, round_):
    kill(tmp_path, slots=120, kills=8)


@pytest.fixture(scope="module")
def chain():
    with DevChain([OPERATOR, *KEYS], start=START // 1000) as chain:
        yield chain


def venue_on(chain):
    """A contract of its own with the flow's deposits; the client."""
    genesis, rules = Machine(CONFIG).state_root(), CONFIG.rules_hash()
    client = SettlementClient.deploy(chain.url, OPERATOR, genesis, rules)
    client.mint(OPERATOR, [d.owner for d in DEPOSITS], DEPOSIT)
    client.deposit_all([(key, DEPOSIT) for key in KEYS])
    assert tuple(client.deposits_since(0)) == DEPOSITS
    return client


def agreed(slots):
    """What two venues agree in. A spoilt signature is another's at each of them, or nobody's."""
    nobody = {Reason.SIGNATURE: Reason.SIGNER}
    return {
        number: (first, inputs, [(r.seq, nobody.get(r.reason, r.reason)) for r in refusals], *rest)
        for number, (first, inputs, refusals, *rest) in slots.items()
    }


def kill_while_anchoring(tmp_path, chain, slots, kills):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    clients = [venue_on(chain) for _ in range(2)]
    runs = []
    for name, client in zip(("whole", "killed"), clients, strict=True):
        (tmp_path / name).mkdir()
        run = {"directory": str(tmp_path / name), "seed": seed, "slots": slots}
        runs.append(run | {"rpc": chain.url, "contract": client.address.hex()})
    seconds = timed(**runs[0])
    assert run_and_kill(random.Random(seed), kills, 0.8 * seconds, **runs[1])
    expected, _, _, _ = witness(tmp_path / "whole")
    got, _, _, anchors = witness(tmp_path / "killed")
    # Contract and chain are part of what is signed, so refusals, records and states agree all the same.
    assert agreed(got.slots) == agreed(expected.slots)
    client = clients[1]
    assert client.batch_count() == len(got.batches) == len(expected.batches)
    assert len(anchors) == client.batch_count()  # never two headers of one number
    for header in anchors:
        there = client.anchored(header.number)
        assert there.digest == client.digest(header)
        assert (
            there.withdrawals == clients[0].anchored(header.number).withdrawals == header.withdrawals.hash()
        )
    events = client._contract.events.Anchored().get_logs(from_block=0)
    assert sorted(e["args"]["number"] for e in events) == sorted(got.batches)


def test_a_host_killed_while_it_anchors_anchors_each_batch_once(tmp_path, chain):
    kill_while_anchoring(tmp_path, chain, slots=32, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(12))
def test_a_host_killed_while_it_anchors_anchors_each_batch_once_long(tmp_path, chain, round_):
    kill_while_anchoring(tmp_path, chain, slots=80, kills=8)
