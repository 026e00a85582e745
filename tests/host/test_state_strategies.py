"""Rules that an account registers and the machine runs: stop, take, trail, slice, hedge; in both forms."""

from dataclasses import replace

import pytest
import support.desk
from hawse.instruments import PPM, Status, Underlying
from hawse.keys.messages import BODIES, ROW_BYTES, MessageKind
from hawse.keys.store import address_of
from hawse.state.inputs import STATE
from hawse.state.ledger import StrategyKind
from hawse.state.slot import Observation, Operation, OperationKind
from hawse.state.strategies import MOST, MOST_ORDERS
from hawse.wire import Reason, SequenceClass, Side
from support.desk import CONFIG, ODD, PERP, Desk, owner
from support.twin import Twin

BUY, SELL = Side
STOP, TAKE, TRAIL, SLICE, HEDGE = StrategyKind
LOWEST, HIGHEST = -(2**31), 2**31 - 1
NOW = object()


class Trading(Desk):
    """A desk on which account 3 makes the market, and the machine is another one behind every slot."""

    def slot(self, rows=(), **inputs):
        self.machine = type(self.machine).restore(self.machine.config, self.machine.snapshot())
        admission = self.open(rows, **inputs)
        self.machine.clear_slot(self.engine.run(admission.orders).events)
        self.machine.explain()  # nothing that either tells of an account is another's
        self.refusals, self.events, self.rows = admission.refusals, admission.events, admission.orders
        return [refusal.reason for refusal in admission.refusals]

    def register(self, account, kind, client_id=1, side=SELL, quantity=10, **fields):
        limit = 0 if kind == HEDGE else LOWEST if side == SELL else HIGHEST
        side = BUY if kind == HEDGE else side
        fields = {"limit_price": limit, "offset_ppm": 20_000, "every": 250, "until": 2**40} | fields
        head = {"client_id": client_id, "side": side, "quantity": quantity, "instrument": 0}
        head |= {name: fields.pop(name) for name in ("instrument", "by") if name in fields}
        return self.wide(MessageKind.REGISTER, account, strategy=kind, **head, **fields)

    def makes(self, bid, ask, lots=100, instrument=0):
        """New quotes of account 3."""
        n = 100 * self.machine.next_slot + 10 * instrument
        return [
            self.row(MessageKind.CANCEL_ALL, 3, instrument=instrument),
            self.new(3, n + 1, BUY, bid, lots, instrument=instrument),
            self.new(3, n + 2, SELL, ask, lots, instrument=instrument),
        ]

    def long(self, account=1, lots=10, price=1500):
        """An account buys of account 2."""
        rows = [self.new(account, 91, BUY, price, lots), self.new(2, 91, SELL, price, lots)]
        assert self.slot(rows) == []

    def size(self, account=1, instrument=0):
        position = self.account(account).positions.get(instrument)
        return position.size if position else 0

    @property
    def acts(self):
        """(account, client id, signed lots) of the strategies of the last slot; no lots: it is over."""
        return [(e.account, e.first, e.second) for e in self.events if e.reason == Reason.STRATEGY]

    def strategy(self, account=1, client_id=1):
        return self.account(account).strategies.get(client_id)


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setattr(support.desk, "Machine", Twin)
    return Trading()


def test_a_stop_closes_once_the_mark_is_there(desk):
    desk.long()
    assert desk.slot([desk.register(1, STOP, trigger_price=1480), *desk.makes(1478, 1510)]) == []
    desk.slot(marks=[(0, 1481)])
    assert desk.acts == [] and desk.size() == 10 and not desk.strategy().fired
    desk.slot(marks=[(0, 1480)])
    assert desk.acts == [(1, 1, -10)] and desk.size() == 0
    assert desk.strategy().done == 10 and desk.strategy().fired
    desk.slot()
    assert desk.acts == [(1, 1, 0)] and desk.strategy() is None


def test_its_order_is_the_machine_s_and_pays_the_taker_s_fee(desk):
    desk.long()
    desk.slot([desk.register(1, STOP, trigger_price=1480), *desk.makes(1478, 1510)])
    before = desk.account(1).collateral
    desk.slot(marks=[(0, 1480)])
    order = desk.rows[-2]
    assert int(order["flags"]) >> 5 == SequenceClass.MACHINE
    fee = -(-1478 * 10 * PERP.taker_fee_ppm // (100 * PPM))
    assert desk.account(1).collateral == before + (1478 - 1500) * 10 // 100 - fee
    assert [*desk.machine.machine_commands.values()] == [Reason.STRATEGY]


def test_a_take_profit_closes_where_the_mark_is_better(desk):
    desk.long()
    desk.slot([desk.register(1, TAKE, trigger_price=1520), *desk.makes(1519, 1540)])
    desk.slot(marks=[(0, 1519)])
    assert desk.acts == []
    desk.slot(marks=[(0, 1520)])
    assert desk.acts == [(1, 1, -10)] and desk.size() == 0


def test_a_trail_follows_the_best_price_and_fires_when_it_turns(desk):
    desk.long()
    desk.slot([desk.register(1, TRAIL, low=15)])
    for mark in (1510, 1530, 1520, 1516):
        desk.slot(marks=[(0, mark)])
        assert desk.acts == []
    assert desk.strategy().best == 1530
    desk.slot(desk.makes(1514, 1550))
    desk.slot(marks=[(0, 1515)])
    assert desk.acts == [(1, 1, -10)] and desk.size() == 0


def test_of_a_short_position_all_is_the_other_way_round(desk):
    desk.long()
    rows = [
        desk.register(2, STOP, 1, BUY, trigger_price=1520, quantity=4),
        desk.register(2, TAKE, 2, BUY, trigger_price=1480, quantity=4),
        desk.register(2, TRAIL, 3, BUY, low=15, quantity=2),
        *desk.makes(1450, 1521),
    ]
    assert desk.slot(rows) == []
    desk.slot(marks=[(0, 1519)])
    assert desk.acts == [(2, 3, 2)] and desk.size(2) == -8  # 1,500 was the best
    desk.slot(marks=[(0, 1520)])
    assert desk.acts[-1] == (2, 1, 4) and desk.size(2) == -4
    desk.slot([*desk.makes(1400, 1480)], marks=[(0, 1480)])
    assert (2, 2, 4) in desk.acts and desk.size(2) == 0


def test_what_closes_never_opens(desk):
    """More lots than there are, and orders of one's own on the same side: the position is closed, no more."""
    desk.long(lots=10)
    rows = [
        desk.register(1, STOP, 1, trigger_price=1500, quantity=50),
        desk.register(1, STOP, 2, trigger_price=1500, quantity=50),
        desk.new(1, 5, SELL, 1600, 4),
        *desk.makes(1499, 1650, lots=500),
    ]
    assert desk.slot(rows) == []
    assert desk.acts == [(1, 1, -6)] and desk.size() == 4  # four may still be sold at 1,600
    for _ in range(3):
        desk.time += 250
        desk.slot()
        assert desk.acts == [] and desk.size() == 4


def test_what_fired_goes_on_until_it_is_done(desk):
    """Part of it is filled; the mark comes back; the rest goes when there is somebody to take it."""
    desk.long()
    desk.slot([desk.register(1, STOP, trigger_price=1480, every=1000), *desk.makes(1478, 1510, lots=3)])
    desk.slot(marks=[(0, 1480)])
    fired = desk.time
    assert desk.acts == [(1, 1, -10)] and desk.size() == 7 and desk.strategy().next == fired + 1000
    desk.slot(desk.makes(1490, 1510), marks=[(0, 1500)])
    desk.time = fired + 998
    desk.slot()
    assert desk.acts == [] and desk.size() == 7
    desk.slot()
    assert desk.acts == [(1, 1, -7)] and desk.size() == 0


def test_it_trades_no_worse_than_its_bounds(desk):
    desk.long()
    rows = [
        desk.register(1, STOP, 1, trigger_price=1480, quantity=3, offset_ppm=10_000),  # 1,466 at least
        desk.register(1, STOP, 2, trigger_price=1480, quantity=3, limit_price=1475),
        *desk.makes(1465, 1510),
    ]
    assert desk.slot(rows) == []
    desk.slot(marks=[(0, 1480)])
    assert sorted(desk.acts) == [(1, 1, -3), (1, 2, -3)] and desk.size() == 10
    assert sorted(desk.rows["price"][-3:-1].tolist()) == [1466, 1475]
    desk.time += 250
    desk.slot(desk.makes(1470, 1510))
    assert desk.size() == 7


def test_a_bound_outside_the_band_is_told(desk):
    desk.long()
    desk.slot([desk.register(1, STOP, trigger_price=1500, limit_price=5000)])
    assert [(e.reason, e.account, e.first) for e in desk.events] == [(Reason.BAND, 1, 5000)]
    assert desk.strategy().next == desk.time + 250 and desk.size() == 10


def test_slices_come_one_after_the_other(desk):
    rows = [desk.register(1, SLICE, 1, BUY, quantity=4, high=10, every=1000), *desk.makes(1400, 1500)]
    assert desk.slot(rows) == []
    began = desk.time
    assert desk.acts == [(1, 1, 4)] and desk.size() == 4
    for wait, acts, size in (
        (999, [], 4),
        (1000, [(1, 1, 4)], 8),
        (2000, [(1, 1, 2)], 10),
        (2001, [(1, 1, 0)], 10),
    ):
        desk.time = began + wait - 1
        desk.slot()
        assert (desk.acts, desk.size()) == (acts, size)


def test_a_slice_is_margined_like_any_order(desk):
    desk.slot(deposits=[(owner(5), 100)])
    rows = [desk.register(5, SLICE, 1, BUY, quantity=200, high=10**6), *desk.makes(1400, 1500, lots=1000)]
    assert desk.slot(rows) == []
    assert desk.acts == [] and [e.reason for e in desk.events] == [Reason.MARGIN]
    assert (desk.events[0].first, desk.events[0].second) == (100, 212)  # margin 150, loss 60, fee 2
    desk.time += 250
    desk.slot(deposits=[(owner(5), 112)])
    assert desk.acts == [(5, 1, 200)]


def test_a_hedge_keeps_a_delta_within_its_band(desk):
    """Long 900 lots of ODD at 3/7 quanta a tick is 385; the band of ±2 is kept by 1/100 a lot of another."""
    about = Underlying(number=3, name="x")
    both = (replace(PERP, underlying=3), replace(ODD, underlying=3))
    desk = Trading(config=replace(CONFIG, instruments=both, underlyings=(about,)))
    rows = [desk.new(1, 8, BUY, 40, 900, instrument=1), desk.new(2, 8, SELL, 40, 900, instrument=1)]
    assert desk.slot(rows) == []
    rows = [desk.register(1, HEDGE, quantity=30_000, low=-2, high=2), *desk.makes(1495, 1505, lots=50_000)]
    assert desk.slot(rows) == []
    assert desk.acts == [(1, 1, -30_000)] and desk.size() == -30_000
    desk.time += 250
    desk.slot()
    assert desk.acts == [(1, 1, -8300)] and desk.size() == -38_300  # 385 - 383 = 2
    desk.time += 250
    desk.slot([desk.new(1, 9, SELL, 40, 14, instrument=1), desk.new(2, 9, BUY, 40, 14, instrument=1)])
    assert desk.acts == []  # it sees what was there when the slot began
    desk.time += 250
    desk.slot()
    assert desk.acts == [(1, 1, 200)]  # 379 - 383 = -4 is two too low
    assert -2 <= 886 * 3 // 7 + desk.size() // 100 <= 2


def test_the_index_may_fire_it(desk):
    people = tuple(address_of(bytes([n]) * 32) for n in (1, 2))
    about = Underlying(number=7, name="btc", publishers=people, quorum=2, staleness=10_000, deviation_ppm=PPM)
    heard = replace(PERP, underlying=7, mark_bound_ppm=12_000)
    desk = Trading(config=replace(CONFIG, instruments=(heard, ODD), underlyings=(about,)))
    number = 0

    def says(value, rows=()):
        nonlocal number
        number += 1
        desk.time += 250
        said = [Observation(p, 7, value, desk.time, number, bytes(64)) for p in (0, 1)]
        return desk.slot(rows, observations=said)

    says(1500)
    desk.long()
    assert says(1500, [desk.register(1, STOP, trigger=1, trigger_price=1480), *desk.makes(1478, 1510)]) == []
    says(1481)
    assert desk.acts == []
    says(1480)
    assert desk.acts == [(1, 1, -10)]
    # Without a quorum nothing is looked at.
    desk.time += 20_000
    assert desk.slot([desk.register(1, TRAIL, 4, low=5)]) == [Reason.NO_MARK]


def test_a_closed_instrument_is_not_traded(desk):
    desk.long()
    desk.slot([desk.register(1, STOP, trigger_price=1500, every=250)])
    shut = Operation(OperationKind.STATE, STATE.pack(0, Status.CANCEL_ONLY), bytes(64))
    desk.time += 250
    desk.slot(operations=[shut])
    assert desk.acts == []
    again = Operation(OperationKind.STATE, STATE.pack(0, Status.OPEN), bytes(64))
    desk.slot(operations=[again])
    assert desk.acts == [(1, 1, -10)]


def test_it_ends_with_its_time_its_account_or_by_its_owner(desk):
    desk.slot(deposits=[(owner(5), 1000)])
    rows = [
        desk.register(1, SLICE, 1, BUY, quantity=1, high=100, until=desk.time + 5),
        desk.register(1, SLICE, 2, BUY, quantity=1, high=100),
        desk.register(5, SLICE, 1, BUY, quantity=1, high=100),
    ]
    assert desk.slot(rows) == []
    unregister = desk.row(MessageKind.UNREGISTER, 1, client_id=2)
    assert desk.slot([unregister, desk.row(MessageKind.UNREGISTER, 1, client_id=3)]) == [
        Reason.CLIENT_ID_UNKNOWN
    ]
    assert desk.strategy(1, 2) is None and desk.strategy(1, 1) is not None
    desk.time += 5
    desk.slot([desk.row(MessageKind.WITHDRAW, 5, amount=1000)])
    assert desk.acts == [(1, 1, 0), (5, 1, 0)] and desk.strategy(1, 1) is None
    desk.slot()
    assert desk.strategy(5, 1) is None and not desk.machine._ledger.strategies


def test_an_agent_may_register_too(desk):
    agent = b"\xa9" * 20
    desk.slot([desk.appoint(1, agent)])
    assert desk.slot([desk.register(1, SLICE, 1, BUY, quantity=1, high=9, by=agent)]) == []
    assert desk.strategy() is not None


def test_no_more_than_the_most_of_an_account(desk):
    rows = [desk.register(1, SLICE, n + 1, BUY, quantity=1, high=9) for n in range(MOST + 1)]
    assert desk.slot(rows) == [Reason.STRATEGY]
    assert (desk.refusals[0].have, desk.refusals[0].need, desk.refusals[0].detail) == (MOST + 1, MOST, 1)
    assert desk.slot([desk.register(2, SLICE, 1, BUY, quantity=1, high=9)]) == []
    assert desk.slot([desk.register(2, SLICE, 1, BUY, quantity=1, high=9)]) == [Reason.CLIENT_ID_USED]


def test_those_of_a_venue_take_turns(desk):
    """More than a slot has room for: who has waited longest goes first, and nobody is left out."""
    many = 10
    desk.slot(deposits=[(owner(n), 10**6) for n in range(10, 10 + many)])
    accounts = range(5, 5 + many)
    for account in accounts:
        rows = [desk.register(account, SLICE, n + 1, BUY, quantity=1, high=10**6) for n in range(6)]
        assert desk.slot(rows) == []
    desk.time += 1000
    acted = []
    for _ in range(2):
        desk.slot()
        sent = [(a, c) for a, c, lots in desk.acts if lots]
        assert len(sent) <= MOST_ORDERS
        acted += sent
    assert len(acted) == len(set(acted)) == 6 * many


def test_what_is_wrong_with_one_is_told(desk):
    body, i32 = BODIES[MessageKind.REGISTER].fields, 2**31
    for kind, fields, at, have, need in (
        (STOP, {"strategy": 6}, "strategy", 6, 5),
        (STOP, {"strategy": 0}, "strategy", 0, 1),
        (STOP, {"trigger": 1}, "trigger", 1, 0),
        (SLICE, {"high": 10, "trigger_price": 5}, "trigger_price", 5, 0),
        (HEDGE, {"high": 10, "limit_price": 5}, "limit_price", 5, 0),
        (STOP, {"offset_ppm": PPM + 1}, "offset_ppm", PPM + 1, PPM),
        (STOP, {"every": 249}, "every", 249, 250),
        (STOP, {"low": 1}, "low", 1, 0),
        (TRAIL, {}, "low", 0, 1),
        (TRAIL, {"low": i32}, "low", i32, i32 - 1),
        (SLICE, {"high": 9}, "high", 9, 10),
        (HEDGE, {"low": 5, "high": 5}, "high", 5, 6),
        (HEDGE, {"low": -(2**63), "high": 5}, "low", -(2**63), -(2**62)),
        (STOP, {"until": 5}, "until", 5, NOW),
        (STOP, {"until": 2**48}, "until", 2**48, 2**48 - 1),
    ):
        code = fields.pop("strategy", kind)
        row = desk.register(1, kind, **fields)
        row[1:].view(BODIES[MessageKind.REGISTER])["strategy"] = code
        assert desk.slot([row]) == [Reason.REQUEST], (at, have)
        (refusal,) = desk.refusals
        assert (refusal.detail, refusal.have) == (ROW_BYTES + body[at][1], have)
        assert refusal.need == (desk.time if need is NOW else need), at
    nothing = desk.register(1, STOP, quantity=0)
    assert desk.slot([nothing, desk.register(1, STOP, 0), desk.register(1, STOP, instrument=7)]) == [
        Reason.REQUEST,
        Reason.REQUEST,
        Reason.NO_INSTRUMENT,
    ]
    assert not desk.account(1).strategies
