"""Reading a trace of system calls: was all that an answer tells of on the disk before it left?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_BEGUN = re.compile(r"(\d+)\s+(\w+)\((?:\d+<([^>]*)>)?(.*)")
_RESUMED = re.compile(r"(\d+)\s+<\.\.\. (\w+) resumed>.*= 0$")
_ANSWER = re.compile(r"HTTP/1\.1 (\d{3})")
_CHANGES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate"}
_SYNCS = {"fsync", "fdatasync"}
_SENDS = {"write", "writev", "sendto", "sendmsg"}


@dataclass(frozen=True)
class Told:
    """An answer that left: its status, the syncs since the last one, the files not yet synced."""

    status: int
    syncs: int
    at_risk: frozenset[str]


@dataclass
class _Disk:
    """How often each file was changed, and how many of its changes are safe."""

    changes: dict[str, int] = field(default_factory=dict)
    safe: dict[str, int] = field(default_factory=dict)
    syncs: int = 0
    #: Syncs that began: which file, and how many of its changes they cover.
    begun: dict[str, tuple[str, int]] = field(default_factory=dict)

    def change(self, file: str) -> None:
        self.changes[file] = self.changes.get(file, 0) + 1

    def begin_sync(self, thread: str, file: str) -> None:
        self.begun[thread] = (file, self.changes.get(file, 0))

    def end_sync(self, thread: str) -> None:
        file, covered = self.begun.pop(thread)
        self.safe[file] = max(covered, self.safe.get(file, 0))
        self.syncs += 1

    @property
    def at_risk(self) -> frozenset[str]:
        """The files with changes that no finished sync covers."""
        return frozenset(
            file for file, count in self.changes.items() if count > self.safe.get(file, 0)
        )


def told(lines: Iterable[str], *, store: str) -> list[Told]:
    """Return what was answered, in order, and what of ``store`` was at risk at that moment.

    Files beside the store with longer names are its journals. A sync covers what was changed
    before it began, once it has ended; what is said counts from the moment it begins.
    """
    disk, found = _Disk(), []
    for line in lines:
        if (resumed := _RESUMED.match(line)) and resumed[1] in disk.begun:
            disk.end_sync(resumed[1])
        if not (begun := _BEGUN.match(line)):
            continue
        thread, name, file, rest = begun.groups()
        # What is shared in memory is made anew after a crash.
        ours = bool(file) and file.startswith(store) and not file.endswith("-shm")
        if ours and name in _CHANGES:
            disk.change(file)
        elif ours and name in _SYNCS:
            disk.begin_sync(thread, file)
            if rest.endswith("= 0"):
                disk.end_sync(thread)
        elif name in _SENDS and (answer := _ANSWER.search(rest)):
            found.append(Told(int(answer[1]), disk.syncs, disk.at_risk))
            disk.syncs = 0
    return found
