"""State machines of which each state is a bit."""

import re

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from hawse_build.synthesis import describe
from hawse_hdl.onehot import OneHot


class Light(wiring.Component):
    """Red until ``go``, then green and amber for a cycle each."""

    go: In(1)
    green: Out(1)

    def elaborate(self, platform):
        m = Module()
        states = OneHot(m, "light", "RED", "GREEN", "AMBER")
        other = Signal(2)
        self.states = states
        with m.Switch(states.bits):
            with states.at("RED"), m.If(self.go):
                states.next = "GREEN"
            with states.at("GREEN"):
                m.d.comb += self.green.eq(1)
                states.next = "AMBER"
            with states.at("AMBER"):
                states.next = "RED"
        with m.Switch(other), m.Case("-1"):
            m.d.sync += other.eq(0)
        return m


def test_one_state_after_another():
    dut = Light()
    seen = []

    async def bench(ctx):
        for go in (0, 1, 1, 1, 1, 0):
            ctx.set(dut.go, go)
            seen.append((ctx.get(dut.states.bits), ctx.get(dut.green)))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen == [(1, 0), (1, 0), (2, 1), (4, 0), (1, 0), (2, 1)]


def test_synthesis_is_told_that_its_states_exclude_each_other_and_of_nothing_else():
    told = re.findall(r"attribute \\parallel_case 1\n *switch (\S+)", describe(Light()))
    assert told
    assert set(told) == {r"\light_onehot"}


def test_a_state_that_there_is_not():
    dut = Light()
    describe(dut)
    with pytest.raises(KeyError, match="BLUE"):
        dut.states.next = "BLUE"
