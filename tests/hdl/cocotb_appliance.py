"""The board down to the bits of its UART, against the golden engine."""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, Timer
from cocotb.utils import get_sim_time
from hawse.engine import GoldenBackend, split
from hawse.engine.backend import beats
from hawse.engine.link import LinkEnd
from hawse.wire import Geometry, InstrumentState, Opcode
from hawse.wire.dtypes import COMMAND, make, records
from hawse_sim.differential import demand_same
from hawse_sim.streams import start

PERIOD_NS = 10


class Wires:
    """The host's UART: bit after bit on ``rxd`` and ``txd``."""

    def __init__(self, dut, divisor):
        self.dut, self.bit = dut, divisor * PERIOD_NS
        self.received = bytearray()
        dut.rxd.value = 1
        cocotb.start_soon(self._receive())

    async def send(self, data):
        for byte in data:
            for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                self.dut.rxd.value = bit
                await Timer(self.bit, unit="ns")

    async def _receive(self):
        while True:
            await FallingEdge(self.dut.txd)
            await Timer(self.bit // 2, unit="ns")
            assert self.dut.txd.value == 0, "a start bit shorter than half a bit"
            byte = 0
            for i in range(8):
                await Timer(self.bit, unit="ns")
                byte |= int(self.dut.txd.value) << i
            await Timer(self.bit, unit="ns")
            assert self.dut.txd.value == 1, "no stop bit"
            self.received.append(byte)


class Host:
    def __init__(self, dut, divisor):
        self.wires, self.end = Wires(dut, divisor), LinkEnd(timeout=2e-3)

    async def until(self, done, seconds=0.02):
        limit = get_sim_time("sec") + seconds
        while not done():
            now = get_sim_time("sec")
            assert now < limit, "no answer"
            self.end.receive(bytes(self.wires.received), now)
            self.wires.received.clear()
            if line := self.end.tick(now):
                await self.wires.send(line)
            else:
                await Timer(self.wires.bit, unit="ns")

    async def exchange(self, commands, count):
        raw = commands.tobytes()
        for at in range(0, len(raw), 256):
            self.end.send(raw[at : at + 256])
        await self.until(lambda: sum(map(len, self.end.received)) >= 32 * count)
        got = beats(b"".join(self.end.received))
        self.end.received.clear()
        return got


def trades():
    window = {"handle": 0, "token": 64, "price": 1000}
    state = [
        make(COMMAND, opcode=Opcode.STATE, quantity=InstrumentState.LOADING, **window, seq=1),
        make(COMMAND, opcode=Opcode.STATE, quantity=InstrumentState.OPEN, seq=2),
    ]
    orders = [
        make(COMMAND, opcode=Opcode.NEW, flags=side, handle=h, tag=1 + h, price=p, quantity=q, seq=3 + h)
        for h, (side, p, q) in enumerate(
            [(1, 1010, 5), (1, 1008, 4), (0, 1005, 7), (0, 1010, 6), (1, 990, 9)]
        )
    ]
    return np.concatenate([*state, *orders, make(COMMAND, opcode=Opcode.FENCE, token=77)])


@cocotb.test()
async def trades_over_the_wires(dut):
    await start(dut, PERIOD_NS)
    host = Host(dut, int(os.environ["DIVISOR"]))
    golden = GoldenBackend(Geometry(**json.loads(os.environ["GEOMETRY"])))

    host.end.reset(3)
    await host.until(lambda: host.end.open)
    golden.reset(3)
    commands = trades()
    expected = golden.exchange(commands)
    got = await host.exchange(commands, len(expected))
    demand_same(("board", "golden"), got, expected)
    fence = split(got).fences[0]
    assert (fence.token, fence.epoch, fence.commands) == (77, 3, 7)
    assert b"\x01" in records(split(got).records)[::24], "nothing traded"
    await host.until(lambda: not host.end.outstanding)

    host.end.reset(4)
    await host.until(lambda: host.end.open)
    golden.reset(4)
    again = await host.exchange(commands, len(expected))
    demand_same(("board after a reset", "golden"), again, golden.exchange(commands))
