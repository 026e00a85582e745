"""The peaks of the report log's tree: the states in which digests are joined to them, and are sent."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory

from ..memory import NO_COLLISION
from .hasher import DIGEST_WORDS, Size, Tag

LEAF_COUNT_BITS = 48
#: Place in memory, behind those of the peaks, for a digest that is about to be joined to one.
_SPARE = 63


class Work:
    """What the states share."""

    def __init__(self, m: Module, io: Any) -> None:
        self.m, self.io = m, io
        m.submodules.places = places = Memory(
            shape=unsigned(64), depth=64 * DIGEST_WORDS, init=[], attrs=NO_COLLISION
        )
        write, read = places.write_port(), places.read_port()
        self.write, self.read = write, read
        #: Heights of the nodes under way.
        m.submodules.heights = self.heights = SyncFIFO(width=6, depth=io.nodes)
        #: Leaves that came, and peaks, by height.
        self.count = Signal(LEAF_COUNT_BITS)
        self.peaks = Signal(LEAF_COUNT_BITS)
        #: Of the digest or peak at work.
        self.height = Signal(6)
        self.ask = io.question.payload
        self.piece = io.node.payload
        #: The question has its leaves; it is known whether it has.
        self.due = Signal()
        self.known = Signal()
        self._hold_reads()
        self._hold_digest()
        m.d.sync += [self.due.eq(0), self.known.eq(0)]

    def _hold_reads(self) -> None:
        """Words of one place, or of two, on their way out, one read ahead."""
        self.first = Signal(6)
        self.second = Signal(6)
        self.word = Signal(range(DIGEST_WORDS))
        self.reading = Signal()
        self.more = Signal()
        #: The read port holds a word, which is the last.
        self.loaded = Signal()
        self.final = Signal()
        self.out_ready = Signal()

    def _hold_digest(self) -> None:
        """The digest that comes in, and what is sent."""
        #: Word of a digest coming in, or of an answer.
        self.n = Signal(range(DIGEST_WORDS))
        #: Peaks still to be sent, or joined for the root; there are any.
        self.left = Signal(LEAF_COUNT_BITS)
        self.some = Signal()
        #: What is sent is a node; else a fence's digest.
        self.joining = Signal()
        #: Joining for the root; where the joined peaks are, and whether there are any yet.
        self.folding = Signal()
        self.folded = Signal(6)
        self.held = Signal()
        #: The digest coming in is a node's; there is a peak of the same height; where it goes otherwise.
        self.from_node = Signal()
        self.meets = Signal()
        self.place = Signal(6)
        #: Block RAM answers late: what else may be sent waits in registers, and one chooses.
        self.counting = Signal()
        self.said = Signal(32, reset_less=True)
        self.stores = Signal()
        #: What a digest does to the counts, a cycle after it is known: it is a leaf's; it has become a peak,
        #: or has met one.
        self.counts = Signal()
        self.settles = Signal()

    def read_out(self, place: object, behind: object = None) -> None:
        """Send the words of ``place``, and of the one ``behind`` it."""
        self.m.d.sync += [self.reading.eq(1), self.first.eq(place)]
        if behind is not None:
            self.m.d.sync += [self.more.eq(1), self.second.eq(behind)]


def read_places(s: Work) -> None:
    """Words on their way out."""
    m = s.m
    fetch = s.reading & (~s.loaded | s.out_ready)
    m.d.comb += [s.read.addr.eq(Cat(s.word, s.first)), s.read.en.eq(fetch)]
    with m.If(fetch):
        ends = s.word == DIGEST_WORDS - 1
        m.d.sync += [s.word.eq(s.word + 1), s.loaded.eq(1), s.final.eq(ends & ~s.more)]
        with m.If(ends):
            m.d.sync += [s.first.eq(s.second), s.more.eq(0), s.reading.eq(s.more)]
    with m.Elif(s.out_ready):
        m.d.sync += s.loaded.eq(0)


def choose_data(s: Work) -> None:
    """What is sent."""
    m = s.m
    m.d.comb += s.piece.data.eq(Mux(s.counting, Cat(s.said, s.ask.records[:32]), s.read.data))


def count(s: Work) -> None:
    """Count leaves and peaks."""
    m = s.m
    m.d.sync += [s.write.en.eq(0), s.counts.eq(0), s.settles.eq(0), s.count.eq(s.count + s.counts)]
    with m.If(s.settles):
        m.d.sync += [s.peaks.bit_select(s.height, 1).eq(~s.meets), s.height.eq(s.height + s.meets)]


def idle(s: Work) -> None:
    """A digest of a node before a question that is due, and that before a leaf."""
    m, io = s.m, s.io
    with m.State("idle"):
        came = s.heights.r_rdy & io.node_digest.valid
        m.d.sync += [
            s.from_node.eq(came),
            s.left.eq(s.peaks),
            s.some.eq(s.peaks != 0),
            s.said.eq(io.epoch),
            s.held.eq(0),
            s.due.eq(io.question.valid & (s.ask.leaves == s.count)),
            s.known.eq(io.question.valid),
        ]
        with m.If(came):
            m.d.comb += s.heights.r_en.eq(1)
            m.d.sync += s.height.eq(s.heights.r_data)
            m.next = "arrive"
        with m.Elif(s.due):
            m.d.sync += s.height.eq(Mux(s.ask.root, 0, LEAF_COUNT_BITS - 1))
            with m.If(s.heights.r_rdy):  # nodes are under way
                m.next = "idle"
            with m.Elif(~s.ask.root):
                m.d.sync += s.counting.eq(1)
                m.next = "counts"
            with m.Elif(s.count == 0):
                m.next = "nothing"
            with m.Else():
                m.d.sync += s.folding.eq(1)
                m.next = "fold"
        with m.Elif(io.leaves.valid & s.heights.w_rdy & (s.known | ~io.question.valid)):
            m.d.sync += [s.height.eq(0), s.counts.eq(1)]
            m.next = "arrive"


def arrive(s: Work) -> None:
    """Whether a digest meets a peak."""
    m = s.m
    with m.State("arrive"):
        found = s.peaks.bit_select(s.height, 1)
        m.d.sync += [s.meets.eq(found & ~s.folding), s.place.eq(Mux(s.folding, s.folded, s.height))]
        m.next = "store"


def store(s: Work) -> None:
    """Its words come."""
    m, io = s.m, s.io
    with m.State("store"):
        m.d.sync += [
            s.write.addr.eq(Cat(s.n, Mux(s.meets, _SPARE, s.place))),
            s.write.data.eq(Mux(s.from_node, io.node_digest.payload, io.leaves.payload)),
            s.write.en.eq(s.stores),
        ]
        m.d.comb += [
            s.stores.eq(Mux(s.from_node, io.node_digest.valid, io.leaves.valid)),
            io.node_digest.ready.eq(s.from_node),
            io.leaves.ready.eq(~s.from_node),
        ]
        # Where it is read from if it meets one, before it is known that all has come.
        m.d.sync += [s.n.eq(s.n + s.stores), s.first.eq(s.height), s.second.eq(_SPARE)]
        with m.If(s.stores & (s.n == DIGEST_WORDS - 1)):
            with m.If(s.folding):
                m.next = "fold"
            with m.Else():
                m.d.sync += s.settles.eq(1)
                m.next = "idle"
                with m.If(s.meets):
                    m.d.sync += [s.reading.eq(1), s.more.eq(1), s.joining.eq(1)]
                    m.next = "send"


def send(s: Work) -> None:
    """What is to be hashed."""
    m, io = s.m, s.io
    with m.State("send"):
        m.d.comb += [
            io.node.valid.eq(s.loaded),
            s.piece.size.eq(Size.WHOLE),
            s.piece.tag.eq(Mux(s.joining, Tag.NODE, Tag.DIGEST)),
            s.piece.last.eq(s.final & (s.joining | ~s.some)),
            s.out_ready.eq(io.node.ready),
        ]
        with m.If(s.loaded & io.node.ready & s.final):
            m.d.sync += s.joining.eq(0)
            with m.If(s.folding):
                m.d.sync += s.from_node.eq(1)
                m.next = "arrive"
            with m.Elif(s.joining):
                m.d.comb += [s.heights.w_data.eq(s.height), s.heights.w_en.eq(1)]
                m.next = "idle"
            with m.Elif(~s.some):
                m.next = "result"
            with m.Else():
                m.next = "peaks"


def send_counts(s: Work) -> None:
    """A fence's digest: counts, then the peaks from the highest down."""
    m, io = s.m, s.io
    with m.State("counts"):
        m.d.comb += [
            io.node.valid.eq(1),
            s.piece.tag.eq(Tag.DIGEST),
            s.piece.size.eq(Mux(s.n[0], Size.HALF, Size.WHOLE)),
            s.piece.last.eq(s.n[0] & ~s.some),
        ]
        with m.If(io.node.ready):
            m.d.sync += [s.n.eq(s.n ^ 1), s.said.eq(s.ask.records[32:]), s.counting.eq(~s.n[0])]
            with m.If(s.n[0]):
                m.next = "peaks"
                with m.If(~s.some):
                    m.next = "result"


def send_peaks(s: Work) -> None:
    """Find the next peak."""
    m = s.m
    with m.State("peaks"):
        m.d.sync += [s.left.eq(s.left << 1), s.some.eq(s.left[:-1] != 0), s.height.eq(s.height - 1)]
        with m.If(s.left[-1]):
            s.read_out(s.height)
            m.next = "send"
        with m.Elif(s.left[-8:] == 0):
            m.d.sync += [s.left.eq(s.left << 8), s.height.eq(s.height - 8)]


def give_result(s: Work) -> None:
    """The digest that was asked for."""
    m, io = s.m, s.io
    with m.State("result"):
        m.d.comb += [
            io.answer.valid.eq(io.node_digest.valid),
            io.answer.payload.eq(io.node_digest.payload),
            io.node_digest.ready.eq(io.answer.ready),
        ]
        with m.If(io.answer.valid & io.answer.ready):
            m.d.sync += s.n.eq(s.n + 1)
            with m.If(s.n == DIGEST_WORDS - 1):
                m.d.comb += io.question.ready.eq(1)
                m.next = "idle"


def fold(s: Work) -> None:
    """The root: peaks joined from the lowest up, each to what is folded of those below it."""
    m = s.m
    with m.State("fold"):
        with m.If(s.some):
            m.d.sync += [s.left.eq(s.left >> 1), s.some.eq(s.left[1:] != 0), s.height.eq(s.height + 1)]
            with m.If(s.left[0]):
                m.d.sync += [s.held.eq(1), s.folded.eq(s.height)]
                with m.If(s.held):
                    s.read_out(s.height, s.folded)
                    m.d.sync += s.joining.eq(1)
                    m.next = "send"
        with m.Else():
            s.read_out(s.folded)
            m.next = "root"


def give_root(s: Work) -> None:
    """The root that was asked for."""
    m, io = s.m, s.io
    with m.State("root"):
        m.d.comb += [
            io.answer.valid.eq(s.loaded),
            io.answer.payload.eq(s.read.data),
            s.out_ready.eq(io.answer.ready),
        ]
        with m.If(s.loaded & io.answer.ready & s.final):
            m.d.comb += io.question.ready.eq(1)
            m.d.sync += [s.peaks.eq(0), s.count.eq(0), s.folding.eq(0)]
            m.next = "idle"


def hash_nothing(s: Work) -> None:
    """The root without any leaves."""
    m, io = s.m, s.io
    with m.State("nothing"):
        m.d.comb += [io.node.valid.eq(1), s.piece.tag.eq(Tag.NONE), s.piece.last.eq(1)]
        with m.If(io.node.ready):
            m.next = "result"
