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


def test_a_bitcoin_at_64_000():
    one = 10**8  # lots
    assert margin.notional(BTC, 64_000, one) == 64_000_000_000
    assert margin.initial_margin(BTC, 64_000, one) == 3_200_000_000
    assert margin.fee(BTC, 64_000, one, 500) == 32_000_000
    assert margin.reservation(BTC, Side.BUY, 64_000, one, 64_000) == 3_232_000_000
    # Limit 1000 ticks worse than the mark: that loss as well, and margin at the higher price.
    assert margin.reservation(BTC, Side.BUY, 65_000, one, 64_000) == 3_282_500_000 + 1_000_000_000
    assert margin.reservation(BTC, Side.SELL, 63_000, one, 64_000) == 3_232_000_000 + 1_000_000_000
    assert margin.reservation(BTC, Side.SELL, 65_000, one, 64_000) == 3_282_500_000
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


@given(
    INSTRUMENTS.filter(lambda i: i.taker_fee_ppm <= i.initial_margin_ppm // 2),
    st.sampled_from(Side),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.integers(0, 10**5),
)
def test_a_fill_costs_no_more_than_was_reserved(instrument, side, price, mark, quantity, better):
    """One fill at the limit or better: margin, loss and fee stay within the reservation."""
    at = max(1, price - better) if side == Side.BUY else price + min(better, max(mark - price, 0))
    held = margin.reservation(instrument, side, price, quantity, mark)
    size = -quantity if side else quantity
    fee = margin.fee(instrument, at, quantity, instrument.taker_fee_ppm)
    position = (instrument, size, size * at, mark)
    assert margin.free_collateral(held - fee, [position], 0) >= -1


def test_equity_and_free_collateral():
    second = replace(BTC, number=1, denominator=7)
    positions = [(BTC, 150, 150 * 100, 99), (second, -3, -3 * 10, 12)]
    # -150/100 and -6/7, each down; margins of 148.5 and 36/7 quanta at 5 %, each up.
    assert margin.equity(50, positions) == 50 - 2 - 1
    assert margin.free_collateral(50, positions, 5) == 47 - 8 - 1 - 5


def test_money_is_an_int64():
    assert margin.money(2**63 - 1, "x") == 2**63 - 1 and margin.money(-(2**63), "x") == -(2**63)
    for bad in (2**63, -(2**63) - 1):
        with pytest.raises(MoneyOverflow, match="balance") as overflow:
            margin.money(bad, "balance")
        assert overflow.value.value == bad
    with pytest.raises(OverflowError):
        margin.equity(2**63 - 1, [(BTC, 100, 0, 1)])
    with pytest.raises(MoneyOverflow, match="reservation"):
        margin.reservation(replace(BTC, denominator=1), Side.BUY, 2**31 - 1, 2**32 - 1, -(2**31))
