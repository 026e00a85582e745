import json

import numpy as np
import pytest
from click.testing import CliRunner
from hawse.cli import bench_risk, main


def test_figures_of_a_few_accounts(tmp_path):
    kept = tmp_path / "risk.json"
    found = CliRunner().invoke(main, ["bench", "risk", "--accounts", "60", "--json", "--out", str(kept)])
    assert found.exit_code == 0, found.output
    told = json.loads(found.output)
    assert (told["accounts"], told["positions"], told["scenarios"]) == (60, 16, 31)
    assert set(told["required_ns"]) <= set(told["native_ns"])
    assert all(ns > 0 for ns in told["native_ns"].values())
    assert told["golden_to_native"] > 0
    recorded = json.loads(kept.read_text())
    assert recorded["result"] == told and recorded["command"].startswith("hawse bench risk --accounts 60")
    shown = CliRunner().invoke(main, ["bench", "risk", "--accounts", "60"])
    assert "an order before it trades" in shown.output and "numpy" in shown.output


def test_figures_of_wrong_results_are_none(monkeypatch):
    """Where numpy finds other losses than the native form, or an order is refused."""
    monkeypatch.setattr(bench_risk, "VALUE_BITS", 19)
    found = CliRunner().invoke(main, ["bench", "risk", "--accounts", "60", "--json"])
    assert found.exit_code == 1 and "numpy has other losses" in found.output
    with pytest.raises(bench_risk.BenchmarkFailed, match="1 of 3 refused"):
        bench_risk._good(np.array([0, 2, 0], np.int32), "orders")
