"""Run a command until told to stop, and tell it once: stop_once.py SECONDS COMMAND …

A terminal, make and a service manager each tell every process that they know of, and a server tells
its own processes again. Told twice at the same moment, the server's processes may wait for ever. So
the command runs in a process group of its own, is told once, and what is left of it SECONDS later,
or when it ends by itself, is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Told(Exception):
    """Somebody wants this to end."""


class Ears:
    """Remembers that it was told to stop; raises Told at the first time, once it may."""

    def __init__(self) -> None:
        self._times = 0
        self._may_raise = False
        for ending in ENDINGS:
            signal.signal(ending, self._hear)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self._times += 1
        if self._may_raise and self._times == 1:
            raise Told

    def listen(self) -> None:
        """Raise Told from now on, and at once where it has been told."""
        self._may_raise = True
        if self._times:
            raise Told


def main() -> int:
    """Return the command's exit status, 0 where it was told to stop."""
    patience_seconds, command = float(sys.argv[1]), sys.argv[2:]
    ears = Ears()
    process = subprocess.Popen(command, process_group=0)  # noqa: S603 # scripts/serve names it
    try:
        ears.listen()
        return process.wait()
    except Told:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_seconds)
        return 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
