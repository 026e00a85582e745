"""A market maker: one quote on each side of the mark, moved as its position grows.

    python examples/market_maker.py http://127.0.0.1:8080 KEYFILE [SECONDS]

KEYFILE holds a private key, 32 bytes in hexadecimal. When the program ends, however it ends, its quotes are
cancelled: by itself, by the gateway when the connection is lost, or by the venue a minute later.
"""

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path

from hawse_client import Client, Refused

#: Ticks from the middle, lots of a quote, and lots held at which the middle has moved by one spread.
SPREAD, LOTS, SKEW = 5, 1_000_000, 10_000_000
#: Milliseconds after which the venue cancels all if it hears no more from us.
DEAD_MAN = 60_000


class Maker:
    """Quotes of one instrument."""

    def __init__(self, client: Client, instrument: int) -> None:
        self.client, self.instrument = client, instrument
        self.position, self.trades = 0, 0
        self.quotes: dict[str, tuple[int, int]] = {}
        self.number = client.now

    async def listen(self) -> None:
        """Count what we hold by our own fills."""
        async for line in self.client.outcomes():
            if line["event"] == "trade":
                self.position += line["quantity"] if line["side"] == "buy" else -line["quantity"]
                self.trades += 1
            if line.get("remaining") == 0:
                ended = line["client_id"]
                self.quotes = {side: quote for side, quote in self.quotes.items() if quote[0] != ended}

    async def quote(self, side: str, price: int) -> None:
        """Have one order on a side, at a price."""
        number, at = self.quotes.get(side, (0, 0))
        with suppress(Refused):  # filled meanwhile, or no margin: the next round sees to it
            if number and at != price:
                await self.client.replace(number, price, LOTS)
                self.quotes[side] = number, price
            elif not number:
                self.number += 1
                await self.client.order(
                    self.number, side, price, LOTS, instrument=self.instrument, time_in_force="post_only"
                )
                self.quotes[side] = self.number, price

    async def run(self, seconds: float) -> None:
        """Quote for so long, and go."""
        client = self.client
        await client.cancel_on_disconnect()
        self.position = sum(
            held["size"]
            for held in (await client.account())["positions"]
            if held["instrument"] == self.instrument
        )
        listening = asyncio.create_task(self.listen())
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                await client.cancel_all_after(DEAD_MAN)
                (ticker,) = [t for t in await client.get("/v1/tickers") if t["instrument"] == self.instrument]
                middle = ticker["mark"] - SPREAD * self.position // SKEW
                await asyncio.gather(self.quote("buy", middle - SPREAD), self.quote("sell", middle + SPREAD))
                await asyncio.sleep(0.25)
        finally:
            listening.cancel()
            await client.cancel_all()


async def main(url: str, key: Path, seconds: float = 60.0) -> None:
    async with Client(url, bytes.fromhex(key.read_text().strip().removeprefix("0x"))) as client:
        maker = Maker(client, 0)
        await maker.run(seconds)
        print(f"{maker.trades} trades, {maker.position} lots held")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), *map(float, sys.argv[3:])))
