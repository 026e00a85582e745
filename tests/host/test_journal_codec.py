import json
from dataclasses import replace

import numpy as np
import pytest
from hawse.commit.header import BatchHeader
from hawse.journal import vectors
from hawse.journal.codec import (
    decode_header,
    decode_input,
    decode_outcome,
    encode_input,
    encode_outcome,
    slot_of_input,
    slot_of_outcome,
)
from hawse.journal.errors import JournalCorrupt
from hawse.journal.records import (
    Anchor,
    BoardCommand,
    Receipts,
    RecordType,
    SegmentHead,
    decode_anchor,
    decode_board,
    decode_epoch,
    decode_receipts,
    decode_segment,
    encode_anchor,
    encode_board,
    encode_epoch,
    encode_receipts,
    encode_segment,
    link,
    origin,
)
from hawse.journal.segments import file_header
from hawse.keys import structs
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.state.slot import (
    Block,
    Cut,
    Deposit,
    Event,
    Observation,
    Omission,
    Operation,
    OperationKind,
    Refusal,
    Request,
    RequestKind,
    SlotInput,
    SlotOutcome,
    Surface,
)
from hawse.wire import Reason
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

VECTORS = json.loads(vectors.PATH.read_text())

u8, u16, u32, u64 = (st.integers(0, (1 << n) - 1) for n in (8, 16, 32, 64))
i128 = st.integers(-(1 << 127), (1 << 127) - 1)
times = st.integers(0, (1 << 48) - 1)
hashes = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20)
signatures = st.binary(min_size=64, max_size=64)


def some(values, most=3):
    return st.lists(values, max_size=most).map(tuple)


def rising(values, key, most=3):
    return st.lists(values, max_size=most, unique_by=key).map(lambda v: tuple(sorted(v, key=key)))


def counted(values, most=3):
    """With indices that follow each other."""

    def number(found_first):
        found, first = found_first
        return tuple(replace(value, index=first + n) for n, value in enumerate(found))

    return st.tuples(st.lists(values, max_size=most), st.integers(1, (1 << 64) - 4)).map(number)


def reasons(first, last):
    return st.sampled_from([reason for reason in Reason if first <= reason <= last])


@st.composite
def rows(draw, kinds):
    parts = []
    for kind in draw(st.lists(kinds, max_size=3)):
        size = 128 * (2 if kind in (6, 9, 10, 11) else 1)
        parts.append(bytes([kind]) + draw(st.binary(min_size=size - 1, max_size=size - 1)))
    return np.frombuffer(b"".join(parts), MESSAGE)


observations = st.builds(Observation, u8, u16, st.integers(1, (1 << 63) - 1), times, u64, signatures)
surfaces = st.builds(Surface, u8, u16, u32, times, u64, some(u32, 5), signatures)
inputs = st.builds(
    SlotInput,
    number=u64,
    time=times,
    cut=st.sampled_from(Cut),
    closes=st.none() | st.integers(1, (1 << 64) - 1),
    block=st.builds(Block, u64, hashes),
    observations=rising(observations, lambda o: (o.publisher, o.feed, o.number)),
    omissions=some(st.builds(Omission, u8, u16, u64, reasons(128, 159))),
    surfaces=rising(surfaces, lambda s: (s.publisher, s.underlying, s.number)),
    operations=some(st.builds(Operation, st.sampled_from(OperationKind), st.binary(max_size=9), signatures)),
    deposits=counted(st.builds(Deposit, st.just(1), addresses, u64)),
    requests=counted(
        st.builds(
            Request,
            st.just(1),
            st.sampled_from(RequestKind),
            addresses,
            u32,
            u64,
            u64,
            addresses,
            u64,
            u64,
        )
    ),
    authorisations=rows(st.sampled_from([9, 10])),
    commands=rows(u8),
)


@st.composite
def outcomes(draw):
    first, count = draw(st.integers(1, 1 << 60)), draw(st.integers(0, 1 << 20))
    seqs = draw(st.sets(st.integers(first, first + count - 1), max_size=4)) if count else ()
    build = st.builds(Refusal, st.just(0), reasons(1, 159), u8, i128, i128)
    refusals = tuple(replace(draw(build), seq=seq) for seq in sorted(seqs))
    events = draw(some(st.builds(Event, reasons(160, 255), u32, u16, i128, i128)))
    return SlotOutcome(
        draw(u64), draw(u32), draw(u64), draw(hashes), first, count, refusals, events, draw(hashes)
    )


def same(one, two):
    for name in SlotInput.__dataclass_fields__:
        if name in ("authorisations", "commands"):
            assert_array_equal(getattr(one, name), getattr(two, name))
        else:
            assert getattr(one, name) == getattr(two, name)


@given(inputs)
@settings(deadline=None)
def test_an_input_survives_encoding(slot):
    payload = encode_input(slot)
    same(decode_input(payload), slot)
    assert slot_of_input(payload) == (slot.number, slot.time)


@given(outcomes())
def test_an_outcome_survives_encoding(outcome):
    payload = encode_outcome(outcome)
    assert decode_outcome(payload) == outcome
    assert slot_of_outcome(payload) == (outcome.number, outcome.first_seq, outcome.inputs)


@given(inputs | outcomes(), st.data())
@settings(deadline=None)
def test_a_cut_or_lengthened_record_is_corrupt(value, data):
    of_input = isinstance(value, SlotInput)
    payload = (encode_input if of_input else encode_outcome)(value)
    decode = decode_input if of_input else decode_outcome
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(JournalCorrupt) as error:
        decode(payload[:cut], 1000)
    assert 1000 <= error.value.offset <= 1000 + cut
    with pytest.raises(JournalCorrupt, match=f"end at byte {1000 + len(payload)}"):
        decode(payload + b"\0", 1000)


@given(inputs | outcomes(), st.data())
@settings(deadline=None)
def test_what_decodes_is_the_one_encoding_of_its_value(value, data):
    of_input = isinstance(value, SlotInput)
    encode = encode_input if of_input else encode_outcome
    payload = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = (decode_input if of_input else decode_outcome)(bytes(payload), 1000)
    except JournalCorrupt as error:
        assert 1000 <= error.offset <= 1000 + len(payload)
    else:
        assert encode(found) == payload


_OTHERS = {
    "receipts": (decode_receipts, encode_receipts),
    "board": (decode_board, encode_board),
    "segment": (decode_segment, encode_segment),
    "epoch": (decode_epoch, encode_epoch),
}


@given(st.sampled_from(sorted(_OTHERS)), st.data())
def test_what_decodes_of_the_other_records_is_the_one_encoding_of_its_value(name, data):
    decode, encode = _OTHERS[name]
    payload = bytearray(bytes.fromhex(VECTORS[name]))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(payload[: data.draw(st.integers(0, len(payload)) | st.just(len(payload)))])
    try:
        found = decode(changed, 1000)
    except JournalCorrupt as error:
        assert 1000 <= error.offset <= 1000 + len(changed)
    else:
        assert encode(found) == changed


# ---- Vectors


def test_the_vectors_are_what_their_program_makes():
    assert vectors.vectors() == VECTORS


def test_the_vector_of_an_input():
    a, b, signature = b"\xaa" * 20, b"\xbb" * 20, bytes(range(64))
    order, revoke = np.zeros(1, MESSAGE), np.zeros(2, MESSAGE)
    order["kind"], order["account"], order["nonce"] = MessageKind.ORDER, 3, 1_777_000_000_000
    revoke["kind"][0], revoke["account"][0] = MessageKind.REVOKE, 3
    slot = SlotInput(
        number=9,
        time=1_777_000_000_250,
        cut=Cut.TIME,
        closes=2,
        block=Block(1234, b"\x11" * 32),
        observations=(Observation(1, 2, 78_000, 1_777_000_000_000, 41, signature),),
        omissions=(Omission(2, 2, 40, Reason.STALE),),
        surfaces=(Surface(1, 5, 6, 1_777_000_000_000, 7, (150_000, 160_000), signature),),
        operations=(
            Operation(OperationKind.INTERIM_MARK, b"\0\3" + (-5).to_bytes(8, "big", signed=True), signature),
        ),
        deposits=(Deposit(4, a, 10**9), Deposit(5, b, 1)),
        requests=(Request(1, RequestKind.APPOINT, a, 3, 4 << 24, 0, b, 1_800_000_000_000, 1_777_000_000),),
        authorisations=revoke,
        commands=order,
    )
    payload = bytes.fromhex(VECTORS["input"])
    assert encode_input(slot) == payload
    same(decode_input(payload), slot)


def test_the_vectors_of_the_other_records():
    root, accumulator, digest = b"\1" * 32, b"\2" * 32, b"\3" * 32
    refusals = (
        Refusal(100, Reason.MARGIN, 2, -7, 1 << 100),
        Refusal(104, Reason.NONCE_USED, 0, 5, 5),
    )
    events = (Event(Reason.TIMER, 3, 0xFFFF, 4, -1),)
    outcome = SlotOutcome(9, 7, 640, digest, 100, 5, refusals, events, root)
    clock = 1_777_000_000_000 * 10**6
    times = b"".join((clock + n).to_bytes(8, "big") for n in range(5))
    named = 9, 100, 5, root, 5, accumulator, 1, digest, bytes(range(64))
    receipts = Receipts(*named, clock + 9, times, bytes(range(40)))
    board = BoardCommand(9, 3, bytes(range(32)))
    head = SegmentHead(2, 10, root, digest, 67_108_900, accumulator, 1_777_000_000_250, 105, 7, 10, b"")
    for name, value, encode, decode in (
        ("outcome", outcome, encode_outcome, decode_outcome),
        ("receipts", receipts, encode_receipts, decode_receipts),
        ("board", board, encode_board, decode_board),
        ("segment", head, encode_segment, decode_segment),
        ("epoch", 7, encode_epoch, decode_epoch),
    ):
        payload = bytes.fromhex(VECTORS[name])
        assert encode(value) == payload
        assert decode(payload) == value
    assert receipts.struct_hash() == structs.receipts(9, 100, 5, root, 5, accumulator, 1, digest)


def test_the_vectors_of_the_chain():
    header = file_header(bytes.fromhex(VECTORS["config"]))
    assert header.hex() == VECTORS["file_header"]
    chain = origin(header)
    assert chain.hex() == VECTORS["configuration"]
    for name, value in VECTORS["chain"]:
        chain = link(chain, RecordType[name.upper()], bytes.fromhex(VECTORS[name]))
        assert chain.hex() == value


# ---- Bounds


def empty_input(**changes):
    return SlotInput(**({"number": 3, "time": 5} | changes))


def empty_outcome(**changes):
    fields = dict(number=3, epoch=1, records=0, log_digest=bytes(32), first_seq=5, inputs=10)
    return SlotOutcome(**(fields | dict(refusals=(), events=(), digest=bytes(32)) | changes))


def observation(**changes):
    return replace(Observation(1, 2, 3, 4, 5, bytes(64)), **changes)


def surface(**changes):
    return replace(Surface(1, 2, 3, 4, 5, (), bytes(64)), **changes)


def request(**changes):
    return replace(Request(1, RequestKind.EXIT, bytes(20), 1, 1, 1, bytes(20), 1, 1), **changes)


def receipts(**changes):
    one = Receipts(1, 1, 1, bytes(32), 1, bytes(32), 1, bytes(32), bytes(64), 3, bytes(8))
    return replace(one, **changes)


def kinds(*values):
    out = np.zeros(len(values), MESSAGE)
    out["kind"] = values
    return out


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"number": -1}, "number"),
        ({"number": 1 << 64}, "number"),
        ({"time": 1 << 48}, "time"),
        ({"cut": 4}, "cut"),
        ({"closes": -1}, "closes"),
        ({"closes": 0}, "closes"),
        ({"closes": 1 << 64}, "closes"),
        ({"block": Block(-1, bytes(32))}, "block number"),
        ({"block": Block(1, bytes(31))}, "block hash"),
        ({"observations": (observation(publisher=256),)}, "observation publisher"),
        ({"observations": (observation(feed=1 << 16),)}, "observation feed"),
        ({"observations": (observation(value=0),)}, "observation value"),
        ({"observations": (observation(value=1 << 63),)}, "observation value"),
        ({"observations": (observation(time=1 << 48),)}, "observation time"),
        ({"observations": (observation(number=-1),)}, "observation number"),
        ({"observations": (observation(signature=bytes(65)),)}, "observation signature"),
        ({"observations": (observation(), observation())}, "observation"),
        ({"observations": (observation(feed=3), observation(feed=2))}, "observation"),
        ({"observations": tuple(observation(number=n) for n in range(257))}, "observations"),
        ({"omissions": (Omission(1, 2, 3, Reason.MARGIN),)}, "omission reason"),
        ({"omissions": (Omission(1, 2, 3, Reason.TIMER),)}, "omission reason"),
        ({"omissions": (Omission(1, 2, 3, Reason.STALE),) * 257}, "omissions"),
        ({"surfaces": (surface(nodes=(0,) * 129),)}, "surface nodes"),
        ({"surfaces": (surface(nodes=(1 << 32,)),)}, "surface node"),
        ({"surfaces": (surface(grid=1 << 32),)}, "surface grid"),
        ({"surfaces": tuple(surface(number=n) for n in range(17))}, "surfaces"),
        ({"surfaces": (surface(), surface())}, "surface"),
        ({"operations": (Operation(9, b"", bytes(64)),)}, "operation kind"),
        ({"operations": (Operation(1, bytes(1 << 16), bytes(64)),)}, "operation body length"),
        ({"operations": (Operation(1, b"", bytes(63)),)}, "operation signature"),
        ({"operations": (Operation(1, b"", bytes(64)),) * 65}, "operations"),
        ({"deposits": (Deposit(0, bytes(20), 1),)}, "deposit index"),
        ({"deposits": (Deposit(1, b"short", 1),)}, "deposit owner"),
        ({"deposits": (Deposit(1, bytes(20), 1 << 64),)}, "deposit amount"),
        ({"deposits": (Deposit(1, bytes(20), 1), Deposit(3, bytes(20), 1))}, "deposit"),
        ({"requests": (request(kind=5),)}, "request kind"),
        ({"requests": (request(agent=b""),)}, "request agent"),
        ({"requests": (request(index=2), request(index=2))}, "request"),
        ({"authorisations": kinds(1)}, "authorisations"),
        ({"authorisations": kinds(9)}, "authorisations"),
        ({"authorisations": kinds(*[9] * 1026)}, "authorisations"),
        ({"commands": kinds(1, 6)}, "commands"),
        ({"commands": kinds(*[1] * 1025)}, "commands"),
        ({"commands": np.zeros(1, "u8")}, "commands"),
        ({"commands": np.zeros((1, 1), MESSAGE)}, "commands"),
    ],
)
def test_what_an_input_cannot_hold_is_named(changes, field):
    with pytest.raises(ValueError, match=f"^{field}:"):
        encode_input(empty_input(**changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"epoch": 1 << 32}, "epoch"),
        ({"log_digest": b""}, "log digest"),
        ({"first_seq": 0}, "first seq"),
        ({"inputs": 1 << 32}, "inputs"),
        ({"first_seq": (1 << 64) - 9}, "inputs"),
        ({"refusals": (Refusal(15, Reason.MARGIN),)}, "refusal seq"),
        ({"refusals": (Refusal(4, Reason.MARGIN),)}, "refusal seq"),
        ({"refusals": (Refusal(6, Reason.MARGIN), Refusal(6, Reason.MARGIN))}, "refusal"),
        ({"refusals": (Refusal(6, Reason.NONE),)}, "refusal reason"),
        ({"refusals": (Refusal(6, Reason.TIMER),)}, "refusal reason"),
        ({"refusals": (Refusal(6, 200),)}, "refusal reason"),
        ({"refusals": (Refusal(6, Reason.MARGIN, 256),)}, "refusal detail"),
        ({"refusals": (Refusal(6, Reason.MARGIN, 0, 1 << 127),)}, "refusal have"),
        ({"refusals": (Refusal(6, Reason.MARGIN, 0, 0, -(1 << 127) - 1),)}, "refusal need"),
        ({"events": (Event(Reason.MARGIN, 1, 1, 1, 1),)}, "event reason"),
        ({"events": (Event(Reason.TIMER, 1, 1 << 16, 1, 1),)}, "event instrument"),
        ({"digest": bytes(33)}, "digest"),
    ],
)
def test_what_an_outcome_cannot_hold_is_named(changes, field):
    with pytest.raises(ValueError, match=f"^{field}:"):
        encode_outcome(empty_outcome(**changes))


@pytest.mark.parametrize(
    ("at", "value", "field", "offset"),
    [
        (0, 1, "version", 0),
        (9, 1, "time", 9),
        (17, 4, "cut", 17),
        (66, 2, "observations", 66),
        (68, 2, "omissions", 68),
        (70, 17, "surfaces", 70),
        (71, 65, "operations", 71),
        (73, 1, "deposit index", 74),
        (75, 1, "request index", 76),
        (76, 5, "authorisations", 76),
        (78, 5, "commands", 78),
    ],
)
def test_a_bad_input_names_offset_and_field(at, value, field, offset):
    payload = bytearray(encode_input(empty_input()))
    payload[at] = value
    with pytest.raises(JournalCorrupt) as error:
        decode_input(bytes(payload), 100)
    assert (error.value.offset, error.value.field) == (100 + offset, field)


@pytest.mark.parametrize(
    ("at", "value", "field", "offset"),
    [
        (60, 0, "first seq", 53),
        (53, 255, "inputs", 61),
        (60, 20, "refusal seq", 69),
        (64, 1, "refusal seq", 69),
        (69 + 42 + 7, 6, "refusal", 69 + 42),
        (69 + 8, 160, "refusal reason", 69 + 8),
        (69 + 84 + 4, 1, "event reason", 69 + 84 + 4),
    ],
)
def test_a_bad_outcome_names_offset_and_field(at, value, field, offset):
    refusals = (Refusal(6, Reason.MARGIN), Refusal(7, Reason.MARGIN))
    events = (Event(Reason.TIMER, 1, 1, 1, 1),)
    payload = bytearray(encode_outcome(empty_outcome(inputs=3, refusals=refusals, events=events)))
    payload[at] = value
    if at == 53:
        payload[53:61] = b"\xff" * 8
    with pytest.raises(JournalCorrupt) as error:
        decode_outcome(bytes(payload), 100)
    assert (error.value.offset, error.value.field) == (100 + offset, field)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: encode_board(BoardCommand(1, 0, bytes(32))), "board count"),
        (lambda: encode_board(BoardCommand(1, 1, bytes(31))), "board command"),
        (lambda: encode_epoch(0), "epoch"),
        (lambda: encode_epoch(1 << 32), "epoch"),
        (lambda: encode_receipts(receipts(first_seq=0)), "receipts first seq"),
        (lambda: encode_receipts(receipts(count=1 << 32)), "receipts count"),
        (lambda: encode_receipts(receipts(root=b"")), "receipts root"),
        (lambda: encode_receipts(receipts(signature=bytes(65))), "receipts signature"),
        (lambda: encode_anchor(Anchor(HEADER, b"")), "transaction"),
    ],
)
def test_what_the_other_records_cannot_hold_is_named(call, field):
    with pytest.raises(ValueError, match=f"^{field}"):
        call()


def make_header(number=1):
    values = {
        name: bytes([n]) * 32 if kind is bytes else 100 + n
        for n, (name, kind) in enumerate(BatchHeader.__annotations__.items())
    }
    return BatchHeader(**(values | {"version": 2, "number": number}))


HEADER = make_header()


def test_an_anchor_survives_encoding_and_a_bad_one_is_named():
    anchor = Anchor(HEADER, b"t" * 32)
    payload = encode_anchor(anchor)
    assert decode_anchor(payload) == anchor
    assert decode_header(payload[:-32]) == HEADER
    with pytest.raises(JournalCorrupt, match="version at byte 100"):
        decode_anchor(b"\xff" * 32 + payload[32:], 100)
    with pytest.raises(JournalCorrupt, match="header at byte 0"):
        decode_anchor(payload[1:])
    with pytest.raises(JournalCorrupt, match="transaction at byte 0"):
        decode_anchor(payload[:31])
