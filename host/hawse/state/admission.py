"""What of a slot's user commands reaches the engine."""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop

import numpy as np
from numpy.typing import NDArray

from hawse.keys.eip712 import canonical
from hawse.keys.messages import Request
from hawse.risk.margin import MONEY_MAX, MoneyOverflow, reservation
from hawse.wire import Opcode, SelfTrade, Side, TimeInForce
from hawse.wire.dtypes import Array

from .ledger import Account, Ledger, Order
from .slot import Refusal

_NEW, _CANCEL, _REPLACE, _REDUCE = (
    int(o) for o in (Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE)
)
#: Fields of a user command that are looked at, in the order in which the loop takes them.
_COLUMNS = (
    "request",
    "account",
    "nonce",
    "expiry",
    "order_id",
    "instrument",
    "side",
    "time_in_force",
    "self_trade",
    "price",
    "quantity",
    "amount",
)


@dataclass(frozen=True)
class Admission:
    """What a slot lets through.

    ``orders`` are rows of wire ORDER, the last a FENCE or CLOSE; ``refusals`` are (sequence number, reason).
    """

    orders: Array
    refusals: tuple[tuple[int, Refusal], ...]


@dataclass(slots=True)
class Sent:
    """A command at the engine, whose reports are awaited. ``order`` is None where the id is unknown."""

    seq: int
    opcode: int
    order_id: int
    instrument: int
    price: int
    quantity: int
    order: Order | None
    reserved: int


class Admitter:
    """Judges the commands of one slot, one after another, and reserves what they may cost.

    A command's nonce is used up as soon as its signature and nonce are good, whatever later check refuses it.
    One that fails before leaves the nonce alone, for nobody has shown that he owns the account.

    Args:
        ledger: its nonces, collateral (by withdrawals) and orders (by NEWs) change.
        slot: number of the slot.
        time: of the slot.
        seq: of the last command before.
        pay: called with owner and amount of each withdrawal.
    """

    def __init__(
        self, ledger: Ledger, slot: int, time: int, seq: int, pay: Callable[[bytes, int], None]
    ) -> None:
        self._ledger = ledger
        self._slot = slot
        self._time = time
        self._pay = pay
        self._some_instrument = min(ledger.instruments)
        #: Sequence number of the last command.
        self.seq = seq
        #: Rows of wire ORDER.
        self.rows: list[tuple[int, ...]] = []
        #: What is at the engine, one for each row.
        self.sent: list[Sent] = []
        self.refusals: list[tuple[int, Refusal]] = []

    def admit(self, commands: Array, signature_ok: NDArray[np.bool_]) -> None:
        """Judge rows of USER_COMMAND, each with whether its signature is good."""
        accounts, changed = self._ledger.accounts, self._ledger.changed
        columns = zip(*(commands[name].tolist() for name in _COLUMNS), strict=True)
        for formed, signed, row in zip(
            _well_formed(commands).tolist(), signature_ok.tolist(), columns, strict=True
        ):
            self.seq += 1
            _, number, nonce, *_ = row
            reason: Refusal | None
            if not formed:
                reason = Refusal.REQUEST
            elif not 0 < number <= len(accounts):
                reason = Refusal.ACCOUNT
            elif not signed:
                reason = Refusal.SIGNATURE
            elif nonce <= accounts[number - 1].nonce:
                reason = Refusal.NONCE
            else:
                account = accounts[number - 1]
                account.nonce = nonce
                changed.add(number)
                try:
                    reason = self._judge(account, row)
                except MoneyOverflow:
                    reason = Refusal.OVERFLOW
            if reason is not None:
                self.refusals.append((self.seq, reason))

    def _judge(self, account: Account, row: tuple[int, ...]) -> Refusal | None:
        request, _, _, expiry, order_id, instrument, side, tif, stp, price, quantity, amount = row
        if expiry and expiry < self._time:
            return Refusal.EXPIRED
        if request == Request.NEW:
            return self._new(account, order_id, instrument, side, tif, stp, price, quantity)
        if request == Request.WITHDRAW:
            return self._withdraw(account, amount)
        order = self._ledger.orders.get(order_id)
        if request == Request.REPLACE:
            return self._replace(account, order, order_id, price, quantity)
        if order is not None and order.account is not account:
            return Refusal.NOT_OWNER
        self._send(_CANCEL if request == Request.CANCEL else _REDUCE, account, order, order_id, 0, quantity)
        return None

    def _new(
        self,
        account: Account,
        order_id: int,
        instrument: int,
        side: int,
        tif: int,
        stp: int,
        price: int,
        quantity: int,
    ) -> Refusal | None:
        ledger = self._ledger
        terms = ledger.instruments.get(instrument)
        if terms is None:
            return Refusal.INSTRUMENT
        reserved = reservation(terms, side, price, quantity, ledger.marks[instrument])
        free = self._free(account) - reserved
        if order_id in ledger.orders:
            return Refusal.DUPLICATE_ORDER
        if not ledger.handles:
            return Refusal.STORE_FULL
        if free < 0:
            return Refusal.MARGIN
        account.free = free
        handle, seq = heappop(ledger.handles), self.seq
        order = Order(
            order_id,
            account,
            handle,
            instrument,
            side,
            tif,
            stp,
            price,
            quantity,
            seq,
            reserved,
            reserved,
        )
        ledger.orders[order_id] = order
        flags = side | tif << 1 | stp << 3
        self.rows.append((_NEW, flags, instrument, 0, account.index, price, quantity, 0, seq, order_id))
        self.sent.append(Sent(seq, _NEW, order_id, instrument, price, quantity, order, reserved))
        return None

    def _replace(
        self, account: Account, order: Order | None, order_id: int, price: int, quantity: int
    ) -> Refusal | None:
        reserved = 0
        if order is not None:
            ledger, instrument = self._ledger, order.instrument
            reserved = reservation(
                ledger.instruments[instrument], order.side, price, quantity, ledger.marks[instrument]
            )
            if order.account is not account:
                return Refusal.NOT_OWNER
            if reserved > order.peak:
                free = self._free(account) - (reserved - order.peak)
                if free < 0:
                    return Refusal.MARGIN
                account.free, order.peak = free, reserved
        self._send(_REPLACE, account, order, order_id, price, quantity, reserved)
        return None

    def _withdraw(self, account: Account, amount: int) -> Refusal | None:
        if amount > MONEY_MAX:
            return Refusal.OVERFLOW
        free = self._free(account) - amount
        # Profit that is not realised is not collected from anybody yet, so that collateral limits too.
        if free < 0 or amount > account.collateral:
            return Refusal.BALANCE
        account.free = free
        account.collateral -= amount
        self._pay(account.owner, amount)
        return None

    def _send(
        self,
        opcode: int,
        account: Account,
        order: Order | None,
        order_id: int,
        price: int,
        quantity: int,
        reserved: int = 0,
    ) -> None:
        """To the engine, which also rejects what names an unknown order, whatever instrument stands there."""
        instrument = self._some_instrument if order is None else order.instrument
        self.rows.append((opcode, 0, instrument, 0, account.index, price, quantity, 0, self.seq, order_id))
        self.sent.append(Sent(self.seq, opcode, order_id, instrument, price, quantity, order, reserved))

    def _free(self, account: Account) -> int:
        """Free collateral, less what this slot has reserved."""
        if account.free_slot != self._slot:
            account.free, account.free_slot = self._ledger.free_collateral(account), self._slot
        return account.free


def _well_formed(commands: Array) -> NDArray[np.bool_]:
    """Canonical rows whose enumerations are defined, and which name an order, or an amount to withdraw."""
    withdraw = commands["request"] == Request.WITHDRAW
    return np.asarray(
        canonical(commands)
        & (commands["side"] <= max(Side))
        & (commands["time_in_force"] <= max(TimeInForce))
        & (commands["self_trade"] <= max(SelfTrade))
        & (np.where(withdraw, commands["amount"], commands["order_id"]) != 0)
    )
