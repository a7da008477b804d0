"""What usage is grouped and filtered by, and which rows count on which local days.

Invariant: the same names and the same days hold for the rollup, the events and their costs.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import ColumnElement, Table, and_, or_

from portal.tables import COUNTS_ON_ANOTHER_DAY, events

#: What usage can be grouped and filtered by, and its column; the rollup has all but the run.
GROUPS = {
    "day": "day",
    "action": "action",
    "member": "member_id",
    "team": "team_id",
    "project": "project_id",
    "model": "model",
    "run": "run_id",
}
#: Only the operator may see which model did the work.
OPERATOR_ONLY = frozenset({"model"})
FILTERS = tuple(name for name in GROUPS if name != "day")
#: A local day begins and ends within this of the same day in UTC, also where a zone changes.
_NEAR = timedelta(days=3)


def on_days(table: Table, start: date, end: date) -> list[ColumnElement[bool]]:
    """Return the condition for rows of a rollup, or events, that count on ``[start, end)``."""
    days: list[ColumnElement[bool]] = [table.c.day >= start, table.c.day < end]
    if table is events:
        # An index finds them by when they happened, another those that count on another day.
        first, last = (datetime.combine(day, time(), UTC) for day in (start, end))
        near = and_(events.c.occurred_at >= first - _NEAR, events.c.occurred_at < last + _NEAR)
        days.append(or_(near, and_(COUNTS_ON_ANOTHER_DAY, *days)))
    return days
