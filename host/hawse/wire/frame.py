"""Frames of the link: what travels on the byte stream between host and board.

Layout and rules: docs/wire.md, Link. Everything here is pure: bytes in, frames out.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from zlib import crc32

from .probe import ANSWER, QUESTION
from .schema import BEAT_BYTES

#: Most payload of a frame, in bytes: eight commands or beats.
MAX_PAYLOAD = 256
#: Header of a frame, without the CRC at its end.
HEADER = Struct("<BBHIHH")
CRC_BYTES = 4

_FLAG, _ESCAPED_FLAG = b"\x7e", b"\x7d\x5e"
_ESCAPE, _ESCAPED_ESCAPE = b"\x7d", b"\x7d\x5d"
#: CRC-32 of anything followed by its own CRC-32.
_RESIDUE = 0x2144DF1C
#: No stuffed frame is longer.
_LONGEST = 2 * (HEADER.size + MAX_PAYLOAD + CRC_BYTES)


class FrameError(ValueError):
    """Bytes that are no frame, or values that no frame can carry."""


class FrameType(IntEnum):
    """What a frame is for."""

    DATA = 0
    ACK = 1
    RESET = 2
    RESET_DONE = 3


@dataclass(slots=True)
class Frame:
    """One frame.

    Attributes:
        type: what it is for.
        credits: frame slots that its sender can still take, counted from ``ack``.
        epoch: of its sender; RESET: the epoch to adopt.
        seq: number of this DATA frame, modulo 2**16; else that of the next one.
        ack: the next DATA frame that its sender expects, modulo 2**16.
        payload: DATA: 32 to 256 bytes, a multiple of 32; else empty.
    """

    type: int
    credits: int
    epoch: int
    seq: int
    ack: int
    payload: bytes = b""


def check_payload(payload: bytes) -> None:
    """Raise FrameError unless a DATA frame can carry ``payload``."""
    if not 0 < len(payload) <= MAX_PAYLOAD or len(payload) % BEAT_BYTES:
        raise FrameError(
            f"payload: {len(payload)} bytes are not a multiple of {BEAT_BYTES} in 1..{MAX_PAYLOAD}"
        )


def encode(frame: Frame) -> bytes:
    """The bytes of ``frame`` on the line, flags at both ends. The payload is not checked."""
    raw = (
        HEADER.pack(frame.type, frame.credits, len(frame.payload), frame.epoch, frame.seq, frame.ack)
        + frame.payload
    )
    raw += crc32(raw).to_bytes(CRC_BYTES, "little")
    return _FLAG + raw.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_FLAG, _ESCAPED_FLAG) + _FLAG


def decode(stuffed: bytes, *, probe: bool = False) -> Frame:
    """The frame between two flags: one of the link, or one to or from a ``probe``.

    Raises:
        FrameError: CRC, length or type is wrong.
    """
    raw = stuffed.replace(_ESCAPED_FLAG, _FLAG).replace(_ESCAPED_ESCAPE, _ESCAPE)
    if crc32(raw) != _RESIDUE or len(raw) < HEADER.size + CRC_BYTES:
        raise FrameError(f"frame of {len(raw)} bytes: the CRC is wrong")
    kind, credits, length, epoch, seq, ack = HEADER.unpack_from(raw)
    payload = raw[HEADER.size : -CRC_BYTES]
    if length != len(payload):
        raise FrameError(f"length: {length}, but {len(payload)} bytes of payload came")
    if probe:
        if kind not in (QUESTION, ANSWER) or not length or length % 4:
            raise FrameError(f"type: {kind} with {length} bytes of payload is not of a probe")
    elif kind == FrameType.DATA:
        check_payload(payload)
    elif kind > FrameType.RESET_DONE or length:
        raise FrameError(f"type: {kind} with {length} bytes of payload")
    return Frame(kind, credits, epoch, seq, ack, payload)


class Deframer:
    """Finds the frames in a byte stream, whatever else is in it.

    Attributes:
        dropped: pieces between two flags that were no frames.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end within ``data``, a chunk of any size."""
        pieces = (self._rest + data).split(_FLAG)
        # One byte more than the longest frame is enough to know that it is none.
        self._rest = pieces.pop()[: _LONGEST + 1]
        frames = []
        for piece in pieces:
            if not piece:
                continue
            try:
                frames.append(decode(piece))
            except FrameError:
                self.dropped += 1
        return frames
