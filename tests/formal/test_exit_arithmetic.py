"""What exits are paid, over the whole range of a header, by z3: the contract's formula, not samples of it."""

import pytest

z3 = pytest.importorskip("z3")

MONEY = 2**126
INT256 = 2**255


def holds(claim, *given):
    """Whether nothing that is ``given`` contradicts ``claim``."""
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*given, z3.Not(claim))
    found = solver.check()
    assert found == z3.unsat, solver.model() if found == z3.sat else "undecided"


def names(*words):
    return [z3.Int(word) for word in words]


def largest(*values):
    found = values[0]
    for value in values[1:]:
        found = z3.If(value > found, value, found)
    return found


def header():
    """P, S and I within the bounds that ``anchor`` demands, and X = max(0, S - I)."""
    positive, shortfall, insurance = names("P", "S", "I")
    bounds = [positive >= 0, positive < MONEY, shortfall >= 0, shortfall < MONEY]
    bounds += [insurance > -MONEY, insurance < MONEY]
    return positive, shortfall, insurance, largest(z3.IntVal(0), shortfall - insurance), bounds


def is_floor(quotient, numerator, denominator):
    return z3.And(quotient * denominator <= numerator, numerator < (quotient + 1) * denominator)


def test_no_step_of_a_payout_leaves_its_type():
    positive, _, _, uncovered, bounds = header()
    (equity,) = names("e")
    numerator = largest(z3.IntVal(0), positive - uncovered)
    # A proven leaf is no larger than P: its node's sums are u128, and only grow on the way up.
    leaf = [equity > 0, equity <= positive]
    holds(z3.And(numerator >= 0, numerator < MONEY), *bounds)
    holds(equity * numerator < 2 * INT256, *bounds, *leaf)
    holds(uncovered < 2 * MONEY, *bounds)


def test_nobody_is_paid_more_than_his_equity_nor_less_than_nothing():
    positive, _, _, uncovered, bounds = header()
    equity, payout = names("e", "q")
    numerator = largest(z3.IntVal(0), positive - uncovered)
    given = [
        *bounds,
        positive > 0,
        equity > 0,
        equity <= positive,
        is_floor(payout, equity * numerator, positive),
    ]
    holds(z3.And(payout >= 0, payout <= equity), *given)


def test_all_payouts_together_are_at_most_what_exits_have():
    """By induction: in all, equity ``e`` was paid at most floor(e * N / P); one more account keeps it."""
    numerator, positive, before, one, paid, bound, mine, after = names("N", "P", "e", "f", "s", "t", "q", "u")
    given = [
        *(numerator >= 0, numerator <= positive, positive > 0, before >= 0, one > 0),
        is_floor(bound, before * numerator, positive),
        is_floor(mine, one * numerator, positive),
        is_floor(after, (before + one) * numerator, positive),
        *(paid >= 0, paid <= bound),
    ]
    holds(paid + mine <= after, *given)


def test_all_equity_is_paid_at_most_n():
    numerator, positive, all_ = names("N", "P", "u")
    given = [numerator >= 0, numerator <= positive, positive > 0]
    holds(all_ == numerator, *given, is_floor(all_, positive * numerator, positive))


def test_what_is_owed_is_what_the_state_has_and_fits():
    """Exits, insurance, fees and dust of a header: no part is negative, and no sum leaves int256."""
    positive, shortfall, insurance, uncovered, bounds = header()
    fees, dust = names("F", "D")
    bounds += [fees >= 0, fees < MONEY, dust >= 0, dust < MONEY]
    zero = z3.IntVal(0)
    exits, spare = largest(zero, positive - uncovered), largest(zero, insurance - shortfall)
    venue = largest(zero, fees + dust - largest(zero, uncovered - positive))
    owed = exits + spare + venue
    holds(z3.And(owed >= 0, owed < INT256), *bounds)
    # Where the state has not more debts than money, it is all of it: nothing is forgotten or invented.
    total = positive - shortfall + insurance + fees + dust
    holds(owed == total, *bounds, uncovered <= positive + fees + dust)
    holds(owed >= total, *bounds)
