"""What contracts of components share."""

from amaranth.hdl import Assume, Signal
from hawse.wire import Geometry


class TinyGeometry(Geometry):
    """A geometry smaller than an engine may have, so that a solver can see all of it."""

    def __post_init__(self):
        pass


def hold(m, value):
    """Have an input keep a value chosen by the solver."""
    began, before = Signal(), Signal.like(value)
    m.d.sync += [began.eq(1), before.eq(value)]
    m.d.comb += Assume(~began | (value == before))


def read_before(m):
    """Whether a cycle has gone by, so that a memory's read port holds something that was read."""
    read = Signal()
    m.d.sync += read.eq(1)
    return read


def show(m, memory, words):
    """Have signals follow the words of a memory."""
    for address, word in enumerate(words):
        port = memory.read_port(domain="comb")
        m.d.comb += [port.addr.eq(address), word.eq(port.data)]
