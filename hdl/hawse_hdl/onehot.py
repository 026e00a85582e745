"""State machines of many states, in the form in which an FPGA knows soonest which one it is in."""

from contextlib import AbstractContextManager
from typing import Any

from amaranth.hdl import Module, Signal


class OneHot:
    """The states of a machine, a bit of :attr:`bits` each; the first is that after a reset.

    ``with m.Switch(states.bits)`` holds ``with states.at("NAME")`` for each, in which
    ``states.next = "NAME"`` changes to another: as ``m.FSM``, whose state is a number, so that all that
    depends on it stands behind two gates that decode it. That one bit is set, synthesis cannot know:
    :func:`.route.describe` tells it.

    Args:
        m: holds the machine.
        name: of the register, before :data:`SUFFIX`.
        states: their names.
    """

    #: By this :func:`.route.describe` knows the register.
    SUFFIX = "_onehot"

    def __init__(self, m: Module, name: str, *states: str) -> None:
        self._m = m
        self._bit = {state: n for n, state in enumerate(states)}
        self.bits = Signal(len(states), init=1, name=name + self.SUFFIX)

    def at(self, state: str) -> AbstractContextManager[Any]:
        """Holds what is done in ``state``."""
        low = self._bit[state]
        return self._m.Case("-" * (len(self._bit) - low - 1) + "1" + "-" * low)

    def _next(self, state: str) -> None:
        self._m.d.sync += self.bits.eq(1 << self._bit[state])

    #: The state of the next cycle.
    next = property(None, _next)
