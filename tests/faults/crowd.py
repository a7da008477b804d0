"""Many clients who act at the very same moment: threads with open connections, and a barrier."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.faults.wire import PATIENCE_SECONDS, Line, Reply

#: The store did not answer in time: nothing is known of what was asked.
UNAVAILABLE = 503


class Crowd:
    """Clients on open connections, spread over servers, who send when all are ready."""

    def __init__(self, ports: Sequence[int], *, size: int) -> None:
        self.size = size
        self._lines = [Line(ports[number % len(ports)]) for number in range(size)]
        self._barrier = threading.Barrier(size)
        self._threads = ThreadPoolExecutor(size)

    def send(self, requests: Sequence[bytes], *, again: int = 0) -> list[Reply]:
        """Send one request from each at once; return the answers in the clients' order.

        Who is told to send the same again does so, ``again`` times at most: for requests that are
        done once however often they are sent.
        """

        def act(line: Line, content: bytes) -> Reply:
            self._barrier.wait(PATIENCE_SECONDS)
            reply = line.exchange(content)
            for _ in range(again):
                if reply.status != UNAVAILABLE:
                    break
                reply = line.exchange(content)
            return reply

        assert len(requests) == self.size
        return list(self._threads.map(act, self._lines, requests))

    def send_all(self, content: bytes, *, again: int = 0) -> list[Reply]:
        """Send the same request from everybody at once."""
        return self.send([content] * self.size, again=again)

    def close(self) -> None:
        """Go home."""
        self._threads.shutdown()
        for line in self._lines:
            line.close()
