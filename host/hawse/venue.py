"""The way of one order: journal, risk, engine, clearing, batch.

This is the host's main line, and beside the command line the one module that knows all rooms. A slot goes
through :meth:`Venue.run_slot`; a restart, a killed host and a reset board all go through
:meth:`Venue.recover`; whoever distrusts the result goes through :func:`replay`. All three execute a slot by
:meth:`Execution.run`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hawse.commit.header import BatchHeader
from hawse.commit.reportlog import ReportLog
from hawse.engine import Band, Burst, Engine, EngineReset
from hawse.journal import Journal, JournaledSlot, Snapshot, Snapshots
from hawse.keys.signing import verify
from hawse.state.batch import BatchState
from hawse.state.config import VenueConfig
from hawse.state.machine import Machine
from hawse.state.slot import SlotInput, SlotOutcome
from hawse.wire.dtypes import records

Progress = Callable[[int, int], None]


class Halted(Exception):
    """Two parties that must agree do not. Trading stops at this slot; nothing is anchored beyond it."""

    def __init__(self, slot: int, what: str, one: object, other: object) -> None:
        super().__init__(f"slot {slot}: {what}: {_show(one)} is not {_show(other)}")
        self.slot = slot


def _show(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


@dataclass(frozen=True)
class Sealed:
    """A batch that is ready to be anchored.

    Attributes:
        header: what is anchored.
        state: the lists behind the header's roots, which proofs are made of.
        engine_root: report-log root as the engine gave it; the host's own, in the header, is the same.
        busy_cycles: clock cycles in which the book worked on the batch; 0 in software.
    """

    header: BatchHeader
    state: BatchState
    engine_root: bytes
    busy_cycles: int


@dataclass(frozen=True)
class SlotDone:
    """One slot, executed: its outcome, what the engine said, and the batch it ended, if any."""

    slot: SlotInput
    outcome: SlotOutcome
    burst: Burst
    sealed: Sealed | None


class Execution:
    """Machine, engine and report log in step: what the same inputs always do again.

    Args:
        config: parameters of the venue.
        engine: as wide as ``config.geometry``.
        epoch: above every epoch used before.
        machine: at a batch boundary; a new one when None.

    Raises:
        Halted: the engine does not hold the orders that it was loaded with.
    """

    def __init__(
        self, config: VenueConfig, engine: Engine, epoch: int, machine: Machine | None = None
    ) -> None:
        self.config = config
        self.engine = engine
        self.epoch = epoch
        self.machine = machine or Machine(config)
        self.log = ReportLog()
        self.next_slot = self.machine.next_slot
        self._first_slot = self.next_slot
        self._previous_root = self.machine.state_root()
        engine.reset(epoch)
        self._load()
        self._busy = int(engine.hello()["busy"][0])

    def _load(self) -> None:
        """The state's resting orders into the engine, and the engine's own word that it holds them."""
        orders = self.machine.resting_orders()
        self.engine.load(orders, [Band(i.number, i.base) for i in self.config.instruments])
        names = ["handle", "instrument", "account", "price", "quantity", "flags"]
        for instrument in self.config.instruments:
            ours = orders[orders["instrument"] == instrument.number]
            theirs = self.engine.dump(instrument.number)
            same = len(ours) == len(theirs) and all((ours[n] == theirs[n]).all() for n in names)
            if not same:
                raise Halted(self.next_slot, f"resting orders of {instrument.name}", len(theirs), len(ours))

    def run(self, slot: SlotInput) -> tuple[SlotOutcome, Burst]:
        """Signatures, risk, engine, clearing.

        Raises:
            Halted: the engine's digest is not that of its reports.
            EngineReset: the board was reset on the way; this object is of no further use.
        """
        if slot.number != self.next_slot:
            raise Halted(slot.number, "slot number", slot.number, self.next_slot)
        admission = self.machine.open_slot(slot, self._signatures(slot))
        burst = self.engine.run(admission.orders)
        if burst.refused:
            raise Halted(slot.number, "refused by the driver", burst.refused, "nothing")
        self.log.append(records(burst.events))
        digest = self.log.fence(self.epoch)
        self._agree(slot, "log digest of engine and host", burst.fence.digest, digest)
        self._agree(slot, "records of engine and host", burst.fence.records, self.log.records)
        self.machine.clear_slot(burst.events)
        self.next_slot += 1
        root = self.machine.state_root()
        refusals = tuple(admission.refusals)
        outcome = SlotOutcome(slot.number, self.epoch, self.log.records, digest, refusals, root)
        return outcome, burst

    def _signatures(self, slot: SlotInput) -> NDArray[np.bool_]:
        owners = [self.machine.owner(a) or bytes(20) for a in slot.commands["account"].tolist()]
        return verify(slot.commands, owners, self.config.domain)

    @staticmethod
    def _agree(slot: SlotInput, what: str, one: object, other: object) -> None:
        if one != other:
            raise Halted(slot.number, what, one, other)

    def check(self, slot: SlotInput, ours: SlotOutcome, theirs: SlotOutcome) -> None:
        """Hold a recomputed outcome against the journaled one, which may be of another epoch.

        Raises:
            Halted: they differ.
        """
        self._agree(slot, "records", ours.records, theirs.records)
        self._agree(slot, "log digest", self.log.fence(theirs.epoch), theirs.log_digest)
        self._agree(slot, "refusals", ours.refusals, tuple(theirs.refusals))
        self._agree(slot, "state root", ours.state_digest, theirs.state_digest)

    def seal(self, slot: SlotInput, burst: Burst, chain: bytes) -> Sealed | None:
        """The batch that ``slot`` ends, or None. ``chain`` is the journal's hash after the slot's outcome.

        Raises:
            Halted: the engine's root is not that of its reports.
        """
        if slot.closes is None:
            return None
        root, leaves, count = self.log.close()
        assert burst.batch is not None
        self._agree(slot, "log root of engine and host", burst.batch.root, root)
        self._agree(slot, "leaves of engine and host", burst.batch.leaves, leaves)
        state = self.machine.seal_batch()
        header = BatchHeader(
            number=slot.closes,
            previous_state_root=self._previous_root,
            log_root=root,
            log_leaves=leaves,
            log_records=count,
            journal_first=self._first_slot,
            journal_last=slot.number,
            journal_hash=chain,
            **state.header_fields(),
        )
        self._previous_root = header.state_root
        self._first_slot = self.next_slot
        busy = int(self.engine.hello()["busy"][0])
        cycles, self._busy = (busy - self._busy) % 2**32, busy
        return Sealed(header, state, burst.batch.root, cycles)


def replay(execution: Execution, slots: Iterator[JournaledSlot]) -> Iterator[SlotDone]:
    """Execute journaled slots again, hold each outcome against the journal's, and seal their batches.

    A last slot that has no outcome yet is executed, not sealed.

    Raises:
        Halted: an outcome differs.
    """
    for entry in slots:
        ours, burst = execution.run(entry.slot)
        if entry.outcome is None:
            yield SlotDone(entry.slot, ours, burst, None)
            continue
        execution.check(entry.slot, ours, entry.outcome)
        sealed = execution.seal(entry.slot, burst, entry.chain)
        yield SlotDone(entry.slot, entry.outcome, burst, sealed)


class Venue:
    """One execution and its journal: what an operator runs.

    Args:
        config: parameters of the venue.
        engine: as wide as ``config.geometry``.
        journal: empty, or of an earlier run of the same venue, which is then recovered.
        snapshots: of the states at which batches were anchored.
        publish: called with each slot once its outcome is durable; again with those that a recovery repeats.
        progress: called with (slots replayed, slots to replay) while recovering.

    Raises:
        Halted: the journal's outcomes are not what its inputs lead to.
    """

    def __init__(
        self,
        config: VenueConfig,
        engine: Engine,
        journal: Journal,
        snapshots: Snapshots,
        publish: Callable[[SlotDone], None],
        progress: Progress | None = None,
    ) -> None:
        self._config, self._engine = config, engine
        self._journal, self._snapshots, self._publish = journal, snapshots, publish
        #: Batches sealed and not yet known to be anchored, by number.
        self.pending: dict[int, Sealed] = {}
        self._states: dict[int, Snapshot] = {}
        self.recover(progress)

    @property
    def machine(self) -> Machine:
        """The state as it stands between two slots."""
        return self._execution.machine

    @property
    def next_slot(self) -> int:
        """Number of the next slot."""
        return self._execution.next_slot

    @property
    def epoch(self) -> int:
        """Epoch of the engine: how many times it was reset."""
        return self._execution.epoch

    def recover(self, progress: Progress | None = None) -> SlotDone | None:
        """Bring machine and engine to the end of the journal: a snapshot, and the slots behind it once more.

        The engine begins a new epoch, is loaded with the orders that rested at the snapshot, which is a batch
        boundary, and runs the rest of the batch again; so its log, and the root it will give, are those of an
        undisturbed run. Returns the last slot, or None if none had to be run.
        """
        epoch = max(self._journal.epoch, self._engine.board_epoch()) + 1
        self._journal.append_epoch(epoch)
        machine, first = None, 0
        snapshot = self._snapshots.latest(self._journal.next_slot - 1)
        if snapshot is not None:
            machine, first = Machine.restore(self._config, snapshot.state), snapshot.slot + 1
        self._execution = Execution(self._config, self._engine, epoch, machine)
        last = None
        for done in replay(self._execution, self._journal.slots(first)):
            last = done
            if self._journal.pending and done.outcome.number == self._journal.next_slot - 1:
                last = self._finish(done.slot, done.outcome, done.burst)
            else:
                self._done(done)
            if progress:
                progress(done.outcome.number + 1 - first, self._journal.next_slot - first)
        return last

    def run_slot(self, slot: SlotInput) -> SlotDone:
        """Take one slot from its inputs to its outcome, both durable.

        When the board is reset on the way, it is rebuilt from the journal and the slot is carried out on it.

        Raises:
            Halted: the engine's digest or root is not that of its reports.
            ValueError: the slot does not follow the last one.
        """
        if slot.number != self.next_slot:
            raise ValueError(f"slot: {slot.number} does not follow {self.next_slot - 1}")
        self._journal.append_input(slot)
        try:
            outcome, burst = self._execution.run(slot)
        except EngineReset:
            done = self.recover()
            assert done is not None
            return done
        return self._finish(slot, outcome, burst)

    def _finish(self, slot: SlotInput, outcome: SlotOutcome, burst: Burst) -> SlotDone:
        self._journal.append_outcome(outcome)
        sealed = self._execution.seal(slot, burst, self._journal.chain)
        done = SlotDone(slot, outcome, burst, sealed)
        self._done(done)
        return done

    def _done(self, done: SlotDone) -> None:
        if done.sealed:
            number, chain = done.sealed.header.number, done.sealed.header.journal_hash
            state = self._execution.machine.snapshot()
            self.pending[number] = done.sealed
            self._states[number] = Snapshot(done.slot.number, chain, state)
        self._publish(done)

    def anchored(self, number: int, transaction: bytes) -> None:
        """Note that batch ``number`` is on the chain; from now on a recovery begins behind it."""
        self._journal.append_anchor(self.pending.pop(number).header, transaction)
        self._snapshots.save(self._states.pop(number))
