"""The gate of the software engines: each limit, draws and give-backs, and golden beside native."""

import numpy as np
import pytest
from hawse.engine import Engine, GoldenBackend, SoftBackend
from hawse.engine.backend import split
from hawse.wire import (
    Feature,
    Geometry,
    InstrumentState,
    Kind,
    Limit,
    Opcode,
    Reason,
    SelfTrade,
    Side,
    TimeInForce,
)
from hawse.wire.dtypes import COMMAND, ORDER, flags, kinds, make
from hawse_sim.differential import same_beats
from hawse_sim.flow import adversarial

SMALL = Geometry(instruments=4, pool=1024, orders=64, tag_bits=4)
B, S = Side.BUY, Side.SELL
FENCE = make(COMMAND, opcode=Opcode.FENCE)
UNLIMITED = (1 << 64) - 1


def compare(engines, seed, bursts, size):
    """Beats compared, and how often each reason of the gate came."""
    rng = np.random.default_rng(seed)
    for engine in engines:
        engine.reset(1)
    beats = len(same_beats(engines, adversarial.rates(rng, SMALL)))
    seen = np.zeros(256, np.int64)
    for _ in range(bursts):
        told = same_beats(engines, adversarial.with_limits(rng, adversarial.commands(rng, SMALL, size)))
        beats += len(told)
        records = split(told).records
        seen += np.bincount(records["reason"][kinds(records) == Kind.REJECTED], minlength=256)
    return beats, seen


@pytest.mark.parametrize("seed", range(4))
def test_native_and_golden_agree(seed):
    beats, seen = compare([GoldenBackend(SMALL, gate=True), SoftBackend(SMALL, gate=True)], seed, 40, 300)
    assert beats > 5000
    assert all(seen[reason] for reason in (*range(Reason.KILLED, Reason.COLLAR + 1), Reason.WHAT))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_long(seed):
    compare([GoldenBackend(SMALL, gate=True), SoftBackend(SMALL, gate=True)], seed + 100, 150, 300)


class Bench:
    """One engine, one command at a time; instrument 0 is open at prices from 100, at a rate of 3."""

    def __init__(self, engine):
        self.engine = engine
        self.handle = 0
        self.state(InstrumentState.LOADING)
        assert self.limit(Limit.RATE, 3) is Reason.NONE
        self.state(InstrumentState.OPEN)

    def tell(self, opcode, **fields):
        rows = np.concatenate([make(COMMAND, opcode=opcode, **fields), make(COMMAND, opcode=Opcode.HELLO)])
        return split(self.engine.exchange(rows)).records

    def reason(self, *args, **fields):
        """Why the command was rejected, or NONE."""
        first = self.tell(*args, **fields)[:1]
        rejected = len(first) and kinds(first)[0] == Kind.REJECTED
        return Reason(int(first["reason"][0])) if rejected else Reason.NONE

    def state(self, state):
        where = {"token": 64, "price": 100} if state is InstrumentState.LOADING else {}
        return self.reason(Opcode.STATE, quantity=state, **where)

    def limit(self, what, value, tag=1, **more):
        halves = {"quantity": value & 0xFFFF_FFFF, "token": value >> 32}
        return self.reason(Opcode.LIMIT, handle=what, tag=tag, **halves, **more)

    def new(self, side, price, quantity, tag=1, tif=TimeInForce.GTC, mode=SelfTrade.CANCEL_NEWEST):
        """Reason, under a handle of its own: ``self.handle``."""
        self.handle += 1
        fields = {"handle": self.handle, "tag": tag, "price": price, "quantity": quantity}
        return self.reason(Opcode.NEW, flags=flags(side, tif, mode), **fields)

    def cancel(self, handle):
        return self.reason(Opcode.CANCEL, handle=handle)

    def replace(self, handle, side, price, quantity, tag=1):
        return self.reason(
            Opcode.REPLACE, handle=handle, tag=tag, flags=flags(side), price=price, quantity=quantity
        )

    def reduce(self, handle, quantity):
        return self.reason(Opcode.REDUCE, handle=handle, quantity=quantity)

    def fence(self):
        self.engine.exchange(FENCE)


@pytest.fixture(params=[GoldenBackend, SoftBackend], ids=["golden", "soft"])
def bench(request):
    return Bench(request.param(SMALL, gate=True))


def test_what_is_cancelled_comes_back_at_the_fence_and_no_sooner(bench):
    assert bench.limit(Limit.GRANT, 30) is Reason.NONE
    assert bench.new(B, 110, 6) is Reason.NONE  # draws 18 of 30
    assert bench.new(B, 110, 5) is Reason.CREDIT  # 15 > 12
    assert bench.cancel(1) is Reason.NONE
    assert bench.new(B, 110, 5) is Reason.CREDIT
    bench.fence()
    assert bench.new(B, 110, 11) is Reason.CREDIT  # 33 > 30
    assert bench.new(B, 110, 10) is Reason.NONE


def test_the_example_of_the_docs(bench):
    """The table in docs/gate.md; what is left is shown by one lot more than that, which is too much."""
    bench.limit(Limit.OPEN_BUY, 10)
    bench.limit(Limit.GRANT, 42)
    assert bench.new(B, 110, 6) is Reason.NONE
    assert bench.new(B, 110, 5) is Reason.OPEN_BUY
    assert bench.new(S, 110, 2, tag=2) is Reason.NONE
    assert bench.cancel(1) is Reason.NONE
    assert bench.new(B, 110, 5) is Reason.OPEN_BUY
    bench.fence()
    assert bench.new(B, 110, 11) is Reason.OPEN_BUY
    assert bench.new(B, 110, 10) is Reason.NONE
    order = bench.handle
    assert bench.new(S, 120, 3) is Reason.CREDIT  # 9 > 6
    assert bench.replace(order, B, 110, 1) is Reason.OPEN_BUY
    assert bench.reduce(order, 4) is Reason.NONE
    bench.fence()
    assert bench.new(S, 120, 9) is Reason.CREDIT  # 27 > 24
    assert bench.replace(order, B, 110, 7) is Reason.OPEN_BUY
    assert bench.replace(order, B, 110, 6) is Reason.NONE
    bench.fence()
    assert bench.new(S, 120, 7) is Reason.CREDIT  # 21 > 18
    assert bench.new(S, 120, 6) is Reason.NONE


def test_what_traded_never_comes_back_but_is_open_no_more(bench):
    bench.limit(Limit.GRANT, 30)
    bench.limit(Limit.OPEN_BUY, 10)
    bench.limit(Limit.OPEN_ORDERS, 1)
    assert bench.new(B, 110, 10) is Reason.NONE
    assert bench.new(S, 110, 10, tag=2) is Reason.NONE
    assert bench.new(B, 110, 1) is Reason.OPEN_ORDERS
    bench.fence()
    assert bench.new(B, 110, 11) is Reason.OPEN_BUY
    assert bench.new(B, 110, 10) is Reason.CREDIT
    bench.limit(Limit.GRANT, 30)
    assert bench.new(B, 110, 10) is Reason.NONE


def test_a_partial_fill_leaves_its_order_open(bench):
    bench.limit(Limit.OPEN_ORDERS, 1)
    bench.limit(Limit.OPEN_BUY, 10)
    bench.new(B, 110, 10)
    bench.new(S, 110, 4, tag=2)
    bench.fence()
    assert bench.new(B, 110, 1) is Reason.OPEN_ORDERS
    bench.limit(Limit.OPEN_ORDERS, 2)
    assert bench.new(B, 110, 5) is Reason.OPEN_BUY  # 6 are open
    assert bench.new(B, 110, 4) is Reason.NONE


@pytest.mark.parametrize("tif", [TimeInForce.IOC, TimeInForce.FOK])
def test_what_an_order_does_not_trade_comes_back(bench, tif):
    bench.limit(Limit.GRANT, 30)
    assert bench.new(B, 110, 10, tif=tif) is Reason.NONE
    bench.fence()
    assert bench.new(B, 110, 10) is Reason.NONE


def test_replace_draws_its_whole_amount_and_drops_the_old_at_the_fence(bench):
    bench.limit(Limit.GRANT, 45)
    bench.limit(Limit.OPEN_BUY, 15)
    bench.limit(Limit.OPEN_ORDERS, 1)
    bench.new(B, 110, 8)
    assert bench.replace(1, B, 111, 8) is Reason.OPEN_BUY
    assert bench.replace(1, B, 111, 7) is Reason.NONE  # 8 + 7
    bench.fence()
    assert bench.replace(1, B, 111, 9) is Reason.OPEN_BUY
    assert bench.replace(1, B, 111, 8) is Reason.NONE


def test_replace_names_its_owner_and_its_side(bench):
    bench.new(B, 110, 8)
    assert bench.replace(1, B, 111, 8, tag=2) is Reason.OWNER
    assert bench.replace(1, S, 111, 8) is Reason.OWNER
    assert bench.replace(1, B, 111, 8) is Reason.NONE


def test_what_reduce_drops_comes_back(bench):
    bench.limit(Limit.GRANT, 30)
    bench.new(B, 110, 10)
    assert bench.reduce(1, 4) is Reason.NONE
    assert bench.new(B, 110, 6) is Reason.CREDIT
    bench.fence()
    assert bench.new(B, 110, 7) is Reason.CREDIT
    assert bench.new(B, 110, 6) is Reason.NONE


def test_what_the_book_refuses_comes_back(bench):
    bench.limit(Limit.GRANT, 30)
    bench.limit(Limit.OPEN_ORDERS, 1)
    assert bench.new(B, 10_000, 10) is Reason.PRICE
    assert bench.new(B, 110, 1) is Reason.OPEN_ORDERS
    bench.fence()
    assert bench.new(B, 110, 10) is Reason.NONE


def test_self_trade_prevention_gives_back(bench):
    bench.limit(Limit.GRANT, 60)
    bench.new(B, 110, 10)
    bench.new(S, 110, 10, mode=SelfTrade.CANCEL_BOTH)
    assert bench.new(B, 110, 1) is Reason.CREDIT
    bench.fence()
    assert bench.new(B, 110, 20) is Reason.NONE


def test_commands_are_counted_by_slot(bench):
    bench.limit(Limit.COMMANDS, 2)
    assert bench.new(B, 110, 1) is Reason.NONE
    assert bench.replace(1, B, 111, 1) is Reason.NONE
    assert bench.new(B, 110, 1) is Reason.COMMANDS
    assert bench.cancel(1) is Reason.NONE
    bench.fence()
    assert bench.new(B, 110, 1) is Reason.NONE


def test_kill_stops_what_opens_and_nothing_else(bench):
    bench.new(B, 110, 4)
    assert bench.limit(Limit.KILL, 1) is Reason.NONE
    assert bench.new(B, 110, 1) is Reason.KILLED
    assert bench.replace(1, B, 111, 4) is Reason.KILLED
    assert bench.new(B, 110, 1, tag=2) is Reason.NONE
    assert bench.reduce(1, 2) is Reason.NONE
    assert bench.cancel(1) is Reason.NONE
    bench.limit(Limit.KILL, 0)
    assert bench.new(B, 110, 1) is Reason.NONE


def test_order_size_and_collar(bench):
    bench.limit(Limit.ORDER_SIZE, 5)
    assert bench.new(B, 110, 6) is Reason.ORDER_SIZE
    assert bench.new(B, 110, 5) is Reason.NONE
    assert bench.limit(Limit.COLLAR, 120 << 32 | 105, tag=0) is Reason.NONE
    assert [bench.new(B, price, 1) for price in (104, 105, 120, 121)] == [
        Reason.COLLAR,
        Reason.NONE,
        Reason.NONE,
        Reason.COLLAR,
    ]
    bench.limit(Limit.COLLAR, UNLIMITED, tag=0)
    assert bench.new(B, 121, 1) is Reason.NONE


def test_the_lowest_reason_of_the_gate_comes_behind_all_others(bench):
    bench.limit(Limit.KILL, 1)
    bench.limit(Limit.ORDER_SIZE, 0)
    assert bench.new(B, 110, 1) is Reason.KILLED
    assert bench.new(B, 10_000, 1) is Reason.PRICE


def test_revoke_may_leave_less_than_nothing(bench):
    bench.limit(Limit.GRANT, 30)
    bench.new(B, 110, 10)
    bench.limit(Limit.REVOKE, 20)
    bench.cancel(1)
    bench.fence()
    assert bench.new(B, 110, 4) is Reason.CREDIT
    assert bench.new(B, 110, 3) is Reason.NONE


def test_a_limit_counts_what_was_open_before_it(bench):
    bench.new(B, 110, 4)
    bench.limit(Limit.OPEN_BUY, 5)
    assert bench.new(B, 110, 2) is Reason.OPEN_BUY
    bench.limit(Limit.OPEN_BUY, 2)  # less than is open
    bench.cancel(1)
    bench.fence()
    assert bench.new(B, 110, 3) is Reason.OPEN_BUY
    assert bench.new(B, 110, 2) is Reason.NONE


def test_clear_lifts_all_and_forgets_credit(bench):
    bench.limit(Limit.GRANT, 3)
    bench.limit(Limit.KILL, 1)
    bench.limit(Limit.ORDER_SIZE, 1)
    bench.limit(Limit.CLEAR, 0)
    assert bench.new(B, 110, 50) is Reason.NONE
    bench.cancel(1)
    bench.fence()
    bench.limit(Limit.CLEAR, 0)
    bench.limit(Limit.GRANT, 3)
    assert bench.new(B, 110, 2) is Reason.CREDIT
    assert bench.new(B, 110, 1) is Reason.NONE


def test_loading_anew_counts_as_open_and_draws_nothing(bench):
    bench.limit(Limit.GRANT, 30)
    bench.limit(Limit.OPEN_BUY, 10)
    bench.new(B, 110, 10)
    bench.state(InstrumentState.LOADING)
    bench.tell(Opcode.LOAD, handle=1, tag=1, flags=flags(B), price=110, quantity=10)
    bench.state(InstrumentState.OPEN)
    bench.fence()
    assert bench.new(B, 110, 1) is Reason.OPEN_BUY
    bench.cancel(1)
    bench.fence()
    assert bench.new(B, 110, 10) is Reason.NONE  # its credit came back with the cancel


def test_what_a_limit_cannot_say(bench):
    for what, value, reason in (
        (9, 0, Reason.WHAT),
        (18, 0, Reason.WHAT),
        (Limit.KILL, 2, Reason.QUANTITY),
        (Limit.GRANT, 1 << 63, Reason.QUANTITY),
        (Limit.REVOKE, UNLIMITED, Reason.QUANTITY),
        (Limit.RATE, 1, Reason.STATE),
    ):
        assert bench.limit(what, value) is reason
    assert bench.limit(Limit.GRANT, 1, tag=16) is Reason.TAG
    assert bench.limit(Limit.GRANT, 1, instrument=4) is Reason.INSTRUMENT
    bench.state(InstrumentState.LOADING)
    assert bench.limit(Limit.RATE, 1 << 32) is Reason.QUANTITY


def test_the_answer_to_a_limit_repeats_it(bench):
    answer = bench.tell(Opcode.LIMIT, handle=Limit.GRANT, tag=3, quantity=7, token=9, seq=5)[0]
    assert (answer["handle"], answer["maker"], answer["price"], answer["quantity"]) == (Limit.GRANT, 3, 7, 9)
    assert (answer["kind"] & 15, answer["seq"]) == (Kind.ACK, 5)


@pytest.mark.parametrize("engine", [GoldenBackend, SoftBackend])
def test_hello_tells_whether_there_is_a_gate(engine):
    for gate, features, limits, reason in (
        (False, 0, 0, Reason.OPCODE),
        (True, Feature.GATE, 0x7FF, Reason.NONE),
    ):
        it = engine(SMALL, gate=gate)
        told = split(it.exchange(make(COMMAND, opcode=Opcode.HELLO)))
        assert (told.builds["features"][0], told.hellos["limits"][0]) == (features, limits)
        limit = np.concatenate([make(COMMAND, opcode=Opcode.LIMIT, handle=Limit.GRANT), FENCE])
        assert split(it.exchange(limit)).records["reason"][0] == reason


@pytest.mark.parametrize("backend", [GoldenBackend, SoftBackend])
def test_the_driver_hands_limits_on(backend):
    """By the user's ids; what an engine without a gate is told, it rejects."""
    opened = [
        make(ORDER, opcode=Opcode.STATE, quantity=InstrumentState.LOADING, token=64, price=100),
        make(ORDER, opcode=Opcode.LIMIT, handle=Limit.RATE, quantity=3),
        make(ORDER, opcode=Opcode.STATE, quantity=InstrumentState.OPEN),
        make(ORDER, opcode=Opcode.LIMIT, handle=Limit.GRANT, tag=1, quantity=30),
    ]
    orders = [make(ORDER, opcode=Opcode.NEW, tag=1, price=110, quantity=6, order_id=n) for n in (7, 8)]
    replace = make(ORDER, opcode=Opcode.REPLACE, tag=1, price=111, quantity=4, order_id=7)
    burst = np.concatenate([*opened, *orders, replace, make(ORDER, opcode=Opcode.FENCE)])
    burst["seq"] = np.arange(len(burst))
    with Engine(backend(SMALL, gate=True)) as engine:
        events = engine.run(burst).events
        answers = [
            (Kind(int(kind)), Reason(int(r))) for kind, r in zip(kinds(events), events["reason"], strict=True)
        ]
        assert answers == [
            *[(Kind.ACK, Reason.NONE)] * 5,
            (Kind.REJECTED, Reason.CREDIT),
            (Kind.REPLACED, Reason.NONE),
        ]
        assert engine.resting()["resting"]["quantity"].tolist() == [4]
    with Engine(backend(SMALL)) as engine:
        assert (engine.run(burst).events["reason"] == Reason.OPCODE).sum() == 2
