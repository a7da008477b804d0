"""The demo's parts: processes started together and stopped together, whatever state they are in.

Each is the first of a process group of its own. A terminal's Ctrl-C so reaches the demo alone, and
each part is told once, by it: told twice at once, a server's process may wait for ever. What has
not gone when its time is over is killed with all that it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from types import FrameType

STOP_SECONDS = 5.0


class Parts:
    """Processes that run beside each other. Stop them in the end, however the end comes."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str], *, log: Path | None = None) -> None:
        """Start one more; what it says goes to a file, or else to where the demo's own words go."""
        with log.open("wb") if log else nullcontext() as said:
            self._processes.append(
                subprocess.Popen(
                    command,
                    env=self._environment,
                    cwd=self._folder,
                    process_group=0,
                    stdout=said,
                    stderr=said,
                )
            )

    @property
    def running(self) -> bool:
        """Whether all of them still run."""
        return all(process.poll() is None for process in self._processes)

    def stop(self, *, patience_seconds: float = STOP_SECONDS) -> None:
        """Ask all of them to go and wait; then kill what is left, and what that had started."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + patience_seconds
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def interrupt_on_every_ending() -> None:
    """Have a closed terminal and a plain kill raise KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, interrupt)


def finish_undisturbed() -> None:
    """Ignore any further wish to end: it is being granted."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
