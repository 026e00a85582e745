"""Speed of margin in the native form, beside numpy in the same run.

``PYTHONPATH=tests python -m support.risk_measure docs/results/risk.json``
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time_ns
from typing import Any

import numpy as np
from hawse import results
from hawse.engine.native.build import compiler
from hawse.instruments import PPM
from hawse.risk import portfolio, requirements
from hawse.risk.fixed import ONE
from hawse.risk.native import accounts, bindings
from hawse.risk.portfolio import Expiry, Ranges, Scenario, Scenarios
from hawse.risk.requirements import Holding, Kind, Market, Terms, Tier

_COMMAND = "PYTHONPATH=tests python -m support.risk_measure docs/results/risk.json"
ACCOUNTS, POSITIONS, INSTRUMENTS = 10_000, 16, 64

_TIERS = tuple(Tier(edge, multiple * PPM) for edge, multiple in ((0, 1), (10**12, 2), (10**13, 5)))
_LINEAR = Terms(Kind.PERPETUAL, 1, 100, _TIERS, 600_000, 500)
_OPTION = Terms(Kind.CALL, 1, 100, _TIERS, 600_000, 500, short_ppm=150_000, short_floor_ppm=100_000)


def scenarios() -> Scenarios:
    """31: fourteen moves and none, with two volatilities each, and an extreme."""
    lattice = portfolio.lattice(7, (1, -1), 2 * PPM, 350_000)[:-2]
    return Scenarios((*lattice, Scenario(-2 * PPM, 0, 350_000)), 10_000, 5_000, 800_000)


def listed() -> list[tuple[Terms, Market, int, Expiry | None]]:
    """Of one underlying: a perpetual, three futures and sixty options of three expiries."""
    market = Market(64_000, 64_000, 64_010, 20_000)
    made: list[tuple[Terms, Market, int, Expiry | None]] = [(_LINEAR, market, n, None) for n in range(4)]
    for n in range(INSTRUMENTS - 4):
        strike = 40_000 + 2_500 * (n // 3)
        kind = Kind.CALL if n % 2 else Kind.PUT
        terms = Terms(
            kind, 1, 100, _TIERS, 600_000, 500, strike=strike, short_ppm=150_000, short_floor_ppm=100_000
        )
        made.append(
            (
                terms,
                Market(2_500, 64_000, 2_500),
                1 + n % 3,
                Expiry(64_100, ONE * (1 + n % 3) // 12, ONE // 2),
            )
        )
    return made


def positions(random: np.random.Generator) -> Any:
    """Of each account, in as many different instruments."""
    rows = np.zeros((ACCOUNTS, POSITIONS), accounts.POSITION)
    rows["instrument"] = random.permuted(np.tile(np.arange(INSTRUMENTS), (ACCOUNTS, 1)), axis=1)[
        :, :POSITIONS
    ]
    rows["lots"] = random.integers(-(10**9), 10**9, (ACCOUNTS, POSITIONS))
    return rows


def nanoseconds(work: Callable[[], Any], count: int, rounds: int = 15) -> float:
    """Best of ``rounds``, for one of ``count``."""
    best = 1 << 62
    for _ in range(rounds):
        begun = process_time_ns()
        work()
        best = min(best, process_time_ns() - begun)
    return round(best / count, 2)


def _portfolios(random: np.random.Generator) -> dict[str, Any]:
    arrays = accounts.Arrays(INSTRUMENTS, scenarios())
    requests = np.concatenate([accounts.request_row(*each) for each in listed()])
    ranges = Ranges(100_000, ONE // 10)
    assert not arrays.make(requests, ranges).any()
    held = positions(random)
    flat, ends = held.reshape(-1), np.arange(1, ACCOUNTS + 1, dtype=np.uint64) * POSITIONS
    found, codes = arrays.scan(flat, ends)
    assert not codes.any()
    dense = np.zeros((ACCOUNTS, INSTRUMENTS), np.int64)
    np.put_along_axis(dense, held["instrument"], held["lots"], axis=1)
    floats, changes = dense.astype(float), arrays.changes.astype(float)

    def with_matrices() -> Any:
        return -np.minimum(0, (floats @ changes).min(axis=1))

    def with_integers() -> Any:  # 2**-20 are cut, so that sums fit into int64
        each = held["lots"][:, :, None] * (arrays.changes >> 20)[held["instrument"]]
        return -np.minimum(0, each.sum(axis=1).min(axis=1))

    assert np.allclose(with_matrices() / (1 << 20), found["worst"], rtol=1e-9, atol=2)
    legs = np.ascontiguousarray(held[:, 0])
    alone = np.arange(1, ACCOUNTS + 1, dtype=np.uint64)
    costs = np.zeros(ACCOUNTS, np.int64)
    remargin = nanoseconds(lambda: arrays.scan(flat, ends), 1)
    scanned = remargin / ACCOUNTS
    numpy = {
        "float64 matrix product": nanoseconds(with_matrices, 1),
        "int64, gathered": nanoseconds(with_integers, 1, 5),
    }
    return {
        "accounts": ACCOUNTS,
        "positions": POSITIONS,
        "scenarios": len(scenarios().each),
        "remargin_ms": round(remargin / 1e6, 3),
        "remargin_required_ms": 20,
        "numpy_ms": {name: round(ns / 1e6, 3) for name, ns in numpy.items()},
        "numpy_to_native": {name: round(ns / remargin, 2) for name, ns in numpy.items()},
        "arrays_of_64_instruments_ms": round(nanoseconds(lambda: arrays.make(requests, ranges), 1) / 1e6, 3),
        "order_add_on_ns": (more := nanoseconds(lambda: arrays.add_on(legs, alone, costs), ACCOUNTS)),
        "pre_trade_ns": round(scanned + more, 1),
        "pre_trade_required_ns": 3_000,
    }


def _crosses(random: np.random.Generator) -> dict[str, Any]:
    pairs = [(terms, market) for terms, market, _, _ in listed()]
    instruments = accounts.Instruments(
        np.concatenate([accounts.terms_row(terms) for terms, _ in pairs]),
        np.concatenate([accounts.market_row(market) for _, market in pairs]),
    )
    held = positions(random).reshape(-1)
    rows = [
        (int(n), Holding(int(lots), int(lots) * 63_000, 0, 10**6, 10**6, 10**9, 10**12))
        for n, lots in held.tolist()
    ]
    flat, ends = accounts.holding_rows(rows), np.arange(1, ACCOUNTS + 1, dtype=np.uint64) * POSITIONS
    money = np.full(ACCOUNTS, 10**15)
    orders = np.zeros(ACCOUNTS, accounts.ORDER)
    orders["holding"], orders["side"] = (
        random.integers(0, POSITIONS, ACCOUNTS),
        random.integers(0, 2, ACCOUNTS),
    )
    orders["price"], orders["lots"] = 64_000, 10**6
    assert not instruments.free_with(flat, ends, money, orders)[1].any()
    some = [
        [(*pairs[n], holding) for n, holding in rows[k * POSITIONS : (k + 1) * POSITIONS]] for k in range(50)
    ]
    return {
        "requirement_ns": nanoseconds(lambda: instruments.requirement(flat), len(flat)),
        "account_ns": nanoseconds(lambda: instruments.cross(flat, ends, money), ACCOUNTS),
        "withdrawable_ns": nanoseconds(lambda: instruments.withdrawable(flat, ends, money, True), ACCOUNTS),
        "pre_trade_ns": nanoseconds(lambda: instruments.free_with(flat, ends, money, orders), ACCOUNTS),
        "pre_trade_required_ns": 1_000,
        "golden_account_ns": nanoseconds(lambda: [requirements.cross(0, each) for each in some], 50, 3),
    }


def _options() -> dict[str, Any]:
    rows = np.array(
        [(64_100, 40_000 + 25 * n, ONE // 12, ONE // 2, ONE) for n in range(2_000)], bindings.REQUEST
    )
    return {
        "price_with_all_greeks_ns": nanoseconds(lambda: bindings.evaluate(rows), len(rows)),
        "required_ns": 1_000,
    }


def measure() -> dict[str, Any]:
    """Everything, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    random = np.random.default_rng(1)
    said = subprocess.run([*compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "compiler": said.splitlines()[0],
        "portfolio": _portfolios(random),
        "cross": _crosses(random),
        "option": _options(),
    }


if __name__ == "__main__":
    results.record(Path(sys.argv[1]), _COMMAND, measure())
