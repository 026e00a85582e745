"""Bytes over two wires."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out


def margin(divisor: int, exact: float | None = None) -> tuple[float, float]:
    """How much shorter and longer the bits of the other side may be, as shares of a bit, for all to arrive.

    A byte is sampled from one to two cycles behind half a bit after its start was seen; the last of its ten
    bits must still be that bit then.

    Args:
        divisor: clock cycles a bit on this side.
        exact: clock cycles that a bit ought to take, if that is no whole number.

    Returns:
        A negative and a positive number: ``(-0.042, 0.056)`` for a divisor of 12.
    """
    exact = exact or divisor
    middle = 1 + (divisor - 1) // 2
    return (1 + middle + 9 * divisor) / (10 * exact) - 1, (divisor + middle / 9) / exact - 1


class UART(wiring.Component):
    """Asynchronous serial port: 8 data bits, least significant first, no parity, 1 stop bit.

    Args:
        divisor: clock cycles a bit, at least 4. :func:`margin` tells how far the other side's may be off.

    Latency: 9.5 bits and 3 cycles from the start edge to ``rx``; 1 cycle from ``tx`` to the start edge.
    Initiation interval: 10 bits a byte.  Ordering: kept.  Reset: line at rest, a byte half received is lost.
    Back-pressure: ``tx`` waits for the byte before; a byte that ``rx`` does not take before the next is lost,
    and so is one without a stop bit.
    """

    #: The wires: from the other side, to the other side.
    rxd: In(1, init=1)
    txd: Out(1, init=1)
    #: Bytes received, bytes to send.
    rx: Out(stream.Signature(8))
    tx: In(stream.Signature(8))

    def __init__(self, divisor: int) -> None:
        if divisor < 4:
            raise ValueError(f"divisor: {divisor} is below 4")
        self._divisor = divisor
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        """Build it."""
        m = Module()
        divisor = self._divisor

        line = Signal(init=1)
        m.submodules.sync = FFSynchronizer(self.rxd, line, init=1)
        in_time = Signal(range(divisor))
        in_bits = Signal(8)
        in_left = Signal(range(10))  # data bits, and the start bit as 9
        with m.If(self.rx.ready):
            m.d.sync += self.rx.valid.eq(0)
        with m.FSM():
            with m.State("REST"):
                m.d.sync += [in_time.eq((divisor - 1) // 2), in_left.eq(9)]
                with m.If(~line):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += in_time.eq(in_time - 1)
                with m.If(in_time == 0):  # in the middle of a bit
                    m.d.sync += [in_time.eq(divisor - 1), in_left.eq(in_left - 1)]
                    with m.If(in_left == 9), m.If(line):
                        m.next = "REST"  # a glitch
                    with m.Elif(in_left != 0):
                        m.d.sync += in_bits.eq(Cat(in_bits[1:], line))
                    with m.Elif(line):
                        m.d.sync += [self.rx.payload.eq(in_bits), self.rx.valid.eq(1)]
                        m.next = "REST"
                    with m.Else():
                        m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "REST"

        out_time = Signal(range(divisor))
        out_bits = Signal(10, init=1)
        out_left = Signal(range(11))
        free = Signal(init=1)  # nothing is left, as a register
        m.d.comb += [self.txd.eq(out_bits[0]), self.tx.ready.eq(free)]
        with m.If(~free):
            m.d.sync += out_time.eq(out_time - 1)
            with m.If(out_time == 0):
                m.d.sync += out_time.eq(divisor - 1)
                m.d.sync += [out_bits.eq(Cat(out_bits[1:], Const(1))), out_left.eq(out_left - 1)]
                m.d.sync += free.eq(out_left == 1)
        with m.Elif(self.tx.valid):
            m.d.sync += [out_bits.eq(Cat(Const(0), self.tx.payload, Const(1))), out_left.eq(10)]
            m.d.sync += [out_time.eq(divisor - 1), free.eq(0)]
        return m
