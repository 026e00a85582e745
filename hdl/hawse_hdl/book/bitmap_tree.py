"""Where a price level is in the trees of the bitmap."""

from typing import Any

from amaranth.hdl import Cat, Value
from amaranth.lib import data
from amaranth.utils import ceil_log2
from hawse.wire import Geometry, Side

from .layouts import level_bits

WORD = 32


def height_layout(geometry: Geometry) -> data.StructLayout:
    """Bits of a position at each height: in a word of single levels, in the word above, in the root."""
    index = ceil_log2(WORD)
    return data.StructLayout({"leaf": index, "mid": index, "top": level_bits(geometry) - 2 * index})


def place_layout(geometry: Geometry) -> data.StructLayout:
    """A position in the tree of a side."""
    return data.StructLayout({**height_layout(geometry).members, "side": Side})


def roots_width(geometry: Geometry) -> int:
    """Bits of a root."""
    return int(2 ** (level_bits(geometry) - 2 * ceil_log2(WORD)))


def placed(level: Any, side: Any) -> Value:
    """The position of ``level``, as of :func:`place_layout`; bids are mirrored."""
    return Cat(level ^ (~side).replicate(len(level)), side)


def leaf_address(at: Any) -> Value:
    """Of the word of single levels."""
    return Cat(at.mid, at.top, at.side)


def mid_address(at: Any) -> Value:
    """Of the word above."""
    return Cat(at.top, at.side)
