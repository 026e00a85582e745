"""An engine as the host uses it: a backend, and the driver that gives handles to orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hawse.wire import LEAST_WINDOW, Geometry, InstrumentState, Kind, Opcode, Reason, Side
from hawse.wire.dtypes import COMMAND, ORDER, Array, kinds, make

from .backend import Backend, Batch, Beats, EngineError, Fence, split
from .native.bindings import Driver, burst_calls
from .soft import SoftBackend


class DriverRefusal(IntEnum):
    """Why the driver sent nothing of an order to the engine."""

    #: NEW, LOAD: an order of this id is alive, or ended since the last fence.
    DUPLICATE_ORDER_ID = 1
    #: NEW: no handle is free.
    STORE_FULL = 2
    #: LOAD: an order is alive at the handle, or ended there since the last fence.
    HANDLE_IN_USE = 3
    #: RECENTRE: not the first of its burst.
    RECENTRE_NOT_FIRST = 4
    #: RECENTRE: there is no such instrument, or it has no window.
    RECENTRE_INSTRUMENT = 5
    #: RECENTRE: a resting order would fall outside the new band, or that would end beyond 32 bits.
    RECENTRE_BAND = 6


@dataclass(frozen=True)
class Band:
    """An instrument's window of the pool, the prices that it stands for, and the instrument's state.

    Attributes:
        instrument: number of the order book.
        first: first level in the pool, a multiple of ``count``.
        count: levels, a power of two of at least 64; 0: no window, as after a reset.
        base: price of the first level, in ticks.
        state: of the instrument.
        no_band: it holds any price, if the engine has that feature; first, count and base are 0.
    """

    instrument: int
    first: int
    count: int
    base: int
    state: InstrumentState = InstrumentState.OPEN
    no_band: bool = False


def even_window(geometry: Geometry, instrument: int) -> tuple[int, int]:
    """First level and number of levels of an instrument's window when all have as many, as many as can be.

    Raises:
        ValueError: the pool has no window for so many instruments.
    """
    share = geometry.pool >> (geometry.instruments - 1).bit_length()
    count = max(share, LEAST_WINDOW)
    if (instrument + 1) * count > geometry.pool:
        raise ValueError(f"instrument: {instrument} has no window of {count} levels in {geometry.pool}")
    return instrument * count, count


@dataclass(frozen=True)
class Burst:
    """What one burst of orders did.

    Attributes:
        events: array of EVENT, the records with the user's order ids.
        resting: array of RESTING, in answer to DUMPs.
        fence: the answer to the FENCE or CLOSE that ended it.
        batch: the second answer to CLOSE; None after FENCE.
        refused: (index of the order, reason) of each that never reached the engine.
    """

    events: Array
    resting: Array
    fence: Fence
    batch: Batch | None
    refused: list[tuple[int, DriverRefusal]]


class Engine:
    """A backend with a driver around it. After an EngineError it is of no use until :meth:`reset`.

    Sequence numbers are the caller's; within a burst each order has its own.

    Args:
        backend: carries out the commands.
        recentring: a burst may begin by moving the band to an order outside it, as ``docs/wire.md`` says.
    """

    def __init__(self, backend: Backend, *, recentring: bool = True) -> None:
        self.backend = backend
        self._driver = Driver(backend.geometry)
        self._driver.set_recentring(recentring)
        self._last_seq = 0  # what dump() and hello() carry, so that they do not change HELLO's answer

    @property
    def geometry(self) -> Geometry:
        """Of the backend."""
        return self.backend.geometry

    def reset(self, epoch: int) -> None:
        """Backend and driver as after power-up: instruments closed, no orders, empty log."""
        self.backend.reset(epoch)
        self._driver.reset()
        self._last_seq = 0

    def run(self, orders: Array) -> Burst:
        """Carry out a burst (array of ORDER) that ends in its only FENCE or CLOSE.

        Raises:
            ValueError: wrong type of array, or a burst that ends otherwise, or holds HELLO.
            EngineError: the backend failed, or its reports do not answer the commands.
        """
        commands, refused = self._driver.prepare(orders)
        self._last_seq = int(commands["seq"][-1])
        events, resting = self._driver.absorb(self.backend.exchange(commands))
        end = self._driver.done()
        if end is None:
            raise EngineError(f"{self.backend.name}: the burst's fence was not answered")
        return Burst(events, resting, *end, [(i, DriverRefusal(reason)) for i, reason in refused])

    def native_calls(self) -> NDArray[np.uintp] | None:
        """``hawse_state_engine`` for who carries out bursts without this object; None but in software.

        Its user tells :meth:`ran_to` of them.
        """
        soft = self.backend.native if isinstance(self.backend, SoftBackend) else None
        return None if soft is None else burst_calls(self._driver, soft)

    def ran_to(self, seq: int) -> None:
        """The last command that went to the backend had this sequence number."""
        self._last_seq = seq

    def load(self, orders: Array, bands: Sequence[Band], seq: int = 0) -> Burst:
        """Put bands, states and resting orders into an engine that was reset; the log is empty afterwards.

        ``orders`` are ORDER rows of which flags, instrument, handle, tag, price, quantity and order
        id are read; those at one price rest in the order of their ``seq``, equal ones as they come.
        ``seq`` is what the commands carry, and so what HELLO says was applied last.

        Raises:
            ValueError: an order of an instrument without a band.
            EngineError: the engine or the driver would not take a band or an order; which one is said.
        """
        known = np.isin(orders["instrument"], [band.instrument for band in bands])
        if not known.all():
            raise ValueError(f"orders: instrument {orders['instrument'][~known][0]} has no band")
        sell = (orders["flags"] & 1) == Side.SELL
        towards_worse = np.where(sell, 1, -1) * orders["price"].astype(np.int64)
        ranked = orders[np.lexsort((orders["seq"], towards_worse, sell))]
        ranked["opcode"] = Opcode.LOAD
        ranked["token"] = 0
        parts: list[Array] = []
        for band in bands:
            loading = InstrumentState.LOADING
            where = {"opcode": Opcode.STATE, "instrument": band.instrument}
            if band.count or band.no_band:
                window = {"handle": band.first, "token": band.count, "price": band.base}
                parts.append(make(ORDER, **where, **window, quantity=loading))
            parts.append(ranked[ranked["instrument"] == band.instrument])
            if band.state is not loading:
                parts.append(make(ORDER, **where, quantity=band.state))
        parts.append(make(ORDER, opcode=Opcode.CLOSE))
        commands = np.concatenate(parts)
        commands["seq"] = seq
        burst = self.run(commands)
        if burst.refused:
            at, why = burst.refused[0]
            raise EngineError(f"order id {commands['order_id'][at]}: refused, {why.name}")
        rejected = burst.events[kinds(burst.events) == Kind.REJECTED]
        if len(rejected):
            e, reason = rejected[0], Reason(int(rejected[0]["reason"]))
            what = "its window" if reason is Reason.WINDOW else f"order id {e['order_id']}"
            raise EngineError(f"instrument {e['instrument']}, {what}: rejected, {reason.name}")
        return burst

    def set_recentring(self, on: bool) -> None:
        """Whether bursts from now on may move the band to an order outside it."""
        self._driver.set_recentring(on)

    def open(
        self, instrument: int, base: int, *, first: int | None = None, count: int | None = None
    ) -> Burst:
        """Open an instrument without orders, with its band at ``base``; the log is empty afterwards.

        Without ``first`` and ``count`` its window is its share of :func:`even_window`.

        Raises:
            EngineError: the engine would not take that window.
        """
        share = even_window(self.geometry, instrument)
        window = share[0] if first is None else first, share[1] if count is None else count
        return self.load(np.zeros(0, ORDER), [Band(instrument, *window, base)])

    def dump(self, instrument: int) -> Array:
        """The engine's own book: array of RESTING, bids before asks, best price first, then time.

        Not logged, though it counts as commands.

        Raises:
            ValueError: there is no such instrument.
        """
        if not 0 <= instrument < self.geometry.instruments:
            raise ValueError(f"instrument: {instrument} is not below {self.geometry.instruments}")
        commands = np.zeros(2, COMMAND)
        commands["opcode"] = Opcode.DUMP, Opcode.HELLO
        commands["instrument"][0] = instrument
        commands["seq"] = self._last_seq
        return split(self.backend.exchange(commands)).resting

    def resting(self) -> Array:
        """The driver's mirror of the resting orders, without asking the engine.

        Array of MIRROR, by instrument, and then as :meth:`dump`.
        """
        return self._driver.resting()

    def instrument(self, instrument: int) -> Band:
        """Window, band and state of an instrument, as the engine last acknowledged them.

        Raises:
            EngineError: there is no such instrument.
        """
        first, count, base, state, no_band = self._driver.instrument(instrument)
        return Band(instrument, first, count, base, InstrumentState(state), no_band)

    def hello(self) -> Array:
        """Geometry, version, epoch, sequence number applied last: array of one HELLO.

        Raises:
            EngineError: the backend failed.
        """
        return self._ask().hellos

    def build(self) -> Array:
        """What the engine was made of, what it can do, its clock: array of one BUILD.

        Raises:
            EngineError: the backend failed.
        """
        return self._ask().builds

    def _ask(self) -> Beats:
        told = split(self.backend.exchange(make(COMMAND, opcode=Opcode.HELLO, seq=self._last_seq)))
        if len(told.hellos) != 1:
            raise EngineError(f"{self.backend.name}: {len(told.hellos)} answers to HELLO")
        return told

    def board_epoch(self) -> int:
        """Epoch in which a board is; 0 for an engine that lives and dies with this process."""
        return self.backend.board_epoch()

    def close(self) -> None:
        """Release backend and driver."""
        self.backend.close()
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
