"""The gate: limits of each tag, judged before the book. :mod:`hawse.engine.gate` is the model.

A room is what a limit leaves. What was drawn of it, what came back, and the limit are each in a memory of
their own with one writer: the judge, the book's returns, and LIMIT. What is left is ``limit + back - drawn``,
put together before a command is judged, so that one subtraction decides.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry, Limit, Opcode, Reason, SequenceClass, Side

from .book.check import check_limit, is_rate
from .book.layouts import back_layout, instrument_bits, judgement_layout, release_layout
from .layouts import COMMAND
from .memory import NO_COLLISION, ForwardedMemory

#: Bits of the rooms. Orders and commands are too few to ever fill 31 bits.
ROOMS = {"orders": 32, "buy": 64, "sell": 64, "commands": 32, "credit": 64}
#: Commands are counted anew in each slot, so none of them comes back.
RETURNED = ("orders", "buy", "sell", "credit")
#: Bits of the number of a slot: it never comes again.
SLOT_BITS = 48

_BREACHES = len(range(Reason.KILLED, Reason.COLLAR + 1))


def _rooms(*names: str) -> data.StructLayout:
    return data.StructLayout({name: ROOMS[name] for name in names})


#: What LIMIT sets of a tag. A room without its ``limited`` bit is counted, but never too small.
LIMITS = data.StructLayout(
    {
        "killed": 1,
        "sized": 1,
        "limited": data.StructLayout({name: 1 for name in ROOMS}),
        "size": 32,
        "rooms": _rooms(*ROOMS),
    }
)
#: What a tag has drawn: commands in slot ``slot``, the rest since ever, modulo the width.
DRAWN = data.StructLayout({"slot": SLOT_BITS, "rooms": _rooms(*ROOMS)})
#: What came back to a tag since ever: ``total``, and ``settled`` until slot ``slot`` began.
BACK = data.StructLayout(
    {"slot": SLOT_BITS, "settled": _rooms(*RETURNED), "total": _rooms(*RETURNED)},
)
#: Of an instrument.
COLLAR = data.StructLayout({"collared": 1, "low": 32, "high": 32})


class Gate(wiring.Component):
    """Judges what brings or replaces an order by the limits of its tag, and marks what breaks one.

    Nothing is held back: the book rejects what is marked, behind all other reasons, so that answers keep
    their order. What it draws, a command draws at once; what comes back through ``back`` counts from the next
    FENCE on. What is behind a FENCE or CLOSE therefore waits until the book has told that; behind a
    LIMIT(RATE), too, because only the book knows whether it is taken; behind any other LIMIT, until that is
    written.

    Latency: 4 cycles. Initiation interval: 1; LIMIT 5; FENCE, CLOSE and LIMIT(RATE) the book's time and 8.
    Ordering: that of the commands.
    Reset: no limits, nothing drawn; not ready until the memories are cleared, a cycle for each tag.
    Back-pressure: a stalled ``judged`` stalls the gate and the commands; ``back`` is always taken.

    Args:
        geometry: of the book.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        judged = data.StructLayout({"command": COMMAND, "judgement": judgement_layout()})
        super().__init__(
            {
                "commands": In(stream.Signature(COMMAND)),
                "judged": Out(stream.Signature(judged)),
                #: What is open no more, one order or part of one in a cycle.
                "back": In(back_layout(geometry)),
                #: The book has told what the gate waits for, and with it everything before.
                "release": In(release_layout()),
                #: Nothing is in here.
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        m.submodules.returns = returns = Returns(self.geometry)
        m.submodules.rates = rates = Memory(shape=32, depth=self.geometry.instruments, init=[])
        m.submodules.collars = collars = Memory(shape=COLLAR, depth=self.geometry.instruments, init=[])
        m.submodules.limits = limits = Memory(
            shape=LIMITS, depth=1 << self.geometry.tag_bits, init=[], attrs=NO_COLLISION
        )
        m.submodules.drawn = drawn = Memory(
            shape=DRAWN, depth=1 << self.geometry.tag_bits, init=[], attrs=NO_COLLISION
        )
        stages = _Stages(m, self, returns)
        stages.wait()
        stages.accept(rates, collars, limits, drawn)
        stages.put_together()
        stages.take_left()
        stages.judge()
        stages.write(limits, drawn)
        stages.give_back(rates)
        stages.clear(rates, collars)
        return m


class _Stages:
    """What the stages of the gate hold: a command that is read, put together, judged, told and written.

    What a stage holds means nothing unless it is valid, so a reset need not reach it.
    """

    def __init__(self, m: Module, io: Any, returns: "Returns") -> None:
        self.m, self.io, self.returns = m, io, returns
        geometry = self.geometry = io.geometry
        rooms = _rooms(*ROOMS)
        kind = {
            #: It draws, is judged, and sets a limit of the tag, as far as can be told without its limits.
            "draws": 1,
            "judges": 1,
            "limits": 1,
        }
        came = data.StructLayout({"command": COMMAND, **kind})
        # Partial products of quantity and rate: low and high half of each.
        parts = data.StructLayout({f"{a}{b}": 32 for a in "lh" for b in "lh"})
        self.read = Signal(
            data.StructLayout({"came": came, "rate": 32, "collar": COLLAR}),
            reset_less=True,
        )
        together = {"came": came, "limits": LIMITS, "base": rooms, "beside": 1, "costs": 1}
        self.together = Signal(
            data.StructLayout({**together, "drawn": rooms, "parts": parts, "known": 1, "left": rooms}),
            reset_less=True,
        )
        asks = data.StructLayout({name: 1 for name in ROOMS})
        self.judging = Signal(
            data.StructLayout(
                {**together, "draw": rooms, "asks": asks, "oversized": 1, "left": rooms},
            ),
            reset_less=True,
        )
        # What was judged last, and the one before: on its way into the memory, and just written.
        past = data.StructLayout({"tag": geometry.tag_bits, "base": rooms, "left": rooms})
        self.writing, self.written = Signal(past, reset_less=True), Signal(past, reset_less=True)
        self.new_limits = Signal(LIMITS, reset_less=True)
        self.valid = {name: Signal(name=f"{name}_valid") for name in ("read", "together", "judging")}
        #: The last two drew, the last one sets a limit.
        self.writes, self.wrote, self.limits = Signal(), Signal(), Signal()
        self.step = Signal()
        self.waits = Signal()
        self.cleared = Signal()
        #: Number of the slot, which a FENCE ends.
        self.slot = Signal(SLOT_BITS)
        #: What is left once the command in ``judging`` has drawn.
        self.after = Signal(rooms)
        #: What a LIMIT(RATE) would set.
        self.rate = Signal(32, reset_less=True)
        self.rate_of = Signal(instrument_bits(geometry), reset_less=True)

    def tag(self, command: Any) -> Value:
        """The address of the command's tag."""
        return command.tag[: self.geometry.tag_bits]

    def wait(self) -> None:
        """Whether a command is taken, and whether all behind it wait."""
        m, io, command = self.m, self.io, self.io.commands.payload
        m.d.comb += [
            self.step.eq(~io.judged.valid | io.judged.ready),
            io.commands.ready.eq(self.step & ~self.waits & self.cleared),
            io.idle.eq(~self.waits & ~io.judged.valid & ~Cat(*self.valid.values()).any()),
        ]
        with m.If(self.returns.released | (self.limits & self.step)):
            m.d.sync += self.waits.eq(0)
        with m.If(io.commands.valid & io.commands.ready):
            waits = command.opcode.matches(Opcode.FENCE, Opcode.CLOSE, Opcode.LIMIT)
            m.d.sync += [
                self.waits.eq(waits),
                self.rate.eq(command.quantity),
                self.rate_of.eq(command.instrument),
            ]

    def accept(self, rates: Memory, collars: Memory, limits: Memory, drawn: Memory) -> None:
        """Take a command, and read what is known of its tag and its instrument."""
        m, io, command = self.m, self.io, self.io.commands.payload
        rate, collar = rates.read_port(domain="comb"), collars.read_port(domain="comb")
        self.limits_read, self.drawn_read = limits.read_port(), drawn.read_port()
        there = Signal()
        brings, loads = command.opcode.matches(Opcode.NEW, Opcode.REPLACE), command.opcode == Opcode.LOAD
        defined = (command.flags.self_trade != 3) & (command.flags.sequence_class < len(SequenceClass))
        bad, unknown = check_limit(command)
        m.d.comb += [
            there.eq(
                (command.instrument < self.geometry.instruments)
                & ~(command.tag >> self.geometry.tag_bits).any()
            ),
            rate.addr.eq(command.instrument),
            collar.addr.eq(command.instrument),
            *(
                assignment
                for port in (self.limits_read, self.drawn_read)
                for assignment in (port.addr.eq(self.tag(command)), port.en.eq(self.step))
            ),
            self.returns.read.eq(Mux(self.step, self.tag(command), self.tag(self.read.came.command))),
        ]
        sets = (command.opcode == Opcode.LIMIT) & ~is_rate(command)
        with m.If(self.step):
            m.d.sync += [
                self.valid["read"].eq(io.commands.valid & io.commands.ready),
                self.read.came.command.eq(command),
                self.read.came.draws.eq(there & (brings | loads)),
                self.read.came.judges.eq(there & brings),
                self.read.came.limits.eq(sets & there & defined & ~bad & ~unknown),
                self.read.rate.eq(rate.data),
                self.read.collar.eq(collar.data),
            ]

    def put_together(self) -> None:
        """Add what came back to the limit; or know what is left from those just before of the same tag."""
        m, read, to = self.m, self.read, self.together
        command, drawn = read.came.command, self.drawn_read.data
        price, collar = command.price, read.collar
        limits = self.limits_read.data
        quantity = {"l": command.quantity[:16], "h": command.quantity[16:]}
        rate = {"l": read.rate[:16], "h": read.rate[16:]}
        tag = self.tag(command)
        with m.If(self.step):
            m.d.sync += [
                self.valid["together"].eq(self.valid["read"]),
                to.came.eq(read.came),
                to.limits.eq(limits),
                to.beside.eq(
                    collar.collared & ((price < collar.low.as_signed()) | (price > collar.high.as_signed()))
                ),
                to.costs.eq(command.quantity.any() & read.rate.any()),
                *(to.parts[a + b].eq(quantity[a] * rate[b]) for a in "lh" for b in "lh"),
                to.known.eq(0),
            ]
            for name in ROOMS:
                back = self.returns.back[name] if name in RETURNED else 0
                m.d.sync += [
                    to.base[name].eq(limits.rooms[name] + back),
                    to.drawn[name].eq(drawn.rooms[name]),
                ]
            with m.If(drawn.slot != self.slot):
                m.d.sync += to.drawn.commands.eq(0)
            # The newest last: it counts.
            for drew, known_tag, left in (
                (self.wrote, self.written.tag, self.written.left),
                (self.writes, self.writing.tag, self.writing.left),
                (self.draws, self.tag(self.judging.came.command), self.after),
            ):
                with m.If(drew & (known_tag == tag)):
                    m.d.sync += [to.known.eq(1), to.left.eq(left)]

    @property
    def draws(self) -> Value:
        """The command in ``judging`` may draw."""
        return self.valid["judging"] & self.judging.came.draws

    def take_left(self) -> None:
        """What is left of each room, and what the command asks of it."""
        m, at, to = self.m, self.together, self.judging
        command, asks, draw = at.came.command, self.judging.asks, self.judging.draw
        buys = command.flags.side == Side.BUY
        loads, replaces = command.opcode == Opcode.LOAD, command.opcode == Opcode.REPLACE
        some = command.quantity.any()
        parts = at.parts
        with m.If(self.step):
            m.d.sync += [
                self.valid["judging"].eq(self.valid["together"]),
                to.came.eq(at.came),
                to.limits.eq(at.limits),
                to.base.eq(at.base),
                to.beside.eq(at.beside),
                to.oversized.eq(at.limits.sized & (command.quantity > at.limits.size)),
                asks.orders.eq(~replaces),
                asks.buy.eq(buys & some),
                asks.sell.eq(~buys & some),
                asks.commands.eq(~loads),
                asks.credit.eq(~loads & at.costs),
                draw.orders.eq(~replaces),
                draw.buy.eq(Mux(buys, command.quantity, 0)),
                draw.sell.eq(Mux(buys, 0, command.quantity)),
                draw.commands.eq(~loads),
                draw.credit.eq(
                    Mux(loads, 0, Cat(parts.ll, parts.hh) + ((parts.lh + parts.hl) << 16)),
                ),
            ]
            for name in ROOMS:
                m.d.sync += to.left[name].eq(Mux(at.known, at.left[name], at.base[name] - at.drawn[name]))
            with m.If(self.draws & (self.tag(command) == self.tag(to.came.command))):
                m.d.sync += to.left.eq(self.after)

    def judge(self) -> None:
        """Draw, unless a limit is in the way; and hand the command on."""
        m, io, at = self.m, self.io, self.judging
        short = {}
        breached = Signal(_BREACHES)
        drew = Signal()
        for name, bits in ROOMS.items():
            rest = Signal(bits + 1, name=f"rest_{name}")
            left = at.left[name]
            m.d.comb += [
                rest.eq(left - at.draw[name]),
                self.after[name].eq(Mux(drew, rest, left)),
            ]
            short[name] = at.limits.limited[name] & at.asks[name] & (left[-1] | rest[-1])
        breaches = {
            Reason.KILLED: at.limits.killed,
            Reason.COMMANDS: short["commands"],
            Reason.ORDER_SIZE: at.oversized,
            Reason.OPEN_ORDERS: short["orders"],
            Reason.OPEN_BUY: short["buy"],
            Reason.OPEN_SELL: short["sell"],
            Reason.CREDIT: short["credit"],
            Reason.COLLAR: at.beside,
        }
        for reason, broken in breaches.items():
            m.d.comb += breached[reason - Reason.KILLED].eq(broken & at.came.judges)
        m.d.comb += drew.eq(at.came.draws & ~breached.any())
        out = io.judged.payload
        with m.If(self.step):
            m.d.sync += [
                io.judged.valid.eq(self.valid["judging"]),
                out.command.eq(at.came.command),
                out.judgement.drew.eq(drew),
                out.judgement.breached.eq(breached.any()),
                self.writing.tag.eq(self.tag(at.came.command)),
                self.writing.base.eq(at.base),
                self.writing.left.eq(self.after),
                self.writes.eq(self.valid["judging"] & at.came.draws),
                self.written.eq(self.writing),
                self.wrote.eq(self.writes),
                self.limits.eq(
                    self.valid["judging"]
                    & (at.came.command.opcode == Opcode.LIMIT)
                    & ~is_rate(at.came.command)
                ),
            ]
            for number in reversed(range(_BREACHES)):  # the lowest counts
                with m.If(breached[number]):
                    m.d.sync += out.judgement.reason.eq(number)

    def write(self, limits: Memory, drawn: Memory) -> None:
        """Write what is drawn now, or a limit."""
        m = self.m
        self._set_limit()
        self.sets = Signal()
        with m.If(self.step):
            m.d.sync += self.sets.eq(self.valid["judging"] & self.judging.came.limits)
        self.limits_write, self.drawn_write = limits.write_port(), drawn.write_port()
        m.d.comb += [
            self.limits_write.addr.eq(self.writing.tag),
            self.limits_write.data.eq(self.new_limits),
            self.limits_write.en.eq(self.sets),
            self.drawn_write.addr.eq(self.writing.tag),
            self.drawn_write.data.slot.eq(self.slot),
            self.drawn_write.en.eq(self.writes),
        ]
        for name in ROOMS:
            now = self.writing.base[name] - self.writing.left[name]
            m.d.comb += self.drawn_write.data.rooms[name].eq(now)

    def _set_limit(self) -> None:
        """The limits of the tag as a LIMIT makes them."""
        m, at, new = self.m, self.judging, self.new_limits
        command = at.came.command
        value = Cat(command.quantity, command.token)
        credit = at.limits.rooms.credit
        with m.If(self.step):
            m.d.sync += new.eq(at.limits)
            with m.Switch(command.handle):
                with m.Case(Limit.CLEAR):
                    m.d.sync += [
                        new.eq(0),
                        new.rooms.credit.eq(credit - at.left.credit),  # so that nothing is left
                    ]
                with m.Case(Limit.ORDER_SIZE):
                    m.d.sync += [new.sized.eq(~command.token.any()), new.size.eq(command.quantity)]
                with m.Case(Limit.KILL):
                    m.d.sync += new.killed.eq(value[0])
                with m.Case(Limit.GRANT):
                    m.d.sync += new.limited.credit.eq(~value[-1])
                    with m.If(~value[-1]):
                        m.d.sync += new.rooms.credit.eq(credit + value)
                with m.Case(Limit.REVOKE):
                    m.d.sync += [new.limited.credit.eq(1), new.rooms.credit.eq(credit - value)]
                for what, name in (
                    (Limit.OPEN_ORDERS, "orders"),
                    (Limit.OPEN_BUY, "buy"),
                    (Limit.OPEN_SELL, "sell"),
                    (Limit.COMMANDS, "commands"),
                ):
                    with m.Case(what):
                        below = ~value[ROOMS[name] - 1 :].any()
                        m.d.sync += [
                            new.limited[name].eq(below),
                            new.rooms[name].eq(Mux(below, value, 0)),
                        ]

    def give_back(self, rates: Memory) -> None:
        """What the book gives back, and what it tells of a FENCE or a rate."""
        m, io, returns = self.m, self.io, self.returns
        back_rate = rates.read_port(domain="comb")
        m.d.comb += [
            returns.came.eq(io.back),
            returns.release.eq(io.release),
            returns.slot.eq(self.slot),
            back_rate.addr.eq(returns.instrument),
            returns.rate.eq(back_rate.data),
        ]
        m.d.sync += self.slot.eq(self.slot + returns.fenced)

    def clear(self, rates: Memory, collars: Memory) -> None:
        """Set rates and collars; and clear all memories after a reset."""
        m, returns = self.m, self.returns
        rate, collar = rates.write_port(), collars.write_port()
        command = self.judging.came.command
        sets_collar = self.valid["judging"] & self.judging.came.limits & (command.handle == Limit.COLLAR)
        m.d.comb += [
            rate.addr.eq(self.rate_of),
            rate.data.eq(self.rate),
            rate.en.eq(returns.rated),
            collar.addr.eq(command.instrument),
            collar.data.collared.eq(~Cat(command.quantity, command.token).all()),
            collar.data.low.eq(command.quantity),
            collar.data.high.eq(command.token),
            collar.en.eq(sets_collar),
        ]
        depth = max(1 << self.geometry.tag_bits, self.geometry.instruments)
        count = Signal(range(depth))
        m.d.comb += [returns.clears.eq(~self.cleared), returns.place.eq(count)]
        with m.If(~self.cleared):
            m.d.sync += [count.eq(count + 1), self.cleared.eq(count == depth - 1)]
            for port in (rate, collar, self.limits_write, self.drawn_write):
                m.d.comb += [port.addr.eq(count), port.data.eq(0), port.en.eq(1)]


class Returns(wiring.Component):
    """What came back to each tag, and until the slot began.

    Latency: 3 cycles from ``came`` to the memory, and from ``release`` to ``released``; ``back`` a cycle
    after ``read``. Initiation interval: 1. Ordering: kept, a release behind what came before it.
    Reset: the memories stay, to be cleared by ``clears``. Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        super().__init__(
            {
                "came": In(back_layout(geometry)),
                "release": In(release_layout()),
                "slot": In(SLOT_BITS),
                #: The rate of ``instrument``.
                "instrument": Out(instrument_bits(geometry)),
                "rate": In(32),
                #: What came back to a tag before this slot.
                "read": In(geometry.tag_bits),
                "back": Out(_rooms(*RETURNED)),
                #: Everything before a release is in; it was a FENCE, or a rate that the book took.
                "released": Out(1),
                "fenced": Out(1),
                "rated": Out(1),
                #: Clear an entry.
                "clears": In(1),
                "place": In(range(1 << max(geometry.tag_bits, instrument_bits(geometry)))),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        # One for those who judge, one for what comes back.
        m.submodules.known = known = ForwardedMemory(BACK, 1 << geometry.tag_bits, late=False)
        m.submodules.kept = kept = ForwardedMemory(BACK, 1 << geometry.tag_bits, late=False)
        came, reading, adding = (
            Signal(back_layout(geometry), name=f"back{n}", reset_less=True) for n in range(3)
        )
        valid = [Signal(name=f"valid{n}") for n in range(3)]
        released = [Signal(release_layout(), name=f"released{n}") for n in range(3)]
        parts = [Signal(32, name=f"part{n}", reset_less=True) for n in range(4)]
        credit = Signal(64, reset_less=True)
        amount, rate = came.amount, self.rate
        m.d.sync += [
            came.eq(self.came),
            reading.eq(came),
            adding.eq(reading),
            valid[0].eq(self.came.valid),
            valid[1].eq(valid[0]),
            valid[2].eq(valid[1]),
            released[0].eq(self.release),
            released[1].eq(released[0]),
            released[2].eq(released[1]),
            parts[0].eq(amount[:16] * rate[:16]),
            parts[1].eq(amount[:16] * rate[16:]),
            parts[2].eq(amount[16:] * rate[:16]),
            parts[3].eq(amount[16:] * rate[16:]),
            credit.eq(Mux(reading.credit, Cat(parts[0], parts[3]) + ((parts[1] + parts[2]) << 16), 0)),
        ]
        last = released[2]
        m.d.comb += [
            self.instrument.eq(came.instrument),
            kept.read.eq(reading.tag),
            known.read.eq(self.read),
            self.released.eq(last.valid),
            self.fenced.eq(last.valid & last.fence),
            self.rated.eq(last.valid & ~last.fence & last.taken),
        ]
        now, new = kept.data, Signal(BACK)
        more = {
            "orders": adding.ended,
            "buy": Mux(adding.side == Side.BUY, adding.amount, 0),
            "sell": Mux(adding.side == Side.SELL, adding.amount, 0),
            "credit": credit,
        }
        fresh = now.slot != self.slot
        m.d.comb += new.slot.eq(self.slot)
        for name in RETURNED:
            m.d.comb += [
                new.settled[name].eq(Mux(fresh, now.total[name], now.settled[name])),
                new.total[name].eq(now.total[name] + more[name]),
            ]
            at = known.data
            m.d.comb += self.back[name].eq(Mux(at.slot == self.slot, at.settled[name], at.total[name]))
        for memory in (known, kept):
            m.d.comb += [
                memory.write.eq(valid[2] | self.clears),
                memory.address.eq(Mux(self.clears, self.place, adding.tag)),
                memory.value.eq(Mux(self.clears, Const(0, len(new.as_value())), new.as_value())),
            ]
        return m
