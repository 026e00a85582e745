"""What the state contributes to a batch."""

from dataclasses import dataclass
from typing import Any

from hawse.commit import exits, trees, withdrawals
from hawse.commit.exits import ExitLeaf, ExitMark
from hawse.commit.header import VERSION
from hawse.commit.trees import Node, NodeTag
from hawse.commit.withdrawals import Withdrawal

from .hashing import tree_root


@dataclass(frozen=True)
class BatchState:
    """What the machine contributes to a batch header, and the lists behind its roots.

    Attributes:
        number: of the batch.
        state_root, rules_hash, assets_hash: 32 bytes each.
        time: of its last slot.
        inputs_first: sequence number of its first input, or of the next if it has none.
        inputs, outcomes: leaf hashes of every input, and of what became of it, in sequence.
        deposit_index, deposit_accumulator: of the last deposit taken in.
        request_index, request_accumulator: of the last forced request.
        exits: leaf of every account index.
        marks: at which they are valued, by instrument.
        insurance: signed equity of the insurance account.
        fees, dust: in quanta.
        withdrawals_first: id of its first withdrawal, or of the next if it has none.
        withdrawals: in the order of their id.
    """

    number: int
    state_root: bytes
    rules_hash: bytes
    assets_hash: bytes
    time: int
    inputs_first: int
    inputs: tuple[bytes, ...]
    outcomes: tuple[bytes, ...]
    deposit_index: int
    deposit_accumulator: bytes
    request_index: int
    request_accumulator: bytes
    exits: tuple[ExitLeaf, ...]
    marks: tuple[ExitMark, ...]
    insurance: int
    fees: int
    dust: int
    withdrawals_first: int
    withdrawals: tuple[Withdrawal, ...]

    def header_fields(self) -> dict[str, Any]:
        """Values of :class:`hawse.commit.header.BatchHeader`, but previous root, log, journal and data."""
        exit_root, (positive, shortfall) = exits.tree(self.exits).root
        paid = withdrawals.range_of(self.withdrawals, self.withdrawals_first)
        return {
            "version": VERSION,
            "number": self.number,
            "state_root": self.state_root,
            "accounts": len(self.exits),
            "inputs_root": tree_root(self.inputs, NodeTag.INPUTS),
            "outcomes_root": tree_root(self.outcomes, NodeTag.OUTCOMES),
            "inputs_first": self.inputs_first,
            "inputs_count": len(self.inputs),
            "exit_root": exit_root,
            "exit_positive": positive,
            "exit_shortfall": shortfall,
            "exit_marks_root": exits.marks_root(self.marks),
            "exit_marks": len(self.marks),
            "insurance": self.insurance,
            "fees": self.fees,
            "dust": self.dust,
            "withdrawals_root": paid.root,
            "withdrawals_first": paid.first,
            "withdrawals_count": paid.count,
            "withdrawals_sum": paid.sum,
            "deposit_index": self.deposit_index,
            "deposit_accumulator": self.deposit_accumulator,
            "forced_index": self.request_index,
            "forced_accumulator": self.request_accumulator,
            "rules_hash": self.rules_hash,
            "assets_hash": self.assets_hash,
            "time": self.time,
        }

    def withdrawal_proofs(self) -> tuple[tuple[Node, ...], ...]:
        """Siblings of each withdrawal, as the contract's ``claim`` takes them."""
        tree = withdrawals.tree(self.withdrawals)
        return tuple(tree.proof(at) for at in range(len(tree)))

    def exit_proof(self, account: int) -> tuple[ExitLeaf, tuple[Node, ...]]:
        """Exit leaf of an account index, and its siblings.

        Raises:
            NoSuchLeaf: no such account.
        """
        siblings = exits.tree(self.exits).proof(account)
        return self.exits[account], siblings

    def input_proof(self, seq: int) -> tuple[bytes, ...]:
        """Siblings of the leaf of an input, in the tree of inputs.

        Raises:
            NoSuchLeaf: the batch has no input of this sequence number.
        """
        return trees.proof(self.inputs, seq - self.inputs_first, NodeTag.INPUTS)

    def outcome_proof(self, seq: int) -> tuple[bytes, ...]:
        """Siblings of the leaf of what became of an input, in the tree of outcomes.

        Raises:
            NoSuchLeaf: the batch has no input of this sequence number.
        """
        return trees.proof(self.outcomes, seq - self.inputs_first, NodeTag.OUTCOMES)
