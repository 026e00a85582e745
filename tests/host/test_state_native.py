"""The native state beside the golden one: whatever comes, both must say the same."""

import json
import random
import shutil

import numpy as np
import pytest
import support.desk
import support.money
from click.testing import CliRunner
from hawse.cli import main
from hawse.keys.messages import MESSAGE
from hawse.risk import margin
from hawse.state.inputs import StateError
from hawse.state.ledger import Ledger
from hawse.state.machine import Machine
from hawse.state.native.bindings import Capacity
from hawse.state.native.machine import NativeMachine
from hawse.state.outcomes import Signers
from hawse.state.slot import Deposit, SlotInput
from hawse.state.snapshot import SnapshotError
from hawse.wire.dtypes import EVENT
from support.attack import Raid, plan, source
from support.desk import CONFIG, Desk, owner
from support.hostile import VENUES, Hostile
from support.seed import seed_of
from support.tape import compiled, play, record, zig
from support.twin import Differ, Twin

if not NativeMachine.takes(CONFIG):
    pytest.skip("the native state does not know the rules of this configuration", allow_module_level=True)


@pytest.fixture
def twins(monkeypatch):
    """Desks of which every machine is a twin."""
    for module in (support.desk, support.money):
        monkeypatch.setattr(module, "Machine", Twin)


def flow(name, seed, commands, slot=200, often=False):
    """Hostile flow at a venue; a new one where an amount that left int64 ends the last."""
    judged, part = 0, 0
    while judged < commands:
        numbers = [int.from_bytes(str(seed).encode(), "big"), part]
        hostile = Hostile(name, numbers, often=often)
        part += 1
        print(f"{name}: {judged} commands", flush=True)
        while judged < commands and judged < part * 50_000:
            judged += slot
            if not hostile.slot(slot):
                break


@pytest.mark.parametrize("name", VENUES)
def test_hostile_flow_does_the_same_to_both(name):
    seed = seed_of()
    print(f"seed {seed}")
    flow(name, seed, 4_000)
    flow(name, f"{seed}/often", 400, slot=20, often=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", VENUES)
def test_hostile_flow_does_the_same_to_both_for_long(name):
    """Ten million commands together."""
    seed = seed_of()
    print(f"seed {seed}")
    flow(name, seed, 3_400_000)


def attacks(plans):
    seed = seed_of()
    for number in range(plans):
        tried = plan(random.Random(f"{seed}/{number}").choice)
        try:
            Raid().run(tried, ())
        except Differ as differ:
            pytest.fail(f"seed {seed}, {differ}\n{source(tried)}")


def test_attacks_do_the_same_to_both(twins):
    attacks(15)


@pytest.mark.slow
def test_attacks_do_the_same_to_both_for_long(twins):
    attacks(3000)


# Other processors

TARGETS = {"riscv64-linux-musl": "qemu-riscv64", "aarch64-linux-musl": "qemu-aarch64"}


@pytest.mark.ci
@pytest.mark.parametrize("target", TARGETS)
def test_another_processor_says_the_same(target, tmp_path, monkeypatch):
    emulator = shutil.which(TARGETS[target]) or shutil.which(f"{TARGETS[target]}-static")
    if emulator is None:
        pytest.skip(f"{TARGETS[target]} not found: it is in Debian's qemu-user")
    player = compiled(tmp_path, *zig(target))
    for name in VENUES:
        tape, said = record(name, [2], 60, monkeypatch)
        assert play(tape, emulator, player) == said


@pytest.mark.ci
@pytest.mark.parametrize("compiler", [(["g++"], ["gcc"]), zig("x86_64-linux-musl")], ids=["gcc", "zig"])
def test_every_compiler_says_the_same(compiler, tmp_path, monkeypatch):
    if shutil.which(compiler[1][0]) is None:
        pytest.skip(f"{compiler[1][0]} not found")
    player = compiled(tmp_path, *compiler)
    tape, said = record("plenty", [3], 60, monkeypatch)
    assert play(tape, player) == said


# A difference is found


def _one_more(call):
    return lambda *given: call(*given) + 1


def test_a_quantum_too_much_of_unrealised_profit_is_found(monkeypatch):
    monkeypatch.setattr(margin, "unrealised", _one_more(margin.unrealised))
    with pytest.raises(Differ):
        flow("plenty", 1, 20_000, often=True)


def test_a_fee_that_is_rounded_otherwise_is_found(monkeypatch):
    fill = Ledger.fill

    def kinder(ledger, account, *rest):
        account.collateral += 1
        return fill(ledger, account, *rest)

    monkeypatch.setattr(Ledger, "fill", kinder)
    with pytest.raises(Differ, match=r"digest|collateral"):
        flow("plenty", 1, 20_000)


# Room, snapshots, refusals


def test_a_machine_grows_with_what_comes():
    config = VENUES["plenty"]
    golden = Machine(config)
    small = NativeMachine(config, Capacity(accounts=4, messages=4, inputs=5000, withdrawals=4))
    for number in range(3):
        people = range(1, 41) if number == 0 else ()
        deposits = tuple(Deposit(n, owner(n), 10_000 * n) for n in people)
        slot = SlotInput(number, 1000 + number, deposits=deposits, closes=1 if number == 2 else None)
        one, other = (m.open_slot(slot, Signers([], [], [])) for m in (golden, small))
        assert one.orders.tolist() == other.orders.tolist()
        nothing = np.zeros(0, EVENT)
        assert golden.clear_slot(nothing) == small.clear_slot(nothing)
    assert golden.snapshot() == small.snapshot()
    assert golden.seal_batch() == small.seal_batch().whole
    assert small.account_proof(17) == golden.account_proof(17)


@pytest.mark.parametrize("at", ["magic", "body", "end", "nothing"])
def test_what_is_no_snapshot_is_refused(at):
    data = Machine(CONFIG).snapshot()
    broken = {
        "magic": b"h" + data,
        "body": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        "end": data[:-1],
        "nothing": b"",
    }[at]
    with pytest.raises(SnapshotError):
        NativeMachine.restore(CONFIG, broken)


def test_a_snapshot_is_of_one_venue():
    with pytest.raises(SnapshotError):
        NativeMachine.restore(VENUES["plenty"], Machine(CONFIG).snapshot())


def test_what_is_read_is_what_the_golden_machine_has(twins):
    desk = Desk()
    desk.slot([desk.new(1, 7, 0, 1500, 10), desk.new(2, 8, 1, 1500, 4), desk.new(3, 9, 1, 1600, 5)])
    golden, native = desk.machine, desk.machine.native
    golden.explain()
    assert len(native.accounts) == len(golden.accounts)
    assert native.account_of(owner(2)).index == 2
    assert native.account_of(owner(99)) is None
    for account in golden.accounts[1:]:
        other = native.accounts[account.index]
        assert {*other.orders} == {*account.orders}
        for ask in ("equity", "free_collateral", "withdrawable"):
            assert getattr(native, ask)(other) == getattr(golden, ask)(account)
    assert native.sum_of_balances() == golden.sum_of_balances() == golden.deposited
    assert native.resting_orders().tolist() == golden.resting_orders().tolist()
    assert {*native.orders} == {*golden.orders}
    for name in ("next_slot", "time", "last_seq", "batch", "deposit_index", "deposit_accumulator"):
        assert getattr(native, name) == getattr(golden, name)
    for name in ("request_index", "request_accumulator", "batch_counts", "rules", "transfers"):
        assert getattr(native, name) == getattr(golden, name)
    for name in ("deposited", "withdrawn", "fees", "insurance", "digest", "command_seqs"):
        assert getattr(native, name) == getattr(golden, name)
    handles = np.array([0, 1, 2], np.uint64)
    assert native.client_ids(handles).tolist() == golden.client_ids(handles).tolist()


def test_a_slot_that_is_none_changes_nothing():
    machine = NativeMachine(CONFIG)
    before = machine.snapshot()
    for slot in (
        SlotInput(1, 1000),
        SlotInput(0, 1 << 48),
        SlotInput(0, 1000, closes=2),
        SlotInput(0, 1000, deposits=(Deposit(2, owner(1), 5),)),
        SlotInput(0, 1000, deposits=(Deposit(1, owner(1)[1:], 5),)),
        SlotInput(0, 1000, commands=np.zeros(1, MESSAGE)),
    ):
        with pytest.raises(StateError):
            machine.open_slot(slot, Signers([], [], []))
        assert machine.snapshot() == before


def test_the_bench_tells_what_it_measured(tmp_path):
    out = tmp_path / "state.json"
    asked = [
        "bench",
        "state",
        "--accounts",
        "9",
        "--slot",
        "16",
        "--slots",
        "3",
        "--runs",
        "2",
        "--width",
        "8",
    ]
    done = CliRunner().invoke(main, [*asked, "--out", str(out)])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(out.read_text())["result"]["state"]
    assert found["commands"] == 48 and len(found["runs"]) == 2
    assert found["runs"][0]["permutations_per_command"] == found["runs"][1]["permutations_per_command"] > 4


@pytest.mark.ci
@pytest.mark.parametrize("width", [1, 4])
def test_processors_without_wide_registers_say_the_same(width, monkeypatch):
    class Narrow(NativeMachine):
        def __init__(self, config):
            super().__init__(config, flags=(f"-DHAWSE_KECCAK_WIDTH={width}",))

    monkeypatch.setattr("support.twin.NativeMachine", Narrow)
    flow("plenty", seed_of(), 20_000)
