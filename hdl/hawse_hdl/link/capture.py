"""A buffer on the chip that keeps what happened around a trigger."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire.probe import ENTRIES, ENTRY, Capturing

from ..memory import NO_COLLISION

#: Bits of a sample, and of the clock cycle beside it.
SAMPLE_BITS, CYCLE_BITS = 64, 32


class Capture(wiring.Component):
    """Keeps samples with the clock cycle of each, from before a trigger to behind it.

    While it is armed every sample goes into a ring of entries; the first one that agrees with ``value`` in
    the bits of ``mask`` is the trigger, and ``after`` samples behind it the buffer is full and stands still.

    Latency: a sample is in memory 2 cycles after ``strobe``; ``data`` follows ``address`` by 1 cycle.
    Initiation interval: a sample a cycle.  Ordering: entries are in the order of time, from ``oldest`` on.
    Reset: idle; the contents stay, and count for nothing.
    Back-pressure: none; samples of an idle or full buffer are dropped, and what is read while it is armed may
    be old.
    """

    #: What may be kept, and that it is.
    sample: In(SAMPLE_BITS)
    strobe: In(1)
    #: Strobe: forget everything and begin, with the trigger that is given in this cycle.
    arm: In(1)
    mask: In(SAMPLE_BITS)
    value: In(SAMPLE_BITS)
    after: In(range(ENTRIES))
    #: What it is at, the entry of the trigger, the oldest entry and how many there are.
    state: Out(Capturing)
    trigger: Out(range(ENTRIES))
    oldest: Out(range(ENTRIES))
    count: Out(range(ENTRIES + 1))
    #: An entry: the sample, and above it its cycle.
    address: In(range(ENTRIES))
    data: Out(SAMPLE_BITS + CYCLE_BITS)

    def elaborate(self, platform: Any) -> Module:
        """Build it."""
        m = Module()
        assert 8 * ENTRY.size == SAMPLE_BITS + CYCLE_BITS
        m.submodules.memory = memory = Memory(
            shape=SAMPLE_BITS + CYCLE_BITS, depth=ENTRIES, init=[], attrs=NO_COLLISION
        )
        write, read = memory.write_port(), memory.read_port()
        cycle = Signal(CYCLE_BITS)
        came = Signal()
        word = Signal(SAMPLE_BITS + CYCLE_BITS, reset_less=True)
        mask, value = Signal(SAMPLE_BITS, reset_less=True), Signal(SAMPLE_BITS, reset_less=True)
        meets = Signal()
        next_entry = Signal(range(ENTRIES))
        left = Signal(range(ENTRIES))
        running = (self.state == Capturing.ARMED) | (self.state == Capturing.TRIGGERED)
        m.d.sync += [
            cycle.eq(cycle + 1),
            came.eq(self.strobe),
            word.eq(Cat(self.sample, cycle)),
            meets.eq(((self.sample ^ value) & mask) == 0),
        ]
        m.d.comb += [
            write.addr.eq(next_entry),
            write.data.eq(word),
            write.en.eq(came & running),
            read.addr.eq(self.address),
            self.data.eq(read.data),
        ]
        with m.If(write.en):
            m.d.sync += next_entry.eq(next_entry + 1)
            with m.If(self.count == ENTRIES):
                m.d.sync += self.oldest.eq(self.oldest + 1)
            with m.Else():
                m.d.sync += self.count.eq(self.count + 1)
            with m.If((self.state == Capturing.ARMED) & meets):
                m.d.sync += [self.trigger.eq(next_entry), self.state.eq(Capturing.TRIGGERED)]
                with m.If(left == 0):
                    m.d.sync += self.state.eq(Capturing.FULL)
            with m.Elif(self.state == Capturing.TRIGGERED):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    m.d.sync += self.state.eq(Capturing.FULL)
        with m.If(self.arm):
            m.d.sync += [self.state.eq(Capturing.ARMED), left.eq(self.after), self.count.eq(0)]
            m.d.sync += [next_entry.eq(0), self.oldest.eq(0), came.eq(0)]
            m.d.sync += [mask.eq(self.mask), value.eq(self.value)]
        return m
