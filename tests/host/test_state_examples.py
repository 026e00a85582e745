"""The worked examples of docs/state.md."""

from hawse.keys.messages import REDUCE_ONLY
from hawse.wire import Reason, Side, TimeInForce
from support.money import USD, MoneyDesk, bitcoin, venue

MILLION, MARK = 10**6, 78_000


def desk(*dollars):
    """The page's units; account 2 takes the other side of everything."""
    return MoneyDesk([amount * USD for amount in dollars], venue(bitcoin(maker=500, taker=500)))


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
