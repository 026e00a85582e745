"""The ITCH 5.0 messages that a venue needs, as bytes; ``docs/itch.md`` says what stands in them."""

import struct

from hawse.instruments import Instrument

#: Type, locate, tracking number and nanoseconds since midnight, of every message.
_HEAD = struct.Struct(">cHH6s")
_DIRECTORY = struct.Struct(">8sccIcc2scccccIc")
_ACTION = struct.Struct(">8scc4s")
_ADD = struct.Struct(">QcI8sI")
_EXECUTED = struct.Struct(">QIQ")
_CANCEL = struct.Struct(">QI")
_DELETE = struct.Struct(">Q")
_REPLACE = struct.Struct(">QQII")
_DAY_MS = 86_400_000
_SIDES = (b"B", b"S")
_SYMBOL = 8
#: Codes of a system event: start and end of messages, of system hours, of market hours.
START, OPEN, TRADING, END = b"O", b"S", b"Q", b"C"


class Unfit(ValueError):
    """A venue that ITCH cannot tell of; says which instrument, and why."""


def symbol_of(instrument: Instrument) -> bytes:
    """Eight characters that name an instrument.

    Raises:
        Unfit: its name does not fit, or its prices are below 0, which ITCH has none of.
    """
    name = instrument.name
    if not (name.isascii() and 0 < len(name) <= _SYMBOL):
        raise Unfit(
            f"itch: the name of instrument {instrument.number}, {name!r}, is not 1 to 8 ASCII letters"
        )
    if instrument.base < 0:
        raise Unfit(
            f"itch: instrument {instrument.number} has prices down to {instrument.base}, and ITCH to 0"
        )
    return name.ljust(_SYMBOL).encode()


def _head(kind: bytes, locate: int, time: int) -> bytes:
    """``time`` is in milliseconds since 1970."""
    return _HEAD.pack(kind, locate, 0, (time % _DAY_MS * 1_000_000).to_bytes(6, "big"))


def event(time: int, code: bytes) -> bytes:
    """S: something about the whole feed."""
    return _head(b"S", 0, time) + code


def directory(time: int, locate: int, symbol: bytes, lot: int) -> bytes:
    """R: an instrument; ``lot`` is the smallest order, in lots."""
    more = (b" ", b"N", lot, b"N", b"Q", b"Z ", b"P", b" ", b" ", b" ", b"N", 0, b"N")
    return _head(b"R", locate, time) + _DIRECTORY.pack(symbol, *more)


def trades(time: int, locate: int, symbol: bytes) -> bytes:
    """H: an instrument is traded."""
    return _head(b"H", locate, time) + _ACTION.pack(symbol, b"T", b" ", b"    ")


def add(time: int, locate: int, ref: int, side: int, lots: int, symbol: bytes, price: int) -> bytes:
    """A: an order rests."""
    return _head(b"A", locate, time) + _ADD.pack(ref, _SIDES[side], lots, symbol, price)


def executed(time: int, locate: int, ref: int, lots: int, match: int) -> bytes:
    """E: an order that rests has traded, at its price."""
    return _head(b"E", locate, time) + _EXECUTED.pack(ref, lots, match)


def cancel(time: int, locate: int, ref: int, lots: int) -> bytes:
    """X: an order has so many lots less, and keeps its place."""
    return _head(b"X", locate, time) + _CANCEL.pack(ref, lots)


def delete(time: int, locate: int, ref: int) -> bytes:
    """D: an order rests no more."""
    return _head(b"D", locate, time) + _DELETE.pack(ref)


def replace(time: int, locate: int, old: int, new: int, lots: int, price: int) -> bytes:
    """U: an order has left its place and rests anew."""
    return _head(b"U", locate, time) + _REPLACE.pack(old, new, lots, price)
