"""What became of every input, under hostile flow: each told once, and adding up to what the state has."""

import json
import os
import random
import threading
from collections import Counter
from dataclasses import replace

import pytest
from hawse.commit.header import BatchHeader
from hawse.engine import Engine, SoftBackend
from hawse.keys.messages import NO_INSTRUMENT, MessageKind
from hawse.publisher.errors import OutputLost, PublisherError
from hawse.publisher.lines import Book
from hawse.publisher.store import Outcomes
from hawse.publisher.streams import BATCHES, SLOTS
from hawse.publisher.teller import Teller, TellerProcess
from hawse.state.slot import Request, RequestKind, SlotOutcome
from hawse.venue import Execution, SlotDone
from hawse.wire import Side, TimeInForce
from support.desk import owner
from support.money import MoneyDesk
from support.signed import DEPOSITS, signed_slots
from support.venue_process import CONFIG

SLOTS_RUN = 24


@pytest.fixture(scope="module")
def run():
    """Slots of signed commands as they were carried out, and the machine behind them."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    execution = Execution(CONFIG, Engine(SoftBackend(CONFIG.geometry)), 1)
    done = []
    for slot in signed_slots(CONFIG, seed, SLOTS_RUN, size=40, batch=6):
        outcome, burst = execution.run(slot)
        done.append(execution.done(slot, outcome, burst, execution.seal(slot, burst, bytes(32))))
    return done, execution.machine


def keep_all(path, run):
    """All slots and batches, kept in a new file."""
    with Outcomes(path) as kept:
        for done in run[0]:
            kept.keep(done)
            if done.sealed:
                kept.keep_batch(done.sealed, bytes(32))
    return path


def rows(kept, stream=SLOTS):
    return [json.loads(row.text) for row in kept.lines(stream, 0, 0)]


def test_every_input_is_answered_once_and_every_trade_told_to_both_sides(tmp_path, run):
    with Outcomes(keep_all(tmp_path / "o.db", run)) as kept:
        told = rows(kept)
    answers = Counter(row["seq"] for row in told if "kind" in row)
    assert set(answers.values()) == {1}
    assert set(answers) == {
        seq
        for done in run[0]
        for first in [done.outcome.first_seq + len(done.slot.operations)]
        for seq in (*done.command_seqs, *range(first, first + len(done.slot.deposits)))
    }
    refused = {r.seq: r for done in run[0] for r in done.outcome.refusals}
    assert {row["seq"] for row in told if row["event"] == "refused"} == set(refused)
    for row in told:
        if row["event"] == "refused":
            r = refused[row["seq"]]
            assert (row["reason"], row["have"], row["need"]) == (r.reason.name.lower(), r.have, r.need)
    trades = {}
    for row in told:
        if row["event"] == "trade":
            trades.setdefault(row["trade"], []).append(row)
    assert sorted(trades) == list(range(1, len(trades) + 1)) and len(trades) > 20
    for taker, maker in trades.values():
        assert (taker["role"], maker["role"]) == ("taker", "maker")
        assert {taker["side"], maker["side"]} == {"buy", "sell"}
        assert all(taker[name] == maker[name] for name in ("seq", "price", "quantity", "instrument"))
    assert sum(row["fee"] for pair in trades.values() for row in pair) == run[1].fees


def test_what_is_told_of_an_order_adds_up_to_what_rests(tmp_path, run):
    left = {}
    with Outcomes(keep_all(tmp_path / "o.db", run)) as kept:
        for row in rows(kept):
            if "cumulative" not in row or row["event"] == "rejected":
                continue
            key = row["account"], row["client_id"]
            if row["event"] == "trade":
                before = left[key]
                assert row["cumulative"] == before["cumulative"] + row["quantity"]
                assert row["remaining"] == before["remaining"] - row["quantity"]
            left[key] = row
        resting = {(o.account.index, o.client_id): o for o in run[1].orders.values()}
        assert {key for key, row in left.items() if row["remaining"]} == set(resting) and resting
        for key, order in resting.items():
            (*_, status) = kept.orders(*key)
            assert (status.state, status.remaining, status.price) == ("open", order.remaining, order.price)
            assert left[key]["remaining"] == order.remaining
            assert left[key] in kept.told_of(*key)


def test_a_file_that_is_opened_again_goes_on_where_it_was(tmp_path, run):
    whole = keep_all(tmp_path / "whole.db", run)
    for done in run[0]:
        with Outcomes(tmp_path / "again.db") as kept:
            for repeated in run[0][: done.slot.number + 1]:  # as a recovery does
                kept.keep(repeated)
            if done.sealed:
                kept.keep_batch(done.sealed, bytes(32))
                kept.keep_batch(done.sealed, b"x" * 32)
                assert kept.batch_slot == done.slot.number
    with Outcomes(whole) as one, Outcomes(tmp_path / "again.db") as other:
        for stream in (SLOTS, BATCHES):
            assert rows(one, stream) == rows(other, stream)
        with pytest.raises(PublisherError, match=f"slot {SLOTS_RUN + 5} behind slot {SLOTS_RUN - 1}"):
            last = run[0][-1]
            skipped = type(last.slot)(SLOTS_RUN + 5, last.slot.time)
            other.keep(type(last)(**{**vars(last), "slot": skipped}))
    assert len(DEPOSITS) == sum(len(done.slot.deposits) for done in run[0])


def test_batches_tell_each_withdrawal_and_the_anchor(tmp_path, run):
    with Outcomes(keep_all(tmp_path / "o.db", run)) as kept:
        told = rows(kept, BATCHES)
    headers = [done.sealed.header for done in run[0] if done.sealed]
    assert all(isinstance(header, BatchHeader) for header in headers)
    for header in headers:
        *paid, anchored = [row for row in told if row["batch"] == header.number]
        assert anchored["slots"] == [header.journal_first, header.journal_last]
        assert sum(row["amount"] for row in paid) == header.withdrawals_sum
        assert len(paid) == header.withdrawals_count


class Killed(BaseException):
    """Stands for a SIGKILL."""


def test_a_teller_that_is_killed_anywhere_but_between_a_write_and_its_note_tells_each_line_once(
    tmp_path, run, monkeypatch
):
    outcomes, out = keep_all(tmp_path / "o.db", run), tmp_path / "out"
    rng, moment = random.Random(1), iter(())
    write = os.write

    def killed(fd, data):
        if next(moment, 1) == 0:
            raise Killed
        return write(fd, data)

    monkeypatch.setattr("os.write", killed)
    with out.open("ab") as file:
        for _ in range(200):
            moment = iter(range(rng.randrange(1, 6), -1, -1))
            teller = Teller(outcomes, tmp_path / "told", file.fileno())
            try:
                teller.tell()
            except Killed:
                continue
            finally:
                teller.close()
            break
    with Outcomes(outcomes) as kept:
        assert [json.loads(line) for line in out.read_bytes().splitlines()] == rows(kept) + rows(
            kept, BATCHES
        )


def test_a_disk_that_fills_under_the_output_leaves_no_half_line(tmp_path, run, monkeypatch):
    outcomes, out = keep_all(tmp_path / "o.db", run), tmp_path / "out"
    write, room = os.write, 10_000

    def full(fd, data):
        nonlocal room
        if room <= 0:
            raise OSError(28, "No space left on device")
        took = write(fd, data[:room])
        room -= took
        return took

    monkeypatch.setattr("os.write", full)
    with out.open("ab") as file:
        with (
            Teller(outcomes, tmp_path / "told", file.fileno()) as teller,
            pytest.raises(OutputLost, match="No space left"),
        ):
            teller.tell()
        assert out.read_bytes().endswith(b"\n")
        room = 1 << 30
        with Teller(outcomes, tmp_path / "told", file.fileno()) as teller:
            teller.tell()
    with Outcomes(outcomes) as kept:
        assert [json.loads(line) for line in out.read_bytes().splitlines()] == rows(kept) + rows(
            kept, BATCHES
        )


def test_a_file_that_does_not_say_how_far_is_named(tmp_path, run):
    outcomes = keep_all(tmp_path / "o.db", run)
    for wrong in (b"HAWSETLD", b"x" * 40, b"HAWSETLD" + bytes(33)):
        (tmp_path / "told").write_bytes(wrong)
        with pytest.raises(PublisherError, match="told: "):
            Teller(outcomes, tmp_path / "told", 1)


def test_a_teller_process_that_fails_is_told_of(tmp_path, run, capfd):
    (tmp_path / "told").write_bytes(b"wrong")
    process = TellerProcess(keep_all(tmp_path / "o.db", run), tmp_path / "told", threading.Event())
    with pytest.raises(OutputLost, match="status 1"):
        process.close()
    assert "do not say how far" in capfd.readouterr().err


def test_what_the_machine_takes_back_is_told_in_its_turn_and_with_its_reason(tmp_path):
    desk = MoneyDesk([10**12] * 2)
    book, mass = Book([], 0), {"instrument": NO_INSTRUMENT}

    def lines(rows, **inputs):
        admission = desk.open(rows, **inputs)
        burst = desk.engine.run(admission.orders)
        desk.machine.clear_slot(burst.events)
        slot = replace(desk.input(rows, **inputs), number=desk.machine.next_slot - 1)
        outcome = SlotOutcome(
            slot.number,
            1,
            0,
            bytes(32),
            admission.first_seq,
            admission.inputs,
            admission.refusals,
            (),
            bytes(32),
        )
        fees = desk.machine.fill_fees
        orders, makers = (desk.machine.client_ids(burst.events[n]) for n in ("order_id", "maker_id"))
        pairs = tuple(zip(fees[::2], fees[1::2], strict=True))
        machine = desk.machine
        what = admission.command_seqs, machine.transfers, machine.machine_commands
        return book.lines(SlotDone(slot, outcome, burst, orders, makers, *what, (), pairs, None))

    told = lines(
        [
            desk.new(1, 1, Side.BUY, 78_000, 5000),
            desk.new(2, 1, Side.SELL, 78_000, 2000),
            desk.row(MessageKind.CANCEL_ALL, 1, **mass),
        ]
    )
    assert [row["event"] for row in told] == ["ack", "ack", "trade", "trade", "accepted", "cancelled"]
    assert [row["seq"] for row in told] == sorted(row["seq"] for row in told)
    assert all(row["generation"] == row["account"] << 24 for row in told)
    last = told[-1]
    assert (last["account"], last["reason"], last["cumulative"], last["remaining"]) == (1, "mass", 2000, 0)
    ioc = desk.new(1, 2, Side.BUY, 77_000, 5000, time_in_force=TimeInForce.IOC)
    told = lines([ioc, desk.row(MessageKind.CANCEL_ALL, 1, **mass)])
    assert [row["event"] for row in told] == ["ack", "cancelled", "accepted"]
    told = lines([desk.transfer(1, 1, 10**9), desk.transfer(1, 0, 10**9)])
    assert [row["event"] for row in told] == ["accepted", "refused"]
    assert (told[0]["to_account"], told[0]["to_generation"]) == (3, (1 << 24) + 1)
    appoint, forced = desk.appoint(1, b"a" * 20), (owner(1), 1, 1 << 24, 0, b"b" * 20)
    requests = [Request(n, RequestKind.APPOINT, *forced, expiry, 7) for n, expiry in ((1, 2**40), (2, 1))]
    told = lines([desk.cancel(1, 99)], authorisations=[appoint], requests=requests)
    said = [(row["kind"], row["event"], row.get("request"), row.get("reason")) for row in told]
    assert said == [
        ("appoint", "accepted", None, None),
        ("appoint", "accepted", 1, None),
        ("appoint", "refused", 2, "expired"),
        ("cancel", "refused", None, "client_id_unknown"),
    ]
    assert told[1]["owner"] == "0x" + "01" * 20 and told[1]["account"] == 1
