"""Every command and report of the engine, defined once.

The definitions are plain data: :mod:`hawse.wire.dtypes` makes numpy structured types of them,
:mod:`hawse.wire.cheader` a C header, and ``hawse_hdl.layouts`` Amaranth layouts.

All integers are little-endian and naturally aligned. A command is one 32-byte word, a report is one
32-byte **beat**; FENCE and BATCH are followed by a second beat that holds 32 bytes of hash.
"""

from dataclasses import dataclass
from enum import IntEnum

BEAT_BYTES = 32
RECORD_BYTES = 24
#: Version of everything in this module; HELLO carries it.
VERSION = 1

#: Handle that stands for "no such order".
NULL_HANDLE = 0xFFFF_FFFF
#: Instrument that stands for "all", in MASS_CANCEL only.
ALL_INSTRUMENTS = 0xFFFF
#: Account that is nobody; in MASS_CANCEL it stands for "all".
ANONYMOUS = 0


class Opcode(IntEnum):
    """What a command asks for."""

    NEW = 1
    CANCEL = 2
    REPLACE = 3
    REDUCE = 4
    MASS_CANCEL = 5
    STATE = 6
    FENCE = 7
    CLOSE = 8
    LOAD = 9
    DUMP = 10
    HELLO = 11
    #: For the driver only, which carries it out as STATE, LOADs, STATE. Undefined for an engine.
    RECENTRE = 12


class Side(IntEnum):
    """Side of an order."""

    BUY = 0
    SELL = 1


class TimeInForce(IntEnum):
    """How long a NEW order lives."""

    GTC = 0
    IOC = 1
    FOK = 2
    POST_ONLY = 3


class SelfTrade(IntEnum):
    """What a taker does when it meets an order of its own account. 3 is undefined."""

    CANCEL_NEWEST = 0
    CANCEL_OLDEST = 1
    CANCEL_BOTH = 2


class InstrumentState(IntEnum):
    """State of an instrument; CLOSED after a reset."""

    CLOSED = 0
    OPEN = 1
    CANCEL_ONLY = 2
    LOADING = 3


class Kind(IntEnum):
    """Kind of a report: bits 0-3 of its first byte. Kinds below 8 are records, committed in the log."""

    ACK = 0
    TRADE = 1
    CANCELLED = 2
    REPLACED = 3
    REJECTED = 4
    FENCE = 8
    BATCH = 9
    RESTING = 10
    HELLO = 11


class Reason(IntEnum):
    """Why an order was rejected (1-15, in the order of checking) or cancelled (16 and up)."""

    NONE = 0
    OPCODE = 1
    INSTRUMENT = 2
    STATE = 3
    HANDLE = 4
    DUPLICATE = 5
    NOT_RESTING = 6
    QUANTITY = 7
    PRICE = 8
    LIMIT = 9
    USER = 16
    IOC = 17
    FOK = 18
    POST_ONLY = 19
    SELF = 20
    MASS = 21


@dataclass(frozen=True)
class Field:
    """One integer of a struct, ``bytes`` wide; ``bits`` names sub-fields as (name, lsb, width)."""

    name: str
    offset: int
    bytes: int
    doc: str
    signed: bool = False
    bits: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class Struct:
    """A fixed-size record of fields in ascending offset; gaps are zero."""

    name: str
    size: int
    doc: str
    fields: tuple[Field, ...]


_KIND_BITS = (("kind", 0, 4), ("side", 4, 1), ("maker_done", 5, 1), ("zero", 6, 2))
_FLAG_BITS = (("side", 0, 1), ("time_in_force", 1, 2), ("self_trade", 3, 2), ("zero", 5, 3))
_KIND = Field("kind", 0, 1, "Kind, and flags", bits=_KIND_BITS)

COMMAND = Struct(
    "command",
    32,
    "What an engine is told.",
    (
        Field("opcode", 0, 1, "Opcode"),
        Field("flags", 1, 1, "side, time in force, self-trade mode; the rest must be zero", bits=_FLAG_BITS),
        Field("instrument", 2, 2, "order book; ALL_INSTRUMENTS in MASS_CANCEL stands for all"),
        Field("handle", 4, 4, "index in the order store, or NULL_HANDLE"),
        Field("account", 8, 4, "owner; 0 is anonymous"),
        Field("price", 12, 4, "absolute ticks; STATE(loading): the new base of the band", signed=True),
        Field("quantity", 16, 4, "lots; REPLACE, REDUCE: the new remaining quantity; STATE: the new state"),
        Field("tag", 20, 4, "FENCE: echoed; CLOSE: the batch number"),
        Field("seq", 24, 8, "sequence number that its reports carry"),
    ),
)

ORDER = Struct(
    "order",
    40,
    "What the driver is told: a command that names its order by the user's id; only LOAD's handle is read.",
    (*COMMAND.fields, Field("order_id", 32, 8, "the user's order id")),
)

REPORT = Struct(
    "report",
    32,
    "A committed record (24 bytes) and its sideband.",
    (
        _KIND,
        Field("reason", 1, 1, "Reason, of CANCELLED and REJECTED"),
        Field("instrument", 2, 2, "order book"),
        Field("handle", 4, 4, "order concerned; TRADE: the taker"),
        Field("maker", 8, 4, "TRADE: handle of the maker"),
        Field("price", 12, 4, "absolute ticks; TRADE: the maker's", signed=True),
        Field("quantity", 16, 4, "lots"),
        Field("seq", 20, 4, "low 32 bits of the command's sequence number"),
        Field("accepted", 24, 4, "sideband: clock cycle in which the command was accepted, modulo 2**32"),
        Field("left", 28, 4, "sideband: clock cycle in which the report left the book, modulo 2**32"),
    ),
)

EVENT = Struct(
    "event",
    48,
    "What the driver says: a report with the user's order ids.",
    (
        *REPORT.fields,
        Field("order_id", 32, 8, "id of the order concerned; 0 where the command named none"),
        Field("maker_id", 40, 8, "TRADE: id of the maker's order"),
    ),
)

FENCE = Struct(
    "fence",
    32,
    "Answer to FENCE, and first answer to CLOSE; the next beat is the log digest.",
    (
        _KIND,
        Field("tag", 4, 4, "the command's"),
        Field("commands", 8, 8, "commands since the log began, this one apart"),
        Field("records", 16, 8, "records since the log began"),
        Field("epoch", 24, 4, "counts resets"),
    ),
)

BATCH = Struct(
    "batch",
    32,
    "Second answer to CLOSE; the next beat is the root of the log, which then begins again, empty.",
    (
        _KIND,
        Field("tag", 4, 4, "the command's"),
        Field("leaves", 8, 8, "leaves of the log"),
        Field("records", 16, 8, "records of the log"),
        Field("epoch", 24, 4, "counts resets"),
    ),
)

RESTING = Struct(
    "resting",
    32,
    "One resting order, in answer to DUMP; not logged.",
    (
        _KIND,
        Field("flags", 1, 1, "as in a command", bits=_FLAG_BITS),
        Field("instrument", 2, 2, "order book"),
        Field("handle", 4, 4, "index in the order store"),
        Field("account", 8, 4, "owner"),
        Field("price", 12, 4, "absolute ticks", signed=True),
        Field("quantity", 16, 4, "remaining lots"),
    ),
)

HELLO = Struct(
    "hello",
    32,
    "Answer to HELLO; not logged.",
    (
        _KIND,
        Field("version", 1, 1, "VERSION of this module"),
        Field("instruments", 2, 2, "order books"),
        Field("orders", 4, 4, "handles in the order store"),
        Field("levels", 8, 4, "price levels of each instrument"),
        Field("account_bits", 12, 1, "accounts are below 2**account_bits"),
        Field("epoch", 16, 4, "counts resets"),
        Field(
            "busy", 20, 4, "clock cycles since reset in which the book was busy, modulo 2**32; 0 in software"
        ),
        Field("last_seq", 24, 8, "sequence number of the last command applied, this one apart"),
    ),
)

STRUCTS = (COMMAND, ORDER, REPORT, EVENT, FENCE, BATCH, RESTING, HELLO)
ENUMS = (Opcode, Side, TimeInForce, SelfTrade, InstrumentState, Kind, Reason)


@dataclass(frozen=True)
class Geometry:
    """Size of an engine, the same for gateware, native and golden.

    Attributes:
        instruments: order books, 1 to 65,535.
        levels: price levels of each instrument, a power of two from 1,024 to 65,536.
        orders: handles in the order store that all instruments share, a power of two from 64 to 65,536.
        account_bits: accounts are below ``2**account_bits``; at most 32.

    Raises:
        ValueError: a size out of range, with the field named.
    """

    instruments: int = 4
    levels: int = 8192
    orders: int = 8192
    account_bits: int = 12

    def __post_init__(self) -> None:
        if not 1 <= self.instruments < ALL_INSTRUMENTS:
            raise ValueError(f"instruments: {self.instruments} is not within 1..65534")
        for name, low, value in (("levels", 1024, self.levels), ("orders", 64, self.orders)):
            if not low <= value <= 65536 or value & (value - 1):
                raise ValueError(f"{name}: {value} is not a power of two within {low}..65536")
        if not 1 <= self.account_bits <= 32:
            raise ValueError(f"account_bits: {self.account_bits} is not within 1..32")
