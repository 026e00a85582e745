"""The matching rules as readable Python: what every other engine must agree with, byte for byte."""

import struct
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from hawse.commit.reportlog import ReportLog
from hawse.wire import (
    ALL_INSTRUMENTS,
    ANONYMOUS,
    LEAST_WINDOW,
    NULL_HANDLE,
    RECORD_BYTES,
    VERSION,
    Feature,
    Geometry,
    InstrumentState,
    Kind,
    Limit,
    Opcode,
    Reason,
    SelfTrade,
    SequenceClass,
    Side,
    TimeInForce,
)
from hawse.wire.dtypes import Array

from .backend import beats, check_commands
from .gate import Gate, check_limit

_RECORD = struct.Struct("<BBHIIiII8x")
_FENCE = struct.Struct("<B3xIQQI4x")
_RESTING = struct.Struct("<BBHIIiI12x")
_HELLO = struct.Struct("<BBHIIBBHIIQ")
_BUILD = struct.Struct("<16xI12x")

_SIDE_BIT = 4
_MAKER_DONE_BIT = 5

#: States in which each opcode is allowed; the others are allowed in every state.
_ALLOWED = {
    Opcode.NEW: {InstrumentState.OPEN},
    Opcode.REPLACE: {InstrumentState.OPEN},
    Opcode.CANCEL: {InstrumentState.OPEN, InstrumentState.CANCEL_ONLY},
    Opcode.REDUCE: {InstrumentState.OPEN, InstrumentState.CANCEL_ONLY},
    Opcode.MASS_CANCEL: {InstrumentState.OPEN, InstrumentState.CANCEL_ONLY},
    Opcode.LOAD: {InstrumentState.LOADING},
}

_OPCODES = {int(o): o for o in Opcode if o is not Opcode.RECENTRE}
#: Bit of each Limit that an engine with a gate takes, the instrument's behind the tag's.
_LIMITS = (1 << len(Limit)) - 1
_SELF_TRADES = {int(mode) for mode in SelfTrade}
_CLASSES = {int(c) for c in SequenceClass}
_PRICES_END = 1 << 31


@dataclass(slots=True)
class Command:
    """One wire command, its flags taken apart."""

    opcode: int
    flags: int
    instrument: int
    handle: int
    tag: int
    price: int
    quantity: int
    token: int
    seq: int

    @property
    def side(self) -> Side:
        """Of the order that it brings."""
        return Side(self.flags & 1)

    @property
    def time_in_force(self) -> TimeInForce:
        """Read of a NEW only."""
        return TimeInForce(self.flags >> 1 & 3)

    @property
    def self_trade(self) -> int:
        """A :class:`SelfTrade`, or 3, which is undefined."""
        return self.flags >> 3 & 3

    @property
    def sequence_class(self) -> int:
        """A :class:`SequenceClass`, or a number above, which is undefined."""
        return self.flags >> 5

    @property
    def loads(self) -> bool:
        """Whether it asks for STATE(loading), and so brings a window."""
        return self.opcode == Opcode.STATE and self.quantity == InstrumentState.LOADING


@dataclass(slots=True, eq=False)
class Order:
    """An order at work or at rest; ``quantity`` is what remains of it."""

    handle: int
    instrument: int
    side: Side
    tag: int
    self_trade: int
    price: int
    quantity: int

    def owns(self, other: "Order") -> bool:
        """Whether both belong to one tag; the anonymous tag is nobody's."""
        return self.tag != ANONYMOUS and self.tag == other.tag

    def crosses(self, price: int) -> bool:
        """Whether a resting order of the other side at ``price`` would trade with this one."""
        return price <= self.price if self.side is Side.BUY else price >= self.price


class Ladder:
    """The resting orders of one side of a book, best price first, then in order of arrival."""

    def __init__(self, side: Side) -> None:
        self._sign = -1 if side is Side.BUY else 1  # so that the best price has the smallest key
        self._keys: list[int] = []
        self._queues: dict[int, dict[int, Order]] = {}  # key -> handle -> order; dicts keep their order

    def add(self, order: Order) -> None:
        """Rest ``order`` behind all others at its price."""
        key = self._sign * order.price
        if key not in self._queues:
            insort(self._keys, key)
            self._queues[key] = {}
        self._queues[key][order.handle] = order

    def remove(self, order: Order) -> None:
        """Take out an order that rests here."""
        key = self._sign * order.price
        queue = self._queues[key]
        del queue[order.handle]
        if not queue:
            del self._queues[key]
            del self._keys[bisect_left(self._keys, key)]

    def holds(self, price: int) -> bool:
        """Whether an order rests at ``price``."""
        return self._sign * price in self._queues

    def best(self) -> Order | None:
        """The order that trades first."""
        if not self._keys:
            return None
        return next(iter(self._queues[self._keys[0]].values()))

    def __iter__(self) -> Iterator[Order]:
        for key in self._keys:
            yield from self._queues[key].values()


@dataclass(slots=True)
class Book:
    """One instrument: its window of the pool, the band of prices that the window stands for, its orders.

    With ``no_band`` it has no window and holds any price.
    """

    state: InstrumentState = InstrumentState.CLOSED
    first: int = 0
    count: int = 0
    base: int = 0
    no_band: bool = False
    sides: tuple[Ladder, Ladder] = field(default_factory=lambda: (Ladder(Side.BUY), Ladder(Side.SELL)))

    def inside(self, price: int) -> bool:
        """Whether ``price`` has a level; without a window, but with a band, none has."""
        return self.no_band or self.base <= price < self.base + self.count


class GoldenBackend:
    """The matching rules, to be read. Slow, and right by definition; sideband is zero.

    Args:
        geometry: the default one, if none is given.
        no_band: has that feature: STATE(loading) with a count of zero is taken.
        gate: has that feature: LIMIT is taken, and commands are judged by the limits.
    """

    name = "golden"

    def __init__(
        self, geometry: Geometry | None = None, *, no_band: bool = False, gate: bool = False
    ) -> None:
        self.geometry = geometry or Geometry()
        self.features = (Feature.NO_BAND if no_band else Feature(0)) | (Feature.GATE if gate else Feature(0))
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """See :class:`~hawse.engine.backend.Backend`."""
        self._epoch = epoch
        self._books = [Book() for _ in range(self.geometry.instruments)]
        self._orders: dict[int, Order] = {}
        self._gate = Gate(self.geometry) if Feature.GATE in self.features else None
        self._log = ReportLog()
        self._commands = 0
        self._last_seq = 0
        self._out = bytearray()

    def exchange(self, commands: Array) -> Array:
        """See :class:`~hawse.engine.backend.Backend`."""
        self._out = bytearray()
        for row in check_commands(commands).tolist():
            self._apply(Command(*row))
        return beats(self._out)

    def board_epoch(self) -> int:
        """0: it begins and ends with this process."""
        return 0

    def close(self) -> None:
        """See :class:`~hawse.engine.backend.Backend`."""

    def _apply(self, command: Command) -> None:
        match command.opcode:
            case Opcode.FENCE:
                self._fence(command)
                self._commands += 1
            case Opcode.CLOSE:
                self._fence(command)
                self._batch(command)
                self._commands = 0
            case Opcode.HELLO:
                self._hello()
                self._commands += 1
            case _:
                breach, drew = self._gate.judge(command) if self._gate else (Reason.NONE, False)
                reason = self._check(command) or breach
                if reason is not Reason.NONE:
                    if self._gate and drew:
                        self._gate.refused(command)
                    self._echo(Kind.REJECTED, command, 0, reason)
                else:
                    self._carry_out(command)
                self._commands += 1
        self._last_seq = command.seq

    # Checks

    def _check(self, c: Command) -> Reason:
        """The first reason to reject ``c``, in the order of the rules, or NONE."""
        opcode = _OPCODES.get(c.opcode)
        if (
            opcode is None
            or (opcode is Opcode.LIMIT and not self._gate)
            or c.self_trade not in _SELF_TRADES
            or (opcode is Opcode.STATE and c.quantity > max(InstrumentState))
        ):
            return Reason.OPCODE
        if c.sequence_class not in _CLASSES:
            return Reason.CLASS
        if c.tag >> self.geometry.tag_bits:
            return Reason.TAG
        if opcode is Opcode.MASS_CANCEL and c.instrument == ALL_INSTRUMENTS:
            return Reason.NONE
        if c.instrument >= self.geometry.instruments:
            return Reason.INSTRUMENT
        book = self._books[c.instrument]
        if opcode in _ALLOWED and book.state not in _ALLOWED[opcode]:
            return Reason.STATE
        if opcode is Opcode.LIMIT:
            loading = book.state is InstrumentState.LOADING
            return Reason.STATE if c.handle == Limit.RATE and not loading else check_limit(c)
        if c.loads and not self._grants(c):
            return Reason.WINDOW
        return self._check_order(c, opcode)

    def _grants(self, c: Command) -> bool:
        """Whether the instrument of ``c`` may have the window that ``c`` names."""
        first, count = c.handle, c.token
        if count == 0 and Feature.NO_BAND in self.features:
            return True
        return (
            count >= LEAST_WINDOW
            and count & (count - 1) == 0
            and first % count == 0
            and first + count <= self.geometry.pool
            and c.price <= _PRICES_END - count
            and not any(
                first < book.first + book.count and book.first < first + count
                for instrument, book in enumerate(self._books)
                if instrument != c.instrument
            )
        )

    def _check_order(self, c: Command, opcode: Opcode) -> Reason:
        """The checks that concern an order."""
        book = self._books[c.instrument]
        arrives = opcode in (Opcode.NEW, Opcode.LOAD)
        changes = opcode in (Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE)
        resting = self._orders.get(c.handle)
        if c.handle >= self.geometry.orders and (arrives or (changes and c.handle != NULL_HANDLE)):
            return Reason.HANDLE
        if arrives and resting:
            return Reason.DUPLICATE
        if changes and (resting is None or resting.instrument != c.instrument):
            return Reason.NOT_RESTING
        if opcode is Opcode.REPLACE and resting and not self._names_owner(c, resting):
            return Reason.OWNER
        if (arrives or opcode in (Opcode.REPLACE, Opcode.REDUCE)) and c.quantity == 0:
            return Reason.QUANTITY
        if opcode is Opcode.REDUCE and resting and c.quantity >= resting.quantity:
            return Reason.QUANTITY
        if (arrives or opcode is Opcode.REPLACE) and not book.inside(c.price):
            return Reason.PRICE
        if opcode is Opcode.LOAD and book.sides[1 - c.side].holds(c.price):
            return Reason.PRICE
        return Reason.NONE

    def _names_owner(self, c: Command, resting: Order) -> bool:
        """Whether a REPLACE draws from whom the order is, and with a gate, on its side."""
        return c.tag == resting.tag and (self._gate is None or c.side is resting.side)

    # Commands that passed the checks

    def _carry_out(self, c: Command) -> None:
        match c.opcode:
            case Opcode.NEW:
                self._new(c)
            case Opcode.CANCEL:
                order = self._orders[c.handle]
                self._remove(order)
                self._cancelled(order, Reason.COMMAND, c)
            case Opcode.REPLACE:
                order = self._orders[c.handle]
                self._remove(order)
                self._give_back(order, order.quantity, ended=False)
                order.price, order.quantity = c.price, c.quantity
                self._about(Kind.REPLACED, order, c)
                self._trade(order, c)
                self._rest(order)
            case Opcode.REDUCE:
                order = self._orders[c.handle]
                self._give_back(order, order.quantity - c.quantity, ended=False)
                order.quantity = c.quantity
                self._about(Kind.REPLACED, order, c)
            case Opcode.MASS_CANCEL:
                self._mass_cancel(c)
            case Opcode.STATE:
                self._state(c)
            case Opcode.LOAD:
                self._rest(self._order(c))
            case Opcode.LIMIT:
                self._limit(c)
            case Opcode.DUMP:
                for ladder in self._books[c.instrument].sides:
                    for order in ladder:
                        self._resting(order)

    def _new(self, c: Command) -> None:
        order = self._order(c)
        self._echo(Kind.ACK, c, c.quantity)
        match c.time_in_force:
            case TimeInForce.GTC:
                self._trade(order, c)
                self._rest(order)
            case TimeInForce.IOC:
                self._trade(order, c)
                if order.quantity:
                    self._cancelled(order, Reason.IOC, c)
            case TimeInForce.FOK:
                if self._can_fill(order):
                    self._trade(order, c)
                else:
                    self._cancelled(order, Reason.FOK, c)
            case TimeInForce.POST_ONLY:
                best = self._makers(order).best()
                if best and order.crosses(best.price):
                    self._cancelled(order, Reason.POST_ONLY, c)
                else:
                    self._rest(order)

    def _trade(self, taker: Order, c: Command) -> None:
        """Match ``taker`` until it is done, nothing crosses, or self-trade prevention ends it."""
        makers = self._makers(taker)
        while taker.quantity and (maker := makers.best()) and taker.crosses(maker.price):
            if taker.owns(maker):
                if taker.self_trade != SelfTrade.CANCEL_NEWEST:
                    self._remove(maker)
                    self._cancelled(maker, Reason.SELF, c)
                if taker.self_trade != SelfTrade.CANCEL_OLDEST:
                    self._cancelled(taker, Reason.SELF, c)
                    taker.quantity = 0
                continue
            quantity = min(taker.quantity, maker.quantity)
            taker.quantity -= quantity
            maker.quantity -= quantity
            done = not maker.quantity
            if done:
                self._remove(maker)
            self._give_back(maker, quantity, ended=done, credit=False)
            self._give_back(taker, quantity, ended=not taker.quantity, credit=False)
            self._emit(
                Kind.TRADE | taker.side << _SIDE_BIT | done << _MAKER_DONE_BIT,
                c,
                instrument=taker.instrument,
                handle=taker.handle,
                maker=maker.handle,
                price=maker.price,
                quantity=quantity,
            )

    def _can_fill(self, taker: Order) -> bool:
        """Whether a fill-or-kill could trade all of its quantity within its limit."""
        missing = taker.quantity
        for maker in self._makers(taker):
            if not taker.crosses(maker.price):
                break
            if taker.owns(maker):
                if taker.self_trade == SelfTrade.CANCEL_OLDEST:
                    continue
                break
            missing -= maker.quantity
            if missing <= 0:
                return True
        return False

    def _mass_cancel(self, c: Command) -> None:
        count = 0
        for handle in sorted(self._orders):
            order = self._orders[handle]
            if (
                c.tag in (ANONYMOUS, order.tag)
                and c.instrument in (ALL_INSTRUMENTS, order.instrument)
                and self._books[order.instrument].state in _ALLOWED[Opcode.MASS_CANCEL]
            ):
                self._remove(order)
                self._cancelled(order, Reason.MASS, c)
                count += 1
        self._emit(Kind.ACK, c, instrument=c.instrument, price=0, quantity=count)

    def _state(self, c: Command) -> None:
        book = self._books[c.instrument]
        book.state = InstrumentState(c.quantity)
        if c.loads:
            for order in [*book.sides[Side.BUY], *book.sides[Side.SELL]]:
                self._remove(order)
                self._give_back(order, order.quantity, ended=True, credit=False)
            book.no_band = c.token == 0
            book.first, book.count, book.base = (0, 0, 0) if book.no_band else (c.handle, c.token, c.price)
        self._emit(
            Kind.ACK,
            c,
            instrument=c.instrument,
            handle=book.first,
            maker=book.count,
            price=book.base,
            quantity=c.quantity,
        )

    def _limit(self, c: Command) -> None:
        assert self._gate
        self._gate.limit(c)
        low = c.quantity - (c.quantity >> 31 << 32)  # the value's, where a price is signed
        self._emit(
            Kind.ACK, c, instrument=c.instrument, handle=c.handle, maker=c.tag, price=low, quantity=c.token
        )

    def _give_back(self, order: Order, quantity: int, *, ended: bool, credit: bool = True) -> None:
        if self._gate:
            self._gate.give_back(
                order.tag, order.instrument, order.side, quantity, ended=ended, credit=credit
            )

    # The order store

    def _order(self, c: Command) -> Order:
        return Order(c.handle, c.instrument, c.side, c.tag, c.self_trade, c.price, c.quantity)

    def _makers(self, taker: Order) -> Ladder:
        return self._books[taker.instrument].sides[1 - taker.side]

    def _rest(self, order: Order) -> None:
        """Rest what remains of ``order``, if anything, at the tail of its level."""
        if order.quantity:
            self._orders[order.handle] = order
            self._books[order.instrument].sides[order.side].add(order)

    def _remove(self, order: Order) -> None:
        del self._orders[order.handle]
        self._books[order.instrument].sides[order.side].remove(order)

    # Reports

    def _emit(
        self,
        kind: int,
        c: Command,
        *,
        instrument: int,
        price: int,
        quantity: int,
        handle: int = 0,
        maker: int = 0,
        reason: int = 0,
    ) -> None:
        seq = c.seq & 0xFFFF_FFFF
        beat = _RECORD.pack(kind, reason, instrument, handle, maker, price, quantity, seq)
        self._log.append(beat[:RECORD_BYTES])
        self._out += beat

    def _echo(self, kind: Kind, c: Command, quantity: int, reason: Reason = Reason.NONE) -> None:
        """A report that repeats the command's own fields."""
        self._emit(
            kind | c.side << _SIDE_BIT,
            c,
            instrument=c.instrument,
            handle=c.handle,
            price=c.price,
            quantity=quantity,
            reason=reason,
        )

    def _about(self, kind: Kind, order: Order, c: Command, reason: Reason = Reason.NONE) -> None:
        """A report of an order as it is now."""
        self._emit(
            kind | order.side << _SIDE_BIT,
            c,
            instrument=order.instrument,
            handle=order.handle,
            price=order.price,
            quantity=order.quantity,
            reason=reason,
        )

    def _cancelled(self, order: Order, reason: Reason, c: Command) -> None:
        self._give_back(order, order.quantity, ended=True)
        self._about(Kind.CANCELLED, order, c, reason)

    def _resting(self, order: Order) -> None:
        flags = order.side | order.self_trade << 3
        self._out += _RESTING.pack(
            Kind.RESTING, flags, order.instrument, order.handle, order.tag, order.price, order.quantity
        )

    def _fence(self, c: Command) -> None:
        if self._gate:
            self._gate.fence()
        digest = self._log.fence(self._epoch)
        self._out += _FENCE.pack(Kind.FENCE, c.token, self._commands, self._log.records, self._epoch)
        self._out += digest

    def _batch(self, c: Command) -> None:
        root, leaves, records = self._log.close()
        self._out += _FENCE.pack(Kind.BATCH, c.token, leaves, records, self._epoch)
        self._out += root

    def _hello(self) -> None:
        g = self.geometry
        self._out += _HELLO.pack(
            Kind.HELLO,
            VERSION,
            g.instruments,
            g.orders,
            g.pool,
            g.tag_bits,
            LEAST_WINDOW.bit_length() - 1,
            _LIMITS if self._gate else 0,
            self._epoch,
            0,
            self._last_seq,
        )
        self._out += _BUILD.pack(self.features)  # made of nothing that has a hash, without a clock
