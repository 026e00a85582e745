"""European options on a forward by Black's formula, in fixed point (:mod:`hawse.risk.fixed`).

Black, "The pricing of commodity contracts", Journal of Financial Economics 3 (1976); with F the forward, K
the strike, t years, σ the volatility, D the discount factor:

    call = D·(F·Φ(d₁) − K·Φ(d₂)),  put = D·(K·Φ(−d₂) − F·Φ(−d₁)),
    d₁ = ln(F/K)/s + s/2,  d₂ = d₁ − s,  s = σ√t

Forward and strike are whole numbers of one unit, whichever. Results are parts of the forward: a price of
:data:`~hawse.risk.fixed.ONE` is the forward itself; :func:`of_forward` makes units of it.
"""

from dataclasses import dataclass
from enum import IntEnum
from math import isqrt

from .errors import Code, NoVolatility, OutOfRange, within
from .fixed import (
    BITS,
    FINE,
    FINE_BITS,
    MOST,
    ONE,
    Rounding,
    density_fine,
    distribution_fine,
    log_ratio_fine,
    mul,
    quotient,
    shifted,
)

#: Forwards and strikes are whole numbers from 1 to this.
MOST_UNITS = (1 << 62) - 1
#: Strike over forward lies between 1 / 2**14 and 2**14.
RATIO_BITS = 14
MOST_TIME = 50 * ONE
MOST_VOLATILITY = 16 * ONE
MOST_DISCOUNT = 2 * ONE
#: σ√t is below this.
MOST_DEVIATION = 16 * FINE
#: Least vega of which a volatility is said to follow from a price: a quantum of the price moves it by 2**-20.
LEAST_VEGA = 1 << 20

NANOSECONDS_PER_YEAR = 365 * 24 * 3600 * 10**9

#: d₁ and d₂ are ln(F/K)/s, held within this, plus or minus s/2: Φ is 0 or 1 long before.
_FARTHEST = 16 * FINE
#: The search for a volatility halves its bracket from this round on, so that it ends.
_ROUNDS = 64
_SPARE = FINE_BITS - BITS


class Right(IntEnum):
    """What an option gives a right to do."""

    CALL = 0
    PUT = 1


@dataclass(frozen=True, slots=True)
class Option:
    """Prices of the call and the put of one strike, and their derivatives, as parts of the forward F.

    The discount factor is held for all but the two rhos. Where only one is given, call and put share it.
    Towards expiry at the money gamma grows without limit: what leaves int64 (32,768) stays at its end, so
    that an option that is accepted always has a value.
    """

    call: int
    put: int
    #: ∂/∂F.
    call_delta: int
    put_delta: int
    #: F·∂²/∂F².
    gamma: int
    #: ∂/∂σ over F, for 1.00 of volatility.
    vega: int
    #: −∂/∂t over F, for a year.
    theta: int
    #: ∂²/∂F∂σ.
    vanna: int
    #: ∂²/∂σ² over F.
    volga: int
    #: −t·price: ∂/∂r over F where D = exp(−r·t) and the forward does not move.
    call_rho: int
    put_rho: int


def years(nanoseconds: int) -> int:
    """A span of time as years of 365 days.

    Raises:
        OutOfRange: it is negative or more than fifty years.
    """
    most = MOST_TIME * NANOSECONDS_PER_YEAR >> BITS
    within(Code.TIME, "nanoseconds", nanoseconds, 0, most)
    return quotient(nanoseconds << BITS, NANOSECONDS_PER_YEAR)


def of_forward(part: int, forward: int, rounding: Rounding) -> int:
    """``part`` of a forward in the forward's units.

    Raises:
        OutOfRange: the forward is out of range, or the result is no int64.
    """
    return mul(part, _forward(forward), rounding)


def log_moneyness(forward: int, strike: int) -> int:
    """ln(K/F).

    Raises:
        OutOfRange: forward, strike or their ratio is out of range.
    """
    _ratio(forward, strike)
    return shifted(log_ratio_fine(strike, forward), _SPARE)


def prices(forward: int, strike: int, time: int, volatility: int, discount: int = ONE) -> tuple[int, int]:
    """Price of the call and of the put; at ``time`` 0 what they are worth when they expire.

    The one out of the money is Black's formula; the other is that plus |1 − K/F|, before discounting, so that
    call − put = D·(1 − K/F) within the quantum that discounting rounds.

    Raises:
        OutOfRange: an argument is out of range.
    """
    ratio = _ratio(forward, strike)
    deviation, _ = _deviation(time, volatility)
    within(Code.DISCOUNT, "discount", discount, 1, MOST_DISCOUNT)
    distances = _distances(log_ratio_fine(forward, strike), deviation)
    return _discounted(_out_of_the_money(ratio, *distances), ratio, discount)


def evaluate(forward: int, strike: int, time: int, volatility: int, discount: int = ONE) -> Option:
    """Prices and Greeks; where σ√t is 0, all Greeks but delta and rho are 0.

    Raises:
        OutOfRange: an argument is out of range.
    """
    ratio = _ratio(forward, strike)
    deviation, root = _deviation(time, volatility)
    within(Code.DISCOUNT, "discount", discount, 1, MOST_DISCOUNT)
    d1, d2 = _distances(log_ratio_fine(forward, strike), deviation)
    call, put = _discounted(_out_of_the_money(ratio, d1, d2), ratio, discount)
    delta = shifted(distribution_fine(d1), _SPARE)
    gamma = vega = theta = vanna = volga = 0
    if deviation:
        density = density_fine(d1)
        gamma = _held(quotient(density << BITS, deviation))
        vega = shifted(density * root, 2 * FINE_BITS - BITS)
        theta = _held(-quotient(density * volatility, 2 * root))
        vanna = _held(-quotient(shifted(density * d2, 2 * FINE_BITS - 2 * BITS), volatility))
        volga = _held(-shifted(vanna * shifted(root * d1, FINE_BITS), FINE_BITS))
    return Option(
        call=call,
        put=put,
        call_delta=_product(delta, discount),
        put_delta=_product(delta - ONE, discount),
        gamma=_product(gamma, discount),
        vega=_product(vega, discount),
        theta=_product(theta, discount),
        vanna=_product(vanna, discount),
        volga=_product(volga, discount),
        call_rho=-_product(time, call),
        put_rho=-_product(time, put),
    )


def implied_volatility(
    right: Right, forward: int, strike: int, time: int, price: int, discount: int = ONE
) -> int:
    """The volatility of which ``price``, a part of the forward, follows.

    Newton's method on the option out of the money from the point of inflection √(2·|ln(F/K)|), from where it
    moves to one side (Manaster and Koehler, Journal of Finance 37, 1982), within a bracket that every round
    narrows, and that is halved where a step leaves it. It ends when no step is left, or the bracket is
    closed: always.

    Raises:
        OutOfRange: an argument is out of range; ``time`` is 0.
        NoVolatility: the price is below what exercise is worth, leaves no time value, is not below what any
            volatility can give, or does not determine it to 2**-20.
    """
    ratio = _ratio(forward, strike)
    within(Code.TIME, "time", time, 1, MOST_TIME)
    within(Code.PRICE, "price", price, 0, MOST)
    within(Code.DISCOUNT, "discount", discount, 1, MOST_DISCOUNT)
    value = _time_value(right, ratio, price, discount)
    log_ratio, root = log_ratio_fine(forward, strike), _root(time)
    deviation = _solve(log_ratio, ratio, value << _SPARE)
    volatility = quotient(deviation << BITS, root)
    if not 1 <= volatility <= MOST_VOLATILITY:
        raise NoVolatility(
            Code.UNREACHABLE, f"its volatility would be {volatility} of", price, MOST_VOLATILITY
        )
    d1, _ = _distances(log_ratio, deviation)
    vega = shifted(density_fine(d1) * root, 2 * FINE_BITS - BITS)
    if vega < LEAST_VEGA:
        why = f"determines no volatility: there vega is {vega}, less than"
        raise NoVolatility(Code.UNDETERMINED, why, price, LEAST_VEGA)
    return volatility


# Steps


def _forward(forward: int) -> int:
    return within(Code.FORWARD, "forward", forward, 1, MOST_UNITS)


def _ratio(forward: int, strike: int) -> int:
    """K/F."""
    _forward(forward)
    within(Code.STRIKE, "strike", strike, 1, MOST_UNITS)
    if strike > forward << RATIO_BITS or forward > strike << RATIO_BITS:
        least, most = -(-forward >> RATIO_BITS), forward << RATIO_BITS
        raise OutOfRange(Code.RATIO, "strike", strike, least, most)
    return quotient(strike << BITS, forward)


def _root(time: int) -> int:
    """√t, rounded down."""
    return isqrt(time << 2 * FINE_BITS - BITS)


def _deviation(time: int, volatility: int) -> tuple[int, int]:
    """s = σ√t, and √t."""
    within(Code.TIME, "time", time, 0, MOST_TIME)
    within(Code.VOLATILITY, "volatility", volatility, 1, MOST_VOLATILITY)
    root = _root(time)
    deviation = shifted(volatility * root, BITS)
    return within(Code.DEVIATION, "deviation", deviation, 0, MOST_DEVIATION - 1), root


def _distances(log_ratio: int, deviation: int) -> tuple[int, int]:
    """d₁ and d₂."""
    if abs(log_ratio) >= 16 * deviation:
        middle = _FARTHEST * ((log_ratio > 0) - (log_ratio < 0))
    else:
        middle = quotient(log_ratio << FINE_BITS, deviation)
    d1 = middle + (deviation >> 1)
    return d1, d1 - deviation


def _out_of_the_money(ratio: int, d1: int, d2: int) -> int:
    """Price of the call where K ≥ F, else of the put, undiscounted; never below 0."""
    call = distribution_fine(d1) - shifted(ratio * distribution_fine(d2), BITS)
    if ratio >= ONE:
        return max(0, call)
    return max(0, shifted(ratio * distribution_fine(-d2), BITS) - distribution_fine(-d1))


def _discounted(value: int, ratio: int, discount: int) -> tuple[int, int]:
    """Call and put of which the one out of the money is ``value``."""
    rounded, gap = shifted(value, _SPARE), ratio - ONE
    call, put = (rounded, rounded + gap) if gap >= 0 else (rounded - gap, rounded)
    return _product(call, discount), _product(put, discount)


def _product(a: int, b: int) -> int:
    """a·b, held."""
    return _held(shifted(a * b, BITS))


def _held(value: int) -> int:
    """``value``, or the end of int64 that it passes."""
    return max(-MOST, min(MOST, value))


def _time_value(right: Right, ratio: int, price: int, discount: int) -> int:
    """The price of the option out of the money, undiscounted, from that of either."""
    intrinsic = max(0, ONE - ratio if right == Right.CALL else ratio - ONE)
    most = ONE if right == Right.CALL else ratio
    worth, bound = _product(intrinsic, discount), _product(most, discount)
    undiscounted = quotient(price << BITS, discount)
    if price < worth:
        raise NoVolatility(Code.BELOW_INTRINSIC, "less than what exercise is worth,", price, worth)
    if price == worth or undiscounted <= intrinsic:
        raise NoVolatility(Code.NO_TIME_VALUE, "no more than what exercise is worth,", price, worth)
    if price >= bound or undiscounted >= most:
        raise NoVolatility(Code.ABOVE_BOUND, "not less than any volatility can give,", price, bound)
    return undiscounted - intrinsic


def _solve(log_ratio: int, ratio: int, value: int) -> int:
    """s of which the price of the option out of the money is ``value``."""
    low, high = 0, MOST_DEVIATION
    deviation = min(isqrt(2 * abs(log_ratio) << FINE_BITS), MOST_DEVIATION - 1)
    tried = 0
    while high - low > 1:
        tried += 1
        d1, d2 = _distances(log_ratio, deviation)
        short = value - _out_of_the_money(ratio, d1, d2)
        if short == 0:
            return deviation
        low, high = (max(low, deviation), high) if short > 0 else (low, min(high, deviation))
        slope = density_fine(d1)
        step = quotient(short << FINE_BITS, slope) if slope and tried < _ROUNDS else MOST
        if step == 0:
            return deviation
        deviation += step
        if not low < deviation < high:
            deviation = (low + high) >> 1
    return deviation
