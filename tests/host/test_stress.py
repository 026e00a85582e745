"""hawse stress: a crowd through a crash; what it asks for is found when it does not hold."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.cli import stress as stress_module
from hawse.cli.stress import PHASES, path
from hawse.state.ledger import Ledger
from hawse.state.machine import Machine

SMALL = ("--accounts", "120", "--slots", "60", "--commands", "40", "--seed", "3")
ZERO = (
    "conservation_error",
    "unrecorded_losses",
    "wrong_liquidations",
    "missed_liquidations",
    "fast_reference_mismatches",
)


def stress(*options, code=0):
    done = CliRunner().invoke(main, ["stress", *SMALL, *options, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told():
    return stress()


def test_a_crash_leaves_nothing_open(told):
    assert [told[name] for name in ZERO] == [0] * 5
    assert told["liquidations"] > 10 and told["adl_events"] > 0 and told["lowest_insurance_fund"] >= 0


@pytest.mark.parametrize("options", [("--no-reference",), ("--engine", "golden", "--no-reference")])
def test_the_same_seed_gives_the_same_root_whatever_runs_it(told, options):
    assert stress(*options)["state_root"] == told["state_root"]


def test_another_seed_gives_another_root(told):
    assert stress("--no-reference", "--seed", "4")["state_root"] != told["state_root"]


def test_a_form_that_loses_money_is_found(monkeypatch):
    settle = Ledger.settle

    def less(self, account, number, lots, price):
        settle(self, account, number, lots, price)
        account.collateral -= 1

    monkeypatch.setattr(Ledger, "settle", less)
    found = stress(code=1)
    assert found["fast_reference_mismatches"] == 1


def test_money_that_vanishes_is_found(monkeypatch):
    deposited = property(lambda self: self.__dict__["_d"] + 1, lambda self, to: self.__dict__.update(_d=to))
    monkeypatch.setattr(Machine, "deposited", deposited, raising=False)
    assert stress(code=1)["conservation_error"] > 0


def test_accounts_that_are_left_alone_are_found(monkeypatch):
    venue, slow = stress_module.venue, replace(stress_module._TERMS, cap=1, share_ppm=1, steps=1000)
    monkeypatch.setattr(stress_module, "venue", lambda **rules: replace(venue(**rules), liquidation=slow))
    assert stress("--no-reference", code=1)["missed_liquidations"] > 0


def test_the_path_has_every_phase_and_falls_by_sixty_percent():
    steps = path(200, 1)
    assert [*dict.fromkeys(name for name, *_ in steps)] == [name for name, *_ in PHASES]
    assert min(price for _, price, _, _ in steps) < 0.42 * max(price for _, price, _, _ in steps[:80])
    assert not any(marks for name, _, _, marks in steps if name == "outage")


def test_a_picture_is_drawn(tmp_path):
    stress("--no-reference", "--plot", str(tmp_path / "crash.png"))
    assert (tmp_path / "crash.png").read_bytes().startswith(b"\x89PNG")
