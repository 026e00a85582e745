"""Measured errors and speed of the options: ``docs/results/options.json``.

``PYTHONPATH=tests python -m support.options_measure docs/results/options.json``; QuantLib and mpmath belong
to the extra ``test``, QuantLib for C++ to the system: without it that figure is left out.
"""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hawse import results
from hawse.engine.native.build import BuildError, compile_library, compiler
from hawse.risk import fixed, options
from hawse.risk.fixed import ONE
from hawse.risk.native import bindings
from hawse.risk.native.bindings import NativeSurface, Rows
from mpmath import erfinv, mp, mpf, ncdf, npdf
from support import black

_TIMES = 7
_TIMED = 100_000
_COMMAND = "PYTHONPATH=tests python -m support.options_measure docs/results/options.json"


def _nanoseconds(work: Callable[[], object], count: int, times: int = _TIMES) -> float:
    """Processor time for each of ``count``, of the fastest of some runs."""
    took = []
    for _ in range(times):
        began = time.process_time_ns()
        work()
        took.append(time.process_time_ns() - began)
    return round(min(took) / count, 1)


def _against_quantlib() -> dict[str, Any]:
    grid = black.grid(96, 48, 48)
    found, codes = bindings.evaluate(grid)
    assert not codes.any()
    worst = np.zeros(len(black.NAMES))
    for row, expected in zip(found.tolist(), black.quantlib(grid), strict=True):
        worst = np.maximum(worst, np.abs(np.array(row) / ONE - expected))
    return {
        "points": len(grid),
        "grid": "strike / forward 0.2 to 5, volatility 0.05 to 3, one hour to three years",
        "required": {"prices": 1e-7, "greeks": 1e-6},
        "largest_error": dict(zip(black.NAMES, map(float, worst), strict=True)),
    }


def _against_fifty_digits(count: int) -> dict[str, Any]:
    """In quanta of 2**-48; gamma also against itself, which is up to 750 there."""
    rows = black.scattered(count, 1)
    found, codes = bindings.evaluate(rows)
    assert not codes.any()
    worst, relative = [mpf(0)] * len(black.NAMES), mpf(0)
    for row, got in zip(rows.tolist(), found.tolist(), strict=True):
        exact = black.exact(row)
        for n, (value, goal) in enumerate(zip(got, exact, strict=True)):
            worst[n] = max(worst[n], abs(value - goal * ONE))
        relative = max(relative, (abs(got[4] - exact[4] * ONE) - 1) / max(exact[4], 1) / ONE)
    quanta = {name: round(float(w), 2) for name, w in zip(black.NAMES, worst, strict=True)}
    return {"points": count, "largest_error_quanta": quanta, "gamma_relative": float(relative)}


def _functions(count: int) -> dict[str, float]:
    """Largest errors of the functions, in quanta of 2**-48; of exp, where it is at most 1."""
    random = Random(1)
    around = [random.randint(-9 * ONE, 9 * ONE) for _ in range(count)]
    lengths = [random.getrandbits(random.randint(1, 63)) + 1 for _ in range(count)]
    parts = [1 + random.getrandbits(random.randint(1, 48)) % (ONE - 1) for _ in range(count)]
    cases: list[tuple[Callable[[int], int], Callable[[Any], Any], list[int]]] = [
        (fixed.normal_density, npdf, around),
        (fixed.normal_distribution, ncdf, around),
        (fixed.inverse_normal_distribution, lambda p: -mp.sqrt(2) * erfinv(1 - 2 * p), parts),
        (fixed.exp, mp.exp, [-abs(a) * 4 for a in around]),
        (fixed.log, mp.log, lengths),
        (fixed.sqrt, mp.sqrt, lengths),
    ]
    return {
        function.__name__: round(
            float(max(abs(function(a) - exact(mpf(a) / ONE) * ONE) for a in arguments)), 4
        )
        for function, exact, arguments in cases
    }


def _quotes(rows: Rows) -> Rows:
    """Of the options out of the money."""
    quotes = np.zeros(len(rows), bindings.QUOTE)
    for name in ("forward", "strike", "time", "discount"):
        quotes[name] = rows[name]
    both, quotes["right"] = bindings.prices(rows)[0], rows["strike"] < rows["forward"]
    quotes["price"] = np.where(quotes["right"], both["put"], both["call"])
    return quotes


def _implied() -> dict[str, Any]:
    """How near volatilities come back from prices over the grid."""
    grid = black.grid(96, 48, 48)
    found, codes = bindings.implied_volatility(_quotes(grid))
    off = np.abs(found - grid["volatility"])[codes == 0] / ONE
    names = {options.Code(code).name: int((codes == code).sum()) for code in np.unique(codes)}
    return {"points": len(grid), "codes": names, "largest_error": float(off.max())}


def _surface() -> NativeSurface:
    times = [ONE // n for n in (365, 52, 12, 4, 2, 1)]
    moneyness = [ONE * n // 8 for n in range(-8, 9)]
    return NativeSurface(times, moneyness, [[ONE // 2 + k * k // ONE // 8 for k in moneyness] for _ in times])


def _points(rows: Rows) -> Rows:
    points = np.zeros(len(rows), bindings.POINT)
    points["moneyness"] = np.rint(np.log(rows["strike"] / rows["forward"]) * ONE)
    points["time"] = rows["time"]
    return points


def _bench() -> tuple[ctypes.CDLL, bool]:
    """The same in doubles, and whether QuantLib for C++ is in it."""
    source = [Path(__file__).with_name("options_bench.cpp")]
    try:
        library = compile_library("options_bench", source, ["-Wl,--no-as-needed", "-lQuantLib"])
    except BuildError:
        return ctypes.CDLL(str(compile_library("options_bench", source))), False
    return ctypes.CDLL(str(library)), True


def _in_doubles(function: Any, rows: Rows) -> tuple[Callable[[], None], Any]:
    scale = [1.0, 1.0, ONE, ONE, ONE]
    given = np.array([rows[name] / one for name, one in zip(rows.dtype.names, scale, strict=True)]).T.copy()
    out = np.zeros((len(rows), len(black.NAMES)))

    def work() -> None:
        addresses = (ctypes.c_void_p(array.ctypes.data) for array in (given, out))
        function(next(addresses), ctypes.c_uint64(len(given)), next(addresses))

    return work, out


def _speed() -> dict[str, Any]:
    """Nanoseconds an option, on one core, one after another."""
    rows = black.scattered(_TIMED, 2)
    few = rows[:2000]
    quotes, points, surface = _quotes(rows), _points(rows), _surface()
    quotes = quotes[bindings.implied_volatility(quotes)[1] == 0]
    native = {
        "price_with_all_greeks": _nanoseconds(lambda: bindings.evaluate(rows), len(rows)),
        "prices": _nanoseconds(lambda: bindings.prices(rows), len(rows)),
        "implied_volatility": _nanoseconds(lambda: bindings.implied_volatility(quotes), len(quotes)),
        "surface_variance_and_volatility": _nanoseconds(lambda: surface.at(points), len(points)),
    }
    golden = _nanoseconds(lambda: [options.evaluate(*row) for row in few.tolist()], len(few), 3)
    others = {
        f"QuantLib {version('QuantLib')} from Python": _nanoseconds(
            lambda: list(black.quantlib(few)), len(few), 3
        )
    }
    found, _ = bindings.evaluate(rows)
    bench, has_quantlib = _bench()
    functions = {"doubles with the C library": bench.bench_doubles}
    if has_quantlib:
        bench.bench_quantlib_version.restype = ctypes.c_char_p
        functions[f"QuantLib {bench.bench_quantlib_version().decode()} from C++"] = bench.bench_quantlib
    for name, function in functions.items():
        work, out = _in_doubles(function, rows)
        others[name] = _nanoseconds(work, len(rows))
        assert abs(out[:, 0] - found["call"] / ONE).max() < 1e-12, name
    mine = native["price_with_all_greeks"]
    return {
        "required_ns": 1000,
        "native_ns": native,
        "golden_ns": golden,
        "others_ns": others,
        "others_to_native": {name: round(ns / mine, 2) for name, ns in others.items()},
    }


def measure() -> dict[str, Any]:
    """Everything."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    said = subprocess.run([*compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    with mp.workdps(50):
        return {
            "compiler": said.splitlines()[0],
            "versions": {name: version(name) for name in ("QuantLib", "mpmath")},
            "speed": _speed(),
            "against_quantlib": _against_quantlib(),
            "against_fifty_digits": _against_fifty_digits(20_000),
            "functions_largest_error_quanta": _functions(20_000),
            "implied_volatility": _implied(),
        }


if __name__ == "__main__":
    results.record(Path(sys.argv[1]), _COMMAND, measure())
