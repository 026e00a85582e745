"""The operator's receipts: made for each slot beside the slot path, and checked against what it did.

One signature covers all inputs of a slot, by the root over their receipts. ``docs/trust.md`` says what a
receipt is good for; ``hawse.receipt`` is one of them, as it is given out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hawse.commit.codec import CommitError
from hawse.commit.inputs import ReceiptLeaf
from hawse.commit.trees import NodeTag
from hawse.engine.native.bindings import keccak256_rows
from hawse.journal import Receipts
from hawse.keys.eip712 import Domain
from hawse.keys.signing import recover_digest, sign_digest
from hawse.state.hashing import root_of
from hawse.state.outcomes import SlotLeaves
from hawse.wire.dtypes import Array

#: Receipt leaf, field for field.
_LEAF = np.dtype(
    [
        ("prefix", "u1", (2,)),
        ("seq", ">u8"),
        ("input", "u1", (32,)),
        ("outcome", "u1", (32,)),
        ("time_in", ">u8"),
        ("time_out", ">u8"),
        ("cycles", ">u4", (2,)),
    ]
)
_MS = 1_000_000


class WrongReceipts(CommitError):
    """Receipts are not what their slot leads to, or not the operator's: says what, and both values."""


@dataclass(frozen=True)
class SlotReceipts:
    """The signed receipts of a slot, and the leaves that they are about."""

    receipts: Receipts
    leaves: SlotLeaves

    def hashes(self) -> NDArray[np.uint8]:
        """Hash of each input's receipt, in sequence: shape (n, 32)."""
        return leaf_hashes(self.receipts, self.leaves)


@dataclass(frozen=True)
class Stand:
    """On what of the chain a slot stands: receipts bind only there.

    Attributes:
        deposit_index, deposit_accumulator: of the last deposit taken in.
        final_batch, final_digest: the last final batch that the host knew, 0 and zeros before the first.
    """

    deposit_index: int
    deposit_accumulator: bytes
    final_batch: int
    final_digest: bytes


def leaf_hashes(receipts: Receipts, leaves: SlotLeaves) -> NDArray[np.uint8]:
    """Hash of each input's receipt, shape (n, 32): of its two leaves, and the times that the record has."""
    count = len(leaves)
    rows = np.zeros(count, _LEAF)
    rows["prefix"] = np.frombuffer(ReceiptLeaf.PREFIX, np.uint8)
    rows["seq"] = np.arange(leaves.first_seq, leaves.first_seq + count, dtype=np.uint64)
    rows["input"] = np.frombuffer(leaves.input_hashes, np.uint8).reshape(-1, 32)
    rows["outcome"] = np.frombuffer(leaves.outcome_hashes, np.uint8).reshape(-1, 32)
    rows["time_in"] = np.frombuffer(receipts.times_in, ">u8")
    rows["time_out"] = receipts.time_out
    if receipts.cycles:
        rows["cycles"] = np.frombuffer(receipts.cycles, ">u4").reshape(-1, 2)
    return keccak256_rows(rows.view(np.uint8).reshape(count, _LEAF.itemsize))


def cycles_of(events: Array, first_seq: int, count: int) -> bytes:
    """u32 cycle in and out of each input by the board's reports; empty where no board has counted.

    What the book reported nothing of has 0 and 0.
    """
    if not (events["accepted"].any() or events["left"].any()):
        return b""
    found = np.zeros((count, 2), ">u4")
    places = (events["seq"].astype(np.int64) - first_seq) % (1 << 32)
    good = places < count
    found[places[good][::-1], 0] = events["accepted"][good][::-1]
    found[places[good], 1] = events["left"][good]
    return found.tobytes()


def times_in(
    slot_time: int, first_seq: int, count: int, seqs: Sequence[int], arrived: Sequence[int]
) -> bytes:
    """Nanoseconds at which each input came: as it was seen, or the slot's own time where nobody saw it.

    Args:
        slot_time: milliseconds.
        first_seq, count: of the slot's inputs.
        seqs: of its messages.
        arrived: when each message came, in nanoseconds; empty where it is not known any more.
    """
    times: NDArray[np.uint64] = np.full(count, slot_time * _MS, ">u8")
    if arrived:
        times[np.array(seqs, np.int64) - first_seq] = np.array(arrived, np.uint64)
    return times.tobytes()


def sign_receipts(
    slot: int,
    leaves: SlotLeaves,
    clocks: tuple[bytes, int, bytes],
    stand: Stand,
    domain: Domain,
    key: bytes,
) -> SlotReceipts:
    """The receipts of a slot.

    Args:
        slot: its number.
        leaves: of it.
        clocks: when each input came (u64 nanoseconds each), when the slot was answered, and the board's
            cycles or nothing.
        stand: what it stands on.
        domain: of the venue.
        key: the operator's private one.
    """
    came, out, cycles = clocks
    where = stand.deposit_index, stand.deposit_accumulator, stand.final_batch, stand.final_digest
    bare = Receipts(slot, leaves.first_seq, len(leaves), bytes(32), *where, bytes(64), out, came, cycles)
    rooted = replace(bare, root=root_of(leaf_hashes(bare, leaves), NodeTag.RECEIPTS))
    signature = sign_digest(domain.digest(rooted.struct_hash()), key)
    return SlotReceipts(replace(rooted, signature=signature), leaves)


def check_receipts(
    receipts: Receipts, leaves: SlotLeaves, deposits: tuple[int, bytes], domain: Domain, operator: bytes
) -> None:
    """Hold journaled receipts against the slot that they are of, executed again; the times are taken as said.

    Args:
        receipts: as the journal has them.
        leaves: of the slot.
        deposits: index and accumulator of the queue behind the slot.
        domain, operator: of the venue; the operator's address.

    Raises:
        WrongReceipts: sequence numbers, root or deposits are others, or somebody else signed.
    """
    theirs = receipts.first_seq, receipts.count
    ours = leaves.first_seq, len(leaves)
    _agree(receipts.slot, "first sequence number and count", ours, theirs)
    _agree(receipts.slot, "last deposit", deposits, (receipts.deposit_index, receipts.deposit_accumulator))
    root = root_of(leaf_hashes(receipts, leaves), NodeTag.RECEIPTS)
    _agree(receipts.slot, "root", root, receipts.root)
    signer = recover_digest(domain.digest(receipts.struct_hash()), receipts.signature)
    _agree(receipts.slot, "signer", operator, signer)


def _agree(slot: int, what: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        ours, theirs = (v.hex() if isinstance(v, bytes) else v for v in (ours, theirs))
        raise WrongReceipts(f"receipts of slot {slot}: {what} is {theirs}, the slot leads to {ours}")
