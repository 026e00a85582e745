"""The native form gives the golden one's integers and refuses with its codes."""

import shutil
import subprocess
import sys
from dataclasses import astuple
from importlib.util import find_spec
from math import isqrt
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hawse.engine.native.build import compiler
from hawse.risk import fixed, options
from hawse.risk.errors import Code, RiskError
from hawse.risk.fixed import LEAST, MOST, ONE, Rounding
from hawse.risk.native import bindings, build
from hawse.risk.native.bindings import NativeSurface, Operation
from hawse.risk.options import MOST_TIME, MOST_UNITS, MOST_VOLATILITY, Right
from hawse.risk.surface import (
    MOST_MONEYNESS,
    PRICE_TOLERANCE,
    VARIANCE_TOLERANCE,
    Arbitrage,
    Kind,
    Listing,
    Surface,
    arbitrage,
    distance,
    ruling,
)
from support import black

HERE = Path(__file__).resolve().parent
GOLDEN = {
    Operation.MUL: fixed.mul,
    Operation.DIV: fixed.div,
    Operation.SQRT: lambda a, b, rounding: fixed.sqrt(a),
    Operation.EXP: lambda a, b, rounding: fixed.exp(a),
    Operation.LOG: lambda a, b, rounding: fixed.log(a),
    Operation.DENSITY: lambda a, b, rounding: fixed.normal_density(a),
    Operation.DISTRIBUTION: lambda a, b, rounding: fixed.normal_distribution(a),
    Operation.INVERSE: lambda a, b, rounding: fixed.inverse_normal_distribution(a),
    Operation.YEARS: lambda a, b, rounding: options.years(a),
    Operation.MONEYNESS: lambda a, b, rounding: options.log_moneyness(a, b),
    Operation.OF_FORWARD: options.of_forward,
}


def golden(function, *arguments):
    """Its result as a tuple, and its code."""
    try:
        found = function(*arguments)
    except RiskError as error:
        return (), error.code
    if isinstance(found, int):
        return (found,), Code.OK
    return (found if isinstance(found, tuple) else astuple(found)), Code.OK


def _same(function, rows, results, codes):
    for row, result, code in zip(rows.tolist(), results.tolist(), codes.tolist(), strict=True):
        values, expected = golden(function, *row)
        assert code == expected, row
        if values:
            assert (result if isinstance(result, tuple) else (result,)) == values, row


def _edges(*centres):
    return [c + d for c in centres for d in (-1, 0, 1) if LEAST <= c + d <= MOST]


INTEGERS = _edges(
    0, ONE // 2, ONE, 2 * ONE, 9 * ONE, 10 * ONE, 11 * ONE, LEAST, MOST, -ONE, -9 * ONE, -41 * ONE
)


def _integers(random, count):
    """Of every length and sign."""
    return [random.getrandbits(random.randint(0, 63)) * random.choice([1, -1]) for _ in range(count)]


@pytest.mark.parametrize("operation", Operation)
def test_fixed_point(operation):
    random = Random(operation)
    function, two = GOLDEN[operation], operation in (Operation.MUL, Operation.DIV, Operation.MONEYNESS)
    first = INTEGERS + _integers(random, 600)
    first += [random.randint(-10 * ONE, 10 * ONE) for _ in range(400)]
    first += [random.randint(1, ONE) for _ in range(400)]
    a = np.array(first * 2 if two else first, np.int64)
    second = random.choices(INTEGERS, k=len(a) // 2) + _integers(random, len(a) - len(a) // 2)
    if operation == Operation.MONEYNESS:
        second[::2] = [max(LEAST, min(MOST, int(x) + random.randint(-99, 99))) for x in a[::2]]
    b = np.array(second, np.int64)
    for rounding in Rounding if operation in (Operation.MUL, Operation.DIV, Operation.OF_FORWARD) else [0]:
        results, codes = bindings.fixed(operation, a, b, Rounding(rounding))
        rows = np.array([(x, y, rounding) for x, y in zip(a, b, strict=True)], "i8,i8,i8")
        _same(lambda x, y, r: function(x, y, Rounding(r)), rows, results, codes)


def _any_requests(random, count):
    """Mostly in range, some at its ends, some beyond."""
    rows = np.zeros(count, bindings.REQUEST)
    for n in range(count):
        forward = random.choice(
            [random.getrandbits(random.randint(1, 62)), random.choice(_edges(1, MOST_UNITS))]
        )
        strike = random.choice(
            [
                forward + random.randint(-3, 3),
                forward * random.randint(1, 5 << 20) >> 20,
                random.getrandbits(random.randint(1, 63)),
                forward << 14,
                (forward << 14) + 1,
            ]
        )
        time = random.choice(
            [random.randint(0, 3 * ONE), random.getrandbits(random.randint(0, 54)), MOST_TIME, -1]
        )
        volatility = random.choice(
            [
                random.randint(ONE // 20, 3 * ONE),
                random.getrandbits(random.randint(0, 53)),
                random.choice(_edges(1, MOST_VOLATILITY)),
            ]
        )
        discount = random.choice([ONE, random.randint(ONE // 2, 2 * ONE), random.choice(_edges(1, 2 * ONE))])
        rows[n] = (forward, min(strike, MOST), time, volatility, discount)
    return rows


def requests(seed, count):
    """REQUEST rows of all sorts."""
    random = Random(seed)
    return np.concatenate([_any_requests(random, count), black.scattered(count, seed)])


def quotes(seed, count):
    """QUOTE rows: prices of options, prices beside them, and any numbers."""
    random, rows = Random(seed), requests(seed, count)
    out = np.zeros(len(rows), bindings.QUOTE)
    priced, _ = bindings.prices(rows)
    for name in ("forward", "strike", "time", "discount"):
        out[name] = rows[name]
    for n in range(len(rows)):
        right = random.choice(list(Right))
        price = int(priced[n]["put" if right else "call"]) + random.choice([0, 0, 0, 1, -1, 1000])
        if random.random() < 0.1:
            price = random.getrandbits(random.randint(0, 63)) - 1
        out[n]["right"], out[n]["price"] = right, price
    return out


def _options(seed, count):
    rows = requests(seed, count)
    _same(options.evaluate, rows, *bindings.evaluate(rows))
    _same(options.prices, rows, *bindings.prices(rows))


def _volatilities(seed, count):
    rows = quotes(seed, count)
    _same(lambda right, *rest: options.implied_volatility(Right(right), *rest), rows,
          *bindings.implied_volatility(rows))  # fmt: skip


def test_prices_and_greeks():
    _options(1, 800)


def test_prices_and_greeks_over_the_grid():
    rows = black.grid(12, 8, 8)
    _same(options.evaluate, rows, *bindings.evaluate(rows))


def test_implied_volatilities():
    _volatilities(1, 500)


# Surfaces


def nodes(random, good):
    """Times, moneyness and volatilities of a surface; not ``good``: with something that may be wrong."""
    rows, columns = random.randint(1, 5), random.randint(1, 8)
    times = sorted(random.sample(range(1, 3 * ONE), rows))
    moneyness = sorted(random.randint(-2 * ONE, 2 * ONE) for _ in range(columns))
    level = random.uniform(0.1, 2)
    noise = random.choice([0.0, 0.02, 0.5])
    volatilities = [[int(ONE * level * random.uniform(1 - noise, 1)) + 1 for _ in moneyness] for _ in times]
    if not good:
        wrong = random.choice([*_integers(random, 3), 0, MOST_TIME, MOST_MONEYNESS + 1, MOST_VOLATILITY, 1])
        where = random.choice([times, moneyness, *volatilities])
        where[random.randrange(len(where))] = wrong
    return times, moneyness, volatilities


def listings(random):
    """Of a few expiries; some strikes or times may be wrong."""
    made, time = [], 0
    for _ in range(random.randint(0, 4)):
        time += random.randint(1 if random.random() < 0.9 else 0, ONE)
        forward = random.randint(1, 1 << random.randint(1, 62)) if random.random() < 0.2 else 50_000
        strikes = [random.randint(forward // 3, 3 * forward) for _ in range(random.randint(0, 9))]
        strikes = sorted(strikes) if random.random() < 0.9 else strikes
        made.append(Listing(time, forward, tuple(min(k, MOST) for k in strikes)))
    return made


def _golden_surface(times, moneyness, volatilities):
    return Surface(tuple(times), tuple(moneyness), tuple(map(tuple, volatilities)))


def _surfaces(seed, count):
    random = Random(seed)
    seen = set()
    for _ in range(count):
        parts = nodes(random, random.random() < 0.7)
        native = NativeSurface(*parts)
        _, code = golden(_golden_surface, *parts)
        seen.add(code)
        assert native.check() == code, parts
        if code == Code.OK:
            seen |= _one_surface(random, _golden_surface(*parts), native)
    return seen


def _one_surface(random, surface, native):
    points = np.zeros(12, bindings.POINT)
    for n in range(12):
        near = random.choice(surface.moneyness) + random.randint(-1, 1), random.choice(surface.times)
        any_ = random.randint(-3 * ONE, 3 * ONE), random.randint(-ONE // 100, 4 * ONE)
        points[n] = random.choice([near, any_, (MOST_MONEYNESS, MOST_TIME), (LEAST, 0)])
    values, codes = native.at(points)
    _same(surface.variance, points, values["variance"], codes[:, 0])
    _same(surface.volatility, points, values["volatility"], codes[:, 1])
    listed = listings(random)
    found, code = native.arbitrage(listed)
    try:
        expected, reason = arbitrage(surface, listed), Code.OK
    except RiskError as error:
        expected, reason = None, error.code
    assert (found, code) == (expected, reason), (surface, listed)
    return {code, found.kind if isinstance(found, Arbitrage) else None}


def test_surfaces():
    seen = _surfaces(1, 300)
    assert {Code.ORDER, Code.VOLATILITY, Code.TIME, Code.VARIANCE, None} <= seen


def _at_the_edge(kind, parts, listed, excess, allowed):
    """Whether both forms find ``kind`` just where ``excess`` is above ``allowed``."""
    found = arbitrage(_golden_surface(*parts), listed)
    assert NativeSurface(*parts).arbitrage(listed) == (found, Code.OK)
    assert (found is not None and found.kind == kind) == (excess > allowed)
    return excess


def test_rounding_is_allowed_to_the_quantum():
    forward, time = 1 << 40, ONE // 100
    strikes = (forward * 3 // 2, forward * 2, forward * 5 // 2)
    nodes_at = [options.log_moneyness(forward, strike) for strike in strikes]
    seen = set()
    for volatility in range(ONE * 19 // 20, ONE * 23 // 20, ONE // 2000):
        price = options.prices(forward, strikes[1], time, volatility)[0]  # its neighbours cost nothing
        parts = [time], nodes_at, [[ONE // 100, volatility, ONE // 100]]
        for kind, listed in ((Kind.BUTTERFLY, strikes), (Kind.SPREAD, strikes[:2])):
            seen.add(_at_the_edge(kind, parts, [Listing(time, forward, listed)], price, PRICE_TOLERANCE))
    assert {PRICE_TOLERANCE, PRICE_TOLERANCE + 1} <= seen
    seen = set()
    for n in range(200):
        first = ONE // 1000 + 977 * n
        parts = [ONE, 2 * ONE], [0], [[first], [isqrt(first * first // 2) - 352 - n % 3]]
        surface = _golden_surface(*parts)
        less = surface.node(0, 0) - surface.node(1, 0)
        seen.add(_at_the_edge(Kind.CALENDAR, parts, [Listing(ONE, 1, (1,))], less, VARIANCE_TOLERANCE))
    assert {VARIANCE_TOLERANCE, VARIANCE_TOLERANCE + 1} <= seen


def test_which_surface_rules():
    random = Random(5)
    for _ in range(100):
        times, moneyness, _ = nodes(random, True)
        moneyness = sorted(set(moneyness))
        several = [
            (times, moneyness, [[random.randint(ONE // 10, ONE) for _ in moneyness] for _ in times])
            for _ in range(random.randint(1, 7))
        ]
        if random.random() < 0.2:
            several.append(([1], [2], [[ONE]]) if random.random() < 0.5 else several[0])
        native = [NativeSurface(*parts) for parts in several]
        try:
            gold = [_golden_surface(*parts) for parts in several]
        except RiskError:
            continue
        chosen, code = golden(ruling, gold)
        assert bindings.ruling(native) == (chosen[0] if chosen else 0, code)
        apart, code = golden(distance, gold[0], gold[-1])
        assert native[0].distance(native[-1]) == (apart[0] if apart else 0, code)
    assert bindings.ruling([]) == (0, Code.SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_everything_at_length(seed):
    _options(seed, 4_000)
    _volatilities(seed, 1_000)
    seen = _surfaces(seed, 1_000)
    assert {1, 2, 3} <= seen


# What the native form is made of


def test_no_floating_point_and_nothing_from_a_library():
    """General registers only; undefined are no symbols but the compiler's own for wide integers."""
    general = build.risk_library("-mgeneral-regs-only")
    assert general.is_file()
    if not (nm := shutil.which("nm")):
        pytest.skip("no nm")
    listed = subprocess.run([nm, "-u", str(general)], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].split("@")[0] for line in listed.splitlines()}
    weak = {"__cxa_finalize", "__gmon_start__", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}
    wide = {f"__{name}ti{n}" for name, n in (("div", 3), ("mod", 3), ("divmod", 4))}
    wide |= {f"__u{name[2:]}" for name in wide}
    assert names <= weak | wide | {"memcpy", "memset"}, names


def test_the_library_has_the_tables_of_the_golden_form():
    assert f'"{fixed.TABLES_HASH}"' in build.header()
    assert bindings.fixed(Operation.EXP, np.array([0]))[0][0] == ONE


def _question(seed):
    """What ``answers.cpp`` reads."""
    random = Random(seed)
    rows, quoted = requests(seed, 1000), quotes(seed, 1000)
    sent = [np.int64(len(rows)), rows, np.int64(len(quoted)), quoted, np.int64(200)]
    for _ in range(200):
        times, moneyness, volatilities = nodes(random, random.random() < 0.9)
        points = [(random.randint(-3 * ONE, 3 * ONE), random.randint(-9, 4 * ONE)) for _ in range(5)]
        sent += [np.array([len(times), len(moneyness), *times, *moneyness]), np.array(volatilities)]
        sent += [np.int64(len(points)), np.array(points)]
        listed = listings(random)
        sent += [np.int64(len(listed))]
        sent += [np.array([x.time, x.forward, len(x.strikes), *x.strikes]) for x in listed]
    return b"".join(part.tobytes() for part in sent)


def _program(command, machine, tmp_path):
    """``answers.cpp`` compiled by ``command``."""
    sources = [*map(str, build.source_files()), str(HERE / "answers.cpp")]
    flags = ["-std=c++17", "-O2", *build.FLAGS, *(f"-I{path}" for path in build.include_dirs())]
    program = str(tmp_path / machine)
    subprocess.run([*command, *flags, *sources, "-o", program], check=True)
    return program


def _answers(*command):
    return subprocess.run(command, input=_question(3), capture_output=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["aarch64", "riscv64"])
def test_the_same_integers_on_other_machines(machine, tmp_path):
    """Compiled by Zig, run by qemu-user; without that, compiled only."""
    if not find_spec("ziglang"):
        pytest.skip("no Zig")
    zig = (sys.executable, "-m", "ziglang", "c++", "-target", f"{machine}-linux-musl", "-static")
    program = _program(zig, machine, tmp_path)
    if not (qemu := shutil.which(f"qemu-{machine}") or shutil.which(f"qemu-{machine}-static")):
        pytest.skip(f"compiled, but no qemu-{machine} to run it")
    expected = _answers(_program(compiler(), "here", tmp_path))
    assert _answers(qemu, program) == expected
    found, codes = bindings.evaluate(requests(3, 1000))
    rows = np.frombuffer(expected, [("code", "<i8"), ("option", bindings.OPTION)], len(codes))
    assert (rows["code"] == codes).all() and (rows["option"] == found).all()


@pytest.mark.slow
def test_nothing_that_c_plus_plus_leaves_undefined(tmp_path):
    """The sanitizer ends the program at an overflow, a shift too far, or an index out of bounds."""
    if "ziglang" in compiler():
        flags = ("-fsanitize=undefined", "-fsanitize-trap=undefined")
    else:
        flags = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    assert _answers(_program((*compiler(), *flags), "checked", tmp_path))
