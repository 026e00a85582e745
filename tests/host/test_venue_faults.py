"""A venue that is cut off, loses power, loses its engine or is lied to, against one that is left alone."""

import errno
import random
import re
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hawse import venue as venue_module
from hawse.engine import Engine, EngineError, EngineLost, LinkLost, SoftBackend
from hawse.journal import Journal, JournalBehind, JournalError, Snapshots
from hawse.journal.segments import segment_path
from hawse.keys.messages import MESSAGE
from hawse.keys.store import address_of
from hawse.state.inputs import StateError
from hawse.venue import Halted, RecoveryFailed, Venue
from hawse.wire import BEAT_BYTES, Kind
from support import desk as rules
from support.faults import FullDisk, LostBackend, LyingBackend, PowerLoss, UnsyncedFile, Witness, first_beats
from support.signed import KEYS, OPERATOR, mark, signed_slots

CONFIG = replace(rules.CONFIG, operator=address_of(OPERATOR))
OTHER = replace(CONFIG, chain_id=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(venue_module, "_PAUSES", (0,) * 5)
    monkeypatch.setattr("os.fsync", lambda fd: None)  # nobody pulls the plug of this machine


class Desk:
    """A directory with a journal, and the venue that runs on it."""

    def __init__(self, directory, slots, backend=None, open_file=None, witness=None, lag=2):
        self.directory, self.slots, self.lag = directory, slots, lag
        self.witness = witness or Witness()
        self.backend = backend or SoftBackend(CONFIG.geometry)
        options = {"open_file": open_file} if open_file else {}
        self.journal = Journal(directory, CONFIG.encode(), **options)
        try:
            snapshots = Snapshots(directory / "snapshots")
            self.venue = Venue(CONFIG, Engine(self.backend), self.journal, snapshots, self.witness)
        except BaseException:
            self.journal.close()
            raise

    def run(self, until=None):
        """The rest of the slots; all but the newest ``lag`` - 1 batches are anchored as they come."""
        with self.journal:
            for slot in self.slots[self.venue.next_slot : until]:
                self.venue.run_slot(slot)
                while len(self.venue.pending) >= self.lag:
                    self.venue.anchored(min(self.venue.pending), bytes(32))
        return self

    def result(self):
        return self.witness.slots, self.witness.batches, self.venue.machine.snapshot()


def undisturbed(directory, slots):
    return Desk(directory, slots).run()


def follow(directory, slots, known):
    """The result of a venue that recovers and goes on, with what an earlier one left unsaid put in."""
    desk = Desk(directory, slots).run()
    return {**known[0], **desk.witness.slots}, {**known[1], **desk.witness.batches}, desk.result()[2]


# A journal that ends anywhere


def cut_everywhere(tmp_path, slots, sizes):
    whole = tmp_path / "whole"
    expected = undisturbed(whole, slots).result()
    data = segment_path(whole, 0).read_bytes()
    snapshots = {path.name: path.read_bytes() for path in (whole / "snapshots").iterdir()}
    with Journal(whole, readonly=True) as journal:
        start = journal._last.start
    place = tmp_path / "cut"
    (place / "snapshots").mkdir(parents=True)
    for size in sizes(start, len(data), whole):
        segment_path(place, 0).write_bytes(data[:size])
        for path in (place / "snapshots").iterdir():
            path.unlink()
        for path in place.glob("durable"):
            path.unlink()
        with Journal(place, readonly=True) as journal:
            ends = journal.next_slot - 1 - journal.pending
        # A snapshot is of a slot that is durable, so what a power loss leaves has none behind its end.
        for name, content in snapshots.items() if size % 2 else ():
            if int(name.removeprefix("snapshot-")) <= ends:
                (place / "snapshots" / name).write_bytes(content)
        assert follow(place, slots, expected) == expected, f"cut at {size} of {len(data)}"


def test_a_journal_cut_anywhere_leads_to_the_same_state(tmp_path, seed):
    def sizes(start, end, whole):
        with Journal(whole, readonly=True) as journal:
            records = [r for _, r in journal._records(0) if r.type.name in ("INPUT", "OUTCOME")]
        last = {size for r in records[-4:] for size in range(r.offset, r.end + 1)}
        return sorted(last | set(random.Random(seed).sample(range(start, end + 1), 60)))

    cut_everywhere(tmp_path, signed_slots(CONFIG, seed, 7, size=2, batch=2), sizes)


@pytest.mark.slow
def test_a_journal_cut_at_every_byte_leads_to_the_same_state(tmp_path, seed):
    slots = signed_slots(CONFIG, seed, 9, size=4, batch=3)
    cut_everywhere(tmp_path, slots, lambda start, end, _: range(start, end + 1))


def test_a_journal_that_ends_before_a_snapshot_is_refused_with_both_numbers(tmp_path, seed):
    slots = signed_slots(CONFIG, seed, 10, batch=2)
    desk = Desk(tmp_path / "now", slots, lag=1).run(until=4)
    shutil.copytree(tmp_path / "now", tmp_path / "old")
    Desk(tmp_path / "now", slots, lag=1).run()
    shutil.copytree(tmp_path / "now" / "snapshots", tmp_path / "old" / "snapshots", dirs_exist_ok=True)
    files = {p: p.read_bytes() for p in (tmp_path / "old").glob("segment-*")}
    with pytest.raises(JournalBehind, match=r"ends with slot 3, .* slot 9: slots 4 to 9 lost") as error:
        Desk(tmp_path / "old", slots)
    assert (error.value.ends, error.value.known) == (3, 9)
    assert {p: p.read_bytes() for p in (tmp_path / "old").glob("segment-*")} == files
    # Without what tells of them it is a journal like any other.
    shutil.rmtree(tmp_path / "old" / "snapshots")
    assert Desk(tmp_path / "old", slots).venue.next_slot == 4
    assert desk.venue.next_slot == 4


def test_a_snapshot_of_another_journal_is_not_used(tmp_path, seed):
    slots, others = (signed_slots(CONFIG, s, 8, batch=2) for s in (seed, seed + 1))
    undisturbed(tmp_path / "a", slots)
    expected = undisturbed(tmp_path / "b", others).result()
    shutil.rmtree(tmp_path / "b" / "snapshots")
    shutil.copytree(tmp_path / "a" / "snapshots", tmp_path / "b" / "snapshots")
    desk = Desk(tmp_path / "b", others).run()
    assert desk.result() == expected  # all of it, so it began with the first slot


# Power loss


class Epochs(SoftBackend):
    """An engine that outlives its hosts and tells whether an epoch comes twice."""

    last = 0

    def reset(self, epoch):
        assert epoch > self.last
        self.last = epoch
        super().reset(epoch)


def lose_power(tmp_path, slots, expected, lives):
    """Run until the power goes at the given I/O boundary of each life, then to the end."""
    known, engine = Witness(), Epochs(CONFIG.geometry)
    for at, part in lives:
        boundaries = 0

        def lost(at=at, part=part):
            nonlocal boundaries
            boundaries += 1
            return part if boundaries == at else None

        said = len(known.slots)
        try:
            Desk(tmp_path, slots, engine, lambda p, r, f=lost: UnsyncedFile(p, r, f), known).run()
        except PowerLoss:
            with Journal(tmp_path, readonly=True) as journal:
                # What was told to the world follows from what is on the disk.
                assert sum(1 for _ in journal.slots()) >= max(said, len(known.slots))
    desk = Desk(tmp_path, slots, engine, witness=known).run()
    assert desk.result() == expected, lives
    return boundaries


def test_power_loss_at_every_boundary_of_input_and_output(tmp_path, seed):
    slots = signed_slots(CONFIG, seed, 8, size=6, batch=3)
    expected = undisturbed(tmp_path / "whole", slots).result()
    count = lose_power(tmp_path / "count", slots, expected, [(0, 0.0)])
    rng = random.Random(seed)
    for at in range(1, count + 1):
        lives = [(at, rng.choice([0, 1, rng.random()]))]
        lives += [(rng.randrange(1, 12), rng.random()) for _ in range(rng.randrange(3))]
        lose_power(tmp_path / str(at), slots, expected, lives)


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(100))
def test_power_losses_one_after_another(tmp_path, seed, round_):
    slots = signed_slots(CONFIG, seed, 20)
    expected = undisturbed(tmp_path / "whole", slots).result()
    rng = random.Random(seed)
    lose_power(tmp_path / "run", slots, expected, [(rng.randrange(1, 30), rng.random()) for _ in range(10)])


# A disk that is full


def fill_up(directory, slots, expected, room):
    """Run until the disk is full, try to go on, make room, and run to the end."""
    known, engine, disk = Witness(), Epochs(CONFIG.geometry), FullDisk(room)
    while True:
        ended = None
        try:
            desk = Desk(directory, slots, engine, disk.open, known)
            ended = desk.venue
            desk.run()
            break
        except OSError as error:
            assert error.errno == errno.ENOSPC
            if ended is not None and ended.next_slot < len(slots):
                with pytest.raises((Halted, JournalError), match=r"failed|closed"):
                    ended.run_slot(slots[ended.next_slot])
            with Journal(directory, readonly=True) as journal:
                assert sum(1 for _ in journal.slots()) >= len(known.slots)
            disk.room = 1 << 30
    assert desk.result() == expected, f"room for {room} bytes"


def test_a_disk_that_is_full_at_any_append_loses_nothing(tmp_path, seed):
    slots = signed_slots(CONFIG, seed, 8, size=6, batch=3)
    expected = undisturbed(tmp_path / "whole", slots).result()
    with Journal(tmp_path / "whole", readonly=True) as journal:
        start = journal._last.start
        ends = [record.end - start for _, record in journal._records(0)]
    rng, before = random.Random(seed), [0, *ends]
    for first, last in pairwise(before):
        for room in {first, first + 1, rng.randrange(first, last), last - 1}:
            fill_up(tmp_path / str(room), slots, expected, room)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_byte_loses_nothing(tmp_path, seed):
    slots = signed_slots(CONFIG, seed, 6, size=3, batch=2)
    expected = undisturbed(tmp_path / "whole", slots).result()
    with Journal(tmp_path / "whole", readonly=True) as journal:
        size = journal._end - journal._last.start
    for room in range(size):
        fill_up(tmp_path / str(room), slots, expected, room)


# An engine that is lost


def lose_engine(directory, slots, lost):
    backend = LostBackend(SoftBackend(CONFIG.geometry), lost)
    return Desk(directory, slots, backend, lag=3).run(), backend


def test_an_engine_lost_in_any_exchange_is_rebuilt(tmp_path, seed):
    slots = signed_slots(CONFIG, seed, 10, size=8, batch=3)
    desk, backend = lose_engine(tmp_path / "whole", slots, lambda n: False)
    expected, rng = desk.result(), random.Random(seed)
    for at in range(backend.exchanges):
        # Once more in the midst of the recovery; and three times in a row.
        for n, after in enumerate([(), (1,), (1 + rng.randrange(8),), (1, 2, 3)]):
            moments = {at, *(at + a for a in after)}
            desk, _ = lose_engine(tmp_path / f"{at}-{n}", slots, moments.__contains__)
            assert desk.result() == expected, f"lost in exchanges {moments}"
            assert desk.venue.epoch >= 2


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(50))
def test_an_engine_lost_now_and_then_is_rebuilt_every_time(tmp_path, seed, round_):
    slots = signed_slots(CONFIG, seed, 60)
    expected = undisturbed(tmp_path / "whole", slots).result()
    rng = random.Random(seed)
    desk, _ = lose_engine(tmp_path / "run", slots, lambda n: rng.random() < 0.02)
    assert desk.result() == expected


@pytest.mark.parametrize("first", [0, 1, 5])
def test_an_engine_lost_again_and_again_is_given_up_and_the_journal_stays_good(tmp_path, seed, first):
    slots = signed_slots(CONFIG, seed, 6)
    with pytest.raises(RecoveryFailed, match=r"lost 5 times while it was rebuilt: .*epoch 0"):
        lose_engine(tmp_path / "run", slots, lambda n: n >= first)
    expected = undisturbed(tmp_path / "whole", slots).result()
    assert follow(tmp_path / "run", slots, expected) == expected


def test_after_an_engine_was_given_up_no_slot_can_follow(tmp_path, seed):
    slots = signed_slots(CONFIG, seed, 6)
    backend = LostBackend(SoftBackend(CONFIG.geometry), lambda n: n >= 6)
    desk = Desk(tmp_path, slots, backend)
    with desk.journal:
        with pytest.raises(RecoveryFailed):
            for slot in slots:
                desk.venue.run_slot(slot)
        size = segment_path(tmp_path, 0).stat().st_size
        with pytest.raises(Halted, match="open the venue again"):
            desk.venue.run_slot(slots[desk.venue.next_slot])
        assert segment_path(tmp_path, 0).stat().st_size == size


def test_a_line_that_breaks_is_as_a_reset(tmp_path, seed):
    class Line(LostBackend):
        def exchange(self, commands):
            try:
                return super().exchange(commands)
            except EngineLost:
                raise LinkLost("the cable") from None

    slots = signed_slots(CONFIG, seed, 6)
    expected = undisturbed(tmp_path / "whole", slots).result()
    backend = Line(SoftBackend(CONFIG.geometry), lambda n: n == 6)
    desk = Desk(tmp_path / "run", slots, backend).run()
    assert desk.result() == expected and desk.venue.epoch == 2


# An engine that lies


def flip(beats, beat, byte, bit):
    raw = beats.view(np.uint8).reshape(-1, BEAT_BYTES)
    raw[beat, byte] ^= 1 << bit
    return beats


def lied_to(tmp_path, slots, change):
    """Run until the venue halts; the slot, the error, and what the journal has."""
    desk = Desk(tmp_path, slots, LyingBackend(SoftBackend(CONFIG.geometry), change), lag=1)
    with desk.journal:
        with pytest.raises(Halted) as halted:
            for slot in slots:
                desk.venue.run_slot(slot)
                for number in sorted(desk.venue.pending):
                    desk.venue.anchored(number, bytes(32))
        size, anchors = segment_path(tmp_path, 0).stat().st_size, len(list(desk.journal.anchors()))
        with pytest.raises(Halted, match="open the venue again"):
            desk.venue.run_slot(slot)
        assert segment_path(tmp_path, 0).stat().st_size == size
        assert not desk.venue.pending
        assert anchors == sum(s.closes is not None for s in slots[: slot.number])
        assert max(desk.witness.slots, default=-1) == slot.number - 1
        assert halted.value.slot == slot.number and f"slot {slot.number}:" in str(halted.value)
    with Journal(tmp_path, readonly=True) as journal:
        *before, last = journal.slots()
        assert last.slot.number == slot.number and last.outcome is None
        assert all(e.outcome is not None for e in before)
    expected = undisturbed(tmp_path / "whole", slots).result()
    assert follow(tmp_path, slots, expected) == expected
    return str(halted.value)


def first_of_kind(kind, after=8):
    """Finds the first beat of a kind in an exchange after the opening ones."""
    found = []

    def find(exchange, beats):
        at = [at for at, its in first_beats(beats).items() if its == kind]
        if exchange < after or found or not at:
            return None
        found.append(exchange)
        return at[0]

    return find


@pytest.mark.parametrize(
    ("kind", "offset", "byte", "says"),
    [
        (Kind.FENCE, 1, 0, r"log digest of engine and host: [0-9a-f]{64} is not [0-9a-f]{64}"),
        (Kind.FENCE, 1, 31, r"log digest of engine and host: [0-9a-f]{64} is not [0-9a-f]{64}"),
        (Kind.FENCE, 0, 16, r"the fence counts \d+ records, but \d+ came"),
        (Kind.BATCH, 1, 7, r"log root of engine and host: [0-9a-f]{64} is not [0-9a-f]{64}"),
        (Kind.BATCH, 0, 8, r"leaves of engine and host: \d+ is not \d+"),
        (Kind.TRADE, 0, 12, r"log digest of engine and host: [0-9a-f]{64} is not [0-9a-f]{64}"),
        (Kind.TRADE, 0, 16, r"log digest of engine and host: [0-9a-f]{64} is not|traded more than it had"),
        (Kind.CANCELLED, 0, 16, r"log digest of engine and host: [0-9a-f]{64} is not [0-9a-f]{64}"),
        (Kind.ACK, 0, 4, ""),
    ],
)
def test_an_engine_that_lies_halts_the_venue(tmp_path, kind, offset, byte, says):
    find = first_of_kind(kind)

    def change(exchange, beats):
        at = find(exchange, beats)
        return beats if at is None else flip(beats, at + offset, byte, 0)

    assert re.search(says, lied_to(tmp_path, signed_slots(CONFIG, 5, 16), change))


def lie_anywhere(tmp_path, seed):
    rng, done = random.Random(seed), []
    when = rng.randrange(8, 20)

    def change(exchange, beats):
        records = [at for at, kind in first_beats(beats).items() if kind <= Kind.REJECTED]
        if exchange >= when and not done and records:
            done.append(exchange)
            return flip(beats, rng.choice(records), rng.randrange(24), rng.randrange(8))
        return beats

    lied_to(tmp_path, signed_slots(CONFIG, seed, 24), change)


@pytest.mark.parametrize("round_", range(10))
def test_a_flipped_bit_of_any_record_halts_the_venue(tmp_path, seed, round_):
    lie_anywhere(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(300))
def test_a_flipped_bit_of_any_record_halts_the_venue_long(tmp_path, seed, round_):
    lie_anywhere(tmp_path, seed)


def test_an_engine_that_does_not_hold_the_state_s_orders_halts_the_recovery(tmp_path, seed):
    slots = signed_slots(CONFIG, seed, 16)
    Desk(tmp_path, slots, lag=1).run(until=12)

    def change(exchange, beats):
        at = [at for at, kind in first_beats(beats).items() if kind == Kind.RESTING]
        return flip(beats, at[-1], 12, 0) if at else beats

    with pytest.raises(Halted, match=r"resting order of .* in engine and state: \(.*\) is not \(.*\)"):
        Desk(tmp_path, slots, LyingBackend(SoftBackend(CONFIG.geometry), change))


# Slots that no sequencer may send


def test_a_slot_that_cannot_be_carried_out_is_never_journaled(tmp_path, seed):
    slots = signed_slots(CONFIG, seed, 6, batch=3)
    desk = Desk(tmp_path, slots)
    with desk.journal:
        for slot in slots[:3]:
            desk.venue.run_slot(slot)
        size = segment_path(tmp_path, 0).stat().st_size
        bad = [
            ({"time": slots[2].time - 1}, "time"),
            ({"number": 5}, "slot 5, not 3"),
            ({"closes": 9}, "closes: batch 9, not 2"),
            ({"closes": 1}, "closes: batch 1, not 2"),  # a second time
            ({"operations": (mark(CONFIG, 3, 7, 1),)}, "instrument 7"),
            ({"operations": (mark(CONFIG, 4, 0, 1500),)}, "signed for slot 3"),
            ({"operations": (mark(CONFIG, 3, 0, 1500, KEYS[0]),)}, "signed for slot 3"),
            ({"operations": (mark(OTHER, 3, 0, 1500),)}, "signed for slot 3"),
            ({"commands": np.zeros(1025, MESSAGE)}, "commands"),
            ({"deposits": (replace(slots[0].deposits[0], index=99),)}, "deposits"),
        ]
        for change, says in bad:
            with pytest.raises(StateError, match=says):
                desk.venue.run_slot(replace(slots[3], **change))
        assert segment_path(tmp_path, 0).stat().st_size == size
        for slot in slots[3:]:
            desk.venue.run_slot(slot)
    assert desk.result() == undisturbed(tmp_path / "whole", slots).result()


def test_an_engine_that_fails_otherwise_halts_the_venue(tmp_path, seed):
    class Broken(LostBackend):
        def exchange(self, commands):
            if self.exchanges == 6:
                raise EngineError("out of order")
            return super().exchange(commands)

    slots = signed_slots(CONFIG, seed, 6)
    desk = Desk(tmp_path, slots, Broken(SoftBackend(CONFIG.geometry), lambda n: False))
    with pytest.raises(Halted, match=r"slot \d: EngineError: out of order"):
        desk.run()
