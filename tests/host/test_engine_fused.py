"""Driver and software engine in one say what the two say, byte for byte."""

import numpy as np
import pytest
from hawse.engine import Engine, SoftBackend
from hawse.engine.native.bindings import Fused
from hawse.wire import Geometry, Kind, Opcode
from hawse.wire.dtypes import ORDER, kinds, make
from hawse_sim.flow import adversarial

SMALL = Geometry(instruments=3, pool=1024, orders=64, tag_bits=4)
WIDE = Geometry(instruments=5, pool=65536, orders=4096, tag_bits=16)


def compare(seed, geometry, bursts, size, no_band):
    """Number of events that were compared."""
    flow, spread = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    fused = Fused(geometry, no_band)
    fused.reset(1)
    count, refusals = 0, set()
    with Engine(SoftBackend(geometry, no_band=no_band), recentring=False) as engine:
        engine.reset(1)
        for burst in adversarial.bursts(flow, geometry, bursts, size):
            orders = adversarial.without_band(spread, burst) if no_band else burst
            first = int(orders["instrument"][0])
            banded = first < geometry.instruments and engine.instrument(first).count
            moves = orders["opcode"][0] == Opcode.RECENTRE and banded  # which the one cannot
            orders = orders[1:] if moves else orders
            both = engine.run(orders)
            events, dumped, refused, fence, batch = fused.run(orders)
            assert events.tobytes() == both.events.tobytes()
            assert dumped.tobytes() == both.resting.tobytes()
            assert refused == both.refused
            assert (fence, batch) == (both.fence, both.batch)
            count += len(events)
            refusals |= {int(reason) for _, reason in refused}
    fused.close()
    return count, refusals


@pytest.mark.parametrize("no_band", [False, True], ids=["band", "no-band"])
@pytest.mark.parametrize("geometry", [SMALL, WIDE], ids=["small", "wide"])
def test_every_burst(geometry, no_band):
    count, refusals = compare(3, geometry, 60, 200, no_band)
    assert count > 2000
    if geometry is SMALL:
        assert refusals >= {1, 2, 3, 4}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_long(seed):
    for geometry in (SMALL, WIDE):
        compare(seed, geometry, 200, 300, seed % 2 == 0)


def test_what_is_no_burst_is_refused():
    fused = Fused(SMALL)
    for opcodes in ([], [Opcode.NEW], [Opcode.FENCE, Opcode.FENCE], [Opcode.HELLO, Opcode.FENCE]):
        orders = np.zeros(len(opcodes), ORDER)
        orders["opcode"] = opcodes
        with pytest.raises(ValueError, match="burst"):
            fused.run(orders)


def test_a_reset_forgets_everything():
    fused, fence = Fused(SMALL), make(ORDER, opcode=Opcode.FENCE)
    start = next(adversarial.bursts(np.random.default_rng(1), SMALL, 1, 1))
    orders = np.concatenate([make(ORDER, opcode=Opcode.NEW, order_id=5, price=3, quantity=1), fence])
    for epoch in (1, 2):
        fused.reset(epoch)
        fused.run(start)
        events, *_, ended, _ = fused.run(orders)
        assert kinds(events).tolist() == [Kind.ACK] and events["handle"].tolist() == [0]
        assert (ended.epoch, ended.records) == (epoch, len(start))
