"""Builds the gateware: ``python -m hawse_build verilog``, ``route`` and its slow ``paths``, ``ledger``."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from amaranth.back import verilog
from hawse.wire.schema import Geometry
from hawse_hdl.block_rams import BlockRams

from . import rams
from .paths import PathsError, SlowPath, slow_paths
from .routing import PLACERS, route
from .synthesis import DEVICES
from .tools import BuildError
from .tops import APPLIANCE, PARTS, TOPS, routed


def to_verilog(top: str, geometry: Geometry, *, source_lines: bool = False) -> str:
    """Verilog of one of :data:`TOPS`, whose name the top module bears.

    Args:
        top: key of :data:`TOPS`.
        geometry: of the book.
        source_lines: say in attributes which line of Python each signal comes from.
    """
    return str(verilog.convert(TOPS[top](geometry), name=top, emit_src=source_lines, platform=BlockRams()))


def _route(o: argparse.Namespace, geometry: Geometry) -> None:
    try:
        text, target = routed(o.top, o.device, geometry)
        found = route(
            text,
            target,
            top=o.top,
            geometry=geometry,
            seeds=o.seeds,
            goal_mhz=o.goal_mhz,
            placer=o.placer,
            folder=o.folder,
            jobs=o.jobs,
            progress=lambda text: print(text, file=sys.stderr, flush=True),
        )
    except BuildError as error:
        sys.exit(f"hawse_build: {error}")
    command = "python -m hawse_build " + " ".join(sys.argv[1:])
    text = json.dumps({"command": command, **found}, indent=2) + "\n"
    if o.output:
        o.output.parent.mkdir(parents=True, exist_ok=True)
        o.output.write_text(text)
    print(text, end="")


def _ledger(o: argparse.Namespace, geometry: Geometry) -> None:
    try:
        told = rams.found(o.device, geometry, o.folder, lambda text: print(text, file=sys.stderr, flush=True))
        text = rams.markdown(told)
    except BuildError as error:
        sys.exit(f"hawse_build: {error}")
    if o.output:
        command = "python -m hawse_build " + " ".join(sys.argv[1:])
        o.output.parent.mkdir(parents=True, exist_ok=True)
        o.output.write_text(json.dumps({"command": command, **told}, indent=2) + "\n")
    print(text)


def _paths(o: argparse.Namespace) -> None:
    try:
        found = slow_paths(o.sdf, o.slower_than)
    except (PathsError, OSError) as error:
        sys.exit(f"hawse_build: {error}")
    if o.json:
        print(json.dumps([{**asdict(path), "signals": path.signals} for path in found], indent=2))
        return
    endpoints = sum(path.endpoints for path in found)
    print(f"{endpoints} endpoints, {len(found)} pairs of signals below {o.slower_than:g} MHz")
    if found:
        print("    ns    MHz  endpoints  gates  in wires  from -> to")
    for path in found[: o.top]:
        _print_path(path, steps=o.steps)
    if len(found) > o.top:
        print(f"and {len(found) - o.top} more: --top")


def _print_path(path: SlowPath, *, steps: bool) -> None:
    gates, wires, signals = len(path.steps), path.wires_ns / path.ns, " -> ".join(path.signals)
    print(f"{path.ns:6.2f} {1000 / path.ns:6.1f} {path.endpoints:10} {gates:6} {wires:9.0%}  {signals}")
    if steps:
        print(f"        {'/'.join(path.start)} leaves {path.launch_ns:.2f}")
        for step in path.steps:
            print(f"        {'/'.join(step.pin)} wire {step.wire_ns:.2f} gate {step.gate_ns:.2f}")
        print(f"        {'/'.join(path.end)} wire {path.last_wire_ns:.2f} set-up {path.setup_ns:.2f}")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="hawse_build", description="Build the gateware.")
    commands = parser.add_subparsers(dest="command", required=True)
    v = commands.add_parser("verilog", help="write Verilog for another tool's flow")
    v.add_argument("--top", choices=TOPS, default="board", help="top level [%(default)s]")
    v.add_argument("--source-lines", action="store_true", help="with attributes that name lines of Python")
    v.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of standard output")
    r = commands.add_parser("route", help="synthesize, place and route with open tools")
    r.add_argument("--device", choices=DEVICES, required=True)
    r.add_argument("--top", choices=(APPLIANCE, *PARTS), default=APPLIANCE, help="[%(default)s]")
    r.add_argument("--seeds", type=int, nargs="+", default=[1], help="of nextpnr [%(default)s]")
    r.add_argument("--goal-mhz", type=float, default=150, help="what nextpnr strives for [%(default)s]")
    r.add_argument("--placer", choices=PLACERS, help="for ECP5 [the best that there is]")
    r.add_argument("--jobs", type=int, default=1, help="seeds at a time [%(default)s]")
    r.add_argument("--folder", type=Path, default=Path("build/route"), help="[%(default)s]")
    r.add_argument("-o", "--output", type=Path, help="results as JSON")
    b = commands.add_parser("ledger", help="who has which block RAMs, today and planned")
    b.add_argument("--device", choices=DEVICES, default="LFE5UM5G-85F-8", help="[%(default)s]")
    b.add_argument("--folder", type=Path, default=Path("build/route"), help="[%(default)s]")
    b.add_argument("-o", "--output", type=Path, help="what was found as JSON")
    p = commands.add_parser("paths", help="list the slow paths of a design that was routed")
    p.add_argument("sdf", type=Path, metavar="FILE.sdf", help="left by route beside its log")
    p.add_argument("--slower-than", type=float, default=120, metavar="MHZ", help="[%(default)s]")
    p.add_argument("--top", type=int, default=20, metavar="N", help="as many pairs of signals [%(default)s]")
    p.add_argument("--steps", action="store_true", help="with each gate and wire")
    p.add_argument("--json", action="store_true", help="all of them, with each gate and wire")
    for sub in (v, r, b):
        for name, value in asdict(Geometry()).items():
            sub.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help="[%(default)s]")
    o = parser.parse_args(arguments)
    if o.command == "paths":
        if o.slower_than <= 0:
            parser.error(f"--slower-than {o.slower_than:g}: not a clock")
        _paths(o)
        return
    try:
        geometry = Geometry(o.instruments, o.pool, o.orders, o.tag_bits)
    except ValueError as error:
        parser.error(str(error))
    if o.command == "route":
        _route(o, geometry)
        return
    if o.command == "ledger":
        _ledger(o, geometry)
        return
    text = to_verilog(o.top, geometry, source_lines=o.source_lines)
    if o.output:
        o.output.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # ``| head`` has read what it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
