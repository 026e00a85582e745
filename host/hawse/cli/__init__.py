"""The command line: where the rooms are put together."""

import click

#: Subcommand: its module, loaded only when it is used, so that the host needs neither Amaranth nor Verilator.
_COMMANDS = {
    "demo": ("hawse.cli.demo", "demo"),
    "board": ("hawse.cli.board", "board"),
    "run": ("hawse.cli.run", "run"),
    "status": ("hawse.cli.status", "status"),
    "replay": ("hawse.cli.check", "replay"),
    "verify": ("hawse.cli.check", "verify"),
    "prove": ("hawse.cli.proof", "prove"),
    "check-proof": ("hawse.cli.proof", "check_proof"),
    "bench": ("hawse.cli.bench", "bench"),
    "bitstream": ("hawse.cli.bitstream", "bitstream"),
    "program": ("hawse.cli.bitstream", "program"),
    "keys": ("hawse.cli.keys", "keys"),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command = getattr(__import__(module, fromlist=[name]), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hawse")
def main() -> None:
    """Hawse: a hardware matching appliance for derivatives, and the host around it."""
