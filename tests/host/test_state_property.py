"""Whatever users do, money is conserved, and the state is the engine's."""

from dataclasses import replace

from hawse.commit.exits import Haircut
from hawse.keys.messages import MessageKind
from hawse.state.forms import CARRIED
from hawse.state.ledger import Exposure
from hawse.state.machine import Machine
from hawse.wire import SelfTrade, Side, TimeInForce
from hypothesis import given, settings
from hypothesis import strategies as st
from support.desk import CONFIG, Desk, owner
from support.naive import leaves_of, naive_digest, naive_root

RULES = replace(CONFIG, minimum_deposit=500, reuse_batches=1)
ACTIONS = st.tuples(
    st.sampled_from([MessageKind.ORDER] * 5 + list(CARRIED)),
    st.integers(1, 6),  # account, the last two of which do not exist at first
    st.integers(1, 24),  # client id
    st.integers(0, 1),  # side
    st.sampled_from(TimeInForce),
    st.sampled_from(SelfTrade),
    st.integers(0, 1),  # instrument
    st.integers(-4, 4),  # price, from the mark
    st.sampled_from([0, 1, 2, 3, 7, 500, 100_000]),  # quantity
    st.integers(1, 40_000),  # amount
)
SLOTS = st.lists(
    st.tuples(st.lists(ACTIONS, max_size=14), st.integers(-3, 3), st.integers(0, 5)), min_size=1, max_size=8
)


AGENTS = [b"a" * 20, b"b" * 20, owner(2)]


def row_of(desk, action):
    """By the account's owner, or now and then by an agent."""
    row = message_of(desk, action)
    account, client_id = action[1:3]
    if account < len(desk.machine.accounts):
        row["generation"][0] = desk.account(account).generation
        if client_id > 18:
            desk.signed_by[account, int(row["nonce"][0])] = AGENTS[client_id % 3]
    return row


def message_of(desk, action):
    request, account, client_id, side, tif, stp, instrument, offset, quantity, amount = action
    price = desk.machine.markets[instrument].mark + offset
    match request:
        case MessageKind.ORDER:
            extra = {"time_in_force": tif, "mode": stp, "instrument": instrument}
            return desk.new(account, client_id, side, price, quantity, **extra)
        case MessageKind.REGISTER:
            kind, bound = 1 + client_id % 5, 0 if client_id % 5 == 4 else price
            fields = {"strategy": kind, "limit_price": bound, "every": 250, "until": desk.time + 900}
            fields |= {"offset_ppm": 20_000, "trigger_price": price if kind < 3 else 0, "quantity": quantity}
            fields |= {"low": kind == 3, "high": {4: 3 * quantity, 5: 7}.get(kind, 0)}
            side = side if kind < 5 else 0
            named = {"client_id": client_id, "instrument": instrument, "side": side}
            return desk.wide(request, account, **named, **fields)
        case MessageKind.CANCEL | MessageKind.UNREGISTER:
            return desk.row(request, account, client_id=client_id)
        case MessageKind.REPLACE:
            return desk.row(request, account, client_id=client_id, price=price, quantity=quantity)
        case MessageKind.REDUCE:
            return desk.row(request, account, client_id=client_id, quantity=quantity)
        case MessageKind.WITHDRAW | MessageKind.CANCEL_ALL_AFTER:
            return desk.row(request, account, amount=amount)
        case MessageKind.TRANSFER:
            return desk.transfer(account, client_id % 3 + 0x8000 * side, amount)
        case MessageKind.APPOINT:
            return desk.appoint(account, AGENTS[client_id % 3], life=amount)
        case MessageKind.REVOKE:
            return desk.revoke(account, AGENTS[client_id % 3])
        case MessageKind.CANCEL_ALL:
            return desk.row(request, account, instrument=instrument)


def exposures(machine, orders):
    """What the orders could do, summed up anew."""
    out = {}
    for o in orders:
        e, mark = out.setdefault(o.instrument, Exposure()), machine.markets[o.instrument].mark
        e.lots[o.side] += o.remaining
        e.loss += max(0, o.price - mark if o.side == Side.BUY else mark - o.price) * o.remaining
        e.basis += max(abs(o.price), abs(mark)) * o.remaining
    return out


def check(desk):
    machine = desk.machine
    assert machine.sum_of_balances() == machine.deposited - machine.withdrawn
    for n in (0, 1):
        sizes = [a.positions[n].size for a in machine.accounts if n in a.positions]
        assert sum(sizes) == 0 and machine.markets[n].open_interest == sum(max(s, 0) for s in sizes)
    for a in machine.accounts:
        mine = [o for o in machine.orders.values() if o.account is a]
        assert set(a.orders) == {o.client_id for o in mine}
        assert all(o.resting and o.remaining == o.held == o.peak > 0 and not o.dropped for o in mine)
        assert a.open == exposures(machine, mine) and a.reducing == sum(o.reduce_only for o in mine)
        assert all(p.size for p in a.positions.values())
    taken = [o.handle for o in machine.orders.values()]
    assert sorted(taken + machine._ledger.handles) == list(range(machine.config.geometry.orders))
    loads = machine.resting_orders()
    for n in (0, 1):
        ours, theirs = loads[loads["instrument"] == n], desk.engine.dump(n)
        for name in ("handle", "tag", "price", "quantity", "flags"):
            assert ours[name].tolist() == theirs[name].tolist()


@settings(max_examples=80, deadline=None)
@given(SLOTS)
def test_money_is_conserved_and_the_state_is_the_engine_s(slots):
    desk = Desk(amount=60_000, config=RULES)
    for number, (actions, drift, deposit) in enumerate(slots):
        before = {a.index: desk.machine.free_collateral(a) for a in desk.machine.accounts}
        marks = [(n, desk.machine.markets[n].mark + drift) for n in (0, 1)]
        deposits = [(owner(deposit), 50_000)] if deposit else []
        closes = desk.machine.batch if number % 3 == 2 else None
        rows = [row_of(desk, action) for action in actions]
        leaves, digest, slot = leaves_of(desk.machine), desk.machine.digest, desk.machine.next_slot
        desk.slot(rows, marks=marks if number % 2 else [], deposits=deposits, closes=closes)
        check(desk)
        if number % 2 == 0:
            for a in desk.machine.accounts:
                # Each fill rounds fee, profit and what is not realised against the user by under a quantum.
                assert desk.machine.free_collateral(a) >= min(0, before.get(a.index, 0)) - 3 * 14 * 24
        assert desk.machine.state_root() == naive_root(desk.machine)
        assert desk.machine.digest == naive_digest(leaves, desk.machine, slot, digest)[0]
        again = Machine.restore(RULES, desk.machine.snapshot())
        assert again.snapshot() == desk.machine.snapshot()
        if closes:
            header = desk.machine.seal_batch().header_fields()
            cut = Haircut(header["exit_positive"], header["exit_shortfall"], header["insurance"])
            owed = cut.owed(header["fees"], header["dust"])
            assert owed <= desk.machine.deposited - desk.machine.withdrawn
