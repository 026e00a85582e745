from itertools import combinations

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from hawse.wire import InstrumentState, Kind, Opcode, Reason, TimeInForce
from hawse_hdl import layouts
from hawse_hdl.book import bitmap, bitmap_search, bitmap_tree
from hawse_hdl.book import layouts as book_layouts
from hawse_hdl.book.book import Book
from support.formal import TinyGeometry

GEOMETRY = TinyGeometry(instruments=1, pool=4, orders=4, tag_bits=1)
HANDLES = range(GEOMETRY.orders)

#: A command, as its reports tell it again in ``seq``.
TOLD = data.StructLayout(
    {
        "number": 5,
        "opcode": Opcode,
        "time_in_force": TimeInForce,
        "side": 1,
        "price": 3,
        "quantity": 2,
        "handle": 2,
    }
)


@pytest.fixture(autouse=True)
def tiny_words(monkeypatch):
    for module in (bitmap, bitmap_search, bitmap_tree):
        monkeypatch.setattr(module, "WORD", 2)
    monkeypatch.setattr(book_layouts, "LEAST_WINDOW", 2)


class WindowedBook(Book):
    """A book whose instrument has the whole pool as its window, from price 0, when ``began``.

    A STATE(loading) would take as many cycles as all that is to be seen.
    """

    def __init__(self):
        super().__init__(GEOMETRY)
        self.began = Signal()

    def elaborate(self, platform):
        m = super().elaborate(platform)
        write = m.submodules.rows.write_port()
        m.d.comb += [
            write.en.eq(self.commands.ready & ~self.began),
            write.data.windowed.eq(1),
            write.data.mask.eq(~0),
        ]
        m.d.sync += self.began.eq(self.began | self.commands.ready)
        return m


class BookContract(wiring.Component):
    """Every report is the one that the rules ask for, whatever commands come back to back or with gaps.

    A list of four orders is kept by the rules, from the commands as reports tell of them: a command is
    encoded in its sequence number, beside a number of its own, so none is lost, doubled or out of order.
    An order that rests though it crosses another is seen when the next command is reported, or when the
    book is not busy.

    Assumed: the first command opens the instrument, which has a window of all levels. Only NEW, CANCEL,
    REPLACE and REDUCE are given, of anonymous orders, with handles inside the store and prices in the band or
    above it.
    """

    offered: In(1)
    choice: In(2)
    time_in_force: In(2)
    side: In(1)
    price: In(3)
    quantity: In(2)
    handle: In(2)
    ready: In(1)

    def __init__(self, opcodes, rules=0, sides=1, prices=7, quantities=3, handles=3, stalls=False):
        self.opcodes = opcodes
        self.rules, self.sides, self.prices, self.quantities = rules, sides, prices, quantities
        self.handles = handles
        self.stalls = stalls
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += Assume(~ResetSignal())
        m.submodules.dut = dut = WindowedBook()

        opcode = Array(self.opcodes)[self.choice % len(self.opcodes)]
        number = Signal(5)
        opens = Signal()
        told = Signal(TOLD)
        command = dut.commands.payload
        m.d.comb += [
            opens.eq(number == 0),
            told.number.eq(number),
            told.opcode.eq(Mux(opens, Opcode.STATE, opcode)),
            told.time_in_force.eq(Mux(opcode == Opcode.NEW, self.time_in_force & self.rules, 0)),
            told.side.eq(self.side & self.sides),
            told.price.eq(self.price & self.prices),
            told.quantity.eq(Mux(opens, InstrumentState.OPEN, self.quantity & self.quantities)),
            told.handle.eq(self.handle & self.handles),
            command.opcode.eq(told.opcode),
            command.flags.side.eq(told.side),
            command.flags.time_in_force.eq(told.time_in_force),
            command.price.eq(told.price),
            command.quantity.eq(told.quantity),
            command.handle.eq(told.handle),
            command.seq.eq(told),
            dut.commands.valid.eq(dut.began & (self.offered | opens) & ~number.all()),
            dut.beats.ready.eq(self.ready if self.stalls else 1),
        ]
        with m.If(dut.commands.valid & dut.commands.ready):
            m.d.sync += number.eq(number + 1)

        # The list: who rests where, and who came first of any two.
        live = [Signal(name=f"live_{h}") for h in HANDLES]
        side = [Signal(name=f"side_{h}") for h in HANDLES]
        level = [Signal(2, name=f"level_{h}") for h in HANDLES]
        quantity = [Signal(2, name=f"quantity_{h}") for h in HANDLES]
        first = {p: Signal(name=f"first_{p[0]}{p[1]}") for p in combinations(HANDLES, 2)}

        def before(a, b):
            return first[a, b] if a < b else ~first[b, a]

        # Of the command last reported: whether its order is still taking, and what it is.
        reported = Signal(5)
        taking, taker, rule = Signal(), Signal(2), Signal(TimeInForce)
        takes = [Signal(name=f"takes_{h}") for h in HANDLES]
        taker_side, limit, remaining = Array(side)[taker], Array(level)[taker], Array(quantity)[taker]
        crossing = [Signal(name=f"crossing_{h}") for h in HANDLES]
        best = [Signal(name=f"best_{h}") for h in HANDLES]
        may_rest = Signal()
        m.d.comb += may_rest.eq(rule.matches(TimeInForce.GTC, TimeInForce.POST_ONLY) & ~Cat(crossing).any())
        for h in HANDLES:
            m.d.comb += [
                takes[h].eq(taking & (taker == h)),
                crossing[h].eq(
                    taking
                    & live[h]
                    & (taker != h)
                    & (side[h] != taker_side)
                    & Mux(side[h], level[h] <= limit, level[h] >= limit)
                ),
                best[h].eq(
                    crossing[h]
                    & ~Cat(
                        crossing[o]
                        & (
                            Mux(side[h], level[o] < level[h], level[o] > level[h])
                            | ((level[o] == level[h]) & before(o, h))
                        )
                        for o in HANDLES
                        if o != h
                    ).any()
                ),
            ]
        fillable = Signal()
        m.d.comb += fillable.eq(sum(Mux(crossing[h], quantity[h], 0) for h in HANDLES) >= remaining)
        # It has done what it had to.
        done = Signal()
        m.d.comb += done.eq(~taking | may_rest)

        def arrive(h):
            m.d.sync += [live[h].eq(1), taking.eq(1), taker.eq(h), rule.eq(c.time_in_force)]
            m.d.sync += [level[h].eq(c.price), quantity[h].eq(c.quantity)]
            for o in HANDLES:
                if o != h:
                    m.d.sync += first[min(o, h), max(o, h)].eq(o < h)

        beat = layouts.REPORT(dut.beats.payload)
        c = TOLD(Value.cast(beat.seq)[: TOLD.size])

        def expect(kind, reason, side, price, quantity):
            m.d.comb += [
                Assert(beat.kind.kind == kind),
                Assert(beat.reason == reason),
                Assert(beat.kind.side == side),
                Assert(beat.price == price),
                Assert(beat.quantity == quantity),
            ]

        with m.If(dut.beats.valid & dut.beats.ready):
            m.d.comb += Assert(beat.instrument == 0)
            with m.If(c.number != reported):
                m.d.comb += [Assert(c.number == Value.cast(reported + 1)[:5]), Assert(done)]
                m.d.comb += [Assert(beat.handle == c.handle), Assert(beat.maker == 0)]
                m.d.sync += [reported.eq(c.number), taking.eq(0)]
                for h in HANDLES:
                    with m.If(c.handle == h), m.Switch(c.opcode):
                        with m.Case(Opcode.NEW, Opcode.REPLACE):
                            is_new = c.opcode == Opcode.NEW
                            with m.If(is_new == live[h]):
                                reason = Mux(is_new, Reason.DUPLICATE, Reason.NOT_RESTING)
                                expect(Kind.REJECTED, reason, c.side, c.price, 0)
                            with m.Elif(c.quantity == 0):
                                expect(Kind.REJECTED, Reason.QUANTITY, c.side, c.price, 0)
                            with m.Elif(c.price >= GEOMETRY.pool):
                                expect(Kind.REJECTED, Reason.PRICE, c.side, c.price, 0)
                            with m.Elif(is_new):
                                expect(Kind.ACK, 0, c.side, c.price, c.quantity)
                                arrive(h)
                                m.d.sync += side[h].eq(c.side)
                            with m.Else():
                                expect(Kind.REPLACED, 0, side[h], c.price, c.quantity)
                                arrive(h)
                        with m.Case(Opcode.CANCEL):
                            with m.If(~live[h]):
                                expect(Kind.REJECTED, Reason.NOT_RESTING, c.side, c.price, 0)
                            with m.Else():
                                expect(Kind.CANCELLED, Reason.COMMAND, side[h], level[h], quantity[h])
                                m.d.sync += live[h].eq(0)
                        with m.Case(Opcode.REDUCE):
                            with m.If(~live[h]):
                                expect(Kind.REJECTED, Reason.NOT_RESTING, c.side, c.price, 0)
                            with m.Elif((c.quantity == 0) | (c.quantity >= quantity[h])):
                                expect(Kind.REJECTED, Reason.QUANTITY, c.side, c.price, 0)
                            with m.Else():
                                expect(Kind.REPLACED, 0, side[h], level[h], c.quantity)
                                m.d.sync += quantity[h].eq(c.quantity)
            with m.Elif(c.number == 0):
                expect(Kind.ACK, 0, 0, 0, InstrumentState.OPEN)
                m.d.comb += [Assert(beat.handle == 0), Assert(beat.maker == GEOMETRY.pool)]
            with m.Else():
                m.d.comb += [Assert(taking & ~may_rest), Assert(beat.handle == taker)]
                with m.If(beat.kind.kind == Kind.TRADE):
                    m.d.comb += Assert(
                        (rule != TimeInForce.POST_ONLY) & ((rule != TimeInForce.FOK) | fillable)
                    )
                    m.d.comb += Assert(Cat(best[h] & (beat.maker == h) for h in HANDLES).any())
                    for h in HANDLES:
                        with m.If(best[h]):
                            takes_all = quantity[h] <= remaining
                            traded = Mux(takes_all, quantity[h], remaining)
                            expect(Kind.TRADE, 0, taker_side, level[h], traded)
                            m.d.comb += Assert(beat.kind.maker_done == takes_all)
                            m.d.sync += [quantity[h].eq(quantity[h] - traded), live[h].eq(~takes_all)]
                            with m.If(quantity[h] >= remaining):
                                m.d.sync += taking.eq(0)
                            for o in HANDLES:
                                with m.If(takes[o]):
                                    m.d.sync += [
                                        quantity[o].eq(remaining - traded),
                                        live[o].eq(quantity[h] < remaining),
                                    ]
                with m.Else():
                    m.d.comb += Assert(beat.maker == 0)
                    m.d.sync += taking.eq(0)
                    for h in HANDLES:
                        with m.If(takes[h]):
                            m.d.sync += live[h].eq(0)
                    with m.Switch(rule):
                        with m.Case(TimeInForce.IOC):
                            m.d.comb += Assert(~Cat(crossing).any())
                            expect(Kind.CANCELLED, Reason.IOC, taker_side, limit, remaining)
                        with m.Case(TimeInForce.FOK):
                            m.d.comb += Assert(~fillable)
                            expect(Kind.CANCELLED, Reason.FOK, taker_side, limit, remaining)
                        with m.Case(TimeInForce.POST_ONLY):
                            expect(Kind.CANCELLED, Reason.POST_ONLY, taker_side, limit, remaining)
                        with m.Default():
                            m.d.comb += Assert(0)

        # Nothing is missing once the book is at rest.
        accepted = number - 1
        with m.If(~dut.busy & (number > 1)):
            m.d.comb += [Assert(reported == accepted[:5]), Assert(done)]
        return m


#: Orders of one side, which never trade: whether the order named rests, where, and how much of it.
NAMED = {
    "opcodes": [Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE],
    "sides": 0,
    "prices": 1,
    "handles": 1,
}
#: Two orders at one price: who is named may have been met by the order in front.
MET = {"opcodes": [Opcode.NEW, Opcode.CANCEL], "prices": 0, "quantities": 1, "handles": 1}
#: Two orders at one price, whatever their time in force: residuals, and levels that empty.
TAKEN = {"opcodes": [Opcode.NEW], "rules": 3, "prices": 0, "handles": 1}
#: Four orders at two prices: bounds of the best levels, and priority.
LEVELS = {"opcodes": [Opcode.NEW, Opcode.CANCEL], "prices": 1, "quantities": 1}
#: All that four orders may do to each other.
RULES = {"opcodes": [Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE], "rules": 3}


@pytest.mark.parametrize(
    ("kind", "depth"),
    [
        pytest.param(NAMED, 25, id="named", marks=pytest.mark.ci),
        pytest.param(MET, 27, id="met"),
        pytest.param(TAKEN, 27, id="taken", marks=pytest.mark.ci),
    ],
)
def test_reports_are_those_of_the_rules(unroll, kind, depth):
    unroll(BookContract(**kind), depth)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "depth"),
    [
        (NAMED, 42),
        (MET, 31),
        (MET | {"stalls": True}, 24),
        (TAKEN, 31),
        (LEVELS, 26),
        (RULES, 23),
    ],
    ids=["named", "met", "met-stalled", "taken", "levels", "rules"],
)
def test_reports_are_those_of_the_rules_for_long(unroll, kind, depth):
    unroll(BookContract(**kind), depth)
