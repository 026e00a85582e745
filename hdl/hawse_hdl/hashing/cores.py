"""Several hash cores, used in turn."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from hawse.wire import RECORD_BYTES

from ..memory import BlockFIFO
from .hasher import DIGEST_WORDS, Hasher, Piece, Size, Tag


class Entry(data.Struct):
    """A record on its way to a hash core."""

    record: 8 * RECORD_BYTES
    #: The chunk ends with it.
    last: 1
    #: There is no record: a fence ends the chunk.
    void: 1


class RecordQueue(wiring.Component):
    """Records waiting to be hashed, as pieces of leaf messages.

    A message may begin before its chunk is complete, but not under ``hold``: a core that has begun a chunk
    behind a FENCE could not hash what the FENCE waits for, while the rest of that chunk waits for the FENCE.

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
    #: Only a chunk that is complete may begin. It may rise when the open chunk ends.
    hold: In(1)
    #: Entries that wait.
    level: Out(16)

    def __init__(self, depth: int) -> None:
        self.depth = depth
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        # One more entry waits in the output register of the queue.
        m.submodules.queue = queue = BlockFIFO(width=Entry.as_shape().size, depth=self.depth + 1)
        m.d.comb += [
            queue.w_data.eq(self.i.payload.as_value()),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            self.level.eq(queue.level),
        ]
        entry = data.View(Entry, queue.r_data)
        words = 8 * RECORD_BYTES // 64
        n = Signal(range(words))
        ends = entry.void | (n == words - 1)
        piece = self.o.payload
        begun = Signal()
        complete = Signal(range(self.depth + 2))  # chunks whose end is in the queue
        m.d.sync += complete.eq(
            complete
            + (self.i.valid & self.i.ready & self.i.payload.last)
            - (self.o.valid & self.o.ready & piece.last)
        )
        m.d.comb += [
            self.o.valid.eq(queue.r_rdy & (~self.hold | begun | (complete != 0))),
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
            m.d.sync += [n.eq(Mux(ends, 0, n + 1)), begun.eq(~piece.last)]
        return m


class HashCores(wiring.Component):
    """Hash cores, each behind a queue of its own: chunks go to them in turn, and so do nodes.

    Latency: of :class:`RecordQueue` and :class:`Hasher`; a node waits for the leaf that its core takes in.
    Initiation interval: an entry a cycle; with full queues ``64 * cores`` records and ``cores`` nodes every
    ``13 * max(18, 24 / rounds) + 2`` cycles.
    Ordering: kept among leaves and among nodes.  Reset: forgets everything.
    Back-pressure: entries wait while the queue of the core whose turn it is is full. At most ``cores`` nodes
    may be under way; their digests must be taken.

    Args:
        cores: hash cores.
        rounds: rounds of Keccak in one cycle, a divisor of 24.
        depth: records that may wait for each core.
    """

    #: Records and ends of chunks.
    entries: In(stream.Signature(Entry))
    #: Of :class:`RecordQueue`.
    hold: In(1)
    #: Entries that wait for the core whose turn it is; no queue's largest level escapes it.
    level: Out(16)
    #: Node and digest messages.
    node: In(stream.Signature(Piece))
    #: Digests of the chunks, :data:`DIGEST_WORDS` words each.
    leaf_digest: Out(stream.Signature(unsigned(64)))
    #: Digests of the nodes, likewise.
    node_digest: Out(stream.Signature(unsigned(64)))

    def __init__(self, cores: int, rounds: int, depth: int) -> None:
        self.queues = [RecordQueue(depth) for _ in range(cores)]
        self.hashers = [Hasher(rounds) for _ in range(cores)]
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        for k, (queue, hasher) in enumerate(zip(self.queues, self.hashers, strict=True)):
            m.submodules[f"queue_{k}"], m.submodules[f"hasher_{k}"] = queue, hasher
            wiring.connect(m, queue.o, hasher.leaf)
            m.d.comb += queue.hold.eq(self.hold)

        entries, node = wiring.flipped(self.entries), wiring.flipped(self.node)
        turn = _in_turn(m, entries, [q.i for q in self.queues], entries.payload.last)
        with m.Switch(turn):
            for k, queue in enumerate(self.queues):
                with m.Case(k):
                    m.d.comb += self.level.eq(queue.level)
        _in_turn(m, node, [h.node for h in self.hashers], node.payload.last)
        for out, digests in (
            (self.leaf_digest, [h.leaf_digest for h in self.hashers]),
            (self.node_digest, [h.node_digest for h in self.hashers]),
        ):
            n = Signal(range(DIGEST_WORDS))
            with m.If(out.valid & out.ready):
                m.d.sync += n.eq(n + 1)
            _in_turn(m, wiring.flipped(out), digests, n == DIGEST_WORDS - 1)
        return m


def _in_turn(m: Module, one: stream.Interface, many: Sequence[stream.Interface], last: Value) -> Signal:
    """Connect ``one`` to each of ``many`` in turn, the next when a payload with ``last`` has passed.

    Returns whose turn it is.
    """
    turn = Signal(range(len(many)))
    with m.If(one.valid & one.ready & last):
        m.d.sync += turn.eq(Mux(turn == len(many) - 1, 0, turn + 1))
    with m.Switch(turn):
        for k, other in enumerate(many):
            with m.Case(k):
                wiring.connect(m, one, other)
    return turn
