"""Sends a list of payloads through a component with streams ``i`` and ``o``; see ``transfer`` in conftest."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles
from hawse_sim.streams import Sink, Source, start


@cocotb.test()
async def transfer(dut):
    folder = Path(os.environ["TRANSFER"])
    job = json.loads((folder / "job.json").read_text())
    await start(dut)
    for name, value in job["constants"].items():
        getattr(dut, name).value = value
    source = Source(dut, "i", stall=job["stalls"][0], seed=job["seed"])
    sink = Sink(dut, "o", stall=job["stalls"][1], seed=job["seed"] + 1)
    source.send(job["payloads"])
    received = []
    while len(received) < job["count"]:
        received += await sink.receive(1, 20_000)
    await ClockCycles(dut.clk, 100)
    (folder / "received.json").write_text(json.dumps(received + sink.received))
