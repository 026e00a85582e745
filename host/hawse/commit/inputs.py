"""What entered a batch, what became of it, and the operator's word on both: three trees, index for index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from tiny_keccak import keccak256

from hawse.wire import Reason

from . import trees
from .codec import I64, I128, U8, U32, U64, Address, Hash, Leaf, Signature, prefix, unsigned
from .trees import NodeTag

_REASONS = frozenset(int(reason) for reason in Reason)


@dataclass(frozen=True, slots=True)
class InputLeaf(Leaf):
    """One input, always 135 bytes, which one permutation takes.

    Attributes:
        seq: its sequence number.
        kind: its class, 0–9 of ``hawse.state.slot.InputClass``.
        address: of the signer, owner or publisher, 20 bytes; zero if it has none.
        ref: number of what it refers to, as its class has it.
        body: 32 bytes: struct hash, accumulator, or one of the two hashes below.
        signature: 64 bytes, zero if it has none.
    """

    PREFIX: ClassVar[bytes] = prefix(0xA0)

    seq: U64
    kind: Annotated[int, unsigned(1, below=10)]
    address: Address
    ref: U64
    body: Hash
    signature: Signature = bytes(64)


@dataclass(frozen=True, slots=True)
class OutcomeLeaf(Leaf):
    """What became of the input of the same index.

    Attributes:
        seq: of the input.
        reason: 0 accepted, else why not.
        detail: which field or limit of that reason.
        have, need: the numbers behind it.
        handle: of the order that it made or changed, in the engine.
        filled: lots traded at once.
        value: of what was traded, in tick·lots, signed.
        fee: in quanta.
    """

    PREFIX: ClassVar[bytes] = prefix(0x80)

    seq: U64
    reason: U8 = 0
    detail: U8 = 0
    have: I128 = 0
    need: I128 = 0
    handle: U32 = 0
    filled: U32 = 0
    value: I128 = 0
    fee: I64 = 0

    def check(self) -> None:
        """The reason is one of the list."""
        if self.reason not in _REASONS:
            raise self.refuse("reason", "one of hawse.wire.Reason")


@dataclass(frozen=True, slots=True)
class ReceiptLeaf(Leaf):
    """The operator's word on one input: hashes of its two leaves, and when it came and was answered.

    ``time_in`` and ``time_out`` are nanoseconds since 1970, ``cycle_in`` and ``cycle_out`` the board's.
    """

    PREFIX: ClassVar[bytes] = prefix(0xB0)

    seq: U64
    input: Hash
    outcome: Hash
    time_in: U64
    time_out: U64
    cycle_in: U32
    cycle_out: U32


def inputs_root(leaves: Sequence[InputLeaf]) -> bytes:
    """Root over the inputs of a batch, in sequence."""
    return trees.root([leaf.hash() for leaf in leaves], NodeTag.INPUTS)


def outcomes_root(leaves: Sequence[OutcomeLeaf]) -> bytes:
    """Root over the outcomes of a batch, in sequence."""
    return trees.root([leaf.hash() for leaf in leaves], NodeTag.OUTCOMES)


def receipts_root(leaves: Sequence[ReceiptLeaf]) -> bytes:
    """Root over the receipts of a slot, in sequence."""
    return trees.root([leaf.hash() for leaf in leaves], NodeTag.RECEIPTS)


def command_body(reason: int, command: bytes) -> bytes:
    """Body of an input of the machine: keccak256(0xA2 ‖ reason ‖ the wire's command, 32 bytes)."""
    return bytes(keccak256(bytes([0xA2, reason]) + command))


def operation_body(kind: int, body: bytes) -> bytes:
    """Body of an input of the operator: keccak256(0xA3 ‖ kind ‖ body)."""
    return bytes(keccak256(bytes([0xA3, kind]) + body))


def surface_nodes(volatilities: Sequence[int]) -> bytes:
    """What a surface's signature says of its nodes: keccak256(0xA4 ‖ parts per million:u32 of each)."""
    return bytes(keccak256(b"\xa4" + b"".join([ppm.to_bytes(4, "big") for ppm in volatilities])))
