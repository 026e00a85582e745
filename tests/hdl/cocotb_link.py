import os
import random

import cocotb
from cocotb.triggers import FallingEdge
from hawse.engine.link import LinkEnd
from hawse_sim.streams import Sink, Source, start


def damage(data, rate):
    out = bytearray()
    for byte in data:
        what = random.random() / rate if rate else 1
        if what < 0.5:  # lost, or another in its place
            out += random.randbytes(what < 0.25)
            continue
        out.append(byte)
        if what < 1:  # doubled, or garbage behind it
            out += random.choice((bytes([byte]), random.randbytes(3)))
    return bytes(out)


class Bench:
    """The host's end of the link, and the line."""

    def __init__(self, dut, rate, stall):
        self.dut, self.rate, self.now = dut, rate, 0
        self.host = LinkEnd(timeout=3000)
        self.rx, self.tx = Source(dut, "rx", stall=stall), Sink(dut, "tx", stall=stall)
        self.commands, self.beats = Sink(dut, "commands", stall=stall), Source(dut, "beats", stall=stall)
        self.got = []

    async def until(self, done, cycles):
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)
            self.now += 1
            if self.now % 32 == 0:
                line = bytes(self.tx.received)
                self.tx.received.clear()
                self.host.receive(damage(line, self.rate), self.now)
                while self.host.received and random.random() < 0.7:
                    payload = self.host.received.popleft()
                    words = [payload[i : i + 32] for i in range(0, len(payload), 32)]
                    self.got += [int.from_bytes(word, "little") for word in words]
                self.rx.send(damage(self.host.tick(self.now), self.rate))
                if done():
                    return
        raise AssertionError(f"not done within {cycles} cycles")


@cocotb.test()
async def everything_arrives_once_and_in_order(dut):
    await start(dut)
    bench = Bench(dut, float(os.environ["RATE"]), float(os.environ["STALL"]))
    host, count = bench.host, int(os.environ["COUNT"])
    host.reset(random.randrange(1, 2**32))
    await bench.until(lambda: host.open, 100_000)
    assert int(dut.epoch.value) == host.epoch
    sent, said = [], [random.getrandbits(256) for _ in range(count)]
    while len(sent) < count:
        words = [random.choice((random.randbytes(32), b"}~" * 16)) for _ in range(random.randrange(1, 9))]
        host.send(b"".join(words))
        sent += [int.from_bytes(word, "little") for word in words]
    bench.beats.send(said)

    def done():
        assert bench.commands.received == sent[: len(bench.commands.received)]
        assert bench.got == said[: len(bench.got)]
        finished = len(bench.commands.received) == len(sent) and len(bench.got) == len(said)
        return finished and not host.outstanding

    await bench.until(done, 2000 * count)
    bench.rate = 0
    await bench.until(lambda: int(dut.idle.value) and not int(dut.unacked.value), 20_000)
