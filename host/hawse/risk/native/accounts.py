"""The native margin functions over numpy arrays: many accounts at once.

They do what the golden functions of the same name do; where the golden one raises, the row's code says why
and its result is 0. Holdings and positions of account n are the rows from ``ends[n - 1]`` to ``ends[n]``;
their ``instrument`` is an index, which nobody checks.
"""

from collections.abc import Sequence
from ctypes import Structure, byref, c_int64, c_uint64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.risk.portfolio import Expiry, Ranges, Scenarios
from hawse.risk.requirements import MOST_TIERS, Holding, Market, Terms

from .bindings import Codes, Integers, Rows, loaded

Ends = NDArray[np.uint64]


def _row(*names: str) -> "np.dtype[Any]":
    return np.dtype([(name, "<i8") for name in names])


def _wide(name: str) -> list[tuple[str, str]]:
    return [(f"{name}_low", "<u8"), (f"{name}_high", "<i8")]


_TERMS = ("kind", "numerator", "denominator", "maintenance_ppm", "fee_ppm", "lower", "upper", "strike")
_MARKET = ("mark", "underlying", "fair", "fraction_ppm", "open_interest", "valid")
_HOLDING = ("instrument", "size", "funding", "buy", "sell")

TERMS = np.dtype(
    [(name, "<i8") for name in (*_TERMS, "short_ppm", "short_floor_ppm", "tiers")]
    + [(name, "<i8", (MOST_TIERS,)) for name in ("edges", "multiples")]
)
MARKET = _row(*_MARKET)
HOLDING = np.dtype([(name, "<i8") for name in _HOLDING] + [*_wide("entry"), *_wide("loss"), *_wide("basis")])
NEEDS = _row("initial", "surcharged", "maintenance")
CROSS = _row("equity", *NEEDS.names or ())
ORDER = _row("holding", "side", "price", "lots")
PRICED = _row("forward", "time", "volatility")
REQUEST = np.dtype([("terms", TERMS), ("market", MARKET), ("priced", PRICED), ("expiry", "<i8")])
SCENARIO = _row("move_ppm", "volatility", "weight_ppm")
POSITION = _row("instrument", "lots")
SCAN = _row("worst", "short", "basis")
PORTFOLIO = _row("equity", "requirement", "maintenance")


def terms_row(terms: Terms) -> Rows:
    """TERMS of an instrument."""
    row = np.zeros(1, TERMS)
    for name in (*_TERMS, "short_ppm", "short_floor_ppm"):
        row[name] = getattr(terms, name)
    row["tiers"] = len(terms.tiers)
    for n, tier in enumerate(terms.tiers):
        row["edges"][0, n], row["multiples"][0, n] = tier
    return row


def market_row(market: Market) -> Rows:
    """MARKET of an instrument."""
    return np.array([tuple(int(getattr(market, name)) for name in _MARKET)], MARKET)


def holding_row(instrument: int, holding: Holding) -> Rows:
    """HOLDING of an account."""
    return np.array([_holding(instrument, holding)], HOLDING)


def holding_rows(held: Sequence[tuple[int, Holding]]) -> Rows:
    """HOLDING of each (instrument, holding)."""
    return np.array([_holding(*each) for each in held], HOLDING)


def _holding(instrument: int, h: Holding) -> tuple[int, ...]:
    wide = (part for value in (h.entry, h.loss, h.basis) for part in (value & (1 << 64) - 1, value >> 64))
    return (instrument, h.size, h.funding, h.buy, h.sell, *wide)


def _data(array: NDArray[Any], kind: Any) -> NDArray[Any]:
    if array.dtype != kind or not array.flags.c_contiguous:
        raise ValueError(f"an array of {array.dtype}, or with gaps, not of {kind}")
    return array


class Instruments:
    """Terms and markets as the native functions take them; ``codes`` says which they refused."""

    def __init__(self, terms: Rows, markets: Rows) -> None:
        native = loaded()
        size = native.hawse_risk_instrument_size()
        self._memory = np.zeros(len(terms) * size + 16, np.uint8)
        self.at = (self._memory.ctypes.data + 15) & ~15
        self.codes: Codes = np.zeros(len(terms), np.int32)
        native.hawse_risk_prepare(
            c_void_p(_data(terms, TERMS).ctypes.data),
            c_void_p(_data(markets, MARKET).ctypes.data),
            c_uint64(len(terms)),
            c_void_p(self.at),
            c_void_p(self.codes.ctypes.data),
        )

    def requirement(self, held: Rows) -> tuple[Rows, Codes]:
        """NEEDS of each HOLDING."""
        return self._each("requirement", [_data(held, HOLDING)], NEEDS, len(held))

    def cross(self, held: Rows, ends: Ends, collateral: Integers) -> tuple[Rows, Codes]:
        """CROSS of each account."""
        return self._each("cross", [_data(held, HOLDING), ends, collateral], CROSS, len(ends))

    def withdrawable(
        self, held: Rows, ends: Ends, collateral: Integers, covered: bool
    ) -> tuple[Integers, Codes]:
        """What may leave each account."""
        return self._each("withdrawable", [held, ends, collateral], "<i8", len(ends), c_int64(covered))

    def free_with(self, held: Rows, ends: Ends, collateral: Integers, orders: Rows) -> tuple[Integers, Codes]:
        """What is free in each account after reserving for its ORDER."""
        arrays = [held, ends, collateral]
        address = c_void_p(_data(orders, ORDER).ctypes.data)
        return self._each("free_with", arrays, "<i8", len(ends), address)

    def _each(self, name: str, arrays: list[Any], kind: Any, count: int, *more: Any) -> tuple[Any, Codes]:
        results, codes = np.zeros(count, kind), np.zeros(count, np.int32)
        getattr(loaded(), f"hawse_risk_{name}")(
            c_void_p(self.at),
            *(c_void_p(array.ctypes.data) for array in arrays),
            c_uint64(count),
            *more,
            c_void_p(results.ctypes.data),
            c_void_p(codes.ctypes.data),
        )
        return results, codes


class _Arrays(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("changes", "peaks", "deltas", "vegas", "minima", "expiries")),
        ("count", c_uint64),
        ("scenarios", c_uint64),
    )


def request_row(terms: Terms, market: Market, expiry: int, priced: Expiry | None = None) -> Rows:
    """REQUEST of an instrument's array."""
    row = np.zeros(1, REQUEST)
    row["terms"], row["market"], row["expiry"] = terms_row(terms), market_row(market), expiry
    row["priced"] = tuple(priced or (0, 0, 0))
    return row


class Arrays:
    """Arrays of the instruments of one underlying: ``changes`` has a row of scenarios for each."""

    def __init__(self, count: int, scenarios: Scenarios) -> None:
        self._scenarios = np.array([tuple(each) for each in scenarios.each], SCENARIO)
        self.basis_ppm, self.short_ppm = scenarios.basis_ppm, scenarios.short_ppm
        self.maintenance_ppm = scenarios.maintenance_ppm
        self.changes = np.zeros((count, len(scenarios.each)), np.int64)
        self.peaks, self.deltas, self.vegas, self.minima, self.expiries = np.zeros((5, count), np.int64)
        columns = (self.changes, self.peaks, self.deltas, self.vegas, self.minima, self.expiries)
        self.it = _Arrays(*(each.ctypes.data for each in columns), count, len(scenarios.each))

    def make(self, requests: Rows, ranges: Ranges) -> Codes:
        """Makes each instrument's array from its REQUEST."""
        codes = np.zeros(len(requests), np.int32)
        both = np.array(ranges, np.int64)
        loaded().hawse_risk_arrays(
            c_void_p(_data(requests, REQUEST).ctypes.data),
            c_void_p(self._scenarios.ctypes.data),
            c_void_p(both.ctypes.data),
            c_int64(self.short_ppm),
            byref(self.it),
            c_void_p(codes.ctypes.data),
        )
        return codes

    def scan(
        self, positions: Rows, ends: Ends, losses: NDArray[np.int64] | None = None
    ) -> tuple[Rows, Codes]:
        """SCAN of each account; ``losses`` takes one of each scenario."""
        results, codes = np.zeros(len(ends), SCAN), np.zeros(len(ends), np.int32)
        loaded().hawse_risk_scan(
            byref(self.it),
            c_void_p(_data(positions, POSITION).ctypes.data),
            c_void_p(ends.ctypes.data),
            c_uint64(len(ends)),
            c_int64(self.basis_ppm),
            c_void_p(None if losses is None else losses.ctypes.data),
            c_void_p(results.ctypes.data),
            c_void_p(codes.ctypes.data),
        )
        return results, codes

    def add_on(self, legs: Rows, ends: Ends, costs: Integers) -> tuple[Integers, Codes]:
        """What each order of legs (POSITION) adds."""
        results, codes = np.zeros(len(ends), np.int64), np.zeros(len(ends), np.int32)
        loaded().hawse_risk_add_on(
            byref(self.it),
            c_void_p(_data(legs, POSITION).ctypes.data),
            c_void_p(ends.ctypes.data),
            c_uint64(len(ends)),
            c_int64(self.basis_ppm),
            c_void_p(costs.ctypes.data),
            c_void_p(results.ctypes.data),
            c_void_p(codes.ctypes.data),
        )
        return results, codes

    def portfolio(
        self, instruments: Instruments, held: Rows, ends: Ends, collateral: Integers, orders: Integers
    ) -> tuple[Rows, Codes]:
        """PORTFOLIO of each account; its open orders add ``orders``. Row n of the arrays is instrument n."""
        results, codes = np.zeros(len(ends), PORTFOLIO), np.zeros(len(ends), np.int32)
        arrays = _data(held, HOLDING), ends, collateral, orders
        loaded().hawse_risk_portfolio(
            c_void_p(instruments.at),
            byref(self.it),
            *(c_void_p(array.ctypes.data) for array in arrays),
            c_uint64(len(ends)),
            c_int64(self.basis_ppm),
            c_int64(self.maintenance_ppm),
            c_void_p(results.ctypes.data),
            c_void_p(codes.ctypes.data),
        )
        return results, codes
