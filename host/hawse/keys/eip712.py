"""EIP-712 digests of signed messages, for whole arrays at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tiny_keccak import keccak256

from hawse.wire.dtypes import Array

from .members import MEMBERS, TYPES
from .messages import BODIES, MESSAGE, NO_INSTRUMENT, ROW_BYTES, MarginMode, MessageKind, Split, split

_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
#: keccak256 of the EIP-712 type of each kind.
TYPE_HASHES = {kind: bytes(keccak256(text.encode())) for kind, text in TYPES.items()}
#: What stands for the struct of a message that is none.
NO_STRUCT = bytes(32)


@dataclass(frozen=True)
class Domain:
    """What a signature is good for: name "Hawse", version "2", one chain and one settlement contract.

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
        words = [keccak256(text.encode()) for text in (_DOMAIN_TYPE, "Hawse", "2")]
        words += [self.chain_id.to_bytes(32, "big"), self.contract.rjust(32, b"\0")]
        return bytes(keccak256(b"".join(words)))

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed for a struct, a batch header for one, whose hashStruct is ``struct_hash``."""
        return bytes(keccak256(b"\x19\x01" + self.separator + struct_hash))


def _must_be_zero() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """For every kind a mask of the bits that a canonical first row, and second row, leaves zero.

    Both are (256, 16): a row as 64-bit words is tested four times as fast as one of bytes.
    """
    heads = np.full((256, ROW_BYTES), 0xFF, np.uint8)
    bodies = heads.copy()
    for kind, members in MEMBERS.items():
        for name in ("kind", "signature", *(m.column for m in members if not m.body)):
            heads.view(MESSAGE)[name][kind] = 0
        for name in {m.column for m in members if m.body}:
            bodies.view(BODIES[kind])[name][kind] = np.zeros((), BODIES[kind][name])
    return heads.view(np.uint64), bodies.view(np.uint64)


def _modes() -> NDArray[np.bool_]:
    """For every kind which values of ``mode`` are defined."""
    out = np.zeros((256, 256), np.bool_)
    out[:, 0] = True
    out[MessageKind.ORDER, [0, 1, 2, 4, 5, 6]] = True
    out[MessageKind.MARGIN_MODE, list(MarginMode)] = True
    return out


_ZERO_HEAD, _ZERO_BODY = _must_be_zero()
_MODES = _modes()
_KNOWN = np.array([value in MEMBERS for value in range(256)])


def _gather(rows: Array, indices: NDArray[np.intp]) -> Array:
    """Contiguous rows of ascending ``indices``; no copy if that is all of them."""
    return np.ascontiguousarray(rows if len(indices) == len(rows) else rows[indices])


def _stray(rows: Array, zero: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return np.asarray((rows.view(np.uint64).reshape(len(rows), ROW_BYTES // 8) & zero).any(axis=1))


def _good_bodies(kinds: NDArray[np.uint8], bodies: Array) -> NDArray[np.bool_]:
    good = ~_stray(bodies, _ZERO_BODY[kinds])
    many = np.flatnonzero(kinds == MessageKind.MULTI_LEG)
    legs = bodies[many].view(BODIES[MessageKind.MULTI_LEG])["legs"]
    unused = legs["instrument"] == NO_INSTRUMENT
    empty = unused & (legs["ratio"] == 0) & (legs["price"] == 0)
    good[many] &= (np.logical_or.accumulate(unused, axis=1) == empty).all(axis=1)
    return np.asarray(good)


def canonical_at(rows: Array, at: Split) -> NDArray[np.bool_]:
    """:func:`canonical`, where it is known where the messages are."""
    heads = _gather(rows, at.starts)
    kinds = heads["kind"]
    good = _KNOWN[kinds] & ~_stray(heads, _ZERO_HEAD[kinds])
    good &= (heads["side"] <= 1) & (heads["time_in_force"] <= 3) & _MODES[kinds, heads["mode"]]
    good &= (kinds != MessageKind.CANCEL_ALL) | (heads["amount"] <= heads["nonce"])
    wide = np.flatnonzero(at.bodies >= 0)
    if len(wide):
        good[wide] &= _good_bodies(kinds[wide], _gather(rows, at.bodies[wide]))
    return np.asarray(good)


def canonical(rows: Array) -> NDArray[np.bool_]:
    """Which messages are the one encoding of what they mean.

    That is: a known kind, fields that it does not have zero, side, time in force and modes defined, unused
    legs last and empty, a nonce floor not above the nonce.

    Args:
        rows: of m messages (see :func:`~hawse.keys.messages.split`).

    Returns:
        m booleans.

    Raises:
        ValueError: half of the last message is missing.
    """
    return canonical_at(rows, split(rows))


def _structs(heads: Array, bodies: Array, kind: MessageKind) -> bytes:
    """Type hash and members of each message, as EIP-712 encodes them: one 32-byte word each, big-endian."""
    members = MEMBERS[kind]
    words = np.zeros((len(heads), 1 + len(members), 32), np.uint8)
    words[:, 0] = np.frombuffer(TYPE_HASHES[kind], np.uint8)
    for at, member in enumerate(members, 1):
        values = member.values(heads, bodies)
        if values.ndim == 2:  # an address
            words[:, at, 12:] = values
            continue
        size = values.dtype.itemsize
        words[:, at, 32 - size :] = values.byteswap().view(np.uint8).reshape(-1, size)
        if values.dtype.kind == "i":
            words[values < 0, at, : 32 - size] = 0xFF
    return words.tobytes()


#: Hashes of each so many bytes.
Hasher = Callable[[bytes, int], list[bytes]]


def hash_each(messages: bytes, size: int) -> list[bytes]:
    """Keccak-256 of each ``size`` bytes; whoever has many brings a faster one."""
    return [bytes(keccak256(messages[at : at + size])) for at in range(0, len(messages), size)]


def _struct_hashes(rows: Array, at: Split, chosen: NDArray[np.intp], each: Hasher) -> list[bytes]:
    """Of the messages ``chosen``, all of them canonical."""
    heads = _gather(rows, at.starts[chosen])
    kinds = heads["kind"]
    out = [NO_STRUCT] * len(chosen)
    for kind, members in MEMBERS.items():
        mine = np.flatnonzero(kinds == kind)
        if not len(mine):
            continue
        bodies = rows[:0]
        if kind in BODIES:
            bodies = _gather(rows, at.bodies[chosen[mine]]).view(BODIES[kind])
        structs = _structs(heads[mine], bodies, kind)
        size = 32 * (1 + len(members))
        hashes = each(structs, size)
        if len(mine) == len(chosen):
            return hashes
        for place, value in zip(mine.tolist(), hashes, strict=True):
            out[place] = value
    return out


def struct_hashes(rows: Array, each: Hasher = hash_each) -> list[bytes]:
    """EIP-712 hashStruct of each message.

    Args:
        rows: of m messages; signatures are not looked at.
        each: what hashes them.

    Returns:
        m times 32 bytes; zeros for a message that is not canonical, which is the encoding of no struct.

    Raises:
        ValueError: half of the last message is missing.
    """
    at = split(rows)
    good = np.flatnonzero(canonical_at(rows, at))
    found = _struct_hashes(rows, at, good, each)
    if len(good) == len(at.starts):
        return found
    out = [NO_STRUCT] * len(at.starts)
    for place, value in zip(good.tolist(), found, strict=True):
        out[place] = value
    return out


def good_digests(
    rows: Array, domain: Domain, structs: Sequence[bytes] | None = None, each: Hasher = hash_each
) -> tuple[Split, NDArray[np.intp], list[bytes]]:
    """Where the messages are, which of them are canonical, and the digest of each of these.

    ``structs`` is what :func:`struct_hashes` gave, where it was asked before.

    Raises:
        ValueError: half of the last message is missing.
    """
    at = split(rows)
    good = np.flatnonzero(canonical_at(rows, at))
    prefix = b"\x19\x01" + domain.separator
    mine = _struct_hashes(rows, at, good, each) if structs is None else [structs[n] for n in good.tolist()]
    return at, good, each(b"".join([prefix + struct for struct in mine]), len(prefix) + 32)


def bad_message(rows: Array, at: Split, good: NDArray[np.intp]) -> str:
    """What is wrong with the first message that is not among ``good``."""
    row = int(np.delete(at.starts, good)[0])
    kind = int(rows["kind"][row])
    if not _KNOWN[kind]:
        return f"kind: {kind} in row {row} is not within 1..{max(MessageKind)}"
    return f"rows: the {MessageKind(kind).name} of row {row} is not canonical"


def digests(rows: Array, domain: Domain) -> list[bytes]:
    """EIP-712 digest of each message.

    Args:
        rows: of m messages; signatures are not looked at.
        domain: of the venue.

    Returns:
        m digests of 32 bytes.

    Raises:
        ValueError: a message is not canonical, or half of the last is missing.
    """
    at, good, out = good_digests(rows, domain)
    if len(good) != len(at.starts):
        raise ValueError(bad_message(rows, at, good))
    return out
