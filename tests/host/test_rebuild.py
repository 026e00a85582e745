"""A venue rebuilt from the chain alone, and a chain or node that does not give all of it."""

from dataclasses import replace

import pytest
from eth_account import Account
from hawse.chain import client as client_module
from hawse.chain.client import SettlementClient
from hawse.chain.devchain import DevChain
from hawse.chain.errors import ChainError
from hawse.chain.history import ChainHistory, Posted
from hawse.chain.rebuild import RebuildError, rebuild
from hawse.commit import data as data_module
from hawse.commit.data import ON_CHAIN, DataError
from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.keys.store import address_of
from hawse.state.config import VenueConfig
from hawse.state.machines import FORMS
from hawse.venue import Execution, Venue, replay
from hawse.wire import Geometry
from support.desk import PERP
from support.signed import DEPOSIT, DEPOSITS, KEYS, OPERATOR, START, signed_slots

GEOMETRY = Geometry(instruments=2, pool=32_768, orders=256, tag_bits=4)
RULES = VenueConfig(
    instruments=(PERP,), geometry=GEOMETRY, operator=address_of(OPERATOR), data_provider=ON_CHAIN
)


class Trial:
    """A venue whose batches are anchored with their data, in parts of 50 bytes."""

    def __init__(self, directory, chain, form):
        self.client = client = SettlementClient.deploy(
            chain.url, OPERATOR, FORMS[form](RULES).state_root(), RULES.rules_hash(), data=True
        )
        client.mint(OPERATOR, [d.owner for d in DEPOSITS], DEPOSIT)
        client.deposit_all([(key, DEPOSIT) for key in KEYS])
        on = {"chain_id": client.chain_id, "contract": client.address, "token": client.token}
        self.directory, self.config, self.sealed = directory, replace(RULES, **on), {}
        with Journal(directory, self.config.encode()) as journal:
            engine, snapshots = Engine(SoftBackend(GEOMETRY)), Snapshots(directory / "snapshots")
            venue = Venue(self.config, engine, journal, snapshots, lambda done: None, form=form)
            for slot in signed_slots(self.config, 7, 40, size=40, batch=8):
                venue.run_slot(slot)
                for number, sealed in venue.pending.items():
                    self.sealed[number] = sealed
                    venue.anchored(number, client.anchor(sealed.header, data=sealed.data).hash)

    def history(self, kind=ChainHistory):
        return kind(self.client.url, self.client.address)


@pytest.fixture(scope="module", params=["native", "golden"])
def trial(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, DevChain([OPERATOR, *KEYS], start=START // 1000) as chain:
        for module in (data_module, client_module):
            patch.setattr(module, "parts_of", small)
        patch.setattr("hawse.venue.parts_of", small)
        yield Trial(tmp_path_factory.mktemp("rebuild"), chain, request.param)


def small(data):
    return [data[at : at + 50] for at in range(0, len(data), 50)]


def test_every_batch_is_rebuilt_to_its_leaves_and_proofs(trial):
    assert max(len(sealed.data) for sealed in trial.sealed.values()) > 100
    for number, sealed in trial.sealed.items():
        found = rebuild(trial.history(), number)
        assert found.header == sealed.header
        assert found.leaves == sealed.state.exits
        assert found.state.positions.size or number == 1
        for index in range(1, len(found.leaves)):
            leaf, proof = sealed.state.exit_proof(index)
            assert found.proof(index) == proof
            paid = trial.client.exit_payout(found.header, leaf, found.proof(index))
            assert paid == sealed.header.haircut.payout(leaf.equity)


def test_whoever_executes_the_journal_comes_to_the_same_data(trial):
    for form in FORMS:
        with Journal(trial.directory, readonly=True) as journal:
            execution = Execution(trial.config, Engine(SoftBackend(GEOMETRY)), journal.epoch + 1, form=form)
            found = {d.sealed.header.number: d.sealed for d in replay(execution, journal.slots()) if d.sealed}
        assert {n: (s.header, s.data) for n, s in found.items()} == {
            n: (s.header, s.data) for n, s in trial.sealed.items()
        }


def test_progress_is_told_batch_by_batch(trial):
    told = []
    rebuild(trial.history(), 3, lambda done, all_: told.append((done, all_)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("number", [0, 99])
def test_a_batch_that_is_not_anchored_is_refused_with_both_numbers(trial, number):
    with pytest.raises(ChainError, match=f"batches . to {number}: there are 5"):
        rebuild(trial.history(), number)


def of(**methods):
    """A history that says something else."""
    return type("Other", (ChainHistory,), methods)


def test_a_node_that_hides_data_is_named_with_what_it_hides(trial):
    def posted(self):
        found = ChainHistory.posted(self)
        del found[trial.sealed[2].header.data_hash]
        return found

    hidden = trial.sealed[2].header.data_hash.hex()
    with pytest.raises(RebuildError, match=f"batch 2: the node has no event of the data {hidden}"):
        rebuild(trial.history(of(posted=posted)), 3)
    with pytest.raises(RebuildError, match="batch 1: the node has no event of the data"):
        rebuild(trial.history(of(posted=lambda self: {})), 1)


def test_a_node_that_gives_other_bytes_is_found_out(trial):
    def posted(self):
        found = ChainHistory.posted(self)
        return {h: replace(p, part=p.part[:-1] + bytes([p.part[-1] ^ 1])) for h, p in found.items()}

    with pytest.raises(RebuildError, match="batch 1: its data hashes to"):
        rebuild(trial.history(of(posted=posted)), 1)


def test_a_node_that_gives_other_owners_is_found_out(trial):
    def owners(self, last):
        return ChainHistory.owners(self, last) | {3: b"\x03" * 20}

    with pytest.raises(RebuildError, match="batch 2: exit root"):
        rebuild(trial.history(of(owners=owners)), 2)


def test_a_header_that_is_not_the_anchored_one_is_found_out(trial):
    def changed(log):
        header = bytearray(ChainHistory._header_in(log))
        header[-1] ^= 1  # of its time
        return bytes(header)

    with pytest.raises(ChainError, match="batch 1: its event has the header"):
        rebuild(trial.history(of(_header_in=staticmethod(changed))), 1)


def test_the_same_part_posted_again_changes_nothing(trial):
    """By whomever, in whatever way: the bytes of a hash are always the same."""
    contract = trial.client._data_contract()
    before, behind = rebuild(trial.history(), 2), bytes(32)
    for part in small(trial.sealed[2].data):
        call = contract.functions.post(behind, part)
        trial.client._transact(Account.from_key(KEYS[0]), call, "post")
        behind = data_module.data_hash([part], behind)
    after = rebuild(trial.history(), 2)
    assert (after.header, after.leaves) == (before.header, before.leaves)


def test_data_that_leads_elsewhere_than_the_header_is_found_out(trial, monkeypatch):
    """As if everybody who had to had signed it."""
    unpack = data_module.ExitState.unpack

    def other(data, before, number):
        state = unpack(data, before, number)
        state.accounts["collateral"][1] += 1
        return state

    monkeypatch.setattr(data_module.ExitState, "unpack", other)
    with pytest.raises(RebuildError, match="batch 1: exit root"):
        rebuild(trial.history(), 1)


def test_bytes_that_are_no_data_are_refused(trial, monkeypatch):
    monkeypatch.setattr("hawse.chain.rebuild.data_hash", lambda parts: trial.sealed[1].header.data_hash)
    nonsense = {trial.sealed[1].header.data_hash: Posted(bytes(32), b"\x00")}
    with pytest.raises(DataError, match="data of batch 1"):
        rebuild(trial.history(of(posted=lambda self: nonsense)), 1)
