"""``hawse wave``: the waveform around one order, as the viewers are told to show it."""

import json
import re
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.cli import wave as module
from hawse.engine import Engine, SoftBackend
from hawse.journal import Journal
from hawse.keys.messages import MESSAGE, MessageKind, split
from hawse.venue import Execution, replay
from hawse.wire import Kind, Opcode
from hawse.wire.dtypes import EVENT, REPORT
from hawse_sim.waveform import NS
from pywellen import Waveform
from support import venue_process

GEOMETRY = venue_process.CONFIG.geometry


def wave(*words, code=0):
    done = CliRunner().invoke(main, ["wave", *map(str, words)])
    assert done.exit_code == code, done.output + str(done.exception)
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of a run, and the orders of its journal: client id to (account, price, quantity)."""
    out = tmp_path_factory.mktemp("run")
    venue_process.main(out, 1, 4)
    orders = {}
    with Journal(out / "journal", readonly=True) as journal:
        for entry in journal.slots():
            rows = entry.slot.messages
            for row in rows[split(rows).starts]:
                if row["kind"] == MessageKind.ORDER:
                    told = [int(row[name]) for name in ("account", "price", "quantity")]
                    orders.setdefault(int(row["client_id"]), []).append(told)
    return out, orders


@pytest.fixture(scope="module")
def traced(run, tmp_path_factory):
    """An order that was accepted: its row, what was told of it, and the waveform."""
    out, orders = run
    for client_id, rows in orders.items():
        file = tmp_path_factory.getbasetemp() / f"order-{client_id}.fst"
        if len(rows) == 1:
            done = CliRunner().invoke(main, ["wave", str(client_id), str(out), "--out", str(file), "--json"])
            if done.exit_code == 0:
                told = json.loads(done.stdout)
                if told["reports"][0]["kind"] == "ack":
                    return client_id, rows[0], told, file
    raise AssertionError("the journal has no order that was accepted")


class Shown:
    """A waveform by name and time."""

    def __init__(self, file):
        self.vars = {var.full_name: var for var in Waveform(str(file)).all_vars()}

    def at(self, name, cycle):
        """Value when the inputs of a cycle have settled."""
        value = self.vars[name].signal.value_at(NS * cycle + NS // 2)
        return None if value is None else int(value)


def test_the_waveform_shows_the_order(traced):
    _, (_, price, quantity), told, file = traced
    first, shown = told["reports"][0], Shown(file)

    def command(name):
        return shown.at(f"top.core.commands__{name}", first["accepted"])

    assert command("valid") == command("ready") == 1
    got = {name: command(f"payload__{name}") for name in ("opcode", "price", "quantity")}
    assert got == {"opcode": Opcode.NEW, "price": price, "quantity": quantity}
    # Its report is the first that leaves behind the cycle that is told, and has just these two cycles in it.
    seq = command("payload__seq")
    for cycle in range(first["left"], first["left"] + 40):
        if shown.at("top.core.beats__valid", cycle) and shown.at("top.core.beats__ready", cycle):
            beat = shown.at("top.core.beats__payload", cycle).to_bytes(32, "little")
            report = np.frombuffer(beat, REPORT)[0]
            if report["seq"] == seq:
                break
    else:
        raise AssertionError("the report is not in the waveform")
    assert report["kind"] & 15 == Kind.ACK and report["quantity"] == quantity
    assert int(report["left"]) - int(report["accepted"]) == first["left"] - first["accepted"]


def test_it_is_a_short_one_around_the_report(traced):
    _, _, told, file = traced
    header, first = file.read_bytes()[:25], told["reports"][0]
    begin, end = (int.from_bytes(header[at : at + 8], "big") for at in (9, 17))
    assert begin // NS in range(first["accepted"] - 61, first["accepted"])
    assert end // NS in range(first["left"], first["left"] + 100)


def test_both_viewers_find_every_signal(traced):
    _, _, told, file = traced
    shown = Shown(file).vars
    gtkwave, surfer = (file.with_suffix(end).read_text() for end in (".gtkw", ".sucl"))
    assert told["files"] == [str(file), str(file.with_suffix(".gtkw")), str(file.with_suffix(".sucl"))]
    named = re.findall(r"^(top\.\S+?)(?:\[(\d+):0\])?$", gtkwave, re.MULTILINE)
    assert len(named) > 20
    for name, high in named:
        assert shown[name].bitwidth == int(high or 0) + 1, name
    assert re.findall(r"variable_add (\S+)", surfer) == [name for name, _ in named]
    # The kind of a beat is its lowest four bits, of 256.
    kind = [f"({255 - bit})top.core.beats__payload[255:0]" for bit in (3, 2, 1, 0)]
    assert f"#{{kind.kind}} {' '.join(kind)}\n" in gtkwave
    first = told["reports"][0]
    assert f"cursor_set {NS * first['accepted']}\n" in surfer
    assert re.search(rf"^\*\S+ {NS * first['accepted']} {NS * first['left']}$", gtkwave, re.MULTILINE)
    assert f'[dumpfile] "{file.resolve()}"' in gtkwave


def test_reports_are_those_of_the_journal(run, traced):
    """Of the slots as the software engine executes them."""
    client_id, (account, *_), told, _ = traced
    with (
        Journal(run[0] / "journal", readonly=True) as journal,
        closing(Engine(SoftBackend(GEOMETRY))) as soft,
    ):
        execution = Execution(venue_process.CONFIG, soft, 1)
        expected = []
        for done in replay(execution, journal.slots(), False):
            for event, order, maker in zip(done.burst.events, done.orders, done.makers, strict=True):
                kind = Kind(int(event["kind"]) & 15)
                roles = [("order", order)] + [("maker", maker)] * (kind is Kind.TRADE)
                expected += [
                    (done.slot.number, role, kind.name.lower(), int(event["quantity"]))
                    for role, whose in roles
                    if whose == client_id
                ]
    got = [(r["slot"], r["role"], r["kind"].split()[0], r["quantity"]) for r in told["reports"]]
    assert got == expected and {r["account"] for r in told["reports"]} == {account}


def test_an_order_that_was_refused_says_why(run):
    out, orders = run
    with Journal(out / "journal", readonly=True) as journal, closing(Engine(SoftBackend(GEOMETRY))) as soft:
        execution, refused = Execution(venue_process.CONFIG, soft, 1), {}
        for done in replay(execution, journal.slots(), False):
            rows, why = done.slot.messages, {r.seq: r for r in done.outcome.refusals}
            for row, seq in zip(rows[split(rows).starts], done.command_seqs, strict=True):
                client_id = int(row["client_id"])
                if row["kind"] == MessageKind.ORDER and seq in why and len(orders[client_id]) == 1:
                    refused[client_id] = done.slot.number, why[seq].reason.name
    client_id, (slot, reason) = next(iter(refused.items()))
    says = " ".join(wave(client_id, out, code=1).output.split())
    assert f"order {client_id}: it was refused in slot {slot} ({reason}, it had" in says


def test_an_id_of_several_owners_asks_whose(run, monkeypatch):
    """Ids are each account's own; of two in one slot."""
    rows = np.zeros(2, MESSAGE)
    rows["kind"], rows["client_id"], rows["account"] = MessageKind.ORDER, 7, (3, 8)
    # Two ACKs, a TRADE of the one with the other, and what was left of the first taken away by the second.
    events = np.zeros(4, EVENT)
    events["kind"] = Kind.ACK, Kind.ACK, Kind.TRADE, Kind.CANCELLED
    events["seq"], events["order_id"] = (1, 2, 2, 2), (0, 5, 5, 0)
    slot = SimpleNamespace(messages=rows, number=4)
    done = SimpleNamespace(
        slot=slot,
        command_seqs=(1, 2),
        outcome=SimpleNamespace(refusals=()),
        burst=SimpleNamespace(events=events),
        orders=np.array([7, 7, 7, 7]),
        makers=np.array([9, 9, 7, 9]),
    )
    backend = SimpleNamespace(cycle_of=lambda count: count)
    monkeypatch.setattr(module, "_slots", lambda *_: iter([(backend, done)]))
    says = wave(7, run[0], code=1).output
    assert "accounts [3, 8] have orders of the id 7; --account says whose" in " ".join(says.split())
    # Of either alone what concerns it: its ACK, and its side of the trade.
    with Journal(run[0] / "journal", readonly=True) as journal:
        for account, roles in ((3, ["order", "maker", "order"]), (8, ["order", "order"])):
            assert [told.role for told in module._find(journal, 7, account)] == roles


def test_what_is_not_there_is_told(run, traced, tmp_path):
    out, _ = run
    assert "no order of the 4 slots has the id 987654321" in wave("987654321", out, code=1).output
    client_id, (account, *_), told, _ = traced
    count = len(told["reports"])
    says = wave(client_id, out, "--report", count, "--out", tmp_path / "x.fst", code=1).output
    assert f"has {count} reports, from 0; not {count}" in says and not list(tmp_path.iterdir())
    says = wave(client_id, out, "--account", account + 1, code=1).output
    assert f"account {account + 1} has no order of the id {client_id}; [{account}] have" in says
    assert "does not exist" in wave("1", tmp_path / "nowhere", code=2).output
    assert wave("1", tmp_path, code=1).output.startswith("Error: Journal")
