"""Signed commands from the gateway's clients to the next slot, and what became of them back."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from hawse.keys.eip712 import NO_STRUCT, Domain
from hawse.publisher.lines import Line
from hawse.venue import Signed
from hawse.wire.dtypes import Array

from .directory import Directory
from .errors import Refused
from .limits import Limits
from .sessions import check_signer
from .shapes import Done

#: Commands whose signatures are checked in one go, and seconds between two attempts to hand them over.
_TOGETHER, _AGAIN = 256, 0.002
#: Takes rows of commands, who signed them, and tickets, for the next slot; False if too many wait.
Offer = Callable[[Sequence[Array], Signed, Sequence[object]], bool]


@dataclass(eq=False)
class Ticket:
    """A command on its way: its rows, and what will say what became of it."""

    rows: Array
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
            rows = np.concatenate([ticket.rows for ticket in batch])
            loop = asyncio.get_running_loop()
            signed = await loop.run_in_executor(self._workers, Signed.of, rows, self._domain, 1)
            await self._hand_over(batch, signed)

    async def _hand_over(self, batch: list[Ticket], signed: Signed) -> None:
        good = []
        for n, ticket in enumerate(batch):
            try:
                await self._check(ticket, signed.signers[n], signed.structs[n])
                good.append(n)
            except Refused as error:
                ticket.refuse(error)
        tickets = [batch[n] for n in good]
        theirs = Signed([signed.signers[n] for n in good], [signed.structs[n] for n in good])
        while good and not self._stopping:
            if self._offer([ticket.rows for ticket in tickets], theirs, tickets):
                return
            await asyncio.sleep(_AGAIN)

    async def _check(self, ticket: Ticket, signer: bytes | None, struct: bytes) -> None:
        """Whether a command may enter a slot, which is for ever.

        Raises:
            Refused: line, account, signature, gone or signer.
        """
        if struct == NO_STRUCT:
            raise Refused(
                "line", "the message is not canonical: unused legs last and empty, floor up to nonce"
            )
        await self._directory.check(
            ticket.account,
            lambda known: check_signer(signer, known, int(ticket.rows["generation"][0]), self._clock()),
        )

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
