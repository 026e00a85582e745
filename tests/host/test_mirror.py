"""Batches that a second machine seals beside the slot path."""

import threading

import pytest
from hawse.engine import Engine, SoftBackend
from hawse.mirror import MirrorDiffers
from hawse.state.native.machine import NativeMachine
from hawse.state.outcomes import Signers
from hawse.state.slot import SlotInput
from hawse.venue import Execution, Halted
from support.signed import signed_slots
from support.venue_process import CONFIG

SLOTS = 18


def execution(**options):
    return Execution(CONFIG, Engine(SoftBackend(CONFIG.geometry)), 1, **options)


def carried_out(run):
    """What each batch of a signed flow is sealed as, in order."""
    found = []
    for slot in signed_slots(CONFIG, 5, SLOTS, size=30, batch=6):
        _, burst = run.run(slot)
        found.append(run.seal(slot, burst, bytes(32), keep=True))
    return [sealing for sealing in found if sealing]


def test_either_form_seals_the_same_beside_the_slots_or_between_them():
    ways = ("native", True), ("native", False), ("golden", True)
    runs = [execution(form=form, beside=beside) for form, beside in ways]
    beside, between, golden = ([sealing.result() for sealing in carried_out(run)] for run in runs)
    assert len(beside) == SLOTS // 6
    for one, other, third in zip(beside, between, golden, strict=True):
        assert one.header == other.header == third.header
        assert one.snapshot == other.snapshot == third.snapshot
        assert one.state.exits == other.state.exits == third.state.exits
        assert one.state.withdrawal_proofs() == third.state.withdrawal_proofs()


def test_slots_go_on_while_a_batch_is_made(monkeypatch):
    may_seal, seal = threading.Event(), NativeMachine.seal_batch

    def later(machine):
        assert may_seal.wait(30)
        return seal(machine)

    monkeypatch.setattr(NativeMachine, "seal_batch", later)
    sealings = carried_out(execution(form="native", beside=True))
    assert not any(sealing.done() for sealing in sealings)
    may_seal.set()
    assert [sealing.result().header.number for sealing in sealings] == [1, 2, 3]


@pytest.mark.parametrize("last", [0, 5])
def test_no_batch_is_made_behind_a_slot_that_differs(monkeypatch, last):
    """Not even of the batch that this very slot ends, of which nobody asks again."""
    run = execution(form="native", beside=True)
    ours, clear, seen = run.machine, NativeMachine.clear_slot, []

    def other(machine, events):
        found = clear(machine, events)
        seen.append(machine is not ours)
        return bytes(32) if machine is not ours and sum(seen) == last + 1 else found

    monkeypatch.setattr(NativeMachine, "clear_slot", other)
    with pytest.raises((Halted, MirrorDiffers), match=f"slot {last}: digest 0"):
        for slot in signed_slots(CONFIG, 5, 6, size=30, batch=6):
            _, burst = run.run(slot)
            sealing = run.seal(slot, burst, bytes(32), keep=True)
        sealing.result()


@pytest.mark.parametrize("what", ["digest", "slot", "header"])
def test_what_goes_wrong_beside_the_slots_stops_them(monkeypatch, what):
    run = execution(form="native", beside=True)
    second = run._mirror._machine
    ours, clear = run.machine, NativeMachine.clear_slot
    if what == "digest":
        monkeypatch.setattr(
            NativeMachine,
            "clear_slot",
            lambda machine, events: clear(machine, events) if machine is ours else bytes(32),
        )
        said = "MirrorDiffers: slot 0: digest 0{64}, the first machine's .{64}"
    elif what == "slot":
        second.open_slot(SlotInput(0, 1), Signers([], [], []))
        said = "StateError: the machine is within a slot"
    else:
        monkeypatch.setattr("hawse.commit.header.INPUTS_MOST", 3)
        said = "no contract takes its batch"
    with pytest.raises(Halted, match=said):
        [sealing.result() for sealing in carried_out(run)]
