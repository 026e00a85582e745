"""hawse risk: the numbers are those that decide."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.keys.signing import sign
from hawse.keys.store import KeyStore, address_of, derive
from hawse.risk.liquidation import LiquidationTerms
from hawse.state.config import VenueConfig
from hawse.state.slot import Deposit, SlotInput
from hawse.venue import Venue
from hawse.wire import Geometry, Side
from support.desk import PERP
from support.signed import OPERATOR, START, mark

LOTS = 800_000_000
ALICE, BOB = derive("risk", 1), derive("risk", 2)
CONFIG = VenueConfig(
    instruments=(PERP,),
    geometry=Geometry(instruments=2, pool=32_768, orders=256, tag_bits=4),
    operator=address_of(OPERATOR),
    mark_step_ppm=200_000,
    liquidation=LiquidationTerms(
        share_ppm=500_000, whole=0, most=2**32 - 1, begin_ppm=5_000, steps=4, fee_ppm=5_000, cap=32
    ),
)


class Trial:
    """A venue in which BOB has bought of ALICE, and a function that has it go on."""

    def __init__(self, folder):
        self.folder = folder
        for name, key in (("alice", ALICE), ("bob", BOB)):
            KeyStore(folder / "keys").new(name, "x", key, 2)
        self.journal = Journal(folder / "journal", CONFIG.encode())
        snapshots = Snapshots(folder / "journal" / "snapshots")
        self.venue = Venue(
            CONFIG, Engine(SoftBackend(CONFIG.geometry)), self.journal, snapshots, lambda done: None
        )
        deposits = [Deposit(n, address_of(key), 10**9) for n, key in enumerate((ALICE, BOB), 1)]
        self.slot(deposits=tuple(deposits))
        self.price = self.venue.machine.markets[0].mark
        self.slot(orders=[(1, Side.SELL, self.price, LOTS), (2, Side.BUY, self.price, LOTS)])

    def slot(self, orders=(), **inputs):
        rows = np.zeros(len(orders), MESSAGE)
        number, time = self.venue.next_slot, START + 1000 * self.venue.next_slot
        for row, (account, side, price, lots) in zip(rows, orders, strict=True):
            row["kind"], row["account"], row["generation"] = MessageKind.ORDER, account, account << 24
            row["side"], row["price"], row["quantity"] = side, price, lots
            row["nonce"], row["expiry"], row["client_id"] = time, time + 1000, number
        sign(rows, CONFIG.domain, [(ALICE, BOB)[account - 1] for account, *_ in orders])
        return self.venue.run_slot(SlotInput(number, time, commands=rows, **inputs))

    def say(self, command, *options, code=0):
        done = CliRunner().invoke(
            main, ["risk", command, str(self.folder), *map(str, options), "--keys", str(self.folder / "keys")]
        )
        assert done.exit_code == code, done.output
        return done.stdout


@pytest.fixture
def trial(tmp_path):
    trial = Trial(tmp_path)
    yield trial
    trial.journal.close()


def test_show_says_what_the_machine_decides_by(trial):
    machine = trial.venue.machine
    bob = machine.accounts[2]
    told = json.loads(trial.say("show", "bob", "--json"))
    (line,) = told["instruments"]
    assert (told["account"], told["equity"], told["free_collateral"]) == (
        2,
        machine.equity(bob),
        machine.free_collateral(bob),
    )
    assert (line["position"], line["mark"]) == (LOTS, trial.price)
    assert line["requirement"] == told["equity"] - told["free_collateral"] == line["initial"]
    assert told["maintenance"] == line["maintenance"] == -(-line["initial"] // 2)
    text = trial.say("show", "bob")
    assert "collateral" in text and "liquidated from a mark of" in text


def test_at_the_liquidation_mark_the_account_is_liquidated_and_a_tick_before_it_is_not(trial):
    (line,) = json.loads(trial.say("show", "bob", "--json"))["instruments"]
    at = line["liquidation_mark"]
    if at is None:
        pytest.fail("the band is too narrow for the trial")
    for to, liquidated in ((at + 1, False), (at, True)):
        while (now := trial.venue.machine.markets[0].mark) != to:
            step = max(to, now - now * CONFIG.mark_step_ppm // 10**6)
            done = trial.slot(operations=(mark(CONFIG, trial.venue.next_slot, 0, step),))
        assert bool(done.outcome.events) is liquidated


def test_what_if_decides_as_the_machine_does(trial):
    machine = trial.venue.machine
    free = machine.free_collateral(machine.accounts[2])
    order = ("--side", "buy", "--price", trial.price, "--quantity")
    small = json.loads(trial.say("what-if", "bob", *order, 1000, "--json"))
    assert small["admitted"], small
    assert small["before"]["free_collateral"] == free
    held = free - small["after"]["free_collateral"]
    assert f"hold {held:,} of" in trial.say("what-if", "bob", *order, 1000)
    large = json.loads(trial.say("what-if", "bob", *order, 2**32 - 1, "--json"))
    assert not large["admitted"] and large["reason"] == "margin" and large["have"] == free < large["need"]
    assert "refused: margin" in trial.say("what-if", "bob", *order, 2**32 - 1)
    trial.slot(orders=[(2, Side.BUY, trial.price - 5, 1000)])
    after = machine.free_collateral(trial.venue.machine.accounts[2])
    other = json.loads(trial.say("what-if", "bob", *order, 1000, "--json"))
    assert other["before"]["free_collateral"] == after


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("show", "carol"), "carol"),
        (("show", "bob", "--subaccount", 3), "no account with subaccount 3"),
        (("what-if", "bob", "--side", "buy", "--price", 5, "--quantity", 0), "0 is not in the range"),
    ],
)
def test_what_is_asked_for_badly_is_a_sentence(trial, options, says):
    done = CliRunner().invoke(
        main,
        ["risk", options[0], str(trial.folder), *map(str, options[1:]), "--keys", str(trial.folder / "keys")],
    )
    assert done.exit_code and says in done.output and "Traceback" not in done.output
