"""By what a netlist is known: what it is made of, not how it is called."""

import json
import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hawse_build import netlist, synthesis, tops


def gate(init, a, b, out):
    return {"type": "LUT4", "parameters": {"INIT": init}, "connections": {"A": [a], "B": [b], "Z": [out]}}


def flop(data, out):
    return {"type": "TRELLIS_FF", "parameters": {}, "connections": {"CLK": [2], "DI": [data], "Q": [out]}}


def ring():
    """Three flip-flops behind three gates in a ring, with one input and one output."""
    cells = {}
    for n in range(3):
        cells[f"g{n}"] = gate("0110", 10 + n, 3 if n == 0 else "0", 20 + n)
        cells[f"f{n}"] = flop(20 + n, 10 + (n + 1) % 3)
    ports = {
        "clk": {"direction": "input", "bits": [2]},
        "in": {"direction": "input", "bits": [3]},
        "out": {"direction": "output", "bits": [12]},
    }
    return {"cells": cells, "ports": ports}


def renamed(top, seed):
    rng = random.Random(seed)
    nets = {n: n * 7 + 100 for n in range(50)}
    cells = [(f"c{rng.random()}", json.loads(json.dumps(cell))) for cell in top["cells"].values()]
    rng.shuffle(cells)
    for _, cell in cells:
        cell["attributes"] = {"src": "elsewhere"}
        for bits in cell["connections"].values():
            bits[:] = [nets.get(bit, bit) for bit in bits]
    ports = {
        name: port | {"bits": [nets.get(bit, bit) for bit in port["bits"]]}
        for name, port in top["ports"].items()
    }
    return {"cells": dict(cells), "ports": ports}


def test_names_order_and_unconnected_ports_do_not_count():
    plain = netlist.fingerprint(ring())
    assert len(bytes.fromhex(plain)) == 32
    other = renamed(ring(), 1)
    other["ports"]["unused"] = {"direction": "input", "bits": [999]}
    other["cells"]["where"] = {"type": "$scopeinfo", "parameters": {}, "connections": {}}
    assert netlist.fingerprint(other) == plain


def change(what):
    top = ring()
    cells, ports = top["cells"], top["ports"]
    match what:
        case "parameter":
            cells["g1"]["parameters"]["INIT"] = "0111"
        case "wire":
            cells["g1"]["connections"]["B"] = [3]
        case "pin":
            cells["g0"]["connections"] |= {"A": [3], "B": [10]}
        case "constant":
            cells["g2"]["connections"]["B"] = ["1"]
        case "cell":
            cells["g3"] = gate("0001", 10, 11, 40)
        case "order":  # the output one step on in the ring
            ports["out"]["bits"] = [11]
        case "port":
            ports["other"] = ports.pop("in")
        case "swapped":
            cells["f0"]["connections"]["Q"], cells["f1"]["connections"]["Q"] = [12], [11]
    return top


@pytest.mark.parametrize("what", ["parameter", "wire", "pin", "constant", "cell", "order", "port", "swapped"])
def test_everything_else_does(what):
    assert netlist.fingerprint(change(what)) != netlist.fingerprint(ring())


def test_block_rams_are_counted_by_whose_they_are():
    names = [
        "a.b.memory.lane0.0.0",
        "a.b.memory.lane8.0.0",
        "a.b.memory.lane0_bank1.0.0",
        "a.c.queue.storage.0.12",
    ]
    top = {"cells": {name: {"type": "DP16KD"} for name in names} | {"a.b.x": {"type": "LUT4"}}}
    assert netlist.ledger(top) == {"a.b": 3, "a.c": 1}


class Small(wiring.Component):
    """Some gates; with ``more``, also an output that nobody connects."""

    data: In(8)
    total: Out(8)

    def __init__(self, more=False):
        self.more = more
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Inner(self.more)
        m.d.comb += [inner.data.eq(self.data), self.total.eq(inner.total)]
        return m


class Inner(wiring.Component):
    def __init__(self, more):
        self.more = more
        super().__init__({"data": In(8), "total": Out(8), **({"parity": Out(1)} if more else {})})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.total.eq(self.total + self.data)
        if self.more:
            seen = Signal(8)
            m.d.sync += seen.eq(self.data)
            m.d.comb += self.parity.eq(seen.xor())
        return m


def test_a_port_that_nobody_connects_leaves_results_current(tmp_path, monkeypatch):
    """The gateware's text is another one, so it is synthesized; the netlist is the same."""
    made = {"more": False}
    monkeypatch.setitem(tops.PARTS, "small", lambda _: Small(made["more"]))
    device, geometry = "LFE5U-85F-6", tops.Geometry()
    text, target = tops.routed("small", device, geometry)
    print_ = netlist.fingerprint(netlist.load(synthesis.synthesize(text, target.device, tmp_path)))
    result = {
        "top": "small",
        "device": device,
        "geometry": vars(geometry),
        "gateware": tops.digest(text),
        "netlist": print_,
        "tools": [tops.version(tops.tool("yosys"))],
    }
    said = []
    assert not tops.why_stale(result, tmp_path, said.append) and not said
    for clear in (tops.gateware, tops._netlist):
        clear.cache_clear()
    made["more"] = True
    assert tops.digest(tops.routed("small", device, geometry)[0]) != result["gateware"]
    assert not tops.why_stale(result, tmp_path, said.append) and "synthesizing small" in said[0]
    changed = result | {"gateware": "other", "netlist": "other"}
    assert tops.why_stale(changed, tmp_path, said.append) == "it is of another netlist"
    other = changed | {"tools": ["Yosys 0.1"]}
    assert "Yosys 0.1 made it" in tops.why_stale(other, tmp_path, said.append)
    old = result | {"geometry": {"instruments": 4, "levels": 8192}}
    assert "of another wire: its geometry has instruments, levels" in tops.why_stale(
        old, tmp_path, said.append
    )
