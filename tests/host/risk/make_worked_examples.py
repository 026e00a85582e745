"""Makes ``worked_examples.json``: published examples recomputed, and examples derived by other methods.

``python tests/host/risk/make_worked_examples.py`` needs mpmath, and nothing of Hawse. Prices are integrals of
the payoff over the lognormal density, Greeks numerical derivatives of the closed formula to fifty digits,
implied volatilities roots found by bisection. It stops at a published number that is another.
"""

import json
from pathlib import Path
from typing import Any

import make_venue_examples
from mpmath import mp, mpf

PATH = Path(__file__).with_name("worked_examples.json")
mp.dps = 60

Example = dict[str, Any]
HAUG = "Haug, The Complete Guide to Option Pricing Formulas, 2nd ed., 2007, "
HULL = "Hull, Options, Futures, and Other Derivatives, "
UNITS = {
    "numbers": "decimal, as text; quantities in years, volatilities per root of a year, rates continuous",
    "european": "carry is the cost of carry: 0 on a forward; Greeks by spot, rho with carry moving as the "
    "rate does, theta is minus the derivative by time to expiry",
    "forward": "strike and prices are parts of the forward; the discount factor is held for all Greeks but "
    "rho, which is minus time times price",
    "surface": "total variance is linear in log-moneyness ln(strike/forward) and in time; wings are flat",
    "published": "text as printed; it is expect, rounded",
}


def text(value: Any) -> str:
    """Twenty significant digits."""
    return str(mp.nstr(mpf(value), 20, strip_zeros=True))


def number(written: str) -> Any:
    """A decimal number, or a fraction of two."""
    above, _, below = written.partition("/")
    return mpf(above) / mpf(below or 1)


def phi(x: Any) -> Any:
    """Normal density."""
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def cdf(x: Any) -> Any:
    """Normal distribution, by the error function."""
    return mp.erfc(-x / mp.sqrt(2)) / 2


def closed(right: str, f: Any, k: Any, t: Any, v: Any, d: Any) -> Any:
    """Black's formula."""
    s = v * mp.sqrt(t)
    d1 = mp.log(f / k) / s + s / 2
    sign = 1 if right == "call" else -1
    return d * sign * (f * cdf(sign * d1) - k * cdf(sign * (d1 - s)))


def integral(right: str, k: Any, t: Any, v: Any, d: Any) -> Any:
    """The payoff on a forward of 1 over the normal density of the logarithm."""
    s = v * mp.sqrt(t)
    edge = (mp.log(k) + s * s / 2) / s
    sign = 1 if right == "call" else -1

    def worth(z: Any) -> Any:
        return sign * (mp.exp(s * z - s * s / 2) - k) * phi(z)

    steps = [edge + sign * n for n in range(0, 21, 2)]
    # Beyond s + 20 the density is below 1e-86.
    steps = [*steps, sign * (max(abs(edge), s) + 40)]
    return d * abs(mp.quad(worth, sorted(steps)))


# Published


def _european(name: str, source: str, inputs: str, **published: str) -> Example:
    """``inputs``: spot strike time rate carry volatility; a time may be a fraction."""
    names = ("spot", "strike", "time", "rate", "carry", "volatility")
    given = dict(zip(names, inputs.split(), strict=True))
    s, k, t, r, b, v = map(number, given.values())
    given["time"] = text(t)
    expect = {}
    for what in published:
        right, _, greek = what.partition("_")
        function = _spot_functions(right, k)[greek or "price"]
        expect[what] = text(function(s, t, r, b, v))
    _agree(name, expect, published)
    return {
        "name": name,
        "kind": "european",
        "source": source,
        "inputs": given,
        "expect": expect,
        "published": published,
    }


def _spot_functions(right: str, k: Any) -> dict[str, Any]:
    def price(s: Any, t: Any, r: Any, b: Any, v: Any) -> Any:
        return closed(right, s * mp.exp(b * t), k, t, v, mp.exp(-r * t))

    def rho(s: Any, t: Any, r: Any, b: Any, v: Any) -> Any:
        return mp.diff(lambda x: price(s, t, x, b + x - r, v), r)

    return {
        "price": price,
        "delta": lambda s, t, r, b, v: mp.diff(lambda x: price(x, t, r, b, v), s),
        "gamma": lambda s, t, r, b, v: mp.diff(lambda x: price(x, t, r, b, v), s, 2),
        "vega": lambda s, t, r, b, v: mp.diff(lambda x: price(s, t, r, b, x), v),
        "theta": lambda s, t, r, b, v: -mp.diff(lambda x: price(s, x, r, b, v), t),
        "rho": rho,
    }


def _agree(name: str, expect: dict[str, str], published: dict[str, str]) -> None:
    for what, said in published.items():
        digits = len(said.partition(".")[2])
        if abs(mpf(expect[what]) - mpf(said)) > mpf(10) ** -digits / 2:
            raise SystemExit(f"{name}: {what} published as {said}, but is {expect[what]}")


def _published() -> list[Example]:
    one, two = HAUG + "ch. 1", HAUG + "ch. 2"
    merton = HULL + "ch. The Black-Scholes-Merton model"
    return [
        _european("call on a stock", one, "60 65 0.25 0.08 0.08 0.30", call="2.1334"),
        _european("put with a dividend yield", one, "100 95 0.5 0.10 0.05 0.20", put="2.4648"),
        _european("Black-76 at the money", one, "19 19 0.75 0.10 0 0.28", call="1.7011", put="1.7011"),
        _european("currency call", one, "1.56 1.60 0.5 0.06 -0.02 0.12", call="0.0291"),
        _european(
            "delta on a future", two, "105 100 0.5 0.10 0 0.36", call_delta="0.5946", put_delta="-0.3566"
        ),
        _european(
            "gamma and vega", two, "55 60 0.75 0.10 0.10 0.30", call_gamma="0.0278", call_vega="18.9358"
        ),
        _european("theta on an index", two, "430 405 1/12 0.07 0.02 0.20", put_theta="-31.1924"),
        _european("rho on a stock", two, "72 75 1 0.09 0.09 0.19", call_rho="38.7325"),
        _european("call and put", merton, "42 40 0.5 0.10 0.10 0.20", call="4.76", put="0.81"),
        _european("put on a future", HULL + "ch. Futures options", "20 20 4/12 0.09 0 0.25", put="1.12"),
        _european(
            "call on an index", HULL + "ch. Index options", "930 900 2/12 0.08 0.05 0.20", call="51.83"
        ),
        _european(
            "Greeks of a call",
            HULL + "ch. Greek letters",
            "49 50 0.3846 0.05 0.05 0.20",
            call_delta="0.522",
            call_gamma="0.066",
            call_vega="12.1",
            call_theta="-4.31",
            call_rho="8.91",
        ),
        _implied_spot("volatility of a call", merton, "21 20 0.25 0.10 0.10", "1.875", "0.235"),
        _implied_spot(
            "volatility of a currency call",
            HULL + "ch. Currency options",
            "1.60 1.60 4/12 0.08 -0.03",
            "0.043",
            "0.141",
        ),
        _ewma("weighted variance", HULL + "ch. Volatility, EWMA", "0.90", "0.01", ["0.02"], "0.0114"),
        _mcmillan(),
    ]


def _implied_spot(name: str, source: str, inputs: str, price: str, volatility: str) -> Example:
    given = dict(zip(("spot", "strike", "time", "rate", "carry"), inputs.split(), strict=True))
    s, k, t, r, b = map(number, given.values())
    d, f = mp.exp(-r * t), s * mp.exp(b * t)
    found = _bisect(lambda v: closed("call", f, k, t, v, d) - mpf(price))
    _agree(name, {"volatility": text(found)}, {"volatility": volatility})
    given |= {"time": text(t), "call": price}
    return {
        "name": name,
        "kind": "implied_spot",
        "source": source,
        "inputs": given,
        "expect": {"volatility": text(found)},
        "published": {"volatility": volatility},
    }


def _bisect(function: Any) -> Any:
    low, high = mpf("1e-6"), mpf(16)
    for _ in range(180):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return low


def _ewma(
    name: str, source: str, decay: str, volatility: str, returns: list[str], said: str | None
) -> Example:
    variance = mpf(volatility) ** 2
    for each in returns:
        variance = mpf(decay) * variance + (1 - mpf(decay)) * mpf(each) ** 2
    expect = {"variance": text(variance), "volatility": text(mp.sqrt(variance))}
    inputs = {"decay": decay, "volatility": volatility, "returns": returns}
    made = {"name": name, "kind": "ewma", "source": source, "inputs": inputs, "expect": expect}
    if said:
        _agree(name, expect, {"volatility": said})
        made["published"] = {"volatility": said}
    return made


_MOVES = [0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3, 6, -6]
_SCENARIOS = [
    {
        "price_move_thirds": n,
        "volatility_move": 0 if abs(n) == 6 else (-1) ** i,
        "weight": "0.35" if abs(n) == 6 else "1",
    }
    for i, n in enumerate(_MOVES)
]


_MCMILLAN = "460 -610 2640 1730 -1270 -2340 5210 4540 -2540 -3430 8060 7640 -3380 -3990 3130 -1500"


def _mcmillan() -> Example:
    gains = [int(x) for x in _MCMILLAN.split()]
    # The call gains 7,850 at the whole range (mean of both volatilities); its value is convex in the price:
    # twice the range gives at least twice that, of which 35 % count.
    least = (gains[10] + gains[11]) // 2 * 2 * 35 // 100
    return {
        "name": "SPAN array of a long 410 call",
        "kind": "scan",
        "source": "McMillan, Options as a Strategic Investment, ch. 34",
        "inputs": {"gains": gains, "scenarios": _SCENARIOS},
        "expect": {"requirement": -min(gains)},
        "published": {"requirement": "3990"},
        "mistakes": {
            "gains[14]": f"3130 cannot be: the array's own convexity demands at least {least}; "
            "fifteen others fit Black-76 within 13. It is a gain and moves no requirement"
        },
    }


# Derived


def _forward(moneyness: str, time: str, volatility: str, discount: str) -> Example:
    k, t, v, d = map(mpf, (moneyness, time, volatility, discount))
    expect = {}
    for right in ("call", "put"):
        by_integral, by_formula = integral(right, k, t, v, d), closed(right, mpf(1), k, t, v, d)
        assert abs(by_integral - by_formula) < mpf(10) ** -40, (moneyness, time, volatility, right)
        expect[right] = text(by_integral)
        expect[f"{right}_delta"] = text(mp.diff(lambda f, right=right: closed(right, f, k, t, v, d), 1))
        expect[f"{right}_rho"] = text(-t * by_integral)
    one = mpf(1)
    derivatives = {
        "gamma": mp.diff(lambda f: closed("call", f, k, t, v, d), one, 2),
        "vega": mp.diff(lambda x: closed("call", one, k, t, x, d), v),
        "theta": -mp.diff(lambda x: closed("call", one, k, x, v, d), t),
        "vanna": mp.diff(lambda f, x: closed("call", f, k, t, x, d), (one, v), (1, 1)),
        "volga": mp.diff(lambda x: closed("call", one, k, t, x, d), v, 2),
    }
    expect |= {name: text(value) for name, value in derivatives.items()}
    name = f"{moneyness} of the forward, {time} years, {volatility}"
    inputs = {"strike": moneyness, "time": time, "volatility": volatility, "discount": discount}
    return {
        "name": name,
        "kind": "forward",
        "source": "integral and numerical derivatives",
        "inputs": inputs,
        "expect": expect,
    }


def _implied(right: str, strike: str, time: str, price: str) -> Example:
    k, t = mpf(strike), mpf(time)
    found = _bisect(lambda v: closed(right, mpf(1), k, t, v, mpf(1)) - mpf(price))
    inputs = {"right": right, "strike": strike, "time": time, "price": price}
    return {
        "name": f"volatility of a {right} at {strike}",
        "kind": "implied",
        "source": "bisection",
        "inputs": inputs,
        "expect": {"volatility": text(found)},
    }


def _normal(x: str) -> Example:
    value = mpf(x)
    area = mp.quad(phi, [-40, -20, -10, -5, *([-2] if value > -2 else []), value])
    assert abs(area - cdf(value)) < mpf(10) ** -40
    return {
        "name": f"normal at {x}",
        "kind": "normal",
        "source": "integral",
        "inputs": {"x": x},
        "expect": {"distribution": text(area), "density": text(phi(value))},
    }


def _quantile(p: str) -> Example:
    low, high = mpf(-20), mpf(20)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle) < mpf(p) else (low, middle)
    return {
        "name": f"normal quantile of {p}",
        "kind": "quantile",
        "source": "bisection",
        "inputs": {"p": p},
        "expect": {"x": text(low)},
    }


SMILE = {
    "times": ["0.05", "0.25", "1"],
    "moneyness": ["-0.5", "-0.2", "0", "0.2", "0.5"],
    "volatilities": [
        ["0.95", "0.74", "0.66", "0.7", "0.86"],
        ["0.82", "0.7", "0.64", "0.66", "0.74"],
        ["0.7", "0.64", "0.6", "0.61", "0.65"],
    ],
}


def _at_expiry(surface: dict[str, Any], i: int, k: Any) -> Any:
    grid = [mpf(x) for x in surface["moneyness"]]
    w = [mpf(v) ** 2 * mpf(surface["times"][i]) for v in surface["volatilities"][i]]
    if k <= grid[0]:
        return w[0]
    for j in range(1, len(grid)):
        if k <= grid[j]:
            return w[j - 1] + (w[j] - w[j - 1]) * (k - grid[j - 1]) / (grid[j] - grid[j - 1])
    return w[-1]


def _variance(surface: dict[str, Any], k: Any, t: Any) -> Any:
    times = [mpf(x) for x in surface["times"]]
    if t <= times[0]:
        return _at_expiry(surface, 0, k) * t / times[0]
    for i in range(1, len(times)):
        if t <= times[i]:
            before, after = _at_expiry(surface, i - 1, k), _at_expiry(surface, i, k)
            return before + (after - before) * (t - times[i - 1]) / (times[i] - times[i - 1])
    return _at_expiry(surface, len(times) - 1, k) * t / times[-1]


def _point(moneyness: str, time: str) -> Example:
    w = _variance(SMILE, mpf(moneyness), mpf(time))
    inputs = {"surface": SMILE, "moneyness": moneyness, "time": time}
    expect = {"variance": text(w), "volatility": text(mp.sqrt(w / mpf(time)))}
    return {
        "name": f"smile at {moneyness}, {time}",
        "kind": "surface",
        "source": "by definition",
        "inputs": inputs,
        "expect": expect,
    }


def _with(row: int, column: int, volatility: str) -> dict[str, Any]:
    rows = [list(each) for each in SMILE["volatilities"]]
    rows[row][column] = volatility
    return SMILE | {"volatilities": rows}


def _arbitrage(name: str, surface: dict[str, Any], time: str, strikes: list[int]) -> Example:
    """Of calls on a forward of 1000, by the definitions, in the order of the rule."""
    found = None
    calls = [mpf(1000)]
    for strike in strikes:
        k = mp.log(mpf(strike) / 1000)
        volatility = mp.sqrt(_variance(surface, k, mpf(time)) / mpf(time))
        calls.append(closed("call", mpf(1000), mpf(strike), mpf(time), volatility, mpf(1)))
    grid = [0, *strikes]
    for i in range(1, len(grid) - 1):
        share = mpf(grid[i + 1] - grid[i]) / (grid[i + 1] - grid[i - 1])
        if found is None and calls[i] > calls[i - 1] * share + calls[i + 1] * (1 - share):
            found = {"arbitrage": "butterfly", "strike": grid[i]}
    if found is None and len(calls) > 2 and calls[-1] > calls[-2]:
        found = {"arbitrage": "spread", "strike": grid[-1]}
    for strike in strikes:
        k = mp.log(mpf(strike) / 1000)
        variances = [_at_expiry(surface, i, k) for i in range(len(surface["times"]))]
        if found is None and variances != sorted(variances):
            found = {"arbitrage": "calendar", "strike": strike}
    inputs = {"surface": surface, "time": time, "forward": 1000, "strikes": strikes}
    return {
        "name": name,
        "kind": "arbitrage",
        "source": "by definition",
        "inputs": inputs,
        "expect": found or {"arbitrage": "none"},
    }


def _ruling(name: str, shifts: list[str]) -> Example:
    surfaces = [
        SMILE | {"volatilities": [[text(mpf(v) + mpf(shift)) for v in row] for row in SMILE["volatilities"]]}
        for shift in shifts
    ]
    sums = [sum(15 * abs(mpf(a) - mpf(b)) for b in shifts) for a in shifts]
    best = min(range(len(sums)), key=lambda n: (sums[n], n))
    return {
        "name": name,
        "kind": "ruling",
        "source": "by definition",
        "inputs": {"surfaces": surfaces},
        "expect": {"index": best, "sums": [text(s) for s in sums]},
    }


def _scan(right: str, size: int, strike: str, time: str, volatility: str) -> Example:
    """On a forward of 400, range 20, volatility ± 0.02, 500 a point, to the nearest whole; ``size`` lots."""
    k, t, v = mpf(strike), mpf(time), mpf(volatility)
    now = closed(right, mpf(400), k, t, v, mpf(1))
    gains = []
    for scenario in _SCENARIOS:
        forward = 400 + mpf(scenario["price_move_thirds"]) * 20 / 3
        moved = closed(right, forward, k, t, v + scenario["volatility_move"] * mpf("0.02"), mpf(1))
        gains.append(int(mp.nint(500 * size * mpf(scenario["weight"]) * (moved - now))))
    inputs = {
        "right": right,
        "size": size,
        "forward": "400",
        "strike": strike,
        "time": time,
        "volatility": volatility,
        "range": "20",
        "volatility_range": "0.02",
        "multiplier": 500,
        "scenarios": _SCENARIOS,
        "gains": gains,
    }
    return {
        "name": f"array of {size} {right} at {strike}",
        "kind": "scan",
        "source": "Black's formula",
        "inputs": inputs,
        "expect": {"requirement": -min(0, *gains)},
    }


def _derived() -> list[Example]:
    hour = "0.00011415525114155251142"
    forwards = (
        ("1", hour, "0.05"),
        ("1", hour, "3"),
        ("1.0005", hour, "0.05"),
        ("0.9", hour, "3"),
        ("1", "3", "0.05"),
        ("1", "3", "3"),
        ("0.2", "3", "0.6"),
        ("5", "3", "0.6"),
        ("0.2", "0.5", "3"),
        ("5", "0.5", "3"),
        ("0.8", "0.25", "0.7"),
        ("1.25", "0.25", "0.7"),
        ("1.05", "0.019178", "0.45"),
        ("0.97", "0.0821918", "1.2"),
    )
    return [
        *(_forward(*each, "0.95" if n % 5 == 4 else "1") for n, each in enumerate(forwards)),
        _implied("call", "1.1", "0.25", "0.05"),
        _implied("put", "0.8", "0.1", "0.001"),
        _implied("call", "0.5", "1", "0.55"),
        _implied("put", "1", hour, "0.002"),
        *map(_normal, ("0", "1", "-1.96", "4.75", "-7.5")),
        *map(_quantile, ("0.01", "0.5", "0.975", "0.000001")),
        *(
            _point(*each)
            for each in (
                ("0", "0.25"),
                ("0.1", "0.25"),
                ("-0.35", "0.5"),
                ("0.9", "0.1"),
                ("-2", "0.01"),
                ("0.05", "2"),
            )
        ),
        _arbitrage("good smile", SMILE, "0.25", [600, 700, 800, 900, 1000, 1100, 1200, 1300, 1500]),
        _arbitrage("bump at the money", _with(1, 2, "0.95"), "0.25", [800, 1000, 1250]),
        _arbitrage("wing that rises", _with(2, 4, "1.6"), "1", [1200, 1600]),
        _arbitrage("year below quarter", _with(2, 2, "0.2"), "0.25", [1000]),
        _ruling("three, one apart", ["0", "0.01", "0.3"]),
        _ruling("five, two hostile", ["0.5", "0.002", "0.5", "0", "-0.003"]),
        _ewma("two wild days", "by definition", "0.94", "0.02", ["0.001", "-0.05", "0.06"], None),
        _scan("call", 1, "410", "0.25", "0.12"),
        _scan("put", -2, "390", "0.1", "0.15"),
    ]


if __name__ == "__main__":
    published = [*_published(), *make_venue_examples.published()]
    derived = [*_derived(), *make_venue_examples.derived()]
    units = UNITS | make_venue_examples.UNITS
    whole = {"units": units, "published": published, "derived": derived}
    PATH.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"{len(published)} published, {len(derived)} derived")
