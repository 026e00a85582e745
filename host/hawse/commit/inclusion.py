"""Proof that one record stands in the report log of an anchored batch: made, written down, and checked."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any, Self

import numpy as np
from tiny_keccak import keccak256

from hawse.wire import RECORD_BYTES, Kind, Reason, Side
from hawse.wire.dtypes import REPORT

from . import merkle
from .reportlog import CHUNK_RECORDS

#: Says what a file is, and of which version.
FORMAT = "hawse record proof 1"

_LEAF, _NODE = b"\x00", 0x01
_CHUNK = CHUNK_RECORDS * RECORD_BYTES
_HEXADECIMAL = {"contract": 20, "log_root": 32, "record": RECORD_BYTES}
#: Fields of a record, without kind, flags and sideband.
_NAMES = ("instrument", "handle", "maker", "price", "quantity", "seq")


class ProofError(Exception):
    """Something is wrong with a proof, or it cannot be made."""


class NoSuchRecord(ProofError):
    """The batch has no record of that number."""


class DamagedProof(ProofError):
    """A file that is no proof, or that contradicts itself: says which field is wrong."""


class NotIncluded(ProofError):
    """A proof that does not lead to what was anchored."""


@dataclass(frozen=True)
class RecordProof:
    """One record and its way to the root of a batch's report log.

    What is proven is that the record stands at ``position`` of leaf ``leaf``. Its number is not: a fence ends
    a chunk early, so only all leaves before it would tell. It is held against what they allow.

    Attributes:
        chain_id: of the chain with the contract.
        contract: the settlement contract, 20 bytes.
        batch: number of the batch.
        log_root: root of its report log, 32 bytes.
        log_leaves: leaves of the log.
        log_records: records of the log.
        number: of the record within the log, from 0.
        record: its 24 committed bytes.
        leaf: index of its leaf, from 0.
        position: of the record among those of the leaf, from 0.
        chunk: all records of the leaf.
        siblings: from the leaf up, 32 bytes each.
    """

    chain_id: int
    contract: bytes
    batch: int
    log_root: bytes
    log_leaves: int
    log_records: int
    number: int
    record: bytes
    leaf: int
    position: int
    chunk: bytes
    siblings: tuple[bytes, ...]

    def check(self) -> None:
        """Walk from the record to ``log_root``.

        Raises:
            DamagedProof: the fields contradict each other.
            NotIncluded: the way does not end at ``log_root``.
        """
        _expect(self.leaf < self.log_leaves, "leaf", f"{self.leaf} of {self.log_leaves} leaves")
        _expect(self.number < self.log_records, "number", f"{self.number} of {self.log_records} records")
        size, odd = divmod(len(self.chunk), RECORD_BYTES)
        whole = 0 < size <= CHUNK_RECORDS and not odd
        _expect(whole, "chunk", f"{len(self.chunk)} bytes are not 1 to {CHUNK_RECORDS} records")
        _expect(self.position < size, "position", f"{self.position} of {size} records")
        at = self.position * RECORD_BYTES
        there = self.chunk[at : at + RECORD_BYTES]
        _expect(self.record == there, "record", f"{self.record.hex()}, but the chunk has {there.hex()} there")
        first = self.number - self.position
        possible = self.leaf <= first <= self.leaf * CHUNK_RECORDS
        _expect(possible, "number", f"leaf {self.leaf} cannot begin with record {first}")
        bits, length = merkle.path(self.leaf, self.log_leaves)
        what = f"{len(self.siblings)}, but leaf {self.leaf} of {self.log_leaves} has {length}"
        _expect(len(self.siblings) == length, "siblings", what)
        leaf = bytes(keccak256(_LEAF + self.chunk))
        if not merkle.verify(leaf, bits, self.siblings, self.log_root, _NODE):
            raise NotIncluded(f"the path does not lead from the record to the root {self.log_root.hex()}")

    def encode(self) -> str:
        """The proof as JSON, with the record's fields in words; ``docs/commitments.md`` explains it."""
        return json.dumps({"format": FORMAT, **_jsonable(self), "fields": decode(self.record)}, indent=2)

    @classmethod
    def decode(cls, text: str) -> Self:
        """The proof that :meth:`encode` wrote; it is not checked yet.

        Raises:
            DamagedProof: a field is missing, unknown, or none that a proof may have.
        """
        # The decoder recurses, as deep as whatever limit other libraries have set, and beyond the stack.
        _expect(text.count("[") + text.count("{") <= 3, "format", f"nested as no {FORMAT!r} is")
        try:
            given = json.loads(text)
        except ValueError as error:
            raise DamagedProof(f"not JSON: {error}") from error
        _expect(isinstance(given, dict) and given.get("format") == FORMAT, "format", f"is not {FORMAT!r}")
        names = {"format", "fields", *(f.name for f in fields(cls))}
        for name in sorted(names ^ given.keys()):
            raise DamagedProof(f"{name}: {'missing' if name in names else 'a proof has no such field'}")
        values = {f.name: _value(f.name, given[f.name]) for f in fields(cls)}
        proof = cls(**values)
        if given["fields"] != decode(proof.record):
            raise DamagedProof(f"fields: {given['fields']} are not those of the record {proof.record.hex()}")
        return proof


def prove(chain_id: int, contract: bytes, batch: int, slots: Iterable[bytes], number: int) -> RecordProof:
    """Proof of one record, from all records of its batch's log.

    Args:
        chain_id, contract, batch: where the log is anchored.
        slots: the records of each slot of the batch, one after another; a fence ends each.
        number: of the record, from 0.

    Raises:
        NoSuchRecord: the batch has fewer.
    """
    chunks: list[bytes] = []
    count = 0
    place = None
    for records in slots:
        for start in range(0, len(records), _CHUNK):
            chunk = records[start : start + _CHUNK]
            size = len(chunk) // RECORD_BYTES
            if count <= number < count + size:
                place = len(chunks), number - count
            chunks.append(chunk)
            count += size
    if place is None:
        raise NoSuchRecord(f"record {number} of batch {batch}, which has {count}, numbered from 0")
    leaves = [bytes(keccak256(_LEAF + chunk)) for chunk in chunks]
    leaf, position = place
    chunk = chunks[leaf]
    return RecordProof(
        chain_id=chain_id,
        contract=contract,
        batch=batch,
        log_root=merkle.root(leaves, _NODE),
        log_leaves=len(leaves),
        log_records=count,
        number=number,
        record=chunk[position * RECORD_BYTES :][:RECORD_BYTES],
        leaf=leaf,
        position=position,
        chunk=chunk,
        siblings=merkle.proof(leaves, leaf, _NODE)[1],
    )


def decode(record: bytes) -> dict[str, Any]:
    """A record's fields in words: kind, side, reason, and integers as in ``hawse.wire.schema.REPORT``."""
    row = np.frombuffer(record.ljust(REPORT.itemsize, b"\0"), REPORT)[0]
    first, reason = int(row["kind"]), int(row["reason"])
    kind = first & 0x0F
    return {
        "kind": _name(Kind, kind),
        "side": Side(first >> 4 & 1).name,
        "maker_done": bool(first >> 5 & 1),
        "reason": _name(Reason, reason),
        **{name: int(row[name]) for name in _NAMES},
    }


def _name(names: type[IntEnum], value: int) -> str | int:
    return names(value).name if value in set(names) else value


def _expect(good: bool, field: str, what: str) -> None:
    if not good:
        raise DamagedProof(f"{field}: {what}")


def _jsonable(proof: RecordProof) -> dict[str, Any]:
    values = asdict(proof)
    values = {name: "0x" + v.hex() if isinstance(v, bytes) else v for name, v in values.items()}
    return values | {"siblings": ["0x" + sibling.hex() for sibling in proof.siblings]}


def _value(name: str, given: Any) -> Any:
    if name == "siblings":
        _expect(isinstance(given, list), name, "not a list")
        return tuple(_bytes(f"{name}[{n}]", sibling, 32) for n, sibling in enumerate(given))
    if name in (*_HEXADECIMAL, "chunk"):
        return _bytes(name, given, _HEXADECIMAL.get(name))
    _expect(type(given) is int and 0 <= given < 1 << 64, name, f"{given!r} is not a uint64")
    return given


def _bytes(name: str, given: Any, size: int | None) -> bytes:
    try:
        if not isinstance(given, str) or not given.startswith("0x"):
            raise ValueError("no 0x in front")
        data = bytes.fromhex(given[2:])
    except ValueError as error:
        raise DamagedProof(f"{name}: not hexadecimal: {error}") from error
    _expect(size is None or len(data) == size, name, f"{len(data)} bytes, not {size}")
    return data
