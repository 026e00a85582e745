"""The price bitmap against sets of levels."""

import random

import pytest
from hawse.wire import Geometry, Side
from hawse_hdl.book.bitmap import PriceBitmap
from hawse_hdl.book.layouts import best_layout, place_layout
from hawse_hdl.book.queues import change_layout

CHANGE = change_layout()


def best(levels, side):
    return (max if side == Side.BUY else min)(levels, default=None)


def following(levels, side, level):
    """Next occupied level from ``level`` towards worse prices."""
    return best([o for o in levels if (o < level if side == Side.BUY else o > level)], side)


async def compare(pins, instruments, levels, seed):
    rng = random.Random(seed)
    places = [0, 1, 31, 32, 33, 1023, levels - 1, levels - 2, levels // 2, *rng.choices(range(levels), k=4)]
    geometry = Geometry(instruments=instruments, levels=levels)
    place, found = place_layout(geometry), best_layout(geometry)
    model = {(i, side): set() for i in range(instruments) for side in Side}

    def at(level, instrument):
        return place.const({"level": level, "instrument": instrument}).as_value().value

    async def change(changes):
        """One change a cycle: (instrument, side, level, occupied, wipe)."""
        for now, then in zip([*changes, None], [None, *changes], strict=True):
            if now:
                pins.set("changing", at(now[2], now[0]))
                pins.set("changing_side", int(now[1]))
            bits = {"valid": 1, "occupied": then[3], "wipe": then[4]} if then else {"valid": 0}
            pins.set("change", CHANGE.const(bits).as_value().value)
            await pins.tick()
        pins.set("change", 0)

    async def search(instrument, side, after=None):
        while await pins.get("settled") != [1]:
            await pins.tick()
        pins.set("seek", 1)
        pins.set("onward", int(after is not None))
        pins.set("place", at(after or 0, instrument))
        pins.set("side", int(side))
        await pins.tick()
        pins.set("seek", 0)
        if rng.random() < 0.2:  # the next search ends this one
            for _ in range(rng.randrange(9)):
                await pins.tick()
            return await search(instrument, side, after)
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
        instrument, side = rng.randrange(instruments), rng.choice(list(Side))
        for _ in range(rng.randrange(1, 7)):
            if rng.random() < 0.5:
                instrument, side = rng.randrange(instruments), rng.choice(list(Side))
            level = rng.choice(places)
            here = model[instrument, side]
            wipe = rng.random() < 0.03
            changes.append((instrument, side, level, int(level not in here and not wipe), int(wipe)))
            if wipe:
                here -= {other for other in here if other >> 5 == level >> 5}
            else:
                here ^= {level}
        await change(changes)
        for _ in range(3):
            instrument, side = rng.choice(list(model))
            here = model[instrument, side]
            assert await search(instrument, side) == best(here, side)
            level = rng.choice(places)
            assert await search(instrument, side, level) == following(here, side, level)


SIZES = [(instruments, levels) for instruments in (1, 3) for levels in (1024, 2048, 65536)]


@pytest.mark.parametrize(
    "simulator, instruments, levels",
    [*(("amaranth", *size) for size in SIZES), ("verilator", 3, 2048)],
)
def test_agrees_with_sets(simulate, instruments, levels):
    seed = random.randrange(2**32)
    print("seed", seed)
    dut = PriceBitmap(Geometry(instruments=instruments, levels=levels))
    simulate(dut, compare, instruments=instruments, levels=levels, seed=seed)
