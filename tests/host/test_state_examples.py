"""The worked examples of docs/state.md."""

from hawse.keys.messages import REDUCE_ONLY
from hawse.state.rules import FLAGS, RuleSet
from hawse.state.slot import Operation, OperationKind
from hawse.wire import Reason, Side, TimeInForce
from support.desk import no_mark_counts, owner
from support.money import USD, MoneyDesk, bitcoin
from support.money import venue as venue_of

MILLION, MARK = 10**6, 78_000


def desk(*dollars):
    """The page's units; account 2 takes the other side of everything."""
    return MoneyDesk([amount * USD for amount in dollars], venue_of(bitcoin(maker=500, taker=500)))


def long_of(venue, lots):
    bid = venue.new(1, 99, Side.BUY, MARK, lots)
    venue.slot([bid, venue.new(2, 99, Side.SELL, MARK, lots)])


def free(venue):
    return venue.machine.free_collateral(venue.account(1)) / USD


def test_what_an_instrument_holds():
    venue = desk(80, 10**6)
    long_of(venue, 2 * MILLION)
    assert abs(free(venue) - 1.22) < 1e-5
    assert venue.slot([venue.new(1, 1, Side.SELL, 77_000, 2 * MILLION)]) == []  # closes, and pays for itself
    assert abs(free(venue) - (1.22 - 0.78 - 20)) < 1e-4
    venue.slot([venue.cancel(1, 1)])
    assert venue.slot([venue.new(1, 2, Side.SELL, MARK, 2 * MILLION)]) == []
    assert abs(free(venue) - (1.22 - 0.78)) < 1e-5


def test_closing():
    venue = desk(101, 10**6)  # a dollar for the fee
    long_of(venue, 2 * MILLION)
    for mark in (77_000, 75_500):
        venue.move(0, mark)
    account = venue.account(1)
    assert abs(venue.machine.equity(account) / USD - 50) < 0.3 and abs(free(venue) + 25.5) < 0.3
    assert venue.slot([venue.new(1, 1, Side.SELL, 73_000, 2 * MILLION)]) == [Reason.MARGIN]
    assert venue.slot([venue.new(1, 2, Side.SELL, 75_500, 200_000)]) == []


def test_replace():
    venue = desk(40, 10**6)
    venue.slot([venue.new(1, 1, Side.BUY, MARK, MILLION)])
    rows = []
    for n in range(8):
        ioc = {"time_in_force": TimeInForce.IOC}
        rows += [venue.new(2, n + 1, Side.SELL, MARK, 999_999, **ioc), venue.replace(1, 1, MARK, MILLION)]
    assert venue.slot(rows) == [Reason.MARGIN] * 8
    assert {r.need for r in venue.refusals} == {39_390_000}
    assert venue.account(1).positions[0].size <= MILLION


def test_orders_follow_the_mark():
    venue = desk(40, 10**6)
    venue.slot([venue.new(1, 1, Side.SELL, 78_100, MILLION)])
    events = venue.open(marks=[(0, 79_000)]).events
    assert [e.reason for e in events] == [Reason.MARGIN_LOST]
    assert abs(events[0].first / USD - (40 - 39.5 - 9 - 0.395)) < 1e-5


def test_reduce_only():
    venue = desk(10**6, 10**6)
    long_of(venue, 100_000)
    for n in (1, 2, 3):
        venue.slot([venue.new(1, n, Side.SELL, 78_100, 30_000, mode=REDUCE_ONLY)])
    assert venue.slot([venue.new(1, 4, Side.SELL, 78_200, 60_000)]) == []
    assert sorted(venue.account(1).orders) == [1, 4]


def test_withdrawable():
    venue = desk(10**4, 10**6)
    long_of(venue, 128 * 10**5)
    venue.move(0, 78_500)
    account = venue.account(1)
    profit = venue.machine.equity(account) - account.collateral
    held = venue.machine.equity(account) - venue.machine.free_collateral(account)
    assert profit == 64 * USD
    assert venue.machine.withdrawable(account) == account.collateral - held


@no_mark_counts()
def test_subaccounts():
    venue = desk(1000, 10**6)
    venue.slot([venue.transfer(1, 1, 40 * USD)])
    account = venue.account(3)
    assert (account.owner, account.generation) == (venue.account(1).owner, (1 << 24) + 1)
    rows = [venue.new(3, n, Side.BUY, MARK, MILLION) for n in (1, 2)]
    assert venue.slot([*rows, venue.new(2, 1, Side.SELL, MARK, MILLION)]) == [Reason.MARGIN]
    venue.move(0, 73_000, step=1000)
    assert abs(venue.equity(3) / USD + 10) < 0.4
    assert venue.account(1).collateral == 960 * USD
    assert venue.slot([venue.transfer(1, 1, USD), venue.withdraw(1, USD)]) == [Reason.WITHDRAWABLE] * 2
    assert {r.detail for r in venue.refusals} == {1}


def test_agents():
    alice, noon = b"a" * 20, 43_200_000
    venue = desk(1000, 10**6)

    def at(seconds, *rows):
        venue.time = noon + seconds * 1000 - 1
        return venue.slot(list(rows))

    def appoint(agent):
        return venue.appoint(1, agent, expiry=2**40)

    at(-1, appoint(alice), *[appoint(bytes([n]) * 20) for n in (7, 8, 9)])
    buy = venue.new(1, 1, Side.BUY, MARK, MILLION, nonce=noon, expiry=noon + 30_000)
    venue.signed_by[1, noon] = alice
    assert at(0, buy) == []
    assert at(10, venue.revoke(1, alice, expiry=2**40)) == []
    fifth = b"f" * 20
    assert at(20, appoint(fifth)) == [Reason.AGENTS_FULL]
    assert at(21, appoint(alice), buy) == [Reason.NONCE_USED]
    assert at(59, venue.revoke(1, alice, expiry=2**40)) == []
    assert at(60, appoint(fifth)) == [Reason.AGENTS_FULL]
    assert at(61, appoint(fifth), buy) == [Reason.SIGNER]
    assert at(62, venue.new(1, 2, Side.BUY, MARK, 1000, expiry=2**60)) == []  # the owner's own


def test_indices_that_are_given_again():
    venue = MoneyDesk([10 * USD, 10 * USD], venue_of(bitcoin(), reuse_batches=2))

    def close():
        venue.slot(closes=venue.machine.batch)
        venue.machine.seal_batch()

    venue.slot([venue.withdraw(1, 10 * USD)])
    close()
    venue.slot(deposits=[(owner(3), USD)])
    close()
    venue.slot(deposits=[(owner(4), USD)])
    found = [(venue.machine.account_of(owner(n)).index, n) for n in (2, 3, 4)]
    assert found == [(2, 2), (3, 3), (1, 4)] and venue.account(1).generation == 4 << 24
    assert venue.slot([venue.new(1, 1, Side.BUY, MARK, 1000, generation=1 << 24)]) == [Reason.GONE]


def test_tags_that_are_reserved():
    rules = venue_of(bitcoin(), tag_bits=4, reserved_tags=3)
    venue = MoneyDesk([100 * USD] * 13, rules)
    rows = [venue.new(n, 1, Side.BUY, MARK - n, 1000) for n in range(1, 14)]
    assert venue.slot(rows) == [Reason.TAGS_FULL]
    assert venue.slot([venue.cancel(5, 1)]) == []
    assert venue.slot([venue.new(13, 2, Side.BUY, MARK, 1000)]) == []
    assert len(venue.machine._ledger.free_tags) == 3


def test_rules():
    venue = desk(1000, 10**6)
    long_of(venue, MILLION)
    say = Operation(OperationKind.RULES, RuleSet(1).encode(), bytes(64))
    venue.slot(operations=[say, Operation(OperationKind.FLAGS, FLAGS.pack(owner(1), 7 << 16), bytes(64))])
    say = Operation(OperationKind.RULES, RuleSet(2, barred=(7,)).encode(), bytes(64))
    assert venue.slot([venue.new(1, 1, Side.BUY, MARK, 1000)], operations=[say]) == [Reason.RULE]
    assert [(r.detail, r.have, r.need) for r in venue.refusals] == [(2, 7, 2)]
    assert venue.slot([venue.new(1, 2, Side.SELL, MARK, MILLION)]) == []
