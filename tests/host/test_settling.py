"""What a host does with its contract when the node answers, does not, or answers wrongly."""

import threading
from types import SimpleNamespace
from unittest.mock import MagicMock, PropertyMock

import pytest
from hawse.chain.errors import (
    AnchorConflictError,
    ChainError,
    ConnectionLostError,
    DepositMismatchError,
    RevertedError,
)
from hawse.cli import settling as module
from hawse.cli.run import _serve
from hawse.cli.settling import REQUESTS, Settling

GRACE = 4000
MACHINE = SimpleNamespace(
    deposit_index=3, deposit_accumulator=b"d" * 32, request_index=2, request_accumulator=b"r" * 32
)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def client():
    client = MagicMock()
    client.terms.return_value = {"threshold": 0, "grace": GRACE}
    client.deposits_since.return_value = ["deposit"]
    client.requests_since.return_value = ["request"]
    return client


@pytest.fixture
def settling(client, clock):
    return Settling(client, None, [])


def test_it_is_blind_until_both_queues_were_read_and_again_behind_a_quarter_of_the_grace(
    settling, client, clock
):
    assert settling.blind
    client.requests_since.side_effect = ConnectionLostError("no")
    assert settling.queued(MACHINE, True) == ((), ()) and settling.blind
    client.requests_since.side_effect = None
    clock.now += 2
    assert settling.queued(MACHINE, True) == (("deposit",), ("request",)) and not settling.blind
    client.deposits_since.assert_called_with(3, b"d" * 32)
    client.requests_since.assert_called_with(2, b"r" * 32)
    clock.now += GRACE / 4
    assert not settling.blind
    clock.now += 1
    assert settling.blind


def test_a_queue_that_is_longer_than_a_slot_is_not_read_to_its_end(settling, client):
    client.requests_since.return_value = ["request"] * (REQUESTS + 1)
    assert len(settling.queued(MACHINE, True)[1]) == REQUESTS and settling.blind


def test_it_looks_once_a_second_unless_it_has_to(settling, client, clock):
    settling.queued(MACHINE, False)
    assert settling.queued(MACHINE, False) == ((), ())
    assert settling.queued(MACHINE, True) == (("deposit",), ("request",))
    clock.now += 1
    assert settling.queued(MACHINE, False) == (("deposit",), ("request",))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLostError("no"),
        ChainError("header not found"),
        ChainError("-32005: limit exceeded"),
        DepositMismatchError("request 2 is another than the one that was seen"),
        RevertedError("anchor", "anchor: time ahead of the chain"),
    ],
)
def test_no_answer_of_the_node_ends_the_host_and_it_is_asked_less_and_less_often(
    settling, client, clock, error
):
    client.anchor.side_effect = error
    pauses = []
    for _ in range(9):
        assert settling.anchor("header", b"data") is None
        asked, started = client.anchor.call_count, clock.now
        while client.anchor.call_count == asked:
            clock.now += 1
            settling.anchor("header", b"data")
        pauses.append(clock.now - started)
    assert pauses[0] == 1 and max(pauses) == 60 and pauses == sorted(pauses)
    client.anchor.side_effect = None
    settling.hurry()
    assert settling.anchor("header", b"data") is client.anchor.return_value


@pytest.mark.parametrize("error", [AnchorConflictError("another"), RevertedError("anchor", "anchor: frozen")])
def test_what_no_time_mends_ends_it(settling, client, error):
    client.anchor.side_effect = error
    with pytest.raises(type(error)):
        settling.anchor("header", b"data")


def test_nothing_is_sent_before_enough_have_signed(client, clock):
    client.terms.return_value = {"threshold": 2, "grace": GRACE}
    signatures = MagicMock()
    settling = Settling(client, signatures, [b"c", b"a", b"b"])
    signatures.of.return_value = {b"a": b"1"}
    assert settling.anchor("header", b"data") is None and settling.anchor("header", b"data") is None
    assert signatures.of.call_count == 1  # once a second
    clock.now += 1
    signatures.of.return_value = {b"c": b"3", b"a": b"1", b"b": b"2"}
    assert settling.anchor("header", b"data") is client.anchor.return_value
    client.anchor.assert_called_once_with("header", {b"a": b"1", b"b": b"2"}, b"data")


def test_no_command_is_taken_while_no_slot_may_be_carried_out(monkeypatch):
    monkeypatch.setattr("hawse.cli.run.WAIT_SECONDS", 0.01)
    host, waits = MagicMock(), ["the chain is gone"] * 3 + [""]
    host.waits.side_effect = lambda: waits.pop(0)
    type(host).batch_is_full = PropertyMock(return_value=False)
    taken = []
    incoming = MagicMock(burst=lambda *_: (taken.append(len(waits)), ([], []))[1])
    type(incoming).ended = PropertyMock(side_effect=lambda: not waits)
    _serve(host, incoming, threading.Event(), 256, 0.02, 3600)
    assert taken == [0] and host.slot.call_count == 1 and host.finish.call_count == 1
