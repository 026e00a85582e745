"""Comparisons, against plain numbers."""

import random

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.sim import Simulator
from hawse_hdl.compare import first, less, pairs_alike


def values(width, rng):
    """All of so many bits, or of many bits enough for every place of the lowest."""
    if width <= 8:
        return range(1 << width)
    return [0, (1 << width) - 1, *(rng.getrandbits(width) >> n << n for n in range(width) for _ in range(8))]


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 32])
def test_first_is_the_lowest_bit_set(width):
    word = Signal(width)
    some, index = first(word)
    hit, where, m = Signal(), Signal(max(1, len(index))), Module()
    assert 1 << len(index) == width
    m.d.comb += [hit.eq(some), where.eq(index)]

    async def body(ctx):
        for value in values(width, random.Random(1)):
            ctx.set(word, value)
            assert ctx.get(hit) == bool(value), value
            if value:
                assert ctx.get(where) == (value & -value).bit_length() - 1, value

    simulator = Simulator(m)
    simulator.add_testbench(body)
    simulator.run()


def test_less_is_less_and_pairs_are_alike():
    a, b = Signal(4), Signal(4)
    below, alike, m = Signal(), Signal(2), Module()
    m.d.comb += [below.eq(less(Cat(a, 0), Cat(b, 0))), alike.eq(pairs_alike(a, b))]

    async def body(ctx):
        for x in range(16):
            for y in range(16):
                ctx.set(a, x)
                ctx.set(b, y)
                assert ctx.get(below) == (x < y), (x, y)
                assert ctx.get(alike) == (x & 3 == y & 3) | (x >> 2 == y >> 2) << 1, (x, y)

    simulator = Simulator(m)
    simulator.add_testbench(body)
    simulator.run()
