"""``hawse replay`` and ``hawse verify``: the journal executed again, for whoever does not take our word."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path

import click
import msgspec

from hawse.chain.client import AnchoredBatch, SettlementClient, header_digest
from hawse.commit.header import BatchHeader
from hawse.journal import Journal, Snapshots
from hawse.journal.segments import segment_path
from hawse.keys.messages import split
from hawse.receipts import WrongReceipts, check_receipts
from hawse.state.config import VenueConfig
from hawse.state.machines import FORMS, AnyMachine
from hawse.venue import Execution, Replayed, SlotDone, fitting_snapshot, run_again
from hawse.venue import replay as execute

from .common import (
    RunFile,
    Trace,
    bar,
    clear_errors,
    console,
    json_option,
    open_engine,
    read_json,
    say,
    state_option,
)


class _Receipts:
    """The receipts of a journal, held against its slots one after another."""

    def __init__(self, journal: Journal) -> None:
        self._told, self._config = journal.receipts(), config_of(journal)
        self._next = next(self._told, None)
        self.slots = 0

    @property
    def none(self) -> bool:
        """Whether no slot has any that were not held against it."""
        return self._next is None

    def checked(self, slots: Iterable[SlotDone], execution: Execution) -> Iterator[SlotDone]:
        """The same slots, each held against its receipts."""
        for done in slots:
            self.check(done, execution.machine)
            yield done

    def check(self, done: SlotDone, machine: AnyMachine) -> None:
        """Of the slot that ``machine`` has carried out last; those behind the last receipts have none yet.

        Raises:
            VerificationFailed: they are not what the slot leads to, not the operator's, or not its own.
        """
        told, slot = self._next, done.slot.number
        if told is None:
            return
        if told.slot != slot:
            raise VerificationFailed(f"slot {slot} has no receipts, but slot {told.slot} has")
        deposits = machine.deposit_index, machine.deposit_accumulator
        try:
            check_receipts(told, machine.slot_leaves(), deposits, self._config.domain, self._config.operator)
        except WrongReceipts as error:
            raise VerificationFailed(str(error)) from error
        self._next, self.slots = next(self._told, None), self.slots + 1


class VerificationFailed(click.ClickException):
    """What a journal leads to is not what was anchored."""

    exit_code = 1


def _execute(
    journal: Journal,
    receipts: _Receipts,
    engine_name: str,
    form: str,
    trace: Trace | None = None,
    signatures: bool = True,
) -> Iterator[Replayed | SlotDone]:
    """Slots one after another; many at a time where no receipts are held against them."""
    config = config_of(journal)
    with (
        closing(open_engine(engine_name, config.geometry, trace)) as engine,
        bar("Replaying slots") as progress,
    ):
        epoch = max(journal.epoch, engine.board_epoch()) + 1
        execution = Execution(config, engine, epoch, form=form)
        if not signatures or receipts.none:
            executed: Iterator[Replayed | SlotDone] = run_again(execution, journal.slots(), signatures)
        else:
            executed = receipts.checked(execute(execution, journal.slots()), execution)
        for done in executed:
            yield done
            progress(done.slot.number + 1, journal.next_slot)


@contextmanager
def from_snapshot(
    journal: Journal, directory: Path, before: int, until: int, form: str
) -> Iterator[tuple[Execution, Iterator[SlotDone]]]:
    """A journal executed again on the software engine, from its newest snapshot in front of a slot on.

    Args:
        journal: open, in ``directory``.
        directory: has the snapshots, too.
        before: slot that must not be in the snapshot.
        until: last slot that is wanted, for the progress bar.
        form: of the state.
    """
    config = config_of(journal)
    snapshot = fitting_snapshot(journal, Snapshots(directory / "snapshots"), before - 1)
    machine = FORMS[form].restore(config, snapshot.state) if snapshot else None
    first = snapshot.slot + 1 if snapshot else 0

    def slots(execution: Execution) -> Iterator[SlotDone]:
        for done in execute(execution, journal.slots(first)):
            progress(done.slot.number + 1 - first, until + 1 - first)
            yield done

    with closing(open_engine("soft", config.geometry)) as engine, bar("Replaying slots") as progress:
        execution = Execution(config, engine, journal.epoch + 1, machine, form)
        yield execution, slots(execution)


def config_of(journal: Journal) -> VenueConfig:
    """The venue's parameters, as the journal has them.

    Raises:
        VerificationFailed: they are none.
    """
    try:
        return VenueConfig.decode(journal.config)
    except ValueError as error:
        raise VerificationFailed(f"the journal's own parameters: {error}") from error


engine_option = click.option(
    "--engine",
    default="soft",
    show_default=True,
    help="soft, golden, rtl, or the URL or device of a board.",
)
directory = click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.command()
@directory
@engine_option
@state_option
@click.option("--trace", type=click.Path(path_type=Path), help="With rtl: write a waveform (FST).")
@click.option("--trace-from", type=int, default=0, show_default=True, help="First clock cycle of it.")
@click.option("--trace-to", type=int, help="Clock cycle before which it ends.")
@click.option("--no-signatures", is_flag=True, help="Take the journal's word that they are good.")
@json_option
@clear_errors
def replay(
    directory: Path,
    engine: str,
    form: str,
    trace: Path | None,
    trace_from: int,
    trace_to: int | None,
    no_signatures: bool,
    as_json: bool,
) -> None:
    """Execute a journal again on an engine, from its first slot.

    DIRECTORY holds the journal. Signatures, margin, matching and all roots are recomputed, and each slot's
    outcome is held against the journal's; the first that differs ends the replay. Nothing is written.
    """
    started = time.monotonic()
    commands, batches = 0, []
    waveform = Trace(trace, trace_from, trace_to) if trace else None
    if not segment_path(directory, 0).exists() and segment_path(directory / "journal", 0).exists():
        raise click.BadParameter(f"{directory} is that of a run; its journal is {directory / 'journal'}")
    with Journal(directory, readonly=True) as journal:
        receipts = _Receipts(journal)
        for done in _execute(journal, receipts, engine, form, waveform, not no_signatures):
            commands += len(split(done.slot.commands).starts)
            if done.sealed:
                header = done.sealed.header
                row = {"number": header.number, "log_root": header.log_root.hex()}
                row |= {"state_root": header.state_root.hex(), "cycles": done.sealed.busy_cycles}
                batches.append(row)
        slots = journal.next_slot
    seconds = time.monotonic() - started
    rate = round(commands / seconds)
    result = {
        "engine": engine,
        "signatures": not no_signatures,
        "slots": slots,
        "commands": commands,
        "receipts": receipts.slots,
        "batches": batches,
    }
    result |= {"seconds": round(seconds, 2), "commands_per_s": rate}
    if as_json:
        say(result)
        return
    for row in batches:
        state, log = (str(row[name])[:24] for name in ("state_root", "log_root"))
        click.echo(f"batch {row['number']:4}  state {state}…  log {log}…")
    if batches:
        click.echo("Roots are cut; --json has all of them.")
    if receipts.slots:
        click.echo(f"The receipts of {receipts.slots} slots are what they lead to.")
    click.echo(f"{slots} slots, {commands:,} commands in {seconds:.1f} s: {rate:,} commands/s on {engine}.")


def _anchors(directory: Path, rpc: str | None) -> tuple[dict[int, AnchoredBatch], str]:
    """What the contract holds: asked of the chain, or as the run read it back at its end."""
    path, run = directory / "anchors.json", directory / "run.json"
    if rpc or not path.exists():
        if not run.exists():
            raise VerificationFailed(f"neither {path} nor {run} exists: {directory} is not that of a run")
        known = RunFile.read(run)
        client = SettlementClient(node := rpc or known.rpc, known.contract)
        return {n: client.anchored(n) for n in range(1, client.batch_count() + 1)}, node
    try:
        anchors = [
            AnchoredBatch(row.number, bytes.fromhex(row.digest), bytes.fromhex(row.withdrawals))
            for row in read_json(path, list[_Anchor])
        ]
    except ValueError as error:
        raise VerificationFailed(f"{path}: {error}") from error
    return {anchor.number: anchor for anchor in anchors}, str(path)


class _Anchor(msgspec.Struct):
    """One batch of ``anchors.json``, hashes in hexadecimal."""

    number: int
    digest: str
    withdrawals: str


def _compare(
    done: Replayed | SlotDone,
    config: VenueConfig,
    anchors: dict[int, AnchoredBatch],
    noted: dict[int, BatchHeader],
) -> None:
    """Hold the header of a batch against its anchor; the journal's own note of it tells the field."""
    assert done.sealed
    header = done.sealed.header
    anchor = anchors.pop(header.number, None)
    if anchor is None:
        raise VerificationFailed(f"batch {header.number} of the journal was never anchored")

    def digest(of: BatchHeader) -> bytes:
        return header_digest(of, config.chain_id, config.contract)

    note = noted.get(header.number)
    if digest(header) != anchor.digest and note is not None and digest(note) == anchor.digest:
        for field in fields(header):
            ours, theirs = getattr(header, field.name), getattr(note, field.name)
            if ours != theirs:
                raise VerificationFailed(
                    f"batch {header.number}: {field.name} of the journal is {_shown(ours)}, "
                    f"but {_shown(theirs)} was anchored"
                )
    for what, ours, theirs in (
        ("digest", digest(header), anchor.digest),
        ("hash of its withdrawals", header.withdrawals.hash(), anchor.withdrawals),
    ):
        if ours != theirs:
            raise VerificationFailed(
                f"batch {header.number}: the header that the journal leads to has the {what} {ours.hex()}, "
                f"but {theirs.hex()} was anchored"
            )


def _shown(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


@click.command()
@directory
@click.option("--rpc", help="Ask this node for the anchors, not the copy of a demo or the node of hawse run.")
@engine_option
@state_option
@json_option
@clear_errors
def verify(directory: Path, rpc: str | None, engine: str, form: str, as_json: bool) -> None:
    """Recompute every root of a finished run from its journal, and hold them against the anchors.

    DIRECTORY is that of the run, such as out/demo. The exit code is 0 only if the journal is intact, each
    slot leads to its outcome and receipts, and each batch to the header that the contract holds. Slots of a
    batch that is still open are executed too, but no anchor vouches for them; it says how many they are.
    """
    anchors, source = _anchors(directory, rpc)
    count, slots, sealed = len(anchors), 0, 0
    with Journal(directory / "journal", readonly=True) as journal:
        if journal.dropped:
            raise VerificationFailed(f"the journal ends in {journal.dropped} bytes of a torn record")
        config = config_of(journal)
        noted = {anchor.header.number: anchor.header for anchor in journal.anchors()}
        receipts = _Receipts(journal)
        for done in _execute(journal, receipts, engine, form):
            slots += 1
            if done.sealed:
                _compare(done, config, anchors, noted)
                sealed = slots
    if anchors:
        raise VerificationFailed(
            f"batches {sorted(anchors)} were anchored, but the journal does not reach them"
        )
    if as_json:
        result = {"verified": True, "slots": sealed, "batches": count, "unanchored_slots": slots - sealed}
        say(result | {"receipts": receipts.slots, "anchors": source, "engine": engine})
    else:
        console.print(f"Verified: {sealed} slots and {count} batches lead to what was anchored ({source}).")
        if receipts.slots:
            console.print(f"The receipts of {receipts.slots} slots are signed, and what they lead to.")
        if slots > sealed:
            console.print(f"Nothing vouches yet for the {slots - sealed} slots behind the last batch.")
