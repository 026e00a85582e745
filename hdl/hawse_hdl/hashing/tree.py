"""The tree over the leaves of the report log, kept as its peaks."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .hasher import DIGEST_WORDS, Piece, Size, Tag

LEAF_COUNT_BITS = 48
#: Peaks that fit: one for each bit of the count of leaves, and the leaf that is being joined.
PEAKS = 64


class Question(data.Struct):
    """What is asked of the tree once it has ``leaves`` leaves: a fence's digest, or the batch's root.

    ``records`` and ``epoch`` are those that the digest commits.
    """

    root: 1
    leaves: LEAF_COUNT_BITS
    records: 64
    epoch: 32


class Tree(wiring.Component):
    """Peaks of a tree of RFC 6962's shape: the roots of its complete subtrees, largest first.

    A new leaf is pushed on a stack, and the two upper entries are joined by a node once for each one at the
    end of the binary count of leaves before it. Joining the two upper entries down to one gives
    the root, so both need one operation on a stack in memory. After a root the tree is empty.

    Latency: a leaf takes 4 cycles and a node's hash for each join; a digest one hash; a root a hash for
    each peak but one.
    Initiation interval: one leaf or question at a time.
    Ordering: leaves before the question that counts them.  Reset: empty.
    Back-pressure: leaves wait while a node or an answer is under way.
    Limit: 2**48 - 1 leaves between two roots, years of them; beyond, the count wraps and roots are wrong.
    """

    #: Digests of the leaves, four words each.
    leaves: In(stream.Signature(unsigned(64)))
    #: What to hash.
    node: Out(stream.Signature(Piece))
    #: Digests of that.
    node_digest: In(stream.Signature(unsigned(64)))
    #: Questions.
    question: In(stream.Signature(Question))
    #: Answers, four words each.
    answer: Out(stream.Signature(unsigned(64)))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.stack = stack = Memory(shape=unsigned(64), depth=PEAKS * DIGEST_WORDS, init=[])
        write, read = stack.write_port(), stack.read_port()
        address = range(PEAKS * DIGEST_WORDS)

        count = Signal(LEAF_COUNT_BITS)
        carry = Signal(LEAF_COUNT_BITS)  # its lowest bit: join once more
        top = Signal(address)  # first word above the stack
        n = Signal(range(DIGEST_WORDS))  # word of a digest
        ask = self.question.payload

        # Words of the stack on their way out, one read ahead.
        at, end = Signal(address), Signal(address)  # next word to read, and the first not to
        loaded = Signal()  # the read port holds a word
        final = Signal()  # which is the last
        out_ready = Signal()
        fetch = (at != end) & (~loaded | out_ready)
        m.d.comb += [read.addr.eq(at), read.en.eq(fetch)]
        with m.If(fetch):
            m.d.sync += [at.eq(at + 1), loaded.eq(1), final.eq(at + 1 == end)]
        with m.Elif(out_ready):
            m.d.sync += loaded.eq(0)

        joining = Signal()  # the hash under way is a node; else it is the answer
        folding = Signal()  # joining for the root, until one entry is left
        piece = self.node.payload
        two = 2 * DIGEST_WORDS

        def store(source: stream.Interface) -> None:
            m.d.comb += [source.ready.eq(1), write.en.eq(source.valid), write.data.eq(source.payload)]

        def read_out(first: object, behind: object) -> None:
            m.d.sync += [at.eq(first), end.eq(behind)]

        with m.FSM():
            with m.State("idle"):
                with m.If(self.leaves.valid):
                    m.next = "push"
                with m.Elif(self.question.valid & (ask.leaves == count)):
                    with m.If(~ask.root):
                        m.next = "counts"
                    with m.Elif(top == 0):
                        m.next = "nothing"
                    with m.Else():
                        m.d.sync += folding.eq(1)
                        m.next = "join"
            with m.State("push"):
                store(self.leaves)
                m.d.comb += write.addr.eq(top)
                with m.If(self.leaves.valid):
                    m.d.sync += [top.eq(top + 1), n.eq(n + 1)]
                    with m.If(n == DIGEST_WORDS - 1):
                        m.d.sync += [count.eq(count + 1), carry.eq(count)]
                        m.next = "join"
            with m.State("join"):
                m.d.sync += carry.eq(carry >> 1)
                with m.If(Mux(folding, top != DIGEST_WORDS, carry[0])):
                    read_out(top - two, top)
                    m.d.sync += joining.eq(1)
                    m.next = "send"
                with m.Elif(folding):
                    read_out(0, DIGEST_WORDS)
                    m.next = "root"
                with m.Else():
                    m.next = "idle"
            with m.State("send"):
                m.d.comb += [
                    self.node.valid.eq(loaded),
                    piece.data.eq(read.data),
                    piece.size.eq(Size.WHOLE),
                    piece.tag.eq(Mux(joining, Tag.NODE, Tag.DIGEST)),
                    piece.last.eq(final),
                    out_ready.eq(self.node.ready),
                ]
                with m.If(loaded & self.node.ready & final):
                    m.d.sync += top.eq(Mux(joining, top - two, top))
                    m.next = "result"
            with m.State("result"):
                with m.If(joining):
                    store(self.node_digest)
                    m.d.comb += write.addr.eq(top)
                with m.Else():
                    m.d.comb += [
                        self.answer.valid.eq(self.node_digest.valid),
                        self.answer.payload.eq(self.node_digest.payload),
                        self.node_digest.ready.eq(self.answer.ready),
                    ]
                with m.If(self.node_digest.valid & self.node_digest.ready):
                    m.d.sync += [n.eq(n + 1), top.eq(Mux(joining, top + 1, top))]
                    with m.If(n == DIGEST_WORDS - 1):
                        m.d.comb += self.question.ready.eq(~joining)
                        m.d.sync += joining.eq(0)
                        with m.If(joining):
                            m.next = "join"
                        with m.Else():
                            m.next = "idle"
            with m.State("counts"):
                m.d.comb += [
                    self.node.valid.eq(1),
                    piece.tag.eq(Tag.DIGEST),
                    piece.data.eq(Mux(n[0], ask.records[32:], ask.epoch | ask.records[:32] << 32)),
                    piece.size.eq(Mux(n[0], Size.HALF, Size.WHOLE)),
                    piece.last.eq(n[0] & (top == 0)),
                ]
                with m.If(self.node.ready):
                    m.d.sync += n.eq(n ^ 1)
                    with m.If(n[0]):
                        read_out(0, top)
                        m.next = "send"
                        with m.If(top == 0):
                            m.next = "result"
            with m.State("nothing"):
                m.d.comb += [self.node.valid.eq(1), piece.tag.eq(Tag.NONE), piece.last.eq(1)]
                with m.If(self.node.ready):
                    m.next = "result"
            with m.State("root"):
                m.d.comb += [
                    self.answer.valid.eq(loaded),
                    self.answer.payload.eq(read.data),
                    out_ready.eq(self.answer.ready),
                ]
                with m.If(loaded & self.answer.ready & final):
                    m.d.comb += self.question.ready.eq(1)
                    m.d.sync += [top.eq(0), count.eq(0), folding.eq(0)]
                    m.next = "idle"
        return m
