"""The matching engine: a pipeline around the order store, the queues and the bitmap."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2
from hawse.wire import Geometry, Kind, Opcode, Reason, Side, TimeInForce

from .. import layouts
from ..memory import ForwardedMemory
from .bitmap import PriceBitmap
from .check import Check, OrderCheck, alike_tags, kinship_layout, same_instrument, verdict_layout
from .fronts import Fronts
from .layouts import handle_bits, record_layout, rejection_shape, row_layout, task_layout
from .matcher import Matcher
from .outbox import Outbox
from .queues import Act, Queues


class Book(wiring.Component):
    """Matches commands into reports by the matching rules. FENCE and BATCH beats carry no log figures yet.

    A command is accepted, then checked, then its order is read and its level compared with the best, then
    it is decided (the order's record and the best levels are brought up to date), then told, while the queue
    of its level is changed behind it. What takes longer, the matcher does while the pipeline waits.

    Latency: 6 cycles from a command to its report, 10 to the first fill of one that crosses.
    Initiation interval: 1; REPLACE, REDUCE and a NEW that cannot rest 2; the rest as :class:`Matcher` says.
    Ordering: reports leave in the order of the commands.
    Reset: all instruments closed and without a window, no orders; ``commands`` is not ready until the
    memories are cleared, a cycle for each handle, level or instrument, whichever are most.
    Back-pressure: a stalled ``beats`` stalls the book for as long as it likes; nothing is lost.

    The sideband's ``left`` is the cycle in which a report is first offered on ``beats``.

    Args:
        geometry: how much it holds.
        build: what it was made of, 16 bytes as a little-endian integer, or a constant signal; BUILD tells it.
        clock_khz: of its clock, 0 if that is not known; BUILD tells it.

    Raises:
        ValueError: ``build`` or ``clock_khz`` do not fit.
    """

    def __init__(self, geometry: Geometry, *, build: int | Value = 0, clock_khz: int = 0) -> None:
        for name, value, bits in (("build", build, 128), ("clock_khz", clock_khz, 32)):
            if isinstance(value, int) and not 0 <= value < 1 << bits:
                raise ValueError(f"{name}: {value} is not within 0..2**{bits} - 1")
        self.geometry = geometry
        self.build = build
        self.clock_khz = clock_khz
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
        handle = handle_bits(geometry)
        record = record_layout(geometry)
        m.submodules.check = check = Check(geometry)
        m.submodules.order_check = order_check = OrderCheck(geometry)
        m.submodules.store = store = ForwardedMemory(record, geometry.orders, late=False)
        m.submodules.queues = queues = Queues(geometry)
        m.submodules.bitmap = bitmap = PriceBitmap(geometry)
        m.submodules.fronts = fronts = Fronts(geometry)
        m.submodules.matcher = matcher = Matcher(geometry, build=self.build, clock_khz=self.clock_khz)
        m.submodules.outbox = outbox = Outbox()
        connect(m, outbox.beats, flipped(self.beats))

        row = row_layout(geometry)
        m.submodules.rows = rows = Memory(shape=row, depth=geometry.instruments, init=[])
        row_write = rows.write_port()
        row_accept, row_match, row_seek = (rows.read_port(domain="comb") for _ in range(3))
        # Stages. What one holds means nothing unless it is valid, so a reset need not reach it.
        came = data.StructLayout({"command": layouts.COMMAND, "accepted": 32, "row": row})
        checked = data.StructLayout({"came": came, "verdict": verdict_layout(geometry)})
        read = data.StructLayout({"checked": checked, "record": record, "kinship": kinship_layout(geometry)})
        outcome = {"rejected": 1, "reason": rejection_shape(), "side": Side}
        done = data.StructLayout({"task": task_layout(geometry), "record": record} | outcome)
        checking = Signal(came, reset_less=True)
        reading = Signal(checked, reset_less=True)
        deciding = Signal(read, reset_less=True)
        told = Signal(done, reset_less=True)
        checking_valid = Signal()
        reading_valid = Signal()
        deciding_valid = Signal()
        told_valid = Signal()
        #: The commands in ``reading`` and ``deciding`` name the same handle.
        same_handle = Signal()
        #: The second pass of a command that takes two.
        second = Signal()
        #: The first of two is in ``deciding``.
        pauses = Signal()
        #: The command in ``deciding`` writes its order, if nothing speaks against it that was found there.
        may_write = Signal()
        #: The level to be looked at is that of the order named, not the command's.
        by_record = Signal()
        #: The command in ``deciding`` brings an order that rests if it does not cross, takes one away; if all
        #: is well.
        arriving = Signal()
        leaving = Signal()
        #: Its side, or that of the order that it names.
        side = Signal(Side, reset_less=True)
        told_second = Signal()
        told_reports = Signal()
        told_act = Signal(Act)
        task, command, verdict = told.task, deciding.checked.came.command, deciding.checked.verdict
        #: The matcher is at work with the command in ``told``.
        slow = Signal()
        #: A STATE is on its way: what comes behind it must see the new state.
        barrier = Signal()
        cleared = Signal()
        cycle = Signal(32)
        busy_cycles = Signal(32)
        applied = Signal(64)
        last_seq = Signal(64)
        was_busy = Signal()
        m.d.sync += [
            cycle.eq(cycle + 1),
            was_busy.eq(self.busy),
            busy_cycles.eq(busy_cycles + was_busy),
        ]

        go = Signal()
        step = Signal()
        m.d.comb += [
            go.eq(outbox.room & ~slow),
            step.eq(go & ~pauses),
            self.commands.ready.eq(step & ~barrier & cleared),
        ]

        # Accept.
        incoming = self.commands.payload
        m.d.comb += row_accept.addr.eq(incoming.instrument)
        with m.If(step):
            m.d.sync += [
                checking_valid.eq(self.commands.valid & self.commands.ready),
                checking.command.eq(incoming),
                checking.accepted.eq(cycle),
                checking.row.eq(row_accept.data),
            ]
            with m.If(self.commands.valid & self.commands.ready & (incoming.opcode == Opcode.STATE)):
                m.d.sync += barrier.eq(1)

        # Check.
        m.d.comb += [
            check.command.eq(checking.command),
            check.row.eq(checking.row),
        ]
        with m.If(step):
            m.d.sync += [
                reading_valid.eq(checking_valid),
                reading.came.eq(checking),
                reading.verdict.eq(check.verdict),
            ]

        # Read. A stage that waits reads again, so that nothing written meanwhile is missed.
        value = Signal(record)  # what the order in the next stage becomes, if that is ``written``
        written = Signal()
        accepted = Signal()
        rewritten = Signal()  # the order in ``reading`` is that one, and is ``written`` if there is a step
        matched_over = Signal()  # the matcher changes the order in ``deciding``
        m.d.comb += [
            rewritten.eq(may_write & accepted & same_handle),
            matched_over.eq(slow & matcher.write & (matcher.write_handle == command.handle[:handle])),
        ]

        def fails(verdict: Any) -> Any:
            return verdict.bad | verdict.fails.PRICE

        def give(order: Any, named: Any, given: Any) -> None:
            """The order of ``named``, if ``given``, is ``order``, whatever is read."""
            command, verdict, kinship = named.came.command, named.verdict, deciding.kinship
            stranger = given & verdict.names & ~same_instrument(order, command)
            alien = given & verdict.replaces & ~alike_tags(order, command).all()
            m.d.sync += [
                kinship.stranger.eq(stranger),
                kinship.alien.eq(alien),
                kinship.rejects.eq(fails(verdict) | stranger | alien),
            ]

        m.d.comb += store.read.eq(reading.came.command.handle)
        with m.If(slow & ~matcher.done):
            m.d.comb += store.read.eq(matcher.handle)
        with m.Elif(step):
            m.d.comb += store.read.eq(checking.command.handle)
        with m.If(step):
            m.d.sync += [
                deciding_valid.eq(reading_valid),
                deciding.checked.eq(reading),
                same_handle.eq(checking.command.handle[:handle] == reading.came.command.handle[:handle]),
                second.eq(0),
                pauses.eq(reading_valid & reading.verdict.twice),
                may_write.eq(
                    reading_valid
                    & ~fails(reading.verdict)
                    & (reading.verdict.cancels | (reading.verdict.is_new & ~reading.verdict.twice))
                ),
                by_record.eq(reading.verdict.names),
                arriving.eq(reading_valid & reading.verdict.is_new & ~reading.verdict.twice),
                leaving.eq(reading_valid & (reading.verdict.cancels | reading.verdict.replaces)),
            ]
            give(value, reading, rewritten)
        with m.Else():
            # A first pass of two writes nothing.
            with m.If(go):
                m.d.sync += [
                    second.eq(1),
                    pauses.eq(0),
                    may_write.eq(~fails(verdict) & ~verdict.is_new),
                    by_record.eq(0),
                    arriving.eq(verdict.replaces),
                    leaving.eq(0),
                ]
            with m.If(matched_over):
                give(matcher.value, deciding.checked, Const(1))
        # The block RAM answers last, so that what is taken instead of it is chosen before.
        given = slow | rewritten
        instead = Signal(record)
        m.d.comb += instead.eq(Mux(slow, matcher.value, value))
        named = Mux(slow, verdict.names, reading.verdict.names)
        own_side = Mux(slow, command.flags.side, reading.came.command.flags.side)
        with m.If(step | matched_over):
            m.d.sync += [
                deciding.record.eq(Mux(given, instead, store.data)),
                side.eq(Mux(named & ~given, store.data.side, Mux(named, instead.side, own_side))),
                deciding.kinship.elsewhere.eq(~same_instrument(store.data, reading.came.command)),
                deciding.kinship.differs.eq(~alike_tags(store.data, reading.came.command)),
            ]
            # These are resets of registers, so that no gate more stands behind the memory.
            with m.If(given | ~reading.verdict.names):
                m.d.sync += deciding.kinship.elsewhere.eq(0)
            with m.If(given | ~reading.verdict.replaces):
                m.d.sync += deciding.kinship.differs.eq(0)

        # Decide.
        found = deciding.record
        enters = Signal()
        leaves = Signal()
        may_trade = Signal()
        starts_slow = Signal()
        order = Signal(record)
        level = verdict.level
        m.d.comb += [
            order_check.verdict.eq(verdict),
            order_check.command.eq(command),
            order_check.record.eq(found),
            order_check.kinship.eq(deciding.kinship),
            accepted.eq(order_check.accepts),
            order.live.eq(1),
            order.quantity.eq(command.quantity),
            order.level.eq(level),
            order.side.eq(side),
            order.tag.eq(Mux(verdict.names, found.tag, command.tag)),
            order.self_trade.eq(Mux(verdict.names, found.self_trade, command.flags.self_trade)),
            order.instrument.eq(command.instrument),
            may_trade.eq((verdict.is_new & ~second) | (verdict.replaces & second)),
        ]
        m.d.comb += [
            enters.eq(arriving & accepted & ~fronts.crosses),
            leaves.eq(leaving & accepted),
            starts_slow.eq(accepted & (verdict.rare | (may_trade & fronts.crosses))),
        ]
        decides = Signal()
        m.d.comb += [
            decides.eq(go & deciding_valid),
            value.eq(order),
            value.live.eq(~verdict.cancels),
            # A NEW that crosses is written, too, and taken back by the matcher: what it does is known late.
            written.eq(go & may_write & accepted),
            store.write.eq(written),
            store.address.eq(command.handle),
            store.value.eq(value),
            queues.place.eq(Mux(by_record, found.level, level)),
            queues.instrument.eq(command.instrument),
            queues.handle.eq(command.handle),
            fronts.step.eq(step),
            fronts.go.eq(go),
            fronts.coming.eq(checking.command.instrument),
            fronts.first_place.eq(reading.verdict.level),
            fronts.first_instrument.eq(reading.came.command.instrument),
            fronts.first_handle.eq(reading.came.command.handle),
            fronts.place.eq(level),
            fronts.instrument.eq(command.instrument),
            fronts.side.eq(order.side),
            fronts.handle.eq(command.handle),
            fronts.arriving.eq(arriving),
            fronts.leaving.eq(leaving),
            fronts.accepted.eq(accepted),
            fronts.vacated.eq(queues.vacated),
            fronts.vacated_place.eq(queues.vacated_place),
            fronts.vacated_instrument.eq(queues.vacated_instrument),
            fronts.vacated_side.eq(queues.vacated_side),
        ]
        with m.If(verdict.reduces):
            m.d.comb += value.level.eq(found.level)
        with m.If(go):
            m.d.sync += [
                told_valid.eq(deciding_valid),
                task.command.eq(command),
                task.accepted.eq(deciding.checked.came.accepted),
                task.order.eq(order),
                task.row.eq(deciding.checked.came.row),
                task.front.eq(fronts.entered),
                task.facing.eq(fronts.facing),
                told.record.eq(found),
                told.rejected.eq(~accepted),
                told.reason.eq(order_check.reason),
                told_second.eq(second),
                told_reports.eq(
                    deciding_valid
                    & ~(accepted & verdict.rare)
                    & Mux(verdict.reduces, second, ~second | (verdict.is_new & accepted))
                ),
                told_act.eq(Act.NONE),
                told.side.eq(order.side),
                slow.eq(decides & starts_slow),
            ]
            with m.If(enters):
                m.d.sync += told_act.eq(Act.ENTER)
            with m.If(leaves):
                m.d.sync += told_act.eq(Act.LEAVE)
        with m.Else():
            m.d.sync += [told_reports.eq(0), told_act.eq(Act.NONE)]
            with m.If(~slow | matcher.done):
                m.d.sync += [told_valid.eq(0), slow.eq(0)]
        with m.If(slow & second):  # the matcher sees to the residual
            m.d.sync += [deciding_valid.eq(0), second.eq(0), arriving.eq(0)]
        with m.If(told_valid & (task.command.opcode == Opcode.STATE) & (~slow | matcher.done)):
            m.d.sync += barrier.eq(0)

        # Tell.
        # From the pipeline and from the matcher, one of which is silent; chosen when both are in registers.
        told_beat = Signal(layouts.BEAT, reset_less=True)
        matched_beat = Signal(layouts.BEAT, reset_less=True)
        was_told = Signal()
        matched = Signal()
        # A trade of an owner with itself cancels the maker, or is not told; one that leaves a part of the
        # maker is for what remains of the taker.
        own = Signal()
        kept = Signal()
        cut = Signal()
        remaining = Signal.like(matcher.remaining, reset_less=True)
        report = layouts.REPORT(Signal(layouts.BEAT, name="report"))
        m.d.comb += [
            report.instrument.eq(task.command.instrument),
            report.handle.eq(task.command.handle),
            report.price.eq(task.command.price),
            report.quantity.eq(task.command.quantity),
            report.seq.eq(task.command.seq),
            report.accepted.eq(task.accepted),
            report.kind.side.eq(told.side),
        ]
        resting_price = task.row.origin + told.record.level
        with m.If(told.rejected):
            m.d.comb += [
                report.kind.kind.eq(Kind.REJECTED),
                report.kind.side.eq(task.command.flags.side),
                report.reason.eq(told.reason),
                report.quantity.eq(0),
            ]
        with m.Else(), m.Switch(task.command.opcode):
            with m.Case(Opcode.NEW):
                m.d.comb += report.kind.kind.eq(Kind.ACK)
                with m.If(told_second):
                    fok = task.command.flags.time_in_force == TimeInForce.FOK
                    m.d.comb += [
                        report.kind.kind.eq(Kind.CANCELLED),
                        report.reason.eq(Mux(fok, Reason.FOK, Reason.IOC)),
                    ]
            with m.Case(Opcode.CANCEL):
                m.d.comb += [
                    report.kind.kind.eq(Kind.CANCELLED),
                    report.reason.eq(Reason.COMMAND),
                    report.price.eq(resting_price),
                    report.quantity.eq(told.record.quantity),
                ]
            with m.Case(Opcode.REPLACE):
                m.d.comb += report.kind.kind.eq(Kind.REPLACED)
            with m.Default():
                m.d.comb += [report.kind.kind.eq(Kind.REPLACED), report.price.eq(resting_price)]
        m.d.sync += [
            was_told.eq(told_reports),
            told_beat.eq(report.as_value()),
            matched.eq(matcher.push),
            matched_beat.eq(matcher.beat),
            own.eq(matcher.own),
            kept.eq(matcher.kept),
            cut.eq(matcher.cut),
            remaining.eq(matcher.remaining),
        ]
        m.d.comb += [
            queues.act.eq(told_act),
            queues.side.eq(told.side),
            outbox.cycle.eq(cycle),
            outbox.push.eq(was_told | (matched & ~kept)),
            outbox.beat.eq(Mux(was_told, told_beat, matched_beat)),
        ]
        trade = layouts.REPORT(outbox.beat)
        with m.If(own):
            m.d.comb += [
                trade.kind.kind.eq(Kind.CANCELLED),
                trade.kind.side.eq(~layouts.REPORT(matched_beat).kind.side),
                trade.kind.maker_done.eq(0),
                trade.reason.eq(Reason.SELF),
                trade.handle.eq(layouts.REPORT(matched_beat).maker),
                trade.maker.eq(0),
            ]
        with m.Elif(cut):
            m.d.comb += [trade.quantity.eq(remaining), trade.kind.maker_done.eq(0)]

        # The matcher takes over the memories.
        seek_mask = Signal.like(row_seek.data.mask)
        m.d.sync += seek_mask.eq(row_seek.data.mask)
        m.d.comb += [
            row_seek.addr.eq(fronts.seek_instrument),
            matcher.active.eq(slow),
            matcher.task.eq(task),
            matcher.applied.eq(applied),
            matcher.last_seq.eq(last_seq),
            matcher.busy_cycles.eq(busy_cycles),
            matcher.epoch.eq(self.epoch),
            matcher.record.eq(store.data),
            matcher.ends.eq(queues.ends),
            matcher.next.eq(queues.next),
            matcher.settled.eq(queues.quiet & bitmap.settled),
            matcher.seek_ready.eq(bitmap.ready),
            matcher.found.eq(bitmap.found),
            fronts.write_instrument.eq(matcher.instrument),
            fronts.write.eq(matcher.front_write & slow.replicate(2)),
            fronts.value.eq(matcher.front),
            row_match.addr.eq(matcher.instrument),
            matcher.row.eq(row_match.data),
            matcher.room.eq(outbox.room),
            row_write.addr.eq(matcher.instrument),
            row_write.data.eq(matcher.row_value),
            row_write.en.eq(matcher.row_write),
            bitmap.changing.eq(queues.changing),
            bitmap.changing_side.eq(queues.changing_side),
            bitmap.change.eq(queues.change),
            bitmap.seek.eq(fronts.seek),
            bitmap.onward.eq(1),
            bitmap.place.eq(fronts.seek_place),
            bitmap.mask.eq(seek_mask),
            bitmap.side.eq(fronts.seek_side),
            fronts.seek_ready.eq(bitmap.ready),
            fronts.found.eq(bitmap.found),
            fronts.hold.eq(slow),
        ]
        with m.If(slow):
            m.d.comb += [
                bitmap.seek.eq(matcher.seek),
                bitmap.onward.eq(matcher.onward),
                bitmap.place.eq(matcher.place),
                bitmap.mask.eq(task.row.mask),
                bitmap.side.eq(matcher.seek_side),
                queues.place.eq(matcher.place),
                queues.instrument.eq(matcher.instrument),
                queues.handle.eq(matcher.handle),
                queues.act.eq(matcher.act),
                queues.side.eq(matcher.act_side),
                store.write.eq(matcher.write),
                store.address.eq(matcher.write_handle),
                store.value.eq(matcher.value),
            ]

        # Counters.
        with m.If((told_valid & ~slow & ~told_second) | (slow & matcher.done)):
            m.d.sync += [applied.eq(applied + (~slow | ~told_second)), last_seq.eq(task.command.seq)]
            with m.If(slow & (task.command.opcode == Opcode.CLOSE)):
                m.d.sync += applied.eq(0)

        # Clear the memories after a reset.
        depth = max(geometry.pool, geometry.orders, geometry.instruments)
        count = Signal(ceil_log2(depth) + 1)
        wiping = Signal()
        m.d.sync += wiping.eq(~cleared)
        with m.If(~cleared):
            m.d.sync += [count.eq(count + 1), cleared.eq(count == depth - 1)]
            m.d.comb += [
                queues.place.eq(count),
                store.write.eq(1),
                store.address.eq(count),
                store.value.eq(0),
                row_write.en.eq(1),
                row_write.addr.eq(count),
                row_write.data.eq(0),
            ]
            m.d.comb += [fronts.write_instrument.eq(count), fronts.write.eq(~0), fronts.value.eq(0)]
        with m.If(wiping):
            # A word of the bitmap is wiped at once, so one pass serves both sides.
            m.d.comb += [queues.act.eq(Act.WIPE), queues.side.eq(count[0])]

        m.d.comb += self.busy.eq(
            (self.commands.valid & self.commands.ready)
            | checking_valid
            | reading_valid
            | deciding_valid
            | told_valid
            | was_told
            | matched
            | ~outbox.empty
        )
        return m
