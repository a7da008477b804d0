"""The application of the browser's tests, on a clock that they can move forward.

The file that CLOCK_FILE names says how many seconds it is ahead; an empty or missing one is none.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app import create_app
from portal.config import Settings

CLOCK_FILE = "CLEARMETER_TESTS_CLOCK"


def ahead(path: Path) -> timedelta:
    """Return how far ahead a clock's file says it is."""
    try:
        return timedelta(seconds=int(path.read_text(encoding="utf-8") or 0))
    except FileNotFoundError:
        return timedelta(0)


def clock() -> datetime:
    """Return the time as the tests have it."""
    return datetime.now(UTC) + ahead(Path(os.environ[CLOCK_FILE]))


if CLOCK_FILE in os.environ:
    app = create_app(Settings.from_env(os.environ), clock=clock)
    # The page of components is there while developing only.
    app.debug = True
