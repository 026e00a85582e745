"""What an order would do to its account, asked of the rules themselves before it is sent."""

from dataclasses import dataclass

import numpy as np

from hawse.keys.messages import MESSAGE, REDUCE_ONLY, MessageKind
from hawse.wire import Side, TimeInForce

from .ledger import INSURANCE, Account
from .machine import Machine
from .machines import AnyMachine
from .outcomes import Signers
from .slot import Refusal, SlotInput

#: Milliseconds that the order would live.
_LIFE = 1000
_STRUCT = b"\1" * 32


@dataclass(frozen=True)
class Asked:
    """An order that nobody has signed; its price is in ticks, its quantity in lots."""

    instrument: int
    side: Side
    price: int
    quantity: int
    reduce_only: bool = False


@dataclass(frozen=True)
class Sums:
    """What an account has, in quanta; ``margin`` is what positions and open orders hold of its equity."""

    equity: int
    margin: int
    maintenance: int
    free_collateral: int


@dataclass(frozen=True)
class WhatIf:
    """An account before and after an order; they are alike where it would be refused, and why."""

    before: Sums
    after: Sums
    refusal: Refusal | None


def part_of(machine: AnyMachine, account: Account, resting: int) -> tuple[Machine, Account]:
    """A venue of one owner's accounts alone, in the readable form, and the account in it.

    Marks, feeds, rules and time are those of ``machine``, of which nothing changes; so all that admission
    looks at is there, however large the venue is. Only whether the engine has a number for one more owner is
    not asked, and what the liquidation of an account has come to.

    Args:
        machine: between two slots.
        account: one of the owner's.
        resting: orders in all books.
    """
    mine = machine.accounts_of(account.owner)
    part = Machine.part(machine, [machine.accounts[INSURANCE], *mine], resting)
    found = part.account_of(account.owner, account.subaccount)
    assert found is not None
    return part, found


def sums(machine: Machine, account: Account) -> Sums:
    """Of an account."""
    equity, free = machine.equity(account), machine.free_collateral(account)
    return Sums(equity, equity - free, machine.maintenance(account), free)


def what_if(machine: Machine, account: Account, asked: Asked) -> WhatIf:
    """Carry out a slot with nothing but one order of the account's owner; ``machine`` is used up by it.

    Raises:
        MoneyOverflow: an amount leaves int64.
    """
    before = sums(machine, account)
    row = np.zeros(1, MESSAGE)
    row["kind"], row["account"], row["generation"] = MessageKind.ORDER, account.index, account.generation
    row["side"], row["time_in_force"] = asked.side, TimeInForce.GTC
    row["instrument"], row["price"], row["quantity"] = asked.instrument, asked.price, asked.quantity
    row["mode"] = REDUCE_ONLY if asked.reduce_only else 0
    row["client_id"] = next(n for n in range(1, 2**64) if n not in account.orders)
    row["nonce"] = max([machine.time, account.nonces.floor, *(n + 1 for n in account.nonces.used[-1:])])
    row["expiry"] = row["nonce"] + _LIFE
    slot = SlotInput(machine.next_slot, machine.time, commands=row)
    admission = machine.open_slot(slot, Signers([], [account.owner], [_STRUCT]))
    mine = admission.command_seqs[-1]
    refusal = next((refusal for refusal in admission.refusals if refusal.seq == mine), None)
    return WhatIf(before, before if refusal else sums(machine, account), refusal)
