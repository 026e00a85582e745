import numpy as np
import pytest
from hawse.commit.header import BatchHeader
from hawse.journal.codec import (
    JournalCorrupt,
    decode_header,
    decode_input,
    decode_outcome,
    encode_input,
    encode_outcome,
)
from hawse.keys.messages import USER_COMMAND
from hawse.state.slot import Deposit, Refusal, SlotInput, SlotOutcome
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

u16, u32, u64, u256 = (st.integers(0, (1 << n) - 1) for n in (16, 32, 64, 256))
i64 = st.integers(-(1 << 63), (1 << 63) - 1)
hashes = st.binary(min_size=32, max_size=32)


@st.composite
def commands(draw):
    size = USER_COMMAND.itemsize
    count = draw(st.integers(0, 4))
    return np.frombuffer(draw(st.binary(min_size=count * size, max_size=count * size)), USER_COMMAND)


deposits = st.builds(Deposit, u64, st.binary(min_size=20, max_size=20), u256)
inputs = st.builds(
    SlotInput,
    number=u64,
    time=u64,
    marks=st.lists(st.tuples(u16, i64), max_size=4).map(tuple),
    deposits=st.lists(deposits, max_size=4).map(tuple),
    commands=commands(),
    closes=st.none() | u64,
)
outcomes = st.builds(
    SlotOutcome,
    number=u64,
    epoch=u32,
    records=u64,
    log_digest=hashes,
    refusals=st.lists(st.tuples(u64, st.sampled_from(Refusal)), max_size=5).map(tuple),
    state_digest=hashes,
)


@given(inputs)
def test_an_input_survives_encoding(slot):
    back = decode_input(encode_input(slot))
    assert_array_equal(back.commands, slot.commands)
    for name in ("number", "time", "marks", "deposits", "closes"):
        assert getattr(back, name) == getattr(slot, name)


@given(outcomes)
def test_an_outcome_survives_encoding(outcome):
    assert decode_outcome(encode_outcome(outcome)) == outcome


@given(inputs, st.data())
def test_a_cut_or_lengthened_input_is_corrupt(slot, data):
    payload = encode_input(slot)
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(JournalCorrupt) as error:
        decode_input(payload[:cut], 1000)
    assert 1000 <= error.value.offset <= 1000 + cut
    with pytest.raises(JournalCorrupt, match=f"end at byte {1000 + len(payload)}"):
        decode_input(payload + b"\0", 1000)


@given(st.binary(max_size=300))
def test_what_decodes_is_the_one_encoding_of_its_value(payload):
    payload = b"\1" + payload
    for decode, encode in ((decode_input, encode_input), (decode_outcome, encode_outcome)):
        try:
            value = decode(payload)
        except JournalCorrupt:
            continue
        assert encode(value) == payload


def empty_input(**changes):
    fields = dict(number=3, time=5, marks=(), deposits=(), commands=np.zeros(0, USER_COMMAND), closes=None)
    return SlotInput(**{**fields, **changes})


def test_an_input_byte_by_byte():
    one = np.zeros(1, USER_COMMAND)
    slot = empty_input(marks=((2, -3),), deposits=(Deposit(7, b"o" * 20, 9),), commands=one, closes=4)
    assert encode_input(slot) == b"".join(
        [
            b"\1",
            (3).to_bytes(8, "big"),
            (5).to_bytes(8, "big"),
            b"\1" + (4).to_bytes(8, "big"),
            (1).to_bytes(4, "big") + b"\0\2" + b"\xff" * 7 + b"\xfd",
            (1).to_bytes(4, "big") + (7).to_bytes(8, "big") + b"o" * 20 + (9).to_bytes(32, "big"),
            (1).to_bytes(4, "big") + bytes(128),
        ]
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"number": -1}, "number"),
        ({"time": 1 << 64}, "time"),
        ({"marks": ((1 << 16, 0),)}, "mark instrument"),
        ({"deposits": (Deposit(1, b"short", 1),)}, "deposit owner"),
        ({"deposits": (Deposit(1, bytes(20), -1),)}, "deposit amount"),
        ({"commands": np.zeros(1, "u8")}, "commands"),
        ({"closes": -1}, "closes"),
    ],
)
def test_what_does_not_fit_is_named(changes, field):
    with pytest.raises(ValueError, match=f"^{field}:"):
        encode_input(empty_input(**changes))


@pytest.mark.parametrize(
    ("at", "value", "field"),
    [
        (0, 2, "version"),
        (17, 2, "closes"),
        (18, 255, "marks"),
        (22, 255, "deposits"),
        (26, 255, "commands"),
    ],
)
def test_a_bad_input_names_offset_and_field(at, value, field):
    payload = bytearray(encode_input(empty_input()))
    payload[at] = value
    with pytest.raises(JournalCorrupt) as error:
        decode_input(bytes(payload), 100)
    assert (error.value.offset, error.value.field) == (100 + at, field)


def test_an_unknown_refusal_names_its_offset():
    payload = bytearray(encode_outcome(SlotOutcome(0, 1, 0, bytes(32), ((5, Refusal.MARGIN),), bytes(32))))
    at = 1 + 8 + 4 + 8 + 32 + 4 + 8
    payload[at] = 200
    with pytest.raises(JournalCorrupt) as error:
        decode_outcome(bytes(payload), 10)
    assert (error.value.offset, error.value.field) == (10 + at, "refusal reason")


def test_a_batch_header_survives_encoding():
    words = b"".join((100 + n).to_bytes(32, "big") for n in range(28))
    header = decode_header(words)
    assert isinstance(header, BatchHeader)
    assert header.encode() == words
    assert header.exit_sum == 105
    with pytest.raises(JournalCorrupt, match="version"):
        decode_header(b"\xff" * 32 + words[32:])
    with pytest.raises(JournalCorrupt, match="time"):
        decode_header(words[:-1])
