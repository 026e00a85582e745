"""``hawse validator``: who executes a venue's journal by himself, and signs batches only if they agree."""

import signal
import threading
from collections.abc import Generator
from contextlib import closing
from itertools import takewhile
from pathlib import Path

import click

from hawse.chain.client import header_digest
from hawse.commit.header import BatchHeader
from hawse.journal import Journal
from hawse.journal.files import replace_durably
from hawse.keys.signing import recover_digest, sign_digest
from hawse.keys.store import KeyStore, address_of
from hawse.state.config import VenueConfig
from hawse.venue import Execution, SlotDone, replay

from .check import config_of
from .common import clear_errors, console, json_option, open_engine, say, state_option
from .keys import directory_option, password_option

#: Seconds between two looks at the journal.
PAUSE = 0.25


class Signatures:
    """A directory of signatures of batches, one file each, named by batch and validator."""

    def __init__(self, directory: Path, config: VenueConfig) -> None:
        self._directory, self._config = directory, config

    def _path(self, number: int, validator: bytes) -> Path:
        return self._directory / f"{number}.{validator.hex()}"

    def put(self, header: BatchHeader, key: bytes) -> None:
        """Sign a batch, durably."""
        self._directory.mkdir(parents=True, exist_ok=True)
        signature = sign_digest(self._digest(header), key)
        replace_durably(self._path(header.number, address_of(key)), signature.hex().encode() + b"\n")

    def has(self, number: int, validator: bytes) -> bool:
        """Whether a validator has signed a batch."""
        return self._path(number, validator).exists()

    def of(self, header: BatchHeader) -> dict[bytes, bytes]:
        """Good signatures of a batch, by validator; a file of anything else is passed over."""
        digest, found = self._digest(header), {}
        for path in sorted(self._directory.glob(f"{header.number}.*")):
            try:
                signature = bytes.fromhex(path.read_text().strip())
            except (ValueError, OSError):
                continue
            signer = recover_digest(digest, signature)
            if signer is not None and path.suffix == f".{signer.hex()}":
                found[signer] = signature
        return found

    def _digest(self, header: BatchHeader) -> bytes:
        return header_digest(header, self._config.chain_id, self._config.contract)


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
                slots = takewhile(lambda slot: slot.outcome is not None, journal.slots(execution.next_slot))
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
    once: bool,
    form: str,
    password: str,
    keys: Path,
    as_json: bool,
) -> None:
    """Follow a venue's journal, execute every slot, and sign each batch with the key called NAME.

    DIRECTORY is that of hawse run. Signatures, margin, matching and all roots are worked out again, from the
    first slot on; the first slot whose outcome is another ends it with both values, and nothing is signed
    from there on. A batch that was signed before is not signed again.
    """
    key, stopped = KeyStore(keys).load(name, password), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with Journal(directory / "journal", readonly=True) as journal:
        kept, signed = Signatures(signatures, config_of(journal)), 0
    with closing(_followed(directory / "journal", form, stopped, once)) as slots:
        for done in slots:
            sealed = done.sealed
            if sealed is None or kept.has(sealed.header.number, address_of(key)):
                continue
            kept.put(sealed.header, key)
            signed += 1
            if not as_json:
                root = sealed.header.state_root.hex()[:24]
                console.print(f"batch {sealed.header.number} signed: state {root}…, slot {done.slot.number}")
    if as_json:
        say({"validator": "0x" + address_of(key).hex(), "signed": signed})
