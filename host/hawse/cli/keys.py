"""``hawse keys``: private keys in encrypted files."""

from pathlib import Path

import click

from hawse.keys.store import KeyStore

from .common import clear_errors, json_option, say

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
