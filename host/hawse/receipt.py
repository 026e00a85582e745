"""One receipt, as it is given out: the operator's word on one input, and what shows whether it was kept.

``docs/trust.md`` says what each field is and how a receipt is checked.
"""

import json
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hawse.commit import trees
from hawse.commit.codec import LeafError, Packed
from hawse.commit.header import BatchHeader
from hawse.commit.inclusion import DamagedProof, ProofError, expect, read_bytes, read_header, shown
from hawse.commit.inputs import InputLeaf, OutcomeLeaf, ReceiptLeaf
from hawse.commit.trees import NodeTag
from hawse.engine.native.bindings import keccak256_rows
from hawse.journal import Receipts
from hawse.keys.eip712 import Domain
from hawse.keys.signing import recover_digest
from hawse.receipts import SlotReceipts
from hawse.state.outcomes import INPUT_BYTES, OUTCOME_BYTES
from hawse.state.slot import InputClass

#: Says what a file is, and of which version.
FORMAT = "hawse receipt 1"
#: Classes of inputs that somebody signs as a message.
_MESSAGES = frozenset({InputClass.USER, InputClass.AUTHORISATION})
#: What is signed of a slot, without the times that only the leaf of the receipt needs.
_SIGNED = (
    "slot",
    "first_seq",
    "count",
    "root",
    "deposit_index",
    "deposit_accumulator",
    "final_batch",
    "final_digest",
    "signature",
)
_HEXADECIMAL = {"signature": 64, "root": 32, "deposit_accumulator": 32, "final_digest": 32, "address": 20}
_HEXADECIMAL |= {"body": 32, "input": 32, "outcome": 32}


class BadReceipt(ProofError):
    """A receipt that the operator has not given: says which of its fields does not fit, and both values."""


class Word(Enum):
    """What became of the operator's word."""

    OPEN = "open"
    KEPT = "kept"
    BROKEN = "broken"


@dataclass(frozen=True)
class InBatch:
    """What a batch has at the place of an input.

    Attributes:
        header: of the batch that has the receipt's slot.
        input, outcome: hashes of the leaves that stand there, 32 bytes each; zeros where the batch does not
            reach so far.
        input_siblings, outcome_siblings: from each leaf up; none where the batch does not reach so far.
    """

    header: BatchHeader
    input: bytes
    input_siblings: tuple[bytes, ...]
    outcome: bytes
    outcome_siblings: tuple[bytes, ...]


@dataclass(frozen=True)
class Receipt:
    """The operator's word on one input.

    Attributes:
        chain_id, contract: of the venue, whose domain it is signed in.
        receipts: what is signed of the slot.
        times: nanoseconds in and out, and the board's cycles in and out.
        input, outcome: leaves of what came, and of what became of it.
        siblings: from the receipt's leaf up to the slot's root, 32 bytes each.
        batch: what the batch of the slot has there; None before it is anchored.
    """

    chain_id: int
    contract: bytes
    receipts: Receipts
    times: tuple[int, int, int, int]
    input: InputLeaf
    outcome: OutcomeLeaf
    siblings: tuple[bytes, ...]
    batch: InBatch | None = None

    @property
    def domain(self) -> Domain:
        """In which operator and users sign."""
        return Domain(self.chain_id, self.contract)

    @property
    def leaf(self) -> ReceiptLeaf:
        """What the slot's root is over."""
        return ReceiptLeaf(self.input.seq, self.input.hash(), self.outcome.hash(), *self.times)

    def check(self, operator: bytes | None = None) -> bytes:
        """Whether it is a receipt; gives the address that signed it.

        Args:
            operator: who has to be that; None: anybody.

        Raises:
            BadReceipt: a number outside of its slot, a path that does not lead to the root, another signer.
        """
        told, seq = self.receipts, self.input.seq
        last = told.first_seq + told.count - 1
        if not told.first_seq <= seq <= last:
            raise BadReceipt(f"seq: {seq}, but slot {told.slot} has {told.first_seq} to {last}")
        if self.outcome.seq != seq:
            raise BadReceipt(f"outcome.seq: {self.outcome.seq}, but the input is {seq}")
        index = seq - told.first_seq
        if not trees.verify(self.leaf.hash(), index, told.count, self.siblings, told.root, NodeTag.RECEIPTS):
            raise BadReceipt(f"siblings: do not lead from input {seq} to the root {told.root.hex()}")
        signer = recover_digest(self.domain.digest(told.struct_hash()), told.signature)
        if signer is None:
            raise BadReceipt("signature: no key fits")
        if operator is not None and signer != operator:
            raise BadReceipt(f"signature: of 0x{signer.hex()}, but the operator is 0x{operator.hex()}")
        return signer

    def word(self) -> tuple[Word, str]:
        """What became of the operator's word, by the batch of the receipt, and why.

        Whether the batch was anchored is the chain's to say.

        Raises:
            BadReceipt: the batch is not that of the slot, or what it has there is not proven.
        """
        if broken := self._invented():
            return Word.BROKEN, broken
        if self.batch is None:
            return Word.OPEN, ""
        header, slot, seq = self.batch.header, self.receipts.slot, self.input.seq
        if not header.journal_first <= slot <= header.journal_last:
            have = f"slots {header.journal_first} to {header.journal_last}"
            raise BadReceipt(f"batch: {header.number} has {have}, not {slot}")
        index, count = seq - header.inputs_first, header.inputs_count
        if not 0 <= index < count:
            have = f"inputs {header.inputs_first} to {header.inputs_first + count - 1}"
            return Word.BROKEN, f"batch {header.number} has slot {slot}, but {have}, and not {seq}"
        ours = self.leaf
        for name, tag in (("input", NodeTag.INPUTS), ("outcome", NodeTag.OUTCOMES)):
            there, siblings = getattr(self.batch, name), getattr(self.batch, f"{name}_siblings")
            root = getattr(header, f"{name}s_root")
            if not trees.verify(there, index, count, siblings, root, tag):
                raise BadReceipt(f"batch.{name}_siblings: do not lead to the root {root.hex()}")
            if there != getattr(ours, name):
                has = f"has the {name} leaf 0x{there.hex()} as {seq}"
                return Word.BROKEN, f"batch {header.number} {has}, not 0x{getattr(ours, name).hex()}"
        return Word.KEPT, ""

    def _invented(self) -> str:
        """Why no user has signed what the receipt says that one has; empty if it is good."""
        one = self.input
        if one.kind not in _MESSAGES or not any(one.address):
            return ""
        signer = recover_digest(self.domain.digest(one.body), one.signature)
        if signer == one.address:
            return ""
        who = "nobody" if signer is None else "0x" + signer.hex()
        return f"input {one.seq} is said to be signed by 0x{one.address.hex()}, and is by {who}"

    def encode(self) -> str:
        """The receipt as JSON."""
        told = {name: shown(getattr(self.receipts, name)) for name in _SIGNED}
        batch = None
        if self.batch is not None:
            batch = {f.name: _listed(getattr(self.batch, f.name)) for f in fields(InBatch)}
        return json.dumps(
            {
                "format": FORMAT,
                "chain_id": self.chain_id,
                "contract": shown(self.contract),
                "receipts": told,
                "times": list(self.times),
                "input": _named(self.input),
                "outcome": _named(self.outcome),
                "siblings": _listed(self.siblings),
                "batch": batch,
            },
            indent=2,
        )

    @classmethod
    def decode(cls, text: str) -> Self:
        """The receipt that :meth:`encode` wrote; it is not checked yet.

        Raises:
            DamagedProof: a field is missing, unknown, or none that a receipt may have.
        """
        # The decoder recurses, as deep as whatever limit other libraries have set, and beyond the stack.
        expect(text.count("[") + text.count("{") <= 10, "format", f"nested as no {FORMAT!r} is")
        try:
            given = json.loads(text)
        except ValueError as error:
            raise DamagedProof(f"not JSON: {error}") from error
        expect(isinstance(given, dict) and given.get("format") == FORMAT, "format", f"is not {FORMAT!r}")
        _expect_names("a receipt", given, ("format", *(f.name for f in fields(cls))))
        return cls(
            _integer("chain_id", given["chain_id"]),
            read_bytes("contract", given["contract"], 20),
            _receipts(given["receipts"]),
            _times(given["times"]),
            _leaf("input", InputLeaf, given["input"]),
            _leaf("outcome", OutcomeLeaf, given["outcome"]),
            _siblings("siblings", given["siblings"]),
            None if given["batch"] is None else _in_batch(given["batch"]),
        )


def receipt_of(
    chain_id: int, contract: bytes, made: SlotReceipts, seq: int, batch: InBatch | None = None
) -> Receipt:
    """The receipt of one input of a slot.

    Args:
        chain_id, contract: of the venue.
        made: receipts of the slot.
        seq: of the input.
        batch: as :func:`in_batch` gives it.

    Raises:
        NoSuchLeaf: the slot has none of this sequence number.
    """
    told, leaves = made.receipts, made.leaves
    at = seq - told.first_seq
    siblings = _proof(made.hashes(), at, NodeTag.RECEIPTS)
    cycles = np.frombuffer(told.cycles or bytes(8 * told.count), ">u4").reshape(-1, 2)[at].tolist()
    came = int.from_bytes(told.times_in[8 * at : 8 * at + 8], "big")
    return Receipt(
        chain_id,
        contract,
        told,
        (came, told.time_out, cycles[0], cycles[1]),
        InputLeaf.decode(leaves.inputs[INPUT_BYTES * at : INPUT_BYTES * (at + 1)]),
        OutcomeLeaf.decode(leaves.outcomes[OUTCOME_BYTES * at : OUTCOME_BYTES * (at + 1)]),
        siblings,
        batch,
    )


def in_batch(header: BatchHeader, slots: "list[SlotReceipts]", seq: int) -> InBatch:
    """What a batch has at the place of an input.

    Args:
        header: of the batch.
        slots: all of the batch, in order.
        seq: of the input.

    Raises:
        ProofError: the slots are not those that the header commits to.
    """
    at, found = seq - header.inputs_first, []
    if not 0 <= at < header.inputs_count:
        return InBatch(header, bytes(32), (), bytes(32), ())
    for name, tag in (("input", NodeTag.INPUTS), ("outcome", NodeTag.OUTCOMES)):
        packed = b"".join(getattr(one.leaves, f"{name}_hashes") for one in slots)
        leaves = np.frombuffer(packed, np.uint8).reshape(-1, 32)
        if len(leaves) != header.inputs_count:
            have = f"{len(leaves)} inputs are kept of batch {header.number}"
            raise ProofError(f"{have}, its header has {header.inputs_count}")
        siblings, leaf = _proof(leaves, at, tag), leaves[at].tobytes()
        root = getattr(header, f"{name}s_root")
        if not trees.verify(leaf, at, len(leaves), siblings, root, tag):
            raise ProofError(f"batch {header.number}: what is kept does not lead to its {name}s_root")
        found += [leaf, siblings]
    return InBatch(header, *found)


def _proof(level: NDArray[np.uint8], index: int, tag: NodeTag) -> tuple[bytes, ...]:
    """Siblings of a leaf, a level of the tree at a time; leaves of shape (n, 32)."""
    siblings, wanted = [], {height: at for height, at, _ in trees.path(index, len(level))}
    for height in range(1 + max(wanted, default=-1)):
        if height in wanted:
            siblings.append(level[wanted[height]].tobytes())
        pairs = len(level) // 2
        nodes = np.empty((pairs, 65), np.uint8)
        nodes[:, 0] = tag
        nodes[:, 1:] = level[: 2 * pairs].reshape(pairs, -1)
        level = np.concatenate([keccak256_rows(nodes), level[2 * pairs :]])
    return tuple(siblings)


# Files


def _named(leaf: Packed) -> dict[str, Any]:
    return {f.name: shown(getattr(leaf, f.name)) for f in fields(leaf)}  # type: ignore[arg-type]


def _listed(value: Any) -> Any:
    if isinstance(value, BatchHeader):
        return {name: shown(one) for name, one in asdict(value).items()}
    return [shown(one) for one in value] if isinstance(value, tuple) else shown(value)


def _expect_names(what: str, given: Any, names: tuple[str, ...]) -> None:
    expect(isinstance(given, dict), what, "no object of fields")
    for name in sorted({*names} ^ given.keys()):
        raise DamagedProof(f"{name}: {'missing' if name in names else f'{what} has no such field'}")


def _integer(name: str, given: Any) -> int:
    expect(type(given) is int and 0 <= given < 1 << 64, name, f"{given!r} is not a uint64")
    return int(given)


def _times(given: Any) -> tuple[int, int, int, int]:
    expect(isinstance(given, list) and len(given) == 4, "times", "not four numbers")
    came, out, cycle_in, cycle_out = (_integer(f"times[{n}]", one) for n, one in enumerate(given))
    expect(max(cycle_in, cycle_out) < 1 << 32, "times", f"{max(cycle_in, cycle_out)} is not a uint32")
    return came, out, cycle_in, cycle_out


def _siblings(name: str, given: Any) -> tuple[bytes, ...]:
    expect(isinstance(given, list), name, "not a list")
    return tuple(read_bytes(f"{name}[{n}]", one, 32) for n, one in enumerate(given))


def _receipts(given: Any) -> Receipts:
    _expect_names("receipts", given, _SIGNED)
    values: dict[str, Any] = {
        name: read_bytes(name, one, _HEXADECIMAL[name]) if name in _HEXADECIMAL else _integer(name, one)
        for name, one in given.items()
    }
    expect(values["count"] < 1 << 32, "count", f"{values['count']} is not a uint32")
    return Receipts(**values, time_out=0, times_in=b"")


def _leaf(name: str, kind: Any, given: Any) -> Any:
    names = tuple(f.name for f in fields(kind))
    _expect_names(name, given, names)
    values = {n: read_bytes(n, given[n], None) if isinstance(given[n], str) else given[n] for n in names}
    leaf = kind(**values)
    try:
        leaf.encode()
    except (LeafError, TypeError, ValueError) as error:
        raise DamagedProof(f"{name}: {error}") from error
    return leaf


def _in_batch(given: Any) -> InBatch:
    _expect_names("batch", given, tuple(f.name for f in fields(InBatch)))
    return InBatch(
        read_header(given["header"]),
        read_bytes("batch.input", given["input"], 32),
        _siblings("batch.input_siblings", given["input_siblings"]),
        read_bytes("batch.outcome", given["outcome"], 32),
        _siblings("batch.outcome_siblings", given["outcome_siblings"]),
    )
