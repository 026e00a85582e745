"""What takes more than one pass through the pipeline: matching, and the rare commands.

Its states are in :mod:`.walks` and :mod:`.scans`, what they share in :mod:`.work`, what is told in
:mod:`.replies`.
"""

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry, Opcode, Side

from .. import layouts
from . import replies, scans, walks
from .layouts import (
    best_layout,
    ends_layout,
    front_layout,
    handle_bits,
    instrument_bits,
    level_bits,
    record_layout,
    row_layout,
    sources_layout,
    task_layout,
)
from .queues import Act
from .work import Walk, Work


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
        build: 16 bytes as a little-endian integer, ``clock_khz`` and ``features``: what BUILD tells.
        gate: it says ``back`` what is open no more.
    """

    def __init__(
        self,
        geometry: Geometry,
        *,
        build: int | Value = 0,
        clock_khz: int = 0,
        features: int = 0,
        gate: bool = False,
    ) -> None:
        self.geometry = geometry
        self.build = build
        self.clock_khz = clock_khz
        self.features = features
        self.gate = gate
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
                **_report_ports(geometry, gate),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        work = Work(m, self)
        work.read()
        work.default()
        work.give_window()
        with m.Switch(work.states.bits):
            _start(work)
            walks.enter_level(work)
            walks.fetch_maker(work)
            walks.meet_maker(work)
            walks.leave_level(work)
            walks.search(work)
            walks.finish_taker(work)
            walks.load(work)
            scans.change_state(work)
            scans.take_window(work)
            scans.scan(work)
            scans.cancel_order(work)
            _answer(work)
        replies.tell(work)
        if self.gate:
            replies.give_back(work)
        return m


def _report_ports(geometry: Geometry, gate: bool) -> dict[str, Any]:
    """What it tells: beats, and to a gate what is open no more."""
    return {
        "room": In(1),
        "push": Out(1),
        #: A trade that is the taker's ``own`` cancels its maker instead, or is ``kept`` back; one
        #: that is ``cut`` is for ``remaining`` instead, and its maker is not done.
        "beat": Out(layouts.BEAT),
        "own": Out(1),
        "kept": Out(1),
        "cut": Out(1),
        "remaining": Out(32),
        **({"back": Out(sources_layout(geometry))} if gate else {}),
    }


def _start(w: Work) -> None:
    """Begin with what has come."""
    m, io = w.m, w.io
    with w.states.at("START"):
        m.d.sync += [
            w.fresh.eq(~io.active),
            w.builds.eq(0),
            w.closes.eq(0),
            w.remaining.eq(w.command.quantity),
            w.lacks.eq(w.command.quantity - 1),
            w.walk.eq(Walk.MATCH),
            w.counted.eq(0),
            w.count.eq(0),
            w.pointer.eq(0),
            w.in_instrument.eq(w.command.instrument),
            w.walk_side.eq(~w.taker.side),
            w.level.eq(w.task.facing.best.level),
            w.behind.eq(w.task.facing.behind),
            w.behind_known.eq((w.task.facing.best != w.task.facing.behind) & ~w.task.facing.partial),
            w.searched.eq(io.settled),
        ]
        with m.If(io.active), m.Switch(w.opcode):
            with m.Case(Opcode.NEW, Opcode.REPLACE):
                # The pipeline has entered it already, as if it did not cross.
                m.d.sync += [
                    io.write.eq(1),
                    io.write_handle.eq(w.own_handle),
                    io.value.live.eq(0),
                ]
                # In case that the level at the bound has emptied.
                w.seek()
                w.states.next = "LEVEL"
            with m.Case(Opcode.LOAD):
                m.d.sync += [w.level.eq(w.taker.level), w.pointer.eq(w.own_handle)]
                w.states.next = "LOAD"
            with m.Case(Opcode.MASS_CANCEL):
                w.states.next = "REFILL"
            with m.Case(Opcode.STATE):
                w.states.next = "STATE"
            with m.Case(Opcode.DUMP):
                m.d.sync += [w.walk.eq(Walk.DUMP), w.walk_side.eq(Side.BUY)]
                w.states.next = "SEEK BEST"
            with m.Default():
                w.states.next = "ANSWER"

    with w.states.at("END"):
        # The last writes are made; what waits in the pipeline is read again.
        m.d.sync += w.fresh.eq(1)
        w.states.next = "START"


def _answer(w: Work) -> None:
    """What is told of anything else."""
    m, io = w.m, w.io
    with w.states.at("ANSWER"):
        w.tell()
        with m.If(io.room):
            with m.If(w.greets | (w.opcode == Opcode.CLOSE)):
                m.d.sync += [w.builds.eq(w.greets), w.closes.eq(~w.greets)]
                w.states.next = "ANSWER AGAIN"
            with m.Else():
                w.finish()

    with w.states.at("ANSWER AGAIN"):
        w.tell()
        with m.If(io.room):
            w.finish()
