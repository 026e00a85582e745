"""The best levels of each instrument, as well as they are known."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry, Side

from .layouts import best_layout, front_layout, handle_bits, instrument_bits, place_layout

#: Cycles in which an order that has entered comes to be seen by a search.
SETTLE = 8


def better(side: Side, a: Value, b: Value) -> Value:
    """Whether level ``a`` is nearer to a trade than ``b``, for orders of ``side``."""
    return a > b if side == Side.BUY else a < b


class Fronts(wiring.Component):
    """Bounds of the best level and the one behind it, of both sides of each instrument.

    A bound is never worse than the truth: an order that does not cross it crosses nothing. It may be better,
    when a level has emptied; then the level at the bound holds no orders. When the best level empties, the one
    behind takes its place. When nothing is known of the level behind, it is searched for, while the levels
    that orders enter meanwhile are kept in mind.

    Latency: the bounds that an order meets are fetched when it takes a ``step``; an order that ``enters`` or
    leaves counts for the next one.
    Initiation interval: 1.
    Ordering: a ``vacated`` level waits for cycles without another write to its side, and is forgotten if an
    order arrives at it or another level empties; the bound stays too good.
    Reset: the bounds stay; ``write`` each.
    Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        front, instrument, place = front_layout(geometry), instrument_bits(geometry), place_layout(geometry)
        super().__init__(
            {
                #: Instrument of the order that comes when ``step`` is high.
                "coming": In(instrument),
                "step": In(1),
                # An order that comes to rest if it ``enters``, or leaves if it is ``accepted``.
                "place": In(place),
                "side": In(Side),
                "handle": In(handle_bits(geometry)),
                "arriving": In(1),
                "leaving": In(1),
                "accepted": In(1),
                "crosses": Out(1),
                #: Bounds of the other side, and of its own once it has entered.
                "facing": Out(front),
                "entered": Out(front),
                #: A level holds no orders any more.
                "vacated": In(1),
                "vacated_place": In(place),
                "vacated_side": In(Side),
                # What is known better.
                "instrument": In(instrument),
                "write": In(2),
                "value": In(front),
                "bid": Out(front),
                "ask": Out(front),
                #: The pipeline waits: no search, and no change of bounds on account of one.
                "hold": In(1),
                "seek": Out(1),
                "seek_place": Out(place),
                "seek_side": Out(Side),
                "seek_ready": In(1),
                "found": In(best_layout(geometry)),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        front = front_layout(geometry)
        level = self.place.level
        sides = (Side.BUY, Side.SELL)

        # A vacated level, and what was read of its side a cycle ago.
        vacant, vacant_known, vacant_read = Signal(), Signal(), Signal()
        vacant_place, vacant_side = Signal.like(self.vacated_place), Signal(Side)
        left, vacates = Signal(front), Signal()
        # The search: of which side and instrument, what was read there a cycle ago, and what it writes.
        wanted = Signal(2)
        wanted_instrument = [Signal.like(self.instrument, name=f"wanted{side}") for side in sides]
        seeker_side, seeker_instrument = Signal(Side), Signal.like(self.instrument)
        seen, learnt = Signal(front), Signal(front)
        learns, learning = Signal(), Signal()
        # The side that was read a cycle ago has not changed since.
        quiet = Signal(2)

        self._search(
            m,
            wanted,
            wanted_instrument,
            seeker_side,
            seeker_instrument,
            seen,
            learnt,
            learns,
            learning,
            quiet,
        )

        def want(side: Side, instrument: Any) -> None:
            m.d.sync += [wanted[side].eq(1), wanted_instrument[side].eq(instrument)]

        instrument = Signal.like(self.instrument)
        with m.If(self.step):
            m.d.sync += instrument.eq(self.coming)

        enters = Signal()
        here = [Signal(front, name=f"here_{side.name.lower()}") for side in sides]
        writes = Signal(2)
        beats = [Signal(name=f"beats_{side.name.lower()}") for side in sides]
        m.d.comb += [
            self.crosses.eq(Mux(self.side == Side.BUY, ~beats[Side.SELL], ~beats[Side.BUY])),
            enters.eq(self.arriving & self.accepted & ~self.crosses),
            vacates.eq(
                left.best.found
                & (left.best.level == vacant_place.level)
                & (left.best != left.behind)
                & ~left.partial
            ),
        ]
        m.d.sync += [vacant_read.eq(vacant), vacant_known.eq(vacant_read)]
        for side, port in zip(sides, (self.bid, self.ask), strict=True):
            own = here[side]
            m.submodules[side.name.lower()] = memory = Memory(
                shape=front, depth=max(2, geometry.instruments), init=[]
            )
            write = memory.write_port()
            come, there, emptied, watched = (memory.read_port(domain="comb") for _ in range(4))
            m.d.comb += [
                come.addr.eq(self.coming),
                there.addr.eq(self.instrument),
                emptied.addr.eq(vacant_place.instrument),
                watched.addr.eq(seeker_instrument),
                port.eq(there.data),
                writes[side].eq(write.en),
            ]
            with m.If(vacant_side == side):
                m.d.sync += left.eq(emptied.data)
            with m.If(seeker_side == side):
                m.d.sync += seen.eq(watched.data)

            # Beating the best of the own side and not reaching that of the other are the same comparison.
            beats_behind = ~own.behind.found | better(side, level, own.behind.level)
            m.d.comb += beats[side].eq(~own.best.found | better(side, level, own.best.level))
            entered = Signal(front, name=f"entered_{side.name.lower()}")
            m.d.comb += entered.eq(own)
            with m.If(beats[side]):
                m.d.comb += [
                    entered.best.found.eq(1),
                    entered.best.level.eq(level),
                    entered.behind.eq(own.best),
                    entered.partial.eq(0),
                    entered.alone.eq(1),
                    entered.handle.eq(self.handle),
                ]
            with m.Elif(level == own.best.level):
                m.d.comb += entered.alone.eq(0)
            with m.Elif(beats_behind):
                m.d.comb += [entered.behind.found.eq(1), entered.behind.level.eq(level)]
            mine = self.side == side
            with m.If(mine):
                m.d.comb += self.entered.eq(entered)
            with m.Else():
                m.d.comb += self.facing.eq(own)

            with m.If(self.write[side]):
                m.d.comb += [write.en.eq(1), write.addr.eq(self.instrument), write.data.eq(self.value)]
                want(side, self.instrument)
            with m.Elif(mine & self.leaving):
                m.d.comb += [
                    write.en.eq(self.accepted & own.alone & (own.handle == self.handle)),
                    write.addr.eq(instrument),
                    write.data.best.eq(own.behind),
                    write.data.behind.eq(own.behind),
                ]
                want(side, instrument)
            with m.Elif(mine & self.arriving):
                m.d.comb += [write.en.eq(enters), write.addr.eq(instrument), write.data.eq(entered)]
            with m.Elif(vacant & vacant_known & (vacant_side == side)), m.If(quiet[side]):
                m.d.sync += vacant.eq(0)
                m.d.comb += [
                    write.en.eq(vacates),
                    write.addr.eq(vacant_place.instrument),
                    write.data.best.eq(left.behind),
                    write.data.behind.eq(left.behind),
                ]
                want(side, vacant_place.instrument)
            with m.Elif(learns & quiet[side] & (seeker_side == side)):
                m.d.comb += [
                    write.en.eq(1),
                    write.addr.eq(seeker_instrument),
                    write.data.eq(learnt),
                    learning.eq(1),
                ]

            with m.If(self.step):
                m.d.sync += own.eq(come.data)
            with m.If(write.en & (write.addr == Mux(self.step, self.coming, instrument))):
                m.d.sync += own.eq(write.data)

        m.d.sync += quiet.eq(~writes)
        with m.If(self.arriving & (self.place == vacant_place)):
            m.d.sync += vacant.eq(0)
        with m.If(self.vacated):
            m.d.sync += [
                vacant.eq(1),
                vacant_read.eq(0),
                vacant_known.eq(0),
                vacant_place.eq(self.vacated_place),
                vacant_side.eq(self.vacated_side),
            ]
        return m

    def _search(
        self,
        m: Module,
        wanted: Signal,
        wanted_instrument: list[Signal],
        side: Signal,
        instrument: Signal,
        seen: data.View,
        learnt: data.View,
        learns: Signal,
        learning: Signal,
        quiet: Signal,
    ) -> None:
        """Find out what is behind a best level of which nothing is known but that."""
        wait = Signal(range(SETTLE + 1))
        fresh, nearer = Signal(), Signal()
        m.d.comb += [
            self.seek_side.eq(side),
            self.seek_place.level.eq(seen.best.level),
            self.seek_place.instrument.eq(instrument),
            learnt.best.eq(seen.best),
            fresh.eq(Mux(side == Side.BUY, quiet[Side.BUY], quiet[Side.SELL])),
            nearer.eq(
                Mux(
                    side == Side.BUY,
                    better(Side.BUY, self.found.level, seen.behind.level),
                    better(Side.SELL, self.found.level, seen.behind.level),
                )
            ),
        ]
        with m.FSM(name="search"):
            with m.State("IDLE"):
                m.d.sync += [
                    side.eq(Mux(wanted[Side.BUY], Side.BUY, Side.SELL)),
                    instrument.eq(Mux(wanted[Side.BUY], *wanted_instrument)),
                    wait.eq(SETTLE),
                ]
                with m.If(wanted.any()):
                    m.d.sync += wanted.eq(wanted & (wanted - 1))
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "BEGIN"
            with m.State("BEGIN"):
                # What enters the bitmap from now on is kept in mind; what is on its way gets there meanwhile.
                m.d.comb += learnt.partial.eq(1)
                unknown = seen.best.found & ~seen.partial & (seen.best == seen.behind)
                m.d.comb += learns.eq(~self.hold & unknown)
                with m.If(learning):
                    m.next = "SETTLE"
                with m.Elif(fresh & ~unknown):
                    m.next = "IDLE"
            with m.State("SETTLE"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "SEEK"
            with m.State("SEEK"), m.If(fresh):
                with m.If(~seen.partial):
                    m.next = "IDLE"
                with m.Elif(~self.hold):
                    m.d.comb += self.seek.eq(1)
                    m.next = "SEEKING"
            with m.State("SEEKING"):
                with m.If(self.hold):
                    m.next = "SEEK"
                with m.Elif(self.seek_ready):
                    m.next = "LEARN"
            with m.State("LEARN"):
                m.d.comb += learnt.behind.eq(
                    Mux(self.found.found & (~seen.behind.found | nearer), self.found, seen.behind)
                )
                with m.If(self.hold):
                    m.next = "SEEK"
                with m.Elif(fresh & ~seen.partial):
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += learns.eq(seen.partial)
                    with m.If(learning):
                        m.next = "IDLE"
