"""The way of one order: journal, risk, engine, clearing, batch.

This is the host's main line, and beside the command line the one module that knows all rooms. A slot goes
through :meth:`Venue.run_slot`; a restart, a killed host and a reset board all go through
:meth:`Venue.recover`; whoever distrusts the result goes through :func:`replay`. All three execute a slot by
:meth:`Execution.run`.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, takewhile, zip_longest
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hawse.commit.data import ON_CHAIN, ExitState, data_hash, parts_of
from hawse.commit.header import (
    ACCOUNTS_MOST,
    INPUTS_MOST,
    WITHDRAWALS_MOST,
    BatchHeader,
    HeaderError,
)
from hawse.commit.reportlog import ReportLog
from hawse.engine import Band, Burst, DriverRefusal, Engine, EngineError, EngineLost
from hawse.engine.native.bindings import keccak256_each, last_error, recover_each
from hawse.journal import (
    Journal,
    JournalBehind,
    JournaledSlot,
    JournalError,
    Receipts,
    Snapshot,
    Snapshots,
)
from hawse.journal.codec import outcome_behind, rest_of_outcome
from hawse.keys import structs
from hawse.keys.eip712 import Domain
from hawse.keys.messages import split
from hawse.keys.signing import Primitives, recover, recover_digest, sign_digest
from hawse.keys.store import address_of
from hawse.mirror import Mirror, MirrorDiffers
from hawse.receipts import (
    SlotReceipts,
    Stand,
    WrongReceipts,
    check_receipts,
    cycles_of,
    sign_receipts,
    times_in,
)
from hawse.risk.margin import MoneyOverflow
from hawse.state.clearing import ClearingError
from hawse.state.config import VenueConfig
from hawse.state.inputs import MARK, StateError
from hawse.state.machines import DEFAULT, FORMS, AnyBatch, AnyMachine
from hawse.state.native.bindings import ENGINE, OK, REFUSED, TOO_MUCH, UNFIT
from hawse.state.native.machine import NativeMachine
from hawse.state.native.packed import PackedSigners
from hawse.state.native.records import struct_hashes
from hawse.state.native.together import Messages, Ran, is_plain
from hawse.state.outcomes import Signers
from hawse.state.slot import Observation, Operation, OperationKind, Refusals, SlotInput, SlotOutcome
from hawse.wire import Reason
from hawse.wire.dtypes import Array, records

Progress = Callable[[int, int], None]
T = TypeVar("T")

#: Seconds before each attempt to bring a lost engine back; after the last it is given up.
_PAUSES = (0, 0.1, 0.5, 2, 5)
#: Slots whose signers are found ahead of the one that is carried out.
_AHEAD = 4
#: Slots that are read, and whose messages are hashed, together.
_TOGETHER = 16
_NOBODY = bytes(20)
#: By reason: whether it is about who signed.
_OF_SIGNERS = np.isin(np.arange(256), [Reason.SIGNATURE, Reason.SIGNER])
#: What the machine takes that it is for: the golden form the first, the native one either.
AnySigners = Signers | PackedSigners
_Hashed = tuple[JournaledSlot, NDArray[np.uint8]]
_Known = tuple[JournaledSlot, Messages, "Signed | None"]
_FAST = Primitives(keccak256_each, recover_each)
_log = logging.getLogger(__name__)


class Halted(Exception):
    """Two parties that must agree do not. Trading stops at this slot; nothing is anchored beyond it.

    Attributes:
        slot: number of the slot.
    """

    def __init__(self, slot: int, why: str) -> None:
        super().__init__(f"slot {slot}: {why}")
        self.slot = slot


class RecoveryFailed(EngineError):
    """The engine was lost again and again while it was rebuilt. The journal is whole: start once more."""


def interim_mark(domain: Domain, operator: bytes, slot: int, instrument: int, mark: int) -> Operation:
    """The word of the operator, whose private key it is, that ``mark`` is an instrument's price in a slot."""
    return operation(domain, operator, slot, OperationKind.INTERIM_MARK, MARK.pack(instrument, mark))


def operation(domain: Domain, operator: bytes, slot: int, kind: OperationKind, body: bytes) -> Operation:
    """An input of the operator, whose private key it is, good for one slot."""
    digest = domain.digest(structs.operation(slot, kind, body))
    return Operation(kind, body, sign_digest(digest, operator))


@dataclass(frozen=True)
class Signed:
    """Who signed m messages, and what.

    Attributes:
        is_signed: (m,) uint8, 1 where somebody signed.
        addresses: (m, 20) uint8.
        hashes: (m, 32) uint8, EIP-712 hashStruct; zeros where a message is none.
    """

    is_signed: NDArray[np.uint8]
    addresses: NDArray[np.uint8]
    hashes: NDArray[np.uint8]

    @classmethod
    def of(cls, rows: Array, domain: Domain, workers: int = 2) -> "Signed":
        """Of the messages that ``rows`` are, by so many threads.

        Raises:
            ValueError: half of the last message is missing.
        """
        structs = _each(struct_hashes(rows))
        return cls.listed(recover(rows, domain, workers, structs, _FAST), structs)

    @classmethod
    def listed(cls, signers: Sequence[bytes | None], structs: Sequence[bytes]) -> "Signed":
        """Of one address, or None, and one hashStruct each."""
        return cls(
            np.array([who is not None for who in signers], np.uint8),
            np.frombuffer(b"".join([who or _NOBODY for who in signers]), np.uint8).reshape(-1, 20),
            np.frombuffer(b"".join(structs), np.uint8).reshape(-1, 32),
        )

    @cached_property
    def signers(self) -> list[bytes | None]:
        """Address that signed each, None where none did."""
        pairs = zip(_each(self.addresses), self.is_signed.tolist(), strict=True)
        return [who if known else None for who, known in pairs]

    @cached_property
    def structs(self) -> list[bytes]:
        """HashStruct of each."""
        return _each(self.hashes)


def _each(rows: NDArray[np.uint8]) -> list[bytes]:
    """The rows of a matrix."""
    raw, size = rows.tobytes(), rows.shape[1]
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def signed_ahead(
    slots: Iterable[T], messages: Callable[[T], Array], domain: Domain
) -> Iterator[tuple[T, Future[Signed]]]:
    """Each slot with its signers, which are found while the ones before are carried out."""
    waiting: deque[tuple[T, Future[Signed]]] = deque()
    # A thread a slot: so none waits at the end of a slot for another.
    with ThreadPoolExecutor(os.cpu_count() or 1, "signers") as pool:
        for slot in slots:
            waiting.append((slot, pool.submit(Signed.of, messages(slot), domain, 1)))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting


def signers(slot: SlotInput, domain: Domain, messages: Signed | None = None) -> PackedSigners:
    """Who signed what of a slot; nothing of the state is needed for it.

    Args:
        slot: whose inputs they are.
        domain: of the venue.
        messages: of all its messages, where it is known already.

    Raises:
        ValueError: half of the last message is missing.
    """
    known = messages or Signed.of(slot.messages, domain)
    digests = [domain.digest(structs.operation(slot.number, o.kind, o.body)) for o in slot.operations]
    return PackedSigners(
        [recover_digest(d, o.signature) for d, o in zip(digests, slot.operations, strict=True)],
        known.is_signed,
        known.addresses,
        known.hashes,
        [recover_digest(domain.digest(_struct_of(o)), o.signature) for o in slot.observations],
    )


def _struct_of(one: Observation) -> bytes:
    return structs.observation(one.feed, one.value, one.time, one.number)


def _agree(slot: int, what: str, one: object, other: object) -> None:
    """Raises :class:`Halted`, with both values, where they differ."""
    if one != other:
        one, other = (v.hex() if isinstance(v, bytes) else v for v in (one, other))
        raise Halted(slot, f"{what}: {one} is not {other}")


@dataclass(frozen=True)
class Sealed:
    """A batch that is ready to be anchored.

    Attributes:
        header: what is anchored.
        state: the lists behind the header's roots, which proofs are made of.
        engine_root: report-log root as the engine gave it; the host's own, in the header, is the same.
        busy_cycles: clock cycles in which the book worked on the batch; 0 in software.
        snapshot: of the machine behind it; empty where nobody keeps one.
        data: that the header names; empty where it is nowhere.
    """

    header: BatchHeader
    state: AnyBatch
    engine_root: bytes
    busy_cycles: int
    snapshot: bytes
    data: bytes


@dataclass(frozen=True)
class SlotDone:
    """One slot, executed, as it is published.

    Attributes:
        slot: what went in.
        outcome: what came out.
        burst: what the engine said.
        sealing: what gives the batch that the slot ended, None if it ended none.
        orders: client id of each event's order.
        makers: client id of a trade's maker.
        command_seqs: sequence number of each message, authorisations first.
        transfers: account and generation that each TRANSFER went to, by sequence number.
        machine: why the machine gave each of its own commands, by sequence number.
        credited: account and generation of each deposit, None where it opened none and was paid back.
        fees: of each trade, the taker's and the maker's, in quanta.
        machine_accounts: account and generation that each of the machine's own commands was about.
    """

    slot: SlotInput
    outcome: SlotOutcome
    burst: Burst
    orders: NDArray[np.uint64]
    makers: NDArray[np.uint64]
    command_seqs: tuple[int, ...]
    transfers: Mapping[int, tuple[int, int]]
    machine: Mapping[int, Reason]
    credited: tuple[tuple[int, int] | None, ...]
    fees: tuple[tuple[int, int], ...]
    sealing: Future[Sealed] | None
    machine_accounts: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def sealed(self) -> Sealed | None:
        """The batch that the slot ended, waited for; None if it ended none.

        Raises:
            Halted: no contract takes it.
        """
        return self.sealing.result() if self.sealing else None


def _goes_together(entry: JournaledSlot, messages: Messages) -> bool:
    """Whether it is plain, and, where owners are taken as who signed, no signature was refused."""
    if entry.board or entry.outcome is None or not messages:
        return False
    return is_plain(entry.slot) and (len(messages) > 1 or not _names_signers(entry.outcome))


def _takes(machine: AnyMachine) -> NativeMachine:
    """The machine as one that takes signers of its own form, which no type says."""
    return machine  # type: ignore[return-value]


class Execution:
    """Machine, engine and report log in step: what the same inputs always do again.

    Args:
        config: parameters of the venue.
        engine: as wide as ``config.geometry``.
        epoch: above every epoch used before.
        machine: at a batch boundary; a new one when None.
        form: of a new machine, one of ``hawse.state.machines.FORMS``.
        beside: seal batches beside the slot path, on a second machine; the native form alone does.

    Raises:
        Halted: the engine does not hold the orders that it was loaded with.
    """

    def __init__(
        self,
        config: VenueConfig,
        engine: Engine,
        epoch: int,
        machine: AnyMachine | None = None,
        form: str = DEFAULT,
        beside: bool = False,
    ) -> None:
        self.config = config
        self.engine = engine
        self.epoch = epoch
        self.machine = machine or FORMS[form](config)
        self._mirror: Mirror | None = None
        if beside and isinstance(self.machine, NativeMachine):
            self._mirror = Mirror(NativeMachine.restore(config, self.machine.snapshot()))
        self.log = ReportLog()
        self.next_slot = self.machine.next_slot
        self._first_slot = self.next_slot
        self._first_accounts = len(self.machine.accounts)
        self._previous_root = self.machine.state_root()
        self._exits = self.machine.exit_state(()) if config.data_provider else ExitState()
        # A venue's bands are among its published rules, and nobody may move one by an order far away.
        engine.set_recentring(False)
        engine.reset(epoch)
        self._load()
        self._busy = int(engine.hello()["busy"][0])

    @property
    def batch_is_open(self) -> bool:
        """Whether there are slots that no batch has closed."""
        return self.next_slot > self._first_slot

    @property
    def batch_is_full(self) -> bool:
        """Whether the next slot has to close the batch: half of what a header takes of something is there.

        Users say how many inputs, withdrawals and new accounts there are. A batch of too many is one that no
        contract takes; a slot of a few thousand inputs finds room in the other half.
        """
        inputs, withdrawals = self.machine.batch_counts
        accounts = len(self.machine.accounts) - self._first_accounts
        counts = (inputs, INPUTS_MOST), (withdrawals, WITHDRAWALS_MOST), (accounts, ACCOUNTS_MOST)
        return any(2 * count >= most for count, most in counts)

    def _load(self) -> None:
        """The state's resting orders into the engine, and the engine's own word that it holds them."""
        orders = self.machine.resting_orders()
        bands = [Band(i.number, i.first, i.count, i.base) for i in self.config.instruments]
        self.engine.load(orders, bands)
        names = ["handle", "instrument", "tag", "price", "quantity", "flags"]
        for instrument in self.config.instruments:
            ours = orders[orders["instrument"] == instrument.number]
            theirs = self.engine.dump(instrument.number)
            what = f"resting order of {instrument.name} in engine and state"
            for one, other in zip_longest(theirs[names].tolist(), ours[names].tolist()):
                _agree(self.next_slot, what, one, other)

    def signers(self, slot: SlotInput, messages: Signed | None = None) -> AnySigners:
        """Who signed what of a slot, which is to be known before it is journaled.

        ``messages`` is what is known of its messages already.

        Raises:
            StateError: the slot is none that a sequencer may send.
        """
        try:
            known = signers(slot, self.config.domain, messages)
        except ValueError as error:
            raise StateError(f"commands: {error}") from None
        found = known if isinstance(self.machine, NativeMachine) else known.unpacked()
        _takes(self.machine).check(slot, found)
        return found

    def run(
        self, slot: SlotInput, found: AnySigners | None = None, messages: Signed | None = None
    ) -> tuple[SlotOutcome, Burst]:
        """Signatures, risk, engine, clearing.

        Args:
            slot: the next one.
            found: what :meth:`signers` gave, where it was asked before.
            messages: what is known of its messages already, where it was not.

        Raises:
            Halted: the engine's digest or root is not that of its reports, its reports contradict the state,
                or the slot is none that a sequencer may send.
            EngineLost: the engine was lost on the way. After any error this object is of no further use.
        """
        try:
            return self._run(slot, found or self.signers(slot, messages))
        except EngineLost:
            raise
        except (StateError, EngineError, ClearingError, MoneyOverflow, MirrorDiffers) as error:
            raise Halted(slot.number, f"{type(error).__name__}: {error}") from error

    def _run(self, slot: SlotInput, found: AnySigners) -> tuple[SlotOutcome, Burst]:
        number = slot.number
        admission = _takes(self.machine).open_slot(slot, found)
        burst = self.engine.run(admission.orders)
        _agree(number, "orders refused by the driver and by the host", burst.refused, [])
        self.log.append(records(burst.events))
        digest = self.log.fence(self.epoch)
        _agree(number, "log digest of engine and host", burst.fence.digest, digest)
        _agree(number, "records of engine and host", burst.fence.records, self.log.records)
        if burst.batch is not None:
            _agree(number, "log root of engine and host", burst.batch.root, self.log.root())
            _agree(number, "leaves of engine and host", burst.batch.leaves, self.log.leaves)
        slot_digest = self.machine.clear_slot(burst.events)
        if self._mirror:
            self._mirror.slot(slot, found, burst.events, slot_digest)
        self.next_slot += 1
        outcome = SlotOutcome(
            number=number,
            epoch=self.epoch,
            records=self.log.records,
            log_digest=digest,
            first_seq=admission.first_seq,
            inputs=admission.inputs,
            refusals=admission.refusals,
            events=admission.events,
            digest=slot_digest,
        )
        return outcome, burst

    def run_together(self, entries: Sequence[tuple[JournaledSlot, Messages]]) -> int:
        """Execute and check the first of some journaled slots: those that go in one call.

        Returns:
            How many they are; 0 without a native machine and an engine in software.

        Raises:
            Halted: as :meth:`run` and :meth:`check`.
        """
        first = [*takewhile(lambda one: _goes_together(*one), entries)]
        calls = self.engine.native_calls() if isinstance(self.machine, NativeMachine) else None
        if not first or calls is None or self._mirror:
            return 0
        assert isinstance(self.machine, NativeMachine)
        slots, messages = [entry.slot for entry, _ in first], [known for _, known in first]
        all_ran, why, last = self.machine.together(calls, slots, messages)
        for (entry, _), ran in zip(first, all_ran, strict=False):
            self._check_ran(entry, ran)
        if all_ran:
            self.engine.ran_to(all_ran[-1].last_seq)
        if why not in (OK, UNFIT, TOO_MUCH):
            self._raise(slots[len(all_ran)].number, why, last)
        return len(all_ran)

    def _check_ran(self, entry: JournaledSlot, ran: Ran) -> None:
        number, theirs = entry.slot.number, entry.outcome
        assert theirs is not None
        self.log.append(ran.records)
        digest = self.log.fence(self.epoch)
        _agree(number, "log digest of engine and host", ran.log_digest, digest)
        _agree(number, "records of engine and host", ran.log_records, self.log.records)
        self.next_slot += 1
        same = (self.log.records, self.log.fence(theirs.epoch)) == (theirs.records, theirs.log_digest)
        if not same or ran.outcome != rest_of_outcome(theirs):
            ours = outcome_behind(ran.outcome, number, self.epoch, self.log.records, digest)
            self.check(entry.slot, ours, theirs)
            raise Halted(number, "the outcome recomputed is not the journal's")

    def _raise(self, number: int, why: int, last: np.void) -> None:
        """What stopped slots that went together."""
        try:
            _takes(self.machine).failed(why)
        except (ClearingError, MoneyOverflow) as error:
            raise Halted(number, f"{type(error).__name__}: {error}") from error
        if why == REFUSED:
            refused = [(int(last["refused"]), DriverRefusal(last["reason"]))]
            _agree(number, "orders refused by the driver and by the host", refused, [])
        what = last_error() if why == ENGINE else "the burst's fence was not answered"
        raise Halted(number, f"EngineError: {what}")

    def done(
        self, slot: SlotInput, outcome: SlotOutcome, burst: Burst, sealing: Future[Sealed] | None
    ) -> SlotDone:
        """The slot that was run last, as it is published."""
        machine = self.machine
        orders, makers = (machine.client_ids(burst.events[name]) for name in ("order_id", "maker_id"))
        accounts = [machine.account_of(deposit.owner) for deposit in slot.deposits]
        fees = machine.fill_fees
        refused = {refusal.seq for refusal in outcome.refusals} if accounts else ()
        first_deposit = outcome.first_seq + len(slot.observations) + len(slot.operations)
        return SlotDone(
            slot=slot,
            outcome=outcome,
            burst=burst,
            orders=orders,
            makers=makers,
            command_seqs=machine.command_seqs,
            transfers=machine.transfers,
            machine=machine.machine_commands,
            machine_accounts={
                seq: (index, machine.accounts[index].generation)
                for seq, index in machine.machine_accounts.items()
            },
            credited=tuple(
                None if a is None or seq in refused else (a.index, a.generation)
                for seq, a in enumerate(accounts, first_deposit)
            ),
            fees=tuple(zip(fees[::2], fees[1::2], strict=True)),
            sealing=sealing,
        )

    def check(self, slot: SlotInput, ours: SlotOutcome, theirs: SlotOutcome) -> None:
        """Hold a recomputed outcome against the journaled one, which may be of another epoch.

        Raises:
            Halted: they differ.
        """
        what = "{} recomputed and in the journal".format
        _agree(slot.number, what("first sequence number"), ours.first_seq, theirs.first_seq)
        _agree(slot.number, what("inputs"), ours.inputs, theirs.inputs)
        if ours.refusals != theirs.refusals:
            _agree(slot.number, what("refusals"), _readable(ours), _readable(theirs))
        _agree(slot.number, what("events"), ours.events, theirs.events)
        _agree(slot.number, what("records"), ours.records, theirs.records)
        _agree(slot.number, what("log digest"), self.log.fence(theirs.epoch), theirs.log_digest)
        _agree(slot.number, what("slot digest"), ours.digest, theirs.digest)

    def seal(self, slot: SlotInput, burst: Burst, chain: bytes, keep: bool = False) -> Future[Sealed] | None:
        """What gives the batch that ``slot`` ends, or None.

        Args:
            slot: which was run last.
            burst: what the engine said.
            chain: the journal's hash after the slot's outcome.
            keep: make a snapshot, too.

        Raises:
            Halted: a number of the header is out of bounds; where it is sealed beside the slot path, the
                result raises it.
            EngineLost: as of :meth:`run`.
        """
        if slot.closes is None:
            return None
        assert burst.batch is not None
        root, leaves, count = self.log.close()
        busy = int(self.engine.hello()["busy"][0])
        cycles, self._busy = (busy - self._busy) % 2**32, busy
        first, engine_root = self._first_slot, burst.batch.root
        self._first_slot, self._first_accounts = self.next_slot, len(self.machine.accounts)

        def make(machine: AnyMachine) -> Sealed:
            state = machine.seal_batch()
            data = self._data(machine, state)
            header = BatchHeader(
                previous_state_root=self._previous_root,
                log_root=root,
                log_leaves=leaves,
                log_records=count,
                journal_first=first,
                journal_last=slot.number,
                journal_hash=chain,
                data_hash=data_hash(parts_of(data)),
                data_provider=self.config.data_provider,
                **state.header_fields(),
            )
            try:
                header.check()
            except HeaderError as error:
                raise Halted(slot.number, f"no contract takes its batch: {error}") from error
            self._previous_root = header.state_root
            return Sealed(header, state, engine_root, cycles, machine.snapshot() if keep else b"", data)

        if self._mirror:
            assert isinstance(self.machine, NativeMachine)
            self.machine.turn_batch()
        return self.behind(make)

    def behind(self, make: Callable[[AnyMachine], T]) -> Future[T]:
        """What ``make`` gives of the machine behind the last slot, beside the slot path if it can."""
        if self._mirror:
            return self._mirror.ask(make)
        made: Future[T] = Future()
        made.set_result(make(self.machine))
        return made

    def _data(self, machine: AnyMachine, state: AnyBatch) -> bytes:
        """What is put on the chain of a batch, where anything is."""
        if self.config.data_provider != ON_CHAIN:
            return b""
        before, self._exits = self._exits, machine.exit_state(state.marks)
        return self._exits.pack(before, state.number)


def _readable(outcome: SlotOutcome) -> dict[int, str]:
    """Refusals by sequence number."""
    return {
        r.seq: f"{r.reason.name} (detail {r.detail}): has {r.have}, needs {r.need}" for r in outcome.refusals
    }


def taken_as_signed(
    slot: SlotInput, outcome: SlotOutcome, machine: AnyMachine, hashes: NDArray[np.uint8]
) -> Signed | None:
    """The owners, as who signed the messages of a slot: what its outcome says without a look at signatures.

    None where only the signatures can tell: a signature or signer was refused, an account has agents, or may
    have changed hands within the slot. ``hashes`` has the hashStruct of each message.
    """
    if slot.deposits or slot.requests or len(slot.authorisations) or _names_signers(outcome):
        return None
    rows = slot.commands
    owners = machine.sole_signers(rows["account"][split(rows).starts])
    return None if owners is None else Signed(np.ones(len(owners), np.uint8), owners, hashes)


def _names_signers(outcome: SlotOutcome) -> bool:
    """Whether a signature or a signer was refused."""
    return bool(_OF_SIGNERS[Refusals.of(outcome.refusals).rows["reason"]].any())


def hashed_ahead(slots: Iterator[JournaledSlot]) -> Iterator[list[_Hashed]]:
    """Slots with the hashStruct of their messages, some of them read while those before are carried out.

    Raises:
        Exception: whatever reading a slot raises, behind the slots that were read before.
    """
    with ThreadPoolExecutor(1, "reader") as pool:
        reading = pool.submit(_read_some, slots)
        while (some := reading.result())[0] or some[1]:
            if not some[1]:
                reading = pool.submit(_read_some, slots)
            yield some[0]
            if some[1]:
                raise some[1]


def _read_some(slots: Iterator[JournaledSlot]) -> tuple[list[_Hashed], Exception | None]:
    """The next slots, with the hashes of their messages, and why there are no more."""
    found: list[JournaledSlot] = []
    failure: Exception | None = None
    try:
        found.extend(islice(slots, _TOGETHER))
    except Exception as error:
        failure = error
    if not found:
        return [], failure
    rows = [entry.slot.messages for entry in found]
    ends = np.cumsum([len(part) for part in rows])
    together = np.concatenate(rows)
    hashes = struct_hashes(together)
    parts = np.split(hashes, np.searchsorted(split(together).starts, ends[:-1]))
    return [*zip(found, parts, strict=True)], failure


class Replayed(NamedTuple):
    """A slot that was executed again, and what gives the batch that it ended, None if it ended none."""

    slot: SlotInput
    sealing: Future[Sealed] | None

    @property
    def sealed(self) -> Sealed | None:
        """As :attr:`SlotDone.sealed`."""
        return self.sealing.result() if self.sealing else None


def replay(
    execution: Execution, slots: Iterator[JournaledSlot], signatures: bool = True, keep: bool = False
) -> Iterator[SlotDone]:
    """Execute journaled slots again, hold each outcome against the journal's, and seal their batches.

    A last slot that has no outcome yet is executed, not sealed.

    Args:
        execution: at the state before the first of them.
        slots: of a journal.
        signatures: check them; else the journal's word is taken that they are good.
        keep: have a snapshot behind each batch.

    Raises:
        Halted: an outcome differs.
    """
    known = _signed(execution, slots) if signatures else _unsigned(execution, slots)
    for entry, messages in known:
        yield execution.done(entry.slot, *_again(execution, entry, messages, keep))


def run_again(
    execution: Execution, slots: Iterator[JournaledSlot], signatures: bool = True
) -> Iterator[Replayed]:
    """As :func:`replay`, for who publishes nothing: without signatures, many slots go in one native call.

    Slots that go together are yielded when the last of them is done.
    """
    for some in _with_signers(execution, slots) if signatures else _with_hashes(slots):
        at = 0
        while at < len(some):
            count = execution.run_together([(entry, messages) for entry, messages, _ in some[at:]])
            yield from (Replayed(entry.slot, None) for entry, _, _ in some[at : at + count])
            at += count
            if at < len(some):
                entry, messages, signed = some[at]
                known = signed if signatures else _owners(execution, entry, *messages)
                yield Replayed(entry.slot, _again(execution, entry, known)[-1])
                at += 1


def _with_hashes(slots: Iterator[JournaledSlot]) -> Iterator[list[_Known]]:
    for some in hashed_ahead(slots):
        yield [(entry, (hashes,), None) for entry, hashes in some]


def _with_signers(execution: Execution, slots: Iterator[JournaledSlot]) -> Iterator[list[_Known]]:
    """Some slots with their signers, and nothing where finding them raises."""
    some: list[_Known] = []
    try:
        for entry, signed in _signed(execution, slots):
            known = (signed.hashes, signed.addresses, signed.is_signed) if signed else ()
            some.append((entry, known, signed))
            if len(some) == _AHEAD:
                yield some
                some = []
    except JournalError:
        yield some
        raise
    yield some


def _again(
    execution: Execution, entry: JournaledSlot, messages: Signed | None, keep: bool = False
) -> tuple[SlotOutcome, Burst, Future[Sealed] | None]:
    """One slot, of whose messages so much is known."""
    slot, outcome = entry.slot, entry.outcome
    if entry.board:
        raise Halted(slot.number, "the board did something by itself, but not before there are rules")
    ours, burst = execution.run(slot, messages=messages)
    if outcome is None:
        return ours, burst, None
    execution.check(slot, ours, outcome)
    return outcome, burst, execution.seal(slot, burst, entry.chain, keep)


def _signed(
    execution: Execution, slots: Iterator[JournaledSlot]
) -> Iterator[tuple[JournaledSlot, Signed | None]]:
    """Each slot with its signers, None where finding them raises."""
    for entry, signed in signed_ahead(slots, lambda entry: entry.slot.messages, execution.config.domain):
        yield entry, None if signed.exception() else signed.result()


def _unsigned(
    execution: Execution, slots: Iterator[JournaledSlot]
) -> Iterator[tuple[JournaledSlot, Signed | None]]:
    """Each slot with who its outcome says has signed, None where that does not tell."""
    for some in hashed_ahead(slots):
        for entry, hashes in some:
            yield entry, _owners(execution, entry, hashes)


def _owners(execution: Execution, entry: JournaledSlot, hashes: NDArray[np.uint8]) -> Signed | None:
    if entry.outcome is None:
        return None
    return taken_as_signed(entry.slot, entry.outcome, execution.machine, hashes)


def fitting_snapshot(journal: Journal, snapshots: Snapshots, last: int) -> Snapshot | None:
    """The newest snapshot up to slot ``last`` of a state that this journal leads to; others are logged."""
    while (snapshot := snapshots.latest(last)) is not None:
        if next(journal.slots(snapshot.slot)).chain == snapshot.chain:
            return snapshot
        _log.warning("the snapshot of slot %d is not of this journal", snapshot.slot)
        last = snapshot.slot - 1
    return None


def check_reach(journal: Journal, known: int, witness: str, *, inputs: bool = False) -> None:
    """Refuse a journal that ends before slot ``known``, of which ``witness`` (a clause) tells.

    With ``inputs``, what went into that slot is enough.

    Raises:
        JournalBehind: it does.
    """
    ends = journal.next_slot - 1 - (journal.pending and not inputs)
    if ends < known:
        raise JournalBehind(ends, known, witness)


class Venue:
    """One execution and its journal: what an operator runs.

    Args:
        config: parameters of the venue.
        engine: as wide as ``config.geometry``.
        journal: empty, or of an earlier run of the same venue, which is then recovered.
        snapshots: of the states at which batches were anchored.
        publish: called with each slot whose inputs are durable, with its outcome; again with those that a
            recovery repeats.
        progress: called with (slots replayed, slots to replay) while recovering.
        published: last slot that ``publish`` need not be told of again; all behind it are run again, even if
            a snapshot has them. None: it need not be told of what a snapshot has.
        form: of the state, one of ``hawse.state.machines.FORMS``; each reads the other's snapshots.
        operator: private key, 32 bytes, with which each slot's receipts are signed; None: there are none.
        receipts: called with each slot's receipts once they are durable, in order; again with those that a
            recovery repeats.

    Attributes:
        final: number and header digest of the last final batch, which the host knows; receipts name it.

    Raises:
        ValueError: the key is not the operator's.
        Halted: the journal's outcomes are not what its inputs lead to.
        JournalBehind: the journal ends before a slot of which there is a snapshot.
        RecoveryFailed: the engine cannot be brought back.
    """

    def __init__(
        self,
        config: VenueConfig,
        engine: Engine,
        journal: Journal,
        snapshots: Snapshots,
        publish: Callable[[SlotDone], None],
        progress: Progress | None = None,
        published: int | None = None,
        form: str = DEFAULT,
        operator: bytes | None = None,
        receipts: Callable[[SlotReceipts], None] = lambda made: None,
    ) -> None:
        if operator and address_of(operator) != config.operator:
            raise ValueError(
                f"operator: the key of {address_of(operator).hex()}, not of {config.operator.hex()}"
            )
        self._operator, self._give, self.final = operator, receipts, (0, bytes(32))
        self._making: deque[Future[SlotReceipts]] = deque()
        self._noted: list[SlotReceipts] = []
        self._unsynced = False
        self._known: Iterator[Receipts] = iter(())
        self._config, self._engine, self._form = config, engine, form
        self._journal, self._snapshots, self._publish = journal, snapshots, publish
        self._sealing: dict[int, Future[Sealed]] = {}
        self._sound = True
        if (newest := snapshots.latest()) is not None:
            check_reach(journal, newest.slot, f"there is a snapshot of slot {newest.slot}")
        self.recover(progress, published)

    @property
    def ready(self) -> dict[int, Sealed]:
        """Batches sealed and not yet known to be anchored, by number, up to the first that is still made.

        Raises:
            Halted: no contract takes one.
        """
        made = takewhile(lambda batch: batch[1].done(), sorted(self._sealing.items()))
        return {number: sealing.result() for number, sealing in made}

    @property
    def unanchored(self) -> int:
        """Batches that the last slots have ended, and of which nobody knows that they are anchored."""
        return len(self._sealing)

    @property
    def pending(self) -> dict[int, Sealed]:
        """The same, and those that are still made, which are waited for."""
        return {number: sealing.result() for number, sealing in sorted(self._sealing.items())}

    @property
    def machine(self) -> AnyMachine:
        """The state as it stands between two slots."""
        return self._execution.machine

    @property
    def next_slot(self) -> int:
        """Number of the next slot."""
        return self._execution.next_slot

    @property
    def batch_is_open(self) -> bool:
        """Whether there are slots that no batch has closed."""
        return self._execution.batch_is_open

    @property
    def batch_is_full(self) -> bool:
        """Whether the next slot has to close the batch, or no header could take it."""
        return self._execution.batch_is_full

    @property
    def epoch(self) -> int:
        """Epoch of the engine: how many times it was reset."""
        return self._execution.epoch

    def recover(self, progress: Progress | None = None, published: int | None = None) -> SlotDone | None:
        """Bring machine and engine to the end of the journal: a snapshot, and the slots behind it once more.

        The engine begins a new epoch, is loaded with the orders that rested at the snapshot, which is a batch
        boundary, and runs the rest of the batch again; so its log, and the root it will give, are those of an
        undisturbed run. When it is lost meanwhile, this begins again, some times. Returns the last slot, or
        None if none had to be run.

        Raises:
            Halted: the journal's outcomes are not what its inputs lead to.
            RecoveryFailed: the engine was lost every time.
        """
        for pause in _PAUSES:
            time.sleep(pause)
            try:
                return self._rebuild(progress, published)
            except EngineLost as error:
                _log.warning("engine lost while it was rebuilt: %s", error)
                lost = error
        what = f"the engine was lost {len(_PAUSES)} times while it was rebuilt"
        raise RecoveryFailed(f"before slot {self._journal.next_slot}: {what}: {lost}") from lost

    def _rebuild(self, progress: Progress | None, published: int | None) -> SlotDone | None:
        epoch = max(self._journal.epoch, self._engine.board_epoch()) + 1
        self.give_receipts()
        self._making.clear()
        self._journal.append_epoch(epoch)
        durable = self._journal.next_slot - 1 - self._journal.pending
        last = durable if published is None else min(durable, published)
        if self._operator:  # every slot gets receipts, so it is run again until it has
            last = min(last, self._journal.next_receipts - 1)
        snapshot = fitting_snapshot(self._journal, self._snapshots, last)
        machine = FORMS[self._form].restore(self._config, snapshot.state) if snapshot else None
        first = snapshot.slot + 1 if snapshot else 0
        self._execution = Execution(self._config, self._engine, epoch, machine, self._form, beside=True)
        end, self._known = None, self._journal.receipts(first)
        for done in replay(self._execution, self._journal.slots(first), keep=True):
            if self._journal.pending and done.outcome.number == self._journal.next_slot - 1:
                end = self._finish(done.slot, done.outcome, done.burst)
            else:
                end = done
                self._done(done)
            self.give_receipts()
            if progress:
                progress(done.outcome.number + 1 - first, self._journal.next_slot - first)
        self._known = iter(())
        return end

    def run_slot(
        self, slot: SlotInput, messages: Signed | None = None, arrived: Sequence[int] = ()
    ) -> SlotDone:
        """Take one slot from its inputs, durable, to its outcome.

        The outcome is durable with the next slot's inputs, for it follows from what is; that of a slot that
        ends a batch at once, for it is part of what is anchored. When the engine is lost on the way, it is
        rebuilt from the journal and the slot is carried out on it.

        Args:
            slot: the next one.
            messages: what is known of its messages already.
            arrived: when each message came, nanoseconds since 1970; for its receipt.

        Raises:
            StateError: the slot does not follow the last one; nothing has changed.
            Halted: engine and host disagree; nothing of the slot but its inputs is journaled, and no slot
                can follow. So it is after any other error.
            RecoveryFailed: the engine cannot be brought back.
        """
        if not self._sound:
            raise Halted(slot.number, "an earlier slot failed; open the venue again")
        found = self._execution.signers(slot, messages)
        if arrived and len(arrived) != len(found.commands):
            raise StateError(
                f"arrived: {len(arrived)} times, but the slot has {len(found.commands)} messages"
            )
        self._sound = False
        self._note_receipts()
        self._write_ahead(slot)
        self._give_noted()
        try:
            outcome, burst = self._execution.run(slot, found)
            done = self._finish(slot, outcome, burst, arrived)
        except EngineLost as error:
            _log.warning("engine lost in slot %d: %s", slot.number, error)
            recovered = self.recover()
            assert recovered is not None
            done = recovered
        self._sound = True
        return done

    def _write_ahead(self, slot: SlotInput) -> None:
        try:
            self._journal.append_input(slot)
        except ValueError as error:  # nothing was written
            self._sound = True
            raise StateError(str(error)) from error

    def _finish(
        self, slot: SlotInput, outcome: SlotOutcome, burst: Burst, arrived: Sequence[int] = ()
    ) -> SlotDone:
        self._journal.append_outcome(outcome, sync=slot.closes is not None)
        sealing = self._execution.seal(slot, burst, self._journal.chain, keep=True)
        done = self._execution.done(slot, outcome, burst, sealing)
        self._done(done, arrived)
        return done

    def _done(self, done: SlotDone, arrived: Sequence[int] = ()) -> None:
        if done.sealing:
            assert done.slot.closes is not None
            self._sealing[done.slot.closes] = done.sealing
        if self._operator:
            self._answer(done, arrived, self._operator)
        self._publish(done)

    # Receipts

    def _answer(self, done: SlotDone, arrived: Sequence[int], key: bytes) -> None:
        """Have a slot's receipts made, or held against those that it has, beside the slot path."""
        slot, outcome, domain = done.slot, done.outcome, self._config.domain
        number, first, count = slot.number, outcome.first_seq, outcome.inputs
        known = self._receipts_of(number) if number < self._journal.next_receipts else None
        final, now = self.final, time.time_ns()

        def make(machine: AnyMachine) -> SlotReceipts:
            leaves = machine.slot_leaves()
            deposits = machine.deposit_index, machine.deposit_accumulator
            if known is not None:
                try:
                    check_receipts(known, leaves, deposits, domain, self._config.operator)
                except WrongReceipts as error:
                    raise Halted(number, str(error)) from error
                return SlotReceipts(known, leaves)
            came = times_in(slot.time, first, count, done.command_seqs, arrived)
            clocks = came, now, cycles_of(done.burst.events, first, count)
            return sign_receipts(number, leaves, clocks, Stand(*deposits, *final), domain, key)

        self._making.append(self._execution.behind(make))

    def _receipts_of(self, slot: int) -> Receipts:
        """What the journal has of a slot; those of earlier ones were asked for."""
        found = next(self._known, None)
        if found is None or found.slot != slot:
            what = "none" if found is None else f"those of slot {found.slot} first"
            raise Halted(slot, f"its receipts should be in the journal, but it has {what}")
        return found

    def _note_receipts(self, wait: bool = False) -> None:
        """Append the receipts that are made, in order; whoever syncs the journal next gives them out."""
        while self._making and (wait or self._making[0].done()):
            try:
                made = self._making.popleft().result()
            except (MirrorDiffers, StateError) as error:
                self._sound = False
                raise Halted(self._journal.next_receipts, f"{type(error).__name__}: {error}") from error
            if made.receipts.slot >= self._journal.next_receipts:
                self._journal.append_receipts(made.receipts, sync=False)
                self._unsynced = True
            self._noted.append(made)

    def _give_noted(self) -> None:
        self._unsynced = False
        noted, self._noted = self._noted, []
        for made in noted:
            self._give(made)

    def give_receipts(self, wait: bool = False) -> None:
        """Make durable and give out the receipts that are made; ``wait``: of all slots so far.

        :meth:`run_slot` does the same with the sync that it needs anyway.

        Raises:
            Halted: they cannot be made, or what the journal has is not what its slot leads to.
        """
        self._note_receipts(wait)
        if self._unsynced:
            self._journal.sync()
        self._give_noted()

    def anchored(self, number: int, transaction: bytes) -> None:
        """Note that batch ``number`` is on the chain; from now on a recovery begins behind it."""
        sealed = self._sealing.pop(number).result()
        header = sealed.header
        self._note_receipts()
        self._journal.append_anchor(header, transaction)
        self._give_noted()
        self._snapshots.save(Snapshot(header.journal_last, header.journal_hash, sealed.snapshot))
