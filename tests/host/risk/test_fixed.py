import json
from fractions import Fraction
from math import ceil, floor, isqrt

import pytest
from hawse.risk import fixed, tables
from hawse.risk.errors import Code, OutOfRange
from hawse.risk.fixed import LEAST, MOST, ONE, Rounding
from hypothesis import example, given
from hypothesis import strategies as st

mpmath = pytest.importorskip("mpmath")
from mpmath import erfinv, mp, mpf, ncdf, npdf  # noqa: E402

NUMBERS = st.one_of(st.integers(LEAST, MOST), st.integers(-(2**50), 2**50), st.integers(-3, 3))
HALF = Fraction(1, 2)
ROUNDED = {
    Rounding.NEAREST: lambda exact: floor(exact + HALF),
    Rounding.FLOOR: floor,
    Rounding.CEILING: ceil,
    Rounding.ZERO: int,
}


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(50):
        yield


def test_the_tables_are_what_their_generator_makes():
    assert tables.PATH.read_text() == tables.text()
    assert json.loads(tables.PATH.read_text())["hash"] == fixed.TABLES_HASH


def test_tables_of_another_hash_are_refused(tmp_path, monkeypatch):
    other = tmp_path / "tables.json"
    other.write_text(tables.PATH.read_text().replace("6196328019", "6196328018"))
    monkeypatch.setattr(tables, "PATH", other)
    with pytest.raises(ValueError, match=fixed.TABLES_HASH):
        fixed.load.__wrapped__()


@given(NUMBERS, NUMBERS, st.sampled_from(Rounding))
def test_products_and_quotients_are_rounded_as_is_said(a, b, rounding):
    found = [(fixed.mul, Fraction(a * b, ONE))]
    if b:
        found.append((fixed.div, Fraction(a * ONE, b)))
    for function, exact in found:
        expected = ROUNDED[rounding](exact)
        if LEAST <= expected <= MOST:
            assert function(a, b, rounding) == expected
        else:
            with pytest.raises(OutOfRange) as error:
                function(a, b, rounding)
            assert error.value.code == Code.OVERFLOW and str(expected) in str(error.value)


@given(st.integers(0, MOST))
def test_roots_are_rounded_down(a):
    root = fixed.sqrt(a)
    assert root * root <= a * ONE < (root + 1) * (root + 1)


def _error(function, exact, a):
    return abs(mpf(function(a)) - exact(mpf(a) / ONE) * ONE)


@given(st.one_of(st.integers(-(10 * ONE), 10 * ONE), st.integers(-ONE, ONE)))
def test_the_normal_distribution_is_right_to_the_last_bit(x):
    assert _error(fixed.normal_distribution, ncdf, x) < 0.501
    assert _error(fixed.normal_density, npdf, x) < 0.501
    assert fixed.normal_distribution(x) + fixed.normal_distribution(-x) - ONE in (0, 1)


@example(151567)  # half way between two numbers
@given(st.one_of(st.integers(1, ONE - 1), st.integers(0, 47).map(lambda n: 1 << n)))
def test_the_inverse_distribution_is_right_to_the_last_bit(p):
    error = _error(fixed.inverse_normal_distribution, lambda p: -mp.sqrt(2) * erfinv(1 - 2 * p), p)
    assert error < 0.502
    assert fixed.inverse_normal_distribution(ONE - p) == -fixed.inverse_normal_distribution(p)


@given(st.integers(-40 * ONE, 10 * ONE))
def test_exponentials_are_right_to_the_last_of_their_58_bits(a):
    exact = mp.exp(mpf(a) / ONE) * ONE
    assert abs(fixed.exp(a) - exact) < 0.501 + exact / 2**59


@given(st.one_of(st.integers(1, MOST), st.integers(1, 100), st.integers(ONE - 100, ONE + 100)))
def test_logarithms_are_right_to_the_last_bit(a):
    assert _error(fixed.log, mp.log, a) < 0.501


@given(st.integers(1, 2**62 - 1), st.integers(-5, 5))
def test_the_logarithm_of_a_ratio_is_right_to_the_last_of_58_bits(a, beside):
    b = max(1, a + beside)
    assert abs(fixed.log_ratio_fine(a, b) - mp.log(mpf(a) / b) * fixed.FINE) < 0.6
    assert fixed.log_ratio_fine(a, a) == 0


def test_known_values():
    assert fixed.exp(0) == ONE and fixed.log(ONE) == 0 and fixed.inverse_normal_distribution(ONE // 2) == 0
    assert fixed.normal_distribution(0) == ONE // 2
    assert fixed.sqrt(2 * ONE) == isqrt(2 << 96)
    assert fixed.exp(LEAST) == 0 and fixed.normal_distribution(LEAST) == 0 and fixed.normal_density(MOST) == 0


@pytest.mark.parametrize(
    ("function", "arguments", "code", "text"),
    [
        (fixed.mul, (MOST, 2 * ONE), Code.OVERFLOW, f"product: {2 * MOST}"),
        (fixed.mul, (MOST + 1, 0), Code.ARGUMENT, f"a: {MOST + 1} is not within {LEAST} and {MOST}"),
        (fixed.div, (1, 0), Code.ARGUMENT, "b: 0"),
        (fixed.div, (MOST, 1), Code.OVERFLOW, "quotient"),
        (fixed.sqrt, (-1,), Code.ARGUMENT, "a: -1 is not within 0"),
        (fixed.log, (0,), Code.ARGUMENT, "a: 0 is not within 1"),
        (fixed.exp, (MOST,), Code.OVERFLOW, f"exp: {MOST}"),
        (fixed.exp, (int(10.4 * ONE),), Code.OVERFLOW, "exp: "),
        (fixed.normal_density, (LEAST - 1,), Code.ARGUMENT, f"x: {LEAST - 1}"),
        (fixed.normal_distribution, (MOST + 1,), Code.ARGUMENT, f"x: {MOST + 1}"),
        (fixed.inverse_normal_distribution, (0,), Code.ARGUMENT, "p: 0"),
        (fixed.inverse_normal_distribution, (ONE,), Code.ARGUMENT, f"p: {ONE}"),
    ],
)
def test_what_is_out_of_range_is_named_with_both_numbers(function, arguments, code, text):
    with pytest.raises(OutOfRange, match=text) as error:
        function(*arguments)
    assert error.value.code == code
