"""Who may trade, beside money: versions of the operator's rules, and what flags say of an owner."""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from itertools import pairwise
from typing import Self

#: Number, whether owners have to be listed, most lots, count of barred jurisdictions; u16 each follow.
_RULES = struct.Struct(">IBQH")
#: Body of a FLAGS operation: owner, flags.
FLAGS = struct.Struct(">20sI")
#: In ``lots``: as many as anybody likes.
NO_LIMIT = 2**64 - 1
#: Bits of the flags above which the jurisdiction stands.
JURISDICTION_BIT = 16


class Flag(IntFlag):
    """What is known of an owner; in bits 16 to 31 his jurisdiction, 0 where it is not known."""

    OPERATOR = 1
    AFFILIATE = 2
    ALLOWED = 4
    BOUND = 8


class Rule(IntEnum):
    """Which rule refuses an order: the detail of a refusal RULE."""

    ALLOW_LIST = 1
    JURISDICTION = 2
    POSITION = 3


#: Bits of the flags that mean something.
DEFINED = 0xFFFF_0000 | 15


@dataclass(frozen=True)
class RuleSet:
    """A version of the rules that an order has to obey which does not only close.

    Attributes:
        number: of the version, from 1; each next one is higher by 1.
        listed: only owners that are flagged ALLOWED may trade.
        lots: of an instrument that an owner flagged BOUND may hold at most, his open orders counted, or
            :data:`NO_LIMIT`; with 0 he may only close.
        barred: jurisdictions whose owners may not trade, ascending.

    Raises:
        ValueError: a value out of range, with the field named.
    """

    number: int
    listed: bool = False
    lots: int = NO_LIMIT
    barred: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.number < 1 << 32:
            raise ValueError(f"number: {self.number} is not within 1..{2**32 - 1}")
        if not 0 <= self.lots <= NO_LIMIT:
            raise ValueError(f"lots: {self.lots} is not within 0..{NO_LIMIT}")
        if any(before >= after for before, after in pairwise((-1, *self.barred, 1 << 16))):
            raise ValueError(f"barred: {self.barred} are not ascending within 0..65535")

    def encode(self) -> bytes:
        """Body of the operation RULES."""
        head = _RULES.pack(self.number, self.listed, self.lots, len(self.barred))
        return head + struct.pack(f">{len(self.barred)}H", *self.barred)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """The rules of an operation's body.

        Raises:
            ValueError: not such bytes; says which field.
        """
        if len(body) < _RULES.size:
            raise ValueError(f"body: {len(body)} bytes, fewer than {_RULES.size}")
        number, listed, lots, count = _RULES.unpack_from(body)
        if listed > 1:
            raise ValueError(f"listed: {listed}, neither 0 nor 1")
        if len(body) != _RULES.size + 2 * count:
            raise ValueError(f"barred: {count} in {len(body) - _RULES.size} bytes")
        return cls(number, bool(listed), lots, struct.unpack_from(f">{count}H", body, _RULES.size))

    def broken(self, flags: int, lots: int) -> tuple[Rule, int] | None:
        """The rule that keeps an owner from an order, and what he has; None if there is none.

        Args:
            flags: the owner's.
            lots: of the instrument that he could then hold.
        """
        if self.listed and not flags & Flag.ALLOWED:
            return Rule.ALLOW_LIST, flags
        if flags >> JURISDICTION_BIT in self.barred:
            return Rule.JURISDICTION, flags >> JURISDICTION_BIT
        if flags & Flag.BOUND and lots > self.lots:
            return Rule.POSITION, lots
        return None


def check_flags(flags: int) -> None:
    """Whether only defined bits are set.

    Raises:
        ValueError: they are not.
    """
    if not 0 <= flags < 1 << 32 or flags & ~DEFINED:
        raise ValueError(f"flags: {flags:#x} has bits that mean nothing, beyond {DEFINED:#x}")
