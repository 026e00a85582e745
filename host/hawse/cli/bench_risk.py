"""``hawse bench risk``: native margin beside the golden form and numpy on this machine, in one run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from hawse.instruments import PPM, Kind
from hawse.results import record
from hawse.risk import portfolio, requirements
from hawse.risk.fixed import ONE
from hawse.risk.native import accounts, bindings
from hawse.risk.portfolio import VALUE_BITS, Expiry, Ranges, Scenario, Scenarios
from hawse.risk.requirements import Holding, Market, Terms, Tier

from .bench_hash import BenchmarkFailed, one_processor
from .common import clear_errors, json_option, say

ACCOUNTS, POSITIONS, INSTRUMENTS = 10_000, 16, 64

_TIERS = tuple(Tier(edge, multiple * PPM) for edge, multiple in ((0, 1), (10**12, 2), (10**13, 5)))
_RANGES = Ranges(100_000, ONE // 10)
#: What ``docs/risk.md`` promises, in nanoseconds.
_REQUIRED = {
    "cross, an order before it trades": 1_000,
    "portfolio, an order before it trades": 3_000,
    "option, price and all Greeks": 1_000,
    "portfolio, all accounts at a new mark": 20_000_000,
}


def scenarios() -> Scenarios:
    """31: seven moves either way and none, with two volatilities each, and an extreme fall."""
    each = portfolio.lattice(7, (1, -1), 2 * PPM, 350_000)[:-2]
    return Scenarios((*each, Scenario(-2 * PPM, 0, 350_000)), 10_000, 5_000, 800_000)


def listed() -> list[tuple[Terms, Market, int, Expiry | None]]:
    """Of one underlying: a perpetual, three futures, and sixty options of three expiries."""
    linear = Terms(Kind.PERPETUAL, 1, 100, _TIERS, 600_000, 500)
    made: list[tuple[Terms, Market, int, Expiry | None]] = [
        (linear, Market(64_000, 64_000, 64_010, 20_000), n, None) for n in range(4)
    ]
    for n in range(INSTRUMENTS - len(made)):
        kind, strike, expiry = Kind.CALL if n % 2 else Kind.PUT, 40_000 + 2_500 * (n // 3), 1 + n % 3
        terms = Terms(kind, 1, 100, _TIERS, 600_000, 500, strike=strike, short_ppm=150_000)
        priced = Expiry(64_100, ONE * expiry // 12, ONE // 2)
        made.append((terms, Market(2_500, 64_000, 2_500), expiry, priced))
    return made


def positions(count: int) -> Any:
    """Of each account, each in another instrument: shape (count, POSITIONS)."""
    random, rows = np.random.default_rng(1), np.zeros((count, POSITIONS), accounts.POSITION)
    every = np.tile(np.arange(INSTRUMENTS), (count, 1))
    rows["instrument"] = random.permuted(every, axis=1)[:, :POSITIONS]
    rows["lots"] = random.integers(-(10**9), 10**9, (count, POSITIONS))
    return rows


def _nanoseconds(work: Callable[[], object], count: int = 1, rounds: int = 15) -> float:
    """Processor time for one of ``count``, in the fastest of some rounds."""
    took = []
    for _ in range(rounds):
        began = time.process_time_ns()
        work()
        took.append(time.process_time_ns() - began)
    return round(min(took) / count, 1)


def _ends(count: int, each: int) -> accounts.Ends:
    return np.arange(1, count + 1, dtype=np.uint64) * np.uint64(each)


def _good(codes: bindings.Codes, what: str) -> None:
    if codes.any():
        raise BenchmarkFailed(f"{what}: {np.count_nonzero(codes)} of {len(codes)} refused")


def _numpy(arrays: accounts.Arrays, held: Any, worst: NDArray[np.int64]) -> dict[str, Callable[[], object]]:
    """The same scans by numpy: in doubles, a matrix product with all instruments; in int64, cut short."""
    dense = np.zeros((len(held), INSTRUMENTS))
    np.put_along_axis(dense, held["instrument"].astype(np.int64), held["lots"].astype(float), axis=1)
    changes, whole = arrays.changes.astype(float), arrays.changes >> VALUE_BITS

    def matrix() -> NDArray[np.float64]:
        return np.asarray(-np.minimum(0, (dense @ changes).min(axis=1)))

    def gathered() -> NDArray[np.int64]:
        each = held["lots"][:, :, None] * whole[held["instrument"]]
        return np.asarray(-np.minimum(0, each.sum(axis=1).min(axis=1)))

    if not np.allclose(matrix() / (1 << VALUE_BITS), worst, rtol=1e-9, atol=2):
        raise BenchmarkFailed("numpy has other losses than the native form")
    return {"numpy, doubles": matrix, "numpy, int64": gathered}


def _portfolios(count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Nanoseconds of the native form, and of numpy for all scans."""
    arrays = accounts.Arrays(INSTRUMENTS, scenarios())
    requests = np.concatenate([accounts.request_row(*each) for each in listed()])
    _good(arrays.make(requests, _RANGES), "arrays")
    held = positions(count)
    flat, ends = held.reshape(-1), _ends(count, POSITIONS)
    instruments, rows = _instruments(), accounts.holding_rows(_holdings(count))
    found, codes = arrays.scan(flat, ends)
    _good(codes, "scans")
    others = {name: _nanoseconds(work, 1, 5) for name, work in _numpy(arrays, held, found["worst"]).items()}
    legs, alone, costs = np.ascontiguousarray(held[:, 0]), _ends(count, 1), np.zeros(count, np.int64)
    money = np.full(count, 10**15)
    _good(arrays.portfolio(instruments, rows, ends, money, costs)[1], "portfolios")
    made = _nanoseconds(lambda: arrays.make(requests, _RANGES))
    account = _nanoseconds(lambda: arrays.portfolio(instruments, rows, ends, money, costs), count)
    order = _nanoseconds(lambda: arrays.add_on(legs, alone, costs), count)
    native = {
        "portfolio, arrays of all instruments": made,
        "portfolio, all scans": _nanoseconds(lambda: arrays.scan(flat, ends)),
        "portfolio, all accounts at a new mark": round(made + account * count, 1),
        "portfolio, an account": account,
        "portfolio, an order before it trades": round(account + order, 1),
    }
    return native, others


def _instruments() -> accounts.Instruments:
    pairs = [(terms, market) for terms, market, _, _ in listed()]
    made = accounts.Instruments(
        np.concatenate([accounts.terms_row(terms) for terms, _ in pairs]),
        np.concatenate([accounts.market_row(market) for _, market in pairs]),
    )
    _good(made.codes, "instruments")
    return made


def _holdings(count: int) -> list[tuple[int, Holding]]:
    return [
        (int(n), Holding(int(lots), int(lots) * 63_000, 0, 10**6, 10**6, 10**9, 10**12))
        for n, lots in positions(count).reshape(-1).tolist()
    ]


def _crosses(count: int) -> tuple[dict[str, float], float]:
    """Nanoseconds of the native form, and of the golden one for an account."""
    pairs = [(terms, market) for terms, market, _, _ in listed()]
    instruments, rows = _instruments(), _holdings(count)
    flat, ends, money = accounts.holding_rows(rows), _ends(count, POSITIONS), np.full(count, 10**15)
    orders = np.zeros(count, accounts.ORDER)
    orders["holding"], orders["price"], orders["lots"] = np.arange(count) % POSITIONS, 64_000, 10**6
    _good(instruments.free_with(flat, ends, money, orders)[1], "orders")
    one = [(*pairs[n], holding) for n, holding in rows[:POSITIONS]]
    native = {
        "cross, an account": _nanoseconds(lambda: instruments.cross(flat, ends, money), count),
        "cross, withdrawable": _nanoseconds(lambda: instruments.withdrawable(flat, ends, money, True), count),
        "cross, an order before it trades": _nanoseconds(
            lambda: instruments.free_with(flat, ends, money, orders), count
        ),
    }
    return native, _nanoseconds(lambda: [requirements.cross(0, one) for _ in range(50)], 50, 3)


def measure(count: int) -> dict[str, Any]:
    """Everything, on one core.

    Raises:
        BenchmarkFailed: a result is refused, or not that of numpy.
    """
    rows = np.zeros(2_000, bindings.REQUEST)
    rows["forward"], rows["strike"], rows["time"] = 64_100, 40_000 + 25 * np.arange(2_000), ONE // 12
    rows["volatility"], rows["discount"] = ONE // 2, ONE
    with one_processor():
        margin, others = _portfolios(count)
        cross, golden = _crosses(count)
        option = {"option, price and all Greeks": _nanoseconds(lambda: bindings.evaluate(rows), len(rows))}
    scans = margin["portfolio, all scans"]
    return {
        "accounts": count,
        "positions": POSITIONS,
        "instruments": INSTRUMENTS,
        "scenarios": len(scenarios().each),
        "native_ns": margin | cross | option,
        "required_ns": _REQUIRED,
        "required_accounts": ACCOUNTS,
        "all_scans_by_others_ns": others,
        "others_to_native": {name: round(ns / scans, 2) for name, ns in others.items()},
        "golden_to_native": round(golden / cross["cross, an account"], 1),
    }


@click.command()
@click.option(
    "--accounts",
    "count",
    type=click.IntRange(50, 100_000),
    default=ACCOUNTS,
    show_default=True,
    help="Of each kind.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to keep the figures.")
@json_option
@clear_errors
def risk(count: int, out: Path | None, as_json: bool) -> None:
    """Measure margin: 16 positions an account, 64 instruments, 31 scenarios; one core."""
    told = measure(count)
    if out:
        record(out, f"hawse bench risk --accounts {count} --out {out}", told)
    if as_json:
        say(told)
        return
    table = Table("native", "µs", "at most")
    for name, ns in told["native_ns"].items():
        most = _REQUIRED.get(name)
        table.add_row(name, f"{ns / 1e3:,.2f}", f"{most / 1e3:,.0f}" if most and count == ACCOUNTS else "")
    for name, ns in told["all_scans_by_others_ns"].items():
        table.add_row(f"{name}: all scans", f"{ns / 1e3:,.2f}", f"{told['others_to_native'][name]} of native")
    console = Console()
    console.print(table)
    console.print(f"The golden form takes {told['golden_to_native']} times as long for an account.")
