"""What an owner forces through the contract's queue: withdrawals, cancels, an exit."""

import random

import pytest
from hawse.keys.messages import MessageKind
from hawse.state.slot import Request, RequestKind
from hawse.wire import Kind, Reason, Side
from hawse.wire.dtypes import kinds
from support.desk import RICH, Desk, owner

ONE = 1 << 24


@pytest.fixture
def desk():
    return Desk()


def request(index, kind, amount=0, **fields):
    values = {"owner": owner(1), "account": 1, "generation": ONE, "time": 7} | fields
    return Request(index, kind, amount=amount, agent=bytes(20), expiry=0, **values)


def paid(desk):
    return [(withdrawal.owner, withdrawal.amount) for withdrawal in desk.machine._withdrawals]


def test_a_forced_withdrawal_is_paid_or_refused_as_a_signed_one(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 10_000)])
    free = desk.machine.withdrawable(desk.account(1))
    assert 0 < free < RICH
    asked = [0, RICH + 1, free + 1, free, 1, 2**63]
    desk.slot(requests=[request(n, RequestKind.WITHDRAW, amount) for n, amount in enumerate(asked, 1)])
    assert [(r.reason, r.have, r.need) for r in desk.refusals] == [
        (Reason.REQUEST, 0, 1),
        (Reason.BALANCE, RICH, RICH + 1),
        (Reason.WITHDRAWABLE, free, free + 1),
        (Reason.WITHDRAWABLE, 0, 1),
        (Reason.OVERFLOW, 2**63, 2**63 - 1),
    ]
    assert paid(desk) == [(owner(1), free)]


@pytest.mark.parametrize("kind", [RequestKind.WITHDRAW, RequestKind.CANCEL_ALL, RequestKind.EXIT])
def test_nobody_forces_anything_of_another_s(desk, kind):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 10)])
    wrong = [{"owner": owner(2)}, {"generation": ONE + 1}, {"account": 9}, {"account": 0, "generation": 0}]
    queue = [request(n, kind, int(kind == RequestKind.WITHDRAW), **one) for n, one in enumerate(wrong, 1)]
    desk.slot(requests=queue)
    assert [r.reason for r in desk.refusals] == [Reason.SIGNER, Reason.GONE, Reason.ACCOUNT, Reason.ACCOUNT]
    assert desk.order(1, 1) and not paid(desk)


def test_a_forced_cancel_comes_before_what_would_trade_with_the_order(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 10), desk.new(1, 2, Side.SELL, 1600, 5)])
    admission = desk.open(
        [desk.new(2, 3, Side.SELL, 1500, 10)], requests=[request(1, RequestKind.CANCEL_ALL)]
    )
    burst = desk.engine.run(admission.orders)
    desk.machine.clear_slot(burst.events)
    assert Kind.TRADE not in kinds(burst.events)
    assert {*desk.machine.machine_commands.values()} == {Reason.FORCED}
    assert not desk.account(1).orders and desk.order(2, 3)
    assert admission.refusals == () and len(desk.machine.machine_commands) == 2


def test_requests_keep_their_numbers_when_orders_go(desk):
    """The machine's commands come behind all of them, so that an answer is found by counting."""
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 10), desk.new(2, 1, Side.BUY, 1490, 10)])
    both = [request(1, RequestKind.CANCEL_ALL), request(2, RequestKind.WITHDRAW, RICH + 1)]
    both.append(request(3, RequestKind.CANCEL_ALL, owner=owner(2), account=2, generation=2 * ONE))
    admission = desk.open(requests=both)
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)
    assert [r.seq - admission.first_seq for r in admission.refusals] == [1]
    assert admission.inputs == 5 and not desk.account(1).orders and not desk.account(2).orders


def test_an_exit_cancels_and_pays_what_may_leave_and_the_rest_the_next_time(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 10_000), desk.new(2, 1, Side.SELL, 1500, 4_000)])
    free, size = desk.machine.withdrawable(desk.account(1)), desk.account(1).positions[0].size
    assert size == 4_000
    assert desk.slot(requests=[request(1, RequestKind.EXIT)]) == []
    assert paid(desk) == [(owner(1), free)] and not desk.account(1).orders
    # The order's margin is free behind the slot; the position's is not, and stays.
    rest = desk.machine.withdrawable(desk.account(1))
    assert rest > 0
    assert desk.slot(requests=[request(2, RequestKind.EXIT), request(3, RequestKind.EXIT)]) == []
    assert paid(desk) == [(owner(1), free), (owner(1), rest)]
    assert desk.account(1).positions[0].size == size
    assert desk.machine.sum_of_balances() + free + rest == desk.machine.deposited


def test_an_order_that_is_cancelled_twice_goes_once(desk):
    desk.slot([desk.new(1, 1, Side.BUY, 1500, 10)])
    queue = [request(1, RequestKind.CANCEL_ALL), request(2, RequestKind.EXIT)]
    rows = [desk.row(MessageKind.CANCEL_ALL, 1, instrument=0xFFFF)]
    assert desk.slot(rows, requests=queue) == []
    assert [*desk.machine.machine_commands.values()] == [Reason.FORCED]


@pytest.mark.parametrize("seed", range(25))
def test_no_mix_of_forced_and_signed_takes_what_is_not_there(seed):
    """Little money, everybody trades with everybody, marks move, and both ways out are tried at once."""
    rng = random.Random(f"forced/{seed}")
    desk, index, client_id = Desk(accounts=3, amount=rng.choice([2_000, 9_000, 40_000])), 0, 0
    machine = desk.machine
    for _ in range(25):
        rows, requests = [], []
        for _ in range(rng.randrange(5)):
            account, client_id = rng.randrange(1, 4), client_id + 1
            price, lots = 1500 + rng.randrange(-6, 7), rng.randrange(1, 40)
            side = rng.choice([Side.BUY, Side.SELL])
            rows.append(desk.new(account, client_id, side, price, lots))
        for _ in range(rng.randrange(4)):
            account, index = rng.randrange(1, 4), index + 1
            kind = rng.choice([RequestKind.WITHDRAW, RequestKind.CANCEL_ALL, RequestKind.EXIT])
            most = max(1, desk.account(account).collateral)
            amount = rng.choice([1, most, rng.randrange(1, most + 1)]) if kind == RequestKind.WITHDRAW else 0
            whose = {"owner": owner(account), "account": account, "generation": account * ONE}
            requests.append(request(index, kind, amount, **whose))
        for account in rng.sample(range(1, 4), rng.randrange(3)):
            amount = rng.randrange(1, 3_000)
            rows.append(desk.row(MessageKind.WITHDRAW, account, amount=amount))
        marks = [(0, machine.markets[0].mark + rng.randrange(-30, 31))] if rng.random() < 0.4 else []
        before, had = len(paid(desk)), {a: machine.withdrawable(desk.account(a)) for a in range(1, 4)}
        desk.slot(rows, requests=requests, marks=marks)
        assert machine.sum_of_balances() + machine.withdrawn == machine.deposited
        for account in range(1, 4):
            taken = sum(amount for who, amount in paid(desk)[before:] if who == owner(account))
            if not marks:  # what could leave at the slot's start is the most that left in it
                assert taken <= had[account]
            if taken and not marks:
                assert machine.free_collateral(desk.account(account)) >= 0
