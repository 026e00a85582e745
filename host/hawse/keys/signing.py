"""Signatures of user commands: secp256k1, recoverable, low-s."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from coincurve import PrivateKey, PublicKey
from coincurve.utils import GROUP_ORDER_INT
from numpy.typing import NDArray
from tiny_keccak import keccak256

from hawse.wire.dtypes import Array

from .eip712 import Domain, canonical, digests

_HALF_ORDER = (GROUP_ORDER_INT // 2).to_bytes(32, "big")
#: Below this many signatures a thread costs more than it saves.
_CHUNK = 16


def address(key: PublicKey) -> bytes:
    """Ethereum address of a public key, 20 bytes."""
    return bytes(keccak256(key.format(compressed=False)[1:])[12:])


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """Address whose key made ``signature`` (r ‖ s ‖ v, v 0 or 1, 65 bytes), or None if it is not one.

    A high s is not a signature here, so that nobody can turn one signature into another.
    """
    if len(signature) != 65 or signature[64] > 1 or signature[32:64] > _HALF_ORDER:
        return None
    try:
        return address(PublicKey.from_signature_and_message(signature, digest, None))
    except ValueError:
        return None


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "signatures")


def _owners(owners: NDArray[np.uint8] | Iterable[bytes]) -> list[bytes]:
    if not isinstance(owners, np.ndarray):
        return [bytes(owner) for owner in owners]
    if owners.dtype != np.uint8 or owners.ndim != 2 or owners.shape[1] != 20:
        raise ValueError(f"owners: {owners.dtype} of shape {owners.shape}, not uint8 of shape (n, 20)")
    raw = owners.tobytes()
    return [raw[at : at + 20] for at in range(0, len(raw), 20)]


def verify(
    commands: Array, owners: NDArray[np.uint8] | Iterable[bytes], domain: Domain, workers: int = 2
) -> NDArray[np.bool_]:
    """Which commands are signed by their owners.

    A row counts only if it is canonical (see :func:`hawse.keys.eip712.canonical`), its s is low, its v is 0
    or 1 and the key recovered from it has the owner's address. Nothing that a row holds raises.

    Args:
        commands: n rows of :data:`~hawse.keys.messages.USER_COMMAND`.
        owners: address of the owner of each row's account: (n, 20) uint8, or n times 20 bytes. An owner of
            any other length (b"" for an unknown account) matches no signature.
        domain: of the venue.
        workers: threads; libsecp256k1 runs without the interpreter's lock.

    Returns:
        n booleans.

    Raises:
        ValueError: not n owners, or an array of another shape.
    """
    expected = _owners(owners)
    if len(expected) != len(commands):
        raise ValueError(f"owners: {len(expected)} for {len(commands)} commands")
    out = np.zeros(len(commands), np.bool_)
    rows = np.flatnonzero(canonical(commands))
    chosen = commands[rows]
    hashes, raw = digests(chosen, domain), chosen["signature"].tobytes()

    def check(first: int, last: int) -> list[bool]:
        return [
            recover(hashes[i], raw[65 * i : 65 * (i + 1)]) == expected[row]
            for i, row in enumerate(rows[first:last].tolist(), first)
        ]

    # Several chunks a thread: one that is held up delays the others less.
    chunk = max(_CHUNK, -(-len(rows) // (4 * workers)))
    if workers == 1 or len(rows) <= chunk:
        out[rows] = check(0, len(rows))
    else:
        starts = range(0, len(rows), chunk)
        parts = _pool(workers).map(check, starts, [first + chunk for first in starts])
        out[rows] = [good for part in parts for good in part]
    return out


def sign(commands: Array, domain: Domain, private_keys: Sequence[bytes]) -> None:
    """Fill in the signature of each command, deterministically (RFC 6979).

    Args:
        commands: n rows of :data:`~hawse.keys.messages.USER_COMMAND`, changed in place.
        domain: of the venue.
        private_keys: n times 32 bytes; the same object may stand in many places.

    Raises:
        ValueError: not n keys, a key that is not one, or a row that is not canonical.
    """
    if len(private_keys) != len(commands):
        raise ValueError(f"private_keys: {len(private_keys)} for {len(commands)} commands")
    for secret in set(private_keys):
        if len(secret) != 32:
            raise ValueError(f"private_keys: one has {len(secret)} bytes, not 32")
    stray = np.flatnonzero(~canonical(commands))
    if len(stray):
        raise ValueError(f"commands: row {stray[0]} has an unknown request, or an unused field that is not 0")
    keys = {secret: PrivateKey(secret) for secret in set(private_keys)}
    signatures = [
        keys[secret].sign_recoverable(digest, None)
        for digest, secret in zip(digests(commands, domain), private_keys, strict=True)
    ]
    commands["signature"] = np.frombuffer(b"".join(signatures), np.uint8).reshape(-1, 65)
