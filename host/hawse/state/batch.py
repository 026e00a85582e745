"""What the state contributes to a batch."""

from dataclasses import dataclass
from typing import Any

from hawse.commit import exits, leaves, withdrawals
from hawse.commit.exits import Exit, Node
from hawse.commit.header import VERSION
from hawse.commit.withdrawals import Withdrawal

from .slot import Refusal


@dataclass(frozen=True)
class BatchState:
    """What the machine contributes to a batch header, and the lists behind its roots."""

    number: int
    state_root: bytes
    rules_hash: bytes
    time: int
    deposit_index: int
    deposit_accumulator: bytes
    haircut: exits.Haircut
    exits: tuple[Exit, ...]
    withdrawals: tuple[Withdrawal, ...]
    refusals: tuple[tuple[int, Refusal], ...]

    def header_fields(self) -> dict[str, Any]:
        """Values of :class:`hawse.commit.header.BatchHeader`, but number, previous root, log and journal.

        Forced requests and external data availability do not exist yet: their fields are zero.
        """
        exit_root, exit_sum = exits.root(self.exits)
        return {
            "version": VERSION,
            "state_root": self.state_root,
            "exit_root": exit_root,
            "exit_sum": exit_sum,
            "exit_numerator": self.haircut.numerator,
            "exit_denominator": self.haircut.denominator,
            "outcomes_root": leaves.outcomes_root(self.refusals),
            "withdrawals_root": withdrawals.root(self.withdrawals),
            "withdrawals_sum": sum(w.amount for w in self.withdrawals),
            "deposit_index": self.deposit_index,
            "deposit_accumulator": self.deposit_accumulator,
            "forced_index": 0,
            "forced_accumulator": bytes(32),
            "data_hash": bytes(32),
            "data_provider": bytes(32),
            "rules_hash": self.rules_hash,
            "insurance": self.haircut.insurance,
            "fees": self.haircut.fees,
            "dust": self.haircut.dust,
            "time": self.time,
        }

    def withdrawal_proofs(self) -> tuple[tuple[int, tuple[bytes, ...]], ...]:
        """(path, siblings) of each withdrawal."""
        return tuple(withdrawals.proof(self.withdrawals, i) for i in range(len(self.withdrawals)))

    def exit_proof(self, account: int) -> tuple[Exit, int, tuple[Node, ...]]:
        """Exit leaf of ``account``, path and siblings with their sums.

        Raises:
            IndexError: no such account.
        """
        path, siblings = exits.proof(self.exits, account - 1)
        return self.exits[account - 1], path, siblings
