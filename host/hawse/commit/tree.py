"""Sparse binary tree of fixed depth, updated many leaves at a time."""

from collections.abc import Mapping
from itertools import repeat

import numpy as np
from tiny_keccak import keccak256

from hawse.engine.native.bindings import keccak256_rows

DEPTH = 32
#: An empty leaf.
EMPTY_LEAF = bytes(32)
#: Nodes of a level from which on they are hashed side by side.
MANY = 64


class SparseTree:
    """Tree of ``2**32`` leaves, most of them empty; leaf *i* stands at index *i*.

    Only nodes above leaves that are not empty are held. :meth:`update` hashes each changed path once,
    however many of its leaves change.
    """

    def __init__(self, node_tag: int) -> None:
        self._tag = bytes([node_tag])
        self._empty = [EMPTY_LEAF]
        for _ in range(DEPTH):
            self._empty.append(bytes(keccak256(self._tag + self._empty[-1] * 2)))
        self._levels: list[dict[int, bytes]] = [{} for _ in range(DEPTH + 1)]

    @property
    def root(self) -> bytes:
        """The root, 32 bytes."""
        return self._levels[DEPTH].get(0, self._empty[DEPTH])

    def update(self, leaves: Mapping[int, bytes]) -> None:
        """Set leaf hashes by index; :data:`EMPTY_LEAF` removes one.

        Raises:
            IndexError: an index beyond the tree; nothing has changed.
        """
        for index in leaves:
            if not 0 <= index < 1 << DEPTH:
                raise IndexError(f"leaf {index} of 2**{DEPTH}")
        self._store(0, leaves)
        changed = list(leaves)
        for height in range(DEPTH):
            if len(changed) < MANY:
                changed = list({index >> 1 for index in changed})
            else:
                changed = np.unique(np.array(changed, np.int64) >> 1).tolist()
            self._store(height + 1, dict(zip(changed, self._nodes(height, changed), strict=True)))

    def _nodes(self, height: int, changed: list[int]) -> list[bytes]:
        """The nodes at these indices above ``height``."""
        below, empty, tag = self._levels[height].get, self._empty[height], self._tag
        if len(changed) < MANY:
            return [bytes(keccak256(tag + below(2 * i, empty) + below(2 * i + 1, empty))) for i in changed]
        children = np.add.outer(2 * np.array(changed, np.int64), (0, 1)).ravel().tolist()
        messages = np.full((len(changed), 65), tag[0], np.uint8)
        words = np.frombuffer(b"".join(map(below, children, repeat(empty))), np.uint8)
        messages[:, 1:] = words.reshape(-1, 64)
        return keccak256_rows(messages).view("V32").ravel().tolist()

    def _store(self, height: int, nodes: Mapping[int, bytes]) -> None:
        level, empty = self._levels[height], self._empty[height]
        level.update(nodes)
        if empty in nodes.values():
            for index, node in nodes.items():
                if node == empty:
                    del level[index]

    def proof(self, index: int) -> tuple[int, tuple[bytes, ...]]:
        """Path of leaf ``index`` (empty ones too), as :func:`hawse.commit.merkle.verify` takes it.

        Raises:
            IndexError: an index beyond the tree.
        """
        if not 0 <= index < 1 << DEPTH:
            raise IndexError(f"leaf {index} of 2**{DEPTH}")
        siblings = tuple(self._levels[h].get(index >> h ^ 1, self._empty[h]) for h in range(DEPTH))
        return index, siblings
