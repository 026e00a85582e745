"""Merkle trees of the shape of RFC 6962: the left subtree is the largest power of two below the leaf count.

Leaves are hashes already; nodes are keccak256(tag ‖ left ‖ right), in sum trees with sums behind each hash.
Built from below, with an odd node at the end of a level carried up unchanged, which gives the same shape.
The path of a leaf follows from its index and the number of leaves, so no proof names one.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from operator import add
from typing import NamedTuple

from tiny_keccak import keccak256

from .codec import CommitError

#: Root of a tree without leaves.
EMPTY = bytes(keccak256(b""))
#: Sums of a sum tree stay below it.
SUM_LIMIT = 1 << 128


class NodeTag(IntEnum):
    """First byte of a tree's nodes; no two trees share one."""

    LOG = 0x01
    ACCOUNTS = 0x11
    CONTROL = 0x13
    EXITS = 0x21
    EXIT_MARKS = 0x23
    WITHDRAWALS = 0x31
    ORDERS = 0x51
    SECTION = 0x6F
    OUTCOMES = 0x81
    INPUTS = 0xA1
    RECEIPTS = 0xB1


class SumError(CommitError, ArithmeticError):
    """A sum is not a uint128."""


class NoSuchLeaf(CommitError, IndexError):
    """An index at which there is no leaf."""

    def __init__(self, index: int, count: int) -> None:
        super().__init__(f"leaf {index} of {count}")
        self.index, self.count = index, count


# Plain trees


class Tree:
    """A tree that grows at the right, updated many leaves at a time.

    :meth:`update` hashes each changed path once, however many of its leaves change.
    """

    def __init__(self, tag: NodeTag, leaves: Sequence[bytes] = ()) -> None:
        """Begin with these leaf hashes, 32 bytes each."""
        self._tag = bytes([tag])
        self._levels: list[list[bytes]] = [[]]
        self.update(dict(enumerate(leaves)))

    def __len__(self) -> int:
        """The number of leaves."""
        return len(self._levels[0])

    @property
    def root(self) -> bytes:
        """The root, 32 bytes; :data:`EMPTY` if there are no leaves."""
        return self._levels[-1][0] if self._levels[0] else EMPTY

    def update(self, leaves: Mapping[int, bytes]) -> None:
        """Set leaf hashes by index; those behind the last must continue it without a hole.

        Raises:
            NoSuchLeaf: an index that would leave a hole, or a negative one; nothing has changed.
        """
        if not leaves:
            return
        level, changed = self._levels[0], sorted(leaves)
        count = len(level)
        new = [index for index in changed if index >= count]
        if changed[0] < 0 or new != list(range(count, count + len(new))):
            raise NoSuchLeaf(changed[0] if changed[0] < 0 else new[-1], count)
        _store(level, [(index, leaves[index]) for index in changed])
        height = 0
        while len(level) > 1:
            changed = _parents(changed)
            nodes = [(index, _above(level, index, self._tag)) for index in changed]
            height += 1
            if height == len(self._levels):
                self._levels.append([])
            level = self._levels[height]
            _store(level, nodes)

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Siblings of leaf ``index`` from the leaf up, as :func:`verify` takes them.

        Raises:
            NoSuchLeaf: there is none of this index.
        """
        return tuple(self._levels[height][sibling] for height, sibling, _ in path(index, len(self)))


def _store(level: list[bytes], nodes: list[tuple[int, bytes]]) -> None:
    for index, node in nodes:
        if index < len(level):
            level[index] = node
        else:
            level.append(node)


def _parents(changed: list[int]) -> list[int]:
    parents: list[int] = []
    last = -1
    for index in changed:
        if index >> 1 != last:
            last = index >> 1
            parents.append(last)
    return parents


def _above(level: list[bytes], index: int, tag: bytes) -> bytes:
    at = 2 * index
    return keccak256(tag + level[at] + level[at + 1]) if at + 1 < len(level) else level[at]


def root(leaves: Sequence[bytes], tag: NodeTag) -> bytes:
    """Root over leaf hashes of 32 bytes; :data:`EMPTY` if there are none."""
    return Tree(tag, leaves).root


def proof(leaves: Sequence[bytes], index: int, tag: NodeTag) -> tuple[bytes, ...]:
    """Siblings of leaf ``index`` from the leaf up.

    Raises:
        NoSuchLeaf: there is none of this index.
    """
    return Tree(tag, leaves).proof(index)


def path(index: int, count: int) -> Iterator[tuple[int, int, bool]]:
    """The way of leaf ``index`` up a tree of ``count`` leaves, to where it is never carried up alone.

    Yields:
        Height, index of the sibling at that height, and whether the sibling stands on the left.

    Raises:
        NoSuchLeaf: there is none of this index.
    """
    if not 0 <= index < count:
        raise NoSuchLeaf(index, count)
    height, last = 0, count - 1
    while last:
        if index ^ 1 <= last:
            yield height, index ^ 1, bool(index & 1)
        index, last, height = index >> 1, last >> 1, height + 1


def verify(
    leaf: bytes, index: int, count: int, siblings: Sequence[bytes], expected: bytes, tag: NodeTag
) -> bool:
    """Whether ``leaf`` is the one of ``index`` in a tree of ``count`` leaves with the root ``expected``.

    Raises:
        NoSuchLeaf: there can be none of this index.
    """
    sides = [left for _, _, left in path(index, count)]
    if len(sides) != len(siblings):
        return False
    node, first = leaf, bytes([tag])
    for sibling, left in zip(siblings, sides, strict=True):
        node = bytes(keccak256(first + (sibling + node if left else node + sibling)))
    return node == expected


# Sum trees


class Node(NamedTuple):
    """A hash of 32 bytes, and the sums of what is below it."""

    hash: bytes
    sums: tuple[int, ...]

    def encode(self) -> bytes:
        """Hash ‖ u128 of each sum."""
        data = self.hash
        for value in self.sums:
            data += value.to_bytes(16, "big")
        return data


class SumTree:
    """A tree whose nodes commit to the sums of their leaves; built once."""

    def __init__(self, tag: NodeTag, leaves: Sequence[Node], sums: int) -> None:
        """Build it over ``leaves``, which have ``sums`` sums each.

        Raises:
            SumError: a sum is not a uint128.
        """
        self._tag = bytes([tag])
        self._levels = [list(leaves)]
        self._none = Node(EMPTY, (0,) * sums)
        try:
            while len(self._levels[-1]) > 1:
                self._levels.append(_up(self._levels[-1], self._tag))
            self.root.encode()
        except OverflowError as error:
            raise SumError(f"a sum of {len(leaves)} leaves is not a uint128") from error

    def __len__(self) -> int:
        """The number of leaves."""
        return len(self._levels[0])

    @property
    def root(self) -> Node:
        """Root and sums; :data:`EMPTY` and zeros if there are no leaves."""
        return self._levels[-1][0] if self._levels[0] else self._none

    def proof(self, index: int) -> tuple[Node, ...]:
        """Siblings of leaf ``index`` from the leaf up, as :func:`verify_sum` takes them.

        Raises:
            NoSuchLeaf: there is none of this index.
        """
        return tuple(self._levels[height][sibling] for height, sibling, _ in path(index, len(self)))


def _join(tag: bytes, left: Node, right: Node) -> Node:
    sums = tuple(map(add, left.sums, right.sums))
    return Node(keccak256(tag + left.encode() + right.encode()), sums)


def _up(level: list[Node], tag: bytes) -> list[Node]:
    above = [_join(tag, level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return above + level[len(level) & ~1 :]


def verify_sum(
    leaf: Node, index: int, count: int, siblings: Sequence[Node], expected: Node, tag: NodeTag
) -> bool:
    """Whether ``leaf`` is the one of ``index`` in a sum tree of ``count`` leaves with this root.

    Raises:
        NoSuchLeaf: there can be none of this index.
        SumError: a sum on the way is not a uint128.
    """
    sides = [left for _, _, left in path(index, count)]
    if len(sides) != len(siblings):
        return False
    node, first = leaf, bytes([tag])
    try:
        for sibling, left in zip(siblings, sides, strict=True):
            node = _join(first, sibling, node) if left else _join(first, node, sibling)
        node.encode()
    except OverflowError as error:
        raise SumError(f"a sum on the way of leaf {index} is not a uint128") from error
    return node == expected
