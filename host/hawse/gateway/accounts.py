"""Accounts as their owners see them, read from a machine between two slots."""

from contextlib import suppress
from typing import NamedTuple

from hawse.instruments import PPM
from hawse.risk.margin import MoneyOverflow, initial_margin
from hawse.state.ledger import Account, Strategy
from hawse.state.machines import AnyMachine
from hawse.state.nonces import WINDOW, NonceWindow

from .shapes import AccountOf, AgentOf, Held, Resting, StrategyName, StrategyOf

_NAMES: dict[int, StrategyName] = {1: "stop", 2: "take", 3: "trail", 4: "slice", 5: "hedge"}


class Known(NamedTuple):
    """Who may sign for an account: its owner, and agents with their expiry."""

    owner: bytes
    generation: int
    agents: dict[bytes, int]

    def until(self, signer: bytes | None) -> int | None:
        """Until when somebody may read and trade; None if he may not at all."""
        if signer == self.owner:
            return 1 << 63
        return self.agents.get(signer or b"")


def account_at(machine: AnyMachine, index: int) -> Account | None:
    """The account of an index; None if there is none, or it is the venue's own."""
    return machine.accounts[index] if 0 < index < len(machine.accounts) else None


def known(machine: AnyMachine, index: int) -> Known | None:
    """Who may sign for an account; None if there is none that anybody may sign for."""
    found = account_at(machine, index)
    if found is None:
        return None
    return Known(found.owner, found.generation, {a.address: a.expiry for a in found.agents.values()})


def maintenance(machine: AnyMachine, one: Account) -> int:
    """What equity has to be, or the account is liquidated; as the golden state reckons it."""
    total = 0
    for number, position in one.positions.items():
        market = machine.markets[number]
        initial = initial_margin(market.terms, market.mark, position.size)
        total += -(-initial * market.terms.maintenance_ppm // PPM)
    return total


def described(machine: AnyMachine, one: Account) -> AccountOf:
    """All that its owner may know of an account."""
    equity, free = machine.equity(one), machine.free_collateral(one)
    held = []
    for number, position in sorted(one.positions.items()):
        market = machine.markets[number]
        value = (position.size * market.mark - position.entry) * market.terms.numerator
        worth = value // market.terms.denominator
        owed = market.owed(position)
        held.append(Held(number, position.size, position.entry, market.mark, worth, owed))
    return AccountOf(
        account=one.index,
        owner="0x" + one.owner.hex(),
        subaccount=one.subaccount,
        generation=one.generation,
        slot=machine.next_slot - 1,
        collateral=one.collateral,
        equity=equity,
        margin=equity - free,
        maintenance=maintenance(machine, one),
        free_collateral=free,
        withdrawable=machine.withdrawable(one),
        positions=held,
        orders=[
            Resting(
                order.client_id,
                order.instrument,
                "sell" if order.side else "buy",
                order.price,
                order.remaining,
                bool(order.reduce_only),
            )
            for order in sorted(one.orders.values(), key=lambda order: order.queue)
        ],
        strategies=[_strategy(each) for each in sorted(one.strategies.values(), key=lambda each: each.queue)],
        agents=[AgentOf("0x" + a.address.hex(), a.expiry, a.max_life) for a in one.agents.values()],
        cancel_all_at=one.timer,
    )


def _strategy(one: Strategy) -> StrategyOf:
    return StrategyOf(
        client_id=one.client_id,
        strategy=_NAMES[one.kind],
        instrument=one.instrument,
        side="sell" if one.side else "buy",
        quantity=one.quantity,
        done=one.done,
        fired=one.fired,
        next=one.next,
        until=one.until,
    )


def nonces_of(one: Account, signer: bytes) -> NonceWindow:
    """Those of the owner, or of an agent; none where an agent is gone."""
    if signer == one.owner:
        return one.nonces
    return one.agents[signer].nonces if signer in one.agents else NonceWindow()


def lowest(window: NonceWindow) -> int:
    """The lowest nonce that is not below the window."""
    return max(window.floor, window.used[0] if len(window.used) == WINDOW else 0)


class Watch:
    """Which accounts are nearest to their liquidation: a few are looked at between slots, in turn.

    Args:
        each: accounts that are looked at in one go.
        most: how many of the lowest are told.
    """

    def __init__(self, each: int = 4, most: int = 10) -> None:
        self._each, self._most, self._next = each, most, 1
        self._left: dict[int, int] = {}

    def look(self, machine: AnyMachine) -> None:
        """At the next few."""
        count = len(machine.accounts)
        for _ in range(min(self._each, count - 1)):
            self._next = self._next if self._next < count else 1
            one = machine.accounts[self._next]
            self._left.pop(self._next, None)
            with suppress(MoneyOverflow):  # the venue's own affair, at its next slot
                if one.positions:
                    equity = machine.equity(one)
                    left = equity - maintenance(machine, one)
                    self._left[self._next] = left * PPM // max(equity, 1)
            self._next += 1

    def nearest(self) -> list[int]:
        """What they have above maintenance, in millionths of equity, of those that have least of it."""
        return sorted(self._left.values())[: self._most]
