"""A venue's feed beside its slots: it holds up none, and a fault of it ends the feed alone."""

import logging
from contextlib import suppress
from pathlib import Path

from hawse.state.config import VenueConfig
from hawse.state.machines import AnyMachine
from hawse.venue import SlotDone

from .book import Orders
from .mold import Publisher

_log = logging.getLogger(__name__)


class Feed:
    """From a machine between two slots on.

    Args:
        folder: where the session's file goes.
        config: of the venue.
        target, requests: as of :class:`Publisher`.
        machine: behind the last slot.
        trades: number of the last trade.

    Raises:
        Unfit: ITCH cannot tell of an instrument.
        OSError: an address or the file cannot be had.
    """

    def __init__(
        self,
        folder: Path,
        config: VenueConfig,
        target: tuple[str, int],
        requests: tuple[str, int],
        machine: AnyMachine,
        trades: int,
    ) -> None:
        self._orders, self._time = Orders(config, trades), machine.time
        self._publisher: Publisher | None = Publisher(folder, target, requests)
        self.session, self.address = self._publisher.session, self._publisher.address
        self._publisher.tell(self._orders.opening(machine.time, machine.resting_orders()))

    def tell(self, done: SlotDone) -> None:
        """Of the slot behind the last one."""
        if self._publisher is None:
            return
        self._time = done.slot.time
        try:
            self._publisher.tell(self._orders.tell(done))
        except Exception:
            _log.exception("the ITCH feed has ended; the venue goes on without it")
            self._publisher.close()
            self._publisher = None

    def close(self) -> None:
        """The host ends."""
        if self._publisher is not None:
            with suppress(OSError):  # a disk that is full: readers see the session end all the same
                self._publisher.tell([self._orders.closing(self._time)])
            self._publisher.close()
