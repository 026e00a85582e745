"""The operator's signed word on every input: made once for each slot, checked by anybody, kept or broken."""

import json
from contextlib import closing
from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.chain.client import SettlementClient
from hawse.chain.devchain import DevChain
from hawse.cli import main
from hawse.commit.inclusion import DamagedProof
from hawse.commit.inputs import OutcomeLeaf
from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.journal.segments import segment_paths
from hawse.keys.messages import split
from hawse.keys.signing import sign_digest
from hawse.keys.store import address_of
from hawse.publisher.store import Outcomes
from hawse.receipt import BadReceipt, Receipt, Word
from hawse.receipts import cycles_of
from hawse.state.config import VenueConfig
from hawse.state.machine import Machine
from hawse.venue import Halted, Venue
from hawse.wire import Geometry, Reason
from hawse.wire.dtypes import EVENT, make
from support.desk import PERP
from support.signed import DEPOSIT, DEPOSITS, KEYS, OPERATOR, START, signed_slots

GEOMETRY = Geometry(instruments=2, pool=2048, orders=64, tag_bits=4)
RULES = VenueConfig(instruments=(PERP,), geometry=GEOMETRY, operator=address_of(OPERATOR))
THIEF = KEYS[0]
SLOTS, BATCH = 20, 6


def messages(slot):
    """First row of each."""
    return slot.messages[split(slot.messages).starts]


class Run:
    """A venue without a gateway, its outcomes beside it, as ``hawse run`` puts them together."""

    def __init__(self, directory, config, form="native"):
        self.directory, self.config, self.form = directory, config, form
        self.slots = list(signed_slots(config, 4, SLOTS + 2, size=30, batch=BATCH))

    def host(self, **options):
        return _Host(self, **options)

    def of(self, seq):
        with Outcomes(self.directory / "outcomes.db", readonly=True) as kept:
            return kept.receipt(self.config.chain_id, self.config.contract, seq)

    def journaled(self):
        with Journal(self.directory / "journal", readonly=True) as journal:
            return list(journal.receipts())


class _Host:
    def __init__(self, run, operator=OPERATOR):
        self.kept = Outcomes(run.directory / "outcomes.db")
        self.journal = Journal(run.directory / "journal", run.config.encode())
        self.engine = Engine(SoftBackend(GEOMETRY))
        self.venue = Venue(
            run.config,
            self.engine,
            self.journal,
            Snapshots(run.directory / "journal" / "snapshots"),
            self.kept.keep,
            published=self.kept.batch_slot,
            form=run.form,
            operator=operator,
            receipts=self.kept.keep_receipts,
        )
        self.slots = run.slots

    def run(self, until, anchor=lambda sealed: bytes(32)):
        """Slots up to one, each of whose commands came a microsecond behind the one before."""
        while (number := self.venue.next_slot) < until:
            slot = self.slots[number]
            came = [slot.time * 10**6 - 1000 * n for n in range(len(messages(slot)))]
            self.venue.run_slot(slot, None, came)
            for batch, sealed in self.venue.pending.items():
                self.venue.give_receipts()
                self.kept.keep_batch(sealed, transaction := anchor(sealed))
                self.venue.anchored(batch, transaction)

    def close(self):
        """As a host that was killed: what is under way is not waited for."""
        for one in (self.engine, self.journal, self.kept):
            one.close()


@pytest.fixture(scope="module")
def config():
    return replace(RULES, chain_id=1, contract=b"\x01" * 20)


@pytest.fixture(scope="module")
def done(tmp_path_factory, config):
    run = Run(tmp_path_factory.mktemp("receipts"), config)
    with closing(run.host()) as host:
        host.run(SLOTS)
        host.venue.give_receipts(wait=True)
    return run


def test_every_input_of_every_slot_has_a_receipt_that_its_batch_keeps(done):
    told = done.journaled()
    assert [one.slot for one in told] == list(range(SLOTS))
    assert all(a.first_seq + a.count == b.first_seq for a, b in pairwise(told))
    last = told[-1].first_seq + told[-1].count
    assert last > 300
    sealed = told[BATCH * (SLOTS // BATCH) - 1]
    for seq in range(1, last, 7):
        receipt = Receipt.decode(done.of(seq).encode())
        assert receipt.check(address_of(OPERATOR)) == address_of(OPERATOR)
        kept = seq < sealed.first_seq + sealed.count
        assert receipt.word() == (Word.KEPT if kept else Word.OPEN, "")


def test_a_receipt_says_when_its_command_came_and_what_became_of_it(done):
    slot = done.slots[3]
    with Outcomes(done.directory / "outcomes.db", readonly=True) as kept:
        lines = [json.loads(row.text) for row in kept.lines(0, 3, 0) if row.number == 3]
    answers = {line["seq"]: line for line in lines if "nonce" in line}
    for place, (seq, line) in enumerate(sorted(answers.items())):
        receipt = done.of(seq)
        came, out, *cycles = receipt.times
        assert came == slot.time * 10**6 - 1000 * place and cycles == [0, 0]
        assert out > came
        assert receipt.input.signature == messages(slot)["signature"][place].tobytes()
        if line["event"] in ("refused", "rejected"):
            assert Reason(receipt.outcome.reason).name.lower() == line["reason"]
        lots = [one["quantity"] for one in lines if one.get("role") == "taker" and one["seq"] == seq]
        assert receipt.outcome.filled == sum(lots)
    assert any(done.of(seq).outcome.filled for seq in answers)


@pytest.mark.parametrize("form", ["native", "golden"])
def test_either_form_gives_the_same_leaves(tmp_path, config, done, form):
    run = Run(tmp_path, config, form)
    with closing(run.host()) as host:
        host.run(4)
        host.venue.give_receipts(wait=True)
    seqs = range(1, sum(one.count for one in run.journaled()))
    for seq in seqs:
        ours, theirs = run.of(seq), done.of(seq)
        assert (ours.input, ours.outcome) == (theirs.input, theirs.outcome)


# ---- What is no receipt


def bad(receipt, **changes):
    return replace(receipt, **changes)


def signed_by(receipt, key):
    told = receipt.receipts
    digest = receipt.domain.digest(told.struct_hash())
    return replace(receipt, receipts=replace(told, signature=sign_digest(digest, key)))


def resigned(receipt, **changes):
    return signed_by(replace(receipt, receipts=replace(receipt.receipts, **changes)), OPERATOR)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: signed_by(r, THIEF), f"signature: of 0x{address_of(THIEF).hex()}, but the operator is"),
        (lambda r: bad(r, receipts=replace(r.receipts, final_batch=9)), "signature: "),
        (lambda r: bad(r, chain_id=2), "signature: "),
        (lambda r: bad(r, outcome=replace(r.outcome, filled=r.outcome.filled + 1)), "siblings: do not"),
        (lambda r: bad(r, input=replace(r.input, ref=r.input.ref + 1)), "siblings: do not lead"),
        (lambda r: bad(r, times=(r.times[0] + 1, *r.times[1:])), "siblings: do not lead"),
        (lambda r: bad(r, siblings=r.siblings[:-1]), "siblings: do not lead"),
        (lambda r: bad(r, siblings=(bytes(32), *r.siblings[1:])), "siblings: do not lead"),
        (lambda r: resigned(r, first_seq=r.receipts.first_seq + 1), "siblings: do not lead"),
        (lambda r: resigned(r, first_seq=r.input.seq + 1), "seq: .*, but slot 3 has"),
        (lambda r: resigned(r, count=r.input.seq - r.receipts.first_seq), "seq: .*, but slot 3 has"),
        (lambda r: bad(r, outcome=replace(r.outcome, seq=1)), "outcome.seq: 1, but"),
    ],
)
def test_what_the_operator_has_not_signed_is_no_receipt(done, change, why):
    receipt = done.of(done.journaled()[3].first_seq + 5)
    receipt.check(address_of(OPERATOR))
    with pytest.raises(BadReceipt, match=f"^{why}"):
        change(receipt).check(address_of(OPERATOR))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda b, other: replace(b, header=other.header), "batch: 2 has slots 6 to 11, not 3"),
        (lambda b, other: replace(b, input=bytes(32)), "batch.input_siblings: do not lead"),
        (lambda b, other: replace(b, outcome_siblings=()), "batch.outcome_siblings: do not lead"),
    ],
)
def test_a_batch_that_proves_nothing_breaks_no_word(done, change, why):
    told = done.journaled()
    receipt, other = (done.of(told[n].first_seq + 5) for n in (3, 7))
    with pytest.raises(BadReceipt, match=f"^{why}"):
        replace(receipt, batch=change(receipt.batch, other.batch)).word()


def broken(done, change):
    """A receipt of an outcome or input that is not what the batch got."""
    receipt = done.of(done.journaled()[3].first_seq + 5)
    one = change(receipt)
    told = one.receipts
    # A slot of one input, so that the path needs nobody else's leaves.
    told = replace(told, first_seq=one.input.seq, count=1, root=one.leaf.hash())
    return signed_by(replace(one, receipts=told, siblings=()), OPERATOR)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: replace(r, outcome=OutcomeLeaf(r.outcome.seq, filled=77)), "has the outcome leaf"),
        (lambda r: replace(r, input=replace(r.input, kind=1)), "has the input leaf"),
        (
            lambda r: replace(r, input=replace(r.input, seq=10**6), outcome=replace(r.outcome, seq=10**6)),
            "has slot 3, but inputs 1 to .*, and not 1000000",
        ),
    ],
)
def test_a_batch_that_has_it_otherwise_is_evidence_against_the_operator(done, change, why):
    one = broken(done, change)
    assert one.check(address_of(OPERATOR)) == address_of(OPERATOR)
    word, said = Receipt.decode(one.encode()).word()
    assert word is Word.BROKEN
    assert why.split(".*")[0] in said and why.split(".*")[-1] in said


def test_a_command_that_nobody_signed_breaks_the_word_too(done):
    def change(receipt):
        return replace(receipt, input=replace(receipt.input, address=address_of(THIEF)))

    word, said = replace(broken(done, change), batch=None).word()
    assert word is Word.BROKEN and f"said to be signed by 0x{address_of(THIEF).hex()}, and is by 0x" in said


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda given: given.pop("siblings"), "siblings: missing"),
        (lambda given: given.update(more=1), "more: a receipt has no such field"),
        (lambda given: given["receipts"].update(slot=-1), "slot: -1 is not a uint64"),
        (lambda given: given["receipts"].update(signature="0x00"), "signature: 1 bytes, not 64"),
        (lambda given: given["outcome"].update(reason=256), "outcome: "),
        (lambda given: given["input"].update(address=3), "input: "),
        (lambda given: given.update(times=[1, 2, 3, 1 << 32]), "times: 4294967296 is not a uint32"),
        (lambda given: given.update(format="hawse receipt 0"), "format: is not"),
        (lambda given: given.update(siblings=[7]), r"siblings\[0\]: "),
    ],
)
def test_a_file_that_is_no_receipt_is_named(done, change, why):
    given = json.loads(done.of(40).encode())
    change(given)
    with pytest.raises(DamagedProof, match=f"^{why}"):
        Receipt.decode(json.dumps(given))


# ---- Restarts


def test_a_venue_that_is_killed_gives_each_slot_receipts_once_and_skips_none(tmp_path, config, done):
    run, first = Run(tmp_path, config), {}
    for until in (1, 5, 6, 7, 13, 20):
        with closing(run.host()) as host:
            host.run(until)
            # Whatever is made by now, and no more, as if the power went.
            first |= {one.slot: one for one in run.journaled()}
    with closing(run.host()) as host:
        host.venue.give_receipts(wait=True)
    told = run.journaled()
    assert [one.slot for one in told] == list(range(SLOTS))
    assert all(first[slot] == told[slot] for slot in first)  # what was given stands
    for seq in range(1, told[-1].first_seq + told[-1].count, 11):
        ours, theirs = run.of(seq), done.of(seq)
        assert (ours.input, ours.outcome) == (theirs.input, theirs.outcome)
        ours.check(address_of(OPERATOR))


def test_a_host_without_its_outcomes_makes_them_anew_with_the_receipts_that_were_given(tmp_path, config):
    run = Run(tmp_path, config)
    with closing(run.host()) as host:
        host.run(9)
        host.venue.give_receipts(wait=True)
    before, receipt = run.journaled(), run.of(50)
    (tmp_path / "outcomes.db").unlink()
    with closing(run.host()) as host:
        host.venue.give_receipts(wait=True)
        again = host.kept.receipts_of(50)
        assert again.receipts == before[receipt.receipts.slot]
    assert run.journaled() == before


def test_slots_that_were_run_without_receipts_get_them_from_the_next_host(tmp_path, config):
    run = Run(tmp_path, config)
    with closing(run.host(operator=None)) as host:
        host.run(8)
        host.venue.give_receipts(wait=True)
    assert run.journaled() == []
    with closing(run.host()) as host:
        host.run(9)
        host.venue.give_receipts(wait=True)
    assert [one.slot for one in run.journaled()] == list(range(9))


def test_nobody_but_the_operator_may_sign(tmp_path, config):
    with (
        pytest.raises(ValueError, match="operator: the key of"),
        closing(Run(tmp_path, config).host(operator=THIEF)),
    ):
        pass


def rewritten(run, change):
    """The same journal, of which the receipts of slot 3 are others."""
    path = run.directory / "journal"
    with Journal(path, readonly=True) as journal:
        told, slots = list(journal.receipts()), list(journal.slots())
    for file in (*segment_paths(path), path / "durable"):
        file.unlink()
    for file in (path / "snapshots").glob("*"):
        file.unlink()
    with Journal(path, run.config.encode()) as journal:
        for entry, before in zip(slots, told, strict=True):
            journal.append_input(entry.slot, sync=False)
            journal.append_outcome(entry.outcome, sync=False)
            one = change(before, run.config.domain) if before.slot == 3 else before
            if one is not None:
                journal.append_receipts(one, sync=False)


def _signed(told, domain):
    return replace(told, signature=sign_digest(domain.digest(told.struct_hash()), OPERATOR))


CHANGES = {
    "root is": lambda told, domain: _signed(replace(told, root=bytes(32)), domain),
    "first sequence number and count is": lambda told, domain: _signed(
        replace(told, first_seq=told.first_seq + 1), domain
    ),
    "last deposit is": lambda told, domain: _signed(replace(told, deposit_index=1), domain),
    "signer is": lambda told, domain: replace(
        told, signature=sign_digest(domain.digest(told.struct_hash()), THIEF)
    ),
    "slot 3 has no receipts, but slot 4 has": lambda told, domain: None,
}


@pytest.mark.parametrize("why", CHANGES)
def test_a_replay_finds_receipts_that_are_not_what_the_slot_leads_to(tmp_path, config, why):
    run = Run(tmp_path, config)
    with closing(run.host()) as host:
        host.run(5)
        host.venue.give_receipts(wait=True)
    good = CliRunner().invoke(main, ["replay", str(tmp_path / "journal"), "--json"])
    assert json.loads(good.stdout)["receipts"] == 5
    rewritten(run, CHANGES[why])
    found = CliRunner().invoke(main, ["replay", str(tmp_path / "journal")])
    assert found.exit_code == 1 and why in " ".join(found.output.split())
    (tmp_path / "outcomes.db").unlink()
    with pytest.raises(Halted, match="receipts"), closing(run.host()) as host:
        host.venue.give_receipts(wait=True)


# ---- The board's clock


def test_the_board_counts_from_the_first_report_of_an_input_to_its_last():
    events = [
        make(EVENT, seq=seq & 0xFFFF_FFFF, accepted=accepted, left=left)
        for seq, accepted, left in ((8, 100, 110), (9, 120, 130), (9, 120, 140), (2**32 + 10, 150, 160))
    ]
    rows = [int.from_bytes(cycles_of(_rows(events[:3]), 7, 4)[at : at + 4], "big") for at in range(0, 32, 4)]
    assert rows == [0, 0, 100, 110, 120, 140, 0, 0]
    first = 2**32 + 9
    late = cycles_of(_rows(events[3:]), first, 2)
    assert late == bytes(8) + (150).to_bytes(4, "big") + (160).to_bytes(4, "big")
    assert cycles_of(_rows([make(EVENT, seq=8)]), 7, 4) == b""


def _rows(events):
    return np.array([event[0] if event.shape else event for event in events], EVENT)


# ---- Commands


@pytest.fixture(scope="module")
def anchored(tmp_path_factory):
    """A venue on a chain: two batches anchored, a third open."""
    with DevChain([OPERATOR, *KEYS], start=START // 1000) as chain:
        genesis = Machine(RULES).state_root()
        client = SettlementClient.deploy(chain.url, OPERATOR, genesis, RULES.rules_hash())
        client.mint(OPERATOR, [d.owner for d in DEPOSITS], DEPOSIT)
        client.deposit_all([(key, DEPOSIT) for key in KEYS])
        on = {"chain_id": client.chain_id, "contract": client.address, "token": client.token}
        run = Run(tmp_path_factory.mktemp("anchored"), replace(RULES, **on))
        run.client, names = client, count()
        run.file = lambda: run.directory / f"receipt-{next(names)}.json"
        with closing(run.host()) as host:
            host.run(14, lambda sealed: client.anchor(sealed.header).hash)
            host.venue.give_receipts(wait=True)
        yield run


def hawse(*arguments):
    found = CliRunner().invoke(main, [str(a) for a in arguments])
    return found.exit_code, " ".join((found.stdout + found.stderr).split())


def check(run, receipt, *options):
    path = run.file()
    path.write_text(receipt.encode())
    return hawse("receipt", "check", path, *options)


def test_a_receipt_from_the_venue_ends_in_a_sentence_that_says_what_comes_next(anchored):
    told, path = anchored.journaled(), anchored.file()
    rpc = "--rpc", anchored.client.url
    seq = told[3].first_seq + 5
    assert hawse("receipt", "get", anchored.directory, seq, "--out", path)[0] == 0
    code, said = hawse("receipt", "check", path, *rpc)
    assert code == 0
    assert f"input {seq} of slot 3, came at" in said
    assert said.endswith(
        "batch 1, which is anchored, has it so: he kept his word; it is final, and nothing more comes."
    )
    code, said = hawse("receipt", "check", path, "--json", *rpc)
    assert code == 0 and json.loads(said)["word"] == "kept" and json.loads(said)["seq"] == seq
    seq = told[13].first_seq + 1
    assert hawse("receipt", "get", anchored.directory, seq, "--out", path)[0] == 0
    code, said = hawse("receipt", "check", path, *rpc)
    assert (
        code == 0 and "2 batches are anchored, and whether one has it so, a later hawse receipt get" in said
    )
    code, said = hawse("receipt", "check", path)
    assert code == 0 and said.startswith(f"0x{address_of(OPERATOR).hex()} has signed that the command of 0x")


def test_a_receipt_by_account_and_client_id_is_of_what_it_sent_last(anchored):
    with Outcomes(anchored.directory / "outcomes.db", readonly=True) as kept:
        line = next(
            one for one in (json.loads(row.text) for row in kept.lines(0, 3, 0)) if one.get("client_id")
        )
        told = kept.told_of(line["account"], line["client_id"])
    ids = "--account", line["account"], "--client-id", line["client_id"]
    code, said = hawse("receipt", "get", anchored.directory, *ids)
    last = [one["seq"] for one in told if "kind" in one][-1]
    assert code == 0 and json.loads(said)["input"]["seq"] == last
    assert "has sent nothing" in hawse("receipt", "get", anchored.directory, *ids[:3], 10**15)[1]
    assert "give SEQ, or --account" in hawse("receipt", "get", anchored.directory)[1]
    assert "no receipt of input 1000000 is kept" in hawse("receipt", "get", anchored.directory, 10**6)[1]


def test_the_chain_tells_a_broken_word_from_a_bad_file(anchored):
    rpc = "--rpc", anchored.client.url
    good = anchored.of(anchored.journaled()[3].first_seq + 5)
    one = broken(anchored, lambda r: replace(r, outcome=OutcomeLeaf(r.outcome.seq, filled=77)))
    code, said = check(anchored, one, *rpc)
    assert code == 1 and "WordBroken" in said and "77 lots traded at once" in said
    assert said.endswith("he broke his word, and this file is the evidence: keep it, and show it.")
    header = replace(good.batch.header, fees=good.batch.header.fees + 1)
    code, said = check(anchored, replace(good, batch=replace(good.batch, header=header)), *rpc)
    assert code == 1 and "BadReceipt: batch: 1: the header in the file has the digest" in said
    code, said = check(anchored, signed_by(good, THIEF), *rpc)
    assert code == 1 and f"but the operator is 0x{address_of(OPERATOR).hex()}" in said
    code, said = check(anchored, good, "--operator", "0x" + address_of(THIEF).hex())
    assert code == 1 and f"but the operator is 0x{address_of(THIEF).hex()}" in said
    code, said = check(anchored, good, *rpc, "--contract", "0x" + "11" * 20)
    assert code == 1 and f"contract: {anchored.config.contract.hex()}, not {'11' * 20}" in said


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"deposit_index": 1, "deposit_accumulator": b"\x07" * 32}, "deposit 1 of the chain is not the one"),
        ({"final_batch": 1, "final_digest": b"\x07" * 32}, "batch 1 of the chain is not the one"),
        ({"final_batch": 9}, "batch 9 of the chain is not the one"),
    ],
)
def test_a_receipt_binds_only_on_the_chain_that_it_stands_on(anchored, changes, why):
    """Not even one that the batch contradicts."""
    one = broken(anchored, lambda r: replace(r, outcome=OutcomeLeaf(r.outcome.seq, filled=77)))
    code, said = check(anchored, resigned(one, **changes), "--rpc", anchored.client.url)
    assert code == 0 and f"it does not bind him any more, for {why}" in said
