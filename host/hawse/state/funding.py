"""Impact prices of the book, and funding: what the long side of a perpetual pays the short one.

Behind each slot the resting orders give impact prices, which hold until the next. Prices are in parts of a
tick, 2**-:data:`PART_BITS`; times are milliseconds of slot time.
"""

from collections.abc import Iterator
from dataclasses import replace

from hawse.instruments import PART_BITS, PPM
from hawse.risk import funding as risk
from hawse.risk.fixed import MOST, ONE, Rounding
from hawse.risk.funding import Funding, FundingTerms
from hawse.risk.prices import MOST_PRICE, clamp, impact_price
from hawse.wire import Reason, Side

from .feeds import MOST_INDEX
from .ledger import INSURANCE, Ledger, Market, Order
from .slot import Event


def terms_of(market: Market) -> FundingTerms:
    """How funding is reckoned: an index that is not said anew counts as long as an observation of it."""
    interval, most = market.terms.funding_interval, market.terms.funding_cap_ppm * ONE // PPM
    hold = interval if market.feed is None else min(interval, market.feed.terms.staleness)
    return FundingTerms(interval, hold, ONE, most)


def accrue(ledger: Ledger, now: int) -> Iterator[tuple[int, tuple[Event, Event]]]:
    """Integrate premiums up to a slot's beginning, and let each interval that has ended be paid.

    Yields:
        Instrument and events of an interval with a rate: the rate and the index of funding behind it; dust,
        and how many parts of it are a quantum.
    """
    for number, market in ledger.markets.items():
        if not market.terms.funding_interval:
            continue
        terms = terms_of(market)
        while now - market.funding.begun >= terms.interval:
            if market.funding.premium.value is None and not market.funding.premium.elapsed:
                break
            market.funding, rate = risk.close(terms, market.funding)
            if rate is not None:
                paid = Event(Reason.FUNDING, INSURANCE, number, rate, market.funding.cumulative)
                dust = Event(
                    Reason.FUNDING_DUST, INSURANCE, number, market.funding_dust, market.funding_parts
                )
                yield number, (paid, dust)
        market.funding = _calm(risk.advance(terms, market.funding, now))
        ledger.priced.add(number)


def quote(ledger: Ledger, now: int) -> None:
    """Take the impact prices of the books behind a slot: they hold from ``now`` on."""
    for number, market in ledger.markets.items():
        if not market.terms.impact_notional:
            continue
        index = _index(market)
        bid, ask = (None, None) if index is None else impact_prices(ledger, market, index)
        both = bid is not None and ask is not None
        market.impact = market.impact.step(now, (bid + ask) // 2 if both else None)  # type: ignore[operator]
        if market.terms.funding_interval:
            premium = None if index is None else risk.premium(index, bid, ask)
            market.funding = _calm(risk.observe(terms_of(market), market.funding, now, index, premium))
        ledger.priced.add(number)


def impact_prices(ledger: Ledger, market: Market, index: int) -> tuple[int | None, int | None]:
    """Mean prices at which lots worth ``impact_notional`` at the index would be sold and bought now."""
    terms = market.terms
    worth = index * terms.numerator
    lots = max(1, -(-(terms.impact_notional * terms.denominator << PART_BITS) // worth))
    if lots > MOST:
        return None, None
    sides: tuple[list[Order], list[Order]] = [], []
    for order in ledger.orders.values():
        if order.instrument == terms.number:
            sides[order.side].append(order)
    found = []
    for side, rounding in ((Side.BUY, Rounding.FLOOR), (Side.SELL, Rounding.CEILING)):
        levels = [(o.price << PART_BITS, o.remaining) for o in sorted(sides[side], key=Order.place)]
        price = impact_price(levels, lots, rounding)
        found.append(None if price is None else clamp(price, 1, MOST_PRICE))
    return found[0], found[1]


def _index(market: Market) -> int | None:
    """What stands behind it now; where nobody observes, the operator's mark is the index."""
    value = market.mark if market.feed is None else market.feed.index
    return value << PART_BITS if market.valid and 1 <= value <= MOST_INDEX else None


def _calm(state: Funding) -> Funding:
    """Where there is no premium, there is no end of it."""
    return replace(state, until=0) if state.premium.value is None else state
