import numpy as np
import pytest
from hawse_sim.keccak import KeccakModel
from tiny_keccak import keccak256


@pytest.fixture(scope="module")
def model():
    with KeccakModel() as model:
        yield model


@pytest.mark.parametrize("size", [0, 1, 7, 8, 65, 135, 136, 137, 272, 1537])
def test_digests(model, size):
    rows = np.random.default_rng(size).integers(0, 256, (30, size), dtype=np.uint8)
    digests, cycles = model.hash(rows)
    assert [d.tobytes() for d in digests] == [keccak256(r.tobytes()) for r in rows]
    assert cycles >= 24 * 30 * (size // 136 + 1)


@pytest.mark.parametrize(("size", "blocks"), [(65, 1), (1537, 12)])
def test_a_stream_of_messages_takes_24_cycles_a_permutation_and_one_a_message(model, size, blocks):
    rows = np.zeros((500, size), np.uint8)
    assert model.hash(rows)[1] - model.hash(rows[:100])[1] == 400 * (24 * blocks + 1)


def test_no_message_takes_no_cycle(model):
    digests, cycles = model.hash(np.zeros((0, 65), np.uint8))
    assert len(digests) == cycles == 0
