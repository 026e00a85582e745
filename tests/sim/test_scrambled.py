"""Gateware whose registers and memories begin with anything, and which is reset in mid-stream."""

import random
from collections import deque

import numpy as np
import pytest
from hawse.engine import GoldenBackend
from hawse.engine.backend import beats
from hawse.engine.link import LinkEnd
from hawse.wire import Geometry
from hawse_sim.board import ApplianceModel
from hawse_sim.differential import compare_commands, demand_same, same_beats
from hawse_sim.flow import adversarial
from hawse_sim.rtl import RtlBackend

#: A root of one bit, of two words; instruments that are no power of two; the least of everything.
LEAST = Geometry(instruments=1, pool=1024, orders=64, tag_bits=1)
#: A model of its own each.
GEOMETRIES = [LEAST, Geometry(2, 2048, 64, 4), Geometry(3, 4096, 256, 16), Geometry(5, 1024, 128, 3)]
SEEDS = 40


@pytest.mark.ci
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_reset_makes_nothing_of_what_was_there_before(geometry):
    for seed in range(1, SEEDS + 1):
        with RtlBackend(geometry, scramble=seed, stall=0.2, seed=seed) as rtl:
            compare_commands([GoldenBackend(geometry), rtl], seed, 2, 120)


@pytest.mark.parametrize(
    "geometry", [LEAST, *(pytest.param(g, marks=pytest.mark.ci) for g in GEOMETRIES[1:])], ids=str
)
def test_a_reset_in_mid_stream(geometry):
    seed = random.randrange(1, 2**31)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    golden = GoldenBackend(geometry)
    with RtlBackend(geometry, scramble=seed, stall=0.1, seed=seed) as rtl:
        for epoch in range(2, 2 + SEEDS):
            # In the middle of commands, of hashing, or of the clearing of memories after the last reset.
            if rng.random() < 0.8:
                rtl.exchange(adversarial.opening(geometry))
            rtl.interrupt(adversarial.commands(rng, geometry, 300), int(rng.integers(1, 900)))
            if rng.random() < 0.5:
                rtl.reset(epoch)
            else:
                rtl.reset_by_input(epoch)
            golden.reset(epoch)
            same_beats([golden, rtl], adversarial.opening(geometry))
            same_beats([golden, rtl], adversarial.commands(rng, geometry, 60))


class Line:
    """The host's end of the link at an appliance in this process, whose line is cut now and then."""

    def __init__(self, model):
        self.model, self.end, self.now = model, LinkEnd(timeout=0.05), 0.0

    def step(self, cycles=4000):
        self.now += 0.01
        out = self.end.tick(self.now)
        taken, data = self.model.run(out, cycles, keep_on=self.model.unacked)
        while taken < len(out):
            more, told = self.model.run(out[taken:], cycles)
            taken, data = taken + more, data + told
        self.end.receive(data, self.now)

    def begin(self, epoch):
        self.end.reset(epoch)
        for _ in range(200):
            self.step()
            if self.end.open:
                return
        raise AssertionError("no answer to RESET")

    def exchange(self, commands, count):
        raw, got = commands.tobytes(), bytearray()
        waiting = deque(raw[at : at + 256] for at in range(0, len(raw), 256))
        for payload in waiting:
            self.end.send(payload)
        for _ in range(4000):
            self.step()
            while self.end.received:
                got += self.end.received.popleft()
            if len(got) >= 32 * count:
                return beats(got)
        raise AssertionError(f"{len(got) // 32} of {count} beats came")

    def cut(self, commands, rng):
        """Send commands, and stop listening in the middle of a frame, either way."""
        raw = commands.tobytes()
        for at in range(0, len(raw), 256):
            self.end.send(raw[at : at + 256])
        for _ in range(int(rng.integers(1, 6))):
            self.step(int(rng.integers(20, 900)))
        out = self.end.tick(self.now)
        self.model.run(out[: len(out) // 2], 300)


@pytest.mark.ci  # a model of its own
def test_an_appliance_whose_epochs_end_in_the_middle_of_frames():
    seed = random.randrange(1, 2**31)
    print(f"seed {seed}")
    rng, golden = np.random.default_rng(seed), GoldenBackend(LEAST)
    for start in range(4):
        model = ApplianceModel(LEAST, scramble=seed % (2**31 - 8) + 1 + start)
        line = Line(model)
        for epoch in range(1, 13):
            if rng.random() < 0.2:
                model.reset()  # power loss; a host that does not know of it begins the next epoch
            line.begin(epoch)
            golden.reset(epoch)
            for commands in (adversarial.opening(LEAST), adversarial.commands(rng, LEAST, 60)):
                expected = golden.exchange(commands)
                demand_same(("golden", "appliance"), expected, line.exchange(commands, len(expected)))
            line.cut(adversarial.commands(rng, LEAST, 80), rng)
        model.close()
