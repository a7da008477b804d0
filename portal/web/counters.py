"""How often somebody asked: counters in this process's memory, each until its window ends.

For the limits on requests. The storage that comes with the library starts a thread for every
request that it counts; this one forgets what has ended as it goes along.
"""

from __future__ import annotations

import time
from threading import Lock

from limits.storage import Storage

#: How many counters there are before those that ended are looked for.
MANY = 10_000


class Counters(Storage):
    """Counts of fixed windows, by key."""

    STORAGE_SCHEME = ["counters"]  # noqa: RUF012 # as the library declares it

    def __init__(
        self, uri: str | None = None, wrap_exceptions: bool = False, **options: str
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._lock = Lock()
        self._counts: dict[str, tuple[int, float]] = {}
        self._look_at = MANY

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a storage of this kind may raise."""
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to a key's count, which ends ``expiry`` seconds after it began; return it."""
        now = time.time()
        with self._lock:
            count, ends_at = self._counts.get(key, (0, 0.0))
            if ends_at <= now:
                count, ends_at = 0, now + expiry
                self._forget_ended(now)
            self._counts[key] = (count + amount, ends_at)
            return count + amount

    def _forget_ended(self, now: float) -> None:
        if len(self._counts) >= self._look_at:
            self._counts = {key: one for key, one in self._counts.items() if one[1] > now}
            self._look_at = MANY + 2 * len(self._counts)

    def get(self, key: str) -> int:
        """Return a key's count."""
        count, ends_at = self._counts.get(key, (0, 0.0))
        return count if ends_at > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """Return when a key's count ends, in seconds since 1970."""
        now = time.time()
        return max(now, self._counts.get(key, (0, now))[1])

    def check(self) -> bool:
        """Tell that it works."""
        return True

    def reset(self) -> int | None:
        """Forget everything; return how much that was."""
        with self._lock:
            forgotten = len(self._counts)
            self._counts = {}
        return forgotten

    def clear(self, key: str) -> None:
        """Forget a key."""
        with self._lock:
            self._counts.pop(key, None)
