"""What the chain has of a venue: headers, owners, and the data of batches, for whoever has nothing else."""

import time
from dataclasses import dataclass
from typing import Any, Self

from hawse.chain.client import SettlementClient, block_ranges, translated
from hawse.chain.errors import ChainError
from hawse.commit.header import BatchHeader


@dataclass(frozen=True)
class Posted:
    """A part of a batch's data: hash of the part before it (zero: none), and its bytes."""

    previous: bytes
    part: bytes


class NodeTime:
    """How long answers of the node take: seconds between entering and leaving it, all together."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def __enter__(self) -> Self:
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._since


class ChainHistory(SettlementClient):
    """What the chain has of a venue since its deployment, for whoever has nothing else."""

    @staticmethod
    def timed() -> NodeTime:
        """Measures the node."""
        return NodeTime()

    def headers(self, first: int, last: int) -> list[BatchHeader]:
        """Headers of anchored batches, as the events have them.

        Raises:
            ChainError: a batch is not anchored, or the node says otherwise.
        """
        count = self.batch_count()
        if not 1 <= first <= last <= count:
            raise ChainError(f"batches {first} to {last}: there are {count}")
        told: dict[int, bytes] = {}
        with translated("headers"):
            for blocks in block_ranges(self._first_block, self._web3.eth.block_number):
                for log in self._logs("Anchored", blocks):
                    told[int.from_bytes(log["topics"][1], "big")] = self._header_in(log)
        return [self._checked(number, told) for number in range(first, last + 1)]

    @staticmethod
    def _header_in(log: Any) -> bytes:
        """Behind the digest: where the bytes begin, how many they are, and they."""
        return _bytes_at(bytes(log["data"]), 1)

    def _checked(self, number: int, told: dict[int, bytes]) -> BatchHeader:
        if number not in told:
            where = f"from block {self._first_block} on"
            raise ChainError(f"batch {number} is anchored, but the node has no event of it {where}")
        header = BatchHeader.decode(told[number])
        ours, theirs = self.digest(header), self.anchored(number).digest
        if ours != theirs:
            raise ChainError(f"batch {number}: its event has the header {ours.hex()}, not {theirs.hex()}")
        return header

    def owners(self, last: int) -> dict[int, bytes]:
        """Owner (20 bytes) of each deposit up to an index."""
        deposits = {deposit.index: deposit.owner for deposit in self.deposits_since(0)[:last]}
        if len(deposits) != last:
            where = f"from block {self._first_block} on"
            raise ChainError(f"{len(deposits)} deposits {where}, but the batch has booked {last}")
        return deposits

    def posted(self) -> dict[bytes, Posted]:
        """Parts of data, by their hash."""
        contract, found = self._data_contract(), {}
        if contract is None:
            return {}
        topic = contract.events.Posted().topic
        with translated("posted data"):
            for blocks in block_ranges(self._first_block, self._web3.eth.block_number):
                for log in self._logs_of(contract.address, topic, blocks):
                    data = bytes(log["data"])
                    found[bytes(log["topics"][1])] = Posted(data[:32], _bytes_at(data, 1))
        return found


def _bytes_at(data: bytes, word: int) -> bytes:
    """Bytes of which a word of an event's data says where they begin; empty where it says nonsense."""
    at = int.from_bytes(data[32 * word : 32 * word + 32], "big")
    size = int.from_bytes(data[at : at + 32], "big")
    return data[at + 32 : at + 32 + size]
