import ctypes
import json
import shutil
import subprocess

import numpy as np
import pytest
from hawse.engine import EngineError, GoldenBackend, SoftBackend, split
from hawse.engine.native import build
from hawse.wire import (
    Geometry,
    Kind,
    SelfTrade,
    SequenceClass,
    Side,
    TimeInForce,
    cheader,
    dtypes,
    schema,
    vectors,
)

VECTORS = json.loads(vectors.PATH.read_text())


@pytest.mark.parametrize("struct", schema.STRUCTS, ids=lambda s: s.name)
def test_fields_ascend_aligned_without_overlap(struct):
    end = 0
    for field in struct.fields:
        assert field.offset >= end, field.name
        assert field.offset % field.bytes == 0, field.name
        end = field.offset + field.bytes
        assert all(lsb >= 0 and lsb + width <= 8 * field.bytes for _, lsb, width in field.bits)
    assert end <= struct.size
    assert struct.size % 8 == 0


@pytest.mark.parametrize("struct", schema.STRUCTS, ids=lambda s: s.name)
def test_dtypes_agree_with_schema(struct):
    dtype = getattr(dtypes, struct.name.upper())
    assert dtype.itemsize == struct.size
    assert list(dtype.names) == [f.name for f in struct.fields]
    for field in struct.fields:
        kind, offset = dtype.fields[field.name]
        assert (offset, kind.itemsize, kind.kind) == (field.offset, field.bytes, "ui"[field.signed])


def test_layouts_agree_with_schema():
    layouts = pytest.importorskip("hawse_hdl.layouts")
    for struct in schema.STRUCTS:
        if not hasattr(layouts, struct.name.upper()):
            continue
        layout = getattr(layouts, struct.name.upper())
        assert layout.size == 8 * struct.size
        rng = np.random.default_rng(1)
        row = np.frombuffer(rng.bytes(struct.size), getattr(dtypes, struct.name.upper()))
        constant = layout.from_bits(int.from_bytes(row.tobytes(), "little"))
        for field in struct.fields:
            got = constant[field.name]
            if field.bits:
                for name, lsb, width in field.bits:
                    assert got[name] == int(row[field.name][0]) >> lsb & (1 << width) - 1
            else:
                assert got == row[field.name][0], field.name


@pytest.mark.parametrize("struct", schema.STRUCTS, ids=lambda s: s.name)
def test_c_header_agrees_with_schema(struct, tmp_path, monkeypatch):
    monkeypatch.setenv("HAWSE_BUILD", str(tmp_path))
    rows = ",".join(
        f"offsetof(hawse_{struct.name}, {f.name}), sizeof(hawse_{struct.name}::{f.name}),"
        f" std::is_signed<decltype(hawse_{struct.name}::{f.name})>::value"
        for f in struct.fields
    )
    source = tmp_path / "offsets.cpp"
    source.write_text(
        '#include <cstddef>\n#include <type_traits>\n#include "hawse_wire.h"\n'
        f'extern "C" __attribute__((visibility("default"))) const size_t offsets[] = {{{rows}}};\n'
    )
    library = ctypes.CDLL(str(build.compile_library(f"offsets_{struct.name}", [source], ["-O0"])))
    got = list((ctypes.c_size_t * (3 * len(struct.fields))).in_dll(library, "offsets"))
    assert got == [n for f in struct.fields for n in (f.offset, f.bytes, f.signed)]


def test_c_header_enums_and_c11(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.skip("no C compiler")
    checks = [
        f'_Static_assert(HAWSE_{cheader._snake(e.__name__).upper()}_{m.name} == {m.value}, "{m}");'
        for e in schema.ENUMS
        for m in e
    ]
    checks.append(f'_Static_assert(HAWSE_NULL_HANDLE == {schema.NULL_HANDLE}u, "null handle");')
    (tmp_path / "hawse_wire.h").write_text(cheader.header())
    source = tmp_path / "check.c"
    source.write_text('#include "hawse_wire.h"\n' + "\n".join(checks))
    done = subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Werror", "-fsyntax-only", str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr


def test_flags_byte_is_where_the_schema_says():
    bits = {name: (lsb, width) for name, lsb, width in schema.COMMAND.fields[1].bits}
    for side in Side:
        for tif in TimeInForce:
            for mode in SelfTrade:
                for origin in SequenceClass:
                    byte = dtypes.flags(side, tif, mode, origin)
                    for name, value in (
                        ("side", side),
                        ("time_in_force", tif),
                        ("self_trade", mode),
                        ("sequence_class", origin),
                    ):
                        lsb, width = bits[name]
                        assert byte >> lsb & (1 << width) - 1 == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("instruments", 0),
        ("instruments", 65535),
        ("pool", 0),
        ("pool", 512),
        ("pool", 3000),
        ("pool", 1 << 19),
        ("orders", 32),
        ("orders", 96),
        ("orders", 131072),
        ("tag_bits", 0),
        ("tag_bits", 17),
    ],
)
def test_geometry_names_the_wrong_field(field, value):
    with pytest.raises(ValueError, match=rf"{field}: {value} is not "):
        Geometry(**{field: value})


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [("instruments", 1, 65534), ("pool", 1024, 1 << 18), ("orders", 64, 1 << 16), ("tag_bits", 1, 16)],
)
def test_geometry_takes_both_ends(field, least, most):
    for value in (least, most):
        assert getattr(Geometry(**{field: value}), field) == value


@pytest.mark.parametrize("backend", [GoldenBackend, SoftBackend])
def test_session_vectors(backend):
    """The session that was written down by hand from the rules, command by command and in one piece."""
    log = VECTORS["session_log"]
    commands = np.frombuffer(
        bytes.fromhex("".join(step["command"] for step in VECTORS["session"])), dtypes.COMMAND
    )
    engine = backend(Geometry(*vectors.GEOMETRY))
    engine.reset(log["epoch"])
    whole = split(engine.exchange(commands))
    assert [f.digest.hex() for f in whole.fences] == log["digests"]
    assert [f.records for f in whole.fences] == log["fences"]
    assert [f.commands for f in whole.fences] == [29, 41]
    assert [f.token for f in whole.fences] == [0xABCD, 3]
    assert [(b.root.hex(), b.leaves, b.token) for b in whole.batches] == [(log["root"], log["leaves"], 3)]

    engine.reset(log["epoch"])
    hello = dtypes.make(dtypes.COMMAND, opcode=schema.Opcode.HELLO)
    for row, step in zip(commands, VECTORS["session"], strict=True):
        beats = split(engine.exchange(np.concatenate([row.reshape(1), hello])))
        assert dtypes.records(beats.records).hex() == "".join(step["records"]), step
        assert beats.hellos["last_seq"][0] == row["seq"]


def test_session_vectors_show_every_reason_of_an_engine():
    records = np.frombuffer(
        bytes.fromhex("".join(r for step in VECTORS["session"] for r in step["records"])), np.uint8
    ).reshape(-1, 24)
    shown = {kind: {int(r) for k, r in records[:, :2] if k & 15 == kind} for kind in Kind}
    assert shown[Kind.REJECTED] == set(range(1, 13))
    assert shown[Kind.CANCELLED] == set(range(48, 54))


def test_the_vectors_are_those_of_their_program():
    assert vectors.vectors() == VECTORS


def test_split_does_not_mistake_a_hash_for_a_report():
    beats = np.zeros(8, dtypes.BEAT)
    beats["bytes"][0, 0] = Kind.FENCE
    beats["bytes"][1] = Kind.BATCH  # a digest that looks like one
    beats["bytes"][2, 0] = Kind.BATCH
    beats["bytes"][3] = Kind.TRADE
    beats["bytes"][4, 0] = Kind.TRADE
    beats["bytes"][5, 0] = Kind.HELLO
    beats["bytes"][6] = Kind.HELLO  # its second beat
    beats["bytes"][7, 0] = Kind.RESTING
    parts = split(beats)
    assert (len(parts.fences), len(parts.batches), len(parts.records), len(parts.hellos)) == (1, 1, 1, 1)
    assert (len(parts.builds), len(parts.resting)) == (1, 1)
    assert parts.builds["build_high"][0] == int.from_bytes(bytes([Kind.HELLO] * 8), "little")
    assert parts.fences[0].digest == bytes([Kind.BATCH] * 32)


@pytest.mark.parametrize("kind", [Kind.FENCE, Kind.BATCH, Kind.HELLO])
def test_a_report_of_two_beats_without_its_second(kind):
    beats = np.zeros(2, dtypes.BEAT)
    beats["bytes"][1, 0] = kind
    with pytest.raises(EngineError, match=f"beat 1: {kind.name} without"):
        split(beats)


@pytest.mark.parametrize("kind", [5, 7, Kind.BOARD, 13, 15])
def test_kinds_that_no_engine_sends(kind):
    beats = np.zeros(2, dtypes.BEAT)
    beats["bytes"][1, 0] = kind
    with pytest.raises(EngineError, match=f"beat 1: kind {int(kind)}"):
        split(beats)


def test_split_of_any_bytes_is_refused_or_complete():
    """Flipped and cut runs of beats: every beat is accounted for, or the first that cannot be is named."""
    rng = np.random.default_rng(8)
    whole = np.frombuffer(
        bytes.fromhex("".join(step["command"] for step in VECTORS["session"])), dtypes.COMMAND
    )
    good = SoftBackend(Geometry(*vectors.GEOMETRY)).exchange(whole)
    refused = 0
    for _ in range(300):
        beats = good[: rng.integers(1, len(good) + 1)].copy()
        beats["bytes"][rng.integers(len(beats)), rng.integers(32)] ^= 1 << rng.integers(8)
        try:
            parts = split(beats)
        except EngineError as error:
            refused += str(error).startswith("beat ")
            continue
        two = len(parts.fences) + len(parts.batches) + len(parts.hellos)
        assert len(parts.records) + len(parts.resting) + 2 * two == len(beats)
    assert refused
