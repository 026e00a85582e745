import json
import random
from collections import deque
from pathlib import Path

import pytest
from amaranth.hdl import Value
from amaranth.lib.wiring import In
from amaranth.sim import Simulator
from hawse_sim.cocotb_runner import run_cocotb


class Pins:
    """Ports of a component by their names in Verilog, all as integers; cocotb_bench.py has its twin."""

    def __init__(self, ctx, ports):
        self._ctx, self._ports = ctx, ports

    def set(self, name, value):
        self._ctx.set(self._ports[name], value)

    async def get(self, *names):
        """Values of ``names`` now."""
        return [self._ctx.get(self._ports[name]) for name in names]

    async def tick(self, *names):
        """Wait for the next cycle; returns the values of ``names`` just before it."""
        _, _, *values = await self._ctx.tick().sample(*(self._ports[name] for name in names))
        return values


@pytest.fixture(params=["amaranth", "verilator"])
def simulator(request):
    return request.param


@pytest.fixture
def simulate(simulator, tmp_path):
    """Function that runs ``bench(pins, **arguments)`` on a component and returns what the bench returns.

    The bench is a function of a module, which Verilator's process runs anew; arguments and result are JSON.
    """

    def run(component, bench, **arguments):
        members = [
            ("__".join(map(str, path)), *rest) for path, *rest in component.signature.flatten(component)
        ]
        if simulator == "amaranth":
            ports = {name: Value.cast(port) for name, _, port in members}
            result = None

            async def main(ctx):
                nonlocal result
                result = await bench(Pins(ctx, ports), **arguments)

            sim = Simulator(component)
            sim.add_clock(1e-6)
            sim.add_testbench(main)
            sim.run()
            return result
        # As Verilog, from its source; or, of a test that asks for it, the gates that synthesis makes of it.
        inputs = {name: Value.cast(port).init for name, member, port in members if member.flow == In}
        job = dict(file=bench.__code__.co_filename, bench=bench.__name__, inputs=inputs, arguments=arguments)
        (tmp_path / "job.json").write_text(json.dumps(job))
        run_cocotb(
            component,
            type(component).__name__.lower(),
            Path(__file__).with_name("cocotb_bench.py"),
            env={"BENCH": str(tmp_path)},
            netlist=simulator == "netlist",
        )
        return json.loads((tmp_path / "result.json").read_text())

    return run


async def _drive(pins, inputs, outputs, stalls, seed, watch, constants, rest):
    rng = random.Random(seed)
    waiting = {name: deque(payloads) for name, payloads in inputs.items()}
    received = {name: [] for name in outputs}
    offers, held = dict.fromkeys(inputs, False), dict.fromkeys(outputs)
    sampled = [f"{name}__ready" for name in inputs]
    sampled += [f"{name}__{signal}" for name in outputs for signal in ("valid", "payload")]
    trace, quiet = [], 0
    for name, value in constants.items():
        pins.set(name, value)
    while quiet < rest or any(waiting.values()) or any(len(received[n]) < outputs[n] for n in outputs):
        assert quiet < 20_000, f"{ {n: len(received[n]) for n in outputs} } of {outputs}, then nothing"
        for name, payloads in waiting.items():
            if not offers[name] and payloads and rng.random() >= stalls.get(name, 0):
                offers[name] = True
                pins.set(f"{name}__payload", payloads[0])
            pins.set(f"{name}__valid", int(offers[name]))
        takes = {name: rng.random() >= stalls.get(name, 0) for name in outputs}
        for name in outputs:
            pins.set(f"{name}__ready", int(takes[name]))

        values = iter(await pins.tick(*sampled, *watch))
        quiet += 1
        for name in inputs:
            if next(values) and offers[name]:
                waiting[name].popleft()
                offers[name], quiet = False, 0
        for name in outputs:
            valid, payload = next(values), next(values)
            if held[name] is not None:
                assert valid and payload == held[name], f"{name}: an offered payload changed or was withdrawn"
            held[name] = payload if valid and not takes[name] else None
            if valid and takes[name]:
                received[name].append(payload)
            quiet = 0 if valid else quiet
        trace.append(list(values))
    return received, trace


@pytest.fixture
def drive(simulate):
    """Function that feeds streams and drains others; returns what came and the values of ``watch``, by cycle.

    ``inputs`` maps names of streams to payloads, ``outputs`` to the count of payloads to wait for, ``stalls``
    to the probability of a pause in a cycle. It ends after ``rest`` cycles in which nothing moves.
    """

    def run(component, inputs, outputs, *, stalls=None, seed=0, watch=(), constants=None, rest=100):
        arguments = dict(inputs=inputs, outputs=outputs, stalls=stalls or {}, seed=seed, watch=watch)
        return simulate(component, _drive, **arguments, constants=constants or {}, rest=rest)

    return run


@pytest.fixture
def transfer(drive, simulator):
    """Function that sends payloads into stream ``i`` of a component and returns what leaves stream ``o``.

    It waits for ``count`` payloads and then for some cycles more, in which nothing else should come.
    """

    def run(component, payloads, count, *, stalls=(0.0, 0.0), seed=0, **constants):
        stalls = dict(zip("io", stalls, strict=True))
        received, _ = drive(
            component, {"i": payloads}, {"o": count}, stalls=stalls, seed=seed, constants=constants
        )
        return received["o"]

    run.bulk = simulator == "verilator"  # fast enough for long runs
    return run
