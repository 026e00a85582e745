"""Questions to the probe of a board that has one: line test and capture buffer. See docs/wire.md, Probe.

They travel beside the link, in frames of types that it drops; a question is answered by one frame, or not at
all, and may be asked again.
"""

from enum import IntEnum
from struct import Struct

#: Types of their frames.
QUESTION, ANSWER = 8, 9
#: Entries of the capture buffer; words of 32 bits of one, and most of them in an answer.
ENTRIES, ENTRY_WORDS, ENTRIES_AT_ONCE = 512, 3, 20
#: What begins the pseudo-random bytes of the bit test.
PRBS_SEED = (1 << 31) - 1


class Probe(IntEnum):
    """What is asked: the first word of a question."""

    #: Send the question back.
    LOOP = 0
    #: Compare the next bytes of the line with the pseudo-random ones, and send as many; word 1: how many.
    TEST = 1
    #: Tell how many bytes were compared, and how many of their bits were wrong.
    RESULT = 2
    #: Begin to capture; words 1, 2: mask, 3, 4: value, 5: entries behind the trigger.
    ARM = 3
    #: Tell the state, the entry of the trigger, the oldest entry, and how many there are.
    STATE = 4
    #: Tell entries; word 1: the first of them.
    READ = 5


class Capturing(IntEnum):
    """State of the capture buffer."""

    IDLE = 0
    ARMED = 1
    TRIGGERED = 2
    FULL = 3


#: One entry: what was sampled, and the clock cycle in which it was, modulo 2**32.
ENTRY = Struct("<QI")

#: What is sampled: name, lowest bit, width. An entry is taken in each cycle in which a command or beat moves.
SAMPLE = (
    ("command", 0, 1),
    ("beat", 1, 1),
    ("busy", 2, 1),
    ("held", 3, 1),
    ("kind", 4, 4),
    ("opcode", 8, 8),
    ("handle", 16, 24),
    ("seq", 40, 24),
)


def sample_fields(sample: int) -> dict[str, int]:
    """A sample taken apart by :data:`SAMPLE`."""
    return {name: sample >> low & ((1 << width) - 1) for name, low, width in SAMPLE}


def prbs(count: int, state: int = PRBS_SEED) -> bytes:
    """The first ``count`` bytes of the test: x^31 + x^28 + 1 (ITU-T O.150), the first bit the lowest."""
    out = bytearray()
    for _ in range(count):
        byte = 0
        for bit in range(8):
            new = (state >> 30 ^ state >> 27) & 1
            state = (state << 1 | new) & PRBS_SEED
            byte |= new << bit
        out.append(byte)
    return bytes(out)


def question(kind: Probe, *words: int) -> bytes:
    """Payload of a question."""
    return b"".join(word.to_bytes(4, "little") for word in (kind, *words))


def words_of(payload: bytes) -> list[int]:
    """The words of an answer."""
    return [int.from_bytes(payload[at : at + 4], "little") for at in range(0, len(payload), 4)]
