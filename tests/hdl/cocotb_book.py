"""Drives a Book with the commands of a file and writes its beats to another; test_book.py compares them."""

import os
from pathlib import Path

import cocotb
from cocotb.triggers import FallingEdge
from hawse_sim.streams import Sink, Source, start


@cocotb.test()
async def drives_commands_with_stalls(dut):
    folder = Path(os.environ["BOOK_FOLDER"])
    raw = (folder / "commands").read_bytes()
    dut.epoch.value = int(os.environ["BOOK_EPOCH"])
    source = Source(dut, "commands", stall=0.2)
    sink = Sink(dut, "beats", stall=0.4)
    await start(dut)
    source.send(int.from_bytes(raw[i : i + 32], "little") for i in range(0, len(raw), 32))
    await source.drained()
    idle = 0
    while idle < 4:  # busy covers the last beat, so a few quiet cycles are the end
        await FallingEdge(dut.clk)
        idle = 0 if int(dut.busy.value) else idle + 1
    (folder / "beats").write_bytes(b"".join(beat.to_bytes(32, "little") for beat in sink.received))
