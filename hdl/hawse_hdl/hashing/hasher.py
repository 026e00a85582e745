"""One hash core: tagged messages in, digests out."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..streams import connect_apart
from .keccak import Keccak256
from .padding import Word


class Tag(enum.Enum, shape=2):
    """First byte of a message."""

    LEAF = 0
    NODE = 1
    DIGEST = 2
    #: No such byte: the message is its words.
    NONE = 3


class Size(enum.Enum, shape=2):
    """Valid bytes of a :class:`Piece`, from the lowest."""

    NOTHING = 0
    HALF = 1
    WHOLE = 2


class Piece(data.Struct):
    """Part of a message behind its tag, which every piece of a message repeats.

    At most one piece of a message is half a word; an untagged message is a single last piece of nothing.
    """

    data: 64
    size: Size
    tag: Tag
    last: 1


#: Words of a digest, first bytes first.
DIGEST_WORDS = 4
#: Pieces of leaves that may come after a core has said that there is no room.
AHEAD = 6


class TagPrefix(wiring.Component):
    """Puts the tag byte in front of a message and packs what follows into whole words.

    The tag moves all by one byte, half a word by another four, so that what is left over of a piece is
    one or five bytes: a multiplexer of two, not a shifter of eight.

    Latency: 0.  Initiation interval: 1 a piece, and one cycle more at the end of a message.
    Ordering: kept.  Reset: between messages.  Back-pressure: passed on.
    """

    #: Messages without their tags.
    i: In(stream.Signature(Piece))
    #: Messages.
    o: Out(stream.Signature(Word))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        piece = self.i.payload
        inside = Signal()  # a message has begun
        ending = Signal()  # only what is left over remains to be sent
        held = Signal(40, reset_less=True)  # left over
        five = Signal()  # it is five bytes, not one
        bare = Signal()  # it is none: an untagged, empty message

        left = Mux(inside, held, piece.tag.as_value())
        wide = inside & five
        m.d.comb += self.o.payload.last.eq(ending)
        with m.If(ending):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.payload.data.eq(held),
                self.o.payload.bytes.eq(Mux(bare, 0, Mux(five, 5, 1))),
            ]
            with m.If(self.o.ready):
                m.d.sync += [ending.eq(0), inside.eq(0)]
        with m.Else():
            whole = piece.size == Size.WHOLE
            m.d.comb += [
                self.o.valid.eq(self.i.valid & whole),
                self.i.ready.eq(self.o.ready | ~whole),
                self.o.payload.bytes.eq(8),
                self.o.payload.data.eq(Mux(wide, Cat(left[:40], piece.data), Cat(left[:8], piece.data))),
            ]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [inside.eq(1), ending.eq(piece.last), bare.eq(piece.tag == Tag.NONE)]
                with m.Switch(piece.size):
                    with m.Case(Size.WHOLE):
                        m.d.sync += [held.eq(Mux(wide, piece.data[24:], piece.data[56:])), five.eq(wide)]
                    with m.Case(Size.HALF):
                        m.d.sync += [held.eq(Cat(left[:8], piece.data[:32])), five.eq(1)]
                    with m.Default():
                        m.d.sync += [held.eq(left), five.eq(wide)]
        return m


class Hasher(wiring.Component):
    """A hash core shared by the leaves and the nodes of the report log.

    Messages are let in whole; where both wait, a node goes first, because the tree waits for it. A leaf
    begins only when its digest is sure of a place behind the core, so that a node's digest always gets out.
    Pieces and digests wait in queues of the core's own, behind registers, so that where they come from and go
    to may be far.

    Latency: of :class:`Keccak256`, 3 cycles before it, and 3 behind.
    Initiation interval: of :class:`Keccak256`, and one cycle between two messages.
    Ordering: kept among leaves and among nodes.  Reset: forgets every message; by ``reset`` a cycle late.
    Back-pressure: at most ``waiting`` leaves are under way or not yet taken; nodes must be taken. Words of a
    node beyond two digests wait for the core. ``room`` falls while :data:`AHEAD` more pieces of leaves can be
    pushed.

    Args:
        rounds: of :class:`Keccak256`.
        waiting: digests of leaves that may wait to be taken, at least 2 to keep the core busy.
    """

    #: Beside the domain's own.
    reset: In(1)
    #: Leaf messages.
    push: In(1)
    leaf: In(Piece)
    room: Out(1)
    #: Node and digest messages.
    node: In(stream.Signature(Piece))
    #: Digests of the leaves, :data:`DIGEST_WORDS` words each.
    leaf_digest: Out(stream.Signature(unsigned(64)))
    #: Digests of the nodes, likewise.
    node_digest: Out(stream.Signature(unsigned(64)))

    def __init__(self, rounds: int = 1, waiting: int = 4) -> None:
        self.keccak = Keccak256(rounds)
        self.waiting = waiting
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        top, m = Module(), Module()
        reset = Signal(reset_less=True)
        top.d.sync += reset.eq(self.reset)
        top.submodules.core = ResetInserter(reset)(m)
        m.submodules.prefix = prefix = TagPrefix()
        m.submodules.keccak = keccak = self.keccak
        # Whose message each digest under way is of: at most one in the state, one in the block buffer,
        # one beginning, and one waiting at the output.
        m.submodules.owners = owners = SyncFIFO(width=1, depth=4)
        # One of its places is at the output, and of no use to what has not got there.
        m.submodules.pieces = pieces = SyncFIFOBuffered(width=Piece.as_shape().size, depth=16 + 1)
        m.submodules.nodes = nodes = SyncFIFOBuffered(width=Piece.as_shape().size, depth=2 * DIGEST_WORDS)
        m.submodules.leaf_digests = leaf_digests = SyncFIFOBuffered(
            width=64, depth=DIGEST_WORDS * self.waiting
        )
        m.submodules.node_digests = node_digests = SyncFIFOBuffered(width=64, depth=DIGEST_WORDS)
        wiring.connect(m, prefix.o, keccak.i)
        m.d.sync += self.room.eq(pieces.level < pieces.depth - 1 - AHEAD)
        push = Signal()
        leaf = Signal(Piece, reset_less=True)
        m.d.sync += [push.eq(self.push), leaf.eq(self.leaf)]
        node = stream.Signature(Piece).create()
        connect_apart(m, self.node, node)
        m.d.comb += [
            pieces.w_data.eq(leaf.as_value()),
            pieces.w_en.eq(push),
            nodes.w_data.eq(node.payload.as_value()),
            nodes.w_en.eq(node.valid),
            node.ready.eq(nodes.w_rdy),
        ]

        free = Signal(range(self.waiting + 1), init=self.waiting)
        begin = Signal()  # a leaf begins
        taken = Signal()  # the last word of a leaf's digest is taken
        m.d.sync += free.eq(free - begin + taken)

        def let_in(queue: SyncFIFOBuffered) -> None:
            m.d.comb += [
                prefix.i.valid.eq(queue.r_rdy),
                prefix.i.payload.as_value().eq(queue.r_data),
                queue.r_en.eq(prefix.i.ready),
            ]
            with m.If(queue.r_rdy & prefix.i.ready & prefix.i.payload.last):
                m.next = "idle"

        with m.FSM():
            with m.State("idle"), m.If(owners.w_rdy):
                with m.If(nodes.r_rdy):
                    m.d.comb += [owners.w_en.eq(1), owners.w_data.eq(1)]
                    m.next = "node"
                with m.Elif(pieces.r_rdy & (free != 0)):
                    m.d.comb += [owners.w_en.eq(1), begin.eq(1)]
                    m.next = "leaf"
            with m.State("leaf"):
                let_in(pieces)
            with m.State("node"):
                let_in(nodes)

        n = Signal(range(DIGEST_WORDS))
        word = keccak.o.payload.word_select(n, 64)
        ready = Signal()
        m.d.comb += [
            leaf_digests.w_data.eq(word),
            node_digests.w_data.eq(word),
            leaf_digests.w_en.eq(keccak.o.valid & ~owners.r_data),
            node_digests.w_en.eq(keccak.o.valid & owners.r_data),
            ready.eq(Mux(owners.r_data, node_digests.w_rdy, leaf_digests.w_rdy)),
            keccak.o.ready.eq(ready & (n == DIGEST_WORDS - 1)),
            owners.r_en.eq(keccak.o.valid & keccak.o.ready),
        ]
        with m.If(keccak.o.valid & ready):
            m.d.sync += n.eq(n + 1)

        for queue, digest in ((leaf_digests, self.leaf_digest), (node_digests, self.node_digest)):
            near = stream.Signature(unsigned(64)).create()
            connect_apart(m, near, digest)
            m.d.comb += [
                near.payload.eq(queue.r_data),
                near.valid.eq(queue.r_rdy),
                queue.r_en.eq(near.ready),
            ]
        out = Signal(range(DIGEST_WORDS))
        gone = Signal()
        m.d.sync += gone.eq(self.leaf_digest.valid & self.leaf_digest.ready)
        m.d.comb += taken.eq(gone & (out == DIGEST_WORDS - 1))
        with m.If(gone):
            m.d.sync += out.eq(out + 1)
        return top
