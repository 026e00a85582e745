"""Deframer and Framer against the Python encoding."""

import random

import pytest
from hawse.wire import frame as wire
from hawse.wire.frame import Frame, FrameType, encode
from hawse_hdl.link import Deframer, Framer
from hawse_hdl.link.header import HEADER

FIELDS = ("type", "credits", "epoch", "seq", "ack")
# Stalled under Verilator too, the rest in the Amaranth simulator alone: a run costs a second to start.
STALLS = [("amaranth", 0), ("amaranth", 0.4), ("verilator", 0.4)]


def frames(rng, n):
    out = []
    for _ in range(n):
        kind = rng.choice((0, 0, 1, 2, 3))
        size = 0 if kind else 32 * rng.choice((1, 2, 7, 8))
        alphabet = rng.choice((b"\x7d\x7e", b"\x5d\x5e\x7d\x7e", bytes(range(256))))
        payload = bytes(rng.choices(alphabet, k=size))
        out.append(
            Frame(kind, rng.randrange(256), rng.randrange(2**32), rng.randrange(2**16), 0x7E7D, payload)
        )
    return out


def raw(header, payload=b"", crc=None):
    """A frame with any header, right or wrong."""
    body = header + payload
    body += crc or wire.crc32(body).to_bytes(4, "little")
    return b"\x7e" + body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"


NO_FRAMES = [
    raw(wire.HEADER.pack(0, 1, 0, 1, 2, 3)),  # DATA without payload
    raw(wire.HEADER.pack(1, 1, 32, 1, 2, 3), bytes(32)),  # ACK with one
    raw(wire.HEADER.pack(4, 1, 0, 1, 2, 3)),
    raw(wire.HEADER.pack(0, 1, 31, 1, 2, 3), bytes(31)),
    raw(wire.HEADER.pack(0, 1, 288, 1, 2, 3), bytes(288)),
    raw(wire.HEADER.pack(0, 1, 64, 1, 2, 3), bytes(32)),
    raw(wire.HEADER.pack(0, 1, 32, 1, 2, 3), bytes(64)),
    raw(wire.HEADER.pack(0, 1, 32 + 512, 1, 2, 3), bytes(32)),
    raw(wire.HEADER.pack(1, 1, 0, 1, 2, 3), crc=b"abcd"),
    raw(wire.HEADER.pack(1, 1, 0, 1, 2, 3))[:-2] + b"\x7e",
    raw(wire.HEADER.pack(1, 1, 0, 1, 2, 3))[:-1] + b"\x7d\x7e",
    raw(wire.HEADER.pack(1, 1, 0, 1, 2, 3)).replace(b"\x01\x01", b"\x7d\x21\x01"),  # a needless escape
]


def deframe(drive, line, stall=0, seed=0):
    watch = ("begin", "write", "index", "word", "done", "header")
    _, trace = drive(Deframer(), {"rx": list(line)}, {}, stalls={"rx": stall}, seed=seed, watch=watch)
    got, payload = [], {}
    for begin, write, index, word, done, header in trace:
        if begin:
            payload = {}
        if write:
            payload[index] = word
        if done:
            h = HEADER.from_bits(header)
            words = [payload[i].to_bytes(4, "little") for i in range(h.length // 4)]
            assert len(payload) == len(words)
            got.append(Frame(*(getattr(h, f) for f in FIELDS), b"".join(words)))
    return got


@pytest.mark.parametrize("simulator, stall", STALLS)
def test_deframer_finds_frames_between_garbage(drive, stall):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    sent, line = frames(rng, 16), b""
    for frame in sent:
        noise = rng.choice((rng.randbytes(rng.randrange(700)) + b"\x7e", *NO_FRAMES))
        line += rng.choice((b"", b"\x7e", noise, noise)) + encode(frame)
    assert deframe(drive, line, stall, seed) == sent


@pytest.mark.parametrize("simulator", ["amaranth"])
def test_one_flag_between_frames_is_enough(drive):
    sent = frames(random.Random(5), 6)
    line = b"".join(encode(f)[:-1] for f in sent) + b"\x7e"
    assert deframe(drive, line) == sent


@pytest.mark.parametrize("simulator", ["amaranth"])
@pytest.mark.parametrize("line", NO_FRAMES)
def test_deframer_drops_what_is_no_frame(drive, line):
    good = Frame(FrameType.ACK, 9, 8, 7, 6)
    assert deframe(drive, line + encode(good)) == [good]
    reader = wire.Deframer()
    assert reader.feed(line) == [] and reader.dropped == 1


@pytest.mark.parametrize("simulator, stall", STALLS)
def test_framer_writes_what_python_writes(drive, stall):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    sent = frames(random.Random(seed), 12)
    expected = list(b"".join(map(encode, sent)))
    headers = [{f: getattr(frame, f) for f in FIELDS} | {"length": len(frame.payload)} for frame in sent]
    inputs = {
        "frame": [HEADER.const(header).as_bits() for header in headers],
        "words": [
            int.from_bytes(f.payload[i : i + 4], "little") for f in sent for i in range(0, len(f.payload), 4)
        ],
    }
    stalls = dict.fromkeys(("frame", "words", "tx"), stall)
    received, trace = drive(
        Framer(), inputs, {"tx": len(expected)}, stalls=stalls, seed=seed, watch=["tx__valid"]
    )
    assert received["tx"] == expected
    if not stall:  # its contract: a byte a cycle, a cycle a frame, and one more until the first
        last = max(n for n, [valid] in enumerate(trace) if valid)
        assert last == len(expected) + len(sent)
