"""The Verilated hash core, to count its clock cycles."""

import ctypes
from types import TracebackType
from typing import Self

import numpy as np
from hawse.engine.backend import EngineError
from hawse_hdl.hashing import Keccak256
from numpy.typing import NDArray

from .rtl import load
from .verilate import build_library

_U64, _HANDLE = ctypes.c_uint64, ctypes.c_void_p
#: Cycles without a word taken or a digest given: more than any permutation.
_PATIENCE = 1000
_LAST = 16


class KeccakModel:
    """One :class:`~hawse_hdl.hashing.Keccak256` in this process, fed without a pause.

    Raises:
        ToolError: the model did not build.
    """

    def __init__(self) -> None:
        path = build_library(Keccak256, "keccak256", parameters="")
        self._library = load(
            path,
            {
                "hawse_keccak256_new": (_HANDLE, []),
                "hawse_keccak256_free": (None, [_HANDLE]),
                "hawse_keccak256_run": (_U64, [_HANDLE, _HANDLE, _HANDLE, _U64, _HANDLE, _U64, _U64]),
            },
        )
        self._model = self._library.hawse_keccak256_new()

    def hash(self, messages: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
        """Digests of the rows, (n, bytes) to (n, 32), and cycles from the first word to the last digest.

        Raises:
            EngineError: the core gave no digest.
        """
        count, size = messages.shape
        words = size // 8 + 1  # a message of whole words ends in one without bytes
        padded = np.zeros((count, 8 * words), np.uint8)
        padded[:, :size] = messages
        ends = np.full((count, words), 8, np.uint8)
        ends[:, -1] = size % 8 | _LAST
        digests = np.empty((count, 32), np.uint8)
        cycles = self._library.hawse_keccak256_run(
            self._model,
            padded.ctypes.data,
            ends.ctypes.data,
            count * words,
            digests.ctypes.data,
            count,
            _PATIENCE,
        )
        if not cycles and count:
            raise EngineError(f"the hash core gave no digest for {_PATIENCE} cycles")
        return digests, int(cycles)

    def close(self) -> None:
        """Free the model; harmless when repeated."""
        if self._model is not None:
            self._library.hawse_keccak256_free(self._model)
            self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
