"""``hawse keys``: private keys in encrypted files, and commands signed with them."""

import json
import time
from pathlib import Path
from typing import Any, TextIO

import click

from hawse.chain.devchain import dev_keys
from hawse.keys import lines
from hawse.keys.eip712 import Domain
from hawse.keys.signing import sign as sign_rows
from hawse.keys.store import KeyStore, address_of

from .common import clear_errors, json_errors, json_option, say

#: Accounts of the embedded chain.
EMBEDDED = 10

directory_option = click.option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path.home() / ".hawse" / "keys",
    show_default="~/.hawse/keys",
    help="Directory of the key files.",
)
password_option = click.option(
    "--password",
    envvar="HAWSE_PASSWORD",
    prompt=True,
    hide_input=True,
    help="Of the key; or in HAWSE_PASSWORD. Asked for when not given.",
)
_new_password = click.option(
    "--password",
    envvar="HAWSE_PASSWORD",
    prompt=True,
    hide_input=True,
    confirmation_prompt=True,
    help="To encrypt the key with; or in HAWSE_PASSWORD. Asked for when not given.",
)


@click.group("keys")
def group() -> None:
    """Private keys of operators and users, each in an encrypted file."""


@group.command()
@click.argument("name")
@directory_option
@_new_password
@json_option
@clear_errors
def new(name: str, keys: Path, password: str, as_json: bool) -> None:
    """Make a key called NAME."""
    _tell(KeyStore(keys).new(name, password), as_json)


@group.command("import")
@click.argument("name")
@click.argument("file", type=click.File(), required=False)
@click.option(
    "--embedded",
    type=click.IntRange(1, EMBEDDED),
    help="Key of this account of the embedded chain instead. Everybody knows it.",
)
@directory_option
@_new_password
@json_option
@clear_errors
def import_(
    name: str, file: TextIO | None, embedded: int | None, keys: Path, password: str, as_json: bool
) -> None:
    """Store a private key that you have under NAME.

    FILE holds it, 32 bytes in hexadecimal; - is standard input. It is no argument, for others can see
    those.
    """
    if (file is None) == (embedded is None):
        raise click.UsageError("FILE or --embedded, one of the two")
    secret = dev_keys(EMBEDDED)[embedded - 1] if embedded else _secret(file.read() if file else "")
    _tell(KeyStore(keys).new(name, password, secret), as_json)


def _secret(text: str) -> bytes:
    """The private key of a file.

    Raises:
        click.BadParameter: it has none; what it has instead is not repeated.
    """
    try:
        secret = bytes.fromhex(text.strip().removeprefix("0x"))
        address_of(secret)
    except ValueError:
        raise click.BadParameter("no private key of 32 bytes in hexadecimal", param_hint="FILE") from None
    return secret


def _tell(key: Any, as_json: bool) -> None:
    if as_json:
        say({"name": key.name, "address": key.address})
    else:
        click.echo(key.address)


@group.command("list")
@directory_option
@json_option
@clear_errors
def list_(keys: Path, as_json: bool) -> None:
    """Name and address of every key."""
    found = KeyStore(keys).keys()
    if as_json:
        say([{"name": key.name, "address": key.address} for key in found])
    for key in [] if as_json else found:
        click.echo(f"{key.address}  {key.name}")


@group.command()
@click.argument("name")
@directory_option
@json_option
@clear_errors
def show(name: str, keys: Path, as_json: bool) -> None:
    """Address of the key called NAME."""
    _tell(KeyStore(keys).show(name), as_json)


@group.command()
@click.argument("name")
@password_option
@directory_option
@clear_errors
def export(name: str, password: str, keys: Path) -> None:
    """Say the private key called NAME, for another program that signs; an agent's, as a rule.

    Whoever reads it can sign in its place: write it to a file that nobody else may read.
    """
    click.echo("0x" + KeyStore(keys).load(name, password).hex())


@group.command()
@click.argument("name")
@click.argument("commands", type=click.File(), default="-")
@click.option(
    "--venue",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of hawse run: says what follows, and what a command leaves out.",
)
@click.option("--chain-id", type=int, help="Of the venue's chain, without --venue.")
@click.option("--contract", help="Address of the venue's settlement contract, without --venue.")
@click.option(
    "--good-for",
    type=click.FloatRange(0.001),
    default=60,
    show_default=True,
    help="Seconds until a command expires that does not say when.",
)
@password_option
@directory_option
@json_errors
@clear_errors
def sign(
    name: str,
    commands: TextIO,
    venue: Path | None,
    chain_id: int | None,
    contract: str | None,
    good_for: float,
    password: str,
    keys: Path,
) -> None:
    """Sign commands with the key called NAME.

    COMMANDS is a file of commands as JSON, one a line, or - for standard input; they come out signed, as
    hawse run takes them. Nonce and expiry are taken from the clock where a command has none; with --venue,
    account and generation are those of the key's account.
    """
    secret = KeyStore(keys).load(name, password)
    known: dict[str, int] = {}
    if venue:
        from .trader import Place, account_of  # noqa: PLC0415 - it takes this module's options

        domain, known = Place.of(venue).config.domain, account_of(venue, address_of(secret))
    else:
        domain = _domain(chain_id, contract)
    nonce = 0
    for number, line in enumerate(commands, 1):
        try:
            now = time.time_ns() // 1_000_000
            nonce = max(nonce + 1, now)
            left_out = known | {"nonce": nonce, "expiry": now + round(good_for * 1000)}
            row = lines.parse(json.dumps(left_out | lines.decode(line)))
        except lines.LineError as error:
            raise click.ClickException(f"line {number}: {error}") from error
        sign_rows(row, domain, [secret])
        click.echo(json.dumps(lines.unparse(row)))


def domain_of(venue: Path | None, chain_id: int | None, contract: str | None) -> Domain:
    """Of the venue of a directory, or of one that is not on this machine.

    Raises:
        click.UsageError: neither is named.
    """
    if venue is None:
        return _domain(chain_id, contract)
    from .trader import Place  # noqa: PLC0415 - it takes this module's options

    return Place.of(venue).config.domain


def _domain(chain_id: int | None, contract: str | None) -> Domain:
    """Of a venue that is not on this machine."""
    if chain_id is None or contract is None:
        raise click.UsageError("--venue, or --chain-id and --contract")
    try:
        return Domain(chain_id, bytes.fromhex(contract.removeprefix("0x")))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--contract") from error
