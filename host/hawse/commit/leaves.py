"""Byte encodings of the state's leaves, of outcomes and of the deposit queue. Big-endian."""

import struct
from collections.abc import Iterable, Sequence

from tiny_keccak import keccak256

from . import merkle

ACCOUNT_NODE = 0x11
RESTING_NODE = 0x51
OUTCOME_NODE = 0x81

_ACCOUNT = struct.Struct(">BBI20sQ16sBH")
_POSITION = struct.Struct(">Hq16s16x")
_RESTING = struct.Struct(">BBII")
#: Order id, handle, instrument, flags, price, remaining, seq of its place in the queue, reservation.
RESTING_ORDER = struct.Struct(">QIHBiIQQ")


def account_leaf(
    index: int, owner: bytes, nonce: int, collateral: int, positions: Sequence[tuple[int, int, int]]
) -> bytes:
    """Leaf of an account; ``positions`` are (instrument, size, entry value) in ascending order of instrument.

    Flags and funding indices, which nothing sets yet, are zero.
    """
    wide = collateral.to_bytes(16, "big", signed=True)
    parts = [_ACCOUNT.pack(0x10, 1, index, owner, nonce, wide, 0, len(positions))]
    parts += [_POSITION.pack(i, size, entry.to_bytes(16, "big", signed=True)) for i, size, entry in positions]
    return bytes(keccak256(b"".join(parts)))


def resting_leaf(account: int, orders: Sequence[bytes]) -> bytes:
    """Leaf of an account's resting orders, each packed by :data:`RESTING_ORDER`, by ascending id."""
    return bytes(keccak256(_RESTING.pack(0x50, 1, account, len(orders)) + b"".join(orders)))


def outcomes_root(refusals: Iterable[tuple[int, int]]) -> bytes:
    """Root over the (seq, reason) of the commands that the host refused in a batch, in the order of seq."""
    leaves = [keccak256(b"\x80" + seq.to_bytes(8, "big") + bytes([reason])) for seq, reason in refusals]
    return merkle.root(leaves, OUTCOME_NODE)


def deposit_accumulator(previous: bytes, index: int, owner: bytes, amount: int) -> bytes:
    """keccak256(0x40 ‖ previous ‖ u64 index ‖ owner ‖ u256 amount); it begins as 32 zero bytes."""
    body = index.to_bytes(8, "big") + owner + amount.to_bytes(32, "big")
    return bytes(keccak256(b"\x40" + previous + body))
