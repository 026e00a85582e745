# pragma version 0.4.3
"""
@title Header of a batch
@license Apache-2.0
@notice What a batch is to the contracts; docs/commitments.md says what stands in each field.
"""


struct BatchHeader:
    version: uint16
    number: uint64
    previous_state_root: bytes32
    state_root: bytes32
    accounts: uint32
    inputs_root: bytes32
    outcomes_root: bytes32
    inputs_first: uint64
    inputs_count: uint32
    log_root: bytes32
    log_leaves: uint64
    log_records: uint64
    exit_root: bytes32
    exit_positive: uint128
    exit_shortfall: uint128
    exit_marks_root: bytes32
    exit_marks: uint16
    insurance: int128
    fees: uint128
    dust: uint128
    withdrawals_root: bytes32
    withdrawals_first: uint64
    withdrawals_count: uint32
    withdrawals_sum: uint128
    deposit_index: uint64
    deposit_accumulator: bytes32
    forced_index: uint64
    forced_accumulator: bytes32
    data_hash: bytes32
    data_provider: uint16
    rules_hash: bytes32
    assets_hash: bytes32
    journal_first: uint64
    journal_last: uint64
    journal_hash: bytes32
    time: uint64
