"""What the simulator gets to read."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse_sim import toolchain


class Rom(wiring.Component):
    """Reads a memory of 64 rows."""

    address: In(6)
    data: Out(8)

    def __init__(self, init):
        self.init = init
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=64, init=self.init)
        port = memory.read_port(domain="comb")
        m.d.comb += [port.addr.eq(self.address), self.data.eq(port.data)]
        return m


def verilog(init):
    return toolchain.to_verilog(toolchain.to_rtlil(Rom(init), "rom"))


def test_rows_that_begin_as_zero_are_one_loop():
    text = verilog([])
    assert (
        text.count("] = 8'h00;") == 1 and "for (int row = 0; row <= 63; row++) memory[row] = 8'h00;" in text
    )


def test_other_rows_keep_what_they_begin_with():
    text = verilog([0] * 20 + [7] + [0] * 3 + [9])
    assert "for (int row = 0; row <= 19; row++) memory[row] = 8'h00;" in text
    assert "memory[20] = 8'h07;" in text and "memory[24] = 8'h09;" in text
    assert "for (int row = 25; row <= 63; row++)" in text and text.count("] = 8'h00;") == 5
