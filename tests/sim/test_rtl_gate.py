"""The core with a gate before its book, beside the software engines: every beat the same."""

import numpy as np
import pytest
from hawse.engine import GoldenBackend, SoftBackend
from hawse.engine.backend import split
from hawse.engine.link import LinkBackend
from hawse.wire import Geometry, InstrumentState, Kind, Limit, Opcode, Reason, Side
from hawse.wire.dtypes import COMMAND, flags, kinds, make
from hawse_sim.board import VirtualBoard
from hawse_sim.differential import same_beats
from hawse_sim.flow import adversarial
from hawse_sim.rtl import RtlBackend

pytestmark = pytest.mark.ci  # two models of its own
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


def test_a_load_that_is_refused_late_comes_back():
    """Only the matcher sees that the other side rests at its price."""
    state = {"opcode": Opcode.STATE, "token": 64, "price": 100}
    load = {"opcode": Opcode.LOAD, "price": 110, "quantity": 5}
    new = make(COMMAND, opcode=Opcode.NEW, tag=1, handle=3, price=105, quantity=1)
    commands = [
        make(COMMAND, **state, quantity=InstrumentState.LOADING),
        make(COMMAND, **load, tag=2, handle=1, flags=flags(Side.SELL)),
        make(COMMAND, **load, tag=1, handle=2, flags=flags(Side.BUY)),
        make(COMMAND, opcode=Opcode.STATE, quantity=InstrumentState.OPEN),
        make(COMMAND, opcode=Opcode.LIMIT, handle=Limit.OPEN_ORDERS, tag=1, quantity=1),
        new,
        make(COMMAND, opcode=Opcode.FENCE),
        new,
        make(COMMAND, opcode=Opcode.FENCE),
    ]
    with RtlBackend(SMALL, gate=True) as rtl:
        rtl.reset(1)
        golden = GoldenBackend(SMALL, gate=True)
        golden.reset(1)
        records = split(same_beats([golden, rtl], np.concatenate(commands))).records
    reasons = [0, Reason.PRICE, 0, 0, Reason.OPEN_ORDERS, 0]
    assert records["reason"].tolist() == reasons


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_no_beat_differs_long(seed):
    with RtlBackend(SMALL, gate=True, stall=(0.0, 0.1, 0.6)[seed % 3], seed=seed) as rtl:
        compare([SoftBackend(SMALL, gate=True), rtl], seed, 200, 1000)
