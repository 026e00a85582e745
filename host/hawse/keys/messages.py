"""The signed messages of users, as rows of a structured array."""

from enum import IntEnum

import numpy as np

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
#: ``price`` in ticks, ``quantity`` in lots, ``amount`` in quanta (CANCEL_ALL: the nonce floor,
#: CANCEL_ALL_AFTER: the delay), ``nonce`` and ``expiry`` in milliseconds of slot time, ``mode`` the
#: self-trade mode with reduce-only as bit 2, or the margin mode, ``instrument`` also the subaccount of a TRANSFER,
#: ``signature`` as EIP-2098: r, then s with the parity of y as its highest bit.
MESSAGE = np.dtype(
    {
        "names": [
            "kind",
            "side",
            "time_in_force",
            "mode",
            "instrument",
            "account",
            "price",
            "quantity",
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
            "<u4",
            "<i4",
            "<u4",
            "<u8",
            "<u8",
            "<u8",
            "<u8",
            "<u8",
            ("u1", (64,)),
        ],
        "offsets": [0, 1, 2, 3, 4, 8, 12, 16, 24, 32, 40, 48, 56, 64],
        "itemsize": ROW_BYTES,
    }
)
