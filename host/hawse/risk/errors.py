"""What the risk functions refuse: one code in both forms, and in Python the field with both numbers."""

from enum import IntEnum


class Code(IntEnum):
    """Why a function gave no value. The native form returns it; the golden form raises it."""

    OK = 0
    #: An argument outside its function's domain.
    ARGUMENT = 1
    #: A result that is no int64.
    OVERFLOW = 2
    FORWARD = 3
    STRIKE = 4
    TIME = 5
    VOLATILITY = 6
    DISCOUNT = 7
    #: Strike over forward.
    RATIO = 8
    #: Volatility times the root of time.
    DEVIATION = 9
    PRICE = 10
    BELOW_INTRINSIC = 11
    NO_TIME_VALUE = 12
    ABOVE_BOUND = 13
    #: A quantum of the price moves the volatility too far.
    UNDETERMINED = 14
    #: The volatility that gives the price is no permitted one.
    UNREACHABLE = 15
    #: No nodes, no rows of the right length, or surfaces on different nodes.
    SHAPE = 16
    #: Nodes, strikes or listings that do not ascend.
    ORDER = 17
    #: Volatility squared times time at a node.
    VARIANCE = 18
    LOTS = 19
    PUBLISHER = 20
    #: Not above the publisher's last.
    NUMBER = 21
    #: A publisher's number for the second time, with another observation.
    EQUIVOCATION = 22
    FUTURE = 23
    STALE = 24
    #: A limit of owner, instrument or venue.
    LIMIT = 25


class RiskError(ValueError):
    """A value was refused; ``code`` says why, the text names the field and both numbers."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


class OutOfRange(RiskError):
    """``field`` is ``value``, which is not within ``least`` and ``most``."""

    def __init__(self, code: Code, field: str, value: int, least: int, most: int) -> None:
        super().__init__(code, f"{field}: {value} is not within {least} and {most}")
        self.field, self.value, self.least, self.most = field, value, least, most


class NotAscending(RiskError):
    """``field[index]`` is ``value``, which is not above ``before``, the one before it."""

    def __init__(self, field: str, index: int, value: int, before: int) -> None:
        super().__init__(Code.ORDER, f"{field}[{index}]: {value} is not above {before} before it")
        self.field, self.index, self.value, self.before = field, index, value, before


class NoVolatility(RiskError):
    """No volatility gives ``price``, or none in particular; ``bound`` is the number it was held against."""

    def __init__(self, code: Code, why: str, price: int, bound: int) -> None:
        super().__init__(code, f"price: {price}: {why} {bound}")
        self.price, self.bound = price, bound


def within(code: Code, field: str, value: int, least: int, most: int) -> int:
    """``value``.

    Raises:
        OutOfRange: it is not within ``least`` and ``most``.
    """
    if least <= value <= most:
        return value
    raise OutOfRange(code, field, value, least, most)


def ascending(field: str, values: tuple[int, ...]) -> None:
    """Nothing.

    Raises:
        NotAscending: a value is not above the one before it.
    """
    for index in range(1, len(values)):
        if values[index] <= values[index - 1]:
            raise NotAscending(field, index, values[index], values[index - 1])
