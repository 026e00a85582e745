"""The benchmark's C interface on top of the golden engine, straightforwardly: what the libraries must say."""

import numpy as np
from hawse.engine import GoldenBackend, split
from hawse.wire import NULL_HANDLE, Geometry, InstrumentState, Kind, Opcode, Side, TimeInForce
from hawse.wire.dtypes import COMMAND, flags, make
from hawse_sim.flow.benchmark import CANCEL, NEW

REPORT = np.dtype(
    {
        "names": ["type", "side", "sequence_number", "order_id", "price_ticks", "quantity", "maker", "taker"],
        "formats": ["u1", "u1", "<u8", "<u8", "<i8", "<u4", "<u8", "<u8"],
        "offsets": [0, 1, 8, 16, 24, 32, 40, 48],
        "itemsize": 64,
    }
)
ORDER_ACK, TRADE, CANCEL_ACK, MODIFY_ACK, CANCEL_REJECT, MODIFY_REJECT = range(6)
GEOMETRY = Geometry(1, 65536, 65536, 12)
HELLO = make(COMMAND, opcode=Opcode.HELLO)


class Reference:
    def __init__(self):
        self.engine = GoldenBackend(GEOMETRY)
        self.base = 0
        self.handles = {}  # id of a resting order -> handle
        self.ids = {}
        self.resting = {}  # id -> [side, price, quantity], in order of arrival at the price
        self.reports = []
        self.unused = 0
        self.band(0)

    def command(self, **fields):
        beats = self.engine.exchange(np.concatenate([make(COMMAND, **fields), HELLO]))
        return split(beats).records

    def band(self, base):
        self.command(opcode=Opcode.STATE, quantity=InstrumentState.LOADING, token=65536, price=base)
        for i, (side, price, quantity) in self.resting.items():
            order = {"flags": flags(side), "price": price, "quantity": quantity}
            assert len(self.command(opcode=Opcode.LOAD, handle=self.handles[i], **order)) == 0
        self.command(opcode=Opcode.STATE, quantity=InstrumentState.OPEN)
        self.base = base

    def follow(self, price, quantity):
        """Move the band if the price is outside, and it and all resting orders fit one."""
        if self.base <= price < self.base + 65536 or not quantity:
            return
        prices = [p for _, p, _ in self.resting.values()] + [price]
        spare = 65535 - (max(prices) - min(prices))
        if spare >= 0:
            self.band(min(max(min(prices) - spare // 2, -(2**31)), 2**31 - 65536))

    def say(self, type, seq, order_id, side=0, price=0, quantity=0, maker=0, taker=0):
        self.reports.append((type, side, seq, order_id, price, quantity, maker, taker))

    def leave(self, i):
        handle = self.handles.pop(i)
        del self.ids[handle], self.resting[i]

    def __call__(self, message):
        kind, i, seq, price, quantity, side, ioc = message
        if kind == CANCEL:
            handle = self.handles.get(i, NULL_HANDLE)
            record = self.command(opcode=Opcode.CANCEL, handle=handle)[0]
            if record["kind"] & 15 == Kind.REJECTED:
                return self.say(CANCEL_REJECT, seq, i)
            was_side, was_price, was_quantity = self.resting[i]
            assert (record["price"], record["quantity"]) == (was_price, was_quantity)
            self.leave(i)
            return self.say(CANCEL_ACK, seq, i, was_side, was_price, was_quantity)
        fits = -(2**31) <= price < 2**31
        if kind == NEW:
            if i in self.resting or not fits:
                return None
            self.follow(price, quantity)
            while self.unused in self.ids:
                self.unused = (self.unused + 1) % 65536
            handle, tif = self.unused, TimeInForce.IOC if ioc else TimeInForce.GTC
            order = {"flags": flags(side, tif), "price": price, "quantity": quantity}
            records = self.command(opcode=Opcode.NEW, handle=handle, **order)
        else:
            if not fits:
                return self.say(MODIFY_REJECT, seq, i)
            if i in self.resting:
                self.follow(price, quantity)
                side = self.resting[i][0]
            handle = self.handles.get(i, NULL_HANDLE)
            records = self.command(opcode=Opcode.REPLACE, handle=handle, price=price, quantity=quantity)
        if records[0]["kind"] & 15 == Kind.REJECTED:
            return None if kind == NEW else self.say(MODIFY_REJECT, seq, i)
        if kind != NEW:
            self.leave(i)
        self.say(ORDER_ACK if kind == NEW else MODIFY_ACK, seq, i, side, price, quantity)
        left, gone = quantity, False
        for record in records[1:]:
            if record["kind"] & 15 == Kind.TRADE:
                maker = self.ids[int(record["maker"])]
                traded = int(record["quantity"])
                left -= traded
                self.say(TRADE, seq, i, side, int(record["price"]), traded, maker, i)
                self.resting[maker][2] -= traded
                if not self.resting[maker][2]:
                    self.leave(maker)
            else:
                assert int(record["quantity"]) == left and ioc
                self.say(CANCEL_ACK, seq, i, side, price, left)
                gone = True
        if left and not gone:
            self.handles[i], self.ids[handle], self.resting[i] = handle, i, [side, price, left]
        return None

    def best(self, side):
        prices = [p for s, p, _ in self.resting.values() if s == side]
        if side == Side.BUY:
            return max(prices, default=-(2**63))
        return min(prices, default=2**63 - 1)

    def depth(self, price, side):
        return sum(q for s, p, q in self.resting.values() if (s, p) == (side, price))
