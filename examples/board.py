"""Talk to a board with pyserial alone: python examples/board.py /dev/ttyUSB0, or socket://127.0.0.1:7000.

It begins an epoch, asks the board who it is, opens an order book, and has a buyer and a seller meet in it.
Frames and commands are those of docs/wire.md.
"""

import struct
import sys
import zlib

import serial


def frame(kind, epoch, ack=0, payload=b""):
    raw = struct.pack("<BBHIHH", kind, 8, len(payload), epoch, 0, ack) + payload
    raw += zlib.crc32(raw).to_bytes(4, "little")
    return b"~" + raw.replace(b"}", b"}]").replace(b"~", b"}^") + b"~"


def answer():
    while line := port.read_until(b"~"):
        raw = line[:-1].replace(b"}^", b"~").replace(b"}]", b"}")
        if len(raw) >= 16 and zlib.crc32(raw[:-4]) == int.from_bytes(raw[-4:], "little"):
            return raw[0], int.from_bytes(raw[4:8], "little"), raw[12:-4]
    sys.exit(f"{port.name or sys.argv[1]} is silent")


def command(opcode, flags=0, handle=0, price=0, quantity=0, token=0, seq=0):
    return struct.pack("<BBHIIiIIQ", opcode, flags, 0, handle, 0, price, quantity, token, seq)


port = serial.serial_for_url(sys.argv[1], baudrate=1_000_000, timeout=2)
port.write(frame(2, 0))  # RESET to epoch 0 is obeyed by nobody: the answer tells the board's epoch
epoch = answer()[1] + 1
port.write(frame(2, epoch))
while answer()[0] != 3:  # RESET_DONE
    pass
loading, opened = command(6, token=64, price=100, quantity=3), command(6, quantity=1)
buy, sell = command(1, handle=0, price=120, quantity=5, seq=1), command(1, 1, 1, 120, 2, seq=2)
port.write(frame(0, epoch, payload=command(11) + loading + opened + buy + sell + command(7)))
beats, frames = b"", 0
while beats[-64:-63] != b"\x08":  # a FENCE, and the digest of the log behind it
    kind, _, payload = answer()
    beats, frames = beats + payload, frames + (kind == 0)
port.write(frame(1, epoch, ack=frames))
_, version, instruments, orders, pool, tag_bits = struct.unpack_from("<BBHIIB", beats)
print(f"version {version}, {instruments} instruments, {orders} orders, {pool} levels, {tag_bits} bits of tag")
for at in range(64, len(beats) - 64, 32):
    kind, _, _, handle, maker, price, quantity, seq = struct.unpack_from("<BBHIIiII", beats, at)
    print(f"seq {seq}: {('ACK', 'TRADE')[kind & 15]} of order {handle}, {quantity} at {price}")
print(f"digest of the log {beats[-32:].hex()}")
