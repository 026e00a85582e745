"""What happens when an account cannot carry its positions: steps, insurance, deleveraging, shared losses."""

import random
from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
import support.desk
from hawse.instruments import FUNDING_TICK_BITS
from hawse.keys.messages import NO_INSTRUMENT, MessageKind
from hawse.risk.liquidation import LiquidationTerms
from hawse.state.ledger import INSURANCE
from hawse.state.slot import Request, RequestKind
from hawse.wire import Reason, SequenceClass, Side
from support.desk import CONFIG, Desk, no_mark_counts, owner
from support.seed import seed_of
from support.twin import Twin

BUY, SELL = Side
TERMS = LiquidationTerms(
    share_ppm=500_000, whole=20, most=1_000_000, begin_ppm=10_000, steps=3, fee_ppm=5_000, cap=2
)
RULES = replace(CONFIG, liquidation=TERMS)


def desk_of(*amounts, config=RULES):
    desk = Desk(0, config=config)
    desk.slot(deposits=[(owner(a), amount) for a, amount in enumerate(amounts, 1)])
    return desk


def long_short(desk, lots, price=1500, long=1, short=2):
    """One account long, the other short."""
    desk.slot([desk.new(short, 900, SELL, price, lots), desk.new(long, 901, BUY, price, lots)])


def seen(desk, *marks, rows=()):
    """Events of a slot with these marks: (reason, account, first, second)."""
    admission = desk.open(rows, marks=marks)
    burst = desk.engine.run(admission.orders)
    desk.machine.clear_slot(burst.events)
    desk.burst = burst.events
    desk.admission = admission
    return [(e.reason, e.account, e.first, e.second) for e in admission.events]


def insure(desk, amount):
    """Insurance that somebody paid in."""
    machine = desk.machine
    machine.accounts[INSURANCE].collateral += amount
    machine.deposited += amount
    machine._ledger.changed.add(INSURANCE)


# Steps


def test_an_account_below_maintenance_is_closed_step_by_step_from_the_mark_to_bankruptcy():
    desk = desk_of(1_000, 10**6, 10**6)
    long_short(desk, 1_000)
    # 14,500 notional: initial 725, maintenance 363. At 1,430 equity is 1,000 − 8 − 700 = 292.
    first = seen(desk, (0, 1_430))
    assert first == [(Reason.LIQUIDATE, 1, 292, 358)]
    prices = []
    for _ in range(3):
        order = desk.admission.orders[0]
        assert order["flags"] >> 5 == SequenceClass.MACHINE and order["flags"] & 1 == SELL
        assert order["quantity"] == 500
        prices.append(int(order["price"]))
        last = seen(desk)
    # c is 1 % of the mark; 292 quanta are 29.2 ticks of 1,000 lots.
    assert prices == [1_416, 1_409, 1_401]
    # Nobody bought: insurance has the margin of a lot, and the other side closes at the price of bankruptcy.
    assert last == [(Reason.TAKEOVER, 1, 1, 1_401), (Reason.DELEVERAGE, 2, 999, 1_401)]
    assert not desk.account(1).positions and desk.account(2).positions[0].size == -1
    assert desk.account(1).collateral >= 0


def test_orders_that_nobody_carries_any_more_go_before_a_liquidation_could_take_them():
    desk = desk_of(800, 10**6, 10**6, 1_000)
    long_short(desk, 1_000, long=2, short=1)
    desk.slot([desk.new(4, 1, SELL, 1_501, 1_200)])
    assert [*seen(desk, (0, 1_545))] and {*desk.machine.machine_commands.values()} == {
        Reason.MARGIN_LOST,
        Reason.LIQUIDATE,
    }
    assert not desk.account(4).positions and not desk.account(4).orders


def test_a_fill_pays_the_fee_to_insurance_and_what_is_healthy_again_begins_anew():
    desk = desk_of(1_000, 10**6, 10**6)
    long_short(desk, 1_000)
    desk.slot([desk.new(3, 1, BUY, 1_424, 2_000)])
    before = desk.machine.insurance
    seen(desk, (0, 1_430))
    account = desk.account(1)
    # 500 lots at 1,424, 7,120 quanta: 0.5 % are 36; what is left needs half of the maintenance.
    assert account.positions[0].size == 500 and desk.machine.fill_fees == [36, 2]
    assert desk.machine.insurance == before + 36 and desk.machine.equity(account) == 292 - 30 - 36
    assert account.step == 0 and 1 not in desk.machine._ledger.unhealthy
    assert seen(desk) == []


def test_the_fee_is_never_beyond_what_equity_is_left():
    desk = desk_of(1_000, 10**6, 10**6, config=replace(RULES, liquidation=replace(TERMS, fee_ppm=10**6)))
    long_short(desk, 1_000)
    desk.slot([desk.new(3, 1, BUY, 1_424, 2_000)])
    seen(desk, (0, 1_430))
    assert desk.machine.fill_fees == [262, 2] and desk.machine.equity(desk.account(1)) == 0


def test_neither_handles_nor_tags_nor_own_orders_keep_an_account_from_being_closed():
    config = replace(RULES, reserved_handles=2, reserved_tags=2)
    desk = desk_of(1_000, *[10**6] * 13, config=config)
    long_short(desk, 1_000)
    desk.slot([desk.new(3, 1, BUY, 1_424, 2_000)])
    # Everybody takes what there is of tags and handles; the owner's other account stands in the way.
    for account in range(4, 15):
        desk.slot([desk.new(account, n, BUY, 1_100, 10) for n in range(1, 30)])
    assert desk.slot([desk.new(14, 99, BUY, 1_100, 10)]) in ([Reason.STORE_FULL], [Reason.TAGS_FULL])
    seen(desk, (0, 1_430))
    assert desk.account(1).positions[0].size == 500


def test_an_order_of_the_same_owner_is_taken_out_of_the_way():
    desk = desk_of(1_000, 10**6, 10**6)
    long_short(desk, 1_000)
    desk.slot(deposits=[(owner(1), 50_000)])
    desk.slot([desk.transfer(1, 1, 50_000)])
    sub = desk.machine.account_of(owner(1), 1)
    best = desk.new(sub.index, 1, BUY, 1_430, 10, generation=sub.generation)
    assert desk.slot([best, desk.new(3, 1, BUY, 1_424, 2_000)]) == []
    seen(desk, (0, 1_430))
    assert not sub.orders and not sub.positions and desk.account(1).positions[0].size == 500


def test_insurance_takes_what_its_margin_carries_and_unwinds_it_at_new_marks():
    desk = desk_of(1_000, 10**6, 10**6)
    insure(desk, 300)
    long_short(desk, 1_000)
    # Equity is 992 − 1,000: the price of bankruptcy is 1,400 + 0.8.
    events = seen(desk, (0, 1_400))
    taken = next(first for reason, _, first, _ in events if reason == Reason.TAKEOVER)
    assert 0 < taken < 1_000
    venue = desk.account(INSURANCE)
    assert 0 <= desk.machine.free_collateral(venue) < 2 and venue.positions[0].size == taken
    assert (Reason.DELEVERAGE, 2, 1_000 - taken, 1_401) in events
    assert not desk.account(1).positions and desk.account(1).collateral >= 0
    desk.slot([desk.new(3, 1, BUY, 1_400, 5_000)])
    assert venue.positions[0].size == taken
    seen(desk, (0, 1_401))
    assert venue.positions.get(0) is None or venue.positions[0].size < taken


def test_what_nobody_s_profit_bears_is_shared_to_the_quantum():
    desk = desk_of(1_000, 1_000, 50_000, 70_001)
    # 2 has taken its gain from 1's loss, and 3, who sold to it at the mark, has none.
    long_short(desk, 1_000)
    with no_mark_counts():
        desk.slot(marks=[(0, 1_300)])
        desk.slot([desk.new(3, 1, SELL, 1_300, 1_000), desk.new(2, 2, BUY, 1_300, 1_000)])
    assert desk.account(3).positions[0].size == -1_000
    before = {a.index: desk.machine.equity(a) for a in desk.machine.accounts}
    owed = -before[1]
    events = seen(desk, (0, 1_300))
    ((_, account, loss, insured),) = [e for e in events if e[0] == Reason.SOCIALISE]
    # Insurance takes a lot, and a quantum of the loss with it.
    assert (Reason.TAKEOVER, 1, 1, 1_401) in events and (account, loss) == (1, owed - 1)
    assert (Reason.DELEVERAGE, 3, 999, 1_300) in events
    after = {a.index: desk.machine.equity(a) for a in desk.machine.accounts}
    lost = {n: before[n] - after[n] for n in (2, 3, 4)}
    assert after[1] == 0 and sum(lost.values()) == loss - insured and min(after.values()) >= 0
    assert lost[4] > lost[3] > lost[2] > 0


def test_deleveraging_leaves_the_other_side_its_maintenance():
    desk = desk_of(1_000, 2_100, 10**6, 10**6)
    long_short(desk, 1_000)
    desk.slot([desk.new(3, 1, SELL, 40, 500, instrument=1), desk.new(2, 1, BUY, 40, 500, instrument=1)])
    # Account 2 gains 3,000 of account 1, which has 992, and loses 4,500 elsewhere.
    events = seen(desk, (0, 1_200), (1, 19))
    machine, two = desk.machine, desk.account(2)
    taken = [
        (first, price) for reason, who, first, price in events if (reason, who) == (Reason.DELEVERAGE, 2)
    ]
    (worse, bankruptcy), (rest, mark) = taken
    assert bankruptcy > mark == 1_200 and 0 < worse < rest
    equity, needs = exact(machine, two.collateral, two.positions)
    assert equity >= 300 + 204 > needs
    assert (
        Reason.SOCIALISE in {e[0] for e in events} and min(machine.equity(a) for a in machine.accounts) >= 0
    )


def test_nothing_happens_while_no_mark_counts():
    desk = desk_of(1_000, 10**6)
    long_short(desk, 1_000)
    with no_mark_counts():
        events = seen(desk, (0, 1_300))
    assert events == []
    assert seen(desk)[-1][0] in (Reason.DELEVERAGE, Reason.SOCIALISE)


def test_an_order_that_closed_what_is_deleveraged_goes_before_it_could_open():
    desk = desk_of(1_000, 2_100, 10**6, 10**6)
    long_short(desk, 1_000)
    desk.slot([desk.new(3, 1, SELL, 40, 500, instrument=1), desk.new(2, 1, BUY, 40, 500, instrument=1)])
    assert desk.slot([desk.new(2, 7, BUY, 1_199, 1_000)]) == []
    events = seen(desk, (0, 1_200), (1, 19))
    assert events[-1][:2] == (Reason.MARGIN_LOST, 2) and not desk.account(2).orders
    desk.slot([desk.new(4, 1, SELL, 1_199, 1_000)])
    assert 0 not in desk.account(2).positions and desk.machine.free_collateral(desk.account(2)) >= 0


def test_no_order_goes_beyond_bankruptcy_because_the_band_ends_before_it():
    desk = desk_of(5_000, 10**6, 10**6, 10**6)
    desk.slot(marks=[(0, 1_990)])
    desk.slot([desk.new(2, 900, SELL, 1_990, 1_000), desk.new(1, 901, BUY, 1_990, 1_000)])
    desk.slot([desk.new(3, 1, SELL, 40, 500, instrument=1), desk.new(1, 1, BUY, 40, 500, instrument=1)])
    desk.slot([desk.new(4, 1, BUY, 2_023, 2_000)])  # the highest price that there is
    equity = 0
    for n in range(5):
        seen(desk, *([(0, 2_100), (1, 12)] if not n else []))
        equity = equity or desk.machine.equity(desk.account(1))
        assert desk.machine.equity(desk.account(1)) >= 0
    assert equity == 87 and not desk.account(1).positions


def test_an_engine_without_a_free_handle_is_no_shelter():
    desk = desk_of(1_000, *[10**6] * 13)
    long_short(desk, 1_000)
    for account in range(4, 15):
        desk.slot([desk.new(account, n, BUY, 1_100, 10) for n in range(1, 30)])
    assert not desk.machine._ledger.handles
    for n in range(4):
        seen(desk, *([(0, 1_430)] if not n else []))
        assert bool(desk.account(1).positions) == (n < 3)


# Forced exits


def leaves(desk, index=1, account=1):
    return Request(index, RequestKind.EXIT, owner(account), account, account << 24, 0, bytes(20), 0, 7)


def test_an_exit_closes_positions_within_c_of_the_mark_and_the_next_pays():
    desk = desk_of(10_000, 10**6, 10**6)
    long_short(desk, 1_000)
    desk.slot([desk.new(3, 1, BUY, 1_484, 5_000), desk.new(3, 2, BUY, 1_485, 400)])
    assert desk.slot(requests=[leaves(desk)]) == []
    assert {*desk.machine.machine_commands.values()} == {Reason.FORCED}
    # c is 1 %: what is bid at 1,485 is taken, what is bid at 1,484 is not; the rest stays.
    assert desk.account(1).positions[0].size == 600
    desk.slot([desk.new(3, 3, BUY, 1_490, 5_000)])
    desk.slot(requests=[leaves(desk, 2)])
    assert not desk.account(1).positions and desk.account(1).collateral > 0
    desk.slot(requests=[leaves(desk, 3)])
    assert desk.account(1).collateral == 0
    assert desk.machine.sum_of_balances() == desk.machine.deposited - desk.machine.withdrawn


# Searched for


def owed(machine, number, position):
    """Unpaid funding of a position, exactly."""
    market = machine.markets[number]
    t, change = market.terms, market.funding.cumulative - position.funding
    return Fraction(position.size * change * t.numerator, t.denominator << FUNDING_TICK_BITS)


def exact(machine, collateral, positions):
    """Equity and maintenance, reckoned apart from the state."""
    equity, needs = Fraction(collateral), 0
    for number, position in positions.items():
        equity -= owed(machine, number, position)
        market = machine.markets[number]
        t = market.terms
        value = Fraction(t.numerator, t.denominator)
        equity += (position.size * market.mark - position.entry) * value
        notional = abs(position.size * market.mark) * value
        initial = -(-notional * t.initial_margin_ppm // 10**6)
        needs += -(-initial * t.maintenance_ppm // 10**6)
    return equity, needs


class Watched(Desk):
    """A desk at which every slot is held against what a liquidation promises."""

    def __init__(self, amounts, config):
        super().__init__(0, config=config)
        self.terms = config.liquidation
        self.late, self.seen, self.touched = {}, set(), 0
        self.watched([], deposits=[(owner(a), amount) for a, amount in enumerate(amounts, 1)])

    def watched(self, rows, marks=(), **inputs):
        machine = self.machine
        marked = {n: machine.markets[n].mark for n in machine.markets} | dict(marks)
        held = {
            a.index: (a.collateral, {n: replace(p) for n, p in a.positions.items()}) for a in machine.accounts
        }
        unrealised = {
            (a.index, n): (p.size * marked[n] - p.entry)
            * Fraction(machine.markets[n].terms.numerator, machine.markets[n].terms.denominator)
            for a in machine.accounts
            for n, p in a.positions.items()
        }
        sizes = {(a.index, n): p.size for a in machine.accounts for n, p in a.positions.items()}
        paid_in = {owner_: amount for owner_, amount in inputs.get("deposits", ())}
        admission = self.open(rows, marks=marks, **inputs)
        events = admission.events
        # At the marks of the slot, and with its funding.
        start = {index: exact(machine, *had) for index, had in held.items()}
        self.seen |= {e.reason for e in events}
        self._only_the_unhealthy(events, start, paid_in)
        self._deleveraged(events, start, unrealised, sizes)
        self._behind_events(events)
        burst = self.engine.run(admission.orders)
        assert not burst.refused
        machine.clear_slot(burst.events)
        moves = sum(e.reason in (Reason.TAKEOVER, Reason.DELEVERAGE) for e in events)
        self.touched += 2 * moves + len(machine.fill_fees)
        self._money()
        self._nobody_is_left_alone(start)
        self._flags(admission)

    def _only_the_unhealthy(self, events, start, paid_in):
        for event in events:
            if event.reason in (Reason.LIQUIDATE, Reason.TAKEOVER) and event.account != INSURANCE:
                equity, needs = start[event.account]
                hit = any(e.reason in (Reason.DELEVERAGE, Reason.SOCIALISE) for e in events)
                assert equity < needs + 33 or hit, (event, equity, needs)

    def _deleveraged(self, events, start, unrealised, sizes):
        """Never more than the unrealised profit, and never maintenance."""
        cost, times = {}, {}
        marks = {n: m.mark for n, m in self.machine.markets.items()}
        for event in events:
            if event.reason != Reason.DELEVERAGE:
                continue
            key, terms = (event.account, event.instrument), self.machine.markets[event.instrument].terms
            worse = event.first * (event.second - marks[event.instrument])
            if worse > 0:
                cost[key] = cost.get(key, 0) + worse * Fraction(terms.numerator, terms.denominator)
            times[key] = times.get(key, 0) + 1
        for key, taken in cost.items():
            assert taken <= max(0, unrealised[key]), (key, taken, unrealised[key])
            equity, needs = start[key[0]]
            if equity >= needs and not any(e.reason == Reason.SOCIALISE for e in events):
                assert equity - taken >= needs

    def _behind_events(self, events):
        """Insurance has its margin for all that it holds, if it took anything."""
        machine = self.machine
        if any(e.reason == Reason.TAKEOVER and e.account != INSURANCE for e in events):
            venue = machine.accounts[INSURANCE]
            assert margin_left(machine, venue) >= 0

    def _money(self):
        machine = self.machine
        assert machine.sum_of_balances() == machine.deposited - machine.withdrawn
        for number in machine.markets:
            assert sum(a.positions[number].size for a in machine.accounts if number in a.positions) == 0
            # Whoever pays funding pays less than a quantum too much.
            market = machine.markets[number]
            assert 0 <= market.funding_dust <= self.touched * market.funding_parts
        assert all(not o.why for o in machine.orders.values())
        below = {a.index for a in machine.accounts if not whole(machine, a)}
        assert below == machine._ledger.unhealthy

    def _nobody_is_left_alone(self, start):
        """An account is unhealthy, or below zero, no longer than its queue has steps."""
        machine, late = self.machine, self.late
        unhealthy = {a.index for a in machine.accounts[1:] if not whole(machine, a)}
        longest = -(-max(1, len(unhealthy)) // self.terms.cap) * (self.terms.steps + 1) + 1
        for index in [*late]:
            if index not in unhealthy:
                del late[index]
        for index in unhealthy:
            slots, most = late.get(index, (0, 0))
            late[index] = slots + 1, max(most, longest)
            assert slots < late[index][1], f"account {index}: {slots} slots"

    def _flags(self, admission):
        for row in admission.orders[:-1]:
            if row["flags"] >> 5 == SequenceClass.MACHINE:
                assert int(row["seq"]) in self.machine.machine_commands


def margin_left(machine, account):
    """Equity beyond the initial margin of the positions, each rounded down to a quantum."""
    left = account.collateral
    for number, position in account.positions.items():
        market = machine.markets[number]
        t = market.terms
        left += (position.size * market.mark - position.entry) * t.numerator // t.denominator
        left -= ceil(owed(machine, number, position))
        left -= -(
            -abs(position.size * market.mark) * t.numerator * t.initial_margin_ppm // (t.denominator * 10**6)
        )
    return left


def whole(machine, account):
    """Whether it has its maintenance, each position rounded down to a quantum."""
    equity, needs = account.collateral, 0
    for number, position in account.positions.items():
        market = machine.markets[number]
        t = market.terms
        equity += (position.size * market.mark - position.entry) * t.numerator // t.denominator
        equity -= ceil(owed(machine, number, position))
        initial = -(
            -abs(position.size * market.mark) * t.numerator * t.initial_margin_ppm // (t.denominator * 10**6)
        )
        needs += -(-initial * t.maintenance_ppm // 10**6)
    return equity >= (needs if account.index else 0)


def wild(seed, slots=60, machine=None):
    """Little money, several accounts, thin or empty books, jumps of up to 60 %, restarts."""
    rng = random.Random(f"liquidation/{seed}")
    terms = LiquidationTerms(
        share_ppm=rng.choice([100_000, 500_000, 1_000_000]),
        whole=rng.choice([0, 20]),
        most=rng.choice([7, 1_000, 10**6]),
        begin_ppm=rng.choice([0, 1_000, 30_000]),
        steps=rng.choice([1, 2, 5]),
        fee_ppm=rng.choice([0, 5_000, 50_000]),
        cap=rng.choice([1, 2, 16]),
    )
    config = replace(
        RULES, liquidation=terms, mark_step_ppm=2**32 - 1, reserved_handles=rng.choice([0, 2, 16])
    )
    if rng.random() < 0.6:
        funding = {
            "funding_interval": rng.choice([300, 2_000]),
            "funding_cap_ppm": rng.choice([5_000, 300_000]),
        }
        config = replace(
            config, instruments=tuple(replace(i, impact_notional=10, **funding) for i in config.instruments)
        )
    people = rng.randrange(3, 8)
    desk = Watched([rng.choice([500, 2_000, 20_000, 10**6]) for _ in range(people)], config)
    client, index = 0, 0
    for _ in range(slots):
        rows, requests, marks = [], [], []
        for number, low, high in ((0, 1_050, 1_950), (1, -90, 380)):
            mark = desk.machine.markets[number].mark
            if rng.random() < 0.5:
                jump = rng.choice([0.001, 0.01, 0.05, 0.2, 0.6]) * rng.choice([-1, 1])
                to = mark + int(abs(mark) * jump) or mark + rng.choice([-1, 1])
                marks.append((number, max(low, min(to, high)) if rng.random() < 0.8 else to))
        marked = {n: m.mark for n, m in desk.machine.markets.items()} | dict(marks)
        for _ in range(rng.randrange(7)):
            account, client, number = rng.randrange(1, people + 1), client + 1, rng.choice([0, 0, 0, 1])
            price = marked[number] + rng.choice([0, 0, 1, -1, 5, -5, 30, -30])
            free = max(0, desk.machine.free_collateral(desk.account(account)))
            lots = max(1, int(free * rng.choice([5, 15, 19]) * 100 // (abs(price) * 100 + 1)))
            lots = rng.choice([lots, rng.randrange(1, 50)]) * (100 if number == 0 else 2)
            rows.append(
                desk.new(
                    account,
                    client,
                    rng.choice([BUY, SELL]),
                    price,
                    min(lots, 2**31),
                    instrument=number,
                    time_in_force=rng.choice([0, 0, 0, 1]),
                    mode=rng.choice([0, 1, 2, 4]),
                )
            )
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            account, index = rng.randrange(1, people + 1), index + 1
            kind = rng.choice(
                [RequestKind.WITHDRAW, RequestKind.CANCEL_ALL, RequestKind.EXIT, RequestKind.EXIT]
            )
            amount = max(1, desk.account(account).collateral) if kind == RequestKind.WITHDRAW else 0
            generation = desk.account(account).generation
            requests.append(
                Request(index, kind, owner(account), account, generation, amount, bytes(20), 0, 7)
            )
        if rng.random() < 0.2:
            account = rng.randrange(1, people + 1)
            amount = max(1, desk.machine.withdrawable(desk.account(account)))
            rows.append(desk.row(MessageKind.WITHDRAW, account, amount=amount))
        if rng.random() < 0.1:
            rows.append(
                desk.row(MessageKind.CANCEL_ALL, rng.randrange(1, people + 1), instrument=NO_INSTRUMENT)
            )
        deposits = [(owner(rng.randrange(1, people + 1)), 3_000)] if rng.random() < 0.1 else []
        desk.watched(rows, marks=marks, requests=requests, deposits=deposits)
        if rng.random() < 0.3:
            snapshot = desk.machine.snapshot()
            unhealthy = desk.machine._ledger.unhealthy
            desk.machine = type(desk.machine).restore(config, snapshot)
            assert desk.machine.snapshot() == snapshot and desk.machine._ledger.unhealthy == unhealthy
    return desk.seen


@pytest.fixture
def twins(monkeypatch):
    monkeypatch.setattr(support.desk, "Machine", Twin)


def test_both_forms_do_the_same(twins, monkeypatch):
    seed = seed_of()
    print(f"seed {seed}")
    for n in range(10):
        wild(f"{seed}/{n}")


def test_nothing_is_found_that_breaks_what_is_promised():
    seed, places = seed_of(), set()
    print(f"seed {seed}")
    for n in range(30):
        places |= wild(f"{seed}/{n}")
    wanted = {Reason.LIQUIDATE, Reason.TAKEOVER, Reason.DELEVERAGE, Reason.SOCIALISE, Reason.FORCED}
    assert places >= wanted | {Reason.FUNDING}
