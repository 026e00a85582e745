"""Layouts that the parts of the matching engine share, sized by the geometry."""

from amaranth.lib import data
from amaranth.utils import ceil_log2
from hawse.wire import Geometry, InstrumentState, Side

from ..layouts import COMMAND


def handle_bits(geometry: Geometry) -> int:
    """Bits of a handle that is inside the order store."""
    return ceil_log2(geometry.orders)


def instrument_bits(geometry: Geometry) -> int:
    """Bits of an instrument's number in the gateware; 0 if there is one instrument alone."""
    return ceil_log2(geometry.instruments)


def place_layout(geometry: Geometry) -> data.StructLayout:
    """One level of one instrument."""
    return data.StructLayout({"level": ceil_log2(geometry.levels), "instrument": instrument_bits(geometry)})


def best_layout(geometry: Geometry) -> data.StructLayout:
    """A level, if there is one."""
    return data.StructLayout({"found": 1, "level": ceil_log2(geometry.levels)})


def front_layout(geometry: Geometry) -> data.StructLayout:
    """Bounds of one side: none rests better than at ``best``, and none but there better than at ``behind``.

    While ``partial``, ``behind`` is only the best of the levels that orders entered since a search began.
    While ``alone``, no order but that of ``handle`` has entered at ``best``.
    """
    best = best_layout(geometry)
    return data.StructLayout(
        {"best": best, "behind": best, "partial": 1, "alone": 1, "handle": handle_bits(geometry)}
    )


def ends_layout(geometry: Geometry) -> data.StructLayout:
    """First and last order of a level that holds orders. One entry serves both sides."""
    handle = handle_bits(geometry)
    return data.StructLayout({"occupied": 1, "head": handle, "tail": handle})


def record_layout(geometry: Geometry) -> data.StructLayout:
    """An order at rest, if ``live``; ``level`` is its price less the base of the band."""
    return data.StructLayout(
        {
            # First what is compared as it is read: the floorplan gives the first bits the nearest places.
            "live": 1,
            "instrument": instrument_bits(geometry),
            "account": geometry.account_bits,
            "quantity": 32,
            "level": ceil_log2(geometry.levels),
            "side": Side,
            "self_trade": 2,
        }
    )


def row_layout() -> data.StructLayout:
    """What an instrument is in: its state and the base of its band."""
    return data.StructLayout({"state": InstrumentState, "base": 32})


def task_layout(geometry: Geometry) -> data.StructLayout:
    """A command that has passed its checks."""
    return data.StructLayout(
        {
            "command": COMMAND,
            "accepted": 32,
            #: The order that arrives, as it would rest.
            "order": record_layout(geometry),
            "row": row_layout(),
            #: Bounds of its own side, once it rests, and of the other.
            "front": front_layout(geometry),
            "facing": front_layout(geometry),
        }
    )
