"""``hawse bench data``: what a batch's data on the chain takes, and a rebuild from it."""

import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from hawse.chain.client import SettlementClient
from hawse.chain.devchain import DevChain, dev_keys
from hawse.commit import exits
from hawse.commit.data import ACCOUNT, POSITION, SNAPSHOT_BATCHES, ExitState
from hawse.commit.exits import ExitMark
from hawse.results import record

from .common import bar, clear_errors, json_option, say

#: Positions of each account, and instruments of the venue.
POSITIONS, INSTRUMENTS = 2, 8
_OPERATOR, _ = dev_keys(2)


def _genesis(count: int, rng: np.random.Generator) -> ExitState:
    """Everybody has money, and positions in the first instruments."""
    accounts, held = np.zeros(count, ACCOUNT), np.zeros(POSITIONS * (count - 1), POSITION)
    accounts["generation"], accounts["collateral"] = np.arange(count) << 24, rng.integers(0, 10**12, count)
    held["account"] = np.repeat(np.arange(1, count), POSITIONS)
    held["instrument"] = np.tile(np.arange(POSITIONS), count - 1)
    held["lots"] = rng.choice([-1, 1], len(held)) * rng.integers(1, 10**8, len(held))
    held["entry"]["low"], held["entry"]["high"] = held["lots"] * 78_000, held["lots"] >> 63
    return ExitState(accounts, held, _marks(rng))


def _marks(rng: np.random.Generator) -> tuple[ExitMark, ...]:
    prices = (78_000 + rng.integers(-50, 50, INSTRUMENTS)).tolist()
    return tuple(ExitMark(n, price, price, 0, 1, 100, 0) for n, price in enumerate(prices))


def _traded(before: ExitState, changed: int, rng: np.random.Generator) -> ExitState:
    """A batch later: so many accounts have traded once."""
    accounts, held = before.accounts.copy(), before.positions.copy()
    at = rng.choice(np.arange(1, len(accounts)), changed, replace=False)
    accounts["collateral"][at] += rng.integers(-(10**8), 10**8, changed)
    mine = POSITIONS * (at - 1) + rng.integers(0, POSITIONS, changed)
    lots = rng.integers(1, 10**6, changed)
    held["lots"][mine] += lots
    held["entry"]["low"][mine] += (lots * 78_000).astype(np.uint64)
    return ExitState(accounts, held, _marks(rng))


def _gas(data: bytes) -> int:
    """What posting it takes on the embedded chain."""
    with DevChain([_OPERATOR]) as chain:
        client = SettlementClient.deploy(chain.url, _OPERATOR, bytes(32), bytes(32), data=True)
        return client.post(data)


def measure(count: int, batches: int, changed: int) -> dict[str, Any]:
    """Everything.

    Args:
        count: of accounts.
        batches: since the last snapshot.
        changed: accounts that trade in each.
    """
    rng, packed, took = np.random.default_rng(30), [], []
    state = _genesis(count, rng)
    first = SNAPSHOT_BATCHES
    packed.append(state.pack(ExitState(), first))
    with bar("Batches") as progress:
        for number in range(first + 1, first + batches):
            after = _traded(state, changed, rng)
            started = time.perf_counter()
            packed.append(after.pack(state, number))
            took.append(time.perf_counter() - started)
            state = after
            progress(number - first + 1, batches)
    started, found = time.perf_counter(), ExitState()
    for number, data in enumerate(packed, first):
        found = ExitState.unpack(data, found, number)
    leaves = found.exit_leaves({index: index.to_bytes(20, "big") for index in range(count)})
    root = exits.tree(leaves).root
    spent = time.perf_counter() - started
    if found != state or sum(root.sums) < sum(abs(leaf.equity) for leaf in leaves):
        raise click.ClickException("what was rebuilt is not what was packed")
    size, gas = round(median(map(len, packed[1:]))), _gas(packed[-1])
    return {
        "accounts": count,
        "positions": POSITIONS,
        "batches": batches,
        "changed_accounts": changed,
        "data_bytes": size,
        "bytes_per_changed_account": round(size / changed, 2),
        "gas_per_changed_account": round(gas / changed, 1),
        "snapshot_bytes": len(packed[0]),
        "pack_ms": round(1e3 * median(took), 1),
        "rebuild_seconds": round(spent, 2),
    }


@click.command()
@click.option("--accounts", type=click.IntRange(100, 1_000_000), default=100_000, show_default=True)
@click.option("--batches", type=click.IntRange(2, SNAPSHOT_BATCHES), default=256, show_default=True)
@click.option("--changed", type=click.IntRange(1), default=2_000, show_default=True, help="Accounts a batch.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to keep the figures.")
@json_option
@clear_errors
def data(accounts: int, batches: int, changed: int, out: Path | None, as_json: bool) -> None:
    """Measure the data of batches: bytes, gas, and a rebuild from a snapshot and what follows it."""
    if changed >= accounts:
        raise click.BadParameter(f"--changed: {changed} of {accounts} accounts")
    told = measure(accounts, batches, changed)
    if out:
        options = f"--accounts {accounts} --batches {batches} --changed {changed}"
        record(out, f"hawse bench data {options} --out {out}", told)
    if as_json:
        say(told)
        return
    table = Table("", "figure")
    for name, value in told.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    Console().print(table)
