"""What is asked of the state: the host's thread answers between two slots, and what is safe is kept."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from hawse.publisher.lines import Line
from hawse.state.machines import AnyMachine

from .accounts import Known, known
from .errors import Refused

T = TypeVar("T")
#: Seconds of a slot path that questions may take, at a time; questions that may wait; seconds for which.
_SECONDS, _MOST, _PATIENCE = 0.001, 4096, 5.0
#: Kinds that change who may sign for an account, or whose it is.
_CHANGES = frozenset({"appoint", "revoke", "deposit", "transfer", "exit"})


class Questions:
    """Questions to the machine, which only the host's thread may ask.

    Args:
        loop: of the gateway.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: deque[tuple[Callable[[AnyMachine], Any], asyncio.Future[Any]]] = deque()
        self._pending: dict[object, asyncio.Future[Any]] = {}

    async def ask(self, about: object, question: Callable[[AnyMachine], T]) -> T:
        """The answer, as of the last slot.

        Whoever asks ``about`` the same meanwhile gets the same answer, so that nobody fills the queue by
        asking the same again and again.

        Raises:
            Refused: busy: the host does not come to it.
        """
        answer: asyncio.Future[T] | None = self._pending.get(about)
        if answer is None or answer.done():  # what is answered may be of an earlier slot
            if len(self._asked) >= _MOST:
                have = len(self._asked) + 1
                raise Refused("busy", "too many questions wait for the host", have=have, need=_MOST)
            answer = self._pending[about] = self._loop.create_future()
            answer.add_done_callback(lambda done: self._forget(about, done))
            self._asked.append((question, answer))
        try:
            return await asyncio.wait_for(asyncio.shield(answer), _PATIENCE)
        except TimeoutError:
            raise Refused("busy", f"the host has not answered for {_PATIENCE:g} s") from None

    def _forget(self, about: object, answered: asyncio.Future[Any]) -> None:
        if self._pending.get(about) is answered:
            del self._pending[about]

    def answer(self, machine: AnyMachine) -> None:
        """By the host's thread: as many as there is time for; one at least."""
        end = time.monotonic() + _SECONDS
        while self._asked:
            question, answer = self._asked.popleft()
            try:
                said: Any = question(machine)
                failed = None
            except Exception as error:
                said, failed = None, error
            self._loop.call_soon_threadsafe(_tell, answer, said, failed)
            if time.monotonic() >= end:
                return


def _tell(answer: asyncio.Future[Any], said: Any, failed: Exception | None) -> None:
    if answer.done():
        return
    if failed:
        answer.set_exception(failed)
    else:
        answer.set_result(said)


class Directory:
    """Who may sign for which account; forgotten as soon as a slot may have changed it."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._known: dict[int, Known | None] = {}
        self._changes = 0

    def look(self, lines: Iterable[Line]) -> None:
        """Forget what a slot has changed."""
        for line in lines:
            if line.get("kind") in _CHANGES:
                self._changes += 1
                self._known.pop(line.get("account", 0), None)
                self._known.pop(line.get("to_account", 0), None)

    def at_hand(self, account: int) -> Known | None:
        """What is known without asking."""
        return self._known.get(account)

    async def find(self, account: int) -> Known:
        """Who may sign for an account.

        Raises:
            Refused: account: there is none; or busy.
        """
        found = self._known.get(account)
        if found is None:
            before = self._changes
            found = await self._questions.ask(("known", account), lambda machine: known(machine, account))
            if found is None:
                raise Refused("account", "there is no such account", have=account, need=None)
            if self._changes == before:  # else a later slot may know better
                self._known[account] = found
        return found

    async def check(self, account: int, test: Callable[[Known], T]) -> T:
        """What ``test`` makes of who may sign.

        Raises:
            Refused: as of :meth:`find` and ``test``.
        """
        return test(await self.find(account))
