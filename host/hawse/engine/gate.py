"""The gate as readable Python: the limits of each tag, judged before the book. Part of the golden engine.

What an order draws is drawn at once. What comes back, and the count of commands, come back at the next FENCE,
so that no answer depends on how far the commands before have got.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hawse.wire import Geometry, Limit, Opcode, Reason, Side

#: Value of a LIMIT that lifts it.
UNLIMITED = (1 << 64) - 1
#: Values from here on limit nothing: nothing can reach them.
BEYOND = 1 << 63

_RATES_END = 1 << 32


class Judged(Protocol):
    """What the gate looks at of a command."""

    opcode: int
    instrument: int
    handle: int
    tag: int
    price: int
    quantity: int
    token: int

    @property
    def side(self) -> Side:
        """Of the order that it brings, or changes."""


def value_of(c: Judged) -> int:
    """What a LIMIT sets: 64 bits."""
    return c.token << 32 | c.quantity


def check_limit(c: Judged) -> Reason:
    """Whether a LIMIT says something that is defined: NONE, QUANTITY or WHAT."""
    value = value_of(c)
    match c.handle:
        case Limit.KILL:
            fits = value <= 1
        case Limit.GRANT:
            fits = value < BEYOND or value == UNLIMITED
        case Limit.REVOKE:
            fits = value < BEYOND
        case Limit.RATE:
            fits = value < _RATES_END
        case _:
            return Reason.NONE if c.handle in set(Limit) else Reason.WHAT
    return Reason.NONE if fits else Reason.QUANTITY


@dataclass(slots=True)
class Room:
    """A limit and what is drawn of it, always counted, whether limited or not.

    Of credit the limit is all that was granted less all that was revoked; it can be below what is drawn.
    """

    limit: int = 0
    drawn: int = 0
    #: Of what is drawn, what comes back at the next FENCE.
    back: int = 0
    limited: bool = False

    @property
    def left(self) -> int:
        """What can still be drawn: 64 bits, signed, as everywhere else."""
        return (self.limit - self.drawn + BEYOND) % (2 * BEYOND) - BEYOND

    def lacks(self, amount: int) -> bool:
        """Whether ``amount`` is too much. Nothing never is."""
        return self.limited and amount > 0 and amount > self.left

    def set(self, value: int) -> None:
        """Make ``value`` the limit of what is drawn."""
        self.limited = value < BEYOND
        self.limit = value if self.limited else 0

    def add(self, value: int) -> None:
        """Grant ``value``, or revoke what is negative."""
        self.limited = True
        self.limit += value

    def fence(self) -> None:
        """What was given back is there."""
        self.drawn -= self.back
        self.back = 0


class Draw(NamedTuple):
    """What a command takes of each room, or gives back."""

    orders: int
    buy: int
    sell: int
    commands: int
    credit: int


@dataclass(slots=True)
class Tag:
    """The limits of one tag."""

    killed: bool = False
    order_size: int = UNLIMITED
    orders: Room = field(default_factory=Room)
    buy: Room = field(default_factory=Room)
    sell: Room = field(default_factory=Room)
    commands: Room = field(default_factory=Room)
    credit: Room = field(default_factory=Room)

    @property
    def rooms(self) -> tuple[Room, Room, Room, Room, Room]:
        """In the order of :class:`Draw`."""
        return self.orders, self.buy, self.sell, self.commands, self.credit

    def clear(self) -> None:
        """Lift all limits. What is open stays counted; credit is forgotten."""
        self.killed = False
        self.order_size = UNLIMITED
        for room in self.rooms:
            room.set(UNLIMITED)
        self.credit.limit = self.credit.drawn

    def draw(self, amounts: Draw) -> None:
        """At once."""
        for room, amount in zip(self.rooms, amounts, strict=True):
            room.drawn += amount

    def fence(self) -> None:
        """The slot is over."""
        self.commands.back = self.commands.drawn
        for room in self.rooms:
            room.fence()


class Gate:
    """The limits of all tags and instruments of an engine; after a reset there are none."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._tags: defaultdict[int, Tag] = defaultdict(Tag)
        self._rates = [0] * geometry.instruments
        self._collars: list[tuple[int, int] | None] = [None] * geometry.instruments

    def judge(self, c: Judged) -> tuple[Reason, bool]:
        """The first limit that ``c`` breaks, or NONE; and whether it drew, which what breaks one never does.

        Only what brings or replaces an order is judged, if its tag and instrument exist. LOAD draws what is
        open, even beyond the limit.
        """
        if (
            c.opcode not in (Opcode.NEW, Opcode.REPLACE, Opcode.LOAD)
            or c.tag >> self._geometry.tag_bits
            or c.instrument >= self._geometry.instruments
        ):
            return Reason.NONE, False
        tag, draw = self._tags[c.tag], self._draw_of(c)
        if c.opcode != Opcode.LOAD:
            reason = self._breach(c, tag, draw)
            if reason is not Reason.NONE:
                return reason, False
        tag.draw(draw)
        return Reason.NONE, True

    def _draw_of(self, c: Judged) -> Draw:
        """REPLACE draws its whole new amount: what it drops comes back."""
        loads = c.opcode == Opcode.LOAD
        return Draw(
            orders=int(c.opcode != Opcode.REPLACE),
            buy=c.quantity if c.side is Side.BUY else 0,
            sell=c.quantity if c.side is Side.SELL else 0,
            commands=0 if loads else 1,
            credit=0 if loads else c.quantity * self._rates[c.instrument],
        )

    def _breach(self, c: Judged, tag: Tag, draw: Draw) -> Reason:
        collar = self._collars[c.instrument]
        breaks = {
            Reason.KILLED: tag.killed,
            Reason.COMMANDS: tag.commands.lacks(draw.commands),
            Reason.ORDER_SIZE: c.quantity > tag.order_size,
            Reason.OPEN_ORDERS: tag.orders.lacks(draw.orders),
            Reason.OPEN_BUY: tag.buy.lacks(draw.buy),
            Reason.OPEN_SELL: tag.sell.lacks(draw.sell),
            Reason.CREDIT: tag.credit.lacks(draw.credit),
            Reason.COLLAR: collar is not None and not collar[0] <= c.price <= collar[1],
        }
        return next((reason for reason, broken in breaks.items() if broken), Reason.NONE)

    def give_back(
        self, tag: int, instrument: int, side: Side, quantity: int, *, ended: bool, credit: bool
    ) -> None:
        """At the next FENCE ``quantity`` lots of a tag are open no more, nor is an order that ``ended``.

        Unless they were traded or only loaded anew, their ``credit`` comes back, too, at the rate of now.
        """
        its = self._tags[tag]
        (its.buy if side is Side.BUY else its.sell).back += quantity
        its.orders.back += ended
        if credit:
            its.credit.back += quantity * self._rates[instrument]

    def refused(self, c: Judged) -> None:
        """The book refuses what drew."""
        ended, credit = c.opcode != Opcode.REPLACE, c.opcode != Opcode.LOAD
        self.give_back(c.tag, c.instrument, c.side, c.quantity, ended=ended, credit=credit)

    def fence(self) -> None:
        """A slot is over: what was given back is there, and commands are counted anew."""
        for tag in self._tags.values():
            tag.fence()

    def limit(self, c: Judged) -> None:
        """Carry out a LIMIT that passed its checks."""
        tag, value = self._tags[c.tag], value_of(c)
        match c.handle:
            case Limit.CLEAR:
                tag.clear()
            case Limit.ORDER_SIZE:
                tag.order_size = value
            case Limit.OPEN_ORDERS:
                tag.orders.set(value)
            case Limit.OPEN_BUY:
                tag.buy.set(value)
            case Limit.OPEN_SELL:
                tag.sell.set(value)
            case Limit.COMMANDS:
                tag.commands.set(value)
            case Limit.KILL:
                tag.killed = bool(value)
            case Limit.GRANT if value == UNLIMITED:
                tag.credit.limited = False
            case Limit.GRANT:
                tag.credit.add(value)
            case Limit.REVOKE:
                tag.credit.add(-value)
            case Limit.RATE:
                self._rates[c.instrument] = value
            case Limit.COLLAR:
                low, high = (half - (half >> 31 << 32) for half in (c.quantity, c.token))
                self._collars[c.instrument] = None if value == UNLIMITED else (low, high)
