"""``hawse publish``: a publisher's prices, signed as a venue takes them."""

import json
import time
from pathlib import Path
from typing import Annotated, TextIO

import click
import msgspec

from hawse.journal.files import replace_durably
from hawse.keys import structs
from hawse.keys.signing import sign_digest
from hawse.keys.store import KeyStore
from hawse.state.feeds import MOST_INDEX

from .common import BadFile, clear_errors, json_errors, read_json
from .keys import directory_option, domain_of, password_option


class Price(msgspec.Struct, forbid_unknown_fields=True):
    """A line of what is to be signed: an underlying's price in ticks, its time in milliseconds if not now."""

    feed: Annotated[int, msgspec.Meta(ge=0, le=0xFFFE)]
    value: Annotated[int, msgspec.Meta(ge=1, le=MOST_INDEX)]
    time: Annotated[int, msgspec.Meta(ge=0, lt=1 << 48)] | None = None


class Numbers:
    """The last number of each feed, in a file: none is given twice, whatever stops between two lines.

    Raises:
        BadFile: the file is none of such numbers.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: dict[str, int] = read_json(path, dict[str, int]) if path.exists() else {}

    def next(self, feed: int, now: int) -> int:
        """The next one, which is kept before it is given; not below ``now``, should the file be lost."""
        number = max(self._last.get(str(feed), -1) + 1, now)
        self._last[str(feed)] = number
        replace_durably(self._path, msgspec.json.encode(self._last))
        return number


@click.command()
@click.argument("name")
@click.argument("prices", type=click.File("r"), default="-")
@click.option(
    "--numbers",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File of the last number of each feed; made where there is none.",
)
@click.option(
    "--venue",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of the venue that they are for.",
)
@click.option("--chain-id", type=click.IntRange(0), help="Of the venue's chain, without --venue.")
@click.option("--contract", help="Address of the venue's settlement contract, without --venue.")
@password_option
@directory_option
@json_errors
@clear_errors
def publish(
    name: str,
    prices: TextIO,
    numbers: Path,
    venue: Path | None,
    chain_id: int | None,
    contract: str | None,
    password: str,
    keys: Path,
) -> None:
    """Sign prices of underlyings with the key called NAME.

    PRICES is a file of lines like {"feed": 7, "value": 78000}, or - for standard input. Each comes out with
    time, number and signature, as hawse run --operations takes it. Numbers go on where the last run stopped.
    """
    secret, known = KeyStore(keys).load(name, password), Numbers(numbers)
    domain = domain_of(venue, chain_id, contract)
    for line, text in enumerate(prices, 1):
        try:
            price = msgspec.json.decode(text, type=Price)
        except msgspec.MsgspecError as error:
            raise BadFile(f"line {line}: {error}") from error
        now = time.time_ns() // 1_000_000
        at, number = now if price.time is None else price.time, known.next(price.feed, now)
        digest = domain.digest(structs.observation(price.feed, price.value, at, number))
        said = {"feed": price.feed, "value": price.value, "time": at, "number": number}
        click.echo(json.dumps(said | {"signature": "0x" + sign_digest(digest, secret).hex()}))
