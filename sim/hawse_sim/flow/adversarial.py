"""Flow made to find differences between engines: few levels and accounts, band edges, undefined encodings."""

from collections.abc import Iterator

import numpy as np
from hawse.wire import ALL_INSTRUMENTS, NULL_HANDLE, Geometry, InstrumentState, Opcode
from hawse.wire.dtypes import COMMAND, ORDER, Array, make
from numpy.random import Generator
from numpy.typing import NDArray

_INT32 = np.iinfo(np.int32)
_DRIFT = 64  # bands stay within this distance of home
_NEAR = 4  # most prices stay within this distance of the middle of the band

_OPCODES = {
    Opcode.NEW: 50,
    Opcode.CANCEL: 20,
    Opcode.REPLACE: 10,
    Opcode.REDUCE: 8,
    Opcode.MASS_CANCEL: 1,
    Opcode.STATE: 2,
    Opcode.FENCE: 2,
    Opcode.CLOSE: 0.5,
    Opcode.LOAD: 3,
    Opcode.DUMP: 0.5,
    Opcode.HELLO: 0.5,
}


def homes(geometry: Geometry) -> NDArray[np.int64]:
    """Base around which each instrument's band moves: zero, and both ends of what a price can be."""
    top = int(_INT32.max) - geometry.levels // 2 - _DRIFT - _NEAR  # its band ends beyond the last price
    return np.resize(np.array([0, top, int(_INT32.min) + _DRIFT]), geometry.instruments)


def _often(rng: Generator, count: int, probability: float) -> NDArray[np.bool]:
    return rng.random(count) < probability


def _fields(rng: Generator, geometry: Geometry, out: Array, order: NDArray[np.int64]) -> None:
    """Fill in everything but opcode, handle, order id and seq, whatever the opcodes are.

    Commands of one ``order`` mostly name the same instrument.
    """
    n = len(out)
    opcode = out["opcode"]
    time_in_force = rng.choice(4, n, p=[0.55, 0.15, 0.15, 0.15])
    out["flags"] = rng.integers(0, 2, n) | time_in_force << 1 | rng.integers(0, 3, n) << 3
    undefined = _often(rng, n, 0.02)
    out["flags"][undefined] = rng.integers(0, 256, undefined.sum())

    order = np.where(_often(rng, n, 0.95), order, rng.integers(0, 2 * geometry.instruments, n))
    instrument = np.where(order % 2, order // 2 % geometry.instruments, 0)  # one is hot
    states = opcode == Opcode.STATE
    home = homes(geometry)[instrument]
    base = home + rng.choice([0, 0, -_DRIFT, _DRIFT - 1], n)
    near = home + geometry.levels // 2 + rng.integers(-_NEAR, _NEAR + 1, n)
    edge = base + rng.choice([-1, 0, geometry.levels - 1, geometry.levels], n)
    price = np.where(states, base, np.where(_often(rng, n, 0.92), near, edge))
    far = _often(rng, n, 0.01)
    price[far] = rng.choice([_INT32.min, _INT32.max], far.sum())
    out["price"] = np.clip(price, _INT32.min, _INT32.max)

    beyond = _often(rng, n, 0.02)
    instrument[beyond] = rng.choice(
        [geometry.instruments, ALL_INSTRUMENTS - 1, ALL_INSTRUMENTS], beyond.sum()
    )
    instrument[(opcode == Opcode.MASS_CANCEL) & _often(rng, n, 0.3)] = ALL_INSTRUMENTS
    out["instrument"] = instrument

    account = rng.integers(0, min(4, 1 << geometry.account_bits), n)
    last = _often(rng, n, 0.02)
    account[last] = (1 << geometry.account_bits) - 1
    if geometry.account_bits < 32:
        account[_often(rng, n, 0.01)] = 1 << geometry.account_bits
    out["account"] = account

    quantity = rng.integers(1, 9, n)
    quantity[_often(rng, n, 0.02)] = 0
    quantity[_often(rng, n, 0.02)] = 0xFFFF_FFFF
    new_state = rng.choice([*InstrumentState, len(InstrumentState)], n, p=[0.03, 0.86, 0.04, 0.05, 0.02])
    out["quantity"] = np.where(states, new_state, quantity)
    out["tag"] = rng.integers(0, 1 << 32, n)


def _opcodes(rng: Generator, count: int) -> NDArray[np.uint8]:
    weights = np.array(list(_OPCODES.values()))
    out = rng.choice(np.array(list(_OPCODES), np.uint8), count, p=weights / weights.sum())
    undefined = _often(rng, count, 0.01)
    out[undefined] = rng.choice([0, 12, 13, 16, 64 + 1, 128 + 1, 255], undefined.sum())
    return out


def opening(geometry: Geometry) -> Array:
    """COMMANDs that give every instrument its band and open it, and a FENCE."""
    parts = []
    for instrument, home in enumerate(homes(geometry)):
        where = {"opcode": Opcode.STATE, "instrument": instrument}
        parts.append(make(COMMAND, **where, price=home, quantity=InstrumentState.LOADING))
        parts.append(make(COMMAND, **where, quantity=InstrumentState.OPEN))
    return np.concatenate([*parts, make(COMMAND, opcode=Opcode.FENCE)])


def commands(rng: Generator, geometry: Geometry, count: int) -> Array:
    """``count`` COMMANDs of all kinds, defined or not, the last a FENCE, CLOSE or HELLO.

    Handles come from a small range, so that many name an order, and NEW often meets an occupied one.
    """
    out = np.zeros(count, COMMAND)
    out["opcode"] = _opcodes(rng, count)
    out["opcode"][-1] = rng.choice([Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO], p=[0.7, 0.2, 0.1])
    handle = rng.integers(0, min(geometry.orders, 96), count)
    odd = _often(rng, count, 0.03)
    last = geometry.orders - 1
    handle[odd] = rng.choice([last, last + 1, NULL_HANDLE - 1, NULL_HANDLE], odd.sum())
    out["handle"] = handle
    _fields(rng, geometry, out, handle)
    out["seq"] = rng.integers(0, 1 << 63, count)
    return out


def bursts(rng: Generator, geometry: Geometry, count: int, size: int) -> Iterator[Array]:
    """``count`` bursts of up to ``size`` ORDERs each, some of which the driver must refuse.

    Order ids are mostly those of recent orders, a few unknown or used again. The first burst opens all
    instruments.
    """
    start = np.zeros(2 * geometry.instruments + 1, ORDER)
    for name in COMMAND.names or ():
        start[name] = opening(geometry)[name]
    start["seq"] = np.arange(len(start))
    yield start
    seq, newest = len(start), 1
    for _ in range(count - 1):
        n = int(rng.integers(1, size + 1))
        out = np.zeros(n, ORDER)
        out["opcode"] = _opcodes(rng, n)
        ends = np.isin(out["opcode"], [Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO])
        out["opcode"][ends] = Opcode.NEW
        out["opcode"][-1] = Opcode.FENCE if rng.random() < 0.9 else Opcode.CLOSE
        if n > 1 and rng.random() < 0.15:
            out["opcode"][0] = Opcode.RECENTRE
        brings = np.isin(out["opcode"], [Opcode.NEW, Opcode.LOAD])
        fresh = newest + np.cumsum(brings)
        age = np.where(_often(rng, n, 0.7), rng.geometric(0.1, n), rng.integers(0, 2 * geometry.orders, n))
        order_id = np.where(brings & ~_often(rng, n, 0.03), fresh, np.maximum(fresh - age, 1))
        newest = int(fresh[-1])
        unknown = _often(rng, n, 0.01)
        order_id[unknown] = rng.integers(1 << 62, (1 << 63) - 1, unknown.sum())
        out["order_id"] = order_id
        out["handle"] = rng.integers(0, geometry.orders + 2, n)
        _fields(rng, geometry, out, order_id)
        recentre = out["opcode"] == Opcode.RECENTRE
        out["instrument"][recentre & _often(rng, n, 0.2)] = geometry.instruments
        known = np.minimum(out["instrument"], geometry.instruments - 1)
        new_base = homes(geometry)[known] + rng.integers(-_DRIFT, _DRIFT, n)
        out["price"] = np.where(recentre, new_base, out["price"])
        out["seq"] = np.arange(seq, seq + n)
        seq += n
        yield out
