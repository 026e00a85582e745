import os
import subprocess
import sys

import numpy as np
import pytest
from hawse.journal import Journal, JournalCorrupt, JournalError, JournalLocked, JournalOrder
from hawse.journal.codec import decode_header, encode_input, encode_outcome
from hawse.journal.files import OsFile
from hawse.journal.journal import FILE
from hawse.keys.messages import USER_COMMAND
from hawse.state.slot import Refusal, SlotInput, SlotOutcome
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_keccak import keccak256

CONFIG = b"venue of the tests"
HEADER = decode_header(b"".join((100 + n).to_bytes(32, "big") for n in range(28)))


def make_input(number, commands=1, time=0):
    rows = np.zeros(commands, USER_COMMAND)
    rows["nonce"] = number
    return SlotInput(number, time, ((0, 100 + number),), (), rows)


def make_outcome(number, records=0):
    refusals = ((number, Refusal.NONCE),)
    return SlotOutcome(number, 1, records, bytes([number % 256]) * 32, refusals, bytes(32))


def write(directory, slots, last_outcome=True):
    """A journal with an epoch, ``slots`` slots and an anchor; end of each record."""
    ends = []
    path = directory / FILE
    with Journal(directory, CONFIG) as journal:
        ends.append(path.stat().st_size)
        journal.append_epoch(7)
        ends.append(path.stat().st_size)
        for n in range(slots):
            journal.append_input(make_input(n), sync=False)
            ends.append(path.stat().st_size)
            if n < slots - 1 or last_outcome:
                journal.append_outcome(make_outcome(n), sync=False)
                ends.append(path.stat().st_size)
        journal.append_anchor(HEADER, b"t" * 32)
        ends.append(path.stat().st_size)
    return ends


def content(journal):
    return [
        (encode_input(entry.slot), entry.outcome and encode_outcome(entry.outcome), entry.chain)
        for entry in journal.slots()
    ]


def test_what_was_appended_is_there_after_opening_again(tmp_path):
    write(tmp_path, 3, last_outcome=False)
    with Journal(tmp_path, CONFIG) as journal:
        entries = list(journal.slots())
        assert [e.slot.number for e in entries] == [0, 1, 2]
        assert [e.outcome for e in entries] == [make_outcome(0), make_outcome(1), None]
        assert [e.slot.commands["nonce"].tolist() for e in entries] == [[0], [1], [2]]
        assert (journal.next_slot, journal.pending, journal.epoch, journal.dropped) == (3, True, 7, 0)
        assert [a.header for a in journal.anchors] == [HEADER]
        assert journal.anchors[0].transaction == b"t" * 32
        assert journal.chain == entries[-1].chain
        assert [e.slot.number for e in journal.slots(2)] == [2]
        assert next(journal.slots(1)).chain == entries[1].chain
        journal.append_outcome(make_outcome(2))
        journal.append_input(make_input(3))
    with Journal(tmp_path) as journal:
        assert journal.config == CONFIG
        assert [e.outcome is None for e in journal.slots()] == [False, False, False, True]


def test_the_chain_covers_inputs_and_outcomes_alone(tmp_path):
    head = b"HAWSEJNL" + (1).to_bytes(4, "big") + len(CONFIG).to_bytes(4, "big") + CONFIG
    chain = keccak256(b"\x91" + head)
    with Journal(tmp_path, CONFIG) as journal:
        assert journal.chain == chain
        journal.append_epoch(1)
        assert journal.chain == chain
        journal.append_input(make_input(0))
        chain = keccak256(b"\x90" + chain + b"\1" + encode_input(make_input(0)))
        assert journal.chain == chain
        journal.append_anchor(HEADER, bytes(32))
        journal.append_outcome(make_outcome(0))
        chain = keccak256(b"\x90" + chain + b"\2" + encode_outcome(make_outcome(0)))
        assert journal.chain == chain
    with Journal(tmp_path) as journal:
        assert journal.chain == chain


def test_cut_at_every_byte_a_journal_opens_at_the_last_whole_record(tmp_path):
    ends = write(tmp_path, 2)
    data = (tmp_path / FILE).read_bytes()
    with Journal(tmp_path) as journal:
        whole = content(journal)
    for size in range(ends[0], len(data) + 1):
        (tmp_path / FILE).write_bytes(data[:size])
        last = max(e for e in ends if e <= size)
        with Journal(tmp_path, CONFIG) as journal:
            assert journal.dropped == size - last
            assert (tmp_path / FILE).stat().st_size == last
            got = content(journal)
            for (slot, outcome, chain), (slot0, outcome0, chain0) in zip(got, whole, strict=False):
                assert slot == slot0
                assert (outcome, chain) == (outcome0, chain0) or (outcome is None and slot == got[-1][0])
            if journal.pending:
                journal.append_outcome(make_outcome(journal.next_slot - 1), sync=False)
            journal.append_input(make_input(journal.next_slot), sync=False)
            count = journal.next_slot
        with Journal(tmp_path) as journal:
            assert (journal.next_slot, journal.pending, journal.dropped) == (count, True, 0)


def test_space_given_but_never_written_is_a_torn_end(tmp_path):
    ends = write(tmp_path, 2)
    data = (tmp_path / FILE).read_bytes()
    for size in range(ends[-4], ends[-2]):
        (tmp_path / FILE).write_bytes(data[:size] + bytes(len(data) - size + 5000))
        with Journal(tmp_path) as journal:
            whole = max(e for e in ends if e <= size)
            assert (tmp_path / FILE).stat().st_size >= whole
            assert journal.next_slot in (1, 2)
            assert [e.slot.number for e in journal.slots()] == list(range(journal.next_slot))


def test_a_changed_byte_anywhere_before_the_last_record_is_reported_with_its_offset(tmp_path):
    ends = write(tmp_path, 2)
    data = (tmp_path / FILE).read_bytes()
    for at in range(ends[-2]):
        for flip in (1, 0xFF):
            (tmp_path / FILE).write_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
            with pytest.raises(JournalCorrupt) as error:
                Journal(tmp_path)
            start = max((e for e in ends if e <= at), default=0)
            assert start <= error.value.offset <= at
    assert "does not fit its hash" in str(error.value)


def test_a_changed_byte_in_the_last_record_never_yields_a_changed_slot(tmp_path):
    ends = write(tmp_path, 1, last_outcome=False)
    data = (tmp_path / FILE).read_bytes()[: ends[2]]
    for at in range(ends[1], ends[2]):
        (tmp_path / FILE).write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            with Journal(tmp_path) as journal:
                assert list(journal.slots()) == []
                assert journal.dropped == ends[2] - ends[1]
        except JournalCorrupt as error:
            assert error.offset == ends[1]


def test_two_hosts_cannot_open_one_journal(tmp_path):
    with Journal(tmp_path, CONFIG) as journal:
        with pytest.raises(JournalLocked):
            Journal(tmp_path, CONFIG)
        script = (
            "import sys; from pathlib import Path; from hawse.journal import Journal, JournalLocked\n"
            "try: Journal(Path(sys.argv[1]))\n"
            "except JournalLocked: print('locked')"
        )
        done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, check=True)
        assert done.stdout.split() == [b"locked"]
        journal.append_input(make_input(0))
        with Journal(tmp_path, readonly=True) as reader:
            assert [e.slot.number for e in reader.slots()] == [0]
            with pytest.raises(JournalError, match="reading only"):
                reader.append_outcome(make_outcome(0))
    Journal(tmp_path).close()


def test_a_reader_leaves_a_torn_end_alone(tmp_path):
    write(tmp_path, 1)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"\0\0\1")
    size = (tmp_path / FILE).stat().st_size
    with Journal(tmp_path, readonly=True) as reader:
        assert reader.dropped == 3
    assert (tmp_path / FILE).stat().st_size == size


def test_records_out_of_order_are_refused_and_change_nothing(tmp_path):
    with Journal(tmp_path, CONFIG) as journal:
        with pytest.raises(JournalOrder, match="does not wait"):
            journal.append_outcome(make_outcome(0))
        with pytest.raises(JournalOrder, match="slot 1, not 0"):
            journal.append_input(make_input(1))
        journal.append_input(make_input(0))
        with pytest.raises(JournalOrder, match="no outcome yet"):
            journal.append_input(make_input(1))
        with pytest.raises(JournalOrder, match="outcome of slot 1"):
            journal.append_outcome(make_outcome(1))
        journal.append_outcome(make_outcome(0))
        with pytest.raises(JournalOrder, match="does not wait"):
            journal.append_outcome(make_outcome(0))
        journal.append_epoch(3)
        for epoch in (3, 2):
            with pytest.raises(JournalOrder, match="not above 3"):
                journal.append_epoch(epoch)
        for epoch in (0, 1 << 32):
            with pytest.raises(ValueError, match="epoch"):
                journal.append_epoch(epoch)
        with pytest.raises(ValueError, match="transaction"):
            journal.append_anchor(HEADER, b"")
    with Journal(tmp_path) as journal:
        assert (journal.next_slot, journal.pending, journal.epoch) == (1, False, 3)


def test_a_journal_of_another_venue_or_none_at_all_is_refused(tmp_path):
    with pytest.raises(JournalError, match="does not exist"):
        Journal(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    Journal(tmp_path / "a", CONFIG).close()
    with pytest.raises(JournalError, match="another configuration"):
        Journal(tmp_path / "a", b"other")
    Journal(tmp_path / "a").close()
    with pytest.raises(JournalError, match="closed"):
        journal = Journal(tmp_path / "a")
        journal.close()
        journal.append_epoch(1)


class UnreliableFile:
    """A file whose unsynced bytes are in memory only, until they are synced or the power is lost."""

    def __init__(self, path, readonly):
        self.disk = OsFile(path, readonly)
        self.unsynced = b""
        self.fail = False

    def size(self):
        return self.disk.size() + len(self.unsynced)

    def read(self, offset, size):
        data = self.disk.read(offset, size)
        start = max(0, offset - self.disk.size())
        return data + self.unsynced[start : start + size - len(data)]

    def append(self, data):
        self.unsynced += data

    def truncate(self, size):
        assert not self.unsynced
        self.disk.truncate(size)

    def sync(self):
        if self.fail:
            raise OSError("disk")
        self.disk.append(self.unsynced)
        self.unsynced = b""
        self.disk.sync()

    def lose_power(self, kept):
        self.disk.append(self.unsynced[:kept])
        self.unsynced = b""

    def close(self):
        self.disk.close()


def open_unreliable(directory):
    files = []

    def open_file(path, readonly):
        files.append(UnreliableFile(path, readonly))
        return files[-1]

    return Journal(directory, CONFIG, open_file=open_file), files[0]


steps = st.lists(
    st.tuples(st.sampled_from(["slot", "sync", "epoch", "anchor"]), st.booleans(), st.integers(0, 3)),
    max_size=12,
)


@given(lives=st.lists(st.tuples(steps, st.floats(0, 1)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=100)
def test_power_loss_keeps_what_was_synced_and_halves_nothing(lives, tmp_path_factory):
    directory = tmp_path_factory.mktemp("journal")
    written: list[bytes] = []  # of slots, in order: input, outcome, input, ...
    epoch, anchors = 0, 0
    for life, kept in lives:
        journal, file = open_unreliable(directory)
        synced = len(written)
        for step, sync, commands in life:
            durable = sync or step != "slot"
            if step == "slot" and journal.pending:
                outcome = make_outcome(journal.next_slot - 1, records=commands)
                journal.append_outcome(outcome, sync)
                written.append(encode_outcome(outcome))
            elif step == "slot":
                slot = make_input(journal.next_slot, commands, time=len(written))
                journal.append_input(slot, sync)
                written.append(encode_input(slot))
            elif step == "epoch":
                epoch += 1
                journal.append_epoch(epoch)
            elif step == "anchor":
                anchors += 1
                journal.append_anchor(HEADER, bytes(32))
            else:
                journal.sync()
            if durable:
                synced = len(written)
        file.lose_power(round(kept * len(file.unsynced)))
        journal.close()
        with Journal(directory) as survivor:
            assert (survivor.epoch, len(survivor.anchors)) == (epoch, anchors)
            found = [r for slot, outcome, _ in content(survivor) for r in (slot, outcome) if r is not None]
        assert len(found) >= synced
        assert found == written[: len(found)]
        written = found


def test_after_a_failed_sync_the_journal_must_be_opened_again(tmp_path):
    journal, file = open_unreliable(tmp_path)
    with journal:
        journal.append_input(make_input(0))
        file.fail = True
        with pytest.raises(OSError, match="disk"):
            journal.append_outcome(make_outcome(0))
        file.fail = False
        for use in (journal.sync, lambda: journal.append_epoch(1)):
            with pytest.raises(JournalError, match="open it again"):
                use()
    with Journal(tmp_path) as journal:
        assert journal.pending


def test_bytes_are_on_the_file_system_and_synced_before_append_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    with Journal(tmp_path, CONFIG) as journal:
        synced.clear()
        journal.append_input(make_input(0))
        assert synced == [(tmp_path / FILE).stat().st_size]
        journal.append_outcome(make_outcome(0), sync=False)
        assert len(synced) == 1
        journal.sync()
        assert synced[1:] == [(tmp_path / FILE).stat().st_size]
