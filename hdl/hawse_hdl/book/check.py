"""Whether a command can be carried out, by the rules' order of checking."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from hawse.wire import ALL_INSTRUMENTS, NULL_HANDLE, Geometry, InstrumentState, Opcode, Reason

from .. import layouts
from .store import body_layout


class Check(wiring.Component):
    """The first reason, if any, for which a command is rejected.

    Not checked here: a LOAD onto a level at which the other side rests, which takes a look at the level.

    Latency: none, combinational.
    Initiation interval: 1.
    Ordering: that of its inputs.
    Reset: no state.
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
                #: The order at the command's handle.
                "body": In(body_layout(geometry)),
                "quantity": In(32),
                #: NONE: carry it out.
                "reason": Out(Reason),
                #: Level of the command's price in the band, if it is inside.
                "level": Out(ceil_log2(geometry.levels)),
            }
        )

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        geometry = self.geometry
        command = self.command
        opcode = command.opcode

        def among(*opcodes: Opcode) -> Any:
            return opcode.matches(*opcodes)

        level = Signal(33)
        names_order = Signal()
        null = Signal()
        m.d.comb += [
            level.eq(command.price - self.base.as_signed()),
            self.level.eq(level),
            names_order.eq(among(Opcode.CANCEL, Opcode.REPLACE, Opcode.REDUCE)),
            null.eq(command.handle == NULL_HANDLE),
        ]

        undefined = Signal()
        m.d.comb += undefined.eq(
            ~among(*(code for code in Opcode if code != Opcode.RECENTRE))
            | command.flags.zero.any()
            | (command.flags.self_trade == 3)
            | (command.account >> geometry.account_bits).any()
            | (among(Opcode.STATE) & (command.quantity >= len(InstrumentState)))
        )
        no_instrument = Signal()
        all_instruments = Signal()
        m.d.comb += [
            all_instruments.eq(among(Opcode.MASS_CANCEL) & (command.instrument == ALL_INSTRUMENTS)),
            no_instrument.eq((command.instrument >= geometry.instruments) & ~all_instruments),
        ]

        forbidden = Signal()
        with m.Switch(opcode):
            with m.Case(Opcode.NEW, Opcode.REPLACE):
                m.d.comb += forbidden.eq(self.state != InstrumentState.OPEN)
            with m.Case(Opcode.CANCEL, Opcode.REDUCE, Opcode.MASS_CANCEL):
                cancels = (self.state == InstrumentState.OPEN) | (self.state == InstrumentState.CANCEL_ONLY)
                m.d.comb += forbidden.eq(~cancels & ~all_instruments)
            with m.Case(Opcode.LOAD):
                m.d.comb += forbidden.eq(self.state != InstrumentState.LOADING)

        enters = among(Opcode.NEW, Opcode.LOAD)
        no_handle = (command.handle >= geometry.orders) & (enters | (names_order & ~null))
        rests = self.quantity.any()
        not_resting = names_order & (null | ~rests | (self.body.instrument != command.instrument))
        sized = enters | among(Opcode.REPLACE, Opcode.REDUCE)
        bad_quantity = sized & (
            (command.quantity == 0) | (among(Opcode.REDUCE) & (command.quantity >= self.quantity))
        )
        priced = enters | among(Opcode.REPLACE)
        bad_price = priced & (level >> ceil_log2(geometry.levels)).any()

        with m.If(among(Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)):
            m.d.comb += self.reason.eq(Reason.NONE)
        for fails, reason in reversed(
            (
                (undefined, Reason.OPCODE),
                (no_instrument, Reason.INSTRUMENT),
                (forbidden, Reason.STATE),
                (no_handle, Reason.HANDLE),
                (enters & rests, Reason.DUPLICATE),
                (not_resting, Reason.NOT_RESTING),
                (bad_quantity, Reason.QUANTITY),
                (bad_price, Reason.PRICE),
            )
        ):
            with m.If(fails & ~among(Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)):
                m.d.comb += self.reason.eq(reason)
        return m
