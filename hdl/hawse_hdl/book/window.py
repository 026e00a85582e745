"""Whether an instrument may have a window of the pool."""

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry

from .layouts import level_bits, row_layout, window_bits


class WindowCheck(wiring.Component):
    """Checks the window that a STATE(loading) names: by itself, and against the rows of other instruments.

    A window is a power of two of levels, ``LEAST_WINDOW`` or more, aligned to itself, inside the pool, and
    its highest price is a 32-bit integer. Two such windows overlap if their first levels differ in no bit
    that is above both masks.

    Latency: ``allowed`` is for the ``first``, ``count`` and ``base`` of two cycles ago, and all rows up to
    that of two cycles ago. Initiation interval: 1 row. Ordering: that of the rows; ``begin`` forgets them.
    Reset: no rows seen. Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        super().__init__(
            {
                "first": In(32),
                "count": In(32),
                "base": In(signed(32)),
                "begin": In(1),
                #: The row of another instrument.
                "look": In(1),
                "row": In(row_layout(geometry)),
                "allowed": Out(1),
                #: The bits of the mask that a row keeps, a cycle behind ``count``.
                "mask": Out(window_bits(geometry)),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        level = level_bits(self.geometry)
        least = level - window_bits(self.geometry)
        below = Signal(32)  # all that is below the bit of a count that has one
        sound, clashes = Signal(), Signal()
        last = Signal(signed(33))  # price
        m.d.sync += [
            below.eq(self.count - 1),
            sound.eq(
                self.count[least : level + 1].any()
                & ~self.count[level + 1 :].any()
                & ~self.first[level:].any()
                & ~((self.count | self.first) & below)[: level + 1].any()
                & (last[31] == last[32])
            ),
        ]
        m.d.comb += [
            last.eq(self.base + below.as_signed()),
            self.mask.eq(below[least:level]),
            self.allowed.eq(sound & ~clashes),
        ]

        counts = Signal()
        apart = Signal.like(self.row.first)
        m.d.sync += [
            counts.eq(self.look & self.row.windowed),
            apart.eq((self.row.first ^ self.first[least:level]) & ~(self.row.mask | self.mask)),
            clashes.eq((clashes | (counts & ~apart.any())) & ~self.begin),
        ]
        return m
