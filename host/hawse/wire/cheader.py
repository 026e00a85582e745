"""C header of the wire, derived from :mod:`hawse.wire.schema`.

``python -m hawse.wire.cheader`` prints it.
"""

from .schema import (
    ALL_INSTRUMENTS,
    BEAT_BYTES,
    ENUMS,
    LEAST_WINDOW,
    NULL_HANDLE,
    RECORD_BYTES,
    STRUCTS,
    VERSION,
    Struct,
)


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


def _struct(struct: Struct) -> str:
    lines, at, pads = [], 0, 0
    for field in struct.fields:
        if field.offset > at:
            lines.append(f"    uint8_t pad{pads}[{field.offset - at}];")
            pads += 1
        sign = "" if field.signed else "u"
        lines.append(f"    {sign}int{8 * field.bytes}_t {field.name}; /* {field.doc} */")
        at = field.offset + field.bytes
    if struct.size > at:
        lines.append(f"    uint8_t pad{pads}[{struct.size - at}];")
    name = f"hawse_{struct.name}"
    body = "\n".join(lines)
    check = f"HAWSE_SIZE({name}, {struct.size});"
    return f"/* {struct.doc} */\ntypedef struct {name} {{\n{body}\n}} {name};\n{check}\n"


def header() -> str:
    """The whole header, for C11 and C++17."""
    out = [
        "/* Generated from hawse.wire.schema. Little-endian, naturally aligned. */",
        "#ifndef HAWSE_WIRE_H\n#define HAWSE_WIRE_H\n#include <stdint.h>\n",
        "#ifdef __cplusplus\n#define HAWSE_SIZE(t, n) static_assert(sizeof(t) == n, #t)",
        "#else\n#define HAWSE_SIZE(t, n) _Static_assert(sizeof(t) == n, #t)\n#endif\n",
        f"#define HAWSE_WIRE_VERSION {VERSION}",
        f"#define HAWSE_BEAT_BYTES {BEAT_BYTES}",
        f"#define HAWSE_RECORD_BYTES {RECORD_BYTES}",
        f"#define HAWSE_NULL_HANDLE 0x{NULL_HANDLE:X}u",
        f"#define HAWSE_LEAST_WINDOW {LEAST_WINDOW}u",
        f"#define HAWSE_ALL_INSTRUMENTS 0x{ALL_INSTRUMENTS:X}u\n",
    ]
    for enum in ENUMS:
        name = _snake(enum.__name__)
        values = ", ".join(f"HAWSE_{name.upper()}_{m.name} = {m.value}" for m in enum)
        out.append(f"enum hawse_{name} {{ {values} }};")
    out.append("")
    out += [_struct(s) for s in STRUCTS]
    out.append("#endif")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    print(header(), end="")
