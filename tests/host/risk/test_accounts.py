"""Requirements, portfolios and liquidation: what they promise, whatever comes."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hawse.instruments import PPM, Kind
from hawse.risk import liquidation, portfolio, requirements
from hawse.risk.errors import Code, NotAscending, OutOfRange, RiskError
from hawse.risk.fixed import MOST, ONE
from hawse.risk.liquidation import LiquidationTerms, Opposite, Unhealthy
from hawse.risk.portfolio import VALUE_BITS, Array, Expiry, Portfolio, Ranges, Scenario, Scenarios
from hawse.risk.requirements import Breach, Holding, Limits, Market, Order, Terms, Tier
from hawse.wire import Side
from hypothesis import assume, given
from hypothesis import strategies as st

TIERS = (Tier(0, PPM), Tier(10**6, 2 * PPM), Tier(10**8, 5 * PPM))
PERPETUAL = Terms(Kind.PERPETUAL, 1, 100, TIERS, 600_000, 500, lower=10**9, upper=2 * 10**9)
CALL = Terms(
    Kind.CALL,
    1,
    100,
    TIERS,
    600_000,
    500,
    10**9,
    2 * 10**9,
    64_000,
    short_ppm=150_000,
    short_floor_ppm=100_000,
)
PUT = replace(CALL, kind=Kind.PUT)
LINEAR = Market(64_000, 64_000, 64_010, 20_000)
OPTION = Market(2_500, 64_000, 2_500)


def refused(code, function, *arguments):
    """It is, with this code; the text has a number."""
    with pytest.raises(RiskError, match=r"\d") as caught:
        function(*arguments)
    assert caught.value.code == code
    return caught.value


# Terms


def test_terms():
    for code, change in (
        (Code.ARGUMENT, {"numerator": 0}),
        (Code.ARGUMENT, {"denominator": 1 << 32}),
        (Code.SHAPE, {"tiers": ()}),
        (Code.SHAPE, {"tiers": tuple(Tier(n, PPM) for n in range(9))}),
        (Code.ARGUMENT, {"tiers": (Tier(1, PPM),)}),
        (Code.ORDER, {"tiers": (Tier(0, PPM), Tier(0, PPM))}),
        (Code.ARGUMENT, {"tiers": (Tier(0, PPM), Tier(1, PPM - 1))}),
        (Code.ARGUMENT, {"maintenance_ppm": 0}),
        (Code.ARGUMENT, {"fee_ppm": PPM + 1}),
        (Code.ARGUMENT, {"lower": 5, "upper": 5}),
        (Code.STRIKE, {"strike": 0}),
        (Code.ARGUMENT, {"short_ppm": 1, "short_floor_ppm": 2}),
    ):
        refused(code, lambda change=change: replace(CALL, **change))
    with pytest.raises(NotAscending, match="not above"):
        replace(CALL, tiers=(Tier(0, PPM), Tier(7, PPM), Tier(7, PPM)))


# Tiers and surcharge


@given(st.integers(1, PPM), st.integers(0, 3 * 10**8))
def test_tiers_are_continuous_and_rise(fraction, value):
    for at in (value, 10**6 - 1, 10**6, 10**8 - 1, 10**8):
        here, next_ = (requirements.tiered(PERPETUAL, fraction, v) for v in (at, at + 1))
        assert 0 <= next_ - here <= 1  # a rate is 1 at most, whichever tier
        assert here <= at


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 3 * 10**9))
def test_the_surcharge_rises_to_the_notional(initial, value, interest):
    found = requirements.surcharged(PERPETUAL, initial, value, interest)
    assert initial <= found <= max(initial, value)
    assert found <= requirements.surcharged(PERPETUAL, initial, value, interest + 1)
    if interest >= PERPETUAL.upper:
        assert found == max(initial, value)
    if interest <= PERPETUAL.lower:
        assert found == initial


# Cross accounts

LOTS = st.integers(-(10**7), 10**7)
HOLDINGS = st.builds(
    Holding,
    LOTS,
    st.integers(-(10**12), 10**12),
    st.integers(-(10**6), 10**6),
    st.just(0) | st.integers(0, 10**7),
    st.just(0) | st.integers(0, 10**7),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
)


@st.composite
def accounts(draw):
    """(terms, market, holding) of a few instruments."""
    held = []
    for _ in range(draw(st.integers(0, 4))):
        terms = draw(st.sampled_from([PERPETUAL, CALL, PUT]))
        mark = draw(st.integers(0 if terms.option else 1, 10**5))
        interest = draw(st.integers(0, 3 * 10**9))
        market = Market(
            mark,
            draw(st.integers(1, 10**5)),
            draw(st.integers(0, 10**5)),
            draw(st.integers(1, PPM)),
            interest,
        )
        held.append((terms, market, draw(HOLDINGS)))
    return held


@given(st.integers(-(10**12), 10**12), accounts())
def test_needs_are_in_order(collateral, held):
    account = requirements.cross(collateral, held)
    assert 0 <= account.maintenance <= account.initial <= account.surcharged
    assert account.free == account.equity - account.initial


@given(st.integers(-(10**12), 10**12), accounts())
def test_what_leaves_is_there(collateral, held):
    account = requirements.cross(collateral, held)
    found = requirements.withdrawable(collateral, held, True)
    assert 0 <= found <= max(0, collateral) and found <= max(0, account.free)
    losses = 0
    for terms, market, holding in held:
        at = [market.mark] if terms.option else [market.mark, market.fair]
        value = min(requirements.unrealised(terms, price, holding) for price in at)
        losses += min(0, value)
    assert found <= max(0, collateral + losses - account.initial)
    assert found in (0, collateral, account.free, collateral + losses - account.initial)


def test_nothing_leaves_without_a_valid_mark():
    held = [(PERPETUAL, LINEAR, Holding(0))]
    assert requirements.withdrawable(500, held, True) == 500
    assert requirements.withdrawable(500, held, False) == 0
    stale = replace(LINEAR, valid=False)
    assert requirements.withdrawable(500, [(PERPETUAL, stale, Holding(0))], True) == 500  # not held
    assert requirements.withdrawable(10**9, [(PERPETUAL, stale, Holding(1, 64_000))], True) == 0


@given(
    st.sampled_from([PERPETUAL, CALL, PUT]), HOLDINGS, st.sampled_from(Side), st.integers(0, 10**5), st.data()
)
def test_a_fill_costs_no_more_than_was_held(terms, holding, side, price, data):
    """A fill at the limit or better, in part or in full: free collateral falls by rounding alone."""
    market = data.draw(
        st.builds(Market, st.integers(1, 10**5), st.integers(1, 10**5), st.just(1), st.integers(1, PPM))
    )
    lots = data.draw(st.integers(1, 10**7))
    filled = data.draw(st.integers(1, lots))
    better = data.draw(st.integers(0, price))
    at = price - better if side == Side.BUY else price + better
    holding = replace(holding, funding=0)
    with_order = requirements.reserve(market, holding, side, price, lots)
    rest = requirements.reserve(market, holding, side, price, lots - filled) if filled < lots else holding
    bought = filled if side == Side.BUY else -filled
    after = replace(
        rest, size=holding.size + bought, entry=holding.entry + (0 if terms.option else bought * at)
    )
    value = at * filled * Fraction(terms.numerator, terms.denominator)
    fee = -(-value * terms.fee_ppm // PPM)
    cash = -fee if not terms.option else -fee - (value if side == Side.BUY else -value)
    before = requirements.cross(0, [(terms, market, with_order)])
    found = requirements.cross(0, [(terms, market, after)])
    assert found.equity + cash - found.initial >= before.equity - before.initial - 4


@given(st.sampled_from([PERPETUAL, CALL, PUT]), LOTS, st.integers(1, 10**5), st.data())
def test_an_order_that_reduces_needs_no_margin(terms, size, mark, data):
    assume(size)
    market = Market(mark, data.draw(st.integers(1, 10**5)), mark, data.draw(st.integers(1, PPM)))
    lots = data.draw(st.integers(1, abs(size)))
    side = Side.SELL if size > 0 else Side.BUY
    holding = Holding(size, size * mark)
    free = requirements.cross(0, [(terms, market, holding)]).free
    found = requirements.free_with(0, [(terms, market, holding)], Order(0, side, mark, lots))
    fee = -(-mark * lots * terms.numerator * terms.fee_ppm // (terms.denominator * PPM))
    assert found >= free - fee


def test_the_surcharge_binds_only_what_increases():
    crowded = replace(LINEAR, open_interest=PERPETUAL.upper)
    for market, reserved in ((LINEAR, 1_280), (crowded, 64_000)):
        held = [(PERPETUAL, market, Holding(-100, -6_400_000))]
        free = requirements.cross(10**6, held).free
        more = requirements.free_with(10**6, held, Order(0, Side.SELL, 64_000, 100))
        less = requirements.free_with(10**6, held, Order(0, Side.BUY, 64_000, 100))
        assert free - less == 32  # the fee
        assert 10**6 - more == 2 * reserved + 32


def test_a_short_option_account_can_buy_back():
    """At maintenance the mark is there in full, whatever its part of the rest is."""
    deep = Market(40_000, 104_000, 40_000)
    needs = requirements.requirement(CALL, deep, Holding(-100))
    assert needs.maintenance == (40_000 + 15_600 * 6 // 10)
    assert needs.initial == 40_000 + 15_600


def test_an_options_buy_costs_the_mark_and_a_sell_brings_it():
    lots, unit = 1_000, 9_600
    for side, held, initial in (
        (Side.BUY, 0, 2_500 * lots),
        (Side.SELL, 0, unit * lots),
        (Side.SELL, lots, 0),  # what it has
        (Side.SELL, lots // 2, (unit + 2_500) * lots // 2 - 2_500 * lots),  # and as much again
        (Side.BUY, -lots, (unit + 2_500) * lots),  # nothing beyond what it needs now
    ):
        holding = requirements.reserve(OPTION, Holding(held), side, 2_500, lots)
        needs = requirements.requirement(replace(CALL, fee_ppm=0), OPTION, holding)
        assert needs.initial == max(0, initial) // 100, (side, held)


def test_refusals_at_the_edges_of_int64():
    big = 1 << 56
    refused(Code.LOTS, Holding, big + 1)
    refused(Code.LOTS, Holding, 0, 0, 0, -1)
    refused(Code.ARGUMENT, Holding, 0, (1 << 100) + 1)
    refused(Code.ARGUMENT, Holding, 0, 0, MOST + 1)
    refused(Code.PRICE, Market, -1, 1, 1)
    refused(Code.PRICE, Market, 1, 0, 1)
    refused(Code.OVERFLOW, requirements.requirement, PERPETUAL, replace(LINEAR, mark=1 << 40), Holding(big))
    refused(Code.OVERFLOW, requirements.requirement, PERPETUAL, LINEAR, Holding(0, loss=1 << 100))
    refused(Code.OVERFLOW, requirements.unrealised, PERPETUAL, 1, Holding(0, 1 << 100))
    refused(Code.OVERFLOW, requirements.cross, -MOST, [(PERPETUAL, LINEAR, Holding(0, 10**6, MOST))])
    refused(Code.SHAPE, requirements.cross, 0, [(PERPETUAL, LINEAR, Holding(0))] * 129)
    held = [(PERPETUAL, LINEAR, Holding(0, buy=big))]
    refused(Code.LOTS, requirements.free_with, 0, held, Order(0, Side.BUY, 1, 1))
    refused(Code.ARGUMENT, requirements.free_with, 0, held, Order(1, Side.BUY, 1, 1))


def test_a_breach_names_the_limit_and_both_numbers():
    limits = Limits(position=100, delta=5_000)
    requirements.check_limits("owner", limits, Limits(100, 0, 0, -5_000, 0, 0, 0))
    with pytest.raises(Breach, match="owner delta: 5001 is not within 0 and 5000") as caught:
        requirements.check_limits("owner", limits, Limits(100, 0, 0, -5_001, 0, 0, 0))
    assert (caught.value.code, caught.value.most) == (Code.LIMIT, 5_000)


def test_what_expires_is_paid():
    assert [requirements.payoff(t, 65_000) for t in (PERPETUAL, CALL, PUT)] == [65_000, 1_000, 0]
    assert [requirements.payoff(t, 60_000) for t in (PERPETUAL, CALL, PUT)] == [60_000, 0, 4_000]
    refused(Code.PRICE, requirements.payoff, CALL, -1)


@given(st.integers(0, 10**12), st.integers(-PPM, PPM), st.integers(0, PPM))
def test_a_rebate_is_paid_by_the_taker(value, maker_ppm, taker_ppm):
    maker, taker = requirements.trade_fees(value, maker_ppm, taker_ppm)
    assert maker + taker >= 0 and 0 <= taker - Fraction(value * taker_ppm, PPM) < 1
    assert maker >= Fraction(value * maker_ppm, PPM)
    if maker_ppm + taker_ppm >= 0:
        assert maker < Fraction(value * maker_ppm, PPM) + 1


# Portfolio

SCENARIOS = Scenarios(
    portfolio.lattice(3, (1, -1), 2 * PPM, 350_000),
    basis_ppm=10_000,
    short_ppm=5_000,
    maintenance_ppm=800_000,
)
CHANGES = st.lists(st.integers(-(1 << 40), 1 << 40), min_size=3, max_size=3).map(tuple)
ARRAYS = st.builds(
    Array, CHANGES, st.integers(-(1 << 40), 1 << 40), st.just(0), st.integers(0, 1 << 30), st.integers(0, 3)
)
POSITIONS = st.lists(st.tuples(ARRAYS, st.integers(-(10**6), 10**6)), min_size=1, max_size=6)


def test_the_sixteen_of_span():
    thirds = [(round(3 * each.move_ppm / PPM), each.volatility, each.weight_ppm) for each in SCENARIOS.each]
    assert thirds[:6] == [(0, 1, PPM), (0, -1, PPM), (1, 1, PPM), (1, -1, PPM), (-1, 1, PPM), (-1, -1, PPM)]
    assert thirds[14:] == [(6, 0, 350_000), (-6, 0, 350_000)] and len(thirds) == 16


@given(POSITIONS, POSITIONS, st.integers(0, PPM))
def test_an_order_adds_no_more_than_was_said(positions, legs, basis):
    """On top of any positions, also in the same instruments; none of it, all of it, or a part."""
    legs = [(array, lots) for array, lots in legs]
    before = portfolio.scan(positions, basis).requirement
    more = portfolio.add_on(legs, basis, 0)
    both = portfolio.scan([*positions, *legs], basis).requirement
    assert both <= before + more
    half = portfolio.scan([*positions, *((array, int(lots / 2)) for array, lots in legs)], basis).requirement
    assert half <= before + portfolio.add_on([(a, int(n / 2)) for a, n in legs], basis, 0)


@given(POSITIONS, st.integers(0, PPM), st.integers(0, 10**6))
def test_a_part_of_a_fill_is_no_worse_than_the_whole_but_for_the_charge(positions, basis, part):
    array, lots = positions[0]
    none, some, all_ = (portfolio.scan([(array, lots + n), *positions[1:]], basis) for n in (0, part, 10**6))
    worst = max(none.requirement - none.basis, all_.requirement - all_.basis)
    assert some.requirement <= worst + some.basis + 1


def test_the_charge_may_come_with_a_part_and_the_gain_with_the_rest():
    """Found by the search: nothing and all need 2, one lot of it needs 4."""
    bought, other = Array((0, 0, 2), 17_201_910, 0, 0, 3), Array((0, 0, -1_048_579), 0, 0, 0, 0)
    sold = Array((0, 0, 0), -13_193, 0, 0, 0)
    needs = [
        portfolio.scan([(bought, n), (other, 1), (sold, 1303)], 60_998).requirement for n in (0, 1, 10**6)
    ]
    assert needs == [2, 4, 2]


@given(POSITIONS, st.integers(0, PPM))
def test_what_is_bought_and_sold_is_nothing(positions, basis):
    mirrored = [*positions, *((replace(array, minimum=0), -lots) for array, lots in positions)]
    zero = [(replace(array, minimum=0), lots) for array, lots in mirrored]
    assert portfolio.scan(zero, basis).requirement == 0


def test_arrays_of_instruments():
    one = Terms(Kind.FUTURE, 1, 1)
    ranges = Ranges(100_000, ONE // 10)
    market = Market(64_000, 64_000, 64_000)
    future = portfolio.array(one, market, SCENARIOS, ranges, 1)
    assert future.delta == 64_000 << VALUE_BITS and future.vega == future.minimum == 0
    assert future.changes[6] >> VALUE_BITS == 4_267  # two thirds of a tenth: 4,266.7, to the nearest unit
    assert future.changes[14] >> VALUE_BITS == 12_800 * 35 // 100
    call = replace(CALL, numerator=1, denominator=1)
    priced = Expiry(64_000, ONE // 12, ONE * 6 // 10)
    option = portfolio.array(call, OPTION, SCENARIOS, ranges, 1, priced)
    assert option.minimum == 320 << VALUE_BITS
    assert option.changes[0] > 0 and option.changes[1] < 0  # volatility up and down
    assert option.changes[10] < future.changes[10] and option.changes[12] > future.changes[12]
    # A call sold against the future: what the future loses is more than the call brings.
    covered = portfolio.scan([(future, 1), (option, -1)], 0)
    naked = portfolio.scan([(option, -1)], 0)
    assert covered.requirement < naked.requirement < portfolio.scan([(future, 1)], 0).requirement
    refused(Code.SHAPE, portfolio.array, call, OPTION, SCENARIOS, ranges, 1)
    refused(Code.ARGUMENT, portfolio.array, one, market, SCENARIOS, Ranges(0, 0), 1)
    refused(Code.ARGUMENT, portfolio.array, one, market, SCENARIOS, ranges, 64)


def test_refusals_of_scans():
    array = Array((1 << 62, 0, 0), 0, 0, 0, 0)
    refused(Code.SHAPE, portfolio.scan, [], 0)
    refused(Code.SHAPE, portfolio.scan, [(array, 1), (replace(array, changes=(1,)), 1)], 0)
    refused(Code.LOTS, portfolio.scan, [(array, (1 << 56) + 1)], 0)
    refused(Code.OVERFLOW, portfolio.scan, [(array, -(1 << 30))], 0)
    refused(Code.OVERFLOW, portfolio.scan, [(replace(array, changes=(0, 0, 0), minimum=MOST), -(1 << 56))], 0)
    refused(Code.ARGUMENT, portfolio.scan, [(array, 1)], PPM + 1)
    refused(Code.ARGUMENT, portfolio.add_on, [(array, 1)], 0, -1)
    refused(Code.SHAPE, Scenarios, ())
    refused(Code.ARGUMENT, Scenarios, (Scenario(0, 2),))


def test_a_hedged_account_closes():
    scans = [portfolio.scan([(Array((-(100 << VALUE_BITS),), 0, 0, 0, 0), 3)], 0)]
    account = portfolio.portfolio(1_000, [50, -10], scans, [40], 500_000)
    assert account == Portfolio(1_040, 340, 150) and account.free == 700 and account.healthy
    assert portfolio.closes(account, Portfolio(1_030, 330, 150))
    assert not portfolio.closes(account, Portfolio(1_030, 331, 150))  # free is worse
    assert not portfolio.closes(account, Portfolio(1_060, 341, 150))
    assert not Portfolio(149, 340, 150).healthy


def test_greeks():
    array = Array((0,), 3 << VALUE_BITS, 5 << VALUE_BITS, 0, 0)
    assert portfolio.greeks([(array, -2), (array, 5)]) == (9, 15)


# Liquidation

TERMS = LiquidationTerms(
    share_ppm=500_000, whole=50, most=100, begin_ppm=10_000, steps=5, fee_ppm=5_000, cap=8
)


def test_nobody_healthy_is_liquidated():
    refused(Code.ARGUMENT, liquidation.order, [Unhealthy(3, 100, 100)])
    assert liquidation.order([Unhealthy(3, 99, 100), Unhealthy(1, -5, 0), Unhealthy(2, 99, 100)]) == [1, 2, 3]
    assert liquidation.order([Unhealthy(2, -1, 0), Unhealthy(1, -500, 100)]) == [2, 1]
    assert liquidation.permitted_delay(TERMS, 17) == 3 * 5


@given(st.integers(0, 10**6), st.integers(1, PPM), st.integers(0, 99), st.integers(1, 10**5))
def test_steps_end(lots, share, whole, most):
    terms = replace(TERMS, share_ppm=share, whole=whole, most=most)
    step = liquidation.step_lots(terms, lots)
    assert (step > 0) == (lots > 0) and step <= min(lots, most)


@given(
    st.integers(1, 10**6),
    LOTS,
    st.integers(-(10**9), 10**9),
    st.integers(0, 100),
    st.integers(1, 100),
    st.integers(1, 9),
    st.integers(1, 999),
)
def test_at_the_bankruptcy_price_nothing_is_left(mark, size, equity, own, other, numerator, denominator):
    assume(size)
    terms = Terms(Kind.PERPETUAL, numerator, denominator)
    price = liquidation.bankruptcy_price(terms, mark, size, equity, own, own + other)
    unit = Fraction(abs(size) * numerator, denominator)  # quanta of one price unit
    left = equity * Fraction(own, own + other) + size * (price - mark) * Fraction(numerator, denominator)
    assert 0 <= left < unit


@given(st.integers(1, 10**6), st.integers(-(10**6), 2 * 10**6), st.booleans(), st.integers(1, 9))
def test_prices_widen_to_bankruptcy_and_no_further(mark, bankruptcy, long, steps):
    terms, size = replace(TERMS, steps=steps), 1 if long else -1
    found = [liquidation.step_price(terms, mark, bankruptcy, size, step) for step in range(steps + 2)]
    assert found == sorted(found, reverse=long)
    assert all((price - bankruptcy) * size >= 0 for price in found)
    assert found[-1] == found[steps - 1] == bankruptcy
    reach = mark * terms.begin_ppm // PPM
    if steps > 1 and (mark - size * reach - bankruptcy) * size >= 0:
        assert found[0] == mark - size * reach


def test_weights():
    assert liquidation.weight(CALL, OPTION, 100) == 2_500
    assert liquidation.weight(CALL, OPTION, -100) == 2_500 + 9_600
    assert liquidation.weight(PERPETUAL, LINEAR, -100) == liquidation.weight(PERPETUAL, LINEAR, 100) == 1_280
    assert liquidation.first([3, 7, 7]) == 1
    refused(Code.SHAPE, liquidation.first, [])
    assert liquidation.bankruptcy_price(CALL, 100, 1, 10**6, 1, 1) == 0  # an option is worth something
    refused(Code.LOTS, liquidation.bankruptcy_price, CALL, 100, 0, 1, 1, 1)


def test_a_portfolio_closes_what_helps_most():
    long, short = Array((-300, 100), 0, 0, 0, 0), Array((-200, 150), 0, 0, 0, 0)
    scaled = [replace(a, changes=tuple(c << VALUE_BITS for c in a.changes)) for a in (long, short)]
    # Long 40 of one, short 30 of the other: the fall counts, 6,000; closing the first lowers it.
    assert liquidation.first_of_portfolio(TERMS, list(zip(scaled, (40, -30), strict=True)), 0) == 0
    # Long 10 only: the rise counts, 3,500, and closing the other lowers it.
    assert liquidation.first_of_portfolio(TERMS, list(zip(scaled, (10, -30), strict=True)), 0) == 1
    assert liquidation.first_of_portfolio(TERMS, list(zip(scaled, (0, -30), strict=True)), 0) == 1
    refused(Code.SHAPE, liquidation.first_of_portfolio, TERMS, [(scaled[0], 0)], 0)


def test_the_fee_leaves_no_debt():
    assert liquidation.fee(TERMS, 1_000_001, 10**9) == 5_001
    assert liquidation.fee(TERMS, 1_000_001, 17) == 17
    assert liquidation.fee(TERMS, 1_000_001, -17) == 0


@given(st.integers(0, 60), st.integers(-200, 200), st.integers(-30, 30), st.integers(0, 9), st.integers(1, 9))
def test_insurance_takes_what_it_can_bear(lots, free, held, loss, margin):
    """Against every number of lots, tried one by one."""

    def after(n):
        return free - loss * n - margin * (abs(held + n) - abs(held))

    found = liquidation.takeover(lots, after)
    fits = [n for n in range(lots + 1) if after(n) >= 0 and after(0) >= 0]
    assert found == (max(fits) if fits else 0)


def test_insurance_that_has_nothing_takes_nothing():
    assert liquidation.takeover(9, lambda n: n - 1) == 0
    long = Market(64_000, 64_000, 64_000, 100_000)
    held = [(replace(PERPETUAL, tiers=(Tier(0, PPM),)), long, Holding(0))]
    # A lot at 60,000 needs 64 quanta, less the 40 that it gains: 24.
    assert liquidation.takeover_lots(2_400, held, 0, 500, 60_000) == 100
    assert liquidation.takeover_lots(2_400, held, 0, -500, 68_000) == 100
    assert liquidation.takeover_lots(2_400, held, 0, 50, 60_000) == 50
    option = [(CALL, OPTION, Holding(0))]
    # A short one brings 24 and needs 121; a long one costs 24.
    assert liquidation.takeover_lots(9_700, option, 0, -500, 2_400) == 100
    assert liquidation.takeover_lots(2_400, option, 0, 500, 2_400) == 100


OPPOSITE = st.builds(
    Opposite,
    st.integers(0, 99),
    st.integers(1, 1000),
    st.integers(-1000, 10**5),
    st.integers(0, 10**6),
    st.integers(-100, 10**5),
    st.integers(0, 10**5),
)


@given(
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.integers(1, 5000),
    st.lists(OPPOSITE, max_size=6, unique_by=lambda each: each.account),
    st.integers(1, 9),
    st.integers(1, 99),
)
def test_deleveraging_takes_profit_and_no_more(mark, price, size, opposite, numerator, denominator):
    terms = Terms(Kind.PERPETUAL, numerator, denominator)
    account_of = {each.account: each for each in opposite}
    taken, left = liquidation.deleverage(terms, mark, price, -size, opposite)
    assert sum(each.lots for each in taken) + left == size
    assert len({each.account for each in taken}) == len(taken)
    for each in taken:
        account = account_of[each.account]
        given_up = -(-each.lots * (mark - price) * numerator // denominator)
        assert 0 < each.lots <= account.size
        if price < mark:
            assert given_up <= account.profit and account.equity - given_up >= account.maintenance
    scores = [
        Fraction(a.profit * a.notional, a.equity) for e in taken if (a := account_of[e.account]).equity > 0
    ]
    if price < mark:
        assert scores == sorted(scores, reverse=True)
    refused(Code.ARGUMENT, liquidation.deleverage, terms, mark, price, 1, [Opposite(0, 1, 1, 1, 1, 1)])


@given(st.integers(0, 10**6), st.lists(st.integers(-(10**5), 10**5)))
def test_no_quantum_appears_or_vanishes(loss, equities):
    shares, rest = liquidation.socialise(loss, list(enumerate(equities)))
    assert sum(share.quanta for share in shares) + rest == loss
    total = sum(max(0, e) for e in equities)
    assert rest == max(0, loss - total)
    for share in shares:
        exact = Fraction(min(loss, total) * equities[share.account], total)
        assert abs(share.quanta - exact) < 1 and 0 <= share.quanta <= equities[share.account]


def test_refusals_of_liquidation():
    refused(Code.ARGUMENT, lambda: replace(TERMS, share_ppm=0))
    refused(Code.ARGUMENT, lambda: replace(TERMS, steps=0))
    refused(Code.LOTS, liquidation.step_lots, TERMS, -1)
    refused(Code.ARGUMENT, liquidation.step_price, TERMS, 1, 1, 1, -1)
    refused(Code.ARGUMENT, liquidation.socialise, -1, [])
    with pytest.raises(OutOfRange):
        liquidation.bankruptcy_price(PERPETUAL, 1, 1, MOST, 1, 1)
    assert liquidation.largest([5, -3, 9, 7]) == 16 and liquidation.largest([]) == 0
