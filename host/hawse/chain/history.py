"""What the chain has of a venue: headers, owners, and the data of batches, for whoever has nothing else."""

import time
from dataclasses import dataclass
from typing import Any, Self

from eth_typing import Hash32
from eth_utils.abi import function_signature_to_4byte_selector

from hawse.chain.client import SettlementClient, block_ranges, translated
from hawse.chain.errors import ChainError
from hawse.commit.header import TYPES, BatchHeader


@dataclass(frozen=True)
class Posted:
    """A part of a batch's data: hash of the part before it (zero: none), and the transaction that has it."""

    previous: bytes
    transaction: bytes


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
        """Headers of anchored batches, as the transactions have them that anchored them.

        Raises:
            ChainError: a batch is not anchored, or by something else than a plain transaction.
        """
        count = self.batch_count()
        if not 1 <= first <= last <= count:
            raise ChainError(f"batches {first} to {last}: there are {count}")
        with translated("headers"):
            sent: dict[int, bytes] = {}
            for blocks in block_ranges(self._first_block, self._web3.eth.block_number):
                for log in self._logs("Anchored", blocks):
                    sent[int.from_bytes(log["topics"][1], "big")] = bytes(log["transactionHash"])
            found = []
            for number in range(first, last + 1):
                if number not in sent:
                    raise ChainError(f"batch {number} is anchored, but the node has no event of it")
                size = 32 * len(TYPES)
                header = BatchHeader.decode(
                    self._input_of(sent[number], self._contract.functions.anchor)[:size]
                )
                ours, theirs = self.digest(header), self.anchored(number).digest
                if ours != theirs:
                    raise ChainError(
                        f"batch {number}: its transaction has the header {ours.hex()}, not {theirs.hex()}"
                    )
                found.append(header)
        return found

    def owners(self, last: int) -> dict[int, bytes]:
        """Owner (20 bytes) of each deposit up to an index."""
        deposits = {deposit.index: deposit.owner for deposit in self.deposits_since(0)[:last]}
        if len(deposits) != last:
            raise ChainError(f"{len(deposits)} deposits, but the batch has booked {last}")
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
                    found[bytes(log["topics"][1])] = Posted(bytes(log["data"]), bytes(log["transactionHash"]))
        return found

    def part(self, posted: Posted) -> bytes:
        """The bytes of a part.

        Raises:
            ChainError: it was posted by something else than a plain transaction.
        """
        contract = self._data_contract()
        with translated("posted data"):
            call = self._input_of(posted.transaction, contract.functions.post)
        # The hash before, where the bytes begin, how many they are, and they.
        size = int.from_bytes(call[64:96], "big")
        return call[96 : 96 + size]

    def _input_of(self, transaction: bytes, function: Any) -> bytes:
        """Arguments of a call, encoded."""
        data = bytes(self._web3.eth.get_transaction(Hash32(transaction))["input"])
        selector = function_signature_to_4byte_selector(function.signature)
        if data[:4] != selector:
            raise ChainError(
                f"transaction {transaction.hex()} calls {data[:4].hex()}, not {function.fn_name}"
            )
        return data[4:]
