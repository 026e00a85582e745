"""Amaranth layouts of the wire, derived from :mod:`hawse.wire.schema`."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from hawse.wire import schema
from hawse.wire.schema import BEAT_BYTES, Struct


def layout(struct: Struct) -> data.FlexibleLayout:
    """Layout of ``struct`` in one little-endian word; sub-fields of a byte appear as a nested struct."""
    fields = {}
    for f in struct.fields:
        shape = signed(8 * f.bytes) if f.signed else unsigned(8 * f.bytes)
        if f.bits:
            shape = data.StructLayout({name: width for name, _, width in f.bits})
        fields[f.name] = data.Field(shape, 8 * f.offset)
    return data.FlexibleLayout(8 * struct.size, fields)


COMMAND = layout(schema.COMMAND)
REPORT = layout(schema.REPORT)
FENCE = layout(schema.FENCE)
BATCH = layout(schema.BATCH)
RESTING = layout(schema.RESTING)
HELLO = layout(schema.HELLO)
BUILD = layout(schema.BUILD)
#: A report beat of whatever kind.
BEAT = unsigned(8 * BEAT_BYTES)
