"""A local copy of a book, held against the gateway's check behind every change."""

import asyncio
from typing import Any

from hawse.gateway.levels import Level, Levels


class Book:
    """One instrument's book, as of slot ``sequence``.

    Attributes:
        instrument: its number.
        sequence: of the last change; -2 before the first.
        mismatches: how often the check, or the order of changes, was wrong and the book was asked for anew.
    """

    def __init__(self, instrument: int) -> None:
        self.instrument, self.sequence, self.mismatches = instrument, -2, 0
        self._levels = Levels()
        self._changed = asyncio.Event()

    @property
    def bid(self) -> Level | None:
        """Best price to sell at, and lots there."""
        return max(self._levels.sides[0].items(), default=None)

    @property
    def ask(self) -> Level | None:
        """Best price to buy at, and lots there."""
        return min(self._levels.sides[1].items(), default=None)

    def bids(self, depth: int | None = None) -> list[Level]:
        """Best first."""
        return self._levels.bids(depth)

    def asks(self, depth: int | None = None) -> list[Level]:
        """Best first."""
        return self._levels.asks(depth)

    async def change(self) -> None:
        """Until the next change."""
        await self._changed.wait()

    def take(self, message: dict[str, Any]) -> bool:
        """A snapshot or change; False if it does not follow, or the gateway's book is another then."""
        if message.get("snapshot"):
            self._levels = Levels()
        elif message["sequence"] <= self.sequence:
            return True  # told again
        elif message["previous"] > self.sequence or self.sequence < -1:
            return self._wrong()
        self._levels.take(message["bids"], message["asks"])
        if self._levels.check != message["check"]:
            return self._wrong()
        self.sequence = message["sequence"]
        self._changed.set()
        self._changed = asyncio.Event()
        return True

    def _wrong(self) -> bool:
        self.mismatches += 1
        self.sequence = -2
        return False
