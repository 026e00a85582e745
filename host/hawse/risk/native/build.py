"""The sources of the risk functions, their tables as a header, and the library made of them."""

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

from hawse.engine.native import build
from hawse.risk import fixed
from hawse.risk.errors import Code

HERE = Path(__file__).resolve().parent

#: The transition function may not use what these forbid.
FLAGS = ("-ffreestanding", "-fno-exceptions", "-fno-rtti")

_SOURCES = ("fixed", "options", "surface", "requirements", "portfolio", "prices", "liquidation")


def source_files() -> tuple[Path, ...]:
    """Sources without the C interface; nothing in them needs a library but the compiler's own."""
    return tuple(HERE / f"{name}.cpp" for name in _SOURCES)


def header() -> str:
    """``hawse_risk_tables.h``: codes, limits of the tables, and the tables of ``tables.json``."""
    table = fixed.load()
    high, low = divmod(table.ln2, 1 << 64)
    codes = ", ".join(f"{code.name} = {code.value}" for code in Code)
    return f"""// Written by hawse.risk.native.build from tables.json; not to be edited.
#pragma once
#include <stdint.h>

namespace hawse::risk {{

enum class Code : int32_t {{ {codes} }};

namespace table {{
constexpr char kHash[] = "{fixed.TABLES_HASH}";
constexpr uint64_t kLn2High = {high}u, kLn2Low = {low}u;  // 80 fractional bits
constexpr int64_t kInverseLn2 = {table.inverse_ln2};  // 32
constexpr int64_t kInverseSqrt2Pi = {table.inverse_sqrt_2pi};  // 62
{_array("kLog", table.log)}
{_array("kLogSeries", table.log_series)}
{_array("kExp", table.exp)}
{_array("kExpSeries", table.exp_series)}
{_array("kNormal", table.normal)}
{_array("kInverse", table.inverse)}
}}  // namespace table
}}  // namespace hawse::risk
"""


def _array(name: str, values: list[int] | list[list[int]]) -> str:
    sizes, rows = f"[{len(values)}]", []
    for value in values:
        if isinstance(value, list):
            rows.append("{" + ", ".join(map(str, value)) + "}")
        else:
            rows.append(str(value))
    if isinstance(values[0], list):
        sizes += f"[{len(values[0])}]"
    return f"constexpr int64_t {name}{sizes} = {{\n  " + ",\n  ".join(rows) + "};"


def include_dirs() -> tuple[Path, ...]:
    """Directories of the headers: this one, and one with ``hawse_risk_tables.h``, written here and now."""
    text = header()
    directory = build.build_dir() / f"risk-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = directory / "hawse_risk_tables.h"
    if not path.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=directory, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    return HERE, directory


@cache
def risk_library(*flags: str) -> Path:
    """The shared library of the risk functions, with the C interface.

    Raises:
        BuildError: it cannot be built.
    """
    sources = (*source_files(), HERE / "c_api.cpp", HERE / "c_api_venue.cpp")
    return build.compile_library("hawse_risk", sources, (*FLAGS, *flags), include_dirs())
