"""Nobody takes money by any sequence of commands: the search finds no plan that breaks a promise."""

import os
import secrets

import pytest
from support.attack import Found, search, source


def hunt(seconds, slots):
    seed = os.environ.get("HAWSE_SEED") or secrets.token_hex(4)
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
