"""Engines that hold any price: the feature NO_BAND, and what it does to every command."""

import numpy as np
import pytest
from hawse.engine import Band, DriverRefusal, Engine, GoldenBackend, SoftBackend
from hawse.engine.native import bindings, build
from hawse.wire import Feature, Geometry, InstrumentState, Kind, Opcode, Reason, Side, TimeInForce
from hawse.wire.dtypes import COMMAND, ORDER, flags, kinds, make
from hawse_sim.differential import same_beats
from hawse_sim.flow import adversarial

SMALL = Geometry(instruments=3, pool=1024, orders=64, tag_bits=4)
B, S = Side.BUY, Side.SELL
LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1
FENCE = make(ORDER, opcode=Opcode.FENCE)


@pytest.fixture
def few_levels(monkeypatch):
    """The native engine with a window of 64 levels, which moves after 4 orders beside it."""
    path = build.native_library("-DHAWSE_OWN_LEVELS=64", "-DHAWSE_PATIENCE=4")
    monkeypatch.setattr(build, "native_library", lambda: path)
    bindings._library.cache_clear()
    yield
    monkeypatch.undo()
    bindings._library.cache_clear()


def compare(seed, ticks, bursts=12):
    rng = np.random.default_rng(seed)
    engines = [GoldenBackend(SMALL, no_band=True), SoftBackend(SMALL, no_band=True)]
    for engine in engines:
        engine.reset(1)
    beats = len(same_beats(engines, adversarial.without_band(rng, adversarial.opening(SMALL))))
    for _ in range(bursts):
        part = adversarial.commands(rng, SMALL, 400)
        beats += len(same_beats(engines, adversarial.without_band(rng, part, ticks)))
    return beats


@pytest.mark.parametrize("ticks", [1 << 10, 1 << 20, 1 << 32])
def test_native_and_golden_agree(ticks):
    assert compare(ticks, ticks) > 2000


@pytest.mark.parametrize("ticks", [1 << 8, 1 << 12, 1 << 32])
def test_native_and_golden_agree_while_the_window_moves(few_levels, ticks):
    assert compare(ticks + 1, ticks, 30) > 2000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_long(seed, few_levels):
    compare(seed, (1 << 8, 1 << 12, 1 << 20, 1 << 32)[seed % 4], 100)


def new(order_id, side, price, quantity, **more):
    fields = {"flags": flags(side, more.pop("tif", 0)), **more}
    return make(ORDER, opcode=Opcode.NEW, order_id=order_id, price=price, quantity=quantity, **fields)


def burst(*orders):
    out = np.concatenate([*orders, FENCE])
    out["seq"] = np.arange(1, len(out) + 1)
    return out


@pytest.fixture(params=[SoftBackend, GoldenBackend], ids=["soft", "golden"])
def engine(request):
    with Engine(request.param(SMALL, no_band=True), recentring=False) as it:
        it.reset(3)
        it.load(np.zeros(0, ORDER), [Band(0, 0, 0, 0, no_band=True), Band(1, 0, 64, 100)])
        yield it


def test_orders_farther_apart_than_any_window_meet(engine):
    ioc = new(3, B, 70_000, 4, tif=TimeInForce.IOC)
    done = engine.run(burst(new(1, B, 1_000, 5), new(2, S, 70_000, 3), ioc))
    said = [(int(e["kind"]) & 15, int(e["order_id"]), int(e["maker_id"])) for e in done.events]
    assert said == [
        (Kind.ACK, 1, 0),
        (Kind.ACK, 2, 0),
        (Kind.ACK, 3, 0),
        (Kind.TRADE, 3, 2),
        (Kind.CANCELLED, 3, 0),
    ]
    assert int(done.events["quantity"][-1]) == 1


def test_no_price_is_outside(engine):
    prices = [0, LOWEST, HIGHEST, -5, LOWEST + 1, HIGHEST - 1, 40_000_000]
    orders = [new(i, B, price, 1) for i, price in enumerate(prices)]
    assert (kinds(engine.run(burst(*orders)).events) == Kind.ACK).all()
    assert engine.dump(0)["price"].tolist() == sorted(prices, reverse=True)
    assert [row["resting"].tolist() for row in engine.resting()] == [row.tolist() for row in engine.dump(0)]
    sells = [new(100 + i, S, price, 1, tif=TimeInForce.IOC) for i, price in enumerate(sorted(prices)[::-1])]
    traded = engine.run(burst(*sells)).events
    assert traded["price"][kinds(traded) == Kind.TRADE].tolist() == sorted(prices, reverse=True)


def test_time_rules_among_orders_of_one_far_price(engine):
    far = [new(i, S, HIGHEST, 1) for i in range(3)]
    engine.run(burst(new(9, S, 0, 1), *far))
    engine.run(burst(make(ORDER, opcode=Opcode.REPLACE, order_id=0, price=HIGHEST, quantity=1)))
    events = engine.run(burst(new(20, B, HIGHEST, 4))).events
    assert events["maker_id"][1:].tolist() == [9, 1, 2, 0]


def test_the_ack_tells_of_no_window_and_the_band_of_others_holds(engine):
    assert engine.instrument(0) == Band(0, 0, 0, 0, no_band=True)
    assert engine.instrument(1) == Band(1, 0, 64, 100)
    events = engine.run(burst(new(1, B, 99, 1, instrument=1), new(2, B, 100, 1, instrument=1))).events
    assert events["reason"].tolist() == [Reason.PRICE, Reason.NONE]
    loading = make(ORDER, opcode=Opcode.STATE, quantity=InstrumentState.LOADING, handle=7, price=8)
    ack = engine.run(burst(loading)).events[0]
    assert (ack["kind"], ack["handle"], ack["maker"], ack["price"]) == (Kind.ACK, 0, 0, 0)


def test_an_instrument_gets_a_band_again(engine):
    engine.run(burst(new(1, B, 5_000_000, 1)))
    window = {"handle": 64, "token": 64, "price": 1000, "quantity": InstrumentState.LOADING}
    engine.run(burst(make(ORDER, opcode=Opcode.STATE, **window)))
    assert engine.instrument(0) == Band(0, 64, 64, 1000, InstrumentState.LOADING)
    assert len(engine.dump(0)) == 0
    opened = engine.run(
        burst(make(ORDER, opcode=Opcode.STATE, quantity=InstrumentState.OPEN), new(2, B, 1, 1))
    )
    assert opened.events["reason"].tolist() == [Reason.NONE, Reason.PRICE]


def test_mass_cancel_goes_by_handle_and_finds_far_prices(engine):
    engine.run(burst(*(new(i, B, price, 1) for i, price in enumerate((7, HIGHEST, LOWEST, 8)))))
    events = engine.run(burst(make(ORDER, opcode=Opcode.MASS_CANCEL))).events
    assert events["handle"][:4].tolist() == [0, 1, 2, 3]
    assert int(events["quantity"][4]) == 4 and len(engine.dump(0)) == 0


def test_there_is_no_band_to_move(engine):
    done = engine.run(burst(make(ORDER, opcode=Opcode.RECENTRE, price=5)))
    assert done.refused == [(0, DriverRefusal.RECENTRE_INSTRUMENT)]


def test_loaded_orders_may_lie_anywhere(engine):
    rows = np.concatenate([new(i, B, price, 1, handle=i) for i, price in enumerate((LOWEST, 3, 3, HIGHEST))])
    engine.reset(4)
    engine.load(rows, [Band(0, 0, 0, 0, no_band=True)])
    assert engine.dump(0)["handle"].tolist() == [3, 1, 2, 0]


@pytest.mark.parametrize("backend", [SoftBackend, GoldenBackend])
def test_the_feature_is_told_and_without_it_no_count_of_zero_is_a_window(backend):
    commands = np.zeros(2, COMMAND)
    commands["opcode"] = Opcode.STATE, Opcode.HELLO
    commands["quantity"] = InstrumentState.LOADING
    for no_band, features, reason in (
        (False, Feature(0), Reason.WINDOW),
        (True, Feature.NO_BAND, Reason.NONE),
    ):
        with Engine(backend(SMALL, no_band=no_band)) as engine:
            engine.reset(1)
            assert int(engine.build()["features"][0]) == features
            assert int(engine.backend.exchange(commands)["bytes"][0, 1]) == reason
