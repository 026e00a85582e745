"""The way out without the operator: finality, forced requests, freeze, exits, refunds."""

from dataclasses import astuple, replace

import pytest
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from hawse.chain import compile as contracts
from hawse.commit import exits, withdrawals
from hawse.commit.exits import ExitLeaf
from hawse.commit.queues import QueuedRequest, request_accumulator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import headers
from support.settlement import FEE, FUNDS, GRACE, TOKENS, Venue, raw
from web3 import EthereumTesterProvider, Web3
from web3.logs import DISCARD

WINDOW = 3_600
WITHDRAW, CANCEL_ALL, APPOINT, EXIT = range(1, 5)
NOBODY = "0x" + "00" * 20


@pytest.fixture(scope="module")
def web3():
    return Web3(EthereumTesterProvider(EthereumTester(PyEVMBackend())))


@pytest.fixture(scope="module")
def fresh(web3):
    return Venue(web3, window=WINDOW)


@pytest.fixture
def venue(fresh):
    snapshot = fresh.web3.provider.ethereum_tester.take_snapshot()
    yield fresh
    fresh.web3.provider.ethereum_tester.revert_to_snapshot(snapshot)


def exiting(venue, *equities, **changes):
    """A batch in which the owners have these equities, account 1 the first; and each one's exit."""
    people = [bytes(20), *(raw(owner) for owner in venue.owners)]
    leaves = [ExitLeaf(n, people[n], n << 24 if n else 0, 0, e) for n, e in enumerate((0, *equities))]
    tree = exits.tree(leaves)
    positive, shortfall = tree.root.sums
    values = {"accounts": max(len(leaves), venue.call.accounts().call()), "exit_root": tree.root.hash}
    values |= {"exit_positive": positive, "exit_shortfall": shortfall}
    header = venue.header(**values | changes)
    venue.send(header)

    def call(index, header=header, **other):
        leaf = replace(leaves[index], **other)
        terms = leaf.index, Web3.to_checksum_address(leaf.owner), leaf.generation, leaf.equity
        nodes = [(node.hash, *node.sums) for node in tree.proof(index)]
        return venue.call.exit(astuple(header), *terms, nodes)

    return header, call


def frozen(venue):
    venue.wait(GRACE + 1)
    venue.do(venue.call.freeze(), venue.owners[3])


# Finality


def test_a_withdrawal_waits_until_its_batch_is_final(venue):
    venue.deposit(venue.owners[0], 50)
    (claim,) = venue.anchor_paying((venue.owners[0], 50))
    venue.refuses("claim: not final yet", claim)
    assert venue.call.last_final().call() == 0
    venue.wait(WINDOW - 2)
    venue.refuses("claim: not final yet", claim)
    venue.wait(2)
    assert venue.call.last_final().call() == 1
    venue.do(claim)
    assert venue.balance(venue.owners[0]) == FUNDS


def test_the_last_final_batch_is_found_among_many(venue):
    started = venue.now()
    for _ in range(9):
        venue.anchor()
        venue.wait(600)
    times = [venue.call.batches(n).call()[2] % 2**64 for n in range(1, 10)]
    for wait in (0, 300, 700, 5_000):
        venue.wait(wait) if wait else None
        expected = sum(t + WINDOW <= venue.now() for t in times)
        assert venue.call.last_final().call() == expected
    assert expected == 9 and started < times[0]


# Requests


def queued(venue, number, owner, kind, account=1, generation=5, amount=0, agent=NOBODY, expiry=0):
    return QueuedRequest(
        number, kind, raw(owner), account, generation, amount, raw(agent), expiry, venue.now()
    )


def test_requests_are_numbered_and_chained_and_cost_a_fee(venue):
    value, agent = bytes(32), venue.owners[3]
    asked = [
        (venue.owners[0], WITHDRAW, 1, 5, 77, NOBODY, 0),
        (venue.owners[1], CANCEL_ALL, 2, 6, 0, NOBODY, 0),
        (venue.owners[0], APPOINT, 1, 5, 0, agent, 10**12),
        (venue.owners[0], EXIT, 2**32 - 1, 2**64 - 1, 0, NOBODY, 0),
    ]
    for number, (owner, *terms) in enumerate(asked, 1):
        receipt = venue.do(venue.call.request(*terms), owner, value=FEE)
        value = request_accumulator(value, queued(venue, number, owner, *terms))
        assert venue.call.request_accumulators(number).call() == value
        (event,) = venue.contract.events.Requested().process_receipt(receipt)
        assert event["args"]["number"] == number and event["args"]["accumulator"] == value
    assert venue.call.request_count().call() == 4
    before = venue.web3.eth.get_balance(venue.operator)
    venue.do(venue.call.collect_fees(), venue.owners[1])
    assert venue.web3.eth.get_balance(venue.operator) == before + 4 * FEE


@pytest.mark.parametrize(
    ("reason", "terms", "fee"),
    [
        ("fee", (CANCEL_ALL, 1, 5, 0, NOBODY, 0), FEE - 1),
        ("fee", (CANCEL_ALL, 1, 5, 0, NOBODY, 0), FEE + 1),
        ("kind", (0, 1, 5, 0, NOBODY, 0), FEE),
        ("kind", (5, 1, 5, 0, NOBODY, 0), FEE),
        ("amount", (EXIT, 1, 5, 1, NOBODY, 0), FEE),
        ("agent", (WITHDRAW, 1, 5, 1, "0x" + "11" * 20, 0), FEE),
        ("agent", (WITHDRAW, 1, 5, 1, NOBODY, 1), FEE),
    ],
)
def test_a_request_that_is_none_is_refused(venue, reason, terms, fee):
    venue.refuses(f"request: {reason}", venue.call.request(*terms), venue.owners[0], value=fee)


def ask(venue, count):
    for _ in range(count):
        venue.do(venue.call.request(CANCEL_ALL, 1, 5, 0, NOBODY, 0), venue.owners[0], value=FEE)


def taking(venue, count):
    return {"forced_index": count, "forced_accumulator": venue.call.request_accumulators(count).call()}


def test_a_batch_may_leave_what_came_of_late_and_takes_what_has_waited(venue):
    ask(venue, 3)
    venue.wait(GRACE // 2 - 60)
    ask(venue, 17)
    venue.anchor(**taking(venue, 0))  # it may be of before, and have waited for the chain itself
    venue.wait(120)
    for taken in (0, 2):
        late = venue.anchoring(venue.header(**taking(venue, taken)))
        venue.refuses("anchor: request left waiting", late)
    old = {"time": 1000 * (venue.call.request_times(1).call() + GRACE // 2)}
    venue.anchoring(venue.header(**taking(venue, 0), **old)).call({"from": venue.operator})
    venue.anchor(**taking(venue, 3))
    venue.wait(GRACE // 2)
    late = venue.anchoring(venue.header(**taking(venue, 18)))
    venue.refuses("anchor: request left waiting", late)
    venue.anchor(**taking(venue, 19))  # sixteen are enough
    venue.refuses("anchor: request given back", venue.anchoring(venue.header(**taking(venue, 18))))
    wrong = {"forced_index": 20, "forced_accumulator": bytes(32)}
    venue.refuses("anchor: request accumulator", venue.anchoring(venue.header(**wrong)))
    wrong = {"forced_index": 21, "forced_accumulator": bytes(32)}
    venue.refuses("anchor: request unknown", venue.anchoring(venue.header(**wrong)))
    venue.anchor(**taking(venue, 20))


# Freeze


def test_nobody_freezes_a_venue_that_answers(venue):
    venue.wait(GRACE - 10)
    venue.anchor()
    for _ in range(2):
        ask(venue, 1)
        venue.wait(GRACE - 10)
        venue.refuses("freeze: the venue answers", venue.call.freeze(), venue.owners[0])
        venue.anchor(**taking(venue, venue.call.request_count().call()))
    venue.refuses("exit: not frozen", exiting(venue, 0)[1](1), venue.owners[0])
    venue.refuses("refund: not frozen", venue.call.refund(1, venue.owners[0], 1))


@pytest.mark.parametrize("why", ["silent", "ignored"])
def test_anybody_freezes_a_venue_that_does_not_answer_and_for_ever(venue, why):
    venue.anchor()
    if why == "ignored":
        ask(venue, 1)
        venue.wait(GRACE - 60)
        venue.anchor(time=1000 * (venue.now() - GRACE // 2), **taking(venue, 0))
        venue.wait(61)
    else:
        venue.wait(GRACE + 1)
    stranger = venue.owners[3]
    receipt = venue.do(venue.call.freeze(), stranger)
    (event,) = venue.contract.events.Frozen().process_receipt(receipt)
    assert (event["args"]["silent"], event["args"]["ignored"]) == (why == "silent", why == "ignored")
    assert venue.call.frozen().call()
    venue.refuses("freeze: frozen", venue.call.freeze(), stranger)
    venue.refuses("deposit: frozen", venue.call.deposit(5), venue.owners[0])
    terms = CANCEL_ALL, 1, 5, 0, NOBODY, 0
    venue.refuses("request: frozen", venue.call.request(*terms), venue.owners[0], value=FEE)
    venue.refuses("anchor: frozen", venue.anchoring(venue.header()))


def test_a_freeze_before_the_first_final_batch_pays_every_deposit_back(venue):
    for owner, amount in ((venue.owners[0], 70), (venue.owners[1], 30)):
        venue.deposit(owner, amount)
    ask(venue, 1)
    venue.wait(GRACE - 60)
    old = 1000 * (venue.now() - GRACE // 2)
    claims = venue.anchor_paying((venue.owners[0], 60), time=old, **taking(venue, 0))  # void
    venue.wait(61)
    venue.do(venue.call.freeze(), venue.owners[3])
    assert venue.call.batch_count().call() == venue.call.withdrawals_unclaimed().call() == 0
    venue.refuses("claim: withdrawals of the batch", claims[0])
    refunds = [venue.call.refund(1, venue.owners[0], 70), venue.call.refund(2, venue.owners[1], 30)]
    for paid, refund in enumerate(refunds, 1):
        venue.do(refund, venue.owners[3])
        assert [venue.call.is_refunded(index).call() for index in (1, 2)] == [paid >= 1, paid >= 2]
        for again in refunds[:paid]:  # a later one does not open an earlier one again
            venue.refuses("refund: already paid", again)
    venue.refuses("refund: no such deposit", venue.call.refund(3, venue.owners[0], 1))
    assert venue.held() == 0
    assert [venue.balance(owner) for owner in venue.owners[:2]] == [FUNDS, FUNDS]


def test_each_leaves_with_what_the_last_final_batch_says_and_the_rest_is_named(venue):
    one, two, three, stranger = venue.owners[:4]
    for owner, amount in ((one, 1000), (two, 500), (three, 100)):
        venue.deposit(owner, amount)
    # Account 3 owes 40, insurance has 10: 30 are not covered, of 1,400 that the others have.
    (claim,) = claim_of(venue, (one, 30), 930, 470, -40, insurance=10, fees=170)
    header, leave = venue.last, venue.leave
    venue.wait(WINDOW)
    venue.deposit(two, 25)
    ask(venue, 1)
    venue.wait(GRACE - 100)
    old = 1000 * (venue.now() - GRACE // 2)
    gone, void = exiting(venue, 1, 1, 1, time=old, **taking(venue, 0))  # not final at the freeze
    assert venue.call.exit_factor(astuple(gone)).call() == [3, 3]
    venue.wait(101)
    venue.do(venue.call.freeze(), stranger)
    assert venue.call.batch_count().call() == header.number
    venue.refuses("exit: not the last final batch", void(1))
    venue.refuses("exit: batch unknown", venue.call.exit_factor(astuple(gone)))
    due = [930 * 1370 // 1400, 470 * 1370 // 1400]
    left: list[int] = []
    for index, owner, amount in ((2, two, due[1]), (1, one, due[0])):
        before = venue.balance(owner)
        venue.refuses("exit: proof", leave(index, owner=raw(stranger)))
        venue.refuses("exit: proof", leave(index, equity=10**6))
        receipt = venue.do(leave(index), stranger)
        (event,) = venue.contract.events.Exited().process_receipt(receipt, errors=DISCARD)
        assert tuple(event["args"].values()) == (index, owner, amount)
        assert venue.balance(owner) == before + amount
        left.append(index)
        for again in left:  # a later one does not open an earlier one again
            venue.refuses("exit: already paid", leave(again))
    venue.refuses("exit: nothing to pay", leave(3))
    venue.refuses("refund: consumed", venue.call.refund(3, three, 100))
    venue.refuses("refund: deposit", venue.call.refund(4, stranger, 25))
    venue.do(venue.call.refund(4, two, 25))
    venue.do(claim)  # a withdrawal of a final batch stays due
    venue.refuses("claim: already paid", claim)
    # What is left belongs to nobody of them: the venue's fees, and what was rounded down.
    assert venue.held() == 1625 - 25 - 30 - sum(due)


# Everybody leaves, whatever the operator did before


PEOPLE = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deposit"), PEOPLE, st.integers(1, 200)),
        st.tuples(st.just("wait"), st.sampled_from([60, 600, WINDOW, 2 * WINDOW, GRACE - 60])),
        st.tuples(
            st.just("anchor"),
            st.lists(st.integers(-60, 200), max_size=3),
            st.tuples(st.integers(-50, 50), st.integers(0, 40)),
            st.none() | st.tuples(PEOPLE, st.integers(0, 100)),
            st.integers(0, 5),
        ),
        st.tuples(st.just("claim"), st.integers(0, 9)),
        st.tuples(st.just("request"), PEOPLE),
        st.tuples(
            st.just("freeze"),
        ),
    ),
    max_size=14,
)


class Run:
    """A venue whose operator anchors whatever the contract takes, and what everybody is owed by then."""

    def __init__(self, venue):
        self.venue, self.exits, self.claims, self.paid = venue, {}, [], set()

    def deposit(self, who, amount):
        self.try_(self.venue.call.deposit(amount), self.venue.owners[who])

    def wait(self, seconds):
        self.venue.wait(seconds)

    def request(self, who):
        self.try_(self.venue.call.request(CANCEL_ALL, 1, 5, 0, NOBODY, 0), self.venue.owners[who], FEE)

    def freeze(self):
        self.try_(self.venue.call.freeze(), self.venue.owners[3])

    def anchor(self, equities, venue_has, due, consumed):
        venue, call = self.venue, self.venue.call
        count = call.deposit_count().call()
        index = max(count - consumed, call.deposits_consumed().call())
        taken = call.request_count().call()
        changes = {"insurance": venue_has[0], "fees": venue_has[1], "deposit_index": index}
        changes |= {"deposit_accumulator": call.deposit_accumulators(index).call()} | taking(venue, taken)
        accounts = max(call.accounts().call(), 1 + len(equities))
        equities = (*equities, *[0] * (accounts - 1 - len(equities)))
        try:
            if due:
                (claim,) = claim_of(venue, (venue.owners[due[0]], due[1]), *equities, **changes)
                self.claims.append((venue.last.number, claim))
                self.exits[venue.last.number] = (equities, venue.leave)
            else:
                header, leave = exiting(venue, *equities, **changes)
                self.exits[header.number] = (equities, leave)
        except TransactionFailed:
            pass  # it owed more than there is, or the venue is frozen

    def claim(self, which):
        if self.claims:
            number, claim = self.claims[which % len(self.claims)]
            if self.try_(claim):
                assert (number, which % len(self.claims)) not in self.paid
                self.paid.add((number, which % len(self.claims)))

    def try_(self, call, sender=None, value=0):
        try:
            self.venue.do(call, sender, value)
        except TransactionFailed:
            return False
        return True

    def all_leave(self, order):
        """Each of whom anything is owed gets it, in any order; nobody twice."""
        venue, call = self.venue, self.venue.call
        if not call.frozen().call():
            frozen(venue)
        final = call.batch_count().call()
        consumed = venue.anchored[final].deposit_index if final else 0
        ways = [
            claim
            for place, (number, claim) in enumerate(self.claims)
            if number <= final and (number, place) not in self.paid
        ]
        if final:
            equities, leave = self.exits[final]
            positive = sum(e for e in equities if e > 0)
            header = venue.anchored[final]
            left = max(0, positive - max(0, header.exit_shortfall - header.insurance))
            ways += [leave(n) for n, e in enumerate(equities, 1) if e > 0 and e * left // positive]
        totals = [call.deposit_totals(n).call() for n in range(call.deposit_count().call() + 1)]
        for index in range(consumed + 1, len(totals)):
            for owner in venue.owners:  # whose deposit it is, its accumulator knows
                refund = call.refund(index, owner, totals[index] - totals[index - 1])
                try:
                    refund.call({"from": venue.operator})
                except TransactionFailed:
                    continue
                ways.append(refund)
        assert len(ways) >= len(totals) - 1 - consumed
        order.shuffle(ways)
        for way in ways:
            venue.do(way, venue.owners[3])
        for way in ways:
            assert not self.try_(way, venue.owners[3])
        assert call.withdrawals_unclaimed().call() == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, order=st.randoms(use_true_random=False))
def test_whatever_was_anchored_everybody_leaves_with_it(fresh, steps, order):
    tester = fresh.web3.provider.ethereum_tester
    snapshot, known = tester.take_snapshot(), dict(fresh.anchored)
    try:
        fresh.anchored.clear()
        run = Run(fresh)
        for name, *terms in steps:
            getattr(run, name)(*terms)
        run.all_leave(order)
    finally:
        tester.revert_to_snapshot(snapshot)
        fresh.anchored.clear()
        fresh.anchored.update(known)


def test_a_deposit_that_the_last_final_batch_left_is_paid_back_though_it_was_there(venue):
    for owner, amount in ((venue.owners[0], 70), (venue.owners[1], 30)):
        venue.deposit(owner, amount)
    first = {"deposit_index": 1, "deposit_accumulator": venue.call.deposit_accumulators(1).call()}
    venue.anchor(exit_positive=0, fees=70, **first)
    frozen(venue)
    venue.refuses("refund: consumed", venue.call.refund(1, venue.owners[0], 70))
    venue.do(venue.call.refund(2, venue.owners[1], 30), venue.owners[3])
    assert venue.balance(venue.owners[1]) == FUNDS and venue.held() == 70


def claim_of(venue, due, *equities, **changes):
    """A batch with one withdrawal and these equities."""
    first = venue.call.next_withdrawal().call()
    paid = [withdrawals.Withdrawal(first, raw(due[0]), 0, due[1])]
    among = withdrawals.range_of(paid, first)
    venue.last, venue.leave = exiting(venue, *equities, **headers.withdrawals(among), **changes)
    tree = withdrawals.tree(paid)
    return [venue.claim(venue.last.number, among, paid[0], tree.proof(0))]


def test_a_wallet_that_is_a_contract_comes_in_and_gets_out(venue):
    """It can sign nothing: it deposits, appoints who trades for it, and asks for its money as msg.sender."""
    wallet = venue.create(contracts.compile_file(TOKENS / "Wallet.vy"))

    def do(call, value=0):
        data = call._encode_transaction_data()
        return venue.do(wallet.functions.call(call.address, data), value=value)

    venue.do(venue.token.functions.mint(wallet.address, 500))
    do(venue.token.functions.approve(venue.contract.address, 500))
    receipt = do(venue.call.deposit(500))
    (event,) = venue.contract.events.Deposit().process_receipt(receipt, errors=DISCARD)
    assert event["args"]["owner"] == wallet.address
    agent = venue.owners[0]
    for kind, amount, who, until in ((APPOINT, 0, agent, 10**12), (WITHDRAW, 120, NOBODY, 0)):
        receipt = do(venue.call.request(kind, 1, 1 << 24, amount, who, until), FEE)
        (event,) = venue.contract.events.Requested().process_receipt(receipt, errors=DISCARD)
        assert (event["args"]["owner"], event["args"]["kind"]) == (wallet.address, kind)
    (claim,) = venue.anchor_paying((wallet.address, 120), **taking(venue, 2))
    venue.wait(WINDOW)
    venue.do(claim, venue.owners[2])
    assert venue.balance(wallet.address) == 120
