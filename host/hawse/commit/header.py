"""The batch header: what is anchored on the chain, and what validators sign."""

from dataclasses import astuple, dataclass, fields

from tiny_keccak import keccak256

VERSION = 1

_TYPES = {
    "version": "uint16",
    "number": "uint64",
    "previous_state_root": "bytes32",
    "state_root": "bytes32",
    "exit_root": "bytes32",
    "exit_sum": "uint256",
    "exit_numerator": "uint256",
    "exit_denominator": "uint256",
    "log_root": "bytes32",
    "log_leaves": "uint64",
    "log_records": "uint64",
    "outcomes_root": "bytes32",
    "withdrawals_root": "bytes32",
    "withdrawals_sum": "uint256",
    "deposit_index": "uint64",
    "deposit_accumulator": "bytes32",
    "forced_index": "uint64",
    "forced_accumulator": "bytes32",
    "data_hash": "bytes32",
    "data_provider": "bytes32",
    "rules_hash": "bytes32",
    "journal_first": "uint64",
    "journal_last": "uint64",
    "journal_hash": "bytes32",
    "insurance": "uint256",
    "fees": "uint256",
    "dust": "uint256",
    "time": "uint64",
}


@dataclass(frozen=True)
class BatchHeader:
    """One batch. Roots and hashes are 32 bytes, money in quanta, time in milliseconds since 1970.

    ``exit_numerator / exit_denominator`` is the factor by which exit payouts are cut, 1/1 when none.
    ``journal_first`` and ``journal_last`` are slot numbers; ``journal_hash`` is the hash chain's value after
    the last.
    """

    version: int
    number: int
    previous_state_root: bytes
    state_root: bytes
    exit_root: bytes
    exit_sum: int
    exit_numerator: int
    exit_denominator: int
    log_root: bytes
    log_leaves: int
    log_records: int
    outcomes_root: bytes
    withdrawals_root: bytes
    withdrawals_sum: int
    deposit_index: int
    deposit_accumulator: bytes
    forced_index: int
    forced_accumulator: bytes
    data_hash: bytes
    data_provider: bytes
    rules_hash: bytes
    journal_first: int
    journal_last: int
    journal_hash: bytes
    insurance: int
    fees: int
    dust: int
    time: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), _TYPES[field.name]
            if kind == "bytes32":
                if len(value) != 32:
                    raise ValueError(f"{field.name}: {len(value)} bytes, not 32")
            elif not 0 <= value < 1 << int(kind[4:]):
                raise ValueError(f"{field.name}: {value} is not a {kind}")

    def encode(self) -> bytes:
        """The header as 28 words of 32 bytes, big-endian: its ABI encoding."""
        return b"".join(v if isinstance(v, bytes) else v.to_bytes(32, "big") for v in astuple(self))

    def struct_hash(self) -> bytes:
        """EIP-712 hashStruct of the header."""
        return bytes(keccak256(keccak256(TYPE.encode()) + self.encode()))


#: EIP-712 type string of the header.
TYPE = "BatchHeader(" + ",".join(f"{kind} {name}" for name, kind in _TYPES.items()) + ")"
