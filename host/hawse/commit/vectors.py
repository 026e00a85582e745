"""Test vectors of the commitments, for whoever makes or checks them in another language.

``python -m hawse.commit.vectors > host/hawse/commit/vectors.json`` remakes them. Nothing here is shared with
the codecs: layouts are written down again, packed by hand, and hashed by another library (pycryptodome).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from Crypto.Hash import keccak

PATH = Path(__file__).with_name("vectors.json")

#: A number: name, bytes, least, most.
Number = tuple[str, int, int, int]


def _u(name: str, size: int, most: int = -1) -> Number:
    return name, size, 0, most if most >= 0 else (1 << 8 * size) - 1


def _i(name: str, size: int) -> Number:
    return name, size, -1 << 8 * size - 1, (1 << 8 * size - 1) - 1


def _t(name: str) -> Number:
    return _u(name, 8, (1 << 48) - 1)


#: Bytes: name and how many. A list: name, most items, whether always as many, members or one number.
Raw = tuple[str, int]
Many = tuple[str, int, bool, Any]

_POSITION = [_u("instrument", 2), _i("lots", 8), _i("entry", 16), _i("funding", 16)]
_SIGNER = [
    ("address", 20),
    _t("expiry"),
    _u("appointed", 8),
    _u("max_life", 4),
    _u("floor", 6),
    ("nonces", 64, False, _u("nonce", 6)),
]
_SOURCE = [_u("publisher", 1), _i("value", 8), _t("time"), _u("number", 8), ("surface", 32)]

#: Bytes in front, and what follows.
LAYOUTS: dict[str, tuple[bytes, list[Any]]] = {
    "AccountLeaf": (
        b"\x10\x02",
        [
            _u("index", 4),
            ("owner", 20),
            _u("subaccount", 2),
            _u("generation", 8),
            _u("asset", 2, 0),
            _i("collateral", 8),
            _u("mode", 1, 1),
            _u("only", 2),
            _u("flags", 4),
            ("positions", 32, False, _POSITION),
        ],
    ),
    "ControlLeaf": (
        b"\x12\x02",
        [
            _u("index", 4),
            _u("transfers", 4, (1 << 24) - 1),
            _t("timer"),
            _u("step", 4),
            ("signers", 5, False, _SIGNER),
        ],
    ),
    "ExitLeaf": (
        b"\x20\x02",
        [_u("index", 4), ("owner", 20), _u("generation", 8), _u("asset", 2, 0), _i("equity", 16)],
    ),
    "ExitMark": (
        b"\x22\x02",
        [
            _u("instrument", 2),
            _i("long", 8),
            _i("short", 8),
            _i("funding", 16),
            _u("numerator", 4),
            ("denominator", 4, 1, (1 << 32) - 1),
            _u("kind", 1),
        ],
    ),
    "Withdrawal": (b"\x30\x02", [_u("id", 8), ("owner", 20), _u("asset", 2, 0), _u("amount", 16)]),
    "OrderLeaf": (
        b"\x50\x02",
        [
            _u("instrument", 2),
            _u("side", 1, 1),
            _i("price", 4),
            _u("queue", 8),
            _u("handle", 4),
            _u("account", 4),
            _u("client_id", 8),
            _u("lots", 4),
            _u("flags", 1, 0x86),
        ],
    ),
    "InstrumentLeaf": (
        b"\x62\x02",
        [
            _u("number", 2),
            _u("kind", 1),
            _u("underlying", 2),
            _u("template", 2),
            _u("state", 1, 3),
            _t("expiry"),
            _i("strike", 8),
            _u("first", 4),
            _u("count", 4),
            _i("base", 4),
            _i("mark", 8),
            _t("mark_time"),
            _i("last_trade", 8),
            _i("basis", 16),
            _t("trade_time"),
            _t("impact_time"),
            _i("impact", 8),
            _i("impact_total", 16),
            _t("impact_elapsed"),
            _t("premium_time"),
            _i("premium", 8),
            _t("premium_until"),
            _i("premium_total", 16),
            _t("premium_elapsed"),
            _t("funding_begun"),
            _i("funding_index", 8),
            _i("funding", 16),
            _i("settlement", 16),
            _t("settlement_time"),
            _u("settlement_elapsed", 8),
            _t("settlement_heard"),
            _i("settlement_value", 8),
            _i("settlement_last", 8),
            ("buckets", 8, True, [_i("sum", 16), _u("weight", 4)]),
            _u("open_interest", 8),
            ("dust", 255, False, _u("dust", 16)),
        ],
    ),
    "UnderlyingLeaf": (
        b"\x63\x02",
        [
            _u("number", 2),
            _i("index", 8),
            _t("time"),
            _u("quorum", 1),
            _u("variance", 16),
            _t("grid_time"),
            _u("fraction", 4),
            _t("fraction_time"),
            ("surface", 32),
            _t("surface_time"),
            ("sources", 16, False, _SOURCE),
        ],
    ),
    "TagLeaf": (
        b"\x64\x02",
        [
            ("tag", 2, 1, 0xFFFF),
            ("owner", 20),
            _u("order_size", 8),
            _u("open_orders", 8),
            _u("open_buy", 8),
            _u("open_sell", 8),
            _u("commands", 8),
            _u("killed", 1, 1),
            _u("credit", 8),
            _u("orders", 4),
            _u("buy", 8),
            _u("sell", 8),
            _u("sent", 4),
        ],
    ),
    "StrategyLeaf": (
        b"\x65\x02",
        [
            _u("place", 4),
            _u("account", 4),
            _u("generation", 8),
            _u("client_id", 8),
            _u("strategy", 1),
            _u("instrument", 2),
            _u("side", 1, 1),
            _u("trigger", 1),
            _i("trigger_price", 4),
            _i("limit_price", 4),
            _u("offset", 4),
            _u("quantity", 4),
            _u("every", 4),
            _i("low", 8),
            _i("high", 8),
            _t("until"),
            _u("queue", 8),
            _t("next"),
            _u("done", 8),
            _i("best", 8),
            _u("fired", 1, 1),
        ],
    ),
    "WaitingWithdrawal": (
        b"\x66\x02\x00",
        [_u("id", 8), ("owner", 20), _u("asset", 2, 0), _u("amount", 16), _t("since")],
    ),
    "WaitingLegs": (b"\x66\x02\x01", [_u("seq", 8), ("struct_hash", 32)]),
    "QuarantinedIndex": (b"\x66\x02\x02", [_u("index", 4), _u("until_batch", 8)]),
    "RuleSetLeaf": (b"\x67\x02", [_u("number", 4), _u("from_slot", 8), ("rules", 32)]),
    "VenueLeaf": (
        b"\x60\x02",
        [
            ("rules", 32),
            _u("next_slot", 8),
            _t("time"),
            _u("last_seq", 8),
            _u("batch", 8),
            _u("next_withdrawal", 8),
            _u("deposit_index", 8),
            ("deposit_accumulator", 32),
            _u("request_index", 8),
            ("request_accumulator", 32),
            _i("deposited", 16),
            _i("withdrawn", 16),
            _i("fees", 16),
            _i("insurance", 16),
            _i("dust", 16),
            ("control", 32),
            ("sections", 6, True, [_u("count", 4), ("root", 32)]),
        ],
    ),
    "OutcomeLeaf": (
        b"\x80\x02",
        [
            _u("seq", 8),
            _u("reason", 1, 176),
            _u("detail", 1),
            _i("have", 16),
            _i("need", 16),
            _u("handle", 4),
            _u("filled", 4),
            _i("value", 16),
            _i("fee", 8),
        ],
    ),
    "InputLeaf": (
        b"\xa0\x02",
        [_u("seq", 8), _u("kind", 1, 9), ("address", 20), _u("ref", 8), ("body", 32), ("signature", 64)],
    ),
    "ReceiptLeaf": (
        b"\xb0\x02",
        [
            _u("seq", 8),
            ("input", 32),
            ("outcome", 32),
            _u("time_in", 8),
            _u("time_out", 8),
            _u("cycle_in", 4),
            _u("cycle_out", 4),
        ],
    ),
    "QueuedRequest": (
        b"",
        [
            _u("number", 8),
            ("kind", 1, 1, 4),
            ("owner", 20),
            _u("account", 4),
            _u("generation", 8),
            _u("amount", 8),
            ("agent", 20),
            _u("expiry", 8),
            _u("time", 8),
        ],
    ),
}

#: First bytes of each tree's nodes.
NODES = {
    "LOG": 0x01,
    "ACCOUNTS": 0x11,
    "CONTROL": 0x13,
    "ORDERS": 0x51,
    "SECTION": 0x6F,
    "INPUTS": 0xA1,
    "OUTCOMES": 0x81,
    "RECEIPTS": 0xB1,
    "EXIT_MARKS": 0x23,
}
#: The same of sum trees, and how many sums they have.
SUM_NODES = {"EXITS": (0x21, 2), "WITHDRAWALS": (0x31, 1)}

#: Words of a batch header: name, and bits of a number (negative: signed) or 0 for a hash.
HEADER = [
    ("version", 16),
    ("number", 64),
    ("previous_state_root", 0),
    ("state_root", 0),
    ("accounts", 32),
    ("inputs_root", 0),
    ("outcomes_root", 0),
    ("inputs_first", 64),
    ("inputs_count", 32),
    ("log_root", 0),
    ("log_leaves", 64),
    ("log_records", 64),
    ("exit_root", 0),
    ("exit_positive", 128),
    ("exit_shortfall", 128),
    ("exit_marks_root", 0),
    ("exit_marks", 16),
    ("insurance", -128),
    ("fees", 128),
    ("dust", 128),
    ("withdrawals_root", 0),
    ("withdrawals_first", 64),
    ("withdrawals_count", 32),
    ("withdrawals_sum", 128),
    ("deposit_index", 64),
    ("deposit_accumulator", 0),
    ("forced_index", 64),
    ("forced_accumulator", 0),
    ("data_hash", 0),
    ("data_provider", 16),
    ("rules_hash", 0),
    ("assets_hash", 0),
    ("journal_first", 64),
    ("journal_last", 64),
    ("journal_hash", 0),
    ("time", 64),
]


def _keccak(*parts: bytes) -> bytes:
    return bytes(keccak.new(digest_bits=256, data=b"".join(parts)).digest())


def _big(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=value < 0)


def _some(name: str, size: int) -> bytes:
    """Bytes that follow from a name."""
    return (_keccak(name.encode()) * 3)[:size]


def _number(field: Number, variant: str, path: str, at: int, count: int) -> int:
    name, size, least, most = field
    if name in ("instrument", "publisher", "nonce") and count:  # sorts its list
        return {"least": least, "most": most - count + 1, "some": 100}[variant] + at
    if variant == "some":
        fixed = {"flags": 0x26, "reason": 64}
        return fixed.get(name) or least + int.from_bytes(_some(path, size), "big") % (most - least + 1)
    return least if variant == "least" else most


def _value(field: Any, variant: str, path: str, at: int = 0, count: int = 0) -> tuple[Any, bytes]:
    """A field's value as in the file, and its bytes."""
    if len(field) == 2:
        data = {"least": bytes(field[1]), "most": b"\xff" * field[1], "some": _some(path, field[1])}[variant]
        return "0x" + data.hex(), data
    if isinstance(field[2], bool):
        return _many(field, variant, path)
    number = _number(field, variant, path, at, count)
    return number, _big(number, field[1])


def _many(field: Many, variant: str, path: str) -> tuple[list[Any], bytes]:
    _, most, always, item = field
    count = most if always else {"least": 0, "most": most, "some": 2}[variant]
    values, data = [], b"" if always else bytes([count])
    for at in range(count):
        inner = f"{path}.{at}"
        value, more = (_members if isinstance(item, list) else _value)(item, variant, inner, at, count)
        values.append(value)
        data += more
    return values, data


def _members(
    fields: Sequence[Any], variant: str, path: str, at: int = 0, count: int = 0
) -> tuple[Any, bytes]:
    values, data = {}, b""
    for field in fields:
        values[field[0]], more = _value(field, variant, f"{path}.{field[0]}", at, count)
        data += more
    return values, data


def _leaf(name: str, variant: str) -> dict[str, Any]:
    front, fields = LAYOUTS[name]
    values, data = _members(fields, variant, name)
    if name == "ExitLeaf" and variant == "least":  # nobody owns nothing
        values["equity"], data = 0, data[:-16] + bytes(16)
    data = front + data
    return {"leaf": name, "fields": values, "bytes": "0x" + data.hex(), "hash": _hex(_keccak(data))}


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _root(tag: int, nodes: Sequence[tuple[bytes, tuple[int, ...]]]) -> tuple[bytes, tuple[int, ...]]:
    """RFC 6962's recursive definition, with sums."""
    if len(nodes) == 1:
        return nodes[0]
    split = 1 << (len(nodes) - 1).bit_length() - 1
    left, right = _root(tag, nodes[:split]), _root(tag, nodes[split:])
    sides = [node[0] + b"".join(_big(value, 16) for value in node[1]) for node in (left, right)]
    return _keccak(bytes([tag]), *sides), tuple(a + b for a, b in zip(left[1], right[1], strict=True))


def _trees() -> list[dict[str, Any]]:
    found = []
    for name, (tag, sums) in {**{n: (t, 0) for n, t in NODES.items()}, **SUM_NODES}.items():
        for count in (0, 1, 2, 3, 6, 7, 11):
            leaves = [
                (
                    _keccak(_big(i, 8)),
                    tuple(int.from_bytes(_some(f"{i}.{k}", 14), "big") for k in range(sums)),
                )
                for i in range(count)
            ]
            root = _root(tag, leaves) if leaves else (_keccak(), (0,) * sums)
            found.append(
                {
                    "tree": name,
                    "leaves": [[_hex(leaf), *values] for leaf, values in leaves],
                    "root": [_hex(root[0]), *root[1]],
                }
            )
    return found


def _headers() -> list[dict[str, Any]]:
    kind = {0: "bytes32", -128: "int128"}
    members = ",".join(f"{kind.get(bits, f'uint{bits}')} {name}" for name, bits in HEADER)
    domain = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    contract = _some("contract", 20)
    separator = _keccak(
        _keccak(domain.encode()), _keccak(b"Hawse"), _keccak(b"2"), _big(31337, 32), bytes(12), contract
    )
    found = []
    for variant in ("least", "most", "some"):
        fields: dict[str, Any] = {}
        words = b""
        for name, bits in HEADER:
            if not bits:
                fields[name], word = _value((name, 32), variant, name)
            else:
                field = _i(name, 16) if bits < 0 else _u(name, bits // 8)
                number = _number(field, variant, name, 0, 0)
                fields[name], word = number, number.to_bytes(32, "big", signed=True)
            words += word
        struct = _keccak(_keccak(f"BatchHeader({members})".encode()), words)
        found.append(
            {
                "fields": fields,
                "words": _hex(words),
                "struct_hash": _hex(struct),
                "chain_id": 31337,
                "contract": _hex(contract),
                "digest": _hex(_keccak(b"\x19\x01", separator, struct)),
            }
        )
    return found


def _hashes() -> dict[str, dict[str, Any]]:
    """Hashes that are no leaves: what goes in, and what comes out."""
    a, b, c, owner = (_some(name, 32) for name in "abcd")
    owner = owner[:20]
    request = bytes.fromhex(_leaf("QueuedRequest", "some")["bytes"][2:])
    return {
        "deposit_accumulator": {
            "previous": _hex(a),
            "index": 7,
            "owner": _hex(owner),
            "amount": 1_000_000,
            "hash": _hex(_keccak(b"\x40", a, _big(7, 8), owner, _big(1_000_000, 32))),
        },
        "request_accumulator": {
            "previous": _hex(a),
            "request": _hex(request),
            "hash": _hex(_keccak(b"\xc0", a, request)),
        },
        "withdrawals": {
            "root": _hex(b),
            "first": 9,
            "count": 3,
            "sum": 1 << 100,
            "hash": _hex(_keccak(b"\x32", b, _big(9, 8), _big(3, 4), _big(1 << 100, 16))),
        },
        "state_root": {
            "accounts": _hex(a),
            "orders": _hex(b),
            "venue": _hex(c),
            "hash": _hex(_keccak(b"\x70", a, b, c)),
        },
        "slot_digest": {
            "previous": _hex(a),
            "slot": 12,
            "changed": [_hex(b), _hex(c)],
            "hash": _hex(_keccak(b"\x71", a, _big(12, 8), b, c)),
        },
        "assets": {
            "assets": [[1, _hex(owner)]],
            "hash": _hex(_keccak(b"\x68\x02", _big(1, 2), _big(1, 32), owner)),
        },
        "command_body": {
            "reason": 163,
            "command": _hex(a),
            "hash": _hex(_keccak(b"\xa2", bytes([163]), a)),
        },
        "operation_body": {
            "kind": 8,
            "body": _hex(b[:10]),
            "hash": _hex(_keccak(b"\xa3", bytes([8]), b[:10])),
        },
        "surface_nodes": {
            "volatilities": [500_000, 650_000],
            "hash": _hex(_keccak(b"\xa4", _big(500_000, 4), _big(650_000, 4))),
        },
    }


def vectors() -> dict[str, Any]:
    """Everything in the file."""
    return {
        "leaves": [_leaf(name, variant) for name in LAYOUTS for variant in ("least", "most", "some")],
        "trees": _trees(),
        "headers": _headers(),
        "hashes": _hashes(),
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
