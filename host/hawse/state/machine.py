"""The transition function: slot by slot, from inputs and reports to accounts, orders and commitments."""

import json
from collections.abc import Sequence
from enum import Enum
from fractions import Fraction
from heapq import heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiny_keccak import keccak256

from hawse.commit import exits, leaves
from hawse.commit.exits import Exit
from hawse.commit.tree import EMPTY_LEAF, SparseTree
from hawse.commit.withdrawals import Withdrawal
from hawse.keys.messages import USER_COMMAND
from hawse.risk import margin
from hawse.wire import Opcode, TimeInForce
from hawse.wire.dtypes import EVENT, ORDER, Array

from .admission import Admission, Admitter, Sent
from .batch import BatchState
from .clearing import clear
from .config import PPM, VenueConfig
from .ledger import Account, Ledger, Order, Position
from .slot import Deposit, Refusal, SlotInput

#: First line of a snapshot. Digest of the body, rules hash, state root (32 bytes each) and body follow.
_MAGIC = b"hawse state 1\n"
#: Fields of an order in a snapshot.
_ORDER = (
    "id",
    "handle",
    "instrument",
    "side",
    "self_trade",
    "price",
    "remaining",
    "queue",
    "reserved",
)


class StateError(Exception):
    """A call that does not fit the machine's place between slots, or an input that no sequencer may send."""


class SnapshotError(Exception):
    """Bytes that are no snapshot of this venue."""


class _Phase(Enum):
    BOUNDARY = "between two slots"
    OPEN = "within a slot, waiting for the engine's reports"
    BROKEN = "broken off within a slot"
    SEALING = "at the end of a batch that is not sealed"


class Machine:
    """Accounts, positions, resting orders and queues of one venue.

    A slot is :meth:`open_slot`, the engine, :meth:`clear_slot`. Nothing here does I/O, reads a clock or draws
    a random number. When clearing raises, the machine is of no further use: go back to a snapshot.

    Attributes:
        config: the venue's parameters.
        accounts: account *i* at ``i - 1``; to be read.
        orders: between two slots, the resting orders by id; to be read.
        marks: mark price in ticks by instrument; to be read.
        next_slot: number of the next slot.
        time: of the last slot, milliseconds since 1970.
        last_seq: sequence number of the last command.
        batch: number of the batch in work, from 1.
        deposit_index, deposit_accumulator: of the last deposit taken in.
        deposited, withdrawn: sums over all time, in quanta.
    """

    def __init__(self, config: VenueConfig) -> None:
        self.config = config
        self._ledger = Ledger(config)
        self.accounts = self._ledger.accounts
        self.orders = self._ledger.orders
        self.marks = self._ledger.marks
        self.next_slot = 0
        self.time = 0
        self.last_seq = 0
        self.batch = 1
        self.deposit_index = 0
        self.deposit_accumulator = bytes(32)
        self.deposited = 0
        self.withdrawn = 0
        self._next_withdrawal = 1
        self._withdrawals: list[Withdrawal] = []
        self._refusals: list[tuple[int, Refusal]] = []
        self._phase = _Phase.BOUNDARY
        self._sent: list[Sent] = []
        self._closing = False
        self._rules_hash = config.rules_hash()
        self._account_tree = SparseTree(leaves.ACCOUNT_NODE)
        self._resting_tree = SparseTree(leaves.RESTING_NODE)

    def owner(self, account: int) -> bytes | None:
        """Owner of an account, 20 bytes, or None if it does not exist."""
        return self.accounts[account - 1].owner if 0 < account <= len(self.accounts) else None

    def account_of(self, owner: bytes) -> Account | None:
        """The account of ``owner``, if a deposit has opened one."""
        return self._ledger.by_owner.get(owner)

    @property
    def fees(self) -> int:
        """Fees held for the venue, in quanta."""
        return self._ledger.fees

    @property
    def insurance(self) -> int:
        """Insurance, in quanta."""
        return self._ledger.insurance

    def equity(self, account: Account) -> int:
        """Collateral and unrealised profit at mark, in quanta, each position rounded down."""
        return margin.equity(account.collateral, self._ledger.at_mark(account))

    def free_collateral(self, account: Account) -> int:
        """Equity without the positions' initial margin at mark and the orders' reservations.

        May be negative.
        """
        return self._ledger.free_collateral(account)

    def withdrawable(self, account: Account) -> int:
        """What a withdrawal may take: free collateral, but no profit that is not realised."""
        return max(0, min(account.collateral, self.free_collateral(account)))

    def sum_of_balances(self) -> Fraction:
        """Exact equity of all accounts at mark, with fees, insurance and dust, in quanta.

        Between two slots it is ``deposited - withdrawn``.
        """
        ledger = self._ledger
        total = Fraction(ledger.fees + ledger.insurance) + self._dust()
        for account in ledger.accounts:
            total += account.collateral
            for instrument, size, entry, mark in ledger.at_mark(account):
                total += Fraction((size * mark - entry) * instrument.numerator, instrument.denominator)
        return total

    def _dust(self) -> Fraction:
        parts = (Fraction(n, self._ledger.instruments[i].denominator) for i, n in self._ledger.dust.items())
        return sum(parts, Fraction())

    def _expect(self, *phases: _Phase) -> None:
        if self._phase not in phases:
            raise StateError(f"the machine is {self._phase.value}")

    # One slot

    def open_slot(self, slot: SlotInput, signature_ok: Sequence[bool] | NDArray[np.bool_]) -> Admission:
        """Apply a slot's inputs in order: time and marks, deposits, commands.

        Args:
            slot: the next one.
            signature_ok: for each command, whether the owner of its account signed it.

        Raises:
            StateError: not between two slots, or an input that does not follow on; nothing has changed.
        """
        self.check(slot)
        signed = np.asarray(signature_ok, bool)
        if signed.shape != slot.commands.shape:
            raise StateError(f"signature_ok: {signed.shape} for {len(slot.commands)} commands")
        self._phase = _Phase.BROKEN
        self.next_slot = slot.number + 1
        self.time = slot.time
        self._ledger.marks.update(slot.marks)
        for deposit in slot.deposits:
            self._deposit(deposit)
        admitter = Admitter(self._ledger, slot.number, slot.time, self.last_seq, self._pay)
        admitter.admit(slot.commands, signed)
        self.last_seq = admitter.seq
        self._sent = admitter.sent
        self._refusals += admitter.refusals
        self._closing = slot.closes is not None
        end, tag = (Opcode.FENCE, slot.number) if slot.closes is None else (Opcode.CLOSE, slot.closes)
        rows = [*admitter.rows, (end, 0, 0, 0, 0, 0, 0, tag & 0xFFFF_FFFF, self.last_seq, 0)]
        self._phase = _Phase.OPEN
        return Admission(np.array(rows, ORDER), tuple(admitter.refusals))

    def check(self, slot: SlotInput) -> None:
        """Whether :meth:`open_slot` takes ``slot``, which is to be known before it is journaled.

        Raises:
            StateError: not between two slots, or an input that does not follow on.
        """
        self._expect(_Phase.BOUNDARY)
        if slot.number != self.next_slot:
            raise StateError(f"number: slot {slot.number}, not {self.next_slot}")
        if not self.time <= slot.time < 1 << 64:
            raise StateError(f"time: {slot.time} is before the last slot's {self.time}, or not a u64")
        if slot.closes is not None and slot.closes != self.batch:
            raise StateError(f"closes: batch {slot.closes}, not {self.batch}")
        for number, mark in slot.marks:
            if number not in self._ledger.instruments:
                raise StateError(f"marks: no instrument {number}")
            if not -(2**31) <= mark < 2**31:
                raise StateError(f"marks: {mark} of instrument {number} is not an i32")
        for index, deposit in enumerate(slot.deposits, self.deposit_index + 1):
            if deposit.index != index:
                raise StateError(f"deposits: index {deposit.index}, not {index}")
            if len(deposit.owner) != 20 or not 0 < deposit.amount < 1 << 256:
                raise StateError(
                    f"deposits: {deposit}: an owner has 20 bytes, an amount is a uint256 above 0"
                )
        if slot.commands.dtype != USER_COMMAND or slot.commands.ndim != 1:
            raise StateError(f"commands: {slot.commands.dtype}, not rows of USER_COMMAND")

    def _deposit(self, deposit: Deposit) -> None:
        """Credit a deposit. What no account can take (all are given out, or int64 is full) is paid back."""
        self.deposit_index = deposit.index
        self.deposit_accumulator = leaves.deposit_accumulator(
            self.deposit_accumulator, deposit.index, deposit.owner, deposit.amount
        )
        self.deposited += deposit.amount
        account = self._ledger.by_owner.get(deposit.owner)
        full = account is None and (len(self._ledger.accounts) + 1) >> self.config.geometry.account_bits
        held = 0 if account is None else account.collateral
        if full or held + deposit.amount > margin.MONEY_MAX:
            self._pay(deposit.owner, deposit.amount)
            return
        if account is None:
            account = self._ledger.open_account(deposit.owner)
        account.collateral += deposit.amount
        self._ledger.changed.add(account.index)

    def _pay(self, owner: bytes, amount: int) -> None:
        self._withdrawals.append(Withdrawal(self._next_withdrawal, owner, amount))
        self._next_withdrawal += 1
        self.withdrawn += amount

    def clear_slot(self, events: Array) -> None:
        """Apply the engine's reports: positions, profit, fees, resting orders, reservations.

        Every report is held against the command that caused it and the orders that it names.

        Args:
            events: rows of wire EVENT, every record of the slot's burst in order.

        Raises:
            StateError: no slot is open, or ``events`` has another type.
            ClearingError: a report that cannot be.
            MoneyOverflow: a balance leaves int64.
        """
        self._expect(_Phase.OPEN)
        if events.dtype != EVENT or events.ndim != 1:
            raise StateError(f"events: {events.dtype}, not rows of EVENT")
        self._phase = _Phase.BROKEN
        ledger = self._ledger
        clear(ledger, self._sent, events)
        for handle in ledger.freed:
            heappush(ledger.handles, handle)
        ledger.freed.clear()
        for sent in self._sent:
            if sent.order is not None:
                sent.order.peak = sent.order.reserved
        self._sent = []
        share = ledger.slot_fees * self.config.insurance_ppm // PPM
        ledger.insurance += share
        ledger.fees += ledger.slot_fees - share
        ledger.slot_fees = 0
        if self._closing:
            self.batch += 1
        self._phase = _Phase.SEALING if self._closing else _Phase.BOUNDARY

    # Commitments

    def state_root(self) -> bytes:
        """Root of the whole state, 32 bytes; only accounts that changed are hashed again.

        Raises:
            StateError: within a slot.
        """
        self._expect(_Phase.BOUNDARY, _Phase.SEALING)
        ledger = self._ledger
        accounts = {}
        for index in ledger.changed:
            a = ledger.accounts[index - 1]
            positions = [(n, p.size, p.entry) for n, p in sorted(a.positions.items())]
            accounts[index] = leaves.account_leaf(index, a.owner, a.nonce, a.collateral, positions)
        self._account_tree.update(accounts)
        ledger.changed.clear()
        resting = {}
        for index in ledger.moved:
            orders = ledger.accounts[index - 1].orders
            encoded = [orders[i].encode() for i in sorted(orders)]
            resting[index] = leaves.resting_leaf(index, encoded) if encoded else EMPTY_LEAF
        self._resting_tree.update(resting)
        ledger.moved.clear()
        venue = bytes(keccak256(b"\x60" + self._venue()))
        return bytes(keccak256(b"\x70" + self._account_tree.root + self._resting_tree.root + venue))

    def _venue(self) -> bytes:
        """Canonical encoding of what is neither account nor order: see docs/commitments.md."""
        counters = (
            self.next_slot,
            self.time,
            self.last_seq,
            self.batch,
            self._next_withdrawal,
            self.deposit_index,
        )
        sums = (self.deposited, self.withdrawn, self._ledger.fees, self._ledger.insurance)
        out = [b"\x01", self._rules_hash]
        out += [value.to_bytes(8, "big") for value in counters]
        out.append(self.deposit_accumulator)
        out += [value.to_bytes(32, "big") for value in sums]
        out.append(len(self.config.instruments).to_bytes(2, "big"))
        for i in self.config.instruments:
            mark, dust = self._ledger.marks[i.number], self._ledger.dust[i.number]
            out.append(i.number.to_bytes(2, "big") + mark.to_bytes(4, "big", signed=True))
            out.append(bytes(16) + dust.to_bytes(16, "big"))
        return b"".join(out)

    def account_proof(self, account: int) -> tuple[int, tuple[bytes, ...]]:
        """Path and siblings of an account's leaf under the last :meth:`state_root`."""
        return self._account_tree.proof(account)

    def seal_batch(self) -> BatchState:
        """End the batch that the last slot closed, and begin the next.

        Raises:
            StateError: the last slot closed no batch, or the batch is sealed already.
        """
        self._expect(_Phase.SEALING)
        ledger = self._ledger
        equities = [
            a.collateral + sum((s * m - e) * i.numerator // i.denominator for i, s, e, m in ledger.at_mark(a))
            for a in ledger.accounts
        ]
        cut = exits.haircut(equities, ledger.insurance, ledger.fees, int(self._dust()))
        owed = zip(ledger.accounts, equities, strict=True)
        state = BatchState(
            number=self.batch - 1,
            state_root=self.state_root(),
            rules_hash=self._rules_hash,
            time=self.time,
            deposit_index=self.deposit_index,
            deposit_accumulator=self.deposit_accumulator,
            haircut=cut,
            exits=tuple(Exit(a.index, a.owner, cut.payout(equity)) for a, equity in owed),
            withdrawals=tuple(self._withdrawals),
            refusals=tuple(self._refusals),
        )
        self._withdrawals, self._refusals = [], []
        self._phase = _Phase.BOUNDARY
        return state

    def resting_orders(self) -> Array:
        """The resting orders as LOADs (rows of wire ORDER).

        By instrument, bids before asks, best price first, then time.

        Raises:
            StateError: within a slot.
        """
        self._expect(_Phase.BOUNDARY, _Phase.SEALING)

        def priority(o: Order) -> tuple[int, int, int, int]:
            return o.instrument, o.side, o.price if o.side else -o.price, o.queue

        rows = [
            (
                Opcode.LOAD,
                o.flags(),
                o.instrument,
                o.handle,
                o.account.index,
                o.price,
                o.remaining,
                0,
                o.queue,
                o.id,
            )
            for o in sorted(self._ledger.orders.values(), key=priority)
        ]
        return np.array(rows, ORDER)

    # Snapshots

    def snapshot(self) -> bytes:
        """All of the machine between two slots, also within a batch; equal machines give equal bytes.

        Raises:
            StateError: within a slot.
        """
        root, ledger = self.state_root(), self._ledger
        body = [
            [self.next_slot, self.time, self.last_seq, self.batch, self._next_withdrawal],
            [self.deposit_index, self.deposit_accumulator.hex(), self.deposited, self.withdrawn],
            [ledger.fees, ledger.insurance],
            [[ledger.marks[i.number], ledger.dust[i.number]] for i in self.config.instruments],
            [
                [
                    a.owner.hex(),
                    a.nonce,
                    a.collateral,
                    [[n, p.size, p.entry] for n, p in sorted(a.positions.items())],
                    [[getattr(o, name) for name in _ORDER] for _, o in sorted(a.orders.items())],
                ]
                for a in ledger.accounts
            ],
            [[w.id, w.owner.hex(), w.amount] for w in self._withdrawals],
            self._refusals,
            self._phase is _Phase.SEALING,
        ]
        text = json.dumps(body, separators=(",", ":")).encode()
        return _MAGIC + bytes(keccak256(text)) + self._rules_hash + root + text

    @classmethod
    def restore(cls, config: VenueConfig, data: bytes) -> "Machine":
        """The machine that gave the snapshot ``data``.

        Raises:
            SnapshotError: no snapshot, damaged, of another version, or of a venue with other rules.
        """
        if not data.startswith(_MAGIC):
            raise SnapshotError(f"begins with {data[: len(_MAGIC)]!r}, not {_MAGIC!r}")
        at = len(_MAGIC)
        digest, rules, root, text = (
            data[at : at + 32],
            data[at + 32 : at + 64],
            data[at + 64 : at + 96],
            data[at + 96 :],
        )
        if bytes(keccak256(text)) != digest:
            raise SnapshotError("damaged: the body does not have the digest in front of it")
        if rules != config.rules_hash():
            raise SnapshotError(f"rules: {rules.hex()}, not {config.rules_hash().hex()}")
        machine = cls(config)
        try:
            machine._read(json.loads(text))
            restored = machine.state_root()
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise SnapshotError(f"body: {error}") from error
        if restored != root:
            raise SnapshotError(f"state root: {restored.hex()}, not {root.hex()}")
        return machine

    def _read(self, body: Any) -> None:
        """The body of a snapshot into a new machine."""
        ledger = self._ledger
        counters, deposits, balances, instruments, accounts, withdrawals, refusals, sealing = body
        self.next_slot, self.time, self.last_seq, self.batch, self._next_withdrawal = counters
        self.deposit_index, accumulator, self.deposited, self.withdrawn = deposits
        self.deposit_accumulator = bytes.fromhex(accumulator)
        ledger.fees, ledger.insurance = balances
        for i, (mark, dust) in zip(self.config.instruments, instruments, strict=True):
            ledger.marks[i.number], ledger.dust[i.number] = mark, dust
        for owner, nonce, collateral, positions, orders in accounts:
            account = ledger.open_account(bytes.fromhex(owner))
            account.nonce, account.collateral = nonce, collateral
            account.positions = {n: Position(size, entry) for n, size, entry in positions}
            for values in orders:
                fields = dict(zip(_ORDER, values, strict=True))
                tif, peak = TimeInForce.GTC, fields["reserved"]
                order = Order(account=account, time_in_force=tif, peak=peak, **fields)
                ledger.orders[order.id] = order
                ledger.rest(order)
        taken = {order.handle for order in ledger.orders.values()}
        ledger.handles = [h for h in range(self.config.geometry.orders) if h not in taken]
        self._withdrawals = [Withdrawal(i, bytes.fromhex(owner), amount) for i, owner, amount in withdrawals]
        self._refusals = [(seq, Refusal(reason)) for seq, reason in refusals]
        self._phase = _Phase.SEALING if sealing else _Phase.BOUNDARY
