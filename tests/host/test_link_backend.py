"""LinkBackend against a board made of the golden engine and a LinkEnd, over TCP and a pseudo-terminal."""

import os
import random
import socket
import threading

import numpy as np
import pytest
from hawse.engine import EngineError, GoldenBackend
from hawse.engine.link import (
    EngineReset,
    EpochTooLow,
    LinkBackend,
    LinkLost,
    LinkTimeout,
    LinkVersionMismatch,
)
from hawse.wire import InstrumentState, Opcode
from hawse.wire.dtypes import BEAT, COMMAND, make
from support import golden_board
from support.golden_board import GEOMETRY


@pytest.fixture
def boards():
    """Starts a board: ``boards(kind, **options)`` gives it and the URL."""
    with golden_board.boards() as start:
        yield start


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
    board.until_power_loss = 1
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
