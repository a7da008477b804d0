"""Where a page of one of the console's lists ended, as a text that stands in an address.

Invariant: a text that no list wrote is refused, never half understood.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime

from portal.core.errors import InvalidRequest


def written(at: datetime, key: str) -> str:
    """Return the text of a place: an instant, and a name among those of the same instant."""
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), key]).encode()).decode()


def read(text: str) -> tuple[datetime, str] | None:
    """Return the place that a text says, None for no text. Raises InvalidRequest."""
    if not text:
        return None
    try:
        at, key = json.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True))
        instant = datetime.fromisoformat(at)
        key.encode()
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequest.at("/after", "is not where a page of this list ended") from error
    if instant.tzinfo is None or "\x00" in key:
        raise InvalidRequest.at("/after", "is not where a page of this list ended")
    return instant, key
