from dataclasses import astuple
from math import exp

import numpy as np
import pytest
from hawse.risk import fixed, options
from hawse.risk.errors import Code, NoVolatility, OutOfRange
from hawse.risk.fixed import FINE, MOST, ONE, Rounding
from hawse.risk.native import bindings
from hawse.risk.options import Right, evaluate, implied_volatility, prices
from hypothesis import given
from hypothesis import strategies as st
from support import black

PRICE_ERROR, GREEK_ERROR = 1e-7, 1e-6
PRICES = ("call", "put")

FORWARDS = st.integers(1, options.MOST_UNITS)
TIMES = st.integers(0, 3 * ONE)
VOLATILITIES = st.integers(ONE // 100, 3 * ONE)
DISCOUNTS = st.integers(ONE // 2, options.MOST_DISCOUNT)


@st.composite
def _legs(draw):
    forward = draw(FORWARDS)
    strike = forward * draw(st.integers(2**10, 5 * 2**12)) // 2**12
    return forward, max(1, min(strike, options.MOST_UNITS))


def _as_floats(rows):
    return np.array([rows[name] / ONE for name in black.NAMES]).T


def _held_against_quantlib(grid):
    """Largest difference of each of NAMES."""
    found, codes = bindings.evaluate(grid)
    assert not codes.any()
    return abs(_as_floats(found) - np.array(list(black.quantlib(grid)))).max(axis=0)


def _accept(errors):
    for name, error in zip(black.NAMES, errors, strict=True):
        assert error < (PRICE_ERROR if name in PRICES else GREEK_ERROR), name


def test_prices_and_greeks_are_those_of_quantlib():
    pytest.importorskip("QuantLib")
    _accept(_held_against_quantlib(black.grid(20, 10, 12)))
    _accept(_held_against_quantlib(black.grid(8, 5, 5, round(exp(-0.1) * ONE))))


@pytest.mark.slow
def test_prices_and_greeks_are_those_of_quantlib_everywhere():
    pytest.importorskip("QuantLib")
    _accept(_held_against_quantlib(black.grid(64, 40, 40)))


def test_prices_are_right_to_two_quanta():
    """Against fifty digits; Greeks to 2**-40, of gamma's size where that is above 1."""
    mpmath = pytest.importorskip("mpmath")
    rows = black.scattered(300, 7)
    found, codes = bindings.evaluate(rows)
    assert not codes.any()
    with mpmath.mp.workdps(50):
        for row, got in zip(rows.tolist(), found.tolist(), strict=True):
            for name, value, exact in zip(black.NAMES, got, black.exact(row), strict=True):
                room = 2 if name in PRICES else 2**8 * max(1, abs(exact))
                assert abs(value - exact * ONE) < room, (name, row)


@given(_legs(), TIMES, VOLATILITIES, DISCOUNTS)
def test_parity_holds_to_the_quantum_of_discounting(legs, time, volatility, discount):
    call, put = prices(*legs, time, volatility)
    ratio = (2 * legs[1] * ONE + legs[0]) // (2 * legs[0])
    assert call - put == ONE - ratio
    call, put = prices(*legs, time, volatility, discount)
    assert abs((call - put) * ONE - (ONE - ratio) * discount) <= ONE


@given(_legs(), TIMES, VOLATILITIES)
def test_prices_keep_within_their_bounds(legs, time, volatility):
    option = evaluate(*legs, time, volatility)
    ratio = (2 * legs[1] * ONE + legs[0]) // (2 * legs[0])
    assert max(0, ONE - ratio) <= option.call <= ONE
    assert max(0, ratio - ONE) <= option.put <= ratio
    assert 0 <= option.call_delta <= ONE and option.put_delta == option.call_delta - ONE
    assert option.gamma >= 0 and option.vega >= 0 and option.theta <= 0
    assert (option.call, option.put) == prices(*legs, time, volatility)


@given(_legs(), st.integers(1, 3 * ONE), VOLATILITIES)
def test_more_volatility_or_time_costs_no_less(legs, time, volatility):
    """To the two quanta that both prices are rounded by."""
    call, _ = prices(*legs, time, volatility)
    assert prices(*legs, time, volatility + ONE // 50)[0] >= call - 2
    assert prices(*legs, time + ONE // 50, volatility)[0] >= call - 2


def test_at_expiry_an_option_is_worth_its_exercise():
    assert prices(100, 80, 0, ONE) == (ONE // 5, 0)
    assert prices(100, 200, 0, ONE) == (0, ONE)
    at_the_money = evaluate(100, 100, 0, ONE)
    assert astuple(at_the_money) == (0, 0, ONE // 2, -ONE // 2, 0, 0, 0, 0, 0, 0, 0)
    assert evaluate(100, 80, 0, ONE).call_delta == ONE and evaluate(100, 200, 0, ONE).put_delta == -ONE


def test_an_option_has_a_value_up_to_its_last_nanosecond():
    """Gamma stops at the end of its range; nothing else comes near it."""
    for nanoseconds in (10**3, 10**6, 10**9):
        option = evaluate(10**9, 10**9, options.years(nanoseconds), ONE // 2)
        assert 0 < option.call < ONE // 1000
        assert 0 < option.gamma <= MOST
    assert evaluate(10**9, 10**9, options.years(10**3), ONE // 2).gamma == MOST


@given(
    FORWARDS,
    FORWARDS,
    st.integers(0, options.MOST_TIME),
    st.integers(1, options.MOST_VOLATILITY),
    st.integers(1, options.MOST_DISCOUNT),
)
def test_whatever_is_in_range_has_a_value_of_int64(forward, strike, time, volatility, discount):
    try:
        option = evaluate(forward, strike, time, volatility, discount)
    except OutOfRange as error:
        assert error.code in (Code.RATIO, Code.DEVIATION)
        return
    assert all(-MOST <= value <= MOST for value in astuple(option))


def test_years_and_parts_of_the_forward():
    assert options.years(365 * 24 * 3600 * 10**9) == ONE
    assert options.years(0) == 0
    assert options.of_forward(ONE // 2, 101, Rounding.FLOOR) == 50
    assert options.of_forward(ONE // 2, 101, Rounding.CEILING) == 51
    assert options.log_moneyness(77, 77) == 0
    assert options.log_moneyness(10**9, 2 * 10**9) == fixed.log(2 * ONE)


# Implied volatility


@given(_legs(), st.integers(ONE // 8760, 3 * ONE), st.integers(ONE // 20, 3 * ONE), st.sampled_from(Right))
def test_volatility_comes_back_from_the_price_or_the_price_says_too_little(legs, time, volatility, right):
    price = prices(*legs, time, volatility)[right]
    try:
        found = implied_volatility(right, *legs, time, price)
    except NoVolatility as error:
        assert error.code in (Code.NO_TIME_VALUE, Code.ABOVE_BOUND, Code.UNDETERMINED)
        if error.code != Code.NO_TIME_VALUE:
            assert evaluate(*legs, time, volatility).vega < 2 * options.LEAST_VEGA
        return
    assert abs(found - volatility) <= ONE >> 19
    again = prices(*legs, time, found)[right]
    assert abs(again - price) <= 1


@given(_legs(), st.integers(1, options.MOST_TIME), st.integers(0, MOST), st.sampled_from(Right), DISCOUNTS)
def test_any_price_has_a_volatility_or_a_reason(legs, time, price, right, discount):
    try:
        found = implied_volatility(right, *legs, time, price, discount)
    except NoVolatility as error:
        assert error.price == price and str(price) in str(error) and str(error.bound) in str(error)
        return
    try:
        assert abs(prices(*legs, time, found, discount)[right] - price) <= 3
    except OutOfRange as error:
        assert error.code == Code.DEVIATION


def test_reasons_that_a_price_has_no_volatility():
    half, reasons = ONE // 2, {}
    for name, price in {"below": half - 1, "at": half, "above": ONE, "far": half + 1}.items():
        with pytest.raises(NoVolatility) as error:
            implied_volatility(Right.CALL, 100, 50, ONE // 100, price)
        reasons[name] = error.value.code
    assert reasons == {
        "below": Code.BELOW_INTRINSIC,
        "at": Code.NO_TIME_VALUE,
        "above": Code.ABOVE_BOUND,
        "far": Code.UNDETERMINED,
    }
    with pytest.raises(NoVolatility, match="its volatility would be") as error:
        implied_volatility(Right.CALL, 100, 100, 1, half)
    assert error.value.code == Code.UNREACHABLE


# Bad input

GOOD = {"forward": 100, "strike": 100, "time": ONE, "volatility": ONE, "discount": ONE}


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"forward": 0}, Code.FORWARD, "forward: 0 is not within 1"),
        ({"forward": options.MOST_UNITS + 1}, Code.FORWARD, f"forward: {options.MOST_UNITS + 1}"),
        ({"strike": 0}, Code.STRIKE, "strike: 0 is not within 1"),
        ({"strike": -5}, Code.STRIKE, "strike: -5"),
        ({"strike": 100 * 2**14 + 1}, Code.RATIO, f"strike: {100 * 2**14 + 1} .* {100 * 2**14}"),
        ({"forward": 2**20, "strike": 63}, Code.RATIO, "strike: 63 is not within 64"),
        ({"time": -1}, Code.TIME, "time: -1 is not within 0"),
        ({"time": options.MOST_TIME + 1}, Code.TIME, f"time: .* {options.MOST_TIME}"),
        ({"volatility": 0}, Code.VOLATILITY, "volatility: 0 is not within 1"),
        ({"volatility": -ONE}, Code.VOLATILITY, f"volatility: {-ONE}"),
        ({"volatility": options.MOST_VOLATILITY + 1}, Code.VOLATILITY, f"{options.MOST_VOLATILITY}"),
        ({"volatility": 16 * ONE}, Code.DEVIATION, f"deviation: {16 * FINE} .* {16 * FINE - 1}"),
        ({"discount": 0}, Code.DISCOUNT, "discount: 0 is not within 1"),
        ({"discount": 2 * ONE + 1}, Code.DISCOUNT, f"discount: {2 * ONE + 1}"),
    ],
)
def test_arguments_out_of_range_are_named_with_both_numbers(change, code, text):
    for function in (evaluate, prices):
        with pytest.raises(OutOfRange, match=text) as error:
            function(**GOOD | change)
        assert error.value.code == code


def test_a_quote_out_of_range_is_named():
    for change, code in (
        ({"time": 0}, Code.TIME),
        ({"price": -1}, Code.PRICE),
        ({"discount": 0}, Code.DISCOUNT),
        ({"forward": 0}, Code.FORWARD),
    ):
        quote = {"right": Right.PUT, "forward": 100, "strike": 100, "time": ONE, "price": 1} | change
        with pytest.raises(OutOfRange) as error:
            implied_volatility(**quote)
        assert error.value.code == code
    with pytest.raises(OutOfRange, match="nanoseconds: -1"):
        options.years(-1)
