"""A venue as a service: what the files in deploy name is there, and what hawse doctor says of faults."""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner
from hawse.cli import doctor, main
from hawse.cli.run import DEFAULT_CONFIG, load_config, run, run_table
from hawse.gateway.metrics import metrics
from hawse.gateway.shapes import Latency, Status
from support.live import free_port

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
UNIT = (DEPLOY / "hawse.service").read_text()


def unit():
    found = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    found.optionxform = str
    found.read_string(UNIT)
    return found["Service"]


def served():
    """Names of what the gateway gives to Prometheus."""
    told = dict.fromkeys(Status.__struct_fields__, 0) | {"waits": "", "latency": Latency(0, 0, 0, 0)}
    status = Status(**told)
    return set(re.findall(r"^# TYPE (\w+)", metrics(status).decode(), re.M))


def test_the_unit_starts_what_there_is_and_sandboxes_it(tmp_path):
    service = unit()
    for line in (service["ExecStart"], service["ExecStartPre"]):
        program, command, *options = line.split()
        assert program == "/opt/hawse/bin/hawse"
        given = [option for option in options if option.startswith("--")]
        known = {opt for param in main.get_command(None, command).params for opt in param.opts}
        assert given == ["--config"] and {*given} <= known
    assert (service["User"], service["Type"], service["ProtectSystem"]) == ("hawse", "notify", "strict")
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: the rest is not looked at")
    one = tmp_path / "hawse.service"
    one.write_text(UNIT.replace("/opt/hawse/bin/hawse", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", one], capture_output=True, text=True, check=False)
    assert "hawse.service" not in done.stderr, done.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", one]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_configuration_of_the_service_is_the_venue_of_hawse_run():
    config = DEPLOY / "hawse.toml"
    assert load_config(config, bytes(20)) == load_config(DEFAULT_CONFIG, bytes(20))
    given = run_table(config)
    assert given["directory"].startswith("/var/lib/hawse/") and given["http"].startswith("127.0.0.1:")
    # What stands there as a comment is an option, too.
    commented = re.findall(r"^# (\w+) = ", config.read_text().partition("[run]")[2], re.M)
    assert {"rpc", "contract", "operator", "itch"} <= {*commented}
    options = {param.name for param in run.params}
    assert {*commented} <= options


def test_alerts_and_dashboard_name_what_is_served_and_where_help_is():
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    headings = re.findall(r"^#+ (.*)$", (CHECKOUT / "docs/operator.md").read_text(), re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    known = served()
    for rule in rules:
        names = set(re.findall(r"\bhawse_\w+", rule["expr"]))
        assert names <= known and (names or "up{" in rule["expr"]), rule
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operator.md" and anchor in anchors, anchor
    panels = json.loads((DEPLOY / "dashboard.json").read_text())["panels"]
    shown = {n for p in panels for t in p["targets"] for n in re.findall(r"hawse_\w+", t["expr"])}
    assert shown <= known and known - shown <= {"hawse_slot_time", "hawse_batch"}
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_container_takes_what_the_checkout_has():
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        word, *parts = line.split()[:10] or [""]
        if word == "COPY" and not parts[0].startswith("--from"):
            assert all((CHECKOUT / part).exists() for part in parts[:-1]), line
    assert re.search(r"^USER hawse$", text, re.M)
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.M)
    given = [word for word in json.loads(command) if word.startswith("--")]
    assert {*given} <= {opt for param in run.params for opt in param.opts}


def toml(folder, **options):
    """A configuration of a venue below a folder."""
    given = {"directory": str(folder / "venue"), "http": f"127.0.0.1:{free_port()}"} | options
    table = "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items())
    path = folder / "hawse.toml"
    path.write_text(DEFAULT_CONFIG.read_text() + "\n[run]\n" + table)
    return path


def look(config, *options):
    done = CliRunner().invoke(main, ["doctor", "--config", str(config), "--json", *map(str, options)])
    assert done.exit_code in (0, 1), done.output
    found = {one["what"]: one for one in json.loads(done.stdout.partition("\n]")[0] + "\n]")}
    assert done.exit_code == any(one["verdict"] == "wrong" for one in found.values())
    return found


def no_writable_code():
    """As MemoryDenyWriteExecute has it, where the kernel knows it."""
    ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A venue that ran as the unit has it, what it told systemd, and what the doctor said meanwhile."""
    folder = tmp_path_factory.mktemp("service")
    config = toml(folder, slot_ms=5)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(folder / "notify"))
        notify.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-m", "hawse.cli", "run", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify")},
            preexec_fn=no_writable_code,  # noqa: PLW1509 - nothing runs beside it
        )
        try:
            words = [notify.recv(100)]
            found = look(config)
        finally:
            process.send_signal(signal.SIGTERM)
        words.append(notify.recv(100))
        assert process.wait(60) == 0, process.stderr.read()
    pid = json.loads((folder / "venue" / "run.json").read_text())["pid"]
    yield SimpleNamespace(folder=folder, config=config, words=words, found=found, pid=pid)
    os.kill(pid, signal.SIGTERM)


def test_a_service_says_when_it_is_ready_and_when_it_stops(kept):
    assert kept.words == [b"READY=1", b"STOPPING=1"]
    names = {"configuration", "engine", "room", "sync", "journal", "outcomes", "chain", "gateway"}
    assert kept.found.keys() == names
    assert {one["verdict"] for one in kept.found.values()} <= {"ok", "look"}
    assert kept.found["gateway"]["verdict"] == kept.found["chain"]["verdict"] == "ok"


def test_a_host_that_has_ended_is_seen(kept):
    found = look(kept.config)
    assert found["gateway"]["verdict"] == "look" and "systemctl start" in found["gateway"]["do"]
    assert found["journal"]["verdict"] == found["outcomes"]["verdict"] == "ok"
    assert CliRunner().invoke(main, ["doctor", "--config", str(kept.config)]).output.count("→") >= 1


@pytest.fixture
def copy(kept, tmp_path):
    shutil.copytree(kept.folder / "venue", tmp_path / "venue")
    return toml(tmp_path)


def test_a_damaged_journal_is_seen(copy):
    segment = max((copy.parent / "venue/journal").glob("*"), key=lambda p: (p.is_file(), p.stat().st_size))
    data = bytearray(segment.read_bytes())
    data[len(data) // 3] ^= 1
    segment.write_bytes(data)
    found = look(copy)
    assert found["journal"]["verdict"] == "wrong" and "hawse verify" in found["journal"]["do"]


def test_outcomes_that_are_gone_are_made_anew(copy):
    (copy.parent / "venue/outcomes.db").write_bytes(b"nothing")
    found = look(copy)
    assert found["outcomes"]["verdict"] == "look" and "anew" in found["outcomes"]["do"]


def test_a_chain_that_is_away_is_seen(copy):
    run_json = copy.parent / "venue/run.json"
    told = json.loads(run_json.read_text()) | {"rpc": f"http://127.0.0.1:{free_port()}"}
    run_json.write_text(json.dumps(told))
    found = look(copy)
    assert found["chain"]["verdict"] == "wrong" and "embedded chain" in found["chain"]["do"]


def test_a_clock_that_is_behind_is_seen(copy, monkeypatch):
    monkeypatch.setattr(doctor.time, "time", lambda: 1_700_000_000.0)
    assert look(copy)["clock"]["verdict"] == "look"


@pytest.mark.parametrize(("free", "verdict"), [(1 << 20, "wrong"), (1 << 30, "look"), (1 << 40, "ok")])
def test_room_is_told(tmp_path, monkeypatch, free, verdict):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert look(toml(tmp_path))["room"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("options", "what", "says"),
    [
        ({"engine": "/dev/no-such-board"}, "engine", "cannot be opened"),
        ({"engine": "socket://127.0.0.1:9"}, "engine", "not opened"),
        ({"engine": "abacus"}, "engine", "abacus"),
    ],
)
def test_an_engine_is_looked_for(tmp_path, options, what, says):
    assert says in look(toml(tmp_path, **options))[what]["seen"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("[run]\npassword = 'x'\n", "no field password"), ("run = 1\n", "not a table"), ("[", "hawse.toml")],
)
def test_a_file_that_is_none_is_refused_before_anything_begins(tmp_path, text, says):
    path = tmp_path / "hawse.toml"
    path.write_text(text)
    for command in (["run", str(tmp_path / "venue")], ["doctor"]):
        done = CliRunner().invoke(main, [*command, "--config", str(path)])
        assert done.exit_code == 2 and says in done.output, done.output
    assert not (tmp_path / "venue").exists()


def test_the_command_line_goes_before_the_file(tmp_path):
    config = toml(tmp_path, slot_ms=0)
    done = CliRunner().invoke(main, ["run", "--config", str(config)])
    assert done.exit_code == 2 and "slot-ms" in done.output  # the file's 0 is out of range
    config = toml(tmp_path, engine="abacus")
    done = CliRunner().invoke(main, ["run", "--config", str(config), "--engine", "sundial"])
    assert "sundial" in done.output and "abacus" not in done.output
