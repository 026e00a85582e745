"""Searches of the bitmap for the best level, or the one after a level."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.utils import ceil_log2

from ..compare import first
from .bitmap_tree import (
    WORD,
    height_layout,
    leaf_address,
    mid_address,
    place_layout,
    placed,
    roots_width,
)
from .layouts import whole_mask


def after(index: Value, width: int) -> Value:
    """Word of ``width`` bits with those above ``index`` set."""
    return Cat(*(index < bit for bit in range(width)))


def near(index: Value, mask: Value) -> Value:
    """Word with those bits set whose numbers differ from ``index`` in nothing but bits of ``mask``."""
    return Cat(~((index ^ n) & ~mask)[: len(index)].any() for n in range(2 ** len(index)))


class Search:
    """A search: a word is fetched and masked in one cycle, its first bit found in the next.

    Args:
        m: of the bitmap.
        io: the bitmap, whose ports are used.
        tree: its memories.
    """

    def __init__(self, m: Module, io: Any, tree: Any) -> None:
        self.m, self.io, self.tree = m, io, tree
        width = roots_width(io.geometry)
        #: The word that is read.
        self.at = Signal(place_layout(io.geometry))
        #: Levels are sought behind that place.
        self.onward = Signal()
        self.word = Signal(max(WORD, width))
        #: It has a bit that is set, the first of which is at ``index``.
        self.some = Signal()
        self.index = Signal(ceil_log2(len(self.word)))
        #: Mask of the window. Of the words that windows share, the bits that are of this one: a search for
        #: the best level wants them of the root at once, all others are in registers by then.
        self.kept = Signal.like(io.mask)
        self.in_root, self.of_root = Signal(width), Signal(width)
        self.of_mid = Signal(WORD)
        #: Block RAM answers last: the mask, and what is fetched if not from there, are chosen before.
        self.fetches = Signal()
        self.from_copy = Signal()
        self.instead = Signal.like(self.word)
        self.mask = Signal.like(self.word)

    def run(self, leaf: Value, same_copy: Value) -> None:
        """The machine.

        Args:
            leaf: what is written to the leaves,
            same_copy: if that is the word that is read.
        """
        self._find()
        self._keep_window()
        self._take_word()
        with self.m.FSM(name="search"):
            self._idle()
            self._search_root()
            self._search_mid()
            self._search_leaf(leaf, same_copy)

    def _find(self) -> None:
        """The first bit of the word, and where the next is read."""
        m, tree = self.m, self.tree
        hit, where = first(self.word)
        m.d.comb += [
            self.some.eq(hit),
            self.index.eq(where),
            tree.mid_there.addr.eq(mid_address(self.at)),
            tree.root_there.addr.eq(self.at.side),
            tree.copy.read.eq(leaf_address(self.at)),
        ]

    def _keep_window(self) -> None:
        """What of the root, and of the word above single levels, is in the window."""
        m, io = self.m, self.io
        window = data.View(height_layout(io.geometry), whole_mask(self.kept))
        m.d.comb += self.in_root.eq(near(self.at.top, window.top))
        m.d.sync += [self.of_root.eq(self.in_root), self.of_mid.eq(near(self.at.mid, window.mid))]

    def _take_word(self) -> None:
        """The word that is fetched."""
        m, tree = self.m, self.tree
        with m.If(self.fetches):
            m.d.sync += self.word.eq(Mux(self.from_copy, tree.copy.data, self.instead) & self.mask)

    def _fetch(self, source: Value, index: Value, first: Value, behind: Value) -> None:
        """Fetch a word; of that, the bits of ``first``, or those of ``behind`` after ``index``."""
        self.m.d.comb += [
            self.fetches.eq(1),
            self.instead.eq(source),
            self.mask.eq(Mux(self.onward, after(index, len(source)) & behind, first)),
        ]

    def _go_on(self, state: str) -> None:
        """Behind the word at hand, in that above it."""
        self.m.d.sync += self.onward.eq(1)
        self.m.next = state

    def _begin_anew(self) -> None:
        """A new search ends whatever is going on."""
        m, io = self.m, self.io
        with m.If(io.seek):
            m.d.sync += [
                self.at.eq(placed(io.place, io.side)),
                self.kept.eq(io.mask),
                self.onward.eq(io.onward),
            ]
            m.next = "ROOT"
            with m.If(io.onward):
                m.next = "LEAF READ"

    def _idle(self) -> None:
        """The last search has ended."""
        m, io = self.m, self.io
        with m.State("IDLE"):
            m.d.comb += io.ready.eq(1)
            self._begin_anew()

    def _search_root(self) -> None:
        """The first word of the middle height that holds any."""
        m, io, tree = self.m, self.io, self.tree
        with m.State("ROOT"):
            self._fetch(tree.root_there.data, self.at.top, self.in_root, self.of_root)
            m.next = "ROOT FIRST"
            self._begin_anew()
        with m.State("ROOT FIRST"):
            with m.If(self.some):
                m.d.sync += [self.at.top.eq(self.index), self.onward.eq(0)]
                m.next = "MID"
            with m.Else():
                m.d.sync += io.found.found.eq(0)
                m.next = "IDLE"
            self._begin_anew()

    def _search_mid(self) -> None:
        """The first word of single levels."""
        m, tree = self.m, self.tree
        with m.State("MID"):
            self._fetch(tree.mid_there.data, self.at.mid, self.of_mid, self.of_mid)
            m.next = "MID FIRST"
            self._begin_anew()
        with m.State("MID FIRST"):
            with m.If(self.some):
                m.d.sync += [self.at.mid.eq(self.index), self.onward.eq(0)]
                m.next = "LEAF READ"
            with m.Else():
                self._go_on("ROOT")
            self._begin_anew()

    def _search_leaf(self, leaf: Value, same_copy: Value) -> None:
        """The first level."""
        m, io = self.m, self.io
        with m.State("LEAF READ"):
            m.next = "LEAF"
            self._begin_anew()
        with m.State("LEAF"):
            whole = Const(-1, WORD)
            self._fetch(leaf, self.at.leaf, whole, whole)
            m.d.comb += self.from_copy.eq(~same_copy)
            m.next = "LEAF FIRST"
            self._begin_anew()
        with m.State("LEAF FIRST"):
            with m.If(self.some):
                position = Cat(self.index[: ceil_log2(WORD)], self.at.mid, self.at.top)
                m.d.sync += [
                    io.found.found.eq(1),
                    io.found.level.eq(position ^ (~self.at.side).replicate(len(position))),
                ]
                m.next = "IDLE"
            with m.Else():
                self._go_on("MID")
            self._begin_anew()
