from dataclasses import replace

import pytest
from hawse.commit import exits, withdrawals
from hawse.commit.codec import LeafError
from hawse.commit.exits import ExitLeaf, ExitMark, Haircut
from hawse.commit.trees import EMPTY, NoSuchLeaf, SumError
from hawse.commit.withdrawals import Withdrawal
from hypothesis import given
from hypothesis import strategies as st


def accounts(*equities):
    nobody = ExitLeaf(0, bytes(20), 0, 0, 0)
    return [nobody, *(ExitLeaf(i, bytes([i]) * 20, i << 24, 0, e) for i, e in enumerate(equities, 1))]


def test_the_top_sums_are_what_is_owed_and_what_is_short():
    leaves = accounts(10, -3, 0, 20, -1)
    tree = exits.tree(leaves)
    assert tree.root.sums == (30, 4)
    for leaf in leaves:
        siblings = tree.proof(leaf.index)
        assert exits.verify(leaf, 6, siblings, tree.root)
        assert not exits.verify(replace(leaf, generation=7), 6, siblings, tree.root)
    with pytest.raises(NoSuchLeaf):
        exits.verify(replace(leaves[1], index=6), 6, tree.proof(1), tree.root)


def test_no_accounts_and_sums_that_are_too_large():
    assert exits.tree([]).root == (EMPTY, (0, 0))
    with pytest.raises(SumError):
        exits.tree(accounts(2**127 - 1, 2**127 - 1, 2))
    with pytest.raises(LeafError, match="equity"):
        exits.tree(accounts(2**127))


def test_marks_are_one_for_each_instrument():
    marks = [ExitMark(i, 100 + i, 99 + i, 0, 1, 100, 0) for i in range(3)]
    assert exits.marks_root(marks[:1]) == marks[0].hash()
    assert exits.marks_root([]) == EMPTY
    assert exits.marks_root(marks) != exits.marks_root(marks[::-1])
    with pytest.raises(LeafError, match="denominator: 0"):
        replace(marks[0], denominator=0).encode()


@pytest.mark.parametrize(
    ("equities", "insurance", "paid", "owed"),
    [
        ([], 5, [], 18),
        ([10, 20], 5, [10, 20], 48),
        ([10, 20, -5], 5, [10, 20, 0], 43),
        ([10, 20, -3, -1], 5, [10, 20, 0, 0], 44),
        ([10, 20, -11], 5, [8, 16, 0], 37),  # 24 of 30
        ([10, 20, -35], 5, [0, 0, 0], 13),
        ([10, 20, -38], 5, [0, 0, 0], 10),
        ([10, 20, -45], 5, [0, 0, 0], 3),
        ([10, 20, -100], 5, [0, 0, 0], 0),
        ([-11], 5, [0], 7),
        ([10, 20], -3, [9, 18], 40),  # 27 of 30: what insurance owes, exits bear
        ([10, 20, -3], -3, [8, 16, 0], 37),
    ],
)
def test_who_bears_a_shortfall(equities, insurance, paid, owed):
    """Insurance pays first, then the exits are cut, then fees and dust, of which there are 6 and 7."""
    positive, shortfall = exits.tree(accounts(*equities)).root.sums
    cut = Haircut(positive, shortfall, insurance)
    assert [cut.payout(e) for e in equities] == paid
    assert cut.owed(6, 7) == owed


@given(st.lists(st.integers(-1000, 1000)), *[st.integers(0, 500)] * 2, st.integers(-500, 500))
def test_no_more_is_promised_than_is_held(equities, fees, dust, insurance):
    held = sum(equities) + insurance + fees + dust
    if held < 0:
        return
    positive, shortfall = (sum(max(sign * e, 0) for e in equities) for sign in (1, -1))
    cut = Haircut(positive, shortfall, insurance)
    payouts = [cut.payout(e) for e in equities]
    assert cut.owed(fees, dust) == held
    assert max(0, cut.exits - len(equities)) <= sum(payouts) <= cut.exits
    assert all(0 <= p <= max(e, 0) for p, e in zip(payouts, equities, strict=True))
    if all(e >= 0 for e in equities) and insurance >= 0:
        assert payouts == equities


def test_withdrawals_prove_themselves():
    paid = [Withdrawal(i, bytes([i]) * 20, 0, 10 * i) for i in range(5, 12)]
    tree, among = withdrawals.tree(paid), withdrawals.range_of(paid, 5)
    assert (among.root, among.first, among.count, among.sum) == (tree.root.hash, 5, 7, 560)
    for n, w in enumerate(paid):
        siblings = tree.proof(n)
        assert withdrawals.verify(w, among, siblings)
        assert not withdrawals.verify(replace(w, amount=w.amount + 1), among, siblings)
        assert not withdrawals.verify(w, replace(among, sum=561), siblings)
        # The last of seven has a shorter path than of eight; the others' paths are the same.
        assert withdrawals.verify(w, replace(among, count=8), siblings) == (n < 6)
        assert not withdrawals.verify(replace(w, id=5 + (n + 1) % 7), among, siblings)
    for outside in (4, 12):
        with pytest.raises(NoSuchLeaf):
            withdrawals.verify(replace(paid[0], id=outside), among, tree.proof(0))


def test_a_batch_without_withdrawals_names_the_next_id():
    none = withdrawals.range_of([], 9)
    assert (none.root, none.first, none.count, none.sum) == (EMPTY, 9, 0, 0)


def test_ids_have_no_hole():
    paid = [Withdrawal(i, bytes(20), 0, 1) for i in (5, 6, 8)]
    with pytest.raises(LeafError, match="id: 8 is not 7, the next"):
        withdrawals.tree(paid)
    with pytest.raises(LeafError, match="id: 5 is not 4, the next"):
        withdrawals.range_of(paid[:2], 4)
