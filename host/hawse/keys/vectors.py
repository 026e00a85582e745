"""Test vectors of signed messages, for signers in any language.

``python -m hawse.keys.vectors > host/hawse/keys/vectors.json`` remakes them. Nothing here is shared with
what it tests: types are written down once more, rows packed by hand, hashed by another library
(pycryptodome) and signed by schoolbook arithmetic on secp256k1 with the nonces of RFC 6979.
"""

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

from Crypto.Hash import keccak

PATH = Path(__file__).with_name("vectors.json")

_CHAIN_ID = 31337
_CONTRACT = bytes(range(1, 21))
#: The private key that signs all of them.
KEY = 0x4C0883A69102937D6231471B5DBB6204FE512961708279F2E3B3A5C9F1D2A6B7
_AGENT = bytes(range(0xA0, 0xB4))
_COMMON = "uint32 account,uint64 generation,uint64 nonce,uint64 expiry"
_COMMON_VALUES = (7, 5 << 24, 1_777_000_000_123, 1_777_000_030_000)

_P = 2**256 - 2**32 - 977
_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_Point = tuple[int, int] | None


def _keccak(data: bytes) -> bytes:
    return bytes(keccak.new(digest_bits=256, data=data).digest())


def _add(a: _Point, b: _Point) -> _Point:
    if a is None or b is None:
        return a or b
    (x1, y1), (x2, y2) = a, b
    if x1 == x2 and (y1 + y2) % _P == 0:
        return None
    slope = 3 * x1 * x1 * pow(2 * y1, -1, _P) if a == b else (y2 - y1) * pow(x2 - x1, -1, _P)
    x = (slope * slope - x1 - x2) % _P
    return x, (slope * (x1 - x) - y1) % _P


def _multiply(k: int, point: _Point) -> tuple[int, int]:
    out: _Point = None
    while k:
        if k & 1:
            out = _add(out, point)
        point, k = _add(point, point), k >> 1
    assert out is not None
    return out


def _nonce(key: int, digest: bytes) -> int:
    """RFC 6979, section 3.2, with SHA-256; the first candidate, which fails once in 2**127."""
    material = key.to_bytes(32, "big") + (int.from_bytes(digest, "big") % _N).to_bytes(32, "big")
    k, v = bytes(32), b"\1" * 32
    for separator in (b"\0", b"\1"):
        k = hmac.digest(k, v + separator + material, hashlib.sha256)
        v = hmac.digest(k, v, hashlib.sha256)
    return int.from_bytes(hmac.digest(k, v, hashlib.sha256), "big")


def _sign(key: int, digest: bytes) -> bytes:
    """r, then s, low, with the parity of R's y as its highest bit (EIP-2098)."""
    k = _nonce(key, digest)
    x, y = _multiply(k, _G)
    r, parity = x % _N, y & 1
    s = pow(k, -1, _N) * (int.from_bytes(digest, "big") + r * key) % _N
    if s > _N // 2:
        s, parity = _N - s, parity ^ 1
    return r.to_bytes(32, "big") + (s | parity << 255).to_bytes(32, "big")


def _address(key: int) -> bytes:
    x, y = _multiply(key, _G)
    return _keccak(x.to_bytes(32, "big") + y.to_bytes(32, "big"))[12:]


def _separator() -> bytes:
    type_ = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    words = [_keccak(type_), _keccak(b"Hawse"), _keccak(b"2")]
    return _keccak(b"".join([*words, _CHAIN_ID.to_bytes(32, "big"), bytes(12) + _CONTRACT]))


def _word(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return bytes(32 - len(value)) + value
    return (value % 2**256).to_bytes(32, "big")


def _signed(type_: str, values: tuple[int | bytes, ...]) -> dict[str, Any]:
    """A struct with everything that comes of it."""
    struct_hash = _keccak(_keccak(type_.encode()) + b"".join(_word(value) for value in values))
    digest = _keccak(b"\x19\x01" + _separator() + struct_hash)
    names = [member.split()[1] for member in type_.partition("(")[2].rstrip(")").split(",")]
    shown = ["0x" + v.hex() if isinstance(v, bytes) else v for v in values]
    return {
        "type": type_,
        "message": dict(zip(names, shown, strict=True)),
        "struct_hash": struct_hash.hex(),
        "digest": digest.hex(),
        "signature": _sign(KEY, digest).hex(),
    }


def _head(kind: int, bytes_: tuple[int, int, int] = (0, 0, 0), **fields: int) -> bytes:
    """The first 64 bytes of a message."""
    account, generation, nonce, expiry = _COMMON_VALUES
    side, time_in_force, mode = bytes_
    get = fields.get
    return struct.pack(
        "<BBBBHHIiIIQQQQQ",
        kind,
        side,
        time_in_force,
        mode,
        get("instrument", 0),
        0,
        account,
        get("price", 0),
        get("quantity", 0),
        0,
        get("client_id", 0),
        generation,
        nonce,
        expiry,
        get("amount", 0),
    )


_LEGS = ((3, 1, 78_000), (4, -2, -5), (0xFFFF, 0, 0), (0xFFFF, 0, 0))
_LEG_TYPES = ",".join(f"uint16 instrument{n},int16 ratio{n},int32 price{n}" for n in (1, 2, 3, 4))
_LEG_JSON = [dict(zip(("instrument", "ratio", "price"), leg, strict=True)) for leg in _LEGS[:2]]
_REGISTER = (9, 2, 3, 1, 1, -77_000, 77_500, 250, 40, 60_000, -90_000, 80_000, 1_777_100_000_000)
_REGISTER_NAMES = (
    "client_id strategy instrument side trigger trigger_price limit_price offset_ppm quantity every"
    " low high until"
)
_REGISTER_JSON = dict(zip(_REGISTER_NAMES.split(), _REGISTER, strict=True)) | {"side": "sell"}
_AGENT_AT_8 = bytes(8) + _AGENT
#: Name, members behind the common ones and their values, head, body, and the JSON line's own fields.
_CASES: list[tuple[str, str, tuple[int | bytes, ...], bytes, bytes, dict[str, Any]]] = [
    (
        "order",
        "uint64 clientId,uint16 instrument,uint8 side,uint8 timeInForce,uint8 selfTrade,bool reduceOnly,"
        "int32 price,uint32 quantity",
        (2**64 - 1, 3, 1, 3, 2, 1, -78_000, 2**32 - 1),
        _head(1, (1, 3, 6), instrument=3, price=-78_000, quantity=2**32 - 1, client_id=2**64 - 1),
        b"",
        {
            "client_id": 2**64 - 1,
            "instrument": 3,
            "side": "sell",
            "time_in_force": "post_only",
            "self_trade": "cancel_both",
            "reduce_only": True,
            "price": -78_000,
            "quantity": 2**32 - 1,
        },
    ),
    ("cancel", "uint64 clientId", (9,), _head(2, client_id=9), b"", {"client_id": 9}),
    (
        "cancel_all",
        "uint16 instrument,uint64 nonceFloor",
        (0xFFFF, 1_777_000_000_100),
        _head(3, instrument=0xFFFF, amount=1_777_000_000_100),
        b"",
        {"instrument": 0xFFFF, "nonce_floor": 1_777_000_000_100},
    ),
    (
        "replace",
        "uint64 clientId,int32 price,uint32 quantity",
        (9, -(2**31), 12),
        _head(4, client_id=9, price=-(2**31), quantity=12),
        b"",
        {"client_id": 9, "price": -(2**31), "quantity": 12},
    ),
    (
        "reduce",
        "uint64 clientId,uint32 quantity",
        (9, 5),
        _head(5, client_id=9, quantity=5),
        b"",
        {"client_id": 9, "quantity": 5},
    ),
    (
        "multi_leg",
        f"uint64 clientId,uint32 quantity,int64 netLimit,{_LEG_TYPES}",
        (9, 2, -1_500_000, *(value for leg in _LEGS for value in leg)),
        _head(6, client_id=9, quantity=2),
        struct.pack("<8xq", -1_500_000) + b"".join(struct.pack("<Hhi", *leg) for leg in _LEGS),
        {"client_id": 9, "quantity": 2, "net_limit": -1_500_000, "legs": _LEG_JSON},
    ),
    (
        "transfer",
        "uint16 toSubaccount,uint64 amount",
        (2, 25_000_000),
        _head(7, instrument=2, amount=25_000_000),
        b"",
        {"to_subaccount": 2, "amount": 25_000_000},
    ),
    ("withdraw", "uint64 amount", (10**9,), _head(8, amount=10**9), b"", {"amount": 10**9}),
    (
        "appoint",
        "address agent,uint64 agentExpiry,uint64 maxLife",
        (_AGENT, 1_780_000_000_000, 3_600_000),
        _head(9),
        _AGENT_AT_8 + struct.pack("<4xQQ", 1_780_000_000_000, 3_600_000),
        {"agent": "0x" + _AGENT.hex(), "agent_expiry": 1_780_000_000_000, "max_life": 3_600_000},
    ),
    ("revoke", "address agent", (_AGENT,), _head(10), _AGENT_AT_8, {"agent": "0x" + _AGENT.hex()}),
    (
        "register",
        "uint64 clientId,uint8 strategy,uint16 instrument,uint8 side,uint8 trigger,int32 triggerPrice,"
        "int32 limitPrice,uint32 offsetPpm,uint32 quantity,uint32 every,int64 low,"
        "int64 high,uint64 until",
        _REGISTER,
        _head(11, (1, 0, 0), client_id=9, instrument=3, quantity=40),
        struct.pack("<xBBxiiII4xqqQ", 2, 1, -77_000, 77_500, 250, 60_000, -90_000, 80_000, _REGISTER[-1]),
        _REGISTER_JSON,
    ),
    ("unregister", "uint64 clientId", (9,), _head(12, client_id=9), b"", {"client_id": 9}),
    ("cancel_all_after", "uint64 delay", (5000,), _head(13, amount=5000), b"", {"delay": 5000}),
    ("margin_mode", "uint8 mode", (1,), _head(14, (0, 0, 1)), b"", {"mode": "portfolio"}),
]


def _messages() -> list[dict[str, Any]]:
    out = []
    for name, members, values, head, body, fields in _CASES:
        type_ = f"{name.title().replace('_', '')}({_COMMON},{members})"
        one = _signed(type_, (*_COMMON_VALUES, *values))
        rows = head + bytes.fromhex(one["signature"]) + (body.ljust(128, b"\0") if body else b"")
        common = dict(zip(("account", "generation", "nonce", "expiry"), _COMMON_VALUES, strict=True))
        line = {"kind": name, **common, **fields, "signature": "0x" + one["signature"]}
        out.append({"kind": name, **one, "rows": rows.hex(), "line": line})
    return out


def _structs() -> list[dict[str, Any]]:
    nodes = (150_000, 0, 2**32 - 1)
    nodes_hash = _keccak(b"\xa4" + b"".join(node.to_bytes(4, "big") for node in nodes))
    body = (3).to_bytes(2, "big") + (-78_000).to_bytes(8, "big", signed=True)
    body_hash = _keccak(b"\xa3" + bytes([8]) + body)
    root, accumulator, digest = (bytes([n]) * 32 for n in (1, 2, 3))
    receipts = (
        "Receipts(uint64 slot,uint64 firstSeq,uint32 count,bytes32 root,uint64 depositIndex,"
        "bytes32 depositAccumulator,uint64 finalBatch,bytes32 finalDigest)"
    )
    return [
        _signed(
            "Redirect(uint8 what,uint64 id,address owner,address to,uint64 deadline)",
            (1, 77, _address(KEY), _AGENT, 1_800_000_000),
        ),
        _signed(
            "Observation(uint16 feed,int64 value,uint64 time,uint64 number)",
            (2, 78_123, 1_777_000_000_000, 41),
        ),
        _signed(
            "Surface(uint16 underlying,uint32 grid,uint64 time,uint64 number,bytes32 nodes)",
            (1, 6, 1_777_000_000_000, 42, nodes_hash),
        )
        | {"nodes": list(nodes)},
        _signed(receipts, (12, 3400, 25, root, 8, accumulator, 3, digest)),
        _signed("Operation(uint64 slot,uint8 kind,bytes32 body)", (12, 8, body_hash)) | {"body": body.hex()},
        _signed(
            "Session(uint32 account,uint64 generation,uint64 time,uint64 expiry,bytes32 gateway)",
            (7, 5 << 24, 1_777_000_000_123, 1_777_000_900_000, digest),
        ),
    ]


def vectors() -> dict[str, Any]:
    """Everything in the file."""
    return {
        "domain": {
            "name": "Hawse",
            "version": "2",
            "chainId": _CHAIN_ID,
            "verifyingContract": "0x" + _CONTRACT.hex(),
            "separator": _separator().hex(),
        },
        "private_key": KEY.to_bytes(32, "big").hex(),
        "address": _address(KEY).hex(),
        "messages": _messages(),
        "structs": _structs(),
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
