"""``hawse demo``: real order flow through the whole appliance, into money on a chain, and out again."""

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from hawse_sim.flow import CaptureMissing, Flow, generate, load_capture, tape
from rich.console import Console
from rich.table import Table

from hawse.chain.client import Claim, SettlementClient
from hawse.chain.devchain import DevChain
from hawse.chain.history import ChainHistory
from hawse.chain.rebuild import rebuild
from hawse.commit.data import ON_CHAIN
from hawse.commit.trees import Node
from hawse.commit.withdrawals import Range, Withdrawal
from hawse.instruments import Instrument
from hawse.journal import Journal, Snapshots
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.keys.signing import sign
from hawse.keys.store import address_of, derive
from hawse.results import record
from hawse.state.config import VenueConfig
from hawse.state.inputs import next_mark
from hawse.state.ledger import INSURANCE, TRANSFER_BITS
from hawse.state.machines import DEFAULT, FORMS, AnyMachine
from hawse.state.slot import Cut, SlotInput
from hawse.venue import Sealed, SlotDone, Venue, interim_mark
from hawse.wire import Geometry, Kind, Opcode, Side
from hawse.wire.dtypes import Array, kinds

from .common import (
    GeometryType,
    RunFile,
    bar,
    clear_errors,
    console,
    json_option,
    open_engine,
    say,
    state_option,
)

#: Levels that the flow's own band has.
LEVELS = 32_768
GEOMETRY = Geometry(instruments=2, pool=LEVELS, orders=8_192)
#: Rows of the capture behind its snapshot; about two minutes on two cores.
ROWS = 200_000
GENERATED = 30_000
ACCOUNTS = 240
DEPOSIT = 10_000_000 * 10**6
SLOT = 256
SLOTS_PER_BATCH = 16
#: Milliseconds that a command is good for.
EXPIRY = 60_000
_SEED = "hawse demo"
_OPERATOR = derive(_SEED, 0)
_KINDS = {
    Opcode.NEW: MessageKind.ORDER,
    Opcode.CANCEL: MessageKind.CANCEL,
    Opcode.REPLACE: MessageKind.REPLACE,
    Opcode.REDUCE: MessageKind.REDUCE,
}


def _keys(accounts: int) -> list[bytes]:
    """Private keys of the accounts, account *i* at ``i - 1``."""
    return [derive(_SEED, n) for n in range(1, accounts + 1)]


def assign_accounts(flow: Flow, count: int) -> Array:
    """The flow's commands as signed messages, each order given to an account by a fixed rule, unsigned yet.

    Buyers are the first half of ``count`` accounts, sellers the other, so that nobody ever meets himself.
    A nonce is the command's time, or the next that its account has not used.
    """
    rows = np.zeros(len(flow), MESSAGE)
    orders = flow.orders
    kind = np.zeros(16, np.uint8)
    for opcode, value in _KINDS.items():
        kind[opcode] = value
    rows["kind"] = kind[orders["opcode"]]
    new = orders["opcode"] == Opcode.NEW
    rows["side"] = np.where(new, orders["flags"] & 1, 0)
    rows["time_in_force"] = np.where(new, orders["flags"] >> 1 & 3, 0)
    rows["price"], rows["quantity"] = orders["price"], orders["quantity"]
    rows["client_id"] = orders["order_id"]
    rows["expiry"] = flow.times + EXPIRY
    owners: dict[int, int] = {}
    nonces = Counter[int]()
    accounts, used = [], []
    for order_id, is_new, side, at in zip(
        *(c.tolist() for c in (orders["order_id"], new, rows["side"], flow.times)), strict=True
    ):
        if is_new:
            spread = (order_id * 0x9E37_79B9_7F4A_7C15 % 2**64 >> 32) % (count // 2)
            owners[order_id] = 1 + spread + (count // 2 if side == Side.SELL else 0)
        account = owners[order_id]
        nonces[account] = max(nonces[account] + 1, at)
        accounts.append(account)
        used.append(nonces[account])
    rows["account"], rows["nonce"] = accounts, used
    # Account n is opened by deposit n.
    rows["generation"] = rows["account"].astype(np.uint64) << np.uint64(TRANSFER_BITS)
    return rows


def withdrawals(machine: AnyMachine) -> Array:
    """A message from every account that withdraws all its free collateral, unsigned."""
    users = machine.accounts[INSURANCE + 1 :]
    rows = np.zeros(len(users), MESSAGE)
    for row, account in zip(rows, users, strict=True):
        row["kind"], row["account"] = MessageKind.WITHDRAW, account.index
        row["generation"], row["amount"] = account.generation, machine.withdrawable(account)
        row["nonce"] = max([machine.time, *(nonce + 1 for nonce in account.nonces.used[-1:])])
        row["expiry"] = machine.time + EXPIRY
    return rows[rows["amount"] > 0]


@dataclass
class Run:
    """One run of the demo, in a directory; what a killed one left there is taken up again.

    ``batches`` and ``trades`` are kept in files beside the journal, one JSON line a batch or a slot, the last
    line of each number counting: a recovery may write one again.
    """

    out: Path
    flow: Flow
    engine_name: str
    rpc: str
    contract: str
    accounts: int
    geometry: Geometry

    def __post_init__(self) -> None:
        self.batches = self._read("batches.jsonl", "number")
        self.trades = self._read("trades.jsonl", "slot")
        self.keys = _keys(self.accounts)
        self.client = SettlementClient(self.rpc, self.contract, _OPERATOR)
        self.config = replace(
            rules(self.flow, self.geometry),
            chain_id=self.client.chain_id,
            contract=self.client.address,
            token=self.client.token,
        )

    def _read(self, name: str, key: str) -> dict[int, dict[str, Any]]:
        path = self.out / name
        if not path.exists():
            return {}
        # A host killed while it wrote leaves half a line, which the recovery writes again.
        *lines, half = path.read_bytes().split(b"\n")
        os.truncate(path, path.stat().st_size - len(half))
        return {row[key]: row for row in map(json.loads, lines)}

    def _append(self, name: str, row: dict[str, Any]) -> None:
        with (self.out / name).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def publish(self, done: SlotDone) -> None:
        """Note the trades of a slot."""
        events = done.burst.events
        trades = events[kinds(events) == Kind.TRADE]
        if not len(trades):
            return
        selling = trades["kind"] >> 4 & 1
        taker, maker = (ids[kinds(events) == Kind.TRADE] for ids in (done.orders, done.makers))
        buyer = np.where(selling, maker, taker).tolist()
        seller = np.where(selling, taker, maker).tolist()
        columns = (buyer, seller, trades["price"].tolist(), trades["quantity"].tolist())
        row = {"slot": done.slot.number, "trades": list(zip(*columns, strict=True))}
        self.trades[done.slot.number] = row
        self._append("trades.jsonl", row)

    def anchor(self, venue: Venue) -> None:
        """Anchor what is sealed."""
        for number, sealed in sorted(venue.pending.items()):
            sent = self.client.anchor(sealed.header, data=sealed.data)
            row = _batch_row(sealed) | {"gas": sent.gas_used, "transaction": sent.hash.hex()}
            row["digest"] = self.client.digest(sealed.header).hex()
            self.batches[number] = row
            self._append("batches.jsonl", row)
            venue.anchored(number, sent.hash)

    def _slot(self, venue: Venue, time: int, mark: int, commands: Array, last: bool = False) -> SlotInput:
        machine, number = venue.machine, venue.next_slot
        closes = last or number % SLOTS_PER_BATCH == SLOTS_PER_BATCH - 1
        deposits = tuple(self.client.deposits_since(machine.deposit_index)) if number == 0 else ()
        market = machine.markets[0]
        mark = next_mark(market, mark, time, self.config.mark_step_ppm)
        moved = market.mark != mark
        return SlotInput(
            number,
            time,
            Cut.BATCH if closes else Cut.COUNT,
            machine.batch if closes else None,
            operations=(interim_mark(self.config.domain, _OPERATOR, number, 0, mark),) if moved else (),
            deposits=deposits,
            commands=commands,
        )

    def trade(self, venue: Venue) -> None:
        """Deposits first, then the flow from where the journal ends."""
        commands = assign_accounts(self.flow, self.accounts)
        times, marks = self.flow.times.tolist(), self.flow.marks.tolist()
        if venue.next_slot == 0:
            slot = self._slot(venue, times[0], self.flow.first_mark, commands[:0])
            venue.run_slot(slot)
        with bar("Trading") as progress:
            # Slot 0 holds the deposits; each behind it the next SLOT commands.
            for first in range((venue.next_slot - 1) * SLOT, len(commands), SLOT):
                some = commands[first : first + SLOT]
                sign(some, self.config.domain, [self.keys[a - 1] for a in some["account"].tolist()])
                last = first + len(some) - 1
                venue.run_slot(self._slot(venue, times[last], marks[last], some))
                self.anchor(venue)
                progress(last + 1, len(commands))

    def withdraw(self, venue: Venue) -> None:
        """Everybody asks for what is free; the batch that pays it is anchored, and the proofs are claimed."""
        machine = venue.machine
        some = withdrawals(machine)
        if len(some):
            sign(some, self.config.domain, [self.keys[a - 1] for a in some["account"].tolist()])
            mark = machine.markets[0].mark
            venue.run_slot(self._slot(venue, machine.time + 1, mark, some, last=True))
            self.anchor(venue)
        wanted = []
        for number, batch in sorted(self.batches.items()):
            among = Range(bytes.fromhex(batch["withdrawals_root"]), *batch["withdrawals_range"])
            for w in batch["withdrawals"]:
                due = Withdrawal(w["id"], bytes.fromhex(w["owner"]), 0, w["amount"])
                proof = [Node(bytes.fromhex(hash_), (total,)) for hash_, total in w["proof"]]
                account = machine.account_of(due.owner)
                if account and not self.client.claimed(due.id):
                    claim = Claim(number, among, due, proof)
                    wanted.append((self.keys[account.index - 1], claim))
        with bar("Claims with proofs", len(wanted)) as progress:
            self.client.claim_all(wanted, progress)

    def summary(self, venue: Venue) -> dict[str, Any]:
        """What others read, see the README."""
        batches = [self.batches[n] for n in sorted(self.batches)]
        paid = [w["id"] for b in batches for w in b["withdrawals"] if self.client.claimed(w["id"])]
        return {
            "engine": self.engine_name,
            "commands": len(self.flow),
            "trades": sum(len(row["trades"]) for row in self.trades.values()),
            "cycles": sum(b["cycles"] for b in batches),
            "log_roots_hardware": [b["log_root_hardware"] for b in batches],
            "log_roots_host": [b["log_root_host"] for b in batches],
            "state_roots": [b["state_root"] for b in batches],
            "state_roots_onchain": [self._vouched(n) for n in range(1, self.client.batch_count() + 1)],
            "batches_anchored": self.client.batch_count(),
            "records": sum(b["records"] for b in batches),
            "gas_anchors": sum(b["gas"] for b in batches),
            "data_bytes": sum(b["data_bytes"] for b in batches),
            "accounts": len(venue.machine.accounts) - 1,
            "deposits": self.client.deposit_count(),
            "deposited": venue.machine.deposited,
            "withdrawals_claimed": len(paid),
            "withdrawn": venue.machine.withdrawn,
            "collateral_locked": self.client.collateral_locked(),
            "sum_of_balances": int(venue.machine.sum_of_balances()),
            "fees": venue.machine.fees,
        }

    def leave(self) -> dict[str, int]:
        """The operator is gone for good: everybody is paid by what the chain alone says, and who is left."""
        client, key = self.client, self.keys[0]
        client.move_clock(client.chain_time() + client.terms()["grace"] + 60)
        client.freeze(key)
        with bar("Rebuilding from the chain alone") as progress:
            found = rebuild(ChainHistory(self.rpc, self.contract), client.last_final(), progress)
        paid = zip(found.leaves, found.payouts, strict=True)
        wanted = [(leaf, found.proof(leaf.index)) for leaf, payout in paid if payout]
        held = client.collateral_locked()
        with bar("Exits without the operator", len(wanted)) as progress:
            client.exit_all(key, found.header, wanted, progress)
        after = client.collateral_locked()
        return {
            "accounts": len(wanted),
            "claimed": held - after,
            "contract_balance_after": after,
            "dust": found.left,
        }

    def _vouched(self, number: int) -> str | None:
        """State root of the header whose digest the contract holds for a batch; None if it is another's."""
        row = self.batches.get(number)
        if row is None or self.client.anchored(number).digest.hex() != row["digest"]:
            return None
        return str(row["state_root"])

    def keep_anchors(self) -> None:
        """What the contract has of each batch, read back from the chain, for ``hawse verify``."""
        count = self.client.batch_count()
        anchors = [asdict(self.client.anchored(n)) for n in range(1, count + 1)]
        rows = [{k: v.hex() if isinstance(v, bytes) else v for k, v in row.items()} for row in anchors]
        (self.out / "anchors.json").write_text(json.dumps(rows, indent=2) + "\n")


def _batch_row(sealed: Sealed) -> dict[str, Any]:
    """What ``batches.jsonl`` has of a batch, but what the chain adds."""
    header, state = sealed.header, sealed.state
    paid = zip(state.withdrawals, state.withdrawal_proofs(), strict=True)
    return {
        "number": header.number,
        "log_root_hardware": sealed.engine_root.hex(),
        "log_root_host": header.log_root.hex(),
        "state_root": header.state_root.hex(),
        "records": header.log_records,
        "cycles": sealed.busy_cycles,
        "data_bytes": len(sealed.data),
        "withdrawals_root": header.withdrawals_root.hex(),
        "withdrawals_range": [header.withdrawals_first, header.withdrawals_count, header.withdrawals_sum],
        "withdrawals": [
            {
                "id": w.id,
                "owner": w.owner.hex(),
                "amount": w.amount,
                "proof": [[node.hash.hex(), *node.sums] for node in proof],
            }
            for w, proof in paid
        ],
    }


def rules(flow: Flow, geometry: Geometry) -> VenueConfig:
    """The venue, without its chain: BTC/USD, a tick of one dollar, a lot of 1e-8 BTC.

    A tick times a lot is a hundredth of a quantum. A pool that is smaller than the flow's band has a band
    around the first mark, and the engine rejects what lies outside.
    """
    count = min(LEVELS, geometry.pool)
    base = flow.base if count == LEVELS else flow.first_mark - count // 2
    instrument = Instrument(
        number=0,
        name="BTC/USD",
        numerator=1,
        denominator=100,
        initial_margin_ppm=50_000,
        maker_fee_ppm=0,
        taker_fee_ppm=100,
        count=count,
        base=base,
        first_mark=flow.first_mark,
    )
    return VenueConfig(
        instruments=(instrument,),
        geometry=geometry,
        operator=address_of(_OPERATOR),
        order_quota=geometry.orders,  # a few accounts trade all of the tape
        data_provider=ON_CHAIN,
    )


def compare_with_tape(trades: list[tuple[int, int, int, int]], until: int) -> dict[str, int]:
    """The venue's own trades, read only now, against ours: equal in buyer, seller, price and quantity."""
    theirs, ours = tape(until), Counter(trades)
    return {
        "tape_trades": theirs.total(),
        "tape_matched": (theirs & ours).total(),
        "tape_wrong": (ours - theirs).total(),
    }


def _load_flow(full: bool, rows: int | None, generated: bool) -> tuple[Flow, dict[str, Any], int | None]:
    """The flow, what to say of it, and until when the tape counts (None without a tape)."""
    if not generated:
        try:
            with bar("Reading the capture") as progress:
                capture = load_capture(None if full else rows or ROWS, progress)
        except CaptureMissing as missing:
            console.print(f"[yellow]No capture: {missing}. Running a generated flow instead.[/]")
        else:
            about = {"flow": "Bitstamp BTC/USD capture", "rows": capture.rows}
            about["rows_skipped"] = capture.skipped
            return capture.flow, about, capture.until
    return generate(rows or GENERATED), {"flow": "generated"}, None


def _begin(out: Path, rpc: str | None, flow: Flow, accounts: int, geometry: Geometry) -> RunFile:
    """A chain with the contract and everybody's tokens; ``run.json`` says where, for a run taken up again."""
    keys, chain, config = _keys(accounts), None, rules(flow, geometry)
    if rpc is None:
        chain = DevChain([_OPERATOR, *keys], keep=True).start()
        rpc = chain.url
    try:
        client = SettlementClient.deploy(
            rpc, _OPERATOR, FORMS[DEFAULT](config).state_root(), config.rules_hash(), data=True
        )
        client.mint(_OPERATOR, [address_of(key) for key in keys], DEPOSIT)
    except BaseException:
        if chain:
            chain.stop()
        raise
    run = RunFile(rpc, client.address.hex(), chain.pid if chain else None, accounts, geometry=geometry)
    run.write(out / "run.json")
    return run


def _deposit(client: SettlementClient, keys: list[bytes]) -> None:
    """Everybody's deposit that is not there yet, in the order of the accounts."""
    with bar("Deposits on the chain") as progress:
        client.deposit_all([(key, DEPOSIT) for key in keys[client.deposit_count() :]], progress)


def _stop_chain(pid: int | None) -> None:
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _table(summary: dict[str, Any]) -> Table:
    """The summary for somebody who has never seen it."""
    s = summary
    money = f"{s['collateral_locked'] / 1e6:,.2f}"
    table = Table(title="Hawse: from signed orders to money on a chain", show_header=False, min_width=78)
    table.add_row("Flow", s["flow"])
    table.add_row("Engine", s["engine"])
    table.add_row("Signed commands", f"{s['commands']:,}")
    table.add_row("Trades", f"{s['trades']:,}")
    if "tape_trades" in s:
        matched = f"{s['tape_matched']} of {s['tape_trades']} equal, {s['tape_wrong']} of ours wrong"
        table.add_row("Against the venue's own tape", matched)
    if s["cycles"]:
        cycles = f"{s['cycles'] / s['commands']:.1f} a command ({s['cycles']:,} in all)"
        table.add_row("Clock cycles of the hardware book", cycles)
    roots = len(s["log_roots_host"])
    agree = s["log_roots_hardware"] == s["log_roots_host"]
    table.add_row("Report-log roots, engine and host", f"{roots}, {'all equal' if agree else 'NOT EQUAL'}")
    agree = s["state_roots"] == s["state_roots_onchain"]
    table.add_row("State roots, host and chain", f"{roots}, {'all equal' if agree else 'NOT EQUAL'}")
    gas = s["gas_anchors"] // max(1, s["batches_anchored"])
    table.add_row("Batches anchored", f"{s['batches_anchored']}, {gas:,} gas each")
    table.add_row("Deposits", f"{s['deposits']} accounts, {s['deposited'] / 1e6:,.2f} in all")
    claimed = f"{s['withdrawals_claimed']}, {s['withdrawn'] / 1e6:,.2f} in all"
    table.add_row("Withdrawals claimed with proofs", claimed)
    table.add_row("Collateral locked in the contract", money)
    table.add_row("Sum of all balances off the chain", f"{s['sum_of_balances'] / 1e6:,.2f}")
    if "exit" in s:
        gone = f"{s['exit']['accounts']} accounts, {s['exit']['claimed'] / 1e6:,.2f}, by the chain alone"
        table.add_row("Operator killed; exits claimed", gone)
        after, named = s["exit"]["contract_balance_after"], s["exit"]["dust"]
        what = "insurance, fees and dust alone" if after == named else f"NOT {named / 1e6:,.6f}"
        table.add_row("Left in the contract", f"{after / 1e6:,.6f}: {what}")
    table.add_row("Last state root", s["state_roots"][-1])
    table.add_row("Seconds", f"{s['wall_seconds']:.1f}")
    return table


@click.command()
@click.option("--full", is_flag=True, help="The whole capture: 30 minutes of trading.")
@click.option(
    "--rows",
    type=click.IntRange(1),
    help=f"Rows behind its snapshot. [default: {ROWS}; generated: {GENERATED}]",
)
@click.option("--generated", is_flag=True, help="A generated flow, even where the capture is installed.")
@click.option("--accounts", type=click.IntRange(2, 4000), default=ACCOUNTS, show_default=True)
@click.option(
    "--engine",
    type=click.Choice(["rtl", "soft", "golden", "link"]),
    default="rtl",
    show_default=True,
    help="Gateware in this process, native software, the readable specification, or a virtual board.",
)
@state_option
@click.option(
    "--geometry",
    type=GeometryType(),
    default=GEOMETRY,
    show_default=",".join(map(str, asdict(GEOMETRY).values())),
    help="Of the engine. Orders outside a smaller band, or beyond a smaller store, are refused.",
)
@click.option("--rpc", help="Another EVM node, on which the demo's accounts hold ether.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Directory to write.",
)
@click.option("--resume", is_flag=True, help="Take up the run that was killed in that directory.")
@click.option("--keep-chain", is_flag=True, help="Leave the embedded chain running.")
@click.option(
    "--record",
    "record_file",
    type=click.Path(path_type=Path),
    help="Also write the summary with its versions.",
)
@json_option
@clear_errors
def demo(
    full: bool,
    rows: int | None,
    generated: bool,
    accounts: int,
    engine: str,
    form: str,
    geometry: Geometry,
    rpc: str | None,
    out: Path,
    resume: bool,
    keep_chain: bool,
    record_file: Path | None,
    as_json: bool,
) -> None:
    """Real order flow through the whole appliance, into money on a chain, and out again.

    Every account deposits on the chain; every order is signed, checked, margined, matched by the engine and
    cleared; batches are anchored on the way; at the end everybody withdraws against a proof. Then the
    operator is gone, and what is left is paid by what the chain alone says. The venue's own tape of trades is
    opened only at the end, and compared. The result is in summary.json of the directory.
    """
    started = time.monotonic()
    flow, about, until = _load_flow(full, rows, generated)
    if not resume:
        _clear(out)
        state = _begin(out, rpc, flow, accounts, geometry)
    elif (out / "run.json").exists():
        state = RunFile.read(out / "run.json")
    else:
        raise click.UsageError(f"{out} holds no run to resume")
    geometry = state.geometry or GEOMETRY
    run = Run(out, flow, engine, state.rpc, state.contract, state.accounts or accounts, geometry)
    _deposit(run.client, run.keys)
    with ExitStack() as stack:
        name = engine
        if engine == "link":
            from hawse_sim.board import VirtualBoard  # noqa: PLC0415 - the other engines do without it

            name = stack.enter_context(VirtualBoard(geometry)).url
        journal = stack.enter_context(Journal(out / "journal", run.config.encode()))
        snapshots = Snapshots(out / "journal" / "snapshots")
        opened = stack.enter_context(closing(open_engine(name, geometry)))
        with bar("Recovering" if resume else "Starting the engine") as progress:
            venue = Venue(
                run.config, opened, journal, snapshots, run.publish, progress, form=form, operator=_OPERATOR
            )
        run.anchor(venue)
        run.trade(venue)
        run.withdraw(venue)
        summary = about | run.summary(venue)
    if until is not None:
        ours = [tuple(t) for row in run.trades.values() for t in row["trades"]]
        summary |= compare_with_tape(ours, until)
    summary["wall_seconds"] = round(time.monotonic() - started, 1)
    run.keep_anchors()
    if state.pid and not keep_chain:
        summary["exit"] = run.leave()
        summary["wall_seconds"] = round(time.monotonic() - started, 1)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    if record_file:
        record(record_file, "hawse " + " ".join(sys.argv[1:]), summary)
    if rpc is None and not keep_chain:
        _stop_chain(state.pid)
    if as_json:
        say(summary)
    else:
        Console().print(_table(summary))


def _clear(out: Path) -> None:
    """An empty directory; only what looks like an earlier run is removed."""
    if out.exists() and any(out.iterdir()):
        if not (out / "run.json").exists():
            raise click.UsageError(f"{out} holds something else than a demo run; choose another --out")
        _stop_chain(RunFile.read(out / "run.json").pid)
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
