"""Accounts, their positions and orders, the instruments' markets, and the venue's own balances."""

from dataclasses import dataclass, field
from enum import IntEnum
from heapq import heappop, heappush

import numpy as np

from hawse.commit.leaves import ANY_INSTRUMENT
from hawse.instruments import FUNDING_TICK_BITS, PPM, Instrument, Status
from hawse.risk import margin
from hawse.risk.funding import Funding
from hawse.risk.margin import MoneyOverflow
from hawse.risk.prices import Average, clamp
from hawse.risk.settlement import Settlement
from hawse.wire import Reason, Side
from hawse.wire.dtypes import flags

from .agents import Agents
from .config import VenueConfig
from .feeds import Feed
from .nonces import NonceWindow
from .rules import RuleSet

_SIZE_MAX = 2**63 - 1
_FAR = 2**64
_NO_AVERAGE = Average(0)
_NO_FUNDING = Funding(0, _NO_AVERAGE)
#: Bits of a generation below the deposit's index.
TRANSFER_BITS = 24
#: Transfers of an owner, at most.
TRANSFERS_MAX = (1 << TRANSFER_BITS) - 1
#: Subaccounts from this number on may trade one instrument only: number less this.
ISOLATED = 0x8000
#: Index of the venue's own account, whose collateral is the insurance.
INSURANCE = 0


@dataclass(slots=True)
class Position:
    """Lots held (negative: short, never 0) and their exact value at entry, ticks × lots, signed likewise.

    ``funding`` is the index up to which funding is paid.
    """

    size: int
    entry: int
    funding: int = 0


@dataclass(slots=True)
class Exposure:
    """What an account's open orders of one instrument could do, as its margin sees them.

    Attributes:
        lots: of buys and of sells. Within a slot, every order and every replacement of one counts until
            clearing, for each may trade before the next command.
        loss, basis: sums of :func:`hawse.risk.margin.order_weight` over them.
    """

    lots: list[int] = field(default_factory=lambda: [0, 0])
    loss: int = 0
    basis: int = 0


@dataclass(slots=True, eq=False)
class Account:
    """An owner's subaccount; number 0, which a deposit opens, is his main account.

    ``orders``, by client id, rest or were sent in the slot in work; ``open`` sums them up.
    ``generation`` is the index of the deposit that opened the main account, shifted by
    :data:`TRANSFER_BITS`, and the number of the owner's TRANSFER that opened this one.
    """

    index: int
    owner: bytes
    generation: int
    subaccount: int = 0
    collateral: int = 0
    #: The owner's.
    nonces: NonceWindow = field(default_factory=NonceWindow)
    agents: Agents = field(default_factory=dict)
    #: The owner's transfers, of a main account.
    transfers: int = 0
    #: What is known of the owner (:mod:`hawse.state.rules`); the same in all his accounts.
    flags: int = 0
    #: When the machine cancels all its orders, 0 never.
    timer: int = 0
    #: Steps that its liquidation has had, 0 while it is healthy.
    step: int = 0
    positions: dict[int, Position] = field(default_factory=dict)
    orders: dict[int, "Order"] = field(default_factory=dict)
    #: By client id.
    strategies: dict[int, "Strategy"] = field(default_factory=dict)
    open: dict[int, Exposure] = field(default_factory=dict)
    #: Reduce-only ones among its orders.
    reducing: int = 0
    #: What is left of free collateral within the slot ``free_slot``; a cache of admission, not state.
    free: int = 0
    free_slot: int = -1

    @property
    def only(self) -> int:
        """The one instrument that it may trade, or :data:`ANY_INSTRUMENT`."""
        return self.subaccount - ISOLATED if self.subaccount >= ISOLATED else ANY_INSTRUMENT

    def is_bare(self) -> bool:
        """Whether it has no money, no position and no order."""
        return not (self.collateral or self.positions or self.orders)


class StrategyKind(IntEnum):
    """When a strategy acts.

    STOP, TAKE and TRAIL close, once the price is there, until ``quantity`` lots are done: STOP where it has
    gone against the position, TAKE where it has gone with it, TRAIL where it has turned by ``low`` ticks.
    SLICE trades ``quantity`` lots at a time until ``high`` are done. HEDGE trades, at most ``quantity`` lots
    at a time, where the delta of the instrument's underlying is not within ``low`` to ``high`` quanta a tick.
    """

    STOP = 1
    TAKE = 2
    TRAIL = 3
    SLICE = 4
    HEDGE = 5


@dataclass(slots=True, eq=False)
class Strategy:
    """A REGISTER's members, and what has become of it.

    Attributes:
        place: its number in the tree.
        queue: sequence number of its REGISTER.
        next: slot time from which on it may act again.
        done: lots that were filled.
        best: of a TRAIL, the best price since it was registered, in ticks.
        fired: the price was there.
    """

    place: int
    account: Account
    client_id: int
    kind: int
    instrument: int
    side: int
    trigger: int
    trigger_price: int
    limit_price: int
    offset_ppm: int
    quantity: int
    every: int
    low: int
    high: int
    until: int
    queue: int
    next: int = 0
    done: int = 0
    best: int = 0
    fired: bool = False

    @property
    def whole(self) -> int:
        """Lots after which it is over; 0 for never."""
        return (
            0
            if self.kind == StrategyKind.HEDGE
            else self.high
            if self.kind == StrategyKind.SLICE
            else self.quantity
        )


@dataclass(slots=True, eq=False)
class Order:
    """An order that the engine was told of.

    Attributes:
        queue: sequence number at which it took its place.
        held: lots that its account's exposure counts: those that remain, or that the machine leaves of it.
        peak: most lots that it may have in the slot in work, by its REPLACEs.
        dropped: the machine cancels it in the slot in work.
        why: reason of an order of the machine, which lives within a slot; NONE of a user's.
        strategy: that sent it.
        leaf: hash of its leaf at the end of the last slot, None if it was not there.
    """

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
    reduce_only: bool = False
    held: int = 0
    peak: int = 0
    dropped: bool = False
    why: Reason = Reason.NONE
    strategy: Strategy | None = None
    resting: bool = False
    leaf: bytes | None = None

    @property
    def leaf_flags(self) -> int:
        """Bits of the order's leaf: self-trade mode, and whether it only reduces."""
        return self.self_trade | self.reduce_only << 2

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
        last_trade, trade_time: its price, and time of its slot, 0 before the first.
        basis: smoothed difference to the index, with fractional bits (:mod:`hawse.state.marks`).
        impact: average mid of the impact prices since the last mark, in parts of a tick.
        funding: its premium and its index of funding.
        funding_dust: what rounding of funding leaves, in units of 1/:attr:`funding_parts` quanta.
        feed: what is observed of its underlying, None where nobody observes.
        status: what may be done with it.
        settlement: the average of the index before expiry, None until its window begins.
    """

    terms: Instrument
    mark: int
    mark_time: int = 0
    open_interest: int = 0
    dust: int = 0
    last_trade: int = 0
    trade_time: int = 0
    basis: int = 0
    impact: Average = _NO_AVERAGE
    funding: Funding = _NO_FUNDING
    funding_dust: int = 0
    feed: Feed | None = None
    status: Status = Status.OPEN
    settlement: Settlement | None = None

    @property
    def valid(self) -> bool:
        """Whether a quorum stands behind the mark; where nobody observes, the operator's word is enough."""
        return self.feed is None or self.feed.valid

    @property
    def funding_parts(self) -> int:
        """Into so many parts funding divides a quantum."""
        return self.terms.denominator << FUNDING_TICK_BITS

    def unpaid(self, position: Position) -> tuple[int, int]:
        """Quanta of funding that a position owes (negative: gets), rounded up, and by how many parts."""
        exact = position.size * (self.funding.cumulative - position.funding) * self.terms.numerator
        owed = -(-exact // self.funding_parts)
        return owed, owed * self.funding_parts - exact

    def owed(self, position: Position) -> int:
        """The same quanta, held within ± 2**64: beyond int64 it does not matter how far."""
        return clamp(self.unpaid(position)[0], -_FAR, _FAR)

    @property
    def quorum(self) -> tuple[int, int]:
        """Observations that count, and those that it takes: what NO_MARK says."""
        return (0, 0) if self.feed is None else (self.feed.counted, self.feed.terms.quorum)


@dataclass(slots=True)
class Tag:
    """An owner's number at the engine, and how many open orders it stands for."""

    number: int
    owner: bytes
    orders: int = 0


class Ledger:
    """What belongs to whom: the part of the state that admission and clearing share.

    Attributes:
        markets: by number of the instrument.
        feeds: what is known of underlyings, by number.
        time: of the slot in work.
        fees: balance in quanta.
        slot_fees: fees of the slot in work.
        fill_fees: fee of each fill of the last slot: of each trade, the taker's and then the maker's.
        accounts: by index; 0 is the venue's own.
        by_owner: users' accounts by owner, then by subaccount.
        rules: in force, None before the first.
        rules_from: slot that brought them.
        waiting: indices of empty accounts, and from which batch on each may be given again.
        orders: those that rest, and within a slot those that it sent, by handle.
        reducing: reduce-only ones among them.
        strategies: by place; ``places`` are free ones, as a heap.
        planned: places whose leaf may have changed.
        client_ids: id of the order that has a handle, or had it last, by handle.
        handles: free ones, as a heap; the lowest goes first, as in the driver.
        freed: handles that come free with the slot's end.
        tags: an owner's number at the engine and how many orders he has, while he has any.
        free_tags: as a heap; the lowest goes first.
        timed: accounts with a timer, by index.
        changed, signed: indices of accounts whose account leaf, whose control leaf may have changed.
        tagged: tags that were given out or came free.
        moved: orders whose leaf may have changed, by handle.
        priced, observed: numbers of instruments, of underlyings whose leaf may have changed.
        waited: indices that began to wait, or wait no more.
        unhealthy: indices of accounts below maintenance, as :mod:`hawse.state.liquidating` last saw them.
    """

    def __init__(self, config: VenueConfig) -> None:
        self.feeds = {u.number: Feed(u) for u in config.underlyings}
        heard = {number: feed for number, feed in self.feeds.items() if feed.terms.publishers}
        self.markets = {
            i.number: Market(i, i.first_mark, feed=heard.get(i.underlying)) for i in config.instruments
        }
        self.time = 0
        self.fees = 0
        self.slot_fees = 0
        self.fill_fees: list[int] = []
        self.accounts = [Account(INSURANCE, bytes(20), 0)]
        self.by_owner: dict[bytes, dict[int, Account]] = {}
        self.rules: RuleSet | None = None
        self.rules_from = 0
        self.waiting: dict[int, int] = {}
        self.waited: set[int] = set()
        self.unhealthy: set[int] = set()
        self._liquidation_fee_ppm = config.liquidation.fee_ppm
        self._reuse_batches = config.reuse_batches
        #: Of ``waiting``, those that the slot in work may give again, the lowest last; None: not looked yet.
        self._ripe: list[int] | None = None
        self.orders: dict[int, Order] = {}
        self.reducing: dict[int, Order] = {}
        self.strategies: dict[int, Strategy] = {}
        self.places = list(range(config.geometry.orders))
        self._left: list[int] = []
        self.planned: set[int] = set()
        self.client_ids = np.zeros(config.geometry.orders, np.uint64)
        self.handles = list(range(config.geometry.orders))
        self.freed: list[int] = []
        self.tags: dict[bytes, Tag] = {}
        self.free_tags = list(range(1, 1 << config.geometry.tag_bits))
        self.tagged: set[int] = set()
        self.timed: dict[int, Account] = {}
        self.changed: set[int] = {INSURANCE}
        self.signed: set[int] = {INSURANCE}
        self.moved: dict[int, Order] = {}
        self.priced: set[int] = set(self.markets)
        self.observed: set[int] = set(self.feeds)

    @property
    def insurance(self) -> int:
        """Insurance, in quanta."""
        return self.accounts[INSURANCE].collateral

    # Accounts

    def account_of(self, owner: bytes, subaccount: int = 0) -> Account | None:
        """An owner's subaccount, if there is one."""
        return self.by_owner.get(owner, {}).get(subaccount)

    def open_account(self, owner: bytes, generation: int, subaccount: int = 0, batch: int = 0) -> Account:
        """A new account, at the lowest index that may be given again in ``batch``, else at the next."""
        index = self._given_again(batch)
        account = Account(index, owner, generation, subaccount)
        self.accounts[index : index + 1] = [account]
        mine = self.by_owner.setdefault(owner, {})
        mine[subaccount] = account
        account.flags = mine[0].flags if 0 in mine else 0
        self.changed.add(index)
        self.signed.add(index)
        return account

    def _given_again(self, batch: int) -> int:
        """The index of a new account; the empty one that has it is nobody's from now on.

        Within a slot none begins to wait, and one that is not empty stays so: what waits is looked through
        once, however many accounts are opened.
        """
        if not self.waiting:
            return len(self.accounts)
        if self._ripe is None:
            self._ripe = sorted((i for i, until in self.waiting.items() if until <= batch), reverse=True)
        while self._ripe:
            gone = self.accounts[self._ripe.pop()]
            if gone.index in self.waiting and self.is_empty(gone):
                break
        else:
            return len(self.accounts)
        self._wait_no_more(gone)
        self.timed.pop(gone.index, None)
        for strategy in [*gone.strategies.values()]:
            self.unregister(strategy)
        others = self.by_owner[gone.owner]
        del others[gone.subaccount]
        if others:
            self.changed.add(others[0].index)  # it may be the owner's last
        else:
            del self.by_owner[gone.owner]
        return gone.index

    def credit(self, account: Account, amount: int) -> None:
        """Add quanta to an account; it is not empty any more."""
        account.collateral += amount
        self.changed.add(account.index)
        self._wait_no_more(account)

    def set_flags(self, owner: bytes, flags: int) -> None:
        """What is known of an owner from now on, in all his accounts."""
        for account in self.by_owner[owner].values():
            account.flags = flags
            self.changed.add(account.index)

    def could_hold(self, owner: bytes, number: int) -> int:
        """Lots of an instrument that all accounts of an owner together may come to hold, long or short."""
        total = 0
        for account in self.by_owner[owner].values():
            position, opened = account.positions.get(number), account.open.get(number, Exposure())
            size = position.size if position else 0
            total += max(abs(size), abs(size + opened.lots[Side.BUY]), abs(size - opened.lots[Side.SELL]))
        return total

    def is_empty(self, account: Account) -> bool:
        """Whether an account could be done without; a main account has to outlast its owner's others."""
        alone = account.subaccount or len(self.by_owner[account.owner]) == 1
        return bool(alone) and account.is_bare()

    def _wait_no_more(self, account: Account) -> None:
        if self.waiting.pop(account.index, None):
            self.waited.add(account.index)

    def _let_wait(self, batch: int) -> None:
        """Indices of accounts that the slot has emptied wait; those of accounts in use do not."""
        touched = self.changed | self.signed | {order.account.index for order in self.moved.values()}
        for index in touched - {INSURANCE}:
            account = self.accounts[index]
            if not self.is_empty(account):
                self._wait_no_more(account)
            elif index not in self.waiting:
                self.waiting[index] = batch + self._reuse_batches
                self.waited.add(index)

    def at_mark(self, account: Account) -> list[tuple[Instrument, int, int, int]]:
        """(instrument, size, entry value, mark) of each position, as :mod:`hawse.risk.margin` takes them.

        By instrument: which amount leaves int64 first is the same whatever came before.
        """
        markets = self.markets
        return [
            (markets[n].terms, p.size, p.entry, markets[n].mark) for n, p in sorted(account.positions.items())
        ]

    def equity(self, account: Account) -> int:
        """Collateral and unrealised profit at mark, less unpaid funding, each position rounded down."""
        return margin.equity(account.collateral - self.unpaid(account), self.at_mark(account))

    def unpaid(self, account: Account) -> int:
        """Funding that an account's positions owe (negative: get), in quanta, each rounded up."""
        return sum(self.markets[n].owed(position) for n, position in account.positions.items())

    def requirement(self, account: Account, number: int, side: int = 0, price: int = 0, lots: int = 0) -> int:
        """What an instrument holds of an account's free collateral, with one more order if there are lots."""
        market, none = self.markets[number], Exposure()
        e, position = account.open.get(number, none), account.positions.get(number)
        loss, basis = margin.order_weight(market.terms, side, price, lots, market.mark)
        buy, sell = e.lots[Side.BUY], e.lots[Side.SELL]
        buy, sell = (buy, sell + lots) if side else (buy + lots, sell)
        size = position.size if position else 0
        return margin.requirement(market.terms, market.mark, size, buy, sell, e.loss + loss, e.basis + basis)

    def free_collateral(self, account: Account) -> int:
        """Equity without what the instruments hold; may be negative."""
        equity, touched = self.equity(account), sorted(account.positions.keys() | account.open)
        held = sum(self.requirement(account, number) for number in touched)
        return margin.money(equity - held, "free collateral")

    def free_left(self, account: Account, slot: int) -> int:
        """Free collateral at the slot's start, less what the slot has taken of it."""
        if account.free_slot != slot:
            account.free, account.free_slot = self.free_collateral(account), slot
        return account.free

    def solvency(self, account: Account, free: int) -> int:
        """With ``free`` collateral, equity if every open order costs what it may; may be negative.

        Initial margin is not lost yet: what closes a position may use it.
        """
        held = free
        for number in sorted(account.positions.keys() | account.open.keys()):
            market, position = self.markets[number], account.positions.get(number)
            lots = account.open.get(number, Exposure()).lots
            worst = margin.worst_of_three(position.size if position else 0, *lots)
            held += margin.initial_margin(market.terms, market.mark, worst)
        return held

    def withdrawable(self, account: Account, free: int) -> int:
        """Of ``free`` collateral, what a withdrawal may take: profit that nobody has paid yet stays.

        Nothing leaves an account while an instrument that it holds has no valid mark.
        """
        if self.unmarked(account) is not None:
            return 0
        for (_, position), at_mark in zip(
            sorted(account.positions.items()), self.at_mark(account), strict=True
        ):
            owed = self.markets[at_mark[0].number].owed(position)
            free -= max(0, margin.unrealised(*at_mark) - owed)
        return max(0, min(account.collateral, free))

    def unmarked(self, account: Account) -> Market | None:
        """The first instrument that an account holds and whose mark no quorum stands behind, if any."""
        return next((self.markets[n] for n in sorted(account.positions) if not self.markets[n].valid), None)

    def shortfall(self) -> int:
        """What accounts below zero owe at mark, in quanta."""
        return sum(max(0, -self.equity(account)) for account in self.accounts)

    def set_timer(self, account: Account, time: int) -> None:
        """When the machine cancels all orders of an account; 0 for never."""
        account.timer = time
        if time:
            self.timed[account.index] = account
        else:
            self.timed.pop(account.index, None)
        self.signed.add(account.index)

    # Strategies

    def register(self, strategy: Strategy) -> None:
        """It gets the lowest free place."""
        strategy.place = heappop(self.places)
        self.strategies[strategy.place] = strategy
        strategy.account.strategies[strategy.client_id] = strategy
        self.planned.add(strategy.place)

    def unregister(self, strategy: Strategy) -> None:
        """It is over; its place comes free with the slot's end."""
        del self.strategies[strategy.place], strategy.account.strategies[strategy.client_id]
        self.planned.add(strategy.place)
        self._left.append(strategy.place)

    # Orders

    def hold(self, order: Order, price: int, lots: int) -> None:
        """Count so many more lots of an order at ``price`` (negative: fewer) in its account's exposure."""
        market, opened = self.markets[order.instrument], order.account.open
        e = opened.setdefault(order.instrument, Exposure())
        loss, basis = margin.order_weight(market.terms, order.side, price, lots, market.mark)
        e.lots[order.side] += lots
        e.loss, e.basis = e.loss + loss, e.basis + basis
        if not any(e.lots):
            del opened[order.instrument]

    def set_mark(self, number: int, mark: int, time: int) -> None:
        """A new mark, between two slots: what the resting orders may lose is another."""
        market = self.markets[number]
        market.mark, market.mark_time = mark, time
        self.priced.add(number)
        mine = [order for order in self.orders.values() if order.instrument == number]
        for order in mine:
            order.account.open.pop(number, None)
        for order in mine:
            self.hold(order, order.price, order.held)

    def set_status(self, number: int, status: Status) -> None:
        """What may be done with an instrument from now on."""
        self.markets[number].status = status
        self.priced.add(number)

    def add(self, order: Order) -> None:
        """An order is on its way to the engine."""
        self.orders[order.handle] = order
        if not order.why:
            order.account.orders[order.client_id] = order
        self.client_ids[order.handle] = order.client_id
        if order.reduce_only:
            self.reducing[order.handle] = order
            order.account.reducing += 1
        self._tag(order.account.owner)
        self._count(order, order.remaining)
        order.peak = order.remaining

    def _tag(self, owner: bytes) -> None:
        tag = self.tags.get(owner)
        if tag is None:
            tag = self.tags[owner] = Tag(heappop(self.free_tags), owner)
            self.tagged.add(tag.number)
        tag.orders += 1

    def tag_of(self, account: Account) -> int:
        """The number that the engine knows the account's owner by."""
        return self.tags[account.owner].number

    def _count(self, order: Order, held: int) -> None:
        """Let the exposure count ``held`` lots of an order at its price."""
        self.hold(order, order.price, held - order.held)
        order.held = held

    def rest(self, order: Order) -> None:
        """An order takes its place in the book."""
        order.resting = True
        self.moved[order.handle] = order

    def replace(self, order: Order, price: int, quantity: int, queue: int) -> None:
        """An order leaves its place, to arrive anew."""
        order.resting = False
        self.moved[order.handle] = order
        self._count(order, 0)
        order.price, order.remaining, order.queue = price, quantity, queue
        self._count(order, quantity)

    def trim(self, order: Order, left: int) -> None:
        """The machine takes an order back before all else in the slot, but for ``left`` lots."""
        self._count(order, left)
        order.peak, order.dropped = left, not left

    def end(self, order: Order) -> None:
        """An order is over; its handle comes free with the slot's end."""
        if order.resting:
            order.resting = False
            self.moved[order.handle] = order
        self._count(order, 0)
        del self.orders[order.handle]
        if not order.why:
            del order.account.orders[order.client_id]
        if order.reduce_only:
            del self.reducing[order.handle]
            order.account.reducing -= 1
        order.remaining = 0
        self.freed.append(order.handle)
        self.tags[order.account.owner].orders -= 1

    def shrink(self, order: Order, remaining: int) -> None:
        """Less of an order remains."""
        if order.resting:
            self.moved[order.handle] = order
        order.remaining = order.peak = remaining
        self._count(order, remaining)

    def end_slot(self, batch: int) -> None:
        """Handles and tags of which the engine has no order any more come free: its fence is behind them.

        So do the indices of accounts that are empty, a number of batches behind ``batch``.
        """
        self._ripe = None
        self._let_wait(batch)
        for handle in self.freed:
            heappush(self.handles, handle)
        self.freed.clear()
        for place in self._left:
            heappush(self.places, place)
        self._left.clear()
        for owner in [owner for owner, tag in self.tags.items() if not tag.orders]:
            number = self.tags.pop(owner).number
            heappush(self.free_tags, number)
            self.tagged.add(number)

    # Trades

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
        market.last_trade, market.trade_time = price, self.time
        collateral = account.collateral - fee + self._move(account, market, quantity, price)
        account.collateral = margin.money(collateral, f"collateral of account {account.index}")
        self.changed.add(account.index)
        self.priced.add(terms.number)
        return fee

    def close(self, account: Account, market: Market, quantity: int, price: int, why: Reason) -> int:
        """The same for an order of the machine, whose fee is never beyond what equity is left.

        Of a liquidation it is the insurance's; insurance itself pays none.
        """
        terms, rates = market.terms, {Reason.LIQUIDATE: self._liquidation_fee_ppm}
        rates[Reason.FORCED] = terms.taker_fee_ppm
        self.settle(account, terms.number, quantity, price)
        due = -(-abs(quantity * price) * terms.numerator * rates.get(why, 0) // (terms.denominator * PPM))
        equity = account.collateral - self.unpaid(account)
        equity += sum(
            (p.size * self.markets[n].mark - p.entry)
            * self.markets[n].terms.numerator
            // self.markets[n].terms.denominator
            for n, p in account.positions.items()
        )
        fee = min(due, max(0, equity))
        account.collateral = margin.money(account.collateral - fee, f"collateral of account {account.index}")
        self.fill_fees.append(fee)
        if why == Reason.LIQUIDATE:
            venue = self.accounts[INSURANCE]
            venue.collateral = margin.money(venue.collateral + fee, "insurance")
            self.changed.add(INSURANCE)
        else:
            self.slot_fees += fee
        return fee

    def settle(self, account: Account, number: int, quantity: int, price: int) -> None:
        """Move a position by ``quantity`` lots (negative: sold), and realise what that closes.

        Raises:
            MoneyOverflow: the position or the collateral leaves int64.
        """
        collateral = account.collateral + self._move(account, self.markets[number], quantity, price)
        account.collateral = margin.money(collateral, f"collateral of account {account.index}")
        account.free_slot = -1
        self.changed.add(account.index)
        self.priced.add(number)

    def _move(self, account: Account, market: Market, quantity: int, price: int) -> int:
        """The part of :meth:`fill` that concerns the position.

        Returns:
            The profit that is realised, less the funding that was owed until now.
        """
        terms, position = market.terms, account.positions.get(market.terms.number)
        if position is None:
            account.positions[terms.number] = Position(quantity, quantity * price, market.funding.cumulative)
            market.open_interest += max(quantity, 0)
            return 0
        paid = margin.money(market.owed(position), "funding")
        market.funding_dust += market.unpaid(position)[1]
        position.funding = market.funding.cumulative
        before, size = position.size, position.size + quantity
        market.open_interest += max(size, 0) - max(before, 0)
        if (before > 0) == (quantity > 0):
            position.size = size
            position.entry += quantity * price
            if abs(size) > _SIZE_MAX:
                raise MoneyOverflow(f"account {account.index}: a position", size, "lots")
            return -paid
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
        return profit - paid
