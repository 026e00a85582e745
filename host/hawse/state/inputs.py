"""What a sequencer may put into a slot: all that does not depend on accounts and orders."""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from hawse.commit.codec import LeafError
from hawse.commit.queues import QueuedRequest
from hawse.instruments import PPM
from hawse.keys.messages import AUTHORISATIONS, MESSAGE, split

from .config import VenueConfig
from .ledger import Market
from .outcomes import Signers
from .slot import OperationKind, Request, RequestKind, SlotInput

#: Body of an INTERIM_MARK: instrument, mark in ticks.
MARK = struct.Struct(">Hq")
#: Slot times, in milliseconds, stay below it.
TIME_LIMIT = 1 << 48
#: Milliseconds of slot time between two marks of an instrument, at least.
MARK_INTERVAL = 250
#: What a slot may not hold yet.
_NOT_YET = ("observations", "omissions", "surfaces")


class StateError(Exception):
    """A call that does not fit the machine's place between slots, or an input that no sequencer may send."""


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
    for request in slot.requests:
        _check_request(request)
    _check_messages(slot, signers)


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


def queued(request: Request) -> QueuedRequest:
    """A forced request as the contract's queue has it.

    Raises:
        LeafError: a field that the contract's types cannot hold.
    """
    return QueuedRequest(
        number=request.index,
        kind=request.kind,
        owner=request.owner,
        account=request.account,
        generation=request.generation,
        amount=request.amount,
        agent=request.agent,
        expiry=request.expiry,
        time=request.time,
    )


def _check_request(request: Request) -> None:
    if request.kind != RequestKind.APPOINT:
        name = RequestKind(request.kind).name
        raise StateError(f"requests: {name} {request.index}, but not before there are rules for it")
    try:
        queued(request).encode()
    except LeafError as error:
        raise StateError(f"requests: {error}") from None


def _check_messages(slot: SlotInput, signers: Signers) -> None:
    count = 0
    for name in ("authorisations", "commands"):
        rows = getattr(slot, name)
        if rows.dtype != MESSAGE or rows.ndim != 1:
            raise StateError(f"{name}: {rows.dtype}, not rows of MESSAGE")
        try:
            starts = split(rows).starts
        except ValueError as error:
            raise StateError(f"{name}: {error}") from None
        if name == "authorisations" and not np.isin(rows["kind"][starts], [*AUTHORISATIONS]).all():
            kinds = sorted(set(rows["kind"][starts].tolist()))
            raise StateError(f"authorisations: kinds {kinds}, not of {sorted(map(int, AUTHORISATIONS))}")
        count += len(starts)
    if not count == len(signers.commands) == len(signers.structs):
        given = f"{len(signers.commands)} signers and {len(signers.structs)} struct hashes"
        raise StateError(f"commands: {count} messages, with {given}")
