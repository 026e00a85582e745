"""``hawse bench state``: what the native state takes for a command, from message to outcome."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from hawse.engine import Band, Engine, SoftBackend
from hawse.instruments import Instrument
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.results import record
from hawse.risk.liquidation import LiquidationTerms
from hawse.state.config import VenueConfig
from hawse.state.ledger import TRANSFER_BITS
from hawse.state.native.bindings import BATCH_MADE, OK, Capacity, MadeStruct, SlotStruct, State
from hawse.state.native.machine import NativeMachine
from hawse.state.native.packed import PackedSigners, packed
from hawse.state.slot import Deposit, SlotInput
from hawse.wire import Geometry
from hawse.wire.dtypes import Array

from .common import clear_errors, json_errors, say

#: Compiler's flag that narrows Keccak to so many messages side by side.
_WIDTH = "-DHAWSE_KECCAK_WIDTH={}"
_WIDEST = 8
_MARK, _MONEY = 78_000, 10**12
#: Parts of the flow: new orders that rest or trade, IOC orders, REPLACE, CANCEL.
_NEW, _IOC, _REPLACE = 0.40, 0.10, 0.15
_NEAR = 300


def _config() -> VenueConfig:
    perpetual = Instrument(
        number=0,
        name="BTC-PERP",
        numerator=1,
        denominator=100,
        initial_margin_ppm=50_000,
        maker_fee_ppm=200,
        taker_fee_ppm=500,
        first=0,
        count=32_768,
        base=65_536,
        first_mark=_MARK,
        minimum_quantity=1000,
        minimum_notional=500_000,
    )
    geometry = Geometry(1, 32_768, 65_536, 16)
    closing = LiquidationTerms(
        share_ppm=500_000, whole=0, most=2**32 - 1, begin_ppm=5_000, steps=4, fee_ppm=5_000, cap=32
    )
    rules: dict[str, Any] = {"insurance_ppm": 250_000, "liquidation": closing}
    return VenueConfig(instruments=(perpetual,), geometry=geometry, operator=bytes(20), **rules)


@dataclass(frozen=True)
class Recorded:
    """A slot as the native state takes it, and the engine's reports.

    Attributes:
        slot, arrays: what goes in, and what has to live as long.
        events: rows of wire EVENT.
        refused, fills: messages that were refused; fills, two of each trade.
    """

    slot: SlotStruct
    arrays: list[Any]
    events: Array
    refused: int
    fills: int


class Flow:
    """A market in which everybody makes and takes.

    Args:
        accounts: that trade, each as often as another.
        seed: of the flow.
    """

    def __init__(self, accounts: int, seed: int) -> None:
        self._config, self._rng = _config(), np.random.default_rng(seed)
        self._accounts, self._time = accounts, 10**12
        room = Capacity(accounts + 2, 1 << 12, 1 << 21, 1 << 12)
        self.machine = NativeMachine(self._config, room)
        self._engine = Engine(SoftBackend(self._config.geometry), recentring=False)
        self._engine.reset(1)
        bands = [Band(i.number, i.first, i.count, i.base) for i in self._config.instruments]
        self._engine.load(self.machine.resting_orders(), bands)
        index = np.arange(accounts + 1, dtype=">u4")
        self._owners = np.zeros((accounts + 1, 20), np.uint8)
        self._owners[:, 16:] = index.view(np.uint8).reshape(-1, 4)
        self._nonces = np.full(accounts + 1, self._time, np.uint64)
        self._clients = np.ones(accounts + 1, np.uint64)
        self._live = np.zeros(0, [("account", "<u4"), ("client_id", "<u8")])
        self._fund()

    def _fund(self) -> None:
        for first in range(1, self._accounts + 1, 1000):
            last = min(first + 1000, self._accounts + 1)
            deposits = [Deposit(n, self._owners[n].tobytes(), _MONEY) for n in range(first, last)]
            self.run(np.zeros(0, MESSAGE), tuple(deposits))

    def rows(self, count: int) -> Array:
        """Messages; orders that are cancelled or replaced were alive a few slots before."""
        rng, rows = self._rng, np.zeros(count, MESSAGE)
        which = rng.random(count)
        rows["account"] = rng.integers(1, self._accounts + 1, count)
        rows["kind"] = MessageKind.ORDER
        old = np.flatnonzero(which >= _NEW + _IOC)[: len(self._live)]
        chosen = rng.permutation(len(self._live))[: len(old)]
        rows["account"][old], rows["client_id"][old] = (
            self._live[name][chosen] for name in ("account", "client_id")
        )
        self._live = np.delete(self._live, chosen)
        replace = which[old] < _NEW + _IOC + _REPLACE
        rows["kind"][old] = np.where(replace, MessageKind.REPLACE, MessageKind.CANCEL)
        new = rows["kind"] == MessageKind.ORDER
        rows["side"] = new & (rng.random(count) < 0.5)
        rows["time_in_force"] = new & (which >= _NEW) & (which < _NEW + _IOC)
        rows["client_id"][new] = _counted(self._clients, rows["account"][new])
        distance = rng.geometric(0.02, count).clip(0, _NEAR) - 2
        distance[rows["time_in_force"] == 1] = -5
        priced = rows["kind"] != MessageKind.CANCEL
        rows["price"] = np.where(priced, _MARK + np.where(rows["side"] == 1, distance, -distance), 0)
        rows["quantity"] = np.where(priced, rng.integers(1_000, 100_000, count), 0)
        rows["nonce"] = _counted(self._nonces, rows["account"])
        rows["generation"] = rows["account"].astype(np.uint64) << np.uint64(TRANSFER_BITS)
        rows["expiry"] = self._time + 60_000
        return rows

    def slot(self, messages: int, closes: bool = False) -> Recorded:
        """One slot of so many messages; ``closes``: and the end of its batch."""
        return self.run(self.rows(messages), closes=closes)

    def run(self, rows: Array, deposits: tuple[Deposit, ...] = (), closes: bool = False) -> Recorded:
        """Carry a slot out."""
        machine = self.machine
        self._time += 5
        batch = machine.batch if closes else None
        slot = SlotInput(machine.next_slot, self._time, closes=batch, deposits=deposits, commands=rows)
        structs = self._rng.integers(1, 256, (len(rows), 32), np.uint8)
        signed = PackedSigners((), np.ones(len(rows), np.uint8), self._owners[rows["account"]], structs)
        admission = machine.open_slot(slot, signed)
        events = self._engine.run(admission.orders).events
        machine.clear_slot(events)
        if closes:
            machine.seal_batch()
        return Recorded(*packed(slot, signed), events, len(admission.refusal_rows), machine.fills)

    def look(self) -> None:
        """Which orders are alive."""
        rows = self.machine.resting_rows()
        self._live = np.zeros(len(rows), self._live.dtype)
        for name in ("account", "client_id"):
            self._live[name] = rows[name]


def _counted(counters: NDArray[np.uint64], who: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """The next number of each of these, who may be named twice."""
    order = np.argsort(who, kind="stable")
    same = np.concatenate([[False], who[order][1:] == who[order][:-1]])
    place = np.arange(len(who))
    rank = np.empty(len(who), np.uint64)
    rank[order] = place - np.maximum.accumulate(np.where(same, 0, place))
    out = counters[who] + rank
    np.add.at(counters, who, 1)
    return out


def record_tape(accounts: int, slot: int, slots: int, seed: int) -> tuple[bytes, bytes, list[Recorded]]:
    """Configuration, snapshot, and the slots behind it; every account has used its window of nonces."""
    flow = Flow(accounts, seed)
    for n in range(1, 64 * accounts // 1024 + 2):
        if n % 16 == 0:
            flow.look()
        flow.slot(1024, closes=n % 64 == 0)
    flow.slot(slot, closes=True)
    start, tape = flow.machine.snapshot(), []
    for n in range(slots):
        if n % 16 == 0:
            flow.look()
        tape.append(flow.slot(slot, closes=n == slots - 1))
    return flow.machine.config.encode(), start, tape


def room_for(accounts: int, commands: int) -> Capacity:
    """What a tape of so many commands takes."""
    return Capacity(accounts + 2, 1 << 12, commands + (1 << 19), 1 << 12)


def measure(config: bytes, start: bytes, tape: list[Recorded], room: Capacity, width: int) -> dict[str, Any]:
    """Play the tape on one machine, slot behind slot, in thread time."""
    narrow = () if width == _WIDEST else (_WIDTH.format(width),)
    state, made, batch = State(config, room, *narrow), MadeStruct(), np.zeros(1, BATCH_MADE)
    if state.restore(start) != OK:
        raise ValueError("start: the native state does not take it")
    before, opening, clearing, clock = int(state.counters()["permutations"]), 0.0, 0.0, time.thread_time
    for entry in tape:
        began = clock()
        state.open(entry.slot, made)
        between = clock()
        state.clear(entry.events, made)
        opening, clearing = opening + between - began, clearing + clock() - between
    permutations = int(state.counters()["permutations"]) - before
    began = clock()
    state.seal(batch)
    sealing = clock() - began
    count = sum(int(entry.slot.message_count) for entry in tape)
    return {
        "width": width,
        "commands_per_s": round(count / (opening + clearing)),
        "ns_admission": round(opening / count * 1e9),
        "ns_clearing": round(clearing / count * 1e9),
        "ms_batch_end": round(sealing * 1e3, 1),
        "permutations_per_command": round(permutations / count, 2),
    }


@click.command()
@click.option("--accounts", default=(1_000, 100_000), multiple=True, show_default=True, help="That trade.")
@click.option("--slot", default=256, show_default=True, help="Messages of a slot.")
@click.option("--slots", default=400, show_default=True, help="That are measured.")
@click.option("--runs", default=3, show_default=True, help="Of each.")
@click.option("--width", default=(8, 4, 1), multiple=True, help="Keccak messages side by side, at most.")
@click.option("--seed", default=1, show_default=True, help="Of the flow.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to keep the result.")
@json_errors
@clear_errors
def state(
    accounts: tuple[int, ...],
    slot: int,
    slots: int,
    runs: int,
    width: tuple[int, ...],
    seed: int,
    out: Path | None,
) -> None:
    """Measure the native state on one core: admission, clearing, digest, inputs and outcomes.

    A flow is recorded with its engine's reports, and then played to the state alone, in thread time.
    Signatures are checked before, and the engine has run; neither is counted. Roots of the trees over
    accounts, control leaves and orders are made at the end of a batch, which is told apart.
    """
    found = []
    for people in accounts:
        config, start, tape = record_tape(people, slot, slots, seed)
        count = slot * slots
        room = room_for(people, count)
        about = {
            "accounts": people,
            "commands": count,
            "refused_per_command": round(sum(entry.refused for entry in tape) / count, 3),
            "fills_per_command": round(sum(entry.fills for entry in tape) / count, 3),
            "runs": [measure(config, start, tape, room, lanes) for lanes in width for _ in range(runs)],
        }
        say(about)
        found.append(about)
    if out:
        record(
            out,
            f"hawse bench state --slot {slot} --slots {slots} --runs {runs} --seed {seed}",
            {"state": found},
        )
