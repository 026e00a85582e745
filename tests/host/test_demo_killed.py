"""``hawse demo`` killed and resumed, as a user would."""

import json
import random
import subprocess
import sys
import time

import pytest

SAME = (
    "commands",
    "trades",
    "records",
    "log_roots_hardware",
    "log_roots_host",
    "state_roots",
    "state_roots_onchain",
    "batches_anchored",
    "deposits",
    "deposited",
    "withdrawals_claimed",
    "withdrawn",
    "collateral_locked",
    "sum_of_balances",
    "fees",
)


def hawse(*arguments):
    command = [sys.executable, "-c", "from hawse.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(3))
def test_a_killed_demo_that_is_resumed_ends_as_an_undisturbed_one(tmp_path, round_):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    options = ("--rows", 2000, "--accounts", 40, "--engine", "soft")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(hawse("demo", *options, "--out", whole))
    expected = json.loads((whole / "summary.json").read_text())

    resume = ()
    for _ in range(6):
        process = hawse("demo", *options, "--out", killed, *resume)
        while not (killed / "run.json").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.random() * expected["wall_seconds"] * 0.6)
        process.kill()
        process.communicate()
        resume = ("--resume",)
        if (killed / "summary.json").exists():
            break
    else:
        finish(hawse("demo", *options, "--out", killed, *resume))
    summary = json.loads((killed / "summary.json").read_text())
    assert {k: summary[k] for k in SAME} == {k: expected[k] for k in SAME}
    assert summary["state_roots"] == summary["state_roots_onchain"]
    assert summary["log_roots_hardware"] == summary["log_roots_host"]
    finish(hawse("verify", killed))
