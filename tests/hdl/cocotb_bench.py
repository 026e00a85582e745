"""Runs a bench of a test module on a Verilated component; see ``simulate`` in conftest.py."""

import json
import os
import runpy
from pathlib import Path

import cocotb
from cocotb.triggers import FallingEdge, Timer
from hawse_sim.streams import start


class Pins:
    """As in conftest.py. A cycle begins at the falling edge of the clock."""

    def __init__(self, dut):
        self._dut = dut
        self._now = {}
        self._settled = True

    def set(self, name, value):
        if self._now.get(name) != value:
            self._now[name] = value
            getattr(self._dut, name).value = value
            self._settled = False

    async def get(self, *names):
        if not self._settled:
            await Timer(1, unit="step")  # what was set takes effect, and more may be set
            self._settled = True
        return [int(getattr(self._dut, name).value) for name in names]

    async def tick(self, *names):
        values = await self.get(*names) if names else []
        await FallingEdge(self._dut.clk)
        self._settled = True
        return values


@cocotb.test()
async def bench(dut):
    folder = Path(os.environ["BENCH"])
    job = json.loads((folder / "job.json").read_text())
    pins = Pins(dut)
    for name, value in job["inputs"].items():
        pins.set(name, value)
    await start(dut)
    await pins.tick()
    result = await runpy.run_path(job["file"])[job["bench"]](pins, **job["arguments"])
    (folder / "result.json").write_text(json.dumps(result))
