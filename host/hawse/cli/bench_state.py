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
from hawse.state.config import VenueConfig
from hawse.state.ledger import TRANSFER_BITS
from hawse.state.native.bindings import Capacity
from hawse.state.native.machine import NativeMachine
from hawse.state.native.packed import PackedSigners
from hawse.state.slot import Deposit, SlotInput
from hawse.wire import Geometry
from hawse.wire.dtypes import Array

from .common import clear_errors, json_errors, say

#: Compiler's flag that narrows Keccak to so many messages side by side.
_WIDTH = "-DHAWSE_KECCAK_WIDTH={}"
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
    return VenueConfig(instruments=(perpetual,), geometry=geometry, operator=bytes(20), insurance_ppm=250_000)


@dataclass
class Figures:
    """What was measured of one machine.

    Attributes:
        commands: messages of users.
        open_s, clear_s, seal_s: seconds of the three calls together.
        permutations: of Keccak, without those at the end of batches.
        refused: messages.
        trades: fills, two of each trade.
    """

    commands: int = 0
    open_s: float = 0
    clear_s: float = 0
    seal_s: float = 0
    permutations: int = 0
    refused: int = 0
    trades: int = 0

    def result(self) -> dict[str, Any]:
        """As it is stored."""
        count = self.commands
        slot_s = self.open_s + self.clear_s
        return {
            "commands": count,
            "commands_per_s": round(count / slot_s),
            "commands_per_s_with_batches": round(count / (slot_s + self.seal_s)),
            "ns_admission": round(self.open_s / count * 1e9, 1),
            "ns_clearing": round(self.clear_s / count * 1e9, 1),
            "ns_batch_end": round(self.seal_s / count * 1e9, 1),
            "permutations_per_command": round(self.permutations / count, 2),
            "refused_per_command": round(self.refused / count, 3),
            "fills_per_command": round(self.trades / count, 3),
        }


class Flow:
    """A market in which everybody makes and takes.

    Args:
        accounts: that trade, each as often as another.
        seed: of the flow.
        compiler: flags for the native state.
    """

    def __init__(self, accounts: int, seed: int, *compiler: str) -> None:
        self._config, self._rng = _config(), np.random.default_rng(seed)
        self._accounts, self._time = accounts, 10**12
        room = Capacity(accounts + 2, 1 << 12, 1 << 21, 1 << 12)
        self.machine = NativeMachine(self._config, room, compiler)
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
            self.run(np.zeros(0, MESSAGE), Figures(), tuple(deposits))

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

    def slot(self, messages: int, figures: Figures, closes: bool = False) -> None:
        """One slot of so many messages; ``closes``: and the end of its batch."""
        self.run(self.rows(messages), figures, closes=closes)

    def run(
        self, rows: Array, figures: Figures, deposits: tuple[Deposit, ...] = (), closes: bool = False
    ) -> None:
        """Carry a slot out, and count what the native state takes for it."""
        machine = self.machine
        self._time += 5
        batch = machine.batch if closes else None
        slot = SlotInput(machine.next_slot, self._time, closes=batch, deposits=deposits, commands=rows)
        structs = self._rng.integers(1, 256, (len(rows), 32), np.uint8)
        signed = PackedSigners((), np.ones(len(rows), np.uint8), self._owners[rows["account"]], structs)
        before = int(machine.counters["permutations"])
        began = time.thread_time()
        admission = machine.open_slot(slot, signed)
        figures.open_s += time.thread_time() - began
        burst = self._engine.run(admission.orders)
        began = time.thread_time()
        machine.clear_slot(burst.events)
        figures.clear_s += time.thread_time() - began
        figures.permutations += int(machine.counters["permutations"]) - before
        figures.commands += len(rows)
        figures.refused += len(admission.refusal_rows)
        figures.trades += machine.fills
        if closes:
            began = time.thread_time()
            machine.seal_batch()
            figures.seal_s += time.thread_time() - began

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


def measure(accounts: int, slot: int, slots: int, batch: int, seed: int, width: int) -> dict[str, Any]:
    """The figures of one machine, warm: every account has used its window of nonces."""
    flow = Flow(accounts, seed, _WIDTH.format(width))
    warm = 0
    while warm < 64 * accounts:
        flow.slot(1024, Figures())
        warm += 1024
        if warm % (64 * 1024) == 0:
            flow.look()
            flow.slot(1024, Figures(), closes=True)
    flow.slot(slot, Figures(), closes=True)
    figures = Figures()
    for n in range(1, slots + 1):
        if n % 16 == 1:
            flow.look()
        flow.slot(slot, figures, closes=n % batch == 0)
    return {"accounts": accounts, "messages_per_slot": slot, "slots_per_batch": batch, "width": width} | (
        figures.result() | {"bytes": flow.machine.memory}
    )


@click.command()
@click.option("--accounts", default=(1_000, 100_000), multiple=True, show_default=True, help="That trade.")
@click.option("--slot", default=256, show_default=True, help="Messages of a slot.")
@click.option("--slots", default=1_000, show_default=True, help="That are measured.")
@click.option("--batch", default=200, show_default=True, help="Slots of a batch.")
@click.option("--width", default=(8, 4, 1), multiple=True, help="Keccak messages side by side, at most.")
@click.option("--seed", default=1, show_default=True, help="Of the flow.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to keep the result.")
@json_errors
@clear_errors
def state(
    accounts: tuple[int, ...],
    slot: int,
    slots: int,
    batch: int,
    width: tuple[int, ...],
    seed: int,
    out: Path | None,
) -> None:
    """Measure the native state on one core: admission, clearing, digest, inputs and outcomes.

    Signatures are checked before, and the engine runs between; neither is counted.
    """
    found = []
    for people in accounts:
        for lanes in width:
            found.append(measure(people, slot, slots, batch, seed, lanes))
            say(found[-1])
    if out:
        record(
            out,
            f"hawse bench state --slot {slot} --slots {slots} --batch {batch} --seed {seed}",
            {"state": found},
        )
