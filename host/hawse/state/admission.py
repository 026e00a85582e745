"""What of a slot's user commands reaches the engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop

import numpy as np
from numpy.typing import NDArray

from hawse.keys.eip712 import NO_STRUCT
from hawse.keys.members import MEMBERS
from hawse.keys.messages import MESSAGE, REDUCE_ONLY, MessageKind, split
from hawse.risk.margin import MONEY_MAX, MoneyOverflow, reservation
from hawse.wire import Opcode, Reason, SelfTrade, Side, TimeInForce
from hawse.wire.dtypes import Array

from .ledger import INSURANCE, Account, Ledger, Order
from .nonces import most_at
from .slot import Refusal

_NEW, _CANCEL, _REPLACE, _REDUCE = (
    int(o) for o in (Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE)
)
#: Kinds that are carried out.
CARRIED = (
    MessageKind.ORDER,
    MessageKind.CANCEL,
    MessageKind.REPLACE,
    MessageKind.REDUCE,
    MessageKind.WITHDRAW,
)
_IS_CARRIED = np.isin(np.arange(256), CARRIED)
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
        first_seq: sequence number of the slot's first input.
        inputs: how many inputs took one.
    """

    orders: Array
    refusals: tuple[Refusal, ...]
    first_seq: int
    inputs: int


@dataclass(slots=True)
class Sent:
    """A command at the engine, whose reports are awaited, and what came of it.

    ``reason``, ``have`` and ``need`` are those of its outcome leaf; ``value`` is of the lots filled at once,
    in tick·lots, ``fee`` in quanta.
    """

    seq: int
    opcode: int
    order: Order
    price: int
    quantity: int
    reserved: int
    reason: int = 0
    have: int = 0
    need: int = 0
    filled: int = 0
    value: int = 0
    fee: int = 0


class Admitter:
    """Judges the commands of one slot, one after another, and reserves what they may cost.

    A command's nonce is used up as soon as its signature and nonce are good, whatever later check refuses it.
    One that fails before leaves the nonce alone, for nobody has shown that he owns the account.

    Args:
        ledger: its nonces, collateral (by withdrawals) and orders (by NEWs) change.
        slot: number of the slot.
        time: of the slot.
        seq: of the last input before.
        pay: called with owner and amount of each withdrawal.
    """

    def __init__(
        self, ledger: Ledger, slot: int, time: int, seq: int, pay: Callable[[bytes, int], None]
    ) -> None:
        self._ledger = ledger
        self._slot = slot
        self._time = time
        self._most = most_at(time)
        self._pay = pay
        #: Sequence number of the last command.
        self.seq = seq
        #: Rows of wire ORDER.
        self.rows: list[tuple[int, ...]] = []
        #: What is at the engine, one for each row.
        self.sent: list[Sent] = []
        self.refusals: list[Refusal] = []

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
            if good and struct != NO_STRUCT:
                refusal = self._message(signer, row)
            else:
                refusal = self._refuse(Reason.REQUEST, *_what_is_wrong(heads[at]))
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
        kind, _, _, _, _, client_id, _, _, _, _, price, quantity, amount = row
        if kind == MessageKind.ORDER:
            return self._new(account, row)
        if kind == MessageKind.WITHDRAW:
            return self._withdraw(account, amount)
        order = account.orders.get(client_id)
        if order is None:
            return self._refuse(Reason.CLIENT_ID_UNKNOWN, 0, 1)
        if kind == MessageKind.REPLACE:
            return self._replace(account, order, price, quantity)
        self._send(_CANCEL if kind == MessageKind.CANCEL else _REDUCE, order, 0, quantity)
        return None

    def _new(self, account: Account, row: tuple[int, ...]) -> Refusal | None:
        _, _, _, _, _, client_id, instrument, side, tif, stp, price, quantity, _ = row
        ledger = self._ledger
        market = ledger.markets.get(instrument)
        if market is None:
            return self._refuse(Reason.NO_INSTRUMENT, instrument, max(ledger.markets))
        reserved = reservation(market.terms, side, price, quantity, market.mark)
        held = self._free(account)
        taken = account.orders.get(client_id)
        if taken is not None:
            return self._refuse(Reason.CLIENT_ID_USED, client_id, taken.handle)
        if not ledger.handles:
            return self._refuse(Reason.STORE_FULL, 0, 1)
        if held < reserved:
            return self._refuse(Reason.MARGIN, held, reserved)
        account.free = held - reserved
        handle, seq = heappop(ledger.handles), self.seq
        order = Order(
            client_id,
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
        ledger.add(order)
        flags = side | tif << 1 | stp << 3
        self.rows.append((_NEW, flags, instrument, 0, account.index, price, quantity, 0, seq, handle))
        self.sent.append(Sent(seq, _NEW, order, price, quantity, reserved))
        return None

    def _replace(self, account: Account, order: Order, price: int, quantity: int) -> Refusal | None:
        market = self._ledger.markets[order.instrument]
        reserved = reservation(market.terms, order.side, price, quantity, market.mark)
        if reserved > order.peak:
            held, more = self._free(account), reserved - order.peak
            if held < more:
                return self._refuse(Reason.MARGIN, held, more)
            account.free, order.peak = held - more, reserved
        self._send(_REPLACE, order, price, quantity, reserved)
        return None

    def _withdraw(self, account: Account, amount: int) -> Refusal | None:
        if amount > MONEY_MAX:
            return self._refuse(Reason.OVERFLOW, amount, MONEY_MAX)
        # Profit that is not realised is not collected from anybody yet, so that collateral limits too.
        if amount > account.collateral:
            return self._refuse(Reason.BALANCE, account.collateral, amount)
        held = self._free(account)
        if amount > held:
            return self._refuse(Reason.WITHDRAWABLE, held, amount)
        account.free = held - amount
        account.collateral -= amount
        self._ledger.changed.add(account.index)
        self._pay(account.owner, amount)
        return None

    def _send(self, opcode: int, order: Order, price: int, quantity: int, reserved: int = 0) -> None:
        """To the engine, which rejects what comes too late for its order."""
        seq, handle, tag = self.seq, order.handle, order.account.index
        self.rows.append((opcode, 0, order.instrument, 0, tag, price, quantity, 0, seq, handle))
        self.sent.append(Sent(seq, opcode, order, price, quantity, reserved))

    def _free(self, account: Account) -> int:
        """Free collateral, less what this slot has reserved."""
        if account.free_slot != self._slot:
            account.free, account.free_slot = self._ledger.free_collateral(account), self._slot
        return account.free


def _carried_out(heads: Array) -> NDArray[np.bool_]:
    """Of a kind that is carried out, and naming an order, or an amount to withdraw."""
    withdraw = heads["kind"] == MessageKind.WITHDRAW
    return np.asarray(
        _IS_CARRIED[heads["kind"]]
        & ((heads["kind"] != MessageKind.ORDER) | (heads["mode"] < REDUCE_ONLY))
        & (np.where(withdraw, heads["amount"], heads["client_id"]) != 0)
    )


def _what_is_wrong(row: np.void) -> tuple[int, int, int]:
    """Of a message that is not well formed: what it has, what it should have, and where.

    The third number, the refusal's detail, is the kind where that is not carried out, or not with this mode;
    else the offset of the field in the row.
    """
    kind, offsets = int(row["kind"]), MESSAGE.fields
    assert offsets is not None
    if kind not in CARRIED:
        return kind, 0, kind
    if kind == MessageKind.ORDER and REDUCE_ONLY <= row["mode"] <= REDUCE_ONLY + max(SelfTrade):
        return int(row["mode"]), int(row["mode"]) - REDUCE_ONLY, kind
    members = {m.column for m in MEMBERS[MessageKind(kind)]}
    most = {"side": max(Side), "time_in_force": max(TimeInForce), "mode": max(SelfTrade)}
    for name in _COLUMNS[1:]:
        value, at = int(row[name]), offsets[name][1]
        if name not in members and value:
            return value, 0, at
        if value > most.get(name, value):
            return value, most[name], at
        if name in members and name in ("client_id", "amount") and not value:
            return 0, 1, at
    raw = row.tobytes()[: offsets["signature"][1]]
    used = {at + n for name in _COLUMNS for dtype, at in [offsets[name][:2]] for n in range(dtype.itemsize)}
    return next((byte, 0, at) for at, byte in enumerate(raw) if byte and at not in used)


def _tail(address: bytes) -> int:
    """Last eight bytes of an address, as a refusal shows it."""
    return int.from_bytes(address[-8:], "big")


def _clamp(value: int) -> int:
    return max(-_I128, min(value, _I128 - 1))
