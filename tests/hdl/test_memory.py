"""Block RAM: forwarded reads, and what synthesis makes of a memory against what simulation takes it for."""

import random

import pytest
from amaranth.hdl import Fragment
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator
from hawse_hdl.block_rams import BlockRams, LoweringError, lowered
from hawse_hdl.memory import NO_COLLISION, ForwardedMemory
from hawse_hdl.streams import BlockFIFO, RegisteredFIFO

PLATFORMS = pytest.mark.parametrize("platform", [None, BlockRams()], ids=["plain", "block-rams"])


def simulate(component, platform, testbench):
    simulator = Simulator(Fragment.get(component, platform))
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("late", [True, False], ids=["late", "before"])
@PLATFORMS
def test_a_forwarded_read_shows_every_write_before_it(platform, late):
    """The words are few, so that reads meet writes of their own cycle, of the one before and older ones."""
    memory, rng = ForwardedMemory(8, 4, late=late), random.Random(1)

    async def testbench(ctx):
        words = [0] * 4
        for word in range(4):
            ctx.set(memory.write, 1)
            ctx.set(memory.address, word)
            ctx.set(memory.value, 0)
            await ctx.tick()
        read = 0
        for _ in range(2000):
            write, address, value = rng.getrandbits(1), rng.randrange(4), rng.getrandbits(8)
            ctx.set(memory.write, write)
            ctx.set(memory.address, address)
            ctx.set(memory.value, value)
            before = words[read]
            if late:
                ctx.set(memory.same, write and address == read)
            if write:
                words[address] = value
            assert ctx.get(memory.data) == (words[read] if late else before)
            read = rng.randrange(4)
            ctx.set(memory.read, read)
            await ctx.tick()

    simulate(memory, platform, testbench)


@pytest.mark.parametrize("attrs", [{}, NO_COLLISION], ids=["collisions", "none"])
@pytest.mark.parametrize(("width", "depth"), [(5, 4096), (13, 4096), (7, 16), (2, 32768)])
@PLATFORMS
def test_a_memory_in_block_rams_reads_what_was_written(platform, width, depth, attrs):
    """Wider and deeper than one block RAM, so that it is split, with and without read enable."""
    memory, rng = Memory(shape=width, depth=depth, init=[], attrs=attrs), random.Random(2)
    write, read = memory.write_port(), memory.read_port()

    async def testbench(ctx):
        words, shown = {}, 0
        for _ in range(3000):
            at, value = rng.randrange(depth), rng.getrandbits(width)
            ctx.set(write.en, enabled := rng.getrandbits(1))
            ctx.set(write.addr, at)
            ctx.set(write.data, value)
            known = [address for address in words if address != at or not enabled]
            ctx.set(read.en, takes := rng.getrandbits(1) and bool(known))
            if takes:
                address = rng.choice(known)
                ctx.set(read.addr, address)
                shown = words[address]
            await ctx.tick()
            if enabled:
                words[at] = value
            if words:
                assert ctx.get(read.data) == shown

    simulate(memory, platform, testbench)


@pytest.mark.parametrize("attrs", [{}, NO_COLLISION], ids=["collisions", "none"])
@pytest.mark.parametrize(("width", "depth"), [(32, 4096), (3, 32768)])
@PLATFORMS
def test_a_memory_in_block_rams_begins_with_what_it_was_given(platform, width, depth, attrs):
    """In lanes, and in lanes and banks: each word differs from its neighbours."""
    mask = (1 << width) - 1
    words = [(0xDEADBEEF + 7 * n) & mask for n in range(depth)]
    memory = Memory(shape=width, depth=depth, init=words, attrs=attrs)
    read = memory.read_port()

    async def testbench(ctx):
        for address in (0, 1, 4095, depth // 2, depth - 1):
            ctx.set(read.addr, address)
            await ctx.tick()
            assert ctx.get(read.data) == words[address]

    simulate(memory, platform, testbench)


def test_byte_enables_are_refused_where_they_would_be_lost():
    memory = Memory(shape=32, depth=4096, init=[])
    memory.write_port(granularity=8)
    memory.read_port()
    with pytest.raises(LoweringError, match="4096 words of 32 bits: 4 write enables a word"):
        lowered(memory, "top")


def test_a_transparent_port_is_refused_where_it_would_not_be_one():
    memory = Memory(shape=32, depth=4096, init=[])
    memory.read_port(transparent_for=(memory.write_port(),))
    with pytest.raises(LoweringError, match="transparent"):
        lowered(memory, "top")


@PLATFORMS
def test_a_memory_that_needs_no_layout_keeps_byte_enables_and_contents(platform):
    memory = Memory(shape=32, depth=512, init=[0xDEADBEEF])
    write, read = memory.write_port(granularity=8), memory.read_port()

    async def testbench(ctx):
        ctx.set(write.en, 0b0010)
        ctx.set(write.data, 0x11223344)
        await ctx.tick()
        ctx.set(write.en, 0)
        assert ctx.get(read.data) == 0xDEADBEEF
        await ctx.tick()
        assert ctx.get(read.data) == 0xDEAD33EF

    simulate(memory, platform, testbench)


@pytest.mark.parametrize("kind", [BlockFIFO, RegisteredFIFO])
@PLATFORMS
def test_a_queue_in_block_ram_keeps_order(platform, kind):
    queue, rng = kind(width=9, depth=8), random.Random(3)
    sent, received = [], []

    async def testbench(ctx):
        for _ in range(3000):
            valid, value, ready = rng.getrandbits(1), rng.getrandbits(9), rng.getrandbits(1)
            ctx.set(queue.w_en, valid)
            ctx.set(queue.w_data, value)
            ctx.set(queue.r_en, ready)
            if valid and ctx.get(queue.w_rdy):
                sent.append(value)
            if ready and ctx.get(queue.r_rdy):
                received.append(ctx.get(queue.r_data))
            await ctx.tick()

    simulate(queue, platform, testbench)
    assert len(received) > 1000 and received == sent[: len(received)]
