"""Streams of one connection: each knows how far it came, and gives what follows.

Nothing is kept for a reader: who is slow reads on from where he is, and what memory has no longer comes from
the disk. So nothing is lost, and nobody's slowness costs others memory.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from .archive import Archive
from .errors import Refused
from .feed import Feed, encode
from .messages import AccountTold, BatchTold, BookWhole, ProofTold, StatusTold, TradesTold, ready
from .proofs import Proofs
from .sessions import Open
from .shapes import Batch, Status


class Stream:
    """One stream that somebody reads.

    Attributes:
        name: as he asked for it.
        at: the last slot that he knows of it.
    """

    def __init__(self, name: str, feed: Feed) -> None:
        self.name, self._feed, self.at = name, feed, feed.slot

    def messages(self) -> AsyncIterator[bytes]:
        """What there is now that he does not know."""
        raise NotImplementedError


class BookStream(Stream):
    """A book: whole at first, then what each slot changes.

    Args:
        known: the slot behind which the reader has the book whole, if he does.
    """

    def __init__(self, name: str, feed: Feed, instrument: int, known: int | None) -> None:
        super().__init__(name, feed)
        self._instrument = instrument
        self.at = -2 if known is None else known

    async def messages(self) -> AsyncIterator[bytes]:
        """A snapshot where the changes are not at hand."""
        if self.at < -1 or not self._feed.reaches(self.at):
            book = self._feed.book(self._instrument)
            self.at = book.sequence
            yield encode(BookWhole(True, *msgspec.structs.astuple(book)))
        for past in self._feed.since(self.at):
            self.at = past.number
            if (one := past.books.get(self._instrument)) is not None:
                yield one.body


class TradesStream(Stream):
    """Trades of an instrument, a message a slot that has some."""

    def __init__(self, name: str, feed: Feed, archive: Archive, instrument: int, known: int | None) -> None:
        super().__init__(name, feed)
        self._archive, self._instrument = archive, instrument
        self.at = feed.slot if known is None else known
        self._previous = self.at

    async def messages(self) -> AsyncIterator[bytes]:
        """From the disk what is older than memory."""
        while not self._feed.reaches(self.at):
            end = self._feed.slot
            trades, after = await self._archive.trades(self._instrument, self.at + 1)
            slots: dict[int, list[Any]] = {}
            for trade in trades:
                slots.setdefault(trade.slot, []).append(trade)
            for number, told in slots.items():
                yield self._message(number, encode(told))
            self.at = after - 1 if after > self.at + 1 else max(self.at, end)
        for past in self._feed.since(self.at):
            self.at = past.number
            if (one := past.trades.get(self._instrument)) is not None:
                yield self._message(past.number, one.body)

    def _message(self, number: int, trades: bytes) -> bytes:
        told = TradesTold(self._instrument, number, self._previous, ready(trades))
        self._previous = number
        return encode(told)


class AccountStream(Stream):
    """The lines of an account, a message a slot that has some; ends with its session."""

    def __init__(
        self,
        name: str,
        feed: Feed,
        archive: Archive,
        session: Open,
        still: Callable[[], Any],
        known: int | None,
    ) -> None:
        super().__init__(name, feed)
        self._archive, self.session, self._still = archive, session, still
        self.at = feed.slot if known is None else known
        self._previous = self.at

    async def messages(self) -> AsyncIterator[bytes]:
        """Raises :class:`Refused` once the session's signer may not read any more."""
        account, generation = self.session.account, self.session.generation
        if self.at >= self._feed.slot:
            return
        while not self._feed.reaches(self.at):
            end = self._feed.slot
            slots, after = await self._archive.account(account, generation, self.at + 1)
            await self._still()
            for number, lines in slots:
                yield self._message(number, encode(lines))
            self.at = after - 1 if after > self.at + 1 else max(self.at, end)
        for past in self._feed.since(self.at):
            self.at = past.number
            if (one := past.accounts.get(account)) is not None:
                await self._still()
                if one[0] in (None, generation):
                    yield self._message(past.number, one[1])

    def _message(self, number: int, lines: bytes) -> bytes:
        told = AccountTold(self.session.account, number, self._previous, ready(lines))
        self._previous = number
        return encode(told)


class LatestStream(Stream):
    """What is only worth its latest: the venue's status, or the batches as they are anchored."""

    def __init__(self, name: str, feed: Feed, latest: Callable[[], Status | Batch | None]) -> None:
        super().__init__(name, feed)
        self._latest = latest
        self._told: Status | Batch | None = None

    async def messages(self) -> AsyncIterator[bytes]:
        """The latest, if it is not told yet."""
        found = self._latest()
        if found is not None and found is not self._told:
            self._told = found
            yield encode(StatusTold(found) if isinstance(found, Status) else BatchTold(found))


class ProofsStream(Stream):
    """Of each batch that is anchored, the proof of what the session's account has in it."""

    def __init__(
        self, name: str, feed: Feed, proofs: Proofs, session: Open, still: Callable[[], Any]
    ) -> None:
        super().__init__(name, feed)
        self._proofs, self._session, self._still = proofs, session, still
        self._told = 0

    async def messages(self) -> AsyncIterator[bytes]:
        """Raises :class:`Refused` once the session's signer may not read any more."""
        batch = self._proofs.batch
        if batch <= self._told:
            return
        await self._still()
        try:
            proof = await self._proofs.of(self._session.account, self._session.generation)
        except Refused as error:  # the account is younger than the batch; or too many ask, and it tries again
            self._told = batch if error.code == "not_found" else self._told
        else:
            self._told = batch
            yield encode(ProofTold(proof))


def known_slot(asked: Any, feed: Feed) -> int | None:
    """The slot that a reader says he knows of, by its ``from``: the first that he does not.

    Raises:
        Refused: it has not been yet.
    """
    if asked is None:
        return None
    if asked > feed.slot + 1:
        raise Refused("request", "from: the slot has not been yet", have=asked, need=feed.slot + 1)
    return int(asked) - 1
