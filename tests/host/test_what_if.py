"""What an order would do: a part of the venue says what the whole of it does."""

import secrets

import pytest
from hawse.risk.margin import MoneyOverflow
from hawse.state.machine import Machine
from hawse.state.native.machine import NativeMachine
from hawse.state.what_if import Asked, part_of, what_if
from hawse.wire import Reason, Side
from support.hostile import VENUES, Hostile


def said(machine, account, asked):
    try:
        found = what_if(machine, account, asked)
    except MoneyOverflow:
        return None
    why = found.refusal and (found.refusal.reason, found.refusal.have, found.refusal.need)
    # A handle is the number that an order has in the part, or in the whole.
    if why and why[0] == Reason.CLIENT_ID_USED:
        why = why[:2]
    return found.before, found.after, why


def orders(rng, machine, account):
    """Two of each account's, around the mark, some too large to be carried, some that close what it has."""
    for only in (False, True):
        number = int(rng.choice([*machine.markets]))
        market, position = machine.markets[number], account.positions.get(number)
        side = Side.SELL if rng.random() < 0.5 else Side.BUY
        if only and position:
            side = Side.SELL if position.size > 0 else Side.BUY
        lots = (
            abs(position.size) if only and position else int(rng.integers(1, 10 ** int(rng.integers(2, 9))))
        )
        price = min(max(market.mark + int(rng.integers(-20, 21)), -(2**31)), 2**31 - 1)
        yield Asked(number, side, price, min(max(lots, 1), 2**32 - 1), only)


@pytest.mark.parametrize("name", VENUES)
def test_a_part_of_the_venue_decides_as_the_whole_does(name):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    hostile, seen, judged, slots = Hostile(name, seed), set(), 0, 0
    while judged < 24:
        slots += 1
        assert slots < 500
        if not hostile.slot(40):  # an amount left int64, which ends a machine
            hostile = Hostile(name, [seed, slots])
            continue
        whole, native = hostile.machine.snapshot(), hostile.machine.native
        assert isinstance(native, NativeMachine)
        if hostile.machine._ledger.unhealthy:
            continue  # the whole would liquidate others, too
        for index in hostile.rng.choice(range(1, len(native.accounts)), 3):
            account = native.accounts[int(index)]
            if account.owner not in hostile.machine._ledger.by_owner:
                continue  # its index waits for its next owner
            for asked in orders(hostile.rng, native, account):
                machine = Machine.restore(hostile.config, whole)
                expected = said(machine, machine.accounts[int(index)], asked)
                if expected and expected[2] and expected[2][0] == Reason.TAGS_FULL:
                    continue  # of other owners it knows nothing
                for form in (native, hostile.machine):
                    resting = len(hostile.machine.orders)
                    got = said(*part_of(form, form.accounts[int(index)], resting), asked)
                    assert got == expected, (index, asked)
                judged += 1
                seen.add(expected and (expected[2] and expected[2][0]))
        assert hostile.machine.snapshot() == whole == native.snapshot()
    assert len(seen) > 1, seen
