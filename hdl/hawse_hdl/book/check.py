"""Whether a command can be carried out, by the rules' order of checking."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from hawse.wire import (
    ALL_INSTRUMENTS,
    NULL_HANDLE,
    Geometry,
    InstrumentState,
    Opcode,
    Reason,
    SequenceClass,
    TimeInForce,
)

from .. import layouts
from ..compare import less, pairs_alike
from .layouts import (
    first_level,
    level_bits,
    record_layout,
    rejection_shape,
    row_layout,
    whole_mask,
)

_ALWAYS = (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)
#: RECENTRE is the driver's; LIMIT waits for the gate.
_UNDEFINED = (Opcode.RECENTRE, Opcode.LIMIT)
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


def verdict_layout(geometry: Geometry) -> data.StructLayout:
    """What a command is, and what is wrong with it before one looks at its order."""
    return data.StructLayout(
        {
            #: Which of the reasons hold that can be told without the order that it names; one of them does.
            "fails": data.StructLayout({reason.name: 1 for reason in _FAILS}),
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
        }
    )


def kinship_layout(geometry: Geometry) -> data.StructLayout:
    """What sets a command apart from the order that it names: the one that was read, or another instead.

    Memory answers last, so that no more than one gate looks at what was read; of another order all is known.
    """
    return data.StructLayout(
        {
            #: The order that was read is of another instrument, or of another tag, in these pairs of bits.
            #: Clear if that does not count, for another order does, or the command asks for neither.
            "elsewhere": 1,
            "differs": -(-geometry.tag_bits // 2),
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


def alike_tags(order: Any, command: Any) -> Value:
    """Of every two bits of the tags of ``order`` and command, whether they are equal."""
    return pairs_alike(order.tag, command.tag[: len(order.tag)])


class Check(wiring.Component):
    """What can be said of a command without its order.

    Latency: none, combinational. Initiation interval: 1. Ordering: that of its inputs. Reset: no state.
    Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        super().__init__(
            {
                "command": In(layouts.COMMAND),
                #: What the command's instrument is in.
                "row": In(row_layout(geometry)),
                "verdict": Out(verdict_layout(geometry)),
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
                ~among(*(code for code in Opcode if code not in _UNDEFINED))
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
        m.d.comb += [verdict.fails[reason.name].eq(fails[reason]) for reason in _FAILS]
        soon = Cat(fails[reason] for reason in _FAILS if reason != Reason.PRICE)
        m.d.comb += verdict.bad.eq(soon.any() & ~among(*_ALWAYS))
        return m


class OrderCheck(wiring.Component):
    """Whether a command is rejected, once its order is known, and the first reason, if it is.

    Not checked: the window of a STATE(loading), and a LOAD onto a level at which the other side rests.

    Latency: none, but for what is said of a quantity: that of the cycle before. Initiation interval: 1.
    Ordering: that of its inputs. Reset: no state. Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(
            {
                "verdict": In(verdict_layout(geometry)),
                "command": In(layouts.COMMAND),
                #: What the store holds at the command's handle, and what they have in common.
                "record": In(record_layout(geometry)),
                "kinship": In(kinship_layout(geometry)),
                "reason": Out(rejection_shape()),
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
        fails = {reason: verdict.fails[reason.name] for reason in _FAILS}
        fails[Reason.DUPLICATE] = duplicate
        fails[Reason.NOT_RESTING] |= missing
        fails[Reason.OWNER] = alien | kinship.alien
        fails[Reason.QUANTITY] |= verdict.reduces & not_smaller
        for reason in sorted(fails, reverse=True):  # the first that is checked counts
            with m.If(fails[reason]):
                m.d.comb += self.reason.eq(reason)
        return m
