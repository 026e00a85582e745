"""What users sign: the members of each kind of message, and where its rows have them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.wire import SelfTrade, Side, TimeInForce
from hawse.wire.dtypes import Array

from .messages import BODIES, LEGS, MESSAGE, REDUCE_ONLY, MarginMode, MessageKind

_COMMON = "uint32 account,uint64 generation,uint64 nonce,uint64 expiry"
_LEGS = ",".join(f"uint16 instrument{n},int16 ratio{n},int32 price{n}" for n in range(1, LEGS + 1))
_OWN = {
    MessageKind.ORDER: "uint64 clientId,uint16 instrument,uint8 side,uint8 timeInForce,uint8 selfTrade,"
    "bool reduceOnly,int32 price,uint32 quantity",
    MessageKind.CANCEL: "uint64 clientId",
    MessageKind.CANCEL_ALL: "uint16 instrument,uint64 nonceFloor",
    MessageKind.REPLACE: "uint64 clientId,int32 price,uint32 quantity",
    MessageKind.REDUCE: "uint64 clientId,uint32 quantity",
    MessageKind.MULTI_LEG: f"uint64 clientId,uint32 quantity,int64 netLimit,{_LEGS}",
    MessageKind.TRANSFER: "uint16 toSubaccount,uint64 amount",
    MessageKind.WITHDRAW: "uint64 amount",
    MessageKind.APPOINT: "address agent,uint64 agentExpiry,uint64 maxLife",
    MessageKind.REVOKE: "address agent",
    MessageKind.REGISTER: "uint64 clientId,uint8 strategy,uint16 instrument,uint8 side,uint8 trigger,"
    "int32 triggerPrice,int32 limitPrice,uint32 offsetPpm,uint32 quantity,uint32 every,int64 low,int64 high,"
    "uint64 until",
    MessageKind.UNREGISTER: "uint64 clientId",
    MessageKind.CANCEL_ALL_AFTER: "uint64 delay",
    MessageKind.MARGIN_MODE: "uint8 mode",
}
#: EIP-712 type of each kind.
TYPES = {kind: f"{kind.name.title().replace('_', '')}({_COMMON},{members})" for kind, members in _OWN.items()}

#: Columns that carry members of other names.
_COLUMNS = {
    "self_trade": "mode",
    "reduce_only": "mode",
    "nonce_floor": "amount",
    "delay": "amount",
    "to_subaccount": "instrument",
}
_BITS = {"self_trade": (0, REDUCE_ONLY - 1), "reduce_only": (2, 1)}
_ENUMS: Mapping[str, type[IntEnum]] = {
    "side": Side,
    "time_in_force": TimeInForce,
    "self_trade": SelfTrade,
    "mode": MarginMode,
}
_LEG_MEMBER = re.compile(r"(instrument|ratio|price)(\d)")


@dataclass(frozen=True)
class Member:
    """One member of a signed struct.

    Attributes:
        solidity: its type.
        name: as signed; ``field`` is the same in lower case with underscores, as JSON has it.
        body: whether the message's second row has it.
        column: of that row.
        leg: which of ``column``'s legs, from 0, and ``part`` what of it; else None.
        shift, mask: the bits of the column; mask 0 for all.
        enum: what its values mean, if they are named.
    """

    solidity: str
    name: str
    field: str
    body: bool
    column: str
    leg: int | None = None
    part: str = ""
    shift: int = 0
    mask: int = 0
    enum: type[IntEnum] | None = None

    def values(self, heads: Array, bodies: Array) -> NDArray[Any]:
        """This member of n messages, as their rows have it: (n,), an address (n, 20)."""
        column = (bodies if self.body else heads)[self.column]
        if self.leg is not None:
            return np.asarray(column[self.part][:, self.leg])
        return np.asarray(column >> self.shift & self.mask if self.mask else column)

    def place(self, kind: MessageKind) -> tuple[int, int, bool, int, int, bool, int]:
        """Offset and bytes in its row, ``body``, ``shift``, ``mask``, whether it is signed, and 0."""
        dtype, offset = _field(BODIES[kind] if self.body else MESSAGE, self.column)
        if self.leg is not None:
            part, within = _field(dtype.base, self.part)
            dtype, offset = part, offset + self.leg * dtype.base.itemsize + within
        return offset, dtype.itemsize, self.body, self.shift, self.mask, dtype.kind == "i", 0


def _field(dtype: np.dtype[Any], name: str) -> tuple[np.dtype[Any], int]:
    """Type and offset of a field."""
    assert dtype.fields is not None
    return dtype.fields[name][0], dtype.fields[name][1]


def _member(kind: MessageKind, text: str) -> Member:
    solidity, name = text.split()
    field = re.sub("[A-Z]", lambda m: "_" + m[0].lower(), name)
    if kind is MessageKind.MULTI_LEG and (leg := _LEG_MEMBER.fullmatch(field)):
        return Member(solidity, name, field, True, "legs", int(leg[2]) - 1, leg[1])
    column = _COLUMNS.get(field, field)
    body = column not in (MESSAGE.names or ())
    assert not body or column in (BODIES[kind].names or ())
    shift, mask = _BITS.get(field, (0, 0))
    return Member(solidity, name, field, body, column, shift=shift, mask=mask, enum=_ENUMS.get(field))


#: Members of each kind, in the order in which they are signed.
MEMBERS = {
    kind: tuple(_member(kind, text) for text in f"{_COMMON},{members}".split(","))
    for kind, members in _OWN.items()
}
