"""What a slot lets through, and what it does to accounts: machine and golden engine, slot by slot."""

from dataclasses import replace

import pytest
from hawse.keys.messages import MessageKind
from hawse.wire import Opcode, Reason, Side, TimeInForce
from support.desk import CONFIG, PERP, RICH, Desk, owner
from tiny_keccak import keccak256


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
    assert buyer.reserved == desk.order(1, 10).reserved == -(-(525 + 6) * 400 // 700)
    assert desk.order(1, 10).remaining == 400 and desk.order(2, 11) is None
    assert desk.machine.sum_of_balances() == 4 * RICH


def test_every_command_takes_a_sequence_number_and_the_fence_ends_the_slot(desk):
    bad = desk.new(9, 1, Side.BUY, 1500, 1)
    admission = desk.open([desk.new(1, 2, Side.BUY, 1500, 1), bad, desk.new(1, 3, Side.BUY, 1500, 1)])
    # Four deposits came before.
    assert [(r.seq, r.reason) for r in admission.refusals] == [(6, Reason.ACCOUNT)]
    assert admission.orders["seq"].tolist() == [5, 7, 7]
    assert admission.orders["opcode"].tolist() == [Opcode.NEW, Opcode.NEW, Opcode.FENCE]
    assert admission.orders["token"][-1] == 1 and desk.machine.last_seq == 7


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
    assert desk.slot([desk.row(MessageKind.REPLACE, 1, client_id=1, price=1500, quantity=5)]) == []
    assert desk.account(1).positions[0].size == 3 and desk.order(1, 1).remaining == 2


def test_a_position_that_turns_over_is_entered_at_the_trade_price(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 100), desk.new(2, 2, Side.SELL, 1500, 100)])
    desk.slot([desk.new(2, 3, Side.BUY, 1600, 250), desk.new(1, 4, Side.SELL, 1600, 250)])
    assert (desk.account(1).positions[0].size, desk.account(1).positions[0].entry) == (-150, -150 * 1600)
    assert (desk.account(2).positions[0].size, desk.account(2).positions[0].entry) == (150, 150 * 1600)
    # 100 lots × 100 ticks at 1/100: 100 quanta; fees of 1500 and 4000 quanta of notional.
    assert desk.account(1).collateral == RICH + 100 - 1 - 2
    assert desk.account(2).collateral == RICH - 100 - 1 - 1


def test_expiry_is_the_last_good_millisecond(desk):
    at = desk.time + 1
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 1, expiry=at)]) == []
    assert desk.slot([desk.new(1, 2, Side.BUY, 1500, 1, expiry=at)]) == [Reason.EXPIRED]


def test_an_overflowing_notional_is_refused():
    huge = replace(PERP, numerator=2**32 - 1, denominator=1)
    desk = Desk(config=replace(CONFIG, instruments=(huge,)))
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 2**32 - 1)]) == [Reason.OVERFLOW]


def test_a_wrong_signature_leaves_the_nonce_and_later_refusals_use_it_up(desk):
    row = desk.new(1, 1, Side.BUY, 1500, 1)
    assert desk.slot([row], signed=[None]) == [Reason.SIGNATURE]
    assert desk.slot([row], signed=[owner(2)]) == [Reason.SIGNER]
    assert desk.account(1).nonces.used == []
    row["quantity"] = 2**32 - 1
    assert desk.slot([row]) == [Reason.MARGIN]
    assert desk.account(1).nonces.used == [1]
    row["quantity"] = 1
    assert desk.slot([row]) == [Reason.NONCE_USED]


def test_a_zero_quantity_is_the_engine_s_to_reject(desk):
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 0)]) == []
    assert not desk.machine.orders and len(desk.machine._ledger.handles) == CONFIG.geometry.orders


def of_every_kind(desk, account, client_id):
    return [
        desk.row(MessageKind.CANCEL, account, client_id=client_id),
        desk.row(MessageKind.REDUCE, account, client_id=client_id, quantity=1),
        desk.row(MessageKind.REPLACE, account, client_id=client_id, quantity=1, price=1500),
    ]


def test_client_ids_are_the_account_s_own(desk):
    """Nobody can occupy another's, and no answer tells whether another has it."""
    desk.slot([desk.new(1, 7, Side.BUY, 1500, 5), desk.new(1, 8, Side.BUY, 1500, 5)])
    assert desk.slot([desk.new(2, 7, Side.BUY, 1490, 3)]) == []
    assert desk.slot(of_every_kind(desk, 2, 8)) == [Reason.CLIENT_ID_UNKNOWN] * 3
    taken = [(r.detail, r.have, r.need) for r in desk.refusals]
    assert desk.slot(of_every_kind(desk, 2, 9)) == [Reason.CLIENT_ID_UNKNOWN] * 3
    assert taken == [(r.detail, r.have, r.need) for r in desk.refusals]
    assert desk.order(1, 7).remaining == desk.order(1, 8).remaining == 5
    assert desk.slot([desk.row(MessageKind.CANCEL, 2, client_id=7)]) == []
    assert desk.order(2, 7) is None and desk.order(1, 7).remaining == 5


def test_what_names_no_order_never_reaches_the_engine(desk):
    admission = desk.open(of_every_kind(desk, 2, 8))
    assert admission.orders["opcode"].tolist() == [Opcode.FENCE] and admission.inputs == 3


def test_an_order_that_ended_in_the_slot_is_the_engine_s_to_reject(desk):
    rows = [desk.new(1, 1, Side.BUY, 1500, 5, time_in_force=TimeInForce.IOC), *of_every_kind(desk, 1, 1)]
    assert desk.slot(rows) == []
    assert desk.order(1, 1) is None and not desk.machine.orders


def test_a_client_id_is_taken_until_the_slot_in_which_its_order_ended_is_over(desk):
    new = [desk.new(1, 1, Side.BUY, 1500, 5, time_in_force=TimeInForce.IOC) for _ in range(2)]
    assert desk.slot(new) == [Reason.CLIENT_ID_USED]
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 5)]) == []
    again = [desk.row(MessageKind.CANCEL, 1, client_id=1), desk.new(1, 1, Side.BUY, 1500, 5)]
    assert desk.slot(again) == [Reason.CLIENT_ID_USED]
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 5)]) == []


def test_a_full_store_refuses_until_the_slot_after_a_cancel(desk):
    assert desk.slot([desk.new(1, i, Side.BUY, 1400, 1) for i in range(1, 65)]) == []
    assert desk.slot([desk.new(1, 65, Side.BUY, 1400, 1)]) == [Reason.STORE_FULL]
    rows = [desk.row(MessageKind.CANCEL, 1, client_id=30), desk.new(1, 66, Side.BUY, 1400, 1)]
    assert desk.slot(rows) == [Reason.STORE_FULL]
    assert desk.slot([desk.new(1, 67, Side.BUY, 1400, 1)]) == []
    assert desk.order(1, 67).handle == 29


# Margin


def test_reservations_grow_within_the_slot_and_are_released_after_it():
    desk = Desk(amount=1000)
    # 10,000 lots at 1500 are 150,000 quanta: 7500 of margin and 75 of fee; 1000 lots hold 758.
    hold, release = desk.new(1, 1, Side.BUY, 1500, 1000), desk.row(MessageKind.CANCEL, 1, client_id=1)
    assert desk.slot([hold, release, desk.new(1, 2, Side.BUY, 1500, 1000)]) == [Reason.MARGIN]
    assert desk.slot([desk.new(1, 3, Side.BUY, 1500, 1000)]) == []
    assert desk.account(1).reserved == 758


def test_replace_reserves_the_larger_of_old_and_new():
    desk = Desk(amount=1600)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000)])
    rows = [
        desk.row(MessageKind.REPLACE, 1, client_id=1, price=1500, quantity=2000),
        desk.row(MessageKind.REPLACE, 1, client_id=1, price=1500, quantity=100),
        desk.new(1, 2, Side.BUY, 1500, 1000),
    ]
    assert desk.slot(rows) == [Reason.MARGIN]
    assert desk.account(1).reserved == 76 and desk.order(1, 1).remaining == 100
    assert desk.slot([desk.row(MessageKind.REPLACE, 1, client_id=1, price=1500, quantity=3000)]) == [
        Reason.MARGIN
    ]
    assert desk.slot([desk.new(1, 3, Side.BUY, 1500, 1000)]) == []


def test_several_replaces_of_one_order_hold_their_largest():
    desk = Desk(amount=1600)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000)])
    replaces = [
        desk.row(MessageKind.REPLACE, 1, client_id=1, price=1500, quantity=q) for q in (2000, 2000, 1500)
    ]
    assert desk.slot([*replaces, desk.new(1, 2, Side.BUY, 1500, 500)]) == [Reason.MARGIN]
    assert desk.account(1).reserved == 1137 and desk.order(1, 2) is None


def test_a_partly_filled_maker_has_no_stale_reservation():
    desk = Desk(amount=800)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000)])
    desk.slot([desk.new(2, 2, Side.SELL, 1500, 900)])
    # 900 lots held are 675 of margin, 100 that rest 76, the fee was 3: too little is left for 900 lots more.
    assert desk.account(1).reserved == 76
    assert desk.slot([desk.row(MessageKind.REPLACE, 1, client_id=1, price=1500, quantity=1000)]) == [
        Reason.MARGIN
    ]


def test_reduce_and_cancel_need_no_margin():
    desk = Desk(amount=1000)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 500), desk.new(1, 2, Side.BUY, 1480, 500)])
    desk.slot([desk.new(2, 3, Side.SELL, 1500, 500)])
    desk.slot(marks=[(0, 1100)])
    assert desk.machine.free_collateral(desk.account(1)) < 0
    assert desk.slot([desk.new(1, 9, Side.BUY, 1480, 1)]) == [Reason.MARGIN]
    assert desk.slot([desk.row(MessageKind.REDUCE, 1, client_id=2, quantity=10)]) == []
    assert desk.slot([desk.row(MessageKind.CANCEL, 1, client_id=2)]) == []
    assert desk.account(1).reserved == 0 and not desk.machine.orders


def test_nobody_sells_himself_into_a_shortfall_far_from_the_mark():
    desk = Desk(amount=10_000)
    # Margin on 10,000 lots at the mark would be 7500; the loss against it would be 50,000.
    assert desk.slot([desk.new(1, 1, Side.SELL, 1000, 10_000)]) == [Reason.MARGIN]
    assert desk.slot([desk.new(1, 2, Side.BUY, 2000, 10_000)]) == [Reason.MARGIN]
    assert desk.slot([desk.new(1, 3, Side.SELL, 1500, 10_000)]) == []


# Money in and out


def test_withdrawals_are_debited_at_once_and_limited_by_collateral():
    desk = Desk(amount=10_000)
    take = [desk.row(MessageKind.WITHDRAW, 3, amount=6_000) for _ in range(2)]
    assert desk.slot(take) == [Reason.BALANCE]
    assert desk.account(3).collateral == 4_000
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000), desk.new(2, 2, Side.SELL, 1500, 1000)])
    desk.slot(marks=[(0, 2000)])
    assert desk.machine.free_collateral(desk.account(1)) > desk.account(1).collateral
    more = desk.account(1).collateral + 1
    assert desk.machine.withdrawable(desk.account(1)) == more - 1
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=more)]) == [Reason.BALANCE]
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=2**64 - 1)]) == [Reason.OVERFLOW]
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=more - 1)]) == []
    assert desk.account(1).collateral == 0
    assert desk.machine.sum_of_balances() == 40_000 - 6_000 - (more - 1)


def test_money_reserved_in_the_slot_is_not_withdrawn():
    desk = Desk(amount=1000)
    rows = [desk.new(1, 1, Side.BUY, 1500, 1000), desk.row(MessageKind.WITHDRAW, 1, amount=243)]
    assert desk.slot(rows) == [Reason.WITHDRAWABLE]
    parts = [desk.row(MessageKind.WITHDRAW, 1, amount=amount) for amount in (200, 43, 42)]
    assert desk.slot(parts) == [Reason.WITHDRAWABLE]
    assert desk.machine.free_collateral(desk.account(1)) == 0


def test_a_deposit_opens_one_account_for_its_owner(desk):
    desk.slot(deposits=[(owner(2), 5), (owner(9), 6), (owner(9), 1)])
    assert desk.account(2).collateral == RICH + 5
    assert desk.machine.account_of(owner(9)) is desk.account(5) and desk.account(5).collateral == 7
    assert desk.account(5).generation == 6 << 24
    assert len(desk.machine.accounts) == 6 and desk.machine.account_of(bytes(20)) is None


def test_a_deposit_that_no_account_can_take_is_paid_back():
    desk = Desk(accounts=15, amount=2**63 - 1)
    desk.slot(deposits=[(owner(99), 7), (owner(1), 8)], closes=1)
    assert [(r.seq, r.reason, r.have, r.need) for r in desk.refusals] == [
        (16, Reason.TAGS_FULL, 16, 15),
        (17, Reason.OVERFLOW, 2**63 + 7, 2**63 - 1),
    ]
    batch = desk.machine.seal_batch()
    assert [(w.id, w.owner, w.amount) for w in batch.withdrawals] == [(1, owner(99), 7), (2, owner(1), 8)]
    assert len(desk.machine.accounts) == 16
    assert desk.machine.sum_of_balances() == 15 * (2**63 - 1)


def test_the_deposit_accumulator_chains_every_deposit(desk):
    expected = bytes(32)
    for index in range(1, 5):
        body = index.to_bytes(8, "big") + owner(index) + RICH.to_bytes(32, "big")
        expected = keccak256(b"\x40" + expected + body)
    assert desk.machine.deposit_accumulator == expected


def test_the_first_command_may_come_in_the_slot_of_its_deposit():
    desk = Desk(accounts=0)
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 1)], deposits=[(owner(1), RICH)]) == []
    assert desk.order(1, 1).queue == 2


def test_insurance_is_account_zero_and_nobody_s(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 9000), desk.new(2, 2, Side.SELL, 1500, 9000)])
    venue = desk.account(0)
    assert venue.owner == bytes(20) and venue.collateral == desk.machine.insurance > 0
    row = desk.row(MessageKind.WITHDRAW, 0, amount=1)
    assert desk.slot([row], signed=[bytes(20)]) == [Reason.ACCOUNT]
