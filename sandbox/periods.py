"""Billing periods: calendar arithmetic in UTC, from an anchor.

Periods follow one another without gap or overlap. The anchor's day is kept: a month too short for
it ends early, and the next one goes back to that day.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from sandbox.store import Object

_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}


def end_of_period(start: int, recurring: Object, *, anchor: int | None = None) -> int:
    """Return the end of the period that starts then, counted from the anchor (or the start)."""
    origin = start if anchor is None else anchor
    count = 1
    while (end := _boundary(origin, recurring, count)) <= start:
        count += 1
    return end


def _boundary(anchor: int, recurring: Object, count: int) -> int:
    steps = count * int(recurring["interval_count"])
    moment = datetime.fromtimestamp(anchor, UTC)
    if recurring["interval"] in _DAYS:
        moved = moment + timedelta(days=steps * _DAYS[recurring["interval"]])
    else:
        months = moment.month - 1 + steps * _MONTHS[recurring["interval"]]
        year, month = moment.year + months // 12, months % 12 + 1
        day = min(moment.day, calendar.monthrange(year, month)[1])
        moved = moment.replace(year=year, month=month, day=day)
    return int(moved.timestamp())
