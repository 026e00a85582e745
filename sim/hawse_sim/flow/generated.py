"""A generated flow, for machines without the capture."""

import numpy as np
from hawse.wire import Opcode, Side, TimeInForce
from hawse.wire.dtypes import ORDER, flags

from .flow import Flow

_BASE, _MID = 62_000, 78_000
_START = 1_777_000_000_000


def generate(commands: int, seed: int = 1) -> Flow:
    """A mean-reverting walk of limit orders around one price, most of them cancelled later.

    Two thirds of the commands are orders: nine in ten good-till-cancel, one in ten immediate-or-cancel two
    ticks through the mid. The rest cancels (three in four), reduces or replaces a random order sent before,
    which may be gone by then.

    Args:
        commands: how many rows.
        seed: of numpy's PCG64; the same seed gives the same flow.
    """
    rng = np.random.default_rng(seed)
    orders = np.zeros(commands, ORDER)
    times = np.uint64(_START) + np.cumsum(rng.integers(0, 6, commands)).astype(np.uint64)
    mid, sent = float(_MID), 0
    sides: list[int] = []
    marks = np.empty(commands, np.int64)
    for n, row in enumerate(orders):
        mid += rng.normal() - (mid - _MID) / 500
        marks[n] = round(mid)
        if not sent or rng.random() < 2 / 3:
            sent += 1
            side = int(rng.integers(2))
            away = int(rng.geometric(0.15))
            taking = rng.random() < 0.1
            sign = -1 if side == Side.BUY else 1
            row["opcode"], row["order_id"] = Opcode.NEW, sent
            row["flags"] = flags(side, TimeInForce.IOC if taking else TimeInForce.GTC)
            row["price"] = round(mid) + sign * (-2 if taking else away)
            row["quantity"] = rng.integers(1, 100_000_000)
            sides.append(side)
            continue
        which = int(rng.integers(max(0, sent - 200), sent))
        row["order_id"] = which + 1
        what = rng.random()
        if what < 0.75:
            row["opcode"] = Opcode.CANCEL
            continue
        row["quantity"] = rng.integers(1, 50_000_000)
        if what < 0.9:
            row["opcode"] = Opcode.REDUCE
            continue
        sign = -1 if sides[which] == Side.BUY else 1
        row["opcode"] = Opcode.REPLACE
        row["price"] = round(mid) + sign * int(rng.geometric(0.15))
    return Flow(times, orders, marks, _BASE, _MID)
