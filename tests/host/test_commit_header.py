from dataclasses import replace

import pytest
from hawse.commit import exits, withdrawals
from hawse.commit.exits import ExitLeaf
from hawse.commit.header import HeaderError
from hawse.commit.withdrawals import Withdrawal
from support.headers import header

FIRST = header()
NEXT = replace(
    FIRST,
    number=2,
    previous_state_root=FIRST.state_root,
    accounts=9,
    inputs_first=101,
    withdrawals_first=1,
    journal_first=10,
    journal_last=19,
)


def test_a_first_and_a_next_header():
    FIRST.check_follows(None)
    NEXT.check_follows(FIRST)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"version": 1}, "version", "1 is not 2"),
        ({"number": 3}, "number", "3 is not 2, the next"),
        ({"previous_state_root": bytes(32)}, "previous_state_root", "is not 3131"),
        ({"accounts": 4}, "accounts", "4 is not 5 to 1048581"),
        ({"accounts": 6 + 2**20}, "accounts", "is not 5 to 1048581"),
        ({"inputs_first": 100}, "inputs_first", "100 is not 101, the next"),
        ({"inputs_count": 2**24 + 1}, "inputs_count", "is not at most 16777216"),
        ({"log_records": 449}, "log_records", "449 is not 7 to 448"),
        ({"log_records": 6}, "log_records", "6 is not 7 to 448"),
        ({"log_leaves": 2**34 + 1}, "log_leaves", "is not at most"),
        ({"exit_positive": 2**126}, "exit_positive", "is not below"),
        ({"insurance": -(2**126)}, "insurance", "is not below"),
        ({"withdrawals_first": 2}, "withdrawals_first", "2 is not 1, the next"),
        ({"withdrawals_count": 2**20 + 1}, "withdrawals_count", "is not at most 1048576"),
        ({"withdrawals_sum": 1}, "withdrawals_sum", "1 is not 0"),
        ({"withdrawals_root": bytes(32)}, "withdrawals_root", "is not c5d2"),
        ({"data_provider": 2}, "data_provider", "2 is not 0 or 1"),
        ({"data_hash": b"\1" * 32}, "data_hash", "is not zero"),
        ({"journal_first": 11}, "journal_first", "11 is not 10, the next"),
        ({"journal_last": 9}, "journal_last", "9 is not 10 to 4294967305"),
        ({"journal_last": 10 + 2**32}, "journal_last", "is not 10 to 4294967305"),
        ({"time": FIRST.time - 1}, "time", f"is not {FIRST.time} or more"),
    ],
)
def test_a_header_that_does_not_continue_is_refused(changes, field, says):
    with pytest.raises(HeaderError, match=says) as refused:
        replace(NEXT, **changes).check_follows(FIRST)
    assert refused.value.field == field


@pytest.mark.parametrize("name", ["deposit_index", "forced_index"])
def test_no_queue_goes_back(name):
    with pytest.raises(HeaderError, match=f"{name}: 4 is not 5 or more"):
        replace(NEXT, **{name: 4}).check_follows(replace(FIRST, **{name: 5}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"number": -1}, "number: -1 is not 0 to"),
        ({"accounts": 2**32}, "accounts: 4294967296 is not 0 to 4294967295"),
        ({"insurance": 2**127}, "insurance: .* is not -"),
        ({"insurance": None}, "insurance: None is not"),
        ({"state_root": bytes(31)}, "state_root: 0{62} is not 32 bytes"),
        ({"state_root": 5}, "state_root: 5 is not 32 bytes"),
    ],
)
def test_a_value_that_its_type_cannot_hold(changes, says):
    with pytest.raises(HeaderError, match=says):
        header(**changes)


def test_a_header_says_what_proofs_stand_on():
    leaves = [ExitLeaf(i, bytes([i]) * 20, i, 0, equity) for i, equity in enumerate((0, 30, -10))]
    paid = [Withdrawal(1, bytes(20), 0, 7)]
    tree = exits.tree(leaves)
    made = header(
        accounts=3,
        exit_root=tree.root.hash,
        exit_positive=30,
        exit_shortfall=10,
        insurance=4,
        fees=2,
        dust=1,
        withdrawals_root=withdrawals.tree(paid).root.hash,
        withdrawals_count=1,
        withdrawals_sum=7,
    )
    assert made.exits == tree.root
    assert made.withdrawals == withdrawals.range_of(paid, 1)
    assert made.haircut.payout(30) == 24
    assert made.owed == 24 + 0 + 3
