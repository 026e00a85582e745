"""The chain's side of a host: what it reads of the contract's queues, and how batches get there."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from hawse.chain.client import SettlementClient, Transaction
from hawse.chain.errors import AnchorConflictError, ChainError, RevertedError
from hawse.commit.header import BatchHeader
from hawse.state.machines import AnyMachine
from hawse.state.slot import Deposit, Request

from .common import console
from .validator import Signatures

#: Seconds between two looks at the queues, and at the validators' signatures.
LOOK_SECONDS = 1.0
#: Most deposits and forced requests of a slot.
DEPOSITS = 1024
REQUESTS = 256
T = TypeVar("T")


class Settling:
    """What a host does with its contract. A node that does not answer, or answers wrongly, is asked again.

    Args:
        client: of the contract, with the operator's key.
        signatures: where validators leave theirs, if there are any.
        validators: addresses of those who may sign.
    """

    def __init__(
        self, client: SettlementClient, signatures: Signatures | None, validators: Sequence[bytes]
    ) -> None:
        self._client, self._signatures, self._validators = client, signatures, validators
        terms = client.terms()
        self.threshold, self._grace = terms["threshold"], terms["grace"]
        self._next_look, self._next_try, self._pause = 0.0, 0.0, 0.0
        self._next_signatures = 0.0
        #: When both queues were last read to their end.
        self._read_at = float("-inf")

    @property
    def blind(self) -> bool:
        """Whether the queues were not read for so long that a batch might leave out what it has to take.

        The contract refuses a batch that leaves a request waiting that is older than it by half of the grace.
        So no slot may be carried out, nor a batch be closed, behind a quarter of it.
        """
        return time.monotonic() - self._read_at > self._grace / 4

    def queued(self, machine: AnyMachine, now: bool) -> tuple[tuple[Deposit, ...], tuple[Request, ...]]:
        """The next deposits and forced requests, if it is time to look for them."""
        if not now and time.monotonic() < self._next_look:
            return (), ()
        started, client = time.monotonic(), self._client
        self._next_look = started + LOOK_SECONDS
        deposits = self._reach(
            lambda: client.deposits_since(machine.deposit_index, machine.deposit_accumulator)
        )
        requests = self._reach(
            lambda: client.requests_since(machine.request_index, machine.request_accumulator)
        )
        if deposits is None or requests is None:
            return (), ()
        if len(requests) <= REQUESTS:
            self._read_at = started
        return tuple(deposits[:DEPOSITS]), tuple(requests[:REQUESTS])

    def is_silent(self) -> bool:
        """Whether nothing was anchored for so long that an empty batch has to show that there is somebody."""
        return bool(self._reach(self._client.is_silent))

    def anchor(self, header: BatchHeader, data: bytes) -> Transaction | None:
        """Anchor a batch with its data. None where validators are missing, or the node takes none now."""
        signatures = self._signed(header)
        if signatures is None:
            return None
        return self._reach(partial(self._client.anchor, header, signatures, data))

    def last_final(self) -> tuple[int, bytes] | None:
        """Number and header digest of the last final batch; None where there is none, or no good answer."""

        def ask() -> tuple[int, bytes] | None:
            number = self._client.last_final()
            return (number, self._client.anchored(number).digest) if number else None

        return self._reach(ask)

    def _signed(self, header: BatchHeader) -> dict[bytes, bytes] | None:
        """As many signatures as there have to be, None while there are fewer."""
        if not self.threshold or self._signatures is None:
            return {}
        if time.monotonic() < self._next_signatures:
            return None
        good = self._signatures.of(header, self._validators)
        if len(good) < self.threshold:
            self._next_signatures = time.monotonic() + LOOK_SECONDS
            return None
        return dict(sorted(good.items())[: self.threshold])

    def hurry(self) -> None:
        """Ask at once, whatever was answered last."""
        self._next_try = self._next_signatures = 0.0

    def _reach(self, ask: Callable[[], T]) -> T | None:
        """What the node answers. None where it has no good answer now: the venue goes on, and asks again.

        Raises:
            AnchorConflictError: another header has the batch's number: another host is at work.
            RevertedError: the venue was frozen.
        """
        if time.monotonic() < self._next_try:
            return None
        try:
            answer = ask()
        except AnchorConflictError:
            raise
        except ChainError as error:
            if isinstance(error, RevertedError) and error.reason.endswith("frozen"):
                raise
            self._pause = min(60.0, 2 * self._pause or 1.0)
            self._next_try = time.monotonic() + self._pause
            console.print(f"The chain has no good answer; asked again in {self._pause:.0f} s: {error}")
            return None
        self._pause = 0.0
        return answer
