"""From what the engine said of a slot to the messages that tell it to everybody."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hawse.keys.messages import MessageKind, split
from hawse.state.config import VenueConfig
from hawse.venue import SlotDone
from hawse.wire import Kind
from hawse.wire.dtypes import Array, kinds

from . import messages
from .messages import symbol_of


@dataclass(slots=True)
class _Order:
    """As everybody sees it; ``ref`` is the sequence number of the command that gave it its place."""

    ref: int
    instrument: int
    side: int
    price: int
    lots: int


class Orders:
    """The orders that rest, by the engine's handle; goes on slot by slot.

    Args:
        config: of the venue.
        trades: number of the last trade.

    Raises:
        Unfit: ITCH cannot tell of an instrument.
    """

    def __init__(self, config: VenueConfig, trades: int) -> None:
        self._listed = {i.number: (i, symbol_of(i)) for i in config.instruments}
        self._live: dict[int, _Order] = {}
        self._trades = trades

    def opening(self, time: int, resting: Array) -> list[bytes]:
        """What a reader needs first: the instruments, and the orders that rest.

        Args:
            time: of the last slot.
            resting: LOADs (rows of wire ORDER), best price first, then time.
        """
        told = [messages.event(time, messages.START)]
        for number, (terms, symbol) in self._listed.items():
            told.append(messages.directory(time, number + 1, symbol, terms.minimum_quantity))
            told.append(messages.trades(time, number + 1, symbol))
        told += [messages.event(time, messages.OPEN), messages.event(time, messages.TRADING)]
        for row in resting:
            side = int(row["flags"]) & 1
            numbers = (int(row[name]) for name in ("seq", "instrument", "price", "quantity"))
            ref, instrument, price, lots = numbers
            self._live[int(row["order_id"])] = order = _Order(ref, instrument, side, price, lots)
            told.append(self._add(time, order))
        return told

    def closing(self, time: int) -> bytes:
        """The last message."""
        return messages.event(time, messages.END)

    def tell(self, done: SlotDone) -> list[bytes]:
        """Of the slot behind the last one."""
        rows = done.slot.messages
        heads = rows[split(rows).starts]["kind"].tolist()
        replaces = {
            seq for seq, kind in zip(done.command_seqs, heads, strict=True) if kind == MessageKind.REPLACE
        }
        events = done.burst.events
        first = done.outcome.first_seq
        both = zip(kinds(events).tolist(), events, strict=True)
        told: list[bytes] = []
        # A record carries the low half of its sequence number; what one command did stands together.
        for low, group in groupby(both, key=lambda one: int(one[1]["seq"])):
            seq = first + (low - first) % 2**32
            told += self._command(done.slot.time, seq, seq in replaces, list(group))
        return told

    def _command(
        self, time: int, seq: int, replaces: bool, group: Sequence[tuple[int, Any]]
    ) -> Iterator[bytes]:
        """An order that comes rests when all that it traded at once is told, if anything of it is left."""
        taker: _Order | None = None
        handle = -1
        for kind, event in group:
            if kind == Kind.TRADE:
                yield self._executed(time, event)
                if taker is not None:
                    taker.lots -= int(event["quantity"])
            elif kind == Kind.ACK:
                handle, taker = int(event["order_id"]), self._arrives(seq, event)
            elif kind == Kind.REPLACED and not replaces:
                yield self._reduced(time, event)
            elif kind == Kind.REPLACED:
                handle, old = int(event["order_id"]), self._live.pop(int(event["order_id"]))
                new = self._arrives(seq, event)
                if len(group) == 1:
                    self._live[handle] = new
                    place = new.instrument + 1
                    yield messages.replace(time, place, old.ref, new.ref, new.lots, new.price)
                else:
                    taker = new
                    yield messages.delete(time, old.instrument + 1, old.ref)
            elif kind == Kind.CANCELLED:
                if taker is not None and int(event["order_id"]) == handle:
                    taker = None
                elif (gone := self._live.pop(int(event["order_id"]), None)) is not None:
                    yield messages.delete(time, gone.instrument + 1, gone.ref)
        if taker is not None and taker.lots:
            self._live[handle] = taker
            yield self._add(time, taker)

    def _arrives(self, seq: int, event: Any) -> _Order:
        side = int(event["kind"]) >> 4 & 1
        instrument, price, lots = (int(event[name]) for name in ("instrument", "price", "quantity"))
        return _Order(seq, instrument, side, price, lots)

    def _add(self, time: int, order: _Order) -> bytes:
        symbol = self._listed[order.instrument][1]
        place = order.instrument + 1
        return messages.add(time, place, order.ref, order.side, order.lots, symbol, order.price)

    def _executed(self, time: int, event: Any) -> bytes:
        self._trades += 1
        handle, lots = int(event["maker_id"]), int(event["quantity"])
        maker = self._live[handle]
        maker.lots -= lots
        if not maker.lots:
            del self._live[handle]
        return messages.executed(time, maker.instrument + 1, maker.ref, lots, self._trades)

    def _reduced(self, time: int, event: Any) -> bytes:
        order, left = self._live[int(event["order_id"])], int(event["quantity"])
        gone, order.lots = order.lots - left, left
        return messages.cancel(time, order.instrument + 1, order.ref, gone)
