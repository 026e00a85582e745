"""The whole pipeline, streams joined: UART, link, core."""

from typing import Any

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from hawse.wire.probe import SAMPLE
from hawse.wire.schema import Feature, Geometry

from .core import Core
from .hashing import CORES
from .layouts import REPORT
from .link import UART, Endpoint, Probe, margin
from .streams import connect_apart

#: Clock cycles a bit of the UART of a board, and the share by which the other side's bits may differ.
LEAST_DIVISOR, LEAST_MARGIN = 12, 0.03


class Appliance(wiring.Component):
    """The core behind the link, at the byte streams just inside the UART.

    Args:
        geometry: of the book.
        hash_cores: of the log.
        timeout: clock cycles without progress after which unacknowledged frames are sent again.
        build: what it is made of, and the frequency of its clock, as :class:`Book` has them.
        clock_khz: likewise.
        gate: with a :class:`.gate.Gate` before the book.
        probe: with a :class:`.link.Probe` between line and link. Synthesized, never routed.

    Latency: the link's plus the core's.  Initiation interval: the link's.
    Ordering: answers leave in the order of their commands.
    Reset: epoch 0, in which only a RESET frame is obeyed; that resets the core, and the link's epoch goes on.
    Back-pressure: ``rx`` is always taken; what finds no room is dropped and sent again by the host.
    """

    #: Bytes from the host.
    rx: In(stream.Signature(8))
    #: Bytes to the host.
    tx: Out(stream.Signature(8))
    #: Nothing moves before the next byte from the host, but perhaps the link's time-out.
    idle: Out(1)
    #: The host has not acknowledged everything: the time-out is running.
    unacked: Out(1)

    def __init__(
        self,
        geometry: Geometry,
        *,
        hash_cores: int = CORES,
        timeout: int = 1 << 20,
        build: int | Value = 0,
        clock_khz: int = 0,
        gate: bool = False,
        probe: bool = False,
    ) -> None:
        self.geometry = geometry
        self.hash_cores = hash_cores
        self.timeout = timeout
        self.build = build
        self.clock_khz = clock_khz
        self.gate = gate
        self.probe = probe
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.link = link = Endpoint(timeout=self.timeout)
        m.submodules.core = core = Core(
            self.geometry,
            hash_cores=self.hash_cores,
            build=self.build,
            clock_khz=self.clock_khz,
            features=Feature.CAPTURE if self.probe else 0,
            gate=self.gate,
        )
        if self.probe:
            probe = _probe(m, self, link, core)
        else:
            connect(m, flipped(self.rx), link.rx)
            connect(m, link.tx, flipped(self.tx))
        connect(m, link.commands, core.commands)
        connect_apart(m, core.beats, link.beats)
        with m.If(link.reset):  # a beat of the epoch before
            m.d.sync += link.beats.valid.eq(0)
        idle = link.idle & core.idle & ~link.beats.valid & ~link.reset
        if self.probe:
            idle &= probe.idle
        m.d.comb += [
            core.reset.eq(link.reset),
            core.epoch.eq(link.epoch),
            self.idle.eq(idle),
            self.unacked.eq(link.unacked),
        ]
        return m


def _probe(m: Module, appliance: Any, link: Endpoint, core: Core) -> Probe:
    """A probe between line and link, that may capture commands and beats as they move."""
    m.submodules.probe = probe = Probe()
    connect(m, flipped(appliance.rx), probe.line_rx)
    connect(m, probe.rx, link.rx)
    connect(m, link.tx, probe.tx)
    connect(m, probe.line_tx, flipped(appliance.tx))
    command, report = core.commands.payload, REPORT(core.beats.payload)
    comes, leaves = core.commands.valid & core.commands.ready, core.beats.valid & core.beats.ready
    told = {
        "command": comes,
        "beat": leaves,
        "busy": core.busy,
        "held": core.held,
        "kind": report.kind.kind,
        "opcode": command.opcode,
        "handle": Mux(comes, command.handle, report.handle),
        "seq": Mux(comes, command.seq, report.seq),
    }
    for name, low, width in SAMPLE:
        m.d.comb += probe.sample[low : low + width].eq(told[name])
    m.d.comb += probe.strobe.eq(comes | leaves)
    return probe


class Board(wiring.Component):
    """The appliance behind a UART: top level of a board, down to its two wires.

    Args:
        geometry: of the book.
        hash_cores: of the log.
        clock_hz: frequency of ``sync``.
        baudrate: bits a second on the wires.
        timeout: seconds without progress after which unacknowledged frames are sent again.
        build: what it is made of, as :class:`Book` has it.
        gate: as :class:`Appliance` has it.
        probe: as :class:`Appliance` has it.

    Raises:
        ValueError: the clock cannot make that rate within 2 %, a bit takes fewer than 12 cycles, or the other
            side's bits may not be 3 % off (:func:`.link.margin`): at 4 cycles they may not.

    Latency, initiation interval, ordering, reset: the appliance's and the UART's.
    Back-pressure: none on the wires; what finds no room is lost and sent again by the host.
    """

    #: From and to the host.
    rxd: In(1, init=1)
    txd: Out(1, init=1)

    def __init__(
        self,
        geometry: Geometry,
        *,
        hash_cores: int = CORES,
        clock_hz: float = 50e6,
        baudrate: int = 1_000_000,
        timeout: float = 0.25,
        build: int | Value = 0,
        gate: bool = False,
        probe: bool = False,
    ) -> None:
        exact = clock_hz / baudrate
        self.divisor = round(exact)
        if self.divisor < LEAST_DIVISOR or abs(exact / self.divisor - 1) > 0.02:
            raise ValueError(
                f"baudrate: {baudrate} is not within 2 % of {clock_hz:g} Hz / n, n at least {LEAST_DIVISOR}"
            )
        #: How much shorter and longer the bits of the other side may be, as shares of a bit.
        self.margin = margin(self.divisor, exact)
        if min(-self.margin[0], self.margin[1]) < LEAST_MARGIN:
            raise ValueError(
                f"baudrate: at {baudrate} the other side's may be {self.margin[0]:+.1%} to "
                f"{self.margin[1]:+.1%} off, with {self.divisor} cycles of {clock_hz:g} Hz a bit; "
                f"{LEAST_MARGIN:.0%} is the least"
            )
        self.geometry = geometry
        self.hash_cores = hash_cores
        self.clock_khz = round(clock_hz / 1000)
        self.timeout = max(1, round(timeout * clock_hz))
        self.build = build
        self.gate = gate
        self.probe = probe
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.uart = uart = UART(self.divisor)
        m.submodules.appliance = appliance = Appliance(
            self.geometry,
            hash_cores=self.hash_cores,
            timeout=self.timeout,
            build=self.build,
            clock_khz=self.clock_khz,
            gate=self.gate,
            probe=self.probe,
        )
        connect(m, uart.rx, appliance.rx)
        connect(m, appliance.tx, uart.tx)
        m.d.comb += [uart.rxd.eq(self.rxd), self.txd.eq(uart.txd)]
        return m
