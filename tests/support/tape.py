"""A tape of slots and reports for ``state_tape.cpp``, and what must come out when it is played."""

import struct
import subprocess
import sys
from pathlib import Path

from hawse.engine.native import build
from hawse.state.native.bindings import Capacity
from hawse.state.native.build import FLAGS, source_files
from hawse.state.native.machine import PackedSigners, packed
from tiny_keccak import keccak256

from .hostile import Hostile
from .twin import Twin

_ROOM = Capacity(64, 1024, 1 << 16, 1 << 10)
_ROOTS = ("state_root", "inputs_root", "outcomes_root", "exit_root", "exit_marks_root", "withdrawals_root")


class Recorded(Twin):
    """A twin that writes down what it is told and what it says."""

    tape, said = bytearray(), []

    def _write(self, *numbers):
        Recorded.tape += struct.pack(f"<{len(numbers)}Q", *numbers)

    def open_slot(self, slot, signers):
        admission = super().open_slot(slot, signers)
        made, arrays = packed(slot, PackedSigners.of(signers))
        self._write(1, made.number, made.time, made.closes, made.closing, made.operation_count)
        self._write(made.deposit_count, made.row_count, made.message_count)
        for array in arrays:
            Recorded.tape += array.tobytes()
        self.said.append(f"orders {bytes(keccak256(admission.orders.tobytes())).hex()}")
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
        self.said.append(f"snapshot {bytes(keccak256(data)).hex()}")
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


def compiled(directory, *command):
    """The player, by this compiler; a warning is an error."""
    out = directory / f"player{len([*directory.iterdir()])}"
    includes = [f"-I{path}" for path in (*build.include_dirs(), source_files()[0].parent)]
    strict = ("-std=c++17", "-O2", "-DNDEBUG", "-Wall", "-Wextra", "-Werror")
    objects = []
    for source in source_files():
        objects.append(directory / f"{out.name}-{source.stem}.o")
        line = [*command, *strict, *FLAGS, *includes, "-c", str(source), "-o", str(objects[-1])]
        subprocess.run(line, check=True, capture_output=True)
    player = Path(__file__).parent / "state_tape.cpp"
    line = [*command, *strict, *includes, "-static", str(player), *map(str, objects), "-o", str(out)]
    subprocess.run(line, check=True, capture_output=True)
    return out


def zig(target):
    """The compiler for a target, from PyPI."""
    return (sys.executable, "-m", "ziglang", "c++", "-target", target)


def play(tape, *command):
    """What the player says of a tape."""
    done = subprocess.run(command, input=tape, capture_output=True, check=False)
    assert not done.returncode, done.stdout.decode()[-200:] + done.stderr.decode()
    return done.stdout.decode().split("\n")[:-1]
