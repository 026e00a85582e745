"""``hawse bench venue``: what accounts, margin, signatures and journal cost around the engine, in one run."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from coincurve import PublicKey

from hawse.engine import Engine, SoftBackend
from hawse.instruments import Instrument
from hawse.journal import Journal, Snapshots
from hawse.keys.eip712 import struct_hashes
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.keys.signing import sign
from hawse.keys.store import address_of, derive
from hawse.results import record
from hawse.state.config import VenueConfig
from hawse.state.outcomes import Signers
from hawse.state.slot import Cut, Deposit, SlotInput
from hawse.venue import Execution, SlotDone, Venue, run_again, signed_ahead
from hawse.wire import Geometry
from hawse.wire.dtypes import Array

from .bench_state import measure as measure_state
from .bench_state import record_tape, room_for
from .common import bar, clear_errors, console, json_option, say

#: Commands of a slot, and slots of a batch.
SLOT, BATCH = 256, 64
#: Of the transition function, whose median is told.
RUNS = 3
#: Deposits of a slot.
DEPOSITS = 1024
DEPOSIT = 10**12
#: An order is cancelled so many orders later, so that about as many rest.
LIFE = 1024
#: How many signed orders out of a hundred cross the spread.
CROSSING = 25
START = 1_777_000_000_000
MARK = 78_000
ACCOUNTS = (1_000, 100_000)
_OPERATOR = derive("hawse bench venue", 0)
CONFIG = VenueConfig(
    instruments=(
        Instrument(
            number=0,
            name="BTC/USD",
            numerator=1,
            denominator=100,
            initial_margin_ppm=50_000,
            maker_fee_ppm=0,
            taker_fee_ppm=100,
            count=32_768,
            base=62_000,
            first_mark=MARK,
        ),
    ),
    geometry=Geometry(instruments=1, pool=32_768, orders=8_192, tag_bits=16),
    operator=address_of(_OPERATOR),
    chain_id=1,
    contract=b"\x01" * 20,
)


class Flow:
    """Orders and cancels of many accounts, each account's deposit first; a function of its arguments.

    Args:
        accounts: that trade, each in its turn.
        commands: how many, deposits apart.
        keys: of the accounts, to sign with; without them nothing is signed, and addresses are made up.
    """

    def __init__(self, accounts: int, commands: int, keys: Sequence[bytes] = ()) -> None:
        self.accounts, self.keys = accounts, keys
        self._owners = [address_of(key) for key in keys] or [
            n.to_bytes(20, "big") for n in range(1, accounts + 1)
        ]
        rows = self._rows(commands)
        if keys:
            sign(rows, CONFIG.domain, [keys[n - 1] for n in rows["account"].tolist()])
        self._rows_of_all = rows

    def _rows(self, commands: int) -> Array:
        """Every second one an order, every other one the cancel of one before."""
        rng, orders = np.random.default_rng(7), (commands + 1) // 2
        owner = rng.integers(1, self.accounts + 1, orders)
        side = rng.integers(0, 2, orders)
        away = rng.integers(1, 20, orders) - 25 * (rng.integers(0, 100, orders) < CROSSING)
        new, old = np.zeros(orders, MESSAGE), np.zeros(orders, MESSAGE)
        new["kind"], old["kind"] = MessageKind.ORDER, MessageKind.CANCEL
        new["side"], new["price"] = side, MARK + np.where(side == 0, -away, away)
        new["quantity"] = rng.integers(1_000, 100_000, orders)
        new["account"], new["client_id"] = owner, np.arange(1, orders + 1)
        ended = np.maximum(np.arange(orders) - LIFE, 0)
        old["account"], old["client_id"] = owner[ended], ended + 1
        rows = np.empty(2 * orders, MESSAGE)
        rows[::2], rows[1::2] = new, old
        rows["generation"] = rows["account"].astype(np.uint64) << 24
        rows["nonce"] = START + np.arange(2 * orders)
        rows["expiry"] = START + 86_400_000
        return rows[:commands]

    def deposits(self) -> list[SlotInput]:
        """Slots that open the accounts; the last ends a batch."""
        made = [Deposit(n, owner, DEPOSIT) for n, owner in enumerate(self._owners, 1)]
        parts = [made[at : at + DEPOSITS] for at in range(0, len(made), DEPOSITS)]
        return [
            SlotInput(n, START, Cut.COUNT, 1 if n == len(parts) - 1 else None, deposits=tuple(part))
            for n, part in enumerate(parts)
        ]

    def slots(self, first: int) -> list[SlotInput]:
        """Slots of commands from number ``first`` on, :data:`BATCH` of them a batch; the last ends one."""
        rows = self._rows_of_all
        parts = [rows[at : at + SLOT] for at in range(0, len(rows), SLOT)]
        found = []
        for n, part in enumerate(parts):
            ends = n % BATCH == BATCH - 1 or n == len(parts) - 1
            closes = 2 + n // BATCH if ends else None
            found.append(SlotInput(first + n, START + n, Cut.COUNT, closes, commands=part))
        return found

    def signers(self, slot: SlotInput) -> Signers:
        """Who signed a slot's commands, without looking at signatures."""
        return Signers([], *self._known(slot.commands))

    def _known(self, rows: Array) -> tuple[list[bytes | None], list[bytes]]:
        return [self._owners[n - 1] for n in rows["account"].tolist()], struct_hashes(rows)


def _signature_limit(flow: Flow, workers: int) -> float:
    """Recoveries a second of libsecp256k1 alone, on so many threads."""
    digest = bytes(range(32))
    signed = [
        (digest, key_signature)
        for key_signature in (_recoverable(flow.keys[0], digest),)
        for _ in range(16_000)
    ]

    def check(part: Sequence[tuple[bytes, bytes]]) -> None:
        for message, signature in part:
            PublicKey.from_signature_and_message(signature, message, None)

    with ThreadPoolExecutor(workers) as pool:
        started = time.perf_counter()
        list(pool.map(check, [signed[n::workers] for n in range(workers)]))
        return len(signed) / (time.perf_counter() - started)


def _recoverable(key: bytes, digest: bytes) -> bytes:
    from coincurve import PrivateKey  # noqa: PLC0415

    return bytes(PrivateKey(key).sign_recoverable(digest, None))


def _transition(accounts: int, commands: int) -> tuple[int, int]:
    """Commands a second of the native transition function alone, with AVX-512 and without."""
    config, start, tape = record_tape(accounts, SLOT, commands // SLOT, 1)
    room = room_for(accounts, commands)
    wide, plain = (
        sorted(measure_state(config, start, tape, room, width)["commands_per_s"] for _ in range(RUNS))
        for width in (8, 1)
    )
    return wide[RUNS // 2], plain[RUNS // 2]


def _batch_end_wait_ms(accounts: int, commands: int, progress: Callable[[int, int], None]) -> float:
    """The longest that the end of a batch keeps the next slot waiting."""
    flow = Flow(accounts, commands)
    with closing(Engine(SoftBackend(CONFIG.geometry))) as engine:
        execution = Execution(CONFIG, engine, 1, beside=True)
        for slot in flow.deposits():
            _one(execution, slot, Signers([], [], []))
        slots, ends = flow.slots(execution.next_slot), []
        for n, slot in enumerate(slots):
            seconds = _one(execution, slot, flow.signers(slot))
            if slot.closes is not None:
                ends.append(seconds)
            progress(n + 1, len(slots))
    return round(1e3 * max(ends), 2)


def _one(execution: Execution, slot: SlotInput, signers: Signers) -> float:
    """One slot; the seconds that the end of a batch took."""
    _, burst = execution.run(slot, signers)
    started = time.perf_counter()
    execution.seal(slot, burst, bytes(32), keep=True)
    return time.perf_counter() - started


def _opened(directory: Path, stack: ExitStack, receipts: bool = True) -> Venue:
    """A venue whose journal is in ``directory``, with the accounts' deposits still to come."""
    journal = stack.enter_context(Journal(directory, CONFIG.encode()))
    engine = stack.enter_context(closing(Engine(SoftBackend(CONFIG.geometry))))
    key = _OPERATOR if receipts else None
    snapshots = Snapshots(directory / "snapshots")
    return Venue(CONFIG, engine, journal, snapshots, lambda done: None, operator=key)


def _throughput(
    flow: Flow, venue: Venue, slots: Sequence[SlotInput], progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """A flow that is signed already as fast as it goes, its receipts until they are durable."""
    for slot in flow.deposits():
        venue.run_slot(slot)
    started, used = time.perf_counter(), time.process_time()
    ahead = signed_ahead(slots, lambda slot: slot.commands, CONFIG.domain)
    for n, (slot, signed) in enumerate(ahead):
        _anchor(venue, venue.run_slot(slot, signed.result()))
        progress(n + 1, len(slots))
    venue.give_receipts(wait=True)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    count = sum(len(slot.commands) for slot in slots)
    return {
        "commands_per_s": round(count / seconds),
        "processor_us_per_command": round(1e6 * used / count, 2),
    }


def _venue(flow: Flow, directory: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """The whole venue: as fast as it goes, then at half of that."""
    slots = flow.slots(len(flow.deposits()))
    half = len(slots) // 2
    with ExitStack() as stack:
        venue = _opened(directory, stack)
        told = _throughput(flow, venue, slots[:half], progress)
        told["sync_ms"] = _sync_ms(directory)
        told["receipt_ms"] = _receipts(venue, slots[half:], told["commands_per_s"] / 2, progress, half)
    return told


def _with_and_without(
    flow: Flow, directory: Path, progress: Callable[[int, int], None]
) -> dict[str, dict[str, Any]]:
    """What receipts cost: the same flow with and without, in turn, the best of some runs of each."""
    slots = flow.slots(len(flow.deposits()))
    slots = slots[: len(slots) // 2]
    found: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
    for run in range(RUNS):
        for word, runs in found.items():
            with ExitStack() as stack:
                venue = _opened(directory / f"{run}-{word}", stack, word == "with")
                runs.append(_throughput(flow, venue, slots, progress))
    return {
        word: {
            "commands_per_s": max(one["commands_per_s"] for one in runs),
            "processor_us_per_command": min(one["processor_us_per_command"] for one in runs),
        }
        for word, runs in found.items()
    }


def _anchor(venue: Venue, done: SlotDone) -> None:
    """As if the chain had taken the batch at once; it is no part of the figure."""
    if done.sealed:
        venue.anchored(done.sealed.header.number, bytes(32))


def _sync_ms(directory: Path) -> dict[str, float]:
    """How long a sync of a slot's bytes takes on the disk of ``directory``."""
    block, took = bytes(SLOT * 128), []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(block)
            started = time.perf_counter()
            os.fsync(file.fileno())
            took.append(1e3 * (time.perf_counter() - started))
    (directory / "sync").unlink()
    return _spread(took)


def _receipts(
    venue: Venue, slots: Sequence[SlotInput], rate: float, progress: Callable[[int, int], None], before: int
) -> dict[str, float]:
    """Milliseconds from a command's arrival to its answer; they arrive evenly, ``rate`` a second."""
    rows = np.concatenate([slot.commands for slot in slots])
    arrives = np.arange(len(rows)) / rate
    took, at, number, started = np.zeros(len(rows)), 0, venue.next_slot, time.perf_counter()
    batch = venue.machine.batch
    while at < len(rows):
        now = time.perf_counter() - started
        end = min(int(np.searchsorted(arrives, now, "right")), at + SLOT)
        if end == at:
            time.sleep(max(0.0, arrives[at] - now))
            continue
        closes = batch if end == len(rows) else None
        slot = SlotInput(number, START + 10**6 + number, Cut.TIME, closes, commands=rows[at:end])
        _anchor(venue, venue.run_slot(slot))
        took[at:end] = 1e3 * (time.perf_counter() - started - arrives[at:end])
        at, number = end, number + 1
        progress(before + at * len(slots) // len(rows), before + len(slots))
    return _spread(took.tolist())


def _spread(values: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def _replay(directory: Path, signatures: bool) -> float:
    """Commands a second of the journal carried out again."""
    with (
        Journal(directory, readonly=True) as journal,
        closing(Engine(SoftBackend(CONFIG.geometry))) as engine,
    ):
        execution = Execution(CONFIG, engine, journal.epoch + 1)
        started, commands = time.perf_counter(), 0
        for done in run_again(execution, journal.slots(), signatures):
            commands += len(done.slot.commands)
        return round(commands / (time.perf_counter() - started))


def measure(commands: int, accounts: Sequence[int]) -> dict[str, Any]:
    """All figures.

    Args:
        commands: of each.
        accounts: how many there are, for the transition function.
    """
    workers = min(2, os.cpu_count() or 1)
    keys = [derive("hawse bench venue", n) for n in range(1, 1 + accounts[0])]
    with TemporaryDirectory(dir=Path.cwd()) as name, bar("Venue") as progress:
        flow = Flow(accounts[0], commands, keys)
        # Before and behind what is held against it: other work on the machine makes it less, never more.
        limits = [_signature_limit(flow, workers)]
        told: dict[str, Any] = {"commands": commands, "slot": SLOT}
        told |= _venue(flow, Path(name) / "signed", progress)
        told["receipts"] = _with_and_without(flow, Path(name), progress)
        limits.append(_signature_limit(flow, workers))
        told["replay_commands_per_s"] = {
            word: _replay(Path(name) / "signed", signatures)
            for word, signatures in (("signed", True), ("unsigned", False))
        }
        told["signature_limit_per_s"] = round(max(*limits, _signature_limit(flow, workers)))
    for name in ("transition_commands_per_s", "transition_commands_per_s_plain", "batch_end_wait_ms"):
        told[name] = {}
    for count in accounts:
        with bar(f"Batches, {count:,} accounts") as progress:
            told["batch_end_wait_ms"][str(count)] = _batch_end_wait_ms(count, commands, progress)
        console.print(f"Transition function, {count:,} accounts …")
        wide, plain = _transition(count, commands)
        told["transition_commands_per_s"][str(count)] = wide
        told["transition_commands_per_s_plain"][str(count)] = plain
    return told


@click.command()
@click.option(
    "--commands", type=click.IntRange(2 * SLOT), default=65_536, show_default=True, help="Of each figure."
)
@click.option(
    "--accounts",
    type=click.IntRange(2, 200_000),
    multiple=True,
    default=ACCOUNTS,
    show_default=True,
    help="For the transition function; the venue has the first number of them.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write them there, with what made them."
)
@json_option
@clear_errors
def venue(commands: int, accounts: tuple[int, ...], out: Path | None, as_json: bool) -> None:
    """Measure the venue around the software engine: signatures, journal, transition function, replay.

    Everything runs on this machine and its disk, in one run; the chain is left out. Compare ratios.
    """
    told = measure(commands, accounts)
    if out:
        counts = "".join(f" --accounts {n}" for n in accounts) if accounts != ACCOUNTS else ""
        record(out, f"hawse bench venue --commands {commands}{counts} --out {out}", told)
    if as_json:
        say(told)
        return
    for word, one in told["receipts"].items():
        rate, us = one["commands_per_s"], one["processor_us_per_command"]
        click.echo(f"{word + ' receipts':18}{rate:>7,} commands/s, {us} us of processor time a command")
    ratio = told["commands_per_s"] / told["signature_limit_per_s"]
    click.echo(f"signed venue   {told['commands_per_s']:>10,} commands/s, {ratio:.2f} of libsecp256k1 alone")
    click.echo(f"               {told['processor_us_per_command']:>10} us of processor time a command")
    for word in ("signed", "unsigned"):
        click.echo(f"replay {word:8}{told['replay_commands_per_s'][word]:>10,} commands/s")
    for count, rate in told["transition_commands_per_s"].items():
        plain, wait = told["transition_commands_per_s_plain"][count], told["batch_end_wait_ms"][count]
        click.echo(f"transition     {rate:>10,} commands/s with {int(count):,} accounts, {plain:,} plain")
        click.echo(f"batch end      {wait:>10} ms that the next slot waits")
    for name in ("receipt_ms", "sync_ms"):
        click.echo(f"{name:14} p50 {told[name]['p50']} p99 {told[name]['p99']}")
    console.print("receipt_ms: an answer's, at half the venue's rate; commands are signed beforehand.")
