"""Signed commands from the gateway's clients to the next slot, and what became of them back."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hawse.keys.eip712 import NO_STRUCT, Domain
from hawse.keys.messages import MESSAGE
from hawse.publisher.lines import Line
from hawse.venue import Signed
from hawse.wire.dtypes import Array

from .accounts import Known
from .directory import Directory
from .errors import Refused
from .limits import Limits
from .sessions import check_signer
from .shapes import Done

_log = logging.getLogger(__name__)
#: Commands whose signatures are checked in one go, and seconds between two attempts to hand them over.
_TOGETHER, _AGAIN = 256, 0.002
#: Takes rows of commands, who signed them, when they came, and tickets, for the next slot; False if too many
#: wait.
Offer = Callable[[Sequence[Array], Signed, Sequence[int], Sequence[object]], bool]


@dataclass(eq=False)
class Ticket:
    """A command on its way: its rows, when it came, and what will say what became of it."""

    rows: Array
    arrived: int = field(default_factory=time.time_ns)
    done: asyncio.Future[Done] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def account(self) -> int:
        """That it is for."""
        return int(self.rows["account"][0])

    def refuse(self, error: Refused) -> None:
        """It is not taken."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever has gone does not look any more


class _Signed(NamedTuple):
    """A command, who signed it, and its struct hash."""

    ticket: Ticket
    signer: bytes | None
    struct: bytes


class Intake:
    """Checks signatures of many commands at a time, beside the loop, and hands over what may enter a slot.

    Args:
        domain: of the venue.
        offer: takes commands for the next slot.
        directory: who may sign for an account.
        limits: on how many wait.
        workers: that find out who signed.
        clock: milliseconds now.
    """

    def __init__(
        self,
        domain: Domain,
        offer: Offer,
        directory: Directory,
        limits: Limits,
        workers: Executor,
        clock: Callable[[], int],
    ) -> None:
        self._domain, self._offer, self._directory = domain, offer, directory
        self._limits, self._workers, self._clock = limits, workers, clock
        self._new: deque[Ticket] = deque()
        self._some = asyncio.Event()
        self._waiting: set[Ticket] = set()
        self._looking: dict[int, list[_Signed]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._giving = asyncio.Lock()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, rows: Array) -> Ticket:
        """A command of one or two rows.

        Raises:
            Refused: busy or stopping.
        """
        if self._stopping:
            raise Refused("stopping", "the host ends; the command was not taken")
        if len(self._waiting) >= self._limits.waiting:
            most = self._limits.waiting
            raise Refused("busy", "too many commands wait for a slot", have=len(self._waiting) + 1, need=most)
        ticket = Ticket(rows)
        self._waiting.add(ticket)
        ticket.done.add_done_callback(lambda _: self._waiting.discard(ticket))
        self._new.append(ticket)
        self._some.set()
        return ticket

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._some.wait()
            batch = [self._new.popleft() for _ in range(min(len(self._new), _TOGETHER))]
            if not self._new:
                self._some.clear()
            try:
                rows = np.frombuffer(b"".join([ticket.rows.tobytes() for ticket in batch]), MESSAGE)
                loop = asyncio.get_running_loop()
                signed = await loop.run_in_executor(self._workers, Signed.of, rows, self._domain, 1)
                await self._sort([*map(_Signed, batch, signed.signers, signed.structs)])
            except Exception as error:
                _log.exception("commands could not be handed over")
                for ticket in batch:
                    ticket.refuse(Refused("internal", type(error).__name__))

    async def _sort(self, batch: Sequence[_Signed]) -> None:
        """Hand over those of accounts that are known; who waits for the host's word holds up nobody else.

        Commands of one account keep their order.
        """
        good = []
        for one in batch:
            account = one.ticket.account
            if account in self._looking:
                self._looking[account].append(one)
            elif (known := self._directory.at_hand(account)) is None:
                self._looking[account] = [one]
                task = asyncio.create_task(self._look(account))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif self._may(one, known):
                good.append(one)
        await self._give(good)

    async def _look(self, account: int) -> None:
        try:
            known = await self._directory.find(account)
        except Exception as error:
            if not isinstance(error, Refused):
                _log.exception("an account could not be looked up")
            why = error if isinstance(error, Refused) else Refused("internal", type(error).__name__)
            for one in self._looking.pop(account):
                one.ticket.refuse(why)
            return
        await self._give([one for one in self._looking.pop(account) if self._may(one, known)])

    def _may(self, one: _Signed, known: Known) -> bool:
        """Whether a command may enter a slot, which is for ever; else it is refused."""
        try:
            if one.struct == NO_STRUCT:
                raise Refused(
                    "line", "not canonical: unused legs last and empty, a nonce floor up to the nonce"
                )
            check_signer(one.signer, known, int(one.ticket.rows["generation"][0]), self._clock())
        except Refused as error:
            one.ticket.refuse(error)
            return False
        return True

    async def _give(self, good: Sequence[_Signed]) -> None:
        """To the host, in order, as soon as it takes them."""
        tickets = [one.ticket for one in good]
        theirs = Signed.listed([one.signer for one in good], [one.struct for one in good])
        async with self._giving:
            while good and not self._stopping:
                if self._offer([t.rows for t in tickets], theirs, [t.arrived for t in tickets], tickets):
                    return
                await asyncio.sleep(_AGAIN)

    def settle(
        self, tickets: Sequence[object], seqs: Sequence[int], lines: Sequence[Line], slot_time: int
    ) -> None:
        """Tell what became of the commands of a slot.

        Args:
            tickets: of all its messages; None of those that came in another way.
            seqs: sequence number of each.
            lines: of the slot.
            slot_time: milliseconds.
        """
        wanted = {s: t for s, t in zip(seqs, tickets, strict=True) if isinstance(t, Ticket)}
        found: dict[int, list[Line]] = {seq: [] for seq in wanted}
        for line in lines:
            seq = line.get("seq", -1)
            # A trade has a line of its other side, which is not his to see.
            if seq in wanted and line.get("account") == wanted[seq].account:
                found[seq].append(line)
        for seq, ticket in wanted.items():
            mine = found[seq]
            if not ticket.done.done():
                ticket.done.set_result(Done(mine[0]["slot"], slot_time, seq, mine[0]["event"], mine))

    def stop(self) -> None:
        """Take no more; what has not been handed over is refused."""
        self._stopping = True
        for ticket in self._new:
            ticket.refuse(Refused("stopping", "the host ends; the command was not taken"))

    def finish(self, orderly: bool) -> None:
        """No slot follows: what still waits has not been in one, unless something broke in the last."""
        self.stop()
        why = "the host ends; the command was not taken"
        if not orderly:
            why = "the host ended in the middle of a slot; ask for the order's status once it is back"
        for ticket in list(self._waiting):
            ticket.refuse(Refused("stopping", why, taken=None if not orderly else False))
