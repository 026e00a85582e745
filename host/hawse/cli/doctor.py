"""``hawse doctor``: whether a venue could run here, what is wrong with one that does, and what to do."""

import json
import os
import shutil
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from hawse.chain.client import SettlementClient
from hawse.chain.errors import ChainError
from hawse.engine import EngineError
from hawse.engine.native.build import BuildError
from hawse.journal import Journal
from hawse.journal.errors import JournalError
from hawse.publisher.errors import PublisherError
from hawse.publisher.store import Outcomes
from hawse.wire import Geometry

from .common import OUTCOMES, BadFile, RunFile, clear_errors, json_option, open_engine, say, split_port
from .run import DEFAULT_CONFIG, load_config, run_table

#: Free bytes below which nothing should be begun, and below which one should look.
_FULL, _SCARCE = 1 << 28, 1 << 32
#: Milliseconds that a sync may take, in the median of a few; a slot waits for one.
_SLOW_MS, _SYNCS = 10.0, 20
#: Seconds by which the last slot may be ahead of the clock; and for an answer of node or gateway.
_AHEAD, _PATIENCE = 1.0, 5.0

Verdict = Literal["ok", "look", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, what was seen, and what to do about it."""

    what: str
    verdict: Verdict
    seen: str
    do: str = ""


Findings = Iterator[Finding]


def _config(path: Path, engine: str) -> Findings:
    """Whether the file is a venue, and there is an engine for it."""
    config = load_config(path, bytes(20))
    names = ", ".join(i.name for i in config.instruments)
    yield Finding("configuration", "ok", f"{path}: {names}")
    yield from _engine(engine, config.geometry)


def _engine(name: str, geometry: Geometry) -> Findings:
    """An engine in this process is begun; a board is another host's, perhaps, and only looked at."""
    if "/" in name:
        device = split_port(name)[0]
        reached = "://" in device or os.access(device, os.R_OK | os.W_OK)
        do = "is the board plugged in and powered, and may this user open it (group dialout)?"
        seen = f"{device}: {'not opened, since a host may use it' if reached else 'cannot be opened'}"
        yield Finding("engine", "ok" if reached else "wrong", seen, "" if reached else do)
        return
    try:
        with closing(open_engine(name, geometry)):
            yield Finding("engine", "ok", f"{name}, {geometry.orders:,} orders, {geometry.pool:,} levels")
    except (EngineError, BuildError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        yield Finding("engine", "wrong", f"{name}: {text}", "install a C++ compiler, or ziglang")


def _disk(directory: Path) -> Findings:
    """Whether there is room, and how long a sync takes."""
    there = directory
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    verdict: Verdict = "ok" if free >= _SCARCE else "look" if free >= _FULL else "wrong"
    do = "the host halts before the slot that it cannot write: free some, or move the directory"
    yield Finding("room", verdict, f"{free >> 20:,} MiB free under {there}", "" if verdict == "ok" else do)
    probe = there / f".hawse-doctor-{os.getpid()}"
    try:
        took = sorted(_syncs(probe))
    except OSError as error:
        do = f"let the user who runs the host write to {there}"
        yield Finding("sync", "wrong", f"{there}: {error.strerror}", do)
        return
    finally:
        probe.unlink(missing_ok=True)
    median, most = took[len(took) // 2], took[-1]
    seen = f"{median:.2f} ms in the median of {len(took)}, {most:.2f} at most"
    do = "every slot waits for one: a disk with a faster flush"
    yield Finding("sync", "ok" if median <= _SLOW_MS else "look", seen, "" if median <= _SLOW_MS else do)


def _syncs(path: Path) -> Iterator[float]:
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(32_768))
            started = time.perf_counter()
            os.fsync(file.fileno())
            yield 1e3 * (time.perf_counter() - started)


def _kept(directory: Path) -> Findings:
    """Journal and outcomes, of a host that runs or does not."""
    if not (directory / "journal").exists():
        yield Finding("journal", "ok", f"{directory} has none: the next start begins a venue")
        return
    try:
        with Journal(directory / "journal", readonly=True) as journal:
            slots = journal.next_slot
            durable = next(journal.slots(slots - 1)).slot.time if slots else 0
            yield Finding("journal", "ok", f"{slots:,} slots; every link of the last segment is whole")
    except JournalError as error:
        do = "go back to a copy whose batches are those of the contract: hawse verify says which"
        yield Finding("journal", "wrong", f"{type(error).__name__}: {error}", do)
        return
    ahead = durable / 1e3 - time.time()
    if ahead > _AHEAD:
        do = "set the clock: a slot's time never goes back, so slots wait in the venue's time"
        yield Finding("clock", "look", f"the last slot is {ahead:.0f} s ahead of this clock", do)
    try:
        with Outcomes(directory / OUTCOMES, readonly=True) as kept:
            behind = slots - 1 - kept.slot
            seen = f"slot {kept.slot:,}, {behind:,} behind the journal"
            yield Finding("outcomes", "ok" if behind >= 0 else "wrong", seen, "" if behind >= 0 else _BEHIND)
    except (PublisherError, sqlite3.Error) as error:
        yield Finding("outcomes", "look", str(error), "the next start makes it anew from the journal")


_BEHIND = "the journal lost its end: restore it; the host refuses to start so"


def _chain(directory: Path) -> Findings:
    """Whether the node answers, and what the contract says."""
    known = directory / "run.json"
    if not known.exists():
        return
    state = RunFile.read(known)
    try:
        reader = SettlementClient(state.rpc, state.contract, retries=1, timeout=_PATIENCE)
        batches, frozen = reader.batch_count(), reader.frozen()
    except ChainError as error:
        do = "start the node, or look whether its address in run.json is right; commands wait meanwhile"
        if state.pid is not None:
            do = f"the embedded chain was process {state.pid}; without it this venue has ended: begin another"
        yield Finding("chain", "wrong", f"{state.rpc}: {error}", do)
        return
    seen = f"chain {reader.chain_id} at {state.rpc}, contract 0x{reader.address.hex()}, {batches} batches"
    yield Finding("chain", "ok", seen)
    if frozen:
        do = "it is over: accounts leave by hawse exit claim and hawse refund"
        yield Finding("contract", "wrong", f"frozen at batch {reader.last_final()}", do)


def _gateway(address: str) -> Findings:
    """What a gateway that runs says of itself."""
    host, _, port = address.rpartition(":")
    url = f"http://{host or '127.0.0.1'}:{port}"
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=_PATIENCE) as reply:
            json.load(reply)
        yield Finding("gateway", "ok", f"{url}: ready")
    except urllib.error.HTTPError as error:
        why = json.load(error).get("waits", "")
        yield Finding("gateway", "look", f"{url}: no slot is carried out, since {why}", "look at chain above")
    except OSError as error:
        do = "start the host: systemctl start hawse, and journalctl -u hawse says why it ended"
        yield Finding("gateway", "look", f"{url}: {getattr(error, 'reason', error)}", do)


def examine(directory: Path | None, config: Path, engine: str, http: str | None) -> list[Finding]:
    """All findings; what cannot be looked at is one, too."""
    parts: list[tuple[str, Callable[[], Findings]]] = [("configuration", lambda: _config(config, engine))]
    if directory is not None:
        here = directory
        parts += [
            ("disk", lambda: _disk(here)),
            ("journal", lambda: _kept(here)),
            ("chain", lambda: _chain(here)),
        ]
    if http:
        parts.append(("gateway", lambda: _gateway(http)))
    found: list[Finding] = []
    for what, part in parts:
        try:
            found += part()
        except click.ClickException as error:
            found.append(Finding(what, "wrong", error.format_message()))
        except (OSError, BadFile, ValueError) as error:
            found.append(Finding(what, "wrong", f"{type(error).__name__}: {error}"))
    return found


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    help="That of hawse run; its table [run] is looked at, too.",
)
@click.option("--http", metavar="[HOST:]PORT", help="Of the gateway, if it is not in the file.")
@json_option
@clear_errors
def doctor(directory: Path | None, config: Path, http: str | None, as_json: bool) -> None:
    """Look whether a venue can run here, or what is wrong with the one in DIRECTORY, and say what to do.

    Nothing is changed; a host may run meanwhile. The exit code is 1 if anything is wrong.
    """
    given = run_table(config)
    if directory is None and "directory" in given:
        directory = Path(str(given["directory"]))
    address = http or given.get("http")
    found = examine(directory, config, str(given.get("engine", "soft")), str(address) if address else None)
    if as_json:
        say([asdict(one) for one in found])
    else:
        for one in found:
            click.echo(f"{one.verdict:6}{one.what:14}{one.seen}")
            if one.do:
                click.echo(f"{'':20}→ {one.do}")
    if any(one.verdict == "wrong" for one in found):
        raise click.exceptions.Exit(1)
