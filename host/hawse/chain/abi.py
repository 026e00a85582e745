"""What a reader calls of the settlement contract, so that reading needs neither its source nor a compiler."""

from typing import Any

from hawse.commit.header import TYPES


def _fields(**types: str) -> list[dict[str, Any]]:
    return [{"name": name, "type": type_} for name, type_ in types.items()]


def _struct(name: str, fields: list[dict[str, Any]], type_: str = "tuple") -> dict[str, Any]:
    return {"name": name, "type": type_, "components": fields}


def _view(name: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "stateMutability": "view",
        "type": "function",
        "name": name,
        "inputs": inputs,
        "outputs": outputs,
    }


def _nameless(*types: str) -> list[dict[str, Any]]:
    return [{"name": "", "type": type_} for type_ in types]


_HEADER = _struct("header", _fields(**TYPES))
_EXIT_NODE = _fields(hash="bytes32", positive="uint128", shortfall="uint128")

#: Some views of ``Settlement.vy``, as its compiler describes them.
READING: list[dict[str, Any]] = [
    _view(
        "batches",
        _fields(arg0="uint64"),
        [_struct("", _fields(digest="bytes32", withdrawals="bytes32", place="uint256"))],
    ),
    *(
        _view(name, _fields(**takes), _nameless(gives))
        for name, takes, gives in (
            ("operator", {}, "address"),
            ("frozen", {}, "bool"),
            ("last_final", {}, "uint64"),
            ("batch_count", {}, "uint64"),
            ("deposit_accumulators", {"arg0": "uint64"}, "bytes32"),
        )
    ),
    _view("exit_factor", [_HEADER], _nameless("uint256", "uint256")),
    _view(
        "exit_payout",
        [
            _HEADER,
            *_fields(index="uint32", owner="address", generation="uint64", equity="int128"),
            _struct("proof", _EXIT_NODE, "tuple[]"),
        ],
        _nameless("uint256"),
    ),
]
