"""What goes into a slot of the native state, and what comes out of its inputs, in arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.keys import structs
from hawse.keys.messages import MESSAGE
from hawse.state.inputs import is_of_prices, queued
from hawse.state.outcomes import Signers
from hawse.state.slot import Event, Observation, Refusals, SlotInput
from hawse.wire import Reason
from hawse.wire.dtypes import ORDER

from . import bindings
from .bindings import MadeStruct, SlotStruct, copied, wide


@dataclass(frozen=True)
class PackedSigners:
    """:class:`hawse.state.outcomes.Signers` in arrays: of m messages who signed them, and their structs.

    Attributes:
        operations: address that signed each operation, None where none did.
        is_signed: (m,) uint8, 1 where somebody signed.
        addresses: (m, 20) uint8.
        structs: (m, 32) uint8, zeros where a message is none.
        observations: address that signed each observation, None where none did.
    """

    operations: Sequence[bytes | None]
    is_signed: NDArray[np.uint8]
    addresses: NDArray[np.uint8]
    structs: NDArray[np.uint8]
    observations: Sequence[bytes | None] = ()

    @classmethod
    def of(cls, signers: Signers) -> "PackedSigners":
        """The same."""
        people = signers.commands
        addresses = b"".join([who or bytes(20) for who in people])
        return cls(
            signers.operations,
            np.array([who is not None for who in people], np.uint8),
            np.frombuffer(addresses, np.uint8).reshape(-1, 20),
            np.frombuffer(b"".join(signers.structs), np.uint8).reshape(-1, 32),
            signers.observations,
        )

    @property
    def commands(self) -> NDArray[np.uint8]:
        """One row for each message."""
        return self.addresses

    def unpacked(self) -> Signers:
        """The same, as the golden form takes it."""
        pairs = zip(self.addresses, self.is_signed.tolist(), strict=True)
        people = [who.tobytes() if known else None for who, known in pairs]
        return Signers(self.operations, people, [one.tobytes() for one in self.structs], self.observations)


class PackedAdmission:
    """What a slot lets through, as :class:`hawse.state.admission.Admission` says it, in arrays.

    Attributes:
        orders: rows of wire ORDER.
        refusal_rows, event_rows, machine_rows: REFUSAL, EVENT_MADE, MACHINE of ``bindings``.
        message_seqs: sequence number of each message.
        transfer_rows: TRANSFER of ``bindings``.
        first_seq, inputs: as there.
    """

    def __init__(self, made: MadeStruct) -> None:
        self.orders = copied(made.orders, made.order_count, ORDER)
        self.refusal_rows = copied(made.refusals, made.refusal_count, bindings.REFUSAL)
        self.event_rows = copied(made.events, made.event_count, bindings.EVENT_MADE)
        self.machine_rows = copied(made.machine, made.machine_count, bindings.MACHINE)
        self.message_seqs = copied(made.message_seqs, made.message_count, np.dtype("<u8"))
        self.transfer_rows = copied(made.transfers, made.transfer_count, bindings.TRANSFER)
        self.first_seq, self.inputs = int(made.first_seq), int(made.inputs)

    @cached_property
    def refusals(self) -> Refusals:
        """In the order of their sequence number."""
        made = self.refusal_rows
        rows = np.empty(len(made), Refusals.ROW)
        for name in ("seq", "reason", "detail"):
            rows[name] = made[name]
        for name in ("have", "need"):
            rows[name] = made[name].copy().view(np.uint8).reshape(-1, 16)[:, ::-1]
        return Refusals(rows)

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """What the machine takes back by itself."""
        return tuple(
            Event(
                Reason(e["reason"]),
                int(e["account"]),
                int(e["instrument"]),
                wide(e["first"]),
                wide(e["second"]),
            )
            for e in self.event_rows
        )

    @cached_property
    def command_seqs(self) -> tuple[int, ...]:
        """Sequence number of each message."""
        return tuple(self.message_seqs.tolist())


def packed(slot: SlotInput, signers: PackedSigners) -> tuple[SlotStruct, list[Any]]:
    """The slot as the native state takes it, and its arrays, which have to live as long; bodies are the last.

    Raises:
        ValueError: signers that do not fit, an address or a signature of another size, or a forced request
            that the contract's types cannot hold.
    """
    for rows in (slot.authorisations, slot.commands):
        if rows.dtype != MESSAGE or rows.ndim != 1:
            raise ValueError(f"commands: {rows.dtype}, not rows of MESSAGE")
    rows = np.ascontiguousarray(slot.messages)
    count = len(signers.is_signed)
    if signers.addresses.shape != (count, 20) or signers.structs.shape != (count, 32):
        raise ValueError(f"commands: {count} messages, with other signers and struct hashes")
    observations = _observations(slot.observations, signers.observations)
    bodies = np.frombuffer(b"".join(operation.body for operation in slot.operations) + b"\0", np.uint8)
    operations, place = np.zeros(len(slot.operations), bindings.OPERATION), bodies.ctypes.data
    for at, (operation, signer) in enumerate(zip(slot.operations, signers.operations, strict=True)):
        row, size = operations[at], len(operation.body)
        row["kind"], row["is_signed"] = operation.kind, signer is not None
        row["size"], row["body"] = size, place
        place += size
        row["signer"] = np.frombuffer(signer or bytes(20), np.uint8)
        row["signature"] = np.frombuffer(operation.signature, np.uint8)
    deposits = np.zeros(len(slot.deposits), bindings.DEPOSIT)
    for at, deposit in enumerate(slot.deposits):
        owner = np.frombuffer(deposit.owner, np.uint8)
        if len(owner) != 20 or not 0 < deposit.amount < 1 << 64:
            raise ValueError(f"deposits: {deposit}")
        deposits[at] = deposit.index, deposit.amount, owner, 0
    requests = np.zeros(len(slot.requests), bindings.REQUEST)
    for at, r in enumerate(slot.requests):
        queued(r).encode()  # what the contract's types cannot hold raises
        people = (np.frombuffer(address, np.uint8) for address in (r.owner, r.agent))
        requests[at] = r.index, r.generation, r.amount, r.expiry, r.time, r.account, r.kind, *people, 0
    left_out = sum(not is_of_prices(one.reason) for one in slot.omissions)
    arrays = [observations, operations, deposits, requests, rows]
    arrays += [np.ascontiguousarray(a) for a in (signers.is_signed, signers.addresses, signers.structs)]
    struct = SlotStruct(
        slot.number,
        slot.time,
        slot.closes or 0,
        slot.closes is not None,
        left_out + len(slot.surfaces),
        len(observations),
        len(operations),
        len(deposits),
        len(requests),
        len(rows),
        count,
        len(slot.authorisations),
        *(array.ctypes.data for array in arrays),
    )
    return struct, [*arrays, bodies]


def _observations(said: Sequence[Observation], signers: Sequence[bytes | None]) -> NDArray[Any]:
    """Rows of OBSERVATION.

    Raises:
        ValueError: a field that its type cannot hold.
    """
    rows = np.zeros(len(said), bindings.OBSERVATION)
    for row, one, signer in zip(rows, said, signers, strict=True):
        if not 0 <= one.publisher < 256:
            raise ValueError(f"observations: publisher {one.publisher}")
        found = structs.observation(one.feed, one.value, one.time, one.number)
        for name in ("time", "number", "value", "feed", "publisher"):
            row[name] = getattr(one, name)
        row["is_signed"] = signer is not None
        for name, data in (
            ("signer", signer or bytes(20)),
            ("signature", one.signature),
            ("struct_hash", found),
        ):
            row[name] = np.frombuffer(data, np.uint8)
    return rows
