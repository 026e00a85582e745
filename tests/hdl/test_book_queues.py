"""Queues of orders against lists, with acts one behind the other."""

import random

import pytest
from hawse.wire import Geometry
from hawse_hdl.book.layouts import ends_layout
from hawse_hdl.book.queues import Act, Queues, change_layout
from hawse_hdl.memory import ForwardedMemory

GEOMETRY = Geometry(instruments=4, pool=1024, orders=64)
ENDS, CHANGE = ends_layout(GEOMETRY), change_layout()


async def compare(pins, seed, rounds):
    rng = random.Random(seed)
    places = [0, 1, 2, 511, 1022, 1023]
    queues = {p: [] for p in places}
    where = {}
    expected, changes = [], []

    def begin(place, handle):
        pins.set("place", place)
        pins.set("instrument", place & 3)
        pins.set("handle", handle)

    async def tick():
        change, left, at, instrument = await pins.tick(
            "change", "vacated", "vacated_place", "vacated_instrument"
        )
        if left:
            assert at in places and instrument == at & 3
        change = CHANGE.from_bits(change)
        if change.valid:
            changes.append(int(change.occupied))

    def choose():
        """An act that the rules allow: what it is, its place and its handle."""
        place = rng.choice(places[:1] if hot else places)
        queue = queues[place]
        free = [h for h in range(GEOMETRY.orders) if h not in where]
        if queue and (rng.random() < 0.5 or not free):
            handle = rng.choice([queue[0], queue[-1], rng.choice(queue)])
            queue.remove(handle)
            del where[handle]
            act = Act.LEAVE
        elif rng.random() < 0.1 and len(queue) > 1:
            del where[queue.pop(0)]
            return Act.POP, place, queue[0]
        elif rng.random() < 0.05 and len(queue) == 1:
            del where[queue.pop()]
            act, handle = Act.EMPTY, 0
        elif free:
            handle = rng.choice(free)
            queue.append(handle)
            where[handle] = place
            act = Act.ENTER
            if len(queue) == 1:
                expected.append(1)
            return act, place, handle
        else:
            return Act.NONE, place, 0
        if not queue:
            expected.append(0)
        return act, place, handle

    async def walk(place):
        out = []
        begin(place, 0)
        await pins.tick()
        (bits,) = await pins.get("ends")
        ends = ENDS.from_bits(bits)
        at = ends.head
        while ends.occupied:
            out.append(at)
            assert len(out) <= GEOMETRY.orders, "a cycle"
            if at == ends.tail:
                break
            begin(place, at)
            await pins.tick()
            (at,) = await pins.get("next")
        return out

    for _ in range(rounds):
        hot = rng.random() < 0.5
        before = Act.NONE
        for _ in range(rng.randrange(1, 12)):
            act, place, handle = (Act.NONE, places[0], 0) if rng.random() < 0.2 else choose()
            begin(place, handle)
            pins.set("act", before.value)
            await tick()
            before = act
        pins.set("act", before.value)
        await tick()
        pins.set("act", 0)
        for _ in range(3):
            await tick()
        assert changes == expected
        assert await pins.get("quiet") == [1]
        for place, queue in queues.items():
            assert await walk(place) == queue


@pytest.mark.parametrize("simulator, rounds", [("amaranth", 60), ("verilator", 1500)])
def test_agree_with_lists(simulate, rounds):
    seed = random.randrange(2**32)
    print("seed", seed)
    simulate(Queues(GEOMETRY), compare, seed=seed, rounds=rounds)


async def read_and_write(pins, seed):
    rng = random.Random(seed)
    contents = [0] * 16
    last = None
    for _ in range(2000):
        address, value, write, read = (rng.randrange(n) for n in (4, 256, 2, 4))
        pins.set("write", write)
        pins.set("address", address)
        pins.set("value", value)
        pins.set("read", read)
        pins.set("same", int(write and address == last))
        if write:
            contents[address] = value
        (data,) = await pins.tick("data")
        assert last is None or data == contents[last]
        last = read


def test_memory_forwards_every_write(simulate):
    seed = random.randrange(2**32)
    print("seed", seed)
    simulate(ForwardedMemory(8, 16), read_and_write, seed=seed)
