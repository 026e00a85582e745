"""What can be built, by name."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from amaranth.lib import wiring
from hawse.wire.schema import Geometry
from hawse_hdl.appliance import Appliance, Board
from hawse_hdl.boards import BOARDS, ECP5Board
from hawse_hdl.book import Book
from hawse_hdl.core import Core
from hawse_hdl.hashing import Keccak256, Keccak256Serial
from hawse_hdl.pinned import Pinned

from .netlist import fingerprint, load
from .routing import Target
from .synthesis import DEVICES, describe, parallel, synthesize
from .tools import BuildError, digest, tool, version

#: Components that can be had as Verilog.
TOPS: dict[str, Callable[[Geometry], wiring.Component]] = {
    "book": Book,
    "core": Core,
    "appliance": Appliance,
    "board": Board,
}
#: Parts that can be routed alone, behind shift registers. The appliance is routed on a board.
PARTS: dict[str, Callable[[Geometry], wiring.Component]] = {
    "book": lambda geometry: Pinned(Book(geometry), pairs=True),
    "keccak": lambda _: Pinned(Keccak256()),
    "keccak-serial": lambda _: Pinned(Keccak256Serial()),
}
#: Of these, those that are alike in every geometry.
WITHOUT_BOOK = ("keccak", "keccak-serial")
APPLIANCE = "appliance"


def board_target(board: ECP5Board, constraints: str) -> Target:
    """Where the design of ``board`` is put."""
    return Target(board.part, board.package(), constraints, board.clock_site(), board.clock_hz / 1e6)


def routed(top: str, device: str, geometry: Geometry) -> tuple[str, Target]:
    """``top`` as RTLIL, and where it is put: the appliance on the first board that has ``device``.

    Raises:
        BuildError: no board has it.
    """
    if top != APPLIANCE:
        return describe(PARTS[top](geometry)), Target(device)
    kind = next((board for board in BOARDS.values() if board.part == device), None)
    if kind is None:
        known = ", ".join(f"{board.part} ({board.title})" for board in BOARDS.values())
        raise BuildError(f"no board has an {device}: the appliance is routed on {known}")
    board = kind(geometry)
    text, constraints = board.prepare()
    return parallel(text), board_target(board, constraints)


@cache
def gateware(top: str, device: str, geometry: Geometry) -> str:
    """Hash of the RTLIL that would be routed now; seconds."""
    return digest(routed(top, device, geometry)[0])


@cache
def _netlist(top: str, device: str, geometry: Geometry, folder: Path) -> str:
    text, target = routed(top, device, geometry)
    folder.mkdir(parents=True, exist_ok=True)
    return fingerprint(load(synthesize(text, target.device, folder, macros=bool(target.constraints))))


def why_stale(result: Mapping[str, Any], folder: Path, progress: Callable[[str], None]) -> str:
    """Why a result of :func:`.routing.route` is not of the gateware as it is now; empty if it is.

    What decides is the netlist. The gateware's text is compared first, because equal texts give equal
    netlists; where it is another one the part is synthesized, minutes of a core, once for each text.

    Args:
        result: as it was recorded.
        folder: of netlists.
        progress: told before something is synthesized.
    """
    top, device = result["top"], result["device"]
    try:
        geometry = Geometry() if top in WITHOUT_BOOK else Geometry(**result["geometry"])
    except TypeError:
        return f"it is of another wire: its geometry has {', '.join(result['geometry'])}"
    if (top != APPLIANCE and top not in PARTS) or device not in DEVICES:
        return f"there is no {top} for {device} now"
    try:
        if result["gateware"] == gateware(top, device, geometry):
            return ""
        yosys = version(tool("yosys"))
        if yosys != result["tools"][0]:
            return (
                f"it is of other gateware, or of the same: {yosys} cannot tell, {result['tools'][0]} made it"
            )
        progress(f"synthesizing {top} for {device}, to see whether its netlist is still that of the result …")
        return (
            "" if result["netlist"] == _netlist(top, device, geometry, folder) else "it is of another netlist"
        )
    except BuildError as error:
        return f"it is of other gateware, or of the same: {error}"
