"""``hawse validator``: who executes a venue's journal by himself, and signs batches only if they agree."""

import os
import signal
import stat
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import click
import msgspec

from hawse.chain.client import header_digest
from hawse.commit.header import BatchHeader
from hawse.journal import Journal, JournaledSlot, JournalError
from hawse.journal.files import replace_durably
from hawse.journal.mark import durable_slot, read_mark
from hawse.keys.signing import recover_digest, sign_digest
from hawse.keys.store import KeyStore, address_of
from hawse.state.config import VenueConfig
from hawse.stream.jetstream import Follower
from hawse.stream.messages import Place, Signed
from hawse.venue import Execution, Halted, SlotDone, replay

from .check import config_of
from .common import BadFile, clear_errors, console, json_option, open_engine, say, state_option, stream_option
from .keys import directory_option, password_option

#: Seconds between two looks at the journal.
PAUSE = 0.25


class Progress(msgspec.Struct, frozen=True):
    """How far a validator is.

    Attributes:
        slot: the last that he has executed, -1 if none.
        batch: the last that he has signed, 0 if none.
        refused: what made an end of it, empty if nothing.
    """

    slot: int = -1
    batch: int = 0
    refused: str = ""


class Signatures:
    """A directory of signatures of batches, one file each, named by batch and validator.

    Others may write there, too: what is no signature is passed over, and nothing is waited for.
    """

    def __init__(self, directory: Path, config: VenueConfig) -> None:
        self._directory, self._config = directory, config

    def _path(self, number: int, validator: bytes) -> Path:
        return self._directory / f"{number}.{validator.hex()}"

    def digest(self, header: BatchHeader) -> bytes:
        """What is signed of a batch."""
        return header_digest(header, self._config.chain_id, self._config.contract)

    def put(self, header: BatchHeader, key: bytes) -> None:
        """Sign a batch, durably."""
        self._directory.mkdir(parents=True, exist_ok=True)
        signature = sign_digest(self.digest(header), key)
        replace_durably(self._path(header.number, address_of(key)), signature.hex().encode() + b"\n")

    def put_progress(self, validator: bytes, progress: Progress) -> bytes:
        """Leave how far a validator is; gives the text."""
        self._directory.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.encode(progress)
        replace_durably(self._directory / f"at.{validator.hex()}", text)
        return text

    def progress(self) -> dict[str, Progress]:
        """How far each validator says that he is, by address in hexadecimal; junk is left out."""
        found = {}
        for path in sorted(self._directory.glob("at." + "[0-9a-f]" * 40)):
            with suppress(OSError, msgspec.MsgspecError):
                found[path.name[3:]] = msgspec.json.decode(_bytes(path, 4096), type=Progress)
        return found

    def of(self, header: BatchHeader, validators: Sequence[bytes]) -> dict[bytes, bytes]:
        """Good signatures of a batch by some of these."""
        digest, found = self.digest(header), {}
        for validator in validators:
            signature = _read(self._path(header.number, validator))
            if signature is not None and recover_digest(digest, signature) == validator:
                found[validator] = signature
        return found


def _bytes(path: Path, most: int) -> bytes:
    """The first bytes of a file, none of what is no file.

    Raises:
        OSError: it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        return os.read(fd, most) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def _read(path: Path) -> bytes | None:
    """The signature in a file, None where there is none, or something else."""
    try:
        return bytes.fromhex(_bytes(path, 130).decode()) or None
    except (OSError, ValueError):
        return None


class Record:
    """What a validator has signed, where nobody else writes, so that he signs no number twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._signed = (
                msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
            )
        except msgspec.MsgspecError as error:
            raise BadFile(f"{path}: {error}") from error

    def add(self, number: int, digest: bytes) -> bool:
        """Note, durably, that a batch is to be signed as this; whether that is new.

        Raises:
            Halted: it was signed as something else.
        """
        before = self._signed.get(str(number))
        if before is not None and before != digest.hex():
            raise Halted(number, f"batch {number} was signed as {before}, and is now {digest.hex()}")
        self._signed[str(number)] = digest.hex()
        if before is None:
            replace_durably(self._path, msgspec.json.encode(self._signed))
        return before is None


def _is_durable(last: int, slot: JournaledSlot) -> bool:
    return slot.outcome is not None and slot.slot.number <= last


def _followed(
    directory: Path, form: str, stopped: threading.Event, once: bool, follower: Follower | None
) -> Generator[SlotDone, None, None]:
    """Every slot that has an outcome, executed; waits for more, until it is stopped or, once, at the end."""
    while follower is not None and once and not (follower.caught_up.wait(PAUSE) or stopped.is_set()):
        pass
    execution, engine = None, None
    try:
        while not stopped.is_set():
            with Journal(directory, readonly=True) as journal:
                if execution is None:
                    config = config_of(journal)
                    engine = open_engine("soft", config.geometry)
                    execution = Execution(config, engine, journal.epoch + 1, form=form)
                last = durable_slot(directory)
                slots = takewhile(partial(_is_durable, last), journal.slots(execution.next_slot))
                yield from replay(execution, slots)
            if follower is not None:
                follower.check()  # behind what came before it
            if once:
                return
            stopped.wait(PAUSE)
    finally:
        if engine:
            engine.close()


class _Voice:
    """Where a validator's signatures go, and how far he says that he is.

    Args:
        kept: his signatures.
        key: of him.
        record: of what he has signed.
        follower: his end of the streams, if there are any.
    """

    def __init__(self, kept: Signatures, key: bytes, record: Record, follower: Follower | None) -> None:
        self._kept, self._key, self._record, self._follower = kept, key, record, follower
        self._me = address_of(key)
        self._said, self._at = 0.0, Progress()

    def sign(self, header: BatchHeader, slot: int) -> bool:
        """Sign a batch unless that is done; whether it was signed now.

        Raises:
            Halted: it was signed as something else.
        """
        new = self._record.add(header.number, self._kept.digest(header))
        signs = new or not self._kept.of(header, [self._me])
        if signs:
            self._kept.put(header, self._key)
        if self._follower is not None:
            signature = self._kept.of(header, [self._me])[self._me]
            self._follower.sign(Signed(header.number, slot, self._kept.digest(header), signature))
        return signs

    def at(self, now: bool = False, **changes: Any) -> None:
        """Say how far he is, a few times a second at most unless it has to be ``now``."""
        self._at = msgspec.structs.replace(self._at, **changes)
        if not now and time.monotonic() < self._said + PAUSE:
            return
        self._said = time.monotonic()
        text = self._kept.put_progress(self._me, self._at)
        if self._follower is not None:
            self._follower.at(text)


def place_of(url: str) -> Place:
    """Where the streams of ``--stream`` are.

    Raises:
        click.BadParameter: nowhere.
    """
    try:
        return Place.parse(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--stream") from error


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("name")
@click.option(
    "--signatures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory where they are left for the host; with --stream DIRECTORY/signed unless it is given.",
)
@stream_option
@click.option(
    "--record",
    "record_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What was signed, for the validator alone; else NAME.signed beside the keys.",
)
@click.option("--once", is_flag=True, help="End at the journal's end; else wait for more.")
@state_option
@password_option
@directory_option
@json_option
@clear_errors
def validator(
    directory: Path,
    name: str,
    signatures: Path | None,
    stream: str | None,
    record_file: Path | None,
    once: bool,
    form: str,
    password: str,
    keys: Path,
    as_json: bool,
) -> None:
    """Follow a venue's journal, execute every slot, and sign each batch with the key called NAME.

    DIRECTORY is that of hawse run; with --stream it is the validator's own, where his copy of the journal is
    kept. Signatures, margin, matching and all roots are worked out again, from the first slot on; the first
    slot whose outcome is another ends it with both values, and nothing is signed from there on. No number is
    signed twice, as two different batches.
    """
    place = None if stream is None else place_of(stream)
    if place is None and signatures is None:
        raise click.UsageError("--signatures or --stream: where signatures go")
    if place is None and not directory.is_dir():
        raise click.BadParameter(f"{directory} is no directory", param_hint="DIRECTORY")
    key, stopped = KeyStore(keys).load(name, password), threading.Event()
    record = Record(record_file or keys / f"{name}.signed")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    journal, signed = directory / "journal", 0
    with ExitStack() as stack:
        follower = None
        if place is not None:
            follower = stack.enter_context(closing(Follower(journal, place, address_of(key))))
            if not _begun(journal, follower, stopped):
                return
        with Journal(journal, readonly=True) as begun:
            kept = Signatures(signatures or directory / "signed", config_of(begun))
        voice = _Voice(kept, key, record, follower)
        try:
            slots = _followed(journal, form, stopped, once, follower)
            for done in stack.enter_context(closing(slots)):
                sealed = done.sealed
                voice.at(slot=done.slot.number)
                if sealed is None:
                    continue
                new = voice.sign(sealed.header, done.slot.number)
                voice.at(now=True, batch=sealed.header.number)
                if not new:
                    continue
                signed += 1
                if not as_json:
                    root = sealed.header.state_root.hex()[:24]
                    console.print(
                        f"batch {sealed.header.number} signed: state {root}…, slot {done.slot.number}"
                    )
            voice.at(now=True)
        except (Halted, JournalError) as error:
            voice.at(now=True, refused=str(error)[:500])
            raise
    if as_json:
        say({"validator": "0x" + address_of(key).hex(), "signed": signed})


def _begun(journal: Path, follower: Follower, stopped: threading.Event) -> bool:
    """Wait for the copy's first segment; whether it is there, and not an interrupt."""
    while read_mark(journal) is None:
        follower.check()
        if stopped.wait(PAUSE):
            return False
    return True


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--signatures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory where validators leave them; DIRECTORY/signed, that of --stream, unless it is given.",
)
@json_option
@clear_errors
def validators(directory: Path, signatures: Path | None, as_json: bool) -> None:
    """How far each validator says that he is: slots behind the journal, last batch signed, what he refused.

    DIRECTORY is that of hawse run.
    """
    last = durable_slot(directory / "journal")
    with Journal(directory / "journal", readonly=True) as journal:
        kept = Signatures(signatures or directory / "signed", config_of(journal))
    rows = [
        {
            "validator": "0x" + who,
            "slot": at.slot,
            "lag": last - at.slot,
            "batch": at.batch,
            "refused": at.refused,
        }
        for who, at in kept.progress().items()
    ]
    if as_json:
        say({"slot": last, "validators": rows})
        return
    click.echo(f"The journal is durable to slot {last}.")
    for row in rows:
        why = f", refused: {row['refused']}" if row["refused"] else ""
        click.echo(
            f"{row['validator']}: slot {row['slot']}, {row['lag']} behind, signed batch {row['batch']}{why}"
        )
