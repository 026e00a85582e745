"""Inputs of a slot and what became of them: the leaves of two trees, index for index."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hawse.commit.inputs import command_body, operation_body
from hawse.engine.native.bindings import keccak256_each
from hawse.keys.messages import split
from hawse.keys.structs import observation
from hawse.wire import NULL_HANDLE
from hawse.wire.dtypes import COMMAND, make

from .admission import Admitter, MachineInput, Sent
from .slot import InputClass, Refusal, SlotInput

#: Input leaf, 135 bytes, field for field; and outcome leaf, 76 bytes. ``hawse.commit.inputs`` explains them.
_INPUT = struct.Struct(">BBQB20sQ32s64s")
_OUTCOME = struct.Struct(">BBQBB16s16sII16sq")
INPUT_BYTES, OUTCOME_BYTES = _INPUT.size, _OUTCOME.size
_ZERO = bytes(16)
_NOBODY = bytes(20)


@dataclass(frozen=True)
class Signers:
    """What the signatures of a slot say, found before the slot is carried out.

    Attributes:
        operations: address that signed each operation for this slot, None where none did.
        commands: address that signed each message, authorisations first, None where none did.
        structs: EIP-712 hashStruct of each message, zeros where it is none.
        observations: address that signed each observation, None where none did.
    """

    operations: Sequence[bytes | None]
    commands: Sequence[bytes | None]
    structs: Sequence[bytes]
    observations: Sequence[bytes | None] = ()


@dataclass(frozen=True)
class SlotLeaves:
    """What entered a slot and what became of it: the leaves, in sequence, and their hashes.

    Attributes:
        first_seq: sequence number of the first.
        inputs, outcomes: of n leaves each, 135 and 76 bytes a leaf.
        input_hashes, outcome_hashes: 32 bytes a leaf.
    """

    first_seq: int
    inputs: bytes
    outcomes: bytes
    input_hashes: bytes
    outcome_hashes: bytes

    @classmethod
    def of(cls, first_seq: int, inputs: bytes, outcomes: bytes) -> "SlotLeaves":
        """With the hashes of these leaves."""
        hashes = (keccak256_each(inputs, INPUT_BYTES), keccak256_each(outcomes, OUTCOME_BYTES))
        return cls(first_seq, inputs, outcomes, *map(b"".join, hashes))

    def __len__(self) -> int:
        """How many inputs."""
        return len(self.inputs) // INPUT_BYTES


def input_leaves(
    slot: SlotInput,
    first: int,
    signers: Signers,
    deposits: Iterable[bytes],
    requests: Iterable[bytes],
    admitter: Admitter,
) -> bytes:
    """The inputs' leaves, 135 bytes each, in sequence.

    Observations, operations and deposits, then authorisations and forced requests, then the machine's and
    users' commands.

    Args:
        slot: whose inputs they are.
        first: sequence number of the first.
        signers: of the slot.
        deposits, requests: accumulator of each queue behind each deposit, each forced request.
        admitter: that has judged the commands.
    """
    rows: list[tuple[int, bytes, int, bytes, bytes]] = []
    for signer, one in zip(signers.observations, slot.observations, strict=True):
        struct_hash = observation(one.feed, one.value, one.time, one.number)
        rows.append((InputClass.OBSERVATION, signer or _NOBODY, one.number, struct_hash, one.signature))
    for signer, operation in zip(signers.operations, slot.operations, strict=True):
        body = operation_body(operation.kind, operation.body)
        rows.append((InputClass.OPERATOR, signer or _NOBODY, 0, body, operation.signature))
    for deposit, accumulator in zip(slot.deposits, deposits, strict=True):
        rows.append((InputClass.DEPOSIT, deposit.owner, deposit.index, accumulator, bytes(64)))
    packed = [_INPUT.pack(0xA0, 2, seq, *row) for seq, row in enumerate(rows, first)]
    own = [_machine_input(command) for command in admitter.machine]
    for seq, request, accumulator in zip(admitter.request_seqs, slot.requests, requests, strict=True):
        row = (InputClass.REQUEST, request.owner, request.index, accumulator, bytes(64))
        own.append(_INPUT.pack(0xA0, 2, seq, *row))
    users = _messages(slot, admitter, signers)
    if not own:
        return b"".join(packed) + users
    later = own + [users[at : at + _INPUT.size] for at in range(0, len(users), _INPUT.size)]
    return b"".join(packed + sorted(later, key=lambda leaf: leaf[2:10]))


def _machine_input(command: MachineInput) -> bytes:
    """Leaf of class MACHINE."""
    opcode, flags, instrument, _, tag, price, quantity, token, seq, handle = command.row
    wire = make(
        COMMAND,
        opcode=opcode,
        flags=flags,
        instrument=instrument,
        handle=handle,
        tag=tag,
        price=price,
        quantity=quantity,
        token=token,
        seq=seq,
    )
    body = command_body(command.reason, wire.tobytes())
    return _INPUT.pack(0xA0, 2, seq, InputClass.MACHINE, _NOBODY, command.cause, body, bytes(64))


def _messages(slot: SlotInput, admitter: Admitter, signers: Signers) -> bytes:
    """Leaves of class AUTHORISATION, then of class USER."""
    rows, numbers = slot.messages, admitter.command_seqs
    leaves = np.zeros((len(numbers), _INPUT.size), np.uint8)
    leaves[: len(split(slot.authorisations).starts), 10] = InputClass.AUTHORISATION
    leaves[:, 31:39] = np.array(admitter.appointments, ">u8").view(np.uint8).reshape(-1, 8)
    leaves[:, 0], leaves[:, 1] = 0xA0, 2
    seqs = np.array(numbers, ">u8")
    leaves[:, 2:10] = seqs.view(np.uint8).reshape(-1, 8)
    addresses = b"".join([signer or _NOBODY for signer in signers.commands])
    leaves[:, 11:31] = np.frombuffer(addresses, np.uint8).reshape(-1, 20)
    leaves[:, 39:71] = np.frombuffer(b"".join(signers.structs), np.uint8).reshape(-1, 32)
    leaves[:, 71:] = rows["signature"][split(rows).starts]
    return leaves.tobytes()


def outcome_leaves(first: int, inputs: int, refusals: Sequence[Refusal], sent: Sequence[Sent]) -> bytes:
    """Each input's outcome leaf, 76 bytes each.

    Args:
        first: sequence number of the slot's first input.
        inputs: how many there are.
        refusals: those that were refused.
        sent: those that went to the engine, which has answered; all others did what they asked for.
    """
    pack, done = _OUTCOME.pack, {}
    for r in refusals:
        numbers = _wide(r.have), _wide(r.need)
        done[r.seq] = pack(0x80, 2, r.seq, r.reason, r.detail, *numbers, NULL_HANDLE, 0, _ZERO, 0)
    for s in sent:
        have, need, value, handle = _ZERO, _ZERO, _ZERO, s.order.handle
        if s.reason or s.value:
            have, need, value = _wide(s.have), _wide(s.need), _wide(s.value)
        done[s.seq] = pack(0x80, 2, s.seq, s.reason, 0, have, need, handle, s.filled, value, s.fee)
    leaves = [
        done.get(seq) or pack(0x80, 2, seq, 0, 0, _ZERO, _ZERO, NULL_HANDLE, 0, _ZERO, 0)
        for seq in range(first, first + inputs)
    ]
    return b"".join(leaves)


def _wide(value: int) -> bytes:
    return value.to_bytes(16, "big", signed=True) if value else _ZERO
