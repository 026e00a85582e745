"""Place and route with nextpnr, seed by seed.

Each seed is kept in the build folder under a hash of netlist and tools, so that an interrupted run goes on
seed by seed and a stale result is never taken for one of this netlist.
"""

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

from hawse.wire.schema import Geometry

from . import floorplan
from .netlist import fingerprint, load
from .synthesis import DEVICES, Device, synthesize
from .tools import BuildError, digest, run, tool, version

#: How ECP5 designs are placed: nextpnr's two placers, and :mod:`.floorplan`, which uses both and is the
#: default for a board. Without a floorplan only the electrostatic one leaves the appliance routable; the
#: other, the default for parts, makes them faster.
PLACERS = ("floorplan", "static", "heap")

_NO_PYTHON = """{nextpnr} ({version}) has no Python, which the floorplan of the appliance needs (--pre-place).
Debian 13's package nextpnr-ecp5 has it (apt-get install nextpnr-ecp5; Debian 12 carries none for the ECP5), \
and is taken when PATH has it; the one of PyPI does not.
With --placer static the appliance is routed without a floorplan, at about 60 % of the clock: 56.7 MHz \
instead of 92.8 on an LFE5U-85F-6, 89.5 instead of 143.6 on an LFE5UM5G-85F-8, when both were last measured; \
a bitstream then needs a --clock-mhz that this leaves room for."""


@dataclass(frozen=True)
class Target:
    """Where a design is put: the part, its package, and for a board what is at its pins.

    Without constraints nextpnr chooses the pins.
    """

    name: str
    package: str = "CABGA381"
    #: As nextpnr reads them (LPF), and the pin of the clock.
    constraints: str = ""
    clock_site: str = ""
    #: What the board's PLL makes of it.
    clock_mhz: float = 0

    @property
    def device(self) -> Device:
        """The part."""
        return DEVICES[self.name]

    @property
    def options(self) -> list[str]:
        """For nextpnr."""
        package = ["--package", self.package] if self.device.family == "ecp5" else []
        return [*self.device.options, *package]

    def striving(self, goal_mhz: float) -> str:
        """The constraints with a board's clock of which its PLL would make ``goal_mhz``.

        Nextpnr derives the constraint of the PLL's output from them, and that counts, not its ``--freq``.
        """

        def faster(found: re.Match[str]) -> str:
            return f"{found[1]}{float(found[2]) * goal_mhz / self.clock_mhz:.1f} HZ"

        return re.sub(r"(FREQUENCY PORT \S+ )(\S+) HZ", faster, self.constraints)


def choose_placer(placer: str | None, target: Target) -> str:
    """The one that is asked for, or the one that is best for ``target``.

    Raises:
        BuildError: it cannot be used; says what is missing and what doing without it costs.
    """
    if target.device.family != "ecp5":
        return "heap"
    chosen = placer or ("floorplan" if target.constraints else "heap")
    if chosen != "heap" and not target.constraints:
        raise BuildError(f"--placer {chosen} wants to know the pins: it is for the appliance on a board")
    if chosen == "floorplan":
        nextpnr = tool("nextpnr-ecp5")
        found = subprocess.run([nextpnr, "--help"], capture_output=True, text=True, check=False)
        if "--pre-place" not in found.stdout + found.stderr:
            raise BuildError(_NO_PYTHON.format(nextpnr=Path(nextpnr).name, version=version(nextpnr)))
    return chosen


def _plan(netlist: Path, target: Target) -> tuple[Path, str]:
    """The floorplan of a netlist, made once, and a hash of it and its script."""
    nextpnr = tool("nextpnr-ecp5")
    options = [*target.options, "--placer", "static", "--freq", "150", "--timing-allow-fail", "--no-route"]

    def place(source: Path, placed: Path) -> None:
        if not placed.exists():
            part, pins = placed.with_suffix(".part"), source.with_suffix(".lpf")
            pins.write_text(f'LOCATE COMP "clk" SITE "{target.clock_site}";\n')
            files = ["--json", source.name, "--write", part.name, "--lpf", pins.name]
            run([nextpnr, *files, *options], placed.with_suffix(".log"))
            part.rename(placed)

    folder = netlist.with_suffix(f".{digest(f'{version(nextpnr)} {options} {target.clock_site}')[:8]}-plan")
    folder.mkdir(exist_ok=True)
    try:
        plan = floorplan.plan(netlist, place, folder)
    except ValueError as error:
        raise BuildError(f"no floorplan: {error}") from error
    return plan, hashlib.sha256(plan.read_bytes() + floorplan.script().read_bytes()).hexdigest()


def place_and_route(
    netlist: Path,
    target: Target,
    seed: int,
    goal_mhz: float,
    placer: str,
    progress: Callable[[str], None] = print,
) -> Path:
    """One seed, made once for each netlist and tool.

    Returns:
        Nextpnr's report of utilisation and clocks. Beside it lie, under the same name, ``.log``, the delays
        of all wires as ``.sdf``, and for an ECP5 the ``.config`` of which a bitstream is packed.

    Raises:
        BuildError: nextpnr is missing or failed.
    """
    nextpnr = tool(f"nextpnr-{target.device.family}")
    environment, planned = {}, ""
    terms = [*target.options, "--freq", f"{goal_mhz:g}", "--seed", str(seed)]
    described = list(terms)
    if placer == "floorplan":
        plan, planned = _plan(netlist, target)
        terms += ["--placer", "heap", "--pre-place", str(floorplan.script())]
        environment["HAWSE_PLAN"] = str(plan.resolve())
    else:
        terms += ["--placer", placer]
    constraints = target.striving(goal_mhz)
    key = digest(f"{version(nextpnr)} {described} {placer} {constraints} {planned}")[:8]
    stem = f"{netlist.stem}.{key}-seed{seed}"
    report = netlist.with_name(f"{stem}.report.json")
    if constraints:
        pins = netlist.with_name(f"{stem}.lpf")
        pins.write_text(constraints)
        terms += ["--lpf", pins.name]
    if not report.exists():
        # The delay of every wire, to find the paths behind the slowest, which is all that the report tells.
        files = ["--json", netlist.name, "--report", f"{stem}.part", "--sdf", f"{stem}.sdf"]
        if target.device.family == "ecp5":
            files += ["--textcfg", f"{stem}.config"]
        log = netlist.with_name(f"{stem}.log")
        progress(f"Seed {seed}: {log} says how far it is")
        run([nextpnr, *files, *terms, "--timing-allow-fail"], log, environment=environment)
        netlist.with_name(f"{stem}.part").rename(report)
    return report


def clocks(report: Path) -> dict[str, float]:
    """MHz that each clock of a routed design reached, by the name of its net."""
    found = json.loads(report.read_text())["fmax"]
    return {name: round(float(clock["achieved"]), 2) for name, clock in found.items()}


def resources(report: Path, family: str) -> dict[str, int | None]:
    """``lut4``, ``ff`` and ``bram`` of a routed design; None for what the part does not count apart."""
    used = json.loads(report.read_text())["utilization"]
    count = {cell: int(tells["used"]) for cell, tells in used.items()}
    if family == "ecp5":
        names: dict[str, str | None] = {"lut4": "TRELLIS_COMB", "ff": "TRELLIS_FF", "bram": "DP16KD"}
    else:
        names = {"lut4": "ICESTORM_LC", "ff": None, "bram": "ICESTORM_RAM"}
    return {name: count.get(cell, 0) if cell else None for name, cell in names.items()}


def route(
    text: str,
    target: Target,
    *,
    top: str,
    geometry: Geometry,
    seeds: Sequence[int],
    goal_mhz: float,
    placer: str | None,
    folder: Path,
    jobs: int = 1,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Synthesize ``text`` and route it with each seed.

    Args:
        text: RTLIL, as :func:`.synthesis.describe` makes it.
        target: where it is put.
        top: what it is; with ``geometry`` it goes into the result.
        geometry: of the book.
        seeds: of nextpnr.
        goal_mhz: what nextpnr strives for.
        placer: one of :data:`PLACERS`, or None for the best.
        folder: for what is made.
        jobs: seeds at a time.
        progress: told what begins and what was found.

    Returns:
        The figures: ``device``, ``top``, ``geometry``, ``seeds``, ``fmax_mhz`` (one a seed),
        ``fmax_mhz_median``, ``lut4``, ``ff``, ``bram``, ``netlist`` (its :func:`.netlist.fingerprint`),
        ``gateware`` (hash of ``text``) and ``tools``.

    Raises:
        BuildError: a tool is missing or failed, or the design does not fit.
    """
    placer = choose_placer(placer, target)
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"Synthesizing {top} for {target.name}")
    netlist = synthesize(text, target.device, folder, macros=bool(target.constraints))
    if placer == "floorplan":
        progress("Placing the hash cores")
        _plan(netlist, target)

    def one(seed: int) -> Path:
        report = place_and_route(netlist, target, seed, goal_mhz, placer, progress)
        progress(f"Seed {seed}: {clocks(report)}")
        return report

    with ThreadPoolExecutor(jobs) as pool:
        reports = list(pool.map(one, seeds))
    fmax = [min(clocks(report).values()) for report in reports]
    return {
        "device": target.name,
        "top": top,
        "geometry": asdict(geometry),
        "seeds": list(seeds),
        "fmax_mhz": fmax,
        "fmax_mhz_median": median_low(fmax),
        **resources(reports[0], target.device.family),
        "netlist": fingerprint(load(netlist)),
        "gateware": digest(text),
        "goal_mhz": goal_mhz,
        "placer": placer,
        "tools": [version(tool("yosys")), version(tool(f"nextpnr-{target.device.family}"))],
    }
