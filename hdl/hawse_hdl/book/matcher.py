"""What takes more than one pass through the pipeline: matching, and the rare commands."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
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
from .layouts import best_layout, ends_layout, front_layout, handle_bits, instrument_bits, place_layout, record_layout
from .queues import Act


class Walk(enum.Enum, shape=2):
    """Why the queue of a level is walked along."""

    MATCH = 0
    #: Fill-or-kill: count what could be traded.
    COUNT = 1
    DUMP = 2


def row_layout() -> data.StructLayout:
    """What an instrument is in: its state and the base of its band."""
    return data.StructLayout({"state": InstrumentState, "base": 32})


def task_layout(geometry: Geometry) -> data.StructLayout:
    """A command that has passed its checks."""
    return data.StructLayout(
        {
            "command": layouts.COMMAND,
            "accepted": 32,
            #: The order that arrives, as it would rest.
            "order": record_layout(geometry),
            "row": row_layout(),
            #: Bounds of its own side, once it rests, and of the other.
            "front": front_layout(geometry),
            "facing": front_layout(geometry),
        }
    )


class Matcher(wiring.Component):
    """Carries out one command at a time with the pipeline's memories, while the pipeline waits.

    Latency: from ``active``: the first fill's report 4 cycles, each further one of a level 2; a level that
    empties 16 more (until the bitmap has the change, a search, its result, its first order).
    An order that crosses a level that has emptied meanwhile waits for the same search.
    Fill-or-kill first takes 2 cycles for each order that it would touch, and up to 18 for each level.
    MASS_CANCEL and STATE(loading) take a cycle for each handle, and 5 for each order cancelled.
    Initiation interval: as long as the command takes.
    Ordering: reports wait until the pipeline's own have left it (``free``).
    Reset: idle. Back-pressure: waits for ``free`` with every report.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        handle, place, record = handle_bits(geometry), place_layout(geometry), record_layout(geometry)
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
                # Orders by handle: data a cycle after the read.
                "read": Out(1),
                "read_handle": Out(handle),
                "record": In(record),
                "write": Out(1),
                "write_handle": Out(handle),
                "value": Out(record),
                # Queues: see there.
                "place": Out(place),
                "handle": Out(handle),
                "act": Out(Act),
                "act_side": Out(Side),
                "ends": In(ends_layout(geometry)),
                "next": In(handle),
                #: No change is on its way to the bitmap.
                "settled": In(1),
                # Searches.
                "seek": Out(1),
                "onward": Out(1),
                "seek_place": Out(place),
                "seek_side": Out(Side),
                "seek_ready": In(1),
                "found": In(best_layout(geometry)),
                # Bounds of the best levels of ``instrument``, and what they are set to, a bit for each side.
                "instrument": Out(instrument_bits(geometry)),
                "bid": In(front_layout(geometry)),
                "ask": In(front_layout(geometry)),
                "front_write": Out(2),
                "front": Out(front_layout(geometry)),
                #: State and base of ``instrument``, and what they are set to.
                "row": In(row_layout()),
                "row_write": Out(1),
                "row_value": Out(row_layout()),
                "free": In(1),
                "push": Out(1),
                "beat": Out(layouts.BEAT),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        task, command, taker = self.task, self.task.command, self.task.order
        opcode = command.opcode
        handle = handle_bits(geometry)
        own_place = Signal(place_layout(geometry))
        own_handle = command.handle[:handle]
        buys = taker.side == Side.BUY

        # The order at hand, read a cycle before.
        maker, maker_at, maker_next = Signal(record_layout(geometry)), Signal(handle), Signal(handle)
        # The level at hand, and its last order.
        level, tail = Signal.like(taker.level), Signal(handle)
        walk, walk_side = Signal(Walk), Signal(Side)
        counted = Signal()
        remaining, missing = Signal(32), Signal(32)
        cancel_reason = Signal(Reason)
        count = Signal(range(geometry.orders + 1))
        here = Signal(place_layout(geometry))
        m.d.comb += [
            own_place.level.eq(taker.level),
            own_place.instrument.eq(command.instrument),
            here.level.eq(level),
            here.instrument.eq(command.instrument),
            self.place.eq(here),
            self.handle.eq(maker_next),
            self.read_handle.eq(maker_next),
            self.write_handle.eq(maker_at),
            self.value.eq(maker),
            self.act_side.eq(walk_side),
            self.seek_place.eq(here),
            self.seek_side.eq(walk_side),
            self.instrument.eq(command.instrument),
            self.front.best.eq(self.found),
            self.front.behind.eq(self.found),
        ]

        # Registered results of comparing the order at hand with the taker.
        own, last = Signal(), Signal()
        takes_maker, takes_taker = Signal(), Signal()
        left_of_taker, left_of_maker = Signal(32), Signal(32)
        enough = Signal()
        price = Signal(32)

        new = opcode == Opcode.NEW
        posts = new & (command.flags.time_in_force == TimeInForce.POST_ONLY)
        fills_or_kills = new & (command.flags.time_in_force == TimeInForce.FOK)

        def crosses(level: Any) -> Any:
            return Mux(buys, level <= taker.level, level >= taker.level)

        def send(layout: data.Layout, kind: Kind, **fields: Any) -> None:
            view = layout(self.beat)
            m.d.comb += [self.push.eq(1), view.kind.kind.eq(kind)]
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

        def report_maker(kind: Kind, **fields: Any) -> None:
            """Report the order at hand."""
            fields = {"instrument": maker.instrument, "handle": maker_at} | fields
            report(kind, maker.side, price, maker.quantity, **fields)

        def finish() -> None:
            m.d.comb += [self.done.eq(1), self.read.eq(0)]
            m.next = "START"

        def rest_or_cancel(reason: Any) -> None:
            m.d.sync += cancel_reason.eq(reason)
            m.next = "RESIDUAL"

        # A scan: the handle whose record has just been read, and what the order before it is.
        ahead = Signal(handle)
        hit, is_final = Signal(), Signal()
        maker_place = Signal(place_layout(geometry))
        mass = opcode == Opcode.MASS_CANCEL
        everywhere = command.instrument == ALL_INSTRUMENTS
        owned = (command.account == ANONYMOUS) | (command.account == maker.account)
        allowed = self.row.state.matches(InstrumentState.OPEN, InstrumentState.CANCEL_ONLY)
        m.d.comb += [
            hit.eq(
                maker.live
                & (everywhere | (command.instrument == maker.instrument))
                & (~mass | (owned & allowed))
            ),
            is_final.eq(maker_at == geometry.orders - 1),
            maker_place.level.eq(maker.level),
            maker_place.instrument.eq(maker.instrument),
        ]

        def scan_on() -> None:
            m.d.sync += [maker.eq(self.record), maker_at.eq(ahead), ahead.eq(ahead + 1)]
            m.d.comb += [self.read.eq(1), self.read_handle.eq(ahead + 1)]

        facing = Signal(front_layout(geometry))
        m.d.comb += facing.eq(Mux(walk_side == Side.BUY, self.bid.as_value(), self.ask.as_value()))
        # The level behind the one at hand, if that is known.
        behind, behind_known = Signal(best_layout(geometry)), Signal()
        #: A search for the best level, begun in advance, sees every change.
        searched = Signal()

        def write_front(side: Any) -> None:
            m.d.comb += self.front_write.eq(Mux(side == Side.BUY, 1 << Side.BUY, 1 << Side.SELL))

        with m.FSM(name="matcher"):
            with m.State("START"):
                m.d.sync += [
                    remaining.eq(command.quantity),
                    missing.eq(command.quantity),
                    walk.eq(Walk.MATCH),
                    counted.eq(0),
                    count.eq(0),
                    ahead.eq(0),
                    walk_side.eq(~taker.side),
                ]
                with m.If(self.active):
                    with m.Switch(opcode):
                        with m.Case(Opcode.NEW, Opcode.REPLACE):
                            # The pipeline has entered it already, as if it did not cross.
                            m.d.comb += [self.write.eq(1), self.write_handle.eq(own_handle)]
                            m.d.comb += self.value.live.eq(0)
                            # In case that the level at the bound has emptied.
                            m.d.comb += [self.seek.eq(1), self.seek_side.eq(~taker.side)]
                            m.d.comb += self.place.level.eq(task.facing.best.level)
                            m.d.sync += [
                                level.eq(task.facing.best.level),
                                behind.eq(task.facing.behind),
                                behind_known.eq((task.facing.best != task.facing.behind) & ~task.facing.partial),
                                searched.eq(self.settled),
                            ]
                            m.next = "LEVEL"
                        with m.Case(Opcode.LOAD):
                            m.d.comb += self.place.eq(own_place)
                            m.next = "LOAD"
                        with m.Case(Opcode.MASS_CANCEL):
                            m.next = "REFILL"
                        with m.Case(Opcode.STATE):
                            m.next = "ROW"
                        with m.Case(Opcode.DUMP):
                            m.d.sync += [walk.eq(Walk.DUMP), walk_side.eq(Side.BUY)]
                            m.next = "SEEK BEST"
                        with m.Default():
                            m.next = "ANSWER"

            # Matching, and walks along the queues.

            with m.State("LEVEL"):
                m.d.sync += tail.eq(self.ends.tail)
                m.d.comb += [
                    self.handle.eq(self.ends.head),
                    self.read.eq(1),
                    self.read_handle.eq(self.ends.head),
                ]
                m.d.sync += maker_at.eq(self.ends.head)
                with m.If(~self.ends.occupied):
                    m.next = "NEXT"
                    with m.If(searched & ~behind_known):
                        m.next = "SEEKING"
                with m.Elif((walk == Walk.MATCH) & posts):
                    rest_or_cancel(Reason.POST_ONLY)
                with m.Else():
                    m.next = "FETCH"
                    with m.If((walk == Walk.MATCH) & fills_or_kills & ~counted):
                        m.d.sync += walk.eq(Walk.COUNT)

            with m.State("FETCH"):
                m.d.sync += [maker.eq(self.record), maker_next.eq(self.next)]
                m.next = "COMPARE"

            with m.State("COMPARE"):
                m.d.sync += [
                    own.eq((maker.account != ANONYMOUS) & (maker.account == taker.account)),
                    last.eq(maker_at == tail),
                    takes_maker.eq(maker.quantity <= remaining),
                    takes_taker.eq(maker.quantity >= remaining),
                    enough.eq(maker.quantity >= missing),
                    left_of_taker.eq(remaining - maker.quantity),
                    left_of_maker.eq(maker.quantity - remaining),
                    price.eq(self.row.base + maker.level),
                ]
                m.d.comb += self.read.eq(1)
                m.next = "MEET"

            with m.State("MEET"):
                m.d.comb += self.read.eq(1)
                onward = Signal()
                with m.Switch(walk):
                    with m.Case(Walk.MATCH):
                        with m.If(own & (taker.self_trade == SelfTrade.CANCEL_NEWEST)):
                            rest_or_cancel(Reason.SELF)
                        with m.Elif(self.free):
                            traded = Mux(takes_maker, maker.quantity, remaining)
                            pops = own | takes_maker
                            m.d.comb += [
                                self.write.eq(1),
                                self.value.live.eq(~pops),
                                self.value.quantity.eq(left_of_maker),
                            ]
                            with m.If(pops):
                                m.d.comb += self.act.eq(Mux(last, Act.EMPTY, Act.POP))
                            with m.If(own):
                                report_maker(Kind.CANCELLED, reason=Reason.SELF)
                            with m.Else():
                                report(Kind.TRADE, taker.side, price, traded, maker=maker_at)
                                m.d.comb += layouts.REPORT(self.beat).kind.maker_done.eq(takes_maker)
                                m.d.sync += remaining.eq(left_of_taker)
                            with m.If(own & (taker.self_trade == SelfTrade.CANCEL_BOTH)):
                                rest_or_cancel(Reason.SELF)
                            with m.Elif(~own & takes_taker):
                                finish()
                            with m.Elif(last):
                                m.next = "NEXT"
                            with m.Else():
                                m.d.comb += onward.eq(1)
                    with m.Case(Walk.COUNT):
                        with m.If(own & (taker.self_trade != SelfTrade.CANCEL_OLDEST)):
                            rest_or_cancel(Reason.FOK)
                        with m.Elif(~own & enough):
                            m.d.sync += [walk.eq(Walk.MATCH), counted.eq(1)]
                            m.d.sync += level.eq(facing.best.level)
                            m.d.comb += self.place.level.eq(facing.best.level)
                            m.next = "LEVEL"
                        with m.Else():
                            with m.If(~own):
                                m.d.sync += missing.eq(missing - maker.quantity)
                            m.d.comb += onward.eq(~last)
                            with m.If(last):
                                m.next = "SEEK NEXT"
                    with m.Default(), m.If(self.free):
                        send(
                            layouts.RESTING,
                            Kind.RESTING,
                            instrument=command.instrument,
                            handle=maker_at,
                            account=maker.account,
                            price=price,
                            quantity=maker.quantity,
                        )
                        resting = layouts.RESTING(self.beat)
                        m.d.comb += [
                            resting.flags.side.eq(maker.side),
                            resting.flags.self_trade.eq(maker.self_trade),
                            onward.eq(~last),
                        ]
                        with m.If(last):
                            m.next = "SEEK NEXT"
                with m.If(onward):
                    m.d.sync += [maker.eq(self.record), maker_at.eq(maker_next), maker_next.eq(self.next)]
                    m.next = "COMPARE"

            with m.State("NEXT"):  # the level at hand is empty
                m.d.sync += behind_known.eq(0)
                m.d.sync += searched.eq(0)
                m.next = "SEEK BEST"
                with m.If(behind_known):
                    write_front(walk_side)
                    m.d.comb += [self.front.best.eq(behind), self.front.behind.eq(behind)]
                    m.d.comb += self.place.level.eq(behind.level)
                    m.d.sync += level.eq(behind.level)
                    m.next = "LEVEL"
                    with m.If(~behind.found | ~crosses(behind.level)):
                        rest_or_cancel(Mux(fills_or_kills, Reason.FOK, Reason.IOC))

            with m.State("SEEK BEST"), m.If(self.settled):
                m.d.comb += self.seek.eq(1)
                m.next = "SEEKING"

            with m.State("SEEK NEXT"), m.If(self.settled):
                m.d.comb += [self.seek.eq(1), self.onward.eq(1)]
                m.next = "SEEKING"

            with m.State("SEEKING"), m.If(self.seek_ready):
                with m.If(walk == Walk.MATCH):
                    write_front(walk_side)
                m.d.sync += level.eq(self.found.level)
                m.d.comb += self.place.level.eq(self.found.level)
                with m.If(self.found.found & ((walk == Walk.DUMP) | crosses(self.found.level))):
                    m.next = "LEVEL"
                with m.Elif(walk != Walk.DUMP):
                    rest_or_cancel(Mux(fills_or_kills, Reason.FOK, Reason.IOC))
                with m.Elif(walk_side == Side.BUY):
                    m.d.sync += walk_side.eq(Side.SELL)
                    m.next = "SEEK BEST"
                with m.Else():
                    finish()

            with m.State("RESIDUAL"):
                cannot_rest = command.flags.time_in_force.matches(TimeInForce.IOC, TimeInForce.FOK)
                cancels = cancel_reason.matches(Reason.SELF, Reason.POST_ONLY) | (
                    (opcode == Opcode.NEW) & cannot_rest
                )
                with m.If(~cancels):
                    m.next = "REST"
                    m.d.comb += self.place.eq(own_place)
                    m.d.comb += self.handle.eq(own_handle)
                with m.Elif(self.free):
                    report(Kind.CANCELLED, taker.side, command.price, remaining, reason=cancel_reason)
                    finish()

            with m.State("REST"):
                m.d.comb += [
                    self.act.eq(Act.ENTER),
                    self.act_side.eq(taker.side),
                    self.write.eq(1),
                    self.write_handle.eq(own_handle),
                    self.value.eq(taker),
                    self.value.quantity.eq(remaining),
                    self.front.eq(task.front),
                ]
                write_front(taker.side)
                finish()

            with m.State("LOAD"):
                m.d.comb += self.place.eq(own_place)
                m.d.comb += [self.read.eq(1), self.read_handle.eq(self.ends.head)]
                m.next = "LOAD SIDE"
                with m.If(~self.ends.occupied):
                    m.d.comb += self.handle.eq(own_handle)
                    m.next = "REST"

            with m.State("LOAD SIDE"):
                m.d.sync += maker.eq(self.record)
                m.next = "LOAD CHECK"

            with m.State("LOAD CHECK"):
                m.d.comb += [self.place.eq(own_place), self.handle.eq(own_handle)]
                with m.If(maker.side == taker.side):
                    m.next = "REST"
                with m.Elif(self.free):
                    report(Kind.REJECTED, taker.side, command.price, 0, reason=Reason.PRICE)
                    finish()

            # A scan of all handles: MASS_CANCEL and STATE(loading).

            with m.State("ROW"):
                loads = command.quantity == InstrumentState.LOADING
                m.d.comb += [
                    self.row_write.eq(1),
                    self.row_value.state.eq(command.quantity),
                    self.row_value.base.eq(Mux(loads, command.price, task.row.base)),
                ]
                m.next = "TOTAL"
                with m.If(loads):
                    # What is loaded next may cross: a bound left over could meet orders of the other side.
                    m.d.comb += [self.front_write.eq(~0), self.front.eq(0)]
                    m.next = "REFILL"

            with m.State("REFILL"):
                m.d.comb += [self.read.eq(1), self.read_handle.eq(ahead)]
                m.next = "FILL"

            with m.State("FILL"):
                scan_on()
                m.next = "SCAN"

            with m.State("SCAN"):
                m.d.comb += self.instrument.eq(maker.instrument)
                with m.If(hit):
                    m.next = "VICTIM"
                with m.Else():
                    scan_on()
                    with m.If(is_final):
                        m.next = "TOTAL"

            with m.State("VICTIM"):
                m.d.comb += [self.instrument.eq(maker.instrument), self.place.eq(maker_place)]
                m.d.comb += self.handle.eq(maker_at)
                m.d.sync += price.eq(self.row.base + maker.level)
                m.next = "REMOVE"

            with m.State("REMOVE"):
                m.d.comb += [self.place.eq(maker_place), self.handle.eq(maker_at)]
                with m.If(self.free):
                    m.d.comb += [
                        self.act.eq(Act.LEAVE),
                        self.act_side.eq(maker.side),
                        self.write.eq(1),
                        self.value.live.eq(0),
                    ]
                    with m.If(mass):
                        report_maker(Kind.CANCELLED, reason=Reason.MASS)
                    m.d.sync += [count.eq(count + 1), ahead.eq(maker_at + 1)]
                    m.next = "REFILL"
                    with m.If(is_final):
                        m.next = "TOTAL"

            with m.State("TOTAL"), m.If(self.free):
                sets = opcode == Opcode.STATE
                report(
                    Kind.ACK,
                    Side.BUY,
                    Mux(sets, self.row.base, 0),
                    Mux(sets, command.quantity, count),
                    handle=0,
                )
                finish()

            with m.State("ANSWER"), m.If(self.free):
                finish()
                with m.If(opcode == Opcode.HELLO):
                    send(
                        layouts.HELLO,
                        Kind.HELLO,
                        version=VERSION,
                        instruments=geometry.instruments,
                        orders=geometry.orders,
                        levels=geometry.levels,
                        account_bits=geometry.account_bits,
                        epoch=self.epoch,
                        busy=self.busy_cycles,
                        last_seq=self.last_seq,
                    )
                with m.Else():
                    send(layouts.FENCE, Kind.FENCE, tag=command.tag, commands=self.applied)
                    with m.If(opcode == Opcode.CLOSE):
                        m.d.comb += self.done.eq(0)
                        m.next = "BATCH"

            with m.State("BATCH"), m.If(self.free):
                send(layouts.BATCH, Kind.BATCH, tag=command.tag)
                finish()
        return m
