"""Streams across the chip."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream


def connect_apart(m: Module, source: stream.Interface, sink: stream.Interface) -> None:
    """Connect two that lie far apart, so that no path leads from one to the other.

    Latency: 1 cycle.  Initiation interval: 2.  Ordering: kept.  Reset: empty.
    Back-pressure: one payload waits.
    """
    payload = Signal.like(sink.payload, reset_less=True)
    m.d.comb += [source.ready.eq(~sink.valid), sink.payload.eq(payload)]
    with m.If(~sink.valid):
        m.d.sync += [sink.valid.eq(source.valid), payload.eq(source.payload)]
    with m.Elif(sink.ready):
        m.d.sync += sink.valid.eq(0)
