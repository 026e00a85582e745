"""The price bitmap against a set of levels."""

import random

import pytest
from amaranth.sim import Simulator
from hawse.wire import Geometry, Side
from hawse_hdl.book.bitmap import PriceBitmap


def best(levels, side):
    return (max if side == Side.BUY else min)(levels, default=None)


def following(levels, side, level):
    """Next occupied level from ``level`` towards worse prices."""
    worse = [other for other in levels if (other < level if side == Side.BUY else other > level)]
    return best(worse, side)


@pytest.mark.parametrize("levels", [1024, 2048, 65536])
@pytest.mark.parametrize("instruments", [1, 3])
def test_agrees_with_a_set(levels, instruments):
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    dut = PriceBitmap(Geometry(instruments=instruments, levels=levels))
    places = [0, 1, 31, 32, 33, 1023, levels - 1, levels - 2, levels // 2, *rng.choices(range(levels), k=4)]

    async def bench(ctx):
        async def strobe(signal):
            ctx.set(signal, 1)
            await ctx.tick()
            ctx.set(signal, 0)
            for _ in range(5):
                if ctx.get(dut.ready):
                    return
                await ctx.tick()
            raise AssertionError("a search that never ends")

        def found(port):
            answer = ctx.get(port)
            return answer.level if answer.found else None

        model = {(i, side): set() for i in range(instruments) for side in Side}
        for _ in range(400):
            instrument, side, level = rng.randrange(instruments), rng.choice(list(Side)), rng.choice(places)
            here = model[instrument, side]
            ctx.set(dut.instrument, instrument)
            if rng.random() < 0.02:
                await strobe(dut.clear)
                for s in Side:
                    model[instrument, s].clear()
            ctx.set(dut.side, side)
            ctx.set(dut.level, level)
            await strobe(dut.look)
            assert ctx.get(dut.occupied) == (level in here)
            if level not in here:
                await strobe(dut.insert)
                here.add(level)
            elif rng.random() < 0.5:
                await strobe(dut.advance)
                assert found(dut.next) == following(here, side, level)
            else:
                await strobe(dut.remove)
                here.remove(level)
            other = rng.randrange(instruments)
            ctx.set(dut.instrument, other)
            assert found(dut.bid) == best(model[other, Side.BUY], Side.BUY)
            assert found(dut.ask) == best(model[other, Side.SELL], Side.SELL)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
