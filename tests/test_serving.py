"""The production server ends when it is told to, however often and by whomever it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import children
from tests.servers import ROOT

#: Counts how often it is told, for a moment after the first time.
COUNTING = """
import pathlib, signal, time
told = []
for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(ending, lambda number, _: told.append(number))
pathlib.Path("ready").touch()
while not told:
    time.sleep(0.01)
time.sleep(0.3)
pathlib.Path("told").write_text(" ".join(map(str, told)))
"""
DEAF = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
pathlib.Path("ready").touch()
time.sleep(60)
"""
GONE = """
import os, pathlib, sys, time
if os.fork() == 0:
    time.sleep(60)
pathlib.Path("ready").touch()
time.sleep(0.3)
sys.exit(3)
"""

Started = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    processes = []

    def start(program: str) -> subprocess.Popen[bytes]:
        stop_once = str(ROOT / "scripts" / "stop_once.py")
        command = [sys.executable, stop_once, "0.5", sys.executable, "-S", "-c", program]
        processes.append(subprocess.Popen(command, cwd=tmp_path, start_new_session=True))
        deadline = time.monotonic() + 20
        while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return processes[0]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def _have_ended(pids: list[int]) -> bool:
    """Tell whether all have; one that is dying is waited for."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not any(_runs(pid) for pid in pids):
            return True
        time.sleep(0.01)
    return False


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_told_many_times_it_tells_the_server_once(started: Started, tmp_path: Path) -> None:
    process = started(COUNTING)
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        os.killpg(process.pid, ending)
    assert process.wait(10) == 0
    assert (tmp_path / "told").read_text() == str(int(signal.SIGTERM))


def test_what_does_not_end_is_killed_with_all_that_it_started(started: Started) -> None:
    process = started(DEAF)
    below = children(process.pid)
    assert len(below) == 2
    process.terminate()
    assert process.wait(10) == 0
    assert _have_ended(below)


def test_a_server_that_ends_by_itself_is_reported_and_leaves_nothing(started: Started) -> None:
    process = started(GONE)
    below = children(process.pid)
    assert process.wait(10) == 3
    assert _have_ended(below)
