"""Volatility of an index, and the initial margin fraction that follows it; units as in ``prices``."""

from dataclasses import dataclass
from math import isqrt

from hawse.instruments import PPM

from .errors import Code, within
from .fixed import BITS, FINE, FINE_BITS, MOST, ONE, log_ratio_fine, shifted
from .prices import MOST_PRICE, clamp

MINUTE = 60 * 10**9

_SPARE = FINE_BITS - BITS
#: A variance of one step of the grid is below this: a price that grows 55-fold.
_MOST_VARIANCE = 16 * FINE - 1


@dataclass(frozen=True, slots=True)
class VolatilityTerms:
    """How the initial margin fraction follows volatility.

    Attributes:
        grid: nanoseconds from one point to the next.
        decay: of the weights, a part of :data:`~hawse.risk.fixed.ONE`.
        horizon: points of the grid that a position is carried.
        factor_ppm: k, how many deviations count.
        floor_ppm: of the fraction.
        step_ppm: by which the fraction changes at most, once a minute.

    Raises:
        OutOfRange: a field is out of range.
    """

    grid: int
    decay: int
    horizon: int
    factor_ppm: int
    floor_ppm: int
    step_ppm: int

    def __post_init__(self) -> None:
        within(Code.ARGUMENT, "grid", self.grid, 1, 1 << 50)
        within(Code.ARGUMENT, "decay", self.decay, 1, ONE - 1)
        within(Code.ARGUMENT, "horizon", self.horizon, 1, 1 << 16)
        within(Code.ARGUMENT, "factor_ppm", self.factor_ppm, 1, 1 << 24)
        within(Code.ARGUMENT, "floor_ppm", self.floor_ppm, 1, PPM)
        within(Code.ARGUMENT, "step_ppm", self.step_ppm, 1, PPM)


@dataclass(frozen=True, slots=True)
class Volatility:
    """Weighted variance of an index.

    Attributes:
        point: of the grid, the last one with an index.
        value: the index there.
        variance: of the logarithm over one step of the grid, with 58 fractional bits.
    """

    point: int
    value: int
    variance: int


def follow(terms: VolatilityTerms, state: Volatility, now: int, index: int) -> Volatility:
    """The first index at or after a point of the grid counts as that of the point.

    v′ = λⁿ·v + (1 − λⁿ)·r²/n over n steps, r the logarithm of the return: the square of a return across a gap
    is spread over the points missed, as if each had had its n-th part. n = 1 is the weighted variance of
    J.P. Morgan, RiskMetrics Technical Document (4th ed., 1996), chapter 5.

    Raises:
        OutOfRange: ``now`` is before the point, or the index is out of range.
    """
    within(Code.PRICE, "index", index, 1, MOST_PRICE)
    point = within(Code.TIME, "now", now, state.point * terms.grid, MOST) // terms.grid
    steps = point - state.point
    if steps == 0:
        return state
    change = log_ratio_fine(index, state.value)
    square = min(shifted(change * change // steps, FINE_BITS), _MOST_VARIANCE)
    weight = _power(terms.decay << _SPARE, steps)
    variance = shifted(weight * state.variance + (FINE - weight) * square, FINE_BITS)
    return Volatility(point, index, variance)


def _power(base: int, exponent: int) -> int:
    """baseⁿ with 58 fractional bits, by squares, each product rounded."""
    result = FINE
    while exponent:
        if exponent & 1:
            result = shifted(result * base, FINE_BITS)
        base, exponent = shifted(base * base, FINE_BITS), exponent >> 1
    return result


def wanted_fraction(terms: VolatilityTerms, variance: int) -> int:
    """max(floor, k·√(variance × horizon)), at most 1, in ppm, rounded up."""
    square = terms.factor_ppm**2 * variance * terms.horizon
    root = isqrt(square >> FINE_BITS)
    root += root * root << FINE_BITS < square
    return clamp(root, terms.floor_ppm, PPM)


@dataclass(frozen=True, slots=True)
class Driven:
    """Initial margin fraction in ppm, and when it changed last."""

    ppm: int
    changed: int


def drive(terms: VolatilityTerms, state: Driven, now: int, variance: int) -> Driven:
    """A step towards the fraction wanted, if a minute has gone by since the last one.

    Raises:
        OutOfRange: ``now`` is before the last change.
    """
    within(Code.TIME, "now", now, state.changed, MOST)
    wanted = wanted_fraction(terms, variance)
    if wanted == state.ppm or now - state.changed < MINUTE:
        return state
    return Driven(clamp(wanted, state.ppm - terms.step_ppm, state.ppm + terms.step_ppm), now)
