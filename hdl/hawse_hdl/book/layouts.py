"""Layouts that the parts of the matching engine share, sized by the geometry."""

from amaranth.hdl import Cat, Const, Shape, Value, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2
from hawse.wire import LEAST_WINDOW, Geometry, InstrumentState, Reason, Side

from ..layouts import COMMAND


def handle_bits(geometry: Geometry) -> int:
    """Bits of a handle that is inside the order store."""
    return ceil_log2(geometry.orders)


def instrument_bits(geometry: Geometry) -> int:
    """Bits of an instrument's number in the gateware; 0 if there is one instrument alone."""
    return ceil_log2(geometry.instruments)


def level_bits(geometry: Geometry) -> int:
    """Bits of a level's number, which counts through the pool."""
    return ceil_log2(geometry.pool)


def window_bits(geometry: Geometry) -> int:
    """Bits of the first level of a window, and of its mask, that are not the same for every window."""
    return level_bits(geometry) - ceil_log2(LEAST_WINDOW)


def first_level(first: Value) -> Value:
    """The whole number of a window's first level, of its bits as :func:`row_layout` has them."""
    return Cat(Const(0, ceil_log2(LEAST_WINDOW)), first)


def whole_mask(mask: Value) -> Value:
    """Levels of a window less one, of the bits that :func:`row_layout` has."""
    return Cat(Const(LEAST_WINDOW - 1, ceil_log2(LEAST_WINDOW)), mask)


def rejection_shape(gate: bool = False) -> Shape:
    """A reason for which the engine rejects, or its gate."""
    return unsigned(ceil_log2((Reason.COLLAR if gate else Reason.WHAT) + 1))


def judgement_layout() -> data.StructLayout:
    """What the gate says of a command: it drew, or the lowest limit that it breaks, KILLED being 0."""
    return data.StructLayout(
        {"drew": 1, "breached": 1, "reason": ceil_log2(Reason.COLLAR - Reason.KILLED + 1)}
    )


def back_layout(geometry: Geometry) -> data.StructLayout:
    """What is open no more, if ``valid``, for the gate: lots, and the order itself if it has ``ended``.

    With ``credit``, what they drew of that comes back, too.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "tag": geometry.tag_bits,
            "instrument": instrument_bits(geometry),
            "side": Side,
            "amount": 32,
            "ended": 1,
            "credit": 1,
        }
    )


def sources_layout(geometry: Geometry) -> data.StructLayout:
    """What the matcher knows of what is open no more, if one of its bits says so, in a cycle of its own."""
    return data.StructLayout(
        {
            #: A trade, or what becomes of it, as its beat says.
            "trades": 1,
            #: What is left of the taker is cancelled; a LOAD is refused.
            "ends": 1,
            "refuses": 1,
            #: The order at hand is taken away, and by MASS_CANCEL.
            "removes": 1,
            "mass": 1,
            #: A FENCE or CLOSE is told, or a LIMIT(RATE).
            "fence": 1,
            "rate": 1,
            "maker": record_layout(geometry),
            #: The trade takes all that is left of the taker.
            "takes_taker": 1,
        }
    )


def release_layout() -> data.StructLayout:
    """A FENCE or CLOSE has been told, or a LIMIT(RATE), and whether that was taken."""
    return data.StructLayout({"valid": 1, "fence": 1, "taken": 1})


def best_layout(geometry: Geometry) -> data.StructLayout:
    """A level, if there is one."""
    return data.StructLayout({"found": 1, "level": level_bits(geometry)})


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
    """An order at rest, if ``live``, at a level of the pool."""
    return data.StructLayout(
        {
            # First what is compared as it is read: the floorplan gives the first bits the nearest places.
            "live": 1,
            "instrument": instrument_bits(geometry),
            "tag": geometry.tag_bits,
            "quantity": 32,
            "level": level_bits(geometry),
            "side": Side,
            "self_trade": 2,
        }
    )


def row_layout(geometry: Geometry) -> data.StructLayout:
    """What an instrument is in: its state, and its window of the pool, if it is ``windowed``.

    ``origin`` is the price that level 0 of the pool would have: that of the window's first level, less its
    number. A window is as long as a power of two, from ``LEAST_WINDOW`` on, and aligned to that; so the lower
    bits of ``first`` are zero, those of ``mask``, its levels less one, are set, and neither is kept.
    """
    window = window_bits(geometry)
    return data.StructLayout(
        {"state": InstrumentState, "windowed": 1, "origin": 32, "first": window, "mask": window}
    )


def task_layout(geometry: Geometry) -> data.StructLayout:
    """A command that has passed its checks."""
    return data.StructLayout(
        {
            "command": COMMAND,
            "accepted": 32,
            #: The order that arrives, as it would rest.
            "order": record_layout(geometry),
            "row": row_layout(geometry),
            #: Bounds of its own side, once it rests, and of the other.
            "front": front_layout(geometry),
            "facing": front_layout(geometry),
        }
    )
