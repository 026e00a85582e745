"""``hawse board``: boards, real and virtual."""

import json
import platform
import zipfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from hawse.results import stamp
from hawse.wire import Geometry

from .common import GeometryType, bar, clear_errors, console, json_option, read_json, say, split_port

if TYPE_CHECKING:
    from .board_check import SelfTest


@click.group()
def board() -> None:
    """Boards that hold the appliance."""


@board.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def virtual(arguments: tuple[str, ...]) -> None:
    """Run the Verilated appliance as a board, on a TCP port or a pseudo-terminal; see its --help."""
    try:
        from hawse_sim.board import main  # noqa: PLC0415 - an extra that the host can do without
    except ImportError as error:
        raise click.ClickException(f"a virtual board needs the extras hdl and sim: {error}") from error
    main(list(arguments), program="hawse board virtual")


class _Manifest(msgspec.Struct):
    """What ``manifest.json`` of a bitstream says of what HELLO tells."""

    build: str
    clock_mhz: float
    geometry: Geometry


@board.command()
@click.argument("port")
@click.option("--geometry", type=GeometryType(), help="What its bitstream was built for.")
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="manifest.json of its bitstream: geometry, build id and clock must be those.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the flow.")
@click.option(
    "--patience",
    type=click.FloatRange(0.1, 600),
    default=5.0,
    show_default=True,
    help="Seconds without progress after which the board counts as dead.",
)
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a ZIP of all that a bug report needs, whatever the test finds.",
)
@json_option
@clear_errors
def check(
    port: str,
    geometry: Geometry | None,
    manifest: Path | None,
    seed: int,
    patience: float,
    bundle: Path | None,
    as_json: bool,
) -> None:
    """Test the board behind PORT: its link, its book and its hashing against the golden model.

    PORT is a device, with its rate where that is not 1,000,000, as in /dev/ttyUSB0@3000000, or a URL such as
    socket://127.0.0.1:7000. A real board and a virtual one are tested alike. The board is reset, and what it
    holds is lost: it must not be at work for a venue. The exit code is 0 only if every step was passed.
    """
    from .board_check import Expected, Fault, SelfTest  # noqa: PLC0415 - numpy and all

    device, baudrate = split_port(port)
    expected = Expected(geometry)
    if manifest:
        told = read_json(manifest, _Manifest)
        expected = Expected(told.geometry, told.build, round(told.clock_mhz * 1000))
    test = SelfTest(device, baudrate, expected, seed=seed, patience=patience)
    fault = None
    try:
        with bar(f"Testing {device}") as progress:
            for done, step in enumerate(test.run(), 1):
                progress(done, SelfTest.STEPS)
                if not as_json:
                    click.echo(f"{step.name:12} {step.says}")
    except Fault as error:
        fault = str(error)
    result = _result(test, fault)
    if bundle:
        write_bundle(bundle, result, list(test.line.frames))
        console.print(f"{bundle} has all that a bug report needs, and no keys.", highlight=False)
    if as_json:
        say(result)
    if fault:
        if as_json:
            raise click.exceptions.Exit(1)
        raise click.ClickException(fault)


def _result(test: "SelfTest", fault: str | None) -> dict[str, Any]:
    """What the test found, as ``--json`` and the bundle have it."""
    return {
        "ok": fault is None,
        "port": test.port,
        "baudrate": test.baudrate,
        "steps": {step.name: {"says": step.says} | step.figures for step in test.steps},
        "failed": test.trying or None,
        "fault": fault,
        "counters": {"bytes_to_board": test.line.sent, "bytes_from_board": test.line.came}
        | test.line.counters,
        "first_bytes_from_board": test.line.begins.hex(),
        "bytes_of_an_unfinished_frame": test.line.half,
        "expected": {name: value for name, value in asdict(test.expected).items() if value is not None},
        "seed": test.seed,
    }


def _device(port: str) -> dict[str, Any]:
    """What the operating system knows of a serial device."""
    from serial.tools import list_ports  # noqa: PLC0415 - looks at the machine

    known = next((p for p in list_ports.comports() if p.device == port), None)
    names = ("description", "manufacturer", "product", "vid", "pid", "interface")
    return {name: getattr(known, name) for name in names} if known else {}


def write_bundle(path: Path, result: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    """A ZIP with ``result.json`` (versions and host besides) and ``frames.jsonl``, the last frames.

    Nothing of the environment, of keys or of a venue goes into it.

    Raises:
        OSError: it cannot be written.
    """
    host = {"system": platform.system(), "release": platform.release(), "machine": platform.machine()}
    told = stamp("hawse board check")
    told["versions"] |= {package: version(package) for package in ("hawse", "pyserial")}
    told |= {"host": host | {"device": _device(result["port"])}, "result": result}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result.json", json.dumps(told, indent=2) + "\n")
        archive.writestr("frames.jsonl", "".join(json.dumps(frame) + "\n" for frame in frames))
