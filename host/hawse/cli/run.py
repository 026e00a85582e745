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
from hawse.instruments import Instrument
from hawse.journal import Journal, Snapshots
from hawse.keys import lines
from hawse.keys.messages import MESSAGE, MessageKind, split
from hawse.keys.store import KeyStore, address_of, derive
from hawse.state.config import VenueConfig
from hawse.state.machine import Machine
from hawse.state.slot import Cut, Deposit, Refusal, SlotInput
from hawse.venue import Sealed, SlotDone, Venue, interim_mark
from hawse.wire import Geometry, Kind, Reason
from hawse.wire.dtypes import Array, kinds

from .common import bar, clear_errors, console, open_engine

#: Quanta that each of the embedded chain's ten accounts deposits.
DEPOSIT = 1_000_000 * 10**6
#: Seconds between two looks at the chain for deposits.
DEPOSIT_SECONDS = 1.0
_OPERATOR = derive("hawse run", 0)
_DEFAULT = Path(__file__).with_name("venue.toml")


def load_config(path: Path, operator: bytes, **chain: Any) -> VenueConfig:
    """A venue's parameters from a TOML file of ``[geometry]`` and ``[[instruments]]``.

    Args:
        path: of the file.
        operator: the operator's address, 20 bytes.
        chain: ``chain_id``, ``contract`` and ``token``, once they are known.

    Raises:
        click.BadParameter: a field is missing, unknown or out of range; says which.
    """
    try:
        text = tomllib.loads(path.read_text())
        instruments = tuple(Instrument(**i) for i in text.pop("instruments", []))
        geometry = Geometry(**text.pop("geometry", {}))
        return VenueConfig(instruments=instruments, geometry=geometry, operator=operator, **chain, **text)
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
        return np.concatenate(rows) if rows else np.zeros(0, MESSAGE)


def say(row: dict[str, Any]) -> None:
    """One JSON object on a line of standard output."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def outcomes(done: SlotDone, machine: Machine) -> list[dict[str, Any]]:
    """What became of each deposit and command of a slot: refused by the host, or the engine's reports.

    A refusal has its reason, which field or limit it concerns, and the two numbers behind it.
    """
    refused = {r.seq: _refusal(r) for r in done.outcome.refusals}
    first = done.outcome.first_seq + len(done.slot.operations)
    rows: dict[int, dict[str, Any]] = {}
    for seq, deposit in enumerate(done.slot.deposits, first):
        row: dict[str, Any] = {"slot": done.slot.number, "seq": seq, "deposit": deposit.index}
        row |= {"owner": "0x" + deposit.owner.hex(), "amount": deposit.amount}
        account = machine.account_of(deposit.owner)
        if account is not None:
            row |= {"account": account.index, "generation": account.generation}
        rows[seq] = row | refused.get(seq, {})
    commands = done.slot.commands
    starts = split(commands).starts
    for seq, head in enumerate(commands[starts], first + len(rows)):
        row = {"slot": done.slot.number, "seq": seq, "kind": MessageKind(int(head["kind"])).name.lower()}
        row |= {name: int(head[name]) for name in ("account", "client_id", "nonce")}
        rows[seq] = row | refused.get(seq, {"reports": []})
    _reports(done, rows)
    return list(rows.values())


def _refusal(refusal: Refusal) -> dict[str, Any]:
    numbers = {name: getattr(refusal, name) for name in ("detail", "have", "need")}
    return {"refused": refusal.reason.name.lower()} | numbers


def _reports(done: SlotDone, rows: dict[int, dict[str, Any]]) -> None:
    """The engine's reports, each to the row of its command."""
    events, first = done.burst.events, done.outcome.first_seq
    columns = zip(kinds(events).tolist(), events, done.orders.tolist(), done.makers.tolist(), strict=True)
    for kind, event, client_id, maker_id in columns:
        report: dict[str, Any] = {"kind": Kind(kind).name.lower(), "client_id": client_id}
        report |= {"price": int(event["price"]), "quantity": int(event["quantity"])}
        if event["reason"]:
            report["reason"] = Reason(int(event["reason"])).name.lower()
        if kind == Kind.TRADE:
            report["maker_id"] = maker_id
        # A record carries the low half of its sequence number.
        rows[first + (int(event["seq"]) - first) % 2**32]["reports"].append(report)


def _embedded(config: Path) -> dict[str, Any]:
    """A chain of its own process, the contract on it, and deposits of its ten accounts."""
    machine = Machine(load_config(config, address_of(_OPERATOR)))
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
        self, directory: Path, engine_name: str, client: SettlementClient, config: VenueConfig, key: bytes
    ) -> None:
        self._stack = ExitStack()
        self._client, self._config, self._key = client, config, key
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

    def slot(self, commands: Array, cut: Cut) -> bool:
        """Carry out one slot of live input; False if there was nothing to do."""
        machine, closes = self._venue.machine, cut in (Cut.BATCH, Cut.STOP)
        deposits: tuple[Deposit, ...] = ()
        if closes or time.monotonic() >= self._look_again:
            deposits = tuple(self._client.deposits_since(machine.deposit_index))
            self._look_again = time.monotonic() + DEPOSIT_SECONDS
        if not (len(commands) or deposits or (closes and self._venue.next_slot > self._first_of_batch)):
            return False
        number, terms = self._venue.next_slot, (self._config.domain, self._key, self._venue.next_slot)
        slot = SlotInput(
            number,
            max(machine.time, time.time_ns() // 1_000_000),
            cut,
            machine.batch if closes else None,
            operations=tuple(
                interim_mark(*terms, instrument, mark)
                for instrument, mark in sorted(self._marks.items())
                if machine.markets[instrument].mark != mark
            ),
            deposits=deposits,
            commands=commands,
        )
        done = self._venue.run_slot(slot)
        for row in outcomes(done, self._venue.machine):
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
            for row in _withdrawals(sealed):
                say(row)
            root = sealed.header.state_root.hex()
            say({"batch": number, "state_root": root, "transaction": "0x" + sent.hash.hex()})

    def close(self) -> None:
        """Give engine and journal back."""
        self._stack.close()


def _withdrawals(sealed: Sealed) -> list[dict[str, Any]]:
    """What each owner needs for his claim: the withdrawal, its range of ids, its siblings with their sums."""
    header, state = sealed.header, sealed.state
    among = {"root": "0x" + header.withdrawals_root.hex(), "first": header.withdrawals_first}
    among |= {"count": header.withdrawals_count, "sum": header.withdrawals_sum}
    return [
        {
            "withdrawal": withdrawal.id,
            "batch": header.number,
            "owner": "0x" + withdrawal.owner.hex(),
            "amount": withdrawal.amount,
            "among": among,
            "proof": [["0x" + node.hash.hex(), *node.sums] for node in proof],
        }
        for withdrawal, proof in zip(state.withdrawals, state.withdrawal_proofs(), strict=True)
    ]


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
    "--slot", "most", type=click.IntRange(1, 512), default=256, show_default=True, help="Commands a slot."
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
            machine = Machine(load_config(config, address_of(key)))
            rules = machine.config.rules_hash()
            contract = SettlementClient.deploy(rpc, key, machine.state_root(), rules, token).address.hex()
        state = {"rpc": rpc, "contract": contract, "pid": None}
    known.write_text(json.dumps(state, indent=2))
    client = SettlementClient(state["rpc"], state["contract"], key)
    chain = {"chain_id": client.chain_id, "contract": client.address, "token": client.token}
    host = _Host(directory, engine, client, load_config(config, address_of(key), **chain), key)
    console.print(f"Chain {client.chain_id} at {state['rpc']}, contract 0x{client.address.hex()}")
    _serve(host, _Incoming(commands), most, slot_ms, batch_seconds)


def _serve(host: _Host, incoming: _Incoming, most: int, slot_ms: int, batch_seconds: float) -> None:
    """Slots of what arrives, until it ends or an interrupt comes; the last one closes the batch."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with closing(host):
        host.anchor()
        due = time.monotonic() + batch_seconds
        while not (incoming.ended or stopped.is_set()):
            rows = incoming.burst(most, slot_ms / 1000)
            closes = time.monotonic() >= due
            host.slot(rows, Cut.BATCH if closes else Cut.TIME if len(rows) < most else Cut.COUNT)
            if closes:
                due = time.monotonic() + batch_seconds
        host.slot(incoming.burst(0, 0), Cut.STOP)


def _operator(name: str | None, password: str | None) -> bytes:
    if not name or not password:
        raise click.UsageError("--rpc needs --operator and its --password")
    return KeyStore(Path.home() / ".hawse" / "keys").load(name, password)
