"""What a viewer shows of a waveform of the core: save files for GTKWave and Surfer."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from hawse.wire import schema

#: Nanoseconds of a clock cycle in a waveform: cycle n begins with its rising edge at ``NS * n``.
NS = 10

_CORE, _BOOK = "top.core", "top.core.book"
_COMMANDS, _BEATS = f"{_CORE}.commands__payload", f"{_CORE}.beats__payload"
_STAGES = ("checking_valid", "reading_valid", "deciding_valid", "told_valid", "slow", "matched")


def _fields(struct: schema.Struct) -> Iterator[tuple[str, int, int]]:
    """Name, lowest bit and width of each field, a flag of a byte on its own."""
    for field in struct.fields:
        yield field.name, 8 * field.offset, 8 * field.bytes
        for name, low, width in field.bits:
            if field.name == "kind":
                yield f"kind.{name}", 8 * field.offset + low, width


#: Title: full name and width of each signal, as both viewers find them.
SIGNALS: Mapping[str, list[tuple[str, int]]] = {
    "commands": [
        (f"{_CORE}.clk", 1),
        (f"{_CORE}.commands__valid", 1),
        (f"{_CORE}.commands__ready", 1),
        *((f"{_COMMANDS}__{field.name}", 8 * field.bytes) for field in schema.COMMAND.fields),
    ],
    "stages": [(f"{_BOOK}.{name}", 1) for name in _STAGES],
    "reports": [
        (f"{_CORE}.beats__valid", 1),
        (f"{_CORE}.beats__ready", 1),
        (_BEATS, 256),
    ],
}


def gtkwave(trace: Path, accepted: int, left: int) -> str:
    """A save file for ``gtkwave``, with the beats taken apart as REPORT.

    Args:
        trace: the waveform; as the viewer is to find it.
        accepted: clock cycle at which the cursor is put.
        left: clock cycle to which a marker is put.
    """
    lines = [f'[dumpfile] "{trace.resolve()}"', f"[timestart] {NS * (accepted - 4)}"]
    # Zoom, a power of two, at which a window shows some thirty cycles; cursor, and marker A.
    lines.append(f"*-6.0 {NS * accepted} {NS * left}")
    lines += ["[size] 1400 900", "[signals_width] 330", "[sst_expanded] 0"]
    for title, signals in SIGNALS.items():
        lines += ["@200", f"-{title}"]
        for name, width in signals:
            lines += ["@22", f"{name}[{width - 1}:0]"] if width > 1 else ["@28", name]
    lines += ["@200", "-reports, taken apart"]
    for name, low, width in _fields(schema.REPORT):
        bits = " ".join(f"({255 - bit}){_BEATS}[255:0]" for bit in reversed(range(low, low + width)))
        lines += ["@22", f"#{{{name}}} {bits}"]
    return "\n".join(lines) + "\n"


def surfer(accepted: int) -> str:
    """A command file for ``surfer -c``, with the cursor at clock cycle ``accepted``."""
    lines = []
    for title, signals in SIGNALS.items():
        lines += [f"divider_add {title}", *(f"variable_add {name}" for name, _ in signals)]
    return "\n".join([*lines, f"cursor_set {NS * accepted}", "zoom_fit"]) + "\n"
