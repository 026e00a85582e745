"""LinkBackend against a board made of the golden engine and a LinkEnd, over TCP and a pseudo-terminal."""

import os
import random
import select
import socket
import threading
import time
import tty

import numpy as np
import pytest
from hawse.engine import EngineError, GoldenBackend
from hawse.engine.link import (
    EngineReset,
    EpochTooLow,
    LinkBackend,
    LinkEnd,
    LinkLost,
    LinkTimeout,
    LinkVersionMismatch,
)
from hawse.wire import Geometry, InstrumentState, Opcode
from hawse.wire.dtypes import BEAT, COMMAND, HELLO, make

GEOMETRY = Geometry(instruments=2, pool=1024, orders=64, tag_bits=8)
ENDS = (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)


class Board(threading.Thread):
    """A board: golden engine, link, and a line that may lose bytes."""

    def __init__(self, receive, send, fd, loss=0.0, seed=0):
        super().__init__(daemon=True)
        self.receive_bytes, self.send_bytes, self.fd = receive, send, fd
        self.loss, self.rng = loss, random.Random(seed)
        self.power_cycle, self.dead, self.stop = False, False, False
        self.version = None

    def power_up(self):
        self.end, self.engine = LinkEnd(board=True, timeout=0.05), GoldenBackend(GEOMETRY)
        self.commands, self.resets = b"", 0

    def run(self):
        self.power_up()
        while not self.stop:
            try:
                if select.select([self.fd], [], [], 0.01)[0]:
                    data = self.receive_bytes()
                    if not data:
                        return
                    self.end.receive(self.line(data), time.monotonic())
                self.work()
                if out := self.line(self.end.tick(time.monotonic())):
                    self.send_bytes(out)
            except OSError:
                return

    def line(self, data):
        return b"" if self.dead else bytes(b for b in data if not self.loss or self.rng.random() >= self.loss)

    def work(self):
        if self.end.resets != self.resets:
            self.resets, self.commands = self.end.resets, b""
            self.engine.reset(self.end.epoch)
        while self.end.received:
            if self.power_cycle:
                self.power_cycle = False
                self.power_up()
                return
            self.commands += self.end.received.popleft()
            commands = np.frombuffer(self.commands, COMMAND)
            ends = np.flatnonzero(np.isin(commands["opcode"], ENDS))
            if len(ends):
                upto = ends[-1] + 1
                self.commands = self.commands[32 * upto :]
                answer = self.engine.exchange(commands[:upto]).copy()
                if self.version is not None:
                    answer[:1].view(HELLO)["version"] = self.version
                    if self.version == 1:  # whose HELLO has no second beat
                        answer = np.delete(answer, 1)
                raw = answer.tobytes()
                for at in range(0, len(raw), 256):
                    self.end.send(raw[at : at + 256])


@pytest.fixture
def boards():
    """Starts a board: ``boards(kind, **options)`` gives it and the URL."""
    started, closing = [], []

    def tcp(**options):
        server = socket.create_server(("127.0.0.1", 0))
        closing.append(server.close)
        board = Board(None, None, -1, **options)

        def serve():
            line, _ = server.accept()
            closing.append(line.close)
            board.receive_bytes, board.send_bytes = lambda: line.recv(65536), line.sendall
            board.fd = line.fileno()
            board.start()

        threading.Thread(target=serve, daemon=True).start()
        return board, f"socket://127.0.0.1:{server.getsockname()[1]}"

    def pty(**options):
        master, slave = os.openpty()
        tty.setraw(slave)
        board = Board(lambda: os.read(master, 65536), lambda data: os.write(master, data), master, **options)
        board.start()
        closing.extend([lambda: os.close(master), lambda: os.close(slave)])
        return board, os.ttyname(slave)

    def start(kind="tcp", **options):
        board, url = {"tcp": tcp, "pty": pty}[kind](**options)
        started.append(board)
        return board, url

    yield start
    for board in started:
        board.stop = True
        if board.ident:
            board.join(2)
    for close in closing:
        close()


def burst(rng, n, end=Opcode.FENCE):
    """Orders that trade, cancel and are refused, on two open instruments."""
    orders = np.zeros(n + 5, COMMAND)
    orders["opcode"] = rng.choice([Opcode.NEW, Opcode.NEW, Opcode.CANCEL, Opcode.HELLO, Opcode.FENCE], n + 5)
    orders["instrument"] = rng.integers(0, 2, n + 5)
    orders["handle"] = rng.integers(0, 64, n + 5)
    orders["price"] = rng.integers(100, 110, n + 5)
    orders["quantity"] = rng.integers(1, 5, n + 5)
    orders["flags"] = rng.integers(0, 2, n + 5)
    orders["seq"] = np.arange(n + 5)
    for at in (0, 1):
        where = {"opcode": Opcode.STATE, "instrument": at}
        window = {"handle": 512 * at, "token": 512}
        orders[2 * at] = make(COMMAND, **where, **window, quantity=InstrumentState.LOADING)[0]
        orders[2 * at + 1] = make(COMMAND, **where, quantity=InstrumentState.OPEN)[0]
    orders["opcode"][-1] = end
    return orders


@pytest.mark.parametrize("kind", ["tcp", "pty"])
@pytest.mark.parametrize("loss", [0, 0.0005])
def test_same_beats_as_the_engine_behind_it(boards, kind, loss):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    _, url = boards(kind, loss=loss, seed=seed)
    link, golden = LinkBackend(url, epoch=5), GoldenBackend(GEOMETRY)
    assert link.geometry == GEOMETRY and link.epoch == 5
    for epoch in (6, 9):
        link.reset(epoch)
        golden.reset(epoch)
        for n, end in ((0, Opcode.FENCE), (300, Opcode.CLOSE), (50, Opcode.HELLO), (20, Opcode.FENCE)):
            commands = burst(rng, n, end)
            got = link.exchange(commands)
            assert got.dtype == BEAT and (got == golden.exchange(commands)).all()
    link.close()


def test_first_epoch_is_above_the_boards(boards):
    _, url = boards("pty")
    first, golden = LinkBackend(url), GoldenBackend(GEOMETRY)
    assert first.epoch == 1 and first.board_epoch() == 1
    golden.reset(1)
    commands = burst(np.random.default_rng(1), 20)
    assert (first.exchange(commands) == golden.exchange(commands)).all()  # it is as after a reset
    first.close()
    second = LinkBackend(url)
    assert second.epoch == 2
    with pytest.raises(EpochTooLow, match="epoch 2 is not above") as error:
        second.reset(2)
    assert error.value.board_epoch == 2
    second.reset(3)
    assert len(second.exchange(burst(np.random.default_rng(1), 0))) >= 2
    second.close()


def test_power_loss_in_the_middle_is_told(boards):
    board, url = boards()
    link = LinkBackend(url)
    link.reset(7)
    board.power_cycle = True
    with pytest.raises(EngineReset, match="the board is in epoch 0, not 7") as error:
        link.exchange(burst(np.random.default_rng(1), 500))
    assert error.value.board_epoch == 0
    with pytest.raises(EngineError, match="reset it first"):
        link.exchange(burst(np.random.default_rng(1), 5))
    link.reset(8)
    assert len(link.exchange(burst(np.random.default_rng(1), 5)))
    link.close()


def test_power_loss_while_only_waiting_is_told(boards):
    board, url = boards()
    link = LinkBackend(url)
    work, board.work = board.work, lambda: None  # takes everything, answers nothing
    threading.Timer(0.3, lambda: (board.power_up(), setattr(board, "work", work))).start()
    with pytest.raises(EngineReset):
        link.exchange(burst(np.random.default_rng(1), 5))
    link.close()


def test_a_silent_board_is_given_up(boards):
    board, url = boards()
    link = LinkBackend(url, patience=0.5)
    board.dead = True
    with pytest.raises(LinkTimeout, match="no progress for 0"):
        link.exchange(burst(np.random.default_rng(1), 5))
    with pytest.raises(LinkTimeout, match="board_epoch"):
        link.reset(50)
    link.close()


def test_a_vanished_board_is_told(boards):
    board, url = boards()
    link = LinkBackend(url)
    board.stop = True
    board.join()
    socket.socket(fileno=os.dup(board.fd)).shutdown(socket.SHUT_RDWR)
    with pytest.raises(LinkLost):
        link.exchange(burst(np.random.default_rng(1), 5))
    link.close()


@pytest.mark.parametrize("version", [1, 9])
def test_another_version_is_refused(boards, version):
    board, url = boards()
    board.version = version
    with pytest.raises(LinkVersionMismatch, match=f"version {version} of the wire, this host 2"):
        LinkBackend(url)


def test_no_port_is_told():
    with pytest.raises(LinkLost, match="no/such"):
        LinkBackend("/no/such/port")
    with pytest.raises(LinkLost, match="gibberish"):
        LinkBackend("gibberish://x")


def test_commands_without_a_certain_end_are_refused(boards):
    _, url = boards()
    link = LinkBackend(url)
    with pytest.raises(ValueError, match="FENCE"):
        link.exchange(make(COMMAND, opcode=Opcode.CANCEL))
    link.close()
