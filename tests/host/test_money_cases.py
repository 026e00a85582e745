"""Attacks that once took money, and what an honest user could not do: each with variations of its kind."""

from itertools import permutations
from random import Random

import pytest
from hawse.commit.exits import Haircut
from hawse.state.ledger import TRANSFER_BITS
from hawse.wire import Reason, SelfTrade, Side, TimeInForce
from support.desk import no_mark_counts, owner
from support.money import LEAST_LOTS, USD, MoneyDesk, bitcoin, venue
from support.oracle import limits, standing

A, B, C = 1, 2, 3
MARK = 78_000
GTC, IOC, FOK, POST = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY

both_sides = pytest.mark.parametrize("side", Side)
fees = pytest.mark.parametrize("rates", [(0, 0), (200, 500)], ids=["free", "fees"])


def dollars(*amounts):
    return [amount * USD for amount in amounts]


def worse(side, by):
    """A price, ``by`` ticks to the disadvantage of who trades on ``side`` at the mark."""
    return MARK + by if side == Side.BUY else MARK - by


def stands(desk, account):
    machine = desk.machine
    return standing(machine, machine.accounts[account], limits(machine).get(account, ()))


def all_carried(desk):
    """Every position and all that orders can make of it has its margin, but for whole quanta."""
    return all(stands(desk, a.index).carried >= -600 for a in desk.machine.accounts)


def leave(desk, account):
    """Withdraw as much as the machine gives."""
    desk.slot([desk.withdraw(account, 10**6 * USD)])
    desk.slot([desk.withdraw(account, desk.account(account).collateral)])
    most = desk.machine.withdrawable(desk.account(account))
    if most:
        assert desk.slot([desk.withdraw(account, most)]) == []


def exits(desk):
    """Close the batch, hold it against what the contract has, and say what each account is paid."""
    fields = desk.seal()
    cut = Haircut(fields["exit_positive"], fields["exit_shortfall"], fields["insurance"])
    assert cut.owed(fields["fees"], fields["dust"]) <= desk.machine.deposited - desk.machine.withdrawn
    return [cut.payout(desk.equity(a.index)) for a in desk.machine.accounts]


# A replaced order


def rests(desk, side, orders, total, instruments=(0,)):
    """A's orders, total lots in all."""
    rows = [
        desk.new(A, n, side, MARK, total // orders, instrument=instruments[n % len(instruments)])
        for n in range(1, orders + 1)
    ]
    assert desk.slot(rows) == []


def takes(desk, side, lots, client_id, instrument=0, tif=IOC):
    return desk.new(B, client_id, Side.SELL - side, MARK, lots, time_in_force=tif, instrument=instrument)


def again(desk, how, client_id, spare, side, lots, instrument=0):
    """A's order as large as before, by one command or two."""
    if how == "replace":
        return [desk.replace(A, client_id, MARK, lots)]
    if how == "move":
        return [desk.replace(A, client_id, worse(side, -1), lots), desk.replace(A, client_id, MARK, lots)]
    first = desk.cancel(A, client_id) if how == "cancel" else desk.reduce(A, client_id, 1)
    return [first, desk.new(A, spare, side, MARK, lots, instrument=instrument)]


@fees
@both_sides
@pytest.mark.parametrize("how", ["replace", "move", "cancel", "reduce"])
@pytest.mark.parametrize("orders", [1, 2, 4])
@pytest.mark.parametrize("tif", [IOC, FOK, GTC])
def test_replace_behind_a_fill(how, orders, side, rates, tif):
    desk = MoneyDesk(dollars(40, 100_000), venue(bitcoin(*rates)))
    lots = 1_000_000 // orders
    rests(desk, side, orders, 1_000_000)
    rows = []
    for n in range(60):
        client_id = n % orders + 1
        rows.append(takes(desk, side, lots - 1, 100 + n, tif=tif))
        rows += again(desk, how, client_id, 100 + n, side, lots)
    desk.slot(rows)
    assert abs(desk.size(A)) <= 1_025_641 and all_carried(desk)


@both_sides
@pytest.mark.parametrize("seed", range(12))
def test_replace_behind_a_fill_in_any_order(side, seed):
    config = venue(bitcoin(), bitcoin(number=1, first=32768))
    desk, rng = MoneyDesk(dollars(40, 100_000), config), Random(seed)
    rests(desk, side, 4, 1_000_000, (0, 1))
    for turn in range(3):
        rows = []
        for n in range(24):
            client_id, spare = n % 4 + 1, 100 * turn + n + 10
            how = rng.choice(["replace", "move", "cancel", "reduce"])
            rows.append(takes(desk, side, rng.choice([249_999, 250_000]), spare, client_id % 2))
            rows += again(desk, how, client_id, spare, side, 250_000, client_id % 2)
        rng.shuffle(rows)
        desk.slot(rows)
        assert all_carried(desk)
    assert abs(desk.size(A, 0)) + abs(desk.size(A, 1)) <= 1_025_641


@fees
@both_sides
@pytest.mark.parametrize("how", ["replace", "cancel"])
@pytest.mark.parametrize("orders", [1, 2])
def test_replace_behind_a_fill_taken_out(how, orders, side, rates):
    desk = MoneyDesk(dollars(40, 100_000, 100_000), venue(bitcoin(*rates)))
    lots = 1_000_000 // orders
    rests(desk, side, orders, 1_000_000)
    rows = []
    for n in range(120):
        rows.append(takes(desk, side, lots - 1, 100 + n))
        rows += again(desk, how, n % orders + 1, 100 + n, side, lots)
    desk.slot(rows)
    desk.slot([desk.cancel(A, client_id) for client_id in desk.account(A).orders])
    mark = worse(side, -780)
    desk.move(0, mark)
    owes = abs(desk.size(B))
    assert desk.slot([desk.new(C, 1, Side.SELL - side, mark, owes)]) == []
    desk.slot([desk.new(B, 1, side, mark, owes, time_in_force=IOC)])
    assert desk.size(B) == 0
    leave(desk, B)
    paid = exits(desk)
    fee = 0 if rates == (0, 0) else owes * mark * rates[0] // 10**8 + 1
    assert desk.machine.withdrawn + paid[A] + paid[B] <= 100_040 * USD
    assert paid[C] >= 100_000 * USD - fee


# Orders that their account no longer carries


@fees
@both_sides
@pytest.mark.parametrize("orders", [1, 2, 5])
@pytest.mark.parametrize("step", [500, 1400])
def test_stale_reservation(orders, side, rates, step):
    desk = MoneyDesk(dollars(40, 10_000), venue(bitcoin(*rates)))
    sell, lots, limit = Side.SELL - side, 1_000_000 // orders, worse(side, 100)
    assert desk.slot([desk.new(A, n, sell, limit, lots) for n in range(1, orders + 1)]) == []
    mark, end = MARK, 90_000 if side == Side.BUY else 70_000
    while mark != end:
        mark += max(-step, min(step, end - mark))
        desk.slot(marks=[(0, mark)])
        left = sorted(desk.account(A).orders)
        assert stands(desk, A).free >= 0 and left == list(range(1, len(left) + 1))
    desk.slot([desk.new(B, 1, side, limit, 1_000_000, time_in_force=IOC)])
    assert desk.equity(A) >= 0 and all_carried(desk)


@both_sides
def test_orders_go_newest_first_and_no_more_than_must(side):
    desk = MoneyDesk(dollars(40, 10_000))
    sell = Side.SELL - side
    assert desk.slot([desk.new(A, n, sell, worse(side, 100), 200_000) for n in (5, 3, 4, 1, 2)]) == []
    desk.slot(marks=[(0, worse(side, 400))])
    machine = desk.machine
    left = [n for n in (5, 3, 4, 1, 2) if n in desk.account(A).orders]
    assert left == [5, 3, 4, 1, 2][: len(left)] and 0 < len(left) < 5
    one = limits(machine)[A][0]
    assert stands(desk, A).free >= 0
    assert standing(machine, desk.account(A), [*limits(machine)[A], one]).free < 0


@both_sides
def test_the_order_of_a_stretched_account_is_gone_before_the_slot_s_commands(side):
    desk = MoneyDesk(dollars(40, 10_000))
    assert desk.slot([desk.new(A, 1, Side.SELL - side, worse(side, 100), 1_000_000)]) == []
    taken = desk.new(B, 1, side, worse(side, 100), 1_000_000, time_in_force=IOC)
    desk.slot([taken], marks=[(0, worse(side, 1500))])
    assert desk.size(A) == 0 and desk.order(A, 1) is None


@both_sides
def test_an_order_that_only_closes_stays_when_the_mark_moves(side):
    desk = MoneyDesk(dollars(100, 10_000))
    held(desk, side, 2_000_000)
    out = Side.SELL - side
    assert desk.slot([desk.new(A, 1, out, worse(side, 100), 1_000_000)]) == []
    desk.slot([desk.new(A, 2, side, worse(side, -200), 100_000)])
    desk.move(0, worse(side, -1500))
    assert stands(desk, A).free < 0
    assert desk.order(A, 1) is not None and desk.order(A, 2) is None


# Closing


def held(desk, side, lots):
    """A has ``lots`` on ``side``, bought from B."""
    rows = [desk.new(B, 1, Side.SELL - side, MARK, lots), desk.new(A, 1, side, MARK, lots)]
    assert desk.slot(rows) == [] and abs(desk.size(A)) == lots


@fees
@both_sides
@pytest.mark.parametrize("tif", [IOC, FOK, GTC, POST])
@pytest.mark.parametrize("parts", [1, 4])
def test_close_at_full_use(parts, tif, side, rates):
    desk = MoneyDesk(dollars(80, 10_000), venue(bitcoin(*rates)))
    held(desk, side, 2_000_000)
    out = Side.SELL - side
    bid = desk.new(B, 2, side, MARK, 2_000_000)
    lots = 2_000_000 // parts
    closing = [desk.new(A, 10 + n, out, MARK, lots, time_in_force=tif) for n in range(parts)]
    assert desk.slot([*closing, bid] if tif == POST else [bid, *closing]) == []
    assert desk.size(A) == 0 and desk.equity(A) >= 78 * USD


@fees
@both_sides
@pytest.mark.parametrize("tif", [IOC, FOK, GTC])
@pytest.mark.parametrize("lots", [[200_000], [2_000_000], [200_000] * 10])
@pytest.mark.parametrize("apart", [False, True])
def test_close_when_stretched(lots, tif, side, rates, apart):
    desk = MoneyDesk(dollars(100, 10_000), venue(bitcoin(*rates)))
    held(desk, side, 2_000_000)
    mark = worse(side, -1500)
    desk.move(0, mark)
    assert stands(desk, A).free < 0
    assert desk.slot([desk.new(B, 2, side, mark, 2_000_000)]) == []
    rows = [desk.new(A, 10 + n, Side.SELL - side, mark, q, time_in_force=tif) for n, q in enumerate(lots)]
    for slot in ([row] for row in rows) if apart else [rows]:
        assert desk.slot(slot) == []
    assert abs(desk.size(A)) == 2_000_000 - sum(lots)


@both_sides
def test_a_stretched_account_does_not_open(side):
    desk = MoneyDesk(dollars(100, 10_000))
    held(desk, side, 2_000_000)
    desk.move(0, worse(side, -1500))
    out, mark = Side.SELL - side, worse(side, -1500)
    more = desk.new(A, 2, side, mark, 100_000)
    turn = desk.new(A, 3, out, mark, 4_100_000)
    assert desk.slot([more, turn]) == [Reason.MARGIN, Reason.MARGIN]
    parts = [desk.new(A, n, out, mark, 1_000_000) for n in (4, 5)]
    assert desk.slot(parts) == []


@both_sides
@pytest.mark.parametrize("away", [1000, 3000, 6000])
@no_mark_counts()
def test_a_close_at_a_loss_takes_nobody_below_zero(side, away):
    desk = MoneyDesk(dollars(100, 10_000))
    held(desk, side, 2_000_000)
    mark = worse(side, -4850)
    desk.move(0, mark)
    assert 0 < desk.equity(A) < 4 * USD
    price = mark - away if side == Side.BUY else mark + away
    out = Side.SELL - side
    desk.slot([desk.new(B, 2, side, price, 2_000_000), desk.new(A, 2, out, price, 2_000_000)])
    assert desk.equity(A) >= 0


# Marks and profit


@both_sides
@pytest.mark.parametrize("lots", [1, LEAST_LOTS])
def test_own_trade_as_mark(side, lots):
    desk = MoneyDesk(dollars(30_000, 30_000, 1_000_000))
    edge = 98_303 if side == Side.BUY else 65_536
    assert desk.slot([desk.new(B, 1, Side.SELL - side, MARK, 10**8), desk.new(A, 1, side, MARK, 10**8)]) == []
    before = [desk.machine.withdrawable(a) for a in desk.machine.accounts]
    desk.slot([desk.new(B, 2, side, edge, lots), desk.new(A, 2, Side.SELL - side, edge, lots)])
    after = [desk.machine.withdrawable(a) for a in desk.machine.accounts]
    gained = abs(edge - MARK) * lots // 100
    # What A gains B has lost, but for fees.
    assert after[A] <= before[A] + gained + lots * MARK // 2000 + 1
    assert sum(after) <= sum(before) + lots * MARK // 1000 + 2 and after[C] == before[C]
    leave(desk, A)
    leave(desk, B)
    paid = exits(desk)
    assert desk.machine.withdrawn + paid[A] + paid[B] <= 60_000 * USD
    assert paid[C] == 1_000_000 * USD


@fees
@both_sides
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
@no_mark_counts()
def test_profit_nobody_has_paid(side, rates, restart, at_once):
    desk = MoneyDesk(dollars(600_000, 400_000, 1_000_000), venue(bitcoin(*rates)))
    lots, parts = 10**9, range(1, 10)
    sells = [desk.new(B, n, Side.SELL - side, MARK, lots) for n in parts]
    buys = [desk.new(A, n, side, MARK, lots) for n in parts]
    assert desk.slot(sells + buys) == []
    mark = 93_600 if side == Side.BUY else 66_300
    desk.move(0, mark)
    assert desk.equity(B) < 0
    bids = [desk.new(C, n, side, mark, lots) for n in parts]
    closes = [desk.new(A, 10 + n, Side.SELL - side, mark, lots, time_in_force=IOC) for n in parts]
    assert desk.slot(bids + closes) == [] and desk.size(A) == 0
    if restart:
        desk.restart()
    collateral = desk.account(A).collateral
    if at_once:
        rows = [desk.withdraw(A, amount) for amount in (collateral, collateral // 2, collateral // 2)]
        desk.slot(rows, closes=desk.machine.batch)
        fields = desk.machine.seal_batch().header_fields()
        cut = Haircut(fields["exit_positive"], fields["exit_shortfall"], fields["insurance"])
        assert cut.owed(fields["fees"], fields["dust"]) <= desk.machine.deposited - desk.machine.withdrawn
    leave(desk, A)
    assert desk.machine.withdrawable(desk.account(C)) == 0
    paid = exits(desk)
    assert sum(paid) + desk.machine.withdrawn <= desk.machine.deposited


# What nobody may occupy


@both_sides
@pytest.mark.parametrize("lots", [1, LEAST_LOTS])
def test_dust_in_every_drawer(side, lots):
    desk = MoneyDesk(dollars(1, 1000), venue(orders=8192, order_quota=32))
    edge = 65_536 if side == Side.BUY else 98_303
    ids = iter(range(1, 8193))
    for _ in range(8):
        desk.slot([desk.new(A, next(ids), side, edge, lots) for _ in range(1024)])
    assert len(desk.account(A).orders) <= (0 if lots == 1 else 32)
    assert desk.slot([desk.new(B, 1, side, MARK, 1_000_000)]) == []


@pytest.mark.parametrize(("tag_bits", "crowd"), [(3, 7), (4, 15), (12, 4095)])
@pytest.mark.parametrize("amount", [1, USD - 1])
def test_a_number_for_a_quantum(tag_bits, crowd, amount):
    desk = MoneyDesk((), venue(tag_bits=tag_bits))
    owners = [n.to_bytes(20, "big") for n in range(1, crowd + 1)]
    desk.slot(deposits=[(who, amount) for who in owners])
    assert len(desk.refusals) == crowd and desk.machine.withdrawn == crowd * amount
    assert desk.slot(deposits=[(owner(1), USD)]) == []
    assert desk.machine.account_of(owner(1)).collateral == USD
    assert desk.machine.sum_of_balances() == USD


def test_a_small_deposit_of_who_has_an_account_counts():
    desk = MoneyDesk([USD])
    assert desk.slot(deposits=[(owner(A), 1)]) == [] and desk.equity(A) == USD + 1


@both_sides
def test_squatted_id(side):
    desk = MoneyDesk(dollars(100, 100))
    assert desk.slot([desk.new(A, n, side, MARK, 100_000) for n in (7, 8)]) == []
    rows = [desk.new(B, 7, side, MARK, 100_000), desk.cancel(B, 8), desk.cancel(B, 9)]
    assert len(desk.slot(rows)) == 2
    one, other = ((r.reason, r.detail, r.have, r.need) for r in desk.refusals)
    assert one == other and desk.order(A, 8) is not None
    for rows in (
        [desk.reduce(B, n, 1) for n in (8, 9)],
        [desk.replace(B, n, MARK, 100_000) for n in (8, 9)],
    ):
        desk.slot(rows)
        one, other = ((r.reason, r.detail, r.have, r.need) for r in desk.refusals)
        assert one == other


@pytest.mark.parametrize("nonce", [2**64 - 1, 2**63, 2**48])
def test_last_nonce(nonce):
    desk = MoneyDesk(dollars(100))
    last = desk.row(2, A, client_id=1, nonce=nonce)
    assert desk.slot([last]) == [Reason.NONCE_AHEAD]
    assert desk.slot([desk.withdraw(A, USD)]) == [] and desk.machine.withdrawn == USD


@both_sides
def test_first_command_with_its_deposit(side):
    desk = MoneyDesk()
    order = desk.new(A, 1, side, MARK, 100_000, generation=1 << TRANSFER_BITS)
    assert desk.slot([order], deposits=[(owner(A), 100 * USD)]) == []
    assert desk.order(A, 1) is not None


def test_same_nonce_lower_comes_later():
    for nonces in permutations((1002, 1000, 1001)):
        desk = MoneyDesk(dollars(100))
        rows = [desk.new(A, 1 + n, Side.BUY, MARK, 10_000, nonce=nonce) for n, nonce in enumerate(nonces)]
        used = desk.new(A, 9, Side.BUY, MARK, 10_000, nonce=nonces[-1])
        assert desk.slot([*rows, used]) == [Reason.NONCE_USED]
        assert sorted(desk.account(A).orders) == [1, 2, 3]


@pytest.mark.parametrize("mode", SelfTrade)
@both_sides
def test_trades_with_oneself_change_nothing(side, mode):
    desk = MoneyDesk(dollars(100))
    rows = [desk.new(A, 1, side, MARK, 500_000), desk.new(A, 2, Side.SELL - side, MARK, 500_000, mode=mode)]
    assert desk.slot(rows) == []
    assert desk.size(A) == 0 and desk.equity(A) == 100 * USD and all_carried(desk)
