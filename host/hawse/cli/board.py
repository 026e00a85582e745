"""``hawse board``: boards, real and virtual."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from hawse.wire import Geometry

from .common import clear_errors, console, json_option

_DEFAULT = Geometry()


@click.group()
def board() -> None:
    """Boards that hold the appliance."""


@board.command()
@click.option("--tcp", type=click.IntRange(0, 65535), help="Offer the serial bytes on this TCP port; 0: any.")
@click.option("--pty", is_flag=True, help="Offer them on a pseudo-terminal. [default]")
@click.option(
    "--link", type=click.Path(path_type=Path), help="Make this symbolic link to the pseudo-terminal."
)
@click.option("--instruments", type=int, default=_DEFAULT.instruments, show_default=True)
@click.option("--levels", type=int, default=_DEFAULT.levels, show_default=True, help="Of each instrument.")
@click.option("--orders", type=int, default=_DEFAULT.orders, show_default=True, help="Of all instruments.")
@click.option("--account-bits", type=int, default=_DEFAULT.account_bits, show_default=True)
@click.option("--trace", type=click.Path(path_type=Path), help="Write a waveform (FST).")
@click.option("--trace-from", type=int, default=0, show_default=True, help="First clock cycle of it.")
@click.option("--trace-to", type=int, help="Clock cycle before which it ends.")
@json_option
@clear_errors
def virtual(
    tcp: int | None,
    pty: bool,
    link: Path | None,
    instruments: int,
    levels: int,
    orders: int,
    account_bits: int,
    trace: Path | None,
    trace_from: int,
    trace_to: int | None,
    as_json: bool,
) -> None:
    """Run the Verilated appliance as a board, until it is interrupted.

    The first line printed is what to open: pass it to --engine of the other commands, or to pyserial's
    serial_for_url. SIGUSR1 is a power loss.
    """
    if pty and tcp is not None:
        raise click.UsageError("a board is on a TCP port or on a pseudo-terminal, not on both")
    if link and tcp is not None:
        raise click.UsageError("--link goes with a pseudo-terminal")
    try:
        geometry = Geometry(instruments, levels, orders, account_bits)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        from hawse_sim.board import serve  # noqa: PLC0415 - an extra that the host can do without
        from hawse_sim.rtl import FOREVER  # noqa: PLC0415
    except ImportError as error:
        raise click.ClickException(f"a virtual board needs the extras hdl and sim: {error}") from error

    def ready(url: str) -> None:
        click.echo(json.dumps({"url": url, "geometry": asdict(geometry)}) if as_json else url)

    serve(
        geometry,
        tcp=tcp,
        link=link,
        trace=trace,
        trace_from=trace_from,
        trace_to=FOREVER if trace_to is None else trace_to,
        ready=ready,
        was_reset=lambda: console.print("power loss: epoch 0, nothing remembered"),
    )
