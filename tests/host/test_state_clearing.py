"""Clearing believes no report that contradicts the host's own orders. Events are made by hand."""

import numpy as np
import pytest
from hawse.keys.messages import USER_COMMAND, Request
from hawse.state.clearing import ClearingError
from hawse.state.config import Instrument, VenueConfig
from hawse.state.machine import Machine, StateError
from hawse.state.slot import Deposit, SlotInput
from hawse.wire import NULL_HANDLE, Geometry, Kind, Reason, SelfTrade, Side, TimeInForce
from hawse.wire.dtypes import EVENT

CONFIG = VenueConfig((Instrument(0, "perp", 1, 100, 50_000, 200, 500, 1000, 1500),), Geometry(), 1, bytes(20))
SELL, DONE = 1 << 4, 1 << 5


def event(kind, seq, order_id, handle, price=0, quantity=0, **more):
    row = np.zeros(1, EVENT)
    fields = {"kind": kind, "seq": seq, "order_id": order_id, "handle": handle, "price": price}
    for name, value in (fields | {"quantity": quantity} | more).items():
        row[name] = value
    return row


def command(request, account, nonce, order_id, **fields):
    row = np.zeros(1, USER_COMMAND)
    fields = {"request": request, "account": account, "nonce": nonce, "order_id": order_id} | fields
    for name, value in fields.items():
        row[name] = value
    return row


class Hand:
    """A machine in which order 1 (account 1, buy 10 at 1500, handle 0) rests."""

    def __init__(self):
        self.machine = Machine(CONFIG)
        self.nonce = 0
        self.deposits = tuple(Deposit(i, bytes([i]) * 20, 10**9) for i in (1, 2))
        self.run(
            [(Request.NEW, 1, 1, {"side": Side.BUY, "price": 1500, "quantity": 10})],
            [event(Kind.ACK, 1, 1, 0, 1500, 10)],
        )

    def run(self, commands, events):
        rows = []
        for request, account, order_id, fields in commands:
            self.nonce += 1
            rows.append(command(request, account, self.nonce, order_id, **fields))
        number = self.machine.next_slot
        slot = SlotInput(number, number, (), self.deposits, np.concatenate(rows), None)
        self.deposits = ()
        assert not self.machine.open_slot(slot, [True] * len(rows)).refusals
        self.machine.clear_slot(np.concatenate(events))


def sell(quantity=10, order_id=2, account=2, **fields):
    fields = {"side": Side.SELL, "price": 1500, "quantity": quantity} | fields
    return (Request.NEW, account, order_id, fields)


ACK = event(Kind.ACK | SELL, 2, 2, 1, 1500, 10)


def trade(quantity=10, kind=Kind.TRADE | SELL | DONE, **more):
    fields = {"seq": 2, "order_id": 2, "handle": 1, "price": 1500, "maker": 0, "maker_id": 1} | more
    return event(kind, quantity=quantity, **fields)


def cancelled(quantity=10, reason=Reason.SELF, order_id=2, handle=1):
    return event(Kind.CANCELLED, 2, order_id, handle, 1500, quantity, reason=reason)


def test_what_fits_is_applied():
    hand = Hand()
    hand.run([sell(12)], [event(Kind.ACK, 2, 2, 1, 1500, 12), trade()])
    assert hand.machine.accounts[0].positions[0].size == 10
    assert hand.machine.orders[2].remaining == 2 and hand.machine.orders[2].queue == 2


def test_an_order_that_never_rested_is_no_maker():
    hand = Hand()
    both = [sell(5), sell(5, order_id=3, time_in_force=TimeInForce.IOC)]
    events = [
        event(Kind.ACK, 2, 2, 1, 1500, 5),
        trade(5, Kind.TRADE | SELL),
        event(Kind.ACK, 3, 3, 2, 1500, 5),
        trade(5, seq=3, order_id=3, handle=2),
    ]
    hand.run(both, events)
    assert hand.machine.orders == {} and hand.machine.accounts[1].positions[0].size == -10


IOC, FOK, POST = ({"time_in_force": t} for t in (TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY))
OLDEST = {"self_trade": SelfTrade.CANCEL_OLDEST}


@pytest.mark.parametrize(
    ("order", "events"),
    [
        (sell(), []),
        (sell(), [trade()]),
        (sell(), [event(Kind.ACK, 3, 2, 1, 1500, 10)]),
        (sell(), [event(Kind.ACK, 2, 2, 1, 1500, 10), event(Kind.ACK, 9, 2, 1, 1500, 10)]),
        (sell(), [event(Kind.ACK, 2, 2, 2, 1500, 10)]),
        (sell(), [event(Kind.ACK, 2, 9, 1, 1500, 10)]),
        (sell(), [event(Kind.ACK, 2, 2, 1, 1501, 10)]),
        (sell(), [event(Kind.ACK, 2, 2, 1, 1500, 9)]),
        (sell(), [event(Kind.ACK, 2, 2, 1, 1500, 10, instrument=1)]),
        (sell(), [event(Kind.REPLACED, 2, 2, 1, 1500, 10)]),
        (sell(), [event(Kind.FENCE, 2, 2, 1, 1500, 10)]),
        (sell(0), [event(Kind.ACK, 2, 2, 1, 1500, 0)]),
        (sell(), [event(Kind.REJECTED, 2, 2, 1), ACK]),
        (sell(), [ACK, ACK]),
        (sell(), [ACK, trade(11)]),
        (sell(), [ACK, trade(0)]),
        (sell(), [ACK, trade(5)]),
        (sell(), [ACK, trade(10, Kind.TRADE | SELL)]),
        (sell(), [ACK, trade(10, Kind.TRADE | DONE)]),
        (sell(), [ACK, trade(maker_id=7)]),
        (sell(), [ACK, trade(maker_id=2)]),
        (sell(), [ACK, trade(maker=3)]),
        (sell(), [ACK, trade(handle=0)]),
        (sell(), [ACK, trade(order_id=1)]),
        (sell(), [ACK, trade(price=1501)]),
        (sell(), [ACK, trade(instrument=1)]),
        (sell(), [ACK, trade(), trade()]),
        (sell(price=1501), [event(Kind.ACK, 2, 2, 1, 1501, 10), trade()]),
        (sell(side=Side.BUY), [ACK, trade(kind=Kind.TRADE | DONE)]),
        (sell(account=1), [ACK, trade()]),
        (sell(**POST), [ACK, trade()]),
        (sell(**IOC), [ACK]),
        (sell(**FOK), [ACK]),
        (sell(12, **FOK), [event(Kind.ACK, 2, 2, 1, 1500, 12), trade(), cancelled(2, Reason.FOK)]),
        (sell(), [ACK, cancelled(10, Reason.IOC)]),
        (sell(**IOC), [ACK, cancelled(9, Reason.IOC)]),
        (sell(**IOC), [ACK, cancelled(10, Reason.IOC), trade()]),
        (sell(**IOC), [ACK, cancelled(10, Reason.IOC, handle=0)]),
        (sell(account=1, **OLDEST), [ACK, cancelled(10)]),
        (sell(account=1), [ACK, cancelled(10, order_id=1, handle=0)]),
        (sell(account=2, **OLDEST), [ACK, cancelled(10, order_id=1, handle=0)]),
        (sell(account=1, **OLDEST), [ACK, cancelled(9, order_id=1, handle=0)]),
        (sell(account=1, **OLDEST), [ACK, cancelled(10, order_id=1, handle=1)]),
        (sell(account=1, **OLDEST), [ACK, cancelled(10, Reason.USER, order_id=1, handle=0)]),
        (sell(account=1, side=Side.BUY, **OLDEST), [ACK, cancelled(10, order_id=1, handle=0)]),
    ],
)
def test_a_new_order_s_reports(order, events):
    refuse(order, events)


def refuse(order, events):
    hand = Hand()
    with pytest.raises(ClearingError):
        hand.run([order], events or [np.zeros(0, EVENT)])
    with pytest.raises(StateError, match="broken off"):
        hand.machine.state_root()


CANCEL = (Request.CANCEL, 1, 1, {})
REDUCE = (Request.REDUCE, 1, 1, {"quantity": 4})
REPLACE = (Request.REPLACE, 1, 1, {"quantity": 20, "price": 1490})
NOBODY = (Request.CANCEL, 1, 5, {})


@pytest.mark.parametrize(
    ("order", "events"),
    [
        (CANCEL, [event(Kind.CANCELLED, 2, 1, 0, 1500, 9, reason=Reason.USER)]),
        (CANCEL, [event(Kind.CANCELLED, 2, 1, 0, 1500, 10, reason=Reason.MASS)]),
        (CANCEL, [event(Kind.CANCELLED, 2, 1, 1, 1500, 10, reason=Reason.USER)]),
        (CANCEL, [event(Kind.CANCELLED, 2, 1, 0, 1500, 10, reason=Reason.USER)] * 2),
        (CANCEL, [event(Kind.REJECTED, 2, 1, 0, reason=Reason.NOT_RESTING)]),
        (CANCEL, [event(Kind.ACK, 2, 1, 0, 1500, 10)]),
        (REDUCE, [event(Kind.REPLACED, 2, 1, 0, 1500, 5)]),
        (REDUCE, [event(Kind.REPLACED, 2, 1, 0, 1499, 4)]),
        (REDUCE, [event(Kind.REPLACED, 2, 1, 0, 1500, 4), trade()]),
        ((Request.REDUCE, 1, 1, {"quantity": 10}), [event(Kind.REPLACED, 2, 1, 0, 1500, 10)]),
        ((Request.REDUCE, 1, 1, {"quantity": 0}), [event(Kind.REPLACED, 2, 1, 0, 1500, 0)]),
        (REPLACE, [event(Kind.REPLACED, 2, 1, 0, 1490, 19)]),
        (REPLACE, [event(Kind.REPLACED, 2, 1, 0, 1500, 20)]),
        (REPLACE, [event(Kind.ACK, 2, 1, 0, 1490, 20)]),
        (NOBODY, [event(Kind.CANCELLED, 2, 5, 0, 1500, 10, reason=Reason.USER)]),
        (NOBODY, [event(Kind.REJECTED, 2, 1, 0, reason=Reason.NOT_RESTING)]),
    ],
)
def test_reports_on_a_resting_order(order, events):
    refuse(order, events)


def test_a_replace_takes_a_new_place_and_price():
    hand = Hand()
    hand.run([REPLACE], [event(Kind.REPLACED, 2, 1, 0, 1490, 20)])
    order = hand.machine.orders[1]
    assert (order.price, order.remaining, order.queue, order.handle) == (1490, 20, 2, 0)
    # 1490 is below the mark of 1500, at which margin (5 %) and fee are held: 300 quanta of notional.
    assert order.reserved == 15 + 1 == hand.machine.accounts[0].reserved


def test_a_rejected_replace_leaves_all_as_it_was():
    hand = Hand()
    root, held = hand.machine.resting_orders(), hand.machine.accounts[0].reserved
    hand.run([REPLACE], [event(Kind.REJECTED, 2, 1, 0, reason=Reason.PRICE)])
    assert (hand.machine.resting_orders() == root).all()
    assert hand.machine.accounts[0].reserved == held == hand.machine.orders[1].peak


def test_a_sequence_of_commands_on_one_order_is_followed():
    hand = Hand()
    hand.run(
        [REDUCE, CANCEL, CANCEL, NOBODY],
        [
            event(Kind.REPLACED, 2, 1, 0, 1500, 4),
            event(Kind.CANCELLED, 3, 1, 0, 1500, 4, reason=Reason.USER),
            event(Kind.REJECTED, 4, 1, NULL_HANDLE, reason=Reason.NOT_RESTING),
            event(Kind.REJECTED, 5, 5, NULL_HANDLE, reason=Reason.NOT_RESTING),
        ],
    )
    assert hand.machine.orders == {} and hand.machine.accounts[0].reserved == 0
