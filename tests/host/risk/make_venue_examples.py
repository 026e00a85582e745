"""Examples of index, mark, funding, margin and liquidation, in fractions; needs nothing of Hawse.

``make_worked_examples.py`` puts them into ``worked_examples.json``. Each is reckoned from its definition in
exact fractions, by the slowest way there is (over every minute, lot or quantum, where that can be done), and
rounded once at the end.
"""

from fractions import Fraction
from math import ceil, floor, log, sqrt
from typing import Any

Example = dict[str, Any]
DEFINITION = "by definition"
UNITS = {
    "fractions": "text, above/below; money is quanta, quantities are lots, prices a venue's unit",
    "time_weighted": "a step [time, value] holds until the next; null: no value, the time does not count",
    "index": "of each publisher the last observation [value, age]; median of those that are no older than "
    "staleness and within deviation of the median of these; none below the quorum; of two middle ones the "
    "mean, rounded down",
    "mark": "median of fair, impact and last, each fair where null, held within bound × index of the index",
    "settlement": "average of the index over a window, at a moment in it, with the rest at the index of now",
    "volatility": "decay λ: v ← λⁿ·v + (1 − λⁿ)·r²/n over n points of the grid, r the log-return",
    "fraction": "max(floor, k·√(variance × horizon)), at most 1",
    "premium": "(max(0, bid − index) − max(0, index − ask)) / index",
    "funding": "average premium × scale, held within ± most; times the index: what a long lot pays",
    "payment": "lots × change of the cumulative index × value of a unit; rounded up, so credits to zero",
    "tiers": "[from notional, marginal rate]; rounded up once",
    "surcharge": "initial margin rises to the notional between the open interests lower and upper",
    "short_option": "lots × (max(a·S − out-of-the-money, b·S) + mark), rounded up",
    "cross": "linear positions [lots, entry, mark, fair, rate] and options [lots, mark, unit]; unit beside "
    "the mark per short lot; value of one price unit·lot is 1",
    "portfolio": "worst loss over scenarios of Σ lots × gains, no less than the short minimum, and the basis "
    "charge on matched delta; arrays are per lot",
    "bankruptcy": "mark moved by the position's part of the equity; rounded for the account",
    "disposal": "a share of what is left, rounded up, at most most; all, where fewer than whole are left",
    "step_prices": "from c beside the mark to the bankruptcy price, in equal steps rounded towards the mark",
    "order": "accounts by equity / maintenance, then index",
    "deleverage": "[index, lots, profit, notional, equity, maintenance], by profit × notional / equity",
    "socialise": "a loss over positive equities in proportion; by largest remainders, ties by index",
}


def _example(name: str, kind: str, inputs: Example, expect: Example, source: str = DEFINITION) -> Example:
    return {"name": name, "kind": kind, "source": source, "inputs": inputs, "expect": expect}


def _said(example: Example, **published: str) -> Example:
    for what, said in published.items():
        found = example["expect"][what]
        exact = [Fraction(str(x)) for x in (found if isinstance(found, list) else [found])]
        if exact != [Fraction(x) for x in said.split()]:
            raise SystemExit(f"{example['name']}: {what} published as {said}, but is {found}")
    return example | {"published": published}


# Prices


def _time_weighted(name: str, steps: list[list[Any]], end: int, source: str = DEFINITION) -> Example:
    total, counted = Fraction(0), 0
    for moment in range(steps[0][0], end):  # unit by unit
        value = [v for t, v in steps if t <= moment][-1]
        if value is not None:
            total, counted = total + Fraction(str(value)), counted + 1
    return _example(
        name, "time_weighted", {"steps": steps, "end": end}, {"mean": str(total / counted)}, source
    )


def _middle(values: list[int]) -> int:
    """The value that as many are above as below, by counting."""
    pool = sorted(values)
    while len(pool) > 2:
        pool = pool[1:-1]
    return floor(Fraction(sum(pool), len(pool)))


def _index(name: str, observations: list[Any], quorum: int, staleness: int, deviation: str) -> Example:
    fresh = {n: o[0] for n, o in enumerate(observations) if o is not None and o[1] <= staleness}
    value, left_out = None, {n: "stale" for n in range(len(observations)) if n not in fresh}
    left_out |= {n: "missing" for n, o in enumerate(observations) if o is None}
    if len(fresh) >= quorum:
        middle = _middle(list(fresh.values()))
        reach = floor(middle * Fraction(deviation))
        near = {n: v for n, v in fresh.items() if -reach <= v - middle <= reach}
        left_out |= {n: "outlying" for n in fresh if n not in near}
        value = _middle(list(near.values())) if len(near) >= quorum else None
    inputs = {"observations": observations, "quorum": quorum, "staleness": staleness, "deviation": deviation}
    named = [[n, left_out[n]] for n in sorted(left_out)]
    return _example(name, "index", inputs, {"index": value, "left_out": named})


def _mark(name: str, index: int, fair: int, impact: int | None, last: int | None, bound: str) -> Example:
    three = sorted([fair, fair if impact is None else impact, fair if last is None else last])
    reach = floor(index * Fraction(bound))
    inputs = {"index": index, "fair": fair, "impact": impact, "last": last, "bound": bound}
    return _example(name, "mark", inputs, {"mark": min(max(three[1], index - reach), index + reach)})


def _settlement(name: str, window: int, steps: list[list[Any]], now: int) -> Example:
    held = [[v for t, v in steps if t <= moment][-1] for moment in range(now)]
    so_far = [v for v in held if v is not None][:window]
    latest = [v for t, v in steps if v is not None and t <= now][-1]
    mark = Fraction(sum(so_far) + latest * (window - len(so_far)), window)
    settled = str(mark) if len(so_far) == window else None
    return _example(
        name,
        "settlement",
        {"window": window, "steps": steps, "now": now},
        {"mark": str(mark), "settled": settled},
    )


def _volatility(
    name: str, decay: str, variance: float, prices: list[list[int]], horizon: int, k: str
) -> Example:
    """In floating point: the expectation is good to a part in a billion."""
    (point, value), *rest = prices
    found = variance
    for at, price in rest:
        steps, change = at - point, log(price / value)
        weight = float(decay) ** steps
        found = weight * found + (1 - weight) * change * change / steps
        point, value = at, price
    inputs = {"decay": decay, "variance": repr(variance), "prices": prices, "horizon": horizon, "factor": k}
    fraction = min(1.0, float(k) * sqrt(found * horizon))
    return _example(name, "volatility", inputs, {"variance": repr(found), "fraction": repr(fraction)})


def _prices() -> list[Example]:
    wild = [[100, 1], [101, 2], [99, 0], [250, 1], [1, 1]]
    return [
        _time_weighted("average with an hour without a price", [[0, 100], [30, None], [90, 130]], 120),
        _time_weighted("average of one value", [[5, 77]], 6),
        _index("three of three", [[100, 0], [103, 1], [101, 2]], 3, 10, "1/10"),
        _index("two hostile of five", wild, 3, 10, "1/20"),
        _index("an even number", [[100, 0], [103, 0], [101, 0], [110, 0]], 3, 10, "1/5"),
        _index("stale and missing", [[100, 11], None, [101, 0], [102, 10]], 2, 10, "1/10"),
        _index("no quorum", [[100, 11], None, [101, 0], [102, 10]], 3, 10, "1/10"),
        _index("no quorum of those that agree", [[100, 0], [200, 0], [101, 0]], 3, 10, "1/10"),
        _mark("median of three", 1000, 1002, 1005, 1001, "1/100"),
        _mark("a trade alone does nothing", 1000, 1002, None, 1500, "1/100"),
        _mark("a book alone does nothing", 1000, 1002, 900, None, "1/100"),
        _mark("held at the bound", 1000, 1002, 1500, 1400, "1/100"),
        _settlement("a third of the window", 30, [[0, 100], [10, 130]], 10),
        _settlement("a window that an outage makes longer", 30, [[0, 100], [10, None], [40, 160]], 60),
        _settlement("within the outage", 30, [[0, 100], [10, None], [40, 160]], 35),
        _volatility("two steps", "0.9", 1e-6, [[0, 64000], [1, 64640], [2, 64000]], 100, "2.5"),
        _volatility("a gap of ten", "0.9", 1e-6, [[0, 64000], [10, 51200]], 100, "2.5"),
    ]


# Funding


def _premium(name: str, index: int, bid: int, ask: int) -> Example:
    found = Fraction(max(0, bid - index) - max(0, index - ask), index)
    return _example(name, "premium", {"index": index, "bid": bid, "ask": ask}, {"premium": str(found)})


def _funding(
    name: str,
    steps: list[list[Any]],
    interval: int,
    scale: str,
    most: str,
    index: int,
    source: str = DEFINITION,
) -> Example:
    """``steps`` are [time, premium]."""
    held = [[v for t, v in steps if t <= moment][-1] for moment in range(interval)]
    counted = [Fraction(v) for v in held if v is not None]
    rate = sum(counted, Fraction(0)) / len(counted) * Fraction(scale)
    rate = max(-Fraction(most), min(Fraction(most), rate))
    inputs = {"steps": steps, "interval": interval, "scale": scale, "most": most, "index": index}
    return _example(name, "funding", inputs, {"rate": str(rate), "per_lot": str(rate * index)}, source)


def _payment(name: str, lots: int, change: str, value: str) -> Example:
    found = ceil(lots * Fraction(change) * Fraction(value))
    return _example(name, "payment", {"lots": lots, "change": change, "value": value}, {"pays": found})


def _fundings() -> list[Example]:
    return [
        _premium("above", 100, 103, 104),
        _premium("below", 100, 90, 96),
        _premium("around", 100, 99, 101),
        _funding("half at one percent", [[0, "1/100"], [30, "0"]], 60, "1", "1/50", 64000),
        _funding("clamped", [[0, "1/10"]], 60, "1", "1/50", 64000),
        _funding("with time left out", [[0, "1/100"], [15, None], [45, "-1/100"]], 60, "1/8", "1/50", 64000),
        _payment("a long one pays", 7, "1/3", "1/10"),
        _payment("a short one gets", -7, "1/3", "10"),
    ]


# Margin


def _tiers(name: str, tiers: list[list[Any]], notional: int) -> Example:
    """Quantum by quantum would be long: tier by tier from above."""
    left, total = notional, Fraction(0)
    for edge, rate in reversed(tiers):
        total, left = total + max(0, left - edge) * Fraction(rate), min(left, edge)
    return _example(name, "tiers", {"tiers": tiers, "notional": notional}, {"initial": ceil(total)})


def _surcharge(name: str, initial: int, notional: int, open_interest: int, lower: int, upper: int) -> Example:
    part = min(max(Fraction(open_interest - lower, upper - lower), Fraction(0)), Fraction(1))
    inputs = {"initial": initial, "notional": notional, "open_interest": open_interest}
    found = ceil(initial * (1 - part) + notional * part)
    return _example(name, "surcharge", inputs | {"lower": lower, "upper": upper}, {"initial": found})


def _short(name: str, right: str, strike: int, underlying: int, mark: int, lots: int) -> Example:
    a, b = Fraction("3/20"), Fraction("1/10")
    out = max(0, strike - underlying) if right == "call" else max(0, underlying - strike)
    unit = max(a * underlying - out, b * underlying) + mark
    inputs = {"right": right, "strike": strike, "underlying": underlying, "mark": mark, "lots": lots}
    return _example(name, "short_option", inputs | {"a": "3/20", "b": "1/10"}, {"initial": ceil(lots * unit)})


def _cross(name: str, collateral: int, linear: list[list[Any]], options: list[list[int]]) -> Example:
    needed = equity = Fraction(0)
    worst = Fraction(collateral)
    for lots, entry, mark, fair, rate in linear:
        needed += ceil(abs(lots) * mark * Fraction(rate))
        equity += lots * (mark - entry)
        worse = min(lots * (mark - entry), lots * (fair - entry))
        worst += min(0, worse)
    for lots, mark, unit in options:
        needed += max(0, -lots) * (unit + mark)
        worst += min(0, lots * mark)
    free = collateral + equity - needed
    leaves = max(Fraction(0), min(Fraction(collateral), free, worst - needed))
    inputs = {"collateral": collateral, "linear": linear, "options": options}
    return _example(name, "cross", inputs, {"free": int(free), "withdrawable": int(leaves)})


def _margins() -> list[Example]:
    tiers = [[0, "1/50"], [1000, "1/25"], [5000, "1/5"]]
    flat = "1/10"
    return [
        _tiers("in the first tier", tiers, 999),
        _tiers("at the edge", tiers, 1000),
        _tiers("beyond the last edge", tiers, 6001),
        _surcharge("half way to the cap", 100, 1000, 150, 100, 200),
        _surcharge("at the cap", 100, 1000, 250, 100, 200),
        _surcharge("below the lower cap", 100, 1000, 99, 100, 200),
        _short("call at the money", "call", 64000, 64000, 2000, 3),
        _short("call far out", "call", 80000, 64000, 20, 1),
        _short("put a little out", "put", 62000, 64000, 900, 2),
        _cross("profit does not leave", 1000, [[10, 100, 150, 150, flat]], []),
        _cross("losses do", 1000, [[10, 100, 80, 79, flat], [-5, 100, 40, 42, flat]], []),
        _cross("a short option counts twice", 5000, [], [[-10, 50, 100]]),
        _cross("a long option counts nothing", 700, [[-1, 100, 300, 310, flat]], [[10, 500, 100]]),
    ]


def _portfolio(
    name: str,
    positions: list[Example],
    basis: str = "0",
    source: str = DEFINITION,
) -> Example:
    """``positions`` have lots, gains, delta, expiry, minimum, all per lot."""
    count = len(positions[0]["gains"])
    totals = [sum(p["lots"] * p["gains"][n] for p in positions) for n in range(count)]
    short = sum(-p["lots"] * p["minimum"] for p in positions if p["lots"] < 0)
    bought = sold = 0
    for expiry in {p["expiry"] for p in positions}:
        delta = sum(p["lots"] * p["delta"] for p in positions if p["expiry"] == expiry)
        bought, sold = bought + max(0, delta), sold + max(0, -delta)
    charge = ceil(min(bought, sold) * Fraction(basis))
    found = max(0, -min(totals), short) + charge
    return _example(
        name, "portfolio", {"positions": positions, "basis": basis}, {"requirement": found}, source
    )


def _position(lots: int, gains: list[int], delta: int = 0, expiry: int = 0, minimum: int = 0) -> Example:
    return {"lots": lots, "gains": gains, "delta": delta, "expiry": expiry, "minimum": minimum}


def _portfolios() -> list[Example]:
    future, call = [-300, 0, 300], [-90, 0, 210]
    return [
        _portfolio("a future", [_position(2, future, 1000)]),
        _portfolio(
            "a call sold against a future", [_position(1, future, 1000), _position(-1, call, 500, 0, 40)]
        ),
        _portfolio("short minimum", [_position(-3, [-1, 0, 1], 0, 0, 40)]),
        _portfolio("two expiries", [_position(5, future, 1000, 0), _position(-4, future, 1010, 1)], "1/100"),
        _portfolio("a put spread", [_position(10, [50, 0, -20], -9), _position(-10, [40, 0, -10], -7, 0, 3)]),
    ]


# Liquidation


def _bankruptcy(
    name: str, mark: int, lots: int, equity: int, part: str, value: str, source: str = DEFINITION
) -> Example:
    moved = Fraction(equity) * Fraction(part) / (abs(lots) * Fraction(value))
    price = ceil(mark - moved) if lots > 0 else floor(mark + moved)
    inputs = {"mark": mark, "lots": lots, "equity": equity, "part": part, "value": value}
    notional = str(abs(lots) * price * Fraction(value))
    return _example(name, "bankruptcy", inputs, {"price": price, "notional": notional}, source)


def _disposal(name: str, lots: int, share: str, whole: int, most: int, source: str = DEFINITION) -> Example:
    steps, left = [], lots
    while left:
        wanted = left if left < whole else ceil(left * Fraction(share))
        steps.append(min(wanted, most))
        left -= steps[-1]
    inputs = {"lots": lots, "share": share, "whole": whole, "most": most}
    return _example(name, "disposal", inputs, {"steps": steps}, source)


def _step_prices(name: str, mark: int, bankruptcy: int, begin: str, steps: int, long: bool) -> Example:
    away = -1 if long else 1
    first = mark + away * floor(mark * Fraction(begin))
    far = max(0, (bankruptcy - first) * away)
    prices = [first + away * floor(Fraction(far * n, steps - 1)) for n in range(steps)]
    if (first - bankruptcy) * away > 0:  # the first price would be worse than bankruptcy
        prices = [bankruptcy] * steps
    inputs = {"mark": mark, "bankruptcy": bankruptcy, "begin": begin, "steps": steps, "long": long}
    return _example(name, "step_prices", inputs, {"prices": prices})


def _order(name: str, accounts: list[list[int]]) -> Example:
    found = sorted(accounts, key=lambda a: (Fraction(a[1], a[2]), a[0]))
    return _example(name, "order", {"accounts": accounts}, {"order": [a[0] for a in found]})


def _deleverage(name: str, mark: int, price: int, size: int, accounts: list[list[int]]) -> Example:
    """Lot by lot, to the first account in rank that still bears one more."""
    worse = (mark - price) if size < 0 else (price - mark)
    ranked = sorted(accounts, key=lambda a: (-max(Fraction(0), Fraction(a[2] * a[3], a[4])), a[0]))
    taken: dict[int, int] = {}
    left = abs(size)
    for index, lots, profit, _, equity, maintenance in ranked:
        for n in range(1, abs(lots) + 1):
            if not left or (worse > 0 and n * worse > min(profit, equity - maintenance)):
                break
            taken[index], left = n, left - 1
    inputs = {"mark": mark, "bankruptcy": price, "size": size, "accounts": accounts}
    return _example(name, "deleverage", inputs, {"taken": [[i, n] for i, n in taken.items()], "left": left})


def _socialise(name: str, loss: int, equities: list[int]) -> Example:
    """Quantum by quantum, to whom the next one is owed most: largest remainders for so small numbers."""
    total = sum(e for e in equities if e > 0)
    borne = min(loss, total)
    exact = [Fraction(borne * max(0, e), total) for e in equities]
    shares = [floor(x) for x in exact]
    while sum(shares) < borne:
        owed = [x - s for x, s in zip(exact, shares, strict=True)]
        shares[owed.index(max(owed))] += 1
    return _example(
        name, "socialise", {"loss": loss, "equities": equities}, {"shares": shares, "rest": loss - borne}
    )


def _liquidations() -> list[Example]:
    winners = [[0, 5, 500, 1000, 800, 100], [1, 9, 900, 2000, 4000, 100], [2, 4, 40, 900, 300, 280]]
    return [
        _bankruptcy("a short one", 50_000, -10_000_000, 499, "1", "1/10000000"),
        _bankruptcy("a third of the weight", 1000, 7, 500, "1/3", "1"),
        _bankruptcy("equity gone", 1000, 7, -100, "1/2", "1"),
        _disposal("all at once", 49, "1/2", 50, 100),
        _disposal("three tenths, rounded up", 100, "3/10", 10, 25),
        _step_prices("towards bankruptcy", 1000, 900, "1/100", 4, True),
        _step_prices("short", 1000, 1033, "1/100", 3, False),
        _step_prices("bankruptcy is nearer than c", 1000, 995, "1/100", 4, True),
        _order("by health", [[0, 50, 100], [1, -1, 100], [2, 25, 50], [3, 99, 100], [4, 1, 1000]]),
        _deleverage("three that gain", 1000, 900, -12, winners),
        _deleverage("at a price better than the mark", 1000, 1100, -6, winners),
        _socialise("a remainder", 100, [30, -5, 30, 30, 0]),
        _socialise("more than there is", 100, [30, 20]),
        _socialise("a quantum", 1, [1, 1, 1]),
        _socialise("the largest remainders", 5, [1, 2, 4]),
    ]


def published() -> list[Example]:
    """Those that others have published, with what they say."""
    steps = [[0, 10], [1, 11], [3, 10], [5, 9], [7, 8], [9, 7]]
    perpetual = "Vega Protocol, specification of perpetual futures (0053-PERP), its kind of average"
    rate = "Vega Protocol, specification of perpetual futures (0053-PERP), scaled funding rate"
    disposal = "Vega Protocol, specification of position resolution (0012-POSR), criterion 013"
    return [
        _said(_time_weighted("mark over ten minutes", steps, 10, perpetual), mean="9.3"),
        _said(_funding("99 against 100 at 2.5", [[0, "-1/100"]], 60, "5/2", "1", 100, rate), rate="-0.025"),
        _said(
            _bankruptcy(
                "long 0.1 BTC at 50,000, quote balance -4,501, equity 499",
                50_000,
                10_000_000,
                499,
                "1",
                "1/100000000",
                "public venue documents",
            ),
            notional="4501",
        ),
        _said(_disposal("280 lots", 280, "1/2", 50, 100, disposal), steps="100 90 45 45"),
    ]


def derived() -> list[Example]:
    """Our own."""
    return [*_prices(), *_fundings(), *_margins(), *_portfolios(), *_liquidations()]
