import pytest
from hawse.wire.frame import Deframer, Frame, FrameError, FrameType, decode, encode
from hypothesis import given
from hypothesis import strategies as st

U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
# Mostly the bytes that need stuffing.
PAYLOAD = st.lists(st.sampled_from([b"\x7d" * 32, b"\x7e" * 32, b"\x7d\x5e" * 16, bytes(range(100, 132))]))


@st.composite
def frames(draw):
    kind = draw(st.sampled_from(FrameType))
    payload = b""
    if kind == FrameType.DATA:
        payload = draw(st.binary(min_size=32, max_size=32)) + b"".join(draw(PAYLOAD)[:7])
    return Frame(kind, draw(st.integers(0, 255)), draw(U32), draw(U16), draw(U16), payload)


@given(frames())
def test_frame_survives_the_line(frame):
    line = encode(frame)
    assert line[:1] == line[-1:] == b"\x7e" and b"\x7e" not in line[1:-1]
    assert decode(line[1:-1]) == frame


def crc_bit_by_bit(data):
    crc = 0xFFFF_FFFF
    for bit in (byte >> i & 1 for byte in data for i in range(8)):
        crc = crc >> 1 ^ (0xEDB8_8320 if (crc ^ bit) & 1 else 0)
    return (crc ^ 0xFFFF_FFFF).to_bytes(4, "little")


def test_layout_is_that_of_the_document():
    header = bytes.fromhex("00082000" + "04037d7e" + "0605" + "0807")
    raw = header + bytes(32)
    stuffed = header.replace(b"\x7d\x7e", b"\x7d\x5d\x7d\x5e") + bytes(32) + crc_bit_by_bit(raw)
    line = encode(Frame(FrameType.DATA, 8, 0x7E7D0304, 0x0506, 0x0708, bytes(32)))
    assert line == b"\x7e" + stuffed + b"\x7e"


@given(st.lists(frames(), max_size=6), st.data())
def test_frames_are_found_in_chunks_of_any_size(sent, data):
    line = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(line)), max_size=20)))
    reader = Deframer()
    got = []
    for a, b in zip([0, *cuts], [*cuts, len(line)], strict=True):
        got += reader.feed(line[a:b])
    assert got == sent and reader.dropped == 0


@given(st.binary(max_size=2000), st.lists(frames(), min_size=1, max_size=3))
def test_reader_finds_its_place_after_any_garbage(garbage, sent):
    reader = Deframer()
    noise = reader.feed(garbage)
    assert noise == []
    assert reader.feed(b"".join(map(encode, sent))) == sent


@given(frames(), st.data())
def test_damage_is_noticed(frame, data):
    line = bytearray(encode(frame))
    at = data.draw(st.integers(1, len(line) - 2))
    line[at] ^= data.draw(st.integers(1, 255))
    reader = Deframer()
    assert reader.feed(bytes(line)) == []
    assert reader.dropped >= 1 or line[at] == 0x7E


def test_memory_of_the_reader_is_bounded():
    reader = Deframer()
    for _ in range(100):
        reader.feed(b"x" * 10_000)
    assert len(reader._rest) < 1000
    good = Frame(FrameType.ACK, 1, 2, 3, 4)
    assert reader.feed(b"\x7e" + encode(good)) == [good] and reader.dropped == 1


@pytest.mark.parametrize(
    "frame",
    [
        Frame(FrameType.DATA, 0, 1, 0, 0),
        Frame(FrameType.DATA, 0, 1, 0, 0, bytes(31)),
        Frame(FrameType.DATA, 0, 1, 0, 0, bytes(288)),
        Frame(FrameType.ACK, 0, 1, 0, 0, bytes(32)),
        Frame(4, 0, 1, 0, 0),
    ],
)
def test_frames_that_break_the_rules_are_refused_though_their_crc_is_right(frame):
    with pytest.raises(FrameError):
        decode(encode(frame)[1:-1])


def test_length_must_agree():
    line = encode(Frame(FrameType.DATA, 0, 1, 0, 0, bytes(64)))[1:-1]
    with pytest.raises(FrameError, match="CRC"):
        decode(line[:20] + line[52:])
