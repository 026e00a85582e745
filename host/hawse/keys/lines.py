"""Signed messages as JSON objects, one a line: what people and scripts write.

``{"kind": "order", "account": 1, "generation": 16777216, "nonce": 1777000000000, "expiry": 1777000030000,
"client_id": 7, "side": "buy", "price": 78000, "quantity": 100, "reduce_only": false, "signature": "0x…"}``;
what is zero may be left out. A MULTI_LEG has ``legs``, a list of up to four objects with ``instrument``,
``ratio`` and ``price``.
"""

from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from typing import Any

import msgspec
import numpy as np
from eth_utils.address import is_checksum_formatted_address, to_checksum_address

from hawse.wire.dtypes import Array

from .members import MEMBERS, Member
from .messages import BODIES, LEG, LEGS, MESSAGE, NO_INSTRUMENT, MessageKind, split

#: Bytes of the longest line; the longest message has a third of them.
MOST_BYTES = 4096
#: No deeper than this, so that what is nested deeper is refused at its first bracket.
_SHAPE = dict[str, int | float | bool | str | list[dict[str, int | float | bool | str | None]] | None]
_DECODER = msgspec.json.Decoder(_SHAPE)
_LEG_FIELDS = LEG.names or ()
_FIELDS = {kind: {m.field: m for m in members if m.leg is None} for kind, members in MEMBERS.items()}


class LineError(ValueError):
    """A line that is no message; says which field is wrong, and what would be right."""


def parse(line: str | bytes) -> Array:
    """One line as the one or two rows of a message, with an empty signature if it has none.

    Raises:
        LineError: it is not one.
    """
    given = decode(line)
    kind = MessageKind(_enum("kind", given.get("kind"), MessageKind))
    rows = np.zeros(1 + (kind in BODIES), MESSAGE)
    rows["kind"][0] = kind
    places = {"body": rows[1:].view(BODIES[kind]) if kind in BODIES else rows, "head": rows[:1]}
    members = _FIELDS[kind]
    names = ("kind", *members, *(("legs",) if kind is MessageKind.MULTI_LEG else ()), "signature")
    for name in given:
        if name not in names:
            raise LineError(f"{name}: {kind.name} has no such field; it has {', '.join(names)}")
    for name, member in members.items():
        if name in given:
            place = places["body" if member.body else "head"]
            place[member.column] |= _value(member, given[name])
    if kind is MessageKind.MULTI_LEG:
        _legs(places["body"], given.get("legs", []))
    rows["signature"][0] = _raw("signature", given.get("signature", "0x" + bytes(64).hex()), 64)
    return rows


def unparse(rows: Array) -> dict[str, Any]:
    """The JSON object of the one message that ``rows`` are.

    Raises:
        ValueError: not the rows of one message, or a value that has no name.
    """
    at = split(rows)
    if len(at.starts) != 1:
        raise ValueError(f"rows: {len(at.starts)} messages, not 1")
    kind = MessageKind(int(rows["kind"][0]))
    heads, bodies = rows[:1], rows[1:].view(BODIES[kind]) if kind in BODIES else rows[:0]
    out: dict[str, Any] = {"kind": kind.name.lower()}
    for member in MEMBERS[kind]:
        if member.leg is None:
            value = member.values(heads, bodies)[0]
            if member.solidity == "address":
                out[member.field] = str(to_checksum_address(value.tobytes()))
            elif member.enum is not None:
                out[member.field] = member.enum(int(value)).name.lower()
            else:
                out[member.field] = bool(value) if member.solidity == "bool" else int(value)
    if kind is MessageKind.MULTI_LEG:
        used = [leg for leg in bodies["legs"][0] if leg["instrument"] != NO_INSTRUMENT]
        out["legs"] = [{name: int(leg[name]) for name in _LEG_FIELDS} for leg in used]
    return out | {"signature": "0x" + rows["signature"][0].tobytes().hex()}


def decode(line: str | bytes) -> dict[str, Any]:
    """The fields of a line, of whatever message.

    Raises:
        LineError: it is no JSON object, or too long or too deep for one.
    """
    try:
        raw = line.encode() if isinstance(line, str) else line
        if len(raw) > MOST_BYTES:
            raise LineError(f"line: {len(raw)} bytes, at most {MOST_BYTES}")
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise LineError(f"not the JSON object of a message: {error}") from error


def _value(member: Member, given: object) -> Any:
    """What a member adds to its column."""
    name = member.field
    if member.solidity == "address":
        return _address(name, given)
    if member.enum is not None:
        return _enum(name, given, member.enum) << member.shift
    if member.solidity == "bool":
        if not isinstance(given, bool):
            raise LineError(f"{name}: {given!r} is neither true nor false")
        return given << member.shift
    return _integer(name, given, _limits(member.solidity))


def _legs(body: Array, given: object) -> None:
    body["legs"]["instrument"] = NO_INSTRUMENT
    if not isinstance(given, list) or len(given) > LEGS:
        raise LineError(f"legs: not a list of at most {LEGS} objects")
    for at, leg in enumerate(given):
        if sorted(leg) != sorted(_LEG_FIELDS):
            raise LineError(f"legs[{at}]: has {', '.join(leg) or 'nothing'}, not {', '.join(_LEG_FIELDS)}")
        for name in _LEG_FIELDS:
            body["legs"][name][0, at] = _integer(f"legs[{at}].{name}", leg[name], _limits(LEG[name]))


def _enum(name: str, value: object, kind: type[IntEnum]) -> int:
    members = _names(kind)
    if not isinstance(value, str) or value not in members:
        raise LineError(f"{name}: {value!r} is none of {', '.join(members)}")
    return members[value]


@cache
def _names(kind: type[IntEnum]) -> Mapping[str, int]:
    return {member.name.lower(): int(member) for member in kind}


@cache
def _limits(integer: str | np.dtype[Any]) -> tuple[int, int]:
    """Of an integer type, its least and its greatest value."""
    limits = np.iinfo(integer)
    return int(limits.min), int(limits.max)


def _integer(name: str, value: object, limits: tuple[int, int]) -> int:
    if type(value) is not int or not limits[0] <= value <= limits[1]:
        raise LineError(f"{name}: {value!r} is not an integer within {limits[0]}..{limits[1]}")
    return value


def _raw(name: str, value: object, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        raw = bytes.fromhex(str(value).removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise LineError(f"{name}: not {size} bytes in hexadecimal")
    return np.frombuffer(raw, np.uint8)


def _address(name: str, value: object) -> np.ndarray[Any, np.dtype[np.uint8]]:
    raw = _raw(name, value, 20)
    if is_checksum_formatted_address(value) and to_checksum_address(raw.tobytes()) != value:
        raise LineError(f"{name}: {value} does not fit its checksum (EIP-55)")
    return raw
