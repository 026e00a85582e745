"""The workload by which matching engines are compared in public, generated anew from its statistics.

A million orders around a mid price that walks; most are cancelled within a millisecond, and what stands in
the book is the rest. The walk has as many steps as there are orders; buys are priced on its first half,
sells on its second, and then all are shuffled into their order of arrival. So the book is crossed again and
again, by orders that the market has left behind.

Integers, bit streams of PCG64 and tables made in decimal arithmetic: a seed gives the same bytes on every
platform. ``python -m hawse_sim.flow.benchmark`` measures all flows and writes what they show.
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal, localcontext
from functools import cache
from heapq import heappop, heappush
from math import isqrt
from pathlib import Path

import numpy as np
from hawse.engine import Engine, SoftBackend
from hawse.wire import Geometry, Kind, Opcode, Reason, TimeInForce
from hawse.wire.dtypes import EVENT, ORDER, Array, make
from numpy.typing import NDArray

#: Mid price at the start, in ticks of 0.005.
START = 33_504
#: Geometry that holds every flow: one instrument, the whole pool its window, its band from price 0.
GEOMETRY = Geometry(instruments=1, pool=65536, orders=65536, tag_bits=12)

NEW, CANCEL, MODIFY = 0, 1, 2
#: A message of the benchmark's C interface: its kind and one of three bodies, 40 bytes.
MESSAGE = np.dtype(
    {
        "names": ["type", "order_id", "sequence_number", "price_ticks", "quantity", "side", "ioc"],
        "formats": ["u1", "<u8", "<u8", "<i8", "<u4", "u1", "u1"],
        "offsets": [0, 8, 16, 24, 32, 36, 37],
        "itemsize": 40,
    }
)

_DEPTHS = 800
_EXPONENT = Decimal("2.23")
_LIFE = 431_000  # median lifetime of an order next to the mid, ns
_GAP = 1_386  # median time between arrivals, ns: 2 us on average
_FRACTION = 24  # bits behind the point of logarithms

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Scenario:
    """How far the mid price strays from its start, in thousandths, and the seed that gives a crossed book."""

    swing: int
    seed: int


SCENARIOS = {
    "static": Scenario(0, 5),
    "normal": Scenario(20, 696),
    "swing-25": Scenario(250, 112),
    "swing-40": Scenario(400, 75),
    "flash-crash": Scenario(600, 33),
}
VARIANTS = ("serial", "interleaved")


@cache
def _tables() -> tuple[NDArray[np.uint64], Ints, Ints, Ints]:
    """What sampling looks up.

    Cumulative weights of the depths, to 2**32; -log2(1 - i/8192) for i below 4096, with 16 bits behind the
    point; 2**(i/2**12) and 2**(i/2**24) as two rows, with 30 bits; root of 1 + depth, with 10 bits.
    """
    with localcontext() as context:
        context.prec = 40
        two = Decimal(2).ln()
        weights = [
            (-_EXPONENT * Decimal(k + 1).ln()).exp() + 5 * (-Decimal((k - 8) ** 2) / 2).exp()
            for k in range(_DEPTHS)
        ]
        total, so_far, cumulative = sum(weights), Decimal(0), []
        for weight in weights:
            so_far += weight
            cumulative.append(int(so_far / total * 2**32))
        cumulative[-1] = 2**32
        halvings = [int(-(1 - Decimal(i) / 8192).ln() / two * 2**16) for i in range(4096)]
        powers = [[int((i * two / 2**bits).exp() * 2**30) for i in range(4096)] for bits in (12, 24)]
    root = [isqrt((k + 1) << 20) for k in range(_DEPTHS)]
    return (
        np.array(cumulative, np.uint64),
        np.array(halvings, np.int64),
        np.array(powers, np.int64),
        np.array(root, np.int64),
    )


class _Random:
    """Integers from the raw words of PCG64, whose stream numpy never changes."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def words(self, count: int) -> NDArray[np.uint64]:
        return self._bits.random_raw(count)

    def below(self, count: int, bound: int) -> Ints:
        return ((self.words(count) >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)

    def exponential(self, count: int, median: Ints | int) -> Ints:
        """Halvings: a whole number of them by counting zero bits, and a fraction from the table."""
        words = self.words(count)
        low = words | np.uint64(1 << 40)
        whole = np.bitwise_count((low & (~low + np.uint64(1))) - np.uint64(1)).astype(np.int64)
        fraction = _tables()[1][(words >> np.uint64(52)).astype(np.int64)]
        return ((whole << 16) + fraction) * median >> 16

    def depths(self, count: int) -> Ints:
        at = np.searchsorted(_tables()[0], self.words(count) >> np.uint64(32), side="right")
        return at.astype(np.int64)


def _walk(random: _Random, steps: int, swing: int) -> Ints:
    """A geometric walk whose farthest point is ``swing`` thousandths away from its start, in ticks."""
    # 64 coins a step: as good as Gaussian, and whole.
    at = np.cumsum(np.bitwise_count(random.words(steps)).astype(np.int64) - 32)
    if not swing:
        return np.full(steps, START, np.int64)
    with localcontext() as context:
        context.prec = 40
        away = Decimal(swing) / 1000
        unit = Decimal(2 ** (_FRACTION + 20)) / Decimal(2).ln()
        scales = [
            unit * abs(edge.ln()) / far
            for edge, far in ((1 + away, int(at.max())), (1 - away, -int(at.min())))
            if far > 0
        ]
        scale = int(min(scales))
    log = at * scale >> 20
    coarse, fine = _tables()[2]
    fraction = coarse[log >> 12 & 4095] * fine[log & 4095] >> 30
    walk: Ints = START * fraction >> 30 - (log >> _FRACTION)
    return walk


def generate(
    scenario: str, variant: str = "serial", orders: int = 1_000_000, seed: int | None = None
) -> Array:
    """Messages of one flow: array of :data:`MESSAGE`, about two for each order.

    Order ids count from 1 in the order of arrival, sequence numbers from 1 in the order of the messages.

    Args:
        scenario: key of :data:`SCENARIOS`.
        variant: ``serial``: an order's whole life passes before the next arrives; ``interleaved``: orders
            arrive every 2 us on average, and live at the same time by the hundred.
        orders: how many.
        seed: another than the scenario's.

    Raises:
        ValueError: an unknown scenario or variant, or no orders.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario: {scenario!r} is none of {', '.join(SCENARIOS)}")
    if variant not in VARIANTS:
        raise ValueError(f"variant: {variant!r} is none of {', '.join(VARIANTS)}")
    if not 0 < orders < 2**31:
        raise ValueError(f"orders: {orders} is not within 1..2**31-1")
    chosen = SCENARIOS[scenario]
    random = _Random(chosen.seed if seed is None else seed)
    mid = _walk(random, orders, chosen.swing)
    arrival = np.argsort(random.words(orders), kind="stable")
    sell = arrival >= orders // 2
    mid = mid[arrival]
    towards = np.where(sell, -1, 1)  # better for the other side

    depth = random.depths(orders)
    price = mid - towards * (1 + depth)
    quantity = 1 + random.below(orders, 100)
    ioc = random.below(orders, 100) < 15
    modified = ~ioc & (random.below(orders, 100) < 20)
    cancelled = ~ioc & (random.below(orders, 100) < 95)
    again = cancelled & (random.below(orders, 100) < 2)
    stale = modified & cancelled & (random.below(orders, 100) < 2)
    new_price = price + towards * (random.below(orders, 5) < 4)
    new_quantity = quantity + 1

    # When each message of an order is sent; equal times in the order of these columns.
    arrived = np.cumsum(random.exponential(orders, _GAP))
    modify = arrived + modified * (30_000 + random.below(orders, 70_001))
    cancel = modify + (random.exponential(orders, _LIFE * _tables()[3][depth] >> 10))
    late = cancel + 30_000 + random.below(orders, 70_001)
    if variant == "serial":
        arrived = modify = cancel = late = np.arange(orders, dtype=np.int64)
    index = np.arange(orders)
    kinds = (
        (NEW, np.ones(orders, bool), arrived),
        (MODIFY, modified, modify),
        (CANCEL, cancelled, cancel),
        (CANCEL, again, late),
        (MODIFY, stale, late),
    )
    who = np.concatenate([index[some] for _, some, _ in kinds])
    when = np.concatenate([time[some] for _, some, time in kinds])
    what = np.concatenate([np.full(int(some.sum()), kind, np.uint8) for kind, some, _ in kinds])
    order = np.argsort(when, kind="stable")
    who, what = who[order], what[order]

    out = np.zeros(len(who), MESSAGE)
    out["type"] = what
    out["order_id"] = who + 1
    out["sequence_number"] = np.arange(1, len(who) + 1)
    brings, changes = what == NEW, what == MODIFY
    out["price_ticks"] = np.where(brings, price[who], np.where(changes, new_price[who], 0))
    out["quantity"] = np.where(brings, quantity[who], np.where(changes, new_quantity[who], 0))
    out["side"] = sell[who] & (what != CANCEL)
    out["ioc"] = ioc[who] & brings
    return out


def wire_orders(messages: Array) -> Array:
    """The same messages as ORDERs for an engine, without a FENCE.

    Raises:
        ValueError: a price beyond 32 bits, which no command can carry.
    """
    price = messages["price_ticks"]
    if len(price) and not (price.min() >= -(2**31) and price.max() < 2**31):
        raise ValueError("price_ticks: beyond 32 bits")
    out = np.zeros(len(messages), ORDER)
    out["opcode"] = np.array([Opcode.NEW, Opcode.CANCEL, Opcode.REPLACE], np.uint8)[messages["type"]]
    out["flags"] = messages["side"] | messages["ioc"] * (TimeInForce.IOC << 1)
    out["price"] = price
    out["quantity"] = messages["quantity"]
    out["seq"] = messages["sequence_number"]
    out["order_id"] = messages["order_id"]
    return out


def bursts(orders: Array, size: int = 16_384) -> list[Array]:
    """ORDERs cut into bursts of ``size`` that each end in a FENCE, behind which handles are free again."""
    fence = make(ORDER, opcode=Opcode.FENCE)
    return [np.concatenate([orders[at : at + size], fence]) for at in range(0, len(orders), size)]


class _Book:
    """What of a book the statistics need: orders at each price, and the best price of each side."""

    def __init__(self) -> None:
        self.resting: dict[int, tuple[int, int]] = {}  # order id -> side, key
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})  # key -> orders
        self._heaps: tuple[list[int], list[int]] = ([], [])  # keys, the best first, emptied ones too
        self.peak = (0, 0)

    def enter(self, order_id: int, side: int, price: int) -> None:
        key = price if side else -price
        self.resting[order_id] = side, key
        level = self.sides[side]
        if key in level:
            level[key] += 1
        else:
            level[key] = 1
            heappush(self._heaps[side], key)
        if len(self.resting) > self.peak[0]:
            self.peak = len(self.resting), len(self.sides[0]) + len(self.sides[1])

    def leave(self, order_id: int) -> bool:
        """Whether the best level of a side is empty now, and was not before."""
        side, key = self.resting.pop(order_id)
        level, heap = self.sides[side], self._heaps[side]
        level[key] -= 1
        if level[key]:
            return False
        del level[key]
        was_best = heap[0] == key
        while heap and heap[0] not in level:
            heappop(heap)
        return was_best


def statistics(messages: Array, events: Array) -> dict[str, float]:
    """What a flow shows: counts of messages, and what the engine's answers (array of EVENT) say of the book.

    ``best_empties`` is the part of the messages that leave the level empty which was a side's best.
    """
    book, emptied = _Book(), set()
    taker: list[int] = []  # order id, side, price of the order at work

    def settle() -> None:
        if taker:
            book.enter(*taker)
            taker.clear()

    kind = (events["kind"] & 15).tolist()
    side = (events["kind"] >> 4 & 1).tolist()
    done = (events["kind"] >> 5 & 1).tolist()
    residual = (events["reason"] == Reason.IOC).tolist()
    remaining = 0
    columns = (events[name].tolist() for name in ("order_id", "price", "quantity", "maker_id", "seq"))
    for n, (order_id, price, quantity, maker, seq) in enumerate(zip(*columns, strict=True)):
        if kind[n] == Kind.TRADE:
            remaining -= quantity
            if done[n] and book.leave(maker):
                emptied.add(seq)
            if not remaining:
                taker.clear()
            continue
        if residual[n]:
            taker.clear()
            continue
        settle()
        if kind[n] in (Kind.CANCELLED, Kind.REPLACED) and book.leave(order_id):
            emptied.add(seq)
        if kind[n] in (Kind.ACK, Kind.REPLACED):
            taker[:] = order_id, side[n], price
            remaining = quantity
    settle()
    kinds = events["kind"] & 15
    return {
        "messages": len(messages),
        "ioc": int(messages["ioc"].sum()),
        "cancels": int((messages["type"] == CANCEL).sum()),
        "modifies": int((messages["type"] == MODIFY).sum()),
        "rejects": int((kinds == Kind.REJECTED).sum()),
        "fills": int((kinds == Kind.TRADE).sum()),
        "best_empties": round(len(emptied) / len(messages), 4),
        "peak_orders": book.peak[0],
        "peak_levels": book.peak[1],
    }


def run(messages: Array, engine: Engine) -> Array:
    """Events of ``messages``, from an engine that was reset.

    Its instrument 0 takes the whole pool as its window, with the band at 0.

    Raises:
        ValueError: the engine's store is too small for the flow.
    """
    engine.open(0, 0, first=0, count=engine.geometry.pool)
    parts = [engine.run(burst) for burst in bursts(wire_orders(messages))]
    refused = [part.refused for part in parts if part.refused]
    if refused:
        raise ValueError(f"orders: {refused[0][0][1].name}, with {engine.geometry.orders} handles")
    return np.concatenate([np.zeros(0, EVENT), *(part.events for part in parts)])


def measure(
    orders: int = 1_000_000, progress: Callable[[str], None] = lambda flow: None
) -> dict[str, dict[str, object]]:
    """:func:`statistics` of every flow on the software engine, with its seed and the SHA-256 of its bytes."""
    out: dict[str, dict[str, object]] = {}
    with Engine(SoftBackend(GEOMETRY)) as engine:
        for variant in VARIANTS:
            for name, scenario in SCENARIOS.items():
                progress(f"{name} {variant}")
                messages = generate(name, variant, orders)
                engine.reset(1)
                found = statistics(messages, run(messages, engine))
                sha256 = hashlib.sha256(messages.tobytes()).hexdigest()
                out[f"{name} {variant}"] = {**asdict(scenario), "orders": orders, **found, "sha256": sha256}
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="hawse_sim.flow.benchmark", description="Measure the flows.")
    parser.add_argument("--orders", type=int, default=1_000_000, help="in each flow [%(default)s]")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results/flows.json"), metavar="FILE")
    options = parser.parse_args()
    found = measure(options.orders, lambda flow: print(flow, flush=True))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    told = {"command": "python -m hawse_sim.flow.benchmark", "flows": found}
    options.output.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
