"""Fields that records are made of: each knows its bytes, big-endian, and its bounds in both directions.

``pack`` raises a ValueError that names the field; ``read`` a JournalCorrupt that also gives its offset.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from hawse.keys.messages import MESSAGE, ROW_BYTES, split
from hawse.wire.dtypes import Array

from .errors import JournalCorrupt


class Reader:
    """Takes fields off the front of a record and knows where it is.

    Args:
        data: the record.
        base: added to the offset that an error names.
    """

    def __init__(self, data: bytes, base: int = 0) -> None:
        self.data, self.base, self.at = data, base, 0

    def corrupt(self, name: str, problem: str, at: int) -> JournalCorrupt:
        """What is wrong with the field that begins at ``at``."""
        return JournalCorrupt(self.base + at, name, problem)

    def raw(self, name: str, size: int) -> bytes:
        """The next ``size`` bytes."""
        if size > len(self.data) - self.at:
            raise self.corrupt(name, f"{size} bytes needed, {len(self.data) - self.at} left", self.at)
        self.at += size
        return self.data[self.at - size : self.at]

    def end(self) -> None:
        """Nothing may be left."""
        if self.at != len(self.data):
            raise self.corrupt("end", f"{len(self.data) - self.at} bytes too many", self.at)


class Field(Protocol):
    """One field, of a name that errors use."""

    name: str

    def pack(self, value: Any) -> bytes:
        """Its bytes."""
        ...

    def read(self, reader: Reader) -> Any:
        """Its value."""
        ...


class Integer:
    """An integer of ``size`` bytes within ``low`` and ``high``, by default all that fit."""

    def __init__(
        self, name: str, size: int, low: int | None = None, high: int | None = None, *, signed: bool = False
    ) -> None:
        least, most = (-1 << 8 * size - 1, (1 << 8 * size - 1) - 1) if signed else (0, (1 << 8 * size) - 1)
        self.name, self.size, self.signed = name, size, signed
        self.low, self.high = least if low is None else low, most if high is None else high

    def _problem(self, value: int) -> str | None:
        return None if self.low <= value <= self.high else f"{value} is not within {self.low}..{self.high}"

    def pack(self, value: int) -> bytes:
        """See :class:`Field`."""
        if problem := self._problem(value):
            raise ValueError(f"{self.name}: {problem}")
        return int(value).to_bytes(self.size, "big", signed=self.signed)

    def read(self, reader: Reader) -> int:
        """See :class:`Field`."""
        at = reader.at
        value = int.from_bytes(reader.raw(self.name, self.size), "big", signed=self.signed)
        if problem := self._problem(value):
            raise reader.corrupt(self.name, problem, at)
        return value


class Choice:
    """A u8 that is one of an enumeration's members, those that ``allowed`` lets through."""

    def __init__(
        self, name: str, kind: type[IntEnum], allowed: Callable[[int], bool] = lambda _: True
    ) -> None:
        self.name = name
        self._members = {int(member): member for member in kind if allowed(member)}
        self._kind = kind.__name__

    def pack(self, value: int) -> bytes:
        """See :class:`Field`."""
        if value not in self._members:
            raise ValueError(f"{self.name}: {value} is no {self._kind} that may stand here")
        return bytes([value])

    def read(self, reader: Reader) -> IntEnum:
        """See :class:`Field`."""
        at = reader.at
        value = reader.raw(self.name, 1)[0]
        if value not in self._members:
            raise reader.corrupt(self.name, f"{value} is no {self._kind} that may stand here", at)
        return self._members[value]


class Raw:
    """``size`` bytes."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    def pack(self, value: bytes) -> bytes:
        """See :class:`Field`."""
        if len(value) != self.size:
            raise ValueError(f"{self.name}: {len(value)} bytes, not {self.size}")
        return bytes(value)

    def read(self, reader: Reader) -> bytes:
        """See :class:`Field`."""
        return reader.raw(self.name, self.size)


class Sized:
    """A u16 length, and so many bytes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._length = Integer(f"{name} length", 2)

    def pack(self, value: bytes) -> bytes:
        """See :class:`Field`."""
        return self._length.pack(len(value)) + bytes(value)

    def read(self, reader: Reader) -> bytes:
        """See :class:`Field`."""
        return reader.raw(self.name, self._length.read(reader))


class Optional:
    """A field in which 0 stands for None."""

    def __init__(self, field: Integer) -> None:
        self.name, self._field = field.name, field

    def pack(self, value: int | None) -> bytes:
        """See :class:`Field`."""
        if value == 0:
            raise ValueError(f"{self.name}: 0, which stands for none")
        return self._field.pack(value or 0)

    def read(self, reader: Reader) -> int | None:
        """See :class:`Field`."""
        return self._field.read(reader) or None


class Group:
    """A value of a class whose attributes are ``fields``, in the order of its constructor."""

    def __init__(self, name: str, kind: Callable[..., Any], /, **fields: Field) -> None:
        self.name, self._kind, self._fields = name, kind, fields

    def pack(self, value: Any) -> bytes:
        """See :class:`Field`."""
        return b"".join(field.pack(getattr(value, name)) for name, field in self._fields.items())

    def read(self, reader: Reader) -> Any:
        """See :class:`Field`."""
        return self._kind(*(field.read(reader) for field in self._fields.values()))


class Many:
    """A count, and so many of ``item``, as a tuple.

    Args:
        name: of the whole.
        item: each.
        width: bytes of the count.
        most: of them.
        follows: says what is wrong if the second may not follow the first, else None.
    """

    def __init__(
        self,
        name: str,
        item: Field,
        width: int,
        most: int | None = None,
        follows: Callable[[Any, Any], str | None] = lambda _, __: None,
    ) -> None:
        self.name, self._item, self._follows = name, item, follows
        self._count = Integer(name, width, high=most)

    def pack(self, values: Sequence[Any]) -> bytes:
        """See :class:`Field`."""
        for one, next_ in pairwise(values):
            if problem := self._follows(one, next_):
                raise ValueError(f"{self._item.name}: {problem}")
        return self._count.pack(len(values)) + b"".join(self._item.pack(value) for value in values)

    def read(self, reader: Reader) -> tuple[Any, ...]:
        """See :class:`Field`."""
        out: list[Any] = []
        for _ in range(self._count.read(reader)):
            at = reader.at
            value = self._item.read(reader)  # a count that is too high runs out of bytes, not of memory
            if out and (problem := self._follows(out[-1], value)):
                raise reader.corrupt(self._item.name, problem, at)
            out.append(value)
        return tuple(out)


class Rows:
    """A u16 count of rows, and the rows of whole messages, as users sent them.

    Args:
        name: of the whole.
        most: rows.
        kinds: that may begin a message; None for any, since what is no message is refused with its reason.
    """

    def __init__(self, name: str, most: int, kinds: Iterable[int] | None = None) -> None:
        self.name, self._kinds = name, None if kinds is None else sorted(kinds)
        self._count = Integer(name, 2, high=most)

    def _problem(self, rows: Array) -> str | None:
        try:
            starts = split(rows).starts
        except ValueError as error:
            return str(error)
        if self._kinds is not None and len(starts):
            strange = starts[~np.isin(rows["kind"][starts], self._kinds)]
            if len(strange):
                return f"row {strange[0]} has kind {rows['kind'][strange[0]]}, none of {self._kinds}"
        return None

    def pack(self, rows: Array) -> bytes:
        """See :class:`Field`."""
        if rows.dtype != MESSAGE or rows.ndim != 1:
            raise ValueError(f"{self.name}: {rows.ndim} dimensions of {rows.dtype}")
        if problem := self._problem(rows):
            raise ValueError(f"{self.name}: {problem}")
        return self._count.pack(len(rows)) + rows.tobytes()

    def read(self, reader: Reader) -> Array:
        """See :class:`Field`."""
        at = reader.at
        count = self._count.read(reader)
        rows: Array = np.frombuffer(reader.raw(self.name, count * ROW_BYTES), MESSAGE)
        if problem := self._problem(rows):
            raise reader.corrupt(self.name, problem, at)
        return rows
