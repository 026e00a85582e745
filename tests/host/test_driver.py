import numpy as np
import pytest
from hawse.engine import Band, DriverRefusal, Engine, EngineError, GoldenBackend, SoftBackend, even_window
from hawse.engine.native.bindings import Driver
from hawse.wire import NULL_HANDLE, Geometry, InstrumentState, Kind, Opcode, Reason, Side, TimeInForce
from hawse.wire.dtypes import BEAT, COMMAND, ORDER, flags, kinds, make

G = Geometry(3, 4096, 64, 8)
COUNT = 1024  # levels of each instrument's window
B, S = Side.BUY, Side.SELL
FENCE = make(ORDER, opcode=Opcode.FENCE)


def order(opcode, order_id=0, side=B, price=0, quantity=0, **more):
    fields = {"flags": flags(side, more.pop("tif", 0), more.pop("mode", 0)), **more}
    return make(ORDER, opcode=opcode, order_id=order_id, price=price, quantity=quantity, **fields)


def new(order_id, side, price, quantity, **more):
    return order(Opcode.NEW, order_id, side, price, quantity, **more)


def burst(*orders, end=FENCE):
    out = np.concatenate([*orders, end])
    out["seq"] = np.arange(1, len(out) + 1)
    return out


@pytest.fixture(params=[SoftBackend, GoldenBackend], ids=["soft", "golden"])
def engine(request):
    with Engine(request.param(G)) as it:
        it.reset(3)
        it.load(np.zeros(0, ORDER), [band(0, 1000), band(1, -500)])
        yield it


def band(instrument, base, state=InstrumentState.OPEN):
    return Band(instrument, instrument * COUNT, COUNT, base, state)


def loading(base, first=0, count=COUNT, instrument=0):
    window = {"handle": first, "token": count, "price": base, "instrument": instrument}
    return order(Opcode.STATE, quantity=InstrumentState.LOADING, **window)


def ids(engine):
    mirror = engine.resting()
    return [(int(m["order_id"]), int(m["resting"]["handle"])) for m in mirror]


def same_as_dump(engine):
    dumped = [row.tolist() for i in range(G.instruments) for row in engine.dump(i)]
    assert dumped == [row["resting"].tolist() for row in engine.resting()]


def test_lowest_free_handle_first_and_free_only_behind_the_fence(engine):
    engine.run(burst(*(new(100 + i, B, 1100 + i, 1) for i in range(4))))
    result = engine.run(burst(order(Opcode.CANCEL, 101), order(Opcode.CANCEL, 102), new(7, B, 1200, 1)))
    assert result.events["handle"].tolist() == [1, 2, 4]
    result = engine.run(burst(new(8, B, 1201, 1), new(9, B, 1202, 1), new(10, B, 1203, 1)))
    assert result.events["handle"].tolist() == [1, 2, 5]


def test_events_carry_order_ids(engine):
    big = (1 << 64) - 1
    engine.run(burst(new(big, S, 1500, 3)))
    result = engine.run(
        burst(
            new(5, B, 1500, 2),
            order(Opcode.CANCEL, 777),
            order(Opcode.STATE, 5, quantity=InstrumentState.OPEN),
            order(77, 5),
            new(6, B, 0, 2),
        )
    )
    rows = [(int(e["kind"]) & 15, int(e["order_id"]), int(e["maker_id"])) for e in result.events]
    assert rows == [
        (Kind.ACK, 5, 0),
        (Kind.TRADE, 5, big),
        (Kind.REJECTED, 777, 0),
        (Kind.ACK, 0, 0),
        (Kind.REJECTED, 0, 0),
        (Kind.REJECTED, 6, 0),
    ]
    assert result.events["handle"][2] == NULL_HANDLE
    assert (result.fence.epoch, result.fence.commands, result.batch) == (3, 7, None)


def test_ids_are_known_until_the_fence_behind_their_end(engine):
    result = engine.run(
        burst(
            new(1, B, 1100, 1),
            new(1, B, 1101, 1),
            order(Opcode.CANCEL, 1),
            new(1, B, 1102, 1),
            order(Opcode.CANCEL, 1),
            new(2, B, 0, 1),  # rejected for its price
            new(2, B, 1100, 1),
        )
    )
    duplicate = DriverRefusal.DUPLICATE_ORDER_ID
    assert result.refused == [(1, duplicate), (3, duplicate), (6, duplicate)]
    last = result.events[2]
    assert (last["kind"] & 15, last["reason"], last["handle"]) == (Kind.REJECTED, Reason.NOT_RESTING, 0)
    assert engine.run(burst(new(1, B, 1100, 1), new(2, B, 1100, 1))).refused == []


def test_store_full_refuses_and_the_rest_goes_on(engine):
    full = engine.run(burst(*(new(i, B, 1100, 1) for i in range(66)), order(Opcode.CANCEL, 5)))
    assert full.refused == [(64, DriverRefusal.STORE_FULL), (65, DriverRefusal.STORE_FULL)]
    assert len(full.events) == 65
    after = engine.run(burst(new(64, B, 1100, 1), new(65, B, 1100, 1)))
    assert after.events["handle"].tolist() == [5]
    assert after.refused == [(1, DriverRefusal.STORE_FULL)]
    same_as_dump(engine)


def test_immediate_orders_take_a_handle_until_the_fence(engine):
    orders = [new(i, B, 1100, 1, tif=TimeInForce.IOC) for i in range(65)]
    assert engine.run(burst(*orders)).refused == [(64, DriverRefusal.STORE_FULL)]
    assert engine.run(burst(*orders[:64])).refused == []


def test_many_ids_come_and_go():
    """Handles and ids stay in step through collisions and removals in the id map."""
    rng = np.random.default_rng(7)
    with Engine(SoftBackend(G)) as engine:
        engine.reset(1)
        engine.open(0, 1000)
        alive = {}
        for _ in range(300):
            orders, expected = [], dict(alive)
            known = list(alive)
            for i in rng.permutation(len(known))[: rng.integers(0, 20)]:
                orders.append(order(Opcode.CANCEL, known[i]))
                del expected[known[i]]
            free = sorted(set(range(64)) - set(alive.values()))
            for handle in free[: rng.integers(0, 20)]:
                order_id = int(rng.integers(1 << 63)) << int(rng.integers(0, 2))
                orders.append(new(order_id, B, 1100, 1))
                expected[order_id] = handle
            result = engine.run(burst(*orders))
            assert not result.refused
            assert not (kinds(result.events) == Kind.REJECTED).any()
            assert dict(ids(engine)) == expected
            alive = expected


def resting_book():
    return burst(
        new(1, B, 1500, 5, tag=3, mode=1),
        new(2, B, 1500, 6),
        new(3, B, 1400, 7),
        new(4, S, 1600, 8, tag=4, mode=2),
        new(5, S, 1600, 2),
        order(Opcode.REPLACE, 1, price=1500, quantity=5, tag=3),
        order(Opcode.REDUCE, 2, quantity=4),
        new(6, B, 100, 1, instrument=1),
    )


def test_mirror_keeps_priority(engine):
    engine.run(resting_book())
    assert [i for i, _ in ids(engine)] == [2, 1, 3, 4, 5, 6]
    same_as_dump(engine)


@pytest.mark.parametrize("base", [600, 1001, 1400])
def test_recentre(engine, base):
    engine.run(resting_book())
    before = engine.resting()
    result = engine.run(burst(order(Opcode.RECENTRE, price=base), new(7, B, base, 1)))
    assert result.refused == []
    assert [(int(e["kind"]), int(e["price"]), int(e["quantity"])) for e in result.events[:2]] == [
        (Kind.ACK, base, InstrumentState.LOADING),
        (Kind.ACK, base, InstrumentState.OPEN),
    ]
    assert engine.instrument(0) == band(0, base)
    assert (result.events["handle"][:2].tolist(), result.events["maker"][:2].tolist()) == (
        [0] * 2,
        [COUNT] * 2,
    )
    after = engine.resting()
    assert after[after["order_id"] != 7].tolist() == before.tolist()
    same_as_dump(engine)
    engine.set_recentring(False)
    outside = engine.run(burst(new(8, B, base - 1, 1), new(9, B, base + 1024, 1)))
    assert outside.events["reason"].tolist() == [Reason.PRICE, Reason.PRICE]
    assert engine.run(burst(order(Opcode.CANCEL, 1))).events["order_id"].tolist() == [1]


@pytest.mark.parametrize("state", list(InstrumentState))
def test_recentre_keeps_the_state(engine, state):
    engine.run(resting_book())
    engine.run(burst(order(Opcode.STATE, price=1000, handle=0, token=COUNT, quantity=state)))
    book = ids(engine)
    engine.run(burst(order(Opcode.RECENTRE, price=1010)))
    assert engine.instrument(0) == band(0, 1010, state)
    assert ids(engine) == book
    same_as_dump(engine)


@pytest.mark.parametrize("base", [577 - 1, 1401, -(1 << 31)])
def test_recentre_that_would_lose_an_order_is_refused(engine, base):
    engine.run(resting_book())
    result = engine.run(burst(order(Opcode.RECENTRE, price=base)))
    assert result.refused == [(0, DriverRefusal.RECENTRE_BAND)]
    assert len(result.events) == 0
    assert engine.instrument(0) == band(0, 1000)
    same_as_dump(engine)


def test_recentre_must_come_first_and_name_an_instrument(engine):
    result = engine.run(burst(new(1, B, 1100, 1), order(Opcode.RECENTRE, price=1001)))
    assert result.refused == [(1, DriverRefusal.RECENTRE_NOT_FIRST)]
    result = engine.run(burst(order(Opcode.RECENTRE, price=1001, instrument=3)))
    assert result.refused == [(0, DriverRefusal.RECENTRE_INSTRUMENT)]
    result = engine.run(burst(order(Opcode.RECENTRE, price=1001, instrument=2)))  # it has no window
    assert result.refused == [(0, DriverRefusal.RECENTRE_INSTRUMENT)]


def test_recentre_ends_within_32_bits(engine):
    last = 2**31 - COUNT
    result = engine.run(burst(order(Opcode.RECENTRE, price=last + 1)))
    assert result.refused == [(0, DriverRefusal.RECENTRE_BAND)]
    assert engine.run(burst(order(Opcode.RECENTRE, price=last))).refused == []
    assert engine.instrument(0) == band(0, last)


def test_the_mirror_follows_windows(engine):
    engine.run(resting_book())
    result = engine.run(burst(loading(7, 2048, 512), order(Opcode.STATE, quantity=InstrumentState.OPEN)))
    assert [(int(e["handle"]), int(e["maker"]), int(e["price"])) for e in result.events] == [
        (2048, 512, 7)
    ] * 2
    assert engine.instrument(0) == Band(0, 2048, 512, 7)
    assert ids(engine) == [(6, 5)]
    engine.run(burst(new(1, B, 7, 1, tag=3)))
    engine.run(burst(order(Opcode.RECENTRE, price=-100)))
    assert engine.instrument(0) == Band(0, 2048, 512, -100)
    same_as_dump(engine)


@pytest.mark.parametrize(
    ("base", "first", "count"), [(0, 1024, 1024), (0, 0, 96), (0, 32, 64), (2**31 - 9, 0, 64)]
)
def test_a_window_that_is_rejected_changes_neither_mirror_nor_book(engine, base, first, count):
    engine.run(resting_book())
    book = engine.resting().tolist()
    result = engine.run(burst(loading(base, first, count), new(7, B, 1001, 1)))
    assert result.events["reason"].tolist() == [Reason.WINDOW, Reason.NONE]
    assert engine.instrument(0) == band(0, 1000)
    engine.run(burst(order(Opcode.CANCEL, 7)))
    assert engine.resting().tolist() == book
    same_as_dump(engine)


def test_replace_carries_the_owners_tag(engine):
    engine.run(resting_book())
    result = engine.run(burst(order(Opcode.REPLACE, 1, price=1501, quantity=1, tag=4)))
    assert result.events["reason"].tolist() == [Reason.OWNER]
    assert engine.run(burst(order(Opcode.REPLACE, 1, price=1501, quantity=1, tag=3))).events["reason"] == [0]


def test_an_engine_tells_what_it_was_made_of(engine):
    build = engine.build()
    made = int(build["build_low"][0]), int(build["build_high"][0])
    assert all(made) if engine.backend.name == "soft" else made == (0, 0)
    assert (build["features"][0], build["clock_khz"][0]) == (0, 0)


@pytest.mark.parametrize(("instruments", "pool", "count"), [(1, 1024, 1024), (3, 1024, 256), (16, 1024, 64)])
def test_windows_split_evenly(instruments, pool, count):
    geometry = Geometry(instruments, pool, 64, 8)
    assert [even_window(geometry, i) for i in range(instruments)] == [
        (i * count, count) for i in range(instruments)
    ]
    with Engine(SoftBackend(geometry)) as engine:
        engine.reset(1)
        for i in range(instruments):
            engine.open(i, 5 * i)
            assert engine.instrument(i) == Band(i, i * count, count, 5 * i)


def test_a_pool_too_small_for_its_instruments_must_be_split_by_hand():
    geometry = Geometry(17, 1024, 64, 8)
    assert even_window(geometry, 15) == (960, 64)
    with pytest.raises(ValueError, match="instrument: 16 has no window"):
        even_window(geometry, 16)


def test_open_with_a_window_of_ones_own(engine):
    engine.open(2, 9, first=3072, count=64)
    assert engine.instrument(2) == Band(2, 3072, 64, 9)
    with pytest.raises(EngineError, match=r"instrument 2.*WINDOW"):
        engine.open(2, 9, first=0)


def test_loading_frees_the_handles_of_its_instrument(engine):
    engine.run(resting_book())
    engine.run(burst(loading(1000)))
    assert ids(engine) == [(6, 5)]
    load = order(Opcode.LOAD, 1, price=1300, quantity=2, handle=9)
    result = engine.run(
        burst(
            load,
            order(Opcode.LOAD, 2, price=1300, quantity=2, handle=9),
            order(Opcode.LOAD, 1, price=1300, quantity=2, handle=8),
            order(Opcode.LOAD, 3, price=0, quantity=2, handle=8),  # outside the band
            order(Opcode.LOAD, 4, price=1300, quantity=2, handle=64),
            order(Opcode.STATE, quantity=InstrumentState.OPEN),
        )
    )
    assert result.refused == [(1, DriverRefusal.HANDLE_IN_USE), (2, DriverRefusal.DUPLICATE_ORDER_ID)]
    rejected = result.events[kinds(result.events) == Kind.REJECTED]
    assert [(int(e["order_id"]), int(e["reason"])) for e in rejected] == [
        (3, Reason.PRICE),
        (4, Reason.HANDLE),
    ]
    assert ids(engine) == [(1, 9), (6, 5)]
    same_as_dump(engine)


def test_load_gives_the_book_back_with_an_empty_log(engine):
    engine.run(resting_book())
    mirror = engine.resting()
    bands = [engine.instrument(i) for i in range(G.instruments)]
    orders = np.zeros(len(mirror), ORDER)
    for name in ("flags", "instrument", "handle", "tag", "price", "quantity"):
        orders[name] = mirror["resting"][name]
    orders["order_id"] = mirror["order_id"]
    orders["seq"] = np.arange(len(orders))
    shuffled = np.random.default_rng(1).permutation(orders)
    engine.reset(4)
    assert len(engine.resting()) == 0
    result = engine.load(shuffled, bands, seq=50)
    assert (result.batch.records, result.fence.epoch) == (5, 4)
    assert engine.resting().tolist() == mirror.tolist()
    assert [engine.instrument(i) for i in range(G.instruments)] == bands
    same_as_dump(engine)
    assert engine.hello()["last_seq"].tolist() == [50]
    assert engine.hello()["last_seq"].tolist() == [50]  # asking changes nothing
    assert engine.run(FENCE).fence.records == 0
    assert engine.run(burst(new(9, B, 1100, 1))).events["handle"].tolist() == [6]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"price": 0}, "order id 2.*PRICE"),
        ({"handle": 4}, "order id 2.*HANDLE_IN_USE"),
        ({"order_id": 1}, "order id 1.*DUPLICATE_ORDER_ID"),
        ({"tag": 256}, "order id 2.*TAG"),
    ],
    ids=str,
)
def test_load_says_which_order_the_engine_would_not_take(engine, wrong, error):
    engine.reset(4)
    orders = np.concatenate(
        [order(0, 1, price=1200, quantity=1, handle=4), order(0, 2, price=1100, quantity=1, handle=5)]
    )
    for name, value in wrong.items():
        orders[name][1] = value
    with pytest.raises(EngineError, match=error):
        engine.load(orders, [band(0, 1000)])


def test_load_without_a_band(engine):
    engine.reset(4)
    with pytest.raises(ValueError, match="instrument 2"):
        engine.load(order(0, 1, price=1200, quantity=1, instrument=2), [band(0, 1000)])


def test_close_begins_a_new_log(engine):
    first = engine.run(burst(new(1, B, 1100, 1), end=make(ORDER, opcode=Opcode.CLOSE, token=12)))
    assert (first.batch.token, first.batch.records, first.batch.leaves) == (12, 1, 1)
    assert engine.run(FENCE).fence.records == 0
    assert ids(engine) == [(1, 0)]


@pytest.mark.parametrize(
    "orders",
    [
        np.zeros(0, ORDER),
        new(1, B, 1100, 1),
        np.concatenate([FENCE, FENCE]),
        np.concatenate([make(ORDER, opcode=Opcode.HELLO), FENCE]),
        np.zeros(1, COMMAND),
    ],
    ids=["empty", "no fence", "two fences", "hello", "commands"],
)
def test_malformed_bursts_change_nothing(engine, orders):
    with pytest.raises(ValueError):
        engine.run(orders)
    assert engine.run(burst(new(1, B, 1100, 1))).events["handle"].tolist() == [0]


def test_dump_in_a_burst(engine):
    result = engine.run(burst(new(1, B, 1100, 2), order(Opcode.DUMP), new(2, B, 1101, 1), order(Opcode.DUMP)))
    assert result.resting["quantity"].tolist() == [2, 1, 2]
    assert result.events["order_id"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="instrument"):
        engine.dump(3)


class Tampered(SoftBackend):
    """Changes what comes back."""

    def __init__(self, change):
        super().__init__(G)
        self.change = None
        self._later = change

    def exchange(self, commands):
        beats = super().exchange(commands)
        return self.change(beats) if self.change else beats


def _set(at, byte, value):
    def change(beats):
        beats["bytes"][at, byte] = value
        return beats

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda beats: beats[1:],
        lambda beats: np.delete(beats, 2),
        lambda beats: beats[:-1],
        lambda beats: np.concatenate([beats[:1], beats]),
        lambda beats: np.concatenate([beats, beats[:1]]),
        lambda beats: np.zeros(0, BEAT),
        _set(0, 0, 5),  # an unknown kind
        _set(0, 20, 99),  # seq
        _set(2, 4, 9),  # TRADE of a taker that is not there
        _set(2, 16, 200),  # more than the maker had
        _set(3, 0, Kind.CANCELLED),
        _set(4, 4, 77),  # the fence's token
    ],
)
def test_reports_that_do_not_answer_the_commands_are_an_error(change):
    """Five beats come back: ACK, ACK, TRADE, REPLACED, FENCE, and then the digest."""
    backend = Tampered(change)
    engine = Engine(backend)
    engine.reset(1)
    engine.open(0, 1000)
    orders = burst(new(1, S, 1500, 5), new(2, B, 1500, 2), order(Opcode.REDUCE, 1, quantity=1))
    backend.change = change
    with pytest.raises(EngineError):
        engine.run(orders)
    backend.change = None
    engine.reset(2)
    engine.open(0, 1000)
    assert kinds(engine.run(orders).events).tolist() == [Kind.ACK, Kind.ACK, Kind.TRADE, Kind.REPLACED]


def test_the_driver_takes_beats_in_any_portions():
    backend, driver = SoftBackend(G), Driver(G)
    opening = burst(
        loading(1000),
        order(Opcode.STATE, quantity=InstrumentState.OPEN),
        new(1, S, 1500, 5),
        new(2, B, 1500, 2),
        end=make(ORDER, opcode=Opcode.CLOSE),
    )
    commands, refused = driver.prepare(opening)
    assert refused == []
    beats = backend.exchange(commands)
    with pytest.raises(EngineError, match="not answered"):
        driver.prepare(opening)
    events = []
    for i in range(len(beats)):
        assert driver.done() is None
        events += driver.absorb(beats[i : i + 1])[0].tolist()
    assert len(events) == 5
    fence, batch = driver.done()
    assert fence.records == batch.records == 5
    assert [int(m["resting"]["quantity"]) for m in driver.resting()] == [3]
    with pytest.raises(EngineError, match="range"):
        driver.instrument(3)
