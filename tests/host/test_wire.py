import ctypes
import json
import shutil
import subprocess

import numpy as np
import pytest
from hawse.engine import GoldenBackend, SoftBackend, split
from hawse.engine.native import build
from hawse.wire import Geometry, Kind, SelfTrade, Side, TimeInForce, cheader, dtypes, schema, vectors

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
                byte = dtypes.flags(side, tif, mode)
                for name, value in (
                    ("side", side),
                    ("time_in_force", tif),
                    ("self_trade", mode),
                    ("zero", 0),
                ):
                    lsb, width = bits[name]
                    assert byte >> lsb & (1 << width) - 1 == value


@pytest.mark.parametrize(
    ("field", "value"),
    [("instruments", 0), ("instruments", 65535), ("levels", 512), ("levels", 3000), ("orders", 131072)],
)
def test_geometry_names_the_wrong_field(field, value):
    with pytest.raises(ValueError, match=field):
        Geometry(**{field: value})


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
    assert [f.commands for f in whole.fences] == [20, 28]
    assert [(b.root.hex(), b.leaves, b.tag) for b in whole.batches] == [(log["root"], log["leaves"], 3)]

    engine.reset(log["epoch"])
    hello = dtypes.make(dtypes.COMMAND, opcode=schema.Opcode.HELLO)
    for row, step in zip(commands, VECTORS["session"], strict=True):
        beats = split(engine.exchange(np.concatenate([row.reshape(1), hello])))
        assert dtypes.records(beats.records).hex() == "".join(step["records"]), step
        assert beats.hellos["last_seq"][0] == row["seq"]


def test_split_does_not_mistake_a_hash_for_a_report():
    beats = np.zeros(6, dtypes.BEAT)
    beats["bytes"][0, 0] = Kind.FENCE
    beats["bytes"][1] = Kind.BATCH  # a digest that looks like one
    beats["bytes"][2, 0] = Kind.BATCH
    beats["bytes"][3] = Kind.TRADE
    beats["bytes"][4, 0] = Kind.TRADE
    beats["bytes"][5, 0] = Kind.HELLO
    parts = split(beats)
    assert (len(parts.fences), len(parts.batches), len(parts.records), len(parts.hellos)) == (1, 1, 1, 1)
    assert parts.fences[0].digest == bytes([Kind.BATCH] * 32)
