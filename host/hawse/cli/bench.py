"""``hawse bench``: figures, each beside the best software of the same run."""

import click

from .bench_data import data
from .bench_engine import engine
from .bench_hash import hash_
from .bench_latency import latency
from .bench_risk import risk
from .bench_state import state
from .bench_venue import venue


@click.group()
def bench() -> None:
    """Measure, and compare with software on this machine."""


bench.add_command(data)
bench.add_command(engine)
bench.add_command(hash_)
bench.add_command(latency)
bench.add_command(risk)
bench.add_command(state)
bench.add_command(venue)
