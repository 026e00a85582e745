"""The price bitmap against sets of levels, and searches of it against windows of them."""

import random

import pytest
from hawse.wire import Geometry, Side
from hawse_hdl.book.bitmap import PriceBitmap
from hawse_hdl.book.layouts import best_layout
from hawse_hdl.book.queues import change_layout

CHANGE = change_layout()


def best(levels, side):
    return (max if side == Side.BUY else min)(levels, default=None)


def following(levels, side, level):
    """Next occupied level from ``level`` towards worse prices."""
    return best([o for o in levels if (o < level if side == Side.BUY else o > level)], side)


def windows_of(pool):
    """First level and count of some that lie side by side, and of those that hold them."""
    mid = 1024  # levels of a word of the middle
    out = [
        (first, 64) for at in {0, mid, pool // 2, pool - 64} for first in (at - 64, at) if 0 <= first < pool
    ]
    sizes = [count for count in (128, 512, mid, 2 * mid, pool // 2, pool) if count <= pool]
    return out + [(at // count * count, count) for count in sizes for at in (0, pool // 2, pool - 1)]


async def compare(pins, pool, seed):
    rng = random.Random(seed)
    windows = windows_of(pool)
    ends = [first + at for first, count in windows for at in (0, 1, 31, 32, count - 32, count - 1)]
    places = sorted({*ends, *rng.choices(range(pool), k=9)})
    found = best_layout(Geometry(pool=pool))
    model = {side: set() for side in Side}

    async def change(changes):
        """One change a cycle: (side, level, occupied, wipe)."""
        for now, then in zip([*changes, None], [None, *changes], strict=True):
            if now:
                pins.set("changing", now[1])
                pins.set("changing_side", int(now[0]))
            bits = {"valid": 1, "occupied": then[2], "wipe": then[3]} if then else {"valid": 0}
            pins.set("change", CHANGE.const(bits).as_value().value)
            await pins.tick()
        pins.set("change", 0)

    async def search(window, side, place, onward):
        while await pins.get("settled") != [1]:
            await pins.tick()
        pins.set("seek", 1)
        pins.set("onward", int(onward))
        pins.set("place", place)
        pins.set("mask", window[1] // 64 - 1)
        pins.set("side", int(side))
        await pins.tick()
        pins.set("seek", 0)
        pins.set("mask", rng.randrange(pool // 64))  # it has been heard
        if rng.random() < 0.2:  # the next search ends this one
            for _ in range(rng.randrange(9)):
                await pins.tick()
            return await search(window, side, place, onward)
        for _ in range(13):
            if await pins.get("ready") == [1]:
                break
            await pins.tick()
        else:
            raise AssertionError("a search that never ends")
        (bits,) = await pins.get("found")
        answer = found.from_bits(bits)
        return answer.level if answer.found else None

    for _ in range(150):
        changes = []
        side, near = rng.choice(list(Side)), rng.randrange(len(places))
        for _ in range(rng.randrange(1, 7)):
            if rng.random() < 0.5:
                side, near = rng.choice(list(Side)), rng.randrange(len(places))
            level = places[(near + rng.randrange(4)) % len(places)]
            here = model[side]
            wipe = rng.random() < 0.03
            changes.append((side, level, int(level not in here and not wipe), int(wipe)))
            if wipe:
                here -= {other for other in here if other >> 5 == level >> 5}
            else:
                here ^= {level}
        await change(changes)
        for _ in range(4):
            side, window = rng.choice(list(Side)), rng.choice(windows)
            inside = range(window[0], window[0] + window[1])
            here = {level for level in model[side] if level in inside}
            level = rng.choice([at for at in places if at in inside])
            assert await search(window, side, level, False) == best(here, side)
            assert await search(window, side, level, True) == following(here, side, level)


SIZES = (1024, 2048, 4096, 32768, 262144)


@pytest.mark.parametrize("simulator, pool", [*(("amaranth", size) for size in SIZES), ("verilator", 4096)])
def test_agrees_with_sets(simulate, pool):
    seed = random.randrange(2**32)
    print("seed", seed)
    simulate(PriceBitmap(Geometry(pool=pool)), compare, pool=pool, seed=seed)
