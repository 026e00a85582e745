"""Puts a bitstream on a board with openFPGALoader."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .bitstream import BITSTREAM, FORMAT, MANIFEST, find_board, sha256
from .tools import BuildError

#: What openFPGALoader says of what a person can mend, and what that is.
_CAUSES = (
    (
        r"unable to open ftdi device|device not found|No cable|cable not found|usb_open",
        "no {title} was found: is it plugged in, and may this user open its USB device? "
        "(openFPGALoader --scan-usb lists what is there; its udev rules let a user open it)",
    ),
    (
        r"can't claim|usb_claim_interface|busy|LIBUSB_ERROR_BUSY",
        "another program holds the USB device of the {title}: close it, and any serial console",
    ),
    (
        r"idcode|IDCODE|not match|wrong .*device|Unknown device|JTAG init failed",
        "what is at the cable is no {title}, or it has no power: openFPGALoader --detect tells what answers",
    ),
)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in ``folder``.

    Raises:
        BuildError: there is none, or it is of something else.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BuildError(f"{path} is not there: hawse bitstream BOARD makes it") from error
    except ValueError as error:
        raise BuildError(f"{path} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BuildError(f"{path} is not a manifest of a bitstream ({FORMAT})")
    return manifest


def program(board: str, folder: Path, *, flash: bool = False) -> dict[str, Any]:
    """Load the bitstream in ``folder`` onto ``board``.

    Args:
        board: its name.
        folder: of a build.
        flash: so that it is still there after power loss; otherwise into the chip alone.

    Returns:
        The manifest.

    Raises:
        BuildError: no such board; the bitstream is missing, of another board, or not what its manifest says;
            openFPGALoader is missing or failed.
    """
    kind = find_board(board)
    manifest = read_manifest(folder)
    if manifest["board"] != board:
        raise BuildError(f"{folder} holds a bitstream of {manifest['board']}, not of {board}")
    bitstream = folder / BITSTREAM
    if not bitstream.is_file():
        raise BuildError(f"{bitstream} is not there: hawse bitstream {board} makes it")
    if (found := sha256(bitstream)) != manifest["bitstream"]["sha256"]:
        wanted = manifest["bitstream"]["sha256"]
        raise BuildError(f"{bitstream} is not the one of its manifest: SHA-256 {found}, not {wanted}")
    loader = shutil.which("openFPGALoader")
    if loader is None:
        raise BuildError("openFPGALoader is not installed: it is Debian's package openfpgaloader")
    command = [loader, *kind.loader, "--write-flash" if flash else "--write-sram", str(bitstream)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise BuildError(_explain(said, kind.title))
    return manifest


def _explain(said: str, title: str) -> str:
    for pattern, meaning in _CAUSES:
        if re.search(pattern, said):
            return f"{meaning.format(title=title)}\nopenFPGALoader: {said[-500:]}"
    return f"openFPGALoader failed: {said[-1500:]}"
