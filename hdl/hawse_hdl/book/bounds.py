"""The best levels of one side of each instrument, and what an order makes of them."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from hawse.wire import Side

from ..compare import less
from .front_search import Search
from .layouts import best_layout, front_layout, instrument_bits

#: How a level compares with a bound: it is better, or not worse; both if there is no bound.
_MET = data.StructLayout({"beats": 1, "reaches": 1})
#: How an order compares with the bounds, and whether it is the one that is alone at the best.
_COMPARED = data.StructLayout({"best": _MET, "behind": _MET, "same_handle": 1})


def meet(side: Side, level: Value, bound: Any) -> Value:
    """How ``level``, of an order of ``side``, compares with ``bound``, as of ``_MET``."""
    a, b = (bound.level, level) if side == Side.BUY else (level, bound.level)
    a, b = Cat(a, bound.found), Cat(b, 1)
    return Cat(less(a, b), ~less(b, a))


def compare(side: Side, level: Value, handle: Value, front: Any) -> Value:
    """How an order of ``side`` compares with ``front``, as of ``_COMPARED``."""
    return Cat(meet(side, level, front.best), meet(side, level, front.behind), handle == front.handle)


class Vacancy:
    """A level that has emptied, what was read of its side a cycle ago, and what a cycle ago that meant."""

    def __init__(self, io: Any) -> None:
        self.vacant = Signal()
        self.vacant_known = Signal()
        self.vacant_read = Signal()
        self.vacant_place = Signal.like(io.vacated_place)
        self.vacant_instrument = Signal.like(io.vacated_instrument)
        self.vacant_side = Signal(Side)
        self.left = Signal(front_layout(io.geometry), reset_less=True)
        self.vacates = Signal()
        self.left_behind = Signal(best_layout(io.geometry), reset_less=True)
        #: An order has arrived at the vacated level.
        self.taken = Signal()


class Shared:
    """What both sides have to do with each other."""

    def __init__(self) -> None:
        #: The order in its second step is better than the best of that side.
        self.beats = [Signal(name=f"beats_{side.name.lower()}") for side in Side]
        #: Sides that are written in the next cycle.
        self.writes = Signal(2)
        #: The orders in both steps are of one instrument.
        self.same_instrument = Signal()


class Bounds:
    """Bounds of ``side``, in ``memory``.

    Args:
        m: of the fronts.
        io: the fronts, whose ports are used.
        side: which.
        memory: of a :func:`.front_layout` for each instrument.
        both: shared with the other side.
        vacancy: the level that has emptied.
        search: for the level behind the best.
    """

    def __init__(
        self,
        m: Module,
        io: Any,
        side: Side,
        memory: Any,
        both: Shared,
        vacancy: Vacancy,
        search: Search,
    ) -> None:
        self.m, self.io, self.side = m, io, side
        self.both, self.vacancy, self.search = both, vacancy, search
        self.name = side.name.lower()
        self.mine = io.side == side
        front = front_layout(io.geometry)
        self.port_write = memory.write_port()
        self.come, self.emptied, self.watched = (memory.read_port(domain="comb") for _ in range(3))
        #: Decided in one cycle, written in the next.
        self.write = self._signal(
            data.StructLayout({"en": 1, "addr": instrument_bits(io.geometry), "data": front}), "write"
        )
        self.written = self._signal(self.write.shape(), "written")
        #: Bounds as the orders in their first and second step know them: those read for them, or what was
        #: written last.
        self.read_one = self._signal(front, "read_one", reset_less=True)
        self.read_two = self._signal(front, "read_two", reset_less=True)
        self.last_one, self.last_two = self._signal(1, "last_one"), self._signal(1, "last_two")
        self.one, self.two = self._signal(front, "one"), self._signal(front, "two")
        #: How the order in its second step compares with its own.
        self.compared = self._signal(_COMPARED, "compared")
        self.with_best, self.with_behind = self.compared.best, self.compared.behind
        #: What the second step does to the bounds, if the order is accepted, which is known late.
        self.improves, self.joins, self.follows, self.empties = (
            self._signal(1, name) for name in ("improves", "joins", "follows", "empties")
        )
        self.changed, self.becomes = self._signal(1, "changed"), self._signal(front, "becomes")
        self.entered = self._signal(front, "entered")
        #: The order in its second step, as if it were alone; how that in its first compares with the bounds
        #: that it knows, with those of the second, and with what the second makes of them.
        self.order = self._signal(front, "order")
        self.with_one, self.with_two, self.with_changed = (
            self._signal(_COMPARED, name) for name in ("with_one", "with_two", "with_changed")
        )

    def _signal(self, shape: Any, name: str, **options: Any) -> Any:
        return Signal(shape, name=f"{name}_{self.name}", **options)

    def _comparison(self, order: tuple[Value, Value], last: Value, read: Any) -> Value:
        """An order is compared with all bounds that may count, then it is chosen which do."""
        wrote = compare(self.side, *order, self.written.data)
        return Mux(last, wrote, compare(self.side, *order, read))

    def read(self) -> None:
        """Read for who needs it; write what was decided."""
        m, io = self.m, self.io
        m.d.comb += [
            self.come.addr.eq(io.coming),
            self.emptied.addr.eq(self.vacancy.vacant_instrument),
            self.watched.addr.eq(self.search.instrument),
            self.both.writes[self.side].eq(self.write.en),
            self.port_write.en.eq(self.written.en),
            self.port_write.addr.eq(self.written.addr),
            self.port_write.data.eq(self.written.data),
        ]
        m.d.sync += self.written.eq(self.write)
        with m.If(self.vacancy.vacant_side == self.side):
            m.d.sync += self.vacancy.left.eq(self.emptied.data)
        with m.If(self.search.side == self.side):
            m.d.sync += self.search.seen.eq(self.watched.data)

    def know(self) -> None:
        """What the orders in their steps know."""
        m = self.m
        m.d.comb += [
            self.one.eq(Mux(self.last_one, self.written.data, self.read_one)),
            self.two.eq(Mux(self.last_two, self.written.data, self.read_two)),
        ]

    def decide(self) -> None:
        """What becomes of the bounds."""
        m, io = self.m, self.io
        enters = self.mine & io.arriving & ~io.crosses
        m.d.comb += [
            self.both.beats[self.side].eq(self.with_best.beats),
            self.improves.eq(enters & self.with_best.beats),
            self.joins.eq(enters & self.with_best.reaches & ~self.with_best.beats),
            self.follows.eq(enters & ~self.with_best.reaches & self.with_behind.beats),
            self.empties.eq(self.mine & io.leaving & self.two.alone & self.compared.same_handle),
            self.changed.eq((self.improves | self.joins | self.follows | self.empties) & io.accepted),
            self.entered.eq(self.two),
            self.becomes.eq(self.entered),
        ]

    def enter(self) -> None:
        """The bounds with the order in its second step, or without it."""
        m, io = self.m, self.io
        with m.If(self.with_best.beats):
            m.d.comb += [
                self.entered.best.found.eq(1),
                self.entered.best.level.eq(io.place),
                self.entered.behind.eq(self.two.best),
                self.entered.partial.eq(0),
                self.entered.alone.eq(1),
                self.entered.handle.eq(io.handle),
            ]
        with m.Elif(self.with_best.reaches):
            m.d.comb += self.entered.alone.eq(0)
        with m.Elif(self.with_behind.beats):
            m.d.comb += [self.entered.behind.found.eq(1), self.entered.behind.level.eq(io.place)]
        with m.If(io.leaving):
            m.d.comb += [
                self.becomes.eq(0),
                self.becomes.best.eq(self.two.behind),
                self.becomes.behind.eq(self.two.behind),
            ]
        with m.If(self.mine):
            m.d.comb += io.entered.eq(self.entered)
        with m.Else():
            m.d.comb += io.facing.eq(self.two)

    def change(self) -> None:
        """What is written: by the matcher, the order in its second step, a vacated level, or a search."""
        m, io = self.m, self.io
        side, vacancy, search = self.side, self.vacancy, self.search
        waits = vacancy.vacant & vacancy.vacant_known & (vacancy.vacant_side == side)
        with m.If(io.write[side]):
            m.d.comb += [
                self.write.en.eq(1),
                self.write.addr.eq(io.write_instrument),
                self.write.data.eq(io.value),
            ]
            search.want(side, io.write_instrument)
            with m.If(vacancy.vacant_side == side):
                m.d.sync += vacancy.vacant.eq(0)
        with m.Elif(self.mine & (io.arriving | io.leaving)):
            m.d.comb += [
                self.write.en.eq(self.changed & io.go),
                self.write.addr.eq(io.instrument),
                self.write.data.eq(self.becomes),
            ]
            with m.If(io.leaving & io.go):
                search.want(side, io.instrument)
        with m.Elif(waits), m.If(search.still[side] & ~vacancy.taken):
            m.d.sync += vacancy.vacant.eq(0)
            m.d.comb += [
                self.write.en.eq(vacancy.vacates),
                self.write.addr.eq(vacancy.vacant_instrument),
                self.write.data.best.eq(vacancy.left_behind),
                self.write.data.behind.eq(vacancy.left_behind),
            ]
            search.want(side, vacancy.vacant_instrument)
        with m.Elif(search.learns & search.still[side] & (search.side == side) & ~io.hold):
            m.d.comb += [
                self.write.en.eq(1),
                self.write.addr.eq(search.instrument),
                self.write.data.eq(search.learnt),
                search.stores.eq(1),
            ]

    def compare_first(self) -> None:
        """The first step. When the order in the second changes the bounds, what it makes of them counts."""
        m, io = self.m, self.io
        first = io.first_place, io.first_handle
        with_order = compare(self.side, *first, self.order)
        m.d.comb += [
            self.order.best.found.eq(1),
            self.order.best.level.eq(io.place),
            self.order.handle.eq(io.handle),
            self.with_one.eq(self._comparison(first, self.last_one, self.read_one)),
            self.with_two.eq(self._comparison(first, self.last_two, self.read_two)),
            self.with_changed.eq(self.with_two),
        ]
        with m.If(self.improves):
            m.d.comb += [self.with_changed.eq(with_order), self.with_changed.behind.eq(self.with_two.best)]
        with m.If(self.follows):
            m.d.comb += self.with_changed.behind.eq(data.View(_COMPARED, with_order).best)
        with m.If(self.empties):
            m.d.comb += self.with_changed.best.eq(self.with_two.behind)

    def keep(self) -> None:
        """What is known in the next cycle."""
        m, io = self.m, self.io
        m.d.sync += [
            self.read_one.eq(self.one),
            self.read_two.eq(self.two),
            self.last_one.eq(0),
            self.last_two.eq(0),
        ]
        with m.If(io.step):
            m.d.sync += [
                self.read_one.eq(
                    Mux(
                        self.written.en & (self.written.addr == io.coming),
                        self.written.data,
                        self.come.data,
                    )
                ),
                self.read_two.eq(self.one),
                self.last_one.eq(self.write.en & (self.write.addr == io.coming)),
                self.last_two.eq(self.changed & self.both.same_instrument),
                self.compared.eq(
                    Mux(self.changed & self.both.same_instrument, self.with_changed, self.with_one)
                ),
            ]
        with m.Else():
            with m.If(io.write[self.side]):
                m.d.sync += [
                    self.last_one.eq(io.write_instrument == io.first_instrument),
                    self.last_two.eq(io.write_instrument == io.instrument),
                ]
            with m.Elif(self.changed & io.go):
                m.d.sync += [self.last_one.eq(self.both.same_instrument), self.last_two.eq(1)]
            with m.If(io.hold):
                m.d.sync += self.compared.eq(
                    self._comparison((io.place, io.handle), self.last_two, self.read_two)
                )
            with m.Elif(self.changed & io.go):  # a REPLACE has left, and enters next
                m.d.sync += self.with_best.eq(self.with_behind)
