"""The native functions of prices, funding and liquidation, one call at a time, on the golden dataclasses.

They do what the golden functions of the same name do: a state comes back anew; what the golden one refuses
is refused with its code. The native state machine calls the C++ functions themselves; this is for tests, and
for whoever wants both forms side by side.
"""

from collections.abc import Sequence
from ctypes import Structure, byref, c_int64, c_uint64, c_void_p
from typing import Any

import numpy as np

from hawse.risk import funding, liquidation, options, prices, settlement, volatility
from hawse.risk.errors import Code, RiskError
from hawse.risk.liquidation import LiquidationTerms, Opposite, Share, Taken, Unhealthy
from hawse.risk.portfolio import Position, Scenario, Scenarios
from hawse.risk.requirements import Held, Market, Terms

from . import accounts
from .bindings import NativeSurface, Rows, loaded


class Refused(RiskError):
    """The native form gave this code; it has no text."""

    def __init__(self, code: Code) -> None:
        super().__init__(code, f"code {int(code)}: {code.name}")


def _check(code: int) -> None:
    if code:
        raise Refused(Code(code))


def _struct(*names: str, **inner: Any) -> Any:
    fields = [(name, c_int64) for name in names] + list(inner.items())
    return type("_Struct", (Structure,), {"_fields_": fields})


_Maybe = _struct("value", "present")
_Wide = type("_Wide", (Structure,), {"_fields_": [("low", c_uint64), ("high", c_int64)]})
_Feed = _struct("publishers", "quorum", "staleness", "ahead", "deviation")
_Observation = _struct("publisher", "value", "time", "number")
_Last = _struct("value", "time", "number", "present")
_LeftOut = _struct("why", "value", "bound")
_Index = _struct("value", "present", "counted")
_Average = _struct("time", "elapsed", value=_Maybe, total=_Wide)
_MarkTerms = _struct("bound", "smoothing")
_Marking = _struct("time", "basis", last=_Maybe, impact=_Average)
_Mark = _struct("value", "fair", impact=_Maybe)
_Settlement = _struct("window", "last", "heard", average=_Average)
_VolatilityTerms = _struct("grid", "decay", "horizon", "factor", "floor", "step")
_Volatility = _struct("point", "value", "variance")
_Driven = _struct("fraction", "changed")
_FundingTerms = _struct("interval", "hold", "scale", "most")
_Funding = _struct("begun", "until", "index", "cumulative", premium=_Average)
_LiquidationTerms = _struct("share", "whole", "most", "begin", "steps", "fee", "cap")
_Unhealthy = _struct("account", "equity", "maintenance")
_Opposite = _struct("account", "size", "profit", "notional", "equity", "maintenance")
_Taken = _struct("account", "lots")
_Bearer = _struct("account", "equity", "quanta", rest=_Wide)


def _maybe(value: int | None) -> Any:
    return _Maybe(0, 0) if value is None else _Maybe(value, 1)


def _value(maybe: Any) -> int | None:
    return int(maybe.value) if maybe.present else None


def _average(average: prices.Average) -> Any:
    total = _Wide(average.total & (1 << 64) - 1, average.total >> 64)
    return _Average(average.time, average.elapsed, _maybe(average.value), total)


def _golden_average(found: Any) -> prices.Average:
    total = found.total.high << 64 | found.total.low
    return prices.Average(found.time, _value(found.value), total, found.elapsed)


def _int64(*values: int) -> list[Any]:
    return [c_int64(value) for value in values]


def _call(name: str, *arguments: Any) -> None:
    _check(getattr(loaded(), f"hawse_risk_{name}")(*arguments))


def _number(name: str, *arguments: Any) -> int:
    result = c_int64()
    _call(name, *arguments, byref(result))
    return result.value


# Prices


def _feed(feed: prices.Feed) -> Any:
    return byref(_Feed(feed.publishers, feed.quorum, feed.staleness, feed.ahead, feed.deviation_ppm))


def _observed(observed: prices.Observed) -> Any:
    lasts = [_Last(0, 0, 0, 0) if o is None else _Last(o.value, o.time, o.number, 1) for o in observed]
    return (_Last * len(lasts))(*lasts)


def observe(
    feed: prices.Feed, observed: prices.Observed, said: prices.Observation, now: int
) -> prices.Observed:
    """As :func:`hawse.risk.prices.observe`."""
    lasts = _observed(observed)
    _call("observe", _feed(feed), lasts, byref(_Observation(*said)), c_int64(now))
    return tuple(
        prices.Observation(n, last.value, last.time, last.number) if last.present else None
        for n, last in enumerate(lasts)
    )


def index(feed: prices.Feed, observed: prices.Observed, now: int) -> prices.Index:
    """As :func:`hawse.risk.prices.index`."""
    out, found = (_LeftOut * len(observed))(), _Index()
    loaded().hawse_risk_index(_feed(feed), _observed(observed), c_int64(now), out, byref(found))
    left = [
        prices.LeftOut(n, prices.Drop(each.why), each.value, each.bound)
        for n, each in enumerate(out)
        if each.why
    ]
    return prices.Index(_value(found), found.counted, tuple(left))


def step(average: prices.Average, now: int, value: int | None) -> prices.Average:
    """As :meth:`hawse.risk.prices.Average.step`."""
    found = _average(average)
    _call("average_step", byref(found), c_int64(now), byref(_maybe(value)))
    return _golden_average(found)


def mean(average: prices.Average) -> int | None:
    """As :meth:`hawse.risk.prices.Average.mean`, to the nearest."""
    found = _Maybe()
    loaded().hawse_risk_average_mean(byref(_average(average)), byref(found))
    return _value(found)


def _marking(marking: prices.Marking) -> Any:
    return _Marking(marking.time, marking.basis, _maybe(marking.last), _average(marking.impact))


def _golden_marking(found: Any) -> prices.Marking:
    return prices.Marking(found.time, _golden_average(found.impact), found.basis, _value(found.last))


def quote(marking: prices.Marking, now: int, bid: int | None, ask: int | None) -> prices.Marking:
    """As :func:`hawse.risk.prices.quote`."""
    found = _marking(marking)
    _call("quote", byref(found), c_int64(now), byref(_maybe(bid)), byref(_maybe(ask)))
    return _golden_marking(found)


def mark(
    terms: prices.MarkTerms, marking: prices.Marking, now: int, index: int
) -> tuple[prices.Marking, prices.Mark]:
    """As :func:`hawse.risk.prices.mark`."""
    state, found = _marking(marking), _Mark()
    given = byref(_MarkTerms(terms.bound_ppm, terms.smoothing))
    _call("mark", given, byref(state), *_int64(now, index), byref(found))
    return _golden_marking(state), prices.Mark(found.value, found.fair, _value(found.impact))


def option_mark(right: options.Right, surface: NativeSurface, forward: int, strike: int, time: int) -> int:
    """As :func:`hawse.risk.prices.option_mark`."""
    return _number("option_mark", c_int64(right), byref(surface.it), *_int64(forward, strike, time))


def _settlement(state: settlement.Settlement) -> Any:
    return _Settlement(state.window, state.last, state.heard, _average(state.average))


def _golden_settlement(found: Any) -> settlement.Settlement:
    return settlement.Settlement(found.window, _golden_average(found.average), found.last, found.heard)


def open_window(window: int, now: int, index: int) -> settlement.Settlement:
    """As :func:`hawse.risk.settlement.open_window`."""
    found = _Settlement()
    _call("open_window", *_int64(window, now, index), byref(found))
    return _golden_settlement(found)


def in_window(state: settlement.Settlement, now: int, index: int | None) -> settlement.Settlement:
    """As :func:`hawse.risk.settlement.in_window`."""
    found = _settlement(state)
    _call("in_window", byref(found), c_int64(now), byref(_maybe(index)))
    return _golden_settlement(found)


def settled(state: settlement.Settlement, now: int, patience: int) -> tuple[int, int | None]:
    """:func:`hawse.risk.settlement.window_mark` and :func:`hawse.risk.settlement.settlement_price`."""
    at, price = c_int64(), _Maybe()
    loaded().hawse_risk_settlement(byref(_settlement(state)), *_int64(now, patience), byref(at), byref(price))
    return at.value, _value(price)


def _volatility_terms(terms: volatility.VolatilityTerms) -> Any:
    fields = terms.grid, terms.decay, terms.horizon, terms.factor_ppm, terms.floor_ppm, terms.step_ppm
    return byref(_VolatilityTerms(*fields))


def follow(
    terms: volatility.VolatilityTerms, state: volatility.Volatility, now: int, index: int
) -> volatility.Volatility:
    """As :func:`hawse.risk.volatility.follow`."""
    found = _Volatility(state.point, state.value, state.variance)
    _call("follow", _volatility_terms(terms), byref(found), *_int64(now, index))
    return volatility.Volatility(found.point, found.value, found.variance)


def drive(
    terms: volatility.VolatilityTerms, state: volatility.Driven, now: int, variance: int
) -> tuple[volatility.Driven, int]:
    """:func:`hawse.risk.volatility.drive` and :func:`hawse.risk.volatility.wanted_fraction`."""
    found = _Driven(state.ppm, state.changed)
    wanted = _number("drive", _volatility_terms(terms), byref(found), *_int64(now, variance))
    return volatility.Driven(found.fraction, found.changed), wanted


# Funding


def _funding_terms(terms: funding.FundingTerms) -> Any:
    return byref(_FundingTerms(terms.interval, terms.hold, terms.scale, terms.most))


def _funding(state: funding.Funding) -> Any:
    return _Funding(state.begun, state.until, state.index, state.cumulative, _average(state.premium))


def _golden_funding(found: Any) -> funding.Funding:
    premium_ = _golden_average(found.premium)
    return funding.Funding(found.begun, premium_, found.until, found.index, found.cumulative)


def premium(index: int, bid: int | None, ask: int | None) -> int | None:
    """As :func:`hawse.risk.funding.premium`."""
    found = _Maybe()
    _call("premium", c_int64(index), byref(_maybe(bid)), byref(_maybe(ask)), byref(found))
    return _value(found)


def advance(terms: funding.FundingTerms, state: funding.Funding, now: int) -> funding.Funding:
    """As :func:`hawse.risk.funding.advance`."""
    found = _funding(state)
    _call("advance", _funding_terms(terms), byref(found), c_int64(now))
    return _golden_funding(found)


def fund(
    terms: funding.FundingTerms, state: funding.Funding, now: int, index: int | None, value: int | None
) -> funding.Funding:
    """As :func:`hawse.risk.funding.observe`."""
    found = _funding(state)
    _call(
        "fund", _funding_terms(terms), byref(found), c_int64(now), byref(_maybe(index)), byref(_maybe(value))
    )
    return _golden_funding(found)


def payment(size: int, since: int, cumulative: int, numerator: int, denominator: int) -> int:
    """As :func:`hawse.risk.funding.payment`."""
    return _number("payment", *_int64(size, since, cumulative, numerator, denominator))


# Liquidation


def _liquidation_terms(terms: LiquidationTerms) -> Any:
    fields = (
        terms.share_ppm,
        terms.whole,
        terms.most,
        terms.begin_ppm,
        terms.steps,
        terms.fee_ppm,
        terms.cap,
    )
    return byref(_LiquidationTerms(*fields))


def _terms(terms: Terms) -> tuple[Rows, Any]:
    row = accounts.terms_row(terms)
    return row, c_void_p(row.ctypes.data)


def order(unhealthy: Sequence[Unhealthy]) -> list[int]:
    """As :func:`hawse.risk.liquidation.order`."""
    rows = (_Unhealthy * len(unhealthy))(*(tuple(each) for each in unhealthy))
    _call("order", rows, c_uint64(len(rows)))
    return [row.account for row in rows]


def weight(terms: Terms, market: Market, size: int) -> int:
    """As :func:`hawse.risk.liquidation.weight`."""
    instrument = accounts.Instruments(accounts.terms_row(terms), accounts.market_row(market))
    return _number("weight", c_void_p(instrument.at), c_int64(size))


def first_of_portfolio(terms: LiquidationTerms, positions: Sequence[Position], basis_ppm: int) -> int:
    """As :func:`hawse.risk.liquidation.first_of_portfolio`."""
    count = len(positions[0][0].changes) if positions else 1
    arrays = accounts.Arrays(len(positions), Scenarios((Scenario(0, 0),) * count))
    for n, (entry, _) in enumerate(positions):
        arrays.changes[n], arrays.peaks[n] = entry.changes, max(map(abs, entry.changes))
        arrays.deltas[n], arrays.minima[n], arrays.expiries[n] = entry.delta, entry.minimum, entry.expiry
    rows = np.array([(n, size) for n, (_, size) in enumerate(positions)], accounts.POSITION)
    given = _liquidation_terms(terms), byref(arrays.it), c_void_p(rows.ctypes.data), c_uint64(len(rows))
    return _number("first_of_portfolio", *given, c_int64(basis_ppm))


def step_lots(terms: LiquidationTerms, left: int) -> int:
    """As :func:`hawse.risk.liquidation.step_lots`."""
    return _number("step_lots", _liquidation_terms(terms), c_int64(left))


def bankruptcy_price(terms: Terms, mark: int, size: int, equity: int, own: int, total: int) -> int:
    """As :func:`hawse.risk.liquidation.bankruptcy_price`."""
    row, at = _terms(terms)
    found = _number("bankruptcy_price", at, *_int64(mark, size, equity, own, total))
    del row
    return found


def step_price(terms: LiquidationTerms, mark: int, bankruptcy: int, size: int, step: int) -> int:
    """As :func:`hawse.risk.liquidation.step_price`."""
    return _number("step_price", _liquidation_terms(terms), *_int64(mark, bankruptcy, size, step))


def fee(terms: LiquidationTerms, value: int, equity: int) -> int:
    """As :func:`hawse.risk.liquidation.fee`."""
    function = loaded().hawse_risk_liquidation_fee
    function.restype = c_int64
    return int(function(_liquidation_terms(terms), *_int64(value, equity)))


def takeover_lots(collateral: int, held: Sequence[Held], at: int, size: int, price: int) -> int:
    """As :func:`hawse.risk.liquidation.takeover_lots`."""
    terms = np.concatenate([accounts.terms_row(terms) for terms, _, _ in held])
    markets = np.concatenate([accounts.market_row(market) for _, market, _ in held])
    instruments = accounts.Instruments(terms, markets)
    rows = accounts.holding_rows([(n, holding) for n, (_, _, holding) in enumerate(held)])
    before = rows.copy()
    given = c_int64(collateral), c_void_p(instruments.at), c_void_p(rows.ctypes.data)
    lots = _number("takeover", *given, c_uint64(len(rows)), c_uint64(at), *_int64(size, price))
    assert (rows == before).all()
    return lots


def deleverage(
    terms: Terms, mark: int, bankruptcy: int, size: int, opposite: Sequence[Opposite]
) -> tuple[list[Taken], int]:
    """As :func:`hawse.risk.liquidation.deleverage`."""
    row, at = _terms(terms)
    rows = (_Opposite * len(opposite))(*(tuple(each) for each in opposite))
    taken, takers, left = (_Taken * len(opposite))(), c_uint64(), c_int64()
    given = at, *_int64(mark, bankruptcy, size), rows, c_uint64(len(rows))
    _call("deleverage", *given, taken, byref(takers), byref(left))
    del row
    return [Taken(each.account, each.lots) for each in taken[: takers.value]], left.value


def socialise(loss: int, equities: Sequence[tuple[int, int]]) -> tuple[list[Share], int]:
    """As :func:`hawse.risk.liquidation.socialise`, the shares by account."""
    rows = (_Bearer * len(equities))(*((account, equity, 0) for account, equity in equities))
    rest = _number("socialise", c_int64(loss), rows, c_uint64(len(rows)))
    return sorted(Share(row.account, row.quanta) for row in rows if row.equity > 0), rest


#: The golden functions that have a native one of the same name and arguments here.
SAME = {
    prices: ("observe", "index", "quote", "mark"),
    settlement: ("open_window", "in_window"),
    volatility: ("follow",),
    funding: ("premium", "advance", "payment"),
    liquidation: (
        *("order", "weight", "first_of_portfolio", "step_lots", "bankruptcy_price", "step_price"),
        *("fee", "takeover_lots", "deleverage"),
    ),
}
