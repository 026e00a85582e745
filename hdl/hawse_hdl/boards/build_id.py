"""What the gateware was built from, put in when it has been synthesized."""

from amaranth.hdl import Const, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out


class BuildId(wiring.Component):
    """A constant of 128 bits, zero, in gates that synthesis leaves as they are.

    The build id is the hash of the netlist, so it cannot be in the netlist. Each bit is a gate without inputs
    that answers 0; who builds a bitstream sets the contents of those that are to answer 1, by their names.

    Latency, initiation interval, ordering, reset, back-pressure: a constant has none.
    """

    #: Width of the constant.
    BITS = 128

    value: Out(BITS)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        for n in range(self.BITS):
            m.submodules[f"bit{n}"] = Instance(
                "LUT4",
                a_keep=1,
                p_INIT=Const(0, 16),
                **{f"i_{pin}": Const(0) for pin in "ABCD"},
                o_Z=self.value[n],
            )
        return m
