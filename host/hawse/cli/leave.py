"""What a user does without the operator: ``hawse force``, ``freeze``, ``exit`` and ``refund``."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from hawse.chain.client import SettlementClient
from hawse.chain.errors import ChainError
from hawse.commit.exit_file import ExitFile
from hawse.commit.exits import ExitLeaf
from hawse.commit.header import BatchHeader
from hawse.commit.inclusion import ProofError
from hawse.commit.trees import Node
from hawse.journal import Journal
from hawse.keys.store import KeyStore, address_of
from hawse.state.slot import RequestKind

from .check import from_snapshot
from .common import address, clear_errors, console, json_option, say, state_option
from .keys import directory_option, password_option
from .rebuild import first_block_option, from_chain, on_chain
from .trader import account_of, quanta_of


@click.command()
@click.argument("name")
@click.argument("what", type=click.Choice(["withdraw", "cancel-all", "exit", "appoint", "revoke"]))
@click.option("--amount", help="Of a withdrawal, in whole tokens, as in 250.5.")
@click.option("--agent", help="Address of the agent to appoint or revoke.")
@click.option("--until", type=click.IntRange(1, 2**48 - 1), help="Of an appointment: ms since 1970.")
@click.option("--account", type=click.IntRange(0, 2**32 - 1), help="Else the one that --venue knows.")
@click.option("--generation", type=click.IntRange(0, 2**64 - 1), help="Of the account; likewise.")
@password_option
@directory_option
@json_option
@clear_errors
@on_chain
def force(
    name: str,
    what: str,
    amount: str | None,
    agent: str | None,
    until: int | None,
    account: int | None,
    generation: int | None,
    client: SettlementClient,
    venue: Path | None,
    password: str,
    keys: Path,
    as_json: bool,
) -> None:
    """Have the contract ask the venue for what the key called NAME wants, which it cannot pass over.

    The request costs a fee. A batch has to take it; when none does in time, anybody may freeze the venue. A
    withdrawal or exit pays what may leave then; an exit cancels all orders, too. Positions stay.
    """
    kind = {"cancel-all": "CANCEL_ALL", "revoke": "APPOINT"}.get(what, what.upper())
    wanted = {"withdraw": {"amount"}, "appoint": {"agent", "until"}, "revoke": {"agent"}}.get(what, set())
    given = {n for n, value in (("amount", amount), ("agent", agent), ("until", until)) if value is not None}
    if given != wanted:
        needs = ", ".join(f"--{n}" for n in sorted(wanted)) or "none of --amount, --agent and --until"
        raise click.UsageError(f"{what} takes {needs}")
    key = KeyStore(keys).load(name, password)
    if account is None or generation is None:
        if venue is None:
            raise click.UsageError("--account and --generation, where there is no --venue")
        known = account_of(venue, address_of(key))
        account, generation = known["account"], known["generation"]
    made = client.request(
        key,
        RequestKind[kind],
        account,
        generation,
        amount=quanta_of(amount) if amount else 0,
        agent=address(agent) if agent else bytes(20),
        expiry=until or 0,
    )
    until_then = client.freezable_at()
    if as_json:
        say({"request": made.index, "kind": what, "account": account, "freezable_at": until_then})
        return
    click.echo(f"Request {made.index} of account {account} waits in the contract's queue.")
    console.print(
        f"If no batch has taken it by {_time(until_then)}, anybody may freeze the venue: hawse freeze."
    )


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


@click.command()
@click.argument("name")
@password_option
@directory_option
@json_option
@clear_errors
@on_chain
def freeze(
    name: str, client: SettlementClient, venue: Path | None, password: str, keys: Path, as_json: bool
) -> None:
    """End a venue whose operator does not answer, for ever; the key called NAME pays the gas.

    Afterwards everybody takes out what the last final batch says he has (hawse exit claim), and deposits
    that no final batch has booked (hawse refund). Withdrawals of final batches stay claimable.
    """
    key = KeyStore(keys).load(name, password)
    if client.frozen():
        raise ChainError(f"the venue is frozen already; its last final batch is {client.last_final()}")
    now, then = client.chain_time(), client.freezable_at()
    if now <= then:
        raise ChainError(f"the venue answers: it can be frozen behind {_time(then)}, and it is {_time(now)}")
    client.freeze(key)
    told = {"frozen": True, "last_final_batch": client.last_final()}
    if as_json:
        say(told)
        return
    click.echo(f"The venue is frozen; its last final batch is {told['last_final_batch']}.")
    console.print("What comes next: hawse exit claim with your proof, and hawse refund.")


@click.group("exit")
def group() -> None:
    """An account's way out of a venue that was frozen: a proof kept in time, and its claim."""


@group.command()
@click.argument("name")
@click.option(
    "--batch",
    type=click.IntRange(1),
    help="An anchored one; else the newest or, of a chain alone, the last final.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file.")
@first_block_option
@directory_option
@state_option
@json_option
@clear_errors
@on_chain
def prove(
    name: str,
    batch: int | None,
    out: Path,
    first_block: int,
    client: SettlementClient,
    venue: Path | None,
    keys: Path,
    form: str,
    as_json: bool,
) -> None:
    """Keep the proof of what the key called NAME has in an anchored batch.

    With --venue, the directory of hawse run or a copy of it, the batch is executed again from its journal.
    With --rpc and --contract it is rebuilt from the chain alone, where the venue's data is there.
    """
    owner = bytes.fromhex(KeyStore(keys).show(name).address[2:])
    if venue is not None:
        header, leaves, proof = _from_journal(venue, batch, form)
    else:
        rebuilt = from_chain(client, batch, first_block)
        header, leaves, proof = rebuilt.header, rebuilt.leaves, rebuilt.proof
    found = [leaf for leaf in leaves if leaf.owner == owner]
    if not found:
        raise ProofError(f"{name} has no account in batch {header.number}")
    files = []
    for leaf in found:
        path = out if len(found) == 1 else out.with_stem(f"{out.stem}-{leaf.index}")
        made = ExitFile.of(client.chain_id, client.address, header, leaf, proof(leaf.index))
        path.write_bytes(msgspec.json.format(msgspec.json.encode(made)))
        files.append(
            {"file": str(path), "batch": header.number, "account": leaf.index, "equity": leaf.equity}
        )
    if as_json:
        say(files)
        return
    for one in files:
        click.echo(
            f"{one['file']}: account {one['account']} has {one['equity']} quanta in batch {one['batch']}."
        )


def _from_journal(
    venue: Path, batch: int | None, form: str
) -> tuple[BatchHeader, Sequence[ExitLeaf], Callable[[int], tuple[Node, ...]]]:
    """Header, leaves and what gives their paths, of a batch that is executed again."""
    with Journal(venue / "journal", readonly=True) as journal:
        headers = {anchor.header.number: anchor.header for anchor in journal.anchors()}
        if not headers or (batch is not None and batch not in headers):
            known = f"batches 1 to {max(headers)}" if headers else "none"
            raise ProofError(f"batch {batch or 1} is not anchored; the journal knows of {known}")
        header = headers[batch or max(headers)]
        first, last, sealed = header.journal_first, header.journal_last, None
        with from_snapshot(journal, venue / "journal", first, last, form) as (_, slots):
            for done in slots:
                if done.slot.number == last:
                    sealed = done.sealed
                    break
    assert sealed
    state = sealed.state
    return header, state.exits, lambda index: state.exit_proof(index)[1]


@group.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("name")
@click.option("--rpc", required=True, help="Node of the chain.")
@password_option
@directory_option
@json_option
@clear_errors
def claim(file: Path, name: str, rpc: str, password: str, keys: Path, as_json: bool) -> None:
    """Have a frozen venue's contract pay the account of FILE; the key called NAME pays the gas.

    Anybody may: only the account's owner is paid.
    """
    kept = ExitFile.read(file)
    header, leaf, proof = kept.terms()
    client = SettlementClient(rpc, kept.contract)
    if client.chain_id != kept.chain_id:
        raise ProofError(f"the file is of chain {kept.chain_id}, but {rpc} is of {client.chain_id}")
    if not client.frozen():
        then = _time(client.freezable_at())
        raise ChainError(f"the venue is not frozen; if nothing is anchored until {then}, hawse freeze")
    final = client.last_final()
    if header.number != final:
        raise ProofError(f"the file is of batch {header.number}, and the last final one is {final}")
    payout = client.exit_payout(header, leaf, proof)
    client.exit(KeyStore(keys).load(name, password), header, leaf, proof)
    told = {"account": leaf.index, "owner": "0x" + leaf.owner.hex(), "equity": leaf.equity, "paid": payout}
    if as_json:
        say(told)
    else:
        click.echo(f"{told['owner']} was paid {payout} quanta for account {leaf.index}.")


@click.command()
@click.argument("name")
@password_option
@directory_option
@json_option
@clear_errors
@on_chain
def refund(
    name: str, client: SettlementClient, venue: Path | None, password: str, keys: Path, as_json: bool
) -> None:
    """Have a frozen venue pay back every deposit of the key called NAME that no final batch has booked."""
    key = KeyStore(keys).load(name, password)
    if not client.frozen():
        raise ChainError("the venue is not frozen")
    owner, paid = address_of(key), []
    for deposit in client.deposits_since(client.deposits_consumed()):
        if deposit.owner == owner and not client.refunded(deposit):
            client.refund(key, deposit)
            paid.append({"deposit": deposit.index, "amount": deposit.amount})
    if as_json:
        say({"owner": "0x" + owner.hex(), "refunded": paid})
        return
    for one in paid:
        click.echo(f"Deposit {one['deposit']}: {one['amount']} quanta are paid back.")
    if not paid:
        click.echo(f"{name} has no deposit to be paid back.")
