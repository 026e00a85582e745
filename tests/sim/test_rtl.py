import struct

import numpy as np
import pytest
from hawse.engine import EngineError, GoldenBackend, SoftBackend, split
from hawse.wire import Geometry, InstrumentState, Opcode
from hawse.wire.dtypes import COMMAND, make
from hawse_sim.differential import Difference, compare_commands, demand_same
from hawse_sim.rtl import RtlBackend, RtlStalled

# That of tests/host/test_engine_differential.py, so that one build serves both.
SMALL = Geometry(instruments=2, levels=1024, orders=64, account_bits=4)

OPENING = np.concatenate(
    [
        make(COMMAND, opcode=Opcode.STATE, quantity=InstrumentState.LOADING, price=500),
        make(COMMAND, opcode=Opcode.STATE, quantity=InstrumentState.OPEN),
        make(COMMAND, opcode=Opcode.FENCE, tag=9),
    ]
)


@pytest.fixture
def rtl():
    with RtlBackend(SMALL) as backend:
        yield backend


@pytest.mark.parametrize("stall", [0.05, 0.3, 0.8])
def test_stalls_change_no_answer(stall):
    seed = int(stall * 1000)
    with RtlBackend(SMALL, stall=stall, seed=seed) as rtl:
        compare_commands([GoldenBackend(SMALL), rtl], seed, 6, 300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_stalls_change_no_answer_long(seed):
    with RtlBackend(SMALL, stall=0.4, seed=seed) as rtl:
        compare_commands([SoftBackend(SMALL), rtl], seed, 40, 1000)


@pytest.mark.slow
def test_larger_geometry():
    geometry = Geometry(instruments=3, levels=4096, orders=256, account_bits=32)
    with RtlBackend(geometry) as rtl:
        compare_commands([SoftBackend(geometry), rtl], 11, 10, 500)


def test_a_different_seed_stalls_differently():
    def cycles(seed):
        with RtlBackend(SMALL, stall=0.3, seed=seed) as rtl:
            for _ in range(5):
                rtl.exchange(OPENING)
            return rtl.cycles

    assert cycles(1) == cycles(1) != cycles(2)


def test_a_reset_forgets_everything(rtl):
    first = rtl.exchange(OPENING)
    rtl.reset(0)
    demand_same(("after reset", "at first"), rtl.exchange(OPENING), first)
    rtl.reset(8)
    with pytest.raises(Difference):
        demand_same(("epoch 8", "epoch 0"), rtl.exchange(OPENING), first)
    assert split(rtl.exchange(OPENING)).fences[0].epoch == 8


def test_counters(rtl):
    assert rtl.commands == 0 and rtl.cycles_per_command == 0
    rtl.exchange(OPENING)
    before = rtl.cycles, rtl.busy_cycles
    rtl.exchange(OPENING)
    assert rtl.commands == 6
    assert before[0] + 3 < rtl.cycles and before[1] + 3 <= rtl.busy_cycles <= rtl.cycles
    assert rtl.cycles_per_command == rtl.busy_cycles / 6
    idle = rtl.busy_cycles
    rtl.idle(1000)
    assert rtl.cycles > before[0] + 1000 and rtl.busy_cycles == idle


def test_answers_only_to_what_ends(rtl):
    with pytest.raises(ValueError, match="FENCE, CLOSE or HELLO"):
        rtl.exchange(OPENING[:2])


def test_a_stuck_engine_is_reported():
    # Clearing the store after a reset takes a cycle for each handle.
    with RtlBackend(SMALL, patience=20) as rtl, pytest.raises(RtlStalled, match="20 cycles"):
        rtl.exchange(OPENING)


def test_use_after_close():
    rtl = RtlBackend(SMALL)
    rtl.close()
    rtl.close()
    with pytest.raises(EngineError, match="after close"):
        rtl.exchange(OPENING)


def test_impossible_parameters():
    with pytest.raises(ValueError, match="stall"):
        RtlBackend(SMALL, stall=1.0)
    with pytest.raises(ValueError, match="holds no cycle"):
        RtlBackend(SMALL, trace_from=5, trace_to=5)


def test_a_waveform_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        RtlBackend(SMALL, trace=tmp_path / "nowhere" / "core.fst")


def span(file):
    """First and last time of an FST file: in its header block, which comes first."""
    kind, _, begin, end = struct.unpack_from(">BQQQ", file.read_bytes())
    assert kind == 0
    return begin, end


def test_waveform_covers_the_chosen_cycles(tmp_path):
    file = tmp_path / "core.fst"
    with RtlBackend(SMALL, trace=file, trace_from=30, trace_to=100) as rtl:
        traced = rtl.exchange(OPENING)
        assert rtl.cycles > 100
    # A cycle is 10 ns long, its falling edge in the middle.
    assert span(file) == (300, 995)
    with RtlBackend(SMALL) as plain:
        demand_same(("traced", "plain"), traced, plain.exchange(OPENING))


def test_waveform_up_to_the_end(tmp_path):
    file = tmp_path / "core.fst"
    with RtlBackend(SMALL, trace=file) as rtl:
        rtl.exchange(OPENING)
        last = rtl.cycles
    begin, end = span(file)
    assert begin <= 10 and end == 10 * last
