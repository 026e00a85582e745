import os
import random
import signal

import pytest
from hypothesis import HealthCheck, settings
from support.seed import seed_of

# Speed is measured by benchmarks, never by a test: a busy machine must not fail one.
# Nor may chance: only a run with a seed of its own looks in new places (support/seed.py).
settings.register_profile(
    "hawse",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="HAWSE_SEED" not in os.environ,
)
settings.load_profile("hawse")

# A shell starts its background jobs deaf to SIGINT, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def seed():
    value = random.Random(seed_of()).randrange(2**32)
    print(f"seed {value} of {seed_of()}")
    return value
