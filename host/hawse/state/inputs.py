"""What a sequencer may put into a slot: all that does not depend on accounts and orders."""

import struct
from collections.abc import Mapping, Sequence
from typing import Protocol

from hawse.instruments import PPM
from hawse.keys.messages import MESSAGE, split
from hawse.wire.dtypes import Array

from .config import VenueConfig
from .ledger import Market
from .outcomes import Signers
from .slot import OperationKind, SlotInput

#: Body of an INTERIM_MARK: instrument, mark in ticks.
MARK = struct.Struct(">Hq")
#: Slot times, in milliseconds, stay below it.
TIME_LIMIT = 1 << 48
#: Milliseconds of slot time between two marks of an instrument, at least.
MARK_INTERVAL = 250
#: What a slot may not hold yet.
_NOT_YET = ("observations", "omissions", "surfaces", "requests", "authorisations")


class StateError(Exception):
    """A call that does not fit the machine's place between slots, or an input that no sequencer may send."""


class Standing(Protocol):
    """Where a machine stands between two slots; what the attributes are, ``hawse.state.machine`` says."""

    config: VenueConfig

    @property
    def markets(self) -> Mapping[int, Market]:
        """By number."""

    @property
    def next_slot(self) -> int:
        """Its number."""

    @property
    def time(self) -> int:
        """Of the last slot."""

    @property
    def batch(self) -> int:
        """In work."""

    @property
    def deposit_index(self) -> int:
        """Of the last deposit."""


def check_slot(at: Standing, slot: SlotInput, signers: Signers) -> None:
    """Refuse a slot that does not follow on, or holds what none may.

    Raises:
        StateError: which field, and why.
    """
    if slot.number != at.next_slot:
        raise StateError(f"number: slot {slot.number}, not {at.next_slot}")
    if not at.time <= slot.time < TIME_LIMIT:
        raise StateError(f"time: {slot.time} is before the last slot's {at.time}, or not below 2**48")
    if slot.closes is not None and slot.closes != at.batch:
        raise StateError(f"closes: batch {slot.closes}, not {at.batch}")
    check_inputs(slot, signers, at.config, at.markets)
    for index, deposit in enumerate(slot.deposits, at.deposit_index + 1):
        if deposit.index != index:
            raise StateError(f"deposits: index {deposit.index}, not {index}")


def check_inputs(
    slot: SlotInput, signers: Signers, config: VenueConfig, markets: Mapping[int, Market]
) -> None:
    """Refuse what no slot may hold.

    Args:
        slot: to be carried out.
        signers: who signed what of it.
        config: of the venue; its operator must have signed the operations.
        markets: of the listed instruments, by number.

    Raises:
        StateError: an input that is none, that the operator did not sign, or that comes before its rules.
    """
    for name in _NOT_YET:
        if len(getattr(slot, name)):
            raise StateError(f"{name}: {len(getattr(slot, name))}, but not before there are rules for them")
    _check_operations(slot, signers.operations, config, markets)
    for deposit in slot.deposits:
        if len(deposit.owner) != 20 or not 0 < deposit.amount < 1 << 64:
            raise StateError(f"deposits: {deposit}: an owner has 20 bytes, an amount is a u64 above 0")
    _check_commands(slot.commands, signers)


def _check_operations(
    slot: SlotInput, signers: Sequence[bytes | None], config: VenueConfig, markets: Mapping[int, Market]
) -> None:
    if len(signers) != len(slot.operations):
        raise StateError(f"operations: {len(slot.operations)}, with {len(signers)} signers")
    seen: set[int] = set()
    for operation, signer in zip(slot.operations, signers, strict=True):
        if operation.kind != OperationKind.INTERIM_MARK:
            name = OperationKind(operation.kind).name
            raise StateError(f"operations: a {name}, but not before there are rules for it")
        if signer != config.operator:
            shown = signer.hex() if signer else "nobody"
            what = f"operations: signed for slot {slot.number}"
            raise StateError(f"{what} by {shown}, not {config.operator.hex()}")
        if len(operation.body) != MARK.size:
            raise StateError(f"operations: a mark of {len(operation.body)} bytes, not {MARK.size}")
        number, mark = MARK.unpack(operation.body)
        if number not in markets:
            raise StateError(f"operations: a mark of instrument {number}, not of {[*markets]}")
        if number in seen:
            raise StateError(f"operations: two marks of instrument {number}")
        seen.add(number)
        _check_mark(mark, markets[number], slot.time, config.mark_step_ppm)


def next_mark(market: Market, wanted: int, time: int, step_ppm: int) -> int:
    """The mark that a slot at ``time`` may set on the way to ``wanted``; the old one if it may set none."""
    if market.mark_time and time < market.mark_time + MARK_INTERVAL:
        return market.mark
    step = _step(market, step_ppm)
    return max(market.mark - step, min(wanted, market.mark + step))


def _step(market: Market, step_ppm: int) -> int:
    return max(1, abs(market.mark) * step_ppm // PPM)


def _check_mark(mark: int, market: Market, time: int, step_ppm: int) -> None:
    """A mark moves at most so far, and so often."""
    what = f"operations: a mark of {mark} of instrument {market.terms.number}"
    if not -(2**31) <= mark < 2**31:
        raise StateError(f"{what} is not an i32")
    step = _step(market, step_ppm)
    if abs(mark - market.mark) > step:
        raise StateError(f"{what} is {abs(mark - market.mark)} ticks from the last, more than {step}")
    if market.mark_time and time < market.mark_time + MARK_INTERVAL:
        raise StateError(f"{what} comes {time - market.mark_time} ms behind the last, before {MARK_INTERVAL}")


def _check_commands(commands: Array, signers: Signers) -> None:
    if commands.dtype != MESSAGE or commands.ndim != 1:
        raise StateError(f"commands: {commands.dtype}, not rows of MESSAGE")
    try:
        count = len(split(commands).starts)
    except ValueError as error:
        raise StateError(f"commands: {error}") from None
    if not count == len(signers.commands) == len(signers.structs):
        given = f"{len(signers.commands)} signers and {len(signers.structs)} struct hashes"
        raise StateError(f"commands: {count} messages, with {given}")
