"""Leaves of the state: what accounts, orders, instruments and the rest are at the end of a slot."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from .codec import (
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U48,
    U64,
    U128,
    Address,
    Bool,
    Counted,
    Hash,
    Leaf,
    LeafError,
    Packed,
    Time,
    prefix,
    unsigned,
)

#: In ``only`` of an account: it may trade every instrument.
ANY_INSTRUMENT = 0xFFFF


@dataclass(frozen=True, slots=True)
class Position(Packed):
    """Lots held of an instrument (negative: short), their value at entry in tick·lots, the funding index."""

    instrument: U16
    lots: I64
    entry: I128
    funding: I128 = 0

    def check(self) -> None:
        """A flat position has no place in a leaf."""
        if not self.lots:
            raise self.refuse("lots", "anything but zero")


@dataclass(frozen=True, slots=True)
class AccountLeaf(Leaf):
    """What exits need of an account. Index 0 is the venue's own: its collateral is the insurance.

    Attributes:
        index: of the account, and of the leaf.
        owner: 20 bytes.
        subaccount: its number with the owner.
        generation: index of the deposit that opened it ‖ 24 bits of the transfer that did.
        asset: of the collateral; 0 is the only one.
        collateral: in quanta.
        mode: margin, 0 cross, 1 portfolio.
        only: the one instrument it may trade, or :data:`ANY_INSTRUMENT`.
        flags: operator, affiliate, allowed, rules; jurisdiction in the upper 16 bits.
        positions: by instrument, ascending.
    """

    PREFIX: ClassVar[bytes] = prefix(0x10)

    index: U32
    owner: Address
    subaccount: U16
    generation: U64
    asset: Annotated[int, unsigned(2, below=1)]
    collateral: I64
    mode: Annotated[int, unsigned(1, below=2)]
    only: U16
    flags: U32
    positions: Annotated[tuple[Position, ...], Counted(32)]

    def check(self) -> None:
        """Positions are in order, none twice."""
        _ascending(self, "positions", [p.instrument for p in self.positions])


@dataclass(frozen=True, slots=True)
class Signer(Packed):
    """Who may sign for an account: its owner, or an agent.

    Attributes:
        address: 20 bytes.
        expiry: until when, in milliseconds; the owner's is 0.
        appointed: sequence number of the appointment; the owner's is 0.
        max_life: of a command, in milliseconds; 0 the usual.
        floor: nonces below it are refused.
        nonces: the highest that were used, ascending.
    """

    address: Address
    expiry: Time
    appointed: U64
    max_life: U32
    floor: U48
    nonces: Annotated[tuple[U48, ...], Counted(64)]

    def check(self) -> None:
        """Nonces are in order, none twice."""
        _ascending(self, "nonces", self.nonces)


@dataclass(frozen=True, slots=True)
class ControlLeaf(Leaf):
    """What changes of an account with every command: who may sign, and what they have signed.

    Attributes:
        index: of the account, and of the leaf.
        transfers: made so far; the number of the next is one more.
        timer: when all its orders are cancelled, 0 never.
        step: steps that its liquidation has had, 0 while it is healthy.
        signers: the owner, then agents as they were appointed.
    """

    PREFIX: ClassVar[bytes] = prefix(0x12)

    index: U32
    transfers: Annotated[int, unsigned(4, below=1 << 24)]
    timer: Time
    step: U32
    signers: Annotated[tuple[Signer, ...], Counted(5)]


@dataclass(frozen=True, slots=True)
class OrderLeaf(Leaf):
    """A resting order; one that ended has no lots, and is in the slot digest alone.

    Attributes:
        instrument, side, price: where it rests; price in ticks.
        queue: sequence number at which it took its place in its level.
        handle: in the engine.
        account: index.
        client_id: its owner's number for it.
        lots: that remain.
        flags: self-trade mode in bits 0–1, reduce-only bit 2, class in bits 5–7.
    """

    PREFIX: ClassVar[bytes] = prefix(0x50)

    instrument: U16
    side: Annotated[int, unsigned(1, below=2)]
    price: I32
    queue: U64
    handle: U32
    account: U32
    client_id: U64
    lots: U32
    flags: U8

    def check(self) -> None:
        """Flags are defined ones."""
        if self.flags & 3 == 3 or self.flags & 0x18 or self.flags >> 5 > 4:
            raise self.refuse("flags", "self-trade below 3, bits 3 and 4 clear, class below 5")

    def place(self) -> tuple[int, int, int, int]:
        """Sorts orders as their tree has them: instrument, side, best price, queue."""
        return self.instrument, self.side, self.price if self.side else -self.price, self.queue


@dataclass(frozen=True, slots=True)
class Bucket(Packed):
    """Sum of weighted marks in one part of the exit window, and the weight."""

    sum: I128 = 0
    weight: U32 = 0


#: Parts of the exit window.
BUCKETS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentLeaf(Leaf):
    """An instrument: what it is, the engine's window, its marks and integrals.

    Attributes:
        number, kind, underlying, template, state: what it is.
        expiry, strike: of futures and options; strike in ticks.
        first, count, base: window of the price axis in the engine.
        mark, mark_time, last_trade: in ticks.
        basis: average of mark over index.
        trade_time: of the last trade's slot, 0 before the first.
        impact_time, impact, impact_total, impact_elapsed: mid of the impact prices since the last mark,
            in 2**-8 ticks: up to when it is integrated, from then on (0: none), integral, how long there was
            one.
        premium_time, premium, premium_until, premium_total, premium_elapsed: the same of the premium since
            the interval began, in 2**-48; ``until`` when it counts, 0: there is none.
        funding_begun, funding_index: when the interval began, and the last index in 2**-8 ticks.
        funding: index per lot, in 2**-28 ticks.
        settlement, settlement_time: integral of the index towards the settlement price, and up to when.
        settlement_elapsed, settlement_heard: time that had an index, and until when there was one.
        settlement_value, settlement_last: the index now, 0 for none, and the last.
        buckets: the exit window's.
        open_interest: lots held long.
        dust: remainders, one for each rounding site: of realised profit in 1/denominator quanta, of funding
            in 2**-28 of that.
    """

    PREFIX: ClassVar[bytes] = prefix(0x62)

    number: U16
    kind: U8
    underlying: U16 = 0
    template: U16 = 0
    state: Annotated[int, unsigned(1, below=4)]
    expiry: Time = 0
    strike: I64 = 0
    first: U32 = 0
    count: U32 = 0
    base: I32 = 0
    mark: I64
    mark_time: Time = 0
    last_trade: I64 = 0
    basis: I128 = 0
    trade_time: Time = 0
    impact_time: Time = 0
    impact: I64 = 0
    impact_total: I128 = 0
    impact_elapsed: Time = 0
    premium_time: Time = 0
    premium: I64 = 0
    premium_until: Time = 0
    premium_total: I128 = 0
    premium_elapsed: Time = 0
    funding_begun: Time = 0
    funding_index: I64 = 0
    funding: I128 = 0
    settlement: I128 = 0
    settlement_time: Time = 0
    settlement_elapsed: U64 = 0
    settlement_heard: Time = 0
    settlement_value: I64 = 0
    settlement_last: I64 = 0
    buckets: Annotated[tuple[Bucket, ...], Counted(BUCKETS, fixed=True)] = (Bucket(),) * BUCKETS
    open_interest: U64 = 0
    dust: Annotated[tuple[U128, ...], Counted(255)] = ()


@dataclass(frozen=True, slots=True)
class Source(Packed):
    """The last that a publisher said of an underlying; ``surface`` is the hash of its volatilities."""

    publisher: U8
    value: I64
    time: Time
    number: U64
    surface: Hash = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderlyingLeaf(Leaf):
    """An index and what is known of it.

    Attributes:
        number: of the underlying.
        index, time, quorum: the price, when, and how many publishers stood behind it.
        variance, grid_time: Q48, and when it was last sampled.
        fraction, fraction_time: maintenance fraction in force, parts per million.
        surface, surface_time: hash of the volatilities in force.
        sources: by publisher, ascending.
    """

    PREFIX: ClassVar[bytes] = prefix(0x63)

    number: U16
    index: I64
    time: Time
    quorum: U8
    variance: U128 = 0
    grid_time: Time = 0
    fraction: U32 = 0
    fraction_time: Time = 0
    surface: Hash = bytes(32)
    surface_time: Time = 0
    sources: Annotated[tuple[Source, ...], Counted(16)] = ()

    def check(self) -> None:
        """Sources are in order, none twice."""
        _ascending(self, "sources", [s.publisher for s in self.sources])


@dataclass(frozen=True, slots=True, kw_only=True)
class TagLeaf(Leaf):
    """An owner's number at the engine, his limits there, and what is used of them."""

    PREFIX: ClassVar[bytes] = prefix(0x64)

    tag: Annotated[int, unsigned(2)]
    owner: Address
    order_size: U64
    open_orders: U64
    open_buy: U64
    open_sell: U64
    commands: U64
    killed: Bool
    credit: U64
    orders: U32
    buy: U64
    sell: U64
    sent: U32

    def check(self) -> None:
        """Tag 0 is nobody's."""
        if not self.tag:
            raise self.refuse("tag", "1 to 65535")


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyLeaf(Leaf):
    """A registered strategy: the Register message's members, and what has become of it; zeros if it is over.

    Attributes:
        place: its number in the tree.
        queue: sequence number of its REGISTER.
        next, done: when it acts next, and lots that it has traded.
        best, fired: of a TRAIL, the best price so far; whether the price was there.
    """

    PREFIX: ClassVar[bytes] = prefix(0x65)

    place: U32
    account: U32
    generation: U64
    client_id: U64
    strategy: U8
    instrument: U16
    side: Annotated[int, unsigned(1, below=2)]
    trigger: U8
    trigger_price: I32
    limit_price: I32
    offset: U32
    quantity: U32
    every: U32
    low: I64
    high: I64
    until: Time
    queue: U64
    next: Time
    done: U64
    best: I64
    fired: Annotated[int, unsigned(1, below=2)]


@dataclass(frozen=True, slots=True)
class WaitingWithdrawal(Leaf):
    """What of a withdrawal is owed yet: ``amount`` quanta to ``owner``, since a slot time."""

    PREFIX: ClassVar[bytes] = prefix(0x66) + b"\x00"

    id: U64
    owner: Address
    asset: Annotated[int, unsigned(2, below=1)]
    amount: U128
    since: Time


@dataclass(frozen=True, slots=True)
class WaitingLegs(Leaf):
    """A multi-leg order that runs in the next slot."""

    PREFIX: ClassVar[bytes] = prefix(0x66) + b"\x01"

    seq: U64
    struct_hash: Hash


@dataclass(frozen=True, slots=True)
class QuarantinedIndex(Leaf):
    """The index of an emptied account, and from which batch on it is given again."""

    PREFIX: ClassVar[bytes] = prefix(0x66) + b"\x02"

    index: U32
    until_batch: U64


#: What waits, in the order of its section: by kind, then by first field.
Waiting = WaitingWithdrawal | WaitingLegs | QuarantinedIndex


def decode_waiting(data: bytes) -> Waiting:
    """The waiting leaf of these bytes.

    Raises:
        LeafError: they are none.
    """
    kinds: dict[bytes, type[Waiting]] = {
        kind.PREFIX: kind for kind in (WaitingWithdrawal, WaitingLegs, QuarantinedIndex)
    }
    kind = kinds.get(data[:3])
    if kind is None:
        raise LeafError("Waiting", "tag, version and kind", data[:3], "660200, 660201 or 660202")
    return kind.decode(data)


@dataclass(frozen=True, slots=True)
class RuleSetLeaf(Leaf):
    """A version of the admission rules, and from which slot on it holds."""

    PREFIX: ClassVar[bytes] = prefix(0x67)

    number: U32
    from_slot: U64
    rules: Hash


def _ascending(record: Packed, field: str, keys: "tuple[int, ...] | list[int]") -> None:
    for before, key in pairwise(keys):
        if key <= before:
            raise LeafError(type(record).__name__, field, f"{key} behind {before}", "in ascending order")
