"""``hawse status``: what became of an order, asked by its owner's own number for it."""

from dataclasses import asdict
from pathlib import Path

import click

from hawse.publisher.store import Outcomes

from .common import OUTCOMES, clear_errors, json_option, say


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--account", type=click.IntRange(0, 2**32 - 1), required=True, help="Index of the account.")
@click.option("--client-id", type=click.IntRange(0, 2**64 - 1), required=True, help="Its own number.")
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="The newest so many.")
@json_option
@clear_errors
def status(directory: Path, account: int, client_id: int, most: int, as_json: bool) -> None:
    """What became of what an account sent under a client id, also while the host runs or after it.

    DIRECTORY is that of `hawse run`. Orders are as they stand now, outcomes as they were told; the newest
    come last. An id may be used again once its order has ended, so there may be several; an account's index
    is given again, too, and each order and outcome names the generation that it is of.
    """
    with Outcomes(directory / OUTCOMES, readonly=True) as kept:
        orders = [asdict(order) for order in kept.orders(account, client_id, most)]
        told = kept.told_of(account, client_id, most)
    for order in orders:
        del order["handle"]
    if as_json:
        say({"account": account, "client_id": client_id, "orders": orders, "outcomes": told})
        return
    if not told:
        click.echo(f"Account {account} has sent nothing under the client id {client_id}.")
    for order in orders:
        filled = f"{order['cumulative']} of {order['quantity']} lots filled, {order['remaining']} remain"
        life = f"order {order['seq']} of generation {order['generation']}"
        click.echo(f"{life}: {order['state']}, {filled}, fee {order['fee']} quanta")
    for line in told:
        why = f", {line['reason']}" if "reason" in line else ""
        lots = f", {line['quantity']} lots at {line['price']}" if "price" in line else ""
        click.echo(f"  slot {line['slot']}, input {line['seq']}: {line['event']}{why}{lots}")
