"""What a build is at: a bar on a terminal, nothing in a pipe, and work beside it."""

import os
import pty
import re
import subprocess
import sys

import pytest
from hawse_sim.stages import SHARES, Stages

BUILD = """
import time
from hawse_sim.stages import SHARES, Stages
with Stages("Appliance", lambda: print("beside")) as stage:
    for name in SHARES:
        stage(name)
        time.sleep(0.25)
"""


def test_a_terminal_is_shown_each_stage():
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", BUILD], stderr=theirs, stdout=subprocess.PIPE, env=environment, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    found = [name for name in SHARES if f"Appliance: {name}" in re.sub(r"\x1b\[[0-9;?]*\w", "", shown)]
    assert found == list(SHARES) and "━" in shown
    assert done.stdout == b"beside\n"


def test_a_pipe_is_shown_nothing():
    done = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"beside\n", b"")


def test_what_is_beside_is_done_once_and_only_if_there_is_a_build():
    count = []
    with Stages("x", lambda: count.append(1)) as stage:
        stage("elaborating")
        stage("finishing")
    with Stages("x", lambda: count.append(1)):
        pass
    assert count == [1]
    with pytest.raises(ValueError, match="nonsense"), Stages("x", list) as stage:
        stage("nonsense")
