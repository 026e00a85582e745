"""Accounts, their positions and orders, the instruments' markets, and the venue's own balances."""

from dataclasses import dataclass, field

import numpy as np

from hawse.instruments import PPM, Instrument
from hawse.risk import margin
from hawse.risk.margin import MoneyOverflow
from hawse.wire.dtypes import flags

from .config import VenueConfig
from .nonces import NonceWindow

_SIZE_MAX = 2**63 - 1
#: Bits of a generation below the deposit's index.
TRANSFER_BITS = 24
#: Index of the venue's own account, whose collateral is the insurance.
INSURANCE = 0


@dataclass(slots=True)
class Position:
    """Lots held (negative: short, never 0) and their exact value at entry, ticks × lots, signed likewise."""

    size: int
    entry: int


@dataclass(slots=True, eq=False)
class Account:
    """One owner. ``orders``, by client id, rest or were sent in the slot in work.

    ``reserved`` is what the resting ones hold of free collateral. ``generation`` is the index of the deposit
    that opened the account, shifted by :data:`TRANSFER_BITS`.
    """

    index: int
    owner: bytes
    generation: int
    collateral: int = 0
    reserved: int = 0
    nonces: NonceWindow = field(default_factory=NonceWindow)
    positions: dict[int, Position] = field(default_factory=dict)
    orders: dict[int, "Order"] = field(default_factory=dict)
    #: What is left of free collateral within the slot ``free_slot``; a cache of admission, not state.
    free: int = 0
    free_slot: int = -1


@dataclass(slots=True, eq=False)
class Order:
    """An order that the engine was told of. ``queue`` is the sequence number at which it took its place."""

    client_id: int
    account: Account
    handle: int
    instrument: int
    side: int
    time_in_force: int
    self_trade: int
    price: int
    remaining: int
    queue: int
    reserved: int
    #: Largest reservation that the commands of the slot in work ask for.
    peak: int
    resting: bool = False
    #: Hash of its leaf at the end of the last slot, None if it was not there.
    leaf: bytes | None = None

    def flags(self) -> int:
        """Flags byte of a LOAD: side and self-trade mode; what rests is good till cancelled."""
        return flags(self.side, self_trade=self.self_trade)

    def place(self) -> tuple[int, int, int, int]:
        """Sorts by instrument, bids before asks, best price first, then time."""
        return self.instrument, self.side, self.price if self.side else -self.price, self.queue


@dataclass(slots=True)
class Market:
    """What changes of an instrument.

    Attributes:
        terms: the instrument.
        mark: price in ticks.
        mark_time: of the slot that set it, 0 before the first.
        open_interest: lots held long.
        dust: remainders of realised profit, in units of 1/denominator quanta.
    """

    terms: Instrument
    mark: int
    mark_time: int = 0
    open_interest: int = 0
    dust: int = 0


class Ledger:
    """What belongs to whom: the part of the state that admission and clearing share.

    Attributes:
        markets: by number of the instrument.
        fees: balance in quanta.
        slot_fees: fees of the slot in work.
        fill_fees: fee of each fill of the last slot: of each trade, the taker's and then the maker's.
        accounts: by index; 0 is the venue's own.
        by_owner: users' accounts by owner.
        orders: those that rest, and within a slot those that it sent, by handle.
        client_ids: id of the order that has a handle, or had it last, by handle.
        handles: free ones, as a heap; the lowest goes first, as in the driver.
        freed: handles that come free with the slot's end.
        changed, signed: indices of accounts whose account leaf, whose control leaf may have changed.
        moved: orders whose leaf may have changed, by handle.
        priced: numbers of instruments whose leaf may have changed.
    """

    def __init__(self, config: VenueConfig) -> None:
        self.markets = {i.number: Market(i, i.first_mark) for i in config.instruments}
        self.fees = 0
        self.slot_fees = 0
        self.fill_fees: list[int] = []
        self.accounts = [Account(INSURANCE, bytes(20), 0)]
        self.by_owner: dict[bytes, Account] = {}
        self.orders: dict[int, Order] = {}
        self.client_ids = np.zeros(config.geometry.orders, np.uint64)
        self.handles = list(range(config.geometry.orders))
        self.freed: list[int] = []
        self.changed: set[int] = {INSURANCE}
        self.signed: set[int] = {INSURANCE}
        self.moved: dict[int, Order] = {}
        self.priced: set[int] = set(self.markets)

    @property
    def insurance(self) -> int:
        """Insurance, in quanta."""
        return self.accounts[INSURANCE].collateral

    def open_account(self, owner: bytes, generation: int) -> Account:
        """The next account."""
        account = Account(len(self.accounts), owner, generation)
        self.accounts.append(account)
        self.by_owner[owner] = account
        self.changed.add(account.index)
        self.signed.add(account.index)
        return account

    def at_mark(self, account: Account) -> list[tuple[Instrument, int, int, int]]:
        """(instrument, size, entry value, mark) of each position, as :mod:`hawse.risk.margin` takes them."""
        markets = self.markets
        return [(markets[n].terms, p.size, p.entry, markets[n].mark) for n, p in account.positions.items()]

    def free_collateral(self, account: Account) -> int:
        """Equity without the positions' initial margin and the orders' reservations; may be negative."""
        return margin.free_collateral(account.collateral, self.at_mark(account), account.reserved)

    def add(self, order: Order) -> None:
        """An order is on its way to the engine."""
        order.account.orders[order.client_id] = self.orders[order.handle] = order
        self.client_ids[order.handle] = order.client_id

    def rest(self, order: Order) -> None:
        """An order takes its place in the book."""
        order.resting = True
        order.account.reserved += order.reserved
        self.moved[order.handle] = order

    def unrest(self, order: Order) -> None:
        """A resting order leaves the book, to come back or to end."""
        order.resting = False
        order.account.reserved -= order.reserved
        self.moved[order.handle] = order

    def end(self, order: Order) -> None:
        """An order is over; its handle comes free with the slot's end."""
        if order.resting:
            self.unrest(order)
        del self.orders[order.handle], order.account.orders[order.client_id]
        order.remaining = order.reserved = 0
        self.freed.append(order.handle)

    def shrink(self, order: Order, remaining: int) -> None:
        """Less of an order remains; its reservation goes in proportion, what stays is rounded up."""
        reserved = -(-order.reserved * remaining // order.remaining)
        if order.resting:
            order.account.reserved += reserved - order.reserved
            self.moved[order.handle] = order
        order.reserved = order.peak = reserved
        order.remaining = remaining

    def fill(self, account: Account, market: Market, quantity: int, price: int, rate: int) -> int:
        """Move a position by ``quantity`` lots (negative: sold), realise what that closes, charge the fee.

        Returns:
            The fee, in quanta.

        Raises:
            MoneyOverflow: the position or the collateral leaves int64.
        """
        terms = market.terms
        value = abs(quantity * price) * terms.numerator * rate
        fee = -(-value // (terms.denominator * PPM))
        self.slot_fees += fee
        self.fill_fees.append(fee)
        collateral = account.collateral - fee + self._move(account, market, quantity, price)
        account.collateral = margin.money(collateral, f"collateral of account {account.index}")
        self.changed.add(account.index)
        self.priced.add(terms.number)
        return fee

    def _move(self, account: Account, market: Market, quantity: int, price: int) -> int:
        """The part of :meth:`fill` that concerns the position; returns the profit that is realised."""
        terms, position = market.terms, account.positions.get(market.terms.number)
        if position is None:
            account.positions[terms.number] = Position(quantity, quantity * price)
            market.open_interest += max(quantity, 0)
            return 0
        before, size = position.size, position.size + quantity
        market.open_interest += max(size, 0) - max(before, 0)
        if (before > 0) == (quantity > 0):
            position.size = size
            position.entry += quantity * price
            if abs(size) > _SIZE_MAX:
                raise MoneyOverflow(f"account {account.index}: a position", size, "lots")
            return 0
        if size and (size > 0) == (before > 0):
            # Rounded up to a tick·lot; what goes too much, the part that stays has less.
            closed = -quantity
            gone = -(-position.entry * closed // before)
            position.size = size
            position.entry -= gone
        else:
            closed, gone = before, position.entry
            if size:
                position.size, position.entry = size, size * price
            else:
                del account.positions[terms.number]
        profit, rest = divmod((closed * price - gone) * terms.numerator, terms.denominator)
        market.dust += rest
        return profit
