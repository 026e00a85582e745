"""Whether a command can be carried out, by the rules' order of checking."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from hawse.wire import (
    ALL_INSTRUMENTS,
    NULL_HANDLE,
    Geometry,
    InstrumentState,
    Limit,
    Opcode,
    Reason,
    SequenceClass,
    TimeInForce,
)

from .. import layouts
from ..compare import less, pairs_alike
from .layouts import (
    first_level,
    judgement_layout,
    level_bits,
    record_layout,
    rejection_shape,
    row_layout,
    whole_mask,
)

_ALWAYS = (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)
#: What can be wrong with a command, whatever rests: all but DUPLICATE, OWNER and WINDOW.
_FAILS = (
    Reason.OPCODE,
    Reason.CLASS,
    Reason.TAG,
    Reason.INSTRUMENT,
    Reason.STATE,
    Reason.HANDLE,
    Reason.NOT_RESTING,
    Reason.QUANTITY,
    Reason.PRICE,
)


def _fails(gate: bool) -> tuple[Reason, ...]:
    """Of an engine with or without a gate: only there LIMIT is defined."""
    return (*_FAILS, Reason.WHAT) if gate else _FAILS


def verdict_layout(geometry: Geometry, gate: bool = False) -> data.StructLayout:
    """What a command is, and what is wrong with it before one looks at its order."""
    return data.StructLayout(
        {
            #: Which of the reasons hold that can be told without the order that it names; one of them does.
            "fails": data.StructLayout({reason.name: 1 for reason in _fails(gate)}),
            #: One of them holds, PRICE apart: that comes too late.
            "bad": 1,
            #: It brings an order with a handle of its own; it names a resting one.
            "enters": 1,
            "names": 1,
            "is_new": 1,
            "cancels": 1,
            "replaces": 1,
            "reduces": 1,
            #: Anything but NEW, CANCEL, REPLACE and REDUCE.
            "rare": 1,
            #: Takes two passes: REPLACE, REDUCE, and NEW that cannot rest.
            "twice": 1,
            #: Level of its price in the pool, if that is inside the window.
            "level": level_bits(geometry),
            **({"judgement": judgement_layout()} if gate else {}),
        }
    )


def kinship_layout(geometry: Geometry, gate: bool = False) -> data.StructLayout:
    """What sets a command apart from the order that it names: the one that was read, or another instead.

    Memory answers last, so that no more than one gate looks at what was read; of another order all is known.
    """
    return data.StructLayout(
        {
            #: The order that was read is of another instrument, or of another tag, in these pairs of bits; or
            #: of another side, which counts if there is a gate, because a REPLACE draws from one.
            #: Clear if that does not count, for another order does, or the command asks for neither.
            "elsewhere": 1,
            "differs": -(-(geometry.tag_bits + gate) // 2),
            #: Another order counts, and is of another instrument, or of another tag.
            "stranger": 1,
            "alien": 1,
            #: One of these, or the verdict, rejects the command.
            "rejects": 1,
        }
    )


def same_instrument(order: Any, command: Any) -> Value:
    """Whether ``order`` rests in the command's instrument."""
    return order.instrument == command.instrument[: len(order.instrument)]


def alike_tags(order: Any, command: Any, gate: bool) -> Value:
    """Of every two bits of the tags of ``order`` and command, and of sides with a gate: are they alike?"""
    own, named = order.tag, command.tag[: len(order.tag)]
    if gate:
        own, named = Cat(own, order.side), Cat(named, command.flags.side)
    return pairs_alike(own, named)


def check_limit(command: Any) -> tuple[Value, Value]:
    """Of a LIMIT: whether its value is one that cannot be, and whether nobody knows what it sets."""
    what, high = command.handle, command.token
    all_ones = Cat(command.quantity, high).all()
    beyond = high[-1]
    bad = (
        ((what == Limit.KILL) & (command.quantity[1:].any() | high.any()))
        | ((what == Limit.GRANT) & beyond & ~all_ones)
        | ((what == Limit.REVOKE) & beyond)
        | ((what == Limit.RATE) & high.any())
    )
    return bad, ~what.matches(*Limit)


def is_rate(command: Any) -> Value:
    """Whether it is a LIMIT that sets a rate: only the book knows whether that is taken."""
    return (command.opcode == Opcode.LIMIT) & (command.handle == Limit.RATE)


class Check(wiring.Component):
    """What can be said of a command without its order.

    Latency: none, combinational. Initiation interval: 1. Ordering: that of its inputs. Reset: no state.
    Back-pressure: none.
    """

    def __init__(self, geometry: Geometry, gate: bool = False) -> None:
        self.geometry = geometry
        self.gate = gate
        super().__init__(
            {
                "command": In(layouts.COMMAND),
                **({"judgement": In(judgement_layout())} if gate else {}),
                #: What the command's instrument is in.
                "row": In(row_layout(geometry)),
                "verdict": Out(verdict_layout(geometry, gate)),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        command, row, verdict = self.command, self.row, self.verdict
        opcode = command.opcode

        def among(*opcodes: Opcode) -> Any:
            return opcode.matches(*opcodes)

        # A window is aligned to itself, so what is outside it differs from its first level above its mask.
        level, beyond = Signal(32), Signal()
        inside = level_bits(geometry)
        differs = (level[:inside] ^ first_level(row.first)) & ~whole_mask(row.mask)
        m.d.comb += [
            level.eq(command.price - row.origin),
            beyond.eq(~row.windowed | differs.any() | level[inside:].any()),
        ]
        no_rest = command.flags.time_in_force.matches(TimeInForce.IOC, TimeInForce.FOK)
        m.d.comb += [
            verdict.level.eq(level),
            verdict.enters.eq(among(Opcode.NEW, Opcode.LOAD)),
            verdict.names.eq(among(Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE)),
            verdict.is_new.eq(among(Opcode.NEW)),
            verdict.cancels.eq(among(Opcode.CANCEL)),
            verdict.replaces.eq(among(Opcode.REPLACE)),
            verdict.reduces.eq(among(Opcode.REDUCE)),
            verdict.rare.eq(~among(Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE)),
            verdict.twice.eq(among(Opcode.REPLACE, Opcode.REDUCE) | (among(Opcode.NEW) & no_rest)),
        ]

        undefined = Signal()
        no_instrument = Signal()
        all_instruments = Signal()
        m.d.comb += [
            undefined.eq(
                ~among(*(code for code in Opcode if code not in self._undefined()))
                | (command.flags.self_trade == 3)
                | (among(Opcode.STATE) & (command.quantity >= len(InstrumentState)))
            ),
            all_instruments.eq(among(Opcode.MASS_CANCEL) & (command.instrument == ALL_INSTRUMENTS)),
            no_instrument.eq((command.instrument >= geometry.instruments) & ~all_instruments),
        ]

        forbidden = Signal()
        with m.Switch(opcode):
            with m.Case(Opcode.NEW, Opcode.REPLACE):
                m.d.comb += forbidden.eq(row.state != InstrumentState.OPEN)
            with m.Case(Opcode.CANCEL, Opcode.REDUCE, Opcode.MASS_CANCEL):
                cancels = row.state.matches(InstrumentState.OPEN, InstrumentState.CANCEL_ONLY)
                m.d.comb += forbidden.eq(~cancels & ~all_instruments)
            with m.Case(Opcode.LOAD):
                m.d.comb += forbidden.eq(row.state != InstrumentState.LOADING)
            if self.gate:
                with m.Case(Opcode.LIMIT):
                    rate = command.handle == Limit.RATE
                    m.d.comb += forbidden.eq(rate & (row.state != InstrumentState.LOADING))

        null = command.handle == NULL_HANDLE
        outside = (command.handle >= geometry.orders) & (verdict.enters | (verdict.names & ~null))
        priced = verdict.enters | among(Opcode.REPLACE)
        sized = priced | verdict.reduces

        fails = {
            Reason.OPCODE: undefined,
            Reason.CLASS: command.flags.sequence_class >= len(SequenceClass),
            Reason.TAG: (command.tag >> geometry.tag_bits).any(),
            Reason.INSTRUMENT: no_instrument,
            Reason.STATE: forbidden,
            Reason.HANDLE: outside,
            Reason.NOT_RESTING: verdict.names & null,
            Reason.QUANTITY: sized & (command.quantity == 0),
            Reason.PRICE: priced & beyond,
        }
        breached: Value = Const(0, 0)
        if self.gate:
            bad, unknown = check_limit(command)
            fails[Reason.QUANTITY] |= among(Opcode.LIMIT) & bad
            fails[Reason.WHAT] = among(Opcode.LIMIT) & unknown
            m.d.comb += verdict.judgement.eq(self.judgement)
            breached = self.judgement.breached
        m.d.comb += [verdict.fails[reason.name].eq(fails[reason]) for reason in _fails(self.gate)]
        soon = Cat(*(fails[reason] for reason in _fails(self.gate) if reason != Reason.PRICE), breached)
        m.d.comb += verdict.bad.eq(soon.any() & ~among(*_ALWAYS))
        return m

    def _undefined(self) -> tuple[Opcode, ...]:
        """RECENTRE is the driver's."""
        return (Opcode.RECENTRE,) if self.gate else (Opcode.RECENTRE, Opcode.LIMIT)


class OrderCheck(wiring.Component):
    """Whether a command is rejected, once its order is known, and the first reason, if it is.

    Not checked: the window of a STATE(loading), and a LOAD onto a level at which the other side rests.

    Latency: none, but for what is said of a quantity: that of the cycle before. Initiation interval: 1.
    Ordering: that of its inputs. Reset: no state. Back-pressure: none.
    """

    def __init__(self, geometry: Geometry, gate: bool = False) -> None:
        self.gate = gate
        super().__init__(
            {
                "verdict": In(verdict_layout(geometry, gate)),
                "command": In(layouts.COMMAND),
                #: What the store holds at the command's handle, and what they have in common.
                "record": In(record_layout(geometry)),
                "kinship": In(kinship_layout(geometry, gate)),
                "reason": Out(rejection_shape(gate)),
                #: There is none.
                "accepts": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        verdict, record, kinship = self.verdict, self.record, self.kinship
        duplicate = Signal()
        missing = Signal()
        alien = Signal()
        not_smaller = Signal()
        m.d.sync += not_smaller.eq(verdict.reduces & ~less(self.command.quantity, record.quantity))
        m.d.comb += [
            duplicate.eq(verdict.enters & record.live),
            missing.eq((verdict.names & ~record.live) | kinship.elsewhere | kinship.stranger),
            alien.eq(kinship.differs.any()),
            self.accepts.eq(
                ~kinship.rejects
                & ~duplicate
                & ~(verdict.names & ~record.live)
                & ~kinship.elsewhere
                & ~alien
                & ~(verdict.reduces & not_smaller)
            ),
        ]
        fails = {reason: verdict.fails[reason.name] for reason in _fails(self.gate)}
        fails[Reason.DUPLICATE] = duplicate
        fails[Reason.NOT_RESTING] |= missing
        fails[Reason.OWNER] = alien | kinship.alien
        fails[Reason.QUANTITY] |= verdict.reduces & not_smaller
        if self.gate:  # behind all others
            with m.If(verdict.judgement.breached):
                m.d.comb += self.reason.eq(Cat(verdict.judgement.reason, Const(Reason.KILLED >> 3, 3)))
        for reason in sorted(fails, reverse=True):  # the first that is checked counts
            with m.If(fails[reason]):
                m.d.comb += self.reason.eq(reason)
        return m
