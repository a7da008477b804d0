"""The demo leaves nothing behind, however it is stopped."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from demo.parts import Parts

#: Starts another process and, like it, does not go when asked to.
STUBBORN = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    pathlib.Path("child.new").write_text(str(child))
    os.rename("child.new", "child")
time.sleep(60)
"""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path, dict(os.environ))
    yield parts
    parts.stop(patience_seconds=0)


def _is_alive(pid: int) -> bool:
    """Tell whether a process still runs; one that waits to be buried does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _wait_for(file: Path) -> str:
    deadline = time.monotonic() + 20
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return file.read_text()


def test_a_part_that_will_not_stop_is_killed_with_what_it_started(
    parts: Parts, tmp_path: Path
) -> None:
    parts.start([sys.executable, "-S", "-c", STUBBORN])
    child = int(_wait_for(tmp_path / "child"))
    parts.stop(patience_seconds=0.1)
    deadline = time.monotonic() + 5
    while _is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_alive(child)
    assert not parts.running


def test_a_terminal_s_interrupt_does_not_reach_the_parts(parts: Parts, tmp_path: Path) -> None:
    tell = "import os, pathlib; pathlib.Path('group').write_text(f'{os.getpgrp()} {os.getpid()}')"
    parts.start([sys.executable, "-S", "-c", tell])
    parts.start(["sleep", "60"])
    group, pid = _wait_for(tmp_path / "group").split() or ("", "")
    assert group == pid


def test_what_a_part_says_can_go_to_a_file(parts: Parts, tmp_path: Path) -> None:
    tell = "import sys; print('out'); print('err', file=sys.stderr)"
    parts.start([sys.executable, "-S", "-u", "-c", tell], log=tmp_path / "log")
    deadline = time.monotonic() + 20
    while parts.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "log").read_text() == "out\nerr\n"
