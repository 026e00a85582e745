"""Slots of signed commands, good and bad: what a host is fed with when its faults are tested."""

import numpy as np
from hawse.keys.members import MEMBERS
from hawse.keys.messages import MESSAGE, MessageKind
from hawse.keys.signing import sign
from hawse.keys.store import address_of, derive
from hawse.state.admission import CARRIED
from hawse.state.config import VenueConfig
from hawse.state.ledger import TRANSFER_BITS
from hawse.state.slot import Deposit, SlotInput
from hawse.venue import interim_mark
from hawse.wire.dtypes import Array

ACCOUNTS = 6
DEPOSIT = 10**9
KEYS = [derive("signed slots", n) for n in range(ACCOUNTS)]
DEPOSITS = tuple(Deposit(n, address_of(key), DEPOSIT) for n, key in enumerate(KEYS, 1))
#: Signs marks; a venue's configuration names its address.
OPERATOR_KEY = derive("operator of signed slots", 0)
OPERATOR = address_of(OPERATOR_KEY)

_START = 1_777_000_000_000
#: Of each kind that is carried out: ORDER, CANCEL, REPLACE, REDUCE, WITHDRAW.
_ODDS = [0.62, 0.12, 0.12, 0.1, 0.04]


class _Users:
    """Their nonces, and the orders that they have asked for."""

    def __init__(self, config: VenueConfig, rng: np.random.Generator) -> None:
        self._rng = rng
        self._nonces = [0] * ACCOUNTS
        self._orders: list[tuple[int, int]] = []
        self._near = min(6, *(i.count // 4 for i in config.instruments))

    def command(self, time: int, marks: dict[int, int], row: Array) -> int:
        """Fill in one command, and say which key is to sign it."""
        rng = self._rng
        kind = MessageKind(int(rng.choice(CARRIED, p=_ODDS)))
        account = int(rng.integers(1, ACCOUNTS + 1))
        client_id = len(self._orders) + 1
        if kind is MessageKind.ORDER or not self._orders:
            kind = MessageKind.ORDER
            self._orders.append((account, client_id))
        elif kind is not MessageKind.WITHDRAW:
            recent = max(0, len(self._orders) - 40)
            account, client_id = self._orders[int(rng.integers(recent, len(self._orders)))]
        instrument = int(rng.choice(list(marks)))
        values = {
            "account": account,
            "generation": account << TRANSFER_BITS,
            "client_id": client_id,
            "instrument": instrument,
            "side": int(rng.integers(2)),
            "time_in_force": int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])),
            "mode": int(rng.integers(3)),
            "price": marks[instrument] + int(rng.integers(-self._near, self._near + 1)),
            "quantity": int(rng.integers(1, 2000)),
            "amount": int(rng.integers(1, 10**6)),
            "expiry": time + int(rng.integers(0, 1000)),
            "nonce": self._nonces[account - 1] + 1,
        }
        mistake = int(rng.integers(120))
        values |= self._mistake(mistake, values, time)
        row["kind"] = kind
        for column in {member.column for member in MEMBERS[kind]}:
            row[column] = values[column]
        if mistake == 6:
            return account % ACCOUNTS  # somebody else's key
        if values["account"] == account and values["nonce"] < time:
            self._nonces[account - 1] = max(self._nonces[account - 1], values["nonce"])
        return account - 1

    def _mistake(self, which: int, values: dict[str, int], time: int) -> dict[str, int]:
        """What is wrong with a command in which a user errs."""
        rng = self._rng
        return {
            0: {"nonce": values["nonce"] - 1},
            1: {"expiry": time - 1},
            2: {"account": ACCOUNTS + 3},
            3: {"quantity": int(rng.choice([0, 2**32 - 1]))},
            4: {"price": int(rng.choice([-(2**31), 2**31 - 1]))},
            5: {"instrument": 7},
            7: {"nonce": 2**64 - 1},
            8: {"generation": values["generation"] + 1},
            9: {"client_id": 1},
        }.get(which, {})


def signed_slots(
    config: VenueConfig, seed: int, count: int, size: int = 12, batch: int = 4
) -> list[SlotInput]:
    """``count`` slots, a function of the arguments alone, so that a run can be taken up again.

    A few accounts trade with each other around moving marks, withdraw, and now and then err: wrong
    signatures, used nonces, unknown accounts, prices outside the band. :data:`DEPOSITS` come in within the
    first slots, half of them in the very first.

    Args:
        config: of the venue, whose operator is :data:`OPERATOR`; the signatures are good for its chain and
            contract.
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
        commands = np.zeros(int(rng.integers(0, size + 1)), MESSAGE)
        signers = [KEYS[users.command(time, marks, commands[n : n + 1])] for n in range(len(commands))]
        sign(commands, config.domain, signers)
        closes = None
        if number % batch == batch - 1 or number == count - 1:
            closed += 1
            closes = closed
        operations = tuple(interim_mark(config.domain, OPERATOR_KEY, number, *mark) for mark in moved)
        slots.append(
            SlotInput(
                number, time, closes=closes, operations=operations, deposits=deposits, commands=commands
            )
        )
    return slots
