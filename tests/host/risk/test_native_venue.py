"""Native prices, funding and liquidation give the golden integers, and refuse with the golden codes."""

from random import Random

import pytest
from hawse.instruments import PPM, Kind
from hawse.risk import prices, surface
from hawse.risk.errors import Code, RiskError
from hawse.risk.fixed import LEAST, MOST, ONE
from hawse.risk.funding import Funding, FundingTerms
from hawse.risk.liquidation import LiquidationTerms, Opposite, Unhealthy
from hawse.risk.native import venue
from hawse.risk.native.bindings import NativeSurface
from hawse.risk.options import Right
from hawse.risk.portfolio import Array
from hawse.risk.prices import MOST_LOTS, MOST_PRICE, Average, Feed, Marking, MarkTerms, Observation
from hawse.risk.requirements import Holding, Market, Terms, Tier
from hawse.risk.volatility import MINUTE, Driven, Volatility, VolatilityTerms
from support.forms import answer, same

YEAR = 365 * 86_400 * 10**9


def some(random, most, ordinary, *, signed=False):
    """Mostly up to ``ordinary``; else of every length, the ends among them; sometimes one beyond."""
    value = random.randint(0, ordinary)
    if random.random() < 0.25:
        value = random.choice(
            [random.getrandbits(random.randint(1, most.bit_length())), most, most - 1, 0, 1]
        )
        value = min(value, most) + (random.random() < 0.02)
    return -value if signed and random.random() < 0.5 else value


def int64(value):
    """What fits."""
    return max(LEAST, min(MOST, value))


def maybe(random, value):
    """``value``, or None."""
    return None if random.random() < 0.2 else value


def good(maker):
    """What ``maker`` makes, as soon as it does."""
    while True:
        try:
            return maker()
        except RiskError:
            continue


def kept(state, found):
    """The next state, and the code that was given instead."""
    return (state, found) if isinstance(found, Code) else (found, Code.OK)


def _indices(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        publishers = random.choice([1, 3, 5, 8, 255])
        feed = Feed(
            publishers, random.randint(1, publishers), random.randint(1, 999), 10, random.randint(1, PPM)
        )
        observed, now, level = (None,) * publishers, 1_000, some(random, MOST_PRICE, 10**5) + 1
        for _ in range(random.randint(0, 30)):
            now += random.randint(0, 99)
            publisher = random.randint(0, min(8, publishers) - (random.random() < 0.9))
            last = observed[publisher] if 0 <= publisher < publishers else None
            value = max(0, level * random.randint(95, 105) // 100 + random.randint(-2, 2))
            number = last.number + random.randint(0, 2) if last else random.randint(-1, 2)
            time = now + random.choice([0, 0, 0, -5, 10, 11, -998, -1_001])
            if last and random.random() < 0.1:
                time = last.time
            said = Observation(publisher, value, time, number)
            observed, code = kept(observed, same("observe", feed, observed, said, now))
            seen.add(code)
        found = same("index", feed, observed, now)
        seen |= {each.why for each in found.left_out} | {found.value is None}
    return seen


def test_indices():
    seen = _indices(1, 120)
    codes = {Code.PUBLISHER, Code.PRICE, Code.NUMBER, Code.TIME, Code.FUTURE, Code.STALE, Code.EQUIVOCATION}
    assert codes | set(prices.Drop) | {True, False} <= seen


def _spans(random):
    """Nanoseconds that go by, or back."""
    return random.choice([0, 1, random.randint(0, 10**9), random.randint(0, YEAR), -1])


def _marks(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        maintenance = random.randint(1, PPM)
        terms = MarkTerms(
            random.randint(0, (maintenance - 1) // 2), random.choice([1, 10**9, 1 << 50]), maintenance
        )
        state, now = Marking(0, Average(0), 0, maybe(random, some(random, MOST_PRICE, 10**5))), 0
        level = some(random, MOST_PRICE - 9, 10**5) + 1
        for _ in range(8):
            now = max(0, now + _spans(random))
            near = [max(0, level * random.randint(90, 110) // 100) for _ in range(3)]
            state, code = kept(
                state, same("quote", state, now, maybe(random, near[0]), maybe(random, near[1]))
            )
            seen.add(code)
            now = max(0, now + _spans(random))
            found = same("mark", terms, state, now, min(near[2], MOST_PRICE + 1))
            if not isinstance(found, Code):
                state = Marking(found[0].time, found[0].impact, found[0].basis, maybe(random, near[1]))
            seen.add(found if isinstance(found, Code) else found[1].impact is None)
    return seen


def test_marks():
    assert {Code.OK, Code.TIME, Code.PRICE, True, False} <= _marks(1, 150)


def test_marks_of_options():
    random = Random(1)
    nodes = (ONE // 12, ONE), (-ONE // 2, 0, ONE // 2), ((ONE, ONE // 2, ONE * 3 // 4),) * 2
    golden, native = surface.Surface(*nodes), NativeSurface(*nodes)
    for _ in range(300):
        forward = some(random, MOST_PRICE, 10**5) + 1
        strike = max(0, forward * random.randint(0, 30) // 10)
        given = random.choice(list(Right)), forward, strike, random.choice([0, -1, random.randint(0, ONE)])
        expected = answer(prices.option_mark, given[0], golden, *given[1:])
        assert answer(venue.option_mark, given[0], native, *given[1:]) == expected, given


def _settlements(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        window, now = some(random, MOST, 10**10), 0
        window = int64(window)
        state = same("open_window", window, now, int64(some(random, MOST_PRICE, 10**5)))
        if isinstance(state, Code):
            seen.add(state)
            continue
        for _ in range(8):
            now = max(0, now + _spans(random))
            state, code = kept(
                state, same("in_window", state, now, maybe(random, some(random, MOST_PRICE, 10**5)))
            )
            _, price = same("settled", state, now, random.randint(0, 10**9))
            seen |= {code, price is None}
    return seen


def test_settlements():
    assert {Code.OK, Code.TIME, Code.PRICE, True, False} <= _settlements(1, 200)


def _volatilities(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        terms = VolatilityTerms(
            random.choice([1, 10**9, 1 << 50]),
            random.choice([1, ONE - 1, random.randint(1, ONE - 1)]),
            random.choice([1, 1 << 16, random.randint(1, 1 << 16)]),
            random.choice([1, 1 << 24, random.randint(1, 1 << 24)]),
            random.randint(1, PPM),
            random.randint(1, PPM),
        )
        state = Volatility(
            0, random.choice([1, MOST_PRICE, 64_000]), random.choice([0, 1 << 40, 16 * (1 << 58) - 1])
        )
        driven, now = Driven(random.randint(1, PPM), 0), 0
        for _ in range(8):
            now = max(0, now + random.choice([_spans(random), 1 << 50]))
            price = random.choice(
                [1, MOST_PRICE, random.randint(60_000, 70_000), some(random, MOST_PRICE, 10**5)]
            )
            state, code = kept(state, same("follow", terms, state, now, price))
            found = same("drive", terms, driven, now + random.choice([0, MINUTE]), state.variance)
            driven = driven if isinstance(found, Code) else found[0]
            seen |= {code, driven.changed > 0}
    return seen


def test_volatilities():
    assert {Code.OK, Code.TIME, Code.PRICE, True} <= _volatilities(1, 200)


def _fundings(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        interval = random.choice([1_000, 3_600 * 10**9, 1 << 50])
        terms = FundingTerms(
            interval, random.randint(1, interval), random.randint(1, 64 * ONE), random.randint(0, ONE)
        )
        cumulative = random.choice([0, MOST, LEAST, -(1 << 40)])
        state, now = Funding(0, Average(0), 0, 1, cumulative), 0
        for _ in range(8):
            now = max(0, now + random.choice([_spans(random) % (20 * interval), interval, -1]))
            index, bid, ask = (maybe(random, some(random, MOST_PRICE, 10**5)) for _ in range(3))
            value = same("premium", index or 1, bid, ask)
            value = None if isinstance(value, Code) else value
            value = random.choice([value, value, 64 * ONE, -64 * ONE - 1])
            state, code = kept(state, same("fund", terms, state, now, index, value))
            seen.add(code)
            now += random.choice([0, interval, 3 * interval // 2])
            state, code = kept(state, same("advance", terms, state, now))
            seen.add(code)
        size = random.choice([some(random, MOST_LOTS, 10**9, signed=True)] * 30 + [MOST_LOTS + 1])
        seen.add(
            same(
                "payment",
                size,
                state.cumulative,
                random.choice([0, MOST, int64(state.cumulative + 1_000)]),
                7,
                1_000,
            )
        )
    return seen


def test_fundings():
    seen = _fundings(1, 250)
    assert {Code.OK, Code.TIME, Code.PRICE, Code.ARGUMENT, Code.OVERFLOW, Code.LOTS} <= seen


# Liquidation


def _terms(random):
    kind = random.choice(list(Kind))
    tiers = (Tier(0, PPM), Tier(10**6, 2 * PPM))
    return Terms(
        kind, random.randint(1, 99), random.choice([1, 100, 2**32 - 1]), tiers, 500_000, 500, strike=64_000,
        short_ppm=150_000, short_floor_ppm=100_000,
    )  # fmt: skip


def _liquidation_terms(random):
    return LiquidationTerms(
        random.randint(1, PPM),
        some(random, MOST_LOTS - 1, 100),
        some(random, MOST_LOTS - 2, 1_000) + 1,
        random.randint(0, PPM),
        random.choice([1, 2, 5, 1 << 16]),
        random.randint(0, PPM),
        8,
    )


def _steps(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        terms, instrument = _liquidation_terms(random), _terms(random)
        seen.add(same("step_lots", terms, some(random, MOST_LOTS, 10**6, signed=random.random() < 0.1)))
        same("step_lots", terms, terms.whole)
        mark, size = some(random, MOST_PRICE, 10**5), some(random, MOST_LOTS, 10**6, signed=True)
        total = int64(some(random, MOST, 10**9))
        own = min(MOST, random.randint(0, total) + (random.random() < 0.05))
        equity = int64(some(random, MOST, 10**9, signed=True))
        price = same("bankruptcy_price", instrument, mark, size, equity, own, total)
        seen.add(price)
        if isinstance(price, Code):
            price = int64(some(random, MOST, 10**5, signed=True))
        same("step_price", terms, mark, price, size, random.choice([0, 1, 3, MOST]))
        same("fee", terms, int64(some(random, MOST, 10**9)), equity)
        market = Market(max(1, min(mark, MOST_PRICE)), 64_000, 64_000, random.randint(1, PPM))
        seen.add(same("weight", instrument, market, size))
    return seen


def test_steps():
    assert {Code.LOTS, Code.PRICE, Code.ARGUMENT, Code.OVERFLOW} <= _steps(1, 2_000)


def _ranks(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        many = random.choice([0, 1, 2, 7, 40])
        wide = random.choice([9, 10**9, MOST])
        unhealthy = [
            Unhealthy(n, int64(random.randint(-wide, wide)), max(0, random.randint(-wide // 9, wide)))
            for n in range(many)
        ]
        if random.random() < 0.9:
            unhealthy = [each for each in unhealthy if each.equity < each.maintenance]
        random.shuffle(unhealthy)
        seen.add(type(same("order", unhealthy)))
        size = some(random, MOST_LOTS, 10**6, signed=True)
        side = -1 if size > 0 and random.random() < 0.98 else 1
        opposite = [
            Opposite(
                n,
                side * random.randint(0, random.choice([9, 10**6, MOST_LOTS])),
                random.randint(-wide // 5, wide),
                random.randint(0, wide),
                random.randint(-wide // 5, wide),
                random.randint(0, wide),
            )
            for n in random.sample(range(99), many)
        ]
        mark, bankruptcy = random.randint(0, 10**5), int64(some(random, MOST, 10**5, signed=True))
        seen.add(type(same("deleverage", _terms(random), mark, bankruptcy, size, opposite)))
        equities = [(n, random.randint(-wide // 5, wide)) for n in random.sample(range(99), many)]
        seen.add(type(same("socialise", int64(random.randint(-wide // 20, wide)), equities)))
    return seen


def test_ranks_and_shares():
    assert {list, tuple, Code} <= _ranks(1, 400)


def test_equal_scores_are_told_apart_by_192_bits():
    """Products that differ in their last bit, and that 128 bits would have cut."""
    big = MOST
    opposite = [Opposite(1, -5, big - 1, big - 1, big, 0), Opposite(0, -5, big - 2, big, big, 0)]
    taken, left = same("deleverage", _terms(Random(1)), 100, 90, 5, opposite)
    assert [each.account for each in taken] == [1] and left == 0


def _takeovers(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        held = []
        for _ in range(random.randint(1, 3)):
            terms = _terms(random)
            market = good(
                lambda: Market(some(random, MOST_PRICE, 10**5), 64_000, 64_000, random.randint(1, PPM))
            )
            size = random.randint(-(10**6), 10**6)
            held.append((terms, market, Holding(size, size * market.mark)))
        given = int64(some(random, MOST, 10**9, signed=True)), held, random.randrange(len(held))
        size, price = some(random, MOST_LOTS, 10**6, signed=True), some(random, MOST_PRICE, 10**5)
        price = random.choice([price] * 50 + [MOST_PRICE + 1])
        found = same("takeover_lots", *given, size, price)
        seen.add(found if isinstance(found, Code) else (found > 0, found == abs(size)))
    return seen


def test_takeovers():
    seen = _takeovers(1, 500)
    assert {Code.LOTS, Code.PRICE, Code.OVERFLOW, (True, False), (True, True), (False, False)} <= seen


def _firsts(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        reach = random.choice([1 << 30, 1 << 50, MOST])
        positions = [
            (
                Array(
                    tuple(random.randint(-reach, reach) for _ in range(16)),
                    random.randint(-reach, reach),
                    0,
                    random.randint(0, reach),
                    random.randint(0, 3),
                ),
                random.choice([0, some(random, MOST_LOTS, 10**4, signed=True)]),
            )
            for _ in range(random.choice([0, 1, 5, 16]))
        ]
        seen.add(same("first_of_portfolio", _liquidation_terms(random), positions, random.randint(0, PPM)))
    return seen


def test_what_a_portfolio_closes_first():
    assert {Code.SHAPE, Code.OVERFLOW, 0, 1, 2} <= _firsts(1, 250)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 13))
def test_everything_at_length(seed):
    _indices(seed, 1_000)
    _marks(seed, 3_000)
    _settlements(seed, 3_000)
    _volatilities(seed, 3_000)
    _fundings(seed, 3_000)
    _steps(seed, 20_000)
    _ranks(seed, 3_000)
    _takeovers(seed, 2_000)
    _firsts(seed, 1_000)
