"""A venue on a board that loses power, hangs, or is cut off."""

import os
import random
import re
import signal
import socket
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hawse import venue as venue_module
from hawse.engine import Engine, EngineError, LinkBackend, SoftBackend, split
from hawse.journal import Journal, Snapshots
from hawse.keys.store import address_of
from hawse.venue import Halted, RecoveryFailed, Venue
from hawse.wire import BEAT_BYTES, Geometry, Kind
from hawse_sim.board import VirtualBoard
from hawse_sim.rtl import RtlBackend
from support import desk
from support.faults import LyingBackend, Witness, first_beats
from support.signed import OPERATOR, signed_slots

CONFIG = replace(desk.CONFIG, operator=address_of(OPERATOR))


def trade(directory, backend, slots, before=lambda slot: None):
    """The whole flow; the venue and what it published. ``before`` is called before each slot."""
    witness = Witness()
    with Journal(directory, CONFIG.encode()) as journal:
        venue = Venue(CONFIG, Engine(backend), journal, Snapshots(directory), witness)
        for slot in slots[venue.next_slot :]:
            before(slot.number)
            venue.run_slot(slot)
            for number in sorted(venue.pending)[:-1]:
                venue.anchored(number, bytes(32))
    return venue, witness


def same(tmp_path, slots, venue, witness):
    expected, said = trade(tmp_path / "soft", SoftBackend(CONFIG.geometry), slots)
    assert (witness.slots, witness.batches) == (said.slots, said.batches)
    assert venue.machine.snapshot() == expected.machine.snapshot()


@pytest.fixture
def board():
    with VirtualBoard(CONFIG.geometry) as board:
        yield board


@pytest.fixture
def link(board):
    backend = LinkBackend(board.url, patience=1.5)
    yield backend
    backend.close()


def lose_power(tmp_path, board, link, seed, slots, times):
    """Power losses at random moments from just before a slot on, some of them twice, in the recovery."""
    rng, timers, turn = random.Random(seed), [], threading.Lock()
    when = set(rng.sample(range(len(slots)), times))

    def reset():
        with turn:
            board.reset()

    def before(slot):
        for timer in timers:
            timer.join()
        if slot in when:
            again = [0.1 + rng.random() * 0.5] * rng.randrange(2)
            timers[:] = [threading.Timer(t, reset) for t in (rng.random() * 0.02, *again)]
            for timer in timers:
                timer.start()

    venue, witness = trade(tmp_path / "board", link, slots, before)
    for timer in timers:
        timer.join()
    same(tmp_path, slots, venue, witness)
    return venue


def test_power_loss_of_the_board_in_mid_slot(tmp_path, board, link, seed):
    venue = lose_power(tmp_path, board, link, seed, signed_slots(CONFIG, seed, 20), times=5)
    assert venue.epoch > 4


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(20))
def test_power_loss_of_the_board_in_mid_slot_long(tmp_path, board, link, seed, round_):
    lose_power(tmp_path, board, link, seed, signed_slots(CONFIG, seed, 60, size=20), times=20)


def test_a_line_that_breaks_is_opened_again(tmp_path, board, link, seed):
    slots = signed_slots(CONFIG, seed, 12)

    def before(slot):
        if slot in (3, 7):
            socket.socket(fileno=os.dup(link._fd)).shutdown(socket.SHUT_RDWR)

    venue, witness = trade(tmp_path / "board", link, slots, before)
    same(tmp_path, slots, venue, witness)


def test_a_board_that_hangs_for_a_while_is_waited_for(tmp_path, board, link, seed):
    slots = signed_slots(CONFIG, seed, 8)

    def before(slot):
        if slot == 5:
            board.process.send_signal(signal.SIGSTOP)
            threading.Timer(2.5, board.process.send_signal, [signal.SIGCONT]).start()

    venue, witness = trade(tmp_path / "board", link, slots, before)
    assert venue.epoch > 2  # longer than the link's patience: it counted as lost
    same(tmp_path, slots, venue, witness)


def test_a_board_that_is_gone_stops_the_venue_and_another_takes_up_its_work(
    tmp_path, board, link, seed, monkeypatch
):
    monkeypatch.setattr(venue_module, "_PAUSES", (0, 0.01, 0.01))
    slots = signed_slots(CONFIG, seed, 12)

    def before(slot):
        if slot == 6:
            board.process.kill()
            board.process.wait()

    with pytest.raises(RecoveryFailed, match="lost 3 times while it was rebuilt"):
        trade(tmp_path / "board", link, slots, before)
    with VirtualBoard(CONFIG.geometry) as other, closing(LinkBackend(other.url)) as line:
        venue, _ = trade(tmp_path / "board", line, slots)
    expected, _ = trade(tmp_path / "soft", SoftBackend(CONFIG.geometry), slots)
    assert venue.machine.snapshot() == expected.machine.snapshot()


def test_a_board_of_another_geometry_is_not_taken_for_ours(tmp_path, board, link, seed):
    def before(slot):
        if slot == 2:
            link.geometry = Geometry(1, 2048, 64, 4)  # as if the board had been exchanged
            socket.socket(fileno=os.dup(link._fd)).shutdown(socket.SHUT_RDWR)

    with pytest.raises(EngineError, match="another geometry"):
        trade(tmp_path, link, signed_slots(CONFIG, seed, 3), before)


@pytest.mark.parametrize(("kind", "beat"), [(Kind.FENCE, 1), (Kind.TRADE, 0), (Kind.CANCELLED, 0)])
def test_a_digest_that_does_not_fit_halts_the_venue_and_both_are_shown(tmp_path, kind, beat):
    """A bit of the gateware's digest, or of a record that it hashed, changes on the way to the host."""
    slots, seen = signed_slots(CONFIG, 5, 16), []

    def change(exchange, beats):
        raw, firsts = beats.view(np.uint8).reshape(-1, BEAT_BYTES), first_beats(beats)
        # An order that trades one lot more than it has is found before any digest.
        places = [at for at, its in firsts.items() if its == kind and (kind == Kind.FENCE or raw[at, 16] & 1)]
        one_fence = list(firsts.values()).count(Kind.FENCE) == 1 and list(firsts.values())[-1] == Kind.FENCE
        if exchange >= 8 and not seen and one_fence and places:
            raw[places[-1] + beat, 16] ^= 1
            seen.append(split(beats).fences[0].digest.hex())
        return beats

    rtl = RtlBackend(CONFIG.geometry)
    with closing(rtl), pytest.raises(Halted) as halted:
        trade(tmp_path, LyingBackend(rtl, change), slots)
    shown = re.search(r"log digest of engine and host: (\w{64}) is not (\w{64})", str(halted.value))
    assert shown and shown[1] == seen[0] != shown[2]
