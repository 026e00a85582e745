"""Nonces: a window per signer, in whatever order commands come."""

import random

import pytest
from hawse.keys.messages import MessageKind
from hawse.state.nonces import AHEAD, LIMIT, WINDOW, NonceWindow, most_at
from hawse.wire import Reason, Side
from support.desk import Desk

NOW = 1_777_000_000_000
MOST = most_at(NOW)


@pytest.fixture
def desk():
    return Desk()


def test_any_order_but_none_twice(desk):
    rows = [
        desk.new(1, n, Side.BUY, 1400, 1, nonce=nonce) for n, nonce in enumerate((1002, 1000, 1001, 1001), 1)
    ]
    assert desk.slot(rows) == [Reason.NONCE_USED]
    assert [desk.order(1, n) is not None for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert desk.account(1).nonces.used == [1000, 1001, 1002]


def test_a_nonce_far_ahead_is_refused_and_locks_nobody_out(desk):
    last = desk.new(1, 1, Side.BUY, 1400, 1, nonce=2**64 - 1)
    assert desk.slot([last, desk.row(MessageKind.WITHDRAW, 1, amount=1)]) == [Reason.NONCE_AHEAD]


def test_below_a_full_window_all_is_refused(desk):
    for first in range(100, 100 + WINDOW, 16):
        nonces = range(first, first + 16)
        assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=1, nonce=n) for n in nonces]) == []
    window = desk.account(1).nonces
    assert window.used == list(range(100, 100 + WINDOW))
    low = [desk.row(MessageKind.WITHDRAW, 1, amount=1, nonce=n) for n in (99, 100)]
    assert desk.slot(low) == [Reason.NONCE_LOW, Reason.NONCE_USED]
    assert [(r.have, r.need) for r in desk.refusals] == [(99, 100), (100, 164)]
    assert desk.slot([desk.row(MessageKind.WITHDRAW, 1, amount=1, nonce=1000)]) == []
    again = [desk.row(MessageKind.WITHDRAW, 1, amount=1, nonce=n) for n in (100, 101)]
    assert desk.slot(again) == [Reason.NONCE_LOW, Reason.NONCE_USED]


def test_one_held_back_dies_only_when_63_later_ones_are_in():
    def window(later):
        window = NonceWindow([10])
        for nonce in range(12, 12 + later):
            assert window.take(nonce, MOST) is None
        return window

    assert window(WINDOW - 2).take(11, MOST) is None
    assert window(WINDOW - 1).take(11, MOST) is None
    assert window(WINDOW - 1).take(9, MOST) == (Reason.NONCE_LOW, 10)
    assert window(WINDOW).take(11, MOST) == (Reason.NONCE_LOW, 12)


def test_the_limit_ahead_is_a_day_and_48_bits():
    assert most_at(NOW) == NOW + AHEAD and most_at(LIMIT - 1) == LIMIT - 1
    window = NonceWindow()
    assert window.take(MOST + 1, MOST) == (Reason.NONCE_AHEAD, MOST)
    assert window.used == [] and window.take(MOST, MOST) is None


def test_below_the_floor_all_is_refused():
    window = NonceWindow([50], floor=40)
    assert window.take(39, MOST) == (Reason.NONCE_LOW, 40)
    assert window.take(50, MOST) == (Reason.NONCE_USED, 51) and window.take(40, MOST) is None
    assert NonceWindow(floor=40).take(39, MOST) == (Reason.NONCE_LOW, 40)


def test_it_remembers_what_a_list_of_all_would():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, window, used = random.Random(seed), NonceWindow(), []
    for step in range(3000):
        nonce = max(0, step // 2 + rng.randrange(-80, 80))
        least = sorted(used)[-WINDOW] if len(used) >= WINDOW else 0
        good = nonce >= least and nonce not in used
        assert (window.take(nonce, MOST) is None) == good
        if good:
            used.append(nonce)
        assert window.used == sorted(used)[-WINDOW:]
        assert window.encoded == b"".join(n.to_bytes(6, "big") for n in window.used)
