"""Leaves, slot digests and roots, held against the pages that define them and against the codecs."""

import random
from dataclasses import replace

import pytest
from hawse.commit import trees
from hawse.commit.inputs import InputLeaf, OutcomeLeaf, operation_body
from hawse.commit.leaves import AccountLeaf, ControlLeaf, InstrumentLeaf, OrderLeaf, Position, Signer
from hawse.keys.eip712 import struct_hashes
from hawse.keys.messages import MessageKind
from hawse.state.commitments import account_leaf, control_leaf, instrument_leaf, order_leaf
from hawse.state.hashing import hash_many, tree_root
from hawse.state.inputs import MARK
from hawse.state.machine import Machine
from hawse.state.slot import InputClass, OperationKind
from hawse.wire import NULL_HANDLE, InstrumentState, Reason, SelfTrade, Side, TimeInForce
from support.desk import CONFIG, OPERATOR, PERP, Desk, owner
from support.naive import leaves_of, naive_digest, naive_root
from tiny_keccak import keccak256


@pytest.fixture
def desk():
    desk = Desk()
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 900), desk.new(2, 2, Side.SELL, 1500, 400)])
    desk.slot(
        [
            desk.new(3, 5, Side.SELL, 1502, 7, mode=SelfTrade.CANCEL_BOTH),
            desk.new(3, 6, Side.BUY, -90, 7, instrument=1),
            desk.new(4, 2**64 - 1, Side.BUY, 1499, 10**6),
        ],
        marks=[(1, -3)],
    )
    return desk


def test_leaves_are_those_of_the_codecs(desk):
    machine, expected = desk.machine, leaves_of(desk.machine)
    for a in machine.accounts:
        data, n = account_leaf(a), a.index
        assert data == expected[0x10, n]
        positions = tuple(Position(i, p.size, p.entry) for i, p in sorted(a.positions.items()))
        assert AccountLeaf.decode(data) == AccountLeaf(
            n, a.owner, 0, a.generation, 0, a.collateral, 0, 0xFFFF, 0, positions
        )
        control = control_leaf(a)
        assert control == expected[0x12, n]
        signers = (Signer(a.owner, 0, 0, 0, 0, tuple(a.nonces.used)),) if n else ()
        assert ControlLeaf.decode(control) == ControlLeaf(n, 0, 0, 0, signers)
    assert len(machine.orders) == 4
    for o in machine.orders.values():
        data = order_leaf(o)
        assert data == expected[0x50, o.handle] and o.leaf == keccak256(data)
        assert OrderLeaf.decode(data) == OrderLeaf(
            o.instrument,
            o.side,
            o.price,
            o.queue,
            o.handle,
            o.account.index,
            o.client_id,
            o.remaining,
            o.self_trade,
        )
    for n, m in machine.markets.items():
        assert instrument_leaf(m) == keccak256(expected[0x62, n])
        leaf = InstrumentLeaf.decode(expected[0x62, n])
        assert (leaf.state, leaf.mark, leaf.mark_time) == (InstrumentState.OPEN, m.mark, m.mark_time)
        assert (leaf.open_interest, leaf.dust) == (m.open_interest, (m.dust, m.funding_dust))
    assert machine.markets[0].open_interest == 400 and machine.markets[1].mark_time == desk.time


def test_the_root_is_that_of_the_pages(desk):
    assert desk.machine.state_root() == naive_root(desk.machine)
    fresh = Machine(CONFIG)
    assert fresh.state_root() == naive_root(fresh) and fresh.digest == bytes(32)


def test_an_account_s_leaf_is_proven_by_its_index(desk):

    leaves = [keccak256(account_leaf(a)) for a in desk.machine.accounts]
    root = trees.root(leaves, trees.NodeTag.ACCOUNTS)
    for index, leaf in enumerate(leaves):
        siblings = desk.machine.account_proof(index)
        assert trees.verify(leaf, index, len(leaves), siblings, root, trees.NodeTag.ACCOUNTS)


def test_the_slot_digest_chains_exactly_the_leaves_that_changed():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    desk = Desk(amount=10**7)
    for _ in range(40):
        before, previous = leaves_of(desk.machine), desk.machine.digest
        rows = []
        for _ in range(rng.randrange(6)):
            account, client_id = rng.randrange(1, 5), rng.randrange(1, 9)
            price = 1500 + rng.randrange(-2, 3)
            kind = rng.choice([MessageKind.ORDER] * 3 + [MessageKind.CANCEL, MessageKind.REDUCE])
            if kind is MessageKind.ORDER:
                tif = rng.choice([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC])
                row = desk.new(account, client_id, rng.randrange(2), price, rng.randrange(1, 9))
                row["time_in_force"] = tif
            else:
                row = desk.row(kind, account, client_id=client_id)
                row["quantity"] = rng.randrange(1, 5) if kind is MessageKind.REDUCE else 0
            rows.append(row)
        deposits = [(owner(rng.randrange(1, 7)), 5)] if rng.random() < 0.2 else []
        marks = [(0, 1500 + rng.randrange(-1, 2))] if rng.random() < 0.3 else []
        slot = desk.machine.next_slot
        desk.slot(rows, deposits=deposits, marks=marks)
        expected, _ = naive_digest(before, desk.machine, slot, previous)
        assert desk.machine.digest == expected
        assert desk.machine.state_root() == naive_root(desk.machine)


def test_what_leaves_no_trace_is_not_in_the_digest(desk):
    """Refused before its nonce, or a mark of another time: only what is different counts."""
    machine = desk.machine
    for rows, count in (
        ([], 0),
        ([desk.new(9, 1, Side.BUY, 1500, 1)], 0),
        ([desk.new(1, 7, Side.BUY, 1400, 1, time_in_force=TimeInForce.IOC)], 1),  # the nonce
        ([desk.new(1, 8, Side.BUY, 1400, 1)], 2),  # the nonce and the order
        ([desk.row(MessageKind.WITHDRAW, 2, amount=1)], 2),  # the nonce and the account
    ):
        before, previous, slot = leaves_of(machine), machine.digest, machine.next_slot
        desk.slot(rows)
        assert naive_digest(before, machine, slot, previous) == (machine.digest, count)


def run_out(desk, admission):
    """Runs the open slot to its end; the leaf hashes of its inputs and outcomes."""
    had = len(desk.machine._inputs) - admission.inputs
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)
    return desk.machine._inputs[had:], desk.machine._outcomes[had:]


def test_every_input_has_its_leaf_and_every_leaf_its_outcome(desk):
    rows = [
        desk.new(2, 9, Side.SELL, 1500, 600, time_in_force=TimeInForce.IOC),  # fills 500 of account 1
        desk.new(2, 10, Side.SELL, 100, 1),  # outside the band
        desk.new(1, 11, Side.BUY, 1400, 5),
        desk.row(MessageKind.CANCEL, 1, client_id=99),
        desk.row(MessageKind.WITHDRAW, 3, amount=7),
        desk.row(MessageKind.REDUCE, 1, client_id=11, quantity=5),
    ]
    desk.time += 1
    slot = desk.input(rows, deposits=[(owner(2), 5)], marks=[(0, 1501)])
    signers = replace(
        desk.signers(slot), commands=[owner(2), owner(2), owner(1), owner(1), owner(3), owner(1)]
    )
    slot.commands["signature"][:, 0] = range(1, 7)
    admission = desk.machine.open_slot(slot, signers)
    first = admission.first_seq
    inputs, outcomes = run_out(desk, admission)
    body = operation_body(OperationKind.INTERIM_MARK, MARK.pack(0, 1501))
    expected = [
        InputLeaf(first, InputClass.OPERATOR, OPERATOR, 0, body, bytes(64)),
        InputLeaf(first + 1, InputClass.DEPOSIT, owner(2), 5, desk.machine.deposit_accumulator),
    ]
    for n, (signer, struct) in enumerate(zip(signers.commands, struct_hashes(slot.commands), strict=True)):
        signature = bytes([n + 1]) + bytes(63)
        expected.append(InputLeaf(first + 2 + n, InputClass.USER, signer, 0, struct, signature))
    assert inputs == [leaf.hash() for leaf in expected]
    handle = desk.order(1, 11).handle
    fee = -(-500 * 1500 * 500 // 10**8)
    told = [
        OutcomeLeaf(first, handle=NULL_HANDLE),
        OutcomeLeaf(first + 1, handle=NULL_HANDLE),
        OutcomeLeaf(first + 2, Reason.IOC, 0, 500, 600, 4, 500, -500 * 1500, fee),
        OutcomeLeaf(first + 3, Reason.PRICE, 0, 100, PERP.base, 5),
        OutcomeLeaf(first + 4, handle=handle),
        OutcomeLeaf(first + 5, Reason.CLIENT_ID_UNKNOWN, 0, 0, 1, NULL_HANDLE),
        OutcomeLeaf(first + 6, handle=NULL_HANDLE),
        OutcomeLeaf(first + 7, Reason.QUANTITY, 0, 5, 4, handle),
    ]
    for ours, leaf in zip(outcomes, told, strict=True):
        assert ours == leaf.hash(), leaf


def test_who_signed_nothing_stands_as_nobody(desk):
    row = desk.new(1, 1, Side.BUY, 1500, 1)
    admission = desk.open([row], signed=[None])
    inputs, outcomes = run_out(desk, admission)
    (struct,) = struct_hashes(row)
    assert inputs == [InputLeaf(admission.first_seq, 0, bytes(20), 0, struct, bytes(64)).hash()]
    refused = OutcomeLeaf(admission.first_seq, Reason.SIGNATURE, 0, 0, 1, NULL_HANDLE)
    assert outcomes == [refused.hash()]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 64, 100])
def test_hashing_side_by_side_gives_the_same(count):
    messages = [bytes([n]) * (n % 3 * 50 + 1) for n in range(count)]
    assert hash_many(messages) == [keccak256(m) for m in messages]
    leaves = [keccak256(m) for m in messages]
    assert tree_root(leaves, trees.NodeTag.ORDERS) == trees.root(leaves, trees.NodeTag.ORDERS)
