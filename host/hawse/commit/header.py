"""The batch header: what is anchored on the chain, and what validators sign."""

from dataclasses import astuple, dataclass, fields
from typing import Self

from tiny_keccak import keccak256

from .codec import CommitError
from .exits import Haircut
from .trees import EMPTY, Node
from .withdrawals import Range

VERSION = 2

#: Accounts that one batch may open.
ACCOUNTS_MOST = 1 << 20
#: Inputs of one batch.
INPUTS_MOST = 1 << 24
#: Records of one batch's log.
RECORDS_MOST = 1 << 40
#: Withdrawals of one batch.
WITHDRAWALS_MOST = 1 << 20
#: Slots of one batch stay below it.
SLOTS_LIMIT = 1 << 32
#: Amounts of money stay below it.
MONEY_LIMIT = 1 << 126

#: Solidity type of each field, in order.
TYPES = {
    "version": "uint16",
    "number": "uint64",
    "previous_state_root": "bytes32",
    "state_root": "bytes32",
    "accounts": "uint32",
    "inputs_root": "bytes32",
    "outcomes_root": "bytes32",
    "inputs_first": "uint64",
    "inputs_count": "uint32",
    "log_root": "bytes32",
    "log_leaves": "uint64",
    "log_records": "uint64",
    "exit_root": "bytes32",
    "exit_positive": "uint128",
    "exit_shortfall": "uint128",
    "exit_marks_root": "bytes32",
    "exit_marks": "uint16",
    "insurance": "int128",
    "fees": "uint128",
    "dust": "uint128",
    "withdrawals_root": "bytes32",
    "withdrawals_first": "uint64",
    "withdrawals_count": "uint32",
    "withdrawals_sum": "uint128",
    "deposit_index": "uint64",
    "deposit_accumulator": "bytes32",
    "forced_index": "uint64",
    "forced_accumulator": "bytes32",
    "data_hash": "bytes32",
    "data_provider": "uint16",
    "rules_hash": "bytes32",
    "assets_hash": "bytes32",
    "journal_first": "uint64",
    "journal_last": "uint64",
    "journal_hash": "bytes32",
    "time": "uint64",
}


class HeaderError(CommitError, ValueError):
    """A header's field is out of bounds, or does not continue the batch before.

    Attributes:
        field: which.
        given: what it is.
        allowed: what it may be, in words.
    """

    def __init__(self, field: str, given: object, allowed: str) -> None:
        shown = given.hex() if isinstance(given, bytes) else given
        super().__init__(f"{field}: {shown} is not {allowed}")
        self.field, self.given, self.allowed = field, given, allowed


@dataclass(frozen=True)
class BatchHeader:
    """One batch. Roots and hashes are 32 bytes, money in quanta, time in milliseconds since 1970.

    ``accounts`` are the leaves of the accounts tree and of the exit tree, index 0 included.
    ``journal_first`` and ``journal_last`` are slot numbers; ``journal_hash`` is the hash chain's value after
    the last. ``inputs_first`` and ``withdrawals_first`` are the next numbers even where there are none.

    Raises:
        HeaderError: a field is not of its type.
    """

    version: int
    number: int
    previous_state_root: bytes
    state_root: bytes
    accounts: int
    inputs_root: bytes
    outcomes_root: bytes
    inputs_first: int
    inputs_count: int
    log_root: bytes
    log_leaves: int
    log_records: int
    exit_root: bytes
    exit_positive: int
    exit_shortfall: int
    exit_marks_root: bytes
    exit_marks: int
    insurance: int
    fees: int
    dust: int
    withdrawals_root: bytes
    withdrawals_first: int
    withdrawals_count: int
    withdrawals_sum: int
    deposit_index: int
    deposit_accumulator: bytes
    forced_index: int
    forced_accumulator: bytes
    data_hash: bytes
    data_provider: int
    rules_hash: bytes
    assets_hash: bytes
    journal_first: int
    journal_last: int
    journal_hash: bytes
    time: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), TYPES[field.name]
            if kind == "bytes32":
                if not isinstance(value, bytes) or len(value) != 32:
                    raise HeaderError(field.name, value, "32 bytes")
            else:
                low, high = _range(kind)
                if not isinstance(value, int) or not low <= value <= high:
                    raise HeaderError(field.name, value, f"{low} to {high}")

    def encode(self) -> bytes:
        """The header as 36 words of 32 bytes, big-endian: its ABI encoding."""
        words = astuple(self)
        return b"".join(w if isinstance(w, bytes) else w.to_bytes(32, "big", signed=w < 0) for w in words)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The header of these 36 words.

        Raises:
            HeaderError: they are more or fewer, or one is not of its field's type.
        """
        if len(data) != 32 * len(TYPES):
            raise HeaderError("header", f"{len(data)} bytes", f"{32 * len(TYPES)} bytes")
        words = [data[at : at + 32] for at in range(0, len(data), 32)]
        kinds = TYPES.values()
        return cls(
            *(
                w if kind == "bytes32" else int.from_bytes(w, "big", signed=kind[0] == "i")  # type: ignore[arg-type]
                for w, kind in zip(words, kinds, strict=True)
            )
        )

    def struct_hash(self) -> bytes:
        """EIP-712 hashStruct of the header."""
        return bytes(keccak256(keccak256(TYPE.encode()) + self.encode()))

    # ---- What proofs need

    @property
    def withdrawals(self) -> Range:
        """The withdrawals, as a claim names them."""
        return Range(
            self.withdrawals_root, self.withdrawals_first, self.withdrawals_count, self.withdrawals_sum
        )

    @property
    def exits(self) -> Node:
        """Root, P and S of the exit tree."""
        return Node(self.exit_root, (self.exit_positive, self.exit_shortfall))

    @property
    def haircut(self) -> Haircut:
        """By how much exits are cut."""
        return Haircut(self.exit_positive, self.exit_shortfall, self.insurance)

    @property
    def owed(self) -> int:
        """What the contract must hold beside unclaimed withdrawals and unconsumed deposits, in quanta."""
        return self.haircut.owed(self.fees, self.dust)

    # ---- Bounds

    def check(self) -> None:
        """Refuse what no contract takes, whatever came before.

        Raises:
            HeaderError: the first field that is out of bounds.
        """
        _expect(self.version == VERSION, "version", self.version, str(VERSION))
        most = min(RECORDS_MOST, 64 * self.log_leaves)
        _most(self, "inputs_count", INPUTS_MOST)
        _most(self, "log_leaves", RECORDS_MOST // 64)
        fits = self.log_leaves <= self.log_records <= most
        _expect(fits, "log_records", self.log_records, f"{self.log_leaves} to {most}")
        for name in ("exit_positive", "exit_shortfall", "insurance", "fees", "dust"):
            value = getattr(self, name)
            _expect(abs(value) < MONEY_LIMIT, name, value, f"below {MONEY_LIMIT}")
        _most(self, "withdrawals_count", WITHDRAWALS_MOST)
        if not self.withdrawals_count:
            _expect(not self.withdrawals_sum, "withdrawals_sum", self.withdrawals_sum, "0, that of none")
            _expect(self.withdrawals_root == EMPTY, "withdrawals_root", self.withdrawals_root, EMPTY.hex())
        _expect(self.data_provider <= 1, "data_provider", self.data_provider, "0 or 1")
        if not self.data_provider:
            _expect(not any(self.data_hash), "data_hash", self.data_hash, "zero, as provider 0 has")
        last = self.journal_first + SLOTS_LIMIT - 1
        fits = self.journal_first <= self.journal_last <= last
        _expect(fits, "journal_last", self.journal_last, f"{self.journal_first} to {last}")

    def check_follows(self, previous: Self | None) -> None:
        """Refuse what the contract would not take behind ``previous``, None for the first batch.

        The contract alone knows its rules, assets, queues, balance and clock, and the genesis state root.

        Raises:
            HeaderError: the first field that does not continue it, or is out of bounds.
        """
        self.check()
        p = previous
        if p is not None:
            same = self.previous_state_root == p.state_root
            _expect(same, "previous_state_root", self.previous_state_root, p.state_root.hex())
        _next(self, "number", p.number + 1 if p else 1)
        accounts = p.accounts if p else 1
        fits = accounts <= self.accounts <= accounts + ACCOUNTS_MOST
        _expect(fits, "accounts", self.accounts, f"{accounts} to {accounts + ACCOUNTS_MOST}")
        _next(self, "inputs_first", p.inputs_first + p.inputs_count if p else 1)
        _next(self, "withdrawals_first", p.withdrawals_first + p.withdrawals_count if p else 1)
        _next(self, "journal_first", p.journal_last + 1 if p else 0)
        for name in ("deposit_index", "forced_index", "time"):
            least = getattr(p, name) if p else 0
            value = getattr(self, name)
            _expect(value >= least, name, value, f"{least} or more")


def _range(kind: str) -> tuple[int, int]:
    bits = int(kind.removeprefix("u")[3:])
    return (0, (1 << bits) - 1) if kind[0] == "u" else (-1 << bits - 1, (1 << bits - 1) - 1)


def _expect(good: bool, field: str, given: object, allowed: str) -> None:
    if not good:
        raise HeaderError(field, given, allowed)


def _most(header: BatchHeader, field: str, most: int) -> None:
    value = getattr(header, field)
    _expect(value <= most, field, value, f"at most {most}")


def _next(header: BatchHeader, field: str, value: int) -> None:
    given = getattr(header, field)
    _expect(given == value, field, given, f"{value}, the next")


#: EIP-712 type string of the header.
TYPE = "BatchHeader(" + ",".join(f"{kind} {name}" for name, kind in TYPES.items()) + ")"
