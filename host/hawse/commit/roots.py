"""From sections to the venue hash and the state root; the chain of slot digests; the assets hash."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from tiny_keccak import keccak256

from . import trees
from .codec import I128, U32, U64, Counted, Hash, Leaf, Packed, Time, prefix
from .trees import EMPTY, NodeTag

#: Slot digest before the first slot.
FIRST_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Section(Packed):
    """Leaves of one kind: how many, and their root."""

    count: U32 = 0
    root: Hash = EMPTY


def section(leaves: Sequence[Leaf]) -> Section:
    """The section of these leaves, in order."""
    return Section(len(leaves), trees.root([leaf.hash() for leaf in leaves], NodeTag.SECTION))


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueLeaf(Leaf):
    """All of the state but accounts and orders.

    Attributes:
        rules: hash of the rules in force.
        next_slot, time, last_seq, batch, next_withdrawal: where the machine stands; batch is the one in work.
        deposit_index, deposit_accumulator, request_index, request_accumulator: how far the queues are taken.
        deposited, withdrawn, fees, insurance, dust: totals in quanta.
        control: root of the control leaves.
        sections: instrument, underlying, tag, strategy, waiting, rule set.
    """

    PREFIX: ClassVar[bytes] = prefix(0x60)

    rules: Hash
    next_slot: U64
    time: Time
    last_seq: U64
    batch: U64
    next_withdrawal: U64
    deposit_index: U64
    deposit_accumulator: Hash
    request_index: U64
    request_accumulator: Hash
    deposited: I128
    withdrawn: I128
    fees: I128
    insurance: I128
    dust: I128
    control: Hash
    sections: Annotated[tuple[Section, ...], Counted(6, fixed=True)]


def state_root(accounts: bytes, orders: bytes, venue: bytes) -> bytes:
    """keccak256(0x70 ‖ accounts root ‖ orders root ‖ venue hash)."""
    return bytes(keccak256(b"\x70" + accounts + orders + venue))


def slot_digest(previous: bytes, slot: int, changed: Iterable[bytes]) -> bytes:
    """keccak256(0x71 ‖ previous ‖ slot:u64 ‖ hashes of the leaves that changed, by tag, then by key)."""
    return bytes(keccak256(b"\x71" + previous + slot.to_bytes(8, "big") + b"".join(changed)))


def assets_hash(assets: Sequence[tuple[int, bytes]]) -> bytes:
    """keccak256(0x68 ‖ 2 ‖ count:u16 ‖ chain id:u256 ‖ token (20) of each asset, by number)."""
    body = b"".join([chain_id.to_bytes(32, "big") + token for chain_id, token in assets])
    return bytes(keccak256(prefix(0x68) + len(assets).to_bytes(2, "big") + body))
