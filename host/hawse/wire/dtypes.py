"""numpy structured types of the wire, derived from :mod:`hawse.wire.schema`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import schema
from .schema import Struct

#: An array of one of the structured types below.
Array = NDArray[np.void]


def dtype(struct: Struct) -> np.dtype[np.void]:
    """The little-endian structured type of ``struct``; gaps are padding."""
    return np.dtype(
        {
            "names": [f.name for f in struct.fields],
            "formats": [f"<{'i' if f.signed else 'u'}{f.bytes}" for f in struct.fields],
            "offsets": [f.offset for f in struct.fields],
            "itemsize": struct.size,
        }
    )


COMMAND = dtype(schema.COMMAND)
ORDER = dtype(schema.ORDER)
REPORT = dtype(schema.REPORT)
EVENT = dtype(schema.EVENT)
FENCE = dtype(schema.FENCE)
BATCH = dtype(schema.BATCH)
RESTING = dtype(schema.RESTING)
HELLO = dtype(schema.HELLO)
BUILD = dtype(schema.BUILD)
BOARD = dtype(schema.BOARD)
#: A beat whose kind is not known yet.
BEAT = np.dtype([("bytes", "u1", (schema.BEAT_BYTES,))])


def flags(side: int = 0, time_in_force: int = 0, self_trade: int = 0, sequence_class: int = 0) -> int:
    """The flags byte of a command."""
    return side | time_in_force << 1 | self_trade << 3 | sequence_class << 5


def kinds(beats: Array) -> NDArray[np.uint8]:
    """Kind of each report of an array with a ``kind`` field (bits 0-3 of the first byte)."""
    return np.asarray(beats["kind"] & 0x0F, dtype=np.uint8)


def records(reports: Array) -> bytes:
    """The committed bytes of reports or events, one after another, without sideband: 24 bytes each."""
    raw = np.ascontiguousarray(reports).view(np.uint8).reshape(-1, reports.dtype.itemsize)
    return bytes(raw[:, : schema.RECORD_BYTES].tobytes())


def make(kind: np.dtype[np.void], **values: Any) -> Array:
    """One element of ``kind`` as an array of length 1; fields not named are zero."""
    out = np.zeros(1, kind)
    for name, value in values.items():
        out[name] = value
    return out
