"""Records of fixed layout, written down as dataclasses: big-endian bytes out, and in again.

A class names its fields in the order of their bytes; the annotation of each says what it may hold. Both
directions refuse what is out of range, by the field's name.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

from tiny_keccak import keccak256

#: Version byte of every leaf.
VERSION = 2


class CommitError(Exception):
    """Base of what this package raises."""


class LeafError(CommitError, ValueError):
    """A field that holds what it may not.

    Attributes:
        leaf: name of the class.
        field: of it, ``bytes`` where the bytes as a whole are wrong.
        given: what it holds.
        allowed: what it may hold, in words.
    """

    def __init__(self, leaf: str, field: str, given: object, allowed: str) -> None:
        shown = given.hex() if isinstance(given, bytes) else given
        super().__init__(f"{leaf}: {field}: {shown} is not {allowed}")
        self.leaf, self.field, self.given, self.allowed = leaf, field, given, allowed


@dataclass(frozen=True)
class Int:
    """An integer of ``size`` bytes, from ``low`` to ``high``."""

    size: int
    low: int
    high: int

    @property
    def wide(self) -> bool:
        """Whether :mod:`struct` has no code for it."""
        return self.size not in _CODES

    @property
    def whole(self) -> bool:
        """Whether every value of its bytes is allowed."""
        return self.high - self.low + 1 == 1 << 8 * self.size

    @property
    def code(self) -> str:
        """Its code for :mod:`struct`."""
        if self.wide:
            return f"{self.size}s"
        return _CODES[self.size] if self.low < 0 else _CODES[self.size].upper()

    def unpack(self, data: bytes) -> int:
        """The integer of these bytes."""
        return int.from_bytes(data, "big", signed=self.low < 0)

    def allows(self, value: object) -> bool:
        """Whether it is an integer in range."""
        return isinstance(value, int) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


@dataclass(frozen=True)
class Raw:
    """So many bytes."""

    size: int

    @property
    def code(self) -> str:
        """Its code for :mod:`struct`."""
        return f"{self.size}s"

    def allows(self, value: object) -> bool:
        """Whether it is as many bytes."""
        return isinstance(value, bytes) and len(value) == self.size

    def __str__(self) -> str:
        return f"{self.size} bytes"


@dataclass(frozen=True)
class Counted:
    """At most ``most`` items behind their number in one byte, or exactly ``most`` without a number."""

    most: int
    fixed: bool = False


_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}


def unsigned(size: int, below: int = 0) -> Int:
    """Of ``size`` bytes, from 0, below a number if one is given."""
    return Int(size, 0, (below or 1 << 8 * size) - 1)


def signed(size: int) -> Int:
    """Of ``size`` bytes, two's complement."""
    return Int(size, -1 << 8 * size - 1, (1 << 8 * size - 1) - 1)


U8 = Annotated[int, unsigned(1)]
U16 = Annotated[int, unsigned(2)]
U32 = Annotated[int, unsigned(4)]
U48 = Annotated[int, unsigned(6)]
U64 = Annotated[int, unsigned(8)]
U128 = Annotated[int, unsigned(16)]
I32 = Annotated[int, signed(4)]
I64 = Annotated[int, signed(8)]
I128 = Annotated[int, signed(16)]
Bool = Annotated[int, unsigned(1, below=2)]
#: Milliseconds since 1970.
Time = Annotated[int, unsigned(8, below=1 << 48)]
Address = Annotated[bytes, Raw(20)]
Hash = Annotated[bytes, Raw(32)]
Signature = Annotated[bytes, Raw(64)]


class Packed:
    """A dataclass whose fields stand one behind another."""

    #: Bytes before the first field.
    PREFIX: ClassVar[bytes] = b""

    def check(self) -> None:
        """Refuse fields that contradict each other; ranges are the annotations' matter.

        Raises:
            LeafError: they do.
        """

    def encode(self) -> bytes:
        """The bytes.

        Raises:
            LeafError: a field is out of range, or contradicts another.
        """
        data = self.PREFIX + b"".join([part.encode(self) for part in _layout(type(self))])
        self.check()
        return data

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The record that these bytes are, all of them.

        Raises:
            LeafError: a field is out of range, or there are too few bytes, or too many.
        """
        record, end = cls.read(data, 0)
        if end != len(data):
            raise LeafError(cls.__name__, "bytes", f"{len(data)} in number", f"the {end} that it takes")
        return record

    @classmethod
    def read(cls, data: bytes, at: int) -> tuple[Self, int]:
        """The record that begins at ``at``, and where it ends.

        Raises:
            LeafError: as of :meth:`decode`.
        """
        there = data[at : at + len(cls.PREFIX)]
        if there != cls.PREFIX:
            raise LeafError(cls.__name__, "tag and version", there, f"{cls.PREFIX.hex()}")
        at += len(cls.PREFIX)
        values: dict[str, Any] = {}
        for part in _layout(cls):
            at = part.decode(cls.__name__, data, at, values)
        record = cls(**values)
        record.check()
        return record, at

    def refuse(self, field: str, allowed: str) -> LeafError:
        """The error that says what a field should have been."""
        return LeafError(type(self).__name__, field, getattr(self, field), allowed)


class Leaf(Packed):
    """A record that a tree commits to; its prefix is its tag and :data:`VERSION`."""

    def hash(self) -> bytes:
        """Keccak-256 of the bytes, 32 bytes."""
        return bytes(keccak256(self.encode()))


def prefix(tag: int) -> bytes:
    """Tag and version: what a leaf begins with."""
    return bytes([tag, VERSION])


class _Run:
    """Fields of fixed size one behind another, packed at once."""

    def __init__(self, fields: Sequence[tuple[str, Int | Raw]]) -> None:
        self._fields = fields
        self._names = [name for name, _ in fields]
        self._struct = struct.Struct(">" + "".join(kind.code for _, kind in fields))
        get = attrgetter(*self._names)
        self._get: Callable[[Any], tuple[Any, ...]] = (
            get if len(fields) > 1 else lambda record: (get(record),)
        )
        # What a plain pack would not refuse, and what it cannot do.
        self._raw = [(n, k.size) for n, (_, k) in enumerate(fields) if isinstance(k, Raw)]
        ints = [(n, k) for n, (_, k) in enumerate(fields) if isinstance(k, Int)]
        self._bounded = [(n, k.low, k.high) for n, k in ints if not k.whole]
        self._wide = [(n, k) for n, k in ints if k.wide]

    def encode(self, record: Packed) -> bytes:
        values = list(self._get(record))
        try:
            for n, size in self._raw:
                if len(values[n]) != size:
                    raise ValueError
            for n, low, high in self._bounded:
                if not low <= values[n] <= high:
                    raise ValueError
            for n, kind in self._wide:
                values[n] = values[n].to_bytes(kind.size, "big", signed=kind.low < 0)
            return self._struct.pack(*values)
        except (struct.error, OverflowError, ValueError, AttributeError, TypeError):
            self._complain(type(record).__name__, self._get(record))
            raise

    def decode(self, leaf: str, data: bytes, at: int, into: dict[str, Any]) -> int:
        if at + self._struct.size > len(data):
            missing = at + self._struct.size
            raise LeafError(
                leaf, "bytes", f"{len(data)} in number", f"at least {missing}, for {self._names[-1]}"
            )
        values = list(self._struct.unpack_from(data, at))
        for n, kind in self._wide:
            values[n] = kind.unpack(values[n])
        self._complain(leaf, values)
        into.update(zip(self._names, values, strict=True))
        return at + self._struct.size

    def _complain(self, leaf: str, values: Sequence[Any]) -> None:
        for (name, kind), value in zip(self._fields, values, strict=True):
            if not kind.allows(value):
                raise LeafError(leaf, name, value, str(kind))


class _Many:
    """Items behind their number, or in a fixed number."""

    def __init__(self, name: str, counted: Counted) -> None:
        self._name, self._counted = name, counted

    def head(self, leaf: str, count: int) -> bytes:
        """What stands before so many items."""
        most, fixed = self._counted.most, self._counted.fixed
        if count > most or (fixed and count != most):
            raise LeafError(leaf, self._name, f"{count} items", f"{'exactly' if fixed else 'at most'} {most}")
        return b"" if fixed else bytes([count])

    def count(self, leaf: str, data: bytes, at: int) -> tuple[int, int]:
        """How many items there are, and where the first begins."""
        if self._counted.fixed:
            return self._counted.most, at
        self.enough(leaf, data, at + 1)
        self.head(leaf, data[at])
        return data[at], at + 1

    def enough(self, leaf: str, data: bytes, end: int) -> None:
        """Refuse to read beyond the end."""
        if end > len(data):
            raise LeafError(leaf, "bytes", f"{len(data)} in number", f"at least {end}, for {self._name}")


class _Items(_Many):
    """Records, each as long as it says."""

    def __init__(self, name: str, counted: Counted, item: type[Packed]) -> None:
        super().__init__(name, counted)
        self._item = item

    def encode(self, record: Packed) -> bytes:
        items = getattr(record, self._name)
        return self.head(type(record).__name__, len(items)) + b"".join([item.encode() for item in items])

    def decode(self, leaf: str, data: bytes, at: int, into: dict[str, Any]) -> int:
        count, at = self.count(leaf, data, at)
        items = []
        for _ in range(count):
            item, at = self._item.read(data, at)
            items.append(item)
        into[self._name] = tuple(items)
        return at


class _Numbers(_Many):
    """Integers of one kind, of which every value is allowed."""

    def __init__(self, name: str, counted: Counted, kind: Int) -> None:
        super().__init__(name, counted)
        assert kind.whole
        self._kind = kind

    def encode(self, record: Packed) -> bytes:
        items = getattr(record, self._name)
        head = self.head(type(record).__name__, len(items))
        size, negative = self._kind.size, self._kind.low < 0
        try:
            return head + b"".join([item.to_bytes(size, "big", signed=negative) for item in items])
        except (OverflowError, AttributeError):
            for n, item in enumerate(items):
                if not self._kind.allows(item):
                    field = f"{self._name}[{n}]"
                    raise LeafError(type(record).__name__, field, item, str(self._kind)) from None
            raise

    def decode(self, leaf: str, data: bytes, at: int, into: dict[str, Any]) -> int:
        count, at = self.count(leaf, data, at)
        size = self._kind.size
        end = at + count * size
        self.enough(leaf, data, end)
        into[self._name] = tuple(self._kind.unpack(data[k : k + size]) for k in range(at, end, size))
        return end


_Part = _Run | _Items | _Numbers
_LAYOUTS: dict[type[Packed], tuple[_Part, ...]] = {}


def _layout(cls: type[Packed]) -> tuple[_Part, ...]:
    layout = _LAYOUTS.get(cls)
    if layout is None:
        layout = _LAYOUTS[cls] = tuple(_parts(cls))
    return layout


def _parts(cls: type[Packed]) -> Iterator[_Part]:
    run: list[tuple[str, Int | Raw]] = []
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue  # a ClassVar
        kind, said = get_args(hint)
        if isinstance(said, Counted):
            if run:
                yield _Run(run)
                run = []
            (item, _) = get_args(kind)
            if get_origin(item) is Annotated:
                yield _Numbers(name, said, get_args(item)[1])
            else:
                yield _Items(name, said, item)
        else:
            run.append((name, said))
    if run:
        yield _Run(run)
