"""Every codec of the commitments against bytes and hashes that something else has made."""

import json
import random
from dataclasses import fields

import pytest
from hawse.chain.client import header_digest
from hawse.commit import exits, inputs, leaves, queues, roots, trees, vectors, withdrawals
from hawse.commit.codec import CommitError, LeafError
from hawse.commit.header import BatchHeader, HeaderError
from hawse.commit.trees import Node, NodeTag, SumTree, Tree

VECTORS = json.loads(vectors.PATH.read_text())
ROOMS = (leaves, exits, withdrawals, inputs, roots, queues)
CLASSES = {name: getattr(room, name) for name in vectors.LAYOUTS for room in ROOMS if hasattr(room, name)}
ITEMS = {
    "positions": leaves.Position,
    "signers": leaves.Signer,
    "buckets": leaves.Bucket,
    "sources": leaves.Source,
    "sections": roots.Section,
}
LEAVES = pytest.mark.parametrize("case", VECTORS["leaves"], ids=lambda c: c["leaf"])


def raw(text):
    return bytes.fromhex(text[2:])


def value(name, given):
    if isinstance(given, str):
        return raw(given)
    if isinstance(given, list):
        return tuple(made(ITEMS[name], item) if isinstance(item, dict) else item for item in given)
    return given


def made(cls, given):
    return cls(**{name: value(name, v) for name, v in given.items()})


def test_file_is_what_the_script_makes():
    assert vectors.vectors() == VECTORS


def test_every_leaf_has_vectors():
    written = {
        cls.__name__
        for room in ROOMS
        for cls in vars(room).values()
        if isinstance(cls, type) and issubclass(cls, leaves.Leaf) and cls is not leaves.Leaf
    }
    assert written == CLASSES.keys() - {"QueuedRequest"}
    for name, (_, layout) in vectors.LAYOUTS.items():
        assert [f.name for f in fields(CLASSES[name])] == [field[0] for field in layout]


@LEAVES
def test_bytes_and_hash_both_ways(case):
    cls = CLASSES[case["leaf"]]
    leaf = made(cls, case["fields"])
    assert leaf.encode() == raw(case["bytes"])
    assert cls.decode(raw(case["bytes"])) == leaf
    if issubclass(cls, leaves.Leaf):
        assert leaf.hash() == raw(case["hash"])


@pytest.mark.parametrize("name", vectors.LAYOUTS)
def test_a_number_out_of_range_is_refused_by_name(name):
    """Beyond its bytes when it is written, beyond its bounds when it is read, too."""
    cls, (front, layout) = CLASSES[name], vectors.LAYOUTS[name]
    (case,) = (c for c in VECTORS["leaves"] if c["leaf"] == name and c["fields"] == some(name))
    at, data = len(front), raw(case["bytes"])
    for field in layout:
        if len(field) == 2:
            check_refused(cls, case["fields"], field[0], bytes(field[1] - 1))
            at += field[1]
            continue
        if isinstance(field[2], bool):
            break  # behind it nothing has a fixed place
        label, size, least, most = field
        for bad in (least - 1, most + 1, 1 << 200, 1.5):
            check_refused(cls, case["fields"], label, bad)
            inside = isinstance(bad, int) and (0 if least >= 0 else -1 << 8 * size - 1) <= bad < 1 << 8 * size
            if inside and (least >= 0 or bad < 1 << 8 * size - 1):
                patched = data[:at] + bad.to_bytes(size, "big", signed=least < 0) + data[at + size :]
                with pytest.raises(LeafError) as refused:
                    cls.decode(patched)
                assert refused.value.field == label
        at += size


def some(name):
    return [c["fields"] for c in VECTORS["leaves"] if c["leaf"] == name][2]


def check_refused(cls, given, label, bad):
    leaf = made(cls, given)
    values = {f.name: getattr(leaf, f.name) for f in fields(leaf)} | {label: bad}
    with pytest.raises(LeafError) as refused:
        cls(**values).encode()
    assert refused.value.field == label
    assert label in str(refused.value)


@LEAVES
def test_bytes_cut_off_or_left_over_are_refused(case):
    cls, data = CLASSES[case["leaf"]], raw(case["bytes"])
    ends = range(len(data)) if len(data) < 500 else random.Random(1).sample(range(len(data)), 200)
    for end in ends:
        with pytest.raises(LeafError):
            cls.decode(data[:end])
    with pytest.raises(LeafError, match=f"{len(data) + 1} in number is not the {len(data)}"):
        cls.decode(data + b"\0")


@LEAVES
def test_a_flipped_bit_is_another_leaf_or_none(case):
    seed = random.randrange(2**32)
    print("seed", seed)
    rng, cls, data = random.Random(seed), CLASSES[case["leaf"]], raw(case["bytes"])
    leaf = cls.decode(data)
    for _ in range(60):
        at = rng.randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        try:
            other = cls.decode(bytes(flipped))
        except LeafError:
            continue
        assert other != leaf
        assert other.encode() == flipped


def test_another_tag_or_version_is_refused():
    order = made(leaves.OrderLeaf, some("OrderLeaf")).encode()
    for wrong in (b"\x50\x01", b"\x50\x03", b"\x10\x02"):
        with pytest.raises(LeafError, match=f"tag and version: {wrong.hex()} is not 5002"):
            leaves.OrderLeaf.decode(wrong + order[2:])


@pytest.mark.parametrize("kind", ["WaitingWithdrawal", "WaitingLegs", "QuarantinedIndex"])
def test_what_waits_says_what_it_is(kind):
    leaf = made(CLASSES[kind], some(kind))
    assert leaves.decode_waiting(leaf.encode()) == leaf
    for wrong in (b"", b"\x66\x02\x03" + leaf.encode()[3:], b"\x66\x01" + leaf.encode()[2:]):
        with pytest.raises(LeafError, match="tag, version and kind"):
            leaves.decode_waiting(wrong)


def with_fields(name, **changes):
    leaf = made(CLASSES[name], some(name))
    return CLASSES[name](**{f.name: getattr(leaf, f.name) for f in fields(leaf)} | changes)


POSITION = leaves.Position(5, 1, 10, 0)
SIGNER = leaves.Signer(bytes(20), 0, 0, 0, 0, (1, 2))


@pytest.mark.parametrize(
    ("leaf", "says"),
    [
        (with_fields("AccountLeaf", positions=(POSITION, POSITION)), "positions: 5 behind 5"),
        (
            with_fields("AccountLeaf", positions=(leaves.Position(1, 0, 0),)),
            "lots: 0 is not anything but zero",
        ),
        (
            with_fields("AccountLeaf", positions=tuple(leaves.Position(i, 1, 1) for i in range(33))),
            "positions: 33 items is not at most 32",
        ),
        (with_fields("ControlLeaf", signers=(SIGNER,) * 6), "signers: 6 items"),
        (
            with_fields("ControlLeaf", signers=(leaves.Signer(bytes(20), 0, 0, 0, 0, (2, 1)),)),
            "nonces: 1 behind 2",
        ),
        (
            with_fields("ControlLeaf", signers=(leaves.Signer(bytes(20), 0, 0, 0, 0, tuple(range(65))),)),
            "nonces: 65 items",
        ),
        (
            with_fields("ControlLeaf", signers=(leaves.Signer(bytes(20), 0, 0, 0, 0, (1, 1 << 48)),)),
            r"nonces\[1\]: 281474976710656 is not 0 to 281474976710655",
        ),
        (with_fields("OrderLeaf", flags=3), "flags: 3 is not"),
        (with_fields("OrderLeaf", flags=8), "flags: 8 is not"),
        (with_fields("OrderLeaf", flags=0xA0), "flags: 160 is not"),
        (with_fields("InstrumentLeaf", buckets=(leaves.Bucket(),) * 7), "buckets: 7 items is not exactly 8"),
        (with_fields("InstrumentLeaf", dust=(-1,)), r"dust\[0\]: -1"),
        (
            with_fields("UnderlyingLeaf", sources=(leaves.Source(2, 1, 1, 1), leaves.Source(1, 1, 1, 1))),
            "sources: 1 behind 2",
        ),
        (with_fields("ExitLeaf", owner=bytes(20), equity=1), "equity: 1 is not 0"),
        (with_fields("OutcomeLeaf", reason=31), "reason: 31 is not one of"),
        (with_fields("VenueLeaf", sections=()), "sections: 0 items is not exactly 6"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_fields_that_contradict_each_other(leaf, says):
    with pytest.raises(LeafError, match=says):
        leaf.encode()


@pytest.mark.parametrize("case", VECTORS["trees"], ids=lambda c: f"{c['tree']} {len(c['leaves'])}")
def test_roots(case):
    tag = NodeTag[case["tree"]]
    nodes = [Node(raw(leaf), tuple(sums)) for leaf, *sums in case["leaves"]]
    root = Node(raw(case["root"][0]), tuple(case["root"][1:]))
    if root.sums:
        assert SumTree(tag, nodes, len(root.sums)).root == root
    else:
        assert Tree(tag, [node.hash for node in nodes]).root == root.hash


def test_no_tag_serves_two_roles():
    leaves_and_nodes = [layout[0][:1] for layout in vectors.LAYOUTS.values() if layout[0]]
    leaves_and_nodes += [bytes([tag]) for tag in NodeTag]
    others = [bytes([tag]) for tag in (0x00, 0x02, 0x32, 0x40, 0x61, 0x68, 0x70, 0x71)]
    others += [bytes([tag]) for tag in (0x90, 0x91, 0x92, 0xA2, 0xA3, 0xA4, 0xC0)]
    tags = leaves_and_nodes + others
    assert len(set(tags)) == len(tags) - 2  # the three kinds of what waits share theirs
    # A struct's hash begins with that of its type, a text that begins with a capital.
    assert not any(b"A" <= tag <= b"Z" for tag in tags if tag not in (b"P", b"Q"))


@pytest.mark.parametrize("case", VECTORS["headers"], ids=["least", "most", "some"])
def test_header(case):
    header = BatchHeader(**{name: value(name, v) for name, v in case["fields"].items()})
    assert header.encode() == raw(case["words"])
    assert BatchHeader.decode(raw(case["words"])) == header
    assert header.struct_hash() == raw(case["struct_hash"])
    assert header_digest(header, case["chain_id"], raw(case["contract"])) == raw(case["digest"])


def test_words_that_are_no_header():
    words = raw(VECTORS["headers"][2]["words"])
    for bad in (words[:-1], words + bytes(32), b""):
        with pytest.raises(HeaderError, match=r"header: .* bytes is not 1152 bytes"):
            BatchHeader.decode(bad)
    for at, (name, bits) in enumerate(vectors.HEADER):
        if bits > 0:
            word = (1 << bits).to_bytes(32, "big")
            with pytest.raises(HeaderError, match=f"{name}: {1 << bits} is not 0 to"):
                BatchHeader.decode(words[: 32 * at] + word + words[32 * at + 32 :])


def test_other_hashes():
    h = VECTORS["hashes"]
    d = {name: {k: raw(v) if isinstance(v, str) else v for k, v in case.items()} for name, case in h.items()}

    def of(name, *keys):
        return [d[name][key] for key in keys]

    made_ = {
        "deposit_accumulator": queues.deposit_accumulator(
            *of("deposit_accumulator", "previous", "index", "owner", "amount")
        ),
        "request_accumulator": queues.request_accumulator(
            d["request_accumulator"]["previous"],
            queues.QueuedRequest.decode(d["request_accumulator"]["request"]),
        ),
        "withdrawals": withdrawals.Range(*of("withdrawals", "root", "first", "count", "sum")).hash(),
        "state_root": roots.state_root(*of("state_root", "accounts", "orders", "venue")),
        "slot_digest": roots.slot_digest(
            d["slot_digest"]["previous"], 12, [raw(leaf) for leaf in h["slot_digest"]["changed"]]
        ),
        "assets": roots.assets_hash([(chain, raw(token)) for chain, token in h["assets"]["assets"]]),
        "command_body": inputs.command_body(*of("command_body", "reason", "command")),
        "operation_body": inputs.operation_body(*of("operation_body", "kind", "body")),
        "surface_nodes": inputs.surface_nodes(d["surface_nodes"]["volatilities"]),
    }
    assert made_ == {name: case["hash"] for name, case in d.items()}


def test_lists_of_a_batch_have_the_roots_of_their_trees():
    outcome = [inputs.OutcomeLeaf(seq, reason) for seq, reason in ((3, 0), (4, 64))]
    assert inputs.outcomes_root(outcome) == trees.root([o.hash() for o in outcome], NodeTag.OUTCOMES)
    entered = [inputs.InputLeaf(seq, 0, bytes(20), 0, bytes(32)) for seq in (3, 4)]
    assert [len(leaf.encode()) for leaf in entered] == [135, 135]
    assert inputs.inputs_root(entered) == trees.root([i.hash() for i in entered], NodeTag.INPUTS)
    receipt = [inputs.ReceiptLeaf(1, bytes(32), bytes(32), 5, 6, 7, 8)]
    assert inputs.receipts_root(receipt) == receipt[0].hash()
    assert inputs.receipts_root([]) == inputs.inputs_root([]) == trees.EMPTY
    rules = [leaves.RuleSetLeaf(1, 0, bytes(32)), leaves.RuleSetLeaf(2, 9, bytes(32))]
    assert roots.section(rules) == roots.Section(2, trees.root([r.hash() for r in rules], NodeTag.SECTION))
    assert roots.section([]) == roots.Section(0, trees.EMPTY)
    assert issubclass(LeafError, CommitError)
