"""The gates that synthesis makes: of memories, the book, and a board over its UART wires."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from hawse.engine import GoldenBackend, SoftBackend
from hawse.wire import Geometry
from hawse_hdl.boards import ULX3S
from hawse_hdl.memory import NO_COLLISION, ForwardedMemory
from hawse_hdl.streams import RegisteredFIFO
from hawse_sim import gates
from hawse_sim.differential import compare_commands
from hawse_sim.fuzz import Differential
from hawse_sim.wires import NetlistBoard

gate_level = pytest.mark.parametrize("simulator", ["netlist"])


class Store(wiring.Component):
    """A memory at its ports."""

    def __init__(self, width, depth, *, init=(), attrs=None):
        self.memory = Memory(shape=width, depth=depth, init=init, attrs=attrs)
        self._ports = self.memory.write_port(), self.memory.read_port()
        bits = (depth - 1).bit_length()
        super().__init__(
            {"read": In(bits), "data": Out(width), "write": In(1), "address": In(bits), "value": In(width)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = self.memory
        write, read = self._ports
        m.d.comb += [write.en.eq(self.write), write.addr.eq(self.address), write.data.eq(self.value)]
        m.d.comb += [read.addr.eq(self.read), self.data.eq(read.data)]
        return m


async def read_all(pins, addresses):
    found = []
    for address in addresses:
        pins.set("read", address)
        await pins.tick()
        found += await pins.get("data")
    return found


async def write_then_read(pins, width, depth, seed, rounds, apart):
    """Reads of words written before; with ``apart``, never of the one that is written in that cycle."""
    rng, words, wrong = random.Random(seed), {}, 0
    for _ in range(rounds):
        at, value = rng.randrange(depth), rng.getrandbits(width)
        known = [word for word in words if word != at or not apart]
        address = rng.choice(known) if known and rng.random() < 0.7 else (at + 1) % depth
        if not apart and words:
            address = at
        pins.set("write", 1)
        pins.set("address", at)
        pins.set("value", value)
        pins.set("read", address)
        before = words.get(address)
        await pins.tick()
        words[at] = value
        [data] = await pins.get("data")
        wrong += before is not None and data not in ((before,) if apart else (before, value))
    return wrong


@pytest.mark.ci
@gate_level
@pytest.mark.parametrize(("width", "depth"), [(32, 4096), (36, 512), (5, 32768)], ids=str)
def test_a_memory_of_gates_begins_with_what_it_was_given(simulate, width, depth):
    """In lanes, in one RAM of 36 bits, and in lanes and banks; each word differs from its neighbours."""
    words = [(0xDEADBEEF * (n + 1)) & (1 << width) - 1 for n in range(depth)]
    addresses = [0, 1, 2, 31, 32, 511, depth // 2, depth - 1]
    found = simulate(Store(width, depth, init=words, attrs=NO_COLLISION), read_all, addresses=addresses)
    assert found == [words[address] for address in addresses]


@pytest.mark.ci
@gate_level
@pytest.mark.parametrize("attrs", [{}, NO_COLLISION], ids=["collisions", "none"])
@pytest.mark.parametrize(
    ("width", "depth"), [(9, 2048), (18, 1024), (4, 4096), (40, 512), (2, 32768)], ids=str
)
def test_a_memory_of_gates_reads_what_was_written(simulate, width, depth, attrs):
    arguments = dict(width=width, depth=depth, seed=1, rounds=1500, apart=True)
    assert simulate(Store(width, depth, attrs=attrs), write_then_read, **arguments) == 0


@pytest.mark.ci
@gate_level
def test_a_word_that_is_read_while_it_is_written_is_noise(simulate):
    """Else the tests of what forwards such words would show nothing."""
    arguments = dict(width=18, depth=16, seed=1, rounds=300, apart=False)
    store = Store(18, 1024, attrs=NO_COLLISION)
    assert simulate(store, write_then_read, **arguments) > 250


async def forwarded(pins, seed, rounds):
    rng, words, read, wrong = random.Random(seed), [0] * 4, 0, 0
    for word in range(4):
        pins.set("write", 1)
        pins.set("address", word)
        pins.set("value", 0)
        await pins.tick()
    for _ in range(rounds):
        write, address, value = rng.getrandbits(1), rng.randrange(4), rng.getrandbits(8)
        pins.set("write", write)
        pins.set("address", address)
        pins.set("value", value)
        pins.set("same", int(write and address == read))
        following = rng.randrange(4)
        pins.set("read", following)
        if write:
            words[address] = value
        expected = words[read]
        [data] = await pins.tick("data")
        wrong += data != expected
        read = following
    return wrong


@pytest.mark.ci
@gate_level
def test_a_forwarded_read_of_gates_shows_every_write_before_it(simulate):
    assert simulate(ForwardedMemory(8, 1024), forwarded, seed=1, rounds=3000) == 0


class Queue(wiring.Component):
    """A queue at its ports."""

    w_en: In(1)
    w_data: In(18)
    w_rdy: Out(1)
    r_en: In(1)
    r_data: Out(18)
    r_rdy: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = RegisteredFIFO(width=18, depth=1024)
        m.d.comb += [queue.w_en.eq(self.w_en), queue.w_data.eq(self.w_data), queue.r_en.eq(self.r_en)]
        m.d.comb += [self.w_rdy.eq(queue.w_rdy), self.r_data.eq(queue.r_data), self.r_rdy.eq(queue.r_rdy)]
        return m


async def through(pins, seed, rounds):
    rng, sent, received = random.Random(seed), [], []
    for _ in range(rounds):
        valid, value, ready = rng.getrandbits(1), rng.getrandbits(18), rng.getrandbits(1)
        pins.set("w_en", valid)
        pins.set("w_data", value)
        pins.set("r_en", ready)
        room, came, data = await pins.tick("w_rdy", "r_rdy", "r_data")
        if valid and room:
            sent.append(value)
        if ready and came:
            received.append(data)
    assert len(received) > rounds // 5
    return [received, sent[: len(received)]]


@pytest.mark.ci
@gate_level
def test_a_queue_of_gates_keeps_order(simulate):
    received, sent = simulate(Queue(), through, seed=2, rounds=3000)
    assert received == sent


#: A book whose memories are one block RAM, or gates, and one whose memories are lanes and banks of several.
BOOKS = {"small": Geometry(2, 1024, 64, 4), "banked": Geometry(2, 32768, 4096, 4)}


@pytest.mark.ci
@pytest.mark.parametrize("size", BOOKS)
@pytest.mark.parametrize("commands", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_book_of_gates_answers_as_the_native_engine_does(size, commands):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    with Differential(BOOKS[size], "book", netlist=True) as pair:
        for mix, stalls in enumerate([(0.0, 0.0), (0.1, 0.3), (0.0, 0.0)]):
            found = pair.run(seed + mix, commands, mix, stalls)
            assert found.verdict == "same", found.story()
            assert found.commands == commands


CLOCK, BAUDRATE = 30_000_000, 2_500_000  # the fewest cycles a bit that a board may have


@pytest.mark.ci
@pytest.mark.parametrize("bursts", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_a_board_of_gates_answers_over_its_wires_as_the_engines_do(bursts):
    """From the pins on: PLL, reset, UART, link, book, hash core; and again when its button was pressed."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    geometry = Geometry(2, 1024, 64, 4)
    with NetlistBoard(ULX3S, geometry, hash_cores=1, clock_hz=CLOCK, baudrate=BAUDRATE) as board:
        engines = [board, SoftBackend(geometry), GoldenBackend(geometry)]
        assert board.board_epoch() == 0
        assert compare_commands(engines, seed, bursts, 30, epoch=5) > 30 * bursts // 2
        assert board.board_epoch() == 5
        board.press()
        assert board.board_epoch() == 0
        assert compare_commands(engines, seed + 1, 1, 20, epoch=1)


def netlist(**cells):
    return {"cells": cells, "ports": {"q": {"direction": "output", "bits": [2]}}}


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"type": "MULT18X18D", "parameters": {}, "connections": {}}, "no model of MULT18X18D"),
        (
            {"type": "TRELLIS_IO", "parameters": {"DIR": "BIDIR"}, "connections": {}},
            "no model of a TRELLIS_IO with DIR = BIDIR",
        ),
        (
            {"type": "TRELLIS_FF", "parameters": {"LSRONMUX": "X"}, "connections": {"Q": [2]}},
            "no model of TRELLIS_FF with LSRONMUX = X",
        ),
        (
            {"type": "DP16KD", "parameters": {"REGMODE_A": "OUTREG"}, "connections": {}},
            "no model of a DP16KD with REGMODE_A = OUTREG",
        ),
    ],
)
def test_a_cell_that_no_model_does_is_refused(cell, said):
    with pytest.raises(gates.GateError, match=f"strange: {said}"):
        gates.to_verilog(netlist(strange=cell), "top")
