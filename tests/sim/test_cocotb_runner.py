from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from hawse_sim.cocotb_runner import run_cocotb
from hawse_sim.toolchain import ToolError

TESTS = Path(__file__).with_name("cocotb_fifo.py")


class Queue(wiring.Component):
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=8, depth=4)
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        return m


class Fickle(wiring.Component):
    """Changes what it offers, whether it was taken or not."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(1)]
        m.d.sync += self.o.payload.eq(self.o.payload + 1)
        return m


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_stream_ends_carry_all_payloads(stall):
    run_cocotb(Queue(), "queue", TESTS, seed=7, env={"STALL": str(stall)})


def test_a_failing_cocotb_test_fails_the_run():
    with pytest.raises(AssertionError, match=r"fails_when_told_so[\s\S]*0 of 1 within 10 cycles"):
        run_cocotb(Queue(), "queue", TESTS, env={"STALL": "0", "FAIL": "1"})


def test_no_test_found_is_a_failure():
    with pytest.raises(AssertionError):
        run_cocotb(Queue(), "queue", TESTS, testcase="nothing_of_this_name", env={"STALL": "0"})


def test_a_payload_that_changes_while_offered_is_caught():
    with pytest.raises(AssertionError, match="offered payload changed"):
        run_cocotb(Fickle(), "fickle", TESTS, testcase="passes_everything_in_order", env={"STALL": "0.5"})


def test_a_design_that_does_not_build_says_why(monkeypatch):
    monkeypatch.setattr("hawse_sim.toolchain.to_verilog", lambda *_: "module broken(; endmodule")
    with pytest.raises(ToolError, match="syntax error"):
        run_cocotb(Queue(), "broken", TESTS)
