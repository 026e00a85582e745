"""The gateware's end of the link against the host's, over a line that damages bytes."""

import os
import random
from collections import deque

import pytest
from amaranth.sim import Simulator
from hawse.engine.link import LinkEnd
from hawse.wire.frame import Deframer, Frame, FrameType, encode
from hawse_hdl.link import Endpoint

SEED = int(os.environ.get("SEED", random.randrange(2**32)))


class Bench:
    """Host end, line and users around an Endpoint; one call of ``cycle`` a clock."""

    def __init__(self, rng, badness=0.0, stalls=0.3, timeout=800, slots=8):
        self.rng, self.badness, self.stalls = rng, badness, stalls
        self.dut = Endpoint(timeout=timeout, slots=slots)
        self.host = LinkEnd(timeout=1000, window=8, slots=rng.choice((1, 8)))
        self.to_board, self.to_host = deque(), bytearray()
        self.commands, self.beats = [], deque()  # what the board's user got, and has to say
        self.got = []  # payloads at the host
        self.now = 0
        self.eager = False  # no stalls
        self.hungry = True  # takes commands
        self.resets = 0

    def line(self, data):
        out = bytearray()
        for byte in data:
            what = self.rng.random()
            if what < self.badness:
                continue
            if what < 2 * self.badness:
                out.append(self.rng.randrange(256))
            if what < self.badness * 3 / 2:
                continue  # replaced, else inserted
            out.append(byte)
        return out

    def go(self):
        return self.eager or self.rng.random() >= self.stalls

    async def cycle(self, ctx, dut):
        if not self.now % 16:
            self.host.receive(bytes(self.line(self.to_host)), self.now)
            self.to_host.clear()
            while self.host.received and self.go():
                self.got.append(self.host.received.popleft())
            self.to_board.extend(self.line(self.host.tick(self.now)))
        if self.to_board and self.go():
            ctx.set(dut.rx.valid, 1)
            ctx.set(dut.rx.payload, self.to_board.popleft())
        else:
            ctx.set(dut.rx.valid, 0)
        ctx.set(dut.tx.ready, self.go())
        ctx.set(dut.commands.ready, self.hungry and self.go())
        if self.beats and not ctx.get(dut.beats.valid) and self.go():
            ctx.set(dut.beats.valid, 1)
            ctx.set(dut.beats.payload, self.beats[0])
        _, _, *values = await ctx.tick().sample(
            dut.tx.valid & dut.tx.ready,
            dut.tx.payload,
            dut.commands.valid & dut.commands.ready,
            dut.commands.payload.as_value(),
            dut.beats.ready,
            dut.reset,
        )
        sent, byte, took, command, ready, reset = values
        self.now += 1
        assert ctx.get(dut.rx.ready)
        if sent:
            self.to_host.append(byte)
        if took:
            self.commands.append(command)
        if ready and ctx.get(dut.beats.valid):
            self.beats.popleft()
            ctx.set(dut.beats.valid, 0)
        if reset:
            self.resets += 1
            self.commands.clear()
            self.beats.clear()
            ctx.set(dut.beats.valid, 0)

    def run(self, body):
        async def testbench(ctx):
            async def cycles(n, until=lambda: False):
                for _ in range(n):
                    if until():
                        return True
                    await self.cycle(ctx, self.dut)
                return False

            await body(ctx, cycles)

        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        sim.run()

    async def open(self, cycles, epoch):
        self.host.reset(epoch)
        self.got.clear()
        assert await cycles(40000, lambda: self.host.open)


def words(payloads):
    joined = b"".join(payloads)
    return [int.from_bytes(joined[i : i + 32], "little") for i in range(0, len(joined), 32)]


def payload(rng):
    """1 to 8 words, half of which need much stuffing."""
    return b"".join(
        bytes(rng.choices((0x7D, 0x7E, 0x5D, 0x5E), k=32)) if rng.random() < 0.5 else rng.randbytes(32)
        for _ in range(rng.choice((1, 2, 8)))
    )


@pytest.mark.parametrize("badness, stalls", [(0, 0), (0.002, 0.3)])
def test_everything_arrives_once_and_in_order(badness, stalls):
    print(f"SEED={SEED}")
    rng = random.Random(SEED)
    bench = Bench(rng, badness, stalls)

    async def body(ctx, cycles):
        sent, said = [], []
        for resets, epoch in enumerate((1, 4), 1):  # the second interrupts the first
            bench.badness, bench.eager = badness, False
            await bench.open(cycles, epoch)
            assert ctx.get(bench.dut.epoch) == epoch and bench.resets == 16 * resets
            sent, said = [payload(rng) for _ in range(10)], words([payload(rng) for _ in range(10)])
            for p in sent:
                bench.host.send(p)
            bench.beats.extend(said)
            await cycles(2000)
        bench.eager, bench.badness = True, 0
        commands = words(sent)

        def finished():
            quiet = ctx.get(bench.dut.idle) and not ctx.get(bench.dut.unacked)
            return quiet and (len(bench.commands), len(words(bench.got))) == (len(commands), len(said))

        assert await cycles(60000, finished)
        assert bench.commands == commands and words(bench.got) == said

    bench.run(body)


def test_unacknowledged_beats_stall_and_then_go_on():
    bench = Bench(random.Random(1), stalls=0)

    async def body(ctx, cycles):
        await bench.open(cycles, 1)
        bench.beats.extend(range(100))
        silent, bench.host.receive = bench.host.receive, lambda *_: None
        await cycles(4000)
        assert 100 - len(bench.beats) <= 64 + 8  # eight frames, and those in the way there
        assert ctx.get(bench.dut.unacked)
        bench.host.receive = silent
        assert await cycles(40000, lambda: not ctx.get(bench.dut.unacked) and not bench.beats)
        assert words(bench.got) == list(range(100))

    bench.run(body)


def test_commands_that_nobody_takes_stop_the_host():
    bench = Bench(random.Random(2), stalls=0, slots=4)

    async def body(ctx, cycles):
        await bench.open(cycles, 1)
        for n in range(10):
            bench.host.send(n.to_bytes(32, "little") * 8)
        bench.hungry = False
        await cycles(5000)
        assert bench.commands == [] and bench.host.outstanding == 6
        bench.hungry = True
        assert await cycles(20000, lambda: len(bench.commands) == 80)
        assert bench.commands == [n for n in range(10) for _ in range(8)]

    bench.run(body)


def hears(bench):
    """Let nothing reach the host; what the board sends is collected in the list returned."""
    frames, reader = [], Deframer()
    bench.host.receive = lambda data, now: frames.extend(reader.feed(data))
    bench.host.tick = lambda now: b""
    return frames


def test_an_acknowledgement_ends_the_sending_again():
    bench = Bench(random.Random(7), stalls=0)

    async def body(ctx, cycles):
        await bench.open(cycles, 1)
        frames = hears(bench)
        bench.beats.extend(range(8 * 6))
        assert await cycles(6000, lambda: len(frames) > 6)
        assert [f.seq for f in frames] == [0, 1, 2, 3, 4, 5, 0]
        bench.to_board.extend(encode(Frame(FrameType.ACK, 8, 1, 0, 6)))
        await cycles(3000)
        assert [f.seq for f in frames[6:]] == [0, 1] and not ctx.get(bench.dut.unacked)

    bench.run(body)


def test_the_board_asks_again_for_credits_that_were_lost():
    bench = Bench(random.Random(8), stalls=0)

    async def body(ctx, cycles):
        await bench.open(cycles, 1)
        frames = hears(bench)
        bench.to_board.extend(encode(Frame(FrameType.ACK, 2, 1, 0, 0)))
        await cycles(100)
        bench.beats.extend(range(8 * 4))
        await cycles(700)
        assert [f.seq for f in frames] == [0, 1]
        bench.to_board.extend(encode(Frame(FrameType.ACK, 0, 1, 0, 2)))
        assert await cycles(2000, lambda: len(frames) == 3)
        assert frames[2].seq == 2
        bench.to_board.extend(encode(Frame(FrameType.ACK, 8, 1, 0, 3)))
        assert await cycles(600, lambda: len(frames) == 4)
        assert frames[3].seq == 3

    bench.run(body)


def test_the_host_hears_of_freed_slots_unasked():
    bench = Bench(random.Random(9), stalls=0, slots=4)

    async def body(ctx, cycles):
        await bench.open(cycles, 1)
        frames = hears(bench)
        bench.hungry = False
        for seq in range(4):
            bench.to_board.extend(encode(Frame(FrameType.DATA, 8, 1, seq, 0, bytes(32))))
        await cycles(400)
        assert (frames[-1].ack, frames[-1].credits) == (4, 0)
        bench.hungry = True
        await cycles(150)
        assert frames[-1].type == FrameType.ACK and frames[-1].credits >= 2

    bench.run(body)


def test_a_beat_on_its_way_dies_with_its_epoch():
    bench = Bench(random.Random(10), stalls=0)

    async def body(ctx, cycles):
        await bench.open(cycles, 1)
        frames = hears(bench)
        for epoch in range(2, 6):
            frames.clear()
            await cycles(epoch)
            bench.beats.extend(range(30))
            bench.to_board.extend(encode(Frame(FrameType.RESET, 8, epoch, 0, 0)))
            await cycles(1200)
            assert [(f.type, f.epoch) for f in frames if f.epoch == epoch] == [(FrameType.RESET_DONE, epoch)]

    bench.run(body)


def talk(exchanges, slots=8):
    """Send frames to a fresh Endpoint, one at a time; give its answers within 200 cycles of each."""
    bench = Bench(random.Random(3), stalls=0, timeout=100_000, slots=slots)
    bench.host.tick = lambda now: b""
    answers = []

    async def body(ctx, cycles):
        for frame in exchanges:
            reader, raw = Deframer(), bytearray()
            bench.host.receive = lambda data, now, raw=raw: raw.extend(data)
            bench.to_board.extend(encode(frame))
            await cycles(200 + 2 * len(frame.payload))
            answers.append(reader.feed(bytes(raw)))
            assert reader.dropped == 0

    bench.run(body)
    return answers, bench


def test_epochs():
    reset, done, ack, data = FrameType.RESET, FrameType.RESET_DONE, FrameType.ACK, FrameType.DATA
    answers, bench = talk(
        [
            Frame(data, 8, 0, 0, 0, bytes(32)),  # epoch 0 takes no data
            Frame(reset, 8, 0, 0, 0),
            Frame(reset, 8, 7, 0, 0),
            Frame(reset, 8, 7, 0, 0),
            Frame(reset, 8, 3, 0, 0),
            Frame(ack, 8, 6, 0, 0),
            Frame(data, 8, 8, 0, 0, bytes(32)),
            Frame(ack, 8, 7, 0, 0),
            Frame(data, 8, 7, 0, 0, bytes(32)),
            Frame(data, 8, 7, 0, 0, bytes(32)),  # again
            Frame(data, 8, 7, 2, 0, bytes(32)),  # one is missing
            Frame(done, 8, 7, 0, 0),
        ]
    )
    assert answers == [
        [Frame(ack, 8, 0, 0, 0)],
        [Frame(done, 8, 0, 0, 0)],
        [Frame(done, 8, 7, 0, 0)],
        [Frame(done, 8, 7, 0, 0)],
        [Frame(ack, 8, 7, 0, 0)],
        [Frame(ack, 8, 7, 0, 0)],
        [Frame(ack, 8, 7, 0, 0)],
        [],
        [Frame(ack, 7, 7, 0, 1)],
        [Frame(ack, 8, 7, 0, 1)],
        [Frame(ack, 8, 7, 0, 1)],
        [],
    ]
    assert bench.resets == 16 and bench.commands == [0]


def test_a_lone_beat_does_not_wait_for_company():
    bench = Bench(random.Random(4), stalls=0)

    async def body(ctx, cycles):
        await bench.open(cycles, 1)
        await cycles(100)
        bench.beats.append(5)
        assert await cycles(100, lambda: bench.got)
        assert words(bench.got) == [5]

    bench.run(body)


def test_latencies_are_those_of_the_contract():
    bench = Bench(random.Random(6), stalls=0)
    dut, seen = bench.dut, {}

    async def body(ctx, cycles):
        async def when(signal):
            for n in range(100):
                if ctx.get(signal):
                    return n
                await cycles(1)

        await bench.open(cycles, 1)
        await cycles(100)
        bench.beats.append(1)
        seen["beat to frame"] = await when(dut.tx.valid)
        await cycles(200)
        bench.host.send(bytes(256))
        await cycles(16)
        while bench.to_board:
            await cycles(1)
        seen["frame to command"] = await when(dut.commands.valid) + 1  # since its last byte

    bench.run(body)
    assert seen == {"frame to command": 12, "beat to frame": 14 + 12}


@pytest.mark.parametrize(
    "wrong", [{"slots": 3}, {"slots": 128}, {"timeout": 0}, {"linger": 0}, {"reset_cycles": 0}]
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Endpoint(**wrong)
