"""The best levels of each instrument, as well as they are known."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.wire import Geometry, Side

from ..compare import less
from .layouts import best_layout, front_layout, handle_bits, instrument_bits, level_bits

#: Steps and cycles in which an order that knows older bounds enters and comes to be seen by a search.
SETTLE = 11


_OUTCOMES = ("improves", "joins", "follows", "empties")
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


class Fronts(wiring.Component):
    """Bounds of the best level and the one behind it, of both sides of each instrument.

    A bound is never worse than the truth: an order that does not cross it crosses nothing. It may be better,
    when a level has emptied; then the level at the bound holds no orders. When the best level empties, the
    one behind takes its place. When nothing is known of the level behind, it is searched for, while the
    levels that orders enter meanwhile are kept in mind.

    An order takes two steps. In the first its level is compared with the bounds that were read for it, and
    with those that the order before it may make of its own; in the second it is known whether it ``crosses``,
    and it enters or leaves. What a search finds, or a vacated level tells, the orders in their steps need not
    know: the bounds that they know are not worse than the truth.

    Latency: two steps.
    Initiation interval: 1.
    Ordering: a ``vacated`` level waits for cycles without another write to its side, and is forgotten if an
    order arrives at it or another level empties; the bound stays too good.
    Reset: the bounds stay; ``write`` each.
    Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        front, instrument, level = front_layout(geometry), instrument_bits(geometry), level_bits(geometry)
        handle = handle_bits(geometry)
        super().__init__(
            {
                #: The orders in their steps go on; the one in its second takes effect, and perhaps stays.
                "step": In(1),
                "go": In(1),
                #: Instrument of the order that comes to its first step.
                "coming": In(instrument),
                # The order in its first step.
                "first_place": In(level),
                "first_instrument": In(instrument),
                "first_handle": In(handle),
                # The order in its second step: it rests unless it crosses, or leaves, if it is ``accepted``.
                "place": In(level),
                "instrument": In(instrument),
                "side": In(Side),
                "handle": In(handle),
                "arriving": In(1),
                "leaving": In(1),
                "accepted": In(1),
                "crosses": Out(1),
                #: Bounds of the other side, and of its own once it has entered.
                "facing": Out(front),
                "entered": Out(front),
                #: A level holds no orders any more.
                "vacated": In(1),
                "vacated_place": In(level),
                "vacated_instrument": In(instrument),
                "vacated_side": In(Side),
                # What is known better.
                "write_instrument": In(instrument),
                "write": In(2),
                "value": In(front),
                #: The pipeline waits: no search, and no change of bounds on account of one. What is written
                #: meanwhile counts for the orders in their steps two cycles later.
                "hold": In(1),
                "seek": Out(1),
                "seek_place": Out(level),
                "seek_instrument": Out(instrument),
                "seek_side": Out(Side),
                "seek_ready": In(1),
                "found": In(best_layout(geometry)),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        front = front_layout(geometry)
        sides = (Side.BUY, Side.SELL)

        # A vacated level, what was read of its side a cycle ago, and what a cycle ago that meant.
        vacant = Signal()
        vacant_known = Signal()
        vacant_read = Signal()
        vacant_place = Signal.like(self.vacated_place)
        vacant_instrument = Signal.like(self.vacated_instrument)
        vacant_side = Signal(Side)
        left = Signal(front, reset_less=True)
        vacates = Signal()
        left_behind = Signal(best_layout(geometry), reset_less=True)
        m.d.sync += [
            vacant_read.eq(vacant),
            vacant_known.eq(vacant_read),
            left_behind.eq(left.behind),
            vacates.eq(
                left.best.found
                & (left.best.level == vacant_place)
                & (left.best != left.behind)
                & ~left.partial
            ),
        ]
        # An order has arrived at the vacated level.
        taken = Signal()
        at_vacated, at_vacant = Signal(), Signal()
        m.d.comb += [
            at_vacated.eq(self.place == self.vacated_place),
            at_vacant.eq(self.place == vacant_place),
        ]
        m.d.sync += taken.eq(self.arriving & self.go & Mux(self.vacated, at_vacated, at_vacant))
        search = self._search(m)

        def want(side: Side, instrument: Any) -> None:
            m.d.sync += [search.wanted[side].eq(1), search.wanted_instrument[side].eq(instrument)]

        same_instrument = Signal()
        writes = Signal(2)
        wrote = Signal(2)
        wrote_before = Signal(2)
        beats = [Signal(name=f"beats_{side.name.lower()}") for side in sides]
        m.d.sync += [
            wrote.eq(writes),
            wrote_before.eq(wrote),
            search.quiet.eq(~writes & ~wrote),
            search.still.eq(~writes & ~wrote & ~wrote_before),
        ]
        m.d.comb += [
            self.crosses.eq(Mux(self.side == Side.BUY, ~beats[Side.SELL], ~beats[Side.BUY])),
            same_instrument.eq(self.first_instrument == self.instrument),
        ]
        for side in sides:
            name = side.name.lower()
            m.submodules[name] = memory = Memory(
                shape=front,
                depth=max(2, geometry.instruments),
                init=[],
                # Registers would need wide multiplexers.
                attrs={"ram_style": "distributed"} if geometry.instruments > 2 else {},
            )
            port_write = memory.write_port()
            # Decided in one cycle, written in the next.
            write = Signal(
                data.StructLayout({"en": 1, "addr": instrument_bits(geometry), "data": front}),
                name=f"write_{name}",
            )
            written = Signal.like(write, name=f"written_{name}")
            come, emptied, watched = (memory.read_port(domain="comb") for _ in range(3))
            m.d.comb += [
                come.addr.eq(self.coming),
                emptied.addr.eq(vacant_instrument),
                watched.addr.eq(search.instrument),
                writes[side].eq(write.en),
                port_write.en.eq(written.en),
                port_write.addr.eq(written.addr),
                port_write.data.eq(written.data),
            ]
            m.d.sync += written.eq(write)
            with m.If(vacant_side == side):
                m.d.sync += left.eq(emptied.data)
            with m.If(search.side == side):
                m.d.sync += search.seen.eq(watched.data)

            # Bounds as the orders in their first and second step know them: those read for them, or what was
            # written last. And how the second compares with its own.
            read_one, read_two = (
                Signal(front, name=f"read_one_{name}", reset_less=True),
                Signal(front, name=f"read_two_{name}", reset_less=True),
            )
            last_one, last_two = Signal(name=f"last_one_{name}"), Signal(name=f"last_two_{name}")
            one, two = Signal(front, name=f"one_{name}"), Signal(front, name=f"two_{name}")
            m.d.comb += [
                one.eq(Mux(last_one, written.data, read_one)),
                two.eq(Mux(last_two, written.data, read_two)),
            ]
            compared = Signal(_COMPARED, name=f"compared_{name}")
            with_best, with_behind = compared.best, compared.behind

            # The second step: what becomes of the bounds, if the order is accepted, which is known late.
            mine = self.side == side
            level = self.place
            enters = mine & self.arriving & ~self.crosses
            improves, joins, follows, empties = (Signal(name=f"{n}_{name}") for n in _OUTCOMES)
            changed, becomes = Signal(name=f"changed_{name}"), Signal(front, name=f"becomes_{name}")
            entered = Signal(front, name=f"entered_{name}")
            m.d.comb += [
                beats[side].eq(with_best.beats),
                improves.eq(enters & with_best.beats),
                joins.eq(enters & with_best.reaches & ~with_best.beats),
                follows.eq(enters & ~with_best.reaches & with_behind.beats),
                empties.eq(mine & self.leaving & two.alone & compared.same_handle),
                changed.eq((improves | joins | follows | empties) & self.accepted),
                entered.eq(two),
                becomes.eq(entered),
            ]
            with m.If(with_best.beats):
                m.d.comb += [
                    entered.best.found.eq(1),
                    entered.best.level.eq(level),
                    entered.behind.eq(two.best),
                    entered.partial.eq(0),
                    entered.alone.eq(1),
                    entered.handle.eq(self.handle),
                ]
            with m.Elif(with_best.reaches):
                m.d.comb += entered.alone.eq(0)
            with m.Elif(with_behind.beats):
                m.d.comb += [entered.behind.found.eq(1), entered.behind.level.eq(level)]
            with m.If(self.leaving):
                m.d.comb += [becomes.eq(0), becomes.best.eq(two.behind), becomes.behind.eq(two.behind)]
            with m.If(mine):
                m.d.comb += self.entered.eq(entered)
            with m.Else():
                m.d.comb += self.facing.eq(two)

            with m.If(self.write[side]):
                m.d.comb += [write.en.eq(1), write.addr.eq(self.write_instrument), write.data.eq(self.value)]
                want(side, self.write_instrument)
                with m.If(vacant_side == side):
                    m.d.sync += vacant.eq(0)
            with m.Elif(mine & (self.arriving | self.leaving)):
                m.d.comb += [
                    write.en.eq(changed & self.go),
                    write.addr.eq(self.instrument),
                    write.data.eq(becomes),
                ]
                with m.If(self.leaving & self.go):
                    want(side, self.instrument)
            with m.Elif(vacant & vacant_known & (vacant_side == side)), m.If(search.still[side] & ~taken):
                m.d.sync += vacant.eq(0)
                m.d.comb += [
                    write.en.eq(vacates),
                    write.addr.eq(vacant_instrument),
                    write.data.best.eq(left_behind),
                    write.data.behind.eq(left_behind),
                ]
                want(side, vacant_instrument)
            with m.Elif(search.learns & search.still[side] & (search.side == side) & ~self.hold):
                m.d.comb += [
                    write.en.eq(1),
                    write.addr.eq(search.instrument),
                    write.data.eq(search.learnt),
                    search.stores.eq(1),
                ]

            # An order is compared with all bounds that may count, then it is chosen which do.
            def comparison(order: tuple[Value, Value], last: Value, read: Any, side: Side = side) -> Value:
                wrote = compare(side, *order, written.data)  # noqa: B023
                return Mux(last, wrote, compare(side, *order, read))

            # The first step. When the order in the second changes the bounds, what it makes of them counts.
            first, second = (self.first_place, self.first_handle), (level, self.handle)
            order = Signal(front, name=f"order_{name}")
            with_one, with_two, with_changed = (
                Signal(_COMPARED, name=f"{n}_{name}") for n in ("with_one", "with_two", "with_changed")
            )
            with_order = compare(side, *first, order)
            m.d.comb += [
                order.best.found.eq(1),
                order.best.level.eq(level),
                order.handle.eq(self.handle),
                with_one.eq(comparison(first, last_one, read_one)),
                with_two.eq(comparison(first, last_two, read_two)),
                with_changed.eq(with_two),
            ]
            with m.If(improves):
                m.d.comb += [with_changed.eq(with_order), with_changed.behind.eq(with_two.best)]
            with m.If(follows):
                m.d.comb += with_changed.behind.eq(data.View(_COMPARED, with_order).best)
            with m.If(empties):
                m.d.comb += with_changed.best.eq(with_two.behind)
            m.d.sync += [read_one.eq(one), read_two.eq(two), last_one.eq(0), last_two.eq(0)]
            with m.If(self.step):
                m.d.sync += [
                    read_one.eq(Mux(written.en & (written.addr == self.coming), written.data, come.data)),
                    read_two.eq(one),
                    last_one.eq(write.en & (write.addr == self.coming)),
                    last_two.eq(changed & same_instrument),
                    compared.eq(Mux(changed & same_instrument, with_changed, with_one)),
                ]
            with m.Else():
                with m.If(self.write[side]):
                    m.d.sync += [
                        last_one.eq(self.write_instrument == self.first_instrument),
                        last_two.eq(self.write_instrument == self.instrument),
                    ]
                with m.Elif(changed & self.go):
                    m.d.sync += [last_one.eq(same_instrument), last_two.eq(1)]
                with m.If(self.hold):
                    m.d.sync += compared.eq(comparison(second, last_two, read_two))
                with m.Elif(changed & self.go):  # a REPLACE has left, and enters next
                    m.d.sync += with_best.eq(with_behind)

        with m.If(taken):
            m.d.sync += vacant.eq(0)
        with m.If(self.vacated):
            m.d.sync += [
                vacant.eq(1),
                vacant_read.eq(0),
                vacant_known.eq(0),
                vacant_place.eq(self.vacated_place),
                vacant_instrument.eq(self.vacated_instrument),
                vacant_side.eq(self.vacated_side),
            ]
        return m

    def _search(self, m: Module) -> "_Search":
        """Find out what is behind a best level of which nothing is known but that."""
        search = _Search(self.geometry)
        seen, side, stored = search.seen, search.side, search.stored
        wait = Signal(range(SETTLE + 1))
        fresh = Signal()
        nearer = Signal()
        proposes = Signal()
        proposed = Signal.like(search.learnt)
        m.d.comb += [
            self.seek_side.eq(side),
            self.seek_place.eq(seen.best.level),
            self.seek_instrument.eq(search.instrument),
            proposed.best.eq(seen.best),
            fresh.eq(Mux(side == Side.BUY, search.quiet[Side.BUY], search.quiet[Side.SELL])),
            nearer.eq(
                Mux(
                    side == Side.BUY,
                    less(seen.behind.level, self.found.level),
                    less(self.found.level, seen.behind.level),
                )
            ),
        ]
        m.d.sync += [
            search.learns.eq(proposes),
            search.learnt.eq(proposed),
            stored.eq(search.stores),
        ]
        with m.FSM(name="search"):
            with m.State("IDLE"):
                wanted = search.wanted
                m.d.sync += [
                    side.eq(Mux(wanted[Side.BUY], Side.BUY, Side.SELL)),
                    search.instrument.eq(Mux(wanted[Side.BUY], *search.wanted_instrument)),
                    wait.eq(SETTLE),
                ]
                with m.If(wanted.any()):
                    m.d.sync += wanted.eq(wanted & (wanted - 1))
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "BEGIN"
            with m.State("BEGIN"):
                # What enters the bitmap from now on is kept in mind; what is on its way gets there meanwhile.
                m.d.comb += proposed.partial.eq(1)
                unknown = seen.best.found & ~seen.partial & (seen.best == seen.behind)
                with m.If(stored):
                    m.next = "SETTLE"
                with m.Elif(fresh & ~unknown):
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += proposes.eq(unknown)
            with m.State("SETTLE"), m.If(self.step):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "SEEK"
            with m.State("SEEK"), m.If(fresh):
                with m.If(~seen.partial):
                    m.next = "IDLE"
                with m.Elif(~self.hold):
                    m.d.comb += self.seek.eq(1)
                    m.next = "SEEKING"
            with m.State("SEEKING"):
                with m.If(self.hold):
                    m.next = "SEEK"
                with m.Elif(self.seek_ready):
                    m.next = "LEARN"
            with m.State("LEARN"):
                m.d.comb += proposed.behind.eq(
                    Mux(self.found.found & (~seen.behind.found | nearer), self.found, seen.behind)
                )
                with m.If(stored):
                    m.next = "IDLE"
                with m.Elif(self.hold):
                    m.next = "SEEK"
                with m.Elif(fresh & ~seen.partial):
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += proposes.eq(seen.partial)
        return search


class _Search:
    """What the search and the bounds tell each other."""

    def __init__(self, geometry: Geometry) -> None:
        front = front_layout(geometry)
        #: Sides to be looked at, each in one instrument.
        self.wanted = Signal(2)
        self.wanted_instrument = [Signal(instrument_bits(geometry), name=f"wanted{n}") for n in range(2)]
        #: The side that is looked at, and what was read there a cycle ago.
        self.side = Signal(Side)
        self.instrument = Signal(instrument_bits(geometry))
        self.seen = Signal(front, reset_less=True)
        #: No write that what was read a cycle ago, or two, does not show.
        self.quiet = Signal(2)
        self.still = Signal(2)
        #: What the side becomes, from what was read two cycles ago; that it is written, and was a cycle ago.
        self.learns = Signal()
        self.stores = Signal()
        self.stored = Signal()
        self.learnt = Signal(front, reset_less=True)
