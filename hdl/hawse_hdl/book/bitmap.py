"""Which price levels hold orders: a tree of words for each side of the pool."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from hawse.wire import Geometry, Side

from ..compare import first
from ..memory import ForwardedMemory
from .layouts import best_layout, level_bits, whole_mask, window_bits
from .queues import change_layout

WORD = 32


def after(index: Value, width: int) -> Value:
    """Word of ``width`` bits with those above ``index`` set."""
    return Cat(*(index < bit for bit in range(width)))


def near(index: Value, mask: Value) -> Value:
    """Word with those bits set whose numbers differ from ``index`` in nothing but bits of ``mask``."""
    return Cat(~((index ^ n) & ~mask)[: len(index)].any() for n in range(2 ** len(index)))


class PriceBitmap(wiring.Component):
    """Which levels of the pool hold orders of each side, and the next of them in a window.

    Three-level trees of words; those of single levels lie in block RAM, those above in distributed memory.
    Positions count from the best possible price, so that bids are mirrored and the best level of either side
    is the lowest set bit. A mirrored window is aligned as well. It shares no word of single levels with
    another, but perhaps words above, of which a search looks at its own bits alone.

    Latency: a search for the best level 8 cycles, one for the level after another 4, 9 or 13, from ``seek``
    to ``found``; a change is in the tree four cycles after its ``change``.
    Initiation interval: 1 for changes; a ``seek`` ends the search before it.
    Ordering: ``change`` refers to the ``changing`` of the cycle before. A search sees the changes that are in
    the tree when it begins, as ``settled`` tells.
    Reset: ends a search, but does not empty the trees: wipe each level.
    Back-pressure: ``ready`` is low during a search; changes are always taken.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        super().__init__(
            {
                "changing": In(level_bits(geometry)),
                "changing_side": In(Side),
                "change": In(change_layout()),
                "settled": Out(1),
                #: Search the best level of a side in the window around ``place``, or with ``onward`` the one
                #: after that.
                "seek": In(1),
                "onward": In(1),
                "place": In(level_bits(geometry)),
                #: Mask of the window, as a row has it.
                "mask": In(window_bits(geometry)),
                "side": In(Side),
                "ready": Out(1),
                #: Result of the last search, when ``ready``.
                "found": Out(best_layout(geometry)),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        index_bits = ceil_log2(WORD)
        top_bits = level_bits(geometry) - 2 * index_bits
        roots_width = 2**top_bits
        at_layout = {"leaf": index_bits, "mid": index_bits, "top": top_bits}
        place = data.StructLayout({**at_layout, "side": Side})

        def placed(level: Any, side: Any) -> Value:
            return Cat(level ^ (~side).replicate(len(level)), side)

        def leaf_address(at: Any) -> Value:
            return Cat(at.mid, at.top, at.side)

        def mid_address(at: Any) -> Value:
            return Cat(at.top, at.side)

        # Two copies, so that a search does not stand in the way of changes.
        leaf_words = 2 * geometry.pool // WORD
        m.submodules.leaves = leaves = ForwardedMemory(WORD, leaf_words)
        m.submodules.copy = copy = ForwardedMemory(WORD, leaf_words, late=False)
        m.submodules.mids = mids = Memory(shape=WORD, depth=2 * roots_width, init=[])
        m.submodules.roots = roots = Memory(shape=roots_width, depth=2, init=[])
        mid_write, mid_here = mids.write_port(), mids.read_port(domain="comb")
        mid_there = mids.read_port(domain="comb")
        root_write, root_here = roots.write_port(), roots.read_port(domain="comb")
        root_there = roots.read_port(domain="comb")

        # Changes, one height a cycle.
        looked = Signal(place)
        ats = [Signal(place, name=f"at{height}") for height in range(3)]
        occupied = [Signal(name=f"occupied{height}") for height in range(3)]
        valid = [Signal(name=f"valid{height}") for height in range(3)]
        wipe = Signal()
        words = [Signal(WORD, name=f"word{height}") for height in range(3)]
        now = Signal(place)
        #: The word that a search reads.
        at = Signal(place)
        m.d.comb += [
            now.eq(placed(self.changing, self.changing_side)),
            leaves.read.eq(leaf_address(now)),
            self.settled.eq(~(valid[0] | valid[1] | valid[2])),
        ]
        m.d.sync += [
            looked.eq(now),
            ats[0].eq(looked),
            valid[0].eq(self.change.valid),
            occupied[0].eq(self.change.occupied),
            wipe.eq(self.change.wipe),
            words[0].eq(leaves.data),
        ]

        def changed(word: Value, index: Value, occupied: Value) -> Value:
            bit = Signal.like(word)
            m.d.comb += bit.eq(1 << index)
            return Mux(occupied, word | bit, word & ~bit)

        leaf = Signal(WORD)
        m.d.comb += leaf.eq(changed(words[0], ats[0].leaf, occupied[0]) & ~wipe.replicate(WORD))
        same_copy = Signal()
        for memory, read, same in ((leaves, now, leaves.same), (copy, at, same_copy)):
            m.d.sync += same.eq(self.change.valid & (leaf_address(looked) == leaf_address(read)))
            m.d.comb += [
                memory.write.eq(valid[0]),
                memory.address.eq(leaf_address(ats[0])),
                memory.value.eq(leaf),
            ]
        m.d.sync += [
            ats[1].eq(ats[0]),
            occupied[1].eq(occupied[0]),
            valid[1].eq(valid[0]),
            words[1].eq(leaf),
        ]

        # A word is written a cycle after it was read; that of the change in front counts if it is the same.
        mid = Signal(WORD)
        same_mid = Signal()
        m.d.comb += [
            mid_here.addr.eq(mid_address(ats[1])),
            mid.eq(changed(Mux(same_mid & valid[2], words[2], mid_here.data), ats[1].mid, occupied[1])),
            mid_write.addr.eq(mid_address(ats[2])),
            mid_write.data.eq(words[2]),
            mid_write.en.eq(valid[2]),
        ]
        m.d.sync += [
            ats[2].eq(ats[1]),
            occupied[2].eq(occupied[1]),
            same_mid.eq(mid_address(ats[0]) == mid_address(ats[1])),
            valid[2].eq(valid[1] & (occupied[1] | ~words[1].any())),
            words[2].eq(mid),
        ]

        m.d.comb += [
            root_here.addr.eq(ats[2].side),
            root_write.addr.eq(root_here.addr),
            root_write.data.eq(changed(root_here.data, ats[2].top, occupied[2])),
            root_write.en.eq(valid[2] & (occupied[2] | ~words[2].any())),
        ]

        # Searches: a word is fetched and masked in one cycle, its first bit found in the next.
        onward = Signal()
        word = Signal(max(WORD, roots_width))
        some = Signal()
        index = Signal(ceil_log2(len(word)))
        hit, where = first(word)
        m.d.comb += [
            some.eq(hit),
            index.eq(where),
            mid_there.addr.eq(mid_address(at)),
            root_there.addr.eq(at.side),
            copy.read.eq(leaf_address(at)),
        ]

        # Of the words that windows share, the bits that are of this one: a search for the best level wants
        # them of the root at once, all others are in registers by then.
        kept = Signal.like(self.mask)
        window = data.View(data.StructLayout(at_layout), whole_mask(kept))
        in_root, of_root, of_mid = Signal(roots_width), Signal(roots_width), Signal(WORD)
        m.d.comb += in_root.eq(near(at.top, window.top))
        m.d.sync += [of_root.eq(in_root), of_mid.eq(near(at.mid, window.mid))]

        # Block RAM answers last: the mask, and what is fetched if not from there, are chosen before.
        fetches = Signal()
        from_copy = Signal()
        instead = Signal.like(word)
        mask = Signal.like(word)
        with m.If(fetches):
            m.d.sync += word.eq(Mux(from_copy, copy.data, instead) & mask)

        def fetch(source: Value, index: Value, first: Value, behind: Value) -> None:
            """Fetch a word; of that, the bits of ``first``, or those of ``behind`` after ``index``."""
            m.d.comb += [
                fetches.eq(1),
                instead.eq(source),
                mask.eq(Mux(onward, after(index, len(source)) & behind, first)),
            ]

        def go_on(state: str) -> None:
            """Behind the word at hand, in that above it."""
            m.d.sync += onward.eq(1)
            m.next = state

        def begin_anew() -> None:
            """A new search ends whatever is going on."""
            with m.If(self.seek):
                m.d.sync += [
                    at.eq(placed(self.place, self.side)),
                    kept.eq(self.mask),
                    onward.eq(self.onward),
                ]
                m.next = "ROOT"
                with m.If(self.onward):
                    m.next = "LEAF READ"

        with m.FSM(name="search"):
            with m.State("IDLE"):
                m.d.comb += self.ready.eq(1)
                begin_anew()
            with m.State("ROOT"):
                fetch(root_there.data, at.top, in_root, of_root)
                m.next = "ROOT FIRST"
                begin_anew()
            with m.State("ROOT FIRST"):
                with m.If(some):
                    m.d.sync += [at.top.eq(index), onward.eq(0)]
                    m.next = "MID"
                with m.Else():
                    m.d.sync += self.found.found.eq(0)
                    m.next = "IDLE"
                begin_anew()
            with m.State("MID"):
                fetch(mid_there.data, at.mid, of_mid, of_mid)
                m.next = "MID FIRST"
                begin_anew()
            with m.State("MID FIRST"):
                with m.If(some):
                    m.d.sync += [at.mid.eq(index), onward.eq(0)]
                    m.next = "LEAF READ"
                with m.Else():
                    go_on("ROOT")
                begin_anew()
            with m.State("LEAF READ"):
                m.next = "LEAF"
                begin_anew()
            with m.State("LEAF"):
                whole = Const(-1, WORD)
                fetch(leaf, at.leaf, whole, whole)
                m.d.comb += from_copy.eq(~same_copy)
                m.next = "LEAF FIRST"
                begin_anew()
            with m.State("LEAF FIRST"):
                with m.If(some):
                    position = Cat(index[:index_bits], at.mid, at.top)
                    m.d.sync += [
                        self.found.found.eq(1),
                        self.found.level.eq(position ^ (~at.side).replicate(len(position))),
                    ]
                    m.next = "IDLE"
                with m.Else():
                    go_on("MID")
                begin_anew()
        return m
