"""Proofs of what accounts have in the last anchored batch, made by a thread of its own when asked for."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from hawse.commit import exits
from hawse.commit.exit_file import ExitFile
from hawse.commit.trees import SumTree
from hawse.state.config import VenueConfig
from hawse.venue import Sealed

from .errors import Refused

#: Questions that may wait.
_MOST = 256


class Proofs:
    """The exit tree of the newest batch that was anchored since the start.

    Args:
        config: of the venue.

    Attributes:
        batch: its number, 0 before the first.
    """

    def __init__(self, config: VenueConfig) -> None:
        self._config = config
        self._sealed: Sealed | None = None
        self._tree: tuple[int, SumTree] | None = None
        self._thread = ThreadPoolExecutor(1, "proofs")
        self._waiting = 0

    @property
    def batch(self) -> int:
        """Number of the batch that proofs are of, 0 before the first."""
        return self._sealed.header.number if self._sealed else 0

    def put(self, sealed: Sealed) -> None:
        """A newer batch is anchored."""
        self._sealed = sealed

    async def of(self, account: int, generation: int) -> ExitFile:
        """The proof of an account in the newest batch, as ``hawse exit claim`` takes it.

        Raises:
            Refused: not_found: there is no batch yet, or the account is younger; or busy.
        """
        sealed = self._sealed
        if sealed is None:
            raise Refused("not_found", "no batch has been anchored since the gateway's start", need=1)
        if self._waiting >= _MOST:
            raise Refused("busy", "too many proofs are asked for", have=self._waiting + 1, need=_MOST)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._make, sealed, account, generation)
        finally:
            self._waiting -= 1

    def _make(self, sealed: Sealed, account: int, generation: int) -> ExitFile:
        header, leaves = sealed.header, sealed.state.exits
        found = leaves[account].generation if account < len(leaves) else None
        if found != generation:
            what = f"batch {header.number} does not have this life of the account"
            raise Refused("not_found", what, have=found, need=generation)
        if self._tree is None or self._tree[0] != header.number:
            self._tree = header.number, exits.tree(leaves)
        siblings = self._tree[1].proof(account)
        return ExitFile.of(self._config.chain_id, self._config.contract, header, leaves[account], siblings)

    def close(self) -> None:
        """End the thread; nobody asks any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
