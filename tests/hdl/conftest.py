import json
import random
from pathlib import Path

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator
from hawse_sim.cocotb_runner import run_cocotb


def _amaranth(component, payloads, count, *, stalls, seed, constants):
    received = []

    async def source(ctx):
        rng = random.Random(seed)
        for name, value in constants.items():
            ctx.set(getattr(component, name), value)
        for payload in payloads:
            while rng.random() < stalls[0]:
                await ctx.tick()
            ctx.set(Value.cast(component.i.payload), payload)
            ctx.set(component.i.valid, 1)
            await ctx.tick().until(component.i.ready)
            ctx.set(component.i.valid, 0)

    async def sink(ctx):
        rng = random.Random(seed + 1)
        offered, quiet = None, 0
        while len(received) < count or quiet < 100:
            ready = rng.random() >= stalls[1]
            ctx.set(component.o.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(component.o.valid, component.o.payload)
            quiet = 0 if valid else quiet + 1
            assert quiet < 20_000, f"{len(received)} of {count} payloads, then nothing"
            if offered is not None:
                assert valid and payload == offered, "an offered payload changed or was withdrawn"
            offered = payload if valid and not ready else None
            if valid and ready:
                received.append(payload)

    sim = Simulator(component)
    sim.add_clock(1e-6)
    sim.add_testbench(source)
    sim.add_testbench(sink)
    sim.run()
    return received


@pytest.fixture(params=["amaranth", "verilator"])
def transfer(request, tmp_path):
    """Function that sends payloads into stream ``i`` of a component and returns what leaves stream ``o``.

    It waits for ``count`` payloads and then for some cycles more, in which nothing else should come.
    """

    def run(component, payloads, count, *, stalls=(0.0, 0.0), seed=0, **constants):
        if request.param == "amaranth":
            return _amaranth(component, payloads, count, stalls=stalls, seed=seed, constants=constants)
        job = dict(payloads=payloads, count=count, stalls=stalls, seed=seed, constants=constants)
        (tmp_path / "job.json").write_text(json.dumps(job))
        run_cocotb(
            component,
            type(component).__name__.lower(),
            Path(__file__).with_name("cocotb_transfer.py"),
            seed=seed,
            env={"TRANSFER": str(tmp_path)},
        )
        return json.loads((tmp_path / "received.json").read_text())

    run.bulk = request.param == "verilator"  # fast enough for long runs
    return run
