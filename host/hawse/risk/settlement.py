"""What expires settles at the average of its index over a window; units as in ``prices``."""

from dataclasses import dataclass, replace

from .errors import Code, within
from .fixed import MOST, quotient
from .prices import MOST_PRICE, Average


@dataclass(frozen=True, slots=True)
class Settlement:
    """The average of an index over a window before expiry, which time without an index makes longer.

    Attributes:
        window: nanoseconds that must have an index.
        average: of the index since the window began.
        last, heard: the last index, and until when there was one.
    """

    window: int
    average: Average
    last: int
    heard: int


def open_window(window: int, now: int, index: int) -> Settlement:
    """A window that begins with ``index``.

    Raises:
        OutOfRange: the window is empty, or the index out of range.
    """
    within(Code.TIME, "window", window, 1, MOST)
    within(Code.PRICE, "index", index, 1, MOST_PRICE)
    return Settlement(window, Average(now, index), index, now)


def in_window(state: Settlement, now: int, index: int | None) -> Settlement:
    """The index from ``now`` on; what is beyond the window does not count.

    Raises:
        OutOfRange: ``now`` is before the last change, or the index out of range.
    """
    average = state.average.until(now)
    heard = state.heard if state.average.value is None else now
    if index is not None:
        within(Code.PRICE, "index", index, 1, MOST_PRICE)
    if average.elapsed > state.window:
        over = average.elapsed - state.window
        average = replace(
            average, total=average.total - over * (average.value or 0), elapsed=average.elapsed - over
        )
    last = state.last if index is None else index
    return Settlement(state.window, replace(average, value=index), last, heard)


def window_mark(state: Settlement) -> int:
    """(Average so far × elapsed + index × rest) / window, with the last index that there was."""
    rest = state.window - state.average.elapsed
    return quotient(state.average.total + state.last * rest, state.window)


def settlement_price(state: Settlement, now: int, patience: int) -> int | None:
    """The average of the window; after ``patience`` without an index of what there is of it; else None."""
    average = state.average
    if average.elapsed == state.window:
        return average.mean()
    if average.value is None and now - state.heard >= patience:
        return average.mean() if average.elapsed else state.last
    return None
