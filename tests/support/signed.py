"""Slots of signed commands, good and bad: what a host is fed with when its faults are tested."""

import numpy as np
from hawse.keys.eip712 import MEMBERS
from hawse.keys.messages import USER_COMMAND, Request
from hawse.keys.signing import sign
from hawse.keys.store import address_of, derive
from hawse.state.config import VenueConfig
from hawse.state.slot import Deposit, SlotInput
from hawse.wire.dtypes import Array

ACCOUNTS = 6
DEPOSIT = 10**9
KEYS = [derive("signed slots", n) for n in range(ACCOUNTS)]
DEPOSITS = tuple(Deposit(n, address_of(key), DEPOSIT) for n, key in enumerate(KEYS, 1))

_START = 1_777_000_000_000
_REQUESTS = list(Request)
_ODDS = [0.62, 0.12, 0.12, 0.1, 0.04]


class _Users:
    """Their nonces, and the orders that they have asked for."""

    def __init__(self, config: VenueConfig, rng: np.random.Generator) -> None:
        self._config, self._rng = config, rng
        self._nonces = [0] * ACCOUNTS
        self._orders: list[tuple[int, int]] = []
        self._near = min(6, config.geometry.levels // 4)

    def command(self, time: int, marks: dict[int, int], row: Array) -> int:
        """Fill in one command, and say which key is to sign it."""
        rng = self._rng
        request = int(rng.choice(_REQUESTS, p=_ODDS))
        account = int(rng.integers(1, ACCOUNTS + 1))
        order_id = len(self._orders) + 1
        if request == Request.NEW or not self._orders:
            request = Request.NEW
            self._orders.append((account, order_id))
        elif request != Request.WITHDRAW:
            recent = max(0, len(self._orders) - 40)
            account, order_id = self._orders[int(rng.integers(recent, len(self._orders)))]
        instrument = int(rng.choice(list(marks)))
        price = marks[instrument] + int(rng.integers(-self._near, self._near + 1))
        values = {
            "account": account,
            "order_id": order_id,
            "instrument": instrument,
            "side": int(rng.integers(2)),
            "time_in_force": int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])),
            "self_trade": int(rng.integers(3)),
            "price": price,
            "quantity": int(rng.integers(1, 2000)),
            "amount": int(rng.integers(1, 10**6)),
            "expiry": 0 if rng.random() < 0.5 else time + int(rng.integers(0, 1000)),
            "nonce": self._nonces[account - 1] + 1,
        }
        mistake = int(rng.integers(120))
        if mistake == 0:
            values["nonce"] -= 1
        elif mistake == 1:
            values["expiry"] = time - 1
        elif mistake == 2:
            values["account"] = ACCOUNTS + 3
        elif mistake == 3:
            values["quantity"] = int(rng.choice([0, 2**32 - 1]))
        elif mistake == 4:
            values["price"] = int(rng.choice([-(2**31), 2**31 - 1]))
        elif mistake == 5:
            values["instrument"] = 7
        row["request"] = request
        for name in MEMBERS[Request(request)]:
            row[name] = values[name]
        if mistake == 6:
            return account % ACCOUNTS  # somebody else's key
        if values["account"] == account:
            self._nonces[account - 1] = max(self._nonces[account - 1], values["nonce"])
        return account - 1


def signed_slots(
    config: VenueConfig, seed: int, count: int, size: int = 12, batch: int = 4
) -> list[SlotInput]:
    """``count`` slots, a function of the arguments alone, so that a run can be taken up again.

    A few accounts trade with each other around moving marks, withdraw, and now and then err: wrong
    signatures, used nonces, unknown accounts, prices outside the band. :data:`DEPOSITS` come in within the
    first slots, half of them in the very first.

    Args:
        config: of the venue; the signatures are good for its chain and contract.
        seed: of numpy's PCG64.
        count: slots; the last closes a batch.
        size: most commands of a slot.
        batch: slots of a batch.
    """
    rng = np.random.default_rng(seed)
    users = _Users(config, rng)
    marks = {i.number: i.first_mark for i in config.instruments}
    slots: list[SlotInput] = []
    time, closed, half = _START, 0, ACCOUNTS // 2
    for number in range(count):
        time += int(rng.integers(0, 500))
        moved = tuple((n, m + int(rng.integers(-2, 3))) for n, m in marks.items() if rng.random() < 0.3)
        marks |= dict(moved)
        deposits = DEPOSITS[:half] if number == 0 else DEPOSITS[half + number - 1 : half + number]
        commands = np.zeros(int(rng.integers(0, size + 1)), USER_COMMAND)
        signers = [KEYS[users.command(time, marks, commands[n : n + 1])] for n in range(len(commands))]
        sign(commands, config.domain, signers)
        closes = None
        if number % batch == batch - 1 or number == count - 1:
            closed += 1
            closes = closed
        slots.append(SlotInput(number, time, moved, deposits, commands, closes))
    return slots
