"""Merkle trees of the shape of RFC 6962: the left subtree is the largest power of two below the leaf count.

Leaves are hashes already; nodes are keccak256(tag ‖ left ‖ right). Built from below, with an odd node at the
end of a level carried up unchanged, which gives the same shape.
"""

from collections.abc import Sequence

from tiny_keccak import keccak256

#: Root of a tree without leaves.
EMPTY = bytes(keccak256(b""))


def root(leaves: Sequence[bytes], node_tag: int) -> bytes:
    """Root over leaf hashes of 32 bytes; :data:`EMPTY` if there are none."""
    if not leaves:
        return EMPTY
    tag = bytes([node_tag])
    level = list(leaves)
    while len(level) > 1:
        level = _up(level, tag)
    return level[0]


def _up(level: list[bytes], tag: bytes) -> list[bytes]:
    above = [bytes(keccak256(tag + level[i] + level[i + 1])) for i in range(0, len(level) - 1, 2)]
    if len(level) & 1:
        above.append(level[-1])
    return above


def proof(leaves: Sequence[bytes], index: int, node_tag: int) -> tuple[int, tuple[bytes, ...]]:
    """Path from leaf ``index``, and the siblings from the leaf up.

    Bit *k* of the path is 1 where sibling *k* stands on the left.

    Raises:
        IndexError: no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    tag = bytes([node_tag])
    level, bits = list(leaves), 0
    siblings: list[bytes] = []
    while len(level) > 1:
        if index ^ 1 < len(level):
            bits |= (index & 1) << len(siblings)
            siblings.append(level[index ^ 1])
        level, index = _up(level, tag), index >> 1
    return bits, tuple(siblings)


def path(index: int, leaves: int) -> tuple[int, int]:
    """Path of leaf ``index`` in a tree of so many leaves as of :func:`proof`, and how many siblings it has.

    A proof that is held against this path binds the index and the size of the tree, not the root alone.

    Raises:
        IndexError: no such leaf.
    """
    if not 0 <= index < leaves:
        raise IndexError(f"leaf {index} of {leaves}")
    bits = siblings = 0
    last = leaves - 1
    while last:
        if index ^ 1 <= last:
            bits |= (index & 1) << siblings
            siblings += 1
        index, last = index >> 1, last >> 1
    return bits, siblings


def verify(leaf: bytes, bits: int, siblings: Sequence[bytes], expected: bytes, node_tag: int) -> bool:
    """Whether the path leads from ``leaf`` to the root ``expected``. Serves fixed-depth trees as well."""
    if bits >> len(siblings):
        return False
    tag, node = bytes([node_tag]), leaf
    for k, sibling in enumerate(siblings):
        node = bytes(keccak256(tag + (sibling + node if bits >> k & 1 else node + sibling)))
    return node == expected
