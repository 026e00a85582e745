"""Keccak-256 of many messages at once: what the trees of a batch spend their time with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tiny_keccak import keccak256

from hawse.commit.trees import EMPTY, NodeTag
from hawse.engine.native.bindings import keccak256_each, keccak256_rows

#: So many messages of one length are hashed side by side.
_MANY = 8
_HASH = 32


def hash_many(messages: Sequence[bytes]) -> list[bytes]:
    """Hash of each, those of equal length side by side."""
    out = [b""] * len(messages)
    groups: dict[int, list[int]] = {}
    for at, message in enumerate(messages):
        groups.setdefault(len(message), []).append(at)
    for size, places in groups.items():
        if len(places) < _MANY:
            hashes = [bytes(keccak256(messages[at])) for at in places]
        else:
            hashes = keccak256_each(b"".join([messages[at] for at in places]), size)
        for at, value in zip(places, hashes, strict=True):
            out[at] = value
    return out


def tree_root(leaves: Sequence[bytes], tag: NodeTag) -> bytes:
    """The same as :func:`hawse.commit.trees.root`, a level at a time."""
    return root_of(np.frombuffer(b"".join(leaves), np.uint8).reshape(-1, _HASH), tag)


def root_of(level: NDArray[np.uint8], tag: NodeTag) -> bytes:
    """Root over leaf hashes of shape (n, 32)."""
    while len(level) > 1:
        pairs = len(level) // 2
        nodes = np.empty((pairs, 1 + 2 * _HASH), np.uint8)
        nodes[:, 0] = tag
        nodes[:, 1:] = level[: 2 * pairs].reshape(pairs, -1)
        level = np.concatenate([keccak256_rows(nodes), level[2 * pairs :]])
    return level.tobytes() if len(level) else EMPTY
