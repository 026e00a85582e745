"""A host in a process of its own, to be killed: ``python -m support.venue_process`` and a JSON object."""

import json
import sys
from contextlib import closing
from pathlib import Path

from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.keys.store import derive
from hawse.state.config import Instrument, VenueConfig
from hawse.venue import Venue
from hawse.wire import Geometry
from support.signed import signed_slots

PERP = Instrument(0, "perp", 1, 100, 50_000, 200, 500, base=1000, first_mark=1500)
GEOMETRY = Geometry(2, 1024, 64, 4)
OPERATOR = derive("operator of the kill tests", 0)


def main(directory, seed, slots, rpc=None, contract=None):
    client = None
    if rpc:
        from hawse.chain.client import SettlementClient  # takes a second to import

        client = SettlementClient(rpc, contract, OPERATOR)
    chain = (client.chain_id, client.address) if client else (1, bytes(20))
    config = VenueConfig((PERP,), GEOMETRY, *chain)
    inputs = signed_slots(config, seed, slots)
    print("ready", flush=True)

    def publish(done):
        with Path(directory, "told").open("a") as told:
            told.write(f"{done.slot.number} {done.outcome.state_digest.hex()}\n")

    with (
        Journal(Path(directory, "journal"), config.encode()) as journal,
        closing(Engine(SoftBackend(GEOMETRY))) as engine,
    ):
        snapshots = Snapshots(Path(directory, "journal", "snapshots"))
        venue = Venue(config, engine, journal, snapshots, publish)

        def anchor(keep):
            for number in sorted(venue.pending)[: len(venue.pending) - keep]:
                header = venue.pending[number].header
                venue.anchored(number, client.anchor(header).hash if client else bytes(32))

        for slot in inputs[venue.next_slot :]:
            venue.run_slot(slot)
            anchor(keep=1)
        anchor(keep=0)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
