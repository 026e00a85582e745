"""The best levels of each instrument, as well as they are known."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry, Side

from .layouts import best_layout, front_layout, handle_bits, instrument_bits, place_layout


#: Cycles in which an order that has entered comes to be seen by a search.
SETTLE = 8


class Fronts(wiring.Component):
    """Bounds of the best level and the one behind it, of both sides of each instrument.

    A bound is never worse than the truth: an order that does not cross it crosses nothing. It may be better,
    when a level has emptied; then the level at the bound holds no orders. When the best level empties, the one
    behind takes its place.

    When nothing is known of the level behind, it is searched for, while the levels that orders enter meanwhile
    are kept in mind.

    Latency: none, combinational; an order that ``enters`` counts from the next cycle on.
    Initiation interval: 1.
    Ordering: a ``vacated`` level waits for a cycle without an ``arriving`` order of its side, and is forgotten
    if an order arrives at it or another level empties; the bound stays too good.
    Reset: the bounds stay; ``write`` each.
    Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        front, instrument = front_layout(geometry), instrument_bits(geometry)
        super().__init__(
            {
                #: An order that comes to rest if it ``enters``, or leaves if it ``leaves``.
                "place": In(place_layout(geometry)),
                "side": In(Side),
                "arriving": In(1),
                "enters": In(1),
                "leaving": In(1),
                "leaves": In(1),
                "handle": In(handle_bits(geometry)),
                "crosses": Out(1),
                #: Bounds of the other side.
                "facing": Out(front),
                #: Bounds of the order's own side, once it has entered, and whether they change.
                "entered": Out(front),
                "changes": Out(1),
                #: A level holds no orders any more.
                "vacated": In(1),
                "vacated_place": In(place_layout(geometry)),
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
                "seek_place": Out(place_layout(geometry)),
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
        vacant, vacant_place, vacant_side = (
            Signal(),
            Signal.like(self.vacated_place),
            Signal(Side),
        )

        # The search: of which side and instrument, and that it wants to write there.
        wanted = Signal(2)
        wanted_instrument = [Signal.like(self.instrument, name=f"wanted{side}") for side in Side]
        seeker_side, seeker_instrument = Signal(Side), Signal.like(self.instrument)
        seen, learnt = Signal(front), Signal(front)
        learns, learning = Signal(), Signal()

        def want(side: Side, instrument: Any) -> None:
            m.d.sync += [wanted[side].eq(1), wanted_instrument[side].eq(instrument)]

        # What enters the bitmap from now on is kept in mind; what is on its way gets there in this time.
        wait = Signal(range(SETTLE + 1))
        m.d.comb += [
            self.seek_side.eq(seeker_side),
            self.seek_place.level.eq(seen.best.level),
            self.seek_place.instrument.eq(seeker_instrument),
            learnt.best.eq(seen.best),
        ]
        with m.FSM(name="search"):
            with m.State("IDLE"):
                m.d.sync += [
                    seeker_side.eq(Mux(wanted[Side.BUY], Side.BUY, Side.SELL)),
                    seeker_instrument.eq(Mux(wanted[Side.BUY], *wanted_instrument)),
                    wait.eq(SETTLE),
                ]
                with m.If(wanted.any()):
                    m.d.sync += wanted.eq(wanted & (wanted - 1))
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += learnt.partial.eq(1)
                with m.If(~seen.best.found | seen.partial | (seen.best != seen.behind)):
                    m.next = "IDLE"
                with m.Elif(~self.hold):
                    m.d.comb += learns.eq(1)
                    with m.If(learning):
                        m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "SEEK"
            with m.State("SEEK"):
                with m.If(~seen.partial):
                    m.next = "IDLE"
                with m.Elif(~self.hold):
                    m.d.comb += self.seek.eq(1)
                    m.next = "SEEKING"
            with m.State("SEEKING"):
                with m.If(~seen.partial):
                    m.next = "IDLE"
                with m.Elif(self.hold):
                    m.next = "SEEK"
                with m.Elif(self.seek_ready):
                    m.next = "LEARN"
            with m.State("LEARN"):
                nearer = Mux(
                    seeker_side == Side.BUY,
                    self.found.level > seen.behind.level,
                    self.found.level < seen.behind.level,
                )
                m.d.comb += learnt.behind.eq(
                    Mux(self.found.found & (~seen.behind.found | nearer), self.found, seen.behind)
                )
                with m.If(~seen.partial):
                    m.next = "IDLE"
                with m.Elif(self.hold):
                    m.next = "SEEK"
                with m.Else():
                    m.d.comb += learns.eq(1)
                    with m.If(learning):
                        m.next = "IDLE"

        own, restored, beyond = Signal(front), Signal(front), []
        beats_best, beats_behind, empties = Signal(), Signal(), Signal()
        for side, port in ((Side.BUY, self.bid), (Side.SELL, self.ask)):
            name = side.name.lower()
            m.submodules[name] = memory = Memory(shape=front, depth=max(2, geometry.instruments), init=[])
            write = memory.write_port()
            here, there, left, watch = (memory.read_port(domain="comb") for _ in range(4))
            better = (lambda a, b: a > b) if side == Side.BUY else (lambda a, b: a < b)
            beats = Signal(name=f"beats_{name}")
            mine = self.side == side
            m.d.comb += [
                here.addr.eq(self.place.instrument),
                there.addr.eq(self.instrument),
                port.eq(there.data),
                left.addr.eq(vacant_place.instrument),
                watch.addr.eq(seeker_instrument),
                beats.eq(~here.data.best.found | better(level, here.data.best.level)),
            ]
            beyond.append(beats)
            with m.If(mine):
                m.d.comb += [
                    own.eq(here.data),
                    beats_behind.eq(~here.data.behind.found | better(level, here.data.behind.level)),
                ]
            with m.Else():
                m.d.comb += self.facing.eq(here.data)
            busy = mine & (self.arriving | self.leaving)
            with m.If(seeker_side == side):
                m.d.comb += seen.eq(watch.data)
            with m.If(self.write[side]):
                m.d.comb += [write.en.eq(1), write.addr.eq(self.instrument), write.data.eq(self.value)]
                want(side, self.instrument)
            with m.Elif(busy):
                m.d.comb += [
                    write.en.eq(Mux(self.leaving, self.leaves & empties, self.enters & self.changes)),
                    write.addr.eq(self.place.instrument),
                    write.data.eq(Mux(self.leaving, restored.as_value(), self.entered.as_value())),
                ]
                with m.If(self.leaving & self.leaves & empties):
                    want(side, self.place.instrument)
            with m.Elif(vacant & (vacant_side == side)):
                m.d.sync += vacant.eq(0)
                with m.If(
                    left.data.best.found
                    & (left.data.best.level == vacant_place.level)
                    & (left.data.best != left.data.behind)
                    & ~left.data.partial
                ):
                    m.d.comb += [
                        write.en.eq(1),
                        write.addr.eq(vacant_place.instrument),
                        write.data.best.eq(left.data.behind),
                        write.data.behind.eq(left.data.behind),
                    ]
                    want(side, vacant_place.instrument)
            with m.Elif(learns & (seeker_side == side)):
                m.d.comb += [
                    write.en.eq(1),
                    write.addr.eq(seeker_instrument),
                    write.data.eq(learnt),
                    learning.eq(1),
                ]

        # Beating the best of the own side and not reaching that of the other are the same comparisons.
        beats_bid, beats_ask = beyond
        at_best = level == own.best.level
        m.d.comb += [
            beats_best.eq(Mux(self.side == Side.BUY, beats_bid, beats_ask)),
            self.crosses.eq(Mux(self.side == Side.BUY, ~beats_ask, ~beats_bid)),
            self.changes.eq(beats_best | beats_behind | at_best),
            empties.eq(own.alone & (own.handle == self.handle)),
            restored.best.eq(own.behind),
            restored.behind.eq(own.behind),
            self.entered.eq(own),
        ]
        with m.If(beats_best):
            m.d.comb += [
                self.entered.best.found.eq(1),
                self.entered.best.level.eq(level),
                self.entered.behind.eq(own.best),
                self.entered.partial.eq(0),
                self.entered.alone.eq(1),
                self.entered.handle.eq(self.handle),
            ]
        with m.Elif(at_best):
            m.d.comb += self.entered.alone.eq(0)
        with m.Elif(beats_behind):
            m.d.comb += [self.entered.behind.found.eq(1), self.entered.behind.level.eq(level)]

        with m.If(self.arriving & (self.place == vacant_place)):
            m.d.sync += vacant.eq(0)
        with m.If(self.vacated):
            m.d.sync += [
                vacant.eq(1),
                vacant_place.eq(self.vacated_place),
                vacant_side.eq(self.vacated_side),
            ]
        return m
