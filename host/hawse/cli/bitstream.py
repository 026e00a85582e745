"""``hawse bitstream`` and ``hawse program``: from the gateware to a board."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from hawse.wire import Geometry

# Not of .common: a machine that builds bitstreams has no use for a venue and its chain.
console = Console(stderr=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

_EXTRA = "needs the extras hdl and pnr: pip install 'hawse[hdl,pnr]'"
_DEFAULT = Geometry()
_boards_folder = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of bitstream and manifest.  [default: build/boards/BOARD]",
)


@click.command()
@click.argument("board")
@click.option("--instruments", default=_DEFAULT.instruments, show_default=True, help="Order books.")
@click.option("--pool", default=_DEFAULT.pool, show_default=True, help="Price levels that they share.")
@click.option("--orders", default=_DEFAULT.orders, show_default=True, help="Resting orders that they share.")
@click.option("--tag-bits", default=_DEFAULT.tag_bits, show_default=True, help="Bits of a tag.")
@click.option("--hash-cores", default=5, show_default=True, help="Keccak cores of the report log.")
@click.option("--clock-mhz", type=float, help="Of the appliance.  [default: what the board's results allow]")
@click.option("--baudrate", default=1_000_000, show_default=True, help="Of the UART.")
@click.option("--probe", is_flag=True, help="With loopback, bit test and capture buffer, for first silicon.")
@click.option("--seed", default=1, show_default=True, help="Of nextpnr.")
@click.option("--placer", type=click.Choice(["floorplan", "static"]), help="[default: floorplan]")
@_boards_folder
@json_option
def bitstream(
    board: str,
    instruments: int,
    pool: int,
    orders: int,
    tag_bits: int,
    hash_cores: int,
    clock_mhz: float | None,
    baudrate: int,
    probe: bool,
    seed: int,
    placer: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Build the bitstream of BOARD: ulx3s, ecpix5 or ecp5-evn.

    Synthesizes, places and routes with native tools where PATH has them, else those of PyPI, and writes the
    bitstream, what timing and resources came to, and a manifest with the build id that HELLO tells. A build
    that was interrupted goes on at the stage where it was.
    """
    try:
        from hawse_build.bitstream import Options, build  # noqa: PLC0415 - an extra
        from hawse_build.tools import BuildError  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise click.ClickException(f"hawse bitstream {_EXTRA}: {error}") from error
    folder = output or Path("build/boards") / board
    try:
        options = Options(
            board,
            Geometry(instruments, pool, orders, tag_bits),
            hash_cores=hash_cores,
            clock_mhz=clock_mhz,
            baudrate=baudrate,
            probe=probe,
            seed=seed,
            placer=placer,
        )
        with console.status("Elaborating") as status:

            def progress(stage: str) -> None:
                status.update(stage)
                console.print(stage)

            manifest = build(options, Path("build/route"), folder, progress)
    except (BuildError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(manifest, indent=2))
        return
    _tell(manifest, folder)


def _tell(manifest: dict[str, Any], folder: Path) -> None:
    used = manifest["resources"]
    click.echo(f"{folder / manifest['bitstream']['file']}: build {manifest['build']} for {manifest['title']}")
    click.echo(
        f"{manifest['clock_mhz']:g} MHz of {manifest['reached_mhz']:g} reached, "
        f"{used['lut4']} LUTs, {used['ff']} flip-flops, {used['bram']} block RAMs"
    )
    click.echo(f"hawse program {manifest['board']} loads it")


@click.command()
@click.argument("board")
@click.option("--flash", is_flag=True, help="Keep it through power loss; otherwise into the chip alone.")
@_boards_folder
@json_option
def program(board: str, flash: bool, output: Path | None, as_json: bool) -> None:
    """Load BOARD with the bitstream that ``hawse bitstream`` built, by openFPGALoader."""
    try:
        from hawse_build.program import program as load  # noqa: PLC0415 - an extra
        from hawse_build.tools import BuildError  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise click.ClickException(f"hawse program {_EXTRA}: {error}") from error
    try:
        with console.status(f"Loading {board}"):
            manifest = load(board, output or Path("build/boards") / board, flash=flash)
    except BuildError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"board": board, "build": manifest["build"], "flash": flash}))
        return
    size = ", ".join(f"{count} {name}" for name, count in asdict(Geometry(**manifest["geometry"])).items())
    click.echo(f"{manifest['title']} has build {manifest['build']} ({size}) at {manifest['baudrate']} bit/s")
