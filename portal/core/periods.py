"""Days, weeks, months and billing periods in an organization's time zone.

Invariant: all intervals are half-open ``[start, end)`` in UTC, tile without gap or overlap, and
begin at the first instant of a local day, also where local midnight does not exist or comes twice.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones


@dataclass(frozen=True)
class Period:
    """A half-open interval of aware UTC instants."""

    start: datetime
    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the IANA names this machine knows."""
    return frozenset(available_timezones())


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a local day, in UTC.

    A wall time of 00:00 that is skipped resolves to the instant of the jump, and one that comes
    twice to its first occurrence (PEP 495, fold=0): in both cases the day's first instant.
    """
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def local_day(instant: datetime, zone: ZoneInfo) -> date:
    """Return the calendar day of an instant as the organization sees it."""
    return instant.astimezone(zone).date()


def day_of(instant: datetime, zone: ZoneInfo) -> Period:
    """Return the local day that holds ``instant``."""
    day = local_day(instant, zone)
    return Period(start_of_day(day, zone), start_of_day(day + timedelta(days=1), zone))


def week_of(instant: datetime, zone: ZoneInfo) -> Period:
    """Return the local week, Monday to Sunday, that holds ``instant``."""
    day = local_day(instant, zone)
    monday = day - timedelta(days=day.weekday())
    return Period(start_of_day(monday, zone), start_of_day(monday + timedelta(days=7), zone))


def month_of(instant: datetime, zone: ZoneInfo) -> Period:
    """Return the local calendar month that holds ``instant``."""
    return anchored_month_of(instant, zone, anchor_day=1)


def anchored_day(year: int, month: int, anchor_day: int) -> date:
    """Return the anchor's day in a month; a short month uses its last day."""
    return date(year, month, min(anchor_day, calendar.monthrange(year, month)[1]))


def _next_month(year: int, month: int) -> tuple[int, int]:
    return (year + 1, 1) if month == 12 else (year, month + 1)


def _previous_month(year: int, month: int) -> tuple[int, int]:
    return (year - 1, 12) if month == 1 else (year, month - 1)


def anchored_month_of(instant: datetime, zone: ZoneInfo, *, anchor_day: int) -> Period:
    """Return the month that begins on ``anchor_day`` (1-31) and holds ``instant``.

    The anchor does not drift: 31 January, 28 February, 31 March.
    """
    day = local_day(instant, zone)
    first = anchored_day(day.year, day.month, anchor_day)
    if day < first:
        first = anchored_day(*_previous_month(day.year, day.month), anchor_day)
    following = anchored_day(*_next_month(first.year, first.month), anchor_day)
    return Period(start_of_day(first, zone), start_of_day(following, zone))


def days_between(start: date, end: date) -> list[date]:
    """Return the days of ``[start, end)``."""
    return [start + timedelta(days=offset) for offset in range((end - start).days)]
