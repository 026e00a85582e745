"""The report log in gateware: every record is committed on its way out."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from hawse.wire import Kind

from ..layouts import BATCH, BEAT, FENCE
from ..streams import RegisteredFIFO, connect_apart
from .cores import SLACK, HashCores
from .hasher import DIGEST_WORDS
from .peaks import LEAF_COUNT_BITS
from .tree import Question, Tree

#: Records of a full chunk.
CHUNK_RECORDS = 64
#: Hash cores that take a record every cycle, all that a book can give: 64 in (13 * 24 + 2) / 5 cycles.
CORES = 5


class ReportLog(wiring.Component):
    """Passes reports through and commits their records in a tree of Keccak-256 hashes.

    Records are copied to the queue of a hash core and go on at once. A FENCE beat waits until the digest of
    all records before it is there, then leaves with records and epoch filled in and the digest behind it; a
    BATCH beat likewise with leaves, records, epoch and root, and the log is empty again. All other beats
    pass untouched; so does the one behind a HELLO, which is a BUILD whatever it looks like. What comes behind
    a FENCE waits in a queue of beats, while its records are hashed already.

    Latency: none while nothing waits inside, 1 cycle behind a beat that does, and behind a FENCE or BATCH
    until it has left with its digest or root. Theirs, from the moment that they come in, is below
    ``(depth / 64 + 3 + joins + waiting) * (13 * max(18, 24 / rounds) + 2)`` cycles, where ``joins`` is how
    many nodes lie above the last leaf (at most log2 of the leaves) and ``waiting`` how many FENCEs and
    BATCHes before it have not left. In an idle log it is a hash of the chunk that they cut, of each join and
    of the digest.
    Initiation interval: 1 beat; behind full queues ``64 * cores`` records every
    ``13 * max(18, 24 / rounds) + 2`` cycles.
    Ordering: kept.  Reset: an empty log; beats inside are lost.
    Back-pressure: beats wait inside while ``o`` does. ``i.ready`` is a register: it falls when nearly
    ``beats`` wait, when the queue of a core is nearly full, or when ``fences`` wait.
    Limit: 2**48 - 1 leaves in a batch, see :class:`Tree`.

    Args:
        cores: hash cores.
        rounds: rounds of Keccak in one cycle, a divisor of 24.
        depth: records that may wait for each core, at least 3 and the cores; three places are kept free, one
            more for each core. 512 fill six block RAMs of 18 kbit. With fewer than a chunk of 64 the cores
            cannot all be kept busy.
        beats: beats that may wait behind a FENCE, at least 4; three places are kept free. 2,048 fill 29 block
            RAMs.
        fences: FENCEs and BATCHes that may wait, at least 1.

    Raises:
        ValueError: ``depth`` is below 3 and the cores, ``beats`` below 4, ``cores`` or ``fences`` below 1, or
            ``rounds`` does not divide 24.
    """

    #: Beside the domain's own; held for 8 cycles or more, and for 3 more than there are cores.
    reset: In(1)
    #: Reports; FENCE and BATCH without digest and root.
    i: In(stream.Signature(BEAT))
    #: Reports; FENCE and BATCH with digest and root behind them.
    o: Out(stream.Signature(BEAT))
    #: Counts resets; stable while a FENCE or BATCH is inside.
    epoch: In(32)
    #: No beat is inside; records may still be hashed.
    idle: Out(1)
    #: The queue of a hash core is nearly full; if ``i`` waits without it, it waits for a FENCE.
    full: Out(1)
    #: Records in the queue of that core, and beats that wait behind a FENCE.
    record_level: Out(16)
    beat_level: Out(16)

    def __init__(
        self, cores: int = CORES, rounds: int = 1, depth: int = 512, beats: int = 2048, fences: int = 16
    ) -> None:
        for name, value, least in (
            ("cores", cores, 1),
            ("depth", depth, SLACK + cores - 1),
            ("beats", beats, SLACK),
            ("fences", fences, 1),
        ):
            if value < least:
                raise ValueError(f"{name}: {value} is below {least}")
        self.cores = HashCores(cores, rounds, depth)
        self.tree = Tree(cores)
        self.beats = beats
        self.fences = fences
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        top, m = Module(), Module()
        top.submodules.cores = self.cores
        top.submodules.ends = ResetInserter(self.reset)(m)
        top.d.sync += self.cores.reset.eq(self.reset)
        log = _Log(m, self)
        _join(log)
        _make_room(log)
        _take_in(log)
        _queue(log)
        with m.FSM() as out:
            _pass(log)
            _ask(log)
            _answer(log)
        _know_passing(log, out.ongoing("pass"))
        _let_out(log)
        return top


class _Log:
    """What both ends of the log share."""

    def __init__(self, m: Module, io: ReportLog) -> None:
        self.m, self.io = m, io
        m.submodules.tree = self.tree = io.tree
        connect_apart(m, io.cores.leaf_digest, io.tree.leaves)
        connect_apart(m, io.tree.node, io.cores.node)
        connect_apart(m, io.cores.node_digest, io.tree.node_digest)
        self.answer = io.tree.answer.signature.create()
        connect_apart(m, io.tree.answer, self.answer)
        m.submodules.beats = self.beats = RegisteredFIFO(width=BEAT.width, depth=io.beats)
        # One more may come than there is room for, and one be on its way to the output of this queue.
        m.submodules.asks = self.asks = SyncFIFOBuffered(width=Question.as_shape().size, depth=io.fences + 2)
        #: What the beat that leaves waits for.
        self.asked = data.View(Question, self.asks.r_data)
        #: The beat that comes is taken; it is a FENCE or BATCH.
        self.passes = Signal()
        self.stops = Signal()
        #: Something is in the queue of beats, or on its way there.
        self.waiting = Signal()
        self.enters = Signal()
        #: The beat that leaves next, if it is ``there``, when it is taken.
        self.head = Signal(BEAT)
        self.there = Signal()
        self.take = Signal()
        #: The beat that leaves, and the one behind it.
        self.beat = Signal(BEAT, reset_less=True)
        self.digest = Signal(BEAT, reset_less=True)
        self.n = Signal(range(DIGEST_WORDS))
        self.held_build = Signal()
        #: ``beat`` is to leave; it can.
        self.valid = Signal()
        self.goes = Signal()
        #: ``spare`` is to leave.
        self.spared = Signal()
        #: Nothing waits: what comes leaves in the same cycle.
        self.direct = Signal()


def _join(s: _Log) -> None:
    """What the cores and the tree know of the log."""
    m, io = s.m, s.io
    m.d.comb += [
        s.tree.epoch.eq(io.epoch),
        io.cores.hold.eq(s.asks.level != 0),
        io.record_level.eq(io.cores.level),
        io.beat_level.eq(s.beats.level),
    ]


def _make_room(s: _Log) -> None:
    """Whether there is room is known a cycle late, so that it depends on nothing that is under way."""
    m, io = s.m, s.io
    m.d.sync += [
        io.full.eq(~io.cores.room),
        io.i.ready.eq(io.cores.room & (s.beats.level <= io.beats - SLACK) & (s.asks.level < io.fences)),
    ]


def _take_in(s: _Log) -> None:
    """A record goes to the cores, a FENCE or BATCH ends the chunk and asks the tree."""
    m, io = s.m, s.io
    records = Signal(64)
    leaves = Signal(LEAF_COUNT_BITS)  # chunks begun
    position = Signal(range(CHUNK_RECORDS))  # in the chunk
    kind = io.i.payload[:4]
    is_record = Signal()
    is_batch = Signal()
    cuts = s.stops & (position != 0)
    ask = data.View(Question, s.asks.w_data)
    is_build = Signal()  # it comes behind a HELLO
    m.d.comb += [
        is_record.eq((kind < 8) & ~is_build),
        s.stops.eq(((kind == Kind.FENCE) | (kind == Kind.BATCH)) & ~is_build),
        is_batch.eq((kind == Kind.BATCH) & ~is_build),
        s.passes.eq(io.i.valid & io.i.ready),
        io.cores.push.eq(s.passes & (is_record | cuts)),
        io.cores.entry.record.eq(io.i.payload),
        io.cores.entry.void.eq(s.stops),
        io.cores.entry.last.eq(s.stops | (position == CHUNK_RECORDS - 1)),
        ask.root.eq(is_batch),
        ask.leaves.eq(leaves),
        ask.records.eq(records),
        s.asks.w_en.eq(s.passes & s.stops),
    ]
    with m.If(s.passes):
        m.d.sync += is_build.eq((kind == Kind.HELLO) & ~is_build)
        with m.If(is_record):
            m.d.sync += [records.eq(records + 1), position.eq(position + 1)]
            with m.If(position == 0):
                m.d.sync += leaves.eq(leaves + 1)
        with m.If(s.stops):
            m.d.sync += position.eq(0)
        with m.If(is_batch):
            m.d.sync += [records.eq(0), leaves.eq(0)]


def _queue(s: _Log) -> None:
    """Out: past the queue while it is empty."""
    m, io = s.m, s.io
    m.d.comb += [
        s.tree.question.valid.eq(s.asks.r_rdy),
        s.tree.question.payload.eq(s.asked),
        s.asks.r_en.eq(s.tree.question.ready),
        s.head.eq(Mux(s.waiting, s.beats.r_data, io.i.payload)),
        s.there.eq(Mux(s.waiting, s.beats.r_rdy, s.passes)),
        s.enters.eq(s.passes & (s.waiting | ~s.take)),
        s.beats.r_en.eq(s.take & s.waiting),
    ]
    m.d.sync += [
        s.beats.w_en.eq(s.enters),
        s.beats.w_data.eq(io.i.payload),
        s.waiting.eq(s.enters | (s.waiting & (s.beats.w_en | s.beats.r_rdy | (s.beats.level != 0)))),
    ]


def _pass(s: _Log) -> None:
    """Beats leave; a FENCE or BATCH waits for its answer."""
    m = s.m
    held = data.View(FENCE, s.head).kind.kind
    with m.State("pass"), m.If(~s.valid | s.goes):
        m.d.comb += s.take.eq(1)
        m.d.sync += [s.beat.eq(s.head), s.valid.eq(s.there & ~s.direct)]
        with m.If(s.there):
            m.d.sync += s.held_build.eq((held == Kind.HELLO) & ~s.held_build)
        with m.If(s.there & ((held == Kind.FENCE) | (held == Kind.BATCH)) & ~s.held_build):
            m.d.sync += s.valid.eq(0)
            m.next = "ask"


def _ask(s: _Log) -> None:
    """The answer comes, and completes the beat."""
    m, io = s.m, s.io
    fence, batch = data.View(FENCE, s.beat), data.View(BATCH, s.beat)
    with m.State("ask"):
        m.d.comb += s.answer.ready.eq(1)
        with m.If(s.answer.valid):
            m.d.sync += [s.digest.eq(Cat(s.digest[64:], s.answer.payload)), s.n.eq(s.n + 1)]
            with m.If(s.n == 0):  # with the last word the tree has done with the question
                m.d.sync += [fence.records.eq(s.asked.records), fence.epoch.eq(io.epoch)]
                with m.If(s.asked.root):
                    m.d.sync += batch.leaves.eq(s.asked.leaves)
            with m.If(s.n == DIGEST_WORDS - 1):
                m.d.sync += s.valid.eq(1)
                m.next = "answer"


def _answer(s: _Log) -> None:
    """The beat leaves, and the digest behind it."""
    m = s.m
    with m.State("answer"), m.If(s.goes):
        m.d.sync += s.beat.eq(s.digest)
        m.next = "pass"


def _know_passing(s: _Log, passing: Value) -> None:
    """Whether a beat can pass at once."""
    m, io = s.m, s.io
    m.d.comb += [
        s.direct.eq(s.passes & ~s.stops & passing & ~(s.waiting | s.valid | s.spared)),
        io.idle.eq(~s.waiting & passing & ~io.o.valid),
    ]


def _let_out(s: _Log) -> None:
    """One more place, so that whether a beat can leave is known from a register."""
    m, io = s.m, s.io
    spare = Signal(BEAT, reset_less=True)
    leaving = Signal(BEAT)
    m.d.comb += [
        s.goes.eq(~s.spared),
        leaving.eq(Mux(s.valid, s.beat, io.i.payload)),
        io.o.valid.eq(s.valid | s.direct | s.spared),
        io.o.payload.eq(Mux(s.spared, spare, leaving)),
    ]
    with m.If(~s.spared):
        m.d.sync += spare.eq(leaving)
    m.d.sync += s.spared.eq(io.o.valid & ~io.o.ready)
