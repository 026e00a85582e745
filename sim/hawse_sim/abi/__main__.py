"""``python -m hawse_sim.abi``: build the libraries of the benchmark's C interface."""

import argparse
import os
import shutil
from pathlib import Path

from hawse.engine.native.build import build_dir

from . import rtl_library, soft_library


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="hawse_sim.abi", description="Build libhawse_rtl.so, libhawse_soft.so."
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=build_dir(), metavar="DIRECTORY", help="[%(default)s]"
    )
    directory = parser.parse_args().output
    directory.mkdir(parents=True, exist_ok=True)
    for name, library in (("soft", soft_library()), ("rtl", rtl_library())):
        target = directory / f"libhawse_{name}.so"
        unfinished = directory / f".libhawse_{name}.{os.getpid()}"
        shutil.copy(library, unfinished)
        unfinished.replace(target)
        print(target)


if __name__ == "__main__":
    main()
