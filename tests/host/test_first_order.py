"""The tutorial, as a newcomer types it; and what he may get wrong."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hawse.chain.devchain import dev_keys
from hawse.cli import main
from hawse.keys.store import address_of
from hawse.wire import Geometry
from hawse_sim.board import VirtualBoard

TUTORIAL = Path(__file__).parents[2] / "docs" / "first-order.md"


def call(*arguments, code=0, **more):
    done = CliRunner().invoke(main, [str(a) for a in arguments], **more)
    assert done.exit_code == code if code is not None else done.exit_code > 0, done.output
    return done


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A directory in which somebody did what the tutorial says, and what was said to him."""
    folder = tmp_path_factory.mktemp("tutorial")
    activate, *blocks = re.findall(r"```sh\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    assert activate.startswith(". .venv")
    end = blocks.pop()
    shell = ["bash", "-euc", "\n".join(blocks)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        shell,
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
        assert "Traceback" not in errors.decode()
        yield folder / "trial", out.decode()
        subprocess.run(["bash", "-euc", end], cwd=folder, env=os.environ | {"PATH": path}, check=True)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_tutorial_leads_to_a_fill_and_a_withdrawal(followed):
    trial, out = followed
    told = [json.loads(line) for line in (trial / "told.jsonl").read_text().splitlines()]
    trades = [line for line in told if line["event"] == "trade"]
    # Bob's fee as taker is a ten-thousandth of 780 dollars; then Alice is the taker.
    assert [(t["account"], t["role"], t["price"], t["fee"]) for t in trades] == [
        (2, "taker", 78_000, 78_000),
        (1, "maker", 78_000, 0),
        (1, "taker", 78_000, 78_000),
        (2, "maker", 78_000, 0),
    ]
    assert re.search(r"order \d+ of generation \d+: filled, 1000000 of 1000000 lots", out)
    assert re.search(r"Withdrawal 1 of batch \d+: 100000000 quanta", out)
    # A million and 250.5 came in; a fee and the withdrawal went out.
    assert "1,000,250,500,000 quanta" in out and f"{1_000_250_500_000 - 78_000 - 100_000_000:,} quanta" in out


def test_what_is_claimed_is_not_claimed_again(followed):
    trial, _ = followed
    keys = ["--keys", trial / "keys", "--password", "not a good one"]
    said = json.loads(call("claim", trial / "venue", "alice", *keys, "--json").stdout)
    assert (said["claimed"], said["paid_before"]) == ([], 1)
    assert said["balance"] == 1_000_000_000_000 - 250_500_000 + 100_000_000
    assert "Nothing to claim: 0" in call("claim", trial / "venue", "bob", *keys).stdout


def test_a_venue_says_what_it_is(followed):
    trial, _ = followed
    told = json.loads(call("info", trial / "venue", "--json").stdout)
    assert told["instruments"][0]["lowest_price"] == 62_000 and told["minimum_deposit"] == 10_000_000
    text = call("info", trial / "venue").stdout
    assert told["contract"] in text and max(map(len, text.splitlines())) <= 80
    (one,) = json.loads(call("account", trial / "venue", "--index", 2, "--json").stdout)
    assert one["owner"] == "0x" + address_of(dev_keys(2)[1]).hex()
    assert (one["positions"], one["orders"], one["collateral"]) == ([], [], 999_999_922_000)


@pytest.mark.parametrize(
    ("amount", "why"),
    [
        ("ten", "'ten' is not a number"),
        ("0", "is not within 1 and"),
        ("-5", "is not within 1 and"),
        ("nan", "the token has 6 decimals"),
        ("0.0000001", "the token has 6 decimals"),
        ("1e30", "is not within 1 and"),
        ("2000000", "2000000000000 quanta, but alice has"),
    ],
)
def test_an_amount_that_cannot_be_deposited_names_both_numbers(followed, amount, why):
    trial, _ = followed
    keys = ["--keys", trial / "keys", "--password", "not a good one"]
    refused = call("deposit", *keys, trial / "venue", "alice", "--", amount, code=None)
    assert why in refused.output
    assert json.loads(call("claim", *keys, trial / "venue", "alice", "--json").stdout)["claimed"] == []


def test_who_has_no_account_is_told_how_to_open_one(followed):
    trial, _ = followed
    keys = ["--keys", trial / "keys", "--password", "p"]
    call("keys", "new", "carol", *keys)
    assert (
        "hawse deposit" in call("account", trial / "venue", "carol", "--keys", trial / "keys", code=1).output
    )
    line = '{"kind": "withdraw", "amount": 1}'
    asked = call("keys", "sign", "carol", "--venue", trial / "venue", *keys, input=line, code=1)
    assert "a deposit opens one" in asked.output


def test_keys_come_in_from_a_file_and_never_as_an_argument(tmp_path):
    keys = ["--keys", tmp_path, "--password", "p"]
    secret = "0x" + "07" * 32
    address = call("keys", "import", "mine", "-", *keys, input=secret + "\n").stdout.strip()
    assert address.lower() == "0x" + address_of(b"\x07" * 32).hex()
    wrong = call("keys", "import", "other", "-", *keys, input="0x" + "07" * 31, code=2)
    assert "no private key of 32 bytes" in wrong.output and "0707" not in wrong.output
    assert "one of the two" in call("keys", "import", "other", *keys, code=2).output


def test_a_directory_that_is_no_venue(tmp_path):
    assert "hawse run" in call("info", tmp_path, code=2).output


def test_a_board_that_does_not_fit_is_refused_before_there_is_a_chain(tmp_path):
    # Its size is that of other tests' board.
    with VirtualBoard(Geometry(instruments=2, pool=2048, orders=64, tag_bits=4)) as board:
        refused = call("run", tmp_path / "venue", "--engine", board.url, input=b"", code=2)
    assert "is a board of Geometry(instruments=2" in refused.output
    assert not (tmp_path / "venue").exists()
