"""``hawse run``: the host of a venue."""

import json
import queue
import signal
import sys
import threading
import time
import tomllib
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TextIO

import click
import numpy as np

from hawse.chain.client import SettlementClient
from hawse.chain.devchain import DevChain, dev_keys
from hawse.journal import Journal, Snapshots
from hawse.keys import lines
from hawse.keys.messages import USER_COMMAND
from hawse.keys.store import KeyStore, address_of, derive
from hawse.state.config import Instrument, VenueConfig
from hawse.state.machine import Machine
from hawse.state.slot import Deposit, SlotInput
from hawse.venue import SlotDone, Venue
from hawse.wire import Geometry, Kind, Reason
from hawse.wire.dtypes import Array, kinds

from .common import bar, clear_errors, console, open_engine

#: Quanta that each of the embedded chain's ten accounts deposits.
DEPOSIT = 1_000_000 * 10**6
#: Seconds between two looks at the chain for deposits.
DEPOSIT_SECONDS = 1.0
_OPERATOR = derive("hawse run", 0)
_DEFAULT = Path(__file__).with_name("venue.toml")


def load_config(path: Path, chain_id: int, contract: bytes) -> VenueConfig:
    """A venue's parameters from a TOML file of ``[geometry]`` and ``[[instruments]]``.

    Raises:
        click.BadParameter: a field is missing, unknown or out of range; says which.
    """
    try:
        text = tomllib.loads(path.read_text())
        instruments = tuple(Instrument(**i) for i in text.pop("instruments", []))
        geometry = Geometry(**text.pop("geometry", {}))
        return VenueConfig(instruments, geometry, chain_id, contract, **text)
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--config") from error


class _Incoming:
    """Commands as they arrive on a stream, in a thread of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._queue: queue.Queue[Array | None] = queue.Queue(maxsize=65_536)
        self._stream = stream
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for number, line in enumerate(self._stream, 1):
            if not line.strip():
                continue
            try:
                self._queue.put(lines.parse(line))
            except lines.LineError as error:
                say({"line": number, "error": str(error)})
        self._queue.put(None)

    def burst(self, most: int, wait: float) -> Array:
        """What arrives within ``wait`` seconds, at most ``most`` commands."""
        rows: list[Array] = []
        end = time.monotonic() + wait
        while len(rows) < most and not self.ended:
            try:
                row = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            if row is None:
                self.ended = True
            else:
                rows.append(row)
        return np.concatenate(rows) if rows else np.zeros(0, USER_COMMAND)


def say(row: dict[str, Any]) -> None:
    """One JSON object on a line of standard output."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def outcomes(done: SlotDone, first_seq: int) -> list[dict[str, Any]]:
    """What became of each command of a slot: refused by the host with a reason, or the engine's reports."""
    refused = dict(done.outcome.refusals)
    rows: dict[int, dict[str, Any]] = {}
    for seq, command in enumerate(done.slot.commands, first_seq):
        row: dict[str, Any] = {"slot": done.slot.number, "seq": seq}
        row |= {k: v for k, v in lines.unparse(command).items() if k in ("request", "account", "order_id")}
        if seq in refused:
            row["refused"] = refused[seq].name.lower()
        else:
            row["reports"] = []
        rows[seq] = row
    events = done.burst.events
    for kind, event in zip(kinds(events).tolist(), events, strict=True):
        report: dict[str, Any] = {"kind": Kind(kind).name.lower(), "order_id": int(event["order_id"])}
        report |= {"price": int(event["price"]), "quantity": int(event["quantity"])}
        if event["reason"]:
            report["reason"] = Reason(int(event["reason"])).name.lower()
        if kind == Kind.TRADE:
            report["maker_id"] = int(event["maker_id"])
        # A record carries the low half of its sequence number.
        rows[first_seq + (int(event["seq"]) - first_seq) % 2**32]["reports"].append(report)
    return list(rows.values())


def _embedded(config: Path) -> dict[str, Any]:
    """A chain of its own process, the contract on it, and deposits of its ten accounts."""
    machine = Machine(load_config(config, 0, bytes(20)))
    chain = DevChain([_OPERATOR, *dev_keys(10)], keep=True).start()
    try:
        rules = machine.config.rules_hash()
        client = SettlementClient.deploy(chain.url, _OPERATOR, machine.state_root(), rules)
        client.mint(_OPERATOR, [address_of(key) for key in dev_keys(10)], DEPOSIT)
        client.deposit_all([(key, DEPOSIT) for key in dev_keys(10)])
    except BaseException:
        chain.stop()
        raise
    console.print(f"The embedded chain is process {chain.pid} and outlives the host; kill it when done.")
    return {"rpc": chain.url, "contract": client.address.hex(), "pid": chain.pid}


class _Host:
    """Cuts slots out of what arrives, and tells what became of it."""

    def __init__(
        self, directory: Path, engine_name: str, client: SettlementClient, config: VenueConfig
    ) -> None:
        self._stack = ExitStack()
        self._client = client
        self._marks: dict[int, int] = {}
        self._look_again = 0.0
        journal = self._stack.enter_context(Journal(directory / "journal", config.encode()))
        snapshots = Snapshots(directory / "journal" / "snapshots")
        engine = self._stack.enter_context(closing(open_engine(engine_name, config.geometry)))
        with bar("Recovering") as progress:
            self._venue = Venue(config, engine, journal, snapshots, self._publish, progress)
        self._first_of_batch = self._venue.next_slot

    def _publish(self, done: SlotDone) -> None:
        for event in done.burst.events[kinds(done.burst.events) == Kind.TRADE]:
            self._marks[int(event["instrument"])] = int(event["price"])

    def slot(self, commands: Array, closes: bool) -> bool:
        """Carry out one slot of live input; False if there was nothing to do."""
        machine = self._venue.machine
        deposits: tuple[Deposit, ...] = ()
        if closes or time.monotonic() >= self._look_again:
            deposits = tuple(self._client.deposits_since(machine.deposit_index))
            self._look_again = time.monotonic() + DEPOSIT_SECONDS
        if not (len(commands) or deposits or (closes and self._venue.next_slot > self._first_of_batch)):
            return False
        marks = tuple((i, m) for i, m in sorted(self._marks.items()) if machine.marks[i] != m)
        now = max(machine.time, time.time_ns() // 1_000_000)
        first = machine.last_seq + 1
        number = machine.batch if closes else None
        slot = SlotInput(self._venue.next_slot, now, marks, deposits, commands, number)
        done = self._venue.run_slot(slot)
        for row in outcomes(done, first):
            say(row)
        self.anchor()
        if closes:
            self._first_of_batch = self._venue.next_slot
        return True

    def anchor(self) -> None:
        """Anchor what is sealed."""
        for number, sealed in sorted(self._venue.pending.items()):
            sent = self._client.anchor(sealed.header)
            self._venue.anchored(number, sent.hash)
            proofs = zip(sealed.state.withdrawals, sealed.state.withdrawal_proofs(), strict=True)
            for withdrawal, (path, proof) in proofs:
                say(
                    {
                        "withdrawal": withdrawal.id,
                        "batch": number,
                        "owner": "0x" + withdrawal.owner.hex(),
                        "amount": withdrawal.amount,
                        "path": path,
                        "proof": ["0x" + p.hex() for p in proof],
                    }
                )
            root = sealed.header.state_root.hex()
            say({"batch": number, "state_root": root, "transaction": "0x" + sent.hash.hex()})

    def close(self) -> None:
        """Give engine and journal back."""
        self._stack.close()


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("commands", type=click.File(), default="-")
@click.option("--config", type=click.Path(path_type=Path), default=_DEFAULT, help="The venue, as TOML.")
@click.option(
    "--engine", default="soft", show_default=True, help="soft, golden, rtl, or the URL or device of a board."
)
@click.option("--rpc", help="EVM node; without it an embedded chain is started, with ten funded accounts.")
@click.option("--contract", help="Settlement contract on that node; without it one is deployed.")
@click.option("--operator", help="Name of the operator's key in the key store, for --rpc.")
@click.option("--password", envvar="HAWSE_PASSWORD", help="Of that key; or in HAWSE_PASSWORD.")
@click.option("--token", help="Quote token for a contract that is deployed; a test token without it.")
@click.option(
    "--slot", "most", type=click.IntRange(1), default=256, show_default=True, help="Commands a slot."
)
@click.option("--slot-ms", type=click.IntRange(1), default=20, show_default=True, help="Or milliseconds.")
@click.option(
    "--batch-seconds",
    type=click.FloatRange(0.1),
    default=30.0,
    show_default=True,
    help="Between two anchors.",
)
@clear_errors
def run(
    directory: Path,
    commands: TextIO,
    config: Path,
    engine: str,
    rpc: str | None,
    contract: str | None,
    operator: str | None,
    password: str | None,
    token: str | None,
    most: int,
    slot_ms: int,
    batch_seconds: float,
) -> None:
    """Run a venue: signed commands in, outcomes out.

    COMMANDS is a stream of signed commands as JSON, one a line (- is standard input), as hawse keys sign
    writes them. What became of each is said in the same way on standard output. DIRECTORY holds the journal;
    a venue that was stopped or killed goes on from there. The end of the input, or an interrupt, closes the
    batch, anchors it and ends the host.
    """
    directory.mkdir(parents=True, exist_ok=True)
    known = directory / "run.json"
    if known.exists():
        state = json.loads(known.read_text())
        key = _operator(operator, password) if operator else _OPERATOR
    elif rpc is None:
        state, key = _embedded(config), _OPERATOR
    else:
        key = _operator(operator, password)
        if contract is None:
            machine = Machine(load_config(config, 0, bytes(20)))
            rules = machine.config.rules_hash()
            contract = SettlementClient.deploy(rpc, key, machine.state_root(), rules, token).address.hex()
        state = {"rpc": rpc, "contract": contract, "pid": None}
    known.write_text(json.dumps(state, indent=2))
    client = SettlementClient(state["rpc"], state["contract"], key)
    venue = load_config(config, client.chain_id, client.address)
    host = _Host(directory, engine, client, venue)
    incoming = _Incoming(commands)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    console.print(f"Chain {client.chain_id} at {state['rpc']}, contract 0x{client.address.hex()}")
    with closing(host):
        host.anchor()
        due = time.monotonic() + batch_seconds
        while not (incoming.ended or stopped.is_set()):
            rows = incoming.burst(most, slot_ms / 1000)
            closes = time.monotonic() >= due
            host.slot(rows, closes)
            if closes:
                due = time.monotonic() + batch_seconds
        host.slot(incoming.burst(0, 0), closes=True)


def _operator(name: str | None, password: str | None) -> bytes:
    if not name or not password:
        raise click.UsageError("--rpc needs --operator and its --password")
    return KeyStore(Path.home() / ".hawse" / "keys").load(name, password)
