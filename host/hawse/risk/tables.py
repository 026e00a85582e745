"""Tables of the fixed-point functions, for both forms.

``python -m hawse.risk.tables`` remakes ``tables.json``: everything is worked out in decimal arithmetic of 80
digits from the definitions, and rounded once, to nearest; nothing is shared with the functions that read it.
``hash`` is the SHA-256 of the other members as JSON without spaces, keys sorted.

``log``: for each 128th of [1, 2) a reciprocal with 16 fractional bits and minus its logarithm.
``exp``: exp(j/64), j from -23 to 23. ``normal``: Taylor coefficients of 1 − Φ around i/16, i from 0 to 144.
``inverse``: those of −Φ⁻¹(exp(−u²/2)) around i/16, i from 17 to 131.
"""

import hashlib
import json
from decimal import Decimal, localcontext
from functools import cache
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("tables.json")

_DIGITS = 80
_NORMAL_DEGREE = 9
_INVERSE_DEGREE = 11
_INVERSE_FIRST, _INVERSE_LAST = 17, 131
_SERIES = 7


def _fixed(value: Decimal, bits: int) -> int:
    """``value`` with ``bits`` fractional bits, to nearest."""
    return int((value * (1 << bits)).to_integral_value())


@cache
def _pi() -> Decimal:
    """Machin's formula."""

    def arctan_of_inverse(n: int) -> Decimal:
        term = total = 1 / Decimal(n)
        k, sign = 1, 1
        while term > Decimal(10) ** -(_DIGITS + 5):
            term /= n * n
            k, sign = k + 2, -sign
            total += sign * term / k
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))


def _density(x: Decimal) -> Decimal:
    return (-x * x / 2).exp() / (2 * _pi()).sqrt()


def _tail(x: Decimal) -> Decimal:
    """1 − Φ(x) by the series Φ(x) − ½ = φ(x)·(x + x³/3 + x⁵/15 + …), all terms of one sign."""
    term = total = x
    n = 1
    while abs(term) > Decimal(10) ** -(_DIGITS - 2):
        n += 2
        term *= x * x / n
        total += term
    return Decimal("0.5") - _density(x) * total


def _log_rows() -> list[list[int]]:
    rows = []
    for i in range(128):
        reciprocal = _fixed(1 / (1 + (Decimal(i) + Decimal("0.5")) / 128), 16)
        rows.append([reciprocal, _fixed(-(Decimal(reciprocal) / (1 << 16)).ln(), 62)])
    return rows


def _normal_row(node: Decimal) -> list[int]:
    """1 − Φ and its derivatives −φ·(−1)ⁿ·Heₙ, over n!."""
    density = _density(node)
    hermite, before = Decimal(1), Decimal(0)
    row, factorial = [_fixed(_tail(node), 58)], Decimal(1)
    for n in range(_NORMAL_DEGREE):
        factorial *= n + 1
        row.append(_fixed(-((-1) ** n) * hermite * density / factorial, 58))
        hermite, before = node * hermite - n * before, hermite
    return row


def _inverse_row(node: Decimal) -> list[int]:
    """Series of x in 1 − Φ(x) = exp(−u²/2): u·x″ = x′·(1 − u² + u·x·x′), around u = ``node``."""
    goal = (-node * node / 2).exp()
    x = node
    for _ in range(200):
        step = (_tail(x) - goal) / _density(x)
        x += step
        if abs(step) < Decimal(10) ** -60:
            break
    xs, slopes = [x], [node * goal / _density(x)]
    for n in range(_INVERSE_DEGREE):
        xs.append(slopes[n] / (n + 1))
        product = [sum((xs[i] * slopes[m - i] for i in range(m + 1)), Decimal(0)) for m in range(n + 1)]
        factor = [node * product[m] + (product[m - 1] if m else 0) for m in range(n + 1)]
        factor[0] += 1 - node * node
        if n >= 1:
            factor[1] -= 2 * node
        if n >= 2:
            factor[2] -= 1
        right = sum((slopes[i] * factor[n - i] for i in range(n + 1)), Decimal(0))
        slopes.append((right - n * slopes[n]) / ((n + 1) * node))
    return [_fixed(value, 58) for value in xs]


def tables() -> dict[str, Any]:
    """All tables, with their hash."""
    with localcontext() as context:
        context.prec = _DIGITS
        ln2, sixteenth = Decimal(2).ln(), Decimal(1) / 16
        factorials = [Decimal(1)]
        for n in range(1, _SERIES):
            factorials.append(factorials[-1] * n)
        made: dict[str, Any] = {
            "ln2": _fixed(ln2, 80),
            "inverse_ln2": _fixed(1 / ln2, 32),
            "inverse_sqrt_2pi": _fixed(1 / (2 * _pi()).sqrt(), 62),
            "log": _log_rows(),
            "log_series": [_fixed(Decimal((-1) ** (n + 1)) / n, 62) for n in range(1, _SERIES + 1)],
            "exp": [_fixed((Decimal(j) / 64).exp(), 62) for j in range(-23, 24)],
            "exp_series": [_fixed(1 / f, 62) for f in factorials],
            "normal": [_normal_row(i * sixteenth) for i in range(145)],
            "inverse": [_inverse_row(i * sixteenth) for i in range(_INVERSE_FIRST, _INVERSE_LAST + 1)],
        }
    return made | {"hash": digest(made)}


def digest(content: dict[str, Any]) -> str:
    """SHA-256 of everything but ``hash``, in hexadecimal."""
    rest = {name: value for name, value in content.items() if name != "hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def text() -> str:
    """``tables.json`` as it should be: one row a line."""
    lines = []
    for name, value in tables().items():
        if isinstance(value, list):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            lines.append(f' "{name}": [\n  {rows}\n ]')
        else:
            lines.append(f' "{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(text())
