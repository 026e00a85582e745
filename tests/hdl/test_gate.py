"""The gate alone against its model, with a book that gives back what and when it likes."""

import random

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.lib.data import Const as Fields
from amaranth.sim import Simulator
from hawse.engine.gate import Gate as Model
from hawse.engine.gate import check_limit
from hawse.engine.golden import Command
from hawse.wire import Geometry, Limit, Opcode, Reason, SequenceClass, Side
from hawse.wire.dtypes import COMMAND, flags, make
from hawse_hdl.block_rams import BlockRams
from hawse_hdl.gate import Gate
from hawse_sim.flow import adversarial

GEOMETRY = Geometry(instruments=3, pool=1024, orders=64, tag_bits=3)
FENCES = (Opcode.FENCE, Opcode.CLOSE)


def raw(row):
    return int.from_bytes(row.tobytes(), "little")


def defined(c):
    return c.self_trade != 3 and c.sequence_class in set(SequenceClass)


class Book:
    """What stands behind the gate: takes judged commands, gives back, and releases."""

    def __init__(self, gate, model, rng):
        self.gate, self.model, self.rng = gate, model, rng
        self.open = []  # what may come back: tag, instrument, side, quantity, credit
        self.owed = []  # what comes back before the next release
        self.release = None  # of a FENCE: True, or of a rate: its command and whether it is taken
        self.judged = []
        self.quiet = 0  # cycles in which nothing can be in the book: it is empty behind a rate

    def take(self, c, judgement):
        """A judged command, against the model's word."""
        reason, drew = self.model.judge(c)
        got = Reason(Reason.KILLED + judgement.reason) if judgement.breached else Reason.NONE
        assert (got, bool(judgement.drew)) == (reason, drew), f"command {len(self.judged)}: {c}"
        self.judged.append(reason)
        if drew:
            due = c.tag, c.instrument, c.side, c.quantity, c.opcode != Opcode.REPLACE, c.opcode != Opcode.LOAD
            (self.owed if self.rng.random() < 0.3 else self.open).append(due)
        if c.opcode in FENCES:
            self.release = True
        elif c.opcode == Opcode.LIMIT and c.handle == Limit.RATE:
            fits = self.fits(c) and self.rng.random() < 0.7
            self.release = c, fits
        elif c.opcode == Opcode.LIMIT and self.fits(c):
            self.model.limit(c)

    def fits(self, c):
        inside = c.tag < 1 << GEOMETRY.tag_bits and c.instrument < GEOMETRY.instruments
        return defined(c) and inside and check_limit(c) is Reason.NONE

    def drive(self, ctx):
        """One cycle of give-backs, or a release behind all of them."""
        back, release = self.gate.back, self.gate.release
        ctx.set(release.valid, 0)
        ctx.set(back.valid, 0)
        self.quiet -= 1
        if self.quiet > 0:
            return
        if self.open and self.rng.random() < 0.4:
            self.owed.append(self.open.pop(self.rng.randrange(len(self.open))))
        if self.owed and self.rng.random() < 0.7:
            tag, instrument, side, quantity, ended, credit = self.owed.pop()
            credit &= self.rng.random() < 0.8
            self.model.give_back(tag, instrument, side, quantity, ended=ended, credit=credit)
            fields = {"tag": tag, "instrument": instrument, "side": side, "amount": quantity}
            for name, value in {**fields, "ended": ended, "credit": credit, "valid": 1}.items():
                ctx.set(back[name], value)
        elif self.release and not self.owed and self.rng.random() < 0.5:
            fence = self.release is True
            taken = not fence and self.release[1]
            ctx.set(release.valid, 1)
            ctx.set(release.fence, fence)
            ctx.set(release.taken, taken)
            if fence:
                self.model.fence()
            elif taken:
                self.model.limit(self.release[0])
                self.quiet = 6
            self.release = None


def run(commands, seed, stall=0.0, idle=0.0, platform=None):
    """Reasons that the gate gives, each compared with the model's."""
    gate, rng = Gate(GEOMETRY), random.Random(seed)
    book = Book(gate, Model(GEOMETRY), rng)
    rows = list(commands)

    async def testbench(ctx):
        at = taken = 0
        offering = False
        for _ in range(60 * len(rows) + 1000):
            offering = offering or (at < len(rows) and rng.random() >= idle)
            ctx.set(gate.commands.valid, offering)
            if offering:
                ctx.set(gate.commands.payload, Fields(gate.commands.payload.shape(), raw(rows[at])))
            ctx.set(gate.judged.ready, rng.random() >= stall)
            book.drive(ctx)
            if ctx.get(gate.judged.valid) and ctx.get(gate.judged.ready):
                told = ctx.get(gate.judged.payload)
                assert told.command.as_bits() == raw(rows[taken])
                book.take(Command(*rows[taken].tolist()), told.judgement)
                taken += 1
            if offering and ctx.get(gate.commands.ready):
                at, offering = at + 1, False
            await ctx.tick()
            if taken == len(rows):
                return
        raise AssertionError(f"{taken} of {len(rows)} commands came out")

    simulator = Simulator(Fragment.get(gate, platform))
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return book.judged


def flow(seed, bursts=45, size=60):
    rng = np.random.default_rng(seed)
    parts = [
        adversarial.with_limits(rng, adversarial.commands(rng, GEOMETRY, size), 0.2) for _ in range(bursts)
    ]
    return np.concatenate([adversarial.rates(rng, GEOMETRY), *parts])


@pytest.mark.parametrize(
    ("stall", "idle", "platform"),
    [(0.0, 0.0, None), (0.4, 0.0, None), (0.0, 0.5, BlockRams()), (0.3, 0.3, BlockRams())],
    ids=["at once", "stalled", "idle", "both"],
)
def test_it_judges_as_its_model(stall, idle, platform):
    seen = run(flow(7), 7, stall, idle, platform)
    assert set(seen) >= {Reason.NONE, *map(Reason, range(Reason.KILLED, Reason.COLLAR + 1))}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_it_judges_as_its_model_long(seed):
    run(flow(seed + 100, 200), seed, random.Random(seed).choice([0.0, 0.3, 0.7]), 0.2)


def new(tag, quantity, side=Side.BUY):
    return make(COMMAND, opcode=Opcode.NEW, tag=tag, flags=flags(side), quantity=quantity, price=5)


def limit(what, value, tag=1):
    return make(
        COMMAND, opcode=Opcode.LIMIT, handle=what, tag=tag, quantity=value & 0xFFFF_FFFF, token=value >> 32
    )


def times(commands, release_after=None):
    """Cycles in which each command is taken and comes out; a FENCE is released so many cycles later."""
    gate = Gate(GEOMETRY)
    took, came, reasons = [], [], []

    async def testbench(ctx):
        ctx.set(gate.judged.ready, 1)
        at, due = 0, None
        for cycle in range(400):
            ctx.set(gate.commands.valid, at < len(commands))
            if at < len(commands):
                ctx.set(gate.commands.payload, Fields(gate.commands.payload.shape(), raw(commands[at])))
            ctx.set(gate.release.valid, cycle == due)
            ctx.set(gate.release.fence, 1)
            if ctx.get(gate.judged.valid):
                told = ctx.get(gate.judged.payload)
                came.append(cycle)
                reasons.append(Reason.KILLED + told.judgement.reason if told.judgement.breached else 0)
                if told.command.opcode == Opcode.FENCE:
                    due = cycle + release_after
            if at < len(commands) and ctx.get(gate.commands.ready):
                took.append(cycle)
                at += 1
            await ctx.tick()

    simulator = Simulator(gate)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return np.array(took), np.array(came), reasons


def test_a_command_a_cycle_four_cycles_later():
    took, came, _ = times(np.concatenate([new(1, 1)] * 50))
    assert (np.diff(took) == 1).all()
    assert (came - took == 4).all()


def test_commands_of_one_tag_in_a_row_see_each_other():
    commands = [limit(Limit.OPEN_BUY, 5), *[new(1, n) for n in (2, 4, 1, 3, 2, 1)]]
    _, _, reasons = times(np.concatenate(commands))
    assert reasons == [0, 0, Reason.OPEN_BUY, 0, Reason.OPEN_BUY, 0, Reason.OPEN_BUY]


def test_what_a_limit_and_a_fence_cost():
    took, came, _ = times(np.concatenate([limit(Limit.OPEN_BUY, 5), new(1, 1), new(1, 1)]))
    assert np.diff(took).tolist() == [5, 1]
    took, came, _ = times(np.concatenate([make(COMMAND, opcode=Opcode.FENCE), new(1, 1)]), release_after=20)
    assert took[1] - came[0] == 20 + 4


def test_it_clears_its_memories_first():
    took, _, _ = times(np.concatenate([new(1, 1)]))
    assert took[0] == 1 << GEOMETRY.tag_bits
