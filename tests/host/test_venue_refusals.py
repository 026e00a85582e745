"""Bad commands with real signatures, through the whole way, beside good ones."""

from dataclasses import replace

import numpy as np
import pytest
from hawse import venue as venue_module
from hawse.commit import header
from hawse.engine import Engine, GoldenBackend, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.keys.eip712 import Domain
from hawse.keys.members import MEMBERS
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.keys.signing import sign
from hawse.keys.store import address_of, derive
from hawse.state.config import VenueConfig
from hawse.state.slot import Deposit, SlotInput
from hawse.venue import Halted, Venue
from hawse.wire import Geometry, Kind, Reason, Side
from hawse.wire.dtypes import kinds
from hawse_sim.rtl import RtlBackend
from support.desk import ODD, PERP
from support.faults import Witness
from support.signed import generation

HUGE = replace(ODD, numerator=2**32 - 1, denominator=1, count=1024)
GEOMETRY = Geometry(2, 2048, 64, 4)
CONFIG = VenueConfig(
    instruments=(PERP, HUGE),
    geometry=GEOMETRY,
    operator=bytes(20),
    chain_id=1,
    contract=bytes(range(20)),
)
KEYS = [derive("refusals", n) for n in range(4)]
POOR = 4
TIME = 10_000
ENGINES = {"soft": SoftBackend, "golden": GoldenBackend, "rtl": RtlBackend}


def row(kind, account, nonce, key=None, domain=CONFIG.domain, **fields):
    out = np.zeros(1, MESSAGE)
    out["kind"] = kind
    values = {"account": account, "generation": generation(account), "nonce": nonce, "expiry": TIME}
    values |= {"price": 1500, "quantity": 10} | fields
    for column in {member.column for member in MEMBERS[kind]}:
        out[column] = values.get(column, 0)
    sign(out, domain, [KEYS[account - 1] if key is None else key])
    return out


def new(account, nonce, client_id, side=Side.BUY, **fields):
    return row(MessageKind.ORDER, account, nonce, client_id=client_id, side=side, **fields)


def malformed():
    out = new(1, 900, 900)
    out["side"] = 2
    return out


def tampered():
    out = new(1, 900, 900)
    out["quantity"] += 1
    return out


def unsigned():
    out = new(1, 900, 900)
    out["signature"] = 0
    return out


GOOD = [
    new(1, 10, 1, Side.SELL, price=1501, quantity=30),
    new(2, 10, 2, price=1502, quantity=20),
    new(3, 10, 3, price=1499, quantity=7),
    row(MessageKind.REPLACE, 1, 20, client_id=1, price=1500, quantity=25),
    new(2, 20, 4, price=1500, quantity=5),
    row(MessageKind.CANCEL, 3, 20, client_id=3),
    row(MessageKind.WITHDRAW, 2, 30, amount=1234),
]
#: What comes before the good command of that place, and what becomes of it.
BAD = [
    (0, new(1, 1, 100, key=KEYS[1]), Reason.SIGNER),
    (0, unsigned(), Reason.SIGNATURE),
    (0, tampered(), Reason.SIGNER),
    (0, new(1, 1, 100, domain=Domain(2, bytes(range(20)))), Reason.SIGNER),
    (1, GOOD[0], Reason.NONCE_USED),
    (1, new(1, 10, 101), Reason.NONCE_USED),
    (1, new(1, 2**64 - 1, 101), Reason.NONCE_AHEAD),
    (1, new(1, 9, 101, generation=1), Reason.GONE),
    (1, row(MessageKind.MARGIN_MODE, 1, 9), Reason.REQUEST),
    (2, new(1, 11, 102, expiry=TIME - 1), Reason.EXPIRED),
    (2, new(1, 11, 102), Reason.NONCE_USED),  # used by the one before, though that was refused
    (2, new(1, 19, 102, expiry=0), Reason.EXPIRED),
    (2, new(4, 1, 103, key=KEYS[0]), Reason.SIGNER),
    (2, row(MessageKind.ORDER, 9, 1, key=KEYS[0], client_id=104), Reason.ACCOUNT),
    (2, row(MessageKind.ORDER, 0, 1, key=KEYS[0], client_id=104), Reason.ACCOUNT),
    (3, new(1, 12, 105, instrument=2), Reason.NO_INSTRUMENT),
    (3, new(1, 13, 106, quantity=0), Reason.MIN_QUANTITY),
    (3, new(1, 14, 107, quantity=2**32 - 1), Reason.MARGIN),
    (3, new(1, 15, 108, quantity=2**32 - 1, instrument=1, price=40), Reason.OVERFLOW),
    (4, row(MessageKind.WITHDRAW, 1, 21, amount=2**64 - 1), Reason.OVERFLOW),
    (4, row(MessageKind.WITHDRAW, 1, 22, amount=10**9 + 1), Reason.BALANCE),
    (4, row(MessageKind.WITHDRAW, 1, 26, amount=10**9), Reason.WITHDRAWABLE),
    (4, new(1, 23, 109, price=999), Reason.PRICE),
    (5, new(1, 24, 110, price=1000 + 1024), Reason.PRICE),
    (5, row(MessageKind.REPLACE, 3, 11, client_id=3, price=2**31 - 1, quantity=1), Reason.PRICE),
    (5, row(MessageKind.REDUCE, 3, 12, client_id=3, quantity=7), Reason.QUANTITY),
    (5, new(POOR, 1, 111, quantity=1000), Reason.MARGIN),
    (5, new(1, 25, 1), Reason.CLIENT_ID_USED),
    (5, row(MessageKind.CANCEL, 2, 21, client_id=3), Reason.CLIENT_ID_UNKNOWN),
    (6, row(MessageKind.REPLACE, 2, 22, client_id=1, quantity=1), Reason.CLIENT_ID_UNKNOWN),
    (6, row(MessageKind.CANCEL, 3, 21, client_id=3), Reason.NOT_RESTING),
    (6, row(MessageKind.CANCEL, 3, 22, client_id=77), Reason.CLIENT_ID_UNKNOWN),
    (6, malformed(), Reason.REQUEST),
]


def trade(directory, backend, commands):
    """Deposits, then one slot of the commands; the venue, what it published, and that slot."""
    deposits = [10**9, 10**9, 10**9, 100]
    owners = [address_of(key) for key in KEYS]
    taken = tuple(Deposit(n, o, d) for n, (o, d) in enumerate(zip(owners, deposits, strict=True), 1))
    witness = Witness()
    with Journal(directory, CONFIG.encode()) as journal:
        venue = Venue(CONFIG, Engine(backend), journal, Snapshots(directory), witness)
        venue.run_slot(SlotInput(0, TIME - 1, deposits=taken))
        done = venue.run_slot(SlotInput(1, TIME, closes=1, commands=commands))
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
    venue, witness, done = trade(tmp_path / "all", ENGINES[engine](GEOMETRY), commands)

    first = done.outcome.first_seq
    refusals = {refusal.seq - first: refusal.reason for refusal in done.outcome.refusals}
    assert all(refusal.have != refusal.need for refusal in done.outcome.refusals)
    events = done.burst.events
    rejected = events[kinds(events) == Kind.REJECTED]
    reasons = {int(e["seq"]) - first: Reason(int(e["reason"])) for e in rejected}
    assert {**refusals, **reasons} == bad

    def seen(done):
        names, events = ["kind", "reason", "instrument", "price", "quantity"], done.burst.events
        good = kinds(events) != Kind.REJECTED
        trades = kinds(events)[good] == Kind.TRADE
        makers = np.where(trades, done.makers[good], 0)
        return events[good][names].tolist(), done.orders[good].tolist(), makers.tolist()

    def held(venue):
        accounts = venue.machine.accounts
        return [
            (a.collateral, a.open, {n: (p.size, p.entry) for n, p in a.positions.items()}) for a in accounts
        ]

    alone, _, without = trade(tmp_path / "good", ENGINES[engine](GEOMETRY), np.concatenate(GOOD))
    assert not without.outcome.refusals and Kind.REJECTED not in kinds(without.burst.events)
    assert seen(done) == seen(without)
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
    first = done.outcome.first_seq
    told = [(r.seq - first, r.reason, r.have, r.need) for r in done.outcome.refusals]
    assert told == [(n, Reason.STORE_FULL, 0, 1) for n in range(orders, orders + 3)]
    assert len(venue.machine.orders) == orders
    assert (kinds(done.burst.events) == Kind.ACK).all() and len(done.burst.events) == orders


def withdrawals(first, count):
    return np.concatenate([row(MessageKind.WITHDRAW, 1, first + n, amount=1) for n in range(count)])


def test_a_crowd_of_withdrawals_makes_the_batch_end_before_no_header_takes_it(tmp_path, monkeypatch):
    """Of one quantum each: more than a header takes would halt the venue, and every recovery of it."""
    for module in (header, venue_module):
        monkeypatch.setattr(module, "WITHDRAWALS_MOST", 10)
    with pytest.raises(Halted, match="withdrawals_count: 11 is not"):
        trade(tmp_path / "halted", SoftBackend(GEOMETRY), withdrawals(1, 11))
    with Journal(tmp_path, CONFIG.encode()) as journal:
        venue = Venue(CONFIG, Engine(SoftBackend(GEOMETRY)), journal, Snapshots(tmp_path), Witness())
        venue.run_slot(SlotInput(0, TIME - 1, deposits=(Deposit(1, address_of(KEYS[0]), 100),)))
        venue.run_slot(SlotInput(1, TIME, commands=withdrawals(1, 4)))
        assert not venue.batch_is_full
        venue.run_slot(SlotInput(2, TIME, commands=withdrawals(5, 1)))
        assert venue.batch_is_full
        done = venue.run_slot(SlotInput(3, TIME, closes=1, commands=withdrawals(6, 5)))
        assert done.sealed.header.withdrawals_count == 10 and not venue.batch_is_full


@pytest.mark.parametrize("name", ["INPUTS_MOST", "ACCOUNTS_MOST"])
def test_so_does_a_crowd_of_inputs_or_of_accounts(tmp_path, monkeypatch, name):
    monkeypatch.setattr(venue_module, name, 4)
    owners = [address_of(key) for key in KEYS]
    with Journal(tmp_path, CONFIG.encode()) as journal:
        venue = Venue(CONFIG, Engine(SoftBackend(GEOMETRY)), journal, Snapshots(tmp_path), Witness())
        venue.run_slot(SlotInput(0, TIME, deposits=(Deposit(1, owners[0], 100),)))
        assert not venue.batch_is_full
        venue.run_slot(SlotInput(1, TIME, deposits=(Deposit(2, owners[1], 100),)))
        assert venue.batch_is_full
        venue.run_slot(SlotInput(2, TIME, closes=1))
        assert not venue.batch_is_full
