"""Test vectors of the journal's records and their chain, for readers in any language.

``python -m hawse.journal.vectors > host/hawse/journal/vectors.json`` remakes them. Nothing here is
shared with what it tests: records are packed by hand and hashed by another library (pycryptodome).
"""

import json
import struct
from pathlib import Path
from typing import Any

from Crypto.Hash import keccak

PATH = Path(__file__).with_name("vectors.json")

_A, _B = b"\xaa" * 20, b"\xbb" * 20
_SIGNATURE = bytes(range(64))
_ONE, _TWO, _THREE = (bytes([n]) * 32 for n in (1, 2, 3))
_TIME = 1_777_000_000_000
_CONFIG = b"the venue's configuration"


def _u(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=value < 0)


def _input() -> bytes:
    order = struct.pack("<B7xI28xQ", 1, 3, _TIME).ljust(128, b"\0")
    revoke = struct.pack("<B7xI", 10, 3).ljust(256, b"\0")
    parts = [
        _u(2, 1),
        _u(9, 8) + _u(_TIME + 250, 8) + _u(1, 1) + _u(2, 8),  # slot, time, cut by time, closes batch 2
        _u(1234, 8) + b"\x11" * 32,
        _u(1, 2) + _u(1, 1) + _u(2, 2) + _u(78_000, 8) + _u(_TIME, 8) + _u(41, 8) + _SIGNATURE,
        _u(1, 2) + _u(2, 1) + _u(2, 2) + _u(40, 8) + _u(131, 1),  # stale
        _u(1, 1) + _u(1, 1) + _u(5, 2) + _u(6, 4) + _u(_TIME, 8) + _u(7, 8),
        _u(2, 1) + _u(150_000, 4) + _u(160_000, 4) + _SIGNATURE,
        _u(1, 1) + _u(8, 1) + _u(10, 2) + _u(3, 2) + _u(-5, 8) + _SIGNATURE,  # an interim mark
        _u(2, 2) + _u(4, 8) + _A + _u(10**9, 8) + _u(5, 8) + _B + _u(1, 8),
        _u(1, 2) + _u(1, 8) + _u(3, 1) + _A + _u(3, 4) + _u(4 << 24, 8) + _u(0, 8) + _B,
        _u(1_800_000_000_000, 8) + _u(1_777_000_000, 8),
        _u(2, 2) + revoke,
        _u(1, 2) + order,
    ]
    return b"".join(parts)


def _outcome() -> bytes:
    parts = [
        _u(2, 1),
        _u(9, 8) + _u(7, 4) + _u(640, 8) + _THREE,
        _u(100, 8) + _u(5, 4),
        _u(2, 4),
        _u(100, 8) + _u(88, 1) + _u(2, 1) + _u(-7, 16) + _u(1 << 100, 16),
        _u(104, 8) + _u(70, 1) + _u(0, 1) + _u(5, 16) + _u(5, 16),
        _u(1, 4) + _u(162, 1) + _u(3, 4) + _u(0xFFFF, 2) + _u(4, 16) + _u(-1, 16),
        _ONE,
    ]
    return b"".join(parts)


def _receipts() -> bytes:
    named = _u(9, 8) + _u(100, 8) + _u(5, 4) + _ONE + _u(5, 8) + _TWO + _u(1, 8) + _THREE
    times = b"".join(_u(_TIME * 10**6 + n, 8) for n in range(5))
    return _u(2, 1) + named + _SIGNATURE + _u(_TIME * 10**6 + 9, 8) + times + _u(1, 1) + bytes(range(40))


def _segment() -> bytes:
    place = _u(2, 4) + _u(10, 8) + _ONE + _THREE + _u(67_108_900, 8) + _TWO
    return _u(2, 1) + place + _u(_TIME + 250, 8) + _u(105, 8) + _u(7, 4) + _u(10, 8) + _u(0, 2)


def _keccak(data: bytes) -> str:
    return str(keccak.new(digest_bits=256, data=data).hexdigest())


def vectors() -> dict[str, Any]:
    """Everything in the file. ``chain`` has the records that it covers and its value behind each."""
    header = b"HAWSEJNL" + _u(2, 4) + _u(len(_CONFIG), 4) + _CONFIG
    records = {
        "input": (1, _input()),
        "outcome": (2, _outcome()),
        "epoch": (4, _u(7, 4)),
        "receipts": (5, _receipts()),
        "segment": (6, _segment()),
        "board": (7, _u(2, 1) + _u(9, 8) + _u(3, 4) + bytes(range(32))),
    }
    chain, values = _keccak(b"\x91" + header), []
    configuration = chain
    for name in ("input", "board", "outcome"):
        type_, payload = records[name]
        chain = _keccak(b"\x90" + bytes.fromhex(chain) + bytes([type_]) + payload)
        values.append([name, chain])
    return {
        "config": _CONFIG.hex(),
        "file_header": header.hex(),
        "configuration": configuration,
        **{name: payload.hex() for name, (_, payload) in records.items()},
        "chain": values,
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
