"""Native requirements and portfolios give the golden integers, and refuse with the golden codes."""

import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hawse.engine.native.build import compiler
from hawse.instruments import PPM, Kind
from hawse.risk import portfolio, requirements
from hawse.risk.errors import Code, RiskError
from hawse.risk.fixed import LEAST, MOST, ONE
from hawse.risk.native import accounts, build
from hawse.risk.portfolio import Array, Expiry, Ranges, Scenario, Scenarios
from hawse.risk.prices import MOST_LOTS, MOST_PRICE
from hawse.risk.requirements import MOST_VALUE, Holding, Market, Order, Terms, Tier
from hawse.wire import Side
from support.forms import same

HERE = Path(__file__).resolve().parent


def golden(function, *arguments):
    """Its result, and its code."""
    try:
        return function(*arguments), Code.OK
    except RiskError as error:
        return None, error.code


def anything(random, most, *, signed=False):
    """Of every length up to ``most``, its ends among them; sometimes one beyond."""
    value = random.choice([random.getrandbits(random.randint(1, most.bit_length())), most, most - 1, 0, 1])
    value = min(value, most) + (random.random() < 0.01)
    return -value if signed and random.random() < 0.5 else value


def usual(random, most, ordinary, *, signed=False):
    """Mostly up to ``ordinary``, else :func:`anything`."""
    if random.random() < 0.7:
        value = random.randint(0, ordinary)
        return -value if signed and random.random() < 0.5 else value
    return anything(random, most, signed=signed)


def _terms(random):
    """Fields of Terms, most of them good."""
    edges = sorted(random.sample(range(1, 1 << random.choice([20, 40, 60])), random.randint(0, 7)))
    multiples = sorted(usual(random, 1 << 32, 10 * PPM) + 1 for _ in range(len(edges) + 1))
    if random.random() < 0.03:
        random.shuffle(multiples)
        random.shuffle(edges)
    floor = random.randint(0, PPM)
    lower = usual(random, MOST_LOTS - 1, 10**6)
    return {
        "kind": random.choice(list(Kind)),
        "numerator": usual(random, 2**32 - 1, 9) + (random.random() < 0.95),
        "denominator": usual(random, 2**32 - 1, 999) + (random.random() < 0.95),
        "tiers": tuple(Tier(e, m) for e, m in zip([0, *edges], multiples, strict=True)),
        "maintenance_ppm": random.randint(1, PPM),
        "fee_ppm": random.randint(0, PPM),
        "lower": lower,
        "upper": min(MOST_LOTS, lower + random.randint(1 if random.random() < 0.97 else 0, 10**6)),
        "strike": usual(random, MOST_PRICE, 10**5) + (random.random() < 0.98),
        "short_ppm": random.randint(floor, PPM) + (random.random() < 0.01),
        "short_floor_ppm": floor,
    }


def _market(random):
    return {
        "mark": usual(random, MOST_PRICE, 10**5),
        "underlying": usual(random, MOST_PRICE, 10**5) + (random.random() < 0.98),
        "fair": usual(random, MOST_PRICE, 10**5),
        "fraction_ppm": random.randint(1, PPM) if random.random() < 0.98 else random.choice([0, PPM + 1]),
        "open_interest": usual(random, MOST, 10**6),
        "valid": random.random() < 0.9,
    }


def _holding(random):
    return {
        "size": usual(random, MOST_LOTS, 10**7, signed=True),
        "entry": usual(random, MOST_VALUE, 10**12, signed=True),
        "funding": usual(random, MOST, 10**9, signed=True),
        "buy": usual(random, MOST_LOTS, 10**7),
        "sell": usual(random, MOST_LOTS, 10**7),
        "loss": usual(random, MOST_VALUE, 10**12),
        "basis": usual(random, MOST_VALUE, 10**12),
    }


class Raw:
    """Fields that no dataclass has checked."""

    def __init__(self, fields):
        self.__dict__.update(fields)


def _int64(fields):
    return all(LEAST <= value <= MOST for value in fields.values() if isinstance(value, int))


def rows(seed, count):
    """Instruments and a holding of each: raw fields, and native rows."""
    random = Random(seed)
    made = []
    while len(made) < count:
        fields = _terms(random), _market(random), _holding(random)
        if _int64(fields[1]) and LEAST <= fields[2]["funding"] <= MOST:
            made.append(fields)
    terms = np.concatenate([accounts.terms_row(Raw(t)) for t, _, _ in made])
    markets = np.concatenate([accounts.market_row(Raw(m)) for _, m, _ in made])
    held = accounts.holding_rows([(n, Raw(h)) for n, (_, _, h) in enumerate(made)])
    return made, accounts.Instruments(terms, markets), held


def _instrument(terms, market):
    return Terms(**terms), Market(**market)


def _requirements(seed, count):
    """Codes seen."""
    made, instruments, held = rows(seed, count)
    good = np.flatnonzero(instruments.codes == 0)
    seen = set()
    for fields, code in zip(made, instruments.codes.tolist(), strict=True):
        assert golden(_instrument, *fields[:2])[1] == code, fields
        seen.add(Code(code))
    results, codes = instruments.requirement(np.ascontiguousarray(held[good]))
    for row, n in enumerate(good):
        terms, market, holding = made[n]
        found, code = golden(lambda t=terms, m=market, h=holding: requirements.requirement(
            Terms(**t), Market(**m), Holding(**h)))  # fmt: skip
        assert codes[row] == code, made[n]
        seen.add(code)
        if found:
            assert tuple(results[row].tolist()) == found, made[n]
    return seen


def test_requirements():
    seen = _requirements(1, 4_000)
    assert {Code.OK, Code.OVERFLOW, Code.LOTS, Code.ARGUMENT, Code.ORDER, Code.PRICE, Code.STRIKE} <= seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_requirements_at_length(seed):
    _requirements(seed, 40_000)


def _clean(random, maker, kind):
    """``kind`` of fields that are good."""
    while True:
        fields = maker(random)
        try:
            return kind(**fields)
        except RiskError:
            continue


def _accounts(seed, count):
    random = Random(seed)
    pairs = [(_clean(random, _terms, Terms), _clean(random, _market, Market)) for _ in range(60)]
    instruments = accounts.Instruments(
        np.concatenate([accounts.terms_row(t) for t, _ in pairs]),
        np.concatenate([accounts.market_row(m) for _, m in pairs]),
    )
    assert not instruments.codes.any()
    held, flat, collateral, orders = [], [], [], []
    for _ in range(count):
        each = [
            (random.randrange(60), _clean(random, _holding, Holding)) for _ in range(random.randint(1, 5))
        ]
        held.append([(*pairs[n], holding) for n, holding in each])
        flat += each
        collateral.append(usual(random, MOST, 10**15, signed=True))
        orders.append(
            Order(
                random.randint(0, len(each) - (random.random() < 0.95)),
                random.choice(list(Side)),
                usual(random, MOST_PRICE, 10**5),
                usual(random, MOST_LOTS, 10**6),
            )
        )
    collateral = [min(MOST, max(LEAST, c)) for c in collateral]
    ends = np.cumsum([len(each) for each in held]).astype(np.uint64)
    return instruments, held, accounts.holding_rows(flat), ends, collateral, orders


def _cross(seed, count):
    instruments, held, flat, ends, collateral, orders = _accounts(seed, count)
    money = np.array(collateral, np.int64)
    placed = np.array([tuple(map(int, order)) for order in orders], accounts.ORDER)
    crossed = instruments.cross(flat, ends, money)
    leaves = [instruments.withdrawable(flat, ends, money, covered) for covered in (False, True)]
    frees = instruments.free_with(flat, ends, money, placed)
    seen = set()
    for n, each in enumerate(held):
        found, code = golden(requirements.cross, collateral[n], each)
        assert crossed[1][n] == code
        if found:
            row = crossed[0][n].tolist()
            assert row == (found.equity, found.initial, found.surcharged, found.maintenance)
        for covered in (False, True):
            found, code = golden(requirements.withdrawable, collateral[n], each, covered)
            assert (leaves[covered][0][n], leaves[covered][1][n]) == (found or 0, code)
        found, code = golden(requirements.free_with, collateral[n], each, orders[n])
        assert (frees[0][n], frees[1][n]) == (found or 0, code), (each, orders[n])
        seen.add(code)
    return seen


def test_cross_accounts():
    seen = _cross(1, 1_500)
    assert {Code.OK, Code.OVERFLOW, Code.LOTS, Code.ARGUMENT} <= seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_cross_accounts_at_length(seed):
    _cross(seed, 20_000)


# Portfolios


def _scenarios(random):
    each = tuple(
        Scenario(random.randint(-4 * PPM, 4 * PPM), random.randint(-1, 1), random.randint(1, PPM))
        for _ in range(random.choice([1, 16, 31, 64]))
    )
    return Scenarios(each, random.randint(0, PPM), random.randint(0, PPM), random.randint(1, PPM))


def _priced(random, terms):
    near = max(1, min(MOST_PRICE, terms.strike * random.randint(1, 4 << 20) >> 20))
    forward = random.choice([near, near, usual(random, MOST_PRICE, 10**5) + 1])
    time = random.choice([random.randint(0, ONE), 0, -1, 51 * ONE])
    return Expiry(forward, time, random.choice([random.randint(1, 3 * ONE), 0, 16 * ONE, 17 * ONE]))


def _arrays(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        scenarios = _scenarios(random)
        ranges = Ranges(random.choice([random.randint(1, PPM), 0]), random.randint(0, ONE))
        asked = []
        for _ in range(8):
            terms, market = _clean(random, _terms, Terms), _clean(random, _market, Market)
            priced = _priced(random, terms) if terms.option and random.random() < 0.95 else None
            asked.append((terms, market, random.choice([random.randint(0, 63)] * 9 + [64]), priced))
        native = accounts.Arrays(len(asked), scenarios)
        codes = native.make(np.concatenate([accounts.request_row(*each) for each in asked]), ranges)
        for n, (terms, market, expiry, priced) in enumerate(asked):
            found, code = golden(portfolio.array, terms, market, scenarios, ranges, expiry, priced)
            assert codes[n] == code, asked[n]
            seen.add(code)
            if found:
                assert tuple(native.changes[n].tolist()) == found.changes
                row = native.deltas[n], native.vegas[n], native.minima[n], native.expiries[n]
                assert row == (found.delta, found.vega, found.minimum, found.expiry)
    return seen


def test_arrays():
    seen = _arrays(1, 60)
    assert {Code.OK, Code.OVERFLOW, Code.TIME, Code.VOLATILITY, Code.SHAPE, Code.ARGUMENT} <= seen


def test_halves_go_up_on_both_sides_of_zero():
    terms, market = Terms(Kind.FUTURE, 1, 1 << 22), Market(100, 100, 100)
    scenarios = Scenarios((Scenario(PPM, 0), Scenario(-PPM, 0)))
    native = accounts.Arrays(1, scenarios)
    assert not native.make(accounts.request_row(terms, market, 0), Ranges(20_000, 0)).any()
    found = portfolio.array(terms, market, scenarios, Ranges(20_000, 0), 0)  # 2 units of a quarter quantum
    assert found.changes == tuple(native.changes[0].tolist()) == (1, 0)


def test_nothing_wraps():
    """A product that is a multiple of 2**128 is no 0."""
    terms, market = Terms(Kind.PERPETUAL, 1 << 31, 1), Market(1, 1, 1)
    for holding in (Holding(0, entry=1 << 97), Holding(0, loss=1 << 97), Holding(0, basis=1 << 97)):
        same("cross", 0, [(replace(terms, fee_ppm=PPM), market, holding)])
    assert same("cross", 0, [(terms, market, Holding(0, entry=1 << 97))]) == Code.OVERFLOW


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 12))
def test_arrays_at_length(seed):
    _arrays(seed, 600)


def _scans(seed, count):
    random, seen = Random(seed), set()
    for _ in range(count):
        scenarios = _scenarios(random)
        wild = random.random() < 0.3
        size = MOST if wild else 1 << 42
        native = accounts.Arrays(20, scenarios)
        for column in (native.changes.reshape(-1), native.deltas, native.minima):
            column[:] = [min(MOST, anything(random, size)) * random.choice([1, -1]) for _ in column]
        native.minima[:] = abs(native.minima)
        native.peaks[:] = abs(native.changes).max(axis=1)
        native.expiries[:] = [random.randint(0, 63) for _ in range(20)]
        arrays = [
            Array(
                tuple(native.changes[n].tolist()),
                *(int(c[n]) for c in (native.deltas, native.vegas, native.minima, native.expiries)),
            )
            for n in range(20)
        ]
        held = [
            [
                (random.randrange(20), usual(random, MOST_LOTS, 10**4, signed=True))
                for _ in range(random.choice([0, 1, 2, 16, 130] if random.random() < 0.1 else [1, 3, 16]))
            ]
            for _ in range(5)
        ]
        ends = np.cumsum([len(each) for each in held]).astype(np.uint64)
        flat = np.array([position for each in held for position in each], accounts.POSITION)
        losses = np.zeros((5, len(scenarios.each)), np.int64)
        costs = [usual(random, MOST, 10**6) for _ in held]
        results, codes = native.scan(flat, ends, losses)
        added = native.add_on(flat, ends, np.array([min(c, MOST) for c in costs]))
        for n, each in enumerate(held):
            positions = [(arrays[i], lots) for i, lots in each]
            found, code = golden(portfolio.scan, positions, scenarios.basis_ppm)
            assert codes[n] == code, (each, code)
            seen.add(code)
            if found:
                assert tuple(losses[n].tolist()) == found.losses
                worst, short, basis = results[n].tolist()
                assert (worst, short, basis) == (max(0, *found.losses), found.short, found.basis)
            expected, code = golden(portfolio.add_on, positions, scenarios.basis_ppm, min(costs[n], MOST))
            assert (added[0][n], added[1][n]) == (expected or 0, code)
    return seen


def test_scans():
    assert {Code.OK, Code.OVERFLOW, Code.SHAPE, Code.LOTS} <= _scans(1, 120)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_scans_at_length(seed):
    _scans(seed, 1_500)


def _portfolios(seed, count):
    """Accounts of one underlying: values, scan and what orders add, together."""
    random, seen = Random(seed), set()
    for _ in range(count):
        instruments, held, flat, ends, collateral, _ = _accounts(random.getrandbits(30), 4)
        arrays = accounts.Arrays(60, _scenarios(random))
        reach = random.choice([1 << 30, 1 << 60])
        for column in (arrays.changes.reshape(-1), arrays.deltas):
            column[:] = [random.randint(-reach, reach) for _ in column]
        arrays.minima[:] = [random.randint(0, reach) for _ in range(60)]
        arrays.expiries[:] = [random.randint(0, 3) for _ in range(60)]
        arrays.peaks[:] = abs(arrays.changes).max(axis=1)
        orders = [min(MOST, usual(random, MOST, 10**6)) for _ in held]
        money = np.array(collateral, np.int64)
        results, codes = arrays.portfolio(instruments, flat, ends, money, np.array(orders, np.int64))
        rows_of = np.split(flat, ends[:-1].astype(int))

        def golden_account(
            n, arrays=arrays, held=held, rows_of=rows_of, collateral=collateral, orders=orders
        ):
            values = [requirements.unrealised(t, m.mark, h) for t, m, h in held[n]]
            positions = [
                (
                    Array(
                        tuple(arrays.changes[i].tolist()),
                        *(int(c[i]) for c in (arrays.deltas, arrays.vegas, arrays.minima, arrays.expiries)),
                    ),
                    holding.size,
                )
                for i, (_, _, holding) in zip(rows_of[n]["instrument"], held[n], strict=True)
            ]
            scans = [portfolio.scan(positions, arrays.basis_ppm)]
            return portfolio.portfolio(collateral[n], values, scans, [orders[n]], arrays.maintenance_ppm)

        for n in range(len(held)):
            found, code = golden(golden_account, n)
            assert codes[n] == code
            seen.add(code)
            if found:
                assert results[n].tolist() == (found.equity, found.requirement, found.maintenance)
    return seen


def test_portfolios():
    assert {Code.OK, Code.OVERFLOW} <= _portfolios(1, 80)


@pytest.mark.slow
def test_portfolios_at_length():
    _portfolios(10, 1_000)


# On other machines


def _question():
    """What ``answers_accounts.cpp`` reads."""
    made, _, held = rows(3, 1_000)
    sent = [np.int64(len(made))]
    for n, (terms, market, _) in enumerate(made):
        sent += [accounts.terms_row(Raw(terms)), accounts.market_row(Raw(market)), held[n : n + 1]]
    random = Random(3)
    sent.append(np.int64(60))
    for _ in range(60):
        scenarios = _scenarios(random)
        each = np.array([tuple(scenario) for scenario in scenarios.each], accounts.SCENARIO)
        parts = [random.randint(1, PPM), random.randint(0, ONE), scenarios.short_ppm, scenarios.basis_ppm, 12]
        sent += [np.int64(len(each)), each, np.array(parts)]
        for _ in range(12):
            terms, market = _clean(random, _terms, Terms), _clean(random, _market, Market)
            priced = _priced(random, terms) if terms.option else None
            sent.append(accounts.request_row(terms, market, random.randint(0, 63), priced))
        held = [(random.randrange(12), usual(random, MOST_LOTS, 10**4, signed=True)) for _ in range(16)]
        sent += [np.int64(16), np.array(held, accounts.POSITION)]
    return b"".join(part.tobytes() for part in sent)


def _program(command, machine, tmp_path):
    """``answers_accounts.cpp`` compiled by ``command``."""
    sources = [*map(str, build.source_files()), str(HERE / "answers_accounts.cpp")]
    flags = ["-std=c++17", "-O2", *build.FLAGS, *(f"-I{path}" for path in build.include_dirs())]
    program = str(tmp_path / machine)
    subprocess.run([*command, *flags, *sources, "-o", program], check=True)
    return program


def _answers(*command):
    found = subprocess.run(command, input=_question(), capture_output=True, check=True).stdout
    assert len(found) > 1_000_000
    return found


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
    assert _answers(qemu, program) == _answers(_program(compiler(), "here", tmp_path))


@pytest.mark.slow
def test_nothing_that_c_plus_plus_leaves_undefined():
    """The sanitizer ends the process at an overflow, a shift too far, or an index out of bounds."""
    trap = "trap=undefined" if "ziglang" in compiler() else "undefined-trap-on-error"
    command = [sys.executable, "-m", "support.checked", str(HERE)]
    flags, modules = (
        ["-fsanitize=undefined", f"-fsanitize-{trap}"],
        ["test_native_accounts", "test_native_venue"],
    )
    tests = HERE.parents[1]  # where `support` is found
    command += [*flags, "--", *modules]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert {"test_cross_accounts", "test_scans", "test_ranks_and_shares"} <= set(done.stdout.split())
