"""What every account would be owed if trading stopped now.

One leaf for each account index, in a tree that sums positive equity P and shortfall S. With I the insurance
account's equity, X = max(0, S − I) is what nobody covers, and payout = equity × max(0, P − X) / P, rounded
down. The contract computes the same at the claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, ClassVar

from hawse.instruments import FUNDING_TICK_BITS

from . import trees
from .codec import I64, I128, U8, U16, U32, U64, Address, Leaf, prefix, unsigned
from .trees import Node, NodeTag, SumTree


@dataclass(frozen=True, slots=True)
class ExitLeaf(Leaf):
    """Signed equity of an account at the exit marks, in quanta.

    An index that nobody has, and that of the insurance account, has owner zero, generation 0 and equity 0.
    """

    PREFIX: ClassVar[bytes] = prefix(0x20)

    index: U32
    owner: Address
    generation: U64
    asset: Annotated[int, unsigned(2, below=1)]
    equity: I128

    def check(self) -> None:
        """Nobody owns nothing."""
        if not any(self.owner) and self.equity:
            raise self.refuse("equity", "0, as an owner of zero has")

    def node(self) -> Node:
        """Its hash, and its part of P and of S."""
        return Node(self.hash(), (max(self.equity, 0), max(-self.equity, 0)))


@dataclass(frozen=True, slots=True)
class ExitMark(Leaf):
    """Prices at which exits are valued.

    Attributes:
        instrument: number.
        long, short: marks in ticks for positions on either side.
        funding: index, per lot, with :data:`~hawse.instruments.FUNDING_TICK_BITS` fractional bits of a tick.
        numerator, denominator: quanta of a tick·lot.
        kind: of the instrument.
    """

    PREFIX: ClassVar[bytes] = prefix(0x22)

    instrument: U16
    long: I64
    short: I64
    funding: I128
    numerator: U32
    denominator: U32
    kind: U8

    def check(self) -> None:
        """Nothing is divided by zero."""
        if not self.denominator:
            raise self.refuse("denominator", "anything but zero")

    def value(self, lots: int, entry: int, funding: int) -> tuple[int, Fraction]:
        """What a position adds to its account's equity, in quanta: its result, and less the funding it owes.

        Either is rounded against the account; and by how much.

        Args:
            lots: of the position, negative if short.
            entry: its value at entry, in tick·lots.
            funding: index up to which it has paid.
        """
        price, parts = self.long if lots > 0 else self.short, self.denominator << FUNDING_TICK_BITS
        whole, rest = divmod((lots * price - entry) * self.numerator, self.denominator)
        less, more = divmod(-lots * (self.funding - funding) * self.numerator, parts)
        return whole + less, Fraction(rest, self.denominator) + Fraction(more, parts)


def tree(leaves: Sequence[ExitLeaf]) -> SumTree:
    """The tree over the leaves of all account indices, from 0; its root's sums are P and S.

    Raises:
        SumError: a sum is not a uint128.
    """
    return SumTree(NodeTag.EXITS, [leaf.node() for leaf in leaves], 2)


def verify(leaf: ExitLeaf, count: int, siblings: Sequence[Node], expected: Node) -> bool:
    """Whether ``leaf`` is the one of its index among ``count`` accounts, under this root, P and S.

    Raises:
        NoSuchLeaf: the index is not below ``count``.
        SumError: a sum on the way is not a uint128.
    """
    return trees.verify_sum(leaf.node(), leaf.index, count, siblings, expected, NodeTag.EXITS)


def marks_root(marks: Sequence[ExitMark]) -> bytes:
    """Root over the exit marks, by instrument."""
    return trees.root([mark.hash() for mark in marks], NodeTag.EXIT_MARKS)


@dataclass(frozen=True, slots=True)
class Haircut:
    """By how much exits are cut, from the numbers of a batch header, in quanta.

    Attributes:
        positive: P, the sum of positive equity.
        shortfall: S, the sum of shortfall, not negative.
        insurance: I, signed.
    """

    positive: int
    shortfall: int
    insurance: int

    @property
    def uncovered(self) -> int:
        """X: the shortfall that insurance does not cover."""
        return max(0, self.shortfall - self.insurance)

    @property
    def exits(self) -> int:
        """max(0, P − X): what all exits together are paid at most."""
        return max(0, self.positive - self.uncovered)

    def payout(self, equity: int) -> int:
        """Payout of an account, rounded down; nothing for a shortfall."""
        return equity * self.exits // self.positive if equity > 0 else 0

    def owed(self, fees: int, dust: int) -> int:
        """What the contract must hold beside unclaimed withdrawals and unconsumed deposits.

        max(0, P − X) + max(0, I − S) + max(0, fees + dust − max(0, X − P))
        """
        beyond = max(0, self.uncovered - self.positive)
        return self.exits + max(0, self.insurance - self.shortfall) + max(0, fees + dust - beyond)
