"""Lots at each price of an instrument: a book as those see it who see no orders. Imports nothing of ours."""

from collections.abc import Iterable
from struct import Struct
from zlib import crc32

_LEVEL = Struct(">BiQ")
#: One level: price in ticks, quantity in lots; quantity 0: the level is gone.
Level = tuple[int, int]


class Levels:
    """Both sides of one book, and a check by which two that should be equal are told apart.

    Attributes:
        sides: lots by price, of bids and of asks.
        check: sum of the CRC-32 of each level, modulo 2**32: of side (u8; 0 bids, 1 asks), price (i32) and
            lots (u64), big-endian.
    """

    def __init__(self) -> None:
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.check = 0

    def put(self, side: int, price: int, lots: int) -> None:
        """There are so many lots at a price now."""
        levels = self.sides[side]
        if old := levels.pop(price, 0):
            self.check -= crc32(_LEVEL.pack(side, price, old))
        if lots:
            levels[price] = lots
            self.check += crc32(_LEVEL.pack(side, price, lots))
        self.check %= 1 << 32

    def add(self, side: int, price: int, lots: int) -> None:
        """So many lots more, or fewer, at a price.

        Raises:
            ValueError: more would go than are there.
        """
        now = self.sides[side].get(price, 0) + lots
        if now < 0:
            raise ValueError(f"level: {-lots} lots go from price {price}, which has {now - lots}")
        self.put(side, price, now)

    def take(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Levels as a delta has them."""
        for side, changed in enumerate((bids, asks)):
            for price, lots in changed:
                self.put(side, price, lots)

    def bids(self, depth: int | None = None) -> list[Level]:
        """Best first."""
        return sorted(self.sides[0].items(), reverse=True)[:depth]

    def asks(self, depth: int | None = None) -> list[Level]:
        """Best first."""
        return sorted(self.sides[1].items())[:depth]
