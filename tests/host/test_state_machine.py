"""Machine and golden engine, slot by slot."""

from dataclasses import replace

import numpy as np
import pytest
from hawse.commit import exits, merkle
from hawse.commit.header import BatchHeader
from hawse.commit.withdrawals import NODE as WITHDRAWAL_NODE
from hawse.engine import Band, Engine, GoldenBackend
from hawse.keys.messages import USER_COMMAND, Request
from hawse.state.config import Instrument, VenueConfig
from hawse.state.machine import Machine, SnapshotError, StateError
from hawse.state.slot import Deposit, Refusal, SlotInput
from hawse.wire import Geometry, Opcode, SelfTrade, Side, TimeInForce
from hawse.wire.dtypes import EVENT
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_keccak import keccak256

PERP = Instrument(0, "perp", 1, 100, 50_000, 200, 500, base=1000, first_mark=1500)
ODD = Instrument(1, "odd", 3, 7, 100_000, 0, 333, base=-100, first_mark=40)
CONFIG = VenueConfig((PERP, ODD), Geometry(2, 1024, 64, 4), 1, bytes(range(20)), insurance_ppm=250_000)
RICH = 10**9


def owner(account):
    return bytes([account]) * 20


class Desk:
    """A machine, an engine, and the nonces of its users."""

    def __init__(self, accounts=4, amount=RICH, config=CONFIG):
        self.machine = Machine(config)
        self.engine = Engine(GoldenBackend(config.geometry))
        self.engine.reset(1)
        for i in config.instruments:
            self.engine.open(i.number, i.base)
        self.nonces = {}
        self.time = 1000
        if accounts:
            self.slot(deposits=[(owner(a), amount) for a in range(1, accounts + 1)])

    def row(self, request, account, **fields):
        self.nonces[account] = self.nonces.get(account, 0) + 1
        row = np.zeros(1, USER_COMMAND)
        row["request"], row["account"], row["nonce"] = request, account, self.nonces[account]
        for name, value in fields.items():
            row[name] = value
        return row

    def new(self, account, order_id, side, price, quantity, **fields):
        fields = {"side": side, "price": price, "quantity": quantity, "order_id": order_id} | fields
        return self.row(Request.NEW, account, **fields)

    def open(self, rows=(), *, deposits=(), marks=(), closes=None, signed=None):
        commands = np.concatenate(rows) if rows else np.zeros(0, USER_COMMAND)
        first = self.machine.deposit_index + 1
        self.time += 1
        slot = SlotInput(
            self.machine.next_slot,
            self.time,
            tuple(marks),
            tuple(Deposit(first + i, *d) for i, d in enumerate(deposits)),
            commands,
            closes,
        )
        return self.machine.open_slot(slot, [True] * len(commands) if signed is None else signed)

    def slot(self, rows=(), **inputs):
        """One whole slot; returns what was refused, as reasons in the order of the commands."""
        admission = self.open(rows, **inputs)
        burst = self.engine.run(admission.orders)
        assert not burst.refused
        self.machine.clear_slot(burst.events)
        return [reason for _, reason in admission.refusals]

    def account(self, index):
        return self.machine.accounts[index - 1]


@pytest.fixture
def desk():
    return Desk()


# What a slot lets through


def test_a_trade_moves_positions_fees_and_reservations(desk):
    assert desk.slot([desk.new(1, 10, Side.BUY, 1500, 700), desk.new(2, 11, Side.SELL, 1490, 300)]) == []
    buyer, seller = desk.account(1), desk.account(2)
    assert (buyer.positions[0].size, buyer.positions[0].entry) == (300, 300 * 1500)
    assert (seller.positions[0].size, seller.positions[0].entry) == (-300, -300 * 1500)
    # 300 × 1500 tick·lots are 4500 quanta: 200 ppm are 0.9, 500 ppm are 2.25, each rounded up.
    assert (buyer.collateral, seller.collateral) == (RICH - 1, RICH - 3)
    assert (desk.machine.fees, desk.machine.insurance) == (3, 1)
    # 400 lots rest: 6000 quanta, 5 % margin and 500 ppm of fee.
    assert buyer.reserved == desk.machine.orders[10].reserved == -(-(525 + 6) * 400 // 700)
    assert desk.machine.orders[10].remaining == 400 and 11 not in desk.machine.orders
    assert desk.machine.sum_of_balances() == 4 * RICH


def test_every_command_takes_a_sequence_number_and_the_fence_ends_the_slot(desk):
    bad = desk.new(9, 1, Side.BUY, 1500, 1)
    admission = desk.open([desk.new(1, 2, Side.BUY, 1500, 1), bad, desk.new(1, 3, Side.BUY, 1500, 1)])
    assert admission.refusals == ((2, Refusal.ACCOUNT),)
    assert admission.orders["seq"].tolist() == [1, 3, 3]
    assert admission.orders["opcode"].tolist() == [Opcode.NEW, Opcode.NEW, Opcode.FENCE]
    assert admission.orders["tag"][-1] == 1 and desk.machine.last_seq == 3


def test_realised_loss_and_profit_are_rounded_down_and_leave_dust():
    desk = Desk()
    desk.slot([desk.new(1, 1, Side.BUY, 41, 3, instrument=1), desk.new(2, 2, Side.SELL, 41, 3, instrument=1)])
    desk.slot([desk.new(1, 3, Side.SELL, 40, 2, instrument=1), desk.new(2, 4, Side.BUY, 40, 2, instrument=1)])
    # ±2 tick·lots at 3/7 quanta are ±6/7, rounded down to -1 and 0; account 2 pays a fee of 1 twice.
    assert desk.account(1).collateral == RICH - 1
    assert desk.account(2).collateral == RICH - 2 + 0
    assert desk.account(1).positions[1].entry == 41 and desk.account(1).positions[1].size == 1
    assert desk.machine.sum_of_balances() == 4 * RICH
    assert int(desk.machine.sum_of_balances() - desk.machine.fees - desk.machine.insurance) == 4 * RICH - 2


def test_the_entry_value_that_a_part_takes_with_it_is_rounded_up(desk):
    for order, (price, quantity) in enumerate([(40, 1), (41, 2)], 1):
        bid = desk.new(1, order, Side.BUY, price, quantity, instrument=1)
        desk.slot([bid, desk.new(2, 10 + order, Side.SELL, price, quantity, instrument=1)])
    desk.slot([desk.new(2, 5, Side.BUY, 41, 1, instrument=1), desk.new(1, 6, Side.SELL, 41, 1, instrument=1)])
    assert (desk.account(1).positions[1].size, desk.account(1).positions[1].entry) == (2, 122 - 41)
    assert (desk.account(2).positions[1].size, desk.account(2).positions[1].entry) == (-2, -122 + 40)
    assert desk.machine.sum_of_balances() == 4 * RICH


def test_a_post_only_order_that_is_replaced_may_trade(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1490, 5, time_in_force=TimeInForce.POST_ONLY)])
    desk.slot([desk.new(2, 2, Side.SELL, 1500, 3)])
    assert desk.slot([desk.row(Request.REPLACE, 1, order_id=1, price=1500, quantity=5)]) == []
    assert desk.account(1).positions[0].size == 3 and desk.machine.orders[1].remaining == 2


def test_a_position_that_turns_over_is_entered_at_the_trade_price(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 100), desk.new(2, 2, Side.SELL, 1500, 100)])
    desk.slot([desk.new(2, 3, Side.BUY, 1600, 250), desk.new(1, 4, Side.SELL, 1600, 250)])
    assert (desk.account(1).positions[0].size, desk.account(1).positions[0].entry) == (-150, -150 * 1600)
    assert (desk.account(2).positions[0].size, desk.account(2).positions[0].entry) == (150, 150 * 1600)
    # 100 lots × 100 ticks at 1/100: 100 quanta; fees of 1500 and 4000 quanta of notional.
    assert desk.account(1).collateral == RICH + 100 - 1 - 2
    assert desk.account(2).collateral == RICH - 100 - 1 - 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"request": 0}, Refusal.REQUEST),
        ({"request": 6}, Refusal.REQUEST),
        ({"order_id": 0}, Refusal.REQUEST),
        ({"side": 2}, Refusal.REQUEST),
        ({"time_in_force": 4}, Refusal.REQUEST),
        ({"self_trade": 3}, Refusal.REQUEST),
        ({"amount": 1}, Refusal.REQUEST),
        ({"zero2": 1}, Refusal.REQUEST),
        ({"request": Request.WITHDRAW}, Refusal.REQUEST),
        ({"account": 0}, Refusal.ACCOUNT),
        ({"account": 5}, Refusal.ACCOUNT),
        ({"nonce": 0}, Refusal.NONCE),
        ({"expiry": 1001}, Refusal.EXPIRED),
        ({"instrument": 2}, Refusal.INSTRUMENT),
        ({"instrument": 1, "price": 2**31 - 1, "quantity": 2**32 - 1}, Refusal.MARGIN),
        ({"quantity": 2**32 - 1}, Refusal.MARGIN),
        ({"order_id": 77}, Refusal.DUPLICATE_ORDER),
    ],
)
def test_a_new_is_refused(desk, fields, reason):
    desk.slot([desk.new(2, 77, Side.BUY, 1400, 1)])
    row = desk.new(1, 5, Side.BUY, 1500, 1)
    for name, value in fields.items():
        row[name] = value
    root = desk.machine.state_root()
    assert desk.slot([row]) == [reason]
    assert 5 not in desk.machine.orders and desk.machine.state_root() != root
    assert desk.account(1).reserved == 0


def test_expiry_is_the_last_good_millisecond(desk):
    at = desk.time + 1
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 1, expiry=at)]) == []
    assert desk.slot([desk.new(1, 2, Side.BUY, 1500, 1, expiry=at)]) == [Refusal.EXPIRED]


def test_an_overflowing_notional_is_refused():
    huge = replace(PERP, numerator=2**32 - 1, denominator=1)
    desk = Desk(config=replace(CONFIG, instruments=(huge,)))
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 2**32 - 1)]) == [Refusal.OVERFLOW]


def test_a_wrong_signature_leaves_the_nonce_and_later_refusals_use_it_up(desk):
    row = desk.new(1, 1, Side.BUY, 1500, 1)
    assert desk.slot([row], signed=[False]) == [Refusal.SIGNATURE]
    assert desk.account(1).nonce == 0
    row["quantity"] = 2**32 - 1
    assert desk.slot([row]) == [Refusal.MARGIN]
    assert desk.account(1).nonce == 1
    row["quantity"] = 1
    assert desk.slot([row]) == [Refusal.NONCE]


def test_a_zero_quantity_is_the_engine_s_to_reject(desk):
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 0)]) == []
    assert not desk.machine.orders and len(desk.machine._ledger.handles) == CONFIG.geometry.orders


def test_orders_of_others_are_not_touched(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 5)])
    rows = [
        desk.row(Request.CANCEL, 2, order_id=1),
        desk.row(Request.REDUCE, 2, order_id=1, quantity=1),
        desk.row(Request.REPLACE, 2, order_id=1, quantity=1, price=1500),
    ]
    assert desk.slot(rows) == [Refusal.NOT_OWNER] * 3
    assert desk.machine.orders[1].remaining == 5


def test_unknown_orders_go_to_the_engine(desk):
    rows = [
        desk.row(Request.CANCEL, 2, order_id=8),
        desk.row(Request.REDUCE, 2, order_id=8, quantity=1),
        desk.row(Request.REPLACE, 2, order_id=8, quantity=1, price=1500),
    ]
    assert desk.slot(rows) == []
    assert len(desk.open(rows).orders) == 1  # the nonces are used up


def test_an_order_id_is_taken_until_the_slot_in_which_its_order_ended_is_over(desk):
    new = [desk.new(1, 1, Side.BUY, 1500, 5, time_in_force=TimeInForce.IOC) for _ in range(2)]
    assert desk.slot(new) == [Refusal.DUPLICATE_ORDER]
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 5)]) == []
    again = [desk.row(Request.CANCEL, 1, order_id=1), desk.new(1, 1, Side.BUY, 1500, 5)]
    assert desk.slot(again) == [Refusal.DUPLICATE_ORDER]
    assert desk.slot([desk.new(2, 1, Side.BUY, 1500, 5)]) == []


def test_a_full_store_refuses_until_the_slot_after_a_cancel(desk):
    assert desk.slot([desk.new(1, i, Side.BUY, 1400, 1) for i in range(1, 65)]) == []
    assert desk.slot([desk.new(1, 65, Side.BUY, 1400, 1)]) == [Refusal.STORE_FULL]
    rows = [desk.row(Request.CANCEL, 1, order_id=30), desk.new(1, 66, Side.BUY, 1400, 1)]
    assert desk.slot(rows) == [Refusal.STORE_FULL]
    assert desk.slot([desk.new(1, 67, Side.BUY, 1400, 1)]) == []
    assert desk.machine.orders[67].handle == 29


# Margin


def test_reservations_grow_within_the_slot_and_are_released_after_it():
    desk = Desk(amount=1000)
    # 10,000 lots at 1500 are 150,000 quanta: 7500 of margin and 75 of fee; 1000 lots hold 758.
    hold, release = desk.new(1, 1, Side.BUY, 1500, 1000), desk.row(Request.CANCEL, 1, order_id=1)
    assert desk.slot([hold, release, desk.new(1, 2, Side.BUY, 1500, 1000)]) == [Refusal.MARGIN]
    assert desk.slot([desk.new(1, 3, Side.BUY, 1500, 1000)]) == []
    assert desk.account(1).reserved == 758


def test_replace_reserves_the_larger_of_old_and_new():
    desk = Desk(amount=1600)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000)])
    rows = [
        desk.row(Request.REPLACE, 1, order_id=1, price=1500, quantity=2000),
        desk.row(Request.REPLACE, 1, order_id=1, price=1500, quantity=100),
        desk.new(1, 2, Side.BUY, 1500, 1000),
    ]
    assert desk.slot(rows) == [Refusal.MARGIN]
    assert desk.account(1).reserved == 76 and desk.machine.orders[1].remaining == 100
    assert desk.slot([desk.row(Request.REPLACE, 1, order_id=1, price=1500, quantity=3000)]) == [
        Refusal.MARGIN
    ]
    assert desk.slot([desk.new(1, 3, Side.BUY, 1500, 1000)]) == []


def test_several_replaces_of_one_order_hold_their_largest():
    desk = Desk(amount=1600)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000)])
    replaces = [desk.row(Request.REPLACE, 1, order_id=1, price=1500, quantity=q) for q in (2000, 2000, 1500)]
    assert desk.slot([*replaces, desk.new(1, 2, Side.BUY, 1500, 500)]) == [Refusal.MARGIN]
    assert desk.account(1).reserved == 1137 and 2 not in desk.machine.orders


def test_a_partly_filled_maker_has_no_stale_reservation():
    desk = Desk(amount=800)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000)])
    desk.slot([desk.new(2, 2, Side.SELL, 1500, 900)])
    # 900 lots held are 675 of margin, 100 that rest 76, the fee was 3: too little is left for 900 lots more.
    assert desk.account(1).reserved == 76
    assert desk.slot([desk.row(Request.REPLACE, 1, order_id=1, price=1500, quantity=1000)]) == [
        Refusal.MARGIN
    ]


def test_reduce_and_cancel_need_no_margin():
    desk = Desk(amount=1000)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 500), desk.new(1, 2, Side.BUY, 1480, 500)])
    desk.slot([desk.new(2, 3, Side.SELL, 1500, 500)])
    desk.slot(marks=[(0, 1100)])
    assert desk.machine.free_collateral(desk.account(1)) < 0
    assert desk.slot([desk.new(1, 9, Side.BUY, 1480, 1)]) == [Refusal.MARGIN]
    assert desk.slot([desk.row(Request.REDUCE, 1, order_id=2, quantity=10)]) == []
    assert desk.slot([desk.row(Request.CANCEL, 1, order_id=2)]) == []
    assert desk.account(1).reserved == 0 and not desk.machine.orders


def test_nobody_sells_himself_into_a_shortfall_far_from_the_mark():
    desk = Desk(amount=10_000)
    # Margin on 10,000 lots at the mark would be 7500; the loss against it would be 50,000.
    assert desk.slot([desk.new(1, 1, Side.SELL, 1000, 10_000)]) == [Refusal.MARGIN]
    assert desk.slot([desk.new(1, 2, Side.BUY, 2000, 10_000)]) == [Refusal.MARGIN]
    assert desk.slot([desk.new(1, 3, Side.SELL, 1500, 10_000)]) == []


# Money in and out


def test_withdrawals_are_debited_at_once_and_limited_by_collateral():
    desk = Desk(amount=10_000)
    take = [desk.row(Request.WITHDRAW, 3, amount=6_000) for _ in range(2)]
    assert desk.slot(take) == [Refusal.BALANCE]
    assert desk.account(3).collateral == 4_000
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000), desk.new(2, 2, Side.SELL, 1500, 1000)])
    desk.slot(marks=[(0, 2000)])
    assert desk.machine.free_collateral(desk.account(1)) > desk.account(1).collateral
    more = desk.account(1).collateral + 1
    assert desk.machine.withdrawable(desk.account(1)) == more - 1
    assert desk.slot([desk.row(Request.WITHDRAW, 1, amount=more)]) == [Refusal.BALANCE]
    assert desk.slot([desk.row(Request.WITHDRAW, 1, amount=2**64 - 1)]) == [Refusal.OVERFLOW]
    assert desk.slot([desk.row(Request.WITHDRAW, 1, amount=more - 1)]) == []
    assert desk.account(1).collateral == 0
    assert desk.machine.sum_of_balances() == 40_000 - 6_000 - (more - 1)


def test_money_reserved_in_the_slot_is_not_withdrawn():
    desk = Desk(amount=1000)
    rows = [desk.new(1, 1, Side.BUY, 1500, 1000), desk.row(Request.WITHDRAW, 1, amount=243)]
    assert desk.slot(rows) == [Refusal.BALANCE]
    parts = [desk.row(Request.WITHDRAW, 1, amount=amount) for amount in (200, 43, 42)]
    assert desk.slot(parts) == [Refusal.BALANCE]
    assert desk.machine.free_collateral(desk.account(1)) == 0


def test_a_deposit_opens_one_account_for_its_owner(desk):
    desk.slot(deposits=[(owner(2), 5), (owner(9), 6), (owner(9), 1)])
    assert desk.account(2).collateral == RICH + 5
    assert desk.machine.account_of(owner(9)) is desk.account(5) and desk.account(5).collateral == 7
    assert (
        desk.machine.owner(5) == owner(9) and desk.machine.owner(6) is None and desk.machine.owner(0) is None
    )


def test_a_deposit_that_no_account_can_take_is_paid_back():
    desk = Desk(accounts=15, amount=2**63 - 1)
    desk.slot(deposits=[(owner(99), 7), (owner(1), 8)], closes=1)
    batch = desk.machine.seal_batch()
    assert [(w.id, w.owner, w.amount) for w in batch.withdrawals] == [(1, owner(99), 7), (2, owner(1), 8)]
    assert len(desk.machine.accounts) == 15
    assert desk.machine.sum_of_balances() == 15 * (2**63 - 1)


def test_the_deposit_accumulator_chains_every_deposit(desk):
    expected = bytes(32)
    for index in range(1, 5):
        body = index.to_bytes(8, "big") + owner(index) + RICH.to_bytes(32, "big")
        expected = keccak256(b"\x40" + expected + body)
    assert desk.machine.deposit_accumulator == expected


# What no sequencer may send


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"number": 0}, "number"),
        ({"number": 2}, "number"),
        ({"time": 1000}, "time"),
        ({"time": 2**64}, "time"),
        ({"marks": ((2, 5),)}, "marks"),
        ({"marks": ((0, 2**31),)}, "marks"),
        ({"closes": 2}, "closes"),
        ({"deposits": (Deposit(4, owner(4), 1),)}, "deposits"),
        ({"deposits": (Deposit(6, owner(4), 1),)}, "deposits"),
        ({"deposits": (Deposit(5, owner(4), 1), Deposit(5, owner(4), 1))}, "deposits"),
        ({"deposits": (Deposit(5, owner(4), 0),)}, "deposits"),
        ({"deposits": (Deposit(5, b"short", 1),)}, "deposits"),
        ({"commands": np.zeros(1, USER_COMMAND)}, "signature_ok"),
        ({"commands": np.zeros(0, EVENT)}, "commands"),
    ],
)
def test_an_input_that_does_not_follow_on_changes_nothing(desk, change, what):
    before = desk.machine.snapshot()
    good = SlotInput(1, 2000, (), (), np.zeros(0, USER_COMMAND))
    with pytest.raises(StateError, match=what):
        desk.machine.open_slot(replace(good, **change), [])
    assert desk.machine.snapshot() == before
    desk.machine.open_slot(good, [])


def test_calls_out_of_turn_are_errors(desk):
    nothing = np.zeros(0, EVENT)
    with pytest.raises(StateError, match="between two slots"):
        desk.machine.clear_slot(nothing)
    with pytest.raises(StateError, match="between two slots"):
        desk.machine.seal_batch()
    desk.open()
    for call in (desk.open, desk.machine.state_root, desk.machine.snapshot, desk.machine.resting_orders):
        with pytest.raises(StateError, match="within a slot"):
            call()
    with pytest.raises(StateError, match="events"):
        desk.machine.clear_slot(np.zeros(0, USER_COMMAND))
    desk.machine.clear_slot(nothing)
    desk.slot(closes=1)
    with pytest.raises(StateError, match="not sealed"):
        desk.open()
    desk.machine.seal_batch()
    desk.slot()


# Batches


def test_a_sealed_batch_proves_exits_withdrawals_and_refusals(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 900), desk.new(2, 2, Side.SELL, 1500, 900)])
    desk.slot([desk.row(Request.WITHDRAW, a, amount=100 * a) for a in (3, 1, 4)], marks=[(0, 1450)])
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 2**32 - 1)], closes=1)
    root = desk.machine.state_root()
    batch = desk.machine.seal_batch()
    rest = {"log_root": bytes(32), "log_leaves": 0, "log_records": 0, "journal_hash": bytes(32)}
    span = {"number": batch.number, "previous_state_root": bytes(32), "journal_first": 0, "journal_last": 3}
    header = BatchHeader(**rest, **span, **batch.header_fields())
    assert header.state_root == root == desk.machine.state_root()
    assert header.withdrawals_sum == 800 and header.deposit_index == 4
    for withdrawal, (bits, siblings) in zip(batch.withdrawals, batch.withdrawal_proofs(), strict=True):
        assert merkle.verify(withdrawal.leaf(), bits, siblings, header.withdrawals_root, WITHDRAWAL_NODE)
    for account in range(1, 5):
        leaf, bits, siblings = batch.exit_proof(account)
        assert leaf.payout == desk.machine.equity(desk.account(account))
        assert exits.verify(leaf, bits, siblings, (header.exit_root, header.exit_sum))
    refused = keccak256(b"\x80" + (6).to_bytes(8, "big") + bytes([Refusal.MARGIN]))
    assert header.outcomes_root == refused
    held = 4 * RICH - header.withdrawals_sum
    assert held - 4 <= header.exit_sum + header.insurance + header.fees + header.dust <= held
    desk.slot(closes=2)
    empty = desk.machine.seal_batch()
    assert empty.number == 2 and empty.withdrawals == () and empty.refusals == ()


def test_a_shortfall_cuts_the_exits():
    desk = Desk(accounts=2, amount=1000)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1200), desk.new(2, 2, Side.SELL, 1500, 1200)])
    desk.slot(marks=[(0, 1400)], closes=1)
    header = desk.machine.seal_batch().header_fields()
    # Fees 9 + 4, of which a quarter goes to insurance: 3. Account 1 has 996 - 1200, account 2 has 991 + 1200.
    assert (header["exit_numerator"], header["exit_denominator"]) == (2191 - (204 - 3), 2191)
    assert header["exit_sum"] == 2191 - 201 and header["insurance"] == 0
    assert header["exit_sum"] + header["fees"] + header["dust"] == 2000


# Snapshots and loading


def test_a_snapshot_within_a_batch_goes_on_as_the_machine_would(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 900), desk.new(2, 2, Side.SELL, 1500, 400)])
    desk.slot([desk.row(Request.WITHDRAW, 3, amount=9), desk.new(3, 1, Side.BUY, 1500, 1)])
    desk.slot([desk.new(4, 5, Side.SELL, 1600, 7, self_trade=SelfTrade.CANCEL_BOTH)], marks=[(1, -3)])
    data = desk.machine.snapshot()
    other = Machine.restore(CONFIG, data)
    assert other.snapshot() == data and other.state_root() == desk.machine.state_root()
    assert (other.resting_orders() == desk.machine.resting_orders()).all()
    last = [desk.new(2, 8, Side.SELL, 1500, 600), desk.row(Request.WITHDRAW, 1, amount=5)]
    admission = desk.open(last, closes=1)
    events = desk.engine.run(admission.orders).events
    slot = SlotInput(other.next_slot, desk.time, (), (), np.concatenate(last), 1)
    assert (other.open_slot(slot, [True, True]).orders == admission.orders).all()
    for machine in (desk.machine, other):
        machine.clear_slot(events)
    assert Machine.restore(CONFIG, other.snapshot()).seal_batch() == desk.machine.seal_batch()


def test_a_restored_book_is_the_engine_s(desk):
    rows = [desk.new(1, i, Side.BUY, 1400 + i % 3, 5 + i, instrument=i % 2 * 0) for i in range(1, 12)]
    rows += [desk.new(2, 20 + i, Side.SELL, 1500 - i % 2, 5 + i, self_trade=i % 3) for i in range(12)]
    rows += [desk.new(3, 40, Side.SELL, 1402, 11), desk.new(3, 41, Side.BUY, 60, 3, instrument=1)]
    assert desk.slot(rows) == []
    desk.slot([desk.row(Request.REPLACE, 1, order_id=3, price=1401, quantity=4)])
    fresh = Engine(GoldenBackend(CONFIG.geometry))
    fresh.reset(2)
    loads = desk.machine.resting_orders()
    fresh.load(loads, [Band(i.number, i.base) for i in CONFIG.instruments])
    for instrument in (0, 1):
        assert (fresh.dump(instrument) == desk.engine.dump(instrument)).all()
        ours = loads[loads["instrument"] == instrument]
        theirs = desk.engine.dump(instrument)
        for name in ("handle", "account", "price", "quantity", "flags"):
            assert ours[name].tolist() == theirs[name].tolist()


def test_what_is_no_snapshot_is_refused(desk):
    data = desk.machine.snapshot()
    for bad in (b"", data[:40], data[:-1], data[:-1] + b"x", b"hawse state 2\n" + data[14:]):
        with pytest.raises(SnapshotError):
            Machine.restore(CONFIG, bad)
    with pytest.raises(SnapshotError, match="rules"):
        Machine.restore(replace(CONFIG, insurance_ppm=0), data)
    body = data[110:].replace(str(RICH).encode(), str(RICH + 1).encode(), 1)
    with pytest.raises(SnapshotError, match="state root"):
        Machine.restore(CONFIG, data[:14] + keccak256(body) + data[46:110] + body)
    with pytest.raises(SnapshotError, match="body"):
        Machine.restore(CONFIG, data[:14] + keccak256(b"[1]") + data[46:110] + b"[1]")


# The state root, from the page that defines it


def naive_tree(leaves, tag, height=32, at=0):
    if height == 0:
        return leaves.get(at, bytes(32))
    if not any(i >> height == at for i in leaves):
        node = bytes(32)
        for _ in range(height):
            node = keccak256(tag + node + node)
        return node
    left, right = (naive_tree(leaves, tag, height - 1, 2 * at + k) for k in (0, 1))
    return keccak256(tag + left + right)


def be(value, size):
    return value.to_bytes(size, "big", signed=value < 0)


def naive_root(machine):
    accounts, resting = {}, {}
    for a in machine.accounts:
        leaf = b"\x10\x01" + be(a.index, 4) + a.owner + be(a.nonce, 8) + be(a.collateral, 16) + b"\0"
        leaf += be(len(a.positions), 2)
        for n, p in sorted(a.positions.items()):
            leaf += be(n, 2) + be(p.size, 8) + be(p.entry, 16) + bytes(16)
        accounts[a.index] = keccak256(leaf)
    for o in sorted(machine.orders.values(), key=lambda o: o.id):
        text = be(o.id, 8) + be(o.handle, 4) + be(o.instrument, 2) + be(o.side | o.self_trade << 3, 1)
        text += be(o.price, 4) + be(o.remaining, 4) + be(o.queue, 8) + be(o.reserved, 8)
        resting.setdefault(o.account.index, []).append(text)
    resting = {
        i: keccak256(b"\x50\x01" + be(i, 4) + be(len(texts), 4) + b"".join(texts))
        for i, texts in resting.items()
    }
    m = machine
    venue = b"\x60\x01" + m.config.rules_hash()
    counters = (m.next_slot, m.time, m.last_seq, m.batch, m._next_withdrawal, m.deposit_index)
    venue += b"".join(be(v, 8) for v in counters) + m.deposit_accumulator
    venue += b"".join(be(v, 32) for v in (m.deposited, m.withdrawn, m.fees, m.insurance))
    venue += be(len(m.config.instruments), 2)
    for i in m.config.instruments:
        venue += be(i.number, 2) + be(m.marks[i.number], 4) + bytes(16) + be(m._ledger.dust[i.number], 16)
    roots = naive_tree(accounts, b"\x11") + naive_tree(resting, b"\x51")
    return keccak256(b"\x70" + roots + keccak256(venue))


# Whatever users do

ACTIONS = st.tuples(
    st.sampled_from([Request.NEW] * 5 + list(Request)),
    st.integers(1, 5),  # account, the last of which does not exist
    st.integers(1, 24),  # order id
    st.integers(0, 1),  # side
    st.sampled_from(TimeInForce),
    st.sampled_from(SelfTrade),
    st.integers(0, 1),  # instrument
    st.integers(-4, 4),  # price, from the mark
    st.sampled_from([0, 1, 2, 3, 7, 500, 100_000]),  # quantity
    st.integers(1, 40_000),  # amount
)
SLOTS = st.lists(
    st.tuples(st.lists(ACTIONS, max_size=14), st.integers(-3, 3), st.integers(0, 5)), min_size=1, max_size=8
)


def row_of(desk, action):
    request, account, order_id, side, tif, stp, instrument, offset, quantity, amount = action
    price = desk.machine.marks[instrument] + offset
    match request:
        case Request.NEW:
            extra = {"time_in_force": tif, "self_trade": stp, "instrument": instrument}
            return desk.new(account, order_id, side, price, quantity, **extra)
        case Request.CANCEL:
            return desk.row(request, account, order_id=order_id)
        case Request.REPLACE:
            return desk.row(request, account, order_id=order_id, price=price, quantity=quantity)
        case Request.REDUCE:
            return desk.row(request, account, order_id=order_id, quantity=quantity)
        case Request.WITHDRAW:
            return desk.row(request, account, amount=amount)


def check(desk):
    machine = desk.machine
    assert machine.sum_of_balances() == machine.deposited - machine.withdrawn
    for n in (0, 1):
        assert sum(a.positions[n].size for a in machine.accounts if n in a.positions) == 0
    for a in machine.accounts:
        mine = [o for o in machine.orders.values() if o.account is a]
        assert a.reserved == sum(o.reserved for o in mine) and set(a.orders) == {o.id for o in mine}
        assert all(o.resting and o.remaining > 0 and o.peak == o.reserved >= 0 for o in mine)
        assert all(p.size for p in a.positions.values())
    taken = [o.handle for o in machine.orders.values()]
    assert sorted(taken + machine._ledger.handles) == list(range(machine.config.geometry.orders))
    loads = machine.resting_orders()
    for n in (0, 1):
        ours, theirs = loads[loads["instrument"] == n], desk.engine.dump(n)
        for name in ("handle", "account", "price", "quantity", "flags"):
            assert ours[name].tolist() == theirs[name].tolist()


@settings(max_examples=80, deadline=None)
@given(SLOTS)
def test_money_is_conserved_and_the_state_is_the_engine_s(slots):
    desk = Desk(amount=60_000)
    for number, (actions, drift, deposit) in enumerate(slots):
        before = {a.index: desk.machine.free_collateral(a) for a in desk.machine.accounts}
        marks = [(n, desk.machine.marks[n] + drift) for n in (0, 1)]
        deposits = [(owner(deposit), 50_000)] if deposit else []
        closes = desk.machine.batch if number % 3 == 2 else None
        rows = [row_of(desk, action) for action in actions]
        desk.slot(rows, marks=marks if number % 2 else [], deposits=deposits, closes=closes)
        check(desk)
        if number % 2 == 0:
            for a in desk.machine.accounts:
                # Each fill rounds its fee and its profit against the user by less than a quantum.
                assert desk.machine.free_collateral(a) >= min(0, before.get(a.index, 0)) - 4 * 14 * 24
        assert desk.machine.state_root() == naive_root(desk.machine)
        again = Machine.restore(CONFIG, desk.machine.snapshot())
        assert again.snapshot() == desk.machine.snapshot()
        if closes:
            header = desk.machine.seal_batch().header_fields()
            parts = header["exit_sum"] + header["insurance"] + header["fees"] + header["dust"]
            assert parts <= desk.machine.deposited - desk.machine.withdrawn
