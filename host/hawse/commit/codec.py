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

    def pack(self, value: int) -> bytes:
        """The integer's bytes."""
        return value.to_bytes(self.size, "big", signed=self.low < 0)

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
        self.check()
        return self.PREFIX + b"".join([part.encode(self) for part in _layout(type(self))])

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
        #: Where a plain pack would write something else, or not complain.
        self._special = [(n, k) for n, (_, k) in enumerate(fields) if not isinstance(k, Int) or not k.whole]
        self._wide = [(n, k) for n, (_, k) in enumerate(fields) if isinstance(k, Int) and k.wide]

    def encode(self, record: Packed) -> bytes:
        values = list(self._get(record))
        try:
            if not all([kind.allows(values[n]) for n, kind in self._special]):
                raise ValueError
            for n, kind in self._wide:
                values[n] = kind.pack(values[n])
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


class _List:
    """Items of one kind, behind their number or in a fixed number."""

    def __init__(self, name: str, item: Any, counted: Counted) -> None:
        self._name, self._counted = name, counted
        self._kind: Int | None = None
        self._item: type[Packed] | None = None
        if get_origin(item) is Annotated:
            self._kind = get_args(item)[1]
        else:
            self._item = item

    def encode(self, record: Packed) -> bytes:
        items = getattr(record, self._name)
        self._limit(type(record).__name__, len(items))
        head = b"" if self._counted.fixed else bytes([len(items)])
        if self._kind is None:
            return head + b"".join([item.encode() for item in items])
        self._complain(type(record).__name__, items)
        pack = self._kind.pack
        return head + b"".join([pack(item) for item in items])

    def decode(self, leaf: str, data: bytes, at: int, into: dict[str, Any]) -> int:
        count = self._counted.most
        if not self._counted.fixed:
            if at >= len(data):
                raise LeafError(
                    leaf, "bytes", f"{len(data)} in number", f"at least {at + 1}, for {self._name}"
                )
            count, at = data[at], at + 1
            self._limit(leaf, count)
        items: list[Any] = []
        for _ in range(count):
            if self._kind is None:
                assert self._item is not None
                item, at = self._item.read(data, at)
                items.append(item)
            else:
                size = self._kind.size
                if at + size > len(data):
                    what = f"at least {at + size}, for {self._name}"
                    raise LeafError(leaf, "bytes", f"{len(data)} in number", what)
                items.append(self._kind.unpack(data[at : at + size]))
                at += size
        if self._kind is not None:
            self._complain(leaf, items)
        into[self._name] = tuple(items)
        return at

    def _limit(self, leaf: str, count: int) -> None:
        most, fixed = self._counted.most, self._counted.fixed
        if count > most or (fixed and count != most):
            raise LeafError(leaf, self._name, f"{count} items", f"{'exactly' if fixed else 'at most'} {most}")

    def _complain(self, leaf: str, items: Sequence[Any]) -> None:
        assert self._kind is not None
        for n, item in enumerate(items):
            if not self._kind.allows(item):
                raise LeafError(leaf, f"{self._name}[{n}]", item, str(self._kind))


_LAYOUTS: dict[type[Packed], tuple[_Run | _List, ...]] = {}


def _layout(cls: type[Packed]) -> tuple[_Run | _List, ...]:
    layout = _LAYOUTS.get(cls)
    if layout is None:
        layout = _LAYOUTS[cls] = tuple(_parts(cls))
    return layout


def _parts(cls: type[Packed]) -> Iterator[_Run | _List]:
    run: list[tuple[str, Int | Raw]] = []
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue  # a ClassVar
        kind, said = get_args(hint)
        if isinstance(said, Counted):
            if run:
                yield _Run(run)
                run = []
            yield _List(name, get_args(kind)[0], said)
        else:
            run.append((name, said))
    if run:
        yield _Run(run)
