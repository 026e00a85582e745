"""The best levels of each instrument, as well as they are known."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry, Side

from .bounds import Bounds, Shared, Vacancy
from .front_search import Search
from .layouts import best_layout, front_layout, handle_bits, instrument_bits, level_bits


class Fronts(wiring.Component):
    """Bounds of the best level and the one behind it, of both sides of each instrument.

    A bound is never worse than the truth: an order that does not cross it crosses nothing. It may be better,
    when a level has emptied; then the level at the bound holds no orders. When the best level empties, the
    one behind takes its place. When nothing is known of the level behind, it is searched for, while the
    levels that orders enter meanwhile are kept in mind.

    An order takes two steps. In the first its level is compared with the bounds that were read for it, and
    with those that the order before it may make of its own; in the second it is known whether it ``crosses``,
    and it enters or leaves. What a search finds, or a vacated level tells, the orders in their steps need not
    know: the bounds that they know are not worse than the truth.

    Latency: two steps.
    Initiation interval: 1.
    Ordering: a ``vacated`` level waits for cycles without another write to its side, and is forgotten if an
    order arrives at it or another level empties; the bound stays too good.
    Reset: the bounds stay; ``write`` each.
    Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        front, instrument, level = front_layout(geometry), instrument_bits(geometry), level_bits(geometry)
        handle = handle_bits(geometry)
        super().__init__(
            {
                #: The orders in their steps go on; the one in its second takes effect, and perhaps stays.
                "step": In(1),
                "go": In(1),
                #: Instrument of the order that comes to its first step.
                "coming": In(instrument),
                # The order in its first step.
                "first_place": In(level),
                "first_instrument": In(instrument),
                "first_handle": In(handle),
                # The order in its second step: it rests unless it crosses, or leaves, if it is ``accepted``.
                "place": In(level),
                "instrument": In(instrument),
                "side": In(Side),
                "handle": In(handle),
                "arriving": In(1),
                "leaving": In(1),
                "accepted": In(1),
                "crosses": Out(1),
                #: Bounds of the other side, and of its own once it has entered.
                "facing": Out(front),
                "entered": Out(front),
                #: A level holds no orders any more.
                "vacated": In(1),
                "vacated_place": In(level),
                "vacated_instrument": In(instrument),
                "vacated_side": In(Side),
                # What is known better.
                "write_instrument": In(instrument),
                "write": In(2),
                "value": In(front),
                #: The pipeline waits: no search, and no change of bounds on account of one. What is written
                #: meanwhile counts for the orders in their steps two cycles later.
                "hold": In(1),
                "seek": Out(1),
                "seek_place": Out(level),
                "seek_instrument": Out(instrument),
                "seek_side": Out(Side),
                "seek_ready": In(1),
                "found": In(best_layout(geometry)),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        vacancy, both = Vacancy(self), Shared()
        self._look_at(m, vacancy)
        search = Search(m, self)
        search.run()
        self._watch(m, both, search)
        for side in Side:
            m.submodules[side.name.lower()] = memory = Memory(
                shape=front_layout(self.geometry),
                depth=max(2, self.geometry.instruments),
                init=[],
                # Registers would need wide multiplexers.
                attrs={"ram_style": "distributed"} if self.geometry.instruments > 2 else {},
            )
            bounds = Bounds(m, self, side, memory, both, vacancy, search)
            bounds.read()
            bounds.know()
            bounds.decide()
            bounds.enter()
            bounds.change()
            bounds.compare_first()
            bounds.keep()
        self._vacate(m, vacancy)
        return m

    def _look_at(self, m: Module, vacancy: Vacancy) -> None:
        """What a vacated level means."""
        m.d.sync += [
            vacancy.vacant_read.eq(vacancy.vacant),
            vacancy.vacant_known.eq(vacancy.vacant_read),
            vacancy.left_behind.eq(vacancy.left.behind),
            vacancy.vacates.eq(
                vacancy.left.best.found
                & (vacancy.left.best.level == vacancy.vacant_place)
                & (vacancy.left.best != vacancy.left.behind)
                & ~vacancy.left.partial
            ),
        ]
        at_vacated, at_vacant = Signal(), Signal()
        m.d.comb += [
            at_vacated.eq(self.place == self.vacated_place),
            at_vacant.eq(self.place == vacancy.vacant_place),
        ]
        m.d.sync += vacancy.taken.eq(self.arriving & self.go & Mux(self.vacated, at_vacated, at_vacant))

    def _watch(self, m: Module, both: Shared, search: Search) -> None:
        """Which writes the search does not see yet, and what the orders in their steps have in common."""
        wrote = Signal(2)
        wrote_before = Signal(2)
        m.d.sync += [
            wrote.eq(both.writes),
            wrote_before.eq(wrote),
            search.quiet.eq(~both.writes & ~wrote),
            search.still.eq(~both.writes & ~wrote & ~wrote_before),
        ]
        m.d.comb += [
            self.crosses.eq(Mux(self.side == Side.BUY, ~both.beats[Side.SELL], ~both.beats[Side.BUY])),
            both.same_instrument.eq(self.first_instrument == self.instrument),
        ]

    def _vacate(self, m: Module, vacancy: Vacancy) -> None:
        """A level that has emptied; it is of no interest if an order has arrived there."""
        with m.If(vacancy.taken):
            m.d.sync += vacancy.vacant.eq(0)
        with m.If(self.vacated):
            m.d.sync += [
                vacancy.vacant.eq(1),
                vacancy.vacant_read.eq(0),
                vacancy.vacant_known.eq(0),
                vacancy.vacant_place.eq(self.vacated_place),
                vacancy.vacant_instrument.eq(self.vacated_instrument),
                vacancy.vacant_side.eq(self.vacated_side),
            ]
