"""The tree over the leaves of the report log, kept as its peaks."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..memory import NO_COLLISION
from .hasher import DIGEST_WORDS, Piece, Size, Tag

LEAF_COUNT_BITS = 48
#: Place in memory, behind those of the peaks, for a digest that is about to be joined to one.
_SPARE = 63


class Question(data.Struct):
    """What is asked of the tree once it has ``leaves`` leaves: a fence's digest, or the batch's root.

    ``records`` is what the digest commits beside the peaks.
    """

    root: 1
    leaves: LEAF_COUNT_BITS
    records: 64


class Tree(wiring.Component):
    """Peaks of a tree of RFC 6962's shape: the roots of its complete subtrees, at most one of each height.

    A digest, of a leaf or of a node, that finds a peak of its own height is joined to it: both are hashed,
    and the node that comes back is one level higher. Other digests may come in the meantime. For the root,
    the peaks are joined from the lowest up, one after the other; after it the tree is empty.

    Latency: 7 cycles for a digest that becomes a peak, 16 to send a node; a fence's digest takes one hash of
    13 bytes and the peaks, and up to 20 cycles to find them; a root one hash for each peak but the first.
    Initiation interval: one digest or question at a time.
    Ordering: leaves before the question that counts them, and none behind it before its answer.
    Reset: empty.
    Back-pressure: leaves wait while ``nodes`` nodes are under way, and while a question has all its leaves.
    Limit: 2**48 - 1 leaves between two roots, years of them; beyond, the count wraps and roots are wrong.

    Args:
        nodes: nodes that may be under way.
    """

    #: Digests of the leaves, four words each.
    leaves: In(stream.Signature(unsigned(64)))
    #: What to hash.
    node: Out(stream.Signature(Piece))
    #: Digests of that, in order.
    node_digest: In(stream.Signature(unsigned(64)))
    #: Questions.
    question: In(stream.Signature(Question))
    #: What a digest commits first of all.
    epoch: In(32)
    #: Answers, four words each. With the last one the question is taken.
    answer: Out(stream.Signature(unsigned(64)))

    def __init__(self, nodes: int = 1) -> None:
        self.nodes = nodes
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.places = places = Memory(
            shape=unsigned(64), depth=64 * DIGEST_WORDS, init=[], attrs=NO_COLLISION
        )
        write, read = places.write_port(), places.read_port()
        # Heights of the nodes under way.
        m.submodules.heights = heights = SyncFIFO(width=6, depth=self.nodes)

        count = Signal(LEAF_COUNT_BITS)  # leaves that came
        peaks = Signal(LEAF_COUNT_BITS)  # by height
        height = Signal(6)  # of the digest or peak at work
        ask = self.question.payload
        due = Signal()  # the question has its leaves
        known = Signal()  # whether it has
        m.d.sync += [due.eq(0), known.eq(0)]

        # Words of one place, or of two, on their way out, one read ahead.
        first = Signal(6)
        second = Signal(6)
        word = Signal(range(DIGEST_WORDS))
        reading = Signal()
        more = Signal()
        loaded = Signal()  # the read port holds a word
        final = Signal()  # which is the last
        out_ready = Signal()
        fetch = reading & (~loaded | out_ready)
        m.d.comb += [read.addr.eq(Cat(word, first)), read.en.eq(fetch)]
        with m.If(fetch):
            ends = word == DIGEST_WORDS - 1
            m.d.sync += [word.eq(word + 1), loaded.eq(1), final.eq(ends & ~more)]
            with m.If(ends):
                m.d.sync += [first.eq(second), more.eq(0), reading.eq(more)]
        with m.Elif(out_ready):
            m.d.sync += loaded.eq(0)

        def read_out(place: object, behind: object = None) -> None:
            m.d.sync += [reading.eq(1), first.eq(place)]
            if behind is not None:
                m.d.sync += [more.eq(1), second.eq(behind)]

        n = Signal(range(DIGEST_WORDS))  # word of a digest coming in, or of an answer
        left = Signal(LEAF_COUNT_BITS)  # peaks still to be sent, or joined for the root
        some = Signal()  # there are any
        joining = Signal()  # what is sent is a node; else a fence's digest
        folding = Signal()  # joining for the root
        folded = Signal(6)  # where the joined peaks are
        held = Signal()  # there are any yet
        from_node = Signal()  # the digest coming in is a node's
        meets = Signal()  # a peak of the same height
        place = Signal(6)  # where it goes, unless it meets one
        piece = self.node.payload
        # Block RAM answers late: what else may be sent waits in registers, and one chooses.
        counting = Signal()
        said = Signal(32, reset_less=True)
        m.d.comb += piece.data.eq(Mux(counting, Cat(said, ask.records[:32]), read.data))

        stores = Signal()
        # What a digest does to the counts, a cycle after it is known.
        counts = Signal()  # it is a leaf's
        settles = Signal()  # it has become a peak, or has met one
        m.d.sync += [write.en.eq(0), counts.eq(0), settles.eq(0), count.eq(count + counts)]
        with m.If(settles):
            m.d.sync += [peaks.bit_select(height, 1).eq(~meets), height.eq(height + meets)]
        with m.FSM():
            with m.State("idle"):
                came = heights.r_rdy & self.node_digest.valid
                m.d.sync += [
                    from_node.eq(came),
                    left.eq(peaks),
                    some.eq(peaks != 0),
                    said.eq(self.epoch),
                    held.eq(0),
                    due.eq(self.question.valid & (ask.leaves == count)),
                    known.eq(self.question.valid),
                ]
                with m.If(came):
                    m.d.comb += heights.r_en.eq(1)
                    m.d.sync += height.eq(heights.r_data)
                    m.next = "arrive"
                with m.Elif(due):
                    m.d.sync += height.eq(Mux(ask.root, 0, LEAF_COUNT_BITS - 1))
                    with m.If(heights.r_rdy):  # nodes are under way
                        m.next = "idle"
                    with m.Elif(~ask.root):
                        m.d.sync += counting.eq(1)
                        m.next = "counts"
                    with m.Elif(count == 0):
                        m.next = "nothing"
                    with m.Else():
                        m.d.sync += folding.eq(1)
                        m.next = "fold"
                with m.Elif(self.leaves.valid & heights.w_rdy & (known | ~self.question.valid)):
                    m.d.sync += [height.eq(0), counts.eq(1)]
                    m.next = "arrive"
            with m.State("arrive"):
                found = peaks.bit_select(height, 1)
                m.d.sync += [meets.eq(found & ~folding), place.eq(Mux(folding, folded, height))]
                m.next = "store"
            with m.State("store"):
                m.d.sync += [
                    write.addr.eq(Cat(n, Mux(meets, _SPARE, place))),
                    write.data.eq(Mux(from_node, self.node_digest.payload, self.leaves.payload)),
                    write.en.eq(stores),
                ]
                m.d.comb += [
                    stores.eq(Mux(from_node, self.node_digest.valid, self.leaves.valid)),
                    self.node_digest.ready.eq(from_node),
                    self.leaves.ready.eq(~from_node),
                ]
                # Where it is read from if it meets one, before it is known that all has come.
                m.d.sync += [n.eq(n + stores), first.eq(height), second.eq(_SPARE)]
                with m.If(stores & (n == DIGEST_WORDS - 1)):
                    with m.If(folding):
                        m.next = "fold"
                    with m.Else():
                        m.d.sync += settles.eq(1)
                        m.next = "idle"
                        with m.If(meets):
                            m.d.sync += [reading.eq(1), more.eq(1), joining.eq(1)]
                            m.next = "send"
            with m.State("send"):
                m.d.comb += [
                    self.node.valid.eq(loaded),
                    piece.size.eq(Size.WHOLE),
                    piece.tag.eq(Mux(joining, Tag.NODE, Tag.DIGEST)),
                    piece.last.eq(final & (joining | ~some)),
                    out_ready.eq(self.node.ready),
                ]
                with m.If(loaded & self.node.ready & final):
                    m.d.sync += joining.eq(0)
                    with m.If(folding):
                        m.d.sync += from_node.eq(1)
                        m.next = "arrive"
                    with m.Elif(joining):
                        m.d.comb += [heights.w_data.eq(height), heights.w_en.eq(1)]
                        m.next = "idle"
                    with m.Elif(~some):
                        m.next = "result"
                    with m.Else():
                        m.next = "peaks"

            # A fence's digest: counts, then the peaks from the highest down.
            with m.State("counts"):
                m.d.comb += [
                    self.node.valid.eq(1),
                    piece.tag.eq(Tag.DIGEST),
                    piece.size.eq(Mux(n[0], Size.HALF, Size.WHOLE)),
                    piece.last.eq(n[0] & ~some),
                ]
                with m.If(self.node.ready):
                    m.d.sync += [n.eq(n ^ 1), said.eq(ask.records[32:]), counting.eq(~n[0])]
                    with m.If(n[0]):
                        m.next = "peaks"
                        with m.If(~some):
                            m.next = "result"
            with m.State("peaks"):
                m.d.sync += [left.eq(left << 1), some.eq(left[:-1] != 0), height.eq(height - 1)]
                with m.If(left[-1]):
                    read_out(height)
                    m.next = "send"
                with m.Elif(left[-8:] == 0):
                    m.d.sync += [left.eq(left << 8), height.eq(height - 8)]

            with m.State("result"):
                m.d.comb += [
                    self.answer.valid.eq(self.node_digest.valid),
                    self.answer.payload.eq(self.node_digest.payload),
                    self.node_digest.ready.eq(self.answer.ready),
                ]
                with m.If(self.answer.valid & self.answer.ready):
                    m.d.sync += n.eq(n + 1)
                    with m.If(n == DIGEST_WORDS - 1):
                        m.d.comb += self.question.ready.eq(1)
                        m.next = "idle"

            # The root: peaks joined from the lowest up, each to what is folded of those below it.
            with m.State("fold"):
                with m.If(some):
                    m.d.sync += [left.eq(left >> 1), some.eq(left[1:] != 0), height.eq(height + 1)]
                    with m.If(left[0]):
                        m.d.sync += [held.eq(1), folded.eq(height)]
                        with m.If(held):
                            read_out(height, folded)
                            m.d.sync += joining.eq(1)
                            m.next = "send"
                with m.Else():
                    read_out(folded)
                    m.next = "root"
            with m.State("root"):
                m.d.comb += [
                    self.answer.valid.eq(loaded),
                    self.answer.payload.eq(read.data),
                    out_ready.eq(self.answer.ready),
                ]
                with m.If(loaded & self.answer.ready & final):
                    m.d.comb += self.question.ready.eq(1)
                    m.d.sync += [peaks.eq(0), count.eq(0), folding.eq(0)]
                    m.next = "idle"
            with m.State("nothing"):
                m.d.comb += [self.node.valid.eq(1), piece.tag.eq(Tag.NONE), piece.last.eq(1)]
                with m.If(self.node.ready):
                    m.next = "result"
        return m
