"""The queue of orders at each price level."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry, Side

from ..memory import ForwardedMemory
from .layouts import ends_layout, handle_bits, instrument_bits, level_bits


class Act(enum.Enum, shape=3):
    """What is done to a queue."""

    NONE = 0
    #: The order joins at the tail.
    ENTER = 1
    #: The order leaves from wherever it is.
    LEAVE = 2
    #: Those in front of the order have left: it is the new head.
    POP = 3
    #: All have left.
    EMPTY = 4
    #: Clears the level, whatever its entry, after a reset.
    WIPE = 5


def change_layout() -> data.StructLayout:
    """A level begins or ceases to hold orders."""
    return data.StructLayout({"valid": 1, "occupied": 1, "wipe": 1})


class Queues(wiring.Component):
    """Doubly linked queues of orders in order of arrival, one for each level of the pool.

    An act has three steps: in its first cycle ``place`` and ``handle`` are read, in its second ``act`` and
    ``side`` say what to do, ``ends`` and ``next`` tell what was read, in its fourth the memories are written.
    Pointers out of the queue (``prev`` of a head, ``next`` of a tail, ``ends`` of an empty level) are stale.
    Whose level it is, ``instrument``, is only told again.

    Latency: ``ends`` and ``next`` one cycle after ``place`` and ``handle``; ``change`` three after.
    Initiation interval: 1.
    Ordering: an act sees all acts before it; ``ends`` and ``next`` see those begun two or more cycles before.
    Reset: acts on their way are dropped; the memories stay: WIPE every level.
    Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        handle, level, instrument = handle_bits(geometry), level_bits(geometry), instrument_bits(geometry)
        super().__init__(
            {
                "place": In(level),
                "instrument": In(instrument),
                "handle": In(handle),
                "act": In(Act),
                "side": In(Side),
                "ends": Out(ends_layout(geometry)),
                "next": Out(handle),
                #: Level and side whose ``change`` comes in the next cycle.
                "changing": Out(level),
                "changing_side": Out(Side),
                "change": Out(change_layout()),
                #: A level ceases to hold orders, and no act on its way from its second step on changes that.
                "vacated": Out(1),
                "vacated_place": Out(level),
                "vacated_instrument": Out(instrument),
                "vacated_side": Out(Side),
                #: No act is between its second and its last step.
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        place, handle = level_bits(geometry), handle_bits(geometry)
        levels = ForwardedMemory(ends_layout(geometry), geometry.pool)
        nexts, prevs = ForwardedMemory(handle, geometry.orders), ForwardedMemory(handle, geometry.orders)
        m.submodules.levels, m.submodules.nexts, m.submodules.prevs = levels, nexts, prevs

        step = data.StructLayout(
            {
                "act": Act,
                "side": Side,
                "place": place,
                "instrument": instrument_bits(geometry),
                "handle": handle,
                "ends": ends_layout(geometry),
                "next": handle,
                "prev": handle,
            }
        )
        first_place = Signal(place)
        first_instrument = Signal.like(self.instrument)
        first_handle = Signal(handle)
        third = Signal(step)
        fourth = Signal(step)
        # The act in front, now in its fourth step, is at the same level; one in its fourth step is at the
        # level of that in its second.
        same_level = Signal()
        same_place = Signal()
        # The order of the act in its fourth step is the head, the tail of its queue.
        is_head = Signal()
        is_tail = Signal()

        m.d.sync += [
            first_place.eq(self.place),
            first_instrument.eq(self.instrument),
            first_handle.eq(self.handle),
        ]
        m.d.comb += [
            levels.read.eq(self.place),
            nexts.read.eq(self.handle),
            prevs.read.eq(self.handle),
            self.ends.eq(levels.data),
            self.next.eq(nexts.data),
        ]

        m.d.sync += [
            third.act.eq(self.act),
            third.side.eq(self.side),
            third.place.eq(first_place),
            third.instrument.eq(first_instrument),
            third.handle.eq(first_handle),
            third.ends.eq(levels.data),
            third.next.eq(nexts.data),
            third.prev.eq(prevs.data),
            same_level.eq((first_place == third.place) & (third.act != Act.NONE)),
            same_place.eq((self.place == third.place) & (third.act != Act.NONE)),
        ]

        # What the fourth step writes.
        # What the act in its fourth step is, from registers of their own.
        enters = Signal()
        leaves = Signal()
        pops = Signal()
        clears = Signal()
        acts = Signal()
        m.d.sync += [
            enters.eq(third.act == Act.ENTER),
            leaves.eq(third.act == Act.LEAVE),
            pops.eq(third.act == Act.POP),
            clears.eq((third.act == Act.EMPTY) | (third.act == Act.WIPE)),
            acts.eq(third.act != Act.NONE),
        ]
        ends = Signal(ends_layout(geometry))
        m.d.comb += [
            ends.eq(fourth.ends),
            nexts.write.eq((enters & fourth.ends.occupied) | (leaves & ~is_head)),
            nexts.address.eq(Mux(enters, fourth.ends.tail, fourth.prev)),
            nexts.same.eq(
                (enters & fourth.ends.occupied & (fourth.ends.tail == first_handle))
                | (leaves & ~is_head & (fourth.prev == first_handle))
            ),
            nexts.value.eq(Mux(enters, fourth.handle, fourth.next)),
            prevs.write.eq(enters | (leaves & ~is_tail)),
            prevs.address.eq(Mux(enters, fourth.handle, fourth.next)),
            prevs.same.eq(
                (enters & (fourth.handle == first_handle))
                | (leaves & ~is_tail & (fourth.next == first_handle))
            ),
            prevs.value.eq(Mux(enters, fourth.ends.tail, fourth.prev)),
            levels.write.eq(acts),
            levels.address.eq(fourth.place),
            levels.same.eq(same_place),
            levels.value.eq(ends),
        ]

        # Whether the order in the third step is head and tail once the fourth is done, from comparisons made
        # side by side.
        def is_third(other: Any) -> Signal:
            equal = Signal()
            m.d.comb += equal.eq(third.handle == other)
            return equal

        is_next, is_prev, is_order = is_third(fourth.next), is_third(fourth.prev), is_third(fourth.handle)
        is_old_head, is_old_tail = is_third(fourth.ends.head), is_third(fourth.ends.tail)
        is_new_head = Signal()
        is_new_tail = Signal()
        m.d.comb += [is_new_head.eq(is_old_head), is_new_tail.eq(is_old_tail)]
        with m.If(enters):
            m.d.comb += [ends.occupied.eq(1), ends.tail.eq(fourth.handle), is_new_tail.eq(is_order)]
            with m.If(~fourth.ends.occupied):
                m.d.comb += [ends.head.eq(fourth.handle), is_new_head.eq(is_order)]
        with m.Elif(leaves):
            m.d.comb += ends.occupied.eq(~(is_head & is_tail))
            with m.If(is_head):
                m.d.comb += [ends.head.eq(fourth.next), is_new_head.eq(is_next)]
            with m.If(is_tail):
                m.d.comb += [ends.tail.eq(fourth.prev), is_new_tail.eq(is_prev)]
        with m.Elif(pops):
            m.d.comb += [ends.head.eq(fourth.handle), is_new_head.eq(is_order)]
        with m.Elif(clears):
            m.d.comb += ends.occupied.eq(0)

        m.d.sync += [
            fourth.eq(third),
            is_head.eq(Mux(same_level, is_new_head, third.handle == third.ends.head)),
            is_tail.eq(Mux(same_level, is_new_tail, third.handle == third.ends.tail)),
        ]
        with m.If(same_level):
            m.d.sync += fourth.ends.eq(ends)
        with m.If(nexts.write & Mux(enters, is_old_tail, is_prev)):
            m.d.sync += fourth.next.eq(nexts.value)
        with m.If(prevs.write & Mux(enters, is_order, is_next)):
            m.d.sync += fourth.prev.eq(prevs.value)

        m.d.comb += [
            self.changing.eq(third.place),
            self.changing_side.eq(third.side),
            self.change.valid.eq((enters & ~fourth.ends.occupied) | (leaves & is_head & is_tail) | clears),
            self.change.occupied.eq(enters),
            self.change.wipe.eq(fourth.act == Act.WIPE),
            self.vacated_place.eq(fourth.place),
            self.vacated_instrument.eq(fourth.instrument),
            self.vacated_side.eq(fourth.side),
            self.vacated.eq(
                ((leaves & is_head & is_tail) | (fourth.act == Act.EMPTY))
                & ~(same_level & (third.act == Act.ENTER))
                & ~((self.act == Act.ENTER) & (first_place == fourth.place))
            ),
            self.quiet.eq((third.act == Act.NONE) & ~acts),
        ]
        return m
