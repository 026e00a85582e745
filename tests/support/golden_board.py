"""A board made of the golden engine and a LinkEnd, over TCP or a pseudo-terminal."""

import os
import random
import select
import socket
import threading
import time
import tty
from contextlib import contextmanager

import numpy as np
from hawse.engine import GoldenBackend
from hawse.engine.link import LinkEnd
from hawse.wire import Geometry, Opcode
from hawse.wire.dtypes import COMMAND, HELLO

GEOMETRY = Geometry(instruments=2, pool=1024, orders=64, tag_bits=8)
ENDS = (Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO)


class Board(threading.Thread):
    """A board: golden engine, link, and a line that may lose bytes."""

    def __init__(
        self, receive, send, fd, loss=0.0, seed=0, version=None, spoiled=lambda _: None, hang_up=False
    ):
        super().__init__(daemon=True)
        self.receive_bytes, self.send_bytes, self.fd = receive, send, fd
        self.loss, self.rng = loss, random.Random(seed)
        self.dead, self.stop = False, False
        self.until_power_loss = 0  # pieces received until then: never, when it starts at none
        # Of its HELLO; what changes the board before it starts; whether it hangs up when sending fails.
        self.version, self.hang_up, self.wrap_send = version, hang_up, lambda send: send
        spoiled(self)

    def power_up(self):
        self.end, self.engine = LinkEnd(board=True, timeout=0.05), GoldenBackend(GEOMETRY)
        self.commands, self.resets = b"", 0

    def run(self):
        self.power_up()
        self.send_bytes = self.wrap_send(self.send_bytes)
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
                if self.hang_up:
                    socket.socket(fileno=os.dup(self.fd)).shutdown(socket.SHUT_RDWR)
                return

    def line(self, data):
        return b"" if self.dead else bytes(b for b in data if not self.loss or self.rng.random() >= self.loss)

    def work(self):
        if self.end.resets != self.resets:
            self.resets, self.commands = self.end.resets, b""
            self.engine.reset(self.end.epoch)
        while self.end.received:
            self.until_power_loss -= 1
            if not self.until_power_loss:
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


@contextmanager
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

    try:
        yield start
    finally:
        for board in started:
            board.stop = True
            if board.ident:
                board.join(2)
        for close in closing:
            close()
