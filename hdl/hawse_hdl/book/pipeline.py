"""The stages of the book's pipeline: what each holds, and the parts that they share."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from hawse.wire import Geometry, Side

from .. import layouts
from ..memory import ForwardedMemory
from .bitmap import PriceBitmap
from .check import Check, OrderCheck, kinship_layout, verdict_layout
from .fronts import Fronts
from .layouts import judgement_layout, record_layout, rejection_shape, row_layout, task_layout
from .matcher import Matcher
from .outbox import Outbox
from .queues import Act, Queues


class Parts:
    """The components of a book, in its module ``m``."""

    def __init__(self, m: Module, book: Any) -> None:
        geometry: Geometry = book.geometry
        m.submodules.check = self.check = Check(geometry, book.gate)
        m.submodules.order_check = self.order_check = OrderCheck(geometry, book.gate)
        m.submodules.store = self.store = ForwardedMemory(
            record_layout(geometry), geometry.orders, late=False
        )
        m.submodules.queues = self.queues = Queues(geometry)
        m.submodules.bitmap = self.bitmap = PriceBitmap(geometry)
        m.submodules.fronts = self.fronts = Fronts(geometry)
        m.submodules.matcher = self.matcher = Matcher(
            geometry, build=book.build, clock_khz=book.clock_khz, features=book.features, gate=book.gate
        )
        m.submodules.outbox = self.outbox = Outbox()


class Pipeline:
    """What the stages hold: accept → checking → reading → deciding → told.

    What a stage holds means nothing unless it is valid, so a reset need not reach it.

    Args:
        m: of the book.
        io: the book, whose ports the stages use.
        parts: of the book.
        rows: its memory of what each instrument is in.
    """

    def __init__(self, m: Module, io: Any, parts: Parts, rows: Any) -> None:
        self.m, self.io, self.parts = m, io, parts
        self.geometry: Geometry = io.geometry
        self.row_write = rows.write_port()
        self.row_accept, self.row_match, self.row_seek = (rows.read_port(domain="comb") for _ in range(3))
        self._hold_commands()
        self._know_pass()
        self._know_told()
        self._know_all()

    def _hold_commands(self) -> None:
        """The command in each stage, and what is known of it."""
        geometry = self.geometry
        record = record_layout(geometry)
        gate = self.io.gate
        came = data.StructLayout(
            {
                "command": layouts.COMMAND,
                "accepted": 32,
                "row": row_layout(geometry),
                **({"judgement": judgement_layout()} if gate else {}),
            }
        )
        checked = data.StructLayout({"came": came, "verdict": verdict_layout(geometry, gate)})
        kinship = kinship_layout(geometry, gate)
        read = data.StructLayout({"checked": checked, "record": record, "kinship": kinship})
        outcome = {"rejected": 1, "reason": rejection_shape(gate), "side": Side}
        if gate:
            outcome["drew"] = 1
        done = data.StructLayout({"task": task_layout(geometry), "record": record} | outcome)
        self.checking = Signal(came, reset_less=True)
        self.reading = Signal(checked, reset_less=True)
        self.deciding = Signal(read, reset_less=True)
        self.told = Signal(done, reset_less=True)
        self.checking_valid = Signal()
        self.reading_valid = Signal()
        self.deciding_valid = Signal()
        self.told_valid = Signal()
        #: In ``deciding``, and what the matcher has to do once it is in ``told``.
        self.command, self.verdict = self.deciding.checked.came.command, self.deciding.checked.verdict
        self.task = self.told.task

    def _know_pass(self) -> None:
        """Of the command in ``deciding``, some of which take two passes."""
        #: The commands in ``reading`` and ``deciding`` name the same handle.
        self.same_handle = Signal()
        #: The second pass of a command that takes two.
        self.second = Signal()
        #: The first of two is in ``deciding``.
        self.pauses = Signal()
        #: The command in ``deciding`` writes its order, if nothing speaks against it that was found there.
        self.may_write = Signal()
        #: The level to be looked at is that of the order named, not the command's.
        self.by_record = Signal()
        #: The command in ``deciding`` brings an order that rests if it does not cross, takes one away; if all
        #: is well.
        self.arriving = Signal()
        self.leaving = Signal()
        #: Its side, or that of the order that it names.
        self.side = Signal(Side, reset_less=True)
        #: What the order becomes, if that is ``written``; nothing speaks against the command.
        self.value = Signal(record_layout(self.geometry))
        self.written = Signal()
        self.accepted = Signal()
        #: The order as it would rest; it enters, leaves, or the command is handed to the matcher.
        self.order = Signal(record_layout(self.geometry))
        self.enters = Signal()
        self.leaves = Signal()
        self.starts_slow = Signal()
        self.decides = Signal()
        #: The order in ``reading`` is that one, and is ``written`` if there is a step.
        self.rewritten = Signal()
        #: The matcher changes the order in ``deciding``.
        self.matched_over = Signal()

    def _know_told(self) -> None:
        """Of the command in ``told``."""
        self.told_second = Signal()
        self.told_reports = Signal()
        self.told_act = Signal(Act)
        #: The matcher is at work with it.
        self.slow = Signal()
        #: What the pipeline, or the matcher, tells is on its way to the outbox.
        self.was_told = Signal()
        self.matched = Signal()

    def _know_all(self) -> None:
        """Of the whole pipeline."""
        #: The last stages go on; all do.
        self.go = Signal()
        self.step = Signal()
        #: A STATE is on its way: what comes behind it must see the new state.
        self.barrier = Signal()
        #: The memories are.
        self.cleared = Signal()
        self.cycle = Signal(32)
        self.busy_cycles = Signal(32)
        self.applied = Signal(64)
        self.last_seq = Signal(64)
