"""A tape of slots and reports for ``state_tape.c``, and what must come out when it is played."""

import struct
import subprocess
import sys
from pathlib import Path

from hawse.engine.native import build
from hawse.state.native.bindings import Capacity
from hawse.state.native.build import FLAGS, source_files
from hawse.state.native.packed import PackedSigners, packed

from .hostile import Hostile
from .twin import Twin

_ROOM = Capacity(512, 1024, 1 << 16, 1 << 10)
_ROOTS = ("state_root", "inputs_root", "outcomes_root", "exit_root", "exit_marks_root", "withdrawals_root")


def _sum(data):
    """FNV-1a, as the player reckons it."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


class Recorded(Twin):
    """A twin that writes down what it is told and what it says."""

    tape, said = bytearray(), []

    def _write(self, *numbers):
        Recorded.tape += struct.pack(f"<{len(numbers)}Q", *numbers)

    def open_slot(self, slot, signers):
        admission = super().open_slot(slot, signers)
        made, arrays = packed(slot, PackedSigners.of(signers))
        self._write(1, made.number, made.time, made.closes, made.closing)
        self._write(made.observation_count, made.operation_count)
        self._write(
            made.deposit_count, made.request_count, made.row_count, made.message_count, made.authorised
        )
        for array in arrays:
            Recorded.tape += array.tobytes()
        self.said.append(f"orders {_sum(admission.orders.tobytes())}")
        return admission

    def clear_slot(self, events):
        digest = super().clear_slot(events)
        self._write(2, len(events))
        Recorded.tape += events.tobytes()
        self.said.append(f"digest {digest.hex()}")
        return digest

    def seal_batch(self):
        batch = super().seal_batch()
        self._write(3)
        fields = batch.header_fields()
        self.said.extend(f"root {fields[name].hex()}" for name in _ROOTS)
        return batch

    def snapshot(self):
        data = super().snapshot()
        self._write(4)
        self.said.append(f"snapshot {_sum(data)}")
        return data


def record(name, seed, slots, monkeypatch):
    """The tape of hostile flow, and the lines that it gives."""
    monkeypatch.setattr("support.hostile.Twin", Recorded)
    monkeypatch.setattr(Recorded, "tape", bytearray())
    monkeypatch.setattr(Recorded, "said", [])
    hostile = Hostile(name, seed)
    config = hostile.config.encode()
    head = struct.pack("<Q", len(config)) + config + struct.pack("<4Q", *vars(_ROOM).values())
    while hostile.machine.next_slot < slots and hostile.slot(100):
        pass
    return head + bytes(Recorded.tape), Recorded.said


def compiled(directory, cpp, c):
    """The player, by these compilers of C++ and C; a warning is an error."""
    out = directory / "player"
    includes = [f"-I{path}" for path in (*build.include_dirs(), source_files()[0].parent)]
    strict = ("-O2", "-DNDEBUG", "-Wall", "-Wextra", "-Werror", *includes)
    objects = []
    for source in source_files():
        objects.append(str(directory / f"{source.stem}.o"))
        line = [*cpp, "-std=c++17", *strict, *FLAGS, "-c", str(source), "-o", objects[-1]]
        subprocess.run(line, check=True, capture_output=True)
    player = Path(__file__).parent / "state_tape.c"
    line = [*c, "-std=c11", *strict, "-static", str(player), *objects, "-o", str(out)]
    subprocess.run(line, check=True, capture_output=True)
    return str(out)


def zig(target):
    """Compilers of C++ and C for a target, from PyPI."""
    return [(sys.executable, "-m", "ziglang", language, "-target", target) for language in ("c++", "cc")]


def play(tape, *command):
    """What the player says of a tape."""
    done = subprocess.run(command, input=tape, capture_output=True, check=False)
    assert not done.returncode, done.stdout.decode()[-200:] + done.stderr.decode()
    return done.stdout.decode().split("\n")[:-1]
