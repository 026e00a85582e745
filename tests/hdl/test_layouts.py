import numpy as np
import pytest
from amaranth.hdl import Const
from amaranth.lib import data
from hawse.wire import dtypes, schema
from hawse_hdl import layouts

NAMES = ["command", "report", "fence", "batch", "resting", "hello", "build"]


@pytest.mark.parametrize("name", NAMES)
def test_gateware_and_numpy_read_the_same_fields(name):
    layout = getattr(layouts, name.upper())
    raw = np.random.default_rng(1).bytes(32)
    expected = np.frombuffer(raw, dtypes.dtype(getattr(schema, name.upper())))[0]
    seen = layout.from_bits(int.from_bytes(raw, "little"))
    for field in getattr(schema, name.upper()).fields:
        value = seen[field.name]
        if not field.bits:
            assert value == expected[field.name], field.name
        for bits, low, width in field.bits:
            assert value[bits] == int(expected[field.name]) >> low & (1 << width) - 1, bits


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_fills_a_beat(name):
    assert getattr(layouts, name.upper()).size == 8 * schema.BEAT_BYTES


def test_a_view_reaches_bits_within_a_byte():
    command = data.View(layouts.COMMAND, Const(0b10_11_0 << 8, 256))
    assert len(command.flags.time_in_force) == 2
    assert layouts.COMMAND.from_bits(0b10_11_0 << 8).flags.self_trade == 0b10
