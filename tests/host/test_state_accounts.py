"""Subaccounts, transfers between them, and the indices of empty accounts that are given again."""

import json
from dataclasses import replace

import pytest
from hawse.commit.leaves import ANY_INSTRUMENT, AccountLeaf, ControlLeaf
from hawse.keys.messages import MessageKind
from hawse.state.commitments import account_leaf, control_leaf
from hawse.state.ledger import TRANSFERS_MAX, Ledger
from hawse.state.machine import Machine
from hawse.state.rules import RuleSet
from hawse.state.snapshot import MAGIC, SnapshotError
from hawse.wire import Reason, Side
from support.desk import PERP, no_mark_counts, owner
from support.money import ODD, USD, MoneyDesk, bitcoin, venue
from support.naive import leaves_of, naive_digest, naive_root
from tiny_keccak import keccak256

MARK = 78_000
RULES = {"account_quota": 3, "reuse_batches": 2}
ONE = 1 << 24


@pytest.fixture
def desk():
    return MoneyDesk((1000 * USD, 1000 * USD), venue(bitcoin(), ODD, **RULES))


def answers(desk):
    return [(r.reason, r.detail, r.have, r.need) for r in desk.refusals]


def close(desk, batches=1):
    """So many batches that end here."""
    for _ in range(batches):
        desk.slot(closes=desk.machine.batch)
        desk.machine.seal_batch()


def test_a_transfer_opens_a_subaccount_of_its_own_life(desk):
    assert desk.slot([desk.transfer(1, 7, 100 * USD), desk.transfer(1, 7, 5), desk.transfer(1, 2, USD)]) == []
    main, seven, two = (desk.machine.account_of(owner(1), n) for n in (0, 7, 2))
    assert (seven.index, seven.subaccount, seven.generation) == (3, 7, ONE | 1)
    assert (two.index, two.subaccount, two.generation) == (4, 2, ONE | 3)
    assert (main.collateral, seven.collateral, two.collateral) == (899 * USD - 5, 100 * USD + 5, USD)
    leaf, control = AccountLeaf.decode(account_leaf(seven)), ControlLeaf.decode(control_leaf(main))
    assert (leaf.subaccount, leaf.generation, leaf.only) == (7, ONE | 1, ANY_INSTRUMENT)
    assert control.transfers == 3 and ControlLeaf.decode(control_leaf(seven)).transfers == 0
    assert sorted(desk.machine.transfers.values()) == [(3, ONE | 1)] * 2 + [(4, ONE | 3)]
    assert desk.machine.state_root() == naive_root(desk.machine)


def test_a_message_of_another_life_is_gone(desk):
    desk.slot([desk.transfer(1, 1, USD)])
    rows = [desk.new(3, 1, Side.BUY, MARK, 1000, generation=g) for g in (ONE, ONE | 2, 2 * ONE | 1)]
    assert desk.slot(rows) == [Reason.GONE] * 3
    assert {r.need for r in desk.refusals} == {ONE | 1}
    assert desk.slot([desk.new(3, 1, Side.BUY, MARK, 1000)]) == []


def test_an_order_of_a_subaccount_uses_its_money_alone(desk):
    desk.slot([desk.transfer(1, 1, 40 * USD)])
    rows = [desk.new(3, 1, Side.BUY, MARK, 10**6), desk.new(1, 1, Side.BUY, MARK, 10**6)]
    assert desk.slot(rows) == []
    assert desk.slot([desk.new(3, 2, Side.BUY, MARK, 10**6)]) == [Reason.MARGIN]


@pytest.mark.parametrize(
    ("to", "amount", "answer"),
    [
        (0, 5, (Reason.REQUEST, 4, 0, 1)),
        (1, 0, (Reason.REQUEST, 56, 0, 1)),
        (1, 2**63, (Reason.OVERFLOW, 0, 2**63, 2**63 - 1)),
        (1, 1000 * USD + 1, (Reason.BALANCE, 0, 1000 * USD, 1000 * USD + 1)),
        (1, 1000 * USD, (Reason.WITHDRAWABLE, 0, 1000 * USD - 39_390_000, 1000 * USD)),
        (1, USD - 1, (Reason.MIN_DEPOSIT, 0, USD - 1, USD)),
        (0x8000 + 2, USD, (Reason.NO_INSTRUMENT, 0, 2, 1)),
    ],
)
def test_a_transfer_is_refused_with_both_numbers_and_moves_nothing(desk, to, amount, answer):
    desk.slot([desk.new(1, 1, Side.BUY, MARK, 10**6)])
    desk.slot([desk.transfer(1, to, amount)])
    assert answers(desk) == [answer]
    assert len(desk.machine.accounts) == 3 and desk.account(1).transfers == 0
    assert desk.account(1).collateral == 1000 * USD


def test_accounts_and_transfers_of_an_owner_are_bounded(desk):
    assert desk.slot([desk.transfer(1, n, USD) for n in (1, 2, 3)]) == [Reason.ACCOUNT_QUOTA]
    assert answers(desk) == [(Reason.ACCOUNT_QUOTA, 0, 3, 3)]
    desk.account(1).transfers = TRANSFERS_MAX - 1
    assert desk.slot([desk.transfer(1, 1, USD), desk.transfer(1, 1, USD)]) == [Reason.OVERFLOW]
    assert answers(desk) == [(Reason.OVERFLOW, 1, TRANSFERS_MAX + 1, TRANSFERS_MAX)]


def test_a_subaccount_that_would_hold_too_much_is_not_credited(desk):
    desk.slot([desk.transfer(1, 1, USD)], deposits=[(owner(1), 2**63 - 1 - 1000 * USD)])
    assert desk.slot([desk.transfer(1, 1, 2**63 - 1 - USD)]) == []
    desk.slot(deposits=[(owner(1), 5)])
    assert desk.slot([desk.transfer(1, 1, 1)]) == [Reason.OVERFLOW]


@no_mark_counts()
def test_nothing_is_transferred_while_others_are_owed_more_than_insurance_has(desk):
    desk.slot([desk.transfer(1, 1, 40 * USD), desk.transfer(1, 2, 40 * USD)])
    rows = [desk.new(3, 1, Side.BUY, MARK, 10**6), desk.new(2, 1, Side.SELL, MARK, 10**6)]
    assert desk.slot(rows) == []
    desk.move(0, 73_000)
    assert desk.equity(3) < 0
    desk.slot([desk.transfer(1, 2, USD)])
    assert [(r.reason, r.detail) for r in desk.refusals] == [(Reason.WITHDRAWABLE, 1)]


def test_money_that_came_by_transfer_may_be_used_and_leave_in_the_same_slot(desk):
    desk.slot([desk.transfer(1, 1, USD)])
    rows = [
        desk.new(3, 1, Side.BUY, MARK, 10**6),
        desk.transfer(1, 1, 50 * USD),
        desk.new(3, 2, Side.BUY, MARK, 10**6),
        desk.withdraw(3, 11_610_000 + 1),
        desk.withdraw(3, 11_610_000),
    ]
    assert desk.slot(rows) == [Reason.MARGIN, Reason.WITHDRAWABLE]
    assert desk.account(3).collateral == 39_390_000


def test_a_subaccount_may_be_bound_to_one_instrument(desk):
    assert desk.slot([desk.transfer(1, 0x8001, 100 * USD)]) == []
    assert AccountLeaf.decode(account_leaf(desk.account(3))).only == 1
    assert desk.slot([desk.new(3, 1, Side.BUY, MARK, 1000)]) == [Reason.ISOLATED]
    assert answers(desk) == [(Reason.ISOLATED, 0, 0, 1)]
    assert desk.slot([desk.new(3, 1, Side.BUY, 4000, 1000, instrument=1)]) == []


def test_accounts_of_one_owner_have_one_tag_one_quota_and_do_not_trade_with_each_other():
    desk = MoneyDesk((1000 * USD, 1000 * USD), venue(bitcoin(), order_quota=3))
    desk.slot([desk.transfer(1, 1, 100 * USD)])
    rows = [desk.new(1, 1, Side.BUY, MARK, 1000), desk.new(3, 1, Side.SELL, MARK, 1000)]
    assert desk.slot(rows) == []
    assert not desk.account(1).positions and not desk.account(3).positions
    assert desk.slot([desk.new(3, n, Side.SELL, MARK + n, 1000) for n in (2, 3, 4)]) == [Reason.ORDER_QUOTA]
    assert answers(desk) == [(Reason.ORDER_QUOTA, 0, 3, 3)]
    assert len(desk.machine._ledger.tags) == 1


def test_an_index_is_given_again_after_some_batches_with_a_new_life(desk):
    desk.slot([desk.withdraw(1, 1000 * USD)])
    assert desk.machine._ledger.waiting == {1: 3}
    desk.slot(deposits=[(owner(3), USD)])
    close(desk, 2)
    assert desk.machine.account_of(owner(1)).index == 1
    desk.slot(deposits=[(owner(4), USD)])
    account = desk.machine.account_of(owner(4))
    assert (account.index, account.generation, account.owner) == (1, 4 * ONE, owner(4))
    assert desk.machine.account_of(owner(1)) is None and desk.machine._ledger.waiting == {}
    assert desk.slot([desk.new(1, 1, Side.BUY, MARK, 1000, generation=ONE)]) == [Reason.GONE]
    desk.slot(deposits=[(owner(1), USD)])
    assert desk.machine.account_of(owner(1)).index == 4


def test_many_indices_are_given_again_in_one_slot_and_looked_at_once(monkeypatch):
    """The lowest first, but for those whose owner came back. Once each new account looked at all of them."""
    many = 40
    desk = MoneyDesk((USD,) * many, venue(bitcoin(), **RULES))
    desk.slot([desk.withdraw(n, USD) for n in range(1, many + 1)])
    close(desk, 2)
    looked, is_empty = [], Ledger.is_empty

    def counted(ledger, account):
        looked.append(account.index)
        return is_empty(ledger, account)

    monkeypatch.setattr(Ledger, "is_empty", counted)
    new = [owner(n) for n in range(101, 101 + many)]
    back = [(owner(3), 1), (owner(1), 1)]
    admission = desk.open(deposits=[back[0], *((who, USD) for who in new[: many // 2]), back[1]])
    assert len(looked) <= many
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)
    given = [n for n in range(1, many + 1) if n != 3]
    indices = [desk.machine.account_of(who).index for who in new[: many // 2]]
    assert indices == given[: many // 2]
    assert desk.machine.account_of(owner(1)) is None  # a quantum opens no account anew
    desk.restart()
    desk.slot(deposits=[(who, USD) for who in new[many // 2 :]])
    indices = [desk.machine.account_of(who).index for who in new[many // 2 :]]
    assert indices == [*given[many // 2 :], many + 1]
    assert desk.machine.state_root() == naive_root(desk.machine)


def test_who_comes_back_in_time_keeps_his_account_and_its_nonces(desk):
    desk.slot([desk.withdraw(1, 1000 * USD)])
    close(desk, 5)
    desk.slot(deposits=[(owner(1), 5)])
    account = desk.machine.account_of(owner(1))
    assert (account.index, account.generation, account.nonces.used) == (1, ONE, [1])
    assert desk.machine._ledger.waiting == {}
    desk.slot([desk.withdraw(1, 5)])
    assert desk.machine._ledger.waiting == {1: 8}


def test_a_refused_command_of_an_empty_account_wins_no_time(desk):
    desk.slot([desk.withdraw(1, 1000 * USD)])
    close(desk)
    desk.slot([desk.cancel(1, 9)])
    assert desk.machine._ledger.waiting == {1: 3}


def test_an_index_that_is_filled_and_emptied_in_one_slot_waits_anew(desk):
    """Else the account that a later command of the slot opens would take it."""
    desk.slot([desk.withdraw(1, 1000 * USD)])
    close(desk, 2)
    rows = [desk.withdraw(1, 5), desk.transfer(2, 1, USD)]
    assert desk.slot(rows, deposits=[(owner(1), 5)]) == []
    assert desk.machine.account_of(owner(1)).index == 1
    assert desk.machine.account_of(owner(2), 1).index == 3
    assert desk.machine._ledger.waiting == {1: 5}


def test_a_main_account_outlasts_the_others_of_its_owner(desk):
    desk.slot([desk.transfer(1, 1, 1000 * USD)])
    assert desk.machine._ledger.waiting == {}
    desk.slot([desk.withdraw(3, 1000 * USD)])
    assert desk.machine._ledger.waiting == {3: 3}
    close(desk, 2)
    desk.slot([desk.transfer(2, 1, USD)])  # takes index 3
    assert desk.machine.account_of(owner(2), 1).index == 3
    assert desk.machine._ledger.waiting == {1: 5}
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=1)]) == [Reason.BALANCE]


def test_timers_and_agents_end_with_the_account(desk):
    desk.slot([desk.appoint(1, b"a" * 20), desk.row(MessageKind.CANCEL_ALL_AFTER, 1, amount=10_000)])
    desk.slot([desk.withdraw(1, 1000 * USD)])
    close(desk, 2)
    desk.slot(deposits=[(owner(9), USD)])
    account = desk.account(1)
    assert (account.timer, account.agents, account.nonces.used) == (0, {}, [])
    assert desk.machine._ledger.timed == {}


def test_leaves_digest_and_snapshot_follow_an_account_s_lives(desk):
    machine = desk.machine
    steps = (
        ([desk.transfer(1, 1, USD), desk.transfer(1, 0x8000, USD)], {}),
        ([desk.transfer(3, 0, USD)], {}),
        ([], {"closes": 1}),
        ([], {"closes": 2}),
        ([desk.transfer(2, 1, USD)], {}),
        ([desk.transfer(4, 0, USD), desk.withdraw(1, 1000 * USD)], {}),
        ([], {"closes": 3}),
        ([], {"closes": 4}),
        ([], {"deposits": [(owner(7), USD), (owner(8), USD)]}),
    )
    for rows, inputs in steps:
        before, previous = leaves_of(machine), machine.digest
        for row in rows:  # of the account that has the index by now
            row["generation"] = desk.account(int(row["account"][0])).generation
        number = machine.next_slot
        assert desk.slot(rows, **inputs) == []
        expected, _ = naive_digest(before, machine, number, previous)
        assert machine.digest == expected and machine.state_root() == naive_root(machine)
        if "closes" in inputs:
            machine.seal_batch()
        again = Machine.restore(desk.config, machine.snapshot())
        assert again.snapshot() == machine.snapshot()
        assert again._ledger.by_owner.keys() == machine._ledger.by_owner.keys()
    assert [(a.owner[0], a.subaccount) for a in machine.accounts[1:]] == [
        (1, 0),
        (2, 0),
        (2, 1),
        (7, 0),
        (8, 0),
    ]


def changed(snapshot, change):
    at = len(MAGIC)
    body = json.loads(snapshot[at + 96 :])
    change(body[LEDGER])
    text = json.dumps(body, separators=(",", ":")).encode()
    return snapshot[:at] + keccak256(text) + snapshot[at + 32 : at + 96] + text


#: Where a snapshot has the ledger, the ledger what waits, rules and accounts, and an account its parts.
LEDGER = 4
WAITING, RULES_IN_FORCE, ACCOUNTS = 4, 5, 6
SUBACCOUNT, TRANSFERS, FLAGS, NONCES, AGENTS = 2, 4, 5, 6, 7
AGENT = ["0a" * 20, 2**40, 3, 60_000, [0, []]]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda ledger: ledger[ACCOUNTS][3].__setitem__(SUBACCOUNT, 0), "twice"),
        (lambda ledger: ledger[ACCOUNTS][1].__setitem__(SUBACCOUNT, 9), "no subaccount 0"),
        (lambda ledger: ledger[ACCOUNTS][1].__setitem__(TRANSFERS, 0), "generation: transfer 1 of account 3"),
        (lambda ledger: ledger[ACCOUNTS][3].__setitem__(TRANSFERS, 1), "transfers"),
        (lambda ledger: ledger[ACCOUNTS][2].__setitem__(1, 2 * ONE + 1), "generation"),
        (lambda ledger: ledger[ACCOUNTS][1].__setitem__(NONCES, [0, [2, 1]]), "nonces"),
        (lambda ledger: ledger[ACCOUNTS][1].__setitem__(AGENTS, [AGENT, AGENT]), "agents"),
        (lambda ledger: ledger[ACCOUNTS][1].__setitem__(AGENTS, [["01" * 20, *AGENT[1:]]]), "agents"),
        (
            lambda ledger: ledger[ACCOUNTS][1].__setitem__(
                AGENTS, [[f"{n:040x}", 2**40, n, 60_000, [0, []]] for n in range(1, 6)]
            ),
            "agents: 5",
        ),
        (lambda ledger: ledger[ACCOUNTS][3].__setitem__(FLAGS, 4), "flags: 4 of account 3, not 0"),
        (lambda ledger: ledger[ACCOUNTS][2].__setitem__(FLAGS, 16), "flags: 0x10"),
        (lambda ledger: ledger[ACCOUNTS][2].__setitem__(FLAGS, 4), "state root"),
        (lambda ledger: ledger.__setitem__(RULES_IN_FORCE, [1, "00"]), "1 bytes"),
        (lambda ledger: ledger.__setitem__(RULES_IN_FORCE, [1, RuleSet(1).encode().hex()]), "state root"),
        (lambda ledger: ledger.__setitem__(WAITING, []), "waiting"),
        (lambda ledger: ledger.__setitem__(WAITING, [[1, 3], [2, 3]]), "waiting"),
        (lambda ledger: ledger.__setitem__(WAITING, [[2, 4]]), "state root"),
    ],
)
def test_a_snapshot_of_accounts_that_cannot_be_is_refused(desk, change, what):
    desk.slot([desk.transfer(1, 1, USD), desk.withdraw(2, 1000 * USD)])
    data = desk.machine.snapshot()
    assert changed(data, lambda ledger: None) == data
    with pytest.raises(SnapshotError, match=what):
        Machine.restore(desk.config, changed(data, change))


def test_rules_of_accounts_are_bounded_by_name():
    for name, bad in (
        ("account_quota", 0),
        ("reuse_batches", 0),
        ("reserved_tags", 31),
        ("reserved_handles", 256),
    ):
        with pytest.raises(ValueError, match=name):
            venue(bitcoin(), **{name: bad})
    config = venue(
        replace(PERP, first=0), account_quota=5, reuse_batches=6, reserved_tags=7, reserved_handles=8
    )
    assert type(config).decode(config.encode()) == config


def test_reserved_tags_and_handles_stay_free_however_many_come():
    rules = venue(bitcoin(), orders=64, tag_bits=3, reserved_tags=2, reserved_handles=57)
    desk = MoneyDesk([100 * USD] * 7, rules)
    rows = [desk.new(n, 1, Side.BUY, MARK - n, 1000) for n in range(1, 8)]
    assert desk.slot(rows) == [Reason.TAGS_FULL, Reason.TAGS_FULL]
    assert len(desk.machine._ledger.handles) == 59
    rows = [desk.new(1, n, Side.BUY, MARK, 1000) for n in (2, 3, 4)]
    assert desk.slot(rows) == [Reason.STORE_FULL]
    assert answers(desk) == [(Reason.STORE_FULL, 0, 0, 1)]
    assert desk.slot([desk.cancel(1, 1), desk.new(2, 3, Side.BUY, MARK, 1000)]) == [Reason.STORE_FULL]
    assert desk.slot([desk.new(2, 3, Side.BUY, MARK, 1000)]) == []  # behind the fence
