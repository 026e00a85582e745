"""Recovery of signers in a loop of C++ around libsecp256k1, beside the plain one."""

import random

import pytest
from coincurve.utils import GROUP_ORDER_INT
from hawse.engine.native.bindings import keccak256_each, recover_each
from hawse.keys.signing import PLAIN, Primitives, recover, sign_digest
from hawse.keys.store import address_of, derive
from support.signed import signed_slots
from support.venue_process import CONFIG


def raw(signature):
    """r, s and parity of an EIP-2098 signature."""
    parity, high = divmod(signature[32], 0x80)
    return signature[:32] + bytes([high]) + signature[33:] + bytes([parity])


def test_good_signatures_and_bad_ones_as_the_plain_form_has_them():
    rng, digests, signatures, wanted = random.Random(4), [], [], []
    for n in range(400):
        key, digest = derive("recover", n % 7), rng.randbytes(32)
        signature = bytearray(raw(sign_digest(digest, key)))
        wanted.append(address_of(key))
        if n % 4:
            wanted[-1] = b"?"
            kind = rng.randrange(8)
            if kind == 0:
                signature[rng.randrange(65)] ^= 1 << rng.randrange(8)
                signature[64] &= 1
            elif kind == 1:
                s = GROUP_ORDER_INT - int.from_bytes(signature[32:64], "big")
                signature[32:64] = s.to_bytes(32, "big")
            elif kind < 6:
                edge = [0, 1, GROUP_ORDER_INT // 2, GROUP_ORDER_INT // 2 + 1, GROUP_ORDER_INT, 2**256 - 1]
                at = rng.choice([0, 32])
                signature[at : at + 32] = rng.choice(edge).to_bytes(32, "big")
            elif kind == 6:
                signature[64] ^= 1
            else:
                signature = bytearray(rng.randbytes(64) + b"\0")
        digests.append(digest)
        signatures.append(bytes(signature))
    found = recover_each(b"".join(signatures), b"".join(digests))
    assert found == PLAIN.recover_each(b"".join(signatures), b"".join(digests))
    assert found.count(None) > 50
    assert all(one == other for one, other in zip(found, wanted, strict=True) if other != b"?")
    assert recover_each(b"", b"") == []


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_slot_has_the_same_signers(workers):
    fast = Primitives(keccak256_each, recover_each)
    for slot in signed_slots(CONFIG, 11, 4, size=90, batch=2):
        rows = slot.commands.copy()
        rows["signature"][::5] ^= 1
        plain = recover(rows, CONFIG.domain, workers)
        assert recover(rows, CONFIG.domain, workers, primitives=fast) == plain
        assert None in plain or len(set(plain)) > 2
