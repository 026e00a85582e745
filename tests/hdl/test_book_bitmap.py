"""The price bitmap against a set of levels."""

import random

import pytest
from hawse.wire import Geometry, Side
from hawse_hdl.book.bitmap import PriceBitmap, best_layout


def best(levels, side):
    return (max if side == Side.BUY else min)(levels, default=None)


def following(levels, side, level):
    """Next occupied level from ``level`` towards worse prices."""
    worse = [other for other in levels if (other < level if side == Side.BUY else other > level)]
    return best(worse, side)


async def compare(pins, instruments, levels, stall, seed):
    rng = random.Random(seed)
    places = [0, 1, 31, 32, 33, 1023, levels - 1, levels - 2, levels // 2, *rng.choices(range(levels), k=4)]
    layout = best_layout(Geometry(instruments=instruments, levels=levels))

    async def strobe(name):
        while rng.random() < stall:
            await pins.tick()
        pins.set(name, 1)
        await pins.tick()
        pins.set(name, 0)
        for _ in range(5):
            if await pins.get("ready") == [1]:
                return
            await pins.tick()
        raise AssertionError("a search that never ends")

    async def levels_of(*ports):
        answers = map(layout.from_bits, await pins.get(*ports))
        return [answer.level if answer.found else None for answer in answers]

    model = {(i, side): set() for i in range(instruments) for side in Side}
    for _ in range(400):
        instrument, side, level = rng.randrange(instruments), rng.choice(list(Side)), rng.choice(places)
        here = model[instrument, side]
        pins.set("instrument", instrument)
        if rng.random() < 0.02:
            await strobe("clear")
            for s in Side:
                model[instrument, s].clear()
        pins.set("side", side)
        pins.set("level", level)
        await strobe("look")
        assert await pins.get("occupied") == [level in here]
        if level not in here:
            await strobe("insert")
            here.add(level)
        elif rng.random() < 0.5:
            await strobe("advance")
            assert await levels_of("next") == [following(here, side, level)]
        else:
            await strobe("remove")
            here.remove(level)
        other = rng.randrange(instruments)
        pins.set("instrument", other)
        assert await levels_of("bid", "ask") == [
            best(model[other, side], side) for side in (Side.BUY, Side.SELL)
        ]


SIZES = [(instruments, levels) for instruments in (1, 3) for levels in (1024, 2048, 65536)]


@pytest.mark.parametrize(
    "simulator, instruments, levels, stall",
    [*(("amaranth", *size, 0) for size in SIZES), ("verilator", 3, 2048, 0.3)],
)
def test_agrees_with_a_set(simulate, instruments, levels, stall):
    seed = random.randrange(2**32)
    print("seed", seed)
    dut = PriceBitmap(Geometry(instruments=instruments, levels=levels))
    simulate(dut, compare, instruments=instruments, levels=levels, stall=stall, seed=seed)
