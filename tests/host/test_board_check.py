"""``hawse board check`` on boards of the golden engine, sound and faulty, and on what is no board."""

import json
import os
import platform
import threading
import time
import tty
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import asdict

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.wire import Kind
from hawse.wire.dtypes import REPORT
from hawse.wire.frame import FrameType
from support import golden_board
from support.golden_board import GEOMETRY

STEPS = ["port", "bitstream", "link", "bad line", "book", "memories", "hashing", "rate", "round trips"]
OURS = ",".join(str(size) for size in asdict(GEOMETRY).values())


@pytest.fixture
def boards():
    with golden_board.boards() as start:
        yield start


def check(url, *more, code=0):
    """The result of a check, as JSON has it."""
    done = CliRunner().invoke(main, ["board", "check", url, "--json", *map(str, more)])
    assert done.exit_code == code, done.output + str(done.exception)
    return json.loads(done.stdout)


def fault(url, *more):
    """In which step a check ended, and the sentence that says why."""
    told = check(url, "--patience", 0.6, *more, code=1)
    assert not told["ok"] and "\n" not in told["fault"]
    return told["failed"], told["fault"]


@contextmanager
def terminal(serve):
    """A pseudo-terminal at whose other end ``serve`` has the master, on a thread."""
    master, slave = os.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)

    def run():
        with suppress(OSError):
            serve(master)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield name
    finally:
        for fd in (slave, master):
            with suppress(OSError):
                os.close(fd)
        thread.join(0.2)


@pytest.mark.parametrize("kind", ["tcp", "pty"])
def test_a_sound_board_passes_every_step(boards, kind):
    _, url = boards(kind)
    told = check(url, "--geometry", OURS)
    assert told["ok"] and told["failed"] is None and list(told["steps"]) == STEPS
    assert told["steps"]["bitstream"]["geometry"] == asdict(GEOMETRY)
    memories = told["steps"]["memories"]
    assert memories["orders"] == GEOMETRY.orders and memories["levels"] == 4 * GEOMETRY.orders
    trips = told["steps"]["round trips"]
    assert 0 < trips["p50_us"] <= trips["p90_us"] <= trips["p99_us"] <= trips["max_us"]
    rate = told["steps"]["rate"]
    assert rate["commands_per_s"] > 0 and rate["bytes_per_s_from_board"] > 32 * rate["commands_per_s"]
    counters = told["counters"]
    assert counters["bytes_from_board"] > 1000 and counters["frames_from_board"] > 100
    assert counters["no_frames_to_board"] >= 5, "the damage was not sent"


def test_a_line_that_loses_bytes_is_counted(boards):
    _, url = boards("tcp", loss=0.0001, seed=5)
    told = check(url)
    assert told["ok"] and told["counters"]["frames_sent_again"] > 0


def test_for_people(boards):
    _, url = boards("tcp")
    done = CliRunner().invoke(main, ["board", "check", url])
    assert done.exit_code == 0 and [line[:12].strip() for line in done.stdout.splitlines()] == STEPS


def wrong(board, spoil):
    """Let ``spoil`` change the beats that the board's engine answers with."""
    power_up = board.power_up

    def power_up_wrong():
        power_up()
        exchange = board.engine.exchange

        def answer(commands):
            out = exchange(commands).copy()
            spoil(out, commands)
            return out

        board.engine.exchange = answer

    board.power_up = power_up_wrong


def of_kind(beats, kind):
    return np.flatnonzero((beats.view(np.uint8).reshape(-1, 32)[:, 0] & 0x0F) == kind)


def trade_of_one_lot_more(beats, commands):
    for at in of_kind(beats, Kind.TRADE)[:1]:
        beats[at : at + 1].view(REPORT)["quantity"] += 1


def bit_of_an_order(beats, commands):
    for at in of_kind(beats, Kind.RESTING)[20:21] if (commands["opcode"] == 9).sum() > 20 else ():
        beats[at : at + 1].view(np.uint8)[16] ^= 1


def digest_of_a_long_log(beats, commands):
    """Of a log of more than 40 records."""
    if (commands["opcode"] == 0).sum() > 40:
        beats[-1:].view(np.uint8)[7] ^= 1


@pytest.mark.parametrize(
    ("spoil", "step"),
    [(trade_of_one_lot_more, "book"), (bit_of_an_order, "memories"), (digest_of_a_long_log, "hashing")],
)
def test_what_the_golden_model_says_otherwise(boards, spoil, step):
    _, url = boards("tcp", spoiled=lambda board: wrong(board, spoil))
    where, says = fault(url)
    assert where == step and "not what the golden model says" in says


def test_another_bitstream_than_was_expected(boards, tmp_path):
    _, url = boards("pty")
    where, says = fault(url, "--geometry", "2,2048,64,8")
    assert where == "bitstream" and "pool=1024" in says and "pool=2048" in says
    manifest = tmp_path / "manifest.json"
    good = {"build": "00" * 16, "clock_mhz": 0, "geometry": asdict(GEOMETRY), "seed": 1}
    for change, first, second in (
        ({"build": "ab" * 16}, "00" * 16, "ab" * 16),
        ({"clock_mhz": 90.0}, "0 kHz", "90000"),
        ({"geometry": asdict(GEOMETRY) | {"orders": 128}}, "orders=64", "orders=128"),
    ):
        manifest.write_text(json.dumps(good | change))
        where, says = fault(url, "--manifest", manifest)
        assert where == "bitstream" and first in says and second in says
    manifest.write_text(json.dumps(good))
    assert check(url, "--manifest", manifest)["ok"]


def test_gateware_of_another_version(boards):
    _, url = boards("tcp", version=1)
    where, says = fault(url)
    assert where == "port" and "version 1 of the wire, this host 2" in says and "bitstream" in says


def test_no_port():
    where, says = fault("/no/such/port")
    assert where == "port" and "/no/such/port cannot be opened" in says


def test_a_silent_port():
    with terminal(lambda master: time.sleep(20)) as name:
        where, says = fault(name)
    assert where == "port" and f"{name} is silent" in says and "0.6 s" in says


def echo(master):
    while True:
        os.write(master, os.read(master, 4096))


def modem(master):
    while True:
        os.read(master, 4096)
        os.write(master, b"\r\nlogin: ")


@pytest.mark.parametrize(("serve", "says"), [(echo, "it is a loop"), (modem, "0d 0a 6c 6f 67 69 6e 3a")])
def test_a_port_that_is_something_else(serve, says):
    with terminal(serve) as name:
        where, told = fault(name)
    assert where == "port" and says in told


def frame_cut_off(send):
    """A function in place of ``send`` that stops within the fortieth frame, and then hangs up."""
    count = 0

    def cut(data):
        nonlocal count
        count += 1
        if count < 40:
            return send(data)
        send(data[: len(data) // 2])
        raise OSError("pulled")

    return cut


def test_unplugged_in_the_middle_of_a_frame(boards):
    board, url = boards("tcp", hang_up=True)
    board.wrap_send = frame_cut_off
    where, says = fault(url)
    assert where in STEPS[2:] and "went away in the middle of a frame, of which" in says


def test_a_terminal_that_is_unplugged():
    """The board's side is closed while a frame is on its way."""

    def serve(master):
        os.read(master, 4096)
        os.write(master, b"\x7e\x01\x02\x03")
        time.sleep(0.1)
        os.close(master)

    with terminal(serve) as name:
        where, says = fault(name)
    assert (
        where == "port" and "in the middle of a frame, of which 3 bytes had come: was it unplugged?" in says
    )


def test_power_loss_during_the_test(boards):
    board, url = boards("tcp")
    board.until_power_loss = 20
    _, says = fault(url)
    assert "it was reset, or lost power, during the test" in says


def test_a_bundle_has_what_a_report_needs_and_nothing_else(boards, tmp_path, monkeypatch):
    monkeypatch.setenv("HAWSE_PASSWORD", "open sesame")
    _, url = boards("pty")
    path = tmp_path / "bundle.zip"
    told = check(url, "--bundle", path)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["frames.jsonl", "result.json"]
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert not any("sesame" in text or str(tmp_path) in text for text in texts.values())
    assert platform.node() not in json.loads(texts["result.json"])["host"].values()
    result = json.loads(texts["result.json"])
    assert result["result"] == told and result["versions"]["python"] and result["versions"]["hawse"]
    assert set(result["host"]) == {"system", "release", "machine", "device"}
    assert len(result["result"]["steps"]["bitstream"]["hello"]) == 2 * 64
    frames = [json.loads(line) for line in texts["frames.jsonl"].splitlines()]
    assert 50 < len(frames) <= 200 and {f["to"] for f in frames} == {"board", "host"}
    assert all(f["type"] in FrameType.__members__ for f in frames)


def test_a_bundle_is_written_of_a_fault_too(tmp_path):
    path = tmp_path / "bundle.zip"
    with terminal(modem) as name:
        where, says = fault(name, "--bundle", path)
    result = json.loads(zipfile.ZipFile(path).read("result.json"))["result"]
    assert (result["failed"], result["fault"]) == (where, says)
    assert bytes.fromhex(result["first_bytes_from_board"]).startswith(b"\r\nlogin")


def test_wrong_words_are_told():
    for words, says in (
        (["--geometry", "1,2,3"], "four numbers"),
        (["--geometry", "2,1000,64,4"], "pool: 1000"),
        (["--patience", "0"], "patience"),
    ):
        done = CliRunner().invoke(main, ["board", "check", "/dev/null", *words])
        assert done.exit_code == 2 and says in done.output
    done = CliRunner().invoke(main, ["board", "check", "/dev/null@fast"])
    assert done.exit_code == 2 and "'fast' is no baud rate" in done.output
