"""Where a page of a list ended: a text that only the same list reads, and nothing else is taken."""

from __future__ import annotations

import base64
import json

from flask import request

from portal.core.errors import InvalidRequest
from portal.core.units import NotExact, parse_int64


def written(listing: str, *place: str) -> str:
    """Return the cursor of a place in a list."""
    return base64.urlsafe_b64encode(json.dumps([listing, *place]).encode()).decode()


def sent(listing: str, *, parts: int) -> list[str] | None:
    """Return the place that the request's cursor says; None where there is none.

    Raises InvalidRequest for a cursor that this list did not give.
    """
    given = request.args.get("cursor")
    if not given:
        return None
    try:
        found = json.loads(base64.b64decode(given.encode(), altchars=b"-_", validate=True))
        if not isinstance(found, list) or len(found) != parts + 1 or found[0] != listing:
            raise ValueError("a cursor holds its list's name and a place")
        for part in found:
            if not isinstance(part, str) or "\x00" in part:
                raise ValueError("a place is texts")
            part.encode()
    except (ValueError, RecursionError) as error:
        raise InvalidRequest.at("/cursor", "is not one that this list gave") from error
    return found[1:]


def number(text: str) -> int:
    """Return the number in a place. Raises InvalidRequest where the store cannot compare it."""
    try:
        return parse_int64(text)
    except NotExact as error:
        raise InvalidRequest.at("/cursor", "is not one that this list gave") from error
