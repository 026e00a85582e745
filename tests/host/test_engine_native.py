import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
from hawse.engine import BuildError, EngineError, GoldenBackend, SoftBackend, split
from hawse.engine.native import build
from hawse.engine.native.bindings import keccak256_rows
from hawse.wire import Geometry, Opcode
from hawse.wire.dtypes import COMMAND, REPORT, make, records
from tiny_keccak import keccak256

SMALL = Geometry(2, 1024, 64, 8)
FENCE = make(COMMAND, opcode=Opcode.FENCE)


def test_compiles_once_and_again_when_content_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("HAWSE_BUILD", str(tmp_path / "cache"))
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" int one() { return 1; }')
    first = build.compile_library("one", [source])
    made = first.stat().st_mtime_ns
    assert build.compile_library("one", [source]) == first
    assert first.stat().st_mtime_ns == made
    (tmp_path / "beside.hpp").write_text("// a header counts")
    second = build.compile_library("one", [source])
    assert second != first
    assert build.compile_library("one", [source], ["-DX"]) not in (first, second)
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir() if p.is_file()) == [first.suffix] * 3


def test_processes_may_build_at_once(tmp_path):
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" __attribute__((visibility("default"))) int one() { return 1; }')
    script = (
        "import ctypes, pathlib, sys; from hawse.engine.native import build;"
        "print(ctypes.CDLL(str(build.compile_library('one', [pathlib.Path(sys.argv[1])]))).one())"
    )
    environment = os.environ | {"HAWSE_BUILD": str(tmp_path / "cache")}
    command = [sys.executable, "-c", script, str(source)]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in running] == [b"1"] * 3
    assert len([p for p in (tmp_path / "cache").iterdir() if p.name.startswith("one")]) == 1


def test_compiler_output_is_in_the_error(tmp_path, monkeypatch):
    monkeypatch.setenv("HAWSE_BUILD", str(tmp_path / "cache"))
    source = tmp_path / "bad.cpp"
    source.write_text("int f() { return undefined_name; }")
    with pytest.raises(BuildError, match="undefined_name"):
        build.compile_library("bad", [source])
    assert not [p for p in (tmp_path / "cache").iterdir() if p.name.startswith("bad")]


def test_a_missing_compiler_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HAWSE_BUILD", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    build.compiler.cache_clear()
    try:
        source = tmp_path / "one.cpp"
        source.write_text("")
        with pytest.raises(BuildError, match="no-such-compiler"):
            build.compile_library("one", [source])
    finally:
        build.compiler.cache_clear()


HARNESS = """
#include "keccak.hpp"
#include <cstring>
extern "C" __attribute__((visibility("default")))
void hash_all(const uint8_t *messages, size_t count, size_t blocks, uint8_t *out) {
    const uint8_t *each[hawse::KECCAK_LANES];
    hawse::Hash hashes[hawse::KECCAK_LANES];
    for (size_t i = 0; i < count; ++i)
        each[i] = messages + i * blocks * hawse::KECCAK_RATE;
    hawse::keccak256_blocks(each, count, blocks, hashes);
    std::memcpy(out, hashes, 32 * count);
}
"""


@pytest.mark.parametrize("width", [1, 4, 8])
def test_keccak_side_by_side(width, tmp_path, monkeypatch):
    monkeypatch.setenv("HAWSE_BUILD", str(tmp_path))
    source = tmp_path / "harness.cpp"
    source.write_text(HARNESS)
    keccak = build.HERE / "keccak.cpp"
    path = build.compile_library("harness", [source, keccak], [f"-DHAWSE_KECCAK_WIDTH={width}"])
    hash_all = ctypes.CDLL(str(path)).hash_all
    rng = np.random.default_rng(width)
    for count in range(1, 9):
        for blocks in (1, 3):
            texts = [rng.bytes(136 * blocks - 1 - int(rng.integers(136))) for _ in range(count)]
            padded = bytearray()
            for text in texts:
                padded += text + b"\x01" + bytes(136 * blocks - 1 - len(text))
                padded[-1] |= 0x80
            out = ctypes.create_string_buffer(32 * count)
            hash_all(bytes(padded), ctypes.c_size_t(count), ctypes.c_size_t(blocks), out)
            assert out.raw == b"".join(keccak256(t) for t in texts), (count, blocks)


def test_log_of_any_number_of_leaves():
    soft, golden = SoftBackend(SMALL), GoldenBackend(SMALL)
    for leaves in (*range(1, 10), 17):
        for extra in (-1, 0, 1):
            n = 64 * leaves + extra
            commands = np.zeros(n + 1, COMMAND)
            commands["seq"] = np.arange(n + 1) * 0x9E3779B9
            commands["price"] = np.arange(n + 1) * 7919
            commands["opcode"][-1] = Opcode.CLOSE
            assert soft.exchange(commands).tobytes() == golden.exchange(commands).tobytes(), n


@pytest.mark.parametrize("backend", [GoldenBackend, SoftBackend])
def test_commands_that_cannot_be_answered_are_refused(backend):
    engine = backend(SMALL)
    for wrong in (np.zeros(0, COMMAND), make(COMMAND, opcode=Opcode.NEW), np.zeros(2, REPORT)):
        with pytest.raises(ValueError, match="commands"):
            engine.exchange(wrong)
    assert split(engine.exchange(FENCE)).fences[0].commands == 0


def test_strided_commands_are_taken_as_they_read():
    commands = np.zeros(6, COMMAND)
    commands["opcode"] = Opcode.CANCEL, 99, Opcode.CANCEL, 99, Opcode.FENCE, 99
    commands["seq"] = np.arange(6)
    beats = split(SoftBackend(SMALL).exchange(commands[::2]))
    assert beats.records["seq"].tolist() == [0, 2]
    assert len(records(beats.records)) == 48


def test_a_closed_engine_says_so():
    engine = SoftBackend(SMALL)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.exchange(FENCE)
    with pytest.raises(EngineError, match="closed"):
        engine.reset(1)


def test_reset_forgets_everything():
    engine = SoftBackend(SMALL)
    fresh = engine.exchange(FENCE).tobytes()
    commands = np.concatenate(
        [
            make(COMMAND, opcode=Opcode.STATE, quantity=3, handle=512, token=64, price=5),
            make(COMMAND, opcode=Opcode.STATE, quantity=1),
            make(COMMAND, opcode=Opcode.NEW, price=10, quantity=1, seq=9),
            make(COMMAND, opcode=Opcode.HELLO),
        ]
    )
    first = engine.exchange(commands).tobytes()
    engine.reset(0)
    assert engine.exchange(FENCE).tobytes() == fresh
    engine.reset(0)
    assert engine.exchange(commands).tobytes() == first


def test_the_build_changes_with_the_content(tmp_path, monkeypatch):
    monkeypatch.setenv("HAWSE_BUILD", str(tmp_path))
    source = tmp_path / "made.cpp"
    seen = set()
    for content in ("", "// another"):
        source.write_text(
            f'{content}\n#include <cstdint>\nextern "C" __attribute__((visibility("default"))) '
            "const uint64_t made[] = {HAWSE_BUILD_LOW, HAWSE_BUILD_HIGH};"
        )
        path = build.compile_library("made", [source])
        made = bytes((ctypes.c_uint64 * 2).in_dll(ctypes.CDLL(str(path)), "made"))
        assert made.hex().startswith(path.stem.removeprefix("made-"))
        seen.add(made)
    assert len(seen) == 2


@pytest.mark.parametrize("size", [0, 1, 64, 65, 129, 135, 136, 137, 1537])
def test_keccak_of_rows(size):
    rng = np.random.default_rng(size)
    for count in (0, 1, 2, 3, 7, 8, 9, 17):
        rows = rng.integers(0, 256, (count, size), dtype=np.uint8)
        assert [h.tobytes() for h in keccak256_rows(rows)] == [keccak256(r.tobytes()) for r in rows]
        strided = keccak256_rows(np.repeat(rows, 2, axis=0)[::2])
        assert strided.tobytes() == keccak256_rows(rows).tobytes()
