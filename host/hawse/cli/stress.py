"""``hawse stress``: a crowd of leveraged accounts through a crash, and what must hold after each slot."""

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from hawse.engine import Engine
from hawse.instruments import PPM, Instrument
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.keys.store import address_of, derive
from hawse.results import record
from hawse.risk import margin
from hawse.risk.liquidation import LiquidationTerms
from hawse.state.config import VenueConfig
from hawse.state.inputs import MARK, MARK_INTERVAL, next_mark
from hawse.state.ledger import INSURANCE, Account
from hawse.state.machine import Machine
from hawse.state.machines import FORMS, AnyMachine
from hawse.state.outcomes import Signers
from hawse.state.slot import Deposit, Event, Operation, OperationKind, SlotInput
from hawse.wire import Geometry, Reason, Side, TimeInForce
from hawse.wire.dtypes import Array

from .common import bar, clear_errors, console, json_option, open_engine, say

START = 1_777_000_000_000
FIRST_MARK = 60_000
#: Quanta of a dollar; a tick of a lot is worth 1/100 quantum.
USD = 1_000_000
_OPERATOR = address_of(derive("hawse stress", 0))
_STRUCT = b"\x01" * 32
_TERMS = LiquidationTerms(
    share_ppm=500_000, whole=100_000, most=2**32 - 1, begin_ppm=5_000, steps=4, fee_ppm=5_000, cap=64
)
#: What the price does: name, part of all slots, where it ends as a part of the first mark, how much it
#: jitters, how thick the book is, and whether marks come.
PHASES = (
    ("calm", 0.20, 1.00, 0.0005, 1.0, True),
    ("volatile", 0.15, 1.06, 0.0060, 0.7, True),
    ("crash", 0.12, 0.40, 0.0080, 0.15, True),
    ("outage", 0.08, 0.40, 0.0, 0.15, False),
    ("rebound", 0.15, 0.75, 0.0080, 0.4, True),
    ("thin", 0.15, 0.55, 0.0040, 0.05, True),
    ("calm again", 0.15, 0.60, 0.0005, 1.0, True),
)


def venue(orders: int) -> VenueConfig:
    """One perpetual at 10 %, whose marks may move by 6 % a slot."""
    perpetual = Instrument(
        number=0,
        name="BTC/USD",
        numerator=1,
        denominator=100,
        initial_margin_ppm=100_000,
        maintenance_ppm=500_000,
        maker_fee_ppm=0,
        taker_fee_ppm=500,
        count=131_072,
        base=0,
        first_mark=FIRST_MARK,
        minimum_quantity=1,
    )
    return VenueConfig(
        instruments=(perpetual,),
        geometry=Geometry(instruments=1, pool=131_072, orders=orders, tag_bits=16),
        operator=_OPERATOR,
        insurance_ppm=500_000,
        order_quota=64,
        mark_step_ppm=60_000,
        reserved_tags=64,
        reserved_handles=256,
        liquidation=_TERMS,
    )


@dataclass
class Held:
    """What was found to hold, or not, over all slots; the first five have to be 0."""

    conservation_error: int = 0
    unrecorded_losses: int = 0
    wrong_liquidations: int = 0
    missed_liquidations: int = 0
    fast_reference_mismatches: int = 0
    liquidated: set[int] = field(default_factory=set)
    takeovers: int = 0
    adl_events: int = 0
    losses: int = 0
    socialised: int = 0


@dataclass
class Series:
    """One number a slot, for the plot."""

    mark: list[int] = field(default_factory=list)
    unhealthy: list[int] = field(default_factory=list)
    liquidations: list[int] = field(default_factory=list)
    deleveraged: list[int] = field(default_factory=list)
    insurance: list[int] = field(default_factory=list)


class Crowd:
    """Makers, takers, and people with as much leverage as they get; a function of the seed.

    Account n is opened by deposit n. A tenth are makers with plenty of money.
    """

    def __init__(self, accounts: int, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.count, self.makers = accounts, max(2, accounts // 10)
        money = rng.lognormal(7.5, 1.2, accounts).clip(50, 500_000)
        money[: self.makers] = 2_000_000
        self.money = (money * USD).astype(np.int64)
        self.leaning = rng.choice([1, 1, -1], accounts)  # more of them are long
        self.nonces = np.zeros(accounts + 1, np.uint64)
        self.number = 0

    def owner(self, account: int) -> bytes:
        """Address of an account's owner."""
        return account.to_bytes(20, "big")

    def deposits(self) -> list[Deposit]:
        """Everybody's."""
        return [Deposit(n, self.owner(n), int(self.money[n - 1])) for n in range(1, self.count + 1)]

    def commands(self, price: int, count: int, depth: float, time: int) -> Array:
        """Messages of one slot, unsigned."""
        rng, rows = self.rng, np.zeros(count, MESSAGE)
        quotes = rng.random(count) < 0.5
        some, others = self.makers + 1, self.count + 1
        who = np.where(quotes, rng.integers(1, some, count), rng.integers(some, others, count))
        for row, account, quote in zip(rows, who.tolist(), quotes.tolist(), strict=True):
            self._order(row, account, quote, price, depth, time)
        return rows

    def _order(self, row: np.void, account: int, quote: bool, price: int, depth: float, time: int) -> None:
        rng = self.rng
        self.number += 1
        self.nonces[account] = max(int(self.nonces[account]) + 1, time)
        row["kind"], row["account"], row["generation"] = MessageKind.ORDER, account, account << 24
        row["nonce"], row["expiry"], row["client_id"] = self.nonces[account], time + 60_000, self.number
        side = int(rng.integers(2))
        if quote:
            away = 1 + int(rng.exponential(0.002) * price)
            row["price"] = price - away if side == Side.BUY else price + away
            lots = int(depth * rng.exponential(2_000_000))
            row["time_in_force"] = TimeInForce.GTC
        else:
            if rng.random() < 0.8:
                side = Side.BUY if self.leaning[account - 1] > 0 else Side.SELL
            reach = 1 + int(0.004 * price)
            row["price"] = price + reach if side == Side.BUY else price - reach
            # As a part of what 10 % carry.
            lots = int(self.money[account - 1] * 100 * 10 * rng.uniform(0.1, 0.9) / price)
            row["time_in_force"] = TimeInForce.IOC
        row["side"], row["price"] = side, max(1, min(131_000, int(row["price"])))
        row["quantity"] = max(1, min(lots, 2**32 - 1))


class Stress:
    """The native machine, beside it the specification, and what is asked of both after each slot."""

    def __init__(self, crowd: Crowd, engine: Engine, config: VenueConfig, reference: bool) -> None:
        self.crowd, self.engine = crowd, engine
        self.fast = FORMS["native"](config)
        self.reference = Machine(config) if reference else None
        self.held, self.series, self.time = Held(), Series(), START
        self.waits: dict[int, int] = {}
        self.owed: set[int] = set()
        self.events: tuple[Event, ...] = ()
        engine.set_recentring(False)
        engine.reset(1)
        terms = config.instruments[0]
        engine.open(0, terms.base, first=terms.first, count=terms.count)

    def slot(self, rows: Array, mark: int | None = None, deposits: tuple[Deposit, ...] = ()) -> None:
        """Carry one out on both, and look at what it did."""
        machine = self.fast
        self.time += MARK_INTERVAL
        body = MARK.pack(0, mark) if mark is not None else b""
        operations = (Operation(OperationKind.INTERIM_MARK, body, bytes(64)),) if body else ()
        slot = SlotInput(
            machine.next_slot, self.time, operations=operations, deposits=deposits, commands=rows
        )
        owners = [self.crowd.owner(account) for account in rows["account"].tolist()]
        signers = Signers([_OPERATOR] * len(operations), owners, [_STRUCT] * len(rows))
        admission = machine.open_slot(slot, signers)
        burst = self.engine.run(admission.orders)
        digest = machine.clear_slot(burst.events)
        self.events = tuple(admission.events)
        if self.reference is not None and not self._same(slot, signers, admission, burst.events, digest):
            # Behind a difference they do not go on together.
            self.held.fast_reference_mismatches += 1
            self.reference = None
        self._look(mark)

    def _same(self, slot: SlotInput, signers: Signers, admission: Any, events: Array, digest: bytes) -> bool:
        """Whether the specification sends, does and says the same."""
        assert self.reference is not None
        beside = self.reference.open_slot(slot, signers)
        if beside.orders.tobytes() != admission.orders.tobytes() or tuple(beside.events) != self.events:
            return False
        return self.reference.clear_slot(events) == digest

    def _look(self, mark: int | None) -> None:
        machine, held = self.reference or self.fast, self.held
        error = machine.sum_of_balances() - (machine.deposited - machine.withdrawn)
        held.conservation_error += error != 0
        unhealthy = {
            a.index
            for a in machine.accounts
            if a.index != INSURANCE and machine.equity(a) < _maintenance(machine, a)
        }
        self._count()
        gone = {e.account for e in self.events if e.reason in (Reason.LIQUIDATE, Reason.SOCIALISE)}
        # Whoever was closed at an unmoved mark was seen unhealthy behind the last slot.
        if mark is None:
            held.wrong_liquidations += len(gone - self.waits.keys())
        self.waits = {index: self.waits.get(index, 0) + 1 for index in unhealthy}
        most = -(-max(1, len(unhealthy)) // _TERMS.cap) * (_TERMS.steps + 2)
        held.missed_liquidations += sum(slots > most for slots in self.waits.values())
        below = {a.index for a in machine.accounts if a.collateral < 0 and not a.positions}
        recorded = {e.account for e in self.events if e.reason == Reason.SOCIALISE}
        held.unrecorded_losses += len((below & self.owed) - recorded)
        self.owed = below
        series, markets = self.series, machine.markets
        series.mark.append(markets[0].mark)
        series.unhealthy.append(len(unhealthy))
        series.liquidations.append(len(held.liquidated))
        series.deleveraged.append(held.adl_events)
        series.insurance.append(machine.equity(machine.accounts[INSURANCE]))

    def _count(self) -> None:
        held = self.held
        for event in self.events:
            if event.reason == Reason.LIQUIDATE:
                held.liquidated.add(event.account)
            elif event.reason == Reason.TAKEOVER and event.account != INSURANCE:
                held.liquidated.add(event.account)
                held.takeovers += 1
            elif event.reason == Reason.DELEVERAGE:
                held.adl_events += 1
            elif event.reason == Reason.SOCIALISE:
                held.losses += event.first
                held.socialised += event.first - event.second


def _maintenance(machine: AnyMachine, account: Account) -> int:
    """As the machine has it; the native one is not asked for it."""
    total = 0
    for number, position in account.positions.items():
        market = machine.markets[number]
        held = margin.initial_margin(market.terms, market.mark, position.size)
        total += -(-held * market.terms.maintenance_ppm // PPM)
    return total


def path(slots: int, seed: int) -> list[tuple[str, int, float, bool]]:
    """Phase, price, depth of the book, and whether a mark comes, of each slot."""
    rng, found, price = np.random.default_rng(seed + 1), [], 1.0
    for name, share, ends, jitter, depth, marks in PHASES:
        count = max(1, round(share * slots))
        for n in range(count):
            price += (ends - price) / (count - n)
            jittered = price * (1 + jitter * rng.standard_normal())
            found.append((name, max(1, round(FIRST_MARK * jittered)), depth, marks))
    return found


def measure(
    accounts: int, slots: int, commands: int, seed: int, engine: str, reference: bool
) -> tuple[dict[str, Any], Series]:
    """The run, as numbers.

    Args:
        accounts: of the crowd.
        slots: of trading.
        commands: of a slot.
        seed: of everything.
        engine: as ``--engine``.
        reference: run the specification beside the native form.
    """
    config = venue(orders=32_768)
    with closing(open_engine(engine, config.geometry)) as opened, bar("Slots") as progress:
        stress = Stress(Crowd(accounts, seed), opened, config, reference)
        deposits = stress.crowd.deposits()
        for at in range(0, len(deposits), 1024):
            stress.slot(np.zeros(0, MESSAGE), deposits=tuple(deposits[at : at + 1024]))
        for n, (_, price, depth, marks) in enumerate(path(slots, seed), 1):
            market = stress.fast.markets[0]
            wanted = next_mark(market, price, stress.time + MARK_INTERVAL, config.mark_step_ppm)
            moves = marks and wanted != market.mark
            rows = stress.crowd.commands(market.mark, commands, depth, stress.time + MARK_INTERVAL)
            stress.slot(rows, wanted if moves else None)
            progress(n, slots)
        held = stress.held
        root = stress.fast.state_root().hex()
        if stress.reference is not None:
            held.fast_reference_mismatches += stress.reference.state_root().hex() != root
    told = {
        "accounts": accounts,
        "slots": stress.fast.next_slot,
        "commands": slots * commands,
        "seed": seed,
        "engine": engine,
        "reference": reference,
        "conservation_error": held.conservation_error,
        "unrecorded_losses": held.unrecorded_losses,
        "wrong_liquidations": held.wrong_liquidations,
        "missed_liquidations": held.missed_liquidations,
        "fast_reference_mismatches": held.fast_reference_mismatches,
        "liquidations": len(held.liquidated),
        "takeovers": held.takeovers,
        "adl_events": held.adl_events,
        "losses": held.losses,
        "socialised": held.socialised,
        "insurance_fund": stress.series.insurance[-1],
        "lowest_insurance_fund": min(stress.series.insurance),
        "state_root": root,
    }
    return told, stress.series


def plot(series: Series, to: Path) -> None:
    """Four charts over slots, one quantity an axis."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise click.UsageError(f"--plot needs matplotlib: pip install 'hawse[bench]' ({error})") from error
    figure = Figure(figsize=(10, 9), layout="constrained")
    charts = figure.subplots(4, 1, sharex=True)
    for axes, values, label in zip(
        charts,
        (series.mark, series.unhealthy, [v / USD for v in series.insurance], series.deleveraged),
        ("mark, dollars", "accounts below maintenance", "insurance, dollars", "deleveragings so far"),
        strict=True,
    ):
        axes.plot(values, linewidth=1)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    charts[-1].set_xlabel("slot (250 ms)")
    charts[0].set_title("hawse stress: generated crowd, simulated prices, software engine")
    figure.savefig(to, dpi=120)


@click.command()
@click.option("--accounts", type=click.IntRange(20, 20_000), default=2_000, show_default=True)
@click.option("--slots", type=click.IntRange(20), default=400, show_default=True, help="Of trading.")
@click.option("--commands", type=click.IntRange(1, 1024), default=200, show_default=True, help="Of a slot.")
@click.option("--seed", default=1, show_default=True)
@click.option("--engine", default="soft", show_default=True, help="soft or golden.")
@click.option("--no-reference", is_flag=True, help="The native form alone; faster.")
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="PNG of it.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to keep the figures.")
@json_option
@clear_errors
def stress(
    accounts: int,
    slots: int,
    commands: int,
    seed: int,
    engine: str,
    no_reference: bool,
    picture: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Lead a leveraged crowd through calm, a 60 % crash, an outage of marks, a rebound and thin books.

    After each slot: money is what was deposited; nobody healthy was liquidated, nobody unhealthy left alone;
    nobody below zero without a recorded loss; the native form says what the specification says. The exit code
    is 0 only if all of it held.
    """
    told, series = measure(accounts, slots, commands, seed, engine, not no_reference)
    if picture:
        plot(series, picture)
    if out:
        options = (
            f"--accounts {accounts} --slots {slots} --commands {commands} --seed {seed} --engine {engine}"
        )
        record(out, f"hawse stress {options} --out {out}", told)
    if as_json:
        say(told)
    else:
        table = Table("", "")
        for name, value in told.items():
            table.add_row(name.replace("_", " "), f"{value:,}" if type(value) is int else str(value))
        Console().print(table)
    wrong = sum(told[name] for name in _ZERO)
    if wrong:
        console.print(f"{wrong} findings that have to be 0.")
        raise click.exceptions.Exit(1)


_ZERO = (
    "conservation_error",
    "unrecorded_losses",
    "wrong_liquidations",
    "missed_liquidations",
    "fast_reference_mismatches",
)
