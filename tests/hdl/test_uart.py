import random
from itertools import pairwise

import pytest
from hawse_hdl.link import UART, margin

BYTES = [0x00, 0xFF, 0x55, 0xAA, 0x7E, 0x01, 0x80]
DIVISOR = 16
#: Of a clock against the wire's bits.
PHASES = 6


def bits(byte):
    return [0, *(byte >> i & 1 for i in range(8)), 1]


@pytest.mark.parametrize(
    "simulator, divisor, stall",
    [("amaranth", 4, 0), ("amaranth", 5, 0.99), ("amaranth", DIVISOR, 0), ("verilator", DIVISOR, 0.99)],
)
def test_waveform_of_sent_bytes(drive, divisor, stall):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    _, trace = drive(
        UART(divisor),
        {"tx": BYTES},
        {},
        stalls={"tx": stall},
        seed=seed,
        watch=["txd"],
        rest=11 * divisor,
    )
    wave = [txd for [txd] in trace]
    at, starts = 0, []
    for byte in BYTES:
        starts.append(wave.index(0, at))
        at = starts[-1] + 10 * divisor
        assert wave[starts[-1] : at] == [b for b in bits(byte) for _ in range(divisor)]
    assert set(wave[at:]) == {1}
    if not stall:
        assert {after - before for before, after in pairwise(starts)} == {10 * divisor + 1}


async def listen(pins, wave, stall, seed):
    """What comes out of ``rx`` while ``wave`` is on the wire, one level a cycle."""
    rng, got = random.Random(seed), []
    for level in wave:
        ready = rng.random() >= stall
        pins.set("rxd", level)
        pins.set("rx__ready", int(ready))
        valid, byte = await pins.tick("rx__valid", "rx__payload")
        if valid and ready:
            got.append(byte)
    return got


async def listen_late(pins, wave):
    assert await listen(pins, wave, stall=1, seed=0) == []
    return await listen(pins, [1] * 4, stall=0, seed=0)


def sampled(levels, cycles_a_bit, phase):
    """``levels``, one a bit, as a clock sees them whose cycle is not a part of a bit."""
    n = int(len(levels) * cycles_a_bit)
    return [levels[min(int((i + phase) / cycles_a_bit), len(levels) - 1)] for i in range(n)]


@pytest.mark.parametrize(
    "simulator, drift, stall",
    [*(("amaranth", drift, 0) for drift in (0.96, 1.0, 1.04)), ("verilator", 1.04, 0.8)],
)
def test_received_bytes_despite_drift(simulate, drift, stall):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    data = BYTES + [rng.randrange(256) for _ in range(20)]
    levels = [1, 1, *(b for byte in data for b in bits(byte)), 1, 1, 1]
    wave = sampled(levels, DIVISOR * drift, rng.random())
    assert simulate(UART(DIVISOR), listen, wave=wave, stall=stall, seed=seed) == data


@pytest.mark.parametrize("simulator", ["amaranth"])
@pytest.mark.parametrize("divisor", [4, 12, 16])
def test_the_margin_is_what_it_is_said_to_be(simulate, divisor):
    """At every phase of the clock bytes arrive just inside of it, and at some not just outside."""

    def whole(drift):
        wave = []
        for step in range(PHASES):
            levels = [1, 1, *(b for byte in BYTES for b in bits(byte)), *[1] * 12]
            wave += sampled(levels, divisor * (1 + drift), (step + 0.5) / PHASES)
        return simulate(UART(divisor), listen, wave=wave, stall=0, seed=0) == BYTES * PHASES

    low, high = margin(divisor)
    assert whole(low + 0.004) and whole(high - 0.004)
    assert not whole(low - 0.012) and not whole(high + 0.012)


def test_from_twelve_cycles_a_bit_three_percent_are_within_the_margin_and_at_four_not():
    assert all(margin(n)[0] < -0.038 and margin(n)[1] > 0.05 for n in range(12, 500))
    assert margin(4)[0] > -0.03


def test_glitch_and_break_are_no_bytes(simulate):
    wave = [1] * 20 + [0] * 3 + [1] * 40  # shorter than half a bit
    wave += [0] * 400 + [1] * 40  # no stop bit
    wave += [b for b in bits(0x5A) for _ in range(DIVISOR)] + [1] * 20
    assert simulate(UART(DIVISOR), listen, wave=wave, stall=0, seed=0) == [0x5A]


def test_byte_that_nobody_takes_makes_place_for_the_next(simulate):
    wave = [b for byte in (1, 2) for b in bits(byte) for _ in range(DIVISOR)] + [1] * 10
    assert simulate(UART(DIVISOR), listen_late, wave=wave) == [2]


def test_a_divisor_too_small_is_refused():
    with pytest.raises(ValueError, match="divisor"):
        UART(3)
