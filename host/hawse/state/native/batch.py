"""What the native state contributes to a batch: the header's numbers, and the lists when asked."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hawse.commit.exits import ExitLeaf, ExitMark
from hawse.commit.header import VERSION
from hawse.commit.trees import Node
from hawse.commit.withdrawals import Withdrawal
from hawse.state.batch import BatchState

from . import bindings
from .bindings import copied, wide

if TYPE_CHECKING:
    from .machine import NativeMachine

_HASHES = {
    "state_root": "state_root",
    "inputs_root": "inputs_root",
    "outcomes_root": "outcomes_root",
    "exit_root": "exit_root",
    "exit_marks_root": "marks_root",
    "withdrawals_root": "withdrawals_root",
    "deposit_accumulator": "deposit_accumulator",
    "forced_accumulator": "request_accumulator",
    "rules_hash": "rules",
    "assets_hash": "assets",
}
_NUMBERS = {
    "number": "number",
    "accounts": "accounts",
    "inputs_first": "inputs_first",
    "inputs_count": "inputs_count",
    "exit_marks": "marks",
    "insurance": "insurance",
    "withdrawals_first": "withdrawals_first",
    "withdrawals_count": "withdrawals_count",
    "deposit_index": "deposit_index",
    "forced_index": "request_index",
    "time": "time",
}
_WIDE = ("exit_positive", "exit_shortfall", "fees", "dust", "withdrawals_sum")


class PackedBatch:
    """:class:`hawse.state.batch.BatchState`, with the lists in arrays until somebody wants a proof."""

    def __init__(self, row: np.void, machine: "NativeMachine") -> None:
        self._row = row
        hashes = np.dtype(("u1", (32,)))
        inputs, paid = int(row["inputs_count"]), int(row["withdrawals_count"])
        self._inputs = copied(int(row["inputs"]), inputs, hashes)
        self._outcomes = copied(int(row["outcomes"]), inputs, hashes)
        self._withdrawals = copied(int(row["withdrawals"]), paid, bindings.WITHDRAWAL)
        self._exits = copied(int(row["exits"]), int(row["accounts"]), np.dtype("<i8"))
        self._owners = machine.owners()
        self.marks = tuple(
            ExitMark(n, m.mark, m.mark, m.funding.cumulative, m.terms.numerator, m.terms.denominator, 0)
            for n, m in machine.markets.items()
        )

    @property
    def number(self) -> int:
        """Of the batch."""
        return int(self._row["number"])

    def header_fields(self) -> dict[str, Any]:
        """Values of a batch header, as ``BatchState.header_fields``."""
        row = self._row
        fields: dict[str, Any] = {name: row[of].tobytes() for name, of in _HASHES.items()}
        fields |= {name: int(row[of]) for name, of in _NUMBERS.items()}
        fields |= {name: wide(row[name]) for name in _WIDE}
        return fields | {"version": VERSION}

    @cached_property
    def whole(self) -> BatchState:
        """The same with all its lists."""
        fields = self.header_fields()
        return BatchState(
            **{
                name: fields[name]
                for name in (
                    "number",
                    "state_root",
                    "rules_hash",
                    "assets_hash",
                    "time",
                    "inputs_first",
                    "deposit_index",
                    "deposit_accumulator",
                    "insurance",
                    "fees",
                    "dust",
                    "withdrawals_first",
                )
            },
            request_index=fields["forced_index"],
            request_accumulator=fields["forced_accumulator"],
            inputs=tuple(leaf.tobytes() for leaf in self._inputs),
            outcomes=tuple(leaf.tobytes() for leaf in self._outcomes),
            exits=self.exits,
            marks=self.marks,
            withdrawals=self.withdrawals,
        )

    @cached_property
    def exits(self) -> tuple[ExitLeaf, ...]:
        """Leaf of every account index."""
        return tuple(
            ExitLeaf(index, row["owner"].tobytes(), int(row["generation"]), 0, int(equity))
            for index, (row, equity) in enumerate(zip(self._owners, self._exits, strict=True))
        )

    @cached_property
    def withdrawals(self) -> tuple[Withdrawal, ...]:
        """In the order of their id."""
        first = int(self._row["withdrawals_first"])
        return tuple(
            Withdrawal(first + n, row["owner"].tobytes(), 0, int(row["amount"]))
            for n, row in enumerate(self._withdrawals)
        )

    def __getattr__(self, name: str) -> Any:
        """Fields of ``BatchState``."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.whole, name)

    def withdrawal_proofs(self) -> tuple[tuple[Node, ...], ...]:
        """As ``BatchState.withdrawal_proofs``."""
        return self.whole.withdrawal_proofs()

    def exit_proof(self, account: int) -> tuple[ExitLeaf, tuple[Node, ...]]:
        """As ``BatchState.exit_proof``."""
        return self.whole.exit_proof(account)

    def input_proof(self, seq: int) -> tuple[bytes, ...]:
        """As ``BatchState.input_proof``."""
        return self.whole.input_proof(seq)

    def outcome_proof(self, seq: int) -> tuple[bytes, ...]:
        """As ``BatchState.outcome_proof``."""
        return self.whole.outcome_proof(seq)
