"""Withdrawals of a batch: what the contract pays against a proof."""

from collections.abc import Sequence
from dataclasses import dataclass

from tiny_keccak import keccak256

from . import merkle

NODE = 0x31


@dataclass(frozen=True)
class Withdrawal:
    """A payment that the contract owes.

    ``id`` counts from 1 and is spent once, ``owner`` is 20 bytes, ``amount`` in quanta.
    """

    id: int
    owner: bytes
    amount: int

    def leaf(self) -> bytes:
        """keccak256(0x30 ‖ u64 id ‖ owner ‖ u256 amount)."""
        body = self.id.to_bytes(8, "big") + self.owner + self.amount.to_bytes(32, "big")
        return bytes(keccak256(b"\x30" + body))


def root(withdrawals: Sequence[Withdrawal]) -> bytes:
    """Root over the withdrawals of a batch, in the order of their id."""
    return merkle.root([w.leaf() for w in withdrawals], NODE)


def proof(withdrawals: Sequence[Withdrawal], index: int) -> tuple[int, tuple[bytes, ...]]:
    """Path and siblings for the withdrawal at ``index`` of the batch, as the contract's ``claim`` takes them.

    Raises:
        IndexError: no such withdrawal.
    """
    return merkle.proof([w.leaf() for w in withdrawals], index, NODE)
