"""``hawse board``: boards, real and virtual."""

import click


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
