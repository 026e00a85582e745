"""Data of batches: what exits need leads from state to state, and bytes that are none are refused."""

from dataclasses import replace

import numpy as np
import pytest
from hawse.commit import data as data_module
from hawse.commit.data import (
    ACCOUNT,
    POSITION,
    SNAPSHOT_BATCHES,
    DataError,
    ExitState,
    data_hash,
    halves,
    parts_of,
)
from hawse.commit.exits import ExitLeaf, ExitMark
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_keccak import keccak256

I64 = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-200, 200))
I128 = st.one_of(st.integers(-(2**127), 2**127 - 1), st.integers(-(2**40), 2**40))


def whole(bits):
    return st.one_of(st.integers(0, 2**bits - 1), st.integers(0, min(2**bits - 1, 300)))


ACCOUNTS = st.lists(
    st.tuples(whole(64).filter(bool), I64, whole(32), whole(16), st.integers(0, 1)), max_size=6
)
HELD = st.dictionaries(
    st.tuples(st.integers(0, 6), whole(16)), st.tuples(I128, I128, I64.filter(bool)), max_size=8
)
MARKS = st.lists(
    st.tuples(whole(16), I64, I64, I128, whole(32), whole(32).filter(bool), whole(8)), max_size=3
)


def state(accounts, held, marks):
    rows = [(0, 7, 0, 0, 0, 0), *((*row, 0) for row in accounts)]
    keys = sorted(key for key in held if key[0] < len(rows))
    positions = [
        (halves(held[key][0]), halves(held[key][1]), held[key][2], key[0], key[1], 0) for key in keys
    ]
    marks = {mark[0]: ExitMark(*mark) for mark in sorted(marks)}
    return ExitState(np.array(rows, ACCOUNT), np.array(positions, POSITION), tuple(marks.values()))


STATES = st.builds(state, ACCOUNTS, HELD, MARKS)


def without_fewer(before, after):
    """``after`` with no fewer accounts: an index is given again, never taken away."""
    lost = len(before.accounts) - len(after.accounts)
    if lost <= 0:
        return after
    return replace(after, accounts=np.concatenate([after.accounts, before.accounts[-lost:]]))


@settings(max_examples=300, deadline=None)
@given(STATES, STATES, st.sampled_from([1, 77, SNAPSHOT_BATCHES, 2**40]))
def test_the_data_leads_from_any_state_to_any_other(before, after, number):
    after = without_fewer(before, after)
    data = after.pack(before, number)
    assert ExitState.unpack(data, before, number) == after


@settings(max_examples=300, deadline=None)
@given(STATES, STATES, st.data())
def test_changed_bytes_are_refused_or_lead_to_what_they_say(before, after, draw):
    after = without_fewer(before, after)
    data = bytearray(after.pack(before, 5))
    at = draw.draw(st.integers(0, len(data) - 1))
    how = draw.draw(st.sampled_from(["flip", "cut", "more", "twice"]))
    if how == "flip":
        data[at] ^= draw.draw(st.integers(1, 255))
    elif how == "cut":
        del data[at:]
    else:
        data += bytes(3) if how == "more" else data[at:]
    try:
        found = ExitState.unpack(bytes(data), before, 5)
    except DataError as error:
        assert "data of batch 5" in str(error)
    else:
        assert ExitState.unpack(found.pack(before, 5), before, 5) == found


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    with pytest.raises(DataError):
        ExitState.unpack(b"\x01\x00" + noise + b"\x80", ExitState(), 5)


def test_what_announces_more_than_it_brings_costs_no_memory():
    for numbers in ([5, 2**27, 0], [5, 1, 2**27], [2**127], [5, 2**64 - 1, 1, 2**64 - 1]):
        bad = b"\x01\x00" + b"".join(data_module._integer(n // 2) for n in numbers)
        with pytest.raises(DataError):
            ExitState.unpack(bad, ExitState(), 5)


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ([(3, 7, 7, 0, 1, 0, 0)], "denominator"),
        ([(-1, 7, 7, 0, 1, 1, 0)], "instrument"),
        ([(3, 2**100, 7, 0, 1, 1, 0)], "long"),
        ([(3, 7, 7, 0, 1, 1, 0), (3, 7, 7, 0, 1, 1, 0)], "instrument 3 behind 3"),
    ],
)
def test_marks_that_are_none_are_refused(marks, says):
    numbers = b"".join(data_module._integer(value) for mark in marks for value in mark)
    data = ExitState().pack(ExitState(), 5)
    with pytest.raises(DataError, match=says):
        ExitState.unpack(data[:-1] + bytes([len(marks)]) + numbers, ExitState(), 5)


def test_a_batch_says_its_number_and_whether_it_is_a_snapshot():
    data = ExitState().pack(ExitState(), 5)
    with pytest.raises(DataError, match="it says it is of batch 5"):
        ExitState.unpack(data, ExitState(), 6)
    with pytest.raises(DataError, match="a snapshot is due every 1024 batches"):
        ExitState.unpack(data, ExitState(), SNAPSHOT_BATCHES)
    with pytest.raises(DataError, match="begins with 0200"):
        ExitState.unpack(b"\x02" + data[1:], ExitState(), 5)


def test_a_snapshot_asks_for_nothing_before_it():
    after = state([(1 << 24, 5, 0, 0, 0)], {(1, 3): (10, 0, -2)}, [(3, 7, 7, 0, 1, 2, 0)])
    data = after.pack(state([(9, 9, 9, 9, 1)], {}, []), SNAPSHOT_BATCHES)
    assert ExitState.unpack(data, ExitState(), SNAPSHOT_BATCHES) == after


def test_leaves_are_valued_at_the_marks_of_either_side():
    marks = [(3, 100, 90, 0, 1, 2, 0), (4, 7, 8, 0, 3, 1, 0)]
    made = state(
        [(1 << 24, 50, 0, 0, 0), (2 << 24 | 1, 0, 0, 0, 0)],
        {(1, 3): (95, 0, 1), (2, 3): (-95, 0, -1), (2, 4): (8, 0, 1)},
        marks,
    )
    owners = {1: b"\x01" * 20, 2: b"\x02" * 20}
    assert made.exit_leaves(owners) == (
        ExitLeaf(0, bytes(20), 0, 0, 0),
        ExitLeaf(1, owners[1], 1 << 24, 0, 50 + 2),  # half of 100 - 95, rounded down
        ExitLeaf(2, owners[2], 2 << 24 | 1, 0, 2 - 3),  # half of 95 - 90, and three times 7 - 8
    )
    with pytest.raises(DataError, match="account 2 is of deposit 2, of 1"):
        made.exit_leaves({1: owners[1]})
    with pytest.raises(DataError, match="account 2 holds 1 lots of instrument 4, which has no mark"):
        replace(made, marks=made.marks[:1]).exit_leaves(owners)


def test_the_hash_is_a_chain_over_parts(monkeypatch):
    monkeypatch.setattr(data_module, "PART_BYTES", 4)
    assert parts_of(b"abcdefghij") == [b"abcd", b"efgh", b"ij"]
    assert parts_of(b"") == [] and data_hash([]) == bytes(32)
    behind = bytes(32)
    for part in (b"abcd", b"efgh", b"ij"):
        behind = keccak256(b"\xd0" + behind + keccak256(part))
    assert data_hash(parts_of(b"abcdefghij")) == behind


def test_a_changed_account_with_a_position_takes_about_fifteen_bytes():
    rng, count = np.random.default_rng(1), 10_000
    accounts = np.zeros(count, ACCOUNT)
    accounts["generation"], accounts["collateral"] = np.arange(count) << 24, rng.integers(0, 10**12, count)
    positions = np.zeros(count, POSITION)
    positions["account"], positions["lots"] = np.arange(count), rng.integers(1, 10**6, count)
    positions["entry"]["low"] = rng.integers(1, 10**11, count)
    before, at = ExitState(accounts, positions), rng.choice(count, 1000, replace=False)
    after = ExitState(accounts.copy(), positions.copy())
    after.accounts["collateral"][at] += rng.integers(-(10**6), 10**6, 1000)
    after.positions["lots"][at] += rng.integers(1, 1000, 1000)
    after.positions["entry"]["low"][at] += rng.integers(1, 10**8, 1000).astype(np.uint64)
    assert len(after.pack(before, 1)) < 16 * 1000
