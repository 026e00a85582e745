"""Batch headers for tests of whatever anchors, keeps or reads them."""

from hawse.commit.header import VERSION, BatchHeader
from hawse.commit.trees import EMPTY

GENESIS, RULES, ASSETS = b"\x11" * 32, b"\x22" * 32, b"\x23" * 32
#: Milliseconds of the first batch.
TIME = 1_700_000_000_000


def header(**changes):
    """A first batch of ten slots that owes nobody anything; ``changes`` are fields of it."""
    values = {
        "version": VERSION,
        "number": 1,
        "previous_state_root": GENESIS,
        "state_root": b"\x31" * 32,
        "accounts": 5,
        "inputs_root": b"\x32" * 32,
        "outcomes_root": b"\x33" * 32,
        "inputs_first": 1,
        "inputs_count": 100,
        "log_root": b"\x34" * 32,
        "log_leaves": 7,
        "log_records": 400,
        "exit_root": b"\x35" * 32,
        "exit_positive": 0,
        "exit_shortfall": 0,
        "exit_marks_root": b"\x36" * 32,
        "exit_marks": 2,
        "insurance": 0,
        "fees": 0,
        "dust": 0,
        "withdrawals_root": EMPTY,
        "withdrawals_first": 1,
        "withdrawals_count": 0,
        "withdrawals_sum": 0,
        "deposit_index": 0,
        "deposit_accumulator": bytes(32),
        "forced_index": 0,
        "forced_accumulator": bytes(32),
        "data_hash": bytes(32),
        "data_provider": 0,
        "rules_hash": RULES,
        "assets_hash": ASSETS,
        "journal_first": 0,
        "journal_last": 9,
        "journal_hash": b"\x37" * 32,
        "time": TIME,
    }
    return BatchHeader(**values | changes)


def withdrawals(among):
    """The fields of a header that pays the withdrawals of a :class:`hawse.commit.withdrawals.Range`."""
    return {
        "withdrawals_root": among.root,
        "withdrawals_first": among.first,
        "withdrawals_count": among.count,
        "withdrawals_sum": among.sum,
    }
