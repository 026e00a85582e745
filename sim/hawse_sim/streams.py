"""Ends of Amaranth streams for cocotb tests, with random stalls.

Both ends write at the falling edge of the clock and look when everything has settled, so that what they
see is what the next rising edge will take, in every simulator.
"""

import random
from collections import deque
from collections.abc import Iterable
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly


async def start(dut: Any, period_ns: int = 10) -> None:
    """Start the clock and hold the reset for two cycles; returns at a falling edge."""
    dut.rst.value = 1
    Clock(dut.clk, period_ns, unit="ns").start()
    await ClockCycles(dut.clk, 2)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


class Source:
    """Sends payloads into the input stream ``name`` of ``dut``.

    Args:
        dut: top level, with a port ``clk``.
        name: of the stream, e.g. ``"commands"`` or ``"link__rx"``.
        stall: probability with which the source is idle in a cycle before it offers the next payload.
        seed: of the stalls; drawn from cocotb's ``random`` if left out.
    """

    def __init__(self, dut: Any, name: str, *, stall: float = 0.0, seed: int | None = None) -> None:
        self.stall = stall
        self._random = random.Random(random.getrandbits(32) if seed is None else seed)
        self._clk = dut.clk
        self._valid, self._ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        self._payload = getattr(dut, f"{name}__payload")
        self._queue: deque[int] = deque()
        self._valid.value = 0
        cocotb.start_soon(self._run())

    def send(self, payloads: Iterable[int]) -> None:
        """Queue ``payloads``."""
        self._queue.extend(payloads)

    async def drained(self, timeout_cycles: int = 100_000) -> None:
        """Wait until all that was queued is taken."""
        for _ in range(timeout_cycles):
            if not self._queue:
                return
            await FallingEdge(self._clk)
        raise AssertionError(f"{len(self._queue)} payloads not taken within {timeout_cycles} cycles")

    async def _run(self) -> None:
        offering = False
        while True:
            await FallingEdge(self._clk)
            if not offering and self._queue and self._random.random() >= self.stall:
                offering = True
                self._payload.value = self._queue[0]
            self._valid.value = int(offering)
            await ReadOnly()
            if offering and int(self._ready.value):
                self._queue.popleft()
                offering = False


class Sink:
    """Takes payloads from the output stream ``name`` of ``dut``; parameters as of :class:`Source`.

    A stream that withdraws or changes an offered payload before it is taken fails the test.
    """

    def __init__(self, dut: Any, name: str, *, stall: float = 0.0, seed: int | None = None) -> None:
        self.stall = stall
        self.received: list[int] = []
        self._random = random.Random(random.getrandbits(32) if seed is None else seed)
        self._name, self._clk, self._rst = name, dut.clk, dut.rst
        self._valid, self._ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        self._payload = getattr(dut, f"{name}__payload")
        self._ready.value = 0
        cocotb.start_soon(self._run())

    async def receive(self, count: int, timeout_cycles: int = 100_000) -> list[int]:
        """Wait for ``count`` payloads and take them out of :attr:`received`."""
        for _ in range(timeout_cycles):
            if len(self.received) >= count:
                taken, self.received[:count] = self.received[:count], []
                return taken
            await FallingEdge(self._clk)
        raise AssertionError(f"{self._name}: {len(self.received)} of {count} within {timeout_cycles} cycles")

    async def _run(self) -> None:
        offered: int | None = None
        while True:
            await FallingEdge(self._clk)
            ready = self._random.random() >= self.stall
            self._ready.value = int(ready)
            await ReadOnly()
            valid = bool(int(self._valid.value)) and not int(self._rst.value)
            if offered is not None and not int(self._rst.value):
                assert valid, f"{self._name}: offered payload was withdrawn"
                assert int(self._payload.value) == offered, f"{self._name}: offered payload changed"
            offered = None
            if valid and ready:
                self.received.append(int(self._payload.value))
            elif valid:
                offered = int(self._payload.value)
