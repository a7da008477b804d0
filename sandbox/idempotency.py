"""The memory of idempotency keys: one key, one effect, one answer.

It has a lock of its own, so that a second request finds its key in use while the first still works.
An answer is kept once the work behind it began, whatever it was; a request that was refused before,
for its parameters, may be mended and sent again under its key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.errors import idempotency_conflict

KEY_LENGTH_MAX = 255
KEPT_SECONDS = 24 * 60 * 60
Fingerprint = tuple[str, tuple[tuple[str, str], ...]]  # the endpoint, then its sorted parameters


@dataclass(frozen=True)
class Answer:
    """What was answered: status, body, and the id of the request it was first given to."""

    status: int
    body: str
    request_id: str


@dataclass
class _Entry:
    fingerprint: Fingerprint
    since: float
    answer: Answer | None = None


class Memory:
    """The keys seen in the last day."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def claim(self, key: str, fingerprint: Fingerprint) -> Answer | None:
        """Return the answer kept under the key, or take the key; refuse one that does not fit."""
        if len(key) > KEY_LENGTH_MAX:
            message = f"Idempotency keys have at most {KEY_LENGTH_MAX} characters."
            raise idempotency_conflict(message, status=400)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or self._clock() - entry.since >= KEPT_SECONDS:
                self._entries[key] = _Entry(fingerprint, self._clock())
                return None
            self._check(key, entry, fingerprint)
            return entry.answer

    def _check(self, key: str, entry: _Entry, fingerprint: Fingerprint) -> None:
        advice = f"Try using a key other than '{key}' if you meant to execute a different request."
        if entry.fingerprint[0] != fingerprint[0]:
            message = (
                "Keys for idempotent requests can only be used for the same endpoint they were "
                f"first used for ('{fingerprint[0]}' vs '{entry.fingerprint[0]}'). {advice}"
            )
            raise idempotency_conflict(message, status=400)
        if entry.fingerprint != fingerprint:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were "
                f"first used with. {advice}"
            )
            raise idempotency_conflict(message, status=400)
        if entry.answer is None:
            message = f"Another request with the idempotency key '{key}' is still in progress."
            raise idempotency_conflict(message, status=409, code="idempotency_key_in_use")

    def keep(self, key: str, answer: Answer) -> None:
        """Keep the answer for whoever sends the key again."""
        with self._lock:
            if key in self._entries:  # not where the memory was cleared meanwhile
                self._entries[key].answer = answer

    def release(self, key: str) -> None:
        """Give the key back: no work was begun under it."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget all keys."""
        with self._lock:
            self._entries.clear()
