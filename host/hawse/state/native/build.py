"""The sources of the native state, and the library made of them."""

from functools import cache
from pathlib import Path

from hawse.engine.native import build

HERE = Path(__file__).resolve().parent

#: The transition function may not use what these forbid. A compiler may know what memcpy does: it is all that
#: the sources want from outside.
FLAGS = ("-ffreestanding", "-fbuiltin", "-fno-exceptions", "-fno-rtti")
_SOURCES = (
    "config",
    "lanes",
    "ledger",
    "marks",
    "settling",
    "strategies",
    "funding",
    "sweep",
    "admission",
    "clearing",
    "liquidating",
    "commitments",
    "machine",
    "batch",
    "snapshot",
    "records",
    "together",
    "c_api",
)


def source_files() -> tuple[Path, ...]:
    """All sources, Keccak among them; nothing in them needs a library but the compiler's own and memcpy."""
    return (*(HERE / f"{name}.cpp" for name in _SOURCES), build.HERE / "keccak.cpp")


@cache
def state_library(*flags: str) -> Path:
    """The shared library of the transition function, with the C interface.

    Raises:
        BuildError: it cannot be built.
    """
    return build.compile_library("hawse_state", source_files(), (*FLAGS, *flags))
