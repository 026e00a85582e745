"""From a board to its bitstream: synthesis, place and route, timing, and a manifest that says what it is.

Each stage is kept under a hash of what it was made from, so that an interrupted build goes on where it was.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hawse.wire.schema import Geometry
from hawse_hdl.boards import BOARDS, ECP5Board
from hawse_hdl.boards.build_id import BuildId
from hawse_hdl.hashing import CORES

from .netlist import fingerprint, ledger, load
from .routing import choose_placer, clocks, place_and_route, resources
from .synthesis import parallel, synthesize
from .tools import BuildError, run, tool, version
from .tops import board_target

#: What a manifest is, and its version.
FORMAT = "hawse-bitstream-1"
#: Names of what is left beside each other.
BITSTREAM, MANIFEST, TIMING = "board.bit", "manifest.json", "timing.json"
#: What nextpnr strives for beyond the clock that is asked for: it stops short of its goal.
_AMBITION = 1.05


@dataclass(frozen=True)
class Options:
    """What to build. ``clock_mhz`` and ``placer`` are the best for the board if left out."""

    board: str
    geometry: Geometry
    hash_cores: int = CORES
    clock_mhz: float | None = None
    baudrate: int = 1_000_000
    seed: int = 1
    placer: str | None = None
    probe: bool = False


def find_board(name: str) -> type[ECP5Board]:
    """A board by name.

    Raises:
        BuildError: there is none of this name.
    """
    if name not in BOARDS:
        known = ", ".join(f"{board.name} ({board.title})" for board in BOARDS.values())
        raise BuildError(f"{name} is no board; there are {known}")
    return BOARDS[name]


def build(options: Options, folder: Path, output: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Build what ``options`` say into ``output``.

    Args:
        options: what to build.
        folder: for what is made on the way, and found again by the next build.
        output: for the bitstream, its manifest, timing, and nextpnr's log.
        progress: told each stage as it begins.

    Returns:
        The manifest, as it was written.

    Raises:
        BuildError: no such board, a tool is missing or failed, or the clock was missed.
        ValueError: a clock or rate that the board cannot make.
    """
    kind = find_board(options.board)
    hertz = round(options.clock_mhz * 1e6) if options.clock_mhz else None
    board = kind(
        options.geometry,
        hash_cores=options.hash_cores,
        clock_hz=hertz,
        baudrate=options.baudrate,
        probe=options.probe,
    )
    packer = tool("ecppack")
    progress(f"Elaborating {board.title}")
    text, constraints = board.prepare()
    target = board_target(board, constraints)
    placer = choose_placer(options.placer, target)
    folder.mkdir(parents=True, exist_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    progress("Synthesizing, minutes the first time")
    bare = synthesize(parallel(text), target.device, folder, macros=True)
    build_id = fingerprint(load(bare))[: BuildId.BITS // 4]
    netlist = stamp(bare, build_id)
    progress(f"Placing and routing build {build_id} with --placer {placer}, most of an hour the first time")
    goal = board.clock_hz / 1e6 * _AMBITION
    report = place_and_route(netlist, target, options.seed, goal, placer, progress)
    stem = report.name.removesuffix(".report.json")
    reached = demand_clock(report, board.clock_hz / 1e6)
    progress("Packing the bitstream")
    packed = report.with_name(f"{stem}.bit")
    run(
        [packer, "--compress", "--input", f"{stem}.config", "--bit", packed.name],
        report.with_name(f"{stem}.ecppack.log"),
    )
    shutil.copyfile(packed, output / BITSTREAM)
    shutil.copyfile(report.with_name(f"{stem}.log"), output / "nextpnr.log")
    (output / TIMING).write_text(report.read_text())
    manifest = {
        "format": FORMAT,
        "board": board.name,
        "title": board.title,
        "part": board.part,
        "package": board.package(),
        "build": build_id,
        "geometry": asdict(board.geometry),
        "hash_cores": options.hash_cores,
        "probe": options.probe,
        "clock_mhz": board.clock_hz / 1e6,
        "reached_mhz": reached,
        "baudrate": board.baudrate,
        "uart_margin": [round(share, 4) for share in board.board.margin],
        "resources": resources(report, target.device.family),
        "block_rams": ledger(load(bare)),
        "seed": options.seed,
        "placer": placer,
        "tools": [version(tool(name)) for name in ("yosys", "nextpnr-ecp5", "ecppack")],
        "bitstream": {"file": BITSTREAM, "sha256": sha256(output / BITSTREAM)},
    }
    (output / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def stamp(netlist: Path, build_id: str) -> Path:
    """A copy of ``netlist`` whose :class:`.BuildId` is ``build_id``, in hex digits, byte 0 first."""
    target = netlist.with_name(f"{netlist.stem}-{build_id}.json")
    if target.exists():
        return target
    design = json.loads(netlist.read_text())
    value = int.from_bytes(bytes.fromhex(build_id), "little")
    cells = design["modules"]["top"]["cells"]
    for n in range(BuildId.BITS):
        name = f"build_id.bit{n}"
        if name not in cells:
            raise BuildError(f"{netlist}: no cell {name} to hold the build id")
        cells[name]["parameters"]["INIT"] = f"{value >> n & 1}" * 16
    part = target.with_suffix(".part")
    part.write_text(json.dumps(design))
    part.rename(target)
    return target


def demand_clock(report: Path, wanted_mhz: float) -> float:
    """MHz that the appliance's clock reached.

    Raises:
        BuildError: less than was wanted.
    """
    reached = min(clocks(report).values())
    if reached < wanted_mhz:
        raise BuildError(
            f"the design reached {reached:g} MHz, and the board's clock would be {wanted_mhz:g}: "
            f"no bitstream was written; try another --seed, or --clock-mhz {int(reached / 5) * 5}"
        )
    return reached


def sha256(path: Path) -> str:
    """Of a file, as hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
