"""Loopback, bit test and capture buffer, in front of a link that must not notice."""

import random
from collections import deque

import pytest
from hawse.wire.frame import Frame, FrameType, decode, encode
from hawse.wire.probe import (
    ANSWER,
    ENTRIES,
    ENTRIES_AT_ONCE,
    ENTRY,
    PRBS_SEED,
    QUESTION,
    Capturing,
    Probe,
    prbs,
    question,
    words_of,
)
from hawse_hdl import link

STALLS = [("amaranth", 0), ("amaranth", 0.4), ("verilator", 0.4)]


def test_the_sequence_is_that_of_its_polynomial():
    bits = [byte >> n & 1 for byte in prbs(400) for n in range(8)]
    assert all(bits[n] == bits[n - 31] ^ bits[n - 28] for n in range(31, len(bits)))
    assert bits[0] == 0 and prbs(2) == prbs(1) + prbs(1, state=(PRBS_SEED << 8) & PRBS_SEED | 0)[:1]


def asked(seq, payload):
    return encode(Frame(QUESTION, 0, 0, seq, 0, payload))


def pieces(line):
    """The frames of a line, of link and probe alike, as (type, number, payload)."""
    out = []
    for piece in bytes(line).split(b"\x7e"):
        if piece:
            probe = piece[0] >= QUESTION
            frame = decode(piece, probe=probe)
            out.append((frame.type, frame.seq, frame.payload))
    return out


@pytest.mark.ci
@pytest.mark.parametrize("simulator, stall", STALLS)
def test_answers_go_between_the_links_frames_and_cut_none(drive, stall):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    ours = [Frame(FrameType.DATA, 1, 5, n, 9, rng.randbytes(32 * rng.randrange(1, 3))) for n in range(8)]
    from_link = b"".join(encode(frame) for frame in ours)
    payloads = [question(Probe.LOOP) + rng.randbytes(4 * size) for size in (0, rng.randrange(16))]
    line, answers = b"", b""
    for n, payload in enumerate(payloads):
        # A question that follows at once would come while the one before is answered.
        line += (
            encode(Frame(FrameType.ACK, 1, 5, n, 9)) + asked(n, payload) + b"\x7e" * (250 + 3 * len(payload))
        )
        answers += encode(Frame(ANSWER, 0, 0, n, 0, payload))
    received, _ = drive(
        link.Probe(),
        {"line_rx": list(line), "tx": list(from_link)},
        {"line_tx": len(from_link) + len(answers), "rx": len(line)},
        stalls={"line_tx": stall, "rx": 0, "tx": stall},
        seed=seed,
    )
    assert bytes(received["rx"]) == line, "the link hears all of it"
    got = pieces(received["line_tx"])
    assert [g for g in got if g[0] != ANSWER] == [(f.type, f.seq, f.payload) for f in ours]
    assert [g for g in got if g[0] == ANSWER] == [(ANSWER, n, p) for n, p in enumerate(payloads)]


@pytest.mark.parametrize("simulator", ["amaranth"])
def test_a_question_during_an_answer_is_dropped_whole(drive, simulator):
    first, second = question(Probe.LOOP) + bytes(80), question(Probe.LOOP) + b"late"
    line = asked(1, first) + asked(2, second) + b"\x7e" * 200 + asked(3, second)
    wanted = [(ANSWER, 1, first), (ANSWER, 3, second)]
    length = sum(len(encode(Frame(kind, 0, 0, n, 0, payload))) for kind, n, payload in wanted)
    received, _ = drive(link.Probe(), {"line_rx": list(line)}, {"line_tx": length, "rx": len(line)}, rest=300)
    assert pieces(received["line_tx"]) == wanted


@pytest.mark.parametrize("simulator", ["amaranth"])
@pytest.mark.parametrize("wrong", [0, 5])
def test_the_bit_test_counts_wrong_bits_both_ways(simulate, simulator, wrong):
    count = 300
    begun, sent, result = simulate(link.Probe(), _bit_test, count=count, wrong=wrong)
    assert pieces(bytes(begun)) == [(ANSWER, 1, question(Probe.TEST, count))]
    assert bytes(sent) == prbs(count)
    ((kind, seq, payload),) = pieces(bytes(result))
    assert (kind, seq, words_of(payload)) == (ANSWER, 2, [Probe.RESULT, count, wrong])


async def _bit_test(pins, count, wrong):
    """Ask, await the answer, send the bytes of the test while those of the board come, ask for the result."""
    line = Talk(pins)
    begun = await line.ask(1, question(Probe.TEST, count), 40)
    data = bytearray(prbs(count))
    for at in random.Random(1).sample(range(8 * count), wrong):
        data[at // 8] ^= 1 << at % 8
    # The board's own bytes began behind its answer.
    frame = begun.index(0x7E, 1) + 1
    sent = begun[frame:] + await line.say(data, 10)
    extra = sent[count:]
    result = await line.ask(2, question(Probe.RESULT), 60)
    return [begun[:frame], sent[:count], extra + result]


class Talk:
    """The line of a probe, byte by byte."""

    def __init__(self, pins):
        self.pins = pins
        pins.set("line_tx__ready", 1)
        pins.set("rx__ready", 1)

    async def say(self, data, rest):
        """Send bytes, wait for so many cycles, and return all that came meanwhile."""
        came = []
        for n in range(len(data) + rest):
            self.pins.set("line_rx__valid", int(n < len(data)))
            self.pins.set("line_rx__payload", data[n] if n < len(data) else 0)
            valid, out = await self.pins.tick("line_tx__valid", "line_tx__payload")
            came += [out] * valid
        return came

    async def ask(self, seq, payload, rest):
        return await self.say(asked(seq, payload), rest)


class Model:
    """The capture buffer as it should be."""

    def __init__(self, mask, value, after):
        self.mask, self.value, self.left = mask, value, after
        self.kept, self.first, self.trigger, self.state = deque(maxlen=ENTRIES), 0, None, Capturing.ARMED

    def take(self, sample):
        if self.state not in (Capturing.ARMED, Capturing.TRIGGERED):
            return
        self.first += len(self.kept) == ENTRIES
        self.kept.append(sample)
        if self.state is Capturing.TRIGGERED:
            self.left -= 1
        elif (sample ^ self.value) & self.mask == 0:
            self.trigger, self.state = self.first + len(self.kept) - 1, Capturing.TRIGGERED
        if self.state is Capturing.TRIGGERED and self.left == 0:
            self.state = Capturing.FULL


@pytest.mark.parametrize("simulator", ["amaranth"])
@pytest.mark.parametrize(
    ("samples", "at", "after"), [(900, 700, 0), (900, 700, 1), (700, 3, 511), (900, 650, 200), (300, None, 9)]
)
def test_capture_keeps_what_was_around_the_trigger(simulate, simulator, samples, at, after):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    got = simulate(link.Capture(), _capture, samples=samples, at=at, after=after, seed=seed)
    rng = random.Random(seed)
    model = Model(0xFF00, 0xAB00, after)
    for sample in _samples(rng, samples, at):
        model.take(sample)
    state, trigger, oldest, count, entries = got
    assert (state, count) == (model.state, len(model.kept))
    assert oldest == model.first % ENTRIES
    assert model.trigger is None or trigger == model.trigger % ENTRIES
    assert [e & (1 << 64) - 1 for e in entries] == list(model.kept)
    cycles = [e >> 64 for e in entries]
    assert cycles == sorted(cycles) and len(set(cycles)) == len(cycles)


def _samples(rng, count, at):
    """Pseudo-random, of which number ``at`` is the first that the trigger is for."""
    out = [rng.getrandbits(64) & ~0xFF00 | rng.randrange(0xAB) << 8 for _ in range(count)]
    if at is not None:
        out[at] = out[at] & ~0xFF00 | 0xAB00
    return out


async def _capture(pins, samples, at, after, seed):
    rng = random.Random(seed)
    values = _samples(rng, samples, at)
    for name, value in {"mask": 0xFF00, "value": 0xAB00, "after": after, "arm": 1}.items():
        pins.set(name, value)
    await pins.tick()
    for name in ("arm", "mask", "value", "after"):  # they count in that cycle alone
        pins.set(name, 0)
    for value in values:
        pins.set("strobe", 1)
        pins.set("sample", value)
        await pins.tick()
        pins.set("strobe", 0)
        pins.set("sample", 0)
        for _ in range(rng.randrange(2)):
            await pins.tick()
    for _ in range(3):
        await pins.tick()
    state, trigger, oldest, count = await pins.get("state", "trigger", "oldest", "count")
    entries = []
    for n in range(count):
        pins.set("address", (oldest + n) % ENTRIES)
        await pins.tick()
        entries += await pins.get("data")
    return [state, trigger, oldest, count, entries]


@pytest.mark.parametrize("simulator", ["amaranth"])
def test_what_was_captured_is_told(simulate, simulator):
    samples = simulate(link.Probe(), _tell, seed=1)
    state, entries = samples
    assert state[1:] == [Capturing.FULL, 2, 0, 6]
    told = [ENTRY.unpack_from(bytes(entries), ENTRY.size * n)[0] for n in range(6)]
    assert told == [100 + n for n in range(6)]


async def _tell(pins, seed):
    """Capture six of ten samples over the line, and read them."""
    line = Talk(pins)
    await line.ask(1, question(Probe.ARM, 0xFF, 0, 102, 0, 3), 60)
    for n in range(10):
        pins.set("strobe", 1)
        pins.set("sample", 100 + n)
        await pins.tick()
    pins.set("strobe", 0)
    ((_, _, state),) = pieces(await line.ask(2, question(Probe.STATE), 100))
    ((_, _, answer),) = pieces(await line.ask(3, question(Probe.READ, 0), 600))
    assert len(answer) == 8 + ENTRY.size * ENTRIES_AT_ONCE
    return [words_of(state), list(answer[8:])]
