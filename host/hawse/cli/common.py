"""What the commands share: engines by name, progress bars, errors as one line."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hawse.chain.errors import ChainError
from hawse.commit.codec import CommitError
from hawse.commit.inclusion import ProofError
from hawse.engine import Backend, Engine, EngineError, GoldenBackend, LinkBackend, SoftBackend
from hawse.journal import JournalError
from hawse.journal.files import replace_durably
from hawse.keys.store import KeyStoreError
from hawse.publisher.errors import PublisherError
from hawse.state.clearing import ClearingError
from hawse.state.inputs import StateError
from hawse.state.machines import DEFAULT, FORMS
from hawse.state.snapshot import SnapshotError
from hawse.venue import Halted
from hawse.wire import Geometry

#: For people; standard output is for results.
console = Console(stderr=True)

_ERRORS = (
    PublisherError,
    ChainError,
    ClearingError,
    CommitError,
    EngineError,
    Halted,
    JournalError,
    KeyStoreError,
    ProofError,
    SnapshotError,
    StateError,
    OSError,
)

#: Names of the outcomes in the directory of a venue.
OUTCOMES = "outcomes.db"

json_option = click.option("--json", "as_json", is_flag=True, help="Result and errors as JSON.")
#: Which form of the transition function decides; both say the same.
state_option = click.option(
    "--state",
    "form",
    type=click.Choice([*FORMS]),
    default=DEFAULT,
    show_default=True,
    help="The state in C++, or the readable specification in Python.",
)
#: Where the journal is for validators on other machines.
stream_option = click.option(
    "--stream",
    metavar="nats://HOST:PORT/NAME",
    help="NATS JetStream that carries the journal to validators and their signatures back; servers of one"
    " cluster by commas, ?replicas=3 behind NAME for so many copies.",
)
#: Of commands whose result is JSON, or a file, in any case.
json_errors = click.option("--json", is_flag=True, expose_value=False, help="Errors as JSON, too.")


P = ParamSpec("P")
R = TypeVar("R")


def clear_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Report what a user can act on as one line and exit code 1, and let everything else be a traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            done = command(*args, **kwargs)
            sys.stdout.flush()
            return done
        except BrokenPipeError:
            # Nobody reads; nor may what is still to be written complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            click.echo("Error: standard output was closed before all of it was written", err=True)
            raise click.exceptions.Exit(1) from None
        except (*_ERRORS, BadFile) as error:
            raise click.ClickException(f"{type(error).__name__}: {error}") from error

    return wrapped


class RunFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """``run.json``: where the chain of a venue is, and with what it was begun.

    Attributes:
        rpc: URL of its node.
        contract: address of the settlement contract, in hexadecimal.
        pid: process of the embedded chain, None for any other.
        accounts: of a demo, how many trade; None for any other.
        validators: addresses of those who may sign batches, in hexadecimal.
        geometry: of a demo's engine; None for any other.
    """

    rpc: str
    contract: str
    pid: int | None = None
    accounts: int | None = None
    validators: tuple[str, ...] = ()
    geometry: Geometry | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """What ``path`` says.

        Raises:
            BadFile: it is not such a file; says which field.
        """
        return read_json(path, cls)

    def write(self, path: Path) -> None:
        """Put it there durably, all of it or nothing."""
        replace_durably(path, msgspec.json.format(msgspec.json.encode(self)))


def address(text: str) -> bytes:
    """The 20 bytes of an address in hexadecimal.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 20:
        raise click.BadParameter(f"{text!r} is no address of 20 bytes in hexadecimal")
    return raw


class BadFile(Exception):
    """A file is not what its name says, or has a field that is not what it must be."""


def read_json(path: Path, kind: type[R]) -> R:
    """The JSON of ``path`` as a ``kind``.

    Raises:
        BadFile: it is none; says which field.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise BadFile(f"{path}: {error}") from error


@dataclass(frozen=True)
class Trace:
    """A waveform to write of the gateware: clock cycles ``first`` up to, not including, ``last``."""

    file: Path
    first: int = 0
    last: int | None = None


class GeometryType(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4 alone
    """A geometry as ``2,2048,64,4``: instruments, levels, orders, bits of a tag."""

    name = "INSTRUMENTS,LEVELS,ORDERS,TAG_BITS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Geometry:
        """Of what was typed."""
        if isinstance(value, Geometry):
            return value
        parts = str(value).split(",")
        if len(parts) != 4 or not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is not four numbers: {self.name}, as in 2,2048,64,4", param, ctx)
        try:
            return Geometry(*map(int, parts))
        except ValueError as error:
            self.fail(str(error), param, ctx)


#: Of a board whose port names none.
BAUDRATE = 1_000_000


def split_port(name: str) -> tuple[str, int]:
    """Device or URL of a board, and its baud rate, of ``/dev/ttyUSB1@3000000``.

    Raises:
        click.BadParameter: what stands behind the @ is no rate.
    """
    device, at, baudrate = name.partition("@")
    if at and not (baudrate.isdecimal() and 0 < int(baudrate) < 1 << 31):
        raise click.BadParameter(f"{name}: {baudrate!r} is no baud rate, as in {device}@3000000")
    return device, int(baudrate) if at else BAUDRATE


def open_engine(name: str, geometry: Geometry, trace: Trace | None = None) -> Engine:
    """``soft``, ``golden``, ``rtl`` (Verilated gateware in this process), or the URL or device of a board.

    A device may be followed by its baud rate, as in ``/dev/ttyUSB1@3000000``.

    Raises:
        click.BadParameter: gateware simulation is not installed, or a board of another geometry.
    """
    backend: Backend
    waveform: dict[str, Any] = {}
    if trace:
        if name != "rtl":
            raise click.UsageError("--trace goes with --engine rtl")
        waveform = {"trace": trace.file, "trace_from": trace.first}
        waveform |= {} if trace.last is None else {"trace_to": trace.last}
    if name == "soft":
        backend = SoftBackend(geometry)
    elif name == "golden":
        backend = GoldenBackend(geometry)
    elif name == "rtl":
        try:
            from hawse_sim.rtl import RtlBackend  # noqa: PLC0415 - an extra that the host can do without
        except ImportError as error:
            raise click.BadParameter(f"rtl needs the extras hdl and sim: {error}") from error
        backend = RtlBackend(geometry, **waveform)
    else:
        device, baudrate = split_port(name)
        backend = LinkBackend(device, baudrate=baudrate)
        if backend.geometry != geometry:
            raise click.BadParameter(f"{name} is a board of {backend.geometry}, not of {geometry}")
    return Engine(backend)


@contextmanager
def bar(title: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; yields a function of (done, total)."""
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield update


def say(result: Any) -> None:
    """A result as JSON on standard output."""
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


@dataclass(frozen=True)
class Routed:
    """What ``make route`` found: device, median Fmax in MHz, geometry, and the file that says so."""

    device: str
    fmax_mhz: float
    geometry: Geometry
    file: str


def fastest_routed(folder: Path, top: str) -> Routed | None:
    """The fastest ``top`` that ``route-*.json`` in ``folder`` tell of.

    A result of other gateware than the present is told on stderr and counts for nothing.
    """
    from hawse_build.tops import why_stale  # noqa: PLC0415 - an extra that the host can do without

    runs = [(path, json.loads(path.read_text())) for path in sorted(folder.glob("route-*.json"))]
    of_top = [run for run in runs if run[1]["top"] == top]
    for path, told in sorted(of_top, key=lambda run: run[1]["fmax_mhz_median"], reverse=True):
        if why := why_stale(told, Path("build/route"), lambda text: click.echo(text, err=True)):
            click.echo(f"{path} does not count, {why}; make route makes it anew", err=True)
            continue
        known = {field.name for field in fields(Geometry)}
        geometry = Geometry(**{name: size for name, size in told["geometry"].items() if name in known})
        return Routed(told["device"], float(told["fmax_mhz_median"]), geometry, path.name)
    return None
