"""Watching a process's system calls with strace, and killing it at a chosen one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest

#: Whatever changes a file or tells somebody something.
CALLS = (
    "write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fsync", "fdatasync",
    "unlink", "unlinkat", "rename", "renameat2", "sendto", "sendmsg",
)  # fmt: skip
MISSING = "strace is not installed: apt-get install strace"


@lru_cache
def why_not() -> str:
    """Return why processes cannot be traced here, or nothing."""
    if shutil.which("strace") is None:
        return MISSING
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    command = ["strace", "-p", str(child.pid), "-o", os.devnull]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        child.communicate(b"\n")
        tracer.communicate()
    return "" if "attached" in said else f"strace may not trace processes here: {said.strip()}"


def needed() -> None:
    """Skip the test where nothing can be traced."""
    if why_not():
        pytest.skip(why_not())


@contextmanager
def attached(pid: int, log: Path, *, kill_at: tuple[str, int] | None = None) -> Iterator[None]:
    """Write the calls of one thread to ``log``; kill it as it begins the n-th call of a name."""
    names = ",".join(CALLS)
    command = ["strace", "-p", str(pid), "-o", str(log), "-e", f"trace={names}"]
    if kill_at is not None:
        command += ["-e", f"inject={kill_at[0]}:signal=SIGKILL:when={kill_at[1]}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, said
        yield
        tracer.communicate()


@contextmanager
def watched(pids: list[int], log: Path) -> Iterator[None]:
    """Write the calls of every thread of some processes to ``log``, with the files they are on."""
    names = ",".join(CALLS)
    command = ["strace", "-f", "-y", "-s", "64", "-o", str(log), "-e", f"trace={names}"]
    for pid in pids:
        command += ["-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        for _ in pids:
            said = tracer.stderr.readline()
            assert "attached" in said, said
        yield
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()


def made(log: Path) -> list[str]:
    """Return the names of the calls in a log, in their order."""
    lines = log.read_text(errors="replace").splitlines()
    return [found[1] for line in lines if (found := re.match(r"(\w+)\(", line))]


def points(calls: list[str], *, most: int) -> list[tuple[str, int]]:
    """Return where to kill: each call by its name and its place among those of that name.

    At most so many, spread evenly, but always the last ones: there the act is committed and told.
    """
    counted: dict[str, int] = {}
    every = []
    for name in calls:
        counted[name] = counted.get(name, 0) + 1
        every.append((name, counted[name]))
    last = every[-6:]
    rest, left = every[:-6], most - len(last)
    if len(rest) > left:
        rest = [rest[place * len(rest) // left] for place in range(left)]
    return rest + last
