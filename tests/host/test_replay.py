"""Slots that are executed again many at a time are told apart from the journal as one at a time."""

from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hawse.cli import bench_venue
from hawse.cli.bench_venue import CONFIG, MARK
from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal, JournalCorrupt, JournaledSlot, segments
from hawse.journal.codec import decode_input, decode_outcome
from hawse.journal.files import OsFile
from hawse.journal.position import Position
from hawse.journal.segments import Segment, segment_path
from hawse.keys import eip712
from hawse.keys.messages import BODIES, MESSAGE, WIDE, MessageKind, split
from hawse.keys.store import derive
from hawse.state.native import bindings
from hawse.state.native.records import struct_hashes
from hawse.state.slot import Refusals
from hawse.venue import Execution, Halted, replay, run_again
from hawse.wire import Opcode
from hawse.wire.dtypes import ORDER, make, records

ACCOUNTS, COMMANDS, SLOT, BATCH = 12, 1_200, 30, 16


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A journal of 41 slots, of which the first holds deposits and three end batches."""
    patch = pytest.MonkeyPatch()
    patch.setattr(bench_venue, "SLOT", SLOT)
    patch.setattr(bench_venue, "BATCH", BATCH)
    patch.setattr(bench_venue, "LIFE", 40)
    there = tmp_path_factory.mktemp("replay")
    keys = [derive("hawse test replay", n) for n in range(ACCOUNTS)]
    flow = bench_venue.Flow(ACCOUNTS, COMMANDS, keys)
    slots = [*flow.deposits()]
    slots += flow.slots(len(slots))
    with Journal(there, CONFIG.encode()) as journal, closing(Engine(SoftBackend(CONFIG.geometry))) as engine:
        execution = Execution(CONFIG, engine, 7)
        for slot in slots:
            journal.append_input(slot, sync=False)
            outcome, burst = execution.run(slot, flow.signers(slot))
            journal.append_outcome(outcome, sync=False)
            execution.seal(slot, burst, journal.chain)
    patch.undo()
    return there


@pytest.fixture
def entries(directory):
    with Journal(directory, readonly=True) as journal:
        return list(journal.slots())


def again(slots, execute=run_again, form="native", signatures=False):
    """The snapshot behind the slots, batch headers, and the numbers of the slots in the order they came."""
    with closing(Engine(SoftBackend(CONFIG.geometry))) as engine:
        execution = Execution(CONFIG, engine, 9, form=form)
        done = list(execute(execution, iter(slots), signatures))
        headers = [one.sealed.header for one in done if one.sealed]
        return execution.machine.snapshot(), headers, [one.slot.number for one in done], engine.hello()


@pytest.fixture
def together(monkeypatch):
    """How many slots went in each native call."""
    counts, plain = [], bindings.State.together

    def counted(*arguments):
        found = plain(*arguments)
        counts.append(found[0])
        return found

    monkeypatch.setattr(bindings.State, "together", counted)
    return counts


def test_many_at_a_time_lead_to_the_same_state_and_batches(entries, together):
    many = again(entries)
    assert sum(together) == len(entries) - 4 and max(together) > 5
    one = again(entries, replay)
    assert sum(together) == len(entries) - 4
    for ours, theirs in zip(many, one, strict=True):
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs
    assert many[2] == list(range(len(entries))) and len(many[1]) == 4
    golden = again(entries, form="golden")
    assert golden[:3] == many[:3]
    together.clear()
    assert again(entries, signatures=True)[:3] == many[:3]
    assert sum(together) == len(entries) - 4 and max(together) > 2


def changed(outcome, what):
    """An outcome of which one thing is another."""
    match what:
        case "digest" | "log_digest":
            return replace(outcome, **{what: bytes(32)})
        case "records" | "inputs" | "first_seq":
            return replace(outcome, **{what: getattr(outcome, what) + 1})
        case "refusals":
            rows = outcome.refusals.rows.copy()
            rows["have"][0, 15] += 1
            return replace(outcome, refusals=Refusals(rows))
        case "refusals fewer":
            return replace(outcome, refusals=outcome.refusals[1:])
    raise AssertionError(what)


@pytest.mark.parametrize("signatures", [False, True])
@pytest.mark.parametrize(
    "what", ["digest", "log_digest", "records", "inputs", "first_seq", "refusals", "refusals fewer"]
)
def test_an_outcome_that_differs_among_many_is_told_with_its_slot_and_both_values(
    entries, together, what, signatures
):
    """And so as one at a time tells it; the refused command is named by its sequence number."""
    at = next(n for n, e in enumerate(entries) if n > 5 and e.outcome.refusals and e.slot.closes is None)
    entries[at] = entries[at]._replace(outcome=changed(entries[at].outcome, what))
    with pytest.raises(Halted) as many:
        again(entries, signatures=signatures)
    assert max(together) >= 2
    told = {str(many.value)}
    for form in ("native", "golden"):
        with pytest.raises(Halted) as one:
            again(entries, replay, form)
        told.add(str(one.value))
    assert len(told) == 1 and many.value.slot == at
    names = {"log_digest": "log digest", "digest": "slot digest", "first_seq": "first sequence number"}
    name = what.split()[0]
    assert told.pop().startswith(f"slot {at}: {names.get(name, name)} recomputed and in the journal: ")
    if what.startswith("refusals"):
        assert str(entries[at].outcome.refusals[-1].seq) in str(many.value)


@pytest.mark.parametrize("what", ["cut", "doubled", "reordered", "of another number", "earlier"])
def test_slots_that_do_not_follow_among_many_are_told_as_one_at_a_time(entries, what):
    at = 9
    match what:
        case "cut":
            del entries[at]
        case "doubled":
            entries.insert(at, entries[at])
        case "reordered":
            entries[at : at + 2] = entries[at + 1], entries[at]
        case "of another number":
            entries[at] = entries[at]._replace(slot=replace(entries[at].slot, number=99))
        case "earlier":
            entries[at] = entries[at]._replace(slot=replace(entries[at].slot, time=5))
    told = []
    for execute in (run_again, replay):
        with pytest.raises(Halted, match=r"number: slot|time: ") as halted:
            again(entries, execute)
        told.append(str(halted.value))
    assert told[0] == told[1]


def test_a_changed_command_among_many_is_told_with_its_slot(entries):
    """A quantity: the digests differ, though nothing is refused."""
    at = 12
    rows = entries[at].slot.commands.copy()
    rows["quantity"][rows["kind"] == MessageKind.ORDER] += 1
    entries[at] = entries[at]._replace(slot=replace(entries[at].slot, commands=rows))
    told = []
    for execute in (run_again, replay):
        with pytest.raises(Halted, match=f"slot {at}: .* is not ") as halted:
            again(entries, execute)
        told.append(str(halted.value))
    assert told[0] == told[1]


def test_a_changed_signature_among_many_is_told_with_its_slot(entries, together):
    at = 12
    rows = entries[at].slot.commands.copy()
    rows["signature"][7, 40] ^= 1
    entries[at] = entries[at]._replace(slot=replace(entries[at].slot, commands=rows))
    told = []
    for execute in (run_again, replay):
        with pytest.raises(Halted, match=f"slot {at}: refusals .*SIGN.* is not ") as halted:
            again(entries, execute, signatures=True)
        told.append(str(halted.value))
    assert told[0] == told[1] and max(together) > 2


def test_a_slot_with_no_outcome_or_with_the_boards_own_command_goes_alone(entries, together):
    entries[-1] = entries[-1]._replace(outcome=None)
    numbers = again(entries)[2]
    assert numbers[-1] == len(entries) - 1
    entries[20] = entries[20]._replace(board=(object(),))
    with pytest.raises(Halted, match="slot 20: the board did something"):
        again(entries)


def test_what_an_engine_does_wrong_among_many_is_told(entries):
    def foreign(execution):
        """An order that the state knows nothing of, and whoever sells trades with."""
        order = {"instrument": 0, "price": MARK + 100, "quantity": 10**9, "tag": 60_000, "seq": 10**6}
        orders = make(ORDER, opcode=Opcode.NEW, order_id=2**40, **order)
        burst = execution.engine.run(np.concatenate([orders, make(ORDER, opcode=Opcode.FENCE)]))
        execution.log.append(records(burst.events))
        execution.log.fence(9)

    def behind_five(harm, match):
        with closing(Engine(SoftBackend(CONFIG.geometry))) as engine:
            execution = Execution(CONFIG, engine, 9)
            list(run_again(execution, iter(entries[:5]), signatures=False))
            harm(execution)
            with pytest.raises(Halted, match=match):
                list(run_again(execution, iter(entries[5:]), signatures=False))

    other = "slot 5: log digest of engine and host: [0-9a-f]{64} is not [0-9a-f]{64}"
    behind_five(lambda execution: execution.log.append(bytes(24)), other)
    unknown = "slot 5: ClearingError: command [0-9]+: its report cannot be"
    behind_five(foreign, unknown)
    behind_five(lambda execution: execution.engine.backend.reset(9), "slot 5: EngineError: .*[a-z]")


def records_of(path):
    """The records of a journal of one segment, though opening it would refuse it."""
    with closing(OsFile(path, True)) as file:
        segment = Segment(path, file)
        yield from segment.follow(Position(segment.head), file.size())


def offsets(directory):
    """Where each record begins, and the end."""
    path = segment_path(directory, 0)
    return [record.offset for record in records_of(path)] + [path.stat().st_size]


def test_slots_in_front_of_a_damaged_record_are_executed_before_it_is_told(directory, tmp_path):
    path, data = segment_path(tmp_path, 0), bytearray(segment_path(directory, 0).read_bytes())
    data[offsets(directory)[2 * 30] + 200] ^= 1  # a slot is two records
    path.write_bytes(data)

    def slots():
        records = records_of(path)
        for before, after in zip(records, records, strict=True):
            slot, outcome = decode_input(before.payload), decode_outcome(after.payload)
            yield JournaledSlot(slot, outcome, after.chain)

    seen = []
    with (
        closing(Engine(SoftBackend(CONFIG.geometry))) as engine,
        pytest.raises(JournalCorrupt, match=r"INPUT at byte .* does not fit its hash"),
    ):
        for done in run_again(Execution(CONFIG, engine, 9), slots(), signatures=False):
            seen.append(done.slot.number)
    assert seen == list(range(30))


@pytest.mark.parametrize("what", ["intact", "torn", "cut", "doubled", "reordered", "flipped", "head", "link"])
@pytest.mark.parametrize("at", [3, 17, 40, 79])
def test_records_read_together_are_told_as_one_at_a_time(directory, tmp_path, monkeypatch, what, at):
    """What is read, and the error with its offset, wherever in a run of records something is wrong."""
    data, ends = segment_path(directory, 0).read_bytes(), offsets(directory)
    parts = [data[a:b] for a, b in pairwise([0, *ends])]
    match what:
        case "torn":
            parts[at:] = [parts[at][:-1]]
        case "cut":
            del parts[at]
        case "doubled":
            parts.insert(at, parts[at])
        case "reordered":
            parts[at], parts[at + 1] = parts[at + 1], parts[at]
        case "flipped" | "head" | "link":
            changed = bytearray(parts[at])
            changed[{"flipped": 20, "head": 1, "link": -1}[what]] ^= 1
            parts[at] = bytes(changed)
    path = segment_path(tmp_path, 0)
    path.write_bytes(b"".join(parts))

    def read():
        seen = []
        try:
            for record in records_of(path):
                seen.append(record)
        except JournalCorrupt as error:
            return seen, str(error)
        return seen, None

    many = read()
    monkeypatch.setattr(segments, "good_records", lambda data, chain: [])
    assert many == read()
    assert (many[1] is None) == (what in ("intact", "torn"))
    assert len(many[0]) == (len(ends) - 1 if what == "intact" else at if what == "doubled" else at - 1)


def random_rows(rng, count):
    """Messages of every kind; most canonical, with any values."""
    parts = []
    for _ in range(count):
        kind = MessageKind(int(rng.integers(1, 15)))
        row = np.zeros(2 if kind in WIDE else 1, MESSAGE)
        row["kind"][0] = kind
        for member in eip712.MEMBERS[kind]:
            at = row[1:].view(BODIES[kind]) if member.body else row[:1]
            column = at[member.column]
            noise = rng.integers(0, 256, column.nbytes, np.uint8)
            if member.column == "legs":
                at[member.column] = noise.view(column.dtype).reshape(column.shape)
                at[member.column]["instrument"] &= 0x7FFF
            elif member.column in ("side", "time_in_force", "mode"):
                at[member.column] = rng.integers(0, 2)
            else:
                at[member.column] = noise.view(column.dtype.base).reshape(column.shape)
        row["amount"][0] &= row["nonce"][0] if kind is MessageKind.CANCEL_ALL else 2**64 - 1
        row["signature"][0] = rng.integers(0, 256, 64, np.uint8)
        if rng.integers(0, 10) == 0:
            row["side"][0] ^= 7
        parts.append(row)
    return np.concatenate(parts)


def test_the_native_struct_hashes_are_those_of_eip_712():
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print("seed", seed)
    rows = random_rows(np.random.default_rng(seed), 600)
    expected = eip712.struct_hashes(rows)
    found = [one.tobytes() for one in struct_hashes(rows)]
    assert found == expected
    kinds = defaultdict(int)
    for kind, one in zip(rows["kind"][split(rows).starts].tolist(), found, strict=True):
        kinds[kind] += any(one)
    assert min(kinds.values()) > 5 and len(kinds) == 14 and not all(map(any, found))
    assert struct_hashes(rows[:0]).shape == (0, 32)
