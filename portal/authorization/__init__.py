"""Authorize before work starts; capture, increment or release when it is known what it took.

Invariant: each call is one transaction under the wallet's lock: rate, check balance and every cap,
take all or none. The sum of holds and debits never passes a hard limit, and a step that was
authorized can always be captured.
"""

from __future__ import annotations

from portal.authorization.ending import capture, release
from portal.authorization.placing import authorize, increment
from portal.authorization.requests import AuthorizeRequest, CaptureRequest
from portal.authorization.terms import describe, state_of

__all__ = [
    "AuthorizeRequest",
    "CaptureRequest",
    "authorize",
    "capture",
    "describe",
    "increment",
    "release",
    "state_of",
]
