"""Accounts that cannot carry their positions: steps, takeover, deleveraging, and who bears a loss."""

import itertools
import random
from dataclasses import replace
from fractions import Fraction

import pytest
import support.desk
import support.money
from hawse.keys.messages import MessageKind
from hawse.risk import margin
from hawse.risk.liquidation import LiquidationTerms
from hawse.state.ledger import INSURANCE
from hawse.state.liquidating import Liquidation
from hawse.wire import Reason, Side, TimeInForce
from support.money import ODD, USD, MoneyDesk, bitcoin, venue
from support.twin import Twin

TERMS = LiquidationTerms(
    share_ppm=500_000, whole=0, most=2**32 - 1, begin_ppm=5_000, steps=4, fee_ppm=5_000, cap=32
)
BTC = 100_000_000
CONFIG = venue(
    replace(bitcoin(maker=0, taker=0), minimum_quantity=1, minimum_notional=0),
    liquidation=TERMS,
    mark_step_ppm=600_000,
)
LONG, SHORT, MAKER = 1, 2, 3


class Trial(MoneyDesk):
    def __init__(self, balances, config=CONFIG):
        super().__init__(balances, config)
        self.number = itertools.count(1)

    def go(self, rows=(), **inputs):
        """One slot; the events of it."""
        self.events = []
        admission = self.open(rows, **inputs)
        burst = self.engine.run(admission.orders)
        assert not burst.refused
        self.machine.clear_slot(burst.events)
        self.events, self.refusals = list(admission.events), admission.refusals
        self.sent = admission.orders
        assert self.machine.sum_of_balances() == self.machine.deposited - self.machine.withdrawn
        return self.events

    def new(self, account, side, price, lots, tif=TimeInForce.GTC, instrument=0):
        number = next(self.number)
        return self.row(
            MessageKind.ORDER,
            account,
            client_id=number,
            instrument=instrument,
            side=side,
            time_in_force=tif,
            price=price,
            quantity=lots,
        )

    def meet(self, buyer, seller, price, lots):
        self.go([self.new(seller, Side.SELL, price, lots), self.new(buyer, Side.BUY, price, lots)])

    def mark(self, to, rows=()):
        return self.go(rows, marks=[(0, to)])

    def reasons(self):
        return [event.reason for event in self.events]


def standing(*balances, lots=BTC // 10, price=78_000):
    """LONG has bought of SHORT."""
    trial = Trial(balances or (500 * USD, 5_000 * USD, 1_000_000 * USD))
    trial.meet(LONG, SHORT, price, lots)
    return trial


def test_above_maintenance_nobody_is_touched():
    trial = standing()
    # 0.1 BTC at 78,000, 500 dollars: maintenance is 2.5 % of the notional, 188.75 at 75,500, and equity 250.
    assert trial.mark(75_500) == [] and trial.mark(75_000) == []  # 187.5 and 200
    assert trial.size(LONG) == BTC // 10
    assert trial.reasons() == []
    trial.mark(74_800)  # 187 and 180
    assert trial.reasons() == [Reason.LIQUIDATE]


def test_below_it_half_is_closed_at_each_step_and_prices_widen_to_bankruptcy():
    trial = standing(500 * USD, 5_000 * USD, 1_000_000 * USD)
    trial.mark(74_800)
    prices, lots = [], []
    for _ in range(4):
        (event,) = trial.events
        assert (event.reason, event.account, event.instrument) == (Reason.LIQUIDATE, LONG, 0)
        lots.append(event.first)
        prices.append(event.second)
        trial.go()
    # Nobody bids: at each step the same half is offered, from half a percent below the mark to bankruptcy.
    assert lots == [-BTC // 20] * 4
    bankrupt = 74_800 - 180 * USD // (BTC // 10 // 100)
    assert prices == [
        74_426,
        74_426 - (74_426 - bankrupt) // 3,
        74_426 - (74_426 - bankrupt) * 2 // 3,
        bankrupt,
    ]
    assert prices[-1] == 73_000


def test_what_is_bid_closes_it_at_that_price_with_a_fee_to_insurance():
    trial = standing()
    trial.go([trial.new(MAKER, Side.BUY, 74_700, BTC)])
    insurance = trial.machine.insurance
    trial.mark(74_800)
    half = BTC // 20
    assert trial.size(LONG) == half and trial.size(MAKER) == half
    value = 74_700 * half // 100
    paid = -(-value * 5_000 // 1_000_000)
    assert trial.machine.insurance - insurance == paid
    account = trial.machine.accounts[LONG]
    # What the part realises, less the fee.
    assert account.collateral == 500 * USD + (74_700 - 78_000) * half // 100 - paid
    # Healthy again: the rest stays, and the count of steps begins anew.
    trial.go()
    assert trial.events == [] and trial.machine.accounts[LONG].steps == 0


def test_its_orders_go_first():
    trial = standing()
    trial.go([trial.new(LONG, Side.BUY, 70_000, 1000), trial.new(LONG, Side.SELL, 79_000, 1000)])
    trial.mark(74_800)
    assert trial.reasons()[:1] == [Reason.MARGIN_LOST] or trial.reasons()[:1] == [Reason.LIQUIDATE]
    assert not trial.machine.accounts[LONG].orders
    assert trial.reasons()[-1] == Reason.LIQUIDATE


def test_insurance_takes_over_as_far_as_its_own_margin_allows_and_unwinds():
    trial = standing(500 * USD, 5_000 * USD, 1_000_000 * USD)
    ledger = trial.machine._ledger
    ledger.pay(ledger.accounts[INSURANCE], 200 * USD)
    trial.machine.deposited += 200 * USD
    trial.mark(74_800)
    for _ in range(4):
        trial.go()
    taken = [event for event in trial.events if event.reason == Reason.TAKEOVER]
    assert taken[0].account == LONG and taken[0].second == 73_000
    # At 73,000 each lot brings 1,800 ticks, and needs 5 % of 74,800 = 3,740: 1,940 a lot of 200 dollars.
    assert taken[0].first == -(-(200 * USD - 1) * 100 // 1_940) - 1 or taken[0].first == BTC // 10
    assert trial.size(LONG) == 0 and trial.machine.accounts[LONG].collateral >= 0
    held = trial.size(INSURANCE)
    trial.go([trial.new(MAKER, Side.BUY, 74_800, BTC)])
    trial.go()
    assert 0 < trial.size(INSURANCE) < held or held == 0


def test_without_insurance_the_other_side_is_deleveraged_at_the_bankruptcy_price():
    trial = standing()
    trial.mark(74_800)
    for _ in range(4):
        trial.go()
    (event,) = trial.events
    assert event == type(event)(Reason.DELEVERAGE, SHORT, 0, BTC // 10, 73_000)
    assert trial.size(LONG) == trial.size(SHORT) == 0
    assert trial.machine.accounts[LONG].collateral == 0
    assert trial.machine.accounts[SHORT].collateral == 5_000 * USD + (78_000 - 73_000) * BTC // 10 // 100


def test_a_crash_past_bankruptcy_is_borne_by_everybody_to_the_quantum():
    trial = standing(500 * USD, 400 * USD, 100 * USD)
    # 0.1 BTC loses 4,500 dollars at 33,000... the band ends at 65,536: 1,246.40 are lost, 500 were there.
    trial.mark(65_536)
    kinds = trial.reasons()
    # SHORT gives up no more than its profit: nothing remains to be borne.
    assert kinds == [Reason.DELEVERAGE]
    assert trial.machine.accounts[LONG].collateral == 0
    assert trial.equity(SHORT) == 900 * USD


def test_what_the_other_side_cannot_give_up_is_borne_by_positive_equity():
    trial = Trial((500 * USD, 5_000 * USD, 3_000 * USD))
    trial.meet(LONG, SHORT, 78_000, BTC // 10)
    # SHORT hands on what it has to MAKER near the low, so that nobody has a profit to give up.
    trial.go([trial.new(MAKER, Side.SELL, 66_000, BTC // 10)])
    trial.go([trial.new(SHORT, Side.BUY, 66_000, BTC // 10, TimeInForce.IOC)])
    assert trial.size(SHORT) == 0 and trial.size(MAKER) == -BTC // 10
    # At 66,000 MAKER has what it had, for it sold there.
    before = {SHORT: trial.equity(SHORT), MAKER: 3_000 * USD}
    trial.mark(66_000)
    assert trial.reasons()[-1] == Reason.SOCIALISE
    loss = trial.events[-1].first
    assert loss == 700 * USD and trial.events[-1].account == LONG
    shares = {n: before[n] - trial.equity(n) for n in (SHORT, MAKER)}
    assert sum(shares.values()) == loss
    whole = sum(before.values())
    for n, share in shares.items():
        assert abs(share - Fraction(loss * before[n], whole)) < 1
    assert trial.machine.accounts[LONG].collateral == 0
    assert all(trial.machine.equity(account) >= 0 for account in trial.machine.accounts)


def test_so_many_accounts_a_slot_the_worst_first():
    config = replace(CONFIG, liquidation=replace(TERMS, cap=2, steps=1))
    trial = Trial([500 * USD] * 5 + [100_000 * USD], config)
    for n, price in enumerate((78_000, 78_100, 78_200, 78_300, 78_400), 1):
        trial.meet(n, 6, price, BTC // 10)
    trial.mark(74_000)
    assert [event.account for event in trial.events] == [5, 4]
    seen = set()
    for _ in range(12):
        trial.go()
        seen |= {event.account for event in trial.events}
    assert all(trial.equity(n) >= 0 for n in range(1, 7))
    assert {1, 2, 3} <= {n for n in range(1, 7) if not trial.size(n)} | seen


def test_a_full_engine_stops_no_liquidation_for_good():
    """Without a handle the step waits; nothing is counted."""
    config = replace(
        CONFIG,
        geometry=replace(CONFIG.geometry, orders=64),
        order_quota=64,
        reserved_handles=0,
        minimum_deposit=1,
    )
    trial = Trial((500 * USD, 5_000 * USD, 1_000_000 * USD), config)
    trial.meet(LONG, SHORT, 78_000, BTC // 10)
    trial.go([trial.new(MAKER, Side.BUY, 66_000 + n, 1000) for n in range(64)])
    assert not trial.machine._ledger.handles
    trial.mark(74_800)
    assert trial.events == [] and trial.machine.accounts[LONG].steps == 0
    trial.go([trial.row(MessageKind.CANCEL_ALL, MAKER, instrument=0xFFFF)])
    trial.go()
    assert trial.reasons() == [Reason.LIQUIDATE]


@pytest.mark.parametrize("field", ["steps", "cap"])
def test_without_terms_nothing_happens(field):
    trial = Trial((500 * USD, 5_000 * USD), replace(CONFIG, liquidation=None))
    trial.meet(LONG, SHORT, 78_000, BTC // 10)
    assert trial.mark(74_000) == [] and trial.go() == []


def crash(seed, slots=60, kind=Trial):
    """Marks that jump, thin books, small balances, restarts anywhere: what holds after each slot."""
    rng = random.Random(seed)
    config = venue(
        replace(bitcoin(maker=0, taker=500), minimum_quantity=1, minimum_notional=0, maintenance_ppm=600_000),
        replace(ODD, maintenance_ppm=300_000),
        liquidation=LiquidationTerms(
            share_ppm=rng.choice([300_000, 500_000, 1_000_000]),
            whole=rng.choice([0, 10_000]),
            most=rng.choice([2**32 - 1, 40_000]),
            begin_ppm=rng.choice([0, 5_000, 50_000]),
            steps=rng.randrange(1, 5),
            fee_ppm=rng.choice([0, 5_000, 50_000]),
            cap=rng.randrange(1, 4),
        ),
        insurance_ppm=500_000,
        mark_step_ppm=700_000,
        minimum_deposit=1,
    )
    people = 7
    trial = kind([rng.choice([20, 60, 300, 2_000]) * USD for _ in range(people)], config)
    queue = {}
    for _ in range(slots):
        rows = []
        for _ in range(rng.randrange(6)):
            n, number = rng.randrange(1, people + 1), rng.randrange(2)
            market = trial.machine.markets[number]
            price = market.mark + rng.randrange(-6, 7) * (1 if number else 40)
            equity = max(1, trial.equity(n))
            worth = max(1, market.mark * market.terms.numerator // market.terms.denominator)
            lots = max(1, min(10**6, equity * rng.choice([1, 4, 12]) // worth))
            tif = rng.choice([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC])
            rows.append(trial.new(n, rng.randrange(2), price, lots, tif, number))
        marks = []
        if rng.random() < 0.5:
            number = rng.randrange(2)
            market = trial.machine.markets[number]
            low, high = market.terms.base, market.terms.base + market.terms.count - 1
            move = rng.choice([0.4, 0.06, 0.02, 0.02])
            marks = [(number, max(low, min(high, int(market.mark * (1 + rng.uniform(-move, move))))))]
        healthy = {a.index for a in trial.machine.accounts[1:] if a.index not in unhealthy(trial, marks)}
        held = {a.index: {n: p.size for n, p in a.positions.items()} for a in trial.machine.accounts}
        events = trial.go(rows, marks=marks)
        check(trial, events, healthy, held, queue)
        if rng.random() < 0.1:
            trial.restart()
    return trial


def unhealthy(trial, marks):
    """Accounts below maintenance at the marks that come."""
    machine, coming = trial.machine, dict(marks)
    found = set()
    for account in machine.accounts[1:]:
        equity, needed = account.collateral, 0
        for number, p in account.positions.items():
            terms, mark = machine.markets[number].terms, coming.get(number, machine.markets[number].mark)
            equity += (p.size * mark - p.entry) * terms.numerator // terms.denominator
            held = -(
                -abs(p.size * mark)
                * terms.numerator
                * terms.initial_margin_ppm
                // (terms.denominator * 10**6)
            )
            needed += -(-held * terms.maintenance_ppm // 10**6)
        if equity < needed:
            found.add(account.index)
    return found


def check(trial, events, healthy, held, queue):
    machine = trial.machine
    closed = {event.account for event in events if event.reason in (Reason.LIQUIDATE, Reason.SOCIALISE)}
    assert not closed & healthy, f"liquidated while healthy: {closed & healthy}"
    losers = {event.account for event in events if event.reason == Reason.SOCIALISE}
    for account in machine.accounts[1:]:
        if account.collateral < 0 and not account.positions and account.index not in losers:
            # Somebody whose last position went beyond his equity in this very slot; the next one sees to it.
            assert held[account.index], f"{account.index} is below zero without a recorded loss"
    for event in events:
        if event.reason == Reason.DELEVERAGE and event.account != INSURANCE:
            assert abs(event.first) <= abs(held[event.account].get(event.instrument, 0))
    # Whoever is below maintenance at unmoved marks is gone on with in turn.
    terms = machine.config.liquidation
    now = unhealthy(trial, [])
    for index in [*queue]:
        if index not in now:
            del queue[index]
    for index in now:
        queue[index] = queue.get(index, 0) + 1
        most = (-(-len(machine.accounts) // terms.cap)) * (terms.steps + 2)
        assert queue[index] <= most, f"account {index} is left alone for {queue[index]} slots"


@pytest.fixture
def twins(monkeypatch):
    """Desks of which every machine is a golden one with a native one beside it."""
    for module in (support.desk, support.money):
        monkeypatch.setattr(module, "Machine", Twin)


@pytest.fixture
def watched(monkeypatch):
    """Each hand-over is looked at as it happens: what it takes of whom."""
    hand_over = Liquidation._hand_over

    def looks(self, account, other, market, lots, price, reason):
        ledger, number = self._ledger, market.terms.number
        before, position = ledger.equity(other), other.positions.get(number)
        profit = (
            margin.unrealised(market.terms, position.size, position.entry, market.mark) if position else 0
        )
        hand_over(self, account, other, market, lots, price, reason)
        given = before - ledger.equity(other)
        if reason == Reason.TAKEOVER:
            assert other.index == INSURANCE and ledger.free_collateral(other) >= 0
        elif (1 if lots > 0 else -1) * (price - market.mark) > 0:
            assert given <= max(0, profit) + 1, f"{given} of {other.index}, whose profit is {profit}"
            assert ledger.equity(other) >= ledger.maintenance(other) - 1
        else:
            assert given <= 1  # a position that is split is rounded down twice

    monkeypatch.setattr(Liquidation, "_hand_over", looks)


@pytest.mark.parametrize("seed", range(25))
def test_whatever_marks_and_hands_do(seed, twins, watched):
    crash(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1600))
def test_whatever_marks_and_hands_do_for_long(seed, twins, watched):
    crash(seed, slots=150)


def test_the_search_meets_every_kind_of_event():
    seen = set()
    for seed in range(12):
        kinds = []

        class Watched(Trial):
            def go(self, rows=(), **inputs):
                events = super().go(rows, **inputs)
                kinds.extend(event.reason for event in events)  # noqa: B023 - used up within the loop
                return events

        crash(seed, kind=Watched)
        seen |= {*kinds}
    assert seen >= {Reason.LIQUIDATE, Reason.TAKEOVER, Reason.DELEVERAGE, Reason.SOCIALISE}
