"""Every command and report of the engine, defined once.

The definitions are plain data: :mod:`hawse.wire.dtypes` makes numpy structured types of them,
:mod:`hawse.wire.cheader` a C header, and ``hawse_hdl.layouts`` Amaranth layouts.

All integers are little-endian and naturally aligned. A command is one 32-byte word, a report is one
32-byte **beat**; FENCE and BATCH are followed by a second beat that holds 32 bytes of hash.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

BEAT_BYTES = 32
RECORD_BYTES = 24
#: Version of everything in this module; HELLO carries it.
VERSION = 2

#: Handle that stands for "no such order".
NULL_HANDLE = 0xFFFF_FFFF
#: Instrument that stands for "all", in MASS_CANCEL only.
ALL_INSTRUMENTS = 0xFFFF
#: Tag that is nobody; in MASS_CANCEL it stands for "all".
ANONYMOUS = 0
#: Levels of the smallest window.
LEAST_WINDOW = 64


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
    #: Sets a limit of the gate. Undefined for an engine without the feature GATE.
    LIMIT = 13


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
    """What a taker does when it meets an order of its own tag. 3 is undefined."""

    CANCEL_NEWEST = 0
    CANCEL_OLDEST = 1
    CANCEL_BOTH = 2


class SequenceClass(IntEnum):
    """Where a command comes from. 5 to 7 are undefined."""

    USER = 0
    #: A liquidation, a strategy, or whatever else the transition function sends by itself.
    MACHINE = 1
    MULTI_LEG = 2
    #: The board's own supervisor.
    SUPERVISOR = 3
    OPERATOR = 4


class InstrumentState(IntEnum):
    """State of an instrument; CLOSED after a reset."""

    CLOSED = 0
    OPEN = 1
    CANCEL_ONLY = 2
    LOADING = 3


class Limit(IntEnum):
    """What a LIMIT sets: 0 to 8 of a tag, 16 and up of an instrument."""

    CLEAR = 0
    ORDER_SIZE = 1
    OPEN_ORDERS = 2
    OPEN_BUY = 3
    OPEN_SELL = 4
    COMMANDS = 5
    KILL = 6
    GRANT = 7
    REVOKE = 8
    RATE = 16
    COLLAR = 17


class Feature(IntFlag):
    """What an engine can do beyond the rules that all obey; HELLO tells."""

    #: STATE(loading) takes a window of no levels: the instrument holds any price.
    NO_BAND = 1 << 0
    #: LIMIT is carried out.
    GATE = 1 << 1
    #: A supervisor may act by itself, and says so in BOARD reports.
    SUPERVISOR = 1 << 2
    EXERCISER = 1 << 3
    #: An on-chip capture buffer can be read out.
    CAPTURE = 1 << 4


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
    #: The board's supervisor did something by itself; the command follows as a second beat.
    BOARD = 12


class Reason(IntEnum):
    """Why something was refused, ended, or done by the machine itself: one list for all rooms.

    1-31 an engine rejects, 32-47 its gate rejects, both in the order of checking; 48-63 an order was
    cancelled; 64-127 the transition function refuses; 128-159 it leaves a price out; 160 and up it acts by
    itself.
    """

    NONE = 0
    OPCODE = 1
    CLASS = 2
    TAG = 3
    INSTRUMENT = 4
    STATE = 5
    WINDOW = 6
    HANDLE = 7
    DUPLICATE = 8
    NOT_RESTING = 9
    OWNER = 10
    QUANTITY = 11
    PRICE = 12
    WHAT = 13
    # The gate.
    KILLED = 32
    COMMANDS = 33
    ORDER_SIZE = 34
    OPEN_ORDERS = 35
    OPEN_BUY = 36
    OPEN_SELL = 37
    CREDIT = 38
    COLLAR = 39
    # Cancelled.
    COMMAND = 48
    IOC = 49
    FOK = 50
    POST_ONLY = 51
    SELF = 52
    MASS = 53
    # The transition function.
    REQUEST = 64
    ACCOUNT = 65
    GONE = 66
    SIGNATURE = 67
    SIGNER = 68
    NONCE_LOW = 69
    NONCE_USED = 70
    NONCE_AHEAD = 71
    EXPIRED = 72
    EXPIRY_LONG = 73
    NO_INSTRUMENT = 74
    NOT_OPEN = 75
    CLIENT_ID_USED = 76
    CLIENT_ID_UNKNOWN = 77
    STORE_FULL = 78
    TAGS_FULL = 79
    MIN_QUANTITY = 80
    MIN_NOTIONAL = 81
    MAX_ORDER = 82
    BAND = 83
    MARK_COLLAR = 84
    ORDER_QUOTA = 85
    POSITION_QUOTA = 86
    REDUCE_ONLY = 87
    MARGIN = 88
    BALANCE = 89
    WITHDRAWABLE = 90
    OVERFLOW = 91
    RULE = 92
    LIMIT_POSITION = 93
    LIMIT_ORDERS = 94
    LIMIT_NOTIONAL = 95
    LIMIT_DELTA = 96
    LIMIT_VEGA = 97
    LIMIT_INTEREST = 98
    LIMIT_SHARE = 99
    NO_MARK = 100
    ISOLATED = 101
    PORTFOLIO = 102
    LEGS = 103
    STRATEGY = 104
    AGENTS_FULL = 105
    MIN_DEPOSIT = 106
    ACCOUNT_QUOTA = 107
    # Prices left out.
    PUBLISHER = 128
    FEED = 129
    NUMBER = 130
    STALE = 131
    FUTURE = 132
    OUTLYING = 133
    EQUIVOCAL = 134
    ARBITRAGE = 135
    NODES = 136
    # The machine's own doing.
    MARGIN_LOST = 160
    TRIM = 161
    TIMER = 162
    LIQUIDATE = 163
    TAKEOVER = 164
    DELEVERAGE = 165
    SOCIALISE = 166
    EXPIRY = 167
    SETTLE = 168
    DELIST = 169
    FORCED = 170
    TRIGGERED = 171
    LEG = 172
    GATE = 173
    RECENTRE = 174
    FUNDING = 175
    FUNDING_DUST = 176


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


_KIND_BITS = (("kind", 0, 4), ("side", 4, 1), ("maker_done", 5, 1), ("board", 6, 1), ("zero", 7, 1))
_FLAG_BITS = (("side", 0, 1), ("time_in_force", 1, 2), ("self_trade", 3, 2), ("sequence_class", 5, 3))
_KIND = Field("kind", 0, 1, "Kind, and flags", bits=_KIND_BITS)

COMMAND = Struct(
    "command",
    32,
    "What an engine is told.",
    (
        Field("opcode", 0, 1, "Opcode"),
        Field("flags", 1, 1, "side, time in force, self-trade mode, sequence class", bits=_FLAG_BITS),
        Field("instrument", 2, 2, "order book; ALL_INSTRUMENTS in MASS_CANCEL stands for all"),
        Field("handle", 4, 4, "order store index or NULL_HANDLE; STATE(loading): first level; LIMIT: Limit"),
        Field("tag", 8, 4, "owner's number at the engine, 0 is anonymous; REPLACE: the order's"),
        Field("price", 12, 4, "absolute ticks; STATE(loading): the new base of the band", signed=True),
        Field(
            "quantity",
            16,
            4,
            "lots; REPLACE, REDUCE: new remaining; STATE: the state; LIMIT: value, low half",
        ),
        Field("token", 20, 4, "FENCE: echoed; CLOSE: batch; STATE(loading): levels; LIMIT: value, high half"),
        Field("seq", 24, 8, "sequence number that its reports carry"),
    ),
)

ORDER = Struct(
    "order",
    40,
    "What the driver is told: a command that names its order by the user's id; LOAD, STATE, LIMIT a handle.",
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
        Field("handle", 4, 4, "order concerned; TRADE: the taker; ACK of STATE: first level, LIMIT: Limit"),
        Field("maker", 8, 4, "TRADE: handle of the maker; ACK of STATE: levels of the window, of LIMIT: tag"),
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
        Field("token", 4, 4, "the command's"),
        Field("commands", 8, 8, "commands since the log began, this one apart"),
        Field("records", 16, 8, "records since the log began"),
        Field("epoch", 24, 4, "counts resets"),
        Field("board_commands", 28, 4, "commands of the board's own since the log began"),
    ),
)

BATCH = Struct(
    "batch",
    32,
    "Second answer to CLOSE; the next beat is the root of the log, which then begins again, empty.",
    (
        _KIND,
        Field("token", 4, 4, "the command's"),
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
        Field("tag", 8, 4, "owner's number at the engine"),
        Field("price", 12, 4, "absolute ticks", signed=True),
        Field("quantity", 16, 4, "remaining lots"),
    ),
)

HELLO = Struct(
    "hello",
    32,
    "Answer to HELLO; not logged. The next beat is BUILD.",
    (
        _KIND,
        Field("version", 1, 1, "VERSION of this module"),
        Field("instruments", 2, 2, "order books"),
        Field("orders", 4, 4, "handles in the order store"),
        Field("pool", 8, 4, "price levels of all instruments together"),
        Field("tag_bits", 12, 1, "tags are below 2**tag_bits"),
        Field("least_window", 13, 1, "binary logarithm of the levels of the smallest window"),
        Field("limits", 14, 2, "bit of each Limit that LIMIT takes, RATE and COLLAR as bits 9 and 10"),
        Field("epoch", 16, 4, "counts resets"),
        Field(
            "busy", 20, 4, "clock cycles since reset in which the book was busy, modulo 2**32; 0 in software"
        ),
        Field("last_seq", 24, 8, "sequence number of the last command applied, this one apart"),
    ),
)

BUILD = Struct(
    "build",
    32,
    "Second beat of HELLO.",
    (
        Field("build_low", 0, 8, "what the engine was made of, bytes 0 to 7"),
        Field("build_high", 8, 8, "bytes 8 to 15"),
        Field("features", 16, 4, "Feature"),
        Field("clock_khz", 20, 4, "clock of the book; 0 in software, or where it is not known"),
    ),
)

BOARD = Struct(
    "board",
    32,
    "The board did something by itself; not logged. The next beat is the command that it carried out.",
    (
        _KIND,
        Field("cause", 1, 1, "why"),
        Field("number", 4, 4, "commands of the board's own since the log began, this one too"),
        Field("commands", 8, 8, "commands of the host since the log began, before this one"),
        Field("records", 16, 8, "records since the log began, before this one's"),
        Field("epoch", 24, 4, "counts resets"),
    ),
)

STRUCTS = (COMMAND, ORDER, REPORT, EVENT, FENCE, BATCH, RESTING, HELLO, BUILD, BOARD)
ENUMS = (
    Opcode,
    Side,
    TimeInForce,
    SelfTrade,
    SequenceClass,
    InstrumentState,
    Limit,
    Feature,
    Kind,
    Reason,
)


@dataclass(frozen=True)
class Geometry:
    """Size of an engine, the same for gateware, native and golden.

    Attributes:
        instruments: order books, 1 to 65,534.
        pool: price levels that the windows of all instruments share, a power of two from 1,024 to 262,144.
        orders: handles in the order store that all instruments share, a power of two from 64 to 65,536.
        tag_bits: tags are below ``2**tag_bits``; 1 to 16.

    Raises:
        ValueError: a size out of range, with the field named.
    """

    instruments: int = 4
    pool: int = 32768
    orders: int = 8192
    tag_bits: int = 12

    def __post_init__(self) -> None:
        if not 1 <= self.instruments < ALL_INSTRUMENTS:
            raise ValueError(f"instruments: {self.instruments} is not within 1..65534")
        for name, low, high, value in (
            ("pool", 1024, 1 << 18, self.pool),
            ("orders", 64, 1 << 16, self.orders),
        ):
            if not low <= value <= high or value & (value - 1):
                raise ValueError(f"{name}: {value} is not a power of two within {low}..{high}")
        if not 1 <= self.tag_bits <= 16:
            raise ValueError(f"tag_bits: {self.tag_bits} is not within 1..16")
