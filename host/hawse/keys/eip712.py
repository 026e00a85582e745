"""EIP-712 digests of user commands, for whole arrays at once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tiny_keccak import keccak256

from hawse.wire.dtypes import Array

from .messages import USER_COMMAND, Request

_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"

#: Solidity type and name of each signed field.
_FIELDS = {
    "account": "uint32 account",
    "order_id": "uint64 orderId",
    "instrument": "uint16 instrument",
    "side": "uint8 side",
    "time_in_force": "uint8 timeInForce",
    "self_trade": "uint8 selfTrade",
    "price": "int32 price",
    "quantity": "uint32 quantity",
    "amount": "uint64 amount",
    "nonce": "uint64 nonce",
    "expiry": "uint64 expiry",
}

#: Fields of a row that each request signs, in the order of its EIP-712 type. All others must be zero.
MEMBERS = {
    Request.NEW: (
        "account",
        "order_id",
        "instrument",
        "side",
        "time_in_force",
        "self_trade",
        "price",
        "quantity",
        "nonce",
        "expiry",
    ),
    Request.CANCEL: ("account", "order_id", "nonce", "expiry"),
    Request.REPLACE: ("account", "order_id", "price", "quantity", "nonce", "expiry"),
    Request.REDUCE: ("account", "order_id", "quantity", "nonce", "expiry"),
    Request.WITHDRAW: ("account", "amount", "nonce", "expiry"),
}

#: EIP-712 type string of each request.
TYPES = {
    request: f"{request.name.capitalize()}({','.join(_FIELDS[m] for m in members)})"
    for request, members in MEMBERS.items()
}
_TYPE_HASHES = {request: bytes(keccak256(text.encode())) for request, text in TYPES.items()}


@dataclass(frozen=True)
class Domain:
    """What a signature is good for: name "Hawse", version "1", one chain and one settlement contract.

    Raises:
        ValueError: ``chain_id`` is not a uint256, or ``contract`` is not 20 bytes.
    """

    chain_id: int
    contract: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.chain_id < 1 << 256:
            raise ValueError(f"chain_id: {self.chain_id} is not a uint256")
        if len(self.contract) != 20:
            raise ValueError(f"contract: {len(self.contract)} bytes, not 20")

    @cached_property
    def separator(self) -> bytes:
        """The domain separator, 32 bytes."""
        words = [keccak256(text.encode()) for text in (_DOMAIN_TYPE, "Hawse", "1")]
        words += [self.chain_id.to_bytes(32, "big"), self.contract.rjust(32, b"\0")]
        return bytes(keccak256(b"".join(words)))

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed for a struct, a batch header for one, whose hashStruct is ``struct_hash``."""
        return bytes(keccak256(b"\x19\x01" + self.separator + struct_hash))


def _must_be_zero() -> NDArray[np.uint8]:
    """For every value of ``request`` a mask of the row's bits that a canonical row leaves zero."""
    masks = np.full((256, USER_COMMAND.itemsize), 0xFF, np.uint8)
    rows = masks.view(USER_COMMAND)[:, 0]
    for request, members in MEMBERS.items():
        for name in ("request", "signature", *members):
            rows[name][request] = 0
    return masks


_MUST_BE_ZERO = _must_be_zero()
_KNOWN = np.array([value in MEMBERS for value in range(256)])


def canonical(commands: Array) -> NDArray[np.bool_]:
    """Which rows are the one encoding of what they mean: a known request, its unused fields zero.

    Args:
        commands: n rows of :data:`~hawse.keys.messages.USER_COMMAND`.

    Returns:
        n booleans.
    """
    rows = np.ascontiguousarray(commands)
    raw = rows.view(np.uint8).reshape(len(rows), USER_COMMAND.itemsize)
    stray = raw & _MUST_BE_ZERO[rows["request"]]
    return np.asarray(_KNOWN[rows["request"]] & ~stray.any(axis=1))


def _structs(commands: Array, request: Request) -> bytes:
    """Type hash and members of each row, as EIP-712 encodes them: one 32-byte word each, big-endian."""
    members = MEMBERS[request]
    words = np.zeros((len(commands), 1 + len(members), 32), np.uint8)
    words[:, 0] = np.frombuffer(_TYPE_HASHES[request], np.uint8)
    for at, name in enumerate(members, 1):
        values = commands[name]
        size = values.dtype.itemsize
        big_endian = values.astype(values.dtype.newbyteorder(">"))
        words[:, at, 32 - size :] = big_endian.view(np.uint8).reshape(-1, size)
        if values.dtype.kind == "i":
            words[values < 0, at, : 32 - size] = 0xFF
    return words.tobytes()


def digests(commands: Array, domain: Domain) -> list[bytes]:
    """EIP-712 digest of each command.

    Args:
        commands: n rows of :data:`~hawse.keys.messages.USER_COMMAND`; signatures and unused fields are not
            looked at.
        domain: of the venue.

    Returns:
        n digests of 32 bytes.

    Raises:
        ValueError: a row's request is not one of :class:`~hawse.keys.messages.Request`.
    """
    unknown = np.flatnonzero(~_KNOWN[commands["request"]])
    if len(unknown):
        value = commands["request"][unknown[0]]
        raise ValueError(f"request: {value} in row {unknown[0]} is not one of {[int(r) for r in Request]}")
    out = [b""] * len(commands)
    prefix = b"\x19\x01" + domain.separator
    for request, members in MEMBERS.items():
        rows = np.flatnonzero(commands["request"] == request)
        structs = _structs(commands[rows], request)
        size = 32 * (1 + len(members))
        for at, row in enumerate(rows.tolist()):
            out[row] = keccak256(prefix + keccak256(structs[at * size : (at + 1) * size]))
    return out
