"""Withdrawals of a batch: what the contract pays against a proof."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from tiny_keccak import keccak256

from . import trees
from .codec import U64, U128, Address, Leaf, LeafError, prefix, unsigned
from .trees import Node, NodeTag, SumTree


@dataclass(frozen=True, slots=True)
class Withdrawal(Leaf):
    """A payment that the contract owes.

    ``id`` counts from 1 and is spent once, ``owner`` is 20 bytes, ``amount`` in quanta.
    """

    PREFIX: ClassVar[bytes] = prefix(0x30)

    id: U64
    owner: Address
    asset: Annotated[int, unsigned(2, below=1)]
    amount: U128

    def node(self) -> Node:
        """Its hash, and its amount as sum."""
        return Node(self.hash(), (self.amount,))


@dataclass(frozen=True, slots=True)
class Range:
    """The withdrawals of a batch, as its header has them: root, ids from ``first``, sum."""

    root: bytes
    first: int
    count: int
    sum: int

    def hash(self) -> bytes:
        """keccak256(0x32 ‖ root ‖ first:u64 ‖ count:u32 ‖ sum:u128): what the contract keeps of a batch."""
        numbers = self.first.to_bytes(8, "big") + self.count.to_bytes(4, "big") + self.sum.to_bytes(16, "big")
        return bytes(keccak256(b"\x32" + self.root + numbers))


def tree(withdrawals: Sequence[Withdrawal]) -> SumTree:
    """The tree over the withdrawals of a batch.

    Raises:
        LeafError: the ids are not one behind another.
        SumError: the sum is not a uint128.
    """
    for n, withdrawal in enumerate(withdrawals):
        if withdrawal.id != withdrawals[0].id + n:
            raise LeafError("Withdrawal", "id", withdrawal.id, f"{withdrawals[0].id + n}, the next")
    return SumTree(NodeTag.WITHDRAWALS, [withdrawal.node() for withdrawal in withdrawals], 1)


def range_of(withdrawals: Sequence[Withdrawal], first: int) -> Range:
    """What a header says of these withdrawals, whose ids begin with ``first`` even if there are none.

    Raises:
        LeafError: the ids are not those from ``first`` on.
    """
    if withdrawals and withdrawals[0].id != first:
        raise LeafError("Withdrawal", "id", withdrawals[0].id, f"{first}, the next")
    root = tree(withdrawals).root
    return Range(root.hash, first, len(withdrawals), root.sums[0])


def verify(leaf: Withdrawal, among: Range, siblings: Sequence[Node]) -> bool:
    """Whether ``leaf`` is the withdrawal of its id in this range.

    Raises:
        NoSuchLeaf: its id is not of the range.
        SumError: a sum on the way is not a uint128.
    """
    expected = Node(among.root, (among.sum,))
    index = leaf.id - among.first
    return trees.verify_sum(leaf.node(), index, among.count, siblings, expected, NodeTag.WITHDRAWALS)
