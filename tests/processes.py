"""Processes as the kernel lists them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did."""
    found = []
    # A thread, or a whole process, may end while it is looked at.
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            started = ""
            with suppress(FileNotFoundError, ProcessLookupError):
                started = (task / "children").read_text()
            for child in map(int, started.split()):
                found += [child, *children(child)]
    return found
