import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hawse.commit import merkle
from hawse.commit.inclusion import (
    DamagedProof,
    NoSuchRecord,
    NotIncluded,
    ProofError,
    RecordProof,
    decode,
    prove,
)
from hawse.commit.reportlog import ReportLog
from hawse.wire import vectors
from hypothesis import given
from hypothesis import strategies as st

CONTRACT = bytes(range(20))


def slots_of(sizes):
    """The records of slots of so many records each."""
    raw, at, out = random.Random(1).randbytes(24 * sum(sizes)), 0, []
    for size in sizes:
        out.append(raw[at : at + 24 * size])
        at += 24 * size
    return out


def proof_of(sizes, number):
    return prove(31337, CONTRACT, 5, slots_of(sizes), number)


def log_of(slots):
    log = ReportLog()
    for records in slots:
        log.append(records)
        log.fence(1)
    return log.close()


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [64],
        [65],
        [1, 1, 1],
        [0, 3, 0],
        [64, 64],
        [63, 65],
        [64 * 7],
        [64 * 8],
        [64 * 9],
        [130, 1, 0, 70],
    ],
    ids=str,
)
def test_every_record_is_proven_under_the_root_of_the_log(sizes):
    slots = slots_of(sizes)
    records = b"".join(slots)
    for number in range(sum(sizes)):
        proof = prove(1, CONTRACT, 2, slots, number)
        assert (proof.log_root, proof.log_leaves, proof.log_records) == log_of(slots)
        assert proof.record == records[24 * number : 24 * number + 24]
        proof.check()


def test_root_is_that_of_the_vectors():
    for case in json.loads(vectors.PATH.read_text())["logs"]:
        raw, ends = vectors.counting(case["fences"][-1]), [0, *case["fences"]]
        slots = [raw[24 * a : 24 * b] for a, b in pairwise(ends)]
        if raw:
            proof = prove(1, CONTRACT, 1, slots, 0)
            assert (proof.log_root.hex(), proof.log_leaves) == (case["root"], case["leaves"])


@pytest.mark.parametrize("number", [3, 4, 10**9])
def test_no_such_record(number):
    with pytest.raises(NoSuchRecord, match=f"record {number} of batch 5, which has 3"):
        proof_of([1, 2], number)
    with pytest.raises(NoSuchRecord, match="has 0"):
        proof_of([], 0)


def test_path_follows_from_index_and_size():
    for n in [*range(1, 34), 64, 65, 127, 128, 129]:
        leaves = [i.to_bytes(32, "big") for i in range(n)]
        for i in range(n):
            bits, siblings = merkle.proof(leaves, i, 1)
            assert merkle.path(i, n) == (bits, len(siblings))
    for index, n in [(-1, 3), (3, 3), (0, 0)]:
        with pytest.raises(IndexError):
            merkle.path(index, n)


@given(sizes=st.lists(st.integers(0, 150), min_size=1, max_size=8), data=st.data())
def test_round_trip(sizes, data):
    if not sum(sizes):
        return
    proof = proof_of(sizes, data.draw(st.integers(0, sum(sizes) - 1)))
    again = RecordProof.decode(proof.encode())
    assert again == proof
    again.check()


SIZES, NUMBER = [70, 64, 5, 200], 140  # record 1 of leaf 4, of 8
GOOD = proof_of(SIZES, NUMBER)


def flipped(data, at=0):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"log_root": flipped(GOOD.log_root)}, NotIncluded, "does not lead"),
        ({"record": flipped(GOOD.record)}, DamagedProof, "record: .* but the chunk has"),
        ({"chunk": flipped(GOOD.chunk, 100)}, NotIncluded, "does not lead"),
        ({"chunk": GOOD.chunk[:-24]}, NotIncluded, "does not lead"),
        ({"chunk": GOOD.chunk + bytes(24)}, DamagedProof, "chunk: 1560 bytes"),
        ({"chunk": GOOD.chunk[:-1]}, DamagedProof, "chunk: 1535 bytes"),
        ({"chunk": b"", "position": 0}, DamagedProof, "chunk: 0 bytes"),
        ({"chunk": GOOD.chunk * 2}, DamagedProof, "chunk: 3072 bytes"),
        ({"siblings": GOOD.siblings[::-1]}, NotIncluded, "does not lead"),
        ({"siblings": GOOD.siblings[:-1]}, DamagedProof, "siblings: 2, but leaf 4 of 8 has 3"),
        ({"siblings": (*GOOD.siblings, bytes(32))}, DamagedProof, "siblings: 4"),
        ({"leaf": GOOD.leaf - 1}, NotIncluded, "does not lead"),
        ({"leaf": GOOD.leaf + 1}, NotIncluded, "does not lead"),
        ({"leaf": 8}, DamagedProof, "leaf: 8 of 8"),
        ({"leaf": 0}, DamagedProof, "number: leaf 0 cannot begin with record 139"),
        ({"position": GOOD.position + 1}, DamagedProof, "record: "),
        ({"position": 64}, DamagedProof, "position: 64 of 64"),
        ({"number": 339}, DamagedProof, "number: 339 of 339"),
        ({"number": 0}, DamagedProof, "number: leaf 4 cannot begin"),
        ({"number": 330}, DamagedProof, "number: leaf 4 cannot begin"),
        ({"log_leaves": 9}, DamagedProof, "siblings: 3, but leaf 4 of 9 has 4"),
        ({"log_leaves": 5}, DamagedProof, "siblings: 3, but leaf 4 of 5 has 1"),
    ],
)
def test_a_changed_proof_is_refused(change, error, says):
    assert (GOOD.leaf, GOOD.position, GOOD.log_leaves, len(GOOD.chunk)) == (4, 1, 8, 1536)
    GOOD.check()
    with pytest.raises(error, match=says):
        replace(GOOD, **change).check()


def test_another_record_with_the_path_of_this_one():
    other = proof_of(SIZES, NUMBER - 70)
    for name in ("chunk", "siblings"):
        with pytest.raises(ProofError):
            replace(GOOD, **{name: getattr(other, name)}).check()


def test_a_node_cannot_pass_for_a_leaf():
    """Two hashes side by side are no records: a leaf's tag is not a node's."""
    with pytest.raises(ProofError):
        replace(GOOD, chunk=GOOD.siblings[0] + GOOD.log_root + bytes(8)).check()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("format", "hawse record proof 2", "format: is not 'hawse record proof 1'"),
        ("chain_id", "1", "chain_id: '1' is not a uint64"),
        ("batch", True, "batch: True is not"),
        ("leaf", -1, "leaf: -1 is not"),
        ("number", 1.0, "number: 1.0 is not"),
        ("log_leaves", 2**64, "log_leaves: "),
        ("record", "0x00", "record: 1 bytes, not 24"),
        ("record", "00" * 24, "record: not hexadecimal: no 0x"),
        ("log_root", "0x" + "g" * 64, "log_root: not hexadecimal"),
        ("contract", 7, "contract: not hexadecimal"),
        ("siblings", {}, "siblings: not a list"),
        ("siblings", ["0x00"], r"siblings\[0\]: 1 bytes, not 32"),
        ("fields", {}, "fields: "),
        ("surplus", 1, "surplus: a proof has no such field"),
        ("chunk", None, "chunk: not hexadecimal"),
    ],
)
def test_a_file_that_is_no_proof(name, value, says):
    with pytest.raises(DamagedProof, match=says):
        RecordProof.decode(json.dumps({**json.loads(GOOD.encode()), name: value}))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, '{"format": 1}'])
def test_text_that_is_no_proof(text):
    with pytest.raises(DamagedProof):
        RecordProof.decode(text)


def test_a_missing_field_is_named():
    given_ = json.loads(GOOD.encode())
    del given_["leaf"]
    with pytest.raises(DamagedProof, match="leaf: missing"):
        RecordProof.decode(json.dumps(given_))


def test_every_changed_character_of_a_file_is_found():
    seed = random.randrange(2**32)
    print("seed", seed)
    rng, text = random.Random(seed), GOOD.encode()
    for at in rng.sample(range(len(text)), 300):
        changed = text[:at] + rng.choice('0123456789abcdef",{}[] x') + text[at + 1 :]
        try:
            proof = RecordProof.decode(changed)
        except DamagedProof:
            continue
        # What stands outside of the path is for the chain to say: see test_proof.py.
        outside = {"chain_id": 0, "contract": bytes(20), "batch": 0, "number": 0, "log_records": 0}
        if replace(proof, **outside) == replace(GOOD, **outside):
            continue
        with pytest.raises(ProofError):
            proof.check()


def test_fields_in_words():
    record = bytes.fromhex("311002000700000009000000feffffff050000002a000000")
    assert decode(record) == {
        "kind": "TRADE",
        "side": "SELL",
        "maker_done": True,
        "reason": "USER",
        "instrument": 2,
        "handle": 7,
        "maker": 9,
        "price": -2,
        "quantity": 5,
        "seq": 42,
    }
    assert decode(bytes([7, 99]) + bytes(22))["kind"] == 7
    assert decode(bytes([7, 99]) + bytes(22))["reason"] == 99
