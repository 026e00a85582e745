"""The bench of the venue, short; replay that takes signatures as good; one sync a slot."""

import json
from collections import Counter
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import bench_venue, main
from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.journal.files import OsFile
from hawse.state.slot import Cut, SlotInput
from hawse.venue import Execution, Halted, Venue, replay, taken_as_signed
from support import venue_process
from support.signed import signed_slots

CONFIG = venue_process.CONFIG


def test_every_figure_that_it_promises(tmp_path):
    out = tmp_path / "venue.json"
    options = ["--commands", 1024, "--accounts", 40, "--accounts", 60, "--out", out, "--json"]
    done = CliRunner().invoke(main, ["bench", "venue", *map(str, options)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert json.loads(out.read_text())["result"] == told
    figures = ["commands_per_s", "processor_us_per_command", "signature_limit_per_s"]
    figures += ["transition_commands_per_s", "batch_end_wait_ms", "replay_commands_per_s", "sync_ms"]
    assert told.keys() >= {*figures, "receipt_ms"}
    assert set(told["transition_commands_per_s"]) == {"40", "60"}
    assert told["receipt_ms"]["p50"] <= told["receipt_ms"]["p99"]
    assert set(told["replay_commands_per_s"]) == {"signed", "unsigned"}


def test_the_flow_is_what_it_says():
    flow = bench_venue.Flow(20, 4_096)
    with closing(Engine(SoftBackend(bench_venue.CONFIG.geometry))) as engine:
        execution, refused, kinds = Execution(bench_venue.CONFIG, engine, 1), Counter(), Counter()
        slots = [*flow.deposits()]
        slots += flow.slots(len(slots))
        for slot in slots:
            outcome, burst = execution.run(slot, flow.signers(slot))
            refused.update(r.reason.name for r in outcome.refusals)
            kinds.update((burst.events["kind"] & 15).tolist())
            execution.seal(slot, burst, bytes(32))
        # A cancel of what has traded meanwhile, and nothing else.
        assert set(refused) <= {"CLIENT_ID_UNKNOWN"} and refused.total() < 1_500
        assert (
            len(execution.machine.accounts) == 21 and execution.machine.deposited == 20 * bench_venue.DEPOSIT
        )
        assert len(kinds) >= 3


@pytest.mark.parametrize("seed", range(3))
def test_a_replay_without_signatures_is_the_same_replay(tmp_path, monkeypatch, seed):
    """On a flow with wrong signatures and signers in it: the slots with such are checked all the same."""
    venue_process.main(tmp_path, seed, 60)
    states, trusted = [], []

    def watched(*arguments):
        trusted.append(found := taken_as_signed(*arguments))
        return found

    monkeypatch.setattr("hawse.venue.taken_as_signed", watched)
    for signatures in (True, False):
        with Journal(tmp_path / "journal", readonly=True) as journal:
            engine = Engine(SoftBackend(CONFIG.geometry))
            execution = Execution(CONFIG, engine, journal.epoch + 1)
            for _ in replay(execution, journal.slots(), signatures):
                pass
            states.append(execution.machine.snapshot())
            engine.close()
    assert states[0] == states[1]
    assert len(trusted) == 60 and sum(found is not None for found in trusted) > 5


def test_a_replay_without_signatures_halts_at_an_outcome_that_does_not_follow(tmp_path):
    venue_process.main(tmp_path, 1, 30)
    with Journal(tmp_path / "journal", readonly=True) as journal:
        entries = list(journal.slots())
        at = next(n for n, e in enumerate(entries) if e.outcome.refusals and n > 10)
        less = replace(entries[at].outcome, refusals=entries[at].outcome.refusals[1:])
        entries[at] = entries[at]._replace(outcome=less)
        with closing(Engine(SoftBackend(CONFIG.geometry))) as engine:
            execution = Execution(CONFIG, engine, journal.epoch + 1)
            with pytest.raises(Halted, match=f"slot {at}"):
                for _ in replay(execution, iter(entries), signatures=False):
                    pass


class Counted(OsFile):
    """A file that counts how often it is synced."""

    syncs = 0

    def sync(self):
        type(self).syncs += 1
        super().sync()


def test_a_slot_takes_one_sync_and_the_end_of_a_batch_another(tmp_path):
    engine = Engine(SoftBackend(CONFIG.geometry))
    journal = Journal(tmp_path / "journal", CONFIG.encode(), open_file=Counted)
    venue = Venue(CONFIG, engine, journal, Snapshots(tmp_path / "snapshots"), lambda done: None)
    for slot in signed_slots(CONFIG, 1, 12, batch=6):
        before = Counted.syncs
        venue.run_slot(slot)
        assert Counted.syncs - before == 1 + (slot.closes is not None)
    journal.close()
    engine.close()


def test_what_was_told_is_told_the_same_where_the_outcome_was_not_durable(tmp_path):
    """A power loss takes the OUTCOME that no sync had followed; its INPUT leads to the same again."""
    slots = signed_slots(CONFIG, 3, 9, batch=20)
    told, place = [], tmp_path / "journal"
    with closing(Engine(SoftBackend(CONFIG.geometry))) as engine, Journal(place, CONFIG.encode()) as journal:
        venue = Venue(CONFIG, engine, journal, Snapshots(tmp_path / "snapshots"), told.append)
        for slot in slots[:7]:
            venue.run_slot(slot)
        ends = journal._mark_file and (place / "durable").read_bytes()
    assert ends
    reach = int.from_bytes(ends[12:20], "big")
    segment = place / "segment-0000000000"
    assert reach < segment.stat().st_size  # the OUTCOME lies behind what is durable
    with segment.open("r+b") as file:
        file.truncate(reach)
    again = []
    with closing(Engine(SoftBackend(CONFIG.geometry))) as engine, Journal(place, CONFIG.encode()) as journal:
        assert journal.pending and journal.next_slot == 7
        venue = Venue(CONFIG, engine, journal, Snapshots(tmp_path / "snapshots"), again.append)
        assert [(d.outcome.digest, d.outcome.refusals) for d in again] == [
            (d.outcome.digest, d.outcome.refusals) for d in told
        ]
        venue.run_slot(slots[7])
        later = SlotInput(8, slots[7].time, Cut.STOP, 1, commands=np.zeros(0, slots[0].commands.dtype))
        assert venue.run_slot(later).sealed
