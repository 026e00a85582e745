import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest
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
from support.headers import header

CONTRACT = bytes(range(20))


def slots_of(sizes):
    """The records of slots of so many records each."""
    raw, at, out = random.Random(1).randbytes(24 * sum(sizes)), 0, []
    for size in sizes:
        out.append(raw[at : at + 24 * size])
        at += 24 * size
    return out


def proof_of(sizes, number):
    slots = slots_of(sizes)
    return prove(31337, CONTRACT, header_of(slots), slots, number)


def header_of(slots):
    """Of batch 5, with the log of these slots."""
    root, leaves, count = log_of(slots)
    return header(number=5, log_root=root, log_leaves=leaves, log_records=count)


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
    records, batch = b"".join(slots), header_of(slots)
    for number in range(sum(sizes)):
        proof = prove(1, CONTRACT, batch, slots, number)
        assert (proof.header, proof.number) == (batch, number)
        assert proof.record == records[24 * number : 24 * number + 24]
        proof.check()


def test_root_is_that_of_the_vectors():
    for case in json.loads(vectors.PATH.read_text())["logs"]:
        raw, ends = vectors.counting(case["fences"][-1]), [0, *case["fences"]]
        slots = [raw[24 * a : 24 * b] for a, b in pairwise(ends)]
        if raw:
            root, count = bytes.fromhex(case["root"]), len(raw) // 24
            batch = header(log_root=root, log_leaves=case["leaves"], log_records=count)
            prove(1, CONTRACT, batch, slots, 0).check()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"log_root": bytes(32)}, "log_root: the records have 0x.*, the header 0x0{64}"),
        ({"log_leaves": 4}, "log_leaves: the records have 3, the header 4"),
        ({"log_records": 3}, "log_records: the records have 4, the header 3"),
    ],
)
def test_records_that_are_not_those_of_the_header(changes, says):
    slots = slots_of([1, 1, 2])
    with pytest.raises(NotIncluded, match=f"batch 5: {says}"):
        prove(1, CONTRACT, replace(header_of(slots), **changes), slots, 0)


@pytest.mark.parametrize("number", [3, 4, 10**9])
def test_no_such_record(number):
    with pytest.raises(NoSuchRecord, match=f"record {number} of batch 5, which has 3"):
        proof_of([1, 2], number)
    with pytest.raises(NoSuchRecord, match="has 0"):
        proof_of([], 0)
    with pytest.raises(NoSuchRecord):
        proof_of([1, 2], -1)


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


def in_header(**changes):
    return {"header": replace(GOOD.header, **changes)}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (in_header(log_root=flipped(GOOD.header.log_root)), NotIncluded, "does not lead"),
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
        (in_header(log_leaves=9), DamagedProof, "siblings: 3, but leaf 4 of 9 has 4"),
        (in_header(log_leaves=5), DamagedProof, "siblings: 3, but leaf 4 of 5 has 1"),
    ],
)
def test_a_changed_proof_is_refused(change, error, says):
    assert (GOOD.leaf, GOOD.position, GOOD.header.log_leaves, len(GOOD.chunk)) == (4, 1, 8, 1536)
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
        replace(GOOD, chunk=GOOD.siblings[0] + GOOD.header.log_root + bytes(8)).check()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("format", "hawse record proof 1", "format: is not 'hawse record proof 2'"),
        ("chain_id", "1", "chain_id: '1' is not a uint64"),
        ("position", True, "position: True is not"),
        ("header", 7, "header: no object of fields"),
        ("leaf", -1, "leaf: -1 is not"),
        ("number", 1.0, "number: 1.0 is not"),
        ("leaf", 2**64, "leaf: "),
        ("record", "0x00", "record: 1 bytes, not 24"),
        ("record", "00" * 24, "record: not hexadecimal: no 0x"),
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


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("number", -1, "header.number: -1 is not 0 to"),
        ("number", True, "header.number: True is neither"),
        ("number", "0x" + "00" * 32, "header.number: 0{64} is not 0 to"),
        ("log_leaves", 2**64, "header.log_leaves: "),
        ("insurance", -(2**127) - 1, "header.insurance: "),
        ("log_root", "0x" + "g" * 64, "header.log_root: not hexadecimal"),
        ("log_root", "0x00", "header.log_root: 1 bytes, not 32"),
        ("log_root", 5, "header.log_root: 5 is not 32 bytes"),
        ("log_root", None, "header.log_root: None is neither"),
        ("surplus", 1, "header.surplus: a header has no such field"),
    ],
)
def test_a_header_that_is_none(name, value, says):
    given_ = json.loads(GOOD.encode())
    given_["header"][name] = value
    with pytest.raises(DamagedProof, match=says):
        RecordProof.decode(json.dumps(given_))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, '{"format": 1}'])
def test_text_that_is_no_proof(text):
    with pytest.raises(DamagedProof):
        RecordProof.decode(text)


def test_a_missing_field_is_named():
    given_ = json.loads(GOOD.encode())
    del given_["leaf"]
    with pytest.raises(DamagedProof, match="leaf: missing"):
        RecordProof.decode(json.dumps(given_))
    given_ = json.loads(GOOD.encode())
    del given_["header"]["time"]
    with pytest.raises(DamagedProof, match=r"header\.time: missing"):
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
        log = (GOOD.header.log_root, GOOD.header.log_leaves)
        if (proof.header.log_root, proof.header.log_leaves) == log:
            outside = {"chain_id": 0, "contract": bytes(20), "header": GOOD.header, "number": 0}
            if replace(proof, **outside) == replace(GOOD, **outside):
                continue
        with pytest.raises(ProofError):
            proof.check()


def test_fields_in_words():
    record = bytes.fromhex("313002000700000009000000feffffff050000002a000000")
    assert decode(record) == {
        "kind": "TRADE",
        "side": "SELL",
        "maker_done": True,
        "reason": "COMMAND",
        "instrument": 2,
        "handle": 7,
        "maker": 9,
        "price": -2,
        "quantity": 5,
        "seq": 42,
    }
    assert decode(bytes([7, 99]) + bytes(22))["kind"] == 7
    assert decode(bytes([7, 31]) + bytes(22))["reason"] == 31
