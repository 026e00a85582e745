"""Comparisons in the form in which an FPGA is done with them soonest."""

from amaranth.hdl import Cat, Mux, Value


def less(a: Value, b: Value) -> Value:
    """Whether ``a`` is less than ``b``, both unsigned, from the last carry of a subtraction.

    Yosys makes one subtraction of ``a < b`` and ``b < a``, and for one of them looks at all bits of it.
    """
    return (a - b)[-1]


def pairs_alike(a: Value, b: Value) -> Value:
    """Of every two bits of ``a`` and ``b``, whether they are equal: as far as one gate goes."""
    differs = a ^ b
    return Cat(~differs[n : n + 2].any() for n in range(0, len(differs), 2))


def first(word: Value) -> tuple[Value, Value]:
    """Whether ``word``, a power of two bits wide, has a bit set, and the index of the lowest."""
    if len(word) == 1:
        return word[0], Value.cast(0)[:0]
    ways = 2 if len(word).bit_length() % 2 == 0 else 4
    size = len(word) // ways
    some, index = zip(*(first(word[n : n + size]) for n in range(0, len(word), size)), strict=True)
    low = Mux(some[0], index[0], index[1])
    if ways == 2:
        return some[0] | some[1], Cat(low, ~some[0])
    above = ~(some[0] | some[1])
    high = Mux(some[2], index[2], index[3])
    return Cat(some).any(), Cat(Mux(above, high, low), ~Mux(above, some[2], some[0]), above)
