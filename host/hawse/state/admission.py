"""What of a slot's user commands reaches the engine."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop

import numpy as np
from numpy.typing import NDArray

from hawse.instruments import Instrument
from hawse.keys.eip712 import NO_STRUCT
from hawse.keys.members import MEMBERS
from hawse.keys.messages import MESSAGE, NO_INSTRUMENT, REDUCE_ONLY, MessageKind, split
from hawse.risk import margin
from hawse.risk.margin import MONEY_MAX, MoneyOverflow
from hawse.wire import Opcode, Reason, SelfTrade, SequenceClass, Side, TimeInForce
from hawse.wire.dtypes import Array

from .config import VenueConfig
from .ledger import INSURANCE, Account, Ledger, Market, Order
from .nonces import LIMIT, most_at
from .slot import Event, Refusal
from .sweep import Taken, newest

_NEW, _CANCEL, _REPLACE, _REDUCE = (
    int(o) for o in (Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE)
)
#: Kinds that are carried out.
CARRIED = (
    MessageKind.ORDER,
    MessageKind.CANCEL,
    MessageKind.CANCEL_ALL,
    MessageKind.REPLACE,
    MessageKind.REDUCE,
    MessageKind.WITHDRAW,
    MessageKind.CANCEL_ALL_AFTER,
)
_NAME_ORDER = (MessageKind.ORDER, MessageKind.CANCEL, MessageKind.REPLACE, MessageKind.REDUCE)
_IS_CARRIED = np.isin(np.arange(256), CARRIED)
_NAMES_ORDER = np.isin(np.arange(256), _NAME_ORDER)
_NEVER_ZERO = {(int(kind), "client_id") for kind in _NAME_ORDER} | {(int(MessageKind.WITHDRAW), "amount")}
_I128 = 1 << 127
#: Fields of a message that are looked at, in the order in which the loop takes them.
_COLUMNS = (
    "kind",
    "account",
    "generation",
    "nonce",
    "expiry",
    "client_id",
    "instrument",
    "side",
    "time_in_force",
    "mode",
    "price",
    "quantity",
    "amount",
)


@dataclass(frozen=True)
class Admission:
    """What a slot lets through.

    Attributes:
        orders: rows of wire ORDER, the last a FENCE or CLOSE; an order's id is its handle.
        refusals: of inputs, in the order of their sequence number.
        events: what the machine takes back by itself, in the order of its commands.
        first_seq: sequence number of the slot's first input.
        inputs: how many inputs took one.
        command_seqs: sequence number of each message among the commands.
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
        pay: called with owner and amount of each withdrawal.
    """

    def __init__(
        self,
        config: VenueConfig,
        ledger: Ledger,
        slot: int,
        time: int,
        seq: int,
        pay: Callable[[bytes, int], None],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._slot = slot
        self._time = time
        self._most = most_at(time)
        self._pay = pay
        self._shortfall: int | None = None
        #: Sequence number of the last command, and of the message in work.
        self.seq = self._message_seq = seq
        #: Rows of wire ORDER.
        self.rows: list[tuple[int, ...]] = []
        #: What is at the engine, one for each row.
        self.sent: list[Sent] = []
        self.refusals: list[Refusal] = []
        self.events: list[Event] = []
        self.machine: list[MachineInput] = []
        #: Of each message.
        self.command_seqs: list[int] = []

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

    def admit(self, rows: Array, signers: Sequence[bytes | None], structs: Sequence[bytes]) -> None:
        """Judge messages (rows of MESSAGE).

        Args:
            rows: of m messages.
            signers: address that signed each, None if none did.
            structs: struct hash of each, zeros where it is no message.
        """
        heads = rows[split(rows).starts]
        columns = zip(*(heads[name].tolist() for name in _COLUMNS), strict=True)
        formed = _carried_out(heads).tolist()
        for at, (good, struct, signer, row) in enumerate(zip(formed, structs, signers, columns, strict=True)):
            self.seq += 1
            self._message_seq = self.seq
            if good and struct != NO_STRUCT:
                refusal = self._message(signer, row)
            else:
                refusal = self._refuse(Reason.REQUEST, *_what_is_wrong(heads[at]))
            self.command_seqs.append(self._message_seq)
            if refusal is not None:
                self.refusals.append(refusal)

    def _message(self, signer: bytes | None, row: tuple[int, ...]) -> Refusal | None:
        """Whether it is its owner's, and comes in time; then what it asks for."""
        accounts, (_, index, generation, nonce, expiry, *_) = self._ledger.accounts, row
        if not INSURANCE < index < len(accounts):
            return self._refuse(Reason.ACCOUNT, index, len(accounts))
        account = accounts[index]
        if account.generation != generation:
            return self._refuse(Reason.GONE, generation, account.generation)
        if signer != account.owner:
            if signer is None:
                return self._refuse(Reason.SIGNATURE, 0, 1)
            return self._refuse(Reason.SIGNER, _tail(signer), _tail(account.owner))
        wrong = account.nonces.take(nonce, self._most)
        if wrong is not None:
            return self._refuse(wrong[0], nonce, wrong[1])
        self._ledger.signed.add(index)
        if expiry < self._time or not expiry:
            return self._refuse(Reason.EXPIRED, expiry, self._time)
        try:
            return self._judge(account, row)
        except MoneyOverflow as error:
            return self._refuse(Reason.OVERFLOW, error.value, MONEY_MAX)

    def _refuse(self, reason: Reason, have: int, need: int, detail: int = 0) -> Refusal:
        return Refusal(self.seq, reason, detail, _clamp(have), _clamp(need))

    def _judge(self, account: Account, row: tuple[int, ...]) -> Refusal | None:
        kind, _, _, _, _, client_id, instrument, _, _, _, price, quantity, amount = row
        if kind == MessageKind.ORDER:
            return self._new(account, row)
        if kind == MessageKind.WITHDRAW:
            return self._withdraw(account, amount)
        if kind == MessageKind.CANCEL_ALL:
            return self._cancel_all(account, instrument, amount)
        if kind == MessageKind.CANCEL_ALL_AFTER:
            return self._set_timer(account, amount)
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
        if len(account.orders) >= config.order_quota:
            return self._refuse(Reason.ORDER_QUOTA, len(account.orders), config.order_quota)
        touched = account.positions.keys() | account.open.keys()
        if instrument not in touched and len(touched) >= config.position_quota:
            return self._refuse(Reason.POSITION_QUOTA, len(touched), config.position_quota)
        if not ledger.handles:
            return self._refuse(Reason.STORE_FULL, 0, 1)
        if account.owner not in ledger.tags and not ledger.free_tags:
            return self._refuse(Reason.TAGS_FULL, 0, 1)
        return None

    def _replace(self, order: Order, price: int, quantity: int) -> Refusal | None:
        """Until clearing the old counts and the new, for the old may trade before it is replaced."""
        refusal = self._carried(order, self._ledger.markets[order.instrument], price, quantity, order.held)
        if refusal is not None:
            return refusal
        self._ledger.hold(order, price, quantity)
        order.peak = max(order.peak, quantity)
        self._send(_REPLACE, order, price, quantity)
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
        before = self._ledger.requirement(account, number)
        more = self._ledger.requirement(account, number, side, price, quantity) - before
        free = self._free(account)
        closes = lots + quantity <= closable
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

    def _cancel_all(self, account: Account, instrument: int, floor: int) -> Refusal | None:
        """The machine cancels each order; until clearing they count, for they may have traded before."""
        if instrument != NO_INSTRUMENT and instrument not in self._ledger.markets:
            return self._refuse(Reason.NO_INSTRUMENT, instrument, max(self._ledger.markets))
        account.nonces.floor = max(account.nonces.floor, floor)
        for order in newest(account):
            if instrument in (NO_INSTRUMENT, order.instrument):
                order.dropped = True
                self._take(order, 0, Reason.MASS, self._message_seq)
        return None

    def _set_timer(self, account: Account, delay: int) -> Refusal | None:
        """When the machine cancels all orders of an account that is not heard of before; 0 for never."""
        most = LIMIT - 1 - self._time
        if delay > most:
            return self._refuse(Reason.REQUEST, delay, most, _offset("amount"))
        self._ledger.set_timer(account, self._time + delay if delay else 0)
        return None

    def _withdraw(self, account: Account, amount: int) -> Refusal | None:
        if amount > MONEY_MAX:
            return self._refuse(Reason.OVERFLOW, amount, MONEY_MAX)
        if amount > account.collateral:
            return self._refuse(Reason.BALANCE, account.collateral, amount)
        ledger, free = self._ledger, self._free(account)
        withdrawable = ledger.withdrawable(account, free)
        if amount > withdrawable:
            return self._refuse(Reason.WITHDRAWABLE, withdrawable, amount)
        if self._shortfall is None:
            self._shortfall = ledger.shortfall()
        if self._shortfall > ledger.insurance:
            return self._refuse(Reason.WITHDRAWABLE, ledger.insurance, self._shortfall, detail=1)
        account.free = free - amount
        account.collateral -= amount
        ledger.changed.add(account.index)
        self._pay(account.owner, amount)
        return None

    def _send(
        self, opcode: int, order: Order, price: int, quantity: int, flags: int = 0, machine: bool = False
    ) -> None:
        """To the engine, which rejects what comes too late for its order."""
        seq, handle, tag = self.seq, order.handle, self._ledger.tag_of(order.account)
        flags |= SequenceClass.MACHINE << 5 if machine else 0
        self.rows.append((opcode, flags, order.instrument, 0, tag, price, quantity, 0, seq, handle))
        self.sent.append(Sent(seq, opcode, order, price, quantity, machine))

    def _free(self, account: Account) -> int:
        """Free collateral, less what this slot has taken of it."""
        if account.free_slot != self._slot:
            account.free, account.free_slot = self._ledger.free_collateral(account), self._slot
        return account.free


def _carried_out(heads: Array) -> NDArray[np.bool_]:
    """Of a kind that is carried out, and naming what order, or what amount to withdraw."""
    kinds = heads["kind"]
    nameless = _NAMES_ORDER[kinds] & (heads["client_id"] == 0)
    nothing = (kinds == MessageKind.WITHDRAW) & (heads["amount"] == 0)
    return np.asarray(_IS_CARRIED[kinds] & ~nameless & ~nothing)


def _what_is_wrong(row: np.void) -> tuple[int, int, int]:
    """Of a message that is not well formed: what it has, what it should have, and where.

    The third number, the refusal's detail, is the kind where that is not carried out, else the offset of the
    field in the row.
    """
    kind = int(row["kind"])
    if kind not in CARRIED:
        return kind, 0, kind
    members = {m.column for m in MEMBERS[MessageKind(kind)]}
    most = {"side": max(Side), "time_in_force": max(TimeInForce), "mode": max(SelfTrade)}
    for name in _COLUMNS[1:]:
        value, at = int(row[name]), _offset(name)
        if name not in members and value:
            return value, 0, at
        limit = most.get(name, value)
        if name == "mode" and kind == MessageKind.ORDER:
            limit += value & REDUCE_ONLY
        if value > limit:
            return value, limit, at
        if not value and (kind, name) in _NEVER_ZERO:
            return 0, 1, at
    if kind == MessageKind.CANCEL_ALL and row["amount"] > row["nonce"]:
        return int(row["amount"]), int(row["nonce"]), _offset("amount")
    raw = row.tobytes()[: _offset("signature")]
    used = {_offset(name) + n for name in _COLUMNS for n in range(MESSAGE[name].itemsize)}
    return next((byte, 0, at) for at, byte in enumerate(raw) if byte and at not in used)


def _offset(name: str) -> int:
    """Of a field in the row of a message."""
    assert MESSAGE.fields is not None
    return MESSAGE.fields[name][1]


def _tail(address: bytes) -> int:
    """Last eight bytes of an address, as a refusal shows it."""
    return int.from_bytes(address[-8:], "big")


def _clamp(value: int) -> int:
    return max(-_I128, min(value, _I128 - 1))
