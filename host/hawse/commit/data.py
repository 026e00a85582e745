"""What exits need of the state, and its difference from batch to batch, as it is put on the chain.

Anybody who has all differences since a snapshot, and the deposits, has every exit leaf of the last batch
(``docs/commitments.md``, Data). The bytes follow from the two states alone, so validators make the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tiny_keccak import keccak256

from hawse.wire.dtypes import Array

from .codec import CommitError, LeafError
from .exits import ExitLeaf, ExitMark

VERSION = 1
#: In the header's ``data_provider``.
NOWHERE, ON_CHAIN = 0, 1
#: A batch whose number is a multiple of it has all of the state instead of a difference.
SNAPSHOT_BATCHES = 1024
#: Most bytes of a batch's data that go into one transaction.
PART_BYTES = 96_000
#: Most numbers of a column.
_MOST = 1 << 27
#: Bytes of a number of 128 bits.
_LONGEST = 19
_TAG = b"\xd0"
_NONE = bytes(32)

#: Of each account, by index. The owner follows from the deposit that the generation names.
ACCOUNT = np.dtype(
    [
        ("generation", "<u8"),
        ("collateral", "<i8"),
        ("flags", "<u4"),
        ("subaccount", "<u2"),
        ("mode", "u1"),
        ("zero", "u1"),
    ]
)
_I128 = np.dtype([("low", "<u8"), ("high", "<i8")])
#: By account, then by instrument; ``lots`` is never 0.
POSITION = np.dtype(
    [
        ("entry", _I128),
        ("funding", _I128),
        ("lots", "<i8"),
        ("account", "<u4"),
        ("instrument", "<u2"),
        ("zero", "<u2"),
    ]
)
_IDENTITY = ("generation", "subaccount", "flags", "mode")


class DataError(CommitError, ValueError):
    """Bytes that are no difference of states, or none that follows the state at hand."""


def _own_account() -> Array:
    """The venue's own is there from the start."""
    return np.zeros(1, ACCOUNT)


def _no_positions() -> Array:
    return np.zeros(0, POSITION)


@dataclass(frozen=True, eq=False)
class ExitState:
    """Accounts, positions and exit marks at the end of a batch.

    Attributes:
        accounts: rows of :data:`ACCOUNT`, by index.
        positions: rows of :data:`POSITION`, by account and instrument.
        marks: by instrument.
    """

    accounts: Array = field(default_factory=_own_account)
    positions: Array = field(default_factory=_no_positions)
    marks: tuple[ExitMark, ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExitState):
            return NotImplemented
        mine, theirs = ((s.accounts.tobytes(), s.positions.tobytes(), s.marks) for s in (self, other))
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def pack(self, before: "ExitState", number: int) -> bytes:
        """Data of batch ``number``: the difference from ``before``, or all where a snapshot is due."""
        whole = number % SNAPSHOT_BATCHES == 0
        before = ExitState() if whole else before
        out = [bytes([VERSION, whole]), _numbers(np.array([number, len(self.accounts)], np.uint64))]
        out += self._identities(before)
        out += self._collaterals(before)
        out += self._held(before)
        marks = [
            (m.instrument, m.long, m.short, m.funding, m.numerator, m.denominator, m.kind) for m in self.marks
        ]
        return b"".join([*out, _count(len(marks)), *(_integer(value) for mark in marks for value in mark)])

    def _identities(self, before: "ExitState") -> list[bytes]:
        """Accounts that are new, or others than before."""
        now, old = self.accounts, _enlarged(before.accounts, len(self.accounts))
        is_new = np.arange(len(now)) >= len(before.accounts)
        for name in _IDENTITY:
            is_new |= now[name] != old[name]
        at = np.flatnonzero(is_new)
        return [_ascending(at), *(_numbers(now[name][at].astype(np.uint64)) for name in _IDENTITY)]

    def _collaterals(self, before: "ExitState") -> list[bytes]:
        now, old = self.accounts["collateral"], _enlarged(before.accounts, len(self.accounts))["collateral"]
        at = np.flatnonzero(now != old)
        return [_ascending(at), _signed(_difference(*_wide(now[at]), *_wide(old[at])))]

    def _held(self, before: "ExitState") -> list[bytes]:
        """Positions that are others than before; one that is closed has 0 lots."""
        keys, now, old = _matched(self.positions, before.positions)
        same = np.ones(len(keys), bool)
        for name in ("lots", "entry", "funding"):
            same &= now[name] == old[name]
        keys, now, old = keys[~same], now[~same], old[~same]
        columns = [_signed(_difference(*_wide(now["lots"]), *_wide(old["lots"])))]
        left = now["lots"] != 0
        columns += [
            _signed(_difference(*_limbs(now[name][left]), *_limbs(old[name][left])))
            for name in ("entry", "funding")
        ]
        return [_ascending(keys.astype(np.uint64)), *columns]

    @classmethod
    def unpack(cls, data: bytes, before: "ExitState", number: int) -> Self:
        """The state behind batch ``number``, by its data and the state before.

        Raises:
            DataError: it is no such data.
        """
        if len(data) < 2 or data[0] != VERSION or data[1] > 1:
            raise DataError(f"data of batch {number}: begins with {data[:2].hex()}, not 01 and 00 or 01")
        if data[1] != (number % SNAPSHOT_BATCHES == 0):
            raise DataError(f"data of batch {number}: a snapshot is due every {SNAPSHOT_BATCHES} batches")
        reader = _Reader(data, 2, f"data of batch {number}")
        before = ExitState() if data[1] else before
        if (told := reader.count(most=2**64 - 1)) != number:
            raise reader.wrong(f"it says it is of batch {told}")
        count, at = reader.count(), reader.ascending(1 << 32)
        if not len(before.accounts) <= count <= len(before.accounts) + len(at):
            raise reader.wrong(f"{count} accounts, {len(before.accounts)} before and {len(at)} new or others")
        if len(at) and at[-1] >= count:
            raise reader.wrong(f"account {at[-1]} of {count}")
        accounts = _enlarged(before.accounts, count)
        for name in _IDENTITY:
            accounts[name][at] = reader.narrow(len(at), int(np.iinfo(ACCOUNT[name]).max))
        at = reader.ascending(count)
        accounts["collateral"][at] = reader.added(_wide(accounts["collateral"][at]))
        positions = cls._moved(reader, before.positions, count)
        marks = reader.marks()
        reader.end()
        return cls(accounts, positions, marks)

    @staticmethod
    def _moved(reader: "_Reader", before: Array, accounts: int) -> Array:
        keys, known = reader.ascending(accounts << 16), _key(before)
        at = np.searchsorted(known, keys)
        there = np.zeros(len(keys), bool)
        there[at < len(known)] = known[at[at < len(known)]] == keys[at < len(known)]
        rows = np.zeros(len(keys), POSITION)
        rows["account"], rows["instrument"] = keys >> 16, keys & 0xFFFF
        rows[there] = before[at[there]]
        rows["lots"] = reader.added(_wide(rows["lots"]))
        left = rows["lots"] != 0
        for name in ("entry", "funding"):
            column = rows[name]
            sums = np.zeros(int(left.sum()), _I128)
            sums["low"], sums["high"] = reader.sums(*_limbs(column[left]))
            column[left] = sums
        kept = before.copy()
        kept[at[there]] = rows[there]
        kept = np.delete(kept, at[there & ~left])
        new = rows[~there & left]
        found: Array = np.insert(kept, np.searchsorted(_key(kept), _key(new)), new)
        return found

    def exit_leaves(self, owners: Mapping[int, bytes]) -> tuple[ExitLeaf, ...]:
        """Leaf of every account index.

        Args:
            owners: owner (20 bytes) of each deposit, by its index.

        Raises:
            DataError: a position has no mark, or an account no deposit.
        """
        equities: list[int] = self.accounts["collateral"].tolist()
        for account, value, _ in self._values():
            equities[account] += value
        made = []
        for index, (generation, equity) in enumerate(
            zip(self.accounts["generation"].tolist(), equities, strict=True)
        ):
            if generation and generation >> 24 not in owners:
                raise DataError(f"account {index} is of deposit {generation >> 24}, of {len(owners)}")
            mine = (owners[generation >> 24], generation, 0, equity) if generation else (bytes(20), 0, 0, 0)
            made.append(ExitLeaf(index, *mine))
        return tuple(made)

    def rounding(self) -> int:
        """Quanta by which positions are rounded down, together: rounded up, as dust was rounded down."""
        sums: dict[int, int] = {}
        for _, _, rest in self._values():
            sums[rest.denominator] = sums.get(rest.denominator, 0) + rest.numerator
        return ceil(sum(Fraction(rest, of) for of, rest in sums.items()))

    def _values(self) -> Iterator[tuple[int, int, Fraction]]:
        """Account, value in quanta and what was rounded off, of each position."""
        marks = {mark.instrument: mark for mark in self.marks}
        names = ("account", "instrument", "lots", "entry", "funding")
        columns = (self.positions[name].tolist() for name in names)
        for account, instrument, lots, entry, funding in zip(*columns, strict=True):
            mark = marks.get(instrument)
            if mark is None:
                raise DataError(
                    f"account {account} holds {lots} lots of instrument {instrument}, which has no mark"
                )
            yield account, *mark.value(lots, _joined(entry), _joined(funding))


def data_hash(parts: Sequence[bytes], behind: bytes = _NONE) -> bytes:
    """keccak256(0xD0 ‖ hash of the part before, zero at first ‖ keccak256(part)) of the last part.

    ``behind`` is the hash of what comes before them.
    """
    for part in parts:
        behind = bytes(keccak256(_TAG + behind + keccak256(part)))
    return behind


def parts_of(data: bytes) -> list[bytes]:
    """What goes into one transaction each."""
    return [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]


# Columns: numbers of 7 bits a byte, the lowest first, all but the last of a number with bit 7


def _enlarged(accounts: Array, count: int) -> Array:
    out = np.zeros(count, ACCOUNT)
    out[: len(accounts)] = accounts
    return out


def _key(positions: Array) -> NDArray[np.int64]:
    key: NDArray[np.int64] = positions["account"].astype(np.int64) << 16 | positions["instrument"]
    return key


def _matched(one: Array, other: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """Keys of both, and rows of each by those keys, zeros where it has none."""
    mine, theirs = _key(one), _key(other)
    keys = np.union1d(mine, theirs)
    rows = []
    for part, known in ((one, mine), (other, theirs)):
        out = np.zeros(len(keys), POSITION)
        out[np.searchsorted(keys, known)] = part
        rows.append(out)
    return keys, rows[0], rows[1]


Limbs = tuple[NDArray[np.uint64], NDArray[np.uint64]]


def _wide(values: NDArray[np.int64]) -> Limbs:
    """As 128 bits, two's complement: low and high half."""
    return values.astype(np.int64).view(np.uint64), (values.astype(np.int64) >> 63).view(np.uint64)


def _limbs(values: Array) -> Limbs:
    return values["low"].copy(), values["high"].copy().view(np.uint64)


def halves(value: int) -> tuple[int, int]:
    """A number of 128 bits, as rows of :data:`POSITION` have it."""
    return value & (1 << 64) - 1, value >> 64


def _joined(value: tuple[int, int]) -> int:
    return value[1] << 64 | value[0]


def _difference(
    low: NDArray[np.uint64], high: NDArray[np.uint64], less: NDArray[np.uint64], much: NDArray[np.uint64]
) -> Limbs:
    """Modulo 2**128."""
    return low - less, high - much - (low < less).astype(np.uint64)


def _signed(limbs: Limbs) -> bytes:
    """A column of signed numbers: 0, -1, 1, -2 … as 0, 1, 2, 3 …"""
    low, high = limbs
    sign = (high.view(np.int64) >> 63).view(np.uint64)
    one, rest = np.uint64(1), np.uint64(63)
    return _numbers(low << one ^ sign, (high << one | low >> rest) ^ sign)


def _ascending(values: NDArray[np.int64] | NDArray[np.uint64]) -> bytes:
    """How many, the first, and each one's distance from the one before."""
    steps: NDArray[np.uint64] = values.astype(np.uint64)
    steps[1:] -= steps[:-1].copy()
    return _count(len(values)) + _numbers(steps)


def _numbers(low: NDArray[np.uint64], high: NDArray[np.uint64] | None = None) -> bytes:
    """A column of numbers below 2**128."""
    if not len(low):
        return b""
    high = np.zeros(len(low), np.uint64) if high is None else high
    groups = np.empty((len(low), _LONGEST), np.uint8)
    for n in range(_LONGEST):
        groups[:, n] = _bits(low, high, 7 * n) & np.uint64(127)
    used = groups[:, ::-1] != 0
    lengths = np.where(used.any(axis=1), _LONGEST - used.argmax(axis=1), 1)
    places = np.arange(_LONGEST)
    groups[places < (lengths - 1)[:, None]] |= 128
    return groups[places < lengths[:, None]].tobytes()


def _bits(low: NDArray[np.uint64], high: NDArray[np.uint64], at: int) -> NDArray[np.uint64]:
    """Bits from ``at`` on, 64 of them."""
    if at >= 64:
        return high >> np.uint64(at - 64)
    return low if not at else low >> np.uint64(at) | high << np.uint64(64 - at)


def _count(value: int) -> bytes:
    return _numbers(np.array([value], np.uint64))


def _integer(value: int) -> bytes:
    folded = value << 1 if value >= 0 else ~value << 1 | 1
    mask = (1 << 64) - 1
    return _numbers(np.array([folded & mask], np.uint64), np.array([folded >> 64], np.uint64))


class _Reader:
    """Reads columns, and refuses what :func:`_numbers` does not write."""

    def __init__(self, data: bytes, at: int, what: str) -> None:
        self._bytes, self._at, self._what = np.frombuffer(data, np.uint8), at, what
        self._ends, self._next = np.flatnonzero(self._bytes[at:] < 128) + at, 0

    def wrong(self, why: str) -> DataError:
        return DataError(f"{self._what}: {why}, before byte {self._at}")

    def end(self) -> None:
        if self._at != len(self._bytes):
            raise self.wrong(f"{len(self._bytes)} bytes, of which {self._at} belong to it")

    def numbers(self, count: int) -> Limbs:
        """So many numbers below 2**128."""
        if not count:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        ends = self._ends[self._next : self._next + count]
        if len(ends) < count:
            raise self.wrong(f"{len(ends)} numbers are left, and {count} announced")
        starts = np.concatenate([[self._at], ends[:-1] + 1])
        lengths = ends - starts + 1
        if (lengths > _LONGEST).any() or ((self._bytes[ends] == 0) & (lengths > 1)).any():
            raise self.wrong("a number is longer than it has to be")
        low, high = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
        for n in range(int(lengths.max())):
            has = lengths > n
            part = (self._bytes[starts[has] + n] & 127).astype(np.uint64)
            if 7 * n < 64:
                low[has] |= part << np.uint64(7 * n)
            if 7 * n > 57:
                high[has] |= part << np.uint64(7 * n - 64) if 7 * n >= 64 else part >> np.uint64(64 - 7 * n)
            if 7 * n + 7 > 128 and (part >> np.uint64(128 - 7 * n)).any():
                raise self.wrong("a number is not below 2**128")
        self._at, self._next = int(ends[-1]) + 1, self._next + count
        return low, high

    def narrow(self, count: int, most: int) -> NDArray[np.uint64]:
        """So many numbers up to ``most``, which is below 2**64."""
        low, high = self.numbers(count)
        if high.any() or (low > np.uint64(most)).any():
            raise self.wrong(f"a number is above {most}")
        return low

    def count(self, most: int = _MOST) -> int:
        return int(self.narrow(1, most)[0])

    def integer(self) -> int:
        low, high = (int(limb[0]) for limb in self.numbers(1))
        folded = high << 64 | low
        return ~(folded >> 1) if folded & 1 else folded >> 1

    def marks(self) -> tuple[ExitMark, ...]:
        """Exit marks, ascending by instrument."""
        marks = [ExitMark(*(self.integer() for _ in range(7))) for _ in range(self.count(most=1 << 16))]
        for n, mark in enumerate(marks):
            if n and mark.instrument <= marks[n - 1].instrument:
                raise self.wrong(f"instrument {mark.instrument} behind {marks[n - 1].instrument}")
            try:
                mark.encode()
            except LeafError as error:
                raise self.wrong(str(error)) from None
        return tuple(marks)

    def ascending(self, limit: int) -> NDArray[np.int64]:
        """Numbers below ``limit``, each above the one before."""
        count = self.count()
        steps = self.narrow(count, max(0, limit - 1))
        if (steps[1:] == 0).any():
            raise self.wrong("a number is there twice")
        values = np.cumsum(steps)
        if count and (int(values[-1]) >= limit or (np.diff(values.view(np.int64)) < 0).any()):
            raise self.wrong(f"{int(values[-1])} is not below {limit}")
        return values.view(np.int64)

    def sums(self, low: NDArray[np.uint64], high: NDArray[np.uint64]) -> Limbs:
        """Numbers of 128 bits and what is added to each, modulo 2**128."""
        less, much = self.numbers(len(low))
        one, rest = np.uint64(1), np.uint64(63)
        sign: NDArray[np.uint64] = np.zeros(len(low), np.uint64) - (less & one)
        less, much = (less >> one | much << rest) ^ sign, much >> one ^ sign
        total = low + less
        carry: NDArray[np.uint64] = (total < low).astype(np.uint64)
        return total, high + much + carry

    def added(self, limbs: Limbs) -> NDArray[np.int64]:
        """Numbers of 64 bits and what is added to each."""
        low, high = self.sums(*limbs)
        value: NDArray[np.int64] = low.view(np.int64)
        if (high.view(np.int64) != value >> 63).any():
            raise self.wrong("a number leaves int64")
        return value
