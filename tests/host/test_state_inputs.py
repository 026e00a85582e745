"""What enters a slot: what is refused with which numbers, and what is no slot at all."""

from dataclasses import replace

import numpy as np
import pytest
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.state.inputs import StateError
from hawse.state.outcomes import Signers
from hawse.state.slot import (
    Deposit,
    Observation,
    Omission,
    Operation,
    OperationKind,
    Request,
    SlotInput,
    Surface,
)
from hawse.wire import Reason, Side
from hawse.wire.dtypes import EVENT
from support.desk import OPERATOR, RICH, Desk, mark_of, owner


@pytest.fixture
def desk():
    return Desk()


G1 = 1 << 24
DAY = 86_400_000


@pytest.mark.parametrize(
    ("fields", "reason", "detail", "have", "need"),
    [
        # Not carried out: the kind.
        ({"kind": 0}, Reason.REQUEST, 0, 0, 0),
        ({"kind": MessageKind.MARGIN_MODE}, Reason.REQUEST, 14, 14, 0),
        ({"kind": 99}, Reason.REQUEST, 99, 99, 0),
        ({"mode": 7}, Reason.REQUEST, 3, 7, 6),
        # Not well formed: the offset in the row, what stands there, what could.
        ({"client_id": 0}, Reason.REQUEST, 24, 0, 1),
        ({"side": 2}, Reason.REQUEST, 1, 2, 1),
        ({"time_in_force": 4}, Reason.REQUEST, 2, 4, 3),
        ({"mode": 3}, Reason.REQUEST, 3, 3, 2),
        ({"amount": 1}, Reason.REQUEST, 56, 1, 0),
        ({"kind": MessageKind.CANCEL}, Reason.REQUEST, 12, 1500, 0),
        ({"account": 0}, Reason.ACCOUNT, 0, 0, 5),
        ({"account": 5}, Reason.ACCOUNT, 0, 5, 5),
        ({"generation": 2 << 24}, Reason.GONE, 0, 2 << 24, G1),
        ({"generation": G1 + 1}, Reason.GONE, 0, G1 + 1, G1),
        ({"nonce": 2**64 - 1}, Reason.NONCE_AHEAD, 0, 2**64 - 1, 1003 + DAY),
        ({"nonce": 1003 + DAY + 1}, Reason.NONCE_AHEAD, 0, 1003 + DAY + 1, 1003 + DAY),
        ({"nonce": 40}, Reason.NONCE_USED, 0, 40, 41),
        ({"expiry": 1002}, Reason.EXPIRED, 0, 1002, 1003),
        ({"expiry": 0}, Reason.EXPIRED, 0, 0, 1003),
        ({"instrument": 2}, Reason.NO_INSTRUMENT, 0, 2, 1),
        ({"client_id": 77}, Reason.CLIENT_ID_USED, 0, 77, 0),
        ({"quantity": 0}, Reason.MIN_QUANTITY, 0, 0, 1),
        ({"mode": 4}, Reason.REDUCE_ONLY, 0, 0, 1),
        # 50 parts of a thousand, and 5 of ten thousand, of 2**32 - 1 lots at 1500 / 100, less the rounding
        # of the order that is there.
        ({"quantity": 2**32 - 1}, Reason.MARGIN, 0, RICH - 2, 3253437725),
    ],
)
def test_a_new_order_is_refused_and_both_numbers_are_named(desk, fields, reason, detail, have, need):
    before = [desk.new(1, 77, Side.BUY, 1400, 1, nonce=40)]
    assert desk.slot([*before, desk.new(2, 3, Side.BUY, 1400, 1)]) == []
    row = desk.new(1, 5, Side.BUY, 1500, 1, nonce=41)
    for name, value in fields.items():
        row[name] = value
    root = desk.machine.state_root()
    assert desk.slot([row]) == [reason]
    (refusal,) = desk.refusals
    assert (refusal.seq, refusal.detail) == (7, detail)
    if reason is not Reason.MARGIN:
        assert (refusal.have, refusal.need) == (have, need)
    else:
        assert refusal.have == desk.machine.free_collateral(desk.account(1)) < need == refusal.need
    assert desk.order(1, 5) is None and desk.machine.state_root() != root


def test_a_byte_where_the_row_has_no_field_is_named(desk):
    row = desk.new(1, 5, Side.BUY, 1500, 1)
    row.view(np.uint8)[6] = 9
    assert desk.slot([row]) == [Reason.REQUEST]
    assert (desk.refusals[0].detail, desk.refusals[0].have, desk.refusals[0].need) == (6, 9, 0)


def test_other_commands_name_both_numbers_too(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 100)])
    rows = [
        desk.row(MessageKind.WITHDRAW, 1),
        desk.row(MessageKind.WITHDRAW, 1, amount=RICH + 1),
        desk.row(MessageKind.WITHDRAW, 1, amount=RICH),
        desk.row(MessageKind.WITHDRAW, 1, amount=2**63),
        desk.row(MessageKind.REPLACE, 1, client_id=1, price=1500, quantity=2**32 - 1),
        desk.row(MessageKind.CANCEL, 1, client_id=2),
    ]
    desk.slot(rows)
    free = RICH - 76
    assert [(r.reason, r.detail, r.have, r.need) for r in desk.refusals] == [
        (Reason.REQUEST, 56, 0, 1),
        (Reason.BALANCE, 0, RICH, RICH + 1),
        (Reason.WITHDRAWABLE, 0, free, RICH),
        (Reason.OVERFLOW, 0, 2**63, 2**63 - 1),
        (Reason.MARGIN, 0, free, 3253437727),
        (Reason.CLIENT_ID_UNKNOWN, 0, 0, 1),
    ]


def test_wide_messages_take_one_number_and_two_rows(desk):
    wide = desk.row(MessageKind.MULTI_LEG, 1)
    body = np.zeros(1, MESSAGE)
    body["kind"] = MessageKind.CANCEL  # what a body holds is not read as a message
    row = desk.new(1, 5, Side.BUY, 1500, 1)
    admission = desk.open([wide, body, row], signed=[owner(1)] * 2)
    assert admission.inputs == 2
    assert [(r.seq, r.reason, r.detail) for r in admission.refusals] == [(5, Reason.REQUEST, 6)]


def test_every_input_takes_one_number_and_none_is_left_out(desk):
    last = desk.machine.last_seq
    for n in range(4):
        rows = [desk.new(a, n + 1, Side.BUY, 1400 + a, 1) for a in (1, 2, 9)][: n + 1]
        admission = desk.open(rows, deposits=[(owner(7), 5)] * n, marks=[(0, 1500 + n), (1, n)][:n])
        assert (admission.first_seq, admission.inputs) == (last + 1, len(rows) + n + min(n, 2))
        last += admission.inputs
        assert desk.machine.last_seq == last == admission.orders["seq"][-1]
        assert all(admission.first_seq <= r.seq <= last for r in admission.refusals)
        desk.machine.clear_slot(desk.engine.run(admission.orders).events)


SIGNATURE = bytes(64)
DOZEN = bytes(12)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"number": 0}, "number"),
        ({"number": 2}, "number"),
        ({"time": 1000}, "time"),
        ({"time": 2**48}, "time"),
        ({"closes": 2}, "closes"),
        ({"deposits": (Deposit(4, owner(4), 1),)}, "deposits"),
        ({"deposits": (Deposit(6, owner(4), 1),)}, "deposits"),
        ({"deposits": (Deposit(5, owner(4), 1), Deposit(5, owner(4), 1))}, "deposits"),
        ({"deposits": (Deposit(5, owner(4), 0),)}, "deposits"),
        ({"deposits": (Deposit(5, owner(4), 2**64),)}, "deposits"),
        ({"deposits": (Deposit(5, b"short", 1),)}, "deposits"),
        ({"operations": (mark_of(2, 5),)}, "mark of instrument 2"),
        ({"operations": (mark_of(0, 2**31),)}, "not an i32"),
        ({"operations": (Operation(OperationKind.INTERIM_MARK, DOZEN, SIGNATURE),)}, "12 bytes"),
        ({"operations": (Operation(OperationKind.LIST, DOZEN, SIGNATURE),)}, "LIST, but not before"),
        ({"observations": (Observation(0, 0, 1, 1, 1, SIGNATURE),)}, "observations: 1, with 0 signers"),
        ({"omissions": (Omission(0, 0, 1, Reason.MARGIN),)}, "omissions: MARGIN is no reason"),
        ({"surfaces": (Surface(0, 0, 0, 1, 1, (1,), SIGNATURE),)}, "surfaces: .* not before"),
        (
            {"requests": (Request(1, 5, owner(1), 1, G1, 0, bytes(20), 0, 0),)},
            "requests: .* kind: 5",
        ),
        ({"authorisations": np.zeros(2, MESSAGE)}, "authorisations: kinds .0., not of .9, 10"),
        ({"commands": np.zeros(0, EVENT)}, "commands"),
    ],
)
def test_an_input_that_does_not_follow_on_changes_nothing(desk, change, what):
    before = desk.machine.snapshot()
    good = SlotInput(1, 2000)
    bad = replace(good, **change)
    with pytest.raises(StateError, match=what):
        desk.machine.open_slot(bad, Signers([OPERATOR] * len(bad.operations), [], []))
    assert desk.machine.snapshot() == before
    desk.machine.open_slot(good, Signers([], [], []))


@pytest.mark.parametrize("signer", [None, owner(1), bytes(20)])
def test_a_mark_that_the_operator_did_not_sign_for_this_slot_is_no_slot(desk, signer):
    slot = SlotInput(1, 2000, operations=(mark_of(0, 1600),))
    with pytest.raises(StateError, match="signed for slot 1 by"):
        desk.machine.open_slot(slot, Signers([signer], [], []))
    assert desk.machine.markets[0].mark == 1500
    desk.machine.open_slot(slot, Signers([OPERATOR], [], []))
    assert (desk.machine.markets[0].mark, desk.machine.markets[0].mark_time) == (1600, 2000)


def test_signers_that_do_not_fit_and_half_a_message_are_no_slot(desk):
    row = desk.new(1, 1, Side.BUY, 1500, 1)
    for commands, signers in (
        (row, Signers([], [], [])),
        (row, Signers([], [owner(1)], [])),
        (row, Signers([OPERATOR], [owner(1)], [bytes(32)])),
        (desk.row(MessageKind.REGISTER, 1), Signers([], [owner(1)], [bytes(32)])),
    ):
        with pytest.raises(StateError, match=r"commands|operations"):
            desk.machine.open_slot(SlotInput(1, 2000, commands=commands), signers)


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
        desk.machine.clear_slot(np.zeros(0, MESSAGE))
    desk.machine.clear_slot(nothing)
    desk.slot(closes=1)
    with pytest.raises(StateError, match="not sealed"):
        desk.open()
    desk.machine.seal_batch()
    desk.slot()
