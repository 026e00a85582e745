"""Which messages are well formed and carried out, and what is wrong with the others."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hawse.keys.members import MEMBERS
from hawse.keys.messages import BODIES, MESSAGE, REDUCE_ONLY, ROW_BYTES, MessageKind
from hawse.wire import Reason, SelfTrade, Side, TimeInForce
from hawse.wire.dtypes import Array

#: Kinds that are carried out.
CARRIED = (
    MessageKind.ORDER,
    MessageKind.CANCEL,
    MessageKind.CANCEL_ALL,
    MessageKind.REPLACE,
    MessageKind.REDUCE,
    MessageKind.TRANSFER,
    MessageKind.WITHDRAW,
    MessageKind.APPOINT,
    MessageKind.REVOKE,
    MessageKind.CANCEL_ALL_AFTER,
    MessageKind.REGISTER,
    MessageKind.UNREGISTER,
)
_NAME_ORDER = (
    MessageKind.ORDER,
    MessageKind.CANCEL,
    MessageKind.REPLACE,
    MessageKind.REDUCE,
    MessageKind.REGISTER,
    MessageKind.UNREGISTER,
)
_IS_CARRIED = np.isin(np.arange(256), CARRIED)
_NAMES_ORDER = np.isin(np.arange(256), _NAME_ORDER)
_MOVES_MONEY = (MessageKind.TRANSFER, MessageKind.WITHDRAW)
_NEVER_ZERO = {(int(kind), "client_id") for kind in _NAME_ORDER}
_NEVER_ZERO |= {(int(kind), "amount") for kind in _MOVES_MONEY}
#: Fields of a message that are looked at, in the order in which the loop takes them.
COLUMNS = (
    "kind",
    "account",
    "generation",
    "nonce",
    "expiry",
    "client_id",
    "instrument",
    "side",
    "time_in_force",
    "mode",
    "price",
    "quantity",
    "amount",
)


class Wrong(NamedTuple):
    """Why something is refused: reason, the two numbers behind it, and which field or limit of the reason."""

    reason: Reason
    have: int
    need: int
    detail: int = 0


def carried_out(heads: Array) -> NDArray[np.bool_]:
    """Of a kind that is carried out, and naming what order, or what amount to move."""
    kinds = heads["kind"]
    nameless = _NAMES_ORDER[kinds] & (heads["client_id"] == 0)
    nothing = np.isin(kinds, _MOVES_MONEY) & (heads["amount"] == 0)
    return np.asarray(_IS_CARRIED[kinds] & ~nameless & ~nothing)


def what_is_wrong(row: np.void, body: np.void | None = None) -> tuple[int, int, int]:
    """Of a message that is not well formed: what it has, what it should have, and where.

    The third number, the refusal's detail, is the kind where that is not carried out, else the offset of the
    field in the row, or rows.
    """
    kind = int(row["kind"])
    if kind not in CARRIED:
        return kind, 0, kind
    members = {m.column for m in MEMBERS[MessageKind(kind)]}
    most = {"side": max(Side), "time_in_force": max(TimeInForce), "mode": max(SelfTrade)}
    for name in COLUMNS[1:]:
        value, at = int(row[name]), offset(name)
        if name not in members and value:
            return value, 0, at
        limit = most.get(name, value)
        if name == "mode" and kind == MessageKind.ORDER:
            limit += value & REDUCE_ONLY
        if value > limit:
            return value, limit, at
        if not value and (kind, name) in _NEVER_ZERO:
            return 0, 1, at
    if kind == MessageKind.CANCEL_ALL and row["amount"] > row["nonce"]:
        return int(row["amount"]), int(row["nonce"]), offset("amount")
    used = {at for name in COLUMNS for at in _bytes_of(MESSAGE, name)}
    used |= set(_bytes_of(MESSAGE, "signature"))
    raw = row.tobytes()
    if body is not None:
        layout = BODIES[MessageKind(kind)]
        raw += body.tobytes()
        used |= {ROW_BYTES + at for name in layout.names or () for at in _bytes_of(layout, name)}
    return next((byte, 0, at) for at, byte in enumerate(raw) if byte and at not in used)


def _bytes_of(layout: np.dtype[np.void], name: str) -> range:
    """Offsets of a field's bytes."""
    assert layout.fields is not None
    at = layout.fields[name][1]
    return range(at, at + layout[name].itemsize)


def offset(name: str) -> int:
    """Of a field in the row of a message, or in the row of an APPOINT's body behind it."""
    if name in (MESSAGE.names or ()):
        return _bytes_of(MESSAGE, name).start
    return ROW_BYTES + _bytes_of(BODIES[MessageKind.APPOINT], name).start
