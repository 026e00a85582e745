import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.engine import GoldenBackend, split
from hawse.engine.link import EngineReset, LinkBackend, LinkEnd, LinkLost
from hawse.engine.probe import ProbeClient, ProbeError
from hawse.wire import Feature, Geometry, InstrumentState, Opcode
from hawse.wire.dtypes import COMMAND, make
from hawse_sim.board import ApplianceModel, VirtualBoard
from hawse_sim.differential import compare_commands, demand_same

SMALL = Geometry(instruments=2, pool=2048, orders=64, tag_bits=4)

OPENING = np.concatenate(
    [
        make(COMMAND, opcode=Opcode.STATE, quantity=InstrumentState.LOADING, token=1024, price=500),
        make(COMMAND, opcode=Opcode.STATE, quantity=InstrumentState.OPEN),
        make(COMMAND, opcode=Opcode.FENCE, token=9),
    ]
)


@pytest.fixture(scope="module")
def board():
    with VirtualBoard(SMALL) as board:
        yield board


@pytest.fixture
def link(board):
    backend = LinkBackend(board.url)
    yield backend
    backend.close()


def test_a_host_finds_the_geometry(link):
    assert link.geometry == SMALL


def test_the_same_answers_as_golden(link):
    compare_commands([GoldenBackend(SMALL), link], 1, 4, 200, epoch=link.epoch + 1)


def test_power_loss_within_a_slot(board, link):
    link.exchange(OPENING)
    board.reset()
    with pytest.raises(EngineReset) as error:
        link.exchange(OPENING)
    assert error.value.board_epoch == 0
    link.reset(2)
    golden = GoldenBackend(SMALL)
    golden.reset(2)
    demand_same(("board", "golden"), link.exchange(OPENING), golden.exchange(OPENING))


def test_the_board_outlives_its_host(board):
    first = LinkBackend(board.url)
    first.exchange(OPENING)
    epoch = first.epoch
    first.close()
    second = LinkBackend(board.url)
    assert second.epoch == epoch + 1
    second.exchange(OPENING)
    second.close()


def test_a_second_host_takes_the_line_over(board):
    first = LinkBackend(board.url)
    second = LinkBackend(board.url)
    with pytest.raises(LinkLost):
        first.exchange(OPENING)
    second.exchange(OPENING)
    first.close()
    second.close()


def test_rest_between_two_exchanges(board, link):
    def used():  # processor time of the board, in ticks of the kernel
        with open(f"/proc/{board.process.pid}/stat") as f:
            return sum(map(int, f.read().rpartition(")")[2].split()[11:13]))

    link.exchange(OPENING)
    time.sleep(0.2)
    before = used()
    time.sleep(0.5)
    assert used() - before <= 0.05 * os.sysconf("SC_CLK_TCK")


def test_pseudo_terminal(tmp_path):
    with VirtualBoard(SMALL, pty=True) as board:
        golden, link = GoldenBackend(SMALL), LinkBackend(board.url)
        for backend in (golden, link):
            backend.reset(7)
        demand_same(("board", "golden"), link.exchange(OPENING), golden.exchange(OPENING))
        link.close()
        again = LinkBackend(board.url)
        assert again.epoch == 8
        again.close()


def sizes():
    return ["--instruments", "2", "--pool", "2048", "--orders", "64", "--tag-bits", "4"]


def test_command_line_and_its_end(tmp_path):
    name = tmp_path / "board"
    command = [sys.executable, "-m", "hawse_sim.board", *sizes(), "--pty", "--link", str(name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == str(name)
        assert name.is_symlink()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert not name.is_symlink()


def test_url_as_json_and_a_port_of_choice():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "hawse_sim.board", *sizes(), "--tcp", str(port), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert json.loads(process.stdout.readline()) == {"url": f"socket://127.0.0.1:{port}"}
        process.terminate()
        assert process.wait(timeout=20) == 0


def test_a_board_that_cannot_start_says_so():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "hawse_sim.board", *sizes(), "--tcp", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"cannot listen at 127.0.0.1:{port}" in done.stderr
    done = subprocess.run([*command, "--orders", "7"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "orders: 7" in done.stderr


@pytest.mark.ci  # a model of its own
def test_waveform(tmp_path):
    file = tmp_path / "board.fst"
    with VirtualBoard(SMALL, trace=file, trace_from=100, trace_to=5000) as board:
        link = LinkBackend(board.url)
        link.exchange(OPENING)
        link.close()
        assert board.close() == 0
    header = file.read_bytes()[:25]
    assert header[0] == 0
    assert int.from_bytes(header[9:17], "big") == 1000
    assert 1000 < int.from_bytes(header[17:25], "big") <= 49_995


def pump(model, end, now, until):
    for _ in range(200):
        _, data = model.run(end.tick(now), 10_000)
        end.receive(data, now)
        if until():
            return
    raise AssertionError("no answer")


def test_the_clock_stops_when_nothing_moves_and_the_timeout_brings_lost_beats():
    model, end = ApplianceModel(SMALL), LinkEnd()
    end.reset(1)
    pump(model, end, 0.0, lambda: end.open)
    model.run(b"", 100_000)
    assert model.idle and not model.unacked
    before = model.cycles
    model.run(b"", 100_000)
    assert model.cycles < before + 100

    end.send(OPENING.tobytes())
    model.run(end.tick(0.0), 10_000)  # what it answers is lost
    for _ in range(10):  # each run ends behind a frame
        model.run(b"", 10_000)
    assert model.idle and model.unacked
    before = model.cycles
    for _ in range(100):
        _, data = model.run(b"", 10_000, keep_on=True)
        end.receive(data, 0.0)
        if end.received:
            break
    assert model.cycles > before + 100_000, "the time-out was not awaited"
    pump(model, end, 0.0, lambda: sum(map(len, end.received)) == 32 * 4)
    model.close()


def test_the_example_of_pyserial_alone(board, tmp_path):
    example = Path(__file__).parents[2] / "examples" / "board.py"
    done = subprocess.run(
        [sys.executable, str(example), board.url], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    first, *middle, last = done.stdout.splitlines()
    assert first == "version 2, 2 instruments, 64 orders, 2048 levels, 4 bits of tag"
    assert middle == [
        "seq 0: ACK of order 0, 3 at 100",
        "seq 0: ACK of order 0, 1 at 100",
        "seq 1: ACK of order 0, 5 at 120",
        "seq 2: ACK of order 1, 2 at 120",
        "seq 2: TRADE of order 1, 2 at 120",
    ]
    after, golden = LinkBackend(board.url), GoldenBackend(SMALL)
    after.close()
    golden.reset(after.epoch - 1)
    commands = np.zeros(6, COMMAND)
    commands["opcode"] = 11, 6, 6, 1, 1, 7
    commands["token"][1], commands["price"][1:5] = 64, (100, 0, 120, 120)
    commands["quantity"][1:5], commands["handle"][4], commands["flags"][4] = (3, 1, 5, 2), 1, 1
    commands["seq"][3:5] = 1, 2
    assert last == f"digest of the log {split(golden.exchange(commands)).fences[0].digest.hex()}"


def test_the_self_test_of_a_virtual_board(board):
    done = CliRunner().invoke(main, ["board", "check", board.url, "--geometry", "2,2048,64,4", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["ok"] and told["steps"]["book"]["beats"] > 1000
    done = CliRunner().invoke(main, ["board", "check", board.url, "--geometry", "1,2048,64,4"])
    assert done.exit_code == 1 and "another bitstream" in done.output


@pytest.mark.ci  # a model of its own
def test_a_board_with_a_probe():
    with VirtualBoard(SMALL, probe=True) as board:
        done = CliRunner().invoke(main, ["board", "check", board.url, "--json"])
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert {"loopback", "bit test", "capture"} <= set(told["steps"])
        assert told["steps"]["bitstream"]["features"] == Feature.CAPTURE
        bits = told["steps"]["bit test"]
        assert bits["to_board"] == bits["from_board"] == bits["sent"] and bits["to_board_wrong"] == 0

        link = LinkBackend(board.url)
        probe = ProbeClient(link, patience=1)
        link.exchange(OPENING)
        # More than the buffer holds, with the trigger in the middle: it keeps what is around that.
        commands = np.zeros(1200, COMMAND)
        commands["seq"] = np.arange(1200)
        commands["opcode"][600], commands["opcode"][-1] = Opcode.HELLO, Opcode.FENCE
        probe.arm(mask=0xFF01, value=0x0B01, after=200)
        link.exchange(commands)
        entries, trigger = probe.entries()
        assert len(entries) == 512 and trigger == 511 - 200
        assert entries[trigger].fields["opcode"] == Opcode.HELLO and entries[trigger].fields["seq"] == 600
        sent = [e.fields["seq"] for e in entries if e.fields["command"]]
        assert sent == list(range(sent[0], sent[-1] + 1)) and 600 in sent
        cycles = [e.cycle for e in entries]
        assert cycles == sorted(cycles)
        assert probe.loop(b"still me") == b"still me"
        link.exchange(OPENING)
        link.close()


def test_a_board_without_a_probe_does_not_answer_its_questions(link):
    with pytest.raises(ProbeError, match="did not answer STATE within 0"):
        ProbeClient(link, patience=0.3).state()
    link.exchange(OPENING)
