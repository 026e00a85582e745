"""What a slot lets through, and what it does to accounts: machine and golden engine, slot by slot."""

from dataclasses import replace

import pytest
from hawse.keys.messages import REDUCE_ONLY, MessageKind
from hawse.state.inputs import StateError
from hawse.state.machine import Machine
from hawse.wire import Opcode, Reason, SequenceClass, Side, TimeInForce
from support.desk import CONFIG, PERP, RICH, Desk, no_mark_counts, owner
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
    # 700 lots, of which 400 rest: 10,500 quanta and 5 % margin; 6000 quanta and 500 ppm of fee.
    assert desk.machine.free_collateral(buyer) == buyer.collateral - 525 - 3
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


def test_a_price_outside_the_window_is_the_engine_s_to_reject(desk):
    free = desk.machine.free_collateral(desk.account(1))
    assert desk.slot([desk.new(1, 1, Side.BUY, 999, 1)]) == []
    assert not desk.machine.orders and len(desk.machine._ledger.handles) == CONFIG.geometry.orders
    assert desk.machine.free_collateral(desk.account(1)) == free


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
    assert desk.slot([desk.new(2, 65, Side.BUY, 1400, 1)]) == [Reason.STORE_FULL]
    rows = [desk.row(MessageKind.CANCEL, 1, client_id=30), desk.new(2, 66, Side.BUY, 1400, 1)]
    assert desk.slot(rows) == [Reason.STORE_FULL]
    assert desk.slot([desk.new(2, 67, Side.BUY, 1400, 1)]) == []
    assert desk.order(2, 67).handle == 29


# Margin


def test_what_orders_hold_grows_within_the_slot_and_is_released_after_it():
    desk = Desk(amount=1000)
    # 10,000 lots at 1500 are 150,000 quanta: 7500 of margin and 75 of fee; 1000 lots hold 758.
    hold, release = desk.new(1, 1, Side.BUY, 1500, 1000), desk.row(MessageKind.CANCEL, 1, client_id=1)
    assert desk.slot([hold, release, desk.new(1, 2, Side.BUY, 1500, 1000)]) == [Reason.MARGIN]
    assert desk.slot([desk.new(1, 3, Side.BUY, 1500, 1000)]) == []
    assert desk.machine.free_collateral(desk.account(1)) == 1000 - 758


def test_buys_and_sells_need_the_margin_of_the_larger_side():
    desk = Desk(amount=1600)
    assert desk.slot([desk.new(1, 1, Side.BUY, 1490, 2000)]) == []
    # Another 2000 the other way need no margin, but their fee of 15.
    assert desk.slot([desk.new(1, 2, Side.SELL, 1500, 2000)]) == []
    assert desk.machine.free_collateral(desk.account(1)) == 1600 - 1500 - 30
    assert desk.slot([desk.new(1, 3, Side.SELL, 1500, 1000)]) == [Reason.MARGIN]


def test_replace_holds_the_old_and_every_new_until_clearing():
    desk = Desk(amount=1600)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 500)])
    replaces = [
        desk.row(MessageKind.REPLACE, 1, client_id=1, price=1500, quantity=q) for q in (500, 1000, 200)
    ]
    # 2000 lots are held, of which each may trade: 1515 quanta; 152 more are not there.
    assert desk.slot(replaces) == [Reason.MARGIN]
    assert desk.order(1, 1).remaining == 1000
    assert desk.machine.free_collateral(desk.account(1)) == 1600 - 758


def test_a_replace_behind_a_fill_never_buys_more_than_was_held():
    desk = Desk(amount=1600)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000)], deposits=[(owner(2), RICH)])
    rows = []
    for n in range(8):
        rows.append(desk.new(2, 10 + n, Side.SELL, 1500, 999, time_in_force=TimeInForce.IOC))
        rows.append(desk.row(MessageKind.REPLACE, 1, client_id=1, price=1500, quantity=1000))
    assert desk.slot(rows) == [Reason.MARGIN] * 7
    assert desk.account(1).positions[0].size <= 2000
    assert desk.machine.free_collateral(desk.account(1)) >= 0


def test_reduce_and_cancel_need_no_margin():
    desk = Desk(amount=1000)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 500)])
    desk.slot([desk.new(2, 3, Side.SELL, 1500, 500)])
    desk.slot([desk.new(1, 2, Side.SELL, 1600, 500)])
    desk.slot(marks=[(0, 1340)])
    assert desk.machine.free_collateral(desk.account(1)) < 0
    assert desk.slot([desk.new(1, 9, Side.BUY, 1480, 1)]) == [Reason.MARGIN]
    assert desk.slot([desk.row(MessageKind.REDUCE, 1, client_id=2, quantity=10)]) == []
    assert desk.slot([desk.row(MessageKind.CANCEL, 1, client_id=2)]) == []
    assert not desk.account(1).open and not desk.machine.orders


def long_of(desk, lots, price=1500):
    """Account 1 buys from account 2."""
    desk.slot([desk.new(1, 901, Side.BUY, price, lots), desk.new(2, 901, Side.SELL, price, lots)])
    assert desk.account(1).positions[0].size == lots


def test_whoever_uses_all_his_margin_can_close():
    desk = Desk(amount=760)
    long_of(desk, 1000)
    assert 0 <= desk.machine.free_collateral(desk.account(1)) < 10
    desk.slot([desk.new(3, 1, Side.BUY, 1500, 1000)])
    assert desk.slot([desk.new(1, 2, Side.SELL, 1500, 1000, time_in_force=TimeInForce.IOC)]) == []
    assert not desk.account(1).positions


@no_mark_counts()
def test_whoever_is_stretched_can_close_but_not_at_any_price():
    desk = Desk(amount=1000)
    long_of(desk, 1000)
    desk.slot(marks=[(0, 1450)])
    assert desk.machine.free_collateral(desk.account(1)) < 0 < desk.machine.equity(desk.account(1)) < 500
    # 100 lots release 72 quanta of margin, and cost 1 of fee; 72 ticks below the mark they lose 72.
    assert desk.slot([desk.new(1, 2, Side.SELL, 1378, 100)]) == [Reason.MARGIN]
    # 1000 lots release enough, but all equity would go and more.
    assert desk.slot([desk.new(1, 3, Side.SELL, 1400, 1000)]) == [Reason.MARGIN]
    assert desk.slot([desk.new(1, 4, Side.SELL, 1410, 1001)]) == [Reason.MARGIN]
    assert desk.slot([desk.new(1, 5, Side.SELL, 1410, 1000)]) == []
    # All that it could close is on offer.
    assert desk.slot([desk.new(1, 6, Side.SELL, 1450, 1)]) == [Reason.MARGIN]
    assert desk.slot([desk.new(3, 1, Side.BUY, 1410, 400)]) == []
    assert desk.account(1).positions[0].size == 600
    # Below zero, nothing is left that the rest may cost.
    assert [e.reason for e in desk.move((0, 1360))] == [Reason.MARGIN_LOST]


# What the machine takes back


def test_orders_that_a_mark_leaves_without_margin_are_cancelled_newest_first():
    desk = Desk(amount=1600)
    desk.slot([desk.new(1, n, Side.SELL, 1510 + n, 500) for n in (1, 2, 3, 4)])
    desk.slot([desk.new(2, 1, Side.BUY, 1400, 1)])
    events = desk.move((0, 1530))
    assert [(e.reason, e.account, e.instrument) for e in events] == [(Reason.MARGIN_LOST, 1, 0)] * 1
    assert events[0].first < 0 < events[0].second
    assert sorted(desk.account(1).orders) == [1, 2, 3] and desk.order(2, 1)
    assert desk.machine.free_collateral(desk.account(1)) >= 0
    assert desk.move((0, 1530)) == ()


def test_closing_orders_stay_when_a_mark_takes_the_margin():
    desk = Desk(amount=1600)
    long_of(desk, 1000)
    desk.slot([desk.new(1, 1, Side.SELL, 1500, 900), desk.new(1, 2, Side.BUY, 1490, 800)])
    assert [e.reason for e in desk.move((0, 1440))] == [Reason.MARGIN_LOST]
    assert sorted(desk.account(1).orders) == [1]
    assert desk.move((0, 1400)) == () and desk.order(1, 1).remaining == 900


def test_nobody_trades_on_a_hold_of_an_older_mark():
    desk = Desk(amount=900)
    desk.slot([desk.new(1, 1, Side.SELL, 1510, 1000)])
    for mark in range(1520, 1700, 20):
        desk.move((0, mark))
    assert not desk.account(1).orders
    desk.slot([desk.new(2, 1, Side.BUY, 1510, 1000, time_in_force=TimeInForce.IOC)])
    assert not desk.account(1).positions


def test_the_machine_s_commands_are_inputs_before_the_users(desk):
    poor = Desk(amount=1600)
    poor.slot([poor.new(1, 1, Side.SELL, 1510, 2000)])
    before = poor.machine.last_seq
    admission = poor.open([poor.new(2, 1, Side.BUY, 1510, 1)], marks=[(0, 1600)])
    assert admission.command_seqs == (before + 3,) and admission.inputs == 3
    assert admission.orders["seq"].tolist() == [before + 2, before + 3, before + 3]
    assert admission.orders["flags"][0] >> 5 == SequenceClass.MACHINE
    poor.machine.clear_slot(poor.engine.run(admission.orders).events)
    assert not poor.account(1).orders and poor.order(2, 1).remaining == 1


def run_out(desk, admission):
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)


def test_cancel_all_takes_the_account_s_orders_and_may_raise_the_floor():
    desk = Desk()
    rows = [desk.new(1, n, Side.BUY, 1400, 5, instrument=0) for n in (1, 2)]
    desk.slot([*rows, desk.new(1, 3, Side.BUY, 30, 5, instrument=1), desk.new(2, 1, Side.BUY, 1400, 5)])
    one = desk.row(MessageKind.CANCEL_ALL, 1, instrument=1, nonce=50)
    assert desk.slot([one]) == [] and sorted(desk.account(1).orders) == [1, 2]
    last = desk.machine.last_seq
    new = desk.new(1, 4, Side.BUY, 1400, 5, nonce=61)
    admission = desk.open([desk.row(MessageKind.CANCEL_ALL, 1, instrument=0xFFFF, nonce=60, amount=60), new])
    assert admission.command_seqs == (last + 1, last + 4) and admission.inputs == 4
    run_out(desk, admission)
    assert sorted(desk.account(1).orders) == [4] and sorted(desk.account(2).orders) == [1]
    assert desk.slot([desk.new(1, 5, Side.BUY, 1400, 5, nonce=59)]) == [Reason.NONCE_LOW]
    assert desk.slot([desk.row(MessageKind.CANCEL_ALL, 1, instrument=2, nonce=70)]) == [Reason.NO_INSTRUMENT]
    assert desk.slot([desk.row(MessageKind.CANCEL_ALL, 1, instrument=0, nonce=71, amount=72)]) == [
        Reason.REQUEST
    ]
    assert (desk.refusals[0].detail, desk.refusals[0].have, desk.refusals[0].need) == (56, 72, 71)


def test_orders_behind_a_cancel_all_do_not_use_what_it_cancels():
    desk = Desk(amount=1000)
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 1000)])
    rows = [desk.row(MessageKind.CANCEL_ALL, 1, instrument=0xFFFF), desk.new(1, 2, Side.BUY, 1500, 1000)]
    assert desk.slot(rows) == [Reason.MARGIN]
    assert not desk.account(1).orders


def test_whoever_is_not_heard_of_loses_his_orders_when_his_timer_runs_out():
    desk = Desk()
    after = desk.row(MessageKind.CANCEL_ALL_AFTER, 1, amount=1000)
    desk.slot([after, desk.new(1, 1, Side.BUY, 1400, 5), desk.new(1, 2, Side.BUY, 30, 5, instrument=1)])
    set_at = desk.time
    desk.time += 500
    assert desk.move() == () and len(desk.account(1).orders) == 2
    again = Machine.restore(CONFIG, desk.machine.snapshot())
    assert again.snapshot() == desk.machine.snapshot() and again.accounts[1].timer == set_at + 1000
    desk.time = set_at + 999
    events = desk.move()
    assert [(e.reason, e.account, e.first, e.second) for e in events] == [
        (Reason.TIMER, 1, set_at + 1000, set_at + 1000)
    ] * 2
    assert not desk.account(1).orders and not desk.account(1).timer
    # Set anew, or off, in time.
    desk.slot([desk.row(MessageKind.CANCEL_ALL_AFTER, 1, amount=1000), desk.new(1, 3, Side.BUY, 1400, 5)])
    desk.slot([desk.row(MessageKind.CANCEL_ALL_AFTER, 1, amount=0)])
    desk.time += 5000
    assert desk.move() == () and desk.order(1, 3)
    assert desk.slot([desk.row(MessageKind.CANCEL_ALL_AFTER, 1, amount=2**63)]) == [Reason.REQUEST]


# Reduce-only


def reduce_only(desk, account, client_id, side, price, quantity, **fields):
    mode = REDUCE_ONLY + fields.pop("mode", 0)
    return desk.new(account, client_id, side, price, quantity, mode=mode, **fields)


def test_a_reduce_only_order_needs_a_position_to_close():
    desk = Desk()
    assert desk.slot([reduce_only(desk, 1, 1, Side.SELL, 1500, 1)]) == [Reason.REDUCE_ONLY]
    long_of(desk, 100)
    assert desk.slot([reduce_only(desk, 1, 2, Side.BUY, 1500, 1)]) == [Reason.REDUCE_ONLY]
    assert desk.slot([reduce_only(desk, 1, 3, Side.SELL, 1500, 101)]) == [Reason.REDUCE_ONLY]
    assert [(r.have, r.need) for r in desk.refusals] == [(100, 101)]
    assert desk.slot([reduce_only(desk, 1, 4, Side.SELL, 1500, 100)]) == []
    assert desk.order(1, 4).reduce_only


def test_what_leaves_no_room_cancels_reduce_only_orders_newest_first():
    desk = Desk()
    long_of(desk, 100)
    desk.slot([reduce_only(desk, 1, n, Side.SELL, 1510, 30) for n in (1, 2, 3)])
    last = desk.machine.last_seq
    admission = desk.open([desk.new(1, 4, Side.SELL, 1520, 60)])
    assert [(e.reason, e.first) for e in admission.events] == [(Reason.TRIM, 30)] * 2
    assert admission.orders["opcode"].tolist() == [Opcode.CANCEL, Opcode.CANCEL, Opcode.NEW, Opcode.FENCE]
    assert admission.command_seqs == (last + 3,)
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)
    assert sorted(desk.account(1).orders) == [1, 4]
    # A refused one cancels nothing.
    assert desk.slot([desk.new(1, 5, Side.SELL, 1520, 2**32 - 1)]) == [Reason.MARGIN]
    assert sorted(desk.account(1).orders) == [1, 4]


def test_a_reduce_only_order_replaced_behind_a_fill_is_trimmed_in_the_next_slot():
    desk = Desk()
    long_of(desk, 100)
    desk.slot([reduce_only(desk, 1, 1, Side.SELL, 1510, 100)])
    rows = [
        desk.new(2, 1, Side.BUY, 1510, 40),
        desk.row(MessageKind.REPLACE, 1, client_id=1, price=1511, quantity=100),
    ]
    assert desk.slot(rows) == []
    assert (desk.account(1).positions[0].size, desk.order(1, 1).remaining) == (60, 100)
    admission = desk.open([desk.new(2, 2, Side.BUY, 1511, 80)])
    assert [(e.reason, e.first, e.second) for e in admission.events] == [(Reason.TRIM, 40, 60)]
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)
    assert not desk.account(1).positions and not desk.account(1).orders


# Nothing is free to occupy


def test_small_orders_are_refused_but_for_what_closes_all_that_is_left():
    terms = replace(PERP, minimum_quantity=10, minimum_notional=300)
    desk = Desk(config=replace(CONFIG, instruments=(terms,)))
    assert desk.slot([desk.new(1, 1, Side.BUY, 1500, 9)]) == [Reason.MIN_QUANTITY]
    assert desk.slot([desk.new(1, 2, Side.BUY, 1500, 19)]) == [Reason.MIN_NOTIONAL]
    assert [(r.have, r.need) for r in desk.refusals] == [(285, 300)]
    long_of(desk, 25)
    desk.slot([desk.new(1, 3, Side.SELL, 1500, 20), desk.new(2, 2, Side.BUY, 1500, 20)])
    assert desk.slot([desk.new(1, 4, Side.SELL, 1500, 4)]) == [Reason.MIN_QUANTITY]
    assert desk.slot([desk.new(1, 5, Side.SELL, 1500, 5)]) == []
    assert desk.slot([desk.new(2, 6, Side.SELL, 1600, 50)]) == []
    small = desk.row(MessageKind.REPLACE, 2, client_id=6, price=1600, quantity=9)
    assert (
        desk.slot([small, desk.row(MessageKind.REDUCE, 2, client_id=6, quantity=9)])
        == [Reason.MIN_QUANTITY] * 2
    )


def test_an_account_has_so_many_orders_and_positions():
    desk = Desk(config=replace(CONFIG, order_quota=3, position_quota=1))
    orders = [desk.new(1, n, Side.BUY, 1400, 1) for n in range(1, 5)]
    assert desk.slot(orders) == [Reason.ORDER_QUOTA]
    assert [(r.have, r.need) for r in desk.refusals] == [(3, 3)]
    assert desk.slot([desk.new(2, 1, Side.BUY, 1400, 1), desk.new(2, 2, Side.BUY, 40, 1, instrument=1)]) == [
        Reason.POSITION_QUOTA
    ]


def test_a_deposit_that_is_too_small_opens_no_account():
    desk = Desk(config=replace(CONFIG, minimum_deposit=100))
    many = [(bytes([n]) * 20, 99) for n in range(100, 200)]
    assert set(desk.slot(deposits=[*many, (owner(9), 100)], closes=1)) == {Reason.MIN_DEPOSIT}
    assert [(r.have, r.need) for r in desk.refusals[:1]] == [(99, 100)]
    assert desk.machine.account_of(owner(9)).index == 5 and len(desk.machine.accounts) == 6
    assert [w.amount for w in desk.machine.seal_batch().withdrawals] == [99] * 100
    assert desk.slot(deposits=[(owner(9), 1)]) == []


def test_tags_are_owners_numbers_while_they_have_orders():
    desk = Desk(accounts=20)
    assert desk.slot([desk.new(a, 1, Side.BUY, 1400, 1) for a in range(1, 17)]) == [Reason.TAGS_FULL]
    assert desk.machine.resting_orders()["tag"].tolist() == list(range(1, 16))
    assert desk.slot([desk.row(MessageKind.CANCEL, 7, client_id=1), desk.new(20, 1, Side.BUY, 1400, 1)]) == [
        Reason.TAGS_FULL
    ]
    assert desk.slot([desk.new(20, 1, Side.BUY, 1400, 1)]) == []
    assert desk.machine.resting_orders()["tag"].tolist()[-1] == 7
    again = Machine.restore(CONFIG, desk.machine.snapshot())
    assert again.resting_orders()["tag"].tolist() == desk.machine.resting_orders()["tag"].tolist()


# Marks


def test_marks_move_a_step_at_a_time():
    desk = Desk(config=replace(CONFIG, mark_step_ppm=20_000))
    assert desk.move((0, 1530)) == ()
    for mark, says in ((1561, "31 ticks from the last, more than 30"), (1499, "31 ticks from the last")):
        with pytest.raises(StateError, match=says):
            desk.move((0, mark))
    with pytest.raises(StateError, match="two marks of instrument 0"):
        desk.move((0, 1531), (0, 1532))
    desk.move((0, 1560), (1, 41))
    desk.time -= 249
    with pytest.raises(StateError, match="1 ms behind the last, before 250"):
        desk.move((1, 41))


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
    # Its profit is nobody's money yet; its position holds 1000.
    more = desk.account(1).collateral - 1000
    assert desk.machine.withdrawable(desk.account(1)) == more
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=more + 1)]) == [Reason.WITHDRAWABLE]
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=more + 1001)]) == [Reason.BALANCE]
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=2**64 - 1)]) == [Reason.OVERFLOW]
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=more)]) == []
    assert desk.account(1).collateral == 1000
    assert desk.machine.sum_of_balances() == 40_000 - 6_000 - more


@no_mark_counts()
def test_withdrawals_wait_while_accounts_owe_more_than_the_insurance_has():
    desk = Desk(amount=1000)
    long_of(desk, 1000)
    desk.slot(marks=[(0, 1700)])
    take = desk.row(MessageKind.WITHDRAW, 4, amount=10)
    assert desk.slot([take]) == [Reason.WITHDRAWABLE]
    (refusal,) = desk.refusals
    owed = -desk.machine.equity(desk.account(2))
    assert (refusal.detail, refusal.have, refusal.need) == (1, desk.machine.insurance, owed)
    assert desk.machine.withdrawable(desk.account(4)) == 0
    desk.slot(marks=[(0, 1550)])
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 4, amount=10)]) == []


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
    desk.slot(deposits=[(owner(1), 8)], closes=1)
    assert [(r.seq, r.reason, r.have, r.need) for r in desk.refusals] == [
        (16, Reason.OVERFLOW, 2**63 + 7, 2**63 - 1)
    ]
    batch = desk.machine.seal_batch()
    assert [(w.id, w.owner, w.amount) for w in batch.withdrawals] == [(1, owner(1), 8)]
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
