"""A dated future settles at the average of its index; an instrument is closed and opened; in both forms."""

from dataclasses import replace
from fractions import Fraction

import pytest
import support.desk
from click import BadParameter
from hawse.cli.run import load_config
from hawse.instruments import Kind, Status, Underlying
from hawse.keys.store import address_of
from hawse.risk.liquidation import LiquidationTerms
from hawse.state.config import VenueConfig
from hawse.state.inputs import STATE, StateError
from hawse.state.slot import Observation, Operation, OperationKind, Request, RequestKind
from hawse.wire import Reason
from hypothesis import given, settings
from hypothesis import strategies as st
from support.desk import CONFIG, ODD, PERP, Desk, owner
from support.twin import Twin

PEOPLE = tuple(address_of(bytes([n]) * 32) for n in (1, 2, 3))
BTC = Underlying(
    number=7, name="btc", publishers=PEOPLE, quorum=2, staleness=1000, ahead=50, deviation_ppm=500_000
)
EXPIRY, WINDOW, PATIENCE = 100_000, 4_000, 10_000
DATED = replace(
    PERP,
    name="dec",
    underlying=7,
    mark_bound_ppm=12_000,
    kind=Kind.FUTURE,
    expiry=EXPIRY,
    window=WINDOW,
    patience=PATIENCE,
)
VENUE = replace(CONFIG, instruments=(DATED, ODD), underlyings=(BTC,))
BEGINS = EXPIRY - WINDOW


class Expiring(Desk):
    """A desk with three publishers, whose time is said slot by slot."""

    def __init__(self, config=VENUE, **given):
        self.number = 0
        super().__init__(config=config, **given)

    def at(self, time, value=None, rows=(), people=3, **inputs):
        """A slot at ``time``, in which so many publishers say ``value``; returns what was refused."""
        self.time = time - 1 - 249 * bool(inputs.get("marks"))
        for row in rows:
            row["expiry"] = time + 1000
        said = ()
        if value is not None:
            self.number += 1
            said = [Observation(p, 7, value, time, self.number, bytes(64)) for p in range(people)]
        before = self.machine.snapshot()
        self.machine = type(self.machine).restore(self.machine.config, before)  # a restart anywhere
        admission = self.open(rows, observations=said, **inputs)
        self.machine.clear_slot(self.engine.run(admission.orders).events)
        self.refusals, self.events = admission.refusals, admission.events
        return [refusal.reason for refusal in admission.refusals]

    @property
    def market(self):
        return self.machine.markets[0]

    def conserved(self):
        machine = self.machine
        return machine.sum_of_balances() == machine.deposited - machine.withdrawn


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setattr(support.desk, "Machine", Twin)
    return Expiring()


def trade(desk, time=90_000, lots=10, price=1500):
    """Account 1 buys of account 2."""
    assert desk.at(time, 1500, [desk.new(1, 1, 0, price, lots), desk.new(2, 1, 1, price, lots)]) == []


def events(desk, reason):
    return [event for event in desk.events if event.reason == reason]


def test_the_settlement_price_is_the_average_of_the_window(desk):
    """1,500 for a quarter of it, 1,600 for the rest: 1,575. What came before does not count."""
    trade(desk)
    desk.at(95_900, 1700)
    desk.at(BEGINS, 1500)
    desk.at(BEGINS + 1000, 1600)
    for time in range(BEGINS + 1500, EXPIRY, 500):
        desk.at(time, 1600)
    collateral = [desk.account(n).collateral for n in (1, 2)]
    assert desk.market.status == Status.OPEN
    desk.at(EXPIRY, 1900)
    assert desk.market.status == Status.SETTLED and desk.market.mark == 1575
    (told,) = events(desk, Reason.SETTLE)
    assert (told.instrument, told.first, told.second) == (0, 1575, 10)
    # 75 ticks of 10 lots at 1/100 quantum, rounded down on either side; what remains is dust.
    assert [desk.account(n).collateral for n in (1, 2)] == [collateral[0] + 7, collateral[1] - 8]
    assert not desk.account(1).positions and not desk.account(2).positions
    assert desk.market.open_interest == 0 and desk.conserved()


def test_within_the_window_the_mark_follows_what_is_certain(desk):
    """Half of it at 1,500 and the index at 1,600: the mark is 1,550 at once, and nears the average."""
    trade(desk)
    desk.at(95_900, 1500)
    for time in (BEGINS + 900, BEGINS + 1700):
        desk.at(time, 1500)
    desk.at(BEGINS + 2000, 1600)
    assert desk.market.mark == 1550
    desk.at(BEGINS + 3000, 1600)
    assert desk.market.mark == 1550
    desk.at(BEGINS + 3000 + 250, 1400)
    assert desk.market.mark == 1513  # 1,512.5, rounded up


def test_a_book_does_not_move_the_mark_within_the_window(desk):
    trade(desk)
    desk.at(95_900, 1500)
    desk.at(BEGINS + 500, 1500, [desk.new(1, 2, 0, 1517, 5), desk.new(2, 2, 1, 1517, 5)])
    desk.at(BEGINS + 900, 1500)
    assert desk.market.last_trade == 1517 and desk.market.mark == 1500


def test_at_expiry_orders_go_and_no_more_come(desk):
    trade(desk)
    for time in (95_900, 96_900, 97_900, 98_900):
        desk.at(time, 1500)
    assert desk.at(99_500, 1500, [desk.new(1, 5, 0, 1400, 20), desk.new(3, 5, 1, 1600, 20)]) == []
    free = desk.machine.free_collateral(desk.account(1))
    rows = [desk.new(3, 6, 1, 1600, 1), desk.row(4, 3, client_id=5, price=1601, quantity=5)]
    assert desk.at(EXPIRY, 1500, rows) == [Reason.STATE, Reason.STATE]
    assert [(r.have, r.need) for r in desk.refusals] == [(Status.SETTLED, Status.OPEN)] * 2
    assert [(e.account, e.first, e.second) for e in events(desk, Reason.EXPIRY)] == [
        (1, EXPIRY, EXPIRY),
        (3, EXPIRY, EXPIRY),
    ]
    assert desk.order(1, 5) is None and desk.order(3, 5) is None
    assert desk.machine.free_collateral(desk.account(1)) > free
    # Its number is over for ever; others go on.
    assert desk.at(EXPIRY + 10, 1500, [desk.new(3, 7, 1, 1600, 1)]) == [Reason.STATE]
    assert desk.at(EXPIRY + 20, 1500, [desk.new(3, 8, 1, 50, 1, instrument=1)]) == []
    assert desk.market.mark == 1500 and desk.at(EXPIRY + 900, 1700) == [] and desk.market.mark == 1500


def test_time_without_a_quorum_makes_the_window_longer(desk):
    trade(desk)
    desk.at(95_900, 1500)
    desk.at(BEGINS + 500, 1500)
    desk.at(BEGINS + 1000, 1600, people=1)  # who is alone when the others are older than a second
    desk.at(BEGINS + 2000, 1700)
    desk.at(EXPIRY - 1500, 1700)
    desk.at(EXPIRY - 800, 1700)
    assert desk.at(EXPIRY, 1700, [desk.new(1, 3, 0, 1500, 1)]) == [Reason.STATE]
    assert desk.refusals[0].have == Status.CLOSED and desk.account(1).positions
    desk.at(EXPIRY + 498, 1700)
    assert desk.market.status == Status.CLOSED and desk.account(1).positions
    desk.at(EXPIRY + 499, 1900)
    assert desk.market.status == Status.SETTLED
    assert desk.market.mark == round(Fraction(1500 * 1501 + 1700 * 2499, 4000))


def test_silence_before_a_slot_does_not_count(desk):
    """Nobody says anything for long, and no slot is made: the index counted until it was stale."""
    trade(desk)
    desk.at(95_900, 1500)
    desk.at(BEGINS + 3000, 2000)  # 1,500 counted for 901 ms
    desk.at(BEGINS + 3900, 2000)
    desk.at(EXPIRY + 800, 2000)
    desk.at(EXPIRY + 1700, 2000)
    assert desk.market.status == Status.CLOSED
    desk.at(EXPIRY + 2600, 2000)
    assert desk.market.mark == round(Fraction(1500 * 901 + 2000 * 3099, 4000))


def test_without_an_index_for_long_it_settles_at_what_there_was(desk):
    trade(desk)
    desk.at(95_900, 1500)
    desk.at(BEGINS + 900, 1520)
    desk.at(EXPIRY)
    assert desk.market.status == Status.CLOSED
    desk.at(BEGINS + 1901 + PATIENCE - 1)
    assert desk.market.status == Status.CLOSED and desk.account(1).positions
    desk.at(BEGINS + 1901 + PATIENCE)
    assert desk.market.status == Status.SETTLED and not desk.account(1).positions
    assert desk.market.mark == round(Fraction(1500 * 900 + 1520 * 1001, 1901))
    assert desk.conserved()


def test_without_any_index_in_the_window_it_settles_at_the_last(desk):
    trade(desk)
    desk.at(93_000, 1530)
    desk.at(EXPIRY)
    assert desk.market.status == Status.CLOSED  # the index was over at 94,000, the window's begin counts
    desk.at(BEGINS + PATIENCE)
    assert (desk.market.status, desk.market.mark) == (Status.SETTLED, 1530)


def test_a_loser_who_owes_is_ended_as_ever(desk):
    """What he cannot pay, insurance does, else all share it; nobody stays below zero."""
    desk.at(90_000, 1500, deposits=[(owner(5), 60)])
    # 60 quanta carry 80 lots of 15 quanta each at 5 %.
    assert desk.at(90_500, 1500, [desk.new(5, 1, 0, 1500, 70), desk.new(2, 1, 1, 1500, 70)]) == []
    desk.at(EXPIRY)
    assert desk.market.status == Status.CLOSED and desk.account(5).positions  # nobody has said what he has
    desk.at(EXPIRY + 10, 1200)
    assert not desk.account(5).positions
    for n in range(6):
        desk.at(EXPIRY + 10 + 900 * (n + 1), 1200)
    assert desk.market.status == Status.SETTLED
    assert desk.account(5).collateral >= 0 and not desk.account(5).positions
    assert desk.conserved()
    assert all(a.collateral >= 0 for a in desk.machine.accounts)


def test_a_forced_exit_behind_expiry_says_why_nothing_is_offered(desk):
    trade(desk)
    desk.at(99_900, 1500)
    desk.at(EXPIRY + 950)
    request = Request(1, RequestKind.EXIT, owner(1), 1, desk.account(1).generation, 0, bytes(20), 0, 5)
    desk.at(EXPIRY + 990, 1500, people=2, requests=[request])
    assert [(e.account, e.instrument) for e in events(desk, Reason.STATE)] == [(1, 0)]


# Opened and closed by the operator


def status_of(instrument, status):
    return Operation(OperationKind.STATE, STATE.pack(instrument, status), bytes(64))


def test_cancel_only_and_back(desk):
    assert desk.at(90_000, 1500, [desk.new(1, 1, 0, 1490, 5), desk.new(1, 2, 0, 30, 5, instrument=1)]) == []
    rows = [desk.new(2, 1, 1, 1500, 5), desk.row(4, 1, client_id=1, price=1480, quantity=5)]
    assert desk.at(90_010, 1500, rows, operations=[status_of(0, Status.CANCEL_ONLY)]) == [Reason.STATE] * 2
    assert [(r.have, r.need) for r in desk.refusals] == [(Status.CANCEL_ONLY, Status.OPEN)] * 2
    assert desk.at(90_020, 1500, [desk.row(5, 1, client_id=1, quantity=4)]) == []
    assert desk.order(1, 1).remaining == 4
    assert desk.at(90_030, 1500, [desk.new(2, 2, 1, 1500, 5)], operations=[status_of(0, Status.OPEN)]) == []


def test_closed_takes_every_order_of_it(desk):
    assert desk.at(90_000, 1500, [desk.new(1, 1, 0, 1490, 5), desk.new(1, 2, 0, 30, 5, instrument=1)]) == []
    desk.at(90_010, 1500, operations=[status_of(0, Status.CLOSED)])
    assert [(e.account, e.instrument) for e in events(desk, Reason.DELIST)] == [(1, 0)]
    assert desk.order(1, 1) is None and desk.order(1, 2) is not None
    assert desk.at(90_020, 1500, [desk.new(1, 3, 0, 1490, 5)]) == [Reason.STATE]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\0\0", "2 bytes, not 3"),
        (STATE.pack(9, 1), r"instrument 9, not of \[0, 1\]"),
        (STATE.pack(0, Status.SETTLED), "status of 3 of instrument 0, not below 3"),
    ],
)
def test_a_status_that_is_none_is_refused(desk, body, says):
    with pytest.raises(StateError, match=says):
        desk.at(90_000, operations=[Operation(OperationKind.STATE, body, bytes(64))])
    assert desk.market.status == Status.OPEN


def test_nobody_opens_again_what_has_expired(desk):
    with pytest.raises(StateError, match="at 100000, which expired at 100000"):
        desk.at(EXPIRY, operations=[status_of(0, Status.OPEN)])
    desk.at(EXPIRY, 1500)
    assert desk.market.status == Status.CLOSED


# Configuration


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"expiry": 0}, "expiry: 0 is not within 1"),
        ({"window": 0}, "window: 0 is not within 1..100000"),
        ({"window": EXPIRY + 1}, "window: 100001 is not within 1..100000"),
        ({"patience": 0}, "patience: 0"),
        ({"kind": Kind.PERPETUAL}, "expiry: 100000 is not within 0..0"),
        ({"kind": Kind.CALL}, "neither a perpetual nor a future"),
    ],
)
def test_terms_that_are_none(change, says):
    with pytest.raises(ValueError, match=says):
        replace(DATED, **change)


def test_what_expires_needs_publishers():
    with pytest.raises(ValueError, match="underlying: 7 of instrument 0, which expires, is not among"):
        replace(VENUE, underlyings=(replace(BTC, publishers=(), quorum=0),))
    assert VenueConfig.decode(VENUE.encode()) == VENUE


# Searches


SLOTS = st.lists(
    st.tuples(
        st.sampled_from((1, 60, 250, 400, 999, 1001, 3000)),  # time since the last
        st.one_of(st.none(), st.sampled_from((1300, 1450, 1500, 1520, 1700))),  # what is said
        st.integers(1, 3),  # by how many
        st.lists(
            st.tuples(st.integers(1, 3), st.integers(0, 1), st.sampled_from((-8, 0, 8)), st.integers(1, 60)),
            max_size=3,
        ),
    ),
    min_size=1,
    max_size=14,
)


def average_by_hand(history, end):
    """(price, elapsed) of what was said: a step function over the window, counted by the millisecond."""
    said, total, elapsed, at, index = {}, 0, 0, 0, None
    for time in range(history[0][0], end):
        while at < len(history) and history[at][0] == time:
            _, value, people = history[at]
            said |= {p: (value, time) for p in range(people)}
            at += 1
        fresh = sorted(v for v, t in said.values() if time - t <= BTC.staleness)
        counts = len(fresh) >= BTC.quorum
        middle = len(fresh) // 2
        index = (
            (fresh[middle] if len(fresh) % 2 else sum(fresh[middle - 1 : middle + 1]) // 2)
            if counts
            else None
        )
        if time >= BEGINS and index is not None and elapsed < WINDOW:
            total, elapsed = total + index, elapsed + 1
    return total, elapsed


@settings(max_examples=60)
@given(SLOTS)
def test_search_every_position_is_paid_out_and_no_quantum_appears(slots):
    """Orders, silence, one or two publishers, restarts behind every slot, right through expiry."""
    support.desk.Machine, before = Twin, support.desk.Machine
    try:
        desk = Expiring(
            replace(VENUE, liquidation=LiquidationTerms(250_000, 10, 1000, 5_000, 2, 0, 4)), amount=80
        )
    finally:
        support.desk.Machine = before
    time = BEGINS - 2000
    desk.at(time, 1500, [desk.new(1, 90, 0, 1500, 50), desk.new(2, 90, 1, 1500, 50)])
    assert desk.account(1).positions
    for wait, value, people, orders in slots:
        time += wait
        rows = [
            desk.new(account, 100 * desk.machine.next_slot + n, side, 1500 + off, lots)
            for n, (account, side, off, lots) in enumerate(orders)
        ]
        desk.at(time, value, rows, people)
        assert desk.conserved()
    time = max(time, EXPIRY)
    for _ in range(40):
        desk.at(time, 1500)
        assert desk.conserved()
        time += 400
    assert desk.market.status == Status.SETTLED
    assert not any(0 in a.positions or a.orders for a in desk.machine.accounts)
    assert all(a.collateral >= 0 for a in desk.machine.accounts)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 1500), st.sampled_from((1300, 1500, 1700)), st.integers(1, 3)), max_size=8
    ),
    st.lists(st.integers(BEGINS - 500, EXPIRY + 9000), max_size=12),
)
def test_search_empty_slots_do_not_change_the_settlement_price(said, more):
    """It is the average over time, however many slots the operator makes of it."""
    history, time = [(BEGINS - 600, 1500, 3)], BEGINS - 600
    for wait, value, people in said:
        time += wait
        history.append((time, value, people))
    prices = []
    for extra in ((), sorted(more)):
        desk = Expiring()
        times = {t: (value, people) for t, value, people in history}
        for t in sorted({*times, *extra}):
            value, people = times.get(t, (None, 0))
            desk.at(t, value, (), people)
            if desk.market.status == Status.SETTLED:
                break
        end = desk.time
        while desk.market.status != Status.SETTLED:
            end = max(end + 1, EXPIRY + 20_000)
            desk.at(end)
        prices.append((desk.market.mark, desk.time))
    total, elapsed = average_by_hand(history, EXPIRY + 20_000)
    wanted = round_half_up(Fraction(total, elapsed)) if elapsed else 1500
    assert [price for price, _ in prices] == [wanted, wanted]


def round_half_up(value):
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def test_a_future_of_a_file_has_its_kind_named_and_its_expiry_as_a_time(tmp_path):
    path = tmp_path / "venue.toml"

    def load(kind="future", expiry="2027-03-26T08:00:00Z", underlying=7):
        path.write_text(
            FUTURE.format(kind=kind, expiry=expiry, underlying=underlying, publisher="0x" + "ab" * 20)
        )
        return load_config(path, bytes(20)).instruments[0]

    assert (load().kind, load().expiry, load().window) == (Kind.FUTURE, 1_806_048_000_000, 1_800_000)
    assert load(expiry=1_806_048_000_000).expiry == 1_806_048_000_000
    for change, says in (
        ({"kind": "swap"}, r"kind 'swap' is not of \['perpetual', 'future'"),
        ({"kind": "call"}, "neither a perpetual nor a future"),
        ({"expiry": "2027-03-26T08:00:00"}, "has no offset from UTC"),
        ({"underlying": 65535}, "which expires, is not among those with publishers"),
    ):
        with pytest.raises(BadParameter, match=says):
            load(**change)


FUTURE = """
[geometry]
instruments = 1
pool = 1024
orders = 64
tag_bits = 4
[[instruments]]
number = 0
name = "BTC 2027-03-26"
kind = "{kind}"
expiry = {expiry}
window = 1_800_000
patience = 3_600_000
underlying = {underlying}
numerator = 1
denominator = 100
initial_margin_ppm = 50_000
maker_fee_ppm = 0
taker_fee_ppm = 100
count = 1024
base = 1000
first_mark = 1500
[[underlyings]]
number = 7
name = "BTC"
publishers = ["{publisher}"]
quorum = 1
"""
