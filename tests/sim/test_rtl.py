import struct

import numpy as np
import pytest
from hawse.engine import EngineError, GoldenBackend, SoftBackend, split
from hawse.wire import Geometry, InstrumentState, Kind, Opcode
from hawse.wire.dtypes import COMMAND, make
from hawse_sim.differential import Difference, compare_commands, demand_same
from hawse_sim.rtl import RtlBackend, RtlStalled
from tiny_keccak import keccak256

# That of tests/host/test_engine_differential.py, so that one build serves both.
SMALL = Geometry(instruments=2, pool=2048, orders=64, tag_bits=4)

OPENING = np.concatenate(
    [
        make(COMMAND, opcode=Opcode.STATE, quantity=InstrumentState.LOADING, token=1024, price=500),
        make(COMMAND, opcode=Opcode.STATE, quantity=InstrumentState.OPEN),
        make(COMMAND, opcode=Opcode.FENCE, token=9),
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
    geometry = Geometry(instruments=3, pool=4096, orders=256, tag_bits=16)
    with RtlBackend(geometry) as rtl:
        compare_commands([SoftBackend(geometry), rtl], 11, 10, 500)


def orders(count, first=0):
    """Good-till-cancel orders of both sides that cross now and then."""
    rng = np.random.default_rng(count)
    out = np.zeros(count, COMMAND)
    out["opcode"] = Opcode.NEW
    out["seq"] = np.arange(1, count + 1) + 1000 * first
    out["flags"] = rng.integers(0, 2, count)
    out["handle"] = (first + np.arange(count)) % SMALL.orders
    out["price"] = rng.integers(900, 940, count)
    out["quantity"] = rng.integers(1, 9, count)
    return out


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_batches_closed_twice_and_with_commands_in_the_pipe(stall):
    """CLOSE counts what entered before it and nothing behind it, all offered back to back."""
    parts = [OPENING]
    for batch in range(1, 5):
        parts += [orders(150, batch), make(COMMAND, opcode=Opcode.CLOSE, token=batch)]
        parts += [make(COMMAND, opcode=Opcode.CLOSE, token=100 + batch)] * 2
    commands = np.concatenate([*parts, orders(3), make(COMMAND, opcode=Opcode.FENCE)])
    with RtlBackend(SMALL, stall=stall) as rtl:
        beats = rtl.exchange(commands)
    golden = GoldenBackend(SMALL)
    demand_same(("rtl", "golden"), beats, golden.exchange(commands))
    batches, empty = split(beats).batches, bytes(keccak256(b""))
    assert [b.token for b in batches[:4]] == [1, 101, 101, 2]
    assert all((b.records >= 150, b.root != empty) == (b.token < 100,) * 2 for b in batches)
    assert all((b.leaves == 0 and b.records == 0) == (b.token > 100) for b in batches)


@pytest.mark.parametrize("wait", range(0, 400, 57))
def test_a_reset_in_the_middle_of_a_permutation_leaves_no_trace(rtl, wait):
    """A HELLO is answered before the records ahead of it are hashed, so the hash cores are at work then."""
    hello, ends = make(COMMAND, opcode=Opcode.HELLO), make(COMMAND, opcode=Opcode.CLOSE)
    rtl.exchange(np.concatenate([OPENING, orders(150), hello]))
    rtl.idle(wait)
    rtl.reset(3)
    commands = np.concatenate([OPENING, orders(70, 5), ends])
    golden = GoldenBackend(SMALL)
    golden.reset(3)
    demand_same(("rtl", "golden"), rtl.exchange(commands), golden.exchange(commands))


def test_how_long_hashing_holds_the_book_and_a_record(rtl):
    """Fences one behind the other make both wait; records alone never do."""
    rtl.exchange(OPENING)
    fence = make(COMMAND, opcode=Opcode.FENCE)
    rtl.exchange(np.concatenate([*(orders(500, n) for n in range(9)), fence]))
    assert rtl.held_cycles == rtl.log_cycles == 0 < rtl.record_level
    rtl.exchange(np.concatenate([np.concatenate([orders(2, n), fence]) for n in range(60)]))
    assert rtl.held_cycles > 0 == rtl.full_cycles
    assert rtl.beat_level > 0 and rtl.fence_cycles > 300 and rtl.log_cycles > 300


def rests(side, price, first):
    """As many orders as the store holds but one, each of one lot."""
    out = np.zeros(SMALL.orders - 1, COMMAND)
    out["opcode"], out["flags"], out["price"], out["quantity"] = Opcode.NEW, side, price, 1
    out["handle"] = np.arange(len(out))
    out["seq"] = first + np.arange(len(out))
    return out


def sweep(side, price, seq):
    """One order that takes all that :func:`rests` gave."""
    last = SMALL.orders - 1
    fields = dict(flags=side, price=price, quantity=last, handle=last, seq=seq)
    return make(COMMAND, opcode=Opcode.NEW, **fields)


@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_one_hash_core_holds_the_book_and_loses_no_record(stall):
    """A flood fills its queue; sweeps and mass cancels meet it full, and so does a FENCE among them."""
    hello, mass = make(COMMAND, opcode=Opcode.HELLO), make(COMMAND, opcode=Opcode.MASS_CANCEL)
    fence, close = make(COMMAND, opcode=Opcode.FENCE), make(COMMAND, opcode=Opcode.CLOSE, token=1)
    flood = np.concatenate([*(orders(500, n) for n in range(4)), mass])
    sweeps, cancels = [], []
    for n in range(10):
        sweeps += [rests(n % 2, 920, 10_000 + 100 * n), sweep(1 - n % 2, 920, 10_099 + 100 * n)]
        cancels += [rests(n % 2, 930, 20_000 + 100 * n), mass]
    golden, kinds = GoldenBackend(SMALL), []
    with RtlBackend(SMALL, hash_cores=1, stall=stall, seed=1) as rtl:
        for backend in (golden, rtl):
            backend.exchange(np.concatenate([OPENING, close]))
        for part in (flood, np.concatenate(sweeps), np.concatenate(cancels)):
            full, logged = rtl.full_cycles, []
            for commands in (np.concatenate([part, fence, part, hello]), np.concatenate([part, close])):
                beats = rtl.exchange(commands)
                demand_same(("rtl", "golden"), beats, golden.exchange(commands))
                logged.append(split(beats))
            assert rtl.full_cycles > full
            kinds.append(np.concatenate([told.records["kind"] & 0x0F for told in logged]))
            assert logged[-1].batches[0].records == len(kinds[-1])
        assert 500 < rtl.record_level <= 512
    everything = 30 * (SMALL.orders - 1)
    assert (kinds[1] == Kind.TRADE).sum() == (kinds[2] == Kind.CANCELLED).sum() == everything


def test_a_different_seed_stalls_differently():
    def cycles(seed):
        with RtlBackend(SMALL, stall=0.3, seed=seed) as rtl:
            seen = []
            for _ in range(20):
                rtl.exchange(OPENING)
                seen.append(rtl.cycles)
            return seen

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
    with pytest.raises(ValueError, match="hash_cores"):
        RtlBackend(SMALL, hash_cores=0)
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


@pytest.mark.ci
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
