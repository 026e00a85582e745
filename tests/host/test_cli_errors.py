"""What is wrong with a command's words or files is a sentence, and with ``--json`` an object."""

import json
import os
import socket
import subprocess
import sys
from functools import partial

import pytest
from click.testing import CliRunner
from hawse.cli import main
from hawse.journal import Journal
from support.venue_process import CONFIG

VENUE = """
[geometry]
instruments = 1
[[instruments]]
number = 0
name = "x"
numerator = 1
denominator = 1
initial_margin_ppm = 1
maker_fee_ppm = 0
taker_fee_ppm = 0
count = 64
base = 0
first_mark = 1
"""


def keys(tmp_path, **more):
    """A command that writes to standard output, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hawse.cli", "keys", "list", "--keys", tmp_path, "--json"],
        **{"stdout": subprocess.PIPE} | more,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


def dead_node():
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "run" / "journal").mkdir(parents=True)
    (tmp_path / "run" / "journal" / "segment-0000000000").write_bytes(b"")
    known = {"rpc": dead_node(), "contract": "11" * 20}
    (tmp_path / "run" / "run.json").write_text(json.dumps(known))
    for name, text in (("half", '{"rpc": "http'), ("number", '{"rpc": 5, "contract": "x"}'), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    for name, old, new in (
        ("name", 'name = "x"', "name = 5"),
        ("fee", "taker_fee_ppm = 0", "taker_fee_ppm = 1.5"),
        ("bool", "count = 64", "count = true"),
        ("unknown", "count = 64", "count = 64\nlevels = 3"),
        ("operator", "[geometry]", 'operator = "me"\n[geometry]'),
        ("geometry", "[geometry]\ninstruments = 1", "geometry = 7"),
    ):
        (tmp_path / f"{name}.toml").write_text(VENUE.replace(old, new))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    return tmp_path


CASES = [
    (["replay", "run"], "its journal is"),
    (["replay", "half"], "does not exist"),
    (["board", "virtual", "--tcp", "99999"], "99999 is no port"),
    (["run", "v", "--config", "name.toml"], "Expected `str`, got `int` - at `$.name`"),
    (["run", "v", "--config", "fee.toml"], "Expected `int`, got `float` - at `$.taker_fee_ppm`"),
    (["run", "v", "--config", "bool.toml"], "Expected `int`, got `bool` - at `$.count`"),
    (["run", "v", "--config", "unknown.toml"], "no field levels"),
    (["run", "v", "--config", "operator.toml"], "operator: not for this file"),
    (["run", "v", "--config", "geometry.toml"], "geometry: Expected `object`, got `int`"),
    (["run", "v", "--config", "binary.toml"], "binary.toml"),
    (["run", "v", "--config", "none.toml"], "No such file"),
    (["run", "half"], "run.json: "),
    (["run", "number"], "Expected `str`, got `int` - at `$.rpc`"),
    (["run", "list"], "run.json: Expected `object`, got `array`"),
    (["run", "run.json/x"], "Not a directory"),
    (["verify", "run"], "ConnectionLostError: settlement"),
    (["verify", "half"], "run.json: "),
    (["verify", "number", "--rpc", "http://127.0.0.1:9"], "run.json: "),
    (["replay", "run/journal", "--engine", "/dev/null@abc"], "'abc' is no baud rate"),
    (["status", "run", "--account", "1", "--client-id", "2"], "outcomes.db does not exist"),
    (["status", "run", "--account", "-1", "--client-id", "2"], "--account"),
    (["nonsense"], "No such command"),
    (["keys", "show", "nobody", "--keys", "keys"], "nobody"),
]


@pytest.mark.parametrize(("words", "says"), CASES, ids=lambda value: " ".join(value)[:40].replace("/", "_"))
def test_a_wrong_word_is_a_sentence_and_an_object_with_json(place, words, says, monkeypatch):
    monkeypatch.chdir(place)
    (place / "run.json").write_text("a file where a directory should be")
    if "/dev/null@abc" in words:
        (place / "run" / "journal" / "segment-0000000000").unlink()
        Journal(place / "run" / "journal", CONFIG.encode()).close()
    plain, told = (CliRunner().invoke(main, [*words, *more]) for more in ([], ["--json"]))
    # Whatever is not told of is no exit, and would be a traceback.
    assert isinstance(plain.exception, SystemExit) and isinstance(told.exception, SystemExit), plain.exception
    assert plain.exit_code in (1, 2) and plain.stdout == ""
    assert says in " ".join(plain.stderr.split()), plain.stderr
    error = json.loads(told.stdout)
    assert error["error"] and error["exit_code"] == told.exit_code == plain.exit_code
    assert says in " ".join(error["message"].split())


def test_closed_streams_are_told_of(tmp_path):
    for fd, name in ((0, "stdin"), (1, "stdout")):
        done = keys(tmp_path, preexec_fn=partial(os.close, fd))
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert f"{name} is closed" in done.stdout + done.stderr
    done = keys(tmp_path, preexec_fn=partial(os.close, 2))
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    read, write = os.pipe()
    os.close(read)
    done = keys(tmp_path, stdout=write)
    os.close(write)
    assert done.returncode == 1 and done.stderr.startswith("Error: standard output was closed"), done.stderr
