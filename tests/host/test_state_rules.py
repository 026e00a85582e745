"""Rule sets and flags: what the operator signs about who may trade, and what it keeps from the book."""

import pytest
from hawse.commit.leaves import AccountLeaf
from hawse.keys.messages import REDUCE_ONLY
from hawse.state.commitments import account_leaf
from hawse.state.inputs import StateError
from hawse.state.machine import Machine
from hawse.state.rules import FLAGS, NO_LIMIT, Flag, RuleSet
from hawse.state.slot import Operation, OperationKind
from hawse.wire import Reason, Side, TimeInForce
from support.desk import owner
from support.money import USD, MoneyDesk, bitcoin, venue
from support.naive import leaves_of, naive_digest, naive_root

MARK = 78_000
ATLANTIS = 7 << 16


@pytest.fixture
def desk():
    return MoneyDesk((1000 * USD,) * 3, venue(bitcoin()))


def rules(number, **fields):
    return Operation(OperationKind.RULES, RuleSet(number, **fields).encode(), bytes(64))


def flags(who, value):
    return Operation(OperationKind.FLAGS, FLAGS.pack(owner(who), value), bytes(64))


def says(desk, *operations):
    assert desk.slot(operations=operations) == []


def answers(desk):
    return [(r.reason, r.detail, r.have, r.need) for r in desk.refusals]


def bid(desk, account, client_id, lots=1000, **fields):
    return desk.new(account, client_id, Side.BUY, MARK, lots, **fields)


def test_without_rules_everybody_trades(desk):
    says(desk, flags(1, Flag.BOUND | ATLANTIS))
    assert desk.slot([bid(desk, 1, 1)]) == []


def test_an_allow_list_keeps_out_who_is_not_on_it(desk):
    says(desk, rules(1, listed=True), flags(1, Flag.ALLOWED), flags(2, Flag.AFFILIATE))
    assert desk.slot([bid(desk, n, 1) for n in (1, 2, 3)]) == [Reason.RULE] * 2
    assert answers(desk) == [(Reason.RULE, 1, Flag.AFFILIATE, 1), (Reason.RULE, 1, 0, 1)]
    says(desk, rules(2))
    assert desk.slot([bid(desk, n, 1) for n in (2, 3)]) == []


def test_a_jurisdiction_is_barred_and_the_version_named(desk):
    says(desk, rules(1), flags(1, ATLANTIS))
    says(desk, rules(2, barred=(3, 7)))
    assert desk.slot([bid(desk, 1, 1), bid(desk, 2, 1)]) == [Reason.RULE]
    assert answers(desk) == [(Reason.RULE, 2, 7, 2)]


def test_a_bound_owner_holds_so_many_lots_over_all_his_accounts(desk):
    desk.slot([desk.transfer(1, 1, 100 * USD)])
    says(desk, rules(1, lots=5000), flags(1, Flag.BOUND))
    assert AccountLeaf.decode(account_leaf(desk.account(4))).flags == Flag.BOUND
    desk.slot([bid(desk, 1, 1, 3000), desk.new(2, 1, Side.SELL, MARK, 3000)])
    assert desk.size(1) == 3000
    rows = [bid(desk, 4, 1, 1000), bid(desk, 1, 2, 1001), bid(desk, 1, 3, 1000), bid(desk, 2, 9, 9000)]
    assert desk.slot(rows) == [Reason.RULE]
    assert answers(desk) == [(Reason.RULE, 3, 5001, 1)]
    assert desk.slot([desk.replace(1, 3, MARK, 1000)]) == [Reason.RULE]  # the old one counts until clearing
    desk.slot([desk.transfer(1, 2, 100 * USD)])
    assert desk.account(5).flags == Flag.BOUND
    assert desk.slot([bid(desk, 5, 1)]) == [Reason.RULE]


def test_what_only_closes_and_money_out_pass_every_rule(desk):
    desk.slot([bid(desk, 1, 1, 3000), desk.new(2, 1, Side.SELL, MARK, 3000)])
    says(desk, rules(1, listed=True, barred=(0,), lots=0), flags(1, Flag.BOUND))
    ioc = {"time_in_force": TimeInForce.IOC}
    rows = [
        desk.new(1, 2, Side.SELL, MARK, 3001, **ioc),
        desk.new(1, 3, Side.SELL, MARK + 5, 3000, mode=REDUCE_ONLY),
        desk.cancel(1, 3),
        desk.transfer(1, 1, 5 * USD),
        desk.withdraw(1, 5 * USD),
    ]
    assert desk.slot(rows) == [Reason.RULE]
    assert answers(desk) == [(Reason.RULE, 1, Flag.BOUND, 1)]
    assert desk.slot([desk.new(1, 4, Side.SELL, MARK, 3000, **ioc)]) == []


def test_a_reduce_only_order_that_could_open_obeys_the_rules(desk):
    """Behind a fill of the slot, the whole of a REPLACE sold what the position had not any more."""
    desk.slot([bid(desk, 1, 1, 5000), desk.new(2, 1, Side.SELL, MARK, 5000)])
    says(desk, rules(1, lots=0), flags(1, Flag.BOUND))
    assert desk.slot([desk.new(1, 2, Side.SELL, MARK, 5000, mode=REDUCE_ONLY)]) == []
    takes = [bid(desk, 2, n, lots, time_in_force=TimeInForce.IOC) for n, lots in ((2, 4000), (3, 5000))]
    assert desk.slot([takes[0], desk.replace(1, 2, MARK, 5000), takes[1]]) == [Reason.RULE]
    assert answers(desk) == [(Reason.RULE, 3, 10000, 1)]
    assert desk.size(1) == 0
    desk.slot([desk.new(1, 3, Side.SELL, MARK, 5000, mode=REDUCE_ONLY)])  # nothing is left to close
    assert answers(desk) == [(Reason.REDUCE_ONLY, 0, 0, 5000)]


def test_what_rests_stays_when_rules_change(desk):
    desk.slot([bid(desk, 1, 1)])
    says(desk, rules(1, listed=True))
    assert list(desk.account(1).orders) == [1]
    assert desk.slot([desk.reduce(1, 1, 500)]) == [Reason.MIN_QUANTITY]  # which no rule forbids


def test_rules_and_flags_are_in_leaves_digest_and_snapshot(desk):
    steps = (
        [rules(1, listed=True, barred=(1, 65535))],
        [flags(1, Flag.OPERATOR | Flag.ALLOWED | ATLANTIS)],
        [rules(2, lots=9), flags(1, 0), flags(2, Flag.AFFILIATE)],
        [],
    )
    machine = desk.machine
    for operations in steps:
        before, previous, number = leaves_of(machine), machine.digest, machine.next_slot
        says(desk, *operations)
        assert machine.digest == naive_digest(before, machine, number, previous)[0]
        assert machine.state_root() == naive_root(machine)
        again = Machine.restore(desk.config, machine.snapshot())
        assert again.snapshot() == machine.snapshot() and again.rules == machine.rules
    assert machine.rules == RuleSet(2, lots=9)
    assert desk.machine._ledger.rules_from == 3


def test_a_new_life_has_no_flags(desk):
    says(desk, flags(1, Flag.ALLOWED))
    desk.slot([desk.withdraw(1, 1000 * USD)])
    desk.machine._ledger.waiting[1] = 1
    desk.slot(deposits=[(owner(8), USD)])
    assert (desk.account(1).owner, desk.account(1).flags) == (owner(8), 0)


@pytest.mark.parametrize(
    ("operations", "what"),
    [
        ([rules(2)], "rules of number 2, not 1"),
        ([rules(1), rules(2)], "rules of number 2, not 1"),
        ([rules(1), rules(1)], "two rules"),
        ([Operation(OperationKind.RULES, b"", bytes(64))], "rules, body: 0 bytes"),
        ([Operation(OperationKind.RULES, bytes(15), bytes(64))], "rules, number: 0"),
        ([Operation(OperationKind.RULES, RuleSet(1).encode() + b"x", bytes(64))], "rules, barred"),
        ([Operation(OperationKind.RULES, b"\0\0\0\1\2" + bytes(10), bytes(64))], "rules, listed: 2"),
        ([flags(1, 16)], "flags: 0x10"),
        ([flags(9, 1)], "who has no account"),
        ([flags(1, 1), flags(1, 2)], "two flags"),
        ([Operation(OperationKind.FLAGS, b"short", bytes(64))], "flags of 5 bytes, not 24"),
    ],
)
def test_operations_that_cannot_be_are_no_slot(desk, operations, what):
    before = desk.machine.snapshot()
    with pytest.raises(StateError, match=what):
        desk.open(operations=operations)
    assert desk.machine.snapshot() == before


def test_rules_that_nobody_signed_are_no_slot(desk):
    slot = desk.input(operations=[rules(1)])
    good = desk.signers(slot)
    with pytest.raises(StateError, match="signed for slot 1 by"):
        desk.machine.open_slot(slot, type(good)([owner(1)], good.commands, good.structs))


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("number", 0),
        ("number", 2**32),
        ("lots", -1),
        ("lots", NO_LIMIT + 1),
        ("barred", (1, 1)),
        ("barred", (2, 1)),
        ("barred", (-1,)),
        ("barred", (2**16,)),
    ],
)
def test_a_rule_set_names_the_field_out_of_range(field, bad):
    with pytest.raises(ValueError, match=field):
        RuleSet(**{"number": 1, field: bad})


def test_a_rule_set_s_bytes_come_back():
    for one in (RuleSet(1), RuleSet(2**32 - 1, True, 0, (0, 5, 65535))):
        assert RuleSet.decode(one.encode()) == one
        with pytest.raises(ValueError):
            RuleSet.decode(one.encode()[:-1])
