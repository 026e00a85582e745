"""The report log in gateware: every record is committed on its way out."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from hawse.wire import Kind

from ..layouts import BATCH, BEAT, FENCE
from ..memory import RegisteredFIFO
from ..streams import connect_apart
from .cores import SLACK, HashCores
from .hasher import DIGEST_WORDS
from .tree import LEAF_COUNT_BITS, Question, Tree

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
        m.submodules.tree = self.tree
        tree, entry = self.tree, self.cores.entry
        connect_apart(m, self.cores.leaf_digest, tree.leaves)
        connect_apart(m, tree.node, self.cores.node)
        connect_apart(m, self.cores.node_digest, tree.node_digest)
        answer = tree.answer.signature.create()
        connect_apart(m, tree.answer, answer)
        m.submodules.beats = beats = RegisteredFIFO(width=BEAT.width, depth=self.beats)
        # One more may come than there is room for, and one be on its way to the output of this queue.
        m.submodules.asks = asks = SyncFIFOBuffered(width=Question.as_shape().size, depth=self.fences + 2)
        m.d.comb += [
            tree.epoch.eq(self.epoch),
            self.cores.hold.eq(asks.level != 0),
            self.record_level.eq(self.cores.level),
            self.beat_level.eq(beats.level),
        ]

        # Whether there is room is known a cycle late, so that it depends on nothing that is under way.
        m.d.sync += [
            self.full.eq(~self.cores.room),
            self.i.ready.eq(
                self.cores.room & (beats.level <= self.beats - SLACK) & (asks.level < self.fences)
            ),
        ]

        # In: a record goes to the cores, a FENCE or BATCH ends the chunk and asks the tree.
        records = Signal(64)
        leaves = Signal(LEAF_COUNT_BITS)  # chunks begun
        position = Signal(range(CHUNK_RECORDS))  # in the chunk
        kind = self.i.payload[:4]
        is_record = Signal()
        stops = Signal()
        is_batch = Signal()
        cuts = stops & (position != 0)
        ask = data.View(Question, asks.w_data)
        passes = Signal()  # the beat is taken
        is_build = Signal()  # it comes behind a HELLO
        m.d.comb += [
            is_record.eq((kind < 8) & ~is_build),
            stops.eq(((kind == Kind.FENCE) | (kind == Kind.BATCH)) & ~is_build),
            is_batch.eq((kind == Kind.BATCH) & ~is_build),
            passes.eq(self.i.valid & self.i.ready),
            self.cores.push.eq(passes & (is_record | cuts)),
            entry.record.eq(self.i.payload),
            entry.void.eq(stops),
            entry.last.eq(stops | (position == CHUNK_RECORDS - 1)),
            ask.root.eq(is_batch),
            ask.leaves.eq(leaves),
            ask.records.eq(records),
            asks.w_en.eq(passes & stops),
        ]
        with m.If(passes):
            m.d.sync += is_build.eq((kind == Kind.HELLO) & ~is_build)
            with m.If(is_record):
                m.d.sync += [records.eq(records + 1), position.eq(position + 1)]
                with m.If(position == 0):
                    m.d.sync += leaves.eq(leaves + 1)
            with m.If(stops):
                m.d.sync += position.eq(0)
            with m.If(is_batch):
                m.d.sync += [records.eq(0), leaves.eq(0)]

        # Out: past the queue while it is empty; a FENCE or BATCH waits for its answer.
        beat = Signal(BEAT, reset_less=True)
        digest = Signal(BEAT, reset_less=True)
        n = Signal(range(DIGEST_WORDS))
        asked = data.View(Question, asks.r_data)
        waiting = Signal()  # something is in the queue, or on its way there
        enters = Signal()
        head = Signal(BEAT)
        there = Signal()
        take = Signal()
        m.d.comb += [
            tree.question.valid.eq(asks.r_rdy),
            tree.question.payload.eq(asked),
            asks.r_en.eq(tree.question.ready),
            head.eq(Mux(waiting, beats.r_data, self.i.payload)),
            there.eq(Mux(waiting, beats.r_rdy, passes)),
            enters.eq(passes & (waiting | ~take)),
            beats.r_en.eq(take & waiting),
        ]
        m.d.sync += [
            beats.w_en.eq(enters),
            beats.w_data.eq(self.i.payload),
            waiting.eq(enters | (waiting & (beats.w_en | beats.r_rdy | (beats.level != 0)))),
        ]
        fence, batch = data.View(FENCE, beat), data.View(BATCH, beat)
        held = data.View(FENCE, head).kind.kind
        held_build = Signal()

        valid = Signal()  # ``beat`` is to leave
        goes = Signal()  # it can
        spared = Signal()  # ``spare`` is to leave
        direct = Signal()  # nothing waits: what comes leaves in the same cycle
        with m.FSM() as out:
            with m.State("pass"), m.If(~valid | goes):
                m.d.comb += take.eq(1)
                m.d.sync += [beat.eq(head), valid.eq(there & ~direct)]
                with m.If(there):
                    m.d.sync += held_build.eq((held == Kind.HELLO) & ~held_build)
                with m.If(there & ((held == Kind.FENCE) | (held == Kind.BATCH)) & ~held_build):
                    m.d.sync += valid.eq(0)
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += answer.ready.eq(1)
                with m.If(answer.valid):
                    m.d.sync += [digest.eq(Cat(digest[64:], answer.payload)), n.eq(n + 1)]
                    with m.If(n == 0):  # with the last word the tree has done with the question
                        m.d.sync += [fence.records.eq(asked.records), fence.epoch.eq(self.epoch)]
                        with m.If(asked.root):
                            m.d.sync += batch.leaves.eq(asked.leaves)
                    with m.If(n == DIGEST_WORDS - 1):
                        m.d.sync += valid.eq(1)
                        m.next = "answer"
            with m.State("answer"), m.If(goes):
                m.d.sync += beat.eq(digest)
                m.next = "pass"
        m.d.comb += [
            direct.eq(passes & ~stops & out.ongoing("pass") & ~(waiting | valid | spared)),
            self.idle.eq(~waiting & out.ongoing("pass") & ~self.o.valid),
        ]

        # One more place, so that whether a beat can leave is known from a register.
        spare = Signal(BEAT, reset_less=True)
        leaving = Signal(BEAT)
        m.d.comb += [
            goes.eq(~spared),
            leaving.eq(Mux(valid, beat, self.i.payload)),
            self.o.valid.eq(valid | direct | spared),
            self.o.payload.eq(Mux(spared, spare, leaving)),
        ]
        with m.If(~spared):
            m.d.sync += spare.eq(leaving)
        m.d.sync += spared.eq(self.o.valid & ~self.o.ready)
        return top
