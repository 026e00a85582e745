"""Signed structs that are no rows: what publishers and the operator sign, redirections, and sessions.

Each function gives the EIP-712 hashStruct, 32 bytes; ``Domain.digest`` makes of it what is signed. A
value that its Solidity type cannot hold raises a ValueError that names it.
"""

from collections.abc import Sequence

from tiny_keccak import keccak256

REDIRECT = "Redirect(uint8 what,uint64 id,address owner,address to,uint64 deadline)"
OBSERVATION = "Observation(uint16 feed,int64 value,uint64 time,uint64 number)"
SURFACE = "Surface(uint16 underlying,uint32 grid,uint64 time,uint64 number,bytes32 nodes)"
RECEIPTS = (
    "Receipts(uint64 slot,uint64 firstSeq,uint32 count,bytes32 root,uint64 depositIndex,"
    "bytes32 depositAccumulator,uint64 finalBatch,bytes32 finalDigest)"
)
OPERATION = "Operation(uint64 slot,uint8 kind,bytes32 body)"
SESSION = "Session(uint32 account,uint64 generation,uint64 time,uint64 expiry,bytes32 gateway)"
#: Nodes of the largest surface.
MOST_NODES = 128


def _word(type_: str, name: str, value: int | bytes) -> bytes:
    """The 32 bytes that stand for one member."""
    if type_ in ("address", "bytes32"):
        size = 20 if type_ == "address" else 32
        if not isinstance(value, bytes) or len(value) != size:
            raise ValueError(f"{name}: {value!r} is not {size} bytes")
        return value.rjust(32, b"\0")
    signed = type_.startswith("int")
    bits = int(type_.lstrip("uint"))
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    if not isinstance(value, int) or not low <= value < high:
        raise ValueError(f"{name}: {value!r} is not within {type_}")
    return value.to_bytes(32, "big", signed=True)


def _hash(text: str, *values: int | bytes) -> bytes:
    members = [member.split() for member in text.partition("(")[2].rstrip(")").split(",")]
    words = [_word(type_, name, value) for (type_, name), value in zip(members, values, strict=True)]
    return bytes(keccak256(keccak256(text.encode()) + b"".join(words)))


def redirect(what: int, id_: int, owner: bytes, to: bytes, deadline: int) -> bytes:
    """An owner who cannot be paid names another address; ``deadline`` in seconds. The contract checks it."""
    return _hash(REDIRECT, what, id_, owner, to, deadline)


def observation(feed: int, value: int, time: int, number: int) -> bytes:
    """A publisher's price, above 0, at ``time`` (milliseconds), its ``number``-th of this feed."""
    if value <= 0:
        raise ValueError(f"value: {value} is not above 0")
    return _hash(OBSERVATION, feed, value, time, number)


def nodes_hash(nodes: Sequence[int]) -> bytes:
    """Hash of a surface's volatilities, parts per million, u32 each, at most 128."""
    if len(nodes) > MOST_NODES:
        raise ValueError(f"nodes: {len(nodes)}, more than {MOST_NODES}")
    for at, node in enumerate(nodes):
        if not 0 <= node < 1 << 32:
            raise ValueError(f"nodes: {node} at {at} is not within uint32")
    return bytes(keccak256(b"\xa4" + b"".join(node.to_bytes(4, "big") for node in nodes)))


def surface(underlying: int, grid: int, time: int, number: int, nodes: Sequence[int]) -> bytes:
    """A publisher's volatilities at the nodes of ``grid``."""
    return _hash(SURFACE, underlying, grid, time, number, nodes_hash(nodes))


def receipts(
    slot: int,
    first_seq: int,
    count: int,
    root: bytes,
    deposit_index: int,
    deposit_accumulator: bytes,
    final_batch: int,
    final_digest: bytes,
) -> bytes:
    """The operator's answer to all inputs of a slot, ``root`` over their receipts."""
    return _hash(
        RECEIPTS,
        slot,
        first_seq,
        count,
        root,
        deposit_index,
        deposit_accumulator,
        final_batch,
        final_digest,
    )


def operation_body(kind: int, body: bytes) -> bytes:
    """Hash of an operation's kind (u8) and body, as its input leaf has it."""
    return bytes(keccak256(b"\xa3" + _word("uint8", "kind", kind)[-1:] + body))


def operation(slot: int, kind: int, body: bytes) -> bytes:
    """An input of the operator, good for one slot."""
    return _hash(OPERATION, slot, kind, operation_body(kind, body))


def session(account: int, generation: int, time: int, expiry: int, gateway: bytes) -> bytes:
    """A user asks a gateway, by the id of its present run, to read his account until ``expiry``."""
    return _hash(SESSION, account, generation, time, expiry, gateway)
