from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import ceil, floor

import pytest
from hawse.instruments import Instrument
from hawse.risk import margin
from hawse.risk.margin import MoneyOverflow
from hawse.wire import Side
from hypothesis import given
from hypothesis import strategies as st

BTC = Instrument(
    number=0,
    name="BTC/USD",
    numerator=1,
    denominator=100,
    initial_margin_ppm=50_000,
    maker_fee_ppm=200,
    taker_fee_ppm=500,
    count=64,
    base=0,
    first_mark=64_000,
)
PRICES = st.integers(-(2**31), 2**31 - 1)
QUANTITIES = st.integers(0, 2**32 - 1)
INSTRUMENTS = st.builds(
    partial(replace, BTC),
    numerator=st.integers(1, 50),
    denominator=st.integers(1, 1000),
    initial_margin_ppm=st.integers(1, 10**6),
    maker_fee_ppm=st.integers(0, 10**6),
    taker_fee_ppm=st.integers(0, 10**6),
)


def held(orders, mark, size=0, instrument=BTC):
    """Requirement of a position and orders of (side, price, lots)."""
    lots, loss, basis = [0, 0], 0, 0
    for side, price, quantity in orders:
        lots[side] += quantity
        more = margin.order_weight(instrument, side, price, quantity, mark)
        loss, basis = loss + more[0], basis + more[1]
    return margin.requirement(instrument, mark, size, *lots, loss, basis)


def test_a_bitcoin_at_64_000():
    one = 10**8  # lots
    assert margin.notional(BTC, 64_000, one) == 64_000_000_000
    assert margin.initial_margin(BTC, 64_000, one) == 3_200_000_000
    assert margin.fee(BTC, 64_000, one, 500) == 32_000_000
    # Fees at the larger of limit and mark, margin at the mark, and what the limit is worse than the mark.
    assert held([(Side.BUY, 64_000, one)], 64_000) == 3_200_000_000 + 32_000_000
    assert held([(Side.BUY, 65_000, one)], 64_000) == 3_200_000_000 + 32_500_000 + 1_000_000_000
    assert held([(Side.SELL, 63_000, one)], 64_000) == 3_200_000_000 + 32_000_000 + 1_000_000_000
    assert held([(Side.SELL, 65_000, one)], 64_000) == 3_200_000_000 + 32_500_000
    # The worst of three: a position is closed, and turned over, before it needs more.
    assert held([(Side.SELL, 64_000, 2 * one)], 64_000, one) == 3_200_000_000 + 64_000_000
    assert held([(Side.SELL, 64_000, 3 * one)], 64_000, one) == 6_400_000_000 + 96_000_000
    assert held([(Side.BUY, 64_000, one), (Side.SELL, 64_000, one)], 64_000) == 3_200_000_000 + 64_000_000
    assert margin.unrealised(BTC, -one, -one * 64_000, 63_000) == 1_000_000_000


@given(INSTRUMENTS, PRICES, QUANTITIES)
def test_what_a_user_owes_is_rounded_up(instrument, price, quantity):
    exact = Fraction(abs(price * quantity) * instrument.numerator, instrument.denominator)
    if exact > margin.MONEY_MAX:
        with pytest.raises(MoneyOverflow):
            margin.notional(instrument, price, quantity)
        return
    assert margin.notional(instrument, price, quantity) == ceil(exact)
    due = ceil(exact * instrument.initial_margin_ppm / 10**6)
    assert margin.initial_margin(instrument, price, quantity) == due
    assert margin.fee(instrument, price, quantity, 333) == ceil(exact * 333 / 10**6)


@given(INSTRUMENTS, st.integers(-(2**40), 2**40), st.integers(-(2**60), 2**60), PRICES)
def test_unrealised_profit_is_rounded_down(instrument, size, entry, mark):
    exact = floor(Fraction((size * mark - entry) * instrument.numerator, instrument.denominator))
    if margin.MONEY_MIN <= exact <= margin.MONEY_MAX:
        assert margin.unrealised(instrument, size, entry, mark) == exact
    else:
        with pytest.raises(MoneyOverflow):
            margin.unrealised(instrument, size, entry, mark)


ORDERS = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(-(10**6), 10**6), st.integers(1, 10**6)), min_size=1
)


@given(INSTRUMENTS, ORDERS, st.integers(-(10**6), 10**6), st.integers(-(10**7), 10**7), st.data())
def test_a_fill_costs_no_more_than_was_held(instrument, orders, mark, size, data):
    """A fill of any order, in part, at its limit or better: free collateral falls by rounding alone."""
    (side, price, quantity), *others = data.draw(st.permutations(orders))
    lots = data.draw(st.integers(1, quantity))
    better = data.draw(st.integers(0, 10**6))
    at = price - better if side == Side.BUY else price + better
    bought = lots if side == Side.BUY else -lots
    fee = margin.fee(instrument, at, lots, max(instrument.maker_fee_ppm, instrument.taker_fee_ppm))
    profit = margin.unrealised(instrument, bought, bought * at, mark)
    before = held(orders, mark, size, instrument)
    rest = [(side, price, quantity - lots)] if lots < quantity else []
    assert before - held(others + rest, mark, size + bought, instrument) + profit - fee >= -3


def test_equity():
    second = replace(BTC, number=1, denominator=7)
    positions = [(BTC, 150, 150 * 100, 99), (second, -3, -3 * 10, 12)]
    # -150/100 and -6/7, each down.
    assert margin.equity(50, positions) == 50 - 2 - 1


def test_what_closes_pays_for_itself_or_not():
    # 100 lots at 64,000 release 3200 quanta; 500 ppm of 64,000 are 32; so much is lost 3168 ticks below.
    assert margin.pays_for_itself(BTC, Side.SELL, 64_000 - 3168, 100, 64_000)
    assert not margin.pays_for_itself(BTC, Side.SELL, 64_000 - 3169, 100, 64_000)
    assert margin.pays_for_itself(BTC, Side.SELL, 99_000, 100, 64_000)


def test_money_is_an_int64():
    assert margin.money(2**63 - 1, "x") == 2**63 - 1 and margin.money(-(2**63), "x") == -(2**63)
    for bad in (2**63, -(2**63) - 1):
        with pytest.raises(MoneyOverflow, match="balance") as overflow:
            margin.money(bad, "balance")
        assert overflow.value.value == bad
    with pytest.raises(OverflowError):
        margin.equity(2**63 - 1, [(BTC, 100, 0, 1)])
    with pytest.raises(MoneyOverflow, match="requirement"):
        held([(Side.BUY, 2**31 - 1, 2**32 - 1)], -(2**31), instrument=replace(BTC, denominator=1))
