"""What the states of the matcher share."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import enum
from hawse.wire import (
    ALL_INSTRUMENTS,
    ANONYMOUS,
    Geometry,
    InstrumentState,
    Opcode,
    Reason,
    Side,
    TimeInForce,
)

from ..compare import less, pairs_alike
from ..onehot import OneHot
from .layouts import (
    best_layout,
    first_level,
    handle_bits,
    level_bits,
    record_layout,
    window_bits,
)
from .queues import Act
from .window import WindowCheck

STATES = (
    "START",
    "END",
    "LEVEL",
    "HEAD",
    "FETCH",
    "MEET",
    "AGAIN",
    "NEXT",
    "SEEK BEST",
    "SEEK NEXT",
    "SEEKING",
    "RESIDUAL",
    "REST",
    "RESTED",
    "LOAD",
    "LOAD QUEUE",
    "LOAD HEAD",
    "LOAD FETCH",
    "LOAD CHECK",
    "STATE",
    "WINDOWS",
    "WINDOWS SEEN",
    "WINDOW",
    "REFUSE",
    "REFILL",
    "SCAN",
    "SCANNED",
    "VICTIM",
    "REMOVE",
    "TOTAL",
    "ANSWER",
    "ANSWER AGAIN",
)


class Walk(enum.Enum, shape=2):
    """Why the queue of a level is walked along."""

    MATCH = 0
    #: Fill-or-kill: count what could be traded.
    COUNT = 1
    DUMP = 2


class Work:
    """The command at work in the matcher: what is known of it, and where its walk or scan has got to.

    Args:
        m: of the matcher.
        io: the matcher, whose ports the states use.
    """

    def __init__(self, m: Module, io: Any) -> None:
        self.m, self.io = m, io
        self.geometry: Geometry = io.geometry
        self.task, self.command, self.taker = io.task, io.task.command, io.task.order
        self.opcode = self.command.opcode
        self.own_handle = self.command.handle[: handle_bits(self.geometry)]
        self._know_command()
        self.states = OneHot(m, "matcher", *STATES)
        self._hold_order()
        self._hold_walk()
        self._hold_reads()

    def _know_command(self) -> None:
        """What the command is, from its second cycle on."""
        self.trades = Signal()
        self.dumps = Signal()
        self.scans = Signal()
        self.mass = Signal()
        self.loading = Signal()
        self.greets = Signal()
        #: A LOAD, or a window that cannot be, if it tells anything.
        self.rejects = Signal()
        self.everywhere = Signal()
        self.anonymous = Signal()
        self.posts = Signal()
        self.fills_or_kills = Signal()
        self.cannot_rest = Signal()
        opcode, command = self.opcode, self.command
        new = opcode == Opcode.NEW
        time_in_force = command.flags.time_in_force
        self.m.d.sync += [
            self.trades.eq(opcode.matches(Opcode.NEW, Opcode.REPLACE)),
            self.rejects.eq(opcode == Opcode.LOAD),
            self.dumps.eq(opcode == Opcode.DUMP),
            self.scans.eq(opcode.matches(Opcode.MASS_CANCEL, Opcode.STATE)),
            self.mass.eq(opcode == Opcode.MASS_CANCEL),
            self.loading.eq(command.quantity[:2] == InstrumentState.LOADING),
            self.greets.eq(opcode == Opcode.HELLO),
            self.everywhere.eq(command.instrument == ALL_INSTRUMENTS),
            self.anonymous.eq(self.taker.tag == ANONYMOUS),
            self.posts.eq(new & (time_in_force == TimeInForce.POST_ONLY)),
            self.fills_or_kills.eq(new & (time_in_force == TimeInForce.FOK)),
            self.cannot_rest.eq(new & time_in_force.matches(TimeInForce.IOC, TimeInForce.FOK)),
        ]
        if self.io.gate:
            self.limits = Signal()
            self.m.d.sync += self.limits.eq(opcode == Opcode.LIMIT)

    def _hold_order(self) -> None:
        """Which of the states that tell has come, and the order at hand."""
        # Of the states that tell: else it is RESIDUAL, TOTAL or ANSWER.
        #: Stays set behind its command: only what goes with ``push`` may ask it.
        self.meets = Signal()
        self.removes = Signal()
        self.builds = Signal()
        self.closes = Signal()
        #: The order at hand.
        self.maker = Signal(record_layout(self.geometry), reset_less=True)
        self.maker_at = Signal(handle_bits(self.geometry), reset_less=True)
        # Its tag is compared as it is read, as far as one gate goes.
        self.alike = Signal.like(pairs_alike(self.maker.tag, self.taker.tag), reset_less=True)
        self.same_tag = self.alike.all()
        self.same_instrument = self.maker.instrument == self.command.instrument[: len(self.maker.instrument)]
        self.is_final = self.maker_at == self.geometry.orders - 1

    def _hold_walk(self) -> None:
        """Where the walk along a queue, or the scan of the store, has got to."""
        geometry = self.geometry
        #: The order that is read, and its queue.
        self.pointer = Signal(handle_bits(geometry))
        self.level = Signal.like(self.taker.level)
        self.tail = Signal(handle_bits(geometry))
        #: The order at hand is the tail.
        self.last = Signal()
        self.in_instrument = Signal.like(self.io.instrument)
        self.fresh = Signal(init=1)
        self.walk = Signal(Walk)
        self.walk_side = Signal(Side)
        self.counted = Signal()
        self.remaining = Signal(32, reset_less=True)
        #: To be counted yet, less one; enough has been.
        self.lacks = Signal(32, reset_less=True)
        self.enough = Signal()
        #: The order at hand was of the taker's tag, which ends the walk.
        self.meets_own = Signal()
        #: Why the rest of an order is cancelled, if it is: chosen before it is known whether it is.
        self.cancel_reason = Signal(Reason, init=Reason.IOC)
        self.unfilled = Mux(self.fills_or_kills, Reason.FOK, Reason.IOC)
        self.price = Signal(32, reset_less=True)
        #: First level of the instrument's window.
        self.first = first_level(self.task.row.first)
        self.own_price = self.task.row.origin + Mux(self.scans, self.first, self.level)
        #: A scan: the order at hand has been read; the one before it is concerned; orders cancelled.
        self.scanned = Signal()
        self.hit = Signal()
        self.count = Signal(range(geometry.orders + 1))
        #: The level behind the one at hand, if that is known.
        self.behind = Signal(best_layout(geometry), reset_less=True)
        self.behind_known = Signal()
        #: A search for the best level, begun in advance, sees every change.
        self.searched = Signal()

    def _hold_reads(self) -> None:
        """The first of a level, or the order behind the one at hand, on its way into ``pointer``.

        What a block RAM answers goes straight into a register.
        """
        self.head = Signal(handle_bits(self.geometry))
        self.follower = Signal(handle_bits(self.geometry))
        self.heads = Signal()
        self.follows = Signal()
        self.occupied = Signal()
        self.last_in_level = Signal(handle_bits(self.geometry))
        #: Where a fill-or-kill begins to trade, once it has been counted.
        self.begins = Signal.like(self.taker.level)

    def read(self) -> None:
        """What is read, and what else is told all the time."""
        io = self.io
        self.m.d.comb += [
            io.remaining.eq(self.remaining),
            io.handle.eq(Mux(self.heads, self.head, Mux(self.follows, self.follower, self.pointer))),
            # A task begins with the level at which it may trade.
            io.place.eq(Mux(self.fresh, self.task.facing.best.level, self.level)),
            io.instrument.eq(self.in_instrument),
            io.seek_side.eq(self.walk_side),
        ]

    def default(self) -> None:
        """What was read goes into registers; what is so unless a state says otherwise."""
        io = self.io
        self.m.d.sync += [
            io.done.eq(0),
            self.enough.eq(0),
            self.meets_own.eq(0),
            self.fresh.eq(0),
            self.head.eq(io.ends.head),
            self.follower.eq(io.next),
            self.heads.eq(0),
            self.follows.eq(0),
            self.occupied.eq(io.ends.occupied),
            self.last_in_level.eq(io.ends.tail),
            io.act.eq(Act.NONE),
            io.act_side.eq(self.walk_side),
            io.write.eq(0),
            io.write_handle.eq(self.maker_at),
            io.value.eq(self.maker),
            io.seek.eq(0),
            io.front_write.eq(0),
            io.front.eq(0),
            io.row_write.eq(0),
            io.row_value.eq(self.task.row),
            io.row_value.state.eq(self.command.quantity),
        ]

    def give_window(self) -> None:
        """The window that STATE(loading) asks for, and what the instrument is in if it gets it."""
        m, io, command = self.m, self.io, self.command
        m.submodules.window = self.window = window = WindowCheck(self.geometry)
        least = level_bits(self.geometry) - window_bits(self.geometry)
        m.d.comb += [
            window.first.eq(command.handle),
            window.count.eq(command.token),
            window.base.eq(command.price),
            window.row.eq(io.row),
        ]
        with m.If(self.loading):
            m.d.sync += [
                io.row_value.windowed.eq(1),
                io.row_value.origin.eq(command.price - command.handle[: len(self.level)]),
                io.row_value.first.eq(command.handle[least : len(self.level)]),
                io.row_value.mask.eq(window.mask),
            ]

    # What several states do.

    def tell(self) -> None:
        """A beat, once there is room."""
        self.m.d.comb += self.io.push.eq(self.io.room)

    def residual(self) -> None:
        """No more is traded: what remains is cancelled or rests."""
        self.m.d.sync += self.meets.eq(0)
        self.states.next = "RESIDUAL"

    def finish(self) -> None:
        """The command is done."""
        self.m.d.sync += self.io.done.eq(1)
        self.states.next = "END"

    def seek(self, onward: int = 0) -> None:
        """Begin a search of the bitmap."""
        self.m.d.sync += [self.io.seek.eq(1), self.io.onward.eq(onward)]

    def write_front(self, side: Any) -> None:
        """Set the bounds of ``side``."""
        self.m.d.sync += self.io.front_write.eq(Mux(side == Side.BUY, 1 << Side.BUY, 1 << Side.SELL))

    def crosses(self, level: Any) -> Any:
        """The taker trades at ``level``."""
        own = self.taker.level
        return ~Mux(self.taker.side == Side.BUY, less(own, level), less(level, own))

    def fetch(self) -> None:
        """Take the order that was read."""
        tag = self.io.record.tag
        self.m.d.sync += [self.maker.eq(self.io.record), self.alike.eq(pairs_alike(tag, self.taker.tag))]
