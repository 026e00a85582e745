"""Netlists as Yosys writes them in JSON: what they are made of, and a hash by which they are known."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Cells: TypeAlias = dict[str, dict[str, Any]]

# What stands behind a component in the name of a block RAM of its memory.
_MEMORY = re.compile(r"(\.(lane\d+(_bank\d+)?|memory|storage|queue))*(\.\d+)+$")


def load(path: Path) -> dict[str, Any]:
    """The top module of a netlist that was flattened.

    Raises:
        OSError, ValueError: no netlist.
    """
    try:
        return dict(json.loads(path.read_text())["modules"]["top"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a netlist of Yosys with a module named top") from error


def cells(top: dict[str, Any]) -> Cells:
    """The cells by name, without those that only say where a module was."""
    return {name: cell for name, cell in top["cells"].items() if cell["type"] != "$scopeinfo"}


def census(top: dict[str, Any]) -> dict[str, int]:
    """How many cells there are of each type."""
    return dict(sorted(Counter(cell["type"] for cell in cells(top).values()).items()))


def ledger(top: dict[str, Any]) -> dict[str, int]:
    """Block RAMs of an ECP5 by whose they are: the name of the component around the memory."""
    owners = (_MEMORY.sub("", name) for name, cell in top["cells"].items() if cell["type"] == "DP16KD")
    return dict(sorted(Counter(owners).items()))


def _color(*parts: str) -> int:
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of 64-bit words that leaves no pattern in sums of them (splitmix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def fingerprint(top: dict[str, Any]) -> str:
    """SHA-256 of what a netlist is, its cells with their parameters and wiring, as 64 hex digits.

    Names of cells and nets, their order, attributes, and ports that lead nowhere do not count, so that a port
    which nobody connects, another name, or another line of source leave it what it was. Each cell begins with
    its type and parameters, and cells and nets take in what they are joined to, over and over, until that
    tells no more of them apart.

    Args:
        top: as :func:`load` gives it.
    """
    kinds = [(c["type"], json.dumps(c.get("parameters", {}), sort_keys=True)) for c in cells(top).values()]
    seeds = [_color(*kind) for kind in kinds]
    pins: list[tuple[int, int, int | str]] = []  # cell, color of the pin, net
    labels: dict[tuple[str, int], int] = {}

    def pin(cell: int, port: str, bits: list[int | str]) -> None:
        for n, bit in enumerate(bits):
            label = labels.get((port, n))
            if label is None:
                label = labels[port, n] = _color(port, str(n))
            pins.append((cell, label, bit))

    for number, cell in enumerate(cells(top).values()):
        for port, bits in cell["connections"].items():
            pin(number, port, bits)
    joined = {net for _, _, net in pins}
    for port, shape in top["ports"].items():
        if joined.intersection(b for b in shape["bits"] if isinstance(b, int)):
            seeds.append(_color("port", port, shape["direction"]))
            pin(len(seeds) - 1, "port", shape["bits"])

    names: dict[int | str, int] = {}
    net = np.array([names.setdefault(n, len(names)) for _, _, n in pins], np.int64)
    owner = np.array([cell for cell, _, _ in pins], np.int64)
    label = np.array([color for _, color, _ in pins], np.uint64)
    constants = {names[n]: _color("constant", n) for n in names if isinstance(n, str)}
    cell_color = np.array(seeds, np.uint64)
    net_color = np.zeros(len(names), np.uint64)
    with np.errstate(over="ignore"):
        told = 0
        while told < (told := len(np.unique(cell_color))):
            net_color[:] = 0
            np.add.at(net_color, net, _mix(cell_color[owner] ^ label))
            for number, color in constants.items():  # alike wherever it is used
                net_color[number] = color
            gathered = cell_color.copy()
            np.add.at(gathered, owner, _mix(_mix(net_color[net]) ^ label))
            cell_color = _mix(gathered)
    return hashlib.sha256(np.sort(cell_color).tobytes()).hexdigest()
