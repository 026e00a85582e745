import json

import pytest
from hawse.commit.reportlog import ReportLog
from hawse.wire import vectors
from hypothesis import given
from hypothesis import strategies as st

VECTORS = json.loads(vectors.PATH.read_text())


def check(case, records, step):
    """Append ``records`` in portions of ``step``, with the fences of ``case``."""
    log, at = ReportLog(), 0
    for fence, digest in zip(case["fences"], case["digests"], strict=True):
        while at < fence:
            end = min(at + step, fence)
            log.append(records[24 * at : 24 * end])
            at = end
        assert log.fence(case["epoch"]).hex() == digest
        assert log.records == fence
    assert log.leaves == case["leaves"]
    root, leaves, count = log.close()
    assert (root.hex(), leaves, count) == (case["root"], case["leaves"], case["fences"][-1])
    assert (log.records, log.leaves) == (0, 0)
    return log


@pytest.mark.parametrize("case", VECTORS["logs"], ids=lambda c: str(c["fences"]))
@pytest.mark.parametrize("step", [1, 64, 1000])
def test_vectors(case, step):
    check(case, vectors.counting(case["fences"][-1]), step)


def test_vectors_file_is_what_the_script_makes():
    assert vectors.vectors() == VECTORS


@given(
    sizes=st.lists(st.integers(0, 200), min_size=1, max_size=6),
    step=st.integers(1, 150),
    epoch=st.integers(0, 2**32 - 1),
    seed=st.binary(min_size=1, max_size=24),
)
def test_equals_the_recursive_definition(sizes, step, epoch, seed):
    fences = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    records = (seed * (24 * fences[-1] // len(seed) + 1))[: 24 * fences[-1]]
    check(vectors.log(fences, records, epoch), records, step)


def test_begins_again_empty_after_close():
    log = check(VECTORS["logs"][4], vectors.counting(129), 10)
    empty = VECTORS["logs"][0]
    assert log.fence(empty["epoch"]).hex() == empty["digests"][0]


def test_close_ends_the_open_chunk():
    log, case = ReportLog(), VECTORS["logs"][1]
    log.append(vectors.counting(1))
    assert log.leaves == 0
    assert log.close() == (bytes.fromhex(case["root"]), 1, 1)


def test_half_a_record_is_refused():
    log = ReportLog()
    with pytest.raises(ValueError, match="25 bytes"):
        log.append(bytes(25))
    assert log.records == 0
