"""Test vectors of the wire, for engines and log readers in any language.

``python -m hawse.wire.vectors > host/hawse/wire/vectors.json`` remakes them. Nothing here is shared with the
engines: records are written down as the rules say, packed by hand, hashed by another library (pycryptodome)
through RFC 6962's recursive definition.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from Crypto.Hash import keccak

PATH = Path(__file__).with_name("vectors.json")

_NEW, _CANCEL, _REPLACE, _REDUCE, _MASS, _STATE, _FENCE, _CLOSE, _LOAD, _DUMP = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
_RECENTRE, _LIMIT = 12, 13
_ACK, _TRADE, _CANCELLED, _REPLACED, _REJECTED = 0, 1, 2, 3, 4
_SELL, _IOC, _FOK, _POST, _OLDEST, _BOTH = 1, 1 << 1, 2 << 1, 3 << 1, 1 << 3, 2 << 3
_BY_SELLER, _MAKER_DONE = 0x10, 0x20
_CLASS = 1 << 5  # the first
_NULL, _EVERY = 0xFFFFFFFF, 0xFFFF
_OPEN, _CANCEL_ONLY, _LOADING = 1, 2, 3

#: instruments, pool, orders, tag bits of the session below.
GEOMETRY = (2, 2048, 64, 8)


def _bytes(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little", signed=value < 0)


def _command(
    seq: int,
    opcode: int,
    *,
    flags: int = 0,
    instrument: int = 0,
    handle: int = 0,
    tag: int = 0,
    price: int = 0,
    quantity: int = 0,
    token: int = 0,
) -> str:
    words = ((handle, 4), (tag, 4), (price, 4), (quantity, 4), (token, 4), (seq, 8))
    head = _bytes(opcode, 1) + _bytes(flags, 1) + _bytes(instrument, 2)
    return (head + b"".join(_bytes(*word) for word in words)).hex()


def _record(
    seq: int,
    kind: int,
    handle: int,
    price: int,
    quantity: int,
    *,
    reason: int = 0,
    maker: int = 0,
    instrument: int = 0,
) -> str:
    words = ((handle, 4), (maker, 4), (price, 4), (quantity, 4), (seq, 4))
    head = _bytes(kind, 1) + _bytes(reason, 1) + _bytes(instrument, 2)
    return (head + b"".join(_bytes(*word) for word in words)).hex()


#: A command, and the records that answer it; FENCE, CLOSE and DUMP: none.
_Steps = list[tuple[str, list[str]]]
#: The last base of a band of 64 prices.
_TOP = 2**31 - 64


def _windows() -> _Steps:
    """Instrument 0 gets the upper half of the pool and prices from -1000 on, instrument 1 the last prices."""
    return [
        (
            _command(1, _NEW, handle=0, price=-500, quantity=1),  # closed as yet
            [_record(1, _REJECTED, 0, -500, 0, reason=5)],
        ),
        (
            _command(2, _STATE, handle=0, token=96, price=-1000, quantity=_LOADING),  # no power of two
            [_record(2, _REJECTED, 0, -1000, 0, reason=6)],
        ),
        (
            _command(3, _STATE, handle=512, token=1024, price=-1000, quantity=_LOADING),  # not aligned
            [_record(3, _REJECTED, 512, -1000, 0, reason=6)],
        ),
        (
            _command(4, _STATE, handle=2048, token=1024, price=-1000, quantity=_LOADING),  # beyond the pool
            [_record(4, _REJECTED, 2048, -1000, 0, reason=6)],
        ),
        (
            _command(
                5, _STATE, handle=64, token=64, price=_TOP + 1, quantity=_LOADING
            ),  # its band has no end
            [_record(5, _REJECTED, 64, _TOP + 1, 0, reason=6)],
        ),
        (
            _command(6, _STATE, handle=1024, token=1024, price=-1000, quantity=_LOADING),
            [_record(6, _ACK, 1024, -1000, 3, maker=1024)],
        ),
        (
            _command(7, _STATE, instrument=1, handle=1984, token=64, quantity=_LOADING),  # the other's
            [_record(7, _REJECTED, 1984, 0, 0, reason=6, instrument=1)],
        ),
        (
            _command(8, _STATE, instrument=1, handle=64, token=64, price=_TOP, quantity=_LOADING),
            [_record(8, _ACK, 64, _TOP, 3, maker=64, instrument=1)],
        ),
    ]


def _trading() -> _Steps:
    """What rests, trades and is cancelled under instrument 0's first batch of orders."""
    return [
        (_command(9, _LOAD, flags=_SELL, handle=9, tag=7, price=-500, quantity=4), []),
        (
            _command(10, _LOAD, flags=_SELL, handle=9, tag=7, price=-500, quantity=4),
            [_record(10, _REJECTED | _BY_SELLER, 9, -500, 0, reason=8)],
        ),
        (
            _command(11, _STATE, handle=5, token=6, price=7, quantity=_OPEN),  # reads no window
            [_record(11, _ACK, 1024, -1000, 1, maker=1024)],
        ),
        (
            _command(12, _NEW, flags=_SELL, handle=1, tag=8, price=-500, quantity=5),
            [_record(12, _ACK | _BY_SELLER, 1, -500, 5)],
        ),
        (
            _command(13, _NEW, flags=_SELL, handle=2, tag=7, price=-499, quantity=6),
            [_record(13, _ACK | _BY_SELLER, 2, -499, 6)],
        ),
        (
            _command(14, _NEW, flags=_POST, handle=3, tag=7, price=-500, quantity=1),
            [_record(14, _ACK, 3, -500, 1), _record(14, _CANCELLED, 3, -500, 1, reason=51)],
        ),
        (
            _command(15, _NEW, flags=_FOK, handle=3, tag=7, price=-499, quantity=1),  # first comes its own
            [_record(15, _ACK, 3, -499, 1), _record(15, _CANCELLED, 3, -499, 1, reason=50)],
        ),
        (
            _command(16, _NEW, flags=_IOC | _OLDEST, handle=3, tag=8, price=-500, quantity=7),
            [
                _record(16, _ACK, 3, -500, 7),
                _record(16, _TRADE | _MAKER_DONE, 3, -500, 4, maker=9),
                _record(16, _CANCELLED | _BY_SELLER, 1, -500, 5, reason=52),
                _record(16, _CANCELLED, 3, -500, 3, reason=49),
            ],
        ),
        (
            _command(17, _NEW, flags=_CLASS, handle=4, tag=9, price=-499, quantity=2),
            [_record(17, _ACK, 4, -499, 2), _record(17, _TRADE, 4, -499, 2, maker=2)],
        ),
        (_command(18, _REDUCE, handle=2, quantity=3), [_record(18, _REPLACED | _BY_SELLER, 2, -499, 3)]),
    ]


def _rejections() -> _Steps:
    """Every way to be rejected that is left, and a REPLACE among them that meets its own tag's order."""
    return [
        (
            _command(19, _REDUCE, handle=2, quantity=3),
            [_record(19, _REJECTED, 2, 0, 0, reason=11)],
        ),
        (
            _command(20, _NEW, handle=5, tag=7, price=-510, quantity=10),
            [_record(20, _ACK, 5, -510, 10)],
        ),
        (
            _command(21, _REPLACE, handle=2, tag=8, price=24),  # an order of tag 7
            [_record(21, _REJECTED, 2, 24, 0, reason=10)],
        ),
        (
            _command(22, _REPLACE, handle=2, tag=7, price=-510, quantity=1),  # its own tag's bid: newest goes
            [
                _record(22, _REPLACED | _BY_SELLER, 2, -510, 1),
                _record(22, _CANCELLED | _BY_SELLER, 2, -510, 1, reason=52),
            ],
        ),
        (
            _command(23, _REPLACE, handle=5, tag=7, price=24, quantity=10),  # the band ends at 23
            [_record(23, _REJECTED, 5, 24, 0, reason=12)],
        ),
        (_command(24, _CANCEL, handle=_NULL), [_record(24, _REJECTED, _NULL, 0, 0, reason=9)]),
        (_command(25, _CANCEL, handle=64), [_record(25, _REJECTED, 64, 0, 0, reason=7)]),
        (
            _command(26, _CANCEL, instrument=2, handle=5),
            [_record(26, _REJECTED, 5, 0, 0, reason=4, instrument=2)],
        ),
        (
            _command(27, _NEW, flags=3 << 3 | 7 * _CLASS, handle=6, tag=256, price=-510, quantity=1),
            [_record(27, _REJECTED, 6, -510, 0, reason=1)],
        ),
        (
            _command(28, _NEW, flags=5 * _CLASS, handle=6, tag=256, price=-510, quantity=1),
            [_record(28, _REJECTED, 6, -510, 0, reason=2)],
        ),
        (
            _command(29, _NEW, flags=4 * _CLASS, handle=6, tag=256, price=-510, quantity=1),
            [_record(29, _REJECTED, 6, -510, 0, reason=3)],
        ),
        (_command(30, _FENCE, token=0xABCD), []),
    ]


def _behind_the_fence() -> _Steps:
    """Self-trades at the band's ends, a cancel and a mass cancel, and the end of the batch."""
    return [
        (
            _command(31, _NEW, flags=_SELL | _BOTH, handle=0, tag=7, price=-511, quantity=3),
            [
                _record(31, _ACK | _BY_SELLER, 0, -511, 3),
                _record(31, _CANCELLED, 5, -510, 10, reason=52),
                _record(31, _CANCELLED | _BY_SELLER, 0, -511, 3, reason=52),
            ],
        ),
        (
            _command(32, _NEW, flags=4 * _CLASS, handle=6, tag=1, price=23, quantity=0xFFFFFFFF),
            [_record(32, _ACK, 6, 23, 0xFFFFFFFF)],
        ),
        (
            _command(33, _NEW, flags=_SELL, handle=0, tag=1, price=24 - 1024, quantity=2),
            [
                _record(33, _ACK | _BY_SELLER, 0, -1000, 2),
                _record(33, _CANCELLED | _BY_SELLER, 0, -1000, 2, reason=52),
            ],
        ),
        (_command(34, _NEW, handle=0, tag=255, price=0, quantity=1), [_record(34, _ACK, 0, 0, 1)]),
        (_command(35, _NEW, handle=7, tag=2, price=-1, quantity=2), [_record(35, _ACK, 7, -1, 2)]),
        (_command(36, _CANCEL, handle=7, tag=3), [_record(36, _CANCELLED, 7, -1, 2, reason=48)]),
        (
            _command((1 << 32) + 37, _MASS, instrument=_EVERY),
            [
                _record(37, _CANCELLED, 0, 0, 1, reason=53),
                _record(37, _CANCELLED, 6, 23, 0xFFFFFFFF, reason=53),
                _record(37, _ACK, 0, 0, 2, instrument=_EVERY),
            ],
        ),
        (_command(38, _RECENTRE), [_record(38, _REJECTED, 0, 0, 0, reason=1)]),
        (_command(39, _LIMIT), [_record(39, _REJECTED, 0, 0, 0, reason=1)]),
        (
            _command(40, _STATE, instrument=1, quantity=_CANCEL_ONLY),
            [_record(40, _ACK, 64, _TOP, 2, maker=64, instrument=1)],
        ),
        (_command(41, _DUMP), []),
        (_command(42, _CLOSE, token=3), []),
    ]


def _session() -> list[dict[str, Any]]:
    steps = [*_windows(), *_trading(), *_rejections(), *_behind_the_fence()]
    return [{"command": command, "records": records} for command, records in steps]


def _keccak(data: bytes) -> bytes:
    return bytes(keccak.new(digest_bits=256, data=data).digest())


def _root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return _keccak(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return _keccak(b"\x01" + _root(leaves[:split]) + _root(leaves[split:]))


def _peaks(leaves: Sequence[bytes]) -> list[bytes]:
    if not leaves:
        return []
    size = 1 << len(leaves).bit_length() - 1
    return [_root(leaves[:size]), *_peaks(leaves[size:])]


def log(fences: Sequence[int], records: bytes, epoch: int) -> dict[str, Any]:
    """Digest at each of ``fences`` (ascending counts of records, the last is all), and root at the end."""
    leaves: list[bytes] = []
    digests, at = [], 0
    for fence in fences:
        while at < fence:
            end = min(at + 64, fence)
            leaves.append(_keccak(b"\x00" + records[24 * at : 24 * end]))
            at = end
        counts = epoch.to_bytes(4, "little") + at.to_bytes(8, "little")
        digests.append(_keccak(b"\x02" + counts + b"".join(_peaks(leaves))).hex())
    return {
        "epoch": epoch,
        "fences": list(fences),
        "digests": digests,
        "leaves": len(leaves),
        "root": _root(leaves).hex(),
    }


def counting(records: int) -> bytes:
    """The records that the logs are made of: byte *i* of all of them together is *i* modulo 251."""
    return bytes(i % 251 for i in range(24 * records))


def vectors() -> dict[str, Any]:
    """Everything in the file."""
    session = _session()
    records = [record for step in session for record in step["records"]]
    fence = sum(len(step["records"]) for step in session[:30])
    logs = [[0], [1], [64], [65], [63, 64, 129], [0, 7, 7, 200], [64 * n for n in range(1, 12)], [1000]]
    return {
        "geometry": dict(zip(("instruments", "pool", "orders", "tag_bits"), GEOMETRY, strict=True)),
        "session": session,
        "session_log": log([fence, len(records)], bytes.fromhex("".join(records)), 5),
        "logs": [log(fences, counting(fences[-1]), 0x01020304 + i) for i, fences in enumerate(logs)],
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
