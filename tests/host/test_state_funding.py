"""Funding of perpetuals: who pays whom, how much and once; in both forms, which must agree."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest
import support.desk
from hawse.instruments import FUNDING_TICK_BITS, PART_BITS, Underlying
from hawse.risk.fixed import MOST, ONE
from hawse.risk.prices import Average
from hawse.state.machine import Machine
from hawse.state.slot import Observation, Request, RequestKind
from hawse.state.snapshot import MAGIC, SnapshotError
from hawse.wire import Reason, Side
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.desk import CONFIG, ODD, PERP, owner
from support.naive import naive_root
from support.twin import Twin
from tiny_keccak import keccak256

BUY, SELL = Side.BUY, Side.SELL
#: A hundred lots at 1,500; of the index, two percent an interval at most.
HOUR, CAP = 10_000, 20_000
FUNDED = replace(PERP, funding_interval=HOUR, funding_cap_ppm=CAP, impact_notional=1_500)
ALSO = replace(ODD, funding_interval=3_000, funding_cap_ppm=500_000, impact_notional=90)
VENUE = replace(CONFIG, instruments=(FUNDED, ALSO))
TICK = 1 << FUNDING_TICK_BITS


@pytest.fixture(autouse=True)
def _both_forms(monkeypatch):
    monkeypatch.setattr(support.desk, "Machine", Twin)


class Desk(support.desk.Desk):
    """One whose messages do not expire: time goes in long steps here."""

    def row(self, *given, **fields):
        return super().row(*given, **{"expiry": 2**40} | fields)


def at(desk, time, rows=(), refused=(), **inputs):
    """A slot at a time; what the machine said of funding in it: instrument, rate and index."""
    desk.time = time - (250 if inputs.get("marks") else 1)
    admission = desk.open(rows, **inputs)
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)
    assert [refusal.reason for refusal in admission.refusals] == [*refused]
    return [(e.instrument, e.first, e.second) for e in admission.events if e.reason == Reason.FUNDING]


def trade(desk, long, short, lots, price=1_500, number=900):
    """Rows of two orders that meet; the first rests for no other slot."""
    return [desk.new(short, number, SELL, price, lots), desk.new(long, number, BUY, price, lots)]


def quotes(desk, bid, ask, lots=100, number=1):
    """Rows of a bid of account 1 and an ask of account 2."""
    return [desk.new(1, number, BUY, bid, lots), desk.new(2, number, SELL, ask, lots)]


def cancels(desk, number=1):
    return [desk.row(2, account, client_id=number) for account in (1, 2)]


def index_of(desk, number=0):
    return desk.machine.markets[number].funding.cumulative


def funded(config=VENUE):
    """Account 3 is long 1,001 lots, account 4 short; the book is a percent above the index from 1,100 on."""
    desk = Desk(config=config)
    at(desk, 1_050, trade(desk, 3, 4, 1_001))
    at(desk, 1_100, quotes(desk, 1_515, 1_530))
    return desk


def settled(desk, account):
    """Collateral once all is paid: by buying or selling a lot of what is held."""
    return desk.account(account).collateral - sum(
        desk.machine.unpaid_funding(desk.account(account), n) for n in desk.account(account).positions
    )


def conserved(desk):
    machine = desk.machine
    assert machine.sum_of_balances() == machine.deposited - machine.withdrawn
    assert machine.native.sum_of_balances() == machine.deposited - machine.withdrawn


def test_by_hand_a_percent_above_the_index_costs_the_long_side_a_percent_of_it():
    """Index 1,500, impact bid 1,515: 15 ticks a lot, a hundredth of a quantum each; 1,001 lots: 150.15."""
    desk = funded()
    before = {n: settled(desk, n) for n in (1, 2, 3, 4)}
    assert at(desk, 9_999) == []
    ((number, rate, index),) = at(desk, 10_000)
    assert (number, index) == (0, index_of(desk))
    assert abs(rate - ONE // 100) <= 1 and abs(index - 15 * TICK) <= TICK >> 19
    assert desk.machine.unpaid_funding(desk.account(3), 0) == 151
    assert desk.machine.unpaid_funding(desk.account(4), 0) == -150
    assert [settled(desk, n) - before[n] for n in (1, 2, 3, 4)] == [0, 0, -151, 150]
    conserved(desk)
    free = desk.machine.free_collateral(desk.account(3))
    at(desk, 10_001, [desk.new(3, 7, BUY, 1_500, 100)])
    assert desk.machine.free_collateral(desk.account(3)) < free
    conserved(desk)


def test_a_payment_is_told_with_its_rate_its_index_and_dust():
    desk = funded()
    desk.time = 9_999
    events = desk.open().events
    parts = 100 << FUNDING_TICK_BITS
    assert [(e.reason, e.account, e.instrument) for e in events] == [
        (Reason.FUNDING, 0, 0),
        (Reason.FUNDING_DUST, 0, 0),
    ]
    assert events[1].second == parts == desk.machine.markets[0].funding_parts and events[1].first == 0


def test_the_premium_is_integrated_and_not_sampled():
    """What lasts from a slot to the next counts for so long, whatever there is at the interval's end."""
    desk = Desk(config=VENUE)
    at(desk, 10_000, quotes(desk, 1_500, 1_530))  # no premium, but both sides
    at(desk, 12_000, [*cancels(desk), *quotes(desk, 1_515, 1_530, number=2)])
    at(desk, 14_500, [*cancels(desk, 2), *quotes(desk, 1_490, 1_510, number=3)])
    ((_, rate, _),) = at(desk, 20_000)
    assert abs(rate - ONE // 400) <= 1  # a percent for a quarter of the time
    at(desk, 29_999, [*cancels(desk, 3), *quotes(desk, 1_700, 1_710, number=4)])
    ((_, rate, _),) = at(desk, 30_000)
    assert 0 < rate < ONE // 10**4 * 2


def test_time_without_both_sides_is_left_out():
    desk = Desk(config=VENUE)
    at(desk, 10_000, quotes(desk, 1_515, 1_530))
    at(desk, 11_000, [desk.row(2, 2, client_id=1)])  # the ask goes
    ((_, rate, _),) = at(desk, 20_000)
    assert abs(rate - ONE // 100) <= 1
    assert at(desk, 30_000) == [] == at(desk, 95_000)
    assert desk.machine.markets[0].funding.begun == 90_000
    at(desk, 95_500, [desk.new(2, 2, SELL, 1_530, 99)])  # too little for the impact notional
    assert at(desk, 100_000) == []


def test_the_rate_ends_at_the_cap_and_goes_both_ways():
    desk = Desk(config=VENUE)
    at(desk, 1_050, trade(desk, 3, 4, 1_000))
    at(desk, 10_000, quotes(desk, 1_800, 1_900))
    ((_, rate, _),) = at(desk, 20_000)
    assert rate == CAP * ONE // 10**6
    assert desk.machine.unpaid_funding(desk.account(3), 0) == 300
    at(desk, 20_001, [*cancels(desk), *quotes(desk, 1_400, 1_410, number=2)])
    ((_, rate, _),) = at(desk, 30_000)
    assert rate == -(CAP * ONE // 10**6) and index_of(desk) == 0
    assert desk.machine.unpaid_funding(desk.account(3), 0) == 0


def test_a_position_opened_behind_a_payment_pays_nothing_of_it():
    desk = funded()
    at(desk, 10_000, trade(desk, 3, 1, 10, price=1_515, number=7))
    at(desk, 10_001, trade(desk, 2, 1, 500, price=1_520, number=8))
    assert 0 < index_of(desk) == desk.account(2).positions[0].funding
    assert desk.machine.unpaid_funding(desk.account(2), 0) == 0
    conserved(desk)


@pytest.mark.parametrize("lots", [1, 1_000, 1_001, 1_700])
def test_what_was_due_is_paid_once_whatever_the_trade(lots):
    """A part, all but a lot, all, and a reversal; and more on top of it."""
    for long, short in ((4, 3), (3, 4)):
        desk, free = funded(), funded(replace(VENUE, instruments=(replace(FUNDED, funding_cap_ppm=0), ALSO)))
        for one in (desk, free):
            at(one, 10_000)
            at(one, 10_001, trade(one, long, short, lots, price=1_520))
            at(one, 10_002, trade(one, long, short, 5, price=1_520, number=901))
        assert [settled(desk, n) - settled(free, n) for n in (3, 4)] == [-151, 150]
        assert desk.machine.unpaid_funding(desk.account(3), 0) == 0
        conserved(desk)


def test_unpaid_funding_is_not_taken_out_and_what_is_due_to_one_is_not_lent():
    desk = funded()
    able = {n: desk.machine.withdrawable(desk.account(n)) for n in (3, 4)}
    at(desk, 10_000)
    now = {n: desk.machine.withdrawable(desk.account(n)) for n in (3, 4)}
    assert now[3] == able[3] - 151 and now[4] == able[4]
    more = [desk.row(8, n, amount=now[n] + 1) for n in (3, 4)]
    at(desk, 10_001, more, refused=[Reason.WITHDRAWABLE] * 2)
    at(desk, 10_002, [desk.row(8, 3, amount=now[3])])
    conserved(desk)


def test_exits_count_unpaid_funding_to_the_quantum():
    desk = funded()
    at(desk, 10_000)
    equity = {a.index: desk.machine.equity(a) for a in desk.machine.accounts}
    at(desk, 10_001, closes=1)
    batch = desk.machine.seal_batch()
    assert [leaf.equity for leaf in batch.exits[1:]] == [equity[n] for n in (1, 2, 3, 4)]
    assert batch.marks[0].funding == index_of(desk) > 0
    state, paid = desk.machine.exit_state(batch.marks), desk.machine.deposited
    header = batch.header_fields()
    positive, shortfall = header["exit_positive"], header["exit_shortfall"]
    own = header["insurance"] + header["fees"] + header["dust"]
    assert positive - shortfall + own + state.rounding() == paid


def test_a_forced_exit_pays_what_is_due():
    desk = funded()
    at(desk, 10_000, [desk.new(1, 3, BUY, 1_512, 3_000)])
    ask = Request(1, RequestKind.EXIT, owner(3), 3, 3 << 24, 0, bytes(20), 0, 7)
    at(desk, 10_001, requests=[ask])
    assert not desk.account(3).positions and desk.machine.markets[0].funding_dust > 0
    at(desk, 10_002, requests=[replace(ask, index=2)])
    assert desk.account(3).collateral == 0
    conserved(desk)


def test_funding_alone_ruins_who_cannot_pay_and_takes_back_his_orders():
    rich = replace(VENUE, minimum_deposit=1)
    desk = Desk(accounts=0, config=rich)
    amounts = (10**6, 10**6, 900, 10**6)
    desk.slot(deposits=[(owner(n), amount) for n, amount in enumerate(amounts, 1)])
    at(desk, 1_050, trade(desk, 3, 4, 1_000))
    at(desk, 10_000, [*quotes(desk, 1_800, 1_900), desk.new(3, 5, BUY, 1_400, 100)])
    seen = []
    for time in (20_000, 30_000, 30_001, 30_002, 30_003, 30_004, 30_005):
        desk.time = time - 1
        admission = desk.open()
        seen += [e.reason for e in admission.events]
        desk.machine.clear_slot(desk.engine.run(admission.orders).events)
        conserved(desk)
    assert desk.machine.markets[0].mark == 1_500
    assert Reason.MARGIN_LOST in seen and Reason.LIQUIDATE in seen
    assert desk.account(3).positions[0].size < 1_000 and desk.account(3).collateral >= 0


# Prices that publishers say

PEOPLE = tuple(bytes([0xB0 + n]) * 20 for n in range(3))
BTC = Underlying(number=7, name="btc", publishers=PEOPLE, quorum=2, staleness=1_000, ahead=50)
OBSERVED = replace(
    CONFIG, instruments=(replace(FUNDED, underlying=7, mark_bound_ppm=12_000), ODD), underlyings=(BTC,)
)


def said(desk, value, time, publishers=(0, 1, 2)):
    desk.said = getattr(desk, "said", 0) + 1
    return [Observation(p, 7, value, time, desk.said, bytes(64)) for p in publishers]


def hear(desk, time, value=1_500, rows=(), **which):
    return at(desk, time, rows, observations=said(desk, value, time, **which))


def test_a_premium_counts_no_longer_than_the_index_it_is_of():
    desk = Desk(config=OBSERVED)
    hear(desk, 10_000, rows=quotes(desk, 1_515, 1_530))
    hear(desk, 14_000)  # the first has counted for a second
    hear(desk, 14_400, rows=[*cancels(desk), *quotes(desk, 1_500, 1_530, number=2)])
    hear(desk, 14_500, publishers=(0,))
    ((_, rate, _),) = hear(desk, 20_000)
    # 10,000 to 11,000 and 14,000 to 14,400 at a percent, then 0 until 15,500.
    assert abs(rate - ONE * 14 // 2_500) <= 1
    assert hear(desk, 20_001) == []


def test_without_a_quorum_no_time_counts():
    desk = Desk(config=OBSERVED)
    hear(desk, 10_000, rows=quotes(desk, 1_515, 1_530))
    at(desk, 11_001)
    assert not desk.machine.markets[0].valid
    assert desk.machine.markets[0].funding.premium.value is None
    assert desk.machine.markets[0].impact.value is None
    at(desk, 19_999)
    hear(desk, 20_000)
    assert hear(desk, 30_000)[0][1] == pytest.approx(ONE // 100, abs=1)


def test_the_mark_follows_the_average_impact_mid_that_needs_both_sides():
    """The median of index + basis, mid and last trade; the basis follows the mid by a sixtieth a second."""
    desk = Desk(config=OBSERVED)
    hear(desk, 10_000, rows=quotes(desk, 1_508, 1_512))
    market = desk.machine.markets[0]
    assert (market.mark, market.basis) == (1_500, 0)
    assert market.impact == Average(10_000, 1_510 << PART_BITS)
    hear(desk, 10_200)
    hear(desk, 10_250, rows=trade(desk, 3, 4, 10, price=1_509))
    # Index + basis is 1,500, the mid 1,510; there is no trade yet: the basis decides.
    assert market.mark == 1_500 and market.basis > 0
    hear(desk, 10_900)
    assert market.mark == 1_509  # last trade, between 1,500 and 1,510
    hear(desk, 11_800)
    assert market.mark == 1_509
    hear(desk, 12_000, rows=[desk.row(2, 1, client_id=1)])
    hear(desk, 12_900)
    assert 1_500 <= market.mark <= 1_501  # a book of one side: nothing but the basis
    before = market.basis
    hear(desk, 13_500)
    assert market.basis == before


def test_two_hands_that_trade_with_each_other_move_no_mark_any_more():
    desk = Desk(config=OBSERVED)
    hear(desk, 10_000, rows=quotes(desk, 1_498, 1_502))
    for n in range(20):
        hear(desk, 10_500 + 500 * n, rows=[*cancels(desk, n + 1), *quotes(desk, 1_498, 1_502, number=n + 2)])
        at(desk, 10_501 + 500 * n, [*cancels(desk, n + 2), *trade(desk, 3, 4, 5, 1_900, number=900 + n)])
        at(desk, 10_502 + 500 * n, quotes(desk, 1_498, 1_502, number=n + 2))
        market = desk.machine.markets[0]
        assert market.last_trade == 1_900 and abs(market.mark - 1_500) <= 1


# Edges


def test_the_index_of_funding_ends_at_int64_and_stands_there():
    golden = Machine.restore(VENUE, funded().machine.snapshot())
    market = golden.markets[0]
    market.funding = replace(market.funding, cumulative=MOST - 5)
    rooted(golden)
    desk = Desk(config=VENUE)
    desk.machine, desk.time = Twin.restore(VENUE, golden.snapshot()), golden.time
    assert [index for _, _, index in at(desk, 10_000)] == [MOST] == [index_of(desk)]
    assert [index for _, _, index in at(desk, 20_000)] == [MOST]


@pytest.mark.parametrize("price", [999, 2_024, 2**31 - 1, -(2**31)])
def test_a_snapshot_with_an_order_beyond_its_band_is_refused(price):
    data, head = funded().machine.snapshot(), len(MAGIC)
    body = json.loads(data[head + 96 :])
    _, orders = body[4][6][1][-2:]
    assert orders[0][5] == 1_515
    orders[0][5] = price
    text = json.dumps(body, separators=(",", ":")).encode()
    with pytest.raises(SnapshotError, match="orders: one at"):
        Twin.restore(VENUE, data[:head] + keccak256(text) + data[head + 32 : head + 96] + text)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"funding_interval": 2**32}, "funding_interval: 4294967296 is not within 0..4294967295"),
        ({"funding_cap_ppm": 10**6 + 1}, "funding_cap_ppm: 1000001 is not within 0..1000000"),
        ({"impact_notional": 0}, "impact_notional: 0 is not within 1.."),
        ({"impact_notional": 2**63}, "impact_notional"),
    ],
)
def test_terms_say_which_field_is_wrong(change, what):
    with pytest.raises(ValueError, match=what):
        replace(FUNDED, **change)


def test_the_root_is_that_of_the_pages():
    desk = funded()
    at(desk, 10_000, trade(desk, 4, 3, 7, price=1_520))
    market = desk.machine.markets[0]
    assert market.funding_dust and market.impact.value and market.funding.premium.value
    assert desk.machine.state_root() == naive_root(desk.machine)


def test_equal_roots_are_equal_machines():
    """All that a later slot depends on is in a leaf: one number changed is another root."""
    desk = funded()
    at(desk, 10_000)
    at(desk, 10_001, trade(desk, 4, 3, 7, price=1_520))
    data = desk.machine.snapshot()
    machine = Twin.restore(VENUE, data)
    seen = {machine.state_root()}
    market = machine.markets[0]
    premium, impact, known = market.funding.premium, market.impact, market.funding
    changed = [
        replace(known, **{n: getattr(known, n) + 1}) for n in ("begun", "until", "index", "cumulative")
    ]
    names = ("time", "value", "total", "elapsed")
    changed += [replace(known, premium=replace(premium, **{n: getattr(premium, n) + 1})) for n in names]
    for other in changed:
        market.funding = other
        seen.add(rooted(machine))
    market.funding = known
    for n in names:
        market.impact = replace(impact, **{n: getattr(impact, n) + 1})
        seen.add(rooted(machine))
    market.impact = impact
    market.funding_dust += 1
    seen.add(rooted(machine))
    market.funding_dust -= 1
    machine.accounts[3].positions[0].funding += 1
    machine._ledger.changed.add(3)
    seen.add(rooted(machine))
    assert len(seen) == 1 + 8 + 4 + 1 + 1


def rooted(machine):
    """Root of the golden form, in which something was changed."""
    machine._ledger.priced.add(0)
    machine._commitments.end_slot(0)
    return Machine.state_root(machine)


# Searched for

PEOPLE_MOST = 5
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["trade", "trade", "trade", "quote", "quote", "mark", "wait", "restart"]),
        st.integers(1, PEOPLE_MOST),
        st.integers(1, PEOPLE_MOST),
        st.integers(1, 400),
        st.integers(-60, 60),
        st.sampled_from([0, 1]),
        st.sampled_from([1, 10, 600, 2_999, 3_000, 9_999, 10_000, 45_000]),
    ),
    min_size=4,
    max_size=30,
)


class Payments:
    """The same flow in two venues: in one funding is paid, in the other the cap is 0."""

    def __init__(self):
        free = replace(
            VENUE, instruments=(replace(FUNDED, funding_cap_ppm=0), replace(ALSO, funding_cap_ppm=0))
        )
        self.desks = [Desk(PEOPLE_MOST, config=config) for config in (VENUE, free)]
        self.paying = self.desks[0]
        self.number, self.quoted = 0, {}
        #: Exact funding of each account, and how often one of its positions was touched with something due.
        self.exact, self.touched = {}, {}
        self.dust_touched = {0: 0, 1: 0}

    def slot(self, rows_of=lambda desk: (), wait=1, **inputs):
        before = {
            (a.index, n): replace(p) for a in self.paying.machine.accounts for n, p in a.positions.items()
        }
        known = {n: m.funding.cumulative for n, m in self.paying.machine.markets.items()}
        for desk in self.desks:
            at(desk, desk.time + wait + 250 * bool(inputs), rows_of(desk), **inputs)
            conserved(desk)
        markets = self.paying.machine.markets
        for (account, n), position in before.items():
            market = markets[n]
            step = market.funding.cumulative - known[n]
            due = Fraction(position.size * step * market.terms.numerator, market.funding_parts)
            self.exact[account] = self.exact.get(account, 0) + due
            now = self.paying.account(account).positions.get(n)
            if now is None or now.funding != position.funding:
                self.touched[account] = self.touched.get(account, 0) + 1
                self.dust_touched[n] += 1
        self.hold()

    def hold(self):
        """What everybody has paid is what was due, rounded against him: a quantum a payment at most."""
        paying, free = self.desks
        for account in range(1, PEOPLE_MOST + 1):
            paid = settled(free, account) - settled(paying, account)
            held = len(paying.account(account).positions)
            over = paid - self.exact.get(account, 0)
            assert 0 <= over <= self.touched.get(account, 0) + held, (account, paid, self.exact)
        for n, market in paying.machine.markets.items():
            dust = Fraction(market.funding_dust, market.funding_parts)
            assert 0 <= dust <= self.dust_touched[n]
            sizes = [a.positions[n].size for a in paying.machine.accounts if n in a.positions]
            assert sum(sizes) == 0
        assert not any(m.funding_dust for m in free.machine.markets.values())

    def act(self, what, one, other, lots, away, number, wait):
        self.number += 1
        price = ((1_500, 40)[number]) + (away if not number else away // 12)
        some = {"instrument": number}
        if what == "trade" and one != other:
            self.slot(
                lambda desk: [
                    *(self._gone(desk, number)),
                    desk.new(one, self.number, SELL, price, lots, **some),
                    desk.new(other, self.number, BUY, price, lots, **some),
                ]
            )
            self.quoted.pop(number, None)
        elif what == "quote":
            self.slot(
                lambda desk: [
                    *(self._gone(desk, number)),
                    desk.new(one, self.number, BUY, price, lots, **some),
                    desk.new(one, self.number + 10**6, SELL, price + 1 + lots % 5, lots, **some),
                ]
            )
            self.quoted[number] = one, self.number
        elif what == "mark":
            self.slot(marks=[(number, price)])
        elif what == "wait":
            self.slot(wait=wait)
        elif what == "restart":
            for desk in self.desks:
                desk.machine = Twin.restore(desk.machine.config, desk.machine.snapshot())

    def _gone(self, desk, number):
        if number not in self.quoted:
            return []
        account, client = self.quoted[number]
        return [desk.row(2, account, client_id=n) for n in (client, client + 10**6)]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTS)
def test_nobody_pays_twice_or_not_at_all_whatever_is_traded(acts):
    both = Payments()
    for act in acts:
        both.act(*act)
    both.slot(wait=10_000)
