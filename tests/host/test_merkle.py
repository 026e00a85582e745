import random

import pytest
from hawse.commit import merkle
from hawse.commit.tree import DEPTH, EMPTY_LEAF, MANY, SparseTree
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_keccak import keccak256

TAG = 0x31


def leaf(i):
    return keccak256(i.to_bytes(8, "big"))


def rfc6962(leaves):
    """The definition: split at the largest power of two smaller than n."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return keccak256(bytes([TAG]) + rfc6962(leaves[:k]) + rfc6962(leaves[k:]))


@pytest.mark.parametrize("n", [*range(1, 34), 64, 65, 100])
def test_root_and_every_proof(n):
    leaves = [leaf(i) for i in range(n)]
    root = merkle.root(leaves, TAG)
    assert root == rfc6962(leaves)
    for i in range(n):
        bits, siblings = merkle.proof(leaves, i, TAG)
        assert merkle.verify(leaves[i], bits, siblings, root, TAG)
        assert not merkle.verify(leaf(n), bits, siblings, root, TAG)
        assert not merkle.verify(leaves[i], bits | 1 << len(siblings), siblings, root, TAG)
        assert not merkle.verify(leaves[i], bits, siblings, root, TAG + 1) or not siblings
        if siblings:
            assert not merkle.verify(leaves[i], bits ^ 1, siblings, root, TAG)
            assert not merkle.verify(leaves[i], bits & 1, siblings[:-1], root, TAG)


def test_no_leaves_and_no_such_leaf():
    assert merkle.root([], TAG) == keccak256(b"")
    for index in (-1, 2):
        with pytest.raises(IndexError):
            merkle.proof([leaf(0), leaf(1)], index, TAG)


def naive(leaves, height=DEPTH, at=0):
    if height == 0:
        return leaves.get(at, EMPTY_LEAF)
    if not any(i >> height == at for i in leaves):
        node = EMPTY_LEAF
        for _ in range(height):
            node = keccak256(bytes([TAG]) + node + node)
        return node
    return keccak256(bytes([TAG]) + naive(leaves, height - 1, 2 * at) + naive(leaves, height - 1, 2 * at + 1))


INDICES = st.integers(0, 20) | st.integers(0, 2**DEPTH - 1)
UPDATES = st.lists(st.dictionaries(INDICES, st.integers(0, 3), max_size=12), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(UPDATES)
def test_a_sparse_tree_is_the_naive_one_after_every_update(updates):
    tree, now = SparseTree(TAG), {}
    assert tree.root == naive({})
    for update in updates:
        new = {i: leaf(v) if v else EMPTY_LEAF for i, v in update.items()}
        tree.update(new)
        now = {i: v for i, v in (now | new).items() if v != EMPTY_LEAF}
        assert tree.root == naive(now)
        for index in [*update, 5, 2**DEPTH - 1]:
            bits, siblings = tree.proof(index)
            assert bits == index and len(siblings) == DEPTH
            assert merkle.verify(now.get(index, EMPTY_LEAF), bits, siblings, tree.root, TAG)
    tree.update(dict.fromkeys(now, EMPTY_LEAF))
    assert tree.root == SparseTree(TAG).root and not any(tree._levels)


@pytest.mark.parametrize("spread", [1, 7, 2**22])
def test_many_leaves_at_once_are_as_one_by_one(spread):
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    count = 4 * MANY
    at_once, one_by_one = SparseTree(TAG), SparseTree(TAG)
    for _ in range(3):
        places = rng.sample(range(0, 3 * count * spread, spread), count)
        leaves = {i: leaf(rng.randrange(100)) if rng.random() < 0.7 else EMPTY_LEAF for i in places}
        at_once.update(leaves)
        for index, value in leaves.items():
            one_by_one.update({index: value})
        assert at_once.root == one_by_one.root
        assert at_once._levels == one_by_one._levels
    at_once.update(dict.fromkeys(at_once._levels[0], EMPTY_LEAF))
    assert at_once.root == SparseTree(TAG).root and not any(at_once._levels)


def test_an_index_beyond_the_tree_changes_nothing():
    tree = SparseTree(TAG)
    before = tree.root
    for bad in (-1, 2**DEPTH):
        with pytest.raises(IndexError):
            tree.update({0: leaf(1), bad: leaf(2)})
        with pytest.raises(IndexError):
            tree.proof(bad)
    assert tree.root == before
