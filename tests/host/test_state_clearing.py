"""Clearing believes no report that contradicts the host's own orders. Events are made by hand."""

import numpy as np
import pytest
from hawse.keys.eip712 import struct_hashes
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.state.clearing import ClearingError
from hawse.state.inputs import StateError
from hawse.state.ledger import TRANSFER_BITS
from hawse.state.machine import Machine
from hawse.state.outcomes import Signers
from hawse.state.slot import Deposit, SlotInput
from hawse.wire import NULL_HANDLE, Kind, Reason, SelfTrade, Side, TimeInForce
from hawse.wire.dtypes import EVENT
from support.desk import CONFIG, owner

SELL, DONE = 1 << 4, 1 << 5


def event(kind, seq, client_id, handle, price=0, quantity=0, **more):
    """A report on the ``seq``-th command; client id *n* has handle *n* - 1, and so has ``maker_id``."""
    row = np.zeros(1, EVENT)
    fields = {"kind": kind, "seq": seq + len(DEPOSITS), "order_id": client_id - 1, "handle": handle}
    if "maker_id" in more:
        more["maker_id"] -= 1
    for name, value in (fields | {"price": price, "quantity": quantity} | more).items():
        row[name] = value
    return row


DEPOSITS = tuple(Deposit(i, owner(i), 10**9) for i in (1, 2))


def command(kind, account, nonce, client_id, **fields):
    row = np.zeros(1, MESSAGE)
    who = {"kind": kind, "account": account, "generation": account << TRANSFER_BITS, "client_id": client_id}
    for name, value in (who | {"nonce": nonce, "expiry": 1000} | fields).items():
        row[name] = value
    return row


class Hand:
    """A machine in which order 1 (account 1, buy 10 at 1500, handle 0) rests."""

    def __init__(self):
        self.machine = Machine(CONFIG)
        self.nonce = 0
        self.deposits = DEPOSITS
        self.run(
            [(MessageKind.ORDER, 1, 1, {"side": Side.BUY, "price": 1500, "quantity": 10})],
            [event(Kind.ACK, 1, 1, 0, 1500, 10)],
        )

    def run(self, commands, events):
        rows = []
        for kind, account, client_id, fields in commands:
            self.nonce += 1
            rows.append(command(kind, account, self.nonce, client_id, **fields))
        number, rows = self.machine.next_slot, np.concatenate(rows)
        slot = SlotInput(number, number, deposits=self.deposits, commands=rows)
        self.deposits = ()
        signers = Signers([], [owner(a) for a in rows["account"].tolist()], struct_hashes(rows))
        assert not self.machine.open_slot(slot, signers).refusals
        self.machine.clear_slot(np.concatenate(events))

    def order(self, client_id):
        return self.machine.orders[client_id - 1]


def held(hand):
    account = hand.machine.accounts[1]
    return account.collateral - hand.machine.free_collateral(account)


def sell(quantity=10, client_id=2, account=2, **fields):
    fields = {"side": Side.SELL, "price": 1500, "quantity": quantity} | fields
    return (MessageKind.ORDER, account, client_id, fields)


ACK = event(Kind.ACK | SELL, 2, 2, 1, 1500, 10)


def trade(quantity=10, kind=Kind.TRADE | SELL | DONE, **more):
    fields = {"seq": 2, "client_id": 2, "handle": 1, "price": 1500, "maker": 0, "maker_id": 1} | more
    return event(kind, quantity=quantity, **fields)


def cancelled(quantity=10, reason=Reason.SELF, client_id=2, handle=1):
    return event(Kind.CANCELLED, 2, client_id, handle, 1500, quantity, reason=reason)


def test_what_fits_is_applied():
    hand = Hand()
    hand.run([sell(12)], [event(Kind.ACK, 2, 2, 1, 1500, 12), trade()])
    assert hand.machine.accounts[1].positions[0].size == 10
    assert hand.order(2).remaining == 2 and hand.order(2).queue == 4


def test_an_order_that_never_rested_is_no_maker():
    hand = Hand()
    both = [sell(5), sell(5, client_id=3, time_in_force=TimeInForce.IOC)]
    events = [
        event(Kind.ACK, 2, 2, 1, 1500, 5),
        trade(5, Kind.TRADE | SELL),
        event(Kind.ACK, 3, 3, 2, 1500, 5),
        trade(5, seq=3, client_id=3, handle=2),
    ]
    hand.run(both, events)
    assert hand.machine.orders == {} and hand.machine.accounts[2].positions[0].size == -10


IOC, FOK, POST = ({"time_in_force": t} for t in (TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY))
OLDEST = {"mode": SelfTrade.CANCEL_OLDEST}


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
        (sell(price=999), [event(Kind.ACK, 2, 2, 1, 999, 10)]),
        (sell(price=2024), [event(Kind.ACK, 2, 2, 1, 2024, 10)]),
        (sell(), [event(Kind.FENCE, 2, 2, 1, 1500, 10)]),
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
        (sell(), [ACK, trade(client_id=1)]),
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
        (sell(account=1), [ACK, cancelled(10, client_id=1, handle=0)]),
        (sell(account=2, **OLDEST), [ACK, cancelled(10, client_id=1, handle=0)]),
        (sell(account=1, **OLDEST), [ACK, cancelled(9, client_id=1, handle=0)]),
        (sell(account=1, **OLDEST), [ACK, cancelled(10, client_id=1, handle=1)]),
        (sell(account=1, **OLDEST), [ACK, cancelled(10, Reason.COMMAND, client_id=1, handle=0)]),
        (sell(account=1, side=Side.BUY, **OLDEST), [ACK, cancelled(10, client_id=1, handle=0)]),
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


CANCEL = (MessageKind.CANCEL, 1, 1, {})
REDUCE = (MessageKind.REDUCE, 1, 1, {"quantity": 4})
REPLACE = (MessageKind.REPLACE, 1, 1, {"quantity": 20, "price": 1490})


@pytest.mark.parametrize(
    ("order", "events"),
    [
        (CANCEL, [event(Kind.CANCELLED, 2, 1, 0, 1500, 9, reason=Reason.COMMAND)]),
        (CANCEL, [event(Kind.CANCELLED, 2, 1, 0, 1500, 10, reason=Reason.MASS)]),
        (CANCEL, [event(Kind.CANCELLED, 2, 1, 1, 1500, 10, reason=Reason.COMMAND)]),
        (CANCEL, [event(Kind.CANCELLED, 2, 1, 0, 1500, 10, reason=Reason.COMMAND)] * 2),
        (CANCEL, [event(Kind.REJECTED, 2, 1, 0, reason=Reason.NOT_RESTING)]),
        (CANCEL, [event(Kind.ACK, 2, 1, 0, 1500, 10)]),
        (REDUCE, [event(Kind.REPLACED, 2, 1, 0, 1500, 5)]),
        (REDUCE, [event(Kind.REPLACED, 2, 1, 0, 1499, 4)]),
        (REDUCE, [event(Kind.REPLACED, 2, 1, 0, 1500, 4), trade()]),
        ((MessageKind.REDUCE, 1, 1, {"quantity": 10}), [event(Kind.REPLACED, 2, 1, 0, 1500, 10)]),
        (REPLACE, [event(Kind.REPLACED, 2, 1, 0, 1490, 19)]),
        (REPLACE, [event(Kind.REPLACED, 2, 1, 0, 1500, 20)]),
        (REPLACE, [event(Kind.ACK, 2, 1, 0, 1490, 20)]),
        ((*REPLACE[:3], {"quantity": 20, "price": 2024}), [event(Kind.REPLACED, 2, 1, 0, 2024, 20)]),
    ],
)
def test_reports_on_a_resting_order(order, events):
    refuse(order, events)


def test_a_replace_takes_a_new_place_and_price():
    hand = Hand()
    hand.run([REPLACE], [event(Kind.REPLACED, 2, 1, 0, 1490, 20)])
    order = hand.order(1)
    assert (order.price, order.remaining, order.queue, order.handle) == (1490, 20, 4, 0)
    # 1490 is below the mark of 1500, at which margin (5 %) and fee are held: 300 quanta of notional.
    assert held(hand) == 15 + 1


def test_a_rejected_replace_leaves_all_as_it_was():
    hand = Hand()
    root, before = hand.machine.resting_orders(), held(hand)
    hand.run([REPLACE], [event(Kind.REJECTED, 2, 1, 0, reason=Reason.PRICE)])
    assert (hand.machine.resting_orders() == root).all()
    assert held(hand) == before and hand.order(1).peak == hand.order(1).remaining


def test_a_sequence_of_commands_on_one_order_is_followed():
    hand = Hand()
    hand.run(
        [REDUCE, CANCEL, CANCEL],
        [
            event(Kind.REPLACED, 2, 1, 0, 1500, 4),
            event(Kind.CANCELLED, 3, 1, 0, 1500, 4, reason=Reason.COMMAND),
            event(Kind.REJECTED, 4, 1, NULL_HANDLE, reason=Reason.NOT_RESTING),
        ],
    )
    assert hand.machine.orders == {} and not hand.machine.accounts[1].open
