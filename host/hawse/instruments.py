"""Terms of an instrument: what margin, state and command line share."""

from dataclasses import dataclass
from enum import IntEnum

from hawse.wire.schema import LEAST_WINDOW

#: Parts per million in one.
PPM = 1_000_000
#: So many fractional bits of a tick have prices that are finer, and an index of funding, per lot.
PART_BITS, FUNDING_TICK_BITS = 8, 28
#: In ``underlying`` of an instrument: it has none.
NO_UNDERLYING = 0xFFFF
#: Of an underlying.
MOST_PUBLISHERS = 16
#: Slot times, in milliseconds, stay below it.
TIME_LIMIT = 1 << 48


class Kind(IntEnum):
    """What an instrument pays."""

    PERPETUAL = 0
    FUTURE = 1
    CALL = 2
    PUT = 3


class Status(IntEnum):
    """What may be done with an instrument: CLOSED takes no order, SETTLED is over."""

    CLOSED = 0
    OPEN = 1
    CANCEL_ONLY = 2
    SETTLED = 3


@dataclass(frozen=True, kw_only=True)
class Underlying:
    """What instruments are about, and who says what it is worth, in ticks of theirs.

    Attributes:
        number: 0 to 65,534.
        name: for people, at most 255 bytes of UTF-8.
        publishers: addresses that sign observations, 20 bytes each, none twice, at most 16. Without any, the
            operator says the marks.
        quorum: fresh observations that its index needs; 0 without publishers.
        staleness: milliseconds of slot time after which an observation does not count.
        ahead: milliseconds by which one may be ahead of slot time.
        deviation_ppm: of the median of the fresh ones: what lies farther from it does not count.

    Raises:
        ValueError: a value out of range, with the field named.
    """

    number: int
    name: str
    publishers: tuple[bytes, ...] = ()
    quorum: int = 0
    staleness: int = 10_000
    ahead: int = 1_000
    deviation_ppm: int = 50_000

    def __post_init__(self) -> None:
        known = self.publishers
        for field, low, high in (
            ("number", 0, NO_UNDERLYING - 1),
            ("quorum", 1 if known else 0, len(known)),
            ("staleness", 1, 2**32 - 1),
            ("ahead", 0, 2**32 - 1),
            ("deviation_ppm", 1, PPM),
        ):
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field}: {getattr(self, field)} is not within {low}..{high}")
        if len(known) > MOST_PUBLISHERS or len({*known}) < len(known) or any(len(p) != 20 for p in known):
            shown = [publisher.hex() for publisher in known]
            raise ValueError(
                f"publishers: {shown} are not {MOST_PUBLISHERS} or fewer, of 20 bytes, each once"
            )
        if len(self.name.encode()) > 255:
            raise ValueError(f"name: {self.name!r} is longer than 255 bytes")


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """A linear perpetual or dated future, margined and settled in quanta.

    Attributes:
        number: order book of the engine.
        name: for people, at most 255 bytes of UTF-8.
        numerator, denominator: quanta that one tick·lot is worth. For a tick of 1 USD, a lot of 1e-8 BTC and
            quanta of 1e-6 USD: 1/100.
        initial_margin_ppm: of the notional, 1 to 1,000,000.
        maker_fee_ppm, taker_fee_ppm: of the notional, 0 to 1,000,000.
        first, count: window of the engine's levels; count a power of two from 64 on, first a multiple of it.
        base: lowest price of the band, in ticks; the band has ``count`` ticks.
        first_mark: mark price in ticks until the first slot brings one.
        minimum_quantity: lots that an order has at least.
        minimum_notional: quanta that an order's lots are worth at the mark, at least.
        underlying: number of what it is about, or :data:`NO_UNDERLYING`.
        mark_bound_ppm: of the index, by which mark and basis differ from it at most; below half the
            maintenance fraction.
        maintenance_ppm: of initial margin, below which an account is liquidated, 1 to 1,000,000.
        kind: perpetual or future.
        expiry: slot time from which on a future trades no more, milliseconds since 1970; 0 of a perpetual.
        window: milliseconds before expiry of whose index a future's settlement price is the average.
        patience: milliseconds without an index after which it settles at the average of what there is.
        funding_interval: milliseconds of slot time from one payment of funding to the next; 0 for none.
        funding_cap_ppm: of the index, what an interval costs at most.
        impact_notional: quanta for which impact prices are taken from the book; 0 for none, and no funding.

    Raises:
        ValueError: a value out of range, with the field named.
    """

    number: int
    name: str
    numerator: int
    denominator: int
    initial_margin_ppm: int
    maker_fee_ppm: int
    taker_fee_ppm: int
    first: int = 0
    count: int
    base: int
    first_mark: int
    minimum_quantity: int = 1
    minimum_notional: int = 0
    underlying: int = NO_UNDERLYING
    mark_bound_ppm: int = 0
    maintenance_ppm: int = PPM // 2
    kind: Kind = Kind.PERPETUAL
    expiry: int = 0
    window: int = 0
    patience: int = 0
    funding_interval: int = 0
    funding_cap_ppm: int = 0
    impact_notional: int = 0

    def __post_init__(self) -> None:
        if self.count < LEAST_WINDOW or self.count & (self.count - 1):
            raise ValueError(f"count: {self.count} is not a power of two from {LEAST_WINDOW} on")
        for field, low, high in (
            ("number", 0, 0xFFFE),
            ("numerator", 1, 2**32 - 1),
            ("denominator", 1, 2**32 - 1),
            ("initial_margin_ppm", 1, PPM),
            ("maker_fee_ppm", 0, PPM),
            ("taker_fee_ppm", 0, PPM),
            ("first", 0, 2**32 - self.count),
            ("base", -(2**31), 2**31 - self.count),
            ("first_mark", -(2**31), 2**31 - 1),
            ("minimum_quantity", 1, 2**32 - 1),
            ("minimum_notional", 0, 2**63 - 1),
            ("underlying", 0, NO_UNDERLYING),
            ("mark_bound_ppm", 0, max(0, (self.initial_margin_ppm * self.maintenance_ppm - 1) // (2 * PPM))),
            ("maintenance_ppm", 1, PPM),
            ("funding_interval", 0, 2**32 - 1),
            ("funding_cap_ppm", 0, PPM),
            ("impact_notional", 1 if self.funding_interval else 0, 2**63 - 1),
        ):
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field}: {getattr(self, field)} is not within {low}..{high}")
        if self.kind not in (Kind.PERPETUAL, Kind.FUTURE):
            raise ValueError(f"kind: {self.kind!r} is neither a perpetual nor a future")
        dated = self.kind == Kind.FUTURE
        for field, most in (("expiry", TIME_LIMIT - 1), ("window", self.expiry), ("patience", 2**32 - 1)):
            low, high = (1, most) if dated else (0, 0)
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field}: {getattr(self, field)} is not within {low}..{high}")
        if dated and self.funding_interval:
            raise ValueError(f"funding_interval: {self.funding_interval} of a future, which has no funding")
        if self.first % self.count:
            raise ValueError(f"first: {self.first} is not a multiple of count, {self.count}")
        if len(self.name.encode()) > 255:
            raise ValueError(f"name: {self.name!r} is longer than 255 bytes")
