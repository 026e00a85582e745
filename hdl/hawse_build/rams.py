"""The block RAMs of an appliance: who has which today, and who is to have which.

What there is comes from the netlist that synthesis made; what is planned, from what it has to hold.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hawse.wire.schema import Geometry

from .netlist import census, fingerprint, ledger, load
from .synthesis import synthesize
from .tools import BuildError, tool, version
from .tops import APPLIANCE, gateware, routed

#: Of an LFE5(UM5G)-85F, each of 18 kbit.
BLOCK_RAMS = 208
#: Words of a block RAM by their width.
_DEPTHS = {36: 512, 18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}

#: What a component's memory holds, by the end of its name; a number in it stands for every one.
CONTENTS = {
    "book.queues.levels": "head and tail of each level",
    "book.store": "an order's record",
    "book.queues.nexts": "links to the order behind",
    "book.queues.prevs": "links to the order ahead",
    "book.bitmap.leaves": "which levels hold orders",
    "book.bitmap.copy": "the same, to be read a second time",
    "log.cores.queue_N": "records that wait for a hash core, one queue a core",
    "log.ends.beats": "beats behind a fence whose digest is not there yet",
    "log.ends.tree.places": "the peaks of the report log",
    "link.incoming": "frames until they are complete",
    "link.outgoing": "frames until they are acknowledged",
    "link.capture.memory": "words that the capture buffer has taken",
}


def block_rams(width: int, depth: int) -> int:
    """Least block RAMs of ``depth`` words of ``width`` bits, in lanes and banks as memories are laid out."""
    for wide, deep in _DEPTHS.items():
        if depth <= deep:
            return -(-width // wide)
    return width * -(-depth // _DEPTHS[1])


#: Who is to have how many, and why: nothing of it is built.
PLANNED: tuple[tuple[str, int, str], ...] = (
    (
        "gate: what is left of each limit",
        block_rams(32 + 17 + 2 * 64 + 32 + 1 + 64, 1024),
        "1,024 tags: order 32 bits, open orders 17, lots of each side 64, commands 32, kill 1, credit 64",
    ),
    (
        "gate: what comes back at the next FENCE",
        block_rams(17 + 2 * 64 + 64, 1024),
        "1,024 tags: open orders 17 bits, lots of each side 64, credit 64",
    ),
    ("Ethernet: MAC, UDP, ARP", 5, "as LiteEth was when it was tried"),
    (
        "Ethernet: datagrams of the link",
        2 * block_rams(32, 8 * 1472 // 4) - 2,
        "8 of 1,472 bytes each way, in place of the two that the UART's link has",
    ),
    ("supervisor: program and data", block_rams(32, 4096), "16 KiB"),
    ("supervisor: processor", 3, "microcode of 256 words of 48 bits, and registers twice"),
)


def found(device: str, geometry: Geometry, folder: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """The block RAMs of the appliance for ``device``, of its netlist in ``folder``.

    It is synthesized, minutes of a core, if it is not there.

    Raises:
        BuildError: no board has that device, or synthesis failed.
    """
    text, target = routed(APPLIANCE, device, geometry)
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"synthesizing the appliance for {device}, minutes the first time")
    netlist = load(synthesize(text, target.device, folder, macros=bool(target.constraints)))
    progress("hashing the netlist")
    return {
        "device": device,
        "geometry": asdict(geometry),
        "netlist": fingerprint(netlist),
        "gateware": gateware(APPLIANCE, device, geometry),
        "tools": [version(tool("yosys"))],
        "cells": census(netlist),
        "block_rams": ledger(netlist),
    }


def grouped(rams: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """How many memories and block RAMs each component has, by its name in :data:`CONTENTS`.

    Raises:
        BuildError: a component that has no entry there.
    """
    memories, count = Counter[str](), Counter[str]()
    for name, rams_of_it in rams.items():
        plain = re.sub(r"\d+$", "N", name)
        known = next((end for end in CONTENTS if f".{plain}".endswith(f".{end}")), None)
        if known is None:
            raise BuildError(
                f"{name} has {rams_of_it} block RAMs, and hawse_build.rams does not say what for"
            )
        memories[known] += 1
        count[known] += rams_of_it

    def rank(name: str) -> tuple[int, int]:
        return -count[name], list(CONTENTS).index(name)

    return {name: (memories[name], count[name]) for name in sorted(count, key=rank)}


def markdown(told: Mapping[str, Any]) -> str:
    """The ledger as a table: what ``told`` (:func:`found`) has, and what is planned."""
    lines = ["| who | block RAMs | what is in them |", "|---|---|---|"]
    today = 0
    for name, (memories, count) in grouped(told["block_rams"]).items():
        each = f"{memories} × {count // memories}" if memories > 1 else str(count)
        lines.append(f"| `{name}` | {each} | {CONTENTS[name]} |")
        today += count
    lines.append(f"| **today** | **{today} of {BLOCK_RAMS}** | {BLOCK_RAMS - today} are free |")
    lines += [f"| *{who}* | *{count}* | {what} |" for who, count, what in PLANNED]
    planned = sum(count for _, count, _ in PLANNED)
    left = BLOCK_RAMS - today - planned
    verdict = f"{left} are free" if left >= 0 else f"**{-left} too many**"
    lines.append(f"| **with all that is planned** | **{today + planned} of {BLOCK_RAMS}** | {verdict} |")
    cells = told["cells"]
    kinds = {
        "LUT4": "LUT4",
        "CCU2C": "carry cells",
        "TRELLIS_DPR16X4": "RAMs of gates",
        "TRELLIS_FF": "flip-flops",
    }
    beside = ", ".join(f"{cells.get(kind, 0):,} {name}" for kind, name in kinds.items())
    sizes = "{instruments} instruments, {pool:,} levels, {orders:,} orders, {tag_bits} bits of tag".format(
        **told["geometry"]
    )
    lines += [
        "",
        f"Of netlist `{told['netlist'][:16]}` for {told['device']}: {sizes}. Beside them it has {beside}.",
    ]
    return "\n".join(lines)
