import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from hawse.commit.header import BatchHeader
from hawse.journal import (
    BoardCommand,
    Journal,
    JournalBehind,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    JournalOrder,
    Receipts,
    SegmentError,
)
from hawse.journal.codec import encode_input, encode_outcome
from hawse.journal.files import OsFile
from hawse.journal.records import encode_board
from hawse.journal.segments import Segment, segment_path, segment_paths, write_segment
from hawse.keys.messages import MESSAGE
from hawse.state.slot import Refusal, SlotInput, SlotOutcome
from hawse.wire import Reason
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_keccak import keccak256

CONFIG = b"venue of the tests"
INPUTS = 2  # of each slot


def make_header(number):
    values = {
        name: bytes([n]) * 32 if kind is bytes else 100 + n
        for n, (name, kind) in enumerate(BatchHeader.__annotations__.items())
    }
    return BatchHeader(**(values | {"version": 2, "number": number}))


HEADER = make_header(1)


def make_input(number, commands=1, time=0):
    rows = np.zeros(commands, MESSAGE)
    rows["kind"], rows["nonce"] = 1, number
    return SlotInput(number, time, commands=rows)


def make_outcome(number, records=0):
    seq = 1 + INPUTS * number
    refusals = (Refusal(seq, Reason.NONCE_LOW, 0, number, 1),)
    digest = bytes([number % 256]) * 32
    return SlotOutcome(number, 1, records, digest, seq, INPUTS, refusals, (), bytes(32))


def make_receipts(slot):
    named = slot, 1 + INPUTS * slot, INPUTS, bytes(32), 0, bytes(32), 0, bytes(32), bytes([slot % 256]) * 64
    return Receipts(*named, 0, bytes(8 * INPUTS))


def append_slot(journal, sync=False):
    number = journal.next_slot
    journal.append_input(make_input(number), sync)
    journal.append_outcome(make_outcome(number), sync)


def only(directory):
    """The journal's one file."""
    (path,) = segment_paths(directory)
    return path


def write(directory, slots, last_outcome=True):
    """A journal with an epoch, ``slots`` slots, a command of the board and an anchor; end of each record."""
    ends = []
    path = segment_path(directory, 0)
    with Journal(directory, CONFIG) as journal:
        ends.append(path.stat().st_size)
        journal.append_epoch(7)
        ends.append(path.stat().st_size)
        for n in range(slots):
            journal.append_input(make_input(n), sync=False)
            ends.append(path.stat().st_size)
            if n == 0:
                journal.append_board(BoardCommand(0, 5, bytes(32)))
                ends.append(path.stat().st_size)
            if n < slots - 1 or last_outcome:
                journal.append_outcome(make_outcome(n), sync=False)
                ends.append(path.stat().st_size)
        journal.append_anchor(HEADER, b"t" * 32)
        ends.append(path.stat().st_size)
    return ends


def write_segments(directory, slots=8, segment_bytes=1000, config=CONFIG, shift=0):
    """A journal of several segments, with an epoch, receipts and an anchor in between."""
    with Journal(directory, config, segment_bytes=segment_bytes) as journal:
        journal.append_epoch(3)
        for n in range(slots):
            journal.append_input(make_input(n, time=1000 + n + shift), sync=False)
            journal.append_outcome(make_outcome(n), sync=False)
            journal.append_receipts(make_receipts(n), sync=False)
            if n % 3 == 0:
                journal.append_anchor(make_header(n), b"t" * 32)
        assert journal.segments > 2
        return journal.segments


def put(path, data):
    """A segment as a power loss may leave it: the mark of what is durable was not written back."""
    path.write_bytes(data)
    path.with_name("durable").unlink(missing_ok=True)


def head_of(path):
    file = OsFile(path, True)
    try:
        return Segment(path, file)
    finally:
        file.close()


def content(journal):
    return [
        (encode_input(entry.slot), entry.outcome and encode_outcome(entry.outcome), entry.chain)
        for entry in journal.slots()
    ]


# ---- One segment


def test_what_was_appended_is_there_after_opening_again(tmp_path):
    write(tmp_path, 3, last_outcome=False)
    with Journal(tmp_path, CONFIG) as journal:
        entries = list(journal.slots())
        assert [e.slot.number for e in entries] == [0, 1, 2]
        assert [e.outcome for e in entries] == [make_outcome(0), make_outcome(1), None]
        assert [e.slot.commands["nonce"].tolist() for e in entries] == [[0], [1], [2]]
        assert [e.board for e in entries] == [(BoardCommand(0, 5, bytes(32)),), (), ()]
        assert (journal.next_slot, journal.pending, journal.epoch, journal.dropped) == (3, True, 7, 0)
        assert journal.next_seq == 1 + 2 * INPUTS
        assert [a.header for a in journal.anchors()] == [HEADER]
        assert journal.anchor.transaction == b"t" * 32
        assert journal.chain == entries[-1].chain
        assert [e.slot.number for e in journal.slots(2)] == [2]
        assert next(journal.slots(1)).chain == entries[1].chain
        journal.append_outcome(make_outcome(2))
        journal.append_receipts(make_receipts(2))
        journal.append_input(make_input(3))
    with Journal(tmp_path) as journal:
        assert journal.config == CONFIG
        assert [e.outcome is None for e in journal.slots()] == [False, False, False, True]
        assert list(journal.receipts()) == [make_receipts(2)]
        assert list(journal.receipts(3)) == []


def test_the_chain_covers_what_the_venue_did_and_nothing_else(tmp_path):
    head = b"HAWSEJNL" + (2).to_bytes(4, "big") + len(CONFIG).to_bytes(4, "big") + CONFIG
    chain = keccak256(b"\x91" + head)
    with Journal(tmp_path, CONFIG) as journal:
        assert journal.chain == chain
        journal.append_epoch(1)
        assert journal.chain == chain
        journal.append_input(make_input(0))
        chain = keccak256(b"\x90" + chain + b"\1" + encode_input(make_input(0)))
        assert journal.chain == chain
        journal.append_anchor(HEADER, bytes(32))
        command = BoardCommand(0, 1, bytes(32))
        journal.append_board(command)
        chain = keccak256(b"\x90" + chain + b"\7" + encode_board(command))
        assert journal.chain == chain
        journal.append_outcome(make_outcome(0))
        chain = keccak256(b"\x90" + chain + b"\2" + encode_outcome(make_outcome(0)))
        journal.append_receipts(make_receipts(0))
        assert journal.chain == chain
    with Journal(tmp_path) as journal:
        assert journal.chain == chain


def test_cut_at_every_byte_a_journal_opens_at_the_last_whole_record(tmp_path):
    ends = write(tmp_path, 2)
    path = only(tmp_path)
    data = path.read_bytes()
    with Journal(tmp_path) as journal:
        whole = content(journal)
    sizes = set(range(ends[0], len(data) + 1, 7)) | {end + n for end in ends for n in (-1, 0, 1, 9, 10)}
    for size in sorted(size for size in sizes if ends[0] <= size <= len(data)):
        put(path, data[:size])
        last = max(e for e in ends if e <= size)
        with Journal(tmp_path, CONFIG) as journal:
            assert journal.dropped == size - last
            assert path.stat().st_size == last
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
    path = only(tmp_path)
    data = path.read_bytes()
    for size in range(ends[-4], ends[-2], 5):
        put(path, data[:size] + bytes(len(data) - size + 5000))
        with Journal(tmp_path) as journal:
            assert path.stat().st_size >= max(e for e in ends if e <= size)
            assert journal.next_slot in (1, 2)
            assert [e.slot.number for e in journal.slots()] == list(range(journal.next_slot))


def refused(directory, ends, known, **options):
    """Opening is refused, with both numbers, and leaves every file as it was."""
    before = {p.name: p.read_bytes() for p in directory.iterdir()}
    for readonly in (True, False):
        with pytest.raises(JournalBehind) as error:
            Journal(directory, CONFIG, readonly=readonly, **options)
        assert (error.value.ends, error.value.known) == (ends, known)
        assert "durable" in str(error.value) and "restore it from a copy" in str(error.value)
        assert {p.name: p.read_bytes() for p in directory.iterdir() if p.name != "lock"} == {
            name: data for name, data in before.items() if name != "lock"
        }
    return str(error.value)


@pytest.mark.parametrize("fill", ["zeros", "cut", "longer"])
def test_durable_slots_that_are_gone_are_named_and_not_cut_off(tmp_path, fill):
    path, ends = segment_path(tmp_path, 0), []
    with Journal(tmp_path, CONFIG) as journal:
        for _ in range(6):
            append_slot(journal, sync=True)
            ends.append(path.stat().st_size)
    data = path.read_bytes()
    gone = {"zeros": bytes(ends[5] - ends[2]), "cut": b"", "longer": bytes(5000)}[fill]
    path.write_bytes(data[: ends[2]] + gone)
    says = refused(tmp_path, ends=2, known=5)
    assert "ends with slot 2, but slot 5 " in says and "slots 3 to 5 lost" in says
    # Within a slot: the outcome alone.
    path.write_bytes(data[: ends[5] - 1])
    assert ": slot 5 lost" in refused(tmp_path, ends=4, known=5)
    path.write_bytes(data)
    with Journal(tmp_path) as journal:
        assert journal.next_slot == 6


def test_a_torn_record_behind_what_was_durable_is_dropped_with_a_warning(tmp_path, caplog):
    path = segment_path(tmp_path, 0)
    with Journal(tmp_path, CONFIG) as journal:
        append_slot(journal, sync=True)
        durable = path.stat().st_size
        journal.append_input(make_input(1), sync=False)
        end = path.stat().st_size
    data = path.read_bytes()
    for size in (durable + 5, end - 1):
        for zeros in (0, 4096):
            path.write_bytes(data[:size] + bytes(zeros))
            caplog.clear()
            with Journal(tmp_path) as journal:
                assert (journal.next_slot, journal.pending) == (1, False)
                assert journal.dropped == size + zeros - durable
            assert f"{size + zeros - durable} bytes of a torn record cut off" in caplog.text
            assert path.stat().st_size == durable


def test_what_a_later_sync_covers_is_durable(tmp_path):
    with Journal(tmp_path, CONFIG) as journal:
        append_slot(journal)
        append_slot(journal)
        journal.sync()
        append_slot(journal)
    path = segment_path(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:-700])
    refused(tmp_path, ends=0, known=1)


def test_deleted_last_segments_and_an_older_copy_are_told_by_what_was_durable(tmp_path):
    count = write_segments(tmp_path / "whole")
    with Journal(tmp_path / "whole") as journal:
        journal.sync()
        first = journal._first_slots[count - 1]
    shutil.copytree(tmp_path / "whole", place := tmp_path / "deleted")
    segment_path(place, count - 1).unlink()
    refused(place, ends=first - 1, known=7)
    for path in segment_paths(place):
        path.unlink()
    refused(place, ends=-1, known=7)  # and no new journal is begun in its place


def test_a_mark_that_is_damaged_counts_for_nothing(tmp_path, caplog):
    write(tmp_path, 2)
    mark = tmp_path / "durable"
    data = mark.read_bytes()
    for wrong in (b"", data[:-1], bytes(len(data)), data[:12] + b"\xff" + data[13:]):
        mark.write_bytes(wrong)
        caplog.clear()
        with Journal(tmp_path) as journal:
            assert journal.next_slot == 2
        assert "durable is damaged" in caplog.text


def test_a_changed_byte_anywhere_before_the_last_record_is_reported_with_its_offset(tmp_path):
    ends = write(tmp_path, 2)
    path = only(tmp_path)
    data = path.read_bytes()
    for at in range(ends[-2]):
        flip = (1, 0xFF)[at % 2]
        path.write_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
        with pytest.raises(JournalCorrupt) as error:
            Journal(tmp_path)
        start = max((e for e in ends if e <= at), default=0)
        assert start <= error.value.offset <= at
        assert error.value.segment == path.name
        assert path.name in str(error.value)
    assert "does not fit its hash" in str(error.value)


def test_a_changed_byte_in_the_last_record_never_yields_a_changed_slot(tmp_path):
    ends = write(tmp_path, 1, last_outcome=False)
    path = only(tmp_path)
    data = path.read_bytes()[: ends[2]]
    for at in range(ends[1], ends[2], 3):
        put(path, data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
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
    path = only(tmp_path)
    with path.open("ab") as file:
        file.write(b"\0\0\1")
    size = path.stat().st_size
    with Journal(tmp_path, readonly=True) as reader:
        assert reader.dropped == 3
    assert path.stat().st_size == size


def test_records_out_of_order_are_refused_and_change_nothing(tmp_path):
    with Journal(tmp_path, CONFIG) as journal:
        with pytest.raises(JournalOrder, match="does not wait"):
            journal.append_outcome(make_outcome(0))
        with pytest.raises(JournalOrder, match="slot 1, not 0"):
            journal.append_input(make_input(1))
        with pytest.raises(JournalOrder, match="slot 0, which is not open"):
            journal.append_board(BoardCommand(0, 1, bytes(32)))
        with pytest.raises(JournalOrder, match=r"receipts of slot 0, not within 0\.\.-1"):
            journal.append_receipts(make_receipts(0))
        journal.append_input(make_input(0, time=50))
        with pytest.raises(JournalOrder, match="no outcome yet"):
            journal.append_input(make_input(1))
        with pytest.raises(JournalOrder, match="outcome of slot 1"):
            journal.append_outcome(make_outcome(1))
        journal.append_board(BoardCommand(0, 4, bytes(32)))
        with pytest.raises(JournalOrder, match="slot 1, which is not open"):
            journal.append_board(BoardCommand(1, 5, bytes(32)))
        for count in (4, 6):
            with pytest.raises(JournalOrder, match=f"command {count} of the board behind 4"):
                journal.append_board(BoardCommand(0, count, bytes(32)))
        late = SlotOutcome(0, 1, 0, bytes(32), 2, 1, (), (), bytes(32))
        with pytest.raises(JournalOrder, match="sequence number 2, not 1"):
            journal.append_outcome(late)
        journal.append_outcome(make_outcome(0))
        with pytest.raises(JournalOrder, match="does not wait"):
            journal.append_outcome(make_outcome(0))
        with pytest.raises(JournalOrder, match="which is not open"):
            journal.append_board(BoardCommand(0, 5, bytes(32)))
        with pytest.raises(JournalOrder, match="slot 1 at 49, before the last one's 50"):
            journal.append_input(make_input(1, time=49))
        journal.append_receipts(make_receipts(0))
        for slot in (0, 1):
            with pytest.raises(JournalOrder, match=rf"receipts of slot {slot}, not within 1\.\.0"):
                journal.append_receipts(make_receipts(slot))
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
        assert (journal.next_slot, journal.pending, journal.epoch, journal.time) == (1, False, 3, 50)


def test_a_journal_of_another_venue_or_none_at_all_is_refused(tmp_path):
    with pytest.raises(JournalError, match="does not exist"):
        Journal(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(JournalError, match="does not exist"):
        Journal(tmp_path / "none", CONFIG, readonly=True)
    Journal(tmp_path / "a", CONFIG).close()
    with pytest.raises(JournalError, match="another configuration"):
        Journal(tmp_path / "a", b"other")
    Journal(tmp_path / "a").close()
    with pytest.raises(JournalError, match="closed"):
        journal = Journal(tmp_path / "a")
        journal.close()
        journal.append_epoch(1)


# ---- Segments


def test_segments_are_cut_at_slots_and_read_as_one(tmp_path):
    write_segments(tmp_path / "many")
    write_segments(tmp_path / "few", segment_bytes=4000)
    with Journal(tmp_path / "many", verify=True) as many, Journal(tmp_path / "few") as few:
        assert many.segments > few.segments
        assert content(many) == content(few)
        assert many.chain == few.chain
        assert (many.next_slot, many.next_seq, many.time, many.epoch) == (8, 17, 1007, 3)
        assert list(many.receipts()) == [make_receipts(n) for n in range(8)]
        assert [a.header.number for a in many.anchors()] == [0, 3, 6]
        assert many.anchor.header.number == 6
        for first in range(9):
            assert [e.slot.number for e in many.slots(first)] == list(range(first, 8))
            assert [r.slot for r in many.receipts(first)] == list(range(first, 8))


def test_what_opening_needs_stands_in_the_last_segment(tmp_path):
    count = write_segments(tmp_path)
    opened = []

    def open_file(path, readonly):
        opened.append((path.name, file := CountedFile(path, readonly)))
        return file

    with Journal(tmp_path, open_file=open_file) as journal:
        assert (journal.segments, journal.next_slot, journal.epoch) == (count, 8, 3)
        assert journal.anchor.header.number == 6
        with pytest.raises(JournalOrder, match="not above 3"):
            journal.append_epoch(3)
        with pytest.raises(JournalOrder, match="receipts of slot 7"):
            journal.append_receipts(make_receipts(7))
        last = segment_path(tmp_path, count - 1)
        for name, file in opened:
            if name != last.name:  # its head, and its last hash
                assert file.bytes_read == head_of(tmp_path / name).start + 32
        del opened[:]
        assert [e.slot.number for e in journal.slots(7)] == [7]
        assert len(opened) <= 1


class CountedFile(OsFile):
    """A file that counts what is read of it."""

    bytes_read = 0

    def read(self, offset, size):
        data = super().read(offset, size)
        self.bytes_read += len(data)
        return data


def test_a_full_segment_waits_for_the_end_of_its_slot(tmp_path):
    with Journal(tmp_path, CONFIG, segment_bytes=1) as journal:
        for _ in range(3):
            number = journal.next_slot
            journal.append_input(make_input(number))
            files = journal.segments
            with pytest.raises(JournalOrder):
                journal.append_input(make_input(number + 1))
            journal.append_board(BoardCommand(number, 1, bytes(32)))
            journal.append_outcome(make_outcome(number))
            journal.append_epoch(number + 1)
            assert journal.segments == files == number + 1
        with pytest.raises(JournalOrder, match="slot 9"):
            journal.append_input(make_input(9))
        assert journal.segments == 3
        with pytest.raises(ValueError, match="time"):
            journal.append_input(make_input(3, time=-1))
        assert journal.segments == 3
    with Journal(tmp_path, verify=True) as journal:
        assert len(list(journal.slots())) == 3


def test_a_missing_segment_is_named(tmp_path):
    count = write_segments(tmp_path)
    for index in range(count - 1):
        shutil.copytree(tmp_path, place := tmp_path.parent / f"{tmp_path.name}-{index}")
        segment_path(place, index).unlink()
        with pytest.raises(SegmentError, match="is missing") as error:
            Journal(place)
        assert error.value.segment == segment_path(place, index).name


def test_a_doubled_or_reordered_segment_is_named(tmp_path):
    count = write_segments(tmp_path / "whole")
    for name, one, two in (
        ("doubled", 1, 2),
        ("last doubled", count - 1, count),
        ("first doubled", 0, count),
    ):
        shutil.copytree(tmp_path / "whole", place := tmp_path / name)
        shutil.copy(segment_path(place, one), segment_path(place, two))
        with pytest.raises(SegmentError, match=f"is segment {one}, not {two}") as error:
            Journal(place)
        assert error.value.segment == segment_path(place, two).name
    shutil.copytree(tmp_path / "whole", place := tmp_path / "reordered")
    a, b = segment_path(place, 1), segment_path(place, 2)
    data = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(data)
    with pytest.raises(SegmentError, match="is segment 2, not 1"):
        Journal(place)


def test_a_segment_of_another_journal_is_named(tmp_path):
    write_segments(tmp_path / "ours")
    write_segments(tmp_path / "theirs", config=b"another venue")
    write_segments(tmp_path / "fork", shift=1)
    for source, problem in (
        ("theirs", "another configuration"),
        ("fork", "does not begin behind the last record"),
    ):
        shutil.copytree(tmp_path / "ours", place := tmp_path / f"with {source}")
        shutil.copy(segment_path(tmp_path / source, 1), segment_path(place, 1))
        with pytest.raises(SegmentError, match=problem) as error:
            Journal(place)
        assert error.value.segment == segment_path(place, 1).name


def test_an_earlier_segment_of_another_length_is_named(tmp_path):
    write_segments(tmp_path)
    path = segment_path(tmp_path, 1)
    data = path.read_bytes()
    for changed in (data[:-1], data + b"\0", data[:-200]):
        path.write_bytes(changed)
        with pytest.raises(
            SegmentError, match=rf"has {len(changed)} bytes, and not the {len(data)}"
        ) as error:
            Journal(tmp_path)
        assert error.value.segment == path.name


def test_damage_in_an_earlier_segment_is_found_when_it_is_read(tmp_path):
    write_segments(tmp_path)
    path = segment_path(tmp_path, 1)
    data, start = path.read_bytes(), head_of(path).start
    with Journal(tmp_path) as journal:
        first = next(n for n in range(8) if journal._segment_of(n) == 1)
    for at in range(len(data) - 33, start, -37):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with Journal(tmp_path) as journal:
            assert [e.slot.number for e in journal.slots(7)] == [7]
            with pytest.raises(JournalCorrupt) as error:
                list(journal.slots(first))
            assert error.value.segment == path.name
            assert error.value.offset <= at
            with pytest.raises(JournalCorrupt):
                list(journal.anchors())
        with pytest.raises(JournalCorrupt):
            Journal(tmp_path, verify=True)


def test_a_damaged_head_is_named(tmp_path):
    count = write_segments(tmp_path)
    for index in (0, 1, count - 1):
        path = segment_path(tmp_path, index)
        data, head = path.read_bytes(), head_of(path)
        for at in range(0, head.start, 11):
            path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            with pytest.raises(JournalError) as error:
                Journal(tmp_path)
            assert error.value.segment == path.name
        path.write_bytes(data)
    Journal(tmp_path, verify=True).close()


def test_a_head_that_does_not_continue_is_found_when_the_segments_are_read(tmp_path):
    # Somebody who can hash makes a segment anew: heads agree, but not with what lies between them.
    with Journal(tmp_path, CONFIG, segment_bytes=1) as journal:
        append_slot(journal)
        append_slot(journal)
    path = segment_path(tmp_path, 1)
    head = head_of(path).head
    for field, value in (("time", 9), ("next_seq", 9), ("first_slot", 9), ("epoch", 9), ("chain", bytes(32))):
        write_segment(tmp_path, CONFIG, replace(head, **{field: value}))
        Journal(tmp_path).close()
        with pytest.raises(SegmentError, match=f"{field}: .*, but the segment before ends at") as error:
            Journal(tmp_path, verify=True)
        assert error.value.segment == path.name


def test_a_host_killed_between_a_head_and_its_first_record_goes_on(tmp_path):
    count = write_segments(tmp_path)
    path = segment_path(tmp_path, count - 1)
    with Journal(tmp_path) as journal:
        slots = [e.slot.number for e in journal.slots()]
        in_last = sum(journal._segment_of(n) == count - 1 for n in slots)
        start = journal._last.start
        whole = content(journal)
    put(path, path.read_bytes()[:start])
    with Journal(tmp_path, CONFIG, segment_bytes=1000, verify=True) as journal:
        assert (journal.segments, journal.dropped, journal.pending) == (count, 0, False)
        assert journal.next_slot == len(slots) - in_last
        assert content(journal) == whole[:-in_last]
        for n in slots[-in_last:]:
            journal.append_input(make_input(n, time=1000 + n))
            journal.append_outcome(make_outcome(n))
        assert content(journal) == whole
    # The name under which a head was being written when the power went.
    path.with_name(segment_path(tmp_path, count).name + ".new").write_bytes(b"half a head")
    with Journal(tmp_path) as journal:
        assert content(journal) == whole


def test_a_torn_end_belongs_to_the_last_segment_only(tmp_path):
    count = write_segments(tmp_path)
    with segment_path(tmp_path, count - 1).open("ab") as file:
        file.write(bytes(5))
    with Journal(tmp_path) as journal:
        assert journal.dropped == 5
    Journal(tmp_path, verify=True).close()


def test_reading_goes_on_while_segments_end(tmp_path):
    with Journal(tmp_path, CONFIG, segment_bytes=1) as journal:
        for _ in range(3):
            append_slot(journal)
        reading = journal.slots()
        last = journal.slots(2)
        assert next(reading).slot.number == 0
        append_slot(journal)
        append_slot(journal)
        assert [e.slot.number for e in reading] == [1, 2]
        assert [e.slot.number for e in last] == [2, 3, 4]
        assert len(list(journal.slots())) == 5
        assert not journal._retired


def test_a_thread_may_sync_while_segments_end(tmp_path):
    failures = []
    with Journal(tmp_path, CONFIG, segment_bytes=1) as journal:
        stop = threading.Event()

        def keep_syncing():
            while not stop.is_set():
                try:
                    journal.sync()
                except Exception as error:
                    failures.append(error)

        thread = threading.Thread(target=keep_syncing)
        thread.start()
        for _ in range(30):
            append_slot(journal)
        stop.set()
        thread.join()
    assert not failures
    with Journal(tmp_path, verify=True) as journal:
        assert len(list(journal.slots())) == 30


# ---- Disks that forget


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


def open_unreliable(directory, segment_bytes=1 << 20):
    """A journal, and a list whose last is the file that it appends to."""
    files = []

    def open_file(path, readonly):
        files.append(UnreliableFile(path, readonly))
        return files[-1]

    return Journal(directory, CONFIG, segment_bytes=segment_bytes, open_file=open_file), files


steps = st.lists(
    st.tuples(st.sampled_from(["slot", "sync", "epoch", "anchor"]), st.booleans(), st.integers(0, 3)),
    max_size=12,
)


@given(lives=st.lists(st.tuples(steps, st.floats(0, 1)), min_size=1, max_size=4), few=st.booleans())
@settings(deadline=None, max_examples=100)
def test_power_loss_keeps_what_was_synced_and_halves_nothing(lives, few, tmp_path_factory):
    directory = tmp_path_factory.mktemp("journal")
    written: list[bytes] = []  # of slots, in order: input, outcome, input, ...
    epoch, anchors = 0, 0
    for life, kept in lives:
        journal, files = open_unreliable(directory, 1 << 20 if few else 900)
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
        last = next(file for file in reversed(files) if file is journal._last.file)
        assert not any(file.unsynced for file in files if file is not last)
        last.lose_power(round(kept * len(last.unsynced)))
        journal.close()
        with Journal(directory, verify=True) as survivor:
            assert (survivor.epoch, len(list(survivor.anchors()))) == (epoch, anchors)
            found = [r for slot, outcome, _ in content(survivor) for r in (slot, outcome) if r is not None]
        assert len(found) >= synced
        assert found == written[: len(found)]
        written = found


def test_after_a_failed_sync_the_journal_must_be_opened_again(tmp_path):
    journal, files = open_unreliable(tmp_path)
    with journal:
        journal.append_input(make_input(0))
        files[-1].fail = True
        with pytest.raises(OSError, match="disk"):
            journal.append_outcome(make_outcome(0))
        files[-1].fail = False
        for use in (journal.sync, lambda: journal.append_epoch(1)):
            with pytest.raises(JournalError, match="open it again"):
                use()
    with Journal(tmp_path) as journal:
        assert journal.pending


def test_a_segment_that_cannot_be_synced_is_not_followed_by_another(tmp_path):
    journal, files = open_unreliable(tmp_path, segment_bytes=1)
    with journal:
        append_slot(journal)
        files[-1].fail = True
        with pytest.raises(OSError, match="disk"):
            journal.append_input(make_input(1), sync=False)
        with pytest.raises(JournalError, match="open it again"):
            journal.append_input(make_input(1))
    with Journal(tmp_path, verify=True) as journal:
        assert (journal.segments, journal.next_slot) == (1, 0)


def test_bytes_are_on_the_file_system_and_synced_before_append_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    with Journal(tmp_path, CONFIG) as journal:
        synced.clear()
        journal.append_input(make_input(0))
        assert synced == [only(tmp_path).stat().st_size]
        journal.append_outcome(make_outcome(0), sync=False)
        assert len(synced) == 1
        journal.sync()
        assert synced[1:] == [only(tmp_path).stat().st_size]
