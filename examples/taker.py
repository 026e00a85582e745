"""A taker: buys and sells in turn what the book offers, and says what each trade cost.

    python examples/taker.py http://127.0.0.1:8080 KEYFILE [TRADES]

KEYFILE holds a private key, 32 bytes in hexadecimal.
"""

import asyncio
import sys
from pathlib import Path

from hawse_client import Client, Refused

LOTS = 500_000


async def take(client: Client, number: int, side: str) -> bool:
    """One order that takes the best price, or nothing."""
    book = await client.book()
    best = book.ask if side == "buy" else book.bid
    if best is None:
        await asyncio.wait_for(book.change(), 30)
        return False
    try:
        done = await client.order(number, side, best[0], LOTS, time_in_force="ioc")
    except Refused as error:
        print(f"{side}: {error} (has {error.have}, needs {error.need})")
        return False
    fills = [line for line in done["lines"] if line["event"] == "trade"]
    for fill in fills:
        cost = f"trade {fill['trade']}, fee {fill['fee']} quanta"
        print(f"{side} {fill['quantity']} lots at {fill['price']}, {cost}")
    return bool(fills)


async def main(url: str, key: Path, trades: int = 10) -> None:
    async with Client(url, bytes.fromhex(key.read_text().strip().removeprefix("0x"))) as client:
        first, made = client.now, 0
        for attempt in range(20 * trades):
            made += await take(client, first + attempt, "sell" if made % 2 else "buy")
            if made >= trades:
                break
        account = await client.account()
        print(f"{made} trades; equity {account['equity']} quanta, {account['free_collateral']} of them free")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])))
