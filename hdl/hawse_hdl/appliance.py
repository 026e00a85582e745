"""The whole pipeline, streams joined: link and core."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from hawse.wire.schema import Geometry

from .core import Core
from .link import Endpoint


class Appliance(wiring.Component):
    """The core behind the link, at the byte streams just inside the UART.

    Args:
        geometry: of the book.
        timeout: clock cycles without progress after which unacknowledged frames are sent again.

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

    def __init__(self, geometry: Geometry, *, timeout: int = 1 << 20) -> None:
        self.geometry = geometry
        self.timeout = timeout
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.link = link = Endpoint(timeout=self.timeout)
        core = Core(self.geometry)
        m.submodules.core = ResetInserter(link.reset)(core)
        connect(m, flipped(self.rx), link.rx)
        connect(m, link.tx, flipped(self.tx))
        connect(m, link.commands, core.commands)
        connect(m, core.beats, link.beats)
        m.d.comb += [
            core.epoch.eq(link.epoch),
            self.idle.eq(link.idle & core.idle & ~link.reset),
            self.unacked.eq(link.unacked),
        ]
        return m
