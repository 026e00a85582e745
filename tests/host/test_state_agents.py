"""Agents: who may trade for an account, until when, and how long what they sign may live."""

import numpy as np
import pytest
from hawse.commit.inputs import InputLeaf
from hawse.commit.leaves import ControlLeaf, Signer
from hawse.commit.queues import START, request_accumulator
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.state.commitments import control_leaf
from hawse.state.inputs import StateError, queued
from hawse.state.machine import Machine
from hawse.state.slot import InputClass, Request, RequestKind
from hawse.wire import Reason, Side
from support.desk import CONFIG, Desk, owner
from support.naive import naive_root

ALICE, BOB = b"a" * 20, b"b" * 20
ONE = 1 << 24
DAY = 86_400_000


@pytest.fixture
def desk():
    """Times and nonces as they are: a nonce is the time at which its message was signed."""
    desk = Desk()
    desk.time = 10 * DAY
    desk.slot([desk.appoint(1, ALICE)])
    return desk


def tail(address):
    return int.from_bytes(address[-8:], "big")


def answers(desk):
    return [(r.reason, r.detail, r.have, r.need) for r in desk.refusals]


def bid(desk, client_id, by=ALICE, **fields):
    return desk.new(1, client_id, Side.BUY, 1500, 1, by=by, **fields)


def test_an_agent_trades_for_its_account_alone(desk):
    assert desk.slot([bid(desk, 1), bid(desk, 2, by=BOB)]) == [Reason.SIGNER]
    assert answers(desk) == [(Reason.SIGNER, 0, tail(BOB), tail(owner(1)))]
    assert list(desk.account(1).orders) == [1]
    kinds = (MessageKind.REPLACE, {"price": 1499, "quantity": 2}), (MessageKind.REDUCE, {"quantity": 1})
    for kind, fields in (*kinds, (MessageKind.CANCEL, {})):
        assert desk.slot([desk.row(kind, 1, ALICE, client_id=1, **fields)]) == []
    rows = [desk.row(MessageKind.CANCEL_ALL_AFTER, 1, ALICE, amount=5), bid(desk, 3)]
    assert desk.slot([*rows, desk.row(MessageKind.CANCEL_ALL, 1, ALICE, instrument=0xFFFF)]) == []
    assert not desk.account(1).orders and desk.account(1).timer
    assert desk.slot([desk.new(2, 1, Side.BUY, 1500, 1, by=ALICE)]) == [Reason.SIGNER]


def test_an_agent_does_not_withdraw_transfer_or_appoint(desk):
    rows = [
        desk.row(MessageKind.WITHDRAW, 1, ALICE, amount=5),
        desk.transfer(1, 1, 5, by=ALICE),
        desk.appoint(1, BOB, by=ALICE),
        desk.revoke(1, ALICE, by=ALICE),
    ]
    assert desk.slot(rows) == [Reason.SIGNER] * 4
    assert {answer[1:] for answer in answers(desk)} == {(2, tail(ALICE), tail(owner(1)))}
    assert desk.account(1).agents[ALICE].nonces.used == []  # it has shown nothing
    assert list(desk.account(1).agents) == [ALICE]


def test_an_agent_s_time_is_up_behind_its_expiry(desk):
    desk.slot([desk.appoint(1, BOB, until=desk.time + 2)])
    assert desk.slot([bid(desk, 1, by=BOB)]) == []
    assert desk.slot([bid(desk, 2, by=BOB)]) == [Reason.SIGNER]
    assert answers(desk) == [(Reason.SIGNER, 1, desk.time - 1, desk.time)]


def test_what_an_agent_signs_lives_for_a_minute_or_as_long_as_was_said(desk):
    now = desk.time
    late = [bid(desk, n, expiry=now + n + 60_000) for n in (0, 1, 2)]
    for n, row in enumerate(late):
        row["nonce"], row["client_id"] = now, n + 1
        desk.signed_by[1, now] = ALICE
    assert desk.slot(late[:1]) == [] and desk.slot(late[1:2]) == [Reason.NONCE_USED]
    late[2]["nonce"] = now + 1
    desk.signed_by[1, now + 1] = ALICE
    assert desk.slot(late[2:]) == [Reason.EXPIRY_LONG]
    assert answers(desk) == [(Reason.EXPIRY_LONG, 0, now + 60_002, now + 60_001)]
    assert desk.slot([desk.appoint(1, ALICE, life=DAY)]) == []
    assert desk.slot([bid(desk, 9, expiry=desk.time + DAY // 2)]) == []
    mine = desk.new(1, 10, Side.BUY, 1500, 1, expiry=2**63)
    assert desk.slot([mine]) == []  # the owner's own is not bound


def test_each_signer_has_nonces_and_a_floor_of_its_own(desk):
    nonce = desk.time
    rows = [bid(desk, 1), desk.row(MessageKind.CANCEL_ALL, 1, ALICE, instrument=0, amount=nonce)]
    rows.append(desk.new(1, 2, Side.BUY, 1500, 1, nonce=5))
    assert desk.slot(rows) == []
    account = desk.account(1)
    agent = account.agents[ALICE]
    assert (agent.nonces.floor, agent.nonces.used) == (nonce, [nonce, nonce + 1])
    assert (account.nonces.floor, account.nonces.used) == (0, [1, 5])
    owners, agents = ControlLeaf.decode(control_leaf(account)).signers
    assert owners == Signer(owner(1), 0, 0, 0, 0, (1, 5))
    assert agents == Signer(ALICE, 2**40, agent.appointed, 60_000, nonce, (nonce, nonce + 1))
    assert desk.machine.state_root() == naive_root(desk.machine)
    again = Machine.restore(CONFIG, desk.machine.snapshot())
    assert again.snapshot() == desk.machine.snapshot()
    assert again.accounts[1].agents[ALICE].nonces.used == agent.nonces.used


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"agent": owner(1)}, (Reason.REQUEST, 136, tail(owner(1)), tail(owner(1)) + 1)),
        ({"agent": bytes(20)}, (Reason.REQUEST, 136, 0, 1)),
        ({"until": 2**48}, (Reason.REQUEST, 160, 2**48, 2**48 - 1)),
        ({"life": 2**32}, (Reason.REQUEST, 168, 2**32, 2**32 - 1)),
        ({"until": 5}, (Reason.EXPIRED, 1, 5, 10 * DAY + 2)),
    ],
)
def test_an_appointment_is_refused_with_both_numbers(desk, fields, answer):
    desk.slot([desk.appoint(1, **{"agent": BOB} | fields)])
    assert answers(desk) == [answer]
    assert list(desk.account(1).agents) == [ALICE]


def test_a_stray_byte_of_a_body_is_named(desk):
    rows = desk.appoint(1, BOB)
    rows.view(np.uint8)[128 + 7] = 9
    desk.slot([rows])
    assert answers(desk) == [(Reason.REQUEST, 135, 9, 0)]


def test_four_agents_and_no_more_until_one_s_place_is_free(desk):
    assert desk.slot([desk.appoint(1, bytes([n]) * 20) for n in range(0x71, 0x75)]) == [Reason.AGENTS_FULL]
    assert answers(desk) == [(Reason.AGENTS_FULL, 0, 5, 4)]
    assert desk.slot([bid(desk, 1), desk.revoke(1, ALICE), desk.appoint(1, BOB)]) == [Reason.AGENTS_FULL]
    desk.time += 60_000  # as long as Alice's order could come again
    assert desk.slot([desk.appoint(1, BOB)]) == []
    assert ALICE not in desk.account(1).agents and list(desk.account(1).agents)[-1] == BOB


def test_a_revoked_agent_may_do_nothing_and_its_orders_stay(desk):
    assert desk.slot([bid(desk, 1), desk.revoke(1, ALICE), bid(desk, 2)]) == [Reason.SIGNER]
    assert answers(desk) == [(Reason.SIGNER, 1, 0, desk.time)]
    assert list(desk.account(1).orders) == [1]
    assert desk.slot([desk.revoke(1, BOB), desk.revoke(1, ALICE)]) == [Reason.SIGNER]
    assert answers(desk) == [(Reason.SIGNER, 3, tail(BOB), 0)]


def test_nothing_comes_again_when_an_agent_is_appointed_again(desk):
    """Neither at once, nor with a shorter life, nor when its place was given away in between."""
    order = bid(desk, 1, expiry=desk.time + 3_600_000)
    others = [desk.appoint(1, bytes([n]) * 20) for n in range(0x71, 0x74)]
    desk.slot([desk.appoint(1, ALICE, life=3_600_000), order, *others])
    assert list(desk.account(1).orders) == [1]
    cancel = desk.row(MessageKind.CANCEL, 1, client_id=1)
    desk.slot([cancel, desk.revoke(1, ALICE), desk.appoint(1, ALICE, life=1)])
    assert desk.account(1).agents[ALICE].max_life == 3_600_000
    assert desk.slot([order]) == [Reason.NONCE_USED]
    desk.time += 120_000
    assert desk.slot([desk.revoke(1, ALICE), desk.appoint(1, BOB)]) == [Reason.AGENTS_FULL]
    desk.time += 3_600_000
    assert desk.slot([desk.appoint(1, BOB)]) == []
    desk.slot([desk.revoke(1, BOB), desk.appoint(1, ALICE, life=3_600_000)])
    assert desk.slot([order]) == [Reason.NONCE_LOW]


def test_a_longer_life_makes_nothing_good_that_was_refused_before(desk):
    """An order that lived too long, and one that a raised floor has killed; the place was given away."""
    long, killed = (bid(desk, n, expiry=desk.time + 3_600_000) for n in (1, 2))
    floor = desk.row(MessageKind.CANCEL_ALL, 1, ALICE, instrument=0xFFFF)
    floor["amount"] = floor["nonce"]
    assert desk.slot([long, floor, killed]) == [Reason.EXPIRY_LONG, Reason.NONCE_LOW]
    desk.slot([desk.revoke(1, ALICE)])
    desk.time += 60_100
    appointed = desk.time + 2
    assert desk.slot([desk.appoint(1, BOB)]) == []
    assert ALICE not in desk.account(1).agents
    assert desk.slot([desk.appoint(1, ALICE, life=3_600_000)]) == []
    assert desk.slot([long, killed]) == [Reason.NONCE_LOW] * 2
    assert desk.account(1).agents[ALICE].nonces.floor == appointed - 60_000
    assert desk.slot([bid(desk, 3, nonce=appointed - 60_000)], signed=[ALICE]) == []


def test_a_short_life_keeps_the_place_for_the_usual_one(desk):
    desk.slot([desk.appoint(1, BOB, life=1)])
    for agent in (b"c" * 20, b"d" * 20):
        desk.slot([desk.appoint(1, agent)])
    signed = desk.time
    assert desk.slot([bid(desk, 1, BOB, nonce=signed, expiry=signed + 1)], signed=[BOB]) == []
    desk.time = signed + 59_999
    assert desk.slot([desk.revoke(1, BOB), desk.appoint(1, b"e" * 20)]) == [Reason.AGENTS_FULL]
    assert desk.slot([desk.appoint(1, b"e" * 20)]) == []
    assert BOB not in desk.account(1).agents


def test_authorisations_come_before_the_commands_of_their_slot(desk):
    rows = [bid(desk, 1, by=BOB)]
    admission = desk.open(rows, authorisations=[desk.appoint(1, BOB), desk.revoke(1, ALICE)])
    assert (admission.refusals, admission.inputs, len(admission.command_seqs)) == ((), 3, 3)
    assert admission.command_seqs == tuple(range(admission.first_seq, admission.first_seq + 3))
    appointed = desk.account(1).agents[BOB].appointed
    assert appointed == admission.first_seq
    leaves = [
        (InputClass.AUTHORISATION, owner(1), 0),
        (InputClass.AUTHORISATION, owner(1), 0),
        (InputClass.USER, BOB, appointed),
    ]
    slot = desk.machine._slot
    structs = desk.signers(slot).structs
    expected = [
        InputLeaf(seq, kind, address, ref, struct).hash()
        for seq, (kind, address, ref), struct in zip(admission.command_seqs, leaves, structs, strict=True)
    ]
    assert desk.machine._inputs[-3:] == expected


def test_an_authorisation_is_judged_as_a_command_is(desk):
    admission = desk.open(authorisations=[desk.appoint(1, BOB, by=ALICE), desk.revoke(9, BOB)])
    assert [r.reason for r in admission.refusals] == [Reason.SIGNER, Reason.ACCOUNT]


def request(index, agent=BOB, expiry=2**40, **fields):
    values = {"owner": owner(1), "account": 1, "generation": ONE, "amount": 0, "time": 7} | fields
    return Request(index, RequestKind.APPOINT, agent=agent, expiry=expiry, **values)


def test_who_signs_nothing_appoints_on_the_chain(desk):
    queue = [request(1), request(2, expiry=0)]
    admission = desk.open([bid(desk, 1, by=BOB)], requests=queue[:1])
    assert admission.refusals == ()
    agent = desk.account(1).agents[BOB]
    assert (agent.expiry, agent.max_life, agent.appointed) == (2**40, 60_000, admission.first_seq)
    behind = request_accumulator(START, queued(queue[0]))
    leaf = InputLeaf(admission.first_seq, InputClass.REQUEST, owner(1), 1, behind)
    assert desk.machine._inputs[-2] == leaf.hash()
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)
    assert (desk.machine.request_index, desk.machine.request_accumulator) == (1, behind)
    assert desk.slot([bid(desk, 2, by=BOB)], requests=queue[1:]) == [Reason.SIGNER]
    assert desk.machine.state_root() == naive_root(desk.machine)
    again = Machine.restore(CONFIG, desk.machine.snapshot())
    assert again.snapshot() == desk.machine.snapshot()
    desk.slot(closes=1)
    header = desk.machine.seal_batch().header_fields()
    behind = request_accumulator(behind, queued(queue[1]))
    assert (header["forced_index"], header["forced_accumulator"]) == (2, behind)


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"account": 5}, (Reason.ACCOUNT, 0, 5, 5)),
        ({"generation": 7}, (Reason.GONE, 0, 7, ONE)),
        ({"owner": owner(2)}, (Reason.SIGNER, 0, tail(owner(2)), tail(owner(1)))),
        ({"agent": owner(1)}, (Reason.REQUEST, 136, tail(owner(1)), tail(owner(1)) + 1)),
        ({"expiry": 2**64 - 1}, (Reason.REQUEST, 160, 2**64 - 1, 2**48 - 1)),
        ({"expiry": 1}, (Reason.EXPIRED, 1, 1, 10 * DAY + 2)),
        ({"expiry": 0}, (Reason.SIGNER, 3, tail(BOB), 0)),
    ],
)
def test_a_forced_appointment_is_refused_with_both_numbers(desk, fields, answer):
    desk.slot(requests=[request(1, **fields)])
    assert answers(desk) == [answer]
    assert list(desk.account(1).agents) == [ALICE] and desk.machine.request_index == 1


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"requests": [request(2)]}, "requests: index 2, not 1"),
        ({"requests": [request(1), request(3)]}, "requests: index 3, not 2"),
        ({"requests": [request(1, owner=b"short")]}, "requests: .*owner"),
        ({"requests": [request(1, account=2**32)]}, "requests: .*account"),
        ({"authorisations": [np.zeros(1, MESSAGE)]}, "authorisations: kinds .0."),
    ],
)
def test_what_is_no_authorisation_is_no_slot(desk, inputs, what):
    before = desk.machine.snapshot()
    with pytest.raises(StateError, match=what):
        desk.open(**inputs)
    assert desk.machine.snapshot() == before


def test_half_an_appointment_is_no_slot(desk):
    slot = desk.input()
    half = desk.appoint(1, BOB)[:1]
    object.__setattr__(slot, "authorisations", half)
    with pytest.raises(StateError, match=r"authorisations: .* second row is missing"):
        desk.machine.open_slot(slot, desk.signers(desk.input()))
