"""What a trader asks and does beside his orders: ``hawse info``, ``account``, ``deposit`` and ``claim``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from hawse.chain.client import Claim, SettlementClient
from hawse.chain.errors import ChainError
from hawse.commit.trees import Node
from hawse.commit.withdrawals import Range, Withdrawal
from hawse.journal import Journal
from hawse.keys.store import KeyStore, address_of
from hawse.publisher.errors import PublisherError
from hawse.publisher.lines import Line
from hawse.publisher.store import Outcomes
from hawse.state.config import VenueConfig
from hawse.state.ledger import StrategyKind
from hawse.state.machines import AnyMachine

from .check import config_of, from_snapshot
from .common import OUTCOMES, RunFile, bar, clear_errors, console, json_option, say, state_option
from .keys import directory_option, password_option

#: Of the token; the contract takes no other.
DECIMALS = 6
#: Of a batch's withdrawals, beside their root.
_RANGE = ("first", "count", "sum")

venue = click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))


@dataclass(frozen=True)
class Place:
    """Where a venue is, as its directory says: its chain and its own parameters."""

    run: RunFile
    config: VenueConfig

    @classmethod
    def of(cls, directory: Path) -> "Place":
        """The venue of a directory of ``hawse run``, which may be running.

        Raises:
            click.BadParameter: it is none, or its host has not begun its journal yet.
        """
        path = directory / "run.json"
        if not path.exists():
            raise click.BadParameter(f"{path} does not exist: hawse run {directory} makes a venue")
        with Journal(directory / "journal", readonly=True) as journal:
            return cls(RunFile.read(path), config_of(journal))

    def client(self) -> SettlementClient:
        """Of its contract."""
        return SettlementClient(self.run.rpc, self.run.contract)


def account_of(directory: Path, owner: bytes) -> dict[str, int]:
    """Account and generation of an owner, as the venue told when it booked his last deposit.

    Raises:
        PublisherError: he has none yet.
    """
    address = "0x" + owner.hex()
    with Outcomes(directory / OUTCOMES, readonly=True) as kept:
        line = kept.account_of(address)
    if line is None:
        raise PublisherError(f"{address} has no account in {directory}: a deposit opens one")
    return {name: line[name] for name in ("account", "generation")}


@click.command()
@venue
@json_option
@clear_errors
def info(directory: Path, as_json: bool) -> None:
    """Say what a venue is: its chain and contract, its instruments and its limits.

    DIRECTORY is that of hawse run.
    """
    place = Place.of(directory)
    config, client = place.config, place.client()
    told: dict[str, Any] = {
        "rpc": place.run.rpc,
        "chain_id": config.chain_id,
        "contract": "0x" + config.contract.hex(),
        "token": "0x" + config.token.hex(),
        "operator": "0x" + config.operator.hex(),
        "rules_hash": "0x" + config.rules_hash().hex(),
        "minimum_deposit": config.minimum_deposit,
        "order_quota": config.order_quota,
        "position_quota": config.position_quota,
        "mark_step_ppm": config.mark_step_ppm,
        "settlement": client.terms() | {"frozen": client.frozen(), "last_final": client.last_final()},
        "instruments": [
            {
                "number": i.number,
                "name": i.name,
                "quanta_per_tick_lot": [i.numerator, i.denominator],
                "lowest_price": i.base,
                "highest_price": i.base + i.count - 1,
                "first_mark": i.first_mark,
                "minimum_quantity": i.minimum_quantity,
                "minimum_notional": i.minimum_notional,
                "initial_margin_ppm": i.initial_margin_ppm,
                "maker_fee_ppm": i.maker_fee_ppm,
                "taker_fee_ppm": i.taker_fee_ppm,
                "kind": i.kind.name.lower(),
                "expiry": i.expiry,
                "settlement_window": i.window,
                "funding_interval": i.funding_interval,
                "funding_cap_ppm": i.funding_cap_ppm,
                "impact_notional": i.impact_notional,
            }
            for i in config.instruments
        ],
    }
    if as_json:
        say(told)
        return
    for name in ("rpc", "chain_id", "contract", "token", "operator", "minimum_deposit", "order_quota"):
        click.echo(f"{name:16} {told[name]}")
    s = told["settlement"]
    click.echo(f"a batch is final after {s['window']} s; batch {s['last_final']} is the last that is")
    click.echo(f"without an answer for {s['grace']} s anybody may freeze" + ", and has" * s["frozen"])
    click.echo(f"a forced request costs {s['request_fee']} wei")
    for i in told["instruments"]:
        worth = "/".join(map(str, i["quanta_per_tick_lot"]))
        click.echo(f"instrument {i['number']}: {i['name']}, one tick of one lot is worth {worth} quanta")
        if i["expiry"]:
            ends = datetime.fromtimestamp(i["expiry"] / 1000, UTC).isoformat(" ", "milliseconds")
            click.echo(f"  expires     {ends}, at the average of {i['settlement_window'] / 1000:g} s before")
        click.echo(f"  prices      {i['lowest_price']} to {i['highest_price']} ticks")
        click.echo(f"  an order    {i['minimum_quantity']} lots and {i['minimum_notional']} quanta at least")
        click.echo(f"  margin      {_percent(i['initial_margin_ppm'])} of what it is worth")
        click.echo(
            f"  fees        maker {_percent(i['maker_fee_ppm'])}, taker {_percent(i['taker_fee_ppm'])}"
        )
        if i["funding_interval"]:
            every, most = i["funding_interval"] / 3_600_000, _percent(i["funding_cap_ppm"])
            click.echo(f"  funding     every {every:g} h, at most {most} of the index")


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:g} %"


@click.command()
@venue
@click.argument("name", required=False)
@click.option("--index", type=click.IntRange(0), help="Of the account, instead of a key's NAME.")
@directory_option
@state_option
@json_option
@clear_errors
def account(
    directory: Path, name: str | None, index: int | None, keys: Path, form: str, as_json: bool
) -> None:
    """Say what an account has: collateral, positions, open orders, and what can be withdrawn.

    DIRECTORY is that of hawse run, which may be running; NAME is the key of the account's owner. The journal
    is executed from its last snapshot on, so that nobody has to be asked.
    """
    if (name is None) == (index is None):
        raise click.UsageError("NAME or --index, one of the two")
    owner = None if name is None else bytes.fromhex(KeyStore(keys).show(name).address[2:])
    with machine_of(directory, form) as machine:
        known = machine.accounts
        if index is not None and index >= len(known):
            raise click.BadParameter(f"{index}: there are accounts 0 to {len(known) - 1}")
        found = [a for a in known if (a.owner == owner if index is None else a.index == index)]
        told = [_account(machine, one) for one in found]
    if as_json:
        say(told)
        return
    if not told:
        raise click.ClickException(f"key {name} has no account; hawse deposit {directory} {name} opens one")
    for one in told:
        _show(one)


def _account(machine: AnyMachine, one: Any) -> dict[str, Any]:
    return {
        "account": one.index,
        "owner": "0x" + one.owner.hex(),
        "subaccount": one.subaccount,
        "generation": one.generation,
        "slot": machine.next_slot - 1,
        "collateral": one.collateral,
        "equity": machine.equity(one),
        "free_collateral": machine.free_collateral(one),
        "withdrawable": machine.withdrawable(one),
        "positions": [
            {"instrument": number, "size": held.size, "entry": held.entry}
            for number, held in sorted(one.positions.items())
        ],
        "orders": [
            {
                "client_id": order.client_id,
                "instrument": order.instrument,
                "side": "sell" if order.side else "buy",
                "price": order.price,
                "remaining": order.remaining,
            }
            for order in sorted(one.orders.values(), key=lambda order: order.queue)
        ],
        "strategies": [
            {
                "client_id": each.client_id,
                "strategy": StrategyKind(each.kind).name.lower(),
                "instrument": each.instrument,
                "side": "sell" if each.side else "buy",
                "quantity": each.quantity,
                "done": each.done,
                "fired": each.fired,
                "next": each.next,
                "until": each.until,
            }
            for each in sorted(one.strategies.values(), key=lambda each: each.queue)
        ],
    }


def _show(one: dict[str, Any]) -> None:
    click.echo(
        f"account {one['account']}, subaccount {one['subaccount']}, generation {one['generation']}, "
        f"behind slot {one['slot']}"
    )
    for name in ("collateral", "equity", "free_collateral", "withdrawable"):
        click.echo(f"  {name:16} {one[name]:>20,} quanta")
    for held in one["positions"]:
        click.echo(f"  position in instrument {held['instrument']}: {held['size']:+,} lots")
    for order in one["orders"]:
        lots = f"{order['side']} {order['remaining']:,} lots at {order['price']:,}"
        click.echo(f"  order {order['client_id']} in instrument {order['instrument']}: {lots}")
    for each in one["strategies"]:
        what = f"{each['strategy']} {each['side']} {each['quantity']:,} lots, {each['done']:,} done"
        click.echo(f"  strategy {each['client_id']} in instrument {each['instrument']}: {what}")


@contextmanager
def machine_of(directory: Path, form: str) -> Iterator[AnyMachine]:
    """The state behind the journal's last slot."""
    with Journal(directory / "journal", readonly=True) as journal:
        last = journal.next_slot - 1
        with from_snapshot(journal, directory / "journal", last + 1, last, form) as (execution, slots):
            for _ in slots:
                pass
            yield execution.machine


@click.command()
@venue
@click.argument("name")
@click.argument("amount")
@password_option
@directory_option
@json_option
@clear_errors
def deposit(directory: Path, name: str, amount: str, password: str, keys: Path, as_json: bool) -> None:
    """Deposit AMOUNT of the venue's token from the key called NAME; the first opens an account.

    DIRECTORY is that of hawse run; it books the deposit once it sees it on the chain. AMOUNT is in whole
    tokens and may have a decimal point, as in 250.5.
    """
    place = Place.of(directory)
    client = place.client()
    quanta = quanta_of(amount)
    least = place.config.minimum_deposit
    key = KeyStore(keys).load(name, password)
    has = client.token_balance(address_of(key))
    if has < quanta:
        raise ChainError(f"amount: {quanta} quanta, but {name} has {has} outside the venue")
    made = client.deposit(key, quanta)
    told = {"deposit": made.index, "owner": "0x" + made.owner.hex(), "amount": made.amount}
    if as_json:
        say(told)
    else:
        click.echo(f"Deposit {made.index}: {made.amount} quanta of 0x{made.owner.hex()} are on the chain.")
    if quanta < least:
        console.print(f"It is below {least} quanta, which an account begins with: a new owner gets it back.")


def quanta_of(amount: str) -> int:
    """Quanta of an amount in whole tokens.

    Raises:
        click.BadParameter: it is no such amount.
    """
    try:
        quanta = Decimal(amount).scaleb(DECIMALS)
    except InvalidOperation:
        raise click.BadParameter(f"{amount!r} is not a number, as in 250.5") from None
    if not quanta.is_finite() or quanta != quanta.to_integral_value():
        raise click.BadParameter(f"{amount!r}: the token has {DECIMALS} decimals")
    if not 0 < quanta < 2**63:
        raise click.BadParameter(f"{amount!r} is not within 1 and {2**63 - 1} quanta")
    return int(quanta)


@click.command()
@venue
@click.argument("name")
@password_option
@directory_option
@json_option
@clear_errors
def claim(directory: Path, name: str, password: str, keys: Path, as_json: bool) -> None:
    """Have the contract pay every anchored withdrawal of the key called NAME that is not paid yet.

    DIRECTORY is that of hawse run. A withdrawal is a signed message like any other; the batch that has it is
    anchored before it can be claimed. The key pays the gas, and the contract checks the proof.
    """
    client = Place.of(directory).client()
    key = KeyStore(keys).load(name, password)
    owner = "0x" + address_of(key).hex()
    with Outcomes(directory / OUTCOMES, readonly=True) as kept:
        due = [_claim(line) for line in kept.withdrawals(owner)]
    unpaid = [one for one in due if not client.claimed(one.withdrawal.id)]
    with bar("Claiming", len(unpaid)) as progress:
        client.claim_all([(key, one) for one in unpaid], progress)
    told = {
        "owner": owner,
        "claimed": [{"withdrawal": one.withdrawal.id, "amount": one.withdrawal.amount} for one in unpaid],
        "paid_before": len(due) - len(unpaid),
        "balance": client.token_balance(address_of(key)),
    }
    if as_json:
        say(told)
        return
    for one in unpaid:
        click.echo(f"Withdrawal {one.withdrawal.id} of batch {one.batch}: {one.withdrawal.amount} quanta.")
    if not unpaid:
        click.echo(f"Nothing to claim: {len(due)} anchored withdrawals, all paid.")
    click.echo(f"{name} has {told['balance']} quanta outside the venue.")


def _claim(line: Line) -> Claim:
    """What the contract takes, of a line that tells of an anchored withdrawal."""
    among = Range(bytes.fromhex(line["among"]["root"][2:]), *(line["among"][n] for n in _RANGE))
    due = Withdrawal(line["withdrawal"], bytes.fromhex(line["owner"][2:]), 0, line["amount"])
    proof = [Node(bytes.fromhex(hash_[2:]), tuple(sums)) for hash_, *sums in line["proof"]]
    return Claim(line["batch"], among, due, proof)
