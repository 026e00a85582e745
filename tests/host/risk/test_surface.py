from itertools import pairwise
from random import Random

import pytest
from hawse.risk.errors import Code, NotAscending, OutOfRange, RiskError
from hawse.risk.fixed import FINE, ONE
from hawse.risk.options import MOST_TIME, log_moneyness
from hawse.risk.surface import (
    MOST_MONEYNESS,
    MOST_NODES,
    MOST_VARIANCE,
    Kind,
    Listing,
    Surface,
    arbitrage,
    distance,
    ruling,
)
from hypothesis import given
from hypothesis import strategies as st


def fx(value):
    return round(value * ONE)


TIMES = tuple(map(fx, (1 / 52, 1 / 12, 0.25, 1.0)))
MONEYNESS = tuple(map(fx, (-1.0, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0)))
FORWARD = 50_000
STRIKES = tuple(range(20_000, 120_001, 5_000))
LISTINGS = tuple(Listing(fx(t), FORWARD, STRIKES) for t in (0.05, 0.2, 0.6))


def surface(smile, times=TIMES, moneyness=MONEYNESS):
    """Of a function of log-moneyness and time in floats."""
    return Surface(
        times, moneyness, tuple(tuple(fx(smile(k / ONE, t / ONE)) for k in moneyness) for t in times)
    )


def skewed(k, t):
    """Free of arbitrage: a parameterisation of total variance (SVI) over wide nodes."""
    w = 0.04 * t + 0.2 * t * (-0.3 * k + (k * k + 0.25) ** 0.5)
    return (w / t) ** 0.5


FLAT = surface(lambda k, t: 0.6)
WIDE = tuple(fx(k / 20) for k in range(-40, 41))


def test_total_variance_is_linear_between_nodes():
    smile = surface(skewed)
    for i, t in enumerate(TIMES):
        for j, (left, right) in enumerate(pairwise(MONEYNESS)):
            middle = (left + right) // 2
            mean = (smile.node(i, j) + smile.node(i, j + 1)) // 2
            assert abs(smile.variance(middle, t) - mean) <= 1 + 2 * FINE // ONE
    for before, after in pairwise(TIMES):
        ends = smile.variance(0, before), smile.variance(0, after)
        assert abs(smile.variance(0, (before + after) // 2) - sum(ends) // 2) <= 1 + 16 * FINE // ONE
    assert smile.variance(fx(0.1), TIMES[1]) == smile.node(1, 5)
    assert smile.variance(fx(0.3), 0) == 0


def test_volatility_is_flat_outside_the_nodes():
    smile = surface(skewed)
    for time in (*TIMES, fx(0.1)):
        assert smile.volatility(fx(-3), time) == smile.volatility(MONEYNESS[0], time)
        assert smile.volatility(fx(3), time) == smile.volatility(MONEYNESS[-1], time)
    for k in (fx(-3), fx(0.05), 0):
        assert smile.volatility(k, 0) == smile.volatility(k, 1) == smile.volatility(k, TIMES[0])
        assert smile.volatility(k, MOST_TIME) == smile.volatility(k, TIMES[-1])


@given(st.integers(-MOST_MONEYNESS, MOST_MONEYNESS), st.integers(0, MOST_TIME))
def test_a_flat_surface_is_flat(moneyness, time):
    assert abs(FLAT.volatility(moneyness, time) - fx(0.6)) <= 1


@given(st.integers(-2 * ONE, 2 * ONE), st.integers(1, 3 * ONE))
def test_volatility_and_variance_say_the_same(moneyness, time):
    smile = surface(skewed)
    squared = smile.volatility(moneyness, time) ** 2 * time
    assert abs(smile.variance(moneyness, time) - (squared >> 3 * 48 - 58)) <= 2 + (time >> 36)


def test_a_single_node_is_a_surface():
    one = Surface((ONE,), (0,), ((ONE // 2,),))
    assert one.volatility(fx(0.7), fx(0.01)) == one.volatility(fx(-9), MOST_TIME) == ONE // 2


# Arbitrage


def test_good_surfaces_have_no_arbitrage():
    assert arbitrage(FLAT, LISTINGS) is None
    assert arbitrage(surface(skewed), LISTINGS) is None
    dense = [Listing(fx(t), FORWARD, tuple(range(10_000, 300_000, 500))) for t in (0.004, 0.1, 0.9)]
    assert arbitrage(FLAT, dense) is None
    assert arbitrage(surface(skewed, moneyness=WIDE), dense) is None
    assert arbitrage(FLAT, []) is None


def test_a_bump_in_the_smile_is_a_butterfly():
    def bumped(k, t):
        return 0.9 if k == 0 and t == 0.25 else 0.5

    bad = surface(bumped)
    at = [Listing(fx(0.25), FORWARD, (45_000, 50_000, 55_000))]
    found = arbitrage(bad, at)
    assert found is not None and (found.kind, found.listing, found.strike) == (Kind.BUTTERFLY, 0, 1)
    assert found.value > found.bound
    assert arbitrage(bad, [Listing(fx(0.25), FORWARD, (25_000, 100_000))]) is None


def test_a_call_that_costs_more_than_the_one_below_is_a_spread():
    def rising(k, t):
        return 0.2 if k < 0.1 else 2.0

    found = arbitrage(surface(rising), [Listing(fx(1.0), FORWARD, (50_000, 60_000))])
    assert found is not None and (found.kind, found.strike) == (Kind.SPREAD, 1)


def test_falling_total_variance_is_a_calendar():
    def falling(k, t):
        return 0.5 if t < 0.2 or k < 0 else 0.2

    bad = surface(falling)
    found = arbitrage(
        bad, [Listing(fx(0.05), FORWARD, (50_000,)), Listing(fx(0.1), FORWARD, (25_000, 60_000))]
    )
    assert found is not None and (found.kind, found.listing, found.strike) == (Kind.CALENDAR, 0, 0)
    assert found.value == bad.node(2, 4) < found.bound == bad.node(1, 4)
    assert arbitrage(bad, [Listing(fx(0.05), FORWARD, (25_000,))]) is None


def test_strikes_are_taken_at_the_forward_of_their_listing():
    def falling(k, t):
        return 0.5 if t < 0.2 or k < 0 else 0.2

    low = [Listing(fx(0.05), 2 * FORWARD, (FORWARD,))]
    assert log_moneyness(2 * FORWARD, FORWARD) < 0
    assert arbitrage(surface(falling), low) is None


# Which one rules


def _scaled(factor):
    return surface(lambda k, t: factor * skewed(k, t))


def test_the_surface_nearest_to_the_others_rules():
    low, middle, high = _scaled(0.9), _scaled(1.0), _scaled(1.3)
    assert distance(low, middle) == distance(middle, low) and distance(low, low) == 0
    assert distance(low, high) == distance(low, middle) + distance(middle, high)
    for order in ([low, middle, high], [middle, high, low], [high, low, middle]):
        assert order[ruling(order)] is middle
    assert ruling([low]) == 0
    assert ruling([low, high]) == 0 and ruling([high, low]) == 0
    assert ruling([high, low, low]) == 1


@pytest.mark.parametrize("seed", range(20))
def test_hostile_surfaces_move_nothing_beyond_the_bound(seed):
    random = Random(seed)
    honest = [_scaled(1 + random.uniform(-0.01, 0.01)) for _ in range(random.randint(3, 7))]
    hostile = [_scaled(random.choice([0.2, 1.02, 3.0])) for _ in range(random.randint(0, len(honest) - 1))]
    shuffled = random.sample(honest + hostile, len(honest) + len(hostile))
    chosen = shuffled[ruling(shuffled)]
    apart = max(distance(a, b) for a in honest for b in honest)
    h, b = len(honest), len(hostile)
    for one in honest:
        assert distance(chosen, one) * (h - b) <= max(h - b, 2 * (h - 1)) * apart


# Bad input


def _changed(**change):
    good = {"times": (1, 2), "moneyness": (0, 1), "volatilities": ((ONE, ONE), (ONE, ONE))}
    return good | change


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"times": ()}, Code.SHAPE, f"nodes: 0 are not within 1 and {MOST_NODES}"),
        ({"moneyness": ()}, Code.SHAPE, "nodes: 0"),
        ({"volatilities": ((ONE, ONE),)}, Code.SHAPE, r"rows of \[2\], not 2 rows of 2"),
        ({"volatilities": ((ONE, ONE), (ONE,))}, Code.SHAPE, r"rows of \[2, 1\]"),
        ({"times": (2, 2)}, Code.ORDER, r"times\[1\]: 2 is not above 2"),
        ({"times": (0, 2)}, Code.TIME, "times: 0 is not within 1"),
        ({"times": (1, MOST_TIME + 1)}, Code.TIME, f"times: {MOST_TIME + 1}"),
        ({"moneyness": (1, 0)}, Code.ORDER, r"moneyness\[1\]: 0 is not above 1"),
        ({"moneyness": (-MOST_MONEYNESS - 1, 0)}, Code.RATIO, "moneyness: "),
        (
            {"volatilities": ((ONE, ONE), (ONE, 0))},
            Code.VOLATILITY,
            r"volatilities\[1\]\[1\]: 0 is not within 1",
        ),
        ({"volatilities": ((ONE, -1), (ONE, 1))}, Code.VOLATILITY, r"volatilities\[0\]\[1\]: -1"),
        ({"volatilities": ((ONE, ONE), (1, ONE))}, Code.VARIANCE, r"variance\[1\]\[0\]: 0 is not within 1"),
        (
            {"times": (1, 2 * ONE), "volatilities": ((ONE, ONE), (4 * ONE, ONE))},
            Code.VARIANCE,
            rf"variance\[1\]\[0\]: {MOST_VARIANCE} .* {MOST_VARIANCE - 1}",
        ),
    ],
)
def test_bad_nodes_are_named_with_both_numbers(change, code, text):
    with pytest.raises(RiskError, match=text) as error:
        Surface(**_changed(**change))
    assert error.value.code == code


def test_too_many_nodes_are_refused():
    row = (ONE,) * (MOST_NODES + 1)
    with pytest.raises(RiskError, match=f"nodes: {MOST_NODES + 1}"):
        Surface((ONE,), tuple(range(MOST_NODES + 1)), (row,))


@pytest.mark.parametrize(
    ("listings", "code", "text"),
    [
        ([Listing(2, 1, ()), Listing(2, 1, ())], Code.ORDER, r"listings\[1\]: 2 is not above 2"),
        ([Listing(0, 1, ())], Code.TIME, "time: 0"),
        ([Listing(1, 0, ())], Code.FORWARD, "forward: 0"),
        ([Listing(1, 1, (0, 1))], Code.STRIKE, "strike: 0"),
        ([Listing(1, 9, (5, 4))], Code.ORDER, r"strikes\[1\]: 4 is not above 5"),
        ([Listing(1, 1, (1, 2**15))], Code.RATIO, f"strike: {2**15}"),
    ],
)
def test_bad_listings_are_named_with_both_numbers(listings, code, text):
    with pytest.raises(RiskError, match=text) as error:
        arbitrage(FLAT, listings)
    assert error.value.code == code


def test_other_arguments_out_of_range_are_named():
    for point, code in (
        ((MOST_MONEYNESS + 1, 1), Code.RATIO),
        ((0, -1), Code.TIME),
        ((0, MOST_TIME + 1), Code.TIME),
    ):
        with pytest.raises(OutOfRange) as error:
            FLAT.volatility(*point)
        assert error.value.code == code
    hot = Surface((ONE,), (0,), ((5 * ONE,),))
    with pytest.raises(OutOfRange, match="variance"):
        hot.variance(0, 2 * ONE)
    with pytest.raises(RiskError, match="fewer than 1"):
        ruling([])
    with pytest.raises(RiskError, match="nodes"):
        distance(FLAT, hot)
    assert issubclass(NotAscending, RiskError)
