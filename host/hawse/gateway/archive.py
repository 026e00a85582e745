"""What is on the disk: the outcomes that the host keeps, read by a thread of its own."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from hawse.publisher.store import Outcomes, Timed

from .errors import Refused
from .feed import trade_of
from .shapes import Trade

T = TypeVar("T")
#: Lines that are read at a time.
PAGE = 1000
#: Questions that may wait.
_MOST = 1024


class Archive:
    """Outcomes of the host that runs.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "archive")
        self._kept: Outcomes | None = None
        self._waiting = 0

    async def ask(self, question: Callable[[Outcomes], T]) -> T:
        """The answer of the file.

        Raises:
            Refused: busy: too many wait for it.
        """
        if self._waiting >= _MOST:
            raise Refused("busy", "too many questions wait for the disk", have=self._waiting + 1, need=_MOST)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, question)
        finally:
            self._waiting -= 1

    def _ask(self, question: Callable[[Outcomes], T]) -> T:
        if self._kept is None:
            self._kept = Outcomes(self._path, readonly=True)
        return question(self._kept)

    async def account(
        self, account: int, generation: int, slot: int, most: int = PAGE
    ) -> tuple[list[tuple[int, list[dict[str, Any]]]], int]:
        """Lines of one life of an account from a slot on, by slot, and the slot to go on from."""

        def read(kept: Outcomes) -> list[Timed]:
            opened = kept.opened(account, generation)
            return [] if opened is None else kept.lines_of(account, max(slot, opened), most)

        rows = await self.ask(read)
        slots: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            slots.setdefault(row.number, []).append(json.loads(row.text))
        return list(slots.items()), rows[-1].number + 1 if rows else slot

    async def trades(self, instrument: int | None, slot: int, most: int = PAGE) -> tuple[list[Trade], int]:
        """Trades from a slot on, of one instrument or of all, and the slot to go on from."""
        rows = await self.ask(lambda kept: kept.trades(slot, most))
        found = [trade_of(json.loads(row.text), row.time) for row in rows]
        mine = [trade for trade in found if instrument in (None, trade.instrument)]
        return mine, rows[-1].number + 1 if rows else slot

    def close(self) -> None:
        """Give the file back."""
        if self._kept is not None:
            self._thread.submit(self._kept.close)
        self._thread.shutdown()
