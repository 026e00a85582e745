"""The best levels of each instrument, as well as they are known."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry, Side

from .layouts import front_layout, instrument_bits, place_layout


class Fronts(wiring.Component):
    """Bounds of the best level and the one behind it, of both sides of each instrument.

    A bound is never worse than the truth: an order that does not cross it crosses nothing. It may be better,
    when a level has emptied; then the level at the bound holds no orders. When the best level empties, the one
    behind takes its place.

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
                #: An order that comes to rest if it ``enters``.
                "place": In(place_layout(geometry)),
                "side": In(Side),
                "arriving": In(1),
                "enters": In(1),
                "crosses": Out(1),
                #: Bounds of the other side.
                "facing": Out(front),
                #: Bounds of the order's own side, once it has entered, and whether they are new.
                "entered": Out(front),
                "improves": Out(1),
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

        own, beyond = Signal(front), []
        for side, port in ((Side.BUY, self.bid), (Side.SELL, self.ask)):
            name = side.name.lower()
            m.submodules[name] = memory = Memory(shape=front, depth=max(2, geometry.instruments), init=[])
            write = memory.write_port()
            here, there, left = (memory.read_port(domain="comb") for _ in range(3))
            better = (lambda a, b: a > b) if side == Side.BUY else (lambda a, b: a < b)
            beats = Signal(name=f"beats_{name}")
            mine = self.side == side
            m.d.comb += [
                here.addr.eq(self.place.instrument),
                there.addr.eq(self.instrument),
                port.eq(there.data),
                left.addr.eq(vacant_place.instrument),
                beats.eq(~here.data.best.found | better(level, here.data.best.level)),
            ]
            beyond.append(beats)
            with m.If(mine):
                next_best = ~here.data.behind.found | better(level, here.data.behind.level)
                m.d.comb += [
                    own.eq(here.data),
                    self.improves.eq(beats | (next_best & (level != here.data.best.level))),
                ]
            with m.Else():
                m.d.comb += self.facing.eq(here.data)
            busy = mine & self.arriving
            with m.If(self.write[side]):
                m.d.comb += [write.en.eq(1), write.addr.eq(self.instrument), write.data.eq(self.value)]
            with m.Elif(busy):
                m.d.comb += [
                    write.en.eq(self.enters & self.improves),
                    write.addr.eq(self.place.instrument),
                    write.data.eq(self.entered),
                ]
            with m.Elif(vacant_side == side):
                m.d.comb += [
                    write.en.eq(vacant & left.data.best.found & (left.data.best.level == vacant_place.level)),
                    write.addr.eq(vacant_place.instrument),
                    write.data.best.eq(left.data.behind),
                    write.data.behind.eq(left.data.behind),
                ]
                m.d.sync += vacant.eq(0)

        # Beating the best of the own side and not reaching that of the other are the same comparisons.
        beats_bid, beats_ask = beyond
        beats = Mux(self.side == Side.BUY, beats_bid, beats_ask)
        m.d.comb += [
            self.crosses.eq(Mux(self.side == Side.BUY, ~beats_ask, ~beats_bid)),
            self.entered.eq(own),
        ]
        with m.If(beats):
            m.d.comb += [
                self.entered.behind.eq(own.best),
                self.entered.best.found.eq(1),
                self.entered.best.level.eq(level),
            ]
        with m.Elif(self.improves):
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
