"""A host in a process of its own, to be killed: ``python -m support.venue_process`` and a JSON object."""

import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.keys.store import address_of
from hawse.state.config import VenueConfig
from hawse.venue import Venue
from hawse.wire import Geometry
from support.desk import PERP
from support.signed import OPERATOR, signed_slots

CONFIG = VenueConfig(instruments=(PERP,), geometry=Geometry(2, 2048, 64, 4), operator=address_of(OPERATOR))


def main(directory, seed, slots, rpc=None, contract=None):
    client = None
    if rpc:
        from hawse.chain.client import SettlementClient  # takes a second to import

        client = SettlementClient(rpc, contract, OPERATOR)
    config = CONFIG
    if client:
        config = replace(CONFIG, chain_id=client.chain_id, contract=client.address, token=client.token)
    inputs = signed_slots(config, seed, slots)
    print("ready", flush=True)

    def publish(done):
        with Path(directory, "told").open("a") as told:
            told.write(f"{done.slot.number} {done.outcome.digest.hex()}\n")

    with (
        Journal(Path(directory, "journal"), config.encode()) as journal,
        closing(Engine(SoftBackend(config.geometry))) as engine,
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
