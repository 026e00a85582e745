"""What a flow is."""

from dataclasses import dataclass

import numpy as np
from hawse.wire.dtypes import Array
from numpy.typing import NDArray


@dataclass(frozen=True)
class Flow:
    """A sequence of commands that name their orders by the user's id, without tags.

    Attributes:
        times: milliseconds since 1970 of each command, ascending, shape (n,).
        orders: rows of :data:`hawse.wire.dtypes.ORDER` (NEW, CANCEL, REPLACE, REDUCE), shape (n,).
        marks: mark price in ticks after each command, shape (n,).
        base: lowest price of the band that the flow needs, in ticks.
        first_mark: mark price before the first command, in ticks.
    """

    times: NDArray[np.uint64]
    orders: Array
    marks: NDArray[np.int64]
    base: int
    first_mark: int

    def __len__(self) -> int:
        return len(self.orders)
