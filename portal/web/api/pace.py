"""How much one address may ask of the API: counted in this process, in windows that all share.

A library does this for pages; asking it at every call of the meter took as long as the call.
Invariant: nothing is kept longer than a window lasts.
"""

from __future__ import annotations

import math
from functools import lru_cache
from threading import Lock
from time import monotonic

from flask import Response, current_app, g
from flask_limiter.util import get_remote_address
from limits import RateLimitItem, parse

from portal.core.errors import RateLimited
from portal.web import api

_KEPT = "clearmeter.pace"
_parsed = lru_cache(parse)


class _Window:
    """What was asked since it began, by address."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._number = -1
        self._asked: dict[str, int] = {}

    def count(self, address: str, seconds: int, at: float) -> int:
        """Count one more of an address in the window of so many seconds; returns how many now."""
        number = int(at // seconds)
        with self._lock:
            if number != self._number:
                self._number, self._asked = number, {}
            asked = self._asked[address] = self._asked.get(address, 0) + 1
        return asked


def keep() -> None:
    """Count a request. Raises RateLimited for one too many in its window."""
    limit: RateLimitItem = _parsed(api.LIMIT)
    seconds, at = limit.get_expiry(), monotonic()
    kept = current_app.extensions
    window: _Window = kept.get(_KEPT) or kept.setdefault(_KEPT, _Window())
    left = limit.amount - window.count(get_remote_address(), seconds, at)
    g.pace = (limit.amount, max(0, left), math.ceil(seconds - at % seconds))
    if left < 0:
        raise RateLimited("Too many requests in a short time. Wait a moment, then go on.")


def tell(response: Response) -> Response:
    """Say in an answer's headers how much may be asked, what is left and until when, in seconds."""
    if "pace" in g:
        amount, left, seconds = g.pace
        headers = response.headers
        headers["RateLimit-Limit"] = str(amount)
        headers["RateLimit-Remaining"] = str(left)
        headers["RateLimit-Reset"] = str(seconds)
        if response.status_code == RateLimited.status:
            headers["Retry-After"] = str(seconds)
    return response
