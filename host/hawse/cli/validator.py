"""``hawse validator``: who executes a venue's journal by himself, and signs batches only if they agree."""

import os
import signal
import stat
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from itertools import takewhile
from pathlib import Path

import click
import msgspec

from hawse.chain.client import header_digest
from hawse.commit.header import BatchHeader
from hawse.journal import Journal, JournaledSlot
from hawse.journal.files import replace_durably
from hawse.journal.mark import durable_slot
from hawse.keys.signing import recover_digest, sign_digest
from hawse.keys.store import KeyStore, address_of
from hawse.state.config import VenueConfig
from hawse.venue import Execution, Halted, SlotDone, replay

from .check import config_of
from .common import BadFile, clear_errors, console, json_option, open_engine, say, state_option
from .keys import directory_option, password_option

#: Seconds between two looks at the journal.
PAUSE = 0.25


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

    def of(self, header: BatchHeader, validators: Sequence[bytes]) -> dict[bytes, bytes]:
        """Good signatures of a batch by some of these."""
        digest, found = self.digest(header), {}
        for validator in validators:
            signature = _read(self._path(header.number, validator))
            if signature is not None and recover_digest(digest, signature) == validator:
                found[validator] = signature
        return found


def _read(path: Path) -> bytes | None:
    """The signature in a file, None where there is none, or something else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return bytes.fromhex(os.read(fd, 130).decode()) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except ValueError:
        return None
    finally:
        os.close(fd)


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
    directory: Path, form: str, stopped: threading.Event, once: bool
) -> Generator[SlotDone, None, None]:
    """Every slot that has an outcome, executed; waits for more, until it is stopped or, once, at the end."""
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
            if once:
                return
            stopped.wait(PAUSE)
    finally:
        if engine:
            engine.close()


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("name")
@click.option(
    "--signatures",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory where they are left for the host.",
)
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
    signatures: Path,
    record_file: Path | None,
    once: bool,
    form: str,
    password: str,
    keys: Path,
    as_json: bool,
) -> None:
    """Follow a venue's journal, execute every slot, and sign each batch with the key called NAME.

    DIRECTORY is that of hawse run. Signatures, margin, matching and all roots are worked out again, from the
    first slot on; the first slot whose outcome is another ends it with both values, and nothing is signed
    from there on. No number is signed twice, as two different batches.
    """
    key, stopped = KeyStore(keys).load(name, password), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with Journal(directory / "journal", readonly=True) as journal:
        kept, signed = Signatures(signatures, config_of(journal)), 0
    record = Record(record_file or keys / f"{name}.signed")
    with closing(_followed(directory / "journal", form, stopped, once)) as slots:
        for done in slots:
            sealed = done.sealed
            if sealed is None:
                continue
            new = record.add(sealed.header.number, kept.digest(sealed.header))
            if not new and kept.of(sealed.header, [address_of(key)]):
                continue
            kept.put(sealed.header, key)
            signed += 1
            if not as_json:
                root = sealed.header.state_root.hex()[:24]
                console.print(f"batch {sealed.header.number} signed: state {root}…, slot {done.slot.number}")
    if as_json:
        say({"validator": "0x" + address_of(key).hex(), "signed": signed})
