from dataclasses import replace

import pytest
from hawse.commit import exits, leaves, withdrawals
from hawse.commit.exits import Exit, ExitOverflow, Haircut
from hawse.commit.merkle import verify
from hawse.commit.withdrawals import Withdrawal
from hypothesis import given
from hypothesis import strategies as st
from tiny_keccak import keccak256


def word(value):
    return value.to_bytes(32, "big")


def some(n):
    return [Exit(i + 1, bytes([i]) * 20, 100 * i) for i in range(n)]


def rfc6962(nodes):
    if len(nodes) == 1:
        return nodes[0]
    k = 1 << (len(nodes) - 1).bit_length() - 1
    (a, x), (b, y) = rfc6962(nodes[:k]), rfc6962(nodes[k:])
    return keccak256(b"\x21" + a + word(x) + b + word(y)), x + y


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 31])
def test_the_root_commits_to_hashes_and_sums(n):
    payouts = some(n)
    nodes = [
        (keccak256(b"\x20" + e.account.to_bytes(4, "big") + e.owner + word(e.payout)), e.payout)
        for e in payouts
    ]
    root = exits.root(payouts)
    assert root == rfc6962(nodes) and root[1] == sum(e.payout for e in payouts)
    for i, e in enumerate(payouts):
        bits, siblings = exits.proof(payouts, i)
        assert exits.verify(e, bits, siblings, root)
        assert not exits.verify(replace(e, payout=e.payout + 1), bits, siblings, root)
        assert not exits.verify(e, bits, siblings, (root[0], root[1] + 1))
        assert not exits.verify(e, bits | 1 << len(siblings), siblings, root)
        if siblings:
            cheat = [(siblings[0][0], siblings[0][1] + 1), *siblings[1:]]
            assert not exits.verify(e, bits, cheat, root)


def test_no_accounts():
    assert exits.root([]) == (keccak256(b""), 0)
    with pytest.raises(IndexError):
        exits.proof([], 0)


def test_sums_do_not_wrap():
    most = Exit(1, bytes(20), 2**256 - 1)
    assert exits.root([most])[1] == 2**256 - 1
    for other in (1, 2**256, -1):
        with pytest.raises(ExitOverflow):
            exits.root([most, Exit(2, bytes(20), other)])
    with pytest.raises(ExitOverflow):
        exits.verify(most, 0, [(bytes(32), 1)], (bytes(32), 0))


@pytest.mark.parametrize(
    ("equities", "insurance", "fees", "dust", "expected"),
    [
        ([], 5, 6, 7, Haircut(1, 1, 5, 6, 7)),
        ([10, 20], 5, 6, 7, Haircut(1, 1, 5, 6, 7)),
        ([10, 20, -5], 5, 6, 7, Haircut(1, 1, 0, 6, 7)),
        ([10, 20, -3, -1], 5, 6, 7, Haircut(1, 1, 1, 6, 7)),
        ([10, 20, -11], 5, 6, 7, Haircut(24, 30, 0, 6, 7)),
        ([10, 20, -35], 5, 6, 7, Haircut(0, 30, 0, 6, 7)),
        ([10, 20, -38], 5, 6, 7, Haircut(0, 30, 0, 3, 7)),
        ([10, 20, -45], 5, 6, 7, Haircut(0, 30, 0, 0, 3)),
        ([-11], 5, 6, 7, Haircut(1, 1, 0, 0, 7)),
    ],
)
def test_who_bears_a_shortfall(equities, insurance, fees, dust, expected):
    assert exits.haircut(equities, insurance, fees, dust) == expected


@given(st.lists(st.integers(-1000, 1000)), *[st.integers(0, 500)] * 3)
def test_no_more_is_promised_than_is_held(equities, insurance, fees, dust):
    held = sum(equities) + insurance + fees + dust
    if held < 0:
        return
    cut = exits.haircut(equities, insurance, fees, dust)
    payouts = [cut.payout(e) for e in equities]
    promised = sum(payouts) + cut.insurance + cut.fees + cut.dust
    assert held - len(equities) <= promised <= held
    assert all(0 <= p <= max(e, 0) for p, e in zip(payouts, equities, strict=True))
    if all(e >= 0 for e in equities):
        assert payouts == equities


def test_withdrawals_prove_themselves():
    paid = tuple(Withdrawal(i, bytes([i]) * 20, 10 * i) for i in range(1, 8))
    root = withdrawals.root(paid)
    assert paid[0].leaf() == keccak256(b"\x30" + bytes(7) + b"\x01" + b"\x01" * 20 + word(10))
    for i, w in enumerate(paid):
        bits, siblings = withdrawals.proof(paid, i)
        assert verify(w.leaf(), bits, siblings, root, withdrawals.NODE)
        assert not verify(replace(w, amount=w.amount + 1).leaf(), bits, siblings, root, withdrawals.NODE)


def test_outcomes():
    one, two = (keccak256(b"\x80" + bytes(7) + bytes([seq, reason])) for seq, reason in ((3, 4), (9, 11)))
    assert leaves.outcomes_root([(3, 4), (9, 11)]) == keccak256(b"\x81" + one + two)
    assert leaves.outcomes_root([]) == keccak256(b"")
