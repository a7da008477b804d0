"""What is done beside a request: its answer neither waits for it nor shows how long it took."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any

import structlog

from portal.core.errors import Unavailable

log = structlog.get_logger()

#: Errands that may wait at once; beyond that the next is refused rather than forgotten.
MOST_WAITING = 200


class Errands:
    """A few threads of this process. What they had not begun when it dies is not done."""

    def __init__(self, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="errand")
        self._open: set[Future[None]] = set()
        self._lock = Lock()

    def run(self, name: str, act: Callable[[], Any]) -> None:
        """Do something soon; a failure is logged by name. Raises Unavailable with too many."""
        with self._lock:
            if len(self._open) >= MOST_WAITING:
                raise Unavailable("Too much is asked for at once. Try again in a minute.")
            future = self._pool.submit(_done, name, act)
            self._open.add(future)
        future.add_done_callback(self._close)

    def finish(self, timeout_seconds: float = 20) -> None:
        """Wait until everything asked for is done."""
        with self._lock:
            waiting = set(self._open)
        wait(waiting, timeout_seconds)

    def _close(self, future: Future[None]) -> None:
        with self._lock:
            self._open.discard(future)


def _done(name: str, act: Callable[[], Any]) -> None:
    try:
        act()
    except Exception as error:
        # Nobody waits for an answer: what went wrong is told here or nowhere.
        log.error("errand failed", errand=name, exc_info=error)
