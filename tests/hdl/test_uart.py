import random

import pytest
from amaranth.sim import Simulator
from hawse_hdl.link import UART

BYTES = [0x00, 0xFF, 0x55, 0xAA, 0x7E, 0x01, 0x80]


def simulate(dut, *benches):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in benches[:-1]:
        sim.add_testbench(bench, background=True)
    sim.add_testbench(benches[-1])
    sim.run()


def bits(byte):
    return [0, *(byte >> i & 1 for i in range(8)), 1]


@pytest.mark.parametrize("divisor", [4, 5, 16])
def test_waveform_of_sent_bytes(divisor):
    dut = UART(divisor)
    wave = []

    async def feed(ctx):
        for byte in BYTES:
            ctx.set(dut.tx.payload, byte)
            ctx.set(dut.tx.valid, 1)
            await ctx.tick().until(dut.tx.ready)
        ctx.set(dut.tx.valid, 0)

    async def watch(ctx):
        for _ in range((10 * divisor + 1) * len(BYTES) + 20):
            wave.append(ctx.get(dut.txd))
            await ctx.tick()

    simulate(dut, feed, watch)
    at = 0
    for byte in BYTES:
        at = wave.index(0, at)
        assert wave[at : at + 10 * divisor] == [b for b in bits(byte) for _ in range(divisor)]
        at += 10 * divisor
    assert set(wave[at:]) == {1}


def receive(dut, wave):
    """What the UART makes of ``wave``, one level a clock."""
    got = []

    async def drive(ctx):
        ctx.set(dut.rx.ready, 1)
        for level in wave:
            ctx.set(dut.rxd, level)
            _, _, valid, byte = await ctx.tick().sample(dut.rx.valid, dut.rx.payload)
            if valid:
                got.append(byte)

    simulate(dut, drive)
    return got


def sampled(levels, cycles_a_bit, phase):
    """``levels``, one a bit, as a clock sees them whose cycle is not a part of a bit."""
    n = int(len(levels) * cycles_a_bit)
    return [levels[min(int((i + phase) / cycles_a_bit), len(levels) - 1)] for i in range(n)]


@pytest.mark.parametrize("drift", [0.96, 1.0, 1.04])
def test_received_bytes_despite_drift(drift):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    data = BYTES + [rng.randrange(256) for _ in range(20)]
    levels = [1, 1, *(b for byte in data for b in bits(byte)), 1, 1]
    assert receive(UART(16), sampled(levels, 16 * drift, rng.random())) == data


def test_glitch_and_break_are_no_bytes():
    wave = [1] * 20 + [0] * 3 + [1] * 40  # shorter than half a bit
    wave += [0] * 400 + [1] * 40  # no stop bit
    wave += [b for b in bits(0x5A) for _ in range(16)] + [1] * 20
    assert receive(UART(16), wave) == [0x5A]


def test_byte_that_nobody_takes_makes_place_for_the_next():
    dut = UART(4)
    wave = [b for byte in (1, 2) for b in bits(byte) for _ in range(4)] + [1] * 10

    async def drive(ctx):
        for level in wave:
            ctx.set(dut.rxd, level)
            await ctx.tick()
        assert ctx.get(dut.rx.valid) and ctx.get(dut.rx.payload) == 2

    simulate(dut, drive)


def test_a_divisor_too_small_is_refused():
    with pytest.raises(ValueError, match="divisor"):
        UART(3)
