import os
import random

import cocotb
from hawse_sim.streams import Sink, Source, start


@cocotb.test()
async def passes_everything_in_order(dut):
    await start(dut)
    stall = float(os.environ["STALL"])
    source, sink = Source(dut, "i", stall=stall), Sink(dut, "o", stall=stall)
    sent = [random.getrandbits(8) for _ in range(300)]
    source.send(sent)
    assert await sink.receive(300) == sent
    assert not sink.received


@cocotb.test(skip="FAIL" not in os.environ)
async def fails_when_told_so(dut):
    await start(dut)
    sink = Sink(dut, "o")
    await sink.receive(1, timeout_cycles=10)
