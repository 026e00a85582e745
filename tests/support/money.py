"""A venue in the units of the money cases, and a desk for it that is quick: native engine, marks in time."""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from hawse.engine import Engine, SoftBackend
from hawse.instruments import Instrument
from hawse.keys.messages import MessageKind, split
from hawse.state.config import VenueConfig
from hawse.state.ledger import TRANSFER_BITS
from hawse.state.machine import Machine
from hawse.state.slot import RequestKind
from hawse.wire import Geometry, Kind, Opcode

from .desk import OPERATOR, Desk, owner
from .oracle import PPM, Limit, limits, standing

#: Quanta of a dollar, and lots of a bitcoin.
USD = 1_000_000
#: Milliseconds between two marks.
MARK_EVERY = 250
#: Least deposit, and least notional of an order.
DOLLAR, HALF = USD, USD // 2
LEAST_LOTS = 1000


def bitcoin(maker=200, taker=500, number=0, first=0):
    """Tick 1 USD, lot 1e-8 BTC, 5 percent; any price from 65,536 to 98,303."""
    return Instrument(
        number=number,
        name=f"btc-{number}",
        numerator=1,
        denominator=100,
        initial_margin_ppm=50_000,
        maker_fee_ppm=maker,
        taker_fee_ppm=taker,
        first=first,
        count=32768,
        base=65536,
        first_mark=78_000,
        minimum_quantity=LEAST_LOTS,
        minimum_notional=HALF,
    )


#: Units that do not divide, other margin, no maker fee.
ODD = Instrument(
    number=1,
    name="odd",
    numerator=3,
    denominator=7,
    initial_margin_ppm=100_000,
    maker_fee_ppm=0,
    taker_fee_ppm=333,
    first=32768,
    count=1024,
    base=3500,
    first_mark=4000,
    minimum_quantity=1,
    minimum_notional=1,
)


def venue(*instruments, orders=256, tag_bits=5, **changes):
    rules = {
        "geometry": Geometry(2, 65536, orders, tag_bits),
        "operator": OPERATOR,
        "chain_id": 1,
        "contract": bytes(range(20)),
        "minimum_deposit": DOLLAR,
        "order_quota": 32,
        "position_quota": 8,
        "mark_step_ppm": 20_000,
    }
    return VenueConfig(instruments=instruments or (bitcoin(),), **rules | changes)


@dataclass
class Step:
    """What one slot did to every account.

    Attributes:
        moved: a mark changed.
        start: with new marks and deposits, and behind the machine's own doing, before any command.
        held: with all that was admitted, the old and every new of a replaced order among it.
        end: behind clearing.
        fills: of each account.
        fees: that they cost, not rounded.
        paid: what commands withdrew, by account.
    """

    moved: bool
    start: dict
    held: dict
    end: dict = field(default_factory=dict)
    fills: dict = field(default_factory=dict)
    fees: dict = field(default_factory=dict)
    paid: dict = field(default_factory=dict)


class MoneyDesk(Desk):
    """A desk that knows what the oracle says before, within and behind each slot.

    Messages are said to be signed, and not hashed: what stands in the leaves of inputs is not looked at.
    """

    def __init__(self, balances=(), config=None):
        super().__init__(0, config=config or venue())
        self.config = self.machine.config
        self.engine = Engine(SoftBackend(self.config.geometry), recentring=False)
        self.engine.reset(1)
        for i in self.config.instruments:
            self.engine.open(i.number, i.base, first=i.first, count=i.count)
        if balances:
            self.slot(deposits=[(owner(a), amount) for a, amount in enumerate(balances, 1)])

    def row(self, kind, account, by=None, **fields):
        row = super().row(kind, account, by, **fields)
        if "generation" not in fields:
            accounts = self.machine.accounts
            known = account < len(accounts)
            row["generation"] = (
                accounts[account].generation if known else self.machine.deposit_index + 1 << TRANSFER_BITS
            )
        return row

    def replace(self, account, client_id, price, quantity):
        return self.row(MessageKind.REPLACE, account, client_id=client_id, price=price, quantity=quantity)

    def reduce(self, account, client_id, quantity):
        return self.row(MessageKind.REDUCE, account, client_id=client_id, quantity=quantity)

    def cancel(self, account, client_id):
        return self.row(MessageKind.CANCEL, account, client_id=client_id)

    def withdraw(self, account, amount):
        return self.row(MessageKind.WITHDRAW, account, amount=amount)

    def structs(self, slot):
        """They are there, and no more."""
        return [b"\1" * 32] * len(split(slot.messages).starts)

    def open(self, rows=(), *, marks=(), **inputs):
        if marks:
            self.time += MARK_EVERY
        return super().open(rows, marks=marks, **inputs)

    def step(self, rows=(), *, marks=(), deposits=(), requests=(), **inputs):
        """One slot, with what became of every account."""
        machine = self.machine
        before = {n: m.mark for n, m in machine.markets.items()}
        orders = limits(machine)
        withdrawals = len(machine._withdrawals)
        admission = self.open(rows, marks=marks, deposits=deposits, requests=requests, **inputs)
        first = admission.first_seq + len(marks) + len(deposits)
        self.request_seqs = range(first, first + len(requests))
        out = [(w.owner, w.amount) for w in machine._withdrawals[withdrawals:]]
        moved = any(m.mark != before[n] for n, m in machine.markets.items())
        step = Step(moved, {}, {}, paid=self._paid(rows, deposits, requests, out, admission))
        owners = {handle: order.account.index for handle, order in machine.orders.items()}
        held = {index: list(mine) for index, mine in orders.items()}
        sent = (admission.orders[name].tolist() for name in ("opcode", "order_id", "price", "quantity"))
        for opcode, handle, price, quantity in zip(*sent, strict=True):
            if opcode in (Opcode.NEW, Opcode.REPLACE):
                o = machine.orders[handle]
                limit = Limit(o.account.index, o.instrument, o.client_id, o.side, price, quantity)
                held.setdefault(o.account.index, []).append(limit)
        for a in machine.accounts:
            mine, paid = orders.get(a.index, []), step.paid.get(a.index, 0)
            start = step.start[a.index] = standing(machine, a, mine, a.collateral + paid)
            idle = not paid and mine == held.get(a.index, [])
            step.held[a.index] = start if idle else standing(machine, a, held.get(a.index, []))
        burst = self.engine.run(admission.orders)
        assert not burst.refused
        machine.clear_slot(burst.events)
        self.refusals = admission.refusals
        self._count(step, burst.events, owners)
        after = limits(machine)
        for a in machine.accounts:
            mine, start = after.get(a.index, []), step.start[a.index]
            idle = a.index not in step.fills and mine == orders.get(a.index, [])
            same = idle and a.collateral == start.collateral
            step.end[a.index] = start if same else standing(machine, a, mine)
        return step

    def _paid(self, rows, deposits, requests, out, admission):
        """What commands and requests took out of each account, or (negative) into it.

        By the messages, for the machine's own doing changes collateral before clearing, too; of an EXIT, what
        its owner was paid beyond all else that he asked for.
        """
        refused, paid = {refusal.seq for refusal in admission.refusals}, {}
        beyond = Counter()
        for owner_of, amount in out:
            beyond[owner_of] += amount
        for at, (owner_of, amount) in enumerate(deposits, self.request_seqs.start - len(deposits)):
            beyond[owner_of] -= amount * (at in refused)
        for seq, request in zip(self.request_seqs, requests, strict=True):
            if seq not in refused and request.kind == RequestKind.WITHDRAW:
                paid[request.account] = paid.get(request.account, 0) + request.amount
                beyond[request.owner] -= request.amount
        seqs = admission.command_seqs[len(admission.command_seqs) - len(rows) :]
        for row, seq in zip(rows, seqs, strict=True):
            kind, index, amount = (int(row[name][0]) for name in ("kind", "account", "amount"))
            if seq in refused or kind not in (MessageKind.WITHDRAW, MessageKind.TRANSFER):
                continue
            paid[index] = paid.get(index, 0) + amount
            if kind == MessageKind.WITHDRAW:
                beyond[self.machine.accounts[index].owner] -= amount
            if kind == MessageKind.TRANSFER:
                owner_of = self.machine.accounts[index].owner
                to = self.machine.account_of(owner_of, int(row["instrument"][0])).index
                paid[to] = paid.get(to, 0) - amount
        for request in requests:
            if request.kind == RequestKind.EXIT:
                paid[request.account] = paid.get(request.account, 0) + beyond.pop(request.owner, 0)
        assert not any(beyond.values()), f"paid without a request: {beyond}"
        return {index: amount for index, amount in paid.items() if amount}

    def _count(self, step, events, owners):
        for row in events[(events["kind"] & 15) == Kind.TRADE]:
            terms = self.machine.markets[int(row["instrument"])].terms
            value = abs(int(row["price"])) * int(row["quantity"]) * terms.numerator
            for name, rate in (("order_id", terms.taker_fee_ppm), ("maker_id", terms.maker_fee_ppm)):
                index = owners[int(row[name])]
                step.fills[index] = step.fills.get(index, 0) + 1
                fee = Fraction(value * rate, terms.denominator * PPM)
                step.fees[index] = step.fees.get(index, Fraction()) + fee

    def move(self, instrument, to, step=500, **inputs):
        """The mark goes to ``to`` in steps, one a slot."""
        while (mark := self.machine.markets[instrument].mark) != to:
            mark += max(-step, min(step, to - mark))
            self.slot(marks=[(instrument, mark)], **inputs)

    def restart(self):
        """Another machine, from this one's snapshot."""
        self.machine = Machine.restore(self.config, self.machine.snapshot())

    def seal(self):
        """End the batch with a slot of its own, and give the header's fields."""
        self.slot(closes=self.machine.batch)
        return self.machine.seal_batch().header_fields()

    def equity(self, account):
        return self.machine.equity(self.machine.accounts[account])

    def size(self, account, instrument=0):
        position = self.machine.accounts[account].positions.get(instrument)
        return position.size if position else 0
