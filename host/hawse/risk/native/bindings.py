"""The native risk functions over numpy arrays: rows of arguments in, rows of results and codes out.

They do what the golden functions of the same name do; where the golden one raises, the row's code says why
and its result is 0.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_char_p, c_int32, c_int64, c_uint64, c_void_p
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.engine.native.build import BuildError
from hawse.risk.errors import Code
from hawse.risk.fixed import TABLES_HASH, Rounding
from hawse.risk.surface import Arbitrage, Kind, Listing

from . import build

Rows = NDArray[np.void]
Integers = NDArray[np.int64]
Codes = NDArray[np.int32]

_NAMES = ("call", "put", "call_delta", "put_delta", "gamma", "vega", "theta", "vanna", "volga")


def _row(*names: str) -> "np.dtype[Any]":
    return np.dtype([(name, "<i8") for name in names])


OPERANDS = _row("operation", "rounding", "a", "b")
REQUEST = _row("forward", "strike", "time", "volatility", "discount")
PRICES = _row("call", "put")
OPTION = _row(*_NAMES, "call_rho", "put_rho")
QUOTE = _row("right", "forward", "strike", "time", "price", "discount")
POINT = _row("moneyness", "time")
VALUES = _row("variance", "volatility")


class Operation(IntEnum):
    """A function of :mod:`hawse.risk.fixed`, or one of :mod:`hawse.risk.options` that takes numbers alone."""

    MUL = 0
    DIV = 1
    SQRT = 2
    EXP = 3
    LOG = 4
    DENSITY = 5
    DISTRIBUTION = 6
    INVERSE = 7
    YEARS = 8
    MONEYNESS = 9
    OF_FORWARD = 10


class _Surface(Structure):
    _fields_ = (
        ("times", c_void_p),
        ("moneyness", c_void_p),
        ("volatilities", c_void_p),
        ("rows", c_uint64),
        ("columns", c_uint64),
    )


class _Listing(Structure):
    _fields_ = (("time", c_int64), ("forward", c_int64), ("strikes", c_void_p), ("count", c_uint64))


class _Arbitrage(Structure):
    _fields_ = tuple((name, c_int64) for name in ("kind", "listing", "strike", "value", "bound"))


@cache
def loaded(*flags: str) -> ctypes.CDLL:
    """The library, with signatures; its tables are those of the golden form; ``flags`` are the compiler's.

    Raises:
        BuildError: it cannot be built, or has other tables.
    """
    native = ctypes.CDLL(str(build.risk_library(*flags)))
    rows = (c_void_p, c_uint64, c_void_p, c_void_p)
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "tables_hash": (c_char_p, ()),
        "fixed": (None, rows),
        "prices": (None, rows),
        "evaluate": (None, rows),
        "implied_volatility": (None, rows),
        "surface_check": (c_int32, (POINTER(_Surface),)),
        "surface_at": (None, (POINTER(_Surface), *rows)),
        "arbitrage": (c_int32, (POINTER(_Surface), c_void_p, c_uint64, POINTER(_Arbitrage))),
        "distance": (c_int32, (POINTER(_Surface), POINTER(_Surface), POINTER(c_int64))),
        "ruling": (c_int32, (c_void_p, c_uint64, POINTER(c_int64))),
        "instrument_size": (c_uint64, ()),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(native, f"hawse_risk_{name}")
        function.restype, function.argtypes = result, arguments
    found = native.hawse_risk_tables_hash().decode()
    if found != TABLES_HASH:
        raise BuildError(f"tables of the library: hash {found}, not {TABLES_HASH}")
    return native


def _each(name: str, rows: Rows, kind: "np.dtype[Any]", result: "np.dtype[Any]") -> tuple[Any, Codes]:
    if rows.dtype != kind or rows.ndim != 1:
        raise ValueError(f"rows: an array of {rows.dtype} and shape {rows.shape}, not of {kind}")
    rows = np.ascontiguousarray(rows)
    results, codes = np.zeros(len(rows), result), np.zeros(len(rows), np.int32)
    function = getattr(loaded(), f"hawse_risk_{name}")
    function(rows.ctypes.data, len(rows), results.ctypes.data, codes.ctypes.data)
    return results, codes


def fixed(
    operation: Operation, a: Integers, b: Integers | int = 0, rounding: Rounding = Rounding.NEAREST
) -> tuple[Integers, Codes]:
    """``operation`` on each of ``a`` (and of ``b``, where it takes two)."""
    rows = np.zeros(len(a), OPERANDS)
    rows["operation"], rows["rounding"], rows["a"], rows["b"] = operation, rounding, a, b
    return _each("fixed", rows, OPERANDS, np.dtype("<i8"))


def prices(requests: Rows) -> tuple[Rows, Codes]:
    """PRICES of each REQUEST."""
    return _each("prices", requests, REQUEST, PRICES)


def evaluate(requests: Rows) -> tuple[Rows, Codes]:
    """OPTION of each REQUEST."""
    return _each("evaluate", requests, REQUEST, OPTION)


def implied_volatility(quotes: Rows) -> tuple[Integers, Codes]:
    """Volatility of each QUOTE."""
    return _each("implied_volatility", quotes, QUOTE, np.dtype("<i8"))


class NativeSurface:
    """Nodes as the native functions take them; nothing is checked, but by :meth:`check`."""

    def __init__(
        self, times: Sequence[int], moneyness: Sequence[int], volatilities: Sequence[Sequence[int]]
    ) -> None:
        self._arrays = [np.array(v, np.int64) for v in (times, moneyness, volatilities)]
        self.it = _Surface(*(a.ctypes.data for a in self._arrays), len(times), len(moneyness))

    def check(self) -> Code:
        """OK where the golden ``Surface`` takes the nodes; the others demand it."""
        return Code(loaded().hawse_risk_surface_check(byref(self.it)))

    def at(self, points: Rows) -> tuple[Rows, Codes]:
        """VALUES at each POINT, and a code for each of the two: shapes (n,) and (n, 2)."""
        points = np.ascontiguousarray(points, POINT)
        results, codes = np.zeros(len(points), VALUES), np.zeros((len(points), 2), np.int32)
        loaded().hawse_risk_surface_at(
            byref(self.it), points.ctypes.data, len(points), results.ctypes.data, codes.ctypes.data
        )
        return results, codes

    def arbitrage(self, listings: Sequence[Listing]) -> tuple[Arbitrage | None, Code]:
        """The first arbitrage, if any."""
        strikes = [np.array(listing.strikes, np.int64) for listing in listings]
        pairs = zip(listings, strikes, strict=True)
        each = [_Listing(listing.time, listing.forward, s.ctypes.data, len(s)) for listing, s in pairs]
        rows = (_Listing * len(each))(*each)
        found = _Arbitrage()
        code = Code(loaded().hawse_risk_arbitrage(byref(self.it), rows, len(rows), byref(found)))
        if not found.kind:
            return None, code
        return Arbitrage(Kind(found.kind), found.listing, found.strike, found.value, found.bound), code

    def distance(self, other: "NativeSurface") -> tuple[int, Code]:
        """Sum of the absolute differences of volatility."""
        result = c_int64()
        code = loaded().hawse_risk_distance(byref(self.it), byref(other.it), byref(result))
        return result.value, Code(code)


def ruling(surfaces: Sequence[NativeSurface]) -> tuple[int, Code]:
    """Index of the surface with the least sum of distances."""
    result, rows = c_int64(), (_Surface * len(surfaces))(*(surface.it for surface in surfaces))
    code = loaded().hawse_risk_ruling(rows, len(rows), byref(result))
    return result.value, Code(code)
