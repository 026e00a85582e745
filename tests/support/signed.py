"""Slots of signed commands, good and bad: what a host is fed with when its faults are tested."""

import struct

import numpy as np
from hawse.keys import structs
from hawse.keys.members import MEMBERS
from hawse.keys.messages import MESSAGE, REDUCE_ONLY, WIDE, MessageKind, split
from hawse.keys.signing import sign, sign_digest
from hawse.keys.store import address_of, derive
from hawse.state.config import VenueConfig
from hawse.state.inputs import MARK_INTERVAL
from hawse.state.slot import Cut, Deposit, Operation, OperationKind, SlotInput
from hawse.wire.dtypes import Array

ACCOUNTS = 6
DEPOSIT = 10**9
KEYS = [derive("signed slots", n) for n in range(ACCOUNTS)]
#: Who signs the marks; a venue's configuration names its address as operator.
OPERATOR = derive("operator of signed slots", 0)
#: The n-th opens account n.
DEPOSITS = tuple(Deposit(n, address_of(key), DEPOSIT) for n, key in enumerate(KEYS, 1))

#: Time of the first slot, milliseconds since 1970; a chain that anchors the slots begins there.
START = 1_777_000_000_000
_DAY = 86_400_000
_MARK = struct.Struct(">Hq")
_USUAL = (
    MessageKind.ORDER,
    MessageKind.CANCEL,
    MessageKind.REPLACE,
    MessageKind.REDUCE,
    MessageKind.WITHDRAW,
)
_ODDS = [0.62, 0.12, 0.12, 0.1, 0.04]
_OTHERS = [kind for kind in MessageKind if kind not in _USUAL]


def generation(account: int) -> int:
    """The generation of an account that one of :data:`DEPOSITS` has opened."""
    return account << 24


def operation(config: VenueConfig, slot: int, kind: OperationKind, body: bytes, key: bytes) -> Operation:
    """An operator's input, good for that slot."""
    digest = config.domain.digest(structs.operation(slot, kind, body))
    return Operation(kind, body, sign_digest(digest, key))


def mark(config: VenueConfig, slot: int, instrument: int, ticks: int, key: bytes = OPERATOR) -> Operation:
    """An INTERIM_MARK, signed."""
    return operation(config, slot, OperationKind.INTERIM_MARK, _MARK.pack(instrument, ticks), key)


class _Users:
    """Their nonces, and the orders that they have asked for."""

    def __init__(self, config: VenueConfig, rng: np.random.Generator) -> None:
        self._config, self._rng = config, rng
        self._nonces = [0] * ACCOUNTS
        self._orders: list[tuple[int, int]] = []

    def commands(self, count: int, time: int, marks: dict[int, int]) -> Array:
        """So many signed messages."""
        found = [self._message(time, marks) for _ in range(count)]
        rows = np.concatenate([np.zeros(0, MESSAGE), *(rows for rows, _, _ in found)])
        sign(rows, self._config.domain, [KEYS[signer] for _, signer, _ in found])
        for at, (_, _, mistake) in zip(split(rows).starts, found, strict=True):
            if mistake == 14:
                rows["signature"][at, int(self._rng.integers(64))] ^= 1 << int(self._rng.integers(8))
            elif mistake == 15:
                rows["time_in_force"][at] = 4
        return rows

    def _message(self, time: int, marks: dict[int, int]) -> tuple[Array, int, int]:
        """One message, which key is to sign it, and what is wrong with it, if anything."""
        rng = self._rng
        kind = MessageKind(int(rng.choice(_USUAL, p=_ODDS)))
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
            "generation": generation(account),
            "nonce": max(time, self._nonces[account - 1] + 1),
            "expiry": time + int(rng.integers(0, 1000)),
            "client_id": client_id,
            "instrument": instrument,
            "side": int(rng.integers(2)),
            "time_in_force": int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])),
            "mode": int(rng.integers(3)),
            "price": marks[instrument] + int(rng.integers(-6, 7)),
            "quantity": int(rng.integers(1, 2000)),
            "amount": int(rng.integers(1, 10**6)),
        }
        mistake = int(rng.integers(200))
        kind = self._err(mistake, kind, time, values)
        rows = np.zeros(1 + (kind in WIDE), MESSAGE)
        rows["kind"][0] = kind
        for column in {m.column for m in MEMBERS[kind] if not m.body} & values.keys():
            rows[column][0] = values[column]
        signer = account % ACCOUNTS if mistake == 13 else account - 1
        spoilt = mistake in (13, 14, 15)
        if values["account"] == account and not spoilt and values["nonce"] < time + _DAY:
            self._nonces[account - 1] = max(self._nonces[account - 1], values["nonce"])
        return rows, signer, mistake

    def _err(self, mistake: int, kind: MessageKind, time: int, values: dict[str, int]) -> MessageKind:
        """Now and then, something that is signed and yet wrong."""
        rng, last = self._rng, self._nonces[values["account"] - 1]
        match mistake:
            case 0:
                values["nonce"] = last
            case 1:
                values["nonce"] = max(0, last - int(rng.integers(100_000)))
            case 2:
                values["nonce"] = time + _DAY + 1
            case 3:
                values["expiry"] = int(rng.choice([0, time - 1]))
            case 4:
                values["account"] = int(rng.choice([0, ACCOUNTS + 3, 2**32 - 1]))
            case 5:
                values["generation"] += int(rng.choice([1, 1 << 24]))
            case 6:
                values["quantity"] = int(rng.choice([0, 2**32 - 1]))
            case 7:
                values["price"] = int(rng.choice([-(2**31), 2**31 - 1]))
            case 8:
                values["instrument"] = 7
            case 9:
                values["client_id"] = int(rng.choice([0, 1, len(self._orders) + 1000]))
            case 10:
                values["mode"] += REDUCE_ONLY
            case 11:
                values["amount"] = (0, DEPOSIT * 10, 2**64 - 1)[int(rng.integers(3))]
            case 12:
                values |= {"mode": 1, "side": 1, "amount": 5}
                return MessageKind(int(rng.choice(_OTHERS)))
        return kind


def signed_slots(
    config: VenueConfig, seed: int, count: int, size: int = 12, batch: int = 4, operator: bytes = OPERATOR
) -> list[SlotInput]:
    """``count`` slots, a function of the arguments alone, so that a run can be taken up again.

    A few accounts trade with each other around moving marks, withdraw, and now and then err: wrong
    signatures, used nonces, unknown accounts, prices outside the band, kinds that are not carried out.
    :data:`DEPOSITS` come in within the first slots, half of them in the very first.

    Args:
        config: of the venue; the signatures are good for its chain and contract.
        seed: of numpy's PCG64.
        count: slots; the last closes a batch.
        size: most commands of a slot.
        batch: slots of a batch.
        operator: private key that signs the marks.
    """
    rng = np.random.default_rng(seed)
    users = _Users(config, rng)
    marks = {i.number: i.first_mark for i in config.instruments}
    moved_at = dict.fromkeys(marks, 0)
    slots: list[SlotInput] = []
    time, closed, half = START, 0, ACCOUNTS // 2
    for number in range(count):
        time += int(rng.integers(0, 500))
        drift = {n: int(rng.integers(-2, 3)) for n in marks if rng.random() < 0.3}
        moved = {n: marks[n] + d for n, d in drift.items() if time >= moved_at[n] + MARK_INTERVAL}
        marks |= moved
        moved_at |= dict.fromkeys(moved, time)
        deposits = DEPOSITS[:half] if number == 0 else DEPOSITS[half + number - 1 : half + number]
        commands = users.commands(int(rng.integers(0, size + 1)), time, marks)
        closes = None
        if number % batch == batch - 1 or number == count - 1:
            closed += 1
            closes = closed
        slots.append(
            SlotInput(
                number,
                time,
                Cut.TIME if closes is None else Cut.BATCH,
                closes,
                operations=tuple(mark(config, number, n, m, operator) for n, m in moved.items()),
                deposits=deposits,
                commands=commands,
            )
        )
    return slots
