"""The file of an exit: what an owner keeps of a batch, and what the contract's ``exit`` takes."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import msgspec

from .exits import ExitLeaf
from .header import BatchHeader
from .inclusion import DamagedProof
from .trees import Node

_FORMAT = "hawse exit 1"


class ExitFile(msgspec.Struct, forbid_unknown_fields=True):
    """The file of an exit: an account's leaf in the exit tree of a batch, with its path and the header."""

    format: str
    chain_id: int
    contract: str
    header: dict[str, int | str]
    index: int
    owner: str
    generation: int
    equity: int
    proof: list[tuple[str, int, int]]

    @classmethod
    def read(cls, path: Path) -> "ExitFile":
        """What a file says.

        Raises:
            DamagedProof: it is none of ours; says which field.
        """
        try:
            made = msgspec.json.decode(path.read_bytes(), type=cls)
            made.terms()
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise DamagedProof(f"{path}: {error}") from None
        if made.format != _FORMAT:
            raise DamagedProof(f"{path}: format {made.format!r}, not {_FORMAT!r}")
        return made

    def terms(self) -> tuple[BatchHeader, ExitLeaf, list[Node]]:
        """Header, leaf and siblings."""
        given = {n: bytes.fromhex(v) if isinstance(v, str) else v for n, v in self.header.items()}
        leaf = ExitLeaf(self.index, bytes.fromhex(self.owner), self.generation, 0, self.equity)
        nodes = [
            Node(bytes.fromhex(hash_), (positive, shortfall)) for hash_, positive, shortfall in self.proof
        ]
        return BatchHeader(**given), leaf, nodes  # type: ignore[arg-type]

    @classmethod
    def of(
        cls, chain_id: int, contract: bytes, header: BatchHeader, leaf: ExitLeaf, proof: Sequence[Node]
    ) -> "ExitFile":
        """Of a leaf, its siblings and the header of its batch."""
        values = {f.name: getattr(header, f.name) for f in fields(header)}
        return cls(
            _FORMAT,
            chain_id,
            contract.hex(),
            {name: v.hex() if isinstance(v, bytes) else v for name, v in values.items()},
            leaf.index,
            leaf.owner.hex(),
            leaf.generation,
            leaf.equity,
            [(node.hash.hex(), *node.sums) for node in proof],  # type: ignore[misc]
        )
