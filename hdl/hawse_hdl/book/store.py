"""The resting orders and the queue of each price level."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from hawse.wire import Geometry, Side

from .bitmap import instrument_bits


def body_layout(geometry: Geometry) -> data.StructLayout:
    """What of a resting order does not change while it rests; ``level`` is its price less the base."""
    return data.StructLayout(
        {
            "level": ceil_log2(geometry.levels),
            "side": Side,
            "account": geometry.account_bits,
            "self_trade": 2,
            "instrument": instrument_bits(geometry),
        }
    )


class OrderStore(wiring.Component):
    """Orders by handle, split by field, and the first and last order of each level.

    A level is a queue in order of arrival, doubly linked. One entry a level serves both sides, which never
    rest at one price. An order whose quantity is 0 is free. Whether a level holds orders is for the bitmap
    to say: the entry of an empty level, ``next`` of its last and ``prev`` of its first order are stale.

    Latency: the order one cycle after ``read``, the level one cycle after ``look``; both stay until the next.
    Initiation interval: 1.
    Ordering: ``enter``, ``leave`` and ``resize`` are visible to a ``read`` or ``look`` of the next cycle, not
    of the same.
    Reset: memories keep their contents: ``clear`` each handle.
    Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        handle = ceil_log2(geometry.orders)
        body = body_layout(geometry)
        super().__init__(
            {
                #: Handle to read or clear.
                "handle": In(handle),
                "read": In(1),
                #: Free the handle, without regard to its queue.
                "clear": In(1),
                #: The order at hand: the one read last.
                "at": Out(handle),
                "body": Out(body),
                "quantity": Out(32),
                "next": Out(handle),
                "look": In(1),
                "instrument": In(instrument_bits(geometry)),
                "level": In(ceil_log2(geometry.levels)),
                #: First order of the level looked at.
                "head": Out(handle),
                #: The order at hand is the last of the level looked at.
                "last": Out(1),
                #: The order at hand is the only one of the level looked at.
                "alone": Out(1),
                #: Append an order to the level looked at.
                "enter": In(1),
                "entering": In(handle),
                "entry": In(body),
                #: Whether the level looked at holds orders.
                "occupied": In(1),
                #: Take the order at hand out of the level looked at.
                "leave": In(1),
                #: Give the order at hand another quantity.
                "resize": In(1),
                #: Quantity of ``enter`` and ``resize``.
                "remaining": In(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        handle = ceil_log2(geometry.orders)
        ends = data.StructLayout({"head": handle, "tail": handle})

        m.submodules.bodies = bodies = Memory(shape=body_layout(geometry), depth=geometry.orders, init=[])
        m.submodules.quantities = quantities = Memory(shape=32, depth=geometry.orders, init=[])
        m.submodules.nexts = nexts = Memory(shape=handle, depth=geometry.orders, init=[])
        m.submodules.prevs = prevs = Memory(shape=handle, depth=geometry.orders, init=[])
        depth = geometry.instruments * geometry.levels
        m.submodules.levels = levels = Memory(shape=ends, depth=depth, init=[])

        body, quantity = bodies.read_port(), quantities.read_port()
        following, preceding = nexts.read_port(), prevs.read_port()
        level = levels.read_port()
        level_at = Signal.like(level.addr)
        prev = preceding.data
        for port in (body, quantity, following, preceding):
            m.d.comb += [port.en.eq(self.read), port.addr.eq(self.handle)]
        with m.If(self.read):
            m.d.sync += self.at.eq(self.handle)
        m.d.comb += [level.en.eq(self.look), level.addr.eq(Cat(self.level, self.instrument))]
        with m.If(self.look):
            m.d.sync += level_at.eq(level.addr)

        is_head = Signal()
        m.d.comb += [
            self.body.eq(body.data),
            self.quantity.eq(quantity.data),
            self.next.eq(following.data),
            self.head.eq(level.data.head),
            is_head.eq(self.at == level.data.head),
            self.last.eq(self.at == level.data.tail),
            self.alone.eq(is_head & self.last),
        ]

        body, quantity, level_write = bodies.write_port(), quantities.write_port(), levels.write_port()
        next_write, prev_write = nexts.write_port(), prevs.write_port()
        m.d.comb += [
            body.en.eq(self.enter),
            body.addr.eq(self.entering),
            body.data.eq(self.entry),
            quantity.en.eq(self.enter | self.leave | self.resize | self.clear),
            quantity.addr.eq(Mux(self.clear, self.handle, Mux(self.enter, self.entering, self.at))),
            quantity.data.eq(Mux(self.enter | self.resize, self.remaining, 0)),
            level_write.addr.eq(level_at),
        ]
        with m.If(self.enter):
            m.d.comb += [
                next_write.en.eq(self.occupied),
                next_write.addr.eq(level.data.tail),
                next_write.data.eq(self.entering),
                prev_write.en.eq(1),
                prev_write.addr.eq(self.entering),
                prev_write.data.eq(level.data.tail),
                level_write.en.eq(1),
                level_write.data.head.eq(Mux(self.occupied, level.data.head, self.entering)),
                level_write.data.tail.eq(self.entering),
            ]
        with m.Else():
            m.d.comb += [
                next_write.en.eq(self.leave & ~is_head),
                next_write.addr.eq(prev),
                next_write.data.eq(self.next),
                prev_write.en.eq(self.leave & ~self.last),
                prev_write.addr.eq(self.next),
                prev_write.data.eq(prev),
                level_write.en.eq(self.leave & (is_head | self.last)),
                level_write.data.head.eq(Mux(is_head, self.next, level.data.head)),
                level_write.data.tail.eq(Mux(self.last, prev, level.data.tail)),
            ]
        return m
