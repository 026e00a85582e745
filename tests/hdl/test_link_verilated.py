"""The gateware's end of the link, Verilated, against the host's: longer flows than in the other tests."""

import random
from pathlib import Path

import pytest
from hawse_hdl.link import Endpoint
from hawse_sim.cocotb_runner import run_cocotb

TESTS = Path(__file__).with_name("cocotb_link.py")
COUNTS = [150, pytest.param(1200, marks=pytest.mark.slow)]


@pytest.mark.parametrize("rate, stall", [(0.0, 0.0), (0.003, 0.3)])
@pytest.mark.parametrize("count", COUNTS)
def test_everything_arrives_once_and_in_order(rate, stall, count):
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    env = {"RATE": str(rate), "STALL": str(stall), "COUNT": str(count)}
    run_cocotb(Endpoint(timeout=2000), "endpoint", TESTS, seed=seed, env=env)
