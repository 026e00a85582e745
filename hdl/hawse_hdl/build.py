"""Elaborates the gateware: ``python -m hawse_hdl.build verilog --top core -o core.v``."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring
from hawse.wire.schema import Geometry

from .appliance import Appliance, Board
from .book import Book
from .core import Core

#: Top levels by name.
TOPS: dict[str, Callable[[Geometry], wiring.Component]] = {
    "book": Book,
    "core": Core,
    "appliance": Appliance,
    "board": Board,
}


def to_verilog(top: str, geometry: Geometry, *, source_lines: bool = False) -> str:
    """Verilog of one of :data:`TOPS`, whose name the top module bears.

    Args:
        top: key of :data:`TOPS`.
        geometry: of the book.
        source_lines: say in attributes which line of Python each signal comes from.
    """
    return str(verilog.convert(TOPS[top](geometry), name=top, emit_src=source_lines))


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="hawse_hdl.build", description="Build the gateware.")
    commands = parser.add_subparsers(dest="command", required=True)
    v = commands.add_parser("verilog", help="write Verilog for another tool's flow")
    v.add_argument("--top", choices=TOPS, default="board", help="top level [%(default)s]")
    for name, value in asdict(Geometry()).items():
        v.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help="[%(default)s]")
    v.add_argument("--source-lines", action="store_true", help="with attributes that name lines of Python")
    v.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="'-' is standard output")
    o = parser.parse_args(arguments)
    try:
        geometry = Geometry(o.instruments, o.levels, o.orders, o.account_bits)
    except ValueError as error:
        parser.error(str(error))
    text = to_verilog(o.top, geometry, source_lines=o.source_lines)
    if str(o.output) == "-":
        sys.stdout.write(text)
    else:
        o.output.write_text(text)


if __name__ == "__main__":
    main()
