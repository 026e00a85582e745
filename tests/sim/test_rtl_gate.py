"""The core with a gate before its book, beside the software engines: every beat the same."""

import numpy as np
import pytest
from hawse.engine import GoldenBackend, SoftBackend
from hawse.engine.backend import split
from hawse.engine.link import LinkBackend
from hawse.wire import Geometry, Kind, Reason
from hawse.wire.dtypes import kinds
from hawse_sim.board import VirtualBoard
from hawse_sim.differential import same_beats
from hawse_sim.flow import adversarial
from hawse_sim.rtl import RtlBackend

# That of tests/host/test_engine_gate.py, so that one build serves both.
SMALL = Geometry(instruments=4, pool=1024, orders=64, tag_bits=4)


def compare(engines, seed, bursts, size):
    """How often each reason of a rejection came."""
    rng = np.random.default_rng(seed)
    for engine in engines:
        engine.reset(1 + seed)
    same_beats(engines, adversarial.rates(rng, SMALL))
    seen = np.zeros(256, np.int64)
    for _ in range(bursts):
        told = same_beats(engines, adversarial.with_limits(rng, adversarial.commands(rng, SMALL, size)))
        records = split(told).records
        seen += np.bincount(records["reason"][kinds(records) == Kind.REJECTED], minlength=256)
    return seen


@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_no_beat_differs(stall):
    with RtlBackend(SMALL, gate=True, stall=stall, seed=3) as rtl:
        engines = [GoldenBackend(SMALL, gate=True), rtl]
        seen = sum(compare(engines, seed, 25, 300) for seed in range(2))
    assert all(seen[reason] for reason in (*range(Reason.KILLED, Reason.COLLAR + 1), Reason.WHAT))


def test_a_board_with_a_gate_answers_as_the_model():
    with VirtualBoard(SMALL, gate=True) as board:
        link = LinkBackend(board.url)
        seen = compare([GoldenBackend(SMALL, gate=True), link], link.epoch, 6, 200)
        link.close()
    assert seen[Reason.KILLED : Reason.COLLAR + 1].any()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_no_beat_differs_long(seed):
    with RtlBackend(SMALL, gate=True, stall=(0.0, 0.1, 0.6)[seed % 3], seed=seed) as rtl:
        compare([SoftBackend(SMALL, gate=True), rtl], seed, 200, 1000)
