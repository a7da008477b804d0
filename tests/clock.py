"""A clock that tests move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

#: A Monday noon, well inside its day, week and month.
START = datetime(2026, 11, 9, 12, 0, tzinfo=UTC)


class Clock:
    """Says what time the test wants it to be, in UTC."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, step: timedelta) -> datetime:
        """Let time pass."""
        self.now += step
        return self.now

    def set(self, instant: datetime) -> None:
        """Move to an instant."""
        self.now = instant
