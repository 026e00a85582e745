"""Both forms give what ``worked_examples.json`` says, and the file agrees with itself."""

import json
from decimal import Decimal, getcontext
from pathlib import Path

import numpy as np
import pytest
from hawse.risk import fixed, options
from hawse.risk.fixed import FINE, ONE
from hawse.risk.native import bindings
from hawse.risk.options import Right
from hawse.risk.surface import Kind, Listing, Surface, arbitrage, ruling

getcontext().prec = 40

FILE = json.loads(Path(__file__).with_name("worked_examples.json").read_text())
UNIT = 10**15
PRICE_ERROR, GREEK_ERROR = Decimal("1e-7"), Decimal("1e-6")


def examples(*kinds):
    return [
        pytest.param(each, id=each["name"])
        for each in FILE["published"] + FILE["derived"]
        if each["kind"] in kinds
    ]


def fx(value):
    """A decimal number as one of ours."""
    return int((Decimal(value) * ONE).to_integral_value())


def option(forward, strike, time, volatility, discount):
    """NAMES as decimals, parts of the forward; the forms agree."""
    arguments = (int(forward * UNIT), int(strike * UNIT), fx(time), fx(volatility), fx(discount))
    found = options.evaluate(*arguments)
    native, codes = bindings.evaluate(np.array([arguments], bindings.REQUEST))
    assert not codes.any()
    values = {name: getattr(found, name) for name in bindings.OPTION.names}
    assert values == {name: int(native[0][name]) for name in bindings.OPTION.names}
    return {name: Decimal(value) / ONE for name, value in values.items()}


def spot_greeks(inputs):
    """By spot: from those by forward F = S·exp(b·t), with the discount factor held, by the chain rule."""
    s, k, t, r, b, v = (Decimal(inputs[n]) for n in ("spot", "strike", "time", "rate", "carry", "volatility"))
    growth, discount = (b * t).exp(), (-r * t).exp()
    forward = s * growth
    o = option(forward, k, t, v, discount)
    out = {}
    for right in ("call", "put"):
        price, delta = o[right] * forward, o[f"{right}_delta"]
        out[right] = price
        out[f"{right}_delta"] = delta * growth
        out[f"{right}_gamma"] = o["gamma"] / forward * growth * growth
        out[f"{right}_vega"] = o["vega"] * forward
        out[f"{right}_theta"] = o["theta"] * forward - b * forward * delta + r * price
        out[f"{right}_rho"] = o[f"{right}_rho"] * forward + t * forward * delta
    return out


@pytest.mark.parametrize("example", examples("european"))
def test_european_options(example):
    found, spot = spot_greeks(example["inputs"]), Decimal(example["inputs"]["spot"])
    for name, expected in example["expect"].items():
        error = PRICE_ERROR if name in ("call", "put") else GREEK_ERROR
        assert abs(found[name] - Decimal(expected)) < error * max(1, spot), name
    for name, printed in example["published"].items():
        half = Decimal(10) ** Decimal(printed).as_tuple().exponent / 2
        assert abs(found[name] - Decimal(printed)) <= half, name
        assert abs(Decimal(example["expect"][name]) - Decimal(printed)) <= half, name


@pytest.mark.parametrize("example", examples("forward"))
def test_options_on_a_forward(example):
    inputs = {name: Decimal(value) for name, value in example["inputs"].items()}
    found = option(Decimal(1), inputs["strike"], inputs["time"], inputs["volatility"], inputs["discount"])
    assert set(example["expect"]) == set(found)
    for name, expected in example["expect"].items():
        assert abs(found[name] - Decimal(expected)) < (
            PRICE_ERROR if name in ("call", "put") else GREEK_ERROR
        )


def implied(right, forward, strike, time, price, discount):
    quote = (right, int(forward * UNIT), int(strike * UNIT), fx(time), fx(price / forward), fx(discount))
    golden = options.implied_volatility(Right(right), *quote[1:])
    native, codes = bindings.implied_volatility(np.array([quote], bindings.QUOTE))
    assert codes[0] == 0 and native[0] == golden
    return Decimal(golden) / ONE


@pytest.mark.parametrize("example", examples("implied", "implied_spot"))
def test_implied_volatilities(example):
    inputs, t = example["inputs"], Decimal(example["inputs"]["time"])
    if example["kind"] == "implied":
        right = Right.CALL if inputs["right"] == "call" else Right.PUT
        one, price = Decimal(1), Decimal(inputs["price"])
        found = implied(right, one, Decimal(inputs["strike"]), t, price, one)
    else:
        forward = Decimal(inputs["spot"]) * (Decimal(inputs["carry"]) * t).exp()
        discount = (-Decimal(inputs["rate"]) * t).exp()
        found = implied(Right.CALL, forward, Decimal(inputs["strike"]), t, Decimal(inputs["call"]), discount)
    expected = Decimal(example["expect"]["volatility"])
    assert abs(found - expected) < Decimal("1e-6")
    for printed in example.get("published", {}).values():
        assert abs(expected - Decimal(printed)) <= Decimal("0.0005")


@pytest.mark.parametrize("example", examples("normal"))
def test_the_normal_distribution(example):
    x = fx(example["inputs"]["x"])
    for function, name in ((fixed.normal_distribution, "distribution"), (fixed.normal_density, "density")):
        assert abs(function(x) - Decimal(example["expect"][name]) * ONE) < 1


@pytest.mark.parametrize("example", examples("quantile"))
def test_quantiles(example):
    p, x = fx(example["inputs"]["p"]), Decimal(example["expect"]["x"])
    slope = (x * x / 2).exp() * Decimal("2.5066282746")  # of the quantile: p itself is rounded to a quantum
    assert abs(fixed.inverse_normal_distribution(p) - x * ONE) < 1 + slope / 2


def surface(inputs):
    rows = tuple(tuple(map(fx, row)) for row in inputs["volatilities"])
    return Surface(tuple(map(fx, inputs["times"])), tuple(map(fx, inputs["moneyness"])), rows)


@pytest.mark.parametrize("example", examples("surface"))
def test_what_lies_between_nodes(example):
    inputs, expect = example["inputs"], example["expect"]
    smile, point = surface(inputs["surface"]), (fx(inputs["moneyness"]), fx(inputs["time"]))
    assert abs(Decimal(smile.variance(*point)) / FINE - Decimal(expect["variance"])) < Decimal("1e-13")
    assert abs(Decimal(smile.volatility(*point)) / ONE - Decimal(expect["volatility"])) < Decimal("1e-13")


@pytest.mark.parametrize("example", examples("arbitrage"))
def test_arbitrage(example):
    inputs, expect = example["inputs"], example["expect"]
    listing = Listing(fx(inputs["time"]), inputs["forward"], tuple(inputs["strikes"]))
    found = arbitrage(surface(inputs["surface"]), [listing])
    if expect["arbitrage"] == "none":
        assert found is None
        return
    assert found is not None and found.kind == Kind[expect["arbitrage"].upper()]
    assert inputs["strikes"][found.strike] == expect["strike"]


@pytest.mark.parametrize("example", examples("ruling"))
def test_which_surface_rules(example):
    assert ruling([surface(each) for each in example["inputs"]["surfaces"]]) == example["expect"]["index"]


@pytest.mark.parametrize("example", examples("scan"))
def test_scan_arrays(example):
    """The arrays are those of our prices, where what they are made of is known; the worst counts."""
    inputs = example["inputs"]
    assert example["expect"]["requirement"] == -min(0, *inputs["gains"])
    if "strike" not in inputs:
        return
    index = "put" if inputs["right"] == "put" else "call"
    t, v, k = (Decimal(inputs[name]) for name in ("time", "volatility", "strike"))
    now = option(Decimal(inputs["forward"]), k, t, v, 1)[index] * Decimal(inputs["forward"])
    for scenario, gain in zip(inputs["scenarios"], inputs["gains"], strict=True):
        forward = Decimal(inputs["forward"]) + scenario["price_move_thirds"] * Decimal(inputs["range"]) / 3
        moved = v + scenario["volatility_move"] * Decimal(inputs["volatility_range"])
        change = option(forward, k, t, moved, 1)[index] * forward - now
        lots = inputs["multiplier"] * inputs["size"] * Decimal(scenario["weight"])
        assert abs(change * lots - gain) < Decimal("0.501")


@pytest.mark.parametrize("example", examples("ewma"))
def test_weighted_variances(example):
    inputs, variance = example["inputs"], Decimal(example["inputs"]["volatility"]) ** 2
    for each in inputs["returns"]:
        variance = Decimal(inputs["decay"]) * variance + (1 - Decimal(inputs["decay"])) * Decimal(each) ** 2
    assert abs(variance - Decimal(example["expect"]["variance"])) < Decimal("1e-18")
    assert abs(variance.sqrt() - Decimal(example["expect"]["volatility"])) < Decimal("1e-15")


def test_there_are_enough():
    """Every kind is tried above or in test_venue_examples, names are unique, and many are our own."""
    every = FILE["published"] + FILE["derived"]
    assert len({each["name"] for each in every}) == len(every)
    assert len(FILE["derived"]) >= 80 and all(each["source"] for each in every)
    kinds = "european forward implied implied_spot normal quantile surface arbitrage ruling scan ewma"
    venue = (
        "time_weighted index mark settlement volatility premium funding payment tiers surcharge short_option"
    )
    others = "cross portfolio bankruptcy disposal step_prices order deleverage socialise"
    assert {each["kind"] for each in every} == {*kinds.split(), *venue.split(), *others.split()}
