"""The contract's two queues: what each of their hash chains is after one more entry. Both begin as zeros."""

from dataclasses import dataclass
from typing import Annotated

from tiny_keccak import keccak256

from .codec import U32, U64, Address, Packed, unsigned

#: Accumulator of a queue that nothing has entered.
START = bytes(32)


def deposit_accumulator(previous: bytes, index: int, owner: bytes, amount: int) -> bytes:
    """keccak256(0x40 ‖ previous ‖ index:u64 ‖ owner ‖ amount:u256)."""
    body = index.to_bytes(8, "big") + owner + amount.to_bytes(32, "big")
    return bytes(keccak256(b"\x40" + previous + body))


@dataclass(frozen=True, slots=True)
class QueuedRequest(Packed):
    """A forced request. ``number`` counts from 1, ``time`` is the block's, in seconds."""

    number: U64
    kind: Annotated[int, unsigned(1, below=5)]
    owner: Address
    account: U32
    generation: U64
    amount: U64
    agent: Address
    expiry: U64
    time: U64

    def check(self) -> None:
        """The kind is one of the four."""
        if not self.kind:
            raise self.refuse("kind", "1 to 4")


def request_accumulator(previous: bytes, request: QueuedRequest) -> bytes:
    """keccak256(0xC0 ‖ previous ‖ the request)."""
    return bytes(keccak256(b"\xc0" + previous + request.encode()))
