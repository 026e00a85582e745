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
        steps = _Steps(m, self)
        _read(steps)
        _take(steps)
        _know_act(steps)
        _write(steps)
        steps.compare()
        _change_ends(steps)
        _go_on(steps)
        _tell(steps)
        return m


class _Steps:
    """The acts in their steps."""

    def __init__(self, m: Module, io: Queues) -> None:
        self.m, self.io = m, io
        geometry = io.geometry
        place, handle = level_bits(geometry), handle_bits(geometry)
        m.submodules.levels = self.levels = ForwardedMemory(ends_layout(geometry), geometry.pool)
        m.submodules.nexts = self.nexts = ForwardedMemory(handle, geometry.orders)
        m.submodules.prevs = self.prevs = ForwardedMemory(handle, geometry.orders)
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
        #: Of the act in its second step.
        self.first_place = Signal(place)
        self.first_instrument = Signal.like(io.instrument)
        self.first_handle = Signal(handle)
        self.third = Signal(step)
        self.fourth = Signal(step)
        #: The act in front, now in its fourth step, is at the same level.
        self.same_level = Signal()
        #: One in its fourth step is at the level of that in its second.
        self.same_place = Signal()
        #: The order of the act in its fourth step is the head, the tail of its queue.
        self.is_head = Signal()
        self.is_tail = Signal()
        #: What the act in its fourth step is, from registers of their own.
        self.enters = Signal()
        self.leaves = Signal()
        self.pops = Signal()
        self.clears = Signal()
        self.acts = Signal()
        #: What that makes of the level's ends; the order in the third step is then head, tail.
        self.ends = Signal(ends_layout(geometry))
        self.is_new_head = Signal()
        self.is_new_tail = Signal()

    def compare(self) -> None:
        """Compare the order in the third step, side by side, with those of the fourth."""
        fourth = self.fourth
        self.is_next = self._is_third(fourth.next)
        self.is_prev = self._is_third(fourth.prev)
        self.is_order = self._is_third(fourth.handle)
        self.is_old_head = self._is_third(fourth.ends.head)
        self.is_old_tail = self._is_third(fourth.ends.tail)

    def _is_third(self, other: Any) -> Signal:
        equal = Signal()
        self.m.d.comb += equal.eq(self.third.handle == other)
        return equal


def _read(s: _Steps) -> None:
    """The first step."""
    m, io = s.m, s.io
    m.d.sync += [
        s.first_place.eq(io.place),
        s.first_instrument.eq(io.instrument),
        s.first_handle.eq(io.handle),
    ]
    m.d.comb += [
        s.levels.read.eq(io.place),
        s.nexts.read.eq(io.handle),
        s.prevs.read.eq(io.handle),
        io.ends.eq(s.levels.data),
        io.next.eq(s.nexts.data),
    ]


def _take(s: _Steps) -> None:
    """The second step."""
    m, io = s.m, s.io
    m.d.sync += [
        s.third.act.eq(io.act),
        s.third.side.eq(io.side),
        s.third.place.eq(s.first_place),
        s.third.instrument.eq(s.first_instrument),
        s.third.handle.eq(s.first_handle),
        s.third.ends.eq(s.levels.data),
        s.third.next.eq(s.nexts.data),
        s.third.prev.eq(s.prevs.data),
        s.same_level.eq((s.first_place == s.third.place) & (s.third.act != Act.NONE)),
        s.same_place.eq((io.place == s.third.place) & (s.third.act != Act.NONE)),
    ]


def _know_act(s: _Steps) -> None:
    """What the act is that comes to its fourth step."""
    m = s.m
    m.d.sync += [
        s.enters.eq(s.third.act == Act.ENTER),
        s.leaves.eq(s.third.act == Act.LEAVE),
        s.pops.eq(s.third.act == Act.POP),
        s.clears.eq((s.third.act == Act.EMPTY) | (s.third.act == Act.WIPE)),
        s.acts.eq(s.third.act != Act.NONE),
    ]


def _write(s: _Steps) -> None:
    """What the fourth step writes."""
    m = s.m
    m.d.comb += [
        s.ends.eq(s.fourth.ends),
        s.nexts.write.eq((s.enters & s.fourth.ends.occupied) | (s.leaves & ~s.is_head)),
        s.nexts.address.eq(Mux(s.enters, s.fourth.ends.tail, s.fourth.prev)),
        s.nexts.same.eq(
            (s.enters & s.fourth.ends.occupied & (s.fourth.ends.tail == s.first_handle))
            | (s.leaves & ~s.is_head & (s.fourth.prev == s.first_handle))
        ),
        s.nexts.value.eq(Mux(s.enters, s.fourth.handle, s.fourth.next)),
        s.prevs.write.eq(s.enters | (s.leaves & ~s.is_tail)),
        s.prevs.address.eq(Mux(s.enters, s.fourth.handle, s.fourth.next)),
        s.prevs.same.eq(
            (s.enters & (s.fourth.handle == s.first_handle))
            | (s.leaves & ~s.is_tail & (s.fourth.next == s.first_handle))
        ),
        s.prevs.value.eq(Mux(s.enters, s.fourth.ends.tail, s.fourth.prev)),
        s.levels.write.eq(s.acts),
        s.levels.address.eq(s.fourth.place),
        s.levels.same.eq(s.same_place),
        s.levels.value.eq(s.ends),
    ]


def _change_ends(s: _Steps) -> None:
    """Whether the order in the third step is head and tail once the fourth is done."""
    m = s.m
    m.d.comb += [s.is_new_head.eq(s.is_old_head), s.is_new_tail.eq(s.is_old_tail)]
    with m.If(s.enters):
        m.d.comb += [s.ends.occupied.eq(1), s.ends.tail.eq(s.fourth.handle), s.is_new_tail.eq(s.is_order)]
        with m.If(~s.fourth.ends.occupied):
            m.d.comb += [s.ends.head.eq(s.fourth.handle), s.is_new_head.eq(s.is_order)]
    with m.Elif(s.leaves):
        m.d.comb += s.ends.occupied.eq(~(s.is_head & s.is_tail))
        with m.If(s.is_head):
            m.d.comb += [s.ends.head.eq(s.fourth.next), s.is_new_head.eq(s.is_next)]
        with m.If(s.is_tail):
            m.d.comb += [s.ends.tail.eq(s.fourth.prev), s.is_new_tail.eq(s.is_prev)]
    with m.Elif(s.pops):
        m.d.comb += [s.ends.head.eq(s.fourth.handle), s.is_new_head.eq(s.is_order)]
    with m.Elif(s.clears):
        m.d.comb += s.ends.occupied.eq(0)


def _go_on(s: _Steps) -> None:
    """The third step becomes the fourth, which sees what the one before it writes."""
    m = s.m
    m.d.sync += [
        s.fourth.eq(s.third),
        s.is_head.eq(Mux(s.same_level, s.is_new_head, s.third.handle == s.third.ends.head)),
        s.is_tail.eq(Mux(s.same_level, s.is_new_tail, s.third.handle == s.third.ends.tail)),
    ]
    with m.If(s.same_level):
        m.d.sync += s.fourth.ends.eq(s.ends)
    with m.If(s.nexts.write & Mux(s.enters, s.is_old_tail, s.is_prev)):
        m.d.sync += s.fourth.next.eq(s.nexts.value)
    with m.If(s.prevs.write & Mux(s.enters, s.is_order, s.is_next)):
        m.d.sync += s.fourth.prev.eq(s.prevs.value)


def _tell(s: _Steps) -> None:
    """What the bitmap and the bounds hear."""
    m, io = s.m, s.io
    m.d.comb += [
        io.changing.eq(s.third.place),
        io.changing_side.eq(s.third.side),
        io.change.valid.eq(
            (s.enters & ~s.fourth.ends.occupied) | (s.leaves & s.is_head & s.is_tail) | s.clears
        ),
        io.change.occupied.eq(s.enters),
        io.change.wipe.eq(s.fourth.act == Act.WIPE),
        io.vacated_place.eq(s.fourth.place),
        io.vacated_instrument.eq(s.fourth.instrument),
        io.vacated_side.eq(s.fourth.side),
        io.vacated.eq(
            ((s.leaves & s.is_head & s.is_tail) | (s.fourth.act == Act.EMPTY))
            & ~(s.same_level & (s.third.act == Act.ENTER))
            & ~((io.act == Act.ENTER) & (s.first_place == s.fourth.place))
        ),
        io.quiet.eq((s.third.act == Act.NONE) & ~s.acts),
    ]
