"""A second machine beside the slot path: it makes what the end of a batch takes long for.

It carries out every slot again, on a thread of its own, with the reports that the engine gave the first. So
trees, header and snapshot of a batch keep no slot waiting, and each slot's digest is worked out twice.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from hawse.state.native.machine import NativeMachine
from hawse.state.native.packed import PackedSigners
from hawse.state.outcomes import Signers
from hawse.state.slot import SlotInput
from hawse.wire.dtypes import Array

T = TypeVar("T")
#: Slots that it may fall behind before it is waited for.
ROOM = 4096


class MirrorDiffers(Exception):
    """The second machine's digest of a slot is not the first one's."""


class Mirror:
    """The second machine, and its thread.

    Args:
        machine: where the first one is now; nobody else may use it.
    """

    def __init__(self, machine: NativeMachine) -> None:
        self._machine = machine
        self._pool = ThreadPoolExecutor(1, "mirror")
        self._waiting: deque[Future[None]] = deque()
        self._failure: Exception | None = None

    def slot(self, slot: SlotInput, signers: Signers | PackedSigners, events: Array, digest: bytes) -> None:
        """Carry a slot out, some time, and hold its digest against the first machine's.

        Raises:
            Exception: whatever an earlier slot has failed with.
        """
        self._waiting.append(self._pool.submit(self._again, slot, signers, events, digest))
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > ROOM):
            self._waiting.popleft().result()

    def _again(self, slot: SlotInput, signers: Signers | PackedSigners, events: Array, digest: bytes) -> None:
        def run(machine: NativeMachine) -> None:
            machine.open_slot(slot, signers)
            found = machine.clear_slot(events)
            if found != digest:
                what = f"slot {slot.number}: digest {found.hex()}"
                raise MirrorDiffers(f"{what}, the first machine's {digest.hex()}")

        self._on_it(run)

    def ask(self, make: Callable[[NativeMachine], T]) -> Future[T]:
        """What ``make`` gives of the machine behind the slots so far, if all of them went well."""
        return self._pool.submit(self._on_it, make)

    def _on_it(self, act: Callable[[NativeMachine], T]) -> T:
        """Nothing is done, and no batch made, behind what went wrong."""
        if self._failure:
            raise self._failure
        try:
            return act(self._machine)
        except Exception as error:
            self._failure = error
            raise
