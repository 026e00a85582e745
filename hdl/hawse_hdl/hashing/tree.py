"""The tree over the leaves of the report log, kept as its peaks."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import peaks
from .hasher import Piece
from .peaks import LEAF_COUNT_BITS


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
        work = peaks.Work(m, self)
        peaks.read_places(work)
        peaks.choose_data(work)
        peaks.count(work)
        with m.FSM():
            peaks.idle(work)
            peaks.arrive(work)
            peaks.store(work)
            peaks.send(work)
            peaks.send_counts(work)
            peaks.send_peaks(work)
            peaks.give_result(work)
            peaks.fold(work)
            peaks.give_root(work)
            peaks.hash_nothing(work)
        return m
