"""What takes more than one pass through the pipeline: matching, and the rare commands."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from hawse.wire import (
    ALL_INSTRUMENTS,
    ANONYMOUS,
    VERSION,
    Geometry,
    InstrumentState,
    Kind,
    Opcode,
    Reason,
    SelfTrade,
    Side,
    TimeInForce,
)

from .. import layouts
from ..compare import less, pairs_alike
from ..onehot import OneHot
from .layouts import (
    best_layout,
    ends_layout,
    first_level,
    front_layout,
    handle_bits,
    instrument_bits,
    level_bits,
    record_layout,
    row_layout,
    task_layout,
    whole_mask,
    window_bits,
)
from .queues import Act
from .window import WindowCheck


class Walk(enum.Enum, shape=2):
    """Why the queue of a level is walked along."""

    MATCH = 0
    #: Fill-or-kill: count what could be traded.
    COUNT = 1
    DUMP = 2


class Matcher(wiring.Component):
    """Carries out one command at a time with the pipeline's memories, while the pipeline waits.

    All that goes to a memory comes from a register: it is decided a cycle before.

    Latency: from ``active`` the first fill 4 cycles, each further one of a level 2. When a level empties, the
    next takes 4 more if the one behind it is known, else up to 19: the bitmap learns of it, is searched, and
    says.
    An order that crosses a level that has emptied meanwhile waits for the same search.
    Fill-or-kill first takes 2 cycles for each order that it would touch, and up to 18 for each level.
    MASS_CANCEL and STATE(loading) take a cycle for each handle, and 5 for each order cancelled; before that,
    STATE(loading) looks at the window of each instrument, a cycle each.
    Initiation interval: as long as the command takes, and one cycle.
    Ordering: that of the rules. Reset: idle. Back-pressure: waits for ``room`` with every report.

    Args:
        geometry: of the book.
        build: 16 bytes as a little-endian integer, and ``clock_khz``: what BUILD tells.
    """

    def __init__(self, geometry: Geometry, *, build: int | Value = 0, clock_khz: int = 0) -> None:
        self.geometry = geometry
        self.build = build
        self.clock_khz = clock_khz
        handle, record, row = handle_bits(geometry), record_layout(geometry), row_layout(geometry)
        super().__init__(
            {
                #: A task has come and is at work until ``done``.
                "active": In(1),
                "task": In(task_layout(geometry)),
                "done": Out(1),
                "applied": In(64),
                "last_seq": In(64),
                "busy_cycles": In(32),
                "epoch": In(32),
                # The order that is read, and what its queue and the order behind it are a cycle later.
                "place": Out(level_bits(geometry)),
                "handle": Out(handle),
                "record": In(record),
                "ends": In(ends_layout(geometry)),
                "next": In(handle),
                # What is done to the queue that was read a cycle before, and to an order.
                "act": Out(Act),
                "act_side": Out(Side),
                "write": Out(1),
                "write_handle": Out(handle),
                "value": Out(record),
                #: No change is on its way to the bitmap.
                "settled": In(1),
                # Searches from ``place``, in the window of the task.
                "seek": Out(1),
                "onward": Out(1),
                "seek_side": Out(Side),
                "seek_ready": In(1),
                "found": In(best_layout(geometry)),
                # What the bounds of the best levels are set to, a bit for each side.
                "front_write": Out(2),
                "front": Out(front_layout(geometry)),
                #: What ``instrument`` is in, and what that is set to.
                "instrument": Out(instrument_bits(geometry)),
                "row": In(row),
                "row_write": Out(1),
                "row_value": Out(row),
                "room": In(1),
                "push": Out(1),
                #: A trade that is the taker's ``own`` cancels its maker instead, or is ``kept`` back; one
                #: that is ``cut`` is for ``remaining`` instead, and its maker is not done.
                "beat": Out(layouts.BEAT),
                "own": Out(1),
                "kept": Out(1),
                "cut": Out(1),
                "remaining": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        task, command, taker = self.task, self.task.command, self.task.order
        opcode = command.opcode
        handle = handle_bits(geometry)
        own_handle = command.handle[:handle]
        buys = taker.side == Side.BUY
        # What the command is, from its second cycle on.
        trades = Signal()
        dumps = Signal()
        scans = Signal()
        mass = Signal()
        loading = Signal()
        greets = Signal()
        rejects = Signal()  # a LOAD, or a window that cannot be, if it tells anything
        everywhere = Signal()
        anonymous = Signal()
        posts = Signal()
        fills_or_kills = Signal()
        cannot_rest = Signal()
        new = opcode == Opcode.NEW
        time_in_force = command.flags.time_in_force
        m.d.sync += [
            trades.eq(opcode.matches(Opcode.NEW, Opcode.REPLACE)),
            rejects.eq(opcode == Opcode.LOAD),
            dumps.eq(opcode == Opcode.DUMP),
            scans.eq(opcode.matches(Opcode.MASS_CANCEL, Opcode.STATE)),
            mass.eq(opcode == Opcode.MASS_CANCEL),
            loading.eq(command.quantity[:2] == InstrumentState.LOADING),
            greets.eq(opcode == Opcode.HELLO),
            everywhere.eq(command.instrument == ALL_INSTRUMENTS),
            anonymous.eq(taker.tag == ANONYMOUS),
            posts.eq(new & (time_in_force == TimeInForce.POST_ONLY)),
            fills_or_kills.eq(new & (time_in_force == TimeInForce.FOK)),
            cannot_rest.eq(new & time_in_force.matches(TimeInForce.IOC, TimeInForce.FOK)),
        ]

        states = OneHot(
            m,
            "matcher",
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
        # Which of the states that tell has come: else RESIDUAL, TOTAL or ANSWER.
        meets = Signal()  # stays set behind its command: only what goes with ``push`` may ask it
        removes = Signal()
        builds = Signal()
        closes = Signal()

        # The order at hand.
        maker = Signal(record_layout(geometry), reset_less=True)
        maker_at = Signal(handle, reset_less=True)
        # Its tag is compared as it is read, as far as one gate goes.
        alike = Signal.like(pairs_alike(maker.tag, taker.tag), reset_less=True)
        same_tag = alike.all()
        same_instrument = maker.instrument == command.instrument[: len(maker.instrument)]
        # The order that is read, and its queue.
        pointer = Signal(handle)
        level = Signal.like(taker.level)
        tail = Signal(handle)
        last = Signal()  # the order at hand is the tail
        in_instrument = Signal.like(self.instrument)
        fresh = Signal(init=1)
        walk = Signal(Walk)
        walk_side = Signal(Side)
        counted = Signal()
        remaining = Signal(32, reset_less=True)
        m.d.comb += self.remaining.eq(remaining)
        lacks = Signal(32, reset_less=True)  # to be counted yet, less one
        enough = Signal()  # has been counted
        meets_own = Signal()  # the order at hand was of the taker's tag, which ends the walk
        # Why the rest of an order is cancelled, if it is: chosen before it is known whether it is.
        cancel_reason = Signal(Reason, init=Reason.IOC)
        unfilled = Mux(fills_or_kills, Reason.FOK, Reason.IOC)
        price = Signal(32, reset_less=True)
        own_price = task.row.origin + Mux(scans, first_level(task.row.first), level)
        # A scan: the order at hand has been read; the one before it is concerned; orders cancelled.
        scanned = Signal()
        hit = Signal()
        count = Signal(range(geometry.orders + 1))
        # The level behind the one at hand, if that is known.
        behind = Signal(best_layout(geometry), reset_less=True)
        behind_known = Signal()
        #: A search for the best level, begun in advance, sees every change.
        searched = Signal()

        # The first of a level, or the order behind the one at hand, on its way into ``pointer``: what a block
        # RAM answers goes straight into a register.
        head = Signal(handle)
        follower = Signal(handle)
        heads = Signal()
        follows = Signal()
        occupied = Signal()
        last_in_level = Signal(handle)
        #: Where a fill-or-kill begins to trade, once it has been counted.
        begins = Signal.like(taker.level)
        m.d.comb += [
            self.handle.eq(Mux(heads, head, Mux(follows, follower, pointer))),
            # A task begins with the level at which it may trade.
            self.place.eq(Mux(fresh, task.facing.best.level, level)),
            self.instrument.eq(in_instrument),
            self.seek_side.eq(walk_side),
        ]
        m.d.sync += [
            self.done.eq(0),
            enough.eq(0),
            meets_own.eq(0),
            fresh.eq(0),
            head.eq(self.ends.head),
            follower.eq(self.next),
            heads.eq(0),
            follows.eq(0),
            occupied.eq(self.ends.occupied),
            last_in_level.eq(self.ends.tail),
            self.act.eq(Act.NONE),
            self.act_side.eq(walk_side),
            self.write.eq(0),
            self.write_handle.eq(maker_at),
            self.value.eq(maker),
            self.seek.eq(0),
            self.front_write.eq(0),
            self.front.eq(0),
            self.row_write.eq(0),
            self.row_value.eq(task.row),
            self.row_value.state.eq(command.quantity),
        ]
        m.submodules.window = window = WindowCheck(geometry)
        first = first_level(task.row.first)
        least = level_bits(geometry) - window_bits(geometry)
        m.d.comb += [
            window.first.eq(command.handle),
            window.count.eq(command.token),
            window.base.eq(command.price),
            window.row.eq(self.row),
        ]
        with m.If(loading):
            m.d.sync += [
                self.row_value.windowed.eq(1),
                self.row_value.origin.eq(command.price - command.handle[: len(level)]),
                self.row_value.first.eq(command.handle[least : len(level)]),
                self.row_value.mask.eq(window.mask),
            ]

        def tell() -> None:
            m.d.comb += self.push.eq(self.room)

        def residual() -> None:
            m.d.sync += meets.eq(0)
            states.next = "RESIDUAL"

        def finish() -> None:
            m.d.sync += self.done.eq(1)
            states.next = "END"

        def seek(onward: int = 0) -> None:
            m.d.sync += [self.seek.eq(1), self.onward.eq(onward)]

        def write_front(side: Any) -> None:
            m.d.sync += self.front_write.eq(Mux(side == Side.BUY, 1 << Side.BUY, 1 << Side.SELL))

        def crosses(level: Any) -> Any:
            return ~Mux(buys, less(taker.level, level), less(level, taker.level))

        def fetch() -> None:
            m.d.sync += [maker.eq(self.record), alike.eq(pairs_alike(self.record.tag, taker.tag))]

        with m.Switch(states.bits):
            with states.at("START"):
                m.d.sync += [
                    fresh.eq(~self.active),
                    builds.eq(0),
                    closes.eq(0),
                    remaining.eq(command.quantity),
                    lacks.eq(command.quantity - 1),
                    walk.eq(Walk.MATCH),
                    counted.eq(0),
                    count.eq(0),
                    pointer.eq(0),
                    in_instrument.eq(command.instrument),
                    walk_side.eq(~taker.side),
                    level.eq(task.facing.best.level),
                    behind.eq(task.facing.behind),
                    behind_known.eq((task.facing.best != task.facing.behind) & ~task.facing.partial),
                    searched.eq(self.settled),
                ]
                with m.If(self.active), m.Switch(opcode):
                    with m.Case(Opcode.NEW, Opcode.REPLACE):
                        # The pipeline has entered it already, as if it did not cross.
                        m.d.sync += [
                            self.write.eq(1),
                            self.write_handle.eq(own_handle),
                            self.value.live.eq(0),
                        ]
                        # In case that the level at the bound has emptied.
                        seek()
                        states.next = "LEVEL"
                    with m.Case(Opcode.LOAD):
                        m.d.sync += [level.eq(taker.level), pointer.eq(own_handle)]
                        states.next = "LOAD"
                    with m.Case(Opcode.MASS_CANCEL):
                        states.next = "REFILL"
                    with m.Case(Opcode.STATE):
                        states.next = "STATE"
                    with m.Case(Opcode.DUMP):
                        m.d.sync += [walk.eq(Walk.DUMP), walk_side.eq(Side.BUY)]
                        states.next = "SEEK BEST"
                    with m.Default():
                        states.next = "ANSWER"

            with states.at("END"):
                # The last writes are made; what waits in the pipeline is read again.
                m.d.sync += fresh.eq(1)
                states.next = "START"

            # Matching, and walks along the queues.

            with states.at("LEVEL"):
                m.d.sync += [heads.eq(1), price.eq(own_price)]
                states.next = "HEAD"

            with states.at("HEAD"):
                m.d.sync += [
                    pointer.eq(head),
                    tail.eq(last_in_level),
                    cancel_reason.eq(Reason.POST_ONLY),
                ]
                with m.If(~occupied):
                    states.next = "NEXT"
                    with m.If(searched & ~behind_known):
                        states.next = "SEEKING"
                with m.Elif((walk == Walk.MATCH) & posts):
                    residual()
                with m.Else():
                    states.next = "FETCH"
                    with m.If((walk == Walk.MATCH) & fills_or_kills & ~counted):
                        m.d.sync += [walk.eq(Walk.COUNT), begins.eq(level)]

            def look_at_comparisons() -> None:
                """What comparisons tell in MEET comes too late for the state behind it, so that one looks."""
                with m.If(self.done):
                    m.d.sync += fresh.eq(1)
                    states.next = "START"
                with m.Elif(enough):
                    m.d.sync += [walk.eq(Walk.MATCH), counted.eq(1), level.eq(begins)]
                    states.next = "AGAIN"
                with m.Elif(meets_own):
                    m.d.sync += cancel_reason.eq(Mux(walk == Walk.COUNT, Reason.FOK, Reason.SELF))
                    residual()

            with states.at("FETCH"):
                fetch()
                m.d.sync += [maker_at.eq(pointer), last.eq(pointer == tail), follows.eq(1), meets.eq(1)]
                states.next = "MEET"
                look_at_comparisons()

            with states.at("MEET"):
                own = same_tag & ~anonymous
                keeps = own & (taker.self_trade == SelfTrade.CANCEL_NEWEST)
                # What either leaves of the other. The last carry of a subtraction is there sooner than what a
                # comparison says that looks at all bits for equality, too.
                taker_left, maker_left, lacks_left = Signal(33), Signal(33), Signal(33)
                m.d.comb += [
                    taker_left.eq(remaining - maker.quantity),
                    maker_left.eq(maker.quantity - remaining),
                    lacks_left.eq(lacks - maker.quantity),
                ]
                takes_maker, takes_taker = ~taker_left[-1], ~maker_left[-1]
                pops = own | takes_maker
                # What the order becomes if it is written; its quantity does not ask whose it is.
                m.d.sync += [
                    pointer.eq(self.handle),
                    self.value.live.eq(~pops),
                    self.value.quantity.eq(maker_left),
                ]
                with m.Switch(walk):
                    with m.Case(Walk.MATCH):
                        tell()
                        m.d.comb += [self.own.eq(own), self.kept.eq(keeps), self.cut.eq(~takes_maker)]
                        with m.If(self.room):
                            m.d.sync += self.write.eq(~keeps)
                            with m.If(pops & ~keeps):
                                m.d.sync += self.act.eq(Mux(last, Act.EMPTY, Act.POP))
                            with m.If(~own):
                                m.d.sync += remaining.eq(taker_left)
                            m.d.sync += [
                                self.done.eq(~own & takes_taker),
                                meets_own.eq(own & (taker.self_trade != SelfTrade.CANCEL_OLDEST)),
                            ]
                            states.next = "FETCH"
                            with m.If(last):
                                states.next = "NEXT"
                    with m.Case(Walk.COUNT):
                        with m.If(~own):
                            m.d.sync += [lacks.eq(lacks_left), enough.eq(lacks_left[-1])]
                        m.d.sync += meets_own.eq(own & (taker.self_trade != SelfTrade.CANCEL_OLDEST))
                        states.next = "FETCH"
                        with m.If(last):
                            states.next = "SEEK NEXT"
                    with m.Default():
                        tell()
                        with m.If(self.room):
                            states.next = "FETCH"
                            with m.If(last):
                                states.next = "SEEK NEXT"

            with states.at("AGAIN"):
                states.next = "LEVEL"

            with states.at("NEXT"):  # the level at hand is empty
                m.d.sync += [
                    meets.eq(0),  # whatever comes: that is known late
                    behind_known.eq(0),
                    searched.eq(0),
                    cancel_reason.eq(unfilled),
                    self.front.best.eq(behind),
                    self.front.behind.eq(behind),
                ]
                states.next = "SEEK BEST"
                with m.If(behind_known & ~self.done & ~meets_own):
                    write_front(walk_side)
                    m.d.sync += level.eq(behind.level)
                    states.next = "AGAIN"
                    with m.If(~behind.found | ~crosses(behind.level)):
                        residual()
                look_at_comparisons()

            with states.at("SEEK BEST"):
                with m.If(dumps):
                    m.d.sync += level.eq(first)
                with m.If(dumps & ~task.row.windowed):
                    finish()
                with m.Elif(self.settled):
                    seek()
                    states.next = "SEEKING"

            with states.at("SEEK NEXT"):
                with m.If(self.settled & ~enough & ~meets_own):
                    seek(onward=1)
                    states.next = "SEEKING"
                look_at_comparisons()

            with states.at("SEEKING"):
                m.d.sync += [
                    meets.eq(0),
                    self.front.best.eq(self.found),
                    self.front.behind.eq(self.found),
                    cancel_reason.eq(unfilled),
                ]
                with m.If(self.seek_ready & ~self.seek):
                    m.d.sync += level.eq(self.found.level)
                    with m.If(walk == Walk.MATCH):
                        write_front(walk_side)
                    states.next = "AGAIN"
                    with m.If(walk != Walk.DUMP), m.If(~self.found.found | ~crosses(self.found.level)):
                        residual()
                    with m.Elif(~self.found.found):
                        with m.If(walk_side == Side.BUY):
                            m.d.sync += walk_side.eq(Side.SELL)
                            states.next = "SEEK BEST"
                        with m.Else():
                            finish()

            with states.at("RESIDUAL"):
                m.d.sync += [pointer.eq(own_handle), level.eq(taker.level)]
                cancels = cannot_rest | cancel_reason.matches(Reason.SELF, Reason.POST_ONLY)
                with m.If(~cancels):
                    states.next = "REST"
                with m.Else():
                    tell()
                    with m.If(self.room):
                        finish()

            with states.at("REST"):
                m.d.sync += [
                    self.act.eq(Act.ENTER),
                    self.act_side.eq(taker.side),
                    self.write.eq(1),
                    self.write_handle.eq(own_handle),
                    self.value.eq(taker),
                    self.value.quantity.eq(remaining),
                    self.front.eq(task.front),
                ]
                write_front(taker.side)
                states.next = "RESTED"

            with states.at("RESTED"):  # the pipeline is to compare anew with the bounds
                finish()

            with states.at("LOAD"):
                states.next = "LOAD QUEUE"

            with states.at("LOAD QUEUE"):
                m.d.sync += heads.eq(1)
                states.next = "LOAD HEAD"

            with states.at("LOAD HEAD"):
                states.next = "LOAD FETCH"
                with m.If(~occupied):
                    m.d.sync += pointer.eq(own_handle)
                    states.next = "REST"

            with states.at("LOAD FETCH"):
                fetch()
                m.d.sync += pointer.eq(own_handle)
                states.next = "LOAD CHECK"

            with states.at("LOAD CHECK"):
                with m.If(maker.side == taker.side):
                    states.next = "REST"
                with m.Else():
                    tell()
                    with m.If(self.room):
                        finish()

            # STATE; if loading, the windows of all instruments are looked at before anything changes.

            with states.at("STATE"):
                m.d.comb += window.begin.eq(1)
                m.d.sync += [self.row_write.eq(~loading), price.eq(own_price)]
                states.next = "TOTAL"
                with m.If(loading):
                    m.d.sync += in_instrument.eq(0)
                    states.next = "WINDOWS"

            with states.at("WINDOWS"):
                m.d.comb += window.look.eq(in_instrument != command.instrument[: len(in_instrument)])
                m.d.sync += in_instrument.eq(in_instrument + 1)
                with m.If(in_instrument == geometry.instruments - 1):
                    states.next = "WINDOWS SEEN"

            with states.at("WINDOWS SEEN"):
                m.d.sync += in_instrument.eq(command.instrument)
                states.next = "WINDOW"

            with states.at("WINDOW"):
                m.d.sync += [rejects.eq(~window.allowed), self.row_write.eq(window.allowed)]
                states.next = "REFUSE"
                with m.If(window.allowed):
                    # What is loaded next may cross: a bound left over could meet orders of the other side.
                    m.d.sync += self.front_write.eq(~0)
                    states.next = "REFILL"

            with states.at("REFUSE"):
                tell()
                m.d.sync += rejects.eq(~self.room)
                with m.If(self.room):
                    finish()

            # A scan of all handles: MASS_CANCEL and STATE(loading).

            is_final = maker_at == geometry.orders - 1

            with states.at("REFILL"):
                m.d.sync += [maker_at.eq(pointer - 1), scanned.eq(0), pointer.eq(pointer + 1)]
                states.next = "SCAN"

            def look_back() -> None:
                """Return to the order before the one at hand, which is still on its way to be written."""
                m.d.sync += [
                    maker.eq(self.value),
                    hit.eq(0),
                    maker_at.eq(self.write_handle),
                    pointer.eq(self.write_handle),
                    level.eq(self.value.level),
                    in_instrument.eq(self.value.instrument),
                ]
                states.next = "VICTIM"

            with states.at("SCAN"):
                # The record that has come is that of the handle before the pointer.
                fetch()
                concerned = maker.live & (everywhere | same_instrument)
                m.d.sync += [
                    scanned.eq(1),
                    maker_at.eq(maker_at + 1),
                    pointer.eq(pointer + 1),
                    hit.eq(scanned & concerned & (~mass | anonymous | same_tag)),
                ]
                with m.If(hit):
                    look_back()
                with m.Elif(scanned & is_final):
                    states.next = "SCANNED"

            with states.at("SCANNED"):
                states.next = "TOTAL"
                with m.If(hit):
                    look_back()

            def scan_on() -> None:
                m.d.sync += [pointer.eq(maker_at + 1), removes.eq(0)]
                states.next = "REFILL"
                with m.If(is_final):
                    m.d.sync += in_instrument.eq(command.instrument)
                    states.next = "TOTAL"

            with states.at("VICTIM"):
                m.d.sync += price.eq(self.row.origin + level)
                allowed = self.row.state.matches(InstrumentState.OPEN, InstrumentState.CANCEL_ONLY)
                with m.If(~mass | allowed):
                    m.d.sync += removes.eq(1)
                    states.next = "REMOVE"
                with m.Else():
                    scan_on()

            with states.at("REMOVE"):
                with m.If(mass):
                    tell()
                with m.If(self.room):
                    m.d.sync += [
                        self.act.eq(Act.LEAVE),
                        self.act_side.eq(maker.side),
                        self.write.eq(1),
                        self.value.live.eq(0),
                        count.eq(count + 1),
                    ]
                    scan_on()

            with states.at("TOTAL"):
                tell()
                with m.If(self.room):
                    finish()

            with states.at("ANSWER"):
                tell()
                with m.If(self.room):
                    with m.If(greets | (opcode == Opcode.CLOSE)):
                        m.d.sync += [builds.eq(greets), closes.eq(~greets)]
                        states.next = "ANSWER AGAIN"
                    with m.Else():
                        finish()

            with states.at("ANSWER AGAIN"):
                tell()
                with m.If(self.room):
                    finish()

        # What is told, of all that a command may have to tell. Registers know it: what the command is, and
        # which of its states tell.

        def send(layout: data.Layout, kind: Kind, **fields: Any) -> None:
            view = layout(self.beat)
            m.d.comb += view.kind.kind.eq(kind)
            m.d.comb += [view[name].eq(value) for name, value in fields.items()]

        def report(kind: Kind, side: Any, price: Any, quantity: Any, **fields: Any) -> None:
            fields = {"instrument": command.instrument, "handle": command.handle} | fields
            send(
                layouts.REPORT,
                kind,
                price=price,
                quantity=quantity,
                seq=command.seq,
                accepted=task.accepted,
                **fields,
            )
            m.d.comb += layouts.REPORT(self.beat).kind.side.eq(side)

        below = whole_mask(self.row_value.mask)
        levels = Cat(1, below) & ~Cat(below, Const(0, 1))  # of the window: the bit above its mask
        with m.If(trades):
            with m.If(meets):
                report(Kind.TRADE, taker.side, price, maker.quantity, maker=maker_at)
                m.d.comb += layouts.REPORT(self.beat).kind.maker_done.eq(1)
            with m.Else():
                report(Kind.CANCELLED, taker.side, command.price, remaining, reason=cancel_reason)
        with m.Elif(rejects):
            reason = Mux(scans, Reason.WINDOW, Reason.PRICE)
            report(Kind.REJECTED, taker.side, command.price, 0, reason=reason)
        with m.Elif(dumps):
            send(
                layouts.RESTING,
                Kind.RESTING,
                instrument=command.instrument,
                handle=maker_at,
                tag=maker.tag,
                price=price,
                quantity=maker.quantity,
            )
            resting = layouts.RESTING(self.beat)
            m.d.comb += [resting.flags.side.eq(maker.side), resting.flags.self_trade.eq(maker.self_trade)]
        with m.Elif(scans):
            with m.If(removes):
                order = {"instrument": maker.instrument, "handle": maker_at}
                report(Kind.CANCELLED, maker.side, price, maker.quantity, reason=Reason.MASS, **order)
            with m.Else():
                amount = Mux(mass, count, command.quantity)
                ours = {
                    "handle": Mux(mass, 0, first_level(self.row_value.first)),
                    "maker": Mux(mass | ~self.row_value.windowed, 0, levels),
                }
                base = Mux(loading, command.price, price)
                report(Kind.ACK, Side.BUY, Mux(mass, 0, base), amount, **ours)
        with m.Elif(builds):
            build = layouts.BUILD(self.beat)
            m.d.comb += [
                Cat(build.build_low, build.build_high).eq(self.build),
                build.clock_khz.eq(self.clock_khz),
            ]
        with m.Elif(greets):
            send(
                layouts.HELLO,
                Kind.HELLO,
                version=VERSION,
                instruments=geometry.instruments,
                orders=geometry.orders,
                pool=geometry.pool,
                tag_bits=geometry.tag_bits,
                least_window=least,
                epoch=self.epoch,
                busy=self.busy_cycles,
                last_seq=self.last_seq,
            )
        with m.Elif(closes):
            send(layouts.BATCH, Kind.BATCH, token=command.token)
        with m.Else():
            send(layouts.FENCE, Kind.FENCE, token=command.token, commands=self.applied)
        return m
