"""Deframer and Framer against the Python encoding."""

import random

import pytest
from amaranth.sim import Simulator
from hawse.wire import frame as wire
from hawse.wire.frame import Frame, FrameType, encode
from hawse_hdl.link import Deframer, Framer

FIELDS = ("type", "credits", "epoch", "seq", "ack")


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


def simulate(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def deframe(line, stall, rng):
    dut, got = Deframer(), []

    async def bench(ctx):
        data, payload = list(line), {}
        while data or ctx.get(dut.done):
            go = data and rng.random() >= stall
            ctx.set(dut.rx.valid, bool(go))
            ctx.set(dut.rx.payload, data.pop(0) if go else 0)
            if ctx.get(dut.begin):
                payload = {}
            if ctx.get(dut.write):
                payload[ctx.get(dut.index)] = ctx.get(dut.word)
            if ctx.get(dut.done):
                h = ctx.get(dut.header)
                words = [payload[i].to_bytes(4, "little") for i in range(h.length // 4)]
                assert len(payload) == len(words)
                got.append(Frame(*(getattr(h, f) for f in FIELDS), b"".join(words)))
            await ctx.tick()
        ctx.set(dut.rx.valid, 0)

    simulate(dut, bench)
    return got


@pytest.mark.parametrize("stall", [0, 0.4])
def test_deframer_finds_frames_between_garbage(stall):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    sent, line = frames(rng, 16), b""
    for frame in sent:
        line += rng.choice((b"", b"\x7e", rng.randbytes(rng.randrange(700)) + b"\x7e")) + encode(frame)
    assert deframe(line, stall, rng) == sent


def test_one_flag_between_frames_is_enough():
    sent = frames(random.Random(5), 6)
    line = b"".join(encode(f)[:-1] for f in sent) + b"\x7e"
    assert deframe(line, 0, random.Random(0)) == sent


def raw(header, payload=b"", crc=None):
    """A frame with any header, right or wrong."""
    body = header + payload
    body += crc or wire.crc32(body).to_bytes(4, "little")
    return b"\x7e" + body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"


@pytest.mark.parametrize(
    "line",
    [
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
    ],
)
def test_deframer_drops_what_is_no_frame(line):
    good = Frame(FrameType.ACK, 9, 8, 7, 6)
    assert deframe(line + encode(good), 0, random.Random(0)) == [good]
    reader = wire.Deframer()
    assert reader.feed(line) == [] and reader.dropped == 1


@pytest.mark.parametrize("stall", [0, 0.4])
def test_framer_writes_what_python_writes(stall):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    dut, sent, line = Framer(), frames(rng, 12), bytearray()
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        waiting = list(sent)
        words = [
            int.from_bytes(f.payload[i : i + 4], "little") for f in sent for i in range(0, len(f.payload), 4)
        ]
        wanted = sum(len(encode(f)) for f in sent)
        while len(line) < wanted:
            if waiting:
                f = waiting[0]
                header = {name: getattr(f, name) for name in FIELDS} | {"length": len(f.payload)}
                ctx.set(dut.frame.payload, header)
            ctx.set(dut.frame.valid, bool(waiting))
            ctx.set(dut.words.valid, bool(words) and rng.random() >= stall)
            ctx.set(dut.words.payload, words[0] if words else 0)
            ctx.set(dut.tx.ready, rng.random() >= stall)
            _, _, took, word, valid, byte = await ctx.tick().sample(
                dut.frame.valid & dut.frame.ready,
                dut.words.valid & dut.words.ready,
                dut.tx.valid & dut.tx.ready,
                dut.tx.payload,
            )
            cycles += 1
            if took:
                waiting.pop(0)
            if word:
                words.pop(0)
            if valid:
                line.append(byte)
            assert cycles < 50_000

    simulate(dut, bench)
    assert line == b"".join(map(encode, sent))
    if not stall:
        assert cycles == len(line) + len(sent)  # its contract: a byte a cycle, and a cycle a frame
