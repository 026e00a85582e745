"""Finds out what is behind a best level of which nothing is known but that."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from hawse.wire import Geometry, Side

from ..compare import less
from .layouts import front_layout, instrument_bits

#: Steps and cycles in which an order that knows older bounds enters and comes to be seen by a search.
SETTLE = 11


class Search:
    """A search for the level behind the best one, and what it and the bounds tell each other.

    Args:
        m: of the fronts.
        io: the fronts, whose ports are used.
    """

    def __init__(self, m: Module, io: Any) -> None:
        self.m, self.io = m, io
        geometry: Geometry = io.geometry
        front = front_layout(geometry)
        #: Sides to be looked at, each in one instrument.
        self.wanted = Signal(2)
        self.wanted_instrument = [Signal(instrument_bits(geometry), name=f"wanted{n}") for n in range(2)]
        #: The side that is looked at, and what was read there a cycle ago.
        self.side = Signal(Side)
        self.instrument = Signal(instrument_bits(geometry))
        self.seen = Signal(front, reset_less=True)
        #: No write that what was read a cycle ago, or two, does not show.
        self.quiet = Signal(2)
        self.still = Signal(2)
        #: What the side becomes, from what was read two cycles ago; that it is written, and was a cycle ago.
        self.learns = Signal()
        self.stores = Signal()
        self.stored = Signal()
        self.learnt = Signal(front, reset_less=True)
        #: To wait yet, for what is on its way.
        self.wait = Signal(range(SETTLE + 1))
        #: What was read shows every write; what was found is better than the level behind that is known.
        self.fresh = Signal()
        self.nearer = Signal()
        self.proposes = Signal()
        self.proposed = Signal.like(self.learnt)

    def want(self, side: Side, instrument: Any) -> None:
        """Look at ``side`` of ``instrument``."""
        self.m.d.sync += [self.wanted[side].eq(1), self.wanted_instrument[side].eq(instrument)]

    def run(self) -> None:
        """The machine, and what it looks at."""
        m, io = self.m, self.io
        m.d.comb += [
            io.seek_side.eq(self.side),
            io.seek_place.eq(self.seen.best.level),
            io.seek_instrument.eq(self.instrument),
            self.proposed.best.eq(self.seen.best),
            self.fresh.eq(Mux(self.side == Side.BUY, self.quiet[Side.BUY], self.quiet[Side.SELL])),
            self.nearer.eq(
                Mux(
                    self.side == Side.BUY,
                    less(self.seen.behind.level, io.found.level),
                    less(io.found.level, self.seen.behind.level),
                )
            ),
        ]
        m.d.sync += [
            self.learns.eq(self.proposes),
            self.learnt.eq(self.proposed),
            self.stored.eq(self.stores),
        ]
        with m.FSM(name="search"):
            self._idle()
            self._begin()
            self._seek()
            self._learn()

    def _idle(self) -> None:
        """Take one of the sides that are to be looked at."""
        m = self.m
        with m.State("IDLE"):
            wanted = self.wanted
            m.d.sync += [
                self.side.eq(Mux(wanted[Side.BUY], Side.BUY, Side.SELL)),
                self.instrument.eq(Mux(wanted[Side.BUY], *self.wanted_instrument)),
                self.wait.eq(SETTLE),
            ]
            with m.If(wanted.any()):
                m.d.sync += wanted.eq(wanted & (wanted - 1))
                m.next = "LOOK"
        with m.State("LOOK"):
            m.next = "BEGIN"

    def _begin(self) -> None:
        """Whether anything is to be found out."""
        m, io = self.m, self.io
        with m.State("BEGIN"):
            # What enters the bitmap from now on is kept in mind; what is on its way gets there meanwhile.
            m.d.comb += self.proposed.partial.eq(1)
            unknown = self.seen.best.found & ~self.seen.partial & (self.seen.best == self.seen.behind)
            with m.If(self.stored):
                m.next = "SETTLE"
            with m.Elif(self.fresh & ~unknown):
                m.next = "IDLE"
            with m.Else():
                m.d.comb += self.proposes.eq(unknown)
        with m.State("SETTLE"), m.If(io.step):
            m.d.sync += self.wait.eq(self.wait - 1)
            with m.If(self.wait == 0):
                m.next = "SEEK"

    def _seek(self) -> None:
        """Search the bitmap."""
        m, io = self.m, self.io
        with m.State("SEEK"), m.If(self.fresh):
            with m.If(~self.seen.partial):
                m.next = "IDLE"
            with m.Elif(~io.hold):
                m.d.comb += io.seek.eq(1)
                m.next = "SEEKING"
        with m.State("SEEKING"):
            with m.If(io.hold):
                m.next = "SEEK"
            with m.Elif(io.seek_ready):
                m.next = "LEARN"

    def _learn(self) -> None:
        """Tell what was found."""
        m, io = self.m, self.io
        with m.State("LEARN"):
            m.d.comb += self.proposed.behind.eq(
                Mux(
                    io.found.found & (~self.seen.behind.found | self.nearer),
                    io.found,
                    self.seen.behind,
                )
            )
            with m.If(self.stored):
                m.next = "IDLE"
            with m.Elif(io.hold):
                m.next = "SEEK"
            with m.Elif(self.fresh & ~self.seen.partial):
                m.next = "IDLE"
            with m.Else():
                m.d.comb += self.proposes.eq(self.seen.partial)
