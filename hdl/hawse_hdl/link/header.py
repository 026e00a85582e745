"""What the framer and the deframer agree on: docs/wire.md, Link."""

from amaranth.lib import data
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
#: Bits of a word of payload, as the slot memories hold it.
WORD = 32
#: Words in the payload of the longest frame, and in one command or beat.
SLOT_WORDS, BEAT_WORDS = 64, 8
HEADER_BYTES, CRC_BYTES = 12, 4
CRC = CRC32_ISO_HDLC(data_width=8)

HEADER = data.StructLayout({"type": 8, "credits": 8, "length": 16, "epoch": 32, "seq": 16, "ack": 16})
