"""The transition function: slot by slot, from inputs and reports to accounts, orders and commitments."""

from collections.abc import Sequence
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.commit import roots
from hawse.commit.data import ACCOUNT, POSITION, ExitState, halves
from hawse.commit.exits import ExitLeaf, ExitMark
from hawse.commit.queues import START, deposit_accumulator, request_accumulator
from hawse.commit.roots import VenueLeaf
from hawse.commit.withdrawals import Withdrawal
from hawse.engine.native.bindings import keccak256_each
from hawse.instruments import PPM, Status
from hawse.keys.messages import split
from hawse.risk import margin
from hawse.wire import Opcode, Reason
from hawse.wire.dtypes import EVENT, ORDER, Array

from . import funding, liquidating, settling, strategies, sweep
from .admission import Admission, Admitter, Sent
from .batch import BatchState
from .clearing import clear
from .commitments import Commitments
from .config import VenueConfig
from .inputs import MARK, STATE, StateError, check_slot, queued
from .ledger import INSURANCE, TRANSFER_BITS, Account, Ledger, Market, Order
from .marks import take_in
from .outcomes import INPUT_BYTES, Signers, SlotLeaves, input_leaves, outcome_leaves
from .payments import Payments
from .rules import FLAGS, RuleSet
from .slot import Deposit, Operation, OperationKind, Refusal, Request, SlotInput
from .snapshot import SnapshotError, ledger_body, part_body, read_ledger, seal, unseal

#: Numbers of the machine that a snapshot has.
_COUNTERS = (
    "next_slot",
    "time",
    "last_seq",
    "batch",
    "deposit_index",
    "request_index",
    "deposited",
    "withdrawn",
    "_next_withdrawal",
    "_withdrawals_first",
    "_inputs_first",
)


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
        accounts: by index, 0 the venue's own; to be read.
        orders: between two slots, the resting orders by handle; to be read.
        markets: what changes of each instrument, by number; to be read.
        feeds: what is known of each underlying, by number; to be read.
        next_slot: number of the next slot.
        time: of the last slot, milliseconds since 1970.
        last_seq: sequence number of the last input.
        batch: number of the batch in work, from 1.
        deposit_index, deposit_accumulator: of the last deposit taken in.
        request_index, request_accumulator: of the last forced request.
        transfers: account and generation that each TRANSFER of the last slot went to, by sequence number.
        deposited, withdrawn: sums over all time, in quanta.
    """

    def __init__(self, config: VenueConfig) -> None:
        self.config = config
        self._rules_hash = config.rules_hash()
        self._phase = _Phase.BOUNDARY
        self._slot: SlotInput | None = None
        self._admission: Admission | None = None
        self._sent: list[Sent] = []
        self._command_seqs: tuple[int, ...] = ()
        self._machine_commands: dict[int, Reason] = {}
        self._machine_accounts: dict[int, int] = {}
        self._slot_inputs = b""
        self._slot_leaves = SlotLeaves(0, b"", b"", b"", b"")
        self.next_slot = 0
        self.time = 0
        self.last_seq = 0
        self.batch = 1
        self.deposit_index = 0
        self.deposit_accumulator = START
        self.request_index = 0
        self.request_accumulator = START
        self.transfers: dict[int, tuple[int, int]] = {}
        self.deposited = 0
        self.withdrawn = 0
        self._next_withdrawal = 1
        # Of the batch in work.
        self._withdrawals_first = 1
        self._withdrawals: list[Withdrawal] = []
        self._inputs_first = 1
        self._inputs: list[bytes] = []
        self._outcomes: list[bytes] = []
        self._begin(Ledger(config))

    def _begin(self, ledger: Ledger, digest: bytes = roots.FIRST_DIGEST) -> None:
        self._ledger = ledger
        self.accounts = ledger.accounts
        self.orders = ledger.orders
        self.markets = ledger.markets
        self.feeds = ledger.feeds
        liquidating.check(ledger, [account.index for account in ledger.accounts])
        self._commitments = Commitments(ledger, digest)

    @classmethod
    def part(cls, whole: Any, accounts: Sequence[Account], resting: int) -> "Machine":
        """A machine that stands where another of either form stands, with a few of its accounts alone.

        To be asked, and thrown away: it has no queues, and commits to nothing that the whole commits to.

        Args:
            whole: between two slots.
            accounts: the venue's own, and all of one owner.
            resting: orders that the engine has.
        """
        machine = cls(whole.config)
        for name in ("next_slot", "time", "last_seq", "batch"):
            setattr(machine, name, getattr(whole, name))
        ledger = Ledger(whole.config)
        ledger.time = whole.time
        read_ledger(ledger, part_body(whole, accounts))
        ledger.handles = ledger.handles[: max(0, whole.config.geometry.orders - resting)]
        machine._begin(ledger)
        return machine

    def accounts_of(self, owner: bytes) -> list[Account]:
        """All accounts of an owner, by subaccount."""
        mine = self._ledger.by_owner.get(owner, {})
        return [mine[subaccount] for subaccount in sorted(mine)]

    def account_of(self, owner: bytes, subaccount: int = 0) -> Account | None:
        """A subaccount of ``owner``, if there is one; 0 is the one that a deposit opens."""
        return self._ledger.account_of(owner, subaccount)

    def client_ids(self, handles: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Client id of the order that has each handle, or had it in the last slot."""
        return self._ledger.client_ids[handles]

    @property
    def command_seqs(self) -> tuple[int, ...]:
        """Sequence number of each message of the last slot, authorisations first."""
        return self._command_seqs

    @property
    def machine_commands(self) -> dict[int, Reason]:
        """Why the machine gave each of its own commands of the last slot, by sequence number."""
        return self._machine_commands

    @property
    def machine_accounts(self) -> dict[int, int]:
        """Whose order each of its own commands of the last slot was about, by sequence number."""
        return self._machine_accounts

    @property
    def fill_fees(self) -> list[int]:
        """Fee of each fill of the last slot, in quanta: of each trade, the taker's and then the maker's."""
        return self._ledger.fill_fees

    @property
    def batch_counts(self) -> tuple[int, int]:
        """Inputs and withdrawals of the batch in work."""
        return len(self._inputs), len(self._withdrawals)

    @property
    def rules(self) -> RuleSet | None:
        """The rules in force, None before the first."""
        return self._ledger.rules

    @property
    def fees(self) -> int:
        """Fees held for the venue, in quanta."""
        return self._ledger.fees

    @property
    def insurance(self) -> int:
        """Insurance, in quanta."""
        return self._ledger.insurance

    @property
    def digest(self) -> bytes:
        """Chain over the leaves that each slot changed, behind the last slot, 32 bytes."""
        return self._commitments.digest

    def equity(self, account: Account) -> int:
        """Collateral and unrealised profit at mark, less unpaid funding, each position rounded down."""
        return self._ledger.equity(account)

    def unpaid_funding(self, account: Account, instrument: int) -> int:
        """Quanta that a position owes and has not paid yet; negative: that it gets."""
        position = account.positions.get(instrument)
        return self.markets[instrument].owed(position) if position else 0

    def maintenance(self, account: Account) -> int:
        """What equity has to be, or the account is liquidated; in quanta."""
        return liquidating.health(self._ledger, account).maintenance

    def requirement(self, account: Account, instrument: int) -> int:
        """What an instrument holds of an account's free collateral, in quanta."""
        return self._ledger.requirement(account, instrument)

    def free_collateral(self, account: Account) -> int:
        """Equity without what positions and open orders hold; may be negative."""
        return self._ledger.free_collateral(account)

    def withdrawable(self, account: Account) -> int:
        """What a withdrawal may take, in quanta.

        Collateral that is free without profit that nobody has paid yet; nothing while accounts below zero owe
        more than the insurance has.
        """
        ledger = self._ledger
        if ledger.shortfall() > ledger.insurance:
            return 0
        return ledger.withdrawable(account, ledger.free_collateral(account))

    def sum_of_balances(self) -> Fraction:
        """Exact equity of all accounts at mark, insurance's too, with fees and dust, in quanta.

        Between two slots it is ``deposited - withdrawn``.
        """
        ledger = self._ledger
        total = Fraction(ledger.fees) + self._dust()
        for account in ledger.accounts:
            total += account.collateral
            for instrument, size, entry, mark in ledger.at_mark(account):
                total += Fraction((size * mark - entry) * instrument.numerator, instrument.denominator)
            for number, position in account.positions.items():
                market = ledger.markets[number]
                owed, rest = market.unpaid(position)
                total -= owed - Fraction(rest, market.funding_parts)
        return total

    def _dust(self) -> Fraction:
        parts = (
            Fraction(m.dust, m.terms.denominator) + Fraction(m.funding_dust, m.funding_parts)
            for m in self.markets.values()
        )
        return sum(parts, Fraction())

    def _expect(self, *phases: _Phase) -> None:
        if self._phase not in phases:
            raise StateError(f"the machine is {self._phase.value}")

    # One slot

    def open_slot(self, slot: SlotInput, signers: Signers) -> Admission:
        """Apply a slot's inputs in order.

        Time, observations, operations, funding, deposits, authorisations, forced requests; then the
        machine's own commands, which take back what its account no longer carries, and users' commands. Each
        input takes a sequence number, what was left out none.

        Args:
            slot: the next one.
            signers: who signed what of it.

        Raises:
            StateError: not between two slots, or an input that does not follow on; nothing has changed.
        """
        self.check(slot, signers)
        self._phase = _Phase.BROKEN
        self.next_slot = slot.number + 1
        self.time = slot.time
        first = self.last_seq + 1
        moved = self._observe(slot) + self._operate(slot.operations)
        paid = list(funding.accrue(self._ledger, slot.time))
        expired = settling.Expired(self._ledger, slot.time)
        moved += [number for number, _ in paid] + expired.moved
        accumulators, refusals = [], []
        for deposit in slot.deposits:
            self.last_seq += 1
            refused = self._deposit(deposit)
            refusals += [refused] if refused else []
            accumulators.append(self.deposit_accumulator)
        payments = Payments(self.config, self._ledger, slot.number, self.batch, self._pay)
        admitter = Admitter(self.config, self._ledger, slot.number, slot.time, self.last_seq, payments)
        admitter.events += [event for _, events in paid for event in events]
        count = len(split(slot.authorisations).starts)
        admitter.admit(slot.authorisations, signers.commands[:count], signers.structs[:count])
        requests = [self._request(request, admitter) for request in slot.requests]
        liquidation = liquidating.Liquidation(self.config, self._ledger, admitter)
        admitter.take_back(expired.taken)
        admitter.events += expired.events
        touched = liquidation.run(moved) | expired.settled
        payments.look_again()
        admitter.take_back(sweep.trimmed(self._ledger))
        admitter.take_back(sweep.without_margin(self._ledger, moved, touched))
        admitter.take_back(sweep.timed_out(self._ledger, slot.time))
        admitter.cancel_forced()
        liquidation.trade(moved)
        for index, cause in admitter.exits.items():
            liquidation.leave(self.accounts[index], cause)
        admitter.admit(slot.commands, signers.commands[count:], signers.structs[count:])
        strategies.run(self._ledger, admitter, slot.time)
        self.last_seq = admitter.seq
        self.transfers = payments.received
        self._slot_inputs = input_leaves(slot, first, signers, accumulators, requests, admitter)
        self._inputs += keccak256_each(self._slot_inputs, INPUT_BYTES)
        end, token = (Opcode.FENCE, slot.number) if slot.closes is None else (Opcode.CLOSE, slot.closes)
        rows = [*admitter.rows, (end, 0, 0, 0, 0, 0, 0, token & 0xFFFF_FFFF, self.last_seq, 0)]
        refusals += admitter.refusals
        self._slot, self._sent = slot, admitter.sent
        self._admission = Admission(
            orders=np.array(rows, ORDER),
            refusals=tuple(refusals),
            events=tuple(admitter.events),
            first_seq=first,
            inputs=self.last_seq + 1 - first,
            command_seqs=tuple(admitter.command_seqs),
        )
        self._command_seqs = self._admission.command_seqs
        self._machine_commands = {command.seq: command.reason for command in admitter.machine}
        self._machine_accounts = {s.seq: s.order.account.index for s in admitter.sent if s.machine}
        self._phase = _Phase.OPEN
        return self._admission

    def check(self, slot: SlotInput, signers: Signers) -> None:
        """Whether :meth:`open_slot` takes ``slot``, which is to be known before it is journaled.

        Raises:
            StateError: not between two slots, or an input that does not follow on.
        """
        self._expect(_Phase.BOUNDARY)
        check_slot(self, slot, signers)

    def _observe(self, slot: SlotInput) -> list[int]:
        """Take prices in; returns the numbers of the instruments whose mark moved."""
        self._ledger.time = slot.time
        self.last_seq += len(slot.observations)
        return take_in(self._ledger, slot.observations, slot.time)

    def _operate(self, operations: Sequence[Operation]) -> list[int]:
        """Carry out the operator's inputs; returns the numbers of the instruments whose mark moved."""
        ledger, moved = self._ledger, []
        for operation in operations:
            self.last_seq += 1
            if operation.kind == OperationKind.RULES:
                ledger.rules, ledger.rules_from = RuleSet.decode(operation.body), self.next_slot - 1
            elif operation.kind == OperationKind.FLAGS:
                ledger.set_flags(*FLAGS.unpack(operation.body))
            elif operation.kind == OperationKind.STATE:
                number, status = STATE.unpack(operation.body)
                ledger.set_status(number, Status(status))
            else:
                number, mark = MARK.unpack(operation.body)
                ledger.set_mark(int(number), int(mark), self.time)
                moved.append(int(number))
        return moved

    def _deposit(self, deposit: Deposit) -> Refusal | None:
        """Credit a deposit. What is too little to open an account, or leaves int64, is paid back."""
        ledger = self._ledger
        self.deposit_index = deposit.index
        self.deposit_accumulator = deposit_accumulator(
            self.deposit_accumulator, deposit.index, deposit.owner, deposit.amount
        )
        self.deposited += deposit.amount
        account = ledger.account_of(deposit.owner)
        if account is None and deposit.amount < self.config.minimum_deposit:
            self._pay(deposit.owner, deposit.amount)
            have, need = deposit.amount, self.config.minimum_deposit
            return Refusal(self.last_seq, Reason.MIN_DEPOSIT, 0, have, need)
        held = deposit.amount + (0 if account is None else account.collateral)
        if held > margin.MONEY_MAX:
            self._pay(deposit.owner, deposit.amount)
            return Refusal(self.last_seq, Reason.OVERFLOW, 0, held, margin.MONEY_MAX)
        if account is None:
            account = ledger.open_account(deposit.owner, deposit.index << TRANSFER_BITS, batch=self.batch)
        ledger.credit(account, deposit.amount)
        return None

    def _request(self, request: Request, admitter: Admitter) -> bytes:
        """Carry out a forced request; returns the queue's accumulator behind it."""
        self.request_index = request.index
        self.request_accumulator = request_accumulator(self.request_accumulator, queued(request))
        admitter.forced(request)
        return self.request_accumulator

    def _pay(self, owner: bytes, amount: int) -> None:
        self._withdrawals.append(Withdrawal(self._next_withdrawal, owner, 0, amount))
        self._next_withdrawal += 1
        self.withdrawn += amount

    def clear_slot(self, events: Array) -> bytes:
        """Apply the engine's reports: positions, profit, fees, resting orders, reservations.

        Every report is held against the command that caused it and the orders that it names.

        Args:
            events: rows of wire EVENT, every record of the slot's burst in order.

        Returns:
            The digest behind the slot, 32 bytes.

        Raises:
            ClearingError: a report that cannot be.
            MoneyOverflow: a balance leaves int64.
            StateError: no slot is open.
        """
        self._expect(_Phase.OPEN)
        assert self._slot is not None and self._admission is not None
        if events.dtype != EVENT:
            raise StateError(f"events: {events.dtype}, not rows of EVENT")
        self._phase = _Phase.BROKEN
        ledger, slot, admission = self._ledger, self._slot, self._admission
        ledger.fill_fees = []
        clear(ledger, self._sent, events)
        ledger.end_slot(self.batch)
        funding.quote(ledger, slot.time)
        outcomes = outcome_leaves(admission.first_seq, admission.inputs, admission.refusals, self._sent)
        self._slot_leaves = SlotLeaves.of(admission.first_seq, self._slot_inputs, outcomes)
        hashes = self._slot_leaves.outcome_hashes
        self._outcomes += [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
        self._split_fees()
        liquidating.check_slot(ledger)
        digest = self._commitments.end_slot(slot.number)
        self._slot, self._admission, self._sent = None, None, []
        if slot.closes is not None:
            self.batch += 1
        self._phase = _Phase.BOUNDARY if slot.closes is None else _Phase.SEALING
        return digest

    def _split_fees(self) -> None:
        ledger, venue = self._ledger, self.accounts[INSURANCE]
        share = ledger.slot_fees * self.config.insurance_ppm // PPM
        if share:
            venue.collateral = margin.money(venue.collateral + share, "insurance")
            ledger.changed.add(INSURANCE)
        ledger.fees += ledger.slot_fees - share
        ledger.slot_fees = 0

    def slot_leaves(self) -> SlotLeaves:
        """What entered the last slot and what became of it; nothing before the first."""
        return self._slot_leaves

    # Commitments

    def state_root(self) -> bytes:
        """Root of the whole state, 32 bytes.

        Raises:
            StateError: within a slot.
        """
        self._expect(_Phase.BOUNDARY, _Phase.SEALING)
        ours = self._commitments
        return roots.state_root(ours.accounts().root, ours.orders_root(), self._venue().hash())

    def _venue(self) -> VenueLeaf:
        """What is neither account nor order."""
        return VenueLeaf(
            rules=self._rules_hash,
            next_slot=self.next_slot,
            time=self.time,
            last_seq=self.last_seq,
            batch=self.batch,
            next_withdrawal=self._next_withdrawal,
            deposit_index=self.deposit_index,
            deposit_accumulator=self.deposit_accumulator,
            request_index=self.request_index,
            request_accumulator=self.request_accumulator,
            deposited=self.deposited,
            withdrawn=self.withdrawn,
            fees=self._ledger.fees,
            insurance=self._ledger.insurance,
            dust=int(self._dust()),
            control=self._commitments.control_root(),
            sections=self._commitments.sections(),
        )

    def account_proof(self, account: int) -> tuple[bytes, ...]:
        """Siblings of an account's leaf, under the accounts root of :meth:`state_root`.

        Raises:
            NoSuchLeaf: no such account.
        """
        return self._commitments.accounts().proof(account)

    def seal_batch(self) -> BatchState:
        """End the batch that the last slot closed, and begin the next.

        Raises:
            StateError: the last slot closed no batch, or the batch is sealed already.
        """
        self._expect(_Phase.SEALING)
        asset = (self.config.chain_id, self.config.token)
        state = BatchState(
            number=self.batch - 1,
            state_root=self.state_root(),
            rules_hash=self._rules_hash,
            assets_hash=roots.assets_hash([asset]),
            time=self.time,
            inputs_first=self._inputs_first,
            inputs=tuple(self._inputs),
            outcomes=tuple(self._outcomes),
            deposit_index=self.deposit_index,
            deposit_accumulator=self.deposit_accumulator,
            request_index=self.request_index,
            request_accumulator=self.request_accumulator,
            exits=tuple(self._exit(a) for a in self.accounts),
            marks=tuple(_exit_mark(m) for m in self.markets.values()),
            insurance=self.equity(self.accounts[INSURANCE]),
            fees=self._ledger.fees,
            dust=int(self._dust()),
            withdrawals_first=self._withdrawals_first,
            withdrawals=tuple(self._withdrawals),
        )
        self._withdrawals, self._inputs, self._outcomes = [], [], []
        self._withdrawals_first, self._inputs_first = self._next_withdrawal, self.last_seq + 1
        self._phase = _Phase.BOUNDARY
        return state

    def exit_state(self, marks: tuple[ExitMark, ...]) -> ExitState:
        """What exits need of the state between two slots, at the marks of a batch."""
        held = [(a.index, n, p) for a in self.accounts for n, p in sorted(a.positions.items())]
        accounts = [(a.generation, a.collateral, a.flags, a.subaccount, 0, 0) for a in self.accounts]
        positions = [(halves(p.entry), halves(p.funding), p.size, index, n, 0) for index, n, p in held]
        return ExitState(np.array(accounts, ACCOUNT), np.array(positions, POSITION), marks)

    def _exit(self, account: Account) -> ExitLeaf:
        """The venue's own account has nothing in the tree: its equity stands in the header."""
        equity = 0 if account.index == INSURANCE else self.equity(account)
        return ExitLeaf(account.index, account.owner, account.generation, 0, equity)

    def sole_signers(self, indices: NDArray[np.uint32]) -> NDArray[np.uint8] | None:
        """Owners (20 bytes each) of accounts that they alone sign for.

        None if one has agents, nothing, or does not exist.
        """
        known = self.accounts
        chosen = [known[index] for index in indices.tolist() if index < len(known)]
        if len(chosen) < len(indices) or any(account.agents or account.is_bare() for account in chosen):
            return None
        return np.frombuffer(b"".join(account.owner for account in chosen), np.uint8).reshape(-1, 20)

    def resting_orders(self) -> Array:
        """The resting orders as LOADs (rows of wire ORDER), in the order of their tree.

        By instrument, bids before asks, best price first, then time.

        Raises:
            StateError: within a slot.
        """
        self._expect(_Phase.BOUNDARY, _Phase.SEALING)
        rows = [
            (
                Opcode.LOAD,
                o.flags(),
                o.instrument,
                o.handle,
                self._ledger.tag_of(o.account),
                o.price,
                o.remaining,
                0,
                o.queue,
                o.handle,
            )
            for o in sorted(self.orders.values(), key=Order.place)
        ]
        return np.array(rows, ORDER)

    # Snapshots

    def snapshot(self) -> bytes:
        """All of the machine between two slots, also within a batch; equal machines give equal bytes.

        Raises:
            StateError: within a slot.
        """
        root = self.state_root()
        body: list[Any] = [
            [getattr(self, name) for name in _COUNTERS],
            [self.deposit_accumulator.hex(), self.request_accumulator.hex()],
            self.digest.hex(),
            self._phase is _Phase.SEALING,
            ledger_body(self._ledger),
            [[w.owner.hex(), w.amount] for w in self._withdrawals],
            [leaf.hex() for leaf in self._inputs],
            [leaf.hex() for leaf in self._outcomes],
        ]
        return seal(body, self._rules_hash, root)

    @classmethod
    def restore(cls, config: VenueConfig, data: bytes) -> "Machine":
        """The machine that gave the snapshot ``data``.

        Raises:
            SnapshotError: no snapshot, damaged, of another version, or of a venue with other rules.
        """
        machine = cls(config)
        try:
            body, root = unseal(config, data)
            machine._read(body)
            restored = machine.state_root()
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise SnapshotError(f"body: {error}") from error
        if restored != root:
            raise SnapshotError(f"state root: {restored.hex()}, not {root.hex()}")
        return machine

    def _read(self, body: Any) -> None:
        """The body of a snapshot into a new machine."""
        counters, accumulators, digest, sealing, ledger, withdrawals, inputs, outcomes = body
        for name, value in zip(_COUNTERS, counters, strict=True):
            setattr(self, name, value)
        self.deposit_accumulator, self.request_accumulator = map(bytes.fromhex, accumulators)
        self._withdrawals = [
            Withdrawal(number, bytes.fromhex(owner), 0, amount)
            for number, (owner, amount) in enumerate(withdrawals, self._withdrawals_first)
        ]
        self._inputs = [bytes.fromhex(leaf) for leaf in inputs]
        self._outcomes = [bytes.fromhex(leaf) for leaf in outcomes]
        self._phase = _Phase.SEALING if sealing else _Phase.BOUNDARY
        restored = Ledger(self.config)
        read_ledger(restored, ledger)
        self._begin(restored, bytes.fromhex(digest))


def _exit_mark(market: Market) -> ExitMark:
    """The mark itself, for now, on both sides."""
    terms, mark = market.terms, market.mark
    index = market.funding.cumulative
    return ExitMark(terms.number, mark, mark, index, terms.numerator, terms.denominator, 0)
