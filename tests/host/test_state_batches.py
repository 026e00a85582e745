"""Batches, snapshots and what is loaded into a fresh engine."""

import json
from dataclasses import replace

import pytest
from hawse.commit import exits, trees, withdrawals
from hawse.commit.header import BatchHeader
from hawse.commit.roots import assets_hash
from hawse.commit.trees import EMPTY, NodeTag
from hawse.engine import Band, Engine, GoldenBackend
from hawse.keys.messages import MessageKind
from hawse.state.machine import Machine
from hawse.state.snapshot import MAGIC, SnapshotError
from hawse.wire import SelfTrade, Side
from support.desk import CONFIG, RICH, Desk, no_mark_counts, owner
from tiny_keccak import keccak256


@pytest.fixture
def desk():
    return Desk()


# Batches


def header_of(batch, last=0):
    rest = {"log_root": bytes(32), "log_leaves": 0, "log_records": 0, "journal_hash": bytes(32)}
    rest |= {"data_hash": bytes(32), "data_provider": 0}
    span = {"previous_state_root": bytes(32), "journal_first": 0, "journal_last": last}
    header = BatchHeader(**rest, **span, **batch.header_fields())
    header.check()
    return header


def test_a_sealed_batch_proves_exits_withdrawals_inputs_and_outcomes(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 900), desk.new(2, 2, Side.SELL, 1500, 900)])
    desk.slot([desk.row(MessageKind.WITHDRAW, a, amount=100 * a) for a in (3, 1, 4)], marks=[(0, 1450)])
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 2**32 - 1)], closes=1)
    root = desk.machine.state_root()
    batch = desk.machine.seal_batch()
    header = header_of(batch, 3)
    assert header.state_root == root == desk.machine.state_root()
    assert header.withdrawals.sum == 800 and header.deposit_index == 4 and header.accounts == 5
    for withdrawal, siblings in zip(batch.withdrawals, batch.withdrawal_proofs(), strict=True):
        assert withdrawals.verify(withdrawal, header.withdrawals, siblings)
    for account in range(5):
        leaf, siblings = batch.exit_proof(account)
        assert leaf.equity == (desk.machine.equity(desk.account(account)) if account else 0)
        assert leaf.generation == account << 24
        assert exits.verify(leaf, header.accounts, siblings, header.exits)
    # 4 deposits, a mark, 6 commands.
    assert (header.inputs_first, header.inputs_count) == (1, 11)
    for seq in range(1, 12):
        for tag, leaves, proof, of in (
            (NodeTag.INPUTS, batch.inputs, batch.input_proof, header.inputs_root),
            (NodeTag.OUTCOMES, batch.outcomes, batch.outcome_proof, header.outcomes_root),
        ):
            assert trees.verify(leaves[seq - 1], seq - 1, 11, proof(seq), of, tag)
    assert header.insurance == desk.machine.insurance and header.exit_marks == 2
    assert header.assets_hash == assets_hash([(CONFIG.chain_id, CONFIG.token)])
    held = 4 * RICH - header.withdrawals_sum
    assert held - 4 <= header.owed <= held


def test_header_follows_header(desk):
    before = header_of(desk.machine.seal_batch()) if desk.slot(closes=1) == [] else None
    assert before.inputs_first == 1 and before.inputs_count == 4
    rows = [desk.row(MessageKind.WITHDRAW, 1, amount=5)]
    desk.slot(rows, deposits=[(owner(8), 9)], closes=2)
    after = header_of(desk.machine.seal_batch(), 1)
    after = replace(after, previous_state_root=before.state_root, journal_first=1, journal_last=2)
    after.check_follows(replace(before, journal_last=0))
    assert (after.inputs_first, after.inputs_count) == (5, 2)
    assert (after.withdrawals_first, after.withdrawals_count, after.accounts) == (1, 1, 6)
    desk.slot(closes=3)
    empty = desk.machine.seal_batch()
    assert empty.number == 3 and empty.withdrawals == empty.inputs == empty.outcomes == ()
    header = replace(header_of(empty), previous_state_root=after.state_root, journal_first=3, journal_last=3)
    header.check_follows(after)
    assert (header.inputs_first, header.inputs_root, header.withdrawals_first) == (7, EMPTY, 2)


@no_mark_counts()
def test_a_shortfall_stands_beside_what_is_owed():
    desk = Desk(accounts=2, amount=1000)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1200), desk.new(2, 2, Side.SELL, 1500, 1200)])
    desk.slot(marks=[(0, 1400)], closes=1)
    header = header_of(desk.machine.seal_batch())
    # Fees 9 + 4, of which a quarter goes to insurance: 3. Account 1 has 996 - 1200, account 2 has 991 + 1200.
    assert (header.exit_positive, header.exit_shortfall, header.insurance) == (2191, 204, 3)
    assert header.haircut.exits == 2191 - (204 - 3)
    assert header.owed == 2000 == header.haircut.exits + header.fees + header.dust


# Snapshots and loading


def test_a_snapshot_within_a_batch_goes_on_as_the_machine_would(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 900), desk.new(2, 2, Side.SELL, 1500, 400)])
    desk.slot([desk.row(MessageKind.WITHDRAW, 3, amount=9), desk.new(3, 1, Side.BUY, 1500, 1)])
    desk.slot([desk.new(4, 5, Side.SELL, 1600, 7, mode=SelfTrade.CANCEL_BOTH)], marks=[(1, -3)])
    data = desk.machine.snapshot()
    other = Machine.restore(CONFIG, data)
    assert other.snapshot() == data and other.state_root() == desk.machine.state_root()
    assert other.digest == desk.machine.digest
    assert (other.resting_orders() == desk.machine.resting_orders()).all()
    used = desk.row(MessageKind.WITHDRAW, 1, amount=5, nonce=1)  # the window is carried, too
    last = [desk.new(2, 8, Side.SELL, 1500, 600), desk.row(MessageKind.WITHDRAW, 1, amount=5), used]
    desk.time += 1
    slot = desk.input(last, closes=1)
    admission = desk.machine.open_slot(slot, desk.signers(slot))
    events = desk.engine.run(admission.orders).events
    theirs = other.open_slot(slot, desk.signers(slot))
    assert (theirs.orders == admission.orders).all() and theirs.refusals == admission.refusals
    digests = [machine.clear_slot(events) for machine in (desk.machine, other)]
    assert digests[0] == digests[1]
    # The batch's roots cover what came before the snapshot.
    one, two = Machine.restore(CONFIG, other.snapshot()).seal_batch(), desk.machine.seal_batch()
    assert one == two and one.header_fields() == two.header_fields()


def test_a_restored_book_is_the_engine_s(desk):
    rows = [desk.new(1, i, Side.BUY, 1400 + i % 3, 5 + i) for i in range(1, 12)]
    rows += [desk.new(2, 20 + i, Side.SELL, 1500 - i % 2, 5 + i, mode=i % 3) for i in range(12)]
    rows += [desk.new(3, 40, Side.SELL, 1402, 11), desk.new(3, 41, Side.BUY, 60, 3, instrument=1)]
    assert desk.slot(rows) == []
    desk.slot([desk.row(MessageKind.REPLACE, 1, client_id=3, price=1401, quantity=4)])
    fresh = Engine(GoldenBackend(CONFIG.geometry))
    fresh.reset(2)
    loads = desk.machine.resting_orders()
    fresh.load(loads, [Band(i.number, i.first, i.count, i.base) for i in CONFIG.instruments])
    for instrument in (0, 1):
        assert (fresh.dump(instrument) == desk.engine.dump(instrument)).all()
        ours = loads[loads["instrument"] == instrument]
        theirs = desk.engine.dump(instrument)
        for name in ("handle", "tag", "price", "quantity", "flags"):
            assert ours[name].tolist() == theirs[name].tolist()


def test_what_is_no_snapshot_is_refused(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 900)])
    data, at = desk.machine.snapshot(), len(MAGIC)
    for bad in (b"", data[:40], data[:-1], data[:-1] + b"x", b"hawse state 1\n" + data[at:]):
        with pytest.raises(SnapshotError):
            Machine.restore(CONFIG, bad)
    with pytest.raises(SnapshotError, match="rules"):
        Machine.restore(replace(CONFIG, insurance_ppm=0), data)

    def changed(body):
        return data[:at] + keccak256(body) + data[at + 32 : at + 96] + body

    text = data[at + 96 :]
    assert changed(text) == data
    with pytest.raises(SnapshotError, match="state root"):
        Machine.restore(CONFIG, changed(text.replace(str(RICH).encode(), str(RICH + 1).encode(), 1)))
    body = json.loads(text)
    for at_fault in (*range(len(body)), None):
        wrong = (
            [None if n == at_fault else part for n, part in enumerate(body)] if at_fault is not None else [1]
        )
        if at_fault == 3:  # whether it is sealing: nothing else is like None
            continue
        with pytest.raises(SnapshotError, match="body"):
            Machine.restore(CONFIG, changed(json.dumps(wrong, separators=(",", ":")).encode()))
