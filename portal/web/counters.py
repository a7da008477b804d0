"""How often somebody asked: counters in this process's memory, each until its window ends."""

from __future__ import annotations

from itertools import count

from limits.storage import MemoryStorage

#: Requests between two looks for what has ended.
OFTEN = 1_000


class Counters(MemoryStorage):
    """The library's counters without its timer, which is a new thread for nearly every request."""

    STORAGE_SCHEME = ["counters"]  # noqa: RUF012 # as the library declares it

    def __init__(
        self, uri: str | None = None, wrap_exceptions: bool = False, **options: str
    ) -> None:
        super().__init__(uri, wrap_exceptions, **options)
        self._asked = count(1)

    def _MemoryStorage__schedule_expiry(self) -> None:  # noqa: N802 # the library's own name
        if next(self._asked) % OFTEN == 0:
            self._MemoryStorage__expire_events()  # type: ignore[attr-defined] # private there
