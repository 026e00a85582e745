"""Two ends of the link with a line between them that does anything to the bytes."""

import random
from collections import deque

import pytest
from hawse.engine.link import LinkEnd
from hawse.wire.frame import Deframer, FrameError, FrameType
from hypothesis import given, settings
from hypothesis import strategies as st


def payload(tag, n, rng):
    """A payload that says which it is, in 1 to 8 words, with bytes that need stuffing."""
    words = rng.randrange(1, 9)
    return (tag.encode() + n.to_bytes(4, "little") + bytes([rng.choice((0x7D, 0x7E, 0))] * 27)) * words


def damage(line, rng, badness):
    """``line`` with losses, doublings, garbage and changed bytes."""
    out = bytearray()
    at = 0
    while at < len(line):
        n = rng.randrange(1, 400)
        piece = bytearray(line[at : at + n])
        at += n
        if rng.random() < badness:
            what = rng.randrange(5)
            if what == 0:
                piece = bytearray()
            elif what == 1:
                piece = piece + piece
            elif what == 2:
                piece[rng.randrange(len(piece))] ^= 1 << rng.randrange(8)
            elif what == 3:
                piece = piece[: rng.randrange(len(piece))]
            else:
                piece += rng.randbytes(rng.randrange(50)) + b"\x7e" * rng.randrange(2)
        out += piece
    return bytes(out)


class Pair:
    """Host and board that send each other numbered payloads, and their users."""

    def __init__(self, rng, host, board):
        self.rng, self.host, self.board, self.now = rng, host, board, 0.0
        self.sent = {"h": [], "b": []}
        self.got = {"h": [], "b": []}  # by receiver
        self.seen = board.resets
        self.old = deque(maxlen=8)  # what was on the line, by direction

    def begin(self, epoch):
        self.host.reset(epoch)
        for end in "hb":
            self.sent[end].clear()
            self.got[end].clear()

    def send(self, end, count):
        for _ in range(count):
            p = payload(end, len(self.sent[end]), self.rng)
            self.sent[end].append(p)
            (self.host if end == "h" else self.board).send(p)

    def step(self, badness, appetite=0.5):
        self.now += self.rng.choice((0.001, 0.01, 0.3))
        for a, b in ((self.host, self.board), (self.board, self.host)):
            line = a.tick(self.now)
            if badness:
                if line:
                    self.old.append((a, line))
                if self.old and self.rng.random() < badness / 4:  # an echo of something older
                    sender, echo = self.rng.choice(self.old)
                    line += echo * (sender is a)
                line = damage(line, self.rng, badness)
            cut = self.rng.randrange(len(line) + 1)
            b.receive(line[:cut], self.now)
            b.receive(line[cut:], self.now)
        if self.board.resets != self.seen:  # what the board's user had of the old epoch is gone
            self.seen = self.board.resets
            self.got["b"].clear()
            self.sent["b"].clear()
        for end, link in (("h", self.host), ("b", self.board)):
            while link.received and self.rng.random() < appetite:
                self.got[end].append(link.received.popleft())

    def check(self):
        if self.host.epoch == self.board.epoch:
            assert self.got["b"] == self.sent["h"][: len(self.got["b"])]
            assert self.got["h"] == self.sent["b"][: len(self.got["h"])]

    def finish(self):
        for _ in range(400):
            self.step(0, appetite=1)
            if self.host.open and not self.host.outstanding + self.board.outstanding:
                break
        self.step(0, appetite=1)
        self.check()
        assert self.got["b"] == self.sent["h"] and self.got["h"] == self.sent["b"]


SMALL = st.sampled_from([1, 2, 3, 8])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), SMALL, SMALL, SMALL, st.sampled_from([0, 0.1, 0.3, 0.6]))
def test_nothing_lost_doubled_or_out_of_order(seed, window, host_slots, board_slots, badness):
    rng = random.Random(seed)
    pair = Pair(
        rng, LinkEnd(window=window, slots=host_slots), LinkEnd(board=True, window=window, slots=board_slots)
    )
    epoch = 0
    for _ in range(120):
        event = rng.random()
        if epoch == 0 or event < 0.02:
            epoch += rng.randrange(1, 3)
            pair.begin(epoch)
        elif event < 0.3:
            pair.send("h", rng.randrange(5))
        elif event < 0.5 and pair.host.open and pair.board.epoch == epoch:
            pair.send("b", rng.randrange(5))
        elif event < 0.52:
            pair.host.ping()
        pair.step(badness)
        pair.check()
    pair.finish()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 0.3]))
def test_host_learns_that_the_board_lost_power(seed, badness):
    rng = random.Random(seed)
    pair = Pair(rng, LinkEnd(), LinkEnd(board=True))
    pair.begin(5)
    pair.send("h", 10)
    for _ in range(rng.randrange(40)):
        pair.step(badness)
    was_open = pair.host.open
    pair.board = LinkEnd(board=True)
    pair.host.ping()
    for _ in range(20):
        pair.step(0)
    if was_open:
        assert pair.host.foreign == 0 and not pair.board.received and pair.board.epoch == 0
    pair.seen = 0
    pair.begin(6)
    pair.send("h", 10)
    pair.finish()


def run(host, board, rounds=20, now=0.0):
    for _ in range(rounds):
        now += 0.01
        board.receive(host.tick(now), now)
        host.receive(board.tick(now), now)
    return now


def test_sequence_numbers_wrap():
    host, board = LinkEnd(), LinkEnd(board=True)
    host.reset(1)
    run(host, board)
    for end in (host, board):
        end._base = end._expected = end._promised = 0xFFFD
    for n in range(10):
        host.send(bytes([n]) * 32)
        board.send(bytes([n]) * 32)
    got = [], []
    now = 1.0
    for _ in range(20):
        now = run(host, board, 1, now)
        for end, to in zip((host, board), got, strict=True):
            while end.received:
                to.append(end.received.popleft()[0])
    assert got == (list(range(10)), list(range(10)))


def test_a_reader_that_does_not_consume_stops_the_sender_and_a_lost_credit_is_asked_for_again():
    host, board = LinkEnd(), LinkEnd(board=True, slots=4)
    host.reset(1)
    now = run(host, board)
    for _ in range(12):
        host.send(bytes(32))
    now = run(host, board, 100, now)
    assert len(board.received) == 4 and host.outstanding == 8
    board.received.clear()
    told = Deframer().feed(board.tick(now))  # at once, but lost on the line
    assert [(f.type, f.ack, f.credits) for f in told] == [(FrameType.ACK, 4, 4)]
    now = run(host, board, 60, now)
    assert len(board.received) == 4 and host.outstanding == 4


@pytest.mark.parametrize("epoch", [3, 7])
def test_a_reset_not_above_the_boards_epoch_changes_nothing(epoch):
    host, board = LinkEnd(), LinkEnd(board=True)
    host.reset(7)
    now = run(host, board)
    board.send(bytes(32))
    other = LinkEnd()
    other.reset(epoch)
    run(other, board, 2, now)
    assert board.epoch == 7 and board.resets == 1
    assert other.open == (epoch == 7)
    if epoch < 7:
        assert other.foreign == 7


def test_what_the_board_said_before_a_reset_does_not_outlive_it():
    host, board = LinkEnd(), LinkEnd(board=True)
    host.reset(6)
    now = run(host, board)
    host.reset(9)
    board.send(bytes(32))
    host.receive(board.tick(now), now)
    assert host.foreign == 6 and not host.open
    run(host, board, now=now)
    assert host.foreign is None and host.open and not host.received


def test_ping_tells_the_epoch_and_changes_nothing():
    host, board = LinkEnd(), LinkEnd(board=True)
    host.ping()
    now = run(host, board, 1)
    assert host.foreign == 0
    host.reset(9)
    now = run(host, board, now=now)
    other = LinkEnd()
    other.ping()
    run(other, board, 1, now)
    assert other.foreign == 9 and board.resets == 1 and not other.open


def test_quiet_when_there_is_nothing_to_say():
    host, board = LinkEnd(), LinkEnd(board=True)
    host.reset(1)
    host.send(bytes(32))
    now = run(host, board)
    board.received.clear()
    now = run(host, board, 5, now)
    assert host.tick(now + 100) == b"" == board.tick(now + 100)


def test_silence_makes_everything_unacknowledged_go_again():
    host, board = LinkEnd(timeout=1.0), LinkEnd(board=True)
    host.reset(1)
    run(host, board)
    for n in range(3):
        host.send(bytes([n]) * 32)

    def sent(now):
        return [f.payload[0] for f in Deframer().feed(host.tick(now)) if f.type == FrameType.DATA]

    assert sent(10) == [0, 1, 2] and sent(10.9) == [] and sent(11) == [0, 1, 2]


def test_wrong_use_is_refused():
    with pytest.raises(FrameError, match="33 bytes"):
        LinkEnd().send(bytes(33))
    with pytest.raises(ValueError, match="epoch 0"):
        LinkEnd().reset(0)
    with pytest.raises(ValueError, match="host's end"):
        LinkEnd(board=True).reset(1)
    with pytest.raises(ValueError, match="slots 256"):
        LinkEnd(slots=256)
