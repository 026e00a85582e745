"""Flow made to find differences between engines.

Few levels and tags, band edges, windows that move about in the pool, undefined encodings.
"""

from collections.abc import Iterator

import numpy as np
from hawse.engine import even_window
from hawse.wire import ALL_INSTRUMENTS, LEAST_WINDOW, NULL_HANDLE, Geometry, InstrumentState, Limit, Opcode
from hawse.wire.dtypes import COMMAND, ORDER, Array, make
from numpy.random import Generator
from numpy.typing import NDArray

_INT32 = np.iinfo(np.int32)
_PRICES_END = 1 << 31
_DRIFT = 16  # bands stay within this distance of home
_MIDDLE = LEAST_WINDOW // 2  # most prices are so far from home, so that any window holds them
_NEAR = 4  # and stay within this distance of it
_TAGS = 4

_OPCODES = {
    Opcode.NEW: 50,
    Opcode.CANCEL: 20,
    Opcode.REPLACE: 10,
    Opcode.REDUCE: 8,
    Opcode.MASS_CANCEL: 1,
    Opcode.STATE: 3,
    Opcode.FENCE: 2,
    Opcode.CLOSE: 0.5,
    Opcode.LOAD: 3,
    Opcode.DUMP: 0.5,
    Opcode.HELLO: 0.5,
}

_LIMITS = {
    Limit.CLEAR: 3,
    Limit.ORDER_SIZE: 1,
    Limit.OPEN_ORDERS: 3,
    Limit.OPEN_BUY: 3,
    Limit.OPEN_SELL: 3,
    Limit.COMMANDS: 3,
    Limit.KILL: 2,
    Limit.GRANT: 8,
    Limit.REVOKE: 2,
    Limit.RATE: 1,
    Limit.COLLAR: 1,
    9: 0.3,
    15: 0.2,
    18: 0.2,
    (1 << 32) - 1: 0.2,
}
_UNLIMITED = (1 << 64) - 1
_ENDS = (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)


def windows(geometry: Geometry) -> list[tuple[int, int]]:
    """First level and levels of each instrument's own window: half of what is left, or equal parts."""
    least = geometry.pool >> geometry.instruments
    if least < LEAST_WINDOW:
        return [even_window(geometry, i) for i in range(geometry.instruments)]
    return [
        (geometry.pool - (geometry.pool >> i), geometry.pool >> i + 1) for i in range(geometry.instruments)
    ]


def homes(geometry: Geometry) -> NDArray[np.int64]:
    """Base around which each instrument's band moves: zero, and both ends of what a price can be."""
    tops = [_PRICES_END - count - _DRIFT for _, count in windows(geometry)]
    return np.array([(0, top, int(_INT32.min) + _DRIFT)[i % 3] for i, top in enumerate(tops)])


def _moved(rng: Generator, geometry: Geometry, instrument: int) -> tuple[int, int]:
    """A window that the instrument may ask for: mostly its own, or near it in size or place, or a bad one."""
    first, count = windows(geometry)[instrument]
    any_count = LEAST_WINDOW << int(rng.integers((geometry.pool // LEAST_WINDOW).bit_length()))
    place = int(rng.integers(geometry.pool))
    bad_count = int(rng.choice([0, 1, 32, 63, 65, 96, count + 1, 2 * geometry.pool, 1 << 31]))
    off = int(rng.choice([1, 32, count // 2]))
    beyond = int(rng.choice([geometry.pool, geometry.pool - count // 2, (1 << 32) - count]))
    half = max(count // 2, LEAST_WINDOW)
    choices = [
        (first, count),
        (first, half),
        (first + count - half, half),
        (first & ~(2 * count - 1), 2 * count),  # grown, over others' heads
        (place & -any_count, any_count),
        (place & -LEAST_WINDOW, LEAST_WINDOW),
        (first, bad_count),
        (first + off, count),
        (beyond, count),
    ]
    odds = np.array([10, 2, 2, 2, 3, 4, 1, 1, 1])
    return choices[int(rng.choice(len(choices), p=odds / odds.sum()))]


def _often(rng: Generator, count: int, probability: float) -> NDArray[np.bool]:
    return rng.random(count) < probability


def _fields(rng: Generator, geometry: Geometry, out: Array, order: NDArray[np.int64]) -> None:
    """Fill in everything but opcode, order id and seq, whatever the opcodes are; of STATE the handle, too.

    Commands of one ``order`` mostly name the same instrument and tag.
    """
    n = len(out)
    opcode = out["opcode"]
    time_in_force = rng.choice(4, n, p=[0.55, 0.15, 0.15, 0.15])
    sequence_class = rng.choice(5, n, p=[0.8, 0.05, 0.05, 0.05, 0.05])
    out["flags"] = (
        rng.integers(0, 2, n) | time_in_force << 1 | rng.integers(0, 3, n) << 3 | sequence_class << 5
    )
    undefined = _often(rng, n, 0.02)
    out["flags"][undefined] = rng.integers(0, 256, undefined.sum())

    tag = np.where(_often(rng, n, 0.9), order // 3, rng.integers(0, _TAGS, n)) % min(
        _TAGS, 1 << geometry.tag_bits
    )
    order = np.where(_often(rng, n, 0.95), order, rng.integers(0, 2 * geometry.instruments, n))
    instrument = np.where(order % 2, order // 2 % geometry.instruments, 0)  # one is hot
    states = opcode == Opcode.STATE
    home = homes(geometry)[instrument]
    base = home + rng.choice([0, 0, -_DRIFT, _DRIFT - 1, _DRIFT, _DRIFT + 1], n)
    near = home + _MIDDLE + rng.integers(-_NEAR, _NEAR + 1, n)
    count = np.array(windows(geometry))[instrument, 1]
    edge = base + np.where(_often(rng, n, 0.5), rng.integers(-1, 1, n), count - rng.integers(0, 2, n))
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

    tag[_often(rng, n, 0.02)] = (1 << geometry.tag_bits) - 1
    tag[_often(rng, n, 0.01)] = 1 << geometry.tag_bits
    out["tag"] = tag

    quantity = rng.integers(1, 9, n)
    quantity[_often(rng, n, 0.02)] = 0
    quantity[_often(rng, n, 0.02)] = 0xFFFF_FFFF
    new_state = rng.choice([*InstrumentState, len(InstrumentState)], n, p=[0.03, 0.78, 0.04, 0.13, 0.02])
    out["quantity"] = np.where(states, new_state, quantity)
    out["token"] = rng.integers(0, 1 << 32, n)
    for at in np.flatnonzero(states):
        own = int(min(instrument[at], geometry.instruments - 1))
        first, count = _moved(rng, geometry, own)
        out["handle"][at], out["token"][at] = first, count
        if rng.random() < 0.1:
            out["price"][at] = min(_PRICES_END - count + 1, int(_INT32.max))


def _opcodes(rng: Generator, count: int) -> NDArray[np.uint8]:
    weights = np.array(list(_OPCODES.values()))
    out = rng.choice(np.array(list(_OPCODES), np.uint8), count, p=weights / weights.sum())
    undefined = _often(rng, count, 0.01)
    out[undefined] = rng.choice([0, 12, 13, 16, 64 + 1, 128 + 1, 255], undefined.sum())
    return out


def opening(geometry: Geometry) -> Array:
    """COMMANDs that give every instrument its window and open it, and a FENCE."""
    parts = []
    for instrument, (home, (first, count)) in enumerate(zip(homes(geometry), windows(geometry), strict=True)):
        where = {"opcode": Opcode.STATE, "instrument": instrument}
        window = {"handle": first, "token": count, "price": home}
        parts.append(make(COMMAND, **where, **window, quantity=InstrumentState.LOADING))
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


def with_limits(rng: Generator, rows: Array, share: float = 0.12) -> Array:
    """COMMANDs or ORDERs some of which are LIMITs instead, for engines with the feature GATE.

    Most limits are so small that they are met, and most rates, too; each is lifted now and then.
    """
    out = rows.copy()
    at = np.flatnonzero(np.isin(out["opcode"], (Opcode.NEW, Opcode.CANCEL)) & _often(rng, len(out), share))
    # A rate is taken in state loading only.
    at = np.union1d(at, np.flatnonzero(_follows_loading(out) & ~np.isin(out["opcode"], _ENDS)))
    n = len(at)
    what = rng.choice(np.array(list(_LIMITS)), n, p=np.array(list(_LIMITS.values())) / sum(_LIMITS.values()))
    what[_follows_loading(out)[at]] = Limit.RATE
    value = rng.integers(0, 40, n).astype(np.uint64)
    wide = (what == Limit.GRANT) | (what == Limit.REVOKE)
    value[wide] = rng.integers(0, 3000, wide.sum())
    value[what == Limit.COMMANDS] = rng.integers(0, 6, (what == Limit.COMMANDS).sum())
    value[what == Limit.KILL] = rng.integers(0, 2, (what == Limit.KILL).sum())
    rates = what == Limit.RATE
    value[rates] = rng.choice([0, 1, 7, 100, (1 << 32) - 1], rates.sum())
    odd = _often(rng, n, 0.1)
    value[odd] = rng.choice(
        np.array([_UNLIMITED, _UNLIMITED - 1, 1 << 63, (1 << 63) - 1, 1 << 32, 2], np.uint64), odd.sum()
    )
    lifted = _often(rng, n, 0.2)
    value[lifted] = _UNLIMITED
    value[lifted & (what == Limit.KILL)] = 0
    out["opcode"][at], out["handle"][at] = Opcode.LIMIT, what
    out["quantity"][at], out["token"][at] = value & 0xFFFF_FFFF, value >> np.uint64(32)
    collars = np.flatnonzero((what == Limit.COLLAR) & ~odd & ~lifted)
    middle = out["price"][at[collars]].astype(np.int64)
    for name, edge in (("quantity", middle - 2), ("token", middle + 3)):
        out[name][at[collars]] = edge & 0xFFFF_FFFF
    return out


def _follows_loading(rows: Array) -> NDArray[np.bool]:
    """Which rows come behind a STATE(loading)."""
    loads = (rows["opcode"] == Opcode.STATE) & (rows["quantity"] == InstrumentState.LOADING)
    return np.concatenate([[False], loads[:-1]])


def rates(rng: Generator, geometry: Geometry) -> Array:
    """COMMANDs that give every instrument a window and a rate, and open it, and a FENCE."""
    parts = []
    for row in opening(geometry):
        part = row.reshape(1)
        parts.append(part)
        if part["opcode"] == Opcode.STATE and part["quantity"] == InstrumentState.LOADING:
            where = {"instrument": part["instrument"], "handle": Limit.RATE}
            parts.append(make(COMMAND, opcode=Opcode.LIMIT, **where, quantity=rng.integers(1, 9)))
    return np.concatenate(parts)


def without_band(rng: Generator, rows: Array, ticks: int = 1 << 32) -> Array:
    """COMMANDs or ORDERs whose instruments mostly have no band, for engines with the feature NO_BAND.

    Some prices are spread over ``ticks`` around zero.
    """
    out = rows.copy()
    loading = (out["opcode"] == Opcode.STATE) & (out["quantity"] == InstrumentState.LOADING)
    out["token"][loading & _often(rng, len(out), 0.9)] = 0
    spread = (out["opcode"] != Opcode.STATE) & _often(rng, len(out), 0.3)
    # Few of them, so that orders meet.
    places = rng.integers(-(ticks // 2), ticks // 2, 12)
    out["price"][spread] = rng.choice(places, spread.sum())
    return out
