"""Tampered journals, from one flipped bit to forgeries that are consistent in themselves."""

import json
import random
import shutil
import zlib
from dataclasses import asdict, replace

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.chain.client import AnchoredBatch, header_digest
from hawse.cli import main
from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal, Snapshots
from hawse.journal.codec import decode_input, decode_outcome, encode_input, encode_outcome
from hawse.journal.segments import segment_path
from hawse.keys.messages import MessageKind, split
from hawse.keys.signing import sign
from hawse.keys.store import address_of
from hawse.state.config import VenueConfig
from hawse.state.inputs import MARK
from hawse.state.machines import FORMS
from hawse.state.native.machine import NativeMachine
from hawse.state.slot import Refusal
from hawse.venue import Venue
from hawse.wire import Geometry, Reason
from support.desk import PERP
from support.signed import KEYS, OPERATOR, generation, mark, signed_slots
from tiny_keccak import keccak256

CONFIG = VenueConfig(
    instruments=(PERP,),
    geometry=Geometry(2, 1024, 64, 4),
    operator=address_of(OPERATOR),
    chain_id=1,
    contract=bytes(range(20)),
)
BATCH = 3
SLOTS = signed_slots(CONFIG, 14, 12, batch=BATCH)
INPUT, OUTCOME = 1, 2


def trade(directory, slots, config=CONFIG):
    """A journal of these slots, as an honest host writes it; the headers of its batches."""
    headers = []

    def publish(done):
        if done.sealed:
            headers.append(done.sealed.header)

    with Journal(directory / "journal", config.encode()) as journal:
        snapshots = Snapshots(directory / "snapshots")
        venue = Venue(config, Engine(SoftBackend(config.geometry)), journal, snapshots, publish)
        for slot in slots:
            venue.run_slot(slot)
    return headers


def keep_anchors(directory, headers):
    """What the contract has of ``headers``, as a run keeps it."""
    rows = []
    for header in headers:
        digest = header_digest(header, CONFIG.chain_id, CONFIG.contract)
        anchor = AnchoredBatch(header.number, digest, header.withdrawals.hash())
        rows.append({k: v.hex() if isinstance(v, bytes) else v for k, v in asdict(anchor).items()})
    (directory / "anchors.json").write_text(json.dumps(rows))


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    directory = tmp_path_factory.mktemp("honest")
    keep_anchors(directory, trade(directory, SLOTS))
    return directory


@pytest.fixture
def run(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    return tmp_path / "run"


def verify(run):
    return CliRunner().invoke(main, ["verify", str(run)])


def refused(run):
    """The message with which ``verify`` fails."""
    result = verify(run)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    return " ".join(result.output[result.output.index("Error: ") :].split())


def file_of(run):
    return segment_path(run / "journal", 0)


def read(run):
    """The journal's file up to its segment's head, and (type, payload) of its records: docs/journal.md."""
    data = file_of(run).read_bytes()
    at = 16 + int.from_bytes(data[12:16], "big") + 32
    at += 9 + int.from_bytes(data[at : at + 4], "big") + 32
    head, out = data[:at], []
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4]
        out.append((kind, data[at + 9 : at + 9 + length]))
        at += 9 + length + 32
    return head, out


def write(run, head, rows):
    """The journal that has these records, with every CRC and every link as they should be."""
    config = 16 + int.from_bytes(head[12:16], "big")
    chain = keccak256(b"\x91" + head[:config])
    out = [head]
    for kind, payload in rows:
        frame = len(payload).to_bytes(4, "big") + bytes([kind])
        link = keccak256(b"\x90" + chain + bytes([kind]) + payload)
        out += frame, zlib.crc32(frame).to_bytes(4, "big"), payload, link
        chain = link if kind in (INPUT, OUTCOME) else chain
    file_of(run).write_bytes(b"".join(out))
    # Whoever changes a journal leaves no mark of how far it was durable.
    (run / "journal" / "durable").unlink(missing_ok=True)


def rewrite(run, kind, change, number):
    """Change one record and recompute all that guards it."""
    codec = {INPUT: (decode_input, encode_input), OUTCOME: (decode_outcome, encode_outcome)}
    decode, encode = codec[kind]
    head, rows = read(run)
    for n, (k, payload) in enumerate(rows):
        if k == kind and decode(payload).number == number:
            rows[n] = k, encode(change(decode(payload)))
            break
    else:
        raise AssertionError("no such slot")
    assert rows != read(run)[1]
    write(run, head, rows)


def good_order(slot, outcome):
    """Row of an ORDER that reached the engine."""
    first = outcome.first_seq + len(slot.operations) + len(slot.deposits)
    bad = {refusal.seq - first for refusal in outcome.refusals}
    starts = split(slot.commands).starts.tolist()
    kinds = slot.commands["kind"].tolist()
    return next(r for n, r in enumerate(starts) if kinds[r] == MessageKind.ORDER and n not in bad)


def outcomes(run):
    with Journal(run / "journal", readonly=True) as journal:
        return [entry.outcome for entry in journal.slots()]


def with_quantity(slot, at, key=None):
    commands = slot.commands.copy()
    commands["quantity"][at] += 1
    if key is not None:
        sign(commands[at : at + 1], CONFIG.domain, [key])
    return replace(slot, commands=commands)


def test_an_honest_run_is_verified(run):
    result = verify(run)
    assert result.exit_code == 0 and "12 slots and 4 batches" in " ".join(result.output.split())
    write(run, *read(run))
    assert verify(run).exit_code == 0


@pytest.mark.parametrize("form", FORMS)
def test_either_form_of_the_state_leads_to_the_anchors(run, form):
    if form == "native" and not NativeMachine.takes(CONFIG):
        pytest.skip("the native state does not know the rules of this configuration")
    result = CliRunner().invoke(main, ["verify", str(run), "--state", form])
    assert result.exit_code == 0, result.output
    assert CliRunner().invoke(main, ["replay", str(run / "journal"), "--state", form]).exit_code == 0


def flip_bytes(run, positions):
    path = file_of(run)
    data = path.read_bytes()
    for at in positions:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        says = refused(run)
        assert "at byte" in says or "torn record" in says, says
    path.write_bytes(data)
    assert verify(run).exit_code == 0


def test_a_changed_byte_is_found(run):
    size, seed = file_of(run).stat().st_size, random.randrange(2**32)
    print(f"seed {seed}")
    flip_bytes(run, random.Random(seed).sample(range(size), 60))


@pytest.mark.slow
def test_a_changed_byte_is_found_everywhere(run):
    flip_bytes(run, range(0, file_of(run).stat().st_size, 7))


def test_a_missing_end_is_found(run):
    head, rows = read(run)
    write(run, head, rows[:-1])
    assert "batches [4] were anchored, but the journal does not reach them" in refused(run)
    write(run, head, rows[:1])
    assert "batches [1, 2, 3, 4]" in refused(run)


@pytest.mark.parametrize("number", [1, 4, 10])
@pytest.mark.parametrize("what", ["time", "mark", "deposit", "command", "quantity", "order"])
def test_a_changed_input_is_found_when_every_checksum_is_recomputed(run, what, number):
    outcome = outcomes(run)[number]

    def change(slot):
        at = good_order(slot, outcome)
        match what:
            case "time":
                return replace(slot, time=slot.time + 1)
            case "mark":
                return replace(slot, operations=(mark(CONFIG, number, 0, 1490 + number),))
            case "deposit":
                index = 1 + sum(len(s.deposits) for s in SLOTS[:number])
                return replace(
                    slot, deposits=(replace(SLOTS[0].deposits[0], index=index, amount=7), *slot.deposits[1:])
                )
            case "command":
                return replace(slot, commands=np.delete(slot.commands, at))
            case "quantity":
                return with_quantity(slot, at)
            case "order":
                return replace(slot, commands=slot.commands[::-1])

    rewrite(run, INPUT, change, number)
    says = refused(run)
    # The time alone changes no leaf: it stands in the header.
    assert f"slot {number}:" in says or (what == "time" and f"batch {number // BATCH + 1}:" in says)
    if what == "quantity":
        assert "refusals recomputed and in the journal" in says and "SIGNER" in says


@pytest.mark.parametrize("number", [0, 5, 11])
@pytest.mark.parametrize("what", ["refusals", "log_digest", "digest", "records"])
def test_a_changed_outcome_is_found_when_every_checksum_is_recomputed(run, what, number):
    def change(outcome):
        value = {
            "refusals": (Refusal(outcome.first_seq, Reason.MARGIN, 0, 1, 2),),
            "log_digest": bytes(32),
            "digest": bytes(32),
            "records": outcome.records + 1,
        }[what]
        return replace(outcome, **{what: value})

    rewrite(run, OUTCOME, change, number)
    says = refused(run)
    assert f"slot {number}: {'slot ' * (what == 'digest')}{what.replace('_', ' ')}" in says


@pytest.mark.parametrize("what", ["time backwards", "batch", "batch closed twice", "mark of nothing", "mark"])
def test_an_input_that_no_sequencer_may_send_is_found(run, what):
    def change(slot):
        match what:
            case "time backwards":
                return replace(slot, time=1)
            case "batch":
                return replace(slot, closes=9)
            case "batch closed twice":
                return replace(slot, closes=1)
            case "mark of nothing":
                return replace(slot, operations=(mark(CONFIG, 5, 9, 1),))
            case "mark":
                return replace(slot, operations=(mark(CONFIG, 4, 0, 1500),))

    rewrite(run, INPUT, change, 5)
    says = refused(run)
    assert "slot 5: StateError:" in says or (what == "time backwards" and "slot 5 at 1, before" in says)


def forge(run, slots, config=CONFIG):
    """A journal in which everything fits everything else, in the place of the honest one."""
    shutil.rmtree(run / "journal")
    shutil.rmtree(run / "snapshots", ignore_errors=True)
    trade(run, slots, config)


@pytest.mark.parametrize("number", [1, 5, 9])
@pytest.mark.parametrize("what", ["time", "mark", "quantity", "quantity and signature", "withdrawal"])
def test_a_journal_forged_as_a_whole_does_not_lead_to_the_anchors(run, what, number):
    if what == "mark":
        number = next(slot.number for slot in SLOTS[number:] if slot.operations)
    slot = SLOTS[number]
    at = good_order(slot, outcomes(run)[number])
    match what:
        case "time":
            forged = replace(slot, time=slot.time + 1)
        case "mark":
            instrument, ticks = MARK.unpack(slot.operations[0].body)
            forged = replace(slot, operations=(mark(CONFIG, number, instrument, ticks + 1),))
        case "quantity":
            forged = with_quantity(slot, at)
        case "quantity and signature":
            forged = with_quantity(slot, at, KEYS[int(slot.commands["account"][at]) - 1])
        case "withdrawal":
            commands = slot.commands.copy()
            row = np.zeros(1, commands.dtype)
            row["kind"], row["account"], row["amount"] = MessageKind.WITHDRAW, 1, 5
            row["generation"], row["nonce"], row["expiry"] = generation(1), slot.time - 1, slot.time
            sign(row, CONFIG.domain, [KEYS[0]])
            forged = replace(slot, commands=np.concatenate([commands, row]))
    forge(run, [*SLOTS[:number], forged, *SLOTS[number + 1 :]])
    with Journal(run / "journal", readonly=True) as journal:
        assert not journal.dropped and journal.next_slot == len(SLOTS)
    assert CliRunner().invoke(main, ["replay", str(run / "journal")]).exit_code == 0
    assert f"batch {number // BATCH + 1}:" in refused(run)


def test_other_parameters_do_not_lead_to_the_anchors(run):
    forge(run, SLOTS, replace(CONFIG, instruments=(replace(PERP, taker_fee_ppm=1),)))
    assert "batch 1: the header that the journal leads to has the digest" in refused(run)


def test_only_the_outcomes_epoch_changed_does_not_lead_to_the_anchors(run):
    """The honest slots under another epoch: equal roots, but not the journal that was anchored."""
    shutil.rmtree(run / "journal")
    with Journal(run / "journal", CONFIG.encode()) as journal:
        journal.append_epoch(5)
    trade(run, SLOTS)
    assert "batch 1: the header that the journal leads to has the digest" in refused(run)


def test_slots_behind_the_last_batch_are_told(run):
    slots = signed_slots(CONFIG, 14, 12, batch=BATCH)
    with Journal(run / "journal") as journal:
        snapshots = Snapshots(run / "snapshots")
        venue = Venue(CONFIG, Engine(SoftBackend(CONFIG.geometry)), journal, snapshots, lambda done: None)
        venue.run_slot(replace(slots[-1], number=12, closes=None, commands=slots[-1].commands[:0]))
    result = CliRunner().invoke(main, ["verify", str(run), "--json"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["slots"], told["batches"], told["unanchored_slots"]) == (12, 4, 1)


def test_parameters_that_are_none_are_told(run):
    shutil.rmtree(run / "journal")
    Journal(run / "journal", b"abc").close()
    assert "the journal's own parameters" in refused(run)
