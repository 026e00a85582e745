import numpy as np
import pytest
from hawse.engine import Band, Engine, GoldenBackend, SoftBackend
from hawse.wire import Geometry, InstrumentState, Kind, Opcode, Reason, Side
from hawse.wire.dtypes import ORDER, flags, kinds, make

G = Geometry(2, 2048, 64, 8)
B, S = Side.BUY, Side.SELL
FENCE = make(ORDER, opcode=Opcode.FENCE)
LOW, HIGH = -(2**31), 2**31 - 1


def order(opcode, order_id=0, side=B, price=0, quantity=0, instrument=0, **more):
    fields = {"flags": flags(side), "instrument": instrument, **more}
    return make(ORDER, opcode=opcode, order_id=order_id, price=price, quantity=quantity, **fields)


def new(order_id, side, price, quantity=1, instrument=0):
    return order(Opcode.NEW, order_id, side, price, quantity, instrument)


def band(instrument, base, state=InstrumentState.OPEN):
    return Band(instrument, 1024 * instrument, 1024, base, state)


def burst(*orders):
    out = np.concatenate([*orders, FENCE])
    out["seq"] = np.arange(1, len(out) + 1)
    return out


@pytest.fixture(params=[SoftBackend, GoldenBackend], ids=["soft", "golden"])
def engine(request):
    with Engine(request.param(G)) as it:
        it.reset(1)
        it.load(np.zeros(0, ORDER), [band(0, 1000), band(1, 1000)])
        yield it


def book(engine):
    return [(int(m["order_id"]), int(m["resting"]["price"])) for m in engine.resting()]


def rejected(result):
    return result.events["reason"][kinds(result.events) == Kind.REJECTED].tolist()


@pytest.mark.parametrize("side", [B, S])
@pytest.mark.parametrize("price", [976, 999, 2024, 2523])
def test_the_band_follows_an_order_that_fits_with_all_others(engine, side, price):
    engine.run(burst(new(1, B, 1500, 3), new(2, B, 1500, 4), new(3, S, 1999, 5), new(4, B, 1800, 1, 1)))
    before = engine.resting()
    result = engine.run(burst(new(9, side, price, 2)))
    assert result.refused == [] and rejected(result) == []
    low, high = min(price, 1500), max(price, 1999)
    base = low - (1023 - (high - low)) // 2
    assert engine.instrument(0) == band(0, base)
    assert engine.instrument(1) == band(1, 1000)
    steps = [
        (int(e["kind"]) & 15, int(e["seq"]), int(e["price"]), int(e["quantity"])) for e in result.events[:3]
    ]
    loading, opened = InstrumentState.LOADING, InstrumentState.OPEN
    assert steps == [(Kind.ACK, 1, base, loading), (Kind.ACK, 1, base, opened), (Kind.ACK, 1, price, 2)]
    crossing = (side == S and price < 1501) or (side == B and price > 1998)
    assert (kinds(result.events) == Kind.TRADE).any() == crossing
    if not crossing:
        after = engine.resting()
        assert after[after["order_id"] != 9].tolist() == before.tolist()
    for i in range(2):
        mirror = [m["resting"].tolist() for m in engine.resting() if m["resting"]["instrument"] == i]
        assert [row.tolist() for row in engine.dump(i)] == mirror


@pytest.mark.parametrize("price", [974, 2524, LOW, HIGH])
def test_an_order_too_far_from_the_others_is_rejected(engine, price):
    engine.run(burst(new(1, B, 1500), new(3, S, 1998)))
    assert rejected(engine.run(burst(new(9, B, price)))) == [Reason.PRICE]
    assert engine.instrument(0) == band(0, 1000)
    assert book(engine) == [(1, 1500), (3, 1998)]


@pytest.mark.parametrize("price", [LOW, LOW + 3, -5, 200_000, HIGH - 3, HIGH])
def test_an_empty_book_goes_anywhere(engine, price):
    assert rejected(engine.run(burst(new(9, B, price)))) == []
    assert book(engine) == [(9, price)]
    base = engine.instrument(0).base
    assert LOW <= base <= price < base + 1024 <= HIGH + 1
    assert base == min(max(price - 511, LOW), HIGH - 1023)


def test_orders_ahead_in_the_burst_keep_their_place_in_the_band(engine):
    result = engine.run(burst(new(1, B, 1000), new(2, B, 2023), new(3, B, 2024), new(4, B, 1500)))
    assert rejected(result) == [Reason.PRICE] and engine.instrument(0).base == 1000
    result = engine.run(burst(order(Opcode.CANCEL, 1), order(Opcode.CANCEL, 2), new(5, B, 900)))
    assert rejected(result) == [Reason.PRICE]  # both still rested when the burst began
    result = engine.run(burst(new(6, B, 2023), new(7, B, 2100), new(8, B, 900)))
    assert rejected(result) == [Reason.PRICE]  # only the first outside counts: the band went up
    assert [i for i, _ in book(engine)] == [7, 6, 4]


def test_a_replace_outside_the_band(engine):
    engine.run(burst(new(1, B, 1500), new(2, B, 1600)))
    assert rejected(engine.run(burst(order(Opcode.REPLACE, 77, price=2100, quantity=1)))) == [
        Reason.NOT_RESTING
    ]
    assert engine.instrument(0).base == 1000
    assert rejected(engine.run(burst(order(Opcode.REPLACE, 1, price=2100, quantity=4)))) == []
    assert book(engine) == [(1, 2100), (2, 1600)]
    assert engine.instrument(0).base == 1500 - (1023 - 600) // 2


@pytest.mark.parametrize(
    "first",
    [
        order(Opcode.STATE, quantity=InstrumentState.OPEN),
        order(Opcode.RECENTRE, price=1100),
        order(Opcode.LOAD, 5, price=1100, quantity=1),
    ],
    ids=["state", "recentre", "load"],
)
def test_a_burst_that_moves_the_band_itself_is_left_alone(engine, first):
    result = engine.run(burst(first, new(9, B, 5000)))
    assert rejected(result)[-1] == Reason.PRICE
    assert book(engine) == []


@pytest.mark.parametrize("state", [s for s in InstrumentState if s is not InstrumentState.OPEN])
def test_only_open_instruments_follow(engine, state):
    engine.run(burst(order(Opcode.STATE, price=1000, quantity=state, token=1024)))
    assert rejected(engine.run(burst(new(9, B, 5000)))) == [Reason.STATE]
    assert engine.instrument(0) == band(0, 1000, state)


def test_orders_that_are_rejected_anyway_move_nothing(engine):
    result = engine.run(burst(new(1, B, 5000, 0), new(2, B, 5000, 1, instrument=2)))
    assert rejected(result) == [Reason.QUANTITY, Reason.INSTRUMENT]
    assert engine.instrument(0).base == engine.instrument(1).base == 1000


def test_a_replace_by_somebody_else_moves_nothing(engine):
    engine.run(burst(new(1, B, 1500)))
    result = engine.run(burst(order(Opcode.REPLACE, 1, price=9000, quantity=1, tag=3)))
    assert rejected(result) == [Reason.OWNER]
    assert engine.instrument(0) == band(0, 1000)


def test_the_window_stays_where_it_is(engine):
    engine.run(burst(order(Opcode.STATE, price=0, quantity=InstrumentState.LOADING, handle=192, token=64)))
    engine.run(burst(order(Opcode.STATE, quantity=InstrumentState.OPEN), new(1, B, 10)))
    assert rejected(engine.run(burst(new(2, B, 74)))) == [Reason.PRICE]
    assert rejected(engine.run(burst(new(3, B, 73)))) == []
    assert engine.instrument(0) == Band(0, 192, 64, 10)


def test_without_a_window_nothing_moves(engine):
    engine.reset(2)
    engine.run(burst(order(Opcode.STATE, quantity=InstrumentState.OPEN)))
    assert rejected(engine.run(burst(new(1, B, 0)))) == [Reason.PRICE]
    assert engine.instrument(0) == Band(0, 0, 0, 0)


def test_two_instruments_in_one_burst(engine):
    engine.run(burst(new(1, B, 1500), new(2, B, 1500, 1, 1)))
    result = engine.run(burst(new(3, B, 990), new(4, B, 2030, 1, 1), order(Opcode.CANCEL, 1)))
    assert rejected(result) == []
    assert book(engine) == [(3, 990), (4, 2030), (2, 1500)]


def test_switched_off(engine):
    engine.set_recentring(False)
    assert rejected(engine.run(burst(new(9, B, 5000)))) == [Reason.PRICE]
    engine.set_recentring(True)
    assert rejected(engine.run(burst(new(9, B, 5000)))) == []
