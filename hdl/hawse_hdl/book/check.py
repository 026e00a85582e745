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
    instrument_bits,
    level_bits,
    record_layout,
    rejection_shape,
    row_layout,
    whole_mask,
)

_ALWAYS = (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)
#: RECENTRE is the driver's; LIMIT waits for the gate.
_UNDEFINED = (Opcode.RECENTRE, Opcode.LIMIT)


def verdict_layout(geometry: Geometry) -> data.StructLayout:
    """What a command is, and what is wrong with it before one looks at its order."""
    return data.StructLayout(
        {
            #: Reasons that are checked before and after those about its order; one of them holds.
            "early": rejection_shape(),
            "late": rejection_shape(),
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
    """What an order has in common with the command that names it, see :func:`kinship`."""
    return data.StructLayout({"instrument": 1, "tag": -(-geometry.tag_bits // 2)})


def kinship(geometry: Geometry, order: Any, command: Any, verdict: Any) -> Value:
    """Whether ``order`` is of the command's instrument, and its tag, by pairs of bits, if that counts.

    As far as one gate goes, so that it may stand behind the memory of the orders.
    """
    alike = pairs_alike(order.tag, command.tag[: geometry.tag_bits])
    same_instrument = order.instrument == command.instrument[: instrument_bits(geometry)]
    return Cat(same_instrument, alike | ~verdict.replaces.replicate(len(alike)))


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

        early = (
            (undefined, Reason.OPCODE),
            (command.flags.sequence_class >= len(SequenceClass), Reason.CLASS),
            ((command.tag >> geometry.tag_bits).any(), Reason.TAG),
            (no_instrument, Reason.INSTRUMENT),
            (forbidden, Reason.STATE),
            (outside, Reason.HANDLE),
            (verdict.names & null, Reason.NOT_RESTING),
        )
        late = ((sized & (command.quantity == 0), Reason.QUANTITY), (priced & beyond, Reason.PRICE))
        judged = ~among(*_ALWAYS)
        for target, reasons in ((verdict.early, early), (verdict.late, late)):
            for fails, reason in reversed(reasons):
                with m.If(fails & judged):
                    m.d.comb += target.eq(reason)
        m.d.comb += verdict.bad.eq(judged & Cat(fails for fails, _ in (*early, *late)).any())
        return m


class OrderCheck(wiring.Component):
    """The first reason, if any, for which a command is rejected, once its order is known.

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
                #: There is none beside those of the verdict.
                "clear": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        verdict, record = self.verdict, self.record
        duplicate = Signal()
        missing = Signal()
        alien = Signal()
        not_smaller = Signal()
        m.d.sync += not_smaller.eq(verdict.reduces & ~less(self.command.quantity, record.quantity))
        m.d.comb += [
            duplicate.eq(verdict.enters & record.live),
            missing.eq(verdict.names & ~(record.live & self.kinship.instrument)),
            alien.eq(~self.kinship.tag.all()),
            self.clear.eq(~duplicate & ~missing & ~alien & ~(verdict.reduces & not_smaller)),
        ]
        with m.If(verdict.early != Reason.NONE):
            m.d.comb += self.reason.eq(verdict.early)
        with m.Elif(duplicate):
            m.d.comb += self.reason.eq(Reason.DUPLICATE)
        with m.Elif(missing):
            m.d.comb += self.reason.eq(Reason.NOT_RESTING)
        with m.Elif(alien):
            m.d.comb += self.reason.eq(Reason.OWNER)
        with m.Elif(verdict.reduces & not_smaller):
            m.d.comb += self.reason.eq(Reason.QUANTITY)
        with m.Else():
            m.d.comb += self.reason.eq(verdict.late)
        return m
