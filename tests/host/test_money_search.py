"""Nobody takes money by any sequence of commands: the search finds no plan that breaks a promise."""

import random
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hawse.keys.messages import MessageKind
from hawse.state.slot import RequestKind
from hawse.wire import Side, TimeInForce
from support.attack import MAKER, OF, Command, Force, Found, Raid, Slot, breach, plan, search, source
from support.money import Step
from support.oracle import PPM, Standing
from support.promises import (
    FILL,
    Broken,
    fills_keep_free_collateral,
    nobody_falls_below_zero,
    orders_are_carried,
    positions_had_their_margin,
    restart_changes_nothing,
)
from support.seed import seed_of

ORDER, REPLACE, CANCEL, WITHDRAW = (
    MessageKind.ORDER,
    MessageKind.REPLACE,
    MessageKind.CANCEL,
    MessageKind.WITHDRAW,
)
TRANSFER, APPOINT, REVOKE = MessageKind.TRANSFER, MessageKind.APPOINT, MessageKind.REVOKE
BUY, SELL = Side
#: Agents that come and go, and what one of them does, for a second or for long.
ALICE, BOB = Command(APPOINT, 1, 0, offset=200_000), Command(APPOINT, 1, 1)
GONE = Command(REVOKE, 1, 0)
ACTS, ACTS_LONG = (Command(MessageKind.CANCEL_ALL, 1, by=by) for by in (1, 4))
#: The first subaccount of owner 1.
SUB = OF + 1
ALL, NEARLY = ("close", PPM), ("stake", 950_000)


def order(account, side, offset=0, size=NEARLY, **more):
    return Command(ORDER, account, side=side, offset=offset, size=size, **more)


def takes(account, side, size=("meet", 0), tif=TimeInForce.IOC):
    return Command(ORDER, account, side=side, meet=0, size=size, time_in_force=tif)


#: What broke a promise once, by random search or by thought.
PLANS = {
    "replace behind a fill": (
        Slot((order(1, BUY),)),
        Slot((takes(2, SELL, ("meet", -1)), Command(REPLACE, 1, size=NEARLY)), turns=4),
    ),
    "replace behind a fill, short": (
        Slot((order(1, SELL),)),
        Slot((takes(2, BUY, ("meet", -1)), Command(REPLACE, 1, size=NEARLY)), turns=4),
    ),
    "replace that trades at once": (
        Slot((order(1, BUY),)),
        Slot((order(2, SELL), Command(REPLACE, 2, meet=0, size=("meet", 0)))),
        Slot((order(1, BUY), Command(REPLACE, 2, meet=0, size=("meet", -1))), turns=4),
    ),
    "cancel and new behind a fill": (
        Slot((order(1, BUY),)),
        Slot((takes(2, SELL, ("meet", -1)), Command(CANCEL, 1), order(1, BUY)), turns=4),
    ),
    "replace, taken out": (
        Slot((order(1, BUY),)),
        Slot((takes(2, SELL, ("meet", -1)), Command(REPLACE, 1, size=NEARLY)), turns=16),
        Slot((Command(CANCEL, 1),)),
        Slot((), 1, True, ((0, -40_000),)),
        Slot((takes(2, BUY, ALL),), 1, True),
        Slot(tuple(Command(WITHDRAW, account, size=("free", 0)) for account in (1, 2, 3)), closes=True),
    ),
    "an order that the mark has left behind": (
        Slot((order(1, SELL, 10),)),
        Slot(marks=((0, 60_000),)),
        Slot(marks=((0, 60_000),)),
        Slot((takes(2, BUY),)),
        Slot((takes(2, SELL, ALL),), quotes=True),
        Slot((Command(WITHDRAW, 2, size=("money", PPM)), Command(WITHDRAW, 3, size=("money", PPM)))),
    ),
    "an order whose mark moves in the slot in which it trades": (
        Slot((order(2, BUY, -10, ("stake", PPM)),)),
        Slot((order(3, SELL, -30_000, ("meet", -1)),), marks=((0, -60_000),)),
    ),
    "an order that is carried by a hair": (
        Slot((order(2, BUY, -10, ("stake", PPM)),)),
        Slot(marks=((0, 100),)),
    ),
    "a close at a loss, when next to nothing is left": (
        Slot((order(1, BUY), takes(2, SELL))),
        Slot(marks=((0, -49_000),)),
        Slot((order(2, BUY, -30_000), takes(1, SELL, ALL))),
    ),
    "a close at a loss, short": (
        Slot((order(1, SELL), takes(2, BUY))),
        Slot(marks=((0, 48_000),)),
        Slot((order(2, SELL, 30_000), takes(1, BUY, ALL))),
    ),
    "a close at a loss by an order that rests": (
        Slot((order(1, BUY), takes(2, SELL))),
        Slot(marks=((0, -48_000),)),
        Slot((order(1, SELL, -30_000, ALL),)),
        Slot((takes(2, BUY),)),
    ),
    "closes at a loss, each of which could be paid alone": (
        Slot((order(1, BUY), takes(2, SELL))),
        Slot(marks=((0, -38_000),)),
        Slot(tuple(order(1, SELL, -30_000, ("close", PPM // 4)) for _ in range(4))),
        Slot((takes(2, BUY),), turns=4),
    ),
    "a close at a loss, below zero": (
        Slot((Command(ORDER, 1, side=SELL, meet=0, size=ALL),), turns=2, quotes=True),
        Slot(marks=((0, 60_000),)),
        Slot((Command(ORDER, 2, side=SELL, offset=30_000), Command(ORDER, 1, meet=0, size=ALL))),
    ),
    "a close at a small loss, below zero": (
        Slot((order(1, SELL, -49_000, ("carry", 980_000)),)),
        Slot(quotes=True),
        Slot(marks=((0, 60_000),)),
        Slot((order(2, SELL, 10_000, ("stake", 100_000)), Command(ORDER, 1, meet=0, size=("meet", 0)))),
    ),
    # What a venue without one of its rules was found to do.
    "an agent that comes again, and its message with it": (
        Slot((ALICE, ACTS, GONE, BOB, ALICE)),
        Slot(again=(0, 1, 2, 3, 4)),
    ),
    "an agent whose life was short for a while": (
        Slot((ALICE, ACTS_LONG, ALICE._replace(offset=1), GONE)),
        Slot((BOB, ALICE), wait=70_000),
        Slot(again=(3, 4, 5)),
    ),
    "money that comes by transfer, and counts twice": (
        Slot((Command(TRANSFER, 1, 1, size=("money", 500_000)),)),
        Slot(
            (
                order(SUB, BUY, size=("stake", 100_000)),
                Command(TRANSFER, 1, 1, size=("free", 0)),
                order(SUB, BUY, size=("carry", PPM)),
                order(SUB, BUY, size=("carry", PPM)),
            )
        ),
        Slot((takes(2, SELL), takes(2, SELL))),
    ),
    "a transfer that leaves a position without its margin": (
        Slot((order(1, BUY), takes(2, SELL))),
        Slot((Command(TRANSFER, 1, 1, size=("money", 900_000)),)),
    ),
    # No breach: what another's end took was once taken for a withdrawal.
    "a position that another's end closes, beside a command's margin": (
        Slot((order(1, SELL, -49_000, ALL),)),
        Slot(marks=((1, -40_000),)),
        Slot((Command(TRANSFER, 2, size=("money", 500_000)),)),
        Slot((order(6, SELL, size=("stake", 980_000)),)),
        Slot((order(5, SELL, 150_000, ("carry", 250_000), instrument=1),)),
        Slot(quotes=True),
        Slot(marks=((1, 40_000),)),
        Slot(
            (
                order(3, SELL, size=("stake", 980_000), instrument=1),
                Command(REPLACE, 5, 3, meet=0, offset=1),
                order(1, BUY, 30_000, ("meet", 0), instrument=1),
            ),
            marks=((1, -60_000),),
        ),
        Slot(marks=((0, 60_000),)),
    ),
    "the machine closes, and what holds for both sides carries more on the other": (
        Slot((order(1, BUY, -49_000, ("meet", -1)),)),
        Slot((order(1, SELL, size=("meet", 0)),), turns=4, quotes=True, marks=((0, -1000),)),
        Slot((order(1, BUY, size=("stake", 250_000)),), turns=4),
        Slot((order(2, BUY, size=("carry", 480_000)), takes(1, SELL)), forces=(Force(RequestKind.EXIT, 1),)),
    ),
    "a life that is told from the one before by nothing": (
        Slot(tuple(Command(TRANSFER, 3, n, size=("money", 400_000)) for n in (1, 2))),
        Slot((Command(TRANSFER, 3 * OF + 1, 0, size=("free", 0)),), closes=True),
        Slot(closes=True),
        Slot((Command(TRANSFER, 3 * OF + 2, 3, size=("money", 500_000)),)),
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_what_broke_a_promise_once_does_no_more(name):
    broken = breach(PLANS[name])
    assert broken is None, str(broken)


# The search


def hunt(seconds, slots):
    seed = seed_of()
    found = search(seed, seconds, slots=slots)
    if isinstance(found, Found):
        pytest.fail(f"seed {seed}, {found.slots} slots: {found.broken}\n{source(found.plan)}")
    print(f"seed {seed}: {found} slots kept every promise")


def test_no_short_search_finds_a_breach():
    hunt(12, 12)


@pytest.mark.slow
@pytest.mark.parametrize("slots", [6, 12, 40])
def test_no_long_search_finds_a_breach(slots):
    hunt(600, slots)


def run(plan, restart):
    raid = Raid()
    raid.run([slot._replace(restart=restart) for slot in plan], [restart_changes_nothing])
    return raid.desk.machine.snapshot()


def restarts(plans):
    seed = seed_of()
    for number in range(plans):
        tried = plan(random.Random(f"{seed}/{number}").choice)
        assert run(tried, True) == run(tried, False), f"seed {seed}\n{source(tried)}"


def test_a_restart_behind_any_slot_changes_nothing_later():
    restarts(20)


@pytest.mark.slow
def test_a_restart_behind_any_slot_changes_nothing_later_for_long():
    restarts(2000)


# Promises can be broken


def at(equity, margin=0, costs=0, closing=0, opens=False):
    numbers = (Fraction(n) for n in (margin, costs, closing))
    return Standing(equity, (), *numbers, opens, 0)


RAID = SimpleNamespace(maker=MAKER)


@pytest.mark.parametrize(
    ("promise", "start", "held", "kept", "broken", "fills"),
    [
        (fills_keep_free_collateral, at(90), at(90, 50, 9), at(88, 50, 10), at(88, 51, 10), 1),
        (fills_keep_free_collateral, at(90), at(90, 50), at(90, 50), at(90, 51), 0),
        (positions_had_their_margin, at(90, 40), at(90, 40), at(90, 92), at(90, 93), 0),
        (positions_had_their_margin, at(90, 99), at(90, 99), at(87, 101), at(87, 102), 1),
        (nobody_falls_below_zero, at(1), at(1), at(-FILL), at(-FILL - 1), 1),
        (nobody_falls_below_zero, at(-5), at(-5), at(-5), at(-6), 0),
        (orders_are_carried, at(9), at(9), at(9, 20, 9), at(9, 20, 9, opens=True), 0),
        (orders_are_carried, at(9), at(9), at(9, 4, 9, 9, opens=True), at(9, 4, 9, opens=True), 0),
    ],
)
def test_a_promise_is_broken_by_what_breaks_it(promise, start, held, kept, broken, fills):
    promise(RAID, Step(False, {1: start}, {1: held}, {1: kept}, {1: fills}))
    with pytest.raises(Broken, match=promise.__name__):
        promise(RAID, Step(False, {1: start}, {1: held}, {1: broken}, {1: fills}))
