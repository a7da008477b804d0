"""A circuit that opens while Stripe does not answer, so that nobody waits for it in vain.

Invariant: after so many tries in a row without an answer none is made for a while; then one is let
through, and what becomes of it decides for all. Whatever Stripe answers, a decline or a refusal, is
an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import stripe

#: How many tries in a row without an answer open it, and how long it then rests.
FAILURES = 5
RESTS_SECONDS = 10


class Circuit:
    """Whether it is worth asking, by what became of the last tries of this process."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._lock = Lock()
        self._failures = 0
        self._rests_until: float = 0

    def admits(self) -> bool:
        """Tell whether to try; after a rest it lets one through and rests on for the others."""
        with self._lock:
            if self._failures < FAILURES:
                return True
            now = self._ticks()
            if now < self._rests_until:
                return False
            self._rests_until = now + RESTS_SECONDS
            return True

    def answered(self) -> None:
        """Close it: Stripe is there."""
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        """Count a try that had no answer."""
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES:
                self._rests_until = self._ticks() + RESTS_SECONDS


class Client(stripe.RequestsClient):
    """The library's way to make one try, through the circuit."""

    def __init__(self, *, timeout_seconds: tuple[float, float], circuit: Circuit) -> None:
        super().__init__(timeout=timeout_seconds)
        self._circuit = circuit

    def request(  # type: ignore[override] # the library says text, and reads bytes
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Make one try. Raises APIConnectionError, at once while the circuit is open."""
        if not self._circuit.admits():
            raise stripe.APIConnectionError(  # type: ignore[no-untyped-call]
                "Stripe has not answered several times in a row."
            )
        try:
            body, status, told = super().request(method, url, headers, post_data)
        except stripe.APIConnectionError as error:
            self._circuit.failed()
            # The library asks again where no answer came, but not where one broke off.
            if isinstance(error.__cause__, self.requests.exceptions.ChunkedEncodingError):
                error.should_retry = True
            raise
        # What Stripe remembers of an earlier failure tells nothing of how it is now.
        away = status >= 500 or status == 429
        if away and told.get("Idempotent-Replayed") != "true":
            self._circuit.failed()
        else:
            self._circuit.answered()
        return body, status, told
