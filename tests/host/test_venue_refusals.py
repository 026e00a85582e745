"""Bad commands with real signatures, through the whole way, beside good ones."""

import numpy as np
import pytest
from hawse.engine import Engine, GoldenBackend, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.keys.eip712 import MEMBERS, Domain
from hawse.keys.messages import USER_COMMAND, Request
from hawse.keys.signing import sign
from hawse.keys.store import address_of, derive
from hawse.state.config import Instrument, VenueConfig
from hawse.state.slot import Deposit, Refusal, SlotInput
from hawse.venue import Venue
from hawse.wire import Geometry, Kind, Reason, Side
from hawse.wire.dtypes import kinds
from hawse_sim.rtl import RtlBackend
from support.faults import Witness

PERP = Instrument(0, "perp", 1, 100, 50_000, 200, 500, base=1000, first_mark=1500)
HUGE = Instrument(1, "huge", 2**32 - 1, 1, 100_000, 0, 333, base=-100, first_mark=40)
GEOMETRY = Geometry(2, 1024, 64, 4)
CONFIG = VenueConfig((PERP, HUGE), GEOMETRY, 1, bytes(range(20)))
KEYS = [derive("refusals", n) for n in range(4)]
POOR = 4
TIME = 10_000
ENGINES = {"soft": SoftBackend, "golden": GoldenBackend, "rtl": RtlBackend}


def row(request, account, nonce, key=None, domain=CONFIG.domain, **fields):
    out = np.zeros(1, USER_COMMAND)
    out["request"] = request
    values = {"account": account, "nonce": nonce, "price": 1500, "quantity": 10} | fields
    for name in MEMBERS[request]:
        out[name] = values.get(name, 0)
    sign(out, domain, [KEYS[account - 1] if key is None else key])
    return out


def new(account, nonce, order_id, side=Side.BUY, **fields):
    return row(Request.NEW, account, nonce, order_id=order_id, side=side, **fields)


def malformed():
    out = new(1, 900, 900)
    out["side"] = 2
    return out


def tampered():
    out = new(1, 900, 900)
    out["quantity"] += 1
    return out


GOOD = [
    new(1, 10, 1, Side.SELL, price=1501, quantity=30),
    new(2, 10, 2, price=1502, quantity=20),
    new(3, 10, 3, price=1499, quantity=7),
    row(Request.REPLACE, 1, 20, order_id=1, price=1500, quantity=25),
    new(2, 20, 4, price=1500, quantity=5),
    row(Request.CANCEL, 3, 20, order_id=3),
    row(Request.WITHDRAW, 2, 30, amount=1234),
]
#: What comes before the good command of that place, and what becomes of it.
BAD = [
    (0, new(1, 1, 100, key=KEYS[1]), Refusal.SIGNATURE),
    (0, tampered(), Refusal.SIGNATURE),
    (0, new(1, 1, 100, domain=Domain(2, bytes(range(20)))), Refusal.SIGNATURE),
    (1, GOOD[0], Refusal.NONCE),
    (1, new(1, 10, 101), Refusal.NONCE),
    (2, new(1, 11, 102, expiry=TIME - 1), Refusal.EXPIRED),
    (2, new(1, 11, 102), Refusal.NONCE),  # used by the one before, though that was refused
    (2, new(4, 1, 103, key=KEYS[0]), Refusal.SIGNATURE),
    (2, row(Request.NEW, 9, 1, key=KEYS[0], order_id=104), Refusal.ACCOUNT),
    (2, row(Request.NEW, 0, 1, key=KEYS[0], order_id=104), Refusal.ACCOUNT),
    (3, new(1, 12, 105, instrument=2), Refusal.INSTRUMENT),
    (3, new(1, 13, 106, quantity=0), Reason.QUANTITY),
    (3, new(1, 14, 107, quantity=2**32 - 1), Refusal.MARGIN),
    (3, new(1, 15, 108, quantity=2**32 - 1, instrument=1, price=40), Refusal.OVERFLOW),
    (4, row(Request.WITHDRAW, 1, 21, amount=2**64 - 1), Refusal.OVERFLOW),
    (4, row(Request.WITHDRAW, 1, 22, amount=10**9 + 1), Refusal.BALANCE),
    (4, new(1, 23, 109, price=999), Reason.PRICE),
    (5, new(1, 24, 110, price=1000 + 1024), Reason.PRICE),
    (5, row(Request.REPLACE, 3, 11, order_id=3, price=2**31 - 1, quantity=1), Reason.PRICE),
    (5, row(Request.REDUCE, 3, 12, order_id=3, quantity=7), Reason.QUANTITY),
    (5, new(POOR, 1, 111, quantity=1000), Refusal.MARGIN),
    (5, new(1, 25, 3), Refusal.DUPLICATE_ORDER),
    (5, row(Request.CANCEL, 2, 21, order_id=3), Refusal.NOT_OWNER),
    (6, row(Request.REPLACE, 2, 22, order_id=1, quantity=1), Refusal.NOT_OWNER),
    (6, row(Request.CANCEL, 3, 21, order_id=3), Reason.NOT_RESTING),
    (6, row(Request.CANCEL, 3, 22, order_id=77), Reason.NOT_RESTING),
    (6, malformed(), Refusal.REQUEST),
]


def trade(directory, backend, commands):
    """Deposits, then one slot of the commands; the venue, what it published, and that slot."""
    deposits = [10**9, 10**9, 10**9, 100]
    owners = [address_of(key) for key in KEYS]
    taken = tuple(Deposit(n, o, d) for n, (o, d) in enumerate(zip(owners, deposits, strict=True), 1))
    witness = Witness()
    with Journal(directory, CONFIG.encode()) as journal:
        venue = Venue(CONFIG, Engine(backend), journal, Snapshots(directory), witness)
        venue.run_slot(SlotInput(0, TIME - 1, (), taken, commands[:0]))
        done = venue.run_slot(SlotInput(1, TIME, (), (), commands, 1))
    return venue, witness, done


def all_commands():
    """Good and bad ones, and at which place the bad ones stand."""
    rows, bad = [], {}
    for n, good in enumerate(GOOD):
        for at, command, what in BAD:
            if at == n:
                bad[len(rows)] = what
                rows.append(command)
        rows.append(good)
    return np.concatenate(rows), bad


@pytest.mark.parametrize("engine", ENGINES)
def test_bad_commands_are_refused_or_rejected_and_good_ones_do_not_notice(tmp_path, engine):
    commands, bad = all_commands()
    assert {what for what in bad.values() if isinstance(what, Refusal)} == {*Refusal} - {Refusal.STORE_FULL}
    venue, witness, done = trade(tmp_path / "all", ENGINES[engine](GEOMETRY), commands)

    refusals = {seq - 1: reason for seq, reason in done.outcome.refusals}
    events = done.burst.events
    rejected = events[kinds(events) == Kind.REJECTED]
    reasons = {int(e["seq"]) - 1: Reason(int(e["reason"])) for e in rejected}
    assert {**refusals, **reasons} == bad

    def seen(events):
        names = ["kind", "reason", "instrument", "price", "quantity", "order_id", "maker_id"]
        return events[kinds(events) != Kind.REJECTED][names].tolist()

    def held(venue):
        accounts = venue.machine.accounts
        return [
            (a.collateral, a.reserved, {n: (p.size, p.entry) for n, p in a.positions.items()})
            for a in accounts
        ]

    alone, _, without = trade(tmp_path / "good", ENGINES[engine](GEOMETRY), np.concatenate(GOOD))
    assert not without.outcome.refusals and Kind.REJECTED not in kinds(without.burst.events)
    assert seen(events) == seen(without.burst.events)
    assert sum(kinds(events) == Kind.TRADE) == 2
    assert held(venue) == held(alone)
    assert venue.machine.withdrawn == alone.machine.withdrawn == 1234
    assert venue.machine.sum_of_balances() == venue.machine.deposited - 1234

    soft, expected, _ = trade(tmp_path / "soft", SoftBackend(GEOMETRY), commands)
    assert (witness.slots, witness.batches) == (expected.slots, expected.batches)
    assert venue.machine.snapshot() == soft.machine.snapshot()


def test_a_full_store_refuses_and_what_rests_stays(tmp_path):
    orders = GEOMETRY.orders
    rows = [new(1, n, n, price=1400, quantity=1) for n in range(1, orders + 3)]
    rows.append(new(2, 1, 1000, Side.SELL, price=1400, quantity=3))
    venue, _, done = trade(tmp_path, SoftBackend(GEOMETRY), np.concatenate(rows))
    full = Refusal.STORE_FULL
    assert done.outcome.refusals == ((orders + 1, full), (orders + 2, full), (orders + 3, full))
    assert len(venue.machine.orders) == orders
    assert (kinds(done.burst.events) == Kind.ACK).all() and len(done.burst.events) == orders
