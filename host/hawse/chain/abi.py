"""What a reader calls of the settlement contract, so that reading needs neither its source nor a compiler."""

from typing import Any


def _fields(**types: str) -> list[dict[str, str]]:
    return [{"name": name, "type": type_} for name, type_ in types.items()]


_BATCH = _fields(
    digest="bytes32",
    state_root="bytes32",
    exit_root="bytes32",
    log_root="bytes32",
    log_leaves="uint64",
    log_records="uint64",
    withdrawals_root="bytes32",
    withdrawals_remaining="uint256",
)

#: The views ``batches`` and ``record_included`` of ``Settlement.vy``, as its compiler describes them.
READING: list[dict[str, Any]] = [
    {
        "stateMutability": "view",
        "type": "function",
        "name": "batches",
        "inputs": _fields(arg0="uint64"),
        "outputs": [{"name": "", "type": "tuple", "components": _BATCH}],
    },
    {
        "stateMutability": "view",
        "type": "function",
        "name": "record_included",
        "inputs": _fields(
            batch="uint64",
            record="bytes24",
            leaf="uint64",
            position="uint256",
            chunk="bytes",
            proof="bytes32[]",
        ),
        "outputs": [{"name": "", "type": "bool"}],
    },
]
