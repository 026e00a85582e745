"""Several hash cores, used in turn."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from hawse.wire import RECORD_BYTES

from ..streams import RegisteredFIFO, connect_apart, following, in_turn
from .hasher import DIGEST_WORDS, Hasher, Piece, Size, Tag

#: Entries that may come after the first queue has said that there is no room: what is on its way in.
SLACK = 4


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

    Latency: 4 cycles from an entry to its first piece; under ``hold`` up to 2 more where a chunk begins.
    Initiation interval: one entry a cycle in, one in 3 cycles out.
    Ordering: kept.  Reset: empty.
    Back-pressure: ``room`` falls while ``slack`` - 2 more entries can still be pushed.

    Args:
        depth: entries in block RAM.
        slack: places that are kept free, and one more.
    """

    #: Records and ends of chunks.
    push: In(1)
    entry: In(Entry)
    room: Out(1, init=1)
    #: Leaf messages.
    o: Out(stream.Signature(Piece))
    #: Only a chunk that is complete may begin. It may rise when the open chunk ends.
    hold: In(1)
    #: Entries that wait in block RAM.
    level: Out(16)

    def __init__(self, depth: int, slack: int = SLACK) -> None:
        self.depth, self.slack = depth, slack
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        # One more entry waits in the output register of the memory.
        m.submodules.queue = queue = RegisteredFIFO(width=Entry.as_shape().size, depth=self.depth + 1)
        m.d.comb += [
            queue.w_data.eq(self.entry.as_value()),
            queue.w_en.eq(self.push),
            self.level.eq(queue.level),
        ]
        m.d.sync += self.room.eq(queue.level <= self.depth - self.slack)
        entry = data.View(Entry, queue.r_data)
        words = 8 * RECORD_BYTES // 64
        n = Signal(range(words))
        ends = n == words - 1  # also where there is no record: block RAM is too slow to decide what is read
        piece = self.o.payload
        gives = Signal()
        begun = Signal()
        # Chunks whose end is in the queue, counted a cycle late, and whether there are any, a cycle later;
        # until both have heard of a chunk's end no other begins under hold.
        complete = Signal(range(self.depth + 4))
        some = Signal()
        ended = Signal(2)
        m.d.sync += [
            ended.eq(Cat(gives & piece.last, ended[0])),
            complete.eq(complete + (self.push & self.entry.last) - ended[0]),
            some.eq(complete != 0),
        ]
        m.d.comb += [
            self.o.valid.eq(queue.r_rdy & (~self.hold | begun | (some & ~ended.any()))),
            gives.eq(self.o.valid & self.o.ready),
            piece.tag.eq(Tag.LEAF),
            piece.size.eq(Mux(entry.void, Size.NOTHING, Size.WHOLE)),
            piece.last.eq(entry.last & ends),
            queue.r_en.eq(gives & ends),
        ]
        with m.Switch(n):
            for k in range(words):
                with m.Case(k):
                    m.d.comb += piece.data.eq(entry.record[64 * k : 64 * k + 64])
        with m.If(gives):
            m.d.sync += [n.eq(Mux(ends, 0, n + 1)), begun.eq(~piece.last)]
        return m


class HashCores(wiring.Component):
    """Hash cores, each behind a queue of its own: chunks go to them in turn, and so do nodes.

    Latency: up to ``cores`` cycles, and that of :class:`RecordQueue` and :class:`Hasher`; a node waits for
    the leaf that its core takes in.
    Initiation interval: an entry a cycle; with full queues ``64 * cores`` records and ``cores`` nodes every
    ``13 * max(18, 24 / rounds) + 2`` cycles.
    Ordering: kept among leaves and among nodes.
    Reset: forgets everything; also by ``reset``, which queues and cores hear up to ``cores`` cycles late.
    Back-pressure: ``room`` falls when any queue is nearly full, and who pushes may hear of it a cycle late.
    At most ``cores`` nodes may be under way; their digests must be taken.

    Args:
        cores: hash cores.
        rounds: rounds of Keccak in one cycle, a divisor of 24.
        depth: records that may wait for each core, at least :data:`SLACK` and the cores but one; so many less
            one are kept free in the last.
    """

    #: Beside the domain's own.
    reset: In(1)
    #: Records and ends of chunks.
    push: In(1)
    entry: In(Entry)
    room: Out(1)
    #: Of :class:`RecordQueue`, a cycle before it.
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
        self.queues = [RecordQueue(depth, SLACK + k) for k in range(cores)]
        self.hashers = [Hasher(rounds) for _ in range(cores)]
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        top, m = Module(), Module()
        top.submodules.ends = ResetInserter(self.reset)(m)
        # The cores lie all over the chip: what goes to all of them goes from one to the next.
        turn = Signal(range(len(self.queues)))
        passed: tuple[Value, ...] = (self.push << turn, self.entry, self.hold)
        with m.If(self.push & self.entry.last):
            m.d.sync += turn.eq(following(turn, self.queues))
        # So does a reset; there is no room until the last has come out of it.
        resets = [Signal(name=f"reset_{k}", reset_less=True) for k in range(len(self.queues))]
        top.d.sync += [later.eq(earlier) for earlier, later in pairwise([self.reset, *resets])]
        m.d.comb += self.room.eq(Cat(queue.room for queue in self.queues).all() & ~Cat(resets).any())
        nodes = []
        for k, (queue, hasher) in enumerate(zip(self.queues, self.hashers, strict=True)):
            top.submodules[f"hasher_{k}"] = hasher
            top.submodules[f"queue_{k}"] = ResetInserter(resets[k])(queue)
            nodes.append(stream.Signature(Piece).create())
            connect_apart(m, nodes[-1], hasher.node)
            leaf = Signal(Piece, name=f"leaf_{k}", reset_less=True)
            m.d.sync += [
                hasher.push.eq(queue.o.valid & queue.o.ready),
                leaf.eq(queue.o.payload),
                queue.o.ready.eq(hasher.room),
            ]
            m.d.comb += [hasher.reset.eq(resets[k]), hasher.leaf.eq(leaf)]
            push = Signal(len(self.queues), name=f"push_{k}")
            entry = Signal(Entry, name=f"entry_{k}", reset_less=True)
            hold = Signal(name=f"hold_{k}")
            m.d.sync += [here.eq(before) for here, before in zip((push, entry, hold), passed, strict=True)]
            passed = push, entry, hold
            m.d.comb += [queue.push.eq(push[k]), queue.entry.eq(entry), queue.hold.eq(hold)]
            with m.If(turn == k):
                m.d.comb += self.level.eq(queue.level)

        node = wiring.flipped(self.node)
        in_turn(m, node, [wiring.flipped(near) for near in nodes], node.payload.last)
        for out, digests in (
            (self.leaf_digest, [h.leaf_digest for h in self.hashers]),
            (self.node_digest, [h.node_digest for h in self.hashers]),
        ):
            n = Signal(range(DIGEST_WORDS))
            with m.If(out.valid & out.ready):
                m.d.sync += n.eq(n + 1)
            near = []
            for digest in digests:
                near.append(stream.Signature(unsigned(64)).create())
                connect_apart(m, digest, near[-1])
            in_turn(m, wiring.flipped(out), near, n == DIGEST_WORDS - 1)
        return top
