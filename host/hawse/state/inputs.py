"""What a sequencer may put into a slot: all that does not depend on accounts and orders."""

import struct
from collections.abc import Mapping, Sequence, Sized
from typing import Protocol

import numpy as np

from hawse.commit.codec import LeafError
from hawse.commit.queues import QueuedRequest
from hawse.instruments import PPM, TIME_LIMIT, Status
from hawse.keys.messages import AUTHORISATIONS, MESSAGE, split
from hawse.wire import Reason

from .config import VenueConfig
from .feeds import Feed, Unfit, check_observations
from .ledger import Account, Market
from .rules import FLAGS, RuleSet, check_flags
from .slot import OperationKind, Request, SlotInput

#: Body of an INTERIM_MARK: instrument, mark in ticks; of a STATE: instrument, its status.
MARK, STATE = struct.Struct(">Hq"), struct.Struct(">HB")
#: Milliseconds of slot time between two marks of an instrument, at least.
MARK_INTERVAL = 250
#: What a slot may not hold yet.
_OPERATIONS = (OperationKind.STATE, OperationKind.RULES, OperationKind.FLAGS, OperationKind.INTERIM_MARK)
_NOT_YET = ("surfaces",)


class StateError(Exception):
    """A call that does not fit the machine's place between slots, or an input that no sequencer may send."""


class Standing(Protocol):
    """Where a machine stands between two slots; what the attributes are, ``hawse.state.machine`` says."""

    config: VenueConfig

    @property
    def markets(self) -> Mapping[int, Market]:
        """By number."""

    @property
    def feeds(self) -> Mapping[int, Feed]:
        """By number of the underlying."""

    @property
    def rules(self) -> RuleSet | None:
        """In force."""

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

    @property
    def request_index(self) -> int:
        """Of the last forced request."""

    def account_of(self, owner: bytes, subaccount: int = 0) -> Account | None:
        """If there is one."""


class SignersOfSlot(Protocol):
    """What of :class:`hawse.state.outcomes.Signers`, packed or not, is looked at here."""

    @property
    def operations(self) -> Sequence[bytes | None]:
        """Of each."""

    @property
    def observations(self) -> Sequence[bytes | None]:
        """Of each."""

    @property
    def commands(self) -> Sized:
        """Of each message."""

    @property
    def structs(self) -> Sized:
        """Of each message."""


def check_slot(at: Standing, slot: SlotInput, signers: SignersOfSlot) -> None:
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
    check_inputs(slot, signers, at)
    for index, deposit in enumerate(slot.deposits, at.deposit_index + 1):
        if deposit.index != index:
            raise StateError(f"deposits: index {deposit.index}, not {index}")
    for index, request in enumerate(slot.requests, at.request_index + 1):
        if request.index != index:
            raise StateError(f"requests: index {request.index}, not {index}")


def check_inputs(slot: SlotInput, signers: SignersOfSlot, at: Standing) -> None:
    """Refuse what no slot may hold.

    Args:
        slot: to be carried out.
        signers: who signed what of it.
        at: where the machine stands; the operator of its venue must have signed the operations.

    Raises:
        StateError: an input that is none, that the operator did not sign, or that comes before its rules.
    """
    for name in _NOT_YET:
        if len(getattr(slot, name)):
            raise StateError(f"{name}: {len(getattr(slot, name))}, but not before there are rules for them")
    _check_prices(slot, signers.observations, at)
    _check_operations(slot, signers.operations, at)
    for deposit in slot.deposits:
        if len(deposit.owner) != 20 or not 0 < deposit.amount < 1 << 64:
            raise StateError(f"deposits: {deposit}: an owner has 20 bytes, an amount is a u64 above 0")
    for request in slot.requests:
        _check_request(request)
    _check_messages(slot, signers)


def _check_prices(slot: SlotInput, signers: Sequence[bytes | None], at: Standing) -> None:
    if len(signers) != len(slot.observations):
        raise StateError(f"observations: {len(slot.observations)}, with {len(signers)} signers")
    if not signers and not slot.omissions:
        return
    try:
        check_observations(at.feeds, slot.observations, signers, slot.time)
    except Unfit as error:
        raise StateError(f"observations: {error.reason.name}, {error}") from None
    for left_out in slot.omissions:
        if not is_of_prices(left_out.reason):
            raise StateError(f"omissions: {left_out.reason.name} is no reason to leave a price out")


def is_of_prices(reason: Reason) -> bool:
    """Whether it may be why an observation or a surface was left out."""
    return Reason.PUBLISHER <= reason < Reason.MARGIN_LOST


def _check_operations(slot: SlotInput, signers: Sequence[bytes | None], at: Standing) -> None:
    config = at.config
    if len(signers) != len(slot.operations):
        raise StateError(f"operations: {len(slot.operations)}, with {len(signers)} signers")
    seen: set[object] = set()
    for operation, signer in zip(slot.operations, signers, strict=True):
        name = OperationKind(operation.kind).name
        if operation.kind not in _OPERATIONS:
            raise StateError(f"operations: a {name}, but not before there are rules for it")
        if signer != config.operator:
            shown = signer.hex() if signer else "nobody"
            what = f"operations: signed for slot {slot.number}"
            raise StateError(f"{what} by {shown}, not {config.operator.hex()}")
        if operation.kind == OperationKind.RULES:
            what = _check_rules(operation.body, at.rules)
        elif operation.kind == OperationKind.FLAGS:
            what = _check_flags(operation.body, at)
        elif operation.kind == OperationKind.STATE:
            what = _check_status(operation.body, at.markets, slot.time)
        else:
            what = _check_mark(operation.body, at.markets, slot.time, config.mark_step_ppm)
        if what in seen:
            raise StateError(f"operations: two {what}")
        seen.add(what)


def _check_rules(body: bytes, before: RuleSet | None) -> str:
    """Whether a version of the rules follows the last; returns what it is about."""
    try:
        rules = RuleSet.decode(body)
    except ValueError as error:
        raise StateError(f"operations: rules, {error}") from None
    number = 1 + (before.number if before else 0)
    if rules.number != number:
        raise StateError(f"operations: rules of number {rules.number}, not {number}")
    return "rules"


def _check_flags(body: bytes, at: Standing) -> str:
    """Whether flags are defined, and somebody's; returns what they are about."""
    if len(body) != FLAGS.size:
        raise StateError(f"operations: flags of {len(body)} bytes, not {FLAGS.size}")
    owner, flags = FLAGS.unpack(body)
    try:
        check_flags(flags)
    except ValueError as error:
        raise StateError(f"operations: {error}") from None
    if at.account_of(owner) is None:
        raise StateError(f"operations: flags of {owner.hex()}, who has no account")
    return f"flags of {owner.hex()}"


def _check_status(body: bytes, markets: Mapping[int, Market], time: int) -> str:
    """Whether an instrument may be opened or closed; returns what it is about."""
    if len(body) != STATE.size:
        raise StateError(f"operations: a status of {len(body)} bytes, not {STATE.size}")
    number, status = STATE.unpack(body)
    if number not in markets:
        raise StateError(f"operations: a status of instrument {number}, not of {[*markets]}")
    if status >= Status.SETTLED:
        raise StateError(
            f"operations: a status of {status} of instrument {number}, not below {Status.SETTLED:d}"
        )
    expiry = markets[number].terms.expiry
    if expiry and time >= expiry:
        raise StateError(f"operations: a status of instrument {number} at {time}, which expired at {expiry}")
    return f"statuses of instrument {number}"


def next_mark(market: Market, wanted: int, time: int, step_ppm: int) -> int:
    """The mark that a slot at ``time`` may set on the way to ``wanted``; the old one if it may set none."""
    if market.mark_time and time < market.mark_time + MARK_INTERVAL:
        return market.mark
    step = _step(market, step_ppm)
    return max(market.mark - step, min(wanted, market.mark + step))


def _step(market: Market, step_ppm: int) -> int:
    return max(1, abs(market.mark) * step_ppm // PPM)


def _check_mark(body: bytes, markets: Mapping[int, Market], time: int, step_ppm: int) -> str:
    """A mark moves at most so far, and so often; returns what it is about."""
    if len(body) != MARK.size:
        raise StateError(f"operations: a mark of {len(body)} bytes, not {MARK.size}")
    number, mark = MARK.unpack(body)
    if number not in markets:
        raise StateError(f"operations: a mark of instrument {number}, not of {[*markets]}")
    market = markets[number]
    what = f"operations: a mark of {mark} of instrument {market.terms.number}"
    if market.feed is not None:
        count = len(market.feed.terms.publishers)
        raise StateError(f"{what}, whose underlying {market.terms.underlying} {count} publishers observe")
    if not -(2**31) <= mark < 2**31:
        raise StateError(f"{what} is not an i32")
    step = _step(market, step_ppm)
    if abs(mark - market.mark) > step:
        raise StateError(f"{what} is {abs(mark - market.mark)} ticks from the last, more than {step}")
    if market.mark_time and time < market.mark_time + MARK_INTERVAL:
        raise StateError(f"{what} comes {time - market.mark_time} ms behind the last, before {MARK_INTERVAL}")
    return f"marks of instrument {number}"


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
    try:
        queued(request).encode()
    except LeafError as error:
        raise StateError(f"requests: {error}") from None


def _check_messages(slot: SlotInput, signers: SignersOfSlot) -> None:
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
