"""``hawse risk``: what an account's positions and orders hold, and what an order would."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from hawse.keys.store import KeyStore
from hawse.risk import margin
from hawse.state.ledger import Account
from hawse.state.machine import Machine
from hawse.state.what_if import Asked, part_of, what_if
from hawse.wire import Side

from .common import clear_errors, json_option, say
from .keys import directory_option
from .trader import machine_of


@dataclass(frozen=True)
class Line:
    """What an account has of one instrument.

    Attributes:
        instrument: its number.
        position, buys, sells: lots; the latter two of open orders.
        mark: in ticks.
        unrealised: profit of the position, in quanta.
        unpaid_funding: what it owes of funding, in quanta; negative: what it gets.
        requirement: of position and orders; what is held of free collateral.
        initial, maintenance: of the position alone.
        liquidation_mark: the first mark on the way down or up at which the account is below maintenance, all
            other marks as they are; None where none of the band is.
    """

    instrument: int
    position: int
    buys: int
    sells: int
    mark: int
    unrealised: int
    unpaid_funding: int
    requirement: int
    initial: int
    maintenance: int
    liquidation_mark: int | None


@click.group("risk")
def group() -> None:
    """Margin of an account, line by line, and of an order before it is sent."""


@contextmanager
def _account(directory: Path, name: str, subaccount: int, keys: Path) -> Iterator[tuple[Machine, Account]]:
    """The state behind the last slot, as the specification has it, and an account in it."""
    owner = bytes.fromhex(KeyStore(keys).show(name).address[2:])
    with machine_of(directory, "native") as native:
        machine = Machine.restore(native.config, native.snapshot())
    account = machine.account_of(owner, subaccount)
    if account is None:
        raise click.ClickException(f"key {name} has no account with subaccount {subaccount}")
    yield machine, account


def _lines(machine: Machine, account: Account) -> list[Line]:
    found = []
    for number in sorted(account.positions.keys() | account.open):
        market, position = machine.markets[number], account.positions.get(number)
        size, entry = (position.size, position.entry) if position else (0, 0)
        opened = account.open.get(number)
        buys, sells = opened.lots if opened else (0, 0)
        initial = margin.initial_margin(market.terms, market.mark, size)
        found.append(
            Line(
                number,
                size,
                buys,
                sells,
                market.mark,
                margin.unrealised(market.terms, size, entry, market.mark),
                machine.unpaid_funding(account, number),
                machine.requirement(account, number),
                initial,
                -(-initial * market.terms.maintenance_ppm // 1_000_000),
                _liquidation_mark(machine, account, number) if size else None,
            )
        )
    return found


def _liquidation_mark(machine: Machine, account: Account, number: int) -> int | None:
    """Where equity first is below maintenance, by bisection: the distance between them is monotone."""
    market, size = machine.markets[number], account.positions[number].size
    before, terms = market.mark, market.terms
    healthy, far = before, terms.base if size > 0 else terms.base + terms.count - 1

    def is_below(mark: int) -> bool:
        market.mark = mark
        try:
            return machine.equity(account) < machine.maintenance(account)
        finally:
            market.mark = before

    if is_below(before):
        return before
    if not is_below(far):
        return None
    while abs(far - healthy) > 1:
        middle = (far + healthy) // 2
        healthy, far = (healthy, middle) if is_below(middle) else (middle, far)
    return far


def _sums(machine: Machine, account: Account) -> dict[str, int]:
    return {
        "collateral": account.collateral,
        "equity": machine.equity(account),
        "free_collateral": machine.free_collateral(account),
        "withdrawable": machine.withdrawable(account),
        "maintenance": machine.maintenance(account),
        "steps": account.step,
    }


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """DIRECTORY, NAME, and which subaccount."""
    for wrap in (
        clear_errors,
        json_option,
        directory_option,
        click.option("--subaccount", type=click.IntRange(0, 0xFFFF), default=0, show_default=True),
        click.argument("name"),
        click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path)),
    ):
        command = wrap(command)
    return command


@group.command()
@_options
def show(directory: Path, name: str, subaccount: int, keys: Path, as_json: bool) -> None:
    """Say what holds the collateral of the key called NAME, and how far liquidation is.

    DIRECTORY is that of hawse run. The numbers come from the functions that decide, on the state behind the
    journal's last slot.
    """
    with _account(directory, name, subaccount, keys) as (machine, account):
        sums, lines = _sums(machine, account), _lines(machine, account)
    if as_json:
        say({"account": account.index, **sums, "instruments": [asdict(line) for line in lines]})
        return
    for what, value in sums.items():
        click.echo(f"{what:16} {value:>20,}" + ("" if what == "steps" else " quanta"))
    for line in lines:
        click.echo(f"instrument {line.instrument}, mark {line.mark:,}")
        click.echo(f"  position {line.position:+,}, buys {line.buys:,}, sells {line.sells:,} lots")
        click.echo(f"  result {line.unrealised:+,}, holds {line.requirement:,} quanta")
        click.echo(f"  unpaid funding {line.unpaid_funding:+,} quanta (negative: it gets them)")
        click.echo(f"  maintenance {line.maintenance:,} of initial margin {line.initial:,}")
        if line.liquidation_mark is not None:
            away = abs(line.liquidation_mark - line.mark)
            click.echo(f"  liquidated from a mark of {line.liquidation_mark:,} on, {away:,} ticks away")


@group.command("what-if")
@click.option("--side", type=click.Choice(["buy", "sell"]), required=True)
@click.option("--price", type=click.IntRange(-(2**31), 2**31 - 1), required=True, help="Limit, in ticks.")
@click.option("--quantity", type=click.IntRange(1, 2**32 - 1), required=True, help="Lots.")
@click.option("--instrument", type=click.IntRange(0, 0xFFFE), default=0, show_default=True)
@click.option("--reduce-only", is_flag=True)
@_options
def what_if_command(
    directory: Path,
    name: str,
    subaccount: int,
    keys: Path,
    side: str,
    price: int,
    quantity: int,
    instrument: int,
    reduce_only: bool,
    as_json: bool,
) -> None:
    """Say whether an order would be admitted now, and what it would hold. Nothing is sent."""
    asked = Asked(instrument, Side.SELL if side == "sell" else Side.BUY, price, quantity, reduce_only)
    with _account(directory, name, subaccount, keys) as (machine, account):
        part, one = part_of(machine, account, len(machine.orders))
    found = what_if(part, one, asked)
    before, after, refused = asdict(found.before), asdict(found.after), found.refusal
    told: dict[str, Any] = {"admitted": refused is None, "before": before, "after": after}
    if refused:
        told |= {"reason": refused.reason.name.lower(), "have": refused.have, "need": refused.need}
    if as_json:
        say(told)
        return
    if refused:
        click.echo(f"It would be refused: {told['reason']}, has {told['have']:,}, needs {told['need']:,}.")
        return
    held = before["free_collateral"] - after["free_collateral"]
    click.echo(f"It would be admitted, and hold {held:,} of {before['free_collateral']:,} free quanta.")
