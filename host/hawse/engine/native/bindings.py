"""The native library as Python classes that take and give numpy arrays."""

import ctypes
from ctypes import POINTER, byref, c_int, c_int64, c_size_t, c_uint32, c_void_p
from functools import cache
from typing import Any

import numpy as np
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT
from numpy.typing import NDArray

from hawse.engine.backend import Batch, EngineError, Fence
from hawse.wire import Geometry
from hawse.wire.dtypes import BATCH, BEAT, COMMAND, EVENT, FENCE, ORDER, RESTING, Array

from . import build

#: A resting order of the driver's mirror: RESTING and the user's order id.
MIRROR = np.dtype([("resting", RESTING), ("order_id", "<u8")])

_INSTRUMENT = np.dtype(
    [("first", "<u4"), ("count", "<u4"), ("base", "<i4"), ("state", "<u4"), ("no_band", "<u4")]
)
_INVALID = -1
_SIZES = (c_uint32,) * 4
_POINTER = POINTER(c_void_p)


@cache
def _library() -> ctypes.CDLL:
    native = ctypes.CDLL(str(build.native_library()))
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "hawse_error": (ctypes.c_char_p, ()),
        "hawse_soft_new": (c_void_p, (*_SIZES, c_int, c_int)),
        "hawse_soft_free": (None, (c_void_p,)),
        "hawse_soft_reset": (None, (c_void_p, c_uint32)),
        "hawse_soft_hashing": (None, (c_void_p, c_int)),
        "hawse_soft_time": (c_int64, (c_void_p, c_void_p, c_size_t)),
        "hawse_soft_exchange": (c_int64, (c_void_p, c_void_p, c_size_t, _POINTER)),
        "hawse_driver_new": (c_void_p, _SIZES),
        "hawse_driver_free": (None, (c_void_p,)),
        "hawse_driver_reset": (None, (c_void_p,)),
        "hawse_driver_recentring": (None, (c_void_p, c_int)),
        "hawse_driver_prepare": (
            c_int64,
            (c_void_p, c_void_p, c_size_t, _POINTER, _POINTER, POINTER(c_size_t)),
        ),
        "hawse_driver_absorb": (
            c_int64,
            (c_void_p, c_void_p, c_size_t, _POINTER, _POINTER, POINTER(c_size_t)),
        ),
        "hawse_driver_done": (c_int, (c_void_p,) * 5),
        "hawse_driver_time": (c_int64, (c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)),
        "hawse_fused_new": (c_void_p, (*_SIZES, c_int)),
        "hawse_fused_free": (None, (c_void_p,)),
        "hawse_fused_reset": (None, (c_void_p, c_uint32)),
        "hawse_fused_run": (
            c_int64,
            (
                c_void_p,
                c_void_p,
                c_size_t,
                *(_POINTER, _POINTER, POINTER(c_size_t), _POINTER, POINTER(c_size_t)),
            ),
        ),
        "hawse_fused_done": (c_int, (c_void_p,) * 5),
        "hawse_driver_resting": (c_int64, (c_void_p, c_void_p, c_size_t)),
        "hawse_recover": (None, (c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)),
        "hawse_keccak256": (c_int, (c_void_p, c_size_t, c_size_t, c_void_p)),
        "hawse_driver_instrument": (c_int, (c_void_p, c_uint32, c_void_p)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(native, name)
        function.restype, function.argtypes = result, arguments
    return native


def _sizes(geometry: Geometry) -> tuple[int, int, int, int]:
    return geometry.instruments, geometry.pool, geometry.orders, geometry.tag_bits


def _checked(result: int) -> int:
    if result < 0:
        what = _library().hawse_error().decode()
        raise ValueError(what) if result == _INVALID else EngineError(what)
    return result


def _copy(pointer: "c_void_p", count: int, dtype: "np.dtype[Any]") -> NDArray[Any]:
    out = np.empty(count, dtype)
    if count:
        ctypes.memmove(out.ctypes.data, pointer, count * dtype.itemsize)
    return out


def keccak256_rows(messages: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keccak-256 of each row: shape (n, bytes of a message) in, (n, 32) out.

    Rows are hashed side by side where the processor has wide registers.
    """
    messages = np.ascontiguousarray(messages)
    count, size = messages.shape
    hashes = np.empty((count, 32), np.uint8)
    _checked(_library().hawse_keccak256(messages.ctypes.data, size, count, hashes.ctypes.data))
    return hashes


def keccak256_each(messages: bytes, size: int) -> list[bytes]:
    """Keccak-256 of each ``size`` bytes of ``messages``."""
    if not messages:
        return []
    hashes = keccak256_rows(np.frombuffer(messages, np.uint8).reshape(-1, size)).tobytes()
    return [hashes[at : at + 32] for at in range(0, len(hashes), 32)]


@cache
def _secp256k1() -> NDArray[np.uintp]:
    """``hawse_secp256k1`` of the library that coincurve brings."""
    functions = ("ecdsa_recoverable_signature_parse_compact", "ecdsa_recover", "ec_pubkey_serialize")
    found = [GLOBAL_CONTEXT.ctx, *(ffi.addressof(lib, f"secp256k1_{name}") for name in functions)]
    return np.array([int(ffi.cast("uintptr_t", pointer)) for pointer in found], np.uintp)


def recover_each(signatures: bytes, digests: bytes) -> list[bytes | None]:
    """Address that each signature (65 bytes, r ‖ s ‖ parity) of each digest (32 bytes) is of, None for none.

    Runs without the interpreter's lock.
    """
    count = len(digests) // 32
    addresses, good = np.empty((count, 20), np.uint8), np.empty(count, np.bool_)
    _library().hawse_recover(
        _secp256k1().ctypes.data, signatures, digests, count, addresses.ctypes.data, good.ctypes.data
    )
    raw = addresses.tobytes()
    return [raw[20 * n : 20 * n + 20] if known else None for n, known in enumerate(good.tolist())]


def _refusals(pointer: "c_void_p", count: int) -> list[tuple[int, int]]:
    """Pairs of (index of the order, reason)."""
    pairs = _copy(pointer, 2 * count, np.dtype("<u4")).reshape(-1, 2)
    return [(int(i), int(reason)) for i, reason in pairs]


def _done(ask: Any, it: int) -> tuple[Fence, Batch | None] | None:
    """What ended a burst."""
    fence, batch = np.zeros(1, FENCE), np.zeros(1, BATCH)
    digest, root = np.zeros(32, np.uint8), np.zeros(32, np.uint8)
    ended = ask(it, *(a.ctypes.data for a in (fence, digest, batch, root)))
    if not ended:
        return None
    f, b = fence[0], batch[0]
    return (
        Fence(int(f["token"]), int(f["commands"]), int(f["records"]), int(f["epoch"]), digest.tobytes()),
        Batch(int(b["token"]), int(b["leaves"]), int(b["records"]), int(b["epoch"]), root.tobytes())
        if ended == 2
        else None,
    )


class _Object:
    """A C object that lives until :meth:`close`, or as long as this one."""

    def __init__(self, kind: str, geometry: Geometry, *more: int) -> None:
        self._native = _library()
        self._free = getattr(self._native, f"hawse_{kind}_free")
        self._it: int | None = getattr(self._native, f"hawse_{kind}_new")(*_sizes(geometry), *more)
        if self._it is None:
            raise EngineError(f"{geometry}: {self._native.hawse_error().decode()}")

    def close(self) -> None:
        """Free it; harmless when repeated."""
        it, self._it = getattr(self, "_it", None), None
        if it is not None:
            self._free(it)

    def __del__(self) -> None:
        self.close()

    def _alive(self) -> int:
        if self._it is None:
            raise EngineError("the engine is closed")
        return self._it


class Soft(_Object):
    """The software matching engine; with ``no_band`` or ``gate`` it has that feature."""

    def __init__(self, geometry: Geometry, no_band: bool = False, gate: bool = False) -> None:
        super().__init__("soft", geometry, no_band, gate)

    def reset(self, epoch: int) -> None:
        """As after power-up, with this epoch."""
        self._native.hawse_soft_reset(self._alive(), epoch)

    def set_hashing(self, on: bool) -> None:
        """Whether reports are hashed from the next reset on; at first they are."""
        self._native.hawse_soft_hashing(self._alive(), on)

    def time(self, commands: Array) -> int:
        """Nanoseconds of thread time to carry out ``commands``, a contiguous array of COMMAND."""
        return _checked(self._native.hawse_soft_time(self._alive(), commands.ctypes.data, len(commands)))

    def exchange(self, commands: Array) -> Array:
        """Beats that answer ``commands``, a contiguous array of COMMAND."""
        beats = c_void_p()
        count = self._native.hawse_soft_exchange(
            self._alive(), commands.ctypes.data, len(commands), byref(beats)
        )
        return _copy(beats, _checked(count), BEAT)


class Driver(_Object):
    """The driver core: order ids to handles, reports to events, and the mirror of the resting orders.

    One burst at a time: :meth:`prepare`, then :meth:`absorb` until :meth:`done` has an answer. When one of
    them raises EngineError, the driver is of no use until :meth:`reset`.
    """

    def __init__(self, geometry: Geometry) -> None:
        super().__init__("driver", geometry)

    def reset(self) -> None:
        """Forget everything; to be called when the engine is reset."""
        self._native.hawse_driver_reset(self._alive())

    def set_recentring(self, on: bool) -> None:
        """Whether a burst may begin by moving the band to an order outside it; at first it may."""
        self._native.hawse_driver_recentring(self._alive(), on)

    def prepare(self, orders: Array) -> tuple[Array, list[tuple[int, int]]]:
        """Commands for a burst of ORDER rows, and (index, reason) of those that are refused.

        Raises:
            ValueError: not exactly one FENCE or CLOSE, at the end, or a HELLO among the orders.
            EngineError: the last burst is not answered yet.
        """
        if orders.dtype != ORDER or orders.ndim != 1:
            raise ValueError(f"orders: an array of {orders.dtype} and shape {orders.shape}, not of ORDER")
        orders = np.ascontiguousarray(orders)
        commands, refused, refusals = c_void_p(), c_void_p(), c_size_t()
        count = self._native.hawse_driver_prepare(
            self._alive(), orders.ctypes.data, len(orders), byref(commands), byref(refused), byref(refusals)
        )
        _checked(count)
        return _copy(commands, count, COMMAND), _refusals(refused, refusals.value)

    def absorb(self, beats: Array) -> tuple[Array, Array]:
        """Events, and RESTING reports of a DUMP, of the next beats that answer the burst.

        Raises:
            EngineError: the beats do not answer the commands.
        """
        beats = np.ascontiguousarray(beats)
        events, dumped, dumps = c_void_p(), c_void_p(), c_size_t()
        count = self._native.hawse_driver_absorb(
            self._alive(), beats.ctypes.data, len(beats), byref(events), byref(dumped), byref(dumps)
        )
        return _copy(events, _checked(count), EVENT), _copy(dumped, dumps.value, RESTING)

    def done(self) -> tuple[Fence, Batch | None] | None:
        """What ended the last burst, once it is absorbed."""
        return _done(self._native.hawse_driver_done, self._alive())

    def time(self, orders: Array, beats: Array) -> int:
        """Nanoseconds of thread time for a burst whose answer is at hand.

        Args:
            orders: contiguous array of ORDER, as :meth:`prepare` takes it.
            beats: contiguous array of BEAT, all that answers them.

        Raises:
            ValueError: no burst.
            EngineError: the beats do not answer the orders.
        """
        at = orders.ctypes.data, len(orders), beats.ctypes.data, len(beats)
        return _checked(self._native.hawse_driver_time(self._alive(), *at))

    def resting(self) -> Array:
        """Resting orders as MIRROR rows: by instrument, bids before asks, best price first, then time."""
        count = _checked(self._native.hawse_driver_resting(self._alive(), None, 0))
        out = np.empty(count, MIRROR)
        self._native.hawse_driver_resting(self._alive(), out.ctypes.data, count)
        return out

    def instrument(self, instrument: int) -> tuple[int, int, int, int, bool]:
        """First level and levels of an instrument's window, base of its band, state, whether it has none.

        Raises:
            EngineError: there is no such instrument.
        """
        out = np.zeros(1, _INSTRUMENT)
        _checked(self._native.hawse_driver_instrument(self._alive(), instrument, out.ctypes.data))
        first, count, base, state, no_band = out[0].tolist()
        return first, count, base, state, bool(no_band)


def burst_calls(driver: Driver, soft: Soft) -> NDArray[np.uintp]:
    """``hawse_state_engine``: who carries a burst out, and by which functions."""
    names = ("driver_prepare", "soft_exchange", "driver_absorb", "driver_done")
    calls = [ctypes.cast(getattr(_library(), f"hawse_{name}"), c_void_p).value for name in names]
    return np.array([driver._alive(), soft._alive(), *calls], np.uintp)


def last_error() -> str:
    """What the library said last to this thread."""
    said: bytes = _library().hawse_error()
    return said.decode()


class Fused(_Object):
    """Driver and software engine in one, without commands and beats between; it moves no band.

    What it says of a burst is what a :class:`Driver` in front of a :class:`Soft` says.
    """

    def __init__(self, geometry: Geometry, no_band: bool = False) -> None:
        super().__init__("fused", geometry, no_band)

    def reset(self, epoch: int) -> None:
        """As after power-up, with this epoch."""
        self._native.hawse_fused_reset(self._alive(), epoch)

    def run(self, orders: Array) -> tuple[Array, Array, list[tuple[int, int]], Fence, Batch | None]:
        """Events, RESTING reports of DUMPs, refusals, and what ended the burst (array of ORDER).

        Raises:
            ValueError: not exactly one FENCE or CLOSE, at the end, or a HELLO among the orders.
        """
        orders = np.ascontiguousarray(orders)
        events, dumped, refused = c_void_p(), c_void_p(), c_void_p()
        dumps, refusals = c_size_t(), c_size_t()
        told = byref(events), byref(dumped), byref(dumps), byref(refused), byref(refusals)
        count = self._native.hawse_fused_run(self._alive(), orders.ctypes.data, len(orders), *told)
        out = _copy(events, _checked(count), EVENT), _copy(dumped, dumps.value, RESTING)
        ended = _done(self._native.hawse_fused_done, self._alive())
        assert ended is not None, "a burst that was run has ended"
        return *out, _refusals(refused, refusals.value), *ended
