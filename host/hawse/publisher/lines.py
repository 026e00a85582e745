"""What became of a slot's inputs, as flat objects: one for each answer, and one for each side of a trade.

A function of the journal alone, so that a host that starts again says the same in the same order.
``docs/outcomes.md`` has every field.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hawse.keys.messages import MessageKind, split
from hawse.state.slot import Refusal
from hawse.venue import Sealed, SlotDone
from hawse.wire import Kind, Reason, Side
from hawse.wire.dtypes import kinds

Line = dict[str, Any]
_KINDS = {kind.value: kind.name.lower() for kind in MessageKind}


@dataclass(slots=True)
class Order:
    """An order that the engine took, as its owner sees it.

    Attributes:
        seq: sequence number of the command that placed it.
        account, generation, client_id: whose it is, and his own number for it; an index is given again.
        handle: the engine's number for it; given anew once it has ended.
        instrument, side, price: number, 0 buy or 1 sell, ticks.
        quantity, cumulative, remaining: lots asked for, filled so far, and still in the book.
        fee: of all fills, in quanta.
        state: open, filled or cancelled.
        reason: why it was cancelled, as a name of Reason; empty otherwise.
    """

    seq: int
    account: int
    generation: int
    client_id: int
    handle: int
    instrument: int
    side: int
    price: int
    quantity: int
    cumulative: int = 0
    remaining: int = 0
    fee: int = 0
    state: str = "open"
    reason: str = ""

    def told(self) -> Line:
        """What every line about it says."""
        return {
            "account": self.account,
            "generation": self.generation,
            "client_id": self.client_id,
            "instrument": self.instrument,
            "side": Side(self.side).name.lower(),
            "cumulative": self.cumulative,
            "remaining": self.remaining,
        }


class Book:
    """The orders in the engine, and the number of the last trade; goes on slot by slot.

    Args:
        orders: those that are open.
        trades: number of the last trade, 0 before the first.

    Attributes:
        touched: orders that the last slot made or changed.
        trades: number of the last trade.
    """

    def __init__(self, orders: list[Order], trades: int) -> None:
        self._live = {order.handle: order for order in orders}
        self.trades = trades
        self.touched: dict[int, Order] = {}

    def lines(self, done: SlotDone) -> list[Line]:
        """What is to be told of the slot behind the last one that it was asked of."""
        self.touched = {}
        refused = {r.seq: r for r in done.outcome.refusals}
        commands = dict(zip(done.command_seqs, _commands(done), strict=True))
        by_seq = self._reports(done, commands)
        for line in (*_deposits(done, refused), *_requests(done, refused)):
            by_seq[line["seq"]] = [line]
        for seq, command in commands.items():
            if seq in refused:
                by_seq[seq] = [{"seq": seq} | command | {"event": "refused"} | _why(refused[seq])]
            else:
                told_of = _transfer(done, seq)
                by_seq.setdefault(seq, [{"seq": seq} | command | {"event": "accepted"} | told_of])
        told = [line for seq in sorted(by_seq) for line in by_seq[seq]]
        told += [_event(event) for event in done.outcome.events]
        return [{"slot": done.slot.number, "line": n} | line for n, line in enumerate(told)]

    def _reports(self, done: SlotDone, commands: dict[int, Line]) -> dict[int, list[Line]]:
        """The lines behind the engine's reports, by sequence number of the command that caused them."""
        told: dict[int, list[Line]] = {}
        first, fees = done.outcome.first_seq, iter(done.fees)
        burst = zip(kinds(done.burst.events).tolist(), done.burst.events, done.orders.tolist(), strict=True)
        for kind, event, client_id in burst:
            # A record carries the low half of its sequence number.
            seq = first + (int(event["seq"]) - first) % 2**32
            if kind == Kind.REJECTED and seq in done.machine:
                continue  # the machine took back what had ended before
            lines = told.setdefault(seq, [])
            command = {} if lines else commands.get(seq, {})
            why = done.machine.get(seq, event["reason"])
            reason = {"reason": Reason(int(why)).name.lower()} if why else {}
            what = {"seq": seq} | command | {"event": Kind(kind).name.lower()} | reason
            if kind == Kind.TRADE:
                lines += self._trade(what, event, *next(fees))
            else:
                if seq in done.machine_accounts:
                    account, generation = done.machine_accounts[seq]
                    command = {"account": account, "generation": generation, "client_id": client_id}
                lines.append(what | self._other(kind, event, seq, command, reason))
        return told

    def _other(self, kind: int, event: Any, seq: int, command: Line, reason: Line) -> Line:
        """All of a report but a trade: what it did to its order, and how that stands now."""
        handle, price, quantity = (int(event[name]) for name in ("order_id", "price", "quantity"))
        if kind == Kind.REJECTED:
            rejected = self._live.get(handle)
            return {"price": price, "quantity": quantity} | (rejected.told() if rejected else {})
        if kind == Kind.ACK:
            self._live[handle] = Order(
                seq,
                command["account"],
                command["generation"],
                command["client_id"],
                handle,
                int(event["instrument"]),
                int(event["kind"]) >> 4 & 1,
                price,
                quantity,
            )
        order = self._live[handle]
        self.touched[order.seq] = order
        order.remaining = quantity
        if kind == Kind.REPLACED:
            order.price, order.quantity = price, order.cumulative + quantity
        elif kind == Kind.CANCELLED:
            del self._live[handle]
            order.state, order.reason = "cancelled", reason["reason"]
            order.remaining = 0
        return {"price": order.price, "quantity": quantity} | order.told()

    def _trade(self, what: Line, event: Any, taker_fee: int, maker_fee: int) -> Iterator[Line]:
        """One line for each side."""
        self.trades += 1
        price, quantity = int(event["price"]), int(event["quantity"])
        for role, name, fee in (("taker", "order_id", taker_fee), ("maker", "maker_id", maker_fee)):
            order = self._live[int(event[name])]
            self.touched[order.seq] = order
            order.cumulative += quantity
            order.remaining -= quantity
            order.fee += fee
            if not order.remaining:
                order.state = "filled"
                del self._live[order.handle]
            trade = {"trade": self.trades, "role": role, "price": price, "quantity": quantity, "fee": fee}
            yield what | trade | order.told()


def _commands(done: SlotDone) -> Iterator[Line]:
    """What the answer to each message says of the message itself."""
    rows = done.slot.messages
    for head in rows[split(rows).starts]:
        kind = int(head["kind"])
        fields = {field: int(head[field]) for field in ("account", "generation", "client_id", "nonce")}
        yield {"kind": _KINDS.get(kind, str(kind))} | fields


def _deposits(done: SlotDone, refused: dict[int, Refusal]) -> Iterator[Line]:
    first = done.outcome.first_seq + len(done.slot.observations) + len(done.slot.operations)
    for seq, (deposit, credited) in enumerate(zip(done.slot.deposits, done.credited, strict=True), first):
        line: Line = {"seq": seq, "kind": "deposit", "deposit": deposit.index}
        line |= {"owner": "0x" + deposit.owner.hex(), "amount": deposit.amount}
        if credited is not None:
            line |= dict(zip(("account", "generation"), credited, strict=True))
        yield line | ({"event": "refused"} | _why(refused[seq]) if seq in refused else {"event": "accepted"})


def _requests(done: SlotDone, refused: dict[int, Refusal]) -> Iterator[Line]:
    """Forced requests come behind deposits and authorisations."""
    slot = done.slot
    first = done.outcome.first_seq + len(slot.observations) + len(slot.operations) + len(slot.deposits)
    first += len(split(slot.authorisations).starts)
    for seq, request in enumerate(slot.requests, first):
        line: Line = {"seq": seq, "kind": request.kind.name.lower(), "request": request.index}
        line |= {"owner": "0x" + request.owner.hex(), "account": request.account}
        yield line | ({"event": "refused"} | _why(refused[seq]) if seq in refused else {"event": "accepted"})


def _transfer(done: SlotDone, seq: int) -> Line:
    """Where the money of a TRANSFER went."""
    names = ("to_account", "to_generation")
    return dict(zip(names, done.transfers[seq], strict=True)) if seq in done.transfers else {}


def _why(refusal: Refusal) -> Line:
    """Reason, which field or limit of it, and the two numbers behind it."""
    numbers = {name: getattr(refusal, name) for name in ("detail", "have", "need")}
    return {"reason": refusal.reason.name.lower()} | numbers


def _event(event: Any) -> Line:
    names = ("account", "instrument", "first", "second")
    return {"event": event.reason.name.lower()} | {name: getattr(event, name) for name in names}


def batch_lines(sealed: Sealed, transaction: bytes) -> list[Line]:
    """What is to be told of a batch that is anchored: what each owner needs for his claim, then the batch.

    Args:
        sealed: the batch.
        transaction: that anchored it, 32 bytes.
    """
    header, state = sealed.header, sealed.state
    among = {"root": "0x" + header.withdrawals_root.hex(), "first": header.withdrawals_first}
    among |= {"count": header.withdrawals_count, "sum": header.withdrawals_sum}
    told: list[Line] = [
        {
            "event": "withdrawal",
            "withdrawal": withdrawal.id,
            "owner": "0x" + withdrawal.owner.hex(),
            "amount": withdrawal.amount,
            "among": among,
            "proof": [["0x" + node.hash.hex(), *node.sums] for node in proof],
        }
        for withdrawal, proof in zip(state.withdrawals, state.withdrawal_proofs(), strict=True)
    ]
    told.append(
        {
            "event": "anchored",
            "slots": [header.journal_first, header.journal_last],
            "state_root": "0x" + header.state_root.hex(),
            "transaction": "0x" + transaction.hex(),
        }
    )
    return [{"batch": header.number, "line": n} | line for n, line in enumerate(told)]
