"""The report log in gateware: every record is committed on its way out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from hawse.wire import RECORD_BYTES, Kind

from ..layouts import BATCH, BEAT, FENCE
from .hasher import DIGEST_WORDS, Hasher, Piece, Size, Tag
from .tree import LEAF_COUNT_BITS, Tree

#: Records of a full chunk.
CHUNK_RECORDS = 64


class Entry(data.Struct):
    """A record on its way to the hash core."""

    record: 8 * RECORD_BYTES
    #: The chunk ends with it.
    last: 1
    #: There is no record: a fence ends the chunk.
    void: 1


class RecordQueue(wiring.Component):
    """Records waiting to be hashed, as pieces of leaf messages.

    Latency: 3 cycles from an entry to its first piece.
    Initiation interval: one entry a cycle in, one in 3 cycles out.
    Ordering: kept.  Reset: empty.  Back-pressure: ``i.ready`` is low when ``depth`` entries wait.

    Args:
        depth: entries in block RAM.
    """

    #: Records and ends of chunks.
    i: In(stream.Signature(Entry))
    #: Leaf messages.
    o: Out(stream.Signature(Piece))

    def __init__(self, depth: int) -> None:
        self.depth = depth
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        # One more entry waits in the output register of the queue.
        m.submodules.queue = queue = SyncFIFOBuffered(width=Entry.as_shape().size, depth=self.depth + 1)
        m.d.comb += [
            queue.w_data.eq(self.i.payload.as_value()),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
        ]
        entry = data.View(Entry, queue.r_data)
        words = 8 * RECORD_BYTES // 64
        n = Signal(range(words))
        ends = entry.void | (n == words - 1)
        piece = self.o.payload
        m.d.comb += [
            self.o.valid.eq(queue.r_rdy),
            piece.tag.eq(Tag.LEAF),
            piece.size.eq(Mux(entry.void, Size.NOTHING, Size.WHOLE)),
            piece.last.eq(entry.last & ends),
            queue.r_en.eq(self.o.ready & ends),
        ]
        with m.Switch(n):
            for k in range(words):
                with m.Case(k):
                    m.d.comb += piece.data.eq(entry.record[64 * k : 64 * k + 64])
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += n.eq(Mux(ends, 0, n + 1))
        return m


class ReportLog(wiring.Component):
    """Passes reports through and commits their records in a tree of Keccak-256 hashes.

    Records are copied to a queue before the hash core and go on at once. A FENCE beat waits until the
    digest of all records before it is there, then leaves with records and epoch filled in and the digest
    behind it; a BATCH beat likewise with leaves, records, epoch and root, and the log is empty again. All
    other beats pass untouched.

    Latency: 1 cycle; a FENCE or BATCH: until all is hashed.
    Initiation interval: 1 beat; behind a full queue 64 records every ``13 * max(17, 24 / rounds)`` cycles.
    Ordering: kept.  Reset: an empty log; beats inside are lost.
    Back-pressure: passed on after one beat; also while the queue is full, and while a FENCE or BATCH waits.
    Limit: 2**48 - 1 leaves in a batch, see :class:`Tree`.

    Args:
        rounds: rounds of Keccak in one cycle, a divisor of 24.
        depth: records that may wait for the hash core, at least 2. 512 fill six block RAMs of 18 kbit.

    Raises:
        ValueError: ``depth`` is below 2, or ``rounds`` does not divide 24.
    """

    #: Reports; FENCE and BATCH without digest and root.
    i: In(stream.Signature(BEAT))
    #: Reports; FENCE and BATCH with digest and root behind them.
    o: Out(stream.Signature(BEAT))
    #: Counts resets; stable while a FENCE or BATCH is inside.
    epoch: In(32)

    def __init__(self, rounds: int = 1, depth: int = 512) -> None:
        if depth < 2:
            raise ValueError(f"depth: {depth} is below 2")
        self.queue = RecordQueue(depth)
        self.hasher = Hasher(rounds)
        self.tree = Tree()
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.queue, m.submodules.hasher, m.submodules.tree = self.queue, self.hasher, self.tree
        tree, entry = self.tree, self.queue.i
        # Several hash cores would each have a queue: chunks would go to them, and leaves come back, in turn.
        wiring.connect(m, self.queue.o, self.hasher.leaf)
        wiring.connect(m, self.hasher.leaf_digest, tree.leaves)
        wiring.connect(m, tree.node, self.hasher.node)
        wiring.connect(m, self.hasher.node_digest, tree.node_digest)

        records = Signal(64)
        leaves = Signal(LEAF_COUNT_BITS)  # chunks begun, and ended where a FENCE or BATCH waits
        position = Signal(range(CHUNK_RECORDS))  # in the chunk
        kind = self.i.payload[:4]
        is_record, stops = Signal(), Signal()
        m.d.comb += [is_record.eq(kind < 8), stops.eq((kind == Kind.FENCE) | (kind == Kind.BATCH))]

        beat = Signal(BEAT)
        root = Signal()  # the beat is a BATCH
        digest = Signal(BEAT)
        n = Signal(range(DIGEST_WORDS))
        question = tree.question.payload
        m.d.comb += [
            self.o.payload.eq(beat),
            entry.payload.record.eq(self.i.payload),
            entry.payload.last.eq(position == CHUNK_RECORDS - 1),
            question.root.eq(root),
            question.leaves.eq(leaves),
            question.records.eq(records),
            question.epoch.eq(self.epoch),
        ]
        fence, batch = data.View(FENCE, beat), data.View(BATCH, beat)

        with m.FSM():
            with m.State("pass"):
                room = ~self.o.valid | self.o.ready
                m.d.comb += [
                    self.i.ready.eq(room & entry.ready),
                    entry.valid.eq(self.i.valid & room & is_record),
                ]
                with m.If(room):
                    m.d.sync += self.o.valid.eq(0)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [beat.eq(self.i.payload), root.eq(kind == Kind.BATCH)]
                    with m.If(stops):
                        m.next = "cut"
                    with m.Else():
                        m.d.sync += self.o.valid.eq(1)
                with m.If(entry.valid & entry.ready):
                    m.d.sync += [records.eq(records + 1), position.eq(position + 1)]
                    with m.If(position == 0):
                        m.d.sync += leaves.eq(leaves + 1)
            with m.State("cut"):
                m.d.comb += [
                    entry.valid.eq(position != 0),
                    entry.payload.last.eq(1),
                    entry.payload.void.eq(1),
                ]
                with m.If(~entry.valid | entry.ready):
                    m.d.sync += position.eq(0)
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += [tree.question.valid.eq(1), tree.answer.ready.eq(1)]
                with m.If(tree.answer.valid):
                    m.d.sync += [digest.eq(Cat(digest[64:], tree.answer.payload)), n.eq(n + 1)]
                    with m.If(n == DIGEST_WORDS - 1):
                        m.d.sync += [
                            self.o.valid.eq(1),
                            fence.records.eq(records),
                            fence.epoch.eq(self.epoch),
                        ]
                        with m.If(root):
                            m.d.sync += [batch.leaves.eq(leaves), leaves.eq(0), records.eq(0)]
                        m.next = "answer"
            with m.State("answer"), m.If(self.o.ready):
                m.d.sync += beat.eq(digest)
                m.next = "pass"
        return m
