"""User commands as JSON objects, one a line: what people and scripts write.

``{"request": "new", "account": 1, "order_id": 7, "instrument": 0, "side": "buy", "price": 78000,
"quantity": 100, "nonce": 1, "signature": "0x…"}``; what is zero may be left out.
"""

import json
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.wire import SelfTrade, Side, TimeInForce
from hawse.wire.dtypes import Array

from .eip712 import MEMBERS
from .messages import USER_COMMAND, Request

_ENUMS: dict[str, type[IntEnum]] = {
    "request": Request,
    "side": Side,
    "time_in_force": TimeInForce,
    "self_trade": SelfTrade,
}


class LineError(ValueError):
    """A line that is no user command; says which field is wrong, and what would be right."""


def parse(line: str) -> Array:
    """One line as an array of one USER_COMMAND, with an empty signature if it has none.

    Raises:
        LineError: it is not one.
    """
    try:
        given = json.loads(line)
    except ValueError as error:
        raise LineError(f"not JSON: {error}") from error
    if not isinstance(given, dict):
        raise LineError("not a JSON object")
    row = np.zeros(1, USER_COMMAND)
    request = Request(_enum("request", given.get("request")))
    allowed = ("request", *MEMBERS[request], "signature")
    for name, value in given.items():
        if name not in allowed:
            raise LineError(f"{name}: {request.name} has no such field; it has {', '.join(allowed)}")
        if name == "signature":
            row["signature"][0] = _signature(value)
        elif name in _ENUMS:
            row[name] = _enum(name, value)
        else:
            row[name] = _integer(name, value)
    return row


def unparse(row: Array) -> dict[str, Any]:
    """The JSON object of one row of USER_COMMAND."""
    request = Request(int(row["request"]))
    out: dict[str, Any] = {"request": request.name.lower()}
    for name in MEMBERS[request]:
        value = int(row[name])
        out[name] = _ENUMS[name](value).name.lower() if name in _ENUMS else value
    return out | {"signature": "0x" + row["signature"].tobytes().hex()}


def _enum(name: str, value: object) -> int:
    members = {member.name.lower(): member for member in _ENUMS[name]}
    if not isinstance(value, str) or value not in members:
        raise LineError(f"{name}: {value!r} is none of {', '.join(members)}")
    return members[value]


def _integer(name: str, value: object) -> int:
    limits = np.iinfo(USER_COMMAND[name])
    if type(value) is not int or not limits.min <= value <= limits.max:
        raise LineError(f"{name}: {value!r} is not an integer within {limits.min}..{limits.max}")
    return value


def _signature(value: object) -> NDArray[np.uint8]:
    try:
        raw = bytes.fromhex(str(value).removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 65:
        raise LineError("signature: not 65 bytes in hexadecimal, r, s and v")
    return np.frombuffer(raw, np.uint8)
