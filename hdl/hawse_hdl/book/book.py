"""Control of the matching engine: one command at a time, as a state machine around store and bitmap."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
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
from .bitmap import PriceBitmap, best_layout, instrument_bits
from .check import Check
from .store import OrderStore, body_layout


class Walk(enum.Enum, shape=2):
    """Why the queue of a level is walked along."""

    MATCH = 0
    #: Fill-or-kill: count what could be traded.
    COUNT = 1
    DUMP = 2


class Book(wiring.Component):
    """Matches commands into reports by the matching rules. FENCE and BATCH beats carry no log figures yet.

    Latency: from a command to its first report 3 cycles. A NEW that rests takes 5 in all, CANCEL 4,
    REPLACE 6; a fill 4, 2 if it is at the same level as the one before, and up to 5 more when a level
    empties. Fill-or-kill first takes a cycle for each order that it would touch, and 4 to 8 for each level.
    MASS_CANCEL and STATE(loading) take a cycle for each handle, and 3 for each order cancelled.
    Initiation interval: as long as the command takes; one is at work at a time.
    Ordering: reports leave in the order of the commands.
    Reset: all instruments closed, no orders; ``commands`` is not ready until the memories are cleared, a
    cycle for each handle.
    Back-pressure: a stalled ``beats`` stalls the book for as long as it likes; nothing is lost.

    The sideband's ``left`` is the cycle in which a report is first offered on ``beats``.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        super().__init__(
            {
                "commands": In(stream.Signature(layouts.COMMAND)),
                "beats": Out(stream.Signature(layouts.BEAT)),
                #: Counts resets; HELLO tells it.
                "epoch": In(32),
                #: A command is at work, from its acceptance until its last beat has left.
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        m.submodules.store = store = OrderStore(geometry)
        m.submodules.bitmap = bitmap = PriceBitmap(geometry)
        m.submodules.check = check = Check(geometry)
        row = data.StructLayout({"state": InstrumentState, "base": 32})
        m.submodules.rows = rows = Memory(shape=row, depth=max(2, geometry.instruments), init=[])
        row_read, row_write = rows.read_port(domain="comb"), rows.write_port()

        # The command at work, and what the checks said of it.
        command = Signal(layouts.COMMAND)
        accepted = Signal(32)
        reason = Signal(Reason)
        own_level = Signal(check.level.shape())
        body = store.body
        # The order at hand decides on the instrument, not the command.
        of_order = Signal()
        instrument = Signal(instrument_bits(geometry))
        m.d.comb += [
            instrument.eq(Mux(of_order, body.instrument, command.instrument)),
            row_read.addr.eq(instrument),
            row_write.addr.eq(instrument),
            check.command.eq(command),
            check.state.eq(row_read.data.state),
            check.base.eq(row_read.data.base),
            check.body.eq(body),
            check.quantity.eq(store.quantity),
            bitmap.instrument.eq(instrument),
            store.instrument.eq(instrument),
        ]
        resting_price = row_read.data.base + body.level

        # The order that arrives: a NEW, a LOAD, or the order of a REPLACE at its new price.
        taker = Signal(body_layout(geometry))
        time_in_force = Signal(TimeInForce)
        remaining = Signal(32)
        cancel_reason = Signal(Reason)
        m.d.comb += [store.entering.eq(command.handle), store.entry.eq(taker)]

        # A walk along the levels of one side.
        walk = Signal(Walk)
        walk_side = Signal(Side)
        cursor = Signal(best_layout(geometry))
        missing = Signal(32)
        own = Signal()
        takes_maker, takes_taker, prevents = Signal(), Signal(), Signal()

        def crosses(level: Value) -> Value:
            return Mux(taker.side == Side.BUY, level <= own_level, level >= own_level)

        m.d.comb += own.eq((body.account != ANONYMOUS) & (body.account == taker.account))

        # Counters.
        cycle, busy_cycles = Signal(32), Signal(32)
        applied, last_seq = Signal(64), Signal(64)
        count = Signal(range(max(geometry.orders, geometry.instruments) + 1))
        m.d.sync += [cycle.eq(cycle + 1), busy_cycles.eq(busy_cycles + self.busy)]

        # One beat of output register.
        beat = Signal(layouts.BEAT)
        push, free = Signal(), Signal()
        m.d.comb += free.eq(~self.beats.valid | self.beats.ready)
        with m.If(free):
            m.d.sync += self.beats.valid.eq(push)
        with m.If(push):
            m.d.sync += self.beats.payload.eq(beat)

        def send(layout: data.Layout, kind: Kind, **fields: Any) -> None:
            view = layout(beat)
            m.d.comb += [push.eq(1), view.kind.kind.eq(kind)]
            m.d.comb += [view[name].eq(value) for name, value in fields.items()]

        def report(kind: Kind, side: Any, price: Any, quantity: Any, **fields: Any) -> None:
            fields = {"instrument": command.instrument, "handle": command.handle} | fields
            send(
                layouts.REPORT,
                kind,
                price=price,
                quantity=quantity,
                seq=command.seq,
                accepted=accepted,
                left=cycle + 1,
                **fields,
            )
            m.d.comb += layouts.REPORT(beat).kind.side.eq(side)

        def report_order(kind: Kind, quantity: Any = store.quantity, **fields: Any) -> None:
            """Report the order at hand."""
            fields = {"instrument": body.instrument, "handle": store.at} | fields
            report(kind, body.side, resting_price, quantity, **fields)

        def look(side: Any, level: Any) -> None:
            m.d.comb += [store.look.eq(1), store.level.eq(level)]
            m.d.comb += [bitmap.look.eq(1), bitmap.side.eq(side), bitmap.level.eq(level)]

        def read(handle: Any) -> None:
            m.d.comb += [store.read.eq(1), store.handle.eq(handle)]

        def leave() -> None:
            m.d.comb += [store.leave.eq(1), bitmap.remove.eq(store.alone)]

        m.d.comb += store.occupied.eq(bitmap.occupied)

        with m.FSM(init="CLEAR") as fsm:
            with m.State("CLEAR"):
                m.d.comb += [
                    instrument.eq(count),
                    store.handle.eq(count),
                    store.clear.eq(1),
                    bitmap.clear.eq(1),
                    row_write.en.eq(1),
                ]
                m.d.sync += count.eq(count + 1)
                with m.If(count == max(geometry.orders, geometry.instruments) - 1):
                    m.next = "IDLE"

            with m.State("IDLE"):
                m.d.comb += self.commands.ready.eq(1)
                read(self.commands.payload.handle)
                m.d.sync += [command.eq(self.commands.payload), accepted.eq(cycle)]
                with m.If(self.commands.valid):
                    m.next = "CHECK"

            with m.State("CHECK"):
                m.d.sync += [reason.eq(check.reason), own_level.eq(check.level)]
                m.next = "BEGIN"

            with m.State("BEGIN"):
                replaces = Signal()
                m.d.comb += replaces.eq(command.opcode == Opcode.REPLACE)
                m.d.sync += [
                    taker.level.eq(own_level),
                    taker.side.eq(Mux(replaces, body.side, command.flags.side)),
                    taker.account.eq(Mux(replaces, body.account, command.account)),
                    taker.self_trade.eq(Mux(replaces, body.self_trade, command.flags.self_trade)),
                    taker.instrument.eq(command.instrument),
                    time_in_force.eq(
                        Mux(command.opcode == Opcode.NEW, command.flags.time_in_force, TimeInForce.GTC)
                    ),
                    remaining.eq(command.quantity),
                    missing.eq(command.quantity),
                    walk.eq(Walk.MATCH),
                    count.eq(0),
                ]
                with m.If(free & bitmap.ready):
                    m.d.sync += [applied.eq(applied + 1), last_seq.eq(command.seq)]
                    m.next = "IDLE"
                    with m.If(reason != Reason.NONE):
                        report(Kind.REJECTED, command.flags.side, command.price, 0, reason=reason)
                    with m.Else(), m.Switch(command.opcode):
                        with m.Case(Opcode.NEW):
                            report(Kind.ACK, command.flags.side, command.price, command.quantity)
                            m.next = "ARRIVE"
                        with m.Case(Opcode.LOAD):
                            look(~command.flags.side, own_level)
                            m.next = "LOAD"
                        with m.Case(Opcode.CANCEL):
                            report_order(Kind.CANCELLED, reason=Reason.USER)
                            look(body.side, body.level)
                            m.next = "LEAVE"
                        with m.Case(Opcode.REPLACE):
                            report(Kind.REPLACED, body.side, command.price, command.quantity)
                            look(body.side, body.level)
                            m.next = "LEAVE"
                        with m.Case(Opcode.REDUCE):
                            report_order(Kind.REPLACED, command.quantity)
                            m.d.comb += [store.resize.eq(1), store.remaining.eq(command.quantity)]
                        with m.Case(Opcode.MASS_CANCEL):
                            read(0)
                            m.next = "SCAN"
                        with m.Case(Opcode.STATE):
                            loads = command.quantity == InstrumentState.LOADING
                            m.d.comb += [
                                row_write.en.eq(1),
                                row_write.data.state.eq(command.quantity),
                                row_write.data.base.eq(Mux(loads, command.price, row_read.data.base)),
                                bitmap.clear.eq(loads),
                            ]
                            read(0)
                            m.next = "TOTAL"
                            with m.If(loads):
                                m.next = "SCAN"
                        with m.Case(Opcode.FENCE):
                            send(layouts.FENCE, Kind.FENCE, tag=command.tag, commands=applied)
                        with m.Case(Opcode.CLOSE):
                            send(layouts.FENCE, Kind.FENCE, tag=command.tag, commands=applied)
                            m.d.sync += applied.eq(0)
                            m.next = "CLOSE"
                        with m.Case(Opcode.DUMP):
                            m.d.sync += [walk.eq(Walk.DUMP), walk_side.eq(Side.BUY), cursor.eq(bitmap.bid)]
                            m.next = "SEEK"
                        with m.Case(Opcode.HELLO):
                            send(
                                layouts.HELLO,
                                Kind.HELLO,
                                version=VERSION,
                                instruments=geometry.instruments,
                                orders=geometry.orders,
                                levels=geometry.levels,
                                account_bits=geometry.account_bits,
                                epoch=self.epoch,
                                busy=busy_cycles,
                                last_seq=last_seq,
                            )

            with m.State("CLOSE"), m.If(free):
                send(layouts.BATCH, Kind.BATCH, tag=command.tag)
                m.next = "IDLE"

            # An order leaves and enters.

            with m.State("LEAVE"):
                leave()
                m.next = "IDLE"
                with m.If(command.opcode == Opcode.REPLACE):
                    m.next = "ARRIVE"

            with m.State("LOAD"), m.If(free):
                with m.If(bitmap.occupied):
                    report(Kind.REJECTED, taker.side, command.price, 0, reason=Reason.PRICE)
                    m.next = "IDLE"
                with m.Else():
                    look(taker.side, own_level)
                    m.next = "REST"

            with m.State("REST"):
                m.d.comb += [store.enter.eq(1), store.remaining.eq(remaining), bitmap.insert.eq(1)]
                m.next = "IDLE"

            with m.State("ARRIVE"), m.If(bitmap.ready):
                best = Signal(best_layout(geometry))
                m.d.comb += best.eq(Mux(taker.side == Side.BUY, bitmap.ask.as_value(), bitmap.bid.as_value()))
                m.d.sync += [walk_side.eq(~taker.side), cursor.eq(best)]
                with m.If(best.found & crosses(best.level)):
                    look(~taker.side, best.level)
                    m.next = "HEAD"
                    with m.Switch(time_in_force):
                        with m.Case(TimeInForce.POST_ONLY):
                            m.d.sync += cancel_reason.eq(Reason.POST_ONLY)
                            m.next = "RESIDUAL"
                        with m.Case(TimeInForce.FOK):
                            # The count comes first; once it is enough, what follows is like an IOC.
                            m.d.sync += [walk.eq(Walk.COUNT), time_in_force.eq(TimeInForce.IOC)]
                with m.Else():
                    look(taker.side, own_level)
                    m.next = "REST"
                    with m.If(time_in_force.matches(TimeInForce.IOC, TimeInForce.FOK)):
                        fok = time_in_force == TimeInForce.FOK
                        m.d.sync += cancel_reason.eq(Mux(fok, Reason.FOK, Reason.IOC))
                        m.next = "RESIDUAL"

            with m.State("RESIDUAL"), m.If(free):
                report(Kind.CANCELLED, taker.side, command.price, remaining, reason=cancel_reason)
                m.next = "IDLE"

            # A walk along a level, and from level to level.

            with m.State("SEEK"), m.If(bitmap.ready):
                counts = walk == Walk.COUNT
                with m.If(~cursor.found | (counts & ~crosses(cursor.level))):
                    m.d.sync += [cancel_reason.eq(Reason.FOK), walk_side.eq(Side.SELL), cursor.eq(bitmap.ask)]
                    m.next = "IDLE"
                    with m.If(counts):
                        m.next = "RESIDUAL"
                    with m.Elif(walk_side == Side.BUY):
                        m.next = "SEEK"
                with m.Else():
                    look(walk_side, cursor.level)
                    m.next = "HEAD"

            with m.State("HEAD"):
                read(store.head)
                m.next = "MEET"

            with m.State("MEET"):
                onward = Signal()
                with m.Switch(walk):
                    with m.Case(Walk.MATCH):
                        look(walk_side, cursor.level)
                        m.d.sync += [
                            prevents.eq(own),
                            takes_maker.eq(store.quantity <= remaining),
                            takes_taker.eq(store.quantity >= remaining),
                        ]
                        m.next = "FILL"
                        with m.If(own & (taker.self_trade == SelfTrade.CANCEL_NEWEST)):
                            m.d.sync += cancel_reason.eq(Reason.SELF)
                            m.next = "RESIDUAL"
                    with m.Case(Walk.COUNT):
                        with m.If(own & (taker.self_trade != SelfTrade.CANCEL_OLDEST)):
                            m.d.sync += cancel_reason.eq(Reason.FOK)
                            m.next = "RESIDUAL"
                        with m.Elif(~own & (store.quantity >= missing)):
                            m.d.sync += walk.eq(Walk.MATCH)
                            m.next = "ARRIVE"
                        with m.Else():
                            m.d.sync += missing.eq(missing - Mux(own, 0, store.quantity))
                            m.d.comb += onward.eq(1)
                    with m.Default(), m.If(free):
                        send(
                            layouts.RESTING,
                            Kind.RESTING,
                            instrument=command.instrument,
                            handle=store.at,
                            account=body.account,
                            price=resting_price,
                            quantity=store.quantity,
                        )
                        resting = layouts.RESTING(beat)
                        m.d.comb += [
                            resting.flags.side.eq(body.side),
                            resting.flags.self_trade.eq(body.self_trade),
                            onward.eq(1),
                        ]
                with m.If(onward):
                    with m.If(store.last):
                        m.d.comb += bitmap.advance.eq(1)
                        m.next = "ADVANCE"
                    with m.Else():
                        read(store.next)

            with m.State("ADVANCE"), m.If(bitmap.ready):
                m.d.sync += cursor.eq(bitmap.next)
                m.next = "SEEK"

            with m.State("FILL"), m.If(free):
                traded = Mux(takes_maker, store.quantity, remaining)
                with m.If(prevents):
                    report_order(Kind.CANCELLED, reason=Reason.SELF)
                with m.Else():
                    report(Kind.TRADE, taker.side, resting_price, traded, maker=store.at)
                    m.d.comb += layouts.REPORT(beat).kind.maker_done.eq(takes_maker)
                    m.d.sync += remaining.eq(remaining - traded)
                with m.If(prevents | takes_maker):
                    leave()
                with m.Else():
                    m.d.comb += [store.resize.eq(1), store.remaining.eq(store.quantity - remaining)]
                read(store.next)
                with m.If(prevents & (taker.self_trade == SelfTrade.CANCEL_BOTH)):
                    m.d.sync += cancel_reason.eq(Reason.SELF)
                    m.next = "RESIDUAL"
                with m.Elif(~prevents & takes_taker):
                    m.next = "IDLE"
                with m.Elif(store.alone):
                    m.next = "ARRIVE"
                with m.Else():
                    m.next = "MEET"

            # A scan of all handles: MASS_CANCEL and STATE(loading).

            with m.State("SCAN"), m.If(bitmap.ready):
                cancels = command.opcode == Opcode.MASS_CANCEL
                everywhere = command.instrument == ALL_INSTRUMENTS
                owned = (command.account == ANONYMOUS) | (command.account == body.account)
                allowed = row_read.data.state.matches(InstrumentState.OPEN, InstrumentState.CANCEL_ONLY)
                hit = Signal()
                m.d.comb += [
                    of_order.eq(1),
                    hit.eq(
                        store.quantity.any()
                        & (everywhere | (command.instrument == body.instrument))
                        & (~cancels | (owned & allowed))
                    ),
                ]
                with m.If(hit & cancels):
                    look(body.side, body.level)
                    m.next = "REMOVE"
                with m.Else():
                    m.d.comb += store.resize.eq(hit)
                    read(store.at + 1)
                    with m.If(store.at == geometry.orders - 1):
                        m.next = "TOTAL"

            with m.State("REMOVE"):
                m.d.comb += of_order.eq(1)
                with m.If(free):
                    report_order(Kind.CANCELLED, reason=Reason.MASS)
                    leave()
                    m.d.sync += count.eq(count + 1)
                    m.next = "RESUME"
                    with m.If(store.at == geometry.orders - 1):
                        m.next = "TOTAL"

            with m.State("RESUME"):  # a cycle later, because the leaving order changed its neighbours' links
                read(store.at + 1)
                m.next = "SCAN"

            with m.State("TOTAL"), m.If(free):
                sets = command.opcode == Opcode.STATE
                report(
                    Kind.ACK,
                    Side.BUY,
                    Mux(sets, row_read.data.base, 0),
                    Mux(sets, command.quantity, count),
                    handle=0,
                )
                m.next = "IDLE"

        m.d.comb += self.busy.eq(
            (self.commands.valid & self.commands.ready)
            | ~(fsm.ongoing("IDLE") | fsm.ongoing("CLEAR"))
            | self.beats.valid
            | ~bitmap.ready
        )
        return m
