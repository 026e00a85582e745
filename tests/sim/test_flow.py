"""The capture as commands, and the generated flow."""

from collections import Counter

import numpy as np
import pytest
from hawse.engine import Engine, GoldenBackend
from hawse.wire import Geometry, Kind, Opcode, Side, TimeInForce
from hawse.wire.dtypes import ORDER, kinds, make
from hawse_sim.flow import CaptureMissing, generate, load_capture, tape


@pytest.fixture(scope="module")
def capture():
    try:
        return load_capture(20_000)
    except CaptureMissing as missing:
        pytest.skip(str(missing))


def test_every_row_becomes_a_command_or_is_counted(capture):
    assert capture.rows == 6_512 + 20_000
    assert len(capture.flow) + sum(capture.skipped.values()) == capture.rows
    assert capture.skipped["stale in the snapshot"] == 2


def test_a_plain_book_trades_what_the_tape_says(capture):
    flow = capture.flow
    engine = Engine(GoldenBackend(Geometry(instruments=1, pool=32_768, orders=8_192)))
    engine.reset(1)
    engine.open(0, flow.base)
    ours, rejected = Counter(), 0
    for first in range(0, len(flow), 500):
        burst = engine.run(
            np.concatenate([flow.orders[first : first + 500], make(ORDER, opcode=Opcode.FENCE)])
        )
        assert not burst.refused
        rejected += int((kinds(burst.events) == Kind.REJECTED).sum())
        for e in burst.events[kinds(burst.events) == Kind.TRADE]:
            ids = int(e["order_id"]), int(e["maker_id"])
            buyer, seller = ids if (e["kind"] >> 4 & 1) == Side.BUY else ids[::-1]
            ours[buyer, seller, int(e["price"]), int(e["quantity"])] += 1
    assert rejected == 0, "the traders know their own orders"
    theirs = tape(capture.until)
    assert theirs.total() > 20
    assert ours == theirs


def test_the_capture_has_the_kinds_of_orders_that_it_should(capture):
    orders = capture.flow.orders
    new = orders[orders["opcode"] == Opcode.NEW]
    kinds_of_new = Counter((new["flags"] >> 1 & 3).tolist())
    assert kinds_of_new[TimeInForce.POST_ONLY] > 5_000
    assert kinds_of_new[TimeInForce.GTC] > 1_000
    assert (np.diff(capture.flow.times.astype(np.int64)) >= 0).all()
    assert len(set(new["order_id"].tolist())) == len(new)


def test_a_generated_flow_is_its_seed():
    one, same, other = generate(3_000, 7), generate(3_000, 7), generate(3_000, 8)
    assert one.orders.tobytes() == same.orders.tobytes()
    assert one.orders.tobytes() != other.orders.tobytes()
    assert (one.marks == same.marks).all()
    assert set(one.orders["opcode"].tolist()) == {Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE}
