"""The definition of every command and report of the engine; everything else derives from it."""

from .schema import (
    ALL_INSTRUMENTS,
    ANONYMOUS,
    BEAT_BYTES,
    NULL_HANDLE,
    RECORD_BYTES,
    VERSION,
    Geometry,
    InstrumentState,
    Kind,
    Opcode,
    Reason,
    SelfTrade,
    Side,
    TimeInForce,
)

__all__ = [
    "ALL_INSTRUMENTS",
    "ANONYMOUS",
    "BEAT_BYTES",
    "NULL_HANDLE",
    "RECORD_BYTES",
    "VERSION",
    "Geometry",
    "InstrumentState",
    "Kind",
    "Opcode",
    "Reason",
    "SelfTrade",
    "Side",
    "TimeInForce",
]
