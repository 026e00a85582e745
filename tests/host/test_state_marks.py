"""Signed observations make indices, and those the marks of perpetuals; in both forms, which must agree."""

import json
from dataclasses import replace

import pytest
import support.desk
from hawse.commit.inputs import InputLeaf
from hawse.instruments import Underlying
from hawse.keys import structs
from hawse.keys.signing import sign_digest
from hawse.keys.store import address_of
from hawse.risk.prices import BASIS_BITS
from hawse.state.feeds import MOST_INDEX, sort_out
from hawse.state.inputs import StateError
from hawse.state.marks import fair_mark
from hawse.state.native.machine import NativeMachine
from hawse.state.slot import InputClass, Observation, Omission, Request, RequestKind, SlotInput
from hawse.state.snapshot import MAGIC, SnapshotError
from hawse.venue import signers
from hawse.wire import Reason
from hypothesis import given, settings
from hypothesis import strategies as st
from support.desk import CONFIG, ODD, PERP, Desk, owner
from support.twin import Twin
from tiny_keccak import keccak256

KEYS = [bytes([n]) * 32 for n in range(1, 6)]
PEOPLE = tuple(address_of(key) for key in KEYS)
BTC = Underlying(number=7, name="btc", publishers=PEOPLE, quorum=3, staleness=1000, ahead=50)
BOUND = 12_000
ABOUT = replace(PERP, underlying=7, mark_bound_ppm=BOUND)
OBSERVED = replace(CONFIG, instruments=(ABOUT, ODD), underlyings=(BTC,))


class Prices(Desk):
    """A desk with five publishers of one underlying, whose numbers go up by themselves."""

    def __init__(self, config=OBSERVED, **given):
        self.numbers = [0] * 5
        super().__init__(config=config, **given)

    def says(self, values, ago=0, **fields):
        """Observations, by publisher."""
        out = []
        for publisher, value in sorted(values.items()):
            self.numbers[publisher] += 1
            one = Observation(publisher, 7, value, self.time + 1 - ago, self.numbers[publisher], bytes(64))
            out.append(replace(one, **fields))
        return out

    def hear(self, values, rows=(), wait=250, **fields):
        """A slot with observations; what was refused in it."""
        self.time += wait
        return self.slot(rows, observations=self.says(values, **fields))

    @property
    def market(self):
        return self.machine.markets[0]


def all_say(value):
    return dict.fromkeys(range(5), value)


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setattr(support.desk, "Machine", Twin)
    return Prices()


def test_the_median_of_a_quorum_is_index_and_mark(desk):
    desk.hear({0: 1500, 1: 1510, 2: 1490})
    feed = desk.machine.feeds[7]
    assert (feed.index, feed.counted, feed.valid, feed.time) == (1500, 3, True, desk.time)
    assert (desk.market.mark, desk.market.mark_time) == (1500, desk.time)
    desk.hear({3: 1520, 4: 1530})
    assert (feed.index, desk.market.mark) == (1510, 1510)


def test_a_mark_changes_at_most_every_quarter_second(desk):
    desk.hear(all_say(1500))
    began = desk.time
    desk.hear(all_say(1550), wait=100)
    assert desk.machine.feeds[7].index == 1550
    assert (desk.market.mark, desk.market.mark_time) == (1500, began)
    desk.time = began + 249
    desk.slot()
    assert (desk.market.mark, desk.market.mark_time) == (1550, began + 250)


def test_without_a_quorum_an_instrument_is_cancel_only(desk):
    assert desk.slot([desk.new(1, 1, 0, 1500, 5)]) == [Reason.NO_MARK]
    assert (desk.refusals[0].have, desk.refusals[0].need) == (0, 3)
    assert desk.hear(all_say(1500), [desk.new(1, 1, 0, 1500, 5), desk.new(1, 2, 0, 1499, 5)]) == []
    desk.time += 1001
    assert desk.slot([desk.row(3 + 1, 1, client_id=1, price=1501, quantity=5)]) == [Reason.NO_MARK]
    assert desk.hear({0: 1500, 1: 1500}, [desk.new(1, 3, 0, 1500, 5)]) == [Reason.NO_MARK]
    assert (desk.refusals[0].have, desk.refusals[0].need) == (2, 3)
    assert desk.slot([desk.row(2, 1, client_id=1), desk.new(1, 4, 0, 40, 5, instrument=1)]) == []
    assert desk.order(1, 1) is None and desk.order(1, 2) is not None
    assert desk.hear({2: 1500}, [desk.new(1, 5, 0, 1500, 5)]) == []


def test_who_holds_what_has_no_mark_takes_nothing_out(desk):
    desk.hear(all_say(1500), [desk.new(1, 1, 0, 1500, 5), desk.new(2, 1, 1, 1500, 5)])
    free = desk.machine.withdrawable(desk.account(1))
    assert free > 0
    desk.time += 1001
    take = [desk.row(8, account, amount=10) for account in (1, 2, 3)]
    assert desk.slot(take) == [Reason.WITHDRAWABLE] * 2
    assert [(r.have, r.need) for r in desk.refusals] == [(0, 10)] * 2
    for account in (1, 2):
        assert desk.machine.withdrawable(desk.account(account)) == 0
        assert desk.machine.native.withdrawable(desk.account(account)) == 0
    assert desk.slot([desk.transfer(1, 1, 10)]) == [Reason.WITHDRAWABLE]
    desk.hear(all_say(1500))
    assert desk.machine.withdrawable(desk.account(1)) == free


def test_the_operator_says_no_mark_of_what_is_observed(desk):
    desk.hear(all_say(1500))
    desk.time += 1000
    with pytest.raises(StateError, match=r"mark of 1501 of instrument 0, whose underlying 7 5 publishers"):
        desk.open(marks=[(0, 1501)])
    desk.move((1, 41))
    assert desk.machine.markets[1].mark == 41


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"value": 1501}, "EQUIVOCAL, .* number 1 of publisher 0 is 1501 at .*, was 1500 at"),
        ({"number": 1}, "NUMBER"),
        ({"number": 0}, "NUMBER"),
        ({"number": 2**63}, "NUMBER"),
        ({"number": 5, "time": 0}, "STALE"),
        ({"number": 5, "time": 2**48}, "FUTURE"),
        ({"number": 5, "time": 10**6}, "FUTURE"),
        ({"number": 5, "value": MOST_INDEX + 1}, f"OUTLYING, value: {MOST_INDEX + 1} is above {MOST_INDEX}"),
        ({"number": 5, "value": 0}, "OUTLYING"),
        ({"number": 5, "feed": 8}, "FEED, feed 8, not of .7."),
        ({"number": 5, "publisher": 5}, "PUBLISHER, publisher 5 of feed 7, not below 5"),
    ],
)
def test_what_no_slot_may_hold_changes_nothing(desk, change, what):
    desk.hear(all_say(1500))
    one = Observation(0, 7, 1500, desk.time, 1, bytes(64))
    before = desk.machine.snapshot()
    with pytest.raises(StateError, match=what):
        desk.open(observations=[replace(one, **change)])
    assert desk.machine.snapshot() == before
    taken, omitted, _ = sort_out(desk.machine.feeds, [(replace(one, **change), PEOPLE[0])], desk.time)
    assert not taken
    assert omitted[0].reason.name == what.partition(",")[0]


def test_within_a_slot_numbers_increase_and_publishers_are_in_order(desk):
    a, b = desk.says({0: 1500, 1: 1500})
    for wrong in ([b, a], [a, a], [a, replace(a, number=0)], [replace(a, value=1501), a]):
        with pytest.raises(StateError, match="NUMBER, publisher, feed, number"):
            desk.open(observations=wrong)
    desk.slot(observations=[a, replace(a, number=2, value=1600), b])
    assert [one and one.value for one in desk.machine.feeds[7].observed] == [1600, 1500, None, None, None]


def test_the_publisher_has_signed_it(desk):
    slot = desk.input(observations=desk.says(all_say(1500)))
    for signer in (None, PEOPLE[1]):
        wrong = replace(desk.signers(slot), observations=[signer, *PEOPLE[1:]])
        with pytest.raises(StateError, match="PUBLISHER, signed by .*, not " + PEOPLE[0].hex()):
            desk.machine.open_slot(slot, wrong)


def test_an_observation_is_an_input_with_its_signature(desk):
    """Signed as EIP-712 data, and found again; its leaf is of class 7, ahead of all else."""
    struct_hash = structs.observation(7, 1500, 1250, 9)
    signature = sign_digest(OBSERVED.domain.digest(struct_hash), KEYS[2])
    one = Observation(2, 7, 1500, 1250, 9, signature)
    desk.time = 1250
    slot = desk.input(observations=[one], omissions=[Omission(1, 7, 4, Reason.STALE)], closes=1)
    found = signers(slot, OBSERVED.domain)
    assert found.observations == [PEOPLE[2]]
    first = desk.machine.last_seq + 1
    admission = desk.machine.open_slot(slot, found)
    assert (admission.first_seq, admission.inputs) == (first, 1)
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)
    batch = desk.machine.seal_batch()
    leaf = InputLeaf(first, InputClass.OBSERVATION, PEOPLE[2], 9, struct_hash, signature)
    assert batch.inputs[first - batch.inputs_first] == leaf.hash()


def test_what_is_left_out_needs_a_reason_of_its_own(desk):
    desk.slot(omissions=[Omission(1, 7, 4, Reason.EQUIVOCAL), Omission(9, 99, 4, Reason.FEED)])
    with pytest.raises(StateError, match="omissions: MARGIN is no reason"):
        desk.open(omissions=[Omission(1, 7, 4, Reason.MARGIN)])


def test_a_mark_takes_back_orders_that_are_not_carried_any_more(monkeypatch):
    monkeypatch.setattr(support.desk, "Machine", Twin)
    desk = Prices(amount=10_000)
    desk.hear(all_say(1500), [desk.new(1, 1, 0, 1500, 10_000), desk.new(1, 2, 0, 1400, 2_000)])
    desk.time += 250
    admission = desk.open(observations=desk.says(all_say(1330)))
    assert {event.reason for event in admission.events} == {Reason.MARGIN_LOST}


# Properties

HONEST, LIE = st.integers(1000, 1900), st.integers(1, 3000)


@settings(max_examples=200, deadline=None)
@given(
    honest=st.lists(HONEST, min_size=5, max_size=5),
    hostile=st.integers(0, 4),
    lies=st.lists(LIE, min_size=1, max_size=3),
    heard=st.sets(st.integers(0, 4)),
)
def test_a_minority_of_the_quorum_never_moves_the_index_beyond_the_honest(honest, hostile, lies, heard):
    """Whomever the operator leaves out. The quorum is 3, so one may lie: ⌈3/2⌉ − 1."""
    desk = Prices(replace(OBSERVED, underlyings=(replace(BTC, deviation_ppm=10**6),)), accounts=0)
    truth = {p: honest[p] for p in heard - {hostile}}
    desk.hear(truth)
    feed, seen = desk.machine.feeds[7], []
    assert feed.valid == (len(truth) >= 3)
    for lie in lies if hostile in heard else ():
        desk.hear({hostile: lie})
        seen.append(feed.valid)
        if feed.valid:
            assert min(truth.values()) <= feed.index <= max(truth.values())
    assert len(heard) >= 3 or not any(seen)


@settings(max_examples=200, deadline=None)
@given(
    index=st.integers(1, MOST_INDEX),
    trades=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8),
    waits=st.lists(st.integers(250, 10**6), min_size=8, max_size=8),
    bound=st.integers(0, 12_499),
)
def test_trades_alone_never_move_the_mark_beyond_the_bound(index, trades, waits, bound):
    desk = Prices(accounts=0)
    market = replace(desk.market, terms=replace(ABOUT, mark_bound_ppm=bound), mark_time=1)
    now, reach = 1, index * bound // 10**6
    for trade, wait in zip(trades, waits, strict=False):
        market.last_trade, market.trade_time = trade, now
        now += wait
        market.mark, market.basis = fair_mark(market, index, now)
        market.mark_time = now
        assert abs(market.mark - index) <= reach
        assert abs(market.basis) <= reach << BASIS_BITS


def test_one_trade_moves_the_mark_by_a_sixtieth_of_the_bound_at_most(desk):
    """18 ticks are the bound, and a trade far away counts for a second; so do many, each for itself."""
    desk.hear(all_say(1500))
    desk.slot([desk.new(1, 1, 1, 1900, 5), desk.new(2, 1, 0, 1900, 5)])
    assert desk.market.last_trade == 1900
    desk.hear(all_say(1500), wait=990)
    assert desk.market.mark == 1500
    assert 0 < desk.market.basis <= (18 << BASIS_BITS) // 60
    for number in range(2, 62):
        desk.slot([desk.new(1, number, 1, 1900, 5), desk.new(2, number, 0, 1900, 5)])
        desk.hear(all_say(1500), wait=990)
    assert 1500 < desk.market.mark <= 1518


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.dictionaries(st.integers(0, 4), st.integers(1400, 1600)), st.integers(0, 1200)),
        min_size=1,
        max_size=8,
    )
)
def test_either_form_goes_on_from_a_snapshot_of_any_slot(told):
    """Marks, indices, and their roots are then the same."""
    support.desk.Machine, before = Twin, support.desk.Machine
    try:
        desk = Prices()
    finally:
        support.desk.Machine = before
    for number, (values, wait) in enumerate(told, 2):
        rows = [desk.new(1, number, 1, 1500, 2), desk.new(2, number, 0, 1500, 2)]
        desk.hear(values, rows, wait=wait)
        data = desk.machine.snapshot()
        desk.machine = Twin.restore(OBSERVED, data)
        assert desk.machine.snapshot() == data
        golden, native = desk.machine.markets, desk.machine.native.markets
        assert golden == native and desk.machine.feeds == desk.machine.native.feeds


def test_equal_roots_are_equal_machines(desk):
    """Whatever a later slot depends on is in a leaf: one number changed is another root."""
    desk.hear(all_say(1500), [desk.new(1, 1, 1, 1500, 5), desk.new(2, 1, 0, 1500, 5)])
    seen = {desk.machine.state_root()}
    fresh = desk.machine.snapshot()
    for change in ("basis", "last_trade", "trade_time", "mark_time"):
        machine = support.desk.Machine.restore(OBSERVED, fresh)
        market = machine._ledger.markets[0]
        setattr(market, change, getattr(market, change) + 1)
        machine._ledger.priced.add(0)
        machine._commitments.end_slot(0)
        seen.add(super(Twin, machine).state_root())
    for change in ("index", "time", "counted"):
        machine = support.desk.Machine.restore(OBSERVED, fresh)
        feed = machine.feeds[7]
        setattr(feed, change, getattr(feed, change) - 1)
        machine._ledger.observed.add(7)
        machine._commitments.end_slot(0)
        seen.add(super(Twin, machine).state_root())
    for field in ("value", "time", "number"):
        machine = support.desk.Machine.restore(OBSERVED, fresh)
        one = machine.feeds[7].observed[3]
        machine.feeds[7].observed[3] = one._replace(**{field: getattr(one, field) + 1})
        machine._ledger.observed.add(7)
        machine._commitments.end_slot(0)
        seen.add(super(Twin, machine).state_root())
    assert len(seen) == 1 + 4 + 3 + 3


def test_nobody_is_liquidated_while_a_mark_that_he_holds_has_no_quorum(monkeypatch):
    """ODD's mark, which the operator says, ruins account 1; the quorum of the other instrument is gone."""
    monkeypatch.setattr(support.desk, "Machine", Twin)
    desk = Prices(amount=10_000)
    desk.hear(all_say(1500), [desk.new(1, 1, 0, 1500, 5), desk.new(2, 1, 1, 1500, 5)])
    more = {"instrument": 1}
    desk.slot([desk.new(1, 2, 0, 40, 4_000, **more), desk.new(2, 2, 1, 40, 4_000, **more)])
    assert desk.account(1).positions[1].size == 4_000
    desk.time += 1001
    events = [*desk.move((1, 34)), *desk.move((1, 34))]
    assert desk.machine.equity(desk.account(1)) < 0 and not desk.market.valid
    assert not events and desk.account(1).positions[1].size == 4_000
    desk.time += 250
    admission = desk.open(observations=desk.says(all_say(1500)))
    assert {event.account for event in admission.events if event.reason == Reason.TAKEOVER} == {1}


def holding_both(desk):
    """Account 1 is long of what is observed and of what is not; account 2 is short."""
    more = {"instrument": 1}
    rows = [desk.new(1, 1, 0, 1500, 50), desk.new(2, 1, 1, 1500, 50)]
    desk.hear(all_say(1500), [*rows, desk.new(1, 2, 0, 40, 70, **more), desk.new(2, 2, 1, 40, 70, **more)])
    assert {n: p.size for n, p in desk.account(1).positions.items()} == {0: 50, 1: 70}


def test_who_holds_what_has_no_mark_takes_on_nothing_elsewhere(desk):
    """He could not be liquidated, and his profit there is nobody's word."""
    holding_both(desk)
    desk.slot([desk.new(1, 3, 0, 39, 5, instrument=1)])
    desk.time += 1001
    replaced = desk.row(3 + 1, 1, client_id=3, price=39, quantity=6)
    assert desk.slot([desk.new(1, 4, 0, 39, 5, instrument=1), replaced]) == [Reason.NO_MARK] * 2
    assert [(r.have, r.need) for r in desk.refusals] == [(0, 3)] * 2
    assert desk.slot([desk.new(1, 5, 1, 39, 71, instrument=1)]) == [Reason.NO_MARK]
    # What closes passes, and so does who holds nothing of it.
    assert desk.slot([desk.new(3, 1, 0, 40, 9, instrument=1), desk.new(1, 6, 1, 40, 70, instrument=1)]) == []
    assert desk.account(1).positions[1].size == 61
    assert desk.hear(all_say(1500), [desk.new(1, 7, 0, 39, 5, instrument=1)]) == []


def test_an_exit_says_what_it_did_not_offer_and_why(desk):
    holding_both(desk)
    desk.time += 1001
    leave = Request(1, RequestKind.EXIT, owner(1), 1, desk.account(1).generation, 0, bytes(20), 0, 7)
    admission = desk.open(requests=[leave])
    assert not admission.refusals
    told = [(e.reason, e.account, e.instrument, e.first, e.second) for e in admission.events]
    assert told == [(Reason.FORCED, 1, 1, 70, 40), (Reason.NO_MARK, 1, 0, 0, 3)]
    desk.machine.clear_slot(desk.engine.run(admission.orders).events)
    # With no handle left, that is said.
    rows = [desk.new(2 + n % 2, 100 + n, n % 2, 20 + 40 * (n % 2), 1, instrument=1) for n in range(64)]
    desk.hear(all_say(1500), rows)
    admission = desk.open(requests=[replace(leave, index=2)])
    assert [(e.reason, e.account, e.instrument) for e in admission.events] == [(Reason.STORE_FULL, 1, 0)]


def could_hold(account, number):
    position, opened = account.positions.get(number), account.open.get(number)
    size, (buys, sells) = position.size if position else 0, opened.lots if opened else (0, 0)
    return max(abs(size), abs(size + buys), abs(size - sells))


ROWS = st.tuples(
    st.sampled_from([1, 1, 1, 2, 4, 5]),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 1),
    st.integers(0, 1),
    st.integers(-2, 2),
    st.integers(1, 90),
    st.sampled_from([0, 0, 4]),
)


@settings(max_examples=120, deadline=None)
@given(
    slots=st.lists(
        st.tuples(st.lists(ROWS, max_size=6), st.booleans(), st.integers(-3, 3)), min_size=2, max_size=8
    )
)
def test_search_nobody_could_come_to_hold_more_while_he_holds_what_has_no_mark(slots):
    """Every command in any order, small balances, ODD's mark moving, the quorum coming and going."""
    support.desk.Machine, before = Twin, support.desk.Machine
    try:
        desk = Prices(amount=2_500)
    finally:
        support.desk.Machine = before
    desk.hear(all_say(1500), [desk.new(1, 1, 0, 1500, 40), desk.new(2, 1, 1, 1500, 40)])
    for commands, heard, step in slots:
        if not heard:
            desk.time += 1001
        rows = []
        for kind, account, client_id, side, number, off, lots, mode in commands:
            named = {"client_id": client_id, "quantity": lots, "price": (1500, 40)[number] + off}
            if kind == 1:
                named |= {"instrument": number, "side": side, "mode": mode}
            elif kind in (2, 5):
                del named["price"]
            if kind == 2:
                del named["quantity"]
            rows.append(desk.row(kind, account, **named))
        said = desk.says(all_say(1500)) if heard else ()
        desk.time += 250
        held = {
            (a.index, n): could_hold(a, n)
            for a in desk.machine.accounts
            for n in (0, 1)
            if not heard and 0 in a.positions
        }
        desk.slot(rows, observations=said, marks=[(1, desk.machine.markets[1].mark + step)])
        for (account, n), most in held.items():
            assert could_hold(desk.account(account), n) <= most


MARKETS, FEEDS = 1, 2


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda ledger: ledger[FEEDS][0].__setitem__(1, 1501), "state root"),
        (lambda ledger: ledger[FEEDS][0].__setitem__(3, 4), "state root"),
        (lambda ledger: ledger[FEEDS][0].__setitem__(0, 8), "underlyings"),
        (lambda ledger: ledger[FEEDS].clear(), "underlyings"),
        (lambda ledger: ledger[FEEDS][0][4].append([4, 1, 1, 1]), "publishers"),
        (lambda ledger: ledger[FEEDS][0][4].append([5, 1, 1, 1]), "publishers"),
        (lambda ledger: ledger[FEEDS][0][4].reverse(), "publishers"),
        (lambda ledger: ledger[FEEDS][0][4][0].__setitem__(1, 9), "state root"),
        (lambda ledger: ledger[MARKETS][0].__setitem__(7, 1), "state root"),
        (lambda ledger: ledger[MARKETS][0].pop(), "body"),
    ],
)
def test_a_snapshot_of_prices_that_cannot_be_is_refused(desk, change, what):
    desk.hear(all_say(1500))
    data, at = desk.machine.snapshot(), len(MAGIC)
    body = json.loads(data[at + 96 :])
    change(body[4])
    text = json.dumps(body, separators=(",", ":")).encode()
    data = data[:at] + keccak256(text) + data[at + 32 : at + 96] + text
    with pytest.raises(SnapshotError, match=what):
        Twin.restore(OBSERVED, data)


# Configuration


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"publishers": PEOPLE + PEOPLE[:1]}, "publishers"),
        ({"publishers": (b"short",), "quorum": 1}, "publishers"),
        ({"publishers": tuple(bytes([n]) * 20 for n in range(17))}, "publishers"),
        ({"quorum": 6}, "quorum: 6 is not within 1..5"),
        ({"quorum": 0}, "quorum: 0 is not within 1..5"),
        ({"publishers": (), "quorum": 1}, "quorum: 1 is not within 0..0"),
        ({"staleness": 0}, "staleness"),
        ({"deviation_ppm": 0}, "deviation_ppm"),
        ({"number": 0xFFFF}, "number"),
    ],
)
def test_an_underlying_says_which_field_is_wrong(change, what):
    with pytest.raises(ValueError, match=what):
        replace(BTC, **change)


def test_the_bound_is_below_half_the_maintenance_fraction():
    assert ABOUT.initial_margin_ppm == 50_000
    replace(ABOUT, mark_bound_ppm=12_499)
    with pytest.raises(ValueError, match=r"mark_bound_ppm: 12500 is not within 0..12499"):
        replace(ABOUT, mark_bound_ppm=12_500)


def test_an_instrument_names_an_underlying_that_there_is():
    with pytest.raises(ValueError, match="underlying: 7 of instrument 0 is not among"):
        replace(OBSERVED, underlyings=(replace(BTC, number=8),))
    with pytest.raises(ValueError, match=r"underlyings: numbers .7, 7. are not ascending"):
        replace(OBSERVED, underlyings=(BTC, BTC))


def test_underlyings_are_rules():
    assert type(OBSERVED).decode(OBSERVED.encode()) == OBSERVED
    seen = {OBSERVED.rules_hash()}
    for change in (
        {"name": "x"},
        {"quorum": 2},
        {"staleness": 1},
        {"ahead": 1},
        {"deviation_ppm": 1},
        {"publishers": PEOPLE[::-1]},
    ):
        seen.add(replace(OBSERVED, underlyings=(replace(BTC, **change),)).rules_hash())
    for change in ({"mark_bound_ppm": 1}, {"underlying": 0xFFFF}):
        seen.add(replace(OBSERVED, instruments=(replace(ABOUT, **change), ODD)).rules_hash())
    assert len(seen) == 9
    assert NativeMachine(OBSERVED).state_root() == support.desk.Machine(OBSERVED).state_root()
    assert NativeMachine(OBSERVED).open_slot(SlotInput(0, 1), desk_signers()).inputs == 0


def desk_signers():
    return support.desk.Signers([], [], [])
