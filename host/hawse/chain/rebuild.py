"""What every account is owed, from the chain alone: when operator, validators and their disks are gone."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from hawse.chain.errors import ChainError
from hawse.chain.history import ChainHistory, Posted
from hawse.commit import exits
from hawse.commit.data import ON_CHAIN, SNAPSHOT_BATCHES, ExitState, data_hash
from hawse.commit.exits import ExitLeaf, marks_root
from hawse.commit.header import BatchHeader
from hawse.commit.trees import Node, SumTree

Progress = Callable[[int, int], None]
_FIRST = bytes(32)


class RebuildError(ChainError):
    """The chain has not got the data of a batch, or it leads elsewhere than the header says."""


@dataclass(frozen=True)
class Rebuilt:
    """A batch, rebuilt.

    Attributes:
        header: as it was anchored.
        state: accounts, positions and marks at its end.
        leaves: exit leaf of every account index.
        batches: of which the data was read.
        data_bytes: of all of them.
        seconds: what it took apart from the node's answers, and those.
    """

    header: BatchHeader
    state: ExitState
    leaves: tuple[ExitLeaf, ...]
    batches: int
    data_bytes: int
    seconds: tuple[float, float]

    @property
    def payouts(self) -> list[int]:
        """What each account is paid, by index, in quanta."""
        return [self.header.haircut.payout(leaf.equity) for leaf in self.leaves]

    @property
    def left(self) -> int:
        """Quanta that nobody is paid: insurance, fees, dust and rounding, less what insurance covers."""
        header = self.header
        own = header.insurance + header.fees + header.dust + self.state.rounding()
        return header.exit_positive - header.exit_shortfall + own - sum(self.payouts)

    @cached_property
    def _tree(self) -> SumTree:
        return exits.tree(self.leaves)

    def proof(self, index: int) -> tuple[Node, ...]:
        """Siblings of the leaf of an account index, as the contract's ``exit`` takes them."""
        return self._tree.proof(index)


def rebuild(history: ChainHistory, number: int, progress: Progress | None = None) -> Rebuilt:
    """Batch ``number`` by the data of all batches since the last snapshot.

    Args:
        history: of a settlement contract.
        number: of an anchored batch.
        progress: told how many batches are read, and of how many.

    Raises:
        RebuildError: data is missing, or is not what the header says.
        DataError: bytes that are no data; whoever signed the batch signed them.
    """
    started, first = time.perf_counter(), number // SNAPSHOT_BATCHES * SNAPSHOT_BATCHES or 1
    with history.timed() as node:
        headers = history.headers(first, number)
        posted = history.posted()
        owners = history.owners(headers[-1].deposit_index)
    state, size = ExitState(), 0
    for n, header in enumerate(headers, 1):
        with node:
            data = _data_of(header, posted)
        state, size = ExitState.unpack(data, state, header.number), size + len(data)
        if progress:
            progress(n, len(headers))
    header = headers[-1]
    leaves = state.exit_leaves(owners)
    _check(header, state, leaves)
    spent = time.perf_counter() - started
    return Rebuilt(header, state, leaves, len(headers), size, (spent - node.seconds, node.seconds))


def _data_of(header: BatchHeader, posted: dict[bytes, Posted]) -> bytes:
    """Its parts, the last of which the header names, joined."""
    what = f"batch {header.number}"
    if header.data_provider != ON_CHAIN:
        raise RebuildError(
            f"{what}: its data is not on the chain (provider {header.data_provider}, not {ON_CHAIN})"
        )
    parts = [each.part for each in _behind(header.data_hash, posted, what)]
    if data_hash(parts) != header.data_hash:
        raise RebuildError(
            f"{what}: its data hashes to {data_hash(parts).hex()}, not {header.data_hash.hex()}"
        )
    return b"".join(parts)


def _behind(last: bytes, posted: dict[bytes, Posted], what: str) -> Iterator[Posted]:
    found: list[Posted] = []
    while last != _FIRST:
        if last not in posted:
            raise RebuildError(f"{what}: the node has no event of the data {last.hex()}")
        found.append(posted[last])
        last = posted[last].previous
    return reversed(found)


def _check(header: BatchHeader, state: ExitState, leaves: tuple[ExitLeaf, ...]) -> None:
    """Hold what was rebuilt against the header."""
    root = exits.tree(leaves).root
    for what, found, told in (
        ("accounts", len(leaves), header.accounts),
        ("exit marks root", marks_root(state.marks), header.exit_marks_root),
        ("exit root", root.hash, header.exit_root),
        ("sums of equity", root.sums, (header.exit_positive, header.exit_shortfall)),
    ):
        if found != told:
            shown = [v.hex() if isinstance(v, bytes) else v for v in (found, told)]
            raise RebuildError(f"batch {header.number}: {what} {shown[0]}, but {shown[1]} was anchored")
