"""Drive several engines with the same flow and demand the same answers, to the byte."""

from collections.abc import Sequence

import numpy as np
from hawse.engine import Backend, Burst, Engine
from hawse.engine.backend import TWO_BEATS
from hawse.wire import BEAT_BYTES, RECORD_BYTES, Feature, Kind
from hawse.wire.dtypes import BEAT, BUILD, HELLO, REPORT, Array
from numpy.typing import NDArray

from .flow import adversarial


class Difference(AssertionError):
    """Two engines answered differently."""


def committed(beats: Array) -> NDArray[np.uint8]:
    """Beats as rows of 32 bytes, with what engines need not agree on set to zero.

    That is the sideband, the busy cycles, what an engine was made of, its clock, and whether it can capture.
    """
    rows = np.ascontiguousarray(beats).view(np.uint8).reshape(-1, BEAT_BYTES).copy()
    kind = rows[:, 0] & 0x0F
    second = np.zeros(len(rows), bool)
    for at in np.flatnonzero(np.isin(kind, TWO_BEATS)).tolist():
        if not second[at]:
            second[at + 1 : at + 2] = True
    rows[(kind <= Kind.REJECTED) & ~second, RECORD_BYTES:] = 0
    hello = (kind == Kind.HELLO) & ~second
    _forget(rows, hello, HELLO, "busy")
    _forget(rows[1:], hello[:-1], BUILD, "build_low", "build_high", "clock_khz")
    builds = rows[1:][hello[:-1]].reshape(-1).view(BUILD)
    builds["features"] &= ~np.uint32(Feature.CAPTURE)
    rows[1:][hello[:-1]] = builds.view(np.uint8).reshape(-1, BEAT_BYTES)
    return rows


def _forget(
    rows: NDArray[np.uint8], which: NDArray[np.bool], kind: "np.dtype[np.void]", *fields: str
) -> None:
    """Set fields of some of the rows to zero."""
    told = rows[which].reshape(-1).view(kind)
    for field in fields:
        told[field] = 0
    rows[which] = told.view(np.uint8).reshape(-1, BEAT_BYTES)


def _name(row: NDArray[np.uint8]) -> str:
    return f"{row.tobytes().hex()} (as a record: {row.view(REPORT)[0]})"


def demand_same(names: tuple[str, str], ours: Array, theirs: Array) -> None:
    """Compare two runs of beats.

    Raises:
        Difference: with the first beat that differs.
    """
    a, b = committed(ours), committed(theirs)
    n = min(len(a), len(b))
    unequal = np.flatnonzero((a[:n] != b[:n]).any(axis=1))
    if len(unequal):
        at = int(unequal[0])
        raise Difference(f"beat {at}:\n{names[0]}: {_name(a[at])}\n{names[1]}: {_name(b[at])}")
    if len(a) != len(b):
        raise Difference(f"{names[0]} gave {len(a)} beats, {names[1]} {len(b)}")


def same_beats(backends: Sequence[Backend], commands: Array) -> Array:
    """Have all backends carry out ``commands`` (array of COMMAND); returns the beats of the first.

    Raises:
        Difference: they do not all answer the same.
    """
    first, *others = backends
    beats = first.exchange(commands)
    for other in others:
        demand_same((first.name, other.name), beats, other.exchange(commands))
    return beats


def compare_commands(backends: Sequence[Backend], seed: int, bursts: int, size: int, epoch: int = 1) -> int:
    """Feed adversarial wire commands, undefined ones included, to backends of one geometry.

    Returns the number of beats that were compared.

    Raises:
        Difference: they do not all answer the same.
    """
    rng = np.random.default_rng(seed)
    geometry = backends[0].geometry
    for backend in backends:
        backend.reset(epoch)
    count = len(same_beats(backends, adversarial.opening(geometry)))
    for _ in range(bursts):
        count += len(same_beats(backends, adversarial.commands(rng, geometry, size)))
    return count


def _outcome(burst: Burst) -> tuple[object, ...]:
    return burst.fence, burst.batch, burst.refused


def compare_orders(engines: Sequence[Engine], seed: int, bursts: int, size: int, epoch: int = 1) -> int:
    """Run adversarial bursts of orders on engines of one geometry.

    Compares records, order ids, digests, roots and refusals of each burst, and at the end each engine's books
    with the first's and with its own driver's mirror. Returns the number of events that were compared.

    Raises:
        Difference: they do not all agree.
    """
    rng = np.random.default_rng(seed)
    geometry = engines[0].geometry
    for engine in engines:
        engine.reset(epoch)
    count = 0
    for number, orders in enumerate(adversarial.bursts(rng, geometry, bursts, size)):
        first, *others = [(e.backend.name, e.run(orders)) for e in engines]
        count += len(first[1].events)
        for other in others:
            names = first[0], other[0]
            demand_same(names, _reports(first[1]), _reports(other[1]))
            for field in ("order_id", "maker_id"):
                if not np.array_equal(first[1].events[field], other[1].events[field]):
                    raise Difference(f"burst {number}: {names} differ in {field}")
            if _outcome(first[1]) != _outcome(other[1]):
                raise Difference(f"burst {number}: {_outcome(first[1])}, {_outcome(other[1])} of {names}")
        if number % 8 == 0 or number == bursts - 1:
            _same_books(engines)
    return count


def _beats(rows: Array) -> Array:
    """The beats with which events or the mirror's rows begin.

    To be taken before rows are selected: numpy need not copy the gaps between fields.
    """
    raw = rows.view(np.uint8).reshape(-1, rows.dtype.itemsize)
    return np.ascontiguousarray(raw[:, :BEAT_BYTES]).reshape(-1).view(BEAT)


def _reports(burst: Burst) -> Array:
    return np.concatenate([_beats(burst.events), burst.resting.view(BEAT)])


def _same_books(engines: Sequence[Engine]) -> None:
    names = [engine.backend.name for engine in engines]
    mirrors = [engine.resting() for engine in engines]
    for instrument in range(engines[0].geometry.instruments):
        books = [engine.dump(instrument).view(BEAT) for engine in engines]
        for name, book, mirror in zip(names, books, mirrors, strict=True):
            demand_same((names[0], name), books[0], book)
            own = _beats(mirror)[mirror["resting"]["instrument"] == instrument]
            demand_same((f"{name}'s book", "its driver's mirror"), book, own)
