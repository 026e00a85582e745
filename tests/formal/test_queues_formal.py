from itertools import combinations, permutations

from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from hawse_hdl.book.layouts import ends_layout
from hawse_hdl.book.queues import Act, Queues
from hawse_hdl.memory import ForwardedMemory
from support.formal import TinyGeometry, hold, read_before, show

GEOMETRY = TinyGeometry(instruments=2, pool=2, orders=4)
HANDLES, LEVELS = range(GEOMETRY.orders), range(GEOMETRY.pool)


class MemoryContract(wiring.Component):
    """Reads of any one address include every write up to and including one in their own cycle."""

    #: The address that is followed.
    where: In(3)
    read: In(3)
    address: In(3)
    write: In(1)
    value: In(2)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += Assume(~ResetSignal())
        m.submodules.dut = dut = ForwardedMemory(2, 8)
        hold(m, self.where)
        m.d.comb += [
            dut.read.eq(self.read),
            dut.address.eq(self.address),
            dut.write.eq(self.write),
            dut.value.eq(self.value),
        ]
        inside = dut.memory.read_port(domain="comb")
        m.d.comb += inside.addr.eq(self.where)
        content, now, asked = Signal(2), Signal(2), Signal()
        at = Signal(3)
        m.d.sync += at.eq(self.read)
        m.d.comb += dut.same.eq(self.write & (self.address == at))
        m.d.comb += now.eq(Mux(self.write & (self.address == self.where), self.value, content))
        m.d.sync += [content.eq(now), asked.eq(self.read == self.where)]
        m.d.comb += [Assert(inside.data == content), Assert(~asked | (dut.data == now))]
        return m


def test_memory_includes_every_write(induct):
    induct(MemoryContract(), 3)


class Lists:
    """Which orders rest, at which level, and which of any two came first."""

    def __init__(self, m, name):
        self.live = [Signal(name=f"{name}_live_{h}") for h in HANDLES]
        self.level = [Signal(name=f"{name}_level_{h}") for h in HANDLES]
        self._first = {p: Signal(name=f"{name}_first_{p[0]}{p[1]}") for p in combinations(HANDLES, 2)}
        self.all = Cat(*self.live, *self.level, *self._first.values())
        # Who came before whom is an order.
        for a, b, c in permutations(HANDLES, 3):
            m.d.comb += Assert(~(self.before(a, b) & self.before(b, c) & self.before(c, a)))

    def before(self, a, b):
        return self._first[a, b] if a < b else ~self._first[b, a]

    def at(self, h, level):
        return self.live[h] & (self.level[h] == level)

    def together(self, a, b):
        return self.live[a] & self.live[b] & (self.level[a] == self.level[b])

    def occupied(self, level):
        return Cat(*(self.at(h, level) for h in HANDLES)).any()

    def is_head(self, h):
        return ~Cat(*(self.together(o, h) & self.before(o, h) for o in HANDLES if o != h)).any()

    def is_tail(self, h):
        return ~Cat(*(self.together(o, h) & self.before(h, o) for o in HANDLES if o != h)).any()

    def follows(self, a, b):
        """Whether ``b`` is the one behind ``a``."""
        between = [
            self.together(a, o) & self.before(a, o) & self.before(o, b) for o in HANDLES if o not in (a, b)
        ]
        return self.together(a, b) & self.before(a, b) & ~Cat(*between).any()

    def apply(self, m, act, level, handle):
        """Statements that carry out an act in the next cycle."""
        for h in HANDLES:
            here, chosen = self.at(h, level), handle == h
            with m.Switch(act):
                with m.Case(Act.ENTER), m.If(chosen):
                    m.d.sync += [self.live[h].eq(1), self.level[h].eq(level)]
                    for o in HANDLES:
                        if o != h:
                            m.d.sync += self._first[min(o, h), max(o, h)].eq(o < h)
                with m.Case(Act.LEAVE), m.If(chosen):
                    m.d.sync += self.live[h].eq(0)
                with m.Case(Act.POP):
                    is_before = Array(self.before(h, o) if o != h else 0 for o in HANDLES)[handle]
                    with m.If(here & is_before):
                        m.d.sync += self.live[h].eq(0)
                with m.Case(Act.EMPTY, Act.WIPE), m.If(here):
                    m.d.sync += self.live[h].eq(0)


class WatchedQueues(Queues):
    """Queues with all that they remember in sight."""

    def __init__(self):
        super().__init__(GEOMETRY)
        self.all_ends = [Signal(ends_layout(GEOMETRY), name=f"ends_{o}") for o in LEVELS]
        self.nexts = [Signal(2, name=f"next_{h}") for h in HANDLES]
        self.prevs = [Signal(2, name=f"prev_{h}") for h in HANDLES]
        self.same = Signal()
        self.written = Signal()

    def elaborate(self, platform):
        m = super().elaborate(platform)
        show(m, m.submodules.levels.memory, self.all_ends)
        show(m, m.submodules.nexts.memory, self.nexts)
        show(m, m.submodules.prevs.memory, self.prevs)
        levels = m.submodules.levels
        m.d.comb += [self.same.eq(levels.same), self.written.eq(levels.write)]
        return m


class QueuesContract(wiring.Component):
    """The linked queues are lists in order of arrival, whatever acts follow each other at whatever distance.

    Every cycle, the memories say what all acts up to the one just written make of the lists: ends, links both
    ways, and which levels are occupied. So there is no cycle in a queue and no order is lost.

    Assumed of acts, as the book guarantees when all before them are counted: who enters rests nowhere; who
    leaves, or is the new head, rests at the place given; a level that is emptied holds orders. And that the
    first cycle acts on nothing, as nothing has been read.
    """

    place: In(1)
    instrument: In(1)
    handle: In(2)
    act: In(Act)
    side: In(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += Assume(~ResetSignal())
        m.submodules.dut = dut = WatchedQueues()
        m.d.comb += [
            dut.place.eq(self.place),
            dut.instrument.eq(self.instrument),
            dut.handle.eq(self.handle),
            dut.act.eq(self.act),
            dut.side.eq(self.side),
        ]
        place, handle = Signal(1), Signal(2)
        m.d.sync += [place.eq(self.place), handle.eq(self.handle)]

        begun = Lists(m, "begun")  # in front of the act that is in its second step
        live, level = Array(begun.live)[handle], Array(begun.level)[handle]
        occupied = Array(begun.occupied(o) for o in LEVELS)[place]
        read = read_before(m)
        m.d.comb += Assume(read | (self.act == Act.NONE))
        with m.Switch(self.act):
            with m.Case(Act.NONE, Act.WIPE):
                pass
            with m.Case(Act.ENTER):
                m.d.comb += Assume(~live)
            with m.Case(Act.LEAVE, Act.POP):
                m.d.comb += Assume(live & (level == place))
            with m.Case(Act.EMPTY):
                m.d.comb += Assume(occupied)
            with m.Default():
                m.d.comb += Assume(0)
        begun.apply(m, self.act, place, handle)

        # Two cycles later it is written.
        third, written = Lists(m, "third"), Lists(m, "written")
        m.d.sync += [third.all.eq(begun.all), written.all.eq(third.all)]
        for o in LEVELS:
            ends = dut.all_ends[o]
            m.d.comb += Assert(ends.occupied == written.occupied(o))
            for h in HANDLES:
                with m.If(written.at(h, o)):
                    m.d.comb += Assert(written.is_head(h) == (ends.head == h))
                    m.d.comb += Assert(written.is_tail(h) == (ends.tail == h))
        for a, b in permutations(HANDLES, 2):
            with m.If(written.follows(a, b)):
                m.d.comb += [Assert(dut.nexts[a] == b), Assert(dut.prevs[b] == a)]

        # What is read includes what is being written.
        m.d.comb += Assert(~dut.same | dut.written)
        for o in LEVELS:
            with m.If(read & (place == o)):
                m.d.comb += Assert(dut.ends.occupied == third.occupied(o))
                for h in HANDLES:
                    with m.If(third.at(h, o)):
                        m.d.comb += Assert(third.is_head(h) == (dut.ends.head == h))
                        m.d.comb += Assert(third.is_tail(h) == (dut.ends.tail == h))
        for a, b in permutations(HANDLES, 2):
            with m.If(read & (handle == a) & third.follows(a, b)):
                m.d.comb += Assert(dut.next == b)

        # Changes of levels, and where.
        acts = [Signal(Act, name=f"act_{n}") for n in range(2)]
        sides = [Signal(name=f"side_{n}") for n in range(2)]
        places = [Signal(1, name=f"place_{n}") for n in range(2)]
        instruments = [Signal(1, name=f"instrument_{n}") for n in range(3)]
        changing, changing_side = Signal(1), Signal()
        m.d.sync += [
            Cat(*acts).eq(Cat(Value.cast(self.act), acts[0])),
            Cat(*sides).eq(Cat(self.side, sides[0])),
            Cat(*places).eq(Cat(place, places[0])),
            Cat(*instruments).eq(Cat(self.instrument, *instruments[:2])),
            changing.eq(dut.changing),
            changing_side.eq(dut.changing_side),
        ]
        act = acts[1]
        was = Array(written.occupied(o) for o in LEVELS)[places[1]]
        will = Array(third.occupied(o) for o in LEVELS)[places[1]]
        ever = Array(begun.occupied(o) for o in LEVELS)[places[1]]
        m.d.comb += [
            Assert(dut.quiet == ((acts[0] == Act.NONE) & (act == Act.NONE))),
            Assert(dut.change.valid == ((was != will) | (act == Act.WIPE))),
        ]
        with m.If(dut.change.valid):
            m.d.comb += [
                Assert(dut.change.occupied == will),
                Assert(dut.change.wipe == (act == Act.WIPE)),
                Assert((changing == places[1]) & (changing_side == sides[1])),
            ]
        with m.If(dut.vacated):
            m.d.comb += [
                Assert(was & ~will & ~ever & ~((self.act == Act.ENTER) & (place == places[1]))),
                Assert((dut.vacated_place == places[1]) & (dut.vacated_side == sides[1])),
                Assert(dut.vacated_instrument == instruments[2]),
            ]
        m.d.comb += Cover(dut.vacated & (act == Act.EMPTY))
        m.d.comb += Cover((act == Act.LEAVE) & (acts[0] == Act.LEAVE) & (self.act == Act.LEAVE))
        return m


def test_queues_are_lists(induct):
    induct(QueuesContract(), 6)


def test_acts_occur_back_to_back(solve):
    solve(QueuesContract(), "cover", 9)
