"""``hawse load``: orders at a rate of their own, and how long each had to wait for its answer."""

import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from hawse.chain.devchain import dev_keys
from hawse.keys.eip712 import Domain
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.keys.signing import sign
from hawse.keys.store import address_of
from hawse.wire import Side, TimeInForce
from hawse.wire.dtypes import Array

from .common import clear_errors, json_option, say
from .keys import EMBEDDED

#: Lots of an order: a thousand dollars' worth at the venue that comes with Hawse.
_LOTS = 1_000_000
#: Microseconds that a histogram tells apart, and its significant digits.
_LONGEST, _DIGITS = 600_000_000, 3
#: Seconds after the last order in which answers may come, and for which a signed order holds.
_LATE, _HOLDS = 30.0, 3600
#: Commands of one round of a pair: a quote, what takes it, and the quote's cancel.
_ROUND = 3
#: Rows in a frame, at most.
_FRAME_ROWS = 64
#: Refusals that the flow leads to by itself: the quote was filled before its cancel.
_EXPECTED = frozenset({"client_id_unknown", "not_resting"})
_SYNCS = 50


@dataclass
class Flow:
    """Commands of one account, signed: what is sent, and when, in seconds from the start.

    Frames are JSON, or a row each; the first command has the nonce ``first``, each other one more.
    """

    frames: Sequence[str | bytes]
    times: list[float]
    first: int


@dataclass
class Found:
    """What came back."""

    histogram: Any
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


@click.command()
@click.argument("url")
@click.option(
    "--rate", type=click.FloatRange(1), default=1000.0, show_default=True, help="Commands a second."
)
@click.option("--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="For so long.")
@click.option(
    "--accounts",
    type=click.IntRange(2, EMBEDDED),
    default=EMBEDDED,
    show_default=True,
    help="Of the embedded chain; each has a connection of its own.",
)
@click.option(
    "--readers", type=click.IntRange(0), default=0, show_default=True, help="Connections that only read."
)
@click.option(
    "--poisson/--even", default=True, show_default=True, help="Arrivals at random, or evenly spaced."
)
@click.option("--binary", is_flag=True, help="Rows in place of JSON: what is due goes in one frame.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the arrivals.")
@json_option
@clear_errors
def load(
    url: str,
    rate: float,
    seconds: float,
    accounts: int,
    readers: int,
    poisson: bool,
    binary: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Send orders to the gateway at URL, at a rate that does not wait for it.

    Every order has its time before the run begins, and its latency counts from that time on, however late it
    could be sent: an answer that is slow does not hide those behind it. All are signed before. The venue is
    one with an embedded chain, whose keys everybody knows; give its host --http-rate above the rate.
    """
    try:
        import hdrh  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise click.ClickException(f"hawse load needs the extra bench: {error}") from error
    try:
        found, took = asyncio.run(
            _run(url.rstrip("/"), rate, seconds, accounts, readers, poisson, binary, seed)
        )
    except OSError as error:
        raise click.ClickException(f"{url}: {error}") from error
    told = _told(found, took)
    if as_json:
        say(told)
        return
    late = ", ".join(f"{name} {value:g} ms" for name, value in told["latency_ms"].items())
    click.echo(
        f"{told['orders']} commands answered, {told['orders_per_s']:,.0f} a second; {told['errors']} errors"
    )
    click.echo(f"from their time to their answer: {late}; a sync of this disk: {told['sync_ms']:g} ms")
    for code, count in sorted((found.refused + found.errors).items()):
        click.echo(f"  {code}: {count}")


def _told(found: Found, took: float) -> dict[str, Any]:
    at = found.histogram.get_value_at_percentile
    late = {"p50": at(50), "p99": at(99), "p999": at(99.9), "max": found.histogram.get_max_value()}
    unexpected = sum(n for code, n in found.refused.items() if code not in _EXPECTED)
    return {
        "orders": found.answered,
        "errors": found.errors.total() + unexpected,
        "refused": dict(found.refused),
        "failed": dict(found.errors),
        "seconds": round(took, 3),
        "orders_per_s": round(found.answered / took, 1),
        "latency_ms": {name: value / 1000 for name, value in late.items()},
        "sync_ms": round(sync_ms(), 3),
    }


def sync_ms() -> float:
    """Milliseconds of one durable append in the working directory, the median of some."""
    with tempfile.NamedTemporaryFile(dir=Path.cwd()) as file:
        taken = []
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1000


async def _run(
    url: str, rate: float, seconds: float, accounts: int, readers: int, poisson: bool, binary: bool, seed: int
) -> tuple[Found, float]:
    import aiohttp  # noqa: PLC0415 - takes a while, and other commands can do without
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - an extra

    found = Found(HdrHistogram(1, _LONGEST, _DIGITS))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        async with http.get(url + "/v1/venue") as reply:
            venue = await reply.json()
        async with http.get(url + "/v1/tickers") as reply:
            mark = (await reply.json())[0]["mark"]
        keys = dev_keys(EMBEDDED)[:accounts]
        whose = [await _account(http, url, key) for key in keys]
        times = _arrivals(rate, seconds, poisson, seed)
        flows = [*_flows(venue, keys, whose, mark, times, binary)]
        reading = [asyncio.create_task(_read(http, url)) for _ in range(readers)]
        sockets = [await http.ws_connect(url + "/v1/stream", max_msg_size=0) for _ in flows]
        await asyncio.sleep(0.5 if readers else 0)
        start = time.perf_counter()
        answers = [
            asyncio.create_task(_hear(s, f, start, found)) for s, f in zip(sockets, flows, strict=True)
        ]
        await asyncio.gather(*(_send(s, f, start) for s, f in zip(sockets, flows, strict=True)))
        _, left = await asyncio.wait(answers, timeout=_LATE)
        took = time.perf_counter() - start
        found.errors["unanswered"] += len(times) - found.answered - found.errors.total()
        found.errors += Counter()  # without zeros
        for task in (*left, *reading):
            task.cancel()
        await asyncio.gather(*left, *reading, return_exceptions=True)
    return found, took


async def _account(http: Any, url: str, key: bytes) -> tuple[int, int]:
    async with http.get(f"{url}/v1/owners/0x{address_of(key).hex()}") as reply:
        told = await reply.json()
        if reply.status != 200:
            raise click.ClickException(
                f"{url}: {told['error']['message']}: is it a venue on an embedded chain?"
            )
        return told["account"], told["generation"]


def _arrivals(rate: float, seconds: float, poisson: bool, seed: int) -> list[float]:
    """When each command is due, in seconds from the start."""
    count = max(1, round(rate * seconds))
    if not poisson:
        return [n / rate for n in range(count)]
    between = np.random.default_rng(seed).exponential(1 / rate, count)
    return [float(time_) for time_ in np.cumsum(between)]


def _flows(
    venue: dict[str, Any],
    keys: Sequence[bytes],
    whose: Sequence[tuple[int, int]],
    mark: int,
    times: Sequence[float],
    binary: bool,
) -> Iterator[Flow]:
    """Of every account, its commands: pairs quote, take and cancel in turn."""
    now = time.time_ns() // 1_000_000
    rows: Array = np.zeros(len(times), MESSAGE)
    number = np.arange(len(times))
    turn, step = number // _ROUND, number % _ROUND
    maker = turn % len(keys)
    taker = maker ^ 1
    taker[taker >= len(keys)] = 0
    account = np.where(step == 1, taker, maker)
    selling = (turn // len(keys) % 2 == 0) ^ (step == 1)
    orders = step < 2
    rows["kind"] = np.where(orders, MessageKind.ORDER, MessageKind.CANCEL)
    rows["side"][orders] = np.where(selling, Side.SELL, Side.BUY)[orders]
    rows["time_in_force"][step == 1] = TimeInForce.IOC
    rows["price"][orders], rows["quantity"][orders] = mark, _LOTS
    rows["client_id"] = now * 1000 + np.where(step == 2, number - 2, number)
    owned = [np.flatnonzero(account == index) for index in range(len(keys))]
    for mine in owned:
        rows["nonce"][mine] = now + np.arange(len(mine))
    rows["expiry"] = rows["nonce"] + _HOLDS * 1000
    for name, place in (("account", 0), ("generation", 1)):
        rows[name] = np.array([one[place] for one in whose])[account]
    domain = Domain(venue["chain_id"], bytes.fromhex(venue["contract"][2:]))
    sign(rows, domain, [keys[index] for index in account])
    for mine in owned:
        due = [times[place] for place in mine.tolist()]
        if binary:
            yield Flow([row.tobytes() for row in rows[mine]], due, now)
        else:
            yield Flow([_frame(n, row) for n, row in enumerate(rows[mine])], due, now)


def _frame(number: int, row: np.void) -> str:
    """One command as its connection sends it."""
    names = ["account", "generation", "nonce", "expiry", "client_id"]
    fields: dict[str, Any] = {name: int(row[name]) for name in names}
    kind = MessageKind(int(row["kind"]))
    if kind is MessageKind.ORDER:
        fields |= {"side": Side(int(row["side"])).name.lower(), "price": int(row["price"])}
        fields |= {"quantity": int(row["quantity"])}
        fields |= {"time_in_force": TimeInForce(int(row["time_in_force"])).name.lower()}
    fields["signature"] = "0x" + row["signature"].tobytes().hex()
    return json.dumps({"op": "command", "id": number, "command": {"kind": kind.name.lower()} | fields})


async def _send(socket: Any, flow: Flow, start: float) -> None:
    """Each at its time, or as soon as may be; rows that are due together in one frame."""
    waiting: list[bytes] = []
    for n, (frame, due) in enumerate(zip(flow.frames, flow.times, strict=True)):
        wait = start + due - time.perf_counter()
        if wait > 0.0005:
            await asyncio.sleep(wait)
        if isinstance(frame, str):
            await socket.send_str(frame)
            continue
        waiting.append(frame)
        follows = n + 1 < len(flow.times) and start + flow.times[n + 1] < time.perf_counter()
        if not follows or len(waiting) == _FRAME_ROWS:
            await socket.send_bytes(b"".join(waiting))
            waiting = []


async def _hear(socket: Any, flow: Flow, start: float, found: Found) -> None:
    """Until every command is answered."""
    left = len(flow.frames)
    async for message in socket:
        told = msgspec.json.decode(message.data)
        number = told.get("id", told.get("nonce", 0) - flow.first)
        if told.get("op") not in ("command", "error"):
            continue
        if told["op"] == "error":
            found.errors[told["error"]["code"]] += 1
        else:
            late = time.perf_counter() - start - flow.times[number]
            found.histogram.record_value(max(1, round(late * 1e6)))
            found.answered += 1
            if (line := told["outcome"]["lines"][0])["event"] in ("refused", "rejected"):
                found.refused[line["reason"]] += 1
        left -= 1
        if not left:
            return


async def _read(http: Any, url: str) -> None:
    """One who reads the book and the trades, and has nothing to say."""
    async with http.ws_connect(url + "/v1/stream", max_msg_size=0) as socket:
        for stream in ("book", "trades"):
            await socket.send_json({"op": "subscribe", "stream": stream})
        async for _ in socket:
            pass
