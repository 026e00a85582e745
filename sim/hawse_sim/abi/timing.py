"""Time libraries of the C interface, in this thread."""

import ctypes
from ctypes import POINTER, byref, c_int64, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
from hawse.engine.native import build
from hawse.wire.dtypes import Array
from numpy.typing import NDArray

_HERE = Path(__file__).parent
_CALLS = ("init", "shutdown", "flush", "on_new_order", "on_cancel", "on_modify", "on_batch")


@cache
def _timing() -> ctypes.CDLL:
    library = ctypes.CDLL(str(build.compile_library("abi-timing", [_HERE / "timing.cpp"], includes=(_HERE,))))
    library.timing_run.restype = library.timing_each.restype = c_int64
    library.timing_run.argtypes = [c_void_p, c_void_p, c_uint64, c_uint32, POINTER(c_uint64)]
    library.timing_each.argtypes = [c_void_p, c_void_p, c_uint64, c_void_p]
    library.timing_open.restype = c_int64
    library.timing_open.argtypes = [c_void_p, c_void_p, c_uint64, c_void_p, c_void_p]
    return library


class Library:
    """A library of the C interface, to be timed with messages of ``hawse_sim.flow.benchmark``."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        calls = (getattr(self._library, f"engine_{name}") for name in _CALLS)
        self._table = (c_void_p * len(_CALLS))(*(ctypes.cast(call, c_void_p) for call in calls))

    def time(self, messages: Array, batch: int = 0) -> tuple[int, int]:
        """Nanoseconds of thread time for all ``messages`` and a flush, and the number of reports.

        Args:
            messages: contiguous array of MESSAGE.
            batch: how many come in one call; 0: in calls of their own.

        Raises:
            RuntimeError: the library would not begin.
        """
        reports = c_uint64()
        took = _timing().timing_run(self._table, messages.ctypes.data, len(messages), batch, byref(reports))
        if took < 0:
            raise RuntimeError("engine_init failed")
        return int(took), reports.value

    def time_each(self, messages: Array) -> tuple[NDArray[np.uint32], int]:
        """Nanoseconds that each message takes, in calls of their own, and how many are left out.

        Left out are those in which the system took the processor away. The clock is read once in each.

        Raises:
            RuntimeError: the library would not begin.
        """
        each = np.ones(len(messages), np.uint32)  # in memory that has been touched: no fault of the engine's
        stalls = _timing().timing_each(self._table, messages.ctypes.data, len(messages), each.ctypes.data)
        if stalls < 0:
            raise RuntimeError("engine_init failed")
        return each[each > 0], int(stalls)

    def time_open(self, messages: Array, due: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Nanoseconds from when each message was due until its call came back, and of all together.

        Messages come at their time, in calls of their own, whatever became of those before: what waits counts
        from then. Nothing is left out; the clock is read once in each.

        Args:
            messages: contiguous array of MESSAGE.
            due: nanoseconds from the start, ascending; of each.

        Raises:
            RuntimeError: the library would not begin.
        """
        due, late = np.ascontiguousarray(due), np.ones(len(messages), np.int64)
        took = _timing().timing_open(
            self._table, messages.ctypes.data, len(messages), due.ctypes.data, late.ctypes.data
        )
        if took < 0:
            raise RuntimeError("engine_init failed")
        return late, int(took)
