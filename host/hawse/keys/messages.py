"""The signed messages of users, as rows of a structured array."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hawse.wire.dtypes import Array

#: Bytes of one row. A message of a kind in :data:`WIDE` takes two.
ROW_BYTES = 128


class MessageKind(IntEnum):
    """What a user signs; ``docs/messages.md`` has the signed type of each."""

    ORDER = 1
    CANCEL = 2
    CANCEL_ALL = 3
    REPLACE = 4
    REDUCE = 5
    MULTI_LEG = 6
    TRANSFER = 7
    WITHDRAW = 8
    APPOINT = 9
    REVOKE = 10
    REGISTER = 11
    UNREGISTER = 12
    CANCEL_ALL_AFTER = 13
    MARGIN_MODE = 14


class MarginMode(IntEnum):
    """How an account's margin is counted."""

    CROSS = 0
    PORTFOLIO = 1


#: Bit of ``mode`` in an ORDER that says reduce-only; below it stands the self-trade mode.
REDUCE_ONLY = 4
#: Legs of a MULTI_LEG.
LEGS = 4
#: Instrument of a leg that is not used; used ones come first. CANCEL_ALL: all instruments.
NO_INSTRUMENT = 0xFFFF

#: Kinds of two rows.
WIDE = frozenset({MessageKind.MULTI_LEG, MessageKind.APPOINT, MessageKind.REVOKE, MessageKind.REGISTER})
#: Kinds that an INPUT lists before its commands.
AUTHORISATIONS = frozenset({MessageKind.APPOINT, MessageKind.REVOKE})
#: Kinds that the owner alone may sign.
OWNER_ONLY = frozenset(
    {
        MessageKind.TRANSFER,
        MessageKind.WITHDRAW,
        MessageKind.APPOINT,
        MessageKind.REVOKE,
        MessageKind.MARGIN_MODE,
    }
)

#: One signed message, or the first row of one, little-endian. Members that a kind does not have are zero.
#: A kind in :data:`WIDE` has its second row, the body, right behind it; see :data:`BODIES`.
#: ``price`` in ticks, ``quantity`` in lots, ``amount`` in quanta (CANCEL_ALL: the nonce floor,
#: CANCEL_ALL_AFTER: the delay), ``nonce`` and ``expiry`` in milliseconds of slot time, ``mode`` the
#: self-trade mode with reduce-only as bit 2, or the margin mode, ``instrument`` also the subaccount of a
#: TRANSFER, ``signature`` as EIP-2098: r, then s with the parity of y as its highest bit. Gaps have names,
#: because numpy leaves nameless bytes behind when it copies chosen rows.
MESSAGE = np.dtype(
    {
        "names": [
            "kind",
            "side",
            "time_in_force",
            "mode",
            "instrument",
            "zero_6",
            "account",
            "price",
            "quantity",
            "zero_20",
            "client_id",
            "generation",
            "nonce",
            "expiry",
            "amount",
            "signature",
        ],
        "formats": [
            "u1",
            "u1",
            "u1",
            "u1",
            "<u2",
            "<u2",
            "<u4",
            "<i4",
            "<u4",
            "<u4",
            "<u8",
            "<u8",
            "<u8",
            "<u8",
            "<u8",
            ("u1", (64,)),
        ],
        "offsets": [0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64],
        "itemsize": ROW_BYTES,
    }
)


def _body(*fields: tuple[str, object, int]) -> np.dtype[np.void]:
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype(
        {"names": list(names), "formats": list(formats), "offsets": list(offsets), "itemsize": ROW_BYTES}
    )


#: One leg of a MULTI_LEG: so many units of ``ratio`` lots, negative to sell, at ``price`` or better.
LEG = np.dtype([("instrument", "<u2"), ("ratio", "<i2"), ("price", "<i4")])

#: The second row of each wide kind, little-endian. Byte 0, where a first row has its kind, is zero, and so is
#: what is not named. ``net_limit`` in quanta a unit; ``agent`` an address; ``agent_expiry``, ``max_life``,
#: ``every`` and ``until`` in milliseconds; ``trigger_price`` and ``limit_price`` in ticks.
BODIES = {
    MessageKind.MULTI_LEG: _body(("net_limit", "<i8", 8), ("legs", (LEG, (LEGS,)), 16)),
    MessageKind.APPOINT: _body(
        ("agent", ("u1", (20,)), 8), ("agent_expiry", "<u8", 32), ("max_life", "<u8", 40)
    ),
    MessageKind.REVOKE: _body(("agent", ("u1", (20,)), 8)),
    MessageKind.REGISTER: _body(
        ("strategy", "u1", 1),
        ("trigger", "u1", 2),
        ("trigger_price", "<i4", 4),
        ("limit_price", "<i4", 8),
        ("offset_ppm", "<u4", 12),
        ("every", "<u4", 16),
        ("low", "<i8", 24),
        ("high", "<i8", 32),
        ("until", "<u8", 40),
    ),
}

_IS_WIDE = np.array([kind in WIDE for kind in range(256)])


class Split(NamedTuple):
    """Where the messages of an array of rows are.

    Attributes:
        starts: index of the first row of each message, ascending.
        bodies: index of its second row, or -1.
    """

    starts: NDArray[np.intp]
    bodies: NDArray[np.intp]


def split(rows: Array) -> Split:
    """Which rows begin a message, and which are bodies: a row behind a first row of a wide kind is its body.

    Args:
        rows: n rows of :data:`MESSAGE`.

    Returns:
        m messages.

    Raises:
        ValueError: the last row is the first of a wide message: half of it is missing.
    """
    wide = _IS_WIDE[rows["kind"]]
    index = np.arange(len(rows))
    if not wide.any():
        return Split(index, np.full_like(index, -1))
    # In a run of wide kinds every other row is a body, and so is the row behind a run of odd length.
    narrow_before = np.maximum.accumulate(np.where(wide, -1, index))
    opens = wide & ((index - narrow_before) % 2 == 1)
    if opens[-1]:
        kind = MessageKind(int(rows["kind"][-1])).name
        raise ValueError(f"rows: row {len(rows) - 1} begins a {kind}, whose second row is missing")
    starts = np.flatnonzero(~np.concatenate([[False], opens[:-1]]))
    return Split(starts, np.where(opens[starts], starts + 1, -1))
