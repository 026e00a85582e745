"""``hawse wave``: the waveform around one order of a journal."""

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from hawse.journal import Journal
from hawse.journal.segments import segment_path
from hawse.keys.messages import MessageKind, split
from hawse.venue import Execution, SlotDone
from hawse.venue import replay as execute
from hawse.wire import Kind, Reason
from hawse.wire.dtypes import kinds

from .check import config_of
from .common import Trace, bar, clear_errors, console, json_option, open_engine, say

#: Cycles in which a report has passed the log's queues, where nobody waits for a digest.
_AFTER = 8


@dataclass(frozen=True)
class Told:
    """One report of an order: what it says, and the clock cycles of the gateware in which it came to be."""

    slot: int
    account: int
    role: str
    kind: str
    price: int
    quantity: int
    accepted: int
    left: int


class _Orders:
    """Whose order each handle is, of those with one client id, as the slots pass."""

    def __init__(self, client_id: int) -> None:
        self.client_id = client_id
        #: Accounts that sent an order of that id, and why the last one was refused where one was.
        self.accounts: set[int] = set()
        self.refusal: str | None = None
        self._owner: dict[int, int] = {}
        self._senders: dict[int, int] = {}

    def of(self, done: SlotDone) -> list[tuple[Any, int, str]]:
        """Reports of such orders in a slot: event, account, and whether as ``order`` or as ``maker``."""
        self._heed(done)
        events, told = done.burst.events, []
        trades = kinds(events) == Kind.TRADE
        concerned = (done.orders == self.client_id) | ((done.makers == self.client_id) & trades)
        for at in np.flatnonzero(concerned).tolist():
            event = events[at]
            sender = self._senders.get(int(event["seq"]))
            # What else an arriving order brings about may be of another one.
            if sender is not None and int(event["kind"]) & 0x0F in (Kind.ACK, Kind.REJECTED):
                self._owner[int(event["order_id"])] = sender
            sides = [("order", "order_id", done.orders)] + [("maker", "maker_id", done.makers)] * bool(
                trades[at]
            )
            for role, name, ids in sides:
                owner = self._owner.get(int(event[name]))
                if int(ids[at]) == self.client_id and owner is not None:
                    told.append((event, owner, role))
        return told

    def _heed(self, done: SlotDone) -> None:
        """Which messages of a slot bring an order of that id."""
        rows = done.slot.messages
        rows = rows[split(rows).starts]
        new = (rows["kind"] == MessageKind.ORDER) & (rows["client_id"] == self.client_id)
        refused = {r.seq: r for r in done.outcome.refusals}
        self._senders = {}
        for at in np.flatnonzero(new).tolist():
            seq, account = done.command_seqs[at], int(rows["account"][at])
            self.accounts.add(account)
            if seq in refused:
                why = refused[seq]
                self.refusal = (
                    f"it was refused in slot {done.slot.number} ({why.reason.name}, it had {why.have}, "
                    f"needed {why.need}), so the gateware never saw it"
                )
            else:
                self._senders[seq % 2**32] = account


def _slots(journal: Journal, title: str, last: int, trace: Trace | None = None) -> Any:
    """Backend and slots of a replay on the gateware, through slot ``last``."""
    config = config_of(journal)
    with closing(open_engine("rtl", config.geometry, trace)) as engine, bar(title) as progress:
        execution = Execution(config, engine, journal.epoch + 1)
        for done in execute(execution, journal.slots(), signatures=False):
            yield engine.backend, done
            progress(done.slot.number + 1, last + 1)
            if done.slot.number == last:
                return


def _find(journal: Journal, client_id: int, account: int | None) -> list[Told]:
    """Every report of the order.

    Raises:
        click.ClickException: no such order, one of several accounts, or one that never reached the gateware.
    """
    orders, told = _Orders(client_id), []
    for backend, done in _slots(journal, "Looking for the order", journal.next_slot - 1):
        for event, owner, role in orders.of(done):
            kind, reason = Kind(int(event["kind"]) & 0x0F), int(event["reason"])
            what = kind.name.lower() + (f" ({Reason(reason).name})" if reason else "")
            numbers = int(event["price"]), int(event["quantity"])
            cycles = backend.cycle_of(int(event["accepted"])), backend.cycle_of(int(event["left"]))
            told.append(Told(done.slot.number, owner, role, what, *numbers, *cycles))
    whose = sorted(orders.accounts)
    if not whose:
        raise click.ClickException(f"no order of the {journal.next_slot} slots has the id {client_id}")
    if account is None and len(whose) > 1:
        raise click.ClickException(
            f"accounts {whose} have orders of the id {client_id}; --account says whose"
        )
    if account is not None and account not in whose:
        raise click.ClickException(f"account {account} has no order of the id {client_id}; {whose} have")
    chosen = [t for t in told if account is None or t.account == account]
    if not chosen:
        raise click.ClickException(f"order {client_id}: {orders.refusal}")
    return chosen


def _write(journal: Journal, at: Told, margin: int, out: Path) -> list[Path]:
    """The waveform around a report, and what the viewers are to show of it."""
    from hawse_sim import waveform  # noqa: PLC0415 - an extra that the host can do without

    out.parent.mkdir(parents=True, exist_ok=True)
    span = Trace(out, max(0, at.accepted - margin), at.left + _AFTER + margin)
    for _ in _slots(journal, "Tracing", at.slot, span):
        pass
    views = {
        out.with_suffix(".gtkw"): waveform.gtkwave(out, at.accepted, at.left),
        out.with_suffix(".sucl"): waveform.surfer(at.accepted),
    }
    for path, text in views.items():
        path.write_text(text)
    return [out, *views]


@click.command()
@click.argument("order_id", type=click.IntRange(0, 2**64 - 1))
@click.argument(
    "directory", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("out/demo")
)
@click.option("--account", type=click.IntRange(1), help="Whose order, where several gave one that id.")
@click.option(
    "--report", type=click.IntRange(0), default=0, help="Which of its reports, from 0. [default: 0]"
)
@click.option(
    "--margin", type=click.IntRange(0, 100_000), default=60, show_default=True, help="Clock cycles."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="[default: out/order-ID.fst]")
@json_option
@clear_errors
def wave(
    order_id: int,
    directory: Path,
    account: int | None,
    report: int,
    margin: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write the waveform around one order, and what GTKWave and Surfer are to show of it.

    ORDER_ID is the id that its user gave the order, DIRECTORY that of the run or its journal, out/demo by
    default. The journal is executed on the Verilated gateware twice: without a waveform, to find the clock
    cycles in which the order was told of, and again up to the chosen report. The waveform goes from the cycle
    in which the command behind that report was accepted to that in which the report left.
    """
    if not segment_path(directory, 0).exists():
        directory = directory / "journal"
    out = out or Path(f"out/order-{order_id}.fst")
    with Journal(directory, readonly=True) as journal:
        told = _find(journal, order_id, account)
        if report >= len(told):
            raise click.ClickException(f"order {order_id} has {len(told)} reports, from 0; not {report}")
        files = _write(journal, told[report], margin, out)
    if as_json:
        say({"reports": [asdict(t) for t in told], "files": [str(f) for f in files]})
        return
    for number, t in enumerate(told):
        mark = "*" if number == report else " "
        console.print(
            f"{mark}{number:3} slot {t.slot}: {t.kind} as {t.role}, {t.quantity} at {t.price}, "
            f"cycles {t.accepted} to {t.left}",
            highlight=False,
        )
    click.echo(f"gtkwave {files[1]}")
    click.echo(f"surfer -c {files[2]} {files[0]}")
