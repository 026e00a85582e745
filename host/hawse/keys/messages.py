"""The signed commands of users, as rows of a structured array."""

from enum import IntEnum

import numpy as np


class Request(IntEnum):
    """What a user signs."""

    NEW = 1
    CANCEL = 2
    REPLACE = 3
    REDUCE = 4
    WITHDRAW = 5


#: One signed command, 128 bytes, little-endian. Fields that a request does not use are zero.
#: ``price`` in ticks, ``quantity`` in lots, ``amount`` in quanta, ``expiry`` in milliseconds of slot time
#: (0: never), ``signature`` r ‖ s ‖ v with v 0 or 1.
USER_COMMAND = np.dtype(
    [
        ("request", "u1"),
        ("side", "u1"),
        ("time_in_force", "u1"),
        ("self_trade", "u1"),
        ("instrument", "<u2"),
        ("zero", "<u2"),
        ("account", "<u4"),
        ("price", "<i4"),
        ("quantity", "<u4"),
        ("zero2", "<u4"),
        ("order_id", "<u8"),
        ("nonce", "<u8"),
        ("expiry", "<u8"),
        ("amount", "<u8"),
        ("signature", "u1", (65,)),
        ("zero3", "u1", (7,)),
    ]
)
