"""Index, mark, averages, settlement, volatility and funding: what they promise, whatever comes."""

from fractions import Fraction

import pytest
from hawse.instruments import PPM
from hawse.risk import funding, prices, settlement, volatility
from hawse.risk.errors import Code, OutOfRange, RiskError
from hawse.risk.fixed import FINE, LEAST, MOST, ONE, Rounding
from hawse.risk.funding import Funding, FundingTerms
from hawse.risk.options import Right
from hawse.risk.options import prices as option_prices
from hawse.risk.prices import MOST_PRICE, Average, Equivocation, Feed, Marking, MarkTerms, Observation
from hawse.risk.surface import Surface
from hawse.risk.volatility import MINUTE, Driven, Volatility, VolatilityTerms
from hypothesis import assume, given
from hypothesis import strategies as st

PRICE = st.integers(1, MOST_PRICE)


def refused(code, function, *arguments):
    """It is, with this code; the text has a number."""
    with pytest.raises(RiskError, match=r"\d") as caught:
        function(*arguments)
    assert caught.value.code == code
    return caught.value


# Observations and the index

FEED = Feed(publishers=5, quorum=3, staleness=1_000, ahead=10, deviation_ppm=50_000)


def test_what_is_not_observed():
    observed = prices.observe(FEED, (None,) * 5, Observation(2, 100, 5_000, 7), 5_000)
    assert observed[2] == (2, 100, 5_000, 7) and observed.count(None) == 4
    for code, said in (
        (Code.PUBLISHER, Observation(5, 100, 5_000, 8)),
        (Code.PUBLISHER, Observation(-1, 100, 5_000, 8)),
        (Code.PRICE, Observation(2, 0, 5_000, 8)),
        (Code.PRICE, Observation(2, MOST_PRICE + 1, 5_000, 8)),
        (Code.NUMBER, Observation(2, 100, 5_000, 7)),  # again
        (Code.NUMBER, Observation(2, 100, 5_000, 6)),
        (Code.NUMBER, Observation(1, 100, 5_000, -1)),
        (Code.NUMBER, Observation(1, 100, 5_000, MOST + 1)),
        (Code.TIME, Observation(2, 100, 4_999, 8)),
        (Code.FUTURE, Observation(2, 100, 5_011, 8)),
        (Code.STALE, Observation(1, 100, 3_999, 8)),
    ):
        refused(code, prices.observe, FEED, observed, said, 5_000)
    assert prices.observe(FEED, observed, Observation(2, 101, 5_010, 8), 5_000)[2].value == 101
    assert prices.observe(FEED, observed, Observation(1, 101, 4_000, 0), 5_000)[1].time == 4_000


def test_two_values_under_one_number_are_evidence():
    observed = prices.observe(FEED, (None,) * 5, Observation(2, 100, 5_000, 7), 5_000)
    error = refused(Code.EQUIVOCATION, prices.observe, FEED, observed, Observation(2, 101, 5_000, 7), 5_000)
    assert isinstance(error, Equivocation) and (error.before.value, error.said.value) == (100, 101)
    assert "100" in str(error) and "101" in str(error)


def test_terms_of_a_feed():
    for fields in ((0, 1, 1, 0, 1), (3, 4, 1, 0, 1), (3, 0, 1, 0, 1), (3, 3, 0, 0, 1), (3, 3, 1, 0, 0)):
        refused(Code.ARGUMENT, Feed, *fields)


@st.composite
def feeds(draw, hostile):
    """A feed, observations of which ``hostile(quorum)`` are anything, and the range of the honest ones."""
    publishers = draw(st.integers(1, 9))
    quorum = draw(st.integers(1, publishers))
    feed = Feed(publishers, quorum, 100, 0, draw(st.integers(1, PPM)))
    bad = hostile(quorum)
    assume(bad <= publishers)
    low = draw(st.integers(1, 10**6))
    high = low + draw(st.integers(0, 10**5))
    observed = [
        # The operator leaves out whom it likes.
        draw(
            st.none() | st.builds(Observation, st.just(n), st.integers(low, high), st.just(1_000), st.just(0))
        )
        for n in range(bad, publishers)
    ]
    wild = [
        Observation(
            n, draw(st.sampled_from([1, low, high, MOST_PRICE]) | PRICE), draw(st.integers(900, 1_000)), 0
        )
        for n in range(bad)
    ]
    return feed, (*wild, *observed), low, high


@given(feeds(lambda quorum: -(-quorum // 2) - 1))
def test_fewer_than_half_a_quorum_move_nothing(case):
    feed, observed, low, high = case
    found = prices.index(feed, observed, 1_000)
    assert found.value is None or low <= found.value <= high
    assert found.counted + len(found.left_out) == feed.publishers
    assert (found.value is None) == (found.counted < feed.quorum)


def test_half_a_quorum_moves_it():
    """So the bound above is the most there is, and is said to be no more."""
    feed = Feed(4, 4, 100, 0, PPM)
    honest = [Observation(n, 100, 1_000, 0) for n in range(2)]
    hostile = [Observation(n, 180, 1_000, 0) for n in (2, 3)]
    assert prices.index(feed, (*honest, *hostile), 1_000).value == 140


def test_what_is_left_out_has_a_reason():
    observed = (
        Observation(0, 100, 1_000, 0),
        None,
        Observation(2, 101, 1_000, 0),
        Observation(3, 90, 1_500, 0),
        Observation(4, 102, 999, 0),
    )
    feed = Feed(5, 2, 1_000, 10, 50_000)
    found = prices.index(feed, observed, 2_000)
    assert found == (100, 2, ((1, 1, 0, 0), (3, 3, 90, 95), (4, 2, 1_001, 1_000)))


# Averages


@given(st.lists(st.tuples(st.integers(0, 50), st.none() | st.integers(-99, 99)), min_size=1), st.data())
def test_an_average_does_not_care_how_often_it_is_asked(steps, data):
    average, often, now, held = Average(0), Average(0), 0, []
    for span, value in steps:
        average, often = average.step(now, value), often.step(now, value)
        held += [value] * span
        for _ in range(data.draw(st.integers(0, 2))):
            often = often.until(data.draw(st.integers(often.time, now + span)))
        now += span
    counted = [v for v in held if v is not None]
    assert average.until(now) == often.until(now)
    mean = average.until(now).mean(Rounding.FLOOR)
    assert mean == (sum(counted) // len(counted) if counted else None)


def test_time_does_not_go_back():
    refused(Code.TIME, Average(5).until, 4)
    refused(Code.TIME, Average(5).step, 4, 1)
    refused(Code.TIME, funding.advance, FUNDING, Funding(0, Average(100)), 99)
    refused(Code.TIME, volatility.drive, VOLATILITY, Driven(1, 5), 4, 0)
    refused(Code.TIME, volatility.follow, VOLATILITY, Volatility(2, 100, 0), 1_999, 100)


# Mark

MARK = MarkTerms(bound_ppm=10_000, smoothing=1_000, maintenance_ppm=25_000)


def test_the_bound_is_below_half_the_maintenance():
    assert MarkTerms(12_499, 1, 25_000)
    refused(Code.ARGUMENT, MarkTerms, 12_500, 1, 25_000)
    refused(Code.ARGUMENT, MarkTerms, -1, 1, 25_000)


@given(
    st.lists(st.tuples(PRICE, st.none() | PRICE, st.none() | PRICE, st.none() | PRICE, st.integers(0, 999)))
)
def test_a_mark_stays_near_the_index(events):
    state = Marking(0, Average(0))
    now = 0
    for index, bid, ask, last, span in events:
        state = prices.quote(state, now, bid, ask)
        state = Marking(state.time, state.impact, state.basis, last)
        now += span
        state, found = prices.mark(MARK, state, now, index)
        bound = index * MARK.bound_ppm // PPM
        assert abs(found.value - index) <= bound and abs(found.fair - index) <= bound
        assert found.impact is None or (bid is not None and ask is not None)
        if found.impact is None or last is None:
            assert found.value == found.fair  # neither a book nor a trade alone


def test_the_basis_follows_by_half_in_its_time():
    state = prices.quote(Marking(0, Average(0)), 0, 100_400, 100_400)
    state, found = prices.mark(MARK, state, 1_000, 100_000)
    assert found.fair == 100_200 and found.impact == 100_400
    state, found = prices.mark(MARK, state, 2_000, 100_000)
    assert found.fair == 100_300
    state, found = prices.mark(MARK, prices.quote(state, 2_000, 1, None), 9_000, 100_000)
    assert found.fair == 100_300 and found.impact is None  # one side: nothing is known


def test_half_of_the_time_both_sides_must_be_there():
    for there, counts in ((500, True), (499, False)):
        state = prices.quote(Marking(0, Average(0)), 0, 100, 102)
        state = prices.quote(state, there, None, 102)
        assert (prices.mark(MARK, state, 1_000, 100)[1].impact == 101) == counts


def test_impact_prices():
    levels = [(100, 5), (99, 5), (90, 100)]
    assert prices.impact_price(levels, 5, Rounding.FLOOR) == 100
    assert prices.impact_price(levels, 7, Rounding.FLOOR) == 99  # 698 / 7
    assert prices.impact_price(levels, 7, Rounding.CEILING) == 100
    assert prices.impact_price(levels, 110, Rounding.FLOOR) is not None
    assert prices.impact_price(levels, 111, Rounding.FLOOR) is None
    refused(Code.LOTS, prices.impact_price, levels, 0, Rounding.FLOOR)


def test_the_mark_of_an_option_is_blacks_on_the_surface():
    surface = Surface((ONE // 4, ONE), (-ONE, ONE), ((ONE // 2, ONE // 2), (ONE, ONE)))
    call, put = (prices.option_mark(right, surface, 64_000_00, 70_000_00, ONE // 4) for right in Right)
    assert put - call == 6_000_00
    expected = option_prices(64_000_00, 70_000_00, ONE // 4, surface.volatility(0, ONE // 4))[0] * 64_000_00
    assert abs(call - expected / ONE) < 0.6  # the surface's volatility is one half, to some quanta
    assert prices.option_mark(Right.PUT, surface, 100, 130, 0) == 30


# Settlement


@given(
    st.integers(1, 99), st.lists(st.tuples(st.integers(0, 60), st.none() | st.integers(1, 999)), max_size=9)
)
def test_a_window_counts_its_own_time_only(window, steps):
    state, now, held = settlement.open_window(window, 0, 500), 0, []
    current = 500
    for span, value in steps:
        held += [current] * span
        now += span
        state, current = settlement.in_window(state, now, value), value
    counted = [v for v in held if v is not None][:window]
    assert state.average.elapsed == len(counted) and state.average.total == sum(counted)
    found = settlement.settlement_price(state, now, 1 << 60)
    assert (found is not None) == (len(counted) == window)
    if found is not None:
        assert found == settlement.window_mark(state) and abs(
            found - Fraction(sum(counted), window)
        ) <= Fraction(1, 2)


def test_a_window_without_quorum_ends_by_what_it_has():
    state = settlement.in_window(settlement.open_window(100, 0, 500), 10, None)
    assert settlement.settlement_price(state, 59, 50) is None
    assert settlement.settlement_price(state, 60, 50) == 500
    state = settlement.in_window(state, 70, 700)
    state = settlement.in_window(state, 90, None)
    assert settlement.settlement_price(state, 139, 50) is None  # the patience begins anew
    assert settlement.settlement_price(state, 140, 50) == round((10 * 500 + 20 * 700) / 30)
    assert (
        settlement.settlement_price(settlement.in_window(settlement.open_window(9, 0, 42), 0, None), 50, 50)
        == 42
    )


# Volatility

VOLATILITY = VolatilityTerms(
    grid=1_000, decay=ONE * 94 // 100, horizon=100, factor_ppm=2 * PPM, floor_ppm=20_000, step_ppm=5_000
)


@given(st.integers(1, 10**6), PRICE, PRICE, st.integers(0, FINE))
def test_variance_of_a_return_across_a_gap(steps, value, price, variance):
    found = volatility.follow(VOLATILITY, Volatility(0, value, variance), steps * 1_000 + 999, price)
    assert found.point == steps and found.value == price
    assert 0 <= found.variance <= 16 * FINE
    if value == price:
        assert found.variance <= variance + 1
    assert (
        volatility.follow(VOLATILITY, found, steps * 1_000 + 999, MOST_PRICE) == found
    )  # between points nothing


def test_an_outage_hides_no_crash():
    """Minutes without an index, then half of it: the margin wanted is no lower than of a slow fall."""
    slow = state = Volatility(0, 100_000, 0)
    for n in range(1, 61):
        slow = volatility.follow(VOLATILITY, slow, n * 1_000, round(100_000 * 0.5 ** (n / 60)))
    gap = volatility.follow(VOLATILITY, state, 60_000, 50_000)
    assert gap.variance > slow.variance
    assert volatility.wanted_fraction(VOLATILITY, gap.variance) > volatility.wanted_fraction(
        VOLATILITY, slow.variance
    )


@given(st.lists(st.tuples(st.integers(0, 2 * MINUTE), st.integers(0, FINE)), max_size=30))
def test_a_fraction_takes_one_step_a_minute(changes):
    state, now, changed = Driven(20_000, 0), 0, 0
    for span, variance in changes:
        now += span
        before, state = state, volatility.drive(VOLATILITY, state, now, variance)
        wanted = volatility.wanted_fraction(VOLATILITY, variance)
        assert 20_000 <= wanted <= PPM and abs(state.ppm - before.ppm) <= 5_000
        if state != before:
            assert now - changed >= MINUTE and abs(wanted - state.ppm) < abs(wanted - before.ppm)
            changed = now


def test_the_fraction_is_rounded_up():
    terms = VolatilityTerms(1, ONE // 2, 1, PPM, 1, PPM)
    assert volatility.wanted_fraction(terms, FINE // 4) == PPM // 2
    assert volatility.wanted_fraction(terms, FINE // 4 + 1) == PPM // 2 + 1
    assert volatility.wanted_fraction(terms, 0) == 1 and volatility.wanted_fraction(terms, 9 * FINE) == PPM


# Funding

FUNDING = FundingTerms(interval=1_000, hold=400, scale=ONE, most=ONE // 100)


def test_a_premium_is_held_for_its_time_only():
    state = funding.observe(FUNDING, Funding(0, Average(0)), 0, 1 << 20, ONE // 200)
    state = funding.advance(FUNDING, state, 10_500)
    assert state.premium == Average(10_500) and state.begun == 10_000
    step = ((ONE // 200 << 20) + (1 << 27)) >> 28  # the first interval's alone: 400 ns of 1,000, all alike
    assert state.cumulative == step
    other = funding.observe(FUNDING, Funding(0, Average(0)), 900, 1 << 20, ONE // 200)
    assert funding.advance(FUNDING, other, 3_000).cumulative == 2 * step  # until 1,300


@given(st.lists(st.tuples(st.integers(0, 3_000), st.none() | st.integers(-ONE, ONE)), max_size=20), st.data())
def test_funding_does_not_care_how_often_it_is_asked(events, data):
    once = often = Funding(0, Average(0))
    now = 0
    for span, value in events:
        once = funding.observe(FUNDING, once, now, 64_000, value)
        often = funding.observe(FUNDING, often, now, 64_000, value)
        for _ in range(data.draw(st.integers(0, 3))):
            often = funding.advance(FUNDING, often, data.draw(st.integers(often.premium.time, now + span)))
        now += span
    assert funding.advance(FUNDING, once, now) == funding.advance(FUNDING, often, now)
    bound = (now // 1_000) * (ONE // 100 * 64_000 >> 28) + now
    assert abs(once.cumulative) <= bound


@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(-(10**9), 10**9), st.sets(st.integers(0, 8))), max_size=12),
    st.integers(1, 100),
    st.integers(1, 100),
)
def test_what_longs_pay_is_what_shorts_get(lots, steps, numerator, denominator):
    """Whoever is touched when: dust is below a quantum a payment, and never negative."""
    lots.append(-sum(lots))
    since, cumulative, paid, payments = [0] * len(lots), 0, 0, 0
    for change, touched in [*steps, (0, set(range(9)))]:
        cumulative += change
        for n in sorted(touched & set(range(len(lots)))):
            paid += funding.payment(lots[n], since[n], cumulative, numerator, denominator)
            since[n], payments = cumulative, payments + 1
    assert 0 <= paid < max(payments, 1)


def test_premiums_need_both_sides():
    assert funding.premium(100, None, 99) is None and funding.premium(100, 103, None) is None
    assert funding.premium(1, MOST_PRICE, MOST_PRICE) == 64 * ONE
    refused(Code.PRICE, funding.premium, 0, 1, 1)
    refused(Code.PRICE, funding.premium, 1, 0, 1)


def test_what_leaves_int64_is_refused():
    state = Funding(0, Average(0), 0, 1, MOST)
    state = funding.observe(FUNDING, state, 0, MOST_PRICE, ONE)
    assert funding.advance(FUNDING, state, 1_000).cumulative == MOST
    refused(Code.OVERFLOW, funding.payment, 1 << 56, LEAST, MOST, 1, 1)
    refused(Code.LOTS, funding.payment, (1 << 56) + 1, 0, 1, 1, 1)
    with pytest.raises(OutOfRange, match=str(MOST)):
        funding.payment(1 << 56, LEAST, MOST, 1, 1)
