"""Signatures of messages: secp256k1, recoverable, low s, compact as EIP-2098 has them."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from coincurve import PrivateKey, PublicKey
from coincurve.utils import GROUP_ORDER_INT
from numpy.typing import NDArray
from tiny_keccak import keccak256

from hawse.wire.dtypes import Array

from .eip712 import Domain, Hasher, bad_message, good_digests, hash_each

SIGNATURE_BYTES = 64
_HALF_ORDER = (GROUP_ORDER_INT // 2).to_bytes(32, "big")
#: Below this many signatures a thread costs more than it saves.
_CHUNK = 16


def address(key: PublicKey) -> bytes:
    """Ethereum address of a public key, 20 bytes."""
    return bytes(keccak256(key.format(compressed=False)[1:])[12:])


def _recover(digest: bytes, signature: bytes) -> bytes | None:
    """As :func:`recover_digest`, of r ‖ s ‖ parity."""
    if signature[32:64] > _HALF_ORDER:
        return None
    try:
        return address(PublicKey.from_signature_and_message(signature, digest, None))
    except ValueError:
        return None


def _recover_each(signatures: bytes, digests: bytes) -> list[bytes | None]:
    size = SIGNATURE_BYTES + 1
    return [
        _recover(digests[32 * n : 32 * n + 32], signatures[size * n : size * n + size])
        for n in range(len(digests) // 32)
    ]


@dataclass(frozen=True)
class Primitives:
    """What the time goes into; whoever has many signatures brings faster ones.

    Attributes:
        hash_each: Keccak-256 of each so many bytes.
        recover_each: of n signatures (65 bytes each: r ‖ s ‖ parity) and n digests, the n addresses, None
            where s is high or no key fits.
    """

    hash_each: Hasher = hash_each
    recover_each: Callable[[bytes, bytes], list[bytes | None]] = _recover_each


PLAIN = Primitives()


def recover_digest(digest: bytes, signature: bytes) -> bytes | None:
    """Address whose key made ``signature`` (64 bytes, EIP-2098), or None if it is not one.

    A high s is not a signature here, so that nobody can turn one signature into another.
    """
    if len(signature) != SIGNATURE_BYTES:
        return None
    parity, high = divmod(signature[32], 0x80)
    return _recover(digest, signature[:32] + bytes([high]) + signature[33:] + bytes([parity]))


def _compact(signature: bytes) -> bytes:
    """EIP-2098 of r ‖ s ‖ parity."""
    return signature[:32] + bytes([signature[32] | signature[64] << 7]) + signature[33:64]


@lru_cache(maxsize=16)
def _private(key: bytes) -> PrivateKey:
    """Making one costs more than a signature."""
    return PrivateKey(key)


def sign_digest(digest: bytes, private_key: bytes) -> bytes:
    """Signature of a digest, 64 bytes, deterministic (RFC 6979).

    Raises:
        ValueError: the digest is not 32 bytes, or the key is not one.
    """
    if len(private_key) != 32:
        raise ValueError(f"private_key: {len(private_key)} bytes, not 32")
    return _compact(_private(private_key).sign_recoverable(digest, None))


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "signatures")


def recover(
    rows: Array,
    domain: Domain,
    workers: int = 2,
    structs: Sequence[bytes] | None = None,
    primitives: Primitives = PLAIN,
) -> list[bytes | None]:
    """Who signed each message.

    Nothing that a row holds raises, half a message apart.

    Args:
        rows: of m messages (see :func:`~hawse.keys.messages.split`).
        domain: of the venue.
        workers: threads; libsecp256k1 runs without the interpreter's lock.
        structs: what :func:`~hawse.keys.eip712.struct_hashes` gave, where it was asked before.
        primitives: what hashes and recovers.

    Returns:
        m addresses of 20 bytes; None where the message is not canonical (see
        :func:`~hawse.keys.eip712.canonical`), its s is high, or no key fits the signature.

    Raises:
        ValueError: half of the last message is missing.
    """
    at, good, hashes = good_digests(rows, domain, structs, primitives.hash_each)
    out: list[bytes | None] = [None] * len(at.starts)
    signatures = np.zeros((len(good), SIGNATURE_BYTES + 1), np.uint8)
    signatures[:, :-1] = rows["signature"][at.starts[good]]
    signatures[:, -1] = signatures[:, 32] >> 7
    signatures[:, 32] &= 0x7F
    raw, joined, size = signatures.tobytes(), b"".join(hashes), SIGNATURE_BYTES + 1

    def check(first: int, last: int) -> list[bytes | None]:
        return primitives.recover_each(raw[size * first : size * last], joined[32 * first : 32 * last])

    # Where the interpreter's lock is needed in between, several chunks a thread, for one may be held up.
    # Else each chunk waits for it once.
    parts_each = 4 if primitives is PLAIN else 1
    chunk = max(_CHUNK, -(-len(good) // (parts_each * workers)))
    if workers == 1 or len(good) <= chunk:
        found = check(0, len(good))
    else:
        starts = range(0, len(good), chunk)
        parts = _pool(workers).map(check, starts, [first + chunk for first in starts])
        found = [signer for part in parts for signer in part]
    for place, signer in zip(good.tolist(), found, strict=True):
        out[place] = signer
    return out


def _expected(signers: NDArray[np.uint8] | Iterable[bytes]) -> list[bytes]:
    if not isinstance(signers, np.ndarray):
        return [bytes(signer) for signer in signers]
    if signers.dtype != np.uint8 or signers.ndim != 2 or signers.shape[1] != 20:
        raise ValueError(f"signers: {signers.dtype} of shape {signers.shape}, not uint8 of shape (m, 20)")
    raw = signers.tobytes()
    return [raw[at : at + 20] for at in range(0, len(raw), 20)]


def verify(
    rows: Array, signers: NDArray[np.uint8] | Iterable[bytes], domain: Domain, workers: int = 2
) -> NDArray[np.bool_]:
    """Which messages are signed by whom they should be.

    Args:
        rows: of m messages (see :func:`~hawse.keys.messages.split`).
        signers: address that each should be signed by: (m, 20) uint8, or m times 20 bytes. A signer of any
            other length (b"" for an unknown account) matches no signature.
        domain: of the venue.
        workers: threads.

    Returns:
        m booleans: whether :func:`recover` gives that address.

    Raises:
        ValueError: not m signers, an array of another shape, or half of the last message is missing.
    """
    expected = _expected(signers)
    found = recover(rows, domain, workers)
    if len(expected) != len(found):
        raise ValueError(f"signers: {len(expected)} for {len(found)} messages")
    pairs = zip(found, expected, strict=True)
    return np.fromiter((signer == wanted for signer, wanted in pairs), np.bool_, len(found))


def sign(rows: Array, domain: Domain, private_keys: Sequence[bytes]) -> None:
    """Fill in the signature of each message, deterministically (RFC 6979).

    Args:
        rows: of m messages (see :func:`~hawse.keys.messages.split`), changed in place.
        domain: of the venue.
        private_keys: m times 32 bytes; the same object may stand in many places.

    Raises:
        ValueError: not m keys, a key that is not one, a message that is not canonical, or half of the last
            is missing.
    """
    at, good, hashes = good_digests(rows, domain)
    if len(private_keys) != len(at.starts):
        raise ValueError(f"private_keys: {len(private_keys)} for {len(at.starts)} messages")
    for secret in set(private_keys):
        if len(secret) != 32:
            raise ValueError(f"private_keys: one has {len(secret)} bytes, not 32")
    if len(good) != len(at.starts):
        raise ValueError(bad_message(rows, at, good))
    keys = {secret: PrivateKey(secret) for secret in set(private_keys)}
    signatures = [
        _compact(keys[secret].sign_recoverable(digest, None))
        for digest, secret in zip(hashes, private_keys, strict=True)
    ]
    rows["signature"][at.starts] = np.frombuffer(b"".join(signatures), np.uint8).reshape(-1, SIGNATURE_BYTES)
