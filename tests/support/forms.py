"""The golden and the native risk functions under the same names, on the same dataclasses."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from hawse.risk import funding, liquidation, portfolio, prices, requirements, settlement, volatility
from hawse.risk.errors import Code, RiskError
from hawse.risk.native import accounts, venue
from hawse.risk.portfolio import Position, Scan, Scenario, Scenarios
from hawse.risk.requirements import Cross, Held, Holding, Market, Needs, Order, Terms


def _settled(state: settlement.Settlement, now: int, patience: int) -> tuple[int, int | None]:
    return settlement.window_mark(state), settlement.settlement_price(state, now, patience)


def _drive(
    terms: volatility.VolatilityTerms, state: volatility.Driven, now: int, variance: int
) -> tuple[volatility.Driven, int]:
    return volatility.drive(terms, state, now, variance), volatility.wanted_fraction(terms, variance)


def _socialise(loss: int, equities: Sequence[tuple[int, int]]) -> tuple[list[liquidation.Share], int]:
    shares, rest = liquidation.socialise(loss, equities)
    return sorted(shares), rest


GOLDEN = SimpleNamespace(
    step=prices.Average.step,
    mean=prices.Average.mean,
    settled=_settled,
    drive=_drive,
    fund=funding.observe,
    socialise=_socialise,
    requirement=requirements.requirement,
    cross=requirements.cross,
    withdrawable=requirements.withdrawable,
    free_with=requirements.free_with,
    scan=portfolio.scan,
    add_on=portfolio.add_on,
    **{name: getattr(module, name) for module, names in venue.SAME.items() for name in names},
)


def _one(found: tuple[Any, Any]) -> Any:
    results, codes = found
    if codes[0]:
        raise venue.Refused(Code(int(codes[0])))
    return results[0].tolist()


def _instruments(held: Sequence[Held]) -> accounts.Instruments:
    made = accounts.Instruments(
        np.concatenate([accounts.terms_row(terms) for terms, _, _ in held]),
        np.concatenate([accounts.market_row(market) for _, market, _ in held]),
    )
    assert not made.codes.any()
    return made


def _requirement(terms: Terms, market: Market, holding: Holding) -> Needs:
    rows = accounts.holding_row(0, holding)
    return Needs(*_one(_instruments([(terms, market, holding)]).requirement(rows)))


def _account(name: str, collateral: int, held: Sequence[Held], *more: Any) -> Any:
    rows = accounts.holding_rows([(n, holding) for n, (_, _, holding) in enumerate(held)])
    ends, money = np.array([len(rows)], np.uint64), np.array([collateral], np.int64)
    return _one(getattr(_instruments(held), name)(rows, ends, money, *more))


def _free_with(collateral: int, held: Sequence[Held], order: Order) -> int:
    row = np.array([tuple(map(int, order))], accounts.ORDER)
    return int(_account("free_with", collateral, held, row))


def _scanned(positions: Sequence[Position], basis_ppm: int) -> tuple[accounts.Arrays, Any, Any]:
    scenarios = Scenarios((Scenario(0, 0),) * len(positions[0][0].changes), basis_ppm)
    arrays = accounts.Arrays(len(positions), scenarios)
    for n, (entry, _) in enumerate(positions):
        arrays.changes[n], arrays.peaks[n] = entry.changes, max(map(abs, entry.changes))
        arrays.deltas[n], arrays.minima[n], arrays.expiries[n] = entry.delta, entry.minimum, entry.expiry
    rows = np.array([(n, lots) for n, (_, lots) in enumerate(positions)], accounts.POSITION)
    return arrays, rows, np.array([len(rows)], np.uint64)


def _scan(positions: Sequence[Position], basis_ppm: int) -> Scan:
    arrays, rows, ends = _scanned(positions, basis_ppm)
    losses = np.zeros((1, arrays.changes.shape[1]), np.int64)
    worst, short, basis = _one(arrays.scan(rows, ends, losses))
    assert worst == max(0, *losses[0].tolist())
    return Scan(tuple(losses[0].tolist()), short, basis)


def _add_on(legs: Sequence[Position], basis_ppm: int, cost: int) -> int:
    arrays, rows, ends = _scanned(legs, basis_ppm)
    return int(_one(arrays.add_on(rows, ends, np.array([cost], np.int64))))


NATIVE = SimpleNamespace(
    step=venue.step,
    mean=venue.mean,
    settled=venue.settled,
    drive=venue.drive,
    fund=venue.fund,
    socialise=venue.socialise,
    requirement=_requirement,
    cross=lambda collateral, held: Cross(*_account("cross", collateral, held)),
    withdrawable=lambda collateral, held, covered: _account("withdrawable", collateral, held, covered),
    free_with=_free_with,
    scan=_scan,
    add_on=_add_on,
    **{name: getattr(venue, name) for names in venue.SAME.values() for name in names},
)


def answer(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Code]:
    """Its result, and its code."""
    try:
        return function(*arguments), Code.OK
    except RiskError as error:
        return None, error.code


def same(name: str, *arguments: Any) -> Any:
    """What both forms answer, the code where they refuse."""
    golden, code = answer(getattr(GOLDEN, name), *arguments)
    native, other = answer(getattr(NATIVE, name), *arguments)
    assert (native, other) == (golden, code), (name, arguments)
    return golden if code == Code.OK else code
