"""Proof that one record stands in the report log of an anchored batch: made, written down, and checked."""

import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any, Self

import numpy as np
from tiny_keccak import keccak256

from hawse.wire import RECORD_BYTES, Kind, Reason, Side
from hawse.wire.dtypes import REPORT

from . import trees
from .codec import CommitError
from .header import BatchHeader, HeaderError
from .reportlog import CHUNK_RECORDS
from .trees import NodeTag, Tree

#: Says what a file is, and of which version.
FORMAT = "hawse record proof 2"

_LEAF = b"\x00"
_CHUNK = CHUNK_RECORDS * RECORD_BYTES
_HEXADECIMAL = {"contract": 20, "record": RECORD_BYTES}
#: Fields of a record, without kind, flags and sideband.
_NAMES = ("instrument", "handle", "maker", "price", "quantity", "seq")


class ProofError(CommitError):
    """Something is wrong with a proof, or it cannot be made."""


class NoSuchRecord(ProofError):
    """The batch has no record of that number."""


class DamagedProof(ProofError):
    """A file that is no proof, or that contradicts itself: says which field is wrong."""


class NotIncluded(ProofError):
    """A proof that does not lead to what was anchored, or records that do not."""


@dataclass(frozen=True)
class RecordProof:
    """One record and its way to the root of a batch's report log.

    What is proven is that the record stands at ``position`` of leaf ``leaf``. Its number is not: a fence ends
    a chunk early, so only all leaves before it would tell. It is held against what they allow.

    Attributes:
        chain_id: of the chain with the contract.
        contract: the settlement contract, 20 bytes.
        header: of the batch; the contract holds its digest.
        number: of the record within the log, from 0.
        record: its 24 committed bytes.
        leaf: index of its leaf, from 0.
        position: of the record among those of the leaf, from 0.
        chunk: all records of the leaf.
        siblings: from the leaf up, 32 bytes each.
    """

    chain_id: int
    contract: bytes
    header: BatchHeader
    number: int
    record: bytes
    leaf: int
    position: int
    chunk: bytes
    siblings: tuple[bytes, ...]

    def check(self) -> None:
        """Walk from the record to the header's ``log_root``.

        Raises:
            DamagedProof: the fields contradict each other.
            NotIncluded: the way does not end there.
        """
        leaves, count = self.header.log_leaves, self.header.log_records
        expect(self.leaf < leaves, "leaf", f"{self.leaf} of {leaves} leaves")
        expect(self.number < count, "number", f"{self.number} of {count} records")
        size, odd = divmod(len(self.chunk), RECORD_BYTES)
        whole = 0 < size <= CHUNK_RECORDS and not odd
        expect(whole, "chunk", f"{len(self.chunk)} bytes are not 1 to {CHUNK_RECORDS} records")
        expect(self.position < size, "position", f"{self.position} of {size} records")
        at = self.position * RECORD_BYTES
        there = self.chunk[at : at + RECORD_BYTES]
        expect(self.record == there, "record", f"{self.record.hex()}, but the chunk has {there.hex()} there")
        first = self.number - self.position
        possible = self.leaf <= first <= self.leaf * CHUNK_RECORDS
        expect(possible, "number", f"leaf {self.leaf} cannot begin with record {first}")
        length = sum(1 for _ in trees.path(self.leaf, leaves))
        what = f"{len(self.siblings)}, but leaf {self.leaf} of {leaves} has {length}"
        expect(len(self.siblings) == length, "siblings", what)
        leaf, log_root = bytes(keccak256(_LEAF + self.chunk)), self.header.log_root
        if not trees.verify(leaf, self.leaf, leaves, self.siblings, log_root, NodeTag.LOG):
            raise NotIncluded(f"the path does not lead from the record to the root {log_root.hex()}")

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
        expect(text.count("[") + text.count("{") <= 4, "format", f"nested as no {FORMAT!r} is")
        try:
            given = json.loads(text)
        except ValueError as error:
            raise DamagedProof(f"not JSON: {error}") from error
        expect(isinstance(given, dict) and given.get("format") == FORMAT, "format", f"is not {FORMAT!r}")
        names = {"format", "fields", *(f.name for f in fields(cls))}
        for name in sorted(names ^ given.keys()):
            raise DamagedProof(f"{name}: {'missing' if name in names else 'a proof has no such field'}")
        values = {f.name: _value(f.name, given[f.name]) for f in fields(cls)}
        proof = cls(**values)
        if given["fields"] != decode(proof.record):
            raise DamagedProof(f"fields: {given['fields']} are not those of the record {proof.record.hex()}")
        return proof


def prove(
    chain_id: int, contract: bytes, header: BatchHeader, slots: Iterable[bytes], number: int
) -> RecordProof:
    """Proof of one record, from all records of its batch's log.

    Args:
        chain_id, contract, header: where the log is anchored, and as what.
        slots: the records of each slot of the batch, one after another; a fence ends each.
        number: of the record, from 0.

    Raises:
        NotIncluded: these records are not those of the header's log.
        NoSuchRecord: the batch has fewer.
    """
    chunks: list[bytes] = []
    firsts: list[int] = []
    count = 0
    for records in slots:
        for start in range(0, len(records), _CHUNK):
            chunks.append(records[start : start + _CHUNK])
            firsts.append(count)
            count += len(chunks[-1]) // RECORD_BYTES
    tree = Tree(NodeTag.LOG, [bytes(keccak256(_LEAF + chunk)) for chunk in chunks])
    for field, ours in (("log_records", count), ("log_leaves", len(tree)), ("log_root", tree.root)):
        theirs = getattr(header, field)
        if ours != theirs:
            what = f"the records have {shown(ours)}, the header {shown(theirs)}"
            raise NotIncluded(f"batch {header.number}: {field}: {what}")
    if not 0 <= number < count:
        raise NoSuchRecord(f"record {number} of batch {header.number}, which has {count}, numbered from 0")
    leaf = bisect_right(firsts, number) - 1
    position = number - firsts[leaf]
    return RecordProof(
        chain_id=chain_id,
        contract=contract,
        header=header,
        number=number,
        record=chunks[leaf][position * RECORD_BYTES :][:RECORD_BYTES],
        leaf=leaf,
        position=position,
        chunk=chunks[leaf],
        siblings=tree.proof(leaf),
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


def expect(good: bool, field: str, what: str) -> None:
    """Refuse a file of which one field is not what it may be, by a DamagedProof that names it."""
    if not good:
        raise DamagedProof(f"{field}: {what}")


def _jsonable(proof: RecordProof) -> dict[str, Any]:
    values = {f.name: shown(getattr(proof, f.name)) for f in fields(proof)}
    header = {name: shown(value) for name, value in asdict(proof.header).items()}
    return values | {"header": header, "siblings": [shown(sibling) for sibling in proof.siblings]}


def shown(value: Any) -> Any:
    """A field as JSON has it."""
    return "0x" + value.hex() if isinstance(value, bytes) else value


def _value(name: str, given: Any) -> Any:
    if name == "header":
        return read_header(given)
    if name == "siblings":
        expect(isinstance(given, list), name, "not a list")
        return tuple(read_bytes(f"{name}[{n}]", sibling, 32) for n, sibling in enumerate(given))
    if name in (*_HEXADECIMAL, "chunk"):
        return read_bytes(name, given, _HEXADECIMAL.get(name))
    expect(type(given) is int and 0 <= given < 1 << 64, name, f"{given!r} is not a uint64")
    return given


def read_header(given: Any) -> BatchHeader:
    """The header of an object of its fields; a DamagedProof names what is wrong."""
    expect(isinstance(given, dict), "header", "no object of fields")
    names = [f.name for f in fields(BatchHeader)]
    for name in sorted({*names} ^ given.keys()):
        raise DamagedProof(f"header.{name}: {'missing' if name in names else 'a header has no such field'}")
    values: dict[str, Any] = {}
    for name in names:
        value = given[name]
        expect(type(value) in (int, str), f"header.{name}", f"{value!r} is neither a number nor bytes")
        values[name] = value if type(value) is int else read_bytes(f"header.{name}", value, 32)
    try:
        return BatchHeader(**values)
    except HeaderError as error:
        raise DamagedProof(f"header.{error}") from error


def read_bytes(name: str, given: Any, size: int | None) -> bytes:
    """Bytes of hexadecimal digits, as many as ``size`` says; a DamagedProof names the field."""
    try:
        if not isinstance(given, str) or not given.startswith("0x"):
            raise ValueError("no 0x in front")
        data = bytes.fromhex(given[2:])
    except ValueError as error:
        raise DamagedProof(f"{name}: not hexadecimal: {error}") from error
    expect(size is None or len(data) == size, name, f"{len(data)} bytes, not {size}")
    return data
