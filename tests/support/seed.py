"""What a random test starts from.

It is the same in every `make test`, so that a landing is refused only for what it changed. `make slow` and
HAWSE_SEED=x give another.
"""

import os


def seed_of() -> str:
    """HAWSE_SEED, or the one that all runs share."""
    return os.environ.get("HAWSE_SEED") or "1"
