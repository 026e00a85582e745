"""Which price levels hold orders: a tree of words for each side of the pool."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry, Side

from ..memory import ForwardedMemory
from .bitmap_search import Search
from .bitmap_tree import WORD, leaf_address, mid_address, place_layout, placed, roots_width
from .layouts import best_layout, level_bits, window_bits
from .queues import change_layout


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
        words = _Words(m, self.geometry)
        changes = _Changes(m, self, words)
        search = Search(m, self, words)
        changes.come()
        changes.change_leaf(search.at)
        changes.change_mid()
        changes.change_root()
        search.run(changes.leaf, changes.same_copy)
        return m


class _Words:
    """The memories of the trees.

    Single levels are kept in two copies, so that a search does not stand in the way of changes.
    """

    def __init__(self, m: Module, geometry: Geometry) -> None:
        leaf_words, width = 2 * geometry.pool // WORD, roots_width(geometry)
        m.submodules.leaves = self.leaves = ForwardedMemory(WORD, leaf_words)
        m.submodules.copy = self.copy = ForwardedMemory(WORD, leaf_words, late=False)
        m.submodules.mids = mids = Memory(shape=WORD, depth=2 * width, init=[])
        m.submodules.roots = roots = Memory(shape=width, depth=2, init=[])
        mid_write, mid_here = mids.write_port(), mids.read_port(domain="comb")
        root_write, root_here = roots.write_port(), roots.read_port(domain="comb")
        #: For changes.
        self.mid_write, self.mid_here = mid_write, mid_here
        self.root_write, self.root_here = root_write, root_here
        #: For searches.
        self.mid_there = mids.read_port(domain="comb")
        self.root_there = roots.read_port(domain="comb")


class _Changes:
    """A level begins or ceases to hold orders: one height of the tree a cycle.

    Args:
        m: of the bitmap.
        io: the bitmap, whose ports are used.
        tree: its memories.
    """

    def __init__(self, m: Module, io: Any, tree: _Words) -> None:
        self.m, self.io, self.tree = m, io, tree
        place = place_layout(io.geometry)
        self.now = Signal(place)
        self.looked = Signal(place)
        #: Of the change at each height: where it is, whether the level holds orders, and the word below.
        self.ats = [Signal(place, name=f"at{height}") for height in range(3)]
        self.occupied = [Signal(name=f"occupied{height}") for height in range(3)]
        self.valid = [Signal(name=f"valid{height}") for height in range(3)]
        self.words = [Signal(WORD, name=f"word{height}") for height in range(3)]
        self.wipe = Signal()
        #: What is written to the leaves, and that a search reads the same word of them.
        self.leaf = Signal(WORD)
        self.same_copy = Signal()

    def come(self) -> None:
        """A change comes, and its word of single levels."""
        m, io, tree = self.m, self.io, self.tree
        m.d.comb += [
            self.now.eq(placed(io.changing, io.changing_side)),
            tree.leaves.read.eq(leaf_address(self.now)),
            io.settled.eq(~(self.valid[0] | self.valid[1] | self.valid[2])),
        ]
        m.d.sync += [
            self.looked.eq(self.now),
            self.ats[0].eq(self.looked),
            self.valid[0].eq(io.change.valid),
            self.occupied[0].eq(io.change.occupied),
            self.wipe.eq(io.change.wipe),
            self.words[0].eq(tree.leaves.data),
        ]

    def _changed(self, word: Value, index: Value, occupied: Value) -> Value:
        bit = Signal.like(word)
        self.m.d.comb += bit.eq(1 << index)
        return Mux(occupied, word | bit, word & ~bit)

    def change_leaf(self, at: Any) -> None:
        """A word of single levels, in both copies, of which a search reads the one with ``at``."""
        m, io, tree = self.m, self.io, self.tree
        m.d.comb += self.leaf.eq(
            self._changed(self.words[0], self.ats[0].leaf, self.occupied[0]) & ~self.wipe.replicate(WORD)
        )
        for memory, read, same in (
            (tree.leaves, self.now, tree.leaves.same),
            (tree.copy, at, self.same_copy),
        ):
            m.d.sync += same.eq(io.change.valid & (leaf_address(self.looked) == leaf_address(read)))
            m.d.comb += [
                memory.write.eq(self.valid[0]),
                memory.address.eq(leaf_address(self.ats[0])),
                memory.value.eq(self.leaf),
            ]
        m.d.sync += [
            self.ats[1].eq(self.ats[0]),
            self.occupied[1].eq(self.occupied[0]),
            self.valid[1].eq(self.valid[0]),
            self.words[1].eq(self.leaf),
        ]

    def change_mid(self) -> None:
        """A word is written a cycle after it was read; that of the change in front counts if it is that."""
        m, tree = self.m, self.tree
        mid = Signal(WORD)
        same_mid = Signal()
        m.d.comb += [
            tree.mid_here.addr.eq(mid_address(self.ats[1])),
            mid.eq(
                self._changed(
                    Mux(same_mid & self.valid[2], self.words[2], tree.mid_here.data),
                    self.ats[1].mid,
                    self.occupied[1],
                )
            ),
            tree.mid_write.addr.eq(mid_address(self.ats[2])),
            tree.mid_write.data.eq(self.words[2]),
            tree.mid_write.en.eq(self.valid[2]),
        ]
        m.d.sync += [
            self.ats[2].eq(self.ats[1]),
            self.occupied[2].eq(self.occupied[1]),
            same_mid.eq(mid_address(self.ats[0]) == mid_address(self.ats[1])),
            self.valid[2].eq(self.valid[1] & (self.occupied[1] | ~self.words[1].any())),
            self.words[2].eq(mid),
        ]

    def change_root(self) -> None:
        """A root is written in the cycle in which it is read."""
        m, tree = self.m, self.tree
        m.d.comb += [
            tree.root_here.addr.eq(self.ats[2].side),
            tree.root_write.addr.eq(tree.root_here.addr),
            tree.root_write.data.eq(self._changed(tree.root_here.data, self.ats[2].top, self.occupied[2])),
            tree.root_write.en.eq(self.valid[2] & (self.occupied[2] | ~self.words[2].any())),
        ]
