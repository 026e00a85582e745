import functools
import json
import re

import numpy as np
import pytest
from hawse.wire import Geometry, Opcode, Reason
from hawse_hdl.book.queues import Queues
from hawse_hdl.core import Core
from hawse_sim import fuzz, mutation
from hawse_sim.differential import Difference
from hawse_sim.faults import Fault, FaultError, insert
from hawse_sim.fuzz import SMALL, Differential
from hawse_sim.mutation import EXPLAINED, Mutants
from hawse_sim.toolchain import to_rtlil

# That of tests/sim/test_rtl.py, so that one model serves both.
CORE = Geometry(instruments=2, pool=2048, orders=64, tag_bits=4)


@pytest.fixture(scope="module")
def book():
    with Differential(SMALL, "book") as pair:
        yield pair


@pytest.fixture(scope="module")
def mutants():
    with Mutants() as found:
        yield found


def test_a_million_commands(book):
    seed = int(np.random.default_rng().integers(1 << 31))
    print(f"seed {seed}")
    done = fuzz.fuzz(book, seed, 900_000, size=10_000)
    with Differential(CORE, "core") as core:
        digests = fuzz.fuzz(core, seed, 100_000, size=5_000)
    assert done["commands"] + digests["commands"] == 1_000_000
    assert digests["coverage"]["beats"]["BATCH"] > 100
    # What a flow never does, it does not test.
    covered = done["coverage"]
    assert set(covered["opcodes"]) == {o.name for o in Opcode if o < Opcode.RECENTRE} | {"undefined"}
    rejected = {r.name for r in Reason if Reason.OPCODE <= r <= Reason.PRICE}
    cancelled = {r.name for r in Reason if Reason.COMMAND <= r <= Reason.MASS}
    assert set(covered["reasons"]) == rejected | cancelled
    windows = "windows_while_orders_rest"
    for what in ("opcodes", "reasons", "arrivals", "time_in_force", "self_trade", windows):
        assert min(covered[what].values()) > 0, what
    fills = covered["commands_by_fills"]
    assert min(fills[:9]) > 0 and sum(fills[9:]) > 10
    for hazard in covered["hazards"].values():
        assert hazard["met"] >= hazard["pairs_of_opcodes"] - 2
        assert min(hazard["by_distance"]) > 1000


@pytest.mark.slow
def test_a_hundred_million_commands():
    fuzz.main(["--commands", "100000000", "--seed", "2"])


def test_a_seed_repeats_itself(book):
    first, again, other = (book.run(seed, 3000, "everything", (0.2, 0.2)) for seed in (5, 5, 6))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert (first.verdict, first.commands) == ("same", 3000)
    assert first.last[-1]["opcode"] == Opcode.FENCE
    # Stalls take time, and nothing else.
    swift = book.run(5, 3000, "everything")
    assert swift.cycles < first.cycles and swift.records == first.records


def test_a_stall_is_told(book):
    # After a reset, the memories are cleared first.
    assert book.run(1, 1000, patience=100).verdict == "stall"
    assert book.run(1, 1000).verdict == "same"


def test_impossible_arguments(book):
    with pytest.raises(ValueError, match="open all instruments"):
        book.run(1, 8)
    with pytest.raises(ValueError, match="stalls"):
        book.run(1, 1000, stalls=(0, 1.0))
    with pytest.raises(ValueError, match="mix"):
        book.run(1, 1000, mix=99)


def test_command_line(tmp_path, capsys):
    file = tmp_path / "differential.json"
    run = ["--commands", "50000", "--size", "20000", "--top", "book"]
    fuzz.main([*run, "-o", str(file)])
    result = json.loads(file.read_text())["result"]
    assert result["commands"] == 50_000 and result["differences"] == 0
    assert [run["sessions"] for run in result["runs"]] == [2]
    with pytest.raises(SystemExit) as left:
        fuzz.main([*run, "--session", "1"])
    assert left.value.code == 0 and "30000 commands: no difference" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        fuzz.main([*run, "--session", "2"])
    assert "there is no 2" in capsys.readouterr().err
    for wrong in (["--commands", "10"], ["--geometry", "1", "1000", "64", "4"], ["--session", "1"]):
        with pytest.raises(SystemExit):
            fuzz.main(wrong)
        assert wrong[0] in capsys.readouterr().err


# Faults.


@pytest.mark.ci
def test_a_dozen_faults_are_found(mutants):
    # Those that are there whatever the gateware becomes. A search that misses the last change takes longer,
    # and only that; it shows late.
    certain = [f for f in mutants.faults if f.kind in mutation.ALWAYS and not f.module.endswith(".copy")]
    for fault in certain[:: len(certain) // 12]:
        assert mutants.find(fault, sessions=2).found_by, str(fault)


@pytest.mark.slow
def test_every_fault_is_found(mutants):
    lost = [str(f) for f in mutants.faults if not mutants.find(f).found_by]
    assert set(lost) <= set(EXPLAINED)


def test_every_fault_that_is_explained_is_among_those_that_are_tried():
    """A line of source that is rewritten renames its faults, and what was said of one counts no more."""
    tried: list[Fault] = []
    to_rtlil(Core(SMALL), "core", lambda text: mutation.Mutants.list_into(text, tried))
    assert set(EXPLAINED) <= {str(fault) for fault in tried}


@pytest.mark.ci
def test_faults_are_many_and_everywhere(mutants):
    assert len({str(f) for f in mutants.faults}) == len(mutants.faults) > 100
    assert len({f.module for f in mutants.faults}) > 15
    assert len({f.kind for f in mutants.faults}) > 10


@pytest.mark.ci
def test_a_difference_says_how_to_see_it_again(mutants, monkeypatch):
    lost = next(
        i
        for i, f in enumerate(mutants.faults, 1)
        if f.module.startswith("core.book.store") and f.kind == "dropped write"
    )
    monkeypatch.setattr(mutants.pair, "run", functools.partial(mutants.pair.run, fault=lost))
    with pytest.raises(Difference, match="a beat differs") as seen:
        fuzz.fuzz(mutants.pair, 3, 9000, size=3000)
    assert re.search(
        r"--top core --geometry 4 1024 64 4 --seed 3 --commands 9000 --session 0", str(seen.value)
    )
    assert "wanted" in str(seen.value) and "handle" in str(seen.value)


def test_a_fault_without_a_place_is_an_error():
    design = to_rtlil(Queues(SMALL), "queues", lambda text: text)
    with pytest.raises(FaultError, match=r"core\.book: 0 faults can be placed, 5 were asked for"):
        insert(design, {"core.book": 5})
    with pytest.raises(FaultError, match="dropped wires"):
        insert(design, {"queues": 5}, always=["dropped wires"])
    first, faults = insert(design, {"queues": 5})
    assert len(faults) == 5 and insert(design, {"queues": 5}) == (first, faults) != insert(
        design, {"queues": 5}, seed=2
    )


@pytest.mark.ci
def test_mutation_command_line(mutants, tmp_path, monkeypatch, capsys):
    file = tmp_path / "mutation.json"
    monkeypatch.setattr(mutants, "faults", mutants.faults[:2])
    monkeypatch.setattr(mutants, "close", lambda: None)
    monkeypatch.setattr(mutation, "Mutants", lambda: mutants)
    mutation.main(["--sessions", "1", "-o", str(file)])
    result = json.loads(file.read_text())["result"]
    assert result["faults"] == len(result["all"]) == 2
    assert result["found"] + len(result["survivors"]) == 2
    assert "of 2 faults found" in capsys.readouterr().out
