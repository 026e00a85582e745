import random

import pytest
from hawse.commit import trees
from hawse.commit.trees import EMPTY, NodeTag, NoSuchLeaf, SumError, SumTree, Tree, path, verify_sum
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_keccak import keccak256

TAG = NodeTag.ACCOUNTS


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
    root = trees.root(leaves, TAG)
    assert root == rfc6962(leaves) == Tree(TAG, leaves).root
    for i in range(n):
        siblings = trees.proof(leaves, i, TAG)
        assert trees.verify(leaves[i], i, n, siblings, root, TAG)
        assert not trees.verify(leaf(n), i, n, siblings, root, TAG)
        assert not trees.verify(leaves[i], i, n, siblings, root, NodeTag.CONTROL) or not siblings
        assert not trees.verify(leaves[i], i, n, (*siblings, root), root, TAG)
        assert not trees.verify(leaves[i], i, n, siblings[:-1], root, TAG) or not siblings


def test_a_path_is_good_for_one_index_only():
    for n in range(1, 21):
        leaves = [leaf(i) for i in range(n)]
        root = trees.root(leaves, TAG)
        for i in range(n):
            siblings = trees.proof(leaves, i, TAG)
            for j in range(n):
                assert trees.verify(leaves[i], j, n, siblings, root, TAG) == (i == j)


def test_the_path_says_where_each_sibling_stands():
    assert list(path(0, 1)) == []
    assert list(path(4, 5)) == [(2, 0, True)]
    assert list(path(5, 7)) == [(0, 4, True), (1, 3, False), (2, 0, True)]
    assert list(path(6, 7)) == [(1, 2, True), (2, 0, True)]


def test_no_leaves_and_no_such_leaf():
    assert trees.root([], TAG) == Tree(TAG).root == EMPTY == keccak256(b"")
    for index, n in ((-1, 2), (2, 2), (0, 0)):
        with pytest.raises(NoSuchLeaf, match=f"leaf {index} of {n}"):
            trees.proof([leaf(i) for i in range(n)], index, TAG)
        with pytest.raises(NoSuchLeaf):
            trees.verify(leaf(0), index, n, [], EMPTY, TAG)


UPDATES = st.lists(
    st.tuples(st.integers(0, 20), st.dictionaries(st.integers(0, 80), st.integers(0, 9), max_size=10)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(UPDATES)
def test_a_tree_that_grows_and_changes_is_the_one_built_at_once(updates):
    tree, now = Tree(TAG), []
    for more, changes in updates:
        count = len(now)
        new = {count + k: leaf(100 + k) for k in range(more)}
        new |= {i: leaf(v) for i, v in changes.items() if i < count + more}
        tree.update(dict(sorted(new.items(), key=lambda item: item[1])))  # in any order
        now += [b""] * more
        for i, v in new.items():
            now[i] = v
        assert len(tree) == len(now)
        assert tree.root == trees.root(now, TAG)
        for index in {0, len(now) // 2, len(now) - 1} if now else ():
            assert trees.verify(now[index], index, len(now), tree.proof(index), tree.root, TAG)


def test_many_leaves_at_once_are_as_one_by_one():
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    first = [leaf(i) for i in range(rng.randrange(1, 3000))]
    at_once, one_by_one = Tree(TAG, first), Tree(TAG, first)
    changes = {i: leaf(10**6 + i) for i in rng.sample(range(len(first)), len(first) // 3)}
    changes |= {len(first) + i: leaf(i) for i in range(500)}
    at_once.update(changes)
    for index in sorted(changes):
        one_by_one.update({index: changes[index]})
    assert at_once.root == one_by_one.root
    assert at_once._levels == one_by_one._levels


def test_a_hole_or_a_negative_index_changes_nothing():
    tree = Tree(TAG, [leaf(0), leaf(1)])
    before = tree.root
    for bad in ({3: leaf(1)}, {2: leaf(1), 4: leaf(1)}, {-1: leaf(1)}, {0: leaf(9), 2**32: leaf(1)}):
        with pytest.raises(NoSuchLeaf):
            tree.update(bad)
        assert (tree.root, len(tree)) == (before, 2)
    tree.update({})
    assert tree.root == before


# Sums


def node(i, *sums):
    return trees.Node(leaf(i), sums)


def summed(nodes, tag):
    if len(nodes) == 1:
        return nodes[0]
    k = 1 << (len(nodes) - 1).bit_length() - 1
    left, right = summed(nodes[:k], tag), summed(nodes[k:], tag)
    data = b"".join(h + b"".join(s.to_bytes(16, "big") for s in sums) for h, sums in (left, right))
    return keccak256(bytes([tag]) + data), tuple(a + b for a, b in zip(left[1], right[1], strict=True))


@pytest.mark.parametrize("sums", [1, 2])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 31])
def test_the_root_commits_to_hashes_and_sums(n, sums):
    tag = NodeTag.EXITS if sums == 2 else NodeTag.WITHDRAWALS
    nodes = [node(i, *[10 * i + k for k in range(sums)]) for i in range(n)]
    tree = SumTree(tag, nodes, sums)
    root = tree.root
    assert tuple(root) == summed([tuple(node) for node in nodes], tag)
    for i in range(n):
        siblings = tree.proof(i)
        assert verify_sum(nodes[i], i, n, siblings, root, tag)
        for k in range(sums):
            more = tuple(s + (k == j) for j, s in enumerate(nodes[i].sums))
            assert not verify_sum(trees.Node(nodes[i].hash, more), i, n, siblings, root, tag)
            wrong = trees.Node(root.hash, tuple(s + (k == j) for j, s in enumerate(root.sums)))
            assert not verify_sum(nodes[i], i, n, siblings, wrong, tag)
        if siblings:
            cheat = [trees.Node(siblings[0].hash, tuple(s + 1 for s in siblings[0].sums)), *siblings[1:]]
            assert not verify_sum(nodes[i], i, n, cheat, root, tag)
            assert not verify_sum(nodes[i], i, n, siblings[1:], root, tag)


def test_sums_do_not_wrap():
    most = 2**128 - 1
    assert SumTree(TAG, [node(0, most)], 1).root.sums == (most,)
    assert SumTree(TAG, [node(0, most), node(1, 0), node(2, 0)], 1).root.sums == (most,)
    for other in ((most, 1), (2**128,), (-1, 5), (1, 1, most - 1)):
        with pytest.raises(SumError, match="is not a uint128"):
            SumTree(TAG, [node(i, value) for i, value in enumerate(other)], 1)
    with pytest.raises(SumError):
        verify_sum(node(0, most), 0, 2, [node(1, 1)], node(2, 0), TAG)
    assert SumTree(TAG, [], 2).root == (EMPTY, (0, 0))
    with pytest.raises(NoSuchLeaf):
        SumTree(TAG, [], 1).proof(0)
