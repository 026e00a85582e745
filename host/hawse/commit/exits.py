"""What every account would be owed if trading stopped now: a Merkle-sum tree over the payouts.

The haircut spreads a shortfall that insurance does not cover over all who are owed something: with P the
sum of positive equity, S of shortfall, I the insurance, payout = equity × (P − max(0, S − I)) / P, rounded
down.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tiny_keccak import keccak256

from .merkle import EMPTY

_SUM_LIMIT = 1 << 256

#: Hash of a node, and the sum of payouts below it.
Node = tuple[bytes, int]


class ExitOverflow(OverflowError):
    """A sum of payouts does not fit into uint256."""


@dataclass(frozen=True)
class Exit:
    """One account's payout in quanta. ``owner`` is 20 bytes."""

    account: int
    owner: bytes
    payout: int

    def node(self) -> Node:
        """keccak256(0x20 ‖ u32 account ‖ owner ‖ u256 payout), and the payout."""
        body = self.account.to_bytes(4, "big") + self.owner + _word(self.payout)
        return bytes(keccak256(b"\x20" + body)), self.payout


@dataclass(frozen=True)
class Haircut:
    """Factor of payouts, and what of insurance, fees and dust is left behind the shortfall.

    Insurance pays first, then the exits are cut, then fees, then dust.
    """

    numerator: int
    denominator: int
    insurance: int
    fees: int
    dust: int

    def payout(self, equity: int) -> int:
        """Payout of an account, in quanta, rounded down; nothing for a shortfall."""
        return max(equity, 0) * self.numerator // self.denominator


def haircut(equities: Iterable[int], insurance: int, fees: int = 0, dust: int = 0) -> Haircut:
    """The factor for these equities, 1/1 when none is needed.

    All in quanta; a negative equity is a shortfall, nothing else is negative.
    """
    owed = short = 0
    for equity in equities:
        if equity > 0:
            owed += equity
        else:
            short -= equity
    uncovered = max(0, short - insurance)
    beyond_exits = max(0, uncovered - owed)
    beyond_fees = max(0, beyond_exits - fees)
    cut = uncovered > 0 and owed > 0
    return Haircut(
        numerator=max(0, owed - uncovered) if cut else 1,
        denominator=owed if cut else 1,
        insurance=max(0, insurance - short),
        fees=max(0, fees - beyond_exits),
        dust=max(0, dust - beyond_fees),
    )


def _word(value: int) -> bytes:
    if not 0 <= value < _SUM_LIMIT:
        raise ExitOverflow(f"{value} is not a uint256")
    return value.to_bytes(32, "big")


def _join(left: Node, right: Node) -> Node:
    body = left[0] + _word(left[1]) + right[0] + _word(right[1])
    total = left[1] + right[1]
    _word(total)
    return bytes(keccak256(b"\x21" + body)), total


def _up(level: list[Node]) -> list[Node]:
    above = [_join(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return above + level[len(level) & ~1 :]


def root(exits: Sequence[Exit]) -> Node:
    """Root and sum, in the shape of RFC 6962.

    Raises:
        ExitOverflow: a payout or a sum is not a uint256.
    """
    level = [e.node() for e in exits]
    while len(level) > 1:
        level = _up(level)
    return level[0] if level else (EMPTY, 0)


def proof(exits: Sequence[Exit], index: int) -> tuple[int, tuple[Node, ...]]:
    """Path from leaf ``index`` as of :func:`hawse.commit.merkle.proof`; siblings come with their sums.

    Raises:
        IndexError: no such leaf.
    """
    if not 0 <= index < len(exits):
        raise IndexError(f"leaf {index} of {len(exits)}")
    level = [e.node() for e in exits]
    bits = 0
    siblings: list[Node] = []
    while len(level) > 1:
        if index ^ 1 < len(level):
            bits |= (index & 1) << len(siblings)
            siblings.append(level[index ^ 1])
        level, index = _up(level), index >> 1
    return bits, tuple(siblings)


def verify(leaf: Exit, bits: int, siblings: Sequence[Node], expected: Node) -> bool:
    """Whether the path leads from ``leaf`` to the root and sum ``expected``.

    Raises:
        ExitOverflow: a sum on the way is not a uint256.
    """
    if bits >> len(siblings):
        return False
    node = leaf.node()
    for k, sibling in enumerate(siblings):
        node = _join(sibling, node) if bits >> k & 1 else _join(node, sibling)
    return node == expected
