"""``hawse keys``: private keys in encrypted files."""

import json
from pathlib import Path
from typing import TextIO

import click

from hawse.keys import lines
from hawse.keys.eip712 import Domain
from hawse.keys.signing import sign as sign_rows
from hawse.keys.store import KeyStore

from .common import clear_errors, json_errors, json_option, say

_directory = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path.home() / ".hawse" / "keys",
    show_default="~/.hawse/keys",
    help="Where the key files are.",
)


@click.group()
def keys() -> None:
    """Private keys of operators and users, each in an encrypted file."""


@keys.command()
@click.argument("name")
@_directory
@click.password_option(help="Asked for when not given.")
@json_option
@clear_errors
def new(name: str, directory: Path, password: str, as_json: bool) -> None:
    """Make a key called NAME."""
    key = KeyStore(directory).new(name, password)
    if as_json:
        say({"name": key.name, "address": key.address})
    else:
        click.echo(key.address)


@keys.command("list")
@_directory
@json_option
@clear_errors
def list_(directory: Path, as_json: bool) -> None:
    """Name and address of every key."""
    found = KeyStore(directory).keys()
    if as_json:
        say([{"name": key.name, "address": key.address} for key in found])
    for key in [] if as_json else found:
        click.echo(f"{key.address}  {key.name}")


@keys.command()
@click.argument("name")
@_directory
@json_option
@clear_errors
def show(name: str, directory: Path, as_json: bool) -> None:
    """Address of the key called NAME."""
    key = KeyStore(directory).show(name)
    if as_json:
        say({"name": key.name, "address": key.address})
    else:
        click.echo(key.address)


@keys.command()
@click.argument("name")
@click.argument("commands", type=click.File(), default="-")
@click.option("--chain-id", type=int, required=True, help="Of the venue's chain.")
@click.option("--contract", required=True, help="Address of the venue's settlement contract.")
@click.password_option(confirmation_prompt=False, help="Asked for when not given.")
@_directory
@json_errors
@clear_errors
def sign(name: str, commands: TextIO, chain_id: int, contract: str, password: str, directory: Path) -> None:
    """Sign commands with the key called NAME.

    COMMANDS is a file of commands as JSON, one a line, or - for standard input; they come out signed, as
    hawse run takes them.
    """
    try:
        domain = Domain(chain_id, bytes.fromhex(contract.removeprefix("0x")))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--contract") from error
    key = KeyStore(directory).load(name, password)
    for number, line in enumerate(commands, 1):
        try:
            row = lines.parse(line)
        except lines.LineError as error:
            raise click.ClickException(f"line {number}: {error}") from error
        sign_rows(row, domain, [key])
        click.echo(json.dumps(lines.unparse(row)))
