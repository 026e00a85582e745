import itertools

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Cover, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from hawse.wire import Side
from hawse_hdl.book import bitmap, bitmap_search, bitmap_tree, layouts
from hawse_hdl.book.bitmap import PriceBitmap
from support.formal import TinyGeometry, read_before, show

#: Cycles from a change until it is in the tree.
SETTLES = 4


@pytest.fixture(autouse=True)
def tiny_words(monkeypatch):
    for module in (bitmap, bitmap_search, bitmap_tree):
        monkeypatch.setattr(module, "WORD", 2)
    monkeypatch.setattr(layouts, "LEAST_WINDOW", 2)


class WatchedBitmap(PriceBitmap):
    """A bitmap with all its words in sight."""

    def __init__(self, levels):
        super().__init__(TinyGeometry(pool=levels))
        tops = levels // 4
        # Of both sides, from the best position; the address of a word is mid, top, side.
        self.leaves = [Signal(2, name=f"leaf_{n}") for n in range(levels)]
        self.copies = [Signal(2, name=f"copy_{n}") for n in range(levels)]
        self.mids = [Signal(2, name=f"mid_{n}") for n in range(2 * tops)]
        self.roots = [Signal(tops, name=f"root_{n}") for n in range(2)]

    def elaborate(self, platform):
        m = super().elaborate(platform)
        show(m, m.submodules.leaves.memory, self.leaves)
        show(m, m.submodules.copy.memory, self.copies)
        show(m, m.submodules.mids, self.mids)
        show(m, m.submodules.roots, self.roots)
        return m


class BitmapContract(wiring.Component):
    """A tree of words of two bits is a set of levels for each side, and a search finds the next of them.

    Leaves say what all changes up to a cycle ago make of the set, mids and root up to three. A search
    begun when ``settled``, without a change until ``ready``, finds exactly the best level of the window
    around ``place``, or the one after that, within the cycles of the docstring. A window is of two levels, so
    that words of the middle are shared, or of more. Assumed: a wipe does not occupy, the first cycle changes
    nothing, and a mask is one less than a power of two.
    """

    changing: In(3)
    changing_side: In(1)
    valid: In(1)
    occupied: In(1)
    wipe: In(1)
    seek: In(1)
    onward: In(1)
    place: In(3)
    mask: In(2)
    side: In(1)

    def __init__(self, levels):
        self.levels = levels
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        levels = self.levels
        m.d.comb += [
            Assume(~ResetSignal()),
            Assume(~(self.wipe & self.occupied)),
            Assume(read_before(m) | ~self.valid),
            Assume(self.mask != 2),
        ]
        m.submodules.dut = dut = WatchedBitmap(levels)
        m.d.comb += [
            dut.changing.eq(self.changing),
            dut.changing_side.eq(self.changing_side),
            dut.change.valid.eq(self.valid),
            dut.change.occupied.eq(self.occupied),
            dut.change.wipe.eq(self.wipe),
            dut.seek.eq(self.seek),
            dut.onward.eq(self.onward),
            dut.place.eq(self.place),
            dut.mask.eq(self.mask),
            dut.side.eq(self.side),
        ]

        # The sets, by position from the best, in front of this cycle's change; then those of earlier cycles.
        sets = [[Signal(levels, name=f"{side.name}_{age}") for side in Side] for age in range(SETTLES)]
        for younger, older in itertools.pairwise(sets):
            m.d.sync += [o.eq(y) for y, o in zip(younger, older, strict=True)]
        position, side = Signal(range(levels)), Signal()
        m.d.sync += [position.eq(at(self.changing, self.changing_side, levels)), side.eq(self.changing_side)]
        with m.If(self.valid):
            for which in Side:
                for p in range(levels):
                    hit = Mux(self.wipe, position >> 1 == p >> 1, position == p)
                    with m.If((side == which) & hit):
                        m.d.sync += sets[0][which][p].eq(self.occupied)

        for which in Side:
            words = levels // 2
            tops = levels // 4
            one, three = (sets[age][which] for age in (1, 3))
            for n in range(words):
                for copy in (dut.leaves, dut.copies):
                    m.d.comb += Assert(copy[which * words + n] == one[2 * n : 2 * n + 2])
            for n in range(tops):
                halves = Cat(three[4 * n + 2 * k : 4 * n + 2 * k + 2].any() for k in range(2))
                m.d.comb += Assert(dut.mids[which * tops + n] == halves)
            quarters = Cat(three[4 * n : 4 * n + 4].any() for n in range(tops))
            m.d.comb += Assert(dut.roots[which] == quarters)
            with m.If(dut.settled):
                m.d.comb += Assert(
                    quarters == Cat(sets[0][which][4 * n : 4 * n + 4].any() for n in range(tops))
                )

        # A search of a set that stays as it is.
        sought = Signal(levels)  # the levels in question
        sought_side, onward = Signal(Side), Signal()
        calm, since = Signal(), Signal(range(15))
        ended = Signal()
        here = Array(sets[0])[self.side]
        start = at(self.place, self.side, levels)
        behind = Cat(Const(p) > start for p in range(levels))
        inside = Cat(((start ^ p) >> 1 & ~self.mask[: len(dut.mask)]) == 0 for p in range(levels))
        with m.If(self.seek):
            m.d.sync += [
                sought.eq(here & inside & Mux(self.onward, behind, ~0)),
                sought_side.eq(self.side),
                onward.eq(self.onward),
                calm.eq(dut.settled & ~self.valid),
                since.eq(1),
                ended.eq(0),
            ]
        with m.Elif(~ended):
            m.d.sync += [ended.eq(dut.ready), since.eq(since + (since != 14)), calm.eq(calm & ~self.valid)]
        best = Signal(range(levels))
        for p in reversed(range(levels)):
            with m.If(sought[p]):
                m.d.comb += best.eq(p)
        with m.If(calm):
            with m.If(dut.ready):
                m.d.comb += Assert(dut.found.found == sought.any())
                with m.If(sought.any()):
                    m.d.comb += Assert(at(dut.found.level, sought_side, levels) == best)
                    with m.If(~ended):
                        m.d.comb += Assert(
                            Mux(onward, (since == 4) | (since == 9) | (since == 13), since == 8)
                        )
            with m.Else():
                m.d.comb += Assert(~ended & (since < Mux(onward, 13, 8)))
        longest = 9 if levels == 4 else 13
        m.d.comb += Cover(calm & dut.ready & ~ended & (since == longest) & dut.found.found)
        return m


def at(level, side, levels):
    """Position of a level, counted from the best possible price of its side."""
    return Mux(side, level, levels - 1 - level)[: (levels - 1).bit_length()]


@pytest.mark.parametrize("levels", [4, 8])
def test_searches_find_the_best(induct, levels):
    induct(BitmapContract(levels), 16)


def test_longest_searches_occur(solve):
    solve(BitmapContract(8), "cover", 23)
