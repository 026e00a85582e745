"""A component alone on a chip that has fewer pins than it has ports."""

from itertools import combinations, count

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In, Out


class Pinned(wiring.Component):
    """A component of wide ports behind four wires, for routing it alone.

    Inputs come out of a shift register, outputs go through registers into an exclusive-or tree, so that
    neither pins nor their paths limit the figure.

    Latency, initiation interval, ordering, back-pressure: of no interest, what comes out means nothing.
    Reset: that of ``inner``.

    Args:
        inner: the component.
        pairs: of a short shift register each input takes the exclusive-or of two bits, no two inputs of the
            same. On a part whose cells hold a gate and a flip-flop that costs next to nothing, where
            ``inner`` puts its inputs into registers.
    """

    data: In(1)
    shift: In(1)
    parity: Out(1)

    def __init__(self, inner: wiring.Component, *, pairs: bool = False) -> None:
        self.inner = inner
        self.pairs = pairs
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.inner = self.inner
        inputs: list[Value] = []
        outputs: list[Value] = []
        for _, member, value in self.inner.signature.flatten(self.inner):
            bits = Value.cast(value)
            (inputs if member.flow is Flow.In else outputs).append(bits)
        wanted = sum(len(bits) for bits in inputs)
        chain = Signal(next(n for n in count() if n * (n - 1) // 2 >= wanted) if self.pairs else wanted)
        with m.If(self.shift):
            m.d.sync += chain.eq(chain << 1 | self.data)
        values = [a ^ b for a, b in combinations(chain, 2)] if self.pairs else list(chain)
        m.d.comb += Cat(inputs).eq(Cat(values[:wanted]))
        stage: list[Value] = outputs
        while sum(len(bits) for bits in stage) > 1:
            flat = [bit for bits in stage for bit in bits]
            reduced = Signal(-(-len(flat) // 4))
            for n in range(len(reduced)):
                part = flat[4 * n : 4 * n + 4]
                value = part[0]
                for bit in part[1:]:
                    value = value ^ bit
                m.d.sync += reduced[n].eq(value)
            stage = [reduced]
        m.d.comb += self.parity.eq(stage[0])
        return m
