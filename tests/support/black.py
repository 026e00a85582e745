"""Black's formula by other means: QuantLib in doubles, mpmath to fifty digits; and grids of arguments."""

from collections.abc import Iterator, Sequence
from math import exp, log, sqrt
from typing import Any

import numpy as np
from hawse.risk.fixed import ONE
from hawse.risk.native.bindings import REQUEST, Rows

#: What there is of an option, in the order of ``hawse.risk.options.Option``.
NAMES = (
    "call",
    "put",
    "call_delta",
    "put_delta",
    "gamma",
    "vega",
    "theta",
    "vanna",
    "volga",
    "call_rho",
    "put_rho",
)
#: In years of 365 days.
HOUR = 1 / 8760
FORWARD = 10**12


def grid(moneyness: int, volatilities: int, times: int, discount: int = ONE) -> Rows:
    """REQUEST rows over strike / forward 0.2 to 5, volatility 5 to 300 %, one hour to three years.

    Each axis is logarithmic; two fifths of the strikes lie within 3 % of the forward, where a short option
    has all its value, and one is at it.
    """
    near = moneyness * 2 // 5
    wide = np.geomspace(0.2, 5, moneyness - near)
    strikes = np.unique(np.concatenate([wide, np.geomspace(0.97, 1.03, near), [1.0]]))
    sigma, t = np.geomspace(0.05, 3, volatilities), np.geomspace(HOUR, 3, times)
    k, s, years = (axis.ravel() for axis in np.meshgrid(strikes, sigma, t, indexing="ij"))
    rows = np.zeros(len(k), REQUEST)
    rows["forward"], rows["discount"] = FORWARD, discount
    for name, values, one in (("strike", k, FORWARD), ("time", years, ONE), ("volatility", s, ONE)):
        rows[name] = np.rint(values * one)
    return rows


def quantlib(rows: Rows) -> Iterator[tuple[float, ...]]:
    """NAMES as QuantLib has them, as parts of the forward.

    But volga: its own (1.44) has σ√t in the place of σ. So that is vega·d₁·d₂/σ with its vega.
    """
    import QuantLib as ql

    for row in rows.tolist():
        forward, strike, t, sigma, discount = row[0], row[1], *(x / ONE for x in row[2:])
        both = [
            ql.BlackCalculator(ql.PlainVanillaPayoff(kind, strike / forward), 1.0, sigma * sqrt(t), discount)
            for kind in (ql.Option.Call, ql.Option.Put)
        ]
        call, put = both
        s = sigma * sqrt(t)
        d1 = log(forward / strike) / s + s / 2
        vega = call.vega(t)
        yield (
            call.value(),
            put.value(),
            call.deltaForward(),
            put.deltaForward(),
            call.gammaForward(),
            vega,
            -vega * sigma / (2 * t),
            call.vanna(1.0, t),
            vega * d1 * (d1 - s) / sigma,
            -t * call.value(),
            -t * put.value(),
        )


def exact(row: Sequence[int], digits: int = 50) -> tuple[Any, ...]:
    """NAMES to ``digits``, as mpmath has them, as parts of the forward; ``row`` is one of REQUEST."""
    from mpmath import mp, mpf, ncdf, npdf

    with mp.workdps(digits):
        k, t, sigma, discount = mpf(row[1]) / row[0], *(mpf(x) / ONE for x in row[2:5])
        root = mp.sqrt(t)
        s = sigma * root
        d1 = -mp.log(k) / s + s / 2
        d2 = d1 - s
        density = npdf(d1)
        call, put = ncdf(d1) - k * ncdf(d2), k * ncdf(-d2) - ncdf(-d1)
        vega = density * root
        values = (
            call,
            put,
            ncdf(d1),
            -ncdf(-d1),
            density / s,
            vega,
            -vega * sigma / (2 * t),
            -density * d2 / sigma,
            vega * d1 * d2 / sigma,
            -t * call,
            -t * put,
        )
        return tuple(discount * value for value in values)


def scattered(count: int, seed: int) -> Rows:
    """REQUEST rows at random over the same ranges, half of them within a few σ√t of the forward."""
    rng = np.random.default_rng(seed)
    t = np.exp(rng.uniform(log(HOUR), log(3), count))
    sigma = np.exp(rng.uniform(log(0.05), log(3), count))
    far = np.exp(rng.uniform(log(0.2), log(5), count))
    close = np.clip(np.exp(sigma * np.sqrt(t) * rng.normal(0, 2, count)), 0.2, 5)
    rows = np.zeros(count, REQUEST)
    rows["forward"] = rng.integers(10**9, 10**15, count)
    rows["strike"] = np.rint(rows["forward"] * np.where(rng.random(count) < 0.5, far, close))
    rows["time"], rows["volatility"] = np.rint(t * ONE), np.rint(sigma * ONE)
    rows["discount"] = np.rint(rng.choice([1.0, exp(-0.05), exp(0.01)], count) * ONE)
    return rows
