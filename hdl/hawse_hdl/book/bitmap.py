"""Which price levels hold orders: a tree of words for each side of each instrument."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from hawse.wire import Geometry

WORD = 32
_INDEX = ceil_log2(WORD)


def first(word: Value) -> tuple[Value, Value]:
    """Whether ``word``, a power of two bits wide, has a bit set, and the index of the lowest."""
    half = len(word) // 2
    if half == 0:
        return word[0], Value.cast(0)[:0]
    low, low_index = first(word[:half])
    high, high_index = first(word[half:])
    return low | high, Cat(Mux(low, low_index, high_index), ~low) if half > 1 else ~low


def above(index: Value, width: int) -> Value:
    """Word of ``width`` bits with those above ``index`` set."""
    return Cat(*(index < bit for bit in range(width)))


def instrument_bits(geometry: Geometry) -> int:
    """Bits of an instrument's number in the gateware; never 0."""
    return max(1, ceil_log2(geometry.instruments))


def best_layout(geometry: Geometry) -> data.StructLayout:
    """A level, if there is one."""
    return data.StructLayout({"found": 1, "level": ceil_log2(geometry.levels)})


class PriceBitmap(wiring.Component):
    """Which levels of each side of each instrument hold orders, and the best of them.

    Three-level trees of words. The root of each and the best level are small enough for distributed memory,
    the lower levels lie in block RAM. Positions count from the best possible price, so that bids are mirrored
    and the best level of either side is the lowest set bit. A word below a clear bit is stale and counts as
    empty, so that clearing the root empties the tree.

    Latency: ``occupied`` one cycle after ``look``, ``bid`` and ``ask`` one cycle after a change; a search
    (``remove`` of the best level, ``advance``) takes one, three or five cycles.
    Initiation interval: 1, between searches.
    Ordering: ``insert``, ``remove`` and ``advance`` refer to the last ``look`` and come in a later cycle; a
    change is visible to a ``look`` in the next cycle. Strobes are heeded only in a cycle with ``ready``.
    Reset: ends a search, but does not empty the trees: ``clear`` each instrument.
    Back-pressure: ``ready`` is low during a search.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        level = ceil_log2(geometry.levels)
        best = best_layout(geometry)
        super().__init__(
            {
                #: Instrument of ``bid``, ``ask``, ``look`` and ``clear``.
                "instrument": In(instrument_bits(geometry)),
                "side": In(1),
                "level": In(level),
                #: Fetch what is known of a level.
                "look": In(1),
                "occupied": Out(1),
                "insert": In(1),
                "remove": In(1),
                #: From the level looked at, search the next occupied one towards worse prices, for ``next``.
                "advance": In(1),
                "next": Out(best),
                #: Empty both sides of the instrument.
                "clear": In(1),
                "bid": Out(best),
                "ask": Out(best),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        top_bits = max(1, ceil_log2(geometry.levels) - 2 * _INDEX)
        roots_width = max(2, geometry.levels // WORD**2)
        level_bits = ceil_log2(geometry.levels)

        # Position looked at, as the index at each height of the tree; a search moves it.
        instrument = Signal.like(self.instrument)
        side = Signal()
        leaf_at, mid_at, top_at = Signal(_INDEX), Signal(_INDEX), Signal(top_bits)
        position = Cat(leaf_at, mid_at, top_at)[:level_bits]
        looked = Signal(level_bits)
        m.d.comb += looked.eq(self.level ^ (~self.side).replicate(level_bits))

        rows = max(2, geometry.instruments)
        row = data.StructLayout({"found": 1, "position": level_bits})
        root = Signal(roots_width)
        bests = [Signal(row, name="best_bid"), Signal(row, name="best_ask")]
        root_write, best_write = Signal(), Signal()
        new_root, new_best = Signal(roots_width), Signal(row)
        for which, (now, port) in enumerate(zip(bests, (self.bid, self.ask), strict=True)):
            m.submodules[f"roots{which}"] = roots = Memory(shape=roots_width, depth=rows, init=[])
            m.submodules[f"best{which}"] = best = Memory(shape=row, depth=rows, init=[])
            writer, reader = roots.write_port(), roots.read_port(domain="comb")
            best_writer = best.write_port()
            here, key = best.read_port(domain="comb"), best.read_port(domain="comb")
            m.d.comb += [
                reader.addr.eq(instrument),
                writer.addr.eq(Mux(self.clear, self.instrument, instrument)),
                writer.en.eq(self.clear | (root_write & (side == which))),
                writer.data.eq(Mux(self.clear, 0, new_root)),
                best_writer.addr.eq(writer.addr),
                best_writer.en.eq(self.clear | (best_write & (side == which))),
                best_writer.data.eq(Mux(self.clear, 0, new_best.as_value())),
                here.addr.eq(self.instrument),
                port.found.eq(here.data.found),
                port.level.eq(here.data.position ^ (~0 if which == 0 else 0)),
                key.addr.eq(instrument),
                now.eq(key.data),
            ]
            with m.If(side == which):
                m.d.comb += root.eq(reader.data)
        best_now = Mux(side, bests[1].as_value(), bests[0].as_value())
        is_best = Signal()
        m.d.comb += is_best.eq(best_now == Cat(1, position))

        half = geometry.instruments * 2
        m.submodules.leaves = leaves = Memory(shape=WORD, depth=half * geometry.levels // WORD, init=[])
        m.submodules.mids = mids = Memory(
            shape=WORD, depth=half * max(1, geometry.levels // WORD**2), init=[]
        )
        leaf_read, leaf_write = leaves.read_port(), leaves.write_port()
        mid_read, mid_write = mids.read_port(), mids.write_port()
        top_width = level_bits - 2 * _INDEX
        m.d.comb += [
            leaf_read.en.eq(0),
            leaf_read.addr.eq(Cat(mid_at, top_at[:top_width], side, instrument)),
            leaf_write.addr.eq(leaf_read.addr),
            mid_read.en.eq(0),
            mid_read.addr.eq(Cat(top_at[:top_width], side, instrument)),
            mid_write.addr.eq(mid_read.addr),
        ]

        root_bit, mid_bit, leaf_bit = Signal(roots_width), Signal(WORD), Signal(WORD)
        mid, leaf = Signal(WORD), Signal(WORD)
        m.d.comb += [
            root_bit.eq(1 << top_at),
            mid_bit.eq(1 << mid_at),
            leaf_bit.eq(1 << leaf_at),
            mid.eq(Mux((root & root_bit).any(), mid_read.data, 0)),
            leaf.eq(Mux((mid & mid_bit).any(), leaf_read.data, 0)),
            self.occupied.eq((leaf & leaf_bit).any()),
        ]

        # What comes after the position looked at, at each height.
        later = [Signal(WORD), Signal(WORD), Signal(roots_width)]
        m.d.comb += [
            later[0].eq(leaf & above(leaf_at, WORD)),
            later[1].eq(mid & above(mid_at, WORD)),
            later[2].eq(root & above(top_at, roots_width)),
        ]
        (later_leaf, leaf_index), (later_mid, mid_index), (later_root, root_index) = map(first, later)

        # Result of a search: the next position, if any.
        done, found = Signal(), Signal()
        target = Signal(level_bits)
        for_best = Signal()
        writes_best = Signal()

        with m.FSM(name="search"):
            with m.State("IDLE"):
                m.d.comb += self.ready.eq(1)
                with m.If(self.look):
                    m.d.sync += [
                        instrument.eq(self.instrument),
                        side.eq(self.side),
                        Cat(leaf_at, mid_at, top_at).eq(looked),
                    ]
                    m.d.comb += [
                        leaf_read.en.eq(1),
                        leaf_read.addr.eq(Cat(looked[_INDEX:], self.side, self.instrument)),
                        mid_read.en.eq(1),
                        mid_read.addr.eq(Cat(looked[2 * _INDEX :], self.side, self.instrument)),
                    ]
                with m.If(self.insert):
                    m.d.comb += [
                        leaf_write.en.eq(1),
                        leaf_write.data.eq(leaf | leaf_bit),
                        mid_write.en.eq(1),
                        mid_write.data.eq(mid | mid_bit),
                        root_write.eq(1),
                        new_root.eq(root | root_bit),
                        best_write.eq(~best_now[0] | (position < best_now[1:])),
                        new_best.eq(Cat(1, position)),
                    ]
                with m.If(self.remove):
                    m.d.comb += [
                        leaf_write.en.eq(1),
                        leaf_write.data.eq(leaf & ~leaf_bit),
                        mid_write.en.eq((leaf & ~leaf_bit) == 0),
                        mid_write.data.eq(mid & ~mid_bit),
                        root_write.eq(mid_write.en & ((mid & ~mid_bit) == 0)),
                        new_root.eq(root & ~root_bit),
                    ]
                with m.If(self.advance | (self.remove & is_best)):
                    m.d.sync += for_best.eq(self.remove)
                    m.d.comb += writes_best.eq(self.remove)
                    with m.If(later_leaf):
                        m.d.comb += [done.eq(1), found.eq(1), target.eq(Cat(leaf_index, mid_at, top_at))]
                    with m.Elif(later_mid):
                        m.d.sync += mid_at.eq(mid_index)
                        m.next = "READ LEAF"
                    with m.Elif(later_root):
                        m.d.sync += top_at.eq(root_index)
                        m.next = "READ MID"
                    with m.Else():
                        m.d.comb += done.eq(1)
            with m.State("READ MID"):
                m.d.comb += mid_read.en.eq(1)
                m.next = "MID"
            with m.State("MID"):
                m.d.sync += mid_at.eq(first(mid_read.data)[1])
                m.next = "READ LEAF"
            with m.State("READ LEAF"):
                m.d.comb += leaf_read.en.eq(1)
                m.next = "LEAF"
            with m.State("LEAF"):
                m.d.comb += [
                    writes_best.eq(for_best),
                    done.eq(1),
                    found.eq(1),
                    target.eq(Cat(first(leaf_read.data)[1], mid_at, top_at)),
                ]
                m.next = "IDLE"

        with m.If(done):
            with m.If(writes_best):
                m.d.comb += [best_write.eq(1), new_best.eq(Cat(found, target))]
            with m.Else():
                m.d.sync += [
                    self.next.found.eq(found),
                    self.next.level.eq(target ^ (~side).replicate(level_bits)),
                ]
        return m
