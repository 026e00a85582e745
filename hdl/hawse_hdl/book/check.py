"""Whether a command can be carried out, by the rules' order of checking."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from hawse.wire import ALL_INSTRUMENTS, NULL_HANDLE, Geometry, InstrumentState, Opcode, Reason, TimeInForce

from .. import layouts
from ..compare import less
from .layouts import record_layout

_ALWAYS = (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)


def verdict_layout(geometry: Geometry) -> data.StructLayout:
    """What a command is, and what is wrong with it before one looks at its order."""
    return data.StructLayout(
        {
            #: Reasons that are checked before and after those about its order; one of them holds.
            "early": Reason,
            "late": Reason,
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
            #: Level of its price in the band, if inside.
            "level": ceil_log2(geometry.levels),
        }
    )


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
                #: State and base of the command's instrument.
                "state": In(InstrumentState),
                "base": In(32),
                "verdict": Out(verdict_layout(geometry)),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        command, verdict = self.command, self.verdict
        opcode = command.opcode

        def among(*opcodes: Opcode) -> Any:
            return opcode.matches(*opcodes)

        level = Signal(33)
        m.d.comb += level.eq(command.price - self.base.as_signed())
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
            verdict.bad.eq((verdict.early != Reason.NONE) | (verdict.late != Reason.NONE)),
        ]

        undefined = Signal()
        no_instrument = Signal()
        all_instruments = Signal()
        m.d.comb += [
            undefined.eq(
                ~among(*(code for code in Opcode if code != Opcode.RECENTRE))
                | command.flags.zero.any()
                | (command.flags.self_trade == 3)
                | (command.account >> geometry.account_bits).any()
                | (among(Opcode.STATE) & (command.quantity >= len(InstrumentState)))
            ),
            all_instruments.eq(among(Opcode.MASS_CANCEL) & (command.instrument == ALL_INSTRUMENTS)),
            no_instrument.eq((command.instrument >= geometry.instruments) & ~all_instruments),
        ]

        forbidden = Signal()
        with m.Switch(opcode):
            with m.Case(Opcode.NEW, Opcode.REPLACE):
                m.d.comb += forbidden.eq(self.state != InstrumentState.OPEN)
            with m.Case(Opcode.CANCEL, Opcode.REDUCE, Opcode.MASS_CANCEL):
                cancels = self.state.matches(InstrumentState.OPEN, InstrumentState.CANCEL_ONLY)
                m.d.comb += forbidden.eq(~cancels & ~all_instruments)
            with m.Case(Opcode.LOAD):
                m.d.comb += forbidden.eq(self.state != InstrumentState.LOADING)

        null = command.handle == NULL_HANDLE
        outside = (command.handle >= geometry.orders) & (verdict.enters | (verdict.names & ~null))
        priced = verdict.enters | among(Opcode.REPLACE)
        sized = priced | verdict.reduces

        def choose(target: Any, *reasons: tuple[Any, Reason]) -> None:
            for fails, reason in reversed(reasons):
                with m.If(fails & ~among(*_ALWAYS)):
                    m.d.comb += target.eq(reason)

        choose(
            verdict.early,
            (undefined, Reason.OPCODE),
            (no_instrument, Reason.INSTRUMENT),
            (forbidden, Reason.STATE),
            (outside, Reason.HANDLE),
            (verdict.names & null, Reason.NOT_RESTING),
        )
        choose(
            verdict.late,
            (sized & (command.quantity == 0), Reason.QUANTITY),
            (priced & (level >> ceil_log2(geometry.levels)).any(), Reason.PRICE),
        )
        return m


class OrderCheck(wiring.Component):
    """The first reason, if any, for which a command is rejected, once its order is known.

    Not checked: a LOAD onto a level at which the other side rests.

    Latency: none, but for what is said of a quantity: that of the cycle before. Initiation interval: 1.
    Ordering: that of its inputs. Reset: no state. Back-pressure: none.
    """

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(
            {
                "verdict": In(verdict_layout(geometry)),
                "command": In(layouts.COMMAND),
                #: What the store holds at the command's handle; that it rests in the command's instrument.
                "record": In(record_layout(geometry)),
                "fits": In(1),
                "reason": Out(Reason),
                #: There is none beside those of the verdict.
                "clear": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        verdict, record = self.verdict, self.record
        duplicate = Signal()
        missing = Signal()
        not_smaller = Signal()
        m.d.sync += not_smaller.eq(verdict.reduces & ~less(self.command.quantity, record.quantity))
        m.d.comb += [
            duplicate.eq(verdict.enters & record.live),
            missing.eq(verdict.names & ~self.fits),
            self.clear.eq(~duplicate & ~missing & ~(verdict.reduces & not_smaller)),
        ]
        with m.If(verdict.early != Reason.NONE):
            m.d.comb += self.reason.eq(verdict.early)
        with m.Elif(duplicate):
            m.d.comb += self.reason.eq(Reason.DUPLICATE)
        with m.Elif(missing):
            m.d.comb += self.reason.eq(Reason.NOT_RESTING)
        with m.Elif(verdict.reduces & not_smaller):
            m.d.comb += self.reason.eq(Reason.QUANTITY)
        with m.Else():
            m.d.comb += self.reason.eq(verdict.late)
        return m
