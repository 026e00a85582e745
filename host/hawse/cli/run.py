"""``hawse run``: the host of a venue."""

import json
import os
import signal
import socket
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeVar

import click
import msgspec

from hawse.chain.client import SettlementClient
from hawse.chain.devchain import DevChain, dev_keys
from hawse.chain.errors import ConnectionLostError
from hawse.commit.data import NOWHERE, ON_CHAIN
from hawse.gateway.limits import Limits
from hawse.gateway.server import Gateway, listen, url_of
from hawse.instruments import Instrument, Kind, Status, Underlying
from hawse.itch.feed import Feed
from hawse.itch.messages import Unfit, symbol_of
from hawse.journal import Journal, JournalBehind, Snapshots
from hawse.journal.codec import OPERATIONS_MOST
from hawse.keys import structs
from hawse.keys.signing import recover_digest
from hawse.keys.store import KeyStore, address_of, derive
from hawse.publisher.lines import Line
from hawse.publisher.store import Outcomes
from hawse.publisher.teller import TellerProcess
from hawse.state.config import VenueConfig
from hawse.state.feeds import sort_out
from hawse.state.inputs import STATE, next_mark
from hawse.state.machines import DEFAULT, FORMS
from hawse.state.rules import FLAGS, RuleSet
from hawse.state.slot import Cut, Observation, Omission, Operation, OperationKind, SlotInput
from hawse.stream.jetstream import HostProcess
from hawse.venue import SlotDone, Venue, check_reach, interim_mark, operation
from hawse.wire import Geometry

from .common import (
    OUTCOMES,
    RunFile,
    address,
    bar,
    clear_errors,
    console,
    json_errors,
    open_engine,
    state_option,
    stream_option,
)
from .intake import Bad, Commands, Flags, Incoming, Opened, Operator, rows_of
from .keys import EMBEDDED
from .settling import Settling
from .validator import Signatures, place_of

#: Quanta that each of the embedded chain's ten accounts deposits; it keeps as many.
DEPOSIT = 1_000_000 * 10**6
#: Blocks behind a deposit or request, on a chain of others.
CONFIRMATIONS = 5
#: Batches that may wait to be anchored before trading waits, too.
UNANCHORED = 128
#: Seconds between two looks whether a slot may be carried out again.
WAIT_SECONDS = 0.5
#: Seconds for which a host that ends waits for validators.
SIGNING_SECONDS = 30
_OPERATOR = derive("hawse run", 0)
T = TypeVar("T")
#: The venue that is opened when no other is given.
DEFAULT_CONFIG = Path(__file__).with_name("venue.toml")


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
        text.pop("run", None)
        given = text.pop("instruments", [])
        if not isinstance(given, list):
            raise ValueError("instruments: not a list of tables, each as [[instruments]]")
        instruments = tuple(_instrument(one, f"instruments[{n}]") for n, one in enumerate(given))
        about = text.pop("underlyings", [])
        if not isinstance(about, list):
            raise ValueError("underlyings: not a list of tables, each as [[underlyings]]")
        underlyings = tuple(_underlying(one, f"underlyings[{n}]") for n, one in enumerate(about))
        geometry = _typed(Geometry, text.pop("geometry", {}), "geometry")
        fixed = {"instruments": instruments, "geometry": geometry, "operator": operator, **chain}
        fixed["underlyings"] = underlyings
        if wrong := fixed.keys() & text.keys():
            raise ValueError(f"{', '.join(sorted(wrong))}: not for this file to say")
        return _typed(VenueConfig, fixed | text, "the file")
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="--config") from error
    except ValueError as error:  # no TOML, no UTF-8, or a field that is wrong
        raise click.BadParameter(f"{path}: {error}", param_hint="--config") from error


def _instrument(given: Any, where: str) -> Instrument:
    """One whose kind is named, and whose expiry is a time with an offset, or milliseconds since 1970."""
    if isinstance(given, dict):
        given = dict(given)
        if isinstance(given.get("kind"), str):
            if given["kind"].upper() not in Kind.__members__:
                raise ValueError(
                    f"{where}: kind {given['kind']!r} is not of {[k.name.lower() for k in Kind]}"
                )
            given["kind"] = Kind[given["kind"].upper()]
        if isinstance(given.get("expiry"), datetime):
            if given["expiry"].tzinfo is None:
                raise ValueError(f"{where}: expiry {given['expiry']} has no offset from UTC: add a Z")
            given["expiry"] = round(given["expiry"].timestamp() * 1000)
    return _typed(Instrument, given, where)


def _underlying(given: Any, where: str) -> Underlying:
    """One whose publishers are addresses in hexadecimal."""
    people = given.get("publishers", []) if isinstance(given, dict) else []
    try:
        publishers = tuple(bytes.fromhex(person.removeprefix("0x")) for person in people)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"{where}: publishers {people!r} are no addresses in hexadecimal") from None
    return _typed(Underlying, given | {"publishers": publishers} if people else given, where)


def _typed(kind: type[T], given: Any, where: str) -> T:
    """A dataclass of what a file gives for it.

    Raises:
        ValueError: a field is unknown, missing, of another type or out of range; says which.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if isinstance(given, dict) and (unknown := sorted(given.keys() - names)):
        raise ValueError(f"{where} has no field {unknown[0]}, but {', '.join(sorted(names))}")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}") from error


def _embedded(config: Path, committee: dict[str, Any]) -> RunFile:
    """A chain of its own process, the contract on it, and deposits of its ten accounts."""
    machine = FORMS[DEFAULT](load_config(config, address_of(_OPERATOR)))
    chain = DevChain([_OPERATOR, *dev_keys(EMBEDDED)], keep=True).start()
    try:
        rules = machine.config.rules_hash()
        data = machine.config.data_provider == ON_CHAIN
        client = SettlementClient.deploy(
            chain.url, _OPERATOR, machine.state_root(), rules, data=data, **committee
        )
        client.mint(_OPERATOR, [address_of(key) for key in dev_keys(EMBEDDED)], 2 * DEPOSIT)
        client.deposit_all([(key, DEPOSIT) for key in dev_keys(EMBEDDED)])
    except BaseException:
        chain.stop()
        raise
    console.print(f"The embedded chain is process {chain.pid} and outlives the host; kill it when done.")
    return RunFile(chain.url, client.address.hex(), chain.pid, validators=_hex(committee))


class _Host:
    """Cuts slots out of what arrives, and tells what became of it.

    Raises:
        JournalBehind: the journal ends before what outcomes, snapshots or the contract know of.
    """

    def __init__(
        self,
        directory: Path,
        engine_name: str,
        form: str,
        client: SettlementClient,
        config: VenueConfig,
        key: bytes,
        stopped: threading.Event,
        operator: Operator | None,
        settling: Settling,
    ) -> None:
        self._client, self._config, self._key, self._operator = client, config, key, operator
        self._directory = directory
        self._settling = settling
        self._gateway: Gateway | None = None
        self._itch: Feed | None = None
        self._lines: list[Line] = []
        self._orderly = False
        with ExitStack() as stack:
            journal = stack.enter_context(Journal(directory / "journal", config.encode()))
            self._outcomes = stack.enter_context(Outcomes(directory / OUTCOMES))
            kept, told = self._outcomes.slot, self._outcomes.batch_slot
            witness = f"the outcomes of slot {kept} are kept in {OUTCOMES}"
            check_reach(journal, kept, witness, inputs=True)
            check_reach(journal, told, f"slot {told} ends a batch that {OUTCOMES} knows to be anchored")
            snapshots = Snapshots(directory / "journal" / "snapshots")
            engine = stack.enter_context(closing(open_engine(engine_name, config.geometry)))
            with bar("Recovering") as progress:
                last = self._outcomes.batch_slot
                self._venue = Venue(
                    config,
                    engine,
                    journal,
                    snapshots,
                    self._keep,
                    progress,
                    last,
                    form,
                    key,
                    self._outcomes.keep_receipts,
                )
            self._check_anchors(journal)
            self._teller = TellerProcess(directory / OUTCOMES, directory / "told", stopped)
            stack.callback(self._teller.close)
            self._stack = stack.pop_all()

    def _check_anchors(self, journal: Journal) -> None:
        """The contract may know of batches that the journal has not got."""
        count, ours = self._client.batch_count(), self._venue.machine.batch - 1
        if count > ours:
            ends = journal.next_slot - 1
            raise JournalBehind(ends, ends, f"batch {count} is anchored, and the journal's last is {ours}")

    def _keep(self, done: SlotDone) -> None:
        """What became of a slot's inputs, to the file and, once there is one, to the gateway."""
        lines = self._outcomes.keep(done)
        if self._gateway is not None and lines is not None:
            self._lines, slot, venue = lines, done.slot, self._venue
            touched = self._outcomes.touched
            self._gateway.tell(slot.number, slot.time, lines, touched, venue.machine, venue.unanchored)
        if self._itch is not None and lines is not None:
            self._itch.tell(done)

    def open_gateway(self, server: socket.socket, incoming: Incoming, limits: Limits) -> None:
        """Serve traders on a listening socket, whose commands go where ``incoming``'s go.

        Raises:
            OSError: it cannot be served.
        """
        path = self._directory / OUTCOMES
        self._gateway = Gateway(server, self._config, path, incoming.offer, limits)
        self._stack.callback(self._stop_gateway)
        orders = self._outcomes.open_orders()
        self._gateway.start(self._outcomes.slot, orders, self._venue.machine, self._venue.unanchored)

    def open_itch(self, target: tuple[str, int], requests: tuple[str, int]) -> Feed:
        """Tell every order of the books to an address, and again to those who ask.

        Raises:
            Unfit: ITCH cannot tell of an instrument.
            OSError: an address or the session's file cannot be had.
        """
        folder, machine, trades = self._directory / "itch", self._venue.machine, self._outcomes.last_trade
        self._itch = Feed(folder, self._config, target, requests, machine, trades)
        self._stack.callback(self._itch.close)
        return self._itch

    def gateway_is_behind(self) -> bool:
        """Whether the gateway has yet to tell so many slots that standard input should make no more."""
        return self._gateway is not None and self._gateway.is_behind

    def publish(self, url: str, signatures: Path, validators: Sequence[bytes]) -> None:
        """Have a process beside us publish the journal to NATS, and collect signatures in a directory."""
        streams = HostProcess(self._directory / "journal", url, signatures, validators)
        self._stack.callback(streams.close)

    def _stop_gateway(self) -> None:
        if self._gateway is not None:
            self._gateway.stop(self._orderly)

    def answer(self, waits: str = "") -> None:
        """What the gateway's clients ask of the state; ``waits``: why no slot is carried out."""
        if self._gateway is not None:
            self._gateway.answer(self._venue.machine, waits)

    def resume(self) -> None:
        """Tell what the last host left untold, and close and anchor what it left open."""
        self._venue.final = self._settling.last_final() or self._venue.final
        self._teller.tell()
        if self._venue.batch_is_open and not self.waits():
            self.slot(Commands(), Cut.BATCH)
        self.anchor()

    @property
    def batch_is_full(self) -> bool:
        """Whether the next slot has to close the batch, whatever the time."""
        return self._venue.batch_is_full

    def slot(self, commands: Commands, cut: Cut) -> None:
        """Carry out one slot of live input, if there is anything to do."""
        machine, closes = self._venue.machine, cut in (Cut.BATCH, Cut.STOP)
        now = max(machine.time, time.time_ns() // 1_000_000)
        deposits, requests = self._settling.queued(machine, closes)
        operations = self._operations(now)
        observations, omissions = self._observations(now)
        filled = bool(len(commands) or deposits or requests or operations or observations or omissions)
        closes = closes and (filled or self._venue.batch_is_open or self._is_silent())
        if not (filled or closes):
            self._venue.give_receipts()
            self.anchor()
            return
        slot = SlotInput(
            self._venue.next_slot,
            now,
            cut,
            machine.batch if closes else None,
            observations=observations,
            omissions=omissions,
            operations=operations,
            deposits=deposits,
            requests=requests,
            authorisations=rows_of(commands.authorisations),
            commands=rows_of(commands.others),
        )
        start = time.monotonic()
        done = self._venue.run_slot(slot, commands.signed, commands.arrived)
        if self._gateway is not None:
            took = time.monotonic() - start
            self._gateway.settle(commands.tickets, done.command_seqs, self._lines, now, took)
        self._teller.tell()
        self.anchor()

    def _operations(self, now: int) -> tuple[Operation, ...]:
        """What the operator has said, signed by him for the next slot."""
        if self._operator is None:
            return ()
        self.refuse(self._operator.bad())
        return (*self._ruled(self._operator, now), *self._moved(self._operator, now))[:OPERATIONS_MOST]

    def _observations(self, now: int) -> tuple[tuple[Observation, ...], tuple[Omission, ...]]:
        """What publishers have signed, and what the next slot leaves out of it; that is told, too."""
        places: dict[tuple[Observation, bytes | None], int] = {}
        feeds = self._venue.machine.feeds
        for line, one in self._operator.observed() if self._operator else ():
            signature = bytes.fromhex(one.signature[2:])
            struct_hash = structs.observation(one.feed, one.value, one.time, one.number)
            signer = recover_digest(self._config.domain.digest(struct_hash), signature)
            people = feeds[one.feed].terms.publishers if one.feed in feeds else ()
            if signer not in people:
                who = "0x" + signer.hex() if signer else "nobody"
                self.refuse([Bad(line, f"observed: signed by {who}, no publisher of feed {one.feed}")])
                continue
            said = Observation(people.index(signer), one.feed, one.value, one.time, one.number, signature)
            places.setdefault((said, signer), line)
        taken, omitted, why = sort_out(feeds, places, now)
        lines = {(o.publisher, o.feed, o.number): line for (o, _), line in places.items()}
        for left_out, error in zip(omitted, why, strict=True):
            line = lines[left_out.publisher, left_out.feed, left_out.number]
            self.refuse([Bad(line, f"observed: {left_out.reason.name}, {error}")])
        return tuple(taken), tuple(omitted)

    def _status(self, one: Opened, now: int) -> bytes:
        markets, number = self._venue.machine.markets, one.instrument
        if number not in markets:
            raise ValueError(f"instrument {number} is not of {[*markets]}")
        expiry = markets[number].terms.expiry
        if expiry and now >= expiry:
            raise ValueError(f"instrument {number} expired at {expiry}, and it is {now}")
        return bytes(STATE.pack(number, Status[one.status.replace("-", "_").upper()]))

    def _ruled(self, operator: Operator, now: int) -> Iterator[Operation]:
        """Rules, flags, and what may be done with instruments."""
        machine, slot = self._venue.machine, self._venue.next_slot
        for line, one in operator.rulings():
            kind, body = OperationKind.RULES, b""
            try:
                if isinstance(one, Opened):
                    kind, body = OperationKind.STATE, self._status(one, now)
                elif isinstance(one, Flags):
                    owner = bytes.fromhex(one.owner[2:])
                    if machine.account_of(owner) is None:
                        raise ValueError(f"{one.owner} has no account")
                    kind, body = OperationKind.FLAGS, FLAGS.pack(owner, one.bits)
                else:
                    number = 1 + (machine.rules.number if machine.rules else 0)
                    body = RuleSet(number, *msgspec.structs.astuple(one.rules)).encode()
            except ValueError as error:
                self.refuse([Bad(line, f"{kind.name.lower()}: {error}")])
            else:
                yield operation(self._config.domain, self._key, slot, kind, body)

    def _moved(self, operator: Operator, now: int) -> Iterator[Operation]:
        """Marks on their way to what he said last, a step at a time, the longest unmoved first."""
        markets, slot = self._venue.machine.markets, self._venue.next_slot
        longest_ago = sorted(operator.newest().items(), key=lambda said: (markets[said[0]].mark_time, said))
        for instrument, wanted in longest_ago:
            market = markets[instrument]
            mark = next_mark(market, wanted, now, self._config.mark_step_ppm)
            if mark != market.mark:
                yield interim_mark(self._config.domain, self._key, slot, instrument, mark)

    def refuse(self, bad: Sequence[Bad]) -> None:
        """Say which lines are no commands, and why."""
        for line, error in bad:
            self._teller.say(json.dumps({"input": line, "event": "unreadable", "error": error[:500]}))

    def _is_silent(self) -> bool:
        return not self._venue.unanchored and self._settling.is_silent()

    def anchor(self, wait: bool = False) -> None:
        """Anchor the next batch that is sealed, so that slots wait for one block at most; ``wait``: all."""
        for number, sealed in (self._venue.pending if wait else self._venue.ready).items():
            sent = self._settling.anchor(sealed.header, sealed.data)
            if sent is None:
                return
            # Once the batch is told, a recovery begins behind it.
            self._venue.give_receipts()
            lines = self._outcomes.keep_batch(sealed, sent.hash)
            if self._gateway is not None:
                self._gateway.anchored(sealed, lines)
            self._venue.anchored(number, sent.hash)
            self._venue.final = self._settling.last_final() or self._venue.final
            self._teller.tell()
            if not wait:
                return

    def waits(self) -> str:
        """Why no slot may be carried out now; empty if one may."""
        if self._settling.blind:
            self._settling.queued(self._venue.machine, True)
        if self._settling.blind:
            return "the contract's queues cannot be read"
        if self._venue.unanchored >= UNANCHORED:
            self.anchor()
        if self._venue.unanchored >= UNANCHORED:
            return f"{UNANCHORED} batches wait to be anchored"
        return ""

    def finish(self) -> None:
        """Close the batch, anchor it, and have all of it told.

        Raises:
            ConnectionLostError: the chain did not take it.
            OutputLost: nobody can read it any more.
        """
        if self._gateway is not None:
            self._gateway.ends()
        self._settling.hurry()
        why = self.waits()
        if not why:
            self.slot(Commands(), Cut.STOP)
        self._orderly = True
        if not why:
            self._settling.hurry()
            end = time.monotonic() + (SIGNING_SECONDS if self._settling.threshold else 0)
            self.anchor(wait=True)
            while self._venue.unanchored and time.monotonic() < end:
                time.sleep(0.1)
                self.anchor(wait=True)
        self._venue.give_receipts(wait=True)
        self._teller.finish()
        if self._venue.unanchored:
            left = ", ".join(map(str, sorted(self._venue.pending)))
            raise ConnectionLostError(f"sealed, but not anchored: batch {left}; the next start anchors it")
        if why and self._venue.batch_is_open:
            raise ConnectionLostError(f"the batch stays open, for {why}; the next start closes it")

    def close(self) -> None:
        """Give engine, journal and outcomes back."""
        self._stack.close()


#: Options that a file may not give: a secret, and what the file itself is.
_NOT_IN_A_FILE = frozenset({"password", "config", "commands", "json"})


def run_table(path: Path) -> dict[str, Any]:
    """The table ``[run]`` of a file: names of the options of ``hawse run``, and ``directory``.

    Raises:
        click.BadParameter: the file cannot be read, or a name is none of those.
    """
    known = {*_by_option(run)}
    try:
        given = tomllib.loads(path.read_text()).get("run", {})
        if not isinstance(given, dict):
            raise ValueError("run: not a table, [run]")
        if unknown := sorted(given.keys() - known):
            raise ValueError(f"run has no field {unknown[0]}, but {', '.join(sorted(known))}")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise click.BadParameter(f"{path}: {why}", param_hint="--config") from error
    return given


def _by_option(command: click.Command) -> dict[str, str]:
    """Parameters that a file may give, by the name of their option."""
    given = (param for param in command.params if param.name and param.name not in _NOT_IN_A_FILE)
    return {param.opts[0].lstrip("-").replace("-", "_"): str(param.name) for param in given}


def _run_options(context: click.Context, _: click.Parameter, path: Path) -> Path:
    """Take the table ``[run]`` of the file as defaults."""
    names = _by_option(context.command)
    context.default_map = {names[option]: value for option, value in run_table(path).items()}
    return path


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("commands", type=click.File("rb"), default="-")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    is_eager=True,
    callback=_run_options,
    help="The venue, as TOML; its table [run] may give DIRECTORY and these options.",
)
@click.option(
    "--operations",
    type=click.File("rb"),
    help="File or pipe of the operator's and publishers' lines: marks, rules, flags, prices.",
)
@click.option(
    "--engine", default="soft", show_default=True, help="soft, golden, rtl, or the URL or device of a board."
)
@state_option
@click.option("--rpc", help="EVM node; without it an embedded chain is started, with ten funded accounts.")
@click.option("--contract", help="Settlement contract on that node; without it one is deployed.")
@click.option("--operator", help="Name of the operator's key in the key store, for --rpc.")
@click.option("--password", envvar="HAWSE_PASSWORD", help="Of that key; or in HAWSE_PASSWORD.")
@click.option("--token", help="Quote token for a contract that is deployed; a test token without it.")
@click.option(
    "--validator",
    "validators",
    multiple=True,
    help="Address of one who may sign batches, for a contract that is deployed; may be repeated.",
)
@click.option(
    "--threshold",
    type=click.IntRange(0, 16),
    default=0,
    show_default=True,
    help="How many validators have to sign a batch; likewise.",
)
@click.option(
    "--confirmations",
    type=click.IntRange(0),
    show_default="0 on the embedded chain, else 5",
    help="Blocks behind a deposit or request before it is booked.",
)
@click.option(
    "--signatures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory where hawse validator leaves them; not with --stream.",
)
@stream_option
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
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="Serve traders there, by REST and WebSocket, and a dashboard; off without it. PORT alone is of this"
    " machine only. The end of COMMANDS is then not the end of the host.",
)
@click.option(
    "--http-rate",
    type=click.IntRange(1),
    default=Limits.requests,
    show_default=True,
    help="Requests a second that one address may make.",
)
@click.option(
    "--itch",
    metavar="HOST:PORT",
    help="Send every order of the books there, to a group or host, as ITCH 5.0 over MoldUDP64.",
)
@click.option(
    "--itch-requests",
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    show_default=True,
    help="Where readers ask again for what they lost.",
)
@json_errors
@clear_errors
def run(
    directory: Path,
    commands: IO[bytes],
    config: Path,
    operations: IO[bytes] | None,
    engine: str,
    form: str,
    rpc: str | None,
    contract: str | None,
    operator: str | None,
    password: str | None,
    token: str | None,
    validators: tuple[str, ...],
    threshold: int,
    confirmations: int | None,
    signatures: Path | None,
    stream: str | None,
    most: int,
    slot_ms: int,
    batch_seconds: float,
    http: str | None,
    http_rate: int,
    itch: str | None,
    itch_requests: str,
) -> None:
    """Run a venue: signed commands in, outcomes out.

    COMMANDS is a stream of signed commands as JSON, one a line (- is standard input), as hawse keys sign
    writes them. What became of each is said in the same way on standard output, exactly once, to taker and
    maker alike. DIRECTORY holds journal and outcomes; a venue that was stopped or killed goes on from there:
    what is not told yet is told, and what is open is closed and anchored. The end of the input, or an
    interrupt, closes the batch, anchors it and ends the host.
    """
    stopped = threading.Event()
    if stream is not None:
        if signatures is not None:
            raise click.UsageError("--signatures, --stream: signatures come one way, not both")
        place_of(stream)
        signatures = directory / "signed"
    server = None if http is None else _listen(http)
    feed = None if itch is None else (_place("--itch", itch), _place("--itch-requests", itch_requests))
    if feed is not None:
        _check_symbols(config)
    if not (directory / "run.json").exists():
        # An engine that does not fit is refused before there is a chain.
        open_engine(engine, load_config(config, bytes(20)).geometry).close()
    signers = [address(text) for text in validators]
    committee = {"validators": signers, "threshold": threshold}
    state, key = _begin(directory, config, rpc, contract, operator, password, token, committee)
    # From here on a signal ends the host in good order, also while it recovers.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.set())
    depth = confirmations if confirmations is not None else 0 if state.pid else CONFIRMATIONS
    client = SettlementClient(state.rpc, state.contract, key, confirmations=depth)
    chain = {"chain_id": client.chain_id, "contract": client.address, "token": client.token}
    venue = load_config(config, address_of(key), **chain)
    heard = {u.number for u in venue.underlyings if u.publishers}  # whose marks are not the operator's
    marked = [i.number for i in venue.instruments if i.underlying not in heard]
    said = Operator(operations, marked) if operations else None
    settling = _settling(client, venue, state, signatures, signers)
    with closing(_Host(directory, engine, form, client, venue, key, stopped, said, settling)) as host:
        if stream is not None:
            assert signatures is not None
            people = sorted({*signers, *map(bytes.fromhex, state.validators)})
            host.publish(stream, signatures, people)
        console.print(f"Chain {client.chain_id} at {state.rpc}, contract 0x{client.address.hex()}")
        held = host.gateway_is_behind
        incoming = Incoming(commands, venue.domain, endless=server is not None, held=held)
        if server is not None:
            host.open_gateway(server, incoming, Limits(requests=http_rate))
            console.print(f"Gateway at {url_of(server)}/")
        if feed is not None:
            told = host.open_itch(*feed)
            place = f"{feed[0][0]}:{feed[0][1]}, requests to {told.address[0]}:{told.address[1]}"
            console.print(f"ITCH at {place}, session {told.session.decode()}")
        _notify("READY=1")
        _serve(host, incoming, stopped, most, slot_ms, batch_seconds)


def _listen(address: str) -> socket.socket:
    """A socket for the gateway, before there is anything that would have to be undone."""
    try:
        return listen(address if ":" in address else f"127.0.0.1:{address}")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--http") from error
    except OSError as error:
        raise click.BadParameter(f"{address}: {error.strerror}", param_hint="--http") from error


def _check_symbols(config: Path) -> None:
    """What ITCH cannot tell of is refused before there is a chain."""
    try:
        for terms in load_config(config, bytes(20)).instruments:
            symbol_of(terms)
    except Unfit as error:
        raise click.BadParameter(str(error), param_hint="--itch") from error


def _place(option: str, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 0xFFFF:
        raise click.BadParameter(f"{address!r} is not HOST:PORT, as in 239.1.1.1:26477", param_hint=option)
    return host or "127.0.0.1", int(port)


def _hex(committee: dict[str, Any]) -> tuple[str, ...]:
    return tuple(validator.hex() for validator in committee["validators"])


def _settling(
    client: SettlementClient,
    config: VenueConfig,
    state: RunFile,
    signatures: Path | None,
    validators: Sequence[bytes],
) -> Settling:
    """The chain's side, with the validators of the contract where it has some."""
    threshold = client.terms()["threshold"]
    theirs, ours = ON_CHAIN if client.takes_data() else NOWHERE, config.data_provider
    if theirs != ours:
        raise click.UsageError(f"--config: data_provider is {ours}, and the contract's is {theirs}")
    known = sorted({*validators, *map(bytes.fromhex, state.validators)})
    if threshold and signatures is None:
        raise click.UsageError(f"--signatures: a batch needs {threshold} of validators")
    if len(known) < threshold:
        raise click.UsageError(f"--validator: {len(known)} are known, and a batch needs {threshold}")
    if strangers := [v for v in known if not client.is_validator(v)]:
        raise click.UsageError(f"--validator: the contract does not know 0x{strangers[0].hex()}")
    return Settling(client, Signatures(signatures, config) if signatures else None, known)


def _begin(
    directory: Path,
    config: Path,
    rpc: str | None,
    contract: str | None,
    operator: str | None,
    password: str | None,
    token: str | None,
    committee: dict[str, Any],
) -> tuple[RunFile, bytes]:
    """Where the venue's chain is, and the operator's key; for a new venue, all that it takes to have them."""
    directory.mkdir(parents=True, exist_ok=True)
    known = directory / "run.json"
    if known.exists():
        return RunFile.read(known), _operator(operator, password) if operator else _OPERATOR
    if rpc is None:
        state, key = _embedded(config, committee), _OPERATOR
    else:
        key = _operator(operator, password)
        if contract is None:
            machine = FORMS[DEFAULT](load_config(config, address_of(key)))
            rules = machine.config.rules_hash()
            data = machine.config.data_provider == ON_CHAIN
            client = SettlementClient.deploy(
                rpc, key, machine.state_root(), rules, token, data=data, **committee
            )
            contract = client.address.hex()
        state = RunFile(rpc, contract, validators=_hex(committee))
    state.write(known)
    return state, key


def _serve(
    host: _Host, incoming: Incoming, stopped: threading.Event, most: int, slot_ms: int, batch_seconds: float
) -> None:
    """Slots of what arrives, until it ends or an interrupt comes; the last one closes the batch."""
    host.resume()
    due = time.monotonic() + batch_seconds
    told = ""
    while not (incoming.ended or stopped.is_set()):
        if why := host.waits():
            if why != told:
                console.print(f"No slot is carried out while {why}.")
            told = why
            host.answer(why)
            stopped.wait(WAIT_SECONDS)
            continue
        told = ""
        host.answer()
        commands, bad = incoming.burst(most, slot_ms / 1000)
        host.refuse(bad)
        closes = time.monotonic() >= due or host.batch_is_full
        full = len(commands) >= most
        host.slot(commands, Cut.BATCH if closes else Cut.COUNT if full else Cut.TIME)
        if closes:
            due = time.monotonic() + batch_seconds
    _notify("STOPPING=1")
    host.finish()


def _notify(word: str) -> None:
    """To systemd, where it has started the host and wants to know."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one, suppress(OSError):
            one.sendto(word.encode(), "\0" + address[1:] if address.startswith("@") else address)


def _operator(name: str | None, password: str | None) -> bytes:
    if not name or not password:
        raise click.UsageError("--rpc needs --operator and its --password")
    return KeyStore(Path.home() / ".hawse" / "keys").load(name, password)
