"""The gateware as an engine in this process: the Verilated Core."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hawse.engine.backend import EngineError, check_commands
from hawse.wire import BEAT_BYTES, Geometry
from hawse.wire.dtypes import BEAT, Array
from hawse_hdl.core import Core
from hawse_hdl.hashing import CORES

from .verilate import announce_build, build_library

#: Cycle that never comes.
FOREVER = 2**64 - 1


class RtlStalled(EngineError):
    """The gateware neither took a command nor gave a beat for too long."""


class _Counters(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "cycles",
            "busy_cycles",
            "held_cycles",
            "full_cycles",
            "commands",
            "record_level",
            "beat_level",
            "fence_cycles",
            "log_cycles",
            "origin",
        )
    ] + [("timed", ctypes.c_uint8)]


def load(path: Path, functions: dict[str, tuple[Any, list[Any]]]) -> Any:
    """The library at ``path`` with its functions' result and argument types set."""
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def trace_file(trace: Path | None, begin: int, end: int) -> bytes | None:
    """Name of a waveform for C, of a file that can be written.

    Raises:
        ValueError: there is no cycle from ``begin`` up to, not including, ``end``.
        OSError: it cannot be written.
    """
    if not 0 <= begin < end <= FOREVER:
        raise ValueError(f"trace_from, trace_to: {begin} to {end} holds no cycle")
    if trace is None:
        return None
    trace.write_bytes(b"")  # Verilator says nothing of a file that it cannot open
    return os.fsencode(trace)


def check_scramble(seed: int | None) -> None:
    """Refuse what is no seed of a model's first contents.

    Raises:
        ValueError: it is none.
    """
    if seed is not None and not 0 < seed < 1 << 31:
        raise ValueError(f"scramble: {seed} is not within 1..{(1 << 31) - 1}")


_U64, _HANDLE = ctypes.c_uint64, ctypes.c_void_p
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "hawse_core_scramble": (None, [ctypes.c_uint32]),
    "hawse_core_new": (_HANDLE, [ctypes.c_char_p, _U64, _U64, _U64, _U64, _U64]),
    "hawse_core_free": (None, [_HANDLE]),
    "hawse_core_reset": (None, [_HANDLE, ctypes.c_uint32]),
    "hawse_core_exchange": (
        ctypes.c_int64,
        [_HANDLE, ctypes.c_void_p, _U64, ctypes.POINTER(ctypes.c_void_p)],
    ),
    "hawse_core_interrupt": (None, [_HANDLE, ctypes.c_void_p, _U64, _U64]),
    "hawse_core_reset_input": (None, [_HANDLE, ctypes.c_uint32, _U64]),
    "hawse_core_idle": (None, [_HANDLE, _U64]),
    "hawse_core_counters": (None, [_HANDLE, ctypes.POINTER(_Counters)]),
}


class RtlBackend:
    """Engine backend of the Verilated ``Core``: the gateware without link, as fast as it simulates.

    Commands of a burst are offered back to back and beats are taken at once, so that the counters tell
    what the gateware needs. The first use of a geometry and a number of hash cores builds the model, which
    takes a minute or so.

    Args:
        geometry: of the gateware.
        hash_cores: of its report log.
        gate: with a gate before the book.
        stall: probability, in every cycle, that a command is not offered, and that a beat is not taken.
        seed: of the stalls.
        patience: cycles without a command taken or a beat given after which the engine counts as stuck;
            more than the book needs to clear its memories after a reset.
        scramble: begin with registers and memories that hold anything, pseudo-random by this seed from 1 to
            2**31 - 1; None: as a part is configured. It needs a model of its own.
        trace: FST file to write; the cycles ``trace_from`` up to, not including, ``trace_to``.
        announce: told once, before a build.

    Raises:
        ValueError: a stall outside [0, 1), no hash core, or an empty span of cycles.
        OSError: the waveform cannot be written.
        ToolError: the model did not build.
    """

    name = "rtl"

    def __init__(
        self,
        geometry: Geometry | None = None,
        *,
        hash_cores: int = CORES,
        gate: bool = False,
        stall: float = 0.0,
        seed: int = 0,
        patience: int = 2_000_000,
        scramble: int | None = None,
        trace: Path | None = None,
        trace_from: int = 0,
        trace_to: int = FOREVER,
        announce: Callable[[str], None] = announce_build,
    ) -> None:
        self.geometry = geometry or Geometry()
        if not 0 <= stall < 1:
            raise ValueError(f"stall: {stall} is not within [0, 1)")
        if hash_cores < 1:
            raise ValueError(f"hash_cores: {hash_cores} is below 1")
        check_scramble(scramble)
        file = trace_file(trace, trace_from, trace_to)
        cores = "" if hash_cores == CORES else f", {hash_cores} hash cores"
        gated = ", gate" if gate else ""
        path = build_library(
            lambda: Core(self.geometry, hash_cores=hash_cores, gate=gate),
            "core",
            parameters=repr(self.geometry) + cores + gated,
            trace=trace is not None,
            begins_open=scramble is not None,
            quick=scramble is not None,
            announce=announce,
        )
        self._library = load(path, _FUNCTIONS)
        self._library.hawse_core_scramble(scramble or 0)
        odds = int(stall * 2**32)
        self._patience = patience
        self._core = self._library.hawse_core_new(file, trace_from, trace_to, odds, seed, patience)
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Reset the gateware; its counters of cycles go on."""
        self._library.hawse_core_reset(self._alive(), epoch)

    def reset_by_input(self, epoch: int, cycles: int = 16) -> None:
        """Reset it by the input that the link has, held for so many cycles."""
        self._library.hawse_core_reset_input(self._alive(), epoch, cycles)

    def interrupt(self, commands: Array, cycles: int) -> None:
        """Offer commands for so many cycles, and leave the gateware in the middle of them.

        Only a reset is of use afterwards.
        """
        commands = np.ascontiguousarray(commands)
        self._library.hawse_core_interrupt(self._alive(), commands.ctypes.data, len(commands), cycles)

    def exchange(self, commands: Array) -> Array:
        """Clock until every beat through the answer to the last command has come.

        Raises:
            ValueError: wrong type of array, or a last command that has no certain answer.
            RtlStalled: nothing moved for ``patience`` cycles.
        """
        commands = check_commands(commands)
        at = ctypes.c_void_p()
        count = self._library.hawse_core_exchange(
            self._alive(), commands.ctypes.data, len(commands), ctypes.byref(at)
        )
        if count < 0:
            raise RtlStalled(f"neither a command taken nor a beat given for {self._patience} cycles")
        raw = ctypes.string_at(at, count * BEAT_BYTES)
        return np.frombuffer(raw, np.uint8).reshape(-1, BEAT_BYTES).view(BEAT).reshape(-1)

    def idle(self, cycles: int) -> None:
        """Clock without offering commands or taking beats."""
        self._library.hawse_core_idle(self._alive(), cycles)

    @property
    def cycles(self) -> int:
        """Clock cycles since this backend was made."""
        return int(self._counters().cycles)

    @property
    def busy_cycles(self) -> int:
        """Those in which the book was busy."""
        return int(self._counters().busy_cycles)

    @property
    def held_cycles(self) -> int:
        """Cycles of the exchanges in which the log did not take a report that the book offered.

        Without stalls of ours that is hashing: a queue of records is full, or a fence waits for its digest.
        """
        return int(self._counters().held_cycles)

    @property
    def full_cycles(self) -> int:
        """Those of :attr:`held_cycles` in which the queue of a hash core was full."""
        return int(self._counters().full_cycles)

    @property
    def record_level(self) -> int:
        """Most records that ever waited for one hash core."""
        return int(self._counters().record_level)

    @property
    def beat_level(self) -> int:
        """Most beats that ever waited for the digest of a fence before them."""
        return int(self._counters().beat_level)

    @property
    def fence_cycles(self) -> int:
        """Longest time from a FENCE or CLOSE that was taken to its first beat."""
        return int(self._counters().fence_cycles)

    @property
    def log_cycles(self) -> int:
        """Longest time from the cycle in which the book offers a record to that in which it has left."""
        return int(self._counters().log_cycles)

    def cycle_of(self, count: int) -> int:
        """Clock cycle, as :attr:`cycles` counts them, of the ``accepted`` or ``left`` of a report.

        Args:
            count: of a report since the last reset and within the last 2**32 cycles; the book counts from
                its reset, modulo 2**32.

        Raises:
            EngineError: no report has come since the last reset.
        """
        counters = self._counters()
        if not counters.timed:
            raise EngineError("rtl: no report has come since the last reset")
        return int(counters.cycles - (counters.cycles - counters.origin - count) % 2**32)

    @property
    def commands(self) -> int:
        """Commands carried out since this backend was made."""
        return int(self._counters().commands)

    @property
    def cycles_per_command(self) -> float:
        """Busy cycles a command; 0 before the first."""
        counters = self._counters()
        return counters.busy_cycles / counters.commands if counters.commands else 0.0

    def board_epoch(self) -> int:
        """0: it begins and ends with this process."""
        return 0

    def close(self) -> None:
        """Finish the waveform and free the model."""
        if self._core:
            self._library.hawse_core_free(self._core)
            self._core = None

    def __enter__(self) -> "RtlBackend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _alive(self) -> int:
        if not self._core:
            raise EngineError("rtl: used after close")
        return int(self._core)

    def _counters(self) -> _Counters:
        out = _Counters()
        self._library.hawse_core_counters(self._alive(), ctypes.byref(out))
        return out
