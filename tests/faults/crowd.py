"""Many clients who act at the very same moment: threads with open connections, and a barrier."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.faults.wire import PATIENCE_SECONDS, Line, Reply


class Crowd:
    """Clients on open connections, spread over servers, who send when all are ready."""

    def __init__(self, ports: Sequence[int], *, size: int) -> None:
        self.size = size
        self._lines = [Line(ports[number % len(ports)]) for number in range(size)]
        self._barrier = threading.Barrier(size)
        self._threads = ThreadPoolExecutor(size)

    def send(self, requests: Sequence[bytes]) -> list[Reply]:
        """Send one request from each at once; return the answers in the clients' order."""

        def act(line: Line, content: bytes) -> Reply:
            self._barrier.wait(PATIENCE_SECONDS)
            return line.exchange(content)

        assert len(requests) == self.size
        return list(self._threads.map(act, self._lines, requests))

    def send_all(self, content: bytes) -> list[Reply]:
        """Send the same request from everybody at once."""
        return self.send([content] * self.size)

    def close(self) -> None:
        """Go home."""
        self._threads.shutdown()
        for line in self._lines:
            line.close()
