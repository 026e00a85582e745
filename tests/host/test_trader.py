"""``docs/trader.md``, as a newcomer types it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.live import free_port

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "trader.md"


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A directory in which somebody did what the page says, and what was said to him."""
    folder = tmp_path_factory.mktemp("trader")
    (folder / "examples").symlink_to(ROOT / "examples")
    # A port of its own, so that nothing else of this machine is in the way.
    text = TUTORIAL.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{free_port()}")
    activate, *blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert activate.startswith(". .venv")
    end = blocks.pop()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-euc", "\n".join(blocks)],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode() + (folder / "trial" / "errors").read_text()
        assert "Traceback" not in errors.decode() + (folder / "trial" / "errors").read_text()
        yield folder / "trial", out.decode()
        subprocess.run(["bash", "-euc", end], cwd=folder, env=os.environ | {"PATH": path}, check=True)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_the_page_leads_from_nothing_to_orders_by_curl_and_by_the_client(followed):
    trial, out = followed
    told = [json.loads(line) for line in (trial / "told.jsonl").read_text().splitlines()]
    trades = [line for line in told if line.get("event") == "trade"]
    assert [(t["account"], t["role"], t["price"]) for t in trades[:2]] == [
        (2, "taker", 78_000),
        (1, "maker", 78_000),
    ]
    assert '"event":"ack"' in out and '"code":"nonce_used"' in out
    assert '"bids":[],"asks":[[78000,1000000]]' in out
    assert re.search(r"^trade 78000 1000000 1$", out, re.MULTILINE)
    assert "'size': 1000000" in out and "4 trades; equity" in out and " lots held" in out
    assert "has signed that the command of 0x" in out and "refused, nonce_used" in out
    # Told once, though the host was killed; and the maker left nothing in the book.
    places = [(line["slot"], line["line"]) for line in told if "slot" in line]
    assert places == sorted(set(places))
    assert [line["event"] for line in told if line.get("kind") == "register"] == ["accepted"]
    assert re.search(r"order \d+ of generation \d+: filled, 1000000 of 1000000 lots", out)


def test_an_agent_is_appointed_for_the_browser(followed):
    trial, out = followed
    told = [json.loads(line) for line in (trial / "told.jsonl").read_text().splitlines()]
    assert any(line.get("kind") == "appoint" and line["event"] == "accepted" for line in told)
    key = (trial / "agent.key").read_text().strip()
    assert re.fullmatch("0x[0-9a-f]{64}", key) and key not in out
