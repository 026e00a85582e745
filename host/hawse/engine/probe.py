"""What the probe of a board is asked: loopback, bit test, capture buffer."""

import time
from dataclasses import dataclass

from hawse.wire.frame import Frame, FrameError, decode, encode
from hawse.wire.probe import (
    ANSWER,
    ENTRIES,
    ENTRIES_AT_ONCE,
    ENTRY,
    QUESTION,
    Capturing,
    Probe,
    prbs,
    question,
    sample_fields,
    words_of,
)

from .backend import EngineError
from .link import LinkBackend

_FLAG = b"\x7e"
#: Bytes of a test that are written at a time.
_CHUNK = 512
#: Bytes of a test at most: what the probe can count.
_TEST_MOST = (1 << 24) - 1


class ProbeError(EngineError):
    """The probe did not answer, or not what it was asked."""


@dataclass(frozen=True)
class BitTest:
    """What a bit test found of ``sent`` bytes each way: how many arrived, and how many bits were wrong."""

    sent: int
    to_board: int
    to_board_wrong: int
    from_board: int
    from_board_wrong: int

    @property
    def clean(self) -> bool:
        """Whether all arrived as they were."""
        whole = self.to_board == self.from_board == self.sent
        return whole and not self.to_board_wrong and not self.from_board_wrong


@dataclass(frozen=True)
class Entry:
    """An entry of the capture buffer: clock cycle modulo 2**32, fields of :data:`hawse.wire.probe.SAMPLE`."""

    cycle: int
    fields: dict[str, int]


class ProbeClient:
    """Asks the probe of the board behind a link, between two exchanges.

    Args:
        link: of a board that has the feature CAPTURE.
        patience: seconds to wait for an answer, within which the question is asked again.
    """

    def __init__(self, link: LinkBackend, *, patience: float = 2.0) -> None:
        self._link, self._patience = link, patience
        self._seq, self._rest = 0, b""

    def _ask(self, payload: bytes, *, again: bool = True) -> bytes:
        """The answer to a question.

        Raises:
            ProbeError: none came.
            LinkLost: the port failed.
        """
        self._seq = (self._seq + 1) % (1 << 16)
        asked = encode(Frame(QUESTION, 0, 0, self._seq, 0, payload))
        begin = last = time.monotonic()
        self._link.disturb(asked)
        while (now := time.monotonic()) < begin + self._patience:
            self._rest += self._link.read_raw(self._patience / 8)
            while _FLAG in self._rest:
                piece, _, self._rest = self._rest.partition(_FLAG)
                try:
                    frame = decode(piece, probe=True)
                except FrameError:
                    continue
                if frame.type == ANSWER and frame.seq == self._seq:
                    return frame.payload
            if again and now > last + self._patience / 4:
                self._link.disturb(asked)
                last = now
        name = Probe(payload[0]).name
        raise ProbeError(f"{self._link.name}: its probe did not answer {name} within {self._patience:g} s")

    def loop(self, payload: bytes) -> bytes:
        """Have up to 252 bytes, a multiple of 4, sent back."""
        return self._ask(question(Probe.LOOP) + payload)[4:]

    def bit_test(self, count: int) -> BitTest:
        """Send ``count`` pseudo-random bytes each way at once, without frames, and count wrong bits.

        Raises:
            ValueError: more bytes than the probe can count.
        """
        if not 0 < count <= _TEST_MOST:
            raise ValueError(f"count: {count} is not within 1..{_TEST_MOST}")
        self._ask(question(Probe.TEST, count), again=False)
        expected = prbs(count)
        came, self._rest = self._rest, b""
        sent, since = 0, time.monotonic()
        while len(came) < count or sent < count:
            if sent < count:
                self._link.disturb(expected[sent : sent + _CHUNK])
                sent += _CHUNK
            data = self._link.read_raw(0 if sent < count else self._patience / 8)
            came += data
            now = time.monotonic()
            since = now if data or sent < count else since
            if now > since + self._patience:
                break
        came, self._rest = came[:count], came[count:]
        self._link.disturb(_FLAG)
        _, seen, wrong = words_of(self._ask(question(Probe.RESULT)))
        ours = int.from_bytes(came, "little") ^ int.from_bytes(expected[: len(came)], "little")
        return BitTest(count, seen, wrong, len(came), ours.bit_count())

    def arm(self, mask: int, value: int, after: int = ENTRIES // 2) -> None:
        """Begin to capture; the first sample that is ``value`` where ``mask`` has ones is the trigger."""
        halves = [number >> shift & 0xFFFF_FFFF for number in (mask, value) for shift in (0, 32)]
        self._ask(question(Probe.ARM, *halves, after))

    def state(self) -> tuple[Capturing, int, int, int]:
        """What the buffer is at; the entry of the trigger, the oldest entry, and how many there are."""
        _, state, trigger, oldest, count = words_of(self._ask(question(Probe.STATE)))
        return Capturing(state), trigger, oldest, count

    def entries(self) -> tuple[list[Entry], int | None]:
        """What was captured, in the order of time, and which of them is the trigger, None before it came."""
        state, trigger, oldest, count = self.state()
        raw = b""
        for first in range(0, count, ENTRIES_AT_ONCE):
            raw += self._ask(question(Probe.READ, (oldest + first) % ENTRIES))[8:]
        told = [ENTRY.unpack_from(raw, ENTRY.size * n) for n in range(count)]
        came = state in (Capturing.TRIGGERED, Capturing.FULL)
        found = [Entry(cycle, sample_fields(sample)) for sample, cycle in told]
        return found, (trigger - oldest) % ENTRIES if came else None
