"""The command line: where the rooms are put together."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

#: Subcommand: its module, loaded only when it is used, so that the host needs neither Amaranth nor Verilator.
_COMMANDS = {
    "demo": ("hawse.cli.demo", "demo"),
    "board": ("hawse.cli.board", "board"),
    "run": ("hawse.cli.run", "run"),
    "doctor": ("hawse.cli.doctor", "doctor"),
    "status": ("hawse.cli.status", "status"),
    "replay": ("hawse.cli.check", "replay"),
    "wave": ("hawse.cli.wave", "wave"),
    "verify": ("hawse.cli.check", "verify"),
    "prove": ("hawse.cli.proof", "prove"),
    "check-proof": ("hawse.cli.proof", "check_proof"),
    "receipt": ("hawse.cli.receipt", "group"),
    "load": ("hawse.cli.load", "load"),
    "bench": ("hawse.cli.bench", "bench"),
    "bitstream": ("hawse.cli.bitstream", "bitstream"),
    "program": ("hawse.cli.bitstream", "program"),
    "keys": ("hawse.cli.keys", "group"),
    "publish": ("hawse.cli.publish", "publish"),
    "info": ("hawse.cli.trader", "info"),
    "account": ("hawse.cli.trader", "account"),
    "risk": ("hawse.cli.risk", "group"),
    "stress": ("hawse.cli.stress", "stress"),
    "deposit": ("hawse.cli.trader", "deposit"),
    "claim": ("hawse.cli.trader", "claim"),
    "validator": ("hawse.cli.validator", "validator"),
    "validators": ("hawse.cli.validator", "validators"),
    "force": ("hawse.cli.leave", "force"),
    "freeze": ("hawse.cli.leave", "freeze"),
    "exit": ("hawse.cli.leave", "group"),
    "refund": ("hawse.cli.leave", "refund"),
    "rebuild": ("hawse.cli.rebuild", "command"),
}


class _Lazy(click.Group):
    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run a command; what is wrong is a sentence on stderr or, with ``--json``, an object on stdout."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            _check_streams()
            done = super().main(given, *rest, **extra | {"standalone_mode": False})
            sys.stdout.flush()
        except click.exceptions.Exit as end:
            sys.exit(end.exit_code)
        except click.Abort:
            _fail("--json" in given, click.ClickException("interrupted"))
        except click.ClickException as error:
            _fail("--json" in given, error)
        # With standalone_mode off, click gives back what an Exit carried.
        sys.exit(done if isinstance(done, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command = getattr(__import__(module, fromlist=[name]), name)
        assert isinstance(command, click.Command)
        return command


def _check_streams() -> None:
    """Without the standard streams, a file that is opened later would take their place.

    Raises:
        click.ClickException: standard input or output is closed.
    """
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for name in ("stdin", "stdout"):
        if getattr(sys, name) is None:
            raise click.ClickException(f"{name} is closed; give it a file, or /dev/null")


def _fail(as_json: bool, error: click.ClickException) -> NoReturn:
    if as_json and sys.stdout is not None:
        kind = type(error.__cause__ or error).__name__
        told = {"error": kind, "message": error.format_message(), "exit_code": error.exit_code}
        click.echo(json.dumps(told))
    else:
        error.show()
    sys.exit(error.exit_code)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hawse")
def main() -> None:
    """Hawse: a hardware matching appliance for derivatives, and the host around it."""
