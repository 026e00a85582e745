"""What is hashed of a journal and of its messages around the transition function, many at a time."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.keys.eip712 import TYPE_HASHES, canonical_at
from hawse.keys.members import MEMBERS
from hawse.keys.messages import split
from hawse.wire.dtypes import Array

from .bindings import library

#: ``hawse_state_record``, ``hawse_state_kind`` and ``hawse_state_member``.
_RECORD = np.dtype([("offset", "<u8"), ("length", "<u4"), ("type", "<u4"), ("link", "V32")])
_KIND = np.dtype([("first", "<u4"), ("count", "<u4"), ("type_hash", "u1", (32,))])
_MEMBER = np.dtype(
    [
        ("offset", "<u2"),
        *((name, "u1") for name in ("size", "body", "shift", "mask", "is_signed", "zero")),
    ]
)


def good_records(data: bytes, chain: bytes, most: int = 256) -> list[tuple[int, int, int]]:
    """Offset, length and type of the journal records at the front of ``data`` that are what was written.

    Each has a head that fits its CRC and a link that fits its payload and the chain, which stands at
    ``chain`` before the first; the first that has not, or is cut off, ends the list.
    """
    out = np.empty(most, _RECORD)
    scratch = np.empty(len(data) + 256 * most, np.uint8)
    at = out.ctypes.data, most, scratch.ctypes.data
    count = library().hawse_state_links(data, len(data), chain, *at)
    found: list[tuple[int, int, int]] = out[["offset", "length", "type"]][:count].tolist()
    return found


@cache
def _members() -> tuple[NDArray[Any], NDArray[Any]]:
    """``hawse_state_kind`` of every kind and ``hawse_state_member`` of every member."""
    kinds = np.zeros(256, _KIND)
    members: list[tuple[int, ...]] = []
    for kind, signed in MEMBERS.items():
        kinds[kind] = len(members), len(signed), np.frombuffer(TYPE_HASHES[kind], np.uint8)
        members += [member.place(kind) for member in signed]
    return kinds, np.array(members, _MEMBER)


def struct_hashes(rows: Array) -> NDArray[np.uint8]:
    """:func:`hawse.keys.eip712.struct_hashes`, as an array of shape (m, 32)."""
    rows = np.ascontiguousarray(rows)
    at = split(rows)
    good = canonical_at(rows, at)
    out = np.zeros((len(good), 32), np.uint8)
    places = at.starts[good].astype(np.uint32)
    found = out if len(places) == len(out) else np.empty((len(places), 32), np.uint8)
    tables = (array.ctypes.data for array in (*_members(), rows, places))
    library().hawse_state_structs(*tables, len(places), found.ctypes.data)
    if found is not out:
        out[good] = found
    return out
