"""Fixed-point arithmetic: the same integers in this form and in the native one.

A number is an integer count of 2**-48 (:data:`ONE` is 1), as an int64. Inside, results are carried with 58
fractional bits, and rounded to 48 once. Functions ending in ``_fine`` take and give 58.

Where nothing else is said a result is the nearest one, halves up. ``docs/options.md`` has the errors against
exact values.
"""

import json
from enum import IntEnum
from functools import cache
from math import isqrt
from typing import Any, NamedTuple

from . import tables
from .errors import Code, OutOfRange, within

#: Fractional bits of a number.
BITS = 48
ONE = 1 << BITS
#: Fractional bits inside.
FINE_BITS = 58
FINE = 1 << FINE_BITS

MOST = (1 << 63) - 1
LEAST = -(1 << 63)

#: SHA-256 of the tables that the results depend on.
TABLES_HASH = "22e6bddf171983e8ba16ad849188f339664488b2a0047fb1dd06ad3764c13377"

#: Beyond this Φ and its density are 0 or 1 to the last of 58 bits.
_FAR = 9 * FINE
#: exp of anything below is 0 to the last of 62 bits but two.
_VANISHING = -41 * FINE
_WIDE = 80
_INNER = 62
_SPARE = FINE_BITS - BITS


class Rounding(IntEnum):
    """Where a result between two numbers goes."""

    #: To the nearest; halves up.
    NEAREST = 0
    FLOOR = 1
    CEILING = 2
    #: Towards zero.
    ZERO = 3


class Tables(NamedTuple):
    """``tables.json``; what the columns are stands in :mod:`hawse.risk.tables`."""

    ln2: int
    inverse_ln2: int
    inverse_sqrt_2pi: int
    log: list[list[int]]
    log_series: list[int]
    exp: list[int]
    exp_series: list[int]
    normal: list[list[int]]
    inverse: list[list[int]]


@cache
def load() -> Tables:
    """The tables.

    Raises:
        ValueError: the file is not the one that this code belongs to.
    """
    content: dict[str, Any] = json.loads(tables.PATH.read_text())
    found = tables.digest(content)
    if found != TABLES_HASH:
        raise ValueError(f"{tables.PATH.name}: hash {found}, not {TABLES_HASH}")
    return Tables(**{name: content[name] for name in Tables._fields})


def shifted(value: int, bits: int, rounding: Rounding = Rounding.NEAREST) -> int:
    """value / 2**bits, ``bits`` at least 1."""
    if rounding == Rounding.NEAREST:
        return (value + (1 << bits - 1)) >> bits
    if rounding == Rounding.CEILING or (rounding == Rounding.ZERO and value < 0):
        return -(-value >> bits)
    return value >> bits


def quotient(numerator: int, denominator: int, rounding: Rounding = Rounding.NEAREST) -> int:
    """numerator / denominator, the latter above 0."""
    if rounding == Rounding.NEAREST:
        return (2 * numerator + denominator) // (2 * denominator)
    if rounding == Rounding.CEILING or (rounding == Rounding.ZERO and numerator < 0):
        return -(-numerator // denominator)
    return numerator // denominator


def _int64(field: str, value: int) -> int:
    return within(Code.ARGUMENT, field, value, LEAST, MOST)


def _result(field: str, value: int) -> int:
    return within(Code.OVERFLOW, field, value, LEAST, MOST)


# What a caller uses


def mul(a: int, b: int, rounding: Rounding = Rounding.NEAREST) -> int:
    """a·b.

    Raises:
        OutOfRange: an argument or the product is no int64.
    """
    return _result("product", shifted(_int64("a", a) * _int64("b", b), BITS, rounding))


def div(a: int, b: int, rounding: Rounding = Rounding.NEAREST) -> int:
    """a / b.

    Raises:
        OutOfRange: b is 0, or an argument or the quotient is no int64.
    """
    _int64("a", a)
    if _int64("b", b) == 0:
        raise OutOfRange(Code.ARGUMENT, "b", b, 1, MOST)
    a, b = (a, b) if b > 0 else (-a, -b)
    return _result("quotient", quotient(a << BITS, b, rounding))


def sqrt(a: int) -> int:
    """Root of ``a``, rounded down.

    Raises:
        OutOfRange: a is negative, or no int64.
    """
    return isqrt(within(Code.ARGUMENT, "a", a, 0, MOST) << BITS)


def exp(a: int) -> int:
    """e to the power of ``a``.

    Raises:
        OutOfRange: the result is no int64: ``a`` is above 10.397.
    """
    most = 11 * ONE  # 59,874, beyond what fits
    if _int64("a", a) > most:
        raise OutOfRange(Code.OVERFLOW, "exp", a, LEAST, most)
    return _result("exp", _exp(a << _SPARE, BITS))


def log(a: int) -> int:
    """Natural logarithm.

    Raises:
        OutOfRange: ``a`` is not above 0, or no int64.
    """
    exponent = within(Code.ARGUMENT, "a", a, 1, MOST).bit_length() - 1
    return shifted(_log(a << 63 - exponent, exponent - BITS), _WIDE - BITS)


def normal_density(x: int) -> int:
    """φ(x).

    Raises:
        OutOfRange: x is no int64.
    """
    return 0 if abs(_int64("x", x)) >= 9 * ONE else shifted(density_fine(x << _SPARE), _SPARE)


def normal_distribution(x: int) -> int:
    """Φ(x).

    Raises:
        OutOfRange: x is no int64.
    """
    held = max(-9 * ONE, min(9 * ONE, _int64("x", x)))
    return shifted(distribution_fine(held << _SPARE), _SPARE)


def inverse_normal_distribution(p: int) -> int:
    """x of which Φ(x) = p.

    Raises:
        OutOfRange: p is not between 0 and 1.
    """
    within(Code.ARGUMENT, "p", p, 1, ONE - 1)
    tail = min(p, ONE - p)
    exponent = tail.bit_length() - 1
    u = isqrt(-2 * _log(tail << 63 - exponent, exponent - BITS) << 2 * FINE_BITS - _WIDE)
    row = (u + (1 << FINE_BITS - 5)) >> FINE_BITS - 4
    x = _polynomial(load().inverse[row - 17], u - (row << FINE_BITS - 4), FINE_BITS)
    nearest = shifted(x, _SPARE)
    return -nearest if p <= ONE // 2 else nearest


# With 58 fractional bits


def density_fine(x: int) -> int:
    """φ(x)."""
    if abs(x) >= _FAR:
        return 0
    power = _exp(-shifted(x * x, FINE_BITS + 1), _INNER)
    return shifted(power * load().inverse_sqrt_2pi, 2 * _INNER - FINE_BITS)


def distribution_fine(x: int) -> int:
    """Φ(x)."""
    return _tail(-x) if x < 0 else FINE - _tail(x)


def log_ratio_fine(a: int, b: int) -> int:
    """ln(a/b) of two whole numbers above 0 and below 2**63; exactly 0 where they are equal."""
    exponent = a.bit_length() - b.bit_length()
    a, b = a << 64 - a.bit_length(), b << 64 - b.bit_length()
    if a < b:
        return shifted(_log((a << 64) // b, exponent - 1), _WIDE - FINE_BITS)
    return shifted(_log((a << 63) // b, exponent), _WIDE - FINE_BITS)


def _tail(x: int) -> int:
    """1 − Φ(x), x not negative."""
    if x >= _FAR:
        return 0
    row = (x + (1 << FINE_BITS - 5)) >> FINE_BITS - 4  # the nearest sixteenth
    return max(0, _polynomial(load().normal[row], x - (row << FINE_BITS - 4), FINE_BITS))


def _polynomial(coefficients: list[int], h: int, bits: int) -> int:
    """Σ coefficients[n]·hⁿ by Horner's rule, every product rounded to ``bits``."""
    total = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = coefficient + shifted(total * h, bits)
    return total


def _exp(y: int, bits: int) -> int:
    """exp(y) with ``bits`` fractional bits; y has 58.

    y = k·ln 2 + j/64 + h with k and j nearest; 2ᵏ is a shift, exp(j/64) a table, exp(h) a polynomial.
    """
    if y < _VANISHING:
        return 0
    table = load()
    k = shifted((y >> 26) * table.inverse_ln2, 64)
    rest = shifted((y << _WIDE - FINE_BITS) - k * table.ln2, _WIDE - _INNER)
    j = shifted(rest, _INNER - 6)
    power = table.exp[j + 23] * _polynomial(table.exp_series, rest - (j << _INNER - 6), _INNER)
    return shifted(power, 2 * _INNER - bits - k)


def _log(mantissa: int, exponent: int) -> int:
    """Logarithm of mantissa / 2**63 · 2**exponent with 80 fractional bits; the mantissa has 64 bits.

    A reciprocal r from the table brings the mantissa m to 1 + z: ln m = ln(1 + z) − ln r.
    """
    table = load()
    reciprocal, minus_log = table.log[(mantissa >> 56) - 128]
    z = shifted(mantissa * reciprocal - (1 << 79), 79 - _INNER)
    series = shifted(_polynomial(table.log_series, z, _INNER) * z, _INNER)
    return exponent * table.ln2 + (minus_log + series << _WIDE - _INNER)
