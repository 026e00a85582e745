"""A machine and the golden engine, driven slot by slot, with users who keep count of their nonces."""

from contextlib import contextmanager

import numpy as np
import pytest
from hawse.engine import Engine, GoldenBackend
from hawse.instruments import Instrument
from hawse.keys.eip712 import struct_hashes
from hawse.keys.messages import BODIES, MESSAGE, MessageKind, split
from hawse.state import liquidating
from hawse.state.config import VenueConfig
from hawse.state.inputs import MARK
from hawse.state.ledger import TRANSFER_BITS
from hawse.state.machine import Machine
from hawse.state.outcomes import Signers
from hawse.state.slot import Deposit, Operation, OperationKind, SlotInput
from hawse.wire import Geometry

TERMS = {"numerator": 1, "denominator": 100, "initial_margin_ppm": 50_000}
PERP = Instrument(
    number=0,
    name="perp",
    **TERMS,
    maker_fee_ppm=200,
    taker_fee_ppm=500,
    first=0,
    count=1024,
    base=1000,
    first_mark=1500,
)
ODD = Instrument(
    number=1,
    name="odd",
    numerator=3,
    denominator=7,
    initial_margin_ppm=100_000,
    maker_fee_ppm=0,
    taker_fee_ppm=333,
    first=1024,
    count=512,
    base=-100,
    first_mark=40,
)
OPERATOR = b"\xee" * 20
CONFIG = VenueConfig(
    instruments=(PERP, ODD),
    geometry=Geometry(2, 2048, 64, 4),
    operator=OPERATOR,
    chain_id=1,
    contract=bytes(range(20)),
    insurance_ppm=250_000,
    order_quota=64,
    mark_step_ppm=4 * 10**6,
)
RICH = 10**9


@contextmanager
def no_mark_counts():
    """While it lasts, no mark may liquidate anybody: who owes goes on owing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(liquidating, "has_valid_mark", lambda market: False)
        yield


def owner(account):
    return bytes([account]) * 20


def mark_of(instrument, mark):
    """An INTERIM_MARK; who signed it is said beside it."""
    return Operation(OperationKind.INTERIM_MARK, MARK.pack(instrument, mark), bytes(64))


def publishers_of(config, slot):
    """Whose word each observation is, by its own account."""
    known = {u.number: u.publishers for u in config.underlyings}
    said = ((known.get(o.feed, ()), o.publisher) for o in slot.observations)
    return [people[at] if at < len(people) else None for people, at in said]


class Desk:
    """A machine, an engine, and the nonces of its users. ``refusals`` are those of the last slot."""

    def __init__(self, accounts=4, amount=RICH, config=CONFIG):
        self.machine = Machine(config)
        self.engine = Engine(GoldenBackend(config.geometry))
        self.engine.set_recentring(False)
        self.engine.reset(1)
        for i in config.instruments:
            self.engine.open(i.number, i.base, first=i.first, count=i.count)
        self.nonces = {}
        self.signed_by = {}
        self.time = 1000
        self.refusals = ()
        if accounts:
            self.slot(deposits=[(owner(a), amount) for a in range(1, accounts + 1)])

    def row(self, kind, account, by=None, **fields):
        """A message by the account's owner, or by an agent, whose nonces keep up with the time."""
        self.nonces[account] = max(self.nonces.get(account, 0) + 1, self.time if by else 0)
        if by:
            self.signed_by[account, self.nonces[account]] = by
        row = np.zeros(1, MESSAGE)
        row["kind"], row["account"], row["nonce"] = kind, account, self.nonces[account]
        row["generation"], row["expiry"] = account << TRANSFER_BITS, self.time + 1000
        for name, value in fields.items():
            row[name] = value
        return row

    def new(self, account, client_id, side, price, quantity, **fields):
        fields = {"side": side, "price": price, "quantity": quantity, "client_id": client_id} | fields
        return self.row(MessageKind.ORDER, account, **fields)

    def wide(self, kind, account, by=None, **fields):
        """A message of two rows; fields that its first row does not have are its body's."""
        head = {name: fields.pop(name) for name in [*fields] if name in MESSAGE.names}
        body = np.zeros(1, BODIES[kind])
        for name, value in fields.items():
            body[name] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        return np.concatenate([self.row(kind, account, by, **head), body.view(MESSAGE)])

    def appoint(self, account, agent, until=2**40, life=0, **fields):
        more = {"agent": agent, "agent_expiry": until, "max_life": life}
        return self.wide(MessageKind.APPOINT, account, **more, **fields)

    def revoke(self, account, agent, **fields):
        return self.wide(MessageKind.REVOKE, account, agent=agent, **fields)

    def transfer(self, account, to, amount, **fields):
        return self.row(MessageKind.TRANSFER, account, instrument=to, amount=amount, **fields)

    def input(self, rows=(), *, marks=(), operations=(), closes=None, **queues):
        """The next slot."""
        deposits, requests, authorisations, observations, omissions = (
            queues.pop(name, ())
            for name in ("deposits", "requests", "authorisations", "observations", "omissions")
        )
        assert not queues
        first = self.machine.deposit_index + 1
        return SlotInput(
            self.machine.next_slot,
            self.time,
            closes=closes,
            observations=tuple(observations),
            omissions=tuple(omissions),
            operations=(*operations, *(mark_of(*mark) for mark in marks)),
            deposits=tuple(Deposit(first + i, *d) for i, d in enumerate(deposits)),
            requests=tuple(requests),
            authorisations=np.concatenate(authorisations) if authorisations else np.zeros(0, MESSAGE),
            commands=np.concatenate(rows) if rows else np.zeros(0, MESSAGE),
        )

    def signers(self, slot, signed=None):
        """Every message by the owner of the account that it names, or by those given."""
        accounts = self.machine.accounts
        commands = signed
        if commands is None:
            commands = self.who(slot, lambda a: accounts[a].owner if a < len(accounts) else owner(a))
        people = publishers_of(self.machine.config, slot)
        return Signers([OPERATOR] * len(slot.operations), commands, self.structs(slot), people)

    def structs(self, slot):
        return struct_hashes(slot.messages)

    def who(self, slot, owner_of):
        """Who signed each message, where it was not said."""
        heads = slot.messages[split(slot.messages).starts]
        pairs = zip(heads["account"].tolist(), heads["nonce"].tolist(), strict=True)
        return [self.signed_by.get(pair) or owner_of(pair[0]) for pair in pairs]

    def open(self, rows=(), *, signed=None, **inputs):
        self.time += 250 if inputs.get("marks") else 1
        slot = self.input(rows, **inputs)
        return self.machine.open_slot(slot, self.signers(slot, signed))

    def slot(self, rows=(), **inputs):
        """One whole slot; returns what was refused, as reasons in the order of the inputs."""
        admission = self.open(rows, **inputs)
        burst = self.engine.run(admission.orders)
        assert not burst.refused
        self.machine.clear_slot(burst.events)
        self.refusals = admission.refusals
        return [refusal.reason for refusal in admission.refusals]

    def move(self, *marks):
        """A slot of marks alone; returns what the machine did by itself."""
        admission = self.open(marks=marks)
        self.machine.clear_slot(self.engine.run(admission.orders).events)
        return admission.events

    def account(self, index):
        return self.machine.accounts[index]

    def order(self, account, client_id):
        return self.account(account).orders.get(client_id)
