"""``hawse rebuild``: what everybody is owed, from the chain alone."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
import msgspec

from hawse.chain.client import SettlementClient
from hawse.chain.errors import ChainError
from hawse.chain.history import ChainHistory
from hawse.chain.rebuild import Rebuilt, rebuild

from .common import RunFile, bar, clear_errors, console, json_option, say

first_block_option = click.option(
    "--first-block",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the contract; before it nothing is asked for.",
)


def on_chain(command: Callable[..., None]) -> Callable[..., None]:
    """``--venue``, or ``--rpc`` and ``--contract``: the command is given ``client``, and ``venue``."""

    @click.option("--rpc", help="Node of the chain, where there is no --venue.")
    @click.option("--contract", help="Settlement contract, where there is no --venue.")
    @click.option(
        "--venue",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Directory of hawse run; its host need not run.",
    )
    @wraps(command)
    def connected(venue: Path | None, rpc: str | None, contract: str | None, **more: Any) -> None:
        command(client=_client(venue, rpc, contract), venue=venue, **more)

    return connected


def _client(venue: Path | None, rpc: str | None, contract: str | None) -> SettlementClient:
    if venue is not None and not (rpc or contract):
        known = RunFile.read(venue / "run.json")
        return SettlementClient(known.rpc, known.contract)
    if venue is None and rpc and contract:
        return SettlementClient(rpc, contract)
    raise click.UsageError("--venue alone, or --rpc and --contract")


def from_chain(client: SettlementClient, batch: int | None, first_block: int) -> Rebuilt:
    """A batch, else the last final one, rebuilt from the chain that ``client`` is connected to."""
    history = ChainHistory(client.url, client.address, first_block=first_block)
    number = batch or history.last_final()
    if not number:
        raise ChainError("no batch is final yet")
    with bar("Reading batches") as progress:
        return rebuild(history, number, progress)


@click.command("rebuild")
@click.option("--batch", type=click.IntRange(1), help="An anchored one; else the last final.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File for all accounts, as JSON lines."
)
@first_block_option
@json_option
@clear_errors
@on_chain
def command(
    batch: int | None,
    out: Path | None,
    first_block: int,
    client: SettlementClient,
    venue: Path | None,
    as_json: bool,
) -> None:
    """Rebuild from the chain alone what every account of a venue is owed.

    Reads deposits, headers and the data of all batches since the last snapshot, and holds the result against
    what was anchored: accounts, marks, and the exit root with its sums. So owners and equity are proven;
    how equity is made up is what the signers of the batch say. Needs nobody's help but a node's.
    """
    made = from_chain(client, batch, first_block)
    if out is not None:
        out.write_bytes(b"".join(_lines(made)))
    own, node = made.seconds
    told = {
        "batch": made.header.number,
        "accounts": len(made.leaves),
        "positions": len(made.state.positions),
        "equity": made.header.exit_positive,
        "shortfall": made.header.exit_shortfall,
        "exit_root": made.header.exit_root.hex(),
        "batches_read": made.batches,
        "data_bytes": made.data_bytes,
        "seconds": round(own, 3),
        "node_seconds": round(node, 3),
    }
    if as_json:
        say(told)
        return
    click.echo(
        f"Batch {told['batch']}: {told['accounts']} accounts with {told['positions']} positions, "
        f"{told['equity']} quanta of equity, as it was anchored."
    )
    what = f"{made.batches} batches of {made.data_bytes} bytes"
    console.print(f"Read {what} in {node:.1f} s of the node's and {own:.1f} s of ours.")


def _lines(made: Rebuilt) -> list[bytes]:
    """One account each, with its positions."""
    held: dict[int, list[dict[str, int]]] = {}
    positions = made.state.positions
    for account, instrument, lots in zip(
        *(positions[name].tolist() for name in ("account", "instrument", "lots")), strict=True
    ):
        held.setdefault(account, []).append({"instrument": instrument, "lots": lots})
    collateral = made.state.accounts["collateral"].tolist()
    return [
        msgspec.json.encode(
            {
                "account": leaf.index,
                "owner": "0x" + leaf.owner.hex(),
                "generation": leaf.generation,
                "collateral": collateral[leaf.index],
                "positions": held.get(leaf.index, []),
                "equity": leaf.equity,
            }
        )
        + b"\n"
        for leaf in made.leaves
    ]
