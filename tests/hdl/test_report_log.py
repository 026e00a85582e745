import random

import numpy as np
import pytest
from hawse.commit.reportlog import ReportLog as Model
from hawse.wire import BEAT_BYTES, Kind
from hawse.wire.dtypes import BATCH, FENCE, HELLO, REPORT, RESTING
from hawse_hdl.hashing import ReportLog

EPOCH = 0x89ABCDEF
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")  # of refused parameters


class Flow:
    """Beats of a book, and what the model makes of them."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.model = Model()
        self.sent, self.expected = [], []

    def _beat(self, dtype, kind):
        beat = np.frombuffer(bytearray(self.rng.randbytes(BEAT_BYTES)), dtype)
        beat["kind"] = kind
        return beat

    def _pass(self, dtype, kind):
        beat = self._beat(dtype, kind)
        self.sent.append(beat.tobytes())
        self.expected.append(beat.tobytes())
        return beat

    def records(self, count):
        for _ in range(count):
            kind = self.rng.randrange(5) | self.rng.randrange(4) << 4
            self.model.append(self._pass(REPORT, kind).tobytes()[:24])

    def others(self):
        self._pass(RESTING, Kind.RESTING)
        self._pass(HELLO, Kind.HELLO)

    def _stop(self, dtype, kind, own):
        beat = self._beat(dtype, kind)
        for name in dtype.names:
            if name not in ("kind", *own):
                beat[name] = 0
        self.sent.append(beat.tobytes())
        return beat

    def fence(self):
        beat = self._stop(FENCE, Kind.FENCE, ("tag", "commands"))
        digest = self.model.fence(EPOCH)
        beat["records"], beat["epoch"] = self.model.records, EPOCH
        self.expected += [beat.tobytes(), digest]

    def close(self, *, fence=True):
        if fence:
            self.fence()
        beat = self._stop(BATCH, Kind.BATCH, ("tag",))
        root, beat["leaves"], beat["records"] = self.model.close()
        beat["epoch"] = EPOCH
        self.expected += [beat.tobytes(), root]

    def run(self, transfer, component, stalls=(0.0, 0.0)):
        payloads = [int.from_bytes(b, "little") for b in self.sent]
        seed = self.rng.getrandbits(32)
        received = transfer(component, payloads, len(self.expected), stalls=stalls, seed=seed, epoch=EPOCH)
        assert [b.to_bytes(BEAT_BYTES, "little").hex() for b in received] == [b.hex() for b in self.expected]


def test_depth_is_checked():
    with pytest.raises(ValueError, match="depth"):
        ReportLog(depth=1)


def test_empty_batches_and_one_record(transfer):
    flow = Flow(1)
    flow.close()
    flow.close()
    flow.others()
    flow.records(1)
    flow.close()
    flow.close(fence=False)
    flow.records(2)
    flow.close(fence=False)  # the book always fences first; the log does not rely on it
    flow.others()
    flow.run(transfer, ReportLog())


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.3, 0.5)])
def test_chunk_boundaries(transfer, stalls):
    flow = Flow(2)
    counts = (63, 64, 65, 127, 128, 129) if transfer.bulk else (63, 64, 129)
    for count in counts:
        flow.records(count)
        flow.fence()
        flow.records(1)
        flow.close()
        flow.records(count)
        flow.close()
    flow.run(transfer, ReportLog(), stalls)


def test_a_fence_at_every_position(transfer):
    flow = Flow(3)
    for position in range(66) if transfer.bulk else (0, 1, 2, 3, 62, 63, 64, 65):
        flow.records(position)
        flow.fence()
    flow.close()
    flow.run(transfer, ReportLog())


def test_leaves_around_powers_of_two(transfer):
    flow = Flow(4)
    for leaves in range(1, 35) if transfer.bulk else (3, 4, 5):
        for _ in range(leaves):
            flow.records(1)
            flow.fence()
        flow.close()
    flow.run(transfer, ReportLog())


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.1, 0.8)])
def test_a_tiny_queue_loses_nothing(transfer, stalls):
    flow = Flow(5)
    for records in (1, 2, 3, 400 if transfer.bulk else 70):
        flow.records(records)
        flow.fence()
    flow.records(130)
    flow.close()
    flow.run(transfer, ReportLog(depth=2), stalls)


@pytest.mark.parametrize("simulator", ["verilator"])
def test_leaves_wait_for_a_long_carry(transfer):
    """The 64th leaf is joined six times while the core goes on with the leaves behind it."""
    flow = Flow(7)
    flow.records(72 * 64)
    flow.close()
    flow.run(transfer, ReportLog())


def test_two_rounds_a_cycle(transfer):
    flow = Flow(6)
    flow.records(1000 if transfer.bulk else 150)
    flow.close()
    flow.run(transfer, ReportLog(rounds=2, depth=64))


def test_long_random_flow(transfer):
    seed = random.getrandbits(32)
    print("seed", seed)
    flow = Flow(seed)
    for _ in range(60 if transfer.bulk else 8):
        step = flow.rng.choices(("records", "fence", "close", "others"), (8, 4, 1, 2))[0]
        if step == "records":
            flow.records(flow.rng.choice((1, 7, 64, 100, 300)) if transfer.bulk else flow.rng.randrange(90))
        else:
            getattr(flow, step)()
    flow.close()
    stalls = flow.rng.choice(((0.0, 0.0), (0.5, 0.1), (0.1, 0.5)))
    flow.run(transfer, ReportLog(depth=flow.rng.choice((2, 512))), stalls)
