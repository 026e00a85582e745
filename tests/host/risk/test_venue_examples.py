"""Index, mark, funding, margin and liquidation give what ``worked_examples.json`` says, in both forms."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hawse.instruments import PPM, Kind
from hawse.risk import prices, volatility
from hawse.risk.fixed import FINE, ONE
from hawse.risk.funding import FUNDING_BITS, Funding, FundingTerms
from hawse.risk.liquidation import LiquidationTerms, Opposite, Unhealthy
from hawse.risk.portfolio import VALUE_BITS, Array
from hawse.risk.prices import Average, Drop, Feed, Marking, MarkTerms, Observation
from hawse.risk.requirements import Holding, Market, Terms, Tier
from hawse.risk.volatility import Driven, Volatility, VolatilityTerms
from support.forms import GOLDEN, NATIVE

FILE = json.loads(Path(__file__).with_name("worked_examples.json").read_text())
#: Steps of an example are so many nanoseconds, and prices are finer by as much, so that rounding is small.
SCALE = 1000


def examples(kind):
    """A test for each."""
    found = [each for each in FILE["published"] + FILE["derived"] if each["kind"] == kind]
    return pytest.mark.parametrize("example", [pytest.param(each, id=each["name"]) for each in found])


@pytest.fixture(params=[GOLDEN, NATIVE], ids=["golden", "native"])
def form(request):
    """The functions of one form."""
    return request.param


def ppm(text):
    """A fraction, exactly."""
    found = Fraction(text) * PPM
    assert found.denominator == 1
    return int(found)


def near(found, expected, error):
    """Whether two numbers are no farther apart than ``error``."""
    return abs(Fraction(found) - Fraction(expected)) <= Fraction(error)


@examples("time_weighted")
def test_averages(form, example):
    average = Average(0)
    for time, value in example["inputs"]["steps"]:
        average = form.step(average, time * SCALE, None if value is None else value * SCALE)
    average = form.step(average, example["inputs"]["end"] * SCALE, None)
    assert near(Fraction(form.mean(average), SCALE), example["expect"]["mean"], Fraction(1, 2 * SCALE))
    for said in example.get("published", {}).values():
        assert Fraction(average.total, average.elapsed * SCALE) == Fraction(said)


@examples("index")
def test_index(form, example):
    given, now = example["inputs"], 1_000
    feed = Feed(len(given["observations"]), given["quorum"], given["staleness"], 0, ppm(given["deviation"]))
    observed = tuple(
        None if each is None else Observation(n, each[0], now - each[1], 0)
        for n, each in enumerate(given["observations"])
    )
    found = form.index(feed, observed, now)
    assert found.value == example["expect"]["index"]
    assert [[each.publisher, each.why.name.lower()] for each in found.left_out] == example["expect"][
        "left_out"
    ]
    assert found.counted == len(observed) - len(found.left_out)
    for each in found.left_out:
        assert each.why == Drop.MISSING or each.value != each.bound


@examples("mark")
def test_marks(form, example):
    given = example["inputs"]
    terms = MarkTerms(ppm(given["bound"]), 1 << 50, 3 * ppm(given["bound"]))  # so slow that the basis stays
    basis = given["fair"] - given["index"] << prices.BASIS_BITS
    state = Marking(0, Average(0), basis, given["last"])
    if given["impact"] is not None:
        state = form.quote(state, 0, given["impact"] - 3, given["impact"] + 3)
    state, found = form.mark(terms, state, 100, given["index"])
    assert (found.value, found.fair, found.impact) == (
        example["expect"]["mark"],
        given["fair"],
        given["impact"],
    )
    assert (state.time, state.last, state.impact.elapsed) == (100, given["last"], 0)


@examples("settlement")
def test_settlement(form, example):
    given = example["inputs"]
    (start, first), *rest = given["steps"]
    state = form.open_window(given["window"], start, first)
    before = [each for each in rest if each[0] <= given["now"]]
    for time, value in [*before, [given["now"], before[-1][1]]]:
        state = form.in_window(state, time, value)
    expected = example["expect"]
    mark, found = form.settled(state, given["now"], 1 << 40)
    assert near(mark, expected["mark"], "1/2")
    assert found is None if expected["settled"] is None else near(found, expected["settled"], "1/2")


@examples("volatility")
def test_volatility(form, example):
    given = example["inputs"]
    decay = int(Fraction(given["decay"]) * ONE)
    terms = VolatilityTerms(SCALE, decay, given["horizon"], ppm(given["factor"]), 1, PPM)
    (point, value), *rest = given["prices"]
    state = Volatility(point, value, int(Fraction(given["variance"]) * FINE))
    for at, price in rest:
        state = form.follow(terms, state, at * SCALE + 7, price)
    expected = float(example["expect"]["variance"])
    assert abs(state.variance / FINE - expected) < 1e-9 * expected
    driven, wanted = form.drive(terms, Driven(1, 0), volatility.MINUTE, state.variance)
    assert driven == Driven(wanted, volatility.MINUTE)
    assert -1e-6 < wanted - float(example["expect"]["fraction"]) * PPM < 1 + 1e-3


@examples("premium")
def test_premiums(form, example):
    found = form.premium(*example["inputs"].values())
    assert near(Fraction(found, ONE), example["expect"]["premium"], Fraction(1, 2 * ONE))


def fx(text):
    """Nearest number of 2**-48."""
    return round(Fraction(text) * ONE)


@examples("funding")
def test_funding(form, example):
    given = example["inputs"]
    interval = given["interval"] * SCALE
    terms = FundingTerms(interval, interval, fx(given["scale"]), fx(given["most"]))
    state = Funding(0, Average(0))
    for time, value in given["steps"]:
        state = form.fund(terms, state, time * SCALE, given["index"], None if value is None else fx(value))
    state = form.advance(terms, state, interval)
    assert near(Fraction(state.cumulative, 1 << FUNDING_BITS), example["expect"]["per_lot"], "1/1000000")
    mean = Fraction(state.cumulative, given["index"] << FUNDING_BITS)
    assert near(mean, example["expect"]["rate"], "1/100000000")
    for said in example.get("published", {}).values():
        assert near(mean, said, "1/100000000")


@examples("payment")
def test_payments(form, example):
    given = example["inputs"]
    change, value = Fraction(given["change"]), Fraction(given["value"])
    cumulative = (
        3 << FUNDING_BITS
    )  # a third is no multiple of 2**-20: thrice the change, a third of the value
    found = form.payment(
        given["lots"],
        0,
        int(change * cumulative),
        value.numerator,
        3 * value.denominator,
    )
    assert found == example["expect"]["pays"]


PERPETUAL = Terms(Kind.PERPETUAL, 1, 1)


@examples("tiers")
def test_tiers(form, example):
    tiers = [(edge, ppm(rate)) for edge, rate in example["inputs"]["tiers"]]
    first = tiers[0][1]
    terms = Terms(Kind.PERPETUAL, 1, 1, tuple(Tier(edge, rate * PPM // first) for edge, rate in tiers))
    value = example["inputs"]["notional"]
    needs = form.requirement(terms, Market(value, value, value, first), Holding(-1))
    assert needs.initial == example["expect"]["initial"]
    assert needs.maintenance == -(-needs.initial // 2)


@examples("surcharge")
def test_surcharges(form, example):
    given = example["inputs"]
    terms = Terms(Kind.PERPETUAL, 1, 1, lower=given["lower"], upper=given["upper"])
    value, fraction = given["notional"], given["initial"] * PPM // given["notional"]
    needs = form.requirement(terms, Market(value, value, value, fraction, given["open_interest"]), Holding(1))
    assert (needs.initial, needs.surcharged) == (given["initial"], example["expect"]["initial"])


@examples("short_option")
def test_short_options(form, example):
    given = example["inputs"]
    terms = Terms(
        Kind[given["right"].upper()],
        1,
        1,
        strike=given["strike"],
        short_ppm=ppm(given["a"]),
        short_floor_ppm=ppm(given["b"]),
    )
    market = Market(given["mark"], given["underlying"], given["mark"])
    needs = form.requirement(terms, market, Holding(-given["lots"]))
    assert needs.initial == example["expect"]["initial"]
    assert form.requirement(terms, market, Holding(given["lots"])) == (0, 0, 0)


@examples("cross")
def test_cross_accounts(form, example):
    given = example["inputs"]
    held = [
        (PERPETUAL, Market(mark, mark, fair, ppm(rate)), Holding(lots, lots * entry))
        for lots, entry, mark, fair, rate in given["linear"]
    ]
    for lots, mark, unit in given["options"]:
        terms = Terms(Kind.CALL, 1, 1, strike=unit, short_ppm=PPM // 10, short_floor_ppm=PPM // 10)
        held.append((terms, Market(mark, 10 * unit, mark), Holding(lots)))
    assert form.cross(given["collateral"], held).free == example["expect"]["free"]
    assert form.withdrawable(given["collateral"], held, True) == example["expect"]["withdrawable"]
    assert form.withdrawable(given["collateral"], held, False) == 0


@examples("portfolio")
def test_portfolios(form, example):
    positions = [
        (
            Array(
                tuple(gain << VALUE_BITS for gain in each["gains"]),
                each["delta"] << VALUE_BITS,
                0,
                each["minimum"] << VALUE_BITS,
                each["expiry"],
            ),
            each["lots"],
        )
        for each in example["inputs"]["positions"]
    ]
    found = form.scan(positions, ppm(example["inputs"]["basis"]))
    assert found.requirement == example["expect"]["requirement"]


@examples("scan")
def test_scans(form, example):
    """Among them the published one: a requirement of 3,990."""
    array = Array(tuple(gain << VALUE_BITS for gain in example["inputs"]["gains"]), 0, 0, 0, 0)
    found = form.scan([(array, 1)], 0)
    assert found.requirement == example["expect"]["requirement"]
    assert found.losses == tuple(-gain for gain in example["inputs"]["gains"])


@examples("bankruptcy")
def test_bankruptcy_prices(form, example):
    given = example["inputs"]
    value, part = Fraction(given["value"]), Fraction(given["part"])
    terms = Terms(Kind.PERPETUAL, value.numerator, value.denominator)
    found = form.bankruptcy_price(
        terms, given["mark"], given["lots"], given["equity"], part.numerator, part.denominator
    )
    assert found == example["expect"]["price"]
    assert abs(given["lots"]) * found * value == Fraction(example["expect"]["notional"])


@examples("disposal")
def test_disposals(form, example):
    given = example["inputs"]
    terms = LiquidationTerms(ppm(given["share"]), given["whole"], given["most"], 0, 1, 0, 1)
    steps, left = [], given["lots"]
    while left:
        steps.append(form.step_lots(terms, left))
        left -= steps[-1]
    assert steps == example["expect"]["steps"]


@examples("step_prices")
def test_step_prices(form, example):
    given = example["inputs"]
    terms = LiquidationTerms(PPM, 0, 1, ppm(given["begin"]), given["steps"], 0, 1)
    size = 1 if given["long"] else -1
    found = [
        form.step_price(terms, given["mark"], given["bankruptcy"], size, step)
        for step in range(given["steps"])
    ]
    assert found == example["expect"]["prices"]


@examples("order")
def test_orders(form, example):
    accounts = [Unhealthy(*account) for account in example["inputs"]["accounts"]]
    assert form.order(accounts[::-1]) == example["expect"]["order"]


@examples("deleverage")
def test_deleveraging(form, example):
    given = example["inputs"]
    accounts = [Opposite(*account) for account in given["accounts"]]
    taken, left = form.deleverage(
        PERPETUAL, given["mark"], given["bankruptcy"], given["size"], accounts[::-1]
    )
    assert ([list(each) for each in taken], left) == (example["expect"]["taken"], example["expect"]["left"])


@examples("socialise")
def test_socialising(form, example):
    equities = list(enumerate(example["inputs"]["equities"]))
    shares, rest = form.socialise(example["inputs"]["loss"], equities)
    assert rest == example["expect"]["rest"]
    borne = dict(shares)
    assert [borne.get(n, 0) for n, _ in equities] == example["expect"]["shares"]
