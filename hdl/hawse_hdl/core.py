"""The core: matching engine and report log, without link."""

from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from hawse.wire.schema import Geometry

from .book import Book
from .gate import Gate
from .hashing import CORES, ReportLog
from .layouts import BEAT, COMMAND


class Core(wiring.Component):
    """Commands in, reports out, with the log's digest behind every fence and its root behind every batch.

    Args:
        geometry: of the book.
        hash_cores: of the log.
        build: what it is made of, and the frequency of its clock, as :class:`Book` has them.
        clock_khz: likewise.
        features: likewise.
        gate: with a :class:`.gate.Gate` before the book.

    Latency: the book's plus the log's; a digest follows when the last chunk is hashed.
    Initiation interval: the book's; behind full log queues ``4.9 / hash_cores`` cycles a record.
    Ordering: beats leave in the order of their commands, the beats of one command together.
    Reset: everything empty; ``commands`` is not ready until the book has cleared its memories.
    Back-pressure: beats that are not taken stop the log, then the book, then the commands.
    """

    commands: In(stream.Signature(COMMAND))
    beats: Out(stream.Signature(BEAT))
    #: Resets the core, beside the domain's own; held for 8 cycles or more, and for 3 more than hash cores.
    reset: In(1)
    #: Counts resets; held constant between them.
    epoch: In(32)
    #: The book has a command at work.
    busy: Out(1)
    #: Nothing is at work, but perhaps the hashing of records whose digest nobody has asked for yet.
    idle: Out(1)
    #: The log does not take the report that the book offers: the book stands still.
    held: Out(1)
    #: It does so because the queue of a hash core is full; else the digest of a FENCE is not there yet.
    full: Out(1)
    #: Records in the queue of the hash core whose turn it is, and beats behind a FENCE.
    record_level: Out(16)
    beat_level: Out(16)

    def __init__(
        self,
        geometry: Geometry,
        *,
        hash_cores: int = CORES,
        build: int | Value = 0,
        clock_khz: int = 0,
        features: int = 0,
        gate: bool = False,
    ) -> None:
        self.geometry = geometry
        self.hash_cores = hash_cores
        self.build = build
        self.clock_khz = clock_khz
        self.features = features
        self.gate = gate
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        book = Book(
            self.geometry,
            build=self.build,
            clock_khz=self.clock_khz,
            features=self.features,
            gate=self.gate,
        )
        log = ReportLog(self.hash_cores)
        # From registers near them, one after the other: one net to all of it would be the slowest of all.
        log_reset = Signal(reset_less=True)
        book_reset = Signal(reset_less=True)
        m.d.sync += [log_reset.eq(self.reset), book_reset.eq(log_reset)]
        m.submodules.book, m.submodules.log = ResetInserter(book_reset)(book), log
        idle = self._take_commands(m, book, book_reset)
        connect(m, book.beats, log.i)
        connect(m, log.o, flipped(self.beats))
        m.d.comb += [
            book.epoch.eq(self.epoch),
            log.epoch.eq(self.epoch),
            log.reset.eq(log_reset),
            self.busy.eq(book.busy),
            self.held.eq(log.i.valid & ~log.i.ready),
            self.full.eq(self.held & log.full),
            self.record_level.eq(log.record_level),
            self.beat_level.eq(log.beat_level),
            self.idle.eq(idle & ~book.busy & ~book.beats.valid & log.idle),
        ]
        return m

    def _take_commands(self, m: Module, book: Book, reset: Signal) -> Value:
        """Lead commands to the book, judged if there is a gate; whether both could take one."""
        if not self.gate:
            connect(m, flipped(self.commands), book.commands)
            return book.commands.ready
        gate = Gate(self.geometry)
        m.submodules.gate = ResetInserter(reset)(gate)
        connect(m, flipped(self.commands), gate.commands)
        m.d.comb += [
            book.commands.valid.eq(gate.judged.valid),
            gate.judged.ready.eq(book.commands.ready),
            book.commands.payload.eq(gate.judged.payload.command),
            book.judgement.eq(gate.judged.payload.judgement),
            gate.back.eq(book.back),
            gate.release.eq(book.release),
        ]
        return gate.commands.ready & gate.idle & book.commands.ready
