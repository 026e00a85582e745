"""Accounts, their positions and orders, and the venue's own balances."""

from dataclasses import dataclass, field

from hawse.commit import leaves
from hawse.risk import margin
from hawse.risk.margin import MoneyOverflow
from hawse.wire.dtypes import flags

from .config import PPM, Instrument, VenueConfig

_SIZE_MAX = 2**63 - 1


@dataclass(slots=True)
class Position:
    """Lots held (negative: short, never 0) and their exact value at entry, ticks × lots, signed likewise."""

    size: int
    entry: int


@dataclass(slots=True, eq=False)
class Account:
    """One owner. ``orders`` are those that rest, ``reserved`` is what they hold of free collateral."""

    index: int
    owner: bytes
    nonce: int = 0
    collateral: int = 0
    reserved: int = 0
    positions: dict[int, Position] = field(default_factory=dict)
    orders: dict[int, "Order"] = field(default_factory=dict)
    #: What is left of free collateral within the slot ``free_slot``; a cache of admission, not state.
    free: int = 0
    free_slot: int = -1


@dataclass(slots=True, eq=False)
class Order:
    """An order that the engine was told of. ``queue`` is the sequence number at which it took its place."""

    id: int
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
    #: Bytes in the account's leaf, until something changes.
    encoded: bytes | None = None

    def flags(self) -> int:
        """Flags byte of a LOAD: side and self-trade mode; what rests is good till cancelled."""
        return flags(self.side, self_trade=self.self_trade)

    def encode(self) -> bytes:
        """The order in its account's leaf."""
        if self.encoded is None:
            self.encoded = leaves.RESTING_ORDER.pack(
                self.id,
                self.handle,
                self.instrument,
                self.flags(),
                self.price,
                self.remaining,
                self.queue,
                self.reserved,
            )
        return self.encoded


class Ledger:
    """What belongs to whom: the part of the state that admission and clearing share.

    Attributes:
        instruments: by number.
        marks: mark price in ticks by instrument.
        dust: remainders of realised profit by instrument, in units of 1/denominator quanta.
        fees, insurance: balances in quanta.
        slot_fees: fees of the slot in work.
        accounts: account *i* at ``i - 1``.
        by_owner: the same by owner.
        orders: those that rest, and within a slot those that it sent, by id.
        handles: free ones, as a heap; the lowest goes first, as in the driver.
        freed: handles that come free with the slot's end.
        changed, moved: accounts whose leaf, whose resting-orders leaf is out of date.
    """

    def __init__(self, config: VenueConfig) -> None:
        self.instruments = {i.number: i for i in config.instruments}
        self.marks = {i.number: i.first_mark for i in config.instruments}
        self.dust = {i.number: 0 for i in config.instruments}
        self.fees = 0
        self.insurance = 0
        self.slot_fees = 0
        self.accounts: list[Account] = []
        self.by_owner: dict[bytes, Account] = {}
        self.orders: dict[int, Order] = {}
        self.handles = list(range(config.geometry.orders))
        self.freed: list[int] = []
        self.changed: set[int] = set()
        self.moved: set[int] = set()

    def open_account(self, owner: bytes) -> Account:
        """The next account."""
        account = Account(len(self.accounts) + 1, owner)
        self.accounts.append(account)
        self.by_owner[owner] = account
        self.changed.add(account.index)
        return account

    def at_mark(self, account: Account) -> list[tuple[Instrument, int, int, int]]:
        """(instrument, size, entry value, mark) of each position, as :mod:`hawse.risk.margin` takes them."""
        return [(self.instruments[n], p.size, p.entry, self.marks[n]) for n, p in account.positions.items()]

    def free_collateral(self, account: Account) -> int:
        """Equity without the positions' initial margin and the orders' reservations; may be negative."""
        return margin.free_collateral(account.collateral, self.at_mark(account), account.reserved)

    def rest(self, order: Order) -> None:
        """An order takes its place in the book."""
        account = order.account
        order.resting = True
        order.encoded = None
        account.orders[order.id] = order
        account.reserved += order.reserved
        self.moved.add(account.index)

    def unrest(self, order: Order) -> None:
        """A resting order leaves the book, to come back or to end."""
        account = order.account
        order.resting = False
        del account.orders[order.id]
        account.reserved -= order.reserved
        self.moved.add(account.index)

    def end(self, order: Order) -> None:
        """An order is over; its handle comes free with the slot's end."""
        if order.resting:
            self.unrest(order)
        del self.orders[order.id]
        order.remaining = order.reserved = 0
        self.freed.append(order.handle)

    def shrink(self, order: Order, remaining: int) -> None:
        """Less of an order remains; its reservation goes in proportion, what stays is rounded up."""
        reserved = -(-order.reserved * remaining // order.remaining)
        if order.resting:
            order.account.reserved += reserved - order.reserved
            order.encoded = None
            self.moved.add(order.account.index)
        order.reserved = order.peak = reserved
        order.remaining = remaining

    def fill(self, account: Account, instrument: Instrument, quantity: int, price: int, rate: int) -> None:
        """Move a position by ``quantity`` lots (negative: sold), realise what that closes, charge the fee.

        Raises:
            MoneyOverflow: the position or the collateral leaves int64.
        """
        number = instrument.number
        value = abs(quantity * price) * instrument.numerator * rate
        fee = -(-value // (instrument.denominator * PPM))
        self.slot_fees += fee
        collateral = account.collateral - fee
        position = account.positions.get(number)
        if position is None:
            account.positions[number] = Position(quantity, quantity * price)
        elif (position.size > 0) == (quantity > 0):
            position.size += quantity
            position.entry += quantity * price
            if abs(position.size) > _SIZE_MAX:
                raise MoneyOverflow(f"account {account.index}: a position of {position.size} lots")
        else:
            size = position.size + quantity
            if size and (size > 0) == (position.size > 0):
                # Rounded up to a tick·lot; what goes too much, the part that stays has less.
                closed = -quantity
                gone = -(-position.entry * closed // position.size)
                position.size = size
                position.entry -= gone
            else:
                closed, gone = position.size, position.entry
                if size:
                    position.size, position.entry = size, size * price
                else:
                    del account.positions[number]
            profit, rest = divmod((closed * price - gone) * instrument.numerator, instrument.denominator)
            collateral += profit
            self.dust[number] += rest
        account.collateral = margin.money(collateral, f"collateral of account {account.index}")
        self.changed.add(account.index)
