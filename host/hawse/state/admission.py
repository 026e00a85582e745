"""What of a slot's user commands reaches the engine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop

import numpy as np

from hawse.commit.leaves import ANY_INSTRUMENT
from hawse.instruments import Instrument, Status
from hawse.keys.eip712 import NO_STRUCT
from hawse.keys.messages import (
    BODIES,
    NO_INSTRUMENT,
    OWNER_ONLY,
    REDUCE_ONLY,
    MessageKind,
    split,
)
from hawse.risk import margin
from hawse.risk.margin import MONEY_MAX, MoneyOverflow
from hawse.wire import Opcode, Reason, SelfTrade, SequenceClass, Side, TimeInForce
from hawse.wire.dtypes import Array

from .agents import LIFE_MAX, MOST_AGENTS, USUAL_LIFE, appoint
from .config import VenueConfig
from .forms import COLUMNS, Wrong, carried_out, offset, what_is_wrong
from .ledger import INSURANCE, Account, Ledger, Market, Order, Strategy
from .nonces import LIMIT, NonceWindow, most_at
from .payments import Payments
from .slot import Event, Refusal, Request, RequestKind
from .strategies import register
from .sweep import Taken, newest

_NEW, _CANCEL, _REPLACE, _REDUCE = (
    int(o) for o in (Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE)
)
_MOVES_MONEY = frozenset({MessageKind.WITHDRAW, MessageKind.TRANSFER})
_I128 = 1 << 127


@dataclass(frozen=True)
class Admission:
    """What a slot lets through.

    Attributes:
        orders: rows of wire ORDER, the last a FENCE or CLOSE; an order's id is its handle.
        refusals: of inputs, in the order of their sequence number.
        events: what the machine takes back by itself, in the order of its commands.
        first_seq: sequence number of the slot's first input.
        inputs: how many inputs took one.
        command_seqs: sequence number of each message, of authorisations and of commands.
    """

    orders: Array
    refusals: tuple[Refusal, ...]
    events: tuple[Event, ...]
    first_seq: int
    inputs: int
    command_seqs: tuple[int, ...]


@dataclass(slots=True)
class Sent:
    """A command at the engine, whose reports are awaited, and what came of it.

    ``reason``, ``have`` and ``need`` are those of its outcome leaf; ``value`` is of the lots filled at once,
    in tick·lots, ``fee`` in quanta. ``machine``: it is the machine's own.
    """

    seq: int
    opcode: int
    order: Order
    price: int
    quantity: int
    machine: bool = False
    reason: int = 0
    have: int = 0
    need: int = 0
    filled: int = 0
    value: int = 0
    fee: int = 0


@dataclass(frozen=True, slots=True)
class MachineInput:
    """A command of the machine itself: its sequence number, that of what caused it (0 the slot), and why."""

    seq: int
    cause: int
    reason: Reason
    row: tuple[int, ...]


class Admitter:
    """Judges the commands of one slot, one after another, and holds what they may cost.

    A command's nonce is used up as soon as its signature and nonce are good, whatever later check refuses it.
    One that fails before leaves the nonce alone, for nobody has shown that he owns the account.

    Args:
        config: of the venue.
        ledger: its nonces, collateral (by withdrawals) and orders (by NEWs) change.
        slot: number of the slot.
        time: of the slot.
        seq: of the last input before.
        payments: of the slot.
    """

    def __init__(
        self,
        config: VenueConfig,
        ledger: Ledger,
        slot: int,
        time: int,
        seq: int,
        payments: Payments,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._slot = slot
        self._time = time
        self._most = most_at(time)
        self._payments = payments
        #: Sequence number of the last command, and of the message in work.
        self.seq = self._message_seq = seq
        #: Rows of wire ORDER.
        self.rows: list[tuple[int, ...]] = []
        #: What is at the engine, one for each row.
        self.sent: list[Sent] = []
        self.refusals: list[Refusal] = []
        self.events: list[Event] = []
        self.machine: list[MachineInput] = []
        #: Of each message, and of the appointment of the agent that signed it, 0 for the owner or nobody.
        self.command_seqs: list[int] = []
        self.appointments: list[int] = []
        #: Of each forced request.
        self.request_seqs: list[int] = []
        #: Accounts all of whose orders go, each with the request that wants it; and whose positions too.
        self._leaving: list[tuple[Account, int]] = []
        self.exits: dict[int, int] = {}

    def take_back(self, taken: Iterable[Taken], cause: int = 0) -> None:
        """The machine's own commands: orders that go, or are reduced.

        Args:
            taken: orders, lots that are left of each, and why.
            cause: sequence number of the message that they make room for, 0 for none.
        """
        for order, left, event in taken:
            self._take(order, left, event.reason, cause)
            self.events.append(event)

    def _take(self, order: Order, left: int, reason: Reason, cause: int) -> None:
        self.seq += 1
        self._send(_REDUCE if left else _CANCEL, order, 0, left, machine=True)
        self.machine.append(MachineInput(self.seq, cause, reason, self.rows[-1]))

    def close(
        self, account: Account, instrument: int, lots: int, price: int, event: Event, cause: int = 0
    ) -> Reason:
        """An order of the machine that closes ``lots`` (negative: short), if engine and owner have a number.

        It is immediate or cancel, and takes its owner's orders out of the way.

        Returns:
            NONE, or why none was sent.
        """
        ledger = self._ledger
        if not ledger.handles:
            return Reason.STORE_FULL
        if account.owner not in ledger.tags and not ledger.free_tags:
            return Reason.TAGS_FULL
        side, tif, mode = Side.SELL if lots > 0 else Side.BUY, TimeInForce.IOC, SelfTrade.CANCEL_OLDEST
        self.seq += 1
        handle, lots = heappop(ledger.handles), abs(lots)
        order = Order(
            0, account, handle, instrument, side, tif, mode, price, lots, self.seq, why=event.reason
        )
        ledger.add(order)
        account.free_slot = -1  # what it may cost is not free for what the account sends behind it
        self._send(_NEW, order, price, lots, side | tif << 1 | mode << 3, machine=True)
        self.machine.append(MachineInput(self.seq, cause, event.reason, self.rows[-1]))
        self.events.append(event)
        return Reason.NONE

    def act(self, strategy: Strategy, side: int, lots: int, price: int) -> None:
        """An order of a strategy, if its account carries it; else an event that says why not."""
        ledger, account, number = self._ledger, strategy.account, strategy.instrument
        tif, mode, why = TimeInForce.IOC, SelfTrade.CANCEL_OLDEST, Reason.STRATEGY
        self.seq += 1
        refusal = self._quotas(account, number)
        if refusal is None:
            handle = ledger.handles[0]
            order = Order(0, account, handle, number, side, tif, mode, price, lots, 0, why=why)
            try:
                refusal = self._carried(order, ledger.markets[number], price, lots)
            except MoneyOverflow as error:
                refusal = self._refuse(Reason.OVERFLOW, error.value, MONEY_MAX)
        if refusal is not None:
            self.seq -= 1
            self.events.append(Event(refusal.reason, account.index, number, refusal.have, refusal.need))
            return
        heappop(ledger.handles)
        order.queue, order.strategy = self.seq, strategy
        ledger.add(order)
        self._send(_NEW, order, price, lots, side | tif << 1 | mode << 3, machine=True)
        self.machine.append(MachineInput(self.seq, strategy.queue, why, self.rows[-1]))
        signed = lots if side == Side.BUY else -lots
        self.events.append(Event(why, account.index, number, strategy.client_id, signed))

    def admit(self, rows: Array, signers: Sequence[bytes | None], structs: Sequence[bytes]) -> None:
        """Judge messages (rows of MESSAGE); also called for authorisations, which come before commands.

        Args:
            rows: of m messages.
            signers: address that signed each, None if none did.
            structs: struct hash of each, zeros where it is no message.
        """
        places = split(rows)
        heads = rows[places.starts]
        columns = zip(*(heads[name].tolist() for name in COLUMNS), strict=True)
        formed = carried_out(heads).tolist()
        for at, (good, struct, signer, row) in enumerate(zip(formed, structs, signers, columns, strict=True)):
            self.seq += 1
            self._message_seq, self._appointment = self.seq, 0
            body = rows[places.bodies[at]] if places.bodies[at] >= 0 else None
            if good and struct != NO_STRUCT:
                refusal = self._message(signer, row, body)
            else:
                refusal = self._refuse(Reason.REQUEST, *what_is_wrong(heads[at], body))
            self.command_seqs.append(self._message_seq)
            self.appointments.append(self._appointment)
            if refusal is not None:
                self.refusals.append(refusal)

    def _message(self, signer: bytes | None, row: tuple[int, ...], body: np.void | None) -> Refusal | None:
        """Whether who signed it may, and it comes in time; then what it asks for."""
        kind, index, generation, nonce, expiry, *_ = row
        account = self._account(index, generation)
        if isinstance(account, Wrong):
            return self._refused(account)
        signed = self._window(account, signer, kind)
        if isinstance(signed, Wrong):
            return self._refused(signed)
        nonces, life = signed
        used = nonces.take(nonce, self._most)
        if used is not None:
            return self._refuse(used[0], nonce, used[1])
        self._ledger.signed.add(index)
        if expiry < self._time or not expiry:
            return self._refuse(Reason.EXPIRED, expiry, self._time)
        if life is not None and expiry > nonce + life:
            return self._refuse(Reason.EXPIRY_LONG, expiry, nonce + life)
        try:
            if kind == MessageKind.REGISTER:
                assert body is not None
                wrong = register(self._ledger, account, row, body, self._time, self.seq)
                return self._refused(wrong)
            if kind in _MOVES_MONEY or body is not None:
                return self._refused(self._of_the_owner(account, row, body))
            return self._judge(account, row, nonces)
        except MoneyOverflow as error:
            return self._refuse(Reason.OVERFLOW, error.value, MONEY_MAX)

    def _account(self, index: int, generation: int) -> Account | Wrong:
        """The user's account of that index, if it is in that life."""
        accounts = self._ledger.accounts
        if not INSURANCE < index < len(accounts):
            return Wrong(Reason.ACCOUNT, index, len(accounts))
        account = accounts[index]
        if account.generation != generation:
            return Wrong(Reason.GONE, generation, account.generation)
        return account

    def _window(
        self, account: Account, signer: bytes | None, kind: int
    ) -> tuple[NonceWindow, int | None] | Wrong:
        """The nonces of who signed, and how long his commands may live (None: as long as he says)."""
        if signer == account.owner:
            return account.nonces, None
        if signer is None:
            return Wrong(Reason.SIGNATURE, 0, 1)
        agent = account.agents.get(signer)
        if agent is None:
            return Wrong(Reason.SIGNER, _tail(signer), _tail(account.owner))
        self._appointment = agent.appointed
        if agent.expiry < self._time:
            return Wrong(Reason.SIGNER, agent.expiry, self._time, 1)
        if kind in OWNER_ONLY:
            return Wrong(Reason.SIGNER, _tail(signer), _tail(account.owner), 2)
        return agent.nonces, agent.max_life

    def _refuse(self, reason: Reason, have: int, need: int, detail: int = 0) -> Refusal:
        return Refusal(self.seq, reason, detail, _clamp(have), _clamp(need))

    def _refused(self, wrong: Wrong | None) -> Refusal | None:
        return None if wrong is None else self._refuse(*wrong)

    def _of_the_owner(self, account: Account, row: tuple[int, ...], body: np.void | None) -> Wrong | None:
        """What nobody but the owner may ask for: money to go, or agents to come and go."""
        kind, _, _, _, _, _, subaccount, _, _, _, _, _, amount = row
        if kind == MessageKind.WITHDRAW:
            return self._payments.withdraw(account, amount)
        if kind == MessageKind.TRANSFER:
            return self._payments.transfer(account, subaccount, amount, self.seq)
        assert body is not None
        fields = body.view(BODIES[MessageKind(kind)])
        agent = fields["agent"].tobytes()
        if kind == MessageKind.REVOKE:
            return self._revoke(account, agent)
        return self._appoint(account, agent, int(fields["agent_expiry"]), int(fields["max_life"]))

    def forced(self, request: Request) -> None:
        """Carry out a request of the contract's queue, which its owner has sent by himself."""
        self.seq += 1
        self.request_seqs.append(self.seq)
        try:
            refusal = self._refused(self._forced(request))
        except MoneyOverflow as error:
            refusal = self._refuse(Reason.OVERFLOW, error.value, MONEY_MAX)
        if refusal is not None:
            self.refusals.append(refusal)

    def _forced(self, request: Request) -> Wrong | None:
        account = self._account(request.account, request.generation)
        if isinstance(account, Wrong):
            return account
        if request.owner != account.owner:
            return Wrong(Reason.SIGNER, _tail(request.owner), _tail(account.owner))
        if request.kind == RequestKind.APPOINT:
            if not request.expiry:
                return self._revoke(account, request.agent)
            return self._appoint(account, request.agent, request.expiry, 0)
        if request.kind == RequestKind.WITHDRAW:
            if not request.amount:
                return Wrong(Reason.REQUEST, 0, 1, offset("amount"))
            return self._payments.withdraw(account, request.amount)
        wrong = self._payments.withdraw_all(account) if request.kind == RequestKind.EXIT else None
        if wrong is None:
            self._leaving.append((account, self.seq))
            if request.kind == RequestKind.EXIT:
                self.exits.setdefault(account.index, self.seq)
        return wrong

    def cancel_forced(self) -> None:
        """Cancel the orders of those whose requests want it; until clearing they count."""
        for account, cause in self._leaving:
            for order in newest(account):
                order.dropped = True
                self._take(order, 0, Reason.FORCED, cause)

    def _appoint(self, account: Account, agent: bytes, expiry: int, life: int) -> Wrong | None:
        """Appoint an agent until ``expiry``, whose commands live for ``life`` milliseconds (0: as usual)."""
        if agent == account.owner or not any(agent):
            return Wrong(Reason.REQUEST, _tail(agent), _tail(agent) + 1, offset("agent"))
        if expiry >= LIMIT:
            return Wrong(Reason.REQUEST, expiry, LIMIT - 1, offset("agent_expiry"))
        if life > LIFE_MAX:
            return Wrong(Reason.REQUEST, life, LIFE_MAX, offset("max_life"))
        if expiry < self._time:
            return Wrong(Reason.EXPIRED, expiry, self._time, 1)
        if not appoint(account.agents, agent, expiry, life or USUAL_LIFE, self.seq, self._time):
            return Wrong(Reason.AGENTS_FULL, MOST_AGENTS + 1, MOST_AGENTS)
        self._ledger.signed.add(account.index)
        return None

    def _revoke(self, account: Account, address: bytes) -> Wrong | None:
        """From now on an agent may do nothing; its orders stay."""
        agent = account.agents.get(address)
        if agent is None:
            return Wrong(Reason.SIGNER, _tail(address), 0, 3)
        agent.expiry = 0
        self._ledger.signed.add(account.index)
        return None

    def _judge(self, account: Account, row: tuple[int, ...], nonces: NonceWindow) -> Refusal | None:
        kind, _, _, _, _, client_id, instrument, _, _, _, price, quantity, amount = row
        if kind == MessageKind.ORDER:
            return self._new(account, row)
        if kind == MessageKind.CANCEL_ALL:
            return self._cancel_all(account, instrument, amount, nonces)
        if kind == MessageKind.CANCEL_ALL_AFTER:
            return self._set_timer(account, amount)
        if kind == MessageKind.UNREGISTER:
            return self._unregister(account, client_id)
        order = account.orders.get(client_id)
        if order is None:
            return self._refuse(Reason.CLIENT_ID_UNKNOWN, 0, 1)
        if kind == MessageKind.REPLACE:
            return self._replace(order, price, quantity)
        if kind == MessageKind.REDUCE:
            refusal = self._too_small(self._ledger.markets[order.instrument], quantity)
            if refusal is not None:
                return refusal
        self._send(_CANCEL if kind == MessageKind.CANCEL else _REDUCE, order, 0, quantity)
        return None

    def _new(self, account: Account, row: tuple[int, ...]) -> Refusal | None:
        _, _, _, _, _, client_id, instrument, side, tif, mode, price, quantity, _ = row
        ledger = self._ledger
        market = ledger.markets.get(instrument)
        if market is None:
            return self._refuse(Reason.NO_INSTRUMENT, instrument, max(ledger.markets))
        if account.only not in (ANY_INSTRUMENT, instrument):
            return self._refuse(Reason.ISOLATED, instrument, account.only)
        if market.status != Status.OPEN:
            return self._refuse(Reason.STATE, market.status, Status.OPEN)
        taken = account.orders.get(client_id)
        if taken is not None:
            return self._refuse(Reason.CLIENT_ID_USED, client_id, taken.handle)
        refusal = self._quotas(account, instrument)
        if refusal is not None:
            return refusal
        order = Order(
            client_id,
            account,
            ledger.handles[0],
            instrument,
            side,
            tif,
            mode & 3,
            price,
            quantity,
            queue=0,
            reduce_only=mode >= REDUCE_ONLY,
        )
        refusal = self._carried(order, market, price, quantity)
        if refusal is not None:
            return refusal
        heappop(ledger.handles)
        order.queue = self.seq
        ledger.add(order)
        self._send(_NEW, order, price, quantity, side | tif << 1 | order.self_trade << 3)
        return None

    def _quotas(self, account: Account, instrument: int) -> Refusal | None:
        """Whether the account, its owner and the engine have room for one more order."""
        ledger, config = self._ledger, self._config
        tag = ledger.tags.get(account.owner)
        if tag and tag.orders >= config.order_quota:
            return self._refuse(Reason.ORDER_QUOTA, tag.orders, config.order_quota)
        touched = account.positions.keys() | account.open.keys()
        if instrument not in touched and len(touched) >= config.position_quota:
            return self._refuse(Reason.POSITION_QUOTA, len(touched), config.position_quota)
        if len(ledger.handles) <= config.reserved_handles:
            return self._refuse(Reason.STORE_FULL, 0, 1)
        if tag is None and len(ledger.free_tags) <= config.reserved_tags:
            return self._refuse(Reason.TAGS_FULL, 0, 1)
        return None

    def _replace(self, order: Order, price: int, quantity: int) -> Refusal | None:
        """Until clearing the old counts and the new, for the old may trade before it is replaced."""
        market = self._ledger.markets[order.instrument]
        if market.status != Status.OPEN:
            return self._refuse(Reason.STATE, market.status, Status.OPEN)
        refusal = self._carried(order, market, price, quantity, order.held)
        if refusal is not None:
            return refusal
        self._ledger.hold(order, price, quantity)
        order.peak = max(order.peak, quantity)
        self._send(_REPLACE, order, price, quantity, order.side)  # a gate draws on it
        return None

    def _carried(
        self, order: Order, market: Market, price: int, quantity: int, held: int = 0
    ) -> Refusal | None:
        """Whether its account may send an order of ``quantity`` lots at ``price``, and carries it.

        What it costs is then taken from free collateral; reduce-only orders for which it leaves no room go.

        Args:
            order: that is new, or is replaced.
            market: of its instrument.
            price, quantity: what is asked for.
            held: lots of the order that count already and that this takes the place of.
        """
        account, number, side = order.account, order.instrument, order.side
        if not market.valid:
            return self._refuse(Reason.NO_MARK, *market.quorum)
        position, opened = account.positions.get(number), account.open.get(number)
        lots = opened.lots[side] if opened else 0
        closable = abs(position.size) if position and (position.size > 0) == bool(side) else 0
        if quantity != closable or not quantity:  # a position that is small may be closed whole
            refusal = self._too_small(market, quantity)
            if refusal is not None:
                return refusal
        reduces = order.reduce_only or (closable and account.reducing)
        others = sum(o.peak for o in self._beside(order, reduce_only=False)) if reduces else 0
        if order.reduce_only and quantity > closable - others:
            return self._refuse(Reason.REDUCE_ONLY, max(0, closable - others), quantity)
        closes = lots + quantity <= closable
        # Beside others that may trade before they go, a reduce-only order may open.
        refusal = None if closes else self._may_grow(account, number, quantity)
        if refusal is not None:
            return refusal
        before = self._ledger.requirement(account, number)
        more = self._ledger.requirement(account, number, side, price, quantity) - before
        free = self._ledger.free_left(account, self._slot)
        if more > free and not (
            closes
            and margin.pays_for_itself(market.terms, side, price, quantity, market.mark)
            and more <= self._ledger.solvency(account, free)
        ):
            return self._refuse(Reason.MARGIN, free, more)
        account.free = free - more
        if reduces:
            self._make_room(order, closable - others - quantity)
        return None

    def _may_grow(self, account: Account, number: int, quantity: int) -> Refusal | None:
        """Whether marks stand behind all that the account holds, and rules let the owner have more lots.

        Nobody who cannot be liquidated takes more risk on profit at a mark that nobody stands behind.
        """
        unmarked = self._ledger.unmarked(account)
        if unmarked is not None:
            return self._refuse(Reason.NO_MARK, *unmarked.quorum)
        rules = self._ledger.rules
        if rules is None:
            return None
        broken = rules.broken(account.flags, self._ledger.could_hold(account.owner, number) + quantity)
        return None if broken is None else self._refuse(Reason.RULE, broken[1], rules.number, broken[0])

    def _too_small(self, market: Market, quantity: int) -> Refusal | None:
        terms: Instrument = market.terms
        if quantity < terms.minimum_quantity:
            return self._refuse(Reason.MIN_QUANTITY, quantity, terms.minimum_quantity)
        if terms.minimum_notional:
            worth = margin.notional(terms, market.mark, quantity)
            if worth < terms.minimum_notional:
                return self._refuse(Reason.MIN_NOTIONAL, worth, terms.minimum_notional)
        return None

    def _beside(self, order: Order, reduce_only: bool) -> list[Order]:
        """The account's other orders of the same instrument and side, newest first."""
        place = order.instrument, order.side, reduce_only
        mine = newest(order.account)
        return [o for o in mine if o is not order and (o.instrument, o.side, o.reduce_only) == place]

    def _make_room(self, order: Order, room: int) -> None:
        """Cancel other reduce-only orders, newest first, until those that stay fit into ``room``.

        They count until clearing: they may have traded before.
        """
        mine = self._beside(order, reduce_only=True)
        excess = sum(o.peak for o in mine) - max(0, room)
        taken: list[Taken] = []
        for o in mine:
            if excess <= 0:
                break
            excess -= o.peak
            o.dropped = True
            event = Event(Reason.TRIM, order.account.index, order.instrument, o.remaining, 0)
            taken.append((o, 0, event))
        if taken:
            self.seq -= 1
            self.take_back(taken, cause=self.seq + len(taken) + 1)
            self.seq += 1
            self._message_seq = self.seq

    def _cancel_all(
        self, account: Account, instrument: int, floor: int, nonces: NonceWindow
    ) -> Refusal | None:
        """The machine cancels each order; until clearing they count, for they may have traded before.

        ``floor`` is that of who signed.
        """
        if instrument != NO_INSTRUMENT and instrument not in self._ledger.markets:
            return self._refuse(Reason.NO_INSTRUMENT, instrument, max(self._ledger.markets))
        nonces.floor = max(nonces.floor, floor)
        for order in newest(account):
            if instrument in (NO_INSTRUMENT, order.instrument):
                order.dropped = True
                self._take(order, 0, Reason.MASS, self._message_seq)
        return None

    def _unregister(self, account: Account, client_id: int) -> Refusal | None:
        strategy = account.strategies.get(client_id)
        if strategy is None:
            return self._refuse(Reason.CLIENT_ID_UNKNOWN, 0, 1)
        self._ledger.unregister(strategy)
        return None

    def _set_timer(self, account: Account, delay: int) -> Refusal | None:
        """When the machine cancels all orders of an account that is not heard of before; 0 for never."""
        most = LIMIT - 1 - self._time
        if delay > most:
            return self._refuse(Reason.REQUEST, delay, most, offset("amount"))
        self._ledger.set_timer(account, self._time + delay if delay else 0)
        return None

    def _send(
        self, opcode: int, order: Order, price: int, quantity: int, flags: int = 0, machine: bool = False
    ) -> None:
        """To the engine, which rejects what comes too late for its order."""
        seq, handle, tag = self.seq, order.handle, self._ledger.tag_of(order.account)
        flags |= SequenceClass.MACHINE << 5 if machine else 0
        self.rows.append((opcode, flags, order.instrument, 0, tag, price, quantity, 0, seq, handle))
        self.sent.append(Sent(seq, opcode, order, price, quantity, machine))


def _tail(address: bytes) -> int:
    """Last eight bytes of an address, as a refusal shows it."""
    return int.from_bytes(address[-8:], "big")


def _clamp(value: int) -> int:
    return max(-_I128, min(value, _I128 - 1))
