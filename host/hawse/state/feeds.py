"""What publishers have signed of an underlying, and the index that it makes.

Times are milliseconds of slot time, prices ticks of the instruments: all that are about one underlying have
the same tick.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hawse.instruments import Underlying
from hawse.risk import prices
from hawse.risk.errors import Code, RiskError
from hawse.wire import Reason

from .slot import Observation, Omission

#: An observation says so much at most: with any bound a mark is an i32.
MOST_INDEX = 1 << 30
_TIME_LIMIT = 1 << 48
_REASONS = {
    Code.PRICE: Reason.OUTLYING,
    Code.NUMBER: Reason.NUMBER,
    Code.TIME: Reason.STALE,
    Code.STALE: Reason.STALE,
    Code.FUTURE: Reason.FUTURE,
    Code.EQUIVOCATION: Reason.EQUIVOCAL,
}


class Unfit(Exception):
    """An observation that no slot may hold; ``reason`` is what its omission says."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(slots=True)
class Feed:
    """What is known of an underlying.

    Attributes:
        terms: the underlying.
        index: the last one that a quorum stood behind, in ticks, 0 before the first.
        time: of the slot in which it was last reckoned anew, 0 before the first.
        counted: observations that counted then.
        observed: the last observation of each publisher.
    """

    terms: Underlying
    index: int = 0
    time: int = 0
    counted: int = 0
    observed: list[prices.Observation | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.observed = self.observed or [None] * len(self.terms.publishers)

    @property
    def valid(self) -> bool:
        """Whether a quorum stands behind the index; where nobody observes, the operator's word is enough."""
        return self.counted >= self.terms.quorum

    def at(self, time: int) -> int | None:
        """The index at a time, by what is known now; None without a quorum."""
        return prices.index(_risk_terms(self.terms), tuple(self.observed), time).value

    def turns(self, after: int, until: int) -> list[int]:
        """Times behind ``after`` up to ``until`` from which on an observation is stale, in order."""
        times = {one.time + self.terms.staleness + 1 for one in self.observed if one is not None}
        return sorted(time for time in times if after < time <= until)

    def reckon(self, now: int, heard: bool) -> bool:
        """The index at ``now``; ``heard``: an observation has come. Returns whether anything is new."""
        if not self.terms.publishers:
            return False
        found = prices.index(_risk_terms(self.terms), tuple(self.observed), now)
        value = self.index if found.value is None else found.value
        if not heard and (value, found.counted) == (self.index, self.counted):
            return False
        self.index, self.counted, self.time = value, found.counted, now
        return True


def _risk_terms(terms: Underlying) -> prices.Feed:
    return prices.Feed(len(terms.publishers), terms.quorum, terms.staleness, terms.ahead, terms.deviation_ppm)


# Observations


def check_observations(
    feeds: Mapping[int, Feed], said: Sequence[Observation], signers: Sequence[bytes | None], now: int
) -> None:
    """Refuse observations of a slot at ``now`` that it may not hold.

    Args:
        feeds: by number of the underlying.
        said: in the order of publisher, feed and number.
        signers: address that signed each, None where none did.

    Raises:
        Unfit: the first of them, and why.
    """
    last: dict[tuple[int, int], prices.Observation | None] = {}
    before = (-1, -1, -1)
    for one, signer in zip(said, signers, strict=True):
        place = (one.publisher, one.feed, one.number)
        if place <= before:
            raise Unfit(Reason.NUMBER, f"publisher, feed, number {place} behind {before}")
        before = place
        _check(feeds, last, one, signer, now)


def sort_out(
    feeds: Mapping[int, Feed], said: Iterable[tuple[Observation, bytes | None]], now: int
) -> tuple[list[Observation], list[Omission], list[Unfit]]:
    """What of observations, each with who signed it, a slot at ``now`` may hold.

    Returns:
        Those that it takes, in order; those that it leaves out, with the reason; and the reason in words.
    """
    last: dict[tuple[int, int], prices.Observation | None] = {}
    taken, omitted, why = [], [], []
    for one, signer in sorted(said, key=lambda pair: (pair[0].publisher, pair[0].feed, pair[0].number)):
        try:
            _check(feeds, last, one, signer, now)
        except Unfit as error:
            omitted.append(Omission(one.publisher, one.feed, one.number, error.reason))
            why.append(error)
        else:
            taken.append(one)
    return taken, omitted, why


def _check(
    feeds: Mapping[int, Feed],
    last: dict[tuple[int, int], prices.Observation | None],
    one: Observation,
    signer: bytes | None,
    now: int,
) -> None:
    """Take an observation into ``last``, by publisher and feed: what each has said in this slot.

    Raises:
        Unfit: it may not be taken.
    """
    feed = feeds.get(one.feed)
    if feed is None:
        raise Unfit(Reason.FEED, f"feed {one.feed}, not of {[*feeds]}")
    publishers = feed.terms.publishers
    if not 0 <= one.publisher < len(publishers):
        raise Unfit(
            Reason.PUBLISHER, f"publisher {one.publisher} of feed {one.feed}, not below {len(publishers)}"
        )
    if signer != publishers[one.publisher]:
        shown, wanted = signer.hex() if signer else "nobody", publishers[one.publisher].hex()
        raise Unfit(Reason.PUBLISHER, f"signed by {shown}, not {wanted}")
    if one.value > MOST_INDEX:
        raise Unfit(Reason.OUTLYING, f"value: {one.value} is above {MOST_INDEX}")
    if one.time >= _TIME_LIMIT:
        raise Unfit(Reason.FUTURE, f"time: {one.time} is not below 2**48")
    place = one.publisher, one.feed
    known: list[prices.Observation | None] = [None] * len(publishers)
    known[one.publisher] = last.get(place, feed.observed[one.publisher])
    fresh = prices.Observation(one.publisher, one.value, one.time, one.number)
    try:
        last[place] = prices.observe(_risk_terms(feed.terms), tuple(known), fresh, now)[one.publisher]
    except RiskError as error:
        raise Unfit(_REASONS[error.code], f"feed {one.feed}: {error}") from error
