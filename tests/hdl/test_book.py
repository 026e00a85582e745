"""The book in gateware against the golden engine, report for report."""

import os
import random
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Shape, ShapeCastable, Signal
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator
from hawse.engine.backend import split
from hawse.engine.golden import GoldenBackend
from hawse.wire import (
    ALL_INSTRUMENTS,
    NULL_HANDLE,
    RECORD_BYTES,
    Geometry,
    InstrumentState,
    Kind,
    Opcode,
    Reason,
    SelfTrade,
    Side,
    TimeInForce,
)
from hawse.wire.dtypes import BUILD, COMMAND, FENCE, HELLO, REPORT, flags, make, records
from hawse_hdl import memory
from hawse_hdl.book import Book, bitmap, book, fronts
from hawse_hdl.core import Core

SMALL = Geometry(instruments=2, pool=1024, orders=64)
EPOCH = 77
BUY, SELL = Side.BUY, Side.SELL


def command(opcode, side=0, time_in_force=0, self_trade=0, **fields):
    return make(COMMAND, opcode=opcode, flags=flags(side, time_in_force, self_trade), **fields)


def new(handle, side, price, quantity, *, instrument=0, tag=0, time_in_force=0, self_trade=0, seq=0):
    return command(
        Opcode.NEW,
        side,
        time_in_force,
        self_trade,
        instrument=instrument,
        handle=handle,
        tag=tag,
        price=price,
        quantity=quantity,
        seq=seq,
    )


def state(instrument, to, **fields):
    return command(Opcode.STATE, instrument=instrument, quantity=to, **fields)


def loading(instrument=0, base=0, *, first=None, count=512):
    """By default the windows of all instruments lie side by side."""
    first = instrument * count if first is None else first
    window = {"handle": first, "token": count, "price": base}
    return state(instrument, InstrumentState.LOADING, **window)


def opened(instrument=0, base=0, **window):
    return [loading(instrument, base, **window), state(instrument, InstrumentState.OPEN)]


def words(commands):
    raw = np.concatenate(commands).tobytes()
    return [int.from_bytes(raw[i : i + 32], "little") for i in range(0, len(raw), 32)]


def comparable(beats):
    """Beats of either engine as bytes: no sideband, no log figures, no cycle counts, no hashes."""
    out, hash_follows, is_build = [], False, False
    for beat in beats:
        if hash_follows:
            hash_follows = False
            continue
        kind = beat[0] & 0x0F
        if is_build:
            is_build = False
            out.append(bytes(beat))
            continue
        is_build = kind == Kind.HELLO
        if kind < Kind.FENCE:
            out.append(bytes(beat[:RECORD_BYTES]))
        elif kind == Kind.FENCE:
            out.append(bytes(beat[:16]))
        elif kind == Kind.BATCH:
            out.append(bytes(beat[:8]))
        elif kind == Kind.HELLO:
            out.append(bytes(beat[:20] + beat[24:]))
        else:
            out.append(bytes(beat))
        hash_follows = kind in (Kind.FENCE, Kind.BATCH) and beats.hashed
    return out


class Beats(list):
    def __init__(self, items, hashed, offers=()):
        super().__init__(items)
        self.hashed = hashed
        self.offers = offers  # cycle in which each was first offered


def golden(commands, geometry):
    engine = GoldenBackend(geometry)
    engine.reset(EPOCH)
    raw = engine.exchange(np.concatenate([*commands, command(Opcode.FENCE)])).tobytes()
    beats = [raw[i : i + 32] for i in range(0, len(raw), 32)]
    return comparable(Beats(beats[:-2], hashed=True))


def run(commands, geometry, *, gap=0.0, stall=0.0, seed=0, reset_after=None, dut=None):
    """Drive a Book in the Amaranth simulator; returns its beats and what it did, cycle by cycle.

    ``HAWSE_VCD=FILE`` writes a waveform of it.
    """
    dut = dut or Book(geometry)
    reset = Signal()
    rng = random.Random(seed)
    pending = words(commands)
    patience = 20_000 + geometry.pool + 60 * len(pending)
    beats, offers, busy, stamps = [], [], [], []

    async def bench(ctx):
        nonlocal pending
        ctx.set(dut.epoch, EPOCH)
        offered, held, idle, cycle, left_to_reset = False, None, 0, 0, reset_after
        while pending or idle < 8:
            if not offered and pending and rng.random() >= gap:
                offered = True
                ctx.set(dut.commands.payload.as_value(), pending[0])
            ready = rng.random() >= stall
            ctx.set(dut.commands.valid, offered)
            ctx.set(dut.beats.ready, ready)
            taken = offered and ctx.get(dut.commands.ready)
            if ctx.get(dut.beats.valid):
                payload = ctx.get(dut.beats.payload)
                assert held in (None, payload), "an offered beat changed"
                if held is None:
                    offers.append(cycle)
                held = None if ready else payload
                if ready:
                    beats.append(payload.to_bytes(32, "little"))
            else:
                assert held is None, "an offered beat was withdrawn"
            now_busy = ctx.get(dut.busy)
            busy.append(now_busy)
            idle = 0 if now_busy or pending else idle + 1
            assert cycle < patience, f"stuck with {len(pending)} commands to go"
            if taken:
                stamps.append(cycle)
                pending, offered = pending[1:], False
            if len(stamps) == left_to_reset:
                left_to_reset = None
                await ctx.tick()
                ctx.set(dut.commands.valid, 0)
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
                beats.clear()
                offers.clear()
                held, offered, cycle = None, False, 0
                continue
            await ctx.tick()
            cycle += 1

    sim = Simulator(ResetInserter(reset)(dut))
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    waveform = os.environ.get("HAWSE_VCD")
    with sim.write_vcd(waveform) if waveform else nullcontext():
        sim.run()
    return Beats(beats, hashed=False, offers=offers), busy, stamps


def check(commands, geometry=SMALL, **options):
    beats, _, _ = run(commands, geometry, **options)
    ours, theirs = comparable(beats), golden(commands, geometry)
    for at, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        assert a == b, f"beat {at}: {a.hex(' ')}, golden {b.hex(' ')}"
    assert len(ours) == len(theirs)
    return beats


def reports(beats):
    behind = [b"\x00", *beats]  # a BUILD has no kind
    said = [b for b, before in zip(beats, behind, strict=False) if before[0] & 0x0F != Kind.HELLO]
    return [np.frombuffer(b, REPORT)[0] for b in said if b[0] & 0x0F < Kind.FENCE]


def outcomes(beats):
    """(kind, reason, handle, maker, price, quantity) of each record."""
    return [
        (
            Kind(int(r["kind"]) & 15),
            Reason(int(r["reason"])),
            int(r["handle"]),
            int(r["maker"]),
            int(r["price"]),
            int(r["quantity"]),
        )
        for r in reports(beats)
    ]


def test_price_then_time_priority():
    beats = check(
        [
            *opened(),
            new(1, SELL, 11, 5),
            new(2, SELL, 10, 5),
            new(3, SELL, 10, 5),
            new(4, BUY, 11, 12, seq=9),
        ]
    )
    assert outcomes(beats)[5:] == [
        (Kind.ACK, 0, 4, 0, 11, 12),
        (Kind.TRADE, 0, 4, 2, 10, 5),
        (Kind.TRADE, 0, 4, 3, 10, 5),
        (Kind.TRADE, 0, 4, 1, 11, 2),
    ]


@pytest.mark.parametrize("first, count", [(0, 1024), (0, 512), (960, 64)])
@pytest.mark.parametrize("base", [-(2**31), 2**31 - 1024, -512])
def test_band_edges(base, first, count):
    edges = (base - 1, base, base + count - 1, base + count, base + 2**16, base - 2**16)
    prices = [p for p in (*edges, -(2**31), 2**31 - 1) if -(2**31) <= p < 2**31]
    commands = opened(0, base, first=first, count=count)
    for handle, price in enumerate(prices):
        commands += [new(handle, BUY, price, 1), new(handle + 8, SELL, price, 1)]
    check([*commands, command(Opcode.DUMP), command(Opcode.MASS_CANCEL, instrument=ALL_INSTRUMENTS)])


@pytest.mark.parametrize("mode", SelfTrade)
@pytest.mark.parametrize("time_in_force", TimeInForce)
def test_self_trade(mode, time_in_force):
    commands = opened()
    for handle, (tag, price) in enumerate([(1, 5), (2, 5), (1, 5), (1, 6), (0, 6), (2, 7)]):
        commands.append(new(handle, SELL, price, 10, tag=tag))
    taker = {"tag": 1, "self_trade": mode, "time_in_force": time_in_force}
    check(
        [
            *commands,
            new(20, BUY, 7, 30, **taker),
            new(21, BUY, 7, 15, **taker),
            new(22, BUY, 7, 15, **taker),
            command(Opcode.DUMP),
        ]
    )


def test_fill_or_kill_fills_exactly_or_not_at_all():
    makers = [new(h, SELL, 5 + h * 33, 10) for h in range(4)]
    for quantity in (1, 39, 40, 41, 2**32 - 1):
        taker = new(9, BUY, 5 + 3 * 33, quantity, time_in_force=TimeInForce.FOK)
        check([*opened(), *makers, taker, command(Opcode.DUMP)])


def test_load_never_puts_both_sides_at_one_price():
    load = [
        command(Opcode.LOAD, side, handle=h, price=p, quantity=3)
        for h, side, p in [(0, BUY, 9), (1, SELL, 9), (2, SELL, 8), (3, BUY, 8), (4, BUY, 9)]
    ]
    beats = check(
        [
            loading(),
            *load,
            command(Opcode.DUMP),
            state(0, InstrumentState.OPEN),
            new(7, SELL, 1, 8),
            command(Opcode.DUMP),
        ]
    )
    assert [o[:3] for o in outcomes(beats) if o[0] == Kind.REJECTED] == [
        (Kind.REJECTED, Reason.PRICE, 1),
        (Kind.REJECTED, Reason.PRICE, 3),
    ]


def test_loading_forgets_one_instrument_only():
    orders = [new(h, BUY, 7 + h, 1, instrument=h % 2) for h in range(6)]
    check(
        [
            *opened(0),
            *opened(1),
            *orders,
            *opened(0, 5),
            command(Opcode.CANCEL, handle=0),
            new(0, SELL, 9, 1),
            command(Opcode.DUMP, instrument=0),
            command(Opcode.DUMP, instrument=1),
        ]
    )


def windowed(count=64, first=0, base=0, instrument=1):
    return loading(instrument, base, first=first, count=count)


BAD_WINDOWS = {
    "no levels": windowed(0),
    "too few": windowed(32, 512),
    "one less": windowed(63, 512),
    "no power of two": windowed(192, 512),
    "a high bit more": windowed(2**31 + 64, 512),
    "within its size": windowed(128, 576),
    "within a word": windowed(64, 513),
    "behind the pool": windowed(64, 1024),
    "far behind it": windowed(64, 2**32 - 64),
    "more than the pool": windowed(2048),
    "beyond the last price": windowed(64, 512, 2**31 - 63),
    "all prices beyond": windowed(512, 512, 2**31 - 1),
    "that of another": windowed(256, 256),
    "within that of another": windowed(64, 448),
    "around that of another": windowed(512, 0),
    "the pool": windowed(1024, 0),
}


def test_a_window_that_cannot_be_changes_nothing():
    dumps = [command(Opcode.DUMP, instrument=n) for n in range(2)]
    commands = [*opened(0, first=256, count=256), *opened(1, 100, first=640, count=128)]
    commands += [new(h, h & 1, 100 + (h & 1), 2, instrument=h >> 1 & 1) for h in range(8)]
    for bad in BAD_WINDOWS.values():
        commands += [bad, *dumps]
    commands += [new(8, BUY, 227, 9, instrument=1), new(9, BUY, 228, 1, instrument=1)]
    beats = check([*commands, windowed(512, 512), *dumps])
    refused = [o for o in outcomes(beats) if o[1] == Reason.WINDOW]
    assert len(refused) == len(BAD_WINDOWS)
    assert {o[0] for o in refused} == {Kind.REJECTED}


def test_a_state_tells_the_window_in_force():
    closed = state(1, InstrumentState.CLOSED, handle=64, token=64, price=9)
    opens = state(1, InstrumentState.OPEN, handle=1, token=2, price=3)
    beats = check([closed, opens, loading(1, -7, first=960, count=64), windowed(96), opens, closed])
    said = [(0, 0, 0, 0), (0, 0, 0, 1), (960, 64, -7, 3), (0, 96, 0, 0), (960, 64, -7, 1), (960, 64, -7, 0)]
    assert [o[2:] for o in outcomes(beats) if o[0] == Kind.ACK] == said[:3] + said[4:]
    whole = check([loading(0, 2**31 - 1024, first=0, count=1024)])
    assert outcomes(whole) == [(Kind.ACK, 0, 0, 1024, 2**31 - 1024, InstrumentState.LOADING)]


def test_without_a_window_no_price_is_inside():
    opens = state(1, InstrumentState.OPEN)
    orders = [
        new(h, h & 1, p, 1, instrument=1) for h, p in enumerate([0, 1, -1, 63, 64, -(2**31), 2**31 - 1])
    ]
    others = [*opened(0, first=0, count=64), new(10, BUY, 5, 1), new(11, SELL, 6, 1)]
    beats = check([*others, opens, *orders, command(Opcode.DUMP, instrument=1), command(Opcode.DUMP)])
    assert [o[1] for o in outcomes(beats) if o[0] == Kind.REJECTED] == [Reason.PRICE] * len(orders)


def test_windows_move_shrink_and_grow():
    dumps = [command(Opcode.DUMP, instrument=n) for n in range(2)]
    commands = [*opened(0, first=512, count=512)]
    handle = 40
    for first, count in [(0, 512), (0, 64), (448, 64), (64, 64), (256, 256), (0, 512)]:
        base = first - 300
        ends = [(BUY, 0), (BUY, 31), (SELL, count - 32), (SELL, count - 1)]
        loads = [
            command(Opcode.LOAD, s, instrument=1, handle=h, price=base + o, quantity=2)
            for h, (s, o) in enumerate(ends)
        ]
        beyond = [new(9, BUY, base - 1, 1, instrument=1), new(9, BUY, base + count, 1, instrument=1)]
        commands += [loading(1, base, first=first, count=count), *loads, state(1, InstrumentState.OPEN)]
        commands += [*beyond, *dumps, new(9, BUY, base + count - 1, 3, instrument=1), *dumps]
        # What the other rests here stays, wherever the first has its window.
        handle += 2
        commands += [new(handle, BUY, 0, 1), new(handle + 1, SELL, 511, 1)]
        commands += [command(Opcode.MASS_CANCEL, instrument=1), *dumps]
    # Levels that one has left are the other's.
    commands += [loading(1, first=0, count=64), *opened(0, 7, first=64, count=64), new(1, BUY, 7, 1), *dumps]
    check(commands)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    "geometry, firsts",
    [
        (Geometry(instruments=16, pool=1024, orders=128), range(0, 1024, 64)),
        (Geometry(instruments=4, pool=4096, orders=128), [960, 1024, 1984, 2048]),
    ],
)
def test_windows_side_by_side(geometry, firsts, side):
    """They share words of the bitmap, and no search leaves its own, from either end to the other."""
    commands, n = [], len(firsts)
    for number, first in enumerate(firsts):
        commands += opened(number, -first, first=first, count=64)
    for place, at in enumerate([0, 31, 63, 32]):
        commands += [
            new(place * n + k, side, at - first, 1, instrument=k) for k, first in enumerate(firsts) if k != 3
        ]
    for k in range(n):
        worst = (0 if side is BUY else 63) - firsts[k]
        commands += [
            command(Opcode.DUMP, instrument=k),
            new(4 * n + k, 1 - side, worst, 5, instrument=k, time_in_force=TimeInForce.FOK),
            *(new(5 * n, 1 - side, worst, 1, instrument=k, time_in_force=TimeInForce.IOC) for _ in range(5)),
            new(4 * n + k, 1 - side, worst, 1, instrument=k),
            command(Opcode.DUMP, instrument=k),
        ]
    check(commands, geometry)


def test_a_replace_names_the_owner():
    replace = [
        command(Opcode.REPLACE, handle=h, tag=t, price=9, quantity=q)
        for h, t, q in [
            (0, 1, 1),
            (0, 0, 0),
            (1, 0, 1),
            (1, 2, 1),
            (2, 1, 1),
            (1, 1, 0),
            (1, 1, 1),
            (0, 0, 1),
        ]
    ]
    beats = check([*opened(), new(0, BUY, 5, 2), new(1, BUY, 5, 2, tag=1), *replace, command(Opcode.DUMP)])
    owner, missing, quantity = Reason.OWNER, Reason.NOT_RESTING, Reason.QUANTITY
    assert [o[1] for o in outcomes(beats)[4:]] == [owner, quantity, owner, owner, missing, quantity, 0, 0]


def test_reasons_come_in_the_order_of_the_rules():
    """A command that fails every check, and then one less at a time."""
    bad = {"opcode": 13, "flags": 5 << 5, "tag": 2**12, "instrument": 2, "handle": 64}
    fields = {"quantity": 0, "price": 10_000} | bad
    commands = [*opened(), new(0, BUY, 5, 2, tag=1)]
    steps = [
        {"opcode": Opcode.REPLACE},
        {"flags": 0},
        {"tag": 2},
        {"instrument": 1},
        {"instrument": 0},
        {"handle": 1},
        {"handle": 0},
        {"tag": 1},
        {"quantity": 1},
        {"price": 6},
    ]
    for step in [{}, *steps]:
        fields |= step
        commands.append(make(COMMAND, **fields))
    names = "OPCODE CLASS TAG INSTRUMENT STATE HANDLE NOT_RESTING OWNER QUANTITY PRICE NONE"
    assert " ".join(o[1].name for o in outcomes(check(commands))[3:]) == names


class Scrambled(Memory):
    """A memory that holds anything at first."""

    rng = random.Random()

    def __init__(self, *, shape, depth, init, attrs=None):
        anything = [self.rng.getrandbits(Shape.cast(shape).width) for _ in range(depth)]
        if isinstance(shape, ShapeCastable):
            anything = [shape.from_bits(bits) for bits in anything]
        super().__init__(shape=shape, depth=depth, init=anything, attrs=attrs)


def test_after_a_reset_it_does_not_matter_what_the_memories_hold(monkeypatch):
    for module in (memory, bitmap, book, fronts):
        monkeypatch.setattr(module, "Memory", Scrambled)
    seed = random.randrange(2**32)
    print("seed", seed)
    Scrambled.rng = random.Random(seed)
    geometry = Geometry(instruments=1, pool=1024, orders=64)
    check(adversarial(random.Random(seed), 300, geometry), geometry)


def test_sparse_levels_are_found_again():
    """The best level empties with the next one in the same word, in the next word, and far away."""
    prices = [0, 1, 31, 32, 1023, 1024, 2000, 4095, 4096, 8191]
    geometry = Geometry(instruments=3, pool=8192, orders=64)
    for side in Side:
        makers = [new(h, side, p, 1, instrument=2) for h, p in enumerate(prices)]
        limit = 8191 if side is SELL else 0
        takers = [new(20 + h, 1 - side, limit, 1, instrument=2) for h in range(10)]
        whole = opened(2, first=0, count=8192)
        check([*whole, *makers, command(Opcode.DUMP, instrument=2), *takers], geometry)


def test_queues_survive_orders_that_leave_anywhere():
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    dump = command(Opcode.DUMP)
    neighbours = [new(h, SELL, 7, 2, tag=a) for h, a in enumerate([1, 2, 2, 2, 3])]
    commands = [*opened(), *neighbours, command(Opcode.MASS_CANCEL, tag=2), dump]
    commands += [command(Opcode.CANCEL, handle=4), dump, command(Opcode.MASS_CANCEL)]
    for _ in range(4):
        handles = rng.choice([list(range(24)), rng.sample(range(24), 24)])
        commands += [new(h, SELL, rng.choice([7, 7, 8]), 2, tag=rng.randrange(1, 4)) for h in handles]
        commands += [command(Opcode.CANCEL, handle=h) for h in rng.sample(handles, 8)]
        commands += [dump, command(Opcode.MASS_CANCEL, tag=2), dump]
        commands += [new(40, BUY, 8, 9, time_in_force=TimeInForce.IOC), dump]
        commands += [command(Opcode.REPLACE, handle=h, price=8, quantity=1) for h in rng.sample(handles, 4)]
        commands += [dump, command(Opcode.MASS_CANCEL)]
    check(commands)


def test_every_undefined_encoding_is_rejected():
    rng = random.Random(3)
    commands = [*opened()]
    for opcode in range(256):
        commands.append(make(COMMAND, opcode=opcode, flags=0, seq=opcode, token=opcode))
        commands.append(make(COMMAND, opcode=opcode, flags=rng.randrange(256), tag=rng.randrange(2**32)))
    check(commands)


def test_hello_counts_busy_cycles_and_tells_the_geometry():
    commands = [*opened(), new(0, BUY, 1, 1, seq=2**40 + 5), command(Opcode.HELLO, seq=2**63)] * 2
    beats, busy, _ = run(commands, SMALL, gap=0.3, stall=0.3, seed=5)
    first, second = [np.frombuffer(b, HELLO)[0] for b in beats if b[0] & 15 == Kind.HELLO]
    assert (int(first["last_seq"]), int(second["last_seq"])) == (2**40 + 5, 2**40 + 5)
    assert (int(first["instruments"]), int(first["pool"]), int(first["orders"])) == (2, 1024, 64)
    assert (int(first["tag_bits"]), int(first["least_window"]), int(first["version"])) == (12, 6, 2)
    assert int(first["epoch"]) == EPOCH
    assert 0 < int(first["busy"]) < int(second["busy"]) <= sum(busy)
    assert not busy[-1]


def test_build_tells_what_the_book_was_made_of():
    made = bytes(range(0x90, 0xA0))
    book = Book(SMALL, build=int.from_bytes(made, "little"), clock_khz=143_550)
    commands = [command(Opcode.HELLO), command(Opcode.FENCE)]
    told = run(commands, SMALL, dut=book)[0]
    (build,) = np.frombuffer(told[1], BUILD)
    assert (told[1][:16], int(build["clock_khz"]), int(build["features"])) == (made, 143_550, 0)
    assert bytes(told[2][:16]) == golden(commands, SMALL)[2]


def test_sideband_tells_acceptance_and_departure():
    commands = [*opened(), new(0, SELL, 1, 5), new(1, BUY, 1, 9)]
    beats, _, stamps = run(commands, SMALL, gap=0.4, seed=1)
    of_command = [0, 1, 2, 3, 3]
    assert [int(r["accepted"]) for r in reports(beats)] == [stamps[c] for c in of_command]
    left = [int(r["left"]) for r in reports(beats)]
    assert left == sorted(set(left))
    assert all(int(r["left"]) > int(r["accepted"]) for r in reports(beats))


def delays(commands, geometry=SMALL):
    """Cycles from the last command's acceptance to each of its reports."""
    beats, _, _ = run(commands, geometry)
    last = reports(beats)[-1]["accepted"]
    return [int(r["left"]) - int(r["accepted"]) for r in reports(beats) if r["accepted"] == last]


def test_cycles_to_the_reports():
    """As the docstrings of the book and its matcher say."""
    maker = new(0, SELL, 7, 2)
    assert delays([*opened(), new(0, BUY, 5, 1)]) == [6]
    assert delays([*opened(), maker, command(Opcode.CANCEL, handle=0)]) == [6]
    assert delays([*opened(), maker, command(Opcode.CANCEL, handle=1)]) == [6]
    assert delays([*opened(), maker, command(Opcode.REPLACE, handle=0, price=8, quantity=1)]) == [6]
    assert delays([*opened(), maker, command(Opcode.REDUCE, handle=0, quantity=1)]) == [7]
    assert delays([*opened(), maker, new(1, BUY, 6, 1, time_in_force=TimeInForce.IOC)]) == [6, 7]
    makers = [new(h, SELL, 7, 2) for h in range(4)]
    assert delays([*opened(), *makers, new(9, BUY, 7, 8)]) == [6, 10, 12, 14, 16]


def test_a_report_leaves_the_core_in_the_cycle_in_which_it_leaves_the_book():
    """So what is promised at the ports of the core is that: 6 cycles to a report, 10 to the first fill."""
    makers = [new(h, SELL, 7, 2) for h in range(4)]
    commands = [*opened(), *makers, new(9, BUY, 7, 8)]
    beats, _, stamps = run(commands, SMALL, dut=Core(SMALL, hash_cores=1))
    assert [offer - stamps[-1] for offer in beats.offers[-5:]] == [6, 10, 12, 14, 16]
    assert [int(r["left"]) - int(r["accepted"]) for r in reports(beats)[-5:]] == [6, 10, 12, 14, 16]


@pytest.mark.parametrize("further", [1, 40, 1025])
def test_the_next_level_takes_as_long_however_far_it_is(further):
    geometry = Geometry(instruments=1, pool=2048, orders=64)
    settle = [command(Opcode.HELLO)] * 12
    for side in Side:
        best = 0 if side is SELL else 2047
        makers = [new(h, side, abs(best - d), 1) for h, d in enumerate([0, 0, further, further])]
        sweep = new(9, 1 - side, 2047 - best, 3, time_in_force=TimeInForce.IOC)
        whole = opened(count=2048)
        ack, first, second, third = delays([*whole, *makers, *settle, sweep], geometry)
        assert (first - ack, second - first, third - second) == (4, 2, 6)  # the level behind is known
        # The one behind that is not, for the first two have come in order, and is searched for.
        ladder = [new(h, side, abs(best - d), 1) for h, d in enumerate([0, 1, 1 + further])]
        ack, first, second, third = delays([*whole, *ladder, *settle, sweep], geometry)
        assert (first - ack, second - first) == (4, 6)
        assert third - second in (20, 21)


@pytest.mark.parametrize(
    "cycles, before, then",
    [
        (0, [], new(1, BUY, 5, 1)),
        (0, [], make(COMMAND, opcode=0)),
        (0, [(0, 50)], command(Opcode.CANCEL, handle=0)),
        (1, [(0, 50)], command(Opcode.REPLACE, handle=0, tag=1, price=51, quantity=1)),
        (1, [(0, 50)], command(Opcode.REDUCE, handle=0, quantity=1)),
        (1, [], new(1, BUY, 5, 1, time_in_force=TimeInForce.IOC)),
        (6, [(0, 50)], new(1, BUY, 50, 1)),
        (10, [(0, 50), (2, 50), (3, 50)], new(1, BUY, 50, 5)),
        (10, [(0, 50)], new(1, BUY, 50, 3)),
        (9, [(0, 50)], new(1, BUY, 50, 3, time_in_force=TimeInForce.IOC)),
        (12, [(0, 50), (2, 60)], new(1, BUY, 60, 3)),
        (8, [(0, 50)], new(1, BUY, 50, 3, tag=1, self_trade=SelfTrade.CANCEL_NEWEST)),
        (8, [(0, 50)], new(1, BUY, 50, 3, tag=1, self_trade=SelfTrade.CANCEL_BOTH)),
        (10, [(0, 50)], new(1, BUY, 50, 3, tag=1, self_trade=SelfTrade.CANCEL_OLDEST)),
        (5, [(0, 50)], new(1, BUY, 50, 1, time_in_force=TimeInForce.POST_ONLY)),
        (13, [(0, 50)], new(1, BUY, 50, 1, time_in_force=TimeInForce.FOK)),
        (6 + 256, [(0, 50)], command(Opcode.MASS_CANCEL, tag=5)),
        # Those in front of it have tag 0 as well.
        (6 + 256 + 5 * 42, [(0, 50), (2, 50)], command(Opcode.MASS_CANCEL, tag=0)),
        (7, [], state(0, InstrumentState.OPEN)),
        # Those in front of it go, whoever is behind.
        (12 + 1 + 256 + 5 * 40, [], loading()),
        (9 + 1, [], loading(count=65)),
        (3, [], command(Opcode.FENCE)),
        (4, [], command(Opcode.HELLO)),
        (4, [], command(Opcode.CLOSE)),
    ],
)
def test_cycles_that_a_command_costs_those_behind_it(cycles, before, then):
    """The table in docs/book.md."""
    makers = [new(h, SELL, price, 2, tag=1) for h, price in before]
    calm = [new(100 + h, BUY, 2, 1) for h in range(40)]  # so that what is behind the best is known
    behind = [new(160 + h, BUY, 1, 1) for h in range(14)]
    commands = [*opened(), *makers, *calm, then, *behind]
    geometry = Geometry(instruments=1, pool=1024, orders=256)
    _, _, stamps = run(commands, geometry)
    first = len(commands) - len(behind) - 1 - len(calm)
    assert stamps[-1] - stamps[first] - (len(calm) + len(behind)) == cycles


def test_fence_counts_commands_and_close_begins_again():
    fence = command(Opcode.FENCE, token=7)
    close = command(Opcode.CLOSE, token=8)
    beats = check([*opened(), fence, fence, close, fence, make(COMMAND, opcode=0), fence])
    counts = [int(np.frombuffer(b, FENCE)[0]["commands"]) for b in beats if b[0] & 15 == Kind.FENCE]
    assert counts == [2, 3, 4, 0, 2]


def test_reset_in_the_middle_forgets_everything():
    first = [*opened(), *(new(h, BUY, 3, 1) for h in range(5))]
    after = [command(Opcode.HELLO), new(0, BUY, 1, 1), *opened(), command(Opcode.DUMP), new(0, SELL, 1, 1)]
    beats, _, _ = run(first + after, SMALL, reset_after=len(first))
    assert comparable(beats) == golden(after, SMALL)


def adversarial(rng, count, geometry):
    """Commands that collide: few prices, handles and tags, edges of the band, bad encodings."""
    share = geometry.pool >> (geometry.instruments - 1).bit_length()
    windows = [(number * share, share, 0) for number in range(geometry.instruments)]
    tags = dict.fromkeys(range(geometry.orders), 0)
    out = []

    def price(instrument):
        _, count, base = windows[instrument]
        near = [29, 30, 31, 32, 33, 62, 63]
        edges = [-1, 0, count - 1, count]
        anywhere = [rng.randrange(count or 1) for _ in range(4)]
        at = base + rng.choice(near * 6 + edges + anywhere)
        return max(-(2**31), min(2**31 - 1, at))

    def window(instrument):
        """Its share of the pool, or any other, or none that it could have."""
        first, count = instrument * share, share
        roll = rng.random()
        if roll < 0.4:
            count = 64 << rng.randrange((geometry.pool // 64).bit_length())
            first = rng.randrange(geometry.pool // count) * count
        elif roll < 0.5:
            count = rng.choice([0, 1, 32, 63, 65, 96, 2 * geometry.pool, 2**31])
        elif roll < 0.6:
            first = rng.choice([first + 32, first ^ share >> 1, geometry.pool, 2**32 - share])
        end = 2**31 - count + (rng.random() < 0.1)
        return first, count, rng.choice([-3, 0, min(end, 2**31 - 1), -(2**31)])

    def handle():
        if rng.random() < 0.03:
            return rng.choice([NULL_HANDLE, geometry.orders, geometry.orders - 1, NULL_HANDLE - 1])
        return rng.randrange(14)

    def put(opcode, book, **fields):
        command_flags = flags(
            rng.randrange(2),
            rng.choice([0, 0, 0, 0, 1, 2, 2, 3]),
            rng.choice([0, 1, 2]) if rng.random() < 0.99 else 3,
        )
        if rng.random() < 0.005:
            command_flags |= rng.choice([32, 64, 128])
        values = {
            "handle": handle(),
            "tag": rng.choice([0, 0, 1, 1, 2]) if rng.random() < 0.99 else 2**geometry.tag_bits,
            "price": price(book),
            "quantity": rng.choice([1, 1, 2, 3, 5, 8, 13, 30])
            if rng.random() < 0.97
            else rng.choice([0, 2**32 - 1]),
            "token": rng.randrange(2**32),
            "seq": rng.randrange(2**64),
        }
        number = book if rng.random() < 0.99 else rng.choice([geometry.instruments, ALL_INSTRUMENTS])
        values |= {"instrument": number} | fields
        if opcode == Opcode.REPLACE and rng.random() < 0.9:
            values["tag"] = tags.get(values["handle"], 0)
        if opcode == Opcode.NEW:
            tags[values["handle"]] = values["tag"]
        out.append(make(COMMAND, opcode=opcode, flags=command_flags, **values))

    def load(instrument):
        first, count, base = windows[instrument] = window(instrument)
        asks = {"handle": first, "token": count, "price": base}
        put(Opcode.STATE, instrument, quantity=InstrumentState.LOADING, **asks)
        for _ in range(rng.randrange(8)):
            put(Opcode.LOAD, instrument)
        put(Opcode.STATE, instrument, quantity=InstrumentState.OPEN)

    for instrument in range(geometry.instruments):
        load(instrument)
    while len(out) < count:
        instrument = rng.randrange(geometry.instruments)
        roll = rng.random()
        if roll < 0.55:
            put(Opcode.NEW, instrument)
        elif roll < 0.90:
            put(rng.choice([Opcode.CANCEL, Opcode.REPLACE, Opcode.REPLACE, Opcode.REDUCE]), instrument)
        elif roll < 0.915:
            number = ALL_INSTRUMENTS if rng.random() < 0.5 else instrument
            put(Opcode.MASS_CANCEL, instrument, instrument=number, tag=rng.choice([0, 1, 2]))
        elif roll < 0.925:
            load(instrument)
        elif roll < 0.93:
            to = rng.choice([*InstrumentState, 4, 2**32 - 1])
            put(Opcode.STATE, instrument, quantity=to)
        elif roll < 0.95:
            put(Opcode.STATE, instrument, quantity=InstrumentState.OPEN)
        elif roll < 0.98:
            put(rng.choice([Opcode.FENCE, Opcode.CLOSE, Opcode.HELLO, Opcode.DUMP]), instrument)
        else:
            put(rng.choice([0, Opcode.RECENTRE, Opcode.LOAD, 13, 255]), instrument)
    return out


GEOMETRIES = [
    SMALL,
    Geometry(instruments=1, pool=1024, orders=64),
    Geometry(instruments=3, pool=4096, orders=64, tag_bits=2),
    Geometry(instruments=16, pool=1024, orders=128, tag_bits=5),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_adversarial_mix_with_stalls(geometry, seed=None):
    seed = random.randrange(2**32) if seed is None else seed
    print("seed", seed)
    commands = adversarial(random.Random(seed), 1500, geometry)
    beats = check(commands, geometry, gap=0.2, stall=0.3, seed=seed)
    kinds = {o[0] for o in outcomes(beats)}
    # Of sixteen books each has few orders, and not every seed finds one to replace.
    assert kinds | {Kind.REPLACED} == {Kind.ACK, Kind.TRADE, Kind.CANCELLED, Kind.REPLACED, Kind.REJECTED}


@pytest.mark.slow
@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("instruments, pool", [(1, 32768), (3, 8192), (4, 4096), (16, 1024)])
def test_long_adversarial_mix_through_the_core(instruments, pool, stall):
    """Digests and roots of the log included; the Verilated model is fast enough for long runs."""
    from hawse_sim.rtl import RtlBackend

    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    geometry = Geometry(instruments=instruments, pool=pool, orders=128, tag_bits=3)
    reference = GoldenBackend(geometry)
    with RtlBackend(geometry, stall=stall, seed=seed) as gateware:
        for epoch in range(1, 31):  # each reset finds the memories full of the run before
            commands = np.concatenate([*adversarial(rng, 5000, geometry), command(Opcode.FENCE)])
            beats = []
            for engine in (gateware, reference):
                engine.reset(epoch)
                beats.append(split(engine.exchange(commands)))
            ours, theirs = beats
            assert records(ours.records) == records(theirs.records)
            assert ours.resting.tobytes() == theirs.resting.tobytes()
            assert ours.hellos["last_seq"].tolist() == theirs.hellos["last_seq"].tolist()
            assert (ours.fences, ours.batches) == (theirs.fences, theirs.batches)


def test_cocotb(tmp_path: Path):
    """The same comparison under Verilator, with random stalls on both streams."""
    from hawse_sim.cocotb_runner import run_cocotb

    seed = random.randrange(2**32)
    print("seed", seed)
    commands = adversarial(random.Random(seed), 3000, SMALL)
    (tmp_path / "commands").write_bytes(np.concatenate(commands).tobytes())
    run_cocotb(
        Book(SMALL),
        "book",
        Path(__file__).with_name("cocotb_book.py"),
        seed=seed,
        env={"BOOK_FOLDER": str(tmp_path), "BOOK_EPOCH": str(EPOCH)},
    )
    raw = (tmp_path / "beats").read_bytes()
    ours = comparable(Beats((raw[i : i + 32] for i in range(0, len(raw), 32)), hashed=False))
    assert ours == golden(commands, SMALL)
